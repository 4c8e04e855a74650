"""The signals of Flask about an accepted client, and about a certificate that ends soon."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware
from arrcert_flask import (
    Arrcert,
    authorize_certificate,
    authorize_request,
    authorizer_of,
    certificate_accepted,
    certificate_denied,
    certificate_expiring,
    require_client_certificate,
)

Told = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture
def told() -> Iterator[Told]:
    """The signals that were sent, in order: name, sender, arguments."""
    found: Told = []
    connected: list[tuple[Any, Callable[..., None]]] = []
    for name, signal in (
        ("accepted", certificate_accepted),
        ("denied", certificate_denied),
        ("expiring", certificate_expiring),
    ):

        def receiver(sender: Any, name: str = name, **sent: Any) -> None:
            found.append((name, sender, sent))

        signal.connect(receiver)
        connected.append((signal, receiver))
    yield found
    for signal, receiver in connected:
        signal.disconnect(receiver)


def app_of(config: dict[str, Any], **more: Any) -> Flask:
    """Return an app whose endpoints check in several ways."""
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_ALL=True, **more)
    Arrcert(app)

    @app.get("/")
    @authorize_certificate
    def index() -> str:
        authorize_request()
        return "hello"

    @app.get("/partners")
    @authorize_certificate(policy="partners")
    def partners() -> str:
        return "hello"

    return app


def test_an_entry_is_sent_once_a_request(
    config: dict[str, Any], told: Told, alice: IssuedCertificate
) -> None:
    """The gate, a middleware, a decorator and the view decide, and one signal has the identity."""
    app = app_of(config)
    app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app), policy=None)
    for number in (1, 2):
        assert app.test_client().get("/", headers=alice.headers).status_code == 200
        assert len(told) == number
    name, sender, sent = told[0]
    assert (name, sender, list(sent)) == ("accepted", app, ["identity"])
    assert sent["identity"].policy == "default"
    assert sent["identity"].certificate == alice.certificate


def test_a_view_with_its_own_policy_sends_that_identity(
    config: dict[str, Any], told: Told, bob: IssuedCertificate
) -> None:
    """The signal has the identity of the policy that the view names."""
    assert app_of(config).test_client().get("/partners", headers=bob.headers).status_code == 200
    [(name, _, sent)] = told
    assert (name, sent["identity"].policy) == ("accepted", "partners")


def test_several_policies_send_one_signal(
    config: dict[str, Any], told: Told, bob: IssuedCertificate
) -> None:
    """If a view and a hook check two policies, the signal is sent for the first."""
    config["ARRCERT"]["more"] = {"fingerprints": [bob.certificate.sha256_fingerprint]}
    app = app_of(config)
    app.before_request(require_client_certificate(policy="more"))
    assert app.test_client().get("/partners", headers=bob.headers).status_code == 200
    assert [(name, sent["identity"].policy) for name, _, sent in told] == [("accepted", "partners")]


def test_a_denial_sends_no_entry(
    config: dict[str, Any], told: Told, alice: IssuedCertificate
) -> None:
    """A denied request sends only `certificate_denied`."""
    assert app_of(config).test_client().get("/partners", headers=alice.headers).status_code == 403
    assert [name for name, _, _ in told] == ["denied"]


@pytest.mark.parametrize("has_middleware", [False, True])
def test_a_certificate_that_ends_soon_is_sent_once_a_day(
    authority: CertificateAuthority, told: Told, has_middleware: bool
) -> None:
    """The signal has identity and days left, and is sent with each warning, by any decider."""
    soon = authority.issue("soon", not_after=datetime.now(UTC) + timedelta(days=9.5))
    pins = {"fingerprints": [soon.certificate.sha256_fingerprint], "identity": "fabrikam"}
    app = app_of({"ARRCERT": {"default": pins}})
    if has_middleware:
        app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app))
    for _ in range(3):
        assert app.test_client().get("/", headers=soon.headers).status_code == 200
    assert [name for name, _, _ in told] == ["accepted", "expiring", "accepted", "accepted"]
    _, sender, sent = told[1]
    assert sender is app
    assert (sent["identity"].name, sent["days_left"]) == ("fabrikam", 9)


def test_the_days_are_a_setting(authority: CertificateAuthority, told: Told) -> None:
    """ARRCERT_EXPIRY_WARNING_DAYS = 0 reports nothing."""
    soon = authority.issue("soon", not_after=datetime.now(UTC) + timedelta(days=9.5))
    pins = {"fingerprints": [soon.certificate.sha256_fingerprint]}
    app = app_of({"ARRCERT": {"default": pins}}, ARRCERT_EXPIRY_WARNING_DAYS=0)
    assert app.test_client().get("/", headers=soon.headers).status_code == 200
    assert [name for name, _, _ in told] == ["accepted"]


def test_a_failing_receiver_changes_nothing(
    config: dict[str, Any], alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in a receiver is logged, and the request goes on."""

    def fail(sender: Flask, **_: Any) -> None:
        raise LookupError("a receiver that fails")

    app = app_of(config)
    with certificate_accepted.connected_to(fail, app):
        assert app.test_client().get("/", headers=alice.headers).status_code == 200
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "a receiver of certificate_accepted failed; the request goes on"
