"""Fixtures that the tests of the command share."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from arrcert.testing import CertificateAuthority

MODULE_NUMBERS = itertools.count()


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A function that writes a module into the empty current directory and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])

    def make(source: str) -> str:
        name = f"site_{next(MODULE_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return name

    return make


class CRLServer(ThreadingHTTPServer):
    """A web server that serves what a test puts into `answers`: path -> (status, headers, body)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.requested: list[str] = []
        super().__init__(("127.0.0.1", 0), CRLHandler)

    @property
    def url(self) -> str:
        """The address of the server, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class CRLHandler(BaseHTTPRequestHandler):
    server: CRLServer

    def do_GET(self) -> None:
        """Send the answer for the path."""
        self.server.requested.append(self.path)
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def crl_server() -> Iterator[CRLServer]:
    """A web server on this machine."""
    with CRLServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: CertificateAuthority
) -> Path:
    """The current directory, with the certificate of the CA in `ca.pem`."""
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    return tmp_path
