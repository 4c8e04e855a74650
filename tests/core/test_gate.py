"""The arguments of the plain middlewares, and the headers that make a response private."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from arrcert import Authorizer, CertificateDenied, ConfigurationError, DenialReason, Policy
from arrcert.authorizer import UnconfiguredAuthorizer
from arrcert.gate import FORBIDDEN, Gate, forbidden_headers, private
from arrcert.settings import NOT_CONFIGURED, load
from arrcert.testing import IssuedCertificate


@pytest.fixture
def authorizer(alice: IssuedCertificate) -> Authorizer:
    """One policy that pins alice."""
    policies = {"default": {"fingerprints": [alice.certificate.sha256_fingerprint]}}
    return Authorizer.from_settings(load({"ARRCERT": policies}, {}))


def environ_of(client: IssuedCertificate) -> dict[str, Any]:
    """Return the environ of a request with a client certificate."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/x",
        "HTTP_X_ARR_CLIENTCERT": client.header_value,
    }


# Arguments. ---------------------------------------------------------------------------------------


def test_unknown_policy_stops_the_start(authorizer: Authorizer) -> None:
    """The error for a policy that an Authorizer does not have names the policies that it has."""
    with pytest.raises(
        ConfigurationError, match=r"^policy: no policy is called 'x'; write one of 'default'$"
    ):
        Gate(authorizer, "x", None)


@pytest.mark.parametrize("policy", ["", 7, b"default"])
def test_a_policy_is_a_name(authorizer: Authorizer, policy: Any) -> None:
    """A policy that is neither a name nor None is a TypeError."""
    with pytest.raises(TypeError, match="policy is"):
        Gate(authorizer, policy, None)


@pytest.mark.parametrize("wrong", ["default", 7, {"default": {}}])
def test_an_authorizer_is_one_of_three_things(wrong: Any) -> None:
    """An argument that is not an Authorizer, a callable or None is a TypeError."""
    with pytest.raises(TypeError, match=r"authorizer is .*; write an Authorizer, a callable"):
        Gate(wrong, "default", None)


@pytest.mark.parametrize("paths", ["/health", ["health"], ["/*"], iter(["/health"])])
def test_wrong_exempt_paths_stop_the_start(authorizer: Authorizer, paths: Any) -> None:
    """Exempt paths in the argument are checked like those in the settings; text is no list."""
    with pytest.raises(ConfigurationError, match=r"^exempt_paths: "):
        Gate(authorizer, "default", paths)


# The environment. ---------------------------------------------------------------------------------


def test_nothing_in_the_environment_stops_the_start() -> None:
    """Without an Authorizer and without variables the start fails."""
    with pytest.raises(ConfigurationError, match="ARRCERT: is not set"):
        Gate(None, "default", None)
    with pytest.raises(ConfigurationError, match="ARRCERT: is not set"):
        Authorizer.from_environment()


