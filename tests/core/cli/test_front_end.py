"""The local front end, tested over real sockets with real TLS."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.x509.oid import NameOID

from arrcert.cli import front_end
from arrcert.cli.front_end import FrontEndServer
from arrcert.cli.local_apps import RunningWSGIApp
from arrcert.exceptions import ConfigurationError
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

AUTHORITY = CertificateAuthority("Front end test CA")
SERVER = AUTHORITY.issue(
    "localhost",
    dns_names=["localhost"],
    ip_addresses=["127.0.0.1"],
    extended_key_usages=("serverAuth",),
)
CLIENT = AUTHORITY.issue("client")
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
FORGED = base64.b64encode(self_signed("somebody else").certificate.der).decode("ascii")
TLS_VERSIONS = [
    pytest.param(ssl.TLSVersion.TLSv1_2, id="TLS 1.2"),
    pytest.param(ssl.TLSVersion.TLSv1_3, id="TLS 1.3"),
]


def unusual_certificate(key: Any, *, extra_bytes: int = 0, signer: Any = None) -> tuple[bytes, Any]:
    """Return the key, and the DER of a certificate for it with a private extension of any size."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unusual")])
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(extra_bytes))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1 << 140)
        .not_valid_before(YESTERDAY)
        .not_valid_after(YESTERDAY + timedelta(days=9))
        .add_extension(padding, critical=False)
        .sign(
            signer or key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        )
    )
    return certificate.public_bytes(serialization.Encoding.DER), key


