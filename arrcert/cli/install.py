"""Installs a file of policies for `arrcert install-file`, with a checksum and in one step."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import click

from arrcert.cli.apps import Failure
from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.settings.contents import parsed, sealed, unsealed, why_writable
from arrcert.settings.file import read_generation, warnings_of


@click.command(
    "install-file",
    short_help="Check a file of policies, and replace another with it in one step.",
)
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
def install_file_command(new: Path, target: Path) -> None:
    """Check a file of policies, and replace another with it in one step.

    NEW is a TOML file for ARRCERT_FILE, and TARGET the file that ARRCERT_FILE names. All policies
    of NEW are built, and the files that they name are read; relative paths are relative to the
    folder of TARGET. Then NEW is written into that folder with its checksum in the first line, and
    takes the place of TARGET in one step. A running site uses it within seconds.

    The command prints what it did. The exit code is 0 if TARGET was replaced, 1 if NEW is refused,
    and 2 if a file cannot be read or written. If the exit code is not 0, TARGET did not change.
    """
    try:
        for line in install_file(new, target):
            click.echo(line, err=line.startswith("warning: "))
    except ConfigurationError as error:
        click.echo(f"{new}: refused: {error}", err=True)
        raise SystemExit(1) from error
    except OSError as error:
        raise Failure(
            f"cannot read or write {quote(error.filename or target)}: {error.strerror}"
        ) from error


def install_file(new: Path, target: Path) -> list[str]:
    """Check a file of policies and replace another one with it in one step.

    Args:
        new: the file to install. If its first line has a checksum, the checksum must match.
        target: the file to replace, or to create. If it is a link, the file that it points to is
            replaced.

    Returns:
        Sentences for the operator: the warnings, and in the last one what was done.

    Raises:
        ConfigurationError: `new` cannot be used; `target` did not change.
        OSError: a file cannot be read or written; `target` did not change.

    Relative paths in `new` are relative to the folder of `target`, where the site will read them.
    It does not know which folders the site serves.
    """
    real = os.path.realpath(target)
    try:
        text, _ = unsealed(new.read_bytes())
        # Parse it here too: below, errors would name the target, which is not the broken file.
        parsed(text)
    except ValueError as error:
        raise ConfigurationError([Problem("", f"{quote(new)} {error}")]) from error
    generation = read_generation(text, real, hashlib.sha256(text).hexdigest())
    said = [f"warning: {problem}" for problem in warnings_of(generation.places)]
    _replace(real, sealed(text))
    why = why_writable(os.path.abspath(target), real, os.stat(real).st_mode)
    if why is not None:
        said.append(f"warning: the site refuses {quote(real)}: it {why}")
    names = ", ".join(
        f"{name} ({len(alternatives)})" for name, alternatives in generation.policies.items()
    )
    return [*said, f"{target}: installed, SHA-256 {generation.sha256}; policies: {names}"]


def _replace(path: str, data: bytes) -> None:
    """Replace a file: a reader sees the old or the new content, also after a power failure.

    The new file has the owner and the mode of the old one, without write permission for the group
    and for others. If there is no old file, the mode is 0644.
    """
    folder = os.path.dirname(path)
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    mode = 0o644 if old is None else stat.S_IMODE(old.st_mode) & 0o755
    descriptor, temporary = tempfile.mkstemp(
        dir=folder, prefix=f".{os.path.basename(path)}.", suffix=".tmp"
    )
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if old is not None:
                _keep_owner(temporary, old)
            _set_mode(temporary, mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # The first error says more than one of the removal.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _keep_owner(path: str, old: os.stat_result) -> None:
    """Give a file the owner and the group of the old one.

    If this is not permitted, it is an error unless everybody may read the file: the site may run as
    another user, which could not read it.
    """
    new = os.stat(path)
    if (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid):
        return
    try:
        os.chown(path, old.st_uid, old.st_gid)
    except PermissionError:
        if not old.st_mode & stat.S_IROTH:
            raise


def _set_mode(path: str, mode: int) -> None:
    # Some network shares do not support modes.
    with contextlib.suppress(PermissionError):
        os.chmod(path, mode)


def _sync_folder(folder: str) -> None:
    """Write the folder to the disk, if the system supports that. Windows and some shares do not.

    An error is ignored, because the file is already replaced.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
