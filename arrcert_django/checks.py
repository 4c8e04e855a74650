"""System checks of the configuration, the middleware and the views."""

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

from arrcert.adapters import policy_named_by
from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.settings import NOT_CONFIGURED
from arrcert_django import conf
from arrcert_django.middleware import ClientCertificateMiddleware

__all__ = ["check_configuration", "check_middleware", "check_views"]

_MIDDLEWARE = "arrcert_django.middleware.ClientCertificateMiddleware"
_PROTECT_ALL = "ARRCERT_PROTECT_ALL"


def check_configuration(**_: Any) -> list[checks.CheckMessage]:
    """Report every mistake in the configuration, with its setting.

    Returns:
        `arrcert.E001` for each mistake; `arrcert.E002` if there is no configuration; `arrcert.W003`
        for a setting that only Flask uses; `arrcert.W004` for a setting that is valid but probably
        a mistake; `arrcert.W005` if the middleware's policy `default` does not exist.

    Source: Django's documentation, "System check framework". It does not check that the policies
    accept the intended certificates.
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
                hint="The site starts anyway. If this is intended, set"
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
                    hint='Add "default" to ARRCERT, or rename one of the policies. Until then every'
                    " such view, and every unknown path, is a 403 for all clients.",
                    id="arrcert.W005",
                )
            )
    if _PROTECT_ALL in conf.framework_settings() or _PROTECT_ALL in os.environ:
        messages.append(
            checks.Warning(
                f"{_PROTECT_ALL} has no effect in Django.",
                hint=f"Remove it. {_MIDDLEWARE} in MIDDLEWARE protects the whole site.",
                id="arrcert.W003",
            )
        )
    return messages


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Report a middleware that is missing or not in its place.

    Returns:
        `arrcert.W001` if it is missing; `arrcert.W002` if it is not directly after
        `SecurityMiddleware`, or not first on a site without `SecurityMiddleware`.

    Source: Django's documentation, "Middleware ordering". It does not check whether the middleware
    before it sends responses itself.
    """
    middleware = _middleware()
    position = _position_in(middleware)
    if position is None:
        return [
            checks.Warning(
                f"MIDDLEWARE does not contain {_MIDDLEWARE}. Only views with the decorator or the"
                " mixin are protected.",
                hint="Add it directly after SecurityMiddleware. If this is intended, set"
                ' SILENCED_SYSTEM_CHECKS = ["arrcert.W001"].',
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
            f"ClientCertificateMiddleware is not {place} in MIDDLEWARE.",
            hint=f"Move it: {place}. Responses of middleware before it (static files, redirects,"
            " cached pages) are not checked.",
            id="arrcert.W002",
        )
    ]


def check_views(**_: Any) -> list[checks.CheckMessage]:
    """Report views that name a policy that does not exist.

    Returns:
        `arrcert.E003` for each such view and policy.

    Source: Django's documentation, "System check framework". It does not check URLconfs that
    middleware sets on requests, or views that other views call.
    """
    try:
        policies = conf.build().settings.policies
    except ConfigurationError:
        return []  # check_configuration reports the mistakes.
    named = dict.fromkeys(_policies_of_views())
    return [
        checks.Error(
            f"The view {name} names the policy {quote(policy)}, which does not exist;"
            f" {_did_you_mean(policy, policies)}",
            hint="Correct the name, or add the policy to ARRCERT. Until then the view is a 403 for"
            " all clients.",
            id="arrcert.E003",
        )
        for name, policy in named
        if policy not in policies
    ]


def _error(problem: Problem) -> checks.CheckMessage:
    if problem == NOT_CONFIGURED:
        return checks.Error(
            str(problem),
            hint="Until then the site does not start with the middleware. Without the middleware,"
            " every view with the decorator or the mixin denies every request.",
            id="arrcert.E002",
        )
    return checks.Error(
        str(problem),
        hint=f"Correct {problem.setting} in Django's settings, or in the environment if it is set"
        " there.",
        id="arrcert.E001",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {_listed(close)}?" if close else f"there is {_listed(known)}."


def _policies_of_views(resolver: Any = None) -> Iterator[tuple[str, str]]:
    """Yield the name and policy of each view that names one itself or on a method of its class."""
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
        # Django's own checks report a URLconf with errors.
        return


def _middleware() -> list[object]:
    return [_imported(path) for path in settings.MIDDLEWARE]


def _imported(path: str) -> object:
    try:
        return import_string(path)
    except Exception:
        # Django reports this error at the start. The other checks continue.
        return None


def _position_in(
    middleware: list[object], wanted: type = ClientCertificateMiddleware
) -> int | None:
    for position, entry in enumerate(middleware):
        if isinstance(entry, type) and issubclass(entry, wanted):
            return position
    return None
