"""Which request targets are exempt from the site-wide check, on every stack.

Each target is written to a raw socket unchanged, so the tests include what a server does to it
before the app sees a path. The sites exempt `/health` and `/public/*`. The paths `/health`,
`/healthz`, `/public/page`, `/plain/sync` and `/sync` exist. An unclear target is not exempt.
"""

from __future__ import annotations

import socket

import pytest

from arrcert.testing import IssuedCertificate

EXEMPT = [
    "/health",
    "/health?",
    "/health?next=/../%2f//x;y#z",
    "/%68ealth",
    "/public/page",
    "/public/pag%65?q",
]
"""A 200 without a certificate."""
EXEMPT_AND_UNKNOWN = [
    "/public/",
    "/public/unknown",
    "/public/a/b.c",
    "/public/...",
    "/public/.hidden",
    "/public/%C3%A9",
    "/public/page%20",
]
"""Unknown paths in the exempt folder: a 404 without a certificate."""
NEVER = {
    "another path": ["/", "/healthz", "/healthz-admin", "/public", "/publicity", "/a/health"],
    "case": ["/Health", "/HEALTH", "/Public/page", "/PUBLIC/page"],
    "trailing slash": ["/health/", "/health//", "/public/page//"],
    "dot segment": [
        *("/./health", "/sync/../health", "/../health", "/health/.", "/health/../sync"),
        *("/public/../sync", "/public/..", "/public/.", "/public/./page", "/public/x/../page"),
    ],
    "encoded dot segment": [
        *("/%2e/health", "/sync/%2e%2e/health", "/public/%2e%2e/sync", "/public/%2E%2E/sync"),
        *("/public/.%2e/sync", "/public/%2e./sync", "/public/%2e/page", "/public/%2e%2e"),
    ],
    "doubled slash": [
        *("//health", "///health", "/public//page", "/public///page", "//public/page"),
        *("/public//sync", "//sync/../health"),
    ],
    "encoded slash": [
        *("/%2fhealth", "/health%2f", "/health%2Fx", "/public%2fpage", "/public%2Fpage"),
        *("/public/%2fpage", "/public/..%2fsync", "/public/%2e%2e%2fsync", "/sync%2f..%2fhealth"),
    ],
    "double encoding": [
        *("/%2568ealth", "/public/%252e%252e/sync", "/public/..%252fsync", "/public%252fpage"),
        *("/public/%25252e%25252e/sync", "/public/page%2500", "/public/%255c..%255csync"),
    ],
    "bad encoding": ["/public/page%", "/public/page%zz", "/public/%u002e%u002e/sync", "/health%"],
    "parameters": [
        *("/health;", "/health;x=1", "/health%3bx", "/public/page;x=1", "/public/page%3Bx"),
        *("/public/..;/sync", "/public/;/../sync", "/public;x/page", "/;/health"),
    ],
    "backslash": [
        *("/public\\page", "/public\\..\\sync", "/public/..\\sync", "\\health", "/\\health"),
        *("/public/..%5csync", "/public/%5c..%5Csync", "/public%5cpage"),
    ],
    "NUL and other controls": [
        *("/health%00", "/health%00/../sync", "/public/page%00", "/public/%00/../sync"),
        *("/health\0", "/public/page\0.css", "/health\t", "/public/page\t", "/public/pa\tge"),
        *("/health%0a", "/health%0d%0aX", "/public/page%7f", "/public/%09page", "/health%20"),
    ],
    "overlong UTF-8": [
        *("/public/%c0%ae%c0%ae/sync", "/public/..%c0%afsync", "/public/%e0%80%ae/sync"),
        *("/public/%f0%80%80%ae/page", "/public%c0%afpage", "/public/page%c0%80"),
    ],
    "invalid UTF-8": ["/public/%ff", "/public/%c3", "/public/%ed%a0%80", "/public/%80page"],
    "raw bytes": ["/public/\xe9", "/public/\xc3\xa9", "/public/\xc0\xae\xc0\xae/sync"],
    "absolute form": [
        *("http://site/health", "HTTP://site/health", "http://site/public/page", "http:/health"),
        *("http:health", "http://site/public/../sync", "http://a@b/health", "ftp://x/health"),
    ],
    "authority as a path": ["//site/health", "//site/public/page", "//user@site/public/page"],
    "no slash": ["health", "public/page", "*", "?/health", "site:443", "%2fhealth"],
    "query in the path": ["/health%3f", "/public/page%3fx", "/public/%3f/../sync"],
    "query of another path": ["/plain/sync?/health", "/plain/sync?/../health", "/sync?/public/"],
    "fragment": [
        *("/health#", "/health#x", "/health#/../sync", "/public/page#x", "/public/#/../../sync"),
        *("/health%23", "/sync#/../health", "/plain/sync#/health"),
    ],
}
"""The app denies the request, or the server rejects it as malformed."""
REFUSED = {400, 403}


