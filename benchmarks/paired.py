"""The measuring of several statements together, and the table that all benchmarks print.

The costs are CPU times of one process and, where valgrind is installed, instructions per call. Each
round runs every statement once, in random order. If something slows one statement down, it slows
the others down too. So the ratio of two times is nearly the same on every machine. A ratio of
instructions is nearly the same on a busy machine too.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import instructions
from instructions import Calls

SECONDS_A_TURN = 0.002
"""A turn is long enough for the clock, and short enough to spread a core's changes of speed."""

LOW = 0.1
"""The quantile of the turns that stands for a statement: the undisturbed ones."""

RECORD = "BENCHMARK_RECORD"
"""The environment variable with the file to which tables and bars are added, for `run.py`."""


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        measure: the two things that are compared.
        found: the ratio or another figure; None if it was not measured.
        goal: the limit for the figure; None if there is no limit.
        at_least: whether the goal is the smallest allowed figure, not the largest.
        unit: the unit of both figures.
        beside: more figures. If nothing was measured, this is the reason.
        of: the quantity of which the figure is a ratio.
    """

    measure: str
    found: float | None
    goal: float | None
    at_least: bool = False
    unit: str = "x"
    beside: str = ""
    of: str = ""

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal or a figure."""
        if self.goal is None or self.found is None:
            return None
        # Compare the printed digits. Otherwise a table could say that 0.20 misses a goal of 0.2.
        found = round(self.found, 2)
        return found >= self.goal if self.at_least else found <= self.goal


class Bar(NamedTuple):
    """One bar of the picture: the cost of a request in its parts.

    Attributes:
        label: what answers the request.
        unit: the unit of the parts.
        parts: the cost of each part, in the order in which they are stacked.
    """

    label: str
    unit: str
    parts: dict[str, float]


class Costs(NamedTuple):
    """What some statements cost.

    Attributes:
        seconds: the CPU seconds of each statement in each round.
        instructions: the instructions of one call; empty if they were not counted.
        why_not: why they were not counted.
    """

    seconds: Mapping[str, list[float]]
    instructions: Mapping[str, float]
    why_not: str = ""

    def microseconds(self, name: str, less: str = "") -> float:
        """Return the CPU time of a statement, or how much more it takes than another statement.

        Args:
            name: the statement.
            less: the statement that is subtracted; none by default.
        """
        return (low(self.seconds[name]) - (low(self.seconds[less]) if less else 0)) * 1e6

    def counted(self, name: str, less: str = "") -> float:
        """Return the instructions of a statement, or how many more they are than another's."""
        return self.instructions[name] - (self.instructions[less] if less else 0)

    def ratio(
        self,
        measure: str,
        one: str,
        other: str,
        goal: float | None = None,
        *,
        less: str = "",
        less_other: str | None = None,
        at_least: bool = False,
    ) -> Row:
        """Return the row that compares two statements, by instructions or else by time.

        Args:
            measure: the two things that are compared.
            one: the statement whose cost is the numerator.
            other: the statement whose cost is the denominator.
            goal: the limit for the ratio; None if there is no limit.
            less: the statement whose cost is subtracted from that of `one`.
            less_other: the same for `other`; by default the statement `less`.
            at_least: whether the goal is the smallest allowed ratio, not the largest.
        """
        less_other = less if less_other is None else less_other
        times = self.microseconds(one, less), self.microseconds(other, less_other)
        found = times[0] / times[1]
        what = f"{one}{less and f' - {less}'} / {other}{less_other and f' - {less_other}'}"
        beside = f"{times[0]:.2f} / {times[1]:.2f} us CPU time: {found:.2f} x"
        if not self.instructions:
            why = f"{beside}; instructions not counted: {self.why_not}"
            return Row(measure, found, goal, at_least, beside=why, of=f"CPU time, {what}")
        counts = self.counted(one, less), self.counted(other, less_other)
        beside = f"{counts[0]:,.0f} / {counts[1]:,.0f} instructions; {beside}"
        found = counts[0] / counts[1]
        return Row(measure, found, goal, at_least, beside=beside, of=f"instructions, {what}")


