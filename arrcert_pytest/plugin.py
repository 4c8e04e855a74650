"""The options and fixtures of the plugin.

This module imports only pytest until a project uses an option or a fixture.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arrcert.testing import CertificateAuthority, IssuedCertificate
    from arrcert_pytest.clients import Clients
    from arrcert_pytest.django_settings import OneSource
    from arrcert_pytest.presenting import AsClient

_CLIENTS = "arrcert_clients"
_ENVIRONMENT = "arrcert_environment"

_made: pytest.StashKey[Clients] = pytest.StashKey()
"""The key of the clients in the stash of pytest's configuration."""

_source: pytest.StashKey[OneSource] = pytest.StashKey()
"""The key of the `OneSource` in the stash. Without `arrcert_environment` there is none."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options of a project's configuration."""
    parser.addini(
        _CLIENTS,
        "arrcert: the clients that may enter in tests, one on each line: NAME [policy=POLICY]"
        " [identity=IDENTITY] [roles=ROLE,ROLE]",
        type="linelist",
        default=[],
    )
    parser.addini(
        _ENVIRONMENT,
        f"arrcert: whether {_CLIENTS} become the environment variable ARRCERT before a test or"
        " conftest.py is imported",
        type="bool",
        default=True,
    )


# A wrapper runs before pytest-django, which imports the settings in this hook.
@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config,
) -> Generator[None, object, object]:
    """Write the policies into the environment before a module of the project is imported."""
    lines = early_config.getini(_CLIENTS)
    if lines:
        from arrcert_pytest.clients import Clients, set_environment

        clients = early_config.stash[_made] = Clients(lines)
        if early_config.getini(_ENVIRONMENT):
            from arrcert_pytest.django_settings import OneSource

            environment = pytest.MonkeyPatch()
            early_config.add_cleanup(environment.undo)
            set_environment(environment, clients.policies)
            source = early_config.stash[_source] = OneSource(os.environ["ARRCERT"])
            early_config.add_cleanup(source.disconnect)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Keep one source of policies before a module of tests is imported."""
    _keep_one_source(session.config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep one source of policies, if a module of the project has configured Django meanwhile."""
    _keep_one_source(item.config)


def _keep_one_source(config: pytest.Config) -> None:
    if _source in config.stash:
        config.stash[_source].connect()


@pytest.fixture(scope="session")
def client_certificate_authority(pytestconfig: pytest.Config) -> CertificateAuthority:
    """The `arrcert.testing.CertificateAuthority` that issued the certificates of the clients.

    No policy trusts it, so the site denies every other certificate that it issues.
    """
    if _made in pytestconfig.stash:
        return pytestconfig.stash[_made].authority
    from arrcert.testing import CertificateAuthority

    return CertificateAuthority("Test CA")


@pytest.fixture(scope="session")
def client_certificates(pytestconfig: pytest.Config) -> Mapping[str, IssuedCertificate]:
    """The `arrcert.testing.IssuedCertificate` of each client in `arrcert_clients`, by name."""
    return pytestconfig.stash[_made].issued if _made in pytestconfig.stash else {}


@pytest.fixture(scope="session")
def client_certificate_policies(pytestconfig: pytest.Config) -> dict[str, Any]:
    """A value for the setting `ARRCERT` that lets the clients in `arrcert_clients` enter.

    Use it for an app that gets its settings from the test. Also write `arrcert_environment =
    false`.
    """
    return pytestconfig.stash[_made].policies if _made in pytestconfig.stash else {}


@pytest.fixture
def as_client(
    request: pytest.FixtureRequest, client_certificates: Mapping[str, IssuedCertificate]
) -> Iterator[AsClient]:
    """A function that returns the framework's test client, which presents a certificate.

    `as_client("alice")` presents the certificate of that client in `arrcert_clients`.
    `as_client(issued)` presents any other certificate, and `as_client(None)` presents none. The app
    is the second argument, or the fixture `app`, or the Django site.
    """
    from arrcert_pytest.presenting import AsClient, django_policies

    made = request.config.stash.get(_made, None)
    with django_policies(None if made is None else made.policies):
        yield AsClient(request, client_certificates)


@pytest.fixture
def certificate_denials() -> Iterator[list[str]]:
    """The reasons of all denials in this test, in order, such as `["role_not_granted"]`."""
    reasons: list[str] = []
    handler, logger = _Reasons(reasons), logging.getLogger("arrcert")
    level, disabled = logger.level, logger.disabled
    # The logging configuration of the project may disable this logger.
    logger.disabled = False
    if not logger.isEnabledFor(logging.WARNING):
        logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    yield reasons
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.disabled = disabled


class _Reasons(logging.Handler):
    """Adds the reason of each denial to a list."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__()
        self._reasons = reasons

    def emit(self, record: logging.LogRecord) -> None:
        reason = getattr(record, "arrcert_reason", None)
        if reason is not None:
            self._reasons.append(reason)
