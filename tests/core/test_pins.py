"""Pins: the forms of an entry, and the mistakes that an error explains."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert.keys import public_key_fingerprint
from arrcert.pins import (
    Pin,
    Pins,
    digest_of_digits,
    fingerprint_digits,
    fingerprint_pin,
    public_key_pin,
)
from arrcert.testing import IssuedCertificate

SHA1, SHA256 = "AB" * 20, "CD" * 32
END_OF_JANUARY = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)

LONG_AGO = "0001-01-01T00:00:00+23:00"

# The digits of a digest, of the right length or one byte longer, with and without separators.
DIGITS = st.one_of(
    st.binary(min_size=size, max_size=size + 1).flatmap(
        lambda digest: st.sampled_from(
            [digest.hex(), digest.hex(" "), f" {digest.hex().upper()}\n"]
        )
    )
    for size in (20, 32)
)

PARSERS: tuple[Callable[[object], Pin], ...] = (fingerprint_pin, public_key_pin)


def why_not(parse: Callable[[object], Pin], entry: object) -> str:
    """Return why an entry is refused."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse(entry)
    return str(caught.value)


@pytest.mark.parametrize("digits", [SHA1, SHA256])
@pytest.mark.parametrize(
    "write",
    [
        str,
        str.lower,
        lambda digits: ":".join(digits[i : i + 2] for i in range(0, len(digits), 2)),
        lambda digits: f" {digits[:8]} {digits[8:]}\n",
    ],
)
def test_fingerprint_is_hex_however_written(digits: str, write: Callable[[str], str]) -> None:
    """Colons, white space and case of a fingerprint do not matter."""
    assert fingerprint_pin(write(digits)) == Pin(digits)
    assert fingerprint_pin({"fingerprint": write(digits)}) == Pin(digits)


@pytest.mark.parametrize(
    "write",
    [
        bytes.hex,
        lambda digest: digest.hex(":").upper(),
        lambda digest: base64.b64encode(digest).decode(),
        lambda digest: "sha256/" + base64.b64encode(digest).decode(),
        lambda digest: "sha256/" + digest.hex(),
    ],
)
@given(digest=st.binary(min_size=32, max_size=32))
def test_public_key_is_hex_or_base64(digest: bytes, write: Callable[[bytes], str]) -> None:
    """A pinned key may be written in hex or in base64, with or without `sha256/` before it."""
    assert public_key_pin(write(digest)).value == digest.hex().upper()


def test_public_key_is_what_openssl_prints(alice: IssuedCertificate, tmp_path: Path) -> None:
    """The command that an error suggests prints the value to write."""
    file = tmp_path / "client.pem"
    file.write_bytes(alice.certificate_pem)
    pipeline = why_not(public_key_pin, "zz").partition("sign: ")[2].replace("client.pem", str(file))
    printed = subprocess.run(
        ["sh", "-c", pipeline], check=True, capture_output=True, text=True
    ).stdout.strip()
    pin = public_key_pin(printed.partition("= ")[2])
    assert pin.value == public_key_fingerprint(alice.certificate.x509)
    assert pin.value in why_not(public_key_pin, printed).upper()


