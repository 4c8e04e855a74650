"""The dependency `RequireClientCertificate`."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from arrcert import CertificateDenied, ClientIdentity, DenialReason
from arrcert.testing import IssuedCertificate
from arrcert_fastapi import Arrcert, RequireClientCertificate

Partner = Annotated[ClientIdentity, Depends(RequireClientCertificate("partners"))]


def name_of(partner: Partner) -> str:
    """A dependency of a site that needs the identity."""
    return str(partner.name)


PartnerName = Annotated[str, Depends(name_of)]


def test_endpoint_gets_the_identity(app: FastAPI, visit: Any, bob: IssuedCertificate) -> None:
    """The dependency gives the identity as a parameter, and sets it in the request's state."""

    @app.get("/me")
    def me(partner: Partner) -> dict[str, Any]:
        return {"name": partner.name, "roles": sorted(partner.roles), "policy": partner.policy}

    answer = visit("/me", bob)
    assert answer.json() == {"name": "bob", "roles": ["orders"], "policy": "partners"}
    assert answer.headers["cache-control"] == "private"


def test_other_clients_are_denied(
    app: FastAPI, visit: Any, alice: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """Only clients of the named policy are accepted, and others get a 403 in JSON."""

    @app.get("/me")
    def me(partner: Partner) -> None: ...

    for who in (None, stranger, alice):
        answer = visit("/me", who)
        assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


def test_role_is_required(app: FastAPI, visit: Any, bob: IssuedCertificate) -> None:
    """With a role, only identities with that role are accepted."""
    for role in ("orders", "invoices"):
        app.get(
            f"/{role}", dependencies=[Depends(RequireClientCertificate("partners", role=role))]
        )(lambda: "in")
    assert visit("/orders", bob).json() == "in"
    assert visit("/invoices", bob).status_code == 403


def test_routers_and_nested_dependencies(
    app: FastAPI, visit: Any, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """The dependency works on a router, on an included router, and below another dependency."""
    inner = APIRouter()

    @inner.get("/nested")
    def nested(name: PartnerName) -> str:
        return name

    @inner.get("/plain")
    def plain() -> str:
        return "in"

    outer = APIRouter(dependencies=[Depends(RequireClientCertificate("partners"))])
    outer.include_router(inner, prefix="/inner")
    app.include_router(outer, prefix="/outer")
    app.include_router(inner, prefix="/open")
    assert visit("/outer/inner/nested", bob).json() == "bob"
    assert visit("/outer/inner/plain", bob).json() == "in"
    assert visit("/open/nested", bob).json() == "bob"
    # Without the router's dependency, `default` decides about the endpoint.
    assert visit("/open/plain", bob).status_code == 403
    assert visit("/open/plain", alice).json() == "in"
    assert visit("/outer/inner/plain", alice).status_code == 403


def test_websocket_is_closed_before_it_is_accepted(
    app: FastAPI, alice: IssuedCertificate, bob: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """A WebSocket needs the named policy, and a denied handshake does not reach the endpoint."""
    reached: list[str | None] = []

    @app.websocket("/chat")
    async def chat(socket: WebSocket, partner: Partner) -> None:
        reached.append(partner.name)
        await socket.accept()
        await socket.send_text(str(partner.name))
        await socket.close()

    client = TestClient(app)
    with connect(client, bob) as socket:
        assert socket.receive_text() == "bob"
    # The gate denies a stranger. It accepts Alice, but the dependency denies her.
    with pytest.raises(WebSocketDenialResponse) as by_gate, connect(client, stranger):
        pass
    assert by_gate.value.status_code == 403
    with pytest.raises(WebSocketDisconnect) as by_dependency, connect(client, alice):
        pass
    assert by_dependency.value.code == 1008
    assert reached == ["bob"]


def connect(client: TestClient, who: IssuedCertificate) -> Any:
    """Connect to the WebSocket as the holder of a certificate."""
    return client.websocket_connect("/chat", headers=who.headers)


def test_denial_has_its_cause(app: FastAPI, visit: Any, alice: IssuedCertificate) -> None:
    """The site's handler of `HTTPException` finds the `CertificateDenied` as the cause."""
    causes: list[Any] = []

    @app.exception_handler(HTTPException)
    def handle(_: Any, error: HTTPException) -> Any:
        causes.append(error.__cause__)
        return PlainTextResponse("go away", 403)

    @app.get("/me")
    def me(partner: Partner) -> None: ...

    # Alice passes the gate, because `default` accepts her.
    assert visit("/me", alice).text == "go away"
    [cause] = causes
    assert isinstance(cause, CertificateDenied)
    assert cause.reason is DenialReason.COMMON_NAME_NOT_ALLOWED


def test_app_without_a_gate_denies(
    bob: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Without `Arrcert(app)` every request is denied, and the log says what to write."""
    app = FastAPI()

    @app.get("/me")
    def me(partner: Partner) -> None: ...

    assert TestClient(app).get("/me", headers=bob.headers).status_code == 403
    assert "misconfigured" in caplog.text
    assert "write Arrcert(app)" in caplog.text


def test_equal_arguments_make_equal_dependencies() -> None:
    """Instances are equal, with equal hashes, exactly if their policy and role are equal."""
    one = RequireClientCertificate("partners", role="orders")
    assert one == RequireClientCertificate("partners", role="orders")
    assert hash(one) == hash(RequireClientCertificate("partners", role="orders"))
    assert RequireClientCertificate() == RequireClientCertificate("default")
    for other in (
        RequireClientCertificate("partners"),
        RequireClientCertificate("others", role="orders"),
        "partners",
    ):
        assert one != other
    assert repr(one) == "RequireClientCertificate('partners', role='orders')"
    assert repr(RequireClientCertificate()) == "RequireClientCertificate('default')"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("",), {}), ((None,), {}), (("a",), {"role": ""}), (("a",), {"role": ["orders"]})],
)
def test_arguments_are_checked_at_import(arguments: Any, named: Any) -> None:
    """A policy or a role that is no non-empty text is a `TypeError`."""
    with pytest.raises(TypeError):
        RequireClientCertificate(*arguments, **named)


def test_overrides_work_in_tests(app: FastAPI, alice: IssuedCertificate) -> None:
    """`app.dependency_overrides` replaces the dependency, without a certificate in the test."""

    @app.get("/me")
    def me(partner: Partner) -> str:
        return str(partner.name)

    @app.get("/open")
    def opened() -> str:
        return "in"

    carol = ClientIdentity("carol", frozenset(), alice.certificate, "partners")
    client = TestClient(app)
    app.dependency_overrides[RequireClientCertificate("partners")] = lambda: carol
    assert client.get("/me").json() == "carol"
    assert client.get("/open").status_code == 403
    app.dependency_overrides[RequireClientCertificate()] = lambda: carol
    assert client.get("/open").json() == "in"
    app.dependency_overrides.clear()
    assert client.get("/me").status_code == 403


def test_older_fastapi_can_read_the_annotations() -> None:
    """The annotation of the connection is a class, because FastAPI 0.115 cannot resolve text."""
    parameters = inspect.signature(RequireClientCertificate.__call__).parameters
    assert parameters["connection"].annotation is HTTPConnection


def test_a_request_that_was_changed_behind_the_gate_is_checked_as_it_is(
    settings: dict[str, Any], alice: IssuedCertificate
) -> None:
    """A request that middleware turns into a cross-site DELETE is checked as a DELETE."""
    app = FastAPI()

    class MethodOverride:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope.get("query_string") == b"method=DELETE":
                scope["method"] = "DELETE"
            await self.app(scope, receive, send)

    # Middleware that is added before the gate runs behind it.
    app.add_middleware(MethodOverride)
    Arrcert(app, settings)

    @app.delete("/orders", dependencies=[Depends(RequireClientCertificate())])
    def delete() -> str:
        return "deleted"

    client = TestClient(app, headers=alice.headers)
    other = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert client.get("/orders?method=DELETE").status_code == 200
    assert client.get("/orders?method=DELETE", headers=other).status_code == 403


def test_a_request_within_a_request_is_checked_by_itself(
    app: FastAPI, visit: Any, alice: IssuedCertificate
) -> None:
    """A request that an endpoint makes within the app is checked by its own headers."""

    @app.get("/one", dependencies=[Depends(RequireClientCertificate())])
    def one() -> str:
        return "one"

    @app.post("/batch")
    async def batch(connection: Request) -> list[int]:
        statuses = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        for headers in ([], [(b"x-arr-clientcert", b"MIIX")], connection.scope["headers"]):
            of_this_endpoint = ("endpoint", "route", "path_params", "fastapi_inner_astack")
            scope = {
                key: value for key, value in connection.scope.items() if key not in of_this_endpoint
            }
            scope |= {"path": "/one", "raw_path": b"/one", "method": "GET", "headers": headers}
            await app.router(scope, receive, send)
        return statuses

    assert visit("/batch", alice, "POST").json() == [403, 403, 200]


@pytest.mark.parametrize("query", ["", "?policy=partners", "?policy=&role=", "?connection=1"])
def test_class_without_parentheses_denies_everybody(query: str, caplog: Any) -> None:
    """An app without a gate whose dependency is the class itself answers nobody."""
    app = FastAPI()
    app.get("/a", dependencies=[Depends(RequireClientCertificate)])(lambda: "in")

    @app.websocket("/ws", dependencies=[Depends(RequireClientCertificate)])
    async def socket(websocket: WebSocket) -> None:
        raise AssertionError("not reached")

    client = TestClient(app)
    answer = client.get(f"/a{query}")
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"/ws{query}"):
        raise AssertionError("not reached")
    denials = [record for record in caplog.records if record.name == "arrcert"]
    assert len(denials) == 2
    for record in denials:
        assert vars(record)["arrcert_reason"] == "misconfigured"
        assert "write Depends(RequireClientCertificate())" in record.message
