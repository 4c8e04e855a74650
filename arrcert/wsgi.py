"""The check of the client certificate around any WSGI app (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from types import TracebackType
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from arrcert.authorizer import Authorizer
from arrcert.engine_io import log_polling
from arrcert.exceptions import CertificateDenied
from arrcert.gate import (
    FORBIDDEN,
    IDENTITY,
    PRIVATE,
    SHARED_CACHES,
    Gate,
    forbidden_headers,
    private,
)

__all__ = ["ClientCertificateMiddleware"]

_PRIVATE = ("Cache-Control", PRIVATE)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class ClientCertificateMiddleware:
    """Require an authorized client certificate for everything that a WSGI app answers.

    Make it the outermost layer. In Flask:

        app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app))

    It decides before the app and its framework run, for every method. The identity of the client,
    an `arrcert.ClientIdentity`, is in `environ["arrcert.identity"]`. On exempt paths it is None. A
    denied request gets a constant 403, and the denial is logged. The response to an authorized
    request is sent with `Cache-Control: private`, unless it says `no-store`.

    Args:
        app: the WSGI app, including all its other middlewares.
        authorizer: an `Authorizer`, or a callable that returns the current one. With None, the
            default, the configuration and the exempt paths come from the environment variables.
        policy: the name of the policy, `default` by default; None for any configured policy,
            `default` first.
        exempt_paths: paths that are not checked, as in `ARRCERT_EXEMPT_PATHS`; none by default.
            They are compared without `SCRIPT_NAME`.

    Attributes:
        app: the app inside.
        gate: decides; the route audit reads its policy and exempt paths.

    Raises:
        ConfigurationError: the environment, the exempt paths or the policy's name are wrong. If
            `authorizer` is a callable, mistakes that are found only later deny every request.
        TypeError: an argument is of another type.

    It does not know views, so exemptions and policies of views have no effect on it. If the
    framework inside uses the same `Authorizer` again, the second decision is only a look-up.
    Requests that never reach this middleware, such as those that a layer around it answers, are not
    checked.
    """

    def __init__(
        self,
        app: WSGIApplication,
        authorizer: Authorizer | Callable[[], Authorizer] | None = None,
        *,
        policy: str | None = "default",
        exempt_paths: Collection[str] | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app is {app!r}, which is not a WSGI app")
        self.app = app
        self.gate = Gate(authorizer, policy, exempt_paths)
        self._was_examined = False

    @property
    def authorizer(self) -> Authorizer:
        """The current authorizer."""
        return self.gate.current()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request: with the app's response, or with the 403."""
        if not self._was_examined:
            self._was_examined = True
            log_polling(self.app)
        gate = self.gate
        environ[IDENTITY] = None
        exempt_paths = gate.exempt_paths
        if exempt_paths.entries and exempt_paths.covers_wsgi(environ, _path(environ)):
            return self.app(environ, start_response)
        try:
            environ[IDENTITY] = gate.identify_wsgi(environ)
        except CertificateDenied:
            start_response("403 Forbidden", forbidden_headers())
            return [] if environ.get("REQUEST_METHOD") == "HEAD" else [FORBIDDEN]
        return self.app(environ, _privately(start_response))


def _path(environ: WSGIEnvironment) -> str:
    """Return the decoded path without `SCRIPT_NAME`. Bytes that are not UTF-8 become U+FFFD."""
    path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace")
    return path.decode("utf-8", "replace") or "/"


def _privately(start_response: StartResponse) -> StartResponse:
    """Return a `start_response` that keeps the response out of shared caches."""

    def start_privately(
        status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        said = [value for name, value in headers if name.lower() == "cache-control"]
        headers = [header for header in headers if not header[0].lower().endswith(SHARED_CACHES)]
        if not said:
            headers = [*headers, _PRIVATE]
        else:
            cache_control = private(said)
            if cache_control is not None:
                headers = [header for header in headers if header[0].lower() != "cache-control"]
                headers.append(("Cache-Control", cache_control))
        if exc_info is None:
            # Some servers' start_response has no parameter for exc_info.
            return start_response(status, headers)
        return start_response(status, headers, exc_info)

    return start_privately
