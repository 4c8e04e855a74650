"""The known front ends, and how settings describe another one."""

from __future__ import annotations

import pytest

from arrcert import Authorizer, ConfigurationError, Policy, Problem
from arrcert.forwarding.encodings import ENCODINGS
from arrcert.forwarding.front_ends import (
    FRONT_ENDS,
    FrontEnd,
    fold_header_name,
    front_end_from,
    is_header_name,
    why_names_are_not_proven,
    why_no_header_name,
)
from arrcert.key_vault import UNRESOLVED_REFERENCE
from arrcert.notation import Notation
from arrcert.testing import IssuedCertificate

APP_SERVICE = FRONT_ENDS["app-service"]
HEADER = "X-ARR-ClientCert"


def problems_of(value: object) -> list[Problem]:
    """Return every mistake of a description."""
    with pytest.raises(ConfigurationError) as caught:
        front_end_from(value, setting="S")
    return list(caught.value.problems)


# --- known front ends ----------------------------------------------------------------------------


def test_known_front_end_by_name() -> None:
    """A setting names a known front end, or holds a `FrontEnd`."""
    assert front_end_from("app-service") is APP_SERVICE
    assert (APP_SERVICE.header, APP_SERVICE.checks_certificates) == (HEADER, False)
    assert front_end_from(APP_SERVICE) is APP_SERVICE


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
    """A known front end checks certificates only if it reports the result in a verify header."""
    front_end = front_end_from(name)
    assert front_end.name == name
    assert front_end.checks_certificates is checks
    assert (front_end.verify_header is not None) is checks
    assert front_end.encoding in ENCODINGS
    assert set(FRONT_ENDS) >= {name}
    assert front_end.only_over_https is (name in ("app-service", "functions"))


def test_known_front_ends_are_what_their_documentation_says() -> None:
    """The headers and values are exact, because a small mistake in one denies all clients."""
    facts = {
        name: (known.header, known.encoding, known.chain_header, known.trusted_hops)
        for name, known in FRONT_ENDS.items()
    }
    assert facts == {
        "app-service": ("X-ARR-ClientCert", "base64-der", None, 1),
        "functions": ("X-ARR-ClientCert", "base64-der", None, 1),
        "container-apps": ("X-Forwarded-Client-Cert", "xfcc", None, 1),
        "api-management": ("X-Client-Cert", "base64-der", None, 1),
        "envoy": ("X-Forwarded-Client-Cert", "xfcc", None, 1),
        "rfc9440": ("Client-Cert", "rfc9440", "Client-Cert-Chain", 1),
        "application-gateway": ("X-Client-Cert", "percent-encoded-pem", None, 1),
        "nginx": ("X-Client-Cert", "percent-encoded-pem", None, 1),
        "haproxy": ("X-Client-Cert", "base64-der", None, 1),
    }
    verified = {
        name: (known.verify_header, known.verify_value)
        for name, known in FRONT_ENDS.items()
        if known.verify_header
    }
    assert verified == {
        "application-gateway": ("X-Client-Cert-Verification", "SUCCESS"),
        "nginx": ("X-Client-Verify", "SUCCESS"),
        "haproxy": ("X-Client-Verify", "0"),
    }


def test_text_of_a_front_end_names_header_and_encoding() -> None:
    """A denial shows the header that was read, and its encoding."""
    assert str(APP_SERVICE) == "X-ARR-ClientCert, read as base64-der"


# --- descriptions --------------------------------------------------------------------------------


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


def test_up_to_ten_hops_may_be_trusted() -> None:
    """`trusted_hops` is 1 by default and at most 10."""
    described = {"header": "X-C", "encoding": "xfcc"}
    assert front_end_from(described).trusted_hops == 1
    for hops in (1, 3, 10):
        assert front_end_from({**described, "trusted_hops": hops}).trusted_hops == hops


