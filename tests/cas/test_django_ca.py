"""Each list of django-ca is for CAs or for other certificates, and names no distribution point."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(
        importlib.util.find_spec("django_ca") is None,
        reason="django-ca is not installed; it is in the dependency group cas (make test-all)",
    ),
]

PAGE = Path(__file__).parents[2] / "docs" / "revocation.md"
SETTINGS = """
from pathlib import Path

FOLDER = Path(__file__).parent
SECRET_KEY = "only for this test " * 4
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_ca"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
FILES = "django.core.files.storage.FileSystemStorage"
STORAGES = {
    "default": {"BACKEND": FILES},
    "staticfiles": {"BACKEND": FILES},
    "django-ca": {"BACKEND": FILES, "OPTIONS": {"location": FOLDER / "keys"}},
}
ROOT_URLCONF = "ca_urls"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
CA_USE_CELERY = False
CA_DEFAULT_HOSTNAME = "ca.example"
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("django_ca/", include("django_ca.urls"))]
"""


class DjangoCA:
    """A django-ca with a root and a child CA, used through its commands."""

    def __init__(self, folder: Path) -> None:
        (folder / "ca_settings.py").write_text(SETTINGS)
        (folder / "ca_urls.py").write_text(URLS)
        self.environ = {
            **{name: text for name, text in os.environ.items() if "COV" not in name},
            "DJANGO_SETTINGS_MODULE": "ca_settings",
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        }
        self.manage("migrate", "-v0")
        ca = ("init_ca", "--key-type", "EC", "--output-format", "pem")
        self.root_pem = self.manage(*ca, "--path-length", "1", "Root", "CN=Root")
        self.child_pem = self.manage(*ca, "--parent", "Root", "Child", "CN=Child")
        self.root, self.child = map(self.serial_number, (self.root_pem, self.child_pem))

    def manage(self, *arguments: str, stdin: str = "") -> str:
        """Run a command of django-ca and return what it prints."""
        command = [sys.executable, "-m", "django", *arguments]
        done = subprocess.run(
            command, env=self.environ, input=stdin, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @staticmethod
    def serial_number(pem: str) -> str:
        """Return the serial number of a certificate as django-ca writes it in URLs."""
        return f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:X}"

    def issue(self, request: str) -> str:
        """Issue a client's certificate for a request, by the child CA."""
        command = ("sign_cert", "--ca", self.child, "--client", "--subject", "CN=gateway")
        printed = self.manage(*command, stdin=request)
        return printed[printed.index("-----BEGIN CERTIFICATE-----") :]

    def publish(self) -> None:
        """Make new lists with the commands of the page on revocation."""
        lines = re.findall(r"^python manage\.py (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
        assert len(lines) == 2
        for line in lines:
            line = line.replace("CHILD_SERIAL", self.child).replace("ROOT_SERIAL", self.root)
            assert "-----BEGIN X509 CRL-----" in self.manage(*line.split())

    def revoke(self, pem: str) -> None:
        """Revoke a certificate and make new lists."""
        self.manage("revoke_cert", "--reason", "key_compromise", self.serial_number(pem))
        self.publish()


@pytest.fixture(scope="module")
def django_ca(tmp_path_factory: pytest.TempPathFactory) -> DjangoCA:
    """A django-ca for the tests of this module."""
    return DjangoCA(tmp_path_factory.mktemp("ca"))


def test_client_enters_is_revoked_and_is_denied(
    django_ca: DjangoCA,
    start_server: Callable[..., str],
    fetch_crls: Callable[..., str],
    make_request: Callable[[str], str],
    make_site: Any,
    tmp_path: Path,
) -> None:
    """A client is accepted with django-ca's lists, and denied soon after it is revoked."""
    alice, bob = (django_ca.issue(make_request(name)) for name in ("alice", "bob"))
    django_ca.publish()
    url = start_server(
        lambda port: [
            *(sys.executable, "-m", "django", "runserver", "--noreload", f"127.0.0.1:{port}")
        ],
        env=django_ca.environ,
    )
    anchors, intermediates, crls = tmp_path / "root.pem", tmp_path / "child.pem", tmp_path / "crls"
    anchors.write_text(django_ca.root_pem)
    intermediates.write_text(django_ca.child_pem)
    crls.mkdir()
    fetch = (
        *("--issuer", anchors, "--issuer", intermediates),
        *("--crl", f"{url}/django_ca/crl/{django_ca.child}/", crls / "clients.crl"),
        *("--crl", f"{url}/django_ca/crl/ca/{django_ca.root}/", crls / "cas.crl"),
    )
    assert fetch_crls(*fetch).count(": ok: ") == 2
    for name, kind in (("clients.crl", "user"), ("cas.crl", "ca")):
        crl = x509.load_der_x509_crl((crls / name).read_bytes())
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        assert point.value.full_name is None
        assert getattr(point.value, f"only_contains_{kind}_certs")
    site = make_site(trust_anchors=anchors, intermediates=intermediates, crls=crls)
    assert site.verdict(alice) is None
    assert site.verdict(bob) is None
    django_ca.revoke(bob)
    assert "clients.crl: ok: " in fetch_crls(*fetch)
    assert site.becomes(bob, "revoked") < 10
    assert site.verdict(alice) is None


def test_each_list_speaks_for_its_kind(
    django_ca: DjangoCA, make_request: Callable[[str], str], make_site: Any, tmp_path: Path
) -> None:
    """The root's list for CAs and the child's list for clients are both needed."""
    client = django_ca.issue(make_request("alice"))
    trust = {"trust_anchors": django_ca.root_pem, "intermediates": django_ca.child_pem}
    lists = {
        (ca, kind): django_ca.manage("dump_crl", "--ca", serial, f"--only-contains-{kind}-certs")
        for ca, serial in (("root", django_ca.root), ("child", django_ca.child))
        for kind in ("user", "ca", "attribute")
    }
    good = [lists["root", "ca"], lists["child", "user"]]
    assert make_site(**trust, crls=good).verdict(client) is None
    for swapped in ("user", "attribute"):
        found = make_site(**trust, crls=[lists["root", swapped], good[1]]).denial(client)
        assert found[0] == "revocation_unknown"
        assert "the CA certificate 'CN=Child'" in found[1]
    for swapped in ("ca", "attribute"):
        found = make_site(**trust, crls=[good[0], lists["child", swapped]]).denial(client)
        assert found[0] == "revocation_unknown"
        assert "the client's certificate" in found[1]


def test_lists_for_some_reasons(
    django_ca: DjangoCA, make_request: Callable[[str], str], make_site: Any
) -> None:
    """Lists for some reasons count only when together they cover all of them."""
    client = django_ca.issue(make_request("alice"))
    site = {"trust_anchors": django_ca.child_pem}
    every = (
        *("key_compromise", "ca_compromise", "affiliation_changed", "superseded"),
        *("cessation_of_operation", "certificate_hold", "privilege_withdrawn", "aa_compromise"),
    )

    def dumped(*reasons: str) -> str:
        options = [part for reason in reasons for part in ("--only-some-reasons", reason)]
        return django_ca.manage("dump_crl", "--ca", django_ca.child, *options)

    for_some, for_rest = dumped(*every[:3]), dumped(*every[3:])
    assert make_site(**site, crls=[for_some, for_rest]).verdict(client) is None
    reason, detail = make_site(**site, crls=[for_some]).denial(client)
    assert reason == "revocation_unknown"
    assert "no list covers aACompromise, certificateHold, cessationOfOperation" in detail
    django_ca.revoke(client)
    assert make_site(**site, crls=[dumped(*every[:3])]).verdict(client) == "revoked"
