"""What is around an app, for the route audit: layers, checks, and routes of Channels."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from arrcert import asgi, wsgi
from arrcert.adapters import DEEPEST_STACK
from arrcert.engine_io import WRITE, offers_polling
from arrcert.expiry import Ending
from arrcert.layers import DISPATCHER, answers_of, inner, is_of_channels, layers, name_of, passes_on
from arrcert.moments import timestamp
from arrcert.routes import (
    OPEN,
    Check,
    Decision,
    Effect,
    End,
    Layer,
    Report,
    Route,
    Shape,
    Verdict,
    extend,
    rows,
)
from arrcert.settings import Settings

_DJANGO = "django.core.handlers.asgi.ASGIHandler"
"""The class of Django's own ASGI app, whose routes the adapter for Django lists."""

EVERY_PATH = Shape("/*", "/", False)
"""The path of an app whose routes are not known."""

ROOT = Shape("/", "/", True)
"""The shape before the paths of a router: the root of the site."""

_WEBSOCKET, _HTTP = "websocket", "http"


def layers_around(app: object) -> list[Any]:
    """Return an app and what it wraps, the outermost layer first; at most a hundred layers.

    Args:
        app: a WSGI or ASGI app.
    """
    return list(islice(layers(app), DEEPEST_STACK))


def check_of(layer: object) -> Check | None:
    """Return the check of a layer that is a middleware of arrcert; None for any other layer.

    Args:
        layer: a layer around an app.
    """
    if not isinstance(layer, wsgi.ClientCertificateMiddleware | asgi.ClientCertificateMiddleware):
        return None
    kind = "WSGI" if isinstance(layer, wsgi.ClientCertificateMiddleware) else "ASGI"
    policy, name = layer.gate.policy, f"{kind} middleware"
    policies = () if policy is None else (policy,)
    return Check(name, policies, layer.gate.exempt_paths, f"exempt path of the {name}")


def describe(kind: str, layer: object, *, is_behind: bool) -> Layer:
    """Return the description of a layer around an app.

    Args:
        kind: `WSGI` or `ASGI`.
        layer: the layer.
        is_behind: whether a check is around it.
    """
    name, check = name_of(layer), check_of(layer)
    if check is not None:
        meaning = " + ".join(check.policies) or "any policy"
        if check.exempt_paths.entries:
            meaning += f"; exempt: {', '.join(check.exempt_paths.entries)}"
        return Layer(kind, name, Effect.CHECKS, meaning)
    polling = f"it offers long polling; {WRITE}" if offers_polling(layer) else ""
    if is_behind:
        return Layer(kind, name, Effect.BEHIND, polling)
    if passes_on(layer):
        return Layer(kind, name, Effect.PASSES)
    if name == DISPATCHER:
        return Layer(kind, name, Effect.PASSES, "paths to other apps, each of which has a row")
    answers = answers_of(layer)
    if answers is not None:
        return Layer(
            kind,
            name,
            Effect.ANSWERS,
            f"it {answers} before any check" + (polling and f"; {polling}"),
        )
    return Layer(kind, name, Effect.UNKNOWN, "it may answer requests before any check")


def describe_all(kind: str, around: Iterable[object]) -> tuple[list[Check], list[Layer]]:
    """Return the checks among the layers around an app, and a description of each layer.

    Args:
        kind: `WSGI` or `ASGI`.
        around: the layers without the app itself, the outermost first.
    """
    checks: list[Check] = []
    described = []
    for layer in around:
        described.append(describe(kind, layer, is_behind=bool(checks)))
        check = check_of(layer)
        checks += [] if check is None else [check]
    return checks, described


def takes_scope(app: object) -> bool:
    """Return whether an app is an ASGI app rather than a WSGI app.

    Args:
        app: an app.
    """
    # B004 recommends `callable`, but the function itself is needed.
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
        getattr(app, "__call__", None)  # noqa: B004
    )


def report_of_any_app(app: object, *, is_asgi: bool) -> Report:
    """Return the report of an app whose framework arrcert does not know.

    Args:
        app: a WSGI or ASGI app.
        is_asgi: whether it is an ASGI app.

    The routes are not known, so the report has one row for all paths.
    """
    if is_asgi:
        found = [walk_asgi(app, kind) for kind in (_HTTP, _WEBSOCKET)]
        described = dict.fromkeys(layer for part in found for layer in part.layers)
        return Report([route for part in found for route in part.routes], list(described), [], [])
    around = layers_around(app)
    # The innermost layer that can be seen is the app itself.
    innermost = around[-1] if check_of(around[-1]) is None else None
    checks, layers_found = describe_all("WSGI", around[:-1] if innermost else around)
    view = name_of(innermost) if innermost else "an app that cannot be seen"
    return Report(list(rows(EVERY_PATH, (), view, OPEN, checks)), layers_found, [], [])


