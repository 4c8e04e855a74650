"""Alternatives: policies of one name are tried in order, and their files are followed."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from arrcert import ClientCertificate, DenialReason, Policy
from arrcert.alternatives import Alternatives, AnyPolicy
from arrcert.exceptions import Denial, Finding
from arrcert.moments import whole_second
from arrcert.policy import Acceptance
from arrcert.presented import Presented
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust import files as trust_files
from arrcert.trust.paths import TrustStore


def decide(certificate: ClientCertificate, *policies: Policy) -> Acceptance | Denial:
    """Decide with the current snapshots of the policies."""
    alternatives = Alternatives("default", policies, 9)
    decided = alternatives.decide(
        Presented(certificate), whole_second(), alternatives.memory().trust_stores
    )
    if isinstance(decided, Denial):
        return decided
    identity, acceptance = decided
    assert identity.certificate == certificate
    assert identity.policy == "default"
    return acceptance


def detail(certificate: ClientCertificate, policy: Policy) -> str:
    """Return the detail of a policy that denies."""
    finding = policy.decide(Presented(certificate), whole_second(), policy.trust_store())
    assert isinstance(finding, Finding)
    return finding.detail


def test_first_policy_that_accepts_wins(
    authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """The first policy that accepts decides."""
    end = alice.certificate.not_valid_after_utc - timedelta(hours=1)
    ending = {"fingerprint": alice.certificate.sha256_fingerprint, "not_after": end}
    none, short, long = (
        Policy(fingerprints=["A" * 40]),
        Policy(fingerprints=[ending]),
        Policy(trust_anchors=authority.certificate_pem.decode()),
    )
    decided = decide(alice.certificate, none, short, long)
    assert isinstance(decided, Acceptance)
    assert (decided.until, decided.is_certain) == (end, True)
    decided = decide(alice.certificate, none, long, short)
    assert isinstance(decided, Acceptance)
    assert decided.until > end


def test_denial_holds_the_reasons_of_all(
    authority: CertificateAuthority, impostor: IssuedCertificate
) -> None:
    """A denial has the reason of the last policy, and `reasons` and the detail name all of them."""
    pinned = Policy(fingerprints=["A" * 40])
    anchored = Policy(trust_anchors=authority.certificate_pem.decode())
    certificate = impostor.certificate
    assert decide(certificate, pinned, anchored) == Denial(
        DenialReason.UNTRUSTED,
        f"alternative 1: {detail(certificate, pinned)};"
        f" alternative 2: {detail(certificate, anchored)}",
        certificate,
        (DenialReason.FINGERPRINT_NOT_ALLOWED, DenialReason.UNTRUSTED),
    )


def test_denial_of_a_single_policy_does_not_count(impostor: IssuedCertificate) -> None:
    """The denial of a single policy has the detail of its finding, without a number."""
    pinned = Policy(fingerprints=["A" * 40])
    decided = decide(impostor.certificate, pinned)
    assert isinstance(decided, Denial)
    assert decided.detail == detail(impostor.certificate, pinned)
    assert decided.reasons == (decided.reason,)


def test_revoked_ends_the_search(authority: CertificateAuthority) -> None:
    """No later policy accepts a certificate that an earlier one finds to be revoked."""
    bob = authority.issue("bob")
    revoking = Policy(
        trust_anchors=authority.certificate_pem.decode(),
        crls=authority.revocation_list(bob).decode(),
    )
    pinning = Policy(fingerprints=[bob.certificate.sha1_fingerprint])
    decided = decide(bob.certificate, revoking, pinning)
    assert isinstance(decided, Denial)
    assert decided.reasons == (DenialReason.REVOKED,)
    assert decided.detail.startswith("alternative 1: the revocation list ")
    assert isinstance(decide(bob.certificate, pinning, revoking), Acceptance)


def test_memory_without_files_is_always_the_same(alice: IssuedCertificate) -> None:
    """Policies without files have one memory for all time."""
    alternatives = Alternatives(
        "default", [Policy(fingerprints=[alice.certificate.sha256_fingerprint])], 9
    )
    assert alternatives.memory() is alternatives.memory()
    assert alternatives.memory().trust_stores == [None]


@pytest.mark.parametrize("other_has_files", [True, False])
@pytest.mark.parametrize("position", [0, 1])
def test_change_of_any_file_begins_an_empty_memory(
    other_has_files: bool,
    position: int,
    tmp_path: Path,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A changed file of any alternative starts a new memory."""
    monkeypatch.setattr(trust_files, "SECONDS_BETWEEN_LOOKS", 0.0)
    anchors, others = tmp_path / "anchors.pem", tmp_path / "others.pem"
    anchors.write_bytes(authority.certificate_pem)
    others.write_bytes(CertificateAuthority("Other").certificate_pem)
    followed = Policy(trust_anchors=anchors)
    policies = [
        Policy(trust_anchors=others) if other_has_files else Policy(fingerprints=["A" * 64])
    ]
    policies.insert(position, followed)
    alternatives = Alternatives("default", policies, 9)
    before = alternatives.memory()
    before.remember("text", alice.certificate, alice.certificate.not_valid_after_utc)
    assert alternatives.memory() is before
    anchors.write_bytes(CertificateAuthority("Another").certificate_pem)
    os.utime(anchors)
    until = time.monotonic() + 10
    while followed.trust_store() is before.trust_stores[position] and time.monotonic() < until:
        time.sleep(0.01)
    after = alternatives.memory()
    assert after is not before
    assert after.recall("text") is None
    assert after.trust_stores[position] is followed.trust_store()
    assert after.trust_stores[1 - position] is before.trust_stores[1 - position]
    assert alternatives.memory() is after


