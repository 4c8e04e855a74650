"""The route audit, compared with the answers to a client without a certificate."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocketDisconnect

from arrcert import Authorizer
from arrcert.asgi import ClientCertificateMiddleware
from arrcert.routes import ANY_OTHER_PATH, Effect, Report, Verdict
from arrcert.settings import load
from arrcert_fastapi import Arrcert, RequireClientCertificate
from arrcert_fastapi.audit import report

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
SAMPLES = {"int": "1", "path": "a/b", "": "a"}
WITH_POLICY = [Depends(RequireClientCertificate("partners", role="orders"))]
EXEMPT = ["/health", "/public/*", "/items/special", "/api/status", "/exempt/required", "/api/in/x"]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Suppress the warnings at the start, and the denials."""
    caplog.set_level(logging.CRITICAL, "arrcert")


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Two policies, and exempt paths of every form."""
    return settings | {"ARRCERT_EXEMPT_PATHS": EXEMPT}


def add_routes(app: FastAPI | APIRouter, dependencies: Any) -> None:
    """Add endpoints of every kind."""

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/exempt/required", dependencies=dependencies)
    @app.post("/orders", dependencies=dependencies)
    @app.get("/items/{name}/orders", dependencies=dependencies)
    def required() -> str:
        return "required"

    @app.get("/items/{name}")
    @app.put("/items/{name}")
    def item(name: str) -> str:
        return name

    # The route before this one answers for this path.
    @app.get("/items/special", dependencies=dependencies)
    def special() -> str:
        return "special"

    @app.api_route("/numbers/{number:int}", methods=["PATCH", "DELETE"])
    def number(number: int) -> int:
        return number

    @app.get("/public/files/{path:path}")
    @app.get("/files/{path:path}/end")
    def public(path: str) -> str:
        return path

    @app.websocket("/socket")
    @app.websocket("/public/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    @app.websocket("/partners/socket", dependencies=dependencies)
    async def partners(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()


def plain(request: Request) -> PlainTextResponse:
    """Answer as an endpoint of Starlette."""
    return PlainTextResponse("plain")


async def plain_socket(websocket: WebSocket) -> None:
    """Accept a WebSocket."""
    await websocket.accept()
    await websocket.close()


def paths_of(row_path: str) -> str:
    """Return a path that belongs to a row."""
    path = re.sub(r"\{\w+:?(\w*)\}", lambda match: SAMPLES[match[1]], row_path)
    return "/no/such/path" if path == ANY_OTHER_PATH else path.removesuffix("*")


def gets_in(client: TestClient, path: str, method: str) -> bool:
    """Return whether a client without a certificate gets past the checks."""
    if method != "WEBSOCKET":
        return client.request(method, path, follow_redirects=False).status_code != 403
    try:
        with client.websocket_connect(path):
            return True
    except WebSocketDisconnect as closed:
        assert getattr(closed, "status_code", 403) == 403
        return False


def compare(app: Any, found: Report) -> int:
    """Compare each row with the answers, and return the number of compared answers."""
    compared = 0
    client = TestClient(app, raise_server_exceptions=False)
    for row in found.routes:
        for method in row.methods or METHODS:
            compared += 1
            assert row.decision.verdict is not Verdict.UNKNOWN
            is_open = row.decision.verdict in (Verdict.OPEN, Verdict.EXEMPT)
            assert gets_in(client, paths_of(row.path), method) is is_open, (method, row)
    return compared


def verdicts(found: Report) -> dict[str, str]:
    """Return the policy and the decider, for each method and path."""
    return {
        f"{method} {row.path}": f"{row.decision.decided_by}: {row.decision.verdict}"
        f" {'+'.join(row.decision.policies)}".rstrip()
        for row in found.routes
        for method in row.methods or [""]
    }


@pytest.fixture(params=["gate", "dependencies", "wrapper"])
def site(request: Any, settings: dict[str, Any], tmp_path: Path) -> Iterator[tuple[Any, Report]]:
    """An app with routers, mounts and WebSockets, and its audit, for each kind of protection."""
    app = FastAPI(redirect_slashes=False)
    if request.param == "gate":
        Arrcert(app, settings)
    add_routes(app, WITH_POLICY)
    router = APIRouter(prefix="/router", dependencies=[Depends(RequireClientCertificate())])
    add_routes(router, WITH_POLICY)
    app.include_router(router)
    outer = APIRouter()
    outer.include_router(router, prefix="/nested")
    app.include_router(outer, prefix="/outer", dependencies=WITH_POLICY)
    inside = FastAPI(redirect_slashes=False)
    add_routes(inside, WITH_POLICY)
    inside.add_api_route("/status", plain, response_model=None)
    deeper = Router([Route("/{name}", plain, methods=["GET"]), WebSocketRoute("/ws", plain_socket)])
    inside.mount("/in", deeper)
    app.mount("/api", inside)
    (tmp_path / "a").write_text("a")
    app.mount("/public/static", StaticFiles(directory=tmp_path))
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.mount("/tenants/{tenant}", inside)
    app.add_route("/plain", plain, methods=["GET", "POST"])
    app.add_route("/static/hidden", plain, methods=["GET"])
    if request.param != "wrapper":
        yield app, report(app)
        return
    authorizer = Authorizer.from_settings(load({"ARRCERT": settings["ARRCERT"]}, {}))
    wrapped = ClientCertificateMiddleware(app, authorizer, exempt_paths=EXEMPT)
    yield wrapped, report(app, [wrapped])


def test_every_row_is_what_a_stranger_gets(site: tuple[Any, Report]) -> None:
    """Each verdict agrees with the answers, with the gate, without it, and with a wrapper."""
    app, found = site
    assert compare(app, found) >= 90


def test_rows_of_an_app(settings: dict[str, Any]) -> None:
    """A row has the path, the methods, the endpoint, the policy, the role and the decider."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    Arrcert(app, settings)
    add_routes(app, WITH_POLICY)
    role = "dependency, role orders: protected partners"
    assert verdicts(report(app)) == {
        "GET /health": "ARRCERT_EXEMPT_PATHS /health: exempt",
        "GET /items/{name}/orders": role,
        "POST /orders": role,
        "GET /exempt/required": role,
        "GET /items/{name}": "gate: protected default",
        "PUT /items/{name}": "gate: protected default",
        "GET /items/special": "ARRCERT_EXEMPT_PATHS /items/special: exempt",
        "PUT /items/special": "ARRCERT_EXEMPT_PATHS /items/special: exempt",
        "DELETE /numbers/{number:int}": "gate: protected default",
        "PATCH /numbers/{number:int}": "gate: protected default",
        "GET /files/{path:path}/end": "gate: protected default",
        "GET /public/files/{path:path}": "ARRCERT_EXEMPT_PATHS /public/*: exempt",
        "WEBSOCKET /socket": "gate: protected default",
        "WEBSOCKET /public/socket": "ARRCERT_EXEMPT_PATHS /public/*: exempt",
        "WEBSOCKET /partners/socket": role,
        " any other path": "gate: protected default",
    }
    row = next(row for row in report(app).routes if row.path == "/orders")
    assert row.view == f"{__name__}.required"


