"""How a configuration is written: in Python, as JSON, or as the text of environment variables."""

from __future__ import annotations

from enum import Enum, auto


class Notation(Enum):
    """The language of a configuration, so that messages use its words.

    Attributes:
        true_or_false: how it writes the two truth values.
        none: how it writes that there is no value.
    """

    PYTHON = ("True or False", "None")
    JSON = ("true or false", "null")

    def __init__(self, true_or_false: str, none: str) -> None:
        self.true_or_false = true_or_false
        self.none = none


class Form(Enum):
    """How the environment variable of a setting is written."""

    LIST = auto()
    """Entries between semicolons, or a JSON list. A comma is a mistake."""
    LIST_WITH_COMMAS = auto()
    """The same, but an entry may hold commas."""
    NUMBER = auto()
    """A whole number."""
    TRUTH = auto()
    """`true` or `false`."""
    TEXT = auto()
    """Text, used as it is."""
    TEXT_OR_JSON = auto()
    """Text, or a JSON mapping."""
    SECRET_JSON = auto()
    """A JSON mapping that no message may show."""
