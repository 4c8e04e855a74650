"""A configuration is validated completely, and each mistake is reported with its place."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import CertificateDenied, ConfigurationError
from arrcert.exceptions import Finding
from arrcert.notation import Notation
from arrcert.policy import PARAMETERS
from arrcert.settings import NOT_CONFIGURED, Settings, load, load_environment
from arrcert.settings.validation import Place
from arrcert.testing import CertificateAuthority, IssuedCertificate

ROOT = Path(__file__).parents[3]
PIN = "A" * 40
POLICY = {"default": {"fingerprints": [PIN]}}
ON_APP_SERVICE = {"WEBSITE_SITE_NAME": "site"}
PROVEN = {"names_proven_by_front_end": True}


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


# --- the three sources ---------------------------------------------------------------------------


def test_framework_mapping_is_a_source(
    alice: IssuedCertificate, impostor: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """The framework's ARRCERT holds policies, or lists of alternatives in their order."""
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
    """The environment variable ARRCERT holds the same mapping as JSON."""
    policies = {"default": {"fingerprints": [alice.certificate.sha1_fingerprint]}}
    settings = load({}, {"ARRCERT": json.dumps(policies), "PATH": "/bin"})
    assert accepts(settings, alice)


def test_flat_variables_are_the_default_policy(
    alice: IssuedCertificate, impostor: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """One environment variable for each key describes the policy "default"."""
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


def test_flat_list_may_be_json(authority: CertificateAuthority) -> None:
    """A flat list may be JSON, so that an entry can hold a comma or a semicolon."""
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
    """A site without any configuration does not start.

    (Caddy CVE-2026-27586: what is missing means anybody.)
    """
    setting, message = only_problem()
    assert setting == "ARRCERT"
    assert "is not set" in message
    assert NOT_CONFIGURED in problems()


def test_variables_of_the_platforms_recipe_are_answered() -> None:
    """The error about a variable of the platform's recipe names the page with the answer."""
    for name in ("ALLOWED_CLIENT_CERT_THUMBPRINTS", "ALLOWED_CLIENT_CERT_COMMON_NAMES"):
        first, second = problems({}, {name: "x"})
        assert first == NOT_CONFIGURED
        assert second[0] == name
        assert "docs/coming-from.md" in second[1]
        assert name in (ROOT / "docs" / "coming-from.md").read_text()
        assert load({"ARRCERT": POLICY}, {name: "x"})


@pytest.mark.parametrize(
    "name", ["ARRCERT", "ARRCERT_FRONT_END", "ARRCERT_EXEMPT_PATHS", "ARRCERT_PROTECT_ALL"]
)
def test_none_is_no_value(name: str) -> None:
    """None, as `os.environ.get("TYPO")` returns it, is an error for every setting."""
    framework = {"ARRCERT": POLICY, name: None}
    assert only_problem(framework) == (name, "is None; write a value, or leave it out")
    if name != "ARRCERT":
        environ = {name: "true" if name.endswith("ALL") else "/x"}
        assert (name, "is None; write a value, or leave it out") in problems(framework, environ)
    only_problem({"ARRCERT": None}, {"ARRCERT_FINGERPRINTS": PIN})


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
    """Two sources of policies are an error, and neither is chosen."""
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
    """Another setting is written in the framework or in the environment, but not in both."""
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


# --- the values of the other settings -------------------------------------------------------------


def test_defaults() -> None:
    """By default App Service is the front end, and no path is exempt or protected."""
    settings = load({"ARRCERT": POLICY}, {})
    assert settings.ingress.front_end.name == "app-service"
    assert settings.protect_all is False
    assert not settings.exempt_paths.covers_wsgi({}, "/")


def test_settings_from_the_framework() -> None:
    """The framework's settings hold Python values."""
    settings = load(
        {
            "ARRCERT": POLICY,
            "ARRCERT_FRONT_END": {"header": "X-Client"},
            "ARRCERT_EXEMPT_PATHS": ("/health",),
            "ARRCERT_PROTECT_ALL": True,
        },
        {},
    )
    assert settings.ingress.front_end.header == "X-Client"
    assert settings.protect_all is True
    assert settings.exempt_paths.covers_wsgi({}, "/health")


def test_settings_from_the_environment() -> None:
    """In the environment a mapping is JSON, a list has semicolons, and a boolean is a word."""
    settings = load(
        {},
        {
            "ARRCERT_FINGERPRINTS": PIN,
            "ARRCERT_FRONT_END": ' {"header": "X-Client"}',
            "ARRCERT_EXEMPT_PATHS": "/health; /public/*",
            "ARRCERT_PROTECT_ALL": "True",
        },
    )
    assert settings.ingress.front_end.header == "X-Client"
    assert settings.protect_all is True
    assert settings.exempt_paths.covers_wsgi({}, "/public/x")
    named = load({}, {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_FRONT_END": "app-service"})
    assert named.ingress.front_end.name == "app-service"
    off = load({}, {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_PROTECT_ALL": "false"})
    assert off.protect_all is False


# --- mistakes ------------------------------------------------------------------------------------


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
            "did you mean fingerprints?",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": [PIN], "colour": "red"}}},
            'ARRCERT["default"]["colour"]',
            "no such key; write one of fingerprints",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": [PIN], 7: "x"}}},
            'ARRCERT["default"]["7"]',
            "no such key; write one of fingerprints",
        ),
        (
            {"ARRCERT": {"default": {"fingerprints": [PIN], "exempt_paths": ["/health"]}}},
            'ARRCERT["default"]["exempt_paths"]',
            "write the setting ARRCERT_EXEMPT_PATHS next to ARRCERT",
        ),
        ({"ARRCERT": {"default": {"thumbprints": [PIN]}}}, 'ARRCERT["default"]["thumbprints"]', ""),
        ({"ARRCERT": {"default": {"issuers": None}}}, 'ARRCERT["default"]["issuers"]', "is None"),
        (
            {"ARRCERT": {"fingerprints": [PIN]}},
            "ARRCERT",
            "\"fingerprints\" is a policy's key, not a policy's name; write"
            ' {"default": {"fingerprints": [...]}}',
        ),
        (
            {"ARRCERT": {"common_names": ["a"], "thumbprints": [PIN], "clock_skew": 5}},
            "ARRCERT",
            'write {"default": {"common_names": [...], "fingerprints": [...], "clock_skew": ...}}',
        ),
        (
            {"ARRCERT": {"fingerprints": [{"fingerprint": PIN}]}, "ARRCERT_PROTECT_ALL": True},
            "ARRCERT",
            "is a policy's key",
        ),
        (
            {"ARRCERT": {**POLICY, "exempt_paths": ["/health"]}},
            "ARRCERT",
            '"exempt_paths" is not a policy; write the setting ARRCERT_EXEMPT_PATHS',
        ),
        ({"ARRCERT": {**POLICY, "front_end": "x"}}, "ARRCERT", "the setting ARRCERT_FRONT_END"),
        ({"ARRCERT": {**POLICY, "protect_all": 1}}, "ARRCERT", "the setting ARRCERT_PROTECT_ALL"),
        ({"ARRCERT": json.dumps(POLICY)}, "ARRCERT", "write the mapping itself, without quotation"),
        (
            {"ARRCERT": {"Default": {"fingerprints": [PIN]}}, "ARRCERT_PROTECT_ALL": True},
            "ARRCERT",
            'there is no policy "default", which ARRCERT_PROTECT_ALL uses; the policy is "Default";'
            ' rename it, or add "default"',
        ),
        (
            {
                "ARRCERT": {"a": {"fingerprints": [PIN]}, "b": {"fingerprints": [PIN]}},
                "ARRCERT_PROTECT_ALL": True,
            },
            "ARRCERT",
            'the policies are "a" and "b"; rename one, or add "default"',
        ),
        (
            {"ARRCERT_FINGERPRINTS": [PIN]},
            "ARRCERT_FINGERPRINTS",
            "is an environment variable only; in settings write"
            ' ARRCERT = {"default": {"fingerprints": [...]}}',
        ),
        (
            {"ARRCERT": POLICY, "ARRCERT_CLOCK_SKEW": 7},
            "ARRCERT_CLOCK_SKEW",
            'ARRCERT = {"default": {"clock_skew": ...}}',
        ),
        ({"ARRCERT_POLICIES": POLICY}, "ARRCERT_POLICIES", "did you mean ARRCERT?"),
        (
            {"ARRCERT": POLICY, "ARRCERT_COLOUR": "red"},
            "ARRCERT_COLOUR",
            "names that begin with ARRCERT are reserved; choose another prefix",
        ),
        (
            {"ARRCERT": {"a": [{"fingerprints": [PIN]}, {"fingerprints": [PIN], **PROVEN}]}},
            'ARRCERT["a"][1]["names_proven_by_front_end"]',
            "without checking them",
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
            'ARRCERT["default"]["names_proven_by_front_end"]',
            "'app-service' forwards certificates without checking them",
        ),
        ({"ARRCERT": POLICY, "ARRCERT_FRONTEND": "x"}, "ARRCERT_FRONTEND", "ARRCERT_FRONT_END?"),
        ({"ARRCERT": POLICY, "ARRCERT_FINGERPRINTS": [PIN]}, "ARRCERT_FINGERPRINTS", "only"),
        ({"ARRCERT": POLICY, "ARRCERT_FRONT_END": "iis"}, "ARRCERT_FRONT_END", "'iis'"),
        ({"ARRCERT": POLICY, "ARRCERT_PROTECT_ALL": 1}, "ARRCERT_PROTECT_ALL", "1"),
        ({"ARRCERT": POLICY, "ARRCERT_EXEMPT_PATHS": "/x"}, "ARRCERT_EXEMPT_PATHS", "not a list"),
        ({"ARRCERT": POLICY, "ARRCERT_EXEMPT_PATHS": ["x"]}, "ARRCERT_EXEMPT_PATHS", "'x'"),
    ],
)
def test_mistake_in_the_framework_settings(
    framework: dict[str, Any], setting: str, message: str
) -> None:
    """Every mistake names its place and the offending value."""
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
        (
            {"ARRCERT": json.dumps({"a": {"fingerprints": [PIN], "issuers": None}})},
            'ARRCERT["a"]["issuers"]',
            "is null; write a value, or leave the key out",
        ),
        ({"ARRCERT": '{"a": {}, "a": {}}'}, "ARRCERT", "'a' is written twice"),
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
            "ARRCERT_NAMES_PROVEN_BY_FRONT_END",
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
    """A mistake in the environment names the variable."""
    found_setting, found_message = only_problem({}, environ)
    assert found_setting == setting
    assert message in found_message


def test_json_that_cannot_be_read_is_a_mistake_of_its_variable() -> None:
    """The hint about JSON has an example of the setting."""
    for name, environ, example in (
        ("ARRCERT", {}, '{"default": {"fingerprints": ["..."]}}'),
        ("ARRCERT_FRONT_END", {"ARRCERT_FINGERPRINTS": PIN}, '{"header": "X-Client-Cert"}'),
        ("ARRCERT_FINGERPRINTS", {}, '["..."]'),
    ):
        text = "[" if name == "ARRCERT_FINGERPRINTS" else "{"
        setting, message = only_problem({}, {**environ, name: text})
        assert setting == name
        assert message.startswith(f"'{text}' is not JSON: ")
        assert message.endswith(f"write {example}")
    assert only_problem({}, {"ARRCERT": "null"}) == (
        "ARRCERT",
        '\'null\' is not a value; write {"default": {"fingerprints": ["..."]}}',
    )


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        (
            {"ARRCERT": '{"default": {"names_proven_by_front_end": "yes", "trust_anchors": 7}}'},
            'ARRCERT["default"]["names_proven_by_front_end"]',
        ),
        (
            {
                "ARRCERT_FINGERPRINTS": PIN,
                "ARRCERT_FRONT_END": '{"header": "X-C", "checks_certificates": "yes"}',
            },
            'ARRCERT_FRONT_END["checks_certificates"]',
        ),
    ],
)
def test_json_is_spoken_of_as_json(environ: dict[str, str], setting: str) -> None:
    """An error about JSON writes the truth values as JSON does."""
    message = dict(problems({}, environ))[setting]
    assert message == "'yes' is not a truth value; write true or false"


