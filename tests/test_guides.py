"""The guides are correct: their commands run, their settings load, their log lines are real."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import flask
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert.cli.front_end import FrontEndServer
from arrcert.cli.local_apps import RunningWSGIApp
from arrcert.denials import describe_request
from arrcert.exceptions import Denial
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.forwarding.ingress import Ingress
from arrcert.forwarding.proxies import networks_from, secret_header_from
from arrcert.keys import public_key_fingerprint
from arrcert.settings import load
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert.trust import files as trust_files
from arrcert_flask import Arrcert

ROOT = Path(__file__).parent.parent
GUIDES = ["403.md", "identity.md", "rotation.md", "large-uploads.md", "browsers.md", "platform.md"]
SECRET = "ARRCERT_FRONT_END_SECRET_HEADER"
POLICIES = {"default": {"trust_anchors": "ca.pem", "common_names": ["gateway"]}}


class Block(NamedTuple):
    """One fenced block, and the heading above it."""

    heading: str
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    found, heading = [], ""
    heading_line = r"^#+ (?P<heading>[^\n]+)$"
    fence = r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$"
    for match in re.finditer(f"{heading_line}|{fence}", text, re.MULTILINE | re.DOTALL):
        if match["heading"]:
            heading = match["heading"].strip("`")
        else:
            found.append(Block(heading, match["language"], match["text"]))
    return found


def guide(name: str) -> str:
    """Return a guide's text."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def snippets(name: str, language: str) -> list[str]:
    """Return a guide's blocks of one language."""
    return [block.text for block in blocks(guide(name)) if block.language == language]


def mask(line: str) -> str:
    """Replace what differs from site to site by the guides' placeholders."""
    line = re.sub(r"serial number '[0-9A-F]+'", "serial number '<serial>'", line)
    line = re.sub(r"\b[0-9A-F]{64}\b", "<SHA-256>", line)
    line = re.sub(r"\b[0-9A-F]{40}\b", "<SHA-1>", line)
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:Z|\+00:00)", "<time>", line)


