"""A local stand-in for App Service's front end: real TLS, any client certificate, one header.

For development only. It does what the platform documents, and removes from a request whatever
could pass for the header that it sets.

App Service: https://learn.microsoft.com/azure/app-service/app-service-web-configure-tls-mutual-auth
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import re
import selectors
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, get_args
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from cheroot import server as cheroot_server
from cheroot import wsgi as cheroot_wsgi
from cheroot.makefile import MakeFile
from cheroot.ssl import Adapter
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.forwarding.front_ends import FRONT_ENDS, fold_header_name
from arrcert.forwarding.ingress import wsgi_key

__all__ = ["ClientCertMode", "FrontEndServer"]

ClientCertMode = Literal["required", "optional", "ignore"]
"""What App Service calls `clientCertMode`; `ignore` is `clientCertEnabled: false`."""

MAX_REQUEST_HEADER_BYTES = 64 * 1024
"""The largest request line and headers together, as App Service's front end has it."""

IDLE_SECONDS = 10
"""How long a connection may stay silent."""

SHUTDOWN_SECONDS = 1
"""How long `stop` waits for requests in flight."""

_HEADER = FRONT_ENDS["app-service"].header
_FOLDED_HEADER = fold_header_name(_HEADER)
_FORWARDED_PREFIX = fold_header_name("X-Forwarded-")

_FORBIDDEN_BODY = b"403 Forbidden: a client certificate is required.\n"
_PLAIN_HTTP_RESPONSE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks HTTPS only: write https:// instead of http://.\n"
)

_LONGEST_LOGGED_PATH = 300


class FrontEndServer:
    """Runs a WSGI app behind TLS the way App Service's front end does.

    It asks every client for a certificate and accepts any: self-signed, expired, from an unknown
    CA. It removes from the request every header whose name is `X-ARR-ClientCert` once case and
    `_`, `-`, `.` are folded, and every `X-Forwarded-` header, from the raw lines, before any name
    is folded into a WSGI key. Then it sets `X-ARR-ClientCert` to the bare base64 DER of the
    client's leaf, where there is one, and `X-Forwarded-Proto` to `https`.

    On a path that starts with an entry of `excluded_paths` no certificate is forwarded or
    required. The platform does that by TLS renegotiation: with exclusions it speaks neither
    TLS 1.3 nor HTTP/2 and answers 403 to a body above 100 KB. This stand-in does not imitate that;
    it asks on every connection and leaves the header out.

    Args:
        app: the WSGI application (PEP 3333).
        certificate: the server's own certificate as PEM, with the intermediates after it.
        key: its private key as unencrypted PEM.
        bind: host and port to listen on; port 0 takes a free one. The default is
            `("127.0.0.1", 8443)`.
        client_cert_mode: `"required"` answers 403 itself where no certificate comes, `"optional"`
            (the default) passes every request on, `"ignore"` asks for no certificate.
        excluded_paths: where no certificate is wanted: prefixes of the path as it was sent, without
            regard to case or to segments, so that `/api` covers `/APIs`. One text or several, each
            with entries separated by `,` or `;`. None by default.
        log: called with one printable line for each request and each failed handshake; nothing is
            logged by default.

    Raises:
        ConfigurationError: a certificate, key, mode or path that cannot be used.
        OSError: the address cannot be listened on.

    It checks nothing about the client's certificate, as App Service does not
    (app-service-web-configure-tls-mutual-auth): that is the app's to do.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        certificate: bytes,
        key: bytes,
        bind: tuple[str, int] = ("127.0.0.1", 8443),
        client_cert_mode: ClientCertMode = "optional",
        excluded_paths: str | Iterable[str] = (),
        log: Callable[[str], object] | None = None,
    ) -> None:
        if client_cert_mode not in get_args(ClientCertMode):
            raise _mistake(
                "client_cert_mode",
                f"{quote(client_cert_mode)} is none of {', '.join(get_args(ClientCertMode))}",
            )
        self._app = app
        self._mode = client_cert_mode
        self._excluded_prefixes = _excluded_prefixes(excluded_paths)
        self._log = log or (lambda _line: None)
        context = _tls_context(certificate, key, asks=client_cert_mode != "ignore")
        # Listening from here on, a taken port is an OSError of this very line, and the port that
        # 0 stands for is known before the server runs.
        self._listener = _listen(bind)
        self._server = _Server(self, self._listener, _TlsAdapter(context))

    @property
    def url(self) -> str:
        """The address to open, with the real port and without a path: `https://127.0.0.1:8443`."""
        host, port = self._server.bind_addr
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - no binding.
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def start(self) -> None:
        """Serve in the background until `stop`; a server is started once."""
        # Its worker threads inherit the daemon flag: none of them can hold up the interpreter's
        # exit, whatever the app is doing.
        thread = threading.Thread(target=self._server.start, name="arrcert front end", daemon=True)
        thread.start()
        while not self._server.ready and thread.is_alive():
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop listening, and give requests in flight one second to end.

        A request that takes longer loses its connection; its thread is left behind as a daemon.
        """
        # cheroot waits for its workers without end, so it gets a thread of its own to wait in.
        stopper = threading.Thread(target=self._server.stop, daemon=True)
        stopper.start()
        stopper.join(SHUTDOWN_SECONDS + 0.5)
        self._listener.close()

    def __enter__(self) -> FrontEndServer:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _forwards_certificate(self, target: str) -> bool:
        """Tell whether a request target, as it was sent, lies outside `excluded_paths`."""
        path = target.partition("?")[0].lower()
        return not path.startswith(self._excluded_prefixes)

    def _respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        """Answer one request: the WSGI application that cheroot runs."""
        if (
            self._mode == "required"
            and wsgi_key(_HEADER) not in environ
            and self._forwards_certificate(environ["REQUEST_URI"])
        ):
            start_response("403 Forbidden", _text_headers(_FORBIDDEN_BODY))
            if environ["REQUEST_METHOD"] != "HEAD":
                yield _FORBIDDEN_BODY
            return
        response: Iterable[bytes] = ()
        try:
            response = self._app(environ, start_response)
            yield from response
        # What the app raises must not reach cheroot, which takes an OSError for the client's and a
        # SystemExit for the order to stop.
        except (Exception, SystemExit):
            environ["wsgi.errors"].write(traceback.format_exc())
            body = b"500 Internal Server Error\n"
            try:
                start_response("500 Internal Server Error", _text_headers(body), sys.exc_info())
            except (Exception, SystemExit):
                # The answer is on its way already: cutting the connection is the one sign left.
                raise ConnectionAbortedError(
                    errno.ECONNABORTED, "the app failed in the middle of its answer"
                ) from None
            yield body
        finally:
            close = getattr(response, "close", None)
            if close is not None:
                close()


