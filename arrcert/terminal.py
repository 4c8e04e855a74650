"""The width in which the commands print."""

from __future__ import annotations

import os
import shutil
from typing import Protocol

UNLIMITED = 100_000
"""The width if lines are not wrapped."""


class Stream(Protocol):
    """The part of a text stream that `width_of` needs."""

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""


def width_of(stream: Stream) -> int:
    """Return the width in characters at which lines for a stream are wrapped.

    Args:
        stream: the stream that a command prints to.

    Returns:
        The width of the terminal. Without a terminal it is `UNLIMITED`, so that `grep` finds each
        word of a table. The environment variable `COLUMNS` overrides both.
    """
    columns = os.environ.get("COLUMNS", "")
    is_given = columns.isdecimal() and int(columns) > 0
    if is_given or stream.isatty():
        return shutil.get_terminal_size().columns
    return UNLIMITED