def test_every_parameter_has_a_flat_variable(authority: CertificateAuthority) -> None:
    """Each key of a policy can be written as an environment variable of its own."""
    values = {
        "FINGERPRINTS": f'["{PIN}", {{"fingerprint": "{"B" * 64}", "not_after": "2099-01-31"}}]',
        "PUBLIC_KEYS": "A" * 64,
        "COMMON_NAMES": "alice; bob",
        "DNS_NAMES": "*.partner.example;gw.partner.example",
        "URIS": "spiffe://partner.example/*",
        "EMAIL_ADDRESSES": "ops@partner.example",
        "ISSUERS": "Contoso CA; CN=Fabrikam CA,O=Fabrikam",
        "TRUST_ANCHORS": authority.certificate_pem.decode(),
        "INTERMEDIATES": authority.certificate_pem.decode(),
        "CLOCK_SKEW": " 300 ",
        "NAMES_PROVEN_BY_FRONT_END": "false",
        "IDENTITY": "device:{common_name}",
        "ROLES": "orders; invoices",
    }
    environ = {f"ARRCERT_{name}": value for name, value in values.items()}
    [policy] = load({}, environ).policies["default"]
    for part in (
        "2 fingerprints",
        "1 public_keys",
        "2 common_names",
        "2 dns_names",
        "1 uris",
        "2 roles",
    ):
        assert part in repr(policy)
    assert {f"ARRCERT_{parameter.upper()}" for parameter in PARAMETERS} == {
        *environ,
        "ARRCERT_CRLS",
        "ARRCERT_REVOCATION",
    }
    crls = {"ARRCERT_CRLS": "/absent.crl", "ARRCERT_REVOCATION": " soft "}
    setting, message = only_problem({}, {**environ, **crls})
    assert setting == "ARRCERT_CRLS"
    assert "/absent.crl" in message
    stated = '[{"file": "/absent.crl", "distribution_point": "https://ca.example/1"}]'
    setting, message = only_problem({}, {**environ, "ARRCERT_CRLS": stated})
    assert setting == "ARRCERT_CRLS"
    assert "the file '/absent.crl' cannot be read" in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ARRCERT_CLOCK_SKEW", "301", "write 0 to 300"),
        ("ARRCERT_CLOCK_SKEW", "-1", "'-1' is not a whole number"),
        ("ARRCERT_CLOCK_SKEW", "5s", "'5s' is not a whole number"),
        ("ARRCERT_CLOCK_SKEW", "9" * 5000, "is not a whole number"),
        ("ARRCERT_CLOCK_SKEW", "", "is empty"),
        ("ARRCERT_CLOCK_SKEW", "@Microsoft.KeyVault(x)", "Key Vault reference"),
        ("ARRCERT_REVOCATION", "off", "write one of hard, soft"),
        ("ARRCERT_PUBLIC_KEYS", PIN, "write the 64 of a SHA-256"),
        ("ARRCERT_DNS_NAMES", "*.example", "top-level domain"),
        ("ARRCERT_DNS_NAMES", "a.example,b.example", "separate entries by ;"),
        ("ARRCERT_URIS", "spiffe://*", "is not a URI"),
        ("ARRCERT_EMAIL_ADDRESSES", "ops", "is not an e-mail address"),
        ("ARRCERT_FINGERPRINTS", f'{{"fingerprint": "{PIN}"}}', "write a JSON list: [{...}]"),
        ("ARRCERT_FINGERPRINTS", f"['{PIN}']", 'single quotation marks; write " instead'),
        ("ARRCERT_FINGERPRINTS", f'"{PIN}"', "remove them"),
        ("ARRCERT_EXEMPT_PATHS", "[]", "the list is empty; write an entry"),
        ("ARRCERT_EXEMPT_PATHS", "@Microsoft.KeyVault(x)", "Key Vault reference"),
        ("ARRCERT_FRONT_END", "{}", '"header" is missing'),
        ("ARRCERT_TRUST_ANCHOR", "ca.pem", "did you mean ARRCERT_TRUST_ANCHORS?"),
        ("ARRCERT_SAMPLE_APP", "x", "reserved; choose another prefix"),
    ],
)
def test_each_flat_variable_names_its_mistake(name: str, value: str, message: str) -> None:
    """A mistake in a flat variable names that variable and says what to write."""
    setting, found = problems({}, {"ARRCERT_FINGERPRINTS": PIN, name: value})[0]
    assert setting == name
    assert message in found


