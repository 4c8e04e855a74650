"""Times side by side: each round runs every statement once, in random order, in one process.

A ratio of two medians from such rounds holds from machine to machine, since whatever slows one
statement down slows the others down too. A library that gives each benchmark a process of its own
(as pyperf does) cannot give that.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import timeit
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SECONDS_A_TURN = 0.002
"""Long enough for the clock, short enough for a core's changes of pace to hit every statement."""


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        measure: what is compared with what.
        found: the ratio, or another figure.
        goal: what it must not pass; None where it is only told.
        at_least: whether the goal is a floor.
        unit: behind both figures.
        beside: what else was seen.
    """

    measure: str
    found: float
    goal: float | None
    at_least: bool = False
    unit: str = "x"
    beside: str = ""


def medians(
    statements: Mapping[str, str], names: Mapping[str, Any], *, rounds: int
) -> dict[str, float]:
    """Return the median seconds of each statement; the arguments are those of `turns`."""
    seconds = turns(statements, names, rounds=rounds)
    return {name: statistics.median(values) for name, values in seconds.items()}


def turns(
    statements: Mapping[str, str], names: Mapping[str, Any], *, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds that each statement took in each round.

    Args:
        statements: Python statements by their name.
        names: the global names that they use.
        rounds: turns of each.
    """
    timers = {
        name: timeit.Timer(statement, globals=dict(names)) for name, statement in statements.items()
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
    finally:
        gc.enable()
    return seconds


def rounds_from_command_line(description: str | None, default: int) -> int:
    """Return `--rounds`, or its default."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=default, help="turns of each statement")
    rounds: int = parser.parse_args().rounds
    return rounds


def resident_megabytes() -> float:
    """Return this process's resident memory; Linux alone tells."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status holds no VmRSS")


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print the rows, aligned, and say of each goal whether it was reached."""
    width = max(len(row.measure) for row in rows)
    print(f"\n{title}\n{'measure':{width}}  {'found':>9}  {'goal':>10}")
    for row in rows:
        found, goal, verdict = f"{row.found:.2f} {row.unit}", "", ""
        if row.goal is not None:
            goal = f"{'>=' if row.at_least else '<='} {row.goal:g} {row.unit}"
            reached = row.found >= row.goal if row.at_least else row.found <= row.goal
            verdict = "reached" if reached else "MISSED"
        line = f"{row.measure:{width}}  {found:>9}  {goal:>10}  {verdict:7}  {row.beside}"
        print(line.rstrip(), flush=True)