class AsgiApp(NamedTuple):
    """The routes of an ASGI app outside Django, and the layers around them.

    Attributes:
        routes: the routes that do not lead to Django.
        layers: the layers around them, each once.
        ways_to_django: for each way to Django's own app, the checks on that way.
    """

    routes: list[Route]
    layers: list[Layer]
    ways_to_django: list[list[Check]]


def walk_asgi(app: object, kind: str) -> AsgiApp:
    """Return the routes of an ASGI app outside Django, and the layers around them.

    Args:
        app: the ASGI app, such as the one that `ASGI_APPLICATION` names.
        kind: the type of the scope: `websocket` or `http`.

    It looks through the routers and middlewares of Channels.
    """
    found = AsgiApp([], [], [])
    _walk(app, kind, ROOT, [], found, DEEPEST_STACK)
    return found._replace(layers=list(dict.fromkeys(found.layers)))


def on_purpose(settings: Settings) -> list[str]:
    """Return lines about the settings that open something or switch off a check.

    Args:
        settings: the settings of a site.
    """
    lines = []
    if not settings.protect_all:
        lines.append("ARRCERT_PROTECT_ALL is False: only views that name a policy are checked")
    elif settings.exempt_paths.entries:
        lines.append(f"ARRCERT_EXEMPT_PATHS: {', '.join(settings.exempt_paths.entries)}")
    ingress = settings.ingress
    if not ingress.refuse_unsafe_servers:
        lines.append(
            "ARRCERT_REFUSE_UNSAFE_SERVERS is False: a server that folds header names is not"
            " refused"
        )
    if ingress.cross_site_origins:
        origins = ", ".join(sorted(ingress.cross_site_origins))
        lines.append(f"ARRCERT_CROSS_SITE_ORIGINS: {origins}")
    return lines


def ends(settings: Settings) -> list[End]:
    """Return what expires in the policies of a site, the earliest first.

    Args:
        settings: the settings of a site.

    If the policies are in a file, this uses the current content of the file.
    """
    policies = settings.policies if settings.file is None else settings.file.current().policies
    endings: dict[object, Ending] = {}
    holders: dict[object, set[str]] = {}
    for name, alternatives in policies.items():
        for policy in alternatives:
            for ending in policy.endings():
                # Policies with the same file have equal revocation lists, but not the same objects.
                key = (ending.at, *ending.key)
                endings[key] = ending
                holders.setdefault(key, set()).add(name)
    now = time.time()
    return [
        End(
            tuple(sorted(holders[key])),
            ending.described(),
            timestamp(ending.at),
            ending.days_left(now),
        )
        for key, ending in sorted(endings.items(), key=lambda item: item[1].at)
    ]


def _walk(
    app: Any, kind: str, shape: Shape, checks: Sequence[Check], found: AsgiApp, depth: int
) -> None:
    """Add the routes of an ASGI app and of everything inside it.

    Args:
        app: the ASGI app.
        kind: the type of the scope.
        shape: the path that leads to it.
        checks: the checks around it.
        found: the object that gets the routes and layers.
        depth: how many more layers are followed.
    """
    methods = ("WEBSOCKET",) if kind == _WEBSOCKET else ()
    path = EVERY_PATH if shape == ROOT else shape
    if depth == 0:
        unknown = Decision(Verdict.UNKNOWN, (), "too many layers around it")
        found.routes.append(Route(path.text, methods, name_of(app), unknown))
        return
    if name_of(app) == _DJANGO:
        # Django's own app refuses WebSockets.
        if kind == _HTTP:
            found.ways_to_django.append(list(checks))
        return
    protocols = getattr(app, "application_mapping", None)
    if isinstance(protocols, Mapping):
        # Channels refuses a protocol that is not listed.
        if kind in protocols:
            _walk(protocols[kind], kind, shape, checks, found, depth - 1)
        return
    if is_of_channels(app) and isinstance(getattr(app, "routes", None), list | tuple):
        for route in app.routes:
            callback = getattr(route, "callback", None)
            is_router = hasattr(callback, "routes")
            below = extend(shape, route.pattern, is_endpoint=not is_router)
            _walk(callback, kind, below, checks, found, depth - 1)
        return
    inside = inner(app)
    if inside is None and check_of(app) is None:
        consumer = getattr(app, "consumer_class", None)
        view = f"{consumer.__module__}.{consumer.__qualname__}" if consumer else name_of(app)
        found.routes.extend(rows(path, methods, view, OPEN, checks))
        return
    found.layers.append(describe("ASGI", app, is_behind=bool(checks)))
    check = check_of(app)
    _walk(inside, kind, shape, checks if check is None else [*checks, check], found, depth - 1)
