"""The workflows, the release recipe, the SBOM and the security policy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
RELEASING = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
OURS = ("ci.yml", "release.yml")


def text_of(name: str) -> str:
    """Return the text of a workflow."""
    if not WORKFLOWS.exists():
        pytest.skip("this tree has no workflows; it is not a checkout")
    return (WORKFLOWS / name).read_text(encoding="utf-8")


def jobs_of(name: str) -> dict[str, Any]:
    """Return the jobs of a workflow."""
    jobs: dict[str, Any] = yaml.safe_load(text_of(name))["jobs"]
    return jobs


def steps_of(name: str) -> list[dict[str, Any]]:
    """Return the steps of all jobs of a workflow."""
    return [step for job in jobs_of(name).values() for step in job.get("steps", [])]


# ----------------------------------------------------------------------------------------- actions


@pytest.mark.parametrize("name", OURS)
def test_actions_are_pinned(name: str) -> None:
    """Each action is pinned to a commit, with its version beside it."""
    used = re.findall(r"uses: (.+)", text_of(name))
    assert used
    for action in used:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_one_version_of_each_action() -> None:
    """All workflows use one commit of an action."""
    pins: dict[str, set[str]] = {}
    for name in OURS:
        for action, pin in re.findall(r"uses: ([\w.-]+/[\w.-]+)@(\S+)", text_of(name)):
            pins.setdefault(action, set()).add(pin)
    assert {action: len(pin) for action, pin in pins.items()} == dict.fromkeys(pins, 1)


@pytest.mark.parametrize("name", OURS)
def test_permissions_are_least(name: str) -> None:
    """A workflow has no permissions, and a job has only those that it needs."""
    assert yaml.safe_load(text_of(name))["permissions"] == {}
    for job, described in jobs_of(name).items():
        writes = {what for what, how in described["permissions"].items() if how == "write"}
        signs = {"id-token", "attestations", "artifact-metadata"} if job == "publish" else set()
        assert writes == signs
        assert job == "publish" or described["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", OURS)
def test_checkouts_keep_no_token(name: str) -> None:
    """A build cannot read the token of the checkout."""
    checkouts = [s for s in steps_of(name) if s.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("name", OURS)
def test_no_text_of_a_request_reaches_a_shell(name: str) -> None:
    """No step puts text of an event, such as a pull request's title, into its script."""
    scripts = [step["run"] for step in steps_of(name) if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]
    assert "pull_request_target" not in text_of(name)
    assert "secrets" not in text_of(name)


@pytest.mark.parametrize("name", OURS)
def test_steps_call_what_exists(name: str) -> None:
    """Each `make` command of a step is a target, and CI runs `.ci/run` and the audit."""
    scripts = [step["run"].strip() for step in steps_of(name) if "run" in step]
    called = {
        target
        for script in scripts
        for line in script.splitlines()
        if line.startswith("make ")
        for target in line.split()[1:]
    }
    assert called <= TARGETS
    if name == "ci.yml":
        assert ".ci/run" in scripts
        assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
        assert called == {"audit"}
    else:
        assert called == {"dist", "sbom"}


def test_release_waits_for_ci_and_a_person() -> None:
    """A release is tested by the same workflow, and waits for a person's approval."""
    jobs = jobs_of("release.yml")
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert set(jobs["publish"]["needs"]) == {"ci", "build"}
    assert jobs["publish"]["environment"] == "pypi"
    # `on` is True in YAML 1.1.
    assert yaml.safe_load(text_of("release.yml"))[True] == {"push": {"tags": ["v*"]}}
    assert "workflow_call" in yaml.safe_load(text_of("ci.yml"))[True]


