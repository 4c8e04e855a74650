"""The route audit of a Django site: what checks each view, and the layers around the site."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import URLResolver, get_resolver, resolve

from arrcert.adapters import is_exempt_view, policy_named_by, requirement_named_by
from arrcert.exceptions import CertificateDenied, ConfigurationError
from arrcert.inspection import hides_policy, mentions, questions
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
    extend,
    merged,
    rows,
)
from arrcert.surroundings import (
    ROOT,
    describe_all,
    ends,
    layers_around,
    on_purpose,
    takes_scope,
    walk_asgi,
)
from arrcert_django import conf, startup
from arrcert_django.authorization import aauthorize_request, authorize_request
from arrcert_django.middleware import ClientCertificateMiddleware
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.unguarded import describe_middleware
from arrcert_django.urlconf import (
    DEEPEST_URLCONF,
    MOST_VIEWS,
    functions_for,
    handled_methods,
    ninja_operation,
    requirement_of,
    view_class_of,
)

__all__ = ["report"]

_AUTHORIZE = (authorize_request, aauthorize_request)
_CALLS = Decision(
    Verdict.UNKNOWN, (), "authorize_request, called by code that the audit does not run"
)
_HIDDEN = Decision(Verdict.UNKNOWN, (), "a wrapper hides the decorator below it")
_TOO_MANY = Decision(Verdict.UNKNOWN, (), "the URLconf is too deep or too long to be read")


class _Surroundings(NamedTuple):
    """What is around Django's own app.

    Attributes:
        checks: the checks before each request to it.
        layers: the layers around it.
        routes: the routes outside of Django's app, such as WebSockets.
    """

    checks: list[Check]
    layers: list[Layer]
    routes: list[Route]


def report(app: object = None) -> Report:
    """Return the route audit of the site.

    Args:
        app: the WSGI or ASGI app that is served; None for those of `WSGI_APPLICATION` and
            `ASGI_APPLICATION`.

    Raises:
        ConfigurationError: the site refuses to serve.

    It sends no request and runs no view. It calls the permissions of Django REST framework and
    `auth` of django-ninja for a request without a certificate. It does not see checks inside views,
    or URLconfs that middleware sets on requests.
    """
    configuration = conf.build().settings
    middleware = [startup.imported(path) for path in settings.MIDDLEWARE]
    gate = _position_of_gate(middleware)
    startup.refuse_without_middleware()
    problems = _problems_of_views()
    if problems:
        raise ConfigurationError(problems)
    checks, layers, beside = _surroundings(app)
    if gate is not None:
        for path, entry in zip(settings.MIDDLEWARE[:gate], middleware, strict=False):
            layers.append(describe_middleware(path, entry))
        layers.append(Layer("MIDDLEWARE", settings.MIDDLEWARE[gate], Effect.CHECKS, "the gate"))
        exempt = configuration.exempt_paths
        checks.append(Check("gate", ("default",), exempt, "ARRCERT_EXEMPT_PATHS", True))
    routes = [*_Urlconf(checks).routes(), *beside]
    if checks:
        routes += rows(Shape(ANY_OTHER_PATH, "", True), (), "", OPEN, checks)
    return Report(routes, layers, on_purpose(configuration), ends(configuration))


def _position_of_gate(middleware: Sequence[object]) -> int | None:
    """Return the position of arrcert's middleware in `MIDDLEWARE`, or None if it is not active."""
    for position, entry in enumerate(middleware):
        if isinstance(entry, type) and issubclass(entry, ClientCertificateMiddleware):
            return position
    factories = [n for n, entry in enumerate(middleware) if not isinstance(entry, type)]
    if factories:
        WSGIHandler()  # If a factory makes the middleware, it does so now.
        if startup.is_active():
            # It is not known which factory makes it. Take the last one, which has the most
            # middleware before it.
            return factories[-1]
    return None


def _problems_of_views() -> list[Any]:
    try:
        return startup.lost_views() + startup.unchecked_views()
    except Exception:
        return []  # The table says that the URLconf cannot be read.


