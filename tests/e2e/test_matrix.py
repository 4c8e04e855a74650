"""Every server and form, behind a front end that overwrites only the exact header.

The front ends are HAProxy, and a pass-through proxy that forwards every byte which it does not have
to change. A stranger without a certificate, and one with a certificate, send each form as a plain
request and as a WebSocket handshake. The site counts each acceptance, so that a request which is
hidden in another one counts too. docs/servers.md has the table, and tests/test_servers_page.py
compares it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arrcert.testing import CertificateAuthority

pytestmark = pytest.mark.matrix

HERE = Path(__file__).resolve().parent
PYTHON = (sys.executable, "-m")
PROGRAM = (sys.executable, str(HERE / "run_server.py"))
GUNICORN = (*PYTHON, "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning")
UVICORN = (*PYTHON, "uvicorn", "--port", "{port}", "--log-level", "warning", "--lifespan", "off")
HYPERCORN = (*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}")
GRANIAN = (*PYTHON, "granian", "--port", "{port}", "--interface")
DAPHNE = (*PYTHON, "daphne", "--port", "{port}")
WAITRESS = (*PYTHON, "waitress", "--no-clear-untrusted-proxy-headers")
UWSGI = (
    *(str(Path(sys.executable).with_name("uwsgi")), "--http-socket", "127.0.0.1:{port}"),
    *("--master", "--die-on-term", "--need-app", "--buffer-size", "32768"),
    *("--virtualenv", sys.prefix, "--module"),
)
WSGI, ASGI = "matrix_site:wsgi_app", "matrix_site:asgi_app"
H2C = ("--http-protocols", "h2,h1", "--http2-cleartext", "both")
H2_OVER_TLS = ("--http-protocols", "h2", "--certfile", "{folder}/tls", "--keyfile", "{folder}/tls")


NO = ""
"""The server does not speak WebSocket there."""


class Server(NamedTuple):
    """A server of the matrix.

    Attributes:
        words: of the command.
        needs: the module without which it cannot be started.
        serves: whether the owner of the key enters over HTTP; else the site refuses the server.
        websocket: the verdict on the owner's WebSocket where HTTP enters, or NO.
        loose: whether it takes a bare LF or a lone CR for the end of a line.
        link: how HAProxy speaks HTTP/2 with it; empty for HTTP/1.1.
        release: an old release of the package, which the tests install.
    """

    words: Sequence[str]
    needs: str
    serves: bool = True
    websocket: str = "entered"
    loose: bool = False
    link: str = ""
    release: str = ""


def program(name: str, **more: Any) -> Server:
    """Return a server that has no command of its own."""
    return Server((*PROGRAM, name, WSGI, "{port}"), **{"needs": name, **more})


def gunicorn(*words: str, needs: str = "gunicorn", **more: Any) -> Server:
    """Return the description of a gunicorn."""
    return Server((*GUNICORN, *words), needs, **more)


SERVERS = {
    "gunicorn, worker sync": gunicorn(WSGI),
    "gunicorn, worker gthread": gunicorn("--threads", "4", WSGI),
    "gunicorn, worker gevent": gunicorn("-k", "gevent", WSGI, needs="gevent"),
    "gunicorn, worker asgi": gunicorn("-k", "asgi", ASGI, needs="gunicorn.asgi"),
    "gunicorn, uvicorn's worker": gunicorn(
        "-k", "uvicorn.workers.UvicornWorker", ASGI, needs="httptools"
    ),
    "gunicorn, worker tornado": gunicorn("-k", "tornado", WSGI, needs="tornado", serves=False),
    "gunicorn, header_map=dangerous": gunicorn("--header-map", "dangerous", WSGI, serves=False),
    "gunicorn 21.2": gunicorn(WSGI, serves=False, release="gunicorn==21.2.0"),
    "gunicorn, h2c": gunicorn("--threads", "64", *H2C, WSGI, needs="h2"),
    "gunicorn, HTTP/2": gunicorn(
        "--threads", "64", *H2C, WSGI, needs="h2", link="proto h2", websocket=NO
    ),
    "gunicorn, worker asgi, HTTP/2": gunicorn(
        "-k", "asgi", *H2C, ASGI, needs="h2", link="proto h2", websocket=NO
    ),
    "gunicorn 25.0, HTTP/2": gunicorn(
        *("--threads", "64", *H2_OVER_TLS, WSGI),
        needs="h2",
        serves=False,
        link="ssl verify none alpn h2",
        websocket=NO,
        release="gunicorn==25.0.0",
    ),
    "gunicorn 26.1, HTTP/2": gunicorn(
        *("--threads", "64", *H2_OVER_TLS, WSGI),
        needs="h2",
        serves=False,
        link="ssl verify none alpn h2",
        websocket=NO,
        release="gunicorn==26.1.0",
    ),
    "gunicorn 26.1, worker asgi, HTTP/2": gunicorn(
        *("-k", "asgi", *H2_OVER_TLS, ASGI),
        needs="h2",
        link="ssl verify none alpn h2",
        websocket=NO,
        release="gunicorn==26.1.0",
    ),
    "gunicorn 26.2, HTTP/2": gunicorn(
        *("--threads", "64", *H2_OVER_TLS, WSGI),
        needs="h2",
        link="ssl verify none alpn h2",
        websocket=NO,
        release="gunicorn==26.2.0",
    ),
    "waitress": Server((*WAITRESS, "--listen", "127.0.0.1:{port}", WSGI), "waitress"),
    "werkzeug": program("werkzeug", loose=True),
    "Django's runserver": program("runserver", loose=True, needs="django"),
    "gevent": program("gevent", loose=True),
    "eventlet": program("eventlet", loose=True),
    "eventlet 0.36": program("eventlet", loose=True, serves=False, release="eventlet==0.36.1"),
    "wsgiref": program("wsgiref", serves=False, loose=True),
    "uWSGI": Server((*UWSGI, WSGI), "uwsgidecorators", serves=False),
    "cheroot": program("cheroot", serves=False),
    "twisted.web": program("twisted", serves=False),
    "tornado": program("tornado", serves=False),
    "granian, WSGI": Server((*GRANIAN, "wsgi", WSGI), "granian", serves=False),
    "hypercorn, WSGI": Server(
        (*HYPERCORN, f"wsgi:{WSGI}"), "hypercorn", serves=False, websocket=NO
    ),
    "uvicorn --interface wsgi": Server(
        (*UVICORN, "--interface", "wsgi", WSGI), "a2wsgi", serves=False
    ),
    "asgiref": program("asgiref", serves=False, websocket=NO),
    "a2wsgi": program("a2wsgi", serves=False, websocket=NO),
    "bjoern": program("bjoern", serves=False),
    "FastWSGI": program("fastwsgi", serves=False),
    **{
        f"uvicorn, {http} and {ws}": Server(
            (*UVICORN, "--http", http, "--ws", ws, ASGI), needs, loose=http == "h11"
        )
        for http in ("h11", "httptools")
        for ws, needs in (
            ("websockets", "websockets"),
            ("websockets-sansio", "websockets"),
            ("wsproto", "wsproto"),
        )
    },
    "hypercorn": Server((*HYPERCORN, ASGI), "hypercorn", loose=True),
    "hypercorn, HTTP/2": Server((*HYPERCORN, ASGI), "hypercorn", loose=True, link="proto h2"),
    "granian": Server((*GRANIAN, "asgi", ASGI), "granian", loose=True),
    "granian, HTTP/2": Server(
        (*GRANIAN, "asgi", ASGI), "granian", loose=True, link="proto h2", websocket=NO
    ),
    "daphne": Server((*DAPHNE, ASGI), "daphne"),
    "daphne 4.2.1": Server(
        (*DAPHNE, ASGI), "daphne", websocket="misconfigured", release="daphne==4.2.1"
    ),
}

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

NESTED = "GET {path} HTTP/1.1\r\nHost: localhost\r\nX-ARR-ClientCert: {alice}\r\n\r\n"
OVER_HTTP2: dict[str, dict[str, Any]] = {
    "underscores": {"headers": [("x_arr_clientcert", "{alice}")]},
    "one underscore": {"headers": [("x-arr_clientcert", "{alice}")]},
    "dots": {"headers": [("x.arr.clientcert", "{alice}")]},
    "upper case": {"headers": [("X-ARR-ClientCert", "{alice}")]},
    "underscores in upper case": {"headers": [("X_ARR_CLIENTCERT", "{alice}")]},
    "exact": {"headers": [("x-arr-clientcert", "{alice}")]},
    "exact, twice": {"headers": [("x-arr-clientcert", "{alice}")] * 2},
    "as a pseudo-header": {"headers": [(":x-arr-clientcert", "{alice}")]},
    "space behind the name": {"headers": [("x-arr-clientcert ", "{alice}")]},
    "space before the name": {"headers": [(" x-arr-clientcert", "{alice}")]},
    "colon in the name": {"headers": [("x-arr-clientcert: {alice}\r\na", "b")]},
    "CRLF in a name": {"headers": [("a\r\nx-arr-clientcert", "{alice}")]},
    **{
        f"{name} in a value": {"headers": [("x-other", f"a{end}x-arr-clientcert: {{alice}}")]}
        for name, end in {
            "CRLF": "\r\n",
            "LF": "\n",
            "CR": "\r",
            "NUL": "\0",
            "0B": "\x0b",
            "1C": "\x1c",
            "85": "\x85",
        }.items()
    },
    "CRLF in the path": {
        "pseudo": [(":path", "{path} HTTP/1.1\r\nx-arr-clientcert: {alice}\r\na: b")]
    },
    "CRLF in the method": {
        "pseudo": [(":method", "GET {path} HTTP/1.1\r\nx-arr-clientcert: {alice}\r\na: b")]
    },
    "CRLF in the authority": {"pseudo": [(":authority", "a\r\nx-arr-clientcert: {alice}")]},
    "trailer": {"body": "x", "trailers": [("x-arr-clientcert", "{alice}")]},
    "trailer with underscores": {"body": "x", "trailers": [("x_arr_clientcert", "{alice}")]},
    "behind chunks": {"headers": [("transfer-encoding", "chunked")], "body": "0\r\n\r\n" + NESTED},
    "behind a length of 0": {"headers": [("content-length", "0")], "body": NESTED},
    "behind a length": {"headers": [("content-length", "1")], "body": "x" + NESTED},
    "with Connection": {
        "headers": [("connection", "x-arr-clientcert"), ("x_arr_clientcert", "{alice}")]
    },
    "with Upgrade": {
        "headers": [("connection", "upgrade"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")],
        "body": NESTED,
    },
}
"""The same servers over HTTP/2, behind a front end that speaks it."""

HAPROXY = """
global
    maxconn 500
