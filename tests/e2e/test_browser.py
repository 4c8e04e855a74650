"""The sample sites in Chromium, with a client certificate, in two widths and two colour schemes.

The certificate is presented by Playwright, which carries the browser's connections, and not by the
browser itself; its prompt for a certificate is not tested here.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from arrcert.testing import CertificateAuthority

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SITES = ROOT / "sample_sites"
_spec = importlib.util.spec_from_file_location("sample_sites_demo", SAMPLE_SITES / "demo.py")
demo = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(demo)

pytestmark = pytest.mark.matrix

FLAGS = (
    *("--no-sandbox", "--disable-gpu"),
    *("--disable-background-networking", "--disable-component-update"),
)
WIDTHS = {
    "phone": {"width": 390, "height": 844},
    "desktop": {"width": 1280, "height": 800},
}
SCHEMES = ("light", "dark")

# The path of each page, and its status for the allowed certificate.
PAGES = {
    "front-page": ("/", 200),
    "certificate": ("/cert-info", 200),
    "denied": ("/partners", 403),
}
# The 403 of the FastAPI site is JSON. Its 404 is a page.
PAGES_OF_FASTAPI = PAGES | {"denied": ("/nothing-here", 404)}
# The number of days that a certificate has left, and the page's text about them.
SCALE = {90: "enough time", 20: "renew soon", 3: "renew now"}
PICTURES = ("flask-certificate-desktop-light.png", "django-front-page-phone-dark.png")


def page_of(site: object, name: str) -> tuple[str, int]:
    """Return the path and the status of a site's page."""
    return (PAGES_OF_FASTAPI if site.name == "FastAPI" else PAGES)[name]


class View(NamedTuple):
    """One page of a site, opened in one width and one colour scheme.

    Attributes:
        page: as Playwright has it.
        status: of the page itself.
        troubles: what the browser complained about.
        name: of its picture.
    """

    page: object
    status: int
    troubles: list[str]
    name: str


@pytest.fixture(scope="module")
def browser():
    """The Chromium of this machine, driven by Playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the package playwright is missing"
    )
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("the program chromium is missing")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """The demonstration's certificates, and some that end soon."""
    pki = demo.Pki.issue(tmp_path_factory.mktemp("pki"))
    authority = CertificateAuthority("Contoso Issuing CA")
    for days in SCALE:
        end = datetime.now(UTC) + timedelta(days=days, hours=12)
        issued = authority.issue(f"{days} days left", not_after=end)
        pki.path(str(days)).write_bytes(issued.certificate_pem)
        pki.path(str(days), "key").write_bytes(issued.private_key_pem)
    return pki


@pytest.fixture(scope="module")
def sites(browser, pki):
    """The sites behind the local front end."""
    policies = pki.policies()
    policies["default"]["fingerprints"] += [
        pki.certificate(str(days)).sha256_fingerprint for days in SCALE
    ]
    with demo.running_sites(pki, policies) as sites:
        yield {site.name: site for site in sites}


@pytest.fixture(scope="module", params=demo.Site.SITES)
def site(request, sites):
    """Each of the sites."""
    return sites[request.param]


@pytest.fixture(scope="module", params=[(w, s) for w in WIDTHS for s in SCHEMES], ids=" ".join)
def window(request, browser, site, pki) -> Iterator[tuple[object, str]]:
    """A window of each width and colour scheme, with the allowed certificate."""
    width, scheme = request.param
    context = browser.new_context(
        viewport=WIDTHS[width],
        color_scheme=scheme,
        ignore_https_errors=True,
        client_certificates=[
            {
                "origin": site.url,
                "certPath": str(pki.path("allowed")),
                "keyPath": str(pki.path("allowed", "key")),
            }
        ],
    )
    yield context, f"{width}-{scheme}"
    context.close()


@pytest.fixture(scope="module", params=PAGES)
def view(request, window, site) -> Iterator[View]:
    """Each of the three pages in each window of each site."""
    context, kind = window
    path, _ = page_of(site, request.param)
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"exception: {error}"))
    page.on("requestfailed", lambda asked: troubles.append(f"failed: {asked.url} {asked.failure}"))

    def note(response: object) -> None:
        if response.status >= 400 and response.url != site.url + path:
            troubles.append(f"{response.status}: {response.url}")

    page.on("response", note)
    response = page.goto(site.url + path)
    yield View(page, response.status, troubles, f"{site.name.lower()}-{request.param}-{kind}.png")
    page.close()


