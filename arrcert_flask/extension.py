"""The Flask extension: it reads the configuration once and checks every request."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from flask import Flask, Response, current_app, request

from arrcert import Authorizer, ConfigurationError, Problem
from arrcert.adapters import Requirement, is_exempt_view, requirement_named_by
from arrcert.authorizer import UnconfiguredAuthorizer
from arrcert.engine_io import log_polling
from arrcert.settings import NOT_CONFIGURED, Served, Settings, load
from arrcert_flask.authorization import (
    Extension,
    authorize,
    current_decisions,
    guarded_scope,
    keep_private,
)
from arrcert_flask.commands import routes_command
from arrcert_flask.examination import (
    methods_of,
    refuse_while_wrapped,
    suspicious,
    unprotected,
)

_logger = logging.getLogger("arrcert")

_EXEMPT_PATHS = "ARRCERT_EXEMPT_PATHS"
_PROTECT_ALL = "ARRCERT_PROTECT_ALL"

_FIRST_ERROR = int(HTTPStatus.INTERNAL_SERVER_ERROR)

_View = Callable[..., Any]

_NO_403 = Problem(
    "",
    "is the answer to a denied request, which is a 403: an error handler of the site, such as"
    " errorhandler(Exception), turns it into a server error; write `from arrcert_flask import"
    " ClientCertificateForbidden` and `app.register_error_handler(ClientCertificateForbidden,"
    " lambda error: error)`",
)


class Arrcert:
    """Protects a Flask app with client certificates.

    Args:
        app: the app. Without it, call `init_app` later.

    The settings are in `app.config` or in the environment; docs/settings.md has a table of them.
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
        `Cache-Control: private`. A setting that is valid but is probably a mistake is logged as a
        WARNING.

        Under the `flask` command, an app without policies is not an error. Then every request is
        denied, but commands that do not serve requests work.

        It does not check requests that never reach this app, such as those that a WSGI middleware
        answers. With `ARRCERT_PROTECT_ALL`, a middleware around `app.wsgi_app` that is known to
        answer requests itself causes an error at the first request. An unknown middleware causes an
        ERROR in the log. Put an `arrcert.wsgi.ClientCertificateMiddleware` around it to check these
        requests.

        A blueprint's own `after_request` and error handlers see only the 403 of that blueprint's
        views. If they change the 403, a client without a certificate can find out which paths
        exist.
        """
        if "arrcert" in app.extensions:
            raise RuntimeError(
                "Arrcert(app) was called twice for the same app; remove one of the two calls, of"
                " Arrcert(app) and Arrcert().init_app(app) too"
            )
        read = _settings_of(app)
        extension = _extension_for(app, read)
        app.extensions["arrcert"] = extension
        app.cli.add_command(routes_command)
        gate = _Gate(app, extension, read)
        # URL value preprocessors are the first code of an app that Flask runs for a request. The
        # gate is the first of them, so no other code runs before the request is authorized.
        app.url_value_preprocessors.setdefault(None, []).insert(0, gate)
        # Flask runs these from last to first. This one runs last, so the app's own cannot undo it.
        app.after_request_funcs.setdefault(None, []).insert(0, gate.after_request)


class _Known(NamedTuple):
    """The known facts about an endpoint.

    Attributes:
        view: its view. The app may replace it later.
        required: the policies and roles that a request must meet before any code of the app runs.
        is_by_setting: whether `ARRCERT_PROTECT_ALL` alone requires it: exempt paths are open.
    """

    view: _View | None
    required: list[Requirement]
    is_by_setting: bool


class _Gate:
    """The check before every request of one app."""

    def __init__(self, app: Flask, extension: Extension, read: dict[str, Any]) -> None:
        self._app = app
        self._authorizer, self._settings = extension
        self._read = read
        self._app_was_examined = False
        self._told_of_errors = False
        self._known: dict[str, _Known] = {}

    def __call__(self, endpoint: str | None, _values: dict[str, Any] | None) -> None:
        settings = self._settings
        if settings is None:
            authorize("default", self._authorizer)
        else:
            self._check(endpoint, settings)

    def _check(self, endpoint: str | None, settings: Settings) -> None:
        if not self._app_was_examined:
            self._examine_app(settings)
        endpoint = endpoint or ""
        view = self._app.view_functions.get(endpoint)
        known = self._known.get(endpoint)
        if known is None or known.view is not view:
            known = _find_out(view, endpoint, settings)
            # The policies of a class-based view depend on the method of the request.
            if getattr(view, "view_class", None) is None:
                self._known[endpoint] = known
        if known.is_by_setting and _is_exempt_path(settings):
            return
        for policy, role in known.required:
            authorize(policy, self._authorizer, role=role)

    def after_request(self, response: Response) -> Response:
        """Keep the response private. Log once if the site turns a 403 into a 5xx."""
        decisions = current_decisions()
        if decisions is None:
            return response
        if decisions.accepted:
            keep_private(response)
        if decisions.is_denied and response.status_code >= _FIRST_ERROR:
            self._tell_of_errors(response)
        return response

    def _tell_of_errors(self, response: Response) -> None:
        if not self._told_of_errors:
            self._told_of_errors = True
            _logger.error("configuration: %s", _NO_403._replace(setting=response.status))

    def _examine_app(self, settings: Settings) -> None:
        """Raise an error if a mistake leaves something unprotected, and log the other mistakes.

        It runs at the first request, when all views, hooks, wrappers and settings exist.
        """
        problems = list(unprotected(self._app, request.environ))
        now = _settings_of(self._app)
        late = sorted(
            name for name in self._read.keys() | now if self._read.get(name) != now.get(name)
        )
        too_late = Problem(
            ", ".join(late),
            "was set in app.config after Arrcert(app) read it, so it has no effect; set it"
            " before Arrcert(app), or call Arrcert().init_app(app) last",
        )
        if _PROTECT_ALL in late and now.get(_PROTECT_ALL) and not settings.protect_all:
            problems.append(too_late._replace(setting=_PROTECT_ALL))
        if problems:
            refuse_while_wrapped(self._app)
            raise ConfigurationError(problems)
        self._app_was_examined = True
        log_polling(self._app.wsgi_app)
        for problem in (*suspicious(self._app, request.environ), *([too_late] if late else ())):
            _logger.error("configuration: %s", problem)


def _extension_for(app: Flask, read: dict[str, Any]) -> Extension:
    """Return what the settings of an app describe.

    Under the `flask` command, an app without policies denies every request, so that commands that
    do not serve requests work.

    Raises:
        ConfigurationError: lists all mistakes in the configuration.
    """
    try:
        folder = app.static_folder
        served = [] if folder is None else [Served("the app's static_folder", folder)]
        settings = load(read, os.environ, debug=app.debug, served=served)
    except ConfigurationError as error:
        ours = [problem for problem in error.problems if problem.setting.startswith("ARRCERT")]
        if os.environ.get("FLASK_RUN_FROM_CLI") != "true" or ours != [NOT_CONFIGURED]:
            raise
        _logger.warning("configuration: %s; until then every request is denied", NOT_CONFIGURED)
        return Extension(UnconfiguredAuthorizer(NOT_CONFIGURED), None)
    for problem in _warnings(settings, read):
        _logger.warning("configuration: %s", problem)
    return Extension(Authorizer.from_settings(settings), settings)


def _is_exempt_path(settings: Settings) -> bool:
    """Return whether the path of the current request is exempt from the site-wide check."""
    if not settings.exempt_paths.entries:
        return False
    scope = guarded_scope(request.environ)
    if scope is None:
        return settings.exempt_paths.covers_wsgi(request.environ, request.path)
    return settings.exempt_paths.covers_asgi(scope, request.path)


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


def _find_out(view: _View | None, endpoint: str, settings: Settings) -> _Known:
    """Return the policies that the current request must meet before any code of the app runs.

    It is named by the view, by its methods, and by the hooks of its blueprints and of the app.
    """
    candidates: list[Callable[..., Any] | None] = [view, *_handlers(view)]
    hooks = current_app.before_request_funcs
    if "." in endpoint:
        for blueprint in request.blueprints:
            candidates += hooks.get(blueprint, ())
    candidates += hooks.get(None, ())
    named = map(requirement_named_by, candidates)
    required = [requirement for requirement in named if requirement is not None]
    if required or not settings.protect_all or is_exempt_view(view):
        return _Known(view, required, is_by_setting=False)
    return _Known(view, [Requirement("default")], is_by_setting=True)


def _handlers(view: Callable[..., Any] | None) -> list[Callable[..., Any] | None]:
    """Return the methods of a class-based view that this request can run."""
    view_class = getattr(view, "view_class", None)
    if view is None or view_class is None:
        return []
    method = request.method.lower()
    handler = getattr(view_class, method, None)
    if handler is None and method == "head":
        handler = getattr(view_class, "get", None)
    if handler is None and method == "options":
        # Flask's automatic OPTIONS response lists all methods of the class.
        return methods_of(view)
    return [handler]
