"""The code of docs/flask.md works."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import flask_admin
import pytest
from flask import Blueprint, Flask, request
from flask.views import MethodView
from flask_sock import Sock
from flask_socketio import SocketIO

import arrcert_flask
from arrcert.testing import IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "flask.md").read_text(encoding="utf-8")


def run(containing: str, **names: Any) -> dict[str, Any]:
    """Run the one block of the guide that contains a text, and return its names."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    [code] = [block for block in blocks if containing in block]
    held = {name: getattr(arrcert_flask, name) for name in arrcert_flask.__all__} | names
    exec(compile(code, "docs/flask.md", "exec"), held)
    return held


def statuses(app: Flask, path: str, *clients: IssuedCertificate | None, **kwargs: Any) -> list[int]:
    """Return the status code that each client gets."""
    headers = [client.headers if client else {} for client in clients]
    return [app.test_client().open(path, headers=h, **kwargs).status_code for h in headers]


def test_view(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """A view with a policy accepts only the clients of that policy."""
    run("def partners", app=app)
    assert statuses(app, "/partners", None, alice, bob) == [403, 403, 200]
    assert statuses(app, "/partners", None, method="OPTIONS") == [403]


def test_blueprint(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The hook of a blueprint protects all of its views, and no other view."""
    blueprint = run("bp.before_request", Blueprint=Blueprint, __name__=__name__)["bp"]
    blueprint.add_url_rule("/", "list", lambda: "the list")
    app.register_blueprint(blueprint)
    app.add_url_rule("/open", "open", lambda: "open")
    assert statuses(app, "/partners/", None, alice, bob) == [403, 403, 200]
    assert statuses(app, "/open", None) == [200]


def test_class_based_view(app: Flask, alice: IssuedCertificate) -> None:
    """The decorator in a class's list protects each of its methods."""
    view = run("class Report", MethodView=MethodView)["Report"]
    app.add_url_rule("/report", view_func=view.as_view("report"))
    assert statuses(app, "/report", None, alice) == [403, 200]


def test_whole_app(config: dict[str, Any], alice: IssuedCertificate) -> None:
    """The lines protect every path, except the exempt path and the exempt view."""
    app = Flask(__name__)
    app.config.update(config)
    run('config["ARRCERT_PROTECT_ALL"] = True', app=app)
    app.add_url_rule("/health", "health", lambda: "ok")
    app.add_url_rule("/other", "other", lambda: "other")
    assert statuses(app, "/other", None, alice) == [403, 200]
    assert statuses(app, "/unknown", None, alice) == [403, 404]
    assert statuses(app, "/health", None) == [200]
    assert statuses(app, "/public", None) == [200]


def test_signal(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The receiver gets the reason of each denial."""
    held = run("connect_via(app)", app=app)
    run("def partners", app=app)
    with caplog.at_level("INFO", logger=app.logger.name):
        assert statuses(app, "/partners", None) == [403]
    assert "denied: missing" in caplog.messages
    assert held["count_denials"]


def test_middleware_around_the_app(protected_app: Flask, alice: IssuedCertificate) -> None:
    """The guide's lines put the middleware around the app, and it has no exempt paths."""
    run("app.wsgi_app = ClientCertificateMiddleware", app=protected_app)
    assert statuses(protected_app, "/", None, alice) == [403, 404]
    assert statuses(protected_app, "/health", None, alice) == [403, 404]


def test_admin(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The front page of the admin accepts only the clients that the policy accepts."""
    app.secret_key = "x"
    held = run(
        "AdminIndexView",
        AdminIndexView=flask_admin.AdminIndexView,
        authorize_request=lambda _: arrcert_flask.authorize_request("partners"),
    )
    flask_admin.Admin(app, index_view=held["AdminIndex"]())
    assert statuses(app, "/admin/", None, alice, bob) == [403, 403, 200]


def test_server_of_socket_io(
    config: dict[str, Any], alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is inside the middleware, offers no long polling, and is no error in the log."""
    app = Flask(__name__)
    app.config.update(config, SECRET_KEY="x")
    arrcert_flask.Arrcert(app)
    run("SocketIO(app", app=app, SocketIO=functools.partial(SocketIO, async_mode="threading"))
    authorizer = arrcert_flask.authorizer_of(app)
    app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer)  # type: ignore[method-assign]
    assert statuses(app, "/socket.io/?EIO=4&transport=polling", None, alice) == [403, 400]
    assert "offers long polling" not in caplog.text


def test_handler_of_socket_io(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The handler refuses a client that the policy denies, and accepts the others."""

    class Server:
        """A stand-in for Socket.IO that takes handlers."""

        def on(self, _: str) -> Any:
            return lambda handler: handler

    connect = run("socketio.on", socketio=Server())["connect"]
    for client, answer in ((alice, False), (bob, None)):
        with app.test_request_context(headers=client.headers):
            assert connect() is answer


def test_websocket_of_flask_sock(app: Flask) -> None:
    """A stranger's WebSocket handshake is denied."""
    run("sock.route", sock=Sock(app))
    assert statuses(app, "ws://localhost/ws", None) == [403]


def test_two_lines(app: Flask) -> None:
    """With the two lines, a site that handles every exception keeps the 403."""
    app.errorhandler(Exception)(lambda _: ("sorry", 500))
    app.add_url_rule("/x", "x", arrcert_flask.authorize_certificate(lambda: ""))
    run("register_error_handler", app=app)
    assert statuses(app, "/x", None) == [403]


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("application/json, text/plain;q=0.5", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("*/*", False),
        (None, False),
    ],
)
def test_json_handler(app: Flask, accept: str | None, is_json: bool) -> None:
    """A client that asks for JSON gets a JSON error, and every other client gets the page."""
    run("best_match", app=app, request=request)
    app.add_url_rule("/x", "x", arrcert_flask.authorize_certificate(lambda: ""))
    headers = {} if accept is None else {"Accept": accept}
    response = app.test_client().get("/x", headers=headers)
    assert response.status_code == 403
    assert response.is_json is is_json
    if is_json:
        assert response.json == {"detail": "Forbidden"}


ORIGIN = "https://pages.example"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}


def cors_app(config: dict[str, Any], *, answers_preflights: bool) -> Flask:
    """Return an app with the lines of the guide."""
    [class_of_browsers] = [
        block
        for block in re.findall(
            r"```python\n(.*?)```", (DOCS / "browsers.md").read_text(), re.DOTALL
        )
        if "class AnswerPreflights" in block
    ]
    held: dict[str, Any] = {}
    # The page on browsers adds CORS headers to the app's own answers. Flask-CORS does that here.
    exec(class_of_browsers.split("@app.after_request")[0], held)
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_ALL=True)
    app.add_url_rule("/orders", "orders", lambda: "changed", methods=["PUT"])
    wrap = held["AnswerPreflights"] if answers_preflights else lambda wsgi_app: wsgi_app
    run("flask_cors", app=app, AnswerPreflights=wrap)
    return app


def test_preflight_is_answered_before_the_check(
    config: dict[str, Any], alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """A preflight without a certificate is answered, and the request itself is checked."""
    app = cors_app(config, answers_preflights=True)
    answer = app.test_client().options("/orders", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    other = app.test_client().options(
        "/orders", headers=PREFLIGHT | {"Origin": "https://x.example"}
    )
    assert other.status_code == 403
    assert "Access-Control-Allow-Origin" not in other.headers
    # An OPTIONS request that is not a preflight is checked.
    assert app.test_client().options("/orders", headers={"Origin": ORIGIN}).status_code == 403

    from_page = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
    for client, status in ((None, 403), (impostor, 403), (alice, 200)):
        sent = from_page | (client.headers if client else {})
        answer = app.test_client().put("/orders", headers=sent)
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    sent = from_page | alice.headers | {"Origin": "https://x.example"}
    assert app.test_client().put("/orders", headers=sent).status_code == 403


def test_flask_cors_alone_does_not_help(config: dict[str, Any]) -> None:
    """With Flask-CORS alone the preflight is a 403, because Flask itself answers it."""
    app = cors_app(config, answers_preflights=False)
    answer = app.test_client().options("/orders", headers=PREFLIGHT)
    assert answer.status_code == 403
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
