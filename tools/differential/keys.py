"""Keys that are made from fixed numbers, so that the same seed gives the same certificates.

These keys are not secret, because all of their numbers are in this file.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tools.differential import der

DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "md5": hashes.MD5(),  # noqa: S303 - Weak on purpose: it must be denied.
    "sha1": hashes.SHA1(),  # noqa: S303
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_ECDSA = {
    "sha1": "1.2.840.10045.4.1",
    "sha224": "1.2.840.10045.4.3.1",
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
_RSA = {
    "md5": "1.2.840.113549.1.1.4",
    "sha1": "1.2.840.113549.1.1.5",
    "sha224": "1.2.840.113549.1.1.14",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
_HASH = {
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_NULL = der.tlv(der.NULL, b"")
_CURVES: dict[str, tuple[ec.EllipticCurve, str]] = {
    "P-224": (ec.SECP224R1(), "sha256"),
    "P-256": (ec.SECP256R1(), "sha256"),
    "P-384": (ec.SECP384R1(), "sha384"),
    "P-521": (ec.SECP521R1(), "sha512"),
    "secp256k1": (ec.SECP256K1(), "sha256"),
    "brainpoolP256r1": (ec.BrainpoolP256R1(), "sha256"),
}
# For each size: the distances from two fixed numbers of that size to the next prime numbers.
_PRIMES = {1024: (340, 194), 2048: (566, 870), 3072: (792, 898)}


class Signature(NamedTuple):
    """A signature and its AlgorithmIdentifier."""

    algorithm: bytes
    value: bytes


class Key:
    """A key pair.

    Attributes:
        kind: `P-256`, `RSA-2048`, `Ed25519` and so on.
        info: the DER of the SubjectPublicKeyInfo.
        identifier: the SHA-1 of the key, as the subject key identifier holds it.
    """

    def __init__(self, kind: str, private: Any, digest: str) -> None:
        self.kind = kind
        self._private = private
        self._digest = digest
        public = private.public_key()
        self.info: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.identifier = hashlib.sha1(self.info, usedforsecurity=False).digest()

    def sign(self, message: bytes, digest: str | None = None, scheme: str = "") -> Signature:
        """Sign a message.

        Args:
            message: the bytes.
            digest: the name of a hash; the usual one of the key by default.
            scheme: for RSA, `pss` or `pss-long-salt`; PKCS #1 v1.5 by default.
        """
        digest = digest or self._digest
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            value = self._private.sign(
                message, ec.ECDSA(DIGESTS[digest], deterministic_signing=True)
            )
            return Signature(der.sequence(der.oid(_ECDSA[digest])), value)
        if isinstance(self._private, rsa.RSAPrivateKey):
            algorithm = DIGESTS[digest]
            if scheme:
                salt = 20 if scheme == "pss-short-salt" else algorithm.digest_size
                value = self._private.sign(
                    message, padding.PSS(padding.MGF1(algorithm), salt), algorithm
                )
                return Signature(_pss(digest, salt), value)
            value = self._private.sign(message, padding.PKCS1v15(), algorithm)
            return Signature(der.sequence(der.oid(_RSA[digest]), _NULL), value)
        number = "1.3.101.112" if self.kind == "Ed25519" else "1.3.101.113"
        return Signature(der.sequence(der.oid(number)), self._private.sign(message))


def _pss(digest: str, salt: int) -> bytes:
    algorithm = der.sequence(der.oid(_HASH[digest]), _NULL)
    generator = der.sequence(der.oid("1.2.840.113549.1.1.8"), algorithm)
    return der.sequence(
        der.oid("1.2.840.113549.1.1.10"),
        der.sequence(
            der.context(0, algorithm), der.context(1, generator), der.context(2, der.integer(salt))
        ),
    )


@functools.cache
def key(kind: str, number: int = 0) -> Key:
    """Return a key of a kind. Each number gives another key."""
    name = f"{kind}/{number}"
    if kind in _CURVES:
        curve, digest = _CURVES[kind]
        return Key(kind, ec.derive_private_key(_number(name, curve.key_size - 8), curve), digest)
    if kind == "Ed25519":
        seed = _number(name, 256).to_bytes(32, "big")
        return Key(kind, ed25519.Ed25519PrivateKey.from_private_bytes(seed), "")
    if kind == "Ed448":
        seed = _number(name, 456).to_bytes(57, "big")
        return Key(kind, ed448.Ed448PrivateKey.from_private_bytes(seed), "")
    return Key(kind, _rsa(int(kind.removeprefix("RSA-"))), "sha256")


def _number(name: str, size: int) -> int:
    """Return a number of so many bits, the two highest of which are set."""
    stream = hashlib.shake_256(name.encode()).digest(size // 8)
    return int.from_bytes(stream, "big") | 3 << (size - 2)


def _rsa(size: int) -> rsa.RSAPrivateKey:
    primes = [
        (_number(f"RSA-{size}/{index}", size // 2) | 1) + offset
        for index, offset in enumerate(_PRIMES[size])
    ]
    p, q = primes
    e = 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e, p * q),
    ).private_key()
