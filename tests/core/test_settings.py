"""A mapping or the environment to policies: validated whole, every mistake named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import CertificateDenied, ConfigurationError
from arrcert.policy import PARAMETERS
from arrcert.settings import Settings, load
from arrcert.testing import CertificateAuthority, IssuedCertificate

PIN = "A" * 40
POLICY = {"default": {"fingerprints": [PIN]}}


def problems(
    framework: dict[str, Any] | None = None, environ: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    """Return (setting, message) for every mistake that stops the start."""
    with pytest.raises(ConfigurationError) as caught:
        load(framework or {}, environ or {})
    return [tuple(problem) for problem in caught.value.problems]


def only_problem(
    framework: dict[str, Any] | None = None, environ: dict[str, str] | None = None
) -> tuple[str, str]:
    """Return the one mistake that stops the start."""
    [problem] = problems(framework, environ)
    return problem


def accepts(settings: Settings, client: IssuedCertificate, policy: str = "default") -> bool:
    """Tell whether any alternative of a policy accepts the client."""
    for alternative in settings.policies[policy]:
        try:
            alternative.check(client.certificate)
        except CertificateDenied:
            continue
        return True
    return False


# --- the three sources --------------------------------------------------------------------------


def test_framework_mapping_is_a_source(
    alice: IssuedCertificate, impostor: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """The framework's ARRCERT holds policies, and lists of alternatives in order."""
    settings = load(
        {
            "ARRCERT": {
                "default": {"fingerprints": [alice.certificate.sha256_fingerprint]},
                "partners": [
                    {"fingerprints": [PIN]},
                    {"trust_anchors": authority.certificate_pem.decode()},
                ],
            }
        },
        {},
    )
    assert list(settings.policies) == ["default", "partners"]
    assert len(settings.policies["partners"]) == 2
    assert accepts(settings, alice)
    assert accepts(settings, alice, "partners")
    assert not accepts(settings, impostor)
    assert not accepts(settings, impostor, "partners")


def test_json_in_the_environment_is_the_same_mapping(alice: IssuedCertificate) -> None:
    """The variable ARRCERT holds the same mapping as JSON."""
    policies = {"default": {"fingerprints": [alice.certificate.sha1_fingerprint]}}
    settings = load({}, {"ARRCERT": json.dumps(policies), "PATH": "/bin"})
    assert accepts(settings, alice)


