"""System checks of the configuration, the middleware and the views."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core import checks
from django.middleware.security import SecurityMiddleware

from arrcert.adapters import requirement_named_by
from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.settings import NOT_CONFIGURED
from arrcert_django import conf, startup, unguarded
from arrcert_django.middleware import PROTECT_ALL_IS_FALSE, ClientCertificateMiddleware
from arrcert_django.urlconf import registered_views, requirement_of_class

__all__ = [
    "check_configuration",
    "check_deployment",
    "check_middleware",
    "check_views",
    "check_websockets",
]

_Level = type[checks.Warning] | type[checks.Error]


def check_configuration(**_: Any) -> list[checks.CheckMessage]:
    """Report every mistake in the configuration, with its setting.

    Returns:
        `arrcert.E001` for each mistake; `arrcert.W006` if there is no configuration;
        `arrcert.W004` for a setting that is valid but probably a mistake; `arrcert.W005` if the
        middleware's policy `default` does not exist.

    Source: Django's documentation, "System check framework". It does not check that the policies
    accept the intended certificates.
    """
    try:
        configuration = conf.build().settings
    except ConfigurationError as error:
        return [
            _not_configured(checks.Warning, "arrcert.W006")
            if problem == NOT_CONFIGURED
            else _mistake(problem)
            for problem in error.problems
        ]
    messages: list[checks.CheckMessage] = [
        checks.Warning(
            str(problem),
            hint="The site starts anyway. If this is intended, set"
            ' SILENCED_SYSTEM_CHECKS = ["arrcert.W004"].',
            id="arrcert.W004",
        )
        for problem in configuration.warnings()
    ]
    if _position_in(_middleware()) is None:
        return messages
    if not configuration.protect_all:
        messages.append(_mistake(PROTECT_ALL_IS_FALSE))
    if "default" not in configuration.policies:
        messages.append(
            checks.Warning(
                'ARRCERT has no policy "default", which the middleware uses for every view that'
                f" names none; there is {_listed(configuration.policies)}.",
                hint='Add "default" to ARRCERT, or rename one of the policies. Until then every'
                " such view, and every unknown path, is a 403 for all clients.",
                id="arrcert.W005",
            )
        )
    return messages


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Report a middleware that is missing or in the wrong place.

    Returns:
        `arrcert.W001` if it is missing and the whole site is to be protected; `arrcert.W002` if it
        is before `SecurityMiddleware`, or if another middleware is before it.

    Source: Django's documentation, "Middleware ordering". It does not check whether other
    middleware before it sends responses, or whether a factory creates the middleware.
    """
    middleware = _middleware()
    position = _position_in(middleware)
    if position is None:
        return [_not_active(checks.Warning, "arrcert.W001")] if _protects_all() else []
    security = _position_in(middleware, SecurityMiddleware)
    before = [
        path
        for path, entry in zip(settings.MIDDLEWARE[:position], middleware, strict=False)
        if not (isinstance(entry, type) and issubclass(entry, SecurityMiddleware))
    ]
    if before:
        what = f"In MIDDLEWARE, before ClientCertificateMiddleware stands {_listed(before)}."
    elif security is not None and security > position:
        what = "ClientCertificateMiddleware is before SecurityMiddleware in MIDDLEWARE."
    else:
        return []
    place = "first" if security is None else "directly after SecurityMiddleware, and that first"
    return [
        checks.Warning(
            what,
            hint=f"Move it: {place}. Responses of middleware before it (static files, redirects,"
            " answers to preflights, cached pages) are not checked. If this is intended, set"
            ' SILENCED_SYSTEM_CHECKS = ["arrcert.W002"].',
            id="arrcert.W002",
        )
    ]


