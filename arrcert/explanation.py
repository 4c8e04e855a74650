"""What each policy says about one certificate: every rule, the path, and the verdict.

`arrcert explain` prints this, and a site can show it on a page for its operators. The rules and the
verdict come from the code that decides about requests: `Policy.findings` checks the rules, and
`Alternatives.decide` gives the verdict.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from cryptography.x509 import AuthorityKeyIdentifier, Certificate, SubjectKeyIdentifier

from arrcert.alternatives import Alternatives
from arrcert.certificate import ClientCertificate
from arrcert.exceptions import Denial, DenialReason, Finding
from arrcert.identity import ClientIdentity
from arrcert.keys import description_of_key
from arrcert.moments import timestamp, whole_second
from arrcert.policy import Policy
from arrcert.presented import Presented
from arrcert.rules import Decision, KeyRule, Rule, TrustAnchors
from arrcert.trust.crls import RevocationList
from arrcert.trust.paths import Path, TrustStore, has_signed

__all__ = ["AlternativeResult", "PathResult", "PolicyResult", "RuleResult", "Step", "explain"]

logger = logging.getLogger("arrcert")

MOST_STEPS = 10
"""The largest number of certificates that are shown of a path that is not complete."""


class RuleResult(NamedTuple):
    """The result of one rule of a policy, independent of the other rules.

    Attributes:
        key: the policy key, or a word for a rule that is part of every policy.
        label: the name of the rule.
        holds: True or False; None if the rule needs a path and there is none.
        reason: why it does not hold; None if it does.
        detail: what was found, escaped.
        wanted: what the rule requires, escaped.
    """

    key: str
    label: str
    holds: bool | None
    reason: DenialReason | None
    detail: str
    wanted: str


class Step(NamedTuple):
    """One certificate of a path.

    Attributes:
        role: `client`, `intermediate` or `trust anchor`; or the source of the certificate, such as
            `came with the request`.
        certificate: the certificate.
    """

    role: str
    certificate: Certificate


class PathResult(NamedTuple):
    """A certification path, or the part of it that was found.

    Attributes:
        is_valid: whether the path is valid at the time in question.
        steps: the certificates, the client's first.
        problem: why the path is not valid, escaped; empty if it is valid.
        missing: the name of the CA whose certificate is missing, in RFC 4514 form; None if no
            certificate is missing.
        valid_at: if the path is not valid at the time in question, a time within the validity of
            the certificate at which the path is valid; else None.
    """

    is_valid: bool
    steps: tuple[Step, ...]
    problem: str
    missing: str | None
    valid_at: datetime | None


class AlternativeResult(NamedTuple):
    """The result of one alternative of a policy.

    Attributes:
        policy: the policy.
        accepted: whether the alternative accepts the certificate.
        rules: the results of the rules that require something, in the order of the decision.
        path: the path; None for a policy without trust anchors.
        until: the time until which the certificate is accepted, as far as it is known now; None if
            it is not accepted.
    """

    policy: Policy
    accepted: bool
    rules: tuple[RuleResult, ...]
    path: PathResult | None
    until: datetime | None

    @property
    def failed(self) -> list[RuleResult]:
        """The rules that do not hold."""
        return [rule for rule in self.rules if rule.holds is False]


class PolicyResult(NamedTuple):
    """The result of the policies of one name.

    Attributes:
        name: the name of the policy.
        alternatives: the alternatives, in order.
        identity: the identity of the client; None if it is denied.
        denial: why the certificate is denied; None if it is accepted.
    """

    name: str
    alternatives: tuple[AlternativeResult, ...]
    identity: ClientIdentity | None
    denial: Denial | None

    @property
    def accepted(self) -> bool:
        """Whether the certificate may enter."""
        return self.identity is not None


def explain(
    certificate: ClientCertificate,
    policies: Mapping[str, Sequence[Policy]],
    at: datetime | None = None,
    *,
    forwarded: Sequence[Certificate] = (),
    others: Sequence[Certificate] = (),
    lists_at: datetime | None = None,
) -> dict[str, PolicyResult]:
    """Return what each policy says about a certificate.

    Args:
        certificate: the certificate.
        policies: each policy's name and its alternatives, such as `Authorizer.policies`.
        at: the time to judge for, a timezone-aware `datetime`; now by default.
        forwarded: CA certificates that the front end forwarded with it.
        others: CA certificates that the site does not have. They are shown if the path needs them.
        lists_at: a time before `at`, such as now. A revocation list that is current at this time
            counts as current at `at` too, because the CA will have replaced it. None, the default,
            to judge the lists for `at` only.

    Raises:
        ValueError: `at` or `lists_at` is naive.

    The result contains what the policies require, such as names and pins. Show it only to
    operators. This does not check the request, the front end, or whether the client has the private
    key. It does not log a decision.
    """
    moment = whole_second(at)
    lists_moment = None if lists_at is None else whole_second(lists_at)
    results = {}
    for name, alternatives in policies.items():
        # The number of signatures that are verified for one request is limited. So each policy gets
        # a new object.
        presented = Presented(certificate, forwarded)
        results[name] = _explain_policy(name, presented, alternatives, moment, others, lists_moment)
    return results


def trust_store_of(policy: Policy, lists_at: datetime | None) -> TrustStore | None:
    """Return the current trust store of a policy; None without trust anchors.

    Args:
        policy: the policy.
        lists_at: as in `explain`.
    """
    trust_store = policy.trust_store()
    if trust_store is None or lists_at is None or not trust_store.checks_revocation:
        return trust_store
    return _ListsOf(trust_store, lists_at)


class _ListsOf(TrustStore):
    """A trust store for which lists that are current at an earlier time stay current.

    Args:
        held: the trust store of a policy with revocation lists.
        lists_at: the earlier time, a timezone-aware `datetime`.
    """

    checks_revocation = True

    def __init__(self, held: TrustStore, lists_at: datetime) -> None:
        super().__init__(held.anchors, held.intermediates)
        self._held = held
        self._lists_at = lists_at

    def check_revocation(self, path: Path, at: datetime) -> Finding | None:
        """Check the lists for a time, and for the earlier time if the status is then unknown."""
        finding = self._held.check_revocation(path, at)
        if finding is None or finding.reason is not DenialReason.REVOCATION_UNKNOWN:
            return finding
        return self._held.check_revocation(path, self._lists_at)

    def next_update_of(self, path: Path, at: datetime) -> datetime | None:
        """Return until when the lists are current; None if they are current only before."""
        if self._held.check_revocation(path, at) is not None:
            return None
        return self._held.next_update_of(path, at)

    @property
    def revocation_lists(self) -> Sequence[RevocationList]:
        """The revocation lists."""
        return self._held.revocation_lists


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the log records of this thread. Other threads may serve requests meanwhile."""
    thread = threading.get_ident()

    def is_of_another_thread(_record: logging.LogRecord) -> bool:
        return threading.get_ident() != thread

    logger.addFilter(is_of_another_thread)
    try:
        yield
    finally:
        logger.removeFilter(is_of_another_thread)


