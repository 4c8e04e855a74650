"""One request, one policy: ask the core, remember the answer on the request, deny by raising."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from flask import Flask, Response, current_app, has_request_context, request
from werkzeug.exceptions import Forbidden

from arrcert import Authorizer, CertificateDenied, ClientCertificate, DenialReason
from arrcert.denials import DenialLog, describe_wsgi
from arrcert.settings import Settings
from arrcert_flask.signals import certificate_denied

_logger = logging.getLogger("arrcert")
_denials = DenialLog()

_ACCEPTED = "_arrcert_accepted"


class Extension(NamedTuple):
    """What `Arrcert.init_app` leaves in `app.extensions["arrcert"]`."""

    authorizer: Authorizer
    settings: Settings


class ClientCertificateForbidden(Forbidden):
    """The 403 of a denied client certificate; `__cause__` is the `CertificateDenied`.

    It tells the client nothing. A handler for 403, or for this class, restyles it.
    """


def authorize(policy: str, authorizer: Authorizer | None = None) -> None:
    """Let the current request pass under a policy, or raise its 403.

    Args:
        policy: the policy's name.
        authorizer: who decides; the current app's by default.

    Raises:
        ClientCertificateForbidden: the request is denied; it has been logged and signalled.

    It asks the core once for each policy and request.
    """
    current = _current_request()
    accepted: dict[str, ClientCertificate] = current.__dict__.setdefault(_ACCEPTED, {})
    if policy in accepted:
        return
    try:
        authorizer = authorizer or _authorizer(policy)
        accepted[policy] = authorizer.authorize_wsgi(current.environ, policy)
    except CertificateDenied as denied:
        _signal(denied)
        raise ClientCertificateForbidden from denied


def get_client_certificate() -> ClientCertificate | None:
    """Return the certificate that was accepted for the current request, None where none was.

    A certificate that a request merely carries is never returned: first a decorator, a hook or
    `ARRCERT_PROTECT_ALL` must have accepted it.
    """
    if not has_request_context():
        return None
    accepted: dict[str, ClientCertificate] = getattr(request, _ACCEPTED, {})
    return next(iter(accepted.values()), None)


def keep_private(response: Response) -> Response:
    """Keep a response that a certificate opened out of every cache that others share.

    Args:
        response: it becomes `Cache-Control: private`, unless it says no-store.

    It does not reach what the app itself remembers, such as a memoized view.
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
    """Return the request itself: each look through Flask's proxy costs half a decision."""
    proxy: Any = request
    return proxy._get_current_object()


def _authorizer(policy: str) -> Authorizer:
    extension: Extension | None = current_app.extensions.get("arrcert")
    if extension is None:
        denied = CertificateDenied(
            DenialReason.MISCONFIGURED, "Arrcert(app) was never called for this app"
        )
        # The core logs its own denials; this one never gets there.
        _denials.write(denied, policy, describe_wsgi, request.environ)
        raise denied
    return extension.authorizer


def _signal(denied: CertificateDenied) -> None:
    app: Any = current_app
    sender: Flask = app._get_current_object()
    for receiver in certificate_denied.receivers_for(sender):
        try:
            sender.ensure_sync(receiver)(sender, reason=denied.reason, denied=denied)
        # A receiver's fault must not turn a denial into a 500.
        except Exception:
            _logger.exception("a receiver of certificate_denied failed; the request stays denied")