class Log(logging.Handler):
    """Everything that arrcert logs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        self.records.append(record)

    def lines(self) -> list[str]:
        """Return the masked messages."""
        return [mask(record.getMessage()) for record in self.records]


@pytest.fixture
def log() -> Iterator[Log]:
    """The records that arrcert logs, from DEBUG on."""
    handler, logger = Log(), logging.getLogger("arrcert")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


class Operator:
    """An operator who types what a guide says, in front of a site with the name site.example."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
        self.folder = folder
        self.log = log
        self.said = ""
        self.snippet = ""
        self.variables = {"ARRCERT": json.dumps(POLICIES), "ARRCERT_PROTECT_ALL": "true"}
        # curl does not apply .curlrc to the request after --next.
        self.replaced = {"sleep 5": ":", "--next": "--next -K .curlrc"}
        self._monkeypatch = monkeypatch
        self._app: RunningWSGIApp | None = None
        self._server: FrontEndServer | None = None
        web = CertificateAuthority("The web's CA")
        self._site = web.issue(
            "site.example",
            dns_names=["site.example", "localhost"],
            extended_key_usages=("serverAuth",),
        )
        self.write("web-ca.pem", web.certificate_pem)

    def write(self, name: str, content: bytes | str) -> None:
        """Put a file where the guide expects one."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def has(self, name: str, issued: IssuedCertificate) -> None:
        """Put a certificate and its key where the guide expects them."""
        self.write(f"{name}.pem", issued.certificate_pem)
        self.write(f"{name}.key", issued.private_key_pem)

    def starts_site(self) -> None:
        """Start the site again with the current settings."""
        self.stops_site()
        for name, value in self.variables.items():
            self._monkeypatch.setenv(name, value)
        self.log.records.clear()
        app = flask.Flask("site")
        Arrcert(app)
        app.add_url_rule("/hellocert", "hellocert", lambda: "hello\n")
        app.add_url_rule(
            "/upload",
            "upload",
            lambda: f"{len(flask.request.get_data())}\n",
            methods=["POST", "PUT"],
        )
        exec(self.snippet, {"app": app, "request": flask.request})
        self._app = RunningWSGIApp(app)
        self._server = FrontEndServer(
            self._app.address,
            certificate=self._site.certificate_pem,
            key=self._site.private_key_pem,
            bind=("127.0.0.1", 0),
        )
        self._server.start()
        self.address = self._server.url.removeprefix("https://")
        self.write(
            ".curlrc",
            f'connect-to = "site.example:443:{self.address}"\ncacert = "web-ca.pem"\n'
            "silent\nshow-error\n",
        )
        self.replaced["-connect site.example:443"] = f"-connect {self.address}"

    def stops_site(self) -> None:
        """Stop the site where it runs."""
        if self._server is not None and self._app is not None:
            self._server.stop()
            self._app.stop()
            self._server = self._app = None

    def types(self, line: str) -> str:
        """Run one line, with only the addresses replaced, and return what it printed."""
        for text, other in self.replaced.items():
            line = line.replace(text, other)
        path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-ec", line],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        printed = done.stdout.decode()
        assert done.returncode == 0, (line, printed)
        self.said += printed
        return printed

    def asks(self, line: str) -> None:
        """Run a curl line and compare its answer with the status in its comment."""
        command, _, status = line.rpartition("   # ")
        printed = self.types(f"{command} -o answer.txt -w '%{{http_code}}'")
        assert printed == status, (line, self.log.lines())

    def configures(self, text: str) -> None:
        """Start the site with a block of settings."""
        value = re.sub(r"<(.+?)>", lambda found: self._value_of(found[1]), text)
        name = SECRET if "secrets" in json.loads(value) else "ARRCERT"
        self.variables[name] = value
        self.starts_site()

    def _value_of(self, placeholder: str) -> str:
        """Return the value of a placeholder, which a command must have printed."""
        if placeholder.endswith("secret"):
            return os.environ[placeholder.upper().replace(" ", "_")]
        what, _, name = placeholder.rpartition(" of ")
        data = (self.folder / name).read_bytes()
        if name.endswith(".csr"):
            info = (
                x509.load_pem_x509_csr(data)
                .public_key()
                .public_bytes(
                    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            )
            digest = hashes.Hash(hashes.SHA256())
            digest.update(info)
            value = digest.finalize().hex().upper()
        elif what == "public key":
            value = str(public_key_fingerprint(ClientCertificate.from_pem(data).x509))
        else:
            value = ClientCertificate.from_pem(data).sha256_fingerprint
        # The site already has the fingerprint of the old certificate.
        if placeholder != "fingerprint of old.pem":
            assert value in self.said.replace(":", "").upper(), placeholder
        return value


@pytest.fixture
def operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log, authority: CertificateAuthority
) -> Iterator[Operator]:
    """An operator in a folder with a CA, a client, and a large file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trust_files, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(trust_files, "SECONDS_TO_WAIT", 10)
    monkeypatch.setenv("P12_PASSWORD", "a password for the way")
    monkeypatch.setenv("OLD_SECRET", "the-old-secret-of-this-test")
    monkeypatch.setenv("NEW_SECRET", "the-new-secret-of-this-test")
    operator = Operator(tmp_path, monkeypatch, log)
    operator.has("client", authority.issue("gateway"))
    operator.write("ca.pem", authority.certificate_pem)
    operator.write("ca.crl", authority.revocation_list(authority.issue("old gateway")))
    operator.write("large.bin", os.urandom(200_000))
    operator.types(
        "openssl pkcs12 -export -inkey client.key -in client.pem -passout env:P12_PASSWORD"
        " -out client.p12"
    )
    yield operator
    operator.stops_site()


