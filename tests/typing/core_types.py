"""The types of the core for a type checker; only `make types` reads this file."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_type
from wsgiref.simple_server import demo_app
from wsgiref.types import WSGIApplication

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    DenialReason,
    Policy,
    asgi,
    wsgi,
)
from arrcert.outbound import client_ssl_context

policy = Policy(
    fingerprints=["A" * 40],
    common_names=("alice",),
    issuers={"CN=Contoso CA,O=Contoso"},
    trust_anchors=[Path("roots.pem"), "more.pem"],
    intermediates="intermediates.pem",
    names_proven_by_front_end=False,
)
authorizer = Authorizer({"default": policy, "partners": [policy, policy]}, front_end="app-service")
Authorizer({"default": policy}, front_end={"header": "X-Client"})
assert_type(authorizer.authorize(None), ClientCertificate)
assert_type(authorizer.authorize("x", policy="partners", at=datetime.now(UTC)), ClientCertificate)
assert_type(authorizer.authorize_wsgi({}), ClientCertificate)
assert_type(authorizer.authorize_asgi({}), ClientCertificate)
assert_type(authorizer.authorize_headers([("a", "b")]), ClientCertificate)
authorizer.authorize_headers({"a": "b"}.items())
authorizer.authorize_headers([(b"a", b"b")])

certificate = ClientCertificate.from_der(b"")
assert_type(certificate.common_name, str | None)
assert_type(certificate.dns_names, tuple[str, ...])
policy.check(certificate)

try:
    authorizer.authorize(None)
except CertificateDenied as denied:
    assert_type(denied.reason, DenialReason)
    assert_type(denied.reasons, tuple[DenialReason, ...])
    assert_type(denied.certificate, ClientCertificate | None)

assert_type(Authorizer.from_environment(), Authorizer)
assert_type(authorizer.policy_names, tuple[str, ...])
around: WSGIApplication = wsgi.ClientCertificateMiddleware(demo_app, authorizer)
around = wsgi.ClientCertificateMiddleware(around, policy=None, exempt_paths=["/health"])


async def asgi_app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    """An app with the types of the ASGI specification."""


asgi_around: asgi.ASGIApplication = asgi.ClientCertificateMiddleware(asgi_app, lambda: authorizer)
asgi.ClientCertificateMiddleware(asgi_around, policy="partners")
assert_type(asgi.is_guarded(asgi_around), bool)

assert_type(client_ssl_context("A" * 40), ssl.SSLContext)
client_ssl_context(Path("a.p12"), password=b"secret", cafile=Path("ca.pem"))
client_ssl_context("a.p12", "secret", "ca.pem")

client_ssl_context(b"a.p12")  # type: ignore[arg-type]
wsgi.ClientCertificateMiddleware(demo_app, "default")  # type: ignore[arg-type]
wsgi.ClientCertificateMiddleware(asgi_app)  # type: ignore[arg-type]
asgi.ClientCertificateMiddleware(demo_app)  # type: ignore[arg-type]
Policy(["A" * 40])  # type: ignore[call-arg]
Policy(fingerprint=["A" * 40])  # type: ignore[call-arg]
Policy(fingerprints=7)  # type: ignore[arg-type]
authorizer.authorize(b"x")  # type: ignore[arg-type]
authorizer.authorize("x", at="now")  # type: ignore[arg-type]
authorizer.authorize_headers({"a": "b"})  # type: ignore[dict-item]
certificate.common_name.upper()  # type: ignore[union-attr]
