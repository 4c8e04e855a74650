"""What the pages show about a visitor. Each sample site has this file."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from arrcert import ClientCertificate, ClientIdentity, Policy
from arrcert.explanation import AlternativeResult, RuleResult, explain

OPERATOR = "operator"
"""A visitor with this role sees what each policy requires and found, as `arrcert explain` prints
it. Other visitors see only the rules that let them in, because what a policy requires of other
clients is confidential."""

RENEW_SOON = 30
"""If fewer days are left, the certificate should be renewed."""

RENEW_NOW = 7
"""If fewer days are left, the renewal is urgent."""


class Visitor:
    """A client that a policy let in, as the pages show it.

    Args:
        identity: the identity of the client.
    """

    def __init__(self, identity: ClientIdentity) -> None:
        self.certificate: ClientCertificate = identity.certificate
        self.name = identity.name
        self.roles = sorted(identity.roles)
        self.is_operator = OPERATOR in identity.roles
        left = self.certificate.not_valid_after_utc - datetime.now(UTC)
        # With a clock skew, a certificate is accepted for some minutes after it expired.
        self.days_left = max(0, left.days)

    @property
    def urgency(self) -> str:
        """The CSS class for the colour of the days left."""
        if self.days_left < RENEW_NOW:
            return "bad"
        return "soon" if self.days_left < RENEW_SOON else "good"

    @property
    def advice(self) -> str:
        """The advice that belongs to the colour."""
        return {"bad": "renew now", "soon": "renew soon", "good": "enough time"}[self.urgency]

    @property
    def facts(self) -> dict[str, str | int | list[str] | None]:
        """The facts that `/cert-info` shows, in this order."""
        certificate = self.certificate
        return {
            "identity": self.name,
            "roles": self.roles,
            "days_left": self.days_left,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "sha256_fingerprint": certificate.sha256_fingerprint,
            "sha1_fingerprint": certificate.sha1_fingerprint,
            # It has up to 160 bits. As a JSON number it would lose digits in many languages.
            "serial_number": f"{certificate.serial_number:X}",
            "not_valid_before": certificate.not_valid_before_utc.isoformat(),
            "not_valid_after": certificate.not_valid_after_utc.isoformat(),
        }


class Row(NamedTuple):
    """One rule of a policy.

    Attributes:
        rule: the name of the rule.
        verdict: `holds`, `fails`, or `not judged` if the rule needs a path and there is none.
        colour: the CSS class for the verdict.
        lines: what was found and what the rule requires; empty unless the visitor is an operator.
    """

    rule: str
    verdict: str
    colour: str
    lines: list[str]


class Section(NamedTuple):
    """What one alternative of a policy says.

    Attributes:
        title: the name of the policy, and which alternative it is.
        accepts: whether the alternative accepts the certificate.
        rows: the rules, in the order of the decision.
    """

    title: str
    accepts: bool
    rows: list[Row]


def explained(identity: ClientIdentity, policies: Mapping[str, Sequence[Policy]]) -> list[Section]:
    """Return what the policies say about a visitor.

    Args:
        identity: the identity of the client.
        policies: the policies of the site, `Authorizer.policies`.
    """
    if OPERATOR not in identity.roles:
        # Show only the alternative that let the visitor in. It may be gone if the settings have
        # changed.
        index = identity.alternative
        own = policies.get(identity.policy, ())[index : index + 1]
        policies = {identity.policy: own} if own else {}
    return [
        _section(title, alternative, OPERATOR in identity.roles)
        for name, result in explain(identity.certificate, policies).items()
        for title, alternative in _titled(name, result.alternatives)
    ]


def _titled(
    name: str, alternatives: Sequence[AlternativeResult]
) -> list[tuple[str, AlternativeResult]]:
    if len(alternatives) == 1:
        return [(name, alternatives[0])]
    return [(f"{name}, alternative {n}", each) for n, each in enumerate(alternatives, start=1)]


def _section(title: str, alternative: AlternativeResult, is_operator: bool) -> Section:
    rows = [
        Row(rule.label, *_verdict(rule), _lines(rule) if is_operator else [])
        for rule in alternative.rules
    ]
    return Section(title, alternative.accepted, rows)


def _verdict(rule: RuleResult) -> tuple[str, str]:
    if rule.holds is None:
        return "not judged", "unknown"
    return ("holds", "good") if rule.holds else ("fails", "bad")


def _lines(rule: RuleResult) -> list[str]:
    if rule.reason is None:
        return [rule.detail]
    return [f"{rule.reason}: {rule.detail}", f"wanted: {rule.wanted}"]
