"""Decorators and hooks that check a client certificate, or exempt a view."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from arrcert.adapters import (
    NOT_GIVEN,
    decorator_text,
    exempt_view,
    mark_policy,
    require_policy_name,
    require_role,
    require_view,
)
from arrcert_flask.authorization import authorize

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def authorize_certificate(view: _F, /) -> _F: ...
@overload
def authorize_certificate(*, policy: str = ..., role: str | None = ...) -> Callable[[_F], _F]: ...
def authorize_certificate(
    view: Any = NOT_GIVEN, /, *, policy: str = "default", role: str | None = None
) -> Any:
    """Run a view only if a policy accepts the request's client certificate.

    Use it with or without arguments, on sync and async views, below the route decorator:

        @app.get("/hellocert")
        @authorize_certificate
        def hellocert(): ...

    Args:
        view: the view function. For a class-based view, put the decorator into the class attribute
            `decorators`.
        policy: the policy's name.
        role: the role that the policy must grant; None, the default, for any.

    Raises:
        TypeError: the decorated object is a class, None or another object that is not a view, or
            `policy` or `role` is not a non-empty string.

    A denied request raises `ClientCertificateForbidden`. The decorator does not check calls of the
    undecorated function. Above the route decorator it protects nothing. arrcert reports this
    mistake as an error before the first request, unless a decorator between the two does not use
    `functools.wraps`.
    """
    require_policy_name(policy)
    require_role(role)
    if view is NOT_GIVEN:
        return functools.partial(_protect, policy=policy, role=role)
    return _protect(view, policy, role)


def _protect(view: Callable[..., Any], policy: str, role: str | None) -> Callable[..., Any]:
    require_view(view, for_classes=f"decorators = [{decorator_text(policy, role)}] in the class")
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            authorize(policy, role=role)
            return await view(*args, **kwargs)

        wrapper = async_wrapper
    else:

        @functools.wraps(view)
        def sync_wrapper(*args: Any, **kwargs: Any) -> Any:
            authorize(policy, role=role)
            return view(*args, **kwargs)

        wrapper = sync_wrapper
    mark_policy(wrapper, policy, role)
    return wrapper


def certificate_exempt(view: _F) -> _F:
    """Exempt a view from `ARRCERT_PROTECT_ALL`.

    Args:
        view: the function that is registered: a view function, or the result of `as_view()`.

    Returns:
        The view, unchanged.

    Raises:
        TypeError: `view` is not a function.

    Only this function object is exempt. Another decorator above it creates a different function,
    which is not exempt. The exemption does not disable `authorize_certificate` or the hook of a
    blueprint.
    """
    exempt_view(view)
    return view


def require_client_certificate(
    *, policy: str = "default", role: str | None = None
) -> Callable[[], None]:
    """Return a `before_request` hook that checks the certificate, for a blueprint or an app.

        bp.before_request(require_client_certificate(policy="partners"))

    Args:
        policy: the policy's name.
        role: the role that the policy must grant; None, the default, for any.

    Raises:
        TypeError: `policy` or `role` is not a name.

    It does not replace other hooks, which still run for the views of the blueprint.
    """
    require_policy_name(policy)
    require_role(role)

    def client_certificate_required() -> None:
        authorize(policy, role=role)

    mark_policy(client_certificate_required, policy, role)
    return client_certificate_required


def hooks_without_parentheses(
    hooks: Mapping[str | None, Iterable[Callable[..., Any]]],
) -> Iterator[str | None]:
    """Yield the blueprint (None for the app) of each hook that is registered without parentheses.

    Args:
        hooks: an app's `before_request_funcs`.

    This finds `before_request(require_client_certificate)`. Flask would use the function that it
    returns as the response, which is a 500 for every request.
    """
    for name, functions in hooks.items():
        if any(hook in (require_client_certificate, authorize_certificate) for hook in functions):
            yield name
