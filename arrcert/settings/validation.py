"""Validates a whole configuration and reports all mistakes together."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.expiry import EXPIRY_WARNING_DAYS
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd, why_names_are_not_proven
from arrcert.forwarding.ingress import Ingress
from arrcert.memory import MOST_REMEMBERED
from arrcert.notation import Form, Notation
from arrcert.policy import Policy
from arrcert.rules import KEYS, NamesProvenByFrontEnd
from arrcert.settings.contents import Served
from arrcert.settings.environment import UnusableError, json_value, value_of
from arrcert.settings.file import PolicyFile, warnings_of
from arrcert.settings.names import (
    EXAMPLE,
    FILE,
    FLAT,
    POLICIES,
    PYTEST_VARIABLE,
    SETTINGS,
    closest,
    example_of_key,
    misspelt,
)
from arrcert.settings.options import (
    OPTIONS,
    CrossSiteOrigins,
    ExemptPathsOption,
    ExpiryWarningDays,
    FileIgnoreMode,
    FrontEndOption,
    FrontEndSecretHeader,
    MostRemembered,
    ProtectAll,
    RefuseUnsafeServers,
    TelemetryOption,
    TrustedProxies,
)
from arrcert.settings.policies import Place, PolicyReader

logger = logging.getLogger("arrcert")

NOT_CONFIGURED = Problem(
    POLICIES,
    "is not set, neither in the framework's settings nor in the environment; write"
    ' ARRCERT = {"default": {"fingerprints": ["..."]}}, or set the environment variable'
    " ARRCERT_FINGERPRINTS or ARRCERT_FILE",
)
"""The mistake of a site that has no policies at all."""


def _unguarded(front_end: FrontEnd) -> Problem:
    return Problem(
        FrontEndOption.name,
        f"declares {quote(front_end.name)}, and this is not App Service (WEBSITE_SITE_NAME is not"
        " set): strangers may be able to send somebody else's certificate in"
        f" {front_end.header}; declare the front end that is really used, or set"
        " ARRCERT_TRUSTED_PROXIES or ARRCERT_FRONT_END_SECRET_HEADER",
    )


_PLATFORMS = ("ALLOWED_CLIENT_CERT_THUMBPRINTS", "ALLOWED_CLIENT_CERT_COMMON_NAMES")
"""Environment variables of a well-known sample for the platform. Sites that used it may still have
them."""


class Settings(NamedTuple):
    """A complete configuration that was validated.

    Attributes:
        policies: each policy's name and its alternatives, in order. If there is a file, these are
            the policies at the start.
        ingress: the declared way from the client to the app.
        exempt_paths: paths that the site-wide check leaves out.
        protect_all: whether the whole site is protected.
        most_remembered: how many accepted certificates are remembered for each policy.
        is_guarded: whether the site is known to have a protection against a forged header.
        places: every policy, with its place in the settings.
        file: follows the file of policies; None without one.
        expiry_warning_days: how many days before it expires a certificate is reported.
        telemetry: whether decisions are counted by OpenTelemetry.
    """

    policies: Mapping[str, tuple[Policy, ...]]
    ingress: Ingress
    exempt_paths: ExemptPaths
    protect_all: bool
    most_remembered: int = MOST_REMEMBERED
    is_guarded: bool = True
    places: tuple[tuple[Place, Policy], ...] = ()
    file: PolicyFile | None = None
    expiry_warning_days: int = EXPIRY_WARNING_DAYS
    telemetry: bool = False

    def warnings(self) -> list[Problem]:
        """Return a warning for each value that is probably a mistake or denies clients.

        It checks the current policies, not requests.
        """
        unguarded = [] if self.is_guarded else [_unguarded(self.ingress.front_end)]
        return unguarded + warnings_of(self.places)


def load(
    framework_settings: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    debug: bool = False,
    protect_all_by_default: bool = False,
    served: Iterable[Served] = (),
    others: Iterable[str] = (),
) -> Settings:
    """Validate a complete configuration and build its policies.

    The policies have exactly one source: the framework's setting `ARRCERT`; the environment
    variable `ARRCERT`, which holds the same mapping as JSON; the TOML file that the setting or the
    environment variable `ARRCERT_FILE` names; or flat environment variables, one for each key of
    the policy `default` (`ARRCERT_FINGERPRINTS`, ...).

    Args:
        framework_settings: every setting of the framework whose name begins with `ARRCERT`.
        environ: the environment of the process.
        debug: whether the framework is in its debug mode, in which unsafe servers are not refused.
        protect_all_by_default: the value of `ARRCERT_PROTECT_ALL` if it is not set.
        served: folders that visitors can read or write. `ARRCERT_FILE` must not be in them.
        others: the names of the framework's other settings. If there are no policies, arrcert looks
            for a misspelt name in them and in the environment.

    Raises:
        ConfigurationError: all mistakes together, each with its setting.

    The result is immutable, and later changes of the settings have no effect on it. But its `file`
    notices changes of the file of policies.
    """
    validation = _Validation(framework_settings, environ, served, others)
    settings = validation.validate(debug=debug, protect_all_by_default=protect_all_by_default)
    if validation.problems:
        raise ConfigurationError(validation.problems)
    return settings


def load_environment() -> Settings:
    """Validate the configuration of a site without a framework: only the environment.

    Raises:
        ConfigurationError: all mistakes together, each with its setting.

    A setting that is valid but is probably a mistake is logged as a WARNING.
    """
    settings = load({}, os.environ)
    for problem in settings.warnings():
        logger.warning("configuration: %s", problem)
    return settings


class _Validation:
    """Collects the mistakes in one configuration, and the policies without mistakes."""

    def __init__(
        self,
        framework: Mapping[str, Any],
        environ: Mapping[str, str],
        served: Iterable[Served],
        others: Iterable[str],
    ) -> None:
        self.problems: list[Problem] = []
        self._served = tuple(served)
        self._others = others
        self._file: PolicyFile | None = None
        self._framework = framework
        self._environ = environ
        self._ours = {name: text for name, text in environ.items() if name.startswith("ARRCERT")}
        self._places: list[tuple[Place, Policy]] = []
        self._names: list[str] = []
        self._is_misspelt = False

    def validate(self, *, debug: bool, protect_all_by_default: bool) -> Settings:
        self._refuse_unknown_names()
        for name in SETTINGS:
            if name in self._framework and self._framework[name] is None:
                self._add(name, "is None; write a value, or leave it out")
        options = {name: self._option(name) for name in OPTIONS}
        policies = self._policies(ignore_mode=options[FileIgnoreMode.name])
        front_end: FrontEnd = options[FrontEndOption.name]
        proxies = options[TrustedProxies.name]
        secret = options[FrontEndSecretHeader.name]
        refuse = options[RefuseUnsafeServers.name]
        protect_all: bool = options[ProtectAll.name]
        self._refuse_names_without_proof(front_end)
        if protect_all and self._names and "default" not in self._names:
            self._add_no_default()
        ingress = Ingress(
            front_end,
            trusted_proxies=proxies,
            secret_header=secret,
            cross_site_origins=options[CrossSiteOrigins.name],
            refuse_unsafe_servers=not debug if refuse is None else refuse,
        )
        is_guarded = (
            debug
            or front_end.name not in FRONT_ENDS
            or front_end.verify_header is not None
            or "WEBSITE_SITE_NAME" in self._environ
            or proxies is not None
            or secret is not None
        )
        return Settings(
            policies,
            ingress,
            options[ExemptPathsOption.name],
            protect_all if self._is_written(ProtectAll.name) else protect_all_by_default,
            options[MostRemembered.name],
            is_guarded,
            tuple(self._places),
            self._file,
            options[ExpiryWarningDays.name],
            options[TelemetryOption.name],
        )

    def _add(self, setting: str, message: str) -> None:
        self.problems.append(Problem(setting, message))

    # ------------------------------------------------------------------------------------- names

    def _refuse_unknown_names(self) -> None:
        for name in self._framework:
            if name in FLAT:
                self._is_misspelt = True
                self._add(
                    name,
                    "is an environment variable only; in settings write"
                    f' ARRCERT = {{"default": {example_of_key(FLAT[name])}}}',
                )
            elif name not in SETTINGS:
                self._refuse_name(name, SETTINGS, "setting")
        for name in self._ours:
            if name not in SETTINGS and name not in FLAT:
                self._refuse_name(name, (*SETTINGS, *FLAT), "environment variable")

    def _refuse_name(self, name: str, known: Iterable[str], kind: str) -> None:
        close = closest(name, known)
        self._is_misspelt |= close == POLICIES or close in FLAT
        what_to_write = (
            f"did you mean {close}?"
            if close
            else "names that begin with ARRCERT are reserved; choose another prefix"
        )
        self._add(name, f"there is no such {kind}; {what_to_write}")

    # ------------------------------------------------------------- settings other than the policies

    def _is_written(self, name: str) -> bool:
        return name in self._framework or name in self._ours

    def _option(self, name: str) -> Any:
        """Return the value of a setting from the framework or the environment, or its default."""
        option = OPTIONS[name]
        try:
            if name in self._ours:
                self._refuse_two_sources(name)
                value = value_of(self._ours[name], option.form, option.example)
                return option.read(value, Notation.JSON)
            value = self._framework.get(name)
            # None is reported as a mistake by `validate`.
            return option.default if value is None else option.read(value, Notation.PYTHON)
        except UnusableError as error:
            self._add(name, str(error))
        except ConfigurationError as error:
            self.problems += error.problems
        return option.default

    def _refuse_two_sources(self, name: str) -> None:
        held = [other for other in (name, POLICIES) if self._framework.get(other) is not None]
        if held:
            self._add(
                name,
                f"is set in the environment, and the framework's settings hold {held[0]}: two"
                " sources; keep one of the two",
            )

    # ---------------------------------------------------------------------------------- policies

    def _policies(self, *, ignore_mode: bool) -> Mapping[str, tuple[Policy, ...]]:
        flat = sorted(name for name in self._ours if name in FLAT)
        sources = [
            *(
                f"the framework's setting {name}"
                for name in (POLICIES, FILE)
                if self._framework.get(name) is not None
            ),
            *(
                f"the environment variable {name}"
                for name in (POLICIES, FILE)
                if name in self._ours
            ),
            *([f"the environment variables {', '.join(flat)}"] if flat else []),
        ]
        if len(sources) > 1:
            what_to_write = "keep one of them"
            text = self._ours.get(POLICIES)
            if text is not None and text == self._environ.get(PYTEST_VARIABLE):
                what_to_write += (
                    "; arrcert's pytest plugin has set the environment variable: to turn this off,"
                    " write arrcert_environment = false into the configuration of pytest"
                )
            self._add(
                POLICIES, f"has more than one source: {' and '.join(sources)}; {what_to_write}"
            )
        elif POLICIES in self._framework:
            value = self._framework[POLICIES]
            return {} if value is None else self._named_policies(value, Notation.PYTHON)
        elif POLICIES in self._ours:
            try:
                value = value_of(self._ours[POLICIES], Form.TEXT, EXAMPLE)
                return self._named_policies(json_value(value, EXAMPLE), Notation.JSON)
            except UnusableError as error:
                self._add(POLICIES, str(error))
        elif FILE in self._framework or FILE in self._ours:
            return self._policies_in_file(ignore_mode=ignore_mode)
        elif flat:
            return self._flat_policy()
        elif not self._is_misspelt:
            self.problems.append(NOT_CONFIGURED)
            for name, meant in misspelt((*self._others, *self._environ)).items():
                self._add(name, f"is set, but is not a setting of arrcert; did you mean {meant}?")
            for name in _PLATFORMS:
                if name in self._environ:
                    self._add(
                        name,
                        "is not a setting of arrcert; docs/coming-from.md says what to write"
                        " instead",
                    )
        return {}

    def _named_policies(self, value: Any, notation: Notation) -> dict[str, tuple[Policy, ...]]:
        reader = PolicyReader(POLICIES, notation)
        policies = reader.read(value)
        self._take(reader)
        return policies

    def _take(self, reader: PolicyReader) -> None:
        self.problems += reader.problems
        self._places += reader.places
        self._names = reader.names

    def _policies_in_file(self, *, ignore_mode: bool) -> Mapping[str, tuple[Policy, ...]]:
        try:
            path = self._framework.get(FILE)
            if FILE in self._ours:
                path = value_of(self._ours[FILE], Form.TEXT, "/home/arrcert/partners.toml")
            if path is None:
                return {}
            if not isinstance(path, str | os.PathLike) or not os.fspath(path):
                self._add(
                    FILE,
                    f'{quote(path)} is not the path of a file; write "/home/arrcert/partners.toml"',
                )
                return {}
            self._file = PolicyFile(os.fsdecode(path), served=self._served, ignore_mode=ignore_mode)
        except UnusableError as error:
            self._add(FILE, str(error))
            return {}
        except ConfigurationError as error:
            self.problems += error.problems
            return {}
        generation = self._file.current()
        self._places += generation.places
        self._names = list(generation.policies)
        return generation.policies

    def _add_no_default(self) -> None:
        names = " and ".join(f'"{name}"' for name in self._names)
        policies, rename = ("policy is", "it") if len(self._names) == 1 else ("policies are", "one")
        self._add(
            POLICIES if self._file is None else FILE,
            f'there is no policy "default", which {ProtectAll.name} uses; the {policies} {names};'
            f' rename {rename}, or add "default"',
        )

    def _flat_policy(self) -> dict[str, tuple[Policy, ...]]:
        """Return the policy that the flat variables describe."""
        self._names = ["default"]
        before = len(self.problems)
        description = {}
        for name in self._ours:
            if name in FLAT:
                try:
                    key = FLAT[name]
                    description[key] = value_of(self._ours[name], KEYS[key].form, '["..."]')
                except UnusableError as error:
                    self._add(name, str(error))
        if len(self.problems) > before:
            return {}
        reader = PolicyReader(POLICIES, Notation.JSON)
        policy = reader.build("", description)
        self.problems += reader.problems
        self._places += reader.places
        return {} if policy is None else {"default": (policy,)}

    def _refuse_names_without_proof(self, front_end: FrontEnd) -> None:
        why = why_names_are_not_proven(front_end)
        if why is not None:
            self.problems += [
                Problem(place.setting(NamesProvenByFrontEnd.key), why)
                for place, policy in self._places
                if policy.names_proven_by_front_end
            ]
