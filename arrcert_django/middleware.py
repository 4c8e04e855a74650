"""The site-wide check."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_urlconf, set_urlconf

from arrcert_django import conf
from arrcert_django.authorization import aauthorize, authorize, is_exempt
from arrcert_django.decorators import is_exempt_view, policy_named_by

__all__ = ["ClientCertificateMiddleware"]

_DEFAULT_POLICY = "default"
_logger = logging.getLogger("arrcert")

_Response = HttpResponseBase | Awaitable[HttpResponseBase]


class ClientCertificateMiddleware:
    """Let only requests with an authorized client certificate into the site.

    It stands directly after `SecurityMiddleware`. A view that names a policy is checked against
    that policy alone, every other view against `default`, whatever the method. Exempt are the paths
    in `ARRCERT_EXEMPT_PATHS` and the views under `certificate_exempt`, unless they name a policy.
    Where no view answers (an unknown path, another middleware) the response is released only to a
    request that `default` accepts.

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
                # Django would run the sync method in a thread. A subclass keeps its own.
                self.process_view = self._aprocess_view  # type: ignore[method-assign, assignment]

    def __call__(self, request: HttpRequest) -> _Response:
        """Answer the request, or deny it where no view has answered."""
        if self._is_async:
            return self.__acall__(request)
        request.client_certificate = None  # type: ignore[attr-defined]
        response = cast("HttpResponseBase", self.get_response(request))
        if _needs_default(request):
            try:
                authorize(request, _DEFAULT_POLICY)
            except PermissionDenied:
                _discard(response)
                raise
        return response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do as `__call__` does, in an event loop."""
        request.client_certificate = None  # type: ignore[attr-defined]
        response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        if _needs_default(request):
            try:
                await aauthorize(request, _DEFAULT_POLICY)
            except PermissionDenied:
                await sync_to_async(_discard, thread_sensitive=True)(response)
                raise
        return response

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
        if policy is not None:
            authorize(request, policy)

    async def _aprocess_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., Any],
        view_args: tuple[Any, ...],  # noqa: ARG002
        view_kwargs: dict[str, Any],  # noqa: ARG002
    ) -> None:
        policy = _policy_for(request, view_func)
        if policy is not None:
            await aauthorize(request, policy)


def _policy_for(request: HttpRequest, view: Callable[..., Any]) -> str | None:
    """Return the policy to check before the view runs; None for what is exempt."""
    # A denial from here comes back to __call__ as a response, which is not to be decided again.
    request._arrcert_decided = True  # type: ignore[attr-defined]
    policy = policy_named_by(view)
    if policy is None:
        policy = policy_named_by(_handler(request, view))
    if policy is None and not is_exempt_view(view) and not is_exempt(request):
        policy = _DEFAULT_POLICY
    return policy


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


def _needs_default(request: HttpRequest) -> bool:
    return not getattr(request, "_arrcert_decided", False) and not is_exempt(request)


def _discard(response: HttpResponseBase) -> None:
    """Close a response that is not sent, as the server would have done."""
    # close() announces the end of the request, and Django then forgets the request's URLconf,
    # which the 403 page still needs.
    urlconf = get_urlconf()
    try:
        response.close()
    except Exception:
        _logger.exception("A withheld response failed to close; the request stays denied.")
    finally:
        set_urlconf(urlconf)
