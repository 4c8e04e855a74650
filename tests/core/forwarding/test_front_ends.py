"""Header text to DER: exactly one encoding, and nothing is repaired."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import CertificateDenied, ConfigurationError, DenialReason
from arrcert.forwarding.encodings import ENCODINGS
from arrcert.forwarding.front_ends import (
    FRONT_ENDS,
    MAX_HEADER_CHARACTERS,
    FrontEnd,
    decode,
    fold_header_name,
    front_end_from,
)
from arrcert.testing import IssuedCertificate

APP_SERVICE = FRONT_ENDS["app-service"]
HEADER = "X-ARR-ClientCert"


def reason_of(value: object) -> DenialReason:
    """Return why App Service's header value is denied."""
    with pytest.raises(CertificateDenied) as caught:
        decode(APP_SERVICE, value)
    return caught.value.reason


def test_bare_base64_decodes_to_the_bytes(alice: IssuedCertificate) -> None:
    """App Service's value decodes to the DER, byte for byte."""
    assert decode(APP_SERVICE, alice.header_value) == [alice.certificate.der]


@pytest.mark.parametrize("value", [None, ""])
def test_absent_or_empty_is_missing(value: str | None) -> None:
    """No header and an empty header both mean that no certificate was presented."""
    assert reason_of(value) is DenialReason.MISSING


def with_padding(text: str) -> str:
    """Return base64 of the same kind that ends with one padding character."""
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
        pytest.param(lambda text: text.encode(), id="bytes instead of text"),
    ],
)
def test_anything_but_canonical_base64_is_malformed(change: Any, alice: IssuedCertificate) -> None:
    """One encoding is accepted, the canonical one, and no other is repaired."""
    assert reason_of(change(alice.header_value)) is DenialReason.MALFORMED


@pytest.mark.parametrize("joint", [",", ", ", ",,"])
def test_comma_is_ambiguous(joint: str, alice: IssuedCertificate) -> None:
    """Two values joined by a comma are refused, not chosen from."""
    assert reason_of(alice.header_value + joint + alice.header_value) is DenialReason.AMBIGUOUS
    assert reason_of(joint + alice.header_value) is DenialReason.AMBIGUOUS
    assert reason_of(alice.header_value + joint) is DenialReason.AMBIGUOUS


def test_length_is_bounded() -> None:
    """One character too many is refused before anything is decoded."""
    assert reason_of("A" * (MAX_HEADER_CHARACTERS + 1)) is DenialReason.TOO_LARGE
    [longest] = decode(APP_SERVICE, "M" * MAX_HEADER_CHARACTERS)
    assert len(longest) == MAX_HEADER_CHARACTERS // 4 * 3
    assert reason_of("A" * (MAX_HEADER_CHARACTERS + 4)) is DenialReason.TOO_LARGE


def test_denial_names_the_form_that_was_found() -> None:
    """The operator reads which well-known other form the header has."""
    for value, hint in (
        ("-----BEGIN CERTIFICATE-----", "armour"),
        ("MIIB%2B", "percent-encoded"),
        ("MI IB", "white space"),
        ("MI_B", "URL-safe"),
        ("!!!!", "not base64"),
        ("MIIB,MIIB", "or a second proxy added one"),
    ):
        with pytest.raises(CertificateDenied, match=hint):
            decode(APP_SERVICE, value)


@pytest.mark.parametrize("value", ["MI_B", "MIIB,MIIB", "A" * (MAX_HEADER_CHARACTERS + 1)])
@pytest.mark.parametrize("name", ["app-service", "nginx", "rfc9440", "envoy"])
def test_denial_names_the_header_and_how_it_was_read(name: str, value: str) -> None:
    """Among a request's headers the operator finds the one that is wrong, whatever is wrong."""
    front_end = FRONT_ENDS[name]
    with pytest.raises(CertificateDenied) as caught:
        decode(front_end, value)
    assert front_end.header in caught.value.detail
    assert front_end.encoding in caught.value.detail


@given(st.text(max_size=200))
def test_hostile_text_raises_only_denials(text: str) -> None:
    """Whatever decodes is the canonical encoding of its bytes; all else is a denial."""
    try:
        [der] = decode(APP_SERVICE, text)
    except CertificateDenied:
        return
    assert base64.b64encode(der).decode() == text


@given(st.binary(min_size=1, max_size=200))
def test_every_byte_string_survives(data: bytes) -> None:
    """Canonical base64 of what may be DER decodes to it."""
    sequence = b"\x30" + data
    assert decode(APP_SERVICE, base64.b64encode(sequence).decode()) == [sequence]


@given(st.binary(min_size=1, max_size=200))
def test_one_writing_for_each_bytes(data: bytes) -> None:
    """Padding bits that belong to no byte do not make a second text of the same certificate."""
    text = base64.b64encode(b"\x30" + data).decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(text.rstrip("=")) - 1
    for letter in alphabet:
        other = text[:last] + letter + text[last + 1 :]
        if other != text and base64.b64decode(other) == b"\x30" + data:
            assert reason_of(other) is DenialReason.MALFORMED


def test_names_fold_as_servers_fold_them() -> None:
    """Case, underscores, dots and white space do not tell two names apart."""
    assert fold_header_name("X_ARR.ClientCert ") == fold_header_name(HEADER)
    assert fold_header_name("X-ARR-ClientCerts") != fold_header_name(HEADER)


def test_known_front_end_by_name() -> None:
    """App Service is known, and declared to check nothing."""
    assert front_end_from("app-service") is APP_SERVICE
    assert (APP_SERVICE.header, APP_SERVICE.checks_certificates) == (HEADER, False)
    assert front_end_from(APP_SERVICE) is APP_SERVICE


