"""The certificate header, written by the client: by its name, and by whatever looks like it.

Each form is sent three ways. Alone, with the allowed certificate in the header: a 200 is an entry.
Beside a stranger's certificate in TLS: a 200 is an entry. With a stranger's in the header beside
the allowed one in TLS: a 200 says that the header never reached the decision.
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
        title: of the check.
        lines: header lines; `{name}`, `{folded}` and the like are forms of the header's name, and
            `{value}` is the certificate.
        first: lines that stand before `Host`.
        trailer: a line that stands behind a chunked body; empty for none.
        without: the lines that are left without the forged one, if there are any.
        shows: how the form is shown.
    """

    title: str
    lines: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    trailer: str = ""
    without: tuple[str, ...] = ()
    shows: str = ""

    @property
    def requests(self) -> int:  # type: ignore[override]
        """How many it sends at most."""
        return 4 if self.trailer or self.without else 3

    def run(self, site: Site) -> Finding:
        """Send the form three ways."""
        alone = self._send(site, None, site.forged())
        beside = self._send(site, site.stranger(), site.forged())
        other = self._send(site, site.allowed, site.forged_stranger())
        baseline = None
        if site.is_sites_refusal(other) and (self.trailer or self.without):
            # Perhaps the site refuses the request without the forged line, too.
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
        site: its front end names the header.
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
        site: which answered.
        sent: the form as it is shown.
        alone: to the forged header without a certificate in TLS.
        beside: to the forged header beside a stranger's.
        other: to a stranger's header beside the allowed certificate.
        baseline: to the same request of the allowed client without the header; by default its
            answer to a simple GET.
    """
    got = listed([(ALONE, alone), (BESIDE, beside), (REVERSED, other)])
    name = site.front_end.header
    if alone.entered or beside.entered:
        who = "Anybody" if alone.entered else "Anybody with any certificate"
        meaning = (
            f"{who} gets in who knows an allowed certificate, which is public. The front end must"
            f" remove what clients send as {name} or like it, and a server behind it must not fold"
            " names."
        )
        return Finding(sent, got, Verdict.ENTRY, meaning)
    if any(answer.failure == "timed out" for answer in (alone, beside, other)):
        return Finding(sent, got, Verdict.UNKNOWN, "No answer in time; try again.")
    if any((answer.status or 0) >= 500 for answer in (alone, beside, other)):
        meaning = "Nobody gets in, but the request makes a server stumble; look into its log."
        return Finding(sent, got, Verdict.NOTE, meaning)
    if other.entered or (baseline is not None and is_same(other, baseline)):
        meaning = "It never reaches the decision: removed, overwritten or not read."
        return Finding(sent, got, Verdict.OK, meaning)
    if site.is_sites_refusal(other):
        meaning = (
            "The site refuses it, so the header reached the site: the front end passes on what"
            " clients send. Only the site's check keeps forgeries out. Look for this check in its"
            " log."
        )
        return Finding(sent, got, Verdict.NOTE, meaning)
    return Finding(sent, got, Verdict.OK, "The whole request is refused.")


class OtherHeaders(Check):
    """The headers of other front ends, which a site may read as well."""

    title = "other front ends' headers"
    requests = 6

    def run(self, site: Site) -> Finding:
        """Send all of them, each name once in a request."""
        answers: list[tuple[str, Answer]] = []
        for headers in site.other_headers():
            lines = [f"{name}: {value}" for name, value in headers.items()]
            lines.append("X-Client-Verify: SUCCESS")
            answers.append((ALONE, site.ask(None, lines)))
            answers.append((BESIDE, site.ask(site.stranger(), lines)))
        got = listed(answers)
        sent = ", ".join(sorted({name for headers in site.other_headers() for name in headers}))
        if any(answer.entered for _, answer in answers):
            meaning = "The site reads a header that no front end sets. It must read one alone."
            return Finding(sent, got, Verdict.ENTRY, meaning)
        return Finding(sent, got, Verdict.OK, "The site reads none of them.")


class Chunked(Check):
    """A chunked body, which moves the header behind Transfer-Encoding."""

    title = "chunked request"
    requests = 1

    def run(self, site: Site) -> Finding:
        """Send a chunked GET as the allowed client."""
        sent = "a chunked GET with your certificate"
        answer = site.ask(site.allowed, [CHUNKED], body=b"1\r\nx\r\n0\r\n\r\n")
        if answer.entered:
            return Finding(sent, str(answer), Verdict.OK, "It gets in like any other.")
        if site.is_sites_refusal(answer):
            meaning = (
                "The site refuses it: the front end writes its header behind Transfer-Encoding,"
                " where uvicorn with httptools has trailers. Use uvicorn --http h11."
            )
            return Finding(sent, str(answer), Verdict.NOTE, meaning)
        meaning = "A server refuses chunked GETs. That may be meant."
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
            return Finding(sent, str(answer), Verdict.OK, "The front end's header stays.")
        meaning = (
            "A client can make a proxy drop the front end's header. It locks out itself alone; see"
            " the next check for more."
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
