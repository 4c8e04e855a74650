"""The verdict that arrcert must give on each variation, read from `expected.txt`.

The comparison alone does not find an error that all implementations share, or an error of arrcert
that looks like a known difference. For this reason the file has the right verdict on each
variation. If one variation of a chain must be denied, the chain must be denied. If every variation
must be accepted, the chain must be accepted.
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
