"""What answers requests of a Django site before arrcert's check, as far as the site shows it.

Layers around Django's own app, routes of Channels and middleware before arrcert's answer without
the gate. Their requests do not reach arrcert, so arrcert can report them, but cannot refuse them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

from arrcert.engine_io import log_polling
from arrcert.exceptions import ConfigurationError, Problem
from arrcert.layers import name_of
from arrcert.routes import Effect, Layer, Verdict
from arrcert.surroundings import describe_all, layers_around, walk_asgi
from arrcert_django import conf
from arrcert_django.startup import MIDDLEWARE, imported, is_active

__all__ = ["describe_middleware", "log_unguarded", "problems_of_asgi"]

_logger = logging.getLogger("arrcert")

_ANSWERING = {
    "corsheaders.middleware.CorsMiddleware": "answers preflights",
    "django.middleware.cache.FetchFromCacheMiddleware": "answers with cached pages",
    "django.middleware.common.CommonMiddleware": "redirects known paths without a slash",
    "whitenoise.middleware.WhiteNoiseMiddleware": "answers requests for files",
}
"""Middlewares that answer some requests themselves, and which requests. Subclasses count too."""

_PASSING = {
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware",
}
"""Middlewares that do not answer with content of the site before the check. A subclass may do
so."""

_HARMLESS = {"corsheaders.middleware.CorsMiddleware"}
"""Middlewares whose own answers hold nothing of the site. Their documented place is before the
gate."""

_KINDS = {"http": "HTTP requests", "websocket": "WebSockets"}
"""The types of ASGI scopes, and their names for people."""

_OPEN = (Verdict.OPEN, Verdict.UNKNOWN)


class _Served(NamedTuple):
    """An app that may be served.

    Attributes:
        setting: the name of the setting that names it.
        path: its dotted path.
        app: the app.
    """

    setting: str
    path: str
    app: Any


def describe_middleware(path: str, entry: object) -> Layer:
    """Return the description of a middleware before arrcert's.

    Args:
        path: its entry in `MIDDLEWARE`.
        entry: what the entry names; None if it cannot be imported.
    """
    if path in _PASSING:
        return Layer("MIDDLEWARE", path, Effect.PASSES)
    for base in getattr(entry, "__mro__", ()):
        answers = _ANSWERING.get(f"{base.__module__}.{base.__qualname__}")
        if answers is not None:
            return Layer("MIDDLEWARE", path, Effect.ANSWERS, f"it {answers} before the gate")
    return Layer("MIDDLEWARE", path, Effect.UNKNOWN, "it may answer requests before the gate")


def problems_of_asgi(*, unknown_layers: bool = True) -> list[Problem]:
    """Return the problem of an `ASGI_APPLICATION` that answers without a check, if there is one.

    Args:
        unknown_layers: whether a layer that arrcert does not know is a problem.

    There is none if only decorated views must be protected, or if the app cannot be imported. An
    app that this process has not imported is imported only if Channels is installed, because
    servers of Channels often run in another process. It checks only the app that `ASGI_APPLICATION`
    names; without the setting, `application` in the module `asgi` next to the URLconf.
    """
    served = _loaded("ASGI_APPLICATION") if _protects_all() else None
    if served is None:
        return []
    open_kinds: dict[str, str] = {}
    views: dict[str, None] = {}
    layers: dict[Layer, None] = {}
    for kind, word in _KINDS.items():
        found = walk_asgi(served.app, kind)
        rows = [row for row in found.routes if row.decision.verdict in _OPEN]
        if rows:
            open_kinds[kind] = word
        views |= dict.fromkeys(row.view for row in rows)
        layers |= dict.fromkeys(
            layer
            for layer in found.layers
            if layer.effect is Effect.ANSWERS or (unknown_layers and layer.is_open())
        )
    reasons = [_reason_of(layer) for layer in layers]
    if open_kinds:
        is_known = name_of(served.app) not in views
        reasons.append(
            f"it {'answers' if is_known else 'may answer'} {' and '.join(open_kinds.values())}"
            f" that are not checked ({', '.join(views)}): the middleware of"
            " Django does not see them"
        )
    if not reasons:
        return []
    routed = getattr(served.app, "application_mapping", None)
    if isinstance(routed, Mapping) and not layers:
        places = [
            f'"{kind}": ClientCertificateMiddleware(<the app there now>, {_arguments()})'
            for kind in open_kinds
        ]
        return [_problem(served, reasons, "asgi", ", ".join(places))]
    return [_problem(served, reasons, "asgi")]


def log_unguarded() -> None:
    """Write an ERROR to the log for each thing that may answer requests before the check.

    It judges `WSGI_APPLICATION` and `ASGI_APPLICATION` as far as this process has imported them,
    and the middleware before arrcert's. Nothing is written about what is known to pass every
    request on.
    """
    wsgi, asgi = _loaded("WSGI_APPLICATION"), _loaded("ASGI_APPLICATION")
    for served in filter(None, (wsgi, asgi)):
        log_polling(served.app)
    if not _protects_all():
        return
    problems = [*_problems_of_wsgi(wsgi), *problems_of_asgi()]
    if not _is_behind_a_check(wsgi, asgi):
        problems += _problems_of_middleware()
    for problem in problems:
        _logger.error("configuration: %s", problem)


def _problems_of_wsgi(served: _Served | None) -> list[Problem]:
    """Return the problem of a `WSGI_APPLICATION` that answers without a check, if there is one."""
    if served is None:
        return []
    around = layers_around(served.app)
    if type(around[-1]) is WSGIHandler:
        del around[-1]
    reasons = [_reason_of(layer) for layer in describe_all("WSGI", around)[1] if layer.is_open()]
    return [_problem(served, reasons, "wsgi")] if reasons else []


def _problems_of_middleware() -> Iterator[Problem]:
    """Yield a problem for each middleware that may answer before arrcert's."""
    entries = [(path, imported(path)) for path in settings.MIDDLEWARE]
    for path, entry in entries[: _position_of_gate([entry for _, entry in entries])]:
        layer = describe_middleware(path, entry)
        if layer.is_open() and path not in _HARMLESS:
            yield Problem(
                "MIDDLEWARE",
                f"{_reason_of(layer)}; move {MIDDLEWARE} before it, directly after"
                " SecurityMiddleware; you can ignore this if its answers may be seen without a"
                " certificate",
            )


