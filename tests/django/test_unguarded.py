"""What answers requests of a Django site before arrcert's check."""

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
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import CookieMiddleware
from django.core.asgi import get_asgi_application
from django.core.checks import Tags, run_checks
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path
from werkzeug.local import LocalProxy
from werkzeug.middleware.proxy_fix import ProxyFix

from arrcert.asgi import ClientCertificateMiddleware
from arrcert.routes import Verdict
from arrcert.testing import IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware
from arrcert_django.authorization import current_authorizer
from arrcert_django.middleware import ClientCertificateMiddleware as GateMiddleware
from arrcert_django.routes import report
from arrcert_django.unguarded import problems_of_asgi


def _index(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.fixture
def asgi(site: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that builds the site with an ASGI application."""

    def build(application: object, **options: Any) -> None:
        module = ModuleType("asgi_of_the_test")
        module.application = application  # type: ignore[attr-defined]
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
        scope = {"type": "websocket", "path": url, "root_path": root_path, "headers": []}
        communicator = ApplicationCommunicator(guarded, scope)
        await communicator.send_input({"type": "websocket.connect"})
        with suppress(ValueError):  # No route.
            await communicator.receive_output()
        communicator.stop(exceptions=False)

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
    monkeypatch.setattr("arrcert_django.unguarded.find_spec", lambda name: None)
    assert len(problems_of_asgi()) == 1
    # An app that nobody has imported does not serve in this process.
    monkeypatch.delitem(sys.modules, "asgi_of_the_test")
    assert problems_of_asgi() == []


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
    routing.websocket_urlpatterns = urlpatterns  # type: ignore[attr-defined]
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


# HTTP requests. -----------------------------------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the ERRORs of arrcert in the log."""
    return [
        record.getMessage()
        for record in caplog.records
        if (record.levelname, record.name) == ("ERROR", "arrcert")
    ]


@pytest.mark.parametrize("is_guarded", [False, True])
def test_http_consumer_of_channels(
    asgi: Any,
    visit: Any,
    allowed: IssuedCertificate,
    is_guarded: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An HTTP consumer of Channels that nothing checks is an error of the check and in the log."""
    consumer = AsyncHttpConsumer.as_asgi()
    if is_guarded:
        consumer = ClientCertificateMiddleware(consumer, current_authorizer, policy=None)
    routes = [path("longpoll/", consumer), re_path("", get_asgi_application())]
    asgi(ProtocolTypeRouter({"http": URLRouter(routes)}))
    assert visit("/", allowed).status_code == 200
    assert logged(caplog) == [f"configuration: {error}" for error in errors()]
    assert len(logged(caplog)) == (0 if is_guarded else 1)
    for text in logged(caplog):
        assert "answers HTTP requests that are not checked (channels.generic.http" in text
        assert '`"http": ClientCertificateMiddleware(<the app there now>, ' in text
        assert "with the paths that are open on purpose as exempt_paths=[...]" in text


def socket_io(app: Any, kind: str) -> Any:
    """Return an app with Socket.IO around it, without long polling."""
    import socketio

    options: dict[str, Any] = {"transports": ["websocket"]}
    if kind == "wsgi":
        return socketio.WSGIApp(socketio.Server(async_mode="threading", **options), app)
    return socketio.ASGIApp(socketio.AsyncServer(async_mode="asgi", **options), app)


class Unknown:
    """A layer that arrcert does not know."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, *arguments: Any) -> Any:
        """Pass everything on."""
        return self.app(*arguments)


@pytest.fixture
def serve(asgi: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that names an app in the settings. Channels seems not to be installed."""
    monkeypatch.setattr("arrcert_django.unguarded.find_spec", lambda name: None)

    def build(kind: str, application: object, **options: Any) -> None:
        asgi(application, **options)
        settings.ASGI_APPLICATION = None
        setattr(settings, f"{kind.upper()}_APPLICATION", "asgi_of_the_test.application")

    return build


DJANGO = {"wsgi": get_wsgi_application, "asgi": get_asgi_application}
GUARDS = {"wsgi": WSGIMiddleware, "asgi": ClientCertificateMiddleware}


@pytest.mark.parametrize("kind", DJANGO)
@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda app, kind: app, None),
        (socket_io, "answers all requests and WebSockets of Socket.IO before any check"),
        (lambda app, kind: Unknown(app), "arrcert does not know test_unguarded.Unknown"),
        (lambda app, kind: GUARDS[kind](socket_io(app, kind), current_authorizer), None),
        (lambda app, kind: CookieMiddleware(app) if kind == "asgi" else ProxyFix(app), None),
    ],
    ids=["Django", "Socket.IO", "Unknown", "guarded", "passes on"],
)
def test_app_around_django_is_an_error_in_the_log(
    serve: Any,
    visit: Any,
    kind: str,
    wrap: Callable[..., Any],
    told: str | None,
    allowed: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A layer that may answer before Django is one ERROR, which names it and the remedy."""
    serve(kind, wrap(DJANGO[kind](), kind))
    for _ in range(2):
        assert visit("/", allowed).status_code == 200
    assert len(logged(caplog)) == (0 if told is None else 1)
    for text in logged(caplog):
        assert told in text.replace("tests.django.", "")
        assert f"{kind.upper()}_APPLICATION: asgi_of_the_test.application: " in text
        assert f"`from arrcert.{kind} import ClientCertificateMiddleware`" in text
        assert "`application = ClientCertificateMiddleware(application, current_authorizer" in text


@pytest.mark.parametrize("kind", DJANGO)
def test_app_in_the_usual_place(
    serve: Any,
    visit: Any,
    settings: Any,
    kind: str,
    allowed: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a setting, the module `wsgi` or `asgi` next to the URLconf is judged."""
    serve(kind, None)
    module, urls = ModuleType(f"shop.{kind}"), ModuleType("shop.urls")
    module.application = Unknown(DJANGO[kind]())  # type: ignore[attr-defined]
    urls.urlpatterns = [path("", _index)]  # type: ignore[attr-defined]
    for made in (ModuleType("shop"), module, urls):
        monkeypatch.setitem(sys.modules, made.__name__, made)
    settings.WSGI_APPLICATION = settings.ASGI_APPLICATION = None
    settings.ROOT_URLCONF = "shop.urls"
    assert visit("/", allowed).status_code == 200
    [text] = logged(caplog)
    assert f"shop.{kind}.application: arrcert does not know" in text


def test_unknown_layer_is_no_error_of_the_check(asgi: Any) -> None:
    """The check does not stop `manage.py` because of a layer that arrcert does not know."""
    asgi(Unknown(router(is_guarded=True)))
    assert errors() == []


def test_long_polling_is_an_error_in_the_log(
    serve: Any, visit: Any, allowed: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A server of Socket.IO that offers long polling is an ERROR, also without the gate."""
    import socketio

    app = socketio.WSGIApp(socketio.Server(async_mode="threading"), get_wsgi_application())
    serve("wsgi", app, middleware=[])
    assert visit("/", allowed).status_code == 200
    [text] = logged(caplog)
    assert 'write transports=["websocket"]' in text


def test_app_that_cannot_be_examined(
    serve: Any, visit: Any, allowed: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """An app that raises when it is examined is an ERROR, and the site serves."""
    serve("wsgi", LocalProxy(lambda: 1 / 0))
    for _ in range(2):
        assert visit("/", allowed).status_code == 200
    assert logged(caplog) == ["what answers before the gate cannot be examined"]


# Middleware before arrcert's. ---------------------------------------------------------------------

OURS = "arrcert_django.middleware.ClientCertificateMiddleware"


def early(get_response: Any) -> Any:
    """A middleware that answers by itself."""

    def middleware(request: HttpRequest) -> Any:
        return HttpResponse("open") if request.path == "/status" else get_response(request)

    return middleware


def gate(get_response: Any) -> Any:
    """A factory that makes arrcert's middleware."""
    return GateMiddleware(get_response)


gate.async_capable = True  # type: ignore[attr-defined]
EARLY, FACTORY = f"{__name__}.early", f"{__name__}.gate"
COMMON = "django.middleware.common.CommonMiddleware"


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ([EARLY], f"arrcert does not know {EARLY}; requests that it answers itself are not"),
        ([COMMON], f"{COMMON} redirects known paths without a slash before the gate"),
        (
            [
                "django.middleware.security.SecurityMiddleware",
                "django.middleware.gzip.GZipMiddleware",
            ],
            None,
        ),
        (["corsheaders.middleware.CorsMiddleware"], None),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.parametrize("ours", [OURS, FACTORY])
def test_middleware_before_the_gate_is_an_error_in_the_log(
    site: Any,
    visit: Any,
    settings: Any,
    before: list[str],
    told: str | None,
    ours: str,
    allowed: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A middleware that may answer before the gate is one ERROR at the first request."""
    settings.CORS_ALLOWED_ORIGINS = []
    site(path("", _index), middleware=[*before, ours, COMMON], ARRCERT_PROTECT_ALL=True)
    for _ in range(2):
        assert visit("/", allowed).status_code == 200
    assert len(logged(caplog)) == (0 if told is None else 1)
    for text in logged(caplog):
        assert told in text
        assert f"move {OURS} before it, directly after SecurityMiddleware" in text


def test_middleware_behind_a_check_around_the_site(
    serve: Any, visit: Any, allowed: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Inside arrcert's WSGI or ASGI middleware, any middleware may come before the gate."""
    for kind, guard in GUARDS.items():
        serve(kind, guard(DJANGO[kind](), current_authorizer), middleware=[EARLY, OURS])
        assert visit("/", allowed).status_code == 200
    assert logged(caplog) == []


def test_site_without_a_gate(site: Any, visit: Any, caplog: pytest.LogCaptureFixture) -> None:
    """If only decorated views are protected, no middleware is an error."""
    site(path("", _index), middleware=[EARLY])
    assert visit("/status").status_code == 200
    assert logged(caplog) == []
