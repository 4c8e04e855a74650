"""The result of a probe: one row for each check, and a verdict about all of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Verdict(StrEnum):
    """What one check says about the site."""

    OK = "ok"
    """The site behaves as it should."""
    ENTRY = "entry"
    """Somebody without the private key of an allowed certificate got in."""
    NOTE = "note"
    """Nobody got in, but the operator should know about this."""
    UNKNOWN = "unknown"
    """The check could not tell."""


class Row(NamedTuple):
    """One check.

    Attributes:
        check: the number and the title of the check. The common names of its certificates contain
            them.
        sent: what the probe sent.
        got: what came back.
        verdict: the judgement about the site.
        meaning: a sentence that explains the verdict and says what to do.
    """

    check: str
    sent: str
    got: str
    verdict: Verdict
    meaning: str


class Report(NamedTuple):
    """All rows of a run.

    Attributes:
        rows: the rows, in the order of the checks.
        no_calibration: why the probe cannot judge the site; empty if the calibration succeeded.
    """

    rows: Sequence[Row]
    no_calibration: str = ""

    @property
    def verdict(self) -> str:
        """The verdict in a sentence that begins with `no entry`, `entry` or `no calibration`."""
        if self.no_calibration:
            return f"no calibration: {self.no_calibration}"
        entries = [row.check for row in self.rows if row.verdict is Verdict.ENTRY]
        if entries:
            return f"entry: somebody without your private key gets in: {'; '.join(entries)}"
        open_questions = sum(row.verdict is Verdict.UNKNOWN for row in self.rows)
        if open_questions:
            plural = "checks" if open_questions > 1 else "check"
            return f"no entry: nobody got in; {open_questions} {plural} could not tell"
        return "no entry: nobody got in without your private key"

    @property
    def exit_code(self) -> int:
        """0 if nobody got in, 1 if somebody did, 2 without a calibration."""
        if self.no_calibration:
            return 2
        return int(any(row.verdict is Verdict.ENTRY for row in self.rows))

    def as_json(self) -> dict[str, Any]:
        """Return the report in the shape of `docs/probe.schema.json`."""
        return {"rows": [row._asdict() for row in self.rows], "verdict": self.verdict}
