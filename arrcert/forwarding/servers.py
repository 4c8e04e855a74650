"""What servers make of headers that imitate the front end's, and how to know the server.

CGI writes `-` as `_` in a header's name (RFC 3875 section 4.1.18), and WSGI kept that (PEP 3333).
`X_ARR_ClientCert: <somebody's certificate>` arrives as `HTTP_X_ARR_CLIENTCERT`, unless the server
drops it. What each server does was measured on the real one, see `docs/servers.md`.
"""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, NamedTuple

_BEHIND_GUNICORN = "run the app on gunicorn 22 or newer, or on waitress"
_AS_ASGI = f"{_BEHIND_GUNICORN}, or write it as an ASGI app, which sees the real names"


class Server(NamedTuple):
    """What is known of a WSGI server.

    Attributes:
        name: the server's, and what makes the difference where one server can be either.
        is_safe: whether what the app finds under the front end's header was sent by its very name,
            as a header.
        remedy: what to do about it, one sentence without a full stop; empty for a safe server.
    """

    name: str
    is_safe: bool
    remedy: str


class _Signs(NamedTuple):
    """A server, and by what it is known.

    Attributes:
        server: the verdict, or a function of the environ that returns it.
        key: of the environ, which this server alone sets.
        module: what the module is called that `wsgi.input` or `wsgi.errors` comes from.
        software: the first word of `SERVER_SOFTWARE`, in lower case.
        shape: whether an environ looks like this server's, which sets nothing of its own.
    """

    server: Server | Callable[[Mapping[str, Any]], Server]
    key: str = ""
    module: str = ""
    software: str = ""
    shape: Callable[[Mapping[str, Any]], bool] | None = None


def _safe(name: str) -> Server:
    return Server(name, is_safe=True, remedy="")


def _unsafe(name: str, remedy: str = _BEHIND_GUNICORN) -> Server:
    return Server(name, is_safe=False, remedy=remedy)


_GUNICORN = _safe("gunicorn")
_GUNICORN_WITH_HOOK = _safe("gunicorn with arrcert's hook")


def _gunicorn(_environ: Mapping[str, Any]) -> Server:
    """Judge gunicorn by the hook, its version and the two settings that undo what it does."""
    if _Gunicorn.has_hook:
        return _GUNICORN_WITH_HOOK
    # Empty, it was asked for behind the version, of a worker that undoes nothing.
    if _Gunicorn.undone == "":
        return _GUNICORN
    hook = "write `from arrcert.gunicorn import pre_request` into gunicorn.conf.py"
    version = getattr(sys.modules.get("gunicorn"), "version_info", ())
    if version < (22,):
        return _unsafe("gunicorn before 22", f"upgrade gunicorn to 22 or newer, or {hook}")
    undone = _Gunicorn.undone_by()
    if undone:
        return _unsafe(f"gunicorn with {undone}", f"drop that setting, or {hook}")
    return _GUNICORN


class _Gunicorn:
    """What is known of the gunicorn that this process is a worker of; it never changes."""

    has_hook = False
    undone: str | None = None

    @classmethod
    def undone_by(cls) -> str:
        """Return the setting that lets underscores pass, empty where none does or none is seen.

        gunicorn hands no settings to the app. The worker that called it knows them.
        """
        if cls.undone is None:
            frame: FrameType | None = sys._getframe()
            while frame is not None:
                if str(frame.f_globals.get("__name__")).startswith("gunicorn.workers."):
                    config = getattr(frame.f_locals.get("self"), "cfg", None)
                    if config is not None:
                        cls.undone = cls._undone(config)
                        return cls.undone
                frame = frame.f_back
        return cls.undone or ""

    @staticmethod
    def _undone(config: Any) -> str:
        if getattr(config, "header_map", "drop") == "dangerous":
            return "header_map=dangerous"
        # From a trusted peer these pass under any header_map. The first three are no certificate's.
        passed = set(getattr(config, "forwarder_headers", ()))
        passed -= {"SCRIPT_NAME", "PATH_INFO", "REMOTE_USER"}
        return f"forwarder_headers={','.join(sorted(passed))}" if passed else ""


def gunicorn_hook_ran() -> None:
    """Take note that `arrcert.gunicorn.pre_request` cleans every request of this process."""
    _Gunicorn.has_hook = True


def _runserver_or_wsgiref(environ: Mapping[str, Any]) -> Server:
    """Tell apart two servers that call themselves `WSGIServer/0.2`."""
    if type(environ.get("wsgi.input")).__module__ == "django.core.handlers.wsgi":
        return _safe("Django's runserver")
    return _unsafe("wsgiref")


def _is_hypercorn(environ: Mapping[str, Any]) -> bool:
    return environ.get("wsgi.errors") is sys.stdout


def _is_tornado(environ: Mapping[str, Any]) -> bool:
    # The test clients of werkzeug and Django differ in the second or the third.
    return (
        environ.get("wsgi.errors") is sys.stderr
        and type(environ.get("wsgi.input")) is io.BytesIO
        and environ.get("wsgi.multiprocess") is True
        and "wsgi.file_wrapper" not in environ
    )


def _is_bjoern(environ: Mapping[str, Any]) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    # Its type is written in C and names no module.
    return isinstance(wrapper, type) and (wrapper.__module__, wrapper.__name__) == (
        "builtins",
        "FileWrapper",
    )


def _is_fastwsgi(environ: Mapping[str, Any]) -> bool:
    # No other server puts the port there.
    return re.fullmatch(r"[\d.]+:\d+", str(environ.get("REMOTE_ADDR"))) is not None


