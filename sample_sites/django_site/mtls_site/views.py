"""The views of the site.

The middleware checks every request before its view runs, except for the paths in
`ARRCERT_EXEMPT_PATHS`. So the views do not name the policy `default`. Only a view that needs
another policy names it.
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
    """The type of a request that the middleware has accepted. It is only for the type checker."""

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
    # If a client accepts both types equally (`*/*`), it gets the first one, the HTML page.
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
    # The health check of the platform has no certificate, so this page is public and shows no data.
    return HttpResponse("ok", content_type="text/plain")