def _explain_policy(
    name: str,
    presented: Presented,
    policies: Sequence[Policy],
    at: datetime,
    others: Sequence[Certificate],
    lists_at: datetime | None,
) -> PolicyResult:
    trust_stores = [trust_store_of(policy, lists_at) for policy in policies]
    with _quiet():
        # This is the real decision. The result shows what it would log.
        decided = Alternatives(name, policies, 0).decide(presented, at, trust_stores)
    results = tuple(
        _explain_alternative(presented, policy, at, trust_store, others)
        for policy, trust_store in zip(policies, trust_stores, strict=True)
    )
    if isinstance(decided, Denial):
        return PolicyResult(name, results, None, decided)
    return PolicyResult(name, results, decided[0], None)


def _explain_alternative(
    presented: Presented,
    policy: Policy,
    at: datetime,
    trust_store: TrustStore | None,
    others: Sequence[Certificate],
) -> AlternativeResult:
    decision = Decision(presented, at, trust_store)
    failed: dict[Rule, Finding] = dict(policy.findings(decision))
    path = None
    if trust_store is not None:
        why = next((failed[rule] for rule in failed if isinstance(rule, TrustAnchors)), None)
        path = _explain_path(presented, decision, trust_store, why, others)
        if decision.path is None and path.steps[-1].role == "trust anchor":
            # The signatures lead to an anchor, but a date or an extension makes the path invalid.
            # Check the rules that need a path on this path.
            failed |= _findings_on_path(policy, decision, path)
    rows = tuple(
        _row(rule, failed.get(rule), decision, path)
        for rule in policy.rules
        if rule in failed or rule.wanted(decision)
    )
    return AlternativeResult(policy, not failed, rows, path, None if failed else decision.until)


