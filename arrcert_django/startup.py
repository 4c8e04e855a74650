"""The checks that must succeed before a request is served. Otherwise the site refuses to serve."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import request_started, setting_changed
from django.db import close_old_connections
from django.dispatch import receiver
from django.utils.module_loading import import_string

from arrcert.adapters import Requirement, lost_decorators
from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert_django import conf
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.urlconf import registered_views, unchecked_requirement, view_class_of

__all__ = [
    "MIDDLEWARE",
    "imported",
    "is_active",
    "lost_views",
    "refuse_to_serve",
    "refuse_without_middleware",
    "remember_active",
    "unchecked_views",
]

MIDDLEWARE = "arrcert_django.middleware.ClientCertificateMiddleware"
"""What to write in `MIDDLEWARE`."""

NOT_ACTIVE = Problem(
    "MIDDLEWARE",
    f"does not contain {MIDDLEWARE}, so nothing protects the site, and it refuses to serve; add it"
    " directly after SecurityMiddleware, in the settings module that is used"
    " (DJANGO_SETTINGS_MODULE), or set ARRCERT_PROTECT_ALL = False to protect only views with the"
    " decorator or the mixin",
)
"""The mistake of a site that has the app, but not the middleware."""

_logger = logging.getLogger("arrcert")
# The values of MIDDLEWARE with which an instance of the middleware was created.
_active: set[tuple[str, ...]] = set()
_examined_urlconf: object = None


def remember_active() -> None:
    """Remember that the middleware was created with the current value of `MIDDLEWARE`."""
    _active.add(tuple(settings.MIDDLEWARE))


def is_active() -> bool:
    """Return whether the middleware was created with the current value of `MIDDLEWARE`."""
    return tuple(conf.setting("MIDDLEWARE")) in _active


def refuse_to_serve(**_: Any) -> None:
    """Raise an error if the site would be served without protection.

    This is a receiver of the signal `request_started`. Django sends the signal before the first
    middleware, with WSGI and ASGI, and does not catch the error. The server answers 500.

    Raises:
        ConfigurationError: no middleware is active although `ARRCERT_PROTECT_ALL` is not False, the
            configuration has mistakes and no middleware has reported them, a view is registered
            without the decorator above it, or nothing checks the `certificate_policy` of a view.

    WebSockets of Channels do not send the signal. The middleware counts as active if `MIDDLEWARE`
    lists the class, a subclass, or a factory that created it.
    """
    if is_active() and conf.setting("ROOT_URLCONF") == _examined_urlconf:
        return
    try:
        refuse_without_middleware()
        _examine_urlconf()
    except ConfigurationError as error:
        # Log only the text, because the traceback of the error would keep the request in memory.
        _logger.error("the site refuses to serve: %s", str(error))
        # Django's test client disconnects this receiver, and does not reconnect it after an error.
        request_started.connect(close_old_connections)
        raise


def lost_views() -> list[Problem]:
    """Return a problem for each view that is registered without the decorator above it.

    Raises:
        Exception: the URLconf cannot be loaded.
    """
    views = list(registered_views())
    return [
        Problem(
            f"the view {views[int(number)].name} at {views[int(number)].route!r}",
            "is registered without its @authorize_certificate, so the decorator has no effect;"
            " write the decorator below the one that registers the view, register the decorated"
            " view, or mark it with @certificate_exempt if it is open on purpose",
        )
        # A view may have several functions with the same name.
        for number in lost_decorators({str(n): view.function for n, view in enumerate(views)})
    ]


def unchecked_views() -> list[Problem]:
    """Return a problem for each view whose `certificate_policy` nothing checks.

    Raises:
        Exception: the URLconf cannot be loaded.

    The middleware checks the policy of every view. Without it, a view that has the attribute is
    open to everybody, unless a decorator, the mixin or a permission checks the policy.
    """
    middleware = tuple(conf.setting("MIDDLEWARE"))
    if middleware in _active or _lists_middleware(middleware):
        return []
    problems: dict[Problem, None] = {}
    for view in registered_views():
        view_class = view_class_of(view.function)
        if isinstance(view_class, type) and issubclass(view_class, ClientCertificateRequiredMixin):
            continue  # Its `dispatch` checks the policy, whatever is around it.
        asked = unchecked_requirement(view.function)
        if asked is not None:
            problems[
                Problem(
                    f"the view {view.name} at {view.route!r}",
                    f"names certificate_policy = {quote(asked.policy)}, and nothing that arrcert"
                    " can see checks it, so clients without a certificate may reach the view;"
                    f" {_remedy(view.function, asked)}, or add {MIDDLEWARE} to MIDDLEWARE and"
                    " remove ARRCERT_PROTECT_ALL = False; if the view is open on purpose, or its"
                    " get_permissions() returns that permission, remove certificate_policy",
                )
            ] = None
    return list(problems)


def _remedy(view: object, asked: Requirement) -> str:
    """Return what to write so that a view checks its own policy."""
    if getattr(view, "cls", None) is None:
        return "make ClientCertificateRequiredMixin the first base of its class"
    role = "" if asked.role is None else f", role={quote(asked.role)}"
    return f"add HasClientCertificate({quote(asked.policy)}{role}) to its permission_classes"


def imported(path: str) -> object:
    """Return the object of a dotted path; None if it cannot be imported, which Django reports."""
    try:
        return import_string(path)
    except Exception:
        return None


def refuse_without_middleware() -> None:
    """Raise an error if the configuration has mistakes, or the middleware is missing.

    Raises:
        ConfigurationError: there is no configuration or it has mistakes, and no middleware has
            reported them; or no middleware is active although `ARRCERT_PROTECT_ALL` is not False.
    """
    if is_active() or _lists_middleware(tuple(settings.MIDDLEWARE)):
        return
    if conf.current().settings.protect_all:
        raise ConfigurationError([NOT_ACTIVE])


@lru_cache(maxsize=16)
def _lists_middleware(middleware: tuple[str, ...]) -> bool:
    from arrcert_django.middleware import ClientCertificateMiddleware

    return any(
        isinstance(entry, type) and issubclass(entry, ClientCertificateMiddleware)
        for entry in map(imported, middleware)
    )


def _examine_urlconf() -> None:
    """Refuse views that lost their check, and report what answers before the gate.

    This is done once for each URLconf.

    Raises:
        ConfigurationError: a view is registered without the decorator above it, or nothing checks
            its `certificate_policy`.
    """
    global _examined_urlconf
    urlconf = settings.ROOT_URLCONF
    if urlconf == _examined_urlconf:
        return
    try:
        problems = lost_views() + unchecked_views()
    except Exception:
        return  # Django reports a URLconf that cannot be loaded.
    if problems:
        raise ConfigurationError(problems)
    # That module imports this one.
    from arrcert_django.unguarded import log_unguarded

    try:
        log_unguarded()
    except Exception:
        # An app of a class that cannot be examined must not close the site.
        _logger.exception("what answers before the gate cannot be examined")
    _examined_urlconf = urlconf


@receiver(setting_changed)
def _examine_again(*, setting: str, **_: Any) -> None:
    """Examine the URLconf again under another `MIDDLEWARE`, which tests set."""
    global _examined_urlconf
    if setting == "MIDDLEWARE":
        _examined_urlconf = None