def test_page_is_the_one_that_was_asked_for(view, site):
    """The certificate reaches the site: two of the pages open, and the third does not."""
    name = next(name for name in PAGES if f"-{name}-" in view.name)
    assert view.status == page_of(site, name)[1]
    assert view.page.title().endswith(f"{site.name} sample site")
    if name == "certificate":
        text = view.page.inner_text("main")
        assert demo.ALLOWED_NAME in text
        # The visitor is an operator: the page also shows the policy that denies.
        assert {"accepts", "denies", "holds", "fails"} <= set(text.split())


def test_picture(view, tmp_path):
    """The page is drawn in its colour scheme. SCREENSHOTS names the folder for its picture."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    view.page.screenshot(path=folder / view.name, full_page="phone" in view.name)
    background = view.page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(part) for part in background[4:-1].split(","))
    assert (red + green + blue > 600) == ("light" in view.name)


def test_no_horizontal_scrolling(view):
    """No element is wider than the window."""
    wider = view.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0


def test_browser_has_nothing_to_complain_about(view):
    """The console is empty, no request fails, and every resource of a page loads."""
    # Chromium also logs the status of the page itself as a loading error.
    own = f"error: Failed to load resource: the server responded with a status of {view.status}"
    assert [trouble for trouble in view.troubles if not trouble.startswith(own)] == []
    assert len(view.troubles) <= (view.status >= 400)


def test_keyboard_reaches_every_link_in_order(view):
    """Tab visits the links in reading order, each with a visible outline."""
    page = view.page
    links = page.eval_on_selector_all("a[href], button, input", "all => all.map(e => e.outerHTML)")
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in links:
        page.keyboard.press("Tab")
        html, outline, offscreen = page.evaluate(
            """() => {
                const element = document.activeElement, style = getComputedStyle(element);
                const box = element.getBoundingClientRect();
                const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
                const outside = box.bottom <= 0 || box.top >= innerHeight || box.width === 0;
                return [element.outerHTML, width, outside];
            }"""
        )
        assert outline >= 2, html
        assert not offscreen, html
        reached.append(html)
    assert reached == links
    assert len(links) >= 4


def violations(page: object) -> None:
    """Check a page with axe: contrast, landmarks, headings, names, language."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="the package axe-playwright-python is missing",
    )
    results = axe.Axe().run(page, options={"resultTypes": ["violations", "incomplete"]})
    assert results.violations_count == 0, results.generate_report()
    passed = {rule["id"] for rule in results.response["passes"]}
    assert {"color-contrast", "document-title", "html-has-lang", "link-name"} <= passed
    # Results that axe marks as incomplete need a person, so they are not counted.
    assert [rule["id"] for rule in results.response["incomplete"]] == []


def test_axe_finds_no_violation(view):
    """Axe finds no violation on any page."""
    violations(view.page)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("days", SCALE)
def test_scale_of_the_days_left(browser, sites, pki, scheme, days, tmp_path):
    """The days left have a colour and the same meaning in words, in both colour schemes."""
    site = sites["Flask"]
    context = browser.new_context(
        viewport=WIDTHS["phone"],
        color_scheme=scheme,
        ignore_https_errors=True,
        client_certificates=[
            {
                "origin": site.url,
                "certPath": str(pki.path(str(days))),
                "keyPath": str(pki.path(str(days), "key")),
            }
        ],
    )
    page = context.new_page()
    assert page.goto(f"{site.url}/hellocert").status == 200
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"scale-{days}-{scheme}.png")
    tag = page.locator(".facts .tag")
    assert tag.inner_text() == SCALE[days]
    assert page.locator("meter").evaluate("element => element.value") == days
    violations(page)
    colours = page.eval_on_selector_all(
        ".facts .tag",
        """([tag]) => ["good", "soon", "bad"].map(name => {
            tag.className = "tag " + name;
            return getComputedStyle(tag).backgroundColor;
        })""",
    )
    assert len(set(colours)) == 3
    context.close()


def test_pictures_in_the_documents():
    """The two pictures of the documents exist, are PNG files, and are small."""
    text = (SAMPLE_SITES / "README.md").read_text(encoding="utf-8")
    for name in PICTURES:
        assert f"](../docs/images/{name})" in text
        content = (ROOT / "docs" / "images" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 150_000
        width = struct.unpack(">I", content[16:20])[0]
        assert width in {size["width"] for size in WIDTHS.values()}
