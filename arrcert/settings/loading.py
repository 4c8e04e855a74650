"""Settings to policies: a framework's settings or the environment, validated whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd, front_end_from
from arrcert.forwarding.ingress import Ingress, networks_from, secret_header_from
from arrcert.policy import (
    PARAMETERS,
    UNRESOLVED_REFERENCE,
    Policy,
    is_unresolved_reference,
)

MOST_REMEMBERED = 1024
"""Accepted certificates that are remembered for each policy, where nothing else is said."""

LARGEST_MEMORY = 1_000_000
"""What may be said; each takes some 3 KB, and 10 KB at most."""

POLICIES = "ARRCERT"
"""The setting that holds the policies, and the environment variable that holds them as JSON."""

_UNGUARDED = Problem(
    "ARRCERT_FRONT_END",
    "declares App Service, and this is not App Service (WEBSITE_SITE_NAME is not set): nothing is"
    " known to keep strangers from writing anybody's certificate into X-ARR-ClientCert; declare the"
    " front end that is there, or set ARRCERT_TRUSTED_PROXIES or ARRCERT_FRONT_END_SECRET_HEADER",
)
_T = TypeVar("_T")

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
_TRUSTED_PROXIES = "ARRCERT_TRUSTED_PROXIES"
_SECRET_HEADER = "ARRCERT_FRONT_END_SECRET_HEADER"  # noqa: S105 - the name of a setting.
_REFUSE_UNSAFE_SERVERS = "ARRCERT_REFUSE_UNSAFE_SERVERS"
_MOST_REMEMBERED = "ARRCERT_MOST_REMEMBERED"
_BESIDE_POLICIES = (
    _FRONT_END,
    _TRUSTED_PROXIES,
    _SECRET_HEADER,
    _REFUSE_UNSAFE_SERVERS,
    _EXEMPT_PATHS,
    _PROTECT_ALL,
    _MOST_REMEMBERED,
)
_FLAT = {f"ARRCERT_{parameter.upper()}": parameter for parameter in PARAMETERS}
"""The environment variables that hold the default policy, one for each parameter."""
_PLATFORMS = ("ALLOWED_CLIENT_CERT_THUMBPRINTS", "ALLOWED_CLIENT_CERT_COMMON_NAMES")
"""What a recipe for the platform's own sample reads."""


class Place(NamedTuple):
    """Where a policy is written.

    Attributes:
        where: `ARRCERT["partners"][1]`; empty for the flat variables.
    """

    where: str

    def setting(self, parameter: str = "") -> str:
        """Return what an error calls a parameter there, or the policy itself."""
        if not self.where:
            return f"ARRCERT_{parameter.upper()}" if parameter else POLICIES
        return f'{self.where}["{parameter}"]' if parameter else self.where


class Settings(NamedTuple):
    """A configuration that was validated whole.

    Attributes:
        policies: each policy's name and its alternatives, in order.
        ingress: the declared way from the client to the app.
        exempt_paths: paths that the site-wide check leaves out.
        protect_all: whether the site-wide check is on (Flask; Django's middleware is always).
        most_remembered: accepted certificates that are remembered for each policy.
        is_guarded: whether anything is known to keep strangers from forging the header.
        places: every policy once more, with the place where it is written.
    """

    policies: Mapping[str, tuple[Policy, ...]]
    ingress: Ingress
    exempt_paths: ExemptPaths
    protect_all: bool
    most_remembered: int = MOST_REMEMBERED
    is_guarded: bool = True
    places: tuple[tuple[Place, Policy], ...] = ()

    def warnings(self) -> list[Problem]:
        """Return what does not stop the start, and is likely to be a mistake or to deny somebody.

        It looks at the policies as they are now, and at no request.
        """
        unguarded = [] if self.is_guarded else [_UNGUARDED]
        return unguarded + [
            Problem(place.setting(problem.setting), problem.message)
            for place, policy in self.places
            for problem in policy.warnings()
        ]


