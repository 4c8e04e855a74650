"""Site A calls site B through the local front end, with its own client certificate."""

from __future__ import annotations

import contextlib
import html
import importlib.util
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    pkcs12,
)

from arrcert.cli.front_end import FrontEndServer
from arrcert.cli.local_apps import RunningWSGIApp
from arrcert.testing import CertificateAuthority, IssuedCertificate

pytestmark = pytest.mark.matrix

SAMPLE_SITES = Path(__file__).resolve().parents[2] / "sample_sites"


def module(name: str, path: Path) -> ModuleType:
    """Import a file of the sample sites."""
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


demo = module("sample_sites_demo", SAMPLE_SITES / "demo.py")
remote_api = module("sample_sites_remote_api", SAMPLE_SITES / "flask_site/remote_api.py")

VARIABLES = ["REMOTE_API_URL", *remote_api.VARIABLES.values()]
ANY_PORT = ("127.0.0.1", 0)
PASSWORD = "of the site's own file"


@dataclass
class Page:
    """The text of the page `/outbound-mtls`, without its markup."""

    status: int
    text: str

    def says(self, *sentences: str) -> bool:
        """Tell whether the page holds all of these texts."""
        return self.status == 200 and all(sentence in self.text for sentence in sentences)


@pytest.fixture(autouse=True)
def _environment_without_outbound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the test run may name a certificate, so remove it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def own() -> IssuedCertificate:
    """The certificate of site A."""
    return CertificateAuthority("Contoso Issuing CA").issue("site-a")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory, own: IssuedCertificate) -> Any:
    """The demonstration's certificates, and site A's own, with and without a password."""
    pki = demo.Pki.issue(tmp_path_factory.mktemp("pki"))
    for name, encryption in (
        ("open", NoEncryption()),
        ("locked", BestAvailableEncryption(PASSWORD.encode())),
    ):
        pki.path(name, "p12").write_bytes(
            pkcs12.serialize_key_and_certificates(
                b"site-a", own.private_key, own.certificate.x509, None, encryption
            )
        )
    return pki


@contextlib.contextmanager
def running(name: str, pki: Any, fingerprint: str, **variables: str) -> Iterator[Any]:
    """Run a site that accepts only one certificate."""
    policies = pki.policies() | {"default": {"fingerprints": [fingerprint]}}
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)
        for variable, value in variables.items():
            patch.setenv(variable, value)
        site = demo.Site(name, pki, policies, 0)
    try:
        site.wait_until_ready()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module", params=[("Flask", "Django"), ("Django", "Flask")], ids=" to ".join)
def called(request: pytest.FixtureRequest, pki: Any, own: IssuedCertificate) -> Iterator[Any]:
    """The name of site A, and site B, which accepts only A's certificate."""
    name, other = request.param
    with running(other, pki, own.certificate.sha256_fingerprint) as site:
        yield name, site


@pytest.fixture
def call(called: Any, pki: Any) -> Callable[..., tuple[Page, str]]:
    """A function that runs site A, opens its page as the allowed client, and returns A's log."""
    name, other = called
    allowed = pki.certificate("allowed").sha256_fingerprint

    def call(path: str = "/hellocert", **variables: str) -> tuple[Page, str]:
        variables = {
            "REMOTE_API_URL": other.url + path,
            "OUTBOUND_CERTIFICATE": str(pki.path("open", "p12")),
            "OUTBOUND_CA_FILE": str(pki.path("server-ca")),
        } | variables
        with running(name, pki, allowed, **variables) as site:
            page = opened(pki, site, "/outbound-mtls?REMOTE_API_URL=https://elsewhere")
        # The output is complete only after the process has ended.
        return page, site.output()

    return call


def opened(pki: Any, site: Any, path: str, certificate: str | None = "allowed") -> Page:
    """Open a page of a site, over TLS."""
    context = ssl.create_default_context(cafile=pki.path("server-ca"))
    if certificate is not None:
        context.load_cert_chain(pki.path(certificate), pki.path(certificate, "key"))
    try:
        with urllib.request.urlopen(site.url + path, context=context, timeout=15) as answer:
            text = re.sub(r"<[^>]+>|\s+", " ", answer.read().decode())
            return Page(answer.status, re.sub(r" +", " ", html.unescape(text)))
    except urllib.error.HTTPError as error:
        error.close()
        return Page(error.code, "")


