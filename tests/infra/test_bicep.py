"""The template keeps the promises of the documents, and its settings are valid for arrcert.

No compiler of Bicep is available here. `pycep` parses the template, and these tests look for some
of the errors that a compiler finds.
"""

from __future__ import annotations

import json
import logging
import re
import runpy
from pathlib import Path
from typing import Any

import lark
import pycep
import pytest
import yaml

from arrcert import ConfigurationError, DenialReason
from arrcert.denials import MOST_IN_FULL, DenialLog
from arrcert.exceptions import Denial
from arrcert.gunicorn import pre_request
from arrcert.settings import load
from arrcert.testing import self_signed

SAMPLES = Path(__file__).parent.parent.parent / "sample_sites"
INFRA = SAMPLES / "infra"
FILES = ("main.bicep", "resources.bicep", "site.bicep", "vault.bicep")
POLICIES = yaml.safe_load((INFRA / "arrcert.yaml").read_text(encoding="utf-8"))
SITES = ("flask", "django", "fastapi")
# A line of the log, in the format of the sites.
LINE = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


def text_of(file: str) -> str:
    """Return a file of the template."""
    return (INFRA / file).read_text(encoding="utf-8")


TEMPLATE: dict[str, dict[str, Any]] = {
    file: pycep.BicepParser().parse(text=text_of(file)) for file in FILES
}
MAIN, RESOURCES, SITE, VAULT = (TEMPLATE[file] for file in FILES)


def value_of(expression: Any, *, use_key_vault: bool) -> str:
    """Return the value of a setting of a site, with example parameters."""
    if isinstance(expression, dict):
        operator = expression["operator"]
        assert operator["type"] == "conditional"
        assert operator["operands"]["condition"] == "useKeyVault"
        side = "true_value" if use_key_vault else "false_value"
        return value_of(operator["operands"][side], use_key_vault=use_key_vault)
    if expression == "arrcert":
        return json.dumps(POLICIES)
    if expression == "djangoSecretKey":
        return "x" * 50
    if expression in RESOURCES["variables"]:
        return str(RESOURCES["variables"][expression]["value"]).replace(
            "${vaultName}", "kv-example"
        )
    default = MAIN["parameters"][expression]["default"]
    assert isinstance(default, str)
    return default


def settings_of(site: str, *, use_key_vault: bool = False) -> dict[str, str]:
    """Return the app settings of a site, with example parameters."""
    settings = RESOURCES["modules"][site]["config"]["params"]["settings"]
    return {
        name: value_of(expression, use_key_vault=use_key_vault)
        for name, expression in settings.items()
    }


def module_calls() -> dict[str, dict[str, Any]]:
    """Return each use of a file as a module, by the name of the module."""
    return {
        name: module
        for template in TEMPLATE.values()
        for name, module in template.get("modules", {}).items()
    }


