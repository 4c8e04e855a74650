"""Checks of TLS and of plain HTTP."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from arrcert.cli.probe.checks import Check, Finding
from arrcert.cli.probe.connection import Answer, Connection, why
from arrcert.cli.probe.forgeries import ALONE
from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site, listed

_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_OLD = ("1.0", "1.1")
_NEW = ("1.2", "1.3")


class TLSVersions(Check):
    """Which versions of TLS the front end supports."""

    title = "TLS versions"
    requests = len(_VERSIONS)

    def run(self, site: Site) -> Finding:
        """Offer one version at a time, as the allowed client."""
        answers = {}
        for name, version in _VERSIONS.items():
            with site.connected(site.allowed, version=version) as connection:
                if isinstance(connection, Answer):
                    answers[name] = connection
                else:
                    answers[name] = site.exchange(connection, site.head())
        got = ", ".join(f"{name} {self._shown(answer)}" for name, answer in answers.items())
        sent = "one version at a time, with your certificate"
        verdict, meaning = Verdict.OK, "Only TLS 1.2 and newer."
        if any(answers[name].status is not None for name in _OLD):
            verdict, meaning = (
                Verdict.NOTE,
                (
                    "Versions before 1.2 are broken and deprecated (RFC 8996). Set minTlsVersion to"
                    " 1.2 or 1.3."
                ),
            )
        elif not all(answers[name].entered for name in _NEW):
            verdict, meaning = (
                Verdict.NOTE,
                (
                    "Your certificate gets in over TLS 1.2 or 1.3, but not over both. With"
                    " renegotiation, 1.3 cannot work."
                ),
            )
        return Finding(sent, got, verdict, meaning)

    @staticmethod
    def _shown(answer: Answer) -> str:
        if answer.status is None:
            return "cannot be tried" if answer.failure == "not spoken here" else "no"
        return "yes" if answer.entered else f"yes ({answer})"


class Authorities(Check):
    """Whether the front end tells clients which CAs it accepts."""

    title = "CAs named to clients"
    requests = 1

    def run(self, site: Site) -> Finding:
        """Count the CA names in the certificate request."""
        sent = "a handshake and a GET without a certificate"
        with site.connected(None) as connection:
            if isinstance(connection, Answer):
                return Finding(sent, str(connection), Verdict.UNKNOWN, "The handshake fails.")
            site.exchange(connection, site.head())
            named = connection.observed.requests
        if not named:
            return Finding(sent, "no request seen", Verdict.UNKNOWN, "No certificate request seen.")
        got = f"{max(named)} {'CA' if max(named) == 1 else 'CAs'} named"
        if max(named) == 0:
            return Finding(sent, got, Verdict.OK, "Clients offer any certificate that they have.")
        meaning = (
            "Browsers and some libraries offer only certificates of these CAs, so a self-signed one"
            " may never be sent."
        )
        return Finding(sent, got, Verdict.NOTE, meaning)


class Chain(Check):
    """Whether a client that sends a chain gets in."""

    title = "client with a chain"
    requests = 1

    def run(self, site: Site) -> Finding:
        """Send a second certificate after the allowed one."""
        sent = "your certificate and another one after it"
        client = site.mint.with_another_certificate(site.allowed, site.check)
        answer = site.ask(client)
        if answer.entered:
            return Finding(sent, str(answer), Verdict.OK, "It gets in, as without a chain.")
        meaning = (
            "Clients that send their intermediates do not get in. They must send only the leaf."
        )
        return Finding(sent, str(answer), Verdict.NOTE, meaning)


class _Plain(NamedTuple):
    label: str
    lines: list[str]


class PlainHTTP(Check):
    """What plain HTTP does. No certificate can come over it."""

    title = "plain HTTP"
    requests = 3

    def run(self, site: Site) -> Finding:
        """Send requests without TLS: simply, and with forged headers."""
        sent = "GET over http://, simply and with the forged header"
        if site.plain_port is None:
            meaning = "The port is not known. Write it after --http-port."
            return Finding(sent, "not tried", Verdict.UNKNOWN, meaning)
        forged = [f"{site.front_end.header}: {site.forged()}", *site.verified()]
        ways = [
            _Plain("simply", []),
            _Plain(ALONE, forged),
            _Plain("as https", [*forged, "X-Forwarded-Proto: https"]),
        ]
        answers = [(way.label, self._ask(site, site.plain_port, way.lines)) for way in ways]
        got = listed(answers)
        if any(answer.entered for _, answer in answers):
            meaning = "Anybody gets in over plain HTTP. Turn on HTTPS Only."
            return Finding(sent, got, Verdict.ENTRY, meaning)
        if all(answer.status is None for _, answer in answers):
            return Finding(sent, got, Verdict.OK, "Nothing answers there.")
        if all(answer.status in (400, 426) for _, answer in answers):
            return Finding(sent, got, Verdict.OK, "Plain HTTP is refused.")
        locations = {answer.header("location")[:8].lower() for _, answer in answers}
        if locations == {"https://"}:
            return Finding(sent, got, Verdict.OK, "It redirects to HTTPS: HTTPS Only is on.")
        meaning = (
            "Plain HTTP is answered and does not redirect to HTTPS. The page is not shown, but turn"
            " on HTTPS Only: no certificate can come over plain HTTP."
        )
        return Finding(sent, got, Verdict.NOTE, meaning)

    @staticmethod
    def _ask(site: Site, port: int, lines: list[str]) -> Answer:
        site.pace.wait()
        try:
            with Connection.plain(site.endpoint, port) as connection:
                answer = connection.exchange(site.head(lines))
        except OSError as error:
            return Answer(failure=why(error))
        site.pace.note(answer)
        return answer


TRANSPORT: tuple[Check, ...] = (TLSVersions(), Authorities(), Chain(), PlainHTTP())
