"""Mutation testing: change one thing in a module that decides, and see whether a test notices.

The tree is copied first, so that it may be edited meanwhile. A first run notes which test runs
through which lines; each mutant then meets those tests alone, the quickest first, until one fails.
Hypothesis is derandomized and the mutants are enumerated in order, so two runs agree.
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from changes import Mutant, mutants_of

ROOT = Path(__file__).parent.parent
SURVIVORS = ROOT / "docs" / "mutants.md"
"""Its table holds each survivor, and why it may live."""

MODULES = (
    "forwarding",
    "encodings",
    "ingress",
    "certificate",
    "policy",
    "trust",
    "name_constraints",
    "names",
    "pins",
    "authorizer",
)
"""The modules that decide."""

THRESHOLD = 92.0
LEFT_OUT = (
    "test_architecture",
    "test_cli",
    "test_denials",
    "test_devserver",
    "test_fetching",
    "test_outbound",
    "test_testing",
)
"""Tests that decide nothing about a certificate, or start programs."""
SLOWEST_TEST = 3.0
"""Seconds; what takes longer alone is left out."""

KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"


class Baseline(NamedTuple):
    """What the tests do where nothing is changed.

    Attributes:
        seconds: how long each test took.
        lines: for each module and line, the tests that run through it; "" where that was before
            any test, such as for an object that a test's module makes when it is imported.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, frozenset[str]]]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return the tests that can see a mutant, the quickest first."""
        lines = self.lines.get(mutant.module, {})
        seen: set[str] = set()
        for line in range(mutant.line, mutant.last_line + 1):
            seen |= lines.get(line, frozenset())
        own = f"test_{mutant.module}.py"
        is_before_tests = mutant.runs_at_import or not seen or "" in seen
        if mutant.runs_at_import or not seen - {""}:
            # A constant is read without running through any line.
            seen = set().union(*lines.values())
        if is_before_tests:
            seen |= {test for test in self.seconds if own in test or "test_mutants.py" in test}
        return sorted(
            (test for test in seen - {""} if self.seconds[test] <= SLOWEST_TEST),
            key=lambda test: (self.seconds[test] > 0.05, own not in test, self.seconds[test]),
        )


class _Plugin:
    """Runs the wanted tests in the wanted order, and notes how long each takes."""

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
        spec = importlib.machinery.ModuleSpec(name, self, origin=str(self.path))
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)  # noqa: S102


def main() -> int:
    """Run the mutants; return 1 below the threshold, or where a survivor is not accounted for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(MODULES)}; all by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--function", help="only mutants of functions that hold this text")
    parser.add_argument("--table", action="store_true", help="print survivors as Markdown")
    arguments = parser.parse_args()
    unknown = set(arguments.modules) - set(MODULES)
    if unknown:
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        for name in ("arrcert", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "Makefile"):
            shutil.copy(ROOT / name, tree)
        sys.path.insert(0, str(tree))
        os.chdir(tree)
        _warm_up()
        baseline = _baseline(tree, Path(folder))
        mutants = [
            mutant
            for module in arguments.modules or MODULES
            for mutant in _mutants(tree, module)
            if arguments.function is None or arguments.function in mutant.function
        ]
        results = _run_all(tree, mutants, baseline, arguments.jobs)
    return _report(results, time.monotonic() - started, as_table=arguments.table)


TREES: dict[str, ast.Module] = {}
"""The syntax tree of each module; a mutant changes it in a process of its own."""


def _mutants(tree: Path, module: str) -> list[Mutant]:
    TREES[module] = ast.parse((tree / "arrcert" / f"{module}.py").read_text(encoding="utf-8"))
    return mutants_of(TREES[module], module)


def _warm_up() -> None:
    """Import what every process needs and no mutant touches."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("ARRCERT", None)
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
    return int(pytest.main([*options, *files], plugins=[plugin]))


def _files(tree: Path) -> list[str]:
    return sorted(
        str(path.relative_to(tree))
        for path in (tree / "tests" / "core").glob("test_*.py")
        if path.stem not in LEFT_OUT
    )


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
            Path(file).stem: {
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
        sys.exit("the tests fail with nothing changed; mend that first")
    baseline: Baseline = pickle.loads(noted.read_bytes())  # noqa: S301
    return baseline


def _fork(run: Callable[[], int], log: Path | None = None) -> int:
    """Run something in a process of its own; its exit code is what that returns."""
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
        # A mutant may never end, or eat all there is.
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        code = run()
    finally:
        os._exit(code)


def _run_all(
    tree: Path, mutants: Sequence[Mutant], baseline: Baseline, jobs: int
) -> list[tuple[Mutant, str]]:
    """Run each mutant in a process of its own, so many at a time."""
    results: dict[int, str] = {}
    running: dict[int, tuple[int, float]] = {}
    waiting = iter(enumerate(mutants))
    last = 0.0
    while len(results) < len(mutants):
        while len(running) < jobs:
            number, mutant = next(waiting, (None, None))
            if number is None or mutant is None:
                break
            tests = baseline.tests_for(mutant)
            if not tests:
                results[number] = SURVIVED
                continue
            patience = 10 + 5 * sum(baseline.seconds[test] for test in tests)
            pid = _fork(_one(tree, mutant, tests))
            running[pid] = (number, time.monotonic() + patience)
        for pid, code in _ended(running):
            number, _ = running.pop(pid)
            results[number] = SURVIVED if code == 0 else KILLED
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
    """Return what runs the tests against one mutant, 0 where none of them notices it."""

    def run() -> int:
        mutant.apply()
        path = tree / "arrcert" / f"{mutant.module}.py"
        code = compile(ast.fix_missing_locations(TREES[mutant.module]), str(path), "exec")
        sys.meta_path.insert(0, _Finder(f"arrcert.{mutant.module}", path, code))
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        plugin = _Plugin(tests)
        code_of_tests = _pytest(files, plugin)
        # Whoever selects tests that are not there must not take that for a kill.
        return 0 if code_of_tests == 5 else code_of_tests

    return run


def _report(results: Sequence[tuple[Mutant, str]], seconds: float, *, as_table: bool) -> int:
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
    print(f"\n{'module':18}{'mutants':>9}{'killed':>8}{'of these timed out':>20}{'left':>6}{'':>9}")
    counts: Counter[tuple[str, str]] = Counter((m.module, result) for m, result in results)
    for module in dict.fromkeys(mutant.module for mutant, _ in results):
        _print_row(module, *(counts[module, result] for result in (KILLED, TIMED_OUT, SURVIVED)))
    totals = [
        sum(n for (_, r), n in counts.items() if r == x) for x in (KILLED, TIMED_OUT, SURVIVED)
    ]
    score = _print_row("in all", *totals)
    print(f"{seconds:.0f} s; at least {THRESHOLD:.0f}% are wanted")
    if unexplained:
        print(f"{len(unexplained)} survivors stand without a reason in {SURVIVORS.name}")
    return 1 if score < THRESHOLD or unexplained else 0


def _row(mutant: Mutant, reason: str) -> str:
    cells = [f"`{mutant.place_name}`", f"`{mutant.before}`", f"`{mutant.after}`", reason]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _reasons() -> dict[str, str]:
    """Return why survivors may live, by their keys, from the table in the documentation."""
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
    print(f"{name:18}{caught + survived:9}{caught:8}{timed_out:20}{survived:6}{score:8.1f}%")
    return score


if __name__ == "__main__":
    sys.exit(main())