@pytest.mark.parametrize(
    ("value", "end"),
    [
        ("2027-01-31", END_OF_JANUARY),
        (date(2027, 1, 31), END_OF_JANUARY),
        ("9999-12-31", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
        (END_OF_JANUARY.astimezone(timezone(timedelta(hours=5))), END_OF_JANUARY),
    ],
)
def test_pin_ends_with_its_day(value: object, end: datetime) -> None:
    """`not_after` is a day that ends in UTC, or a moment with its zone."""
    entry = {"fingerprint": SHA1, "not_after": value, "note": "old gateway"}
    pin = fingerprint_pin(entry)
    assert pin == Pin(SHA1, end, "old gateway")
    assert str(pin) == f"{SHA1} (old gateway)"
    assert str(Pin(SHA1)) == SHA1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"fingerprint": SHA1, "not_before": "x"}, "unknown key 'not_before'"),
        ({"fingerprint": SHA1, 7: "x"}, "unknown key '7'"),
        ({"public_key": SHA256}, "unknown key 'public_key'"),
        ({"not_after": "2027-01-31"}, 'has no "fingerprint"'),
        ({"fingerprint": SHA1, "note": 7}, '"note" that is not text'),
        ({"fingerprint": "zz"}, 'has a "fingerprint" that is not hex'),
        ({"fingerprint": 7}, 'has a "fingerprint" that is not text'),
        *(
            (
                {"fingerprint": SHA1, "not_after": value},
                f"\"not_after\" '{value}'; write the last day",
            )
            for value in (None, 7, "soon", "31.01.2027", "2027-01-31T12:00:00", LONG_AGO)
        ),
    ],
)
def test_broken_mapping_is_refused(entry: object, message: str) -> None:
    """The error for a mistake in a mapping names the key that is wrong."""
    assert message in why_not(fingerprint_pin, entry)


COLONS = ":".join(["AB"] * 20)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "is not text"),
        (b"AB" * 20, "is not text"),
        (" ", "is empty"),
        (f'"{COLONS}"', "quotation marks; remove them"),
        (f"\u201c{COLONS}\u201d", "quotation marks; remove them"),
        (f"sha256 Fingerprint={COLONS}", f"write only the part after the =: '{COLONS}'"),
        (f"Thumbprint = {SHA1}", f"write only the part after the =: '{SHA1}'"),
        (f"SHA256:{SHA256}", f"without a prefix: '{SHA256}'"),
        (f"sha-1 {SHA1}", f"without a prefix: '{SHA1}'"),
        (f"0x{SHA1}", "remove the 0x"),
        (COLONS.replace(":", "-"), "holds dashes"),
        (f"{SHA1},{SHA1}", "write each value as a separate entry"),
        (f"{SHA1}\n{SHA1}", "80 hex digits, which look like two"),
        (SHA1 + SHA256, "104 hex digits, which look like two"),
        (SHA256 + SHA256, "128 hex digits, which look like two"),
        (SHA1[:-1], "has 39 hex digits; write the 64"),
        (":", "has 0 hex digits"),
        ("certs/client.pem", "looks like a file's path"),
        (r"C:\client.cer", "looks like a file's path"),
        ("client.crt", "looks like a file's path"),
        (f"\u200e{SHA1}", "U+200E"),
        ("zz", "is not hex; write what this prints after the = sign: openssl x509 -in client.pem"),
        ("-----BEGIN CERTIFICATE-----\n" + "x" * 200, "is a PEM block"),
    ],
)
def test_broken_fingerprint_is_refused_with_a_hint(entry: object, message: str) -> None:
    """The error for a wrong fingerprint names what it looks like, and what to write instead."""
    found = why_not(fingerprint_pin, entry)
    assert message in found
    assert ": -" not in found


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (SHA1, "has 40 hex digits; write the 64 of a SHA-256"),
        (SHA1 + SHA256, "has 104 hex digits; write the 64"),
        (f"SHA2-256(stdin)= {SHA256.lower()}", f"part after the =: '{SHA256.lower()}'"),
        (
            "sha256//" + base64.b64encode(bytes(32)).decode(),
            f"without a prefix: '{base64.b64encode(bytes(32)).decode()}'",
        ),
        (base64.b64encode(bytes(31)).decode(), "is not the SHA-256 of a public key"),
        (base64.b64encode(b"\xff" * 32).decode()[:-1], "is not the SHA-256 of a public key"),
        (base64.b64encode(bytes(32)).decode()[:-2] + "B=", "is not the SHA-256 of a public key"),
        ("key.pem", "openssl pkey -pubin"),
    ],
)
def test_broken_public_key_is_refused_with_a_hint(entry: str, message: str) -> None:
    """The error for a wrong public key names what it looks like, and the command to use."""
    assert message in why_not(public_key_pin, entry)


