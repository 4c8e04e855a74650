"""Certification paths: certificates of private CAs are accepted, and weak proofs are not."""

from __future__ import annotations

import base64
import itertools
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
    ObjectIdentifier,
)

from arrcert import Authorizer, CertificateDenied, ClientCertificate, DenialReason, Policy
from arrcert.exceptions import Finding
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert.trust import paths as trust
from arrcert.trust.crls import read_revocation_lists
from arrcert.trust.paths import PathSearch, Signer, TrustStore, has_signed, why_unusable
from arrcert.trust.revocation import RevocationLists

NOW = datetime.now(UTC).replace(microsecond=0)
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "issuing", "client")}
KEYS["CA"] = KEYS["Issuing"] = KEYS["ca"]

Extensions = Iterable[tuple[x509.ExtensionType, bool]]

CA = x509.BasicConstraints(ca=True, path_length=None)
END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)
CLIENT_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def key_usage(*usages: str) -> x509.KeyUsage:
    """Make a key usage from pyca's names of the bits."""
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{usage: usage in usages for usage in every})


def name(common_name: str, email: str | None = None) -> x509.Name:
    """Make a name of a common name and an emailAddress."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    if email is not None:
        attributes.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, email))
    return x509.Name(attributes)


SHA256 = hashes.SHA256()


def sign(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    issuer_key: Any,
    extensions: Extensions = (),
    *,
    algorithm: hashes.HashAlgorithm | None = SHA256,
    not_before: datetime = NOW - timedelta(days=1),
    not_after: datetime = NOW + timedelta(days=1),
) -> x509.Certificate:
    """Issue a certificate with exactly these extensions."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, algorithm)


def root(extensions: Extensions = ((CA, True),), **kwargs: Any) -> x509.Certificate:
    """Make a self-signed CA named CA."""
    return sign(name("CA"), KEYS["ca"], name("CA"), KEYS["ca"], extensions, **kwargs)


def leaf(
    extensions: Extensions = (), subject: x509.Name | None = None, **kwargs: Any
) -> ClientCertificate:
    """Make a client certificate that CA issued."""
    return client(
        sign(subject or name("alice"), KEYS["client"], name("CA"), KEYS["ca"], extensions, **kwargs)
    )


def client(certificate: x509.Certificate) -> ClientCertificate:
    """Return a pyca certificate as a client certificate."""
    return ClientCertificate.from_der(certificate.public_bytes(Encoding.DER))


def why_not(
    certificate: ClientCertificate,
    anchors: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate] = (),
    at: datetime = NOW,
    clock_skew: timedelta = timedelta(),
) -> str | None:
    """Return why no path leads to the anchors, or None if one does."""
    path = TrustStore(anchors, intermediates).authenticate(certificate, at, clock_skew)
    if isinstance(path, Finding):
        assert path.reason is DenialReason.UNTRUSTED
        return path.detail
    assert path[0] == certificate.x509
    assert path[-1] in anchors
    return None


# --- what private CAs issue ---------------------------------------------------------------------

SKI = x509.SubjectKeyIdentifier.from_public_key(KEYS["client"].public_key())
AKI = x509.AuthorityKeyIdentifier.from_issuer_public_key(KEYS["ca"].public_key())
CA_SKI = x509.SubjectKeyIdentifier.from_public_key(KEYS["ca"].public_key())
SAN = x509.SubjectAlternativeName([x509.DNSName("alice.example")])
SIGNS = key_usage("key_cert_sign", "crl_sign")
UPN = x509.SubjectAlternativeName(
    [x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x07alice@x")]
)
CRL_PLACE = x509.CRLDistributionPoints(
    [
        x509.DistributionPoint(
            [x509.UniformResourceIdentifier("ldap:///CN=CA,DC=example")], None, None, None
        )
    ]
)
POLICIES = x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3"), None)])


def vendor(oid: str) -> x509.UnrecognizedExtension:
    """Make an extension of a vendor, which cryptography does not know."""
    return x509.UnrecognizedExtension(ObjectIdentifier(oid), b"\x05\x00")


@pytest.mark.parametrize(
    ("ca", "end"),
    [
        pytest.param([(CA, True)], [], id="nothing but a name"),
        pytest.param([(CA, True)], [(SAN, False)], id="without AKI"),
        pytest.param([(CA, True)], [(AKI, False)], id="without SAN"),
        pytest.param([(CA, True)], [(CLIENT_AUTH, True)], id="critical EKU"),
        pytest.param([(CA, True)], [(SAN, True)], id="critical SAN"),
        pytest.param([(CA, False)], [(CLIENT_AUTH, False)], id="basicConstraints not critical"),
        pytest.param([(CA, True), (SIGNS, False)], [], id="keyUsage not critical"),
        pytest.param([(CA, True), (CLIENT_AUTH, False)], [], id="CA confined to clientAuth"),
        pytest.param(
            [(CA, True), (x509.ExtendedKeyUsage([ObjectIdentifier("2.5.29.37.0")]), False)],
            [],
            id="CA with anyExtendedKeyUsage",
        ),
        pytest.param(
            [(CA_SKI, False), (AKI, False), (CA, True)],
            [(END_ENTITY, False), (SKI, False), (AKI, False)],
            id="openssl",
        ),
        pytest.param(
            [(SIGNS, True), (x509.BasicConstraints(True, 1), True), (CA_SKI, False)],
            [
                (key_usage("digital_signature"), True),
                (
                    x509.ExtendedKeyUsage(
                        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                    ),
                    False,
                ),
                (SKI, False),
                (AKI, False),
                (SAN, False),
                (vendor("1.3.6.1.4.1.37476.9000.64.1"), False),
            ],
            id="step-ca",
        ),
        pytest.param(
            [(SIGNS, True), (CA, True), (CA_SKI, False), (AKI, False)],
            [
                (key_usage("digital_signature", "key_encipherment", "key_agreement"), True),
                (CLIENT_AUTH, False),
                (SKI, False),
                (AKI, False),
            ],
            id="Vault",
        ),
        pytest.param(
            [
                (key_usage("digital_signature", "key_encipherment", "key_cert_sign"), True),
                (CA, True),
                (CA_SKI, False),
            ],
            [
                (key_usage("digital_signature", "key_encipherment"), True),
                (CLIENT_AUTH, False),
                (END_ENTITY, True),
                (AKI, False),
                (SAN, True),
            ],
            id="cert-manager",
        ),
        pytest.param(
            [(SIGNS, True), (CA, True), (CA_SKI, False), (AKI, False), (POLICIES, False)],
            [
                (END_ENTITY, True),
                (AKI, False),
                (POLICIES, False),
                (
                    x509.ExtendedKeyUsage(
                        [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION]
                    ),
                    False,
                ),
                (CRL_PLACE, False),
                (SKI, False),
                (key_usage("digital_signature", "content_commitment", "key_encipherment"), True),
            ],
            id="EJBCA",
        ),
        pytest.param(
            [
                (key_usage("digital_signature", "key_cert_sign", "crl_sign"), False),
                (CA, True),
                (CA_SKI, False),
                (vendor("1.3.6.1.4.1.311.21.1"), False),
            ],
            [
                (
                    x509.MSCertificateTemplate(ObjectIdentifier("1.3.6.1.4.1.311.21.8.1"), 1, 0),
                    False,
                ),
                (CLIENT_AUTH, False),
                (key_usage("digital_signature", "key_encipherment"), True),
                (vendor("1.3.6.1.4.1.311.21.10"), False),
                (SKI, False),
                (AKI, False),
                (CRL_PLACE, False),
                (UPN, False),
            ],
            id="AD CS",
        ),
    ],
)
def test_certificates_of_private_cas(ca: Extensions, end: Extensions) -> None:
    """Certificates that private CAs issue for client authentication have a path to their anchor."""
    assert why_not(leaf(end), [root(ca)]) is None


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("key", [["rsa:2048"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]])
def test_openssl_commands(tmp_path: Path, key: list[str]) -> None:
    """Certificates that OpenSSL's commands make without a configuration file are accepted."""
    made = ["-newkey", *key, "-nodes"]
    (tmp_path / "client.ext").write_text("extendedKeyUsage=critical,clientAuth\n")
    openssl(
        *(tmp_path, "req", "-x509", *made, "-subj", "/O=Contoso/CN=Contoso CA", "-days", "30"),
        *("-keyout", "ca.key", "-out", "ca.pem"),
    )
    openssl(
        *(tmp_path, "req", *made, "-subj", "/CN=alice", "-keyout", "c.key", "-out", "c.csr"),
    )
    openssl(
        *(tmp_path, "x509", "-req", "-in", "c.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", "30", "-extfile", "client.ext", "-out", "c.pem"),
    )
    [anchor] = x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())
    certificate = ClientCertificate.from_pem((tmp_path / "c.pem").read_bytes())
    assert why_not(certificate, [anchor], at=datetime.now(UTC)) is None


