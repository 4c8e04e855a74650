"""`arrcert explain` on the sample sites, and on a site with arrcert in Django's settings."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from arrcert.testing import CertificateAuthority

pytestmark = pytest.mark.matrix

SAMPLE_SITES = Path(__file__).resolve().parents[2] / "sample_sites"

SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = "x"
INSTALLED_APPS = ["arrcert_django"]
MIDDLEWARE = ["arrcert_django.middleware.ClientCertificateMiddleware"]
ROOT_URLCONF = "shop.settings"
urlpatterns = []
ARRCERT = {
    "default": {"trust_anchors": BASE_DIR / "ca.pem", "common_names": ["alice"]},
    "partners": [{"fingerprints": ["%s"]}],
}
"""

APPLICATION = """
import os
from django.core.{kind} import get_{kind}_application

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
application = get_{kind}_application()
"""


def explain(folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> Any:
    """Run the command in a folder, as an operator does, and return its JSON and exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "arrcert.cli", "explain", "--json", *arguments],
        cwd=folder,
        env={**os.environ, "WEBSITE_SITE_NAME": "site", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout), done.returncode


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """The module with the certificates of the sample sites."""
    path = SAMPLE_SITES / "demo.py"
    spec = importlib.util.spec_from_file_location("sample_sites_demo_of_explain", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("site", "app"),
    [
        ("flask_site", "app:app"),
        ("fastapi_site", "mtls_app.main:app"),
        ("django_site", "mtls_site.settings"),
        ("django_site", "mtls_site.wsgi:application"),
        ("django_site", "mtls_site.asgi:application"),
    ],
)
def test_sample_sites(demo: ModuleType, tmp_path: Path, site: str, app: str) -> None:
    """For each sample site, the command says which policy accepts the client, and why not."""
    pki = demo.Pki.issue(tmp_path)
    environ = {
        "ARRCERT": json.dumps(pki.policies()),
        "ARRCERT_PROTECT_ALL": "false" if site == "flask_site" else "true",
        "DJANGO_SECRET_KEY": "only-for-this-test",
    }
    answer, code = explain(
        SAMPLE_SITES / site, "--all", str(tmp_path), "--app", app, environ=environ
    )
    assert code == 1
    rows = {row["file"]: row for row in answer["certificates"]}
    names = ("allowed", "lookalike", "expired", "partner", "impostor")
    verdicts = {
        (name, policy): rows[f"{name}.pem"]["policies"][policy]["reason"]
        for name in names
        for policy in ("default", "partners")
    }
    assert rows["allowed.header"]["accepted"]
    assert verdicts == {
        ("allowed", "default"): None,
        ("allowed", "partners"): "common_name_not_allowed",
        ("lookalike", "default"): "fingerprint_not_allowed",
        ("lookalike", "partners"): "common_name_not_allowed",
        ("expired", "default"): "expired",
        ("expired", "partners"): "expired",
        ("partner", "default"): "fingerprint_not_allowed",
        ("partner", "partners"): None,
        ("impostor", "default"): "fingerprint_not_allowed",
        ("impostor", "partners"): "untrusted",
    }


@pytest.mark.parametrize("app", ["shop.settings", "shop.wsgi:application", "shop.asgi:application"])
def test_settings_of_django(tmp_path: Path, app: str) -> None:
    """A site that configures arrcert in Django's settings is explained with those settings."""
    authority = CertificateAuthority("CA")
    alice, bob = authority.issue("alice"), authority.issue("bob")
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    (folder / "settings.py").write_text(SETTINGS % bob.certificate.sha256_fingerprint)
    for kind in ("wsgi", "asgi"):
        (folder / f"{kind}.py").write_text(APPLICATION.format(kind=kind))
    for name, issued in (("alice", alice), ("bob", bob)):
        (tmp_path / f"{name}.pem").write_bytes(issued.certificate_pem)
    answer, code = explain(tmp_path, "alice.pem", "--app", app)
    assert (code, answer["policies"]["default"]["accepted"]) == (0, True)
    assert answer["policies"]["partners"]["reason"] == "fingerprint_not_allowed"
    answer, code = explain(tmp_path, "bob.pem", "--app", app)
    assert (code, answer["policies"]["default"]["reason"]) == (0, "common_name_not_allowed")
    assert (answer["accepted_by"], answer["paste"]) == (["partners"], None)
    answer, code = explain(tmp_path, "bob.pem", "--app", app, "--policy", "default")
    assert code == 1
    # The suggestion keeps the other policies and the path.
    pasted = answer["paste"]["ARRCERT"]
    assert pasted["default"][0]["trust_anchors"] == str(folder / "ca.pem")
    assert pasted["default"][1] == {"fingerprints": [bob.certificate.sha256_fingerprint]}
    _, code = explain(tmp_path, "bob.pem", environ={"ARRCERT": json.dumps(pasted)})
    assert code == 0
