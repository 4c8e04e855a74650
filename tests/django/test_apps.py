from __future__ import annotations

import subprocess
import sys
from typing import Any

from django.apps import apps
from django.core.checks import Tags
from django.core.checks.registry import registry
from django.http import HttpResponse
from django.urls import path

from arrcert_django import checks


def test_the_app_registers_its_checks_under_security() -> None:
    """The app registers its checks with the tag that `check --tag security` selects."""
    apps.get_app_config("arrcert_django").ready()
    registered: Any = registry.get_checks()
    ours: Any = (checks.check_configuration, checks.check_middleware, checks.check_views)
    for check in ours:
        assert [known.tags for known in registered if known is check] == [(Tags.security,)]


def test_the_app_needs_no_configuration_to_load() -> None:
    """The app loads without a configuration, so `collectstatic` works in a build step."""
    code = (
        "import django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['arrcert_django']); django.setup()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_modules_import_before_django_is_configured() -> None:
    """The modules import without configured settings, as Django's own modules do."""
    code = "import arrcert_django.decorators, arrcert_django.mixins, arrcert_django.middleware"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_request_has_the_attributes(site: Any, visit: Any) -> None:
    """Without the gate and without a decorator, the identity and the certificate are None."""

    def view(request: Any) -> HttpResponse:
        return HttpResponse(f"{request.client_identity} {request.client_certificate}")

    site(path("", view), middleware=["django.middleware.common.CommonMiddleware"])
    assert visit("/").content == b"None None"