def test_flat_variables_are_the_default_policy(
    alice: IssuedCertificate, impostor: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """One flat variable for each parameter describes the policy "default"."""
    settings = load(
        {},
        {
            "ARRCERT_TRUST_ANCHORS": authority.certificate_pem.decode(),
            "ARRCERT_COMMON_NAMES": " bob ; alice ",
            "ARRCERT_ISSUERS": "CN=Contoso Issuing CA, O=Contoso; Other CA",
        },
    )
    assert list(settings.policies) == ["default"]
    assert accepts(settings, alice)
    assert not accepts(settings, impostor)
    assert {f"ARRCERT_{parameter.upper()}" for parameter in PARAMETERS} >= {
        "ARRCERT_FINGERPRINTS",
        "ARRCERT_COMMON_NAMES",
        "ARRCERT_ISSUERS",
        "ARRCERT_TRUST_ANCHORS",
        "ARRCERT_INTERMEDIATES",
    }


def test_flat_list_may_be_json(authority: CertificateAuthority) -> None:
    """Where a comma or semicolon belongs to an entry, a JSON list holds it."""
    client = authority.issue("alice, of sales; west")
    settings = load(
        {},
        {
            "ARRCERT_TRUST_ANCHORS": authority.certificate_pem.decode(),
            "ARRCERT_COMMON_NAMES": '["alice, of sales; west"]',
        },
    )
    assert accepts(settings, client)


def test_no_source_stops_the_start() -> None:
    """Nothing configured is an error, not an open door (THREATS: it fails open)."""
    setting, message = only_problem()
    assert setting == "ARRCERT"
    assert "is not set" in message
    assert only_problem({"ARRCERT": None})[0] == "ARRCERT"


@pytest.mark.parametrize(
    ("framework", "environ"),
    [
        ({"ARRCERT": POLICY}, {"ARRCERT": json.dumps(POLICY)}),
        ({"ARRCERT": POLICY}, {"ARRCERT_FINGERPRINTS": PIN}),
        ({}, {"ARRCERT": json.dumps(POLICY), "ARRCERT_FINGERPRINTS": PIN}),
        ({}, {"ARRCERT": "", "ARRCERT_FINGERPRINTS": PIN}),
        ({"ARRCERT": POLICY}, {"ARRCERT": ""}),
    ],
)
def test_two_sources_stop_the_start(framework: dict[str, Any], environ: dict[str, str]) -> None:
    """Of two sources of policies none is chosen."""
    setting, message = only_problem(framework, environ)
    assert setting == "ARRCERT"
    assert "more than one source" in message


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ARRCERT_FRONT_END", "app-service", "app-service"),
        ("ARRCERT_EXEMPT_PATHS", ["/health"], "/health"),
        ("ARRCERT_PROTECT_ALL", True, "true"),
    ],
)
def test_other_settings_have_one_source_too(name: str, value: object, text: str) -> None:
    """Beside policies of the environment either place will do; both at once will not."""
    flat = {"ARRCERT_FINGERPRINTS": PIN}
    as_json = {"ARRCERT": json.dumps(POLICY)}
    for policies in (flat, as_json):
        assert load({}, {**policies, name: text})
        assert load({name: value}, policies)
        assert only_problem({name: value}, {**policies, name: text})[0] == name
    assert load({"ARRCERT": POLICY, name: value}, {})
    setting, message = only_problem({"ARRCERT": POLICY}, {name: text})
    assert setting == name
    assert "two sources" in message


# --- what the other settings hold ---------------------------------------------------------------


def test_defaults() -> None:
    """App Service stands in front, nothing is exempt, and nothing is protected unasked."""
    settings = load({"ARRCERT": POLICY}, {})
    assert settings.front_end.name == "app-service"
    assert settings.protect_all is False
    assert not settings.exempt_paths.covers_wsgi({}, "/")


def test_settings_from_the_framework() -> None:
    """The framework's values are taken as they are."""
    settings = load(
        {
            "ARRCERT": POLICY,
            "ARRCERT_FRONT_END": {"header": "X-Client"},
            "ARRCERT_EXEMPT_PATHS": ("/health",),
            "ARRCERT_PROTECT_ALL": True,
        },
        {},
    )
    assert settings.front_end.header == "X-Client"
    assert settings.protect_all is True
    assert settings.exempt_paths.covers_wsgi({}, "/health")