@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_weak_signatures_prove_nothing(tmp_path: Path, digest: str) -> None:
    """A certificate that is signed over SHA-1 or MD5 has no path."""
    openssl(
        *(tmp_path, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=CA"),
        *("-keyout", "ca.key", "-out", "ca.pem"),
    )
    openssl(
        *(tmp_path, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=alice"),
        *("-keyout", "c.key", "-out", "c.csr"),
    )
    (tmp_path / "c.ext").write_text("extendedKeyUsage=clientAuth\n")
    openssl(
        *(tmp_path, "x509", "-req", "-in", "c.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", f"-{digest}", "-extfile", "c.ext", "-out", "c.pem"),
    )
    [anchor] = x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())
    certificate = ClientCertificate.from_pem((tmp_path / "c.pem").read_bytes())
    assert f"signed with {digest}" in str(why_not(certificate, [anchor], at=datetime.now(UTC)))


def test_version_1_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """X.509 v1, which `openssl x509 -req` may make, is denied, and the detail names the remedy."""
    openssl(
        *(tmp_path, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=CA"),
        *("-keyout", "ca.key", "-out", "ca.pem"),
    )
    openssl(
        *(tmp_path, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=alice"),
        *("-keyout", "c.key", "-out", "c.csr"),
    )
    openssl(
        *(tmp_path, "x509", "-req", "-in", "c.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-out", "c.pem"),
    )
    [anchor] = x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())
    certificate = ClientCertificate.from_pem((tmp_path / "c.pem").read_bytes())
    if certificate.x509.version is x509.Version.v1:
        assert "X.509 v1" in str(why_not(certificate, [anchor]))
        assert "v1" in str(why_unusable(certificate.x509, is_anchor=True))
    else:
        assert why_not(certificate, [anchor], at=datetime.now(UTC)) is None


# --- anchors, intermediates, leaves -------------------------------------------------------------


def test_only_the_anchors_key_makes_a_path(
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    look_alike: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """A certificate of another CA with the same name has no path, and the denial says why."""
    assert why_not(alice.certificate, [authority.x509]) is None
    for stranger in (look_alike, impostor):
        why = str(why_not(stranger.certificate, [authority.x509]))
        assert "another key signed the certificate" in why
    unknown = why_not(self_signed("alice").certificate, [authority.x509])
    assert "no CA certificate of the name 'CN=alice' is configured" in str(unknown)


def test_intermediates_help_and_prove_nothing(authority: CertificateAuthority) -> None:
    """An intermediate helps to build a path, and only an anchor ends it."""
    issuing = CertificateAuthority("Contoso Issuing CA 2", issuer=authority)
    certificate = issuing.issue("alice").certificate
    stranger = CertificateAuthority("Stranger")
    assert "is configured; add it" in str(why_not(certificate, [authority.x509]))
    assert why_not(certificate, [authority.x509], [issuing.x509]) is None
    assert why_not(certificate, [issuing.x509]) is None
    assert why_not(certificate, [stranger.x509], [issuing.x509, authority.x509]) is not None


def test_self_signed_leaf_is_its_own_anchor() -> None:
    """A self-signed leaf without CA:TRUE may be an anchor, and only for itself."""
    own = self_signed("alice").certificate
    other = self_signed("alice").certificate
    assert why_not(own, [own.x509]) is None
    assert why_not(other, [own.x509]) is not None


def test_nothing_hangs_below_a_leaf() -> None:
    """A path does not continue below an anchor that is not a CA."""
    own = sign(name("CA"), KEYS["ca"], name("CA"), KEYS["ca"], [(END_ENTITY, True)])
    assert why_not(leaf(), [own]) is not None
    assert why_not(leaf(), [root([])]) is not None


def test_ca_certificate_is_no_client(authority: CertificateAuthority) -> None:
    """A CA certificate that a client presents is denied, and the denial says what to do."""
    certificate = ClientCertificate.from_pem(authority.certificate_pem)
    assert "pin its fingerprint" in str(why_not(certificate, [authority.x509]))


# --- what breaks a path -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ca", "end"),
    [
        pytest.param([(END_ENTITY, True)], [], id="issuer says CA:FALSE"),
        pytest.param([], [], id="issuer without basicConstraints"),
        pytest.param(
            [(CA, True), (key_usage("digital_signature"), True)], [], id="issuer may not sign"
        ),
        pytest.param(
            [(CA, True), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)],
            [],
            id="issuer confined to serverAuth",
        ),
        pytest.param([(CA, True), (UNKNOWN, True)], [], id="unknown critical in the issuer"),
        pytest.param([(CA, True)], [(UNKNOWN, True)], id="unknown critical in the leaf"),
        pytest.param(
            [(CA, True)],
            [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)],
            id="serverAuth alone",
        ),
        pytest.param(
            [(CA, True)],
            [(x509.ExtendedKeyUsage([ObjectIdentifier("2.5.29.37.0")]), False)],
            id="anyExtendedKeyUsage alone",
        ),
        pytest.param([(CA, True)], [(SIGNS, True)], id="leaf that may sign certificates"),
    ],
)
def test_what_breaks_a_path(ca: Extensions, end: Extensions) -> None:
    """Wrong basic constraints, wrong key usages and unknown critical extensions break a path.

    (Envoy CVE-2022-21657: EKU ignored.)
    """
    assert why_not(leaf(end), [root(ca)]) is not None


def test_what_a_validator_replaces_it_checks_itself() -> None:
    """The validator of basic constraints refuses CA:FALSE by itself."""
    with pytest.raises(ValueError, match="CA:FALSE"):
        trust._require_ca(None, root(), END_ENTITY)
    trust._require_ca(None, root(), CA)


def test_unknown_signature_algorithm_proves_nothing() -> None:
    """A signature of an unknown algorithm makes no path and raises nothing."""
    unknown = changed(leaf().x509, "06082a8648ce3d040302", "06082a8648ce3d040309")
    assert why_not(client(unknown), [root()]) is not None


