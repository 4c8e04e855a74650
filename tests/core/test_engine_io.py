"""Servers of Socket.IO and Engine.IO inside an app that offer long polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.local import LocalProxy
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from arrcert import Authorizer, Policy
from arrcert.asgi import ClientCertificateMiddleware as ASGIMiddleware
from arrcert.engine_io import log_polling
from arrcert.routes import Effect
from arrcert.surroundings import describe
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware

socketio = pytest.importorskip(
    "socketio", reason="python-socketio is missing: pip install --group test"
)
engineio = pytest.importorskip(
    "engineio", reason="python-engineio is missing: pip install --group test"
)

AUTHORIZER = Authorizer({"default": Policy(fingerprints=["00" * 32])})
PURE = {"transports": ["websocket"]}


def wsgi_app(environ: Any, start_response: Any) -> Any:
    """Answer nothing."""
    start_response("204 No Content", [])
    return []


def around(app: Any) -> Any:
    """Return a layer that is a function."""

    def layer(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    return layer


class Router:
    """A router as Starlette and Channels have it.

    Args:
        attributes: its attributes.
    """

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def on_wsgi(**options: Any) -> Any:
    """Return an app with Socket.IO on WSGI."""
    return socketio.WSGIApp(socketio.Server(async_mode="threading", **options), wsgi_app)


def on_asgi(**options: Any) -> Any:
    """Return an app with Socket.IO on ASGI."""
    return socketio.ASGIApp(socketio.AsyncServer(async_mode="asgi", **options))


APPS: dict[str, Callable[..., Any]] = {
    "Socket.IO on WSGI": on_wsgi,
    "Socket.IO on ASGI": on_asgi,
    "Engine.IO on WSGI": lambda **options: engineio.WSGIApp(
        engineio.Server(async_mode="threading", **options)
    ),
    "Engine.IO on ASGI": lambda **options: engineio.ASGIApp(
        engineio.AsyncServer(async_mode="asgi", **options)
    ),
    "in a function": lambda **options: around(on_wsgi(**options)),
    "in a dispatcher": lambda **options: DispatcherMiddleware(
        wsgi_app, {"/chat": on_wsgi(**options)}
    ),
    "in a mount": lambda **options: Router(routes=[Router(app=on_asgi(**options))]),
    "in a route of Channels": lambda **options: Router(
        application_mapping={"http": Router(routes=[Router(callback=on_asgi(**options))])}
    ),
}


@pytest.mark.parametrize("name", APPS)
def test_long_polling_is_an_error_in_the_log(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that offers long polling is one ERROR that says what to write."""
    app = APPS[name]()
    for _ in range(2):
        log_polling(app)
    [record] = caplog.records
    assert (record.levelname, record.name) == ("ERROR", "arrcert")
    assert "offers long polling" in record.getMessage()
    assert 'write transports=["websocket"]' in record.getMessage()


@pytest.mark.parametrize("name", APPS)
def test_websockets_alone_are_no_error(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that offers WebSockets alone is not reported, and neither are other apps."""
    log_polling(APPS[name](transports=["websocket"]))
    log_polling(APPS[name](transports="websocket"))
    log_polling(wsgi_app)
    assert caplog.records == []


def test_server_of_an_old_version(caplog: pytest.LogCaptureFixture) -> None:
    """A server that has no list of transports offers long polling."""
    app = on_wsgi()
    del app.engineio_app.eio.transports
    log_polling(app)
    assert len(caplog.records) == 1


def test_search_ends(caplog: pytest.LogCaptureFixture) -> None:
    """The search ends at layers that it has seen, and passes by a proxy that raises."""
    proxy = LocalProxy(lambda: 1 / 0)
    router = Router(routes=[proxy])
    router.routes.append(router)
    log_polling(router)
    assert caplog.records == []


def test_wsgi_middleware_reports_what_is_inside(caplog: pytest.LogCaptureFixture) -> None:
    """The WSGI middleware reports long polling inside it at the first request."""
    app = WSGIMiddleware(on_wsgi(), AUTHORIZER)
    assert caplog.records == []
    for _ in range(2):
        list(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: print))
    assert caplog.text.count("offers long polling") == 1


@pytest.mark.parametrize("kind", ["lifespan", "http"])
def test_asgi_middleware_reports_what_is_inside(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The ASGI middleware reports long polling inside it at the start or at the first request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Answer nothing."""

    app.__dict__["routes"] = [on_asgi()]
    guarded = ASGIMiddleware(app, AUTHORIZER)

    async def nothing(*_: Any) -> Any:
        return {}

    for _ in range(2):
        scope = {"type": kind, "method": "GET", "path": "/", "headers": []}
        asyncio.run(guarded(scope, nothing, nothing))
    assert caplog.text.count("offers long polling") == 1


def test_route_audit_says_it() -> None:
    """The route audit says at a layer that it offers long polling, and what to write."""
    for options, is_told in ((), True), (("websocket",), False):
        app = on_wsgi(transports=list(options) or None)
        behind = describe("WSGI", app, is_behind=True)
        assert behind.effect is Effect.BEHIND
        answers = describe("WSGI", app, is_behind=False)
        assert answers.effect is Effect.ANSWERS
        for layer in (behind, answers):
            assert ('write transports=["websocket"]' in layer.meaning) is is_told
