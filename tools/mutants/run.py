"""Mutation testing: change one thing in a module that decides, and see whether a test fails.

    python -m tools.mutants.run                 # every deciding module of the core
    python -m tools.mutants.run trust/pem pins  # some; a folder is all of its modules

The source tree is copied first, so you can edit it during the run. A first run of the tests records
which test runs through which lines. Each mutant then meets these tests only, the quickest first,
until one fails: the tests in the module's own test file, and, where none of them fails, the others.
Hypothesis is derandomized and the mutants are listed in order, so two runs agree.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import os
import pickle
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from tools.deciding import PACKAGES, deciding_modules
from tools.mutants.changes import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
SURVIVORS = ROOT / "docs" / "mutants.md"
"""The page with the table of surviving mutants, each with the reason why no test detects it."""

THRESHOLD = 92.0
LEFT_OUT = ("test_architecture.py",)
"""Tests that are not run. They check the whole project in new processes, where no module is
mutated."""
SLOWEST_TEST = 3.0
"""In seconds. A test that takes longer is not run against mutants."""

KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"


class Baseline(NamedTuple):
    """What the tests do in the unchanged tree.

    Attributes:
        seconds: how long each test took.
        lines: for each module and line, the tests that run through it. "" stands for a run before
            any test, such as for an object that a test file makes when it is imported.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, frozenset[str]]]

    def stages_for(self, mutant: Mutant) -> list[list[str]]:
        """Return the tests that can detect a mutant, in the groups that run one after the other.

        The module's own tests come first. Most mutants are killed there, and the other test files
        need not be imported.
        """
        own = f"{own_test_file(mutant.module)}::"
        tests = self.tests_for(mutant)
        stages = [
            [test for test in tests if test.startswith(own)],
            [test for test in tests if not test.startswith(own)],
        ]
        return [stage for stage in stages if stage]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return the tests that can detect a mutant, the fastest first."""
        lines = self.lines.get(mutant.module, {})
        seen: set[str] = set()
        for line in range(mutant.line, mutant.last_line + 1):
            seen |= lines.get(line, frozenset())
        own = own_test_file(mutant.module)
        if mutant.runs_at_import or not seen - {""} or "" in seen:
            # The line runs before the tests, so each test may depend on its result.
            seen = set().union(*lines.values()) | {
                test for test in self.seconds if test.startswith(f"{own}::")
            }
        return sorted(
            (test for test in seen - {""} if self.seconds[test] <= SLOWEST_TEST),
            key=lambda test: (
                self.seconds[test] > 0.05,
                not test.startswith(f"{own}::"),
                self.seconds[test],
            ),
        )


def own_test_file(module: str) -> str:
    """Return the path of a module's own tests: `trust/pem` has `tests/core/trust/test_pem.py`."""
    folder, _, name = module.rpartition("/")
    return "/".join(filter(None, ("tests/core", folder, f"test_{name}.py")))


def module_of(test_file: str) -> str:
    """Return the module that a test file under `tests/core` belongs to, as a path below the root.

    The module may not exist: `tests/core/test_threats.py` belongs to no module.
    """
    folder, _, name = test_file.removeprefix("tests/core/").rpartition("/")
    return "/".join(filter(None, ("arrcert", folder, name.removeprefix("test_"))))


def selected(modules: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the wanted modules, or all modules without a name.

    Args:
        modules: all that there are, as paths below `arrcert` without `.py`: `trust/pem`.
        wanted: modules and folders. `trust.pem`, `arrcert/trust/pem.py` and `trust/pem` are the
            same; `trust` is every module in that folder.

    Raises:
        ValueError: one of them is not there, or does not decide.
    """
    chosen: set[str] = set()
    for text in wanted:
        name = text.removesuffix(".py").replace(".", "/").strip("/").removeprefix("arrcert/")
        found = [module for module in modules if f"{module}/".startswith(f"{name}/")]
        if not found:
            raise ValueError(f"{text} is no module that decides; these are: {', '.join(modules)}")
        chosen.update(found)
    return [module for module in modules if not wanted or module in chosen]


class _Plugin:
    """Runs the wanted tests in the wanted order, and records how long each takes."""

    def __init__(self, wanted: Sequence[str] | None = None, coverage: Any = None) -> None:
        self.rank = None if wanted is None else {test: n for n, test in enumerate(wanted)}
        self.coverage = coverage
        self.seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        rank = self.rank
        if rank is not None:
            items[:] = sorted(
                (item for item in items if item.nodeid in rank), key=lambda item: rank[item.nodeid]
            )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.started = time.monotonic()
        if self.coverage is not None:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] = time.monotonic() - self.started
        if self.coverage is not None:
            self.coverage.switch_context("")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from code instead of from its file."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(
        self, name: str, _path: object = None, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        is_package = self.path.name == "__init__.py"
        spec = importlib.machinery.ModuleSpec(
            name, self, origin=str(self.path), is_package=is_package
        )
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [str(self.path.parent)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)  # noqa: S102 - The project's own module, mutated.


def main() -> int:
    """Run the mutants.

    Return 1 if too few are killed, or if the table of survivors is not up to date.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help="such as trust/pem, or a folder; all by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--function", help="only mutants of functions whose name holds this text")
    parser.add_argument("--table", action="store_true", help="print survivors as Markdown")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    arguments = parser.parse_args()
    everything = [
        path.removeprefix("arrcert/").removesuffix(".py")
        for path in deciding_modules(ROOT, ("arrcert",))
    ]
    try:
        modules = selected(everything, arguments.modules)
    except ValueError as error:
        parser.error(str(error))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        # The tests of the core import other packages too, which fit only this core.
        names = {*PACKAGES, "tests", "docs"} & set(os.listdir(ROOT))
        for name in sorted(names):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "Makefile"):
            shutil.copy(ROOT / name, tree)
        mutants = [
            mutant
            for module in modules
            for mutant in _mutants(tree, module)
            if arguments.function is None or arguments.function in mutant.function
        ]
        if arguments.list:
            for mutant in mutants:
                print(f"{mutant.module}:{mutant.line} {mutant.before} -> {mutant.after}")
            return 0
        sys.path.insert(0, str(tree))
        os.chdir(tree)
        _warm_up()
        baseline = _baseline(tree, Path(folder))
        results = _run_all(tree, mutants, baseline, arguments.jobs)
    is_whole = arguments.function is None
    return _report(results, time.monotonic() - started, as_table=arguments.table, is_whole=is_whole)


