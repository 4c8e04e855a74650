"""The middleware around any WSGI app."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import waitress

from arrcert import Authorizer, ClientIdentity, Policy
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
DENIAL = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", "10"),
    ("Cache-Control", "no-store"),
]


class Site:
    """A WSGI app that counts its requests.

    Args:
        headers: the headers of its response.

    Attributes:
        environs: the environs of its requests.
        closed: how many of its responses were closed.
    """

    def __init__(self, *headers: tuple[str, str]) -> None:
        self.headers = [("Content-Type", "text/plain"), *headers]
        self.environs: list[WSGIEnvironment] = []
        self.closed = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        self.environs.append(environ)
        start_response("200 OK", list(self.headers))
        return Body(self, [] if environ["REQUEST_METHOD"] == "HEAD" else [b"entered"])


class Body:
    """The body of a response, which a server must close."""

    def __init__(self, site: Site, chunks: list[bytes]) -> None:
        self._site = site
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        """Count that it is closed."""
        self._site.closed += 1


@pytest.fixture
def authorizer(alice: IssuedCertificate, authority: CertificateAuthority) -> Authorizer:
    """Policy "default" pins alice, policy "partners" allows bob by CA and name."""
    return Authorizer(
        {
            "partners": Policy(
                trust_anchors=authority.certificate_pem.decode(), common_names=["bob"]
            ),
            "default": Policy(fingerprints=[alice.certificate.sha256_fingerprint]),
        }
    )


@pytest.fixture(scope="session")
def bob(authority: CertificateAuthority) -> IssuedCertificate:
    """The client that the policy "partners" allows."""
    return authority.issue("bob")


def call(
    app: WSGIApplication, client: IssuedCertificate | None = None, path: str = "/x", **more: Any
) -> tuple[str, list[tuple[str, str]], bytes]:
    """Send a request through wsgiref's validator, and return status, headers and body."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update({"PATH_INFO": path, "QUERY_STRING": ""}, **more)
    environ["wsgi.url_scheme"] = "https"
    if client is not None:
        environ["HTTP_X_ARR_CLIENTCERT"] = client.header_value
    answered: list[Any] = []

    def start_response(status: str, headers: Any, *_: Any) -> Any:
        answered.extend((status, headers))
        return lambda _: None

    body = validator(app)(environ, cast("StartResponse", start_response))
    text = b"".join(body)
    cast("Any", body).close()
    return answered[0], answered[1], text


# Who enters. --------------------------------------------------------------------------------------


