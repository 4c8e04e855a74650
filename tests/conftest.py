"""One throw-away PKI for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from arrcert import denials
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed


@pytest.fixture(autouse=True)
def _environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have ARRCERT variables of their own."""
    for name in [name for name in os.environ if name.startswith("ARRCERT")]:
        monkeypatch.delenv(name)
    # As on App Service; elsewhere each start warns that nothing guards the header.
    monkeypatch.setenv("WEBSITE_SITE_NAME", "site")


@pytest.fixture(autouse=True)
def _floods_end_with_their_test() -> Iterator[None]:
    """What one test is denied in numbers is not told in the log of the next."""
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
    """The client that may enter."""
    return authority.issue("alice")


@pytest.fixture(scope="session")
def expired(authority: CertificateAuthority) -> IssuedCertificate:
    """Alice's names and CA, an hour too late."""
    return authority.issue("alice", not_after=datetime.now(UTC) - timedelta(hours=1))


@pytest.fixture(scope="session")
def look_alike(authority: CertificateAuthority) -> IssuedCertificate:
    """Alice's names, signed by nobody but itself."""
    return self_signed("alice", issuer=authority)


@pytest.fixture(scope="session")
def other_authority() -> CertificateAuthority:
    """Another CA of the very same name."""
    return CertificateAuthority("Contoso Issuing CA", organization="Contoso")


@pytest.fixture(scope="session")
def impostor(other_authority: CertificateAuthority) -> IssuedCertificate:
    """Alice's names, issued by the other CA."""
    return other_authority.issue("alice")
