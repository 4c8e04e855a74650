"""The DER encodings that a certificate consists of (X.690).

The functions encode what they are given. They do not check whether it is allowed, because some
certificates must break the rules on purpose.
"""

from __future__ import annotations

import functools

SEQUENCE, SET, OCTETS, BITS, INTEGER, BOOLEAN, OID, NULL = 0x30, 0x31, 4, 3, 2, 1, 6, 5
UTF8, PRINTABLE, TELETEX, IA5, BMP, UTC_TIME, GENERALIZED_TIME = 12, 19, 20, 22, 30, 23, 24


def tlv(tag: int, content: bytes) -> bytes:
    """Return a value with its tag and length."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tlv(SEQUENCE, b"".join(parts))


def integer(number: int) -> bytes:
    """Return an INTEGER."""
    return tlv(
        INTEGER, number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)
    )


@functools.cache
def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray()
    for number in (first * 40 + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return tlv(OID, bytes(content))


def bits(content: bytes, unused: int = 0) -> bytes:
    """Return a BIT STRING."""
    return tlv(BITS, bytes((unused,)) + content)


def context(number: int, content: bytes, *, constructed: bool = True) -> bytes:
    """Return a value with a context-specific tag."""
    return tlv((0xA0 if constructed else 0x80) | number, content)


def split(der: bytes, start: int = 0) -> tuple[int, int, int]:
    """Return the tag, the start of the content and the end of the value at a position."""
    tag, length, begin = der[start], der[start + 1], start + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[begin : begin + size], "big")
        begin += size
    return tag, begin, begin + length


def children(der: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Return the begin and the end of each value between two positions."""
    found = []
    while start < end:
        stop = split(der, start)[2]
        found.append((start, stop))
        start = stop
    return found


TRUE = tlv(BOOLEAN, b"\xff")
