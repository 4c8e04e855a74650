"""The identity of a request in a Flask app, and the roles that its views require."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Blueprint, Flask, abort
from flask.views import MethodView

from arrcert import DenialReason
from arrcert.testing import IssuedCertificate
from arrcert_flask import (
    Arrcert,
    ClientCertificateForbidden,
    authorize_certificate,
    authorize_request,
    certificate_denied,
    get_client_identity,
    require_client_certificate,
)


@pytest.fixture
def app(alice: IssuedCertificate, bob: IssuedCertificate) -> Flask:
    """An app that accepts both clients. alice has the role `admin` as well as the common role."""
    app = Flask(__name__)
    app.config.update(
        TESTING=True,
        ARRCERT_PROTECT_ALL=True,
        ARRCERT={
            "default": {
                "fingerprints": [
                    {
                        "fingerprint": alice.certificate.sha256_fingerprint,
                        "identity": "alice",
                        "roles": ["admin"],
                        "note": "laptop",
                    },
                    bob.certificate.sha256_fingerprint,
                ],
                "identity": "user:{common_name}",
                "roles": ["orders"],
            }
        },
    )
    Arrcert(app)
    return app


def who() -> str:
    """Return the name and roles of the accepted client."""
    identity = get_client_identity()
    if identity is None:
        return "nobody"
    return f"{identity.name} {sorted(identity.roles)} {identity.note}"


def answers(app: Flask, path: str, *clients: IssuedCertificate | None, method: str = "GET") -> Any:
    """Return the text that each client gets, or the status code of an error."""
    found = []
    for client in clients:
        response = app.test_client().open(
            path, method=method, headers=client.headers if client else {}
        )
        found.append(response.text if response.status_code == 200 else response.status_code)
    return found


def test_view_reads_who_entered(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """The identity is the pin's or else the policy's, and the roles of both are added."""
    app.get("/")(who)
    assert answers(app, "/", alice, bob, None) == [
        "alice ['admin', 'orders'] laptop",
        "user:bob ['orders'] None",
        403,
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_decorator_asks_for_a_role(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate, method: str
) -> None:
    """A client without the role is denied before any code of the site runs, for every method."""
    seen: list[str] = []

    @app.before_request
    def note() -> None:
        seen.append("hook")

    @app.route("/", methods=["GET", "POST"])
    @authorize_certificate(role="admin")
    def view() -> str:
        return ""

    assert answers(app, "/", alice, bob, None, method=method) == ["", 403, 403]
    assert seen == ["hook"]


def test_hook_method_and_async_view_ask_for_a_role(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """A blueprint's hook, a method of a class and an async view require their roles."""
    blueprint = Blueprint("bp", __name__)
    blueprint.before_request(require_client_certificate(role="admin"))
    blueprint.get("/hook")(who)
    app.register_blueprint(blueprint)

    class Page(MethodView):
        @authorize_certificate(role="admin")
        def get(self) -> str:
            return who()

    app.add_url_rule("/method", view_func=Page.as_view("page"))

    @app.get("/async")
    @authorize_certificate(role="admin")
    async def view() -> str:
        return who()

    for path in ("/hook", "/method", "/async"):
        assert answers(app, path, alice, bob) == ["alice ['admin', 'orders'] laptop", 403], path


@pytest.mark.parametrize("roles", [("admin", "orders"), ("orders", "admin")])
def test_each_decorator_asks_for_its_own_role(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate, roles: tuple[str, str]
) -> None:
    """Two decorators both apply, in either order, each with its own role."""

    def shown() -> str:
        return "in"

    view: Any = shown
    for role in roles:
        view = authorize_certificate(role=role)(view)
    app.add_url_rule("/", "view", view)
    assert answers(app, "/", alice, bob) == ["in", 403]


def test_role_is_asked_for_inside_a_view(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """`authorize_request` returns the identity, and a denial keeps the earlier identity."""

    @app.get("/")
    def view() -> str:
        try:
            return f"{authorize_request(role='admin').name} may"
        except ClientCertificateForbidden:
            return f"{who()} may not"

    assert answers(app, "/", alice, bob) == ["alice may", "user:bob ['orders'] None may not"]


def test_denial_for_a_role_is_logged_and_signalled_once(
    app: Flask, bob: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A denial for a role is one record, with the client and the role, and one signal."""
    app.get("/")(authorize_certificate(role="admin")(who))
    reasons = []

    def receive(sender: Flask, *, reason: DenialReason, **_: Any) -> None:
        reasons.append(reason)

    with certificate_denied.connected_to(receive), caplog.at_level(logging.WARNING, "arrcert"):
        assert answers(app, "/", bob) == [403]
    assert reasons == [DenialReason.ROLE_NOT_GRANTED]
    [record] = caplog.records
    assert vars(record)["arrcert_identity"] == "user:bob"
    assert "GET /" in record.getMessage()
    assert "not 'admin'" in record.getMessage()


@pytest.mark.parametrize("role", ["", 7, ["admin"]])
def test_role_that_is_no_name_is_a_type_error(app: Flask, role: Any) -> None:
    """A role that is not a name is a TypeError where the decorator or hook is made."""
    for make in (authorize_certificate, require_client_certificate):
        with pytest.raises(TypeError, match="role is"):
            make(role=role)
    with app.test_request_context(), pytest.raises(TypeError, match="role is"):
        authorize_request(role=role)


def test_view_reads_the_roles(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """A view can read the roles of the identity and decide by itself."""

    @app.get("/")
    @authorize_certificate
    def view() -> str:
        identity = get_client_identity()
        if identity is None or "admin" not in identity.roles:
            abort(404)
        return "in"

    assert answers(app, "/", alice, bob, None) == ["in", 404, 403]
