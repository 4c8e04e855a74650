"""Compare the verdicts on one chain, and find those that nothing explains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tools.differential.chains import Chain
from tools.differential.classes import classify
from tools.differential.comparators.arrcert import RAISED
from tools.differential.expectations import ACCEPT, DENY, expected
from tools.differential.verdicts import Verdict

ACCEPT_FAILURE = "unexplained accept"
DENIAL_FAILURE = "unexplained denial"
DIFFERENCE_FAILURE = "unexplained difference"
EXCEPTION_FAILURE = "exception"


class Failure(NamedTuple):
    """A verdict that nothing explains.

    Attributes:
        kind: one of the four kinds above.
        number: the number of the chain.
        text: the variations and the verdicts.
        other: the implementation that gave the other verdict; empty if there is none.
    """

    kind: str
    number: int
    text: str
    other: str = ""


class Result(NamedTuple):
    """The result for one chain.

    Attributes:
        differences: the class and the other implementation of each explained difference.
        failures: the verdicts that nothing explains.
    """

    differences: list[tuple[str, str]]
    failures: list[Failure]


def check(chain: Chain, ours: Verdict, others: Mapping[str, Verdict]) -> Result:
    """Compare the verdicts on a chain.

    Args:
        chain: the chain.
        ours: the verdict of arrcert.
        others: the verdict of each other implementation.
    """
    done = ", ".join(chain.variations) or "nothing"
    differences, failures = [], []

    def fail(kind: str, text: str, other: str = "") -> None:
        failures.append(Failure(kind, chain.number, f"[{done}] {text}", other))

    said = ours.text or "accepted"
    if ours.text.startswith(RAISED):
        fail(EXCEPTION_FAILURE, said)
    wanted = expected(chain.variations)
    if ours.accepted and wanted == DENY:
        fail(ACCEPT_FAILURE, "arrcert accepts what it must deny")
    if not ours.accepted and wanted == ACCEPT:
        fail(DENIAL_FAILURE, f"arrcert denies what it must accept: {said}")
    for other, theirs in others.items():
        if theirs.accepted == ours.accepted:
            continue
        found = classify(chain.variations, other, ours, theirs)
        if found is None:
            kind = ACCEPT_FAILURE if ours.accepted else DIFFERENCE_FAILURE
            fail(kind, f"arrcert: {said}; {other}: {theirs.text or 'accepted'}", other)
        else:
            differences.append((found.name, other))
    return Result(differences, failures)