@pytest.mark.parametrize(
    ("version", "url", "status"),
    [
        ("1.2.3", "https://github.com/contoso/arrcert", 0),
        ("1.2.4", "https://github.com/contoso/arrcert", 1),
        ("1.2.3", "https://arrcert.example", 1),
        ("1x2x3", "https://github.com/contoso/arrcert", 1),
    ],
)
def test_release_refuses_another_version(
    version: str, url: str, status: int, tmp_path: Path
) -> None:
    """The tag must be the version of the project, and the project's addresses must be real."""
    script = next(step["run"] for step in steps_of("release.yml") if "arrcert.example" in str(step))
    (tmp_path / "pyproject.toml").write_text(f'version = "{version}"\nSource = "{url}"\n')
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-e", "-c", script],
        cwd=tmp_path,
        env={"GITHUB_REF_NAME": "v1.2.3", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == status


def test_dependabot_moves_the_pins_on() -> None:
    """Dependabot updates the pinned actions."""
    text_of("ci.yml")
    described = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))
    assert "github-actions" in {update["package-ecosystem"] for update in described["updates"]}


# --------------------------------------------------------------------------------------- documents


def test_addresses_of_the_project() -> None:
    """The package names where its documentation, source, changes, issues and policy are."""
    assert set(PROJECT["urls"]) == {"Documentation", "Source", "Changelog", "Issues", "Security"}
    bases = {re.match(r"https://[^/]+", url)[0] for url in PROJECT["urls"].values()}
    assert len(bases) == 1


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/releasing.md"])
def test_links_lead_somewhere(document: str) -> None:
    """The target of each link to a file of the project exists."""
    path = ROOT / document
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert link.startswith("https://") or (path.parent / link).exists(), link


def test_security_policy_is_whole() -> None:
    """The security policy has all of its sections, and names only tests that exist."""
    headings = re.findall(r"^## (.+)", SECURITY, re.MULTILINE)
    assert headings == [
        "Supported versions",
        "What is a vulnerability",
        "What is not a vulnerability",
        "How to report",
        "What happens then",
        "How releases are made",
    ]
    named = re.findall(r"`(tests/[\w/.]+)`", SECURITY)
    assert len(named) == 2
    assert all((ROOT / path).exists() for path in named)


def test_recipe_names_what_exists() -> None:
    """Each `make` command, workflow and pin of the recipe exists."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", RELEASING, re.MULTILINE | re.DOTALL)
    commands = [line.split() for line in "".join(blocks).splitlines()]
    called = {word for command in commands if command[0] == "make" for word in command[1:]}
    assert called == {"dist", "sbom", "audit"}
    assert called <= TARGETS
    for name in set(re.findall(r"`(\w+\.yml)`", RELEASING)):
        text_of(name)
    version = re.search(r"`pypa/gh-action-pypi-publish` v([\d.]+)", RELEASING)
    assert version is not None
    assert f"# v{version[1]}" in text_of("release.yml")
    container = jobs_of("ci.yml")["run"]["container"]
    assert f"`{container}`" in RELEASING


# -------------------------------------------------------------------------------------------- SBOM


@pytest.mark.matrix
def test_sbom_lists_what_is_installed(tmp_path: Path) -> None:
    """The SBOM names arrcert, its dependencies with versions, no tool and no path."""
    if not (ROOT / "arrcert").is_dir():
        pytest.skip("the source of arrcert is not here, so it cannot be installed")
    sbom = tmp_path / "sbom.json"
    folders = [f"RELEASE={tmp_path / 'release'}", f"PRODUCT={tmp_path / 'product'}"]
    make = ["make", "sbom", f"PYTHON={sys.executable}", f"SBOM={sbom}", *folders]
    subprocess.run(make, cwd=ROOT, check=True, timeout=600)
    text = sbom.read_text(encoding="utf-8")
    described = json.loads(text)
    assert described["bomFormat"] == "CycloneDX"
    root = described["metadata"]["component"]
    assert (root["name"], root["version"]) == ("arrcert", PROJECT["version"])
    versions = {part["name"].lower(): part["version"] for part in described["components"]}
    for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in requirements:
            assert re.match(r"[\w-]+", requirement)[0].lower() in versions
    assert not {"pip", "setuptools", "cyclonedx-bom", "pytest"} & set(versions)
    assert all(re.match(r"\d+\.", version) for version in versions.values())
    assert str(ROOT) not in text
    assert str(tmp_path) not in text
