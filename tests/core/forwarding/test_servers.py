"""How WSGI and ASGI servers are recognized; tests/e2e/test_servers.py runs the servers."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from arrcert.forwarding import gunicorn, servers
from arrcert.forwarding.gunicorn import RunningGunicorn, gunicorn_hook_ran
from arrcert.forwarding.servers import (
    asgi_server_with_loose_line_ends,
    asgi_suspicion,
    why_daphne_is_unsafe,
    wsgi_server,
)


def of_module(name: str) -> object:
    """Return an object whose class comes from a module with this name."""
    return type("Something", (), {"__module__": name})()


GUNICORN = {"wsgi.errors": of_module("gunicorn.http.wsgi"), "SERVER_SOFTWARE": "gunicorn/27.0.1"}
"""The environ of a request under gunicorn."""


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that sets the facts about gunicorn for a test."""

    def running(*, version: tuple[int, ...] = (27, 0, 1), unsafe_setting: str = "") -> None:
        facts = RunningGunicorn(has_hook=False, version=version, unsafe_setting=unsafe_setting)
        monkeypatch.setattr(gunicorn, "_known", facts)

    return running


def name_of(environ: dict[str, Any]) -> str | None:
    """Return the name of the server that an environ is attributed to."""
    server = wsgi_server(environ)
    return server and server.name


@pytest.mark.parametrize(
    ("environ", "name", "is_safe"),
    [
        ({"waitress.client_disconnected": None, "SERVER_SOFTWARE": "x"}, "waitress", True),
        ({"SERVER_SOFTWARE": "waitress"}, "waitress", True),
        ({"mod_wsgi.version": (4, 9, 4), "SERVER_SOFTWARE": "Apache/2.4"}, "mod_wsgi", True),
        ({"SERVER_SOFTWARE": "Werkzeug/3.1.9"}, "werkzeug", True),
        ({"wsgi.input": of_module("gevent.pywsgi")}, "gevent", True),
        ({"uwsgi.version": b"2.0.31"}, "uWSGI", False),
        ({"wsgi.input": of_module("cheroot.server")}, "cheroot", False),
        ({"SERVER_SOFTWARE": "Cheroot/11.1.2 Server"}, "cheroot", False),
        ({"wsgi.input": of_module("twisted.web.wsgi")}, "twisted.web", False),
        ({"SERVER_SOFTWARE": "Granian"}, "granian's WSGI interface", False),
        ({"asgi.scope": {}}, "a2wsgi", False),
        ({"azure_functions.invocation_id": "1"}, "Azure Functions' WSGI app", False),
        ({"REMOTE_ADDR": "127.0.0.1:41000"}, "FastWSGI", False),
        (
            {"wsgi.file_wrapper": type("FileWrapper", (), {"__module__": "builtins"})},
            "bjoern",
            False,
        ),
    ],
)
def test_server_is_known_by_its_signs(environ: dict[str, Any], name: str, is_safe: bool) -> None:
    """A server is recognized by its keys and classes, then by its name, then by its shape."""
    server = wsgi_server(environ)
    assert server is not None
    assert (server.name, server.is_safe) == (name, is_safe)
    assert bool(server.remedy) is not is_safe


def test_classes_count_before_keys_and_names() -> None:
    """A class outweighs a key or a name, and wsgi.errors' class outweighs wsgi.input's."""
    waitress = {"waitress.client_disconnected": None, "SERVER_SOFTWARE": "waitress"}
    body = {"wsgi.input": of_module("cheroot.server")}
    errors = {"wsgi.errors": of_module("gevent.pywsgi")}
    assert name_of(waitress | body) == "cheroot"
    assert name_of(waitress | body | errors) == "gevent"


def test_asgiref_is_known_by_the_body() -> None:
    """Only asgiref keeps the body in a SpooledTemporaryFile."""
    with tempfile.SpooledTemporaryFile() as body:
        assert name_of({"wsgi.input": body}) == "asgiref's WsgiToAsgi"


def test_hypercorn_and_tornado_are_known_by_the_stream_of_errors() -> None:
    """Hypercorn and tornado set no key of their own, and are recognized by their wsgi.errors."""
    shape = {"wsgi.input": io.BytesIO(), "wsgi.multiprocess": True}
    assert name_of(shape | {"wsgi.errors": sys.stdout}) == "the WSGI mode of hypercorn or uvicorn"
    assert name_of(shape | {"wsgi.errors": sys.stderr}) == "tornado's WSGIContainer"


