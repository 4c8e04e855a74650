"""The plugin's variable, and policies in Django's settings."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import os
from arrcert_pytest.django_settings import OneSource, django_is_configured

source = OneSource("ours")
os.environ["ARRCERT"] = "ours"
source.connect()
assert not django_is_configured() and os.environ["ARRCERT"] == "ours"

from django.conf import settings
settings.configure(DATABASES={}, ARRCERT={})
from django.test import override_settings

source.connect()
source.connect()
assert "ARRCERT" not in os.environ

del settings.ARRCERT
with override_settings(DEBUG=True):
    assert os.environ["ARRCERT"] == "ours"
with override_settings(ARRCERT={}):
    assert "ARRCERT" not in os.environ
    with override_settings(ARRCERT_FILE="a"):
        assert "ARRCERT" not in os.environ
    os.environ["ARRCERT"] = "of a test"
assert os.environ["ARRCERT"] == "of a test"
with override_settings(ARRCERT={}):
    assert os.environ["ARRCERT"] == "of a test"

os.environ["ARRCERT"] = "ours"
source.disconnect()
source.disconnect()
with override_settings(ARRCERT={}):
    assert os.environ["ARRCERT"] == "ours"
"""


def test_variable_follows_the_settings() -> None:
    """The plugin's variable is set only while the settings have no policies; others are kept."""
    # A process of its own, because Django's settings can be configured only once.
    environ = {name: text for name, text in os.environ.items() if not name.startswith("DJANGO")}
    subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], env=environ, check=True)
