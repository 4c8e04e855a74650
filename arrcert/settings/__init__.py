"""Settings to policies: a framework's settings or the environment, validated whole."""

from arrcert.settings.contents import Served
from arrcert.settings.validation import NOT_CONFIGURED, Settings, load, load_environment

__all__ = ["NOT_CONFIGURED", "Served", "Settings", "load", "load_environment"]
