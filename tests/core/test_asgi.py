"""The middleware around any ASGI app."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import uvicorn

from arrcert import Authorizer, ClientIdentity, Policy
from arrcert.asgi import (
    ASGIApplication,
    ClientCertificateMiddleware,
    Message,
    Receive,
    Scope,
    Send,
    is_guarded,
    path_of,
)
from arrcert.testing import CertificateAuthority, IssuedCertificate

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
DENIAL = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"10"),
    (b"cache-control", b"no-store"),
]


class Site:
    """An ASGI app that counts its scopes, answers `entered` and accepts every WebSocket.

    Args:
        headers: the headers of its response.

    Attributes:
        scopes: the scopes of its connections, each as it was at the start.
    """

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.headers = [(b"content-type", b"text/plain"), *headers]
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or a handshake."""
        self.scopes.append(dict(scope))
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "headers": []})
            await send({"type": "websocket.send", "text": "entered"})
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await send({"type": "http.response.body", "body": b"entered"})


@pytest.fixture(scope="session")
def bob(authority: CertificateAuthority) -> IssuedCertificate:
    """The client that the policy "partners" allows."""
    return authority.issue("bob")


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


def call(
    app: ASGIApplication,
    client: IssuedCertificate | None = None,
    path: str = "/x",
    *,
    first: str = "",
    **more: Any,
) -> list[Message]:
    """Open a connection, and return what the app sends.

    Args:
        app: the app.
        client: the client.
        path: the path.
        first: the type of the first message that the app receives.
        more: keys of the scope.
    """
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "https",
        "path": path,
        "root_path": "",
        "headers": [],
    }
    if more.get("type", "http") == "http":
        scope["method"] = "GET"
    if client is not None:
        scope["headers"] = [(b"x-arr-clientcert", client.header_value.encode())]
    scope |= more
    received = {"http": "http.request", "websocket": "websocket.connect"}.get(scope["type"], "")
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": first or received}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(cast("Any", app)(scope, receive, send))
    return sent


# Who enters. --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("has_state", [True, False])
def test_who_enters_is_in_the_scope(
    authorizer: Authorizer, alice: IssuedCertificate, kind: str, has_state: bool
) -> None:
    """An accepted connection has its identity in the scope, and in its state if there is one."""
    site = Site()
    more: dict[str, Any] = {"state": {"pool": 1}} if has_state else {}
    call(ClientCertificateMiddleware(site, authorizer), alice, type=kind, **more)
    [scope] = site.scopes
    identity = ClientIdentity(None, frozenset(), alice.certificate, "default")
    assert scope["arrcert.identity"] == identity
    assert scope.get("state") == ({"pool": 1, "client_identity": identity} if has_state else None)


