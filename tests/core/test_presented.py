"""The facts about a presented certificate, which are computed once for all policies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from arrcert import Authorizer, CertificateDenied, DenialReason, Policy, names
from arrcert import presented as module
from arrcert.presented import Presented
from arrcert.testing import CertificateAuthority, IssuedCertificate


def test_names_are_shown_for_the_log(authority: CertificateAuthority) -> None:
    """Names are in quotation marks, and a certificate without names is described as such."""
    presented = Presented(
        authority.issue("alice", dns_names=["a.example", "b.example"]).certificate
    )
    assert presented.shown_dns_names == "'a.example, b.example'"
    assert presented.shown_uris == presented.shown_email_addresses == "'none'"


def test_facts_are_worked_out_once(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public key is read once for a thousand alternatives."""
    calls: list[x509.Certificate] = []

    def fingerprint(certificate: x509.Certificate) -> str:
        calls.append(certificate)
        return "0" * 64

    monkeypatch.setattr(module, "public_key_fingerprint", fingerprint)
    policies = [Policy(public_keys=[f"{number:064X}"]) for number in range(1, 1001)]
    authorizer = Authorizer({"default": policies})
    with pytest.raises(CertificateDenied) as caught:
        authorizer.authorize(authority.issue("alice").header_value)
    assert caught.value.reasons == (DenialReason.FINGERPRINT_NOT_ALLOWED,) * 1000
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("function", "field", "kind", "held", "parameters", "readings"),
    [
        ("_parent_domain", "dns_name", x509.DNSName, "h{}.b.example", {}, 1),
        (
            "_parent_domain",
            "dns_name",
            x509.DNSName,
            "h{}.b.example",
            {"dns_names": ["*.b.example"]},
            2,
        ),
        (
            "_folders_above",
            "uri",
            x509.UniformResourceIdentifier,
            "a://b/{}",
            {"uris": ["a://b/*"]},
            2,
        ),
        ("_mailbox_and_host", "email_address", x509.RFC822Name, "h{}@b.example", {}, 1),
    ],
)
def test_names_for_identities_are_read_once(
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    field: str,
    kind: Callable[[str], x509.GeneralName],
    held: str,
    parameters: dict[str, Any],
    readings: int,
) -> None:
    """The names that may be an identity are read once or twice for forty alternatives.

    The second time is for the look-up of those below a domain or a folder.
    """
    texts = [held.format(number) for number in range(50)]
    alternative_name = x509.SubjectAlternativeName([kind(text) for text in texts])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative_name, critical=True)
        .sign(key, hashes.SHA256())
    )
    client = IssuedCertificate(certificate, key)
    policies = [
        Policy(
            fingerprints=[client.certificate.sha256_fingerprint],
            identity=f"p{number}:{{{field}}}",
            **parameters,
        )
        for number in range(40)
    ]
    authorizer = Authorizer({"default": policies})
    called = getattr(names, function)
    calls: list[str] = []

    def counted(text: str) -> Any:
        calls.append(text)
        return called(text)

    monkeypatch.setattr(names, function, counted)
    with pytest.raises(CertificateDenied) as caught:
        authorizer.authorize(client.header_value)
    assert caught.value.reasons == (DenialReason.NO_IDENTITY,) * 40
    assert len(calls) == readings * 50
    assert f"it holds '{texts[0]}, {texts[1]}' and more" in caught.value.detail


def test_key_of_the_certificate(alice: IssuedCertificate) -> None:
    """The fingerprint of the public key and its weakness are those of the certificate."""
    presented = Presented(alice.certificate)
    assert len(presented.public_key_fingerprint or "") == 64
    assert presented.weakness_of_key is None
