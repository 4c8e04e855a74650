"""docs/partners-file.md is correct: its files load, its commands run, its log lines are real."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from arrcert import Authorizer, CertificateDenied, ConfigurationError
from arrcert.settings import file, load
from arrcert.settings.contents import sealed
from arrcert.settings.file import PolicyFile
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

PAGE = (Path(__file__).parent.parent / "docs" / "partners-file.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Folder:
    """The folder of a reader who follows the page."""

    def __init__(self, path: Path, authority: CertificateAuthority) -> None:
        self.path = path
        self.clients = {name: self_signed(name) for name in ("fabrikam", "old")}
        self.clients["contoso"] = authority.issue("gateway.contoso.com")
        self.clients["stranger"] = authority.issue("stranger")
        (path / "certificates").mkdir()
        (path / "certificates" / "contoso-ca.pem").write_bytes(authority.certificate_pem)

    def write(self, text: str) -> str:
        """Write the new file, with real fingerprints instead of the placeholders."""
        filled = re.sub(
            r"<fingerprint of (\w+)\.pem>",
            lambda found: self.clients[found[1]].certificate.sha256_fingerprint,
            text,
        )
        (self.path / "new.toml").write_text(filled)
        return filled

    def types(self, line: str) -> None:
        """Run one line unchanged."""
        path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["bash", "-ec", line], cwd=self.path, env={**os.environ, "PATH": path}, check=True
        )


@pytest.fixture
def folder(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> Folder:
    """A folder with the files of the page's example. No thread polls them in the background."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PolicyFile, "_start", lambda self: None)
    monkeypatch.setattr(file, "SECONDS_BETWEEN_LOOKS", 0)
    return Folder(tmp_path, authority)


def enters(authorizer: Authorizer, client: IssuedCertificate, policy: str = "default") -> bool:
    """Tell whether a client is accepted."""
    try:
        authorizer.authorize(client.header_value, policy)
    except CertificateDenied:
        return False
    return True


def test_example_is_installed_and_followed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The page's example accepts its partners, and the site logs a mistake in it."""
    example, _ = blocks("toml")
    install, *_ = blocks("sh")
    text = folder.write(example)
    folder.types(install)
    installed = (folder.path / "partners.toml").read_bytes()
    assert installed == sealed(text.encode())
    assert re.fullmatch(
        re.escape(blocks("text")[0]).replace(r"<64\ hex\ digits>", "[0-9a-f]{64}"),
        installed.decode().partition("\n")[0] + "\n",
    )
    monkeypatch.setenv("ARRCERT_FILE", str(folder.path / "partners.toml"))
    authorizer = Authorizer.from_environment()
    clients = folder.clients
    assert {name: enters(authorizer, client) for name, client in clients.items()} == {
        "fabrikam": True,
        "old": True,
        "contoso": True,
        "stranger": False,
    }
    assert enters(authorizer, clients["fabrikam"], "partners")
    assert not enters(authorizer, clients["old"], "partners")
    folder.write("[[default]]")
    with pytest.raises(subprocess.CalledProcessError):
        folder.types(install)
    broken = text.replace("[[partners]]", '[[default]]\nfingerprints = ["12:34"]\n[[partners]]')
    broken = broken.replace('[[default]]\ntrust_anchors = "certificates/contoso-ca.pem"\n', "")
    broken = broken.replace('common_names = ["gateway.contoso.com"]\n', "")
    (folder.path / "partners.toml").write_text(broken)
    assert authorizer._file is not None
    authorizer._file.look()
    lines = [
        record.getMessage().replace(f"{folder.path}/", "")
        for record in caplog.records
        if record.levelno == logging.ERROR
    ]
    assert lines == blocks("log")[0].splitlines()
    assert enters(authorizer, clients["contoso"])


def test_cut_example_admits_the_whole_ca(folder: Folder) -> None:
    """A file that was cut short is valid, and accepts a stranger of the CA, as the page warns."""
    example, cut = blocks("toml")
    first, second, _ = re.split(r"^(?=\[\[)", example, flags=re.MULTILINE)[1:]
    assert second.startswith(cut)
    assert first
    (folder.path / "partners.toml").write_text(cut)
    settings = load({"ARRCERT_FILE": "partners.toml"}, {})
    assert enters(Authorizer.from_settings(settings), folder.clients["stranger"])


def test_modes_are_repaired_or_ignored(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the page's two remedies works for a file that others may write."""
    folder.write(blocks("toml")[0])
    install, chmod, export = blocks("sh")
    folder.types(install)
    for path in (folder.path, folder.path / "partners.toml"):
        path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="0777"):
        load({"ARRCERT_FILE": "partners.toml"}, {})
    name, _, value = export.strip().removeprefix("export ").partition("=")
    load({"ARRCERT_FILE": "partners.toml"}, {name: value})
    folder.types(chmod)
    load({"ARRCERT_FILE": "partners.toml"}, {})


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    """The times on the page are the times in the code."""
    assert file.SECONDS_BETWEEN_LOOKS == 2
    assert "Every process looks at the file every two seconds." in PAGE
