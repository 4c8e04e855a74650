"""The probe sends what it announces: the number of requests, their rate, and one framing."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from arrcert.cli.probe.calibration import calibrate
from arrcert.cli.probe.certificates import Client, Mint
from arrcert.cli.probe.connection import Connection, Endpoint
from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.run import checks_of, most_requests
from arrcert.cli.probe.site import Pace, Site
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.testing import IssuedCertificate

from .planted import PlantedSite


@pytest.fixture
def site_of(alice: IssuedCertificate, client_files: list[str], tmp_path: Path) -> Any:
    """A function that makes the probe's view of a planted site."""

    def site_of(planted: PlantedSite) -> Site:
        certificate, key = (Path(option.partition("=")[2]) for option in client_files)
        return Site(
            Endpoint("localhost", planted.port, insecure=True),
            "/page",
            front_end=FRONT_ENDS["app-service"],
            allowed=Client(certificate, key, alice.certificate.x509),
            mint=Mint(tmp_path),
            pace=Pace(10_000),
            plain_port=planted.plain_port,
        )

    return site_of


@pytest.mark.parametrize(
    "holes",
    [
        ("h2c", "HTTP/2", "WebSockets", "trailers", "folds", "hop-by-hop", "remembers"),
        ("late header", "hop-by-hop", "small bodies", "dots"),
    ],
)
def test_no_check_sends_more_than_it_says(
    alice: IssuedCertificate, site_of: Any, holes: tuple[str, ...]
) -> None:
    """Each check sends at most the number of requests that the probe announces for it."""
    with PlantedSite(alice, *holes) as planted:
        site = site_of(planted)
        assert len(list(calibrate(site))) == site.pace.count == 3
        checks = checks_of(["/public"], ["/health"])
        for number, check in enumerate(checks, 4):
            before = site.pace.count
            site.check = f"{number:02} {check.title}"
            check.run(site)
            assert site.pace.count - before <= check.requests, check.title
        assert site.pace.count <= most_requests(checks)


def test_no_second_request_hides_in_a_first(
    alice: IssuedCertificate, site_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has at most one length, and its body has exactly that length."""
    sent: list[tuple[bytes, bytes]] = []
    exchange = Connection.exchange

    def spy(connection: Connection, head: bytes, body: bytes = b"", *, waits: bool = False) -> Any:
        sent.append((head, body))
        return exchange(connection, head, body, waits=waits)

    monkeypatch.setattr(Connection, "exchange", spy)
    with PlantedSite(alice) as planted:
        site = site_of(planted)
        list(calibrate(site))
        for number, check in enumerate(checks_of(["/public"], ["/health"]), 4):
            site.check = f"{number:02} {check.title}"
            check.run(site)
        assert len(planted.requests) == len(sent)
    assert len(sent) > 150
    for head, body in sent:
        assert head.count(b"\r\n\r\n") == 1
        assert head.endswith(b"\r\n\r\n")
        lengths = re.findall(rb"(?im)content.length[^:]*:\s*(\d+)", head)
        chunked = re.findall(rb"(?im)transfer.encoding", head)
        assert len(lengths) + len(chunked) <= 1, head
        if lengths:
            assert len(body) == int(lengths[0])
        elif chunked:
            assert re.fullmatch(rb"1\r\nx\r\n0\r\n([^\r\n]+\r\n)?\r\n", body)
        else:
            assert body == b""


def test_the_rate_is_kept() -> None:
    """The time between two requests is at least the time that the rate allows."""
    pace = Pace(50)
    began = time.monotonic()
    for _ in range(6):
        pace.wait()
    assert time.monotonic() - began >= 5 / 50
    assert pace.count == 6


def test_common_names_fit() -> None:
    """The title of each check fits into a common name, whose upper bound is 64 characters."""
    for check in checks_of(["/x"], ["/y"]):
        assert len(f"arrcert probe 00 {check.title}, stranger in header") <= 64
    titles = [check.title for check in checks_of(["/x"], ["/y"])]
    assert len(set(titles)) == len(titles)


def test_a_site_that_vanishes(alice: IssuedCertificate, site_of: Any) -> None:
    """If the server vanishes after the calibration, no check fails and none finds an entry."""
    with PlantedSite(alice) as planted:
        site = site_of(planted)
        list(calibrate(site))
    site.endpoint = site.endpoint._replace(port=9)
    site.plain_port = 9
    for number, check in enumerate(checks_of(["/public"], ["/health"]), 4):
        site.check = f"{number:02} {check.title}"
        assert check.run(site).verdict is not Verdict.ENTRY
