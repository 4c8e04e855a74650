"""Pins: how an entry is written, what it matches, and when it retires."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import CertificateDenied, ClientCertificate, DenialReason, Policy
from arrcert.pins import Pin, fingerprint_pin, public_key_fingerprint, public_key_pin
from arrcert.testing import CertificateAuthority, IssuedCertificate

SHA1, SHA256 = "AB" * 20, "CD" * 32
END_OF_JANUARY = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)

LONG_AGO = "0001-01-01T00:00:00+23:00"

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
    """The pin of a key is the same in hex, in base64, and with sha256/ before it."""
    assert public_key_pin(write(digest)).value == digest.hex().upper()


def test_public_key_is_what_openssl_prints(alice: IssuedCertificate, tmp_path: Path) -> None:
    """The pipeline that the errors name prints the value that matches."""
    file = tmp_path / "client.pem"
    file.write_bytes(alice.certificate_pem)
    pipeline = why_not(public_key_pin, "zz").partition("sign: ")[2].replace("client.pem", str(file))
    printed = subprocess.run(
        ["sh", "-c", pipeline], check=True, capture_output=True, text=True
    ).stdout.strip()
    pin = public_key_pin(printed.partition("= ")[2])
    assert pin.value == public_key_fingerprint(alice.certificate)
    assert pin.value in why_not(public_key_pin, printed).upper()
    assert public_key_fingerprint(alice.certificate) != alice.certificate.sha256_fingerprint


def test_public_key_outlives_a_renewal(authority: CertificateAuthority) -> None:
    """A certificate with another key has another value."""
    first, second = (authority.issue("alice").certificate for _ in range(2))
    policy = Policy(public_keys=[public_key_fingerprint(first)])
    policy.check(first)
    with pytest.raises(CertificateDenied) as caught:
        policy.check(second)
    assert caught.value.reason is DenialReason.FINGERPRINT_NOT_ALLOWED


def test_a_key_that_cannot_be_read_has_no_fingerprint(alice: IssuedCertificate) -> None:
    """A key of an unknown kind matches no pin, and raises nothing."""
    broken = alice.certificate.der.replace(
        bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    )
    assert public_key_fingerprint(ClientCertificate.from_der(broken)) is None


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
def test_a_pin_ends_with_its_day(value: object, end: datetime) -> None:
    """not_after is a whole day of UTC, or a moment with its zone."""
    entry = {"fingerprint": SHA1, "not_after": value, "note": "old gateway"}
    pin = fingerprint_pin(entry)
    assert pin == Pin(SHA1, end, "old gateway")
    assert str(pin) == f"{SHA1} (old gateway)"
    assert str(Pin(SHA1)) == SHA1


@pytest.mark.parametrize("kind", ["fingerprint", "public_key"])
def test_a_pin_retires_by_itself(kind: str, alice: IssuedCertificate) -> None:
    """After the last second of not_after the pin admits nobody, and the checks say so."""
    value = {
        "fingerprint": alice.certificate.sha256_fingerprint,
        "public_key": public_key_fingerprint(alice.certificate),
    }[kind]
    today = datetime.now(UTC).replace(hour=23, minute=59, second=59, microsecond=0)
    policy = Policy(**{f"{kind}s": [{kind: value, "not_after": f"{today:%Y-%m-%d}"}]})
    policy.check(alice.certificate, at=today)
    assert policy.warnings(today) == []
    late = today + timedelta(seconds=1)
    with pytest.raises(CertificateDenied, match="retired") as caught:
        policy.check(alice.certificate, at=late)
    assert caught.value.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
    [(setting, message)] = policy.warnings(late)
    assert setting == f"{kind}s"
    assert "retired" in message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"fingerprint": SHA1, "not_before": "x"}, "unknown key 'not_before'"),
        ({"fingerprint": SHA1, 7: "x"}, "unknown key '7'"),
        ({"public_key": SHA256}, "unknown key 'public_key'"),
        ({"not_after": "2027-01-31"}, 'has no "fingerprint"'),
        ({"fingerprint": SHA1, "note": 7}, '"note" that is no text'),
        ({"fingerprint": "zz"}, 'has a "fingerprint" that is not hex'),
        ({"fingerprint": 7}, 'has a "fingerprint" that is not text'),
        *(
            ({"fingerprint": SHA1, "not_after": value}, f"\"not_after\" '{value}'; write a day")
            for value in (None, 7, "soon", "31.01.2027", "2027-01-31T12:00:00", LONG_AGO)
        ),
    ],
)
def test_a_broken_mapping_is_refused(entry: object, message: str) -> None:
    """Each mistake of a mapping names the key."""
    assert message in why_not(fingerprint_pin, entry)


COLONS = ":".join(["AB"] * 20)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "is not text"),
        (b"AB" * 20, "is not text"),
        (" ", "is empty"),
        (f'"{COLONS}"', "quotation marks; drop them"),
        (f"\u201c{COLONS}\u201d", "quotation marks; drop them"),
        (f"sha256 Fingerprint={COLONS}", f"write what stands after the =: '{COLONS}'"),
        (f"Thumbprint = {SHA1}", f"write what stands after the =: '{SHA1}'"),
        (f"SHA256:{SHA256}", f"without a prefix: '{SHA256}'"),
        (f"sha-1 {SHA1}", f"without a prefix: '{SHA1}'"),
        (f"0x{SHA1}", "drop the 0x"),
        (COLONS.replace(":", "-"), "holds dashes"),
        (f"{SHA1},{SHA1}", "write each as an entry of its own"),
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
def test_a_broken_fingerprint_is_refused_with_a_hint(entry: object, message: str) -> None:
    """What people paste instead of digits is named, with what to write."""
    found = why_not(fingerprint_pin, entry)
    assert message in found
    assert ": -" not in found


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (SHA1, "has 40 hex digits; write the 64 of a SHA-256"),
        (SHA1 + SHA256, "has 104 hex digits; write the 64"),
        (f"SHA2-256(stdin)= {SHA256.lower()}", f"stands after the =: '{SHA256.lower()}'"),
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
def test_a_broken_public_key_is_refused_with_a_hint(entry: str, message: str) -> None:
    """A value that no key can have is named, with what prints the right one."""
    assert message in why_not(public_key_pin, entry)


def test_a_pasted_certificate_is_answered_with_its_pin(alice: IssuedCertificate) -> None:
    """Who pastes the certificate itself reads what to write."""
    for text in (alice.certificate_pem.decode(), alice.header_value):
        assert alice.certificate.sha256_fingerprint in why_not(fingerprint_pin, text)
        assert str(public_key_fingerprint(alice.certificate)) in why_not(public_key_pin, text)


@given(st.text(max_size=80) | st.dictionaries(st.text(max_size=12), st.text(max_size=80)))
def test_an_entry_is_a_pin_or_a_value_error(entry: Any) -> None:
    """Whatever stands in the settings is a pin of whole digits, or a ValueError."""
    for parse in PARSERS:
        try:
            value = parse(entry).value
        except ValueError:
            continue
        assert len(bytes.fromhex(value)) in (20, 32)


@given(st.binary(min_size=0, max_size=64).filter(lambda data: len(data) != 32))
def test_only_a_whole_sha256_pins_a_key(data: bytes) -> None:
    """Digests of another length pin no key."""
    why_not(public_key_pin, data.hex())
    why_not(public_key_pin, base64.b64encode(data).decode())
    assert hashlib.sha256(data).digest_size == 32
