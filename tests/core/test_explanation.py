"""An explanation holds every rule, the path, and the place where the path breaks."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert import DenialReason, Policy
from arrcert.explanation import (
    AlternativeResult,
    PathResult,
    RuleResult,
    certificate_as_json,
    days_left,
    explain,
    key_identifiers,
    name_of,
    policy_as_json,
)
from arrcert.moments import whole_second
from arrcert.presented import Presented
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

DAY = timedelta(days=1)


def explained(
    issued: IssuedCertificate | Presented,
    policy: Policy,
    at: datetime | None = None,
    others: Any = (),
) -> AlternativeResult:
    """Return the explanation of one policy."""
    [result] = explain(
        issued.certificate,
        {"p": [policy]},
        at,
        forwarded=issued.forwarded if isinstance(issued, Presented) else (),
        others=others,
    ).values()
    [alternative] = result.alternatives
    return alternative


def path_of(alternative: AlternativeResult) -> PathResult:
    """Return the path of an explanation."""
    assert alternative.path is not None
    return alternative.path


def roles(path: PathResult) -> list[str]:
    """Return the roles of the certificates of a path."""
    return [step.role for step in path.steps]


@pytest.fixture(scope="module")
def root() -> CertificateAuthority:
    """A root CA with an earlier start of validity than its certificates."""
    return CertificateAuthority("Root", not_before=whole_second() - 100 * DAY)


@pytest.fixture(scope="module")
def issuing(root: CertificateAuthority) -> CertificateAuthority:
    """The CA below the root."""
    return CertificateAuthority("Issuing", issuer=root, not_before=whole_second() - 100 * DAY)


def pem(authority: CertificateAuthority) -> str:
    """Return a CA certificate as PEM."""
    return authority.certificate_pem.decode()


def test_path_that_is_whole(root: CertificateAuthority, issuing: CertificateAuthority) -> None:
    """A valid path is listed from the client to the anchor, with the source of each certificate."""
    alice = issuing.issue("alice")
    configured = Policy(trust_anchors=pem(root), intermediates=pem(issuing))
    assert roles(path_of(explained(alice, configured))) == [
        "client",
        "intermediate",
        "trust anchor",
    ]
    sent = Presented(alice.certificate, [issuing.x509])
    path = path_of(explained(sent, Policy(trust_anchors=pem(root))))
    assert roles(path) == ["client", "came with the request", "trust anchor"]
    assert path.is_valid
    direct = explained(alice, Policy(trust_anchors=pem(issuing)))
    assert roles(path_of(direct)) == ["client", "trust anchor"]
    assert direct.until is not None
    anchor = alice.certificate_pem.decode()
    assert roles(path_of(explained(alice, Policy(trust_anchors=anchor)))) == ["trust anchor"]


def test_path_that_breaks(root: CertificateAuthority, issuing: CertificateAuthority) -> None:
    """The explanation of a broken path names the missing CA, and recognizes a copy in CERT."""
    alice = issuing.issue("alice")
    policy = Policy(trust_anchors=pem(root))
    alternative = explained(alice, policy)
    path = path_of(alternative)
    assert (roles(path), path.missing) == (["client"], "CN=Issuing")
    assert [rule.key for rule in alternative.rules if rule.holds is None] == ["revocation"]
    in_file = path_of(explained(alice, policy, others=[issuing.x509]))
    assert roles(in_file) == ["client", "in CERT, not configured", "trust anchor"]
    assert (in_file.is_valid, in_file.missing) == (False, None)
    other = CertificateAuthority("Other")
    below = path_of(explained(alice, Policy(trust_anchors=pem(other), intermediates=pem(issuing))))
    assert (roles(below), below.missing) == (["client", "intermediate"], "CN=Root")


def test_path_of_a_stranger(root: CertificateAuthority) -> None:
    """A self-signed certificate has no missing CA, and another key of a CA's name has one."""
    policy = Policy(trust_anchors=pem(root))
    path = path_of(explained(self_signed("alice"), policy))
    assert (roles(path), path.missing) == (["client"], None)
    same_name = CertificateAuthority("Root").issue("alice")
    alternative = explained(same_name, policy)
    assert path_of(alternative).missing == "CN=Root"
    assert "another key signed the certificate" in path_of(alternative).problem


