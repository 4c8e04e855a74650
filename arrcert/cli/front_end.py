"""A local stand-in for App Service's front end, for development only.

It speaks TLS, accepts any client certificate and forwards it to the app in one header, as the
platform documents. It removes every header from a request that looks like the one it sets.

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

ClientCertMode = Literal["required", "optional", "ignore"]
"""The values of App Service's `clientCertMode`; `ignore` stands for `clientCertEnabled: false`."""

MAX_REQUEST_HEADER_BYTES = 64 * 1024
"""The largest size of request line and headers together, as in App Service's front end."""

IDLE_SECONDS = 10
"""How long a connection may be idle."""

SHUTDOWN_SECONDS = 1
"""How long `stop` waits for running requests."""

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
    """Runs a WSGI app behind TLS, like App Service's front end.

    It requests a certificate from every client and accepts any: self-signed, expired, or from an
    unknown CA. It removes every header whose name equals `X-ARR-ClientCert` if case is ignored and
    `_`, `-` and `.` count as the same character, and every `X-Forwarded-` header. It removes them
    from the raw header lines, before the names become WSGI keys. Then it sets `X-ARR-ClientCert`
    to the bare base64 DER of the client's leaf, if there is one, and `X-Forwarded-Proto` to
    `https`.

    On a path that starts with an entry of `excluded_paths` no certificate is forwarded or required.
    The platform uses TLS renegotiation for that: with exclusion paths it supports neither TLS 1.3
    nor HTTP/2, and it answers 403 to a body of more than 100 KB. This stand-in does not imitate
    that. It requests a certificate on every connection and does not set the header.

    Args:
        app: the WSGI application (PEP 3333).
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
    certificate: the app has to do that.
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
        # The socket listens from here on. A port in use is therefore an error now, and the real
        # port is known before the server runs.
        self._listener = _listen(bind)
        self._server = _Server(self, self._listener, _TlsAdapter(context))

    @property
    def url(self) -> str:
        """The URL of the server, with the real port and without a path: `https://127.0.0.1:8443`."""
        host, port = self._server.bind_addr
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - no binding.
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def start(self) -> None:
        """Serve in the background until `stop`. A server can be started once."""
        # The worker threads inherit the daemon flag, so that the interpreter can exit whatever the
        # app is doing.
        thread = threading.Thread(target=self._server.start, name="arrcert front end", daemon=True)
        thread.start()
        while not self._server.ready and thread.is_alive():
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop listening, and wait up to one second for running requests.

        A request that takes longer loses its connection, and its daemon thread goes on.
        """
        # cheroot waits for its workers without a limit, so another thread does that.
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
        """Tell whether a request target, as it was sent, is outside `excluded_paths`."""
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
        # An exception of the app must not reach cheroot: it would attribute an OSError to the
        # client, and a SystemExit would stop the server.
        except (Exception, SystemExit):
            environ["wsgi.errors"].write(traceback.format_exc())
            body = b"500 Internal Server Error\n"
            try:
                start_response("500 Internal Server Error", _text_headers(body), sys.exc_info())
            except (Exception, SystemExit):
                # The headers are sent already. Only a broken connection can show the failure.
                raise ConnectionAbortedError(
                    errno.ECONNABORTED, "the app failed during its response"
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
        # The annotation names only the kinds of key that OpenSSL supports. It refuses the others.
        context.use_privatekey(private_key)  # type: ignore[arg-type]
    except (SSL.Error, TypeError) as error:
        raise _mistake("key", "is of a kind that TLS does not support") from error
    for intermediate in chain[1:]:
        context.add_extra_chain_cert(intermediate)
    if asks:
        context.set_verify(SSL.VERIFY_PEER, _accept_any)
        # Without a session id context, OpenSSL refuses the connection of a client that resumes a
        # session with a client certificate.
        context.set_session_id(b"arrcert")
    return context


def _accept_any(*_facts: object) -> bool:
    return True


class _TlsSocket:
    """The server's side of a TLS connection, with the methods of a socket that cheroot needs.

    cheroot's own adapter for pyOpenSSL loses the first part of a line that arrives in two parts,
    and raises `WantReadError` in an app that reads a body. Here each call waits until it is done.
    """

    def __init__(self, context: SSL.Context, raw: socket.socket) -> None:
        self._raw = raw
        self._tls = SSL.Connection(context, raw)
        self._tls.set_accept_state()
        self._timeout: float | None = IDLE_SECONDS
        self._closed = False

    def do_handshake(self) -> bytes | None:
        """Do the TLS handshake; return the DER of the client's leaf, or None without one."""
        self._finish(self._tls.do_handshake)
        leaf = self._tls.get_peer_certificate()
        # pyca refuses some certificates that OpenSSL accepts, such as one of an unknown version.
        # The app has to see them too.
        return None if leaf is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)

    def recv_into(self, buffer: bytearray) -> int:
        try:
            received: int = self._finish(self._tls.recv_into, buffer)
        except SSL.Error:  # The client has closed the connection, in one way or another.
            return 0
        return received

    def send(self, data: bytes) -> int:
        try:
            sent: int = self._finish(self._tls.send, data)
        except SSL.Error:
            raise BrokenPipeError(errno.EPIPE, "the client closed the connection") from None
        return sent

    def _finish(self, operation: Callable[..., Any], *arguments: object) -> Any:
        # After close(), the file descriptor may belong to another connection.
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
                    raise TimeoutError("timed out")  # cheroot recognizes this text.
        raise OSError(errno.EBADF, "the connection is closed")

    def send_in_plain(self, data: bytes) -> None:
        """Send bytes without TLS, to a client that speaks plain HTTP."""
        self._raw.sendall(data)

    def fileno(self) -> int:
        return self._raw.fileno()

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RDWR:  # Another thread calls this, and it must not use TLS.
            self._raw.shutdown(how)
            return
        # It fails before the handshake, and after the client has closed the connection.
        with contextlib.suppress(SSL.Error):
            self._tls.shutdown()
        self._raw.shutdown(socket.SHUT_WR)
        # If input is unread when the socket closes, the kernel sends a reset, and the client may
        # lose the end of the response.
        self._raw.setblocking(False)
        with contextlib.suppress(OSError):
            for _ in range(64):
                if not self._raw.recv(65536):
                    break

    def close(self) -> None:
        self._closed = True
        self._raw.close()

    def _decref_socketios(self) -> None:
        """Do nothing: `socket.SocketIO` calls it when it closes, and cheroot closes the socket."""


