"""Certification paths, and the files they are built from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from arrcert import CertificateDenied, ClientCertificate, DenialReason
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert.trust import TrustStore, load_certificates

NOW = datetime.now(UTC)


def is_trusted(store: TrustStore, certificate: ClientCertificate, at: datetime = NOW) -> bool:
    """Tell whether a path leads to the store's anchors."""
    try:
        store.authenticate(certificate, at)
    except CertificateDenied as denied:
        assert denied.reason is DenialReason.UNTRUSTED
        assert denied.certificate == certificate
        return False
    return True


def test_path_leads_to_the_anchor(
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    look_alike: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """Only the anchor's own key makes a path; its name, claimed by another key, makes none."""
    store = TrustStore([authority.x509])
    assert is_trusted(store, alice.certificate)
    assert not is_trusted(store, look_alike.certificate)
    assert not is_trusted(store, impostor.certificate)
    assert not is_trusted(store, self_signed("alice").certificate)


def test_intermediates_help_and_prove_nothing(authority: CertificateAuthority) -> None:
    """A configured intermediate may stand on the path; alone it is no anchor."""
    issuing = CertificateAuthority("Contoso Issuing CA 2", issuer=authority)
    certificate = issuing.issue("alice").certificate
    stranger = CertificateAuthority("Stranger")
    assert not is_trusted(TrustStore([authority.x509]), certificate)
    assert is_trusted(TrustStore([authority.x509], [issuing.x509]), certificate)
    assert is_trusted(TrustStore([issuing.x509]), certificate)
    assert not is_trusted(TrustStore([stranger.x509], [issuing.x509, authority.x509]), certificate)


def test_every_link_is_valid_at_the_moment() -> None:
    """An expired anchor or intermediate breaks the path, at the moment asked for."""
    soon = NOW + timedelta(days=2)
    root = CertificateAuthority("Root", not_after=NOW + timedelta(days=10))
    issuing = CertificateAuthority("Issuing", issuer=root, not_after=soon)
    certificate = issuing.issue("alice").certificate
    store = TrustStore([root.x509], [issuing.x509])
    assert is_trusted(store, certificate)
    assert is_trusted(store, certificate, issuing.x509.not_valid_after_utc)
    assert not is_trusted(store, certificate, soon + timedelta(seconds=1))
    assert not is_trusted(
        TrustStore([issuing.x509]), certificate, issuing.x509.not_valid_before_utc - timedelta(1)
    )


def test_ca_certificate_is_no_client(authority: CertificateAuthority) -> None:
    """A CA certificate presented as a client's is refused with the remedy."""
    certificate = ClientCertificate.from_pem(authority.certificate_pem)
    with pytest.raises(CertificateDenied, match="pin its fingerprint"):
        TrustStore([authority.x509]).authenticate(certificate, NOW)


def test_nothing_hangs_below_a_leaf(alice: IssuedCertificate) -> None:
    """A path does not continue below a certificate that is no CA (THREATS)."""
    below = CertificateAuthority.__new__(CertificateAuthority)
    below._key, below.name, below.x509 = (  # type: ignore[assignment]
        alice.private_key,
        alice.certificate.x509.subject,
        alice.certificate.x509,
    )
    certificate = below.issue("mallory").certificate
    assert not is_trusted(TrustStore([alice.certificate.x509]), certificate)


def test_file_may_hold_several(
    tmp_path: Path, authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    """Every block of a file is read, and text around them is allowed."""
    path = tmp_path / "roots.pem"
    path.write_bytes(
        b"# our roots\r\n" + authority.certificate_pem + b"and\n" + other_authority.certificate_pem
    )
    expected = [authority.x509, other_authority.x509]
    assert load_certificates(path) == load_certificates(str(path)) == expected
    assert load_certificates(path.read_text()) == expected


def test_bad_file_is_a_sentence(
    tmp_path: Path, alice: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """What cannot be an anchor says which file and why (THREATS: a missing trust store)."""
    pem = authority.certificate_pem
    der = load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    for content, why in (
        (b"", "holds no PEM certificate; it must hold"),
        (b"hello", "holds no PEM certificate; it must hold"),
        (der, "it is DER; turn it into PEM"),
        (pem + alice.private_key_pem, "holds a private key"),
        (pem.replace(b"-----END", b"-----ENDE"), "roots.pem"),
        (pem[:100] + b"\n-----END CERTIFICATE-----\n", "broken"),
        (pem + b"-----BEGIN CERTIFICATE-----\nMIIB\n", "roots.pem"),
    ):
        path = tmp_path / "roots.pem"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=why) as caught:
            load_certificates(path)
        assert "roots.pem" in str(caught.value)
        assert b"PRIVATE KEY" not in str(caught.value).encode()


def test_unreadable_path_is_a_sentence(tmp_path: Path) -> None:
    """An absent file, a folder and an impossible name are told apart."""
    for path, why in (
        (tmp_path / "absent.pem", "No such file"),
        (tmp_path, "directory"),
        ("a\x00b", "null"),
    ):
        with pytest.raises(ValueError, match=why):
            load_certificates(path)
