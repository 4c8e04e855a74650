"""The sample sites behind the local front end, over TLS."""

from __future__ import annotations

import html
import http.client
import importlib.util
import json
import os
import ssl
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from arrcert import DenialReason
from arrcert.testing import CertificateAuthority

SAMPLE_SITES = Path(__file__).resolve().parents[2] / "sample_sites"
_spec = importlib.util.spec_from_file_location("sample_sites_demo", SAMPLE_SITES / "demo.py")
demo = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(demo)

HOSTILE_NAME = "<script>alert('cn')</script>&amp;"
# Each is the common name of an accepted certificate.
HOSTILE_NAMES = {
    "hostile": HOSTILE_NAME,
    "closing": "</bdi></dd></dl></main><style>*{display:none}</style>",
    "quotes": '" onmouseover="alert(1)" \'',
    "template": "{{ 7 * 7 }}{% include 'base.html' %}{# #}",
    "directions": "\u202egpj.exe\u2066\u200f\u0645",
    "controls": "a\x01b\x1b[31m\r\nSet-Cookie: a=b\x7f\x85\u2028",
    "long": "W" * 64,
}
CONTENT_SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'"
HEADER = "X-ARR-ClientCert"
LOOK_ALIKE = "X_ARR_ClientCert"

# certificate, forged header, path, status
VERDICTS = [
    pytest.param(None, None, "/", 200, id="no certificate, front page"),
    pytest.param(None, None, "/health", 200, id="no certificate, health"),
    pytest.param(None, None, "/static/site.css", 200, id="no certificate, style sheet"),
    pytest.param(None, None, "/hellocert", 403, id="no certificate, hellocert"),
    pytest.param(None, None, "/cert-info", 403, id="no certificate, cert-info"),
    pytest.param(None, None, "/partners", 403, id="no certificate, partners"),
    pytest.param(None, None, "/outbound-mtls", 403, id="no certificate, outbound-mtls"),
    pytest.param("allowed", None, "/outbound-mtls", 200, id="allowed, outbound-mtls"),
    pytest.param("allowed", None, "/hellocert", 200, id="allowed, hellocert"),
    pytest.param("allowed", None, "/cert-info", 200, id="allowed, cert-info"),
    pytest.param("allowed", None, "/partners", 403, id="allowed, partners"),
    pytest.param("lookalike", None, "/hellocert", 403, id="self-signed with the same names"),
    pytest.param("expired", None, "/hellocert", 403, id="expired and pinned"),
    pytest.param("stranger", None, "/hellocert", 403, id="stranger"),
    pytest.param(None, HEADER, "/hellocert", 403, id="no certificate, forged header"),
    pytest.param(None, LOOK_ALIKE, "/hellocert", 403, id="no certificate, forged look-alike"),
    pytest.param("stranger", HEADER, "/hellocert", 403, id="stranger, forged header"),
    pytest.param("stranger", LOOK_ALIKE, "/hellocert", 403, id="stranger, forged look-alike"),
    pytest.param("allowed", HEADER, "/hellocert", 200, id="allowed, forged header"),
    pytest.param("partner", None, "/partners", 200, id="partner, partners"),
    pytest.param("partner", None, "/hellocert", 403, id="partner, hellocert"),
    pytest.param("impostor", None, "/partners", 403, id="same CN from another CA of that name"),
]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """The demonstration's certificates, and some with hostile names."""
    pki = demo.Pki.issue(tmp_path_factory.mktemp("pki"))
    authority = CertificateAuthority("<b>CA</b>")
    for file, name in HOSTILE_NAMES.items():
        for role in ("", "-operator"):
            hostile = authority.issue(name)
            pki.path(file + role).write_bytes(hostile.certificate_pem)
            pki.path(file + role, "key").write_bytes(hostile.private_key_pem)
    return pki


@pytest.fixture(scope="module")
def sites_policies(pki):
    """The sites' `ARRCERT`."""
    policies = pki.policies()
    policies["default"]["fingerprints"] += [
        pki.certificate(file).sha256_fingerprint for file in HOSTILE_NAMES
    ]
    policies["default"]["fingerprints"] += [
        {
            "fingerprint": pki.certificate(f"{file}-operator").sha256_fingerprint,
            "roles": ["operator"],
        }
        for file in HOSTILE_NAMES
    ]
    return policies


