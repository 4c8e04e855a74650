"""The policies of one name: alternatives that are tried in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography.x509 import Certificate

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import Denial, DenialReason, Finding
from arrcert.memory import Memory
from arrcert.policy import Acceptance, Policy
from arrcert.trust.paths import TrustStore


class Alternatives:
    """The policies of one name, in order, and the memory of what they accepted.

    Args:
        policies: at least one policy.
        most_remembered: how many accepted certificates are remembered.
    """

    def __init__(self, policies: Sequence[Policy], most_remembered: int) -> None:
        self._policies = policies
        self._most_remembered = most_remembered
        self._follows_files = any(policy.trust_store() is not None for policy in policies)
        self._memory = self._new_memory()

    def memory(self) -> Memory:
        """Return the memory of the current snapshot of the files; a new snapshot starts empty."""
        memory = self._memory
        if self._follows_files:
            for policy, trust_store in zip(self._policies, memory.trust_stores, strict=True):
                if policy.trust_store() is not trust_store:
                    self._memory = memory = self._new_memory()
                    break
        return memory

    def decide(
        self,
        certificate: ClientCertificate,
        at: datetime,
        trust_stores: Sequence[TrustStore | None],
        intermediates: Sequence[Certificate] = (),
    ) -> Acceptance | Denial:
        """Try the policies in order. The first that accepts wins; `revoked` ends the search.

        Args:
            certificate: the client certificate.
            at: the moment, aware, in whole seconds.
            trust_stores: the trust store of each policy.
            intermediates: CA certificates that the front end forwarded.
        """
        findings: list[Finding] = []
        for policy, trust_store in zip(self._policies, trust_stores, strict=True):
            decided = policy.decide(certificate, at, trust_store, intermediates)
            if isinstance(decided, Acceptance):
                return decided
            findings.append(decided)
            if decided.reason is DenialReason.REVOKED:
                break
        details = [finding.detail for finding in findings]
        if len(self._policies) > 1:
            details = [f"alternative {n}: {detail}" for n, detail in enumerate(details, start=1)]
        return Denial(
            findings[-1].reason,
            "; ".join(details),
            certificate,
            tuple(finding.reason for finding in findings),
        )

    def _new_memory(self) -> Memory:
        return Memory([policy.trust_store() for policy in self._policies], self._most_remembered)
