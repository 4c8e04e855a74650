"""The gate of a FastAPI app."""

from __future__ import annotations

import logging

from fastapi import FastAPI

from arrcert import Authorizer, CertificateDenied
from arrcert.asgi import (
    RESPONSE_STARTS,
    ASGIApplication,
    Message,
    Receive,
    Scope,
    Send,
    forbid,
    kept_private,
    path_of,
    set_identity,
)
from arrcert.engine_io import log_polling
from arrcert.exceptions import quote
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.gate import IDENTITY
from arrcert_fastapi.dependency import AUTHORIZER, DENIED, RequireClientCertificate
from arrcert_fastapi.middlewares import problems_of_middlewares
from arrcert_fastapi.routes import effective_routes, endpoints, requirements_at

_DEFAULT = RequireClientCertificate()
_FORBIDDEN = b'{"detail":"Forbidden"}'
"""The body that FastAPI sends for `HTTPException(403, "Forbidden")`."""

_JSON = "application/json"

_logger = logging.getLogger("arrcert")


class GateMiddleware:
    """The check before the routes of a FastAPI app.

    Args:
        app: the rest of the app.
        fastapi: the app. Its routes are read.
        authorizer: the authorizer that decides.
        exempt_paths: the paths that are not checked.
    """

    def __init__(
        self,
        app: ASGIApplication,
        *,
        fastapi: FastAPI,
        authorizer: Authorizer,
        exempt_paths: ExemptPaths,
    ) -> None:
        self.app = app
        self._fastapi = fastapi
        self._authorizer = authorizer
        self._exempt_paths = exempt_paths
        self._was_examined = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or a handshake: with the app, or with the 403."""
        if not self._was_examined:
            # All routes exist at the start, or without a lifespan at the first request.
            self._was_examined = True
            if IDENTITY not in scope:  # Otherwise a check of arrcert is around the app.
                self._examine_middlewares()
            self._examine_routes()
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        scope[AUTHORIZER] = self._authorizer
        set_identity(scope, None)
        exempt = self._exempt_paths
        if not (exempt.entries and exempt.covers_asgi(scope, path_of(scope))):
            try:
                self._enter(scope)
            except CertificateDenied:
                await forbid(scope, receive, send, body=_FORBIDDEN, content_type=_JSON)
                return
        await self.app(scope, receive, self._recorded(scope, send))

    def _recorded(self, scope: Scope, send: Send) -> Send:
        """Return a `send` that records the entry of the client and keeps the response private.

        The entry is recorded only with the response, because only then is it known which policy the
        endpoint requires. On an exempt path there is an identity only if a dependency has decided.
        """

        async def send_recorded(message: Message) -> None:
            kind = message["type"]
            # The entry was already recorded with the start of the response.
            identity = None if kind == "http.response.body" else scope.get(IDENTITY)
            if identity is not None:
                if DENIED not in scope:
                    self._authorizer.entered_asgi(scope, identity)
                if kind in RESPONSE_STARTS:
                    message = kept_private(message)
            await send(message)

        return send_recorded

    def _enter(self, scope: Scope) -> None:
        """Decide under `default`, or under what the route of the request requires.

        Raises:
            CertificateDenied: the request is denied. The denial is already logged.
        """
        identity = self._authorizer.find_asgi(scope)
        if identity is not None and identity.policy == _DEFAULT.policy:
            # The dependencies of the route check what it requires.
            set_identity(scope, identity)
            return
        for requirement in self._required(scope):
            if requirement not in self._fastapi.dependency_overrides:
                identity = self._authorizer.identify_asgi(
                    scope, requirement.policy, requirement.role
                )
                set_identity(scope, identity)

    def _required(self, scope: Scope) -> tuple[RequireClientCertificate, ...]:
        try:
            required = requirements_at(self._fastapi, scope)
        except Exception:
            # An error must not open the site, so `default` is required.
            _logger.exception("the route of a request cannot be found; 'default' is required")
            required = ()
        return required or (_DEFAULT,)

    def _examine_middlewares(self) -> None:
        """Log the middlewares that may answer before the gate."""
        for problem in problems_of_middlewares(self._fastapi, type(self)):
            _logger.error("configuration: %s", problem)

    def _examine_routes(self) -> None:
        """Log mistakes in the routes, and the endpoints that only the gate guards."""
        log_polling(self._fastapi)
        for route in effective_routes(self._fastapi.routes):
            log_polling(getattr(route, "app", None))
        only_gate = []
        for endpoint in endpoints(self._fastapi):
            for requirement in endpoint.requirements:
                if requirement.policy not in self._authorizer.policy_names:
                    _logger.error(
                        "configuration: %s requires the policy %s, which does not exist, so every"
                        " request is denied; write one of %s",
                        endpoint,
                        quote(requirement.policy),
                        ", ".join(map(quote, self._authorizer.policy_names)),
                    )
            if endpoint.lacks_parentheses:
                _logger.error(
                    "configuration: %s has Depends(RequireClientCertificate), which names no"
                    " policy; write Depends(RequireClientCertificate()); until then every request"
                    " is denied",
                    endpoint,
                )
            elif not endpoint.requirements and not self._is_exempt(endpoint.path):
                only_gate.append(str(endpoint))
        if only_gate:
            _logger.warning(
                "configuration: only the gate guards these endpoints, under the policy 'default':"
                " %s; to confirm this, or to name another policy, add"
                " Depends(RequireClientCertificate()) to the route or its router",
                ", ".join(only_gate),
            )

    def _is_exempt(self, path: str) -> bool:
        return self._exempt_paths.covers_asgi({"path": path, "raw_path": path.encode()}, path)