def _mistake(setting: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(setting, message)])


def _excluded_prefixes(excluded_paths: str | Iterable[str]) -> tuple[str, ...]:
    texts = [excluded_paths] if isinstance(excluded_paths, str) else excluded_paths
    entries = [entry.strip() for text in texts for entry in re.split("[,;]", text)]
    prefixes = tuple(entry.lower() for entry in entries if entry)
    for prefix in prefixes:
        if not prefix.startswith("/"):
            raise _mistake(
                "excluded_paths",
                f"{quote(prefix)} excludes nothing; write {quote('/' + prefix)}",
            )
    return prefixes


def _text_headers(body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]


def _listen(bind: tuple[str, int]) -> socket.socket:
    host, port = bind
    family, _, _, _, _ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(bind, family=family, backlog=128, dualstack_ipv6=both)


def _tls_context(certificate: bytes, key: bytes, *, asks: bool) -> SSL.Context:
    try:
        chain = x509.load_pem_x509_certificates(certificate)
    except ValueError as error:
        raise _mistake("certificate", "holds no PEM certificate that can be read") from error
    try:
        private_key = serialization.load_pem_private_key(key, password=None)
    except TypeError as error:
        raise _mistake("key", "is encrypted; write it without a password") from error
    except ValueError as error:
        raise _mistake("key", "holds no PEM private key that can be read") from error
    if private_key.public_key() != chain[0].public_key():
        raise _mistake("key", "does not belong to the certificate")

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    try:
        context.use_certificate(chain[0])
        # Typed for the kinds of key that OpenSSL can serve with; it says itself which it cannot.
        context.use_privatekey(private_key)  # type: ignore[arg-type]
    except (SSL.Error, TypeError) as error:
        raise _mistake("key", "is of a kind that TLS cannot use") from error
    for intermediate in chain[1:]:
        context.add_extra_chain_cert(intermediate)
    if asks:
        context.set_verify(SSL.VERIFY_PEER, _accept_any)
        # Without a context of their own OpenSSL refuses to resume sessions that hold a client
        # certificate, and with it the connection.
        context.set_session_id(b"arrcert")
    return context


def _accept_any(*_facts: object) -> bool:
    return True


