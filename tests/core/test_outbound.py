"""Outbound mTLS: what the context sends and refuses, and the encryption of the key."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import re
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from OpenSSL import SSL

from arrcert import ClientCertificate, ConfigurationError, outbound
from arrcert.outbound import client_ssl_context
from arrcert.testing import CertificateAuthority

NOW = datetime.now(UTC).replace(microsecond=0)
PASSWORD = "correct horse"

ROOT = CertificateAuthority("Fabrikam Root CA")
UPPER = CertificateAuthority("Fabrikam Policy CA", issuer=ROOT)
LOWER = CertificateAuthority("Fabrikam Issuing CA", issuer=UPPER)
STRANGERS = CertificateAuthority("Woodgrove CA")
SERVER = ROOT.issue("localhost", dns_names=["localhost"], extended_key_usages=("serverAuth",))
CALLER = LOWER.issue("contoso-shop")
OTHER = LOWER.issue("contoso-shop")
AUTHORITIES = [ROOT.x509, LOWER.x509, UPPER.x509]
"""The CA certificates of the caller's path, in the wrong order."""

# --------------------------------------------------------------------------------------- material


def certificate_for(key: Any, extension: x509.ExtensionType | None = None) -> x509.Certificate:
    """Issue a client certificate for any key, with an extension if needed."""
    return (
        x509.CertificateBuilder()
        .subject_name(CALLER.certificate.x509.subject)
        .issuer_name(LOWER.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=365))
        .add_extension(
            extension or x509.BasicConstraints(ca=False, path_length=None), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(LOWER.x509.public_key()),
            critical=False,
        )
        .sign(LOWER._key, hashes.SHA256())
    )


def p12(
    key: Any = CALLER.private_key,
    certificate: x509.Certificate | None = CALLER.certificate.x509,
    password: str | None = None,
    authorities: Sequence[x509.Certificate] | None = AUTHORITIES,
) -> bytes:
    """Make PKCS#12 as OpenSSL 3 does."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(
        b"caller", key, certificate, authorities, encryption
    )


def pem_key(
    key: Any = CALLER.private_key,
    password: str | None = None,
    form: PrivateFormat = PrivateFormat.PKCS8,
) -> bytes:
    """Encode a key as PEM."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption)