def test_error_for_a_pasted_certificate_holds_its_pin(alice: IssuedCertificate) -> None:
    """The error for a whole certificate shows the value to write instead."""
    for text in (alice.certificate_pem.decode(), alice.header_value):
        assert alice.certificate.sha256_fingerprint in why_not(fingerprint_pin, text)
        assert str(public_key_fingerprint(alice.certificate.x509)) in why_not(public_key_pin, text)


@given(
    st.text(max_size=80)
    | st.dictionaries(st.text(max_size=12), st.text(max_size=80))
    | DIGITS
    | st.fixed_dictionaries({"fingerprint": DIGITS})
)
def test_any_entry_is_a_pin_or_a_value_error(entry: Any) -> None:
    """Any entry is a pin with all its digits, or raises a `ValueError`."""
    for parse in PARSERS:
        try:
            value = parse(entry).value
        except ValueError:
            continue
        assert len(bytes.fromhex(value)) in (20, 32)


@given(st.binary(min_size=0, max_size=64).filter(lambda data: len(data) != 32))
def test_only_a_whole_sha256_pins_a_key(data: bytes) -> None:
    """A digest that does not have 32 bytes is refused as a public key."""
    why_not(public_key_pin, data.hex())
    why_not(public_key_pin, base64.b64encode(data).decode())


@pytest.mark.parametrize("entry", ["z" * 40, "a" * 39 + "z", "z" + "a" * 63, "a" * 63 + "é"])
def test_every_digit_of_a_fingerprint_is_hex(entry: str) -> None:
    """A text of the right length that holds another character is refused."""
    assert "is not hex" in why_not(fingerprint_pin, entry)


def test_base64_of_a_key_may_be_wrapped() -> None:
    """White space in the base64 of a public key does not matter."""
    digest = bytes(range(32))
    text = base64.b64encode(digest).decode()
    assert public_key_pin(f" {text[:20]}\n{text[20:]} ").value == digest.hex().upper()


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        (SHA1.lower(), SHA1),
        (f" {SHA256[:2]}:{SHA256[2:]}\n", SHA256),
        (SHA1[:-1], None),
        (SHA1[:-1] + "z", None),
        ("", None),
    ],
)
def test_digits_of_a_fingerprint(text: str, digits: str | None) -> None:
    """Text of 40 or 64 hex digits is a fingerprint, and any other text is not."""
    assert fingerprint_digits(text) == digits


def test_pins_are_found_by_their_digits() -> None:
    """Pins are found, counted and listed in order, with and without more than digits."""
    described = Pin(SHA1, END_OF_JANUARY, "gateway", "fabrikam", frozenset({"orders"}))
    pins = Pins()
    assert pins.add_digits(bytes.fromhex(SHA256))
    assert pins.add(described) == described
    assert (len(pins), list(pins)) == (2, [Pin(SHA256), described])
    assert list(pins.described()) == [described]
    assert pins.find(SHA256) == Pin(SHA256)
    assert pins.find(SHA1) == described
    assert pins.find("EF" * 32) is None
    assert pins.find(None) is None


def test_first_pin_of_some_digits_counts() -> None:
    """Of two pins with the same digits, the first one counts."""
    described = Pin(SHA256, note="gateway")
    pins = Pins()
    assert pins.add(described) == described
    assert not pins.add_digits(bytes.fromhex(SHA256))
    assert pins.add(Pin(SHA256)) == described
    assert pins.find(SHA256) == described
    plain = Pins()
    assert plain.add(Pin(SHA256)) == Pin(SHA256)
    assert plain.add(described) == Pin(SHA256)
    assert list(plain) == [Pin(SHA256)]


@given(
    st.text(alphabet="0123456789abcdefABCDEF: \n\u00a0xg", max_size=70)
    | st.binary(max_size=9)
    | DIGITS
)
def test_digits_are_read_as_a_pin_is(entry: object) -> None:
    """An entry of digits alone has the same bytes as the same digits in a mapping."""
    digest = digest_of_digits(entry)
    if digest is not None and len(digest) in (20, 32):
        assert fingerprint_pin(entry).value == digest.hex().upper()
