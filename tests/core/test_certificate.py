"""A client certificate is read completely, and hostile bytes are malformed."""

from __future__ import annotations

import base64
import copy
import hashlib
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from arrcert import CertificateDenied, ClientCertificate, DenialReason
from arrcert.certificate import (
    MOST_READ,
    der_of,
    read_certificate,
    read_presented_certificate,
)
from arrcert.exceptions import Finding
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime.now(UTC).replace(microsecond=0)


def made(
    subject: list[x509.NameAttribute[str]] | None = None,
    change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder] = lambda builder: builder,
) -> bytes:
    """Return the DER of a self-signed certificate."""
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "alice")] if subject is None else subject
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(4711)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    return change(builder).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


GARBAGE_NAMES = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\xff\xff")
GARBAGE_CONSTRAINTS = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"\xff\xff")


def test_facts_are_read_off_the_certificate() -> None:
    """Every attribute holds the value in the certificate."""
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("a.example"),
            x509.RFC822Name("a@example.org"),
            x509.UniformResourceIdentifier("spiffe://example/a"),
            x509.DNSName("b.example"),
        ]
    )
    der = made(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Contoso, Inc."),
            x509.NameAttribute(NameOID.COMMON_NAME, "alice"),
        ],
        lambda builder: builder.add_extension(names, critical=False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        ),
    )
    certificate = ClientCertificate.from_der(der)
    assert certificate.der == der
    assert certificate.x509.serial_number == certificate.serial_number == 4711
    assert certificate.sha256_fingerprint == hashlib.sha256(der).hexdigest().upper()
    assert certificate.sha1_fingerprint == hashlib.sha1(der).hexdigest().upper()
    assert certificate.subject == certificate.issuer == r"CN=alice,O=Contoso\, Inc."
    assert certificate.common_name == certificate.issuer_common_name == "alice"
    assert certificate.not_valid_before_utc == NOW
    assert certificate.not_valid_after_utc == NOW + timedelta(days=1)
    assert certificate.dns_names == ("a.example", "b.example")
    assert certificate.uris == ("spiffe://example/a",)
    assert certificate.email_addresses == ("a@example.org",)
    assert certificate.extended_key_usages == (ExtendedKeyUsageOID.CLIENT_AUTH,)
    assert certificate.is_ca is False


def test_absent_extensions_are_empty_facts() -> None:
    """Without an alternative name there are no names, and without an EKU the usages are None."""
    certificate = ClientCertificate.from_der(made())
    assert certificate.dns_names == certificate.uris == certificate.email_addresses == ()
    assert certificate.extended_key_usages is None
    assert certificate.is_ca is False


def test_ca_is_recognized(authority: CertificateAuthority) -> None:
    """CA:TRUE in the basic constraints makes `is_ca` true."""
    assert ClientCertificate.from_pem(authority.certificate_pem).is_ca is True


@pytest.mark.parametrize("count", [0, 2])
def test_common_name_needs_exactly_one(count: int) -> None:
    """Without exactly one common name in the subject, `common_name` is None.

    (Node CVE-2021-44533: a multi-valued DN.)
    """
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "O")]
    subject += [x509.NameAttribute(NameOID.COMMON_NAME, f"alice{n}") for n in range(count)]
    assert ClientCertificate.from_der(made(subject)).common_name is None


def test_common_name_keeps_a_nul_byte() -> None:
    """A name is not cut at NUL, so `alice<NUL>.evil` is not alice.

    (Envoy CVE-2025-66220: NUL inside a name.)
    """
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, "alice\x00.evil")]
    assert ClientCertificate.from_der(made(subject)).common_name == "alice\x00.evil"


def test_equal_by_der(alice: IssuedCertificate, expired: IssuedCertificate) -> None:
    """Two certificates are equal if their bytes are equal."""
    again = ClientCertificate.from_der(alice.certificate.der)
    assert again == alice.certificate
    assert hash(again) == hash(alice.certificate)
    assert alice.certificate != expired.certificate
    assert alice.certificate != alice.certificate.der
    assert len({again, alice.certificate, expired.certificate}) == 2


