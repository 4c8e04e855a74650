"""Engine.IO and Socket.IO servers inside an app that offer long polling.

Every request of long polling names its session in the query (`sid`). Engine.IO does not compare the
client that sends the request with the client that opened the session, and handlers see the request
that opened it. So whoever knows the `sid` of a session, and has any accepted certificate, acts as
the client that opened the session. A WebSocket is one connection, so it has no such request.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

from arrcert.layers import class_names, inner, name_of

_logger = logging.getLogger("arrcert")

_APPS = {"engineio.async_drivers.asgi.ASGIApp", "engineio.middleware.WSGIApp"}
"""The classes of the apps that answer for a server of Engine.IO or Socket.IO."""

_MOST_LAYERS = 1000
"""How many layers, routes and mounted apps are examined."""

WRITE = (
    'write transports=["websocket"] among the arguments of SocketIO, socketio.Server or the like'
)
"""What to write so that a server offers no long polling."""

_reported: WeakSet[Any] = WeakSet()


def offers_polling(layer: object) -> bool:
    """Return whether a layer is a server of Engine.IO or Socket.IO that offers long polling.

    Args:
        layer: a layer around an app, or the app.
    """
    return _polling_server(layer) is not None


def log_polling(app: object) -> None:
    """Write an ERROR to the log for each server inside an app that offers long polling.

    Args:
        app: a WSGI or ASGI app. The layers, routes and mounted apps in it are examined.

    Each server is reported once in a process. It does not see servers that a view or an unknown
    layer hides.
    """
    for layer in _inside(app):
        server = _polling_server(layer)
        if server is not None and server not in _reported:
            _reported.add(server)
            _logger.error(
                "configuration: %s offers long polling: who knows the id of a session (sid) and has"
                " any accepted certificate acts as the client that opened the session; %s",
                name_of(layer),
                WRITE,
            )


def _polling_server(layer: object) -> Any:
    """Return the server of a layer if it offers long polling, otherwise None."""
    if _APPS.isdisjoint(class_names(layer)):
        return None
    server = getattr(layer, "engineio_server", None) or getattr(layer, "engineio_app", None)
    # A server of Socket.IO has a server of Engine.IO. Old ones know no `transports`.
    transports = getattr(getattr(server, "eio", server), "transports", ["polling"])
    return server if "polling" in transports else None


def _inside(app: object) -> Iterator[object]:
    """Yield an app and the layers, routes and mounted apps in it, each once."""
    found, identities = [app], {id(app)}
    for layer in found:
        yield layer
        for below in _below(layer):
            if len(found) < _MOST_LAYERS and id(below) not in identities:
                found.append(below)
                identities.add(id(below))


def _below(layer: Any) -> Iterator[object]:
    """Yield what a layer, a router or a route passes requests to."""
    try:
        wrapped = [inner(layer), getattr(layer, "callback", None)]
        for name in ("routes", "application_mapping", "mounts"):
            held = getattr(layer, name, None)
            if isinstance(held, Mapping):
                wrapped += held.values()
            elif isinstance(held, list | tuple):
                wrapped += held
    except Exception:
        return  # A proxy may raise anything.
    yield from (below for below in wrapped if below is not None)
