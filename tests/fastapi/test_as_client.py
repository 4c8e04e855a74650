"""The pytest plugin's clients of FastAPI and Starlette apps."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette

from arrcert.asgi import ClientCertificateMiddleware
from arrcert_fastapi import Arrcert
from arrcert_pytest.clients import Clients, set_environment
from arrcert_pytest.presenting import AsClient


@pytest.fixture(scope="module")
def clients() -> Clients:
    """Alice, and Bob as a partner."""
    return Clients(["alice", "bob policy=partners"])


@pytest.fixture
def as_client(request: pytest.FixtureRequest, clients: Clients) -> AsClient:
    """The fixture's function."""
    return AsClient(request, clients.issued)


def test_fastapi(as_client: AsClient, clients: Clients) -> None:
    """Starlette's client presents the certificate, also in the handshake of a WebSocket."""
    app = FastAPI()
    Arrcert(app, {"ARRCERT": clients.policies})

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.scope["arrcert.identity"].name)

    with as_client("alice", app).websocket_connect("/ws") as websocket:
        assert websocket.receive_text() == "alice"
    assert as_client("bob", app).get("/").status_code == 403
    assert as_client("alice", app).get("/").status_code == 404


def test_asgi_middleware(
    as_client: AsClient, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture makes a client of an app inside the ASGI middleware."""
    set_environment(monkeypatch, clients.policies)
    app = ClientCertificateMiddleware(Starlette())
    assert as_client(None, app).get("/").status_code == 403
    assert as_client("alice", app).get("/").status_code == 404