def pem(*certificates: x509.Certificate) -> bytes:
    """Encode certificates as PEM."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


CERTIFICATES = pem(CALLER.certificate.x509, *AUTHORITIES)

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a file and returns its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "client"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def cafile(tmp_path: Path) -> Path:
    """A file with the CA certificate of the server."""
    path = tmp_path / "root.pem"
    path.write_bytes(ROOT.certificate_pem)
    return path


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that replaces `/var/ssl/private`, with the caller's certificate in it."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / f"{CALLER.certificate.sha1_fingerprint}.p12").write_bytes(p12())
    monkeypatch.setattr(outbound, "PRIVATE_CERTIFICATES", folder)
    return folder


def mistake(*arguments: Any) -> str:
    """Make a context, which must fail, and return the only mistake."""
    with pytest.raises(ConfigurationError) as caught:
        client_ssl_context(*arguments)
    [problem] = caught.value.problems
    return str(problem)


# ----------------------------------------------------------------------------------------- server


class Handler(BaseHTTPRequestHandler):
    """A handler that answers with what the server knows about the client."""

    protocol_version = "HTTP/1.1"
    connection: ssl.SSLSocket

    def do_GET(self) -> None:
        """Answer with the client's thumbprint; the path /late requests a certificate afterwards."""
        der = self.connection.getpeercert(binary_form=True)
        if self.path == "/late":
            self.connection.verify_client_post_handshake()
        facts = {
            "thumbprint": der and ClientCertificate.from_der(der).sha1_fingerprint,
            "tls": self.connection.version(),
        }
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server that requires a client certificate and trusts only the root CA."""

    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        """Log nothing about connections that the client closed."""


Running = Callable[..., Any]


@pytest.fixture
def serving(tmp_path: Path) -> Running:
    """A context manager that runs the server and returns its port."""
    certificate = tmp_path / "server.pem"
    certificate.write_bytes(SERVER.certificate_pem + SERVER.private_key_pem)

    @contextmanager
    def serving(configure: Callable[[ssl.SSLContext], None] = lambda _: None) -> Iterator[int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.load_verify_locations(cadata=ROOT.certificate_pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        configure(context)
        with Server(("127.0.0.1", 0), Handler) as server:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()

    return serving


def ask(context: ssl.SSLContext, port: int, *paths: str, host: str = "localhost") -> dict[str, Any]:
    """Request each path over one connection, and return the last answer."""
    with closing(http.client.HTTPSConnection(host, port, context=context, timeout=5)) as connection:
        for path in paths or ("/",):
            connection.request("GET", path)
            answer = connection.getresponse().read()
    return dict(json.loads(answer))


# ------------------------------------------------------------------------------- what is accepted

RSA = rsa.generate_private_key(65537, 2048)
P384 = ec.generate_private_key(ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
WINDOWS = (
    PrivateFormat.PKCS12.encryption_builder()
    .kdf_rounds(2000)
    .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
    .hmac_hash(hashes.SHA1())
    .build(PASSWORD.encode())
)


@pytest.mark.parametrize(
    ("content", "password"),
    [
        pytest.param(p12(), None, id=".p12 without password"),
        pytest.param(p12(), "", id=".p12 with an empty password"),
        pytest.param(p12(password=PASSWORD), PASSWORD, id=".p12 with password"),
        pytest.param(p12(password=PASSWORD), PASSWORD.encode(), id=".p12, password as bytes"),
        pytest.param(p12(password="pässwörd"), "pässwörd", id=".p12, password beyond ASCII"),
        pytest.param(
            pkcs12.serialize_key_and_certificates(
                b"caller", CALLER.private_key, CALLER.certificate.x509, AUTHORITIES, WINDOWS
            ),
            PASSWORD,
            id=".p12 with 3DES and SHA-1, as Windows writes it",
        ),
        pytest.param(CERTIFICATES + pem_key(), None, id="PEM"),
        pytest.param(CERTIFICATES + pem_key(), "", id="PEM with an empty password"),
        pytest.param(
            pem_key() + pem(*AUTHORITIES, CALLER.certificate.x509), None, id="PEM jumbled"
        ),
        pytest.param((CERTIFICATES + pem_key()).replace(b"\n", b"\r\n"), None, id="PEM with CRLF"),
        pytest.param(
            CERTIFICATES + pem_key(password=PASSWORD), PASSWORD, id="PEM, PKCS#8 encrypted"
        ),
        pytest.param(
            CERTIFICATES + pem_key(form=PrivateFormat.TraditionalOpenSSL), None, id="PEM, SEC 1"
        ),
        pytest.param(
            CERTIFICATES + pem_key(password=PASSWORD, form=PrivateFormat.TraditionalOpenSSL),
            PASSWORD,
            id="PEM, SEC 1 encrypted",
        ),
        pytest.param(
            b"Bag Attributes\n    friendlyName: caller\nKey Attributes: <No Attributes>\n"
            + pem_key()
            + b"subject=CN = contoso-shop\n"
            + CERTIFICATES,
            None,
            id="PEM as openssl pkcs12 prints it",
        ),
        *(
            pytest.param(make(key), password, id=f"{name} in {form}")
            for name, key in (("RSA", RSA), ("P-384", P384), ("Ed25519", ED25519))
            for form, password, make in (
                (".p12", PASSWORD, lambda key: p12(key, certificate_for(key), PASSWORD)),
                (
                    "PEM",
                    PASSWORD,
                    lambda key: pem(certificate_for(key), *AUTHORITIES) + pem_key(key, PASSWORD),
                ),
            )
        ),
    ],
)
def test_a_server_accepts_what_is_in_the_file(
    serving: Running, write: Write, cafile: Path, content: bytes, password: str | bytes | None
) -> None:
    """A server that trusts only the root CA accepts the certificate from each kind of file."""
    context = client_ssl_context(write(content), password, cafile)
    with serving() as port:
        assert ask(context, port)["thumbprint"] is not None


@pytest.mark.parametrize("legacy", [[], ["-legacy"]], ids=["AES", "RC2 and 3DES"])
def test_what_openssl_writes(
    serving: Running, write: Write, cafile: Path, tmp_path: Path, legacy: list[str]
) -> None:
    """Files of `openssl pkcs12 -export` are read, with and without `-legacy`."""
    source = write(CERTIFICATES + pem_key())
    command = ["openssl", "pkcs12", "-export", *legacy, "-in", str(source)]
    command += ["-out", str(tmp_path / "made.p12"), "-passout", f"pass:{PASSWORD}"]
    subprocess.run(command, check=True, capture_output=True)
    context = client_ssl_context(tmp_path / "made.p12", PASSWORD, cafile)
    with serving() as port:
        assert ask(context, port)["thumbprint"] == CALLER.certificate.sha1_fingerprint


@pytest.mark.parametrize(
    "form",
    [
        str,
        str.lower,
        lambda digits: ":".join(digits[at : at + 2] for at in range(0, 40, 2)),
        lambda digits: f" {digits[:20]} {digits[20:].lower()}\n",
    ],
)
def test_thumbprint(
    serving: Running, platform: Path, cafile: Path, form: Callable[[str], str]
) -> None:
    """A thumbprint, in each notation, stands for the platform's file of that name."""
    context = client_ssl_context(form(CALLER.certificate.sha1_fingerprint), None, cafile)
    with serving() as port:
        assert ask(context, port)["thumbprint"] == CALLER.certificate.sha1_fingerprint


