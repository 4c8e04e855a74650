"""`arrcert install-file`: what it installs, and what stays unchanged after a failure."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from arrcert.cli import install, main
from arrcert.cli.install import install_file
from arrcert.settings.contents import read_content, sealed
from arrcert.testing import CertificateAuthority, self_signed

TEXT = f'[[default]]\nfingerprints = ["{self_signed("a").certificate.sha256_fingerprint}"]\n'


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A file to install."""
    (tmp_path / "desk").mkdir()
    path = tmp_path / "desk" / "new.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of the installed file. Its folder exists, but the file does not."""
    (tmp_path / "site").mkdir()
    return tmp_path / "site" / "partners.toml"


def run(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["install-file", *map(str, arguments)])


def mode(path: Path) -> int:
    """Return the mode of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_file_is_sealed(new: Path, target: Path) -> None:
    """The installed file has the checksum in its first line, and then the text of the new file."""
    result = run(new, target)
    assert result.exit_code == 0, result.output
    assert target.read_bytes() == sealed(TEXT.encode())
    content = read_content(str(target))
    assert content.is_sealed
    first_line = target.read_text().partition("\n")[0]
    checksum = first_line.removeprefix("# arrcert sha256=")
    assert content.sha256 == checksum
    assert result.stdout == f"{target}: installed, SHA-256 {checksum}; policies: default (1)\n"
    assert result.stderr == ""
    assert mode(target) == 0o644
    assert os.listdir(target.parent) == [target.name]


def test_sealed_file_is_installed_again(new: Path, target: Path) -> None:
    """A file with a checksum is verified, and is written with the same checksum."""
    new.write_bytes(sealed(TEXT.encode()))
    assert run(new, target).exit_code == 0
    assert target.read_bytes() == new.read_bytes()
    new.write_bytes(sealed(TEXT.encode())[:-5])
    result = run(new, target)
    assert result.exit_code == 1
    assert "does not match the checksum" in result.stderr
    assert target.read_bytes() == sealed(TEXT.encode())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[[default]\n", "is not TOML"),
        ("", "is not a mapping of policies"),
        ('[[default]]\ncommon_names = ["a"]\n', 'ARRCERT_FILE["default"][0]["common_names"]'),
        ('[[default]]\ntrust_anchors = "absent.pem"\n', "absent.pem' cannot be read"),
        ("[[default]]\nnames_proven_by_front_end = true\n", "is not allowed in a file"),
    ],
)
def test_bad_file_is_refused(new: Path, target: Path, text: str, what: str) -> None:
    """A file that cannot be used is refused with exit code 1, and the target does not change."""
    target.write_text("old")
    new.write_text(text)
    result = run(new, target)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{new}: refused: ")
    assert what in result.stderr
    assert target.name not in result.stderr
    assert result.stdout == ""
    assert target.read_text() == "old"


def test_paths_are_relative_to_the_target(
    new: Path, target: Path, authority: CertificateAuthority
) -> None:
    """Relative paths of trust files are relative to the target's folder."""
    new.write_text('[[default]]\ntrust_anchors = "ca.pem"\n')
    (new.parent / "ca.pem").write_bytes(authority.certificate_pem)
    assert run(new, target).exit_code == 1
    (target.parent / "ca.pem").write_bytes(authority.certificate_pem)
    assert run(new, target).exit_code == 0


def test_link_stays(new: Path, target: Path) -> None:
    """If the target is a link, the file that it points to is replaced and the link stays."""
    real = target.parent / "real.toml"
    real.write_text("old")
    target.symlink_to(real.name)
    assert run(new, target).exit_code == 0
    assert target.is_symlink()
    assert real.read_bytes() == sealed(TEXT.encode())


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o644)])
def test_mode_is_kept(new: Path, target: Path, before: int, after: int) -> None:
    """The new file has the mode of the old file, without write permission for others."""
    target.write_text("old")
    target.chmod(before)
    assert run(new, target).exit_code == 0
    assert mode(target) == after


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_owner_is_kept(new: Path, target: Path) -> None:
    """The new file has the owner and the group of the old one, so that the site can read it."""
    target.write_text("old")
    os.chown(target, 1234, 5678)
    target.chmod(0o600)
    assert run(new, target).exit_code == 0
    status = target.stat()
    assert (status.st_uid, status.st_gid) == (1234, 5678)


