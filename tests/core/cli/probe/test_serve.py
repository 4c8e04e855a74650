"""`arrcert serve` in each of its modes, in front of a site that arrcert protects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from arrcert import Authorizer, Policy
from arrcert.cli.front_end import FrontEndServer
from arrcert.cli.local_apps import RunningWSGIApp
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware

Serve = Callable[..., str]


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Show a page."""
    environ["wsgi.input"].read()
    body = b"page\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@pytest.fixture
def serve(alice: IssuedCertificate) -> Iterator[Serve]:
    """A function that starts the front end in front of the site, and returns the page's URL."""
    servers: list[Any] = []

    def serve(**options: Any) -> str:
        policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
        authorizer = Authorizer({"default": policy})
        app = ClientCertificateMiddleware(page, authorizer, exempt_paths=["/health"])
        behind = RunningWSGIApp(app)
        server = CertificateAuthority("CA").issue(
            "localhost", dns_names=["localhost"], extended_key_usages=("serverAuth",)
        )
        front_end = FrontEndServer(
            behind.address,
            certificate=server.certificate_pem,
            key=server.private_key_pem,
            bind=("127.0.0.1", 0),
            **options,
        )
        front_end.start()
        servers.extend([front_end, behind])
        return f"https://localhost:{front_end.url.rpartition(':')[2]}/page"

    yield serve
    for server in servers:
        server.stop()


@pytest.mark.parametrize(("mode", "by"), [("required", "the front end"), ("optional", "the site")])
def test_serve_is_not_accused(probe: Any, serve: Serve, mode: str, by: str) -> None:
    """In the modes that request a certificate, the probe finds no entry and names the mode."""
    url = serve(client_cert_mode=mode, excluded_paths="/public")
    port = url.split(":")[2].partition("/")[0]
    probed = probe(url, f"--http-port={port}", "--excluded=/public", "--open=/health")
    assert probed.entries == set()
    assert probed.exit_code == 0
    assert probed.rows["mode"]["got"] == f"{mode.title()}, asked for in the first handshake"
    assert probed.rows["who refuses"]["got"] == f"without one: {by}; a stranger: the site"
    assert probed.rows["excluded"]["verdict"] == "ok"
    assert probed.rows["plain HTTP"]["meaning"] == "Plain HTTP is refused."


def test_a_front_end_that_ignores_certificates(probe: Any, serve: Serve) -> None:
    """In the mode `ignore` the allowed client is denied, and the probe says why."""
    probed = probe(serve(client_cert_mode="ignore"))
    assert probed.exit_code == 2
    assert "change the mode from Ignore to Required" in probed.verdict
