"""`tools/differential/reporting.py`: the figures, and the page that contains them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.differential import minting  # noqa: F401 - it registers the variations.
from tools.differential.classes import CLASSES, DECIDED, GO, OPENSSL, STRICTER
from tools.differential.registry import VARIATIONS
from tools.differential.reporting import BEGIN, END, figures, written_into
from tools.differential.state import State

PAGE = (Path(__file__).parents[3] / "docs" / "differential.md").read_text(encoding="utf-8")


def test_a_count_stands_in_its_row_and_column() -> None:
    """Each class has a row with a number for each implementation that it concerns."""
    state = State(1, 500)
    state.counts["difference", "the key usage of a leaf", OPENSSL] = 1234
    state.counts["compared", GO, "denies", "accepts"] = 77
    text = figures(state)
    assert "| the key usage of a leaf | 1,234 |  |  |  | Decided:" in text
    assert "| Go | 77 | 0 | 0 | 0 | 77 |" in text


def test_figures_are_written_between_the_markers() -> None:
    """Figures replace the text between the markers, and a document without markers is an error."""
    document = f"before\n{BEGIN}\n(stale)\n{END}\nafter\n"
    once = written_into(document, State(1, 500))
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "(stale)" not in once
    assert written_into(once, State(1, 500)) == once
    with pytest.raises(ValueError, match="has no"):
        written_into("text", State(1, 500))


def test_the_page_explains_every_class() -> None:
    """The page has one row for each class, with its reason, and no other row."""
    rows = re.findall(r"^\| (.+?) \|(?: [\d,]* \|){4} (\D.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(each.name, each.why) for each in CLASSES]
    for each in CLASSES:
        assert (each.kind == DECIDED) == each.why.startswith(("Decided: ", "Documented: "))
    assert CLASSES[0].kind == STRICTER


def test_the_page_counts_the_variations() -> None:
    """The page states the number of variations, and names each area."""
    assert f"There are {len(VARIATIONS):,} variations of" in PAGE
    for area in {variation.area for variation in VARIATIONS.values()}:
        assert f"- **{area}**: " in PAGE


def test_the_commands_of_the_page_exist() -> None:
    """Each option on the page is an option of the program."""
    program = (Path(__file__).parents[3] / "tools" / "differential" / "run.py").read_text("utf-8")
    options = re.findall(r"differential\.run (--[a-z-]+)", PAGE)
    assert len(options) == 3
    for option in options:
        assert f'"{option}"' in program