def test_platform_folder_is_the_documented_one() -> None:
    """A thumbprint stands for a file in /var/ssl/private, as App Service on Linux names it."""
    said = mistake("AB" * 20)
    assert said.startswith(f"path_or_thumbprint: '/var/ssl/private/{'AB' * 20}.p12' does not exist")


class Ends:
    """A TLS server and a client that are connected through memory."""

    def __init__(self, server: SSL.Context, client: ssl.SSLContext) -> None:
        self.server = SSL.Connection(server, None)
        self.server.set_accept_state()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = client.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def shake_hands(self) -> None:
        """Exchange messages until the handshake is done."""
        step: Callable[[], object] = self._client.do_handshake
        for _ in range(6):
            with suppress(ssl.SSLWantReadError):
                step()
                # Reading takes part in a new handshake that the server may start later.
                step = self._client.read
                step()
            if said := self._outgoing.read():
                self.server.bio_write(said)
            with suppress(SSL.WantReadError):
                self.server.do_handshake()
                self.server.recv(1)
            with suppress(SSL.WantReadError):
                self._incoming.write(self.server.bio_read(100_000))


def sent(context: ssl.SSLContext) -> list[x509.Certificate]:
    """Return the certificates that the client sends after its leaf, in order."""
    server = SSL.Context(SSL.TLS_METHOD)
    server.use_certificate(SERVER.certificate.x509)
    server.use_privatekey(SERVER.private_key)
    server.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    ends = Ends(server, context)
    ends.shake_hands()
    chain = ends.server.get_peer_cert_chain(as_cryptography=True) or []
    assert ends.server.get_peer_certificate(as_cryptography=True) == CALLER.certificate.x509
    return [one for one in chain if one != CALLER.certificate.x509]


@pytest.mark.parametrize("form", [".p12", "PEM"])
def test_intermediates_are_sent_in_order_and_roots_are_not(
    write: Write, cafile: Path, form: str
) -> None:
    """Each certificate is sent before its issuer, without the root and unrelated certificates."""
    unrelated = CertificateAuthority("Woodgrove Issuing CA", issuer=STRANGERS).x509
    others = [unrelated, *AUTHORITIES, STRANGERS.x509]
    leaf = CALLER.certificate.x509
    content = p12(authorities=others) if form == ".p12" else pem(leaf, *others) + pem_key()
    context = client_ssl_context(write(content), None, cafile)
    assert sent(context) == [LOWER.x509, UPPER.x509]


# ------------------------------------------------------------------------- what the context does


def test_server_is_verified(serving: Running, write: Write, cafile: Path, tmp_path: Path) -> None:
    """A server with an untrusted certificate or another name is refused before the request."""
    (tmp_path / "other.pem").write_bytes(STRANGERS.certificate_pem)
    with serving() as port:
        for other in (tmp_path / "other.pem", None):
            context = client_ssl_context(write(p12()), None, other)
            with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get|self-signed"):
                ask(context, port)
        context = client_ssl_context(write(p12()), None, cafile)
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            ask(context, port, host="127.0.0.1")


