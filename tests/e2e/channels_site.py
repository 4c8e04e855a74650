"""A Django site with a WebSocket of Channels: `bare`, as its tutorial has it, and `guarded`."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from arrcert.asgi import ClientCertificateMiddleware
from arrcert_django.authorization import current_authorizer

settings.configure(
    SECRET_KEY="channels",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels", "arrcert_django"],
    MIDDLEWARE=["arrcert_django.middleware.ClientCertificateMiddleware"],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"arrcert": {"handlers": ["stderr"], "level": "WARNING"}},
    },
)


class Consumer(WebsocketConsumer):
    """Accepts every handshake."""

    def connect(self) -> None:
        """Accept, and send the name of the client."""
        identity = self.scope.get("arrcert.identity")
        name = identity.certificate.common_name if identity else "nobody"
        self.accept()
        self.send(text_data=f"entered: {name}")


def page(request: HttpRequest) -> HttpResponse:
    """Return the identity of the request."""
    certificate = request.client_certificate
    return HttpResponse(certificate.common_name if certificate else "nobody")


urlpatterns = [path("", page), path("health", page)]

http = get_asgi_application()
websocket: Any = URLRouter([path("socket", Consumer.as_asgi())])
bare = ProtocolTypeRouter({"http": http, "websocket": websocket})
guarded = ClientCertificateMiddleware(bare, current_authorizer, exempt_paths=["/health"])
