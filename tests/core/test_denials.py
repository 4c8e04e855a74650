"""The log of denials writes one record for each, and counts the denials of a flood."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from arrcert import DenialReason, denials
from arrcert.denials import DenialLog, describe_request
from arrcert.exceptions import Denial
from arrcert.testing import self_signed


class Unread(dict[str, Any]):
    """An environ or scope that fails the test if it is read."""

    def get(self, key: str, default: Any = None) -> Any:
        """Fail."""
        raise AssertionError(f"{key} was read")

    __getitem__ = get

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the keys were read")


def denial(reason: DenialReason = DenialReason.UNTRUSTED) -> Denial:
    """Return a denial."""
    return Denial(reason, "why")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> DenialLog:
    """A log that writes three denials of a reason in full. Its second lasts for the whole test."""
    monkeypatch.setattr(denials, "MOST_IN_FULL", 3)
    monkeypatch.setattr(denials, "SECONDS_TO_COUNT", 60.0)
    return DenialLog()


def counts(records: list[logging.LogRecord]) -> dict[str, int]:
    """Return the numbers in the records that count denials."""
    return {
        vars(record)["arrcert_reason"]: vars(record)["arrcert_count"]
        for record in records
        if hasattr(record, "arrcert_count")
    }


# --- one record ----------------------------------------------------------------------------------


def test_record_names_policy_and_request(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """A record has the request, the policy and the reason, as text and as attributes."""
    log.write(denial(), "default", environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/x"})
    [record] = caplog.records
    assert record.getMessage() == "denied GET /x under policy 'default': untrusted: why"
    assert (record.name, record.levelno) == ("arrcert", logging.WARNING)
    assert not record.exc_info
    held = vars(record)
    assert held["arrcert_reason"] == "untrusted"
    assert type(held["arrcert_reason"]) is str
    assert held["arrcert_policy"] == "default"
    assert held["arrcert_request"] == "GET /x"
    assert held["arrcert_fingerprint"] is None


def test_record_names_the_certificate(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """The record of a certificate has its fingerprint as text and as an attribute."""
    certificate = self_signed("alice").certificate
    log.write(Denial(DenialReason.EXPIRED, "late", certificate), "a\nb", scope={"path": "/ws"})
    [record] = caplog.records
    assert vars(record)["arrcert_fingerprint"] == certificate.sha256_fingerprint
    assert vars(record)["arrcert_policy"] == "a\nb"
    assert record.getMessage().startswith(
        r"denied WEBSOCKET /ws under policy 'a\nb': expired: late (SHA-256 fingerprint"
        f" {certificate.sha256_fingerprint}, subject "
    )


def test_record_without_a_request(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """The record of a denial of header text has no request."""
    log.write(denial(), "default")
    [record] = caplog.records
    assert record.getMessage() == "denied under policy 'default': untrusted: why"
    assert vars(record)["arrcert_request"] == ""


def test_misconfiguration_is_an_error_with_its_traceback(
    log: DenialLog, caplog: pytest.LogCaptureFixture
) -> None:
    """`misconfigured` is an ERROR, and holds the traceback if the caller asks for it."""
    try:
        raise RuntimeError("a fault")
    except RuntimeError:
        log.write(denial(DenialReason.MISCONFIGURED), "default", exc_info=True)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert isinstance(record.exc_info[1], RuntimeError)


def test_error_is_logged_if_warnings_are_not(
    log: DenialLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A logger at level ERROR logs a misconfiguration, and no other denial."""
    with caplog.at_level(logging.ERROR, "arrcert"):
        log.write(denial(), "default")
        log.write(denial(DenialReason.MISCONFIGURED), "default")
    assert [vars(record)["arrcert_reason"] for record in caplog.records] == ["misconfigured"]


def test_request_is_not_described_if_nobody_listens(log: DenialLog) -> None:
    """A denial is neither described nor counted if the logger is off."""
    logging.disable(logging.CRITICAL)
    try:
        log.write(denial(), "default", environ=Unread())
        log.write(denial(), "default", scope=Unread())
    finally:
        logging.disable(logging.NOTSET)
    assert log._counts == {}


# --- a flood -------------------------------------------------------------------------------------


