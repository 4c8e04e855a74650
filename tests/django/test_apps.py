from __future__ import annotations

import subprocess
import sys
from typing import Any

from django.apps import apps
from django.core.checks import Tags
from django.core.checks.registry import registry

from arrcert_django import checks


def test_the_app_registers_its_checks_under_security() -> None:
    """`INSTALLED_APPS` alone turns the checks on, and `check --tag security` selects them."""
    apps.get_app_config("arrcert_django").ready()
    registered: Any = registry.get_checks()
    ours: Any = (checks.check_configuration, checks.check_middleware, checks.check_views)
    for check in ours:
        assert [known.tags for known in registered if known is check] == [(Tags.security,)]


def test_the_app_needs_no_configuration_to_load() -> None:
    """`collectstatic` in a build, where nothing is configured, is not stopped."""
    code = (
        "import django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['arrcert_django']); django.setup()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_modules_import_before_django_is_configured() -> None:
    """A decorated view may be imported wherever Django itself may be."""
    code = "import arrcert_django.decorators, arrcert_django.mixins, arrcert_django.middleware"
    subprocess.run([sys.executable, "-c", code], check=True)
