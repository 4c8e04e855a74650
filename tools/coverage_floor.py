"""Compare branch coverage with its floors: 100% for the modules that decide, 95% for others.

It reads what `coverage run` wrote in the current folder. `tools/deciding.py` lists the modules.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path, PurePath

from coverage import Coverage

from tools.deciding import PACKAGES, deciding_modules, is_deciding

ROOT = Path(__file__).parent.parent
ELSEWHERE = 95.0


def main() -> int:
    """Print a line for each module below 100%. Return 1 if a module is below its minimum."""
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        coverage.json_report(outfile=str(report))
        files = json.loads(report.read_text(encoding="utf-8"))["files"]
    covered = {_module(path): facts["summary"]["percent_covered"] for path, facts in files.items()}
    below = sorted(set(deciding_modules(ROOT)) - covered.keys())
    for name in below:
        print(f"{name:40} was never run")
    for name, percent in sorted(covered.items()):
        floor = 100.0 if is_deciding(name) else ELSEWHERE
        if percent < 100:
            print(f"{name:40} {percent:6.2f}%  floor {floor:.0f}%")
        if percent < floor:
            below.append(name)
    print(f"branch coverage: {len(covered)} modules, {len(below)} below their floor")
    return 1 if below else 0


def _module(path: str) -> str:
    """Return the path of a file, beginning with its package: `arrcert/pins.py`."""
    parts = PurePath(path).parts
    start = max(number for number, part in enumerate(parts) if part in PACKAGES)
    return "/".join(parts[start:])


if __name__ == "__main__":
    sys.exit(main())
