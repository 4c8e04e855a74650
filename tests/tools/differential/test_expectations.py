"""`tools/differential/expectations.py`: the verdict that arrcert must give is written down."""

from __future__ import annotations

from collections import Counter

import pytest

import tools.differential.minting  # noqa: F401 - It registers the variations.
from tools.differential.expectations import expectations, expected
from tools.differential.registry import VARIATIONS

EXPIRED, LATER = "leaf: expired one second ago", "leaf: ends in 2050"
WILD = "leaf: a wild change"
UNUSED_BITS = "intermediate: the signature has unused bits"


def test_every_variation_has_an_expectation() -> None:
    """The file has each variation once, and `either` only for variations with random bytes."""
    assert set(expectations()) == set(VARIATIONS)
    assert set(Counter(expectations().values())) == {"accept", "deny", "either"}
    for name, verdict in expectations().items():
        is_random = VARIATIONS[name].area == "wild" or name == UNUSED_BITS
        assert (verdict == "either") == is_random, name


@pytest.mark.parametrize(
    ("variations", "verdict"),
    [
        ([], "accept"),
        ([LATER], "accept"),
        ([LATER, EXPIRED], "deny"),
        ([WILD], "either"),
        ([WILD, LATER], "either"),
        ([WILD, EXPIRED], "deny"),
    ],
)
def test_one_denial_suffices(variations: list[str], verdict: str) -> None:
    """A chain is denied if at least one of its variations must be denied."""
    assert expected(variations) == verdict
