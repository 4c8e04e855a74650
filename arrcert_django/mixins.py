"""A mixin for class-based views."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import classonlymethod
from django.views import View

from arrcert_django.authorization import aauthorize, authorize, keep_private
from arrcert_django.decorators import authorize_certificate

__all__ = ["ClientCertificateRequiredMixin"]

if TYPE_CHECKING:
    _Base = View
else:
    _Base = object


class ClientCertificateRequiredMixin(_Base):
    """Let only requests with an authorized client certificate reach the view.

    List it before `View`, best first of all: `class Report(ClientCertificateRequiredMixin, View)`.

    Attributes:
        certificate_policy: the name of one of the policies in `ARRCERT`;
            `as_view(certificate_policy=...)` sets it for one route.

    Raises:
        TypeError: at the definition of a class that lists it after `View`, where it would not run.

    Source: Django's documentation, "Using mixins with class-based views". Like the decorator it
    does not check that the policy exists.
    """

    certificate_policy: str = "default"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if View in order and order.index(View) < order.index(ClientCertificateRequiredMixin):
            raise TypeError(
                f"{cls.__qualname__} lists ClientCertificateRequiredMixin after View, where it"
                " would never run; list it first"
            )

    @classonlymethod
    def as_view(cls: Any, *args: Any, **initkwargs: Any) -> Callable[..., HttpResponseBase]:  # noqa: N805
        """Return the view, protected from the outside.

        So a subclass whose `dispatch` does its work first, or calls no `super()`, is protected too,
        and the middleware sees the policy.

        Args:
            *args: for base classes that take some, as Django REST framework's viewsets do.
            **initkwargs: attributes of the view, `certificate_policy` among them.

        Raises:
            TypeError: `certificate_policy` is not a name.
        """
        view = super().as_view(*args, **initkwargs)
        policy = initkwargs.get("certificate_policy", cls.certificate_policy)
        return authorize_certificate(policy=policy)(view)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Authorize the request, then dispatch it; for callers that come without `as_view()`."""
        if self.view_is_async:
            return cast("HttpResponseBase", self._adispatch(request, *args, **kwargs))
        authorize(request, self.certificate_policy)
        return keep_private(super().dispatch(request, *args, **kwargs))

    async def _adispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        await aauthorize(request, self.certificate_policy)
        response = super().dispatch(request, *args, **kwargs)
        # A sync mixin behind this one may answer by itself.
        if isawaitable(response):
            response = await cast("Awaitable[HttpResponseBase]", response)
        return keep_private(response)
