"""Sites for the probe: one that arrcert guards, and some with their own wrong checks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from arrcert.asgi import ClientCertificateMiddleware as ASGIMiddleware
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware

PINNED = json.loads(os.environ["ARRCERT"])["default"]["fingerprints"][0]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def _wsgi(status: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer, after the body was read."""
    body = b"page\n" if status.startswith("200") else b"refused by the site\n"
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Show the page to every client."""
    return _wsgi("200 OK", environ, start_response)


guarded = WSGIMiddleware(page)
"""The site that arrcert guards, configured by the environment."""


def is_allowed(value: str) -> bool:
    """Tell whether a header's value is the pinned certificate, with a lenient parser."""
    text = urllib.parse.unquote(value)
    if "-----BEGIN" in text:
        text = text.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    try:
        der = base64.b64decode("".join(text.split()))
    except binascii.Error:
        return False
    return hashlib.sha256(der).hexdigest().upper() == PINNED


def takes_first(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Use the first of several values."""
    values = [
        environ.get("HTTP_X_ARR_CLIENTCERT", ""),
        environ.get("HTTP_X_CLIENT_CERT", ""),
        environ.get("HTTP_X_FORWARDED_CLIENT_CERT", ""),
    ]
    is_in = any(is_allowed(value.split(",")[0]) for value in values)
    return _wsgi("200 OK" if is_in else "403 Forbidden", environ, start_response)


_seen: set[str] = set()


def remembers(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Decide once for each connection, although the connection is the front end's."""
    connection = environ["REMOTE_PORT"]
    if is_allowed(environ.get("HTTP_X_ARR_CLIENTCERT", "")):
        _seen.add(connection)
    is_in = connection in _seen
    return _wsgi("200 OK" if is_in else "403 Forbidden", environ, start_response)


async def asgi_page(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Show the page to every client, and accept WebSockets."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    await _asgi(200, receive, send)


async def _asgi(status: int, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    body = b"page\n" if status == 200 else b"refused by the site\n"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


asgi_guarded = ASGIMiddleware(asgi_page)
"""The site that arrcert guards, configured by the environment."""


async def asgi_takes_last(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Use the last of several headers, and do not check WebSockets."""
    if scope["type"] == "websocket":
        await asgi_page(scope, receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    headers = dict(scope["headers"])
    is_in = is_allowed(headers.get(b"x-arr-clientcert", b"").decode("latin-1"))

    async def nothing() -> dict[str, Any]:
        return {}

    await _asgi(200 if is_in else 403, nothing, send)
