"""What all tests share: certificates, a clean environment, and the report of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings

from arrcert import denials, expiry
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

TESTS_A_DOT = 50

# Hypothesis measures time, and a machine may be slow. The other profiles have no deadline either.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if settings.get_current_profile_name() == "default":
    settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that moves the clock."""
    parser.addoption(
        "--later",
        type=int,
        metavar="SECONDS",
        help="move the clock forward after the test modules are imported; needs time-machine",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Move the clock of this process. The programs that the tests start keep the real clock.

    A test fails under another clock if it compares the current time with a time that was taken
    while its module was imported. Such a test also fails on a slow machine.
    """
    if seconds := session.config.getoption("later"):
        import time_machine

        moved = time_machine.travel(time.time() + seconds, tick=True)
        moved.start()
        session.config.add_cleanup(moved.stop)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """With -q, print one dot for every 50 tests that pass or are skipped."""
    if config.get_verbosity() >= 0 or report.failed or hasattr(report, "wasxfail"):
        return None
    if report.when != "call" and not report.skipped:
        return None
    stats = config.pluginmanager.get_plugin("terminalreporter").stats
    done = 1 + len(stats.get("passed", ())) + len(stats.get("skipped", ()))
    return report.outcome, "" if done % TESTS_A_DOT else ".", report.outcome.upper()


@pytest.fixture(autouse=True)
def _environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the ARRCERT variables that the environment of the test run may hold."""
    for name in [name for name in os.environ if name.startswith("ARRCERT")]:
        monkeypatch.delenv(name)
    # App Service sets this variable. Without it each start warns that nothing guards the header.
    monkeypatch.setenv("WEBSITE_SITE_NAME", "site")


@pytest.fixture(autouse=True)
def _reset_denial_logs() -> Iterator[None]:
    """Reset the logs of denials, so that no test sees the counts of an earlier test."""
    yield
    for log in list(denials._logs):
        if log._timer is not None:
            log._timer.cancel()
    denials._reset_all()


@pytest.fixture(autouse=True)
def _forget_what_ends_soon() -> None:
    """Forget which certificates were reported today, so that each test sees its own reports."""
    expiry._told.reset()


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    """The CA that the tests trust."""
    return CertificateAuthority("Contoso Issuing CA", organization="Contoso")


@pytest.fixture(scope="session")
def alice(authority: CertificateAuthority) -> IssuedCertificate:
    """Alice, a client of that CA."""
    return authority.issue("alice")


@pytest.fixture(scope="session")
def expired(authority: CertificateAuthority) -> IssuedCertificate:
    """A certificate with Alice's names from the same CA. It expired an hour ago."""
    return authority.issue("alice", not_after=datetime.now(UTC) - timedelta(hours=1))


@pytest.fixture(scope="session")
def look_alike(authority: CertificateAuthority) -> IssuedCertificate:
    """A self-signed certificate with Alice's names and issuer."""
    return self_signed("alice", issuer=authority)


@pytest.fixture(scope="session")
def other_authority() -> CertificateAuthority:
    """Another CA with the same name."""
    return CertificateAuthority("Contoso Issuing CA", organization="Contoso")


@pytest.fixture(scope="session")
def impostor(other_authority: CertificateAuthority) -> IssuedCertificate:
    """A certificate with Alice's names from the other CA."""
    return other_authority.issue("alice")