def test_immutable(alice: IssuedCertificate) -> None:
    """No attribute can be changed, added or deleted."""
    with pytest.raises(AttributeError):
        alice.certificate.common_name = "root"
    with pytest.raises(AttributeError):
        del alice.certificate.der
    with pytest.raises(AttributeError):
        alice.certificate.extra = 1
    with pytest.raises(TypeError, match="from_der"):
        ClientCertificate()


def test_copies_and_pickles(alice: IssuedCertificate) -> None:
    """A certificate can be pickled and copied."""
    assert pickle.loads(pickle.dumps(alice.certificate)) == alice.certificate
    assert copy.deepcopy(alice.certificate) == alice.certificate


def test_repr_is_one_escaped_line() -> None:
    """The representation of a hostile name is one printable line."""
    shown = repr(self_signed("a\nb").certificate)
    assert shown.isprintable()
    assert shown.startswith("<ClientCertificate ")


def test_from_pem_takes_exactly_one(alice: IssuedCertificate, expired: IssuedCertificate) -> None:
    """Text around one PEM block is allowed; no block, two blocks or a broken one is malformed."""
    pem = alice.certificate_pem
    assert ClientCertificate.from_pem(b"notes\n" + pem + b"more\n") == alice.certificate
    assert ClientCertificate.from_pem(pem.decode()) == alice.certificate
    for text in (b"", pem + expired.certificate_pem, pem[:200], "\udc80" + pem.decode()):
        with pytest.raises(CertificateDenied) as caught:
            ClientCertificate.from_pem(text)
        assert caught.value.reason is DenialReason.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda der: der + b"\x00", id="trailing byte"),
        pytest.param(lambda der: der + der, id="second certificate"),
        pytest.param(lambda der: der[:-1], id="truncated"),
        pytest.param(lambda der: b"", id="empty"),
        pytest.param(lambda der: der.hex(), id="text"),
        pytest.param(lambda der: None, id="nothing"),
        pytest.param(lambda der: b"\x30\x80" + der[4:] + b"\x00\x00", id="indefinite length"),
        pytest.param(lambda der: b"\x30\x83\x00" + der[2:], id="length not minimal"),
    ],
)
def test_not_exactly_one_der_certificate_is_malformed(
    change: Callable[[bytes], bytes], alice: IssuedCertificate
) -> None:
    """Bytes that are not exactly one DER certificate are malformed, BER included."""
    with pytest.raises(CertificateDenied) as caught:
        ClientCertificate.from_der(change(alice.certificate.der))
    assert caught.value.reason is DenialReason.MALFORMED
    assert caught.value.certificate is None


def test_extension_that_comes_twice_is_malformed() -> None:
    """A certificate must not hold an extension twice (RFC 5280 section 4.2)."""
    der = made(
        change=lambda builder: builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x00"), False
        ).add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.18"), b"\x30\x00"), False
        )
    )
    twice = der.replace(bytes.fromhex("0603551d12"), bytes.fromhex("0603551d11"))
    assert twice != der
    with pytest.raises(CertificateDenied, match="malformed"):
        ClientCertificate.from_der(twice)


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(made().replace(b"alice", b"\xff\xff\xff\xff\xff"), id="name"),
        pytest.param(
            made().replace(f"{NOW:%y%m%d%H%M%S}Z".encode(), b"991399000000Z"), id="notBefore"
        ),
        pytest.param(
            made(change=lambda b: b.add_extension(GARBAGE_NAMES, False)), id="alternative name"
        ),
        pytest.param(
            made(change=lambda b: b.add_extension(GARBAGE_CONSTRAINTS, False)),
            id="basic constraints",
        ),
    ],
)
def test_a_part_that_cannot_be_read_is_malformed(der: bytes) -> None:
    """One part that cannot be read makes the whole certificate malformed."""
    finding = read_certificate(der)
    assert isinstance(finding, Finding)
    assert finding.reason is DenialReason.MALFORMED
    assert finding.detail.startswith("not a certificate: ")
    with pytest.raises(CertificateDenied) as caught:
        ClientCertificate.from_der(der)
    assert (caught.value.reason, caught.value.detail) == finding
    assert caught.value.certificate is None


