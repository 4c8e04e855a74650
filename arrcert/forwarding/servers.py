"""Finds the server that runs the app, and whether its clients can imitate the front end's header.

CGI writes `-` in a header's name as `_` (RFC 3875 section 4.1.18), and WSGI does the same
(PEP 3333). A client that sends `X_ARR_ClientCert: <somebody's certificate>` therefore sets
`HTTP_X_ARR_CLIENTCERT`, unless the server drops such names. `docs/servers.md` lists what each
server does; every entry was tested on the real server.
"""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from arrcert.forwarding.gunicorn import running_gunicorn

_USE_ANOTHER_SERVER = "run the app on gunicorn 22 or newer, or on waitress"
_USE_ASGI = f"{_USE_ANOTHER_SERVER}, or write it as an ASGI app, which sees the real names"
_TRAILERS_PASS = f"it treats trailers as headers; {_USE_ANOTHER_SERVER}"
_USE_THE_HOOK = "write `from arrcert.gunicorn import pre_request` into gunicorn.conf.py"


class Server(NamedTuple):
    """The known facts about a WSGI server.

    Attributes:
        name: the name of the server. If a server can be safe or unsafe, the name says which of its
            variants this is.
        is_safe: True if the value in the environ comes from a header with exactly the front end's
            header name, not from a similar name or a trailer.
        remedy: what the operator can do, as a sentence without a full stop; empty for a safe
            server.
        has_loose_line_ends: whether it takes a bare LF, or a lone CR, for the end of a header line
            (RFC 9112 section 2.2 allows the first).
    """

    name: str
    is_safe: bool
    remedy: str
    has_loose_line_ends: bool = False


def _safe(name: str, *, has_loose_line_ends: bool = False) -> Server:
    return Server(name, is_safe=True, remedy="", has_loose_line_ends=has_loose_line_ends)


def _unsafe(name: str, remedy: str = _USE_ANOTHER_SERVER) -> Server:
    return Server(name, is_safe=False, remedy=remedy)


_GUNICORN = _safe("gunicorn")
_GUNICORN_WITH_HOOK = _safe("gunicorn with arrcert's hook")
_WAITRESS = _safe("waitress")
_WERKZEUG = _safe("werkzeug", has_loose_line_ends=True)
_GEVENT = _safe("gevent", has_loose_line_ends=True)
_EVENTLET = _safe("eventlet", has_loose_line_ends=True)
_CHEROOT = _unsafe("cheroot")
_GRANIAN = _unsafe("granian's WSGI interface", _USE_ASGI)
_A2WSGI = _unsafe("a2wsgi", _USE_ASGI)
_AZURE_FUNCTIONS = _unsafe(
    "Azure Functions' WSGI app",
    'put the real headers into the environ, environ["arrcert.headers"] ='
    " req.headers.items(), before the app is called, or write it as an ASGI app for"
    " AsgiFunctionApp",
)
_RUNSERVER = _safe("Django's runserver", has_loose_line_ends=True)
_WSGIREF = _unsafe("wsgiref")
_BJOERN = _unsafe("bjoern", _TRAILERS_PASS)
_FASTWSGI = _unsafe("FastWSGI", _TRAILERS_PASS)
_ASGIREF = _unsafe("asgiref's WsgiToAsgi", _USE_ASGI)
_HYPERCORN = _unsafe("the WSGI mode of hypercorn or uvicorn", _USE_ASGI)
_TORNADO = _unsafe("tornado's WSGIContainer", _USE_ASGI)

_BY_PACKAGE = {
    "gunicorn": _GUNICORN,
    "gevent": _GEVENT,
    "eventlet": _EVENTLET,
    "cheroot": _CHEROOT,
    "twisted": _unsafe("twisted.web"),
    "granian": _GRANIAN,
    "a2wsgi": _A2WSGI,
    "azure": _AZURE_FUNCTIONS,
}
"""Servers by the package that the class of `wsgi.errors` or `wsgi.input` comes from."""

_BY_KEY = {
    "waitress.client_disconnected": _WAITRESS,
    "mod_wsgi.version": _safe("mod_wsgi"),
    "uwsgi.version": _unsafe("uWSGI"),
    "werkzeug.socket": _WERKZEUG,
    "eventlet.input": _EVENTLET,
    "asgi.scope": _A2WSGI,
    "azure_functions.invocation_id": _AZURE_FUNCTIONS,
}
"""Servers by a key of the environ that no other server sets."""