def test_a_misspelt_variable_is_one_mistake() -> None:
    """A misspelt variable is not reported as a missing configuration as well."""
    assert only_problem({}, {"ARRCERT_THUMBPRINTS": PIN})[1].endswith(
        "did you mean ARRCERT_FINGERPRINTS?"
    )
    assert NOT_CONFIGURED in problems({}, {"ARRCERT_SAMPLE_APP": "x"})


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("thumbprints", "fingerprints"),
        ("pins", "fingerprints"),
        ("spki", "public_keys"),
        ("subject", "common_names"),
        *((name, "trust_anchors") for name in ("ca", "cas", "ca_certs", "roots")),
        ("issuer", "issuers"),
    ],
)
def test_synonyms_are_known(key: str, meant: str) -> None:
    """The error about another software's name for a key names the right key."""
    assert f"did you mean {meant}?" in only_problem({"ARRCERT": {"default": {key: "x"}}})[1]


def test_warnings_name_the_place() -> None:
    """A warning names the place of the policy: a mapping, a list or a variable."""
    retired = {"fingerprint": PIN, "not_after": "2020-01-31"}
    policy = {"fingerprints": [retired]}
    mapping = {"default": policy, "partners": [{"fingerprints": ["B" * 40]}, policy]}
    assert [setting for setting, _ in load({"ARRCERT": mapping}, ON_APP_SERVICE).warnings()] == [
        'ARRCERT["default"]["fingerprints"]',
        'ARRCERT["partners"][1]["fingerprints"]',
    ]
    flat = load({}, ON_APP_SERVICE | {"ARRCERT_FINGERPRINTS": json.dumps([retired])})
    assert [setting for setting, _ in flat.warnings()] == ["ARRCERT_FINGERPRINTS"]


