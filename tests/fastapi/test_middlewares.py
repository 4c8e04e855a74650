"""The middlewares around the gate of a FastAPI app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse

from arrcert.asgi import ClientCertificateMiddleware
from arrcert.testing import IssuedCertificate
from arrcert_fastapi import Arrcert
from arrcert_fastapi.extension import authorizer_of

Next = Callable[[Request], Awaitable[Response]]


async def metrics(request: Request, call_next: Next) -> Response:
    """Answer `/metrics` by itself."""
    if request.url.path == "/metrics":
        return PlainTextResponse("open")
    return await call_next(request)


class OfTheSite(CORSMiddleware):
    """A subclass of a harmless middleware. It may do anything."""


def factory(app: Any) -> Any:
    """Return the app itself."""
    return app


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the ERRORs in the log."""
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("has_lifespan", [False, True])
@pytest.mark.parametrize(
    ("add", "name"),
    [
        (lambda app: app.middleware("http")(metrics), "metrics"),
        (lambda app: app.add_middleware(OfTheSite, allow_origins=["*"]), "OfTheSite"),
        (lambda app: app.add_middleware(factory), "factory"),
    ],
    ids=["metrics", "OfTheSite", "factory"],
)
def test_middleware_around_the_gate_is_an_error_in_the_log(
    app: FastAPI,
    alice: IssuedCertificate,
    add: Any,
    name: str,
    has_lifespan: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A middleware that is added after `Arrcert(app)` is one ERROR, which says what to write."""
    add(app)
    client = TestClient(app)
    if has_lifespan:
        with client:
            pass
    else:
        for _ in range(2):
            assert client.get("/", headers=alice.headers).status_code == 404
    assert errors(caplog) == [
        f"configuration: the middleware {__name__}.{name}: was added after Arrcert(app), so it is"
        " around the gate, and requests that it answers itself are not checked; add it on a line"
        " above Arrcert(app); you can ignore this if its answers may be seen without a certificate"
    ]


def test_harmless_middlewares_are_not_mentioned(
    settings: dict[str, Any], alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Middlewares inside the gate, and those that answer preflights or nothing, are no error."""
    app = FastAPI()
    app.middleware("http")(metrics)
    Arrcert(app, settings)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"])
    client = TestClient(app)
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers=alice.headers).status_code == 200
    assert errors(caplog) == []


def test_middleware_behind_another_check(
    app: FastAPI, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Inside arrcert's ASGI middleware, any middleware may be around the gate."""
    app.middleware("http")(metrics)
    guarded = TestClient(ClientCertificateMiddleware(app, authorizer_of(app)))
    assert guarded.get("/metrics").status_code == 403
    assert guarded.get("/", headers=alice.headers).status_code == 404
    assert errors(caplog) == []


def test_middleware_behind_another_check_in_the_app(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """A middleware between arrcert's ASGI middleware and the gate is no error."""
    app.middleware("http")(metrics)
    app.add_middleware(ClientCertificateMiddleware, authorizer=authorizer_of(app))
    with TestClient(app) as client:
        assert client.get("/metrics").status_code == 403
    assert errors(caplog) == []
