"""The log of entries: one INFO record on the logger `arrcert.access` for each accepted request.

Each acceptance is also a DEBUG record on the logger `arrcert`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from arrcert.denials import describe_request
from arrcert.exceptions import quote
from arrcert.identity import ClientIdentity

logger = logging.getLogger("arrcert.access")
decisions = logging.getLogger("arrcert")

ENTERED = "arrcert.entered"
"""The key of a WSGI environ and of an ASGI scope that is there once the entry was recorded, so that
a request that is decided twice is recorded once. Clients cannot set it."""

DAYS_LEFT = "arrcert.days_left"
"""The key of a WSGI environ and of an ASGI scope for the number of days until the client's
certificate expires. It is set only if this request logged the daily warning about the certificate.
Clients cannot set it.
"""


def is_first_entry(request: Mapping[str, Any] | None) -> bool:
    """Return whether this is the first entry of a request, and mark the request.

    Args:
        request: the WSGI environ or the ASGI scope; None without one, which counts as new.

    An object that cannot be marked counts as new.
    """
    if not isinstance(request, dict):
        return True
    if ENTERED in request:
        return False
    request[ENTERED] = True
    return True


def write_acceptance(identity: ClientIdentity) -> None:
    """Write the DEBUG record of one acceptance; a request can have several.

    Args:
        identity: the identity of the client.
    """
    if not decisions.isEnabledFor(logging.DEBUG):
        return
    decisions.debug(
        "authorized under policy %r: %s%s",
        identity.policy,
        identity.certificate.sha256_fingerprint,
        "" if identity.name is None else f", identity {quote(identity.name)}",
        extra={
            "arrcert_policy": identity.policy,
            "arrcert_fingerprint": identity.certificate.sha256_fingerprint,
            "arrcert_identity": identity.name,
        },
    )


def write_entry(
    identity: ClientIdentity,
    *,
    environ: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
) -> None:
    """Write the record of one accepted request. The caller checks the level of the logger first.

    Args:
        identity: the identity of the client.
        environ: the WSGI environ of the request, if it has one.
        scope: the ASGI scope of the request, if it has one.

    The record does not hold the header's value. Alternatives are counted from 1, as in denials.
    """
    described = describe_request(environ, scope)
    certificate = identity.certificate
    logger.info(
        "accepted %sunder policy %s, alternative %d: %sSHA-256 fingerprint %s, subject %s",
        f"{described} " if described else "",
        quote(identity.policy),
        identity.alternative + 1,
        "" if identity.name is None else f"identity {quote(identity.name)}, ",
        certificate.sha256_fingerprint,
        quote(certificate.subject),
        extra={
            "arrcert_policy": identity.policy,
            "arrcert_alternative": identity.alternative + 1,
            "arrcert_request": described,
            "arrcert_fingerprint": certificate.sha256_fingerprint,
            "arrcert_identity": identity.name,
        },
    )
