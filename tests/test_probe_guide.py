"""The page about the probe is correct: its commands run, and it has every row and every option."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from arrcert.cli.front_end import FrontEndServer
from arrcert.cli.local_apps import RunningWSGIApp
from arrcert.cli.probe.command import probe
from arrcert.cli.probe.run import checks_of
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert_flask import Arrcert

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "probe.md").read_text(encoding="utf-8")
PLATFORM = (ROOT / "docs" / "platform.md").read_text(encoding="utf-8")
CALIBRATION = {"no certificate", "a stranger", "your certificate"}
ROWS = CALIBRATION | {check.title for check in checks_of(["/x"], ["/y"])}


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate
) -> Iterator[FrontEndServer]:
    """A site behind `arrcert serve`, and the files that the page names."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha256_fingerprint)
    monkeypatch.setenv("ARRCERT_PROTECT_ALL", "true")
    monkeypatch.setenv("ARRCERT_EXEMPT_PATHS", "/health")
    authority = CertificateAuthority("Web")
    server = authority.issue(
        "localhost", dns_names=["localhost"], extended_key_usages=("serverAuth",)
    )
    (tmp_path / "web.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "client.pem").write_bytes(alice.certificate_pem)
    (tmp_path / "client.key").write_bytes(alice.private_key_pem)
    app = flask.Flask("site")
    Arrcert(app)
    app.add_url_rule("/hellocert", "hellocert", lambda: "hello\n")
    app.add_url_rule("/health", "health", lambda: "healthy\n")
    behind = RunningWSGIApp(app)
    with FrontEndServer(
        behind.address,
        certificate=server.certificate_pem,
        key=server.private_key_pem,
        bind=("127.0.0.1", 0),
        excluded_paths="/public",
    ) as front_end:
        yield front_end
    behind.stop()


def commands() -> list[str]:
    """Return the page's commands that probe a site."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("arrcert probe ")]


def test_commands(site: FrontEndServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each command runs unchanged and finds no hole, and the site's log names the check."""
    scripts = sysconfig.get_path("scripts")
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    port = site.url.rpartition(":")[2]
    assert len(commands()) == 3
    for line in commands():
        line = line.replace("https://site.example", f"https://localhost:{port}")
        line = line.replace("--cert ", "--rate 1000 --cacert web.pem --cert ", 1)
        done = subprocess.run(
            ["bash", "-ec", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "It sends at most" in done.stderr
        assert max(map(len, (done.stdout + done.stderr).splitlines()), default=0) <= 80
        assert "\x1b" not in done.stdout + done.stderr
    assert json.loads((tmp_path / "probe.json").read_text())["verdict"].startswith("no entry")
    log = caplog.text
    [searched] = re.findall(r'^grep "(.+)" site.log$', PAGE, re.MULTILINE)
    assert searched in log
    assert "stranger in TLS" in log
    assert "stranger in header" not in log


def test_every_row_is_on_the_page() -> None:
    """The table of rows lists exactly the checks of the probe."""
    table = PAGE.partition("## The rows")[2].partition("\n## ")[0]
    named = [
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]
    assert sorted(named) == sorted(ROWS)


def test_every_option_is_on_the_page() -> None:
    """The page has each option of the command."""
    options = {option for parameter in probe.params for option in parameter.opts}
    options -= {"url"}
    assert options == set(re.findall(r"--[a-z][a-z-]*", PAGE)) - {"--http"}


def test_rows_that_settle_what_is_not_promised() -> None:
    """Each row of the probe that the page of the platform names exists."""
    checks = [
        line.strip("|").split("|")[-1]
        for line in PLATFORM.partition("## How to check")[0].splitlines()
        if line.startswith("| ") and not line.startswith("| not promised")
    ]
    named = {name for check in checks for name in re.findall(r"`([^`]+)`", check)}
    assert len(named & ROWS) >= 12
    programs = {name for name in named if name.startswith(("az ", "openssl "))}
    assert named - programs <= ROWS
