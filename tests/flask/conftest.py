"""Small apps with two policies."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert_flask import Arrcert


@pytest.fixture(scope="session")
def bob(authority: CertificateAuthority) -> IssuedCertificate:
    """The client that the policy "partners" allows."""
    return authority.issue("bob")


@pytest.fixture
def config(
    alice: IssuedCertificate, bob: IssuedCertificate, authority: CertificateAuthority
) -> dict[str, Any]:
    """Two policies: "default" pins alice, "partners" allows bob by CA and name."""
    return {
        "TESTING": True,
        "ARRCERT": {
            "default": {"fingerprints": [alice.certificate.sha256_fingerprint]},
            "partners": {
                "trust_anchors": authority.certificate_pem.decode(),
                "common_names": ["bob"],
            },
        },
    }


@pytest.fixture
def app(config: dict[str, Any]) -> Flask:
    """An app where only decorated views are protected."""
    app = Flask(__name__)
    app.config.update(config)
    Arrcert(app)
    return app


@pytest.fixture
def protected_app(config: dict[str, Any]) -> Flask:
    """An app where every endpoint is protected."""
    app = Flask(__name__)
    app.config.update(
        config,
        ARRCERT_PROTECT_ALL=True,
        ARRCERT_EXEMPT_PATHS=["/health", "/public/*"],
    )
    Arrcert(app)
    return app
