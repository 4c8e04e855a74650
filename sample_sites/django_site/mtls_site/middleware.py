"""Answers the platform's health probe."""

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from mtls_site import views


class HealthProbeMiddleware(MiddlewareMixin):
    """Answers `/health` whatever the Host header says; every other path keeps `ALLOWED_HOSTS`.

    App Service's pings come from inside, and some name the container's address as the Host, which
    changes with every start. CommonMiddleware would answer them 400, and the platform would take
    the site for ill. The page is the same two letters for everybody, and holds no link that a
    forged Host could turn elsewhere.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Answer a probe, or leave the request to the next middleware."""
        return views.health(request) if request.path_info == "/health" else None
