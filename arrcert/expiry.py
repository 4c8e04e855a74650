"""Warns once a day about certificates, pins and revocation lists that expire soon.

Only those on which the acceptance of a client depends are reported.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.x509 import Certificate

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import quote
from arrcert.identity import ClientIdentity
from arrcert.moments import timestamp
from arrcert.notation import is_whole_number
from arrcert.pins import Pin
from arrcert.trust.crls import RevocationList

logger = logging.getLogger("arrcert")

EXPIRY_WARNING_DAYS = 30
"""How many days before it expires a certificate is reported by default."""

MOST_WARNING_DAYS = 3650
"""The largest number of days that can be configured."""

MOST_TOLD = 10_000
"""The number of reported certificates, pins and lists that are remembered. If more of them expire
soon, the oldest is forgotten and may be reported twice a day."""

PART_OF_A_LIST = 4
"""A revocation list is reported in the last quarter of its validity. A list is valid for only some
days, so otherwise every list would be reported, even if it is replaced in time."""

SECONDS_A_DAY = 86400


class Ending(NamedTuple):
    """Something that an acceptance depends on, and when it expires.

    Attributes:
        held: the object that expires: the client's certificate, a CA certificate of its path, a
            revocation list or a pin.
        at: the last time at which it is valid, a timezone-aware `datetime`.
        is_anchor: whether it is the trust anchor of the path.
    """

    held: ClientCertificate | Certificate | RevocationList | Pin
    at: datetime
    is_anchor: bool = False

    def begin(self, days: int) -> float:
        """Return the time from which it is reported, in seconds since the epoch.

        Args:
            days: how many days before it expires.
        """
        seconds = float(days * SECONDS_A_DAY)
        if isinstance(self.held, RevocationList):
            life = self.held.next_update_utc - self.held.this_update_utc
            seconds = min(seconds, life.total_seconds() / PART_OF_A_LIST)
        return self.at.timestamp() - seconds

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 fingerprint of a certificate, or the digits of a pin; None for a list."""
        if isinstance(self.held, ClientCertificate):
            return self.held.sha256_fingerprint
        if isinstance(self.held, Certificate):
            return self.held.fingerprint(hashes.SHA256()).hex().upper()
        return self.held.value if isinstance(self.held, Pin) else None

    @property
    def key(self) -> tuple[type, str]:
        """A key that identifies the object."""
        name = self.fingerprint
        if isinstance(self.held, RevocationList):
            name = self.held.source
        return type(self.held), str(name)

    def days_left(self, now: float) -> int:
        """Return how many whole days are left; negative after the expiry.

        Args:
            now: the current time, in seconds since the epoch.
        """
        return math.floor((self.at.timestamp() - now) / SECONDS_A_DAY)

    def described(self, identity: ClientIdentity | None = None) -> str:
        """Return a description of the object that expires, escaped.

        Args:
            identity: the identity of the client that was accepted with it; None if there is none.
        """
        if isinstance(self.held, ClientCertificate):
            name = None if identity is None else identity.name
            return f"the client certificate of {quote(self.held.subject if name is None else name)}"
        if isinstance(self.held, Pin):
            return f"the pin {quote(self.held)}"
        if isinstance(self.held, RevocationList):
            return f"the revocation list in {self.held.source.removeprefix('the ')}"
        kind = "trust anchor" if self.is_anchor else "intermediate"
        return f"the {kind} {quote(self.held.subject.rfc4514_string())}"

    @property
    def consequence(self) -> str:
        """The consequence of the expiry, and what to do."""
        if isinstance(self.held, ClientCertificate):
            return "then the client is denied, and needs a new certificate"
        if isinstance(self.held, Pin):
            return "then it does not match any certificate"
        if isinstance(self.held, RevocationList):
            return "then it is not used; fetch a new one (arrcert fetch-crls does)"
        setting = "trust_anchors" if self.is_anchor else "intermediates"
        return (
            "then no client with a certificate of this CA is accepted; add the new CA certificate"
            f" to {setting}"
        )


