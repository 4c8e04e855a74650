"""The policies of one name: alternatives that are tried in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from arrcert.exceptions import Denial, DenialReason, Finding
from arrcert.expiry import Expiry
from arrcert.identity import ClientIdentity
from arrcert.memory import Memory
from arrcert.policy import Acceptance, Policy
from arrcert.presented import Presented
from arrcert.trust.paths import TrustStore

MOST_DETAILS = 20
"""The number of alternatives that a denial describes. Of the others it lists only the reasons."""


class Alternatives:
    """The policies of one name, in order, and the memory of what they accepted.

    Args:
        name: the name of the policies.
        policies: at least one policy.
        most_remembered: how many accepted certificates are remembered.

    Attributes:
        name: the name of the policies.
        policies: the policies.
        follows_files: whether a policy has files, which can change.
        latest: the memory of the snapshot of the files that was seen last; without files it is
            always the current one.
    """

    def __init__(self, name: str, policies: Sequence[Policy], most_remembered: int) -> None:
        self.name = name
        self.policies = policies
        self._most_remembered = most_remembered
        self.follows_files = any(policy.trust_store() is not None for policy in policies)
        self.latest = self._new_memory()

    def memory(self) -> Memory:
        """Return the memory of the current snapshot of the files; a new snapshot starts empty."""
        memory = self.latest
        for policy, trust_store in zip(self.policies, memory.trust_stores, strict=True):
            if policy.trust_store() is not trust_store:
                self.latest = memory = self._new_memory()
                break
        return memory

    def decide(
        self,
        presented: Presented,
        at: datetime,
        trust_stores: Sequence[TrustStore | None],
    ) -> tuple[ClientIdentity, Acceptance] | Denial:
        """Try the policies in order. The first that accepts wins; `revoked` ends the search.

        Args:
            presented: the client certificate and what came with it.
            at: the time of the decision, a timezone-aware `datetime` in whole seconds.
            trust_stores: the trust store of each policy.
        """
        findings: list[Finding] = []
        for index, policy in enumerate(self.policies):
            decided = policy.decide(presented, at, trust_stores[index])
            if isinstance(decided, Acceptance):
                identity = ClientIdentity(
                    decided.name,
                    decided.roles,
                    presented.certificate,
                    self.name,
                    index,
                    decided.note,
                    decided.label,
                    Expiry(decided.endings),
                )
                return identity, decided
            findings.append(decided)
            if decided.reason is DenialReason.REVOKED:
                break
        return Denial(
            findings[-1].reason,
            self._detail_of(findings),
            presented.certificate,
            tuple(finding.reason for finding in findings),
        )

    def _detail_of(self, findings: Sequence[Finding]) -> str:
        """Return the details of the first alternatives, and the reasons of the others."""
        if len(self.policies) == 1:
            return findings[0].detail
        details = [
            f"alternative {number}: {finding.detail}"
            for number, finding in enumerate(findings[:MOST_DETAILS], start=1)
        ]
        more = Counter(finding.reason for finding in findings[MOST_DETAILS:])
        if more:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in more.items())
            details.append(f"{more.total()} more alternatives: {reasons}")
        return "; ".join(details)

    def _new_memory(self) -> Memory:
        return Memory([policy.trust_store() for policy in self.policies], self._most_remembered)
