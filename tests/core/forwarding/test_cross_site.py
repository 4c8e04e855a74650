"""Requests that a browser sends from a page of another site."""

from __future__ import annotations

from typing import Any

import pytest

from arrcert import Authorizer, CertificateDenied, ConfigurationError, DenialReason, Policy
from arrcert.forwarding.cross_site import origins_from
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.forwarding.ingress import Ingress
from arrcert.forwarding.proxies import secret_header_from
from arrcert.settings import load
from arrcert.testing import IssuedCertificate

HEADER = "X-ARR-ClientCert"
SITE = "site.example"
OWN, OTHER = "https://site.example", "https://evil.example"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Origin": OTHER, "Host": SITE}


@pytest.fixture
def authorizer(alice: IssuedCertificate) -> Authorizer:
    """An authorizer that accepts alice, and allows one other site to send her requests."""
    return Authorizer(
        {"default": Policy(fingerprints=[alice.certificate.sha256_fingerprint])},
        cross_site_origins=["https://app.example"],
    )


def wsgi(headers: dict[str, str], method: str, alice: IssuedCertificate) -> dict[str, Any]:
    """Return the WSGI environ of a request that alice's browser sends."""
    named = {HEADER: alice.header_value, **headers}
    return {"REQUEST_METHOD": method, "PATH_INFO": "/"} | {
        "HTTP_" + name.upper().replace("-", "_"): value for name, value in named.items()
    }


def pairs(headers: dict[str, str], alice: IssuedCertificate) -> list[tuple[bytes, bytes]]:
    """Return the ASGI headers of a request that alice's browser sends."""
    named = {HEADER: alice.header_value, **headers}
    return [(name.lower().encode(), value.encode()) for name, value in named.items()]


def reasons(
    authorizer: Authorizer, headers: dict[str, str], method: str, alice: IssuedCertificate
) -> set[DenialReason | None]:
    """Return the reasons of all three forms of a request; None stands for an acceptance."""
    environ = wsgi(headers, method, alice)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": "/",
        "headers": pairs(headers, alice),
    }
    found: set[DenialReason | None] = set()
    for call in (
        lambda: authorizer.authorize_wsgi(environ),
        lambda: authorizer.authorize_asgi(scope),
        lambda: authorizer.authorize_headers(pairs(headers, alice), method=method),
    ):
        try:
            call()
            found.add(None)
        except CertificateDenied as denied:
            found.add(denied.reason)
    return found


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY", "get", "post"])
@pytest.mark.parametrize(
    "headers",
    [
        CROSS_SITE,
        {"Sec-Fetch-Site": "same-site", "Origin": "https://other.site.example", "Host": SITE},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "unheard-of", "Origin": OWN, "Host": SITE},
        {"Origin": OTHER, "Host": SITE},
        {"Origin": "null", "Host": SITE},
        {"Origin": "null", "Host": ""},
        {"Origin": OWN},
        {"Origin": "https://site.example:8443", "Host": SITE},
        {"Origin": "https://[", "Host": SITE},
        {"Sec-Fetch-Site": "same-origin,cross-site", "Host": SITE},
    ],
    ids=str,
)
def test_unsafe_request_from_another_site_is_denied(
    authorizer: Authorizer, alice: IssuedCertificate, method: str, headers: dict[str, str]
) -> None:
    """A request with an unsafe or unknown method from a page of another site is denied."""
    assert reasons(authorizer, headers, method, alice) == {DenialReason.CROSS_SITE}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": SITE},
        {"Sec-Fetch-Site": "same-origin", "Origin": OWN, "Host": SITE},
        {"Sec-Fetch-Site": "none", "Host": SITE},
        {"Origin": OWN, "Host": SITE},
        {"Origin": OWN, "Host": "SITE.example"},
        {"Origin": "https://SITE.example", "Host": SITE},
        {"Sec-Fetch-Site": "same-origin", "Origin": OWN, "Host": "internal.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example", "Host": SITE},
        {"Origin": "https://app.example", "Host": SITE},
    ],
    ids=str,
)
def test_own_pages_listed_origins_and_other_clients_pass(
    authorizer: Authorizer, alice: IssuedCertificate, headers: dict[str, str]
) -> None:
    """Unsafe methods pass from the site's own pages, from listed origins, and from non-browsers."""
    assert reasons(authorizer, headers, "POST", alice) == {None}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_are_not_checked(
    authorizer: Authorizer, alice: IssuedCertificate, method: str
) -> None:
    """A GET from a link on another site passes."""
    assert reasons(authorizer, CROSS_SITE, method, alice) == {None}