@pytest.mark.parametrize("method", METHODS)
def test_a_denied_request_does_not_reach_the_app(
    authorizer: Authorizer,
    impostor: IssuedCertificate,
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A denied request gets the constant 403 for each method, and never reaches the app."""
    site = Site()
    app = ClientCertificateMiddleware(site, authorizer)
    for client in (None, impostor):
        caplog.clear()
        start, body = call(app, client, method=method)
        assert start == {"type": "http.response.start", "status": 403, "headers": DENIAL}
        text = b"" if method == "HEAD" else b"Forbidden\n"
        assert body == {"type": "http.response.body", "body": text}
        [record] = caplog.records
        assert record.getMessage().startswith(f"denied {method} /x under policy 'default': ")
    assert site.scopes == []


@pytest.mark.parametrize("extensions", [{}, None, {"websocket.http.response": {}}])
def test_a_websocket_is_denied_before_it_is_accepted(
    authorizer: Authorizer, extensions: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A denied handshake gets the 403 if the server supports it, and else `websocket.close`."""
    site = Site()
    app = ClientCertificateMiddleware(site, authorizer)
    sent = call(app, type="websocket", extensions=extensions)
    if extensions:
        assert sent == [
            {"type": "websocket.http.response.start", "status": 403, "headers": DENIAL},
            {"type": "websocket.http.response.body", "body": b"Forbidden\n"},
        ]
    else:
        assert sent == [{"type": "websocket.close", "code": 1008}]
    assert site.scopes == []
    [record] = caplog.records
    assert record.getMessage().startswith("denied WEBSOCKET /x under policy 'default': missing: ")


def test_a_client_that_has_gone_gets_no_answer(authorizer: Authorizer) -> None:
    """After `websocket.disconnect` the middleware sends nothing."""
    app = ClientCertificateMiddleware(Site(), authorizer)
    assert call(app, type="websocket", first="websocket.disconnect") == []


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_policies(
    authorizer: Authorizer,
    alice: IssuedCertificate,
    bob: IssuedCertificate,
    impostor: IssuedCertificate,
    kind: str,
) -> None:
    """A named policy decides alone, and with None any policy may accept."""
    for policy, admitted in (("default", 1), ("partners", 1), (None, 2)):
        site = Site()
        app = ClientCertificateMiddleware(site, authorizer, policy=policy)
        for client in (alice, bob, impostor):
            call(app, client, type=kind)
        assert len(site.scopes) == admitted
        assert {scope["arrcert.identity"].policy for scope in site.scopes} == (
            {policy} if policy else {"default", "partners"}
        )


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
    site = Site()

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        authorizer.authorize_asgi(scope)
        await site(scope, receive, send)

    app = ClientCertificateMiddleware(inside, authorizer)
    for _ in range(3):
        call(app, alice)
    assert (len(site.scopes), len(decisions)) == (3, 1)


def test_cross_site_connections_are_denied(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """A cross-site WebSocket or unsafe request of a browser is denied."""
    app = ClientCertificateMiddleware(site := Site(), authorizer)
    headers = [(b"x-arr-clientcert", alice.header_value.encode()), (b"host", b"a.example")]
    for origin, entered in ((b"https://b.example", 0), (b"https://a.example", 2)):
        call(app, type="websocket", headers=[*headers, (b"origin", origin)])
        call(app, method="POST", headers=[*headers, (b"origin", origin)])
        assert len(site.scopes) == entered


# Other scopes. ------------------------------------------------------------------------------------


def test_lifespan_passes(authorizer: Authorizer) -> None:
    """The app's start-up and shutdown run without a certificate."""
    site = Site()

    async def run() -> list[Message]:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": next(messages)}

        async def send(message: Message) -> None:
            sent.append(message)

        await ClientCertificateMiddleware(site, authorizer)({"type": "lifespan"}, receive, send)
        return sent

    assert [message["type"] for message in asyncio.run(run())] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert site.scopes == [{"type": "lifespan"}]


def test_an_unknown_scope_does_not_pass(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """A connection of an unknown kind does not reach the app."""
    site = Site()
    with pytest.raises(NotImplementedError, match="http and websocket, but not 'mqtt'"):
        call(ClientCertificateMiddleware(site, authorizer), alice, type="mqtt")
    assert site.scopes == []


# Exempt paths. ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("path", "root_path", "raw_path", "is_open"),
    [
        ("/health", "", b"/health", True),
        ("/app/health", "/app", b"/app/health", True),
        ("/app/health", "/app/", b"/app/health", False),
        # This server does not put the root path into the path.
        ("/health", "/app", b"/health", True),
        ("/apphealth", "/app", b"/apphealth", False),
        ("/app/health", "", b"/app/health", False),
        ("/healthz", "", b"/healthz", False),
        ("/health/", "", b"/health/", False),
        ("//health", "", b"//health", False),
        ("/public/x", "", b"/public%2fx", False),
        ("/public/../x", "", b"/public/../x", False),
        ("/", "", b"/", True),
        ("/app", "/app", b"/app", True),
        ("", "", b"", True),
    ],
)
def test_exempt_paths(
    authorizer: Authorizer, path: str, root_path: str, raw_path: bytes, is_open: bool, kind: str
) -> None:
    """An exempt path is open and has no identity, and the paths beside it are closed."""
    paths = ["/", "/health", "/public/*"]
    app = ClientCertificateMiddleware(site := Site(), authorizer, exempt_paths=paths)
    more = {"root_path": root_path, "raw_path": raw_path, "state": {"client_identity": "stale"}}
    call(app, None, path, type=kind, **more)
    assert [scope["arrcert.identity"] for scope in site.scopes] == [None] * is_open
    assert [scope["state"]["client_identity"] for scope in site.scopes] == [None] * is_open


# Responses. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ([], [b"private"]),
        ([b"no-store"], [b"no-store"]),
        ([b"public", b"max-age=9"], [b"max-age=9, private"]),
    ],
)
def test_what_a_certificate_opened_is_private(
    authorizer: Authorizer, alice: IssuedCertificate, said: list[bytes], sent: list[bytes]
) -> None:
    """A response to an accepted request is private, and its other headers do not change."""
    site = Site(*((b"Cache-Control", value) for value in said))
    start, body = call(ClientCertificateMiddleware(site, authorizer), alice)
    names = [name.lower() for name, _ in start["headers"]]
    assert names[0] == b"content-type"
    assert [value for name, value in start["headers"] if name.lower() == b"cache-control"] == sent
    assert body == {"type": "http.response.body", "body": b"entered"}
    assert b"Cache-Control" in [name for name, _ in site.headers] or not said


