"""The certificate header as a client can forge it: under its own name, and under similar names.

Each form is sent three ways. `alone`: the allowed certificate is in the header, and no certificate
is in TLS. A 200 is an entry. `beside`: the allowed certificate is in the header, and a stranger's
certificate is in TLS. A 200 is an entry. `reversed`: a stranger's certificate is in the header, and
the allowed certificate is in TLS. A 200 means that the forged header had no effect on the decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from arrcert.cli.probe.certificates import Client
from arrcert.cli.probe.checks import Check, Finding
from arrcert.cli.probe.connection import Answer
from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site, is_same, listed

ALONE, BESIDE, REVERSED = "alone", "beside", "reversed"
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Form(Check):
    """One way to write the header.

    Attributes:
        title: the title of the check.
        lines: the header lines. `{name}`, `{folded}` and so on are forms of the header's name (see
            `names`), and `{value}` is the certificate.
        first: the lines before `Host`.
        trailer: a line after a chunked body; empty for none.
        without: the lines of the same request without the forged header; empty if no lines are
            left.
        shows: the text that the report shows for the form; by default the lines.
    """

    title: str
    lines: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    trailer: str = ""
    without: tuple[str, ...] = ()
    shows: str = ""

    # In the base class it is an attribute, which mypy lets no property replace.
    @property
    def requests(self) -> int:  # type: ignore[override]
        """The largest number of requests that the check sends."""
        return 4 if self.trailer or self.without else 3

    def run(self, site: Site) -> Finding:
        """Send the form in the three ways."""
        alone = self._send(site, None, site.forged())
        beside = self._send(site, site.stranger(), site.forged())
        other = self._send(site, site.allowed, site.forged_stranger())
        baseline = None
        if site.is_sites_refusal(other) and (self.trailer or self.without):
            # The site may refuse the same request without the forged line, too. The baseline shows
            # that.
            without = [line.format(**names(site)) for line in self.without]
            if self.trailer:
                baseline = site.ask(site.allowed, [CHUNKED], body=b"1\r\nx\r\n0\r\n\r\n")
            else:
                baseline = site.ask(site.allowed, without)
        return judge(site, self._shown(site), alone, beside, other, baseline)

    def _shown(self, site: Site) -> str:
        text = self.shows or " / ".join([*self.first, *self.lines, *filter(None, [self.trailer])])
        shown = text.format(**names(site), value="CERT")
        return shown.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")

    def _send(self, site: Site, client: Client | None, value: str) -> Answer:
        words = names(site) | {"value": value}
        lines = [line.format(**words) for line in self.lines]
        first = [line.format(**words) for line in self.first]
        lines += site.verified()
        if not self.trailer:
            return site.ask(client, lines, first=first)
        body = f"1\r\nx\r\n0\r\n{self.trailer.format(**words)}\r\n\r\n".encode("latin-1")
        return site.ask(client, [*lines, CHUNKED], first=first, body=body)


def names(site: Site) -> dict[str, str]:
    """Return the forms of the header's name that the forgeries use.

    Args:
        site: the site, whose front end says the name of the header.
    """
    name = site.front_end.header
    return {
        "name": name,
        "case": name.swapcase(),
        "folded": name.replace("-", "_"),
        "half": "_".join(name.rsplit("-", 1)),
        "dotted": name.replace("-", "."),
        "cgi": "HTTP_" + name.upper().replace("-", "_"),
    }


def judge(
    site: Site,
    sent: str,
    alone: Answer,
    beside: Answer,
    other: Answer,
    baseline: Answer | None = None,
) -> Finding:
    """Say what the three answers to one form mean.

    Args:
        site: the site that answered.
        sent: the text that the report shows for the form.
        alone: the answer to the forged header without a certificate in TLS.
        beside: the answer to the forged header with a stranger's certificate in TLS.
        other: the answer to a stranger's certificate in the header with the allowed certificate in
            TLS.
        baseline: the answer to the same request of the allowed client without the forged header;
            None if the form changes nothing else in the request.
    """
    got = listed([(ALONE, alone), (BESIDE, beside), (REVERSED, other)])
    name = site.front_end.header
    if alone.entered or beside.entered:
        who = "Anybody" if alone.entered else "Anybody with any certificate"
        meaning = (
            f"{who} can get in with a copy of an allowed certificate, and certificates are"
            f" public. The front end must remove every header that a client sends as {name} or"
            " under a similar name, and the server behind it must not fold header names."
        )
        return Finding(sent, got, Verdict.ENTRY, meaning)
    if any(answer.failure == "timed out" for answer in (alone, beside, other)):
        return Finding(sent, got, Verdict.UNKNOWN, "No answer in time; try again.")
    if any((answer.status or 0) >= 500 for answer in (alone, beside, other)):
        meaning = "Nobody gets in, but the request causes a server error. Read the server's log."
        return Finding(sent, got, Verdict.NOTE, meaning)
    if other.entered or (baseline is not None and is_same(other, baseline)):
        meaning = "The forged header has no effect: it is removed, replaced or not read."
        return Finding(sent, got, Verdict.OK, meaning)
    if site.is_sites_refusal(other):
        meaning = (
            "The site refuses the request, so the forged header reached the site: the front end"
            " passes on what clients send. Only the site's check keeps forged headers out. Look"
            " for this check in the site's log."
        )
        return Finding(sent, got, Verdict.NOTE, meaning)
    return Finding(sent, got, Verdict.OK, "The whole request is refused.")


class OtherHeaders(Check):
    """The headers of other front ends, which a site may read by mistake."""

    title = "other front ends' headers"
    requests = 6

    def run(self, site: Site) -> Finding:
        """Send all these headers. No request contains the same name twice."""
        answers: list[tuple[str, Answer]] = []
        for headers in site.other_headers():
            lines = [f"{name}: {value}" for name, value in headers.items()]
            lines.append("X-Client-Verify: SUCCESS")
            answers.append((ALONE, site.ask(None, lines)))
            answers.append((BESIDE, site.ask(site.stranger(), lines)))
        got = listed(answers)
        sent = ", ".join(sorted({name for headers in site.other_headers() for name in headers}))
        if any(answer.entered for _, answer in answers):
            meaning = "The site reads a header of another front end. It must read only one."
            return Finding(sent, got, Verdict.ENTRY, meaning)
        return Finding(sent, got, Verdict.OK, "The site reads none of these headers.")


class Chunked(Check):
    """A chunked body. The front end may then write its header after Transfer-Encoding."""

    title = "chunked request"
    requests = 1

    def run(self, site: Site) -> Finding:
        """Send a chunked GET as the allowed client."""
        sent = "a chunked GET with your certificate"
        answer = site.ask(site.allowed, [CHUNKED], body=b"1\r\nx\r\n0\r\n\r\n")
        if answer.entered:
            return Finding(sent, str(answer), Verdict.OK, "It gets in like other requests.")
        if site.is_sites_refusal(answer):
            meaning = (
                "The site refuses it: the front end writes its header after Transfer-Encoding,"
                " where uvicorn with httptools also puts trailers. Use uvicorn --http h11."
            )
            return Finding(sent, str(answer), Verdict.NOTE, meaning)
        meaning = "A server refuses chunked GETs. That may be intended."
        return Finding(sent, str(answer), Verdict.NOTE, meaning)


class HopByHop(Check):
    """A client that declares the header hop-by-hop (RFC 9110 section 7.6.1)."""

    title = "hop-by-hop"
    requests = 1

    def run(self, site: Site) -> Finding:
        """Name the header in `Connection`, as the allowed client."""
        name = site.front_end.header
        sent = f"Connection: close, {name}, with your certificate"
        answer = site.ask(site.allowed, [f"Connection: close, {name}"])
        if answer.entered:
            return Finding(sent, str(answer), Verdict.OK, "The front end's header is not removed.")
        meaning = (
            "A client can make a proxy remove the front end's header. That locks out only this"
            " client. The next check shows whether it can do more."
        )
        return Finding(sent, str(answer), Verdict.NOTE, meaning)


FORGERIES: tuple[Check, ...] = (
    Form("forged header", ("{name}: {value}",)),
    Form("other case", ("{case}: {value}",)),
    Form("twice", ("{name}: {value}", "{name}: {value}")),
    Form("joined by a comma", ("{name}: {value},{value}",)),
    Form("look-alike, underscores", ("{folded}: {value}",)),
    Form("look-alike, one underscore", ("{half}: {value}",)),
    Form("look-alike, dots", ("{dotted}: {value}",)),
    Form("look-alike, CGI name", ("{cgi}: {value}",)),
    Form("look-alike beside empty", ("{name}:", "{folded}: {value}")),
    Form("space before the colon", ("{name} : {value}",)),
    Form("tab before the colon", ("{name}\t: {value}",)),
    Form("space before the name", first=(" {name}: {value}",)),
    Form("folded line", ("X-Probe: a\r\n {name}: {value}",)),
    Form("folded value", ("{name}:\r\n {value}",)),
    Form("lone CR", ("X-Probe: a\r{name}: {value}",)),
    Form("lone LF", ("X-Probe: a\n{name}: {value}",)),
    Form("bytes 0B and 85", ("X-Probe: a\x0b{name}: {value}", "X-Other: a\x85{name}: {value}")),
    HopByHop(),
    Form(
        "hop-by-hop, look-alike",
        ("Connection: close, {name}", "{folded}: {value}"),
        without=("Connection: close, {name}",),
    ),
    OtherHeaders(),
    Chunked(),
    Form("trailer", trailer="{name}: {value}", shows="trailer {name}: {value}"),
    Form("trailer, look-alike", trailer="{folded}: {value}", shows="trailer {folded}: {value}"),
)
