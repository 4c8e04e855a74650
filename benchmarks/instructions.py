"""Instructions per call, counted by valgrind's callgrind.

A count of the same code varies by about a percent, also on a busy machine. The statements run in a
separate process under valgrind. Each of them runs n times and then 2n times. The difference is the
count of n calls, without the cost of the counting itself.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CALLS = 30
WARM_UP = 40
MOST_SECONDS = 240

_SWITCH = """
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; }
void begin(void) { CALLGRIND_ZERO_STATS; CALLGRIND_TOGGLE_COLLECT; }
void end(const char *label) { CALLGRIND_TOGGLE_COLLECT; CALLGRIND_DUMP_STATS_AT(label); }
"""
"""Only C can use the macros that switch Callgrind on and off."""


class Calls(NamedTuple):
    """Statements to measure.

    Attributes:
        statements: Python statements by their name.
        names: the global names that they use.
        setups: the code that runs before each turn of a statement. It is not measured.
    """

    statements: Mapping[str, str]
    names: Mapping[str, Any]
    setups: Mapping[str, str] = {}


def why_not() -> str | None:
    """Return why instructions cannot be counted on this machine; None if they can."""
    for program, what in (("valgrind", "valgrind"), ("cc", "a C compiler (cc)")):
        if shutil.which(program) is None:
            return f"{what} is not installed"
    if not Path("/usr/include/valgrind/callgrind.h").exists():
        return "valgrind's headers are not installed"
    return None


def count(make: Callable[..., Calls], *arguments: str) -> dict[str, float]:
    """Return the instructions of one call of each statement that a function makes.

    Args:
        make: a function of a benchmark's module.
        arguments: the arguments of the function, in the process under valgrind.
    """
    module = Path(inspect.getfile(make)).stem
    with tempfile.TemporaryDirectory() as folder:
        switch = Path(folder) / "switch"
        switch.with_suffix(".c").write_text(_SWITCH)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", f"{switch}.so", f"{switch}.c"], check=True)
        command = ["valgrind", "--quiet", "--tool=callgrind"]
        command += ["--instr-atstart=no", "--collect-atstart=no"]
        command += [f"--callgrind-out-file={folder}/out", sys.executable, __file__]
        subprocess.run(
            [*command, f"{switch}.so", module, make.__name__, *arguments],
            check=True,
            timeout=MOST_SECONDS,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
        return _read(Path(folder))


def _read(folder: Path) -> dict[str, float]:
    """Return the instructions of one call of each statement, from callgrind's files."""
    counts: dict[str, dict[int, int]] = {}
    for path in folder.glob("out*"):
        text = path.read_text()
        label = re.search(r"Trigger: Client Request: (.*)\|(\d+)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)", text, re.MULTILINE)
        if label and total:
            counts.setdefault(label[1], {})[int(label[2])] = int(total[1])
    return {name: (of[2 * CALLS] - of[CALLS]) / CALLS for name, of in counts.items()}


def main() -> None:
    """Run the statements; this is the process under valgrind."""
    library, module, function, *arguments = sys.argv[1:]
    switch = ctypes.CDLL(library)
    calls: Calls = getattr(importlib.import_module(module), function)(*arguments)
    gc.disable()
    switch.start()
    for name, statement in calls.statements.items():
        timer = timeit.Timer(statement, calls.setups.get(name, "pass"), globals=dict(calls.names))
        timer.timeit(WARM_UP)
        gc.collect()
        # The first count is ignored. It includes work that is done only once, such as binding
        # symbols.
        for number in (1, CALLS, 2 * CALLS):
            switch.begin()
            timer.timeit(number)
            switch.end(f"{name}|{number}".encode())


if __name__ == "__main__":
    main()