def test_front_end_described_by_a_mapping() -> None:
    """A mapping describes any other front end, which by default checks nothing."""
    assert front_end_from({"header": "X-Client"}) == FrontEnd("X-Client", "X-Client")
    described = front_end_from(
        {"header": "X-Client", "encoding": "base64-der", "checks_certificates": True}
    )
    assert described.checks_certificates
    whole = front_end_from(
        {
            "header": "Client-Cert",
            "encoding": "rfc9440",
            "chain_header": "Client-Cert-Chain",
            "verify_header": "X-V",
            "verify_value": "ok",
        }
    )
    assert (whole.chain_header, whole.verify_value) == ("Client-Cert-Chain", "ok")
    third = front_end_from({"header": "X", "encoding": "xfcc", "trusted_hops": 3})
    assert third.trusted_hops == 3


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        ("app-service", False),
        ("functions", False),
        ("container-apps", False),
        ("api-management", False),
        ("envoy", False),
        ("rfc9440", False),
        ("application-gateway", True),
        ("nginx", True),
        ("haproxy", True),
    ],
)
def test_known_front_ends(name: str, checks: bool) -> None:
    """Only a front end that says so in a header of its own is taken to check certificates."""
    front_end = front_end_from(name)
    assert front_end.name == name
    assert front_end.checks_certificates is checks
    assert (front_end.verify_header is not None) is checks
    assert front_end.encoding in ENCODINGS
    assert set(FRONT_ENDS) >= {name}


def test_chain_is_read_beside_the_leaf() -> None:
    """Where a chain header is declared, its certificates follow the leaf; elsewhere it is none."""
    front_end = FRONT_ENDS["rfc9440"]
    assert decode(front_end, ":AAAA:", ":BBBB:, :CCCC:") == [
        b"\0\0\0",
        base64.b64decode("BBBB"),
        base64.b64decode("CCCC"),
    ]
    assert decode(front_end, ":AAAA:", "") == [b"\0\0\0"]
    for chain, why in (
        ("x", DenialReason.MALFORMED),
        (":AAAA:," * 3000, DenialReason.TOO_LARGE),
    ):
        with pytest.raises(CertificateDenied) as caught:
            decode(front_end, ":AAAA:", chain)
        assert caught.value.reason is why
    assert decode(APP_SERVICE, "MAAA", ":BBBB:") == [b"0\0\0"]


@pytest.mark.parametrize(
    ("value", "setting", "message"),
    [
        ("app-servic", "S", "no front end is called 'app-servic'"),
        (7, "S", "neither a front end's name nor a mapping"),
        ({"header": "X-C", "heder": "x"}, "S", "'heder' is not a key"),
        ({}, "S", '"header" is missing; write the header'),
        ({"header": None}, 'S["header"]', "'None' is not a header's name; write the header"),
        ({"header": "X_Cert"}, 'S["header"]', "'X_Cert' is not a header's name; write 'X-Cert'"),
        ({"header": "X-Cert:"}, 'S["header"]', "write 'X-Cert'"),
        ({"header": "HTTP_X_CERT"}, 'S["header"]', "write 'X-CERT'"),
        ({"header": "é"}, 'S["header"]', 'such as "X-Client-Cert"'),
        ({"header": "X-C", "encoding": "pem"}, 'S["encoding"]', "'pem' is not known"),
        ({"header": "X-C", "encoding": []}, 'S["encoding"]', "is not known"),
        (
            {"header": "X-C", "checks_certificates": "yes"},
            'S["checks_certificates"]',
            "not a truth value",
        ),
        ({"header": "X-C", "verify_header": "X-V"}, 'S["verify_header"]', 'without "verify_value"'),
        ({"header": "X-C", "verify_value": "0"}, 'S["verify_value"]', 'without "verify_header"'),
        (
            {"header": "X-C", "verify_header": "X-V", "verify_value": 0},
            'S["verify_value"]',
            "'0' is no text",
        ),
        (
            {"header": "X-C", "verify_header": "X-V", "verify_value": ""},
            'S["verify_value"]',
            "is no text",
        ),
        (
            {"header": "X-C", "verify_header": "X_V", "verify_value": "0"},
            'S["verify_header"]',
            "write 'X-V'",
        ),
        ({"header": "X-C", "verify_header": "x-c", "verify_value": "0"}, "S", "two things"),
        ({"header": "X-C", "chain_header": "X-D"}, 'S["chain_header"]', "no chain comes beside"),
        ({"header": "X-C", "encoding": "xfcc", "trusted_hops": 0}, 'S["trusted_hops"]', "1 to 10"),
        ({"header": "X-C", "encoding": "xfcc", "trusted_hops": 11}, 'S["trusted_hops"]', "1 to 10"),
        (
            {"header": "X-C", "encoding": "xfcc", "trusted_hops": True},
            'S["trusted_hops"]',
            "1 to 10",
        ),
        ({"header": "X-C", "trusted_hops": 2}, 'S["trusted_hops"]', 'elements of "xfcc" alone'),
        ({"header": "X-C", "only_over_https": True}, "S", "is not a key"),
    ],
)
def test_bad_front_end_is_a_configuration_error(value: object, setting: str, message: str) -> None:
    """Each mistake names its place and the offending value.

    (npm client-certificate-auth 1.1.1: half a verify pair.)
    """
    with pytest.raises(ConfigurationError) as caught:
        front_end_from(value, setting=setting.partition("[")[0])
    [problem] = caught.value.problems
    assert problem.setting == setting
    assert message in problem.message
