"""The wrappers around `app.wsgi_app`, which may answer before the app."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask

from arrcert import ConfigurationError, Problem
from arrcert.layers import answers_of, layers, name_of, passes_on
from arrcert.wsgi import ClientCertificateMiddleware
from arrcert_flask.authorization import authorizer_of


class Refusal:
    """Refuses every request while a wrapper around `app.wsgi_app` answers requests itself.

    Args:
        app: the app. Its current `wsgi_app` answers when no wrapper is wrong.

    Without this class, only requests that reach the app would be refused, and the wrapper would
    still answer the others.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app.wsgi_app
        self._flask = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on, or refuse it.

        Raises:
            ConfigurationError: a wrapper answers requests itself.
        """
        problems = list(problems_of_answering_wrappers(self._flask))
        if problems:
            raise ConfigurationError(problems)
        return self.app(environ, start_response)


def problems_of_answering_wrappers(app: Flask) -> Iterator[Problem]:
    """Yield a problem for each wrapper that is known to answer requests before any check.

    Args:
        app: the app, all of which is protected.
    """
    for name, answers in _wrappers_before_the_check(app):
        if answers is not None:
            yield _problem(app, name, f"it {answers} itself, so they are not checked")


def problems_of_unknown_wrappers(app: Flask) -> Iterator[Problem]:
    """Yield a problem for each wrapper that arrcert does not know.

    Args:
        app: the app, all of which is protected.
    """
    for name, answers in _wrappers_before_the_check(app):
        if answers is None:
            why = "arrcert does not know it; requests that it answers itself are not checked"
            yield _problem(app, name, why)


def _problem(app: Flask, name: str, why: str) -> Problem:
    # The views inside the wrapper may name other policies.
    policy = ", policy=None" if len(authorizer_of(app).policy_names) > 1 else ""
    return Problem(
        f"the WSGI middleware {name} around app.wsgi_app",
        f"{why}; write after it `from arrcert.wsgi import ClientCertificateMiddleware`, `from"
        " arrcert_flask import authorizer_of` and `app.wsgi_app ="
        f" ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app){policy})`, with the paths"
        " that are open on purpose as exempt_paths=[...]",
    )


def _wrappers_before_the_check(app: Flask) -> Iterator[tuple[str, str | None]]:
    """Yield each wrapper around `app.wsgi_app` that may answer without a check.

    Args:
        app: the app.

    Yields:
        The wrapper's name, and which requests it answers; None if that is not known.

    Wrappers inside an `arrcert.wsgi.ClientCertificateMiddleware` are not included, because they
    answer only requests that were checked. This does not see wrappers around the app object, such
    as `DispatcherMiddleware(app, ...)`.
    """
    for layer in layers(app.wsgi_app):
        if isinstance(layer, ClientCertificateMiddleware) or is_of_flask(layer, app):
            return
        if not passes_on(layer) and not isinstance(layer, Refusal):
            yield name_of(layer), answers_of(layer)


def is_of_flask(layer: Any, app: Flask) -> bool:
    """Return whether a layer is the app's `wsgi_app` method, not overridden by a subclass."""
    if getattr(layer, "__self__", None) is not app:
        return False
    # Tools for monitoring replace the method in Flask's own class.
    return next(base for base in type(app).__mro__ if "wsgi_app" in vars(base)) is Flask
