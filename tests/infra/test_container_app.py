"""The files of the Container Apps sample agree with each other and with its page."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pycep
import pytest
import yaml

from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.settings import load
from arrcert.testing import CertificateAuthority

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "sample_sites"
FOLDER = SAMPLES / "container_app"
INFRA = FOLDER / "infra"
PAGE = (ROOT / "docs" / "container-apps.md").read_text(encoding="utf-8")
MAIN, RESOURCES = (
    pycep.BicepParser().parse(text=(INFRA / name).read_text(encoding="utf-8"))
    for name in ("main.bicep", "resources.bicep")
)
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SITE = RESOURCES["resources"]["site"]["config"]


def shell_lines() -> list[str]:
    """Return the lines of the page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_every_file_is_looked_at() -> None:
    """These tests read each template of the sample."""
    assert sorted(path.name for path in INFRA.glob("*.bicep")) == ["main.bicep", "resources.bicep"]


def test_resources_get_what_they_ask_for() -> None:
    """The module call gives exactly the parameters that its file declares."""
    [call] = MAIN["modules"].values()
    assert call["detail"]["path"] == "resources.bicep"
    assert set(call["config"]["params"]) == set(RESOURCES["parameters"])


@pytest.mark.parametrize(("file", "template"), [("main", MAIN), ("resources", RESOURCES)])
def test_every_parameter_and_variable_is_used(file: str, template: dict[str, Any]) -> None:
    """Every declared parameter and variable is used, so that a misspelt name is found."""
    text = (INFRA / f"{file}.bicep").read_text(encoding="utf-8")
    code = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    for name in [*template["parameters"], *template.get("variables", {})]:
        assert len(re.findall(rf"\b{name}\b(?!:)", code)) > 1, name


def test_ingress_asks_over_https_alone() -> None:
    """The ingress requests a certificate, refuses plain HTTP, and is external."""
    ingress = SITE["properties"]["configuration"]["ingress"]
    assert ingress["clientCertificateMode"] == "clientCertificateMode"
    assert ingress["allowInsecure"] is False
    assert ingress["transport"] == "http"
    mode = MAIN["parameters"]["clientCertificateMode"]
    [allowed] = [entry["argument"] for entry in mode["decorators"] if entry["type"] == "allowed"]
    # With `ignore` the site denies every client.
    assert allowed == ["require", "accept"]
    assert mode["default"] == "require"


def test_no_password_of_the_registry() -> None:
    """The app pulls its image by its identity, and the registry has no admin user."""
    registry = RESOURCES["resources"]["registry"]["config"]
    assert registry["properties"]["adminUserEnabled"] is False
    [credentials] = SITE["properties"]["configuration"]["registries"]
    assert set(credentials) == {"server", "identity"}
    assert RESOURCES["variables"]["acrPull"]["value"] == "7f951dda-4ed3-4680-a7ca-43fe172d538d"


def test_arrcert_takes_the_settings() -> None:
    """Each setting of the container and of the compose file is one that arrcert reads."""
    [container] = SITE["properties"]["template"]["containers"]
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    policies = yaml.safe_load((SAMPLES / "infra" / "arrcert.yaml").read_text(encoding="utf-8"))
    read = load({}, settings | {"ARRCERT": json.dumps(policies)})
    assert set(read.policies) == {"default", "partners"}
    assert FRONT_ENDS[settings["ARRCERT_FRONT_END"]].header == "X-Forwarded-Client-Cert"
    text = (INFRA / "main.bicep").read_text(encoding="utf-8")
    [path] = re.findall(r"loadYamlContent\('(.+)'\)", text)
    assert (INFRA / path).resolve() == (SAMPLES / "infra" / "arrcert.yaml").resolve()
    composed = COMPOSE["services"]["site"]["environment"]
    filled = re.sub(r"\$\{ALLOWED[^}]*\}", "AB" * 32, composed["ARRCERT"])
    read = load({}, composed | {"ARRCERT": filled})
    assert set(read.policies) == {"default", "partners"}


