"""Each hole that is planted in a front end or a site is found, and a site without holes passes.

The front ends here are Python, in this process; `tests/e2e/test_probe.py` has the real ones.
"""

from __future__ import annotations

import socket
import threading

import pytest

from arrcert.testing import IssuedCertificate

from .planted import PlantedSite

FORGED = {"forged header", "other case"}
LOOK_ALIKES = {
    "look-alike, underscores",
    "look-alike, one underscore",
    "look-alike, dots",
    "look-alike, CGI name",
    "look-alike beside empty",
    "hop-by-hop, look-alike",
}

HOLES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "passes it on over HTTP/2": (
        ("passes on", "HTTP/2"),
        FORGED | {"WebSocket", "HTTP/2, forged header"},
    ),
    "adds its own behind it, and the site takes the first": (
        ("passes on", "appends", "believes one of several"),
        FORGED | {"WebSocket", "twice", "joined by a comma"},
    ),
    "a server folds names, over HTTP/2": (
        ("folds", "HTTP/2"),
        LOOK_ALIKES | {"HTTP/2, look-alike"},
    ),
    "a server trims names": (
        ("spaces",),
        {"space before the colon", "tab before the colon", "space before the name"},
    ),
    "a server takes a folded line for a header": (
        ("folded line",),
        {"folded line", "space before the name"},
    ),
    "a server takes a lone CR for the end of a line": (("lone CR",), {"lone CR"}),
    "a server takes a lone LF for the end of a line": (("lone LF",), {"lone LF"}),
    "a server takes 0B for the end of a line": (("0B",), {"bytes 0B and 85"}),
    "a server takes 85 for the end of a line": (("85",), {"bytes 0B and 85"}),
    "trailers over HTTP/2": (("trailers", "HTTP/2"), {"trailer", "HTTP/2, trailer"}),
    "trailers that are folded": (
        ("trailers", "folds"),
        LOOK_ALIKES | {"trailer", "trailer, look-alike"},
    ),
    "line ends over HTTP/2": (("HTTP/2", "HTTP/2 line ends"), {"HTTP/2, line end in value"}),
    "passes on an upgrade to h2c": (("h2c",), {"h2c upgrade"}),
    "opens WebSockets unchecked": (("WebSockets", "WebSockets unchecked"), {"WebSocket"}),
    "remembers who came before": (("remembers",), {"another, beside yours"}),
    "serves plain HTTP": (("plain HTTP", "passes on"), FORGED | {"WebSocket", "plain HTTP"}),
    "reads the headers of other front ends": (("reads others",), {"other front ends' headers"}),
    "drops its header and folds another": (("hop-by-hop", "folds"), LOOK_ALIKES),
}
"""For each hole of a site: what is planted, and the checks that must find an entry."""

RIGHT: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "forwards any certificate": ((), set()),
    "HTTP/2": (("HTTP/2",), set()),
    "requires a certificate": (("requires",), set()),
    "requires it in TLS": (("TLS requires",), set()),
    "resets streams": (("HTTP/2", "resets"), {"HTTP/2"}),
    "closes HTTP/2": (("HTTP/2", "HTTP/2 closes", "says close", "closes"), {"HTTP/2"}),
    "speaks no HTTP/2": (("HTTP/2", "HTTP/2 garbage"), {"HTTP/2"}),
    "goes away": (("HTTP/2", "HTTP/2 goes away"), {"HTTP/2"}),
    "upgrades to h2c and refuses": (("h2c", "h2c refuses"), {"h2c upgrade"}),
    "forgets the certificate": (("forgets",), {"keep-alive"}),
    "checks certificates itself": (("checks itself",), {"a stranger", "expired certificate"}),
    "is strict": (
        (
            "checks dates",
            "small bodies",
            "names CAs",
            "no TLS 1.3",
            "refuses chains",
            "no chunks",
            "short headers",
            "closes",
        ),
        {
            "expired certificate",
            "bodies over 100 KB",
            "CAs named to clients",
            "TLS versions",
            "client with a chain",
            "chunked request",
            "header sizes",
            "certificate sizes",
        },
    ),
    "is old": (
        (
            "old TLS",
            "small bodies",
            "helped by Expect",
            "late header",
            "no sessions",
            "hop-by-hop",
            "WebSockets",
        ),
        {"TLS versions", "bodies over 100 KB", "chunked request", "hop-by-hop"},
    ),
}
"""For each site without holes: what is unusual about it, and the checks that note something."""


