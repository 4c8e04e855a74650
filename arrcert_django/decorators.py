"""Decorators for views: ask for a client certificate, or be left out of the site-wide check."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, TypeVar, cast, overload
from weakref import WeakSet

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from arrcert_django.authorization import aauthorize, authorize, keep_private

__all__ = ["authorize_certificate", "certificate_exempt"]

_View = TypeVar("_View", bound=Callable[..., Any])

_exempt_views: WeakSet[FunctionType] = WeakSet()
_ON_CLASSES = (
    '@method_decorator(authorize_certificate, name="dispatch"), or ClientCertificateRequiredMixin'
)


@overload
def authorize_certificate(view: _View, /, *, policy: str = "default") -> _View: ...
@overload
def authorize_certificate(*, policy: str = "default") -> Callable[[_View], _View]: ...
def authorize_certificate(
    view: _View | None = None, /, *, policy: str = "default"
) -> _View | Callable[[_View], _View]:
    """Let only requests with an authorized client certificate reach the view.

    Bare (`@authorize_certificate`) or called (`@authorize_certificate(policy="partners")`), on sync
    and async views, on what `as_view()` returns, and on methods through Django's
    `method_decorator`. The view finds the certificate in `request.client_certificate`. Behind the
    middleware the view is checked against this policy alone. What the view answers goes out as
    `Cache-Control: private`, and no `cache_page` above keeps it; one below, which the check
    precedes, gives one page to everybody whom the policy accepts.

    Args:
        view: the view.
        policy: the name of one of the policies in `ARRCERT`.

    Raises:
        TypeError: when it decorates a class or a bare method, or its argument is neither a view
            nor `policy=`.

    Source: Django's documentation, "Decorating class-based views". It does not check that the
    policy exists: a request for an unknown one is denied, and the log says so.
    """
    if not isinstance(policy, str) or not policy:
        raise TypeError(f"policy is {policy!r}; write the name of one of the policies in ARRCERT")
    if view is None:
        return lambda decorated: _protect(decorated, policy)
    return _protect(view, policy)


def certificate_exempt(view: _View) -> _View:
    """Leave a view out of the middleware's check.

    The view itself is remembered, not its name and not an attribute that `functools.wraps` would
    copy: in a stack of decorators this one comes first, and a wrapper around the view is
    checked like any other. A policy that the view names still holds.

    A page that Django's site-wide cache serves comes from no view, hence from no exempt one: from
    the second visit on it is a 403. Give cached pages an exempt path (`ARRCERT_EXEMPT_PATHS`).

    Args:
        view: a function, which what `as_view()` returns is too.

    Returns:
        The view, unchanged.

    Raises:
        TypeError: when it decorates anything but a function, or goes through `method_decorator`.
    """
    if not isinstance(view, FunctionType):
        raise TypeError(
            f"certificate_exempt exempts functions, not {view!r};"
            " for a class write certificate_exempt(TheView.as_view()) in the URLconf"
        )
    if view.__module__ == "django.utils.decorators":
        # method_decorator tries a decorator on a stand-in, and would later give it a new object
        # for every request: an exemption that never holds.
        raise TypeError(
            "certificate_exempt does not go through method_decorator;"
            " write certificate_exempt(TheView.as_view()) in the URLconf"
        )
    _exempt_views.add(view)
    return view


def is_exempt_view(view: object) -> bool:
    """Tell whether this very function was given to `certificate_exempt`."""
    # Functions alone are compared by identity whatever their authors wished.
    return isinstance(view, FunctionType) and view in _exempt_views


def policy_named_by(view: object) -> str | None:
    """Return the policy that `authorize_certificate` put on a view, or on what a view wraps.

    The mark is an ordinary attribute, which `functools.wraps`, `method_decorator` and `as_view()`
    copy. A copy can only demand a certificate.
    """
    policy = getattr(view, "_arrcert_policy", None)
    return policy if isinstance(policy, str) else None


def _protect(view: _View, policy: str) -> _View:
    if isinstance(view, str):
        raise TypeError(f"write @authorize_certificate(policy={view!r})")
    if isinstance(view, type):
        raise TypeError(
            f"authorize_certificate does not decorate classes ({view.__qualname__});"
            f" write {_ON_CLASSES}"
        )
    if not callable(view):
        raise TypeError(f"authorize_certificate decorates views, not {view!r}")
    if isinstance(view, FunctionType) and view.__code__.co_varnames[:1] == ("self",):
        # It would take the view for the request, and fail at the first one.
        raise TypeError(
            f"{view.__qualname__} is a method; write @method_decorator(authorize_certificate)"
        )

    if iscoroutinefunction(view):

        @wraps(view)
        async def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            await aauthorize(request, policy)
            return keep_private(await view(request, *args, **kwargs))

    else:

        @wraps(view)
        def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            authorize(request, policy)
            return keep_private(view(request, *args, **kwargs))

    # After wraps(), which copied the mark of an inner decorator.
    protected._arrcert_policy = policy  # type: ignore[attr-defined]
    return cast("_View", protected)
