"""Validates the mapping of policies, from any source, and builds each policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.notation import Notation
from arrcert.policy import Policy
from arrcert.rules import KEYS
from arrcert.settings.names import POLICIES, example_of_key, hint, stray_key
from arrcert.settings.options import OPTIONS
from arrcert.trust.files import TrustFolder


class Place(NamedTuple):
    """Where a policy is written.

    Attributes:
        where: the place, such as `ARRCERT["partners"][1]`; empty for the flat variables.
        notation: how the policy is written.
    """

    where: str
    notation: Notation

    def setting(self, key: str = "") -> str:
        """Return the name of a key of the policy, or of the policy itself, for errors."""
        if not self.where:
            return f"ARRCERT_{key.upper()}" if key else POLICIES
        return f'{self.where}["{key}"]' if key else self.where


class PolicyReader:
    """Builds the policies of one mapping, and collects its mistakes.

    Args:
        setting: the name of the mapping in errors: `ARRCERT` or `ARRCERT_FILE`.
        notation: how the mapping is written.
        trust_folder: the object that opens the files that the policies name.
        refused: keys that a policy must not have in this mapping, each with the reason.

    Attributes:
        problems: every mistake, in order.
        places: every policy that was built, with its place in the settings.
        names: the policy names in the mapping; empty if it has keys in place of names.
    """

    def __init__(
        self,
        setting: str,
        notation: Notation,
        trust_folder: TrustFolder | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        self.problems: list[Problem] = []
        self.places: list[tuple[Place, Policy]] = []
        self.names: list[str] = []
        self._setting = setting
        self._notation = notation
        self._trust_folder = trust_folder
        self._refused = refused or {}

    def read(self, value: Any) -> dict[str, tuple[Policy, ...]]:
        """Return the policies of each name, without those that have mistakes.

        Args:
            value: the mapping.
        """
        if not isinstance(value, Mapping) or not value:
            is_text = isinstance(value, str) and value.lstrip().startswith("{")
            what_to_write = (
                "write the mapping itself, without quotation marks around it"
                if is_text
                else f"write {self._notation.policies}"
            )
            self._add(
                self._setting, f"{quote(value)} is not a mapping of policies; {what_to_write}"
            )
            return {}
        self.names = [name for name in value if isinstance(name, str)]
        stray = {name: stray_key(name, held) for name, held in value.items()}
        if any(stray.values()):
            self._add_stray_keys({name: key for name, key in stray.items() if key})
        policies: dict[str, tuple[Policy, ...]] = {}
        for name, alternatives in value.items():
            where = f'{self._setting}["{name}"]'
            if stray[name]:
                continue
            if not isinstance(name, str) or not name:
                self._add(
                    self._setting,
                    f"{quote(name)} is not a policy's name; write {self._notation.policies}",
                )
            elif isinstance(alternatives, Mapping):
                policies[name] = self._alternatives([(where, alternatives)])
            elif isinstance(alternatives, list | tuple) and alternatives:
                policies[name] = self._alternatives(
                    (f"{where}[{index}]", policy) for index, policy in enumerate(alternatives)
                )
            else:
                self._add(
                    where,
                    f"{quote(alternatives)} is neither a policy nor a list of alternatives; write"
                    f" {self._notation.policy}",
                )
        return policies

    def build(
        self, where: str, description: Mapping[str, Any], *, is_whole: bool = True
    ) -> Policy | None:
        """Build one policy.

        Args:
            where: the place of the policy; empty for the flat variables.
            description: the keys of the policy, all known, and their values.
            is_whole: False if one of the keys was already refused. Then a policy without a
                condition is not reported as a second mistake.
        """
        place = Place(where, self._notation)
        try:
            policy = Policy.from_mapping(description, self._notation, self._trust_folder)
        except ConfigurationError as error:
            self.problems += [
                Problem(place.setting(problem.setting), problem.message)
                for problem in error.problems
                if is_whole or problem.setting
            ]
            return None
        self.places.append((place, policy))
        return policy

    def _add(self, setting: str, message: str) -> None:
        self.problems.append(Problem(setting, message))

    def _add_stray_keys(self, stray: Mapping[str, str]) -> None:
        """Report keys and settings that are written in place of a policy's name."""
        # Otherwise the missing policy "default" would be reported, too, which is the same mistake.
        self.names = []
        beside = {name: key for name, key in stray.items() if key in OPTIONS}
        for name, setting in beside.items():
            self._add(self._setting, f'"{name}" is not a policy; write the setting {setting}')
        keys = [(name, key) for name, key in stray.items() if name not in beside]
        if keys:
            inner = ", ".join(example_of_key(key)[1:-1] for _, key in keys)
            what_to_write = f'write {{"default": {{{inner}}}}}'
            if self._notation is Notation.TOML:
                what_to_write = "write [[default]] on a line above it"
            self._add(
                self._setting,
                f"\"{keys[0][0]}\" is a policy's key, not a policy's name; {what_to_write}",
            )

    def _alternatives(self, written: Iterable[tuple[str, Any]]) -> tuple[Policy, ...]:
        policies = [self._policy(where, description) for where, description in written]
        return tuple(policy for policy in policies if policy is not None)

    def _policy(self, where: str, description: Any) -> Policy | None:
        if not isinstance(description, Mapping):
            self._add(where, f"{quote(description)} is not a policy; write {self._notation.policy}")
            return None
        place = Place(where, self._notation)
        before = len(self.problems)
        for key, value in description.items():
            if key not in KEYS:
                self._add(place.setting(key), f"a policy has no such key; {hint(key)}")
            elif key in self._refused:
                self._add(place.setting(key), self._refused[key])
            elif value is None:
                self._add(
                    place.setting(key),
                    f"is {self._notation.none}; write a value, or leave the key out",
                )
        known = {key: value for key, value in description.items() if key in KEYS}
        return self.build(where, known, is_whole=len(self.problems) == before)