def test_described_front_end_promises_nothing_about_tls(alice: IssuedCertificate) -> None:
    """A request over plain HTTP from a described front end is not denied for its transport."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    pairs = [("X-Client", alice.header_value), ("X-Forwarded-Proto", "http")]
    for front_end in ({"header": "X-Client"}, FrontEnd("mine", "X-Client")):
        authorizer = Authorizer({"default": policy}, front_end=front_end)
        assert authorizer.authorize_headers(pairs) == alice.certificate


@pytest.mark.parametrize(
    ("value", "setting", "message"),
    [
        ("app-servic", "S", "no front end is called 'app-servic'; write one of \"app-service\""),
        (7, "S", "neither a front end's name nor a mapping"),
        (None, "S", "neither a front end's name nor a mapping"),
        ({"header": "X-C", "heder": "x"}, "S", "'heder' is not a key"),
        ({"header": "X-C", "name": "x"}, "S", 'with "name", only "http2" and'),
        ({"name": "container-apps"}, "S", 'with "name", only "http2" and'),
        ({"name": "envoy", "http2": True, "encoding": "xfcc"}, "S", 'with "name", only "http2"'),
        ({"name": "envoy", "normalizes_line_ends": 1}, 'S["normalizes_line_ends"]', "write True"),
        (
            {"header": "X-C", "normalizes_line_ends": None},
            'S["normalizes_line_ends"]',
            "write True",
        ),
        ({"name": "iis", "http2": True}, 'S["name"]', "no front end is called 'iis'"),
        ({"name": "envoy", "http2": "yes"}, 'S["http2"]', "write True or False"),
        ({"header": "X-C", "http2": 1}, 'S["http2"]', "write True or False"),
        ({"header": "X-C", 7: "x"}, "S", "'7' is not a key"),
        ({"header": "X-C", "only_over_https": True}, "S", "is not a key"),
        ({}, "S", '"header" is missing; write the header'),
        ({"header": None}, 'S["header"]', "'None' is not a header's name; write the header"),
        ({"header": "-"}, 'S["header"]', "'-' is not a header's name; write the header"),
        ({"header": "X_Cert"}, 'S["header"]', "'X_Cert' is not a header's name; write 'X-Cert'"),
        ({"header": "X-Cert:"}, 'S["header"]', "write 'X-Cert'"),
        ({"header": "HTTP_X_CERT"}, 'S["header"]', "write 'X-CERT'"),
        ({"header": "é"}, 'S["header"]', 'such as "X-Client-Cert"'),
        ({"header": "X-C", "encoding": "pem"}, 'S["encoding"]', "'pem' is not known"),
        ({"header": "X-C", "encoding": []}, 'S["encoding"]', "is not known"),
        (
            {"header": "X-C", "checks_certificates": "yes"},
            'S["checks_certificates"]',
            "'yes' is not a truth value; write True or False",
        ),
        (
            {"header": "X-C", "verify_header": "X-V"},
            'S["verify_header"]',
            '"verify_value" is missing, so nothing would be checked; write both',
        ),
        (
            {"header": "X-C", "verify_value": "0"},
            'S["verify_value"]',
            '"verify_header" is missing, so nothing would be checked; write both',
        ),
        (
            {"header": "X-C", "verify_header": "X-V", "verify_value": 0},
            'S["verify_value"]',
            "'0' is not text",
        ),
        (
            {
                "header": "X-C",
                "verify_header": "X-V",
                "verify_value": "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/s)",
            },
            'S["verify_value"]',
            UNRESOLVED_REFERENCE,
        ),
        (
            {"header": "X-C", "verify_header": "X-V", "verify_value": 1},
            'S["verify_value"]',
            "'1' is not text",
        ),
        (
            {"header": "X-C", "verify_header": "X-V", "verify_value": ""},
            'S["verify_value"]',
            "is not text",
        ),
        (
            {"header": "X-C", "verify_header": "X_V", "verify_value": "0"},
            'S["verify_header"]',
            "write 'X-V'",
        ),
        (
            {"header": "X-C", "verify_header": "x-c", "verify_value": "0"},
            "S",
            "two keys name the same header; write a different header for each key",
        ),
        (
            {"header": "X-C", "chain_header": "X-D"},
            'S["chain_header"]',
            '"base64-der" has no chain header; remove it, or write "encoding": "rfc9440"',
        ),
        (
            {"header": "X-C", "encoding": "rfc9440", "chain_header": "X_D"},
            'S["chain_header"]',
            "'X_D' is not a header's name; write 'X-D'",
        ),
        ({"header": "X-C", "encoding": "xfcc", "trusted_hops": 0}, 'S["trusted_hops"]', "1 to 10"),
        ({"header": "X-C", "encoding": "xfcc", "trusted_hops": 11}, 'S["trusted_hops"]', "1 to 10"),
        (
            {"header": "X-C", "encoding": "xfcc", "trusted_hops": True},
            'S["trusted_hops"]',
            "1 to 10",
        ),
        (
            {"header": "X-C", "encoding": "xfcc", "trusted_hops": "2"},
            'S["trusted_hops"]',
            "'2' is not a number of hops; write 1 to 10",
        ),
        (
            {"header": "X-C", "encoding": "xfcc", "trusted_hops": 1.5},
            'S["trusted_hops"]',
            "1 to 10",
        ),
        (
            {"header": "X-C", "trusted_hops": 2},
            'S["trusted_hops"]',
            'is only for the encoding "xfcc"; remove it',
        ),
    ],
)
def test_bad_front_end_is_a_configuration_error(value: object, setting: str, message: str) -> None:
    """Each mistake in a front end names its place and the offending value.

    (npm client-certificate-auth 1.1.1: half a verify pair.)
    """
    [problem] = problems_of(value)
    assert problem.setting == setting
    assert message in problem.message


def test_all_mistakes_of_a_description_are_reported() -> None:
    """One error holds every mistake of a description, in the order of its keys."""
    found = problems_of({"heder": "X-C", "encoding": "pem", "checks_certificates": 1})
    assert [problem.setting for problem in found] == [
        "S",
        "S",
        'S["encoding"]',
        'S["checks_certificates"]',
    ]


def test_truth_values_are_named_in_the_notation_of_the_setting() -> None:
    """The error about a description in JSON writes the truth values as JSON does."""
    with pytest.raises(ConfigurationError, match="write true or false"):
        front_end_from({"header": "X-C", "checks_certificates": "yes"}, notation=Notation.JSON)


# --- proof of names ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_names_are_proven_by_a_front_end_that_checks(name: str) -> None:
    """A front end that only forwards certificates does not prove the names in them."""
    why = why_names_are_not_proven(FRONT_ENDS[name])
    assert (why is None) is FRONT_ENDS[name].checks_certificates
    if why is not None:
        assert f"the front end '{name}' forwards certificates without checking them" in why


# --- names of headers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (HEADER, True),
        ("x1", True),
        ("X_Cert", False),
        ("X.Cert", False),
        ("X Cert", False),
        ("X-Caf\u00e9", False),
        ("-", False),
        ("", False),
    ],
)
def test_header_name_has_letters_digits_and_dashes(name: str, is_one: bool) -> None:
    """A header's name in settings has only letters, digits and dashes."""
    assert is_header_name(name) is is_one