@pytest.fixture(scope="module")
def sites(pki, sites_policies):
    """All sites, running."""
    with demo.running_sites(pki, sites_policies) as sites:
        yield {site.name: site for site in sites}


@pytest.fixture(params=["Flask", "Django", "FastAPI"])
def site(request, sites):
    """Each of the sites."""
    return sites[request.param]


@pytest.fixture
def get(pki, site):
    """A function that sends a request to the site, with or without a certificate."""

    def get(path, certificate=None, headers=None):
        context = ssl.create_default_context(cafile=pki.path("server-ca"))
        if certificate is not None:
            context.load_cert_chain(pki.path(certificate), pki.path(certificate, "key"))
        connection = http.client.HTTPSConnection("127.0.0.1", site.port, context=context)
        with closing(connection):
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            # ASGI servers write names in lower case.
            kept = {name.title(): value for name, value in response.getheaders()}
            # "Date" changes each second, and does not depend on the request.
            del kept["Date"]
            return Answer(response.status, kept, text)

    return get


def django_command(*arguments, **variables):
    """Run manage.py with only these variables as settings."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ARRCERT", "DJANGO_", "WEBSITE_"))
    }
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=SAMPLE_SITES / "django_site",
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def example_environment(pki):
    """Return the variables of .env.example, as a shell reads them, with a real path."""
    script = "set -a; . ./.env.example; exec env -0"
    printed = subprocess.run(
        ["/bin/sh", "-c", script], cwd=SAMPLE_SITES, env={}, capture_output=True, check=True
    )
    variables = dict(entry.split("=", 1) for entry in printed.stdout.decode().split("\0") if entry)
    wanted = ("ARRCERT", "DJANGO_")
    variables = {name: value for name, value in variables.items() if name.startswith(wanted)}
    anchor = "/path/to/contoso-issuing-ca.pem"
    assert anchor in variables["ARRCERT"]
    variables["ARRCERT"] = variables["ARRCERT"].replace(anchor, str(pki.path("issuing-ca")))
    return variables


@pytest.mark.parametrize(("certificate", "forged", "path", "status"), VERDICTS)
def test_verdicts_for_python_clients(pki, get, certificate, forged, path, status):
    """Each client gets its 200 or 403 from each site with Python's TLS."""
    headers = {forged: pki.forged_header()} if forged else {}
    assert get(path, certificate, headers).status == status


