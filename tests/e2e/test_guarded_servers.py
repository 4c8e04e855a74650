"""Attacks that need more than a header, on real servers and front ends.

test_matrix.py has the forms of a plain request.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

pytestmark = pytest.mark.matrix

PYTHON = (sys.executable, "-m")
GUNICORN = (*PYTHON, "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning")
UVICORN = (*PYTHON, "uvicorn", "--port", "{port}", "--log-level", "warning", "--lifespan", "off")
DAPHNE = (*PYTHON, "daphne", "--port", "{port}")
WAITRESS = (
    *PYTHON,
    "waitress",
    "--listen",
    "127.0.0.1:{port}",
    "--no-clear-untrusted-proxy-headers",
)
WSGI, ASGI = "matrix_site:wsgi_app", "matrix_site:asgi_app"
H2C = ("--http-protocols", "h2,h1", "--http2-cleartext", "both")

SPEAKS_HTTP2 = {
    "hypercorn": (*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}", ASGI),
    "gunicorn, worker gthread": (*GUNICORN, "--threads", "4", *H2C, WSGI),
    "gunicorn, worker gevent": (*GUNICORN, "-k", "gevent", *H2C, WSGI),
    "gunicorn, worker asgi": (*GUNICORN, "-k", "asgi", *H2C, ASGI),
}

HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 3s
    timeout server 3s
frontend everybody
    bind 127.0.0.1:@PORT@
    http-request set-header X-Forwarded-Proto https
    http-request del-header X-ARR-ClientCert
    default_backend site
backend site
    server site 127.0.0.1:@SITE@
"""
NGINX = """
daemon off;
master_process off;
pid @FOLDER@/pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path @FOLDER@/body;
    proxy_temp_path @FOLDER@/proxy;
    fastcgi_temp_path @FOLDER@/fastcgi;
    uwsgi_temp_path @FOLDER@/uwsgi;
    scgi_temp_path @FOLDER@/scgi;
    server {
        listen 127.0.0.1:@PORT@;
        location / {
            proxy_pass http://127.0.0.1:@SITE@;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection @CONNECTION@;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-ARR-ClientCert "";
        }
    }
}
"""
FRONT_ENDS = {
    "HAProxy": ("haproxy", ("-db", "-f", "{folder}/cfg"), HAPROXY),
    "nginx": (
        "nginx",
        ("-e", "stderr", "-c", "{folder}/cfg"),
        NGINX.replace("@CONNECTION@", '"upgrade"'),
    ),
    "nginx, Connection as sent": (
        "nginx",
        ("-e", "stderr", "-c", "{folder}/cfg"),
        NGINX.replace("@CONNECTION@", "$http_connection"),
    ),
}


@contextlib.contextmanager
def in_front(serve: Any, name: str, site: int) -> Iterator[int]:
    """Run a front end that overwrites only the exact header, and return its port."""
    program, words, text = FRONT_ENDS[name]
    with serve([program, *words], files={"cfg": text.replace("@SITE@", str(site))}) as running:
        yield running.port