def test_two_servers_of_one_name_are_told_apart() -> None:
    """Django's runserver and wsgiref have the same name.

    If the server cannot be told apart, it counts as wsgiref, which is unsafe.
    """
    software = {"SERVER_SOFTWARE": "WSGIServer/0.2"}
    runserver = software | {"wsgi.input": of_module("django.core.handlers.wsgi")}
    assert name_of(runserver) == "Django's runserver"
    assert name_of(software | {"wsgi.input": io.BytesIO()}) == "wsgiref"
    assert name_of(software) == "wsgiref"


@pytest.mark.parametrize(
    "environ",
    [{}, {"SERVER_SOFTWARE": "brand-new/1.0", "wsgi.errors": sys.stdout}, {"SERVER_SOFTWARE": ""}],
)
def test_unknown_server_is_none(environ: dict[str, Any]) -> None:
    """A server that was never tested is unknown.

    If SERVER_SOFTWARE has an unknown name, the other values are not used.
    """
    assert wsgi_server(environ) is None


def test_what_a_client_sends_does_not_count() -> None:
    """A request header cannot make an unsafe server look like another server."""
    forged = {"HTTP_SERVER_SOFTWARE": "waitress", "HTTP_WAITRESS_CLIENT_DISCONNECTED": "1"}
    assert name_of(forged | {"uwsgi.version": b"2"}) == "uWSGI"


def test_test_clients_are_not_unsafe() -> None:
    """The test clients of Flask, werkzeug, Django and the standard library count as unknown."""
    import flask
    from django.test import RequestFactory
    from werkzeug.test import EnvironBuilder

    app = flask.Flask(__name__)
    seen = []
    app.before_request(lambda: seen.append(dict(flask.request.environ)))
    app.test_client().get("/")
    by_hand: dict[str, Any] = {}
    setup_testing_defaults(by_hand)
    environs = [
        *seen,
        EnvironBuilder().get_environ(),
        RequestFactory()._base_environ(),
        by_hand,
    ]
    assert len(environs) == 4
    assert {wsgi_server(environ) for environ in environs} == {None}


def test_gunicorn_from_22_on_is_safe(running: Callable[..., None]) -> None:
    """With its default settings gunicorn 22 and newer is safe."""
    running(version=(22, 0, 0))
    assert name_of(GUNICORN) == "gunicorn"
    assert name_of({"wsgi.input": of_module("gunicorn.http.body")}) == "gunicorn"


@pytest.mark.parametrize("version", [(21, 2, 0), (19, 9), ()])
def test_gunicorn_before_22_is_unsafe(
    running: Callable[..., None], version: tuple[int, ...]
) -> None:
    """An old gunicorn is unsafe, and so is one without a version."""
    running(version=version)
    server = wsgi_server(GUNICORN)
    assert server is not None
    assert (server.name, server.is_safe) == ("gunicorn before 22", False)
    assert "arrcert.gunicorn" in server.remedy


@pytest.mark.parametrize("setting", ["header_map=dangerous", "forwarder_headers=*"])
def test_settings_that_let_underscores_pass(running: Callable[..., None], setting: str) -> None:
    """A setting that lets names with underscores pass makes gunicorn unsafe."""
    running(unsafe_setting=setting)
    server = wsgi_server(GUNICORN)
    assert server is not None
    assert (server.name, server.is_safe) == (f"gunicorn with {setting}", False)
    assert "arrcert.gunicorn" in server.remedy


def test_gunicorn_with_the_hook_is_safe(running: Callable[..., None]) -> None:
    """With the hook, every version of gunicorn is safe with any settings."""
    running(version=(19, 9), unsafe_setting="header_map=dangerous")
    gunicorn_hook_ran()
    server = wsgi_server(GUNICORN)
    assert server is not None
    assert (server.name, server.is_safe) == ("gunicorn with arrcert's hook", True)


CHUNKED = (b"transfer-encoding", b"chunked")
CERTIFICATE = (b"X-ARR-ClientCert", b"...")