@pytest.mark.parametrize(("certificate", "forged", "path", "status"), VERDICTS)
def test_verdicts_for_curl(pki, site, certificate, forged, path, status):
    """Each client gets its 200 or 403 from each site with curl."""
    command = ["curl", "--silent", "--show-error", "--output", os.devnull, "--noproxy", "*"]
    command += ["--write-out", "%{http_code}", "--cacert", str(pki.path("server-ca"))]
    if certificate is not None:
        command += ["--cert", str(pki.path(certificate))]
        command += ["--key", str(pki.path(certificate, "key"))]
    if forged is not None:
        command += ["--header", f"{forged}: {pki.forged_header()}"]
    done = subprocess.run([*command, site.url + path], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == (str(status), "")


def test_front_page_says_what_is_behind_the_door(get):
    """The public front page links every page, and says that a certificate is needed."""
    page = get("/")
    for path in ("/hellocert", "/cert-info", "/partners", "/outbound-mtls", "/health"):
        assert f'href="{path}"' in page.text
    assert "certificate needed" in page.text
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/hellocert"])
def test_pages_are_readable_on_a_phone_and_load_nothing_from_elsewhere(get, site, path):
    """Each page states its language and viewport, and loads nothing from another host."""
    # The 403 of the FastAPI site is JSON.
    page = get(path, "allowed" if site.name == "FastAPI" else None)
    assert '<html lang="en">' in page.text
    assert 'name="viewport"' in page.text
    assert "://" not in page.text
    assert "<script" not in page.text


def test_hellocert_greets_the_common_name(get):
    """The greeting holds the common name of the client."""
    assert f"Hello, <bdi>{demo.ALLOWED_NAME}</bdi></h1>" in get("/hellocert", "allowed").text


def test_partners_page_names_the_partner(get):
    """The partners' page shows the partner's common name and the issuer."""
    page = get("/partners", "partner")
    assert demo.PARTNER_NAME in page.text
    assert demo.ISSUING_CA in page.text


def test_cert_info_page_shows_the_certificate(pki, get):
    """The page shows fingerprints, names, serial number, validity and days left."""
    page = get("/cert-info", "allowed")
    certificate = pki.certificate("allowed")
    for shown in (
        certificate.sha256_fingerprint,
        certificate.sha1_fingerprint,
        certificate.subject,
        certificate.issuer,
        f"{certificate.serial_number:X}",
        certificate.not_valid_before_utc.isoformat(),
        certificate.not_valid_after_utc.strftime("%d %B %Y, %H:%M UTC"),
        "364 more days",
    ):
        assert shown in html.unescape(page.text)


class _Rules(HTMLParser):
    """A parser that reads what `/cert-info` says about each rule.

    Attributes:
        sections: each title and verdict, and for each rule its verdict, its name and its lines.
    """

    def __init__(self, text):
        super().__init__()
        self.sections = []
        self._into = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "h3":
            self._into = []
            self.sections.append((self._into, []))
        elif tag == "li" and self.sections:
            self._into = []
            self.sections[-1][1].append(self._into)

    def handle_endtag(self, tag):
        if tag in ("h3", "li"):
            self._into = None

    def handle_data(self, data):
        if self._into is not None and data.strip():
            self._into.append(data.strip())


def test_pages_show_identity_and_roles(get):
    """Each protected page shows the identity, the roles and the days left."""
    for path, certificate, identity, role in (
        ("/hellocert", "allowed", "contoso", "operator"),
        ("/cert-info", "allowed", "contoso", "operator"),
        ("/partners", "partner", f"partner:{demo.PARTNER_NAME}", "orders"),
    ):
        page = get(path, certificate)
        assert f"<dd><bdi>{identity}</bdi></dd>" in page.text
        assert f'<span class="tag"><bdi>{role}</bdi></span>' in page.text
        assert '<span class="tag good">enough time</span>' in page.text
        assert 'value="364"' in page.text
    nameless = get("/hellocert", "hostile")
    assert "none, because the policy gives no name" in nameless.text
    assert "<dd>none</dd>" in nameless.text


def test_cert_info_says_what_explain_says(pki, get, sites_policies):
    """An operator sees each rule as in `arrcert explain`, and which of them fail."""
    done = subprocess.run(
        [demo.ARRCERT_COMMAND, "explain", "--json", pki.path("allowed")],
        env=os.environ | {"ARRCERT": json.dumps(sites_policies)},
        capture_output=True,
        timeout=60,
    )
    told = json.loads(done.stdout)["policies"]
    shown = _Rules(get("/cert-info", "allowed").text).sections
    assert [words for words, _ in shown] == [["default", "accepts"], ["partners", "denies"]]
    for words, rows in shown:
        [alternative] = told[words[0]]["alternatives"]
        assert [(row[0], row[2:]) for row in rows] == [
            ("holds", [rule["detail"]])
            if rule["holds"]
            else ("fails", [f"{rule['reason']}: {rule['detail']}", f"wanted: {rule['wanted']}"])
            for rule in alternative["rules"]
        ]
    assert {"validity", "fingerprints", "strong key"} <= {row[1] for row in shown[0][1]}
    assert ["fails", "common_names"] in [row[:2] for row in shown[1][1]]


def test_cert_info_tells_others_nothing_of_the_settings(pki, get):
    """Without the role `operator` a client sees only the rules that accepted it."""
    page = get("/cert-info", "hostile")
    [(words, rows)] = _Rules(page.text).sections
    assert words == ["default", "accepts"]
    assert {(row[0], len(row)) for row in rows} == {("holds", 2)}
    assert "fingerprints" in [row[1] for row in rows]
    secrets = (
        *(pki.certificate("allowed").sha256_fingerprint, demo.PARTNER_NAME, demo.ISSUING_CA),
        *("wanted", "not_allowed", "partners</bdi>", str(pki.folder)),
    )
    assert not [secret for secret in secrets if secret in html.unescape(page.text)]


def test_cert_info_as_json(pki, get):
    """A client that asks for JSON gets the same facts as JSON."""
    answer = get("/cert-info", "allowed", {"Accept": "application/json"})
    certificate = pki.certificate("allowed")
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.text) == {
        "identity": "contoso",
        "roles": ["operator"],
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "sha256_fingerprint": certificate.sha256_fingerprint,
        "sha1_fingerprint": certificate.sha1_fingerprint,
        "serial_number": f"{certificate.serial_number:X}",
        "not_valid_before": certificate.not_valid_before_utc.isoformat(),
        "not_valid_after": certificate.not_valid_after_utc.isoformat(),
        "days_left": 364,
    }


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("*/*", "text/html"),
        ("application/json;q=0.5,text/html;q=0.9", "text/html"),
        ("image/png", "text/html"),
        ("text/html;q=0.5,application/json", "application/json"),
        ("application/json,*/*;q=0.1", "application/json"),
    ],
)
def test_cert_info_weighs_what_the_client_prefers(get, accept, content_type):
    """JSON is sent only to clients that prefer it by quality, and the response has `Vary`."""
    answer = get("/cert-info", "allowed", {"Accept": accept})
    assert answer.headers["Content-Type"].partition(";")[0] == content_type
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize("path", ["/hellocert", "/cert-info", "/outbound-mtls"])
def test_pages_behind_the_door_stay_out_of_caches(get, path):
    """A protected page is never stored by a cache."""
    assert "no-store" in get(path, "allowed").headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/hellocert", "/cert-info"])
