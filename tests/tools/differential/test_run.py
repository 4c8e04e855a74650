"""`tools/differential/run.py`: a small run, from its start to its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.differential import run
from tools.differential.checking import Failure, check
from tools.differential.classes import CLASSES, OPENSSL
from tools.differential.comparators import golang
from tools.differential.minting import mint
from tools.differential.state import State


@pytest.fixture(autouse=True)
def without_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Go out, because compiling it takes long. `test_comparators` covers it."""
    monkeypatch.setattr(golang, "compiler", lambda: None)


def test_a_run_explains_every_verdict_and_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run exits with 0 and its figures, and the same command continues an interrupted run."""
    arguments = ["--folder", str(tmp_path), "--jobs", "1", "--seed", "5", "--pyhanko-every", "100"]
    assert run.main([*arguments, "--chains", "1"]) == 0
    first = capsys.readouterr().out
    assert "500 chains of seed 5" in first
    assert "Every verdict is explained." in first
    assert "Go: missing, not compared" in first
    for each in CLASSES:
        assert f"| {each.name} |" in first

    state = State.load(tmp_path / "state-5.json")
    state.counts["chains", "accepted"] += 1000
    state.save(tmp_path / "state-5.json")
    assert run.main([*arguments, "--chains", "500"]) == 0
    assert "1,500 chains of seed 5" in capsys.readouterr().out


def test_failures_are_looked_at_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A continued run removes failures that are explained now, and counts their class."""
    plan = run.workers.Plan(5, run.BLOCK, {OPENSSL: 1}, None)
    worker = run.workers.Worker(plan)
    number, name = next(
        (chain.number, result.differences[0][0])
        for chain, ours, others in worker.ask([mint(5, number) for number in range(200)])
        if (result := check(chain, ours, others)).differences
    )
    state = State(5, run.BLOCK)
    state.done = {0}
    state.counts["failure", "unexplained difference"] = 1
    state.failures = [Failure("unexplained difference", number, "text", OPENSSL)]
    state.save(tmp_path / "state-5.json")
    assert run.main(["--folder", str(tmp_path), "--seed", "5", "--chains", "500"]) == 0
    assert "Every verdict is explained." in capsys.readouterr().out
    after = State.load(tmp_path / "state-5.json")
    assert after.counts["difference", name, OPENSSL] == 1


def test_a_failure_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A verdict that nothing explains is printed, and the exit code is 1."""
    state = State(5, run.BLOCK)
    state.counts["failure", "unexplained accept"] = 1
    state.failures = [Failure("unexplained accept", 77, "[x] arrcert: accepted")]
    state.save(tmp_path / "state-5.json")
    assert run.main(["--folder", str(tmp_path), "--seed", "5", "--result"]) == 1
    printed = capsys.readouterr().out
    assert "1 x unexplained accept" in printed
    assert "unexplained accept, chain 77: [x] arrcert: accepted" in printed


def test_one_chain_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A chain is printed as PEM, with its variations and every verdict."""
    assert run.main(["--folder", str(tmp_path), "--seed", "5", "--show", "12"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("-----BEGIN CERTIFICATE-----") >= 2
    for line in ("variations: ", "arrcert: ", "OpenSSL: "):
        assert line in printed
