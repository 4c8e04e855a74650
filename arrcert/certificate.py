"""A client certificate, all parts of which were read successfully."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DNSName,
    ExtendedKeyUsage,
    Name,
    ObjectIdentifier,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from arrcert.exceptions import CertificateDenied, DenialReason, Finding, quote

MOST_READ = 16
"""How many certificates `read_presented_certificate` keeps. The largest certificate that is read
has 12 KB, and takes up to 700 KB of memory."""


class ClientCertificate:
    """One X.509 certificate (RFC 5280), all parts of which were read successfully.

    Make it with `from_der` or `from_pem`. It is immutable and hashable, and two are equal if their
    DER bytes are equal. A `ClientCertificate` proves nothing by itself: only a `Policy` decides
    whether it may enter.

    Attributes:
        der: the bytes as they were received.
        x509: the `cryptography.x509.Certificate`.
        sha256_fingerprint: SHA-256 over the DER, upper-case hex without separators.
        sha1_fingerprint: SHA-1 over the DER, upper-case hex without separators. App Service and
            Windows call it the thumbprint.
        subject: the subject's name as RFC 4514 text.
        issuer: the issuer's name as RFC 4514 text.
        common_name: the subject's common name; None unless there is exactly one.
        issuer_common_name: the issuer's common name; None unless there is exactly one.
        serial_number: the serial number, an integer.
        not_valid_before_utc: the first second of the validity, a timezone-aware `datetime` in UTC.
        not_valid_after_utc: the last second of the validity, a timezone-aware `datetime` in UTC.
        dns_names: the DNS names of the subject alternative name, a tuple.
        uris: the URIs of the subject alternative name, a tuple.
        email_addresses: the e-mail addresses of the subject alternative name, a tuple.
        is_ca: whether the basic constraints say CA:TRUE.
        extended_key_usages: the extended key usages as object identifiers; None without the
            extension.
        permits_client_auth: whether the extended key usages contain clientAuth. True if the
            certificate has no extended key usage.
    """

    der: bytes
    x509: Certificate
    sha256_fingerprint: str
    sha1_fingerprint: str
    subject: str
    issuer: str
    common_name: str | None
    issuer_common_name: str | None
    serial_number: int
    not_valid_before_utc: datetime
    not_valid_after_utc: datetime
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    email_addresses: tuple[str, ...]
    is_ca: bool
    extended_key_usages: tuple[ObjectIdentifier, ...] | None
    permits_client_auth: bool

    def __init__(self) -> None:
        raise TypeError("make a ClientCertificate by from_der() or from_pem()")

    @classmethod
    def from_der(cls, der: bytes) -> ClientCertificate:
        """Parse exactly one DER certificate.

        Args:
            der: the certificate, with nothing after it.

        Raises:
            CertificateDenied: `malformed`, if the bytes, a name, a date or an extension cannot be
                read, or if an extension occurs twice (RFC 5280 section 4.2).

        This does not check the signature, the validity or anything else that a `Policy` decides.
        """
        certificate = read_certificate(der)
        if isinstance(certificate, Finding):
            raise CertificateDenied(*certificate)
        return certificate

    @classmethod
    def from_pem(cls, pem: str | bytes) -> ClientCertificate:
        """Parse exactly one PEM certificate (RFC 7468 section 5); text around it is ignored.

        Args:
            pem: text or bytes that hold one `CERTIFICATE` block.

        Raises:
            CertificateDenied: `malformed`, as in `from_der`, or if `pem` does not hold exactly one
                certificate.
        """
        try:
            [certificate] = load_pem_x509_certificates(
                pem.encode("utf-8") if isinstance(pem, str) else pem
            )
        # No certificate or several are a ValueError. Hostile bytes may raise any exception.
        except Exception as error:
            raise CertificateDenied(
                DenialReason.MALFORMED, f"not exactly one PEM certificate: {quote(error)}"
            ) from error
        return cls.from_der(der_of(certificate))

    @classmethod
    def _read(cls, der: bytes) -> ClientCertificate:
        """Read every part of a certificate; raise whatever `cryptography` raises."""
        x509 = load_der_x509_certificate(der)
        # The signature is the last part of the certificate. It is a BIT STRING: the number of
        # unused bits, and then the bytes. cryptography ignores the number.
        if der[-len(x509.signature) - 1] != 0:
            raise ValueError("its signature has unused bits")
        self = cls.__new__(cls)
        facts: dict[str, Any] = {
            "der": der,
            "x509": x509,
            "sha256_fingerprint": hashlib.sha256(der).hexdigest().upper(),
            "sha1_fingerprint": hashlib.sha1(der, usedforsecurity=False).hexdigest().upper(),
            "subject": x509.subject.rfc4514_string(),
            "issuer": x509.issuer.rfc4514_string(),
            "common_name": _only_common_name(x509.subject),
            "issuer_common_name": _only_common_name(x509.issuer),
            "serial_number": x509.serial_number,
            "not_valid_before_utc": x509.not_valid_before_utc,
            "not_valid_after_utc": x509.not_valid_after_utc,
            "dns_names": (),
            "uris": (),
            "email_addresses": (),
            "is_ca": False,
            "extended_key_usages": None,
            "permits_client_auth": True,
        }
        for extension in x509.extensions:
            # The classes of cryptography have abstract bases, which makes isinstance() slow.
            value: Any = extension.value
            kind = type(value)
            if kind is SubjectAlternativeName:
                facts.update(_names_in(value))
            elif kind is BasicConstraints:
                facts["is_ca"] = value.ca
            elif kind is ExtendedKeyUsage:
                facts["extended_key_usages"] = usages = tuple(value)
                facts["permits_client_auth"] = ExtendedKeyUsageOID.CLIENT_AUTH in usages
        self.__dict__.update(facts)
        return self

    def matches_confirmation(self, claims: object) -> bool:
        """Return whether an access token is bound to this certificate (RFC 8705 section 3.1).

        Args:
            claims: the claims of the token, as a mapping. A JWT library must already have verified
                the token's signature, issuer, audience and dates.

        Returns:
            True if `claims["cnf"]["x5t#S256"]` is the SHA-256 of the certificate in base64url
            without padding. False if the token has no such value, and for a value of another type.

        The texts are compared in constant time. Other members of `cnf` are ignored (RFC 7800
        section 3.1). This does not verify the token, and does not decide whether the certificate
        may enter.
        """
        confirmation = claims.get("cnf") if isinstance(claims, Mapping) else None
        given = confirmation.get("x5t#S256") if isinstance(confirmation, Mapping) else None
        if not isinstance(given, str):
            return False
        digest = bytes.fromhex(self.sha256_fingerprint)
        expected = base64.urlsafe_b64encode(digest).rstrip(b"=")
        # JSON may hold lone surrogates.
        return hmac.compare_digest(given.encode("utf-8", "replace"), expected)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a ClientCertificate is immutable: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a ClientCertificate is immutable: {name}")

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, ClientCertificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __reduce__(self) -> tuple[Any, ...]:
        return (ClientCertificate.from_der, (self.der,))

    def __repr__(self) -> str:
        return f"<ClientCertificate {self.sha256_fingerprint} {quote(self.subject)}>"


def read_certificate(der: bytes) -> ClientCertificate | Finding:
    """Read all parts of one DER certificate, or return why that is not possible.

    Args:
        der: the certificate, with nothing after it.
    """
    try:
        return ClientCertificate._read(bytes(der))
    # Hostile bytes: cryptography documents ValueError, and its lazily decoded parts raise
    # TypeError, UnsupportedAlgorithm, DuplicateExtension and more.
    except Exception as error:
        return Finding(DenialReason.MALFORMED, f"not a certificate: {quote(error)}")


@functools.lru_cache(maxsize=MOST_READ)
def read_presented_certificate(der: bytes) -> ClientCertificate | Finding:
    """Return the result of `read_certificate`; keep the results of the last few certificates.

    Args:
        der: the certificate that a client presented.

    A denied client often tries again at once, and a site-wide gate and a view may each decide about
    the same request. The results are not decisions: they depend only on the bytes of the
    certificate.
    """
    return read_certificate(der)


def der_of(certificate: Certificate) -> bytes:
    """Return the bytes that a pyca certificate was parsed from."""
    # This module is slow to import, and most configurations do not need it.
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _names_in(alternative_name: SubjectAlternativeName) -> dict[str, tuple[str, ...]]:
    """Return the attributes of a `ClientCertificate` that hold names of a subject alternative name.

    Other kinds of names, such as IP addresses, are left out.
    """
    values: dict[type, list[str]] = {DNSName: [], UniformResourceIdentifier: [], RFC822Name: []}
    for name in alternative_name:
        if type(name) in values:
            values[type(name)].append(name.value)
    return {
        "dns_names": tuple(values[DNSName]),
        "uris": tuple(values[UniformResourceIdentifier]),
        "email_addresses": tuple(values[RFC822Name]),
    }


def _only_common_name(name: Name) -> str | None:
    values = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None