def test_cafile_replaces_the_system_store(write: Write, cafile: Path) -> None:
    """With a cafile only its CAs are trusted, and without one the CAs of the system."""
    context = client_ssl_context(write(p12()), None, cafile)
    assert context.get_ca_certs(binary_form=True) == [ROOT.x509.public_bytes(Encoding.DER)]
    default = client_ssl_context(write(p12()))
    assert default.cert_store_stats() == ssl.create_default_context().cert_store_stats()


def test_cafile_may_be_der(serving: Running, write: Write, cafile: Path) -> None:
    """The cafile may be DER, as in App Service's `/var/ssl/certs`."""
    cafile.write_bytes(ROOT.x509.public_bytes(Encoding.DER))
    context = client_ssl_context(write(p12()), None, str(cafile))
    with serving() as port:
        assert ask(context, port)["tls"] == "TLSv1.3"


def test_settings_of_the_context(write: Write) -> None:
    """The context verifies the server's certificate and name, and requires TLS 1.2."""
    context = client_ssl_context(str(write(p12())))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_tls_1_2(serving: Running, write: Write, cafile: Path) -> None:
    """The context works with a server that only supports TLS 1.2."""
    context = client_ssl_context(write(p12()), None, cafile)

    def configure(server: ssl.SSLContext) -> None:
        server.maximum_version = ssl.TLSVersion.TLSv1_2

    with serving(configure) as port:
        assert ask(context, port) == {
            "thumbprint": CALLER.certificate.sha1_fingerprint,
            "tls": "TLSv1.2",
        }


def test_server_may_ask_after_the_handshake(serving: Running, write: Write, cafile: Path) -> None:
    """The certificate is sent if the server requests it after the handshake (RFC 8446)."""

    def configure(server: ssl.SSLContext) -> None:
        server.post_handshake_auth = True

    with serving(configure) as port:
        context = client_ssl_context(write(p12()), None, cafile)
        assert ask(context, port, "/")["thumbprint"] is None
        thumbprint = ask(context, port, "/late", "/")["thumbprint"]
    assert thumbprint == CALLER.certificate.sha1_fingerprint


def test_server_may_renegotiate(write: Write, cafile: Path) -> None:
    """The context sends the certificate in a renegotiation under TLS 1.2 (RFC 5746)."""
    server = SSL.Context(SSL.TLS_METHOD)
    server.set_max_proto_version(SSL.TLS1_2_VERSION)
    server.set_session_id(b"arrcert")
    # Without this, the session is resumed, and no certificate is requested.
    server.set_options(SSL.OP_NO_TICKET)
    server.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    server.use_certificate(SERVER.certificate.x509)
    server.use_privatekey(SERVER.private_key)
    ends = Ends(server, client_ssl_context(write(p12()), None, cafile))
    ends.shake_hands()
    assert ends.server.get_peer_certificate() is None
    ends.server.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    assert ends.server.renegotiate()
    ends.shake_hands()
    came = ends.server.get_peer_certificate(as_cryptography=True)
    assert came == CALLER.certificate.x509


# ----------------------------------------------------------------------- the documented clients

