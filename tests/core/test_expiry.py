"""The warnings about ends: a certificate, CA, pin or list that ends soon is one warning a day."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from arrcert import Authorizer, ConfigurationError, Policy
from arrcert import expiry as module
from arrcert.access import DAYS_LEFT
from arrcert.expiry import (
    EXPIRY_WARNING_DAYS,
    MOST_WARNING_DAYS,
    Ending,
    is_number_of_days,
    why_no_days,
)
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed


def later(**difference: float) -> datetime:
    """Return a moment in the future, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**difference)


def ending_in(days: float, name: str = "gateway") -> IssuedCertificate:
    """Return a certificate that ends in some days."""
    return self_signed(name, not_after=later(days=days))


def pinning(*issued: IssuedCertificate, **more: Any) -> Authorizer:
    """Return an authorizer that pins certificates under the identity `fabrikam`."""
    pins = [one.certificate.sha256_fingerprint for one in issued]
    return Authorizer({"default": Policy(fingerprints=pins, identity="fabrikam")}, **more)


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the warnings about things that end soon."""
    return [record for record in caplog.records if hasattr(record, "arrcert_days_left")]


@pytest.mark.parametrize("remembered", [0, 9])
def test_a_certificate_that_ends_soon_is_one_warning_a_day(
    caplog: pytest.LogCaptureFixture, remembered: int
) -> None:
    """Many requests give one warning, with identity, days left and fingerprint."""
    soon = ending_in(12.5)
    authorizer = pinning(soon, most_remembered=remembered)
    for _ in range(5):
        authorizer.identify(soon.header_value)
    [record] = warnings(caplog)
    fingerprint = soon.certificate.sha256_fingerprint
    assert (record.name, record.levelname) == ("arrcert", "WARNING")
    assert record.getMessage() == (
        "the client certificate of 'fabrikam' expires in 12 days, at"
        f" {soon.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}: then the client is"
        " denied, and needs a new certificate (policy 'default', identity 'fabrikam', fingerprint"
        f" {fingerprint})"
    )
    attributes = {
        name: value for name, value in vars(record).items() if name.startswith("arrcert_")
    }
    assert attributes == {
        "arrcert_policy": "default",
        "arrcert_identity": "fabrikam",
        "arrcert_fingerprint": fingerprint,
        "arrcert_days_left": 12,
    }


def test_a_client_without_an_identity_is_named_by_its_subject(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without an identity, the warning names the subject."""
    soon = ending_in(1.5)
    policy = Policy(fingerprints=[soon.certificate.sha256_fingerprint])
    Authorizer({"default": policy}).identify(soon.header_value)
    [record] = warnings(caplog)
    assert "certificate of 'CN=gateway' expires in 1 day, at" in record.getMessage()
    assert ", identity" not in record.getMessage()


@pytest.mark.parametrize(
    ("days", "setting", "is_told"),
    [(30.5, 30, False), (29.9, 30, True), (5, 0, False), (5, 4, False), (5, 6, True)],
)
def test_the_number_of_days_is_set(
    caplog: pytest.LogCaptureFixture, days: float, setting: int, is_told: bool
) -> None:
    """A certificate is reported only within the configured days, and never with 0."""
    soon = ending_in(days)
    pinning(soon, expiry_warning_days=setting).identify(soon.header_value)
    assert bool(warnings(caplog)) is is_told


def test_each_certificate_is_reported_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Two certificates of one identity are two warnings, and two authorizers give one warning."""
    first, second = ending_in(3), ending_in(4)
    for _ in range(2):
        authorizer = pinning(first, second)
        authorizer.identify(first.header_value)
        authorizer.identify(second.header_value)
    assert [vars(record)["arrcert_days_left"] for record in warnings(caplog)] == [2, 3]


def test_the_next_day_it_is_reported_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same certificate is reported again after 24 hours, even if it is remembered."""
    now = datetime.now(UTC).timestamp()
    clock = [now]
    for name in ("arrcert.memory", "arrcert.authorizer"):
        monkeypatch.setattr(f"{name}.time.time", lambda: clock[0])
    soon = ending_in(20.5)
    authorizer = pinning(soon)
    for hours in (0, 23.9, 24.1, 40, 48.2):
        clock[0] = now + hours * 3600
        authorizer.identify(soon.header_value)
    assert [vars(record)["arrcert_days_left"] for record in warnings(caplog)] == [20, 19, 18]


