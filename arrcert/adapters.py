"""What the framework adapters share.

It holds the marks on views, the exempt views, the search for lost decorators, the checks of a
decorator's arguments, and the denials of a request to an app that is set up wrongly.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, NamedTuple

from arrcert.denials import DenialLog
from arrcert.exceptions import CertificateDenied, ConfigurationError, Denial, DenialReason

NOT_GIVEN: Any = object()
"""The default of a decorator's argument `view`. It makes `authorize_certificate()` different from
`authorize_certificate(None)`."""

_REQUIREMENT = "_arrcert_requirement"
"""The attribute that holds the `Requirement` of a view. `functools.wraps` copies it to other views.
This is safe: a view with this attribute is checked before it runs."""

DEEPEST_STACK = 100
"""The search through the wrappers of a view or an app stops after this number. Without a limit, a
wrapper that wraps itself would cause an endless loop."""

# Exempt views are compared by identity. `functools.wraps` would copy an attribute to other views,
# which would then be exempt too.
_exempt_views: weakref.WeakSet[FunctionType] = weakref.WeakSet()

# The functions that `authorize_certificate` has made, and the functions below them.
_protecting: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
_protected: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()

_denials = DenialLog()


class Requirement(NamedTuple):
    """The policy and the role that a view requires.

    Attributes:
        policy: the policy's name.
        role: the role that the policy must grant; None for any.
    """

    policy: str
    role: str | None = None


def require_policy_name(policy: object) -> None:
    """Check that a decorator's `policy` is a name.

    Raises:
        TypeError: it is not a string, or it is empty.

    It does not check that the policy exists.
    """
    if not isinstance(policy, str) or not policy:
        raise TypeError(f"policy is {policy!r}; write the name of one of the policies in ARRCERT")


def require_role(role: object) -> None:
    """Check that a decorator's `role` is a role's name, or None.

    Raises:
        TypeError: it is not a string and not None, or it is empty.

    It does not check that a policy grants the role.
    """
    if role is not None and (not isinstance(role, str) or not role.strip()):
        raise TypeError(f"role is {role!r}; write the name of a role that a policy grants")


def require_view(view: object, *, for_classes: str) -> None:
    """Check that `authorize_certificate` decorates a view.

    Args:
        view: what is decorated.
        for_classes: what to write for a class-based view, for the error message.

    Raises:
        TypeError: it is None, a policy's name, a class, or not callable.
    """
    if view is None:
        raise TypeError(
            "authorize_certificate decorates a view, not None; check that the decorator below it"
            " returns the view, or write @authorize_certificate() without an argument"
        )
    if isinstance(view, str):
        raise TypeError(f"write @authorize_certificate(policy={view!r})")
    if inspect.isclass(view):
        raise TypeError(
            f"authorize_certificate does not decorate classes; for {view.__qualname__} write"
            f" {for_classes}"
        )
    if not callable(view):
        raise TypeError(f"authorize_certificate decorates a view, not {view!r}")


def decorator_text(policy: str, role: str | None) -> str:
    """Return the decorator with its arguments as code, for an error message."""
    arguments = [] if policy == "default" else [f"policy={policy!r}"]
    if role is not None:
        arguments.append(f"role={role!r}")
    return (
        f"authorize_certificate({', '.join(arguments)})" if arguments else "authorize_certificate"
    )


def mark_policy(view: Callable[..., Any], policy: str, role: str | None = None) -> None:
    """Mark a view or hook that checks a policy before it runs.

    Args:
        view: the function that does the check. If it is a wrapper, `functools.wraps` has set its
            `__wrapped__`, and has copied the mark of an inner wrapper, which this one replaces.
        policy: the policy's name.
        role: the role that the view requires; None for any.
    """
    setattr(view, _REQUIREMENT, Requirement(policy, role))
    _protecting.add(view)
    for function in _unwrapped(getattr(view, "__wrapped__", None)):
        _protected.add(function)


def requirement_named_by(view: object) -> Requirement | None:
    """Return the policy and the role that a view or hook requires, or None.

    Args:
        view: any object. If its attribute of this name has another type, it is ignored.
    """
    requirement = getattr(view, _REQUIREMENT, None)
    return requirement if isinstance(requirement, Requirement) else None


def policy_named_by(view: object) -> str | None:
    """Return the policy that a view or hook names, or None; see `requirement_named_by`."""
    requirement = requirement_named_by(view)
    return None if requirement is None else requirement.policy


def exempt_view(view: object) -> None:
    """Exempt a view from site-wide protection.

    Args:
        view: the function that is registered: a view function, or the result of `as_view()`.

    Raises:
        TypeError: it is not a function.
    """
    # Other callables may define equality, and some are created again for each request.
    if not isinstance(view, FunctionType):
        raise TypeError(
            f"certificate_exempt takes a view function, not {view!r}; for a class-based view write"
            " certificate_exempt(TheView.as_view(...)) where you register it"
        )
    _exempt_views.add(view)


def is_exempt_view(view: object) -> bool:
    """Return whether exactly this function is exempt."""
    return isinstance(view, FunctionType) and view in _exempt_views


def lost_decorators(views: Mapping[str, Callable[..., Any]]) -> Iterator[str]:
    """Yield the names of views that are registered without the decorator above them.

    Args:
        views: all registered views of an app, by name.

    This happens if `@authorize_certificate` is above the route: the route registers the undecorated
    function, or a wrapper of it. A view is not reported in three cases: the app also registers the
    decorated function, the view is exempt, or the view's name in its module still means the
    undecorated function, so no decorator has replaced it. This does not find a view below a
    decorator that does not use `functools.wraps`.
    """
    checked = {
        id(function)
        for view in views.values()
        for wrapper in _unwrapped(view)
        if wrapper in _protecting
        for function in _unwrapped(wrapper)
    }
    for name, view in views.items():
        if policy_named_by(view) is None and not is_exempt_view(view):
            for function in _unwrapped(view):
                if (
                    _is_protected(function)
                    and id(function) not in checked
                    and not _is_bound_to_its_name(function)
                ):
                    yield name
                    break


def policies_named_in(view: object) -> set[str]:
    """Return every policy that a view names, or that a callable inside it names.

    Args:
        view: any object.
    """
    named = map(policy_named_by, _unwrapped(view))
    return {policy for policy in named if policy is not None}


def deny_misconfigured(
    detail: str,
    policy: str,
    *,
    environ: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
) -> CertificateDenied:
    """Log and return the denial of a request to an app that is set up wrongly.

    Args:
        detail: what is wrong, for the operator.
        policy: the name of the policy that the request needs.
        environ: the WSGI environ of the request.
        scope: the ASGI scope of the request.

    The caller raises it. Use this only if there is no `Authorizer`. An `Authorizer` logs its own
    denials.
    """
    denial = Denial(DenialReason.MISCONFIGURED, detail)
    _denials.write(denial, policy, environ=environ, scope=scope)
    return denial.exception()


def deny_unconfigured(
    error: ConfigurationError,
    policy: str,
    *,
    environ: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
) -> CertificateDenied:
    """Log and return the denial of a request to an app whose configuration has mistakes.

    Args:
        error: the error with the list of the mistakes.
        policy: the name of the policy that the request needs.
        environ: the WSGI environ of the request.
        scope: the ASGI scope of the request.

    The caller raises it from `error`. See also `deny_misconfigured`.
    """
    mistakes = "; ".join(map(str, error.problems))
    return deny_misconfigured(
        f"the configuration has mistakes: {mistakes}", policy, environ=environ, scope=scope
    )


def _unwrapped(view: Any) -> Iterator[Callable[..., Any]]:
    """Yield the callable, then the callables that it wraps, from the outermost to the innermost."""
    for _ in range(DEEPEST_STACK):
        if not callable(view):
            return
        if _is_weakly_referable(view):
            yield view
        view = getattr(view, "__wrapped__", None)


def _is_protected(view: Callable[..., Any]) -> bool:
    """Return whether `authorize_certificate` made or decorated exactly this callable."""
    # A callable object may define `==` in any way, so also compare by identity.
    return view in _protected and any(function is view for function in _protected)


def _is_weakly_referable(view: Callable[..., Any]) -> bool:
    """Return whether a WeakSet can hold the callable."""
    try:
        hash(weakref.ref(view))
    except TypeError:
        return False
    return True


def _is_bound_to_its_name(view: Callable[..., Any]) -> bool:
    """Return whether the view's name in its module means exactly this view."""
    found: Any = sys.modules.get(getattr(view, "__module__", ""))
    for part in getattr(view, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is view
