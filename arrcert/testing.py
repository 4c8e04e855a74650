"""Certificates for tests: issue them, and encode them as a front end forwards them.

The keys are made on the spot and are worth nothing. Never trust one of these authorities outside a
test.
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
    """A certificate with its private key, in the forms that tests need.

    Attributes:
        certificate: the `ClientCertificate`.
        private_key: the P-256 private key, for what needs another form than PEM.
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
    """A certification authority that lives as long as the test.

    Args:
        common_name: the authority's own common name.
        organization: the authority's organization; none by default.
        not_before: start of its validity, aware; by default a day ago.
        not_after: end of its validity, aware; by default in a year.
        issuer: the authority above this one; by default it signs itself.

    It issues P-256 certificates signed with SHA-256. It does not remember what it issued.
    """

    def __init__(
        self,
        common_name: str,
        *,
        organization: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        issuer: CertificateAuthority | None = None,
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
            ],
        )

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate as PEM: what `trust_anchors` takes."""
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
    ) -> IssuedCertificate:
        """Issue a certificate for a client, or with `serverAuth` for a server.

        Args:
            common_name: the subject's common name.
            organization: the subject's organization; none by default.
            dns_names: DNS names of the subject alternative name; by default the common name.
            ip_addresses: IP addresses of the subject alternative name; none by default.
            extended_key_usages: names as RFC 5280 section 4.2.1.12 writes them (`clientAuth`,
                `serverAuth`, `codeSigning`, `anyExtendedKeyUsage`); None leaves the extension out.
            not_before: start of the validity, aware; by default a day ago.
            not_after: end of the validity, aware; by default in a year.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(
            subject=_name(common_name, organization),
            public_key=key.public_key(),
            issuer=self.name,
            issuer_key=self._key,
            not_before=not_before,
            not_after=not_after,
            extensions=_leaf_extensions(common_name, dns_names, ip_addresses, extended_key_usages),
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
        """Make a revocation list (RFC 5280 section 5) as PEM: what `crls` takes.

        Args:
            *revoked: what this authority issued and takes back: clients, or authorities below it.
            number: the CRLNumber; None leaves the extension out.
            last_update: when it is issued, aware; by default an hour ago. pyca's name for
                thisUpdate.
            next_update: until when it holds, aware; by default for a week.
            extensions: further extensions of the list, each with whether it is critical.

        It does not remember what was revoked: name all of them each time.
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
        for taken_back in revoked:
            certificate = (
                taken_back.x509
                if isinstance(taken_back, CertificateAuthority)
                else taken_back.certificate.x509
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
    """Make a certificate that signs itself, as a stranger can.

    Args:
        common_name: the subject's common name.
        organization: the subject's organization; none by default.
        issuer: an authority whose *name* it claims as its issuer's, without that authority's
            signature; by default it names itself.
        extended_key_usages: as in `CertificateAuthority.issue`.
        not_before: start of the validity, aware; by default a day ago.
        not_after: end of the validity, aware; by default in a year.
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
        # RFC 5280 section 4.2.1.6 has no type for a person's name; a directory name says the same.
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