@pytest.mark.parametrize("name", HOLES)
def test_a_planted_hole_is_found(probe, alice: IssuedCertificate, name: str) -> None:
    """The checks for a hole find an entry, and the other checks find none."""
    holes, expected = HOLES[name]
    with PlantedSite(alice, *holes) as site:
        probed = probe(site.url, f"--http-port={site.plain_port}")
    found = probed.entries
    if "remembers" in holes:
        # Each request behind the allowed client enters, so other checks may find an entry too.
        assert expected <= found
    else:
        assert found == expected
    assert probed.exit_code == 1
    assert probed.verdict.startswith("entry: somebody without your private key gets in: ")
    assert all(title in probed.verdict for title in expected)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_site_is_not_accused(probe, alice: IssuedCertificate, name: str) -> None:
    """A site that accepts no forged request gives no entry, even if it is otherwise unusual."""
    holes, expected = RIGHT[name]
    with PlantedSite(alice, *holes) as site:
        probed = probe(site.url, f"--http-port={site.plain_port}")
    assert probed.entries == set()
    assert probed.exit_code == 0, probed.verdict
    notes = {title for title, row in probed.rows.items() if row["verdict"] == "note"}
    assert notes == expected
    assert probed.verdict.startswith("no entry: nobody got in")


@pytest.mark.parametrize(
    ("hole", "why"),
    [
        ("open", "/page is open to everybody"),
        ("never asks", "change the mode from Ignore to Required"),
        ("redirects", "302 redirects"),
        ("breaks", "gives 500 and not 403"),
        ("strict", "your certificate gets 403"),
    ],
)
def test_no_calibration(probe, alice: IssuedCertificate, hole: str, why: str) -> None:
    """The probe gives no verdict if the allowed client is denied, or if every client enters."""
    with PlantedSite(alice, hole) as site:
        probed = probe(site.url)
        assert len(site.requests) <= 3
    assert probed.exit_code == 2
    assert probed.verdict.startswith("no calibration: ")
    assert why in probed.verdict


def test_a_site_that_is_not_there(probe) -> None:
    """If the site does not answer, there is no calibration."""
    probed = probe("https://127.0.0.1:9/")
    assert probed.exit_code == 2
    assert "no calibration: nothing listens at 127.0.0.1:9; check the host" in probed.verdict
    assert probed.rows["no certificate"]["meaning"] == "No answer came."
    probed = probe("https://[::1]:9/")
    assert "[::1]:9" in probed.verdict