def test_circle_of_authorities() -> None:
    """The search ends if CAs have certified each other."""
    first, second = CertificateAuthority("A"), CertificateAuthority("B")

    def cross(subject: CertificateAuthority, signer: CertificateAuthority) -> x509.Certificate:
        now = whole_second()
        return (
            x509.CertificateBuilder()
            .subject_name(subject.name)
            .issuer_name(signer.name)
            .public_key(subject.x509.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer._key, hashes.SHA256())
        )

    circle = [cross(first, second) for _ in range(8)] + [cross(second, first) for _ in range(8)]
    sent = Presented(first.issue("alice").certificate, circle)
    policy = Policy(trust_anchors=pem(CertificateAuthority("Root")))
    assert 2 <= len(path_of(explained(sent, policy)).steps) <= 10


def test_expired_certificate_is_judged_within_its_validity(
    root: CertificateAuthority,
) -> None:
    """The path of an expired certificate is checked for its last valid second."""
    now = whole_second()
    expired = root.issue("alice", not_before=now - 3 * DAY, not_after=now - DAY)
    early = root.issue("alice", not_before=now + DAY)
    crl = root.revocation_list(expired).decode()
    policy = Policy(trust_anchors=pem(root), crls=crl)
    alternative = explained(expired, policy)
    assert path_of(alternative).valid_at == expired.certificate.not_valid_after_utc
    assert [rule.reason for rule in alternative.failed] == [
        DenialReason.EXPIRED,
        DenialReason.UNTRUSTED,
        DenialReason.REVOKED,
    ]
    assert "; within its validity, at " in alternative.failed[1].detail
    assert path_of(explained(early, policy)).valid_at == early.certificate.not_valid_before_utc
    assert len(explained(early, policy).failed) == 2
    pinned = Policy(fingerprints=[expired.certificate.sha256_fingerprint])
    assert [rule.reason for rule in explained(expired, pinned).failed] == [DenialReason.EXPIRED]


def test_path_that_only_signatures_hold_together() -> None:
    """If the CA was not valid either, revocation is checked on the path of the signatures."""
    now = whole_second()
    young = CertificateAuthority("Young")
    expired = young.issue("alice", not_before=now - 9 * DAY, not_after=now - 8 * DAY)
    policy = Policy(trust_anchors=pem(young), crls=young.revocation_list(expired).decode())
    alternative = explained(expired, policy)
    path = path_of(alternative)
    assert (path.is_valid, path.valid_at, roles(path)) == (False, None, ["client", "trust anchor"])
    assert alternative.failed[-1].reason is DenialReason.REVOKED


def test_all_policies_and_alternatives(alice: IssuedCertificate) -> None:
    """The explanation has each policy, with each of its alternatives."""
    pin = alice.certificate.sha256_fingerprint
    policies = {
        "default": [Policy(fingerprints=["AB" * 32]), Policy(fingerprints=[pin])],
        "partners": [Policy(fingerprints=["AB" * 20])],
    }
    results = explain(alice.certificate, policies)
    assert {name: result.accepted for name, result in results.items()} == {
        "default": True,
        "partners": False,
    }
    assert [each.accepted for each in results["default"].alternatives] == [False, True]
    told = policy_as_json(results["default"])
    assert (told["alternative"], told["identity"], told["roles"]) == (1, None, [])
    assert policy_as_json(results["partners"])["reason"] == "fingerprint_not_allowed"


def test_explanation_is_not_logged(root: CertificateAuthority, caplog: Any) -> None:
    """An explanation writes nothing into the log, while other threads still log."""
    old = root.revocation_list(
        last_update=whole_second() - 9 * DAY, next_update=whole_second() - 8 * DAY
    )
    policy = Policy(trust_anchors=pem(root), crls=old.decode(), revocation="soft")
    leaf = root.issue("alice").certificate
    policy.check(leaf)
    [record] = caplog.records
    assert "revocation could not be checked" in record.getMessage()
    caplog.clear()

    logger, seen = logging.getLogger("arrcert"), []

    def during(record: logging.LogRecord) -> bool:
        if not seen:
            seen.append(record)
            other = threading.Thread(target=logger.warning, args=("of another request",))
            other.start()
            other.join()
        return True

    logger.addFilter(during)
    try:
        assert explain(leaf, {"p": [policy]})["p"].accepted
    finally:
        logger.removeFilter(during)
    assert "revocation could not be checked" in seen[0].getMessage()
    assert [record.getMessage() for record in caplog.records] == ["of another request"]
    logger.warning("afterwards")
    assert caplog.records[-1].getMessage() == "afterwards"


def test_moment_is_now_or_aware(alice: IssuedCertificate) -> None:
    """The default moment is now, and a naive moment is an error."""
    policies = {"p": [Policy(fingerprints=[alice.certificate.sha256_fingerprint])]}
    end = alice.certificate.not_valid_after_utc
    assert explain(alice.certificate, policies)["p"].accepted
    assert not explain(alice.certificate, policies, end + DAY)["p"].accepted
    with pytest.raises(ValueError, match="aware"):
        explain(alice.certificate, policies, end.replace(tzinfo=None))


