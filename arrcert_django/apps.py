"""The Django app. It registers the system checks and refuses to serve without protection."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import Tags, register
from django.core.signals import request_started
from django.http import HttpRequest

__all__ = ["ArrcertConfig"]


class ArrcertConfig(AppConfig):
    """The Django app of arrcert.

    If the configuration has mistakes, the app does not prevent the start, because commands such as
    `collectstatic` and `migrate` run without a configuration. The middleware prevents the start,
    and `startup.refuse_to_serve` refuses every request.
    """

    name = "arrcert_django"
    verbose_name = "Client certificates"

    def ready(self) -> None:
        """Register the system checks (tag `security`) and the receiver of `request_started`.

        Each request has `client_identity` and `client_certificate`: None until it is accepted.
        """
        from arrcert_django import checks, startup, user_checks

        ours: Any = HttpRequest
        ours.client_identity = ours.client_certificate = None

        for check in (
            checks.check_configuration,
            checks.check_middleware,
            checks.check_views,
            checks.check_websockets,
            user_checks.check_user_middleware,
            user_checks.check_authentication,
        ):
            register(check, Tags.security)
        register(checks.check_deployment, Tags.security, deploy=True)
        request_started.connect(startup.refuse_to_serve, dispatch_uid="arrcert_django")
        if apps.is_installed("drf_spectacular"):
            # drf-spectacular finds its extensions only if they are imported.
            import_module("arrcert_django.openapi")
