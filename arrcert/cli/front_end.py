"""A local stand-in for App Service's front end, for development only.

It speaks TLS, accepts any client certificate and forwards it to a local server in one header, as
the platform documents. It removes from a request every header that looks like the one that it sets.

App Service: https://learn.microsoft.com/azure/app-service/app-service-web-configure-tls-mutual-auth
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import h11
from OpenSSL import SSL

from arrcert.cli.tls import TlsStream, mistake, reason_of, tls_context
from arrcert.exceptions import quote
from arrcert.forwarding.front_ends import FRONT_ENDS, fold_header_name

ClientCertMode = Literal["required", "optional", "ignore"]
"""The values of App Service's `clientCertMode`. `ignore` means `clientCertEnabled: false`."""

MAX_REQUEST_HEADER_BYTES = 64 * 1024
"""The largest size of request line and headers together, as in App Service's front end."""

IDLE_SECONDS = 10.0
"""How long a client may be silent, in seconds."""

CONNECT_SECONDS = 10.0
"""How long the server behind the front end may take to accept a connection, in seconds."""

ANSWER_SECONDS = 230.0
"""How long the server behind the front end may be silent, in seconds. App Service's load balancer
ends a request after 230 seconds without a response."""

SHUTDOWN_SECONDS = 1.0
"""How long `stop` waits for running requests, in seconds."""

_HEADER = FRONT_ENDS["app-service"].header
_FOLDED_HEADER = fold_header_name(_HEADER)
_FORWARDED_PREFIX = fold_header_name("X-Forwarded-")

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
"""Headers that are for one connection only (RFC 9110, section 7.6.1)."""

_FRAMING = frozenset({b"content-length", b"host", b"transfer-encoding"})
"""Headers that stay even if `Connection` names them."""

_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n)")

_PLAIN_HTTP_RESPONSE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks HTTPS only: write https:// instead of http://.\n"
)
_BODIES = {
    400: b"400 Bad Request: the front end cannot parse the request.\n",
    403: b"403 Forbidden: a client certificate is required.\n",
    408: b"408 Request Timeout\n",
    413: b"413 Content Too Large: request line and headers take more than 64 KB.\n",
    502: b"502 Bad Gateway: the server behind the front end gives no valid answer.\n",
    504: b"504 Gateway Timeout: the server behind the front end does not answer in time.\n",
}

_LARGEST_EVENT = 1024 * 1024
"""The largest request or response head that h11 parses, in bytes."""

_LONGEST_LOGGED_PATH = 300


