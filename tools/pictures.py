"""The pictures of terminals in docs/images, from real runs: `make pictures`.

Each function runs a command as a reader does, in an empty folder, and draws what it printed. A
picture loads no font, so that a page with it loads nothing from another host.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
COLUMNS = 100
ARRCERT = str(Path(sysconfig.get_path("scripts")) / "arrcert")
SVG = re.sub(r"<!--.*?-->|@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def printed(*command: str, folder: Path, **environ: str) -> list[Text]:
    """Return the lines that a command prints on a terminal with colours.

    Args:
        command: The program and its arguments.
        folder: Where it runs.
        environ: Further variables.
    """
    done = subprocess.run(  # noqa: S603 - Only commands of this file.
        command,
        cwd=folder,
        env={**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return [Text.from_ansi(line.rstrip()) for line in done.stdout.splitlines()]


def draw(name: str, command: str, lines: list[Text], columns: int = COLUMNS) -> None:
    """Write the picture of a terminal.

    Args:
        name: The file in docs/images, without its suffix.
        command: What the reader types.
        lines: What the command printed.
        columns: The width of the terminal.
    """
    console = Console(record=True, width=columns, file=StringIO())
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    for line in lines:
        console.print(line, no_wrap=True, crop=True)
    svg = console.export_svg(title="", code_format=SVG, unique_id=name)
    (IMAGES / f"{name}.svg").write_text(svg, encoding="utf-8")


def demo(folder: Path) -> None:
    """Draw the rows of one site in the table of `make demo`."""
    lines = printed(sys.executable, str(ROOT / "sample_sites" / "demo.py"), folder=folder)
    table = [line for line in lines if re.match(r"client  |---|.{43}Flask ", line.plain)]
    for line in table:
        line.highlight_regex(r"\b200\b|\bok$", "green")
        line.highlight_regex(r"\b403\b", "red")
        line.highlight_regex(r"[a-z]+(?:_[a-z]+)+|\bmissing|\bexpired +ok|\buntrusted", "yellow")
        line.highlight_regex(r"\bok$", "green")
    draw("demo", "make demo", table, 108)


def has(folder: Path, name: str, issued: IssuedCertificate) -> None:
    """Write a certificate and its key into a folder."""
    (folder / f"{name}.pem").write_bytes(issued.certificate_pem)
    (folder / f"{name}.key").write_bytes(issued.private_key_pem)


def explain(folder: Path) -> None:
    """Draw why a certificate may not enter, and what to write so that it may."""
    authority = CertificateAuthority("Contoso Issuing CA")
    has(folder, "client", authority.issue("gateway"))
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    policy = {"trust_anchors": "ca.pem", "common_names": ["client.contoso.com"]}
    lines = printed(
        ARRCERT, "explain", "client.pem", folder=folder, ARRCERT=json.dumps({"default": policy})
    )
    draw("explain", "arrcert explain client.pem", lines)


def example_app(folder: Path) -> None:
    """Write the app of the page on the route audit."""
    page = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
    [app] = re.findall(r"```python\n(from flask.*?)```", page, re.DOTALL)
    (folder / "app.py").write_text(app)


def routes(folder: Path) -> None:
    """Draw the route audit of an app with a lost decorator."""
    example_app(folder)
    lines = printed(ARRCERT, "routes", "app:app", folder=folder, ARRCERT_FINGERPRINTS="AB" * 32)
    draw("routes", "arrcert routes app:app", lines)


def probe(folder: Path) -> None:
    """Draw the beginning and the end of a probe."""
    example_app(folder)
    client = self_signed("gateway")
    has(folder, "client", client)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        site = subprocess.Popen(  # noqa: S603 - The project's own command.
            [ARRCERT, "serve", "app:app", "--bind", address],
            cwd=folder,
            env={**os.environ, "ARRCERT_FINGERPRINTS": client.certificate.sha256_fingerprint},
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 30
            while "Running on" not in (folder / "log").read_text():
                if time.monotonic() > deadline:
                    raise SystemExit((folder / "log").read_text())
                time.sleep(0.1)
            words = ["--cert", "client.pem", "--key", "client.key"]
            lines = printed(
                *[ARRCERT, "probe", f"https://{address}/orders/1", *words],
                *["--insecure", "--rate", "1000"],
                folder=folder,
            )
        finally:
            site.terminate()
            site.wait(10)
    rows = [at for at, line in enumerate(lines) if re.match(r"\w+ +\d\d ", line.plain)]
    chosen = lines[: rows[4]] + lines[rows[10] : rows[11]] + lines[rows[14] : rows[15]]
    chosen += lines[rows[30] : rows[31]] + lines[rows[41] : rows[42]]
    end = next(at for at in range(rows[-1], len(lines)) if not lines[at].plain)
    draw(
        "probe",
        "arrcert probe https://site.example/orders/1 --cert client.pem --key client.key",
        [*chosen, Text("..."), *lines[end:]],
    )


PICTURES: tuple[Callable[[Path], None], ...] = (demo, explain, routes, probe)


def main() -> int:
    """Draw all pictures."""
    for picture in PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            picture(Path(folder))
        print(f"docs/images/{picture.__name__}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
