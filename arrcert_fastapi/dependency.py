"""The dependency that requires an authorized client certificate."""

# This module does not postpone annotations: FastAPI 0.115 cannot resolve the annotations of a
# callable object, and would read the connection from the query string.

from typing import Any, NoReturn

from fastapi import HTTPException, WebSocketException
from fastapi.requests import HTTPConnection

from arrcert import Authorizer, CertificateDenied, ClientIdentity
from arrcert.adapters import deny_misconfigured, require_policy_name, require_role
from arrcert.asgi import POLICY_VIOLATION, set_identity

AUTHORIZER = "arrcert.authorizer"
"""The key of the scope that holds the app's authorizer. Clients cannot set it."""

DENIED = "arrcert.denied"
"""The key of the scope that marks a request that a dependency has denied. Clients cannot set it."""

_NO_ARRCERT = (
    "the app has no gate: write Arrcert(app) where the app is made, for the app that is served"
    " and not only for one that is mounted in it"
)


_NOT_GIVEN: Any = None

_NO_PARENTHESES = (
    "the endpoint has Depends(RequireClientCertificate), which names no policy; write"
    " Depends(RequireClientCertificate())"
)


class RequireClientCertificate:
    """A dependency that requires an authorized client certificate.

    For a route, a router or a WebSocket:

        @app.get("/orders", dependencies=[Depends(RequireClientCertificate("partners"))])

    As a parameter, its value is the `arrcert.ClientIdentity` of the client:

        Partner = Annotated[ClientIdentity, Depends(RequireClientCertificate("partners"))]

    Two instances with the same arguments are equal, so `app.dependency_overrides` finds them.

    Args:
        policy: the policy's name, `default` by default.
        role: the role that the identity must have; None, the default, for any.
        connection: internal. FastAPI sets it if the class is the dependency, in place of an
            instance. Then every request is denied as `misconfigured`.

    Raises:
        TypeError: the policy or the role is not a non-empty string.

    If a request is denied, the dependency raises `HTTPException` with the status 403. For a
    WebSocket it raises `WebSocketException` before the handshake is accepted. The `__cause__` of
    the exception is the `CertificateDenied`. The app needs `Arrcert(app)`. Without it, every
    request is denied as `misconfigured`.

    A dependency runs after FastAPI has parsed the JSON of the body. It does not check that the
    policy exists; `Arrcert` reports that at the start.
    """

    def __init__(
        self,
        policy: str = "default",
        *,
        role: str | None = None,
        connection: HTTPConnection = _NOT_GIVEN,  # FastAPI needs exactly this type.
    ) -> None:
        if connection is not _NOT_GIVEN:
            # FastAPI calls the class itself. `policy` and `role` come from the query string.
            scope = connection.scope
            scope[DENIED] = True
            _forbid(scope["type"], deny_misconfigured(_NO_PARENTHESES, "default", scope=scope))
        require_policy_name(policy)
        require_role(role)
        self.policy = policy
        self.role = role

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RequireClientCertificate):
            return NotImplemented
        return (self.policy, self.role) == (other.policy, other.role)

    def __hash__(self) -> int:
        return hash((self.policy, self.role))

    def __repr__(self) -> str:
        role = "" if self.role is None else f", role={self.role!r}"
        return f"RequireClientCertificate({self.policy!r}{role})"

    async def __call__(self, connection: HTTPConnection) -> ClientIdentity:
        """Return the identity of the client, or deny the request or the handshake."""
        scope = connection.scope
        authorizer = scope.get(AUTHORIZER)
        try:
            if not isinstance(authorizer, Authorizer):
                raise deny_misconfigured(_NO_ARRCERT, self.policy, scope=scope)
            # The gate has decided about the original request. A middleware may have changed the
            # request since then, so it is checked again.
            identity = authorizer.identify_asgi(scope, self.policy, self.role)
        except CertificateDenied as denied:
            scope[DENIED] = True
            _forbid(scope["type"], denied)
        set_identity(scope, identity)
        return identity


def _forbid(kind: str, denied: CertificateDenied) -> NoReturn:
    if kind == "websocket":
        raise WebSocketException(POLICY_VIOLATION) from denied
    # The gate sends the same headers with its 403.
    raise HTTPException(403, "Forbidden", {"Cache-Control": "no-store"}) from denied