class FrontEndServer:
    """A TLS server in front of a local HTTP server, like App Service's front end.

    It requests a certificate from every client and accepts any: self-signed, expired, or from an
    unknown CA. It removes every header whose name equals `X-ARR-ClientCert` if case is ignored and
    `_`, `-` and `.` count as the same character, and every `X-Forwarded-` header. Then it sets
    `X-ARR-ClientCert` to the bare base64 DER of the client's leaf, if there is one, and
    `X-Forwarded-Proto` to `https`. It passes on WebSockets, but no other upgrades, such as `h2c`.
    It drops trailers, and refuses a line that does not end with CR LF.

    On a path that starts with an entry of `excluded_paths` no certificate is forwarded or required.
    The platform does that with TLS renegotiation: if there are exclusion paths, it supports neither
    TLS 1.3 nor HTTP/2, and it answers 403 to a body of more than 100 KB. This stand-in does not
    imitate these limits. It requests a certificate on every connection, and does not set the header
    on these paths.

    Args:
        upstream: host and port of the HTTP server that gets the requests.
        certificate: the server's own certificate as PEM, followed by its intermediates.
        key: the server's private key as unencrypted PEM.
        bind: the host and the port to listen on; port 0 is a free port. The default is
            `("127.0.0.1", 8443)`.
        client_cert_mode: `"required"` answers 403 to a request without a certificate, `"optional"`
            (the default) forwards every request, `"ignore"` requests no certificate.
        excluded_paths: prefixes of the path as the client sent it. Case does not matter, and a
            prefix may end within a segment: `/api` covers `/APIs`. One text or several, each with
            entries separated by `,` or `;`. Empty by default.
        log: a function that is called with one printable line for each request and each failed
            handshake. By default nothing is logged.

    Raises:
        ConfigurationError: the certificate, key, mode or a path cannot be used.
        OSError: the server cannot listen on the address.

    Like App Service (app-service-web-configure-tls-mutual-auth), it does not check the client's
    certificate: the app has to do that. Anybody who can connect to `upstream` directly bypasses it.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        *,
        certificate: bytes,
        key: bytes,
        bind: tuple[str, int] = ("127.0.0.1", 8443),
        client_cert_mode: ClientCertMode = "optional",
        excluded_paths: str | Iterable[str] = (),
        log: Callable[[str], object] | None = None,
    ) -> None:
        if client_cert_mode not in get_args(ClientCertMode):
            raise mistake(
                "client_cert_mode",
                f"{quote(client_cert_mode)} is none of {', '.join(get_args(ClientCertMode))}",
            )
        self._upstream = upstream
        self._mode = client_cert_mode
        self._excluded_prefixes = _excluded_prefixes(excluded_paths)
        self._log = log
        self._context = tls_context(certificate, key, asks=client_cert_mode != "ignore")
        # The socket starts to listen here. So a port in use is an error at once, and the real port
        # is known before the server runs.
        self._listener = _listen(bind)
        self._address = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._run, name="arrcert front end", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL of the server, with the real port and without a path: `https://127.0.0.1:8443`."""
        host, port = self._address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - no binding.
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def start(self) -> None:
        """Serve in the background until `stop`. A server can be started once."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Stop listening, and wait up to one second for running requests.

        A request that takes longer loses its connection.
        """
        if self._loop is not None:
            # The loop is closed if the server was stopped before.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(SHUTDOWN_SECONDS + 1)
        self._listener.close()

    def __enter__(self) -> FrontEndServer:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, sock=self._listener)
        self._started.set()
        await self._stopping.wait()
        # asyncio accepts a connection in several steps, and the server must be open until the last
        # step.
        await asyncio.sleep(0.01)
        server.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=SHUTDOWN_SECONDS)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(self._context, reader, writer)
        task = asyncio.create_task(self._serve_connection(stream))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        # A task that is cancelled before its first step does not close its connection.
        task.add_done_callback(lambda _: writer.close())

    async def _serve_connection(self, stream: TlsStream) -> None:
        # The client may be gone.
        with contextlib.suppress(OSError):
            await self._serve_stream(stream)
        await stream.abort()

    async def _serve_stream(self, stream: TlsStream) -> None:
        """Do the handshake, then answer the requests one after the other."""
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                certificate = await stream.handshake()
        except (SSL.Error, OSError) as error:
            await self._report_failed_handshake(stream, error)
            return
        received = b""
        while not self._stopping.is_set():
            exchange = _Exchange(self._upstream, stream, received)
            if await exchange.read_head():
                await self._answer(exchange, certificate)
            if exchange.status is not None:
                self._report(exchange)
            if not exchange.is_complete:
                break
            received = exchange.rest
        await stream.close()

    async def _answer(self, exchange: _Exchange, certificate: bytes | None) -> None:
        """Answer one request, from the server behind the front end or with 403."""
        path = exchange.target.partition(b"?")[0].decode("latin-1").lower()
        is_excluded = path.startswith(self._excluded_prefixes)
        if not is_excluded:
            exchange.certificate = certificate
            if self._mode == "required" and certificate is None:
                await exchange.refuse(403)
                return
        await exchange.relay()

    def _report(self, exchange: _Exchange) -> None:
        fingerprint = "-"
        if exchange.certificate is not None:
            fingerprint = hashlib.sha256(exchange.certificate).hexdigest()[:16].upper()
        path = exchange.target.partition(b"?")[0]
        self._write_log(
            f"{_printable(exchange.method)} {_printable(path)} {exchange.status} {fingerprint}"
        )

    async def _report_failed_handshake(self, stream: TlsStream, error: Exception) -> None:
        reason = "timed out" if isinstance(error, TimeoutError) else reason_of(error)
        if reason == "Unexpected EOF":
            return  # A port scan, or a browser that opens a connection in advance.
        if reason == "http request":
            # The client may be gone.
            with contextlib.suppress(OSError):
                await stream.write_in_plain(_PLAIN_HTTP_RESPONSE)
            reason = "the client spoke plain HTTP"
        self._write_log(f"- - - TLS handshake failed: {reason}")
        await stream.close()

    def _write_log(self, line: str) -> None:
        if self._log is not None:
            self._log(f"{time.strftime('%H:%M:%S')} {line}")


