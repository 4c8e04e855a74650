"""What the decorators, the mixin and the middleware share: authorize a request, once per policy."""

from __future__ import annotations

import logging
from typing import TypeVar

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control

from arrcert.denials import DenialLog, describe_asgi, describe_wsgi
from arrcert.exceptions import CertificateDenied, ConfigurationError, DenialReason
from arrcert_django import conf
from arrcert_django.signals import certificate_denied

_logger = logging.getLogger("arrcert")
_denials = DenialLog()
_Response = TypeVar("_Response")
_RECEIVER_FAILED = "a receiver of certificate_denied failed; the request stays denied"


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
            # A denial of which nobody wants to know is not looked at.
            if certificate_denied.has_listeners(type(request)):
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
            if certificate_denied.has_listeners(type(request)):
                await certificate_denied.asend_robust(
                    type(request), request=request, reason=denied.reason, denied=denied
                )
        except Exception:
            _logger.exception(_RECEIVER_FAILED)
        raise PermissionDenied from denied


def is_exempt(request: HttpRequest) -> bool:
    """Tell whether the site-wide check leaves out the path of the request."""
    try:
        exempt_paths = conf.current().settings.exempt_paths
    except ConfigurationError:
        # Nothing is exempt by a configuration that cannot be read; authorize() reports it.
        return False
    if _is_asgi(request):
        return exempt_paths.covers_asgi(request.scope, request.path_info)  # type: ignore[attr-defined]
    return exempt_paths.covers_wsgi(request.META, request.path_info)


def is_authorized(request: HttpRequest) -> bool:
    """Tell whether any policy has accepted the certificate of the request."""
    return hasattr(request, "_arrcert_policy")


def keep_private(response: _Response) -> _Response:
    """Keep a response that a certificate opened out of every cache that others share.

    Args:
        response: it becomes `Cache-Control: private`, unless it says no-store. Anything but a
            response is returned as it is.

    It does not reach a page that the view itself has already put into a cache.
    """
    if not isinstance(response, HttpResponseBase):
        return response
    said = response.get("Cache-Control", "private")
    if said == "private":
        response["Cache-Control"] = said
    elif "no-store" not in map(str.strip, said.lower().split(",")):
        patch_cache_control(response, private=True)
    return response


def _decide(request: HttpRequest, policy: str) -> None:
    if getattr(request, "_arrcert_policy", None) != policy:
        _decide_anew(request, policy)
    # Django's site-wide cache, and a cache_page above the check, must not store the page: they
    # would serve it before the view can be asked again. They look at this and at Cache-Control,
    # which comes too late for the former.
    request._cache_update_cache = False  # type: ignore[attr-defined]


def _decide_anew(request: HttpRequest, policy: str) -> None:
    try:
        authorizer = conf.current().authorizer
    except ConfigurationError as error:
        denied = CertificateDenied(
            DenialReason.MISCONFIGURED,
            f"the configuration cannot stand: {'; '.join(map(str, error.problems))}",
        )
        # The core logs its own denials; this one never gets there.
        _denials.write(denied, policy, _describe, request)
        raise denied from error
    if _is_asgi(request):
        certificate = authorizer.authorize_asgi(request.scope, policy=policy)  # type: ignore[attr-defined]
    else:
        certificate = authorizer.authorize_wsgi(request.META, policy=policy)
    request.client_certificate = certificate  # type: ignore[attr-defined]
    request._arrcert_policy = policy  # type: ignore[attr-defined]


def _describe(request: HttpRequest) -> str:
    if _is_asgi(request):
        return describe_asgi(request.scope)  # type: ignore[attr-defined]
    return describe_wsgi(request.META)


def _is_asgi(request: HttpRequest) -> bool:
    # Only Django's WSGI request has `environ`. Asked first, because sites put their own `scope`
    # (that of an OAuth token, say) on requests.
    return not hasattr(request, "environ") and hasattr(request, "scope")
