"""The site-wide check."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.urls import get_resolver, get_urlconf, resolve, set_urlconf
from django.utils.log import log_response

from arrcert.adapters import Requirement, is_exempt_view
from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert_django import conf, startup
from arrcert_django.authorization import (
    DEFAULT_POLICY,
    Decisions,
    aauthorize_request,
    authorize_request,
    decisions_for,
    is_exempt,
    keep_private,
    set_identity,
)
from arrcert_django.urlconf import hides_permissions, requirement_of
from arrcert_django.users import ClientCertificateUserMiddleware

__all__ = ["ClientCertificateMiddleware", "ClientCertificateUserMiddleware"]

PROTECT_ALL_IS_FALSE = Problem(
    "ARRCERT_PROTECT_ALL",
    f"is False, and MIDDLEWARE contains {startup.MIDDLEWARE}, which protects the whole site; remove"
    " one of the two",
)
"""The mistake of a site that has the middleware, although `ARRCERT_PROTECT_ALL` is False."""

_logger = logging.getLogger("arrcert")

_Response = HttpResponseBase | Awaitable[HttpResponseBase]


class ClientCertificateMiddleware:
    """Require an authorized client certificate for the whole site.

    List it directly after `SecurityMiddleware`. A request that no policy accepts is denied before
    the middleware after this one runs. Then a view that names a policy is checked only under that
    policy. Every other view is checked under `default`. This is true for all methods. The paths in
    `ARRCERT_EXEMPT_PATHS` are exempt. Views with `certificate_exempt` are exempt, too, unless they
    name a policy.

    Some responses do not come from a view: unknown paths, other middleware, cached pages. They are
    sent only if the policy of the view at that path accepts the request. If there is no view, or it
    names no policy, `default` must accept the request. Responses to authorized requests are sent
    with `Cache-Control: private`. All 403 pages are created in `__call__`, so a 403 does not show
    which paths exist. If the site's `handler403` fails, the 403 has a constant text.

    Until the view is known, `request.client_identity` and `request.client_certificate` are those
    that `default` has accepted, or None. After that they are those that the policy of the view has
    accepted. For exempt paths and views they are None.

    A subclass may override `process_view` with a sync method, and call `super().process_view(...)`.

    Args:
        get_response: the rest of the site.

    Raises:
        ConfigurationError: at the start, if the configuration has mistakes, or if
            `ARRCERT_PROTECT_ALL` is False.

    Source: Django's documentation, "Writing your own middleware". It does not check responses of
    middleware before it, or of the server in front of Django.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], _Response]) -> None:
        # System checks do not run under get_wsgi_application(), so a mistake must stop the start
        # here. The result is not stored, because each request uses the current settings.
        configuration = conf.refresh().settings
        if not configuration.protect_all:
            raise ConfigurationError([PROTECT_ALL_IS_FALSE])
        if "arrcert.W004" not in settings.SILENCED_SYSTEM_CHECKS:
            for problem in configuration.warnings():
                _logger.warning("configuration: %s", problem)
        startup.remember_active()
        self.get_response: Any = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> _Response:
        """Return the response to an authorized or exempt request, or the 403 page."""
        if self._is_async:
            return self.__acall__(request)
        decisions = decisions_for(request)
        try:
            policy = _policy_to_enter(request, decisions)
            if policy is not None:
                authorize_request(request, policy)
                set_identity(request, decisions, decisions.accepted.get(DEFAULT_POLICY))
        except PermissionDenied as denied:
            return _forbidden(request, denied)
        response: HttpResponseBase = self.get_response(request)
        if not decisions.is_released:
            try:
                required, hint = _required_to_release(request, decisions)
                if required is not None:
                    authorize_request(request, required.policy, required.role, hint=hint)
            except PermissionDenied as denied:
                return _forbidden(request, denied, withheld=response)
        return keep_private(response) if decisions.accepted else response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do the same as `__call__`, in an event loop."""
        decisions = decisions_for(request)
        try:
            policy = _policy_to_enter(request, decisions)
            if policy is not None:
                await aauthorize_request(request, policy)
                set_identity(request, decisions, decisions.accepted.get(DEFAULT_POLICY))
        except PermissionDenied as denied:
            return await _aforbidden(request, denied)
        response: HttpResponseBase = await self.get_response(request)
        if not decisions.is_released:
            try:
                required, hint = _required_to_release(request, decisions)
                if required is not None:
                    await aauthorize_request(request, required.policy, required.role, hint=hint)
            except PermissionDenied as denied:
                return await _aforbidden(request, denied, withheld=response)
        return keep_private(response) if decisions.accepted else response

    @property
    def process_view(self) -> Callable[..., Any]:
        """The check that Django calls before the view. Django reads this property at the start.

        On an async site it is a coroutine function, because Django would run a sync one in a thread
        for each request. In a subclass that overrides it, `super().process_view` is always sync and
        raises `PermissionDenied`, because the subclass might ignore a returned response.
        """
        if type(self).process_view is not ClientCertificateMiddleware.process_view:
            return self._check_view
        return self._aanswer_denied if self._is_async else self._answer_denied

    def _check_view(self, request: HttpRequest, view: Callable[..., Any], *_: Any) -> None:
        """Decide before the view runs.

        Raises:
            PermissionDenied: the request is denied.
        """
        decisions = decisions_for(request)
        required, hint = _required_before_view(request, decisions, view)
        if required is not None:
            authorize_request(request, required.policy, required.role, hint=hint)
        decisions.is_released = True

    def _answer_denied(
        self, request: HttpRequest, view: Callable[..., Any], *_: Any
    ) -> HttpResponseBase | None:
        """Decide before the view runs. If a response is returned, Django does not run the view.

        `__call__` replaces that response by the 403 page. An exception raised here would get
        headers from the middleware inside this one, and Django would log it and call `handler403`
        twice.
        """
        try:
            self._check_view(request, view)
        except PermissionDenied:
            return HttpResponseForbidden()
        return None

    async def _aanswer_denied(
        self, request: HttpRequest, view: Callable[..., Any], *_: Any
    ) -> HttpResponseBase | None:
        """Do the same as `_answer_denied`, in an event loop."""
        decisions = decisions_for(request)
        required, hint = _required_before_view(request, decisions, view)
        try:
            if required is not None:
                await aauthorize_request(request, required.policy, required.role, hint=hint)
        except PermissionDenied:
            return HttpResponseForbidden()
        decisions.is_released = True
        return None


def _policy_to_enter(request: HttpRequest, decisions: Decisions) -> str | None:
    """Return the policy under which to deny a request that no policy accepts, or None.

    It is the policy of the view at the request's path, so that the log has the relevant reason. The
    result is None if a policy accepts the request, or if the path or its view is exempt.
    """
    exempt = False
    try:
        snapshot = conf.current()
    except ConfigurationError:
        pass  # It exempts nothing. authorize_request() reports it.
    else:
        exempt = is_exempt(request, decisions, snapshot.settings.exempt_paths)
        if not exempt:
            if decisions.scope is None:
                identity = snapshot.authorizer.find_wsgi(request.META)
            else:
                identity = snapshot.authorizer.find_asgi(decisions.scope)
            if identity is not None:
                decisions.found_by = snapshot.authorizer
                decisions.accepted[identity.policy] = identity
                set_identity(request, decisions, decisions.accepted.get(DEFAULT_POLICY))
                return None
    # Pages and log handlers of the site may read it, also for a denied request.
    set_identity(request, decisions, None)
    if exempt:
        return None
    view = _view_at_path(request)
    required = _named_by(request, view)
    if required is not None:
        return required.policy
    return None if is_exempt_view(view) else DEFAULT_POLICY


def _required_before_view(
    request: HttpRequest, decisions: Decisions, view: Callable[..., Any]
) -> tuple[Requirement | None, str]:
    """Return what to check before the view runs, and a hint for the log.

    If the request is exempt, there is nothing to check. The decisions keep the result, because the
    response is sent under the same policy.
    """
    decisions.is_released = False
    required, hint = requirement_of(view, request.method), ""
    if required is None and (is_exempt_view(view) or _is_exempt_path(request, decisions)):
        set_identity(request, decisions, None)
    elif required is None:
        required, hint = Requirement(DEFAULT_POLICY), _hint(decisions, view)
    decisions.view_was_seen, decisions.required = True, required
    return required, hint


def _is_exempt_path(request: HttpRequest, decisions: Decisions) -> bool:
    try:
        exempt_paths = conf.current().settings.exempt_paths
    except ConfigurationError:
        return False  # authorize_request() reports it.
    return is_exempt(request, decisions, exempt_paths)


def _hint(decisions: Decisions, view: object) -> str:
    """Return a hint for the log if `default` denies a request that another policy accepts."""
    accepted = decisions.accepted
    if not accepted or DEFAULT_POLICY in accepted:
        return ""
    policy = quote(next(iter(accepted)))
    if hides_permissions(view):
        return (
            f"the policy {policy} accepts the request, and the middleware cannot see what the"
            " view's get_permissions() returns; if the view is for that policy, set"
            f" certificate_policy = {policy} on the class of the view"
        )
    return (
        f"the policy {policy} accepts the request, and the view names no policy that the middleware"
        f" can see; if a policy below is not visible to it, because a wrapper hides it, put"
        f" @authorize_certificate(policy={policy}) on the view that the URLconf holds"
    )


def _required_to_release(
    request: HttpRequest, decisions: Decisions
) -> tuple[Requirement | None, str]:
    """Return what must accept the request before the response is sent, and a hint for the log.

    It is the policy that was checked before the view. If no view was checked (an unknown path, a
    response of another middleware, a cached page), it is the policy of the view at this path, or
    `default`. It is None if nothing must.
    """
    if decisions.view_was_seen:
        return decisions.required, ""
    view = _view_at_path(request)
    required = _named_by(request, view)
    if required is not None or _is_exempt_path(request, decisions):
        return required, ""
    hint = ""
    if view is None and decisions.accepted:
        policy = quote(next(iter(decisions.accepted)))
        hint = (
            f"no view has this path, and the policy {policy} accepts the request; compare the path"
            " with the URLconf, also its last slash"
        )
    return Requirement(DEFAULT_POLICY), hint


def _view_at_path(request: HttpRequest) -> object:
    """Return the view at the request's path; None if there is none or it cannot be found."""
    try:
        return resolve(request.path_info, getattr(request, "urlconf", None)).func
    except Exception:
        return None


