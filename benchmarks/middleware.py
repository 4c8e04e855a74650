"""The cost of the WSGI and the ASGI middleware, around an app that does nothing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from app_service import CERTIFICATE, CLIENT, ISSUER, KEY, environ_of, scope_of
from instructions import Calls
from paired import costs, options_from_command_line, print_table
from sample import documented_sample

from arrcert import Authorizer, Policy
from arrcert.asgi import ClientCertificateMiddleware as ASGIMiddleware
from arrcert.forwarding.gunicorn import gunicorn_hook_ran
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware

PAGE = b"<p>hello</p>"
Send = Callable[[dict[str, Any]], Awaitable[None]]


def main() -> int:
    """Measure, and print the table."""
    options = options_from_command_line(__doc__, 301)
    found = costs(calls, options=options)
    rows = [
        found.ratio("control: a WSGI app / the same app", "wsgi app again", "wsgi app"),
        found.ratio(
            "WSGI middleware alone / sample",
            "wsgi",
            "sample",
            0.05,
            less="wsgi app",
            less_other="",
        ),
        found.ratio(
            "ASGI middleware alone / sample",
            "asgi",
            "sample",
            0.12,
            less="asgi app",
            less_other="",
        ),
    ]
    print_table("The plain middlewares", rows)
    return 0


def wsgi_app(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with a page."""
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "12")])
    return [PAGE]


async def asgi_app(_scope: dict[str, Any], _receive: object, send: Send) -> None:
    """Answer with a page."""
    headers = [(b"content-type", b"text/html"), (b"content-length", b"12")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE})


def start_response(status: str, _headers: object, _exc_info: object = None) -> None:
    """End the benchmark if the status of the answer is not 200."""
    if status != "200 OK":
        raise RuntimeError(status)


async def send(message: dict[str, Any]) -> None:
    """Take a message, and end the benchmark if its status is not 200."""
    if message.get("status", 200) != 200:
        raise RuntimeError(message)


def run(request: Any) -> None:
    """Run a coroutine without an event loop. It must not wait for anything."""
    try:
        request.send(None)
    except StopIteration:
        return
    raise RuntimeError("the app waits")


def calls() -> Calls:
    """Return one request to each app, with and without the middleware."""
    logging.disable(logging.CRITICAL)
    gunicorn_hook_ran()  # This is the setting of a gunicorn.conf.py that uses `arrcert.gunicorn`.
    authorizer = Authorizer({"default": Policy(fingerprints=[CERTIFICATE.sha256_fingerprint])})
    request = "request = dict(environ); request[key] = value.decode('latin-1');"
    asked = "run({}(dict(scope), None, send))"
    statements = {
        "sample": "sample(value.decode('latin-1'))",
        "wsgi app": f"{request} wsgi_app(request, start_response)",
        "wsgi app again": f"{request} wsgi_app(request, start_response)",
        "wsgi": f"{request} wsgi_guarded(request, start_response)",
        "asgi app": asked.format("asgi_app"),
        "asgi": asked.format("asgi_guarded"),
    }
    names: dict[str, Any] = {
        "value": CLIENT.header_value.encode(),
        "key": KEY,
        "environ": environ_of("/hellocert"),
        "scope": scope_of("/hellocert"),
        "sample": documented_sample(CERTIFICATE.sha1_fingerprint, "alice", ISSUER),
        "start_response": start_response,
        "send": send,
        "run": run,
        "wsgi_app": wsgi_app,
        "asgi_app": asgi_app,
        "wsgi_guarded": WSGIMiddleware(wsgi_app, authorizer),
        "asgi_guarded": ASGIMiddleware(asgi_app, authorizer),
    }
    return Calls(statements, names)


if __name__ == "__main__":
    sys.exit(main())
