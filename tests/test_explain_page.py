"""The page on `arrcert explain` is correct: its commands run and print what it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from arrcert.moments import whole_second
from arrcert.testing import CertificateAuthority

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
DAY = timedelta(days=1)


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def mask(text: str) -> str:
    """Replace what differs from run to run by the page's placeholders."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)
    text = re.sub(r"\b[0-9A-F]{64}\b", "<SHA-256>", text)
    text = re.sub(r"(SHA-1 +)[0-9A-F]{40}\b", r"\1<SHA-1>", text)
    text = re.sub(r"(serial number) [0-9A-F]+", r"\1 <serial>", text)
    text = re.sub(r"^( +)[0-9A-F]{40};", r"\1<key identifier>;", text, flags=re.MULTILINE)
    return re.sub(r"\d+ days left", "<days> days left", text)


class Reader:
    """A reader who types the commands of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policies: dict[str, Any] = {}

    def types(self, line: str) -> tuple[str, int]:
        """Run a line unchanged, and return its output and its exit code."""
        command = f'arrcert() {{ {sys.executable} -m arrcert.cli "$@"; }}; {line}'
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env={**os.environ, "ARRCERT": json.dumps(self.policies), "COLUMNS": "80"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not done.stderr, (line, done.stderr)
        return done.stdout, done.returncode


@pytest.fixture
def reader(tmp_path: Path, authority: CertificateAuthority) -> Reader:
    """A reader with the files that the page names, and the policies that it shows."""
    client = authority.issue("gateway")
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "client.pem").write_bytes(client.certificate_pem)
    bundle = pkcs12.serialize_key_and_certificates(
        None, client.private_key, client.certificate.x509, None, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "client.p12").write_bytes(bundle)
    (tmp_path / "password.txt").write_text("secret\n")
    (tmp_path / "partners").mkdir()
    reader = Reader(tmp_path)
    reader.policies = {
        "default": {"trust_anchors": "ca.pem", "common_names": ["client.contoso.com"]},
        "partners": {"trust_anchors": "ca.pem", "common_names": ["gateway"]},
    }
    return reader


def commands() -> list[str]:
    """Return the lines of the blocks to run, without installs: the packages are here already."""
    lines = "".join(blocks("sh")).splitlines()
    return [line for line in lines if not line.startswith("pip install ")]


def test_every_command_runs(reader: Reader, authority: CertificateAuthority) -> None:
    """Each command runs unchanged, and its exit code is the code of the verdict."""
    folder = reader.folder / "partners"
    (folder / "gateway.pem").write_bytes(authority.issue("gateway").certificate_pem)
    codes = {line: reader.types(line)[1] for line in commands()}
    assert len(codes) == 7
    # The validity of the certificate begins when the test runs, so this verdict depends on the day.
    assert codes.pop("arrcert explain client.pem --at 2027-01-31") in (0, 1)
    # It also depends on how long the certificates of the tests are valid.
    assert codes.pop("arrcert explain --all partners/ --within 60") in (0, 1)
    assert set(codes.values()) == {0}
    reader.policies["partners"]["common_names"] = ["nobody"]
    assert {reader.types(line)[1] for line in codes} == {1}


def test_shown_certificate(reader: Reader) -> None:
    """The first output on the page is the output of its command."""
    shown = blocks("text")[0]
    del reader.policies["partners"]
    printed, code = reader.types(commands()[0])
    assert code == 1
    assert mask(printed).startswith(shown)


def test_shown_path(reader: Reader) -> None:
    """The page's output about a broken path is the command's output for such a path."""
    root = CertificateAuthority("Fabrikam Root")
    issuing = CertificateAuthority("Fabrikam Issuing CA", issuer=root)
    carol = issuing.issue("carol")
    (reader.folder / "root.pem").write_bytes(root.certificate_pem)
    (reader.folder / "client.pem").write_bytes(carol.certificate_pem + issuing.certificate_pem)
    reader.policies = {"default": {"trust_anchors": "root.pem"}}
    assert "in CERT, not configured" in reader.types(commands()[0])[0]
    (reader.folder / "client.pem").write_bytes(carol.certificate_pem)
    assert blocks("text")[1] in mask(reader.types(commands()[0])[0])


def test_shown_folder(reader: Reader, authority: CertificateAuthority) -> None:
    """The page's table is the command's output for such a folder."""
    now, hour = whole_second(), timedelta(hours=1)
    folder = reader.folder / "partners"
    other = CertificateAuthority("Other").issue("carol", not_after=now + 364 * DAY + hour)
    for name, issued in {
        "alice": authority.issue("alice", not_after=now + 89 * DAY + hour),
        "bob": authority.issue("bob", not_after=now - hour),
        "carol": other,
    }.items():
        (folder / f"{name}.pem").write_bytes(issued.certificate_pem)
        (folder / f"{name}.key").write_bytes(issued.private_key_pem)
    pin = {"fingerprint": other.certificate.sha256_fingerprint, "note": "old gateway"}
    reader.policies = {"default": [{"trust_anchors": "ca.pem"}, {"fingerprints": [pin]}]}
    printed, code = reader.types("arrcert explain --all partners/")
    assert (mask(printed), code) == (blocks("text")[2], 1)


def keys_of(value: Any) -> Any:
    """Return the names in a JSON object, without the values."""
    if isinstance(value, dict):
        return {key: keys_of(held) for key, held in value.items()}
    return [keys_of(value[0])] if isinstance(value, list) and value else None


def test_shown_json(reader: Reader) -> None:
    """The JSON on the page has exactly the names that the command prints."""
    [shown] = blocks("json")
    reader.policies = {"default": {"fingerprints": ["AB" * 32]}}
    printed, _ = reader.types("arrcert explain client.pem --json")
    assert keys_of(json.loads(printed)) == keys_of(json.loads(shown))
    reader.policies = {"default": {"trust_anchors": "ca.pem", "common_names": ["bob"]}}
    printed, _ = reader.types("arrcert explain client.pem --json")
    path = json.loads(printed)["policies"]["default"]["alternatives"][0]["path"]
    for word in (*path, *path["certificates"][0]):
        assert word in {"valid", "valid_at", "problem"} or f"`{word}`" in PAGE
    printed, _ = reader.types("arrcert explain --all . --json")
    for word in json.loads(printed)["certificates"][0]:
        assert f"`{word}`" in PAGE


def test_page_of_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's example shows an operator each rule of each policy, and denies all others."""
    [program] = [block for block in blocks("python") if "arrcert.explanation" in block]
    authority = CertificateAuthority("Contoso Issuing CA")
    operator, other = authority.issue("alice"), authority.issue("bob")
    pins = [
        {"fingerprint": operator.certificate.sha256_fingerprint, "roles": ["operator"]},
        other.certificate.sha256_fingerprint,
    ]
    partners = {"trust_anchors": authority.certificate_pem.decode(), "common_names": ["carol"]}
    policies = {"default": {"fingerprints": pins}, "partners": partners}
    monkeypatch.setenv("ARRCERT", json.dumps(policies))
    names: dict[str, Any] = {"__name__": "site"}
    exec(program, names)
    client = names["app"].test_client()
    assert client.get("/why", headers=other.headers).status_code == 403
    told = client.get("/why", headers=operator.headers).json
    assert {rule: holds for rule, holds, _ in told["default"]}["fingerprints"] is True
    [found] = [row for row in told["partners"] if row[0] == "common_names"]
    assert found == ["common_names", False, "the common name 'alice' is not allowed"]


@pytest.mark.parametrize("exit_code", ["0", "1", "2"])
def test_exit_codes_are_told(exit_code: str) -> None:
    """The table of exit codes has every exit code."""
    assert re.search(rf"^\| {exit_code} \| ", PAGE, re.MULTILINE)


def test_help_reads_well(reader: Reader) -> None:
    """The help of the command names each option that the page names, and fits 80 columns."""
    check: Callable[[str], bool] = reader.types("arrcert explain --help")[0].__contains__
    options = set(re.findall(r"`(--[a-z-]+)", PAGE)) | set(
        re.findall(r" (--[a-z-]+)", "".join(commands()))
    )
    assert {"--app", "--file", "--policy", "--at", "--all", "--json"} <= options
    assert all(check(option) for option in options)
    lines = reader.types("arrcert --help")[0].splitlines()
    assert any("explain" in line and "why a certificate may enter" in line for line in lines)
    assert max(map(len, lines)) <= 80