def _named_by(request: HttpRequest, view: object) -> Requirement | None:
    """Return the policy that a view names, None if it names none or if reading it fails."""
    try:
        return requirement_of(view, request.method)
    except Exception:
        return None


def _forbidden(
    request: HttpRequest, denied: PermissionDenied, withheld: HttpResponseBase | None = None
) -> HttpResponseBase:
    """Return the site's 403 page, or a constant one if `handler403` fails.

    Args:
        request: the denied request.
        denied: the denial, which `handler403` gets.
        withheld: a response that is not sent; it is closed.
    """
    if withheld is not None:
        _discard(withheld)
    try:
        response = _page_of_the_site(request, denied)
    except Exception:
        _logger.exception("handler403 failed; a constant 403 is sent")
        response = HttpResponseForbidden("403 Forbidden")
    log_response(
        "Forbidden (Permission denied): %s",
        request.path,
        response=response,  # type: ignore[arg-type]
        request=request,
    )
    return response


def _page_of_the_site(request: HttpRequest, denied: PermissionDenied) -> HttpResponseBase:
    handler: Any = get_resolver(get_urlconf()).resolve_error_handler(403)
    response = handler(request, exception=denied)
    if not getattr(response, "is_rendered", True):
        response = response.render()
    if isinstance(response, HttpResponseBase):
        return response
    raise TypeError(f"handler403 returned {type(response).__name__}, not a response")


async def _aforbidden(
    request: HttpRequest, denied: PermissionDenied, withheld: HttpResponseBase | None = None
) -> HttpResponseBase:
    """Do the same as `_forbidden` in a thread, because `handler403` is sync."""
    return await sync_to_async(_forbidden, thread_sensitive=withheld is not None)(
        request, denied, withheld
    )


def _discard(response: HttpResponseBase) -> None:
    """Close a response that will not be sent. The server closes only responses that it sends."""
    # close() sends request_finished, and then Django resets the URLconf, which the 403 page still
    # needs.
    urlconf = get_urlconf()
    try:
        response.close()
    except Exception:
        _logger.exception("a withheld response failed to close; the request stays denied")
    finally:
        set_urlconf(urlconf)
