"""WebSockets of Channels that reach a consumer without a check."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import WebsocketCommunicator
from django.core.asgi import get_asgi_application
from django.core.checks import Tags, run_checks
from django.http import HttpRequest, HttpResponse
from django.urls import path

from arrcert.asgi import ClientCertificateMiddleware
from arrcert.routes import Verdict
from arrcert.testing import IssuedCertificate
from arrcert_django.authorization import current_authorizer
from arrcert_django.routes import report
from arrcert_django.websockets import problem_of_websockets


def _index(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.fixture
def asgi(site: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that builds the site with an ASGI application."""

    def build(application: object, **options: Any) -> None:
        module = ModuleType("asgi_of_the_test")
        module.application = application
        monkeypatch.setitem(sys.modules, module.__name__, module)
        site(path("", _index), **options)
        settings.ASGI_APPLICATION = f"{module.__name__}.application"

    return build


def router(*, is_guarded: bool = False) -> Any:
    """Return the routers that the documentation of Channels shows."""
    consumer = WebsocketConsumer.as_asgi()
    sockets: Any = AllowedHostsOriginValidator(URLRouter([path("ws/chat", consumer)]))
    if is_guarded:
        sockets = ClientCertificateMiddleware(sockets, current_authorizer, policy=None)
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})


def errors() -> list[str]:
    """Return what the system check reports."""
    return [
        message.msg for message in run_checks(tags=[Tags.security]) if message.id == "arrcert.E006"
    ]


@pytest.mark.parametrize(
    ("url", "root_path", "is_open"),
    [
        ("/public/news", "", True),
        ("/app/public/news", "/app", True),
        ("/admin/ws", "", False),
        ("/public/xadmin/ws", "/public/x", False),
        ("/public/x/admin/ws", "/public/x", False),
        ("/public/admin/ws", "/public/", False),
    ],
)
def test_exempt_paths_of_channels(site: Any, url: str, root_path: str, is_open: bool) -> None:
    """Daphne takes the root path from a header; no value of it opens a socket that is closed."""
    site()
    reached: list[str] = []

    class Consumer(WebsocketConsumer):
        def connect(self) -> None:
            reached.append(self.scope["path"])
            self.accept()

    sockets: Any = URLRouter(
        [path("public/news", Consumer.as_asgi()), path("admin/ws", Consumer.as_asgi())]
    )
    guarded = ClientCertificateMiddleware(sockets, current_authorizer, exempt_paths=["/public/*"])

    async def connect() -> None:
        communicator = WebsocketCommunicator(guarded, url)
        communicator.scope |= {"root_path": root_path, "scheme": "wss"}
        with suppress(ValueError):  # No route.
            await communicator.connect()
        await communicator.disconnect()

    asyncio.run(connect())
    assert reached == [url] * is_open


def test_open_websockets_are_an_error(asgi: Any) -> None:
    """Open WebSockets are an error that shows the lines to write, with `policy=None` if needed."""
    asgi(router())
    [error] = errors()
    assert "`from arrcert.asgi import ClientCertificateMiddleware`" in error
    assert "`from arrcert_django.authorization import current_authorizer`" in error
    assert (
        '`"websocket": ClientCertificateMiddleware(<the app there now>, current_authorizer,'
        " policy=None)`" in error
    )


def test_the_lines_of_the_error_close_the_websockets(asgi: Any) -> None:
    """Inside the middleware that the error shows, WebSockets are no error."""
    asgi(router(is_guarded=True))
    assert errors() == []
    asgi(ClientCertificateMiddleware(router(), current_authorizer, policy=None))
    assert errors() == []


def test_another_asgi_app(asgi: Any, settings: Any, allowed: IssuedCertificate) -> None:
    """The remedy for an unknown app puts the middleware around all of it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    asgi(application)
    fingerprint = allowed.certificate.sha256_fingerprint
    settings.ARRCERT = {"default": {"fingerprints": [fingerprint]}}
    assert (
        "`application = ClientCertificateMiddleware(application, current_authorizer)`"
        in errors()[0]
    )
    settings.ARRCERT = {"default": {}}
    assert len(errors()) == 1


def test_no_error_without_open_websockets(
    asgi: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django alone, and a site without site-wide protection, give no error."""
    asgi(get_asgi_application())
    assert errors() == []
    settings.ASGI_APPLICATION = "no_such_module.application"
    assert errors() == []
    settings.ASGI_APPLICATION = None
    assert errors() == []
    asgi(router(), middleware=[])
    assert errors() == []
    settings.ARRCERT = {"default": {}}
    assert errors() == []
    asgi(router())
    settings.ARRCERT_PROTECT_ALL = True
    monkeypatch.setattr("arrcert_django.websockets.find_spec", lambda name: None)
    assert problem_of_websockets() is None


def test_websockets_in_the_route_audit(asgi: Any) -> None:
    """Each WebSocket has a row, and the check around it decides."""
    for is_guarded, verdict in ((False, Verdict.OPEN), (True, Verdict.PROTECTED)):
        asgi(router(is_guarded=is_guarded))
        [row] = [row for row in report().routes if row.path == "/ws/chat"]
        assert row.decision.verdict is verdict
        assert row.view == "channels.generic.websocket.WebsocketConsumer"


def test_first_request_logs_open_websockets(
    asgi: Any, visit: Any, allowed: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The first HTTP request writes one ERROR about open WebSockets, and is served."""
    asgi(router())
    for _ in range(2):
        assert visit("/", allowed).status_code == 200
    found = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in found] == ["arrcert"]
    assert "answers WebSockets that are not checked" in found[0].getMessage()


def test_first_request_logs_nothing_about_guarded_websockets(
    asgi: Any, visit: Any, allowed: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The first request logs nothing if the middleware protects the WebSockets."""
    asgi(router(is_guarded=True))
    assert visit("/", allowed).status_code == 200
    assert caplog.records == []


def test_page_of_channels(
    monkeypatch: pytest.MonkeyPatch, allowed: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """The code of docs/channels.md passes the client on, and closes a stranger's WebSocket."""
    page = (Path(__file__).parents[2] / "docs" / "channels.md").read_text(encoding="utf-8")
    asgi_module, consumer = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"__name__": "consumers"}
    exec(consumer, names)
    routing = ModuleType("shop.routing")
    urlpatterns = [path("ws/orders", names["Orders"].as_asgi())]
    routing.websocket_urlpatterns = urlpatterns
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.routing", routing)
    exec(asgi_module, names)

    async def first_message(headers: dict[str, str]) -> str | None:
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "websocket", "path": "/ws/orders", "query_string": b"", "headers": pairs}
        socket = ApplicationCommunicator(names["application"], scope)
        await socket.send_input({"type": "websocket.connect"})
        answer = await socket.receive_output(10)
        if answer["type"] != "websocket.accept":
            return None
        said: str = (await socket.receive_output(10))["text"]
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(10)
        return said

    assert asyncio.run(first_message(allowed.headers)) == "hello client"
    assert asyncio.run(first_message(stranger.headers)) is None
    assert asyncio.run(first_message({})) is None
