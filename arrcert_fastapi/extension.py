"""The extension of a FastAPI app: its configuration, its gate and its OpenAPI document."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette

from arrcert import Authorizer, ConfigurationError
from arrcert.exceptions import Problem, quote
from arrcert.settings import Settings, load
from arrcert_fastapi.gate import GateMiddleware
from arrcert_fastapi.openapi import with_mutual_tls

_logger = logging.getLogger("arrcert")

_ARRCERT = "arrcert"
"""The attribute of `app.state` with the authorizer. It also shows that an app has a gate."""

_SETTINGS = "arrcert_settings"
"""The attribute of `app.state` that holds the settings, for the route audit."""

_WRITTEN = "arrcert_written"
"""The attribute of `app.state` with the given mapping of settings, for `arrcert explain`."""


class Arrcert:
    """Protects a FastAPI app with client certificates.

    Every request and every WebSocket handshake is checked before the app's routes, its dependencies
    and the parsing of the body. An endpoint with `RequireClientCertificate` requires the policy
    that this dependency names. Everything else requires `default`: other endpoints, mounted apps,
    the API documentation and unknown paths. The paths in `ARRCERT_EXEMPT_PATHS` are exempt, but the
    dependencies of an exempt endpoint are still checked.

    Args:
        app: the app.
        settings: a mapping of the settings, such as `{"ARRCERT": {"default": {...}}}`. Settings
            that are not in it are read from the environment.

    Raises:
        ConfigurationError: lists all mistakes in the configuration.
        RuntimeError: this app already has an `Arrcert`, or it has started.

    Call it before you add other middlewares. A middleware that is added later is around the gate
    and gets every request first. This is right for `CORSMiddleware`, which answers preflight
    requests. The settings are read once. If a test overrides a `RequireClientCertificate` with
    `app.dependency_overrides`, the gate does not check it either.
    """

    def __init__(self, app: FastAPI, settings: Mapping[str, Any] | None = None) -> None:
        if hasattr(app.state, _ARRCERT):
            raise RuntimeError("Arrcert(app) was called twice for the same app; remove one call")
        given = dict(settings or {})
        unknown = [name for name in given if not str(name).startswith("ARRCERT")]
        if unknown:
            raise ConfigurationError(
                Problem(
                    str(name),
                    f"is not a setting of arrcert; write {quote('ARRCERT')} and its mapping",
                )
                for name in unknown
            )
        read = load(given, os.environ, debug=app.debug, protect_all_by_default=True)
        if not read.protect_all:
            raise ConfigurationError([_PROTECT_ALL])
        for problem in read.warnings():
            _logger.warning("configuration: %s", problem)
        authorizer = Authorizer.from_settings(read)
        app.add_middleware(
            GateMiddleware, fastapi=app, authorizer=authorizer, exempt_paths=read.exempt_paths
        )
        # FastAPI's documentation, "Extending OpenAPI", replaces the method in this way.
        app.openapi = with_mutual_tls(app)  # type: ignore[method-assign]
        setattr(app.state, _ARRCERT, authorizer)
        setattr(app.state, _SETTINGS, read)
        setattr(app.state, _WRITTEN, given)


def authorizer_of(app: Starlette) -> Authorizer:
    """Return the `Authorizer` that `Arrcert(app)` made.

    Args:
        app: the app.

    Raises:
        ConfigurationError: `Arrcert(app)` was not called for this app.
    """
    authorizer: Authorizer | None = getattr(app.state, _ARRCERT, None)
    if authorizer is None:
        raise ConfigurationError(
            [Problem("", "Arrcert(app) was not called; call it before authorizer_of(app)")]
        )
    return authorizer


def settings_of(app: Starlette) -> Settings | None:
    """Return the settings of an app, or None without `Arrcert(app)`.

    Args:
        app: the app.
    """
    settings: Settings | None = getattr(app.state, _SETTINGS, None)
    return settings


_PROTECT_ALL = Problem(
    "ARRCERT_PROTECT_ALL",
    "is False, and Arrcert(app) protects the whole app; remove the setting, or list open paths in"
    " ARRCERT_EXEMPT_PATHS",
)
