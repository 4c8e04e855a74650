"""How a configuration is written: in Python, as JSON, as TOML, or as environment variables."""

from __future__ import annotations

from enum import Enum, auto

_POLICY = '{"fingerprints": ["..."]}'
_POLICIES = '{"default": {"fingerprints": ["..."]}}'
_TABLE = '[[default]] and, on the lines below it, keys such as fingerprints = ["..."]'


class Notation(Enum):
    """The language of a configuration. Error messages use its syntax.

    Attributes:
        true_or_false: the two truth values in this language.
        none: the word for no value in this language.
        policy: an example of a policy.
        policies: an example of the mapping of policies.
    """

    PYTHON = ("True or False", "None", _POLICY, _POLICIES)
    JSON = ("true or false", "null", _POLICY, _POLICIES)
    TOML = ("true or false", "nothing", _TABLE, _TABLE)

    def __init__(self, true_or_false: str, none: str, policy: str, policies: str) -> None:
        self.true_or_false = true_or_false
        self.none = none
        self.policy = policy
        self.policies = policies


class Form(Enum):
    """How the environment variable of a setting is written."""

    LIST = auto()
    """Entries separated by semicolons, or a JSON list. A comma between entries is an error."""
    LIST_WITH_COMMAS = auto()
    """Entries separated by semicolons, or a JSON list. An entry may contain commas."""
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


def is_whole_number(value: object, largest: int) -> bool:
    """Return whether a value is a whole number from 0 to the largest one. True is not a number.

    Args:
        value: any value.
        largest: the largest number that is allowed.
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest
