"""Certificates for tests: issue them, and encode them as a front end forwards them.

Each key is generated when it is needed, and is not protected. Do not trust these authorities
outside of tests.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from arrcert.certificate import ClientCertificate
from arrcert.forwarding.front_ends import FRONT_ENDS

__all__ = ["CertificateAuthority", "IssuedCertificate", "self_signed"]

_USAGES = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}


class IssuedCertificate:
    """A certificate with its private key, in the formats that tests need.

    Attributes:
        certificate: the `ClientCertificate`.
        private_key: the P-256 private key, for code that needs another format than PEM.
    """

    def __init__(
        self, certificate: x509.Certificate, private_key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.certificate = ClientCertificate.from_der(
            certificate.public_bytes(serialization.Encoding.DER)
        )
        self.private_key = private_key

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.x509.public_bytes(serialization.Encoding.PEM)

    @property
    def private_key_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 PEM."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def header_value(self) -> str:
        """The certificate as App Service writes it into `X-ARR-ClientCert`: bare base64 DER."""
        return base64.b64encode(self.certificate.der).decode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """The request headers that App Service adds, for a framework's test client."""
        return {FRONT_ENDS["app-service"].header: self.header_value}


class CertificateAuthority:
    """A certification authority for tests. It exists only in memory.

    Args:
        common_name: the authority's own common name.
        organization: the authority's organization; none by default.
        not_before: start of its validity, an aware datetime; one day ago by default.
        not_after: end of its validity, an aware datetime; in one year by default.
        issuer: the authority that signs this one; by default it signs itself.
        extensions: more extensions for its certificate, as pairs of the extension and whether it is
            critical.

    Its certificates have P-256 keys and are signed with SHA-256 (RFC 5280 section 4). It does not
    remember what it issued.
    """

    def __init__(
        self,
        common_name: str,
        *,
        organization: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        issuer: CertificateAuthority | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(common_name, organization)
        self.x509 = _sign(
            subject=self.name,
            public_key=self._key.public_key(),
            issuer=issuer.name if issuer else self.name,
            issuer_key=issuer._key if issuer else self._key,
            not_before=not_before,
            not_after=not_after,
            extensions=[
                (x509.BasicConstraints(ca=True, path_length=None), True),
                (_key_usage(ca=True), True),
                *extensions,
            ],
        )

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate as PEM, for `trust_anchors`."""
        return self.x509.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        common_name: str,
        *,
        organization: str | None = None,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
        extended_key_usages: Sequence[str] | None = ("clientAuth",),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> IssuedCertificate:
        """Issue a certificate for a client, or for a server with the usage `serverAuth`.

        Args:
            common_name: the subject's common name.
            organization: the subject's organization; none by default.
            dns_names: DNS names for the subject alternative name. If neither these nor IP addresses
                are given, it holds the common name as a directory name.
            ip_addresses: IP addresses for the subject alternative name; none by default.
            extended_key_usages: names from RFC 5280 section 4.2.1.12 (`clientAuth`, `serverAuth`,
                `codeSigning`, `anyExtendedKeyUsage`); None leaves the extension out.
            not_before: start of the validity, an aware datetime; one day ago by default.
            not_after: end of the validity, an aware datetime; in one year by default.
            extensions: more extensions, such as CRL distribution points, as pairs of the extension
                and whether it is critical.

        It does not check that the names make sense.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(
            subject=_name(common_name, organization),
            public_key=key.public_key(),
            issuer=self.name,
            issuer_key=self._key,
            not_before=not_before,
            not_after=not_after,
            extensions=[
                *_leaf_extensions(common_name, dns_names, ip_addresses, extended_key_usages),
                *extensions,
            ],
        )
        return IssuedCertificate(certificate, key)

    def revocation_list(
        self,
        *revoked: IssuedCertificate | CertificateAuthority,
        number: int | None = 1,
        last_update: datetime | None = None,
        next_update: datetime | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """Make a revocation list (RFC 5280 section 5) as PEM, for `crls`.

        Args:
            *revoked: the clients' certificates and the authorities that this authority revokes.
            number: the CRLNumber; None leaves the extension out.
            last_update: when the list is issued (thisUpdate), an aware datetime; one hour ago by
                default.
            next_update: when the next list is due (nextUpdate), an aware datetime; in one week by
                default.
            extensions: more extensions for the list, as pairs of the extension and whether it is
                critical.

        It does not remember earlier revocations: pass all of them each time.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        next_update = next_update or now + timedelta(days=7)
        last_update = last_update or min(now, next_update) - timedelta(hours=1)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(last_update)
            .next_update(next_update)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        for item in revoked:
            certificate = (
                item.x509 if isinstance(item, CertificateAuthority) else item.certificate.x509
            )
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(last_update)
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def self_signed(
    common_name: str,
    *,
    organization: str | None = None,
    issuer: CertificateAuthority | None = None,
    extended_key_usages: Sequence[str] | None = ("clientAuth",),
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> IssuedCertificate:
    """Make a self-signed certificate, as an attacker can.

    Args:
        common_name: the subject's common name.
        organization: the subject's organization; none by default.
        issuer: an authority whose name the certificate claims as its issuer, without that
            authority's signature; by default it names itself as the issuer.
        extended_key_usages: as in `CertificateAuthority.issue`.
        not_before: start of the validity, an aware datetime; one day ago by default.
        not_after: end of the validity, an aware datetime; in one year by default.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(common_name, organization)
    certificate = _sign(
        subject=subject,
        public_key=key.public_key(),
        issuer=issuer.name if issuer else subject,
        issuer_key=key,
        not_before=not_before,
        not_after=not_after,
        extensions=_leaf_extensions(common_name, (), (), extended_key_usages),
    )
    return IssuedCertificate(certificate, key)


def _name(common_name: str, organization: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _leaf_extensions(
    common_name: str,
    dns_names: Sequence[str],
    ip_addresses: Sequence[str],
    extended_key_usages: Sequence[str] | None,
) -> list[tuple[x509.ExtensionType, bool]]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses]
    if not names:
        # A subject alternative name has no type for a person's name (RFC 5280 section 4.2.1.6). Use
        # a directory name.
        names = [x509.DirectoryName(_name(common_name, None))]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(ca=False), True),
        (x509.SubjectAlternativeName(names), False),
    ]
    if extended_key_usages is not None:
        usages = x509.ExtendedKeyUsage([_USAGES[usage] for usage in extended_key_usages])
        extensions.append((usages, False))
    return extensions


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(
    *,
    subject: x509.Name,
    public_key: CertificatePublicKeyTypes,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    not_before: datetime | None,
    not_after: datetime | None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = datetime.now(UTC).replace(microsecond=0)
    not_after = not_after or now + timedelta(days=365)
    not_before = not_before or min(now, not_after) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())
