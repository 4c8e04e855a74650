"""The benchmarks run, and their output agrees with the document about them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = ROOT / "benchmarks" / "run.py"
[DOCUMENT] = (ROOT / "docs").rglob("performance.md")

pytestmark = pytest.mark.skipif(
    not RUN.exists(), reason="this tree has no benchmarks; it is not a checkout"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page that a quick run wrote into another folder."""
    docs = tmp_path_factory.mktemp("docs")
    (docs / "images").mkdir()
    shutil.copy(DOCUMENT, docs / "performance.md")
    done = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--docs", str(docs)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return docs / "performance.md"


def rows_of(path: Path) -> dict[tuple[str, str], list[str]]:
    """Return the cells of each row of the table, by its title and its measure."""
    table = path.read_text(encoding="utf-8").split("<!-- make bench: begin -->")[1]
    table = table.split("<!-- make bench: end -->")[0]
    rows, title = {}, ""
    for line in table.splitlines():
        if line.startswith("| "):
            measure, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if measure.startswith("**"):
                title = measure.strip("*")
            else:
                rows[title, measure] = cells
    return rows


def test_each_row_is_in_the_document_with_its_goal(page: Path) -> None:
    """A quick run exits with 0, and the document has each of its rows with the same goal."""
    told, found = rows_of(DOCUMENT), rows_of(page)
    assert len(found) > 20
    for measure, cells in found.items():
        assert measure in told, measure
        assert told[measure][1] == cells[1], measure


def test_each_table_has_a_control(page: Path) -> None:
    """Each table of ratios has a row that compares a thing with itself and so shows the noise."""
    text = page.read_text(encoding="utf-8")
    titles = re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)
    sections = re.split(r"^\| \*\*.+?\*\* \|", text, flags=re.MULTILINE)[1:]
    assert titles
    for title, section in zip(titles, sections, strict=True):
        assert "| control: " in section, title


def test_a_figure_that_was_not_measured_says_why(page: Path) -> None:
    """A row without a figure states the reason beside it."""
    for path in (DOCUMENT, page):
        for measure, cells in rows_of(path).items():
            if cells[0] == "-":
                assert cells[-1].startswith("not measured: "), measure


def test_the_picture_has_a_bar_for_each_framework_and_both_themes(page: Path) -> None:
    """The picture is drawn from the run, has a bar for each framework, and supports both themes."""
    picture = (page.parent / "images" / "performance.svg").read_text(encoding="utf-8")
    for framework in ("Flask", "Django WSGI", "Django ASGI", "FastAPI"):
        assert f"{framework}, arrcert" in picture
        assert f"{framework}, sample" in picture
    assert "prefers-color-scheme:dark" in picture
