"""What a check is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site


class Finding(NamedTuple):
    """What a check found: a row without its name.

    Attributes:
        sent: what was sent.
        got: what came back.
        verdict: what that says about the site.
        meaning: the same in a sentence, and what to do.
    """

    sent: str
    got: str
    verdict: Verdict
    meaning: str


class Check(ABC):
    """One question to the site.

    Attributes:
        title: at most 26 characters, because common names hold it.
        requests: how many it sends at most.
    """

    title: str
    requests: int

    @abstractmethod
    def run(self, site: Site) -> Finding:
        """Ask the site.

        Args:
            site: which is calibrated.
        """
