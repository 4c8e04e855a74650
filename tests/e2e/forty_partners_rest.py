"""The site of the forty partners in Django REST framework."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from forty_partners import told_by_worker
from rest_framework.request import Request
from rest_framework.response import Response

from arrcert_django.rest_framework import HasClientCertificate

settings.configure(
    SECRET_KEY="forty partners",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["arrcert_django", "rest_framework"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "arrcert_django.middleware.ClientCertificateMiddleware",
    ],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "arrcert_django.rest_framework.ClientCertificateAuthentication"
        ],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
)

# This import reads the settings.
from rest_framework.views import APIView  # noqa: E402


def health(request: HttpRequest) -> HttpResponse:
    """Answer every client."""
    return HttpResponse("ok")


class WhoAmI(APIView):
    """A view that answers with the identity."""

    def get(self, request: Request) -> Response:
        """Answer with the user, which has the name of the identity."""
        assert str(request.user) == request.auth.name
        return Response({"name": request.user.get_username()})


class Orders(WhoAmI):
    """A view that answers with the identity, if it has the role."""

    permission_classes = (HasClientCertificate("default", role="orders"),)


urlpatterns = [
    path("health", health),
    path("whoami", WhoAmI.as_view()),
    path("orders", Orders.as_view()),
]
app = told_by_worker(get_wsgi_application())
