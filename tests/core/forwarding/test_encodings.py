"""Each way to write a certificate: one strict reading, and nothing is repaired."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import CertificateDenied, DenialReason
from arrcert.forwarding.encodings import (
    ENCODINGS,
    MOST_INTERMEDIATES,
    base64_der,
    byte_sequence,
    byte_sequence_list,
    percent_encoded_pem,
    xfcc,
)
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

CLIENT, OTHER = self_signed("client"), self_signed("other")
DER, OTHER_DER = CLIENT.certificate.der, OTHER.certificate.der
PEM, OTHER_PEM = CLIENT.certificate_pem.decode(), OTHER.certificate_pem.decode()


def b64(der: bytes) -> str:
    """Return bare base64."""
    return base64.b64encode(der).decode()


def reason(call: Callable[[], object]) -> DenialReason:
    """Return why the call is denied."""
    with pytest.raises(CertificateDenied) as caught:
        call()
    return caught.value.reason


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
    """PEM comes percent-encoded, with more or fewer characters left as they are."""
    assert percent_encoded_pem(quote(PEM, safe=safe)) == [DER]
    assert percent_encoded_pem(quote(PEM.strip(), safe=safe)) == [DER]
    assert percent_encoded_pem(quote(PEM.replace("\n", "\r\n"), safe=safe)) == [DER]
    assert percent_encoded_pem(quote(PEM + OTHER_PEM, safe=safe)) == [DER, OTHER_DER]


def test_plus_is_a_plus() -> None:
    """A + is base64's, not a space as in a form."""
    client = CLIENT
    while "+" not in b64(client.certificate.der):
        client = self_signed("client")
    text = quote(client.certificate_pem.decode(), safe="+")
    assert "+" in text
    assert percent_encoded_pem(text) == [client.certificate.der]


@pytest.mark.parametrize(
    ("change", "why"),
    [
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
        (lambda pem: quote(quote(pem)), DenialReason.MALFORMED),
        (lambda pem: b64(DER), DenialReason.MALFORMED),
    ],
)
def test_other_than_percent_encoded_pem(change: Callable[[str], str], why: DenialReason) -> None:
    """Text between, armour in the plain, half an escape or a second value are denied."""
    assert reason(lambda: percent_encoded_pem(change(PEM))) is why


# --- bare base64 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\x02\x01\x00", b"\x00", b"\xffcertificate"])
def test_bare_base64_is_of_a_sequence(data: bytes) -> None:
    """DER of a certificate begins as a SEQUENCE does; what begins otherwise is not handed on."""
    assert reason(lambda: base64_der(b64(data))) is DenialReason.MALFORMED
    assert base64_der(b64(b"\x30" + data)) == [b"\x30" + data]


# --- RFC 9440 ------------------------------------------------------------------------------------


def test_byte_sequence() -> None:
    """Client-Cert is one Byte Sequence between colons."""
    assert byte_sequence(f":{b64(DER)}:") == [DER]


@pytest.mark.parametrize(
    "value",
    [b64(DER), f":{b64(DER)}", f"{b64(DER)}:", "::", ":", f": {b64(DER)}:", f":{b64(DER)}:;a=1"],
)
def test_other_than_a_byte_sequence(value: str) -> None:
    """Without its colons, with space or parameters, it is none."""
    assert reason(lambda: byte_sequence(value)) is DenialReason.MALFORMED


def test_byte_sequence_is_a_singleton() -> None:
    """RFC 9440: Client-Cert is an item, not a list."""
    value = f":{b64(DER)}:"
    assert reason(lambda: byte_sequence(f"{value}, {value}")) is DenialReason.AMBIGUOUS


def test_byte_sequence_list() -> None:
    """Client-Cert-Chain is a list in its order, at most ten long."""
    first, second = f":{b64(DER)}:", f":{b64(OTHER_DER)}:"
    assert byte_sequence_list(f"{first}, {second}") == [DER, OTHER_DER]
    assert byte_sequence_list(f"{first},\t{second}") == [DER, OTHER_DER]
    assert len(byte_sequence_list(",".join([first] * MOST_INTERMEDIATES))) == MOST_INTERMEDIATES
    too_many = ",".join([first] * (MOST_INTERMEDIATES + 1))
    assert reason(lambda: byte_sequence_list(too_many)) is DenialReason.TOO_LARGE
    for value in (f"{first},", f",{first}", first + second, b64(DER)):
        assert reason(lambda value=value: byte_sequence_list(value)) is DenialReason.MALFORMED


# --- XFCC ----------------------------------------------------------------------------------------


