"""step-ca: its lists name a distribution point, and its certificates name none.

No package of the registries carries step-ca itself. The lists here are made byte for byte in the
shape that its source documents (`GenerateCertificateRevocationList` and `marshalDistributionPoint`
in `authority/tls.go`, and Go's `x509.CreateRevocationList`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from arrcert import ConfigurationError, Policy
from arrcert.testing import CertificateAuthority, IssuedCertificate

URL = "https://ca.example/1.0/crl"
"""By default step-ca writes `https://`, the first of its DNS names, and the path of its API."""
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
PROVISIONER = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1"),
    bytes.fromhex("3016020101040561646d696e040a") + b"0123456789",
)
"""The extension that step-ca adds to each leaf, which names the provisioner."""


def tlv(tag: int, *content: bytes) -> bytes:
    """Encode one DER element."""
    body = b"".join(content)
    size = len(body).to_bytes(3, "big").lstrip(b"\0")
    return bytes([tag, *([len(body)] if len(body) < 128 else [0x80 | len(size), *size])]) + body


def integer(number: int) -> bytes:
    """Encode an INTEGER."""
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def utc_time(moment: datetime) -> bytes:
    """Encode a UTCTime."""
    return tlv(0x17, f"{moment:%y%m%d%H%M%SZ}".encode())


def distribution_point(url: str) -> bytes:
    """Encode step-ca's issuing distribution point: a full name with one URI, and no flag."""
    return tlv(0x30, tlv(0xA0, tlv(0xA0, tlv(0x86, url.encode()))))


def step_ca_list(
    ca: CertificateAuthority, *revoked: IssuedCertificate, number: int, url: str = URL
) -> bytes:
    """Make a list as step-ca does: DER, entries without a reason, and Go's order of extensions."""
    now = datetime.now(UTC).replace(microsecond=0)
    key_id = x509.SubjectKeyIdentifier.from_public_key(ca.x509.public_key()).digest
    extensions = tlv(
        0x30,
        tlv(0x30, bytes.fromhex("0603551d23"), tlv(0x04, tlv(0x30, tlv(0x80, key_id)))),
        tlv(0x30, bytes.fromhex("0603551d14"), tlv(0x04, integer(number))),
        tlv(
            0x30,
            bytes.fromhex("0603551d1c0101ff"),
            tlv(0x04, distribution_point(url)),
        ),
    )
    entries = b"".join(
        tlv(0x30, integer(client.certificate.serial_number), utc_time(now)) for client in revoked
    )
    signed = tlv(
        0x30,
        integer(1),
        ECDSA_WITH_SHA256,
        ca.name.public_bytes(),
        utc_time(now),
        utc_time(now + timedelta(hours=24)),
        tlv(0x30, entries) if entries else b"",
        tlv(0xA0, extensions),
    )
    signature = ca._key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, signed, ECDSA_WITH_SHA256, tlv(0x03, b"\0", signature))


@pytest.fixture(scope="module")
def root() -> CertificateAuthority:
    """The root of step-ca. Its key is offline, and it publishes no list."""
    return CertificateAuthority("Contoso Root CA", organization="Contoso")


@pytest.fixture(scope="module")
def intermediate(root: CertificateAuthority) -> CertificateAuthority:
    """step-ca's intermediate, which issues certificates and signs lists."""
    return CertificateAuthority("Contoso Intermediate CA", organization="Contoso", issuer=root)


def client_of(ca: CertificateAuthority, name: str) -> IssuedCertificate:
    """Issue a client's certificate as step-ca's default template does."""
    return ca.issue(
        name,
        dns_names=[name],
        extended_key_usages=("serverAuth", "clientAuth"),
        extensions=[(PROVISIONER, False)],
    )


def test_the_shape_is_step_cas(intermediate: CertificateAuthority) -> None:
    """The documented list is read as one with a critical point, one URI, and no flag."""
    crl = x509.load_der_x509_crl(step_ca_list(intermediate, number=7))
    point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert point.value.full_name == [x509.UniformResourceIdentifier(URL)]
    assert not point.value.only_contains_user_certs
    assert distribution_point(URL) == bytes.fromhex("3020a01ea01c861a") + URL.encode()
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7