DOCUMENT = Path(__file__).parents[2] / "docs/outbound.md"
[SECTION] = [
    part
    for part in DOCUMENT.read_text(encoding="utf-8").split("\n## ")
    if part.startswith("With each client")
]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.mark.parametrize("client", ["urllib", "httpx", "aiohttp", "requests"])
def test_documented_clients(
    serving: Running,
    platform: Path,
    cafile: Path,
    client: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The documented example for each client runs unchanged and trusts only the given CAs."""
    [example] = [
        text
        for text in EXAMPLES
        if text.startswith(f"import {client}") or f"\nimport {client}\n" in text
    ]
    [thumbprint] = re.findall(r'client_ssl_context\("([0-9A-F]{40})"\)', example)
    strangers = platform / "strangers.pem"
    strangers.write_bytes(STRANGERS.certificate_pem)
    made: list[ssl.SSLContext] = []

    def make(*arguments: Any) -> ssl.SSLContext:
        made.append(client_ssl_context(*arguments))
        return made[0]

    monkeypatch.setattr(outbound, "client_ssl_context", make)
    # The examples trust the CAs of the system, so the server's CA has to be one of them.
    monkeypatch.setenv("SSL_CERT_FILE", str(cafile))
    monkeypatch.setenv("SSL_CERT_DIR", str(platform))
    # requests would also trust these CAs.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(strangers))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as port:
        example = example.replace("api.fabrikam.example", f"localhost:{port}")
        exec(example.replace(thumbprint, CALLER.certificate.sha1_fingerprint), {})
    assert capsys.readouterr().out == "200\n"
    [context] = made
    assert context.get_ca_certs(binary_form=True) == [ROOT.x509.public_bytes(Encoding.DER)]


# ------------------------------------------------------------------------- the key on the disk

_watching: list[str] | None = None
_hooked = False


def _record_files(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is not None and event in {"open", "tempfile.mkstemp", "os.rename", "os.link"}:
        _watching.extend(str(argument) for argument in arguments[:2])


@contextmanager
def watching() -> Iterator[list[str]]:
    """Record every file that the interpreter opens, creates or renames, from its audit events."""
    global _watching, _hooked
    if not _hooked:
        sys.addaudithook(_record_files)
        _hooked = True
    _watching = recorded = []
    try:
        yield recorded
    finally:
        _watching = None


def key_forms() -> list[bytes]:
    """Return the byte strings that show that the caller's key is not encrypted."""
    number = CALLER.private_key.private_numbers().private_value.to_bytes(32, "big")
    shifted = [base64.b64encode(b"\0" * at + number)[4:-4] for at in range(3)]
    return [number, number.hex().encode(), *shifted]


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (p12(password=PASSWORD), PASSWORD),
        (CERTIFICATES + pem_key(password=PASSWORD), PASSWORD),
    ],
    ids=[".p12", "PEM"],
)
def test_key_on_disk_is_always_encrypted(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, password: str
) -> None:
    """While OpenSSL reads the key, one file holds it, encrypted and for the owner only."""
    path = write(content)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    load = ssl.SSLContext.load_cert_chain
    seen: dict[str, bytes] = {}
    modes: list[int] = []
    loaded: list[str] = []

    def spy(self: ssl.SSLContext, certfile: str, **options: Any) -> None:
        for name in set(recorded) - {str(path)}:
            if os.path.isfile(name):
                seen[name] = Path(name).read_bytes()
        loaded.append(certfile)
        modes.extend(stat.S_IMODE(os.stat(at).st_mode) for at in (certfile, Path(certfile).parent))
        with pytest.raises(TypeError, match="not given"):
            load_pem_private_key(seen[certfile], None)
        load(self, certfile, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    with watching() as recorded:
        client_ssl_context(path, password)
    [certfile] = loaded
    assert str(path) in recorded
    assert modes == [0o600, 0o700]
    assert not [name for name, held in seen.items() for form in key_forms() if form in held]
    assert not [
        name
        for name in recorded
        if name.startswith(str(Path(certfile).parent)) and os.path.lexists(name)
    ]
    assert os.listdir(tmp_path) == ["client"]


def test_unencrypted_key_would_be_found(tmp_path: Path) -> None:
    """The search for an unencrypted key finds one in PEM and in DER."""
    with watching() as recorded:
        (tmp_path / "key").write_bytes(pem_key())
    held = b"".join((tmp_path / "key").read_bytes().split())
    assert str(tmp_path / "key") in recorded
    assert any(form in held for form in key_forms())
    der = CALLER.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert any(form in der for form in key_forms())


def test_nothing_is_left_behind_on_failure(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file is removed even if OpenSSL refuses the certificate."""
    weak = rsa.generate_private_key(65537, 1024)
    path = write(p12(weak, certificate_for(weak)))
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    said = mistake(path)
    assert said.startswith(
        f"path_or_thumbprint: OpenSSL refuses the certificate or key in '{path}'"
    )
    assert "KEY_TOO_SMALL" in said
    assert os.listdir(folder) == []


# -------------------------------------------------------------------------------- what is refused


def test_missing_file(tmp_path: Path) -> None:
    """A missing file, a folder and an impossible path are reported."""
    assert mistake(tmp_path / "none.p12") == (
        f"path_or_thumbprint: '{tmp_path}/none.p12' cannot be read: No such file or directory;"
        " write the path of a file"
    )
    assert "cannot be read: Is a directory" in mistake(tmp_path)
    assert "cannot be read: embedded null" in mistake("a\0b")


def test_missing_thumbprint(platform: Path) -> None:
    """For a thumbprint without a file, the error names the app setting and the existing files."""
    wanted = OTHER.certificate.sha1_fingerprint
    assert mistake(wanted) == (
        f"path_or_thumbprint: '{platform}/{wanted}.p12' does not exist; on App Service the app"
        " setting WEBSITE_LOAD_CERTIFICATES must hold this thumbprint, or *; it holds:"
        f" {CALLER.certificate.sha1_fingerprint}"
    )
    for file in platform.iterdir():
        file.unlink()
    assert mistake(wanted).endswith("or *; the folder holds no .p12")
    platform.rmdir()
    assert mistake(wanted).endswith("or *; the folder cannot be read: No such file or directory")


def test_file_name_in_lower_case(platform: Path, serving: Running, cafile: Path) -> None:
    """The platform's file is found in any case of its name, and its certificate is presented."""
    [file] = platform.iterdir()
    file.rename(platform / file.name.lower())
    context = client_ssl_context(CALLER.certificate.sha1_fingerprint, cafile=cafile)
    with serving() as port:
        assert ask(context, port)["thumbprint"] == CALLER.certificate.sha1_fingerprint


def test_another_thumbprint(platform: Path) -> None:
    """A file is refused if its certificate does not have the thumbprint of its name."""
    wanted = OTHER.certificate.sha1_fingerprint
    (platform / f"{wanted}.p12").write_bytes(p12())
    assert mistake(wanted) == (
        f"path_or_thumbprint: the certificate in '{platform}/{wanted}.p12' has another thumbprint,"
        f" {CALLER.certificate.sha1_fingerprint}; write that one, or replace the file"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" ", "is empty; write a file's path, or a thumbprint"),
        ("AB" * 32, "is a SHA-256 fingerprint; App Service names its files by the SHA-1"),
        ("\u200e" + "ab" * 20, "is neither a file nor a bare thumbprint; write 'ABAB"),
        ("SHA1 Fingerprint=" + ":".join(["AB"] * 20), "nor a bare thumbprint; write 'ABAB"),
        ("@Microsoft.KeyVault(SecretUri=https://x)", "Key Vault reference that App Service did"),
    ],
)
def test_what_people_paste(text: str, said: str) -> None:
    """For text that is neither a path nor a thumbprint, the error says what to write."""
    assert said in mistake(text)