def test_error_shows_the_header_that_was_meant() -> None:
    """The error about a WSGI key, or about a name with a colon, shows the correct header name."""
    assert why_no_header_name("http_x_cert").endswith("; write 'x-cert'")
    assert why_no_header_name(" X-Cert: ").endswith("; write 'X-Cert'")
    assert why_no_header_name(7) == (
        "'7' is not a header's name; write the header that your front end sets, such as"
        ' "X-Client-Cert"'
    )


def test_names_fold_as_servers_fold_them() -> None:
    """Two names that differ only in case, underscores, dots or white space are the same name."""
    for name in ("X_ARR.ClientCert ", "x-arr-clientcert", " X_ARR_CLIENTCERT"):
        assert fold_header_name(name) == fold_header_name(HEADER)
    assert fold_header_name("X-ARR-ClientCerts") != fold_header_name(HEADER)


def test_mapping_that_names_the_header_of_app_service_keeps_the_https_rule() -> None:
    """A mapping that names X-ARR-ClientCert denies plain HTTP, like the front end `app-service`."""
    for header in ("X-ARR-ClientCert", "x-arr-clientcert"):
        assert front_end_from({"header": header}).only_over_https
    assert not front_end_from({"header": "X-Client-Cert"}).only_over_https


def test_known_front_end_may_be_declared_to_speak_http2() -> None:
    """A known front end speaks HTTP/2 to the app only if the setting says so."""
    assert not front_end_from("container-apps").http2
    declared = front_end_from({"name": "container-apps", "http2": True})
    assert declared == FRONT_ENDS["container-apps"]._replace(http2=True)
    assert front_end_from({"header": "X-Client-Cert", "http2": True}).http2


def test_line_ends_are_a_declared_fact() -> None:
    """A described front end has unknown line ends, unless its description states them."""
    assert front_end_from("app-service").normalizes_line_ends is True
    assert front_end_from("rfc9440").normalizes_line_ends is None
    assert front_end_from({"header": "X-C"}).normalizes_line_ends is None
    for value in (True, False):
        described = front_end_from({"header": "X-C", "normalizes_line_ends": value})
        assert described.normalizes_line_ends is value
        named = front_end_from({"name": "rfc9440", "normalizes_line_ends": value})
        assert named == FRONT_ENDS["rfc9440"]._replace(normalizes_line_ends=value)


def test_which_front_ends_normalize_line_ends() -> None:
    """Line ends are known to be right behind these front ends; behind others it is not known."""
    known = {name for name, held in FRONT_ENDS.items() if held.normalizes_line_ends}
    assert known == {
        *("app-service", "functions", "container-apps", "envoy"),
        *("application-gateway", "nginx", "haproxy"),
    }
    assert {FRONT_ENDS[name].normalizes_line_ends for name in set(FRONT_ENDS) - known} == {None}


def test_setting_has_a_name_of_its_own() -> None:
    """A mistake is reported under `front_end`, unless the caller names another setting."""
    with pytest.raises(ConfigurationError) as caught:
        front_end_from(7)
    assert [problem.setting for problem in caught.value.problems] == ["front_end"]


@pytest.mark.parametrize("encoding", [["xfcc"], {}, 7, None])
def test_encoding_is_text(encoding: object) -> None:
    """An encoding that is not text is a mistake like an unknown one."""
    [problem] = problems_of({"header": "X-C", "encoding": encoding})
    assert problem.setting == 'S["encoding"]'


def test_both_facts_may_stand_beside_a_name() -> None:
    """A known front end may be given both facts at once."""
    described = {"name": "nginx", "http2": True, "normalizes_line_ends": False}
    expected = FRONT_ENDS["nginx"]._replace(http2=True, normalizes_line_ends=False)
    assert front_end_from(described) == expected


def test_verify_header_alone_proves_no_names() -> None:
    """A front end that does not check certificates proves no names, whatever header it sends."""
    front_end = FrontEnd("f", "X-C", verify_header="X-V", verify_value="1")
    assert why_names_are_not_proven(front_end) is not None
    assert why_names_are_not_proven(front_end._replace(checks_certificates=True)) is None