def test_client_enters_is_revoked_and_is_denied(
    published: dict[str, bytes],
    fetch_crls: Callable[..., str],
    make_site: Any,
    tmp_path: Path,
    intermediate: CertificateAuthority,
) -> None:
    """With the intermediate as anchor and a stated point, a revoked client is denied soon."""
    anchor, crl = tmp_path / "intermediate.pem", tmp_path / "step.crl"
    anchor.write_bytes(intermediate.certificate_pem)
    published["/1.0/crl"] = step_ca_list(intermediate, number=1)
    fetch = ("--issuer", anchor, "--crl", published["url"].decode() + "/1.0/crl", crl)
    assert ": ok: 0 entries" in fetch_crls(*fetch)
    site = make_site(trust_anchors=anchor, crls={"file": str(crl), "distribution_point": URL})
    alice, bob = (client_of(intermediate, name) for name in ("alice.example", "bob.example"))
    assert site.verdict(alice.certificate_pem) is None
    assert site.verdict(bob.certificate_pem) is None
    published["/1.0/crl"] = step_ca_list(intermediate, bob, number=2)
    assert ": ok: 1 entry" in fetch_crls(*fetch)
    assert site.becomes(bob.certificate_pem, "revoked") < 10
    assert site.verdict(alice.certificate_pem) is None


def test_without_the_statement_nobody_is_known(
    make_site: Any, tmp_path: Path, intermediate: CertificateAuthority
) -> None:
    """Without a stated point the list does not apply, and the detail says what to do."""
    (tmp_path / "step.crl").write_bytes(step_ca_list(intermediate, number=1))
    site = make_site(
        trust_anchors=intermediate.certificate_pem.decode(), crls=tmp_path / "step.crl"
    )
    reason, detail = site.denial(client_of(intermediate, "alice.example").certificate_pem)
    assert reason == "revocation_unknown"
    assert f"is a list for the distribution point '{URL}', and the certificate names no" in detail
    assert '{"file": "...", "distribution_point": "https://..."}' in detail


def test_the_root_publishes_no_list(
    make_site: Any,
    tmp_path: Path,
    root: CertificateAuthority,
    intermediate: CertificateAuthority,
) -> None:
    """With the root as anchor no list covers the intermediate, so every client is denied."""
    (tmp_path / "step.crl").write_bytes(step_ca_list(intermediate, number=1))
    site = make_site(
        trust_anchors=root.certificate_pem.decode(),
        intermediates=intermediate.certificate_pem.decode(),
        crls={"file": str(tmp_path / "step.crl"), "distribution_point": URL},
    )
    reason, detail = site.denial(client_of(intermediate, "alice.example").certificate_pem)
    assert reason == "revocation_unknown"
    assert "whether the CA certificate 'CN=Contoso Intermediate CA,O=Contoso' is revoked" in detail
    assert "there is no revocation list of its CA" in detail


def test_template_that_names_the_point(
    make_site: Any, tmp_path: Path, intermediate: CertificateAuthority
) -> None:
    """A certificate whose template names the distribution point needs no stated point."""
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(URL)], None, None, None)
    alice, bob = (
        intermediate.issue(name, extensions=[(x509.CRLDistributionPoints([point]), False)])
        for name in ("alice", "bob")
    )
    (tmp_path / "step.crl").write_bytes(step_ca_list(intermediate, bob, number=1))
    site = make_site(
        trust_anchors=intermediate.certificate_pem.decode(), crls=tmp_path / "step.crl"
    )
    assert site.verdict(alice.certificate_pem) is None
    assert site.verdict(bob.certificate_pem) == "revoked"


def test_another_url_is_a_mistake_of_the_configuration(
    tmp_path: Path, intermediate: CertificateAuthority
) -> None:
    """step-ca's default URL has no port, so a stated URL with a port is an error at the start."""
    (tmp_path / "step.crl").write_bytes(step_ca_list(intermediate, number=1))
    entry = {"file": str(tmp_path / "step.crl"), "distribution_point": URL.replace("/1", ":443/1")}
    with pytest.raises(ConfigurationError, match="write distribution_point exactly as"):
        Policy(trust_anchors=intermediate.certificate_pem.decode(), crls=entry)


def test_certificates_are_what_the_shape_says(intermediate: CertificateAuthority) -> None:
    """A client certificate names no distribution point, like the leaves of step-ca's default."""
    leaf = client_of(intermediate, "alice.example").certificate.x509
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    assert PROVISIONER in [extension.value for extension in leaf.extensions]
