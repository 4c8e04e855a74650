"""The parity table's Flask site, with a page that shows what the server passes to the app."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from flask_site import app as site

from arrcert.forwarding.servers import wsgi_server


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Show at `/seen` the value under the header's key, and the recognized server."""
    if environ["PATH_INFO"] != "/seen":
        return site(environ, start_response)
    server = wsgi_server(environ)
    seen = {"value": environ.get("HTTP_X_ARR_CLIENTCERT"), "server": server and server._asdict()}
    body = json.dumps(seen).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
