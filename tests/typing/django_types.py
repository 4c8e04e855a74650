"""The types of a Django site for a type checker; only `make types` reads this file."""

from __future__ import annotations

from typing import assert_type

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from arrcert import Authorizer, ClientIdentity
from arrcert_django.authorization import (
    aauthorize_request,
    authorize_request,
    current_authorizer,
)
from arrcert_django.decorators import authorize_certificate, certificate_exempt
from arrcert_django.mixins import ClientCertificateRequiredMixin


@authorize_certificate
def bare(request: HttpRequest, number: int) -> HttpResponse:
    """A decorated view keeps its signature."""
    return HttpResponse(str(number))


@authorize_certificate(policy="partners", role="orders")
async def called(request: HttpRequest) -> HttpResponse:
    """A decorated async view keeps its signature too."""
    return HttpResponse()


@certificate_exempt
def exempt(request: HttpRequest) -> HttpResponse:
    """An exempt view keeps its signature too."""
    return HttpResponse()


@method_decorator(authorize_certificate(policy="partners"), name="dispatch")
class Page(View):
    """Django's own way to decorate a class."""


class Report(ClientCertificateRequiredMixin, View):
    """The policy of the mixin is a string."""

    certificate_policy = "partners"
    certificate_role = "orders"


class Wrong(ClientCertificateRequiredMixin, View):
    """Another type of policy is an error."""

    certificate_policy = 7  # type: ignore[assignment]


async def identities(request: HttpRequest) -> None:
    """Both forms of `authorize_request` return the identity."""
    assert_type(authorize_request(request), ClientIdentity)
    assert_type(await aauthorize_request(request, policy="partners"), ClientIdentity)
    assert_type(authorize_request(request, "partners", "orders"), ClientIdentity)


assert_type(current_authorizer(), Authorizer)
assert_type(bare(HttpRequest(), 1), HttpResponse)
assert_type(exempt(HttpRequest()), HttpResponse)
protected = authorize_certificate(Page.as_view())

bare(HttpRequest(), "one")  # type: ignore[arg-type]
waiting = called()  # type: ignore[call-arg]
authorize_certificate("partners")  # type: ignore[call-overload]
authorize_certificate(policy=7)  # type: ignore[call-overload]
authorize_certificate(role=["orders"])  # type: ignore[call-overload]
authorize_certificate(None)  # type: ignore[call-overload]
