"""The Django site of the parity tests, configured only by the environment."""

import sys

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from arrcert_django.decorators import authorize_certificate, certificate_exempt

settings.configure(
    SECRET_KEY="parity",
    ALLOWED_HOSTS=["*"],
    APPEND_SLASH=False,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["arrcert_django"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "arrcert_django.middleware.ClientCertificateMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"arrcert": {"handlers": ["stderr"], "level": "WARNING"}},
    },
)


def body(request: HttpRequest) -> HttpResponse:
    """Return the accepted certificate's common name."""
    certificate = request.client_certificate
    return HttpResponse(f"entered: {certificate.common_name if certificate else None}")


def plain_sync(request: HttpRequest) -> HttpResponse:
    """Protected site-wide, except on an exempt path."""
    return body(request)


async def plain_async(request: HttpRequest) -> HttpResponse:
    """Protected site-wide, async."""
    return body(request)


@certificate_exempt
def exempt_sync(request: HttpRequest) -> HttpResponse:
    """Exempt."""
    return body(request)


@certificate_exempt
async def exempt_async(request: HttpRequest) -> HttpResponse:
    """Exempt, async."""
    return body(request)


partners = authorize_certificate(policy="partners")
urlpatterns = [
    path("sync", authorize_certificate(plain_sync)),
    path("async", authorize_certificate(plain_async)),
    path("partner/sync", partners(plain_sync)),
    path("partner/async", partners(plain_async)),
    path("plain/sync", plain_sync),
    path("plain/async", plain_async),
    path("exempt/sync", exempt_sync),
    path("exempt/async", exempt_async),
    path("health", plain_sync),
    path("healthz", plain_sync),
    path("public/page", plain_sync),
]

wsgi = get_wsgi_application()
# The ASGI handler loads the middleware a second time, so it is made only for an ASGI server.
asgi = get_asgi_application() if "uvicorn" in sys.modules else None
