"""Versions, and encodings that are not DER (X.690)."""

from __future__ import annotations

from collections.abc import Callable

from tools.differential import der
from tools.differential.certificates import (
    KEY_USAGE,
    Certificate,
)
from tools.differential.chains import Draft
from tools.differential.registry import ROLES, variation


def _version(text: str, version: bytes, *, extensions: bool = True) -> None:
    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.version = version
        if not extensions:
            certificate.extensions.clear()

    variation(ROLES, text, "alone")(change)


_version("version 1 without extensions", b"", extensions=False)
_version("version 1 with extensions", b"")
_version(
    "version 1 written out, without extensions", der.context(0, der.integer(0)), extensions=False
)
_version("version 2 without extensions", der.context(0, der.integer(1)), extensions=False)
_version("version 2 with extensions", der.context(0, der.integer(1)))
_version("version 3 without extensions", der.context(0, der.integer(2)), extensions=False)
_version("version 4", der.context(0, der.integer(3)))
_version("version -1", der.context(0, der.integer(-1)))
_version("the version is padded", der.context(0, der.tlv(der.INTEGER, b"\0\2")))


def _whole(text: str, change_whole: Callable[[bytes], bytes]) -> None:
    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.after_signing.append(change_whole)

    variation(ROLES, text, "whole", "signature")(change)


def _body(text: str, change_body: Callable[[bytes], bytes]) -> None:
    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.before_signing.append(change_body)

    variation(ROLES, text, "body", "signature")(change)


def _content(encoded: bytes) -> bytes:
    return encoded[der.split(encoded)[1] :]


def _indefinite(encoded: bytes) -> bytes:
    return bytes((encoded[0], 0x80)) + _content(encoded) + b"\0\0"


def _long_length(encoded: bytes) -> bytes:
    content = _content(encoded)
    return bytes((encoded[0], 0x84)) + len(content).to_bytes(4, "big") + content


_whole("one byte follows", lambda whole: whole + b"\0")
_whole("one byte is missing", lambda whole: whole[:-1])
_whole("half of it is missing", lambda whole: whole[: len(whole) // 2])
_whole("it is empty", lambda whole: whole[:0])
_whole("the outer length is indefinite", _indefinite)
_whole("the outer length has leading zeros", _long_length)
_whole("the outer tag is SET", lambda whole: b"\x31" + whole[1:])
_whole("a fourth part is in it", lambda whole: der.sequence(_content(whole), der.integer(1)))
_whole("the signature has unused bits", lambda whole: _with_unused_bits(whole))
_whole("the signature is a constructed BIT STRING", lambda whole: _with_constructed(whole))
_body("the length of the body is indefinite", _indefinite)
_body("the length of the body has leading zeros", _long_length)
_body("the body has one more part", lambda body: der.sequence(_content(body), der.integer(1)))
_body(
    "the body has an unknown context tag",
    lambda body: der.sequence(_content(body), der.context(4, der.integer(1))),
)


def _parts(whole: bytes) -> list[bytes]:
    _, begin, end = der.split(whole)
    return [whole[a:b] for a, b in der.children(whole, begin, end)]


def _with_unused_bits(whole: bytes) -> bytes:
    *kept, signature = _parts(whole)
    content = _content(signature)
    return der.sequence(*kept, der.tlv(der.BITS, b"\x04" + content[1:-1] + b"\xf0"))


def _with_constructed(whole: bytes) -> bytes:
    *kept, signature = _parts(whole)
    content = _content(signature)[1:]
    inner = der.bits(content[:20]) + der.bits(content[20:])
    return der.sequence(*kept, der.tlv(0x23, inner))


def _raw_extension(text: str, number: str, make: Callable[[bytes], bytes]) -> None:
    """Write one extension in another encoding, with the same value."""

    def change(_draft: Draft, certificate: Certificate) -> None:
        if number in certificate.extensions:
            _, _, value = certificate.extensions.pop(number)
            certificate.more_extensions.append(make(value))

    aspect = f"extension {number.replace('.', '-')}"
    variation(ROLES, text, aspect, "more")(change)


_raw_extension(
    "critical is TRUE as 01",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), b"\x01\x01\x01", der.tlv(der.OCTETS, value)),
)
_raw_extension(
    "critical is FALSE, written out",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), b"\x01\x01\x00", der.tlv(der.OCTETS, value)),
)
_raw_extension(
    "critical is TRUE twice",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), der.TRUE, der.TRUE, der.tlv(der.OCTETS, value)),
)
_raw_extension(
    "an extension has no value", KEY_USAGE, lambda _value: der.sequence(der.oid(KEY_USAGE))
)
_raw_extension(
    "an extension is a BIT STRING",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), der.tlv(der.BITS, value)),
)
_raw_extension(
    "an extension has bytes behind its value",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), der.tlv(der.OCTETS, value), der.integer(1)),
)
_raw_extension(
    "an extension value has bytes behind",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), der.tlv(der.OCTETS, value + b"\0")),
)
_raw_extension(
    "the length of an extension value has leading zeros",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), _long_length(der.tlv(der.OCTETS, value))),
)
_raw_extension(
    "an extension value is a constructed OCTET STRING",
    KEY_USAGE,
    lambda value: der.sequence(der.oid(KEY_USAGE), der.tlv(0x24, der.tlv(der.OCTETS, value))),
)


@variation(ROLES, "the list of extensions is empty", "alone")
def _empty_list(_draft: Draft, certificate: Certificate) -> None:
    certificate.extensions.clear()
    certificate.info = certificate.key.info + der.context(3, der.sequence())


@variation(ROLES, "the list of extensions is there twice", "alone")
def _list_twice(_draft: Draft, certificate: Certificate) -> None:
    from tools.differential.certificates import extension

    kept = b"".join(map(extension, certificate.extensions.values()))
    certificate.info = certificate.key.info + der.context(3, der.sequence(kept))
