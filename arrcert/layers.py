"""The layers around a WSGI or ASGI app: which of them answer requests, and which pass them on."""

from __future__ import annotations

from collections.abc import Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

DISPATCHER = "werkzeug.middleware.dispatcher.DispatcherMiddleware"
"""The class of a middleware that passes some paths to the apps in its attribute `mounts`."""

ANSWERING = {
    "django.contrib.staticfiles.handlers.ASGIStaticFilesHandler": "answers requests for files",
    "django.contrib.staticfiles.handlers.StaticFilesHandler": "answers requests for files",
    "engineio.async_drivers.asgi.ASGIApp": "answers all requests and WebSockets of Socket.IO",
    "engineio.middleware.WSGIApp": "answers all requests and WebSockets of Socket.IO",
    DISPATCHER: "passes paths to other apps",
    "werkzeug.middleware.shared_data.SharedDataMiddleware": "answers requests for files",
    "werkzeug.middleware.http_proxy.ProxyMiddleware": "passes paths to other servers",
    "werkzeug.debug.DebuggedApplication": "answers requests of the debugger",
    "whitenoise.base.WhiteNoise": "answers requests for files",
}
"""Classes that answer some requests themselves, and which requests. Subclasses count too."""

PASSING = {
    "channels.auth.AuthMiddleware",
    "channels.sessions.CookieMiddleware",
    "channels.sessions.SessionMiddleware",
    "channels.security.websocket.OriginValidator",
    "opentelemetry.instrumentation.asgi.OpenTelemetryMiddleware",
    "opentelemetry.instrumentation.flask._rewrapped_app.<locals>._wrapped_app",
    "opentelemetry.instrumentation.wsgi.OpenTelemetryMiddleware",
    "sentry_sdk.integrations.asgi.SentryAsgiMiddleware",
    "sentry_sdk.integrations.wsgi.SentryWsgiMiddleware",
    "uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware",
    "werkzeug.middleware.lint.LintMiddleware",
    "werkzeug.middleware.profiler.ProfilerMiddleware",
    "werkzeug.middleware.proxy_fix.ProxyFix",
}
"""Classes and functions that pass every request on. A subclass may do something else."""

_INNER = ("wsgi_app", "app", "application", "_app", "inner", "other_asgi_app", "__wrapped__")
"""The attributes in which a layer keeps what it wraps."""


def layers(app: object) -> Iterator[Any]:
    """Yield an app and what it wraps, from the outermost layer to the innermost.

    Args:
        app: a WSGI or ASGI app with its middlewares.

    It stops if it cannot find what a layer wraps, or if a layer wraps itself.
    """
    seen: list[Any] = []
    layer: Any = app
    while layer is not None and not any(layer is other for other in seen):
        yield layer
        seen.append(layer)
        layer = inner(layer)


def inner(layer: Any) -> Any:
    """Return the object that a layer wraps, or None if it cannot be found.

    Args:
        layer: a layer around an app, or the app.
    """
    if isinstance(layer, FunctionType):
        names, cells = layer.__code__.co_freevars, layer.__closure__ or ()
        held = dict(zip(names, map(_content, cells), strict=True))
    else:
        held = getattr(layer, "__dict__", {})
    return next((held[name] for name in _INNER if name in held), None)


def is_of_channels(layer: object) -> bool:
    """Return whether a layer is of Channels, or of a class derived from one of its classes."""
    # Channels is not imported, because the core must not depend on it.
    return any(base.__module__.split(".")[0] == "channels" for base in type(layer).__mro__)


def name_of(layer: Any) -> str:
    """Return the dotted name of a layer's class, or of a function or method."""
    if isinstance(layer, MethodType):
        layer = layer.__func__
    return _full_name(layer if isinstance(layer, FunctionType) else type(layer))


def answers_of(layer: Any) -> str | None:
    """Return which requests a layer answers itself, or None if that is not known."""
    answers = map(ANSWERING.get, class_names(layer))
    return next((answer for answer in answers if answer is not None), None)


def class_names(layer: Any) -> list[str]:
    """Return the dotted names of a layer's class and of the classes that it derives from."""
    return [_full_name(base) for base in type(layer).__mro__]


def passes_on(layer: Any) -> bool:
    """Return whether a layer is known to pass every request on."""
    return name_of(layer) in PASSING


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # The variable has no value yet.


def _full_name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"
