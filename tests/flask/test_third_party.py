"""Extensions of Flask that bring their own routes, decorators and WebSockets."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from flask import Flask, request
from flask.views import MethodView
from flask_admin import Admin, AdminIndexView, BaseView, expose
from flask_openapi3 import OpenAPI
from flask_smorest import Api, Blueprint
from flask_sock import Sock
from flask_socketio import SocketIO

from arrcert import ConfigurationError
from arrcert.asgi import ClientCertificateMiddleware as ASGIMiddleware
from arrcert.testing import IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware
from arrcert_flask import (
    Arrcert,
    ClientCertificateForbidden,
    authorize_certificate,
    authorize_request,
    authorizer_of,
    get_client_identity,
)


def statuses(app: Flask, path: str, *clients: IssuedCertificate | None, **kwargs: Any) -> list[int]:
    """Return the status code that each client gets."""
    headers = [client.headers if client else {} for client in clients]
    return [app.test_client().open(path, headers=h, **kwargs).status_code for h in headers]


# flask-sock. --------------------------------------------------------------------------------------


def test_decorator_above_a_route_of_flask_sock_is_an_error_at_import(app: Flask) -> None:
    """A decorator above a route of flask-sock is an error, because that route returns None."""
    sock = Sock(app)
    with pytest.raises(TypeError, match="decorates a view, not None"):

        @authorize_certificate
        @sock.route("/ws")
        def lost(_: Any) -> None:
            raise AssertionError("the bare view ran")


def test_websocket_of_flask_sock_is_denied_before_its_handshake(
    app: Flask, protected_app: Flask, alice: IssuedCertificate
) -> None:
    """A stranger's handshake is denied for a decorated handler, and in a protected app."""
    for site in (app, protected_app):
        sock = Sock(site)

        def view(_: Any) -> None:
            """Do nothing."""

        sock.route("/ws")(authorize_certificate(view) if site is app else view)
        # The handshake fails after the check, because the test client offers no socket.
        assert statuses(site, "ws://localhost/ws", None) == [403]
        with pytest.raises(RuntimeError, match="Cannot obtain socket"):
            statuses(site, "ws://localhost/ws", alice)


# Flask-SocketIO. ----------------------------------------------------------------------------------


class Chat:
    """A Socket.IO server in an app.

    Args:
        app: the app.
        policy: the policy that `connect` asks for, None for none.
        transports: what the server offers, None for long polling and WebSockets.
    """

    def __init__(
        self, app: Flask, policy: str | None = None, transports: list[str] | None = None
    ) -> None:
        self._app = app
        self.received: list[str] = []
        server = SocketIO(app, async_mode="threading", transports=transports)

        @server.on("connect")
        def connect(_: object = None) -> bool:
            try:
                return policy is None or bool(authorize_request(policy))
            except ClientCertificateForbidden:
                return False

        @server.on("hello")
        def hello(text: str) -> None:
            self.received.append(text)

    def says_hello(self, client: IssuedCertificate | None) -> int:
        """Connect by long polling, send an event, and return the status of the handshake."""
        headers = client.headers if client else {}
        path = "/socket.io/?EIO=4&transport=polling"
        handshake = self._app.test_client().get(path, headers=headers)
        if handshake.status_code == 200:
            session = f"{path}&sid={json.loads(handshake.text[1:])['sid']}"
            for packet in (b"40", b'42["hello","text"]'):
                self._app.test_client().post(session, data=packet, headers=headers)
                time.sleep(0.1)
        return handshake.status_code


def test_socket_io_without_a_middleware_is_refused(
    protected_app: Flask, alice: IssuedCertificate
) -> None:
    """Socket.IO answers around the app, so the first request and then Socket.IO are refused."""
    protected_app.secret_key = "x"
    chat = Chat(protected_app)
    with pytest.raises(
        ConfigurationError, match=r"flask_socketio\._SocketIOMiddleware .*write after it"
    ):
        statuses(protected_app, "/", alice)
    with pytest.raises(ConfigurationError):
        chat.says_hello(None)
    assert chat.received == []


