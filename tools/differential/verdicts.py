"""What an implementation says about a chain."""

from __future__ import annotations

from typing import NamedTuple


class Verdict(NamedTuple):
    """A verdict.

    Attributes:
        accepted: whether the client may enter.
        text: the error, empty if there is none.
    """

    accepted: bool
    text: str = ""


ACCEPTED = Verdict(True)
