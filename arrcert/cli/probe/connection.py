"""HTTP/1.1 in raw bytes over TLS, and what the handshake shows.

HTTP libraries repair malformed header lines, or refuse to send them. So the probe writes the bytes
of its requests itself.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from arrcert.cli.probe.certificates import Client

SECONDS = 10.0
"""How long the probe waits for a connection, and for each part of an answer, in seconds."""

MOST_BODY_BYTES = 1024 * 1024
_MOST_HEAD_BYTES = 256 * 1024

NOT_TRUSTED = "the site's certificate is not trusted"
NOTHING_LISTENS = "nothing listens"

_CERTIFICATE_AUTHORITIES = 47
"""The extension of TLS 1.3 that names acceptable CAs (RFC 8446 section 4.2.4)."""


class Answer(NamedTuple):
    """What came back for one request.

    Attributes:
        status: the HTTP status; None if no answer came.
        headers: pairs of a name in lower case and its value, in the order of the answer.
        body: at most the first megabyte.
        failure: why no answer came: `closed`, `timed out`, or what TLS said.
        interim: the interim responses that came before: their statuses, which are below 200.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    failure: str = ""
    interim: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.failure if self.status is None else str(self.status)

    @property
    def entered(self) -> bool:
        """Whether the page was shown."""
        return self.status is not None and 200 <= self.status < 300

    def header(self, name: str) -> str:
        """Return the value of a header, empty if it is absent.

        Args:
            name: in lower case.
        """
        return dict(self.headers).get(name, "")


class Endpoint(NamedTuple):
    """The address of the site, and which certificates of the site the probe trusts.

    Attributes:
        host: the name or the address of the host.
        port: the port of HTTPS.
        cacert: PEM file with the CA of the site's own certificate; None for the system's CAs.
        insecure: whether the probe trusts any certificate of the site.
    """

    host: str
    port: int
    cacert: Path | None = None
    insecure: bool = False

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


class Observed:
    """The certificate requests that a server sent over one connection.

    Attributes:
        requests: for each certificate request, the number of CAs that it names.
    """

    def __init__(self) -> None:
        self.requests: list[int] = []

    def watch(self, context: ssl.SSLContext) -> None:
        """Observe the handshake messages of the next connection that uses a context.

        Args:
            context: the context. Only the last observer that watches a context gets its messages.
        """
        # The attribute has no documentation, but each CPython since 3.8 has it. There is no other
        # way to see a certificate request in TLS 1.3 with the standard library.
        if can_see_handshakes():
            context._msg_callback = self._note  # type: ignore[attr-defined]

    def _note(
        self, _connection: object, direction: str, _version: Any, _type: Any, kind: Any, data: bytes
    ) -> None:
        if direction == "read" and getattr(kind, "name", "") == "CERTIFICATE_REQUEST":
            self.requests.append(_named_authorities(data, is_tls_1_3=_version.name == "TLSv1_3"))


def _named_authorities(message: bytes, *, is_tls_1_3: bool) -> int:
    """Return how many CAs a CertificateRequest names (RFC 5246 section 7.4.4, RFC 8446 4.3.2)."""
    body = message[4:]
    try:
        if not is_tls_1_3:
            rest = body[1 + body[0] :]  # This skips the types of certificates.
            rest = rest[2 + struct.unpack_from("!H", rest)[0] :]  # This skips the algorithms.
            return _entries(rest)
        rest = body[1 + body[0] + 2 :]
        while rest:
            kind, length = struct.unpack_from("!HH", rest)
            if kind == _CERTIFICATE_AUTHORITIES:
                return _entries(rest[4:])
            rest = rest[4 + length :]
    except (IndexError, struct.error):
        pass
    return 0


def _entries(field: bytes) -> int:
    count, at = 0, 2
    end = 2 + struct.unpack_from("!H", field)[0]
    while at < end:
        at += 2 + struct.unpack_from("!H", field, at)[0]
        count += 1
    return count


def can_see_handshakes() -> bool:
    """Return whether this version of Python shows handshake messages."""
    return hasattr(ssl.SSLContext, "_msg_callback")


class NotSpokenError(Exception):
    """OpenSSL on this computer does not support the requested version of TLS."""


