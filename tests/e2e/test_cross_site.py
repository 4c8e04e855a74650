"""Requests that a page of another site sends with the visitor's certificate, in Chromium.

The browser speaks TLS to HAProxy, which requests a client certificate and forwards it as App
Service does. The tests run twice. First Chromium itself presents the certificate: it is in the
browser's own store, and the policy AutoSelectCertificateForUrls selects it. This needs root,
because Chromium reads policies from only one folder of the machine. Then Playwright presents it.
Playwright forwards the browser's connections, and so presents the certificate on each of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from arrcert.testing import IssuedCertificate

pytestmark = pytest.mark.matrix

UVICORN = (sys.executable, "-m", "uvicorn", "--port", "{port}", "--log-level", "warning")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend tls
    bind 127.0.0.1:@PORT@ ssl crt @PKI@/server.pem ca-file @PKI@/client-ca.pem verify optional
    http-request del-header X-ARR-ClientCert
    http-request set-header X-ARR-ClientCert %[ssl_c_der,base64] if { ssl_c_used }
    http-request set-header X-Forwarded-Proto https
    default_backend site
backend site
    server site 127.0.0.1:@SITE@
"""
ETC = Path("/etc/chromium")
# Chromium finds its store below HOME. It finds its policies in one folder, which a mount replaces
# for this process only.
WITH_POLICIES = """#!/bin/sh
export HOME="{home}"
exec unshare --mount sh -c 'mount --bind "{home}/etc" "{etc}" && exec "{chromium}" "$@"' sh "$@"
"""


class Sites(NamedTuple):
    """The guarded site and the other site, both running.

    Attributes:
        url: the guarded site's origin.
        other: the other site's origin.
        process: the guarded site's server.
    """

    url: str
    other: str
    process: Any

    def reached(self) -> list[str]:
        """Return what reached the guarded site since the last call, except for its page."""
        file = self.process.log.parent / "seen"
        lines = file.read_text().splitlines()
        file.write_text("")
        return [line for line in lines if " GET /" not in line]

    def log(self) -> str:
        """Return what the guarded site has logged."""
        return str(self.process.log.read_text())


@contextlib.contextmanager
def running(serve: Any, pki: Path, *, lists_the_other: bool) -> Iterator[Sites]:
    """Run both sites, the guarded one behind HAProxy."""
    pytest.importorskip("websockets", reason="the package websockets is missing")
    with contextlib.ExitStack() as stack:
        app = "cross_site_sites:other_site"
        other = stack.enter_context(serve([*UVICORN, app]))
        # An address and a name are two sites, although both lead to this machine.
        origin = f"http://127.0.0.1:{other.port}"
        listed = {"ARRCERT_CROSS_SITE_ORIGINS": origin} if lists_the_other else {}
        site = stack.enter_context(serve([*UVICORN, "cross_site_sites:arriving"], **listed))
        config = HAPROXY.replace("@SITE@", str(site.port)).replace("@PKI@", str(pki))
        words = ["haproxy", "-db", "-f", "{folder}/cfg"]
        door = stack.enter_context(serve(words, files={"cfg": config}, speaks_tls=True))
        yield Sites(f"https://localhost:{door.port}", origin, site)


@pytest.fixture(scope="module")
def sites(serve: Any, pki: Path) -> Iterator[Sites]:
    """The guarded site, which lists no origin, and the other one."""
    with running(serve, pki, lists_the_other=False) as sites:
        yield sites


@pytest.fixture(scope="module")
def friends(serve: Any, pki: Path) -> Iterator[Sites]:
    """The guarded site with the other one in ARRCERT_CROSS_SITE_ORIGINS."""
    with running(serve, pki, lists_the_other=True) as sites:
        yield sites


