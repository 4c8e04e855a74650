"""What stands around `app.wsgi_app` and may answer before the app."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from flask import Flask

from arrcert.wsgi import ClientCertificateMiddleware

_ANSWERING = {
    "engineio.middleware.WSGIApp": "answers all requests and WebSockets of Socket.IO",
    "werkzeug.middleware.dispatcher.DispatcherMiddleware": "hands paths to other apps",
    "werkzeug.middleware.shared_data.SharedDataMiddleware": "answers requests for files",
    "werkzeug.middleware.http_proxy.ProxyMiddleware": "hands paths to other servers",
    "werkzeug.debug.DebuggedApplication": "answers requests of the debugger",
    "whitenoise.base.WhiteNoise": "answers requests for files",
}
"""Classes that answer some requests by themselves, subclasses included, and which."""

_PASSING = {
    "werkzeug.middleware.lint.LintMiddleware",
    "werkzeug.middleware.profiler.ProfilerMiddleware",
    "werkzeug.middleware.proxy_fix.ProxyFix",
    "opentelemetry.instrumentation.flask._rewrapped_app.<locals>._wrapped_app",
    "opentelemetry.instrumentation.wsgi.OpenTelemetryMiddleware",
    "sentry_sdk.integrations.wsgi.SentryWsgiMiddleware",
}
"""Classes and functions that pass every request on. A subclass may do something else."""

_INNER = ("wsgi_app", "app", "application", "_app", "__wrapped__")
"""The attributes in which a wrapper keeps what it wraps."""


def wrappers_before_the_check(app: Flask) -> Iterator[tuple[str, str | None]]:
    """Yield each wrapper around `app.wsgi_app` that may answer without a check.

    Args:
        app: the app.

    Yields:
        The wrapper's name, and which requests it answers; None if that is not known.

    What stands inside an `arrcert.wsgi.ClientCertificateMiddleware` is not yielded, because
    it answers only requests that were checked. This does not see what stands around the app itself,
    such as `DispatcherMiddleware(app, ...)`.
    """
    layer: Any = app.wsgi_app
    seen: list[Any] = []
    while layer is not None and not any(layer is other for other in seen):
        if isinstance(layer, ClientCertificateMiddleware) or _is_of_flask(layer, app):
            return
        name = _name_of(layer)
        if name not in _PASSING:
            answers = [_ANSWERING.get(base) for base in map(_full_name, type(layer).__mro__)]
            yield name, next(filter(None, answers), None)
        seen.append(layer)
        layer = _inner(layer)


def _is_of_flask(layer: Any, app: Flask) -> bool:
    """Return whether this is the method of the app that a subclass has not overridden."""
    if getattr(layer, "__self__", None) is not app:
        return False
    # Tools for monitoring replace the method in Flask's own class.
    return next(base for base in type(app).__mro__ if "wsgi_app" in vars(base)) is Flask


def _inner(layer: Any) -> Any:
    """Return what a wrapper wraps, or None if that cannot be seen."""
    if isinstance(layer, FunctionType):
        cells = zip(layer.__code__.co_freevars, layer.__closure__ or (), strict=True)
        held = {name: cell.cell_contents for name, cell in cells if name in _INNER}
    else:
        held = getattr(layer, "__dict__", {})
    return next((held[name] for name in _INNER if name in held), None)


def _name_of(layer: Any) -> str:
    if isinstance(layer, MethodType):
        layer = layer.__func__
    return _full_name(layer if isinstance(layer, FunctionType) else type(layer))


def _full_name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"