class Connection:
    """One connection to a site.

    Attributes:
        observed: what the handshake of the connection showed.
        opened_with: the number of certificate requests in the first handshake.
    """

    def __init__(self, connected: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self._socket = connected
        self._context = context
        self._buffer = b""
        self.observed = Observed()
        self.opened_with = 0

    @classmethod
    def plain(cls, endpoint: Endpoint, port: int) -> Connection:
        """Connect without TLS.

        Args:
            endpoint: the host.
            port: the port.

        Raises:
            OSError: the connection failed.
        """
        return cls(socket.create_connection((endpoint.host, port), SECONDS))

    @classmethod
    def open(
        cls,
        endpoint: Endpoint,
        client: Client | None,
        *,
        version: ssl.TLSVersion | None = None,
        alpn: tuple[str, ...] = ("http/1.1",),
        resume: Connection | None = None,
    ) -> Connection:
        """Connect over TLS.

        Args:
            endpoint: the site.
            client: the client whose certificate is presented; None to present no certificate.
            version: the only version of TLS to offer; None for 1.2 and newer.
            alpn: the protocols to offer.
            resume: a connection whose TLS session is resumed. Another client may have opened it.

        Raises:
            OSError: the connection failed, or TLS failed (`ssl.SSLError`).
            NotSpokenError: this computer does not support the version.
        """
        observed = Observed()
        if resume is None or resume._context is None:
            context = _context(endpoint, version, alpn)
        else:
            context = resume._context
        if client is not None:
            context.load_cert_chain(client.certificate_file, client.key_file)
        observed.watch(context)
        raw = socket.create_connection((endpoint.host, endpoint.port), SECONDS)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected = context.wrap_socket(
                raw,
                server_hostname=endpoint.host,
                session=resume.session if resume is not None else None,
            )
        except BaseException:
            raw.close()
            raise
        connection = cls(connected, context)
        connection.observed = observed
        connection.opened_with = len(observed.requests)
        return connection

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    @property
    def _tls(self) -> ssl.SSLSocket | None:
        return self._socket if isinstance(self._socket, ssl.SSLSocket) else None

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session that another connection can resume."""
        return None if self._tls is None else self._tls.session

    @property
    def is_resumed(self) -> bool:
        """Whether the server resumed the session."""
        return bool(self._tls is not None and self._tls.session_reused)

    @property
    def protocol(self) -> str | None:
        """The protocol that ALPN selected."""
        return None if self._tls is None else self._tls.selected_alpn_protocol()

    def send(self, data: bytes) -> None:
        """Send bytes; ignore errors, as a server may answer before it has read everything.

        Args:
            data: the bytes, exactly as they are sent.
        """
        # The site may answer and close the connection before it has read everything.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._socket.sendall(data)

    def receive(self) -> bytes:
        """Return the next bytes; no bytes at the end of the connection.

        Raises:
            OSError: the connection broke.
        """
        rest, self._buffer = self._buffer, b""
        return rest or self._socket.recv(65536)

    def exchange(self, head: bytes, body: bytes = b"", *, waits: bool = False) -> Answer:
        """Send a request and return its answer.

        Args:
            head: the request line and the header lines with the blank line.
            body: the body, exactly as it is sent.
            waits: whether to wait for the status 100 before the body is sent (`Expect:
                100-continue`).
        """
        method = head.split(b" ", 1)[0]
        try:
            self.send(head if waits else head + body)
            interim: list[int] = []
            while True:
                status, headers = self._read_head()
                if status >= 200 or status == 101:
                    break
                interim.append(status)
                if waits and status == 100:
                    waits = False
                    self.send(body)
            has_body = method != b"HEAD" and status not in (101, 204, 304)
            content = self._read_body(dict(headers)) if has_body else b""
        except _ClosedError:
            return Answer(failure="closed")
        except (OSError, ValueError, IndexError) as error:
            return Answer(failure=why(error))
        return Answer(status, tuple(headers), content, interim=tuple(interim))

    def _read_head(self) -> tuple[int, list[tuple[str, str]]]:
        while b"\r\n\r\n" not in self._buffer:
            self._read_more(_MOST_HEAD_BYTES)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        if not first.startswith("HTTP/1."):
            raise ValueError
        pairs = [line.partition(":") for line in lines]
        headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        return int(first.split(" ", 2)[1]), headers

    def _read_more(self, most: int) -> None:
        data = self._socket.recv(65536) if len(self._buffer) < most else b""
        if not data:
            raise _ClosedError
        self._buffer += data

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._read_chunks()
        length = headers.get("content-length", "")
        wanted = min(int(length), MOST_BODY_BYTES) if length.isdecimal() else MOST_BODY_BYTES
        try:
            return self._read_exactly(wanted)
        except _ClosedError:
            if length:
                raise
            rest, self._buffer = self._buffer, b""
            return rest

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self._read_line().split(b";")[0], 16):
            body += self._read_exactly(min(size, MOST_BODY_BYTES))
            self._read_line()
        while self._read_line():
            pass
        return body

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._read_more(_MOST_HEAD_BYTES)
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._read_more(size)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


class _ClosedError(Exception):
    """The server closed the connection before its answer was whole."""


def why(error: Exception) -> str:
    """Return in a few words why no answer came.

    Args:
        error: the exception that was raised.
    """
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{NOT_TRUSTED}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        # This is a constant of OpenSSL, such as TLSV13_ALERT_CERTIFICATE_REQUIRED. It contains no
        # text from the server.
        return f"TLS: {str(error.reason or 'failed').lower().replace('_', ' ')}"
    if isinstance(error, ConnectionRefusedError):
        return NOTHING_LISTENS
    if isinstance(error, ConnectionError):
        return "closed"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return "no HTTP"


def is_refusal_by_tls(answer: Answer) -> bool:
    """Return whether TLS itself refused the client.

    Args:
        answer: the answer to a request that may have failed.
    """
    return answer.failure.startswith("TLS: ") and "alert" in answer.failure


def _context(
    endpoint: Endpoint, version: ssl.TLSVersion | None, alpn: tuple[str, ...]
) -> ssl.SSLContext:
    if endpoint.insecure:
        # This does not load the system's CAs, because that would take most of the time of a
        # request.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        cafile = None if endpoint.cacert is None else str(endpoint.cacert)
        context = ssl.create_default_context(cafile=cafile)
    # With TLS 1.3, Apache requests a certificate in this way after the request.
    context.post_handshake_auth = True
    context.set_alpn_protocols(list(alpn))
    if version is not None:
        try:
            with warnings.catch_warnings():
                # Python warns because these versions are deprecated. The check needs them: a site
                # should not support them.
                warnings.simplefilter("ignore", DeprecationWarning)
                if version < ssl.TLSVersion.TLSv1_2:
                    context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = version
        except (ValueError, ssl.SSLError):
            raise NotSpokenError from None
    return context
