"""A client certificate as frozen facts."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, NoReturn

from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DNSName,
    ExtendedKeyUsage,
    ExtensionNotFound,
    Name,
    ObjectIdentifier,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import NameOID

from arrcert.exceptions import CertificateDenied, DenialReason, quote


class ClientCertificate:
    """One X.509 certificate (RFC 5280) and what can be read off it; made by `from_der`.

    Equal when the DER is equal, hashable, immutable. Holding one proves nothing: only a `Policy`
    decides.

    Attributes:
        der: the bytes as they were received.
        x509: the `cryptography.x509.Certificate`.
        sha256_fingerprint: upper-case hex over the DER, without separators.
        sha1_fingerprint: the same with SHA-1; App Service and Windows call it the thumbprint.
        subject: the subject's name as RFC 4514 text.
        issuer: the issuer's name as RFC 4514 text.
        common_name: the subject's common name; None unless there is exactly one.
        issuer_common_name: the issuer's common name; None unless there is exactly one.
        serial_number: the serial number.
        not_valid_before_utc: first second of the validity, aware.
        not_valid_after_utc: last second of the validity, aware.
        dns_names: DNS names of the subject alternative name.
        uris: URIs of the subject alternative name.
        email_addresses: e-mail addresses of the subject alternative name.
        is_ca: whether the basic constraints say CA:TRUE.
        extended_key_usages: the extended key usages as pyca object identifiers; None without any.
    """

    __slots__ = (
        "common_name",
        "der",
        "dns_names",
        "email_addresses",
        "extended_key_usages",
        "is_ca",
        "issuer",
        "issuer_common_name",
        "not_valid_after_utc",
        "not_valid_before_utc",
        "serial_number",
        "sha1_fingerprint",
        "sha256_fingerprint",
        "subject",
        "uris",
        "x509",
    )

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

    def __init__(self) -> None:
        raise TypeError("make a ClientCertificate by from_der() or from_pem()")

    @classmethod
    def from_der(cls, der: bytes) -> ClientCertificate:
        """Parse exactly one DER certificate.

        Args:
            der: the certificate, with nothing after it.

        Raises:
            CertificateDenied: `malformed`, where the bytes, a name, a date or an extension cannot
                be read, or an extension comes twice (RFC 5280 section 4.2).

        It does not check the signature, the validity or anything else that a `Policy` decides.
        """
        try:
            return cls._from_x509(bytes(der), load_der_x509_certificate(der))
        # Hostile bytes: cryptography documents ValueError, and its lazily decoded parts raise
        # TypeError, UnsupportedAlgorithm, DuplicateExtension and more besides.
        except Exception as error:
            raise CertificateDenied(
                DenialReason.MALFORMED, f"not a certificate: {quote(error)}"
            ) from error

    @classmethod
    def from_pem(cls, pem: str | bytes) -> ClientCertificate:
        """Parse exactly one PEM certificate (RFC 7468 section 5); text around it is ignored.

        Args:
            pem: text or bytes that hold one `CERTIFICATE` block.

        Raises:
            CertificateDenied: `malformed`, as in `from_der`, or where there is not exactly one.
        """
        try:
            [certificate] = load_pem_x509_certificates(
                pem.encode("utf-8") if isinstance(pem, str) else pem
            )
        except Exception as error:
            raise CertificateDenied(
                DenialReason.MALFORMED, f"not exactly one PEM certificate: {quote(error)}"
            ) from error
        return cls.from_der(der_of(certificate))

    @classmethod
    def _from_x509(cls, der: bytes, certificate: Certificate) -> ClientCertificate:
        subject, issuer = certificate.subject, certificate.issuer
        try:
            names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        except ExtensionNotFound:
            names = None
        try:
            usages = certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value
        except ExtensionNotFound:
            usages = None
        try:
            is_ca = certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
        except ExtensionNotFound:
            is_ca = False
        facts: dict[str, Any] = {
            "der": der,
            "x509": certificate,
            "sha256_fingerprint": hashlib.sha256(der).hexdigest().upper(),
            "sha1_fingerprint": hashlib.sha1(der, usedforsecurity=False).hexdigest().upper(),
            "subject": subject.rfc4514_string(),
            "issuer": issuer.rfc4514_string(),
            "common_name": _only_common_name(subject),
            "issuer_common_name": _only_common_name(issuer),
            "serial_number": certificate.serial_number,
            "not_valid_before_utc": certificate.not_valid_before_utc,
            "not_valid_after_utc": certificate.not_valid_after_utc,
            "dns_names": tuple(names.get_values_for_type(DNSName)) if names else (),
            "uris": tuple(names.get_values_for_type(UniformResourceIdentifier)) if names else (),
            "email_addresses": tuple(names.get_values_for_type(RFC822Name)) if names else (),
            "is_ca": is_ca,
            "extended_key_usages": None if usages is None else tuple(usages),
        }
        self = cls.__new__(cls)
        for name, value in facts.items():
            object.__setattr__(self, name, value)
        return self

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


def der_of(certificate: Certificate) -> bytes:
    """Return the bytes that a pyca certificate was parsed from."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _only_common_name(name: Name) -> str | None:
    values = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None
