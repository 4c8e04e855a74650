"""The check of the client certificate around any ASGI app (ASGI 3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from arrcert.adapters import DEEPEST_STACK
from arrcert.authorizer import Authorizer
from arrcert.engine_io import log_polling
from arrcert.exceptions import CertificateDenied
from arrcert.gate import (
    FORBIDDEN,
    FORBIDDEN_TYPE,
    IDENTITY,
    PRIVATE,
    SHARED_CACHES,
    Gate,
    forbidden_headers,
    private,
)
from arrcert.identity import ClientIdentity
from arrcert.layers import is_of_channels

__all__ = ["ClientCertificateMiddleware", "is_guarded"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

_SHARED_CACHES = tuple(name.encode() for name in SHARED_CACHES)
_PRIVATE = (b"cache-control", PRIVATE.encode())

_DENIAL_RESPONSE = "websocket.http.response"
"""The ASGI extension that lets an app answer a WebSocket handshake with an HTTP response."""

RESPONSE_STARTS = ("http.response.start", f"{_DENIAL_RESPONSE}.start")
"""The messages with the headers of a response. An app can send the second in place of accepting a
WebSocket."""

POLICY_VIOLATION = 1008
"""The close code of RFC 6455 section 7.4.1. Before the handshake is accepted, a server answers 403
and sends no code."""


class ClientCertificateMiddleware:
    """Require an authorized client certificate for everything that an ASGI app answers.

    Make it the outermost layer. It decides before the app runs, for every HTTP method and for
    WebSocket handshakes. The identity of the client, an `arrcert.ClientIdentity`, is in
    `scope["arrcert.identity"]`. If the server provides a state, it is also in
    `scope["state"]["client_identity"]`. On exempt paths both are None. A denied request gets a
    constant 403, and the denial is logged. A WebSocket is denied before it is accepted. If the
    server supports `websocket.http.response`, the client gets the same 403. Otherwise the
    middleware sends `websocket.close`, which servers turn into a 403. The response to an authorized
    request is sent with `Cache-Control: private`, unless it says `no-store`.

    Args:
        app: the ASGI app, including all its other middlewares.
        authorizer: an `Authorizer`, or a callable that returns the current one. With None, the
            default, the configuration and the exempt paths come from the environment variables.
        policy: the name of the policy, `default` by default; None for any configured policy,
            `default` first.
        exempt_paths: paths that are not checked, as in `ARRCERT_EXEMPT_PATHS`; none by default.
            They are compared without `root_path`, and also apply to WebSockets.

    Attributes:
        app: the app inside.
        gate: decides; the route audit reads its policy and exempt paths.

    Raises:
        ConfigurationError: the environment, the exempt paths or the policy's name are wrong. If
            `authorizer` is a callable, mistakes that are found only later deny every request.
        TypeError: an argument is of another type.

    A `lifespan` scope is passed on. Any other type of scope raises `NotImplementedError`, as the
    ASGI specification requires. A WebSocket is checked once, at its handshake; it is not closed
    when the certificate expires. It does not know views, so exemptions and policies of views have
    no effect on it. If the framework inside uses the same `Authorizer` again, the second decision
    is only a look-up.
    """

    def __init__(
        self,
        app: ASGIApplication,
        authorizer: Authorizer | Callable[[], Authorizer] | None = None,
        *,
        policy: str | None = "default",
        exempt_paths: Collection[str] | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app is {app!r}, which is not an ASGI app")
        self.app = app
        self.gate = Gate(authorizer, policy, exempt_paths)
        self._was_examined = False

    @property
    def authorizer(self) -> Authorizer:
        """The current authorizer."""
        return self.gate.current()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or a handshake: with the app, or with the 403."""
        if not self._was_examined:
            # All routes exist at the start, or without a lifespan at the first request.
            self._was_examined = True
            log_polling(self.app)
        kind = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            raise NotImplementedError(
                f"arrcert supports the ASGI scopes http and websocket, but not {kind!r}"
            )
        set_identity(scope, None)
        exempt_paths = self.gate.exempt_paths
        if exempt_paths.entries and exempt_paths.covers_asgi(scope, path_of(scope)):
            await self.app(scope, receive, send)
            return
        try:
            identity = self.gate.identify_asgi(scope)
        except CertificateDenied:
            await forbid(scope, receive, send)
            return
        set_identity(scope, identity)
        await self.app(scope, receive, privately(send))