TREES: dict[str, ast.Module] = {}
"""The syntax tree of each module. A mutant changes it only in its own process."""


def _mutants(tree: Path, module: str) -> list[Mutant]:
    TREES[module] = ast.parse((tree / "arrcert" / f"{module}.py").read_text(encoding="utf-8"))
    return mutants_of(TREES[module], module)


def _warm_up() -> None:
    """Import the libraries that every process needs and that are not mutated."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("ARRCERT", None)
    # The compiled test files stay in the copy of the tree, for every process.
    sys.dont_write_bytecode = False
    # F401: an import is all that is wanted.
    import hypothesis
    import pytest  # noqa: F401
    from cryptography import x509  # noqa: F401
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: F401
    from cryptography.x509 import verification  # noqa: F401

    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")


def _pytest(files: Sequence[str], plugin: _Plugin) -> int:
    import pytest

    options = ["-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
    # Nobody reads the values in a failed assertion, and pytest would rewrite each test file.
    options.append("--assert=plain")
    # Ignore the project's pytest options: they may need plugins, and no plugins are loaded here.
    options += ["-o", "addopts=", "--import-mode=importlib"]
    return int(pytest.main([*options, *files], plugins=[plugin]))


def _files(tree: Path) -> list[str]:
    """Return the test files of the core, without those of the command `arrcert`."""
    files = sorted(
        path.relative_to(tree).as_posix() for path in (tree / "tests" / "core").rglob("test_*.py")
    )
    return [
        file
        for file in files
        if not file.startswith("tests/core/cli/") and not file.endswith(LEFT_OUT)
    ]


def _baseline(tree: Path, folder: Path) -> Baseline:
    noted = folder / "baseline"

    def run() -> int:
        from coverage import Coverage

        coverage = Coverage(
            data_file=str(folder / "coverage"), include=[f"{tree}/arrcert/*"], config_file=False
        )
        plugin = _Plugin(coverage=coverage)
        coverage.start()
        code = _pytest(_files(tree), plugin)
        coverage.stop()
        data = coverage.get_data()
        lines = {
            Path(file).relative_to(tree / "arrcert").with_suffix("").as_posix(): {
                line: frozenset(contexts)
                for line, contexts in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        noted.write_bytes(pickle.dumps(Baseline(plugin.seconds, lines)))
        return code

    print("the tests as they are ...", file=sys.stderr, flush=True)
    log = folder / "log"
    pid = _fork(run, log)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        print(log.read_text(errors="replace"))
        sys.exit("the tests fail in the unchanged tree; repair that first")
    baseline: Baseline = pickle.loads(noted.read_bytes())  # noqa: S301 - `run` wrote it above.
    return baseline


def _fork(run: Callable[[], int], log: Path | None = None) -> int:
    """Run a function in a new process. The exit code of the process is the function's result."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        sink = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        # A mutant may never end, or use all memory.
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        code = run()
    finally:
        os._exit(code)


