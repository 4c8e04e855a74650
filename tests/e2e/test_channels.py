"""WebSockets of Channels, which bypass Django's middleware, on real servers."""

from __future__ import annotations

import importlib.util
import socket
import sys
from typing import Any

import pytest

from arrcert.testing import IssuedCertificate

pytestmark = pytest.mark.matrix

PYTHON = (sys.executable, "-m")
UVICORN = (*PYTHON, "uvicorn", "--port", "{port}", "--log-level", "warning", "--lifespan", "off")
SERVERS = {
    "uvicorn, websockets": (*UVICORN, "--ws", "websockets"),
    "uvicorn, wsproto": (*UVICORN, "--ws", "wsproto"),
    "daphne": (*PYTHON, "daphne", "--port", "{port}"),
    "hypercorn": (*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}"),
}
HANDSHAKE = (
    "GET /socket HTTP/1.1",
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def handshake(port: int, *headers: str, until: bytes = b"\r\n\r\n") -> str:
    """Open a WebSocket and return the answer up to a text."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*HANDSHAKE, *headers, "", ""]).encode())
        while until not in answer:
            received = connection.recv(65536)
            if not received:
                break
            answer += received
    return answer.decode("latin-1")


@pytest.mark.parametrize("name", SERVERS)
def test_websocket_of_channels_is_denied_before_it_is_accepted(
    serve: Any, alice: IssuedCertificate, impostor: IssuedCertificate, name: str
) -> None:
    """Inside the ASGI middleware, a stranger's WebSocket and a cross-site one are refused."""
    for module in ("channels", *name.split(", ")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"the package {module} is missing")
    known = f"X-ARR-ClientCert: {alice.header_value}"
    with serve([*SERVERS[name], "channels_site:guarded"]) as site:
        assert handshake(site.port).startswith("HTTP/1.1 403 ")
        stranger = handshake(site.port, f"X-ARR-ClientCert: {impostor.header_value}")
        assert stranger.startswith("HTTP/1.1 403 ")
        foreign = handshake(site.port, known, "Origin: https://evil.example")
        assert foreign.startswith("HTTP/1.1 403 ")
        own = "Origin: https://localhost"
        entered = handshake(site.port, known, own, until=b"entered: alice")
        assert entered.startswith("HTTP/1.1 101 ")
        assert "entered: alice" in entered
        reasons = [
            line.partition("'default': ")[2].partition(":")[0]
            for line in site.log.read_text().splitlines()
            if line.startswith("denied WEBSOCKET /socket")
        ]
        assert reasons == ["missing", "fingerprint_not_allowed", "cross_site"]
        page = site.exchange(
            f"GET / HTTP/1.1\r\nHost: x\r\n{known}\r\nConnection: close\r\n\r\n".encode()
        )
        assert page.status == 200
        assert b"alice" in page.body


def test_without_the_middleware_a_stranger_is_accepted(serve: Any) -> None:
    """Without the ASGI middleware a stranger's WebSocket is accepted."""
    if importlib.util.find_spec("channels") is None:
        pytest.skip("the package channels is missing")
    with serve([*SERVERS["uvicorn, wsproto"], "channels_site:bare"]) as site:
        assert handshake(site.port, until=b"entered: nobody").startswith("HTTP/1.1 101 ")