defaults
    mode http
    timeout connect 2s
    timeout client 3s
    timeout server 3s
    timeout tunnel 3s
    timeout http-request 1s
backend site
    server site 127.0.0.1:@SITE@ @LINK@
"""
DOOR = """
frontend @NAME@
    bind 127.0.0.1:@PORT@ @SPEAKS@
    http-request set-header X-Forwarded-Proto https
    http-request del-header X-ARR-ClientCert
    http-request set-header X-ARR-ClientCert @VALUE@
    default_backend site
"""


def free_ports(number: int) -> list[int]:
    """Return ports on which no server listens."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [free.getsockname()[1] for free in sockets]


class Doors(NamedTuple):
    """The ports of a front end, one for each client and protocol.

    Attributes:
        nobody: HTTP/1.1, the client presents no certificate.
        stranger: HTTP/1.1, a stranger's certificate.
        alice: HTTP/1.1, the owner's certificate.
        h2c: HTTP/2 with prior knowledge, no certificate; 0 if the front end does not speak it.
        h2: HTTP/2 over TLS, a stranger's certificate; 0 likewise.
    """

    nobody: int
    stranger: int
    alice: int
    h2c: int = 0
    h2: int = 0


@contextlib.contextmanager
def haproxy(
    serve: Any, site: int, link: str, stranger: str, alice: str, tls: str
) -> Iterator[Doors]:
    """Run HAProxy, which overwrites the header of each client."""
    ports = Doors(0, *free_ports(4))
    text = HAPROXY.replace("@SITE@", str(site)).replace("@LINK@", link)
    for name, value, speaks in (
        ("nobody", "", ""),
        ("stranger", stranger, ""),
        ("alice", alice, ""),
        ("h2c", "", "proto h2"),
        ("h2", stranger, "ssl crt @FOLDER@/tls alpn h2"),
    ):
        lines = [line for line in DOOR.splitlines() if value or "@VALUE@" not in line]
        door = "\n".join(lines).replace("@NAME@", name).replace("@VALUE@", value)
        # `serve` waits until the first port is open.
        door = door.replace("@PORT@", str(getattr(ports, name) or "@PORT@"))
        text += door.replace("@SPEAKS@", speaks) + "\n"
    with serve(
        ["haproxy", "-db", "-f", "{folder}/cfg"], files={"cfg": text, "tls": tls}
    ) as running:
        yield ports._replace(nobody=running.port)