def test_path_length_is_enforced() -> None:
    """A CA that is deeper than its issuer's path length allows breaks the path."""
    top = root([(x509.BasicConstraints(True, 0), True)])
    issuing = sign(name("Issuing"), KEYS["issuing"], name("CA"), KEYS["ca"], [(CA, True)])
    certificate = client(sign(name("alice"), KEYS["client"], name("Issuing"), KEYS["issuing"]))
    assert why_not(certificate, [root()], [issuing]) is None
    assert "path length" in str(why_not(certificate, [top], [issuing]))


def test_every_link_is_valid_at_the_moment() -> None:
    """Each certificate of a path must be valid, and the denial names an expired CA."""
    soon = NOW + timedelta(days=2)
    top = CertificateAuthority("Root", not_after=NOW + timedelta(days=10))
    issuing = CertificateAuthority("Issuing", issuer=top, not_after=soon)
    certificate = issuing.issue("alice").certificate
    arguments = (certificate, [top.x509], [issuing.x509])
    assert why_not(*arguments) is None
    assert why_not(*arguments, at=issuing.x509.not_valid_after_utc) is None
    assert "'CN=Issuing' has expired" in str(why_not(*arguments, at=soon + timedelta(seconds=1)))
    early = issuing.x509.not_valid_before_utc - timedelta(seconds=1)
    assert why_not(certificate, [issuing.x509], at=early) is not None


def test_clock_skew_applies_to_the_path() -> None:
    """The clock skew applies to both ends of the path's validity, to the second."""
    certificate = leaf()
    late = root(not_before=NOW + timedelta(seconds=60))
    early = root(not_after=NOW - timedelta(seconds=60))
    for anchor in (late, early):
        assert why_not(certificate, [anchor]) is not None
        assert why_not(certificate, [anchor], clock_skew=timedelta(seconds=59)) is not None
        assert why_not(certificate, [anchor], clock_skew=timedelta(seconds=60)) is None


# --- name constraints ---------------------------------------------------------------------------


def test_violated_name_constraints() -> None:
    """A subject alternative name outside its CA's constraints breaks the path."""
    within = x509.SubjectAlternativeName([x509.DNSName("a.contoso.example")])
    outside = x509.SubjectAlternativeName([x509.DNSName("a.evil.example")])
    for critical in (True, False):
        limited = root(
            [
                (CA, True),
                (x509.NameConstraints([x509.DNSName("contoso.example")], None), critical),
            ]
        )
        assert why_not(leaf([(within, False)]), [limited]) is None
        assert why_not(leaf([(outside, False)]), [limited]) is not None


@pytest.mark.parametrize(
    "held", ["*.contoso.example", "*.hr.contoso.example", "hr.contoso.example"]
)
@pytest.mark.parametrize("critical", [True, False])
def test_wildcard_does_not_evade_an_excluded_name(held: str, critical: bool) -> None:
    """A wildcard that covers an excluded name is excluded too (Go CVE-2025-61727)."""
    constraints = x509.NameConstraints(None, [x509.DNSName("hr.contoso.example")])
    limited = root([(CA, True), (constraints, critical)])
    for parent in ([limited], [root()]):
        names = x509.SubjectAlternativeName([x509.DNSName(held)])
        refused = why_not(leaf([(names, False)]), parent) is not None
        assert refused == (parent == [limited])
    names = x509.SubjectAlternativeName([x509.DNSName("*.it.contoso.example")])
    assert why_not(leaf([(names, False)]), [limited]) is None


def test_name_in_the_subject_is_held_against_constraints() -> None:
    """Name constraints apply to a name that is only in the subject."""
    limited = root(
        [(CA, True), (x509.NameConstraints([x509.DNSName("contoso.example")], None), True)]
    )
    assert why_not(leaf(subject=name("a.contoso.example")), [limited]) is None
    assert "violates" in str(why_not(leaf(subject=name("a.evil.example")), [limited]))


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    ("base", "kind"),
    [
        (x509.DirectoryName(name("alice")), "directory names"),
        (x509.UniformResourceIdentifier("contoso.example"), "URIs"),
    ],
)
@pytest.mark.parametrize("excluded", [True, False])
def test_constraints_that_cannot_be_upheld(
    base: x509.GeneralName, kind: str, critical: bool, excluded: bool
) -> None:
    """A CA with constraints on directory names or URIs is refused at the start and on a path."""
    constraints = x509.NameConstraints(None if excluded else [base], [base] if excluded else None)
    limited = root([(CA, True), (constraints, critical)])
    assert kind in str(why_unusable(limited, is_anchor=True))
    assert why_not(leaf(), [limited]) is not None


# --- authorities that cannot be used ------------------------------------------------------------


