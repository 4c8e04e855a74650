"""Public keys: their bytes, their fingerprint, and which of them are too weak."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509 import Certificate

from arrcert.exceptions import quote

SMALLEST_RSA_KEY = 2048
"""The smallest RSA modulus that is accepted, in bits (NIST SP 800-131A)."""
SMALLEST_CURVE = 256
"""The smallest elliptic curve that is accepted, in bits."""


def public_key_info_of(certificate: Certificate) -> bytes:
    """Return the DER of a certificate's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).

    Args:
        certificate: a pyca certificate.

    Raises:
        Exception: whatever `cryptography` raises for a key that it cannot read.
    """
    # This module is slow to import, and most configurations do not need it.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_fingerprint(certificate: Certificate) -> str | None:
    """Return the SHA-256 of the SubjectPublicKeyInfo in upper-case hex (RFC 7469 section 2.4).

    Args:
        certificate: a pyca certificate.

    Returns:
        The fingerprint; None if the key cannot be read.
    """
    try:
        info = public_key_info_of(certificate)
    # Hostile bytes: cryptography raises ValueError, UnsupportedAlgorithm and more.
    except Exception:
        return None
    return hashlib.sha256(info).hexdigest().upper()


def weakness_of_key(certificate: Certificate) -> str | None:
    """Return why a certificate's public key is too weak, None if it is strong enough.

    Args:
        certificate: a pyca certificate.

    Returns:
        The end of a sentence that begins with the certificate.

    This does not check the signature. It does not find keys that are known to be compromised.
    """
    try:
        key = certificate.public_key()
    # Hostile bytes may raise any exception, as above.
    except Exception as error:
        return f"has a public key that cannot be read: {quote(error)}"
    if isinstance(key, rsa.RSAPublicKey):
        return weakness_of_rsa_key(key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.key_size < SMALLEST_CURVE:
            return (
                f"has a key on the curve {key.curve.name} of {key.curve.key_size} bits; at least"
                f" {SMALLEST_CURVE} are required"
            )
        return None
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return None
    return f"has a public key of the unknown kind {type(key).__name__}"


def weakness_of_rsa_key(key: rsa.RSAPublicKey) -> str | None:
    """Return why an RSA key is too weak, None if it is strong enough."""
    if key.key_size < SMALLEST_RSA_KEY:
        return f"has an RSA key of {key.key_size} bits; at least {SMALLEST_RSA_KEY} are required"
    return None


def description_of_key(certificate: Certificate) -> str:
    """Return the kind and the size of a certificate's public key, escaped.

    Args:
        certificate: a pyca certificate.
    """
    try:
        key = certificate.public_key()
    # Hostile bytes may raise any exception, as above.
    except Exception as error:
        return f"a key that cannot be read: {quote(error)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA, {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"the curve {key.curve.name}, {key.curve.key_size} bits"
    return type(key).__name__.removesuffix("PublicKey")
