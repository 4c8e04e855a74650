"""The smallest guarded apps, WSGI and ASGI, that count who enters.

The answer of a request that is hidden in another one may reach nobody. So the apps count by the
query, which names the form of the request, and tell the counts at `/entries`, which is open.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from arrcert import Authorizer, CertificateDenied
from arrcert.forwarding.servers import wsgi_server
from arrcert.settings import load

authorizer = Authorizer.from_settings(load({}, os.environ))
entries: Counter[str] = Counter()
denials: Counter[str] = Counter()
seen: dict[str, Any] = {}


def _told() -> bytes:
    return json.dumps({"entries": entries, "denials": denials, "seen": seen}).encode()


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Let in whoever the core lets in."""
    form = environ.get("QUERY_STRING", "")
    status, body = "200 OK", b"entered"
    server = wsgi_server(environ)
    seen["server"] = server and server.name
    if environ["PATH_INFO"] == "/entries":
        body = _told()
    elif environ["PATH_INFO"] == "/health":
        body = b"healthy"
    else:
        seen["protocol"] = environ.get("SERVER_PROTOCOL")
        try:
            authorizer.identify_wsgi(environ)
        except CertificateDenied as denied:
            denials[f"{form} {denied.reason}"] += 1
            status, body = "403 Forbidden", b"denied"
        else:
            entries[form] += 1
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi_app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Let in whoever the core lets in, over HTTP and WebSocket."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    form = scope.get("query_string", b"").decode("latin-1")
    is_websocket = scope["type"] == "websocket"
    if scope["path"] == "/entries":
        status, body = 200, _told()
    elif scope["path"] == "/health":
        status, body = 200, b"healthy"
    else:
        if not is_websocket:
            # As Django does: whatever the server adds to the headers with the body is there.
            while (await receive()).get("more_body"):
                pass
        seen["protocol"] = scope.get("http_version")
        seen["websocket" if is_websocket else "http"] = sorted(scope)
        try:
            authorizer.identify_asgi(scope)
        except CertificateDenied as denied:
            denials[f"{form} {denied.reason}"] += 1
            status, body = 403, b"denied"
        else:
            entries[form] += 1
            status, body = 200, b"entered"
    if is_websocket:
        await receive()
        await send({"type": "websocket.accept" if status == 200 else "websocket.close"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