class Expiry:
    """Everything that one acceptance depends on and that expires.

    Args:
        endings: everything that expires, the client's certificate first.

    Attributes:
        endings: the argument.
        is_due: whether something must be reported when the client enters.
    """

    __slots__ = ("endings", "is_due")

    def __init__(self, endings: Sequence[Ending]) -> None:
        self.endings = endings
        self.is_due = False

    def look(self, now: float, days: int) -> float:
        """Find out whether something must be reported, and when that may change.

        Args:
            now: the current time, in seconds since the epoch.
            days: how many days before it expires something is reported; 0 for never.

        Returns:
            The first time at which the next check may find something, in seconds since the epoch.
        """
        look_again = math.inf
        for ending in self.endings if days else ():
            next_time = ending.begin(days)
            if now >= next_time:
                next_time = _told.next_time(ending.key, now)
            if now >= next_time:
                self.is_due = True
                next_time = now + SECONDS_A_DAY
            look_again = min(look_again, next_time)
        return look_again

    def report(self, identity: ClientIdentity, now: float, days: int) -> int | None:
        """Log a warning for each object that expires soon and was not reported in the last day.

        Args:
            identity: the identity of the client.
            now: the current time, in seconds since the epoch.
            days: how many days before it expires something is reported; 0 for never.

        Returns:
            The days left of the client's certificate, if this call has logged a warning about it;
            else None.
        """
        self.is_due = False
        days_left = None
        for ending in self.endings if days else ():
            if now >= ending.begin(days) and _told.take(ending.key, now):
                left = _write(ending, identity, now)
                if isinstance(ending.held, ClientCertificate):
                    days_left = left
        return days_left


def _write(ending: Ending, identity: ClientIdentity, now: float) -> int:
    """Write the warning, and return how many whole days are left."""
    # With a clock skew, a certificate is accepted for some minutes after it expired.
    days = max(0, ending.days_left(now))
    is_of_client = isinstance(ending.held, ClientCertificate | Pin)
    fingerprint = ending.fingerprint
    logger.warning(
        "%s expires in %d %s, at %s: %s (policy %s%s%s)",
        ending.described(identity),
        days,
        "day" if days == 1 else "days",
        timestamp(ending.at),
        ending.consequence,
        quote(identity.policy),
        f", identity {quote(identity.name)}" if is_of_client and identity.name is not None else "",
        "" if fingerprint is None else f", fingerprint {fingerprint}",
        extra={
            "arrcert_policy": identity.policy,
            "arrcert_identity": identity.name if is_of_client else None,
            "arrcert_fingerprint": fingerprint,
            "arrcert_days_left": days,
        },
    )
    return days


class _Told:
    """Remembers what was reported in this process, and when it may be reported again."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, and make a new lock. A forked process reports independently."""
        self._lock = threading.Lock()
        self._next: dict[tuple[type, str], float] = {}

    def next_time(self, key: tuple[type, str], now: float) -> float:
        """Return when something may be reported again, at the earliest now.

        Args:
            key: the key of the object.
            now: the current time, in seconds since the epoch.
        """
        next_time = self._next.get(key, now)
        # If the next time is more than a day away, the clock was set back.
        return next_time if now < next_time <= now + SECONDS_A_DAY else now

    def take(self, key: tuple[type, str], now: float) -> bool:
        """Return whether something must be reported now. If so, it counts as reported.

        Args:
            key: the key of the object.
            now: the current time, in seconds since the epoch.
        """
        with self._lock:
            if self.next_time(key, now) > now:
                return False
            self._next.pop(key, None)
            if len(self._next) >= MOST_TOLD:
                del self._next[next(iter(self._next))]
            self._next[key] = now + SECONDS_A_DAY
            return True


_told = _Told()

if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none, and cannot fork.
    os.register_at_fork(after_in_child=_told.reset)


def is_number_of_days(value: object) -> bool:
    """Return whether a value is a number of days for `ARRCERT_EXPIRY_WARNING_DAYS`."""
    return is_whole_number(value, MOST_WARNING_DAYS)


def why_no_days(value: object) -> str:
    """Return the error for a value that `is_number_of_days` refuses."""
    return f"{quote(value)} is not a number of days; write 0 (never) to {MOST_WARNING_DAYS}"