def test_hostile_names_are_escaped(get, path):
    """Markup in a certificate's names is shown as text."""
    page = get(path, "hostile")
    assert page.status == 200
    assert "<script" not in page.text
    assert "<b>CA" not in page.text
    assert "&lt;script" in page.text


class _Elements(HTMLParser):
    """A parser that reads the elements and attributes of a page, without their text."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, [name for name, _ in attributes]))

    def handle_endtag(self, tag):
        self.found.append(("/" + tag, []))


@pytest.mark.parametrize("role", ["", "-operator"])
@pytest.mark.parametrize("path", ["/hellocert", "/cert-info"])
def test_no_name_breaks_the_page(get, path, role):
    """A page has the same elements for any text in the certificate."""
    plain = get(path, f"long{role}")
    assert plain.status == 200
    assert ("wanted: " in plain.text) == (path == "/cert-info" and role == "-operator")
    for file, name in HOSTILE_NAMES.items():
        page = get(path, file + role)
        assert page.status == 200
        assert _Elements(page.text).found == _Elements(plain.text).found, name
        if path == "/hellocert":
            # The direction of its letters does not affect the text around it.
            assert f"Hello, <bdi>{name}</bdi></h1>" in html.unescape(page.text)
        assert set(page.headers) == set(plain.headers)


def test_pages_keep_their_content_security_policy(get):
    """Each page has the policy, and contains nothing that the policy blocks."""
    for path, certificate in (
        *(("/", None), ("/hellocert", "allowed"), ("/cert-info", "allowed")),
        *(("/partners", "partner"), ("/outbound-mtls", "allowed"), ("/nothing-here", "allowed")),
    ):
        page = get(path, certificate)
        policy = f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">'
        assert policy in page.text
        elements = _Elements(page.text).found
        assert not {"script", "style", "iframe", "form"} & {tag for tag, _ in elements}
        attributes = {name for _, names in elements for name in names}
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]


def test_denial_is_the_same_for_every_reason(pki, get):
    """Status, headers and body of a 403 are the same for every client, page and reason."""
    forged = {HEADER: pki.forged_header()}
    answers = [
        get("/hellocert"),
        get("/hellocert", "lookalike"),
        get("/hellocert", "expired"),
        get("/hellocert", "stranger"),
        get("/hellocert", "partner"),
        get("/hellocert", None, forged),
        get("/hellocert", "stranger", forged),
        get("/cert-info", "stranger", {"Accept": "application/json"}),
        get("/partners"),
        get("/partners", "allowed"),
        get("/partners", "impostor"),
    ]
    first = answers[0]
    assert first.status == 403
    assert all(answer == first for answer in answers)


def test_denial_tells_nothing(pki, get, site):
    """The 403 is a page, or JSON from FastAPI, and has no reason, name or fingerprint."""
    page = get("/partners", "impostor")
    if site.name == "FastAPI":
        assert page.text == '{"detail":"Forbidden"}'
    else:
        assert "<h1>You are not admitted to this page</h1>" in page.text
    certificate = pki.certificate("impostor")
    secrets = [
        *DenialReason,
        certificate.sha256_fingerprint,
        certificate.sha1_fingerprint,
        demo.PARTNER_NAME,
        demo.ISSUING_CA,
        "fingerprint",
    ]
    assert not [secret for secret in secrets if secret.lower() in page.text.lower()]


def test_denials_are_logged_as_lines(get, site):
    """A denial is one line with its reason in the site's log, without a traceback."""
    before = site.lines_so_far()
    assert get("/hellocert", "stranger").status == 403
    assert site.wait_for_line(demo.DENIAL_RECORD, start=before, seconds=5)[1] == (
        "fingerprint_not_allowed"
    )
    logged = site.output().splitlines()[before:]
    assert len([line for line in logged if demo.DENIAL_RECORD.search(line)]) == 1
    assert "Traceback" not in site.output()


