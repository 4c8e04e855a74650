"""azd finds what `azure.yaml` names."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

SAMPLES = Path(__file__).parent.parent.parent / "sample_sites"
PROJECT = yaml.safe_load((SAMPLES / "azure.yaml").read_text(encoding="utf-8"))


def test_services() -> None:
    """The services are the sites that the template tags, Python on App Service."""
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
