"""The views of the site.

None of them mentions the default policy: the middleware checks every request before its view runs,
except the paths in `ARRCERT_EXEMPT_PATHS`. A view names a policy only where it wants another one.
"""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.vary import vary_on_headers

from arrcert import ClientIdentity
from arrcert_django.authorization import current_authorizer
from arrcert_django.decorators import authorize_certificate
from mtls_site import remote_api
from mtls_site.visitor import Visitor, explained


class CertifiedRequest(HttpRequest):
    """A request that the middleware let through; for the type checker, never created."""

    client_identity: ClientIdentity


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "index.html")


@never_cache
def hellocert(request: CertifiedRequest) -> HttpResponse:
    context = {"page": "hellocert", "visitor": Visitor(request.client_identity)}
    return render(request, "hellocert.html", context)


@never_cache
@vary_on_headers("Accept")
def cert_info(request: CertifiedRequest) -> HttpResponse:
    identity = request.client_identity
    visitor = Visitor(identity)
    # Of two types that a client likes equally (`*/*`) the first is taken: a page for people.
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(visitor.facts)
    sections = explained(identity, current_authorizer().policies)
    context = {"page": "cert_info", "visitor": visitor, "sections": sections}
    return render(request, "cert_info.html", context)


@authorize_certificate(policy="partners")
@never_cache
def partners(request: CertifiedRequest) -> HttpResponse:
    context = {"page": "partners", "visitor": Visitor(request.client_identity)}
    return render(request, "partners.html", context)


@never_cache
def outbound_mtls(request: CertifiedRequest) -> HttpResponse:
    context = {"page": "outbound_mtls", "outcome": remote_api.call()}
    return render(request, "outbound_mtls.html", context)


def health(_request: HttpRequest) -> HttpResponse:
    # The platform's probe brings no certificate, so this page is open and shows nothing.
    return HttpResponse("ok", content_type="text/plain")
