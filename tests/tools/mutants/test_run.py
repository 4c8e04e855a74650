"""`tools/mutants/run.py`: which tests run for a module, and the result of a run."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutants import run
from tools.mutants.changes import mutants_of

TOOLS = Path(run.__file__).parents[1]
MODULES = ["authorizer", "pins", "trust/crls", "trust/pem"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], MODULES),
        (["trust/pem"], ["trust/pem"]),
        (["trust.pem"], ["trust/pem"]),
        (["arrcert/trust/pem.py"], ["trust/pem"]),
        (["trust"], ["trust/crls", "trust/pem"]),
        (["trust/pem", "pins"], ["pins", "trust/pem"]),
    ],
)
def test_selected_modules(wanted: list[str], expected: list[str]) -> None:
    """A module has several spellings, a folder selects all its modules, and no name selects all."""
    assert run.selected(MODULES, wanted) == expected


@pytest.mark.parametrize("wanted", ["pin", "trust/files", "outbound"])
def test_an_unknown_module_is_an_error(wanted: str) -> None:
    """A name that selects no module is an error."""
    with pytest.raises(ValueError, match="is no module that decides"):
        run.selected(MODULES, [wanted])


def test_own_tests_follow_the_folders() -> None:
    """The test file of a module has the same folder below `tests/core`."""
    assert run.own_test_file("pins") == "tests/core/test_pins.py"
    assert run.own_test_file("trust/pem") == "tests/core/trust/test_pem.py"
    for name in ("pins", "trust/pem"):
        assert run.module_of(run.own_test_file(name)) == f"arrcert/{name}.py"


def test_a_mutant_meets_the_tests_of_its_lines() -> None:
    """A mutant gets the tests of its line, the module's own ones first, and never slow ones."""
    own, other = "tests/core/test_m.py::test_own", "tests/core/test_n.py::test_other"
    slow = "tests/core/test_n.py::test_slow"
    seconds = {own: 0.02, other: 0.01, slow: 60.0, "tests/core/test_m.py::test_else": 0.01}
    lines = {"m": {1: frozenset({""}), 2: frozenset({other, own, slow})}}
    baseline = run.Baseline(seconds, lines)
    mutants = mutants_of(ast.parse("def f(x=1):\n    return x < y"), "m")
    in_body = [mutant for mutant in mutants if not mutant.runs_at_import]
    assert baseline.tests_for(in_body[0]) == [own, other]
    assert baseline.stages_for(in_body[0]) == [[own], [other]]
    at_import = [mutant for mutant in mutants if mutant.runs_at_import]
    assert set(baseline.tests_for(at_import[0])) == {
        own,
        other,
        "tests/core/test_m.py::test_else",
    }


class House:
    """A project with one module, its tests, and the table of its survivors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(TOOLS, folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("arrcert/gates", "tests/core/gates", "docs"):
            (folder / name).mkdir(parents=True)
        (folder / "arrcert/__init__.py").touch()
        (folder / "arrcert/gates/__init__.py").touch()
        self.write("arrcert/gates/age.py", "def may_enter(age):\n    return age >= 18\n")
        self.write("pyproject.toml", "[tool.pytest.ini_options]\npythonpath = ['.']\n")
        for name in ("README.md", "Makefile", "docs/mutants.md"):
            self.write(name, "")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        (self.folder / name).write_text(text)

    def tested_with(self, *ages: int) -> None:
        """Write a test that calls the module with these ages."""
        tests = "".join(f"    assert may_enter({age}) is {age >= 18}\n" for age in ages)
        head = "from arrcert.gates.age import may_enter\n\n\ndef test_age():\n"
        self.write("tests/core/gates/test_age.py", head + tests)

    def runs(self) -> tuple[int, str]:
        """Run the mutants of the module; return the exit code and what was printed."""
        done = subprocess.run(
            [sys.executable, "-m", "tools.mutants.run", "gates/age", "--jobs", "1"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A small project that the runner tests."""
    return House(tmp_path)


def test_good_tests_kill_everything(house: House) -> None:
    """A run in which every mutant makes a test fail succeeds with 100%."""
    house.tested_with(17, 18, 19)
    code, said = house.runs()
    assert (code, "100.0%" in said) == (0, True), said


def test_a_survivor_needs_a_reason(house: House) -> None:
    """A survivor is printed, and without a reason in the table the run fails."""
    house.tested_with(17, 19)
    code, said = house.runs()
    assert code == 1
    assert "return age > 18" in said
    assert "NO REASON GIVEN" in said


def test_a_row_without_survivor_is_an_error(house: House) -> None:
    """A row of the table without a survivor makes the run fail."""
    house.tested_with(17, 18, 19)
    row = "| `gates.age.may_enter` | `return age >= 18` | `return age > 18` | It is old. |\n"
    house.write("docs/mutants.md", row)
    code, said = house.runs()
    assert (code, "1 rows of mutants.md name no survivor" in said) == (1, True), said


def test_failing_tests_stop_the_run(house: House) -> None:
    """If the tests fail in the unchanged tree, no mutant runs."""
    house.tested_with(17)
    house.write("tests/core/gates/test_else.py", "def test_else():\n    raise ValueError\n")
    code, said = house.runs()
    assert code == 1
    assert "the tests fail in the unchanged tree" in said


def test_other_tests_kill_what_the_own_ones_do_not_notice(house: House) -> None:
    """A mutant that survives the tests of its module meets the other tests."""
    house.tested_with(17, 19)
    house.write(
        "tests/core/gates/test_else.py",
        "from arrcert.gates.age import may_enter\n\n\ndef test_else():\n    assert may_enter(18)\n",
    )
    code, said = house.runs()
    assert (code, "100.0%" in said) == (0, True), said