def needs(*modules: str) -> None:
    """Skip the test if one of the modules is missing."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"the package {module} is missing")


def decisions(site: Any) -> list[str]:
    """Return the decisions of the site, one for each request."""
    lines = (site.log.parent / "decisions").read_text().splitlines()
    return [line.rpartition(" ")[0] for line in lines]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("name", SPEAKS_HTTP2)
def test_nobody_enters_by_an_upgrade_to_h2c(serve, alice, front_end: str, name: str) -> None:
    """A client that makes a tunnel with Upgrade: h2c is denied inside the tunnel."""
    needs("h2", "hypercorn", "gevent", "gunicorn.asgi")
    from tests.e2e.http2 import ask

    forged = [("x-arr-clientcert", alice.header_value)]
    with serve(SPEAKS_HTTP2[name]) as site, in_front(serve, front_end, site.port) as port:
        answers = [
            ask(port, "/?tunnel", forged, upgrade=True, pseudo=[(":scheme", scheme)])
            for scheme in ("http", "https")
        ]
        assert set(answers) <= {b"denied", b""}
        # gunicorn needs the token that nginx's usual lines remove.
        if name == "hypercorn" or front_end != "nginx":
            assert decisions(site) == ["not_through_front_end tunnel"] * 2
            assert "the front end is not declared to use HTTP/2" in site.log.read_text()
        else:
            assert decisions(site) == []


@pytest.mark.parametrize("name", SPEAKS_HTTP2)
def test_http2_is_served_where_it_is_declared(serve, alice, name: str) -> None:
    """A front end that is declared to speak HTTP/2 is accepted over HTTP/2 as over 1.1."""
    needs("h2", "hypercorn", "gevent", "gunicorn.asgi")
    from tests.e2e.http2 import ask

    front_end = json.dumps({"name": "app-service", "http2": True})
    certificate = [("x-arr-clientcert", alice.header_value)]
    with serve(SPEAKS_HTTP2[name], ARRCERT_FRONT_END=front_end) as site:
        assert ask(site.port, "/?h2", certificate) == b"entered"
        assert ask(site.port, "/?h2", [("x-arr_clientcert", alice.header_value)]) != b"entered"
        # The site has decided about both. A server may merge the names or drop the second one.
        entered, denied = decisions(site)
        assert entered == "entered h2"
        assert denied in ("ambiguous h2", "missing h2")


OFF_THREAD = "matrix_site:off_thread_wsgi_app"
DANGEROUS = ("--header-map", "dangerous", OFF_THREAD)


@pytest.mark.parametrize(
    "words",
    [
        DANGEROUS,
        ("--threads", "2", *DANGEROUS),
        ("-k", "gevent", *DANGEROUS),
        ("--preload", *DANGEROUS),
        ("--preload", "--threads", "2", *DANGEROUS),
    ],
    ids=["sync", "gthread", "gevent", "sync, preloaded", "gthread, preloaded"],
)
def test_gunicorns_settings_are_seen_from_another_thread(serve, forms, words) -> None:
    """A check outside the worker's thread sees header_map=dangerous at the first request."""
    needs("gevent")
    with serve([*GUNICORN, *words]) as site:
        site.exchange(forms("underscores", "/?forged"))
        site.exchange(forms("legitimate", "/?legitimate"))
        assert decisions(site) == ["misconfigured forged", "misconfigured legitimate"]
        assert "gunicorn with header_map=dangerous" in site.log.read_text()


WIDE = "\uff14\uff17\uff11\uff11".encode().decode("latin-1")
"""The number 4711 in full-width digits, as the bytes of UTF-8."""

FORWARDED = {
    "an address": ("X-Forwarded-For: 10.1.0.1",),
    "an address and a port": ("X-Forwarded-For: 10.1.0.1:4711",),
    "an address and a port, padded": ("X-Forwarded-For: 10.1.0.1:0_4711 ",),
    "an address in brackets and a port": ("X-Forwarded-For: [10.1.0.1]:4711",),
    "an address and port 0": ("X-Forwarded-For: 10.1.0.1:0",),
    "two addresses": ("X-Forwarded-For: 10.1.0.1:4711, 10.1.0.2:4711",),
    "a port of its own": ("X-Forwarded-For: 10.1.0.1", "X-Forwarded-Port: 4711"),
    "a port of its own, signed": ("X-Forwarded-For: 10.1.0.1", "X-Forwarded-Port: +4711"),
    "a port in other digits": (
        "X-Forwarded-For: 10.1.0.1",
        f"X-Forwarded-Port: {WIDE}",
    ),
    "a zone with a separator": ("X-Forwarded-For: [::ffff:10.1.0.1%a=b]:4711",),
    "another separator": ("X-Forwarded-For: [::ffff:10.1.0.1%a;b]:4711",),
    "a zone and a port of its own": (
        "X-Forwarded-For: ::ffff:10.1.0.1%a=b",
        "X-Forwarded-Port: 4711",
    ),
    "other names": ("X-Real-IP: 10.1.0.1", "X-Real-Port: 4711"),
    "other names and digits": ("X-Real-IP: 10.1.0.1", f"X-Real-Port: {WIDE}"),
    "Forwarded": ("Forwarded: for=10.1.0.1",),
    "Forwarded with a port": ('Forwarded: for="10.1.0.1:4711"',),
}
"""Headers of a stranger who imitates a trusted proxy."""

PROXY_LINE = b"PROXY TCP4 10.1.0.1 10.1.0.2 4711 8000\r\n"
PROXY_PROTOCOL = ("--proxy-protocol", "--proxy-allow-from", "*")