@pytest.mark.parametrize("target", EXEMPT)
def test_exempt(target: str, stack: int) -> None:
    """An exempt path needs no certificate, with any query."""
    assert status(stack, target) == 200


@pytest.mark.parametrize("target", EXEMPT_AND_UNKNOWN)
def test_exempt_and_unknown(target: str, stack: int) -> None:
    """An unknown path in an exempt folder needs no certificate."""
    assert status(stack, target) == 404


@pytest.mark.parametrize("kind", NEVER)
def test_never_exempt(kind: str, stack: int) -> None:
    """No other spelling of an exempt path is exempt."""
    for target in NEVER[kind]:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert status(stack, target, method=method) in REFUSED, (method, target)


@pytest.mark.parametrize(
    "header",
    [
        "PATH_INFO: /health",
        "Path-Info: /health",
        "X-Original-URL: /health",
        "X-Rewrite-URL: /health",
        "X-Forwarded-Prefix: /plain",
        "X-Forwarded-Uri: /health",
        "X-HTTP-Method-Override: OPTIONS",
        "User-Agent: HealthCheck/1.0",
        "User-Agent: AlwaysOn",
        "Referer: http://site/health",
    ],
)
def test_no_header_exempts(header: str, stack: int) -> None:
    """No header can make a request exempt (GHSA-5hvv-m4w4-gf6v)."""
    assert status(stack, "/plain/sync", header) == 403


def test_script_name_that_a_client_sends(stack: int, alice: IssuedCertificate) -> None:
    """The checked path is the routed one, even if a server uses a client's SCRIPT_NAME header.

    (gunicorn accepts the header SCRIPT_NAME from its own machine.)
    """
    certificate = f"X-ARR-ClientCert: {alice.header_value}"
    for script_name, target in (
        ("/plain", "/plain/sync"),
        ("/health", "/health/plain/sync"),
        ("/plain/sync", "/plain/sync"),
        ("/plain/..", "/plain/../health"),
        ("/x", "/xhealth"),
        ("/x/", "/x/health"),
        ("/public", "/public/../sync"),
    ):
        header = f"SCRIPT_NAME: {script_name}"
        assert status(stack, target, header) in REFUSED, (script_name, target)
        assert status(stack, target, header, certificate) < 500, (script_name, target)


@pytest.mark.parametrize(
    ("target", "right"),
    [
        ("{at}/health", {200}),
        ("{at}/health?x", {200}),
        ("{at}/public/page", {200}),
        ("{at}/public/unknown", {404}),
        ("{at}/plain/sync", {403}),
        ("{at}/", {403}),
        ("{at}/app/health", REFUSED),
        ("{at}//health", REFUSED),
        ("{at}/./health", REFUSED),
        ("{at}/public/../sync", REFUSED),
        ("{at}%2fhealth", REFUSED),
        ("{at}/health;x", REFUSED),
        # Outside the site's root, gunicorn responds itself and waitress calls the site.
        ("/{at}/health", REFUSED | {404, 500}),
        ("/.{at}/health", REFUSED | {404, 500}),
        ("/x/..{at}/health", REFUSED | {404, 500}),
        ("http://site{at}/health", REFUSED | {404, 500}),
    ],
)
def test_script_name_of_the_site(
    target: str, right: set[int], mounted_stack: tuple[int, str]
) -> None:
    """Exempt paths are compared without the site's mount point."""
    port, at = mounted_stack
    assert status(port, target.format(at=at)) in right


def status(port: int, target: str, *headers: str, method: str = "GET") -> int:
    """Send one request unchanged and return the response's status code."""
    lines = [f"{method} {target} HTTP/1.1", "Host: site", *headers, "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1])