def load(
    framework_settings: Mapping[str, Any], environ: Mapping[str, str], *, debug: bool = False
) -> Settings:
    """Validate a configuration whole and build its policies.

    The policies have exactly one source: the framework's `ARRCERT`; or the environment variable
    `ARRCERT` with the same mapping as JSON; or one flat variable for each parameter of the policy
    "default" (`ARRCERT_FINGERPRINTS`, ...).

    Args:
        framework_settings: every framework setting whose name begins with `ARRCERT`.
        environ: the process's environment.
        debug: whether the framework is in its debug mode, in which unsafe servers are not refused.

    Raises:
        ConfigurationError: all mistakes together, each with its setting.

    It does not read settings again later: what it returns never changes.
    """
    loader = _Loader()
    settings = loader.load(framework_settings, environ, debug=debug)
    if loader.problems:
        raise ConfigurationError(loader.problems)
    return settings


class _Loader:
    """Gathers the problems of one configuration, and the policies that have none."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._places: list[tuple[Place, Policy]] = []
        self._names: list[str] = []
        self._is_misspelt = False

    def load(
        self, framework: Mapping[str, Any], environ: Mapping[str, str], *, debug: bool
    ) -> Settings:
        ours = {name: value for name, value in environ.items() if name.startswith("ARRCERT")}
        self._refuse_unknown(framework, ours)
        for name in (POLICIES, *_BESIDE_POLICIES):
            if name in framework and framework[name] is None:
                self._complain(name, "is None; write a value, or leave it out")
        front_end = self._front_end(
            self._beside_policies(_FRONT_END, framework, ours), is_json=_FRONT_END in ours
        )
        proxies = self._parsed(_TRUSTED_PROXIES, networks_from, framework, ours)
        secret = self._parsed(_SECRET_HEADER, secret_header_from, framework, ours)
        refuse = self._truth(
            _REFUSE_UNSAFE_SERVERS, self._beside_policies(_REFUSE_UNSAFE_SERVERS, framework, ours)
        )
        exempt_paths = self._exempt_paths(self._beside_policies(_EXEMPT_PATHS, framework, ours))
        protect_all = (
            self._truth(_PROTECT_ALL, self._beside_policies(_PROTECT_ALL, framework, ours)) is True
        )
        most_remembered = self._count(
            _MOST_REMEMBERED, self._beside_policies(_MOST_REMEMBERED, framework, ours)
        )
        policies = self._policies(framework, ours, environ)
        self._refuse_names_without_proof(front_end)
        if protect_all and self._names and "default" not in self._names:
            self._complain_of_no_default()
        ingress = Ingress(
            front_end,
            trusted_proxies=proxies,
            secret_header=secret,
            refuse_unsafe_servers=not debug if refuse is None else refuse,
        )
        is_guarded = (
            debug
            or front_end.name not in ("app-service", "functions")
            or "WEBSITE_SITE_NAME" in environ
            or proxies is not None
            or secret is not None
        )
        return Settings(
            policies,
            ingress,
            exempt_paths,
            protect_all,
            most_remembered,
            is_guarded,
            tuple(self._places),
        )

    def _complain(self, setting: str, message: str) -> None:
        self.problems.append(Problem(setting, message))

    def _refuse_unknown(self, framework: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        known = (POLICIES, *_BESIDE_POLICIES)
        for name in framework:
            if name in _FLAT:
                self._is_misspelt = True
                self._complain(
                    name,
                    "is an environment variable only; in settings write"
                    f' ARRCERT = {{"default": {_example(_FLAT[name])}}}',
                )
            elif name not in known:
                self._refuse_name(name, known, "setting")
        for name in environ:
            if name not in known and name not in _FLAT:
                self._refuse_name(name, (*known, *_FLAT), "environment variable")

    def _refuse_name(self, name: str, known: Iterable[str], kind: str) -> None:
        close = _closest(name, known)
        self._is_misspelt |= close == POLICIES or close in _FLAT
        hint = (
            f"did you mean {close}?"
            if close
            else "names that begin with ARRCERT are reserved; choose another prefix"
        )
        self._complain(name, f"there is no such {kind}; {hint}")

    def _beside_policies(
        self, name: str, framework: Mapping[str, Any], environ: Mapping[str, str]
    ) -> Any:
        """Return a setting that may stand in either place, None where it is in neither."""
        if name not in environ:
            return framework.get(name)
        held = [other for other in (name, POLICIES) if framework.get(other) is not None]
        if held:
            self._complain(
                name,
                f"is set in the environment, while the framework's settings hold {held[0]}: two"
                " sources; keep one of the two",
            )
        text = self._variable(name, environ[name])
        if text is None:
            return None
        if name in (_PROTECT_ALL, _REFUSE_UNSAFE_SERVERS):
            return self._flat_truth(name, text)
        if name == _MOST_REMEMBERED:
            return _whole_number(text)
        if name in (_EXEMPT_PATHS, _TRUSTED_PROXIES):
            entries = self._flat_list(name, text)
            if entries == []:
                self._complain(name, "the list is empty; write an entry, or remove the variable")
                return None
            return entries
        return self._json(name, text) if text.startswith("{") else text

    def _variable(self, name: str, text: str) -> str | None:
        """Return a variable's text without the space around it; None where it cannot be used."""
        if not text.strip():
            self._complain(name, "the environment variable is empty; set it or remove it")
            return None
        if is_unresolved_reference(text):
            self._complain(name, f"{quote(text)} {UNRESOLVED_REFERENCE}")
            return None
        return text.strip()

    def _front_end(self, value: Any, *, is_json: bool) -> FrontEnd:
        try:
            return front_end_from("app-service" if value is None else value, setting=_FRONT_END)
        except ConfigurationError as error:
            self.problems += map(_as_json, error.problems) if is_json else error.problems
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

    def _truth(self, name: str, value: Any) -> bool | None:
        if isinstance(value, bool | None):
            return value
        self._complain(name, f"{quote(value)} is not a truth value; write True or False")
        return None

    def _count(self, name: str, value: Any) -> int:
        if value is None:
            return MOST_REMEMBERED
        if is_number_to_remember(value):
            return int(value)
        self._complain(name, why_not_to_remember(value))
        return MOST_REMEMBERED

    def _parsed(
        self,
        name: str,
        parse: Callable[..., _T],
        framework: Mapping[str, Any],
        environ: Mapping[str, str],
    ) -> _T | None:
        value = self._beside_policies(name, framework, environ)
        if value is None:
            return None
        try:
            return parse(value, setting=name)
        except ConfigurationError as error:
            self.problems += error.problems
            return None

    def _policies(
        self, framework: Mapping[str, Any], ours: Mapping[str, str], environ: Mapping[str, str]
    ) -> dict[str, tuple[Policy, ...]]:
        flat = [name for name in ours if name in _FLAT]
        sources = [
            *(["the framework's setting ARRCERT"] if framework.get(POLICIES) is not None else []),
            *(["the environment variable ARRCERT"] if POLICIES in ours else []),
            *([f"the environment variables {', '.join(sorted(flat))}"] if flat else []),
        ]
        if len(sources) > 1:
            self._complain(
                POLICIES, f"has more than one source: {' and '.join(sources)}; keep one of them"
            )
        elif POLICIES in framework:
            value = framework[POLICIES]
            return {} if value is None else self._named_policies(value)
        elif POLICIES in ours:
            return self._policies_as_json(ours[POLICIES])
        elif flat:
            return self._flat_policy({name: ours[name] for name in flat})
        elif not self._is_misspelt:
            self.problems.append(NOT_CONFIGURED)
            for name in _PLATFORMS:
                if name in environ:
                    self._complain(
                        name,
                        "is not read by arrcert; README.md says under \"Coming from the platform's"
                        ' sample" what to write instead',
                    )
        return {}

    def _policies_as_json(self, text: str) -> dict[str, tuple[Policy, ...]]:
        stripped = self._variable(POLICIES, text)
        value = None if stripped is None else self._json(POLICIES, stripped)
        if value is None:
            return {}
        before = len(self.problems)
        policies = self._named_policies(value)
        self.problems[before:] = map(_as_json, self.problems[before:])
        return policies

    def _named_policies(self, value: Any) -> dict[str, tuple[Policy, ...]]:
        if not isinstance(value, Mapping) or not value:
            is_text = isinstance(value, str) and value.lstrip().startswith("{")
            hint = (
                "write the mapping itself, without quotation marks around it"
                if is_text
                else f"write {_EXAMPLE}"
            )
            self._complain(POLICIES, f"{quote(value)} is not a mapping of policies; {hint}")
            return {}
        self._names = [name for name in value if isinstance(name, str)]
        stray = {name: _stray_key(name, held) for name, held in value.items()}
        if any(stray.values()):
            self._complain_of_stray_keys({name: key for name, key in stray.items() if key})
        policies: dict[str, tuple[Policy, ...]] = {}
        for name, alternatives in value.items():
            where = f'{POLICIES}["{name}"]'
            if stray[name]:
                continue
            if not isinstance(name, str) or not name:
                self._complain(POLICIES, f"{quote(name)} is not a policy's name; write {_EXAMPLE}")
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

    def _complain_of_stray_keys(self, stray: Mapping[str, str]) -> None:
        """Tell of a level left out; no complaint of a missing policy follows from it."""
        self._names = []
        beside = {name: key for name, key in stray.items() if key in _BESIDE_POLICIES}
        for name, setting in beside.items():
            self._complain(POLICIES, f'"{name}" is no policy; write the setting {setting}')
        keys = [(name, key) for name, key in stray.items() if name not in beside]
        if keys:
            inner = ", ".join(_example(key)[1:-1] for _, key in keys)
            self._complain(
                POLICIES,
                f"\"{keys[0][0]}\" is a policy's key, not a policy's name; write"
                f' {{"default": {{{inner}}}}}',
            )

    def _complain_of_no_default(self) -> None:
        names = " and ".join(f'"{name}"' for name in self._names)
        there, rename = ("is", "it") if len(self._names) == 1 else ("are", "one")
        self._complain(
            POLICIES,
            f'there is no policy "default", which {_PROTECT_ALL} uses; there {there} {names};'
            f' rename {rename}, or add "default"',
        )

    def _alternatives(self, described: Iterable[tuple[str, Any]]) -> tuple[Policy, ...]:
        policies = [self._policy(Place(where), description) for where, description in described]
        return tuple(policy for policy in policies if policy is not None)

    def _policy(self, place: Place, description: Any) -> Policy | None:
        if not isinstance(description, Mapping):
            self._complain(
                place.where,
                f'{quote(description)} is not a policy; write {{"fingerprints": ["..."]}}',
            )
            return None
        before = len(self.problems)
        for key, value in description.items():
            if key not in PARAMETERS:
                self._complain(place.setting(key), f"a policy has no such key; {_hint(key)}")
            elif value is None:
                self._complain(place.setting(key), "is None; write a value, or leave the key out")
        return self._built(
            place,
            {key: value for key, value in description.items() if key in PARAMETERS},
            is_whole=len(self.problems) == before,
        )

    def _flat_policy(self, variables: Mapping[str, str]) -> dict[str, tuple[Policy, ...]]:
        self._names = ["default"]
        description = {_FLAT[name]: self._flat(name, text) for name, text in variables.items()}
        if None in description.values():
            return {}
        policy = self._built(Place(""), description, is_whole=True)
        return {} if policy is None else {"default": (policy,)}

    def _built(
        self, place: Place, description: Mapping[str, Any], *, is_whole: bool
    ) -> Policy | None:
        """Build a policy; where a key was refused, do not say that a condition is missing."""
        try:
            policy = Policy(**description)
        except ConfigurationError as error:
            self.problems += [
                Problem(place.setting(problem.setting), problem.message)
                for problem in error.problems
                if is_whole or problem.setting
            ]
            return None
        self._places.append((place, policy))
        return policy

    def _flat(self, name: str, text: str) -> Any:
        """Return what a flat variable holds, None where it holds nothing that can be used."""
        stripped = self._variable(name, text)
        if stripped is None:
            return None
        parameter = _FLAT[name]
        if parameter == "names_proven_by_front_end":
            return self._flat_truth(name, stripped)
        if parameter == "clock_skew":
            return _whole_number(stripped)
        if parameter == "revocation":
            return stripped
        return self._flat_list(name, stripped)

    def _flat_truth(self, name: str, text: str) -> bool | None:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        self._complain(name, f"{quote(text)} is not a truth value; write true or false")
        return None

    def _flat_list(self, name: str, text: str) -> list[Any] | None:
        """Split on semicolons, or read a JSON list; None where it is neither."""
        if text.startswith("["):
            value = self._json(name, text)
            return value if isinstance(value, list) else None
        if text.startswith("{"):
            self._complain(name, f"{quote(text)} is no list; write a JSON list of it: [{{...}}]")
            return None
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
        """Return what the JSON holds, None where it holds nothing that can be used."""
        if name == _SECRET_HEADER:
            return self._secret_json(text)
        try:
            value = _from_json(text)
        except _RepetitionError as error:
            self._complain(name, f"{quote(text)}: {error}; keep one of the two")
        except (ValueError, RecursionError) as error:
            self._complain(name, f"{quote(text)} is not JSON: {_why_not_json(name, text, error)}")
        else:
            if isinstance(value, str):
                self._complain(
                    name,
                    f"{quote(text)} is JSON encoded twice; drop the quotation marks around it and"
                    " the backslashes before those in it",
                )
            elif value is None:
                self._complain(name, f"'null' holds nothing; write {_example_of(name)}")
            else:
                return value
        return None

    def _secret_json(self, text: str) -> Any:
        """Do as `_json` does, and show nothing of what may be a secret."""
        try:
            return _from_json(text)
        except (ValueError, RecursionError):
            self._complain(
                _SECRET_HEADER,
                'its value is not JSON; write {"header": "X-Front-End-Secret", "secrets": ["..."]}',
            )
            return None

    def _refuse_names_without_proof(self, front_end: FrontEnd) -> None:
        for place, policy in self._places:
            try:
                require_proof([policy], front_end)
            except ConfigurationError as error:
                self.problems += [
                    Problem(place.setting(problem.setting), problem.message)
                    for problem in error.problems
                ]


