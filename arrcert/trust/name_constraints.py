"""Name constraints (RFC 5280 section 4.2.1.10) that cryptography does not apply.

`cryptography.x509.verification` applies name constraints to the subject alternative name only. A
certificate with a name in its subject and no subject alternative name passes all of them. Whether
cryptography ignores or refuses constraints on directory names and URIs depends on the certificate.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import cast

from cryptography.x509 import (
    Certificate,
    DirectoryName,
    DNSName,
    ExtensionNotFound,
    GeneralName,
    IPAddress,
    NameConstraints,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
)
from cryptography.x509.oid import NameOID

from arrcert.exceptions import quote

_LOOKS_LIKE_DNS = re.compile(r"[^\s@]+\.[^\s@]+")


def unsupported_constraint(ca: Certificate) -> str | None:
    """Return why a CA's name constraints cannot be enforced, or None if they can.

    `cryptography` does not compare directory names and URIs, and it ignores the minimum and maximum
    of a subtree. A CA with such constraints is refused, even if the extension is not critical,
    because a limited CA must not be trusted beyond its limits.

    Args:
        ca: the CA certificate.

    It does not apply the constraints to any name; `violation` does.
    """
    constraints = _constraints_of(ca)
    return None if constraints is None else _unsupported(ca, constraints)


def _unsupported(ca: Certificate, constraints: NameConstraints) -> str | None:
    for name in (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())):
        if isinstance(name, DirectoryName):
            return "has name constraints on directory names, which arrcert cannot enforce"
        if isinstance(name, UniformResourceIdentifier):
            return "has name constraints on URIs, which arrcert cannot enforce"
    # `NameConstraints` does not store these numbers, so they are lost when it is encoded again.
    # Then the certificate does not contain the encoding.
    if constraints.public_bytes() not in ca.tbs_certificate_bytes:
        return (
            "has name constraints with a minimum or maximum, which arrcert cannot enforce (RFC 5280"
            " section 4.2.1.10 forbids them)"
        )
    return None


def violation(path: Sequence[Certificate]) -> str | None:
    """Return how a certification path violates its CAs' name constraints, or None if it does not.

    Constraints on e-mail addresses apply to the subject's emailAddress (RFC 5280 section
    4.2.1.10). Constraints on DNS names, IP addresses and e-mail addresses also apply to the common
    names of the leaf, because a policy can allow a client by its common name.

    Args:
        path: the certificates from the leaf to the trust anchor.

    It does not check the subject alternative names: `cryptography`'s verifier did that when it
    accepted the path.
    """
    for depth, ca in enumerate(path[1:], start=1):
        constraints = _constraints_of(ca)
        if constraints is None:
            continue
        unsupported = _unsupported(ca, constraints)
        if unsupported is not None:
            return f"the CA {_subject(ca)} cannot be trusted: it {unsupported}"
        for below, certificate in enumerate(path[:depth]):
            for name in _names_in_subject(certificate, is_leaf=below == 0):
                if not _is_permitted(name, constraints):
                    return (
                        f"the name {quote(name.value)} in the subject of {_subject(certificate)}"
                        f" violates the name constraints of the CA {_subject(ca)}"
                    )
    return None


_SUBJECT_WEIGHT = 8
"""How many comparisons of `cryptography` cost as much as one of `violation`."""


def comparisons(path: Sequence[Certificate]) -> int:
    """Return about how many comparisons the name constraints of a path need.

    `cryptography` compares each subject alternative name with each constraint of the CAs above it,
    and `violation` each name in a subject.

    Args:
        path: the certificates from the leaf to the trust anchor. They need not be valid.
    """
    limits = [_number_of_constraints(ca) for ca in path[1:]]
    return sum(
        _number_of_names(certificate) * sum(limits[depth:])
        for depth, certificate in enumerate(path[:-1] if any(limits) else ())
    )


def _number_of_constraints(ca: Certificate) -> int:
    try:
        constraints = _constraints_of(ca)
    # Hostile bytes raise any exception. `cryptography` refuses them.
    except Exception:
        return 0
    if constraints is None:
        return 0
    return len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())


def _number_of_names(certificate: Certificate) -> int:
    """Return how many names constraints may apply to; one in the subject counts as several."""
    subject = certificate.subject
    in_subject = sum(
        len(subject.get_attributes_for_oid(oid))
        for oid in (NameOID.EMAIL_ADDRESS, NameOID.COMMON_NAME)
    )
    return _SUBJECT_WEIGHT * in_subject + _number_of_alternative_names(certificate)


def _number_of_alternative_names(certificate: Certificate) -> int:
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    # The extension is missing, or hostile bytes raise any exception.
    except Exception:
        return 0
    return len(tuple(names))


@functools.lru_cache(maxsize=256)
def _constraints_of(ca: Certificate) -> NameConstraints | None:
    try:
        return ca.extensions.get_extension_for_class(NameConstraints).value
    except ExtensionNotFound:
        return None


def _subject(certificate: Certificate) -> str:
    return quote(certificate.subject.rfc4514_string())


class _Name:
    """A name from a subject, with the kind of general name whose constraints apply to it."""

    def __init__(self, kind: type[GeneralName], value: str) -> None:
        self.kind = kind
        self.value = value


def _names_in_subject(certificate: Certificate, *, is_leaf: bool) -> Iterator[_Name]:
    if not is_leaf and certificate.subject == certificate.issuer:
        return  # RFC 5280 section 6.1.3 (b): constraints do not apply to a self-issued CA.
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        yield _Name(RFC822Name, str(attribute.value))
    if not is_leaf:
        return
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        text = str(attribute.value)
        if _is_ip_address(text):
            yield _Name(IPAddress, text)
        elif "@" in text:
            yield _Name(RFC822Name, text)
        elif _LOOKS_LIKE_DNS.fullmatch(text):
            yield _Name(DNSName, text)


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_permitted(name: _Name, constraints: NameConstraints) -> bool:
    """Return whether a name is in a permitted subtree, if there is one, and in no excluded one."""
    permitted = [base for base in constraints.permitted_subtrees or () if type(base) is name.kind]
    excluded = [base for base in constraints.excluded_subtrees or () if type(base) is name.kind]
    if any(_in_subtree(name, base, in_doubt=True) for base in excluded):
        return False
    return not permitted or any(_in_subtree(name, base, in_doubt=False) for base in permitted)


def _in_subtree(name: _Name, base: GeneralName, *, in_doubt: bool) -> bool:
    """Return whether a name is in a subtree; `in_doubt` is the answer for a malformed address."""
    text = name.value.lower().rstrip(".")
    if isinstance(base, IPAddress):
        network = cast("ipaddress.IPv4Network | ipaddress.IPv6Network", base.value)
        return ipaddress.ip_address(name.value) in network
    limit = str(base.value)
    if isinstance(base, DNSName):
        limit = limit.lower()
        return not limit or text == limit or text.endswith(f".{limit.removeprefix('.')}")
    mailbox, at, host = name.value.rpartition("@")
    if not (mailbox and at and host):
        return in_doubt
    limited_mailbox, at, limited_host = limit.rpartition("@")
    if at and mailbox != limited_mailbox:
        return False
    host, limited_host = host.lower(), limited_host.lower()
    return host.endswith(limited_host) if limited_host.startswith(".") else host == limited_host
