"""Four stacks, each on a real server, all configured alike."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arrcert.testing import CertificateAuthority, IssuedCertificate

HERE = Path(__file__).parent
GUNICORN = ["-m", "gunicorn", "--limit-request-field_size", "65536", "--log-level", "warning"]
UVICORN = ["-m", "uvicorn", "--http", "h11", "--log-level", "warning", "--lifespan", "off"]
# Told to, it leaves X-Forwarded-Proto alone; it cannot inherit a socket.
WAITRESS = ["-m", "waitress", "--no-clear-untrusted-proxy-headers"]
STACKS = {
    "Flask on gunicorn": [*GUNICORN, "--bind", "fd://{fd}", "flask_site:app"],
    "Flask on waitress": [*WAITRESS, "--listen", "127.0.0.1:{port}", "flask_site:app"],
    "Django WSGI on gunicorn": [*GUNICORN, "--bind", "fd://{fd}", "django_site:wsgi"],
    "Django ASGI on uvicorn": [*UVICORN, "--fd", "{fd}", "django_site:asgi"],
}


@pytest.fixture(scope="session")
def bob(authority: CertificateAuthority) -> IssuedCertificate:
    """The client that the policy "partners" allows."""
    return authority.issue("bob")


@pytest.fixture(scope="session", params=STACKS)
def stack(
    request: pytest.FixtureRequest,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    expired: IssuedCertificate,
) -> Iterator[int]:
    """The port of a running stack."""
    policies = {
        "default": {
            "fingerprints": [
                alice.certificate.sha256_fingerprint,
                expired.certificate.sha256_fingerprint,
            ]
        },
        "partners": {
            "trust_anchors": authority.certificate_pem.decode(),
            "common_names": ["bob"],
        },
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")}
    environ |= {
        "ARRCERT": json.dumps(policies),
        "ARRCERT_PROTECT_ALL": "true",
        "ARRCERT_EXEMPT_PATHS": "/health;/public/*",
    }
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    words = STACKS[request.param]
    if "{port}" in "".join(words):
        listener.close()
    server = subprocess.Popen(
        [sys.executable, *(word.format(fd=listener.fileno(), port=port) for word in words)],
        cwd=HERE,
        env=environ,
        pass_fds=[] if listener.fileno() < 0 else [listener.fileno()],
    )
    try:
        _wait_until_it_answers(port, server)
        yield port
    finally:
        listener.close()
        server.terminate()
        server.wait(10)


def _wait_until_it_answers(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if client.recv(12) == b"HTTP/1.1 200":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server did not answer")
