"""A suggestion accepts the certificate, and no suggestion accepts a certificate that is unsafe."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert import ClientCertificate, Policy
from arrcert.cli.suggestions import (
    Suggestion,
    as_json,
    as_python,
    as_toml,
    merged,
    suggestions,
    why_to_suggest_nothing,
)
from arrcert.explanation import explain
from arrcert.invisible import is_visible
from arrcert.keys import public_key_fingerprint
from arrcert.moments import whole_second
from arrcert.presented import Presented
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

PIN = "AB" * 32
DAY = timedelta(days=1)
HOSTILE = 'a"b\\c\x1b[31m\u202e\U000e0001\u2028\ufe0f\U000e0100'


def asked(
    certificate: ClientCertificate,
    *policies: Policy,
    at: datetime | None = None,
    now: datetime | None = None,
) -> tuple[list[str], list[Suggestion]]:
    """Return why there is no suggestion, and the suggestions under the policies."""
    presented, moment = Presented(certificate), whole_second(at)
    results = explain(certificate, {"p": policies}, moment)
    reasons = why_to_suggest_nothing(presented, results, moment, whole_second(now))
    return reasons, suggestions(presented, results["p"], moment)


def signed(
    key: Any, algorithm: Any, *names: x509.GeneralName, subject: x509.Name | None = None
) -> ClientCertificate:
    """Return a self-signed certificate with any key, algorithm and names."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name if subject is None else subject)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + 30 * DAY)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return ClientCertificate.from_der(builder.sign(key, algorithm).public_bytes(Encoding.DER))


OTHER_PIN = Policy(fingerprints=[PIN])


def _with_algorithm(certificate: ClientCertificate, last: int) -> ClientCertificate:
    """Return a certificate of an RSA key with another signature algorithm of PKCS#1."""
    oid = bytes.fromhex("2a864886f70d0101")
    der = certificate.der.replace(oid + b"\x0b", oid + bytes([last]))
    return ClientCertificate.from_der(der)


def test_pin_comes_first(alice: IssuedCertificate) -> None:
    """The first suggestion is a pin of this one certificate, and the pin accepts it."""
    reasons, [pin] = asked(alice.certificate, OTHER_PIN)
    assert not reasons
    assert pin.policy == {"fingerprints": [alice.certificate.sha256_fingerprint]}
    Policy(**pin.policy).check(alice.certificate)
    assert "by another channel" in pin.warnings[0]


def test_path_and_name_come_second(authority: CertificateAuthority) -> None:
    """If the path is valid, the second suggestion is the name, with that alternative's files."""
    pem, crl = authority.certificate_pem.decode(), authority.revocation_list().decode()
    alice = authority.issue("alice").certificate
    policy = Policy(trust_anchors=pem, crls=crl, common_names=["bob"], dns_names=["b.example"])
    reasons, [pin, name] = asked(alice, policy)
    assert not reasons
    assert name.policy == {"trust_anchors": [pem], "crls": [crl], "common_names": ["alice"]}
    assert "do not do this for a public CA" in name.warnings[0]
    assert "a pin is not checked against revocation lists" in pin.warnings
    several = Policy(
        trust_anchors=[pem, CertificateAuthority("X").certificate_pem.decode()], issuers=["X"]
    )
    _, [_, name] = asked(alice, several)
    assert name.policy["issuers"] == ["CN=Contoso Issuing CA,O=Contoso"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("dns_names", x509.DNSName("a.example")),
        ("uris", x509.UniformResourceIdentifier("urn:a")),
        ("email_addresses", x509.RFC822Name("a@b.example")),
        (None, x509.DirectoryName(x509.Name([]))),
    ],
)
def test_other_names(key: str | None, name: x509.GeneralName) -> None:
    """Without a common name, the alternative names are suggested; without any, only the pin."""
    nobody = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Contoso")])
    private_key = ec.generate_private_key(ec.SECP256R1())
    certificate = signed(private_key, hashes.SHA256(), name, subject=nobody)
    anchor = certificate.x509.public_bytes(Encoding.PEM).decode()
    policy = Policy(trust_anchors=anchor, common_names=["bob"])
    _, [_, *by_name] = asked(certificate, policy)
    if key is None:
        assert not by_name
    else:
        assert [list(suggestion.policy) for suggestion in by_name] == [["trust_anchors", key]]


def test_path_that_breaks_is_not_suggested(
    authority: CertificateAuthority, impostor: IssuedCertificate
) -> None:
    """A name is suggested only with a valid path, and only if settings can hold the name."""
    pem = authority.certificate_pem.decode()
    _, found = asked(impostor.certificate, Policy(trust_anchors=pem, common_names=["alice"]))
    assert [list(suggestion.policy) for suggestion in found] == [["fingerprints"]]
    spaced = authority.issue(" alice").certificate
    _, found = asked(spaced, Policy(trust_anchors=pem, common_names=["bob"]))
    assert [list(suggestion.policy) for suggestion in found] == [["fingerprints"]]


