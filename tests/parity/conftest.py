"""Four stacks with the same configuration, each on a real server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arrcert.testing import CertificateAuthority, IssuedCertificate

HERE = Path(__file__).parent
GUNICORN = ["-m", "gunicorn", "--limit-request-field_size", "65536", "--log-level", "warning"]
UVICORN = ["-m", "uvicorn", "--http", "h11", "--log-level", "warning", "--lifespan", "off"]
# With this option waitress keeps X-Forwarded-Proto. It cannot inherit a socket.
WAITRESS = ["-m", "waitress", "--no-clear-untrusted-proxy-headers"]
STACKS = {
    "Flask on gunicorn": [*GUNICORN, "--bind", "fd://{fd}", "flask_site:app"],
    "Flask on waitress": [*WAITRESS, "--listen", "127.0.0.1:{port}", "flask_site:app"],
    "Django WSGI on gunicorn": [*GUNICORN, "--bind", "fd://{fd}", "django_site:wsgi"],
    "Django ASGI on uvicorn": [*UVICORN, "--fd", "{fd}", "django_site:asgi"],
}
MOUNTED = {
    # gunicorn takes SCRIPT_NAME from its environment.
    "Flask on gunicorn": STACKS["Flask on gunicorn"],
    "Flask on waitress": [*WAITRESS, "--url-prefix", "/app", *STACKS["Flask on waitress"][-3:]],
    "Django WSGI on gunicorn": STACKS["Django WSGI on gunicorn"],
    "Django ASGI on uvicorn": [*STACKS["Django ASGI on uvicorn"], "--root-path", "/app"],
}


@pytest.fixture(scope="session")
def bob(authority: CertificateAuthority) -> IssuedCertificate:
    """The client that the policy "partners" allows."""
    return authority.issue("bob")


@pytest.fixture(scope="session", params=STACKS)
def stack(request: pytest.FixtureRequest, policies: dict[str, object]) -> Iterator[int]:
    """Run a stack and yield its port."""
    with running(STACKS[request.param], policies) as port:
        yield port


@pytest.fixture(scope="session", params=MOUNTED)
def mounted_stack(
    request: pytest.FixtureRequest, policies: dict[str, object]
) -> Iterator[tuple[int, str]]:
    """Run a stack with its site at /app, and yield its port and the prefix of its targets."""
    words = MOUNTED[request.param]
    # uvicorn expects the front end to remove the root path.
    at = "" if "--root-path" in words else "/app"
    with running(words, policies, at, SCRIPT_NAME="/app") as port:
        yield port, at


@pytest.fixture(scope="session")
def policies(
    authority: CertificateAuthority, alice: IssuedCertificate, expired: IssuedCertificate
) -> dict[str, object]:
    """The policies of every stack."""
    pins = [alice.certificate.sha256_fingerprint, expired.certificate.sha256_fingerprint]
    partners = {"trust_anchors": authority.certificate_pem.decode(), "common_names": ["bob"]}
    return {"default": {"fingerprints": pins}, "partners": partners}


@contextmanager
def running(
    words: list[str], policies: dict[str, object], at: str = "", **variables: str
) -> Iterator[int]:
    """Run a stack and yield its port. `at` is the prefix of its targets."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")}
    environ |= variables | {
        "ARRCERT": json.dumps(policies),
        "ARRCERT_PROTECT_ALL": "true",
        "ARRCERT_EXEMPT_PATHS": "/health;/public/*",
    }
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if "{port}" in "".join(words):
        listener.close()
    server = subprocess.Popen(
        [sys.executable, *(word.format(fd=listener.fileno(), port=port) for word in words)],
        cwd=HERE,
        env=environ,
        pass_fds=[] if listener.fileno() < 0 else [listener.fileno()],
    )
    try:
        _wait_until_it_answers(port, at, server)
        yield port
    finally:
        listener.close()
        server.terminate()
        server.wait(10)


def _wait_until_it_answers(port: int, at: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                request = f"GET {at}/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                client.sendall(request.encode())
                if client.recv(12) == b"HTTP/1.1 200":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server did not answer")