def test_warnings_of_the_environment_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A site without a framework logs each warning at the start, on the logger `arrcert`."""
    retired = {"fingerprint": PIN, "not_after": "2020-01-31"}
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", json.dumps([retired]))
    [warning] = load_environment().warnings()
    assert caplog.record_tuples == [("arrcert", logging.WARNING, f"configuration: {warning}")]


# --- how requests reach the app ------------------------------------------------------------------

SECRET = "a-secret-of-the-front-end"


@pytest.mark.parametrize(
    ("framework", "environ", "debug", "guarded"),
    [
        ({}, {}, False, False),
        ({}, {}, True, True),
        ({}, ON_APP_SERVICE, False, True),
        ({"ARRCERT_FRONT_END": "functions"}, {}, False, False),
        ({"ARRCERT_FRONT_END": "container-apps"}, {}, False, False),
        ({"ARRCERT_FRONT_END": "envoy"}, {}, False, False),
        ({"ARRCERT_FRONT_END": "envoy"}, {}, True, True),
        ({"ARRCERT_FRONT_END": "envoy"}, ON_APP_SERVICE, False, True),
        ({"ARRCERT_FRONT_END": "rfc9440"}, {}, False, False),
        ({"ARRCERT_FRONT_END": {"name": "api-management", "http2": True}}, {}, False, False),
        ({"ARRCERT_FRONT_END": "nginx"}, {}, False, True),
        ({"ARRCERT_TRUSTED_PROXIES": ["10.0.0.1"]}, {}, False, True),
        (
            {"ARRCERT_FRONT_END_SECRET_HEADER": {"header": "X-S", "secrets": [SECRET]}},
            {},
            False,
            True,
        ),
    ],
)
def test_unguarded_header_is_warned_of(
    framework: dict[str, Any], environ: dict[str, str], debug: bool, guarded: bool
) -> None:
    """Outside App Service the start warns if nothing is known to protect the header."""
    settings = load({"ARRCERT": POLICY, **framework}, environ, debug=debug)
    warned = [problem.setting for problem in settings.warnings()]
    assert warned == ([] if guarded else ["ARRCERT_FRONT_END"])


def peer(settings: Settings, address: str) -> bool:
    """Tell whether a request from this peer passes."""
    return not isinstance(settings.ingress.from_wsgi({"REMOTE_ADDR": address}), Finding)


def test_trusted_proxies_from_either_place() -> None:
    """Trusted proxies are a list, or a variable that is split at semicolons."""
    for settings in (
        load({"ARRCERT": POLICY, "ARRCERT_TRUSTED_PROXIES": ["10.0.0.0/8", "::1"]}, {}),
        load({}, {"ARRCERT_FINGERPRINTS": PIN, "ARRCERT_TRUSTED_PROXIES": "10.0.0.0/8; ::1"}),
    ):
        assert peer(settings, "10.1.2.3")
        assert peer(settings, "::1")
        assert not peer(settings, "192.0.2.1")
    assert only_problem({"ARRCERT": POLICY, "ARRCERT_TRUSTED_PROXIES": []})[0] == (
        "ARRCERT_TRUSTED_PROXIES"
    )


def test_secret_header_from_either_place() -> None:
    """The secret header is a mapping, or JSON in a variable, and no error shows a secret."""
    header = {"header": "X-S", "secrets": [SECRET]}
    text = json.dumps(header)
    name = "ARRCERT_FRONT_END_SECRET_HEADER"
    for settings in (
        load({"ARRCERT": POLICY, name: header}, {}),
        load({}, {"ARRCERT_FINGERPRINTS": PIN, name: text}),
    ):
        assert settings.ingress.from_wsgi({"HTTP_X_S": SECRET}) is None
        assert isinstance(settings.ingress.from_wsgi({}), Finding)
        assert SECRET not in repr(settings)
    for wrong in (SECRET, text[:-1], json.dumps([SECRET]), json.dumps({"header": SECRET})):
        found = problems({}, {"ARRCERT_FINGERPRINTS": PIN, name: wrong})
        assert {setting.partition("[")[0] for setting, _ in found} == {name}
        if wrong != json.dumps({"header": SECRET}):
            assert SECRET not in str(found)


def test_null_is_no_secret_header() -> None:
    """A secret header that is null in JSON stops the start, and does not turn the check off."""
    name = "ARRCERT_FRONT_END_SECRET_HEADER"
    setting, message = only_problem({}, {"ARRCERT_FINGERPRINTS": PIN, name: "null"})
    assert setting == name
    assert message.startswith("its value is null; write ")


@pytest.mark.parametrize(
    ("framework", "debug", "refuses"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"ARRCERT_REFUSE_UNSAFE_SERVERS": True}, True, True),
        ({"ARRCERT_REFUSE_UNSAFE_SERVERS": False}, False, False),
    ],
)
def test_unsafe_servers_are_refused_outside_debug(
    framework: dict[str, Any], debug: bool, refuses: bool
) -> None:
    """Without the setting, unsafe servers are refused except in the debug mode."""
    settings = load({"ARRCERT": POLICY, **framework}, ON_APP_SERVICE, debug=debug)
    assert settings.ingress.refuse_unsafe_servers is refuses


@pytest.mark.parametrize(
    ("framework", "environ", "most"),
    [
        ({}, {}, 1024),
        ({"ARRCERT_MOST_REMEMBERED": 0}, {}, 0),
        ({}, {"ARRCERT_MOST_REMEMBERED": "5000"}, 5000),
        ({"ARRCERT_MOST_REMEMBERED": 1_000_000}, {}, 1_000_000),
    ],
)
def test_how_many_are_remembered(
    framework: dict[str, Any], environ: dict[str, str], most: int
) -> None:
    """The framework or the environment sets the number of remembered certificates."""
    environ = {**ON_APP_SERVICE, "ARRCERT_FINGERPRINTS": PIN, **environ}
    assert load(framework, environ).most_remembered == most


@pytest.mark.parametrize("wrong", [-1, 1_000_001, True, 1.5, "5", "many", []])
def test_what_is_no_number_to_remember(wrong: object) -> None:
    """A size of the memory that is not a number from 0 to a million is an error."""
    [(setting, message)] = problems(
        {"ARRCERT": POLICY, "ARRCERT_MOST_REMEMBERED": wrong}, ON_APP_SERVICE
    )
    assert setting == "ARRCERT_MOST_REMEMBERED"
    assert "write 0 to 1000000" in message


def test_names_may_be_proven_by_a_front_end_that_checks() -> None:
    """A front end that reports its check in a header proves names without another proof."""
    policies = {"default": {"common_names": ["a"], "names_proven_by_front_end": True}}
    front_end = {"header": "X-Client", "checks_certificates": True}
    verified = {"verify_header": "X-Client-Verify", "verify_value": "SUCCESS"}
    assert load({"ARRCERT": policies, "ARRCERT_FRONT_END": {**front_end, **verified}}, {})
    [(setting, message)] = problems({"ARRCERT": policies, "ARRCERT_FRONT_END": front_end})
    assert setting == 'ARRCERT["default"]["names_proven_by_front_end"]'
    assert '"verify_header" and "verify_value"' in message


def test_all_mistakes_come_together() -> None:
    """One error shows all mistakes of the whole configuration."""
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
    """Any value of a setting gives settings or a `ConfigurationError`."""
    try:
        settings = load(framework, {})
    except ConfigurationError as error:
        assert str(error)
    else:
        assert all(settings.policies.values())


@given(st.text(max_size=60))
def test_any_text_in_the_environment_is_settings_or_a_configuration_error(text: str) -> None:
    """Any text of a variable gives settings or a `ConfigurationError`."""
    for name in ("ARRCERT", "ARRCERT_FINGERPRINTS", "ARRCERT_ISSUERS", "ARRCERT_TRUST_ANCHORS"):
        with pytest.raises(ConfigurationError):
            load({}, {name: text})


# --- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "key", "setting"),
    [
        ("", "", "ARRCERT"),
        ("", "clock_skew", "ARRCERT_CLOCK_SKEW"),
        ('ARRCERT["a"][1]', "", 'ARRCERT["a"][1]'),
        ('ARRCERT["a"]', "issuers", 'ARRCERT["a"]["issuers"]'),
    ],
)
def test_place_names_a_key_as_it_is_written(where: str, key: str, setting: str) -> None:
    """A key has the name of its variable, or its place in the mapping."""
    assert Place(where, Notation.PYTHON).setting(key) == setting


def test_described_front_end_is_guarded() -> None:
    """Outside App Service a known front end without a check needs a guard; a described one not."""
    described = {"header": "X-Client-Cert"}
    assert load({"ARRCERT": POLICY, "ARRCERT_FRONT_END": described}, {}).is_guarded
    assert not load({"ARRCERT": POLICY, "ARRCERT_FRONT_END": "envoy"}, {}).is_guarded
    assert not load({"ARRCERT": POLICY}, {}).telemetry


def test_mistakes_of_the_file_and_of_settings_are_reported_together(tmp_path: Path) -> None:
    """A mistake in the file of policies does not hide those of the settings."""
    path = tmp_path / "partners.toml"
    path.write_text("[default]\n")
    found = problems({"ARRCERT_FILE": str(path), "ARRCERT_FRONT_END": "?"})
    assert {setting for setting, _ in found} == {
        'ARRCERT_FILE["default"]',
        "ARRCERT_FRONT_END",
    }


def test_warnings_of_the_file_are_those_of_the_settings(tmp_path: Path) -> None:
    """What is probably a mistake in the file is a warning at the start."""
    path = tmp_path / "partners.toml"
    pin = f'{{fingerprint = "{PIN}", not_after = 2020-01-01}}'
    path.write_text(f"[default]\nfingerprints = [{pin}]\n")
    warnings = load({"ARRCERT_FILE": str(path)}, ON_APP_SERVICE).warnings()
    assert [problem.setting for problem in warnings] == ['ARRCERT_FILE["default"]["fingerprints"]']
