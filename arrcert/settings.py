"""Settings to policies: a framework's settings or the environment, validated whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.exemptions import ExemptPaths
from arrcert.forwarding import FRONT_ENDS, FrontEnd, front_end_from
from arrcert.policy import (
    PARAMETERS,
    UNRESOLVED_REFERENCE,
    Policy,
    is_unresolved_reference,
)

POLICIES = "ARRCERT"
"""The setting that holds the policies, and the environment variable that holds them as JSON."""

NOT_CONFIGURED = Problem(
    POLICIES,
    "is not set, neither in the framework's settings nor in the environment; write"
    ' ARRCERT = {"default": {"fingerprints": ["..."]}}, or set the environment variable'
    " ARRCERT_FINGERPRINTS",
)
"""The mistake of a site that has no policies at all."""

_FRONT_END = "ARRCERT_FRONT_END"
_EXEMPT_PATHS = "ARRCERT_EXEMPT_PATHS"
_PROTECT_ALL = "ARRCERT_PROTECT_ALL"
_BESIDE_POLICIES = (_FRONT_END, _EXEMPT_PATHS, _PROTECT_ALL)
_FLAT = {f"ARRCERT_{parameter.upper()}": parameter for parameter in PARAMETERS}
"""The environment variables that hold the default policy, one for each parameter."""


class Settings(NamedTuple):
    """A configuration that was validated whole.

    Attributes:
        policies: each policy's name and its alternatives, in order.
        front_end: the front end that is declared to set the header.
        exempt_paths: paths that the site-wide check leaves out.
        protect_all: whether the site-wide check is on (Flask; Django's middleware is always).
    """

    policies: Mapping[str, tuple[Policy, ...]]
    front_end: FrontEnd
    exempt_paths: ExemptPaths
    protect_all: bool


def load(framework_settings: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Validate a configuration whole and build its policies.

    The policies have exactly one source: the framework's `ARRCERT`; or the environment variable
    `ARRCERT` with the same mapping as JSON; or one flat variable for each parameter of the policy
    "default" (`ARRCERT_FINGERPRINTS`, ...).

    Args:
        framework_settings: every framework setting whose name begins with `ARRCERT`.
        environ: the process's environment.

    Raises:
        ConfigurationError: all mistakes together, each with its setting.

    It does not read settings again later: what it returns never changes.
    """
    loader = _Loader()
    settings = loader.load(
        {name: value for name, value in framework_settings.items() if value is not None},
        {name: value for name, value in environ.items() if name.startswith("ARRCERT")},
    )
    if loader.problems:
        raise ConfigurationError(loader.problems)
    return settings


class _Loader:
    """Gathers the problems of one configuration."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def load(self, framework: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        self._refuse_unknown(framework, (POLICIES, *_BESIDE_POLICIES), "setting")
        self._refuse_unknown(environ, (POLICIES, *_BESIDE_POLICIES, *_FLAT), "environment variable")
        front_end = self._front_end(self._beside_policies(_FRONT_END, framework, environ))
        exempt_paths = self._exempt_paths(self._beside_policies(_EXEMPT_PATHS, framework, environ))
        protect_all = self._protect_all(self._beside_policies(_PROTECT_ALL, framework, environ))
        policies = self._policies(framework, environ)
        self._refuse_names_without_proof(policies, front_end)
        return Settings(policies, front_end, exempt_paths, protect_all)

    def _complain(self, setting: str, message: str) -> None:
        self.problems.append(Problem(setting, message))

    def _refuse_unknown(self, settings: Mapping[str, Any], known: Iterable[str], kind: str) -> None:
        for name in settings:
            if name not in known:
                self._complain(name, f"there is no such {kind}; {_did_you_mean(name, known)}")

    def _beside_policies(
        self, name: str, framework: Mapping[str, Any], environ: Mapping[str, str]
    ) -> Any:
        """Return a setting that may stand in either place, None where it is in neither."""
        if name not in environ:
            return framework.get(name)
        if name in framework or POLICIES in framework:
            other = name if name in framework else POLICIES
            self._complain(
                name,
                f"is set in the environment, while the framework's settings hold {other}: two"
                " sources; keep one of the two",
            )
        text = environ[name].strip()
        if not text:
            self._complain(name, "the environment variable is empty; set it or remove it")
            return None
        if name == _PROTECT_ALL:
            return self._flat_truth(name, text)
        if name == _EXEMPT_PATHS:
            return self._flat_list(name, text)
        return self._json(name, text) if text.startswith("{") else text

    def _front_end(self, value: Any) -> FrontEnd:
        try:
            return front_end_from("app-service" if value is None else value, setting=_FRONT_END)
        except ConfigurationError as error:
            self.problems += error.problems
            return FRONT_ENDS["app-service"]

    def _exempt_paths(self, value: Any) -> ExemptPaths:
        if value is None:
            return ExemptPaths()
        if not isinstance(value, list | tuple | set | frozenset):
            self._complain(_EXEMPT_PATHS, f'{quote(value)} is not a list; write ["/health"]')
            return ExemptPaths()
        try:
            return ExemptPaths(value, setting=_EXEMPT_PATHS)
        except ConfigurationError as error:
            self.problems += error.problems
            return ExemptPaths()

    def _protect_all(self, value: Any) -> bool:
        if not isinstance(value, bool | None):
            self._complain(_PROTECT_ALL, f"{quote(value)} is not a truth value; write True")
        return value is True

    def _policies(
        self, framework: Mapping[str, Any], environ: Mapping[str, str]
    ) -> dict[str, tuple[Policy, ...]]:
        flat = [name for name in environ if name in _FLAT]
        sources = [
            *(["the framework's setting ARRCERT"] if POLICIES in framework else []),
            *(["the environment variable ARRCERT"] if POLICIES in environ else []),
            *([f"the environment variables {', '.join(sorted(flat))}"] if flat else []),
        ]
        if len(sources) > 1:
            self._complain(
                POLICIES, f"has more than one source: {' and '.join(sources)}; keep one of them"
            )
            return {}
        if POLICIES in framework:
            return self._named_policies(framework[POLICIES])
        if POLICIES in environ:
            if not environ[POLICIES].strip():
                self._complain(POLICIES, "the environment variable is empty; set it or remove it")
                return {}
            mapping = self._json(POLICIES, environ[POLICIES])
            return {} if mapping is None else self._named_policies(mapping)
        if flat:
            return self._flat_policy({name: environ[name] for name in flat})
        self.problems.append(NOT_CONFIGURED)
        return {}

    def _named_policies(self, value: Any) -> dict[str, tuple[Policy, ...]]:
        example = '{"default": {"fingerprints": ["..."]}}'
        if not isinstance(value, Mapping) or not value:
            self._complain(
                POLICIES, f"{quote(value)} is not a mapping of policies; write {example}"
            )
            return {}
        policies: dict[str, tuple[Policy, ...]] = {}
        for name, alternatives in value.items():
            where = f'{POLICIES}["{name}"]'
            if not isinstance(name, str) or not name:
                self._complain(POLICIES, f"{quote(name)} is not a policy's name; write {example}")
            elif isinstance(alternatives, Mapping):
                policies[name] = self._alternatives([(where, alternatives)])
            elif isinstance(alternatives, list | tuple) and alternatives:
                policies[name] = self._alternatives(
                    (f"{where}[{index}]", policy) for index, policy in enumerate(alternatives)
                )
            else:
                self._complain(
                    where,
                    f"{quote(alternatives)} is neither a policy nor a list of alternatives; write"
                    ' {"fingerprints": ["..."]}',
                )
        return policies

    def _alternatives(self, described: Iterable[tuple[str, Any]]) -> tuple[Policy, ...]:
        policies = (self._policy(where, description) for where, description in described)
        return tuple(policy for policy in policies if policy is not None)

    def _policy(self, where: str, description: Any) -> Policy | None:
        if not isinstance(description, Mapping):
            self._complain(
                where, f'{quote(description)} is not a policy; write {{"fingerprints": ["..."]}}'
            )
            return None
        known = {key: value for key, value in description.items() if key in PARAMETERS}
        for key in description:
            if key not in PARAMETERS:
                self._complain(
                    f'{where}["{key}"]',
                    f"a policy has no such key; {_did_you_mean(str(key), PARAMETERS)}",
                )
        for key, value in known.items():
            if value is None:
                self._complain(f'{where}["{key}"]', "is None; write a value, or leave the key out")
        return self._built(
            known, lambda parameter: f'{where}["{parameter}"]' if parameter else where
        )

    def _flat_policy(self, variables: Mapping[str, str]) -> dict[str, tuple[Policy, ...]]:
        description: dict[str, Any] = {}
        for name, text in variables.items():
            parameter = _FLAT[name]
            if not text.strip():
                self._complain(name, "the environment variable is empty; set it or remove it")
            elif parameter == "names_proven_by_front_end":
                description[parameter] = self._flat_truth(name, text.strip())
            else:
                description[parameter] = self._flat_list(name, text.strip())
        if any(value is None for value in description.values()) or len(description) < len(
            variables
        ):
            return {}
        policy = self._built(
            description,
            lambda parameter: f"ARRCERT_{parameter.upper()}" if parameter else POLICIES,
        )
        return {} if policy is None else {"default": (policy,)}

    def _built(
        self, description: Mapping[str, Any], setting: Callable[[str], str]
    ) -> Policy | None:
        try:
            return Policy(**description)
        except ConfigurationError as error:
            self.problems += [
                Problem(setting(problem.setting), problem.message) for problem in error.problems
            ]
            return None

    def _flat_truth(self, name: str, text: str) -> bool | None:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        self._complain(name, f"{quote(text)} is not a truth value; write true or false")
        return None

    def _flat_list(self, name: str, text: str) -> list[Any] | None:
        """Split on semicolons, or read a JSON list; None where it is neither."""
        if is_unresolved_reference(text):
            self._complain(name, f"{quote(text)} {UNRESOLVED_REFERENCE}")
            return None
        if text.startswith("["):
            value = self._json(name, text)
            return value if isinstance(value, list) else None
        entries = [entry.strip() for entry in text.split(";")]
        if "," in text and name != "ARRCERT_ISSUERS" and "-----BEGIN" not in text:
            self._complain(
                name,
                f"{quote(text)} holds a comma; separate entries by ; or, where a comma belongs to"
                ' an entry, write a JSON list: ["...", "..."]',
            )
            return None
        if "" in entries:
            self._complain(name, f"{quote(text)} holds an empty entry; drop the spare ;")
            return None
        return entries

    def _json(self, name: str, text: str) -> Any:
        if is_unresolved_reference(text):
            self._complain(name, f"{quote(text)} {UNRESOLVED_REFERENCE}")
            return None
        try:
            return json.loads(text, object_pairs_hook=_without_repetition)
        except (ValueError, RecursionError) as error:
            self._complain(name, f"{quote(text)} is not JSON: {error}; write it with double quotes")
            return None

    def _refuse_names_without_proof(
        self, policies: Mapping[str, tuple[Policy, ...]], front_end: FrontEnd
    ) -> None:
        for name, alternatives in policies.items():
            try:
                require_proof(alternatives, front_end)
            except ConfigurationError as error:
                self.problems += [
                    Problem(f'{POLICIES}["{name}"]', problem.message) for problem in error.problems
                ]


def require_proof(alternatives: Iterable[Policy], front_end: FrontEnd) -> None:
    """Refuse policies that lean on a front end which checks nothing.

    Args:
        alternatives: the policies of one name.
        front_end: what stands in front of the app.

    Raises:
        ConfigurationError: a policy says `names_proven_by_front_end` behind a front end that is not
            declared to check certificates.
    """
    if front_end.checks_certificates:
        return
    if any(policy.names_proven_by_front_end for policy in alternatives):
        raise ConfigurationError(
            [
                Problem(
                    "names_proven_by_front_end",
                    f"the front end {quote(front_end.name)} forwards certificates without checking"
                    " them, so it proves no names; write trust_anchors or fingerprints instead",
                )
            ]
        )


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {quote(twice)} stands twice")
    return mapping


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    # Imported on the way out: difflib costs a start-up that goes well nothing.
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"write one of {', '.join(known)}"