def test_settings_from_the_environment() -> None:
    """In the environment a mapping is JSON, a list is split on semicolons, truth is a word."""
    settings = load(
        {},
        {
            "ARRCERT_FINGERPRINTS": PIN,
            "ARRCERT_FRONT_END": ' {"header": "X-Client"}',
            "ARRCERT_EXEMPT_PATHS": "/health; /public/*",
            "ARRCERT_PROTECT_ALL": "True",
        },
    )
    assert settings.front_end.header == "X-Client"
    assert settings.protect_all is True
    assert settings.exempt_paths.covers_wsgi({}, "/public/x")
    named = load({}, {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_FRONT_END": "app-service"})
    assert named.front_end.name == "app-service"
    off = load({}, {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_PROTECT_ALL": "false"})
    assert off.protect_all is False


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framework", "setting", "message"),
    [
        ({"ARRCERT": {}}, "ARRCERT", "not a mapping of policies"),
        ({"ARRCERT": []}, "ARRCERT", "not a mapping of policies"),
        ({"ARRCERT": "x"}, "ARRCERT", "not a mapping of policies"),
        ({"ARRCERT": {"": {}}}, "ARRCERT", "not a policy's name"),
        ({"ARRCERT": {7: {}}}, "ARRCERT", "not a policy's name"),
        ({"ARRCERT": {"default": []}}, 'ARRCERT["default"]', "neither a policy nor a list"),
        ({"ARRCERT": {"default": "x"}}, 'ARRCERT["default"]', "neither a policy nor a list"),
        ({"ARRCERT": {"default": [7]}}, 'ARRCERT["default"][0]', "not a policy"),
        ({"ARRCERT": {"default": {}}}, 'ARRCERT["default"]', "would allow everyone"),
        (
            {"ARRCERT": {"default": [{"fingerprints": [PIN]}, {}]}},
            'ARRCERT["default"][1]',
            "would allow everyone",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": [PIN], "thumbprint": []}}},
            'ARRCERT["default"]["thumbprint"]',
            "no such key; write one of fingerprints",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": [PIN], "comon_names": []}}},
            'ARRCERT["default"]["comon_names"]',
            "did you mean common_names?",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": [PIN], "issuers": None}}},
            'ARRCERT["default"]["issuers"]',
            "is None",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": ["zz"]}}},
            'ARRCERT["default"]["fingerprints"]',
            "'zz' is not hex",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": [PIN], "names_proven_by_front_end": True}}},
            'ARRCERT["default"]',
            "'app-service' forwards certificates without checking them",
        ),
        ({"ARRCERT": POLICY, "ARRCERT_FRONTEND": "x"}, "ARRCERT_FRONTEND", "ARRCERT_FRONT_END?"),
        ({"ARRCERT": POLICY, "ARRCERT_FINGERPRINTS": [PIN]}, "ARRCERT_FINGERPRINTS", "no such"),
        ({"ARRCERT": POLICY, "ARRCERT_FRONT_END": "iis"}, "ARRCERT_FRONT_END", "'iis'"),
        ({"ARRCERT": POLICY, "ARRCERT_PROTECT_ALL": 1}, "ARRCERT_PROTECT_ALL", "1"),
        ({"ARRCERT": POLICY, "ARRCERT_EXEMPT_PATHS": "/x"}, "ARRCERT_EXEMPT_PATHS", "not a list"),
        ({"ARRCERT": POLICY, "ARRCERT_EXEMPT_PATHS": ["x"]}, "ARRCERT_EXEMPT_PATHS", "'x'"),
    ],
)
def test_mistake_in_the_framework_settings(
    framework: dict[str, Any], setting: str, message: str
) -> None:
    """Every mistake names its place and the offending value (THREATS: an option misspelt)."""
    found_setting, found_message = only_problem(framework)
    assert found_setting == setting
    assert message in found_message


@pytest.mark.parametrize(
    ("environ", "setting", "message"),
    [
        ({"ARRCERT": " "}, "ARRCERT", "is empty"),
        ({"ARRCERT": "{"}, "ARRCERT", "is not JSON"),
        ({"ARRCERT": "[" * 100_000}, "ARRCERT", "is not JSON"),
        ({"ARRCERT": "[]"}, "ARRCERT", "not a mapping of policies"),
        ({"ARRCERT": '{"a": {}, "a": {}}'}, "ARRCERT", "'a' stands twice"),
        ({"ARRCERT": "@Microsoft.KeyVault(SecretUri=x)"}, "ARRCERT", "Key Vault reference"),
        ({"ARRCERT_FINGERPRINTS": ""}, "ARRCERT_FINGERPRINTS", "is empty"),
        ({"ARRCERT_FINGERPRINTS": f"{PIN},{PIN}"}, "ARRCERT_FINGERPRINTS", "separate entries by ;"),
        ({"ARRCERT_FINGERPRINTS": f"{PIN};"}, "ARRCERT_FINGERPRINTS", "empty entry"),
        ({"ARRCERT_FINGERPRINTS": "[1"}, "ARRCERT_FINGERPRINTS", "is not JSON"),
        ({"ARRCERT_FINGERPRINTS": "[1]"}, "ARRCERT_FINGERPRINTS", "not text"),
        ({"ARRCERT_FINGERPRINTS": "[]"}, "ARRCERT_FINGERPRINTS", "list is empty"),
        ({"ARRCERT_COMMON_NAMES": "alice"}, "ARRCERT_COMMON_NAMES", "a name proves nothing"),
        ({"ARRCERT_TRUST_ANCHORS": "a.pem,b.pem"}, "ARRCERT_TRUST_ANCHORS", "separate entries"),
        ({"ARRCERT_TRUST_ANCHORS": "/absent.pem"}, "ARRCERT_TRUST_ANCHORS", "/absent.pem"),
        (
            {"ARRCERT_FINGERPRINTS": "@Microsoft.KeyVault(VaultName=v;SecretName=s)"},
            "ARRCERT_FINGERPRINTS",
            "Key Vault reference",
        ),
        (
            {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_NAMES_PROVEN_BY_FRONT_END": "yes"},
            "ARRCERT_NAMES_PROVEN_BY_FRONT_END",
            "write true or false",
        ),
        (
            {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_NAMES_PROVEN_BY_FRONT_END": "true"},
            'ARRCERT["default"]',
            "without checking them",
        ),
        ({"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_PIN": "x"}, "ARRCERT_PIN", "environment variable"),
        ({"ARRCERT_FINGERPRINTS": PIN, "ARRCERTS": "x"}, "ARRCERTS", "did you mean"),
        ({"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_FRONT_END": ""}, "ARRCERT_FRONT_END", "is empty"),
        ({"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_FRONT_END": "{"}, "ARRCERT_FRONT_END", "JSON"),
        ({"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_PROTECT_ALL": "1"}, "ARRCERT_PROTECT_ALL", "'1'"),
        (
            {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_EXEMPT_PATHS": "/a,/b"},
            "ARRCERT_EXEMPT_PATHS",
            "separate entries",
        ),
    ],
)
def test_mistake_in_the_environment(environ: dict[str, str], setting: str, message: str) -> None:
    """A flat variable is named as it stands in the environment."""
    found_setting, found_message = only_problem({}, environ)
    assert found_setting == setting
    assert message in found_message


def test_names_may_be_proven_by_a_front_end_that_checks() -> None:
    """Behind a front end declared to check certificates, names stand alone."""
    assert load(
        {
            "ARRCERT": {"default": {"common_names": ["a"], "names_proven_by_front_end": True}},
            "ARRCERT_FRONT_END": {"header": "X-Client", "checks_certificates": True},
        },
        {},
    )


def test_all_mistakes_come_together() -> None:
    """One start shows every mistake of the whole configuration."""
    found = problems(
        {
            "ARRCERT": {"default": {"fingerprints": ["zz"]}, "partners": {"common_names": ["a"]}},
            "ARRCERT_FRONT_END": "iis",
            "ARRCERT_EXEMPT_PATHS": ["x", "/*"],
            "ARRCERT_TYPO": 1,
        }
    )
    assert [setting for setting, _ in found] == [
        "ARRCERT_TYPO",
        "ARRCERT_FRONT_END",
        "ARRCERT_EXEMPT_PATHS",
        "ARRCERT_EXEMPT_PATHS",
        'ARRCERT["default"]["fingerprints"]',
        'ARRCERT["partners"]["common_names"]',
    ]


@given(
    st.dictionaries(
        st.sampled_from(["ARRCERT", "ARRCERT_FRONT_END", "ARRCERT_EXEMPT_PATHS"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*PARAMETERS, "header", "x"]), inner, max_size=3)
            ),
            max_leaves=8,
        ),
    )
)
def test_any_mapping_is_settings_or_a_configuration_error(framework: dict[str, Any]) -> None:
    """Whatever stands in the settings, the start stops with our exception or stands."""
    try:
        settings = load(framework, {})
    except ConfigurationError as error:
        assert str(error)
    else:
        assert all(settings.policies.values())


@given(st.text(max_size=60))
def test_any_text_in_the_environment_is_settings_or_a_configuration_error(text: str) -> None:
    """Whatever stands in a variable, the start stops with our exception or stands."""
    for name in ("ARRCERT", "ARRCERT_FINGERPRINTS", "ARRCERT_ISSUERS", "ARRCERT_TRUST_ANCHORS"):
        with pytest.raises(ConfigurationError):
            load({}, {name: text})
