"""The WSGI application that gunicorn runs."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mtls_site.settings")

application = get_wsgi_application()