def test_health_shows_nothing(get):
    """The health page has only two letters."""
    answer = get("/health")
    assert (answer.status, answer.text) == (200, "ok")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_unknown_page(get, site):
    """An unknown address is a page for people, and a site with a gate shows it only to clients."""
    answer = get("/nothing-here", "allowed")
    assert answer.status == 404
    assert "<h1>There is no such page</h1>" in answer.text
    assert get("/nothing-here").status == (404 if site.name == "Flask" else 403)


@pytest.mark.parametrize("name", ["site.css", "icon.svg"])
def test_the_sites_have_one_design(name):
    """The style sheets and icons of the sites are the same files."""
    folders = ("flask_site", "django_site/mtls_site", "fastapi_site/mtls_app")
    files = {(SAMPLE_SITES / folder / "static" / name).read_bytes() for folder in folders}
    assert len(files) == 1


def test_example_environment_is_complete(pki):
    """With only .env.example and a secret key, Django's deployment checks find nothing."""
    variables = example_environment(pki)
    assert set(json.loads(variables["ARRCERT"])) == {"default", "partners"}
    variables |= {"DJANGO_SECRET_KEY": "k" * 30 + "0123456789-abcdefghij-KLMNOP"}
    # HSTS is on, as on the platform.
    variables |= {"WEBSITE_HOSTNAME": "example.azurewebsites.net", "WEBSITE_SITE_NAME": "example"}
    done = django_command("check", "--deploy", "--fail-level", "WARNING", **variables)
    assert done.returncode == 0, done.stderr


def test_django_needs_a_secret_key(pki):
    """Without DJANGO_SECRET_KEY the Django site stops with a sentence that names the variable."""
    done = django_command("check", **example_environment(pki))
    assert done.returncode != 0
    assert "DJANGO_SECRET_KEY is not set" in done.stderr


def test_django_refuses_an_unresolved_secret_key(pki):
    """A Key Vault reference that was not resolved stops the Django site, because it is public."""
    reference = "@Microsoft.KeyVault(VaultName=kv-example;SecretName=django-secret-key)"
    done = django_command("check", **example_environment(pki) | {"DJANGO_SECRET_KEY": reference})
    assert done.returncode != 0
    assert "DJANGO_SECRET_KEY is a Key Vault reference" in done.stderr


def test_django_refuses_an_unclear_debug_setting(pki):
    """A DJANGO_DEBUG that is neither true nor false stops the Django site."""
    done = django_command("check", **example_environment(pki) | {"DJANGO_DEBUG": "yes"})
    assert done.returncode != 0
    assert "DJANGO_DEBUG is 'yes'; write true or false." in done.stderr


@pytest.mark.parametrize(
    ("folder", "module"),
    [
        ("flask_site", "app"),
        ("django_site", "mtls_site.wsgi"),
        ("fastapi_site", "mtls_app.main"),
    ],
)
def test_no_policies_no_start(pki, folder, module):
    """A site without ARRCERT does not start, and names the missing setting."""
    variables = {"DJANGO_SECRET_KEY": "x" * 50, "PATH": os.environ.get("PATH", "")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {module}"],
        cwd=SAMPLE_SITES / folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "ConfigurationError" in done.stderr
    assert "ARRCERT" in done.stderr