def is_number_to_remember(value: object) -> bool:
    """Tell whether so many accepted certificates can be remembered."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and 0 <= value <= LARGEST_MEMORY  # type: ignore[operator]


def why_not_to_remember(value: object) -> str:
    """Say what to write instead of a number that cannot be remembered."""
    return f"{quote(value)} is no number to remember; write 0 to {LARGEST_MEMORY}"


def _whole_number(text: str) -> int | str:
    """Return the number that a variable holds, or its text for the complaint."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


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


_EXAMPLE = '{"default": {"fingerprints": ["..."]}}'

_SYNONYMS = {
    synonym: name
    for name, synonyms in {
        "arrcert": "policies policy config",
        "front_end": "header proxy",
        "exempt_paths": "exclude excluded_paths exempt public_paths",
        "protect_all": "protect require_all",
        "fingerprints": "thumbprints thumbprint allowed_thumbprints pins pin sha256 sha1",
        "public_keys": "spki spki_pins pubkeys",
        "common_names": "subject subjects cn cns allowed_common_names",
        "dns_names": "san sans hosts",
        "email_addresses": "emails email",
        "trust_anchors": "ca cas ca_cert ca_certs ca_certificates ca_file roots root anchors trust",
        "intermediates": "chain",
    }.items()
    for synonym in synonyms.split()
}
"""What others call our settings and keys."""


