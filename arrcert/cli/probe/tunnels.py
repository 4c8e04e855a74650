"""Checks of other protocols than HTTP/1.1: HTTP/2, an upgrade to h2c, and WebSockets."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

from arrcert.cli.probe import http2
from arrcert.cli.probe.certificates import Client
from arrcert.cli.probe.checks import Check, Finding
from arrcert.cli.probe.connection import Answer
from arrcert.cli.probe.forgeries import ALONE, BESIDE, REVERSED, judge, names
from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site, listed

ALPN = ("h2", "http/1.1")
NOT_OFFERED = "not offered"


class HTTP2(Check):
    """Whether the front end offers HTTP/2."""

    title = "HTTP/2"
    requests = 1

    def run(self, site: Site) -> Finding:
        """Send a request over HTTP/2 as the allowed client."""
        sent = "GET over HTTP/2 with your certificate"
        answer = ask_over_http2(site, site.allowed)
        if answer.failure == NOT_OFFERED:
            meaning = "TLS does not offer it. Exclusion paths and renegotiation have this effect."
            return Finding(sent, NOT_OFFERED, Verdict.OK, meaning)
        if answer.entered:
            return Finding(sent, str(answer), Verdict.OK, "It is offered, and the page is shown.")
        meaning = "It is offered, but your certificate does not get in over it."
        return Finding(sent, str(answer), Verdict.NOTE, meaning)


@dataclass(frozen=True)
class FormOverHTTP2(Check):
    """One way to write the header over HTTP/2.

    Attributes:
        title: the title of the check.
        name: the header's name as a template with `{name}` or `{folded}`.
        value: the header's value.
        is_trailer: whether the header comes after the body.
    """

    title: str
    name: str = "{name}"
    value: str = "{value}"
    is_trailer: bool = False
    requests: int = 3

    def run(self, site: Site) -> Finding:
        """Send the form in the three ways."""
        name = self.name.format(**names(site)).lower()
        value = self.value.format(**names(site), value="CERT")
        shown = value.replace("\r", "\\r").replace("\n", "\\n")
        sent = f"{'trailer ' if self.is_trailer else ''}{name}: {shown} over HTTP/2"
        alone = self._send(site, None, site.forged())
        if alone.failure == NOT_OFFERED:
            return Finding(sent, NOT_OFFERED, Verdict.OK, "Nobody can send this form.")
        beside = self._send(site, site.stranger(), site.forged())
        other = self._send(site, site.allowed, site.forged_stranger())
        return judge(site, sent, alone, beside, other)

    def _send(self, site: Site, client: Client | None, value: str) -> Answer:
        words = names(site)
        line = (self.name.format(**words).lower(), self.value.format(**words, value=value))
        verified = [line.split(": ", 1) for line in site.verified()]
        more = [(name.lower(), value) for name, value in verified]
        if self.is_trailer:
            return ask_over_http2(site, client, headers=more, trailers=[line])
        return ask_over_http2(site, client, headers=[line, *more])


def ask_over_http2(
    site: Site, client: Client | None, headers: http2.Headers = (), trailers: http2.Headers = ()
) -> Answer:
    """Send one GET over HTTP/2 on a connection of its own.

    Args:
        site: the site.
        client: the client whose certificate is presented in TLS; None to present no certificate.
        headers: headers in addition to the usual ones.
        trailers: the headers after an empty body.
    """
    with site.connected(client, alpn=ALPN) as connection:
        if isinstance(connection, Answer):
            return connection
        if connection.protocol != "h2":
            return Answer(failure=NOT_OFFERED)
        site.pace.wait()
        protocol = http2.begin()
        protocol.initiate_connection()
        agent = ("user-agent", f"arrcert-probe ({site.check})")
        request = http2.Request(
            site.path, site.endpoint.authority, [agent, *headers], list(trailers)
        )
        answer = http2.exchange(connection, protocol, request)
        site.pace.note(answer)
        return answer


class H2C(Check):
    """An upgrade to cleartext HTTP/2 (h2c), after which a front end may become a tunnel."""

    title = "h2c upgrade"
    requests = 4

    def run(self, site: Site) -> Finding:
        """Request the upgrade. If there is a tunnel, send the forged header in it."""
        alone, first = self._send(site, None)
        beside, second = self._send(site, site.stranger())
        got = listed([(ALONE, first), (BESIDE, second)])
        sent = "Upgrade: h2c, and in the tunnel the forged header"
        if 101 not in (first.status, second.status):
            return Finding(sent, got, Verdict.OK, "Nothing is upgraded.")
        got = listed([("upgrade", first), ("in the tunnel", alone), (BESIDE, beside)])
        if alone.entered or beside.entered:
            meaning = (
                "The front end passes on the upgrade and becomes a tunnel. In it the client writes"
                " every header itself. Remove Upgrade: h2c in the front end, and turn HTTP/2 off in"
                " the server."
            )
            return Finding(sent, got, Verdict.ENTRY, meaning)
        meaning = (
            "The server upgrades to HTTP/2 and refuses the header in it. If the front end is a"
            " tunnel now, only the site's check keeps forgeries out."
        )
        return Finding(sent, got, Verdict.NOTE, meaning)

    def _send(self, site: Site, client: Client | None) -> tuple[Answer, Answer]:
        """Return the answer in the tunnel, and the answer to the upgrade."""
        protocol = http2.begin()
        settings = (protocol.initiate_upgrade_connection() or b"").decode("ascii")
        lines = [
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            f"HTTP2-Settings: {settings}",
        ]
        with site.connected(client) as connection:
            if isinstance(connection, Answer):
                return connection, connection
            upgraded = site.exchange(connection, site.head(lines))
            if upgraded.status != 101:
                return upgraded, upgraded
            site.pace.wait()
            forged = [(site.front_end.header.lower(), site.forged())]
            verified = [line.split(": ", 1) for line in site.verified()]
            forged += [(name.lower(), value) for name, value in verified]
            request = http2.Request(site.path, site.endpoint.authority, forged)
            answer = http2.exchange(connection, protocol, request)
            site.pace.note(answer)
            return answer, upgraded


class WebSocket(Check):
    """A WebSocket handshake (RFC 6455). The gate of a framework may not see it."""

    title = "WebSocket"
    requests = 4

    def run(self, site: Site) -> Finding:
        """Send the handshake of the allowed client, and the forged header in the three ways."""
        sent = f"a WebSocket handshake with {site.front_end.header}: CERT"
        forged = f"{site.front_end.header}: {site.forged()}"
        own = self._shake(site, site.allowed)
        alone = self._shake(site, None, forged)
        beside = self._shake(site, site.stranger(), forged)
        other = self._shake(
            site, site.allowed, f"{site.front_end.header}: {site.forged_stranger()}"
        )
        got = listed([("yours", own), (ALONE, alone), (BESIDE, beside), (REVERSED, other)])
        if alone.status == 101 or beside.status == 101:
            meaning = (
                "A WebSocket opens without an allowed certificate. Put arrcert's ASGI or WSGI"
                " middleware around the whole app."
            )
            return Finding(sent, got, Verdict.ENTRY, meaning)
        if own.status == 101 and other.status == 101:
            meaning = "It opens only for your certificate. A forged header has no effect."
            return Finding(sent, got, Verdict.OK, meaning)
        finding = judge(site, sent, alone, beside, other, baseline=own)
        if own.status != 101 and finding.verdict is Verdict.OK:
            meaning = "This page has no WebSocket. Probe the URL of a WebSocket, too."
            return finding._replace(got=got, meaning=meaning)
        return finding._replace(got=got)

    def _shake(self, site: Site, client: Client | None, *lines: str) -> Answer:
        key = base64.b64encode(os.urandom(16)).decode("ascii")
        handshake = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        return site.ask(client, [*handshake, *lines, *site.verified()])


TUNNELS: tuple[Check, ...] = (
    HTTP2(),
    FormOverHTTP2("HTTP/2, forged header"),
    FormOverHTTP2("HTTP/2, look-alike", name="{folded}"),
    FormOverHTTP2("HTTP/2, line end in value", name="x-probe", value="a\r\n{name}: {value}"),
    FormOverHTTP2("HTTP/2, trailer", is_trailer=True),
    H2C(),
    WebSocket(),
)