def test_a_remembered_certificate_is_reported_when_its_days_begin(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remembered certificate is reported as soon as it is within the configured days."""
    now = datetime.now(UTC).timestamp()
    clock = [now]
    for name in ("arrcert.memory", "arrcert.authorizer"):
        monkeypatch.setattr(f"{name}.time.time", lambda: clock[0])
    soon = ending_in(31)
    authorizer = pinning(soon)
    authorizer.identify(soon.header_value)
    assert warnings(caplog) == []
    clock[0] = now + 1.1 * 86400
    authorizer.identify(soon.header_value)
    assert [vars(record)["arrcert_days_left"] for record in warnings(caplog)] == [29]


def test_a_clock_that_is_set_back_reports_again(caplog: pytest.LogCaptureFixture) -> None:
    """A clock that is set back does not suppress the warnings of today."""
    soon = ending_in(20.5)
    authorizer = pinning(soon)
    authorizer.identify(soon.header_value, at=later(days=9))
    authorizer.identify(soon.header_value)
    assert [vars(record)["arrcert_days_left"] for record in warnings(caplog)] == [11, 20]


def test_the_clock_skew_leaves_no_negative_days(caplog: pytest.LogCaptureFixture) -> None:
    """A certificate that is accepted after its end, within the clock skew, has 0 days left."""
    ended = self_signed("gateway", not_after=later(seconds=-60))
    policy = Policy(fingerprints=[ended.certificate.sha256_fingerprint], clock_skew=300)
    Authorizer({"default": policy}).identify(ended.header_value)
    assert [vars(record)["arrcert_days_left"] for record in warnings(caplog)] == [0]


def test_the_request_carries_the_days_left_once() -> None:
    """The environ of the request that is reported holds the number of days."""
    soon = ending_in(7.5)
    authorizer = pinning(soon)
    carried = []
    for _ in range(2):
        environ = {"REQUEST_METHOD": "GET", "HTTP_X_ARR_CLIENTCERT": soon.header_value}
        authorizer.identify_wsgi(environ)
        carried.append(environ.get(DAYS_LEFT))
    assert carried == [7, None]


def test_whoever_is_found_is_reported_when_they_enter(caplog: pytest.LogCaptureFixture) -> None:
    """`find_wsgi` reports nothing, and the entry of the found client is reported."""
    soon = ending_in(7)
    authorizer = pinning(soon)
    environ = {"REQUEST_METHOD": "GET", "HTTP_X_ARR_CLIENTCERT": soon.header_value}
    found = [authorizer.find_wsgi(environ) for _ in range(2)][-1]
    assert found is not None
    assert warnings(caplog) == []
    authorizer.entered_wsgi(environ, found)
    assert len(warnings(caplog)) == 1


def test_authorities_of_the_path_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    """The anchor and the intermediates of the path are reported, and no other CA."""
    anchor = CertificateAuthority("Contoso Root", not_after=later(days=20.5))
    middle = CertificateAuthority("Contoso Issuing CA", not_after=later(days=10.5), issuer=anchor)
    other = CertificateAuthority("Other Root", not_after=later(days=5))
    client = middle.issue("gateway", not_after=later(days=9.5))
    authorizer = Authorizer(
        {
            "default": Policy(
                trust_anchors=[
                    anchor.certificate_pem.decode(),
                    other.certificate_pem.decode(),
                ],
                intermediates=middle.certificate_pem.decode(),
                identity="fabrikam",
            )
        }
    )
    for _ in range(2):
        authorizer.identify(client.header_value)
    records = warnings(caplog)
    found = {
        record.getMessage().split(" expires in ")[0]: vars(record)["arrcert_days_left"]
        for record in records
    }
    assert len(records) == 3
    assert found == {
        "the client certificate of 'fabrikam'": 9,
        "the intermediate 'CN=Contoso Issuing CA'": 10,
        "the trust anchor 'CN=Contoso Root'": 20,
    }
    by_anchor = next(record for record in records if "trust anchor" in record.getMessage())
    digest = anchor.x509.fingerprint(hashes.SHA256()).hex().upper()
    assert vars(by_anchor)["arrcert_fingerprint"] == digest
    assert vars(by_anchor)["arrcert_identity"] is None
    assert "add the new CA certificate to trust_anchors" in by_anchor.getMessage()
    assert any("the new CA certificate to intermediates" in r.getMessage() for r in records)


def test_a_pin_that_retires_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A pin that ends soon is reported with its note, even if its certificate ends later."""
    client = ending_in(300)
    pin = {
        "fingerprint": client.certificate.sha256_fingerprint,
        "not_after": later(days=6.5),
        "note": "old gateway",
        "identity": "fabrikam",
    }
    Authorizer({"default": Policy(fingerprints=[pin])}).identify(client.header_value)
    [record] = warnings(caplog)
    assert re.match(
        r"the pin '[0-9A-F]{64} \(old gateway\)' expires in 6 days, at .*: then it does not match"
        r" any certificate \(policy 'default', identity 'fabrikam', fingerprint [0-9A-F]{64}\)$",
        record.getMessage(),
    )


@pytest.mark.parametrize(("days_left", "is_told"), [(3, False), (1.5, True)])
def test_a_list_is_reported_in_the_last_quarter_of_its_life(
    caplog: pytest.LogCaptureFixture,
    authority: CertificateAuthority,
    days_left: float,
    is_told: bool,
) -> None:
    """A list with a validity of a week is reported in the last quarter of that week."""
    crl = authority.revocation_list(
        last_update=later(days=days_left - 7), next_update=later(days=days_left)
    )
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(), crls=[crl.decode()], identity="fabrikam"
    )
    client = authority.issue("gateway")
    Authorizer({"default": policy}).identify(client.header_value)
    found = [record.getMessage() for record in warnings(caplog)]
    assert len(found) == is_told
    if is_told:
        assert found[0].startswith("the revocation list in PEM text expires in 1 day, at ")
        assert "arrcert fetch-crls" in found[0]
        assert vars(warnings(caplog)[0])["arrcert_fingerprint"] is None


