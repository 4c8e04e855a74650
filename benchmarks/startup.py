"""The cost of `import arrcert`, compared with `import cryptography.x509`, each in a new process."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys

from paired import Row, print_table, rounds_from_command_line

IMPORTS = {
    "cryptography": "cryptography.x509",
    "again": "cryptography.x509",
    "arrcert": "arrcert",
    "arrcert_flask": "arrcert_flask",
    "flask": "flask, cryptography.x509",
}
TIMED = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def main() -> int:
    """Measure, and print the table."""
    rounds = rounds_from_command_line(__doc__, 21)
    # This compiles the modules once. Otherwise Python would compile them in each process.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    order = list(IMPORTS)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            done = subprocess.run(
                [sys.executable, "-c", TIMED.format(IMPORTS[name])],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds[name].append(float(done.stdout))
    found = {name: statistics.median(values) for name, values in seconds.items()}

    def row(measure: str, one: str, other: str, goal: float | None) -> Row:
        times = f"{found[one] * 1e3:.0f} / {found[other] * 1e3:.0f} ms CPU time"
        of = "CPU time, each in a process of its own"
        return Row(measure, found[one] / found[other], goal, beside=times, of=of)

    rows = [
        row("control: cryptography.x509 / cryptography.x509", "again", "cryptography", None),
        row("import arrcert / import cryptography.x509", "arrcert", "cryptography", 1.5),
        row("import arrcert_flask / flask and cryptography.x509", "arrcert_flask", "flask", None),
    ]
    print_table("Start-up", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
