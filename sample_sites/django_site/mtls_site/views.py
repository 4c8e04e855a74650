"""The views of the site.

None of them mentions the default policy: the middleware checks every request before its view runs,
except the paths in `ARRCERT_EXEMPT_PATHS`. A view names a policy only where it wants another one.
"""

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.vary import vary_on_headers

from arrcert import ClientCertificate
from arrcert_django.decorators import authorize_certificate
from mtls_site import remote_api


class CertifiedRequest(HttpRequest):
    """A request that the middleware let through; for the type checker, never created."""

    client_certificate: ClientCertificate


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "index.html")


@never_cache
def hellocert(request: CertifiedRequest) -> HttpResponse:
    context = {"page": "hellocert", "certificate": request.client_certificate}
    return render(request, "hellocert.html", context)


@never_cache
@vary_on_headers("Accept")
def cert_info(request: CertifiedRequest) -> HttpResponse:
    certificate = request.client_certificate
    facts = certificate_facts(certificate)
    # Of two types that a client likes equally (`*/*`) the first is taken: a page for people.
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(facts)
    context = {"page": "cert_info", "certificate": certificate, "facts": facts}
    return render(request, "cert_info.html", context)


@authorize_certificate(policy="partners")
@never_cache
def partners(request: CertifiedRequest) -> HttpResponse:
    context = {"page": "partners", "certificate": request.client_certificate}
    return render(request, "partners.html", context)


@never_cache
def outbound_mtls(request: CertifiedRequest) -> HttpResponse:
    context = {"page": "outbound_mtls", "outcome": remote_api.call()}
    return render(request, "outbound_mtls.html", context)


def health(_request: HttpRequest) -> HttpResponse:
    # The platform's probe brings no certificate, so this page is open and shows nothing.
    return HttpResponse("ok", content_type="text/plain")


def certificate_facts(certificate: ClientCertificate) -> dict[str, str | int]:
    """Return what `/cert-info` shows, in the order in which it shows it."""
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "sha256_fingerprint": certificate.sha256_fingerprint,
        "sha1_fingerprint": certificate.sha1_fingerprint,
        # Up to 160 bits: as a number in JSON it would lose digits in many languages.
        "serial_number": f"{certificate.serial_number:X}",
        "not_valid_before": certificate.not_valid_before_utc.isoformat(),
        "not_valid_after": certificate.not_valid_after_utc.isoformat(),
        "days_left": (certificate.not_valid_after_utc - datetime.now(UTC)).days,
    }
