"""The policies of one name, which are alternatives, and the policies of all names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from operator import is_not

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
        listed: the object itself, which `AnyPolicy` has several of.
        follows_files: whether a policy has files, which can change.
        latest: the memory of the snapshot of the files that was seen last; without files it is
            always the current one.
    """

    def __init__(self, name: str, policies: Sequence[Policy], most_remembered: int) -> None:
        self.name = name
        self.policies = policies
        self._most_remembered = most_remembered
        self.listed: tuple[Alternatives, ...] = (self,)
        self.follows_files = any(policy.trust_store() is not None for policy in policies)
        self.latest = self._new_memory()

    def memory(self) -> Memory:
        """Return the memory of the current snapshot of the files; a new snapshot starts empty."""
        memory = self.latest
        # `AnyPolicy` asks for every request, also policies of a thousand pins.
        if self.follows_files:
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


class AnyPolicy:
    """The policies of all names, in order, for a request that any of them may accept.

    It has a memory of its own: which policy is the first that accepts a certificate must not depend
    on what the memory of each policy contains.

    Args:
        listed: the policies of each name, in the order in which they are tried.
        most_remembered: how many accepted certificates are remembered.

    Attributes:
        name: the name of the first policies; empty if there are none.
        listed: the argument.
        follows_files: whether a policy has files, which can change.
        latest: the memory; use it only if no policy has files.
    """

    def __init__(self, listed: Sequence[Alternatives], most_remembered: int) -> None:
        self.name = listed[0].name if listed else ""
        self.listed = tuple(listed)
        self._most_remembered = most_remembered
        self.follows_files = any(alternatives.follows_files for alternatives in listed)
        self.latest = Memory((), most_remembered)
        self._belongs_to = (self._memories(), self.latest)

    def memory(self) -> Memory:
        """Return the memory of the current snapshot of all files; a new snapshot starts empty."""
        memories, memory = self._belongs_to
        current = self._memories()
        if any(map(is_not, current, memories)):
            memory = Memory((), self._most_remembered)
            self._belongs_to = (current, memory)
        return memory

    def _memories(self) -> list[Memory]:
        return [alternatives.memory() for alternatives in self.listed]
