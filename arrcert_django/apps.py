"""The Django app. It registers the system checks and has no models."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register

__all__ = ["ArrcertConfig"]


class ArrcertConfig(AppConfig):
    """The Django app of arrcert.

    It does not stop the start if the configuration has mistakes, because build steps such as
    `collectstatic` run without a configuration. The middleware stops the start.
    """

    name = "arrcert_django"
    verbose_name = "Client certificates"

    def ready(self) -> None:
        """Register the system checks with the tag `security`."""
        from arrcert_django import checks

        for check in (checks.check_configuration, checks.check_middleware, checks.check_views):
            register(check, Tags.security)
