"""The OpenAPI document of a protected app."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from arrcert_fastapi import RequireClientCertificate


def test_document_has_mutual_tls(app: FastAPI) -> None:
    """The document requires `mutualTLS` everywhere, and keeps an operation's own schemes."""

    @app.get("/plain", dependencies=[Depends(RequireClientCertificate("partners"))])
    def plain() -> None: ...

    @app.get("/token")
    def token(bearer: Annotated[Any, Depends(HTTPBearer())]) -> None: ...

    document = app.openapi()
    assert document["components"]["securitySchemes"]["clientCertificate"]["type"] == "mutualTLS"
    assert document["security"] == [{"clientCertificate": []}]
    assert "security" not in document["paths"]["/plain"]["get"]
    assert document["paths"]["/token"]["get"]["security"] == [
        {"HTTPBearer": [], "clientCertificate": []}
    ]
    assert app.openapi() == document
