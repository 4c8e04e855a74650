"""Django's settings in a test run, which may hold policies beside those in the environment.

This module imports Django only if the project has already imported it.
"""

from __future__ import annotations

import os
import sys


def django_is_configured() -> bool:
    """Return whether the project has configured Django's settings."""
    conf = sys.modules.get("django.conf")
    return conf is not None and conf.settings.configured


def sources_in_settings() -> list[str]:
    """Return the names of Django's settings that hold policies. Django must be configured."""
    from django.conf import settings

    return [name for name in ("ARRCERT", "ARRCERT_FILE") if hasattr(settings, name)]


class OneSource:
    """Removes the policies of the plugin from the environment while Django's settings have some.

    Policies in the settings and in the environment are an error of the site. So without this, a
    test that uses only Django's own client would fail as soon as a project lists its clients.

    Args:
        text: the value of the environment variable `ARRCERT` that the plugin has set. Another value
            is not removed.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_connected = False
        self._has_removed = False

    def connect(self) -> None:
        """Begin as soon as Django is configured, and follow changes of its settings by tests."""
        if not self._is_connected and django_is_configured():
            from django.core.signals import setting_changed

            setting_changed.connect(self.settle)
            self._is_connected = True
            self.settle()

    def disconnect(self) -> None:
        """Do not follow the settings any more."""
        if self._is_connected:
            from django.core.signals import setting_changed

            setting_changed.disconnect(self.settle)
            self._is_connected = False

    def settle(self, **_: object) -> None:
        """Remove the variable if the settings have policies, or restore it if they have none."""
        if sources_in_settings():
            if os.environ.get("ARRCERT") == self._text:
                del os.environ["ARRCERT"]
                self._has_removed = True
        elif self._has_removed:
            self._has_removed = False
            os.environ.setdefault("ARRCERT", self._text)
