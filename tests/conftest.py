"""The certificates that all tests share, and a clean environment for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from arrcert import denials
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed


@pytest.fixture(autouse=True)
def _environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the ARRCERT variables that the environment of the test run may hold."""
    for name in [name for name in os.environ if name.startswith("ARRCERT")]:
        monkeypatch.delenv(name)
    # As on App Service. Without it each start warns that nothing guards the header.
    monkeypatch.setenv("WEBSITE_SITE_NAME", "site")


@pytest.fixture(autouse=True)
def _reset_denial_logs() -> Iterator[None]:
    """Reset the logs of denials, so that no test sees the counts of the one before."""
    yield
    for log in list(denials._logs):
        if log._timer is not None:
            log._timer.cancel()
    denials._reset_all()


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
    """A certificate with Alice's names from the same CA, which expired an hour ago."""
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
