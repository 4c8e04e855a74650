"""Which certificates a revocation list covers (RFC 5280 sections 5.2.5 and 6.3.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    CRLDistributionPoints,
    DirectoryName,
    ExtensionNotFound,
    GeneralName,
    IssuingDistributionPoint,
    Name,
    ReasonFlags,
    RelativeDistinguishedName,
    UniformResourceIdentifier,
)

from arrcert.exceptions import quote

ALL_REASONS = frozenset(ReasonFlags) - {ReasonFlags.unspecified, ReasonFlags.remove_from_crl}
"""All reasons to which a list can be limited."""

_MOST_NAMES = 3
"""The largest number of distribution point names that a message shows."""


class Scope(NamedTuple):
    """To what a revocation list is limited; by default there is no limit.

    Attributes:
        points: the names of the list's distribution point; None if the list names none.
        only_user_certificates: whether the list is only for certificates that are not CA
            certificates.
        only_ca_certificates: whether the list is only for CA certificates.
        only_attribute_certificates: whether the list is only for attribute certificates. arrcert
            does not check such certificates.
        reasons: the reasons of revocation that the list covers.
    """

    points: frozenset[GeneralName] | None = None
    only_user_certificates: bool = False
    only_ca_certificates: bool = False
    only_attribute_certificates: bool = False
    reasons: frozenset[ReasonFlags] = ALL_REASONS

    def is_for_kind(self, *, is_ca: bool) -> bool:
        """Return whether the list is for a kind of certificate.

        Args:
            is_ca: whether the certificate is a CA certificate.
        """
        return self.why_not_this_kind(is_ca=is_ca) is None

    def why_not_this_kind(self, *, is_ca: bool) -> str | None:
        """Return why the list is not for a kind of certificate, None if it is.

        Args:
            is_ca: whether the certificate is a CA certificate.
        """
        if self.only_attribute_certificates:
            return "it is only for attribute certificates"
        if self.only_user_certificates and is_ca:
            return "it is for certificates that are no CA, and this is a CA certificate"
        if self.only_ca_certificates and not is_ca:
            return "it is only for CA certificates, and this is not one"
        return None

    def __str__(self) -> str:
        """Return the scope for a log: `for CA certificates, for the reasons superseded`."""
        kinds = {
            "for certificates that are no CA": self.only_user_certificates,
            "for CA certificates": self.only_ca_certificates,
            "for attribute certificates": self.only_attribute_certificates,
        }
        parts = [words for words, is_limited in kinds.items() if is_limited]
        if self.points is not None:
            parts.append(f"for the distribution point {names_of(self.points)}")
        if self.reasons != ALL_REASONS:
            parts.append(f"for the reasons {reasons_of(self.reasons)}")
        return ", ".join(parts) or "for every certificate"


def scope_of(limits: IssuingDistributionPoint | None, issuer: Name) -> Scope:
    """Return the scope of a list.

    Args:
        limits: the list's issuing distribution point; None if it has none.
        issuer: the name of the CA that issued the list.

    It does not look at `indirect_crl`: such a list is refused when it is read.
    """
    if limits is None:
        return Scope()
    names = _names(limits.full_name, limits.relative_name, issuer)
    reasons = limits.only_some_reasons
    return Scope(
        None if names is None else frozenset(names),
        limits.only_contains_user_certs,
        limits.only_contains_ca_certs,
        limits.only_contains_attribute_certs,
        ALL_REASONS if reasons is None else ALL_REASONS & reasons,
    )


class Points(NamedTuple):
    """The distribution points of a certificate.

    Attributes:
        reasons: the name of each point, and the reasons that the lists of this point cover.
        are_written: False if the certificate names no point. Then its only point is the name of its
            issuer (RFC 5280 section 6.3.3).
    """

    reasons: Mapping[GeneralName, frozenset[ReasonFlags]]
    are_written: bool

    def __str__(self) -> str:
        """Return the names for a log."""
        if not self.are_written:
            return "no distribution point"
        if not self.reasons:
            return "no distribution point that can be used"
        return f"the distribution point {names_of(self.reasons)}"


def points_of(certificate: Certificate) -> Points:
    """Return the distribution points of a certificate (RFC 5280 section 4.2.1.13).

    Args:
        certificate: a client's or a CA's certificate.

    A point with a cRLIssuer is left out, because its lists are indirect. If the extension cannot be
    read, the certificate has no point that a list can match.
    """
    try:
        points = list(certificate.extensions.get_extension_for_class(CRLDistributionPoints).value)
    except ExtensionNotFound:
        return Points({DirectoryName(certificate.issuer): ALL_REASONS}, are_written=False)
    # cryptography decodes the extension here, and hostile bytes may raise any exception.
    except Exception:
        return Points({}, are_written=True)
    reasons: dict[GeneralName, frozenset[ReasonFlags]] = {}
    for point in points:
        if point.crl_issuer is not None:
            continue
        covered = ALL_REASONS if point.reasons is None else ALL_REASONS & point.reasons
        for name in _names(point.full_name, point.relative_name, certificate.issuer) or ():
            reasons[name] = reasons.get(name, frozenset()) | covered
    return Points(reasons, are_written=True)


def is_ca(certificate: Certificate) -> bool:
    """Return whether a certificate is a CA certificate: its basicConstraints say CA:TRUE.

    Args:
        certificate: a certificate of a validated path.
    """
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False


def names_of(names: Iterable[GeneralName]) -> str:
    """Return the names of distribution points for a log; at most three of them.

    Args:
        names: the names. Their text may be hostile.
    """
    texts = sorted(quote(_text_of(name)) for name in names)
    more = f" and {len(texts) - _MOST_NAMES} more" if len(texts) > _MOST_NAMES else ""
    return ", ".join(itertools.islice(texts, _MOST_NAMES)) + more


def reasons_of(reasons: Iterable[ReasonFlags]) -> str:
    """Return reasons of revocation for a log, as RFC 5280 writes them."""
    return ", ".join(sorted(reason.value for reason in reasons)) or "(none)"


def _names(
    full_name: Iterable[GeneralName] | None,
    relative_name: RelativeDistinguishedName | None,
    issuer: Name,
) -> list[GeneralName] | None:
    """Return the names of a distribution point; None if it has no name."""
    if full_name is not None:
        return list(full_name)
    if relative_name is not None:
        return [DirectoryName(Name([*issuer.rdns, relative_name]))]
    return None


def _text_of(name: GeneralName) -> str:
    if isinstance(name, UniformResourceIdentifier):
        return name.value
    if isinstance(name, DirectoryName):
        return name.value.rfc4514_string()
    return str(name.value)
