"""Compare the route audit of a Django site with the answers to a client without a certificate.

Run it as a program, with `DJANGO_SETTINGS_MODULE` set. It prints JSON: `wrong` are the differences,
`compared` the number of requests, `unreachable` the routes that another one hides, `verdicts` how
many rows have each verdict.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, os.getcwd())

import django
from django.conf import settings
from django.test import Client
from django.urls import Resolver404, get_resolver, resolve
from django.utils.module_loading import import_string
from django.utils.regex_helper import normalize

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
NAMED = {"format": "json"}
SAMPLES = ["a", "1", "a/b", "a/", "en", "1/2", "00000000-0000-0000-0000-000000000001", "0" * 40]
"""The values for the variable parts of a path, tried in this order."""


def concrete(pattern: Any) -> str:
    """Return a concrete part of a path for a pattern.

    Raises:
        LookupError: none of the samples fits.
    """
    if not hasattr(pattern, "_route") and hasattr(pattern, "_regex"):
        for form, names in normalize(str(pattern)):
            for value in [*SAMPLES, *re.findall(r"\w+", str(pattern))]:
                text = form % {name: NAMED.get(name, value) for name in names}
                if pattern.regex.search(text):
                    return text
        raise LookupError(pattern)
    text = str(pattern)
    for name, converter in getattr(pattern, "converters", {}).items():
        samples = [*SAMPLES, ".json"]
        value = next(one for one in samples if re.fullmatch(converter.regex, one))
        text = re.sub(rf"<(\w+:)?{name}>", value, text)
    return text


def endpoints(resolver: Any, text: str, path: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the text, a path and the view of each route of a URLconf."""
    for pattern in resolver.url_patterns:
        below = f"{text}{pattern.pattern}", f"{path}{concrete(pattern.pattern)}"
        if hasattr(pattern, "url_patterns"):
            yield from endpoints(pattern, *below)
        else:
            yield *below, pattern.callback


def is_denied(client: Any, path: str, method: str) -> bool:
    """Return whether arrcert denies a client without a certificate."""
    from arrcert_django.signals import certificate_denied

    denials: list[object] = []

    def note(reason: object, **_: Any) -> None:
        denials.append(reason)

    certificate_denied.connect(note)
    try:
        status = client.generic(method, path).status_code
    finally:
        certificate_denied.disconnect(note)
    return status == 403 and bool(denials)


def accepts_websocket(application: Any, path: str) -> bool:
    """Return whether an ASGI app accepts a WebSocket from a client without a certificate."""

    async def connect() -> list[str]:
        sent: list[str] = []
        messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message["type"])

        scope = {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "subprotocols": [],
            "scheme": "wss",
        }
        await application(scope, receive, send)
        return sent

    return "websocket.accept" in asyncio.run(connect())


def main() -> None:
    """Compare, and print the result."""
    logging.disable(logging.CRITICAL)
    django.setup()
    from arrcert_django.routes import report

    found = report()
    client = Client(raise_request_exception=False)
    wrong: list[str] = []
    unreachable: list[str] = []
    compared = 0
    seen: set[str] = set()
    for text, path, view in endpoints(get_resolver(), "/", "/"):
        try:
            is_hidden = resolve(path).func is not view
        except Resolver404:
            is_hidden = True
        if is_hidden:
            # Django answers with the first of several routes with the same path.
            unreachable += [text] if text not in seen else []
            continue
        seen.add(text)
        rows = [route for route in found.routes if route.path == text]
        if not rows:
            wrong.append(f"no row for {text}")
        for method in METHODS:
            decisions = {
                route.decision for route in rows if not route.methods or method in route.methods
            }
            if not decisions:
                continue  # The view does not handle the method.
            verdicts = {decision.verdict.value for decision in decisions}
            expected = ["protected" if is_denied(client, path, method) else "not protected"]
            shown = ["protected" if v == "protected" else "not protected" for v in verdicts]
            compared += 1
            if expected != shown or "unknown" in verdicts:
                wrong.append(f"{method} {path} ({text}): {decisions}, but {expected}")
    for route in found.routes:
        if route.methods == ("WEBSOCKET",):
            application = import_string(settings.ASGI_APPLICATION)
            compared += 1
            path = re.sub(r"[$^]", "", route.path)
            accepted = accepts_websocket(application, path)
            if accepted is (route.decision.verdict == "protected"):
                wrong.append(f"WEBSOCKET {route.path}: {route.decision}, accepted: {accepted}")
    verdicts = Counter(route.decision.verdict.value for route in found.routes)
    result = {"wrong": wrong, "unreachable": unreachable, "compared": compared}
    print(json.dumps(result | {"verdicts": verdicts}))


if __name__ == "__main__":
    main()