def test_a_flood_is_counted_by_reason(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """A few denials of each reason are written in full, and one record counts the others."""
    for _ in range(10):
        log.write(denial(), "default")
    for _ in range(5):
        log.write(denial(DenialReason.MISCONFIGURED), "default")
    log.write(denial(DenialReason.EXPIRED), "default")
    assert len(caplog.records) == 3 + 3 + 1
    caplog.clear()
    log.tell()
    assert counts(caplog.records) == {"untrusted": 7, "misconfigured": 2}
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
    assert caplog.messages == [
        "denied 7 more requests within a second under policy 'default' "
        "for the same reason: untrusted",
        "denied 2 more requests within a second for the same reason: misconfigured",
    ]
    assert [vars(record)["arrcert_policy"] for record in caplog.records] == ["default", ""]
    caplog.clear()
    log.tell()
    assert not caplog.records
    log.write(denial(), "default")
    assert len(caplog.records) == 1


def test_request_of_a_flood_is_not_described(log: DenialLog) -> None:
    """A denial that is only counted does not read its request."""
    for _ in range(3):
        log.write(denial(), "default", environ={})
    log.write(denial(), "default", environ=Unread())
    log.write(denial(), "default", scope=Unread())
    assert log._counts == {("default", DenialReason.UNTRUSTED): 5}


def test_timer_reports_the_counts_without_further_requests(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count of a flood that has ended is logged within one second."""
    monkeypatch.setattr(denials, "SECONDS_TO_COUNT", 0.05)
    deadline = time.monotonic() + 10
    while not counts(caplog.records) and time.monotonic() < deadline:
        log.write(denial(), "default")
        if log._timer is not None:
            log._timer.join(10)
    assert counts(caplog.records) == {"untrusted": 1}
    assert log._timer is None


def test_policies_are_counted_apart(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """A flood under one policy does not hide another policy, and unknown names share one count."""
    for _ in range(10):
        log.write(denial(), "default")
    caplog.clear()
    log.write(denial(), "partners")
    assert len(caplog.records) == 1
    caplog.clear()
    for number in range(10):
        log.write(denial(DenialReason.MISCONFIGURED), f"made up {number}")
    assert len(caplog.records) == 3


def test_a_trickle_is_written_in_full(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Denials in different seconds are written in full, and start no timer."""
    moment = time.monotonic()
    monkeypatch.setattr(denials.time, "monotonic", lambda: moment)
    for _ in range(10):
        log.write(denial(), "default")
        moment += 30
    assert len(caplog.records) == 10
    assert log._timer is None


def test_without_a_thread_every_denial_is_written(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no timer can be started, every denial is written in full."""

    def none_left(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    for _ in range(10):
        log.write(denial(), "default")
    assert len(caplog.records) == 10


def test_every_denial_of_many_threads_is_written_or_counted(
    log: DenialLog, caplog: pytest.LogCaptureFixture
) -> None:
    """The denials in full and the counts together are the number of denials."""

    def deny() -> None:
        for _ in range(200):
            log.write(denial(), "default")

    threads = [threading.Thread(target=deny) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.tell()
    assert len(caplog.records) == 3 + 1
    assert counts(caplog.records) == {"untrusted": 8 * 200 - 3}


def test_signal_handler_may_be_denied_as_well(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A denial in a signal handler during the counting does not wait for its own thread."""
    started = denials.time.monotonic

    def interrupted() -> float:
        monkeypatch.setattr(denials.time, "monotonic", started)
        log.write(denial(DenialReason.EXPIRED), "default")
        return started()

    monkeypatch.setattr(denials.time, "monotonic", interrupted)
    log.write(denial(), "default")
    assert len(caplog.records) == 2


# --- the end of a process, and a fork ------------------------------------------------------------


def test_all_logs_report_or_are_reset_together(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the process reports the counts of every log, and a fork resets every log."""
    other = DenialLog()
    monkeypatch.setattr(denials, "_logs", weakref.WeakSet([log, other]))
    for _ in range(5):
        log.write(denial(), "default")
        other.write(denial(DenialReason.EXPIRED), "default")
    denials._tell_all()
    assert counts(caplog.records) == {"untrusted": 2, "expired": 2}
    caplog.clear()
    for _ in range(5):
        log.write(denial(), "default")
    timer = log._timer
    denials._reset_all()
    assert timer is not None
    timer.cancel()
    denials._tell_all()
    assert counts(caplog.records) == {}


def test_reset_frees_a_lock_that_another_thread_holds(log: DenialLog) -> None:
    """A forked process does not wait for a lock that a thread of its parent holds."""
    held = log._lock
    thread = threading.Thread(target=held.acquire)
    thread.start()
    thread.join()
    log.reset()
    assert log._lock is not held
    log.write(denial(), "default")
    assert log._counts == {("default", DenialReason.UNTRUSTED): 1}


REST = "requests within a second under policy 'default' for the same reason: missing"

_FLOOD = """
import logging, os, sys
from arrcert import Authorizer, CertificateDenied, Policy
logging.basicConfig(format="%(message)s", stream=sys.stdout)
authorizer = Authorizer({"default": Policy(fingerprints=["A" * 64])})
def deny(times):
    for _ in range(times):
        try:
            authorizer.authorize(None)
        except CertificateDenied:
            pass
"""


def reported(program: str) -> list[str]:
    """Run a program, and return the log lines with its counts."""
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "more requests" in line]


def test_end_of_the_process_reports_the_counts() -> None:
    """A worker that is stopped during a flood logs the number of denials."""
    assert reported("deny(500)") == [f"denied 400 more {REST}"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_process_counts_for_itself() -> None:
    """A forked worker starts its own timer, and does not report the counts of its parent."""
    program = """
deny(500)
child = os.fork()
if child == 0:
    deny(300)
    sys.exit()
os.waitpid(child, 0)
"""
    assert sorted(reported(program)) == [
        f"denied 200 more {REST}",
        f"denied 400 more {REST}",
    ]


def test_disabled_logger_is_reported_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dictConfig` disables the loggers that exist, which the root logger reports once."""
    denial = Denial(DenialReason.EXPIRED, "late")
    log = DenialLog()
    log.write(denial, "default")
    assert [record.name for record in caplog.records] == ["arrcert"]
    caplog.clear()
    monkeypatch.setattr(logging.getLogger("arrcert"), "disabled", True)
    for _ in range(2):
        log.write(denial, "default")
    DenialLog()
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("root", "ERROR"),
        ("root", "ERROR"),
    ]
    assert '"disable_existing_loggers": False' in caplog.messages[0]


# --- the description of a request ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/x"}, "GET /x"),
        ({"REQUEST_METHOD": "PUT", "SCRIPT_NAME": "/app", "PATH_INFO": "/x"}, "PUT /app/x"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/x", "QUERY_STRING": "a=1"}, "GET /x"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/caf\u00c3\u00a9"}, "GET /caf\u00e9"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/\xff"}, "GET /\ufffd"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/\u20ac"}, "GET /?"),
        ({"REQUEST_METHOD": "G\n", "PATH_INFO": "/\r\n"}, r"G\n /\r\n"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/'\""}, "GET /\\'\""),
        ({"REQUEST_METHOD": "A B", "PATH_INFO": "/c d\u00a0e"}, "A%20B /c%20d\ufffde"),
        ({}, "None "),
    ],
)
def test_wsgi_request_is_described(environ: dict[str, Any], text: str) -> None:
    """A WSGI request is described by method and path, in one escaped line, without the query."""
    assert describe_request(environ) == text


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        ({"method": "GET", "path": "/x", "query_string": b"a=1"}, "GET /x"),
        ({"type": "websocket", "path": "/ws"}, "WEBSOCKET /ws"),
        ({"method": "GET", "path": "/\u202e\x1b"}, r"GET /\u202e\x1b"),
        ({"method": "A B", "path": "/c d\u00a0e\u2003"}, r"A%20B /c%20d\xa0e\u2003"),
        ({}, "WEBSOCKET None"),
    ],
)
def test_asgi_request_is_described(scope: dict[str, Any], text: str) -> None:
    """An ASGI request is described by method and path, and a WebSocket handshake by its path."""
    assert describe_request(scope=scope) == text
    assert describe_request({"REQUEST_METHOD": "POST", "PATH_INFO": "/other"}, scope) == text


def test_long_path_is_cut() -> None:
    """A long path is cut in the log, and has no quotation marks."""
    for request in (
        describe_request({"REQUEST_METHOD": "GET", "PATH_INFO": "/" + "a" * 5000}),
        describe_request(scope={"method": "GET", "path": "/" + "a" * 5000}),
    ):
        assert request == f"GET /{'a' * 195}... (5005 characters)"


def test_no_request_is_described_as_nothing() -> None:
    """Without an environ and a scope the description is empty."""
    assert describe_request() == ""