def test_no_shared_cache_is_told_otherwise(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """An accepted request gets no header by which a cache ignores `Cache-Control` (RFC 9213)."""
    targeted = (b"CDN-Cache-Control", b"Surrogate-Control", b"edge-control", b"x-accel-expires")
    for said in ((), ((b"cache-control", b"no-store"),)):
        site = Site(*((name, b"max-age=600") for name in targeted), (b"x-other", b"1"), *said)
        start, _ = call(ClientCertificateMiddleware(site, authorizer), alice)
        expected = said or ((b"cache-control", b"private"),)
        assert start["headers"][1:] == [(b"x-other", b"1"), *expected]


@pytest.mark.parametrize(
    ("said", "sent"), [(b"public", b"private"), (b"no-store", b"no-store"), (None, b"private")]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_every_answer_is_private(
    authorizer: Authorizer, alice: IssuedCertificate, kind: str, said: bytes | None, sent: bytes
) -> None:
    """Headers may be given as an iterator, and a WebSocket may be answered with a response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        prefix = "websocket." if scope["type"] == "websocket" else ""
        more = [] if said is None else [(b"cache-control", said)]
        headers = iter([(b"content-type", b"text/plain"), *more])
        await send({"type": f"{prefix}http.response.start", "status": 404, "headers": headers})

    guarded = ClientCertificateMiddleware(app, authorizer)
    [start] = call(guarded, alice, type=kind, extensions={"websocket.http.response": {}})
    assert list(start["headers"]) == [(b"content-type", b"text/plain"), (b"cache-control", sent)]


def test_a_page_that_is_open_may_be_public(authorizer: Authorizer) -> None:
    """A response on an exempt path does not change."""
    site = Site((b"cache-control", b"public"))
    start, _ = call(ClientCertificateMiddleware(site, authorizer, exempt_paths=["/x"]))
    assert (b"cache-control", b"public") in start["headers"]


# Arguments. ---------------------------------------------------------------------------------------


def test_an_app_is_wrapped(authorizer: Authorizer) -> None:
    """An object that is not an app is an error at the start, and a wrapped app is an attribute."""
    with pytest.raises(TypeError, match="app is None, which is not an ASGI app"):
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
    assert [start["status"] for start, _ in answers] == [200, 403, 200]


# Whether an app is guarded. -----------------------------------------------------------------------


def channels(name: str, **attributes: Any) -> Any:
    """Return an object of a class of Channels, which the tests do not install."""
    return type(name, (), {"__module__": "channels.something", **attributes})()


class Route:
    """A route of a URLRouter."""

    def __init__(self, callback: object) -> None:
        self.callback = callback


def test_what_is_guarded(authorizer: Authorizer) -> None:
    """An app counts as guarded if no connection can avoid the middleware."""
    site = Site()
    guarded = ClientCertificateMiddleware(site, authorizer)
    assert is_guarded(guarded)
    for other in (site, None, 7, "x", lambda: None):
        assert not is_guarded(other)
    # An unknown layer may answer by itself.
    assert not is_guarded(type("Wrapper", (), {"inner": guarded, "app": guarded})())


def test_what_is_guarded_in_channels(authorizer: Authorizer) -> None:
    """The search looks through routers and middlewares of Channels, and their subclasses."""
    site = Site()
    guarded = ClientCertificateMiddleware(site, authorizer)
    protocols = channels("ProtocolTypeRouter", application_mapping={"websocket": guarded})
    assert is_guarded(protocols)
    assert is_guarded(protocols, "http")
    protocols.application_mapping["http"] = site
    assert is_guarded(protocols)
    assert not is_guarded(protocols, "http")
    for routes, expected in (([guarded], True), ([guarded, site], False), ([], True)):
        router = channels("URLRouter", routes=[Route(app) for app in routes])
        validator = channels(
            "OriginValidator", application=channels("AuthMiddleware", inner=router)
        )
        protocols.application_mapping["websocket"] = validator
        assert is_guarded(protocols) is expected
    base = type("BaseMiddleware", (), {"__module__": "channels.middleware", "inner": guarded})
    assert is_guarded(type("OfTheSite", (base,), {"__module__": "site"})())
    assert not is_guarded(channels("Consumer"))
    endless = channels("BaseMiddleware")
    endless.inner = endless
    assert not is_guarded(endless)


# On a server. -------------------------------------------------------------------------------------


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Run uvicorn in a thread, with lifespan and WebSockets, and yield its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http="h11", ws="wsproto", lifespan="on", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def raw(port: int, method: str, *headers: str, until: bytes | None = None) -> bytes:
    """Send a request and return the bytes of the answer, up to a text or to the end."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        lines = [f"{method} /x HTTP/1.1", "Host: x", *headers, "", ""]
        client.sendall("\r\n".join(lines).encode())
        while until is None or until not in answer:
            received = client.recv(65536)
            if not received:
                break
            answer += received
    return answer


HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def test_on_uvicorn(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """On a server, a stranger gets the 403 for every method, and alice is accepted."""
    site = Site()
    known = f"X-ARR-ClientCert: {alice.header_value}"
    with served(ClientCertificateMiddleware(site, authorizer)) as port:
        for method in METHODS:
            head, _, body = raw(port, method, "Connection: close").partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 403 ")
            assert b"\r\ncontent-length: 10" in head
            assert body == (b"" if method == "HEAD" else b"Forbidden\n")
            assert [scope["type"] for scope in site.scopes] == ["lifespan"]
        answer = raw(port, "POST", "Connection: close", known)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\ncache-control: private" in answer
    assert site.scopes[-1]["state"]["client_identity"].certificate == alice.certificate


def test_websockets_on_uvicorn(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """On a server, a stranger's handshake gets the same 403, and alice's is accepted."""
    site = Site()
    known = f"X-ARR-ClientCert: {alice.header_value}"
    with served(ClientCertificateMiddleware(site, authorizer)) as port:
        stranger = raw(port, "GET", *HANDSHAKE, until=b"Forbidden")
        evil = "Origin: https://evil.example"
        foreign = raw(port, "GET", *HANDSHAKE, known, evil, until=b"Forbidden")
        assert [scope["type"] for scope in site.scopes] == ["lifespan"]
        entered = raw(port, "GET", *HANDSHAKE, known, "Origin: https://x", until=b"entered")
    for answer in (stranger, foreign):
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Forbidden\n" in answer
    assert entered.startswith(b"HTTP/1.1 101 ")
    assert b"entered" in entered


def test_authorizer_that_decides_is_shown(authorizer: Authorizer) -> None:
    """The middleware shows the authorizer that decides now, even if a callable provides it."""

    async def app(*_: object) -> None: ...

    assert ClientCertificateMiddleware(app, authorizer).authorizer is authorizer
    assert ClientCertificateMiddleware(app, lambda: authorizer).authorizer is authorizer


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({}, "/"),
        ({"path": "/x", "root_path": "/"}, "/x"),
        ({"path": "/app/x", "root_path": "/app"}, "/x"),
        ({"path": "/app/x", "root_path": "/app/"}, ""),
        ({"path": "/app", "root_path": "/app/"}, ""),
        ({"path": "/app", "root_path": "/app"}, "/"),
        ({"path": "/apps/x", "root_path": "/app"}, ""),
        ({"path": "/other/x", "root_path": "/app"}, "/other/x"),
    ],
)
def test_path_without_the_root(scope: dict[str, str], path: str) -> None:
    """The root path is removed as whole segments; where frameworks differ, no path is exempt."""
    assert path_of(scope) == path