@pytest.mark.parametrize("unused", [1, 4, 7])
def test_a_signature_with_unused_bits_is_malformed(unused: int) -> None:
    """A signature with unused bits is malformed, because a signature is whole bytes.

    `cryptography` ignores the number of unused bits, if those bits are zero.
    """
    while True:
        der = bytearray(made())
        if der[-1] & ((1 << unused) - 1) == 0:
            break
    length = len(x509.load_der_x509_certificate(bytes(der)).signature)
    assert isinstance(read_certificate(bytes(der)), ClientCertificate)
    der[-length - 1] = unused
    assert x509.load_der_x509_certificate(bytes(der)).signature == bytes(der[-length:])
    finding = read_certificate(bytes(der))
    assert isinstance(finding, Finding)
    assert finding.reason is DenialReason.MALFORMED
    assert "unused bits" in finding.detail


def test_what_is_read_is_plain_attributes(alice: IssuedCertificate) -> None:
    """Every documented attribute is set when the certificate is made; nothing is read later."""
    assert set(vars(alice.certificate)) == set(ClientCertificate.__annotations__)
    assert read_certificate(alice.certificate.der) == alice.certificate


def test_the_last_certificates_are_read_once(alice: IssuedCertificate) -> None:
    """A certificate that is presented again is not parsed again while it is among the last few."""
    read_presented_certificate.cache_clear()
    first = read_presented_certificate(alice.certificate.der)
    assert first == alice.certificate
    assert read_presented_certificate(bytes(bytearray(alice.certificate.der))) is first
    for number in range(MOST_READ):
        assert isinstance(read_presented_certificate(b"no certificate %d" % number), Finding)
    again = read_presented_certificate(alice.certificate.der)
    assert again == first
    assert again is not first
    assert read_presented_certificate.cache_info().currsize == MOST_READ


def test_other_bytes_are_another_certificate(alice: IssuedCertificate) -> None:
    """A certificate with one changed byte is never taken for the one that was read before."""
    der = alice.certificate.der
    first = read_presented_certificate(der)
    changed = der[:-1] + bytes([der[-1] ^ 1])
    other = read_presented_certificate(changed)
    assert isinstance(other, ClientCertificate)
    assert other.der == changed
    assert other != first
    assert other.sha256_fingerprint == hashlib.sha256(changed).hexdigest().upper()


def test_der_of_a_pyca_certificate_is_what_was_parsed(alice: IssuedCertificate) -> None:
    """The DER of a pyca certificate is the bytes that it was parsed from."""
    assert der_of(alice.certificate.x509) == alice.certificate.der


CLIENT, SERVER, ANY = (
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)


@pytest.mark.parametrize(
    ("usages", "permits"),
    [
        ([CLIENT], True),
        ([CLIENT, SERVER], True),
        ([SERVER, CLIENT], True),
        ([ANY, SERVER, CLIENT], True),
        ([SERVER], False),
        ([ANY], False),
        ([SERVER, ANY], False),
    ],
)
@pytest.mark.parametrize("is_critical", [False, True])
@pytest.mark.parametrize("disguise", [b"", b"\x04\x0c\x30\x0a", b"\x04\x03\x30\x01\x00"])
def test_client_auth_is_found_where_the_extension_stands(
    usages: list[x509.ObjectIdentifier], permits: bool, is_critical: bool, disguise: bytes
) -> None:
    """Only the extended key usage extension decides, and not similar bytes elsewhere."""

    def change(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), is_critical)
        if not disguise:
            return builder
        client_auth = bytes.fromhex("06082b06010505070302")
        value = bytes.fromhex("0603551d25") + disguise + client_auth
        return builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), value), False
        )

    assert ClientCertificate.from_der(made(change=change)).permits_client_auth is permits


