"""The parity table's Django site as an ASGI application, for any server."""

import django_site  # noqa: F401 - it configures Django.
from django.core.asgi import get_asgi_application

app = get_asgi_application()
