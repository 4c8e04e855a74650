"""Connections and TLS sessions that are used again by the same client or by another one."""

from __future__ import annotations

from arrcert.cli.probe.checks import Check, Finding
from arrcert.cli.probe.connection import Answer, Connection
from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site, listed

_KEPT = ["Connection: keep-alive"]


class KeepAlive(Check):
    """Two requests on one connection."""

    title = "keep-alive"
    requests = 2

    def run(self, site: Site) -> Finding:
        """Send two requests on one connection of the allowed client."""
        sent = "two GETs on one connection with your certificate"
        with site.connected(site.allowed) as connection:
            if isinstance(connection, Answer):
                return Finding(sent, str(connection), Verdict.UNKNOWN, "No connection.")
            one = site.exchange(connection, site.head(_KEPT))
            if one.header("connection").lower() == "close":
                return Finding(sent, str(one), Verdict.OK, "The connection is not kept open.")
            two = site.exchange(connection, site.head(_KEPT))
        got = listed([("first", one), ("second", two)])
        if two.entered or two.status is None:
            return Finding(sent, got, Verdict.OK, "Each request has the certificate.")
        meaning = "The second request has no certificate. Clients must open a new connection."
        return Finding(sent, got, Verdict.NOTE, meaning)


class BesideYours(Check):
    """Requests of others while the front end keeps a connection for your requests open."""

    title = "another, beside yours"
    requests = 9

    def run(self, site: Site) -> Finding:
        """Send requests in turns as the allowed client, as a stranger and without a certificate."""
        sent = "in turns: yours, a stranger's, none"
        strangers: list[Answer] = []
        nobodies: list[Answer] = []
        for _ in range(3):
            with site.connected(site.allowed) as connection:
                if isinstance(connection, Connection):
                    site.exchange(connection, site.head(_KEPT))
                strangers.append(site.ask(site.stranger(), _KEPT_BY_OTHERS))
                nobodies.append(site.ask(None, _KEPT_BY_OTHERS))
        stranger = next((a for a in strangers if a.entered), strangers[-1])
        nobody = next((a for a in nobodies if a.entered), nobodies[-1])
        got = listed([("a stranger", stranger), ("none", nobody)])
        if stranger.entered or nobody.entered:
            meaning = (
                "A client without your key gets in after you: the site remembers your certificate"
                " for a connection. Decide for each request. The front end sends the requests of"
                " several clients on one connection."
            )
            return Finding(sent, got, Verdict.ENTRY, meaning)
        return Finding(sent, got, Verdict.OK, "Each request is decided separately.")


_KEPT_BY_OTHERS = ["Connection: close"]


class Resumption(Check):
    """A TLS session that is resumed."""

    title = "session resumption"
    requests = 2

    def run(self, site: Site) -> Finding:
        """Resume the session of the allowed client."""
        sent = "a second connection that resumes the first one's TLS session"
        one, two, is_resumed = _twice(site, first_is_allowed=True, second_is_allowed=True)
        got = f"{listed([('first', one), ('second', two)])}, {_how(is_resumed)}"
        if two.entered:
            return Finding(sent, got, Verdict.OK, "The certificate is known from the session.")
        meaning = "A client that resumes a session loses its certificate. Turn resumption off."
        return Finding(sent, got, Verdict.NOTE, meaning)


class ResumptionByAnother(Check):
    """A TLS session that is resumed by a client with another certificate."""

    title = "resumption, another's"
    requests = 4

    def run(self, site: Site) -> Finding:
        """Resume sessions of other clients, as the allowed client and as a stranger.

        A client that resumes a session has the secrets of the session, so the server may use the
        session's certificate. But a stranger must not get in by resuming a session without a
        certificate.
        """
        sent = "a stranger's session with your certificate; nobody's with a stranger's"
        _, changed, is_resumed = _twice(site, first_is_allowed=False, second_is_allowed=True)
        with site.connected(None) as opened:
            if isinstance(opened, Answer):
                other = opened
            else:
                site.exchange(opened, site.head())
                with site.connected(site.stranger(), resume=opened) as connection:
                    other = (
                        connection
                        if isinstance(connection, Answer)
                        else site.exchange(connection, site.head())
                    )
        got = f"{listed([('yours', changed), ('a stranger', other)])}, {_how(is_resumed)}"
        if other.entered:
            return Finding(sent, got, Verdict.ENTRY, "A stranger gets in by resuming a session.")
        if is_resumed and changed.entered:
            meaning = "The certificate of the second connection is used, although TLS resumed."
            return Finding(sent, got, Verdict.NOTE, meaning)
        meaning = (
            "The session's certificate is used." if is_resumed else "The new certificate is used."
        )
        return Finding(sent, got, Verdict.OK, meaning)


def _twice(
    site: Site, *, first_is_allowed: bool, second_is_allowed: bool
) -> tuple[Answer, Answer, bool]:
    first = site.allowed if first_is_allowed else site.stranger()
    second = site.allowed if second_is_allowed else site.stranger()
    with site.connected(first) as opened:
        if isinstance(opened, Answer):
            return opened, opened, False
        # In TLS 1.3 the server sends its session tickets with the first answer.
        one = site.exchange(opened, site.head())
        with site.connected(second, resume=opened) as connection:
            if isinstance(connection, Answer):
                return one, connection, False
            return one, site.exchange(connection, site.head()), connection.is_resumed


def _how(is_resumed: bool) -> str:
    return "resumed" if is_resumed else "not resumed"


SESSIONS: tuple[Check, ...] = (KeepAlive(), BesideYours(), Resumption(), ResumptionByAnother())
