"""Client certificates for FastAPI: the gate of an app, and a dependency for its endpoints."""

from arrcert_fastapi.dependency import RequireClientCertificate
from arrcert_fastapi.extension import Arrcert, authorizer_of

__all__ = ["Arrcert", "RequireClientCertificate", "authorizer_of"]
