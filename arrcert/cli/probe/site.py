"""The site that is probed: how to ask it, at what pace, and who of front end and site refuses."""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cryptography import x509

from arrcert.cli.probe.certificates import Client, Mint, header_value
from arrcert.cli.probe.connection import (
    Answer,
    Connection,
    Endpoint,
    NotSpokenError,
    why,
)
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd

UNANSWERED_IN_A_ROW = 5
"""After so many requests without an answer the probe stops asking."""

_CHANGING = re.compile(rb"[0-9A-Za-z+/=_-]{8,}|\d+")
_UNSTABLE_HEADERS = frozenset({"date", "set-cookie", "content-length", "etag", "last-modified"})


class SilentError(Exception):
    """The site has stopped answering."""


class Pace:
    """Keeps the requests apart, and counts them.

    Args:
        rate: requests a second at most.
    """

    def __init__(self, rate: float) -> None:
        self.count = 0
        self._gap = 1 / rate
        self._next = 0.0
        self._unanswered = 0

    def wait(self) -> None:
        """Wait until the next request may go out."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._gap
        self.count += 1

    def note(self, answer: Answer) -> None:
        """Take note of what came back.

        Args:
            answer: the answer to the last request.

        Raises:
            SilentError: several requests in a row had no answer in time.
        """
        self._unanswered = self._unanswered + 1 if answer.failure == "timed out" else 0
        if self._unanswered >= UNANSWERED_IN_A_ROW:
            raise SilentError


class Calibration(NamedTuple):
    """What the site answers to the three clients that everything is compared with.

    Attributes:
        allowed: to the certificate that may enter.
        stranger: to a stranger's.
        nobody: to a client without one.
        asked_first: certificate requests in the first handshake.
        asked_later: certificate requests behind the request.
    """

    allowed: Answer
    stranger: Answer
    nobody: Answer
    asked_first: int
    asked_later: int


class Site:
    """A deployed site, and the client whose certificate may enter.

    Args:
        endpoint: where it is.
        path: of a protected page, with its query.
        front_end: what its front end is said to be.
        allowed: the client that may enter.
        mint: makes strangers.
        pace: keeps requests apart.
        plain_port: the port of plain HTTP; None if it is not known.

    Attributes:
        check: the number and title of the check that is running.
        calibration: set by the first checks.
    """

    calibration: Calibration

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        *,
        front_end: FrontEnd,
        allowed: Client,
        mint: Mint,
        pace: Pace,
        plain_port: int | None,
    ) -> None:
        self.endpoint = endpoint
        self.path = path
        self.front_end = front_end
        self.allowed = allowed
        self.mint = mint
        self.pace = pace
        self.plain_port = plain_port
        self.check = ""

    @property
    def checks_nothing(self) -> bool:
        """Whether the front end is documented to forward any certificate, as App Service does."""
        return not self.front_end.checks_certificates

    def stranger(self) -> Client:
        """Return the stranger whom the running check presents in TLS."""
        return self.mint.stranger(self.check, "in TLS")

    def forged(self) -> str:
        """Return the header's value that makes a client the one that may enter."""
        return header_value(self.front_end, self.allowed.leaf)

    def forged_stranger(self) -> str:
        """Return the header's value of a stranger who stands in no handshake."""
        return self.value_of(self.mint.stranger(self.check, "in header").leaf)

    def value_of(self, certificate: x509.Certificate) -> str:
        """Return the header's value for a certificate.

        Args:
            certificate: whose.
        """
        return header_value(self.front_end, certificate)

    def verified(self) -> list[str]:
        """Return the line that says that the front end has checked the certificate, if it does."""
        if self.front_end.verify_header is None:
            return []
        return [f"{self.front_end.verify_header}: {self.front_end.verify_value}"]

    def other_headers(self) -> list[dict[str, str]]:
        """Return the headers in which other front ends forward the certificate.

        Several of them write one name in different encodings. No name is twice in one mapping.
        """
        requests: list[dict[str, str]] = []
        for other in FRONT_ENDS.values():
            value = header_value(other, self.allowed.leaf)
            if other.header == self.front_end.header or any(
                value == headers.get(other.header) for headers in requests
            ):
                continue
            free = [headers for headers in requests if other.header not in headers]
            if not free:
                free = [{}]
                requests += free
            free[0][other.header] = value
        return requests

    def head(
        self,
        lines: Iterable[str] = (),
        *,
        method: str = "GET",
        path: str | None = None,
        first: Iterable[str] = (),
    ) -> bytes:
        """Return a request's head in bytes.

        Args:
            lines: header lines as they are sent, however malformed.
            method: of the request.
            path: as it is sent; the protected page by default.
            first: lines before `Host`.
        """
        lines = list(lines)
        if not any(line.lower().startswith("connection:") for line in lines):
            lines.append("Connection: close")
        usual = [
            f"Host: {self.endpoint.authority}",
            f"User-Agent: arrcert-probe ({self.check})",
            "Accept: */*",
        ]
        request = f"{method} {path or self.path} HTTP/1.1"
        return "\r\n".join([request, *first, *usual, *lines, "", ""]).encode("latin-1")

    def ask(
        self,
        client: Client | None,
        lines: Iterable[str] = (),
        *,
        method: str = "GET",
        path: str | None = None,
        first: Iterable[str] = (),
        body: bytes = b"",
        waits: bool = False,
    ) -> Answer:
        """Send one request on a connection of its own.

        Args:
            client: whose certificate to present in TLS; None for nobody's.
            lines: header lines.
            method: of the request.
            path: as it is sent; the protected page by default.
            first: lines before `Host`.
            body: as it goes over the wire.
            waits: whether to wait for a 100 before the body.
        """
        head = self.head(lines, method=method, path=path, first=first)
        with self.connected(client) as connection:
            if isinstance(connection, Answer):
                return connection
            return self.exchange(connection, head, body, waits=waits)

    def exchange(
        self, connection: Connection, head: bytes, body: bytes = b"", *, waits: bool = False
    ) -> Answer:
        """Send a request on a connection that is open.

        Args:
            connection: to the site.
            head: what `head` returned.
            body: as it goes over the wire.
            waits: whether to wait for a 100 before the body.

        Raises:
            SilentError: the site has stopped answering.
        """
        self.pace.wait()
        answer = connection.exchange(head, body, waits=waits)
        self.pace.note(answer)
        return answer

    @contextlib.contextmanager
    def connected(
        self,
        client: Client | None,
        *,
        version: ssl.TLSVersion | None = None,
        alpn: tuple[str, ...] = ("http/1.1",),
        resume: Connection | None = None,
    ) -> Iterator[Connection | Answer]:
        """Open a connection for the length of a with block; without one, give why not.

        Args:
            client: whose certificate to present; None for nobody's.
            version: the only version of TLS to offer.
            alpn: the protocols to offer.
            resume: a connection whose session to take up.

        Raises:
            SilentError: the site has stopped answering.
        """
        try:
            connection = Connection.open(
                self.endpoint, client, version=version, alpn=alpn, resume=resume
            )
        except NotSpokenError:
            yield Answer(failure="not spoken here")
            return
        except OSError as error:
            self.pace.wait()
            answer = Answer(failure=why(error))
            self.pace.note(answer)
            yield answer
            return
        with connection:
            yield connection

    def is_sites_refusal(self, answer: Answer) -> bool:
        """Tell whether an answer is the refusal that the site gives a stranger.

        Args:
            answer: of any request.
        """
        # Any other status may come from a front end, which gives it to a malformed line, too.
        return answer.status == 403 and is_same(answer, self.calibration.stranger)

    def refused_by(self, answer: Answer) -> str:
        """Return who gave an answer, as far as one can see: `the site` or `the front end`.

        Args:
            answer: of any request.
        """
        return "the site" if self.is_sites_refusal(answer) else "the front end"


def is_same(one: Answer, other: Answer) -> bool:
    """Tell whether two answers look alike: status, names of headers, and the body's fixed words.

    Args:
        one: an answer.
        other: another.

    Request numbers, dates and tokens differ from answer to answer and are not compared.
    """
    return _signature(one) == _signature(other)


def _signature(answer: Answer) -> tuple[object, ...]:
    names = frozenset(name for name, _ in answer.headers) - _UNSTABLE_HEADERS
    return (
        answer.status,
        answer.failure,
        names,
        answer.header("server"),
        answer.header("content-type"),
        _CHANGING.sub(b"", answer.body),
    )


def listed(answers: Sequence[tuple[str, Answer]]) -> str:
    """Return answers in one line, each behind what it answers.

    Args:
        answers: pairs of a label and an answer.
    """
    return ", ".join(f"{label} {answer}" for label, answer in answers)