def costs(make: Callable[..., Calls], *arguments: str, options: argparse.Namespace) -> Costs:
    """Measure the statements that a function makes.

    Args:
        make: a function of a benchmark's module.
        arguments: the arguments of the function.
        options: the command line, as `options_from_command_line` returns it.
    """
    calls = make(*arguments)
    seconds = turns(calls.statements, calls.names, rounds=options.rounds, setups=calls.setups)
    if options.times_only:
        return Costs(seconds, {}, "--times-only was given")
    why_not = instructions.why_not()
    if why_not is not None:
        return Costs(seconds, {}, why_not)
    return Costs(seconds, instructions.count(make, *arguments))


def medians(
    statements: Mapping[str, str], names: Mapping[str, Any], *, rounds: int
) -> dict[str, float]:
    """Return the median seconds of each statement; the arguments are those of `turns`."""
    seconds = turns(statements, names, rounds=rounds)
    return {name: statistics.median(values) for name, values in seconds.items()}


def low(values: Sequence[float]) -> float:
    """Return the low quantile of the seconds of several turns."""
    return sorted(values)[int(len(values) * LOW)]


def turns(
    statements: Mapping[str, str],
    names: Mapping[str, Any],
    *,
    rounds: int,
    setups: Mapping[str, str] | None = None,
) -> dict[str, list[float]]:
    """Return the CPU seconds that each statement took in each round.

    Args:
        statements: Python statements by their name.
        names: the global names that they use.
        rounds: the number of turns of each statement.
        setups: the code that runs before each turn of a statement. It is not measured.
    """
    timers = {
        name: timeit.Timer(
            statement, (setups or {}).get(name, "pass"), time.thread_time, dict(names)
        )
        for name, statement in statements.items()
    }
    counts = {}
    for name, timer in timers.items():
        timer.timeit(10)
        counts[name] = max(1, int(SECONDS_A_TURN / max(timer.timeit(20) / 20, 1e-8)))
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    order = list(timers)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                seconds[name].append(timers[name].timeit(counts[name]) / counts[name])
            gc.collect(0)
    finally:
        gc.enable()
    return seconds


def options_from_command_line(description: str | None, default: int) -> argparse.Namespace:
    """Return `rounds` and `times_only`.

    Args:
        description: the module's docstring.
        default: the number of rounds without `--rounds`.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=default, help="turns of each statement")
    parser.add_argument("--times-only", action="store_true", help="count no instructions")
    return parser.parse_args()


def rounds_from_command_line(description: str | None, default: int) -> int:
    """Return `--rounds`, or its default."""
    rounds: int = options_from_command_line(description, default).rounds
    return rounds


def resident_megabytes() -> float:
    """Return the resident memory of this process in megabytes. It works only on Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status holds no VmRSS")


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print the rows in columns, and whether each goal was reached."""
    width = max(len(row.measure) for row in rows)
    print(f"\n{title}\n{'measure':{width}}  {'found':>9}  {'goal':>10}")
    for row in rows:
        found, goal = shown(row)
        verdict = {True: "reached", False: "MISSED", None: ""}[row.is_reached]
        line = f"{row.measure:{width}}  {found:>9}  {goal:>10}  {verdict:7}  {row.beside}"
        print(line.rstrip(), flush=True)
    _record({"title": title, "rows": [row._asdict() for row in rows]})


def shown(row: Row) -> tuple[str, str]:
    """Return the figure and the goal of a row as text."""
    found = "-" if row.found is None else f"{row.found:,.2f} {row.unit}"
    if row.goal is None:
        return found, ""
    return found, f"{'>=' if row.at_least else '<='} {row.goal:g} {row.unit}"


def draw(bars: Sequence[Bar]) -> None:
    """Pass bars to `run.py`, which draws the picture."""
    for bar in bars:
        _record({"bar": bar._asdict()})


def _record(entry: dict[str, Any]) -> None:
    path = os.environ.get(RECORD)
    if path is not None:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