def test_the_environment_is_the_configuration(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """Without an Authorizer, the environment provides the policies and the exempt paths."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha1_fingerprint)
    monkeypatch.setenv("ARRCERT_EXEMPT_PATHS", "/health")
    gate = Gate(None, "default", None)
    assert gate.identify_wsgi(environ_of(alice)).certificate == alice.certificate
    with pytest.raises(CertificateDenied):
        gate.identify_wsgi(environ_of(impostor))
    assert gate.exempt_paths.covers_wsgi({"PATH_INFO": "/health"}, "/health")
    authorizer = Authorizer.from_environment()
    assert authorizer.policy_names == ("default",)
    assert authorizer.authorize(alice.header_value) == alice.certificate


def test_exempt_paths_have_one_source(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate, authorizer: Authorizer
) -> None:
    """Exempt paths from the argument and from the environment together stop the start."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha1_fingerprint)
    gate = Gate(None, "default", ["/health"])
    assert gate.exempt_paths.covers_wsgi({"PATH_INFO": "/health"}, "/health")
    monkeypatch.setenv("ARRCERT_EXEMPT_PATHS", "/")
    with pytest.raises(ConfigurationError, match=r"^ARRCERT_EXEMPT_PATHS: .* two sources"):
        Gate(None, "default", ["/health"])
    # With an Authorizer, the environment is the framework's, and is not read.
    assert not Gate(authorizer, "default", None).exempt_paths.covers_wsgi({"PATH_INFO": "/"}, "/")


def test_the_start_warns_of_what_is_probably_a_mistake(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Each start from the environment logs the warnings of the configuration."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha1_fingerprint)
    monkeypatch.delenv("WEBSITE_SITE_NAME")
    for start in (Authorizer.from_environment, lambda: Gate(None, "default", None)):
        caplog.clear()
        start()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "strangers may be able to send" in caplog.text


# A callable. --------------------------------------------------------------------------------------


def test_a_callable_is_asked_for_each_request(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """The Authorizer that a callable returns at the time of the request decides."""
    nobody = Authorizer({"default": Policy(fingerprints=["A" * 40])})
    current = [authorizer]
    gate = Gate(lambda: current[0], "default", None)
    assert gate.identify_wsgi(environ_of(alice)).policy == "default"
    current[0] = nobody
    with pytest.raises(CertificateDenied):
        gate.identify_wsgi(environ_of(alice))


def broken() -> Authorizer:
    """Return the Authorizer of a broken configuration."""
    return Authorizer({})


def failing() -> Authorizer:
    """Return the Authorizer of an app that has an error."""
    raise LookupError("no app\nhere")


def nothing() -> Any:
    """Return an object that is not an Authorizer."""
    return None


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (broken, "the configuration has mistakes: policies: is empty"),
        (failing, "the callable that returns the authorizer failed: 'no app\\nhere'"),
        (nothing, "the callable returned 'None', which is not an Authorizer"),
    ],
)
def test_a_callable_that_fails_denies(
    make: Any, why: str, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """If the callable fails or returns another object, the request is denied as misconfigured."""
    gate = Gate(make, None, None)
    with pytest.raises(CertificateDenied) as caught:
        gate.identify_wsgi(environ_of(alice))
    assert caught.value.reason is DenialReason.MISCONFIGURED
    with pytest.raises(CertificateDenied):
        gate.identify_asgi({"type": "http", "method": "PUT", "path": "/y", "headers": []})
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"denied GET /x under policy 'default': misconfigured: {why}")
    assert second.startswith(f"denied PUT /y under policy 'default': misconfigured: {why}")
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_unknown_policy_behind_a_callable_denies(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """An unknown policy behind a callable denies each request, and does not stop the start."""
    gate = Gate(lambda: authorizer, "x", None)
    with pytest.raises(CertificateDenied, match=r"misconfigured: no policy is called 'x'"):
        gate.identify_wsgi(environ_of(alice))


def test_denial_names_the_policy_of_the_gate(
    alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """If the callable fails, the denial is logged under the policy that was asked for."""
    with pytest.raises(CertificateDenied):
        Gate(failing, "partners", None).identify_wsgi(environ_of(alice))
    assert "under policy 'partners'" in caplog.text


def test_policy_of_an_app_that_is_not_configured(alice: IssuedCertificate) -> None:
    """An app without a configuration starts with any policy, and denies every request."""
    gate = Gate(UnconfiguredAuthorizer(NOT_CONFIGURED), "partners", None)
    with pytest.raises(CertificateDenied) as caught:
        gate.identify_wsgi(environ_of(alice))
    assert caught.value.reason is DenialReason.MISCONFIGURED


# Responses. ---------------------------------------------------------------------------------------


def test_the_length_of_the_denial_is_right() -> None:
    """The Content-Length of the denial is the length of its body."""
    assert dict(forbidden_headers())["Content-Length"] == str(len(FORBIDDEN))


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ([], "private"),
        ([""], "private"),
        (["max-age=60"], "max-age=60, private"),
        (["max-age=60, public"], "max-age=60, private"),
        (["Public", "s-maxage=9"], "s-maxage=9, private"),
        (["public, private"], "private"),
        (['private="Set-Cookie"'], 'private="Set-Cookie", private'),
        (['no-cache="A, B"'], 'no-cache="A, B", private'),
        (["private, max-age=60"], None),
        (["max-age=60", "PRIVATE"], None),
        (["no-store"], None),
        (["public, No-Store"], None),
        (
            ["must-understand, no-store, max-age=9"],
            "must-understand, no-store, max-age=9, private",
        ),
        (["no-store", "Must-Understand"], "no-store, Must-Understand, private"),
        (["must-understand, no-store, private"], None),
        (['x="a, no-store, b"'], 'x="a, no-store, b", private'),
        (['no-cache="A, private, B", public'], 'no-cache="A, private, B", private'),
        (['x="a\\", private, b", private'], None),
        (['x="a\\", private, b"'], 'x="a\\", private, b", private'),
        (['x="unclosed, no-store'], 'x="unclosed, no-store, private'),
    ],
)
def test_a_response_is_private(said: list[str], sent: str | None) -> None:
    """A shared cache may not store the response, and other directives are kept."""
    assert private(said) == sent
