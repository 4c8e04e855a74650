"""The FastAPI sample site on several ASGI servers, behind the local front end, over TLS."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from arrcert.cli.front_end import FrontEndServer
from arrcert.testing import CertificateAuthority

_spec = importlib.util.spec_from_file_location(
    "sample_sites_table_for_fastapi", Path(__file__).with_name("test_sample_sites.py")
)
table = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)

FOLDER = table.SAMPLE_SITES / "fastapi_site"
APP = "mtls_app.main:app"
UVICORN = (sys.executable, "-m", "uvicorn", "--app-dir", str(FOLDER), "--port", "{port}")
GUNICORN = (sys.executable, "-m", "gunicorn", "--chdir", str(FOLDER), "--bind", "127.0.0.1:{port}")
SERVERS = {
    "uvicorn with h11": ((*UVICORN, "--http", "h11", APP), "uvicorn"),
    "uvicorn with httptools": ((*UVICORN, "--http", "httptools", APP), "httptools"),
    # gunicorn.conf.py in the site's folder selects the worker.
    "gunicorn": ((*GUNICORN, "--config", str(FOLDER / "gunicorn.conf.py"), APP), "gunicorn"),
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """The demonstration's certificates, and one of more than 6.1 KB."""
    pki = table.demo.Pki.issue(tmp_path_factory.mktemp("pki"))
    names = [f"client-{number:04}.contoso.example" for number in range(250)]
    large = CertificateAuthority("Large CA").issue("large", dns_names=names)
    pki.path("large").write_bytes(large.certificate_pem)
    pki.path("large", "key").write_bytes(large.private_key_pem)
    return pki


@pytest.fixture(scope="module", params=SERVERS)
def site(request, serve, pki):
    """The site on each server."""
    words, needs = SERVERS[request.param]
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"the package {needs} is missing")
    policies = pki.policies()
    policies["default"]["fingerprints"].append(pki.certificate("large").sha256_fingerprint)
    variables = {
        "ARRCERT": json.dumps(policies),
        "ARRCERT_EXEMPT_PATHS": "/;/health;/static/*",
        # The site needs only its own folder.
        "PYTHONPATH": str(table.SAMPLE_SITES.parent),
    }
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serve(words, **variables))
        front_end = stack.enter_context(
            FrontEndServer(
                ("127.0.0.1", server.port),
                certificate=pki.path("server").read_bytes(),
                key=pki.path("server", "key").read_bytes(),
                bind=("127.0.0.1", 0),
            )
        )
        port = int(front_end.url.rpartition(":")[2])
        yield SimpleNamespace(name="FastAPI", port=port, url=front_end.url, server=server)


# The table of clients, and the other tests that the site passes everywhere.
get = table.get
test_verdicts_for_python_clients = table.test_verdicts_for_python_clients
test_denial_is_the_same_for_every_reason = table.test_denial_is_the_same_for_every_reason
test_denial_tells_nothing = table.test_denial_tells_nothing
test_cert_info_as_json = table.test_cert_info_as_json
test_pages_behind_the_door_stay_out_of_caches = table.test_pages_behind_the_door_stay_out_of_caches
test_health_shows_nothing = table.test_health_shows_nothing
test_unknown_page = table.test_unknown_page


def test_a_large_certificate_enters(pki, get):
    """A certificate of more than 6.1 KB is accepted on each server."""
    assert len(pki.certificate("large").der) > 6246
    assert get("/hellocert", "large").status == 200


def test_the_document_names_the_certificate(get):
    """The OpenAPI document needs a certificate, and says that every operation needs mutual TLS."""
    assert get("/openapi.json").status == 403
    document = json.loads(get("/openapi.json", "allowed").text)
    assert document["components"]["securitySchemes"]["clientCertificate"]["type"] == "mutualTLS"
    assert {"/hellocert", "/partners", "/health"} <= set(document["paths"])


def test_starts_without_a_warning(site):
    """The start logs no warning, because each endpoint names its policy."""
    before, _, _ = site.server.log.read_text().partition("arrcert: denied")
    assert "configuration:" not in before
    assert "Traceback" not in site.server.log.read_text()