def signed_by_itself(
    key: Any,
    algorithm: hashes.HashAlgorithm | None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Make a self-signed CA with any key."""
    return sign(name("CA"), key, name("CA"), key, [(CA, True), *extensions], algorithm=algorithm)


@pytest.mark.parametrize(
    ("ca", "why"),
    [
        pytest.param(
            signed_by_itself(ed25519.Ed25519PrivateKey.generate(), None),
            "Ed25519PublicKey",
            id="Ed25519",
        ),
        pytest.param(
            signed_by_itself(rsa.generate_private_key(65537, 1024), hashes.SHA256()),
            "1024 bits",
            id="RSA-1024",
        ),
        pytest.param(
            signed_by_itself(ec.generate_private_key(ec.SECP224R1()), hashes.SHA256()),
            "secp224r1",
            id="P-224",
        ),
        pytest.param(
            signed_by_itself(ec.generate_private_key(ec.BrainpoolP256R1()), hashes.SHA256()),
            "brainpoolP256r1",
            id="brainpool",
        ),
    ],
)
def test_unusable_ca_is_refused_at_the_start(ca: x509.Certificate, why: str) -> None:
    """A CA whose signatures cannot be validated is refused at start-up."""
    assert why in str(why_unusable(ca, is_anchor=True))
    assert why in str(why_unusable(ca, is_anchor=False))


def test_leaf_may_be_an_anchor_but_not_an_intermediate() -> None:
    """A certificate without CA:TRUE can be its own anchor, never an intermediate."""
    own = self_signed("alice").certificate.x509
    assert why_unusable(own, is_anchor=True) is None
    assert "is not a CA" in str(why_unusable(own, is_anchor=False))
    assert "is not a CA" in str(why_unusable(root([]), is_anchor=False))


def test_usable_authorities(authority: CertificateAuthority) -> None:
    """CAs with RSA keys and keys on NIST curves can be used."""
    for ca in (
        authority.x509,
        signed_by_itself(rsa.generate_private_key(65537, 2048), hashes.SHA256()),
        signed_by_itself(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
    ):
        assert why_unusable(ca, is_anchor=True) is None
        assert why_unusable(ca, is_anchor=False) is None


def changed(certificate: x509.Certificate, old: str, new: str) -> x509.Certificate:
    """Return a certificate with some bytes replaced. Its signature becomes invalid."""
    der = certificate.public_bytes(Encoding.DER)
    replaced = der.replace(bytes.fromhex(old), bytes.fromhex(new))
    assert replaced != der
    return x509.load_der_x509_certificate(replaced)


def test_authority_that_cannot_be_read() -> None:
    """A CA whose key, name or extension cannot be read is refused at start-up."""
    garbled_name = changed(root(), "0c024341", "0c02ffff")
    assert "name or a date that cannot be read" in str(why_unusable(garbled_name, is_anchor=True))
    unknown_key = changed(root(), "06072a8648ce3d0201", "06072a8648ce3d0209")
    assert "public key that cannot be read" in str(why_unusable(unknown_key, is_anchor=True))
    garbage = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), b"\xff\xff")
    garbled = root([(CA, True), (garbage, False)])
    assert "extension that cannot be read" in str(why_unusable(garbled, is_anchor=True))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_ca_may_sign_on_the_nist_curves(curve: ec.EllipticCurve) -> None:
    """A CA with a key on P-256, P-384 or P-521 can be used."""
    ca = signed_by_itself(ec.generate_private_key(curve), hashes.SHA256())
    assert why_unusable(ca, is_anchor=True) is None


def test_signer_has_the_name_and_the_key(
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    alice: IssuedCertificate,
) -> None:
    """A CA has signed a certificate only if its name and its key match."""
    renamed = sign(name("CA"), KEYS["client"], name("Other"), KEYS["ca"])
    assert has_signed(authority.x509, alice.certificate.x509)
    assert not has_signed(other_authority.x509, alice.certificate.x509)
    assert not has_signed(root(), renamed)


# --- revocation ---------------------------------------------------------------------------------


def path_of(store: TrustStore, certificate: ClientCertificate) -> list[x509.Certificate]:
    """Return the path that a trust store finds."""
    path = store.authenticate(certificate, datetime.now(UTC))
    assert not isinstance(path, Finding)
    return path


def test_without_lists_no_revocation_is_checked(
    authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """A trust store without revocation lists checks no revocation."""
    store = TrustStore([authority.x509])
    path = path_of(store, alice.certificate)
    assert store.check_revocation(path, NOW) is None
    assert store.next_update_of(path, NOW) is None


def test_lists_of_a_trust_store_are_asked(
    authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """A trust store with revocation lists returns their result, and until when it is valid."""
    bob = authority.issue("bob")
    end = NOW + timedelta(hours=1)
    pem = authority.revocation_list(bob, next_update=end)
    lists = RevocationLists(read_revocation_lists(pem, source="ca.crl", issuers=[authority.x509]))
    store = TrustStore([authority.x509], revocation_lists=lists)
    path = path_of(store, alice.certificate)
    now = datetime.now(UTC)
    assert store.check_revocation(path, now) is None
    assert store.next_update_of(path, now) == end
    revoked = store.check_revocation(path_of(store, bob.certificate), now)
    assert revoked is not None
    assert revoked.reason is DenialReason.REVOKED
    late = store.check_revocation(path, end + timedelta(seconds=1))
    assert late is not None
    assert late.reason is DenialReason.REVOCATION_UNKNOWN


# --- searches for many policies ------------------------------------------------------------------


class Counted:
    """Counts calls of functions that cost a signature or a search."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.signatures = 0
        self.searches = 0
        has_signed, validate = trust.has_signed, trust.validate

        def counted_has_signed(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
            self.signatures += 1
            return has_signed(ca, certificate)

        def counted_validate(*arguments: Any) -> trust.Path | str:
            self.searches += 1
            return validate(*arguments)

        monkeypatch.setattr(trust, "has_signed", counted_has_signed)
        monkeypatch.setattr(trust, "validate", counted_validate)


def test_path_is_searched_once_for_each_set_of_authorities(
    authority: CertificateAuthority, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies with the same CA certificates share one search."""
    counted = Counted(monkeypatch)
    search = PathSearch(alice.certificate)
    now = datetime.now(UTC)
    stores = [TrustStore([authority.x509]) for _ in range(10)]
    found = [search.find(store, now) for store in stores]
    assert all(isinstance(path, list) for path in found)
    assert counted.searches == 1
    assert counted.signatures == 0


def test_client_that_names_its_only_issuers_key_costs_one_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A leaf that names the key of its only possible issuer costs one signature."""
    ca = root([(CA, True), (CA_SKI, False)])
    named = client(sign(name("alice"), KEYS["client"], name("CA"), KEYS["ca"], [(AKI, False)]))
    counted = Counted(monkeypatch)
    assert isinstance(PathSearch(named).find(TrustStore([ca]), NOW), list)
    assert (counted.signatures, counted.searches) == (0, 1)


def test_client_that_may_be_an_impostor_costs_a_signature_before_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A leaf without a key identifier, or with several possible CAs, is tried before the search."""
    ca, renewed = (root([(CA, True), (CA_SKI, False)]) for _ in range(2))
    named = client(sign(name("alice"), KEYS["client"], name("CA"), KEYS["ca"], [(AKI, False)]))
    for end, anchors in ((leaf(), [ca]), (named, [root()]), (named, [ca, renewed])):
        counted = Counted(monkeypatch)
        assert isinstance(PathSearch(end).find(TrustStore(anchors), NOW), list)
        assert (counted.signatures, counted.searches) == (len(anchors), 1)
        monkeypatch.undo()


def test_impostor_who_names_a_key_costs_one_search_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger who names a CA's key costs one search and one signature, even at ten moments."""
    ca = root([(CA, True), (CA_SKI, False)])
    impostor = sign(name("alice"), KEYS["client"], name("CA"), KEYS["client"], [(AKI, False)])
    counted = Counted(monkeypatch)
    search = PathSearch(client(impostor))
    for number in range(10):
        found = search.find(TrustStore([ca]), NOW + timedelta(seconds=number))
        assert isinstance(found, Finding)
        assert "another key signed the certificate" in found.detail
    assert (counted.signatures, counted.searches) == (1, 1)


def test_impostor_who_names_a_key_costs_no_more_with_a_clock_skew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock skew adds no search, because a path is validated for one moment alone."""
    ca = root([(CA, True), (CA_SKI, False)])
    impostor = sign(name("alice"), KEYS["client"], name("CA"), KEYS["client"], [(AKI, False)])
    counted = Counted(monkeypatch)
    found = PathSearch(client(impostor)).find(TrustStore([ca]), NOW, timedelta(minutes=1))
    assert isinstance(found, Finding)
    assert (counted.signatures, counted.searches) == (1, 1)


def test_no_search_where_no_authority_has_the_issuers_name(
    other_authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate of an unknown CA costs no signature and no search."""
    counted = Counted(monkeypatch)
    stranger = CertificateAuthority("Unknown").issue("alice").certificate
    store = TrustStore([other_authority.x509])
    found = PathSearch(stranger).find(store, datetime.now(UTC))
    assert isinstance(found, Finding)
    assert "no CA certificate of the name 'CN=Unknown' is configured" in found.detail
    assert (counted.signatures, counted.searches) == (0, 0)


def test_impostor_costs_one_signature(
    authority: CertificateAuthority,
    impostor: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate of another CA with the same name is refused after one signature."""
    counted = Counted(monkeypatch)
    search = PathSearch(impostor.certificate)
    for _ in range(10):
        found = search.find(TrustStore([authority.x509]), datetime.now(UTC))
        assert isinstance(found, Finding)
        assert "another key signed the certificate" in found.detail
    assert (counted.signatures, counted.searches) == (1, 0)


def test_forwarded_authorities_are_bounded_in_signatures(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forwarded CA certificates of one name cost a bounded number of signatures."""
    counted = Counted(monkeypatch)
    stranger = self_signed("alice", issuer=authority).certificate
    forwarded = [
        CertificateAuthority("Contoso Issuing CA", organization="Contoso").x509
        for _ in range(trust.MOST_FORWARDED_EFFORT + 10)
    ]
    search = PathSearch(stranger, forwarded)
    found = search.find(TrustStore([authority.x509]), datetime.now(UTC))
    assert isinstance(found, Finding)
    assert "the CA certificates that came with it cost more to verify than is" in found.detail
    assert counted.signatures == trust.MOST_FORWARDED_EFFORT + 1
    assert counted.searches == 0


def test_configured_authorities_of_one_name_are_bounded_in_signatures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The signatures that one request costs are bounded, for any number of CAs of one name."""
    monkeypatch.setattr(trust, "MOST_UNNAMED_EFFORT", 5)
    counted = Counted(monkeypatch)
    authorities = [CertificateAuthority("One Name") for _ in range(8)]
    stranger = self_signed("alice", issuer=authorities[0])
    search = PathSearch(stranger.certificate)
    found = [search.find(TrustStore([ca.x509]), datetime.now(UTC)) for ca in authorities]
    assert counted.signatures == 5
    assert {type(path) for path in found} == {Finding}
    assert "another key signed the certificate" in found[4].detail
    assert "more CAs of the name 'CN=One Name' are configured than are tried" in found[5].detail


def test_authority_that_a_certificate_names_by_its_key_is_always_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CA whose key a certificate names is always tried, for any number of CAs of one name."""
    monkeypatch.setattr(trust, "MOST_UNNAMED_EFFORT", 2)
    counted = Counted(monkeypatch)
    authorities = [CertificateAuthority("One Name") for _ in range(5)]
    search = PathSearch(authorities[4].issue("alice").certificate)
    found = [search.find(TrustStore([ca.x509]), datetime.now(UTC)) for ca in authorities]
    assert [isinstance(path, list) for path in found] == [False, False, False, False, True]
    assert counted.signatures == 3


def test_authorities_that_a_certificate_names_by_their_key_are_bounded_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stranger who writes the identifier of a CA's key costs a bounded number of signatures."""
    monkeypatch.setattr(trust, "MOST_NAMED_EFFORT", 3)
    counted = Counted(monkeypatch)
    renewed = [root([(CA, True), (CA_SKI, False)]) for _ in range(5)]
    impostor = sign(name("alice"), KEYS["client"], name("CA"), KEYS["client"], [(AKI, False)])
    search = PathSearch(client(impostor))
    for ca in renewed:
        assert isinstance(search.find(TrustStore([ca]), datetime.now(UTC)), Finding)
    assert counted.signatures == 3


def large_authorities(number: int) -> list[x509.Certificate]:
    """Make CAs of one name with P-384 keys, and without key identifiers."""
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(number)]
    return [sign(name("CA"), key, name("CA"), key, [(CA, True)]) for key in keys]


def test_slow_keys_of_configured_authorities_count_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured CAs with slow keys and without key identifiers reach the limit sooner."""
    monkeypatch.setattr(trust, "MOST_UNNAMED_EFFORT", 13)
    counted = Counted(monkeypatch)
    search = PathSearch(leaf())
    for ca in large_authorities(4):
        assert isinstance(search.find(TrustStore([ca]), NOW), Finding)
    assert counted.signatures == 2


def test_slow_keys_of_forwarded_authorities_count_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forwarded CA certificates with P-384 keys, ten are tried."""
    counted = Counted(monkeypatch)
    search = PathSearch(leaf(), large_authorities(12))
    assert isinstance(search.find(TrustStore([CertificateAuthority("Other").x509]), NOW), Finding)
    assert counted.signatures == 10


def test_forwarded_authority_is_verified_once_for_all_alternatives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That a path ends at a CA that signed itself is found once, not once for each policy."""
    counted = Counted(monkeypatch)
    key = ec.generate_private_key(ec.SECP384R1())
    ca = sign(name("CA"), key, name("CA"), key, [(CA, True)])
    search = PathSearch(client(sign(name("alice"), KEYS["client"], name("CA"), key)), [ca])
    for _ in range(10):
        found = search.find(TrustStore([root()]), NOW)
        assert isinstance(found, Finding)
        assert "it ends at the CA certificate 'CN=CA', which signed itself" in found.detail
    # The leaf and the forwarded CA, and for each configured CA the two of them.
    assert counted.signatures == 2 + 10 * 2


def test_forwarded_authority_that_is_too_slow_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An RSA key with an exponent as long as the key, which a stranger makes, is left out."""
    counted = Counted(monkeypatch)
    holder = SimpleNamespace(
        public_key=lambda: rsa.RSAPublicNumbers(2**3070 + 1, 2**3071 + 1).public_key()
    )
    slow = sign(name("CA"), holder, name("CA"), KEYS["ca"], [(CA, True)])
    for signed_by in ("ca", "client"):
        end = client(sign(name("alice"), KEYS["client"], name("CA"), KEYS[signed_by]))
        found = PathSearch(end, [slow]).find(TrustStore([root()]), NOW)
        assert isinstance(found, list) == (signed_by == "ca")
    assert isinstance(found, Finding)
    assert "let the front end forward the certificate's own chain alone" in found.detail
    assert counted.signatures == 2


def test_all_that_one_request_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwarded CAs, configured ones and those that are named by their key share one limit."""
    counted = Counted(monkeypatch)
    forwarded = large_authorities(10)
    end = client(sign(name("alice"), KEYS["client"], name("CA"), KEYS["client"], [(AKI, False)]))
    search = PathSearch(end, forwarded)
    # One with the identifier counts 1, others 6.
    for ca in large_authorities(10) + [root([(CA, True), (CA_SKI, False)]) for _ in range(50)]:
        found = search.find(TrustStore([ca]), NOW)
    assert isinstance(found, Finding)
    assert "are configured than are tried for one request" in found.detail
    assert counted.signatures == 10 + 6 + (trust.MOST_NAMED_EFFORT - 60 - 36)


def test_denial_of_a_broken_path_says_what_was_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a path was found that is not valid, and others were not tried, the denial says both."""
    monkeypatch.setattr(trust, "MOST_UNNAMED_EFFORT", 1)
    top = root([(x509.BasicConstraints(ca=True, path_length=0), True)])
    middle = sign(name("Issuing"), KEYS["issuing"], name("CA"), KEYS["ca"], [(CA, True)])
    end = sign(name("alice"), KEYS["client"], name("Issuing"), KEYS["issuing"])
    found = PathSearch(client(end)).find(TrustStore([top], [middle]), NOW)
    assert isinstance(found, Finding)
    assert "; more CAs of the name 'CN=CA' are configured than are tried" in found.detail


@pytest.mark.parametrize("length", [4, 8])
def test_no_path_within_the_limits_is_lost(length: int) -> None:
    """A chain of P-521 keys leads to the last of forty CAs of one name, without key identifiers.

    Eight is the longest that `cryptography` follows. Its lowest and its highest CA are also
    cross-signed, and those certificates are forwarded too.
    """
    keys = [ec.generate_private_key(ec.SECP521R1()) for _ in range(length)]
    cas = [(name(f"Level {number}"), key) for number, key in enumerate(keys)]
    issuers = [*cas[1:], (name("CA"), KEYS["ca"])]
    chain = [sign(*ca, *issuer, [(CA, True)]) for ca, issuer in zip(cas, issuers, strict=True)]
    crossed = [sign(*ca, name("Elsewhere"), keys[0], [(CA, True)]) for ca in (cas[0], cas[-1])]
    end = client(sign(name("alice"), KEYS["client"], *cas[0]))
    search = PathSearch(end, [*crossed, *reversed(chain)])
    key = KEYS["client"]
    for _ in range(39):
        found = search.find(TrustStore([sign(name("CA"), key, name("CA"), key, [(CA, True)])]), NOW)
        assert isinstance(found, Finding)
    top = root()
    assert search.find(TrustStore([top]), NOW) == [end.x509, *chain, top]


def test_forwarded_certificate_is_tried_until_it_has_its_place(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarded certificate that already has its place on the path is not tried again."""
    counted = Counted(monkeypatch)
    lower = CertificateAuthority("Lower", issuer=authority)
    certificate = lower.issue("alice").certificate
    search = PathSearch(certificate, [certificate.x509, authority.x509, lower.x509])
    assert isinstance(search.find(TrustStore([CertificateAuthority("Other").x509]), NOW), Finding)
    # The third signature tells the operator that the path ends at a self-signed certificate.
    assert counted.signatures == 3
    stranger = self_signed("alice").certificate
    search = PathSearch(stranger, [stranger.x509])
    assert isinstance(search.find(TrustStore([CertificateAuthority("Other").x509]), NOW), Finding)
    assert counted.signatures == 3


def test_effort_of_a_signature_follows_the_key() -> None:
    """A slow key counts as several signatures, so that time is bounded and not only number."""

    def effort(key: Any) -> int:
        holder = SimpleNamespace(public_key=lambda: key)
        return Signer.of(sign(name("CA"), holder, name("CA"), KEYS["ca"])).effort

    def rsa_effort(exponent: int, bits: int) -> int:
        return effort(rsa.RSAPublicNumbers(exponent, 2 ** (bits - 1) + 1).public_key())

    assert rsa_effort(65537, 2048) == 1
    assert rsa_effort(65537, 4096) == 1
    assert rsa_effort(65537, 8192) == 4
    assert rsa_effort(2**63 + 1, 16384) == 46
    # FIPS 186-5 allows exponents up to this length, so a forwarded CA may have one.
    assert rsa_effort(2**255 + 1, 3072) == 7
    assert trust.MOST_FORWARDED_EFFORT < rsa_effort(2**3070 + 1, 3072) <= trust.MOST_UNNAMED_EFFORT
    assert effort(ec.generate_private_key(ec.SECP256R1()).public_key()) == 1
    assert effort(ec.generate_private_key(ec.SECP384R1()).public_key()) == 6
    assert effort(ec.generate_private_key(ec.SECP521R1()).public_key()) == 6
    assert effort(ec.generate_private_key(ec.BrainpoolP512R1()).public_key()) == 16
    assert effort(ed25519.Ed25519PrivateKey.generate().public_key()) == 16
    unreadable = changed(root(), "06072a8648ce3d0201", "06072a8648ce3d0209")
    assert Signer.of(unreadable).effort == 1


def test_key_identifier_that_is_missing_or_broken_names_no_key() -> None:
    """A CA without a readable subject key identifier is tried like every CA of that name."""
    garbage = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), b"\xff\xff")
    assert Signer.of(root([(CA_SKI, False)])).key_id == CA_SKI.digest
    assert Signer.of(root()).key_id is None
    assert Signer.of(root([(CA_SKI, False), (garbage, False)])).key_id is None


def said_to_be_at(url: str) -> tuple[x509.ExtensionType, bool]:
    """Make an extension with the address of the issuer's certificate."""
    location = x509.UniformResourceIdentifier(url)
    description = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
    return x509.AuthorityInformationAccess([description]), False


class TestMissingLink:
    """The detail of `untrusted` for a path that breaks."""

    def test_above_the_leaf(self, authority: CertificateAuthority) -> None:
        """If the issuer of the leaf is missing, the detail shows the leaf's address for it."""
        issuing = CertificateAuthority("Issuing", issuer=authority)
        leaf = issuing.issue("alice", extensions=[said_to_be_at("http://ca.example/i.crt")])
        store = TrustStore([authority.x509])
        found = PathSearch(leaf.certificate).find(store, datetime.now(UTC))
        assert found == Finding(
            DenialReason.UNTRUSTED,
            "no certification path to a trust anchor: no CA certificate of the name 'CN=Issuing' is"
            " configured; add it to intermediates; the certificate says that the CA"
            " certificate can be downloaded from 'http://ca.example/i.crt'; arrcert downloads"
            " nothing. Check the fingerprint of a downloaded certificate before you trust it",
        )

    @pytest.mark.parametrize("is_forwarded", [True, False])
    def test_above_an_intermediate(
        self, authority: CertificateAuthority, is_forwarded: bool
    ) -> None:
        """If the issuer of an intermediate is missing, the detail names both certificates."""
        middle = CertificateAuthority("Middle", issuer=authority)
        issuing = CertificateAuthority(
            "Issuing", issuer=middle, extensions=[said_to_be_at("http://ca.example/m.crt")]
        )
        leaf = issuing.issue("alice").certificate
        search = PathSearch(leaf, [issuing.x509] if is_forwarded else [])
        store = TrustStore([authority.x509], [] if is_forwarded else [issuing.x509])
        found = search.find(store, datetime.now(UTC))
        assert isinstance(found, Finding)
        assert (
            "anchor: it ends at the CA certificate 'CN=Issuing': no CA certificate of the name"
            " 'CN=Middle' is configured; add it to intermediates, or to trust_anchors if it is the"
            " root that you trust; the certificate says that the CA certificate can be downloaded"
            " from 'http://ca.example/m.crt'; "
        ) in found.detail

    @pytest.mark.parametrize("is_forwarded", [True, False])
    def test_another_root(self, authority: CertificateAuthority, is_forwarded: bool) -> None:
        """The detail for a path that ends at an unknown root says so."""
        root = CertificateAuthority("Other Root")
        issuing = CertificateAuthority("Issuing", issuer=root)
        cas = [root.x509, issuing.x509]
        search = PathSearch(issuing.issue("alice").certificate, cas if is_forwarded else [])
        store = TrustStore([authority.x509], [] if is_forwarded else cas)
        found = search.find(store, datetime.now(UTC))
        assert isinstance(found, Finding)
        assert (
            "anchor: it ends at the CA certificate 'CN=Other Root', which signed itself and is not"
            " among the trust anchors; if you trust it, add it to trust_anchors"
        ) in found.detail

    def test_renewed_root(
        self, authority: CertificateAuthority, other_authority: CertificateAuthority
    ) -> None:
        """The detail for a path below a renewed CA says that another key has its name."""
        issuing = CertificateAuthority("Issuing", issuer=other_authority)
        store = TrustStore([authority.x509], [issuing.x509])
        found = PathSearch(issuing.issue("alice").certificate).find(store, datetime.now(UTC))
        assert isinstance(found, Finding)
        assert (
            "it ends at the CA certificate 'CN=Issuing': a CA of the name 'CN=Contoso Issuing"
            " CA,O=Contoso' is configured, but another key signed the CA certificate 'CN=Issuing'"
        ) in found.detail

    def test_weak_signature(self) -> None:
        """The detail for a path that ends at a CA signed over SHA-1 names no other key."""
        key = rsa.generate_private_key(65537, 2048)
        strong = sign(name("Issuing"), KEYS["issuing"], name("CA"), key, [(CA, True)])
        # cryptography does not sign over SHA-1. RSA with SHA-1 has an identifier as long as that
        # of RSA with SHA-256.
        with_sha256, with_sha1 = (bytes.fromhex(f"2a864886f70d0101{end}") for end in ("0b", "05"))
        weak = x509.load_der_x509_certificate(
            strong.public_bytes(Encoding.DER).replace(with_sha256, with_sha1)
        )
        end = client(sign(name("alice"), KEYS["client"], name("Issuing"), KEYS["issuing"]))
        found = PathSearch(end).find(TrustStore([root()], [weak]), datetime.now(UTC))
        assert isinstance(found, Finding)
        assert (
            "it ends at the CA certificate 'CN=Issuing', which is signed with sha1, which proves"
            " nothing; have it issued again"
        ) in found.detail

    def test_no_link_is_missing(self, authority: CertificateAuthority) -> None:
        """If no certificate is missing, the detail names another reason: a path too long."""
        top = root([(x509.BasicConstraints(ca=True, path_length=0), True)])
        middle = sign(name("Issuing"), KEYS["issuing"], name("CA"), KEYS["ca"], [(CA, True)])
        end = sign(name("alice"), KEYS["client"], name("Issuing"), KEYS["issuing"])
        found = PathSearch(client(end)).find(TrustStore([top], [middle]), datetime.now(UTC))
        assert isinstance(found, Finding)
        assert "it ends at" not in found.detail
        assert "path length" in found.detail

    def test_cas_that_certify_each_other(self, authority: CertificateAuthority) -> None:
        """The search ends if two CAs have certified each other and no CA is above them."""
        one, two = (name("One"), KEYS["ca"]), (name("Two"), KEYS["issuing"])
        crossed = [sign(*one, *two, [(CA, True)]), sign(*two, *one, [(CA, True)])]
        end = client(sign(name("alice"), KEYS["client"], *one))
        store = TrustStore([authority.x509], crossed)
        found = PathSearch(end).find(store, datetime.now(UTC))
        assert isinstance(found, Finding)
        assert "no certification path to a trust anchor: " in found.detail


def test_forwarded_chain_leads_to_an_anchor(authority: CertificateAuthority) -> None:
    """Forwarded CA certificates that form a chain are used in any order, and stray ones are not."""
    middle = CertificateAuthority("Middle", issuer=authority)
    lower = CertificateAuthority("Lower", issuer=middle)
    leaf = lower.issue("alice").certificate
    stray = CertificateAuthority("Lower").x509
    forwarded = [leaf.x509, stray, middle.x509, lower.x509]
    path = PathSearch(leaf, forwarded).find(TrustStore([authority.x509]), datetime.now(UTC))
    assert path == [
        leaf.x509,
        lower.x509,
        middle.x509,
        authority.x509,
    ]


# --- what a client can forward ------------------------------------------------------------------


def other_anchors(number: int) -> list[x509.Certificate]:
    """Make CAs of other names, so that each alternative can have a set of anchors of its own."""
    key = KEYS["client"]
    return [
        sign(name(f"Other {n}"), key, name(f"Other {n}"), key, [(CA, True)]) for n in range(number)
    ]


EXPIRED = {"not_after": NOW - timedelta(seconds=1)}


@pytest.mark.parametrize("clock_skew", [0, 60])
def test_client_certificate_is_no_issuer(monkeypatch: pytest.MonkeyPatch, clock_skew: int) -> None:
    """A forwarded certificate that is no CA is not part of any path, and is not searched.

    Its holder forwards it with CA certificates that bear its name and its key.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    own = sign(name("partner"), key, name("CA"), KEYS["ca"], [(END_ENTITY, True)])
    made = [sign(name("partner"), key, name("partner"), key, [(CA, True)]) for _ in range(9)]
    end = client(sign(name("x"), KEYS["client"], name("partner"), key))
    counted = Counted(monkeypatch)
    search = PathSearch(end, [*made, own])
    for other in other_anchors(40):
        found = search.find(TrustStore([root(), other]), NOW, timedelta(seconds=clock_skew))
        assert isinstance(found, Finding)
    assert counted.searches == 0
    assert counted.signatures == 10
    bare = sign(name("partner"), key, name("CA"), KEYS["ca"])
    for forwarded in (own, bare):
        found = PathSearch(end, [forwarded]).find(TrustStore([root()]), NOW)
        assert isinstance(found, Finding)
        assert (
            "no CA certificate of the name 'CN=partner' is configured; the one that came with it is"
            " no CA; add it to intermediates"
        ) in found.detail


@pytest.mark.parametrize("clock_skew", [0, 60])
def test_path_is_validated_once_for_all_alternatives(
    monkeypatch: pytest.MonkeyPatch, clock_skew: int
) -> None:
    """A path to a CA is validated once, whatever else each alternative trusts, and once in time.

    The holder of a sub-CA forwards it with CA certificates that bear its name and its key. A path
    holds a name with a key only once.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    own = sign(name("partner"), key, name("CA"), KEYS["ca"], [(CA, True), (UNKNOWN, True)])
    made = [sign(name("partner"), key, name("partner"), key, [(CA, True)]) for _ in range(9)]
    end = client(sign(name("x"), KEYS["client"], name("partner"), key))
    top = root()
    counted = Counted(monkeypatch)
    search = PathSearch(end, [*made, own])
    for other in other_anchors(40):
        found = search.find(TrustStore([top, other]), NOW, timedelta(seconds=clock_skew))
        assert isinstance(found, Finding)
    assert counted.searches == 1


def layers(number: int, certificates: int, *, is_valid: bool = True) -> list[x509.Certificate]:
    """Make CAs of several levels below CA, with several certificates for each of them.

    Args:
        number: the number of levels. The lowest CA is Level 0, with the key "issuing".
        certificates: the number of certificates for each.
        is_valid: False if the certificate of the highest level has expired.
    """
    keys = [KEYS["issuing"], *(ec.generate_private_key(ec.SECP256R1()) for _ in range(number - 1))]
    cas = [(name(f"Level {n}"), key) for n, key in enumerate(keys)]
    forwarded = [
        sign(*ca, *issuer, [(CA, True)])
        for ca, issuer in itertools.pairwise(cas)
        for _ in range(certificates)
    ]
    dates = {} if is_valid else EXPIRED
    return [*forwarded, sign(*cas[-1], name("CA"), KEYS["ca"], [(CA, True)], **dates)]


def below(forwarded_name: str) -> ClientCertificate:
    """Make a client certificate that a CA with the key "issuing" issued."""
    return client(sign(name("x"), KEYS["client"], name(forwarded_name), KEYS["issuing"]))


def test_validated_paths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths that a client can make of forwarded CA certificates count towards the limit."""
    top = root()
    counted = Counted(monkeypatch)
    search = PathSearch(below("Level 0"), layers(4, 3, is_valid=False))
    for other in other_anchors(40):
        found = search.find(TrustStore([top, other]), NOW)
        assert isinstance(found, Finding)
        assert "cost more to validate than is spent on one request" in found.detail
    # There are 27 paths. Each has five signatures, and counts one more.
    assert counted.searches == (trust.MOST_EFFORT - counted.signatures) // 6 < 27


def test_signatures_after_paths_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was spent on paths is not spent again on the signatures of other alternatives."""
    monkeypatch.setattr(trust, "MOST_EFFORT", 7)
    counted = Counted(monkeypatch)
    search = PathSearch(leaf())
    for renewed in (root() for _ in range(10)):
        search.find(TrustStore([renewed]), NOW + timedelta(days=9))
    assert counted.signatures + 2 * counted.searches == 7


def test_steps_of_the_search_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that follows too many issuers ends, and the denial says so."""
    monkeypatch.setattr(trust, "MOST_STEPS", 3)
    search = PathSearch(below("Level 0"), layers(4, 1))
    found = search.find(TrustStore([root()]), NOW)
    assert isinstance(found, Finding)
    assert "cost more to validate than is spent on one request" in found.detail


def test_valid_path_is_found_beside_invalid_ones() -> None:
    """If an expired certificate of a forwarded CA came with the valid one, the path is found."""
    top = root()
    lower, upper = layers(2, 1)
    end = below("Level 0")
    for ca in (lower, upper):
        holder = SimpleNamespace(public_key=ca.public_key)
        expired = sign(ca.subject, holder, name("CA"), KEYS["ca"], [(CA, True)], **EXPIRED)
        path = PathSearch(end, [expired, lower, upper]).find(TrustStore([top]), NOW)
        assert path == [end.x509, lower, upper, top]


def test_configured_certificate_below_a_forwarded_one() -> None:
    """A path may lead from a configured CA over a forwarded CA to the anchor.

    The client forwards the expired certificate of the configured CA.
    """
    top = root()
    upper = sign(name("Level 1"), KEYS["ca"], name("CA"), KEYS["ca"], [(CA, True)])
    level_0 = (name("Level 0"), KEYS["issuing"], name("Level 1"), KEYS["ca"], [(CA, True)])
    old, renewed = sign(*level_0, **EXPIRED), sign(*level_0)
    end = below("Level 0")
    path = PathSearch(end, [old, upper]).find(TrustStore([top], [renewed]), NOW)
    assert path == [end.x509, renewed, upper, top]


def test_forwarded_authorities_of_one_name_with_several_keys() -> None:
    """A CA that renewed its key twice, with certificates of its own name, is followed."""
    keys = [KEYS["issuing"], *(ec.generate_private_key(ec.SECP256R1()) for _ in range(2))]
    first, second = (
        sign(name("Renewed"), key, name("Renewed"), older, [(CA, True)])
        for key, older in itertools.pairwise(keys)
    )
    third = sign(name("Renewed"), keys[2], name("CA"), KEYS["ca"], [(CA, True)])
    end, top = below("Renewed"), root()
    search = PathSearch(end, [third, second, first])
    assert search.find(TrustStore([top]), NOW) == [end.x509, first, second, third, top]
    assert isinstance(search.find(TrustStore([top]), NOW + timedelta(days=9)), Finding)
    # `cryptography` may try each key of the name for each signature.
    effort = trust._effort_of_path([Signer.of(ca) for ca in (first, second, third, top)])
    assert effort == 1 + 3 * 3 + 1


def test_path_that_violates_constraints_hides_no_other() -> None:
    """A path that violates name constraints is the reason only if no other path is valid."""
    top = root()
    none_with_mail = x509.NameConstraints([x509.RFC822Name("other.example")], None)
    limited, free = (
        sign(name("Level 0"), KEYS["issuing"], name("CA"), KEYS["ca"], [(CA, True), *more])
        for more in ([(none_with_mail, True)], [])
    )
    subject = name("x", "x@contoso.example")
    end = client(sign(subject, KEYS["client"], name("Level 0"), KEYS["issuing"]))
    path = PathSearch(end, [limited, free]).find(TrustStore([top]), NOW)
    assert path == [end.x509, free, top]
    found = PathSearch(end, [limited]).find(TrustStore([top]), NOW)
    assert isinstance(found, Finding)
    assert "violates the name constraints of the CA 'CN=Level 0'" in found.detail


def test_names_and_constraints_count_towards_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many names below a forwarded CA with many name constraints are not compared."""
    hosts = [x509.DNSName(f"h{number}.example") for number in range(500)]
    constraints = x509.NameConstraints(None, [x509.DNSName(f"no{n}.example") for n in range(500)])
    sub = sign(
        name("Sub"), KEYS["issuing"], name("CA"), KEYS["ca"], [(CA, True), (constraints, True)]
    )
    top = root()
    counted = Counted(monkeypatch)
    for count, expected in ((100, True), (500, False)):
        names = (x509.SubjectAlternativeName(hosts[:count]), False)
        end = client(sign(name("x"), KEYS["client"], name("Sub"), KEYS["issuing"], [names]))
        found = PathSearch(end, [sub]).find(TrustStore([top]), NOW)
        assert isinstance(found, list) == expected
    assert isinstance(found, Finding)
    assert "have many name constraints, so not all of them were tried" in found.detail
    assert counted.searches == 1


def test_path_that_is_too_long_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with more than eight intermediates is denied, and the denial says so."""
    counted = Counted(monkeypatch)
    found = PathSearch(below("Level 0"), layers(9, 1)).find(TrustStore([root()]), NOW)
    assert isinstance(found, Finding)
    assert "form no path to a trust anchor with at most 8 intermediates" in found.detail
    assert counted.searches == 0


def test_configured_authorities_are_verified_once_for_each_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If several anchors have one name, which of them signed an intermediate is found once."""
    other = sign(name("CA"), KEYS["client"], name("CA"), KEYS["client"], [(CA, True)])
    issuing = sign(name("Level 0"), KEYS["issuing"], name("CA"), KEYS["ca"], [(CA, True)])
    store = TrustStore([root(), other], [issuing])
    counted = Counted(monkeypatch)
    for number in (1, 2):
        assert isinstance(PathSearch(below("Level 0")).find(store, NOW), list)
        # The leaf for each request, and the intermediate with each of the two anchors.
        assert counted.signatures == number + 2


def test_location_of_an_issuer_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses that a certificate shows for its issuer are read once for all alternatives."""
    calls: list[x509.Certificate] = []

    def counted_where_issuer_is(certificate: x509.Certificate) -> str:
        calls.append(certificate)
        return "; somewhere"

    monkeypatch.setattr(trust, "where_issuer_is", counted_where_issuer_is)
    search = PathSearch(leaf())
    for anchor in other_anchors(40):
        found = search.find(TrustStore([anchor]), NOW)
        assert isinstance(found, Finding)
        assert found.detail.endswith("; somewhere")
    assert len(calls) == 1


def test_request_of_an_insider_costs_one_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole request with the chain of a sub-CA costs one validation for forty alternatives."""
    key = ec.generate_private_key(ec.SECP384R1())
    own = sign(name("partner"), key, name("CA"), KEYS["ca"], [(CA, True), (UNKNOWN, True)])
    made = [sign(name("partner"), key, name("partner"), key, [(CA, True)]) for _ in range(9)]
    end = sign(name("x"), KEYS["client"], name("partner"), key)
    top, *others = (pem_of(ca) for ca in (root(), *other_anchors(40)))
    policies = [Policy(trust_anchors=[top, other], clock_skew=60) for other in others]
    authorizer = Authorizer({"default": policies}, front_end="rfc9440")
    chain = ", ".join(item_of(ca) for ca in [*made, own])
    headers = [("Client-Cert", item_of(end)), ("Client-Cert-Chain", chain)]
    counted = Counted(monkeypatch)
    with pytest.raises(CertificateDenied) as caught:
        authorizer.authorize_headers(headers, method="GET")
    assert caught.value.reasons == (DenialReason.UNTRUSTED,) * 40
    assert counted.searches == 1


def pem_of(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def item_of(certificate: x509.Certificate) -> str:
    """Return a certificate as RFC 9440 writes it."""
    return f":{base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()}:"