@contextlib.contextmanager
def pass_through(
    serve: Any, site: int, link: str, stranger: str, alice: str, tls: str
) -> Iterator[Doors]:
    """Run the pass-through proxy, which speaks only HTTP/1.1."""
    ports = free_ports(2)
    words = [sys.executable, str(HERE / "pass_through.py"), str(site), "X-ARR-ClientCert"]
    words += ["{port}", f"{ports[0]}={stranger}", f"{ports[1]}={alice}"]
    with serve(words) as running:
        yield Doors(running.port, *ports)


FRONT_ENDS = {"HAProxy": haproxy, "pass-through": pass_through}
PAIRS = [
    (front_end, name)
    for front_end in FRONT_ENDS
    for name, server in SERVERS.items()
    if not server.link or front_end == "HAProxy"
]


def declared(front_end: str, server: Server) -> str:
    """Return the description of the front end for the site."""
    if front_end == "pass-through":
        return json.dumps({"header": "X-ARR-ClientCert", "normalizes_line_ends": False})
    return json.dumps({"name": "app-service", "http2": True}) if server.link else "app-service"


def knock(port: int, request: bytes, timeout: float = 0.4, *, is_single: bool = False) -> None:
    """Send a request, and wait until the connection is closed or stays silent for a while.

    Args:
        port: of the front end.
        request: may hide another one.
        timeout: seconds to wait for each packet.
        is_single: whether the first answer of the site is the last one.
    """
    answer = b""
    # A server may break off or stay silent. The test reads in the site's log what was decided.
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection,
    ):
        connection.sendall(request)
        while not (is_single and answer.endswith((b"denied", b"entered"))):
            packet = connection.recv(65536)
            if not packet:
                break
            answer += packet


