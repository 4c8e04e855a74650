"""One table of requests and decisions for Flask, Django WSGI and Django ASGI, sync and async.

Every request goes through a raw socket to a running server, so the tests include what a server does
to header names, repeated headers and paths before the app sees them.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

import pytest

from arrcert.testing import IssuedCertificate

ADMITTED, DENIED = {200}, {403}
REFUSED = {400, 403}
"""The app denies the request, or the server rejects it as malformed."""
VIEWS = ("sync", "async")


class Row(NamedTuple):
    """One request, and the right status codes.

    Attributes:
        name: the row's name.
        headers: raw header lines. `{alice}` and other names are replaced by header values.
        verdict: the right status codes.
        path: the request's path. `{view}` is replaced by `sync` and by `async`.
        method: the request's method.
        body: the text after the headers.
    """

    name: str
    headers: list[str]
    verdict: set[int]
    path: str = "/{view}"
    method: str = "GET"
    body: str = ""


CHUNKED = "Transfer-Encoding: chunked"
ALICE = "X-ARR-ClientCert: {alice}"

TABLE = [
    # Who is accepted.
    Row("no certificate", [], DENIED),
    Row("the allowed one", [ALICE], ADMITTED),
    Row("the header's name in lower case", ["x-arr-clientcert: {alice}"], ADMITTED),
    Row("a self-signed look-alike", ["X-ARR-ClientCert: {look_alike}"], DENIED),
    Row("the same names from another CA", ["X-ARR-ClientCert: {impostor}"], DENIED),
    Row("pinned but expired", ["X-ARR-ClientCert: {expired}"], DENIED),
    Row("allowed elsewhere", ["X-ARR-ClientCert: {bob}"], DENIED),
    # A view that names a policy is checked only under that policy.
    Row("partner", ["X-ARR-ClientCert: {bob}"], ADMITTED, "/partner/{view}"),
    Row("no partner", [ALICE], DENIED, "/partner/{view}"),
    Row("partner's name, other CA", ["X-ARR-ClientCert: {impostor}"], DENIED, "/partner/{view}"),
    Row("partner without certificate", [], DENIED, "/partner/{view}"),
    # Every method.
    *(
        Row(f"{method} without certificate", [], DENIED, method=method)
        for method in ("HEAD", "OPTIONS", "POST", "DELETE")
    ),
    *(Row(f"{method} allowed", [ALICE], ADMITTED, method=method) for method in ("HEAD", "OPTIONS")),
    # Site-wide protection and exemptions.
    Row("unmarked view, no certificate", [], DENIED, "/plain/{view}"),
    Row("unmarked view, allowed", [ALICE], ADMITTED, "/plain/{view}"),
    Row("unmarked view, not default's", ["X-ARR-ClientCert: {bob}"], DENIED, "/plain/{view}"),
    Row("exempt view", [], ADMITTED, "/exempt/{view}"),
    Row("exempt path", [], ADMITTED, "/health"),
    Row("exempt path with a query", [], ADMITTED, "/health?next=/../%2f//x"),
    Row("exempt folder", [], ADMITTED, "/public/page"),
    Row("unknown path, no certificate", [], DENIED, "/unknown"),
    Row("unknown path, allowed", [ALICE], {404}, "/unknown"),
    Row("unknown path in an exempt folder", [], {404}, "/public/unknown"),
    *(
        Row(f"no exemption for {path}", [], REFUSED, path)
        for path in (
            "/healthz",
            "/health/",
            "/Health",
            "//health",
            "/./health",
            "/public/../sync",
            "/public/..%2fsync",
            "/public/%2e%2e/sync",
            "/public//page",
            "/public%2fpage",
            "/public/page%00",
            "/public\\page",
            "/sync/../health",
            "/health;x=1",
            "/health%0a",
        )
    ),
    # A repeated header, or a header with a similar name.
    Row("twice the same", [ALICE, ALICE], DENIED),
    Row("stranger first", ["X-ARR-ClientCert: {look_alike}", ALICE], DENIED),
    Row("stranger last", [ALICE, "X-ARR-ClientCert: {look_alike}"], DENIED),
    Row("empty first", ["X-ARR-ClientCert:", ALICE], DENIED),
    Row("empty last", [ALICE, "X-ARR-ClientCert:"], DENIED),
    Row("joined by a comma", ["X-ARR-ClientCert: {alice},{alice}"], DENIED),
    Row("joined by comma and space", ["X-ARR-ClientCert: {look_alike}, {alice}"], DENIED),
    Row("underscores alone", ["X_ARR_ClientCert: {alice}"], DENIED),
    Row("one underscore alone", ["X-ARR_ClientCert: {alice}"], DENIED),
    Row("dots alone", ["X.ARR.ClientCert: {alice}"], DENIED),
    Row(
        "underscores after a stranger",
        ["X-ARR-ClientCert: {look_alike}", "X_ARR_ClientCert: {alice}"],
        DENIED,
    ),
    Row(
        "underscores before a stranger",
        ["X_ARR_ClientCert: {alice}", "X-ARR-ClientCert: {look_alike}"],
        DENIED,
    ),
    Row(
        "underscores beside an empty one",
        ["X-ARR-ClientCert:", "X_ARR_ClientCert: {alice}"],
        DENIED,
    ),
    Row("space before the colon", ["X-ARR-ClientCert : {alice}"], REFUSED),
    Row("folded line", ["X-ARR-ClientCert:\r\n {alice}"], {200, 400, 403}),
    Row("folded behind another header", ["X-Other: a\r\n X-ARR-ClientCert: {alice}"], REFUSED),
    Row(
        "trailer",
        [CHUNKED, "Trailer: X-ARR-ClientCert"],
        REFUSED,
        method="POST",
        body="1\r\nx\r\n0\r\nX-ARR-ClientCert: {alice}\r\n\r\n",
    ),
    # Values that are not the base64 text of one DER certificate.
    Row("empty", ["X-ARR-ClientCert:"], DENIED),
    Row("garbage", ["X-ARR-ClientCert: garbage"], DENIED),
    Row("something after it", ["X-ARR-ClientCert: {alice}AAAA"], DENIED),
    Row("space inside", ["X-ARR-ClientCert: {alice} {alice}"], DENIED),
    Row("armour", ["X-ARR-ClientCert: -----BEGIN CERTIFICATE-----{alice}"], DENIED),
    Row("beyond ASCII", ["X-ARR-ClientCert: {alice}\xe9"], REFUSED),
    Row("too large", ["X-ARR-ClientCert: " + "A" * 20_000], DENIED),
    # The client's connection to the front end.
    Row("over https", [ALICE, "X-Forwarded-Proto: HTTPS"], ADMITTED),
    Row("over plain http", [ALICE, "X-Forwarded-Proto: http"], DENIED),
    Row("over both", [ALICE, "X-Forwarded-Proto: https, http"], DENIED),
    Row("over both, said twice", [ALICE] + ["X-Forwarded-Proto: https"] * 2, DENIED),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_verdict(
    row: Row,
    stack: int,
    alice: IssuedCertificate,
    bob: IssuedCertificate,
    expired: IssuedCertificate,
    look_alike: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """The same request gets the same decision on every stack."""
    values = {
        "alice": alice.header_value,
        "bob": bob.header_value,
        "expired": expired.header_value,
        "look_alike": look_alike.header_value,
        "impostor": impostor.header_value,
    }
    for view in VIEWS:
        lines = [f"{row.method} {row.path.format(view=view)} HTTP/1.1", "Host: parity"]
        lines += [header.format(**values) for header in row.headers]
        text = "\r\n".join([*lines, "Connection: close", "", row.body.format(**values)])
        answer = exchange(stack, text.encode("latin-1"))
        status = int(answer.split(b" ", 2)[1])
        assert status in row.verdict, answer[:300]
        assert (b"entered: " in answer) == (status == 200 and row.method != "HEAD")
        if status == 403:
            assert alice.header_value[:40].encode() not in answer
            assert b"alice" not in answer


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_known_and_unknown_paths_are_denied_alike(stack: int, method: str) -> None:
    """The 403 of a known and of an unknown path have equal status, headers and body."""
    answers = set()
    for path in ("/sync", "/async", "/partner/sync", "/plain/sync", "/plain/async", "/unknown"):
        request = f"{method} {path} HTTP/1.1\r\nHost: parity\r\nConnection: close\r\n\r\n"
        head, _, body = exchange(stack, request.encode()).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"date:")]
        answers.add((*lines, body))
    [(status_line, *_)] = answers
    assert status_line.split()[1] == b"403"


def test_what_a_certificate_opened_is_private(stack: int, alice: IssuedCertificate) -> None:
    """Responses to authorized requests are private, and open pages are unchanged."""
    for path, sent, private in (
        ("/sync", ALICE, True),
        ("/plain/async", ALICE, True),
        ("/unknown", ALICE, True),
        ("/exempt/sync", "X-Nothing:", False),
        ("/health", "X-Nothing:", False),
    ):
        lines = [f"GET {path} HTTP/1.1", "Host: parity", sent.format(alice=alice.header_value)]
        text = "\r\n".join([*lines, "Connection: close", "", ""])
        head = exchange(stack, text.encode()).partition(b"\r\n\r\n")[0].lower()
        assert (b"\r\ncache-control: private" in head) == private, head


def exchange(port: int, request: bytes) -> bytes:
    """Send raw bytes and return the whole response."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer
