"""Public keys: which are too weak, and the fingerprint that pins one."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from arrcert.keys import (
    description_of_key,
    public_key_fingerprint,
    public_key_info_of,
    weakness_of_key,
    weakness_of_rsa_key,
)
from arrcert.testing import IssuedCertificate

SIGNER = ec.generate_private_key(ec.SECP256R1())


def with_key(public_key: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
    """Return a certificate that holds any public key."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(SIGNER, hashes.SHA256())


def changed(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    """Return a certificate in which some bytes are replaced."""
    der = certificate.public_bytes(Encoding.DER)
    assert old in der
    return x509.load_der_x509_certificate(der.replace(old, new))


def with_unknown_key(certificate: x509.Certificate) -> x509.Certificate:
    """Return a certificate whose key has an unknown algorithm."""
    return changed(
        certificate, bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    )


KINDS = [
    pytest.param(lambda: rsa.generate_private_key(65537, 1024), "1024 bits", id="RSA-1024"),
    pytest.param(lambda: rsa.generate_private_key(65537, 2047), "2047 bits", id="RSA-2047"),
    pytest.param(lambda: rsa.generate_private_key(65537, 2048), None, id="RSA-2048"),
    pytest.param(lambda: ec.generate_private_key(ec.SECP224R1()), "secp224r1", id="P-224"),
    pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), None, id="P-256"),
    pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), None, id="P-384"),
    pytest.param(lambda: ec.generate_private_key(ec.SECP521R1()), None, id="P-521"),
    pytest.param(lambda: ec.generate_private_key(ec.BrainpoolP256R1()), None, id="brainpool"),
    pytest.param(lambda: ed25519.Ed25519PrivateKey.generate(), None, id="Ed25519"),
    pytest.param(lambda: ed448.Ed448PrivateKey.generate(), None, id="Ed448"),
    pytest.param(lambda: dsa.generate_private_key(2048), "unknown kind DSA", id="DSA"),
]


@pytest.mark.parametrize(("make", "weakness"), KINDS)
@pytest.mark.parametrize("disguise", ["", "06072a8648ce3d020106082a8648ce3d03010703420004"])
def test_weak_keys(make: Callable[[], Any], weakness: str | None, disguise: str) -> None:
    """RSA below 2048 bits, curves below 256 bits and unknown kinds are weak.

    Bytes elsewhere in the certificate that look like a strong key change nothing.
    """
    stray = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes.fromhex(disguise))
    found = weakness_of_key(with_key(make().public_key(), stray))
    if weakness is None:
        assert found is None
    else:
        assert weakness in str(found)


def test_smallest_sizes_are_named() -> None:
    """The text states the size of the key and the smallest size that is accepted."""
    small = rsa.generate_private_key(65537, 1024).public_key()
    message = "has an RSA key of 1024 bits; at least 2048 are required"
    assert weakness_of_rsa_key(small) == weakness_of_key(with_key(small)) == message
    curve = ec.generate_private_key(ec.SECP224R1()).public_key()
    assert weakness_of_key(with_key(curve)) == (
        "has a key on the curve secp224r1 of 224 bits; at least 256 are required"
    )


def test_key_that_cannot_be_read_is_weak(alice: IssuedCertificate) -> None:
    """A key of an unknown algorithm is weak and raises nothing."""
    unknown = with_unknown_key(alice.certificate.x509)
    assert str(weakness_of_key(unknown)).startswith("has a public key that cannot be read: ")


def test_point_off_the_curve_is_weak(alice: IssuedCertificate) -> None:
    """A point that is not on the curve of its key is not a key."""
    point = alice.private_key.public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    beside = changed(alice.certificate.x509, point, point[:-1] + bytes([point[-1] ^ 1]))
    assert "cannot be read" in str(weakness_of_key(beside))
    assert public_key_fingerprint(beside) is None


def test_fingerprint_is_the_sha256_of_the_key(alice: IssuedCertificate) -> None:
    """The fingerprint is the SHA-256 of the SubjectPublicKeyInfo, in any certificate."""
    key = alice.private_key.public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key_info_of(alice.certificate.x509) == info
    fingerprint = hashlib.sha256(info).hexdigest().upper()
    assert public_key_fingerprint(alice.certificate.x509) == fingerprint
    assert public_key_fingerprint(with_key(key)) == fingerprint
    assert fingerprint != alice.certificate.sha256_fingerprint


def test_fingerprint_is_what_openssl_prints(alice: IssuedCertificate, tmp_path: Path) -> None:
    """OpenSSL computes the same fingerprint from the certificate."""
    file = tmp_path / "client.pem"
    file.write_bytes(alice.certificate_pem)
    pipeline = (
        f"openssl x509 -in {file} -noout -pubkey | openssl pkey -pubin -outform der"
        " | openssl dgst -sha256"
    )
    printed = subprocess.run(["sh", "-c", pipeline], check=True, capture_output=True, text=True)
    fingerprint = printed.stdout.strip().partition("= ")[2].upper()
    assert public_key_fingerprint(alice.certificate.x509) == fingerprint


def test_key_that_cannot_be_read_has_no_fingerprint(alice: IssuedCertificate) -> None:
    """A key of an unknown algorithm has no fingerprint and raises nothing."""
    assert public_key_fingerprint(with_unknown_key(alice.certificate.x509)) is None


def test_description_names_kind_and_size() -> None:
    """A key is described by its kind and, where it has one, its size."""
    described = [
        description_of_key(with_key(private_key.public_key()))
        for private_key in (
            rsa.generate_private_key(65537, 1024),
            ec.generate_private_key(ec.SECP256R1()),
            ed25519.Ed25519PrivateKey.generate(),
        )
    ]
    assert described == ["RSA, 1024 bits", "the curve secp256r1, 256 bits", "Ed25519"]


def test_description_of_a_key_that_cannot_be_read(alice: IssuedCertificate) -> None:
    """A key that cannot be read is described as such."""
    unknown = with_unknown_key(alice.certificate.x509)
    assert description_of_key(unknown).startswith("a key that cannot be read: ")
