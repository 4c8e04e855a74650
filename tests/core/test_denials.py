"""The log of denials: one record each, counts for a flood, never silence."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from arrcert import CertificateDenied, DenialReason, denials
from arrcert.denials import DenialLog, describe_wsgi


def unheard() -> CertificateDenied:
    """Return a denial that fails the test when somebody asks for its reason."""

    def explain() -> CertificateDenied:
        raise AssertionError("nobody asked")

    return CertificateDenied.explained_by(explain)


def denial(reason: DenialReason = DenialReason.UNTRUSTED) -> CertificateDenied:
    """Return a denial in words."""
    return CertificateDenied(reason, "why")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> DenialLog:
    """A log that writes three of each reason in full, and whose second is as long as a test."""
    monkeypatch.setattr(denials, "MOST_IN_FULL", 3)
    monkeypatch.setattr(denials, "SECONDS_TO_COUNT", 60.0)
    return DenialLog()


def counts(records: list[logging.LogRecord]) -> dict[str, int]:
    """Return what the records that count say."""
    return {
        vars(record)["arrcert_reason"]: vars(record)["arrcert_count"]
        for record in records
        if hasattr(record, "arrcert_count")
    }


def test_a_denial_that_nobody_listens_to_is_not_looked_at(log: DenialLog) -> None:
    """Where the logger is off, neither the reason nor the request is worked out."""

    def describe(_: Any) -> str:
        raise AssertionError("nobody asked")

    logging.disable(logging.CRITICAL)
    try:
        log.write(unheard(), "default", describe, {})
    finally:
        logging.disable(logging.NOTSET)


def test_record_names_policy_and_request(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """A denial in full says which request, which policy and why, in words and as attributes."""
    log.write(denial(), "default", describe_wsgi, {"REQUEST_METHOD": "GET", "PATH_INFO": "/x"})
    [record] = caplog.records
    assert record.getMessage() == "denied GET /x under policy 'default': untrusted: why"
    held = vars(record)
    assert held["arrcert_reason"] == "untrusted"
    assert held["arrcert_policy"] == "default"
    assert held["arrcert_request"] == "GET /x"
    assert held["arrcert_fingerprint"] is None


def test_a_flood_is_counted_by_reason(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """Of each reason a few are written in full; the rest is one record with their number."""
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
    assert caplog.messages[0] == (
        "denied 7 more requests within a second under policy 'default' "
        "for the same reason: untrusted"
    )
    caplog.clear()
    log.tell()
    assert not caplog.records
    log.write(denial(), "default")
    assert len(caplog.records) == 1


def test_the_timer_tells_when_nobody_knocks_any_more(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count of a flood that has ended is told within the second."""
    monkeypatch.setattr(denials, "SECONDS_TO_COUNT", 0.05)
    deadline = time.monotonic() + 10
    while not counts(caplog.records) and time.monotonic() < deadline:
        log.write(denial(), "default")
        if log._timer is not None:
            log._timer.join(10)
    assert counts(caplog.records) == {"untrusted": 1}
    assert log._timer is None


def test_policies_are_counted_apart(log: DenialLog, caplog: pytest.LogCaptureFixture) -> None:
    """A flood at one door does not hide what happens at another; made-up names share a count."""
    for _ in range(10):
        log.write(denial(), "default")
    caplog.clear()
    log.write(denial(), "partners")
    assert len(caplog.records) == 1
    caplog.clear()
    for number in range(10):
        log.write(denial(DenialReason.MISCONFIGURED), f"made up {number}")
    assert len(caplog.records) == 3


def test_an_error_is_heard_where_warnings_are_not(
    log: DenialLog, caplog: pytest.LogCaptureFixture
) -> None:
    """With the logger at ERROR a misconfiguration is still told, and other denials are not."""
    with caplog.at_level(logging.ERROR, "arrcert"):
        log.write(denial(), "default")
        log.write(denial(DenialReason.MISCONFIGURED), "default")
    assert [vars(record)["arrcert_reason"] for record in caplog.records] == ["misconfigured"]


def test_a_signal_handler_may_be_denied_too(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What interrupts the counting in the same thread does not wait for itself."""
    started = denials.time.monotonic

    def interrupted() -> float:
        monkeypatch.setattr(denials.time, "monotonic", started)
        log.write(denial(DenialReason.EXPIRED), "default")
        return started()

    monkeypatch.setattr(denials.time, "monotonic", interrupted)
    log.write(denial(), "default")
    assert len(caplog.records) == 2


def test_a_trickle_is_written_in_full(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes in another second does not count together, and needs no timer."""
    moment = time.monotonic()
    monkeypatch.setattr(denials.time, "monotonic", lambda: moment)
    for _ in range(10):
        log.write(denial(), "default")
        moment += 30
    assert len(caplog.records) == 10
    assert log._timer is None


def test_without_a_thread_to_spare_nothing_is_lost(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no timer can be started, each denial is written."""

    def none_left(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    for _ in range(10):
        log.write(denial(), "default")
    assert len(caplog.records) == 10


def test_every_denial_of_many_threads_is_written_or_counted(
    log: DenialLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Records in full and counts together are the number of denials."""

    def knock() -> None:
        for _ in range(200):
            log.write(denial(), "default")

    threads = [threading.Thread(target=knock) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.tell()
    assert len(caplog.records) == 3 + 1
    assert counts(caplog.records) == {"untrusted": 8 * 200 - 3}


def test_all_logs_tell_or_begin_together(
    log: DenialLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end each log tells what it counted; in a forked process each begins with nothing."""
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
    denials._begin_all()
    denials._tell_all()
    assert counts(caplog.records) == {}


REST = "requests within a second under policy 'default' for the same reason: missing"

_FLOOD = """
import logging, os, sys
from arrcert import Authorizer, CertificateDenied, Policy
logging.basicConfig(format="%(message)s", stream=sys.stdout)
authorizer = Authorizer({"default": Policy(fingerprints=["A" * 64])})
def knock(times):
    for _ in range(times):
        try:
            authorizer.authorize(None)
        except CertificateDenied:
            pass
"""


def told(program: str) -> list[str]:
    """Run a program and return the lines of its log that count."""
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "more requests" in line]


def test_the_end_of_the_process_tells_what_was_counted() -> None:
    """A worker that is stopped in the middle of a flood still says how many there were."""
    assert told("knock(500)") == [f"denied 400 more {REST}"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_counts_for_itself() -> None:
    """A timer does not come along into a forked worker, and what its parent counted is not its."""
    program = """
knock(500)
child = os.fork()
if child == 0:
    knock(300)
    sys.exit()
os.waitpid(child, 0)
"""
    assert sorted(told(program)) == [
        f"denied 200 more {REST}",
        f"denied 400 more {REST}",
    ]
