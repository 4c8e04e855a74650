"""The middlewares around the gate of a FastAPI app, which may answer before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware

from arrcert.asgi import ClientCertificateMiddleware
from arrcert.exceptions import Problem
from arrcert.layers import PASSING
from arrcert.routes import Effect, Layer

_CORS = "starlette.middleware.cors.CORSMiddleware"
"""The middleware whose documented place is around the gate. Its answers to preflights hold nothing
of the site."""

_ANSWERING = {_CORS: "answers preflights"}
"""Middlewares that answer some requests themselves, and which requests. Subclasses count too."""

_PASSING = PASSING | {
    "asgi_correlation_id.middleware.CorrelationIdMiddleware",
    "prometheus_fastapi_instrumentator.middleware.PrometheusInstrumentatorMiddleware",
    "starlette.middleware.gzip.GZipMiddleware",
    "starlette.middleware.httpsredirect.HTTPSRedirectMiddleware",
    "starlette.middleware.sessions.SessionMiddleware",
    "starlette.middleware.trustedhost.TrustedHostMiddleware",
}
"""Middlewares that do not answer with content of the site before the check. A subclass may do
so."""


def describe_middleware(kind: Any, options: Mapping[str, Any]) -> Layer:
    """Return the description of a middleware in front of the gate.

    Args:
        kind: its class, or the function that makes it.
        options: the keyword arguments with which the app makes it.
    """
    name = dotted(kind)
    if isinstance(kind, type) and issubclass(kind, BaseHTTPMiddleware):
        dispatch = options.get("dispatch")
        name = name if dispatch is None else dotted(dispatch)
    if name in _PASSING:
        return Layer("MIDDLEWARE", name, Effect.PASSES)
    for base in getattr(kind, "__mro__", ()):
        answers = _ANSWERING.get(dotted(base))
        if answers is not None:
            return Layer("MIDDLEWARE", name, Effect.ANSWERS, f"it {answers} before the gate")
    return Layer("MIDDLEWARE", name, Effect.UNKNOWN, "it may answer requests before any check")


def problems_of_middlewares(app: Starlette, gate: type) -> Iterator[Problem]:
    """Yield a problem for each middleware that may answer before the gate.

    Args:
        app: the app. The middlewares that were added last are the outermost.
        gate: the class of the gate.

    It does not see middlewares around the app object.
    """
    for middleware in app.user_middleware:
        kind: Any = middleware.cls
        if isinstance(kind, type) and issubclass(kind, gate | ClientCertificateMiddleware):
            return
        layer = describe_middleware(kind, middleware.kwargs)
        if layer.is_open() and layer.name != _CORS:
            yield Problem(
                f"the middleware {layer.name}",
                "was added after Arrcert(app), so it is around the gate, and requests that it"
                " answers itself are not checked; add it on a line above Arrcert(app); you can"
                " ignore this if its answers may be seen without a certificate",
            )


def dotted(named: Any) -> str:
    """Return the dotted name of a class or a function, or of the class of an object."""
    return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"