class _Exchange:
    """One request and its response, between a client and the server behind the front end.

    h11 parses both sides and writes each message anew. So the server behind the front end never
    gets the client's own framing.

    Args:
        upstream: host and port of the server behind the front end.
        stream: the connection of the client.
        received: the bytes that the client has sent after its last request.
    """

    def __init__(self, upstream: tuple[str, int], stream: TlsStream, received: bytes) -> None:
        self._upstream = upstream
        self._stream = stream
        self._received = received
        # A head that is too long is refused before h11 sees it.
        self._client = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_EVENT)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body_error: int | None = None
        self.method = b"-"
        self.target = b"-"
        self.status: int | None = None
        self.certificate: bytes | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the connection can be used for another request."""
        return self._client.our_state is h11.DONE and self._client.their_state is h11.DONE

    @property
    def rest(self) -> bytes:
        """The bytes that the client has sent after this request."""
        return self._client.trailing_data[0]

    async def read_head(self) -> bool:
        """Read request line and headers; return False if there is no request to pass on.

        A request that cannot be parsed is answered here.
        """
        head = self._received
        while b"\r\n\r\n" not in head[:MAX_REQUEST_HEADER_BYTES]:
            if len(head) >= MAX_REQUEST_HEADER_BYTES:
                await self.refuse(413)
                return False
            # A client that ends its lines only with LF never sends the end of the head.
            if re.search(rb"(?<!\r)\n", head):
                await self._refuse_head(head)
                return False
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    received = await self._stream.read()
            except TimeoutError:
                if head:
                    await self.refuse(408)
                return False
            if not received:
                return False
            head += received
        return await self._parse(head)

    async def _parse(self, received: bytes) -> bool:
        head, end, rest = received.partition(b"\r\n\r\n")
        if _BARE_LINE_END.search(head):
            await self._refuse_head(head)
            return False
        try:
            self._client.receive_data(head + end)
            request: Any = self._client.next_event()
            if rest:  # h11 takes empty bytes for the end of the connection.
                self._client.receive_data(rest)
        except h11.RemoteProtocolError:
            await self._refuse_head(head)
            return False
        names = {name for name, _ in request.headers}
        # Refuse both lengths, and a target that names another host or a tunnel: servers interpret
        # such requests differently.
        if {b"content-length", b"transfer-encoding"} <= names or request.target[:1] not in b"/*":
            await self._refuse_head(head)
            return False
        self.method, self.target = request.method, request.target
        self._headers = request.headers.raw_items()
        return True

    async def _refuse_head(self, head: bytes) -> None:
        """Answer 400, and keep the request line for the log."""
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) == 3:
            self.method, self.target, _ = words
        await self.refuse(400)

    async def refuse(self, status: int) -> None:
        """Answer a request in place of the server behind the front end."""
        self.status = status
        # This reads the end of a request without a body, so that the connection can be used again.
        # After a request that breaks the protocol there is no end.
        with contextlib.suppress(h11.RemoteProtocolError):
            self._client.next_event()
        body = _BODIES[status]
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        if self._client.their_state is not h11.DONE:
            headers.append(("Connection", "close"))
        await self._send(h11.Response(status_code=status, headers=headers))
        if self.method != b"HEAD":
            await self._send(h11.Data(body))
        await self._send(h11.EndOfMessage())

    async def relay(self) -> None:
        """Pass the request on, and the response back."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            await self.refuse(502)
            return
        server = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_EVENT)
        upload = asyncio.create_task(self._upload(server, writer))
        try:
            await self._download(server, reader, writer)
            # Read the rest of the body, which the server did not wait for. A client that is too
            # slow loses its connection.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await upload
        finally:
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
            writer.close()
            # The server may have closed it before.
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _upload(self, server: h11.Connection, writer: asyncio.StreamWriter) -> None:
        """Send the request to the server, with its body, without trailers."""
        try:
            writer.write(server.send(self._request_for_server()) or b"")
            while True:
                event = self._client.next_event()
                if event is h11.NEED_DATA:
                    if self._client.they_are_waiting_for_100_continue:
                        await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                    async with asyncio.timeout(IDLE_SECONDS):
                        self._client.receive_data(await self._stream.read())
                elif isinstance(event, h11.Data):
                    await _send_to_server(server, writer, h11.Data(event.data))
                else:
                    await _send_to_server(server, writer, h11.EndOfMessage())
                    return
        except h11.RemoteProtocolError:
            self._body_error = 400
        except TimeoutError:
            self._body_error = 408
        # The server cannot get the rest of the body. It closes the connection, which ends the
        # response.
        writer.close()

    async def _download(
        self, server: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send the response to the client."""
        try:
            event = await self._next_event(server, reader)
            while isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    await self._send(event)
                    self.status = 101
                    await self._tunnel(server, reader, writer)
                    return
                event = await self._next_event(server, reader)
            self.status = event.status_code
            await self._send(
                h11.Response(
                    status_code=event.status_code,
                    reason=event.reason,
                    headers=_end_to_end(event.headers.raw_items()),
                )
            )
            while isinstance(event := await self._next_event(server, reader), h11.Data):
                await self._send(h11.Data(event.data))
            await self._send(h11.EndOfMessage())
        except (h11.RemoteProtocolError, TimeoutError, _ServerLostError) as error:
            if self.status is None:
                late = 504 if isinstance(error, TimeoutError) else 502
                await self.refuse(self._body_error or late)
            else:
                # Only a broken connection can show that the response is incomplete.
                await self._stream.abort()

    async def _next_event(self, server: h11.Connection, reader: asyncio.StreamReader) -> Any:
        while (event := server.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    received = await reader.read(64 * 1024)
                except ConnectionError as error:
                    raise _ServerLostError from error
            server.receive_data(received)
        return event

    async def _tunnel(
        self, server: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Copy bytes in both directions until one side ends: a WebSocket."""
        writer.write(self._client.trailing_data[0])
        await self._stream.write(server.trailing_data[0])
        both = [
            asyncio.create_task(_copy_to_server(self._stream, writer)),
            asyncio.create_task(_copy_to_client(reader, self._stream)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def _request_for_server(self) -> h11.Request:
        headers = [
            (name, value)
            for name, value in _end_to_end(self._headers)
            if name.lower() != b"expect" and not _is_set_by_the_front_end(name)
        ]
        if not any(name.lower() == b"host" for name, _ in headers):  # A client of HTTP/1.0.
            headers.append((b"Host", "{}:{}".format(*self._upstream).encode()))
        headers.append((b"X-Forwarded-Proto", b"https"))
        if self.certificate is not None:
            headers.append((_HEADER.encode(), base64.b64encode(self.certificate)))
        if _asks_for_a_websocket(self._headers):
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        else:
            headers.append((b"Connection", b"close"))
        return h11.Request(method=self.method, target=self.target, headers=headers)

    async def _send(self, event: Any) -> None:
        await self._stream.write(self._client.send(event) or b"")


class _ServerLostError(Exception):
    """The server behind the front end has broken the connection."""


async def _send_to_server(server: h11.Connection, writer: asyncio.StreamWriter, event: Any) -> None:
    # A server may answer and close the connection before it has read the whole body.
    with contextlib.suppress(ConnectionError, h11.LocalProtocolError):
        writer.write(server.send(event) or b"")
        await writer.drain()


async def _copy_to_server(stream: TlsStream, writer: asyncio.StreamWriter) -> None:
    while received := await stream.read():
        writer.write(received)
        await writer.drain()


async def _copy_to_client(reader: asyncio.StreamReader, stream: TlsStream) -> None:
    while received := await reader.read(64 * 1024):
        await stream.write(received)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that are not for one connection only (RFC 9110, section 7.6.1)."""
    listed = list(headers)
    dropped = _HOP_BY_HOP | (_words_of(listed, b"connection") - _FRAMING)
    return [(name, value) for name, value in listed if name.lower() not in dropped]


def _words_of(headers: Iterable[tuple[bytes, bytes]], header: bytes) -> set[bytes]:
    values = b",".join(value for name, value in headers if name.lower() == header)
    return {word.strip().lower() for word in values.split(b",")}


def _is_set_by_the_front_end(name: bytes) -> bool:
    """Return whether a header's name looks like the name of a header that the front end sets."""
    folded = fold_header_name(name.decode("latin-1"))
    return folded == _FOLDED_HEADER or folded.startswith(_FORWARDED_PREFIX)


def _asks_for_a_websocket(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    listed = list(headers)
    return _words_of(listed, b"upgrade") == {b"websocket"} and b"upgrade" in _words_of(
        listed, b"connection"
    )


def _excluded_prefixes(excluded_paths: str | Iterable[str]) -> tuple[str, ...]:
    texts = [excluded_paths] if isinstance(excluded_paths, str) else excluded_paths
    entries = [entry.strip() for text in texts for entry in re.split("[,;]", text)]
    prefixes = tuple(entry.lower() for entry in entries if entry)
    for prefix in prefixes:
        if not prefix.startswith("/"):
            raise mistake(
                "excluded_paths",
                f"{quote(prefix)} excludes nothing; write {quote('/' + prefix)}",
            )
    return prefixes


def _listen(bind: tuple[str, int]) -> socket.socket:
    host, port = bind
    family, _, _, _, _ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(bind, family=family, backlog=128, dualstack_ipv6=both)


def _printable(hostile: bytes) -> str:
    """Return bytes from a client as one word of visible ASCII, safe for a log and a terminal."""
    shown = hostile[:_LONGEST_LOGGED_PATH]
    word = "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}" for byte in shown
    )
    return word if shown == hostile else f"{word}..."
