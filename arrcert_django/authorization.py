"""What the decorators, the mixin and the middleware share: authorize a request, once per policy."""

from __future__ import annotations

import logging

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from arrcert.exceptions import CertificateDenied, ConfigurationError, DenialReason
from arrcert_django import conf
from arrcert_django.signals import certificate_denied

_logger = logging.getLogger("arrcert")
_RECEIVER_FAILED = "A receiver of certificate_denied failed; the request stays denied."


def authorize(request: HttpRequest, policy: str) -> None:
    """Let the request pass with its client certificate, or deny it.

    Args:
        request: on success its `client_certificate` is the accepted certificate.
        policy: the name of the policy that must accept it.

    Raises:
        PermissionDenied: without a text, which a 403 page would show; its `__cause__` is the
            `CertificateDenied`.

    Decided under the same policy before, the request is not checked again.
    """
    try:
        _decide(request, policy)
    except CertificateDenied as denied:
        try:
            certificate_denied.send_robust(
                type(request), request=request, reason=denied.reason, denied=denied
            )
        except Exception:
            # send_robust() itself fails on an async receiver inside a running event loop, and on
            # a failing receiver without a __qualname__.
            _logger.exception(_RECEIVER_FAILED)
        raise PermissionDenied from denied


async def aauthorize(request: HttpRequest, policy: str) -> None:
    """Do as `authorize` does, for a caller inside an event loop; it starts no thread to decide."""
    try:
        _decide(request, policy)
    except CertificateDenied as denied:
        try:
            await certificate_denied.asend_robust(
                type(request), request=request, reason=denied.reason, denied=denied
            )
        except Exception:
            _logger.exception(_RECEIVER_FAILED)
        raise PermissionDenied from denied


def is_exempt(request: HttpRequest) -> bool:
    """Tell whether the site-wide check leaves out the path of the request."""
    try:
        exempt_paths = conf.current().exempt_paths
    except ConfigurationError:
        # Nothing is exempt by a configuration that cannot be read; authorize() reports it.
        return False
    if _is_asgi(request):
        return exempt_paths.covers_asgi(request.scope, request.path_info)  # type: ignore[attr-defined]
    return exempt_paths.covers_wsgi(request.META, request.path_info)


def _decide(request: HttpRequest, policy: str) -> None:
    if getattr(request, "_arrcert_policy", None) == policy:
        return
    try:
        authorizer = conf.current().authorizer
    except ConfigurationError as error:
        denied = CertificateDenied(DenialReason.MISCONFIGURED, "the configuration cannot stand")
        # The core logs its own denials, in this form; this one never gets there.
        _logger.error(
            "denied under policy %r: %s: %s",
            policy,
            denied,
            error,
            extra={
                "arrcert_reason": denied.reason.value,
                "arrcert_policy": policy,
                "arrcert_fingerprint": None,
            },
        )
        raise denied from error
    if _is_asgi(request):
        certificate = authorizer.authorize_asgi(request.scope, policy=policy)  # type: ignore[attr-defined]
    else:
        certificate = authorizer.authorize_wsgi(request.META, policy=policy)
    request.client_certificate = certificate  # type: ignore[attr-defined]
    request._arrcert_policy = policy  # type: ignore[attr-defined]


def _is_asgi(request: HttpRequest) -> bool:
    # Only Django's WSGI request has `environ`. Asked first, because sites put their own `scope`
    # (that of an OAuth token, say) on requests.
    return not hasattr(request, "environ") and hasattr(request, "scope")
