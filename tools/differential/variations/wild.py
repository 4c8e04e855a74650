"""Random changes of the encoding, before the certificate is signed.

The right verdict is not known. The changes work on the tree of DER values. So most of the result is
still DER, and the implementations read each field of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tools.differential import der
from tools.differential.certificates import Certificate
from tools.differential.chains import Draft
from tools.differential.registry import ROLES, variation

_CONSTRUCTED = 0x20
_TAGS = (
    1,
    2,
    3,
    4,
    5,
    6,
    10,
    12,
    19,
    20,
    22,
    23,
    24,
    30,
    48,
    49,
    0x80,
    0x81,
    0x82,
    0x86,
    0xA0,
    0xA3,
)
_VALUES = (
    b"",
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0",
    b"*",
    b".",
    b"a.",
    b"\xc3\xa9",
    b"\xfe\xff",
)


def _nodes(encoded: bytes, begin: int, end: int, path: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return for each value a list of positions: those of its ancestors, then its own."""
    found: list[tuple[int, ...]] = []
    while begin < end:
        tag, inner, stop = der.split(encoded, begin)
        if stop > end:
            return found
        found.append((*path, begin))
        if tag & _CONSTRUCTED:
            found += _nodes(encoded, inner, stop, (*path, begin))
        elif tag == der.OCTETS and stop - inner > 2 and encoded[inner] in (0x30, 3, 4):
            # The value of an extension, which contains DER.
            found += _nodes(encoded, inner, stop, (*path, begin))
        begin = stop
    return found


def _replace(encoded: bytes, path: tuple[int, ...], replacement: bytes) -> bytes:
    """Replace a value, and correct the lengths of its ancestors."""
    *ancestors, place = path
    stop = der.split(encoded, place)[2]
    for ancestor in reversed(ancestors):
        tag, begin, end = der.split(encoded, ancestor)
        replacement = der.tlv(tag, encoded[begin:place] + replacement + encoded[stop:end])
        place, stop = ancestor, end
    return encoded[:place] + replacement + encoded[stop:]


def _change(encoded: bytes, path: tuple[int, ...], chance: random.Random) -> bytes:
    tag, begin, stop = der.split(encoded, path[-1])
    whole, content = encoded[path[-1] : stop], encoded[begin:stop]
    kind = chance.randrange(8)
    if kind == 0:
        return der.tlv(chance.choice(_TAGS), content)
    if kind == 1:
        return b""
    if kind == 2:
        return whole + whole
    if kind == 3:
        return der.tlv(tag, chance.choice(_VALUES))
    if kind == 4:
        return der.tlv(tag, content + chance.choice(_VALUES))
    if kind == 5:
        return der.tlv(tag, content[:-1])
    if kind == 6 and tag & _CONSTRUCTED:
        parts = [encoded[a:b] for a, b in der.children(encoded, begin, stop)]
        chance.shuffle(parts)
        return der.tlv(tag, b"".join(parts))
    if not content:
        return der.tlv(tag, b"\1")
    place = chance.randrange(len(content))
    changed = content[place] ^ (1 << chance.randrange(8))
    return der.tlv(tag, content[:place] + bytes((changed,)) + content[place + 1 :])


def _wild(body: bytes, chance: random.Random, count: int) -> bytes:
    for _ in range(count):
        try:
            paths = _nodes(body, 0, len(body), ())
            path = chance.choice(paths)
            body = _replace(body, path, _change(body, path, chance))
        except IndexError:
            # After an earlier change, a value ends behind its parent.
            return body
    return body


def _register(text: str, count: int) -> None:
    def change(draft: Draft, certificate: Certificate) -> None:
        seed = draft.random.random()

        def mutate(body: bytes) -> bytes:
            return _wild(body, random.Random(seed), count)  # noqa: S311 - Nothing is secret.

        certificate.before_signing.append(mutate)

    variation(ROLES, text, "alone")(change)


def _transplant(text: str, pick: Callable[[Draft], Certificate]) -> None:
    """Copy an extension of another certificate of the chain into this one (frankencert)."""

    def change(draft: Draft, certificate: Certificate) -> None:
        donor = pick(draft)
        number = draft.random.choice(sorted(donor.extensions))
        certificate.extensions[number] = donor.extensions[number]

    variation(ROLES, text, "alone")(change)


_register("a wild change", 1)
_register("three wild changes", 3)
_transplant("an extension of the leaf", lambda draft: draft.leaf)
_transplant("an extension of the anchor", lambda draft: draft.anchor)
