"""System checks: what `manage.py check` says about the configuration and the middleware."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core import checks
from django.middleware.security import SecurityMiddleware
from django.utils.module_loading import import_string

from arrcert.exceptions import ConfigurationError
from arrcert.settings import NOT_CONFIGURED
from arrcert_django import conf
from arrcert_django.middleware import ClientCertificateMiddleware

__all__ = ["check_configuration", "check_middleware"]

_MIDDLEWARE = "arrcert_django.middleware.ClientCertificateMiddleware"
_PROTECT_ALL = "ARRCERT_PROTECT_ALL"


def check_configuration(**_: Any) -> list[checks.CheckMessage]:
    """Report every mistake of the configuration, each with its setting.

    Returns:
        `arrcert.E001` for each mistake; `arrcert.E002` where nothing is configured at all;
        `arrcert.W003` for the setting that only Flask knows.

    Source: Django's documentation, "System check framework". It does not ask whether the policies
    are the intended ones.
    """
    messages: list[checks.CheckMessage] = []
    try:
        conf.build()
    except ConfigurationError as error:
        for problem in error.problems:
            if problem == NOT_CONFIGURED:
                messages.append(
                    checks.Error(
                        str(problem),
                        hint="Until then the site does not start with the middleware, and without"
                        " it every view that asks for a certificate denies every request.",
                        id="arrcert.E002",
                    )
                )
            else:
                messages.append(
                    checks.Error(
                        str(problem),
                        hint=f"Correct {problem.setting} in Django's settings or, if it came from"
                        " there, in the environment.",
                        id="arrcert.E001",
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
    middleware = [_imported(path) for path in settings.MIDDLEWARE]
    position = _first(middleware, ClientCertificateMiddleware)
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
    security = _first(middleware, SecurityMiddleware)
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


def _imported(path: str) -> object:
    try:
        return import_string(path)
    except Exception:
        # Django reports it at the start, whatever it is; the checks go on.
        return None


def _first(middleware: list[object], wanted: type) -> int | None:
    for position, entry in enumerate(middleware):
        if isinstance(entry, type) and issubclass(entry, wanted):
            return position
    return None