def _surroundings(app: object) -> _Surroundings:
    """Return what is around Django's own app in each app that may be served."""
    ways: list[list[Check]] = []
    layers: list[Layer] = []
    routes: list[Route] = []
    for name, loaded in _served(app):
        if loaded is None:
            layers.append(Layer("APP", name, Effect.UNKNOWN, "it cannot be imported"))
        elif takes_scope(loaded):
            for kind in ("http", "websocket"):
                part = walk_asgi(loaded, kind)
                ways += part.ways_to_django
                layers += part.layers
                routes += part.routes
        else:
            around = layers_around(loaded)
            if type(around[-1]) is WSGIHandler:
                del around[-1]
            checks, found = describe_all("WSGI", around)
            ways.append(checks)
            layers += found
    # A client can use any of these ways, so the way with the fewest checks counts.
    fewest = min((len(way) for way in ways), default=0)
    checks = next((way for way in ways if len(way) == fewest), [])
    return _Surroundings(list(checks), list(dict.fromkeys(layers)), routes)


def _served(app: object) -> Iterator[tuple[str, object]]:
    """Yield the name of each app that may be served, and the app; None if it cannot be imported."""
    if app is not None:
        yield "", app
        return
    for name in ("WSGI_APPLICATION", "ASGI_APPLICATION"):
        path = getattr(settings, name, None)
        if isinstance(path, str):
            yield path, startup.imported(path)


class _Urlconf:
    """The rows of the URLconf.

    Args:
        checks: the checks of every path, the outermost first.
    """

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._seen: set[str] = set()
        self._exempt: dict[str, list[str]] = {}
        for entry in exact_entries(checks):
            try:
                self._exempt.setdefault(f"/{resolve(entry).route}", []).append(entry)
            # The entry leads to no view, or the URLconf cannot be loaded. `routes` reports that.
            except Exception:  # noqa: S112
                continue

    def routes(self) -> Iterator[Route]:
        """Yield the rows, in the order in which Django tries the routes."""
        try:
            resolver = get_resolver()
        except Exception as error:
            yield Route("/*", (), "ROOT_URLCONF", _failed("finding the URLconf", error))
            return
        for number, row in enumerate(self._below(resolver, ROOT, 0)):
            if number == MOST_VIEWS:
                yield Route("/*", (), "", _TOO_MANY)
                return
            yield row

    def _below(self, resolver: Any, shape: Shape, depth: int) -> Iterator[Route]:
        """Yield the rows of a URLconf and of those that it includes."""
        if depth > DEEPEST_URLCONF:
            yield Route(f"{shape.text}*", (), "", _TOO_MANY)
            return
        try:
            patterns = list(resolver.url_patterns)
        except Exception as error:
            view = str(getattr(resolver, "urlconf_name", ""))
            yield Route(f"{shape.text}*", (), view, _failed("loading the URLconf", error))
            return
        for pattern in patterns:
            is_endpoint = not isinstance(pattern, URLResolver)
            try:
                below = extend(shape, pattern.pattern, is_endpoint=is_endpoint)
            except Exception as error:
                yield Route(f"{shape.text}*", (), "", _failed("reading the route", error))
                continue
            if not is_endpoint:
                yield from self._below(pattern, below, depth + 1)
            elif below.text not in self._seen:
                # If several routes have the same path, Django uses the first one.
                self._seen.add(below.text)
                yield from self._rows_of(pattern, below)

    def _rows_of(self, pattern: Any, shape: Shape) -> list[Route]:
        """Return the rows of a view: one for each decision, with its methods."""
        view = getattr(pattern, "callback", None)
        try:
            decided = [
                (_decision(view, method), method, _name_of(pattern, method))
                for method in handled_methods(view) or [""]
            ]
        except Exception as error:
            failed = _failed("reading the view", error)
            return [Route(shape.text, (), type(view).__name__, failed)]
        exempt = [path for path in self._exempt.get(shape.text, []) if path != shape.text]
        return merged(
            row
            for decision, method, name in decided
            for row in rows(shape, filter(None, [method]), name, decision, self._checks, exempt)
        )