@pytest.mark.parametrize(
    ("headers", "is_suspicious"),
    [
        ([], False),
        ([CERTIFICATE], False),
        ([CHUNKED], False),
        ([CERTIFICATE, CHUNKED], False),
        ([CHUNKED, CERTIFICATE], True),
        ([(b"Transfer-Encoding", b"chunked"), (b"x-arr-clientcert", b"...")], True),
        ([CHUNKED, CERTIFICATE, CHUNKED], True),
        ([CERTIFICATE, CHUNKED, CERTIFICATE], True),
        ([CHUNKED, (b"x-other", b"")], False),
    ],
)
def test_suspicion_of_a_trailer(
    monkeypatch: pytest.MonkeyPatch, headers: list[tuple[bytes, bytes]], is_suspicious: bool
) -> None:
    """Under uvicorn with httptools, a header after Transfer-Encoding may be a trailer."""
    protocol = "uvicorn.protocols.http.httptools_impl"
    monkeypatch.setitem(sys.modules, protocol, ModuleType(protocol))
    suspicion = asgi_suspicion({"headers": headers}, ["X-ARR-ClientCert"])
    assert (suspicion is not None) is is_suspicious
    monkeypatch.delitem(sys.modules, protocol)
    assert asgi_suspicion({"headers": headers}, ["X-ARR-ClientCert"]) is None