def test_client_auth_is_permitted_without_the_extension() -> None:
    """A certificate without the extension may be used for client authentication."""
    assert ClientCertificate.from_der(made()).permits_client_auth
    value = bytes.fromhex("0603551d25 04 0c 30 0a 06082b06010505070301")
    stray = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), value)
    der = made(change=lambda builder: builder.add_extension(stray, False))
    assert ClientCertificate.from_der(der).permits_client_auth


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_only_denials(data: bytes) -> None:
    """Bytes that are not a certificate raise `CertificateDenied` and no other exception."""
    with pytest.raises(CertificateDenied):
        ClientCertificate.from_der(data)


MUTABLE = self_signed("mutable").certificate.der


@given(st.integers(0, len(MUTABLE) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_parsed_or_denied(position: int, difference: int) -> None:
    """A mutated certificate is either malformed or a certificate with another fingerprint."""
    mutated = bytearray(MUTABLE)
    mutated[position] ^= difference
    try:
        certificate = ClientCertificate.from_der(bytes(mutated))
    except CertificateDenied as denied:
        assert denied.reason is DenialReason.MALFORMED
    else:
        assert certificate.der == bytes(mutated)
        assert certificate.sha256_fingerprint != hashlib.sha256(MUTABLE).hexdigest().upper()


# --- certificate-bound tokens (RFC 8705) ---------------------------------------------------------


def thumbprint(certificate: ClientCertificate) -> str:
    """Return the confirmation of a certificate, as an authorization server writes it."""
    digest = hashlib.sha256(certificate.der).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_confirmation_of_the_rfc() -> None:
    """A token is bound to the certificate whose SHA-256 stands in `cnf`."""
    certificate = ClientCertificate.from_der(made())
    assert certificate.matches_confirmation({"cnf": {"x5t#S256": thumbprint(certificate)}})
    other = ClientCertificate.from_der(made())
    assert not other.matches_confirmation({"cnf": {"x5t#S256": thumbprint(certificate)}})


def test_other_members_of_a_confirmation_are_ignored() -> None:
    """Members of a confirmation that are not understood are ignored (RFC 7800 section 3.1)."""
    certificate = ClientCertificate.from_der(made())
    confirmation = {"jkt": "x", "x5t#S256": thumbprint(certificate)}
    assert certificate.matches_confirmation({"cnf": confirmation, "sub": "fabrikam"})


def test_nothing_else_confirms() -> None:
    """A confirmation without `cnf`, or of another method, form or type, does not match."""
    certificate = ClientCertificate.from_der(made())
    right = thumbprint(certificate)
    hexadecimal = certificate.sha256_fingerprint
    wrong: list[object] = [None, 7, "", "cnf", [], [("cnf", {"x5t#S256": right})], right, {}]
    wrong += [{"cnf": value} for value in (None, 7, right, [right], {}, {"jkt": right})]
    wrong += [{"cnf": {"x5t#s256": right}}, {"cnf": {"x5t": right}}, {"x5t#S256": right}]
    wrong += [
        {"cnf": {"x5t#S256": value}}
        for value in (
            *(None, 7, True, "", [right], right.encode(), {"x5t#S256": right}),
            *(right + "=", " " + right, right + "\n", right[:-1], right.swapcase()),
            *(hexadecimal, hexadecimal.lower(), "\ud800", "\u00e9" * 43, right + "\x00"),
        )
    ]
    for claims in wrong:
        assert certificate.matches_confirmation(claims) is False, claims
