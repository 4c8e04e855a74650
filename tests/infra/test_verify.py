"""The script that probes the sites after a deployment."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrcert.testing import CertificateAuthority
from tests.infra.test_deploy_guide import serving

SCRIPT = Path(__file__).parent.parent.parent / "sample_sites" / "verify.py"


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """The certificate of an allowed client, with its key."""
    issued = CertificateAuthority("CA").issue("alice")
    certificate = tmp_path / "client.pem"
    certificate.write_bytes(issued.certificate_pem)
    certificate.with_suffix(".key").write_bytes(issued.private_key_pem)
    return certificate


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, client: Path) -> Callable[..., int]:
    """The script's main function, with probes that end with the given exit codes in order."""
    names = runpy.run_path(str(SCRIPT))
    main: Any = names["main"]
    for name in names["URLS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VERIFY_CERTIFICATE", str(client))
    monkeypatch.setitem(main.__globals__, "python_with_probe", lambda: Path(sys.executable))

    def verify(codes: list[int], **urls: str) -> int:
        for name, url in urls.items():
            monkeypatch.setenv(name, url)
        left = iter(codes)
        monkeypatch.setitem(main.__globals__, "_run", lambda *_words, **_options: next(left))
        exit_code: int = main(["--wait", "0"])
        return exit_code

    return verify


@pytest.mark.parametrize(
    ("codes", "exit_code"),
    [([0, 0], 0), ([0, 1], 1), ([1, 2], 1), ([2, 0], 2), ([0, 5], 2)],
)
def test_exit_code(verify: Callable[..., int], codes: list[int], exit_code: int) -> None:
    """One entry is the verdict for all sites, and a site that could not be probed is a failure."""
    urls = {"FLASK_URL": "https://a.example", "DJANGO_URL": "https://b.example"}
    assert verify(codes, **urls) == exit_code


def test_says_which_site(verify: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """The last lines name each site with its verdict."""
    verify([0, 1], FLASK_URL="https://a.example", FASTAPI_URL="https://b.example")
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first == "https://a.example: nobody gets in without the key"
    assert second.startswith("https://b.example: SOMEBODY GETS IN")


def test_without_addresses(verify: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a site there is no verdict."""
    assert verify([]) == 2
    assert "None of FLASK_URL" in capsys.readouterr().err


def test_without_a_certificate(
    verify: Callable[..., int], client: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a client's key there is no verdict, and the deployment continues."""
    client.with_suffix(".key").unlink()
    assert verify([], FLASK_URL="https://a.example") == 0
    assert capsys.readouterr().out.startswith("NOT VERIFIED: ")


def test_against_a_site(client: Path, tmp_path: Path) -> None:
    """The script probes a real site over TLS and finds no entry."""
    fingerprint = subprocess.run(
        ["openssl", "x509", "-in", client, "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.partition("=")[2]
    with serving(tmp_path, "optional", fingerprint.strip()) as url:
        environ = os.environ | {"SITE_URL": url, "VERIFY_CERTIFICATE": str(client)}
        done = subprocess.run(
            [sys.executable, SCRIPT, "--wait", "0", "--insecure", "--rate", "1000"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{url}: nobody gets in without the key\n")
