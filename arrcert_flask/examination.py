"""The checks of an app at its first request, when all views, hooks and wrappers exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Flask

from arrcert import Problem
from arrcert.adapters import lost_decorators, policies_named_in, policy_named_by
from arrcert.exceptions import quote
from arrcert_flask.authorization import ASGI_SCOPE, Extension, guarded_scope
from arrcert_flask.decorators import hooks_without_parentheses
from arrcert_flask.wrappers import (
    Refusal,
    problems_of_answering_wrappers,
    problems_of_unknown_wrappers,
)


def unprotected(app: Flask, environ: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the mistakes that leave a part of an app unprotected.

    Args:
        app: the app.
        environ: the WSGI environ of the first request.
    """
    for endpoint in lost_decorators(app.view_functions):
        yield Problem(
            f"the endpoint {endpoint!r}",
            "its view is registered without its @authorize_certificate, which is above the"
            " route; write the decorator below @app.route, or mark the view with"
            " @certificate_exempt if it is open on purpose",
        )
    for name in hooks_without_parentheses(app.before_request_funcs):
        yield Problem(
            _of_blueprint(name),
            "a before_request hook has no parentheses; write"
            " before_request(require_client_certificate())",
        )
    if not _is_protected_as_a_whole(app):
        return
    yield from problems_of_answering_wrappers(app)
    if _is_in_connexion(environ):
        yield _asgi_wrapper("Connexion itself answers requests, such as for its specification")


def suspicious(app: Flask, environ: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is probably a mistake, but does not leave a known part of the app unprotected.

    Args:
        app: the app.
        environ: the WSGI environ of the first request.
    """
    if _is_protected_as_a_whole(app):
        yield from problems_of_unknown_wrappers(app)
    if _is_in_asgi(environ):
        yield _asgi_wrapper("a WSGI app in it cannot see the real names of headers")
    extension: Extension = app.extensions["arrcert"]
    known = extension.authorizer.policy_names
    for where, named in _named_policies(app):
        for policy in sorted(named.difference(known)):
            yield Problem(
                where,
                f"names the policy {quote(policy)}, which does not exist, so every request is"
                f" denied; write one of {', '.join(map(quote, known))}",
            )


def refuse_while_wrapped(app: Flask) -> None:
    """Make an app refuse every request while a wrapper is known to answer requests itself.

    Args:
        app: the app.
    """
    is_wrapped = _is_protected_as_a_whole(app) and any(problems_of_answering_wrappers(app))
    if is_wrapped and not isinstance(app.wsgi_app, Refusal):
        # Flask's documentation wraps an app in this way.
        app.wsgi_app = Refusal(app)  # type: ignore[method-assign]


def _is_protected_as_a_whole(app: Flask) -> bool:
    """Return whether every request to an app must be checked, because of the setting or a hook."""
    hooks = app.before_request_funcs.get(None, ())
    return app.extensions["arrcert"].settings.protect_all or any(map(policy_named_by, hooks))


def _is_in_asgi(environ: Mapping[str, Any]) -> bool:
    """Return whether the app runs inside an ASGI app without a check of arrcert around it."""
    return ASGI_SCOPE in environ and guarded_scope(environ) is None


def _is_in_connexion(environ: Mapping[str, Any]) -> bool:
    extensions = environ.get(ASGI_SCOPE, {}).get("extensions") or {}
    return _is_in_asgi(environ) and "connexion_routing" in extensions


def _asgi_wrapper(why: str) -> Problem:
    return Problem(
        "the ASGI app around Flask",
        f"{why}; write `from arrcert.asgi import ClientCertificateMiddleware`, `from arrcert_flask"
        " import authorizer_of` and `app = ClientCertificateMiddleware(asgi_app,"
        " authorizer_of(flask_app), policy=None)`, and serve that app",
    )


def _named_policies(app: Flask) -> Iterator[tuple[str, set[str]]]:
    """Yield each place that names policies, and the names."""
    for endpoint, view in app.view_functions.items():
        named = policies_named_in(view)
        for method in methods_of(view):
            named |= policies_named_in(method)
        yield f"the endpoint {endpoint!r}", named
    for name, hooks in app.before_request_funcs.items():
        for hook in hooks:
            yield f"a before_request hook of {_of_blueprint(name)}", policies_named_in(hook)


def methods_of(view: Callable[..., Any]) -> list[Callable[..., Any] | None]:
    """Return the methods of a class-based view that answer requests, none for a function."""
    view_class = getattr(view, "view_class", None)
    names = getattr(view_class, "methods", None) or ()
    return [getattr(view_class, name.lower(), None) for name in names]


def _of_blueprint(name: str | None) -> str:
    return f"the blueprint {name!r}" if name else "the app"
