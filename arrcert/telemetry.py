"""Metrics of decisions, through the OpenTelemetry API (https://opentelemetry.io/docs/specs/otel/).

It needs the extra `telemetry`, which is the API alone. The site sets up the SDK and an exporter;
without them every call here does nothing. `ARRCERT_TELEMETRY` switches it on; without that setting
nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from arrcert.exceptions import Denial
from arrcert.identity import ClientIdentity
from arrcert.policy import Policy
from arrcert.trust.crls import RevocationList

if TYPE_CHECKING:
    from arrcert.settings.file import PolicyFile

UNKNOWN_POLICY = "(unknown)"
"""The label of a policy that is not configured."""

NOT_SEEN_FOR = 86400.0
"""A certificate that was not accepted for so many seconds does not count for the days left."""

MOST_CERTIFICATES = 100
"""For each identity, the days left are those of so many certificates that end first."""

_SECONDS_A_DAY = 86400.0
_FASTEST = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0]
"""The upper ends of the histogram's buckets, in seconds."""


class Telemetry:
    """Counts the decisions of one authorizer.

    Args:
        policies: the policies, by name.
        file: follows the file of policies, which then holds them; None without one.

    The labels have few values: policies and identities as the settings write them, outcomes and
    reasons. No label holds a subject, a fingerprint or a path of a request.
    """

    def __init__(
        self,
        policies: Mapping[str, Sequence[Policy]],
        file: PolicyFile | None = None,
    ) -> None:
        self._policies = policies
        self.file = file
        self._ends: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
        self._lock = threading.Lock()
        meter = get_meter("arrcert")
        self._decisions = meter.create_counter(
            "arrcert.decisions", "{decision}", "Decisions about client certificates"
        )
        self._acceptances = meter.create_counter(
            "arrcert.acceptances", "{request}", "Accepted requests by the alternative that let in"
        )
        self._duration = meter.create_histogram(
            "arrcert.decision.duration",
            "s",
            "Time of decisions that were not remembered",
            explicit_bucket_boundaries_advisory=_FASTEST,
        )
        # A meter knows each gauge once, so the gauges observe all authorizers.
        for name, unit, description, observe in (
            ("arrcert.certificate.days_left", "{day}", "Days until a certificate ends", _days_left),
            ("arrcert.crl.age", "s", "Time since a revocation list was issued", _crl_ages),
            ("arrcert.file.age", "s", "Time since the file of policies changed", _file_ages),
        ):
            meter.create_observable_gauge(name, [observe], unit, description)
        _instances.add(self)

    @property
    def policies(self) -> Mapping[str, Sequence[Policy]]:
        """The policies that count now."""
        return self._policies if self.file is None else self.file.current().policies

    def count_accepted(self, identity: ClientIdentity) -> None:
        """Count an accepted request."""
        label = identity.label or ""
        self._decisions.add(
            1,
            {"policy": identity.policy, "outcome": "accepted", "reason": "", "identity": label},
        )
        self._acceptances.add(
            1,
            {
                "policy": identity.policy,
                "alternative": identity.alternative + 1,
                "identity": label,
            },
        )
        self._see(identity, label)

    def count_denied(self, denial: Denial, policy: str) -> None:
        """Count a denial.

        Args:
            denial: the denial.
            policy: the name of the policy that was asked for.
        """
        self._decisions.add(
            1,
            {
                "policy": policy if policy in self.policies else UNKNOWN_POLICY,
                "outcome": "denied",
                "reason": denial.reason.value,
                "identity": denial.identity_label or "",
            },
        )

    def measure(self, decided: ClientIdentity | Denial, policy: str, seconds: float) -> None:
        """Measure a decision that was not remembered.

        Args:
            decided: its result.
            policy: the name of the policy that was asked for.
            seconds: how long it took.
        """
        is_accepted = isinstance(decided, ClientIdentity)
        name = decided.policy if isinstance(decided, ClientIdentity) else policy
        self._duration.record(
            seconds, {"policy": name, "outcome": "accepted" if is_accepted else "denied"}
        )

    def days_left(self, now: float) -> Iterator[tuple[str, str, float]]:
        """Yield policy, identity, and the days that the certificate has left that ends first.

        Args:
            now: the moment, in seconds since the epoch.
        """
        with self._lock:
            for (policy, label), ends in self._ends.items():
                for fingerprint in [
                    fingerprint
                    for fingerprint, (end, seen) in ends.items()
                    if end < now or seen < now - NOT_SEEN_FOR
                ]:
                    del ends[fingerprint]
                if ends:
                    first = min(end for end, _ in ends.values())
                    yield policy, label, (first - now) / _SECONDS_A_DAY

    def _see(self, identity: ClientIdentity, label: str) -> None:
        """Note when an accepted certificate ends."""
        certificate = identity.certificate
        end = certificate.not_valid_after_utc.timestamp()
        with self._lock:
            ends = self._ends.setdefault((identity.policy, label), {})
            ends[certificate.sha256_fingerprint] = (end, time.time())
            if len(ends) > MOST_CERTIFICATES:
                del ends[max(ends, key=lambda fingerprint: ends[fingerprint][0])]

    def revocation_lists(self) -> Iterator[RevocationList]:
        """Yield the revocation lists that the policies use now."""
        for alternatives in self.policies.values():
            for policy in alternatives:
                trust_store = policy.trust_store()
                if trust_store is not None:
                    yield from trust_store.revocation_lists


_instances: weakref.WeakSet[Telemetry] = weakref.WeakSet()


def _replace_locks() -> None:
    """Give every instance a new lock: a thread that held the old one is not alive after a fork."""
    for telemetry in list(_instances):
        telemetry._lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none, and cannot fork.
    os.register_at_fork(after_in_child=_replace_locks)


def _days_left(_: CallbackOptions) -> Iterable[Observation]:
    found: dict[tuple[str, str], float] = {}
    for telemetry in list(_instances):
        for policy, label, days in telemetry.days_left(time.time()):
            found[policy, label] = min(days, found.get((policy, label), days))
    return [
        Observation(days, {"policy": policy, "identity": label})
        for (policy, label), days in found.items()
    ]


def _crl_ages(_: CallbackOptions) -> Iterable[Observation]:
    found = {
        (crl.source, crl.issuer.rfc4514_string()): crl.this_update_utc.timestamp()
        for telemetry in list(_instances)
        for crl in telemetry.revocation_lists()
    }
    return [
        Observation(time.time() - issued, {"crl": source, "issuer": issuer})
        for (source, issuer), issued in found.items()
    ]


def _file_ages(_: CallbackOptions) -> Iterable[Observation]:
    files = {
        telemetry.file.path: telemetry.file.current().changed_at
        for telemetry in list(_instances)
        if telemetry.file is not None
    }
    return [
        Observation(time.time() - changed_at, {"file": path}) for path, changed_at in files.items()
    ]
