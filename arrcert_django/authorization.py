"""Authorize a request under a policy, for views, the decorator, the mixin and the middleware."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.dispatch import Signal
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from arrcert.access import DAYS_LEFT
from arrcert.adapters import Requirement, deny_unconfigured, require_role
from arrcert.authorizer import Authorizer
from arrcert.exceptions import CertificateDenied, ConfigurationError, DenialReason
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.gate import PRIVATE, SHARED_CACHES, private
from arrcert.identity import ClientIdentity
from arrcert_django import conf
from arrcert_django.signals import certificate_accepted, certificate_denied, certificate_expiring
from arrcert_django.urlconf import is_ninja_view

__all__ = ["DEFAULT_POLICY", "aauthorize_request", "authorize_request", "current_authorizer"]

DEFAULT_POLICY = "default"
"""The policy of every view that names none."""

_logger = logging.getLogger("arrcert")
_Response = TypeVar("_Response")
_RECEIVER_FAILED = "a receiver of certificate_denied failed; the request stays denied"
_RECEIVER_OF_ENTRY_FAILED = "a receiver of %s failed; the request goes on"


class Decisions:
    """What was decided about one request. The request keeps it as `_arrcert_decisions`.

    Attributes:
        scope: the ASGI scope of the request, None under WSGI.
        accepted: the accepted identities, by the policy's name.
        denied: the denials, by the policy's name and the role; the role is None if the policy
            itself denies the request.
        found_by: the authorizer that found an accepted identity for the middleware and did not
            record the entry; None without the middleware.
        is_told: whether the entry was recorded and signalled.
        view_was_seen: whether the middleware has seen the view before it runs.
        required: the policy and role of that view; None if the view or the path is exempt.
        is_released: whether the request meets it, so that the response may be sent.
    """

    found_by: Authorizer | None = None
    is_told = False
    view_was_seen = False
    required: Requirement | None = None
    is_released = False

    def __init__(self, scope: Mapping[str, Any] | None) -> None:
        self.scope = scope
        self.accepted: dict[str, ClientIdentity] = {}
        self.denied: dict[tuple[str, str | None], CertificateDenied] = {}


def authorize_request(
    request: HttpRequest,
    policy: str = DEFAULT_POLICY,
    role: str | None = None,
    *,
    hint: str = "",
) -> ClientIdentity:
    """Authorize a request under a policy now, or deny it.

    Use it if a decorator cannot be used, for example in django-ninja's `auth=` or in a permission
    of Django REST framework. On success `request.client_identity` and `request.client_certificate`
    are set, and the response is kept out of Django's caches.

    Args:
        request: Django's request, or Django REST framework's.
        policy: the policy's name.
        role: the role that the policy must grant; None, the default, for any.
        hint: a hint for the operator, which is added to the detail of a denial: one escaped line.

    Returns:
        The identity of the client. It is always true in a condition.

    Raises:
        PermissionDenied: its `__cause__` is the `CertificateDenied`. Its text does not contain the
            reason, because a 403 page would show it.
        TypeError: `role` is not a non-empty string.

    For one request, each policy is decided once, and each denial is logged and signalled once.
    `certificate_accepted` is sent once for each request. This does not set `Cache-Control:
    private`; the middleware and the decorator do.
    """
    ours = request if isinstance(request, HttpRequest) else _of_django(request)
    decisions = decisions_for(ours)
    try:
        identity = _decide(ours, decisions, policy, role, hint)
    except CertificateDenied as denied:
        try:
            certificate_denied.send_robust(
                type(request), request=request, reason=denied.reason, denied=denied
            )
        except Exception:
            # send_robust() itself fails on an async receiver inside a running event loop, and on
            # a failing receiver without a __qualname__.
            _logger.exception(_RECEIVER_FAILED)
        # The request keeps the denial, so remove the traceback: its frames would refer to the
        # request and keep it in memory.
        raise _forbidden(request) from denied.with_traceback(None)
    if not decisions.is_told:
        tell_accepted(ours, decisions, identity)
    return identity


async def aauthorize_request(
    request: HttpRequest,
    policy: str = DEFAULT_POLICY,
    role: str | None = None,
    *,
    hint: str = "",
) -> ClientIdentity:
    """Do the same as `authorize_request`, for async code. The decision does not use a thread."""
    ours = request if isinstance(request, HttpRequest) else _of_django(request)
    decisions = decisions_for(ours)
    try:
        identity = _decide(ours, decisions, policy, role, hint)
    except CertificateDenied as denied:
        try:
            await certificate_denied.asend_robust(
                type(request), request=request, reason=denied.reason, denied=denied
            )
        except Exception:
            _logger.exception(_RECEIVER_FAILED)
        # The request keeps the denial, so remove the traceback: its frames would refer to the
        # request and keep it in memory.
        raise _forbidden(request) from denied.with_traceback(None)
    if not decisions.is_told:
        await atell_accepted(ours, decisions, identity)
    return identity


def tell_accepted(request: HttpRequest, decisions: Decisions, identity: ClientIdentity) -> None:
    """Record the entry of a client, and send its signals. The caller checks `is_told` first.

    Args:
        request: Django's own request.
        decisions: those about the request.
        identity: the identity of the client.
    """
    for signal, name, sent in _signals_of(request, decisions, identity):
        try:
            signal.send_robust(type(request), request=request, **sent)
        # As in `authorize_request`. The client is accepted already.
        except Exception:
            _logger.exception(_RECEIVER_OF_ENTRY_FAILED, name)


async def atell_accepted(
    request: HttpRequest, decisions: Decisions, identity: ClientIdentity
) -> None:
    """Do the same as `tell_accepted`, in an event loop."""
    for signal, name, sent in _signals_of(request, decisions, identity):
        try:
            await signal.asend_robust(type(request), request=request, **sent)
        except Exception:
            _logger.exception(_RECEIVER_OF_ENTRY_FAILED, name)


def current_authorizer() -> Authorizer:
    """Return the authorizer of the current settings.

    Pass the function itself, without parentheses, to the WSGI or ASGI middleware of arrcert around
    a Django site: the middleware then follows Django's settings.

    Raises:
        ConfigurationError: lists all mistakes in the configuration.
    """
    return conf.current().authorizer


def decisions_for(request: HttpRequest) -> Decisions:
    """Return the decisions about a request of Django. `authorize_request` adds to them."""
    decisions: Decisions | None = getattr(request, "_arrcert_decisions", None)
    if decisions is None:
        # Only Django's WSGI request has `environ`. It is checked first, because sites set
        # their own attribute `scope` on requests, such as the scope of an OAuth token.
        is_wsgi = hasattr(request, "environ")
        decisions = Decisions(None if is_wsgi else getattr(request, "scope", None))
        request._arrcert_decisions = decisions  # type: ignore[attr-defined]
    return decisions


def set_identity(
    request: HttpRequest, decisions: Decisions, identity: ClientIdentity | None
) -> None:
    """Set the identity and the certificate of a request.

    Args:
        request: Django's own request.
        decisions: those about the request.
        identity: what a policy has accepted; None to set both to None.
    """
    ours: Any = request
    ours.client_identity = identity
    ours.client_certificate = None if identity is None else identity.certificate
    if decisions.accepted:
        # Django's site-wide cache, and a `cache_page` above the check, must not store the page,
        # because they would serve it without a check. They read this attribute and `Cache-Control`,
        # but the middleware sets `Cache-Control` too late for the site-wide cache.
        ours._cache_update_cache = False


def is_exempt(request: HttpRequest, decisions: Decisions, exempt_paths: ExemptPaths) -> bool:
    """Return whether the request's path is exempt from the site-wide check.

    Args:
        request: Django's own request.
        decisions: those about the request.
        exempt_paths: the paths that are exempt.
    """
    if not exempt_paths.entries:
        return False
    if decisions.scope is None:
        return exempt_paths.covers_wsgi(request.META, request.path_info)
    return exempt_paths.covers_asgi(decisions.scope, request.path_info)


def keep_private(response: _Response) -> _Response:
    """Keep the response to an authorized request out of shared caches.

    Args:
        response: it gets `Cache-Control: private`, unless it says `no-store`. It loses the headers
            that address only shared caches. An object that is not a response is returned unchanged.

    It does not affect a page that the view itself has put into a cache.
    """
    if not isinstance(response, HttpResponseBase):
        return response
    for name in [name for name in response.headers if name.lower().endswith(SHARED_CACHES)]:
        del response.headers[name]
    said = response.headers.get("Cache-Control")
    # The middleware handles the response after the decorator, which may have set the header
    # already.
    if said == PRIVATE:
        return response
    cache_control = private(() if said is None else (said,))
    if cache_control is not None:
        response.headers["Cache-Control"] = cache_control
    return response


def _of_django(request: HttpRequest) -> HttpRequest:
    """Return Django's own request. Django REST framework's request does not pass attributes on."""
    wrapped: HttpRequest = getattr(request, "_request", request)
    return wrapped


def _signals_of(
    request: HttpRequest, decisions: Decisions, identity: ClientIdentity
) -> list[tuple[Signal, str, dict[str, Any]]]:
    """Record an entry, and return the signals to send: each with its name and its arguments."""
    decisions.is_told = True
    decided = request.META if decisions.scope is None else decisions.scope
    # What `identify_*` accepted is recorded; what `find_*` accepted is not, so far.
    if decisions.found_by is not None and decisions.scope is None:
        decisions.found_by.entered_wsgi(decided, identity)
    elif decisions.found_by is not None:
        decisions.found_by.entered_asgi(decided, identity)
    signals: list[tuple[Signal, str, dict[str, Any]]] = []
    if certificate_accepted.receivers:
        signals.append((certificate_accepted, "certificate_accepted", {"identity": identity}))
    if DAYS_LEFT in decided:
        sent = {"identity": identity, "days_left": decided[DAYS_LEFT]}
        signals.append((certificate_expiring, "certificate_expiring", sent))
    return signals


def _decide(
    request: HttpRequest, decisions: Decisions, policy: str, role: str | None, hint: str
) -> ClientIdentity:
    """Decide about a request under a policy, or use the earlier decision.

    Raises:
        CertificateDenied: the request is denied now.
        PermissionDenied: the request was denied under this policy before.
    """
    if role is not None:
        require_role(role)
    if decisions.denied:
        denied = decisions.denied
        earlier = denied.get((policy, None)) or denied.get((policy, role))
        if earlier is not None:
            raise _forbidden(request) from earlier
    identity = decisions.accepted.get(policy)
    if identity is None or not (role is None or role in identity.roles):
        try:
            identity = _ask(request, decisions.scope, policy, role, hint)
        except CertificateDenied as error:
            is_of_role = error.reason is DenialReason.ROLE_NOT_GRANTED
            decisions.denied[policy, role if is_of_role else None] = error
            raise
        decisions.accepted[policy] = identity
    # After several decisions the last one counts.
    set_identity(request, decisions, identity)
    return identity


def _ask(
    request: HttpRequest,
    scope: Mapping[str, Any] | None,
    policy: str,
    role: str | None,
    hint: str,
) -> ClientIdentity:
    try:
        authorizer = current_authorizer()
    except ConfigurationError as error:
        environ = request.META if scope is None else None
        raise deny_unconfigured(error, policy, environ=environ, scope=scope) from error
    if scope is not None:
        return authorizer.identify_asgi(scope, policy, role=role, hint=hint)
    return authorizer.identify_wsgi(request.META, policy, role=role, hint=hint)


def _forbidden(request: HttpRequest) -> PermissionDenied:
    """Return the exception for a denial."""
    match = getattr(request, "resolver_match", None)
    if match is not None and is_ninja_view(match.func):
        return _class_for_ninja(sys.modules["ninja.errors"].HttpError)()
    return PermissionDenied()


@lru_cache(maxsize=1)
def _class_for_ninja(http_error: Any) -> type[PermissionDenied]:
    """Return a `PermissionDenied` that django-ninja answers with its own 403, in JSON.

    In debug mode, django-ninja answers 500 to exceptions that it does not know. If the site has
    registered a handler for `PermissionDenied`, that handler is used.
    """

    # The second base class is only known at run time.
    class PermissionDeniedInNinja(PermissionDenied, http_error):  # type: ignore[misc]
        def __init__(self) -> None:
            Exception.__init__(self)
            self.status_code, self.message = 403, "Forbidden"

    return PermissionDeniedInNinja
