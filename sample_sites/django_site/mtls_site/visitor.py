"""What the pages show about a visitor. Each sample site has this file."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from arrcert import ClientCertificate, ClientIdentity, Policy
from arrcert.explanation import AlternativeResult, RuleResult, explain

OPERATOR = "operator"
"""A visitor with this role sees what every policy says and wants, as `arrcert explain` prints it.
Everybody else sees only which rules let them in: what a policy wants of other clients is not for
them."""

RENEW_SOON = 30
"""With fewer days left than this, the certificate is to be renewed."""

RENEW_NOW = 7
"""With fewer days left than this, it is urgent."""


class Visitor:
    """Somebody whose certificate opened a page.

    Args:
        identity: who entered.
    """

    def __init__(self, identity: ClientIdentity) -> None:
        self.certificate: ClientCertificate = identity.certificate
        self.name = identity.name
        self.roles = sorted(identity.roles)
        self.is_operator = OPERATOR in identity.roles
        left = self.certificate.not_valid_after_utc - datetime.now(UTC)
        # With a clock skew, a certificate is accepted for some minutes after its end.
        self.days_left = max(0, left.days)

    @property
    def urgency(self) -> str:
        """The class of the style sheet that colours the days left."""
        if self.days_left < RENEW_NOW:
            return "bad"
        return "soon" if self.days_left < RENEW_SOON else "good"

    @property
    def advice(self) -> str:
        """The same as the colour, in words."""
        return {"bad": "renew now", "soon": "renew soon", "good": "enough time"}[self.urgency]

    @property
    def facts(self) -> dict[str, str | int | list[str] | None]:
        """What `/cert-info` shows, in the order in which it shows it."""
        certificate = self.certificate
        return {
            "identity": self.name,
            "roles": self.roles,
            "days_left": self.days_left,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "sha256_fingerprint": certificate.sha256_fingerprint,
            "sha1_fingerprint": certificate.sha1_fingerprint,
            # Up to 160 bits: as a number in JSON it would lose digits in many languages.
            "serial_number": f"{certificate.serial_number:X}",
            "not_valid_before": certificate.not_valid_before_utc.isoformat(),
            "not_valid_after": certificate.not_valid_after_utc.isoformat(),
        }


class Row(NamedTuple):
    """One rule of a policy.

    Attributes:
        rule: what it is called.
        verdict: `holds`, `fails`, or `not judged` if the rule needs a path and there is none.
        colour: the class of the style sheet for the verdict.
        lines: what was found and what is wanted; empty for most visitors.
    """

    rule: str
    verdict: str
    colour: str
    lines: list[str]


class Section(NamedTuple):
    """What one alternative of a policy says.

    Attributes:
        title: the name of the policy, and which alternative it is.
        accepts: whether it lets the visitor in.
        rows: its rules, in the order of the decision.
    """

    title: str
    accepts: bool
    rows: list[Row]


def explained(identity: ClientIdentity, policies: Mapping[str, Sequence[Policy]]) -> list[Section]:
    """Return what the policies say about a visitor.

    Args:
        identity: who entered.
        policies: the policies of the site, `Authorizer.policies`.
    """
    if OPERATOR not in identity.roles:
        # Only the alternative that let the visitor in. There is none if the settings have changed.
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
