"""The site-wide check."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.urls import get_urlconf, resolve, set_urlconf

from arrcert.adapters import is_exempt_view, policy_named_by
from arrcert_django import conf
from arrcert_django.authorization import (
    DEFAULT_POLICY,
    aauthorize,
    authorize,
    decisions_for,
    is_authorized,
    is_exempt,
    keep_private,
    passes_under_any_policy,
    set_identity,
)

__all__ = ["ClientCertificateMiddleware"]

_logger = logging.getLogger("arrcert")

_Response = HttpResponseBase | Awaitable[HttpResponseBase]


class ClientCertificateMiddleware:
    """Require an authorized client certificate for the whole site.

    List it directly after `SecurityMiddleware`. It decides before the rest of the site runs: a
    request that no policy accepts reaches no middleware behind it, no cache and no view. Exempt are
    the paths in `ARRCERT_EXEMPT_PATHS` and the views with `certificate_exempt`, unless they name a
    policy.

    A view that names a policy is checked only under that policy, every other view under `default`,
    for all methods. Until then `request.client_identity` and `request.client_certificate` are those
    that `default` accepts, else None.

    Some responses do not come from a view: unknown paths, other middleware, cached pages. They are
    sent only if the request is accepted by the policy of the view at that path, or by `default` if
    there is no such view or it names no policy. Responses to authorized requests are sent with
    `Cache-Control: private`. All denials raise `PermissionDenied` in `__call__`, so the 403 does
    not show which paths exist.

    A subclass may override `process_view` with a sync method, and call `super().process_view(...)`.

    Args:
        get_response: the rest of the site.

    Raises:
        ConfigurationError: at the start, if the configuration has mistakes.

    Source: Django's documentation, "Writing your own middleware". It does not check responses of
    middleware before it, or of the server in front of Django.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], _Response]) -> None:
        # System checks do not run under get_wsgi_application(), so a mistake must stop the start
        # here. The result is not kept here, because each request uses the current settings.
        conf.refresh()
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> _Response:
        """Return the response to an authorized or exempt request, or deny the request.

        Raises:
            PermissionDenied: the request is denied here, or was denied before the view.
        """
        if self._is_async:
            return self.__acall__(request)
        set_identity(request, None)
        policy = _policy_of_denial(request)
        if policy is not None:
            authorize(request, policy)
        response = cast("HttpResponseBase", self.get_response(request))
        policy = _policy_to_release(request)
        if policy is not None:
            try:
                authorize(request, policy)
            except PermissionDenied:
                _discard(response)
                raise
        return keep_private(response) if is_authorized(request) else response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do the same as `__call__`, in an event loop."""
        set_identity(request, None)
        policy = _policy_of_denial(request)
        if policy is not None:
            await aauthorize(request, policy)
        response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        policy = _policy_to_release(request)
        if policy is not None:
            try:
                await aauthorize(request, policy)
            except PermissionDenied:
                await sync_to_async(_discard, thread_sensitive=True)(response)
                raise
        return keep_private(response) if is_authorized(request) else response

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
        policy = _policy_before_view(request, view)
        if policy is not None:
            authorize(request, policy)

    def _answer_denied(
        self, request: HttpRequest, view: Callable[..., Any], *_: Any
    ) -> HttpResponseBase | None:
        """Decide before the view runs. If a response is returned, Django does not run the view.

        `__call__` replaces that response by raising `PermissionDenied`. Raised here, the denial
        would get headers from the middleware inside this one, and `handler403` and Django's log
        would report it twice.
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
        policy = _policy_before_view(request, view)
        try:
            if policy is not None:
                await aauthorize(request, policy)
        except PermissionDenied:
            return HttpResponseForbidden()
        return None


def _policy_of_denial(request: HttpRequest) -> str | None:
    """Return the policy that denies the request at the gate, or None if it may pass.

    A request may pass if its path is exempt, if any policy accepts it, or if the view at its path
    is exempt. The policy of a denial is that of the view, so that the log has the reason that
    matters.
    """
    if is_exempt(request) or passes_under_any_policy(request):
        return None
    view, policy = _view_and_policy_of_path(request)
    return None if policy is None and is_exempt_view(view) else policy or DEFAULT_POLICY


def _policy_before_view(request: HttpRequest, view: Callable[..., Any]) -> str | None:
    """Return the policy to check before the view runs, or None if the request is exempt.

    It is stored on the request, because the response is released under the same policy.
    """
    policy = _policy_named_by(request, view)
    if policy is None and not is_exempt_view(view) and not is_exempt(request):
        policy = DEFAULT_POLICY
    request._arrcert_policy_before_view = policy  # type: ignore[attr-defined]
    if policy is None:
        set_identity(request, None)
    return policy


def _policy_to_release(request: HttpRequest) -> str | None:
    """Return the policy to check before the response is sent, or None if no check is left.

    It is the policy that was checked before the view. If no view was checked (an unknown path,
    another middleware's response, a cached page), it is the policy that the view at this path
    names, or `default`.
    """
    if hasattr(request, "_arrcert_policy_before_view"):
        policy: str | None = request._arrcert_policy_before_view
    else:
        policy = _policy_of_path(request)
    return None if policy in decisions_for(request).accepted else policy


def _policy_of_path(request: HttpRequest) -> str | None:
    """Return the policy for the request's path, or None if the path is exempt."""
    _, policy = _view_and_policy_of_path(request)
    if policy is None and not is_exempt(request):
        policy = DEFAULT_POLICY
    return policy


def _view_and_policy_of_path(request: HttpRequest) -> tuple[object, str | None]:
    """Return the view at the request's path and the policy that it names, None for neither."""
    try:
        view = resolve(request.path_info, getattr(request, "urlconf", None)).func
        return view, _policy_named_by(request, view)
    except Exception:
        # The path is unknown, or reading the view's policy failed. Use the default policy, so that
        # an error never lets a request in.
        return None, None


def _policy_named_by(request: HttpRequest, view: Callable[..., Any]) -> str | None:
    return policy_named_by(view) or policy_named_by(_handler(request, view))


def _handler(request: HttpRequest, view: Callable[..., Any]) -> object:
    """Return the method of a class-based view that Django calls for the request, or None."""
    view_class = getattr(view, "view_class", None)
    method = (request.method or "").lower()
    if method not in getattr(view_class, "http_method_names", ()):
        return None
    handler = getattr(view_class, method, None)
    if handler is None and method == "head":
        return getattr(view_class, "get", None)
    return handler


def _discard(response: HttpResponseBase) -> None:
    """Close a response that will not be sent. The server closes only responses that it sends."""
    # close() sends request_finished, and Django then resets the URLconf. The 403 page still needs
    # it.
    urlconf = get_urlconf()
    try:
        response.close()
    except Exception:
        _logger.exception("a withheld response failed to close; the request stays denied")
    finally:
        set_urlconf(urlconf)
