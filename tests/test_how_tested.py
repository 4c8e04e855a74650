"""The page "How this is tested": its commands run, and its figures agree with their pages."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGE = (DOCS / "how-tested.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()]


def figures(what: str) -> list[int]:
    """Return the numbers in the figure of a row."""
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| [{what}](")]
    return [int(text.replace(",", "")) for text in re.findall(r"[\d,]*\d", line.split("|")[2])]


def page(name: str) -> str:
    """Return the text of another page."""
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_run(command: str) -> None:
    """Each command is a target of the Makefile that takes its variables, and make accepts it."""
    words = command.split()
    while re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        del words[0]
    assert words[0] == "make"
    assert words[1] in TARGETS
    for variable in words[2:]:
        name, _, value = variable.partition("=")
        assert f"$({name})" in MAKEFILE
        if value.startswith("tests/"):
            assert (ROOT / value).exists()
    done = subprocess.run(
        ["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_row_has_its_section_and_command() -> None:
    """Each figure has a section, with a command, a day, a commit and an existing page."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| [")]
    assert len(rows) == 7
    for row in rows:
        _, what, figure, measured, link, _ = row.split("|")
        [anchor] = re.findall(r"\(#([\w-]+)\)", what)
        [section] = [
            text
            for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)
            if text.splitlines()[0].lower().replace(" ", "-") == anchor
        ]
        assert "```sh\n" in section
        assert re.search(r"\d", figure)
        assert re.match(r" 20\d\d-\d\d-\d\d, `[0-9a-f]{7}`", measured)
        targets = re.findall(r"\]\(([^)]+)\)", link)
        assert targets or link.strip() == "this page"
        assert all((DOCS / target).exists() for target in targets)


def test_figure_of_the_differential_run() -> None:
    """The numbers of chains, variations and implementations agree with the differential page."""
    source = page("differential.md")
    chains, implementations = figures("chains through other implementations")
    assert f"{chains:,} chains of seed 1" in source
    table = source.partition("<!-- figures -->")[2].partition("###")[0]
    names = re.findall(r"^\| (\S+) [\w. ]*\d[^|]*\|", table, re.MULTILINE)
    assert len(names) == implementations
    [variations] = re.findall(r"with ([\d,]+) kinds of variations", PAGE)
    assert f"There are {variations} variations" in source


def test_figure_of_fuzzing() -> None:
    """The inputs and findings agree with the last row of the table."""
    [row] = re.findall(
        r"^\| in all \| ([\d,]+) \| \d+ \| (\d+) \|", page("fuzzing.md"), re.MULTILINE
    )
    assert figures("fuzzing") == [int(number.replace(",", "")) for number in row]


def test_figure_of_mutants() -> None:
    """The numbers of changes and modules agree with the sums of the table."""
    table = re.findall(
        r"^\| `[\w/]+` \| (\d+) \| (\d+) \| (\d+) \|", page("mutants.md"), re.MULTILINE
    )
    made, killed, left = (sum(map(int, column)) for column in zip(*table, strict=True))
    assert figures("mutants") == [killed, made, len(table), left]


def test_figure_of_the_servers() -> None:
    """The numbers of servers and forms agree with the servers page, and no form is let in."""
    source = page("servers.md")
    servers, forms = figures("servers")
    assert f"The matrix has {servers} servers." in source
    assert f"send {forms} forms over HTTP/1.1" in source
    matrix = source.partition("## The matrix")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| (\d+) \| (\d+|-) \|", matrix, re.MULTILINE)
    assert len(rows) == servers
    assert {cell for row in rows for cell in row} == {"0", "-"}


def test_figure_of_the_probe() -> None:
    """The numbers of sites and planted holes agree with the test of the probe."""
    spec = importlib.util.spec_from_file_location("probe_cases", ROOT / "tests/e2e/test_probe.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sites, front_ends, holes = figures("probe")
    assert len(module.CASES) == sites
    assert len({name.partition(",")[0] for name in module.CASES}) == front_ends
    assert sum(bool(case.entries) for case in module.CASES.values()) == holes
    assert f"{sites - holes} are configured well" in PAGE


def test_figure_of_x509_limbo() -> None:
    """The figure agrees with what the limbo test demands, and with the sum of the table."""
    test = (ROOT / "tests" / "conformance" / "test_limbo.py").read_text(encoding="utf-8")
    right, core = figures("x509-limbo")
    assert f"WANTED_CORE = {right}\n" in test
    assert f'total["core"] == {core}' in test
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", PAGE, re.MULTILINE)
    assert [row[:4] for row in rows[:1]] == [("core", str(core), str(right), "0")]
    for _, cases, *parts in rows:
        assert int(cases) == sum(map(int, parts))
    assert sum(int(row[1]) for row in rows) == 160


def test_links_lead_somewhere() -> None:
    """The target of each link exists."""
    headings = re.findall(r"^## (.+)", PAGE, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors
        else:
            assert link.startswith("https://") or (DOCS / link).exists()
