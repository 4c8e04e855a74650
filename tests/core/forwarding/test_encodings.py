"""Each encoding of a certificate header is parsed strictly, and no value is repaired."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import DenialReason
from arrcert.exceptions import Finding
from arrcert.forwarding.encodings import (
    ENCODINGS,
    ENCODINGS_WITH_CHAIN_HEADER,
    MOST_INTERMEDIATES,
    base64_der,
    byte_sequence,
    byte_sequence_list,
    decode,
    percent_encoded_pem,
    xfcc,
)
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

CLIENT, OTHER = self_signed("client"), self_signed("other")
DER, OTHER_DER = CLIENT.certificate.der, OTHER.certificate.der
PEM, OTHER_PEM = CLIENT.certificate_pem.decode(), OTHER.certificate_pem.decode()
SHORT_PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def b64(der: bytes) -> str:
    """Return bare base64."""
    return base64.b64encode(der).decode()


def finding(read: Callable[..., object], *arguments: object) -> Finding:
    """Return why a decoder refuses its arguments."""
    found = read(*arguments)
    assert isinstance(found, Finding)
    return found


def reason(read: Callable[..., object], *arguments: object) -> DenialReason:
    """Return the reason for which a decoder refuses its arguments."""
    return finding(read, *arguments).reason


# --- bare base64 ---------------------------------------------------------------------------------


def test_bare_base64_decodes_to_the_bytes(alice: IssuedCertificate) -> None:
    """The value that App Service writes decodes to the DER, byte for byte."""
    assert base64_der(alice.header_value) == [alice.certificate.der]


@pytest.mark.parametrize("data", [b"\x02\x01\x00", b"\x00", b"\xffcertificate"])
def test_bare_base64_is_of_a_sequence(data: bytes) -> None:
    """Base64 of bytes that do not begin with the tag of a SEQUENCE is refused."""
    assert reason(base64_der, b64(data)) is DenialReason.MALFORMED
    assert base64_der(b64(b"\x30" + data)) == [b"\x30" + data]


def with_padding(text: str) -> str:
    """Return base64 of the same length class that ends with one padding character."""
    return base64.b64encode(base64.b64decode(text) + b"\x00" * 2)[:-4].decode() + "AAA="


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text + "=", id="padding too many"),
        pytest.param(lambda text: with_padding(text)[:-1], id="padding missing"),
        pytest.param(lambda text: with_padding(text)[:-2] + "B=", id="padding bits not zero"),
        pytest.param(lambda text: text + "\n", id="line break at the end"),
        pytest.param(lambda text: " " + text, id="space before"),
        pytest.param(lambda text: text[:64] + "\r\n" + text[64:], id="line break inside"),
        pytest.param(lambda text: text[:64] + "\t" + text[64:], id="tab inside"),
        pytest.param(lambda text: text[:64] + "\x00" + text[64:], id="NUL inside"),
        pytest.param(lambda text: text[:64] + "é" + text[64:], id="letter beyond ASCII"),
        pytest.param(lambda text: text[:64] + "-_" + text[66:], id="URL-safe alphabet"),
        pytest.param(lambda text: "%4D" + text[1:], id="percent-encoded"),
        pytest.param(
            lambda text: f"-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----",
            id="armour",
        ),
        pytest.param(lambda text: text + ";", id="semicolon"),
        pytest.param(lambda text: f":{text}:", id="RFC 9440 colons"),
        pytest.param(lambda text: "====", id="padding alone"),
        pytest.param(lambda text: text[:-4] + "A===", id="three padding characters"),
    ],
)
def test_anything_but_canonical_base64_is_malformed(change: Any, alice: IssuedCertificate) -> None:
    """Only canonical base64 is accepted, and no other text is repaired."""
    assert reason(base64_der, change(alice.header_value)) is DenialReason.MALFORMED


@pytest.mark.parametrize("joint", [",", ", ", ",,"])
def test_comma_is_ambiguous(joint: str, alice: IssuedCertificate) -> None:
    """Two values that are joined by a comma are ambiguous, and neither is chosen."""
    for value in (alice.header_value + joint + alice.header_value, joint + alice.header_value):
        assert reason(base64_der, value) is DenialReason.AMBIGUOUS
    assert reason(base64_der, alice.header_value + joint) is DenialReason.AMBIGUOUS


# "MA" is the beginning of a sequence in DER. Without it no text decodes.
@given(st.text(max_size=200) | st.text(alphabet="MAQgw+/= ", max_size=9).map("MA".__add__))
def test_decoded_base64_encodes_to_the_same_text(text: str) -> None:
    """A text that decodes is the canonical encoding of its bytes; every other is refused."""
    decoded = base64_der(text)
    if not isinstance(decoded, Finding):
        [der] = decoded
        assert b64(der) == text


@given(st.binary(min_size=1, max_size=200))
def test_certificate_has_one_text(data: bytes) -> None:
    """Padding bits that belong to no byte do not make a second text of the same bytes."""
    text = b64(b"\x30" + data)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(text.rstrip("=")) - 1
    for letter in alphabet:
        other = text[:last] + letter + text[last + 1 :]
        if other != text and base64.b64decode(other) == b"\x30" + data:
            assert reason(base64_der, other) is DenialReason.MALFORMED


# --- percent-encoded PEM -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "safe",
    [
        pytest.param("", id="everything escaped, as nginx does"),
        pytest.param("+=/", id="base64's own characters literal, as the AWS load balancer does"),
        pytest.param("+=/-:", id="dashes literal"),
    ],
)
def test_percent_encoded_pem(safe: str) -> None:
    """Percent-encoded PEM is decoded with any choice of escaped characters."""
    assert percent_encoded_pem(quote(PEM, safe=safe)) == [DER]
    assert percent_encoded_pem(quote(PEM.strip(), safe=safe)) == [DER]
    assert percent_encoded_pem(quote(PEM.replace("\n", "\r\n"), safe=safe)) == [DER]
    assert percent_encoded_pem(quote(PEM + OTHER_PEM, safe=safe)) == [DER, OTHER_DER]


def test_plus_is_a_plus() -> None:
    """A `+` is a character of base64, not a space as in a form."""
    client = CLIENT
    while "+" not in b64(client.certificate.der):
        client = self_signed("client")
    text = quote(client.certificate_pem.decode(), safe="+")
    assert "+" in text
    assert percent_encoded_pem(text) == [client.certificate.der]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda pem: "", DenialReason.MALFORMED),
        (lambda pem: pem, DenialReason.MALFORMED),
        (lambda pem: quote(pem).replace("%0A", "%0"), DenialReason.MALFORMED),
        (lambda pem: quote(pem) + "%", DenialReason.MALFORMED),
        (lambda pem: quote(pem).replace("%20", "+"), DenialReason.MALFORMED),
        (lambda pem: quote(pem) + "," + quote(pem), DenialReason.AMBIGUOUS),
        (lambda pem: quote("text\n" + pem), DenialReason.MALFORMED),
        (lambda pem: quote(pem + "text"), DenialReason.MALFORMED),
        (lambda pem: quote(pem + "\n" + pem), DenialReason.MALFORMED),
        (lambda pem: quote(pem.replace("\n", "")), DenialReason.MALFORMED),
        (lambda pem: quote(pem.replace("CERTIFICATE", "X509 CRL")), DenialReason.MALFORMED),
        (lambda pem: quote(pem.replace("-----END", "----END")), DenialReason.MALFORMED),
        (lambda pem: quote(pem.replace("M", "é", 1)), DenialReason.MALFORMED),
        (lambda pem: quote(SHORT_PEM.replace("AAAA", "AAA")), DenialReason.MALFORMED),
        (lambda pem: quote(quote(pem)), DenialReason.MALFORMED),
        (lambda pem: b64(DER), DenialReason.MALFORMED),
    ],
)
def test_other_than_percent_encoded_pem(change: Callable[[str], str], why: DenialReason) -> None:
    """Text between blocks, plain PEM, half an escape or a second value is refused."""
    assert reason(percent_encoded_pem, change(PEM)) is why


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_each_block_begins_on_a_line_of_its_own(end: str) -> None:
    """Two PEM blocks need a line break between them."""
    text = quote(PEM.strip() + end + PEM.strip(), safe="")
    if end:
        assert percent_encoded_pem(text) == [DER, DER]
    else:
        assert reason(percent_encoded_pem, text) is DenialReason.MALFORMED


def test_ten_intermediates_in_pem_are_read() -> None:
    """Ten intermediates after the leaf are read, and eleven are too many."""
    assert len(percent_encoded_pem(quote(SHORT_PEM * 11))) == 11
    assert reason(percent_encoded_pem, quote(SHORT_PEM * 12)) is DenialReason.TOO_LARGE


# --- RFC 9440 ------------------------------------------------------------------------------------


def test_byte_sequence() -> None:
    """`Client-Cert` is one Byte Sequence between colons."""
    assert byte_sequence(f":{b64(DER)}:") == [DER]


@pytest.mark.parametrize(
    "value",
    [
        *(b64(DER), f":{b64(DER)}", f"{b64(DER)}:", "::", ":", f": {b64(DER)}:"),
        *(f":{b64(DER)}:;a=1", "XAAAA:", ":AAAAX", "XAAAAX", "AAAAAA", "X:AAAA:X", "\v:AAAA:"),
    ],
)
def test_other_than_a_byte_sequence(value: str) -> None:
    """A value without both colons, or with spaces or parameters, is refused."""
    assert reason(byte_sequence, value) is DenialReason.MALFORMED
    assert reason(byte_sequence_list, f":AAAA:, {value}") is DenialReason.MALFORMED


def test_byte_sequence_is_a_singleton() -> None:
    """`Client-Cert` is an item and not a list (RFC 9440 section 2.2)."""
    value = f":{b64(DER)}:"
    assert reason(byte_sequence, f"{value}, {value}") is DenialReason.AMBIGUOUS


def test_byte_sequence_list() -> None:
    """`Client-Cert-Chain` is a list in its order, with at most ten members."""
    first, second = f":{b64(DER)}:", f":{b64(OTHER_DER)}:"
    assert byte_sequence_list(f"{first}, {second}") == [DER, OTHER_DER]
    assert byte_sequence_list(f"{first},\t{second}") == [DER, OTHER_DER]
    assert len(byte_sequence_list(",".join([first] * MOST_INTERMEDIATES))) == MOST_INTERMEDIATES
    too_many = ",".join([first] * (MOST_INTERMEDIATES + 1))
    assert reason(byte_sequence_list, too_many) is DenialReason.TOO_LARGE
    for value in (f"{first},", f",{first}", first + second, b64(DER)):
        assert reason(byte_sequence_list, value) is DenialReason.MALFORMED


# --- XFCC ----------------------------------------------------------------------------------------


def element(pem: str, chain: str = "", more: str = "Hash=ab;") -> str:
    """Write one element as Envoy does."""
    end = f';Chain="{quote(chain, safe="")}"' if chain else ""
    return f'{more}Cert="{quote(pem, safe="")}"{end}'


def test_xfcc_element_is_counted_from_the_right() -> None:
    """The trusted element is counted from the right, because clients can write the first ones."""
    value = f"{element(OTHER_PEM)},{element(PEM)}"
    assert xfcc(value, 1) == [DER]
    assert xfcc(value, 2) == [OTHER_DER]
    assert finding(xfcc, value, 3) == (
        DenialReason.MALFORMED,
        "it has fewer elements (2) than trusted_hops says (3)",
    )


def test_xfcc_quoted_text_is_not_split() -> None:
    """Commas, semicolons and escaped quotation marks inside quotation marks belong to the text."""
    evil = f'Subject="CN=a,O=b;Cert=\\"x\\",{OTHER.certificate.sha256_fingerprint}";'
    assert xfcc(element(PEM, more=evil), 1) == [DER]
    assert xfcc(element(PEM, more='Subject="";'), 1) == [DER]
    assert xfcc(element(PEM, more="By=spiffe://a/b;URI=;DNS=a;dns=b;"), 1) == [DER]
    assert xfcc(element(PEM).replace("Cert=", "cert="), 1) == [DER]


def test_xfcc_backslash_quotes_the_next_character() -> None:
    """A backslash in an XFCC value stands for the character after it."""
    text = quote(PEM, safe="")
    assert xfcc(f'Cert="\\{text[:9]}\\{text[9:]}"', 1) == [DER]


def test_xfcc_chain(authority: CertificateAuthority) -> None:
    """The chain follows the leaf, which Envoy repeats as its first certificate."""
    ca = authority.certificate_pem.decode()
    [_, der] = xfcc(element(PEM, PEM + ca), 1)
    assert xfcc(element(PEM, ca), 1) == [DER, der]
    assert xfcc(element(PEM, PEM), 1) == [DER]


def test_ten_intermediates_in_xfcc_are_read() -> None:
    """Ten intermediates are read beside the leaf, and eleven are too many."""
    assert len(xfcc(element(PEM, SHORT_PEM * 10), 1)) == 11
    assert len(xfcc(element(PEM, PEM + SHORT_PEM * 10), 1)) == 11
    for chain in (SHORT_PEM * 11, PEM + SHORT_PEM * 11, SHORT_PEM * 12):
        assert reason(xfcc, element(PEM, chain), 1) is DenialReason.TOO_LARGE


def test_xfcc_element_may_end_with_a_semicolon(authority: CertificateAuthority) -> None:
    """An element may end with a semicolon, as in Container Apps, and its meaning stays the same."""
    ca = authority.certificate_pem.decode()
    [_, der] = xfcc(element(PEM, ca), 1)
    assert xfcc(element(PEM) + ";", 1) == [DER]
    assert xfcc(element(PEM, PEM + ca) + ";", 1) == [DER, der]
    both = f"{element(OTHER_PEM)};,{element(PEM)};"
    assert xfcc(both, 1) == [DER]
    assert xfcc(both, 2) == [OTHER_DER]
    assert reason(xfcc, f"{element(PEM)};,Hash=ab;", 1) is DenialReason.MISSING


def test_xfcc_without_a_certificate_is_missing() -> None:
    """An element that only names the client holds no certificate."""
    assert reason(xfcc, "Hash=ab;By=x", 1) is DenialReason.MISSING
    assert reason(xfcc, f"{element(PEM)},Hash=ab", 1) is DenialReason.MISSING


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", DenialReason.MALFORMED),
        ("nonsense", DenialReason.MALFORMED),
        ('Cert="open', DenialReason.MALFORMED),
        (";", DenialReason.MALFORMED),
        (";" + element(PEM), DenialReason.MALFORMED),
        (element(PEM) + ";;", DenialReason.MALFORMED),
        (element(PEM) + "; ", DenialReason.MALFORMED),
        (element(PEM) + ";,", DenialReason.MALFORMED),
        (element(OTHER_PEM) + ";;," + element(PEM), DenialReason.MALFORMED),
        (element(OTHER_PEM) + ",;" + element(PEM), DenialReason.MALFORMED),
        (element(PEM) + ",", DenialReason.MALFORMED),
        ("," + element(PEM), DenialReason.MALFORMED),
        (element(PEM) + "x", DenialReason.MALFORMED),
        (element(PEM) + "xHash=ab", DenialReason.MALFORMED),
        (element(PEM) + " ", DenialReason.MALFORMED),
        (element(PEM) + " Hash=ab", DenialReason.MALFORMED),
        ('="x";' + element(PEM), DenialReason.MALFORMED),
        (element(PEM) + ";" + element(PEM), DenialReason.AMBIGUOUS),
        (element(PEM, OTHER_PEM) + f';Chain="{quote(PEM)}"', DenialReason.AMBIGUOUS),
        (element(PEM) + ';Chain=""', DenialReason.MALFORMED),
        (element(PEM + OTHER_PEM), DenialReason.MALFORMED),
        (f"Cert={PEM}", DenialReason.MALFORMED),
        ('Cert=""', DenialReason.MALFORMED),
    ],
)
def test_other_than_xfcc(value: str, why: DenialReason) -> None:
    """A value that Envoy would not write is refused."""
    assert reason(xfcc, value, 1) is why


@pytest.mark.parametrize(
    ("value", "character"), [('Cert="%2D', 6), ("Hash=ab;%", 9), ('a="b" x', 6)]
)
def test_xfcc_mistake_is_located(value: str, character: int) -> None:
    """The detail states the position of the first mistake."""
    detail = finding(xfcc, value, 1).detail
    assert detail == (
        f"it is not x-forwarded-client-cert; the first mistake is at character {character}"
    )


# --- what the operator reads ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("-----BEGIN CERTIFICATE-----", "it has PEM armour"),
        (":MIIB:", "it has the colons of RFC 9440"),
        ("MIIB%2B", "it is percent-encoded; check whether ARRCERT_FRONT_END names the front end"),
        ("MI IB", "it holds white space"),
        ("MI_B", "it is URL-safe base64"),
        ("MI-B", "it is URL-safe base64"),
        ("MI!B", "it is not base64"),
        ("!!!!", "it is not base64 of DER"),
        ("MIIB,MIIB", "the header a second time, or a second proxy added one"),
        ("MAAA====", "it is base64 with wrong padding, or with padding bits that are not zero"),
        ("MAAB=", "it is base64 with wrong padding"),
        ("MAB=", "it is base64 with wrong padding, or with padding bits that are not zero"),
    ],
)
def test_refusal_names_the_form_that_was_found(value: str, detail: str) -> None:
    """The detail names the other well-known form that the header has."""
    assert detail in finding(base64_der, value).detail


@pytest.mark.parametrize(
    ("encoding", "value", "detail"),
    [
        ("rfc9440", ":AAAA", "it is not a Byte Sequence between colons"),
        ("rfc9440", "AA-A", "it is not a Byte Sequence between colons"),
        ("rfc9440", ":AA-A:", "it is URL-safe base64"),
        ("rfc9440", "%3AAAAA%3A", "it is percent-encoded"),
        ("rfc9440", "-----BEGIN CERTIFICATE-----", "it has PEM armour"),
        ("percent-encoded-pem", "%2", "it is not percent-encoded PEM"),
        ("percent-encoded-pem", ":AA AA:", "it has the colons of RFC 9440"),
        ("percent-encoded-pem", PEM, "it has PEM armour"),
        ("percent-encoded-pem", "MI-B", "it is not PEM, one block after the other"),
    ],
)
def test_form_of_the_declared_encoding_is_no_explanation(
    encoding: str, value: str, detail: str
) -> None:
    """The detail about a mistake in the declared encoding names no other form."""
    assert detail in finding(decode, encoding, value).detail


# --- all encodings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "value"),
    [
        ("base64-der", b64(DER)),
        ("percent-encoded-pem", quote(PEM, safe="")),
        ("rfc9440", f":{b64(DER)}:"),
        ("xfcc", f"{element(PEM)},{element(OTHER_PEM)}"),
    ],
)
def test_encoding_is_found_by_its_name(encoding: str, value: str) -> None:
    """`decode` reads a value in the declared encoding and in no other."""
    assert decode(encoding, value, 2 if encoding == "xfcc" else 1) == [DER]
    for other in set(ENCODINGS) - {encoding}:
        assert reason(decode, other, value) in (DenialReason.MALFORMED, DenialReason.AMBIGUOUS)


def test_every_encoding_is_listed() -> None:
    """The names of the encodings are exactly these, because settings hold them."""
    assert ENCODINGS == ("base64-der", "percent-encoded-pem", "rfc9440", "xfcc")
    assert ENCODINGS_WITH_CHAIN_HEADER == ("rfc9440",)


@given(st.text(max_size=200) | st.text(alphabet='":;,=\\%Cert-BEGIN \n+AQ', max_size=60))
def test_hostile_text_is_bytes_or_a_finding(text: str) -> None:
    """Each decoder returns bytes or a finding for any text, and raises nothing."""
    for decoded in (*(decode(encoding, text) for encoding in ENCODINGS), byte_sequence_list(text)):
        if isinstance(decoded, Finding):
            assert decoded.detail
        else:
            assert decoded
            assert all(isinstance(der, bytes) for der in decoded)


@given(st.binary(min_size=1, max_size=100))
def test_every_byte_string_survives(data: bytes) -> None:
    """Each decoder returns the bytes that were encoded."""
    assert base64_der(b64(b"\x30" + data)) == [b"\x30" + data]
    assert byte_sequence(f":{b64(data)}:") == [data]
    pem = f"-----BEGIN CERTIFICATE-----\n{b64(data)[:76]}\n-----END CERTIFICATE-----\n"
    if len(b64(data)) <= 76:
        assert percent_encoded_pem(quote(pem)) == [data]


def test_one_hop_is_the_default() -> None:
    """Without a number of hops, the last element of XFCC is the client's."""
    value = f'Cert="{quote(OTHER_PEM)}",Cert="{quote(PEM)}"'
    assert decode("xfcc", value) == decode("xfcc", value, 1)
    assert decode("xfcc", value) != decode("xfcc", value, 2)
