"""A guarded site with a form and a WebSocket, and another site whose pages attack it.

The guarded site records in the file `seen` what reached it: each request with its path, whether it
carried a certificate, and whether the site acted on it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from arrcert.asgi import ClientCertificateMiddleware

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

seen = Path(os.environ["FOLDER"], "seen")
seen.touch()

PAGE = """<!doctype html><title>page</title>
<form method="post" action="{site}/act"><button>act</button></form>
<form method="post" action="{site}/open"><button id="open">open</button></form>
<script>
const opened = () => new Promise(done => {{
    const socket = new WebSocket("{socket}/socket");
    socket.onmessage = event => done(event.data);
    socket.onerror = () => done("refused");
}});
const asked = (method, headers, body) => fetch("{site}/act", {{
    method, headers, body, credentials: "include",
    mode: method === "POST" && !headers ? "no-cors" : "cors",
}}).then(answer => answer.type === "opaque" ? "opaque" : String(answer.status), () => "refused");
const ran = () => new Promise(done => {{
    window.loaded = done;
    const script = document.createElement("script");
    script.src = "{site}/data.js?" + Math.random();
    script.onerror = () => done("refused");
    document.body.append(script);
}});
const work = async () => {{
    const ready = new Promise(done => navigator.serviceWorker.oncontrollerchange = done);
    await navigator.serviceWorker.register("/worker.js");
    await ready;
}};
</script>"""
"""The page of both sites. On the guarded site `site` is empty."""

WORKER = """
onactivate = event => event.waitUntil(clients.claim());
onfetch = event => {
    if (event.request.url.includes("/data.js")) event.respondWith(fetch(event.request));
};
"""
"""A service worker of the other site. It asks for the script itself, and gives it to the page."""


def write(scope: dict[str, Any], what: str) -> None:
    """Record what reached the site."""
    names = [name for name, _ in scope["headers"]]
    certificate = "certificate" if b"x-arr-clientcert" in names else "nothing"
    with seen.open("a") as file:
        file.write(f"{what} {scope.get('method', 'WEBSOCKET')} {scope['path']} {certificate}\n")


async def answer(
    send: Send,
    status: int,
    body: str,
    *headers: tuple[bytes, bytes],
    content_type: bytes = b"text/html",
) -> None:
    """Send a response."""
    text = body.encode()
    own = [(b"content-type", content_type), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": text})


async def site(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Act on every POST and PUT, and answer every WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        write(scope, "acted")
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "opened"})
        return
    if scope["path"] == "/":
        host = dict(scope["headers"])[b"host"].decode()
        await answer(send, 200, PAGE.format(site="", socket=f"wss://{host}"))
        return
    if scope["path"] == "/data.js":
        await answer(send, 200, "loaded('secret')", content_type=b"text/javascript")
        return
    write(scope, "acted")
    allowed = os.environ.get("ARRCERT_CROSS_SITE_ORIGINS", "").encode()
    await answer(
        send,
        200,
        "done",
        (b"access-control-allow-origin", allowed),
        (b"access-control-allow-credentials", b"true"),
    )


guarded = ClientCertificateMiddleware(site)


async def arriving(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Record what arrives before the check."""
    if scope["type"] in ("http", "websocket") and scope["path"] != "/health":
        write(scope, "arrived")
    await guarded(scope, receive, send)


async def other_site(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve the page that attacks the site whose address is in the query."""
    if scope["path"] == "/worker.js":
        await answer(send, 200, WORKER, content_type=b"text/javascript")
        return
    site = scope["query_string"].decode()
    await answer(send, 200, PAGE.format(site=site, socket=site.replace("https", "wss", 1)))
