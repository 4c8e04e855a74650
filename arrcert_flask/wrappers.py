"""What stands around `app.wsgi_app` and may answer before the app."""

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
    """Refuses every request while a wrapper that answers by itself stands around `app.wsgi_app`.

    Args:
        app: the app. Its `wsgi_app` at this moment is what answers once nothing is wrong.

    Without it, only requests that reach the app would be refused, and the wrapper would go on
    answering the others.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app.wsgi_app
        self._flask = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on, or refuse it.

        Raises:
            ConfigurationError: a wrapper answers by itself.
        """
        problems = list(problems_of_answering_wrappers(self._flask))
        if problems:
            raise ConfigurationError(problems)
        return self.app(environ, start_response)


def problems_of_answering_wrappers(app: Flask) -> Iterator[Problem]:
    """Yield the wrappers that are known to answer by themselves, before any check.

    Args:
        app: the app, which is protected as a whole.
    """
    for name, answers in _wrappers_before_the_check(app):
        if answers is not None:
            yield _problem(app, name, f"it {answers} by itself, so they are not checked")


def problems_of_unknown_wrappers(app: Flask) -> Iterator[Problem]:
    """Yield the wrappers of which it is not known whether they answer by themselves.

    Args:
        app: the app, which is protected as a whole.
    """
    for name, answers in _wrappers_before_the_check(app):
        if answers is None:
            why = "arrcert does not know it; what it answers by itself is not checked"
            yield _problem(app, name, why)


def _problem(app: Flask, name: str, why: str) -> Problem:
    # The views behind the wrapper may name other policies.
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

    What stands inside an `arrcert.wsgi.ClientCertificateMiddleware` is not yielded, because
    it answers only requests that were checked. This does not see what stands around the app itself,
    such as `DispatcherMiddleware(app, ...)`.
    """
    for layer in layers(app.wsgi_app):
        if isinstance(layer, ClientCertificateMiddleware) or is_of_flask(layer, app):
            return
        if not passes_on(layer) and not isinstance(layer, Refusal):
            yield name_of(layer), answers_of(layer)


def is_of_flask(layer: Any, app: Flask) -> bool:
    """Return whether this is the method of the app that a subclass has not overridden."""
    if getattr(layer, "__self__", None) is not app:
        return False
    # Tools for monitoring replace the method in Flask's own class.
    return next(base for base in type(app).__mro__ if "wsgi_app" in vars(base)) is Flask
