"""Header text to DER: exactly one encoding, and nothing is repaired."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import CertificateDenied, ConfigurationError, DenialReason
from arrcert.forwarding import (
    FRONT_ENDS,
    MAX_HEADER_CHARACTERS,
    FrontEnd,
    decode,
    fold_header_name,
    front_end_from,
    header_from_pairs,
    header_from_wsgi,
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
    assert decode(APP_SERVICE, alice.header_value) == alice.certificate.der


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
    assert len(decode(APP_SERVICE, "A" * MAX_HEADER_CHARACTERS)) == MAX_HEADER_CHARACTERS // 4 * 3


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


@given(st.text(max_size=200))
def test_hostile_text_raises_only_denials(text: str) -> None:
    """Whatever decodes is the canonical encoding of its bytes; all else is a denial."""
    try:
        der = decode(APP_SERVICE, text)
    except CertificateDenied:
        return
    assert base64.b64encode(der).decode() == text


@given(st.binary(min_size=1, max_size=200))
def test_every_byte_string_survives(data: bytes) -> None:
    """Canonical base64 of any bytes decodes to them."""
    assert decode(APP_SERVICE, base64.b64encode(data).decode()) == data


def test_wsgi_header_is_read_by_its_key() -> None:
    """In a WSGI environ the declared header is one key."""
    assert header_from_wsgi(APP_SERVICE, {"HTTP_X_ARR_CLIENTCERT": "v"}) == "v"
    assert header_from_wsgi(APP_SERVICE, {"HTTP_CLIENT_CERT": "v"}) is None


@pytest.mark.parametrize("proto", ["http", "", "https,http", "http,https", " https", "wss", None])
def test_insecure_transport_is_denied(proto: str | None) -> None:
    """Behind App Service a request that did not come over TLS carries no certificate."""
    pairs = [(HEADER, "v"), ("X-Forwarded-Proto", proto)]
    if proto is None:
        assert header_from_wsgi(APP_SERVICE, {"HTTP_X_ARR_CLIENTCERT": "v"}) == "v"
        assert header_from_pairs(APP_SERVICE, [(HEADER, "v")]) == "v"
        return
    environ = {"HTTP_X_ARR_CLIENTCERT": "v", "HTTP_X_FORWARDED_PROTO": proto}
    for read in (
        lambda: header_from_wsgi(APP_SERVICE, environ),
        lambda: header_from_pairs(APP_SERVICE, pairs),  # type: ignore[arg-type]
    ):
        with pytest.raises(CertificateDenied) as caught:
            read()
        assert caught.value.reason is DenialReason.INSECURE_TRANSPORT


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        ("http", "'http', so the request did not come over TLS"),
        ("http", "turn on HTTPS Only for the app"),
        ("https,http", "'https,http', which is more than one value: somebody sent the header a"),
    ],
)
def test_insecure_transport_says_what_was_found(proto: str, message: str) -> None:
    """Two values are not the same mistake as a request without TLS."""
    with pytest.raises(CertificateDenied, match=message):
        header_from_wsgi(APP_SERVICE, {"HTTP_X_FORWARDED_PROTO": proto})
    pairs = [("X-Forwarded-Proto", value) for value in proto.split(",")]
    with pytest.raises(CertificateDenied, match=message):
        header_from_pairs(APP_SERVICE, pairs)


@pytest.mark.parametrize("proto", ["https", "HTTPS", "Https"])
def test_forwarded_proto_is_compared_without_case(proto: str) -> None:
    """A scheme has no case."""
    environ = {"HTTP_X_ARR_CLIENTCERT": "v", "HTTP_X_FORWARDED_PROTO": proto}
    assert header_from_wsgi(APP_SERVICE, environ) == "v"
    assert header_from_pairs(APP_SERVICE, [("x-forwarded-proto", proto), (HEADER, "v")]) == "v"


def test_transport_is_asked_only_where_the_front_end_says_so() -> None:
    """A front end described by a mapping does not promise X-Forwarded-Proto."""
    front_end = FrontEnd("X-Client", "X-Client")
    environ = {"HTTP_X_CLIENT": "v", "HTTP_X_FORWARDED_PROTO": "http"}
    assert header_from_wsgi(front_end, environ) == "v"
    assert header_from_pairs(front_end, [("X-Client", "v"), ("X-Forwarded-Proto", "http")]) == "v"


def test_pairs_are_read_in_any_case_and_kind() -> None:
    """Names are compared without case, as text or as bytes."""
    assert header_from_pairs(APP_SERVICE, [(b"x-arr-clientcert", b"v")]) == "v"
    assert header_from_pairs(APP_SERVICE, [("X-Arr-Clientcert", "v"), ("Host", "h")]) == "v"
    assert header_from_pairs(APP_SERVICE, [("Host", "h"), ("X-Quite-Another-Header", "v")]) is None


@pytest.mark.parametrize(
    "pairs",
    [
        [(HEADER, "a"), (HEADER, "a")],
        [(HEADER, "a"), (HEADER, "")],
        [(HEADER, "a"), (HEADER.lower(), "b")],
        [("X_ARR_ClientCert", "a")],
        [("X-ARR_ClientCert", "a"), (HEADER, "b")],
        [(HEADER, "b"), ("X.ARR.ClientCert", "a")],
        [(HEADER, ""), ("X_ARR_ClientCert", "a")],
        [("X-ARR-ClientCert ", "a")],
        [(b"x_arr_clientcert", b"a")],
    ],
)
def test_repetition_and_look_alikes_are_ambiguous(pairs: list[tuple[Any, Any]]) -> None:
    """A second value, or a name that some server folds into ours, is refused even alone."""
    with pytest.raises(CertificateDenied) as caught:
        header_from_pairs(APP_SERVICE, pairs)
    assert caught.value.reason is DenialReason.AMBIGUOUS


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
    ],
)
def test_bad_front_end_is_a_configuration_error(value: object, setting: str, message: str) -> None:
    """Each mistake names its place and the offending value."""
    with pytest.raises(ConfigurationError) as caught:
        front_end_from(value, setting=setting.partition("[")[0])
    [problem] = caught.value.problems
    assert problem.setting == setting
    assert message in problem.message
