"""How servers are known; tests/e2e/test_servers.py asks the servers themselves."""

from __future__ import annotations

import io
import sys
import tempfile
from types import ModuleType, SimpleNamespace
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from arrcert.forwarding import servers
from arrcert.forwarding.servers import asgi_suspicion, wsgi_server


def of_module(name: str) -> object:
    """Return an object of a class that comes from a module of that name."""
    return type("Something", (), {"__module__": name})()


@pytest.fixture
def gunicorn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An environ of a gunicorn of which nothing is known yet."""
    module = ModuleType("gunicorn")
    module.version_info = (27, 0, 1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gunicorn", module)
    monkeypatch.setattr(servers._Gunicorn, "has_hook", False)
    monkeypatch.setattr(servers._Gunicorn, "undone", None)
    return {"wsgi.errors": of_module("gunicorn.http.wsgi"), "SERVER_SOFTWARE": "gunicorn/27.0.1"}


def name_of(environ: dict[str, Any]) -> str | None:
    """Return what a server is taken for."""
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
        ({"SERVER_SOFTWARE": "arrcert"}, "arrcert serve", True),
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
    """A server is known by its own keys and types, else by its name, else by its shape."""
    server = wsgi_server(environ)
    assert server is not None
    assert (server.name, server.is_safe) == (name, is_safe)
    assert bool(server.remedy) is not is_safe


def test_asgiref_is_known_by_the_body() -> None:
    """No other server keeps the body in a temporary file of that type."""
    with tempfile.SpooledTemporaryFile() as body:
        assert name_of({"wsgi.input": body}) == "asgiref's WsgiToAsgi"


def test_hypercorn_and_tornado_are_known_by_the_stream_of_errors() -> None:
    """Two servers that set nothing of their own differ in where errors go."""
    shape = {"wsgi.input": io.BytesIO(), "wsgi.multiprocess": True}
    assert name_of(shape | {"wsgi.errors": sys.stdout}) == "the WSGI mode of hypercorn or uvicorn"
    assert name_of(shape | {"wsgi.errors": sys.stderr}) == "tornado's WSGIContainer"


def test_two_servers_of_one_name_are_told_apart() -> None:
    """Django's runserver and wsgiref say the same; where it is not sure, it is wsgiref."""
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
    """A server that nobody measured has no verdict, and a name of its own outweighs a shape."""
    assert wsgi_server(environ) is None


def test_what_a_client_sends_does_not_count() -> None:
    """No header makes an unsafe server pass for another."""
    forged = {"HTTP_SERVER_SOFTWARE": "waitress", "HTTP_WAITRESS_CLIENT_DISCONNECTED": "1"}
    assert name_of(forged | {"uwsgi.version": b"2"}) == "uWSGI"


def test_test_clients_are_not_unsafe() -> None:
    """The test clients of Flask, werkzeug, Django and the standard library are not refused."""
    werkzeug = pytest.importorskip("werkzeug.test")
    flask = pytest.importorskip("flask")
    django = pytest.importorskip("django.test")
    app = flask.Flask(__name__)
    seen = []
    app.before_request(lambda: seen.append(dict(flask.request.environ)))
    app.test_client().get("/")
    by_hand: dict[str, Any] = {}
    setup_testing_defaults(by_hand)
    environs = [
        *seen,
        werkzeug.EnvironBuilder().get_environ(),
        django.RequestFactory()._base_environ(),
        by_hand,
    ]
    assert len(environs) == 4
    assert {wsgi_server(environ) for environ in environs} == {None}


def test_gunicorn_is_safe_as_it_comes(gunicorn: dict[str, Any]) -> None:
    """From 22 on gunicorn is safe where nothing says otherwise."""
    assert name_of(gunicorn) == "gunicorn"


@pytest.mark.parametrize("version", [(21, 2, 0), (19, 9), ()])
def test_gunicorn_before_22_is_unsafe(gunicorn: dict[str, Any], version: tuple[int, ...]) -> None:
    """An old gunicorn is unsafe, and so is one that does not say how old it is."""
    sys.modules["gunicorn"].version_info = version  # type: ignore[attr-defined]
    server = wsgi_server(gunicorn)
    assert server is not None
    assert not server.is_safe
    assert "arrcert.gunicorn" in server.remedy


def called_by_worker(config: object, environ: dict[str, Any]) -> str | None:
    """Return what the server is taken for by an app that a gunicorn worker calls."""
    code = "def handle_request(self):\n    return ask()\n"
    frame: dict[str, Any] = {"__name__": "gunicorn.workers.sync", "ask": lambda: name_of(environ)}
    exec(code, frame)
    found: str | None = frame["handle_request"](SimpleNamespace(cfg=config))
    return found


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"header_map": "drop", "forwarder_headers": ["SCRIPT_NAME", "PATH_INFO"]}, "gunicorn"),
        ({"header_map": "refuse", "forwarder_headers": ["REMOTE_USER"]}, "gunicorn"),
        ({"header_map": "dangerous"}, "gunicorn with header_map=dangerous"),
        ({"forwarder_headers": ["SCRIPT_NAME", "*"]}, "gunicorn with forwarder_headers=*"),
        (
            {"forwarder_headers": ["X_ARR_CLIENTCERT"]},
            "gunicorn with forwarder_headers=X_ARR_CLIENTCERT",
        ),
        ({}, "gunicorn"),
    ],
)
def test_settings_that_let_underscores_pass(
    gunicorn: dict[str, Any], config: dict[str, Any], name: str
) -> None:
    """A setting that undoes what gunicorn does about underscores makes it unsafe."""
    assert called_by_worker(SimpleNamespace(**config), gunicorn) == name
    # Once seen it is known, also where the worker cannot be seen from.
    assert name_of(gunicorn) == name


def test_gunicorns_settings_may_be_out_of_sight(gunicorn: dict[str, Any]) -> None:
    """A worker without settings, or none on the stack, says nothing and is asked again."""
    assert called_by_worker(None, gunicorn) == "gunicorn"
    dangerous = SimpleNamespace(header_map="dangerous")
    assert called_by_worker(dangerous, gunicorn) == "gunicorn with header_map=dangerous"


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
    """What stands behind the first Transfer-Encoding may be a trailer; what stands before cannot.

    Under a server that leaves trailers out, nothing is suspicious.
    """
    protocol = "uvicorn.protocols.http.httptools_impl"
    monkeypatch.setitem(sys.modules, protocol, ModuleType(protocol))
    suspicion = asgi_suspicion({"headers": headers}, ["X-ARR-ClientCert"])
    assert (suspicion is not None) is is_suspicious
    monkeypatch.delitem(sys.modules, protocol)
    assert asgi_suspicion({"headers": headers}, ["X-ARR-ClientCert"]) is None


def test_a_scope_without_headers_is_not_suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope need not have headers."""
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
    """A server with several signs is recognized by each of them alone."""
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