def element(pem: str, chain: str = "", more: str = "Hash=ab;") -> str:
    """Write one element as Envoy does."""
    end = f';Chain="{quote(chain, safe="")}"' if chain else ""
    return f'{more}Cert="{quote(pem, safe="")}"{end}'


def test_xfcc_element_is_counted_from_the_right() -> None:
    """Anybody can write what stands left of the trusted elements: the first is never taken."""
    value = f"{element(OTHER_PEM)},{element(PEM)}"
    assert xfcc(value, 1) == [DER]
    assert xfcc(value, 2) == [OTHER_DER]
    assert reason(lambda: xfcc(value, 3)) is DenialReason.MALFORMED


def test_xfcc_quoted_text_is_not_split() -> None:
    """Commas, semicolons and escaped quotes inside quotes belong to the text."""
    evil = f'Subject="CN=a,O=b;Cert=\\"x\\",{OTHER.certificate.sha256_fingerprint}";'
    assert xfcc(element(PEM, more=evil), 1) == [DER]
    assert xfcc(element(PEM, more="By=spiffe://a/b;URI=;DNS=a;dns=b;"), 1) == [DER]
    assert xfcc(element(PEM).replace("Cert=", "cert="), 1) == [DER]


def test_xfcc_chain(authority: CertificateAuthority) -> None:
    """The chain follows the leaf, which Envoy repeats at its head."""
    ca = authority.certificate_pem.decode()
    [_, der] = xfcc(element(PEM, PEM + ca), 1)
    assert xfcc(element(PEM, ca), 1) == [DER, der]
    assert xfcc(element(PEM, PEM), 1) == [DER]
    many = ca * (MOST_INTERMEDIATES + 2)
    assert reason(lambda: xfcc(element(PEM, many), 1)) is DenialReason.TOO_LARGE


def test_xfcc_without_a_certificate_is_missing() -> None:
    """An element that only names the client holds no certificate."""
    assert reason(lambda: xfcc("Hash=ab;By=x", 1)) is DenialReason.MISSING
    assert reason(lambda: xfcc(f"{element(PEM)},Hash=ab", 1)) is DenialReason.MISSING


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", DenialReason.MALFORMED),
        ("nonsense", DenialReason.MALFORMED),
        ('Cert="open', DenialReason.MALFORMED),
        (element(PEM) + ";", DenialReason.MALFORMED),
        (element(PEM) + ",", DenialReason.MALFORMED),
        ("," + element(PEM), DenialReason.MALFORMED),
        (element(PEM) + "x", DenialReason.MALFORMED),
        (element(PEM) + " ", DenialReason.MALFORMED),
        (element(PEM) + ";" + element(PEM), DenialReason.AMBIGUOUS),
        (element(PEM, OTHER_PEM) + f';Chain="{quote(PEM)}"', DenialReason.AMBIGUOUS),
        (element(PEM + OTHER_PEM), DenialReason.MALFORMED),
        (f"Cert={PEM}", DenialReason.MALFORMED),
        ('Cert=""', DenialReason.MALFORMED),
    ],
)
def test_other_than_xfcc(value: str, why: DenialReason) -> None:
    """What Envoy would not write is denied."""
    assert reason(lambda: xfcc(value, 1)) is why


# --- all of them ---------------------------------------------------------------------------------


@given(st.text(max_size=200) | st.text(alphabet='":;,=\\%Cert-BEGIN \n+AQ', max_size=60))
def test_hostile_text_raises_only_denials(text: str) -> None:
    """Whatever the text, each encoding answers with bytes or a denial."""
    readings = [functools.partial(encoding.decode, text, 1) for encoding in ENCODINGS.values()]
    for read in (*readings, functools.partial(byte_sequence_list, text)):
        try:
            assert read()
        except CertificateDenied as denied:
            assert denied.detail


@given(st.binary(min_size=1, max_size=100))
def test_every_byte_string_survives(data: bytes) -> None:
    """Each encoding gives back the bytes that were written in it."""
    assert base64_der(b64(b"\x30" + data)) == [b"\x30" + data]
    assert byte_sequence(f":{b64(data)}:") == [data]
    pem = f"-----BEGIN CERTIFICATE-----\n{b64(data)[:76]}\n-----END CERTIFICATE-----\n"
    if len(b64(data)) <= 76:
        assert percent_encoded_pem(quote(pem)) == [data]


def test_issued_certificates_are_what_app_service_sends(alice: IssuedCertificate) -> None:
    """App Service's encoding is the bare one."""
    assert ENCODINGS["base64-der"].decode(alice.header_value, 1) == [alice.certificate.der]
