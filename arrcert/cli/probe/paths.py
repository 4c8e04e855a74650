"""Paths that the platform excludes (`--excluded`), open pages (`--open`), and similar paths."""

from __future__ import annotations

from dataclasses import dataclass

from arrcert.cli.probe.checks import Check, Finding
from arrcert.cli.probe.connection import Answer
from arrcert.cli.probe.forgeries import ALONE, BESIDE
from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site, is_same, listed

_NOWHERE = "no-such-page"


def _percent_encoded(path: str) -> str:
    return f"/%{ord(path[1]):02x}{path[2:]}"


@dataclass(frozen=True)
class ExcludedEdge(Check):
    """A path that is similar to an exclusion path.

    Attributes:
        title: the title of the check.
        path: the exclusion path.
        edge: the template of the similar path, with `{path}`, `{upper}`, `{encoded}` or `{page}`.
        is_meant: whether the platform is documented to exclude it.
    """

    title: str
    path: str
    edge: str
    is_meant: bool = False
    requests: int = 6

    def run(self, site: Site) -> Finding:
        """Send requests with no certificate, with forged headers, and as the allowed client."""
        path = self.path.rstrip("/") or "/"
        target = self.edge.format(
            path=path, upper=path.upper(), encoded=_percent_encoded(path), page=site.path
        )
        forged = [f"{site.front_end.header}: {site.forged()}", *site.verified()]
        nobody = site.ask(None, path=target)
        alone = site.ask(None, forged, path=target)
        beside = site.ask(site.stranger(), forged, path=target)
        own = site.ask(site.allowed, path=target)
        got = listed([("none", nobody), (ALONE, alone), (BESIDE, beside), ("yours", own)])
        sent = f"GET {target} in four ways"
        if not nobody.entered and (alone.entered or beside.entered):
            meaning = (
                "Anybody can get in on this path with a copy of an allowed certificate: where the"
                " front end requests no certificate, it passes on the client's header. Remove the"
                " exclusion paths, and exempt open pages in the site."
            )
            return Finding(sent, got, Verdict.ENTRY, meaning)
        if nobody.entered and "{page}" in self.edge and not self._is_usual(site, nobody):
            meaning = "A path that begins with the excluded path shows the protected page."
            return Finding(sent, got, Verdict.ENTRY, meaning)
        is_excluded = nobody.entered or site.is_sites_refusal(own)
        if nobody.entered:
            meaning = "It is open to everybody."
        elif is_excluded:
            meaning = "Excluded: even your certificate does not reach the site, which refuses."
        elif own.status == nobody.status:
            return Finding(sent, got, Verdict.UNKNOWN, "It is not clear whether it is excluded.")
        else:
            meaning = "Not excluded: your certificate reaches the site."
        verdict = Verdict.OK if is_excluded is self.is_meant or not is_excluded else Verdict.NOTE
        if verdict is Verdict.NOTE:
            meaning += " The platform excludes more than you wrote. The site must check this path."
        return Finding(sent, got, verdict, meaning)

    def _is_usual(self, site: Site, answer: Answer) -> bool:
        """Return whether the excluded path, or one below it, gives everybody this answer."""
        return any(
            is_same(answer, site.ask(None, path=path))
            for path in (self.path, f"{self.path.rstrip('/')}/{_NOWHERE}")
        )


def excluded_edges(path: str) -> list[Check]:
    """Return the checks of an exclusion path.

    Args:
        path: the exclusion path as it is in the platform's settings.
    """
    return [
        ExcludedEdge("excluded", path, "{path}", is_meant=True),
        ExcludedEdge("excluded, below", path, "{path}/" + _NOWHERE, is_meant=True),
        ExcludedEdge("excluded, longer name", path, "{path}" + _NOWHERE),
        ExcludedEdge("excluded, upper case", path, "{upper}/" + _NOWHERE),
        ExcludedEdge("excluded, encoded", path, "{encoded}/" + _NOWHERE),
        ExcludedEdge("excluded, two slashes", path, "/{path}"),
        ExcludedEdge("excluded, dots out of it", path, "{path}/..{page}"),
        ExcludedEdge("excluded, encoded dots", path, "{path}/%2e%2e{page}"),
        ExcludedEdge("excluded, encoded slash", path, "{path}%2f..{page}"),
        ExcludedEdge("excluded, dots into it", path, "/" + _NOWHERE + "/..{path}"),
    ]


@dataclass(frozen=True)
class OpenPage(Check):
    """A page that everybody may see.

    Attributes:
        path: the path of the page.
    """

    path: str
    title: str = "open page"
    requests: int = 2

    def run(self, site: Site) -> Finding:
        """Send a request without a certificate, and one as a stranger."""
        nobody = site.ask(None, path=self.path)
        stranger = site.ask(site.stranger(), path=self.path)
        got = listed([("none", nobody), ("a stranger", stranger)])
        sent = f"GET {self.path} without a certificate, and with a stranger's"
        if nobody.entered and stranger.entered:
            return Finding(sent, got, Verdict.OK, "It is open, as intended.")
        if nobody.status is None or nobody.entered:
            meaning = "It does not give everybody the same answer."
        elif site.refused_by(nobody) == "the site":
            meaning = "The site refuses it. Add the path to ARRCERT_EXEMPT_PATHS."
        elif nobody.status == site.calibration.nobody.status:
            meaning = (
                "The front end refuses it before the site. Use the mode Optional, and exempt the"
                " path in the site."
            )
        else:
            meaning = f"It gives {nobody}: the page is not refused, but it is not shown either."
        return Finding(sent, got, Verdict.NOTE, meaning)


@dataclass(frozen=True)
class OpenEdge(Check):
    """A path that begins like an open page and leads to the protected one.

    Attributes:
        path: the path of the open page.
    """

    path: str
    title: str = "open page, its edges"
    requests: int = 8

    def run(self, site: Site) -> Finding:
        """Request the protected page through paths that begin with the open one."""
        path = self.path.rstrip("/")
        targets = [
            f"{path}/..{site.path}",
            f"{path}/%2e%2e{site.path}",
            f"{path}%2f..{site.path}",
            f"{path}/..;{site.path}",
            f"{path};/..{site.path}",
            f"{path}/../{site.path}",
        ]
        # The answers that everybody may get there: the open page, and pages below it.
        usual = [
            site.ask(None, path=self.path),
            site.ask(None, path=f"{path}/{_NOWHERE}"),
        ]
        answers = [(target, site.ask(None, path=target)) for target in targets]
        entered = [
            target
            for target, answer in answers
            if answer.entered and not any(is_same(answer, other) for other in usual)
        ]
        got = ", ".join(str(answer) for _, answer in answers)
        sent = f"{path}/..{site.path} and five like it, without a certificate"
        if entered:
            meaning = f"{entered[0]} shows the protected page. Exempt exact paths only."
            return Finding(sent, got, Verdict.ENTRY, meaning)
        return Finding(sent, got, Verdict.OK, "None of these paths leads to the protected page.")
