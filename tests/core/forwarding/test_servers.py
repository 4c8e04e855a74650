"""How WSGI and ASGI servers are recognized; tests/e2e/test_servers.py runs the servers."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from arrcert.forwarding import gunicorn
from arrcert.forwarding.gunicorn import RunningGunicorn, gunicorn_hook_ran
from arrcert.forwarding.servers import asgi_suspicion, wsgi_server


def of_module(name: str) -> object:
    """Return an object whose class comes from a module with this name."""
    return type("Something", (), {"__module__": name})()


GUNICORN = {"wsgi.errors": of_module("gunicorn.http.wsgi"), "SERVER_SOFTWARE": "gunicorn/27.0.1"}
"""The environ of a request under gunicorn."""


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that sets what is known of the gunicorn that runs this process."""

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
    """A server is recognized by its own keys and classes, else by its name, else by its shape."""
    server = wsgi_server(environ)
    assert server is not None
    assert (server.name, server.is_safe) == (name, is_safe)
    assert bool(server.remedy) is not is_safe


def test_classes_count_before_keys_and_names() -> None:
    """A class outweighs a key or a name, and the class of wsgi.errors outweighs wsgi.input's."""
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
    """Neither hypercorn nor tornado sets a key of its own; they differ in wsgi.errors."""
    shape = {"wsgi.input": io.BytesIO(), "wsgi.multiprocess": True}
    assert name_of(shape | {"wsgi.errors": sys.stdout}) == "the WSGI mode of hypercorn or uvicorn"
    assert name_of(shape | {"wsgi.errors": sys.stderr}) == "tornado's WSGIContainer"


def test_two_servers_of_one_name_are_told_apart() -> None:
    """Django's runserver and wsgiref use one name; in doubt the server counts as wsgiref."""
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
    """A server that nobody measured is unknown, and an unknown name outweighs a known shape."""
    assert wsgi_server(environ) is None


def test_what_a_client_sends_does_not_count() -> None:
    """A request header cannot make an unsafe server look like another server."""
    forged = {"HTTP_SERVER_SOFTWARE": "waitress", "HTTP_WAITRESS_CLIENT_DISCONNECTED": "1"}
    assert name_of(forged | {"uwsgi.version": b"2"}) == "uWSGI"


def test_test_clients_are_not_unsafe() -> None:
    """The test clients of Flask, werkzeug, Django and the standard library count as unknown."""
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
    """The hook makes every version of gunicorn safe, whatever its settings."""
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
