"""Certificates in files, and hints about files with other contents."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from hypothesis import given
from hypothesis import strategies as st

from arrcert.testing import CertificateAuthority
from arrcert.trust.pem import is_pkcs12, parse_certificates, pasted, why_not_pem

KEY = ec.generate_private_key(ec.SECP256R1())
CA = CertificateAuthority("Contoso CA")
PEM = CA.certificate_pem
DER = CA.x509.public_bytes(serialization.Encoding.DER)
NOW = datetime.now(UTC)


def crl(encoding: serialization.Encoding) -> bytes:
    """Return a revocation list."""
    return (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.x509.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
        .sign(KEY, hashes.SHA256())
        .public_bytes(encoding)
    )


def private_key(password: bytes | None) -> bytes:
    """Return a private key as PKCS#8 DER."""
    return KEY.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (PEM, 1),
        (PEM + PEM, 2),
        (b"subject=CN=Contoso CA\n" + PEM + b"# the end\n", 1),
        (PEM.replace(b"\n", b"\r\n"), 1),
        (b"\xef\xbb\xbf" + PEM, 1),
        (PEM.replace(b"CERTIFICATE", b"X509 CERTIFICATE"), 1),
        (crl(serialization.Encoding.PEM) + PEM, 1),
        (DER, 1),
    ],
)
def test_certificates_are_read_as_pem_or_der(data: bytes, count: int) -> None:
    """Certificates are read from PEM blocks with or without other text, and from DER."""
    assert parse_certificates(data, "the file 'ca'") == [CA.x509] * count


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"hello", "at least one block -----BEGIN CERTIFICATE-----"),
        (b"-----BEGIN PRIVATE KEY-----", "holds a private key"),
        (PEM + b"-----BEGIN EC PRIVATE KEY-----", "holds a private key"),
        (private_key(None), "holds a private key"),
        (private_key(b"secret"), "holds a private key"),
        (PEM[:-30], "broken certificate: 'Unable to load"),
        (PEM + PEM[:100], "2 certificates, and not all of them"),
        (PEM.replace(b"\n", b"\\n"), r"are written as the two characters \n"),
        (PEM.decode().encode("utf-16"), "UTF-16"),
        (PEM + b"-----BEGIN TRUSTED CERTIFICATE-----", "more than PEM certificates"),
        (PEM.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "openssl x509 -in FILE"),
        (PEM.replace(b"CERTIFICATE", b"CERTIFICATE REQUEST"), "request for a certificate"),
        (PEM.replace(b"CERTIFICATE", b"PUBLIC KEY"), "it is a public key"),
        (crl(serialization.Encoding.PEM), "write it in crls"),
        (crl(serialization.Encoding.DER), "write it in crls"),
        (b"AB" * 32, "it looks like a fingerprint"),
        (base64.b64encode(DER), "add -----BEGIN CERTIFICATE----- before it"),
        (DER + b"\x00", "DER of something else"),
        (b"\x30", "DER of something else"),
        (
            pkcs12.serialize_key_and_certificates(
                b"ca", KEY, None, [CA.x509], serialization.NoEncryption()
            ),
            "openssl pkcs12 -cacerts -nokeys",
        ),
        (
            pkcs7.serialize_certificates([CA.x509], serialization.Encoding.PEM),
            "openssl pkcs7 -print_certs",
        ),
        (
            pkcs7.serialize_certificates([CA.x509], serialization.Encoding.DER),
            "openssl pkcs7 -inform der",
        ),
    ],
)
def test_what_is_no_certificate_is_told(data: bytes, message: str) -> None:
    """The error names the file, its contents, and what to write instead."""
    with pytest.raises(ValueError, match="the file 'ca'") as caught:
        parse_certificates(data, "the file 'ca'")
    assert message in str(caught.value)


def test_hint_is_the_same_for_pem_and_der() -> None:
    """The hint about a revocation list is the same for PEM and DER."""
    assert why_not_pem(crl(serialization.Encoding.DER)) == why_not_pem(
        crl(serialization.Encoding.PEM)
    )


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("ca.pem", None),
        ("/var/ssl/certs/" + "A" * 40 + ".der", None),
        ("", None),
        ("\udcff.pem", None),
        (base64.b64encode(DER).decode(), "add -----BEGIN CERTIFICATE----- before it"),
        (base64.encodebytes(DER).decode(), "add -----BEGIN CERTIFICATE----- before it"),
        ("AB:" * 19 + "AB", "write it in fingerprints"),
        ("ab" * 32, "write it in fingerprints"),
    ],
)
def test_pasted_text_is_told_from_a_path(setting: str, hint: str | None) -> None:
    """Text that cannot be a path is recognized without access to the file system."""
    found = pasted(setting)
    assert found is None if hint is None else hint in (found or "")


def test_pkcs12_is_recognized_by_its_first_bytes() -> None:
    """PKCS#12 is recognized without its password, even if the file is cut off."""
    encryption = serialization.BestAvailableEncryption(b"secret")
    data = pkcs12.serialize_key_and_certificates(b"ca", KEY, None, [CA.x509], encryption)
    assert is_pkcs12(data)
    assert is_pkcs12(data[:50])
    assert not is_pkcs12(DER)
    assert not is_pkcs12(b"")


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\x30" + data))
def test_hostile_bytes_raise_value_errors(data: bytes) -> None:
    """Random bytes raise ValueError and no other exception."""
    with pytest.raises(ValueError, match="the file"):
        parse_certificates(data, "the file")
    assert why_not_pem(data)


def test_text_before_a_block_may_begin_with_zero() -> None:
    """A file of PEM blocks is not taken for DER, even if its text begins with the digit 0."""
    assert parse_certificates(b"0 is the root\n" + PEM, "the file") == [CA.x509]