SCRIPT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    "headers",
    [
        SCRIPT,
        SCRIPT | {"Sec-Fetch-Site": "same-site"},
        SCRIPT | {"Sec-Fetch-Site": "unheard-of"},
        SCRIPT | {"Host": SITE, "Origin": OTHER, "Sec-Fetch-Mode": "cors"},
        SCRIPT | {"Sec-Fetch-Dest": "worker", "Sec-Fetch-Mode": "same-origin"},
        SCRIPT | {"Sec-Fetch-Dest": "sharedworker"},
        SCRIPT | {"Sec-Fetch-Dest": "serviceworker"},
        SCRIPT | {"Sec-Fetch-Dest": "audioworklet"},
        SCRIPT | {"Sec-Fetch-Dest": "paintworklet"},
        SCRIPT | {"Sec-Fetch-Dest": "empty"},
    ],
    ids=str,
)
def test_script_in_a_page_of_another_site_is_denied(
    authorizer: Authorizer, alice: IssuedCertificate, method: str, headers: dict[str, str]
) -> None:
    """A response that a page of another site can run as a script is denied, with any method."""
    assert reasons(authorizer, headers, method, alice) == {DenialReason.CROSS_SITE}


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Dest": "script"},
        SCRIPT | {"Sec-Fetch-Site": "same-origin"},
        SCRIPT | {"Sec-Fetch-Site": "none"},
        SCRIPT | {"Origin": "https://app.example", "Sec-Fetch-Mode": "cors"},
        SCRIPT | {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Origin": OTHER},
        SCRIPT | {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"},
        *(
            SCRIPT | {"Sec-Fetch-Dest": dest}
            for dest in ("image", "font", "style", "video", "audio", "track", "manifest")
        ),
        *(
            SCRIPT | {"Sec-Fetch-Dest": dest, "Sec-Fetch-Mode": "navigate"}
            for dest in ("document", "iframe", "frame", "embed", "object")
        ),
    ],
    ids=str,
)
def test_what_a_page_of_another_site_cannot_read_passes(
    authorizer: Authorizer, alice: IssuedCertificate, headers: dict[str, str]
) -> None:
    """Navigation, frames, images, CORS, listed origins and the site's own scripts pass."""
    assert reasons(authorizer, headers, "GET", alice) == {None}


def test_script_behind_a_front_end_with_a_secret(alice: IssuedCertificate) -> None:
    """A script of another site is denied too if other headers of the front end are checked."""
    authorizer = Authorizer(
        {"default": Policy(fingerprints=[alice.certificate.sha256_fingerprint])},
        front_end=Ingress(
            FRONT_ENDS["app-service"],
            secret_header=secret_header_from(
                {"header": "X-Secret", "secrets": ["s" * 16]}, setting="S"
            ),
        ),
    )
    headers = SCRIPT | {"X-Secret": "s" * 16}
    assert reasons(authorizer, headers, "GET", alice) == {DenialReason.CROSS_SITE}
    assert reasons(authorizer, headers | {"Sec-Fetch-Dest": "image"}, "GET", alice) == {None}


def test_denial_of_a_script_names_what_to_write(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """The detail names the headers and the two settings. A script without CORS has no Origin."""
    with pytest.raises(CertificateDenied) as caught:
        authorizer.authorize_wsgi(wsgi(SCRIPT, "GET", alice))
    assert caught.value.detail == (
        "a page of another site loads the response as a script, and can read it: Sec-Fetch-Site is"
        " 'cross-site', and Sec-Fetch-Dest is 'script'; if this is intended, and the response is"
        " public, list its path in ARRCERT_EXEMPT_PATHS; else the page must ask with CORS, such as"
        ' <script crossorigin="use-credentials"> or fetch without mode "no-cors", from an origin'
        " in ARRCERT_CROSS_SITE_ORIGINS"
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": OWN, "Host": SITE}, None),
        ({"Host": SITE}, None),
        ({"Origin": "https://app.example", "Host": SITE}, None),
        ({"Origin": OTHER, "Host": SITE}, DenialReason.CROSS_SITE),
        ({"Sec-Fetch-Site": "same-origin", "Origin": OTHER, "Host": SITE}, DenialReason.CROSS_SITE),
        ({"Sec-Fetch-Site": "cross-site", "Origin": OWN, "Host": SITE}, DenialReason.CROSS_SITE),
    ],
    ids=str,
)
def test_websocket_is_held_against_its_origin(
    authorizer: Authorizer,
    alice: IssuedCertificate,
    headers: dict[str, str],
    expected: DenialReason | None,
) -> None:
    """A WebSocket handshake passes only if its Origin is the site's own or listed."""
    scope = {"type": "websocket", "path": "/", "headers": pairs(headers, alice)}
    upgrade = {**headers, "Upgrade": "websocket"}
    for call in (
        lambda: authorizer.authorize_asgi(scope),
        lambda: authorizer.authorize_wsgi(wsgi(upgrade, "GET", alice)),
        lambda: authorizer.authorize_headers(pairs(upgrade, alice), method="GET"),
    ):
        if expected is None:
            call()
        else:
            with pytest.raises(CertificateDenied) as caught:
                call()
            assert caught.value.reason is expected


