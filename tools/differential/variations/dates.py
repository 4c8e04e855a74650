"""Dates (RFC 5280 section 4.1.2.5). Both ends of the validity are inclusive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tools.differential import der
from tools.differential.certificates import AT, Certificate, generalized, moment
from tools.differential.chains import Draft
from tools.differential.registry import ROLES, variation

_SECOND = timedelta(seconds=1)


def _dates(text: str, *, begin: bytes | None = None, end: bytes | None = None) -> None:
    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.not_before = begin or certificate.not_before
        certificate.not_after = end or certificate.not_after

    variation(ROLES, text, "dates")(change)


def _utc(text: str) -> bytes:
    return der.tlv(der.UTC_TIME, text.encode())


def _generalized(text: str) -> bytes:
    return der.tlv(der.GENERALIZED_TIME, text.encode())


_dates("expired long ago", end=moment(AT - timedelta(days=9)))
_dates("expired one second ago", end=moment(AT - _SECOND))
_dates("ends at this second", end=moment(AT))
_dates("begins at this second", begin=moment(AT))
_dates("begins in one second", begin=moment(AT + _SECOND))
_dates("begins later", begin=moment(AT + timedelta(days=9)))
_dates("ends before it begins", begin=moment(AT + _SECOND), end=moment(AT - _SECOND))
_dates("ends in 2049 as UTCTime", end=_utc("491231235959Z"))
_dates("ends in 2050", end=moment(datetime(2050, 1, 1, tzinfo=UTC)))
_dates("has no end (9999)", end=moment(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
_dates("begins in 1950", begin=moment(datetime(1950, 1, 1, tzinfo=UTC)))
_dates("GeneralizedTime before 2050", end=generalized(AT + timedelta(days=90)))
_dates("GeneralizedTime before 2050 as the begin", begin=generalized(AT - timedelta(days=90)))
_dates("UTCTime without seconds", end=_utc("2712312359Z"))
_dates("UTCTime with an offset", end=_utc("271231235959+0000"))
_dates("UTCTime without Z", end=_utc("271231235959"))
_dates("GeneralizedTime with a fraction", end=_generalized("20501231235959.5Z"))
_dates("GeneralizedTime with an offset", end=_generalized("20501231235959+0100"))
_dates("month 13", end=_utc("271331235959Z"))
_dates("February 30", end=_utc("280230000000Z"))
_dates("second 60", end=_utc("271231235960Z"))
_dates("year 0000", begin=_generalized("00000101000000Z"))
_dates("letters instead of digits", end=_utc("27123123595xZ"))
_dates("empty time", end=_utc(""))
_dates("time as text", end=der.tlv(der.UTF8, b"271231235959Z"))
