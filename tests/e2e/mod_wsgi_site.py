"""The probe site under the name that mod_wsgi looks for."""

from probe_site import app as application  # noqa: F401