def check_views(**_: Any) -> list[checks.CheckMessage]:
    """Report views that name an unknown policy, and views whose decorator has no effect.

    Returns:
        `arrcert.E003` for each unknown policy that a view names; `arrcert.E005` for each view that
        is registered without the `authorize_certificate` that is above it.

    Source: Django's documentation, "System check framework". It does not check URLconfs that
    middleware sets on requests, or views that other views call.
    """
    try:
        named = dict.fromkeys(
            (view.name, requirement.policy)
            for view in registered_views()
            for requirement in (
                requirement_named_by(view.function),
                requirement_of_class(view.function),
            )
            if requirement is not None
        )
        lost = startup.lost_views()
        unchecked = startup.unchecked_views()
    except Exception:
        return []  # Django's own checks report a URLconf with errors.
    messages: list[checks.CheckMessage] = [
        checks.Error(
            str(problem),
            hint="Until then the site refuses to serve.",
            id="arrcert.E005",
        )
        for problem in lost
    ]
    if not _protects_all():
        # If it protects all, `check_middleware` reports that the middleware is not active.
        messages += [
            checks.Error(
                str(problem), hint="Until then the site refuses to serve.", id="arrcert.E009"
            )
            for problem in unchecked
        ]
    try:
        policies = conf.build().settings.policies
    except ConfigurationError:
        return messages  # check_configuration reports the mistakes.
    return messages + [
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


def check_websockets(**_: Any) -> list[checks.CheckMessage]:
    """Report WebSockets and HTTP requests that an ASGI app answers without a check.

    Returns:
        `arrcert.E006` if the whole site must be protected, Channels is installed, and
        `ASGI_APPLICATION` answers requests outside `arrcert.asgi.ClientCertificateMiddleware`.

    Source: Django's documentation, "System check framework". It checks only the ASGI app that
    `ASGI_APPLICATION` names. The site still serves: such requests do not pass through Django, so
    arrcert cannot refuse them. It does not report layers that arrcert does not know; the log does,
    at the first request.
    """
    return [
        checks.Error(
            str(problem),
            hint="Until then clients without a certificate get these answers. If this is"
            ' intended, set SILENCED_SYSTEM_CHECKS = ["arrcert.E006"].',
            id="arrcert.E006",
        )
        for problem in unguarded.problems_of_asgi(unknown_layers=False)
    ]


def check_deployment(**_: Any) -> list[checks.CheckMessage]:
    """Report why the site would refuse to serve, as errors. Django runs this with `check --deploy`.

    Returns:
        `arrcert.E002` if there is no configuration; `arrcert.E004` if the middleware is missing and
        the whole site must be protected.

    Source: Django's documentation, "Deployment checklist". If there is a function in `MIDDLEWARE`,
    a missing middleware is not reported, because the function may be a factory that creates it.
    """
    messages: list[checks.CheckMessage] = []
    try:
        conf.build()
    except ConfigurationError as error:
        if NOT_CONFIGURED in error.problems:
            messages.append(_not_configured(checks.Error, "arrcert.E002"))
    middleware = _middleware()
    if (
        _position_in(middleware) is None
        and _protects_all()
        and all(entry is None or isinstance(entry, type) for entry in middleware)
    ):
        messages.append(_not_active(checks.Error, "arrcert.E004"))
    return messages


def _mistake(problem: Problem) -> checks.CheckMessage:
    return checks.Error(
        str(problem),
        hint=f"Correct {problem.setting} in Django's settings, or in the environment if it is set"
        " there.",
        id="arrcert.E001",
    )


def _not_configured(level: _Level, identifier: str) -> checks.CheckMessage:
    return level(
        str(NOT_CONFIGURED),
        hint="Until then the site refuses to serve. Commands that do not serve requests work.",
        id=identifier,
    )


def _not_active(level: _Level, identifier: str) -> checks.CheckMessage:
    return level(
        str(startup.NOT_ACTIVE),
        hint="Commands that do not serve requests work. If a function in MIDDLEWARE makes the"
        f' middleware, set SILENCED_SYSTEM_CHECKS = ["{identifier}"].',
        id=identifier,
    )


def _protects_all() -> bool:
    try:
        return conf.build().settings.protect_all
    except ConfigurationError:
        # Another check reports the mistakes.
        return conf.setting("ARRCERT_PROTECT_ALL") is not False


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {_listed(close)}?" if close else f"there is {_listed(known)}."


def _middleware() -> list[object]:
    return [startup.imported(path) for path in settings.MIDDLEWARE]


def _position_in(
    middleware: list[object], wanted: type = ClientCertificateMiddleware
) -> int | None:
    for position, entry in enumerate(middleware):
        if isinstance(entry, type) and issubclass(entry, wanted):
            return position
    return None