def test_a_scope_without_headers_is_not_suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope may lack the key `headers`."""
    protocol = "uvicorn.protocols.http.httptools_impl"
    monkeypatch.setitem(sys.modules, protocol, ModuleType(protocol))
    assert asgi_suspicion({}, ["X-ARR-ClientCert"]) is None


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"werkzeug.socket": None}, "werkzeug"),
        ({"SERVER_SOFTWARE": "gevent/24.2 Python/3.11"}, "gevent"),
        ({"wsgi.errors": of_module("granian.wsgi")}, "granian's WSGI interface"),
        ({"wsgi.input": of_module("a2wsgi.wsgi")}, "a2wsgi"),
        ({"wsgi.input": of_module("azure.functions")}, "Azure Functions' WSGI app"),
    ],
)
def test_one_sign_is_enough(environ: dict[str, Any], name: str) -> None:
    """Each sign of a server is enough to recognize it."""
    assert name_of(environ) == name


@pytest.mark.parametrize(
    "environ",
    [
        {"REMOTE_ADDR": "127.0.0.1:41000x"},
        {"REMOTE_ADDR": ":41000"},
        {"REMOTE_ADDR": "127.0.0.1:"},
        {"wsgi.file_wrapper": type("FileWrapper", (), {"__module__": "elsewhere"})},
    ],
)
def test_a_similar_shape_is_unknown(environ: dict[str, Any]) -> None:
    """FastWSGI and bjoern are recognized by the whole shape."""
    assert wsgi_server(environ) is None


@pytest.mark.parametrize(
    "other",
    [
        {"wsgi.errors": io.StringIO()},
        {"wsgi.input": io.BufferedReader(io.BytesIO())},
        {"wsgi.multiprocess": False},
        {"wsgi.file_wrapper": object},
    ],
)
def test_tornado_is_known_by_all_of_its_shape(other: dict[str, Any]) -> None:
    """An environ that differs from tornado's in one value may be a test client's."""
    shape = {"wsgi.input": io.BytesIO(), "wsgi.multiprocess": True, "wsgi.errors": sys.stderr}
    assert name_of(shape) == "tornado's WSGIContainer"
    assert name_of(shape | other) is None


def package(monkeypatch: pytest.MonkeyPatch, name: str, version: str | None) -> None:
    """Make a package look imported, in one version."""
    module = ModuleType(name)
    if version is not None:
        module.__version__ = version
    monkeypatch.setitem(sys.modules, name, module)
    servers._version_of.cache_clear()


@pytest.fixture(autouse=True)
def _versions_are_not_remembered() -> Iterator[None]:
    """Forget the versions of packages, which another test may have changed."""
    yield
    servers._version_of.cache_clear()


@pytest.mark.parametrize(
    ("version", "name", "is_safe"),
    [
        ("0.36.1", "eventlet before 0.37", False),
        ("0.37.0", "eventlet", True),
        ("0.37", "eventlet", True),
        ("0.41.3", "eventlet", True),
        ("1", "eventlet", True),
        ("1.", "eventlet", True),
        ("v1.0", "eventlet before 0.37", False),
        ("1.0rc1", "eventlet", True),
        ("0.0.0", "eventlet before 0.37", False),
        ("unknown", "eventlet before 0.37", False),
        (None, "eventlet before 0.37", False),
    ],
)
@pytest.mark.parametrize(
    "environ", [{"wsgi.input": of_module("eventlet.wsgi")}, {"eventlet.input": None}]
)
def test_eventlet_is_judged_by_its_version(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, Any],
    version: str | None,
    name: str,
    is_safe: bool,
) -> None:
    """Eventlet before 0.37 is unsafe, and so is an eventlet without a version."""
    package(monkeypatch, "eventlet", version)
    server = wsgi_server(environ)
    assert server is not None
    assert (server.name, server.is_safe) == (name, is_safe)
    assert ("upgrade eventlet" in server.remedy) is not is_safe
    assert server.has_loose_line_ends is is_safe


def test_gunicorn_that_checks_no_names_over_http2(running: Callable[..., None]) -> None:
    """The remedy for HTTP/2 on gunicorn before 26.2 is an upgrade, or the hook."""
    running(version=(26, 1, 0), unsafe_setting="http_protocols=h2")
    server = wsgi_server(GUNICORN)
    assert server is not None
    assert server.name == "gunicorn before 26.2 with http_protocols=h2"
    assert not server.is_safe
    assert "26.2" in server.remedy
    assert "arrcert.gunicorn" in server.remedy


@pytest.mark.parametrize(
    ("environ", "is_loose"),
    [
        ({"werkzeug.socket": None}, True),
        ({"wsgi.input": of_module("gevent.pywsgi")}, True),
        (
            {
                "wsgi.input": of_module("django.core.handlers.wsgi"),
                "SERVER_SOFTWARE": "WSGIServer/0",
            },
            True,
        ),
        ({"waitress.client_disconnected": None}, False),
        ({"mod_wsgi.version": (4, 9, 4)}, False),
    ],
)
def test_servers_with_loose_line_ends(environ: dict[str, Any], is_loose: bool) -> None:
    """Servers that accept a bare LF as the end of a header line have loose line ends."""
    server = wsgi_server(environ)
    assert server is not None
    assert server.has_loose_line_ends is is_loose


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("uvicorn.protocols.http.h11_impl", "uvicorn with h11"),
        ("hypercorn.protocol.h11", "hypercorn"),
        ("granian._granian", "granian"),
    ],
)
def test_asgi_servers_with_loose_line_ends(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    """An ASGI server is known by a module that it loads."""
    for known in ("uvicorn.protocols.http.h11_impl", "hypercorn.protocol.h11", "granian._granian"):
        monkeypatch.delitem(sys.modules, known, raising=False)
    assert asgi_server_with_loose_line_ends() is None
    monkeypatch.setitem(sys.modules, module, ModuleType(module))
    assert asgi_server_with_loose_line_ends() == name


HANDSHAKE = {"type": "websocket", "path": "/", "headers": [], "server": ["127.0.0.1", 8000]}
"""The scope of a WebSocket handshake as daphne makes it."""


@pytest.mark.parametrize(
    ("version", "scope", "is_unsafe"),
    [
        ("4.2.1", HANDSHAKE, True),
        ("4.2", HANDSHAKE, True),
        (None, HANDSHAKE, True),
        ("4.2.2", HANDSHAKE, False),
        ("4.10.0", HANDSHAKE, False),
        ("4.2.1", HANDSHAKE | {"type": "http"}, False),
        ("4.2.1", HANDSHAKE | {"http_version": "1.1"}, False),
        ("4.2.1", {"type": "websocket", "path": "/", "headers": []}, False),
    ],
)
def test_websockets_of_old_daphnes(
    monkeypatch: pytest.MonkeyPatch, version: str | None, scope: dict[str, Any], is_unsafe: bool
) -> None:
    """A handshake on daphne before 4.2.2 is refused; HTTP, other servers and test clients pass."""
    package(monkeypatch, "daphne", version)
    protocol = "daphne.ws_protocol"
    monkeypatch.setitem(sys.modules, protocol, ModuleType(protocol))
    why = why_daphne_is_unsafe(scope)
    assert (why is not None) is is_unsafe
    assert why is None or "upgrade daphne to 4.2.2" in why
    monkeypatch.delitem(sys.modules, protocol)
    assert why_daphne_is_unsafe(scope) is None
