"""Authorize a request under a policy, for the decorator, the mixin and the middleware."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple, TypeVar

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control

from arrcert.adapters import deny_misconfigured
from arrcert.authorizer import Authorizer
from arrcert.exceptions import CertificateDenied, ConfigurationError
from arrcert.identity import ClientIdentity
from arrcert_django import conf
from arrcert_django.signals import certificate_denied

_logger = logging.getLogger("arrcert")
_Response = TypeVar("_Response")
DEFAULT_POLICY = "default"
"""The policy of every view that names none."""

_RECEIVER_FAILED = "a receiver of certificate_denied failed; the request stays denied"


class Decisions(NamedTuple):
    """The decisions for one request so far, by the policy's name."""

    accepted: dict[str, ClientIdentity]
    denied: dict[str, CertificateDenied]


def decisions_for(request: HttpRequest) -> Decisions:
    """Return the decisions for a request. `authorize` adds to them."""
    # Not through `__dict__`: frameworks wrap requests, and the wrapper reads these attributes.
    decisions: Decisions | None = getattr(request, "_arrcert_decisions", None)
    if decisions is None:
        decisions = Decisions({}, {})
        request._arrcert_decisions = decisions  # type: ignore[attr-defined]
    return decisions


def current_authorizer() -> Authorizer:
    """Return the authorizer of the current settings, for `arrcert.wsgi` and `arrcert.asgi`.

    Raises:
        ConfigurationError: lists all mistakes in the configuration.
    """
    return conf.current().authorizer


def authorize_request(request: HttpRequest, policy: str = DEFAULT_POLICY) -> ClientIdentity:
    """Authorize a request now, where neither a decorator nor the middleware can do it.

    For example in `has_permission` of an admin site, or as `auth=` of django-ninja.

    Args:
        request: on success its `client_identity` and `client_certificate` are set.
        policy: the policy's name.

    Returns:
        Who entered. It is true in a condition.

    Raises:
        PermissionDenied: the request is denied; its `__cause__` is the `CertificateDenied`.

    The response is not changed: send it with `Cache-Control: private`.
    """
    authorize(request, policy)
    return decisions_for(request).accepted[policy]


async def aauthorize_request(request: HttpRequest, policy: str = DEFAULT_POLICY) -> ClientIdentity:
    """Do the same as `authorize_request`, in an event loop."""
    await aauthorize(request, policy)
    return decisions_for(request).accepted[policy]


def authorize(request: HttpRequest, policy: str) -> None:
    """Authorize a request under a policy, or deny it.

    Args:
        request: on success its `client_identity` says who entered, and its `client_certificate`
            is the accepted certificate.
        policy: the policy's name.

    Raises:
        PermissionDenied: its `__cause__` is the `CertificateDenied`. It has no text, because a 403
            page would show it.

    Each policy is decided, logged and signalled once for a request.
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
        # The request keeps the denial. The frames of its traceback would lead back to the request.
        raise PermissionDenied from denied.with_traceback(None)


async def aauthorize(request: HttpRequest, policy: str) -> None:
    """Do the same as `authorize`, in an event loop. The decision does not use a thread."""
    try:
        _decide(request, policy)
    except CertificateDenied as denied:
        try:
            await certificate_denied.asend_robust(
                type(request), request=request, reason=denied.reason, denied=denied
            )
        except Exception:
            _logger.exception(_RECEIVER_FAILED)
        # The request keeps the denial. The frames of its traceback would lead back to the request.
        raise PermissionDenied from denied.with_traceback(None)


def is_exempt(request: HttpRequest) -> bool:
    """Return whether the request's path is exempt from the site-wide check."""
    try:
        exempt_paths = conf.current().settings.exempt_paths
    except ConfigurationError:
        # A configuration with mistakes exempts nothing. authorize() reports it.
        return False
    if _is_asgi(request):
        return exempt_paths.covers_asgi(request.scope, request.path_info)  # type: ignore[attr-defined]
    return exempt_paths.covers_wsgi(request.META, request.path_info)


def is_authorized(request: HttpRequest) -> bool:
    """Return whether at least one policy has accepted the request."""
    return bool(decisions_for(request).accepted)


def keep_private(response: _Response) -> _Response:
    """Keep the response to an authorized request out of shared caches.

    Args:
        response: it gets `Cache-Control: private`, unless it says `no-store`. An object that is not
            a response is returned unchanged.

    It does not affect a page that the view itself has put into a cache.
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
    """Decide about a request under a policy, or use the earlier decision.

    Raises:
        CertificateDenied: the request is denied now.
        PermissionDenied: the request was denied under this policy before.
    """
    accepted, denied = decisions_for(request)
    if policy in denied:
        raise PermissionDenied from denied[policy]
    if policy not in accepted:
        try:
            accepted[policy] = _ask(request, policy)
        except CertificateDenied as error:
            denied[policy] = error
            raise
    # If several policies accepted the request, `client_certificate` is the one of the last check.
    set_identity(request, accepted[policy])
    # Django's site-wide cache, and a cache_page above the check, must not store the page. They
    # would serve it without another check. They read this attribute and Cache-Control, but the
    # middleware sets Cache-Control too late for the site-wide cache.
    request._cache_update_cache = False  # type: ignore[attr-defined]


def set_identity(request: HttpRequest, identity: ClientIdentity | None) -> None:
    """Set `request.client_identity` and `request.client_certificate`; None for neither."""
    request.client_identity = identity  # type: ignore[attr-defined]
    request.client_certificate = (  # type: ignore[attr-defined]
        None if identity is None else identity.certificate
    )


def passes_under_any_policy(request: HttpRequest) -> bool:
    """Return whether at least one configured policy accepts the request.

    If `default` accepts it, its identity is set on the request. Nothing is logged: the decision
    under the policy of the view logs the denial.
    """
    try:
        authorizer = conf.current().authorizer
    except ConfigurationError:
        # authorize() reports it.
        return False
    if _is_asgi(request):
        identity = authorizer.find_asgi(request.scope)  # type: ignore[attr-defined]
    else:
        identity = authorizer.find_wsgi(request.META)
    if identity is None:
        return False
    decisions_for(request).accepted[identity.policy] = identity
    if identity.policy == DEFAULT_POLICY:
        set_identity(request, identity)
    request._cache_update_cache = False  # type: ignore[attr-defined]
    return True


def _ask(request: HttpRequest, policy: str) -> ClientIdentity:
    scope: Any = request.scope if _is_asgi(request) else None  # type: ignore[attr-defined]
    try:
        authorizer = conf.current().authorizer
    except ConfigurationError as error:
        problems = "; ".join(map(str, error.problems))
        raise deny_misconfigured(
            f"the configuration has mistakes: {problems}",
            policy,
            environ=None if scope is not None else request.META,
            scope=scope,
        ) from error
    if scope is not None:
        return authorizer.identify_asgi(scope, policy)
    return authorizer.identify_wsgi(request.META, policy)


def _is_asgi(request: HttpRequest) -> bool:
    # Only Django's WSGI request has `environ`. It is checked first, because sites put a `scope` of
    # their own on requests, such as the scope of an OAuth token.
    return not hasattr(request, "environ") and hasattr(request, "scope")
