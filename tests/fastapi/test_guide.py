"""The code of docs/fastapi.md works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import WebSocketDenialResponse

from arrcert import ClientIdentity
from arrcert.testing import IssuedCertificate
from arrcert_fastapi import Arrcert, RequireClientCertificate

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "fastapi.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def run(containing: str, **names: Any) -> dict[str, Any]:
    """Run the one block of the guide that contains a text, and return its names."""
    [code] = [block for block in BLOCKS if containing in block]
    exec(compile(code, "docs/fastapi.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    monkeypatch.setenv("ARRCERT", json.dumps(settings["ARRCERT"]))


def test_first_app(alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The first block is a complete app whose `/orders` accepts only partners with the role."""
    client = TestClient(run("app = FastAPI()", __name__="site")["app"])
    assert client.get("/orders", headers=bob.headers).json() == {"partner": "bob"}
    for headers in (alice.headers, {}):
        answer = client.get("/orders", headers=headers)
        assert (answer.status_code, answer.text) == (403, '{"detail":"Forbidden"}')


@pytest.mark.parametrize("line", ["arrcert routes shop.main:app", "arrcert explain client.pem"])
def test_commands(tmp_path: Path, bob: IssuedCertificate, line: str) -> None:
    """The commands about open endpoints and about a certificate work with the first app."""
    [code] = [block for block in BLOCKS if "app = FastAPI()" in block]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "main.py").write_text(code)
    (tmp_path / "client.pem").write_bytes(bob.certificate_pem)
    [command] = re.findall(rf"(?:^|`)({line}.*?)(?:`|$)", GUIDE, re.MULTILINE)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "arrcert.cli", *shlex.split(command)[1:]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "explain" in line:
        assert "fingerprint_not_allowed" in done.stdout
        assert "enters under the policy 'partners'" in " ".join(done.stdout.split())
    else:
        row = r"/orders +GET +shop.main.orders +partners +dependency, role"
        assert re.search(row, done.stdout)


def test_socket_io(alice: IssuedCertificate, bob: IssuedCertificate, caplog: Any) -> None:
    """The handler greets a client by name, and the server offers no long polling."""
    socketio = pytest.importorskip(
        "socketio", reason="python-socketio is missing: pip install --group test"
    )
    app = FastAPI()
    Arrcert(app)
    run("socketio.AsyncServer", app=app, socketio=socketio)
    client = TestClient(app)
    address = "/socket.io/?EIO=4&transport="
    for who in ({}, bob.headers):
        assert client.get(f"{address}polling", headers=who).status_code == 403
        with pytest.raises(WebSocketDenialResponse):
            client.websocket_connect(f"{address}websocket", headers=who).__enter__()
    assert client.get(f"{address}polling", headers=alice.headers).status_code == 400
    upgrade = {**alice.headers, "Upgrade": "websocket"}
    with client.websocket_connect(f"{address}websocket", headers=upgrade) as socket:
        assert socket.receive_text().startswith("0")
        socket.send_text("40")
        received = [socket.receive_text() for _ in range(2)]
    assert '42["hello","alice"]' in received
    assert "offers long polling" not in caplog.text


def test_cors(alice: IssuedCertificate) -> None:
    """The lines about CORS answer a preflight, and accept no other request."""
    app = FastAPI()
    run("CORSMiddleware", app=app, Arrcert=Arrcert)
    client = TestClient(app)
    headers = {"Origin": "https://app.contoso.com", "Access-Control-Request-Method": "GET"}
    assert client.options("/", headers=headers).status_code == 200
    assert client.get("/", headers=headers).status_code == 403
    assert client.get("/", headers=headers | alice.headers).status_code == 404


def test_override(alice: IssuedCertificate) -> None:
    """The line about tests replaces the dependency of the first app."""
    names = run("app = FastAPI()", __name__="site")
    carol = ClientIdentity("carol", frozenset(), alice.certificate, "partners")
    run("dependency_overrides", carol=carol, **names)
    assert TestClient(names["app"]).get("/orders").json() == {"partner": "carol"}
    assert RequireClientCertificate("partners", role="orders") in names["app"].dependency_overrides


def test_starlette(alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The ASGI middleware protects a Starlette app, which finds the identity."""

    def who(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.scope["arrcert.identity"].name)

    names = run("ClientCertificateMiddleware", application=Starlette(routes=[Route("/", who)]))
    client = TestClient(names["application"])
    assert client.get("/", headers=alice.headers).text == "alice"
    assert client.get("/", headers=bob.headers).status_code == 403
