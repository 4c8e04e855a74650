"""Pins: fingerprints of certificates and of public keys. A pin can have an end date."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import CertificateDenied, quote
from arrcert.identity import literal_identity_from, roles_from
from arrcert.invisible import is_visible
from arrcert.keys import public_key_fingerprint


class Pin(NamedTuple):
    """One pinned certificate or public key.

    Attributes:
        value: upper-case hex.
        not_after: the last second in which the pin is valid; None if the pin does not expire.
        note: a note of the operator; None without one.
        identity: the name of the client; None to use the `identity` of the policy.
        roles: roles of the client in addition to those of the policy.
    """

    value: str
    not_after: datetime | None = None
    note: str = ""
    identity: str | None = None
    roles: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.value} ({self.note})" if self.note else self.value


class Pins:
    """The pins of one policy key, in the order in which they are written.

    Most pins are only hex digits. Of such a pin only the bytes are stored, so a million pins take
    110 MB.
    """

    def __init__(self) -> None:
        # The value is None for a pin that is only hex digits.
        self._held: dict[bytes, Pin | None] = {}

    def add(self, pin: Pin) -> Pin:
        """Add a pin unless its digits are already there; return the pin that is stored.

        Args:
            pin: the pin.
        """
        plain = Pin(pin.value)
        held = self._held.setdefault(bytes.fromhex(pin.value), None if pin == plain else pin)
        return held or plain

    def add_digits(self, digest: bytes) -> bool:
        """Add a pin that is only hex digits.

        Args:
            digest: the bytes of the digits.

        Returns:
            False if there is already a pin with these digits that has an end, a note, an identity
            or roles. That pin is kept.
        """
        return self._held.setdefault(digest, None) is None

    def find(self, value: str | None) -> Pin | None:
        """Return the pin of some upper-case hex digits, None if there is none.

        Args:
            value: the digits; None finds nothing.
        """
        if value is None:
            return None
        digest = bytes.fromhex(value)
        return (self._held[digest] or Pin(value)) if digest in self._held else None

    def described(self) -> Iterator[Pin]:
        """Yield the pins that have more than digits: an end, a note, an identity or roles."""
        return (pin for pin in self._held.values() if pin is not None)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Pin]:
        return (pin or Pin(digest.hex().upper()) for digest, pin in self._held.items())


def digest_of_digits(entry: object) -> bytes | None:
    """Return the bytes of an entry that is only hex digits, None for any other entry.

    Args:
        entry: as it is written in the settings.

    Nearly all pins have this form. `fingerprint_pin` and `public_key_pin` read every form, but they
    take five times as long.
    """
    if not isinstance(entry, str):
        return None
    try:
        return bytes.fromhex(entry)
    except ValueError:
        return None


def fingerprint_pin(entry: object) -> Pin:
    """Read an entry of `fingerprints`: hex, or a mapping that holds it under `fingerprint`.

    Args:
        entry: as it is written in the settings.

    Raises:
        ValueError: the entry is not valid. The message says why, and what to write instead.
    """
    return _pin(entry, "fingerprint")


def public_key_pin(entry: object) -> Pin:
    """Read an entry of `public_keys`: hex or base64, or a mapping with it under `public_key`.

    Args:
        entry: as it is written in the settings.

    Raises:
        ValueError: the entry is not valid. The message says why, and what to write instead.
    """
    return _pin(entry, "public_key")


def _pin(entry: object, key: str) -> Pin:
    if not isinstance(entry, Mapping):
        return Pin(_digits(entry, key))
    for name in entry:
        if name not in (key, "not_after", "note", "identity", "roles"):
            raise ValueError(
                f'has the unknown key {quote(name)}; write "{key}", "not_after", "note",'
                ' "identity" or "roles"'
            )
    if key not in entry:
        raise ValueError(f'has no "{key}"; write it in addition to "not_after" and "note"')
    note = entry.get("note", "")
    if not isinstance(note, str):
        raise ValueError('has a "note" that is not text; write a few words')
    not_after = _moment(entry["not_after"]) if "not_after" in entry else None
    read = key
    try:
        digits = _digits(entry[key], key)
        read = "identity"
        identity = literal_identity_from(entry[read]) if read in entry else None
        read = "roles"
        roles = roles_from(entry[read]) if read in entry else frozenset()
    except ValueError as error:
        raise ValueError(f'has a "{read}" that {error}') from error
    return Pin(digits, not_after, note, identity, roles)


def _moment(value: Any) -> datetime:
    """Return the last second of a day, or the given time."""
    try:
        end = value
        if isinstance(value, str):
            end = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        if isinstance(end, datetime):
            if end.utcoffset() is None:
                raise ValueError
            return end.astimezone(UTC)
        if isinstance(end, date):
            return datetime.combine(end, time(23, 59, 59), UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        f'has the "not_after" {quote(value)}; write the last day in UTC, "2027-01-31", or a time'
        ' with a time zone, "2027-01-31T12:00:00Z"'
    )


def _digits(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text; write it as a string")
    if not value.strip():
        raise ValueError("is empty; write an entry, or leave it out")
    digits = fingerprint_digits(value) if key == "fingerprint" else _public_key_digits(value)
    if digits is not None:
        return digits
    raise ValueError(_why_no_digits(value.strip(), key))


def fingerprint_digits(entry: str) -> str | None:
    """Return the upper-case hex digits of a fingerprint, None if the text is not a fingerprint.

    Args:
        entry: the 64 digits of SHA-256 or the 40 of SHA-1; colons, white space and case are
            ignored.
    """
    digits = re.sub(r"[:\s]", "", entry)
    is_whole = re.fullmatch(r"[0-9A-Fa-f]+", digits) and len(digits) in (40, 64)
    return digits.upper() if is_whole else None


def _public_key_digits(entry: str) -> str | None:
    text = re.sub(r"\s", "", entry).removeprefix("sha256/")
    digits = text.replace(":", "")
    if re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
        return digits.upper()
    try:
        digest = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    is_canonical = base64.b64encode(digest).decode("ascii") == text
    return digest.hex().upper() if is_canonical and len(digest) == 32 else None


_HOW_TO_PRINT = {
    "fingerprint": "openssl x509 -in client.pem -noout -fingerprint -sha256",
    "public_key": "openssl x509 -in client.pem -noout -pubkey | openssl pkey -pubin -outform der"
    " | openssl dgst -sha256",
}
"""The command that prints the fingerprint. The value is after the equals sign of its output."""

_KNOWN_FORMS: tuple[tuple[str, str], ...] = (
    (r"['\"`\u2018-\u201f\xab\xbb]", "holds quotation marks; remove them"),
    (
        r"(?i)(?:fingerprint|thumbprint|\(stdin\))\s*=\s*(?P<rest>[0-9a-f:]+)\Z",
        "is the whole line that a tool prints; write only the part after the =: '{rest}'",
    ),
    (
        r"(?i)\Asha-?(?:1|2-256|256)\s*(?::|=|//?|\s)\s*(?P<rest>[0-9a-f:\s]+|[\w+/]{43}=)\Z",
        "has a prefix; write it without a prefix: '{rest}'",
    ),
    (r"[,;]", "holds a comma or semicolon; write each value as a separate entry"),
    (r"(?i)\A[0-9a-f]+(?:[-._][0-9a-f]+)+\Z", "holds dashes or dots; write colons or nothing"),
    (r"(?i)\A0x[0-9a-f]+\Z", "has a prefix; remove the 0x"),
    (
        r"(?i)[/\\].*\.\w+\Z|\.(?:pem|crt|cer|der|pfx|p12|txt)\Z",
        "looks like a file's path; write the digits themselves, which this prints: {command}",
    ),
)
"""Patterns of wrong entries, and a hint for each."""


def _why_no_digits(entry: str, key: str) -> str:
    command = _HOW_TO_PRINT[key]
    if entry.startswith(("-----BEGIN", "MII")) and len(entry) > 100:
        return _why_no_certificate(entry, key)
    _refuse_invisible(re.sub(r"\s", "", entry))
    for pattern, hint in _KNOWN_FORMS:
        found = re.search(pattern, entry)
        if found:
            return hint.format(command=command, **found.groupdict())
    digits = re.sub(r"[:\s]", "", entry)
    if re.fullmatch(r"[0-9A-Fa-f]*", digits):
        return _why_wrong_length(len(digits), key)
    what = "hex" if key == "fingerprint" else "the SHA-256 of a public key in hex or base64"
    return f"is not {what}; write what this prints after the = sign: {command}"


def _why_wrong_length(count: int, key: str) -> str:
    if key == "public_key":
        return f"has {count} hex digits; write the 64 of a SHA-256"
    if count in (80, 104, 128):
        return (
            f"has {count} hex digits, which look like two fingerprints; write each as a"
            " separate entry; in an environment variable, write ; between them"
        )
    return (
        f"has {count} hex digits; write the 64 of a SHA-256 fingerprint or the 40 of a SHA-1"
        " thumbprint"
    )


def _why_no_certificate(entry: str, key: str) -> str:
    """Return what to write for an entry that is the certificate itself."""
    if not entry.startswith("-----BEGIN"):
        entry = f"-----BEGIN CERTIFICATE-----\n{entry}\n-----END CERTIFICATE-----\n"
    try:
        certificate = ClientCertificate.from_pem(entry)
    except CertificateDenied:
        return f"is a PEM block; write the digits, which this prints: {_HOW_TO_PRINT[key]}"
    if key == "fingerprint":
        return f"is a certificate; its fingerprint is {certificate.sha256_fingerprint!r}"
    return (
        f"is a certificate; the SHA-256 of its key is {public_key_fingerprint(certificate.x509)!r}"
    )


def _refuse_invisible(text: str) -> None:
    invisible = next((character for character in text if not is_visible(character)), None)
    if invisible is not None:
        raise ValueError(
            f"holds the invisible character U+{ord(invisible):04X}, which the Windows"
            " certificate dialog adds when a value is copied; type it again"
        )
