"""The threat model is correct: each root cause names tests, and these tests exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")

GROUPS = {
    "The header is believed too easily": 8,
    "It fails open": 8,
    "Identity is matched loosely": 8,
    "The client becomes a user": 6,
    "Caches remember too much": 3,
    "Parsing has side effects": 3,
    "Exemptions by name or prefix": 3,
    "The file of policies": 5,
    "Found by attacks on arrcert itself": 26,
}
"""Each group of root causes, and how many are known."""

CASE = re.compile(r"CVE-\d+-\d+|GHSA(?:-\w{4}){3}|#\d+")
TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def root_causes() -> dict[str, list[str]]:
    """Return the text of each root cause, by group."""
    groups = {}
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        groups[title] = re.split(r"^- ", body, flags=re.MULTILINE)[1:]
    return {title: causes for title, causes in groups.items() if causes}


@cache
def docstrings(path: str) -> dict[str, str]:
    """Return the docstring of each test in a file, by the test's name in pytest's form."""
    found = {}
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    scopes = [("", tree.body)]
    scopes += [
        (f"{node.name}::", node.body) for node in tree.body if isinstance(node, ast.ClassDef)
    ]
    for prefix, body in scopes:
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[prefix + node.name] = ast.get_docstring(node) or ""
    return found


def test_every_group_is_there() -> None:
    """The threat model has each group, with its number of root causes."""
    assert {group: len(causes) for group, causes in root_causes().items()} == GROUPS


@pytest.mark.parametrize(
    "cause", [cause for causes in root_causes().values() for cause in causes], ids=lambda c: c[:50]
)
def test_root_cause_has_its_tests(cause: str) -> None:
    """Each root cause names tests that exist, and one of them names the case."""
    tests = TEST.findall(cause)
    assert tests
    said = []
    for path, name in tests:
        assert (ROOT / path).is_file(), path
        assert name in docstrings(path), f"{path}::{name}"
        said.append(docstrings(path)[name])
    cases = set(CASE.findall(cause.partition("Tests:")[0]))
    assert cases <= set(CASE.findall(" ".join(said))), "no test names the case"


def test_no_test_is_written_otherwise() -> None:
    """Each name of a test file in the threat model belongs to a test that another test checks."""
    assert len(TEST.findall(TEXT)) == TEXT.count(".py::")
