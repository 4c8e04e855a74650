"""Authorize the current request under a policy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from blinker import NamedSignal
from flask import Flask, Response, current_app, has_request_context, request
from werkzeug.exceptions import Forbidden

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ClientIdentity,
    ConfigurationError,
    Problem,
)
from arrcert.access import DAYS_LEFT
from arrcert.adapters import deny_misconfigured, require_policy_name, require_role
from arrcert.gate import IDENTITY, PRIVATE, private
from arrcert.settings import Settings
from arrcert_flask.signals import certificate_accepted, certificate_denied, certificate_expiring

_logger = logging.getLogger("arrcert")

_ACCEPTED = "_arrcert_accepted"
"""The attribute of a request that maps each accepted policy to the identity. The policy that was
asked for last is the last key."""

_DENIED = "_arrcert_denied"
"""The attribute that a request has once a policy has denied it."""


_TOLD = "_arrcert_told"
"""The attribute that a request has once `certificate_accepted` was sent for it."""

ASGI_SCOPE = "asgi.scope"
"""The key of a WSGI environ in which a2wsgi puts the ASGI scope. Clients cannot set it."""

_NOT_INITIALISED = "Arrcert(app) was never called for this app"


class Extension(NamedTuple):
    """The value that `Arrcert.init_app` stores in `app.extensions["arrcert"]`.

    Attributes:
        authorizer: makes the decisions.
        settings: the settings; None for an app without policies, which denies every request.
    """

    authorizer: Authorizer
    settings: Settings | None


class ClientCertificateForbidden(Forbidden):
    """The 403 for a denied client certificate. Its `__cause__` is the `CertificateDenied`.

    The response does not tell the client the reason. An error handler for 403, or for this class,
    can change the page.
    """


def authorize(
    policy: str, authorizer: Authorizer | None = None, *, role: str | None = None
) -> ClientIdentity:
    """Authorize the current request under a policy.

    Args:
        policy: the policy's name.
        role: the role that the policy must grant; None for any.
        authorizer: makes the decision; the default is the current app's.

    Returns:
        Who may enter. The signal `certificate_accepted` is sent once a request.

    Raises:
        ClientCertificateForbidden: the request is denied. The denial is already logged, and the
            signal is sent.

    After a policy has accepted the request, its result is kept for the rest of the request. The
    role is checked each time.
    """
    current = _current_request()
    accepted: dict[str, ClientIdentity] = current.__dict__.setdefault(_ACCEPTED, {})
    identity = accepted.get(policy)
    if identity is not None and (role is None or role in identity.roles):
        if len(accepted) > 1:
            accepted[policy] = accepted.pop(policy)
        return identity
    environ = current.environ
    try:
        if authorizer is None:
            authorizer = _authorizer(policy)
        scope = guarded_scope(environ) if ASGI_SCOPE in environ else None
        if scope is None:
            identity = authorizer.identify_wsgi(environ, policy, role=role)
        else:
            identity = authorizer.identify_asgi(scope, policy, role=role)
    except CertificateDenied as denied:
        setattr(current, _DENIED, True)
        _signal(
            certificate_denied,
            "the request stays denied",
            reason=denied.reason,
            denied=denied,
        )
        raise ClientCertificateForbidden from denied
    accepted.pop(policy, None)
    accepted[policy] = identity
    if _TOLD not in current.__dict__:
        setattr(current, _TOLD, True)
        _tell_accepted(identity, environ if scope is None else scope)
    return identity


def authorize_request(policy: str = "default", role: str | None = None) -> ClientIdentity:
    """Authorize the current request now, where no decorator or hook can stand.

    Use it inside a request: in `is_accessible` of Flask-Admin, in a handler of Socket.IO, or in a
    view that chooses the policy by itself.

    Args:
        policy: the policy's name.
        role: the role that the policy must grant; None, the default, for any.

    Returns:
        Who may enter. It is always true in a condition.

    Raises:
        ClientCertificateForbidden: the request is denied. The denial is already logged, and the
            signal is sent. Flask answers 403.
        TypeError: `policy` or `role` is not a name.
        RuntimeError: there is no current request.

    It decides when it is called: code that ran before in the same request was not checked by it.
    """
    require_policy_name(policy)
    require_role(role)
    return authorize(policy, role=role)


def authorizer_of(app: Flask) -> Authorizer:
    """Return the `Authorizer` that `Arrcert(app)` made, for a middleware around the app.

        app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app))

    Args:
        app: the app.

    Raises:
        ConfigurationError: `Arrcert(app)` was not called for this app before.

    The middleware does not take the exempt paths of the app; it has its own `exempt_paths`.
    """
    extension: Extension | None = app.extensions.get("arrcert")
    if extension is None:
        raise ConfigurationError(
            [Problem("", f"{_NOT_INITIALISED}; call it before authorizer_of(app)")]
        )
    return extension.authorizer


def get_client_certificate() -> ClientCertificate | None:
    """Return the certificate that was accepted for the current request, or None.

    If several policies accepted the request, it is the certificate of the last check. It never
    returns a certificate that the request carries but that no decorator, hook or
    `ARRCERT_PROTECT_ALL` has checked.
    """
    identity = get_client_identity()
    return None if identity is None else identity.certificate


def get_client_identity() -> ClientIdentity | None:
    """Return who was accepted for the current request, or None.

    If several policies accepted the request, it is the identity of the last check, as in
    `get_client_certificate`.
    """
    if not has_request_context():
        return None
    accepted: dict[str, ClientIdentity] = getattr(request, _ACCEPTED, {})
    return next(reversed(accepted.values()), None)


def guarded_scope(environ: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the ASGI scope of a request that `arrcert.asgi.ClientCertificateMiddleware` checked.

    Args:
        environ: the WSGI environ of the request.

    Returns:
        The scope, or None if there is no such middleware.

    Connexion runs Flask inside an ASGI app, by a2wsgi. Its WSGI environ does not show the real
    names of headers, but holds the scope, which does.
    """
    scope = environ.get(ASGI_SCOPE)
    return scope if scope is not None and IDENTITY in scope else None