ACCEPTED = ("The other site accepted the certificate of this site.", "Called 127.0.0.1 Status 200")


def test_certificate_in_certificate_out(call: Any) -> None:
    """B accepts only A's certificate and answers A with 200, from a .p12 without a password."""
    page, _ = call()
    assert page.says(*ACCEPTED), page


def test_certificate_with_password(call: Any, pki: Any) -> None:
    """B answers A with 200 also from a .p12 with a password."""
    page, log = call(
        OUTBOUND_CERTIFICATE=str(pki.path("locked", "p12")),
        OUTBOUND_CERTIFICATE_PASSWORD=PASSWORD,
    )
    assert page.says(*ACCEPTED), page
    assert "ERROR" not in log


def test_b_refuses_the_certificate(call: Any, pki: Any, called: Any) -> None:
    """If B denies A's certificate, A's page shows the 403, and B's log has the reason."""
    _, other = called
    start = other.lines_so_far()
    page, _ = call(
        OUTBOUND_CERTIFICATE=str(pki.path("allowed", "p12")),
        OUTBOUND_CERTIFICATE_PASSWORD=demo.P12_PASSWORD,
    )
    assert page.says("The other site refused the certificate of this site.", "Status 403"), page
    found = other.wait_for_line(demo.DENIAL_RECORD, start=start, seconds=5)
    assert found is not None
    assert found[1] == "fingerprint_not_allowed"


def test_wrong_ca_file(call: Any, pki: Any) -> None:
    """A does not call B if B's certificate is of another CA, and the page says so."""
    page, log = call(OUTBOUND_CA_FILE=str(pki.path("issuing-ca")))
    assert page.says(
        "The other site's certificate is not trusted. No request was sent.", "no answer"
    ), page
    assert "REMOTE_API_URL: 127.0.0.1 is not trusted: " in log


def test_wrong_password(call: Any, pki: Any) -> None:
    """With a wrong password A makes no call, the page names the variable, and the log the file."""
    path = pki.path("locked", "p12")
    page, log = call(OUTBOUND_CERTIFICATE=str(path), OUTBOUND_CERTIFICATE_PASSWORD="mistyped")
    assert page.says("OUTBOUND_CERTIFICATE_PASSWORD is wrong, so no site was called.", "no answer")
    assert f"password: does not open '{path}'" in log
    assert "mistyped" not in log + page.text


