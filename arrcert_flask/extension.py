"""The Flask extension: it reads the configuration once and checks every request."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, current_app, request

from arrcert import Authorizer, ConfigurationError, Problem
from arrcert.adapters import is_exempt_view, lost_decorators, policy_named_by
from arrcert.settings import Settings, load
from arrcert_flask.authorization import Extension, authorize, keep_private
from arrcert_flask.decorators import hooks_without_parentheses

_logger = logging.getLogger("arrcert")

_EXEMPT_PATHS = "ARRCERT_EXEMPT_PATHS"
_PROTECT_ALL = "ARRCERT_PROTECT_ALL"


class Arrcert:
    """Protects a Flask app with client certificates.

    Args:
        app: the app. Without it, call `init_app` later.

    The settings are in `app.config` or in the environment; the README has a table of them.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Validate the app's configuration and add the check that runs before every request.

        Args:
            app: the app. Its config is read now; later changes have no effect.

        Raises:
            ConfigurationError: lists all mistakes in the configuration.
            RuntimeError: this app already has an `Arrcert`.

        With `ARRCERT_PROTECT_ALL` every endpoint is checked, including unknown paths, static files
        and automatic OPTIONS responses. Responses to authorized requests are sent with
        `Cache-Control: private`. A setting that is valid but probably a mistake is a warning in the
        log.

        It does not check requests that never reach this app, such as those that a WSGI middleware
        answers. A blueprint's own `after_request` and error handlers see only the 403 of that
        blueprint's views. If they change it, a client without a certificate can tell which paths
        exist.
        """
        if "arrcert" in app.extensions:
            raise RuntimeError(
                "Arrcert(app) was called twice for the same app; remove one of the two calls, of"
                " Arrcert(app) and Arrcert().init_app(app) too"
            )
        read = _settings_of(app)
        settings = load(read, os.environ, debug=app.debug)
        app.extensions["arrcert"] = Extension(Authorizer.from_settings(settings), settings)
        for problem in _warnings(settings, read):
            _logger.warning("configuration: %s", problem)
        # URL value preprocessors are the first code of an app that Flask runs for a request. The
        # gate is the first of them, so no other code runs before the request is authorized.
        app.url_value_preprocessors.setdefault(None, []).insert(0, _Gate(app, read))
        # Flask runs these from last to first. This one runs last, so the app's own cannot undo it.
        app.after_request_funcs.setdefault(None, []).insert(0, keep_private)


class _Gate:
    """The check before every request of one app."""

    def __init__(self, app: Flask, read: dict[str, Any]) -> None:
        self._app = app
        self._read = read
        self._app_was_examined = False

    def __call__(self, endpoint: str | None, _values: dict[str, Any] | None) -> None:
        if not self._app_was_examined:
            self._examine_app()
        view = self._app.view_functions.get(endpoint or "")
        policies = _policies_named_for(view, endpoint or "")
        authorizer, settings = self._app.extensions["arrcert"]
        for policy in policies:
            authorize(policy, authorizer)
        if policies or not settings.protect_all or is_exempt_view(view):
            return
        if not settings.exempt_paths.covers_wsgi(request.environ, request.path):
            authorize("default", authorizer)

    def _examine_app(self) -> None:
        """Raise an error if a mistake leaves views unprotected.

        It runs at the first request, when all views, hooks and settings exist.
        """
        problems = [
            Problem(
                f"the endpoint {endpoint!r}",
                "its view is registered without its @authorize_certificate, which is above the"
                " route; write the decorator below @app.route, or mark the view with"
                " @certificate_exempt if it is open on purpose",
            )
            for endpoint in lost_decorators(self._app.view_functions)
        ]
        problems += [
            Problem(
                f"the blueprint {name!r}" if name else "the app",
                "a before_request hook has no parentheses; write"
                " before_request(require_client_certificate())",
            )
            for name in hooks_without_parentheses(self._app.before_request_funcs)
        ]
        now = _settings_of(self._app)
        late = sorted(
            name for name in self._read.keys() | now if self._read.get(name) != now.get(name)
        )
        too_late = Problem(
            ", ".join(late),
            "was set in app.config after Arrcert(app) read it, so it has no effect; set it"
            " before Arrcert(app), or call Arrcert().init_app(app) last",
        )
        if (
            _PROTECT_ALL in late
            and now.get(_PROTECT_ALL)
            and not self._app.extensions["arrcert"].settings.protect_all
        ):
            problems.append(too_late._replace(setting=_PROTECT_ALL))
        if problems:
            raise ConfigurationError(problems)
        self._app_was_examined = True
        if late:
            _logger.error("configuration: %s", too_late)


def _settings_of(app: Flask) -> dict[str, Any]:
    return {name: value for name, value in app.config.items() if name.startswith("ARRCERT")}


def _warnings(settings: Settings, read: dict[str, Any]) -> Iterator[Problem]:
    yield from settings.warnings()
    # In the environment this is not a mistake, because several sites may share the variables.
    if read.get(_EXEMPT_PATHS) and not settings.protect_all:
        yield Problem(
            _EXEMPT_PATHS,
            f"has no effect without {_PROTECT_ALL}: nothing is protected site-wide; set"
            f" {_PROTECT_ALL} = True, or remove it",
        )


def _policies_named_for(view: Callable[..., Any] | None, endpoint: str) -> list[str]:
    """Return the policies named by the view, by its methods and by its blueprints' hooks."""
    candidates: list[Callable[..., Any] | None] = [view, *_handlers(view)]
    if "." in endpoint:
        for blueprint in request.blueprints:
            candidates += current_app.before_request_funcs.get(blueprint, ())
    return [policy for policy in map(policy_named_by, candidates) if policy is not None]


def _handlers(view: Callable[..., Any] | None) -> list[Callable[..., Any] | None]:
    """Return the methods of a class-based view that this request can run."""
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return []
    method = request.method.lower()
    handler = getattr(view_class, method, None)
    if handler is None and method == "head":
        handler = getattr(view_class, "get", None)
    if handler is None and method == "options":
        # Flask's automatic OPTIONS response lists all methods of the class.
        return [getattr(view_class, name.lower(), None) for name in view_class.methods or ()]
    return [handler]