def _closest(name: object, known: Iterable[str]) -> str | None:
    """Return what somebody meant who wrote a name that is not known, None where nobody can tell."""
    # Imported on the way out: difflib costs a start-up that goes well nothing.
    from difflib import get_close_matches

    # The prefix that all share would make all alike.
    by_word = {known_name.removeprefix("ARRCERT_").lower(): known_name for known_name in known}
    word = str(name).removeprefix("ARRCERT_").lower()
    close = [_SYNONYMS.get(word), *get_close_matches(word, by_word, n=1, cutoff=0.8)]
    return next((by_word[word] for word in close if word in by_word), None)


def _hint(key: object) -> str:
    """Say what to write instead of a key that a policy does not have."""
    close = _closest(key, PARAMETERS)
    if close:
        return f"did you mean {close}?"
    setting = _closest(key, _BESIDE_POLICIES)
    if setting:
        return f"write the setting {setting} beside ARRCERT"
    return f"write one of {', '.join(PARAMETERS)}"


def _stray_key(name: object, held: object) -> str | None:
    """Return which key or setting stands where a policy's name belongs, None where a name does."""
    if isinstance(held, Mapping):
        return None
    if isinstance(held, list | tuple) and any(isinstance(entry, Mapping) for entry in held):
        return name if isinstance(name, str) and name in PARAMETERS else None
    return _closest(name, (*PARAMETERS, *_BESIDE_POLICIES)) if isinstance(name, str) else None


