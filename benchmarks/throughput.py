"""gunicorn with two workers under wrk through HAProxy: a protected page against an open one.

Needs `haproxy` and `wrk`. wrk presents no certificates, so HAProxy listens without TLS and sets the
header itself, as it would with `%[ssl_c_der,base64]`.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import flask
from paired import Row, print_table, rounds_from_command_line

from arrcert.testing import self_signed
from arrcert_flask import Arrcert, authorize_certificate

HERE = Path(__file__).resolve().parent
SECONDS = 3
CONNECTIONS = 16
WORKERS = 2
PAGES = ("protected", "open", "open again")


def application(page: str) -> flask.Flask:
    """Return what gunicorn serves.

    Args:
        page: one of `PAGES`.
    """
    app = flask.Flask(page)

    def hello() -> str:
        return "<p>hello</p>"

    if page == "protected":
        Arrcert(app)
        hello = authorize_certificate(hello)
    app.add_url_rule("/", "hello", hello)
    return app


def main() -> int:
    """Start the servers, let wrk knock at each in turn, and print the table."""
    rounds = rounds_from_command_line(__doc__, 7)
    missing = [program for program in ("haproxy", "wrk") if shutil.which(program) is None]
    if missing:
        print(f"\nThroughput: not measured, since {' and '.join(missing)} is missing")
        return 0
    client = self_signed("alice")
    environment = os.environ | {
        "ARRCERT_FINGERPRINTS": client.certificate.sha256_fingerprint,
        "WEBSITE_SITE_NAME": "benchmark",
        "PYTHONPATH": str(HERE),
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        doors = {}
        for page in PAGES:
            port = stack.enter_context(gunicorn(page, environment, folder))
            doors[page] = stack.enter_context(haproxy(port, client.header_value, folder))
        found: dict[str, list[float]] = {page: [] for page in PAGES}
        order = list(PAGES)
        for _ in range(rounds):
            random.shuffle(order)
            for page in order:
                found[page].append(requests_a_second(doors[page]))

    def ratio(page: str) -> float:
        pairs = zip(found[page], found["open"], strict=True)
        return statistics.median(one / other for one, other in pairs)

    each = {page: f"{statistics.median(values):.0f} a second" for page, values in found.items()}
    beside = f"{each['protected']} / {each['open']}"
    rows = [
        Row("protected / open", ratio("protected"), 0.95, at_least=True, beside=beside),
        Row("control: open / open", ratio("open again"), None, beside=each["open again"]),
    ]
    print_table("Throughput, gunicorn with 2 workers behind HAProxy", rows)
    return 0


def requests_a_second(port: int) -> float:
    """Let wrk knock for some seconds; anything but a 200 ends the benchmark."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise RuntimeError(output)
    return float(found[1])


@contextmanager
def gunicorn(page: str, environment: dict[str, str], folder: Path) -> Iterator[int]:
    """Serve one page, and yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}"]
    command += [f"--workers={WORKERS}", f"throughput:application({page!r})"]
    with (folder / f"gunicorn {page}").open("wb") as log, running(command, environment, log):
        wait_for(port, folder / f"gunicorn {page}")
        yield port


@contextmanager
def haproxy(backend: int, header_value: str, folder: Path) -> Iterator[int]:
    """Put HAProxy before a port, and yield its own."""
    port = free_port()
    configuration = folder / f"haproxy {port}.cfg"
    configuration.write_text(
        f"""defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend door
    bind 127.0.0.1:{port}
    http-request set-header X-ARR-ClientCert {header_value}
    http-request set-header X-Forwarded-Proto https
    default_backend site
backend site
    server gunicorn 127.0.0.1:{backend}
"""
    )
    log_path = folder / f"haproxy {port}"
    with (
        log_path.open("wb") as log,
        running(["haproxy", "-db", "-f", str(configuration)], dict(os.environ), log),
    ):
        wait_for(port, log_path)
        yield port


@contextmanager
def running(command: list[str], environment: dict[str, str], log: object) -> Iterator[None]:
    """Run a server until the block ends."""
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # type: ignore[call-overload]
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int, log: Path) -> None:
    """Return once somebody listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(log.read_text())


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