def _position_of_gate(middleware: list[object]) -> int:
    """Return the position of arrcert's middleware; 0 if there is none."""
    from arrcert_django.middleware import ClientCertificateMiddleware

    factories = [0]
    for position, entry in enumerate(middleware):
        if isinstance(entry, type) and issubclass(entry, ClientCertificateMiddleware):
            return position
        if not isinstance(entry, type):
            factories.append(position)
    # It is not known which factory makes it. Take the last one, which has the most middleware
    # before it.
    return factories[-1] if is_active() else 0


def _is_behind_a_check(wsgi: _Served | None, asgi: _Served | None) -> bool:
    """Return whether a check is around Django's own app on every way that can be seen."""
    ways = []
    if asgi is not None:
        ways += walk_asgi(asgi.app, "http").ways_to_django
    if wsgi is not None:
        ways.append(describe_all("WSGI", layers_around(wsgi.app))[0])
    return bool(ways) and all(ways)


def _reason_of(layer: Layer) -> str:
    if layer.effect is Effect.UNKNOWN:
        return (
            f"arrcert does not know {layer.name}; requests that it answers itself are not checked"
        )
    return f"{layer.name} {layer.meaning.removeprefix('it ')}"


def _problem(served: _Served, reasons: list[str], kind: str, write: str | None = None) -> Problem:
    module, _, name = served.path.rpartition(".")
    write = write or f"{name} = ClientCertificateMiddleware({name}, {_arguments()})"
    return Problem(
        served.setting,
        f"{served.path}: {'; '.join(reasons)}; write in {module} `from arrcert.{kind} import"
        " ClientCertificateMiddleware`, `from arrcert_django.authorization import"
        f" current_authorizer` and `{write}`, with the paths that are open on purpose as"
        " exempt_paths=[...]",
    )


def _arguments() -> str:
    try:
        several = len(conf.current().settings.policies) > 1
    except ConfigurationError:
        several = False
    return "current_authorizer, policy=None" if several else "current_authorizer"


def _loaded(setting: str) -> _Served | None:
    """Return the app that a setting names, None if this process does not serve it."""
    path, urlconf = (getattr(settings, name, None) for name in (setting, "ROOT_URLCONF"))
    is_named = isinstance(path, str)
    if not is_named and isinstance(urlconf, str):
        # The place that Django's `startproject` uses.
        package = urlconf.rpartition(".")[0]
        path = f"{package}.{setting[:4].lower()}.application".lstrip(".")
    module, _, name = str(path).rpartition(".")
    app = getattr(sys.modules.get(module), name, None)
    if app is None and is_named and setting == "ASGI_APPLICATION" and find_spec("channels"):
        app = imported(str(path))
    return None if app is None else _Served(setting, str(path), app)


def _protects_all() -> bool:
    try:
        return conf.current().settings.protect_all
    except ConfigurationError:
        return getattr(settings, "ARRCERT_PROTECT_ALL", None) is not False
