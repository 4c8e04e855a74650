"""A flood of different hostile headers against a running site with a legitimate client.

Run it from the project's root: `python benchmarks/flood.py`. It starts the Flask sample site under
gunicorn on the loopback interface, sends 200,000 requests over keep-alive connections and prints
one table. The exit code is 1 if a hostile request gets another answer than 403, a legitimate
request fails or waits, the memory grows, a worker dies, or the log of the site has an error. The
run takes a few minutes, at most ten.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import re
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from arrcert.denials import SECONDS_TO_COUNT
from arrcert.testing import CertificateAuthority, self_signed

REQUESTS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
CONNECTIONS = 8
WORKERS = 2
MOST_SECONDS = 600
KNOCK_EVERY = 0.05
SLOWEST = 1.0
"""The longest time of a legitimate request, in seconds."""
MOST_GROWTH = 2.0
"""The megabytes by which a worker may grow in the second half of the flood.

In the first half the allocator fills its arenas, one for each thread. If each request left an
object of 50 bytes or more behind, the growth would be above this limit.
"""
SITE = Path(__file__).parent.parent / "sample_sites" / "flask_site"

_BASE64 = string.ascii_letters + string.digits + "+/"


class Flood:
    """Hostile header values that are all different."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._random = random.Random()  # noqa: S311 - nothing here is a secret.
        self._number = itertools.count()
        # The policy accepts only alice. The mutants are made from her certificate, and the
        # strangers' certificates look like it.
        self._alice = authority.issue("alice").certificate
        self._stranger = self_signed("alice", issuer=authority).certificate
        self.kinds: dict[str, Callable[[int], str]] = {
            "text that is no base64": self._text,
            "base64 of garbage": self._garbage,
            "a CA's certificate, mutated": self._mutant,
            "a stranger's certificate, varied": self._varied,
            "over-long": self._over_long,
        }
        self._in_turn = itertools.cycle(self.kinds.values())

    def next(self) -> str:
        """Return the next value. Several threads may call this."""
        return next(self._in_turn)(next(self._number))

    def _text(self, number: int) -> str:
        noise = "".join(self._random.choices(_BASE64 + "=,%- :;\"'", k=self._random.randrange(900)))
        return f"{number}-{noise}".strip()

    def _garbage(self, number: int) -> str:
        noise = self._random.randbytes(self._random.randrange(1200))
        return _base64(number.to_bytes(8, "big") + noise)

    def _mutant(self, number: int) -> str:
        der = bytearray(self._alice.der)
        for _ in range(self._random.randrange(1, 9)):
            der[self._random.randrange(len(der))] ^= self._random.randrange(1, 256)
        # A number in place of the signature makes each certificate different.
        der[-8:] = number.to_bytes(8, "big")
        return _base64(der)

    def _varied(self, number: int) -> str:
        """Return a certificate that parses, with its own serial number and an invalid signature."""
        serial = self._stranger.serial_number
        old = serial.to_bytes((serial.bit_length() + 8) // 8, "big")
        new = b"\x01" + number.to_bytes(len(old) - 1, "big")
        return _base64(self._stranger.der.replace(old, new, 1))

    def _over_long(self, number: int) -> str:
        return f"{number:012}" + "A" * self._random.randrange(17_000, 40_000)


class Attacker(threading.Thread):
    """One keep-alive connection that sends the values of the flood."""

    def __init__(self, port: int, flood: Flood, left: itertools.count[int], until: float) -> None:
        super().__init__(daemon=True)
        self._port, self._flood, self._left, self._until = port, flood, left, until
        self.statuses: Counter[str] = Counter()

    _lock = threading.Lock()

    def run(self) -> None:
        """Send until the flood has no more values, or until the time is over."""
        connection = None
        while time.monotonic() < self._until:
            with self._lock:
                if next(self._left) >= REQUESTS:
                    return
                value = self._flood.next()
            try:
                connection = connection or _connect(self._port)
                status, stays = ask(connection, value)
            except OSError:
                status, stays = "no answer", False
            self.statuses[status] += 1
            if not stays and connection:
                connection.close()
                connection = None


class Client(threading.Thread):
    """The legitimate client, which repeatedly opens a connection and sends a request."""

    def __init__(self, port: int, value: str) -> None:
        super().__init__(daemon=True)
        self._port, self._value = port, value
        self.seconds: list[float] = []
        self.failures: Counter[str] = Counter()
        self.done = threading.Event()

    def run(self) -> None:
        """Send requests until `done` is set."""
        while not self.done.wait(KNOCK_EVERY):
            self.visit()

    def visit(self) -> str:
        """Send one request, and record the result."""
        begun = time.perf_counter()
        try:
            with _connect(self._port) as connection:
                status, _ = ask(connection, self._value)
        except OSError as error:
            status = type(error).__name__
        self.seconds.append(time.perf_counter() - begun)
        if status != "200":
            self.failures[status] += 1
        return status


def ask(connection: socket.socket, value: str) -> tuple[str, bool]:
    """Send one request; return its status and whether the connection stays open."""
    connection.sendall(
        f"GET /hellocert HTTP/1.1\r\nHost: site\r\nX-ARR-ClientCert: {value}\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    [size] = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
    while len(body) < size:
        body += _received(connection)
    return head.split(b" ", 2)[1].decode(), b"connection: close" not in lines


def _received(connection: socket.socket) -> bytes:
    chunk = connection.recv(65536)
    if not chunk:
        raise ConnectionError("the connection ended within an answer")
    return chunk


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode("ascii")


def megabytes(pids: list[int]) -> list[float]:
    """Return the resident memory of each process in megabytes. It works only on Linux."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return [count * os.sysconf("SC_PAGE_SIZE") / 2**20 for count in pages]


def workers_of(server: subprocess.Popen[bytes]) -> list[int]:
    """Return gunicorn's workers."""
    text = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return sorted(map(int, text.split()))


def main() -> int:
    """Run the flood, print one table, and return 1 if a rule is broken."""
    authority = CertificateAuthority("Contoso Issuing CA", organization="Contoso")
    alice = authority.issue("alice")
    policies = {
        "default": {"trust_anchors": authority.certificate_pem.decode(), "common_names": ["alice"]}
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")}
    environ |= {"ARRCERT": json.dumps(policies), "PYTHONUNBUFFERED": "1"}
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port: int = listener.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "app:app", "--bind", f"fd://{listener.fileno()}"]
    command += ["--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "8"]
    command += ["--limit-request-field_size", "65536", "--log-level", "warning"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, cwd=SITE, env=environ, pass_fds=[listener.fileno()], stderr=log
        )
        try:
            return _measure(server, port, alice.header_value, Flood(authority), log.fileno())
        finally:
            listener.close()
            server.terminate()
            server.wait(20)


def _measure(server: subprocess.Popen[bytes], port: int, value: str, flood: Flood, log: int) -> int:
    client = Client(port, value)
    deadline = time.monotonic() + 30
    while client.visit() != "200":
        if server.poll() is not None or time.monotonic() > deadline:
            log_text = os.pread(log, 4000, 0).decode(errors="replace")
            raise SystemExit(f"the site does not serve:\n{log_text}")
        time.sleep(0.1)
    time.sleep(0.5)
    workers = workers_of(server)
    cold = megabytes(workers)
    client.seconds.clear()
    client.failures.clear()

    begun = time.monotonic()
    left = itertools.count()
    attackers = [Attacker(port, flood, left, begun + MOST_SECONDS) for _ in range(CONNECTIONS)]
    for thread in (client, *attackers):
        thread.start()
    tenth = half = highest = cold
    while any(attacker.is_alive() for attacker in attackers):
        time.sleep(0.5)
        now = megabytes(workers) if workers_of(server) == workers else highest
        sent = sum(attacker.statuses.total() for attacker in attackers)
        if sent < REQUESTS / 10:
            tenth = now
        if sent < REQUESTS / 2:
            half = now
        highest = [max(pair) for pair in zip(highest, now, strict=True)]
    seconds = time.monotonic() - begun
    client.done.set()
    client.join(30)
    alive = workers_of(server) == workers
    after = megabytes(workers) if alive else highest

    statuses = sum((attacker.statuses for attacker in attackers), Counter[str]())
    sent = statuses.total()
    server_faults = sum(count for status, count in statuses.items() if status.startswith("5"))
    other = sent - statuses["403"] - server_faults
    growth = max(b - a for a, b in zip(half, after, strict=True))
    time.sleep(SECONDS_TO_COUNT + 1)  # Then the denials of the last second are logged.
    errors, denials = _read_log(log)
    slowest = max(client.seconds)
    median = sorted(client.seconds)[len(client.seconds) // 2]
    rows: list[tuple[str, str, bool]] = [
        ("hostile requests", f"{sent:,}", sent == REQUESTS),
        ("a second", f"{sent / seconds:,.0f}", True),
        ("answered 403", f"{statuses['403']:,}", True),
        ("answered 5xx", f"{server_faults:,}", server_faults == 0),
        ("anything else", f"{other:,}", other == 0),
        ("denials in the site's log", f"{denials:,}", denials == sent),
        ("errors in the site's log", f"{errors:,}", errors == 0),
        ("workers that stayed alive", f"{WORKERS if alive else 'not all'}", alive),
        ("memory of each worker, idle, MB", _listed(cold), True),
        ("... after a tenth of the flood", _listed(tenth), True),
        ("... after half of it", _listed(half), True),
        ("... after the flood", _listed(after), True),
        ("... highest", _listed(highest), True),
        ("growth in the second half, MB", f"{growth:.1f}", growth <= MOST_GROWTH),
        ("legitimate requests meanwhile", f"{len(client.seconds):,}", len(client.seconds) > 1),
        ("... that failed", f"{client.failures.total():,}", not client.failures),
        ("... median, ms", f"{median * 1000:.0f}", True),
        ("... slowest, ms", f"{slowest * 1000:.0f}", slowest <= SLOWEST),
    ]
    for label, figure, holds in rows:
        print(f"{label:36} {figure:>16}{'' if holds else '  BROKEN'}")
    unusual = {status: count for status, count in statuses.items() if status != "403"}
    if unusual or client.failures:
        print("other answers:", unusual, dict(client.failures))
    return 0 if all(holds for _, _, holds in rows) else 1


def _listed(figures: list[float]) -> str:
    return " ".join(f"{figure:.1f}" for figure in figures)


def _read_log(log: int) -> tuple[int, int]:
    """Return the number of errors and of denials in the log, with those that are only counted."""
    errors = denials = 0
    with open(os.dup(log), "rb") as file:
        file.seek(0)
        for line in file:
            denials += b" denied GET /hellocert " in line
            counted = re.search(rb" denied (\d+) more requests ", line)
            denials += int(counted[1]) if counted else 0
            errors += b" ERROR " in line or b"Traceback" in line or b"[CRITICAL]" in line
    return errors, denials


if __name__ == "__main__":
    sys.exit(main())