@pytest.fixture
def lists(operator: Operator) -> Iterator[None]:
    """The web server of a CA, which serves the operator's folder `published`."""
    operator.write("published/ca.crl", (operator.folder / "ca.crl").read_bytes())
    handler = partial(_Quiet, directory=operator.folder / "published")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        operator.replaced["http://crl.contoso.example"] = f"http://127.0.0.1:{server.server_port}"
        yield
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def needs_azure(line: str) -> bool:
    """Tell whether a line runs only on Azure: it calls Azure's CLI, or a front end's plain HTTP."""
    return line.startswith("az ") or "http://site.example" in line


def follow(operator: Operator, story: list[Block], prepare: dict[str, Callable[[], None]]) -> None:
    """Follow the blocks in order: run the commands, load the settings, find the log lines."""
    heading = ""
    for block in story:
        if block.heading != heading:
            heading = block.heading
            prepare.get(heading, lambda: None)()
        if block.language == "json":
            operator.configures(block.text)
        elif block.language == "log":
            assert set(block.text.splitlines()) <= set(operator.log.lines())
        elif block.language == "sh":
            for line in block.text.splitlines():
                if needs_azure(line):
                    continue
                if re.search(r"   # \d{3}$", line):
                    operator.asks(line)
                else:
                    operator.types(line)
        if "fetch-crls" in block.text:
            assert not [r for r in operator.log.records if r.levelno >= logging.ERROR]


def test_commands_of_the_403_guide(operator: Operator, lists: None) -> None:
    """Each command of the 403 runbook runs, and prints what the runbook shows."""
    operator.starts_site()
    story = [block for block in blocks(guide("403.md")) if block.language == "sh"]
    follow(operator, story, {})
    assert "Policy 'default': accepted" in operator.said
    assert re.search(r"Request CERT", operator.said)
    assert re.search(r"\(OUT\), TLS handshake, CERT verify", operator.said)
    assert "Requested Signature Algorithms" in operator.said
    assert "TLS Web Client Authentication" in operator.said
    assert "client.pem: OK" in operator.said
    assert "Public-Key: (256 bit)" in operator.said
    digests = operator.types(
        "; ".join(
            line
            for line in "\n".join(snippets("403.md", "sh")).splitlines()
            if line.endswith("| openssl dgst -sha256") and "outform" not in line
        )
    ).splitlines()
    assert len(digests) == 2
    assert len(set(digests)) == 1


def test_rotation(operator: Operator, lists: None, authority: CertificateAuthority) -> None:
    """Each rotation runs unchanged: both certificates are accepted, and then only the new one."""
    new = CertificateAuthority("Contoso Issuing CA 2")

    def has_a_pinned_client() -> None:
        operator.types(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=gateway"
            " -keyout old.key -out old.pem"
        )

    def has_two_cas() -> None:
        operator.has("old", authority.issue("gateway"))
        operator.has("new", new.issue("gateway"))
        operator.write("old-ca.pem", authority.certificate_pem)
        operator.write("new-ca.pem", new.certificate_pem)
        operator.write("anchors.pem", authority.certificate_pem)
        operator.write("crls/old-ca.crl", authority.revocation_list())
        operator.write("published/new-ca.crl", new.revocation_list())

    def has_the_new_anchor() -> None:
        operator.write("anchors.pem", new.certificate_pem)

    follow(
        operator,
        blocks(guide("rotation.md")),
        {
            "A pinned client certificate": has_a_pinned_client,
            "A CA": has_two_cas,
            "Revocation lists": has_the_new_anchor,
        },
    )


def test_list_of_a_forgotten_ca_stops_the_start(
    operator: Operator, authority: CertificateAuthority
) -> None:
    """A CRL of a CA that is not an anchor stops the start, and the site starts without it."""
    new = CertificateAuthority("Contoso Issuing CA 2")
    operator.write("anchors.pem", new.certificate_pem)
    operator.write("crls/new-ca.crl", new.revocation_list())
    operator.write("crls/old-ca.crl", authority.revocation_list())
    [settings] = {text for text in snippets("rotation.md", "json") if '"crls"' in text}
    with pytest.raises(ConfigurationError, match="no configured CA certificate has that name"):
        load({}, {"ARRCERT": settings})
    (operator.folder / "crls" / "old-ca.crl").unlink()
    load({}, {"ARRCERT": settings})


