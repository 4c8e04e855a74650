"""Real servers, each a process of its own on a free port, with its output in a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from arrcert.testing import IssuedCertificate

HERE = Path(__file__).resolve().parent
SITES = os.pathsep.join([str(HERE), str(HERE.parent / "parity")])


CHUNKED = "Transfer-Encoding: chunked"
STRANGERS = "{own}: {stranger}"
LOOK_ALIKE = "{folded}: {alice}"
TRAILER = "1\r\nx\r\n0\r\n{own}: {alice}\r\n\r\n"
NO_TRAILER = "1\r\nx\r\n0\r\n\r\n"

SMUGGLED: dict[str, tuple[list[str], str]] = {
    "underscores": ([LOOK_ALIKE], ""),
    "one underscore": (["{half}: {alice}"], ""),
    "underscores in upper case": (["{upper}: {alice}"], ""),
    "as a CGI variable": (["HTTP_{upper}: {alice}"], ""),
    "dots": (["{dotted}: {alice}"], ""),
    "underscores after a stranger's": ([STRANGERS, LOOK_ALIKE], ""),
    "underscores before a stranger's": ([LOOK_ALIKE, STRANGERS], ""),
    "underscores after an empty one": (["{own}:", LOOK_ALIKE], ""),
    "underscores before an empty one": ([LOOK_ALIKE, "{own}:"], ""),
    "underscores twice": ([LOOK_ALIKE, LOOK_ALIKE], ""),
    "by its name twice": ([STRANGERS, "{own}: {alice}"], ""),
    "by its name twice, stranger last": (["{own}: {alice}", STRANGERS], ""),
    "joined by a comma": (["{own}: {stranger},{alice}"], ""),
    "joined by a comma, underscores": (["{folded}: {alice},{alice}"], ""),
    "space before the colon": (["{own} : {stranger}", LOOK_ALIKE], ""),
    "space after the underscores": (["{folded} : {alice}"], ""),
    "folded behind another": (["X-Other: a\r\n {own}: {alice}"], ""),
    "folded underscores": (["{folded}:\r\n {alice}"], ""),
    "declared hop-by-hop": (["Connection: close, {own}", STRANGERS, LOOK_ALIKE], ""),
    "trailer": ([CHUNKED, "Trailer: {own}"], TRAILER),
    "trailer, undeclared": ([CHUNKED], TRAILER),
    "trailer beside a stranger's": ([CHUNKED, STRANGERS], TRAILER),
    "underscores as a trailer": ([CHUNKED], TRAILER.replace("own", "folded")),
}
"""Header lines and body of what somebody sends who knows Alice's certificate, but has not hers."""

OTHERS: dict[str, tuple[list[str], str]] = {
    "nothing": ([], ""),
    "legitimate": (["{own}: {alice}"], ""),
    "legitimate, chunked": (["{own}: {alice}", CHUNKED], NO_TRAILER),
    "legitimate, chunked before": ([CHUNKED, "{own}: {alice}"], NO_TRAILER),
    "behind a lone CR": (["X-Other: a\r{own}: {alice}"], ""),
    "chunked": ([CHUNKED], NO_TRAILER),
}


@pytest.fixture(params=SMUGGLED)
def form(request: pytest.FixtureRequest) -> str:
    """The name of each smuggled form in turn."""
    return str(request.param)


Forms = Callable[..., bytes]


@pytest.fixture(scope="session")
def forms(alice: IssuedCertificate, impostor: IssuedCertificate) -> Forms:
    """A function that returns the bytes of a request by its form's name."""

    def forms(
        name: str,
        path: str,
        header: str = "X-ARR-ClientCert",
        encode: Callable[[IssuedCertificate], str] = lambda issued: issued.header_value,
        method: str = "",
    ) -> bytes:
        headers, body = (SMUGGLED | OTHERS)[name]
        folded = header.replace("-", "_")
        method = method or ("POST" if body else "GET")
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
        if not any(line.startswith("Connection:") for line in headers):
            lines.append("Connection: close")
        text = "\r\n".join([*lines, "", body]).format(
            own=header,
            folded=folded,
            upper=folded.upper(),
            half="_".join(header.rsplit("-", 1)),
            dotted=header.replace("-", "."),
            alice=encode(alice),
            stranger=encode(impostor),
        )
        return text.encode("latin-1")

    return forms


