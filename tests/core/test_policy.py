"""A policy as a whole: what it needs, the order of its rules, and what it returns."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from arrcert import (
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert.exceptions import Finding
from arrcert.keys import public_key_fingerprint
from arrcert.moments import whole_second
from arrcert.notation import Notation
from arrcert.policy import PARAMETERS, Acceptance
from arrcert.presented import Presented
from arrcert.rules import KEYS, ClockSkew, Decision
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

PIN = "A" * 40


def reason(
    policy: Policy, certificate: ClientCertificate, at: datetime | None = None
) -> DenialReason | None:
    """Return why a policy denies a certificate, None if it accepts."""
    try:
        policy.check(certificate, at)
    except CertificateDenied as denied:
        assert denied.certificate == certificate
        assert denied.reasons == (denied.reason,)
        return denied.reason
    return None


def problems(**parameters: Any) -> dict[str, str]:
    """Return the only message for each parameter that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        Policy(**parameters)
    found = dict(caught.value.problems)
    assert len(found) == len(caught.value.problems)
    return found


def with_weak_key() -> ClientCertificate:
    """Return a certificate of alice whose key is on a curve of 224 bits."""
    key = ec.generate_private_key(ec.SECP224R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return ClientCertificate.from_der(certificate.public_bytes(Encoding.DER))


# --- what a policy needs -------------------------------------------------------------------------


@pytest.mark.parametrize("key", [key for key, rule in KEYS.items() if rule.is_name])
def test_names_need_proof(key: str, authority: CertificateAuthority) -> None:
    """A policy that allows by name needs pins, trust anchors or a front end that checks."""
    entry = {"uris": "urn:a", "email_addresses": "a@example"}.get(key, "alice")
    pem = authority.certificate_pem.decode()
    for parameters in ({}, {"names_proven_by_front_end": False}):
        found = problems(**{key: [entry]}, **parameters)
        assert list(found) == [key]
        assert found[key].startswith("a name proves nothing, because anybody can issue")
    for proof in (
        {"fingerprints": [PIN]},
        {"trust_anchors": pem},
        {"names_proven_by_front_end": True},
    ):
        assert Policy(**{key: [entry]}, **proof)


def test_no_condition_is_no_policy() -> None:
    """A policy without any condition is an error, because it would accept everybody.

    (npm client-certificate-auth: `allOf()` of nothing.)
    """
    for parameters in ({}, {"names_proven_by_front_end": True}, {"clock_skew": 60}):
        found = problems(**parameters)
        assert list(found) == [""]
        assert "would allow everyone" in found[""]


def test_all_mistakes_come_together(tmp_path: Path) -> None:
    """One error holds the mistakes of all parameters."""
    found = problems(
        fingerprints=["zz"],
        common_names=[""],
        issuers=["C = US"],
        trust_anchors=str(tmp_path / "absent.pem"),
        intermediates=7,
        names_proven_by_front_end=1,
    )
    assert set(found) == {
        "fingerprints",
        "common_names",
        "issuers",
        "trust_anchors",
        "intermediates",
        "names_proven_by_front_end",
    }


def test_none_means_that_a_parameter_is_not_written() -> None:
    """None means that a parameter is absent, except for parameters that always have a value."""
    optional = {key: None for key in PARAMETERS if key not in ALWAYS}
    assert repr(Policy(**{**optional, "fingerprints": [PIN]})) == "<Policy 1 fingerprints>"
    for key in ALWAYS:
        assert list(problems(fingerprints=[PIN], **{key: None})) == [key]


ALWAYS = ("revocation", "clock_skew", "names_proven_by_front_end")
"""The parameters whose rules every policy has."""


def test_policy_from_a_mapping_is_the_same(alice: IssuedCertificate) -> None:
    """A mapping makes the same policy as the same parameters."""
    written: dict[str, Any] = {
        "fingerprints": [alice.certificate.sha256_fingerprint],
        "common_names": ["alice"],
    }
    by_mapping = Policy.from_mapping(written, Notation.JSON)
    assert repr(by_mapping) == repr(Policy(**written))
    assert [type(rule) for rule in by_mapping._rules] == [
        type(rule) for rule in Policy(**written)._rules
    ]
    assert reason(by_mapping, alice.certificate) is None
    with pytest.raises(ConfigurationError, match="write true or false"):
        Policy.from_mapping({**written, "names_proven_by_front_end": "yes"}, Notation.JSON)


VALUES: dict[str, list[Any]] = {
    "fingerprints": [None, [PIN], "x"],
    "common_names": [None, ["alice"]],
    "revocation": ["hard", "soft", None],
    "clock_skew": [..., 0, 300, None, -1, "0", timedelta()],
    "names_proven_by_front_end": [True, False, None],
}
"""Good and bad values of some parameters. An ellipsis stands for an absent parameter."""


@pytest.mark.parametrize(
    "make",
    [
        lambda written: Policy(**written),
        lambda written: Policy.from_mapping(written, Notation.PYTHON),
        lambda written: Policy.from_mapping(written, Notation.JSON),
    ],
)
def test_no_policy_is_without_the_validity_rule(make: Callable[[dict[str, Any]], Policy]) -> None:
    """Every policy that can be made has the dates as its first rule."""
    late = ALICE.not_valid_after_utc + timedelta(seconds=301)
    made = 0
    for values in itertools.product(*VALUES.values()):
        written = {
            key: value for key, value in zip(VALUES, values, strict=True) if value is not ...
        }
        try:
            policy = make(written)
        except ConfigurationError:
            continue
        made += 1
        assert isinstance(policy._rules[0], ClockSkew)
        decided = policy.decide(Presented(ALICE), late, None)
        assert isinstance(decided, Finding)
        assert decided.reason is DenialReason.EXPIRED
    # A pin, a pin and names, or names alone; three valid clock skews; two booleans.
    assert made == (2 * 2 + 1) * 3


def test_policy_is_not_for_subclassing() -> None:
    """Subclassing `Policy` is an error, because requests would not use overridden methods."""
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Mine", (Policy,), {})


def test_repr_shows_no_entries(authority: CertificateAuthority) -> None:
    """The repr shows which keys a policy has, and none of their entries."""
    policy = Policy(common_names=["alice"], trust_anchors=authority.certificate_pem.decode())
    assert repr(policy) == "<Policy 1 common_names, trust_anchors>"
    proven = Policy(issuers=["a", "b"], names_proven_by_front_end=True, clock_skew=9)
    assert repr(proven) == "<Policy 2 issuers, names_proven_by_front_end>"


# --- the decision --------------------------------------------------------------------------------


def test_first_failure_is_the_reason(
    authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """The reasons come in the order dates, pin, names, issuer, usage, key, path, revocation."""
    pem = authority.certificate_pem.decode()
    weak = with_weak_key()
    wrong_usage = self_signed("alice", extended_key_usages=("serverAuth",)).certificate
    strict: dict[str, Any] = {
        "fingerprints": [PIN],
        "common_names": ["bob"],
        "issuers": ["Nobody"],
        "trust_anchors": pem,
    }
    late = datetime.now(UTC) + timedelta(days=1000)
    assert reason(Policy(**strict), wrong_usage, late) is DenialReason.EXPIRED
    early = datetime.now(UTC) - timedelta(days=1000)
    assert reason(Policy(**strict), wrong_usage, early) is DenialReason.NOT_YET_VALID
    assert reason(Policy(**strict), wrong_usage) is DenialReason.FINGERPRINT_NOT_ALLOWED
    strict["fingerprints"] = [weak.sha256_fingerprint, wrong_usage.sha256_fingerprint]
    assert reason(Policy(**strict), wrong_usage) is DenialReason.COMMON_NAME_NOT_ALLOWED
    strict["common_names"] = ["alice"]
    assert reason(Policy(**strict), wrong_usage) is DenialReason.ISSUER_NOT_ALLOWED
    strict["issuers"] = ["alice"]
    assert reason(Policy(**strict), wrong_usage) is DenialReason.WRONG_USAGE
    assert reason(Policy(**strict), weak) is DenialReason.WEAK_KEY
    stranger = self_signed("alice").certificate
    by_path: dict[str, Any] = {
        "trust_anchors": pem,
        "crls": authority.revocation_list(alice).decode(),
    }
    assert reason(Policy(**by_path), stranger) is DenialReason.UNTRUSTED
    assert reason(Policy(**by_path), alice.certificate) is DenialReason.REVOKED


def test_naive_moment_is_a_programming_error(alice: IssuedCertificate) -> None:
    """A moment without a time zone is a `ValueError`."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    for call in (policy.check, lambda certificate, at: policy.warnings(at)):
        with pytest.raises(ValueError, match="aware"):
            call(alice.certificate, datetime(2026, 1, 1))


def test_moment_of_any_zone_is_compared_in_utc(alice: IssuedCertificate) -> None:
    """A moment means the same in every time zone."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    last = alice.certificate.not_valid_after_utc.astimezone(timezone(timedelta(hours=14)))
    assert reason(policy, alice.certificate, last) is None
    assert reason(policy, alice.certificate, last + timedelta(seconds=1)) is DenialReason.EXPIRED


def test_check_and_decide_agree(alice: IssuedCertificate, look_alike: IssuedCertificate) -> None:
    """`check` raises what `decide` returns, with the certificate."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    now = whole_second()
    decided = policy.decide(Presented(alice.certificate), now, None)
    assert isinstance(decided, Acceptance)
    assert decided.until == alice.certificate.not_valid_after_utc
    assert decided.is_certain
    finding = policy.decide(Presented(look_alike.certificate), now, None)
    assert isinstance(finding, Finding)
    with pytest.raises(CertificateDenied) as caught:
        policy.check(look_alike.certificate, now)
    assert (caught.value.reason, caught.value.detail) == finding
    assert caught.value.certificate == look_alike.certificate
    assert caught.value.reasons == (finding.reason,)


def test_trust_store_is_the_same_until_a_file_changes(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    """The trust store is the same object until a file changes, and None without anchors."""
    anchors = tmp_path / "roots.pem"
    anchors.write_bytes(authority.certificate_pem)
    policy = Policy(trust_anchors=anchors)
    assert policy.trust_store() is policy.trust_store() is not None
    assert Policy(fingerprints=[PIN]).trust_store() is None


def test_soft_acceptance_is_logged_on_the_logger_of_arrcert(
    authority: CertificateAuthority, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """An acceptance without a current list is one warning on the logger `arrcert`."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(),
        crls=authority.revocation_list(next_update=yesterday).decode(),
        revocation="soft",
    )
    policy.check(alice.certificate)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("arrcert", logging.WARNING)
    assert record.getMessage().startswith(
        "accepted although revocation could not be checked: revocation_unknown: "
    )
    assert alice.certificate.sha256_fingerprint in record.getMessage()


def test_forwarded_intermediates_help_to_build_the_path() -> None:
    """Forwarded intermediates may complete the path, and prove nothing."""
    root = CertificateAuthority("Root")
    issuing = CertificateAuthority("Issuing", issuer=root)
    carol = issuing.issue("carol").certificate
    policy = Policy(trust_anchors=root.certificate_pem.decode())
    now, store = whole_second(), policy.trust_store()
    assert isinstance(policy.decide(Presented(carol, [issuing.x509]), now, store), Acceptance)
    assert isinstance(policy.decide(Presented(carol), now, store), Finding)
    stranger = CertificateAuthority("Stranger")
    other = stranger.issue("carol").certificate
    assert isinstance(policy.decide(Presented(other, [stranger.x509]), now, store), Finding)


def test_warnings_are_those_of_all_keys(
    authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    """The warnings of a policy are those of all its keys."""
    both = [authority.certificate_pem.decode(), other_authority.certificate_pem.decode()]
    policy = Policy(
        fingerprints=[{"fingerprint": PIN, "not_after": "2020-01-01"}],
        common_names=["*.example"],
        trust_anchors=both,
    )
    assert [problem.setting for problem in policy.warnings()] == [
        *("fingerprints", "common_names", "trust_anchors")
    ]
    assert Policy(fingerprints=[PIN]).warnings() == []


# --- all findings --------------------------------------------------------------------------------

CA = CertificateAuthority("CA", organization="Contoso")
ALICE, REVOKED = CA.issue("alice").certificate, CA.issue("alice")
CERTIFICATES = [
    ALICE,
    REVOKED.certificate,
    CA.issue("bob", dns_names=["bob.example"]).certificate,
    CertificateAuthority("CA").issue("alice").certificate,
    self_signed("alice", extended_key_usages=("serverAuth",)).certificate,
    ClientCertificate.from_pem(CA.certificate_pem),
    with_weak_key(),
]
PINS = [certificate.sha256_fingerprint for certificate in CERTIFICATES]
ANCHORS = CA.certificate_pem.decode()
CURRENT = CA.revocation_list(REVOKED).decode()
OLD = CA.revocation_list(next_update=datetime.now(UTC) - timedelta(days=1)).decode()
PROOF: list[dict[str, Any]] = [
    {"fingerprints": PINS},
    {"fingerprints": PINS[:1]},
    {"fingerprints": [PIN]},
    {"public_keys": [public_key_fingerprint(ALICE.x509)], "fingerprints": PINS},
    {"trust_anchors": ANCHORS},
    {"trust_anchors": ANCHORS, "crls": CURRENT},
    {"trust_anchors": ANCHORS, "crls": OLD},
    {"trust_anchors": ANCHORS, "crls": OLD, "revocation": "soft"},
    {"trust_anchors": ANCHORS, "crls": CURRENT, "fingerprints": PINS, "clock_skew": 60},
    {"names_proven_by_front_end": True, "common_names": ["alice"]},
]
NAMES: list[dict[str, Any]] = [
    {"common_names": ["alice"]},
    {"common_names": ["ALICE", "bob"]},
    {"dns_names": ["bob.example"]},
    {"uris": ["urn:a"]},
    {"issuers": ["CA"]},
    {"issuers": ["O=Contoso,CN=CA"]},
]
"""Conditions that hold for some of the certificates."""


@settings(max_examples=300)
@given(
    proof=st.sampled_from(PROOF),
    names=st.lists(st.sampled_from(NAMES), max_size=2),
    certificate=st.sampled_from(CERTIFICATES),
    days=st.sampled_from([0, 0, 0, -1000, 1000]),
)
def test_all_findings_begin_with_the_decision(
    proof: dict[str, Any], names: list[dict[str, Any]], certificate: ClientCertificate, days: int
) -> None:
    """The first of all findings is the decision, and collecting all of them changes no verdict."""
    written = dict(proof)
    for name in names:
        written.update(name)
    policy = Policy(**written)
    at, store = whole_second() + timedelta(days=days), policy.trust_store()
    decided = policy.decide(Presented(certificate), at, store)
    decision = Decision(Presented(certificate), at, store)
    found = list(policy.findings(decision))
    again = Decision(Presented(certificate), at, store)
    assert next(policy.findings(again), None) == next(iter(found), None)
    assert all(rule in policy.rules for rule, _ in found)
    if isinstance(decided, Finding):
        assert found[0][1] == decided
    else:
        assert not found
        assert decided.until == decision.until
        assert decided.is_certain is (decision.overlooked is None)
    assert policy.decide(Presented(certificate), at, store) == decided


def test_findings_of_every_rule_are_collected(authority: CertificateAuthority) -> None:
    """Every rule that fails is found once, in the order of the decision."""
    certificate = self_signed("alice", extended_key_usages=("serverAuth",)).certificate
    policy = Policy(
        fingerprints=[PIN],
        public_keys=["A" * 64],
        common_names=["bob"],
        dns_names=["a.example"],
        uris=["urn:a"],
        email_addresses=["a@b.example"],
        issuers=["Nobody"],
        trust_anchors=authority.certificate_pem.decode(),
        crls=authority.revocation_list().decode(),
    )
    late = certificate.not_valid_after_utc + timedelta(seconds=1)
    found = list(policy.findings(Decision(Presented(certificate), late, policy.trust_store())))
    assert [finding.reason for _, finding in found] == [
        DenialReason.EXPIRED,
        *itertools.repeat(DenialReason.FINGERPRINT_NOT_ALLOWED, 2),
        DenialReason.COMMON_NAME_NOT_ALLOWED,
        *itertools.repeat(DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED, 3),
        DenialReason.ISSUER_NOT_ALLOWED,
        DenialReason.WRONG_USAGE,
        DenialReason.UNTRUSTED,
    ]


def test_granted_roles() -> None:
    """A policy can grant its own roles and those of its pins of both kinds."""
    pin = {"fingerprint": "AB" * 32, "roles": ["a"]}
    key = {"public_key": "CD" * 32, "roles": ["b"]}
    assert Policy(fingerprints=[pin, "EF" * 32], roles=["c"]).granted_roles() == {"a", "c"}
    assert Policy(public_keys=[key]).granted_roles() == {"b"}
    assert Policy(fingerprints=["EF" * 32]).granted_roles() == frozenset()