def test_certificates_that_nobody_should_let_in(authority: CertificateAuthority) -> None:
    """Nothing is suggested for an expired, weak, wrongly used or revoked certificate."""
    now = whole_second()
    expired = authority.issue("a", not_after=now - DAY).certificate
    assert "it has expired" in asked(expired, OTHER_PIN)[0][0]
    # Nor is it suggested for a moment before it expired.
    assert "it has expired" in asked(expired, OTHER_PIN, at=now - DAY - timedelta(hours=1))[0][0]
    alice = authority.issue("alice")
    assert "it has expired" in asked(alice.certificate, OTHER_PIN, at=now + 900 * DAY)[0][0]
    server = authority.issue("a", extended_key_usages=("serverAuth",)).certificate
    assert "lacks clientAuth" in asked(server, OTHER_PIN)[0][0]
    weak = signed(rsa.generate_private_key(65537, 1024), hashes.SHA256())
    assert "RSA key of 1024 bits" in asked(weak, OTHER_PIN)[0][0]
    strong = signed(rsa.generate_private_key(65537, 2048), hashes.SHA256())
    # SHA-1, and an algorithm that does not exist, replace SHA-256.
    sha1 = _with_algorithm(strong, 0x05)
    assert "signed with sha1" in asked(sha1, OTHER_PIN)[0][0]
    unknown = _with_algorithm(strong, 0x7F)
    assert "its signature algorithm is unknown" in asked(unknown, OTHER_PIN)[0][0]
    pem = authority.certificate_pem.decode()
    for crl in (
        authority.revocation_list(alice),
        authority.revocation_list(alice, next_update=now - DAY),
        authority.revocation_list(next_update=now - DAY),
    ):
        policy = Policy(trust_anchors=pem, crls=crl.decode())
        assert len(asked(alice.certificate, policy)[0]) == 1
        # A CRL of any policy counts.
        assert len(asked(alice.certificate, OTHER_PIN, policy)[0]) == 1


def test_revoked_without_a_path() -> None:
    """The CRL of a CA counts even if no certification path goes through that CA."""
    root = CertificateAuthority("Root")
    issuing = CertificateAuthority("Issuing", issuer=root)
    other = CertificateAuthority("Other")
    alice = issuing.issue("alice")
    policy = Policy(
        trust_anchors=other.certificate_pem.decode(),
        intermediates=issuing.certificate_pem.decode(),
        crls=issuing.revocation_list(alice).decode(),
    )
    reasons, _ = asked(alice.certificate, policy)
    assert len(reasons) == 1
    assert "names the serial number" in reasons[0]


def test_template_is_copied(authority: CertificateAuthority) -> None:
    """The suggestion keeps a template, because it names each client by its certificate."""
    pem = authority.certificate_pem.decode()
    alice = authority.issue("alice").certificate
    policy = Policy(trust_anchors=pem, common_names=["bob"], identity="contoso:{common_name}")
    _, [pin, name] = asked(alice, policy)
    assert name.policy["identity"] == "contoso:{common_name}"
    assert len(name.warnings) == 1
    assert "identity" not in pin.policy
    assert any('write "identity"' in warning for warning in pin.warnings)
    # The certificate has no DNS name, so the template would deny it.
    policy = Policy(trust_anchors=pem, common_names=["bob"], identity="{dns_name}")
    _, [_, name] = asked(alice, policy)
    assert "identity" not in name.policy
    assert any('write "identity"' in warning for warning in name.warnings)


def test_name_and_roles_of_another_client_are_not_copied(authority: CertificateAuthority) -> None:
    """A literal identity and roles belong to another client: they are shown, not copied."""
    pem = authority.certificate_pem.decode()
    alice = authority.issue("alice").certificate
    policies = [
        Policy(trust_anchors=pem, common_names=["bob"], identity="bob", roles=["orders"]),
        Policy(fingerprints=[{"fingerprint": PIN, "identity": "carol", "roles": ["invoices"]}]),
    ]
    _, [pin, name] = asked(alice, *policies)
    for suggestion, roles in ((pin, "'invoices', 'orders'"), (name, "'orders'")):
        assert not {"identity", "roles"} & set(suggestion.policy)
        *_, of_name, of_roles = suggestion.warnings
        assert 'write "identity" with the name of this client' in of_name
        assert f"the policy grants roles ({roles})" in of_roles
    # A policy without an identity and without roles gives no warning.
    _, [pin] = asked(alice, OTHER_PIN)
    assert len(pin.warnings) == 1


