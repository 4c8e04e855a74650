"""Hold branch coverage against its floors: 100% of the modules that decide, 95% elsewhere."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path, PurePath

from coverage import Coverage

DECIDING = {
    f"{module}.py"
    for module in (
        "arrcert/forwarding/encodings",
        "arrcert/forwarding/front_ends",
        "arrcert/forwarding/ingress",
        "arrcert/forwarding/servers",
        "arrcert/certificate",
        "arrcert/forwarding/exempt_paths",
        "arrcert/trust/name_constraints",
        "arrcert/names",
        "arrcert/trust/pem",
        "arrcert/pins",
        "arrcert/policy",
        "arrcert/trust/crls",
        "arrcert/trust/revocation",
        "arrcert/trust/paths",
        "arrcert/trust/files",
        "arrcert/authorizer",
        "arrcert_flask/authorization",
        "arrcert_flask/decorators",
        "arrcert_flask/extension",
        "arrcert_django/authorization",
        "arrcert_django/decorators",
        "arrcert_django/middleware",
        "arrcert_django/mixins",
    )
}
ELSEWHERE = 95.0


def _module(path: str) -> str:
    """Return a file's path from its package on."""
    parts = PurePath(path).parts
    start = next(n for n, part in enumerate(parts) if part.startswith("arrcert"))
    return "/".join(parts[start:])


def main() -> int:
    """Print a line for each module that has a gap; return 1 where one is below its floor."""
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        coverage.json_report(outfile=str(report))
        files = json.loads(report.read_text())["files"]
    covered = {_module(path): facts["summary"]["percent_covered"] for path, facts in files.items()}
    below = sorted(DECIDING - covered.keys())
    for name in below:
        print(f"{name:40} was never run")
    for name, percent in sorted(covered.items()):
        floor = 100.0 if name in DECIDING else ELSEWHERE
        if percent < 100:
            print(f"{name:40} {percent:6.2f}%  floor {floor:.0f}%")
        if percent < floor:
            below.append(name)
    print(f"branch coverage: {len(covered)} modules, {len(below)} below their floor")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
