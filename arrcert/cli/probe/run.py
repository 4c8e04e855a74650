"""The order of the checks, and the function that runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from arrcert.cli.probe import calibration, paths
from arrcert.cli.probe.calibration import Expired, Mode, NoCalibrationError, WhoRefuses, calibrate
from arrcert.cli.probe.checks import Check
from arrcert.cli.probe.forgeries import FORGERIES
from arrcert.cli.probe.report import Row, Verdict
from arrcert.cli.probe.sessions import SESSIONS
from arrcert.cli.probe.site import SilentError, Site
from arrcert.cli.probe.sizes import SIZES
from arrcert.cli.probe.transport import TRANSPORT
from arrcert.cli.probe.tunnels import TUNNELS

CALIBRATING = 3
"""The number of checks that belong to the calibration."""


def checks_of(excluded_paths: Sequence[str] = (), open_paths: Sequence[str] = ()) -> list[Check]:
    """Return the checks that come after the calibration, in order.

    Args:
        excluded_paths: paths that the platform excludes.
        open_paths: pages that are meant to be open.
    """
    checks: list[Check] = [WhoRefuses(), Mode(), Expired()]
    checks += [*TRANSPORT, *FORGERIES, *TUNNELS, *SESSIONS, *SIZES]
    for path in excluded_paths:
        checks += paths.excluded_edges(path)
    for path in open_paths:
        checks += [paths.OpenPage(path), paths.OpenEdge(path)]
    return checks


def most_requests(checks: Sequence[Check]) -> int:
    """Return how many requests a run sends at most.

    Args:
        checks: the checks that `checks_of` returned.
    """
    return calibration.REQUESTS + sum(check.requests for check in checks)


def run(site: Site, checks: Sequence[Check]) -> Iterator[Row]:
    """Calibrate, then run the checks; yield the row of each check when it is done.

    Args:
        site: the site.
        checks: the checks that `checks_of` returned.

    Raises:
        NoCalibrationError: the probe cannot judge the site.

    If the site stops answering, the remaining rows say that they were not tried.
    """
    try:
        yield from calibrate(site)
    except SilentError:
        raise NoCalibrationError("the site has stopped answering") from None
    silent = False
    for number, check in enumerate(checks, CALIBRATING + 1):
        site.check = f"{number:02} {check.title}"
        if silent:
            yield Row(site.check, "nothing", "-", Verdict.UNKNOWN, "Not tried.")
            continue
        try:
            yield Row(site.check, *check.run(site))
        except SilentError:
            silent = True
            meaning = "The site has stopped answering, so the probe stops asking."
            yield Row(site.check, "several requests", "timed out", Verdict.UNKNOWN, meaning)