@pytest.mark.parametrize("password", ["@Microsoft.KeyVault(SecretUri=https://x)"])
def test_unresolved_password(write: Write, password: str) -> None:
    """An unresolved Key Vault reference is not used as a password."""
    assert mistake(write(p12()), password).startswith("password: is a Key Vault reference")


@pytest.mark.parametrize(
    "text",
    [(CERTIFICATES + pem_key()).decode(), base64.b64encode(p12()).decode()],
    ids=["PEM", "base64"],
)
def test_pasted_key_is_not_in_the_error(text: str) -> None:
    """If the text is a key instead of a path, the error does not contain it."""
    assert mistake(text) == (
        "path_or_thumbprint: holds a certificate or key itself; write the path of a file"
    )


ENCRYPTED_PEM = CERTIFICATES + pem_key(password=PASSWORD)
WRONG_PASSWORDS = ("battery staple", f"{PASSWORD}\n")


def traditional_pem_key() -> bytes:
    """Encode a key in the traditional form, so that each wrong password fails to decrypt it.

    That form has no check value: one wrong password in 256 leaves bytes with valid padding.
    """
    while True:
        encoded = pem_key(password=PASSWORD, form=PrivateFormat.TraditionalOpenSSL)
        if not any(_seems_to_decrypt(encoded, password) for password in WRONG_PASSWORDS):
            return encoded


