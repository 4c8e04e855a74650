"""The site of the forty partners in FastAPI."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI
from forty_partners import told_by_asgi_worker

from arrcert import ClientIdentity
from arrcert_fastapi import Arrcert, RequireClientCertificate

fastapi = FastAPI()
Arrcert(fastapi)


@fastapi.get("/health")
def health() -> str:
    """Answer every client."""
    return "ok"


@fastapi.get("/whoami")
def whoami(
    who: Annotated[ClientIdentity, Depends(RequireClientCertificate())],
) -> dict[str, str | None]:
    """Answer with the identity."""
    return {"name": who.name}


@fastapi.get("/orders")
def orders(
    who: Annotated[ClientIdentity, Depends(RequireClientCertificate(role="orders"))],
) -> dict[str, str | None]:
    """Answer with the identity, if it has the role."""
    return {"name": who.name}


app = told_by_asgi_worker(fastapi)
