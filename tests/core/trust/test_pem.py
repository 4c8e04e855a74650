"""Certificates in files, and a hint for whatever came instead."""

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
from arrcert.trust.pem import parse_certificates, pasted, why_not_pem

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
    """PEM blocks with text around them, or the one DER that App Service puts into a file."""
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
        (PEM + PEM[:100], "2 certificates, not all of which"),
        (PEM.replace(b"\n", b"\\n"), r"are written \n, as two characters"),
        (PEM.decode().encode("utf-16"), "UTF-16"),
        (PEM + b"-----BEGIN TRUSTED CERTIFICATE-----", "more than PEM certificates"),
        (PEM.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "openssl x509 -in FILE"),
        (PEM.replace(b"CERTIFICATE", b"CERTIFICATE REQUEST"), "request for a certificate"),
        (PEM.replace(b"CERTIFICATE", b"PUBLIC KEY"), "it is a public key"),
        (crl(serialization.Encoding.PEM), "crls takes it"),
        (crl(serialization.Encoding.DER), "crls takes it"),
        (base64.b64encode(DER), "without its armour"),
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
    """The error names the file, what stands in it, and what to write instead."""
    with pytest.raises(ValueError, match="the file 'ca'") as caught:
        parse_certificates(data, "the file 'ca'")
    assert message in str(caught.value)


def test_a_hint_is_given_for_any_bytes() -> None:
    """Whoever has bytes that are no certificates gets the same hint."""
    assert why_not_pem(b"AB" * 32).startswith("it looks like a fingerprint")
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
        (base64.b64encode(DER).decode(), "without its armour"),
        (base64.encodebytes(DER).decode(), "without its armour"),
        ("AB:" * 19 + "AB", "fingerprints takes it"),
        ("ab" * 32, "fingerprints takes it"),
    ],
)
def test_pasted_text_is_told_from_a_path(setting: str, hint: str | None) -> None:
    """What cannot be a path is recognised without asking the file system."""
    found = pasted(setting)
    assert found is None if hint is None else hint in (found or "")


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\x30" + data))
def test_hostile_bytes_raise_value_errors(data: bytes) -> None:
    """Whatever a file holds, it is certificates or a ValueError."""
    with pytest.raises(ValueError, match="the file"):
        parse_certificates(data, "the file")
    assert why_not_pem(data)


def test_text_before_a_block_may_begin_with_zero() -> None:
    """A file with PEM blocks is no DER, although DER begins with the byte of the digit 0."""
    assert parse_certificates(b"0 is the root\n" + PEM, "the file") == [CA.x509]
