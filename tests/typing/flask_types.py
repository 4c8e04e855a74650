"""The types of a Flask site for a type checker; only `make types` reads this file.

A line that must be an error carries `type: ignore[code]`, and mypy complains where it is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

from flask import Blueprint, Flask

from arrcert import Authorizer, ClientCertificate, ClientIdentity
from arrcert_flask import (
    Arrcert,
    authorize_certificate,
    authorize_request,
    authorizer_of,
    certificate_exempt,
    get_client_certificate,
    get_client_identity,
    require_client_certificate,
)

app = Flask(__name__)
Arrcert(app)
Arrcert().init_app(app)
assert_type(get_client_certificate(), ClientCertificate | None)
assert_type(get_client_identity(), ClientIdentity | None)
assert_type(authorize_request("partners"), ClientIdentity)
assert_type(authorize_request("partners", role="orders"), ClientIdentity)
assert_type(authorizer_of(app), Authorizer)


@app.get("/a")
@authorize_certificate
def bare(number: int) -> str:
    """A decorated view keeps its signature."""
    return str(number)


@app.get("/b")
@authorize_certificate(policy="partners", role="orders")
async def called(number: int) -> str:
    """A decorated async view keeps its signature too."""
    return str(number)


@certificate_exempt
def exempt(number: int) -> str:
    """An exempt view keeps its signature too."""
    return str(number)


assert_type(bare(1), str)
assert_type(exempt(1), str)
sync_view: Callable[[int], str] = bare
async_view: Callable[[int], Awaitable[str]] = called
Blueprint("bp", __name__).before_request(require_client_certificate(policy="partners"))

bare("one")  # type: ignore[arg-type]
waiting = called()  # type: ignore[call-arg]
authorize_certificate("partners")  # type: ignore[call-overload]
authorize_certificate(policy=7)  # type: ignore[call-overload]
authorize_certificate(role=["orders"])  # type: ignore[call-overload]
authorize_certificate(polcy="x")  # type: ignore[call-overload]
require_client_certificate("partners")  # type: ignore[call-arg]
name = get_client_certificate().common_name  # type: ignore[union-attr]
authorize_certificate(None)  # type: ignore[call-overload]