@pytest.mark.parametrize(("before", "exit_code"), [(0o644, 0), (0o640, 2)])
def test_owner_that_cannot_be_kept(
    new: Path, target: Path, monkeypatch: pytest.MonkeyPatch, before: int, exit_code: int
) -> None:
    """If the owner cannot be kept, only a file that everybody may read is replaced."""
    target.write_text("old")
    target.chmod(before)

    def not_permitted(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted", "file")

    def of_somebody_else(path: str) -> os.stat_result:
        fields = list(os_stat(path))
        fields[4] += str(path) == str(target)
        return os.stat_result(fields)

    os_stat = os.stat
    with monkeypatch.context() as patch:
        patch.setattr(install.os, "chown", not_permitted)
        patch.setattr(install.os, "stat", of_somebody_else)
        result = run(new, target)
    assert result.exit_code == exit_code, result.output
    assert os.listdir(target.parent) == [target.name]
    assert (target.read_text() == "old") == (exit_code == 2)


def test_share_without_modes(new: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is installed even if its modes cannot be set."""

    def not_permitted(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted", "file")

    monkeypatch.setattr(install.os, "chmod", not_permitted)
    assert run(new, target).exit_code == 0


def test_files_that_cannot_be_read_or_written(new: Path, target: Path) -> None:
    """A file or folder that does not exist is exit code 2, with its name."""
    result = run(new.with_name("absent.toml"), target)
    assert result.exit_code == 2
    assert "absent.toml': No such file" in result.stderr
    result = run(new, target.parent / "absent" / "partners.toml")
    assert result.exit_code == 2
    assert "No such file" in result.stderr
    assert run(new).exit_code == 2


def test_failure_leaves_nothing_behind(
    new: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the last step fails, the target and its folder do not change."""
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "partners.toml")

    monkeypatch.setattr(install.os, "replace", full)
    result = run(new, target)
    assert result.exit_code == 2
    assert "No space left" in result.stderr
    assert os.listdir(target.parent) == [target.name]
    assert target.read_text() == "old"


def test_content_reaches_the_disk_before_it_replaces(
    new: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced, then renamed to the target, and then the folder is synced."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if is_folder else "file")
        fsync(descriptor)

    def replaced(old: str, new: Path) -> None:
        done.append("replace")
        replace(old, new)

    monkeypatch.setattr(install.os, "fsync", synced)
    monkeypatch.setattr(install.os, "replace", replaced)
    install_file(new, target)
    assert done == ["file", "replace", "folder"]


def test_folder_that_cannot_be_synced(
    new: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is installed even if its folder cannot be synced, as on some shares."""
    fsync = os.fsync

    def no_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(install.os, "fsync", no_folders)
    assert run(new, target).exit_code == 0


def test_warnings_are_printed(new: Path, target: Path) -> None:
    """A probable mistake, and a path that the site will refuse, is a warning on stderr."""
    pin = self_signed("a").certificate.sha256_fingerprint
    new.write_text(
        f'[[default]]\nfingerprints = [{{fingerprint = "{pin}", not_after = 2020-01-01}}]\n'
    )
    target.parent.chmod(0o777)
    result = run(new, target)
    assert result.exit_code == 0
    assert 'warning: ARRCERT_FILE["default"][0]["fingerprints"]: the pin' in result.stderr
    assert f"warning: the site refuses '{target}': it is in the folder" in result.stderr


def test_help_of_install_file() -> None:
    """The help states the meaning of each exit code."""
    result = CliRunner().invoke(main, ["install-file", "--help"])
    assert "0 if TARGET was replaced, 1 if NEW is refused" in " ".join(result.output.split())