_NO_LISTS = {"names_proven_by_front_end": "...", "clock_skew": "...", "revocation": "..."}


def _example(parameter: str) -> str:
    return f'{{"{parameter}": {_NO_LISTS.get(parameter, "[...]")}}}'


def _example_of(name: str) -> str:
    return {POLICIES: _EXAMPLE, _FRONT_END: '{"header": "X-Client-Cert"}'}.get(name, '["..."]')


class _RepetitionError(ValueError):
    """JSON that gives a key twice."""


def _from_json(text: str) -> Any:
    # Who configures by a framework's settings need not wait for the module.
    import json

    return json.loads(text, object_pairs_hook=_without_repetition)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RepetitionError(f"the key {quote(twice)} stands twice")
    return mapping


_NOT_JSON = (
    ("[\u2018-\u201f\xab\xbb]", 'it holds typographic quotation marks; write " instead'),
    (r"""\A(['`]).*\1\Z""", "quotation marks stand around the whole; drop them"),
    (r"\A[^{\[\"]*\Z", "it looks like plain text or a file's path; write {example}"),
    (r"[{\[,:]\s*'", 'it holds single quotation marks; write " instead'),
    (r",\s*[}\]]", "a comma stands before a closing bracket; drop it"),
    (r"[:\[,]\s*(?:True|False|None)\b", "JSON writes true, false and null"),
    (r"[{,]\s*\w+\s*:", 'a key stands without quotation marks; write "key": ...'),
)
"""What people write instead of JSON, by a pattern, and what to write."""


def _why_not_json(name: str, text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested too deeply; write {_example_of(name)}"
    if "control character" in str(error):
        return "a text in it holds a line break; write \\n for it or, for PEM, a file's path"
    for pattern, hint in _NOT_JSON:
        if re.search(pattern, text, re.DOTALL):
            return hint.format(example=_example_of(name))
    return f"{error}; write {_example_of(name)}"


def _as_json(problem: Problem) -> Problem:
    """Speak of JSON to whoever wrote JSON."""
    return problem._replace(message=problem.message.replace("True or False", "true or false"))