class _TlsAdapter(Adapter):
    """Wraps accepted sockets. The worker thread does the handshake later."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[_TlsSocket, dict[str, str]]:
        # TLS writes small pieces. Without this option a request may wait 40 ms for an ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _TlsSocket(self.context, sock), self.get_environ()

    def get_environ(self) -> dict[str, str]:
        # Otherwise a request line in absolute form would set the scheme.
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: _TlsSocket, mode: str = "r", bufsize: int = -1) -> Any:
        return MakeFile(sock, mode, bufsize)


class _HeaderReader(cheroot_server.HeaderReader):
    """Drops headers that look like a header that the front end sets."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        try:
            headers: dict[bytes, bytes] = super().__call__(rfile, hdict)
        except UnboundLocalError:  # cheroot's error for a continued line without a header.
            raise ValueError("Illegal header line.") from None
        if not headers.get(b"Content-Length", b"0").isdigit():
            raise ValueError("Malformed Content-Length Header.")
        return headers

    def _allow_header(self, key_name: bytes) -> bool:
        # cheroot calls this again, with the same name, for each line that continues a header.
        folded = fold_header_name(key_name.decode("latin-1"))
        return folded != _FOLDED_HEADER and not folded.startswith(_FORWARDED_PREFIX)


class _Request(cheroot_server.HTTPRequest):
    header_reader = _HeaderReader()
    status: Any  # Empty at first, then bytes.
    forwarded_certificate: bytes | None = None

    def read_request_line(self) -> bool:
        try:
            return bool(super().read_request_line())  # type: ignore[no-untyped-call]
        except ValueError:  # urlsplit cannot parse the host.
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
        """Read a chunked body and its trailers to the end, where the next request starts."""
        try:
            while self.rfile.read(65536):
                pass
            for _ in self.rfile.read_trailer_lines():
                pass
        except ValueError:
            self.close_connection = True

    def simple_response(self, status: str, msg: str = "") -> None:
        super().simple_response(status, msg)
        if self.started_request:  # Otherwise an idle connection has timed out.
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
    """Return bytes from a client as one word of visible ASCII, safe for a log and a terminal."""
    shown = hostile[:_LONGEST_LOGGED_PATH]
    word = "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}" for byte in shown
    )
    return word if shown == hostile else f"{word}..."


class _Body(io.RawIOBase):
    """A request body as a file. In cheroot's own, `readline` never returns for a chunked body."""

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
    # The size of a TLS record. Bytes that stay inside OpenSSL would be invisible to the selector
    # that waits for the next request.
    rbufsize = 16 * 1024

    client_certificate: bytes | None = None
    _shook_hands = False

    def communicate(self) -> bool:
        """Serve the connection until it is idle. The first call does the TLS handshake before."""
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
        # If unsent bytes stayed in the file, garbage collection would send them again and print
        # the failure.
        with contextlib.suppress(OSError):
            self.wfile.close()

    def _report_failed_handshake(self, error: Exception) -> None:
        reason = _reason(error)
        if reason == "Unexpected EOF":
            return  # A port scan, or a browser that opens a connection in advance.
        if reason == "http request":
            with contextlib.suppress(OSError):
                self.socket.send_in_plain(_PLAIN_HTTP_RESPONSE)
            reason = "the client spoke plain HTTP"
        self.server.front_end._log(
            f"{time.strftime('%H:%M:%S')} - - - TLS handshake failed: {reason}"
        )


def _reason(error: Exception) -> str:
    """Return OpenSSL's description of an error, which contains no data of the client."""
    match error.args:
        case ([(_, _, reason), *_],) | (_, str(reason)) | (str(reason),):
            return str(reason)
        case _:
            return type(error).__name__


class _Server(cheroot_wsgi.Server):
    ConnectionClass = _Connection
    max_request_header_size = MAX_REQUEST_HEADER_BYTES
    expiration_interval = 0.1  # The time between two checks whether to stop, in seconds.
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
        if traceback:  # A bug in this server, not a mistake of a client: the developer sees it.
            super().error_log(msg, level, traceback)
        else:
            self.front_end._log(f"{time.strftime('%H:%M:%S')} - - - {quote(msg)}")
