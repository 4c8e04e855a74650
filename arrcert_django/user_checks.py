"""System checks of the middleware and the authentication that set the user of a certificate."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from typing import Any

from django.conf import settings
from django.core import checks

from arrcert.adapters import policy_named_by
from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert_django import conf
from arrcert_django.startup import imported
from arrcert_django.urlconf import (
    entries_of,
    registered_views,
    requirement_of,
)
from arrcert_django.users import (
    ClientCertificateUserMiddleware,
    imported_class,
    position_of,
    problems_of_order,
    problems_of_policies,
)

__all__ = ["check_authentication", "check_user_middleware"]

_LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
_SESSION = "rest_framework.authentication.SessionAuthentication"


def check_user_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Report a `ClientCertificateUserMiddleware` in the wrong place, or with wrong policies.

    Returns:
        `arrcert.E007` for the wrong place; `arrcert.E008` if its `policies` are not names of
        policies; `arrcert.W007` if `LoginRequiredMiddleware` is listed before it.

    Source: Django's documentation, "Middleware ordering". It does not see a middleware that a
    function in `MIDDLEWARE` makes.
    """
    entries = [imported(path) for path in settings.MIDDLEWARE]
    position = position_of(entries, ClientCertificateUserMiddleware)
    if position is None:
        return []
    middleware: Any = entries[position]
    messages: list[checks.CheckMessage] = [
        checks.Error(str(problem), hint="Until then the site does not start.", id="arrcert.E007")
        for problem in problems_of_order()
    ]
    messages += [
        checks.Error(
            str(problem),
            hint="Correct the attribute of the class. No identity has an unknown policy.",
            id="arrcert.E008",
        )
        for problem in [*problems_of_policies(middleware), *_unknown_policies(middleware)]
    ]
    login = position_of(entries, imported_class(_LOGIN_REQUIRED))
    if login is not None and login < position:
        messages.append(
            checks.Warning(
                "LoginRequiredMiddleware is before ClientCertificateUserMiddleware in MIDDLEWARE.",
                hint="Move it after that middleware. Until then it checks for a login before the"
                " user of the view's policy is known.",
                id="arrcert.W007",
            )
        )
    return messages


def check_authentication(**_: Any) -> list[checks.CheckMessage]:
    """Report views of Django REST framework whose authentication does not fit their policy.

    Returns:
        `arrcert.W008` if `SessionAuthentication` comes before the authentication by certificate,
        or if only `SessionAuthentication` reads the user that `ClientCertificateUserMiddleware`
        sets; `arrcert.W009` if the authentication requires another policy than the view;
        `arrcert.E008` if the `policies` of the authentication name a policy that does not exist.

    Source: Django REST framework's documentation, "Authentication". It does not see what
    `get_authenticators()` computes.
    """
    try:
        found = list(registered_views())
    except Exception:
        return []  # Django's own checks report a URLconf with errors.
    if "rest_framework.views" not in sys.modules:
        return []  # No view uses it.
    views = {view.name: view.function for view in reversed(found)}
    messages: list[checks.CheckMessage] = []
    for name, view in views.items():
        messages += _messages_of(name, view)
    return messages


def _messages_of(name: str, view: object) -> Iterator[checks.CheckMessage]:
    session = imported_class(_SESSION)
    listed = entries_of(view, "authentication_classes")
    sessions = [n for n, entry in enumerate(listed) if _is_subclass(entry, session)]
    certificates = [n for n, entry in enumerate(listed) if policy_named_by(entry) is not None]
    if sessions and _sets_users() and not certificates:
        yield checks.Warning(
            f"The view {name} lets SessionAuthentication read the user that"
            " ClientCertificateUserMiddleware sets, so a machine must send a CSRF token.",
            hint="List ClientCertificateAuthentication before SessionAuthentication. If only"
            ' browsers use the view, set SILENCED_SYSTEM_CHECKS = ["arrcert.W008"].',
            id="arrcert.W008",
        )
    elif sessions and certificates and sessions[0] < certificates[0]:
        yield checks.Warning(
            f"The view {name} lists SessionAuthentication before ClientCertificateAuthentication,"
            " so a machine may be asked for a CSRF token.",
            hint="List ClientCertificateAuthentication first.",
            id="arrcert.W008",
        )
    asked = requirement_of(view, None)
    for position in certificates:
        yield from _errors_of_policies(name, listed[position])
        policy = policy_named_by(listed[position])
        if asked is not None and policy != asked.policy:
            yield checks.Warning(
                f"The view {name} requires the policy {quote(asked.policy)}, and its authentication"
                f" requires {quote(policy)}, so both must accept a certificate.",
                hint="List a subclass of ClientCertificateAuthentication with"
                f" policy = {quote(asked.policy)}.",
                id="arrcert.W009",
            )


def _errors_of_policies(name: str, authentication: Any) -> Iterator[checks.CheckMessage]:
    """Report unknown `policies` of an authentication, if they are not those of the base class."""
    from arrcert_django.rest_framework import ClientCertificateAuthentication

    if (
        not _is_subclass(authentication, ClientCertificateAuthentication)
        or authentication.policies is ClientCertificateAuthentication.policies
    ):
        return
    for problem in _unknown_policies(authentication):
        yield checks.Error(
            f"{problem} (the authentication of the view {name})",
            hint="Correct the attribute of the class. No identity has an unknown policy.",
            id="arrcert.E008",
        )


def _unknown_policies(declaring: Any) -> Iterator[Problem]:
    if problems_of_policies(declaring):
        return
    for policy in declaring.policies:
        if policy not in _known_policies(policy):
            yield Problem(
                f"{declaring.__qualname__}.policies",
                f"names {quote(policy)}, which is not a policy in ARRCERT",
            )


def _known_policies(policy: str) -> Container[str]:
    """Return the names of the policies; only the given name if the configuration has mistakes."""
    try:
        return conf.build().settings.policies
    except ConfigurationError:
        return (policy,)  # Another check reports the mistakes.


def _sets_users() -> bool:
    entries = [imported(path) for path in settings.MIDDLEWARE]
    return position_of(entries, ClientCertificateUserMiddleware) is not None


def _is_subclass(entry: object, wanted: type) -> bool:
    return isinstance(entry, type) and issubclass(entry, wanted)
