"""A front end with a site behind it, in this process, into which a test plants holes.

Without holes it behaves as App Service should: it takes any certificate, removes what a client sent
by the header's name, writes its own header, and the site accepts only one certificate.
"""

from __future__ import annotations

import base64
import contextlib
import re
import select
import socket
import threading
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded, TrailersReceived
from h2.exceptions import H2Error
from OpenSSL import SSL, crypto

from arrcert.testing import CertificateAuthority, IssuedCertificate

HEADER = "x-arr-clientcert"
MOST_HEADER_BYTES = 64 * 1024
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
Headers = list[tuple[str, str]]


class PlantedSite:
    """Serves until the end of a with block.

    Args:
        allowed: the only client that may enter.
        holes: what is wrong with it; none by default.

    Attributes:
        seen: the common names of the certificates that the site decided about.
    """

    def __init__(self, allowed: IssuedCertificate, *holes: str) -> None:
        self.holes = frozenset(holes)
        self._allowed = allowed.header_value
        self._remembers = False
        self.authority = CertificateAuthority("planted")
        server = self.authority.issue(
            "localhost", dns_names=["localhost"], extended_key_usages=("serverAuth",)
        )
        self._context = self._tls_context(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._plain = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.plain_port: int = self._plain.getsockname()[1]
        self.url = f"https://localhost:{self.port}/page"
        self.requests: list[str] = []
        self.seen: list[str] = []

    def _tls_context(self, server: IssuedCertificate) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(
            SSL.TLS1_VERSION if "old TLS" in self.holes else SSL.TLS1_2_VERSION
        )
        if "old TLS" in self.holes:
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
        if "no TLS 1.3" in self.holes:
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.use_certificate(server.certificate.x509)
        context.use_privatekey(load_pem_private_key(server.private_key_pem, None))
        context.set_session_id(b"planted")
        required = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if "TLS requires" in self.holes else 0
        if not self.holes & {"never asks", "renegotiates"}:
            context.set_verify(SSL.VERIFY_PEER | required, self._verify)
        if self.holes & {"no sessions", "renegotiates"}:
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            context.set_options(SSL.OP_NO_TICKET)
        if "names CAs" in self.holes:
            context.add_client_ca(self.authority.x509)
        protocols = [b"h2", b"http/1.1"] if "HTTP/2" in self.holes else [b"http/1.1"]
        context.set_alpn_select_callback(
            lambda _connection, offered: next(
                (name for name in protocols if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS
            )
        )
        return context

    def _verify(self, _c: object, _x: object, error: int, _depth: int, _ok: int) -> bool:
        has_expired = 10  # X509_V_ERR_CERT_HAS_EXPIRED
        return "checks dates" not in self.holes or error != has_expired

    def __enter__(self) -> PlantedSite:
        for listener, serve in ((self._listener, self._serve_tls), (self._plain, self._serve)):
            threading.Thread(target=self._accept, args=(listener, serve), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for listener in (self._listener, self._plain):
            # Some systems refuse to shut down a socket that only listens.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket, serve: object) -> None:
        # `__exit__` closes the listener, which ends this thread.
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                threading.Thread(target=self._guard, args=(serve, raw), daemon=True).start()

    def _guard(self, serve: object, raw: socket.socket) -> None:
        # The probe breaks the protocols on purpose, and closes connections at any time.
        with raw, contextlib.suppress(OSError, SSL.Error, H2Error, EOFError, ValueError):
            serve(raw)

    def _serve_tls(self, raw: socket.socket) -> None:
        connection = SSL.Connection(self._context, raw)
        connection.set_accept_state()
        connection.do_handshake()
        wire = Wire(connection)
        if "renegotiates" in self.holes:
            wire.wait()
            self._renegotiate(connection, raw)
        leaf = connection.get_peer_certificate()
        value = None
        if leaf is not None:
            der = crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)
            value = base64.b64encode(der).decode()
        chain = connection.get_peer_cert_chain() or []
        if "refuses chains" in self.holes and chain:
            value = ""
        if connection.get_alpn_proto_negotiated() == b"h2":
            self._serve_http2(wire, value)
        else:
            self._serve_http1(wire, value, is_tls=True)
        # The client may have closed it before.
        with contextlib.suppress(SSL.Error):
            connection.shutdown()

    def _renegotiate(self, connection: SSL.Connection, raw: socket.socket) -> None:
        """Ask for the certificate by a second handshake."""
        connection.set_verify(SSL.VERIFY_PEER, self._verify)
        connection.renegotiate()
        before = connection.get_finished()
        connection.do_handshake()
        raw.setblocking(False)
        while connection.get_finished() == before:
            select.select([raw], [], [], 5)
            # Reading lets OpenSSL process the handshake.
            with contextlib.suppress(SSL.WantReadError):
                connection.recv(1, socket.MSG_PEEK)
        raw.setblocking(True)

    def _serve(self, raw: socket.socket) -> None:
        self._serve_http1(Wire(raw), None, is_tls=False)

    def _serve_http1(self, wire: Wire, value: str | None, *, is_tls: bool) -> None:
        while True:
            head = wire.until(b"\r\n\r\n")
            request, _, rest = head.partition("\r\n")
            method, path, _ = request.split(" ")
            self.requests.append(f"{method} {path}")
            if "silent" in self.holes and len(self.requests) > 8:
                threading.Event().wait(60)
            most = 3000 if "short headers" in self.holes else MOST_HEADER_BYTES
            if len(head) + len(value or "") > most:
                return self._answer(wire, method, 431)
            headers = self._parsed(self._cleaned(rest, path))
            if headers is None:
                return self._answer(wire, method, 400)
            known = dict(headers)
            length = int(known.get("content-length", "0"))
            is_helped = "helped by Expect" in self.holes and "expect" in known
            if length > 100_000 and "small bodies" in self.holes and not is_helped:
                return self._answer(wire, method, 413)
            if "expect" in known:
                wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            wire.exactly(length)
            if known.get("transfer-encoding") == "chunked":
                if "no chunks" in self.holes:
                    return self._answer(wire, method, 411)
                while size := int(wire.until(b"\r\n").strip() or "0", 16):
                    wire.exactly(size + 2)
                trailer = wire.until(b"\r\n")
                while trailer != "\r\n":
                    if "trailers" in self.holes:
                        headers += self._parsed(trailer) or []
                    trailer = wire.until(b"\r\n")
                if "late header" in self.holes:
                    value = None
            if not is_tls and "plain HTTP" not in self.holes:
                return self._answer(wire, method, 301, f"Location: https://localhost{path}")
            if known.get("upgrade") == "h2c" and "h2c" in self.holes:
                wire.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
                return self._serve_http2(wire, None, settings=known["http2-settings"])
            status = self._status(path, headers, value)
            if known.get("upgrade") == "websocket" and (
                "WebSockets unchecked" in self.holes
                or (status == 200 and "WebSockets" in self.holes)
            ):
                return self._answer(wire, "HEAD", 101)
            is_way = "dots" in self.holes and path.endswith("/../page")
            self._answer(
                wire,
                method,
                status,
                is_open=path != "/page" and not is_way,
            )
            if "forgets" in self.holes:
                value = None
            if known.get("connection", "").startswith("close") or "closes" in self.holes:
                return None

    def _removes(self, path: str) -> bool:
        is_excluded = path.lower().startswith("/public")
        return "passes on" not in self.holes and not (is_excluded and "excluded" in self.holes)

    def _cleaned(self, text: str, path: str) -> str:
        """Return the forwarded lines: all except those that begin with the exact name."""
        lines = text.split("\r\n")
        if self._removes(path):
            lines = [line for line in lines if line.partition(":")[0].lower() != HEADER]
        return "\r\n".join(lines)

    def _parsed(self, text: str) -> Headers | None:
        """Return how a server parses it."""
        ends = {"lone CR": "\r", "lone LF": "\n", "0B": "\x0b", "85": "\x85"}
        found = [end for hole, end in ends.items() if hole in self.holes]
        text = text.replace("\r\n ", "\n ").replace("\r\n", "\0")
        for end in found:
            text = text.replace(end, "\0")
        headers: Headers = []
        text = text.replace("\n ", "\0 " if "folded line" in self.holes else "\n ")
        for line in text.split("\0"):
            name, _, content = line.partition(":")
            if not line:
                continue
            if "\n" in line or "\r" in line:
                return None
            if "spaces" in self.holes or ("folded line" in self.holes and name[:1] == " "):
                name = name.strip()
            if TOKEN.fullmatch(name) is None:
                return None
            headers.append((name.lower(), content.strip()))
        return headers

    def _serve_http2(self, wire: Wire, value: str | None, settings: str | None = None) -> None:
        protocol = H2Connection(
            H2Configuration(
                client_side=False, header_encoding="latin-1", validate_inbound_headers=False
            )
        )
        is_tunnel = settings is not None
        if settings is not None:
            protocol.initiate_upgrade_connection(settings.encode())
        else:
            protocol.initiate_connection()
        if "HTTP/2 closes" in self.holes:
            return
        if "HTTP/2 garbage" in self.holes:
            wire.some()
            wire.send(b"\0\0\1\0\0\0\0\0\0x" * 8)
            return
        if "HTTP/2 goes away" in self.holes:
            protocol.close_connection()
        wire.send(protocol.data_to_send())
        headers: Headers = []
        while True:
            for event in protocol.receive_data(wire.some()):
                if isinstance(event, RequestReceived):
                    headers = self._from_http2(event.headers, is_tunnel=is_tunnel)
                elif isinstance(event, TrailersReceived) and "trailers" in self.holes:
                    headers += self._from_http2(event.headers, is_trailer=True)
                elif isinstance(event, StreamEnded):
                    stream = event.stream_id
                    if "resets" in self.holes:
                        protocol.reset_stream(stream)
                    else:
                        if is_tunnel:
                            values = [content for name, content in headers if name == HEADER]
                            is_in = values == [self._allowed] and "h2c refuses" not in self.holes
                            status = 200 if is_in else 403
                        else:
                            status = self._status("/page", headers, value)
                        protocol.send_headers(stream, [(":status", str(status))])
                        protocol.send_data(stream, b"page\n", end_stream=True)
            wire.send(protocol.data_to_send())

    def _from_http2(
        self,
        headers: Iterable[tuple[str, str]],
        *,
        is_tunnel: bool = False,
        is_trailer: bool = False,
    ) -> Headers:
        found: Headers = []
        for name, content in headers:
            if name.startswith(":"):
                continue
            content, *more = content.split("\r\n")
            if name != HEADER or is_tunnel or is_trailer or not self._removes("/page"):
                found.append((name, content))
            if "HTTP/2 line ends" in self.holes:
                found += [(n.lower(), v.strip()) for n, _, v in (m.partition(":") for m in more)]
        return found

    def _status(self, path: str, headers: Headers, value: str | None) -> int:
        """Return the status with which the front end, or else the site, answers a request."""
        path = path.partition("?")[0]
        is_excluded = path.lower().startswith("/public")
        connection = dict(headers).get("connection", "").lower()
        if value is not None and not is_excluded:
            position = len(headers) if "appends" in self.holes else 0
            headers.insert(position, (HEADER, value))
        if "hop-by-hop" in self.holes:
            headers = [pair for pair in headers if pair[0] not in connection.split(", ")]
        if "checks itself" in self.holes and value not in (None, self._allowed):
            return 400
        if "requires" in self.holes and value is None and not is_excluded:
            return 401
        return self._site(path, headers)

    def _site(self, path: str, headers: Headers) -> int:
        if path == "/health" or ("prefix exempt" in self.holes and path.startswith("/health")):
            return 200
        if "stumbles" in self.holes and len([n for n, _ in headers if n == HEADER]) > 1:
            return 500
        if "breaks" in self.holes or ("breaks elsewhere" in self.holes and path == "/elsewhere"):
            return 500
        if "strict" in self.holes:
            return 403
        if "dots" in self.holes and path.endswith("/../page"):
            return 200
        if "public is open" in self.holes and path.startswith("/public"):
            return 200
        if "open" in self.holes:
            return 200
        names = {HEADER}
        if "folds" in self.holes:
            headers = [(name.replace("_", "-").replace(".", "-"), v) for name, v in headers]
            names.add("http-x-arr-clientcert")
        if "reads others" in self.holes:
            names.add("x-client-cert")
        values = [v for name, v in headers if name in names and v]
        values = [v for joined in values for v in joined.split(",")]
        connection = dict(headers).get("connection", "")
        for text in values:
            self.seen.append(_common_name(text))
        if "believes one of several" in self.holes:
            values = [v for v in values if v == self._allowed] or values
            values = values[:1]
        is_in = values == [self._allowed] or ("any certificate" in self.holes and bool(values))
        if "redirects" in self.holes and is_in:
            return 302
        if self._remembers and not is_in:
            self._remembers = False
            return 200
        if "remembers" in self.holes:
            self._remembers = is_in and connection == "keep-alive"
        return 200 if is_in else 403

    def _answer(
        self, wire: Wire, method: str, status: int, *lines: str, is_open: bool = False
    ) -> None:
        text = ("open" if is_open else "page") if status == 200 else "front end or site"
        body = b"" if status == 101 else f"{text}\n".encode()
        if "says close" in self.holes:
            lines = (*lines, "Connection: close")
        head = [f"HTTP/1.1 {status} X", *lines, f"Content-Length: {len(body)}", "", ""]
        wire.send("\r\n".join(head).encode() + (b"" if method == "HEAD" else body))


class Wire:
    """Reads and writes a connection."""

    def __init__(self, connection: socket.socket | SSL.Connection) -> None:
        self._connection = connection
        self._buffer = b""

    def wait(self) -> None:
        """Wait until bytes have arrived."""
        self._buffer += self._connection.recv(65536)

    def some(self) -> bytes:
        """Return the bytes that have arrived, or wait for the next ones."""
        rest, self._buffer = self._buffer, b""
        data = rest or self._connection.recv(65536)
        if not data:
            raise EOFError
        return data

    def until(self, end: bytes) -> str:
        """Return text up to and including an end. A head may have either of the two line ends."""
        while end not in self._buffer:
            data = self._connection.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(end)
        return (text + b"\r\n").decode("latin-1")

    def exactly(self, size: int) -> None:
        """Read a body of a given length."""
        while len(self._buffer) < size:
            data = self._connection.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        self._buffer = self._buffer[size:]

    def send(self, data: bytes) -> None:
        """Write bytes."""
        if data:
            self._connection.sendall(data)


def _common_name(text: str) -> str:
    # A forged header may hold anything.
    with contextlib.suppress(ValueError):
        certificate = x509.load_der_x509_certificate(base64.b64decode(text))
        return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    return ""
