"""Header text to DER: one strict function for each way in which front ends write a certificate.

Each returns the leaf first and then the intermediates that came with it. Nothing is repaired: white
space, wrong padding, a second value or text between are denied.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from arrcert.exceptions import CertificateDenied, DenialReason

MOST_INTERMEDIATES = 10
"""Intermediates that are read with a leaf; real paths have one or two."""


class Encoding(NamedTuple):
    """How a front end writes a certificate.

    Attributes:
        decode: from a header's text, and `trusted_hops` where it matters, to DER, the leaf first.
        decode_chain: from the text of a chain header to DER; None where there is no such header.
    """

    decode: Callable[[str, int], list[bytes]]
    decode_chain: Callable[[str], list[bytes]] | None = None


def base64_der(value: str, _trusted_hops: int = 1) -> list[bytes]:
    """Decode bare base64 (RFC 4648 section 4) of one DER certificate, as App Service writes it.

    Args:
        value: the header's text, not empty.

    Raises:
        CertificateDenied: `ambiguous` where a comma joins two values; `malformed` where the text is
            anything but the one canonical encoding of the bytes.
    """
    _require_one(value)
    # DER begins with the tag of a SEQUENCE, whose six upper bits are an M. Most of what strangers
    # send needs no decoding to see that it is none.
    if not value.startswith("M"):
        raise _malformed(value, "is not base64 of DER")
    return [_base64(value)]


def percent_encoded_pem(value: str, _trusted_hops: int = 1) -> list[bytes]:
    """Decode percent-encoded PEM (RFC 3986 section 2.1, RFC 7468), leaf first.

    nginx's `$ssl_client_escaped_cert`, Application Gateway and the AWS load balancer write it. A
    `+` is a `+`, as base64 has it, never a space.

    Args:
        value: the header's text, not empty.

    Raises:
        CertificateDenied: `ambiguous` where a comma joins two values; `malformed` otherwise.
    """
    _require_one(value)
    if not _PERCENT_ENCODED.fullmatch(value):
        raise _malformed(value, "is not percent-encoded PEM")
    return _pem(unquote_to_bytes(value))


_PERCENT_ENCODED = re.compile(r"(?:[A-Za-z0-9._~!$'()*+/:;=@-]|%[0-9A-Fa-f]{2})+")
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)-----END CERTIFICATE-----"
    rb"(?:\r?\n|\Z)"
)


def _pem(text: bytes) -> list[bytes]:
    certificates, end = [], 0
    while end < len(text):
        block = _PEM.match(text, end)
        if block is None:
            raise _malformed("", "is not PEM, block by block with nothing between")
        certificates.append(_base64(re.sub(rb"\r?\n", b"", block[1]).decode("ascii")))
        end = block.end()
    _require_few(certificates[1:])
    return certificates


def byte_sequence(value: str, _trusted_hops: int = 1) -> list[bytes]:
    """Decode the one Byte Sequence of `Client-Cert` (RFC 9440 section 2.2, RFC 9651).

    Args:
        value: the header's text, not empty.

    Raises:
        CertificateDenied: `ambiguous` where a comma joins two values; `malformed` otherwise.
    """
    _require_one(value)
    return [_byte_sequence(value)]


def byte_sequence_list(value: str) -> list[bytes]:
    """Decode the list of `Client-Cert-Chain` (RFC 9440 section 2.3), in its order.

    Args:
        value: the header's text; several headers joined by commas are one list.

    Raises:
        CertificateDenied: `malformed`.
    """
    chain = [_byte_sequence(item.strip(" \t")) for item in value.split(",")]
    _require_few(chain)
    return chain


def _byte_sequence(item: str) -> bytes:
    if len(item) < 2 or not (item.startswith(":") and item.endswith(":")):
        raise _malformed(item, "is not a Byte Sequence between colons")
    return _base64(item[1:-1])


def xfcc(value: str, trusted_hops: int) -> list[bytes]:
    """Decode Envoy's `x-forwarded-client-cert`, which Container Apps forwards too.

    Each proxy appends its element, so the element is counted from the right: the last is the
    nearest proxy's word about its own client; what stands left of the trusted ones anybody can
    write.

    Args:
        value: the header's text, not empty.
        trusted_hops: which element from the right is the client's, 1 being the last.

    Raises:
        CertificateDenied: `missing` where the element holds no certificate; `malformed` otherwise.

    Source: Envoy's documentation, "x-forwarded-client-cert". The key `Hash` is not compared: the
    certificate says it itself.
    """
    elements = _xfcc_elements(value)
    if len(elements) < trusted_hops:
        raise CertificateDenied(
            DenialReason.MALFORMED,
            f"it has {len(elements)} elements, and the {trusted_hops}. from the right is trusted",
        )
    element = elements[-trusted_hops]
    for key in ("cert", "chain"):
        if len(element.get(key, [])) > 1:
            raise CertificateDenied(DenialReason.AMBIGUOUS, f"an element has {key} twice")
    if "cert" not in element:
        raise CertificateDenied(
            DenialReason.MISSING, "the trusted element holds no Cert: the client presented none"
        )
    [leaf] = _only_one(percent_encoded_pem(element["cert"][0]))
    chain = percent_encoded_pem(element["chain"][0]) if "chain" in element else []
    # Envoy repeats the leaf at the head of the chain.
    intermediates = chain[1:] if chain[:1] == [leaf] else chain
    _require_few(intermediates)
    return [leaf, *intermediates]


_XFCC_PAIR = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;=\\]*)')


def _xfcc_elements(value: str) -> list[dict[str, list[str]]]:
    """Split by commas into elements and by semicolons into pairs, quoted text aside."""
    elements: list[dict[str, list[str]]] = [{}]
    at = 0
    while True:
        pair = _XFCC_PAIR.match(value, at)
        if pair is None:
            raise _malformed(value, "is not x-forwarded-client-cert")
        text = pair[2]
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        elements[-1].setdefault(pair[1].lower(), []).append(text)
        at = pair.end()
        if at == len(value):
            return elements
        if value[at] == ",":
            elements.append({})
        elif value[at] != ";":
            raise _malformed(value, "is not x-forwarded-client-cert")
        at += 1


def _only_one(certificates: list[bytes]) -> list[bytes]:
    if len(certificates) != 1:
        raise CertificateDenied(DenialReason.MALFORMED, "Cert holds more than one certificate")
    return certificates


def _require_one(value: str) -> None:
    if "," in value:
        raise CertificateDenied(
            DenialReason.AMBIGUOUS,
            "it holds a comma: somebody sent the header a second time, or a second proxy added one",
        )


def _require_few(intermediates: list[bytes]) -> None:
    if len(intermediates) > MOST_INTERMEDIATES:
        raise CertificateDenied(
            DenialReason.TOO_LARGE,
            f"{len(intermediates)} intermediates came with the certificate; at most"
            f" {MOST_INTERMEDIATES} are read",
        )


def _base64(text: str) -> bytes:
    try:
        der = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise _malformed(text, "is not base64") from None
    # binascii leaves room for a padding that nobody needs, and for bits that belong to no byte. Of
    # the right length, and with the right end, there is one text alone for these bytes.
    end = binascii.b2a_base64(der[-(len(der) % 3 or 3) :], newline=False)
    if not der or len(text) != (len(der) + 2) // 3 * 4 or text[-4:].encode("ascii") != end:
        raise CertificateDenied(
            DenialReason.MALFORMED,
            "it is base64 with wrong padding, or with padding bits that are not zero",
        )
    return der


def _malformed(value: str, what: str) -> CertificateDenied:
    return CertificateDenied.explained_by(functools.partial(_why_malformed, value, what))


def _why_malformed(value: str, what: str) -> CertificateDenied:
    """Tell the operator, where it can be seen, which well-known other form the text has."""
    if value.startswith("-----BEGIN"):
        what = "has PEM armour"
    elif value.startswith(":"):
        what = "has the colons of RFC 9440"
    elif "%" in value and "percent" not in what:
        what = "is percent-encoded; is another front end before the app than was declared?"
    elif any(character.isspace() for character in value):
        what = "holds white space"
    elif what.startswith("is not base64") and ("-" in value or "_" in value):
        what = "is URL-safe base64"
    return CertificateDenied(DenialReason.MALFORMED, f"it {what}")


ENCODINGS: dict[str, Encoding] = {
    "base64-der": Encoding(base64_der),
    "percent-encoded-pem": Encoding(percent_encoded_pem),
    "rfc9440": Encoding(byte_sequence, byte_sequence_list),
    "xfcc": Encoding(xfcc),
}
"""What `encoding` may be in the description of a front end."""