def decorators(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's decorators with their arguments."""
    return {entry["type"]: entry.get("argument") for entry in parameter["decorators"]}


def test_every_file_is_parsed() -> None:
    """These tests read each file of the template."""
    assert sorted(path.name for path in INFRA.glob("*.bicep")) == sorted(FILES)


def test_a_broken_template_is_found() -> None:
    """The parser refuses text that is not Bicep."""
    broken = text_of("site.bicep").replace("properties: {", "properties: ", 1)
    with pytest.raises(lark.exceptions.LarkError):
        pycep.BicepParser().parse(text=broken)


def test_each_call_gives_what_the_file_asks_for() -> None:
    """Each module call gives exactly the parameters that its file declares."""
    calls = module_calls()
    assert sorted(calls) == ["django", "fastapi", "flask", "resources", "vault"]
    for name, call in calls.items():
        declared = TEMPLATE[call["detail"]["path"]]["parameters"]
        config = call["config"].get("config", call["config"])
        assert set(config["params"]) == set(declared), name


@pytest.mark.parametrize("file", FILES)
def test_every_parameter_and_variable_is_used(file: str) -> None:
    """Every declared parameter and variable is used, so that a misspelt name is found."""
    for name in [*TEMPLATE[file]["parameters"], *TEMPLATE[file].get("variables", {})]:
        code = re.sub(r"^\s*//.*$", "", text_of(file), flags=re.MULTILINE)
        assert len(re.findall(rf"\b{name}\b(?!:)", code)) > 1, name


def test_subscription_scope_with_a_group_that_azd_finds() -> None:
    """The template makes its own resource group, tagged and named as azd expects."""
    assert MAIN["globals"]["scope"]["value"] == "subscription"
    group = MAIN["resources"]["group"]["config"]
    assert group["name"] == "rg-${environmentName}"
    assert MAIN["variables"]["tags"]["value"] == {"'azd-env-name'": "environmentName"}
    assert MAIN["modules"]["resources"]["config"]["scope"] == "group"


def test_api_versions() -> None:
    """Every resource of App Service has an API version that is known to be safe."""
    versions = {
        resource["api_version"]
        for template in TEMPLATE.values()
        for resource in template["resources"].values()
        if resource["type"].startswith("Microsoft.Web/")
    }
    assert versions == {"2025-03-01"}


def test_plan() -> None:
    """The plan is Linux, and excludes sizes below Basic, which have no client certificates."""
    plan = RESOURCES["resources"]["plan"]["config"]
    assert plan["properties"]["reserved"] is True
    sku = MAIN["parameters"]["planSku"]
    assert plan["sku"]["name"] == "planSku"
    assert sku["default"] == "B1"
    assert all(size[0] in "BPS" for size in decorators(sku)["allowed"])


def test_site() -> None:
    """The site requests certificates, needs TLS 1.2, has no FTP, and is probed at /health."""
    [site] = [r for r in SITE["resources"].values() if r["type"] == "Microsoft.Web/sites"]
    properties = site["config"]["properties"]
    assert properties["clientCertEnabled"] is True
    assert properties["clientCertMode"] == "clientCertMode"
    assert properties["clientCertExclusionPaths"] == "clientCertExclusionPaths"
    assert properties["httpsOnly"] is True
    assert properties["keyVaultReferenceIdentity"] == "identityId"
    assert properties["autoGeneratedDomainNameLabelScope"] == "TenantReuse"
    config = properties["siteConfig"]
    expected = {
        "linuxFxVersion": "PYTHON|3.13",
        "appCommandLine": "",
        "minTlsVersion": "1.2",
        "scmMinTlsVersion": "1.2",
        "ftpsState": "Disabled",
        "healthCheckPath": "/health",
        "alwaysOn": True,
        "remoteDebuggingEnabled": False,
    }
    assert {name: config[name] for name in expected} == expected
    loop = config["appSettings"]["loop_type"]["detail"]["array_name"]["function"]
    assert loop == {"type": "items", "parameters": {"arg_1": "allSettings"}}


def test_no_password_deploys() -> None:
    """Deployment by user name and password is disabled, for code and for FTP."""
    policies = {
        resource["config"]["name"]: resource["config"]["properties"]["allow"]
        for resource in SITE["resources"].values()
        if resource["type"].endswith("/basicPublishingCredentialsPolicies")
    }
    assert policies == {"scm": False, "ftp": False}


def test_all_sites_are_made_by_the_one_file() -> None:
    """Each site is made by the same file, with the name that azd looks for."""
    made = {
        name: module
        for name, module in RESOURCES["modules"].items()
        if module["detail"]["path"] == "site.bicep"
    }
    assert sorted(made) == sorted(SITES)
    for name, module in made.items():
        params = module["config"]["params"]
        assert params["service"] == name
        assert params["clientCertMode"] == "clientCertMode"
        assert params["clientCertExclusionPaths"] == "clientCertExclusionPaths"


def test_certificate_mode() -> None:
    """The mode is one of the platform's three, and Required by default."""
    mode = MAIN["parameters"]["clientCertMode"]
    assert mode["default"] == "Required"
    assert decorators(mode)["allowed"] == ["Required", "Optional", "OptionalInteractiveUser"]


def test_exclusion_paths_are_empty_and_the_reason_stands_there() -> None:
    """No path is excluded by default, and the comment states the risk of an exclusion."""
    assert MAIN["parameters"]["clientCertExclusionPaths"]["default"] == ""
    before, _, _ = text_of("main.bicep").partition("param clientCertExclusionPaths")
    comment = before.rpartition("\n\n")[2]
    for word in ("renegotiation", "TLS 1.3", "HTTP/2", "100 KB"):
        assert word in comment


def test_secrets_are_secure() -> None:
    """Each parameter with the secret key is secure, so that the platform never shows or logs it."""
    for template, name in (
        (MAIN, "djangoSecretKey"),
        (RESOURCES, "djangoSecretKey"),
        (VAULT, "djangoSecretKey"),
        (SITE, "settings"),
    ):
        assert "secure" in decorators(template["parameters"][name])
        assert template["parameters"][name]["default"] is None
    assert decorators(MAIN["parameters"]["djangoSecretKey"])["min_length"] == 50


@pytest.mark.parametrize("site", SITES)
def test_arrcert_takes_the_settings(site: str) -> None:
    """Every ARRCERT setting of the template is one that arrcert knows and can read."""
    settings = load({}, settings_of(site) | {"WEBSITE_SITE_NAME": site})
    assert {"default", "partners"} == set(settings.policies)
    assert settings.exempt_paths.covers_wsgi({"PATH_INFO": "/health"}, "/health")
    assert not settings.exempt_paths.covers_wsgi({"PATH_INFO": "/hellocert"}, "/hellocert")
    assert settings.warnings() == []


@pytest.mark.parametrize("site", SITES)
def test_an_unresolved_key_vault_reference_stops_the_site(site: str) -> None:
    """A Key Vault reference that the platform could not read stops the site."""
    settings = settings_of(site, use_key_vault=True)
    with pytest.raises(ConfigurationError, match=r"ARRCERT.*KeyVault"):
        load({}, settings)


def test_key_vault_holds_what_the_sites_refer_to() -> None:
    """Each reference names a secret of the vault, and the identity of the sites may read it."""
    referred = {
        found[1]
        for site in SITES
        for value in settings_of(site, use_key_vault=True).values()
        if (
            found := re.fullmatch(
                r"@Microsoft\.KeyVault\(VaultName=kv-\w+;SecretName=(.+)\)", value
            )
        )
    }
    held = {
        resource["config"]["name"]
        for resource in VAULT["resources"].values()
        if resource["type"] == "Microsoft.KeyVault/vaults/secrets"
    }
    assert referred == held == {"arrcert", "django-secret-key"}
    assert RESOURCES["modules"]["vault"]["config"]["condition"] == "useKeyVault"
    role = VAULT["resources"]["mayReadSecrets"]["config"]["properties"]
    assert role["principalId"] == "readerPrincipalId"
    for site in SITES:
        assert RESOURCES["modules"][site]["config"]["dependsOn"] == ["vault"]


@pytest.mark.parametrize("mode", ["Required", "Optional", "OptionalInteractiveUser"])
@pytest.mark.parametrize("exclusions", ["", "/health"])
def test_http2_follows_from_renegotiation(mode: str, exclusions: str) -> None:
    """HTTP/2 is enabled exactly if nothing makes the front end renegotiate."""
    [site] = [r for r in SITE["resources"].values() if r["type"] == "Microsoft.Web/sites"]
    enabled = site["config"]["properties"]["siteConfig"]["http20Enabled"]
    names = {"clientCertMode": mode, "clientCertExclusionPaths": exclusions}
    names["renegotiates"] = truth_of(SITE["variables"]["renegotiates"]["value"], names)
    expected = mode != "OptionalInteractiveUser" and exclusions == ""
    assert truth_of(enabled, names) is expected


def truth_of(expression: Any, names: dict[str, Any]) -> Any:
    """Return the value of an expression of names, literals, `==`, `||`, `!` and `empty`."""
    if isinstance(expression, str):
        return names.get(expression, expression)
    if function := expression.get("function"):
        assert function["type"] == "empty"
        return truth_of(function["parameters"]["item_to_test"], names) == ""
    operator = expression["operator"]
    values = [truth_of(operand, names) for operand in operator["operands"].values()]
    match operator["type"]:
        case "not":
            return not values[0]
        case "or":
            return values[0] or values[1]
        case "equals":
            return values[0] == values[1]
    raise AssertionError(operator["type"])


@pytest.mark.parametrize(
    ("site", "worker"), [("flask", None), ("django", None), ("fastapi", "asgi")]
)
def test_gunicorn_settings(site: str, worker: str | None) -> None:
    """gunicorn.conf.py sets the limit, the hook and the worker, without a start command."""
    settings = runpy.run_path(str(SAMPLES / f"{site}_site" / "gunicorn.conf.py"))
    assert settings["limit_request_field_size"] > 16_384 + len("X-ARR-ClientCert: ")
    assert settings["pre_request"] is pre_request
    assert settings.get("worker_class") == worker
    # The platform sets the number of workers if the file does not.
    assert "workers" not in settings


def test_parameters_file() -> None:
    """Each parameter without a default gets a value from azd, and no unknown one is given."""
    given = json.loads(text_of("main.parameters.json"))["parameters"]
    declared = MAIN["parameters"]
    needed = {name for name, parameter in declared.items() if parameter["default"] is None}
    assert needed <= set(given) <= set(declared)
    for name, parameter in given.items():
        default = re.fullmatch(r"\$\{[A-Z_]+(?:=(\w+))?\}", parameter["value"])
        assert default, name
        if default[1]:
            assert str(declared[name]["default"]).lower() == default[1].lower()


def test_logs_arrive() -> None:
    """What a site writes to stderr is sent to the workspace that has the query."""
    diagnostics = SITE["resources"]["diagnostics"]["config"]
    assert diagnostics["scope"] == "site"
    categories = {log["category"]: log["enabled"] for log in diagnostics["properties"]["logs"]}
    assert categories == {"AppServiceConsoleLogs": True, "AppServiceHTTPLogs": True}
    query = RESOURCES["resources"]["denials"]["config"]
    assert query["parent"] == "logs"
    assert query["properties"]["query"]["function"]["parameters"]["file_path"] == "denials.kql"


@pytest.mark.parametrize("reason", list(DenialReason))
@pytest.mark.parametrize("request_line", ["GET /hellocert", "POST /a b: c", "", "GET /'"])
def test_query_finds_the_reason(
    reason: DenialReason, request_line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The query's expression finds the reason in a log line of arrcert."""
    query = text_of("denials.kql")
    expression, _ = re.findall(r'extract\(@"(.+?)", 1, ResultDescription\)', query)
    needles = re.findall(r'ResultDescription contains "(.+?)"', query)
    with caplog.at_level(logging.DEBUG, logger="arrcert"):
        method, _, path = request_line.partition(" ")
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path} if request_line else None
        DenialLog().write(Denial(reason, "a detail: more"), "default", environ=environ)
    line = LINE.format(caplog.records[-1])
    assert needles
    assert all(needle in line for needle in needles)
    found = re.search(expression, line)
    assert found
    assert found[1] == reason.value


def test_query_counts_a_flood(caplog: pytest.LogCaptureFixture) -> None:
    """A record that counts many denials adds their number to its reason."""
    log = DenialLog()
    for _ in range(MOST_IN_FULL + 7):
        log.write(Denial(DenialReason.EXPIRED, "late"), "default")
    log.tell()
    line = LINE.format(caplog.records[-1])
    reason, more = re.findall(r'extract\(@"(.+?)", 1, ResultDescription\)', text_of("denials.kql"))
    assert re.search(reason, line)[1] == "expired"
    assert re.search(more, line)[1] == "7"
    one = LINE.format(caplog.records[0])
    assert re.search(more, one) is None


def test_client_cannot_forge_what_the_query_counts(caplog: pytest.LogCaptureFixture) -> None:
    """A path or a certificate that contains the words of a record changes no number."""
    forged = "x arrcert: denied 999 more requests within a second"
    reason, more = re.findall(r'extract\(@"(.+?)", 1, ResultDescription\)', text_of("denials.kql"))
    denial = Denial(DenialReason.EXPIRED, "late", self_signed(forged).certificate)
    path = f"/{forged} under policy 'default': revoked"
    DenialLog().write(denial, "default", environ={"REQUEST_METHOD": "GET", "PATH_INFO": path})
    line = LINE.format(caplog.records[0])
    assert "denied 999 more" in line
    assert re.search(reason, line)[1] == "expired"
    assert re.search(more, line) is None
