"""The encodings in which front ends write a certificate into a header.

Each decoder returns the leaf and then the intermediates that came with it. If the text is not in
its encoding, it returns a `Finding` that says why. The decoders are strict: they refuse white
space, wrong padding, a second value, and text between blocks.
"""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

from arrcert.exceptions import DenialReason, Finding

MOST_INTERMEDIATES = 10
"""The largest number of forwarded intermediates; real paths have one or two."""

ENCODINGS = ("base64-der", "percent-encoded-pem", "rfc9440", "xfcc")
"""The values of `encoding` in the description of a front end."""

ENCODINGS_WITH_CHAIN_HEADER = ("rfc9440",)
"""The encodings with which a front end can send the intermediates in a second header."""


def decode(encoding: str, value: str, trusted_hops: int = 1) -> list[bytes] | Finding:
    """Decode the text of a certificate header to DER, the leaf first.

    Args:
        encoding: one of `ENCODINGS`.
        value: the header's text, not empty.
        trusted_hops: for `xfcc`, the position from the right of the element that describes the
            client, 1 by default.

    Returns:
        The certificates, or why the text is not in this encoding.
    """
    match encoding:
        case "base64-der":
            return base64_der(value)
        case "percent-encoded-pem":
            return percent_encoded_pem(value)
        case "rfc9440":
            return byte_sequence(value)
        case _:
            return xfcc(value, trusted_hops)


def base64_der(value: str) -> list[bytes] | Finding:
    """Decode bare base64 (RFC 4648 section 4) of one DER certificate, as App Service writes it.

    Args:
        value: the header's text, not empty.

    Returns:
        The certificate, or `ambiguous` if a comma joins two values, or `malformed` if the text is
        not the canonical encoding of the bytes.
    """
    if "," in value:
        return _SEVERAL
    # The DER of a certificate begins with the byte 0x30, so its base64 begins with M. This check
    # refuses most other text without decoding it.
    if not value.startswith("M"):
        return _malformed(value, "base64-der", "is not base64 of DER")
    return _alone(_base64(value, "base64-der"))


def percent_encoded_pem(value: str) -> list[bytes] | Finding:
    """Decode percent-encoded PEM (RFC 3986 section 2.1, RFC 7468), leaf first.

    nginx (`$ssl_client_escaped_cert`), Application Gateway and the AWS load balancer write this
    form. A `+` is a character of base64, not a space.

    Args:
        value: the header's text, not empty.

    Returns:
        The certificates, or `ambiguous` if the text contains a comma, `too_large` if there are more
        than ten intermediates, `malformed` otherwise.
    """
    if "," in value:
        return _SEVERAL
    if not _PERCENT_ENCODED.fullmatch(value):
        return _malformed(value, "percent-encoded-pem", "is not percent-encoded PEM")
    return _pem(unquote_to_bytes(value))


_PERCENT_ENCODED = re.compile(r"(?:[A-Za-z0-9._~!$'()*+/:;=@-]|%[0-9A-Fa-f]{2})+")
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)-----END CERTIFICATE-----"
    rb"(?:\r?\n|\Z)"
)


def _pem(text: bytes) -> list[bytes] | Finding:
    certificates, end = [], 0
    while end < len(text):
        block = _PEM.match(text, end)
        if block is None:
            return Finding(
                DenialReason.MALFORMED,
                "it is not PEM, one block after the other with nothing between them",
            )
        text_of_block = re.sub(rb"\r?\n", b"", block[1]).decode("ascii")
        certificate = _base64(text_of_block, "percent-encoded-pem")
        if isinstance(certificate, Finding):
            return certificate
        certificates.append(certificate)
        end = block.end()
    return _too_many(certificates[1:]) or certificates


def byte_sequence(value: str) -> list[bytes] | Finding:
    """Decode the Byte Sequence in `Client-Cert` (RFC 9440 section 2.2, RFC 9651).

    Args:
        value: the header's text, not empty.

    Returns:
        The certificate, or `ambiguous` if a comma joins two values, `malformed` otherwise.
    """
    return _SEVERAL if "," in value else _alone(_byte_sequence(value))


def byte_sequence_list(value: str) -> list[bytes] | Finding:
    """Decode the list of `Client-Cert-Chain` (RFC 9440 section 2.3), in its order.

    Args:
        value: the header's text. Several headers are joined by commas to one list.

    Returns:
        The certificates, or `malformed`, or `too_large` if there are more than ten intermediates.
    """
    chain = []
    for item in value.split(","):
        certificate = _byte_sequence(item.strip(" \t"))
        if isinstance(certificate, Finding):
            return certificate
        chain.append(certificate)
    return _too_many(chain) or chain


def _byte_sequence(item: str) -> bytes | Finding:
    if len(item) < 2 or not (item.startswith(":") and item.endswith(":")):
        return _malformed(item, "rfc9440", "is not a Byte Sequence between colons")
    return _base64(item[1:-1], "rfc9440")