@pytest.mark.parametrize("touched", ["default", "partners"])
def test_change_of_any_file_empties_the_memory_of_all_policies(
    touched: str,
    tmp_path: Path,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `policy=None`, a change of any policy's files makes all certificates be decided anew."""
    monkeypatch.setattr(trust_files, "SECONDS_BETWEEN_LOOKS", 0.0)
    listed = []
    for name in ("default", "partners"):
        anchors = tmp_path / f"{name}.pem"
        anchors.write_bytes(authority.certificate_pem)
        listed.append(Alternatives(name, [Policy(trust_anchors=anchors)], 9))
    either = AnyPolicy(listed, 9)
    assert (either.name, either.follows_files) == ("default", True)
    before = either.memory()
    before.remember("text", alice.certificate, alice.certificate.not_valid_after_utc)
    assert either.memory() is before
    changed = listed[["default", "partners"].index(touched)]
    (tmp_path / f"{touched}.pem").write_bytes(CertificateAuthority("Another").certificate_pem)
    own, until = changed.memory(), time.monotonic() + 10
    while changed.memory() is own and time.monotonic() < until:
        time.sleep(0.01)
    after = either.memory()
    assert after is not before
    assert after.recall("text") is None
    assert either.memory() is after


def test_policies_without_files_are_not_asked_for_them(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up under any policy asks only those for their files that have some."""
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    followed = Alternatives("a", [Policy(trust_anchors=tmp_path / "ca.pem")], 9)
    pinned = Alternatives("b", [Policy(fingerprints=["A" * 64])] * 50, 9)
    either = AnyPolicy([followed, pinned], 9)
    asked: list[Policy] = []
    original = Policy.trust_store

    def spy(self: Policy) -> TrustStore | None:
        asked.append(self)
        return original(self)

    monkeypatch.setattr(Policy, "trust_store", spy)
    either.memory()
    assert asked == list(followed.policies)


def test_policies_without_files_have_one_memory() -> None:
    """Without files, the memory of all policies is always the same one."""
    listed = [Alternatives(name, [Policy(fingerprints=["A" * 64])], 9) for name in ("a", "b")]
    either = AnyPolicy(listed, 9)
    assert (either.name, either.follows_files, either.listed) == ("a", False, tuple(listed))
    assert either.memory() is either.latest
    assert AnyPolicy([], 9).name == ""


def test_detail_of_many_alternatives_is_short(impostor: IssuedCertificate) -> None:
    """The detail holds twenty findings, and counts the others by their reason."""
    policies = [Policy(fingerprints=[f"{number:040X}"]) for number in range(25)]
    decided = decide(impostor.certificate, *policies)
    assert isinstance(decided, Denial)
    assert "alternative 20: " in decided.detail
    assert "alternative 21: " not in decided.detail
    assert decided.detail.endswith("; 5 more alternatives: 5 x fingerprint_not_allowed")