def _run_all(
    tree: Path, mutants: Sequence[Mutant], baseline: Baseline, jobs: int
) -> list[tuple[Mutant, str]]:
    """Run each mutant in a process of its own, and `jobs` of them at a time."""
    results: dict[int, str] = {}
    running: dict[int, tuple[int, float]] = {}
    stages = [baseline.stages_for(mutant) for mutant in mutants]
    waiting = deque(range(len(mutants)))
    last = 0.0
    while len(results) < len(mutants):
        while waiting and len(running) < jobs:
            number = waiting.popleft()
            if not stages[number]:
                results[number] = SURVIVED
                continue
            tests = stages[number].pop(0)
            patience = 10 + 5 * sum(baseline.seconds[test] for test in tests)
            pid = _fork(_one(tree, mutants[number], tests))
            running[pid] = (number, time.monotonic() + patience)
        for pid, code in _ended(running):
            number, _ = running.pop(pid)
            if code:
                results[number] = KILLED
            else:
                waiting.appendleft(number)
        now = time.monotonic()
        for pid, (number, until) in list(running.items()):
            if now > until:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del running[pid]
                results[number] = TIMED_OUT
        if sys.stderr.isatty() and now - last > 0.5:
            last = now
            survived = sum(result == SURVIVED for result in results.values())
            print(
                f"\r{len(results)} of {len(mutants)}, {survived} survived ",
                end="",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(0.005)
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return [(mutant, results[number]) for number, mutant in enumerate(mutants)]


def _ended(running: dict[int, Any]) -> Iterator[tuple[int, int]]:
    for pid in list(running):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            yield pid, os.waitstatus_to_exitcode(status)


def _one(tree: Path, mutant: Mutant, tests: Sequence[str]) -> Callable[[], int]:
    """Return the function that runs the tests against one mutant; it returns 0 if all pass."""

    def run() -> int:
        mutant.apply()
        path = tree / "arrcert" / f"{mutant.module}.py"
        code = compile(ast.fix_missing_locations(TREES[mutant.module]), str(path), "exec")
        name = f"arrcert.{mutant.module.replace('/', '.')}".removesuffix(".__init__")
        sys.meta_path.insert(0, _Finder(name.replace("arrcert.__init__", "arrcert"), path, code))
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        plugin = _Plugin(tests)
        code_of_tests = _pytest(files, plugin)
        # Exit code 5: pytest found none of these tests. The mutant is not killed.
        return 0 if code_of_tests == 5 else code_of_tests

    return run


def _report(
    results: Sequence[tuple[Mutant, str]], seconds: float, *, as_table: bool, is_whole: bool
) -> int:
    reasons = _reasons()
    survivors = [mutant for mutant, result in results if result == SURVIVED]
    unexplained = [mutant for mutant in survivors if mutant.key not in reasons]
    for mutant in survivors:
        reason = reasons.get(mutant.key, "NO REASON GIVEN")
        if as_table:
            print(_row(mutant, reason))
        else:
            print(f"{mutant.module}.py:{mutant.line} {mutant.function}")
            print(f"  - {mutant.before}\n  + {mutant.after}\n  {reason}")
    # Ignore the rows of modules that were not tested in this run.
    ran = {mutant.module.replace("/", ".") for mutant, _ in results} if is_whole else set()
    stale = sorted(
        key
        for key in reasons.keys() - {mutant.key for mutant in survivors}
        if any(key.startswith((f"{module}.", f"{module}:")) for module in ran)
    )
    for key in stale:
        print(f"no survivor any more: {key}")
    print(f"\n{'module':28}{'mutants':>9}{'killed':>8}{'of these timed out':>20}{'left':>6}{'':>9}")
    counts: Counter[tuple[str, str]] = Counter((m.module, result) for m, result in results)
    for module in dict.fromkeys(mutant.module for mutant, _ in results):
        _print_row(module, *(counts[module, result] for result in (KILLED, TIMED_OUT, SURVIVED)))
    totals = [
        sum(n for (_, r), n in counts.items() if r == x) for x in (KILLED, TIMED_OUT, SURVIVED)
    ]
    score = _print_row("in all", *totals)
    print(f"{seconds:.0f} s; at least {THRESHOLD:.0f}% must be killed")
    if unexplained:
        print(f"{len(unexplained)} survivors have no reason in {SURVIVORS.name}")
    if stale:
        print(f"{len(stale)} rows of {SURVIVORS.name} name no survivor")
    return 1 if score < THRESHOLD or unexplained or stale else 0


def _row(mutant: Mutant, reason: str) -> str:
    cells = [f"`{mutant.place_name}`", f"`{mutant.before}`", f"`{mutant.after}`", reason]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _reasons() -> dict[str, str]:
    """Return the reason of each survivor by its key, from the table in the documentation."""
    reasons = {}
    text = SURVIVORS.read_text(encoding="utf-8") if SURVIVORS.exists() else ""
    for line in text.splitlines():
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) == 6 and cells[1].startswith("`"):
            where, before, after = (cell.strip("`") for cell in cells[1:4])
            reasons[f"{where}: {before} -> {after}"] = cells[4]
    return reasons


def _print_row(name: str, killed: int, timed_out: int, survived: int) -> float:
    caught = killed + timed_out
    score = 100 * caught / max(1, caught + survived)
    print(f"{name:28}{caught + survived:9}{caught:8}{timed_out:20}{survived:6}{score:8.1f}%")
    return score


if __name__ == "__main__":
    sys.exit(main())
