"""An app with two policies, and clients that present certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert_fastapi import Arrcert


@pytest.fixture(scope="session")
def bob(authority: CertificateAuthority) -> IssuedCertificate:
    """The client that the policy "partners" accepts, as "bob" with the role "orders"."""
    return authority.issue("bob")


@pytest.fixture(scope="session")
def stranger() -> IssuedCertificate:
    """A client that no policy accepts."""
    return self_signed("bob")


@pytest.fixture
def settings(
    alice: IssuedCertificate, bob: IssuedCertificate, authority: CertificateAuthority
) -> dict[str, Any]:
    """Two policies: "default" pins alice, "partners" accepts bob by CA and name."""
    return {
        "ARRCERT": {
            "default": {
                "fingerprints": [alice.certificate.sha256_fingerprint],
                "identity": "alice",
            },
            "partners": {
                "trust_anchors": authority.certificate_pem.decode(),
                "common_names": ["bob"],
                "identity": "{common_name}",
                "roles": ["orders"],
            },
        },
        "ARRCERT_EXEMPT_PATHS": ["/health"],
    }


@pytest.fixture
def app(settings: dict[str, Any]) -> FastAPI:
    """An app with its gate and without routes."""
    app = FastAPI()
    Arrcert(app, settings)
    return app


@pytest.fixture
def visit(app: FastAPI) -> Callable[..., Any]:
    """A function that sends a request as the holder of a certificate, or as a stranger."""

    def send(
        path: str, who: IssuedCertificate | None = None, method: str = "GET", **options: Any
    ) -> Any:
        headers = {**(who.headers if who else {}), **options.pop("headers", {})}
        return TestClient(app).request(method, path, headers=headers, **options)

    return send
