"""Times: rounded to whole seconds as in certificates, and formatted for messages."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def whole_second(at: datetime | None = None) -> datetime:
    """Return a time in UTC in whole seconds, as in certificates (RFC 5280 section 4.1.2.5).

    Args:
        at: a timezone-aware `datetime`; now by default.

    Raises:
        ValueError: `at` is naive.
    """
    if at is None:
        return datetime.fromtimestamp(int(time.time()), UTC)
    if at.utcoffset() is None:
        raise ValueError("at must be an aware datetime; write datetime.now(UTC), not utcnow()")
    return at.astimezone(UTC).replace(microsecond=0)


def timestamp(moment: datetime) -> str:
    """Return a timezone-aware `datetime` in UTC as text for a message: `2027-01-31T12:00:00Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