def test_socket_io_inside_the_middleware(
    protected_app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """Inside the middleware a stranger gets the 403, and a handler can check a policy."""
    protected_app.secret_key = "x"
    chat = Chat(protected_app, "partners")
    protected_app.wsgi_app = ClientCertificateMiddleware(
        protected_app.wsgi_app, authorizer_of(protected_app), policy=None
    )
    assert chat.says_hello(None) == 403
    assert chat.says_hello(alice) == 200
    assert chat.received == []
    assert chat.says_hello(bob) == 200
    assert chat.received == ["text"]
    assert statuses(protected_app, "/", alice, bob) == [404, 403]


def test_long_polling_of_socket_io_is_an_error_in_the_log(
    config: dict[str, Any], alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A server with long polling is one ERROR, inside the middleware and in an app without it.

    Every client with an accepted certificate that knows a session's id would act in it.
    """
    for has_middleware in (True, False):
        for transports, told in ((None, 1), (["websocket"], 0)):
            caplog.clear()
            app = Flask(__name__)
            app.config.update(config, ARRCERT_PROTECT_ALL=has_middleware, SECRET_KEY="x")
            Arrcert(app)
            chat = Chat(app, transports=transports)
            if has_middleware:
                app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app))
            for _ in range(2):
                assert statuses(app, "/", alice) == [404]
            assert caplog.text.count('write transports=["websocket"]') == told
            assert chat.says_hello(alice) == (400 if transports else 200)


# Flask-Admin. -------------------------------------------------------------------------------------


class Index(AdminIndexView):
    """The front page of the admin, for alice."""

    def is_accessible(self) -> bool:
        """Check whether the client is accepted."""
        return bool(authorize_request())


class Partners(BaseView):
    """A page of the admin, for bob."""

    @expose("/")
    def index(self) -> str:
        """Answer with the name of the client."""
        identity = get_client_identity()
        return identity.policy if identity else "nobody"

    def is_accessible(self) -> Any:
        """Check whether the client is accepted. The identity is true in a condition."""
        return authorize_request("partners")


def test_is_accessible_of_flask_admin(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """`authorize_request` in `is_accessible` decides under the policy of its argument."""
    app.secret_key = "x"
    admin = Admin(app, index_view=Index())
    admin.add_view(Partners(endpoint="partners"))
    assert statuses(app, "/admin/partners/", None, alice, bob) == [403, 403, 200]
    assert app.test_client().get("/admin/partners/", headers=bob.headers).text == "partners"
    assert statuses(app, "/admin/", None, bob) == [403, 403]


# flask-smorest. -----------------------------------------------------------------------------------


def test_views_of_flask_smorest(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """Methods keep their decorators in either order, and undecorated methods stay open."""
    app.config.update(API_TITLE="x", API_VERSION="1", OPENAPI_VERSION="3.0.2")
    pets = Blueprint("pets", "pets")

    @pets.route("/pets")
    class Pets(MethodView):
        @pets.response(200)
        @authorize_certificate
        def get(self) -> dict[str, str]:
            return {}

        @authorize_certificate(policy="partners")
        @pets.response(200)
        def post(self) -> dict[str, str]:
            return {}

        def put(self) -> dict[str, str]:
            return {}

    Api(app).register_blueprint(pets)
    clients = (None, alice, bob)
    assert statuses(app, "/pets", *clients) == [403, 200, 403]
    assert statuses(app, "/pets", *clients, method="POST") == [403, 403, 200]
    assert statuses(app, "/pets", *clients, method="PUT") == [200, 200, 200]


def test_decorator_above_a_route_of_flask_smorest_is_refused(app: Flask) -> None:
    """A decorator above a route of flask-smorest is found, although the route wraps the view."""
    app.config.update(API_TITLE="x", API_VERSION="1", OPENAPI_VERSION="3.0.2")
    pets = Blueprint("pets", "pets")

    @authorize_certificate
    @pets.route("/lost")
    @pets.response(200)
    def lost() -> dict[str, str]:
        raise AssertionError("the bare view ran")

    Api(app).register_blueprint(pets)
    with pytest.raises(
        ConfigurationError, match=r"endpoint 'pets\.lost'.*write the decorator below"
    ):
        statuses(app, "/lost", None)


# flask-openapi3. ----------------------------------------------------------------------------------


def test_decorator_above_a_route_of_flask_openapi3_is_refused(
    config: dict[str, Any], alice: IssuedCertificate
) -> None:
    """A decorator above a route of flask-openapi3 is found, although the route wraps the view."""
    lost_app, kept_app = (OpenAPI(__name__) for _ in range(2))
    for app in (lost_app, kept_app):
        app.config.update(config)
        Arrcert(app)

    @authorize_certificate
    @lost_app.get("/x")
    def lost() -> str:
        raise AssertionError("the bare view ran")

    @kept_app.get("/x")
    @authorize_certificate
    def kept() -> str:
        return ""

    with pytest.raises(ConfigurationError, match=r"endpoint 'lost'.*write the decorator below"):
        statuses(lost_app, "/x", alice)
    assert statuses(kept_app, "/x", None, alice) == [403, 200]


# Connexion. ---------------------------------------------------------------------------------------

SPECIFICATION = {
    "openapi": "3.0.0",
    "info": {"title": "x", "version": "1"},
    "paths": {
        path: {"get": {"operationId": path[1:], "responses": {"200": {"description": "x"}}}}
        for path in ("/default", "/partners", "/health")
    },
}


def who() -> str:
    """Return the policy that accepted the client, and the identity from the ASGI middleware."""
    identity, found = get_client_identity(), request.environ["asgi.scope"].get("arrcert.identity")
    return f"{identity.policy if identity else None} {found.policy if found else None}"


def in_connexion(config: dict[str, Any]) -> Any:
    """Return a Connexion app with an operation for each policy, protected as a whole."""
    connexion = pytest.importorskip("connexion", reason="run: pip install --group apps")
    from connexion.resolver import Resolver

    views = {
        "default": who,
        "health": lambda: who(),
        "partners": authorize_certificate(policy="partners")(who),
    }
    app = connexion.FlaskApp("site")
    app.app.config.update(config, TESTING=False, ARRCERT_PROTECT_ALL=True)
    app.app.config["ARRCERT_EXEMPT_PATHS"] = ["/health"]
    Arrcert(app.app)
    app.add_api(SPECIFICATION, resolver=Resolver(views.__getitem__))
    return app


def answers(app: Any, path: str, *clients: IssuedCertificate | None) -> list[Any]:
    """Return the answer to each client: its status, or the text of a 200."""
    import asyncio

    import httpx

    async def ask() -> list[Any]:
        found = []
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://site") as client:
            for certificate in clients:
                headers = certificate.headers if certificate else {}
                response = await client.get(path, headers=headers)
                is_ok = response.status_code == 200
                found.append(response.json() if is_ok else response.status_code)
        return found

    return asyncio.run(ask())


def test_connexion_without_the_middleware_is_refused(
    config: dict[str, Any], alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Connexion answers around Flask, so the first request is an error that says what to write."""
    app = in_connexion(config)
    assert answers(app, "/default", alice) == [500]
    assert "the ASGI app around Flask: Connexion itself answers requests" in caplog.text
    assert "ClientCertificateMiddleware(asgi_app, authorizer_of(flask_app), policy=None)" in (
        caplog.text
    )


def test_connexion_inside_the_middleware(
    config: dict[str, Any], alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """Inside the ASGI middleware every path of Connexion is protected, and Flask's checks apply."""
    app = in_connexion(config)
    guarded = ASGIMiddleware(app, authorizer_of(app.app), policy=None, exempt_paths=["/health"])
    clients = (None, alice, bob)
    assert answers(guarded, "/default", *clients) == [403, "default default", 403]
    assert answers(guarded, "/partners", *clients) == [403, 403, "partners partners"]
    assert answers(guarded, "/health", None) == ["None None"]
    assert answers(guarded, "/openapi.json", None) == [403]
    assert answers(guarded, "/unknown", None, alice) == [403, 404]
