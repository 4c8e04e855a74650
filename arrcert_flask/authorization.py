"""Authorize the current request under a policy."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from flask import Flask, Response, current_app, has_request_context, request
from werkzeug.exceptions import Forbidden

from arrcert import Authorizer, CertificateDenied, ClientCertificate
from arrcert.adapters import deny_misconfigured
from arrcert.settings import Settings
from arrcert_flask.signals import certificate_denied

_logger = logging.getLogger("arrcert")

_ACCEPTED = "_arrcert_accepted"
"""The attribute of a request that maps each accepted policy to the certificate. The policy that
was asked for last is the last key."""


class Extension(NamedTuple):
    """The value that `Arrcert.init_app` stores in `app.extensions["arrcert"]`."""

    authorizer: Authorizer
    settings: Settings


class ClientCertificateForbidden(Forbidden):
    """The 403 for a denied client certificate. Its `__cause__` is the `CertificateDenied`.

    The response does not tell the client the reason. An error handler for 403, or for this class,
    can change the page.
    """


def authorize(policy: str, authorizer: Authorizer | None = None) -> None:
    """Authorize the current request under a policy.

    Args:
        policy: the policy's name.
        authorizer: makes the decision; the default is the current app's.

    Raises:
        ClientCertificateForbidden: the request is denied. The denial is already logged, and the
            signal is sent.

    After a policy has accepted the request, its result is kept for the rest of the request.
    """
    current = _current_request()
    accepted: dict[str, ClientCertificate] = current.__dict__.setdefault(_ACCEPTED, {})
    if policy in accepted:
        accepted[policy] = accepted.pop(policy)
        return
    try:
        authorizer = authorizer or _authorizer(policy)
        accepted[policy] = authorizer.authorize_wsgi(current.environ, policy)
    except CertificateDenied as denied:
        _signal(denied)
        raise ClientCertificateForbidden from denied


def get_client_certificate() -> ClientCertificate | None:
    """Return the certificate that was accepted for the current request, or None.

    If several policies accepted the request, it is the certificate of the last check. It never
    returns a certificate that the request carries but that no decorator, hook or
    `ARRCERT_PROTECT_ALL` has checked.
    """
    if not has_request_context():
        return None
    accepted: dict[str, ClientCertificate] = getattr(request, _ACCEPTED, {})
    return next(reversed(accepted.values()), None)


def keep_private(response: Response) -> Response:
    """Keep the response to an authorized request out of shared caches.

    Args:
        response: it gets `Cache-Control: private`, unless it says `no-store`.

    It does not affect caches inside the app, such as a memoized view.
    """
    if not _current_request().__dict__.get(_ACCEPTED):
        return response
    if "Cache-Control" not in response.headers:
        response.headers.add("Cache-Control", "private")
    elif not response.cache_control.no_store:
        response.cache_control.public = False
        response.cache_control.private = True
    return response


def _current_request() -> Any:
    """Return the request itself. Each access through Flask's proxy is slow."""
    proxy: Any = request
    return proxy._get_current_object()


def _authorizer(policy: str) -> Authorizer:
    extension: Extension | None = current_app.extensions.get("arrcert")
    if extension is None:
        detail = "Arrcert(app) was never called for this app"
        raise deny_misconfigured(detail, policy, environ=request.environ)
    return extension.authorizer


def _signal(denied: CertificateDenied) -> None:
    app: Any = current_app
    sender: Flask = app._get_current_object()
    for receiver in certificate_denied.receivers_for(sender):
        try:
            sender.ensure_sync(receiver)(sender, reason=denied.reason, denied=denied)
        # An error in a receiver must not turn the 403 into a 500.
        except Exception:
            _logger.exception("a receiver of certificate_denied failed; the request stays denied")
