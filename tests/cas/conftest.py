"""Fixtures of the tests with real CAs: a site that is never restarted, and web servers."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arrcert import Authorizer, CertificateDenied, ClientCertificate, Policy

PATIENCE = 30.0
"""The seconds that a test waits for a verdict to change, which is enough on a slow machine."""


class Site:
    """A site with one policy, which keeps running while files change.

    Args:
        policy: what `Policy` takes.
    """

    def __init__(self, **policy: Any) -> None:
        self._authorizer = Authorizer({"default": Policy(**policy)})

    def verdict(self, pem: str | bytes) -> str | None:
        """Return why a client is denied now, or None."""
        return self.denial(pem)[0]

    def denial(self, pem: str | bytes) -> tuple[str | None, str]:
        """Return why a client is denied now, and the detail."""
        text = pem.decode() if isinstance(pem, bytes) else pem
        header = base64.b64encode(ClientCertificate.from_pem(text).der).decode()
        try:
            self._authorizer.authorize(header)
        except CertificateDenied as denied:
            return denied.reason.value, denied.detail
        return None, ""

    def becomes(self, pem: str | bytes, wanted: str | None) -> float:
        """Wait until a client has the wanted verdict, and return the seconds that it took."""
        begin = time.monotonic()
        while self.verdict(pem) != wanted:
            assert time.monotonic() - begin < PATIENCE, self.denial(pem)
            time.sleep(0.1)
        return time.monotonic() - begin


@pytest.fixture
def make_site() -> type[Site]:
    """The class `Site`."""
    return Site


@pytest.fixture
def published() -> Iterator[dict[str, bytes]]:
    """The content of a web server on this machine: path -> content. `url` is its address."""
    content: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send the content of the path."""
            body = content.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        content["url"] = f"http://127.0.0.1:{server.server_address[1]}".encode()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield content
        server.shutdown()
        thread.join()


@pytest.fixture
def start_server() -> Iterator[Callable[..., str]]:
    """A function that starts a program which listens on a port, and returns its address."""
    with contextlib.ExitStack() as running:

        def start(command: Callable[[int], list[str]], **options: Any) -> str:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            process = subprocess.Popen(
                command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
            )
            running.callback(process.wait, 30)
            running.callback(process.terminate)
            begin = time.monotonic()
            while True:
                assert process.poll() is None, f"{command(port)} ended"
                assert time.monotonic() - begin < PATIENCE, f"{command(port)} does not listen"
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    return f"http://127.0.0.1:{port}"
                time.sleep(0.1)

        yield start


@pytest.fixture
def fetch_crls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that runs `arrcert fetch-crls` and returns what it prints."""
    from click.testing import CliRunner

    from arrcert.cli import main

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def fetch(*arguments: str | Path) -> str:
        result = CliRunner().invoke(main, ["fetch-crls", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return fetch


@pytest.fixture
def make_request() -> Callable[[str], str]:
    """A function that makes a key and returns a request for a certificate as PEM."""

    def make(common_name: str) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        request = builder.sign(key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode()

    return make