_BY_SOFTWARE = {
    "waitress": _WAITRESS,
    "werkzeug": _WERKZEUG,
    "gevent": _GEVENT,
    "cheroot": _CHEROOT,
    "granian": _GRANIAN,
    "wsgiserver": _WSGIREF,
}
"""Servers by the first word of `SERVER_SOFTWARE`, in lower case."""


def wsgi_server(environ: Mapping[str, Any]) -> Server | None:
    """Return which server runs the app, or None if it is not known.

    The class of `wsgi.errors` or `wsgi.input` is checked first, because it cannot be configured.
    Then come keys that only one server sets, then the name in `SERVER_SOFTWARE`. A server without
    any of these is recognized by the shape of its environ.

    Args:
        environ: the WSGI environ of a request. Values that a client can send are not used.

    A server that was not tested is unknown, and so are test clients. It does not see through
    middleware that wraps `wsgi.input` and `wsgi.errors`: such middleware can hide a server.
    """
    errors: Any = type(environ.get("wsgi.errors"))
    server = _server_of_class(errors)
    if server is None:
        body: Any = type(environ.get("wsgi.input"))
        server = _server_of_class(body)
    if server is None:
        server = next((known for key, known in _BY_KEY.items() if key in environ), None)
    if server is _GUNICORN:
        return _gunicorn_server()
    if server is _EVENTLET:
        return _eventlet_server()
    if server is not None:
        return server
    software = re.split("[/ ]", str(environ.get("SERVER_SOFTWARE", "")).lower(), maxsplit=1)[0]
    if not software:
        return _server_of_shape(environ)
    server = _BY_SOFTWARE.get(software)
    if server is _WSGIREF and _is_runserver(environ):
        return _RUNSERVER
    return server


@functools.lru_cache(maxsize=64)
def _server_of_class(stream: type) -> Server | None:
    return _BY_PACKAGE.get(stream.__module__.partition(".")[0])


def _gunicorn_server() -> Server:
    """Judge gunicorn by the hook, by its version and by the two settings that make it unsafe."""
    running = running_gunicorn()
    if running.has_hook:
        return _GUNICORN_WITH_HOOK
    if running.version < (22,):
        return _unsafe("gunicorn before 22", f"upgrade gunicorn to 22 or newer, or {_USE_THE_HOOK}")
    if running.unsafe_setting == "http_protocols=h2":
        return _unsafe(
            "gunicorn before 26.2 with http_protocols=h2",
            f"upgrade gunicorn to 26.2 or newer, remove that setting, or {_USE_THE_HOOK}",
        )
    if running.unsafe_setting:
        return _unsafe(
            f"gunicorn with {running.unsafe_setting}", f"remove that setting, or {_USE_THE_HOOK}"
        )
    return _GUNICORN


def _eventlet_server() -> Server:
    """Judge eventlet by its version: it drops names with underscores since 0.37."""
    if _version_of("eventlet") < (0, 37):
        return _unsafe(
            "eventlet before 0.37", f"upgrade eventlet to 0.37 or newer, or {_USE_ANOTHER_SERVER}"
        )
    return _EVENTLET


@functools.cache
def _version_of(package: str) -> tuple[int, ...]:
    """Return the version of a package that is imported, empty if it does not say."""
    version = str(getattr(sys.modules.get(package), "__version__", ""))
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def _is_runserver(environ: Mapping[str, Any]) -> bool:
    """Return whether the server is Django's runserver. wsgiref has the same `SERVER_SOFTWARE`."""
    return type(environ.get("wsgi.input")).__module__ == "django.core.handlers.wsgi"


def _server_of_shape(environ: Mapping[str, Any]) -> Server | None:
    """Recognize a server that sets no special key in the environ."""
    if _is_bjoern(environ):
        return _BJOERN
    if _is_fastwsgi(environ):
        return _FASTWSGI
    if _is_asgiref(environ):
        return _ASGIREF
    if _is_hypercorn(environ):
        return _HYPERCORN
    if _is_tornado(environ):
        return _TORNADO
    return None


