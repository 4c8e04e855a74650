"""Answers the platform's health probe."""

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from mtls_site import views


class HealthProbeMiddleware(MiddlewareMixin):
    """Answers `/health` for any Host header. For all other paths `ALLOWED_HOSTS` still counts.

    Some health requests of App Service have the address of the container in the Host header. This
    address changes with every start. `CommonMiddleware` would answer 400, and the platform would
    consider the site unhealthy. The response is the same two letters for everybody and has no link,
    so a forged Host has no effect.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Answer a request for `/health`; pass on any other request to the next middleware."""
        return views.health(request) if request.path_info == "/health" else None
