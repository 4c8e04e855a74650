"""The views of the URLconf, and the functions that they run.

A class-based view calls one of its methods. Django REST framework and django-ninja register their
own function, which calls the function of the site. Each of these functions may name a policy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from django.urls import get_resolver

from arrcert.adapters import Requirement, requirement_named_by

__all__ = [
    "DEEPEST_URLCONF",
    "MOST_VIEWS",
    "RegisteredView",
    "attribute_of",
    "entries_of",
    "functions_for",
    "handled_methods",
    "hides_permissions",
    "is_ninja_view",
    "ninja_operation",
    "operands",
    "policy_of",
    "registered_views",
    "requirement_of",
    "unchecked_requirement",
    "view_class_of",
]


DEEPEST_URLCONF = 20
MOST_VIEWS = 10_000
"""The limits of the search. Without a limit, the search in a URLconf that includes itself would not
end."""


class RegisteredView(NamedTuple):
    """One function that the URLconf leads to.

    Attributes:
        name: the dotted name of the view.
        route: the whole route.
        function: the view itself, or a function below it.
    """

    name: str
    route: str
    function: Callable[..., Any]


def policy_of(view: object, method: str | None) -> str | None:
    """Return the policy that a view names for a method, or None; see `requirement_of`."""
    requirement = requirement_of(view, method)
    return None if requirement is None else requirement.policy


def requirement_of(view: object, method: str | None) -> Requirement | None:
    """Return the policy that a view names for a method, and the required role; or None.

    Args:
        view: the function that is registered.
        method: the HTTP method of the request.

    The order is: the policy of the view itself, the policy of a function inside it, and the class
    of the view (`certificate_policy`; in Django REST framework also `permission_classes`, then
    `authentication_classes`). It does not see a policy below a wrapper that does not use
    `functools.wraps`, or the result of `get_permissions()`.
    """
    requirement = requirement_named_by(view)
    if requirement is not None:
        return requirement
    named = map(requirement_named_by, _functions_below(view, method or ""))
    below = next((requirement for requirement in named if requirement is not None), None)
    return requirement_of_class(view) if below is None else below


def unchecked_requirement(view: object) -> Requirement | None:
    """Return what `certificate_policy` of a view asks for and only the middleware would check.

    Args:
        view: the function that is registered.

    Returns:
        None if the class of the view names no policy, or if a decorator, the mixin or an entry of
        `permission_classes` of Django REST framework checks it. It does not see what
        `get_permissions()` of a view computes.
    """
    if not isinstance(attribute_of(view, "certificate_policy"), str):
        return None
    asked = requirement_of_class(view)
    checking = [view]
    if not hides_permissions(view):
        checking += entries_of(view, "permission_classes")
    for held in map(requirement_named_by, checking):
        if held == asked or (held is not None and asked == (held.policy, None)):
            return None
    return asked


def hides_permissions(view: object) -> bool:
    """Return whether a view of Django REST framework computes its permissions itself."""
    return _overrides(view, "get_permissions")


def requirement_of_class(view: object) -> Requirement | None:
    """Return what the class of a class-based view requires, or None.

    Args:
        view: the function that is registered.
    """
    policy = attribute_of(view, "certificate_policy")
    if isinstance(policy, str):
        role = attribute_of(view, "certificate_role")
        return Requirement(policy, role if isinstance(role, str) else None)
    for attribute, method in (
        ("permission_classes", "get_permissions"),
        ("authentication_classes", "get_authenticators"),
    ):
        if not _overrides(view, method):
            for entry in entries_of(view, attribute):
                requirement = requirement_named_by(entry)
                if requirement is not None:
                    return requirement
    return None


def attribute_of(view: Any, name: str) -> Any:
    """Return the value of an attribute of a class-based view, or None.

    Args:
        view: the function that is registered.
        name: the name of the attribute. `as_view(...)` and `@action(...)` may set another value.
    """
    view_class = view_class_of(view)
    if not isinstance(view_class, type):
        return None
    # Django REST framework calls them `initkwargs`.
    given = getattr(view, "initkwargs", None) or getattr(view, "view_initkwargs", None) or {}
    return given.get(name, getattr(view_class, name, None))


def entries_of(view: Any, attribute: str) -> list[object]:
    """Return the classes that Django REST framework asks for each request of a view.

    Args:
        view: the function that is registered. Django asks no such classes for its own views.
        attribute: `permission_classes` or `authentication_classes`.
    """
    if getattr(view, "cls", None) is None:
        return []
    return list(operands(attribute_of(view, attribute)))


def operands(classes: Any) -> Iterator[object]:
    """Yield the classes that must all accept: the entries of a list, and the operands of `&`.

    Args:
        classes: the `permission_classes` or `authentication_classes` of a view.
    """
    permissions: Any = sys.modules.get("rest_framework.permissions")
    for entry in classes if isinstance(classes, list | tuple) else ():
        if permissions is not None and isinstance(entry, permissions.OperandHolder):
            if entry.operator_class is permissions.AND:
                yield from operands([entry.op1_class, entry.op2_class])
        else:
            yield entry


def _overrides(view: Any, method: str) -> bool:
    """Return whether the class of a view overrides a method of Django REST framework."""
    framework: Any = sys.modules.get("rest_framework.views")
    view_class = getattr(view, "cls", None)
    if framework is None or not isinstance(view_class, type):
        return False
    return getattr(view_class, method, None) is not getattr(framework.APIView, method, None)


def registered_views() -> Iterator[RegisteredView]:
    """Yield every view of the URLconf, and every function below it.

    Raises:
        Exception: the URLconf cannot be loaded.

    It does not follow URLconfs that middleware sets on requests, or views that other views call. A
    view that fails to describe itself is left out; Django's own checks report it. It stops after
    20 levels of `include`, and after 10,000 views.
    """
    found = _registered(get_resolver().url_patterns, "", DEEPEST_URLCONF)
    yield from islice(found, MOST_VIEWS)


def handled_methods(view: object) -> list[str]:
    """Return the HTTP methods that a view handles; an empty list for any.

    Args:
        view: the function that is registered.
    """
    if _ninja_path_view(view) is not None:
        return list(dict.fromkeys(_methods_of(view)))
    return [method for method in _methods_of(view) if _handler(view, method.lower()) is not None]


def functions_for(view: Callable[..., Any], method: str) -> list[Callable[..., Any]]:
    """Return a view and the functions that it runs for a method, the outermost first.

    Args:
        view: the function that is registered.
        method: the HTTP method.
    """
    return [view, *_functions_below(view, method)]


def view_class_of(view: object) -> Any:
    """Return the class of a class-based view, or None.

    Args:
        view: the function that is registered.
    """
    # Django REST framework calls it `cls`.
    return getattr(view, "view_class", None) or getattr(view, "cls", None)


def ninja_operation(view: object, method: str) -> Any:
    """Return django-ninja's operation for a method, or None.

    Args:
        view: the function that is registered.
        method: the HTTP method.
    """
    operations = getattr(_ninja_path_view(view), "operations", ())
    return next((operation for operation in operations if method in operation.methods), None)


def is_ninja_view(view: object) -> bool:
    """Return whether django-ninja has registered the view."""
    return _ninja_path_view(view) is not None


def _registered(patterns: Iterable[Any], prefix: str, depth: int) -> Iterator[RegisteredView]:
    if depth == 0:
        return
    for pattern in patterns:
        try:
            route = f"{prefix}{pattern.pattern}"
            included = getattr(pattern, "url_patterns", None)
            found = [] if included is not None else _functions_of(pattern, route)
        # A view may be any object and raise any exception. Django's own checks report it.
        except Exception:  # noqa: S112
            continue
        yield from found
        if included is not None:
            yield from _registered(included, route, depth - 1)


def _functions_of(pattern: Any, route: str) -> list[RegisteredView]:
    view, name = pattern.callback, pattern.lookup_str
    found = {id(view): RegisteredView(name, route, view)}
    for method in _methods_of(view):
        for function in _functions_below(view, method):
            is_method = function is _handler(view, method.lower())
            found[id(function)] = RegisteredView(
                name if is_method else _dotted_name(function), route, function
            )
    return list(found.values())


def _dotted_name(function: Any) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"


def _methods_of(view: Any) -> list[str]:
    """Return the methods for which a function may run below the view."""
    path_view = _ninja_path_view(view)
    if path_view is not None:
        return [method for operation in path_view.operations for method in operation.methods]
    methods = getattr(view_class_of(view), "http_method_names", ())
    return [method.upper() for method in methods]


def _functions_below(view: Any, method: str) -> Iterator[Callable[..., Any]]:
    """Yield the functions that a view runs for a method, the outermost first."""
    path_view = _ninja_path_view(view)
    if path_view is not None:
        for operation in path_view.operations:
            if method in operation.methods:
                # `decorate_view` replaces `run`.
                yield operation.run
                yield operation.view_func
                # If there are several callables, one of them is enough, so none of them is
                # required.
                if len(operation.auth_callbacks) == 1:
                    yield operation.auth_callbacks[0]
                return
    handler = _handler(view, method.lower())
    if handler is not None:
        yield handler
        function = _captured(handler, "func")
        if function is not None and handler.__module__ == "rest_framework.decorators":
            yield function


def _handler(view: Any, method: str) -> Any:
    """Return the method of a class-based view that is called for an HTTP method, or None."""
    view_class = view_class_of(view)
    if method not in getattr(view_class, "http_method_names", ()):
        return None
    # A ViewSet of Django REST framework maps methods to actions.
    actions = getattr(view, "actions", None) or {}
    handler = getattr(view_class, actions.get(method, method), None)
    if handler is None and method == "head":
        return getattr(view_class, actions.get("get", "get"), None)
    return handler


def _ninja_path_view(view: Any) -> Any:
    """Return django-ninja's `PathView` of a registered function, or None."""
    ninja = sys.modules.get("ninja.operation")
    if ninja is None:
        return None
    # Older versions register a bound method.
    path_view = getattr(view, "__self__", None) or _captured(view, "self")
    return path_view if isinstance(path_view, ninja.PathView) else None


def _captured(function: Any, name: str) -> Any:
    """Return the value of a closure variable of a function, or None."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    if name not in names:
        return None
    try:
        return function.__closure__[names.index(name)].cell_contents
    except ValueError:
        return None  # The variable has no value yet.