def test_lists_of_an_earlier_time(authority: CertificateAuthority) -> None:
    """With `lists_at`, a list that is current then counts later, and a revoked client is denied."""
    now = whole_second()
    alice, bob = authority.issue("alice"), authority.issue("bob")
    crl = authority.revocation_list(bob, next_update=now + 9 * DAY).decode()
    policy = Policy(trust_anchors=authority.certificate_pem.decode(), crls=crl)

    def reason(issued: IssuedCertificate, days: int, lists_at: datetime | None) -> str:
        at = now + days * DAY
        [answer] = explain(issued.certificate, {"p": [policy]}, at, lists_at=lists_at).values()
        [rule] = [rule for rule in answer.alternatives[0].rules if rule.key == "revocation"]
        return rule.detail if answer.denial is None else answer.denial.reason

    assert reason(alice, 20, None) == DenialReason.REVOCATION_UNKNOWN
    assert reason(alice, 20, now) == "not revoked"
    assert reason(alice, 5, now).startswith("not revoked; known until ")
    assert reason(alice, 20, now + 10 * DAY) == DenialReason.REVOCATION_UNKNOWN
    assert reason(bob, 20, now) == DenialReason.REVOKED
    without = Policy(trust_anchors=authority.certificate_pem.decode())
    assert explain(alice.certificate, {"p": [without]}, lists_at=now)["p"].accepted
    with pytest.raises(ValueError, match="must be an aware datetime"):
        explain(alice.certificate, {"p": [policy]}, lists_at=datetime(2030, 1, 1))


def test_identity_is_a_rule(authority: CertificateAuthority, alice: IssuedCertificate) -> None:
    """The row `identity` has the name that the client gets, or the reason that it has none."""

    def row(identity: str, **more: Any) -> RuleResult:
        policy = Policy(trust_anchors=pem(authority), identity=identity, **more)
        [found] = [rule for rule in explained(alice, policy).rules if rule.key == "identity"]
        return found

    named = row("contoso:{common_name}")
    assert (named.holds, named.reason) == (True, None)
    assert named.detail == "the identity 'contoso:alice'"
    assert named.wanted == "one name for the identity 'contoso:{common_name}'"
    nameless = row("{dns_name}")
    assert (nameless.holds, nameless.reason) == (False, DenialReason.NO_IDENTITY)
    assert "the identity '{dns_name}' needs exactly one name in the certificate" in nameless.detail
    # The rule is checked on its own, even if another rule denies.
    assert row("{common_name}", common_names=["bob"]).key == "identity"
    result = explain(
        alice.certificate,
        {"p": [Policy(trust_anchors=pem(authority), identity="alice", roles=["orders"])]},
    )["p"]
    told = policy_as_json(result)
    assert (told["identity"], told["roles"]) == ("alice", ["orders"])


def test_facts_of_a_certificate(alice: IssuedCertificate) -> None:
    """JSON holds the facts that identify a certificate, and its number of days left."""
    certificate = alice.certificate
    at = certificate.not_valid_after_utc - timedelta(days=10, hours=1)
    facts = certificate_as_json(certificate, at)
    assert facts["days_left"] == days_left(certificate, at) == 10
    assert facts["sha256_fingerprint"] == certificate.sha256_fingerprint
    assert facts["extended_key_usages"] == ["1.3.6.1.5.5.7.3.2"]
    without = self_signed("a", extended_key_usages=None).certificate
    assert certificate_as_json(without, whole_second())["extended_key_usages"] is None
    assert days_left(certificate, certificate.not_valid_after_utc + timedelta(seconds=1)) == -1


def test_hostile_authorities_are_named(alice: IssuedCertificate) -> None:
    """A CA whose name or extension cannot be read is named, and raises nothing."""
    own, authority = key_identifiers(alice.certificate.x509)
    assert len(own) == len(authority) == 40
    der = alice.certificate.der
    # The subject key identifier is replaced by a value that is not an OCTET STRING.
    at = der.index(bytes.fromhex("0603551d0e0416")) + 7
    hostile = x509.load_der_x509_certificate(der[: at + 1] + b"\x05" + der[at + 2 :])
    assert key_identifiers(hostile) == ("", "")
    key = ec.generate_private_key(ec.SECP256R1())
    now = whole_second()
    bare = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "xyz")]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    broken = x509.load_der_x509_certificate(bare.replace(b"\x0c\x03xyz", b"\x0c\x03\xff\xff\xff"))
    assert name_of(broken) == "a name that cannot be read"
    assert key_identifiers(broken) == ("", "")