def test_one_port_everywhere() -> None:
    """Ingress, probe, Dockerfile and Envoy name the port of the container."""
    ingress = SITE["properties"]["configuration"]["ingress"]
    assert ingress["targetPort"]["operator"]["operands"]["true_value"] == 8000
    [container] = SITE["properties"]["template"]["containers"]
    [probe] = container["probes"]["operator"]["operands"]["true_value"]
    assert probe["httpGet"] == {"path": "/health", "port": 8000}
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert "EXPOSE 8000\n" in dockerfile
    assert '"--bind=0.0.0.0:8000"' in dockerfile
    envoy = (FOLDER / "envoy.yaml").read_text(encoding="utf-8")
    assert "address: site, port_value: 8000" in envoy


def test_container_runs_without_root() -> None:
    """The container runs as a user that is not root."""
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    [user] = re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    assert int(user) > 0


def test_paths_of_the_compose_file() -> None:
    """The image is built from the folder of package.py, and each file for Envoy exists."""
    build = COMPOSE["services"]["site"]["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == (SAMPLES / "flask_site" / "dist").resolve()
    assert (context / build["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    assert "ports" not in COMPOSE["services"]["site"]
    mounted = [volume.split(":")[:2] for volume in COMPOSE["services"]["envoy"]["volumes"]]
    assert ["./envoy.yaml", "/etc/envoy/envoy.yaml"] in mounted
    # `make serve` makes this folder.
    assert ["../demo_pki", "/pki"] in mounted


def test_azd_finds_the_files() -> None:
    """The service is the one that the template tags, built from the Dockerfile in the registry."""
    project = yaml.safe_load((FOLDER / "azure.yaml").read_text(encoding="utf-8"))
    [(name, service)] = project["services"].items()
    folder = (FOLDER / service["project"]).resolve()
    assert (name, service["host"]) == ("site", "containerapp")
    assert (folder / service["docker"]["path"]).resolve() == FOLDER / "Dockerfile"
    for system in ("posix", "windows"):
        _, script, site = shlex.split(service["hooks"]["prepackage"][system]["run"])
        assert (folder / script).resolve() == SAMPLES / "package.py"
        assert SAMPLES / site == folder
    tag = SITE["tags"]["function"]["parameters"]["arg_2"]
    assert tag == {"'azd-service-name'": name}


def test_parameters_file() -> None:
    """Each parameter without a default gets a value from azd; the page names optional ones."""
    text = (INFRA / "main.parameters.json").read_text(encoding="utf-8")
    given = json.loads(text)["parameters"]
    declared = MAIN["parameters"]
    needed = {name for name, parameter in declared.items() if parameter["default"] is None}
    assert needed <= set(given) == set(declared)
    read = set(re.findall(r"\$\{(\w+)", text))
    told = set(re.findall(r"azd env set (\w+)", PAGE))
    assert told | {"AZURE_ENV_NAME", "AZURE_LOCATION", "SERVICE_SITE_IMAGE_NAME"} == read


def test_page_names_what_is_known_to_go_wrong() -> None:
    """The page links both reports of users, and states what is uncertain."""
    for number in (880, 279):
        assert f"https://github.com/microsoft/azure-container-apps/issues/{number})" in PAGE
    assert PAGE.count("*uncertain*") > 5


def test_fingerprint_of_the_page(tmp_path: Path) -> None:
    """The page's command prints a fingerprint that a policy accepts."""
    [line] = [line for line in shell_lines() if line.startswith("export ALLOWED=")]
    folder = tmp_path / "container_app"
    folder.mkdir()
    (tmp_path / "demo_pki").mkdir()
    issued = CertificateAuthority("CA").issue("alice")
    (tmp_path / "demo_pki" / "allowed.pem").write_bytes(issued.certificate_pem)
    done = subprocess.run(
        ["bash", "-ec", f'{line}; printf %s "$ALLOWED"'],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    settings = load({}, {"ARRCERT": json.dumps({"default": {"fingerprints": [done.stdout]}})})
    [policy] = settings.policies["default"]
    policy.check(issued.certificate)


def test_files_of_the_page_exist() -> None:
    """Each folder that the page enters, and each file of the demonstration's PKI, exists."""
    folders = [ROOT / line.removeprefix("cd ") for line in shell_lines() if line[:3] == "cd "]
    assert folders
    assert all(folder.is_dir() or folder.name == "demo_pki" for folder in folders)
    demo = (SAMPLES / "demo.py").read_text(encoding="utf-8")
    for name in ("allowed", "stranger", "server"):
        assert f'"{name}": ' in demo
