"""Moments are whole seconds of UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from arrcert.moments import timestamp, whole_second


def test_now_is_the_default() -> None:
    """Without a moment the current second is returned."""
    before = int(time.time())
    now = whole_second()
    assert before <= now.timestamp() <= time.time()
    assert now.tzinfo is UTC
    assert now.microsecond == 0


@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_fraction_of_a_second_is_dropped_in_every_zone(hours: int) -> None:
    """The fraction of a second is dropped in any zone, because certificates have whole seconds."""
    moment = datetime(2027, 1, 31, 12, 0, 0, 999_999, UTC)
    written = moment.astimezone(timezone(timedelta(hours=hours)))
    assert whole_second(written) == datetime(2027, 1, 31, 12, 0, 0, 0, UTC)
    assert whole_second(written).tzinfo is UTC


def test_naive_moment_is_refused() -> None:
    """A moment without a time zone is an error that says what to write."""
    with pytest.raises(ValueError, match=r"write datetime\.now\(UTC\), not utcnow\(\)"):
        whole_second(datetime(2027, 1, 31))


def test_timestamp_is_written_as_rfc_3339_does() -> None:
    """A message shows a moment in UTC without fractions."""
    assert timestamp(datetime(2027, 1, 31, 12, 0, 5, tzinfo=UTC)) == "2027-01-31T12:00:05Z"
