"""The parts of a certificate. A variation may change each of them before the signing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tools.differential import der
from tools.differential.keys import Key, Signature

AT = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
"""The time at which every chain is checked."""

Extension = tuple[str, bool, bytes]
"""The dotted object identifier, whether it is critical, and the DER of the value."""

COMMON_NAME, ORGANIZATION, EMAIL = "2.5.4.3", "2.5.4.10", "1.2.840.113549.1.9.1"

SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
KEY_USAGE = "2.5.29.15"
SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
BASIC_CONSTRAINTS = "2.5.29.19"
NAME_CONSTRAINTS = "2.5.29.30"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
EXTENDED_KEY_USAGE = "2.5.29.37"

CLIENT_AUTH, SERVER_AUTH = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"
ANY_USAGE, EMAIL_PROTECTION = "2.5.29.37.0", "1.3.6.1.5.5.7.3.4"


class Certificate:
    """The parts of one certificate.

    A variation changes the attributes. It may add functions to `before_signing`, which take and
    return a TBSCertificate, and to `after_signing`, which take and return the whole certificate.
    """

    def __init__(self, role: str, subject: bytes, key: Key) -> None:
        self.role = role
        self.version: bytes = der.context(0, der.integer(2))
        self.serial: bytes = der.integer(0x5EED + len(subject))
        self.subject = subject
        self.issuer: bytes | None = None
        self.not_before = moment(AT - timedelta(days=100))
        self.not_after = moment(AT + timedelta(days=200))
        self.key = key
        self.identifier = key.identifier
        self.info: bytes | None = None
        self.extensions: dict[str, Extension] = {}
        self.more_extensions: list[bytes] = []
        self.digest: str | None = None
        self.scheme = ""
        self.inner_algorithm: bytes | None = None
        self.outer_algorithm: bytes | None = None
        self.signer: Key | None = None
        self.before_signing: list[Callable[[bytes], bytes]] = []
        self.after_signing: list[Callable[[bytes], bytes]] = []

    def set(self, number: str, value: bytes, *, critical: bool = False) -> None:
        """Set an extension."""
        self.extensions[number] = (number, critical, value)

    def drop(self, number: str) -> None:
        """Remove an extension."""
        self.extensions.pop(number, None)

    def sign(self, issuer: Certificate) -> bytes:
        """Return the DER, signed by an issuer."""
        signer = self.signer or issuer.key
        # The signed bytes contain the algorithm, but only a signature tells which one it is.
        algorithm = self.inner_algorithm or _algorithm(signer, self.digest, self.scheme)
        body = self._body(algorithm, issuer.subject if self.issuer is None else self.issuer)
        for change in self.before_signing:
            body = change(body)
        signature = signer.sign(body, self.digest, self.scheme)
        whole = der.sequence(
            body, self.outer_algorithm or signature.algorithm, der.bits(signature.value)
        )
        for change in self.after_signing:
            whole = change(whole)
        return whole

    def _body(self, algorithm: bytes, issuer: bytes) -> bytes:
        extensions = b"".join(map(extension, self.extensions.values()))
        extensions += b"".join(self.more_extensions)
        return der.sequence(
            self.version,
            self.serial,
            algorithm,
            issuer,
            der.sequence(self.not_before, self.not_after),
            self.subject,
            self.info or self.key.info,
            der.context(3, der.sequence(extensions)) if extensions else b"",
        )


@functools.cache
def _algorithm(signer: Key, digest: str | None, scheme: str) -> bytes:
    signature: Signature = signer.sign(b"", digest, scheme)
    return signature.algorithm


@functools.lru_cache(4096)
def extension(parts: Extension) -> bytes:
    """Return the DER of an extension."""
    number, critical, value = parts
    return der.sequence(der.oid(number), der.TRUE if critical else b"", der.tlv(der.OCTETS, value))


@functools.lru_cache(4096)
def name(*attributes: tuple[str, str] | tuple[str, str, int]) -> bytes:
    """Return a Name with one attribute in each RDN: (object identifier, text, tag)."""
    return der.sequence(*(der.tlv(der.SET, attribute(*parts)) for parts in attributes))


def attribute(number: str, text: str, tag: int = der.UTF8) -> bytes:
    """Return one attribute of a name."""
    if number == EMAIL:
        tag = der.IA5
    encoded = text.encode("utf-16-be" if tag == der.BMP else "utf-8")
    return der.sequence(der.oid(number), der.tlv(tag, encoded))


@functools.lru_cache(4096)
def moment(at: datetime) -> bytes:
    """Return a time in the form of RFC 5280 section 4.1.2.5: UTCTime until 2049."""
    if 1950 <= at.year < 2050:
        return der.tlv(der.UTC_TIME, f"{at:%y%m%d%H%M%SZ}".encode())
    return generalized(at)


def generalized(at: datetime) -> bytes:
    """Return a GeneralizedTime."""
    return der.tlv(der.GENERALIZED_TIME, f"{at:%Y%m%d%H%M%SZ}".encode())


def basic_constraints(*, ca: bool, path_length: int | None = None) -> bytes:
    """Return the value of basicConstraints."""
    length = b"" if path_length is None else der.integer(path_length)
    return der.sequence(der.TRUE if ca else b"", length)


def key_usage(*numbers: int) -> bytes:
    """Return the value of keyUsage: 0 digitalSignature, 2 keyEncipherment, 5 keyCertSign."""
    if not numbers:
        return der.bits(b"")
    value = sum(0x8000 >> number for number in numbers)
    size = max(numbers) // 8 + 1
    return der.bits(value.to_bytes(2, "big")[:size], unused=size * 8 - 1 - max(numbers))


def extended_key_usage(*numbers: str) -> bytes:
    """Return the value of extendedKeyUsage."""
    return der.sequence(*map(der.oid, numbers))


GENERAL_NAMES = {"email": 1, "dns": 2, "uri": 6, "ip": 7}


def general_name(kind: str, value: str | bytes) -> bytes:
    """Return a GeneralName; a directory name takes the DER of a Name."""
    content = value.encode("utf-8") if isinstance(value, str) else value
    if kind == "directory":
        return der.context(4, content)
    if kind == "other":
        return der.context(
            0, der.oid("1.3.6.1.4.1.311.20.2.3") + der.context(0, der.tlv(der.UTF8, content))
        )
    return der.context(GENERAL_NAMES[kind], content, constructed=False)


def alternative_names(*names: tuple[str, str | bytes]) -> bytes:
    """Return the value of subjectAltName."""
    return der.sequence(*(general_name(*each) for each in names))


def name_constraints(
    permitted: list[tuple[str, str | bytes]], excluded: list[tuple[str, str | bytes]]
) -> bytes:
    """Return the value of nameConstraints."""
    parts = []
    for number, bases in enumerate((permitted, excluded)):
        if bases:
            subtrees = (der.sequence(general_name(*base)) for base in bases)
            parts.append(der.context(number, b"".join(subtrees)))
    return der.sequence(*parts)
