"""`tools/differential/der.py` and `keys.py`: the encoded parts can be decoded."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tools.differential import der
from tools.differential.keys import key


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, -1, -128, -129, 2**64])
def test_integers(number: int) -> None:
    """An INTEGER is in the shortest two's complement form."""
    _, begin, end = der.split(der.integer(number))
    content = der.integer(number)[begin:end]
    assert int.from_bytes(content, "big", signed=True) == number
    assert len(content) == 1 or content[0] not in (0, 0xFF) or content[0] >> 7 != content[1] >> 7


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 70_000])
def test_lengths(length: int) -> None:
    """The length of a value is the number of its bytes."""
    encoded = der.tlv(der.OCTETS, bytes(length))
    assert der.split(encoded) == (der.OCTETS, len(encoded) - length, len(encoded))


def test_object_identifiers() -> None:
    """A component of an object identifier above 127 is encoded in several bytes."""
    assert der.oid("1.2.840.113549.1.1.11").hex() == "06092a864886f70d01010b"


def test_children() -> None:
    """The elements of a SEQUENCE are found."""
    whole = der.sequence(der.TRUE, der.integer(5))
    assert der.children(whole, 2, len(whole)) == [(2, 5), (5, 8)]


@pytest.mark.parametrize("kind", ["P-256", "P-521", "RSA-1024", "RSA-2048", "Ed25519", "Ed448"])
def test_keys_are_always_the_same(kind: str) -> None:
    """A key can be loaded, and a name always gives the same key."""
    load_der_public_key(key(kind).info)
    assert key(kind).info == key.__wrapped__(kind).info
