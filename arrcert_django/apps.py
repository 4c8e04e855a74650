"""The Django app: it has no models, it registers the system checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register

__all__ = ["ArrcertConfig"]


class ArrcertConfig(AppConfig):
    """Register the system checks of arrcert.

    It does not stop the start: a build step such as `collectstatic` runs where nothing is
    configured. The middleware does.
    """

    name = "arrcert_django"
    verbose_name = "Client certificates"

    def ready(self) -> None:
        """Register the checks, which the tag `security` selects."""
        from arrcert_django import checks

        for check in (checks.check_configuration, checks.check_middleware, checks.check_views):
            register(check, Tags.security)