def _name_of(pattern: Any, method: str) -> str:
    """Return the dotted name of a view, or of django-ninja's operation for the method."""
    operation = ninja_operation(pattern.callback, method)
    if operation is None:
        return str(pattern.lookup_str)
    function = operation.view_func
    return f"{function.__module__}.{function.__qualname__}"


def _decision(view: Any, method: str) -> Decision:
    """Return the decision for a view and a method, without the checks of every path."""
    requirement = requirement_of(view, method)
    if requirement is not None:
        by = by_role(_decides(view, method), requirement.role)
        return Decision(Verdict.PROTECTED, (requirement.policy,), by)
    if is_exempt_view(view):
        return Decision(Verdict.EXEMPT, (), "certificate_exempt")
    view_class = view_class_of(view)
    asked = _answer_of_ninja(view, method) or _answer_of_permissions(view, view_class, method)
    if asked is not None:
        return asked
    functions = functions_for(view, method)
    inside = [*functions, *(getattr(view_class, name, None) for name in _CALLED_FIRST)]
    if any(mentions(function, _AUTHORIZE) for function in inside):
        return _CALLS
    return _HIDDEN if any(map(hides_policy, functions)) else OPEN


_CALLED_FIRST = ("setup", "dispatch", "initial", "check_permissions", "get_permissions")
"""The methods of a class-based view that run before the method of the request."""


def _decides(view: Any, method: str) -> str:
    """Return who checks the policy that a view names."""
    view_class = view_class_of(view)
    if policy_named_by(view) is not None:
        if isinstance(view_class, type) and issubclass(view_class, ClientCertificateRequiredMixin):
            return "mixin"
        return "decorator"
    if ninja_operation(view, method) is not None:
        return "decorator inside django-ninja"
    if not any(map(requirement_named_by, functions_for(view, method))):
        return "the class of the view"
    if getattr(view, "cls", None) is not None:
        return "decorator inside Django REST framework"
    return "decorator of a method"


def _answer_of_ninja(view: Any, method: str) -> Decision | None:
    """Return what the first `auth` of a django-ninja operation decides, or None.

    If the first one denies, that is the answer. The others are called only if the first one returns
    a false value.
    """
    callbacks = getattr(ninja_operation(view, method), "auth_callbacks", ())
    if not callbacks:
        return None
    asked = _ask(lambda request: callbacks[0](request), method, "auth of django-ninja")
    if asked is None and any(mentions(callback, _AUTHORIZE) for callback in callbacks):
        return _CALLS
    return asked


def _answer_of_permissions(view: Any, view_class: Any, method: str) -> Decision | None:
    """Return what the permissions of a Django REST framework view decide, or None."""
    options = getattr(view, "initkwargs", {})
    classes = options.get("permission_classes", getattr(view_class, "permission_classes", ()))
    if getattr(view, "cls", None) is None:
        return None
    for permission in classes:
        if isinstance(permission, type) and not permission.__module__.startswith("rest_framework."):

            def has_permission(request: HttpRequest, permission: Any = permission) -> Any:
                instance = view_class(**options)
                instance.request, instance.args, instance.kwargs = request, (), {}
                instance.action = (getattr(view, "actions", None) or {}).get(method.lower())
                return permission().has_permission(request, instance)

            asked = _ask(has_permission, method, f"permission {permission.__qualname__}")
            if asked is not None:
                return asked
    return None


def _ask(hook: Callable[[HttpRequest], Any], method: str, name: str) -> Decision | None:
    """Return what a hook of the site decides about a request without a certificate.

    Returns:
        The decision; None if arrcert does not deny the request.
    """
    request = RequestFactory().generic(method, "/")
    with questions() as policies:
        try:
            answer = hook(request)
            if inspect.isawaitable(answer):
                asyncio.run(_wait_for(answer))
        except PermissionDenied as denied:
            if isinstance(denied.__cause__, CertificateDenied):
                return Decision(Verdict.PROTECTED, tuple(policies), name)
        except Exception as error:
            return _failed(name, error)
    return None


async def _wait_for(answer: Any) -> Any:
    return await answer


def _failed(action: str, error: Exception) -> Decision:
    return Decision(Verdict.UNKNOWN, (), f"{action} failed: {type(error).__name__}")
