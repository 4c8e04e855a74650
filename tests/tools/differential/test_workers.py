"""`tools/differential/workers.py`: a block of chains, and the faults that it must find."""

from __future__ import annotations

import pytest

from arrcert.rules import StrongKey
from arrcert.trust import paths
from tools.differential import workers
from tools.differential.classes import OPENSSL
from tools.differential.state import CountKey
from tools.differential.workers import Plan, Worker

PLAN = Plan(seed=1, size=240, every={OPENSSL: 1}, go_program=None)


def counted(kind: str, block: int = 0) -> dict[CountKey, int]:
    """Run one block, and return the counts under a word."""
    done, counts, _ = Worker(PLAN).run(block)
    assert done == block
    return {key: number for key, number in counts.items() if key[0] == kind}


def test_every_chain_is_asked_about_and_explained() -> None:
    """Each chain of a block is counted once, for arrcert and for the other implementation."""
    assert sum(counted("chains").values()) == 240
    assert sum(counted("compared").values()) == 240
    assert counted("failure") == {}


@pytest.mark.parametrize(("owner", "name"), [(paths, "violation"), (StrongKey, "check")])
def test_a_missing_check_is_found(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    """A check that arrcert lacks is found, because it accepts chains that nothing explains."""
    monkeypatch.setattr(owner, name, lambda *_arguments: None)
    wanted = ("failure", "unexplained accept")
    assert any(wanted in counted("failure", block) for block in range(6))


def test_a_denial_without_reason_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A denial of a good chain by arrcert is found."""
    monkeypatch.setattr(paths, "validate", lambda *_arguments: "no reason")
    assert counted("failure")["failure", "unexplained denial"] > 0
    assert counted("failure")["failure", "unexplained difference"] > 0


def test_a_mistake_in_minting_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception while a chain is made is a failure, and the block goes on."""
    mint = workers.mint

    def broken(seed: int, number: int) -> object:
        if number == 3:
            raise KeyError("md5")
        return mint(seed, number)

    monkeypatch.setattr(workers, "mint", broken)
    assert counted("failure") == {("failure", "exception"): 1}
    assert sum(counted("chains").values()) == 239
