"""What the sites of the forty partners share: the environment, and the name of the worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

# The fixture that runs servers sets policies. These sites get them from ARRCERT_FILE.
os.environ.pop("ARRCERT", None)

WORKER = "X-Worker"


def told_by_worker(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Add the process id of the worker to each answer of a WSGI app, a 403 too."""

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, (WORKER, str(os.getpid()))], *more)

        return app(environ, start)

    return wsgi


def told_by_asgi_worker(app: Callable[..., Any]) -> Callable[..., Any]:
    """Add the process id of the worker to each answer of an ASGI app, a 403 too."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                worker = (WORKER.lower().encode(), str(os.getpid()).encode())
                message = {**message, "headers": [*message["headers"], worker]}
            await send(message)

        await app(scope, receive, sending)

    return asgi