def test_a_site_that_does_not_speak_tls(probe) -> None:
    """A server that closes every connection is no site whose page is open."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        closing = threading.Thread(target=lambda: listening.accept()[0].close())
        closing.start()
        probed = probe(f"https://127.0.0.1:{port}/")
        closing.join()
    assert probed.exit_code == 2
    assert f"no calibration: no answer came from 127.0.0.1:{port} (" in probed.verdict


def test_any_certificate(probe, alice: IssuedCertificate) -> None:
    """A site that accepts any certificate is found by the stranger of the calibration."""
    with PlantedSite(alice, "any certificate") as site:
        probed = probe(site.url)
    assert probed.exit_code == 1
    assert {"a stranger", "expired certificate", "certificate sizes"} <= probed.entries
    assert probed.rows["who refuses"]["verdict"] == "unknown"


def test_excluded_paths(probe, alice: IssuedCertificate) -> None:
    """A header that the front end forwards only below an exclusion path is found only there."""
    with PlantedSite(alice, "excluded") as site:
        probed = probe(site.url, "--excluded=/public")
    assert {"excluded", "excluded, below", "excluded, longer name"} <= probed.entries
    assert all(title.startswith("excluded") for title in probed.entries)
    with PlantedSite(alice) as site:
        probed = probe(site.url, "--excluded=/public")
    assert probed.entries == set()
    assert probed.rows["excluded"]["verdict"] == "ok"
    assert probed.rows["excluded, upper case"]["verdict"] == "note"
    assert "Not excluded" in probed.rows["excluded, encoded"]["meaning"]


def test_a_protected_page_by_way_of_an_excluded_path(probe, alice: IssuedCertificate) -> None:
    """A path that leads from an excluded folder to the protected page is an entry."""
    with PlantedSite(alice, "dots") as site:
        probed = probe(site.url, "--excluded=/public", "--open=/health")
    assert probed.entries == {"excluded, dots out of it", "open page, its edges"}


def test_an_excluded_page_that_everybody_sees(probe, alice: IssuedCertificate) -> None:
    """An excluded folder that is open to all clients is no entry, for every path below it."""
    with PlantedSite(alice, "public is open") as site:
        probed = probe(site.url, "--excluded=/public")
    assert probed.entries == set()
    assert probed.rows["excluded"]["meaning"] == "It is open to everybody."


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("holes", "path", "verdict", "words"),
    [
        ((), "/health", "ok", "It is open, as intended."),
        ((), "/page", "note", "Add the path to ARRCERT_EXEMPT_PATHS"),
        (("requires",), "/health", "note", "The front end refuses it before the site"),
        (("TLS requires",), "/health", "note", "It does not give everybody the same answer"),
        (("breaks elsewhere",), "/elsewhere", "note", "It gives 500"),
    ],
)
def test_open_pages(probe, alice, holes, path, verdict, words) -> None:
    """The probe requests each page that is meant to be open, and names what denies it."""
    with PlantedSite(alice, *holes) as site:
        probed = probe(site.url, f"--open={path}")
    assert probed.rows["open page"]["verdict"] == verdict
    assert words in probed.rows["open page"]["meaning"]


def test_a_prefix_that_is_exempt(probe, alice: IssuedCertificate) -> None:
    """If every path below an open page shows that page, none of them is a hole."""
    with PlantedSite(alice, "prefix exempt") as site:
        probed = probe(site.url, "--open=/health")
    assert probed.entries == set()


def test_a_site_that_falls_silent(probe, alice: IssuedCertificate, monkeypatch) -> None:
    """The probe stops when the site stops answering, and names the rows that it did not try."""
    from arrcert.cli.probe import connection

    monkeypatch.setattr(connection, "SECONDS", 0.1)
    with PlantedSite(alice, "silent") as site:
        probed = probe(site.url)
        assert len(site.requests) < 20
    assert probed.exit_code == 0
    assert probed.verdict.endswith("checks could not tell")
    assert probed.rows["session resumption"]["meaning"] == "Not tried."
    assert any("stops asking" in row["meaning"] for row in probed.rows.values())


def test_a_site_that_stumbles(probe, alice: IssuedCertificate) -> None:
    """An answer with status 500 is noted."""
    with PlantedSite(alice, "stumbles", "passes on") as site:
        probed = probe(site.url)
    assert probed.rows["twice"]["verdict"] == "note"
    assert "server error" in probed.rows["twice"]["meaning"]


def test_renegotiation_is_seen(probe, alice: IssuedCertificate) -> None:
    """The probe reports that a site requests the certificate late, and what that costs."""
    with PlantedSite(alice, "renegotiates", "no TLS 1.3") as site:
        probed = probe(site.url)
    assert probed.rows["mode"]["verdict"] == "note"
    assert "renegotiation" in probed.rows["mode"]["got"]
    assert probed.entries == set()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("holes", "got"),
    [
        ((), "Optional, asked for in the first handshake"),
        (("requires",), "Required, asked for in the first handshake"),
    ],
)
def test_the_mode_is_seen(probe, alice: IssuedCertificate, holes, got: str) -> None:
    """The probe finds the mode by what refuses a client without a certificate."""
    with PlantedSite(alice, *holes) as site:
        probed = probe(site.url)
    assert probed.rows["mode"]["got"] == got
    assert probed.rows["who refuses"]["verdict"] == "ok"


def test_rows_are_found_in_the_sites_log(probe, alice: IssuedCertificate) -> None:
    """Each check presents a certificate whose common name begins with the check's row."""
    with PlantedSite(alice, "passes on") as site:
        probed = probe(site.url)
    assert all(name == "alice" or name.startswith("arrcert probe ") for name in site.seen)
    row = probed.rows["forged header"]["check"]
    assert f"arrcert probe {row}, stranger in header" in site.seen
    with PlantedSite(alice) as site:
        probe(site.url)
    assert f"arrcert probe {row}, stranger in TLS" in site.seen
    assert not any(name.endswith("in header") for name in site.seen)


def test_without_handshake_messages(
    probe, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Python shows no handshake messages, the rows that need them say so."""
    from arrcert.cli.probe import calibration, connection

    for module in (calibration, connection):
        monkeypatch.setattr(module, "can_see_handshakes", lambda: False)
    with PlantedSite(alice) as site:
        probed = probe(site.url)
    meaning = probed.rows["mode"]["meaning"]
    assert meaning == "This version of Python does not show handshake messages."
    assert probed.rows["CAs named to clients"]["verdict"] == "unknown"


@pytest.mark.matrix
def test_a_version_that_this_computer_does_not_speak(
    probe, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TLS version that the local OpenSSL does not support is not reported as refused."""
    from arrcert.cli.probe import connection

    context_of = connection._context

    def without_old(endpoint, version, alpn):
        if version is not None and version < connection.ssl.TLSVersion.TLSv1_2:
            raise connection.NotSpokenError
        return context_of(endpoint, version, alpn)

    monkeypatch.setattr(connection, "_context", without_old)
    with PlantedSite(alice) as site:
        probed = probe(site.url)
    assert probed.rows["TLS versions"]["got"].startswith("1.0 cannot be tried, 1.1 cannot be")


def test_nothing_listens_for_plain_http(probe, alice: IssuedCertificate) -> None:
    """A site without plain HTTP is accepted, and an answer over plain HTTP is noted."""
    with PlantedSite(alice) as site:
        probed = probe(site.url, "--http-port=9")
    assert probed.rows["plain HTTP"]["meaning"] == "Nothing answers there."
    with PlantedSite(alice, "plain HTTP") as site:
        probed = probe(site.url, f"--http-port={site.plain_port}", "--front-end=nginx")
    assert probed.rows["plain HTTP"]["verdict"] == "note"