def _is_bjoern(environ: Mapping[str, Any]) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    # This class is written in C, so it does not name bjoern as its module.
    return isinstance(wrapper, type) and (wrapper.__module__, wrapper.__name__) == (
        "builtins",
        "FileWrapper",
    )


def _is_fastwsgi(environ: Mapping[str, Any]) -> bool:
    # No other server adds the port to the address.
    return re.fullmatch(r"[\d.]+:\d+", str(environ.get("REMOTE_ADDR"))) is not None


def _is_asgiref(environ: Mapping[str, Any]) -> bool:
    stream = type(environ.get("wsgi.input"))
    return (stream.__module__, stream.__name__) == ("tempfile", "SpooledTemporaryFile")


def _is_hypercorn(environ: Mapping[str, Any]) -> bool:
    return environ.get("wsgi.errors") is sys.stdout


def _is_tornado(environ: Mapping[str, Any]) -> bool:
    # The test clients of werkzeug and Django differ in `wsgi.input` or `wsgi.multiprocess`.
    return (
        environ.get("wsgi.errors") is sys.stderr
        and type(environ.get("wsgi.input")) is io.BytesIO
        and environ.get("wsgi.multiprocess") is True
        and "wsgi.file_wrapper" not in environ
    )


_ASGI_SERVERS_WITH_LOOSE_LINE_ENDS = {
    "uvicorn.protocols.http.h11_impl": "uvicorn with h11",
    "hypercorn.protocol.h11": "hypercorn",
    "granian._granian": "granian",
}
"""ASGI servers that take a bare LF for the end of a header line, by a module that they load."""


def asgi_server_with_loose_line_ends() -> str | None:
    """Return the name of the ASGI server if it takes a bare LF for the end of a header line.

    A scope does not say which server made it, so this looks at the modules that are loaded. It does
    not recognize a server that was not tested.
    """
    for module, name in _ASGI_SERVERS_WITH_LOOSE_LINE_ENDS.items():
        if module in sys.modules:
            return name
    return None


def why_daphne_is_unsafe(scope: Mapping[str, Any]) -> str | None:
    """Return why a WebSocket handshake on daphne is not trusted, None if it is.

    Daphne before 4.2.2 hands the headers of a handshake to autobahn, which splits a value at 0B,
    0C, 1C to 1E and 85. Such a value forges a header under any name.

    Args:
        scope: the ASGI connection scope.
    """
    # Other servers set the HTTP version, and test clients set no server address.
    if (
        scope.get("type") != "websocket"
        or "http_version" in scope
        or "server" not in scope
        or "daphne.ws_protocol" not in sys.modules
        or _version_of("daphne") >= (4, 2, 2)
    ):
        return None
    return (
        "daphne before 4.2.2 splits the value of a WebSocket's header into several headers, so"
        " anybody can forge a certificate; upgrade daphne to 4.2.2 or newer"
    )


def asgi_suspicion(scope: Mapping[str, Any], headers: Iterable[str]) -> str | None:
    """Return why a header may be a trailer that the server appended, or None if none can be.

    uvicorn with httptools, which it uses if httptools is installed, appends the trailers of a
    chunked body to `scope["headers"]`, whether they are declared or not (RFC 9110 section 6.5.1
    forbids that). It appends them after all headers. A header before `Transfer-Encoding` is
    therefore a real header; a header after it may be a trailer. The other servers that were tested
    drop trailers.

    Args:
        scope: the ASGI connection scope.
        headers: the names of the headers that must not be trailers.

    It does not check servers that were not tested.
    """
    if "uvicorn.protocols.http.httptools_impl" not in sys.modules:
        return None
    wanted = {header.lower().encode("latin-1") for header in headers}
    is_chunked = False
    for name, _ in scope.get("headers", ()):
        lower = name.lower()
        # A trailer of this name has no effect: if a body is chunked, the real header
        # Transfer-Encoding comes before every trailer.
        if lower == b"transfer-encoding":
            is_chunked = True
        elif is_chunked and lower in wanted:
            return (
                f"the body is chunked and {name.decode('latin-1')} comes after Transfer-Encoding,"
                " where uvicorn with httptools also puts trailers, which any client can send; run"
                " uvicorn with --http h11"
            )
    return None