def _findings_on_path(policy: Policy, decision: Decision, path: PathResult) -> dict[Rule, Finding]:
    decision.path = [step.certificate for step in path.steps]
    found = {rule: rule.check(decision) for rule in policy.rules if rule.needs_path}
    return {rule: finding for rule, finding in found.items() if finding is not None}


def _row(
    rule: Rule, finding: Finding | None, decision: Decision, path: PathResult | None
) -> RuleResult:
    key = rule.key if isinstance(rule, KeyRule) else rule.label.replace(" ", "_")
    wanted = rule.wanted(decision)
    if finding is not None:
        detail = finding.detail
        if isinstance(rule, TrustAnchors) and path is not None and path.valid_at is not None:
            detail += f"; within its validity, at {timestamp(path.valid_at)}, there is a path"
        return RuleResult(key, rule.label, False, finding.reason, detail, wanted)
    if rule.needs_path and decision.path is None:
        return RuleResult(key, rule.label, None, None, "not judged: there is no path", wanted)
    return RuleResult(key, rule.label, True, None, rule.found(decision), wanted)


# ------------------------------------------------------------------------------------------ path


def _explain_path(
    presented: Presented,
    decision: Decision,
    trust_store: TrustStore,
    why: Finding | None,
    others: Sequence[Certificate],
) -> PathResult:
    if decision.path is not None:
        return PathResult(True, tuple(_steps(decision.path, trust_store)), "", None, None)
    problem = "" if why is None else why.detail
    certificate = decision.certificate
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= decision.at <= end:
        moment = begin if decision.at < begin else end
        path = presented.paths.find(trust_store, moment, decision.clock_skew)
        if not isinstance(path, Finding):
            return PathResult(False, tuple(_steps(path, trust_store)), problem, None, moment)
    steps, missing = _where_it_breaks(presented, trust_store, others)
    return PathResult(False, tuple(steps), problem, missing, None)


def _steps(path: Path, trust_store: TrustStore) -> Iterator[Step]:
    yield Step("client" if len(path) > 1 else "trust anchor", path[0])
    for ca in path[1:-1]:
        is_configured = ca in trust_store.intermediates or ca in trust_store.anchors
        yield Step("intermediate" if is_configured else "came with the request", ca)
    if len(path) > 1:
        yield Step("trust anchor", path[-1])


def _where_it_breaks(
    presented: Presented, trust_store: TrustStore, others: Sequence[Certificate]
) -> tuple[list[Step], str | None]:
    """Follow the issuers of the certificate; return the steps and the missing issuer."""
    certificate = presented.certificate.x509
    steps = [Step("client", certificate)]
    while len(steps) < MOST_STEPS:
        issuer = certificate.issuer.rfc4514_string()
        candidates = [
            *(Step("trust anchor", ca) for ca in trust_store.anchors),
            *(Step("intermediate", ca) for ca in trust_store.intermediates),
            *(Step("came with the request", ca) for ca in presented.forwarded),
            *(Step("in CERT, not configured", ca) for ca in others),
        ]
        seen = {step.certificate for step in steps}
        step = next(
            (
                step
                for step in candidates
                if step.certificate not in seen and has_signed(step.certificate, certificate)
            ),
            None,
        )
        if step is None:
            # A self-signed certificate has no other issuer, so none is missing.
            return steps, None if has_signed(certificate, certificate) else issuer
        steps.append(step)
        certificate = step.certificate
        if step.role == "trust anchor":
            break
    return steps, None