def test_warnings_of_a_pin(authority: CertificateAuthority) -> None:
    """An expired pin, or one that an alternative denies, is reported before a new pin."""
    alice = authority.issue("alice").certificate
    retired = {"fingerprint": alice.sha256_fingerprint, "not_after": "2020-01-01"}
    _, [pin] = asked(alice, Policy(fingerprints=[retired]))
    assert any("has a pin for it" in warning for warning in pin.warnings)
    key = public_key_fingerprint(alice.x509)
    assert key is not None
    _, [pin] = asked(alice, Policy(public_keys=[{"public_key": key, "not_after": "2020-01-01"}]))
    assert any("has a pin for it" in warning for warning in pin.warnings)
    ca = ClientCertificate.from_pem(authority.certificate_pem)
    _, [pin] = asked(ca, OTHER_PIN)
    assert any("you can pin it if it is the client's own" in warning for warning in pin.warnings)
    below = CertificateAuthority("Issuing", issuer=authority)
    _, [pin] = asked(ClientCertificate.from_pem(below.certificate_pem), OTHER_PIN)
    assert any("it is a CA certificate" in warning for warning in pin.warnings)


def test_expired_pin_needs_no_second_one(authority: CertificateAuthority) -> None:
    """If only an expired pin denies a certificate, its end date is suggested, and no second pin."""
    alice = authority.issue("alice").certificate
    key = public_key_fingerprint(alice.x509)
    retired = {
        "fingerprint": alice.sha1_fingerprint,
        "not_after": "2020-01-01",
        "note": "old gateway",
        "identity": "fabrikam",
    }
    retired_key = {"public_key": key, "not_after": "2020-01-01"}
    [reason], _ = asked(alice, Policy(fingerprints=[retired]))
    assert reason == (
        f"policy 'p' has a pin for it already: the pin '{alice.sha1_fingerprint} (old gateway)' of"
        " 'fabrikam', which has expired at 2020-01-01T23:59:59Z; if the partner still uses this"
        " certificate, write a later not_after, and no second pin"
    )
    [reason], _ = asked(alice, Policy(public_keys=[retired_key]))
    assert f"the pin '{key}', which has expired at" in reason
    both = Policy(fingerprints=[retired], public_keys=[retired_key])
    assert len(asked(alice, both)[0]) == 2
    # A later end date is not enough, or another alternative is not about this certificate.
    pem = authority.certificate_pem.decode()
    for policy in (
        Policy(fingerprints=[retired], public_keys=[PIN]),
        Policy(fingerprints=[retired], trust_anchors=pem, common_names=["bob"]),
        Policy(fingerprints=[{"fingerprint": alice.sha1_fingerprint, "not_after": "2999-01-01"}]),
        OTHER_PIN,
    ):
        assert asked(alice, policy)[0] == []


def test_certificate_that_is_not_valid_yet(authority: CertificateAuthority) -> None:
    """A certificate that is valid from tomorrow is suggested for tomorrow."""
    early = authority.issue("alice", not_before=whole_second() + DAY).certificate
    reasons, [pin] = asked(early, OTHER_PIN)
    assert not reasons
    Policy(**pin.policy).check(early, early.not_valid_before_utc)


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        (None, {"p": {"fingerprints": ["x"]}}),
        ({"q": {"uris": ("a",)}}, {"q": {"uris": ["a"]}, "p": {"fingerprints": ["x"]}}),
        ({"p": {"crls": Path("a")}}, {"p": [{"crls": "a"}, {"fingerprints": ["x"]}]}),
        ({"p": [{"uris": {"b", "a"}}]}, {"p": [{"uris": ["a", "b"]}, {"fingerprints": ["x"]}]}),
        (
            {"p": ({"fingerprints": [{"not_after": datetime(2027, 1, 31, tzinfo=UTC).date()}]},)},
            {"p": [{"fingerprints": [{"not_after": "2027-01-31"}]}, {"fingerprints": ["x"]}]},
        ),
    ],
)
def test_whole_setting(written: Mapping[str, Any] | None, whole: dict[str, Any]) -> None:
    """The whole setting keeps the written policies, and has one more alternative."""
    assert merged(written, "p", {"fingerprints": ["x"]}) == whole
    json.dumps(whole)


def test_what_is_pasted_shows_every_character() -> None:
    """A suggestion has no invisible character, and means the same as the original text."""
    policy = {"common_names": [HOSTILE, "M\u00fcller"], "clock_skew": [1, True]}
    name = f"p {HOSTILE}"
    toml = as_toml(name, {"common_names": [HOSTILE, "M\u00fcller"]})
    for text in (as_json({name: policy}), as_python({name: policy}), toml):
        assert all(map(is_visible, text.splitlines()))
        assert "M\u00fcller" in text
    assert json.loads(as_json({name: policy})) == {name: policy}
    assert ast.literal_eval(as_python({name: [policy, {}, []]})) == {name: [policy, {}, []]}
    assert tomllib.loads(toml) == {name: [{"common_names": [HOSTILE, "M\u00fcller"]}]}
    assert as_toml("a-b_1", {"identity": "b"}) == '[[a-b_1]]\nidentity = "b"'


def test_self_signed_strangers_get_only_a_pin() -> None:
    """The only suggestion for a self-signed certificate is its pin."""
    stranger = self_signed("alice").certificate
    ca = CertificateAuthority("CA").certificate_pem.decode()
    _, found = asked(stranger, Policy(trust_anchors=ca, common_names=["alice"]))
    assert [list(suggestion.policy) for suggestion in found] == [["fingerprints"]]
