"""Where a certificate comes from: certification paths to trust anchors, and the key floor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509 import Certificate, load_pem_x509_certificates
from cryptography.x509.verification import PolicyBuilder, Store

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import CertificateDenied, DenialReason, quote

SMALLEST_RSA_KEY = 2048
"""Bits of an RSA modulus below which a key is weak (NIST SP 800-131A)."""
SMALLEST_CURVE = 256
"""Bits of an elliptic curve below which a key is weak."""


class TrustStore:
    """Trust anchors, and the intermediates that help to reach them.

    App Service forwards the leaf alone, so the intermediates are configured here.

    Args:
        anchors: certificates that are trusted; their own dates count.
        intermediates: CA certificates that are not trusted but may stand on a path.
    """

    def __init__(
        self, anchors: Iterable[Certificate], intermediates: Iterable[Certificate] = ()
    ) -> None:
        self._store = Store(list(anchors))
        self._intermediates = list(intermediates)

    def authenticate(self, certificate: ClientCertificate, at: datetime) -> None:
        """Prove that a path leads from the certificate to an anchor (RFC 5280 section 6).

        Args:
            certificate: the leaf.
            at: the moment, aware.

        Raises:
            CertificateDenied: `untrusted`.

        It does not check revocation.
        """
        if certificate.is_ca:
            raise CertificateDenied(
                DenialReason.UNTRUSTED,
                "it is a CA certificate (CA:TRUE, what `openssl req -x509` makes), which no trust"
                " anchor makes a client's; pin its fingerprint in a policy without trust_anchors",
                certificate=certificate,
            )
        # A built verifier freezes its time, so there is one for each check; it costs 5 us.
        verifier = PolicyBuilder().store(self._store).time(at).build_client_verifier()
        try:
            verifier.verify(certificate.x509, self._intermediates)
        # VerificationError is the documented one; hostile bytes must not find another.
        except Exception as error:
            raise CertificateDenied(
                DenialReason.UNTRUSTED,
                f"no certification path to a trust anchor: {quote(error)}",
                certificate=certificate,
            ) from error


def weakness_of_key(certificate: ClientCertificate) -> str | None:
    """Tell why the certificate's public key is below the floor, None where it is not.

    Args:
        certificate: whose key is measured.

    It does not look at the signature, nor for keys that are known to be compromised.
    """
    try:
        key = certificate.x509.public_key()
    # Hostile bytes: a key that cryptography cannot load raises ValueError or UnsupportedAlgorithm.
    except Exception as error:
        return f"its public key cannot be read: {quote(error)}"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < SMALLEST_RSA_KEY:
            return f"its RSA key has {key.key_size} bits; at least {SMALLEST_RSA_KEY} are wanted"
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.key_size < SMALLEST_CURVE:
            return (
                f"its curve {key.curve.name} has {key.curve.key_size} bits;"
                f" at least {SMALLEST_CURVE} are wanted"
            )
        return None
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return None
    return f"its public key is of the unknown kind {type(key).__name__}"


def load_certificates(source: str | os.PathLike[str]) -> list[Certificate]:
    """Read every certificate from a PEM file or PEM text; text around the blocks is ignored.

    Args:
        source: a path, relative to the working directory, or text that holds `-----BEGIN`.

    Raises:
        ValueError: with a sentence for the operator, where the file cannot be read, holds no
            certificate, a broken one, or a private key.
    """
    if isinstance(source, str) and "-----BEGIN" in source:
        where, data = "the PEM text", source.encode("utf-8", "surrogateescape")
    else:
        path = Path(source)
        where = f"the file {quote(path)}"
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"{where} cannot be read ({reason}; looked for at {quote(path.absolute())});"
                " write the path of a PEM file, or PEM text"
            ) from error
    if b"PRIVATE KEY-----" in data:
        raise ValueError(
            f"{where} holds a private key; write certificates alone, and take the key away from"
            " where the web site can read it"
        )
    blocks = data.count(b"-----BEGIN CERTIFICATE-----")
    if blocks == 0:
        hint = (
            "it is DER; turn it into PEM by: openssl x509 -inform der -in FILE -out FILE.pem"
            if data.startswith(b"\x30")
            else "it must hold at least one block -----BEGIN CERTIFICATE-----"
        )
        raise ValueError(f"{where} holds no PEM certificate; {hint}")
    try:
        certificates = load_pem_x509_certificates(data)
    except ValueError as error:
        raise ValueError(f"{where} holds a broken certificate: {quote(error)}") from error
    if len(certificates) != blocks:
        raise ValueError(f"{where} holds {blocks} certificates, not all of which can be read")
    return certificates
