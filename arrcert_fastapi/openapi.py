"""The OpenAPI document of a protected app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

SCHEME = "clientCertificate"
"""The name of the security scheme in the document."""

_DESCRIPTION = "A client certificate in the TLS handshake."


def with_mutual_tls(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the OpenAPI document with the security scheme `mutualTLS`.

    Args:
        app: the app. Its own `openapi` makes the rest of the document.

    OpenAPI 3.1 defines this scheme (section 4.8.27), but FastAPI has no model for it. Every
    operation requires it in addition to its own schemes.
    """
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        components = document.setdefault("components", {})
        components.setdefault("securitySchemes", {})[SCHEME] = {
            "type": "mutualTLS",
            "description": _DESCRIPTION,
        }
        document["security"] = [{SCHEME: []}]
        for operations in document.get("paths", {}).values():
            for operation in operations.values():
                if isinstance(operation, dict) and operation.get("security"):
                    operation["security"] = [
                        {**requirement, SCHEME: []} for requirement in operation["security"]
                    ]
        return document

    return openapi
