"""The dependency that requires an authorized client certificate."""

# Annotations are not postponed here: FastAPI 0.115 cannot resolve those of an object that it calls,
# and takes the connection for a parameter of the query.

from typing import NoReturn

from fastapi import HTTPException, WebSocketException
from fastapi.requests import HTTPConnection

from arrcert import Authorizer, CertificateDenied, ClientIdentity
from arrcert.adapters import deny_misconfigured, require_policy_name, require_role
from arrcert.asgi import POLICY_VIOLATION, set_identity

AUTHORIZER = "arrcert.authorizer"
"""The key of the scope that holds the app's authorizer. Clients cannot set it."""

DENIED = "arrcert.denied"
"""The key of the scope that is there once a dependency has denied the request. Clients cannot set
it."""

_NO_ARRCERT = (
    "the app has no gate: write Arrcert(app) where the app is made; the app that is served, not"
    " only one that is mounted below it"
)


class RequireClientCertificate:
    """A dependency that requires an authorized client certificate.

    For a route, a router or a WebSocket:

        @app.get("/orders", dependencies=[Depends(RequireClientCertificate("partners"))])

    As a parameter it gives the `arrcert.ClientIdentity` of who entered:

        Partner = Annotated[ClientIdentity, Depends(RequireClientCertificate("partners"))]

    Two instances with the same arguments are equal, so `app.dependency_overrides` finds them.

    Args:
        policy: the policy's name, `default` by default.
        role: the role that the identity must have; None for any identity.

    Raises:
        TypeError: the policy or the role is no non-empty text.

    Calling it raises `HTTPException` with status 403, whose `__cause__` is the `CertificateDenied`;
    for a WebSocket `WebSocketException`, before the handshake is accepted. It needs
    `Arrcert(app)`, without which every request is denied as `misconfigured`.

    A dependency runs after FastAPI has parsed the JSON of the body. It does not check that the
    policy exists; `Arrcert` reports that at the start.
    """

    def __init__(self, policy: str = "default", *, role: str | None = None) -> None:
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
        """Return who entered, or deny the request or the handshake."""
        scope = connection.scope
        authorizer = scope.get(AUTHORIZER)
        try:
            if not isinstance(authorizer, Authorizer):
                raise deny_misconfigured(_NO_ARRCERT, self.policy, scope=scope)
            # The gate has decided about the request as it arrived. What a middleware or an endpoint
            # has changed since then is checked here.
            identity = authorizer.identify_asgi(scope, self.policy, self.role)
        except CertificateDenied as denied:
            scope[DENIED] = True
            _forbid(scope["type"], denied)
        set_identity(scope, identity)
        return identity


def _forbid(kind: str, denied: CertificateDenied) -> NoReturn:
    if kind == "websocket":
        raise WebSocketException(POLICY_VIOLATION) from denied
    # The headers are those of the gate's own 403.
    raise HTTPException(403, "Forbidden", {"Cache-Control": "no-store"}) from denied