class _TlsSocket:
    """The server's side of one TLS connection, with what cheroot needs of a socket's interface.

    cheroot's own pyOpenSSL adapter drops what it has read of a line that comes in two parts, and
    lets `WantReadError` escape into the app that reads a body. Here each call waits until it is
    done.
    """

    def __init__(self, context: SSL.Context, raw: socket.socket) -> None:
        self._raw = raw
        self._tls = SSL.Connection(context, raw)
        self._tls.set_accept_state()
        self._timeout: float | None = IDLE_SECONDS
        self._closed = False

    def do_handshake(self) -> bytes | None:
        """Shake hands; return the DER of the client's leaf, or None where none was presented."""
        self._finish(self._tls.do_handshake)
        leaf = self._tls.get_peer_certificate()
        # Not by way of pyca, which refuses certificates that OpenSSL passes, such as one of an
        # unknown version; refusing is the app's part.
        return None if leaf is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)

    def recv_into(self, buffer: bytearray) -> int:
        try:
            received: int = self._finish(self._tls.recv_into, buffer)
        except SSL.Error:  # Orderly or not, the client is gone.
            return 0
        return received

    def send(self, data: bytes) -> int:
        try:
            sent: int = self._finish(self._tls.send, data)
        except SSL.Error:
            raise BrokenPipeError(errno.EPIPE, "the client is gone") from None
        return sent

    def _finish(self, operation: Callable[..., Any], *arguments: object) -> Any:
        # A file descriptor that was closed may be somebody else's by now.
        while not self._closed:
            try:
                return operation(*arguments)
            except SSL.WantReadError:
                awaited = selectors.EVENT_READ
            except SSL.WantWriteError:
                awaited = selectors.EVENT_WRITE
            with selectors.DefaultSelector() as selector:
                selector.register(self._raw, awaited)
                if not selector.select(self._timeout):
                    raise TimeoutError("timed out")  # cheroot knows it by this text.
        raise OSError(errno.EBADF, "the connection is closed")

    def send_in_plain(self, data: bytes) -> None:
        """Send outside TLS, to a client that does not speak it."""
        self._raw.sendall(data)

    def fileno(self) -> int:
        return self._raw.fileno()

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RDWR:  # From another thread, which must leave TLS alone.
            self._raw.shutdown(how)
            return
        # Before the handshake, and after the client left, there is nobody to take leave of.
        with contextlib.suppress(SSL.Error):
            self._tls.shutdown()
        self._raw.shutdown(socket.SHUT_WR)
        # Closing with unread input makes the kernel send a reset, which can overtake the answer.
        self._raw.setblocking(False)
        with contextlib.suppress(OSError):
            for _ in range(64):
                if not self._raw.recv(65536):
                    break

    def close(self) -> None:
        self._closed = True
        self._raw.close()

    def _decref_socketios(self) -> None:
        """Take note that a `socket.SocketIO` over this socket was closed: cheroot closes both."""


class _TlsAdapter(Adapter):
    """Wraps accepted sockets; the handshake waits for the worker thread."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[_TlsSocket, dict[str, str]]:
        # TLS writes in small pieces; without this each request may wait 40 ms for an ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _TlsSocket(self.context, sock), self.get_environ()

    def get_environ(self) -> dict[str, str]:
        # The scheme would otherwise be what a request line in absolute form says.
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: _TlsSocket, mode: str = "r", bufsize: int = -1) -> Any:
        return MakeFile(sock, mode, bufsize)


class _HeaderReader(cheroot_server.HeaderReader):
    """Leaves out what could pass for a header that the front end sets."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        try:
            headers: dict[bytes, bytes] = super().__call__(rfile, hdict)
        except UnboundLocalError:  # cheroot has no name yet to continue.
            raise ValueError("Illegal header line.") from None
        if not headers.get(b"Content-Length", b"0").isdigit():
            raise ValueError("Malformed Content-Length Header.")
        return headers

    def _allow_header(self, key_name: bytes) -> bool:
        # cheroot asks once more, with the same name, for each line that continues a header.
        folded = fold_header_name(key_name.decode("latin-1"))
        return folded != _FOLDED_HEADER and not folded.startswith(_FORWARDED_PREFIX)


class _Request(cheroot_server.HTTPRequest):
    header_reader = _HeaderReader()
    status: Any  # Empty at first, then bytes.
    forwarded_certificate: bytes | None = None

    def read_request_line(self) -> bool:
        try:
            return bool(super().read_request_line())  # type: ignore[no-untyped-call]
        except ValueError:  # What urlsplit raises about an authority that it cannot read.
            self.simple_response("400 Bad Request", "Malformed Request-URI")
            return False

    def read_request_headers(self) -> bool:
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        self.inheaders[b"X-Forwarded-Proto"] = b"https"
        certificate = self.conn.client_certificate
        if certificate is not None and self.server.front_end._forwards_certificate(
            self.uri.decode("latin-1")
        ):
            self.forwarded_certificate = certificate
            self.inheaders[_HEADER.title().encode()] = base64.b64encode(certificate)
        return True

    def respond(self) -> None:
        try:
            super().respond()
            if self.chunked_read:
                self._discard_rest_of_body()
        finally:
            self._log_access(self.status[:3] or b"-")

    def _discard_rest_of_body(self) -> None:
        """Read a chunked body to its end, trailers included: the next request starts after it."""
        try:
            while self.rfile.read(65536):
                pass
            for _ in self.rfile.read_trailer_lines():
                pass
        except ValueError:
            self.close_connection = True

    def simple_response(self, status: str, msg: str = "") -> None:
        super().simple_response(status, msg)
        if self.started_request:  # Not where an idle connection has merely timed out.
            self._log_access(status[:3].encode())

    def _log_access(self, status: bytes) -> None:
        method = getattr(self, "method", b"-")
        path = getattr(self, "uri", b"-").partition(b"?")[0]
        fingerprint = "-"
        if self.forwarded_certificate is not None:
            fingerprint = hashlib.sha256(self.forwarded_certificate).hexdigest()[:16].upper()
        self.server.front_end._log(
            f"{time.strftime('%H:%M:%S')} {_printable(method)} {_printable(path)}"
            f" {_printable(status)} {fingerprint}"
        )


