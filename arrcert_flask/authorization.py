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
from arrcert.gate import IDENTITY, SHARED_CACHES, private
from arrcert.settings import Settings
from arrcert_flask.signals import certificate_accepted, certificate_denied, certificate_expiring

_logger = logging.getLogger("arrcert")

_request: Any = request
"""Flask's proxy. `_get_current_object()` is faster than an attribute of the proxy."""

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


class Decisions:
    """What was decided about one request. The request keeps it as `_arrcert_decisions`.

    Attributes:
        accepted: the accepted identities, by the policy's name.
        last: the identity from the last check that accepted the request; None if none did.
        is_denied: whether a policy has denied the request.
    """

    __slots__ = ("accepted", "is_denied", "last")

    def __init__(self) -> None:
        self.accepted: dict[str, ClientIdentity] = {}
        self.last: ClientIdentity | None = None
        self.is_denied = False


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
        The identity of the client. The signal `certificate_accepted` is sent only once for each
        request.

    Raises:
        ClientCertificateForbidden: the request is denied. The denial is already logged, and the
            signal is sent.

    After a policy has accepted the request, its result is kept for the rest of the request. The
    role is checked each time.
    """
    current = _request._get_current_object()
    decisions: Decisions | None = getattr(current, "_arrcert_decisions", None)
    if decisions is None:
        decisions = Decisions()
        current._arrcert_decisions = decisions
    identity = decisions.accepted.get(policy)
    if identity is not None and (role is None or role in identity.roles):
        decisions.last = identity
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
        decisions.is_denied = True
        _signal(
            certificate_denied,
            "the request stays denied",
            reason=denied.reason,
            denied=denied,
        )
        raise ClientCertificateForbidden from denied
    is_first = decisions.last is None
    decisions.accepted[policy] = decisions.last = identity
    if is_first:
        _tell_accepted(identity, environ if scope is None else scope)
    return identity


def authorize_request(policy: str = "default", role: str | None = None) -> ClientIdentity:
    """Authorize the current request now, where no decorator or hook can be used.

    Use it inside a request: in `is_accessible` of Flask-Admin, in a handler of Socket.IO, or in a
    view that chooses the policy itself.

    Args:
        policy: the policy's name.
        role: the role that the policy must grant; None, the default, for any.

    Returns:
        The identity of the client. It is always true in a condition.

    Raises:
        ClientCertificateForbidden: the request is denied. The denial is already logged, and the
            signal is sent. Flask answers 403.
        TypeError: `policy` or `role` is not a non-empty string.
        RuntimeError: there is no current request.

    The request is checked when this is called. Code that ran earlier in the same request was not
    protected by it.
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
        ConfigurationError: `Arrcert(app)` was not called for this app.

    The middleware does not use the exempt paths of the app. It has its own argument `exempt_paths`.
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
    returns a certificate that no decorator, hook or `ARRCERT_PROTECT_ALL` has checked, even if the
    request has one.
    """
    identity = get_client_identity()
    return None if identity is None else identity.certificate


def get_client_identity() -> ClientIdentity | None:
    """Return the identity of the accepted client of the current request, or None.

    If several policies accepted the request, it is the identity of the last check, as in
    `get_client_certificate`.
    """
    if not has_request_context():
        return None
    decisions = current_decisions()
    return None if decisions is None else decisions.last


def guarded_scope(environ: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the ASGI scope of a request that `arrcert.asgi.ClientCertificateMiddleware` checked.

    Args:
        environ: the WSGI environ of the request.

    Returns:
        The scope, or None if there is no such middleware.

    Connexion runs Flask inside an ASGI app with a2wsgi. The WSGI environ of a2wsgi does not have
    the real names of headers, but it has the ASGI scope, which has them.
    """
    scope = environ.get(ASGI_SCOPE)
    return scope if scope is not None and IDENTITY in scope else None


def current_decisions() -> Decisions | None:
    """Return what was decided about the current request, None if nothing was."""
    return getattr(_request._get_current_object(), "_arrcert_decisions", None)


def keep_private(response: Response) -> None:
    """Keep the response to an authorized request out of shared caches.

    Args:
        response: it gets `Cache-Control: private`, unless it says `no-store`. It loses the headers
            that address only shared caches.

    It does not affect caches inside the app, such as a memoized view.
    """
    headers = response.headers
    said = [value for name, value in headers if name.lower() == "cache-control"]
    for name in [name for name, _ in headers if name.lower().endswith(SHARED_CACHES)]:
        headers.remove(name)
    cache_control = private(said)
    if said and cache_control is not None:
        headers["Cache-Control"] = cache_control
    elif cache_control is not None:
        headers.add("Cache-Control", cache_control)


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
