"""The authorizer: each of its entry points gives the same decision and one log record."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import io
import logging
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    BasicConstraints,
    CertificateBuilder,
    Name,
    NameAttribute,
    ObjectIdentifier,
    UnrecognizedExtension,
)
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Policy,
    Problem,
    denials,
)
from arrcert.authorizer import UnconfiguredAuthorizer
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.forwarding.ingress import Ingress
from arrcert.keys import public_key_fingerprint
from arrcert.memory import Memory
from arrcert.settings import load
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert.trust import files as trust_files

HEADER = "X-ARR-ClientCert"


@pytest.fixture
def authorizer(authority: CertificateAuthority, alice: IssuedCertificate) -> Authorizer:
    """An authorizer of two policies: one pins alice, the other allows bob by CA and name."""
    return Authorizer(
        {
            "default": Policy(fingerprints=[alice.certificate.sha256_fingerprint]),
            "partners": Policy(
                trust_anchors=authority.certificate_pem.decode(), common_names=["bob"]
            ),
        }
    )


def denied(call: Callable[[], object]) -> CertificateDenied:
    """Return the denial that the call raises."""
    with pytest.raises(CertificateDenied) as caught:
        call()
    return caught.value


def test_four_forms_one_decision(
    authorizer: Authorizer, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """Header text, environ, scope and pairs give the same verdict."""

    def verdicts(value: str) -> list[ClientCertificate | DenialReason]:
        forms: list[Callable[[], ClientCertificate]] = [
            lambda: authorizer.authorize(value),
            lambda: authorizer.authorize_wsgi({"HTTP_X_ARR_CLIENTCERT": value}),
            lambda: authorizer.authorize_asgi(
                {"headers": [(b"x-arr-clientcert", value.encode("latin-1"))]}
            ),
            lambda: authorizer.authorize_headers([(HEADER, value)]),
        ]
        found: list[ClientCertificate | DenialReason] = []
        for form in forms:
            try:
                found.append(form())
            except CertificateDenied as error:
                found.append(error.reason)
        return found

    assert verdicts(alice.header_value) == [alice.certificate] * 4
    assert verdicts(impostor.header_value) == [DenialReason.FINGERPRINT_NOT_ALLOWED] * 4
    assert verdicts("") == [DenialReason.MISSING] * 4
    assert verdicts("x") == [DenialReason.MALFORMED] * 4
    assert verdicts("a,b") == [DenialReason.AMBIGUOUS] * 4
    assert verdicts("A" * 20_000) == [DenialReason.TOO_LARGE] * 4


def test_absent_header_is_missing(authorizer: Authorizer) -> None:
    """A request without the header is `missing` at each entry point."""
    assert denied(lambda: authorizer.authorize(None)).reason is DenialReason.MISSING
    assert denied(lambda: authorizer.authorize_wsgi({})).reason is DenialReason.MISSING
    assert denied(lambda: authorizer.authorize_asgi({})).reason is DenialReason.MISSING
    assert denied(lambda: authorizer.authorize_headers([])).reason is DenialReason.MISSING


def test_policies_are_separate(
    authorizer: Authorizer, authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """A certificate that one policy accepts is not accepted by another.

    (ASP.NET Core #66673: the key lacks the policy.)
    """
    bob = authority.issue("bob")
    assert authorizer.authorize(alice.header_value)
    assert authorizer.authorize(bob.header_value, policy="partners") == bob.certificate
    assert denied(lambda: authorizer.authorize(bob.header_value))
    assert denied(lambda: authorizer.authorize(alice.header_value, "partners"))


def test_first_alternative_that_accepts_wins(
    authority: CertificateAuthority, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """A list of policies is tried in order, and a denial holds the reason of each."""
    authorizer = Authorizer(
        {
            "default": [
                Policy(fingerprints=["A" * 40]),
                Policy(trust_anchors=authority.certificate_pem.decode()),
            ]
        }
    )
    assert authorizer.authorize(alice.header_value) == alice.certificate
    error = denied(lambda: authorizer.authorize(impostor.header_value))
    assert error.reason is DenialReason.UNTRUSTED
    assert error.reasons == (DenialReason.FINGERPRINT_NOT_ALLOWED, DenialReason.UNTRUSTED)
    assert error.detail.startswith("alternative 1: it is none of the 1 pinned certificates")
    assert error.certificate == impostor.certificate


def test_revoked_certificate_is_denied_by_all_alternatives(authority: CertificateAuthority) -> None:
    """A certificate that one policy finds to be revoked is not accepted by a later one."""
    bob = authority.issue("bob")
    pem = authority.certificate_pem.decode()
    revoking = Policy(trust_anchors=pem, crls=authority.revocation_list(bob).decode())
    pinning = Policy(fingerprints=[bob.certificate.sha1_fingerprint])
    error = denied(lambda: Authorizer({"default": [revoking, pinning]}).authorize(bob.header_value))
    assert error.reasons == (DenialReason.REVOKED,)
    assert error.certificate == bob.certificate
    assert Authorizer({"default": pinning}).authorize(bob.header_value)


def unreadable(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the DER of a certificate with an alternative name that cannot be read."""
    garbage = UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), b"\xff\xff")
    name = Name([NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    return (
        CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(garbage, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_certificate_that_cannot_be_read_whole_is_malformed(
    alice: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """No proof accepts a certificate that cannot be read whole, not even a pinned fingerprint."""
    der = unreadable(alice.private_key)
    value, pins = base64.b64encode(der).decode(), [hashlib.sha256(der).hexdigest()]
    pinned = Policy(fingerprints=pins)
    by_key = Policy(public_keys=[str(public_key_fingerprint(alice.certificate.x509))])
    anchored = Policy(fingerprints=pins, trust_anchors=authority.certificate_pem.decode())
    assert Authorizer({"default": by_key}).authorize(alice.header_value)
    for policies in (pinned, by_key, anchored, [anchored, pinned]):
        error = denied(lambda policies=policies: Authorizer({"default": policies}).authorize(value))
        assert (error.reason, error.certificate) == (DenialReason.MALFORMED, None)
        assert error.reasons == (DenialReason.MALFORMED,)
        assert error.detail.startswith("not a certificate: ")


def test_bytes_that_are_no_certificate_are_malformed() -> None:
    """Pinned bytes that are not a certificate are malformed."""
    pinned = Policy(fingerprints=[hashlib.sha256(b"0\x82\x01").hexdigest()])
    error = denied(lambda: Authorizer({"default": [pinned, pinned]}).authorize("MIIB"))
    assert (error.reason, error.certificate) == (DenialReason.MALFORMED, None)
    assert error.reasons == (DenialReason.MALFORMED,)


def test_forwarded_intermediate_that_cannot_be_read_is_malformed(alice: IssuedCertificate) -> None:
    """Every forwarded certificate must be readable, even one that the path does not use."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, front_end="rfc9440")
    leaf = ("Client-Cert", f":{alice.header_value}:")
    chain = base64.b64encode(unreadable(alice.private_key)).decode()
    assert authorizer.authorize_headers([leaf]) == alice.certificate
    error = denied(
        lambda: authorizer.authorize_headers([leaf, ("Client-Cert-Chain", f":{chain}:")])
    )
    assert (error.reason, error.certificate) == (DenialReason.MALFORMED, None)


RICH = CertificateAuthority("CA", organization="Contoso").issue(
    "alice", dns_names=["a.example", "b.example"]
)


def read_every_attribute(certificate: ClientCertificate) -> None:
    """Read each attribute of a certificate, and what pyca reads later."""
    for attribute in ClientCertificate.__annotations__:
        getattr(certificate, attribute)
    pyca = certificate.x509
    assert pyca.subject.rfc4514_string() == certificate.subject
    assert pyca.issuer.rfc4514_string() == certificate.issuer
    assert pyca.not_valid_before_utc == certificate.not_valid_before_utc
    assert pyca.not_valid_after_utc == certificate.not_valid_after_utc
    assert pyca.serial_number == certificate.serial_number
    constraints = [
        extension.value
        for extension in pyca.extensions
        if isinstance(extension.value, BasicConstraints)
    ]
    assert certificate.is_ca is any(found.ca for found in constraints)
    assert repr(certificate).isprintable()
    assert hash(certificate) == hash(pickle.loads(pickle.dumps(certificate)))


@settings(max_examples=400)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(RICH.certificate.der) - 1), st.integers(1, 255)),
        min_size=1,
        max_size=3,
    )
)
def test_accepted_certificate_is_readable(changes: list[tuple[int, int]]) -> None:
    """Pinned bytes are either malformed, or a certificate whose every attribute is readable."""
    der = bytearray(RICH.certificate.der)
    for position, difference in changes:
        der[position] ^= difference
    value = base64.b64encode(der).decode()
    policy = Policy(fingerprints=[hashlib.sha256(der).hexdigest()])
    with warnings.catch_warnings():
        # cryptography warns of unusual serial numbers and parameters, but reads them.
        warnings.simplefilter("ignore", UserWarning)
        try:
            certificate: ClientCertificate | None = Authorizer({"default": policy}).authorize(value)
        except CertificateDenied as error:
            certificate = error.certificate
            assert (error.reason is DenialReason.MALFORMED) is (certificate is None)
        else:
            assert certificate is not None
            certificate.x509.public_key()
        if certificate is not None:
            assert certificate.der == der
            read_every_attribute(certificate)


def test_forwarded_intermediates_help_to_build_the_path() -> None:
    """An intermediate may come with the request if the front end forwards a chain."""
    root = CertificateAuthority("Root")
    issuing = CertificateAuthority("Issuing", issuer=root)
    carol = issuing.issue("carol")
    authorizer = Authorizer(
        {"default": Policy(trust_anchors=root.certificate_pem.decode())}, front_end="rfc9440"
    )
    chain = base64.b64encode(issuing.x509.public_bytes(Encoding.DER)).decode()
    pairs = [("Client-Cert", f":{carol.header_value}:"), ("Client-Cert-Chain", f":{chain}:")]
    assert authorizer.authorize_headers(pairs) == carol.certificate
    assert denied(lambda: authorizer.authorize_headers(pairs[:1])).reason is DenialReason.UNTRUSTED


def test_moment_is_passed_on(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """`at` is the moment of the decision at each entry point; a naive one is a `ValueError`."""
    late = alice.certificate.not_valid_after_utc + timedelta(seconds=1)
    environ = {"HTTP_X_ARR_CLIENTCERT": alice.header_value}
    pairs = [(HEADER, alice.header_value)]
    for call in (
        lambda at: authorizer.authorize(alice.header_value, at=at),
        lambda at: authorizer.authorize_wsgi(environ, at=at),
        lambda at: authorizer.authorize_asgi({"headers": pairs}, at=at),
        lambda at: authorizer.authorize_headers(pairs, at=at),
    ):
        assert call(datetime.now(UTC)) == alice.certificate
        assert denied(lambda call=call: call(late)).reason is DenialReason.EXPIRED
        with pytest.raises(ValueError, match="aware"):
            call(datetime(2026, 1, 1))


def test_unknown_policy_is_denied_and_an_error(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy that does not exist denies every request, and is an error in the log."""
    error = denied(lambda: authorizer.authorize(alice.header_value, policy="partnrs"))
    assert error.reason is DenialReason.MISCONFIGURED
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "'partnrs'" in record.getMessage()
    assert "'partners'" in record.getMessage()


def test_denial_is_one_record(
    authorizer: Authorizer, impostor: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The log record holds reason, fingerprint and names, and not the header."""
    with caplog.at_level(logging.DEBUG, "arrcert"):
        denied(lambda: authorizer.authorize(impostor.header_value))
    [record] = caplog.records
    assert (record.name, record.levelno) == ("arrcert", logging.WARNING)
    message = record.getMessage()
    for part in (
        "'default'",
        "fingerprint_not_allowed",
        impostor.certificate.sha256_fingerprint,
        "'CN=alice'",
        "CN=Contoso Issuing CA,O=Contoso",
    ):
        assert part in message
    assert impostor.header_value[:40] not in message
    extra = vars(record)
    assert extra["arrcert_reason"] == "fingerprint_not_allowed"
    assert extra["arrcert_policy"] == "default"
    assert extra["arrcert_fingerprint"] == impostor.certificate.sha256_fingerprint


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda authorizer: authorizer.authorize_wsgi(
                {
                    "REQUEST_METHOD": "GET",
                    "SCRIPT_NAME": "/app",
                    "PATH_INFO": "/é".encode().decode("latin-1"),
                    "QUERY_STRING": "token=secret",
                }
            ),
            "GET /app/é",
        ),
        (
            lambda authorizer: authorizer.authorize_wsgi(
                {"REQUEST_METHOD": "GET", "PATH_INFO": "/\xff\n"}
            ),
            r"GET /�\n",
        ),
        (
            lambda authorizer: authorizer.authorize_asgi({"method": "POST", "path": "/€"}),
            "POST /€",
        ),
        (lambda authorizer: authorizer.authorize(None), ""),
        (lambda authorizer: authorizer.authorize_headers([]), ""),
    ],
)
def test_denial_names_the_request(
    call: Callable[[Authorizer], object],
    line: str,
    authorizer: Authorizer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log record names the method and path of a request, without the query."""
    denied(lambda: call(authorizer))
    [record] = caplog.records
    assert vars(record)["arrcert_request"] == line
    assert record.getMessage().startswith(f"denied {line} under" if line else "denied under")


def test_log_is_one_line_whatever_the_client_sends(
    authorizer: Authorizer, caplog: pytest.LogCaptureFixture
) -> None:
    """A hostile name or header cannot add a line to the log."""
    hostile = "a\r\nWARNING arrcert: authorized\x1b[2J"
    denied(lambda: authorizer.authorize(self_signed(hostile).header_value))
    denied(lambda: authorizer.authorize(hostile))
    denied(lambda: authorizer.authorize(None, policy=hostile))
    denied(lambda: authorizer.authorize_headers([("x-forwarded-proto", hostile)]))
    denied(lambda: authorizer.authorize_headers([("x_arr_clientcert", hostile)]))
    assert len(caplog.records) == 5
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_acceptance_is_logged_for_debugging_alone(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """An accepted certificate is one DEBUG record with its fingerprint."""
    with caplog.at_level(logging.DEBUG, "arrcert"):
        authorizer.authorize(alice.header_value)
    [record] = [record for record in caplog.records if record.name == "arrcert"]
    assert record.levelno == logging.DEBUG
    assert alice.certificate.sha256_fingerprint in record.getMessage()


@pytest.mark.parametrize(
    "call",
    [
        lambda authorizer: authorizer.authorize(b"bytes"),
        lambda authorizer: authorizer.authorize(7),
        lambda authorizer: authorizer.authorize_wsgi({"HTTP_X_ARR_CLIENTCERT": object()}),
        lambda authorizer: authorizer.authorize_wsgi({"HTTP_X_FORWARDED_PROTO": 7}),
        lambda authorizer: authorizer.authorize_wsgi(None),
        lambda authorizer: authorizer.authorize_wsgi(7),
        lambda authorizer: authorizer.authorize_wsgi([("HTTP_X_ARR_CLIENTCERT", "x")]),
        lambda authorizer: authorizer.authorize_wsgi({"HTTP_X_ARR_CLIENTCERT": ["x"]}),
        lambda authorizer: authorizer.authorize_asgi({"headers": None}),
        lambda authorizer: authorizer.authorize_asgi(None),
        lambda authorizer: authorizer.authorize_asgi(7),
        lambda authorizer: authorizer.authorize_asgi([]),
        lambda authorizer: authorizer.authorize_asgi({"headers": [b"x"]}),
        lambda authorizer: authorizer.authorize_headers([(7, 7)]),
        lambda authorizer: authorizer.authorize_headers(7),
        lambda authorizer: authorizer.authorize(None, policy=["default"]),
    ],
)
def test_request_of_a_wrong_type_is_a_denial(
    call: Callable[[Any], object], authorizer: Authorizer
) -> None:
    """A request of a wrong type is denied, and raises no other exception."""
    denied(lambda: call(authorizer))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda authorizer, value: authorizer.authorize(value), ""),
        (
            lambda authorizer, value: authorizer.authorize_wsgi(
                {"HTTP_X_ARR_CLIENTCERT": value, "REQUEST_METHOD": "GET", "PATH_INFO": "/a"}
            ),
            "GET /a",
        ),
        (
            lambda authorizer, value: authorizer.authorize_asgi(
                {"headers": [(b"x-arr-clientcert", value.encode())], "path": "/a"}
            ),
            "WEBSOCKET /a",
        ),
        (lambda authorizer, value: authorizer.authorize_headers([(HEADER, value)]), ""),
    ],
)
@pytest.mark.parametrize("fault", [ZeroDivisionError("a fault"), RuntimeError("a fault")])
def test_unexpected_error_is_a_denial_with_its_traceback(
    call: Callable[[Authorizer, str], object],
    line: str,
    fault: Exception,
    authorizer: Authorizer,
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error in arrcert is a denial, and its log record has the request and the traceback."""

    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(Policy, "decide", broken)
    error = denied(lambda: call(authorizer, alice.header_value))
    assert error.reason is DenialReason.MISCONFIGURED
    assert error.detail == "an unexpected error: 'a fault'"
    assert error.__cause__ is fault
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[1] is fault
    assert vars(record)["arrcert_request"] == line


def test_policy_without_an_answer_is_a_denial(
    authorizer: Authorizer, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that returns neither an acceptance nor a reason is a denial."""
    for answer in (None, True, (), alice.certificate):
        monkeypatch.setattr(Policy, "decide", lambda *_, answer=answer: answer)
        error = denied(lambda: authorizer.authorize(alice.header_value))
        assert error.reason is DenialReason.MISCONFIGURED


def test_finding_an_identity_names_the_policy_that_accepts(
    authorizer: Authorizer,
    alice: IssuedCertificate,
    authority: CertificateAuthority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`find_wsgi` and `find_asgi` try every policy, return None for a stranger, and log nothing."""
    for who, policy in (
        (alice, "default"),
        (authority.issue("bob"), "partners"),
        (self_signed("alice"), None),
    ):
        environ = {"HTTP_X_ARR_CLIENTCERT": who.header_value}
        scope = {
            "type": "http",
            "headers": [(b"x-arr-clientcert", who.header_value.encode())],
        }
        for found in (authorizer.find_wsgi(environ), authorizer.find_asgi(scope)):
            assert (found and found.policy) == policy
            assert (found and found.certificate) == (who.certificate if policy else None)
    assert not caplog.records


def test_finding_an_identity_with_an_error_finds_nobody(
    authorizer: Authorizer, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`find_*` returns None if an error occurs in arrcert."""

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Policy, "decide", broken)
    assert authorizer.find_wsgi({"HTTP_X_ARR_CLIENTCERT": alice.header_value}) is None
    scope = {"type": "http", "headers": [(b"x-arr-clientcert", alice.header_value.encode())]}
    assert authorizer.find_asgi(scope) is None


def test_authorizer_from_settings(alice: IssuedCertificate) -> None:
    """Validated settings make an authorizer with their policies and front end."""
    settings = load(
        {
            "ARRCERT": {"default": {"fingerprints": [alice.certificate.sha1_fingerprint]}},
            "ARRCERT_FRONT_END": {"header": "X-Client"},
        },
        {},
    )
    authorizer = Authorizer.from_settings(settings)
    assert authorizer.authorize_headers([("X-Client", alice.header_value)]) == alice.certificate
    error = denied(lambda: authorizer.authorize_headers([(HEADER, alice.header_value)]))
    assert error.reason is DenialReason.MISSING


GOOD = Policy(fingerprints=["A" * 40])
NO_POLICY = "is neither a Policy nor a list of alternatives; write Policy(...), or a list of them"


@pytest.mark.parametrize(
    ("policies", "setting", "message"),
    [
        *(
            (value, "policies", 'is empty or not a mapping; write {"default": Policy(...)}')
            for value in ({}, None, [GOOD], GOOD, "default")
        ),
        *(
            ({"default": value}, 'policies["default"]', NO_POLICY)
            for value in (None, [], (), "x", {"fingerprints": ["A" * 40]}, [None], iter([GOOD]))
        ),
    ],
)
def test_no_policies_stop_the_start(policies: Any, setting: str, message: str) -> None:
    """An authorizer without policies, or with something else in place of one, is an error."""
    with pytest.raises(ConfigurationError) as caught:
        Authorizer(policies)
    assert caught.value.problems == ((setting, message),)


def test_every_alternative_must_be_a_policy() -> None:
    """A policy list with one wrong entry is an error, and one error shows all mistakes."""
    bad: dict[str, Any] = {"a": [GOOD, "x"], "b": GOOD, "c": ("x", GOOD), "d": [], "e": (GOOD,)}
    with pytest.raises(ConfigurationError) as caught:
        Authorizer(bad, most_remembered=-1)
    assert [problem.setting for problem in caught.value.problems] == [
        *("most_remembered", 'policies["a"]', 'policies["c"]', 'policies["d"]')
    ]


def test_names_are_not_proven_by_a_front_end_that_forwards() -> None:
    """App Service checks no certificate, so the error names `names_proven_by_front_end`."""
    policy = Policy(common_names=["alice"], names_proven_by_front_end=True)
    for policies in (policy, [GOOD, policy]):
        with pytest.raises(ConfigurationError) as caught:
            Authorizer({"partners": policies})
        [problem] = caught.value.problems
        assert problem.setting == 'policies["partners"]'
        assert problem.message.startswith(
            "names_proven_by_front_end is True, and the front end 'app-service' forwards"
            " certificates without checking them"
        )
    front_end = {"header": "X-Client", "checks_certificates": True}
    with pytest.raises(ConfigurationError, match='"verify_header" and "verify_value"'):
        Authorizer({"default": policy}, front_end=front_end)
    verified = {"verify_header": "X-Client-Verify", "verify_value": "SUCCESS"}
    assert Authorizer({"default": policy}, front_end={**front_end, **verified})


def test_front_end_is_a_name_a_mapping_or_an_ingress(alice: IssuedCertificate) -> None:
    """Each way to declare a front end is accepted, and an unknown one is an error."""
    policies = {"default": Policy(fingerprints=[alice.certificate.sha256_fingerprint])}
    for front_end in (
        "haproxy",
        FRONT_ENDS["haproxy"],
        Ingress(FRONT_ENDS["haproxy"]),
        {"header": "X-Client-Cert"},
    ):
        authorizer = Authorizer(policies, front_end=front_end)
        pairs = [("X-Client-Cert", alice.header_value), ("X-Client-Verify", "0")]
        assert authorizer.authorize_headers(pairs) == alice.certificate
    with pytest.raises(ConfigurationError, match="front_end: no front end is called 'apache'"):
        Authorizer(policies, front_end="apache")


# --- memory --------------------------------------------------------------------------------------


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The policies that decided, one for each decision."""
    made: list[object] = []
    decide = Policy.decide

    def counted(self: Policy, *arguments: Any) -> Any:
        made.append(self)
        return decide(self, *arguments)

    monkeypatch.setattr(Policy, "decide", counted)
    return made


def test_accepted_certificate_is_remembered(
    authorizer: Authorizer, alice: IssuedCertificate, decisions: list[object]
) -> None:
    """The same text is decided once. A decision with `at` neither reads nor fills the memory."""
    now = datetime.now(UTC)
    for _ in range(2):
        authorizer.authorize(alice.header_value, at=now)
    assert len(decisions) == 2
    for _ in range(3):
        assert authorizer.authorize(alice.header_value) == alice.certificate
    assert authorizer.authorize_headers([(HEADER, alice.header_value)]) == alice.certificate
    assert len(decisions) == 3
    authorizer.authorize(alice.header_value, at=now)
    assert len(decisions) == 4


def test_each_policy_has_its_own_memory(
    authorizer: Authorizer, alice: IssuedCertificate, decisions: list[object]
) -> None:
    """An acceptance by one policy is not remembered for another (ASP.NET Core #66673)."""
    authorizer.authorize(alice.header_value)
    for _ in range(2):
        denied(lambda: authorizer.authorize(alice.header_value, "partners"))
    assert len(decisions) == 3


def test_request_is_checked_before_the_memory(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """Look-alikes, repeated headers and plain HTTP are denied for a remembered certificate too."""
    value = alice.header_value
    authorizer.authorize(value)
    for pairs in (
        [(HEADER, value), ("X_ARR_ClientCert", value)],
        [(HEADER, value), (HEADER, value)],
        [(HEADER, value), ("X-Forwarded-Proto", "http")],
    ):
        denied(lambda pairs=pairs: authorizer.authorize_headers(pairs))


def test_memory_ends_with_the_certificate(
    monkeypatch: pytest.MonkeyPatch, decisions: list[object]
) -> None:
    """An acceptance is remembered until the last second of the certificate's validity."""
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    client = self_signed("alice", not_after=end)
    policy = Policy(fingerprints=[client.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy})
    authorizer.authorize(client.header_value)
    moment = end.timestamp() + 0.999
    monkeypatch.setattr(time, "time", lambda: moment)
    assert authorizer.authorize(client.header_value) == client.certificate
    assert len(decisions) == 1
    moment = end.timestamp() + 1
    late = denied(lambda: authorizer.authorize(client.header_value))
    assert late.reason is DenialReason.EXPIRED
    assert len(decisions) == 2


@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_last_second_counts_in_every_zone(hours: int, authority: CertificateAuthority) -> None:
    """`at` half a second after notAfter is accepted, in any time zone."""
    now = datetime.now(UTC)
    client = authority.issue("alice", not_after=now - timedelta(hours=1))
    late = client.certificate.not_valid_after_utc + timedelta(seconds=0.5)
    late = late.astimezone(timezone(timedelta(hours=hours)))
    for policy in (
        Policy(trust_anchors=authority.certificate_pem.decode()),
        Policy(fingerprints=[client.certificate.sha256_fingerprint]),
    ):
        authorizer = Authorizer({"default": policy})
        assert authorizer.authorize(client.header_value, at=late) == client.certificate
        error = denied(
            lambda authorizer=authorizer: authorizer.authorize(
                client.header_value, at=late + timedelta(seconds=1)
            )
        )
        assert error.reason is DenialReason.EXPIRED


def test_memory_ends_with_the_revocation_list(
    authority: CertificateAuthority, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acceptance is not remembered past the nextUpdate of its revocation list."""
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(),
        crls=authority.revocation_list(next_update=end).decode(),
    )
    authorizer = Authorizer({"default": policy})
    authorizer.authorize(alice.header_value)
    moment = end.timestamp() + 0.5
    monkeypatch.setattr(time, "time", lambda: moment)
    assert authorizer.authorize(alice.header_value) == alice.certificate
    moment = end.timestamp() + 1
    late = denied(lambda: authorizer.authorize(alice.header_value))
    assert late.reason is DenialReason.REVOCATION_UNKNOWN


def test_memory_ends_with_the_pin(
    alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acceptance is remembered until the last second of its pin."""
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    pin = {"fingerprint": alice.certificate.sha256_fingerprint, "not_after": end}
    authorizer = Authorizer({"default": Policy(fingerprints=[pin])})
    authorizer.authorize(alice.header_value)
    moment = end.timestamp() + 0.999
    monkeypatch.setattr(time, "time", lambda: moment)
    assert authorizer.authorize(alice.header_value) == alice.certificate
    moment = end.timestamp() + 1
    late = denied(lambda: authorizer.authorize(alice.header_value))
    assert late.reason is DenialReason.FINGERPRINT_NOT_ALLOWED


def test_certificate_that_was_read_before_is_decided_anew(
    alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """A certificate that was parsed before is decided again: policy, moment and anchors count."""
    pinned = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    other = Policy(fingerprints=[impostor.certificate.sha256_fingerprint])
    accepting, denying = Authorizer({"default": pinned}), Authorizer({"default": other})
    late = alice.certificate.not_valid_after_utc + timedelta(seconds=1)
    for _ in range(2):
        assert accepting.authorize(alice.header_value) == alice.certificate
        found = denied(lambda: denying.authorize(alice.header_value))
        assert found.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
        found = denied(lambda: accepting.authorize(alice.header_value, at=late))
        assert found.reason is DenialReason.EXPIRED


def test_denials_of_a_flood_are_whole_and_all_told(
    authorizer: Authorizer,
    impostor: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A denial in a flood is raised like any other, and the log shows it or counts it."""
    monkeypatch.setattr(denials, "MOST_IN_FULL", 2)
    monkeypatch.setattr(denials, "SECONDS_TO_COUNT", 60.0)
    values = [impostor.header_value, None, "no base64"]
    raised = [
        denied(lambda value=value: authorizer.authorize(value))
        for _ in range(5)
        for value in values
    ]
    for number, value in enumerate(values):
        of_one_kind = raised[number :: len(values)]
        told = {(str(one), one.reason, one.detail, one.reasons) for one in of_one_kind}
        assert len(told) == 1
        certificate = impostor.certificate if value == impostor.header_value else None
        assert all(one.certificate == certificate for one in of_one_kind)
    assert len(caplog.records) == 2 * len(values)
    authorizer._denials.tell()
    counts = {
        vars(record)["arrcert_reason"]: vars(record)["arrcert_count"]
        for record in caplog.records[2 * len(values) :]
    }
    assert counts == {str(one.reason): 3 for one in raised}


def test_denial_is_not_remembered(authorizer: Authorizer, impostor: IssuedCertificate) -> None:
    """A denial is not remembered, so it takes no place in the memory."""
    for _ in range(3):
        denied(lambda: authorizer.authorize(impostor.header_value))
        denied(lambda: authorizer.authorize(None))
    assert not authorizer._snapshot.candidates["default"].memory()._accepted


@pytest.mark.parametrize("policy", ["default", "partners"])
def test_denial_leaves_nothing_behind(
    policy: str,
    authorizer: Authorizer,
    impostor: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A denial leaves no objects that only the garbage collector can free."""
    # pytest keeps each record, and pytest.raises a cycle of its own.
    logger = logging.getLogger("arrcert")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(io.StringIO())])

    def knock() -> None:
        with contextlib.suppress(CertificateDenied):
            authorizer.authorize(impostor.header_value, policy)

    def denials() -> int:
        # isinstance() reads the class of each lazy object, and that evaluates the object.
        return sum(type(held) is CertificateDenied for held in gc.get_objects())

    knock()
    gc.collect()
    gc.disable()
    try:
        before = denials()
        for _ in range(5):
            knock()
        after = denials()
    finally:
        gc.enable()
    assert after == before


def test_text_that_is_too_long_is_not_remembered(
    alice: IssuedCertificate, decisions: list[object]
) -> None:
    """A header with much text beside the certificate is not remembered."""
    pinned = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": pinned}, front_end="envoy")
    pem = quote(alice.certificate_pem.decode(), safe="")
    for padding, times in (("By=a,", 1), ("By=" + "a" * 8192 + ",", 3)):
        decisions.clear()
        for _ in range(3):
            pairs = [("X-Forwarded-Client-Cert", f'{padding}Cert="{pem}"')]
            assert authorizer.authorize_headers(pairs) == alice.certificate
        assert len(decisions) == times


@pytest.mark.parametrize("wrong", [-1, 1_000_001, 1.5, True, "5", None])
def test_wrong_number_to_remember_stops_the_start(wrong: Any, alice: IssuedCertificate) -> None:
    """A number that cannot be remembered is an error at start-up."""
    pinned = Policy(fingerprints=[alice.certificate.sha1_fingerprint])
    with pytest.raises(ConfigurationError, match=r"most_remembered: .*write 0 to 1000000"):
        Authorizer({"default": pinned}, most_remembered=wrong)


@pytest.mark.parametrize("most", [0, 1])
def test_how_many_are_remembered_can_be_set(
    most: int, alice: IssuedCertificate, decisions: list[object]
) -> None:
    """The setting is the number of remembered certificates, and 0 remembers none."""
    settings = load(
        {
            "ARRCERT": {"default": {"fingerprints": [alice.certificate.sha1_fingerprint]}},
            "ARRCERT_MOST_REMEMBERED": most,
        },
        {},
    )
    authorizer = Authorizer.from_settings(settings)
    for _ in range(3):
        authorizer.authorize(alice.header_value)
    assert len(decisions) == (1 if most else 3)


def test_soft_acceptance_is_not_remembered(
    authority: CertificateAuthority, decisions: list[object]
) -> None:
    """An acceptance with unknown revocation is not remembered."""
    issuing = CertificateAuthority("Issuing", issuer=authority)
    client = issuing.issue("alice")
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(),
        intermediates=issuing.certificate_pem.decode(),
        crls=authority.revocation_list().decode(),
        revocation="soft",
    )
    authorizer = Authorizer({"default": policy})
    for _ in range(3):
        authorizer.authorize(client.header_value)
    assert len(decisions) == 3


def test_memory_is_bounded(authority: CertificateAuthority, decisions: list[object]) -> None:
    """The memory holds at most the number of certificates that is set."""
    authorizer = Authorizer(
        {"default": Policy(trust_anchors=authority.certificate_pem.decode())}, most_remembered=2
    )
    clients = [authority.issue(f"client {number}") for number in range(3)]
    for client in clients:
        authorizer.authorize(client.header_value)
    for client in clients[:2]:
        authorizer.authorize(client.header_value)
    assert len(decisions) == 3
    authorizer.authorize(clients[2].header_value)
    assert len(decisions) == 4
    assert len(authorizer._snapshot.candidates["default"].memory()._accepted) == 2


def test_reload_between_decision_and_remembering(
    tmp_path: Path,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An acceptance that is decided during a reload is not remembered for the new files."""
    monkeypatch.setattr(trust_files, "SECONDS_BETWEEN_LOOKS", 0.0)
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    policy = Policy(trust_anchors=path)
    authorizer = Authorizer({"default": policy})
    decided, replaced = threading.Barrier(2), threading.Barrier(2)
    remember = Memory.remember

    def late(*arguments: Any) -> None:
        decided.wait(10)
        replaced.wait(10)
        remember(*arguments)

    monkeypatch.setattr(Memory, "remember", late)
    slow = threading.Thread(target=authorizer.authorize, args=(alice.header_value,))
    slow.start()
    decided.wait(10)
    before = policy.trust_store()
    path.write_bytes(CertificateAuthority("Another").certificate_pem)
    while policy.trust_store() is before:
        time.sleep(0.01)
    replaced.wait(10)
    slow.join(10)
    error = denied(lambda: authorizer.authorize(alice.header_value))
    assert error.reason is DenialReason.UNTRUSTED


def test_many_threads_share_one_authorizer(authority: CertificateAuthority) -> None:
    """Many threads that share one authorizer get the right certificate or denial each time."""
    authorizer = Authorizer(
        {"default": Policy(trust_anchors=authority.certificate_pem.decode())}, most_remembered=3
    )
    clients = [authority.issue(f"client {number}") for number in range(6)]
    stranger = self_signed("client 0")
    wrong: list[object] = []

    def knock(offset: int) -> None:
        for turn in range(200):
            client = clients[(turn + offset) % len(clients)]
            try:
                if authorizer.authorize(client.header_value) != client.certificate:
                    wrong.append(client)
                authorizer.authorize(stranger.header_value)
            except CertificateDenied as error:
                if error.certificate != stranger.certificate:
                    wrong.append(error)
            else:
                wrong.append(stranger)

    threads = [threading.Thread(target=knock, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"x-arr-clientcert", b"X_ARR_CLIENTCERT", b"x-forwarded-proto"])
            | st.binary(max_size=20),
            st.binary(max_size=60),
        ),
        max_size=5,
    )
)
def test_hostile_headers_are_denied(pairs: list[tuple[bytes, bytes]]) -> None:
    """Any list of hostile headers is denied, and raises no other exception."""
    authorizer = Authorizer({"default": Policy(fingerprints=["A" * 40])})
    denied(lambda: authorizer.authorize_asgi({"headers": pairs}))


# Names, and an app without policies. --------------------------------------------------------------


def test_names_of_the_policies() -> None:
    """The authorizer lists the names of its policies in the order of the configuration."""
    policy = Policy(fingerprints=["A" * 40])
    authorizer = Authorizer({"partners": policy, "default": [policy, policy]})
    assert authorizer.policy_names == ("partners", "default")
    assert list(authorizer.policies) == ["partners", "default"]
    assert authorizer.front_end.name == "app-service"


def test_an_app_without_policies_denies_every_request(
    alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """An app without policies is `misconfigured` under any name, for any certificate."""
    authorizer = UnconfiguredAuthorizer(Problem("ARRCERT", "is not set"))
    assert authorizer.policy_names == ()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    decisions: list[Callable[[], object]] = [
        lambda: authorizer.authorize(alice.header_value),
        lambda: authorizer.authorize(None, policy="partners"),
        lambda: authorizer.identify_wsgi({"HTTP_X_ARR_CLIENTCERT": alice.header_value}, None),
        lambda: authorizer.authorize_asgi(scope),
        lambda: authorizer.identify_headers(alice.headers.items()),
    ]
    for decide in decisions:
        with pytest.raises(CertificateDenied) as caught:
            decide()
        assert caught.value.reason is DenialReason.MISCONFIGURED
        assert caught.value.detail == "ARRCERT: is not set"
    assert authorizer.find_wsgi({"HTTP_X_ARR_CLIENTCERT": alice.header_value}) is None
    assert authorizer.find_asgi(scope) is None
    assert len(caplog.records) == len(decisions)


def test_first_policy_that_accepts_does_not_depend_on_what_is_remembered(
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `policy=None` the identity is that of `default`, also after its file was replaced."""
    monkeypatch.setattr(trust_files, "SECONDS_BETWEEN_LOOKS", 0.0)
    anchors = tmp_path / "ca.pem"
    anchors.write_bytes(authority.certificate_pem)
    default = Policy(trust_anchors=anchors, identity="employee", roles=["staff"])
    pins = [alice.certificate.sha256_fingerprint]
    partners = Policy(fingerprints=pins, identity="partner", roles=["orders"])
    authorizer = Authorizer({"partners": partners, "default": default})
    text = alice.header_value

    def names() -> set[str | None]:
        return {authorizer.identify(text, None).name for _ in range(3)}

    assert authorizer.identify(text, "partners").name == "partner"
    assert names() == {"employee"}
    before = default.trust_store()
    anchors.write_bytes(authority.certificate_pem + b"\n")
    until = time.monotonic() + 10
    while default.trust_store() is before and time.monotonic() < until:
        time.sleep(0.01)
    assert default.trust_store() is not before
    assert names() == {"employee"}
    assert authorizer.identify(text, None, "staff").name == "employee"
    with pytest.raises(CertificateDenied, match="grants the roles 'staff', not 'orders'"):
        authorizer.identify(text, None, "orders")


def test_role_does_not_depend_on_what_is_remembered(alice: IssuedCertificate) -> None:
    """Among several policies the first that accepts gives the roles, whichever is remembered."""
    pin = alice.certificate.sha256_fingerprint
    policies = {
        "default": Policy(fingerprints=[pin], roles=["orders"]),
        "partners": Policy(fingerprints=[pin], roles=["admin"]),
    }
    authorizer = Authorizer(policies)
    assert authorizer.identify(alice.header_value, "partners", role="admin").roles == {"admin"}
    with pytest.raises(CertificateDenied) as caught:
        authorizer.identify(alice.header_value, None, role="admin")
    assert caught.value.reason is DenialReason.ROLE_NOT_GRANTED
