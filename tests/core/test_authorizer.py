"""One door in four forms, one decision, one log record."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import io
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    CertificateBuilder,
    Name,
    NameAttribute,
    ObjectIdentifier,
    UnrecognizedExtension,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert import authorizer as module
from arrcert.pins import public_key_fingerprint
from arrcert.settings import load
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert.trust import files as trust_files

HEADER = "X-ARR-ClientCert"


@pytest.fixture
def authorizer(authority: CertificateAuthority, alice: IssuedCertificate) -> Authorizer:
    """Two policies: one pins alice, one allows bob by CA and name."""
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
    """Header text, environ, scope and pairs come to the same verdict."""

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
    """Without a header there is no certificate, in any form."""
    assert denied(lambda: authorizer.authorize(None)).reason is DenialReason.MISSING
    assert denied(lambda: authorizer.authorize_wsgi({})).reason is DenialReason.MISSING
    assert denied(lambda: authorizer.authorize_asgi({})).reason is DenialReason.MISSING
    assert denied(lambda: authorizer.authorize_headers([])).reason is DenialReason.MISSING


def test_policies_are_apart(
    authorizer: Authorizer, authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """One policy's yes does not answer for another.

    (ASP.NET Core #66673: the key lacks the policy.)
    """
    bob = authority.issue("bob")
    assert authorizer.authorize(alice.header_value)
    assert authorizer.authorize(bob.header_value, policy="partners") == bob.certificate
    assert denied(lambda: authorizer.authorize(bob.header_value))
    assert denied(lambda: authorizer.authorize(alice.header_value, "partners"))


def test_alternatives_in_order(
    authority: CertificateAuthority, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """The first alternative that accepts wins; of those that deny the last gives the reason."""
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
    assert error.certificate == impostor.certificate


def test_revoked_ends_the_search(authority: CertificateAuthority) -> None:
    """No later alternative admits what an earlier one knows to be revoked."""
    bob = authority.issue("bob")
    pem = authority.certificate_pem.decode()
    revoking = Policy(trust_anchors=pem, crls=authority.revocation_list(bob).decode())
    pinning = Policy(fingerprints=[bob.certificate.sha1_fingerprint])
    authorizer = Authorizer({"default": [revoking, pinning]})
    error = denied(lambda: authorizer.authorize(bob.header_value))
    assert error.reasons == (DenialReason.REVOKED,)
    assert error.certificate == bob.certificate
    assert Authorizer({"default": pinning}).authorize(bob.header_value)


def test_what_cannot_be_read_ends_the_search() -> None:
    """Where one alternative cannot read the certificate, no later one admits it unread."""
    garbage = UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), b"\xff\xff")
    key = ec.generate_private_key(ec.SECP256R1())
    name = Name([NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    der = (
        CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(garbage, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    pins = [hashlib.sha256(der).hexdigest()]
    pinned, named = Policy(fingerprints=pins), Policy(fingerprints=pins, dns_names=["a.example"])
    value = base64.b64encode(der).decode()
    error = denied(lambda: Authorizer({"default": [named, pinned]}).authorize(value))
    assert error.reasons == (DenialReason.MALFORMED,)
    assert Authorizer({"default": pinned}).authorize(value).der == der


def test_forwarded_intermediates_help_to_build_the_path() -> None:
    """A CA below the anchor may come with the request, where the front end forwards a chain."""
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
    """`at` is the moment of the decision in each form; a naive one is a programming error."""
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
    """A policy that does not exist admits nobody and is an error in the log."""
    error = denied(lambda: authorizer.authorize(alice.header_value, policy="partnrs"))
    assert error.reason is DenialReason.MISCONFIGURED
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "'partnrs'" in record.getMessage()
    assert "'partners'" in record.getMessage()


def test_denial_is_one_record(
    authorizer: Authorizer, impostor: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator reads reason, fingerprint and names; the raw header is never logged."""
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
    """Where the request is known, the record names its method and path, without the query."""
    denied(lambda: call(authorizer))
    [record] = caplog.records
    assert vars(record)["arrcert_request"] == line
    assert record.getMessage().startswith(f"denied {line} under" if line else "denied under")


def test_log_is_one_line_whatever_the_client_sends(
    authorizer: Authorizer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a name nor a header of a client can forge a line of the log."""
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
    """Who enters is a debug record with the fingerprint."""
    with caplog.at_level(logging.DEBUG, "arrcert"):
        authorizer.authorize(alice.header_value)
    [record] = caplog.records
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
        lambda authorizer: authorizer.authorize_asgi({"headers": None}),
        lambda authorizer: authorizer.authorize_asgi(None),
        lambda authorizer: authorizer.authorize_asgi({"headers": [b"x"]}),
        lambda authorizer: authorizer.authorize_headers([(7, 7)]),
        lambda authorizer: authorizer.authorize(None, policy=["default"]),
    ],
)
def test_every_fault_of_a_request_is_a_denial(
    call: Callable[[Any], object], authorizer: Authorizer
) -> None:
    """Whatever a server hands over, the answer is a denial: never another exception."""
    denied(lambda: call(authorizer))


def test_unexpected_error_is_a_denial_with_its_traceback(
    authorizer: Authorizer,
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fault of ours neither lets a request in nor answers 500, and the log shows where."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Policy, "decide", broken)
    error = denied(lambda: authorizer.authorize(alice.header_value))
    assert error.reason is DenialReason.MISCONFIGURED
    [record] = caplog.records
    assert record.exc_info is not None


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


@pytest.mark.parametrize(
    ("policies", "why"),
    [
        ({}, "policies: is empty"),
        ({"default": []}, "neither a Policy nor"),
        ({"default": [{"fingerprints": ["A" * 40]}]}, "neither a Policy nor"),
    ],
)
def test_no_policies_stop_the_start(policies: Any, why: str) -> None:
    """An authorizer without policies does not come to be."""
    with pytest.raises(ConfigurationError, match=why):
        Authorizer(policies)


def test_names_are_not_proven_by_a_front_end_that_forwards() -> None:
    """App Service checks nothing, so it proves no names."""
    policy = Policy(common_names=["alice"], names_proven_by_front_end=True)
    with pytest.raises(ConfigurationError, match=r'policies\["default"\].*without checking'):
        Authorizer({"default": policy})
    assert Authorizer(
        {"default": policy}, front_end={"header": "X-Client", "checks_certificates": True}
    )


# --- what is remembered --------------------------------------------------------------------------


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every decision that a policy makes."""
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
    """The same text is decided on once, and `at` neither asks the memory nor fills it."""
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


def test_memory_is_apart_for_each_policy(
    authorizer: Authorizer, alice: IssuedCertificate, decisions: list[object]
) -> None:
    """One policy's remembered yes does not answer for another (ASP.NET Core #66673)."""
    authorizer.authorize(alice.header_value)
    for _ in range(2):
        denied(lambda: authorizer.authorize(alice.header_value, "partners"))
    assert len(decisions) == 3


def test_request_is_looked_at_before_the_memory(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """Look-alikes and plain HTTP are denied however well the certificate is known."""
    value = alice.header_value
    authorizer.authorize(value)
    for pairs in (
        [(HEADER, value), ("X_ARR_ClientCert", value)],
        [(HEADER, value), (HEADER, value)],
        [(HEADER, value), ("X-Forwarded-Proto", "http")],
    ):
        denied(lambda pairs=pairs: authorizer.authorize_headers(pairs))  # type: ignore[misc]


def test_memory_ends_with_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A yes is remembered through the last second of validity, and not in the next."""
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    client = self_signed("alice", not_after=end)
    policy = Policy(fingerprints=[client.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy})
    authorizer.authorize(client.header_value)
    memory = authorizer._policies["default"].memory()
    moment = time.time()
    monkeypatch.setattr(module.time, "time", lambda: moment)
    assert memory.recall((client.header_value, None)) == client.certificate
    moment = end.timestamp() + 0.999
    assert memory.recall((client.header_value, None)) == client.certificate
    moment = end.timestamp() + 1
    assert memory.recall((client.header_value, None)) is None
    moment = end.timestamp() - 7200  # Set back, to before it was decided.
    assert memory.recall((client.header_value, None)) is None


def test_memory_ends_with_the_revocation_list(
    authority: CertificateAuthority, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A yes is not remembered past the nextUpdate of a list that it rests on."""
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(),
        crls=authority.revocation_list(next_update=end).decode(),
    )
    authorizer = Authorizer({"default": policy})
    authorizer.authorize(alice.header_value)
    moment = end.timestamp() + 0.5
    monkeypatch.setattr(module.time, "time", lambda: moment)
    assert authorizer.authorize(alice.header_value) == alice.certificate
    moment = end.timestamp() + 1
    late = denied(lambda: authorizer.authorize(alice.header_value))
    assert late.reason is DenialReason.REVOCATION_UNKNOWN


def test_what_is_denied_is_not_remembered(
    authorizer: Authorizer, impostor: IssuedCertificate
) -> None:
    """Failures take no place among the accepted."""
    for _ in range(3):
        denied(lambda: authorizer.authorize(impostor.header_value))
        denied(lambda: authorizer.authorize(None))
    assert not authorizer._policies["default"].memory()._accepted


def test_a_stranger_is_not_looked_at(
    alice: IssuedCertificate,
    expired: IssuedCertificate,
    impostor: IssuedCertificate,
    decisions: list[object],
) -> None:
    """Where certificates are pinned, a hash says no; why is worked out when somebody asks."""
    authorizer = Authorizer({"default": Policy(fingerprints=[alice.certificate.sha1_fingerprint])})
    logging.disable(logging.CRITICAL)
    try:
        stranger = denied(lambda: authorizer.authorize(impostor.header_value))
        late = denied(lambda: authorizer.authorize(expired.header_value))
        garbage = denied(lambda: authorizer.authorize("MIIB"))
    finally:
        logging.disable(logging.NOTSET)
    assert not decisions
    assert "x509" not in vars(vars(stranger)["_explain"].args[1])
    assert stranger.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
    assert stranger.certificate == impostor.certificate
    assert late.reason is DenialReason.EXPIRED
    assert garbage.reason is DenialReason.MALFORMED
    assert garbage.certificate is None
    assert len(decisions) == 2


def test_a_pin_makes_no_certificate_of_garbage(impostor: IssuedCertificate) -> None:
    """Bytes that are pinned and are no certificate are malformed, under each alternative."""
    pinned = Policy(fingerprints=[hashlib.sha256(b"0\x82\x01").hexdigest()])
    authorizer = Authorizer({"default": [pinned, pinned]})
    error = denied(lambda: authorizer.authorize("MIIB"))
    assert (error.reason, error.certificate) == (DenialReason.MALFORMED, None)
    assert error.reasons == (DenialReason.MALFORMED,)
    late = impostor.certificate.not_valid_after_utc + timedelta(seconds=1)
    error = denied(lambda: authorizer.authorize(impostor.header_value, at=late))
    assert error.reason is DenialReason.EXPIRED


@pytest.mark.parametrize("policy", ["default", "partners"])
def test_a_denial_leaves_nothing_behind(
    policy: str,
    authorizer: Authorizer,
    impostor: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a stranger's request has made is gone with it, without waiting for the collector."""
    # pytest keeps each record, and pytest.raises a cycle of its own.
    monkeypatch.setattr(module.logger, "propagate", False)
    monkeypatch.setattr(module.logger, "handlers", [logging.StreamHandler(io.StringIO())])

    def knock() -> None:
        with contextlib.suppress(CertificateDenied):
            authorizer.authorize(impostor.header_value, policy)

    def denials() -> int:
        # isinstance() would also ask each lazy object for its class, and thereby evaluate it.
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


def test_a_text_that_is_too_long_is_not_remembered(
    alice: IssuedCertificate, decisions: list[object]
) -> None:
    """What a client may write beside the certificate does not fill the memory with megabytes."""
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
def test_what_is_no_number_to_remember_stops_the_start(
    wrong: Any, alice: IssuedCertificate
) -> None:
    """A bound that cannot be kept is told before a client comes."""
    pinned = Policy(fingerprints=[alice.certificate.sha1_fingerprint])
    with pytest.raises(ConfigurationError, match=r"most_remembered: .*write 0 to 1000000"):
        Authorizer({"default": pinned}, most_remembered=wrong)


def test_a_denial_is_explained_for_its_own_moment(
    impostor: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks late hears why it was denied then, not why it would be denied by now."""
    authorizer = Authorizer({"default": Policy(fingerprints=["A" * 64])})
    logging.disable(logging.CRITICAL)
    try:
        asked_late = denied(lambda: authorizer.authorize(impostor.header_value))
    finally:
        logging.disable(logging.NOTSET)
    end = impostor.certificate.not_valid_after_utc.timestamp()
    monkeypatch.setattr(module.time, "time", lambda: end + 10)
    assert asked_late.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
    assert denied(lambda: authorizer.authorize(impostor.header_value)).reason is (
        DenialReason.EXPIRED
    )


def test_a_denial_that_cannot_be_explained_is_a_fault(
    impostor: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours while a denial is put into words leaves it a denial."""
    authorizer = Authorizer({"default": Policy(fingerprints=["A" * 64])})

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Policy, "decide", broken)
    assert denied(lambda: authorizer.authorize(impostor.header_value)).reason is (
        DenialReason.MISCONFIGURED
    )
    monkeypatch.setattr(Policy, "decide", lambda *_: None)
    error = denied(lambda: authorizer.authorize(impostor.header_value))
    assert error.reason is DenialReason.MISCONFIGURED


def test_only_a_fingerprint_vouches_for_what_cannot_be_read(
    authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """Bytes that are pinned enter as they are; any other proof wants them readable to the last."""
    garbage = UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), b"\xff\xff")
    key = alice.private_key
    name = Name([NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    der = (
        CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(garbage, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    value = base64.b64encode(der).decode()
    digest = hashlib.sha256(der).hexdigest()
    info = public_key_fingerprint(alice.certificate)
    by_key = Policy(public_keys=[str(info)])
    assert Authorizer({"default": by_key}).authorize(alice.header_value)
    error = denied(lambda: Authorizer({"default": by_key}).authorize(value))
    assert error.reason is DenialReason.MALFORMED
    pinned = Authorizer({"default": Policy(fingerprints=[digest])})
    assert pinned.authorize(value).sha256_fingerprint == digest.upper()
    anchored = Policy(fingerprints=[digest], trust_anchors=authority.certificate_pem.decode())
    alternatives = [Policy(fingerprints=[digest]), anchored]
    error = denied(lambda: Authorizer({"default": alternatives}).authorize(value))
    assert error.reason is DenialReason.MALFORMED
    late = now + timedelta(days=2)
    assert denied(lambda: pinned.authorize(value, at=late)).reason is DenialReason.MALFORMED


@pytest.mark.parametrize("most", [0, 1])
def test_how_many_are_remembered_can_be_set(
    most: int, alice: IssuedCertificate, decisions: list[object]
) -> None:
    """The setting reaches the memory; 0 remembers nobody."""
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


def test_soft_yes_is_not_remembered(
    authority: CertificateAuthority, decisions: list[object]
) -> None:
    """What was accepted although revocation is unknown is decided on each time."""
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


def test_memory_is_bounded_and_the_oldest_gives_way(
    authority: CertificateAuthority, decisions: list[object]
) -> None:
    """However many are accepted, a fixed number is remembered, the newest."""
    authorizer = Authorizer(
        {"default": Policy(trust_anchors=authority.certificate_pem.decode())}, most_remembered=2
    )
    clients = [authority.issue(f"client {number}") for number in range(3)]
    for client in clients:
        authorizer.authorize(client.header_value)
    for client in clients[1:]:
        authorizer.authorize(client.header_value)
    assert len(decisions) == 3
    authorizer.authorize(clients[0].header_value)
    assert len(decisions) == 4
    assert len(authorizer._policies["default"].memory()._accepted) == 2


def test_reload_between_decision_and_remembering(
    tmp_path: Path,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A yes that is decided while the files are replaced dies with the old snapshot."""
    monkeypatch.setattr(trust_files, "SECONDS_BETWEEN_LOOKS", 0.0)
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    policy = Policy(trust_anchors=path)
    authorizer = Authorizer({"default": policy})
    decided, replaced = threading.Barrier(2), threading.Barrier(2)
    remember = module._Memory.remember

    def late(*arguments: Any) -> None:
        decided.wait(10)
        replaced.wait(10)
        remember(*arguments)

    monkeypatch.setattr(module._Memory, "remember", late)
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


def test_many_threads_share_one_memory(authority: CertificateAuthority) -> None:
    """Threads that fill and empty the memory at once get the right certificate every time."""
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


def test_warm_read_takes_no_lock(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """Who is remembered enters even while somebody else is writing."""
    authorizer.authorize(alice.header_value)
    with authorizer._policies["default"].memory()._writing:
        assert authorizer.authorize(alice.header_value) == alice.certificate


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
    """No list of hostile headers enters, and none raises anything but a denial."""
    authorizer = Authorizer({"default": Policy(fingerprints=["A" * 40])})
    denied(lambda: authorizer.authorize_asgi({"headers": pairs}))