def _seems_to_decrypt(encoded: bytes, password: str) -> bool:
    try:
        load_pem_private_key(encoded, password.encode())
    except ValueError as error:
        return "password" not in str(error)
    return True


TRADITIONAL_PEM = CERTIFICATES + traditional_pem_key()


@pytest.mark.parametrize(
    "content",
    [p12(password=PASSWORD), ENCRYPTED_PEM, TRADITIONAL_PEM],
    ids=[".p12", "PKCS#8", "SEC 1"],
)
def test_passwords(write: Write, content: bytes) -> None:
    """The error distinguishes a missing password from a wrong one, and contains neither."""
    path = write(content)
    assert mistake(path) == f"password: is missing; '{path}' is protected by a password"
    assert mistake(path, WRONG_PASSWORDS[0]) == (
        f"password: does not open '{path}'; write the right one"
    )
    assert mistake(path, WRONG_PASSWORDS[1]) == (
        f"password: does not open '{path}'; the password begins or ends with white space; write"
        " the right one"
    )


@pytest.mark.parametrize("content", [p12(), CERTIFICATES + pem_key()], ids=[".p12", "PEM"])
def test_needless_password(write: Write, content: bytes) -> None:
    """A password for a file that has none is a mistake."""
    path = write(content)
    assert mistake(path, PASSWORD) == (
        f"password: is not needed, because '{path}' has no password; remove it"
    )


def der(tag: int, *parts: bytes) -> bytes:
    """Encode one DER element of at most 65,535 bytes."""
    body = b"".join(parts)
    return bytes([tag, 0x82]) + len(body).to_bytes(2, "big") + body


def two_keys() -> bytes:
    """Make PKCS#12 with two keys and two certificates, as a Java key store does."""
    data = bytes.fromhex("06092a864886f70d010701")
    safes = []
    for issued in (CALLER, OTHER):
        key = issued.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        certificate = der(0x04, issued.certificate.der)
        x509_type = bytes.fromhex("060a2a864886f70d01091601")
        bags = der(0x30, bytes.fromhex("060b2a864886f70d010c0a0101"), der(0xA0, key))
        bags += der(
            0x30,
            bytes.fromhex("060b2a864886f70d010c0a0103"),
            der(0xA0, der(0x30, x509_type, der(0xA0, certificate))),
        )
        safes.append(der(0x30, data, der(0xA0, der(0x04, der(0x30, bags)))))
    return der(0x30, b"\x02\x01\x03", der(0x30, data, der(0xA0, der(0x04, der(0x30, *safes)))))


def test_two_keys_are_readable() -> None:
    """For a PKCS#12 file with two keys, cryptography returns the first key without an error."""
    key = pkcs12.load_pkcs12(two_keys(), None).key
    assert key is not None
    assert key.public_key() == CALLER.private_key.public_key()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (two_keys(), "{where} holds more than one private key; write a file for each"),
        (
            CERTIFICATES + pem_key() + pem_key(OTHER.private_key),
            "{where} holds more than one private key; write a file for each",
        ),
        (p12(key=None), "{where} holds no private key; write a .p12 with the key, or make"),
        (CERTIFICATES, "{where} holds no private key; write a .p12 with the key, or make"),
        (CALLER.certificate.der, "{where} holds no private key; write a .p12 with the key"),
        (
            p12(certificate=None, authorities=None),
            "{where} holds a private key and no certificate; add the certificate to it",
        ),
        (pem_key(), "{where} holds a private key and no certificate; add the certificate"),
        (
            p12(certificate=None),
            "the private key in {where} does not belong to any certificate in it; check",
        ),
        (
            CERTIFICATES + pem_key(OTHER.private_key),
            "the private key in {where} does not belong to any certificate in it; check",
        ),
        (p12()[:-40], "{where} is broken or cut off: "),
        (
            CERTIFICATES + pem_key()[:-40],
            "{where} holds a private key that is cut off; copy all of it",
        ),
        (CERTIFICATES + pem_key()[:40] + pem_key()[60:], "{where} is broken or cut off: "),
        (CERTIFICATES[:200] + pem_key(), "{where} holds "),
        (b"", "{where} is neither PKCS#12 nor PEM; it is empty"),
        (b"hello", "{where} is neither PKCS#12 nor PEM; a PEM file holds at least one block"),
        (
            CERTIFICATES.decode().encode("utf-16"),
            "{where} is neither PKCS#12 nor PEM; it is UTF-16",
        ),
        (
            base64.encodebytes(p12()),
            "{where} is PKCS#12 in base64, the format of secrets in Key Vault; decode it: base64",
        ),
    ],
)
def test_unusable_contents(write: Write, content: bytes, said: str) -> None:
    """A file with other contents is refused, and the error names what it holds."""
    path = write(content)
    assert mistake(path).startswith("path_or_thumbprint: " + said.format(where=repr(str(path))))