def test_who_enters_is_in_the_environ(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """An accepted request reaches the app with its identity in the environ."""
    site = Site()
    status, _, body = call(ClientCertificateMiddleware(validator(site), authorizer), alice)
    assert (status, body, site.closed) == ("200 OK", b"entered", 1)
    [environ] = site.environs
    assert environ["arrcert.identity"] == ClientIdentity(
        None, frozenset(), alice.certificate, "default"
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_denied_request_does_not_reach_the_app(
    authorizer: Authorizer,
    impostor: IssuedCertificate,
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A denied request gets the same 403 for each method and one log record."""
    site = Site()
    app = ClientCertificateMiddleware(site, authorizer)
    for client in (None, impostor):
        caplog.clear()
        status, headers, body = call(app, client, REQUEST_METHOD=method)
        assert (status, headers) == ("403 Forbidden", DENIAL)
        assert body == (b"" if method == "HEAD" else b"Forbidden\n")
        [record] = caplog.records
        assert record.getMessage().startswith(f"denied {method} /x under policy 'default': ")
    assert site.environs == []


def test_a_policy_decides_alone(
    authorizer: Authorizer, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """A named policy decides alone."""
    app = ClientCertificateMiddleware(Site(), authorizer, policy="partners")
    assert [call(app, client)[0][:3] for client in (alice, bob)] == ["403", "200"]


def test_any_policy_admits(
    authorizer: Authorizer,
    alice: IssuedCertificate,
    bob: IssuedCertificate,
    impostor: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With policy None any policy may accept, and a denial is logged once, under `default`."""
    site = Site()
    app = ClientCertificateMiddleware(site, authorizer, policy=None)
    assert [call(app, client)[0][:3] for client in (alice, bob)] == ["200", "200"]
    assert [e["arrcert.identity"].policy for e in site.environs] == ["default", "partners"]
    assert call(app, impostor)[0] == "403 Forbidden"
    [record] = caplog.records
    assert "under policy 'default': fingerprint_not_allowed" in record.getMessage()


def test_framework_inside_asks_at_the_cost_of_a_look_up(
    authorizer: Authorizer, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules run once for a certificate, even if middleware and app both ask."""
    decisions = []
    decide = Policy.decide

    def count(self: Policy, *arguments: Any) -> Any:
        decisions.append(self)
        return decide(self, *arguments)

    monkeypatch.setattr(Policy, "decide", count)

    def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        authorizer.authorize_wsgi(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    app = ClientCertificateMiddleware(site, authorizer)
    assert [call(app, alice)[0] for _ in range(3)] == ["200 OK"] * 3
    assert len(decisions) == 1


def test_cross_site_requests_are_denied(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """A cross-site unsafe request of a browser is denied."""
    app = ClientCertificateMiddleware(Site(), authorizer)
    for site, status in (("cross-site", "403"), ("same-origin", "200")):
        answer = call(app, alice, REQUEST_METHOD="POST", HTTP_SEC_FETCH_SITE=site)
        assert answer[0][:3] == status


# Exempt paths. ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "script_name", "status"),
    [
        ("/health", "", "200"),
        ("/health", "/app", "200"),
        ("/public/caf\xc3\xa9", "", "200"),
        ("/healthz", "", "403"),
        ("/health/", "", "403"),
        ("//health", "", "403"),
        ("/app/health", "", "403"),
        ("/public/../x", "", "403"),
        ("/public/\xff", "", "403"),
        ("", "/health", "403"),
    ],
)
def test_exempt_paths(authorizer: Authorizer, path: str, script_name: str, status: str) -> None:
    """An exempt path is open and has no identity, and the paths beside it are closed."""
    site = Site()
    app = ClientCertificateMiddleware(site, authorizer, exempt_paths=["/health", "/public/*"])
    assert call(app, None, path, SCRIPT_NAME=script_name)[0][:3] == status
    assert [e["arrcert.identity"] for e in site.environs] == ([None] if status == "200" else [])


def test_root_may_be_exempt(authorizer: Authorizer) -> None:
    """The root path is a slash, even if the server leaves it empty."""
    app = ClientCertificateMiddleware(Site(), authorizer, exempt_paths=["/"])
    assert call(app, None, "", SCRIPT_NAME="/app")[0] == "200 OK"
    assert call(app, None, "/")[0] == "200 OK"


def test_raw_path_counts_against_an_exemption(authorizer: Authorizer) -> None:
    """A path that the client wrote with an encoded slash is not exempt."""
    app = ClientCertificateMiddleware(Site(), authorizer, exempt_paths=["/public/*"])
    assert call(app, None, "/public/x", RAW_URI="/public%2fx")[0] == "403 Forbidden"


def test_an_identity_that_was_there_before_does_not_count(
    authorizer: Authorizer,
) -> None:
    """On an exempt path the identity is None, even if the environ already held one."""
    site = Site()
    app = ClientCertificateMiddleware(site, authorizer, exempt_paths=["/x"])
    call(app, None, **{"arrcert.identity": "somebody"})
    assert site.environs[0]["arrcert.identity"] is None


# Responses. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ([], ["private"]),
        (["no-store"], ["no-store"]),
        (["public", "max-age=9"], ["max-age=9, private"]),
    ],
)
def test_what_a_certificate_opened_is_private(
    authorizer: Authorizer, alice: IssuedCertificate, said: list[str], sent: list[str]
) -> None:
    """A response to an accepted request is private, and its other headers do not change."""
    site = Site(("X-Other", "1"), *(("cache-control", value) for value in said))
    _, headers, _ = call(ClientCertificateMiddleware(site, authorizer), alice)
    assert [value for name, value in headers if name.lower() == "cache-control"] == sent
    assert ("X-Other", "1") in headers


TARGETED = [
    "CDN-Cache-Control",
    "Cloudflare-CDN-Cache-Control",
    "Surrogate-Control",
    "edge-control",
    "X-Accel-Expires",
]


@pytest.mark.parametrize("said", [(), (("Cache-Control", "no-store"),)])
def test_no_shared_cache_is_told_otherwise(
    authorizer: Authorizer, alice: IssuedCertificate, said: tuple[tuple[str, str], ...]
) -> None:
    """An accepted request gets no header by which a cache ignores `Cache-Control` (RFC 9213)."""
    site = Site(*((name, "max-age=600") for name in TARGETED), ("Surrogate-Key", "a"), *said)
    app = ClientCertificateMiddleware(site, authorizer, exempt_paths=["/open"])
    expected = said or (("Cache-Control", "private"),)
    assert call(app, alice)[1][1:] == [("Surrogate-Key", "a"), *expected]
    _, headers, _ = call(app, path="/open")
    assert [name for name, _ in headers][1:6] == TARGETED


def test_cache_control_may_be_in_capitals(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """The name of the header is read without regard to case, and replaced once."""
    site = Site(("CACHE-CONTROL", "public"), ("Cache-Control", "max-age=9"))
    _, headers, _ = call(ClientCertificateMiddleware(site, authorizer), alice)
    found = [value for name, value in headers if name.lower() == "cache-control"]
    assert found == ["max-age=9, private"]


def test_environ_without_a_path(authorizer: Authorizer) -> None:
    """A path that is missing is the root, and one that is no latin-1 is not exempt."""
    app = ClientCertificateMiddleware(Site(), authorizer, exempt_paths=["/"])
    answers: list[str] = []

    def start_response(status: str, *_: Any) -> Any:
        answers.append(status)

    for paths in ({}, {"PATH_INFO": "/\u20ac"}):
        app({"REQUEST_METHOD": "GET", **paths}, cast("StartResponse", start_response))
    assert answers == ["200 OK", "403 Forbidden"]


def test_a_page_that_is_open_may_be_public(authorizer: Authorizer) -> None:
    """A response on an exempt path does not change."""
    site = Site(("Cache-Control", "public"))
    app = ClientCertificateMiddleware(site, authorizer, exempt_paths=["/x"])
    assert ("Cache-Control", "public") in call(app)[1]


def test_exc_info_and_write_reach_the_server(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """The app may start a second response after an error, and may use `write` (PEP 3333)."""
    written: list[Any] = []

    def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("500 Oops", [], (ValueError, ValueError("x"), cast("Any", None)))
        write(b"text")
        return []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        written.extend((status, headers, exc_info))
        return written.append

    environ = {"REQUEST_METHOD": "GET", "HTTP_X_ARR_CLIENTCERT": alice.header_value}
    app = ClientCertificateMiddleware(site, authorizer)
    assert list(app(environ, cast("StartResponse", start_response))) == []
    status, headers, exc_info, body = written
    assert (status, headers) == ("500 Oops", [("Cache-Control", "private")])
    assert exc_info[0] is ValueError
    assert body == b"text"


# Arguments. ---------------------------------------------------------------------------------------


def test_an_app_is_wrapped(authorizer: Authorizer) -> None:
    """An object that is not an app is an error at the start, and a wrapped app is an attribute."""
    with pytest.raises(TypeError, match="app is None, which is not a WSGI app"):
        ClientCertificateMiddleware(cast("Any", None), authorizer)
    site = Site()
    assert ClientCertificateMiddleware(site, authorizer).app is site


def test_the_environment_configures_it(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate
) -> None:
    """Without an Authorizer, the environment provides the policies and the exempt paths."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha1_fingerprint)
    monkeypatch.setenv("ARRCERT_EXEMPT_PATHS", "/health")
    app = ClientCertificateMiddleware(Site())
    answers = [call(app, alice), call(app), call(app, None, "/health")]
    assert [status[:3] for status, _, _ in answers] == ["200", "403", "200"]


# On a server. -------------------------------------------------------------------------------------


@contextmanager
def served(app: WSGIApplication) -> Iterator[int]:
    """Run waitress in a thread, and yield its port."""
    server = waitress.create_server(
        app, host="127.0.0.1", port=0, clear_untrusted_proxy_headers=False
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        server.close()
        server.task_dispatcher.shutdown()
        thread.join(10)


@pytest.mark.parametrize("method", [*METHODS, "BREW"])
def test_on_waitress_every_method_gets_the_same_answer(
    authorizer: Authorizer, alice: IssuedCertificate, method: str
) -> None:
    """A stranger gets the same status line and headers for each method, and alice is accepted."""
    site = Site()
    with served(ClientCertificateMiddleware(site, authorizer)) as port:
        stranger = raw(port, method)
        known = raw(port, method, f"X-ARR-ClientCert: {alice.header_value}\r\n")
    head, _, body = stranger.partition(b"\r\n\r\n")
    lines = sorted(line for line in head.split(b"\r\n") if not line.startswith(b"Date:"))
    assert lines == [
        b"Cache-Control: no-store",
        b"Connection: close",
        b"Content-Length: 10",
        b"Content-Type: text/plain; charset=utf-8",
        b"HTTP/1.1 403 Forbidden",
        b"Server: waitress",
    ]
    assert body == (b"" if method == "HEAD" else b"Forbidden\n")
    assert known.startswith(b"HTTP/1.1 200")
    assert b"Cache-Control: private" in known
    assert len(site.environs) == 1


def raw(port: int, method: str, header: str = "") -> bytes:
    """Send a request and return the bytes of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        request = f"{method} /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
        client.sendall(request.encode())
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_authorizer_that_decides_is_shown(authorizer: Authorizer) -> None:
    """The middleware shows the authorizer that decides now, even if a callable provides it."""

    def app(*_: object) -> Iterator[bytes]:
        yield b""

    assert ClientCertificateMiddleware(app, authorizer).authorizer is authorizer
    assert ClientCertificateMiddleware(app, lambda: authorizer).authorizer is authorizer