def test_what_was_reported_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of reports is bounded, and forgets the oldest report first."""
    monkeypatch.setattr(module, "MOST_TOLD", 2)
    told = module._Told()
    assert [told.take((str, name), 0.0) for name in "abcab"] == [True, True, True, True, True]
    assert told.take((str, "a"), 1.0) is False
    assert told.next_time((str, "a"), 1.0) == 86400.0


def test_threads_report_once(caplog: pytest.LogCaptureFixture) -> None:
    """Requests at the same time give one warning."""
    soon = ending_in(7)
    authorizer = pinning(soon, most_remembered=0)
    threads = [
        threading.Thread(target=authorizer.identify, args=(soon.header_value,)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings(caplog)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_reports_by_itself(
    run_in_fork: Callable[[Callable[[], int]], int],
) -> None:
    """A worker that is forked after a report has no reports, and its lock is free."""
    soon = ending_in(7)
    key = Ending(soon.certificate, soon.certificate.not_valid_after_utc).key
    with module._told._lock:
        assert run_in_fork(lambda: module._told.take(key, 0.0)) is True


@pytest.fixture
def run_in_fork() -> Callable[[Callable[[], int]], int]:
    """Return a function that calls another one in a forked process, and returns its truth value."""

    def run(call: Callable[[], int]) -> int:
        # A child that goes on must not run the rest of the tests.
        child = os.fork()
        if child == 0:
            os._exit(0 if call() else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return run


@pytest.mark.parametrize("wrong", [-1, MOST_WARNING_DAYS + 1, True, "30", 1.5, None])
def test_a_wrong_number_of_days_stops_the_start(wrong: Any) -> None:
    """The number of days is whole and not negative; the error says what to write."""
    assert not is_number_of_days(wrong)
    with pytest.raises(ConfigurationError, match=r"expiry_warning_days: .*write 0") as caught:
        pinning(ending_in(3), expiry_warning_days=wrong)
    assert why_no_days(wrong) in str(caught.value)
    assert is_number_of_days(0)
    assert is_number_of_days(EXPIRY_WARNING_DAYS)