def test_documented_variables(tmp_path: Path) -> None:
    """With the variables in the sample sites' README, the Flask site calls the Django site."""
    text = (SAMPLE_SITES / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```\n(export REMOTE_API_URL.*?)make serve\n```", text, re.DOTALL)
    kept = demo.Pki.kept(tmp_path / "sample_sites/demo_pki")
    allowed = kept.certificate("allowed").sha256_fingerprint
    command = ["bash", "-ec", f"{block}\nenv -0"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    exported = dict(entry.split("=", 1) for entry in printed.decode().split("\0") if entry)
    with running("Django", kept, allowed) as other:
        variables = {name: exported[name] for name in VARIABLES}
        variables["REMOTE_API_URL"] = exported["REMOTE_API_URL"].replace("8444", str(other.port))
        with running("Flask", kept, allowed, **variables) as site:
            assert opened(kept, site, "/outbound-mtls").says(*ACCEPTED)
    assert exported["REMOTE_API_URL"].startswith(f"https://127.0.0.1:{demo.DEFAULT_PORT + 1}/")


def test_page_is_protected(called: Any, pki: Any, own: IssuedCertificate) -> None:
    """Only an allowed client sees the page, and a site without settings makes no call."""
    _, site = called
    assert opened(pki, site, "/outbound-mtls", None).status == 403
    assert opened(pki, site, "/outbound-mtls", "allowed").status == 403
    pki.path("own").write_bytes(own.certificate_pem)
    pki.path("own", "key").write_bytes(own.private_key_pem)
    page = opened(pki, site, "/outbound-mtls", "own")
    assert page.says("This site calls no other site: REMOTE_API_URL is not set.")
    assert "Called" not in page.text


# ------------------------------------------------------------------ the module that all sites have


@pytest.mark.parametrize("folder", ["django_site/mtls_site", "fastapi_site/mtls_app"])
def test_the_sites_call_alike(folder: str) -> None:
    """The module for outbound calls is the same file in each site."""
    other = SAMPLE_SITES / folder / "remote_api.py"
    assert Path(remote_api.__file__).read_bytes() == other.read_bytes()


@pytest.fixture
def calls(pki: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that calls a URL with the site's own certificate."""
    monkeypatch.setenv("OUTBOUND_CERTIFICATE", str(pki.path("open", "p12")))
    monkeypatch.setenv("OUTBOUND_CA_FILE", str(pki.path("server-ca")))

    def calls(url: str) -> Any:
        monkeypatch.setenv("REMOTE_API_URL", url)
        return remote_api.call()

    return calls


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("204 No Content", "The other site accepted the certificate of this site."),
        ("302 Found", "The other site redirects, and this site does not follow redirects."),
        ("401 Unauthorized", "The other site refused the certificate of this site."),
        ("500 Internal Server Error", "The other site answered with an unexpected status."),
    ],
)
def test_statuses(pki: Any, calls: Any, status: str, sentence: str) -> None:
    """Each status has its sentence. One request is sent, and no redirect is followed."""
    asked = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        asked.append((environ["PATH_INFO"], environ["QUERY_STRING"]))
        start_response(status, [("Location", "/elsewhere"), ("Content-Length", "0")])
        return []

    certificate, key = (pki.path("server", kind).read_bytes() for kind in ("pem", "key"))
    behind = RunningWSGIApp(application)
    with FrontEndServer(behind.address, certificate=certificate, key=key, bind=ANY_PORT) as server:
        outcome = calls(f"{server.url}/orders?of=today#top")
    behind.stop()
    assert (outcome.status, outcome.sentence) == (int(status[:3]), sentence)
    assert asked == [("/orders", "of=today")]


@pytest.mark.parametrize(
    "url",
    [
        "http://api.fabrikam.example/",
        "file:///etc/passwd",
        "ftp://api.fabrikam.example/",
        "api.fabrikam.example",
        "https://",
        "https:///orders",
        "https://user:word@api.fabrikam.example/",
        "https://api.fabrikam.example:port/",
        "https://api.fabrikam.example/a b",
        "https://api.fabrikam.example/\r\nX-Header: a",
        "https://api.fabrikam.example/ä",
        "@Microsoft.KeyVault(SecretUri=https://x)",
    ],
)
def test_only_https(calls: Any, url: str) -> None:
    """A URL that is not a plain https address is never called."""
    outcome = calls(url)
    assert outcome == remote_api.Outcome(
        "", "This site calls no other site: REMOTE_API_URL is not an https address."
    )


def test_settings_that_are_missing(calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a variable is missing, the site names it and makes no call."""
    assert calls("").sentence == "This site calls no other site: REMOTE_API_URL is not set."
    monkeypatch.delenv("OUTBOUND_CERTIFICATE")
    outcome = calls("https://127.0.0.1:9/")
    assert outcome.sentence == "This site calls no other site: OUTBOUND_CERTIFICATE is not set."


def test_nobody_there(calls: Any) -> None:
    """If no server listens on the port, the page says so in one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert calls(f"https://127.0.0.1:{port}/").sentence == (
        "The other site cannot be reached, or it closed the connection."
    )


def test_silence(calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts the connection and sends nothing is a timeout."""
    monkeypatch.setattr(remote_api, "SECONDS_TO_WAIT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = calls(f"https://127.0.0.1:{silent.getsockname()[1]}/")
    assert outcome.sentence == "The other site did not answer within 0.2 seconds."