def knock_over_http2(ask: Any, port: int, form: str, path: str, alice: str, over_tls: bool) -> None:
    """Send a form over HTTP/2."""

    def fill(text: str) -> str:
        return text.replace("{path}", path).replace("{alice}", alice)

    parts = {
        key: fill(value).encode("latin-1")
        if isinstance(value, str)
        else [(fill(name), fill(text)) for name, text in value]
        for key, value in OVER_HTTP2[form].items()
    }
    ask(port, path, **parts, over_tls=over_tls)


@pytest.fixture(scope="session")
def tls() -> str:
    """A key and a certificate for servers."""
    authority = CertificateAuthority("Throw-away server CA")
    issued = authority.issue("localhost", dns_names=["localhost"])
    return (issued.certificate_pem + issued.private_key_pem).decode()


def variables_of(server: Server, old_release: Any) -> dict[str, str]:
    """Return the variables that a server needs, or skip the test if the server is missing."""
    try:
        is_missing = importlib.util.find_spec(server.needs) is None
    except ModuleNotFoundError:
        is_missing = True
    if is_missing:
        pytest.skip(f"the package {server.needs} is missing")
    if not server.release:
        return {}
    folders = (old_release(server.release), HERE, HERE.parent / "parity")
    return {"PYTHONPATH": os.pathsep.join(map(str, folders))}


@pytest.mark.parametrize(("front_end", "name"), PAIRS)
def test_nobody_enters_in_any_form(
    front_end: str,
    name: str,
    serve,
    forms,
    every_form,
    hidden_forms,
    old_release,
    alice,
    impostor,
    tls,
) -> None:
    """No form is accepted without the key, over HTTP or WebSocket, and the owner is accepted."""
    server = SERVERS[name]
    variables = variables_of(server, old_release)
    from tests.e2e.http2 import ask

    serves = server.serves and not (server.loose and front_end == "pass-through")
    texts = (impostor.header_value, alice.header_value, tls)
    with (
        serve(
            server.words,
            files={"tls": tls},
            speaks_tls="ssl" in server.link,
            ARRCERT_FRONT_END=declared(front_end, server),
            **variables,
        ) as site,
        FRONT_ENDS[front_end](serve, site.port, server.link, *texts) as doors,
        ThreadPoolExecutor(8) as pool,
    ):
        work = [
            pool.submit(
                knock,
                door,
                forms(form, f"/?{kind} {form}".replace(" ", "+"), more=more),
                is_single=form not in hidden_forms,
            )
            for form in every_form
            for door in (doors.nobody, doors.stranger)
            for kind, more in (("HTTP", ()), ("WebSocket", HANDSHAKE))
        ]
        if doors.h2:
            work += [
                pool.submit(
                    knock_over_http2,
                    *(ask, door, form, f"/?HTTP/2+{form}".replace(" ", "+")),
                    *(alice.header_value, door == doors.h2),
                )
                for form in OVER_HTTP2
                for door in (doors.h2c, doors.h2)
            ]
        for sent in work:
            sent.result()
        written = site.log.parent / "decisions"
        for kind, more in (("HTTP", ()), ("WebSocket", HANDSHAKE)):
            # Some servers wait for the rest of an incomplete request.
            deadline = time.monotonic() + (10 if kind == "HTTP" or server.websocket else 1)
            while f"owner+{kind}" not in written.read_text() and time.monotonic() < deadline:
                knock(doors.alice, forms("nothing", f"/?owner+{kind}", more=more), timeout=2)
        said = written.read_text().splitlines()
        log = site.log.read_text(errors="replace")[-800:]
    decisions = [line.split(" ") for line in said]
    entered = [
        form for verdict, form, _ in decisions if verdict == "entered" and "owner" not in form
    ]
    assert entered == []
    # The forms reached the site, and its server still works.
    assert len(decisions) > len(every_form) / 2, log
    owners = {form: (verdict, kind) for verdict, form, kind in decisions if "owner" in form}
    expected = {"owner+HTTP": ("entered" if serves else "misconfigured", "http")}
    if server.websocket:
        kind = "websocket" if ASGI in server.words else "http"
        verdict = server.websocket if serves else "misconfigured"
        expected["owner+WebSocket"] = (verdict, kind)
    assert owners == expected, log
