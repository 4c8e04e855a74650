"""System checks: what `manage.py check` says about configuration, middleware and views."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core import checks
from django.middleware.security import SecurityMiddleware
from django.urls import get_resolver
from django.utils.module_loading import import_string

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.settings import NOT_CONFIGURED
from arrcert_django import conf
from arrcert_django.decorators import policy_named_by
from arrcert_django.middleware import ClientCertificateMiddleware

__all__ = ["check_configuration", "check_middleware", "check_views"]

_MIDDLEWARE = "arrcert_django.middleware.ClientCertificateMiddleware"
_PROTECT_ALL = "ARRCERT_PROTECT_ALL"


def check_configuration(**_: Any) -> list[checks.CheckMessage]:
    """Report every mistake of the configuration, each with its setting.

    Returns:
        `arrcert.E001` for each mistake; `arrcert.E002` where nothing is configured at all;
        `arrcert.W003` for the setting that only Flask knows; `arrcert.W004` for what stops no start
        and is likely to be a mistake; `arrcert.W005` where the middleware lacks its policy.

    Source: Django's documentation, "System check framework". It does not ask whether the policies
    are the intended ones.
    """
    messages: list[checks.CheckMessage] = []
    try:
        configuration = conf.build().settings
    except ConfigurationError as error:
        messages += [_error(problem) for problem in error.problems]
    else:
        messages += [
            checks.Warning(
                str(problem),
                hint="The site starts with it all the same. If it is meant:"
                ' SILENCED_SYSTEM_CHECKS = ["arrcert.W004"].',
                id="arrcert.W004",
            )
            for problem in configuration.warnings()
        ]
        if "default" not in configuration.policies and _position_in(_middleware()) is not None:
            messages.append(
                checks.Warning(
                    'ARRCERT has no policy "default", which the middleware uses for every view that'
                    f" names none; there is {_listed(configuration.policies)}.",
                    hint='Add "default" to ARRCERT, or rename the policy that is meant. Until then'
                    " every such view, and every unknown path, is a 403 to everybody.",
                    id="arrcert.W005",
                )
            )
    if _PROTECT_ALL in conf.framework_settings() or _PROTECT_ALL in os.environ:
        messages.append(
            checks.Warning(
                f"{_PROTECT_ALL} has no effect in Django.",
                hint=f"Remove it; the whole site is protected by {_MIDDLEWARE} in MIDDLEWARE.",
                id="arrcert.W003",
            )
        )
    return messages


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Report a middleware that is missing, or stands where others answer before it.

    Returns:
        `arrcert.W001` where it is missing, `arrcert.W002` where it stands elsewhere than directly
        after `SecurityMiddleware` (first, on a site without that).

    Source: Django's documentation, "Middleware ordering". It does not look into middlewares: one
    that stands before may answer or not.
    """
    middleware = _middleware()
    position = _position_in(middleware)
    if position is None:
        return [
            checks.Warning(
                f"MIDDLEWARE does not hold {_MIDDLEWARE}: only views that ask for a certificate"
                " themselves are protected.",
                hint="Add it directly after SecurityMiddleware. If the decorator and the mixin are"
                ' all that is wanted: SILENCED_SYSTEM_CHECKS = ["arrcert.W001"].',
                id="arrcert.W001",
            )
        ]
    security = _position_in(middleware, SecurityMiddleware)
    expected = 0 if security is None else security + 1
    if position == expected:
        return []
    place = "first" if security is None else "directly after SecurityMiddleware"
    return [
        checks.Warning(
            f"ClientCertificateMiddleware does not stand {place} in MIDDLEWARE.",
            hint=f"Move it: {place}. What a middleware before it answers (static files, redirects,"
            " cached pages) goes out unchecked.",
            id="arrcert.W002",
        )
    ]


def check_views(**_: Any) -> list[checks.CheckMessage]:
    """Report views that name a policy which does not exist.

    Returns:
        `arrcert.E003` for each such view and policy.

    Source: Django's documentation, "System check framework". It does not see URLconfs that a
    middleware gives to requests, nor views that only run inside others.
    """
    try:
        policies = conf.build().settings.policies
    except ConfigurationError:
        return []  # check_configuration says what is wrong.
    named = dict.fromkeys(_policies_of_views())
    return [
        checks.Error(
            f"The view {name} names the policy {quote(policy)}, which does not exist;"
            f" {_did_you_mean(policy, policies)}",
            hint="Correct the name, or add the policy to ARRCERT. Until then every request for the"
            " view is a 403.",
            id="arrcert.E003",
        )
        for name, policy in named
        if policy not in policies
    ]


def _error(problem: Problem) -> checks.CheckMessage:
    if problem == NOT_CONFIGURED:
        return checks.Error(
            str(problem),
            hint="Until then the site does not start with the middleware, and without it every view"
            " that asks for a certificate denies every request.",
            id="arrcert.E002",
        )
    return checks.Error(
        str(problem),
        hint=f"Correct {problem.setting} in Django's settings or, if it came from there, in the"
        " environment.",
        id="arrcert.E001",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {_listed(close)}?" if close else f"there is {_listed(known)}."


def _policies_of_views(resolver: Any = None) -> Iterator[tuple[str, str]]:
    """Yield each view's name with each policy that it, or a method of its class, names."""
    try:
        for pattern in (resolver or get_resolver()).url_patterns:
            if hasattr(pattern, "url_patterns"):
                yield from _policies_of_views(pattern)
                continue
            view_class = getattr(pattern.callback, "view_class", None)
            methods = getattr(view_class, "http_method_names", ())
            for view in (pattern.callback, *(getattr(view_class, name, None) for name in methods)):
                policy = policy_named_by(view)
                if policy is not None:
                    yield pattern.lookup_str, policy
    except Exception:
        # Django itself reports a URLconf that fails.
        return


def _middleware() -> list[object]:
    return [_imported(path) for path in settings.MIDDLEWARE]


def _imported(path: str) -> object:
    try:
        return import_string(path)
    except Exception:
        # Django reports it at the start, whatever it is; the checks go on.
        return None


def _position_in(
    middleware: list[object], wanted: type = ClientCertificateMiddleware
) -> int | None:
    for position, entry in enumerate(middleware):
        if isinstance(entry, type) and issubclass(entry, wanted):
            return position
    return None