def test_unknown_method_of_header_pairs_is_unsafe(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """A request given as header pairs without a method is checked as an unsafe one."""
    with pytest.raises(CertificateDenied, match="a request with an unknown method") as caught:
        authorizer.authorize_headers(pairs(CROSS_SITE, alice))
    assert caught.value.reason is DenialReason.CROSS_SITE


def test_denial_names_what_to_write(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """The detail names the request, the origin and the setting that allows it."""
    with pytest.raises(CertificateDenied) as caught:
        authorizer.authorize_wsgi(wsgi(CROSS_SITE, "POST", alice))
    assert caught.value.detail == (
        "a request with 'POST' comes from a page of another site: Sec-Fetch-Site is 'cross-site',"
        " and the Origin is 'https://evil.example'; if this is intended, write"
        " ARRCERT_CROSS_SITE_ORIGINS = ['https://evil.example']"
    )


def test_remembered_certificate_is_checked_again(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """A cross-site request is denied although its certificate is remembered."""
    authorizer.authorize_wsgi(wsgi({}, "GET", alice))
    with pytest.raises(CertificateDenied):
        authorizer.authorize_wsgi(wsgi(CROSS_SITE, "POST", alice))


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "https://*.contoso.com",
        "app.contoso.com",
        "https://app.contoso.com/",
        "https://app.contoso.com/path",
        "https://app.contoso.com?x",
        "https://user@app.contoso.com",
        "HTTPS://app.contoso.com",
        "https://App.contoso.com",
        "null",
        "https://",
        " https://app.contoso.com",
        "",
        7,
        "https://app.contoso.com:443",
        "http://app.contoso.com:80",
        "https://app.contoso.com:",
        "https://app.contoso.com:0",
        "https://app.contoso.com:99999",
        "https://app.contoso.com:https",
        "https://app..contoso.com",
        "https://b\u00fccher.example",
        "wss://app.contoso.com",
        "https://[::1",
    ],
)
def test_origin_that_can_never_match_stops_the_start(entry: Any) -> None:
    """An entry that no browser sends as an origin stops the start."""
    with pytest.raises(ConfigurationError, match="is no origin"):
        origins_from([entry])


@pytest.mark.parametrize(
    "entry",
    [
        "https://app.contoso.com",
        "https://app.contoso.com.",
        "https://app.contoso.com:80",
        "http://app.contoso.com:443",
        "https://[::1]:8443",
        "http://[::1]",
        "chrome-extension://abcdefgh",
    ],
)
def test_origin_that_a_browser_sends(entry: str) -> None:
    """An origin may have another port than the usual one, an IPv6 address, or another scheme."""
    assert origins_from([entry]) == {entry}


def test_origins_come_from_settings() -> None:
    """The setting is a list in the framework, and text between semicolons in the environment."""
    policies = {"ARRCERT": {"default": {"fingerprints": ["0" * 64]}}}
    written = ["https://app.contoso.com", "http://localhost:3000"]
    assert origins_from(written) == frozenset(written)
    load({**policies, "ARRCERT_CROSS_SITE_ORIGINS": written}, {})
    environ = {
        "ARRCERT_FINGERPRINTS": "0" * 64,
        "ARRCERT_CROSS_SITE_ORIGINS": "https://app.contoso.com; http://localhost:3000",
    }
    load({}, environ)
    with pytest.raises(ConfigurationError, match="is not a list of origins"):
        load({**policies, "ARRCERT_CROSS_SITE_ORIGINS": "https://app.contoso.com"}, {})


def test_two_origins_are_not_the_sites_own(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """A request with two Origins is denied, even if one of them is the site's own."""
    headers = [
        *pairs({"Host": SITE}, alice),
        (b"origin", OWN.encode()),
        (b"origin", OTHER.encode()),
    ]
    with pytest.raises(CertificateDenied) as caught:
        authorizer.authorize_headers(headers, method="POST")
    assert caught.value.reason is DenialReason.CROSS_SITE


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset])
def test_origins_may_be_in_any_collection(collection: Any) -> None:
    """Origins are in a list, a tuple or a set, and a scheme may have one letter."""
    assert origins_from(collection(["x://app.example"])) == {"x://app.example"}
