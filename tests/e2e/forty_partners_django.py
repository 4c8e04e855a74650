"""The site of the forty partners in Django."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from forty_partners import told_by_worker

from arrcert_django.decorators import authorize_certificate

settings.configure(
    SECRET_KEY="forty partners",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["arrcert_django"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "arrcert_django.middleware.ClientCertificateMiddleware",
    ],
)


def health(request: HttpRequest) -> HttpResponse:
    """Answer every client."""
    return HttpResponse("ok")


def whoami(request: HttpRequest) -> HttpResponse:
    """Answer with the identity."""
    return JsonResponse({"name": request.client_identity.name})


@authorize_certificate(role="orders")
def orders(request: HttpRequest) -> HttpResponse:
    """Answer with the identity, if it has the role."""
    return JsonResponse({"name": request.client_identity.name})


urlpatterns = [path("health", health), path("whoami", whoami), path("orders", orders)]
app = told_by_worker(get_wsgi_application())
