"""The benchmarks run, and what they print is what the document tells of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^measure +found +goal$")


@pytest.mark.parametrize("script", ["core", "frameworks", "startup"])
def test_each_row_is_in_the_document(script: str) -> None:
    """A short run ends well, and the document has each of its rows with its goal."""
    path = ROOT / "benchmarks" / f"{script}.py"
    if not path.exists():
        pytest.skip("this tree has no benchmarks; it is not a checkout")
    done = subprocess.run(
        [sys.executable, str(path), "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=ROOT,
    )
    lines = done.stdout.splitlines()
    tables = [number for number, line in enumerate(lines) if HEADING.match(line)]
    assert tables
    for start in tables:
        rows = lines[start + 1 :]
        rows = rows[: rows.index("")] if "" in rows else rows
        width = lines[start].index("found")
        for row in rows:
            measure = re.split(r"  +-?[\d.]+ (?:x|us|ms|s|MB)\b", row)[0].strip()
            goal = re.search(r"[<>]= [\d.]+", row)
            told = f"| {measure} |"
            assert told in DOCUMENT, f"{measure} (column {width})"
            if goal is not None:
                [line] = [line for line in DOCUMENT.splitlines() if line.startswith(told)][:1]
                assert goal[0].replace("<=", "≤").replace(">=", "≥") in line
