"""The verdict that arrcert must give on each variation, read from `expected.txt`.

The comparison alone does not notice a fault that all implementations share, or one of arrcert's
that looks like a known difference. So the file states the verdict on each variation. A chain with a
variation that must be denied must be denied. A chain whose variations must all be accepted must be
accepted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).parent / "expected.txt"

ACCEPT, DENY, EITHER = "accept", "deny", "either"


@functools.cache
def expectations() -> dict[str, str]:
    """Return `accept`, `deny` or `either` for the name of each variation."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return {name: expected for expected, name in pairs}


def expected(variations: Sequence[str]) -> str:
    """Return the verdict that arrcert must give on a chain with some variations."""
    verdicts = {expectations()[name] for name in variations}
    for verdict in (DENY, EITHER):
        if verdict in verdicts:
            return verdict
    return ACCEPT
