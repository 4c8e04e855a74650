"""The page on logs, signals and metrics is correct."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask
import pytest
import yaml

from arrcert import Authorizer, Policy, telemetry
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert_flask import Arrcert, certificate_accepted, certificate_expiring

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "telemetry.md").read_text(encoding="utf-8")
LABELS = {
    name: set(re.findall("`([a-z_]+)`", labels)) - {"accepted", "denied", "role_not_granted"}
    for name, labels in re.findall(
        r"^\| `(arrcert\.[a-z_.]+)` \|[^|]*\|([^|]*)\|", PAGE, re.MULTILINE
    )
}


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def block(containing: str) -> str:
    """Return the one Python block that contains a text."""
    [found] = [text for text in blocks("python") if containing in text]
    return found


def masked(text: str) -> str:
    """Replace what differs from run to run by the page's placeholders."""
    text = re.sub(r"\b[0-9A-F]{64}\b", "<SHA-256>", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)


def test_log_lines(caplog: pytest.LogCaptureFixture, authority: CertificateAuthority) -> None:
    """The site writes the log lines of the page, with the page's handler."""
    access = logging.getLogger("arrcert.access")
    before = access.handlers[:]
    try:
        exec(block("arrcert.access"), {})
        assert access.isEnabledFor(logging.INFO)
        soon = self_signed("gateway", not_after=datetime.now(UTC) + timedelta(days=12.5))
        authorizer = Authorizer(
            {
                "default": [
                    Policy(trust_anchors=authority.certificate_pem.decode()),
                    Policy(fingerprints=[soon.certificate.sha256_fingerprint], identity="fabrikam"),
                ]
            }
        )
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/hellocert"}
        authorizer.identify_wsgi({**environ, "HTTP_X_ARR_CLIENTCERT": soon.header_value})
    finally:
        access.handlers[:] = before
        access.setLevel(logging.NOTSET)
    said = [masked(record.getMessage()) for record in caplog.records]
    assert said == [text.rstrip("\n") for text in blocks("log")]


def test_receivers_of_flask(authority: CertificateAuthority, caplog: Any) -> None:
    """Flask calls the page's receivers with the arguments that the page states."""
    soon = authority.issue("x", not_after=datetime.now(UTC) + timedelta(days=5.5))
    pins = {"fingerprints": [soon.certificate.sha256_fingerprint], "identity": "fabrikam"}
    app = flask.Flask("site")
    app.config.update(ARRCERT={"default": pins}, ARRCERT_PROTECT_ALL=True)
    Arrcert(app)
    app.add_url_rule("/", "hello", lambda: "hello")
    app.logger.setLevel(logging.INFO)
    names: dict[str, Any] = {}
    exec(block("from arrcert_flask import"), names)
    try:
        assert app.test_client().get("/", headers=soon.headers).status_code == 200
    finally:
        certificate_accepted.disconnect(names["remember"])
        certificate_expiring.disconnect(names["tell_the_partner"])
    said = [record.getMessage() for record in caplog.records if record.name == "site"]
    assert said == ["fabrikam is here", "fabrikam has 5 days left"]


DJANGO_SITE = """
import sys
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", INSTALLED_APPS=["arrcert_django"],
    MIDDLEWARE=["arrcert_django.middleware.ClientCertificateMiddleware"],
    ARRCERT={"default": {"fingerprints": [sys.argv[1]], "identity": "fabrikam"}},
)
urlpatterns = [path("", lambda request: HttpResponse("hello"))]
django.setup()
exec(sys.argv[3])
from django.test import Client
print(Client().get("/", headers={"X-ARR-ClientCert": sys.argv[2]}).status_code)
"""


def test_receivers_of_django() -> None:
    """Django calls the page's receivers with the arguments that the page states."""
    soon = self_signed("x", not_after=datetime.now(UTC) + timedelta(days=5.5))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            DJANGO_SITE,
            soon.certificate.sha256_fingerprint,
            soon.header_value,
            block("from arrcert_django.signals import"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "fabrikam is here",
        "fabrikam has 5 days left",
        "200",
    ], done.stderr


PROMETHEUS_SITE = """
import sys
exec(sys.argv[1])
from arrcert import Authorizer
from arrcert.settings import load
from prometheus_client import generate_latest

settings = {"ARRCERT_FILE": sys.argv[2], "ARRCERT_TELEMETRY": True}
authorizer = Authorizer.from_settings(load(settings, {}))
authorizer.identify(sys.argv[3])
sys.stdout.write(generate_latest().decode())
"""


def test_names_in_prometheus(
    authority: CertificateAuthority, alice: IssuedCertificate, tmp_path: Path
) -> None:
    """The page's block exports each metric under the name that the page lists."""
    tmp_path.chmod(0o700)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "ca.crl").write_bytes(authority.revocation_list())
    file = tmp_path / "partners.toml"
    file.write_text('[default]\ntrust_anchors = "ca.pem"\ncrls = "ca.crl"\n')
    file.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-c", PROMETHEUS_SITE, block("Prometheus"), file, alice.header_value],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    exported = set(re.findall(r"^# TYPE (arrcert_\w+) ", done.stdout, re.MULTILINE))
    [listed] = [text for text in blocks("text") if "arrcert_decisions_total" in text]
    assert exported == set(listed.split())
    shown = {
        name: set(re.findall(r"(\w+)=", labels))
        for name, labels in re.findall(r"^(arrcert_\w+?)\{(.*)\} ", done.stdout, re.MULTILINE)
    }
    [rules] = blocks("yaml")
    for name, labels in re.findall(r"(arrcert_\w+)(?:\{(\w+)=)?", rules):
        assert name in exported
        assert {labels} - {""} <= shown[name]
    assert [rule["alert"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]]


def test_queries_name_what_is_counted() -> None:
    """Each query names a metric of the table, and labels that this metric has."""
    queries = blocks("kusto")
    assert len(queries) == 6
    for query in queries:
        [name] = re.findall(r'name == "([^"]+)"', query)
        assert set(re.findall(r'customDimensions\["(\w+)"\]', query)) <= LABELS[name]


def test_table_of_metrics_is_whole() -> None:
    """The table has each metric that the code makes, with its labels."""
    code = Path(telemetry.__file__).read_text(encoding="utf-8")
    assert set(LABELS) == set(re.findall(r'"(arrcert\.[a-z_.]+)"', code))
    assert set.union(*LABELS.values()) == {
        *("policy", "outcome", "reason", "identity", "alternative"),
        *("crl", "issuer", "file"),
    }


def test_workbook_holds_the_queries_of_the_page() -> None:
    """The workbook is JSON, and its queries are the first three of the page."""
    workbook = json.loads((DOCS / "telemetry-workbook.json").read_text(encoding="utf-8"))
    assert workbook["version"] == "Notebook/1.0"
    queries = [item["content"]["query"] for item in workbook["items"] if item["type"] == 3]
    assert queries == [query.rstrip("\n") for query in blocks("kusto")[:3]]


def test_block_of_application_insights_is_python() -> None:
    """The block parses; the package itself is large and is not installed for the tests."""
    compile(block("configure_azure_monitor"), "block", "exec")
