"""The route audit of a FastAPI app: what checks each endpoint, and the layers around the app."""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Mount, WebSocketRoute

from arrcert.asgi import ClientCertificateMiddleware
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.layers import name_of
from arrcert.routes import (
    ANY_OTHER_PATH,
    OPEN,
    Check,
    Decision,
    Effect,
    Layer,
    Report,
    Route,
    Shape,
    Verdict,
    by_role,
    exact_entries,
    merged,
    rows,
)
from arrcert.surroundings import check_of, describe, describe_all, ends, layers_around, on_purpose
from arrcert_fastapi.dependency import RequireClientCertificate
from arrcert_fastapi.extension import settings_of
from arrcert_fastapi.gate import GateMiddleware
from arrcert_fastapi.middlewares import describe_middleware, dotted
from arrcert_fastapi.routes import calls_in, effective_routes

_DEEPEST_MOUNT = 20
"""The largest depth of nested apps that is followed."""

_WEBSOCKET = "WEBSOCKET"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", _WEBSOCKET)

_REPLACED = Decision(
    Verdict.UNKNOWN, (), "app.dependency_overrides replaces RequireClientCertificate"
)
_TOO_DEEP = Decision(Verdict.UNKNOWN, (), "too many mounted apps inside each other")

_TOP = Shape("", "", True)
"""The shape before the paths of the app that is served: the root of the site."""


class _Place(NamedTuple):
    """An app inside the app that is served, or that app itself.

    Attributes:
        shape: the path that leads to it.
        checks: the checks around the app, the outermost first.
        reached: the exempt paths that lead to the app, each with the scope of a request to that
            path.
        overridden: the dependencies that the outermost gate does not check, because tests replace
            them.
        depth: how many apps are around it.
    """

    shape: Shape
    checks: Sequence[Check]
    reached: Sequence[tuple[str, MutableMapping[str, Any]]]
    overridden: Collection[object]
    depth: int = 0


def report(app: Starlette, around: Sequence[object] = ()) -> Report:
    """Return the route audit of an app.

    Args:
        app: the app, made with FastAPI or with Starlette.
        around: the layers around the app object, the outermost first.

    It sends no request and runs no endpoint. It follows mounted apps if their routes can be read.
    It does not see checks inside an endpoint or a dependency of the site.
    """
    checks, layers = describe_all("ASGI", around)
    gate, own_layers = _middlewares(app, _TOP, is_behind=bool(checks))
    reached = list(_requests([*checks, *gate], _TOP))
    overridden = getattr(app, "dependency_overrides", {})
    found = list(_rows_of_app(app, _Place(_TOP, [*checks, *gate], reached, overridden)))
    if checks or gate:
        found += rows(Shape(ANY_OTHER_PATH, "", True), (), "", OPEN, [*checks, *gate])
    settings = settings_of(app)
    purposes = [] if settings is None else on_purpose(settings)
    purposes += [
        f"app.dependency_overrides replaces {call!r}"
        for call in overridden
        if isinstance(call, RequireClientCertificate)
    ]
    ending = [] if settings is None else ends(settings)
    return Report(found, [*layers, *own_layers], purposes, ending)


def _middlewares(app: object, shape: Shape, *, is_behind: bool) -> tuple[list[Check], list[Layer]]:
    """Return the checks among an app's middlewares, and the layers up to the first check."""
    checks: list[Check] = []
    layers: list[Layer] = []
    for middleware in getattr(app, "user_middleware", ()):
        kind, options = middleware.cls, middleware.kwargs
        check = None
        if kind is GateMiddleware:
            exempt = options["exempt_paths"]
            check = Check("gate", ("default",), exempt, "ARRCERT_EXEMPT_PATHS")
            layer = Layer("MIDDLEWARE", dotted(kind), Effect.CHECKS, "the gate")
        elif isinstance(kind, type) and issubclass(kind, ClientCertificateMiddleware):
            made = kind(_no_app, *middleware.args, **options)
            check = check_of(made)
            layer = describe("MIDDLEWARE", made, is_behind=False)
        else:
            layer = describe_middleware(kind, options)
        if not checks and not is_behind:
            layers.append(layer)
        checks += [] if check is None else [check]
    return [found for check in checks for found in _below(check, shape)], layers


async def _no_app(scope: object, receive: object, send: object) -> None:
    """A placeholder for the app inside a middleware that is created only for the audit."""


def _below(check: Check, shape: Shape) -> Iterator[Check]:
    """Yield the check of a mounted app with exempt paths as the client sends them."""
    entries = check.exempt_paths.entries
    if not entries or shape == _TOP:
        yield check
    elif shape.is_whole:
        exempt = ExemptPaths([f"{shape.start}{entry}" for entry in entries])
        yield check._replace(exempt_paths=exempt)
    # Below a variable part the exempt paths are not known, so the check is left out.


def _rows_of_app(app: Any, place: _Place) -> Iterator[Route]:
    """Yield the rows of an app and of the apps that it mounts, in the order of its routes."""
    routes = list(effective_routes(app.routes))
    mounted: list[str] = []
    seen: set[tuple[str, str]] = set()
    for route in routes:
        shape = _extend(place.shape, route)
        if any(shape.text.startswith(f"{other}/") for other in mounted):
            continue  # An app that was mounted earlier answers.
        reached = [
            (entry, {**scope, **route.matches(dict(scope))[1]})
            for entry, scope in place.reached
            if _first(routes, scope) is route
        ]
        if _is_mount(route):
            yield from _rows_of_mount(route.app, place, shape, reached)
            path = getattr(route, "path", None)  # A `Host` route has no path.
            if path is not None and "{" not in path:
                mounted.append(shape.text)
            continue
        methods = [
            method
            for method in _methods_of(route)
            if (shape.text, method) not in seen and not _is_hidden(route, routes, method)
        ]
        seen.update((shape.text, method) for method in methods)
        if methods:
            exempt = dict.fromkeys(entry for entry, _ in reached if entry != shape.text)
            yield from _rows_of_endpoint(app, route, place, shape, methods, list(exempt))


