"""The code that several commands share for their options."""

from __future__ import annotations

from pathlib import Path

from arrcert.cli.apps import Failure


def read_file(option: str, path: Path) -> bytes:
    """Return the content of a file that an option names.

    Args:
        option: the option, for the message.
        path: the file.

    Raises:
        Failure: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{option}: cannot read {str(path)!r}: {error.strerror}") from error