def was_denied() -> bool:
    """Return whether a policy has denied the current request."""
    return _DENIED in _current_request().__dict__


def keep_private(response: Response) -> Response:
    """Keep the response to an authorized request out of shared caches.

    Args:
        response: it gets `Cache-Control: private`, unless it says `no-store`.

    It does not affect caches inside the app, such as a memoized view.
    """
    if not _current_request().__dict__.get(_ACCEPTED):
        return response
    headers = response.headers
    said = [value for name, value in headers if name.lower() == "cache-control"]
    if not said:
        headers.add("Cache-Control", PRIVATE)
        return response
    cache_control = private(said)
    if cache_control is not None:
        headers["Cache-Control"] = cache_control
    return response


def _current_request() -> Any:
    """Return the request itself. Each access through Flask's proxy is slow."""
    proxy: Any = request
    return proxy._get_current_object()


def _authorizer(policy: str) -> Authorizer:
    extension: Extension | None = current_app.extensions.get("arrcert")
    if extension is None:
        raise deny_misconfigured(_NOT_INITIALISED, policy, environ=request.environ)
    return extension.authorizer


def _tell_accepted(identity: ClientIdentity, decided: Mapping[str, Any]) -> None:
    """Send the signals of an accepted request.

    Args:
        identity: who entered.
        decided: the environ or the scope that was decided on.
    """
    if certificate_accepted.receivers:
        _signal(certificate_accepted, "the request goes on", identity=identity)
    if DAYS_LEFT in decided:
        _signal(
            certificate_expiring,
            "the request goes on",
            identity=identity,
            days_left=decided[DAYS_LEFT],
        )


def _signal(signal: NamedSignal, and_then: str, **sent: Any) -> None:
    """Send a signal; log the error of a receiver, which must not change the response."""
    if not signal.receivers:
        return
    app: Any = current_app
    sender: Flask = app._get_current_object()
    for receiver in signal.receivers_for(sender):
        try:
            sender.ensure_sync(receiver)(sender, **sent)
        # An error in a receiver must not turn the response into a 500.
        except Exception:
            # The names of the signals are those of the variables, with dashes.
            name = signal.name.removeprefix("arrcert-").replace("-", "_")
            _logger.exception("a receiver of %s failed; %s", name, and_then)
