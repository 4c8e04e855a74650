"""The CPU time of gunicorn's worker for a request behind HAProxy, with arrcert and with the sample.

It needs `haproxy`. HAProxy listens without TLS, and sets the header to a fixed text in the form of
`%[ssl_c_der,base64]`.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import flask
from paired import Row, low, options_from_command_line, print_table
from sample import documented_sample

from arrcert.testing import CertificateAuthority
from arrcert_flask import Arrcert, authorize_certificate

HERE = Path(__file__).resolve().parent
REQUESTS = 400
"""The number of requests in one turn."""

PAGES = ("plain", "plain again", "sample", "arrcert")
ISSUER = "Contoso Issuing CA"
MEASURE = "worker CPU per request that protection adds / what the sample adds"
GOAL = 0.35


def application(page: str) -> flask.Flask:
    """Return the application that gunicorn serves.

    Args:
        page: one of `PAGES`.
    """
    app = flask.Flask(page)

    def hello() -> str:
        return "<p>hello</p>"

    view: Callable[[], str] = hello
    if page == "arrcert":
        Arrcert(app)
        view = authorize_certificate(hello)
    elif page == "sample":
        check = documented_sample(os.environ["SHA1_OF_ALICE"], "alice", ISSUER)

        @functools.wraps(hello)
        def checked() -> str:
            if not check(flask.request.headers.get("X-ARR-ClientCert")):
                flask.abort(403)
            return hello()

        view = checked
    app.add_url_rule("/", "hello", view)
    return app


def main() -> int:
    """Start the servers, send requests to each in turn, and print the table."""
    options = options_from_command_line(__doc__, 25)
    if shutil.which("haproxy") is None or not Path("/proc/self/schedstat").exists():
        why = "not measured: it needs the program haproxy, and Linux"
        print_table("gunicorn behind HAProxy", [Row(MEASURE, None, GOAL, beside=why)])
        return 0
    client = CertificateAuthority(ISSUER).issue("alice")
    environment = os.environ | {
        "ARRCERT_FINGERPRINTS": client.certificate.sha256_fingerprint,
        "SHA1_OF_ALICE": client.certificate.sha1_fingerprint,
        "WEBSITE_SITE_NAME": "benchmark",
        "PYTHONPATH": str(HERE),
    }
    seconds: dict[str, list[float]] = {page: [] for page in PAGES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        doors = {}
        for page in PAGES:
            backend, master = stack.enter_context(gunicorn(page, environment, folder))
            port = stack.enter_context(haproxy(backend, client.header_value, folder))
            doors[page] = (port, worker_of(master))
            ask(port, REQUESTS)
        order = list(PAGES)
        for _ in range(options.rounds):
            random.shuffle(order)
            for page in order:
                port, worker = doors[page]
                before = cpu_seconds(worker)
                ask(port, REQUESTS)
                seconds[page].append((cpu_seconds(worker) - before) / REQUESTS)
    print_table("gunicorn behind HAProxy", rows_of(seconds))
    return 0


def rows_of(seconds: dict[str, list[float]]) -> list[Row]:
    """Return the ratio, and the control."""
    found = {page: low(values) * 1e6 for page, values in seconds.items()}
    sample, arrcert = found["sample"] - found["plain"], found["arrcert"] - found["plain"]
    control = statistics.median(
        one / other for one, other in zip(seconds["plain again"], seconds["plain"], strict=True)
    )
    of = "CPU time of the worker, arrcert - plain / sample - plain"
    beside = f"{arrcert:.1f} / {sample:.1f} us, of a request of {found['plain']:.0f} us"
    return [
        Row(MEASURE, arrcert / sample, GOAL, beside=beside, of=of),
        Row("control: an open page / an open page", control, None, of="CPU time of the worker"),
    ]


def ask(port: int, requests: int) -> None:
    """Send requests over one connection. An answer other than 200 ends the benchmark."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for _ in range(requests):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n")
            answer = b""
            while not answer.endswith(b"<p>hello</p>"):
                received = connection.recv(65536)
                if not received:
                    raise RuntimeError(f"no page: {answer!r}")
                answer += received
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process in seconds. It works only on Linux."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def worker_of(master: int) -> int:
    """Return gunicorn's one worker."""
    text = Path(f"/proc/{master}/task/{master}/children").read_text()
    [worker] = map(int, text.split())
    return worker


@contextmanager
def gunicorn(page: str, environment: dict[str, str], folder: Path) -> Iterator[tuple[int, int]]:
    """Serve one page, and yield its port and the process."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", "--workers=1"]
    command += [f"throughput:application({page!r})"]
    log_path = folder / f"gunicorn {page}"
    with log_path.open("wb") as log, running(command, environment, log) as process:
        wait_for(port, log_path)
        yield port, process


@contextmanager
def haproxy(backend: int, header_value: str, folder: Path) -> Iterator[int]:
    """Run HAProxy in front of a port, and yield the port of HAProxy."""
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
def running(command: list[str], environment: dict[str, str], log: object) -> Iterator[int]:
    """Run a server until the block ends, and yield its process."""
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int, log: Path) -> None:
    """Wait until a server listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(log.read_text())


def free_port() -> int:
    """Return an unused port of the loopback interface."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