def test_unreadable_facts(write: Write) -> None:
    """A certificate with an unreadable extension is refused with the reason."""
    broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x00")
    path = write(p12(certificate=certificate_for(CALLER.private_key, extension=broken)))
    assert mistake(path).startswith(
        f"path_or_thumbprint: the certificate in '{path}' cannot be read: not a certificate: "
    )


def test_unknown_kind_of_key(write: Write) -> None:
    """A file is loaded even if another certificate in it has an unsupported kind of key."""
    p256, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")
    assert p256 in OTHER.certificate.der
    other = x509.load_der_x509_certificate(OTHER.certificate.der.replace(p256, unknown))
    client_ssl_context(write(pem(other) + CERTIFICATES + pem_key()))


def test_unusable_cafile(write: Write, tmp_path: Path) -> None:
    """A cafile that is missing or holds no certificate is an error."""
    path = write(p12())
    assert mistake(path, None, tmp_path / "none.pem") == (
        f"cafile: '{tmp_path}/none.pem' cannot be read: No such file or directory; write the path"
        " of a file"
    )
    assert mistake(path, None, "").startswith("cafile: '.' cannot be read: Is a directory")
    assert mistake(path, None, path).startswith(f"cafile: '{path}' holds no certificate; it is PKC")


# --------------------------------------------------------------------------------- what is logged


@pytest.mark.parametrize(
    ("begin", "end", "level", "said"),
    [
        (-9, 365, None, ""),
        (-9, 31, None, ""),
        (-9, 29, "WARNING", "expires at {end}, in 28 days; renew it"),
        (-9, 0.5, "WARNING", "expires at {end}, in 0 days; renew it"),
        (-9, -1, "ERROR", "expired at {end}, so servers refuse it; renew it"),
        (2, 9, "ERROR", "is valid only from {begin} on; until then servers refuse it"),
    ],
)
def test_validity_is_logged(
    write: Write,
    caplog: pytest.LogCaptureFixture,
    begin: float,
    end: float,
    level: str | None,
    said: str,
) -> None:
    """A certificate outside its validity, or near its end, is logged and still loaded."""
    now = datetime.now(UTC)
    moments = {"begin": now + timedelta(days=begin), "end": now + timedelta(days=end)}
    issued = LOWER.issue("shop", not_before=moments["begin"], not_after=moments["end"])
    path = write(p12(issued.private_key, issued.certificate.x509))
    with caplog.at_level(logging.INFO, "arrcert"):
        assert isinstance(client_ssl_context(path), ssl.SSLContext)
    written = {name: f"{moment:%Y-%m-%dT%H:%M:%SZ}" for name, moment in moments.items()}
    expected = f"the certificate 'CN=shop' in '{path}' {said.format(**written)}"
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == (
        [("arrcert", level, expected)] if level else []
    )


@pytest.mark.parametrize(
    ("usages", "warns"),
    [
        (None, False),
        (("clientAuth", "serverAuth"), False),
        (("serverAuth",), True),
        (("anyExtendedKeyUsage",), True),
    ],
)
def test_usage_is_logged(
    write: Write,
    caplog: pytest.LogCaptureFixture,
    usages: Sequence[str] | None,
    warns: bool,
) -> None:
    """A certificate without clientAuth in its extended key usage is a warning and still loaded."""
    issued = LOWER.issue("shop", extended_key_usages=usages)
    client_ssl_context(write(p12(issued.private_key, issued.certificate.x509)))
    assert [record.levelname for record in caplog.records] == (["WARNING"] if warns else [])
    assert ("without clientAuth" in caplog.text) is warns
