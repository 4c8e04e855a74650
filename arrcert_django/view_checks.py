"""System checks of exemptions that have no effect, and of roles that no policy grants."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from django.core import checks
from django.urls import Resolver404, resolve

from arrcert.adapters import DEEPEST_STACK, is_exempt_view, requirement_named_by
from arrcert.exceptions import ConfigurationError, quote
from arrcert.routes import exact_paths, with_other_slash
from arrcert.settings import Settings
from arrcert_django import conf
from arrcert_django.urlconf import (
    RegisteredView,
    is_ninja_view,
    registered_views,
    requirement_of_class,
    view_class_of,
)

__all__ = ["check_exempt_paths", "check_exempt_views", "check_roles", "unmatched_paths"]


_TO_THE_TOP = "Move certificate_exempt to the top: it must be the outermost decorator."
_AS_VIEW = "In the URLconf, write certificate_exempt(TheView.as_view())."
_PATH = "Write the path into ARRCERT_EXEMPT_PATHS."


def check_exempt_views(**_: Any) -> list[checks.CheckMessage]:
    """Report views whose `certificate_exempt` has no effect.

    Returns:
        `arrcert.W010` for each view that is marked below another decorator, or on a method of its
        class.

    Source: Django's documentation, "System check framework". It exempts nothing. It does not see a
    mark below a decorator that does not use `functools.wraps`. It reports nothing if
    `ARRCERT_PROTECT_ALL` is False, or if the view names a policy, because then a mark in the right
    place has no effect either.
    """
    settings = _settings()
    if settings is None or not settings.protect_all:
        return []
    return [
        checks.Warning(
            f"The view {name} is marked with certificate_exempt {where}, so the mark has no"
            " effect.",
            hint=f"{remedy} Until then the view needs a certificate.",
            id="arrcert.W010",
        )
        for name, where, remedy in dict.fromkeys(
            found for view in _views() for found in _lost_marks(view)
        )
    ]


def check_exempt_paths(**_: Any) -> list[checks.CheckMessage]:
    """Report exempt paths that match no route, but would with or without the final slash.

    Returns:
        `arrcert.W011` for each such path in `ARRCERT_EXEMPT_PATHS`.

    Source: Django's documentation, "URL dispatcher". Paths of folders (`/static/*`), and paths that
    match no route in either form, are not reported: a middleware may serve them.
    """
    settings = _settings()
    return [
        checks.Warning(
            f"{mistake}.",
            hint="Until then the path of the route needs a certificate.",
            id="arrcert.W011",
        )
        for mistake in ([] if settings is None else unmatched_paths(settings))
    ]


def unmatched_paths(settings: Settings) -> list[str]:
    """Return a sentence for each exempt path that only the other final slash would match.

    Args:
        settings: the current settings.
    """
    return [
        with_other_slash(path, other)
        for path, other in exact_paths(settings.exempt_paths.entries)
        if not _leads_to_a_view(path) and _leads_to_a_view(other)
    ]


def check_roles(**_: Any) -> list[checks.CheckMessage]:
    """Report views that require a role that their policy does not grant.

    Returns:
        `arrcert.W012` for each role of a view. It is a warning, because a file of policies
        (`ARRCERT_FILE`) can change while the site runs.

    Source: Django's documentation, "System check framework". `check_views` reports policies that do
    not exist. It does not see roles that code passes to `authorize_request`.
    """
    settings = _settings()
    if settings is None:
        return []
    required = dict.fromkeys(
        (view.name, requirement.policy, requirement.role)
        for view in _views()
        for requirement in (
            requirement_named_by(view.function),
            requirement_of_class(view.function),
        )
        if requirement is not None and requirement.role is not None
    )
    messages: list[checks.CheckMessage] = []
    for name, policy, role in required:
        granted = sorted(
            {
                granted
                for alternative in settings.policies.get(policy, ())
                for granted in alternative.granted_roles()
            }
        )
        if policy in settings.policies and role not in granted:
            messages.append(
                checks.Warning(
                    f"The view {name} requires the role {quote(role)}, which the policy"
                    f" {quote(policy)} does not grant; {_what_is_granted(role or '', granted)}",
                    hint="Correct the role, or add it to the roles of the policy or of a pin. Until"
                    " then the view is a 403 for all clients.",
                    id="arrcert.W012",
                )
            )
    return messages


def _what_is_granted(role: str, granted: list[str]) -> str:
    close = get_close_matches(role, granted, n=1)
    if close:
        return f"did you mean {quote(close[0])}?"
    return f"it grants {', '.join(map(quote, granted)) or 'no role'}."


def _settings() -> Settings | None:
    try:
        return conf.build().settings
    except ConfigurationError:
        return None  # check_configuration reports the mistakes.


def _views() -> list[RegisteredView]:
    try:
        return list(registered_views())
    except Exception:
        return []  # Django's own checks report a URLconf with errors.


def _lost_marks(found: RegisteredView) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the place and the remedy of each mark that has no effect."""
    view, function = found.view, found.function
    if is_exempt_view(view) or any(map(requirement_named_by, (view, function))):
        return
    view_class = view_class_of(view)
    if function is view:
        dispatch = list(_unwrapped(getattr(view_class, "dispatch", None)))
        if any(map(is_exempt_view, dispatch)):
            yield found.name, "on dispatch()", _AS_VIEW
        # `as_view()` copies the attribute `__wrapped__` of `dispatch`.
        if any(is_exempt_view(one) and one not in dispatch for one in _unwrapped(view)):
            yield found.name, "below another decorator", _TO_THE_TOP
    elif any(map(is_exempt_view, _unwrapped(function))):
        name = getattr(function, "__name__", "")
        if is_ninja_view(view):
            yield found.name, "below the decorator of django-ninja", _PATH
        elif getattr(view_class, name, None) is function:
            yield found.name, f"on {name}()", _AS_VIEW
        else:
            yield found.name, "below another decorator", _TO_THE_TOP


def _unwrapped(view: Any) -> Iterator[Any]:
    """Yield a function and the functions that it wraps, the outermost first."""
    for _ in range(DEEPEST_STACK):
        if view is None:
            return
        yield view
        view = getattr(view, "__wrapped__", None)


def _leads_to_a_view(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    # Django's own checks report a URLconf with errors. Then no path is reported here.
    except Exception:
        return True
    return True
