"""A client certificate as frozen facts."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, NoReturn, Self, TypeVar, overload

from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DNSName,
    ExtendedKeyUsage,
    ExtensionType,
    Name,
    ObjectIdentifier,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from arrcert.exceptions import CertificateDenied, DenialReason, quote

_EXTENDED_KEY_USAGE = bytes.fromhex("0603551d25")
_SERVER_AUTH, _CLIENT_AUTH = (
    bytes.fromhex("06082b06010505070301"),
    bytes.fromhex("06082b06010505070302"),
)
_WITH_CLIENT_AUTH = tuple(
    critical + b"\x04" + bytes([len(usages) + 2]) + b"\x30" + bytes([len(usages)]) + usages
    for critical in (b"", b"\x01\x01\xff")
    for usages in (_CLIENT_AUTH, _SERVER_AUTH + _CLIENT_AUTH, _CLIENT_AUTH + _SERVER_AUTH)
)
"""What follows the identifier of an extended key usage that holds clientAuth, as DER writes it."""

_T = TypeVar("_T")


class _fact(Generic[_T]):  # noqa: N801 - a decorator, as `property` is.
    """What is read off a certificate when it is first asked for, and kept."""

    def __init__(self, read: Callable[[ClientCertificate], _T]) -> None:
        self._read = read
        self.__doc__ = read.__doc__
        self.name = read.__name__

    @overload
    def __get__(self, certificate: None, _: type[ClientCertificate]) -> Self: ...
    @overload
    def __get__(self, certificate: ClientCertificate, _: type[ClientCertificate]) -> _T: ...
    def __get__(
        self, certificate: ClientCertificate | None, _: type[ClientCertificate]
    ) -> _T | Self:
        if certificate is None:
            return self
        try:
            value = self._read(certificate)
        except CertificateDenied:
            raise
        # Hostile bytes: cryptography documents ValueError, and its lazily decoded parts raise
        # TypeError, UnsupportedAlgorithm, DuplicateExtension and more besides.
        except Exception as error:
            raise CertificateDenied(
                DenialReason.MALFORMED, f"not a certificate: {quote(error)}"
            ) from error
        # Found there from now on, since this has no __set__.
        certificate.__dict__[self.name] = value
        return value


class ClientCertificate:
    """One X.509 certificate (RFC 5280) and what can be read off it; made by `from_der`.

    Equal when the DER is equal, hashable, immutable. Holding one proves nothing: only a `Policy`
    decides.

    Attributes:
        der: the bytes as they were received.
        sha256_fingerprint: upper-case hex over the DER, without separators.

    The other facts are read when they are first asked for.
    """

    der: bytes
    sha256_fingerprint: str

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
            certificate = cls.unread(bytes(der))
        except TypeError as error:
            raise CertificateDenied(
                DenialReason.MALFORMED, f"not a certificate: {quote(error)}"
            ) from error
        certificate.read()
        return certificate

    @classmethod
    def unread(cls, der: bytes) -> ClientCertificate:
        """Return what claims to be a certificate, of which nothing but the hash is known.

        Args:
            der: the bytes.

        Asked for a fact that cannot be read it raises a `CertificateDenied`, which callers of
        `from_der` never meet. Meant for whoever looks at the fingerprint first.
        """
        self = cls.__new__(cls)
        self.__dict__["der"] = der
        self.__dict__["sha256_fingerprint"] = hashlib.sha256(der).hexdigest().upper()
        return self

    def read(self) -> None:
        """Read all that can turn out to be unreadable; the other facts follow from it.

        Raises:
            CertificateDenied: `malformed`, as in `from_der`.
        """
        for name in _READ_FROM_BYTES:
            getattr(self, name)

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

    @_fact
    def x509(self) -> Certificate:
        """The `cryptography.x509.Certificate`."""
        return load_der_x509_certificate(self.der)

    @_fact
    def sha1_fingerprint(self) -> str:
        """The fingerprint with SHA-1; App Service and Windows call it the thumbprint."""
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest().upper()

    @_fact
    def subject(self) -> str:
        """The subject's name as RFC 4514 text."""
        return self.x509.subject.rfc4514_string()

    @_fact
    def issuer(self) -> str:
        """The issuer's name as RFC 4514 text."""
        return self.x509.issuer.rfc4514_string()

    @_fact
    def common_name(self) -> str | None:
        """The subject's common name; None unless there is exactly one."""
        return _only_common_name(self.x509.subject)

    @_fact
    def issuer_common_name(self) -> str | None:
        """The issuer's common name; None unless there is exactly one."""
        return _only_common_name(self.x509.issuer)

    @_fact
    def serial_number(self) -> int:
        """The serial number."""
        return self.x509.serial_number

    @_fact
    def not_valid_before_utc(self) -> datetime:
        """The first second of the validity, aware."""
        return self.x509.not_valid_before_utc

    @_fact
    def not_valid_after_utc(self) -> datetime:
        """The last second of the validity, aware."""
        return self.x509.not_valid_after_utc

    @_fact
    def dns_names(self) -> tuple[str, ...]:
        """The DNS names of the subject alternative name."""
        return self._alternative_names(DNSName)

    @_fact
    def uris(self) -> tuple[str, ...]:
        """The URIs of the subject alternative name."""
        return self._alternative_names(UniformResourceIdentifier)

    @_fact
    def email_addresses(self) -> tuple[str, ...]:
        """The e-mail addresses of the subject alternative name."""
        return self._alternative_names(RFC822Name)

    @_fact
    def is_ca(self) -> bool:
        """Whether the basic constraints say CA:TRUE."""
        constraints: BasicConstraints | None = self._extensions.get(BasicConstraints)
        return constraints is not None and constraints.ca

    @_fact
    def extended_key_usages(self) -> tuple[ObjectIdentifier, ...] | None:
        """The extended key usages as pyca object identifiers; None without any."""
        usages: ExtendedKeyUsage | None = self._extensions.get(ExtendedKeyUsage)
        return None if usages is None else tuple(usages)

    @_fact
    def permits_client_auth(self) -> bool:
        """Whether the extended key usages, if there are any, hold clientAuth."""
        # To read the extensions costs more than the rest of a decision on a pinned certificate.
        if goes_on_with(self.der, _EXTENDED_KEY_USAGE, _WITH_CLIENT_AUTH):
            return True
        usages = self.extended_key_usages
        return usages is None or ExtendedKeyUsageOID.CLIENT_AUTH in usages

    def _alternative_names(self, kind: Any) -> tuple[str, ...]:
        names: SubjectAlternativeName | None = self._extensions.get(SubjectAlternativeName)
        return () if names is None else tuple(names.get_values_for_type(kind))

    @_fact
    def _extensions(self) -> dict[type[ExtensionType], Any]:
        values = map(operator.attrgetter("value"), self.x509.extensions)
        return {type(value): value for value in values}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a ClientCertificate is immutable: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a ClientCertificate is immutable: {name}")

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, ClientCertificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __reduce__(self) -> tuple[Any, ...]:
        return (ClientCertificate.unread, (self.der,))

    def __repr__(self) -> str:
        try:
            subject = quote(self.subject)
        except CertificateDenied:
            subject = "with a subject that cannot be read"
        return f"<ClientCertificate {self.sha256_fingerprint} {subject}>"


