"""The gate of a FastAPI app."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import WebSocketDenialResponse

from arrcert.testing import IssuedCertificate
from arrcert_fastapi import Arrcert, RequireClientCertificate
from arrcert_fastapi import gate as module

PARTNERS = Depends(RequireClientCertificate("partners"))


def test_everything_needs_default(
    app: FastAPI, visit: Any, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """Endpoints, mounts, the documentation and unknown paths need `default`."""
    app.get("/endpoint")(lambda: "in")
    app.mount("/mounted", PlainTextResponse("in"))
    app.router.routes.append(Route("/route", PlainTextResponse("in")))
    for path in ("/endpoint", "/mounted/x", "/route", "/docs", "/openapi.json"):
        assert visit(path, alice).status_code == 200
    assert visit("/unknown", alice).status_code == 404
    for path in ("/endpoint", "/mounted/x", "/route", "/docs", "/openapi.json", "/unknown"):
        for who in (None, bob):
            answer = visit(path, who)
            assert (answer.status_code, answer.content) == (403, b'{"detail":"Forbidden"}')
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
def test_every_method_is_checked(app: FastAPI, visit: Any, method: str) -> None:
    """No method passes the gate without a certificate."""
    app.get("/endpoint")(lambda: "in")
    assert visit("/endpoint", method=method).status_code == 403


def test_gate_and_dependency_answer_alike(
    app: FastAPI, visit: Any, alice: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """A denial by the gate and one by a dependency have the same body."""
    app.get("/partners", dependencies=[PARTNERS])(lambda: "in")
    by_gate, by_dependency = visit("/partners", stranger), visit("/partners", alice)
    assert by_gate.status_code == by_dependency.status_code == 403
    assert by_gate.content == by_dependency.content
    assert by_gate.headers["content-type"] == by_dependency.headers["content-type"]


def test_body_of_a_stranger_is_not_parsed(
    app: FastAPI, visit: Any, alice: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """A malformed body is a 403 for a stranger, and a 422 for an accepted client."""

    @app.post("/orders")
    def orders(amount: dict[str, int]) -> None: ...

    sent = {"content": b"{no json", "headers": {"Content-Type": "application/json"}}
    for who in (None, stranger):
        assert visit("/orders", who, "POST", **sent).status_code == 403
    assert visit("/orders", alice, "POST", **sent).status_code == 422


def test_exempt_path_is_open(
    app: FastAPI, visit: Any, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """An exempt path needs no certificate and is not private, but its dependencies apply."""
    app.get("/health")(lambda: "ok")
    answer = visit("/health")
    assert (answer.json(), "cache-control" in answer.headers) == ("ok", False)


@pytest.mark.parametrize("root_path", ["", "/files", "/files/", "/fi"])
def test_root_path_of_a_client_exempts_nothing(app: FastAPI, root_path: str) -> None:
    """Daphne takes the root path from a header; no value of it opens a path that is not exempt."""
    app.get("/files/{name:path}")(lambda name: f"secret {name}")
    app.get("/health")(lambda: "ok")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/files/health",
        "root_path": root_path,
        "headers": [],
        "query_string": b"",
    }
    asyncio.run(app(scope, receive, send))
    assert b"secret" not in b"".join(message.get("body", b"") for message in sent)


def test_dependency_of_an_exempt_path_holds(
    app: FastAPI, visit: Any, bob: IssuedCertificate
) -> None:
    """An exempt path with a dependency still needs that dependency's policy."""
    app.get("/health", dependencies=[PARTNERS])(lambda: "ok")
    assert visit("/health").status_code == 403
    assert visit("/health", bob).headers["cache-control"] == "private"


