"""The page on revocation: its settings start, its commands run, and its log lines are written.

The log line of docs/private-ca.md is checked here too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from arrcert import Authorizer, CertificateDenied, ConfigurationError, Policy
from arrcert.notation import Notation
from arrcert.testing import CertificateAuthority, IssuedCertificate

PAGE = Path(__file__).parent.parent / "docs" / "revocation.md"
PRIVATE_CA = PAGE.with_name("private-ca.md")
STEP_CA_URL = "https://ca.contoso.example/1.0/crl"


def blocks(heading: str, language: str, page: Path = PAGE) -> list[str]:
    """Return the blocks of a language in a section."""
    [text] = [
        part
        for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if part.startswith(heading + "\n")
    ]
    fence = rf"^ *```{language}\n(.*?)^ *```$"
    return re.findall(fence, text, flags=re.MULTILINE | re.DOTALL)


def limited(url: str | None = None, **kinds: bool) -> tuple[x509.ExtensionType, bool]:
    """Return an issuing distribution point extension, which is critical."""
    every = ("only_contains_user_certs", "only_contains_ca_certs", "only_contains_attribute_certs")
    facts: dict[str, Any] = dict.fromkeys((*every, "indirect_crl"), False)
    facts |= {"relative_name": None, "only_some_reasons": None}
    facts["full_name"] = None if url is None else [x509.UniformResourceIdentifier(url)]
    return x509.IssuingDistributionPoint(**{**facts, **kinds}), True


def naming(url: str) -> tuple[x509.ExtensionType, bool]:
    """Return the CRL distribution points extension of a certificate."""
    name = x509.UniformResourceIdentifier(url)
    return x509.CRLDistributionPoints([x509.DistributionPoint([name], None, None, None)]), False


def der(pem: bytes) -> bytes:
    """Return the DER of a list, as step-ca and django-ca serve it."""
    return x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)


class Operator:
    """A reader who follows the page in an empty folder. This machine runs the CA's web server."""

    def __init__(self, folder: Path, address: str, published: dict[str, bytes]) -> None:
        self.folder = folder
        self.published = published
        self._address = address

    def types(self, block: str) -> str:
        """Run a block of commands, with only the addresses replaced, and return what it prints."""
        path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-ec", self.here(block)],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        return done.stdout

    def here(self, text: str) -> str:
        """Replace the addresses of the page by the address of this machine's server."""
        return re.sub(r"http://(?:ca|crl)\.contoso\.example(?::8080)?", self._address, text)

    def verdict(self, settings: str, client: IssuedCertificate) -> str | None:
        """Return why the settings of the page deny a client, or None if they accept it."""
        policy = Policy.from_mapping(json.loads(settings)["default"], Notation.JSON)
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/hellocert",
            "HTTP_X_ARR_CLIENTCERT": client.header_value,
        }
        try:
            Authorizer({"default": policy}).authorize_wsgi(environ)
        except CertificateDenied as denied:
            return denied.reason.value
        return None


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """A reader of the page, and the web server of a CA."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crls").mkdir()
    published: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send what the CA publishes at the path."""
            self.send_response(200 if self.path in published else 404)
            self.end_headers()
            self.wfile.write(published.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Operator(tmp_path, f"http://127.0.0.1:{server.server_address[1]}", published)
        server.shutdown()
        thread.join()


def test_step_ca(operator: Operator) -> None:
    """The guide for step-ca ends with a site that denies a revoked client."""
    root = CertificateAuthority("Root")
    intermediate = CertificateAuthority("Intermediate", issuer=root)
    (operator.folder / "intermediate_ca.crt").write_bytes(intermediate.certificate_pem)
    good, bad = intermediate.issue("gateway"), intermediate.issue("gateway")
    published = intermediate.revocation_list(bad, extensions=[limited(STEP_CA_URL)])
    operator.published["/1.0/crl"] = der(published)
    of_step_ca, settings = blocks("step-ca", "json")
    assert json.loads(of_step_ca)["crl"]["enabled"]
    [commands] = blocks("step-ca", "sh")
    assert f"URI:{STEP_CA_URL}" in operator.types(commands)
    assert operator.verdict(settings, good) is None
    assert operator.verdict(settings, bad) == "revoked"
    # The trust anchor is the root, as the page warns.
    (operator.folder / "root.crt").write_bytes(root.certificate_pem)
    of_root = settings.replace(
        '"trust_anchors": "', '"intermediates": "intermediate_ca.crt", "trust_anchors": "'
    ).replace('"trust_anchors": "intermediate_ca.crt"', '"trust_anchors": "root.crt"')
    assert operator.verdict(of_root, good) == "revocation_unknown"
    # A site with a list of another distribution point does not start.
    other = intermediate.revocation_list(extensions=[limited(STEP_CA_URL + "/2")])
    (operator.folder / "step-ca.crl").write_bytes(other)
    with pytest.raises(ConfigurationError, match="write distribution_point exactly"):
        operator.verdict(settings, good)


def test_django_ca(operator: Operator) -> None:
    """The guide for django-ca ends with a site that denies a revoked client."""
    root = CertificateAuthority("Root")
    child = CertificateAuthority("Child", issuer=root)
    for name, ca in (("root", root), ("child", child)):
        (operator.folder / f"{name}.pem").write_bytes(ca.certificate_pem)
    good, bad = child.issue("gateway"), child.issue("gateway")
    clients = child.revocation_list(bad, extensions=[limited(only_contains_user_certs=True)])
    cas = root.revocation_list(extensions=[limited(only_contains_ca_certs=True)])
    operator.published["/django_ca/crl/CHILD_SERIAL/"] = der(clients)
    operator.published["/django_ca/crl/ca/ROOT_SERIAL/"] = der(cas)
    fetch, _ = blocks("django-ca", "sh")
    [settings] = blocks("django-ca", "json")
    assert operator.types(fetch).count(": ok: ") == 2
    assert operator.verdict(settings, good) is None
    assert operator.verdict(settings, bad) == "revoked"


def test_partitions(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    """The guide for partitions fetches all of them, and the log names a missing one."""
    ca = CertificateAuthority("Partitioned CA")
    (operator.folder / "partitioned-ca.pem").write_bytes(ca.certificate_pem)
    urls = [f"http://crl.contoso.example/partition/{number}.crl" for number in range(1, 5)]
    clients = [ca.issue("gateway", extensions=[naming(url)]) for url in urls]
    for number, url in enumerate(urls, 1):
        data = ca.revocation_list(extensions=[limited(url)])
        operator.published[f"/partition/{number}.crl"] = data
    [partitions] = blocks("Partitions", "text")
    assert re.findall(r"^http.*$", partitions, flags=re.MULTILINE) == urls
    (operator.folder / "partitions.txt").write_text(operator.here(partitions))
    [fetch], [settings], [line] = (blocks("Partitions", kind) for kind in ("sh", "json", "log"))
    assert operator.types(fetch).count(": ok: ") == 4
    assert [operator.verdict(settings, client) for client in clients] == [None] * 4
    for path in (operator.folder / "crls").iterdir():
        path.unlink()
    (operator.folder / "crls" / "1.crl").write_bytes(operator.published["/partition/1.crl"])
    caplog.clear()
    assert operator.verdict(settings, clients[0]) is None
    assert operator.verdict(settings, clients[3]) == "revocation_unknown"
    [record] = caplog.records
    fingerprint = clients[3].certificate.sha256_fingerprint
    assert record.getMessage().replace(fingerprint, "<SHA-256>") == line.strip()


def test_complete_list(operator: Operator) -> None:
    """A complete list needs only its file."""
    ca = CertificateAuthority("CA")
    good, bad = ca.issue("gateway"), ca.issue("gateway")
    (operator.folder / "ca.pem").write_bytes(ca.certificate_pem)
    (operator.folder / "ca.crl").write_bytes(ca.revocation_list(bad))
    [settings] = blocks("Lists without a scope", "json")
    assert operator.verdict(settings, good) is None
    assert operator.verdict(settings, bad) == "revoked"


def test_missing_link(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the missing CA, and the URL in the certificate, as docs/private-ca.md shows."""
    root = CertificateAuthority("Fabrikam Root CA")
    location = x509.UniformResourceIdentifier("http://pki.fabrikam.example/root.crt")
    description = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
    issuing = CertificateAuthority(
        "Fabrikam Issuing CA",
        issuer=root,
        extensions=[(x509.AuthorityInformationAccess([description]), False)],
    )
    client = issuing.issue("gateway")
    (operator.folder / "ca.pem").write_bytes(CertificateAuthority("Another").certificate_pem)
    (operator.folder / "issuing.pem").write_bytes(issuing.certificate_pem)
    settings = {"trust_anchors": "ca.pem", "intermediates": "issuing.pem"}
    assert operator.verdict(json.dumps({"default": settings}), client) == "untrusted"
    [line] = blocks("When a path breaks", "log", PRIVATE_CA)
    [record] = caplog.records
    fingerprint = client.certificate.sha256_fingerprint
    assert record.getMessage().replace(fingerprint, "<SHA-256>") == line.strip()


def test_nothing_is_left_out() -> None:
    """Every block of the page is used by a test, and its links lead to headings and files."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```") == 2 * 11
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    }
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert not path or (PAGE.parent / path).exists()
        assert path or anchor in headings
