"""The base class of the checks, and the result of a check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site


class Finding(NamedTuple):
    """The result of a check: a row of the report without the name of the check.

    Attributes:
        sent: what was sent.
        got: what came back.
        verdict: the judgement about the site.
        meaning: a sentence that explains the verdict and says what to do.
    """

    sent: str
    got: str
    verdict: Verdict
    meaning: str


class Check(ABC):
    """One check of the site.

    Attributes:
        title: the title of the check. It has at most 26 characters, because the common names of the
            certificates contain it.
        requests: the largest number of requests that the check sends.
    """

    title: str
    requests: int

    @abstractmethod
    def run(self, site: Site) -> Finding:
        """Run the check.

        Args:
            site: the site, with its `calibration` set.
        """