def test_what_the_rotation_guide_says_of_files(
    operator: Operator, authority: CertificateAuthority
) -> None:
    """A list without its anchor, or a broken file, logs an ERROR and denies no request."""
    new = CertificateAuthority("Contoso Issuing CA 2")
    operator.write("anchors.pem", authority.certificate_pem)
    operator.write("crls/old-ca.crl", authority.revocation_list())
    policy = Policy(trust_anchors="anchors.pem", crls="crls")
    alice = authority.issue("gateway").certificate
    operator.write("crls/new-ca.crl", new.revocation_list())
    policy.check(alice)
    assert any("no configured CA certificate has that name" in x for x in operator.log.lines())
    operator.write("anchors.pem", b"-----BEGIN CERTIFICATE-----\nMIIB")
    policy.check(alice)
    assert operator.log.lines()[-1].endswith("the old content stays in use")


def test_same_name_and_another_key(
    operator: Operator, authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    """The same steps rotate a CA that has a new key under its old name."""
    operator.write("anchors.pem", authority.certificate_pem + other_authority.certificate_pem)
    operator.write("crls/old-ca.crl", authority.revocation_list())
    operator.write("crls/new-ca.crl", other_authority.revocation_list())
    policy = Policy(trust_anchors="anchors.pem", crls="crls")
    policy.check(authority.issue("gateway").certificate)
    policy.check(other_authority.issue("gateway").certificate)


def test_commands_of_large_uploads(operator: Operator) -> None:
    """Each way around renegotiation works: HEAD first, `Expect`, and Python's."""
    operator.starts_site()
    follow(operator, [b for b in blocks(guide("large-uploads.md")) if b.language == "sh"], {})
    [head_first] = [
        line
        for text in snippets("large-uploads.md", "sh")
        for line in text.splitlines()
        if " --next " in line
    ]
    tell = "-o answer.txt -w '%{http_code} %{num_connects}\\n'"
    printed = operator.types(f"{head_first.replace('--next', f'{tell} --next')} {tell}")
    assert printed == "200 1\n200 0\n"
    assert (operator.folder / "answer.txt").read_text() == "200000\n"
    [code] = snippets("large-uploads.md", "python")
    port = operator.address.rpartition(":")[2]
    code = code.replace('"site.example"', f'"localhost", {port}')
    command = shlex.join([sys.executable, "-c", code])
    assert operator.types(f"SSL_CERT_FILE=web-ca.pem {command}") == "200 b'200000\\n'\n"


@pytest.mark.parametrize(("options", "status"), [([], "431"), (None, "403")])
def test_gunicorn_has_a_limit_of_its_own(
    options: list[str] | None, status: str, operator: Operator, tmp_path: Path
) -> None:
    """Gunicorn answers a long header with 431; with a higher limit the header reaches arrcert."""
    if options is None:
        [advice] = re.findall(r"`gunicorn (--limit-[^`]+)`", guide("large-uploads.md"))
        options = advice.split()
    operator.write(
        "app.py",
        "from flask import Flask\nfrom arrcert_flask import Arrcert\n"
        "app = Flask(__name__)\nArrcert(app)\n",
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (tmp_path / "gunicorn.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *options, "app:app"],
            cwd=tmp_path,
            env={**os.environ, **operator.variables, "PYTHONPATH": str(tmp_path)},
            stdout=output,
            stderr=output,
        )
        try:
            for _ in range(300):
                if "Booting worker" in (tmp_path / "gunicorn.log").read_text():
                    break
                time.sleep(0.05)
            value = "A" * 8200
            printed = operator.types(
                f"curl --retry 5 --retry-connrefused -s -o answer.txt -w '%{{http_code}}'"
                f" -H 'X-ARR-ClientCert: {value}' http://127.0.0.1:{port}/"
            )
        finally:
            process.terminate()
            process.wait(10)
    said = (tmp_path / "gunicorn.log").read_text()
    assert printed == status, said
    assert ("Invalid request" in said) == (status == "431")
    assert ("malformed" in said) == (status == "403")


def test_commands_of_browsers(operator: Operator) -> None:
    """The commands make importable files, and the site answers only known origins' preflights."""
    [operator.snippet] = snippets("browsers.md", "python")
    # The site starts with the variables that the guide exports.
    operator.variables |= dict(
        re.findall(r"^export (\w+)=(\S+)$", guide("browsers.md"), re.MULTILINE)
    )
    operator.starts_site()
    follow(operator, [b for b in blocks(guide("browsers.md")) if b.language == "sh"], {})
    assert "-----BEGIN CERTIFICATE-----" in operator.said
    assert "friendlyName: alice at contoso" in operator.said
    for name in ("client.p12", "client-legacy.p12"):
        data = (operator.folder / name).read_bytes()
        held = pkcs12.load_pkcs12(data, b"a password for the way")
        assert held.key is not None
    answer = operator.types(
        "curl -i --cert client.pem --key client.key -H 'Origin: https://pages.example'"
        " https://site.example/hellocert"
    )
    assert "Access-Control-Allow-Origin: https://pages.example" in answer
    assert "Access-Control-Allow-Credentials: true" in answer


def test_commands_of_platform(operator: Operator) -> None:
    """The checks of the platform's unpromised properties run, and a good front end passes them."""
    operator.starts_site()
    port = operator.address.rpartition(":")[2]
    operator.replaced["arrcert probe https://site.example"] = (
        f"arrcert probe --rate 1000 --cacert web-ca.pem https://localhost:{port}"
    )
    story = [block for block in blocks(guide("platform.md")) if block.language == "sh"]
    follow(operator, story, {})
    assert "No entry: nobody got in" in operator.said
    denied = [str(record.getMessage()) for record in operator.log.records]
    # A stranger sends a forged header beside its own certificate. The record shows the stranger's.
    assert any("forged header" in line and "stranger in TLS" in line for line in denied)
    assert not any("stranger in header" in line for line in denied)


def test_platform_rows_are_whole() -> None:
    """Each row says what is known, what arrcert does in each case, and how to check it."""
    text = guide("platform.md").partition("## How to check")[0]
    rows = [line for line in text.splitlines() if re.match(r"\| (?!not promised|-)", line)]
    assert len(rows) > 15
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4, row
        assert all(cells), row


class Denials:
    """A real denial for each line that the runbook quotes."""

    def __init__(self, log: Log, authority: CertificateAuthority) -> None:
        self._log = log
        # The name that the guide uses for the CA. The session's CA has another name.
        self.ca = CertificateAuthority("Contoso Issuing CA")
        self.gateway = self.ca.issue("gateway")
        self.other = self.ca.issue("bob")
        self.pinned = Policy(fingerprints=[self.other.certificate.sha256_fingerprint])
        Path("ca.pem").write_bytes(self.ca.certificate_pem)
        self.anchored = {"trust_anchors": "ca.pem"}

    def line(
        self,
        policy: Policy,
        value: str | None = None,
        name: str = "default",
        ingress: Ingress | None = None,
        role: str | None = None,
        **environ: str,
    ) -> str:
        """Deny a WSGI request, and return the record's masked line."""
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/hellocert", **environ}
        if value is not None:
            environ["HTTP_X_ARR_CLIENTCERT"] = value
        authorizer = Authorizer({"default": policy}, front_end=ingress or "app-service")
        self._log.records.clear()
        with pytest.raises(CertificateDenied):
            authorizer.authorize_wsgi(environ, policy=name, role=role)
        return self._log.lines()[0]

    def judged(self, issued: IssuedCertificate, **rules: object) -> str:
        """Return the log line of a certificate that the rules deny."""
        return self.line(Policy(**rules), issued.header_value)

    def all(self) -> dict[DenialReason, set[str]]:
        """Return the lines of every reason."""
        gateway, anchored, now = self.gateway, self.anchored, datetime.now(UTC)
        value = gateway.header_value
        organized = CertificateAuthority("Contoso Issuing CA", organization="Contoso")
        bobs_key = public_key_fingerprint(self.other.certificate.x509)
        old = {
            "fingerprint": gateway.certificate.sha256_fingerprint,
            "not_after": "2020-01-31",
            "note": "old gateway",
        }
        weak = _weak_certificate()
        secret = secret_header_from(
            {"header": "X-Front-End-Secret", "secrets": ["a secret of the test".replace(" ", "-")]},
            setting=SECRET,
        )
        proxies = networks_from(["10.1.0.0/16"], setting="ARRCERT_TRUSTED_PROXIES")
        app_service = FRONT_ENDS["app-service"]
        ended = self.ca.revocation_list(next_update=now - timedelta(days=1))
        return {
            DenialReason.INSECURE_TRANSPORT: {
                self.line(self.pinned, value, HTTP_X_FORWARDED_PROTO="http"),
                self.line(self.pinned, value, HTTP_X_FORWARDED_PROTO="https,http"),
            },
            DenialReason.NOT_THROUGH_FRONT_END: {
                self.line(
                    self.pinned,
                    value,
                    ingress=Ingress(app_service, secret_header=secret),
                    HTTP_X_FRONT_END_SECRET="something-else",
                ),
                self.line(
                    self.pinned,
                    value,
                    ingress=Ingress(app_service, trusted_proxies=proxies),
                    REMOTE_ADDR="192.0.2.7",
                ),
                self.line(self.pinned, value, SERVER_PROTOCOL="HTTP/2"),
            },
            DenialReason.CROSS_SITE: {
                self.line(
                    self.pinned,
                    value,
                    REQUEST_METHOD="POST",
                    HTTP_SEC_FETCH_SITE="cross-site",
                    HTTP_ORIGIN="https://app.contoso.com",
                ),
            },
            DenialReason.AMBIGUOUS: {
                self.line(self.pinned, f"{value},{value}"),
                self._look_alike(),
            },
            DenialReason.MISSING: {self.line(self.pinned)},
            DenialReason.TOO_LARGE: {self.line(self.pinned, "A" * 20_000)},
            DenialReason.MALFORMED: {
                self.line(self.pinned, gateway.certificate_pem.decode().replace("\n", "%0A")),
                self.line(self.pinned, "base64"),
            },
            DenialReason.NOT_YET_VALID: {
                self.judged(
                    self.ca.issue("gateway", not_before=now + timedelta(days=1)), **anchored
                )
            },
            DenialReason.EXPIRED: {
                self.judged(self.ca.issue("gateway", not_after=now - timedelta(days=1)), **anchored)
            },
            DenialReason.FINGERPRINT_NOT_ALLOWED: {
                self.line(self.pinned, value),
                self.judged(gateway, public_keys=[bobs_key]),
                self.judged(gateway, fingerprints=[old]),
            },
            DenialReason.COMMON_NAME_NOT_ALLOWED: {
                self.judged(gateway, **anchored, common_names=["client.contoso.com"]),
                self.judged(gateway, **anchored, common_names=["Gateway"]),
            },
            DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED: {
                self.judged(
                    self.ca.issue("gateway", dns_names=["gateway.contoso.com"]),
                    **anchored,
                    dns_names=["client.contoso.com"],
                ),
            },
            DenialReason.ISSUER_NOT_ALLOWED: {
                self.judged(gateway, **anchored, issuers=["Fabrikam CA"]),
                self.judged(
                    organized.issue("gateway"),
                    **anchored,
                    issuers=["O=Contoso,CN=Contoso Issuing CA"],
                ),
            },
            DenialReason.WRONG_USAGE: {
                self.judged(
                    self.ca.issue("gateway", extended_key_usages=("serverAuth",)), **anchored
                )
            },
            DenialReason.WEAK_KEY: {
                self.line(
                    Policy(fingerprints=[weak.sha256_fingerprint]),
                    base64.b64encode(weak.der).decode(),
                )
            },
            DenialReason.UNTRUSTED: {
                self.judged(CertificateAuthority("Fabrikam CA").issue("gateway"), **anchored),
                self.judged(
                    CertificateAuthority("Contoso Issuing CA").issue("gateway"), **anchored
                ),
                self.line(
                    Policy(trust_anchors="ca.pem"),
                    base64.b64encode(
                        CertificateAuthority("gateway").x509.public_bytes(
                            serialization.Encoding.DER
                        )
                    ).decode(),
                ),
            },
            DenialReason.REVOKED: {self._under_list(self.ca.revocation_list(gateway))},
            DenialReason.REVOCATION_UNKNOWN: {
                self._under_list(ended),
                self._without_list(),
            },
            DenialReason.NO_IDENTITY: {
                self.judged(gateway, **anchored, identity="{dns_name}"),
                self.judged(
                    self.ca.issue("gateway", dns_names=["a.contoso.com", "b.contoso.com"]),
                    **anchored,
                    dns_names=["*.contoso.com"],
                    identity="{dns_name}",
                ),
                self.judged(self.ca.issue("gateway "), **anchored, identity="{common_name}"),
            },
            DenialReason.ROLE_NOT_GRANTED: {
                self.line(
                    Policy(**anchored, identity="fabrikam", roles=["orders"]), value, role="admin"
                ),
            },
            DenialReason.MISCONFIGURED: {
                self.line(self.pinned, value, name="partner"),
                self.line(self.pinned, value, **{"uwsgi.version": "2.0.31"}),
            },
        }

    def _look_alike(self) -> str:
        self._log.records.clear()
        scope = {
            "method": "GET",
            "path": "/hellocert",
            "headers": [(b"x_arr_clientcert", self.gateway.header_value.encode())],
        }
        with pytest.raises(CertificateDenied):
            Authorizer({"default": self.pinned}).authorize_asgi(scope)
        return self._log.lines()[0]

    def _under_list(self, revocation_list: bytes) -> str:
        Path("ca.crl").write_bytes(revocation_list)
        return self.judged(self.gateway, **self.anchored, crls="ca.crl")

    def _without_list(self) -> str:
        # A list is needed, so this one is of another CA.
        other = CertificateAuthority("Fabrikam CA")
        Path("anchors.pem").write_bytes(self.ca.certificate_pem + other.certificate_pem)
        Path("other.crl").write_bytes(other.revocation_list())
        return self.judged(self.gateway, trust_anchors="anchors.pem", crls="other.crl")


def _weak_certificate() -> ClientCertificate:
    key = rsa.generate_private_key(65537, 1024)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name("gateway"))
        .issuer_name(name("Contoso Issuing CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return ClientCertificate.from_der(certificate.public_bytes(serialization.Encoding.DER))


@pytest.fixture
def denials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log, authority: CertificateAuthority
) -> dict[DenialReason, set[str]]:
    """The lines that arrcert logs, by reason."""
    monkeypatch.chdir(tmp_path)
    return Denials(log, authority).all()


def test_every_reason_and_its_lines_are_in_the_runbook(
    denials: dict[DenialReason, set[str]],
) -> None:
    """Each reason has its heading in the runbook, and the logged lines stand below it."""
    text = guide("403.md")
    headings = re.findall(r"^### `(\w+)`$", text, re.MULTILINE)
    assert headings == list(denials)
    assert sorted(headings) == sorted(DenialReason)
    quoted: dict[str, set[str]] = {}
    for block in blocks(text):
        if block.language == "log":
            quoted.setdefault(block.heading, set()).update(block.text.splitlines())
    [example] = quoted.pop("Find the record")
    assert example in denials[DenialReason.FINGERPRINT_NOT_ALLOWED]
    assert quoted == denials


def test_runbook_has_what_each_reason_needs() -> None:
    """The runbook lists each reason's causes in order, and what to ask the partner for."""
    _, _, by_reason = guide("403.md").partition("## By reason")
    sections = by_reason.split("\n### ")[1:]
    assert len(sections) == len(DenialReason)
    for section in sections:
        assert "\n1. " in section, section[:20]
        assert "sk the partner for: " in section, section[:20]


def test_query_finds_the_reason(denials: dict[DenialReason, set[str]]) -> None:
    """The query for Log Analytics extracts the right reason from each line."""
    [query] = snippets("403.md", "kusto")
    pattern, more = re.findall(r'extract\("(.+?)", 1, ', query)
    flood = "denied 1234 more requests within a second under policy 'default' for the same reason: "
    flood += "missing"
    assert flood in guide("403.md")
    assert re.findall(more.replace("\\\\", "\\"), flood) == ["1234"]
    assert re.findall(pattern, flood) == ["missing"]
    [marker] = re.findall(r'contains "(.+?)"', query)
    for reason, lines in denials.items():
        for line in lines:
            found = re.search(pattern, line)
            assert found is not None, line
            assert found[1] == reason
            assert marker in line
    forged = "x denied 999 more requests within a second"
    certificate = self_signed(forged).certificate
    request = describe_request({"REQUEST_METHOD": "GET", "PATH_INFO": f"/{flood}"})
    denial = Denial(DenialReason.EXPIRED, "late", certificate)
    line = f"denied {request} under policy 'default': {denial}"
    assert forged in line
    assert re.search(pattern, line)[1] == "expired"
    assert re.search(more.replace("\\\\", "\\"), line) is None


def test_columns_of_the_runbook(tmp_path: Path) -> None:
    """The formatter writes a record's attributes in columns, and a dash for a missing attribute."""
    more = (
        "from arrcert import Authorizer, CertificateDenied, Policy\n"
        f"authorizer = Authorizer({{'default': Policy(fingerprints=['{'AB' * 32}'])}})\n"
        "try:\n    authorizer.authorize(None)\nexcept CertificateDenied:\n    pass\n"
        "logging.getLogger('arrcert').error('something else')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", snippets("403.md", "python")[0] + more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second = done.stderr.splitlines()
    assert " WARNING missing default  None None denied under policy" in first
    assert " ERROR - - - - - something else" in second


def test_settings_behind_api_management() -> None:
    """The settings for a site behind API Management load, each from its own variable."""
    pin, secret = (block.text for block in blocks(guide("locks.md")) if block.language == "json")
    pin = re.sub("<.+?>", "AB" * 32, pin)
    secret = re.sub("<.+?>", "a-secret-that-is-long-enough", secret)
    load({}, {"ARRCERT": pin, "WEBSITE_SITE_NAME": "site"})
    settings = load({}, {"ARRCERT": pin, "ARRCERT_FRONT_END": "api-management", SECRET: secret})
    assert settings.ingress.front_end.header == "X-Client-Cert"


def test_every_lock_says_what_it_does_not_prove() -> None:
    """Each row of the table of other locks says what its lock does not prove."""
    rows = [line for line in guide("locks.md").splitlines() if line.startswith("| **")]
    assert len(rows) == 6
    for row in rows:
        assert len(row.strip("|").split("|")) == 4, row
        assert all(cell.strip() for cell in row.strip("|").split("|")[:3]), row


@pytest.mark.parametrize("name", GUIDES)
def test_nothing_is_left_out(name: str) -> None:
    """Each block is of a kind that a test in this file uses, or is for another system's shell."""
    assert {block.language for block in blocks(guide(name))} <= {
        "sh", "json", "log", "python", "kusto", "powershell", "zsh",
    }  # fmt: skip