def test_what_stands_around(settings: dict[str, Any]) -> None:
    """The report describes middlewares before the gate, and not those behind it."""
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])
    Arrcert(app, settings)
    app.add_middleware(CORSMiddleware, allow_origins=["https://b.example"])
    app.add_middleware(GZipMiddleware)

    @app.middleware("http")
    async def mine(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    found = report(app, [ClientCertificateMiddleware(app, app.state.arrcert, policy=None)])
    assert [(layer.name.rpartition(".")[2], layer.effect) for layer in found.layers] == [
        ("ClientCertificateMiddleware", Effect.CHECKS),
    ]
    found = report(app)
    assert [(layer.name.rpartition(".")[2], layer.effect) for layer in found.layers] == [
        ("mine", Effect.UNKNOWN),
        ("GZipMiddleware", Effect.PASSES),
        ("CORSMiddleware", Effect.ANSWERS),
        ("GateMiddleware", Effect.CHECKS),
    ]
    assert found.on_purpose == [f"ARRCERT_EXEMPT_PATHS: {', '.join(sorted(EXEMPT))}"]


def test_middleware_of_arrcert_in_the_app(settings: dict[str, Any]) -> None:
    """The plain middleware in an app, a mount or a route is a check with its own paths."""
    authorizer = Authorizer.from_settings(load({"ARRCERT": settings["ARRCERT"]}, {}))
    guard = Middleware(
        ClientCertificateMiddleware, authorizer=authorizer, exempt_paths=["/x", "/y/*"]
    )
    inside = FastAPI(middleware=[guard])
    add_routes(inside, [])
    inside.add_api_route("/x", plain, response_model=None)
    app = Starlette(
        routes=[
            Route("/guarded", plain, middleware=[guard]),
            Mount("/mounted", Router([Route("/x", plain), Route("/z", plain)]), middleware=[guard]),
            Mount("/app", inside),
            Mount("/tenants/{tenant}", inside),
            Route("/open", plain),
        ]
    )
    found = report(app)
    named = verdicts(found)
    assert named["GET /guarded"] == "ASGI middleware: protected default"
    assert named["GET /mounted/x"] == "exempt path of the ASGI middleware /mounted/x: exempt"
    assert named["GET /mounted/z"] == "ASGI middleware: protected default"
    assert named["GET /app/x"] == "exempt path of the ASGI middleware /app/x: exempt"
    assert named["GET /app/items/{name}"] == "ASGI middleware: protected default"
    assert named["GET /open"] == "nobody: open"
    # Below a variable part the exempt paths are not known, so the check does not count.
    assert named["GET /tenants/{tenant}/x"] == "nobody: open"
    found.routes[:] = [row for row in found.routes if not row.path.startswith("/tenants/{")]
    assert compare(app, found) >= 20


def test_gate_of_a_mounted_app(settings: dict[str, Any]) -> None:
    """The gate of a mounted app decides only about its routes, with exempt paths below it."""
    inside = FastAPI(redirect_slashes=False)
    Arrcert(inside, settings)
    add_routes(inside, WITH_POLICY)
    app = FastAPI()
    app.mount("/inside", inside)
    app.add_api_route("/open", plain, response_model=None)
    found = report(app)
    named = verdicts(found)
    assert named["GET /open"] == "nobody: open"
    assert named["PUT /inside/items/special"].endswith("/inside/items/special: exempt")
    assert compare(app, found) >= 15


def test_host_of_starlette(settings: dict[str, Any]) -> None:
    """Each route of a Starlette host has its own row, and hides no other route."""
    app = FastAPI()
    Arrcert(app, settings)
    app.router.routes.append(Host("api.example", Router([Route("/status", plain)])))
    app.add_api_route("/status", plain, response_model=None)
    named = verdicts(report(app))
    assert named["GET //api.example/status"] == "gate: protected default"
    assert named["GET /status"] == "gate: protected default"


def test_app_in_itself_ends(settings: dict[str, Any]) -> None:
    """An app that is mounted in itself ends as one row."""
    app = FastAPI()
    app.mount("/again", app)
    last = report(app).routes[-1]
    assert last.decision.verdict is Verdict.UNKNOWN
    assert last.decision.decided_by == "too many mounted apps inside each other"


def test_dependency_overrides(settings: dict[str, Any]) -> None:
    """A dependency that tests replace is no check, and is listed below the table."""
    app = FastAPI()
    Arrcert(app, settings)
    inside = FastAPI()
    for one in (app, inside):
        one.add_api_route("/orders", plain, dependencies=WITH_POLICY, response_model=None)
    app.mount("/inside", inside)
    replaced = RequireClientCertificate("partners", role="orders")
    inside.dependency_overrides[replaced] = lambda: None
    named = verdicts(report(app))
    assert named["GET /orders"] == "dependency, role orders: protected partners"
    assert named["GET /inside/orders"] == "gate: protected partners"
    app.dependency_overrides[replaced] = lambda: None
    found = report(app)
    named = verdicts(found)
    unknown = "app.dependency_overrides replaces RequireClientCertificate: unknown"
    assert named["GET /orders"] == named["GET /inside/orders"] == unknown
    assert found.on_purpose[-1] == f"app.dependency_overrides replaces {replaced!r}"
    client = TestClient(app)
    assert client.get("/orders").status_code == 200
    assert client.get("/inside/orders").status_code == 200


def test_endpoint_that_is_an_object(settings: dict[str, Any]) -> None:
    """An endpoint without a name is named by its class."""

    class Answer:
        def __call__(self) -> str:
            return "answer"

    app = FastAPI()
    app.add_api_route("/answer", Answer())
    [row] = [row for row in report(app).routes if row.path == "/answer"]
    assert row.view.endswith("Answer")


def test_what_ends_is_reported() -> None:
    """The report lists the pins that end."""
    app = FastAPI()
    Arrcert(
        app,
        {
            "ARRCERT": {
                "default": {"fingerprints": [{"fingerprint": "AA" * 32, "not_after": "2099-01-31"}]}
            }
        },
    )
    [end] = report(app).ends
    assert (end.policies, end.at) == (("default",), "2099-01-31T23:59:59Z")


def test_policy_that_does_not_exist(settings: dict[str, Any]) -> None:
    """A row says which policy does not exist. A mounted app may have policies of its own."""
    contozo = [Depends(RequireClientCertificate("contozo"))]
    app, inner, bare = FastAPI(), FastAPI(), FastAPI()
    Arrcert(app, settings)
    policies = settings["ARRCERT"]
    Arrcert(inner, {"ARRCERT": {"default": policies["default"], "contozo": policies["partners"]}})
    for one in (app, inner, bare):
        one.get("/orders", dependencies=contozo)(lambda: "in")
    app.mount("/inner", inner)
    assert {route.path: route.missing for route in report(app).routes if route.missing} == {
        "/orders": ("contozo",)
    }
    assert not any(route.missing for route in report(bare).routes)


def test_exempt_path_with_the_wrong_slash(settings: dict[str, Any], tmp_path: Path) -> None:
    """The audit reports exempt paths that only the other final slash would match."""
    app = FastAPI()
    exempt = ["/health/", "/ready", "/socket", "/static", "/static/x", "/static/*", "/other"]
    Arrcert(app, settings | {"ARRCERT_EXEMPT_PATHS": exempt})
    app.post("/health")(lambda: "in")
    app.get("/ready/")(lambda: "in")
    app.websocket("/socket")(plain_socket)
    app.mount("/static", StaticFiles(directory=tmp_path))
    assert report(app).mistakes == [
        "ARRCERT_EXEMPT_PATHS: /health/ matches no route, and /health does; write /health",
        "ARRCERT_EXEMPT_PATHS: /ready matches no route, and /ready/ does; write /ready/, or"
        " /ready/* for every path below it",
        "ARRCERT_EXEMPT_PATHS: /static matches no route, and /static/ does; write /static/, or"
        " /static/* for every path below it",
    ]
