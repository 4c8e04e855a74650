"""The extension: read the configuration once, check every request before anything else does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, current_app, request

from arrcert import Authorizer, ConfigurationError, Problem
from arrcert.settings import load
from arrcert_flask.authorization import Extension, authorize_request
from arrcert_flask.decorators import is_exempt, policy_of, registered_bare


class Arrcert:
    """Protects a Flask app by client certificates.

    Args:
        app: the app; without it call `init_app` later.

    Settings (in `app.config`, or in the environment): `ARRCERT`, `ARRCERT_FRONT_END`,
    `ARRCERT_EXEMPT_PATHS`, `ARRCERT_PROTECT_ALL`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Validate the app's configuration and put the check before every request.

        Args:
            app: the app; its config is read now and is fixed from then on.

        Raises:
            ConfigurationError: all mistakes of the configuration together.
            RuntimeError: the app has been given to an `Arrcert` before.

        With `ARRCERT_PROTECT_ALL` every endpoint is checked, unknown paths, static files and
        automatic OPTIONS answers too. It does not check requests that never reach this app, such
        as those that a WSGI middleware answers.
        """
        if "arrcert" in app.extensions:
            raise RuntimeError("Arrcert(app) was called twice for the same app")
        settings = load(
            {key: value for key, value in app.config.items() if key.startswith("ARRCERT")},
            os.environ,
        )
        app.extensions["arrcert"] = Extension(
            Authorizer.from_settings(settings), settings.exempt_paths, settings.protect_all
        )
        # URL value preprocessors are the first code of an app that Flask runs for a request. Ahead
        # of all others, so that none of them can answer, or act, before the request is authorized.
        app.url_value_preprocessors.setdefault(None, []).insert(0, _Gate(app))


class _Gate:
    """What stands before every request of one app."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._decorators_found = False

    def __call__(self, endpoint: str | None, _values: dict[str, Any] | None) -> None:
        if not self._decorators_found:
            self._refuse_bare_views()
        extension: Extension = self._app.extensions["arrcert"]
        view = self._app.view_functions.get(endpoint or "")
        policies = list(_policies_named_for(view))
        for policy in policies:
            authorize_request(policy)
        if policies or not extension.protect_all:
            return
        if is_exempt(view) or extension.exempt_paths.covers_wsgi(request.environ, request.path):
            return
        authorize_request("default")

    def _refuse_bare_views(self) -> None:
        """Refuse to serve where a decorator was lost; all views are registered by now."""
        problems = [
            Problem(
                f"the endpoint {endpoint!r}",
                "its view is registered without its @authorize_certificate, which stands above the"
                " route; write the decorator below @app.route, or mark the view with"
                " @certificate_exempt if it is open on purpose",
            )
            for endpoint in registered_bare(self._app.view_functions)
        ]
        if problems:
            raise ConfigurationError(problems)
        self._decorators_found = True


def _policies_named_for(view: Callable[..., Any] | None) -> Iterator[str]:
    """Yield the policies of the view's decorator, of its method's, and of its blueprints' hooks."""
    candidates: list[Callable[..., Any] | None] = [view, *_handlers(view)]
    for blueprint in request.blueprints:
        candidates += current_app.before_request_funcs.get(blueprint, ())
    for candidate in candidates:
        policy = policy_of(candidate)
        if policy is not None:
            yield policy


def _handlers(view: Callable[..., Any] | None) -> list[Callable[..., Any] | None]:
    """Return the methods of a class-based view that the request concerns."""
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return []
    method = request.method.lower()
    handler = getattr(view_class, method, None)
    if handler is None and method == "head":
        handler = getattr(view_class, "get", None)
    if handler is None and method == "options":
        # Flask answers this one by itself, for all methods of the class.
        return [getattr(view_class, name.lower(), None) for name in view_class.methods or ()]
    return [handler]
