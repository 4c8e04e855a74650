"""The settings other than the policies: the values they accept, and their errors."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from arrcert import ConfigurationError, Problem
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.forwarding.proxies import SecretHeader
from arrcert.notation import Form, Notation
from arrcert.settings.environment import value_of
from arrcert.settings.options import (
    OPTIONS,
    ExemptPathsOption,
    FrontEndOption,
    FrontEndSecretHeader,
    MostRemembered,
    Option,
    ProtectAll,
    RefuseUnsafeServers,
    TrustedProxies,
)

SECRET = "a-secret-of-the-front-end"


def only_problem(option: type[Option], value: object, notation: Notation) -> Problem:
    """Return the one mistake of a value."""
    with pytest.raises(ConfigurationError) as caught:
        option.read(value, notation)
    [problem] = caught.value.problems
    return problem


def test_every_option_is_found_by_its_name() -> None:
    """The settings are listed in the order of the table of settings."""
    assert list(OPTIONS) == [
        "ARRCERT_FRONT_END",
        "ARRCERT_TRUSTED_PROXIES",
        "ARRCERT_FRONT_END_SECRET_HEADER",
        "ARRCERT_CROSS_SITE_ORIGINS",
        "ARRCERT_REFUSE_UNSAFE_SERVERS",
        "ARRCERT_FILE_IGNORE_MODE",
        "ARRCERT_EXEMPT_PATHS",
        "ARRCERT_PROTECT_ALL",
        "ARRCERT_MOST_REMEMBERED",
        "ARRCERT_EXPIRY_WARNING_DAYS",
        "ARRCERT_TELEMETRY",
    ]
    assert all(option.name == name for name, option in OPTIONS.items())
    assert all(option.document for option in OPTIONS.values())


@pytest.mark.parametrize("wrong", [-1, 3651, "30", True, 1.5])
def test_days_before_the_end_are_a_number(wrong: object) -> None:
    """A wrong number of days is an error that names the setting and what to write."""
    option = OPTIONS["ARRCERT_EXPIRY_WARNING_DAYS"]
    assert [option.read(value, Notation.PYTHON) for value in (0, 30, 3650)] == [0, 30, 3650]
    with pytest.raises(ConfigurationError, match=r"ARRCERT_EXPIRY_WARNING_DAYS: .*write 0 \(never"):
        option.read(wrong, Notation.PYTHON)


def test_telemetry_is_a_truth_value() -> None:
    """ARRCERT_TELEMETRY is True or False; another value is an error."""
    option = OPTIONS["ARRCERT_TELEMETRY"]
    assert option.default is False
    assert [option.read(value, Notation.PYTHON) for value in (True, False)] == [True, False]
    with pytest.raises(ConfigurationError, match="ARRCERT_TELEMETRY: 'on' is not a truth value"):
        option.read("on", Notation.PYTHON)


def test_option_must_say_how_it_is_read() -> None:
    """A setting that does not define how it is read is an error of the program."""
    with pytest.raises(NotImplementedError):
        Option.read("x", Notation.PYTHON)


@pytest.mark.parametrize(
    ("option", "default"),
    [
        (FrontEndOption, FRONT_ENDS["app-service"]),
        (TrustedProxies, None),
        (FrontEndSecretHeader, None),
        (RefuseUnsafeServers, None),
        (ProtectAll, False),
        (MostRemembered, 1024),
    ],
)
def test_defaults(option: type[Option], default: object) -> None:
    """Without settings App Service is the front end, and only decorated views are protected."""
    assert option.default == default
    assert isinstance(ExemptPathsOption.default, ExemptPaths)
    assert not ExemptPathsOption.default.covers_wsgi({}, "/")


@pytest.mark.parametrize(
    ("option", "text", "written", "value"),
    [
        (FrontEndOption, "nginx", "nginx", FRONT_ENDS["nginx"]),
        (
            TrustedProxies,
            "10.0.0.0/8; ::1",
            ["10.0.0.0/8", "::1"],
            (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")),
        ),
        (
            FrontEndSecretHeader,
            f'{{"header": "X-S", "secrets": ["{SECRET}"]}}',
            {"header": "X-S", "secrets": [SECRET]},
            SecretHeader("X-S", (SECRET,)),
        ),
        (RefuseUnsafeServers, "false", False, False),
        (ProtectAll, "True", True, True),
        (MostRemembered, "5000", 5000, 5000),
        (MostRemembered, "0", 0, 0),
        (MostRemembered, "1000000", 1_000_000, 1_000_000),
    ],
)
def test_environment_and_framework_give_the_same_value(
    option: type[Option], text: str, written: Any, value: Any
) -> None:
    """The text of a variable is read as the same value that a framework's setting has."""
    from_text = value_of(text, option.form, option.example)
    assert from_text == written
    assert option.read(from_text, Notation.JSON) == value
    assert option.read(written, Notation.PYTHON) == value


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset])
def test_exempt_paths_may_be_any_collection(collection: type) -> None:
    """Exempt paths are a list, a tuple or a set."""
    paths = ExemptPathsOption.read(collection(["/health", "/public/*"]), Notation.PYTHON)
    assert paths.covers_wsgi({}, "/health")
    assert paths.covers_wsgi({}, "/public/x")
    assert not paths.covers_wsgi({}, "/")


@pytest.mark.parametrize(
    ("option", "wrong", "message"),
    [
        (FrontEndOption, "iis", "no front end is called 'iis'"),
        (TrustedProxies, "10.0.0.0/8", "is not a list of networks"),
        (FrontEndSecretHeader, [SECRET], "is not a mapping"),
        (RefuseUnsafeServers, 1, "'1' is not a truth value; write True or False"),
        (RefuseUnsafeServers, None, "'None' is not a truth value"),
        (ProtectAll, "true", "'true' is not a truth value; write True or False"),
        (ExemptPathsOption, "/health", "'/health' is not a list; write [\"/health\"]"),
        (ExemptPathsOption, {"/health": 1}, "is not a list"),
        (ExemptPathsOption, ["health"], "'health'"),
        *((MostRemembered, wrong, "write 0 to 1000000") for wrong in (-1, 1_000_001, True, 1.5)),
        *((MostRemembered, wrong, "write 0 to 1000000") for wrong in ("5", "many", [])),
    ],
)
def test_mistake_names_the_setting(option: type[Option], wrong: object, message: str) -> None:
    """A wrong value is an error with the setting's name, the value, and what to write."""
    problem = only_problem(option, wrong, Notation.PYTHON)
    assert problem.setting == option.name
    assert message in problem.message
    assert SECRET not in problem.message


def test_truth_values_are_named_in_the_notation() -> None:
    """In the environment the truth values are called true and false."""
    for option in (ProtectAll, RefuseUnsafeServers):
        assert option.form is Form.TRUTH
        message = only_problem(option, "yes", Notation.JSON).message
        assert message == "'yes' is not a truth value; write true or false"
    described = {"header": "X-C", "checks_certificates": "yes"}
    problem = only_problem(FrontEndOption, described, Notation.JSON)
    assert problem == (
        'ARRCERT_FRONT_END["checks_certificates"]',
        "'yes' is not a truth value; write true or false",
    )
