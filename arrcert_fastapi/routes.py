"""What the routes of a FastAPI app require."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, MutableMapping
from typing import Any, NamedTuple, cast

from fastapi import FastAPI, routing
from starlette.routing import Match

from arrcert_fastapi.dependency import RequireClientCertificate


class Endpoint(NamedTuple):
    """An endpoint of an app: a route that can have dependencies.

    Attributes:
        path: the path's pattern.
        methods: the methods, sorted; empty for a WebSocket.
        requirements: the `RequireClientCertificate` dependencies of the route.
        lacks_parentheses: whether the route has the class itself as a dependency.
        lacks_depends: the default of a parameter that is a `RequireClientCertificate`, or the class
            itself, without `Depends`; None if there is no such parameter. FastAPI does not call it.
    """

    path: str
    methods: tuple[str, ...]
    requirements: tuple[RequireClientCertificate, ...]
    lacks_parentheses: bool
    lacks_depends: RequireClientCertificate | None = None

    def __str__(self) -> str:
        return f"{','.join(self.methods) or 'WebSocket'} {self.path}"


def endpoints(app: FastAPI) -> Iterator[Endpoint]:
    """Yield every endpoint of an app and of its included routers.

    Args:
        app: the app.

    It does not look into mounted apps.
    """
    for route in effective_routes(app.routes):
        dependant = getattr(route, "dependant", None)
        if dependant is not None:
            yield Endpoint(
                str(route.path),
                tuple(sorted(getattr(route, "methods", None) or ())),
                _requirements_in(dependant),
                RequireClientCertificate in calls_in(dependant),
                _default_in(dependant),
            )


def requirements_at(
    app: FastAPI, scope: MutableMapping[str, Any]
) -> tuple[RequireClientCertificate, ...]:
    """Return what the route of a request or a handshake requires; an empty tuple without a route.

    Args:
        app: the app.
        scope: the ASGI scope. It is not changed.

    As in FastAPI, the first route that matches is used. A mounted FastAPI app may have its own
    dependencies.
    """
    return _requirements_in(_dependant_at(app, scope))


def default_at(app: FastAPI, scope: MutableMapping[str, Any]) -> RequireClientCertificate | None:
    """Return the default without `Depends` in the route of a request; see `lacks_depends`.

    Args:
        app: the app.
        scope: the ASGI scope. It is not changed.
    """
    return _default_in(_dependant_at(app, scope))


def _dependant_at(app: FastAPI, scope: MutableMapping[str, Any]) -> Any:
    """Return FastAPI's `Dependant` of the route of a request, or None."""
    for route in effective_routes(app.routes):
        match, child_scope = route.matches(dict(scope))
        if match is not Match.FULL:
            continue
        inside = getattr(route, "app", None)
        if isinstance(inside, FastAPI):
            return _dependant_at(inside, {**scope, **child_scope})
        return getattr(route, "dependant", None)
    return None


def effective_routes(routes: Any) -> Iterator[Any]:
    """Yield routes in the order in which FastAPI tries them, with prefixes and dependencies.

    Args:
        routes: the routes of an app or of a router.

    In newer versions of FastAPI an included router is one route of the app. `iter_route_contexts`
    returns the routes in it with the prefix and the dependencies of the app.
    """
    contexts = getattr(routing, "iter_route_contexts", None)
    yield from routes if contexts is None else contexts(routes)


def calls_in(dependant: Any, replaced: Collection[object] = ()) -> Iterator[object]:
    """Yield what a route calls: its dependencies, nested ones too, and its endpoint.

    Args:
        dependant: FastAPI's `Dependant` of the route; None for a route without dependencies.
        replaced: dependencies that are left out, together with their own dependencies.
    """
    if dependant is not None and dependant.call not in replaced:
        yield dependant.call
        for inner in dependant.dependencies:
            yield from calls_in(inner, replaced)


def _default_in(dependant: Any) -> RequireClientCertificate | None:
    """Return the first parameter default of a route that checks nothing, or None."""
    for call in calls_in(dependant):
        # FastAPI has read the signature of each call already.
        for parameter in inspect.signature(cast("Callable[..., Any]", call)).parameters.values():
            if isinstance(parameter.default, RequireClientCertificate):
                return parameter.default
            if parameter.default is RequireClientCertificate:
                return RequireClientCertificate()
    return None


def _requirements_in(dependant: Any) -> tuple[RequireClientCertificate, ...]:
    return tuple(call for call in calls_in(dependant) if isinstance(call, RequireClientCertificate))
