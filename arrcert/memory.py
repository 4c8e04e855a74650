"""The memory of accepted certificates, so that the next request needs only a look-up."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime

from arrcert.exceptions import quote
from arrcert.forwarding.ingress import Forwarded
from arrcert.identity import ClientIdentity
from arrcert.trust.paths import TrustStore

MOST_REMEMBERED = 1024
"""How many accepted certificates are remembered for each policy by default."""

LARGEST_MEMORY = 1_000_000
"""The largest number that can be configured. A remembered certificate takes 3 KB, at most 10 KB."""

LONGEST_KEY = 8 * 1024
"""The longest header text that is remembered, in characters. Some encodings let a client write more
than the certificate, and write one certificate in many ways."""


class Memory:
    """The certificates that were accepted under one snapshot of the files, by the header's text.

    A result computed during a reload is stored with the old snapshot and discarded with it. Reading
    takes no lock.

    Args:
        trust_stores: the trust store of each alternative, None for one without trust anchors.
        most_remembered: how many certificates are remembered; 0 for none.
    """

    def __init__(self, trust_stores: Sequence[TrustStore | None], most_remembered: int) -> None:
        self.trust_stores = trust_stores
        self._most_remembered = most_remembered
        self._accepted: dict[Forwarded, tuple[ClientIdentity, float, float]] = {}
        self._writing = threading.Lock()

    def recall(self, forwarded: Forwarded) -> ClientIdentity | None:
        """Return who was accepted for this text, None if nobody is remembered now."""
        found = self._accepted.get(forwarded)
        if found is None:
            return None
        identity, since, until = found
        # The first comparison matters if the clock is set back.
        return identity if since <= time.time() < until else None

    def remember(self, forwarded: Forwarded, identity: ClientIdentity, until: datetime) -> None:
        """Remember an accepted certificate; a full memory drops the oldest one.

        Args:
            forwarded: the text that the front end forwarded.
            identity: who was accepted.
            until: the last second for which the acceptance holds, aware.
        """
        if not self._most_remembered or sum(map(len, filter(None, forwarded))) > LONGEST_KEY:
            return
        now = time.time()
        with self._writing:
            self._accepted.pop(forwarded, None)
            while len(self._accepted) >= self._most_remembered:
                del self._accepted[next(iter(self._accepted))]
            # notAfter and all other ends are inclusive.
            self._accepted[forwarded] = (identity, now, until.timestamp() + 1)


def is_number_to_remember(value: object) -> bool:
    """Tell whether a value is a number of certificates that can be remembered."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and 0 <= value <= LARGEST_MEMORY  # type: ignore[operator]


def why_not_to_remember(value: object) -> str:
    """Return what to write instead of a value that is not such a number."""
    return f"{quote(value)} is not a number of certificates; write 0 to {LARGEST_MEMORY}"
