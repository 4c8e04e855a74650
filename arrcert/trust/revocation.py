"""Revocation: the lists of one snapshot, and what they say about a certification path."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.x509 import Certificate, Name

from arrcert.exceptions import DenialReason, Finding, quote
from arrcert.trust.crls import (
    RevocationList,
    may_sign_lists,
    quote_serial_number,
    signer_of,
)


class Replacement(NamedTuple):
    """What came of a reload.

    Attributes:
        lists: what holds from now on.
        refused: lists that do not count, since a newer one of the same signer was held; to be
            logged.
    """

    lists: RevocationLists
    refused: tuple[RevocationList, ...]


class RevocationLists:
    """The lists of one snapshot, at most one of each signer; immutable.

    Args:
        lists: of several by the same signer the newest holds, also where it does not hold yet.
    """

    __slots__ = ("_held",)

    def __init__(self, lists: Iterable[RevocationList] = ()) -> None:
        held: dict[tuple[Name, bytes], RevocationList] = {}
        for candidate in lists:
            signer = candidate.signer
            if signer not in held or held[signer].is_older_than(candidate):
                held[signer] = candidate
        self._held = held

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[RevocationList]:
        return iter(self._held.values())

    def replaced_by(self, lists: Iterable[RevocationList]) -> Replacement:
        """Return the lists that hold after a reload; these ones stay as they are.

        A list that is older than the held one of its signer does not count: whoever can put back
        yesterday's file must not be able to pardon (RFC 5280 section 5.2.3: numbers only grow).

        Args:
            lists: everything that was read. What is held of a signer that has none among them is
                dropped; to keep the list of a bad file, hand it over again.
        """
        after = RevocationLists(lists)
        refused = []
        for signer, candidate in after._held.items():
            held = self._held.get(signer)
            if held is not None and candidate.is_older_than(held):
                refused.append(candidate)
                after._held[signer] = held
        return Replacement(after, tuple(refused))

    def check(self, path: Sequence[Certificate], at: datetime) -> Finding | None:
        """Return why a certificate of a path is revoked or unknown (RFC 5280 section 6.3.3).

        Each certificate below the anchor needs a current list of the CA above it. An entry in a
        list that is not current still revokes. A certificate that such a list does not name is
        unknown.

        Args:
            path: a validated path, from the leaf to the trust anchor.
            at: the moment, aware.

        Returns:
            `revoked`; else `revocation_unknown` if a list is missing or not current; else None.

        This does not check the path, nor the anchor, which no CA can revoke.
        """
        unknown: Finding | None = None
        for position, (subject, ca) in enumerate(itertools.pairwise(path)):
            held, missing = self._of(ca)
            if held is not None:
                if held.revokes(subject.serial_number):
                    # This outranks an unknown status of a certificate before it.
                    return Finding(
                        DenialReason.REVOKED,
                        f"the revocation list {held.source} names the serial number"
                        f" {quote_serial_number(subject.serial_number)} of"
                        f" {_role(position, subject)}",
                    )
                missing = held.why_not_current(at)
            if missing is not None and unknown is None:
                unknown = Finding(
                    DenialReason.REVOCATION_UNKNOWN,
                    f"nothing tells whether {_role(position, subject)} is revoked: {missing};"
                    f" its CA is {quote(ca.subject.rfc4514_string())}",
                )
        return unknown

    def next_update_of(self, path: Sequence[Certificate]) -> datetime | None:
        """Return the earliest nextUpdate of the lists that a path needs.

        Args:
            path: a path that `check` has found to be good.

        Returns:
            The moment, aware; None for a leaf that is its own anchor.
        """
        lists = [self._held[signer_of(ca)] for ca in path[1:]]
        return min((held.next_update_utc for held in lists), default=None)

    def _of(self, ca: Certificate) -> tuple[RevocationList | None, str | None]:
        """Return the list that speaks for a CA, or None and why there is none."""
        held = self._held.get(signer_of(ca))
        if held is None:
            return None, "there is no revocation list of its CA"
        if not may_sign_lists(ca):
            return None, "its CA may not sign revocation lists, as its key usage lacks cRLSign"
        return held, None

    def __repr__(self) -> str:
        return f"<RevocationLists {list(self)}>"


def _role(position: int, certificate: Certificate) -> str:
    if position == 0:
        return "the client's certificate"
    return f"the CA certificate {quote(certificate.subject.rfc4514_string())}"
