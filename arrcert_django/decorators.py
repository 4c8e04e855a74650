"""Decorators for views: check a client certificate, or exempt a view from the site-wide check."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from types import FunctionType
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from arrcert.adapters import (
    NOT_GIVEN,
    decorator_text,
    exempt_view,
    mark_policy,
    require_policy_name,
    require_role,
    require_view,
)
from arrcert_django.authorization import aauthorize_request, authorize_request, keep_private

__all__ = ["authorize_certificate", "certificate_exempt"]

_View = TypeVar("_View", bound=Callable[..., Any])


@overload
def authorize_certificate(
    view: _View, /, *, policy: str = "default", role: str | None = None
) -> _View: ...
@overload
def authorize_certificate(
    *, policy: str = "default", role: str | None = None
) -> Callable[[_View], _View]: ...
def authorize_certificate(
    view: Any = NOT_GIVEN, /, *, policy: str = "default", role: str | None = None
) -> Any:
    """Run a view only if a policy accepts the request's client certificate.

    Use it without arguments (`@authorize_certificate`) or with arguments
    (`@authorize_certificate(policy="partners")`). It works on sync and async views, on the result
    of `as_view()`, and on methods with Django's `method_decorator`. The view finds the certificate
    in `request.client_certificate`. If the middleware is installed, the view is checked only under
    this policy. The response is sent with `Cache-Control: private`, and a `cache_page` above the
    decorator does not store it. A `cache_page` below it gives the same page to every client that
    the policy accepts. If the view raises an exception such as `Http404`, only the middleware can
    make the response private.

    Args:
        view: the view.
        policy: the policy's name.
        role: the role that the policy must grant; None, the default, for any.

    Raises:
        TypeError: the decorated object is a class, a method without `method_decorator`, None or
            another object that is not a view, or `policy` or `role` is not a non-empty string.

    Source: Django's documentation, "Decorating class-based views". It does not check that the
    policy exists. If it does not exist, every request is denied, and the log says why.
    """
    require_policy_name(policy)
    require_role(role)
    if view is NOT_GIVEN:
        return partial(_protect, policy=policy, role=role)
    return _protect(view, policy, role)


def certificate_exempt(view: _View) -> _View:
    """Exempt a view from the middleware's check.

    Only this function object is exempt. Another decorator above it creates a different function,
    which is not exempt. A policy that the view names is still checked.

    A page from Django's site-wide cache does not come from a view, so the exemption does not cover
    it: from the second visit on, the response is a 403. Use an exempt path for cached pages
    (`ARRCERT_EXEMPT_PATHS`).

    Args:
        view: a function, or the result of `as_view()`.

    Returns:
        The view, unchanged.

    Raises:
        TypeError: `view` is not a function, or the decorator is used through `method_decorator`.
    """
    if getattr(view, "__module__", None) == "django.utils.decorators":
        # method_decorator makes a new function for every request, which would not be exempt.
        raise TypeError(
            "certificate_exempt does not work through method_decorator;"
            " write certificate_exempt(TheView.as_view()) in the URLconf"
        )
    exempt_view(view)
    return view


def _protect(view: Callable[..., Any], policy: str, role: str | None) -> Callable[..., Any]:
    decorator = decorator_text(policy, role)
    require_view(
        view,
        for_classes=f'@method_decorator({decorator}, name="dispatch"), or use'
        " ClientCertificateRequiredMixin",
    )
    if isinstance(view, FunctionType) and view.__code__.co_varnames[:1] == ("self",):
        # The decorator would use `self` as the request, and fail at the first request.
        raise TypeError(f"{view.__qualname__} is a method; write @method_decorator({decorator})")

    if iscoroutinefunction(view):

        @wraps(view)
        async def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            await aauthorize_request(request, policy, role)
            return keep_private(await view(request, *args, **kwargs))

    else:

        @wraps(view)
        def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            authorize_request(request, policy, role)
            return keep_private(view(request, *args, **kwargs))

    mark_policy(protected, policy, role)
    return protected