class Answer(NamedTuple):
    """What a server said."""

    status: int
    body: bytes


class Running(NamedTuple):
    """A server that answers.

    Attributes:
        port: on the loopback address.
        log: what it printed.
    """

    port: int
    log: Path

    def exchange(
        self, request: bytes | Sequence[bytes], context: ssl.SSLContext | None = None
    ) -> Answer:
        """Send raw bytes, in several packets where they are a list, and return the answer.

        A connection that is closed without a word counts as 400.
        """
        packets = [request] if isinstance(request, bytes) else request
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.ExitStack() as stack:
                if context is not None:
                    connection = stack.enter_context(
                        context.wrap_socket(connection, server_hostname="localhost")
                    )
                # A server that has seen enough may be gone before the rest is sent.
                with contextlib.suppress(ConnectionError):
                    for number, packet in enumerate(packets):
                        if number:
                            time.sleep(0.05)
                        connection.sendall(packet)
                answer = _read_answer(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        return Answer(int(head.split(b" ", 2)[1]) if answer else 400, body)


def _read_answer(connection: socket.socket) -> bytes:
    """Read one HTTP/1.1 answer, however the server marks its end."""
    answer = b""
    with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
        while not _is_whole(answer) and (chunk := connection.recv(65536)):
            answer += chunk
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if end and line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
        if end and line == b"transfer-encoding: chunked":
            return body.endswith(b"0\r\n\r\n")
    return False


Serve = Callable[..., "contextlib.AbstractContextManager[Running]"]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory, alice: IssuedCertificate) -> Serve:
    """A function that runs a server for the length of a with block."""

    @contextlib.contextmanager
    def serve(
        words: Sequence[str],
        *,
        files: Mapping[str, str] | None = None,
        speaks_tls: bool = False,
        **variables: str,
    ) -> Iterator[Running]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        folder = tmp_path_factory.mktemp("server")
        for name, text in (files or {}).items():
            filled = text.replace("@PORT@", str(port)).replace("@FOLDER@", str(folder))
            (folder / name).write_text(filled)
        names = {"port": str(port), "folder": str(folder), "here": str(HERE)}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ARRCERT", "DJANGO_", "WEBSITE_", "SERVER_"))
        }
        policies = {"default": {"fingerprints": [alice.certificate.sha256_fingerprint]}}
        environ = {
            "ARRCERT": json.dumps(policies | {"partners": policies["default"]}),
            "ARRCERT_PROTECT_ALL": "true",
            "ARRCERT_EXEMPT_PATHS": "/health",
            "WEBSITE_SITE_NAME": "site",
            "PYTHONPATH": SITES,
            "PYTHONUNBUFFERED": "1",
            # For configuration files, which name nothing else.
            "PORT": str(port),
            "FOLDER": str(folder),
            "HERE": str(HERE),
        }
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [word.format(**names) for word in words],
                cwd=HERE,
                env=inherited | environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            running = Running(port, log)
            _wait_until_it_answers(running, process, speaks_tls=speaks_tls)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # Workers that outlive their master would keep the machine busy.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    return serve


def _wait_until_it_answers(
    server: Running, process: subprocess.Popen[bytes], *, speaks_tls: bool
) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection,
        ):
            connection.sendall(
                b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            if speaks_tls or _read_answer(connection):
                return
        time.sleep(0.1)
    pytest.fail(f"the server does not answer; it said:\n{server.log.read_text()[-3000:]}")