def key_identifiers(certificate: Certificate) -> tuple[str, str]:
    """Return the key identifiers of a certificate and of its issuer, each in hex or empty.

    Args:
        certificate: a pyca certificate (RFC 5280 sections 4.2.1.1 and 4.2.1.2).
    """
    own = authority = ""
    try:
        for extension in certificate.extensions:
            if isinstance(extension.value, SubjectKeyIdentifier):
                own = extension.value.digest.hex().upper()
            elif isinstance(extension.value, AuthorityKeyIdentifier):
                authority = (extension.value.key_identifier or b"").hex().upper()
    # Hostile bytes may raise any exception.
    except Exception:
        return "", ""
    return own, authority


# ------------------------------------------------------------------------------------------ JSON


def certificate_as_json(certificate: ClientCertificate, at: datetime) -> dict[str, Any]:
    """Return the facts of a certificate for JSON.

    Args:
        certificate: the certificate.
        at: the time from which the days are counted, a timezone-aware `datetime`.
    """
    usages = certificate.extended_key_usages
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "common_name": certificate.common_name,
        "dns_names": list(certificate.dns_names),
        "uris": list(certificate.uris),
        "email_addresses": list(certificate.email_addresses),
        "serial_number": f"{certificate.serial_number:X}",
        "not_valid_before": timestamp(certificate.not_valid_before_utc),
        "not_valid_after": timestamp(certificate.not_valid_after_utc),
        "days_left": days_left(certificate, at),
        "sha256_fingerprint": certificate.sha256_fingerprint,
        "sha1_fingerprint": certificate.sha1_fingerprint,
        "public_key_fingerprint": Presented(certificate).public_key_fingerprint,
        "key": description_of_key(certificate.x509),
        "is_ca": certificate.is_ca,
        "extended_key_usages": None if usages is None else [oid.dotted_string for oid in usages],
    }


def days_left(certificate: ClientCertificate, at: datetime) -> int:
    """Return how many whole days a certificate is still valid; negative if it has expired."""
    return (certificate.not_valid_after_utc - at).days


def policy_as_json(result: PolicyResult) -> dict[str, Any]:
    """Return what the alternatives of one name say, for JSON."""
    identity, denial = result.identity, result.denial
    return {
        "accepted": result.accepted,
        "reason": None if denial is None else denial.reason.value,
        "detail": "" if denial is None else denial.detail,
        "alternative": None if identity is None else identity.alternative,
        "identity": None if identity is None else identity.name,
        "roles": [] if identity is None else sorted(identity.roles),
        "note": None if identity is None else identity.note,
        "alternatives": [
            {
                "accepted": alternative.accepted,
                "until": None if alternative.until is None else timestamp(alternative.until),
                "rules": [
                    {
                        "key": rule.key,
                        "holds": rule.holds,
                        "reason": None if rule.reason is None else rule.reason.value,
                        "detail": rule.detail,
                        "wanted": rule.wanted,
                    }
                    for rule in alternative.rules
                ],
                "path": None if alternative.path is None else _path_as_json(alternative.path),
            }
            for alternative in result.alternatives
        ],
    }


def _path_as_json(path: PathResult) -> dict[str, Any]:
    return {
        "valid": path.is_valid,
        "valid_at": None if path.valid_at is None else timestamp(path.valid_at),
        "problem": path.problem,
        "missing": path.missing,
        "certificates": [
            {
                "role": step.role,
                "subject": name_of(step.certificate),
                "not_valid_after": timestamp(step.certificate.not_valid_after_utc),
            }
            for step in path.steps
        ],
    }


def name_of(certificate: Certificate) -> str:
    """Return the subject of a pyca certificate in RFC 4514 form; not escaped."""
    try:
        return certificate.subject.rfc4514_string()
    # Hostile bytes may raise any exception.
    except Exception:
        return "a name that cannot be read"
