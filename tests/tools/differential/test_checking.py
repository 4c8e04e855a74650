"""`tools/differential/checking.py`: which verdicts and differences are explained."""

from __future__ import annotations

import pytest

from tools.differential.chains import Chain
from tools.differential.checking import check
from tools.differential.classes import GO, OPENSSL
from tools.differential.verdicts import ACCEPTED, Verdict

EXPIRED = "leaf: expired one second ago"
ENCIPHERMENT = "leaf: keyUsage is keyEncipherment alone"
DENIED = Verdict(False, "expired: valid until ...")
PURPOSE = Verdict(False, "unsuitable certificate purpose (depth 0)")


def chain(*variations: str) -> Chain:
    """Return a chain whose certificates are not read."""
    return Chain(7, b"", [], [], variations)


@pytest.mark.parametrize(
    ("variations", "ours", "others", "kinds"),
    [
        ((), ACCEPTED, {OPENSSL: ACCEPTED, GO: ACCEPTED}, []),
        ((EXPIRED,), DENIED, {OPENSSL: DENIED, GO: DENIED}, []),
        ((EXPIRED,), ACCEPTED, {OPENSSL: ACCEPTED, GO: ACCEPTED}, ["unexplained accept"]),
        ((EXPIRED,), ACCEPTED, {OPENSSL: DENIED}, ["unexplained accept"] * 2),
        ((), ACCEPTED, {OPENSSL: DENIED}, ["unexplained accept"]),
        ((), DENIED, {OPENSSL: DENIED}, ["unexplained denial"]),
        ((EXPIRED,), DENIED, {OPENSSL: ACCEPTED}, ["unexplained difference"]),
        ((ENCIPHERMENT,), ACCEPTED, {OPENSSL: PURPOSE, GO: ACCEPTED}, []),
        ((EXPIRED,), Verdict(False, "raised: KeyError()"), {}, ["exception"]),
    ],
)
def test_what_is_explained(
    variations: tuple[str, ...], ours: Verdict, others: dict[str, Verdict], kinds: list[str]
) -> None:
    """A verdict of arrcert is explained by its expectation, and a difference by its class."""
    result = check(chain(*variations), ours, others)
    assert [failure.kind for failure in result.failures] == kinds
    assert all(failure.number == 7 for failure in result.failures)


def test_an_explained_difference_is_counted() -> None:
    """A difference with a class is counted under the class and the implementation."""
    result = check(chain(ENCIPHERMENT), ACCEPTED, {OPENSSL: PURPOSE})
    assert result.differences == [("the key usage of a leaf", OPENSSL)]