def _rows_of_endpoint(
    app: Any,
    route: Any,
    place: _Place,
    shape: Shape,
    methods: Sequence[str],
    exempt: Sequence[str],
) -> list[Route]:
    """Return the rows of an endpoint: one, and one for each part of its paths that is exempt."""
    requirements = _requirements(route, ())
    replaced = getattr(app, "dependency_overrides", {})
    called = _requirements(route, replaced)
    checks = [
        *place.checks,
        *(
            found
            for check in map(check_of, layers_around(getattr(route, "app", None)))
            if check is not None
            for found in _below(check, place.shape)
        ),
    ]
    decision = OPEN
    if called:
        decision = _by(called, "dependency")
    elif requirements:
        # The gate checks the requirements of the route, except those that a test replaces.
        held = [one for one in requirements if one not in place.overridden]
        policies = tuple(dict.fromkeys(one.policy for one in held))
        decision = _REPLACED
        checks = [
            check._replace(policies=policies) if check.name == "gate" else check
            for check in checks
            if check.name != "gate" or held
        ]
    shown = [method for method in methods if method]
    return merged(rows(shape, shown, _view(route), decision, checks, exempt))


def _rows_of_mount(
    app: Any,
    place: _Place,
    shape: Shape,
    reached: Sequence[tuple[str, MutableMapping[str, Any]]],
) -> Iterator[Route]:
    """Yield the rows of a mounted app; one row if its routes cannot be read."""
    around = layers_around(app)
    inside: list[Check] = []
    for layer in around:
        check = check_of(layer)
        inside += [] if check is None else _below(check, shape)
        inside += _middlewares(layer, shape, is_behind=True)[0]
        if isinstance(getattr(layer, "routes", None), list) and place.depth < _DEEPEST_MOUNT:
            checks, requests = [*place.checks, *inside], [*reached, *_requests(inside, shape)]
            below = _Place(shape, checks, requests, place.overridden, place.depth + 1)
            yield from _rows_of_app(layer, below)
            return
    paths = Shape(f"{shape.text}/*", f"{shape.start}/" if shape.is_whole else shape.start, False)
    decision = _TOO_DEEP if place.depth >= _DEEPEST_MOUNT else OPEN
    exempt = dict.fromkeys(entry for entry, _ in reached)
    checks = [*place.checks, *inside]
    yield from rows(paths, (), name_of(around[-1]), decision, checks, list(exempt))


def _requirements(route: Any, replaced: Collection[object]) -> list[RequireClientCertificate]:
    """Return the dependencies of a route that require a certificate."""
    calls = calls_in(getattr(route, "dependant", None), replaced)
    return [call for call in calls if isinstance(call, RequireClientCertificate)]


def _by(requirements: Sequence[RequireClientCertificate], name: str) -> Decision:
    policies = dict.fromkeys(one.policy for one in requirements)
    by = dict.fromkeys(by_role(name, one.role) for one in requirements)
    return Decision(Verdict.PROTECTED, tuple(policies), " + ".join(by))


def _extend(shape: Shape, route: Any) -> Shape:
    """Return the path of a route or a mount."""
    host = getattr(route, "host", None)
    if host is not None and _is_mount(route):
        return shape._replace(text=f"//{host}{shape.text}")
    path = str(route.path)
    literal, variable, _ = path.partition("{")
    start = f"{shape.start}{literal}" if shape.is_whole else shape.start
    return Shape(f"{shape.text}{path}", start, shape.is_whole and not variable)


def _is_mount(route: Any) -> bool:
    """Return whether a route passes its paths to another app."""
    return isinstance(_original(route), Mount) or getattr(route, "endpoint", None) is None


def _original(route: Any) -> BaseRoute:
    original: BaseRoute = getattr(route, "original_route", route)
    return original


def _methods_of(route: Any) -> list[str]:
    """Return the methods of a route: `WEBSOCKET` for a WebSocket, an empty text for any method."""
    if isinstance(_original(route), WebSocketRoute):
        return [_WEBSOCKET]
    return sorted(getattr(route, "methods", None) or [""])


def _is_hidden(route: Any, routes: Sequence[Any], method: str) -> bool:
    """Return whether another route answers at the path of a route without variable parts."""
    if "{" in route.path:
        return False
    return _first(routes, _scope(route.path, method or "GET")) is not route


def _requests(checks: Sequence[Check], shape: Shape) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each exempt path of some checks, with the scope of a request to the mounted app."""
    for entry in exact_entries(checks):
        for method in _METHODS:
            yield entry, _scope(entry.removeprefix(shape.start), method)


def _first(routes: Sequence[Any], scope: MutableMapping[str, Any]) -> Any:
    """Return the route that answers a request, as Starlette finds it; None without one."""
    for route in routes:
        if route.matches(dict(scope))[0] is Match.FULL:
            return route
    return None


def _scope(path: str, method: str) -> dict[str, Any]:
    """Return the scope of a request, or of a handshake for the method `WEBSOCKET`."""
    scope = {"path": path, "root_path": "", "headers": [], "type": "http", "method": method}
    return scope if method != _WEBSOCKET else {**scope, "type": "websocket"}


def _view(route: Any) -> str:
    """Return the dotted name of an endpoint, without the name of the function that defines it."""
    endpoint = route.endpoint
    if not hasattr(endpoint, "__qualname__"):
        return name_of(endpoint)
    return f"{endpoint.__module__}.{endpoint.__qualname__.rpartition('<locals>.')[2]}"