def _printable(hostile: bytes) -> str:
    """Return bytes as one word of visible ASCII, so that nobody writes log lines or colours."""
    shown = hostile[:_LONGEST_LOGGED_PATH]
    word = "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}" for byte in shown
    )
    return word if shown == hostile else f"{word}..."


class _Body(io.RawIOBase):
    """A request body as a file; cheroot's own loops for ever in `readline` of a chunked one."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Gateway(cheroot_wsgi.Gateway_10):
    def get_environ(self) -> WSGIEnvironment:  # type: ignore[override]
        environ: WSGIEnvironment = super().get_environ()  # type: ignore[no-untyped-call]
        environ["wsgi.input"] = io.BufferedReader(_Body(self.req.rfile))
        environ["SERVER_NAME"] = self.req.server.bind_addr[0]
        return environ

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        if exc_info is not None and not self.req.sent_headers:
            # PEP 3333: the headers of an error replace those of the first call.
            self.req.outheaders.clear()
            self.remaining_bytes_out = None
        write: Callable[[bytes], object] = super().start_response(status, headers, exc_info)
        return write


class _Connection(cheroot_server.HTTPConnection):
    RequestHandlerClass = _Request
    # A whole TLS record, so that none of it stays inside OpenSSL, where the selector that waits for
    # the next request cannot see it.
    rbufsize = 16 * 1024

    client_certificate: bytes | None = None
    _shook_hands = False

    def communicate(self) -> bool:
        """Serve the connection until it is idle; the first time, shake hands before."""
        if not self._shook_hands:
            try:
                self.client_certificate = self.socket.do_handshake()
            except (SSL.Error, OSError) as error:
                self._report_failed_handshake(error)
                return False
            self._shook_hands = True
        return bool(super().communicate())  # type: ignore[no-untyped-call]

    def close(self) -> None:
        super().close()
        # What a client that left did not take would be sent again when the file is collected, and
        # its failure printed.
        with contextlib.suppress(OSError):
            self.wfile.close()

    def _report_failed_handshake(self, error: Exception) -> None:
        reason = _reason(error)
        if reason == "Unexpected EOF":
            return  # A port scan, or a browser that connected ahead of need.
        if reason == "http request":
            with contextlib.suppress(OSError):
                self.socket.send_in_plain(_PLAIN_HTTP_RESPONSE)
            reason = "the client spoke plain HTTP"
        self.server.front_end._log(
            f"{time.strftime('%H:%M:%S')} - - - TLS handshake failed: {reason}"
        )


def _reason(error: Exception) -> str:
    """Return OpenSSL's own words, which hold nothing of the client's."""
    match error.args:
        case ([(_, _, reason), *_],) | (_, str(reason)) | (str(reason),):
            return str(reason)
        case _:
            return type(error).__name__


class _Server(cheroot_wsgi.Server):
    ConnectionClass = _Connection
    max_request_header_size = MAX_REQUEST_HEADER_BYTES
    expiration_interval = 0.1  # How often it looks whether it shall stop, in seconds.
    software = "arrcert"

    def __init__(
        self, front_end: FrontEndServer, listener: socket.socket, adapter: Adapter
    ) -> None:
        super().__init__(
            listener.getsockname()[:2],
            front_end._respond,
            server_name="arrcert",
            timeout=IDLE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
            request_queue_size=128,
        )
        self.front_end = front_end
        self.gateway = _Gateway
        self.ssl_adapter = adapter
        self._listener = listener

    def bind(self, *_address: object) -> socket.socket:
        """Take the socket that is already listening."""
        self.socket = self._listener
        return self._listener

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        if traceback:  # A fault of this server, not of a client: whoever develops wants to see it.
            super().error_log(msg, level, traceback)
        else:
            self.front_end._log(f"{time.strftime('%H:%M:%S')} - - - {quote(msg)}")
