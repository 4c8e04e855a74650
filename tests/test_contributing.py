"""CONTRIBUTING.md and the pre-commit hooks name what exists."""

from __future__ import annotations

import itertools
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import arrcert

PACKAGES = Path(arrcert.__file__).parents[1]
ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", DOCUMENT, re.MULTILINE)))
)
def test_make_targets_exist(target: str) -> None:
    """Each `make` command of the document is a target of the Makefile."""
    assert target in TARGETS


@pytest.mark.parametrize("line", [line for line in BLOCKS[-1].splitlines() if line])
def test_the_map_is_true(line: str) -> None:
    """Each path in the section "Where things are" exists, or its package is installed elsewhere."""
    path = line.split()[0]
    if path == "benchmarks/" and not (ROOT / path).exists():
        pytest.skip("this tree has no benchmarks; it is not a checkout")
    root = PACKAGES if path.startswith("arrcert") else ROOT
    assert (root / path).exists()


def test_links_lead_somewhere() -> None:
    """The target of each link to a file of the project exists."""
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", DOCUMENT) if ":" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_hooks_call_make() -> None:
    """Each pre-commit hook calls a target of the Makefile and needs no other repository."""
    path = ROOT / ".pre-commit-config.yaml"
    if not path.exists():
        pytest.skip("this tree has no hooks; it is not a checkout")
    repositories = yaml.safe_load(path.read_text(encoding="utf-8"))["repos"]
    assert {repository["repo"] for repository in repositories} == {"local"}
    for hook in repositories[0]["hooks"]:
        command, target = hook["entry"].split()
        assert (command, target in TARGETS) == ("make", True)
        assert hook["language"] == "system"


def test_no_test_skips_without_a_package_that_make_test_installs() -> None:
    """A test that needs such a package fails without it, because a skip would look like success."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    required = itertools.chain(project["dependency-groups"]["test"], *extras.values())
    distributions = {re.match(r"[\w-]+", each)[0].lower() for each in required}
    installed = {
        name
        for name, providers in packages_distributions().items()
        if distributions & {provider.lower().replace("_", "-") for provider in providers}
    }
    assert {"click", "flask", "h2", "jwt", "OpenSSL"} <= installed
    skipped = {
        name.partition(".")[0]
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'importorskip\(\s*"([\w.]+)"', path.read_text(encoding="utf-8"))
    }
    assert "connexion" in skipped
    assert not skipped & installed
