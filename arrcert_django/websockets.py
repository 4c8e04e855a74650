"""WebSockets of Channels that reach a consumer without a check.

A WebSocket does not pass through Django's middleware, and Channels sends no signal before it. So
arrcert can report such WebSockets, but cannot refuse them.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler

from arrcert.asgi import is_guarded
from arrcert.exceptions import ConfigurationError, Problem
from arrcert_django import conf
from arrcert_django.startup import imported

__all__ = ["log_open_websockets", "problem_of_websockets"]

_logger = logging.getLogger("arrcert")


def problem_of_websockets() -> Problem | None:
    """Return the problem of an `ASGI_APPLICATION` whose WebSockets are not checked, or None.

    It is None if Channels is not installed, if only decorated views must be protected, if Django
    itself answers (it refuses WebSockets), or if the app cannot be imported. It checks only the app
    that `ASGI_APPLICATION` names.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not isinstance(path, str) or find_spec("channels") is None or not _protects_all():
        return None
    app = imported(path)
    if app is None or type(app) is ASGIHandler or is_guarded(app):
        return None
    try:
        several = len(conf.current().settings.policies) > 1
    except ConfigurationError:
        several = False
    arguments = "current_authorizer, policy=None" if several else "current_authorizer"
    if "websocket" in (getattr(app, "application_mapping", None) or {}):
        write = f'"websocket": ClientCertificateMiddleware(<the app there now>, {arguments})'
    else:
        name = path.rpartition(".")[2]
        write = f"{name} = ClientCertificateMiddleware({name}, {arguments})"
    return Problem(
        "ASGI_APPLICATION",
        f"{path} answers WebSockets that are not checked: the middleware of Django does not see"
        f" them; write in {path.rpartition('.')[0]} `from arrcert.asgi import"
        " ClientCertificateMiddleware`, `from arrcert_django.authorization import"
        f" current_authorizer` and `{write}`",
    )


def log_open_websockets() -> None:
    """Write an ERROR to the log if `ASGI_APPLICATION` has WebSockets that are not checked."""
    problem = problem_of_websockets()
    if problem is not None:
        _logger.error("configuration: %s", problem)


def _protects_all() -> bool:
    try:
        return conf.current().settings.protect_all
    except ConfigurationError:
        return getattr(settings, "ARRCERT_PROTECT_ALL", None) is not False
