"""A mixin for class-based views."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import classonlymethod
from django.views import View

from arrcert_django.authorization import aauthorize_request, authorize_request, keep_private
from arrcert_django.decorators import authorize_certificate

__all__ = ["ClientCertificateRequiredMixin"]

if TYPE_CHECKING:
    _Base = View
else:
    _Base = object


class ClientCertificateRequiredMixin(_Base):
    """Run a class-based view only if a policy accepts the request's client certificate.

    List it first, or at least before `View`: `class Report(ClientCertificateRequiredMixin, View)`.

    Attributes:
        certificate_policy: the policy's name. `as_view(certificate_policy=...)` sets it for one
            route.
        certificate_role: the role that the policy must grant; None, the default, for any.
            `as_view(certificate_role=...)` sets it for one route.

    Raises:
        TypeError: a class lists the mixin after `View`, where it would not run, or it inherits
            `certificate_policy` or `certificate_role` from a class after the mixin, so the value of
            the mixin would be used. The error is raised when the class is defined.

    Source: Django's documentation, "Using mixins with class-based views". It does not check that
    the policy exists. If it does not exist, every request is denied, and the log says why.
    """

    certificate_policy: str = "default"
    certificate_role: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if View in order and order.index(View) < order.index(ClientCertificateRequiredMixin):
            raise TypeError(
                f"{cls.__qualname__} lists ClientCertificateRequiredMixin after View, where it"
                " would never run; list it first"
            )
        place = order.index(ClientCertificateRequiredMixin)
        for name in ("certificate_policy", "certificate_role"):
            before, after = order[:place], order[place + 1 :]
            if _is_set_in(after, name) and not _is_set_in(before, name):
                raise TypeError(
                    f"{cls.__qualname__} inherits {name} from a class after"
                    f" ClientCertificateRequiredMixin, whose own {name} would be used; set {name}"
                    f" on {cls.__qualname__}"
                )

    @classonlymethod
    def as_view(cls: Any, *args: Any, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        """Return the view with `authorize_certificate` around it.

        The check runs before the `dispatch` of a subclass, even if that method does not call
        `super()`. The middleware can read the policy from the returned function.

        Args:
            *args: arguments for base classes whose `as_view` takes arguments, such as the viewsets
                of Django REST framework.
            **initkwargs: attributes of the view, such as `certificate_policy`.

        Raises:
            TypeError: `certificate_policy` or `certificate_role` is not a name.
        """
        view = super().as_view(*args, **initkwargs)
        policy = initkwargs.get("certificate_policy", cls.certificate_policy)
        role = initkwargs.get("certificate_role", cls.certificate_role)
        return authorize_certificate(policy=policy, role=role)(view)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Authorize the request, then dispatch it. This protects views made without `as_view()`."""
        if self.view_is_async:
            return cast("HttpResponseBase", self._adispatch(request, *args, **kwargs))
        authorize_request(request, self.certificate_policy, self.certificate_role)
        return keep_private(super().dispatch(request, *args, **kwargs))

    async def _adispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        await aauthorize_request(request, self.certificate_policy, self.certificate_role)
        response = super().dispatch(request, *args, **kwargs)
        # Another mixin's sync dispatch may return a response instead of a coroutine.
        if isawaitable(response):
            response = await cast("Awaitable[HttpResponseBase]", response)
        return keep_private(response)


def _is_set_in(classes: tuple[type, ...], name: str) -> bool:
    """Return whether one of the classes itself sets an attribute."""
    return any(name in vars(base) for base in classes)
