"""The demonstration: its table, its exit code, and its cleanup."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "sample_sites/demo.py"
_spec = importlib.util.spec_from_file_location("sample_sites_demo", DEMO)
demo = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(demo)

ROWS = len(demo.VISITS) * len(demo.Site.SITES)


@pytest.fixture
def pki(tmp_path):
    """Certificates for this test only."""
    return demo.Pki.issue(tmp_path)


def table(output):
    """Return the cells of each row, which are separated by two or more spaces."""
    rows = [re.split(r" {2,}", line.rstrip()) for line in output.splitlines()]
    return [row for row in rows if len(row) == 6 and row[1] in demo.Site.SITES]


def is_gone(port, pki):
    """Tell whether no server listens on the port any longer."""
    try:
        demo.knock(pki, port, demo.NOBODY, "/health")
    except OSError:
        return True
    return False


def test_every_answer_is_right():
    """The demonstration makes every visit on every site, finds no wrong answer and exits with 0."""
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(done.stdout)
    assert len(rows) == ROWS
    assert {row[-1] for row in rows} == {"ok"}
    assert f"All {ROWS} answers are right." in done.stdout
    assert "make serve" in done.stdout
    assert "curl --cacert" in done.stdout
    assert "\x1b" not in done.stdout
    # After the table, the operator's commands inspect the expired certificate and a site.
    assert "$ arrcert explain" in done.stdout
    assert "expired" in done.stdout.partition("$ arrcert explain")[2]
    assert "No entry: nobody got in" in done.stdout.partition("$ arrcert probe")[2]


@pytest.mark.matrix
def test_a_broken_rule_turns_rows_wrong(pki, capsys):
    """With the stranger's pin in the policy, the stranger's rows are wrong and the exit is 1."""
    policies = pki.policies()
    policies["default"]["fingerprints"].append(pki.certificate("stranger").sha256_fingerprint)
    exit_code = demo.run(pki, policies)
    rows = table(capsys.readouterr().out)
    wrong = [row for row in rows if row[-1] != "ok"]
    assert exit_code == 1
    assert len(rows) == ROWS
    assert {row[0] for row in wrong} == {
        visit.client.title for visit in demo.VISITS if visit.client.certificate == "stranger"
    }
    assert all(row[3] == "200" and row[5].startswith("WRONG") for row in wrong)


@pytest.mark.matrix
def test_the_right_status_for_another_reason_is_wrong(pki, capsys):
    """A 403 for the wrong reason is a wrong answer."""
    visit = demo.Visit(demo.STRANGER, "/hellocert", demo.DenialReason.EXPIRED)
    assert demo.run(pki, pki.policies(), [visit]) == 1
    out = capsys.readouterr().out
    assert re.search(r"fingerprint_not_allowed +WRONG \(right: 403 expired\)", out)


@pytest.mark.matrix
def test_an_open_door_does_not_hide_behind_a_dead_site(pki):
    """A site that cannot be reached is a wrong answer, and no crash."""
    with demo.running_sites(pki, pki.policies()) as sites:
        flask, *_others = sites
    given = demo.answer(pki, flask, demo.Visit(demo.NOBODY, "/"))
    assert given.status == "none"
    assert not given.is_right


@pytest.mark.matrix
def test_a_site_that_does_not_start_is_shown(pki):
    """If a site does not start, the error holds its output, and all sites are stopped."""
    with (
        pytest.raises(demo.SiteError, match=r"did not start. It said:\n(?s:.*)ARRCERT"),
        demo.running_sites(pki, {"default": {}}),
    ):
        pytest.fail("a site without a condition came up")


def test_colour_is_for_terminals(monkeypatch):
    """Output has colour only on a terminal without NO_COLOR."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert demo._colour("ok", "32") == "\x1b[32mok\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert demo._colour("ok", "32") == "ok"


@pytest.mark.matrix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_leaves_the_sites_running_and_nothing_behind(tmp_path, number):
    """--serve prints addresses and commands, and stops the sites on Ctrl-C or SIGTERM."""
    pki = demo.Pki(tmp_path / "pki")
    process = subprocess.Popen(
        [sys.executable, DEMO, "--serve", "--port", "0", "--pki", pki.folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C to stop them" in line:
                break
        printed = "".join(lines)
        addresses = re.compile(r"^  \w+ +https://127.0.0.1:(\d+)/$", re.MULTILINE)
        ports = [int(port) for port in addresses.findall(printed)]
        assert len(ports) == len(demo.Site.SITES), printed
        assert demo.P12_PASSWORD in printed
        for port in ports:
            assert demo.knock(pki, port, demo.ALLOWED, "/hellocert") == 200
        assert pki.path("allowed", "key").stat().st_mode & 0o077 == 0
        process.send_signal(number)
        process.stdout.read()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode == (0 if number == signal.SIGINT else 128 + number)
    deadline = time.monotonic() + 5
    while not all(is_gone(port, pki) for port in ports):
        assert time.monotonic() < deadline, "a site is still there"
        time.sleep(0.1)


@pytest.mark.matrix
def test_serve_keeps_what_browsers_have_imported(tmp_path):
    """A second run uses the certificates of the first, and makes the missing ones."""
    folder = tmp_path / "pki"
    first = demo.Pki.kept(folder).certificate("allowed")
    assert demo.Pki.kept(folder).certificate("allowed") == first
    demo.Pki(folder).path("partner", "p12").unlink()
    assert demo.Pki.kept(folder).certificate("allowed") != first
