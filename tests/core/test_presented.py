"""The facts about a presented certificate, which are computed once for all policies."""

from __future__ import annotations

import pytest
from cryptography import x509

from arrcert import Authorizer, CertificateDenied, DenialReason, Policy
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


def test_key_of_the_certificate(alice: IssuedCertificate) -> None:
    """The fingerprint of the public key and its weakness are those of the certificate."""
    presented = Presented(alice.certificate)
    assert len(presented.public_key_fingerprint or "") == 64
    assert presented.weakness_of_key is None