def xfcc(value: str, trusted_hops: int) -> list[bytes] | Finding:
    """Decode `x-forwarded-client-cert` (XFCC), which Envoy and Container Apps write.

    Each proxy appends an element. So the elements are counted from the right: the last one
    describes the client of the nearest proxy. Anybody can write the elements to the left of the
    trusted ones.

    Args:
        value: the header's text, not empty.
        trusted_hops: the position from the right of the element that describes the client. 1 is the
            last element.

    Returns:
        The certificates, or `missing` if the element has no certificate, `ambiguous` if a key
        occurs twice or a certificate contains a comma, `too_large` if there are more than ten
        intermediates, `malformed` otherwise.

    An element may end with a semicolon, as in the documentation of Container Apps.

    Sources: Envoy's documentation, "x-forwarded-client-cert"; "Configure client certificate
    authentication in Azure Container Apps". This does not compare the key `Hash` with the
    certificate.
    """
    elements = _xfcc_elements(value)
    if isinstance(elements, Finding):
        return elements
    if len(elements) < trusted_hops:
        return Finding(
            DenialReason.MALFORMED,
            f"it has fewer elements ({len(elements)}) than trusted_hops says ({trusted_hops})",
        )
    element = elements[-trusted_hops]
    for key in ("cert", "chain"):
        if len(element.get(key, [])) > 1:
            return Finding(DenialReason.AMBIGUOUS, f"the element holds {key} twice")
    if "cert" not in element:
        return Finding(
            DenialReason.MISSING, "the trusted element holds no Cert: the client presented none"
        )
    leaf = percent_encoded_pem(element["cert"][0])
    if isinstance(leaf, Finding):
        return leaf
    if len(leaf) > 1:
        return Finding(DenialReason.MALFORMED, "Cert holds more than one certificate")
    chain = percent_encoded_pem(element["chain"][0]) if "chain" in element else []
    if isinstance(chain, Finding):
        return chain
    # Envoy repeats the leaf at the start of the chain.
    intermediates = chain[1:] if chain[:1] == leaf else chain
    return _too_many(intermediates) or leaf + intermediates


_XFCC_PAIR = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;=\\]*)')


def _xfcc_elements(value: str) -> list[dict[str, list[str]]] | Finding:
    """Split a value at commas into elements and at semicolons into pairs, except in quotes."""
    elements: list[dict[str, list[str]]] = [{}]
    at = 0
    while True:
        pair = _XFCC_PAIR.match(value, at)
        if pair is None:
            return _not_xfcc(at)
        text = pair[2]
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        elements[-1].setdefault(pair[1].lower(), []).append(text)
        at = pair.end()
        # Container Apps also write a semicolon after the last pair.
        if value[at : at + 1] == ";" and value[at + 1 : at + 2] in ("", ","):
            at += 1
        if at == len(value):
            return elements
        if value[at] == ",":
            elements.append({})
        elif value[at] != ";":
            return _not_xfcc(at)
        at += 1


def _not_xfcc(at: int) -> Finding:
    return Finding(
        DenialReason.MALFORMED,
        f"it is not x-forwarded-client-cert; the first mistake is at character {at + 1}",
    )


_SEVERAL = Finding(
    DenialReason.AMBIGUOUS,
    "it holds a comma: somebody sent the header a second time, or a second proxy added one",
)


def _alone(certificate: bytes | Finding) -> list[bytes] | Finding:
    """Return a list of one certificate, or the finding."""
    return certificate if isinstance(certificate, Finding) else [certificate]


def _too_many(intermediates: list[bytes]) -> Finding | None:
    if len(intermediates) <= MOST_INTERMEDIATES:
        return None
    return Finding(
        DenialReason.TOO_LARGE,
        f"{len(intermediates)} intermediates came with the certificate; at most"
        f" {MOST_INTERMEDIATES} are read",
    )


def _base64(text: str, encoding: str) -> bytes | Finding:
    try:
        der = binascii.a2b_base64(text, strict_mode=True)
    # This is also raised for text that is not ASCII.
    except ValueError:
        der = b""
    # Some versions of binascii accept surplus padding, or padding bits that are not zero.
    if der and binascii.b2a_base64(der, newline=False) == text.encode("ascii"):
        return der
    if not _BASE64.fullmatch(text):
        is_url_safe = "-" in text or "_" in text
        what = "is URL-safe base64" if is_url_safe else "is not base64"
        return _malformed(text, encoding, what)
    return Finding(
        DenialReason.MALFORMED,
        "it is base64 with wrong padding, or with padding bits that are not zero",
    )


_BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")


def _malformed(value: str, encoding: str, what: str) -> Finding:
    """Return the finding for a text that is not in an encoding.

    If the text has the form of another encoding, the finding names that form instead of `what`.
    """
    if value.startswith("-----BEGIN"):
        what = "has PEM armour"
    elif value.startswith(":") and encoding != "rfc9440":
        what = "has the colons of RFC 9440"
    elif "%" in value and encoding != "percent-encoded-pem":
        what = (
            "is percent-encoded; check whether ARRCERT_FRONT_END names the front end that is in use"
        )
    elif "".join(value.split()) != value:
        what = "holds white space"
    return Finding(DenialReason.MALFORMED, f"it {what}")
