"""The log of entries: one record for each accepted request, on a logger of its own."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import Any

import pytest

from arrcert import Authorizer, CertificateDenied, ClientIdentity, Policy
from arrcert.access import DAYS_LEFT, ENTERED, is_first_entry
from arrcert.testing import CertificateAuthority, IssuedCertificate


@pytest.fixture
def authorizer(authority: CertificateAuthority, alice: IssuedCertificate) -> Authorizer:
    """Two alternatives: the first one takes other names, the second one pins alice."""
    return Authorizer(
        {
            "default": [
                Policy(trust_anchors=authority.certificate_pem.decode(), common_names=["bob"]),
                Policy(fingerprints=[alice.certificate.sha256_fingerprint], identity="alice"),
            ]
        }
    )


def environ_of(who: IssuedCertificate) -> dict[str, Any]:
    """Return the environ of a request."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/orders",
        "HTTP_X_ARR_CLIENTCERT": who.header_value,
    }


def scope_of(who: IssuedCertificate) -> dict[str, Any]:
    """Return the scope of a request."""
    headers = [(b"x-arr-clientcert", who.header_value.encode())]
    return {"type": "http", "method": "GET", "path": "/orders", "headers": headers}


def test_an_entry_is_one_record_with_attributes(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The record names the client, the policy and the alternative, each also as an attribute."""
    caplog.set_level(logging.INFO, "arrcert.access")
    authorizer.identify_wsgi(environ_of(alice))
    [record] = caplog.records
    fingerprint = alice.certificate.sha256_fingerprint
    assert (record.name, record.levelname) == ("arrcert.access", "INFO")
    assert record.getMessage() == (
        "accepted GET /orders under policy 'default', alternative 2: identity 'alice', SHA-256"
        f" fingerprint {fingerprint}, subject 'CN=alice'"
    )
    attributes = {
        name: value for name, value in vars(record).items() if name.startswith("arrcert_")
    }
    assert attributes == {
        "arrcert_policy": "default",
        "arrcert_alternative": 2,
        "arrcert_request": "GET /orders",
        "arrcert_fingerprint": fingerprint,
        "arrcert_identity": "alice",
    }


def test_the_log_is_off_by_its_level(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual level WARNING writes no entry, because the logger has no level of its own."""
    assert logging.getLogger("arrcert.access").level == logging.NOTSET
    authorizer.identify_wsgi(environ_of(alice))
    assert caplog.records == []


def test_a_silent_log_of_entries_silences_acceptances(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """If `arrcert.access` writes no INFO records, there are no DEBUG records of acceptances."""
    caplog.set_level(logging.DEBUG, "arrcert")
    caplog.set_level(logging.WARNING, "arrcert.access")
    authorizer.identify_wsgi(environ_of(alice))
    assert caplog.records == []


@pytest.mark.parametrize("remembered", [0, 9])
def test_each_entry_is_recorded_remembered_or_not(
    alice: IssuedCertificate, caplog: pytest.LogCaptureFixture, remembered: int
) -> None:
    """Each accepted request is recorded, remembered or not, on each of the four entry points."""
    caplog.set_level(logging.INFO, "arrcert.access")
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, most_remembered=remembered)
    for _ in range(2):
        authorizer.identify(alice.header_value)
        authorizer.identify_headers([("X-ARR-ClientCert", alice.header_value)], method="GET")
        authorizer.identify_wsgi(environ_of(alice))
        authorizer.identify_asgi(scope_of(alice))
    assert [vars(record)["arrcert_request"] for record in caplog.records] == [
        "",
        "",
        "GET /orders",
        "GET /orders",
    ] * 2
    assert "identity" not in caplog.records[0].getMessage()


def test_a_request_that_is_decided_twice_is_recorded_once(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that a middleware and then its framework decide about is recorded once."""
    caplog.set_level(logging.INFO, "arrcert.access")
    environ, scope = environ_of(alice), scope_of(alice)
    for _ in range(2):
        authorizer.identify_wsgi(environ)
        authorizer.identify_asgi(scope)
    assert len(caplog.records) == 2


def test_finding_records_nothing_until_somebody_enters(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """`find_*` records nothing, and `entered_*` records the client that was found, once."""
    caplog.set_level(logging.INFO, "arrcert.access")
    environ, scope = environ_of(alice), scope_of(alice)
    found = authorizer.find_wsgi(environ), authorizer.find_asgi(scope)
    assert caplog.records == []
    assert isinstance(found[0], ClientIdentity)
    assert isinstance(found[1], ClientIdentity)
    for _ in range(2):
        authorizer.entered_wsgi(environ, found[0])
        authorizer.entered_asgi(scope, found[1])
    assert len(caplog.records) == 2


def test_a_denied_request_is_no_entry(
    authorizer: Authorizer, impostor: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A denial leaves no record on the logger of entries, and does not mark the request."""
    caplog.set_level(logging.INFO, "arrcert.access")
    environ = environ_of(impostor)
    with pytest.raises(CertificateDenied):
        authorizer.identify_wsgi(environ)
    assert "arrcert.access" not in [record.name for record in caplog.records]
    assert ENTERED not in environ


def test_a_request_that_cannot_be_marked_counts_as_new() -> None:
    """A request that cannot be changed, and a call without a request, are recorded each time."""
    for request in (None, MappingProxyType({})):
        assert is_first_entry(request)
        assert is_first_entry(request)
    marked: dict[str, Any] = {}
    assert is_first_entry(marked)
    assert not is_first_entry(marked)
    assert DAYS_LEFT not in marked


def test_a_fault_of_recording_denies_nobody(
    authorizer: Authorizer,
    alice: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error while an entry is recorded is logged, and the request is still accepted."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    caplog.set_level(logging.INFO, "arrcert.access")
    monkeypatch.setattr("arrcert.authorizer.write_entry", fail)
    assert authorizer.identify_wsgi(environ_of(alice)).name == "alice"
    [record] = caplog.records
    assert record.name == "arrcert"
    assert record.getMessage() == "the entry of a client could not be recorded"
    assert record.exc_info is not None
