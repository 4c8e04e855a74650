"""The code of docs/flask.md works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import flask_admin
import pytest
from flask import Flask, request
from flask_sock import Sock

import arrcert_flask
from arrcert.testing import IssuedCertificate

GUIDE = (Path(__file__).parents[2] / "docs" / "flask.md").read_text(encoding="utf-8")


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


def test_middleware_around_the_app(protected_app: Flask, alice: IssuedCertificate) -> None:
    """The lines of the guide put the middleware around the app; it knows no exempt paths."""
    run("app.wsgi_app =", app=protected_app)
    assert statuses(protected_app, "/", None, alice) == [403, 404]
    assert statuses(protected_app, "/health", None, alice) == [403, 404]


def test_admin(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The front page of the admin is for whoever the policy admits."""
    app.secret_key = "x"
    held = run(
        "AdminIndexView",
        AdminIndexView=flask_admin.AdminIndexView,
        authorize_request=lambda _: arrcert_flask.authorize_request("partners"),
    )
    flask_admin.Admin(app, index_view=held["AdminIndex"]())
    assert statuses(app, "/admin/", None, alice, bob) == [403, 403, 200]


def test_handler_of_socket_io(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The handler refuses whoever the policy denies, and admits the others."""

    class Server:
        """Takes handlers as Socket.IO does."""

        def on(self, _: str) -> Any:
            return lambda handler: handler

    connect = run("socketio.on", socketio=Server())["connect"]
    for client, answer in ((alice, False), (bob, None)):
        with app.test_request_context(headers=client.headers):
            assert connect() is answer


def test_websocket_of_flask_sock(app: Flask) -> None:
    """A stranger does not get a handshake."""
    run("sock.route", sock=Sock(app))
    assert statuses(app, "ws://localhost/ws", None) == [403]


def test_two_lines(app: Flask) -> None:
    """A site that handles every exception keeps the 403."""
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
    """A client that asks for JSON gets JSON, and every other client the page."""
    run("best_match", app=app, request=request)
    app.add_url_rule("/x", "x", arrcert_flask.authorize_certificate(lambda: ""))
    headers = {} if accept is None else {"Accept": accept}
    response = app.test_client().get("/x", headers=headers)
    assert response.status_code == 403
    assert response.is_json is is_json
    if is_json:
        assert response.json == {"detail": "Forbidden"}
