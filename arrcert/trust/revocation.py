"""Checks the certificates of a certification path against revocation lists."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.x509 import Certificate, GeneralName, Name, ReasonFlags

from arrcert.exceptions import DenialReason, Finding, quote
from arrcert.trust.crls import (
    RevocationList,
    may_sign_lists,
    quote_serial_number,
    signer_of,
)
from arrcert.trust.scopes import ALL_REASONS, Scope, is_ca, points_of, reasons_of

_MOST_EXPLAINED = 3
"""The largest number of lists that a message explains."""


class Replacement(NamedTuple):
    """The result of a reload.

    Attributes:
        lists: the lists in use after the reload.
        refused: lists that were read but are not used, because the previous list is newer. The
            caller logs them.
    """

    lists: RevocationLists
    refused: tuple[RevocationList, ...]


class RevocationLists:
    """At most one revocation list for each signer and scope; immutable.

    A CA may publish several lists at the same time: one for each kind of certificate, for each
    partition of its certificates, or for each set of reasons.

    Args:
        lists: the lists. If a signer has several lists of the same scope, the newest list is used,
            even if it is not current yet.
    """

    __slots__ = ("_by_signer", "_held", "_stated")

    def __init__(self, lists: Iterable[RevocationList] = ()) -> None:
        held: dict[tuple[Signer, Scope], RevocationList] = {}
        # The same list may be read from a second file, without the operator's statement.
        stated = set()
        for candidate in lists:
            key = _key(candidate)
            if key not in held or held[key].is_older_than(candidate):
                held[key] = candidate
            if candidate.is_for_no_point:
                stated.add(key)
        self._set(held, stated)

    def _set(
        self, held: dict[tuple[Signer, Scope], RevocationList], stated: set[tuple[Signer, Scope]]
    ) -> None:
        self._held = held
        self._stated = stated
        self._by_signer: dict[Signer, _ListsOfOneCA] = {}
        for key, candidate in held.items():
            of_one_ca = self._by_signer.setdefault(candidate.signer, _ListsOfOneCA())
            of_one_ca.add(candidate, is_for_no_point=key in stated)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[RevocationList]:
        return iter(self._held.values())

    def replaced_by(self, lists: Iterable[RevocationList]) -> Replacement:
        """Return the lists to use after a reload. This object does not change.

        A list does not replace a newer list of the same signer and scope (RFC 5280 section 5.2.3:
        numbers only increase). Otherwise an attacker who can restore an old file could undo a
        revocation.

        Args:
            lists: all lists that were read. If there is no list for a signer and scope, the result
                has none either. To keep the list of a file that cannot be read, pass it again.
        """
        read = RevocationLists(lists)
        refused = []
        after = dict(read._held)
        for key, candidate in read._held.items():
            held = self._held.get(key)
            if held is not None and candidate.is_older_than(held):
                refused.append(candidate)
                after[key] = held
        if refused:
            read._set(after, read._stated)
        return Replacement(read, tuple(refused))

    def check(self, path: Sequence[Certificate], at: datetime) -> Finding | None:
        """Return a finding if a certificate of a path is revoked or unknown (RFC 5280, 6.3.3).

        Every certificate below the trust anchor needs current lists of the CA that issued it. The
        lists must cover the certificate, and together they must cover all reasons. If any list that
        covers a certificate names it, the certificate is revoked, even if the list has expired.

        Args:
            path: a validated path, from the leaf to the trust anchor.
            at: the time, a timezone-aware `datetime`.

        Returns:
            `revoked` if a list names a certificate; else `revocation_unknown` if no current list
            covers a certificate; else None.

        It does not check the path itself. It does not check the trust anchor, because no CA can
        revoke it.
        """
        unknown: Finding | None = None
        for position, (subject, ca) in enumerate(itertools.pairwise(path)):
            speaking = self._speaking_for(subject, ca)
            for held in speaking.lists():
                if held.revokes(subject.serial_number):
                    # Return at once: `revoked` is more important than an unknown status of another
                    # certificate.
                    return Finding(
                        DenialReason.REVOKED,
                        f"the revocation list in {held.source} names the serial number"
                        f" {quote_serial_number(subject.serial_number)} of"
                        f" {_role(position, subject)}",
                    )
            if unknown is None:
                missing = self._why_unknown(speaking, subject, ca, at)
                if missing is not None:
                    unknown = Finding(
                        DenialReason.REVOCATION_UNKNOWN,
                        f"it is unknown whether {_role(position, subject)} is revoked: {missing};"
                        f" its CA is {quote(ca.subject.rfc4514_string())}",
                    )
        # Return this only after all certificates were checked, because a later one may be revoked.
        return unknown

    def next_update_of(self, path: Sequence[Certificate], at: datetime) -> datetime | None:
        """Return the earliest nextUpdate of the current lists that cover a path.

        Args:
            path: a path for which `check` returned None.
            at: the time for which it did.

        Returns:
            The time, a timezone-aware `datetime`; None if the leaf is its own trust anchor.
        """
        return min(
            (
                held.next_update_utc
                for subject, ca in itertools.pairwise(path)
                for held in self._speaking_for(subject, ca).current(at)
            ),
            default=None,
        )

    def _speaking_for(self, subject: Certificate, ca: Certificate) -> _Speaking:
        """Return the lists of a CA that cover a certificate."""
        of_one_ca = self._by_signer.get(signer_of(ca))
        if of_one_ca is None or not may_sign_lists(ca):
            return _Speaking({}, ())
        return of_one_ca.speaking_for(subject)

    def _why_unknown(
        self, speaking: _Speaking, subject: Certificate, ca: Certificate, at: datetime
    ) -> str | None:
        """Return why the lists do not show the status of a certificate, None if they do."""
        covered = speaking.reasons_covered(at)
        if covered == ALL_REASONS:
            return None
        for held in speaking.lists():
            missing = held.why_not_current(at)
            if missing is not None:
                return missing
        if speaking.lists():
            return (
                f"its CA's lists cover the reasons {reasons_of(covered)} and no list covers"
                f" {reasons_of(ALL_REASONS - covered)}; configure the lists for the other reasons"
                " too"
            )
        of_one_ca = self._by_signer.get(signer_of(ca))
        if of_one_ca is None:
            return "there is no revocation list of its CA"
        if not may_sign_lists(ca):
            return "its CA may not sign revocation lists, because its key usage lacks cRLSign"
        return f"no revocation list of its CA covers it: {of_one_ca.why_silent(subject)}"

    def __repr__(self) -> str:
        return f"<RevocationLists {list(self)}>"


Signer = tuple[Name, bytes]
"""The name of a CA and the SHA-256 of its public key."""


def _key(held: RevocationList) -> tuple[Signer, Scope]:
    return held.signer, held.scope


class _Speaking(NamedTuple):
    """The lists that cover one certificate.

    Attributes:
        own: the lists whose scope contains the certificate, each with the reasons that it covers.
        stated: the lists that cover it only because the operator says so.
    """

    own: Mapping[RevocationList, frozenset[ReasonFlags]]
    stated: Sequence[RevocationList]

    def lists(self) -> list[RevocationList]:
        """Return all lists."""
        return [*self.own, *self.stated]

    def current(self, at: datetime) -> list[RevocationList]:
        """Return the lists that are current at a given time.

        The certificate may belong to any of the stated lists, so these are returned only if all of
        them are current.
        """
        current = [held for held in self.own if held.why_not_current(at) is None]
        if not any(held.why_not_current(at) for held in self.stated):
            current += self.stated
        return current

    def reasons_covered(self, at: datetime) -> frozenset[ReasonFlags]:
        """Return the reasons that the lists cover together at a given time.

        The certificate may belong to any of the stated lists, so they cover only the reasons that
        each of them covers.
        """
        current = self.current(at)
        covered = [self.own[held] for held in current if held in self.own]
        stated = [held.scope.reasons for held in current if held not in self.own]
        if stated:
            covered.append(frozenset.intersection(*stated))
        return frozenset().union(*covered)


class _ListsOfOneCA:
    """The lists of one signer, found by their distribution points.

    The cost of a search grows with the points of the certificate, not with the number of lists.
    """

    __slots__ = ("_all", "_by_point", "_stated", "_without_point")

    def __init__(self) -> None:
        self._all: list[RevocationList] = []
        self._without_point: list[RevocationList] = []
        self._by_point: dict[GeneralName, list[RevocationList]] = {}
        self._stated: list[RevocationList] = []

    def add(self, held: RevocationList, *, is_for_no_point: bool) -> None:
        """Add a list.

        Args:
            held: the list.
            is_for_no_point: whether it also covers certificates that name no point.
        """
        self._all.append(held)
        if held.scope.points is None:
            self._without_point.append(held)
            return
        for name in held.scope.points:
            self._by_point.setdefault(name, []).append(held)
        if is_for_no_point:
            self._stated.append(held)

    def speaking_for(self, subject: Certificate) -> _Speaking:
        """Return the lists that cover a certificate (RFC 5280 section 6.3.3, b)."""
        own = {held: held.scope.reasons for held in self._without_point}
        stated: list[RevocationList] = []
        if self._by_point:
            points = points_of(subject)
            for name, reasons in points.reasons.items():
                for held in self._by_point.get(name, ()):
                    own[held] = own.get(held, frozenset()) | (held.scope.reasons & reasons)
            if not points.are_written:
                stated = [held for held in self._stated if held not in own]
        is_for_ca = is_ca(subject)
        return _Speaking(
            {held: own[held] for held in own if held.scope.is_for_kind(is_ca=is_for_ca)},
            [held for held in stated if held.scope.is_for_kind(is_ca=is_for_ca)],
        )

    def why_silent(self, subject: Certificate) -> str:
        """Return why no list covers a certificate; it explains at most three lists."""
        # Explain first the lists with an entry for the serial number. Most likely they should cover
        # it.
        lists = sorted(self._all, key=lambda held: not held.revokes(subject.serial_number))
        points, is_for_ca = points_of(subject), is_ca(subject)
        texts = []
        for held in lists[:_MOST_EXPLAINED]:
            why = held.scope.why_not_this_kind(is_ca=is_for_ca)
            texts.append(
                f"{held.source} is a list {held.scope}, and "
                + (why or f"the certificate names {points}")
            )
            if held.revokes(subject.serial_number):
                texts.append("it names the serial number, but does not cover the certificate")
        if len(lists) > _MOST_EXPLAINED:
            texts.append(f"and {len(lists) - _MOST_EXPLAINED} more lists do not cover it either")
        if self._by_point and not points.are_written:
            texts.append(
                "if one of them is for certificates that name no distribution point, write"
                ' {"file": "...", "distribution_point": "https://..."} in crls'
            )
        return "; ".join(texts)


def _role(position: int, certificate: Certificate) -> str:
    if position == 0:
        return "the client's certificate"
    return f"the CA certificate {quote(certificate.subject.rfc4514_string())}"