def _is_asgiref(environ: Mapping[str, Any]) -> bool:
    kind = type(environ.get("wsgi.input"))
    return (kind.__module__, kind.__name__) == ("tempfile", "SpooledTemporaryFile")


_TRAILERS = "it takes trailers for headers; " + _BEHIND_GUNICORN

_SERVERS = (
    # Known by what nobody configures.
    _Signs(_gunicorn, module="gunicorn"),
    _Signs(_safe("waitress"), key="waitress.client_disconnected", software="waitress"),
    _Signs(_safe("mod_wsgi"), key="mod_wsgi.version"),
    _Signs(_unsafe("uWSGI"), key="uwsgi.version"),
    _Signs(_safe("werkzeug"), key="werkzeug.socket", software="werkzeug"),
    _Signs(_safe("gevent"), module="gevent", software="gevent"),
    _Signs(_unsafe("cheroot"), module="cheroot", software="cheroot"),
    _Signs(_unsafe("twisted.web"), module="twisted"),
    _Signs(_unsafe("granian's WSGI interface", _AS_ASGI), module="granian", software="granian"),
    _Signs(_unsafe("a2wsgi", _AS_ASGI), module="a2wsgi", key="asgi.scope"),
    _Signs(
        _unsafe(
            "Azure Functions' WSGI app",
            'put the real headers into the environ, environ["arrcert.headers"] ='
            " req.headers.items(), before the app is called, or write it as an ASGI app for"
            " AsgiFunctionApp",
        ),
        module="azure",
        key="azure_functions.invocation_id",
    ),
    _Signs(_safe("arrcert serve"), software="arrcert"),
    _Signs(_runserver_or_wsgiref, software="wsgiserver"),
    # Known by their shape alone, after all others.
    _Signs(_unsafe("bjoern", _TRAILERS), shape=_is_bjoern),
    _Signs(_unsafe("FastWSGI", _TRAILERS), shape=_is_fastwsgi),
    _Signs(_unsafe("asgiref's WsgiToAsgi", _AS_ASGI), shape=_is_asgiref),
    _Signs(_unsafe("the WSGI mode of hypercorn or uvicorn", _AS_ASGI), shape=_is_hypercorn),
    _Signs(_unsafe("tornado's WSGIContainer", _AS_ASGI), shape=_is_tornado),
)
"""Every server that was measured; `docs/servers.md` says with which version."""

_BY_MODULE = {signs.module: signs.server for signs in _SERVERS if signs.module}
_BY_KEY = {signs.key: signs.server for signs in _SERVERS if signs.key}
_BY_SOFTWARE = {signs.software: signs.server for signs in _SERVERS if signs.software}
_BY_SHAPE = [(signs.shape, signs.server) for signs in _SERVERS if signs.shape]


def wsgi_server(environ: Mapping[str, Any]) -> Server | None:
    """Tell which server runs the app, None where it is not known.

    Args:
        environ: the WSGI environ of a request. Nothing in it that a client can send counts.

    A server that nobody measured is unknown, and so is a test client. Middleware that wraps
    `wsgi.input` can hide a server that is known by its types.
    """
    found = _recognized(environ)
    return found(environ) if callable(found) else found


def _recognized(
    environ: Mapping[str, Any],
) -> Server | Callable[[Mapping[str, Any]], Server] | None:
    # What the server's own classes say weighs more than a name that can be configured.
    errors: Any = type(environ.get("wsgi.errors"))
    body: Any = type(environ.get("wsgi.input"))
    found = _by_type(errors) or _by_type(body)
    if found is not None:
        return found
    for key, server in _BY_KEY.items():
        if key in environ:
            return server
    words = re.split("[/ ]", str(environ.get("SERVER_SOFTWARE", "")).lower(), maxsplit=1)
    if words[0]:
        return _BY_SOFTWARE.get(words[0])
    for shape, server in _BY_SHAPE:
        if shape(environ):
            return server
    return None


@functools.lru_cache(maxsize=64)
def _by_type(kind: Any) -> Server | Callable[[Mapping[str, Any]], Server] | None:
    return _BY_MODULE.get(kind.__module__.partition(".")[0])


def asgi_suspicion(scope: Mapping[str, Any], headers: Iterable[str]) -> str | None:
    """Return why a header may be a trailer that the server appended; None where none can be.

    Args:
        scope: the ASGI connection scope.
        headers: names of the headers that must not be trailers.

    uvicorn with httptools, which it takes where it is installed, appends the trailers of a chunked
    body to `scope["headers"]`, declared or not (RFC 9110 section 6.5.1 forbids that). They come
    after every header, so what stands before `Transfer-Encoding` is none. What stands behind it may
    be either: nobody can tell which. The other servers that were measured leave trailers out.
    """
    if "uvicorn.protocols.http.httptools_impl" not in sys.modules:
        return None
    wanted = {header.lower().encode("latin-1") for header in headers}
    is_chunked = False
    for name, _ in scope.get("headers", ()):
        lower = name.lower()
        # A trailer of this name comes too late: the body is chunked because of a header.
        if lower == b"transfer-encoding":
            is_chunked = True
        elif is_chunked and lower in wanted:
            return (
                f"the body is chunked and {name.decode('latin-1')} stands behind Transfer-Encoding,"
                " where uvicorn with httptools also puts trailers, which anybody can send; run"
                " uvicorn with --http h11"
            )
    return None
