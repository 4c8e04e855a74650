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

from arrcert_django import conf
from arrcert_django.authorization import (
    aauthorize,
    authorize,
    is_authorized,
    is_exempt,
    keep_private,
)
from arrcert_django.decorators import is_exempt_view, policy_named_by

__all__ = ["ClientCertificateMiddleware"]

_DEFAULT_POLICY = "default"
_UNDECIDED: Any = object()
_logger = logging.getLogger("arrcert")

_Response = HttpResponseBase | Awaitable[HttpResponseBase]


class ClientCertificateMiddleware:
    """Let only requests with an authorized client certificate into the site.

    It stands directly after `SecurityMiddleware`. A view that names a policy is checked against
    that policy alone, every other view against `default`, whatever the method. Exempt are the paths
    in `ARRCERT_EXEMPT_PATHS` and the views under `certificate_exempt`, unless they name a policy.
    Where no view answers (an unknown path, another middleware, a cached page) the response is
    released only to a request that the policy accepts which the path's view names, or `default`.
    What a certificate opened goes out as `Cache-Control: private`, and every 403 is made in this
    one place: it does not tell which paths exist.

    Args:
        get_response: the rest of the site.

    Raises:
        ConfigurationError: at the start, when the configuration cannot stand.

    Source: Django's documentation, "Writing your own middleware". It does not see what a middleware
    before it, or the server in front of Django, answers.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], _Response]) -> None:
        # System checks do not run under get_wsgi_application(), so the start is stopped here.
        # Nothing is kept: requests ask for the settings that hold then.
        conf.refresh()
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        if type(self).process_view is ClientCertificateMiddleware.process_view:
            # A subclass keeps its own, which Django runs in a thread where this is async.
            self.process_view = (  # type: ignore[method-assign]
                self._aanswer_denied if self._is_async else self._answer_denied  # type: ignore[assignment]
            )

    def __call__(self, request: HttpRequest) -> _Response:
        """Answer the request, or deny it: every 403 of this middleware is raised here."""
        if self._is_async:
            return self.__acall__(request)
        request.client_certificate = None  # type: ignore[attr-defined]
        response = cast("HttpResponseBase", self.get_response(request))
        try:
            policy = _policy_to_release(request)
            if policy is not None:
                authorize(request, policy)
        except PermissionDenied:
            _discard(response)
            raise
        return keep_private(response) if is_authorized(request) else response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do as `__call__` does, in an event loop."""
        request.client_certificate = None  # type: ignore[attr-defined]
        response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        try:
            policy = _policy_to_release(request)
            if policy is not None:
                await aauthorize(request, policy)
        except PermissionDenied:
            await sync_to_async(_discard, thread_sensitive=True)(response)
            raise
        return keep_private(response) if is_authorized(request) else response

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., Any],
        view_args: tuple[Any, ...],  # noqa: ARG002 -- Django passes them.
        view_kwargs: dict[str, Any],  # noqa: ARG002
    ) -> None:
        """Decide before the view runs.

        Raises:
            PermissionDenied: when the request may not reach the view.
        """
        policy = _policy_for(request, view_func)
        with _remembered_by(request):
            if policy is not None:
                authorize(request, policy)

    def _answer_denied(
        self, request: HttpRequest, view_func: Callable[..., Any], *args: Any
    ) -> HttpResponseBase | None:
        """Decide before the view runs; what is returned keeps it from running.

        Raised here, the denial would become a page that inner middlewares add their headers to,
        and `__call__`, which puts another one in its place, would tell `handler403` and Django's
        log a second time.
        """
        try:
            ClientCertificateMiddleware.process_view(self, request, view_func, *args)
        except PermissionDenied:
            return HttpResponseForbidden()
        return None

    async def _aanswer_denied(
        self, request: HttpRequest, view_func: Callable[..., Any], *_: Any
    ) -> HttpResponseBase | None:
        policy = _policy_for(request, view_func)
        try:
            with _remembered_by(request):
                if policy is not None:
                    await aauthorize(request, policy)
        except PermissionDenied:
            return HttpResponseForbidden()
        return None


class _remembered_by:  # noqa: N801 - used as `contextlib.suppress` is, and made for each request.
    """Tell `_policy_to_release` what is decided before the view."""

    __slots__ = ("_request",)

    def __init__(self, request: HttpRequest) -> None:
        self._request: Any = request

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._request._arrcert_verdict = error


def _policy_for(request: HttpRequest, view: Callable[..., Any]) -> str | None:
    """Return the policy to check before the view runs; None for what is exempt."""
    policy = _policy_named_by(request, view)
    if policy is None and not is_exempt_view(view) and not is_exempt(request):
        policy = _DEFAULT_POLICY
    return policy


def _policy_to_release(request: HttpRequest) -> str | None:
    """Return the policy to check before a response is released; None where that is decided.

    Where no view was asked (an unknown path, another middleware's answer, a page from a cache), it
    is the policy that the view of this path names, and `default` otherwise.

    Raises:
        PermissionDenied: it was denied before the view.
    """
    verdict: PermissionDenied | None = getattr(request, "_arrcert_verdict", _UNDECIDED)
    if verdict is None:
        return None
    if verdict is not _UNDECIDED:
        raise PermissionDenied from verdict.__cause__
    try:
        view = resolve(request.path_info, getattr(request, "urlconf", None)).func
        policy = _policy_named_by(request, view)
    except Exception:
        # No such path; or a fault, which must not become a way in.
        policy = None
    if policy is None and not is_exempt(request):
        policy = _DEFAULT_POLICY
    return policy


def _policy_named_by(request: HttpRequest, view: Callable[..., Any]) -> str | None:
    return policy_named_by(view) or policy_named_by(_handler(request, view))


def _handler(request: HttpRequest, view: Callable[..., Any]) -> object:
    """Return the method of a class-based view that Django will call, or None."""
    view_class = getattr(view, "view_class", None)
    method = (request.method or "").lower()
    if method not in getattr(view_class, "http_method_names", ()):
        return None
    handler = getattr(view_class, method, None)
    if handler is None and method == "head":
        return getattr(view_class, "get", None)
    return handler


def _discard(response: HttpResponseBase) -> None:
    """Close a response that is not sent, as the server would have done."""
    # close() announces the end of the request, and Django then forgets the request's URLconf,
    # which the 403 page still needs.
    urlconf = get_urlconf()
    try:
        response.close()
    except Exception:
        _logger.exception("a withheld response failed to close; the request stays denied")
    finally:
        set_urlconf(urlconf)
