"""The certificates that `arrcert.testing` makes for the tests of apps."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from arrcert import Authorizer, Policy
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed


def test_issued_certificate_enters_under_its_authority() -> None:
    """A policy that trusts an authority accepts the client certificates that it issues."""
    authority = CertificateAuthority("CA", organization="Contoso")
    client = authority.issue("alice", organization="Contoso", dns_names=["a.example"])
    authorizer = Authorizer({"default": Policy(trust_anchors=authority.certificate_pem.decode())})
    assert authorizer.authorize(client.header_value) == client.certificate
    assert client.certificate.subject == "CN=alice,O=Contoso"
    assert client.certificate.issuer == "CN=CA,O=Contoso"
    assert client.certificate.dns_names == ("a.example",)


def test_header_is_what_app_service_sends(alice: IssuedCertificate) -> None:
    """The headers hold bare base64 DER under X-ARR-ClientCert, as App Service sends it."""
    assert base64.b64decode(alice.header_value) == alice.certificate.der
    assert alice.headers == {"X-ARR-ClientCert": alice.header_value}


def test_self_signed_claims_names_without_a_signature(
    authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """A self-signed certificate can have the names of a real one, but is another certificate."""
    look_alike = self_signed("alice", issuer=authority).certificate
    assert (look_alike.subject, look_alike.issuer) == (
        alice.certificate.subject,
        alice.certificate.issuer,
    )
    assert look_alike != alice.certificate
    alone = self_signed("bob", organization="Contoso").certificate
    assert alone.subject == alone.issuer == "CN=bob,O=Contoso"


def test_validity_is_as_asked() -> None:
    """The given dates are kept, and the default is a validity from yesterday for a year."""
    before = datetime(2020, 1, 1, tzinfo=UTC)
    after = datetime(2020, 2, 1, tzinfo=UTC)
    old = self_signed("old", not_before=before, not_after=after).certificate
    assert (old.not_valid_before_utc, old.not_valid_after_utc) == (before, after)
    past = self_signed("past", not_after=after).certificate
    assert past.not_valid_before_utc < after
    now = self_signed("now").certificate
    assert now.not_valid_before_utc < datetime.now(UTC)
    assert now.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)


def test_pem_is_what_servers_and_clients_load(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    """The PEM certificate and key load into a TLS context."""
    server = authority.issue(
        "localhost",
        dns_names=["localhost"],
        ip_addresses=["127.0.0.1"],
        extended_key_usages=("serverAuth",),
    )
    (tmp_path / "cert.pem").write_bytes(server.certificate_pem)
    (tmp_path / "key.pem").write_bytes(server.private_key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    context.load_verify_locations(cadata=authority.certificate_pem.decode())
    assert context.cert_store_stats()["x509_ca"] == 1
