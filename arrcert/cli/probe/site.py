"""The site that is probed: sends requests at a limited rate, and tells who refused them."""

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
"""The probe stops after this number of requests in a row without an answer."""

_CHANGING = re.compile(rb"[0-9A-Za-z+/=_-]{8,}|\d+")
_UNSTABLE_HEADERS = frozenset({"date", "set-cookie", "content-length", "etag", "last-modified"})


class SilentError(Exception):
    """The site has stopped answering."""


class Pace:
    """Limits the rate of the requests, and counts those without an answer.

    Args:
        rate: the largest number of requests in a second.
    """

    def __init__(self, rate: float) -> None:
        self.count = 0
        self._gap = 1 / rate
        self._next = 0.0
        self._unanswered = 0

    def wait(self) -> None:
        """Wait until the next request may be sent."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._gap
        self.count += 1

    def note(self, answer: Answer) -> None:
        """Count the answer.

        Args:
            answer: the answer to the last request.

        Raises:
            SilentError: several requests in a row had no answer in time.
        """
        self._unanswered = self._unanswered + 1 if answer.failure == "timed out" else 0
        if self._unanswered >= UNANSWERED_IN_A_ROW:
            raise SilentError


class Calibration(NamedTuple):
    """The answers to the first three requests. The checks compare other answers with them.

    Attributes:
        allowed: the answer to the client whose certificate may enter.
        stranger: the answer to a client with a stranger's certificate.
        nobody: the answer to a client without a certificate.
        asked_first: the number of certificate requests in the first handshake.
        asked_later: the number of certificate requests after the request.
    """

    allowed: Answer
    stranger: Answer
    nobody: Answer
    asked_first: int
    asked_later: int


class Site:
    """A deployed site, and the client whose certificate may enter.

    Args:
        endpoint: the address of the site.
        path: the path of a protected page, with its query.
        front_end: the front end of the site, as the operator declares it.
        allowed: the client that may enter.
        mint: issues the certificates of strangers.
        pace: limits the rate of the requests.
        plain_port: the port of plain HTTP; None if it is not known.

    Attributes:
        check: the number and title of the check that is running.
        calibration: the answers to the first requests. `calibrate` sets it.
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
        """Return the header value that imitates the client that may enter."""
        return header_value(self.front_end, self.allowed.leaf)

    def forged_stranger(self) -> str:
        """Return the header value of a stranger that the probe does not present in TLS."""
        return self.value_of(self.mint.stranger(self.check, "in header").leaf)

    def value_of(self, certificate: x509.Certificate) -> str:
        """Return the header's value for a certificate.

        Args:
            certificate: the certificate.
        """
        return header_value(self.front_end, certificate)

    def verified(self) -> list[str]:
        """Return the line in which the front end says that it checked the certificate, if any."""
        if self.front_end.verify_header is None:
            return []
        return [f"{self.front_end.verify_header}: {self.front_end.verify_value}"]

    def other_headers(self) -> list[dict[str, str]]:
        """Return the headers in which other front ends forward the certificate.

        Some front ends use the same header name with different encodings, so there are several
        mappings.
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
            lines: the header lines. They are sent as they are, even if they are malformed.
            method: the method of the request.
            path: the path exactly as it is sent; by default that of the protected page.
            first: the lines before `Host`.
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
            client: the client whose certificate is presented in TLS; None to present no
                certificate.
            lines: header lines.
            method: the method of the request.
            path: the path exactly as it is sent; by default that of the protected page.
            first: the lines before `Host`.
            body: the body, exactly as it is sent.
            waits: whether to wait for the status 100 before the body is sent.
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
            connection: the connection to the site.
            head: the bytes that `head` returned.
            body: the body, exactly as it is sent.
            waits: whether to wait for the status 100 before the body is sent.

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
        """Open a connection for a `with` block. If it fails, yield an `Answer` that says why.

        Args:
            client: the client whose certificate is presented; None to present no certificate.
            version: the only version of TLS to offer.
            alpn: the protocols to offer.
            resume: a connection whose TLS session is resumed.

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
        """Return whether an answer is the same as the site's refusal of a stranger.

        Args:
            answer: the answer to any request.
        """
        # Another status may come from the front end, which may send it for a malformed line, too.
        return answer.status == 403 and is_same(answer, self.calibration.stranger)

    def refused_by(self, answer: Answer) -> str:
        """Return who probably sent an answer: `the site` or `the front end`.

        Args:
            answer: the answer to any request.
        """
        return "the site" if self.is_sites_refusal(answer) else "the front end"


def is_same(one: Answer, other: Answer) -> bool:
    """Return whether two answers look the same: status, header names and fixed text.

    Args:
        one: an answer.
        other: the other answer.

    Numbers, dates and tokens are not compared, because they differ from answer to answer.
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
    """Return answers in one line, each after its label.

    Args:
        answers: pairs of a label and an answer.
    """
    return ", ".join(f"{label} {answer}" for label, answer in answers)
