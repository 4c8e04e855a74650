"""Metrics of decisions, through the OpenTelemetry API (https://opentelemetry.io/docs/specs/otel/).

It needs the extra `telemetry`, which installs only the OpenTelemetry API. The site sets up the SDK
and an exporter. Without them, no metric is exported. The setting `ARRCERT_TELEMETRY` switches the
metrics on. Without it, OpenTelemetry is not imported.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Counter, Observation, get_meter

from arrcert.exceptions import Denial
from arrcert.identity import ClientIdentity
from arrcert.policy import Policy
from arrcert.trust.crls import RevocationList

if TYPE_CHECKING:
    from arrcert.settings.file import PolicyFile

UNKNOWN_POLICY = "(unknown)"
"""The label of a policy that is not configured."""

NOT_SEEN_FOR = 86400.0
"""A certificate counts for the days left only if it was accepted within this time, in seconds."""

MOST_CERTIFICATES = 100
"""For each identity, this number of certificates is remembered: those that expire first."""

_SEEN_NOW = 60.0
"""A certificate is noted again only after this time, in seconds."""

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
        # These were counted, but not yet added to the counters of OpenTelemetry.
        self._accepted: _Accepted = {}
        self._denied: _Denied = {}
        self._lock = threading.Lock()
        meter = get_meter("arrcert")
        self._decisions = meter.create_counter(
            "arrcert.decisions", "{decision}", "Decisions about client certificates"
        )
        self._acceptances = meter.create_counter(
            "arrcert.acceptances", "{request}", "Accepted requests by policy and alternative"
        )
        self._duration = meter.create_histogram(
            "arrcert.decision.duration",
            "s",
            "Time of decisions that were not remembered",
            explicit_bucket_boundaries_advisory=_FASTEST,
        )
        # A meter has each gauge only once, so the gauges observe all authorizers.
        for name, unit, description, observe in (
            ("arrcert.certificate.days_left", "{day}", "Days until expiry", _days_left),
            ("arrcert.crl.age", "s", "Time since a revocation list was issued", _crl_ages),
            ("arrcert.file.age", "s", "Time since the file of policies changed", _file_ages),
        ):
            meter.create_observable_gauge(name, [observe], unit, description)
        _instances.add(self)

    def __del__(self) -> None:
        """Keep the counts when the authorizer is deleted, as when Django's settings change.

        The next collection adds them to the counters. The garbage collector may run inside the SDK,
        so this method must not call the SDK.
        """
        if self._accepted or self._denied:
            _left_over.append((self._decisions, self._acceptances, self._accepted, self._denied))

    @property
    def policies(self) -> Mapping[str, Sequence[Policy]]:
        """The policies that count now."""
        return self._policies if self.file is None else self.file.current().policies

    def count_accepted(self, identity: ClientIdentity) -> None:
        """Count an accepted request, and note when its certificate expires."""
        label, fingerprint = identity.label or "", identity.certificate.sha256_fingerprint
        key, now = (identity.policy, identity.alternative + 1, label), time.time()
        with self._lock:
            self._accepted[key] = self._accepted.get(key, 0) + 1
            ends = self._ends.get((identity.policy, label))
            known = None if ends is None else ends.get(fingerprint)
            # Most requests come from a certificate that was seen just before.
            if known is None or not 0 <= now - known[1] < _SEEN_NOW:
                self._see(identity, label, now)

    def count_denied(self, denial: Denial, policy: str) -> None:
        """Count a denial.

        Args:
            denial: the denial.
            policy: the name of the policy that the request needs.
        """
        name = policy if policy in self.policies else UNKNOWN_POLICY
        key = name, denial.reason.value, denial.identity_label or ""
        with self._lock:
            self._denied[key] = self._denied.get(key, 0) + 1

    def hand_over(self) -> None:
        """Add the counts since the last call to the counters of OpenTelemetry.

        A call to these counters takes much longer than a decision. So requests are counted in this
        object, and the SDK gets the sums when it collects.
        """
        with self._lock:
            accepted, self._accepted = self._accepted, {}
            denied, self._denied = self._denied, {}
        _add(self._decisions, self._acceptances, accepted, denied)

    def measure(self, decided: ClientIdentity | Denial, policy: str, seconds: float) -> None:
        """Measure a decision that was not remembered.

        Args:
            decided: its result.
            policy: the name of the policy that the request needs.
            seconds: how long it took.
        """
        is_accepted = isinstance(decided, ClientIdentity)
        name = decided.policy if isinstance(decided, ClientIdentity) else policy
        self._duration.record(
            seconds, {"policy": name, "outcome": "accepted" if is_accepted else "denied"}
        )

    def days_left(self, now: float) -> Iterator[tuple[str, str, float]]:
        """Yield policy, identity, and the days left of the certificate that expires first.

        Args:
            now: the time, in seconds since the epoch.
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

    def _see(self, identity: ClientIdentity, label: str, now: float) -> None:
        """Note when an accepted certificate expires. The caller holds the lock."""
        certificate = identity.certificate
        ends = self._ends.setdefault((identity.policy, label), {})
        ends[certificate.sha256_fingerprint] = (certificate.not_valid_after_utc.timestamp(), now)
        if len(ends) > MOST_CERTIFICATES:
            del ends[max(ends, key=lambda fingerprint: ends[fingerprint][0])]

    def revocation_lists(self) -> Iterator[RevocationList]:
        """Yield the revocation lists that the policies use now."""
        for alternatives in self.policies.values():
            for policy in alternatives:
                trust_store = policy.trust_store()
                if trust_store is not None:
                    yield from trust_store.revocation_lists


_Accepted = dict[tuple[str, int, str], int]
"""Accepted requests by policy, alternative and the label of the identity."""

_Denied = dict[tuple[str, str, str], int]
"""Denied requests by policy, reason and the label of the identity."""


def _add(decisions: Counter, acceptances: Counter, accepted: _Accepted, denied: _Denied) -> None:
    """Add what was counted to the counters of OpenTelemetry."""
    for (policy, alternative, label), count in accepted.items():
        labels = {"policy": policy, "outcome": "accepted", "reason": "", "identity": label}
        decisions.add(count, labels)
        acceptances.add(count, {"policy": policy, "alternative": alternative, "identity": label})
    for (policy, reason, label), count in denied.items():
        labels = {"policy": policy, "outcome": "denied", "reason": reason, "identity": label}
        decisions.add(count, labels)


_instances: weakref.WeakSet[Telemetry] = weakref.WeakSet()

_left_over: deque[tuple[Counter, Counter, _Accepted, _Denied]] = deque(maxlen=1000)
"""The counts of deleted instances that are not yet in the counters of OpenTelemetry."""


def _begin_anew() -> None:
    """Give every instance a new lock and empty counts in a forked process.

    A thread that held the old lock does not exist there. The parent process keeps its own counts.
    """
    for telemetry in list(_instances):
        telemetry._lock = threading.Lock()
        telemetry._accepted, telemetry._denied = {}, {}
    _left_over.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none, and cannot fork.
    os.register_at_fork(after_in_child=_begin_anew)


def _days_left(_: CallbackOptions) -> Iterable[Observation]:
    found: dict[tuple[str, str], float] = {}
    while _left_over:
        _add(*_left_over.popleft())
    for telemetry in list(_instances):
        # The SDK calls the gauges before it reads the counters.
        telemetry.hand_over()
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
