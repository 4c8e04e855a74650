"""Checks the certificates of a certification path against revocation lists."""

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
    """The result of a reload.

    Attributes:
        lists: the lists that count after the reload.
        refused: lists that were read but do not count, because the one before is newer. The caller
            logs them.
    """

    lists: RevocationLists
    refused: tuple[RevocationList, ...]


class RevocationLists:
    """At most one revocation list for each signer; immutable.

    Args:
        lists: the lists. If a signer has several, the newest one counts, even if it is not current
            yet.
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
        """Return the lists that count after a reload, without a change to this object.

        A list does not replace a newer list of the same signer (RFC 5280 section 5.2.3: numbers
        only increase). Otherwise an attacker who can restore an old file could undo a revocation.

        Args:
            lists: all lists that were read. A signer without a list among them has none afterwards.
                To keep the list of a file that cannot be read, pass it again.
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

        Every certificate below the trust anchor needs a current list of the CA that issued it. A
        certificate that an expired list names is revoked; one that it does not name is unknown.

        Args:
            path: a validated path, from the leaf to the trust anchor.
            at: the moment, an aware datetime.

        Returns:
            `revoked`; else `revocation_unknown` if a list is missing or not current; else None.

        It does not check the path itself, or the trust anchor, which no CA can revoke.
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
        # Only after every certificate was checked, because `revoked` outranks `revocation_unknown`.
        return unknown

    def next_update_of(self, path: Sequence[Certificate]) -> datetime | None:
        """Return the earliest nextUpdate of the lists that a path needs.

        Args:
            path: a path for which `check` returned None.

        Returns:
            The moment, an aware datetime; None if the leaf is its own trust anchor.
        """
        lists = [self._held[signer_of(ca)] for ca in path[1:]]
        return min((held.next_update_utc for held in lists), default=None)

    def _of(self, ca: Certificate) -> tuple[RevocationList | None, str | None]:
        """Return the list of a CA, or None and the reason why there is none."""
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
