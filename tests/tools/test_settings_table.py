"""The generator of the tables of settings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from arrcert.policy import PARAMETERS
from arrcert.rules import KEYS
from arrcert.settings.options import OPTIONS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "settings_table.py"
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> Any:
    """The generator as a module."""
    spec = importlib.util.spec_from_file_location("settings_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_holds_the_generated_tables(script: Any) -> None:
    """The tables in docs/settings.md equal the generated ones."""
    assert script.with_tables(PAGE) == PAGE


def test_each_key_and_setting_has_a_line(script: Any) -> None:
    """Every policy key and every setting has one line with a description."""
    for key in PARAMETERS:
        assert (
            f"| `{key}` | {KEYS[key].document} | `ARRCERT_{key.upper()}` |" in script.keys_table()
        )
    for name in OPTIONS:
        assert f"| `{name}` | {OPTIONS[name].document} |" in script.settings_table()


def test_a_document_without_the_table_is_an_error(script: Any) -> None:
    """A document without the table is an error, and the table is not added."""
    with pytest.raises(SystemExit, match="found 0"):
        script.with_tables("# arrcert\n")
