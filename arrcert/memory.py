"""The memory of accepted certificates: the next request of a client needs only a look-up."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from datetime import datetime

from arrcert.exceptions import quote
from arrcert.forwarding.ingress import Forwarded
from arrcert.identity import ClientIdentity
from arrcert.notation import is_whole_number
from arrcert.trust.paths import TrustStore

MOST_REMEMBERED = 1024
"""How many accepted certificates are remembered for each policy by default."""

LARGEST_MEMORY = 1_000_000
"""The largest number that can be configured. A remembered certificate usually takes 3 KB of memory,
and at most 10 KB."""

LONGEST_KEY = 8 * 1024
"""The longest header text that is remembered, in characters. Some encodings let a client write more
than the certificate, and write one certificate in many ways."""


_ONE_OF = 8
"""A full memory stores only one of this number of new certificates. If it stored all of them,
clients that come only once would replace clients that come often."""


class _Acceptance:
    """The remembered decision for one header text.

    Args:
        identity: the identity of the client.
        since: the time of the decision, in seconds since the epoch.
        until: the first time at which the decision is not valid, in seconds since the epoch.
    """

    __slots__ = ("identity", "is_in_use", "since", "until")

    def __init__(self, identity: ClientIdentity, since: float, until: float) -> None:
        self.identity = identity
        self.since = since
        self.until = until
        self.is_in_use = False


class Memory:
    """The certificates that were accepted under one snapshot of the files, by the header's text.

    A result computed during a reload is stored with the old snapshot and discarded with it. Reading
    takes no lock. A full memory replaces entries by the CLOCK algorithm: an entry that was used
    since the hand passed it stays.

    Args:
        trust_stores: the trust store of each alternative, None for one without trust anchors.
        most_remembered: how many certificates are remembered; 0 for none.
    """

    def __init__(self, trust_stores: Sequence[TrustStore | None], most_remembered: int) -> None:
        self.trust_stores = trust_stores
        self._most_remembered = most_remembered
        self._accepted: dict[Forwarded, _Acceptance] = {}
        # The clock: the same keys, in a circle, and the place of its hand.
        self._circle: list[Forwarded] = []
        self._hand = 0
        self._newcomers = 0
        self._writing = threading.Lock()

    def recall(self, forwarded: Forwarded) -> ClientIdentity | None:
        """Return the identity that was accepted for this text, None if it is not remembered."""
        found = self._accepted.get(forwarded)
        # `since` can be in the future if the clock was set back.
        if found is None or not found.since <= time.time() < found.until:
            return None
        found.is_in_use = True
        return found.identity

    def remember(
        self,
        forwarded: Forwarded,
        identity: ClientIdentity,
        until: datetime,
        look_again: float = math.inf,
    ) -> None:
        """Remember an accepted certificate. A full memory stores only one of eight new ones.

        Args:
            forwarded: the text that the front end forwarded.
            identity: the identity of the client.
            until: the last second at which the certificate is accepted, a timezone-aware
                `datetime`.
            look_again: the time from which the certificate is checked again, in seconds since the
                epoch, because something may expire soon; never by default.
        """
        if not self._most_remembered or _characters_in(forwarded) > LONGEST_KEY:
            return
        # `until` is included, as notAfter is. Add one second for the comparison with `<`.
        acceptance = _Acceptance(identity, time.time(), min(until.timestamp() + 1, look_again))
        with self._writing:
            if forwarded in self._accepted:
                self._accepted[forwarded] = acceptance
            elif len(self._circle) < self._most_remembered:
                self._circle.append(forwarded)
                self._accepted[forwarded] = acceptance
            else:
                self._newcomers += 1
                if self._newcomers % _ONE_OF == 0:
                    self._replace(forwarded, acceptance)

    def _replace(self, forwarded: Forwarded, acceptance: _Acceptance) -> None:
        """Put an acceptance into the next place that is not in use. The caller holds the lock."""
        # After one turn the hand takes the next entry, even if it is marked, because readers mark
        # entries at the same time.
        for _ in range(len(self._circle)):
            passed = self._accepted[self._circle[self._hand]]
            if not passed.is_in_use:
                break
            passed.is_in_use = False
            self._hand = (self._hand + 1) % len(self._circle)
        del self._accepted[self._circle[self._hand]]
        self._circle[self._hand] = forwarded
        self._accepted[forwarded] = acceptance
        self._hand = (self._hand + 1) % len(self._circle)


def _characters_in(forwarded: Forwarded) -> int:
    """Return the number of characters of a forwarded text."""
    if isinstance(forwarded, tuple):
        return sum(map(len, filter(None, forwarded)))
    return len(forwarded or "")


def is_number_to_remember(value: object) -> bool:
    """Return whether a value is a number of certificates that can be remembered."""
    return is_whole_number(value, LARGEST_MEMORY)


def why_not_to_remember(value: object) -> str:
    """Return the error for a value that `is_number_to_remember` refuses."""
    return f"{quote(value)} is not a number of certificates; write 0 to {LARGEST_MEMORY}"
