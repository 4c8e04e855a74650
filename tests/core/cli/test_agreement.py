"""`arrcert explain` and the decision agree, on random pairs of certificate and policy."""

from __future__ import annotations

import base64
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ClientIdentity,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert.cli.suggestions import suggestions, why_to_suggest_nothing
from arrcert.explanation import PolicyResult, explain
from arrcert.keys import public_key_fingerprint
from arrcert.moments import whole_second
from arrcert.presented import Presented
from arrcert.testing import CertificateAuthority, self_signed

PAIRS = 100_000
PAIRS_EVERY_DAY = 1_500
NAMES = ["alice", "bob", "Alice"]


class Subject(NamedTuple):
    """A certificate, and the rules without a key that it fails."""

    certificate: ClientCertificate
    fails: frozenset[DenialReason] = frozenset()


class World(NamedTuple):
    """The certificates, and the values that random policies use."""

    subjects: list[Subject]
    values: dict[str, list[Any]]
    now: datetime


def made_by_hand(
    names: list[str], key: Any, *, is_ca: bool = False, version_1: bool = False
) -> ClientCertificate:
    """Return a self-signed certificate with any common names and any key."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return ClientCertificate.from_der(certificate.public_bytes(serialization.Encoding.DER))


@cache
def world() -> World:
    """Make the certificates once for each process, at run time."""
    now = whole_second()
    day = timedelta(days=1)
    old = now - 100 * day
    root = CertificateAuthority("Root", organization="Contoso", not_before=old)
    issuing = CertificateAuthority("Issuing", issuer=root, not_before=old)
    same_name = CertificateAuthority("Issuing", not_before=old)
    ended = CertificateAuthority("Ended", not_before=old, not_after=now - day)
    expired, early = DenialReason.EXPIRED, DenialReason.NOT_YET_VALID
    usage, weak = DenialReason.WRONG_USAGE, DenialReason.WEAK_KEY
    revoked = issuing.issue("alice")
    revoked_and_expired = issuing.issue("bob", not_before=old, not_after=now - day)
    subjects = [
        Subject(issuing.issue("alice").certificate),
        Subject(issuing.issue("bob", dns_names=["bob.example", "b.example"]).certificate),
        Subject(root.issue("alice").certificate),
        Subject(same_name.issue("alice").certificate),
        Subject(ended.issue("alice", not_before=old).certificate),
        Subject(revoked.certificate),
        Subject(revoked_and_expired.certificate, frozenset({expired})),
        Subject(
            issuing.issue("alice", not_before=old, not_after=now - day).certificate,
            frozenset({expired}),
        ),
        Subject(issuing.issue("alice", not_before=now + day).certificate, frozenset({early})),
        Subject(
            issuing.issue("bob", extended_key_usages=("serverAuth",)).certificate,
            frozenset({usage}),
        ),
        Subject(issuing.issue("bob", extended_key_usages=None).certificate),
        Subject(self_signed("alice", issuer=issuing).certificate),
        Subject(
            self_signed(
                "bob", extended_key_usages=("codeSigning",), not_before=old, not_after=now - day
            ).certificate,
            frozenset({expired, usage}),
        ),
        Subject(made_by_hand(["alice", "bob"], ec.generate_private_key(ec.SECP256R1()))),
        Subject(made_by_hand(["alice"], rsa.generate_private_key(65537, 1024)), frozenset({weak})),
        Subject(made_by_hand(["bob"], ec.generate_private_key(ec.SECP192R1())), frozenset({weak})),
        Subject(made_by_hand(["bob"], ec.generate_private_key(ec.SECP256R1()), is_ca=True)),
        Subject(ClientCertificate.from_pem(issuing.certificate_pem)),
    ]
    pins = [subject.certificate.sha256_fingerprint for subject in subjects]
    keys = [public_key_fingerprint(subject.certificate.x509) for subject in subjects]
    anchors = [ca.certificate_pem.decode() for ca in (root, issuing, same_name, ended)]
    lists = [
        root.revocation_list(),
        root.revocation_list(issuing),
        issuing.revocation_list(),
        issuing.revocation_list(revoked, revoked_and_expired),
        issuing.revocation_list(revoked, next_update=now - day),
        same_name.revocation_list(),
    ]
    retired = [{"fingerprint": pin, "not_after": f"{now - 2 * day:%Y-%m-%d}"} for pin in pins[:3]]
    values: dict[str, list[Any]] = {
        "fingerprints": [*pins, *retired, subjects[0].certificate.sha1_fingerprint],
        "public_keys": keys,
        "common_names": NAMES,
        "dns_names": ["bob.example", "*.example", "other.example"],
        "issuers": ["Issuing", "Root", "O=Contoso,CN=Root", "Nobody"],
        "trust_anchors": anchors,
        "intermediates": anchors[1:2],
        "crls": [held.decode() for held in lists],
    }
    return World(subjects, values, now)


CHANCES = {
    "fingerprints": 0.5,
    "public_keys": 0.2,
    "common_names": 0.4,
    "dns_names": 0.2,
    "issuers": 0.3,
    "trust_anchors": 0.6,
    "intermediates": 0.6,
    "crls": 0.4,
}
"""How often a random policy has each key."""


def random_policy(chance: random.Random) -> dict[str, Any]:
    """Return the arguments of a random policy. Most of them make a valid policy, but not all."""
    values = world().values
    written: dict[str, Any] = {
        key: chance.sample(values[key], chance.randint(1, min(3, len(values[key]))))
        for key, often in CHANCES.items()
        if chance.random() < often
    }
    if chance.random() < 0.2:
        written["clock_skew"] = chance.choice([1, 300])
    if "crls" in written and chance.random() < 0.3:
        written["revocation"] = "soft"
    if chance.random() < 0.1:
        written["names_proven_by_front_end"] = True
    return written


@cache
def policies(seed: int, count: int) -> list[tuple[dict[str, Any], Policy]]:
    """Return random policies that can be built."""
    chance = random.Random(seed)
    found: list[tuple[dict[str, Any], Policy]] = []
    while len(found) < count:
        written = random_policy(chance)
        try:
            found.append((written, Policy(**written)))
        except ConfigurationError:
            continue
    return found


def decided(policy: Policy, certificate: ClientCertificate, at: datetime) -> DenialReason | None:
    """Return the reason of the decision, or None if it accepts."""
    try:
        policy.check(certificate, at)
    except CertificateDenied as denied:
        return denied.reason
    return None


def check_pair(
    written: dict[str, Any], policy: Policy, subject: Subject, at: datetime
) -> DenialReason | None:
    """Compare what `explain` says about a pair with the decision, and return the reason."""
    reason = decided(policy, subject.certificate, at)
    [result] = explain(subject.certificate, {"default": [policy]}, at).values()
    [alternative] = result.alternatives
    assert result.accepted == alternative.accepted == (reason is None)
    failed = alternative.failed
    assert next((rule.reason for rule in failed), None) == reason
    assert alternative.until is None or at <= alternative.until
    if reason is not None:
        assert result.denial is not None
        assert result.denial.detail == failed[0].detail.partition("; within its validity")[0]
    if at == world().now:
        # The rules without a key. The decision names only the first one that fails.
        assert {rule.reason for rule in failed} & HIDING == subject.fails
    return reason


LISTS = {"fingerprints", "public_keys", "common_names", "dns_names", "issuers"}
TRUST = {"trust_anchors", "intermediates", "crls", "revocation", "clock_skew"}
DATES = {DenialReason.EXPIRED, DenialReason.NOT_YET_VALID}
HIDING = {*DATES, DenialReason.WRONG_USAGE, DenialReason.WEAK_KEY}


def check_every_failure(written: dict[str, Any], subject: Subject, at: datetime) -> int:
    """Compare each rule of a key with a policy of that key alone, and return how many fail."""
    policy = Policy(**written)
    [result] = explain(subject.certificate, {"p": [policy]}, at).values()
    said = {rule.key: rule for rule in result.alternatives[0].rules}
    count = 0
    trust = {key: written[key] for key in written.keys() & TRUST}
    alone = {
        key: {key: written[key], "names_proven_by_front_end": True}
        for key in written.keys() & LISTS
    }
    if "trust_anchors" in written:
        alone["trust_anchors"] = {key: trust[key] for key in trust.keys() - {"crls", "revocation"}}
        alone["revocation"] = trust
    for key, parameters in alone.items():
        reason = decided(Policy(**parameters), subject.certificate, at)
        if key == "revocation" and reason in DATES:
            # The certificate was revoked before it expired, so explain must report that.
            begin = subject.certificate.not_valid_before_utc
            moment = begin if at < begin else subject.certificate.not_valid_after_utc
            if decided(Policy(**parameters), subject.certificate, moment) is DenialReason.REVOKED:
                assert said[key].holds is False
                count += 1
        # The date, the usage or the size of the key fails first, and hides the rule.
        if reason in HIDING or (reason is DenialReason.UNTRUSTED and key != "trust_anchors"):
            continue
        assert (said[key].holds is False) is (reason is not None), (key, reason)
        count += reason is not None
    return count


def check_suggestions(result: PolicyResult, policy: Policy, subject: Subject, at: datetime) -> int:
    """Compare each suggestion with the decision, and return the number of suggestions."""
    presented = Presented(subject.certificate)
    now = world().now
    if why_to_suggest_nothing(presented, {"default": result}, at, now):
        return 0
    found = suggestions(presented, result, at)
    assert not subject.fails - {DenialReason.NOT_YET_VALID} or not found
    for suggestion in found:
        moment = max(at, subject.certificate.not_valid_before_utc)
        assert decided(Policy(**suggestion.policy), subject.certificate, moment) is None
    return len(found)


def check_pairs(count: int, seed: int, report: Callable[[int], None]) -> Counter[Any]:
    """Check random pairs, and return the number of pairs for each reason."""
    chance = random.Random(seed)
    subjects, now = world().subjects, world().now
    moments = [now] * 6 + [now + timedelta(days=days) for days in (-150, -2, 3, 30, 400)]
    seen: Counter[Any] = Counter()
    built = policies(seed, max(200, count // 40))
    for number in range(count):
        written, policy = chance.choice(built)
        subject, at = chance.choice(subjects), chance.choice(moments)
        reason = check_pair(written, policy, subject, at)
        seen[reason] += 1
        if number % 10 == 0:
            seen["failing rules"] += check_every_failure(written, subject, at)
            if reason is not None:
                [result] = explain(subject.certificate, {"default": [policy]}, at).values()
                seen["suggestions"] += check_suggestions(result, policy, subject, at)
        report(number + 1)
    return seen


WANTED = {
    None,
    "failing rules",
    "suggestions",
    DenialReason.EXPIRED,
    DenialReason.NOT_YET_VALID,
    DenialReason.FINGERPRINT_NOT_ALLOWED,
    DenialReason.COMMON_NAME_NOT_ALLOWED,
    DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED,
    DenialReason.ISSUER_NOT_ALLOWED,
    DenialReason.WRONG_USAGE,
    DenialReason.WEAK_KEY,
    DenialReason.UNTRUSTED,
    DenialReason.REVOKED,
    DenialReason.REVOCATION_UNKNOWN,
}
"""The reasons that the pairs must contain. Without them the test proves too little."""


def test_explain_and_the_decision_agree() -> None:
    """For random pairs, `explain` gives the verdict and the first reason of the decision."""
    seen = check_pairs(PAIRS_EVERY_DAY, 13, lambda _: None)
    assert seen.keys() >= WANTED


@pytest.mark.matrix
def test_explain_and_the_decision_agree_on_many(capsys: pytest.CaptureFixture[str]) -> None:
    """`explain` agrees with the decision on 100,000 pairs, with other policies in each run."""
    seed = random.SystemRandom().getrandbits(32)
    began = time.monotonic()

    def report(number: int) -> None:
        if number % 10_000 == 0:
            with capsys.disabled():
                print(
                    f"\n{number} of {PAIRS} pairs, seed {seed}, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )

    seen = check_pairs(PAIRS, seed, report)
    assert seen.keys() >= WANTED, seed


def test_alternatives_agree() -> None:
    """`explain` and the decision choose the same alternative, and `revoked` ends both."""
    chance = random.Random(5)
    built = policies(13, 200)
    subjects, now = world().subjects, world().now
    reasons = set()
    for _ in range(400):
        listed = [policy for _, policy in chance.sample(built, chance.randint(2, 4))]
        subject = chance.choice(subjects)
        [result] = explain(subject.certificate, {"partners": listed}, now).values()
        authorizer = Authorizer(
            {"partners": listed},
            front_end={
                "header": "X-Cert",
                "checks_certificates": True,
                "verify_header": "X-Verify",
                "verify_value": "0",
            },
        )
        value = base64.b64encode(subject.certificate.der).decode()
        headers = [("X-Cert", value), ("X-Verify", "0")]
        identity: ClientIdentity | CertificateDenied
        try:
            identity = authorizer.identify_headers(headers, "partners", at=now, method="GET")
        except CertificateDenied as denied:
            assert result.denial is not None
            assert (denied.reason, denied.reasons) == (result.denial.reason, result.denial.reasons)
            assert denied.detail == result.denial.detail
            reasons.add(denied.reason)
        else:
            assert result.identity == identity
            reasons.add(None)
    assert {None, DenialReason.REVOKED} <= reasons
