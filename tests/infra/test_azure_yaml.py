"""azd finds the files that `azure.yaml` names, and the workflow and the codespace agree with it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_sites"
PROJECT = yaml.safe_load((SAMPLES / "azure.yaml").read_text(encoding="utf-8"))


def test_services() -> None:
    """The services are the sites that the template tags, with Python on App Service."""
    assert set(PROJECT["services"]) == {"flask", "django", "fastapi"}
    for service in PROJECT["services"].values():
        assert (service["language"], service["host"]) == ("python", "appservice")


def test_infrastructure_is_where_azd_looks() -> None:
    """The template and its parameters are where azd looks by default."""
    assert "infra" not in PROJECT
    assert (SAMPLES / "infra" / "main.bicep").is_file()
    assert (SAMPLES / "infra" / "main.parameters.json").is_file()


@pytest.mark.parametrize("name", ["flask", "django", "fastapi"])
def test_paths_exist(name: str) -> None:
    """A service's folder is a site's, and its hook runs the script that fills `dist`."""
    service = PROJECT["services"][name]
    folder = SAMPLES / service["project"]
    assert (folder / "requirements.txt").is_file()
    assert service["dist"] == "dist"
    for system in ("posix", "windows"):
        # A hook of a service runs in the service's folder.
        _, script, *sites = shlex.split(service["hooks"]["prepackage"][system]["run"])
        assert (folder / script).resolve() == SAMPLES / "package.py"
        assert sites == [service["project"]]


@pytest.mark.parametrize("folder", [".", "container_app"])
def test_ends_with_a_verdict(folder: str) -> None:
    """After a deployment azd runs the script that probes the sites, and shows its output."""
    project = yaml.safe_load((SAMPLES / folder / "azure.yaml").read_text(encoding="utf-8"))
    for system in ("posix", "windows"):
        hook = project["hooks"]["postdeploy"][system]
        # A hook of the project runs in the project's folder.
        _, script, *_ = shlex.split(hook["run"])
        assert (SAMPLES / folder / script).resolve() == SAMPLES / "verify.py"
        # Otherwise azd shows the table for only a moment.
        assert hook["interactive"] is True
        assert "continueOnError" not in hook


def test_pipeline_hands_over_what_the_template_reads() -> None:
    """Every optional value of the template is a variable or a secret of the workflow."""
    pipeline = PROJECT["pipeline"]
    text = (SAMPLES / "infra" / "main.parameters.json").read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{(\w+)", text)) - {"AZURE_ENV_NAME", "AZURE_LOCATION"}
    assert {*pipeline["variables"], *pipeline["secrets"]} == read
    assert pipeline["secrets"] == ["DJANGO_SECRET_KEY"]


@pytest.fixture
def workflow() -> dict[Any, Any]:
    """The workflow that `azd pipeline config` sets up."""
    path = ROOT / ".github" / "workflows" / "azure-dev.yml"
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def test_workflow_gets_each_value(workflow: dict[Any, Any]) -> None:
    """The job has each variable and secret that the pipeline hands over, under its own name."""
    [job] = workflow["jobs"].values()
    for kind, context in (("variables", "vars"), ("secrets", "secrets")):
        for name in PROJECT["pipeline"][kind]:
            assert job["env"][name] == f"${{{{ {context}.{name} }}}}"


def test_workflow_holds_no_secret_of_azure(workflow: dict[Any, Any]) -> None:
    """The workflow signs in by OIDC: the job requests a token, and no password is stored."""
    [job] = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert workflow["permissions"] == {}
    commands = " ".join(step.get("run", "") for step in job["steps"])
    assert "--federated-credential-provider github" in commands
    assert "client-secret" not in commands
    secrets = {name for name, value in job["env"].items() if "secrets." in value}
    assert secrets == {"DJANGO_SECRET_KEY"}


def test_workflow_runs_in_the_projects_folder(workflow: dict[Any, Any]) -> None:
    """The workflow runs in the folder of azure.yaml, only by hand, with pinned actions."""
    [job] = workflow["jobs"].values()
    assert job["defaults"]["run"]["working-directory"] == "sample_sites"
    # YAML 1.1 reads the word `on` as true.
    assert set(workflow[True]) == {"workflow_dispatch"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action


def test_devcontainer() -> None:
    """A codespace has the tools of the ten steps, and the ports of `make serve`."""
    path = ROOT / ".devcontainer" / "devcontainer.json"
    container = json.loads(path.read_text(encoding="utf-8"))
    assert container["image"].rpartition(":")[2] == "3.13"
    features = " ".join(container["features"])
    assert "azure-cli" in features
    assert "azure-dev/azd" in features
    demo = (SAMPLES / "demo.py").read_text(encoding="utf-8")
    [port] = re.findall(r"^DEFAULT_PORT = (\d+)$", demo, re.MULTILINE)
    assert container["forwardPorts"] == [int(port) + number for number in range(3)]
    extras = re.findall(r"\.\[([\w,]+)\]", container["postCreateCommand"])
    assert extras == ["flask,django,fastapi,dev"]
