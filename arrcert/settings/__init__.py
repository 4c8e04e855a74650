"""Reads and validates the settings of a framework or the environment, and builds the policies."""

from arrcert.settings.contents import Served
from arrcert.settings.validation import NOT_CONFIGURED, Settings, load, load_environment

__all__ = ["NOT_CONFIGURED", "Served", "Settings", "load", "load_environment"]
