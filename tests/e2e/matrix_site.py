"""The smallest guarded apps, WSGI and ASGI, which record each decision.

A client may never receive the answer to a request that is hidden in another one. So the apps write
a line for each request into the file `decisions`: the verdict, the query, which names the form, and
whether it is a request or a WebSocket handshake.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from arrcert import Authorizer, CertificateDenied
from arrcert.settings import load

authorizer = Authorizer.from_settings(load({}, os.environ))
decisions = Path(os.environ["FOLDER"], "decisions")
decisions.touch()


def write(verdict: str, query: str, kind: str) -> None:
    """Record one decision."""
    with decisions.open("a") as file:
        file.write(f"{verdict} {query} {kind}\n")


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer each client that the core accepts."""
    status, body = "200 OK", b"healthy"
    if environ["PATH_INFO"] != "/health":
        try:
            authorizer.authorize_wsgi(environ)
        except CertificateDenied as denied:
            verdict, status, body = denied.reason, "403 Forbidden", b"denied"
        else:
            verdict, body = "entered", b"entered"
        write(verdict, environ.get("QUERY_STRING", ""), "http")
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def off_thread_wsgi_app(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Decide in another thread than the worker's, as an async view behind WSGI does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(wsgi_app, environ, start_response).result()


async def asgi_app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer each client that the core accepts, over HTTP and WebSocket."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    status, body = 200, b"healthy"
    is_websocket = scope["type"] == "websocket"
    if scope["path"] != "/health":
        if not is_websocket:
            # Read the body first, as Django does, so that headers which the server adds with it are
            # there.
            while (await receive()).get("more_body"):
                pass
        try:
            authorizer.authorize_asgi(scope)
        except CertificateDenied as denied:
            verdict, status, body = denied.reason, 403, b"denied"
        else:
            verdict, body = "entered", b"entered"
        write(verdict, scope["query_string"].decode("latin-1"), scope["type"])
    if is_websocket:
        await receive()
        await send({"type": "websocket.accept" if status == 200 else "websocket.close"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