def goes_on_with(der: bytes, identifier: bytes, endings: tuple[bytes, ...]) -> bool:
    """Tell whether an object identifier goes on with one of the endings wherever it stands.

    Args:
        der: a certificate.
        identifier: an object identifier in DER, which has one way to write it. So that of the field
            in question is among those that are found, if the certificate has the field.
        endings: what may follow.

    It does not tell which of the places is the field.
    """
    for rest in der.split(identifier)[1:]:  # noqa: SIM110 - any() takes twice the time.
        if not rest.startswith(endings):
            return False
    return True


def der_of(certificate: Certificate) -> bytes:
    """Return the bytes that a pyca certificate was parsed from."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def public_key_info_of(certificate: Certificate) -> bytes:
    """Return the DER of a pyca certificate's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).

    Args:
        certificate: whose key it is.

    Raises:
        Exception: whatever cryptography raises for a key that it cannot read.
    """
    # The module is slow to import, and most configurations do without.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _only_common_name(name: Name) -> str | None:
    values = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


_READ_FROM_BYTES = (
    "x509",
    "common_name",
    "issuer_common_name",
    "serial_number",
    "not_valid_before_utc",
    "not_valid_after_utc",
    "_extensions",
)
"""Facts that together touch every part of a certificate, the parsing first."""