REPLACES_ADDRESSES: dict[str, Sequence[str]] = {
    "uvicorn": (*UVICORN, "--forwarded-allow-ips", "*", ASGI),
    "gunicorn, uvicorn's worker": (
        *(*GUNICORN, "--forwarded-allow-ips", "*"),
        *("-k", "uvicorn.workers.UvicornWorker", ASGI),
    ),
    "daphne": (*DAPHNE, "--proxy-headers", ASGI),
    "daphne, other headers": (
        *(*DAPHNE, "--proxy-headers-host", "X-Real-IP", "--proxy-headers-port", "X-Real-Port"),
        *("--proxy-headers", ASGI),
    ),
    "waitress": (
        *(*WAITRESS, "--trusted-proxy", "*", "--trusted-proxy-headers", "x-forwarded-for"),
        WSGI,
    ),
    "waitress, Forwarded": (
        *(*WAITRESS, "--trusted-proxy", "*", "--trusted-proxy-headers", "forwarded"),
        WSGI,
    ),
    "gunicorn": (*GUNICORN, *PROXY_PROTOCOL, WSGI),
    "gunicorn, worker gthread": (*GUNICORN, *PROXY_PROTOCOL, "--threads", "2", WSGI),
    "gunicorn, worker asgi": (*GUNICORN, *PROXY_PROTOCOL, "-k", "asgi", ASGI),
}
HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.mark.parametrize("name", REPLACES_ADDRESSES)
def test_an_address_from_a_header_is_no_peer(serve, forms, name: str) -> None:
    """A peer address from a header or the PROXY protocol is not trusted."""
    needs("daphne", "httptools", "uvicorn.workers", "gunicorn.asgi")
    with serve(REPLACES_ADDRESSES[name], ARRCERT_TRUSTED_PROXIES='["10.1.0.0/16"]') as site:
        for form, headers in FORWARDED.items():
            for more in ((), HANDSHAKE):
                query = f"/?{form}".replace(" ", "+")
                request = forms("legitimate", query, more=(*headers, *more))
                for packet in (request, PROXY_LINE + request):
                    site.exchange(packet)
        verdicts = {line.split()[0] for line in decisions(site)}
        assert verdicts == {"not_through_front_end"}
        assert "the server has replaced the peer's address" in site.log.read_text()


@pytest.mark.parametrize("name", REPLACES_ADDRESSES)
def test_a_trusted_proxy_passes_where_its_address_is_seen(serve, forms, name: str) -> None:
    """The proxy's own address is trusted, unless gunicorn's ASGI worker has the PROXY protocol."""
    needs("daphne", "httptools", "uvicorn.workers", "gunicorn.asgi")
    with serve(REPLACES_ADDRESSES[name], ARRCERT_TRUSTED_PROXIES='["127.0.0.1"]') as site:
        site.exchange(forms("legitimate", "/?proxy"))
        expected = "not_through_front_end" if name == "gunicorn, worker asgi" else "entered"
        assert decisions(site) == [f"{expected} proxy"]


def test_daphne_before_4_2_2_is_refused_for_websockets(serve, forms, old_release) -> None:
    """On an old daphne, a WebSocket handshake is refused, and HTTP is served."""
    needs("daphne")
    variables = {"PYTHONPATH": str(old_release("daphne==4.2.1"))}
    with serve([*DAPHNE, ASGI], **variables) as site, in_front(serve, "HAProxy", site.port) as port:
        behind = site._replace(port=port)
        behind.exchange(forms("behind 85", "/?split", more=HANDSHAKE))
        behind.exchange(forms("nothing", "/?plain"))
        site.exchange(forms("legitimate", "/?owner"))
        assert decisions(site) == ["misconfigured split", "missing plain", "entered owner"]
        assert "upgrade daphne to 4.2.2 or newer" in site.log.read_text()


@pytest.mark.parametrize("normalizes", [None, False, True])
def test_loose_line_ends_are_told_or_refused(serve, forms, normalizes: bool | None) -> None:
    """With unknown line ends of the front end, the log warns once of a server with loose ones."""
    needs("hypercorn")
    front_end: dict[str, object] = {"header": "X-ARR-ClientCert"}
    if normalizes is not None:
        front_end["normalizes_line_ends"] = normalizes
    words = (*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}", ASGI)
    with serve(words, ARRCERT_FRONT_END=json.dumps(front_end)) as site:
        for _ in range(2):
            site.exchange(forms("legitimate", "/?owner"))
        verdict = "misconfigured" if normalizes is False else "entered"
        assert decisions(site) == [f"{verdict} owner"] * 2
        told = site.log.read_text().count("hypercorn takes a bare LF for the end of a header line")
        assert told == {None: 1, False: 2, True: 0}[normalizes]
