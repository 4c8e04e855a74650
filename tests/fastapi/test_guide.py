"""The code of docs/fastapi.md works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from arrcert import ClientIdentity
from arrcert.testing import IssuedCertificate
from arrcert_fastapi import Arrcert, RequireClientCertificate

GUIDE = (Path(__file__).parents[2] / "docs" / "fastapi.md").read_text(encoding="utf-8")


def run(containing: str, **names: Any) -> dict[str, Any]:
    """Run the one block of the guide that contains a text, and return its names."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    [code] = [block for block in blocks if containing in block]
    exec(compile(code, "docs/fastapi.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    monkeypatch.setenv("ARRCERT", json.dumps(settings["ARRCERT"]))


def test_first_app(alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """The first block is a whole app; `/orders` is for partners with the role."""
    client = TestClient(run("app = FastAPI()", __name__="site")["app"])
    assert client.get("/orders", headers=bob.headers).json() == {"partner": "bob"}
    for headers in (alice.headers, {}):
        answer = client.get("/orders", headers=headers)
        assert (answer.status_code, answer.text) == (403, '{"detail":"Forbidden"}')


def test_cors(alice: IssuedCertificate) -> None:
    """The lines about CORS answer a preflight, and let nobody else in."""
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
    """The ASGI middleware protects a Starlette app, which finds who entered."""

    def who(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.scope["arrcert.identity"].name)

    names = run("ClientCertificateMiddleware", application=Starlette(routes=[Route("/", who)]))
    client = TestClient(names["application"])
    assert client.get("/", headers=alice.headers).text == "alice"
    assert client.get("/", headers=bob.headers).status_code == 403
