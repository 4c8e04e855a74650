"""Run all benchmarks, and write one table and one picture into the page that shows them.

Run it from the project's root: `make bench`. It ends within ten minutes. `--quick` is for the
tests: it has few rounds, counts no instructions, and leaves out the benchmarks that load a million
entries.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import instructions
from paired import RECORD, Bar, Row, shown
from picture import picture_of

HERE = Path(__file__).resolve().parent
DOCUMENT = "performance.md"
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
MOST_SECONDS = 590
_GRACE = 5.0


class Benchmark(NamedTuple):
    """One benchmark of a run.

    Attributes:
        script: the module's name.
        seconds: the longest time that it may take.
        is_quick: whether a quick run includes it.
        arguments: its arguments in a full run.
    """

    script: str
    seconds: int
    is_quick: bool = True
    arguments: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("warm", 60),
    Benchmark("middleware", 60),
    Benchmark("frameworks", 180),
    Benchmark("core", 150),
    Benchmark("memory", 30),
    Benchmark("threads", 30),
    Benchmark("throughput", 60, is_quick=False),
    Benchmark("startup", 60),
    Benchmark("strangers", 60, is_quick=False),
    Benchmark("pins", 60, is_quick=False),
    Benchmark("hostile", 60, is_quick=False),
    Benchmark("revocation", 60, is_quick=False),
)


class Table(NamedTuple):
    """One table that a benchmark printed.

    Attributes:
        title: its title.
        rows: its rows.
    """

    title: str
    rows: list[Row]


def main() -> int:
    """Run the benchmarks, and write the page; return 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, for the tests")
    parser.add_argument("--only", metavar="SCRIPT", action="append", help="run this one alone")
    parser.add_argument(
        "--docs", type=Path, default=HERE.parent / "docs", help="the folder in which the page lies"
    )
    options = parser.parse_args()
    [page] = options.docs.rglob(DOCUMENT)
    chosen = [
        benchmark
        for benchmark in BENCHMARKS
        if (options.only is None or benchmark.script in options.only)
        and (benchmark.is_quick or not options.quick)
    ]
    why_not = instructions.why_not()
    if why_not is not None:
        print(f"Instructions are not counted: {why_not}. The times stand alone.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        failed = run_all(chosen, record, is_quick=options.quick)
        tables, bars = read(record)
    if failed:
        rows = [Row(script, None, None, beside=f"not measured: {why}") for script, why in failed]
        tables.append(Table("Not measured", rows))
    if options.only is None:
        write(page, tables, bars)
    summarize(tables)
    return 1 if failed else 0


def run_all(benchmarks: list[Benchmark], record: Path, *, is_quick: bool) -> list[tuple[str, str]]:
    """Run the benchmarks one after the other, and return the failed ones with the reason.

    Args:
        benchmarks: the benchmarks.
        record: the file to which they add their tables.
        is_quick: whether this is a quick run.
    """
    begun, failed = time.monotonic(), []
    for number, (script, seconds, _, arguments) in enumerate(benchmarks, start=1):
        passed = time.monotonic() - begun
        print(
            f"\n[{number}/{len(benchmarks)}] {script}, at most {seconds} s;"
            f" {passed // 60:.0f}:{passed % 60:02.0f} so far",
            flush=True,
        )
        left = MOST_SECONDS - passed
        if left < _GRACE:
            failed.append((script, f"the {MOST_SECONDS} seconds of a run were over"))
            continue
        why = run_one(
            [script, *(("--rounds", "1", "--times-only") if is_quick else arguments)],
            record,
            min(seconds, left),
        )
        if why is not None:
            print(f"{script} failed: {why}", flush=True)
            failed.append((script, why))
    return failed


def run_one(command: list[str], record: Path, seconds: float) -> str | None:
    """Run one benchmark. Return why it failed, or None.

    Args:
        command: the name of the module, and the arguments.
        record: the file to which it adds its tables.
        seconds: the longest time that it may take.
    """
    script, *arguments = command
    process = subprocess.Popen(
        [sys.executable, str(HERE / f"{script}.py"), *arguments],
        env=os.environ | {RECORD: str(record)},
        start_new_session=True,  # The servers that it has started must end too.
    )
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"it took longer than {seconds:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None if code == 0 else f"it exited with {code}"


def read(record: Path) -> tuple[list[Table], list[Bar]]:
    """Return the tables and the bars that the benchmarks recorded."""
    tables, bars = [], []
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    for entry in map(json.loads, lines):
        if "bar" in entry:
            bars.append(Bar(**entry["bar"]))
        else:
            tables.append(Table(entry["title"], [Row(*row.values()) for row in entry["rows"]]))
    return tables, bars


def write(page: Path, tables: list[Table], bars: list[Bar]) -> None:
    """Replace the table of the page, and the picture that it shows.

    Args:
        page: the page.
        tables: the tables of the benchmarks.
        bars: the bars of the picture.
    """
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(tables)}\n{END}{after}", encoding="utf-8")
    print(f"\nThe table is in {page}.")
    if bars:
        # The page names the file of its picture.
        [link] = re.findall(r"!\[[^\]]*\]\(([^)]+\.svg)\)", text)
        picture = page.parent / link
        picture.write_text(picture_of(bars), encoding="utf-8")
        print(f"The picture is {picture}.")


def markdown(tables: list[Table]) -> str:
    """Return one Markdown table of all rows, below a line about the machine and the versions."""
    lines = [
        f"{where()}",
        "",
        "| measure | result | goal | reached? | what is compared | the two values |",
        "|---|---:|---:|---|---|---|",
    ]
    for table in tables:
        lines.append(f"| **{table.title}** | | | | | |")
        for row in table.rows:
            found, goal = shown(row)
            verdict = {True: "reached", False: "**missed**", None: ""}[row.is_reached]
            cells = (row.measure, found, signs(goal), verdict, row.of, row.beside)
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def signs(text: str) -> str:
    """Return a goal with mathematical signs."""
    return text.replace("<=", "≤").replace(">=", "≥")


def where() -> str:
    """Return one sentence about the machine and the versions."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("cryptography", "Flask", "Django", "fastapi")
    )
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()},"
        f" {packages}; {platform.system()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" {valgrind()}."
    )


def valgrind() -> str:
    """Return the version of valgrind, or a text that says that it is missing."""
    if shutil.which("valgrind") is None:
        return "without valgrind"
    done = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip().replace("-", " ")


def summarize(tables: list[Table]) -> None:
    """Print how many goals were reached, and which were not."""
    rows = [row for table in tables for row in table.rows if row.goal is not None]
    print(f"\n{sum(row.is_reached is True for row in rows)} of {len(rows)} goals reached")
    for line in missed(rows):
        print(f"  {line}")


def missed(rows: list[Row]) -> Iterator[str]:
    """Yield a line for each goal that was not reached, or not measured."""
    for row in rows:
        if not row.is_reached:
            found, goal = shown(row)
            yield f"{row.measure}: {found if row.found is not None else 'not measured'}, {goal}"


if __name__ == "__main__":
    sys.exit(main())