def is_guarded(app: object, kind: str = "websocket") -> bool:
    """Return whether `ClientCertificateMiddleware` checks the connections to an ASGI app.

    Args:
        app: the ASGI app, such as the one that `ASGI_APPLICATION` names.
        kind: the type of the scope: `websocket` or `http`.

    This looks through the layers of Channels: `ProtocolTypeRouter`, `URLRouter` (each of its routes
    must be guarded) and its middlewares. A protocol that a `ProtocolTypeRouter` does not list
    counts as guarded, because Channels refuses it. It does not look through other layers, because
    they may answer requests themselves.
    """
    for _ in range(DEEPEST_STACK):
        if isinstance(app, ClientCertificateMiddleware):
            return True
        if not is_of_channels(app):
            return False
        protocols = getattr(app, "application_mapping", None)
        if isinstance(protocols, Mapping):
            if kind not in protocols:
                return True
            app = protocols[kind]
            continue
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return all(is_guarded(getattr(route, "callback", None), kind) for route in routes)
        # The inner app is `application` in OriginValidator, and `inner` in every other middleware.
        app = getattr(app, "inner", getattr(app, "application", None))
    return False


def path_of(scope: Scope) -> str:
    """Return the decoded path of a request or a handshake, without `root_path`.

    Returns:
        The path. It is empty, so that it is never exempt, if frameworks remove this `root_path` in
        different ways: it ends in a slash, or in the middle of a segment. daphne takes it from a
        header of the client.
    """
    path, root = str(scope.get("path", "")), str(scope.get("root_path", ""))
    if root in ("", "/") or not path.startswith(root.rstrip("/")):
        return path or "/"
    rest = path.removeprefix(root) or "/"
    return rest if rest.startswith("/") and not root.endswith("/") else ""


def set_identity(scope: Scope, identity: ClientIdentity | None) -> None:
    """Set the identity of the client in the scope and in its state."""
    scope[IDENTITY] = identity
    state = scope.get("state")
    if isinstance(state, MutableMapping):
        state["client_identity"] = identity


async def forbid(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    body: bytes = FORBIDDEN,
    content_type: str = FORBIDDEN_TYPE,
) -> None:
    """Answer a request with the 403, or refuse a WebSocket handshake.

    Args:
        scope: the scope of the request or of the handshake.
        receive: receives a message from the server.
        send: sends a message to the server.
        body: the body of the 403.
        content_type: its `Content-Type`.
    """
    prefix = ""
    if scope["type"] == "websocket":
        if (await receive())["type"] != "websocket.connect":
            # The client has gone.
            return
        if _DENIAL_RESPONSE not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        prefix = "websocket."
    headers = [
        (name.lower().encode(), value.encode())
        for name, value in forbidden_headers(body, content_type)
    ]
    await send({"type": f"{prefix}http.response.start", "status": 403, "headers": headers})
    body = b"" if scope.get("method") == "HEAD" else body
    await send({"type": f"{prefix}http.response.body", "body": body})


def privately(send: Send) -> Send:
    """Return a `send` that keeps the response out of shared caches."""

    async def send_privately(message: Message) -> None:
        is_start = message["type"] in RESPONSE_STARTS
        await send(kept_private(message) if is_start else message)

    return send_privately


def kept_private(message: Message) -> Message:
    """Return the start of a response with a `Cache-Control` that keeps it out of shared caches.

    Args:
        message: one of `RESPONSE_STARTS`. It is not changed.
    """
    # An iterable can be read only once.
    headers = [
        header
        for header in message.get("headers", ())
        if not header[0].lower().endswith(_SHARED_CACHES)
    ]
    said = [value for name, value in headers if name.lower() == b"cache-control"]
    if said:
        cache_control = private([value.decode("latin-1") for value in said])
        if cache_control is None:
            return {**message, "headers": headers}
        headers = [header for header in headers if header[0].lower() != b"cache-control"]
        headers.append((b"cache-control", cache_control.encode("latin-1")))
    else:
        headers.append(_PRIVATE)
    return {**message, "headers": headers}
