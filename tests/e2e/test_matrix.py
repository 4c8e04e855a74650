"""Every server, every form, behind a front end that overwrites the exact header and nothing else.

HAProxy, and a pass-through proxy that hands on every byte which it does not have to touch. A
stranger without a certificate and one with a certificate of their own send each form, as a plain
request and as a WebSocket handshake. The site counts who enters, so that a request which is hidden
in another one counts too. docs/servers.md has the table; tests/test_servers_page.py holds it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from arrcert.testing import IssuedCertificate

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

FORM = {"query": ""}


class Server(NamedTuple):
    """A server of the matrix.

    Attributes:
        words: of the command.
        needs: the module without which it cannot be started.
        serves: whether the owner of the key enters, over HTTP; else the site refuses the server.
        loose: whether it takes a bare LF or a lone CR for the end of a line.
    """

    words: Sequence[str]
    needs: str
    serves: bool = True
    loose: bool = False


def program(name: str, serves: bool = True, loose: bool = False, needs: str = "") -> Server:
    """Return a server that has no command of its own."""
    return Server((*PROGRAM, name, WSGI, "{port}"), needs or name, serves, loose)


SERVERS = {
    "gunicorn, worker sync": Server((*GUNICORN, WSGI), "gunicorn"),
    "gunicorn, worker gthread": Server((*GUNICORN, "--threads", "4", WSGI), "gunicorn"),
    "gunicorn, worker gevent": Server((*GUNICORN, "-k", "gevent", WSGI), "gevent"),
    "gunicorn, header_map=dangerous": Server(
        (*GUNICORN, "--header-map", "dangerous", WSGI), "gunicorn", serves=False
    ),
    "gunicorn, h2c": Server(
        (*GUNICORN, "--threads", "4", *("--http-protocols", "h2,h1", "--http2-cleartext", "both"), WSGI),
        "h2",
    ),
    "gunicorn, worker tornado": Server((*GUNICORN, "-k", "tornado", WSGI), "tornado", serves=False),
    "waitress": Server((*WAITRESS, "--listen", "127.0.0.1:{port}", WSGI), "waitress"),
    "werkzeug": program("werkzeug", loose=True),
    "Django's runserver": program("runserver", loose=True, needs="django"),
    "gevent": program("gevent", loose=True),
    "eventlet": program("eventlet", loose=True),
    "wsgiref": program("wsgiref", serves=False, loose=True),
    "uWSGI": Server((*UWSGI, WSGI), "uwsgidecorators", serves=False),
    "cheroot": program("cheroot", serves=False),
    "twisted.web": program("twisted", serves=False),
    "tornado": program("tornado", serves=False),
    "granian, WSGI": Server((*GRANIAN, "wsgi", WSGI), "granian", serves=False),
    "hypercorn, WSGI": Server((*HYPERCORN, f"wsgi:{WSGI}"), "hypercorn", serves=False),
    "uvicorn --interface wsgi": Server((*UVICORN, "--interface", "wsgi", WSGI), "a2wsgi", serves=False),
    "asgiref": program("asgiref", serves=False),
    "a2wsgi": program("a2wsgi", serves=False),
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
    "granian": Server((*GRANIAN, "asgi", ASGI), "granian", loose=True),
    "daphne": Server((*DAPHNE, ASGI), "daphne"),
    "gunicorn, worker asgi": Server((*GUNICORN, "-k", "asgi", ASGI), "gunicorn.asgi"),
    "gunicorn, uvicorn's worker": Server(
        (*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", ASGI), "httptools"
    ),
}

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

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
    server site 127.0.0.1:@SITE@
"""
DOOR = """
frontend @NAME@
    bind 127.0.0.1:@PORT@
    http-request set-header X-Forwarded-Proto https
    http-request del-header X-ARR-ClientCert
    http-request set-header X-ARR-ClientCert @VALUE@
    default_backend site
"""


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [free.getsockname()[1] for free in sockets]


class Doors(NamedTuple):
    """A site behind a front end, with a door for each client."""

    nobody: int
    stranger: int
    alice: int


@contextlib.contextmanager
def haproxy(serve, site: int, values: Mapping[str, str]) -> Iterator[Doors]:
    """Run HAProxy, which overwrites the header of every client."""
    ports = free_ports(3)
    text = HAPROXY.replace("@SITE@", str(site))
    for port, (name, value) in zip(ports, values.items(), strict=True):
        door = DOOR if value else "\n".join(l for l in DOOR.splitlines() if "@VALUE@" not in l) + "\n"
        text += door.replace("@NAME@", name).replace("@PORT@", str(port)).replace("@VALUE@", value)
    words = [shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin"), "-db", "-f", "{folder}/cfg"]
    # serve waits for an answer at its own port: the first door has it.
    text = text.replace(f"127.0.0.1:{ports[0]}", "127.0.0.1:@PORT@")
    with serve(words, files={"cfg": text}) as running:
        yield Doors(running.port, *ports[1:])


@contextlib.contextmanager
def pass_through(serve, site: int, values: Mapping[str, str]) -> Iterator[Doors]:
    """Run the pass-through proxy."""
    ports = free_ports(2)
    _, stranger, alice = values.values()
    words = [sys.executable, str(HERE / "pass_through.py"), str(site), "X-ARR-ClientCert"]
    words += ["{port}", f"{ports[0]}={stranger}", f"{ports[1]}={alice}"]
    with serve(words) as running:
        yield Doors(running.port, *ports)


FRONT_ENDS = {"HAProxy": haproxy, "pass-through": pass_through}
DECLARED = {
    "HAProxy": "app-service",
    "pass-through": json.dumps({"header": "X-ARR-ClientCert", "normalizes_line_ends": False}),
}
"""What the site is told of each front end."""


def knock(port: int, request: bytes) -> bytes:
    """Send a request and return what comes until there is a head, or nothing for a while."""
    answer = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=0.4) as connection,
    ):
        connection.sendall(request)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each server in turn."""
    server = SERVERS[request.param]
    try:
        missing = importlib.util.find_spec(server.needs) is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        pytest.skip(f"the package {server.needs} is missing")
    return server


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_nobody_enters_in_any_form(
    server: Server, front_end: str, serve, forms, every_form, alice, impostor
) -> None:
    """No form lets anybody enter without the key, over HTTP or WebSocket; the owner enters."""
    values = {"nobody": "", "stranger": impostor.header_value, "alice": alice.header_value}
    variables = {"ARRCERT_FRONT_END": DECLARED[front_end]}
    serves = server.serves and not (server.loose and front_end == "pass-through")
    with (
        serve(server.words, **variables) as site,
        FRONT_ENDS[front_end](serve, site.port, values) as doors,
    ):
        requests: list[tuple[int, bytes]] = []
        for number, form in enumerate(every_form):
            for door in (doors.nobody, doors.stranger):
                plain = forms(form, f"/?{number}")
                requests.append((door, plain))
                requests.append((door, forms(form, f"/?{number}", more=HANDSHAKE)))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda pair: knock(*pair), requests))
        assert any(answers)
        owner = knock(doors.alice, forms("nothing", "/?owner"))
        told = json.loads(knock(site.port, forms("nothing", "/entries")).partition(b"\r\n\r\n")[2])
        entered = {
            form: told["entries"][str(number)]
            for number, form in enumerate(every_form)
            if str(number) in told["entries"]
        }
        print(server.words, told["seen"], entered)
        assert entered == {}
        assert (b"entered" in owner) is serves, (owner, site.log.read_text()[-2000:])