def der_and_key(issued: IssuedCertificate) -> tuple[bytes, Any]:
    """Return the DER and the key of an issued certificate."""
    return issued.certificate.der, issued.private_key


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A WSGI app that answers with the strings of its environ, and with the body."""
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    seen["body"] = environ["wsgi.input"].read().decode("latin-1")
    body = json.dumps(seen).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., FrontEndServer]]:
    """A function that starts front ends.

    Tests that ask for the same options and the app `echo` share one server.
    """
    servers = []
    echoing: dict[str, FrontEndServer] = {}

    def start(app: Any = echo, **options: Any) -> FrontEndServer:
        shareable = app is echo and "log" not in options
        if shareable and repr(options) in echoing:
            return echoing[repr(options)]
        behind = RunningWSGIApp(app)
        server = FrontEndServer(
            behind.address,
            certificate=SERVER.certificate_pem,
            key=SERVER.private_key_pem,
            bind=("127.0.0.1", 0),
            **options,
        )
        server.start()
        servers.append((server, behind))
        if shareable:
            echoing[repr(options)] = server
        return server

    yield start
    for server, behind in servers:
        server.stop()
        behind.stop()


@pytest.fixture
def client_context(tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    """A function that makes TLS contexts for clients, with or without a certificate."""

    def make(
        credentials: tuple[bytes, Any] | None = None,
        version: ssl.TLSVersion | None = None,
        security_level: int = 2,
    ) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode("ascii"))
        context.set_ciphers(f"DEFAULT@SECLEVEL={security_level}")
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if credentials is not None:
            der, key = credentials
            file = tmp_path / "client.pem"
            file.write_bytes(
                ssl.DER_cert_to_PEM_cert(der).encode("ascii")
                + key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            context.load_cert_chain(file)
        return context

    return make


def port_of(server: FrontEndServer) -> int:
    """Return the port at the end of the URL."""
    return int(server.url.rpartition(":")[2])


def plain_connection(server: FrontEndServer) -> socket.socket:
    """Connect without TLS."""
    return socket.create_connection(("127.0.0.1", port_of(server)), timeout=10)


def tls_connection(
    server: FrontEndServer, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """Connect with TLS."""
    return context.wrap_socket(
        plain_connection(server), server_hostname="localhost", session=session
    )


def answer(connection: socket.socket, method: str = "GET") -> tuple[int, bytes]:
    """Read one response from a raw connection."""
    with contextlib.closing(http.client.HTTPResponse(connection, method=method)) as response:
        response.begin()
        return response.status, response.read()


def exchange(connection: socket.socket, request: bytes) -> dict[str, str]:
    """Send raw bytes, and return the environ that `echo` received."""
    connection.sendall(request)
    status, body = answer(connection)
    assert status == 200, body
    environ: dict[str, str] = json.loads(body)
    return environ


def get(
    server: FrontEndServer, context: ssl.SSLContext, target: str = "/", headers: str = ""
) -> tuple[int, bytes]:
    """Send a GET with raw header lines, and return status and body."""
    with tls_connection(server, context) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode("latin-1"))
        return answer(connection)


def environ_of(
    server: FrontEndServer, context: ssl.SSLContext, target: str = "/", headers: str = ""
) -> dict[str, str]:
    """Send a GET with raw header lines, and return the environ that `echo` received."""
    status, body = get(server, context, target, headers)
    assert status == 200, body
    environ: dict[str, str] = json.loads(body)
    return environ


def wait_for_lines(lines: list[str], count: int = 1) -> None:
    """Wait until the server has logged lines; it logs after it has answered."""
    deadline = time.monotonic() + 5
    while len(lines) < count and time.monotonic() < deadline:
        time.sleep(0.01)


class TestCertificates:
    @pytest.mark.parametrize("version", TLS_VERSIONS)
    @pytest.mark.parametrize(
        "credentials",
        [
            pytest.param(der_and_key(CLIENT), id="the server's CA"),
            pytest.param(der_and_key(self_signed("me")), id="self-signed"),
            pytest.param(der_and_key(CertificateAuthority("?").issue("me")), id="unknown CA"),
            pytest.param(der_and_key(AUTHORITY.issue("old", not_after=YESTERDAY)), id="expired"),
            pytest.param(
                der_and_key(
                    AUTHORITY.issue(
                        "new",
                        not_before=YESTERDAY + timedelta(days=9),
                        not_after=YESTERDAY + timedelta(days=10),
                    )
                ),
                id="not yet valid",
            ),
            pytest.param(
                der_and_key(AUTHORITY.issue("usage", extended_key_usages=("serverAuth",))),
                id="server's usage",
            ),
            pytest.param(unusual_certificate(ed25519.Ed25519PrivateKey.generate()), id="Ed25519"),
            pytest.param(
                unusual_certificate(ec.generate_private_key(ec.SECP256R1()), extra_bytes=40_000),
                id="40 KB",
            ),
        ],
    )
    def test_forwards_every_kind_byte_for_byte(
        self, serve: Any, client_context: Any, credentials: Any, version: ssl.TLSVersion
    ) -> None:
        """For every client certificate the app receives its DER as bare base64."""
        environ = environ_of(serve(), client_context(credentials, version))
        assert environ["HTTP_X_ARR_CLIENTCERT"] == base64.b64encode(credentials[0]).decode()

    def test_forwards_a_weak_key(self, serve: Any, client_context: Any) -> None:
        """A certificate with a key that is too short for OpenSSL's defaults is forwarded."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        credentials = unusual_certificate(key)
        environ = environ_of(serve(), client_context(credentials, security_level=0))
        assert environ["HTTP_X_ARR_CLIENTCERT"] == base64.b64encode(credentials[0]).decode()

    def test_forwards_what_pyca_cannot_parse(self, serve: Any, client_context: Any) -> None:
        """A certificate of an impossible version is forwarded unchanged."""
        der, key = unusual_certificate(ec.generate_private_key(ec.SECP256R1()))
        version_3, version_5 = bytes.fromhex("a003020102"), bytes.fromhex("a003020104")
        assert der.count(version_3) == 1
        der = der.replace(version_3, version_5)
        with pytest.raises(x509.InvalidVersion):
            x509.load_der_x509_certificate(der)
        environ = environ_of(serve(), client_context((der, key)))
        assert environ["HTTP_X_ARR_CLIENTCERT"] == base64.b64encode(der).decode()

    def test_forwards_only_the_leaf(self, serve: Any, client_context: Any, tmp_path: Path) -> None:
        """Intermediates that a client sends do not reach the app."""
        intermediate = CertificateAuthority("Intermediate", issuer=AUTHORITY)
        issued = intermediate.issue("client")
        chain = tmp_path / "chain.pem"
        chain.write_bytes(
            issued.certificate_pem + intermediate.certificate_pem + issued.private_key_pem
        )
        context = client_context()
        context.load_cert_chain(chain)
        environ = environ_of(serve(), context)
        assert environ["HTTP_X_ARR_CLIENTCERT"] == issued.header_value

    def test_no_certificate_means_no_header(self, serve: Any, client_context: Any) -> None:
        """A request without a certificate reaches the app without the header."""
        assert "HTTP_X_ARR_CLIENTCERT" not in environ_of(serve(), client_context())

    @pytest.mark.parametrize("version", TLS_VERSIONS)
    @pytest.mark.parametrize("extra_bytes", [0, 20_000])
    def test_a_resumed_session_keeps_its_certificate(
        self, serve: Any, client_context: Any, version: ssl.TLSVersion, extra_bytes: int
    ) -> None:
        """A request in a resumed TLS session carries the client's certificate."""
        credentials = unusual_certificate(
            ec.generate_private_key(ec.SECP256R1()), extra_bytes=extra_bytes
        )
        server, context = serve(), client_context(credentials, version)
        with tls_connection(server, context) as first:
            exchange(first, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            session = first.session
        with tls_connection(server, context, session) as second:
            environ = exchange(second, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert second.session_reused
        assert environ["HTTP_X_ARR_CLIENTCERT"] == base64.b64encode(credentials[0]).decode()

    def test_every_request_of_a_connection_carries_it(
        self, serve: Any, client_context: Any
    ) -> None:
        """Every request of a connection carries the header, pipelined requests too."""
        with tls_connection(serve(), client_context(der_and_key(CLIENT))) as connection:
            for _ in range(3):
                environ = exchange(connection, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert environ["HTTP_X_ARR_CLIENTCERT"] == CLIENT.header_value
            two = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
            response = exchange(connection, two)
            assert response["PATH_INFO"] == "/1"
            environ = exchange(connection, b"")
            assert environ["PATH_INFO"] == "/2"
            assert environ["HTTP_X_ARR_CLIENTCERT"] == CLIENT.header_value

    def test_tls_1_1_is_refused(self, serve: Any, client_context: Any) -> None:
        """A client with TLS 1.1 is refused."""
        context = client_context(security_level=0)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            get(serve(), context)


SMUGGLED = {
    "the name itself": f"X-ARR-ClientCert: {FORGED}\r\n",
    "lower case": f"x-arr-clientcert: {FORGED}\r\n",
    "underscores": f"X_ARR_ClientCert: {FORGED}\r\n",
    "dots": f"X.ARR.ClientCert: {FORGED}\r\n",
    "all mixed": f"x_ArR.cLiEnTcErT: {FORGED}\r\n",
    "dash, then underscore": f"X-ARR-ClientCert: {FORGED}\r\nX_ARR_ClientCert: {FORGED}\r\n",
    "underscore, then dash": f"X_ARR_ClientCert: {FORGED}\r\nX-ARR-ClientCert: {FORGED}\r\n",
    "twice": f"X-ARR-ClientCert: {FORGED}\r\n" * 2,
    "empty, then underscore": f"X-ARR-ClientCert:\r\nX_ARR_ClientCert: {FORGED}\r\n",
    "space before the colon": f"X-ARR-ClientCert : {FORGED}\r\n",
    "tab before the colon": f"X_ARR_ClientCert\t: {FORGED}\r\n",
    "form feed around the name": f"\x0cX-ARR-ClientCert\x0c: {FORGED}\r\n",
    "continued on the next line": f"X-ARR-ClientCert:\r\n {FORGED}\r\n",
    "continued by a tab": f"X_ARR_ClientCert: {FORGED[:20]}\r\n\t{FORGED[20:]}\r\n",
    "continued twice": f"X-ARR-ClientCert:\r\n {FORGED}\r\n {FORGED}\r\n",
    "named hop-by-hop": f"Connection: X-ARR-ClientCert\r\nX-ARR-ClientCert: {FORGED}\r\n",
}


REFUSED = [
    SMUGGLED[form]
    for form in ("space before the colon", "tab before the colon", "form feed around the name")
]
"""The lines that are not headers by RFC 9112. The answer to them is 400."""


class TestHeaders:
    @pytest.mark.parametrize("mode", ["optional", "ignore"])
    @pytest.mark.parametrize("headers", SMUGGLED.values(), ids=SMUGGLED)
    def test_smuggled_without_a_certificate(
        self, serve: Any, client_context: Any, headers: str, mode: str
    ) -> None:
        """A header that looks like X-ARR-ClientCert does not reach the app in any value."""
        status, body = get(
            serve(client_cert_mode=mode), client_context(), headers=f"A: 1\r\n{headers}Z: 2\r\n"
        )
        if headers in REFUSED:
            assert status == 400
            return
        environ = json.loads(body)
        assert not [value for value in environ.values() if FORGED[:20] in value]
        assert not [key for key in environ if "ARR" in key.upper()]
        assert (environ["HTTP_A"], environ["HTTP_Z"]) == ("1", "2")

    @pytest.mark.parametrize("headers", SMUGGLED.values(), ids=SMUGGLED)
    def test_smuggled_beside_a_certificate(
        self, serve: Any, client_context: Any, headers: str
    ) -> None:
        """The header holds the client's own certificate, whatever headers the client sends."""
        status, body = get(serve(), client_context(der_and_key(CLIENT)), headers=headers)
        if headers in REFUSED:
            assert status == 400
            return
        environ = json.loads(body)
        assert environ["HTTP_X_ARR_CLIENTCERT"] == CLIENT.header_value
        assert len([key for key in environ if "ARR" in key.upper()]) == 1

    def test_continuation_of_another_header_is_no_header(
        self, serve: Any, client_context: Any
    ) -> None:
        """A continued line belongs to the value before it, even if it looks like the header."""
        environ = environ_of(
            serve(), client_context(), headers=f"A: 1\r\n X-ARR-ClientCert: {FORGED}\r\n"
        )
        assert "HTTP_X_ARR_CLIENTCERT" not in environ

    @pytest.mark.parametrize("cut", [1, 6, 7, 16, 17, 30])
    def test_a_header_in_two_tls_records(self, serve: Any, client_context: Any, cut: int) -> None:
        """A header line may arrive in two TLS records."""
        line = f"X_ARR_ClientCert: {FORGED}\r\n\r\n".encode()
        with tls_connection(serve(), client_context()) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + line[:cut])
            time.sleep(0.02)
            environ = exchange(connection, line[cut:])
        assert {key for key in environ if key.startswith("HTTP_")} == {
            "HTTP_CONNECTION",
            "HTTP_HOST",
            "HTTP_X_FORWARDED_PROTO",
        }

    def test_trailers_reach_nobody(self, serve: Any, client_context: Any) -> None:
        """Trailers of a chunked body become neither headers nor part of the next request."""
        chunked = (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            "Trailer: X-ARR-ClientCert, X_ARR_ClientCert\r\n\r\n"
            "3\r\nabc\r\n0\r\n"
            f"X-ARR-ClientCert: {FORGED}\r\nX_ARR_ClientCert: {FORGED}\r\n\r\n"
        ).encode()
        with tls_connection(serve(), client_context()) as connection:
            environ = exchange(connection, chunked)
            assert environ["body"] == "abc"
            assert "HTTP_X_ARR_CLIENTCERT" not in environ
            environ = exchange(connection, b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert environ["PATH_INFO"] == "/next"
            assert "HTTP_X_ARR_CLIENTCERT" not in environ

    def test_a_chunked_body_that_the_app_does_not_read(
        self, serve: Any, client_context: Any
    ) -> None:
        """The unread rest of a chunked body is not parsed as the next request."""

        def ignore(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Length", "1")])
            return [environ["PATH_INFO"][-1].encode()]

        head = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        with tls_connection(serve(ignore), client_context()) as connection:
            connection.sendall(head + b"16\r\nGET /evil HTTP/1.1\r\n\r\n\r\n0\r\n\r\n")
            assert answer(connection) == (200, b"1")
            connection.sendall(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer(connection) == (200, b"2")
            connection.sendall(head + b"no length\r\n")
            assert answer(connection)[0] == 400
            assert connection.recv(1) == b""

    @pytest.mark.parametrize(
        "headers",
        [
            "",
            "X-Forwarded-Proto: http\r\n",
            "X_Forwarded_Proto: http\r\n",
            "x.forwarded-PROTO: http\r\nX-Forwarded-Proto: http\r\n",
            "X-Forwarded-Proto: https\r\nX_Forwarded_Proto: http\r\n",
        ],
    )
    def test_x_forwarded_proto_is_https(
        self, serve: Any, client_context: Any, headers: str
    ) -> None:
        """The app receives X-Forwarded-Proto: https, whatever the client sends."""
        environ = environ_of(serve(), client_context(), headers=headers)
        assert environ["HTTP_X_FORWARDED_PROTO"] == "https"
        assert environ["wsgi.url_scheme"] == "https"

    def test_other_x_forwarded_headers_are_removed(self, serve: Any, client_context: Any) -> None:
        """Other X-Forwarded headers of the client do not reach the app."""
        environ = environ_of(
            serve(),
            client_context(),
            headers="X-Forwarded-For: 1.2.3.4\r\nX_Forwarded_Host: b\r\nX-Forwarded: c\r\n",
        )
        forwarded = {key for key in environ if "FORWARDED" in key}
        assert forwarded == {"HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED"}

    def test_sixty_kilobytes_of_headers_pass(self, serve: Any, client_context: Any) -> None:
        """A header just below the platform's limit reaches the app."""
        environ = environ_of(serve(), client_context(), headers=f"Big: {'b' * 60_000}\r\n")
        assert len(environ["HTTP_BIG"]) == 60_000

    def test_more_than_64_kilobytes_of_headers_are_refused(
        self, serve: Any, client_context: Any
    ) -> None:
        """The answer to headers above the platform's limit is 413."""
        status, _ = get(serve(), client_context(), headers=f"Big: {'b' * 70_000}\r\n")
        assert status == 413


class TestModes:
    def test_required_refuses_a_client_without_a_certificate(
        self, serve: Any, client_context: Any
    ) -> None:
        """In the mode `required` the front end answers 403, and the app does not run."""
        calls: list[object] = []
        server = serve(
            lambda environ, start_response: calls.append(environ) or [], client_cert_mode="required"
        )
        with tls_connection(server, client_context()) as connection:
            for method in ("GET", "HEAD", "OPTIONS"):
                connection.sendall(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                status, body = answer(connection, method)
                assert status == 403
                assert body == (b"" if method == "HEAD" else front_end._BODIES[403])
        assert calls == []

    def test_required_passes_a_certificate_on(self, serve: Any, client_context: Any) -> None:
        """In the mode `required` every certificate is forwarded."""
        me = self_signed("me")
        server = serve(client_cert_mode="required")
        environ = environ_of(server, client_context(der_and_key(me)))
        assert environ["HTTP_X_ARR_CLIENTCERT"] == me.header_value

    @pytest.mark.parametrize("headers", SMUGGLED.values(), ids=SMUGGLED)
    def test_required_needs_a_real_certificate(
        self, serve: Any, client_context: Any, headers: str
    ) -> None:
        """In the mode `required` a header of the client does not replace a certificate."""
        status, _ = get(serve(client_cert_mode="required"), client_context(), headers=headers)
        assert status == (400 if headers in REFUSED else 403)

    def test_ignore_does_not_ask(self, serve: Any, client_context: Any) -> None:
        """In the mode `ignore` no certificate is requested or forwarded."""
        server = serve(client_cert_mode="ignore")
        environ = environ_of(server, client_context(der_and_key(CLIENT)))
        assert "HTTP_X_ARR_CLIENTCERT" not in environ

    @pytest.mark.parametrize(
        "target",
        [
            "/health",
            "/Health",
            "/healthz-admin",
            "/health/../hellocert",
            "/health?a=1",
            "/b;c",
            "/B",
        ],
    )
    def test_excluded_paths(self, serve: Any, client_context: Any, target: str) -> None:
        """On a path that starts with an entry, whatever its case, no certificate is required."""
        server = serve(client_cert_mode="required", excluded_paths=["/health;/A", " /b , "])
        environ = environ_of(server, client_context(der_and_key(CLIENT)), target)
        assert "HTTP_X_ARR_CLIENTCERT" not in environ
        assert get(server, client_context(), target)[0] == 200

    @pytest.mark.parametrize(
        "target", ["/", "/hellocert", "/h%65alth", "/x/health", "/x?/health", "//health", "/heal"]
    )
    def test_other_paths_are_not_excluded(
        self, serve: Any, client_context: Any, target: str
    ) -> None:
        """Entries are compared with the path as it was sent: not decoded, and without the query."""
        server = serve(client_cert_mode="required", excluded_paths="/health")
        assert get(server, client_context(), target)[0] in {400, 403}

    @pytest.mark.parametrize("target", ["https://a/health", "a:443", "health"])
    def test_a_target_that_is_no_path_is_refused(
        self, serve: Any, client_context: Any, target: str
    ) -> None:
        """A target in absolute form, or of another form than a path or `*`, is refused."""
        server = serve(client_cert_mode="required", excluded_paths="/health")
        assert get(server, client_context(der_and_key(CLIENT)), target)[0] == 400

    def test_each_request_is_excluded_on_its_own(self, serve: Any, client_context: Any) -> None:
        """After an excluded request, the next request on the connection carries the certificate."""
        server = serve(excluded_paths="/health")
        with tls_connection(server, client_context(der_and_key(CLIENT))) as connection:
            environ = exchange(connection, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert "HTTP_X_ARR_CLIENTCERT" not in environ
            environ = exchange(connection, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert environ["HTTP_X_ARR_CLIENTCERT"] == CLIENT.header_value


class TestBadClients:
    """Clients that break the protocol neither stop the server nor cause a traceback."""

    @pytest.fixture
    def lines(self) -> list[str]:
        """The lines of the log."""
        return []

    @pytest.fixture
    def server(
        self,
        serve: Any,
        lines: list[str],
        client_context: Any,
        capfd: pytest.CaptureFixture[str],
    ) -> Iterator[FrontEndServer]:
        """A server that must work after the test, and must not print anything."""
        server: FrontEndServer = serve(log=lines.append)
        yield server
        assert environ_of(server, client_context(der_and_key(CLIENT)))["HTTP_X_ARR_CLIENTCERT"]
        assert capfd.readouterr() == ("", "")

    def test_plain_http(self, server: FrontEndServer, lines: list[str]) -> None:
        """The answer to plain HTTP on the TLS port is a 400 that says to use https."""
        with plain_connection(server) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            status, body = answer(connection)
        assert status == 400
        assert b"https://" in body
        wait_for_lines(lines)
        assert lines[0].endswith("- - - TLS handshake failed: the client spoke plain HTTP")

    def test_garbage(self, server: FrontEndServer, lines: list[str]) -> None:
        """Random bytes instead of a handshake are one line of the log."""
        with plain_connection(server) as connection:
            connection.sendall(b"\x16\x03\x01\x00\x05garbage")
            connection.settimeout(5)
            while connection.recv(100):
                pass
        wait_for_lines(lines)
        assert len(lines) == 1
        assert "TLS handshake failed" in lines[0]

    def test_a_client_that_trusts_another_ca(
        self, server: FrontEndServer, lines: list[str]
    ) -> None:
        """A client that refuses the server's certificate is one line of the log."""
        with pytest.raises(ssl.SSLCertVerificationError):
            get(server, ssl.create_default_context())
        wait_for_lines(lines)
        assert lines[0].endswith("unknown ca")

    def test_a_client_that_leaves_at_once(self, server: FrontEndServer, lines: list[str]) -> None:
        """A connection that closes without data is not logged."""
        plain_connection(server).close()
        time.sleep(0.1)
        assert lines == []

    def test_a_reset_during_the_handshake(self, server: FrontEndServer, lines: list[str]) -> None:
        """A connection that is reset during the handshake is one line of the log."""
        connection = plain_connection(server)
        connection.sendall(b"\x16\x03\x01\x02")
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        wait_for_lines(lines)
        assert "TLS handshake failed" in lines[0]

    @pytest.mark.parametrize(
        "request_bytes",
        [
            pytest.param(b"GET / HTTP/1.1\r\nHost", id="in the headers"),
            pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nabc", id="in the body"),
        ],
    )
    def test_a_client_that_leaves_in_the_middle(
        self, server: FrontEndServer, client_context: Any, request_bytes: bytes
    ) -> None:
        """A client that disconnects in the middle of a request leaves the server working."""
        with tls_connection(server, client_context()) as connection:
            connection.sendall(request_bytes)
            time.sleep(0.1)

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\n\n",
            b"get / HTTP/1.1\r\n\r\n",
            b"GET //[ HTTP/1.1\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n X-ARR-ClientCert: continues nothing\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nX-A: 1\nX-ARR-ClientCert: bare line feed\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
        ],
    )
    def test_malformed_requests(
        self,
        server: FrontEndServer,
        lines: list[str],
        client_context: Any,
        request_bytes: bytes,
    ) -> None:
        """The answer to a malformed request is a 400, and it is one line of the log."""
        with tls_connection(server, client_context()) as connection:
            connection.sendall(request_bytes)
            assert answer(connection)[0] == 400
        wait_for_lines(lines)
        assert len(lines) == 1
        assert lines[0].endswith(" 400 -")

    def test_a_request_in_small_pieces(self, server: FrontEndServer, client_context: Any) -> None:
        """A request may arrive in many small pieces."""
        request = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        with tls_connection(server, client_context()) as connection:
            for start in range(0, len(request), 9):
                connection.sendall(request[start : start + 9])
                time.sleep(0.02)
            status, body = answer(connection)
        assert (status, json.loads(body)["body"]) == (200, "body")

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"", None),
            (b"GET / HTTP/1.1\r\nHost", 408),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 408),
        ],
    )
    def test_silence_ends_the_connection(
        self,
        server: FrontEndServer,
        client_context: Any,
        monkeypatch: pytest.MonkeyPatch,
        sent: bytes,
        status: int | None,
    ) -> None:
        """After the timeout the connection is closed; an incomplete request gets a 408."""
        monkeypatch.setattr(front_end, "IDLE_SECONDS", 0.2)
        with tls_connection(server, client_context()) as connection:
            connection.sendall(sent)
            if status is not None:
                assert answer(connection)[0] == status
            assert connection.recv(1) == b""

    def test_a_silent_handshake_ends(
        self, server: FrontEndServer, lines: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the timeout a connection without a handshake is closed and logged."""
        monkeypatch.setattr(front_end, "IDLE_SECONDS", 0.2)
        with plain_connection(server) as connection:
            assert connection.recv(1) == b""
        wait_for_lines(lines)
        assert lines[0].endswith("TLS handshake failed: timed out")


class TestApps:
    @pytest.mark.parametrize("error", [ValueError("a fault"), FileNotFoundError(2, "a fault")])
    def test_an_exception_is_a_500_with_a_traceback(
        self,
        serve: Any,
        client_context: Any,
        caplog: pytest.LogCaptureFixture,
        error: BaseException,
    ) -> None:
        """An exception is a 500 and a traceback in the log, and the server keeps running."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Length", "1000")])
            raise error

        lines: list[str] = []
        server = serve(app, log=lines.append)
        for _ in range(2):
            assert get(server, client_context(), "/path")[0] == 500
        assert "a fault" in caplog.text
        wait_for_lines(lines, 2)
        assert [line.split()[1:] for line in lines] == [["GET", "/path", "500", "-"]] * 2

    def test_an_exception_in_the_middle_cuts_the_connection(
        self, serve: Any, client_context: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After an exception during the response, the client notices that it is incomplete."""

        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"half"
            raise ValueError("a fault")

        with pytest.raises((http.client.IncompleteRead, ssl.SSLEOFError)):
            get(serve(app), client_context())
        assert caplog.text.count("Traceback") == 1

    def test_a_response_is_closed(self, serve: Any, client_context: Any) -> None:
        """The server calls close() of the app's response (PEP 3333)."""
        closed = threading.Event()

        class Response(list[bytes]):
            def close(self) -> None:
                closed.set()

        def app(environ: Any, start_response: Any) -> Response:
            start_response("200 OK", [("Content-Length", "2")])
            return Response([b"o", b"k"])

        assert get(serve(app), client_context()) == (200, b"ok")
        assert closed.wait(5)

    @pytest.mark.parametrize(
        "framing",
        [
            b"Content-Length: 8\r\n\r\none\ntwo\n",
            b"Transfer-Encoding: chunked\r\n\r\n5\r\none\nt\r\n3\r\nwo\n\r\n0\r\n\r\n",
        ],
    )
    def test_a_body_can_be_read_line_by_line(
        self, serve: Any, client_context: Any, framing: bytes
    ) -> None:
        """`wsgi.input` can be read by lines, with and without chunked encoding."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            body = b"|".join([environ["wsgi.input"].readline(), *environ["wsgi.input"]])
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

        with tls_connection(serve(app), client_context()) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
            assert answer(connection) == (200, b"one\n|two\n")

    def test_large_bodies_in_both_directions(self, serve: Any, client_context: Any) -> None:
        """Bodies larger than any buffer arrive whole."""

        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return 4 * [environ["wsgi.input"].read()]

        sent = bytes(range(256)) * 12_000
        with tls_connection(serve(app), client_context()) as connection:
            head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(sent)}\r\n\r\n"
            connection.sendall(head.encode() + sent)
            # In this time the server fills every buffer on the way.
            time.sleep(0.2)
            assert answer(connection) == (200, 4 * sent)

    def test_a_client_that_leaves_during_the_answer(
        self, serve: Any, client_context: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A client that leaves during the response causes no traceback."""
        finished = threading.Event()

        def app(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            try:
                while True:
                    yield bytes(100_000)
            finally:
                finished.set()

        with tls_connection(serve(app), client_context()) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(100)
        assert finished.wait(5)
        assert capfd.readouterr().err == ""


class Upstream:
    """A TCP server that receives one request and answers with given bytes.

    Args:
        response: the bytes; None to answer nothing and keep the connection open.
    """

    def __init__(self, response: bytes | None) -> None:
        self.received = b""
        self._response = response
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.received = connection.recv(65536)
                if self._response is None:
                    self._kept.append(connection)
                    continue
                connection.sendall(self._response)
                connection.close()

    def close(self) -> None:
        """Close every socket."""
        for connection in (self._listener, *self._kept):
            connection.close()


class TestUpstreams:
    """Servers behind the front end that are not the app's own."""

    @pytest.fixture
    def before(self) -> Iterator[Callable[..., FrontEndServer]]:
        """A function that starts a front end in front of an address."""
        with contextlib.ExitStack() as resources:

            def start(address: tuple[str, int], **options: Any) -> FrontEndServer:
                return resources.enter_context(
                    FrontEndServer(
                        address,
                        certificate=SERVER.certificate_pem,
                        key=SERVER.private_key_pem,
                        bind=("127.0.0.1", 0),
                        **options,
                    )
                )

            yield start

    @pytest.fixture
    def upstream(self) -> Iterator[Callable[[bytes | None], Upstream]]:
        """A function that makes a server behind the front end."""
        made: list[Upstream] = []

        def make(response: bytes | None) -> Upstream:
            made.append(Upstream(response))
            return made[-1]

        yield make
        for server in made:
            server.close()

    def test_nobody_listens(self, before: Any, client_context: Any) -> None:
        """The answer is 502 if nothing listens at the server's address."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = free.getsockname()
        assert get(before(address), client_context())[0] == 502

    @pytest.mark.parametrize(
        "response",
        [
            b"",
            b"no HTTP\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        ],
    )
    def test_an_answer_that_cannot_be_parsed(
        self, before: Any, upstream: Any, client_context: Any, response: bytes
    ) -> None:
        """The answer is 502 if the server's answer is not HTTP or ends too early."""
        assert get(before(upstream(response).address), client_context())[0] == 502

    def test_a_response_that_ends_too_early(
        self, before: Any, upstream: Any, client_context: Any
    ) -> None:
        """If the server closes within the body, the client notices that the body is incomplete."""
        behind = upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
        with pytest.raises((http.client.IncompleteRead, ssl.SSLEOFError)):
            get(before(behind.address), client_context())

    def test_no_answer_in_time(
        self,
        before: Any,
        upstream: Any,
        client_context: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """If the server takes too long, the answer is 504. App Service's limit is 230 seconds."""
        assert front_end.ANSWER_SECONDS == 230
        monkeypatch.setattr(front_end, "ANSWER_SECONDS", 0.2)
        assert get(before(upstream(None).address), client_context())[0] == 504

    def test_what_the_server_gets(self, before: Any, upstream: Any, client_context: Any) -> None:
        """The server receives the client's Host, and no header of the client's own connection."""
        behind = upstream(b"HTTP/1.1 204 No Content\r\nConnection: X-Own\r\nX-Own: 1\r\n\r\n")
        server = before(behind.address)
        with tls_connection(server, client_context(der_and_key(CLIENT))) as connection:
            connection.sendall(
                b"GET /a?b HTTP/1.1\r\nHost: shop.example:8443\r\nX-Kept: 1\r\n"
                b"Connection: Upgrade, HTTP2-Settings, X-Dropped, Host\r\nUpgrade: h2c\r\n"
                b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nX-Dropped: 1\r\nTE: trailers\r\n\r\n"
            )
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 204
            assert response.getheader("X-Own") is None
        head, *lines = behind.received.decode().rstrip("\r\n").split("\r\n")
        assert head == "GET /a?b HTTP/1.1"
        assert sorted(lines) == [
            "Connection: close",
            "Host: shop.example:8443",
            f"X-ARR-ClientCert: {CLIENT.header_value}",
            "X-Forwarded-Proto: https",
            "X-Kept: 1",
        ]

    def test_two_lengths_are_refused(self, before: Any, upstream: Any, client_context: Any) -> None:
        """A request with Content-Length and Transfer-Encoding does not reach the server."""
        behind = upstream(b"HTTP/1.1 204 No Content\r\n\r\n")
        headers = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"
        assert get(before(behind.address), client_context(), headers=headers)[0] == 400
        assert behind.received == b""

    def test_a_client_that_waits_for_100(
        self, before: Any, serve: Any, client_context: Any
    ) -> None:
        """A client that sends `Expect: 100-continue` receives `100 Continue`."""
        with tls_connection(serve(), client_context()) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.recv(100) == b"HTTP/1.1 100 \r\n\r\n"
            assert exchange(connection, b"abc")["body"] == "abc"

    def test_a_client_of_http_1_0(self, serve: Any, client_context: Any) -> None:
        """A client that speaks HTTP/1.0 gets the body without chunks, and the connection ends."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b"one", b"two"]

        with tls_connection(serve(app), client_context()) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            received = b""
            while part := connection.recv(1000):
                received += part
        assert received.endswith(b"\r\n\r\nonetwo")
        assert b"chunked" not in received

    def test_head_has_no_body(self, serve: Any, client_context: Any) -> None:
        """The answer to HEAD has the headers of the app and no body; the connection goes on."""
        with tls_connection(serve(), client_context()) as connection:
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer(connection, "HEAD") == (200, b"")
            assert exchange(connection, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    def test_a_websocket_is_a_tunnel(self, before: Any, upstream: Any, client_context: Any) -> None:
        """After a 101, bytes pass in both directions. The handshake carries the certificate."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = before(listener.getsockname())
            with tls_connection(server, client_context(der_and_key(CLIENT))) as connection:
                connection.sendall(
                    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
                    b"Upgrade: WebSocket\r\nSec-WebSocket-Key: 0\r\n"
                    + f"X-ARR-ClientCert: {FORGED}\r\n\r\nearly".encode()
                )
                behind, _ = listener.accept()
                with behind:
                    request = behind.recv(65536)
                    assert CLIENT.header_value.encode() in request
                    assert FORGED.encode() not in request
                    assert b"Upgrade: websocket\r\n" in request
                    behind.sendall(
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                        b"Upgrade: websocket\r\n\r\nhello"
                    )
                    received = b""
                    while not received.endswith(b"hello"):
                        received += connection.recv(1000)
                    assert received.startswith(b"HTTP/1.1 101 ")
                    assert behind.recv(5) == b"early"
                    connection.sendall(b"ping")
                    assert behind.recv(4) == b"ping"
                    behind.sendall(b"pong")
                    assert connection.recv(4) == b"pong"
                assert connection.recv(1) == b""

    def test_a_websocket_needs_a_certificate_in_required_mode(
        self, before: Any, upstream: Any, client_context: Any
    ) -> None:
        """In the mode `required` a WebSocket handshake without a certificate gets a 403."""
        server = before(upstream(None).address, client_cert_mode="required")
        headers = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        assert get(server, client_context(), headers=headers)[0] == 403


class TestLog:
    def test_one_line_for_each_request(self, serve: Any, client_context: Any) -> None:
        """A line holds the method, the path without the query, the status and a fingerprint."""
        lines: list[str] = []
        server = serve(log=lines.append, excluded_paths="/health")
        get(server, client_context(), "/a?token=secret")
        get(server, client_context(der_and_key(CLIENT)), "/b")
        get(server, client_context(der_and_key(CLIENT)), "/health")
        server.stop()
        assert [line.split()[1:] for line in lines] == [
            ["GET", "/a", "200", "-"],
            ["GET", "/b", "200", CLIENT.certificate.sha256_fingerprint[:16]],
            ["GET", "/health", "200", "-"],
        ]

    def test_hostile_bytes_are_escaped_and_cut(self, serve: Any, client_context: Any) -> None:
        """A request cannot send control characters, new lines or long texts to the log."""
        lines: list[str] = []
        server = serve(log=lines.append)
        get(server, client_context(), "/\x1b[31m\r\xe9\x9b\\" + 400 * "a")
        server.stop()
        (line,) = lines
        assert line.isascii()
        assert line.isprintable()
        assert "/\\x1b[31m\\x0d\\xe9\\x9b\\x5caaa" in line
        assert len(line) < 400
        assert "..." in line


class TestLife:
    @pytest.fixture(autouse=True)
    def _behind(self) -> Iterator[None]:
        running = RunningWSGIApp(echo)
        self.upstream = running.address
        yield
        running.stop()

    def make(self, **options: Any) -> FrontEndServer:
        """Make a server. Options that are not given have their defaults."""
        defaults = {
            "certificate": SERVER.certificate_pem,
            "key": SERVER.private_key_pem,
            "bind": ("127.0.0.1", 0),
        }
        return FrontEndServer(self.upstream, **{**defaults, **options})

    def test_a_context_manager_starts_and_stops_it(self, client_context: Any) -> None:
        """The server runs inside the with block, and its port is free afterwards."""
        with self.make() as server:
            assert get(server, client_context())[0] == 200
        with pytest.raises(ConnectionRefusedError):
            plain_connection(server)

    def test_it_can_be_stopped_without_having_run(self) -> None:
        """A server that never started can be stopped, even twice, and frees its port."""
        server = self.make()
        server.stop()
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            plain_connection(server)

    @pytest.mark.parametrize(
        ("bind", "url"),
        [
            (("127.0.0.1", 0), "https://127.0.0.1:"),
            (("0.0.0.0", 0), "https://127.0.0.1:"),
            (("localhost", 0), "https://"),
        ],
    )
    def test_url_can_be_opened(self, bind: tuple[str, int], url: str) -> None:
        """The URL holds an address that clients can connect to, and the real port."""
        with self.make(bind=bind) as server:
            assert server.url.startswith(url)
            assert port_of(server) > 0

    @pytest.mark.parametrize("host", ["::1", "::"])
    def test_ipv6(self, host: str) -> None:
        """In the URL an IPv6 address is in brackets."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        with self.make(bind=(host, 0)) as server:
            assert server.url.startswith("https://[::1]:")
            socket.create_connection(("::1", port_of(server))).close()

    def test_a_taken_port_is_an_error(self) -> None:
        """A second server on the same port is an OSError."""
        with self.make() as server, pytest.raises(OSError, match="already in use"):
            self.make(bind=("127.0.0.1", port_of(server)))

    def test_stop_has_a_time_limit(
        self, serve: Any, client_context: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Neither a long request nor an idle client delays `stop` beyond its limit."""
        running, release = threading.Event(), threading.Event()

        def app(environ: Any, start_response: Any) -> list[bytes]:
            running.set()
            release.wait(20)
            start_response("200 OK", [])
            return []

        server = serve(app)
        with (
            plain_connection(server),
            tls_connection(server, client_context()) as idle,
            tls_connection(server, client_context()) as connection,
        ):
            idle.sendall(b"GET")
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert running.wait(5)
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < front_end.SHUTDOWN_SECONDS + 2
            release.set()
        assert "Traceback" not in capfd.readouterr().err

    def test_intermediates_of_the_server(self, client_context: Any) -> None:
        """The server sends the intermediates that follow the leaf in its PEM."""
        intermediate = CertificateAuthority("Intermediate", issuer=AUTHORITY)
        issued = intermediate.issue(
            "localhost", dns_names=["localhost"], extended_key_usages=("serverAuth",)
        )
        chain = issued.certificate_pem + intermediate.certificate_pem
        with self.make(certificate=chain, key=issued.private_key_pem) as server:
            assert get(server, client_context())[0] == 200

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"certificate": b"nonsense"}, "certificate: holds no PEM certificate"),
            ({"certificate": CLIENT.private_key_pem}, "certificate: holds no PEM certificate"),
            ({"key": b"nonsense"}, "key: holds no PEM private key"),
            ({"key": CLIENT.private_key_pem}, "key: does not belong to the certificate"),
            (
                {
                    "key": SERVER.private_key.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.BestAvailableEncryption(b"password"),
                    )
                },
                "key: is encrypted",
            ),
            ({"client_cert_mode": "Required"}, "client_cert_mode: 'Required' is none of required"),
            ({"excluded_paths": "/a,health"}, "excluded_paths: 'health' excludes nothing"),
        ],
    )
    def test_mistakes_name_the_setting(self, options: dict[str, Any], message: str) -> None:
        """A setting that cannot work is a ConfigurationError that names it."""
        with pytest.raises(ConfigurationError) as caught:
            self.make(**options)
        assert str(caught.value).startswith(message)

    def test_a_key_that_tls_does_not_support(self) -> None:
        """A server certificate whose key cannot sign is refused at the start."""
        key = x25519.X25519PrivateKey.generate()
        der, _ = unusual_certificate(key, signer=ec.generate_private_key(ec.SECP256R1()))
        with pytest.raises(ConfigurationError, match="of a kind that TLS does not support"):
            self.make(
                certificate=ssl.DER_cert_to_PEM_cert(der).encode(),
                key=key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            )