def test_denial_is_logged_once_with_the_policy_of_the_route(
    app: FastAPI, visit: Any, stranger: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A denial is one record, under the policy that the route names."""
    app.get("/partners", dependencies=[PARTNERS])(lambda: "in")
    visit("/health")
    caplog.clear()
    visit("/partners", stranger)
    [record] = [record for record in caplog.records if hasattr(record, "arrcert_reason")]
    assert record.arrcert_policy == "partners"
    assert record.arrcert_reason == "untrusted"


def test_mounted_app_has_its_own_dependencies(
    app: FastAPI, visit: Any, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """In a mounted app the dependency applies, and its other endpoints need `default`."""
    inner = FastAPI()
    inner.get("/partners", dependencies=[PARTNERS])(lambda: "in")
    inner.get("/plain")(lambda: "in")
    app.mount("/inner", inner)
    app.router.routes.append(Mount("/group", routes=[Route("/x", PlainTextResponse("in"))]))
    assert visit("/inner/partners", bob).json() == "in"
    assert visit("/inner/partners", alice).status_code == 403
    assert visit("/inner/plain", bob).status_code == 403
    assert visit("/inner/plain", alice).json() == "in"
    assert visit("/group/x", bob).status_code == 403


def test_websocket_needs_default(
    app: FastAPI, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """A WebSocket without a dependency needs `default`, and a denied handshake is not accepted."""

    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(socket.scope["arrcert.identity"].name)
        await socket.close()

    client = TestClient(app)
    with client.websocket_connect("/chat", headers=alice.headers) as socket:
        assert socket.receive_text() == "alice"
    for headers in ({}, bob.headers):
        with (
            pytest.raises(WebSocketDenialResponse) as caught,
            client.websocket_connect("/chat", headers=headers),
        ):
            pass
        assert caught.value.status_code == 403


def test_identity_without_a_dependency(app: FastAPI, visit: Any, alice: IssuedCertificate) -> None:
    """The scope holds the identity without any dependency, and None on exempt paths."""

    def who(request: Request) -> PlainTextResponse:
        identity = request.scope["arrcert.identity"]
        return PlainTextResponse(str(identity and identity.name))

    app.router.routes += [Route("/who", who), Route("/health", who)]
    assert visit("/who", alice).text == "alice"
    assert visit("/health", alice).text == "None"


def test_start_tells_what_only_the_gate_guards(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """The start warns of endpoints without a dependency, except exempt ones."""
    app.get("/plain")(lambda: "in")
    app.get("/health")(lambda: "in")
    app.get("/partners", dependencies=[PARTNERS])(lambda: "in")

    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None: ...

    with TestClient(app):
        pass
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "under the policy 'default': GET /plain, WebSocket /chat; to confirm" in record.message


def test_start_is_silent_if_every_endpoint_says_its_policy(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """The start warns of nothing if every endpoint has a dependency."""
    app.get("/a", dependencies=[Depends(RequireClientCertificate())])(lambda: "in")
    with TestClient(app):
        pass
    assert not caplog.records


def test_start_tells_of_unknown_policies(
    app: FastAPI, visit: Any, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy that does not exist is an ERROR at the start, and denies."""
    app.get("/a", dependencies=[Depends(RequireClientCertificate("parters"))])(lambda: "in")
    assert visit("/a", alice).status_code == 403
    first = caplog.records[0]
    assert first.levelname == "ERROR"
    assert "GET /a requires the policy 'parters', which does not exist" in first.message
    assert "write one of 'default', 'partners'" in first.message


def test_start_tells_of_missing_parentheses(
    app: FastAPI, visit: Any, alice: IssuedCertificate, bob: IssuedCertificate, caplog: Any
) -> None:
    """`Depends` with the class itself is an ERROR, and every request is denied."""
    app.get("/a", dependencies=[Depends(RequireClientCertificate)])(lambda: "in")
    for who in (None, alice, bob):
        assert visit("/a", who).status_code == 403
    assert "GET /a has Depends(RequireClientCertificate), which names no policy" in caplog.text


def test_fault_while_finding_the_route_opens_nothing(
    app: FastAPI,
    visit: Any,
    bob: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the route of a request cannot be found, the request needs `default`."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("a fault")

    app.get("/partners", dependencies=[PARTNERS])(lambda: "in")
    assert visit("/partners", bob).status_code == 200
    monkeypatch.setattr(module, "requirements_at", fail)
    assert visit("/partners", bob).status_code == 403
    assert "a fault" in caplog.text


def test_client_cannot_bring_an_authorizer(
    app: FastAPI, visit: Any, bob: IssuedCertificate
) -> None:
    """Only the gate can set the identity and the authorizer in the scope."""
    app.get("/partners", dependencies=[PARTNERS])(lambda: "in")
    headers = {"arrcert.authorizer": "x", "arrcert.identity": "x"}
    assert visit("/partners", None, headers=headers).status_code == 403


def test_app_of_an_older_fastapi(
    app: FastAPI, visit: Any, bob: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `iter_route_contexts` the app's own list of routes is read."""
    from fastapi import routing

    monkeypatch.delattr(routing, "iter_route_contexts", raising=False)
    app.get("/partners", dependencies=[PARTNERS])(lambda: "in")
    assert visit("/partners", bob).json() == "in"
    assert visit("/partners").status_code == 403


@pytest.mark.parametrize("is_included", [False, True])
def test_long_polling_of_socket_io_is_an_error_in_the_log(
    app: FastAPI,
    visit: Any,
    alice: IssuedCertificate,
    is_included: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A mounted server of Socket.IO that offers long polling is one ERROR in the log."""
    socketio = pytest.importorskip(
        "socketio", reason="python-socketio is missing: pip install --group test"
    )
    router = APIRouter() if is_included else app
    for path, transports in (("/polling", None), ("/websocket", ["websocket"])):
        server = socketio.AsyncServer(async_mode="asgi", transports=transports)
        router.mount(path, socketio.ASGIApp(server, socketio_path=""))
    if is_included:
        app.include_router(router)
    for _ in range(2):
        visit("/", alice)
    assert caplog.text.count('write transports=["websocket"]') == 1


def test_middleware_that_is_added_later_stands_around_the_gate(settings: dict[str, Any]) -> None:
    """A `CORSMiddleware` that is added after `Arrcert(app)` answers a preflight."""
    from fastapi.middleware.cors import CORSMiddleware

    app = FastAPI()
    Arrcert(app, settings)
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_methods=["PUT"])
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    client = TestClient(app)
    assert client.options("/orders", headers=preflight).status_code == 200
    assert client.put("/orders", headers=preflight).status_code == 403