def with_policies(
    folder: Path, alice: IssuedCertificate, find_program: Callable[[str], str]
) -> str:
    """Return a program that starts Chromium with its own certificate store and policy."""
    if os.geteuid() != 0:
        pytest.skip("only root can give Chromium a policy")
    key = serialization.load_pem_private_key(alice.private_key_pem, None)
    store = pkcs12.serialize_key_and_certificates(
        b"alice", key, alice.certificate.x509, None, serialization.BestAvailableEncryption(b"x")
    )
    (folder / "alice.p12").write_bytes(store)
    for place in (".pki/nssdb", ".local/share/pki/nssdb"):
        (folder / place).mkdir(parents=True)
        where = ("-d", f"sql:{folder / place}")
        for words in (
            [find_program("certutil"), *where, "-N", "--empty-password"],
            [find_program("pk12util"), *where, "-i", folder / "alice.p12", "-W", "x", "-K", ""],
        ):
            done = subprocess.run(words, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    if not ETC.is_dir():
        pytest.skip(f"the folder {ETC} is missing")
    shutil.copytree(ETC, folder / "etc")
    managed = folder / "etc" / "policies" / "managed"
    managed.mkdir(parents=True)
    rule = json.dumps({"pattern": "https://localhost", "filter": {}})
    (managed / "test.json").write_text(json.dumps({"AutoSelectCertificateForUrls": [rule]}))
    mount = [find_program("unshare"), "--mount", "mount", "--bind", str(folder / "etc"), str(ETC)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this machine allows no mount")
    script = folder / "chromium"
    script.write_text(WITH_POLICIES.format(home=folder, etc=ETC, chromium=find_program("chromium")))
    script.chmod(0o755)
    return str(script)


@pytest.fixture(scope="module", params=["Chromium", "Playwright"])
def window(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pki: Path,
    alice: Any,
    find_program: Callable[[str], str],
) -> Iterator[Any]:
    """A function that returns a window with Alice's certificate for a site."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the package playwright is missing"
    )
    executable, presented = find_program("chromium"), {}
    by_chromium = request.param == "Chromium"
    if by_chromium:
        executable = with_policies(tmp_path_factory.mktemp("home"), alice, find_program)
    with sync_api.sync_playwright() as driver, contextlib.ExitStack() as stack:
        browser = driver.chromium.launch(executable_path=executable, args=list(FLAGS))
        stack.callback(browser.close)

        def window(sites: Sites) -> Any:
            if not by_chromium:
                paths = {
                    "certPath": str(pki / "alice.pem"),
                    "keyPath": str(pki / "alice.key"),
                }
                presented["client_certificates"] = [{"origin": sites.url, **paths}]
            context = browser.new_context(ignore_https_errors=True, **presented)
            stack.callback(context.close)
            return context.new_page()

        window.by_chromium = by_chromium
        yield window


def test_the_sites_own_form_and_websocket_work(window: Any, sites: Sites) -> None:
    """Requests from a page of the site itself carry the certificate, and are accepted."""
    page = window(sites)
    assert page.goto(sites.url).status == 200
    assert page.evaluate("opened()") == "opened"
    assert page.evaluate("asked('PUT', {'Content-Type': 'application/json'}, '{}')") == "200"
    with page.expect_navigation() as form:
        page.click("button")
    assert form.value.status == 200
    assert sites.reached() == [
        "arrived WEBSOCKET /socket certificate",
        "acted WEBSOCKET /socket certificate",
        "arrived PUT /act certificate",
        "acted PUT /act certificate",
        "arrived POST /act certificate",
        "acted POST /act certificate",
    ]


def visit_other(window: Any, sites: Sites) -> Any:
    """Return a window that visited the guarded site, and now shows the other site's page."""
    page = window(sites)
    # Chromium asks for no certificate for a WebSocket. It presents the one that was selected for
    # the site before.
    assert page.goto(sites.url).status == 200
    assert page.goto(f"{sites.other}/?{sites.url}").status == 200
    sites.reached()
    return page


def test_a_page_of_another_site_is_refused(window: Any, sites: Sites) -> None:
    """The site denies what another site's page sends, although it carries the certificate.

    The page sends a WebSocket handshake, a request of a script, and a form.
    """
    page = visit_other(window, sites)
    before = len(sites.log())
    assert page.evaluate("opened()") == "refused"
    assert page.evaluate("asked('POST')") == "opaque"
    with page.expect_navigation() as form:
        page.click("button")
    assert form.value.status == 403
    assert sites.reached() == [
        "arrived WEBSOCKET /socket certificate",
        "arrived POST /act certificate",
        "arrived POST /act certificate",
    ]
    told = [line for line in sites.log()[before:].splitlines() if line.startswith("denied")]
    assert ["cross_site" in line and sites.other in line for line in told] == [True] * 3


def test_a_page_of_another_site_reads_no_script(window: Any, sites: Sites) -> None:
    """The site's own page runs its script; another site's page does not, with a service worker too.

    Without CORS, a page runs scripts of any site, and so reads what they hold.
    """
    page = window(sites)
    assert page.goto(sites.url).status == 200
    assert page.evaluate("ran()") == "secret"
    before = len(sites.log())
    assert page.goto(f"{sites.other}/?{sites.url}").status == 200
    assert page.evaluate("ran()") == "refused"
    page.evaluate("work()")
    assert page.evaluate("ran()") == "refused"
    told = [line for line in sites.log()[before:].splitlines() if line.startswith("denied")]
    assert ["cross_site" in line and "/data.js" in line for line in told] == [True] * 2
    assert "Sec-Fetch-Dest is 'empty'" in told[1]


def test_json_of_another_site_ends_at_its_preflight(window: Any, friends: Sites) -> None:
    """A cross-site PUT fails at its preflight, even from a listed origin.

    By the Fetch standard a preflight has no certificate. Chromium presents it anyway, so here the
    preflight passes the check, but the site does not answer it.
    """
    page = visit_other(window, friends)
    assert page.evaluate("asked('PUT', {'Content-Type': 'application/json'}, '{}')") == "refused"
    assert friends.reached() == [
        "arrived OPTIONS /act certificate",
        "acted OPTIONS /act certificate",
    ]


def test_a_listed_site_may_send(window: Any, friends: Sites) -> None:
    """Requests from a page of an origin in ARRCERT_CROSS_SITE_ORIGINS are accepted."""
    page = visit_other(window, friends)
    assert page.evaluate("opened()") == "opened"
    assert page.evaluate("asked('POST')") == "opaque"
    with page.expect_navigation() as form:
        page.click("button")
    assert form.value.status == 200
    acted = [line for line in friends.reached() if line.startswith("acted")]
    assert acted == [
        "acted WEBSOCKET /socket certificate",
        "acted POST /act certificate",
        "acted POST /act certificate",
    ]
