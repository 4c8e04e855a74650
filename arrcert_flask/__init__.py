"""Client certificates in Flask, for a view, a blueprint or a whole app."""

from arrcert_flask.authorization import (
    ClientCertificateForbidden,
    authorize_request,
    authorizer_of,
    get_client_certificate,
    get_client_identity,
)
from arrcert_flask.decorators import (
    authorize_certificate,
    certificate_exempt,
    require_client_certificate,
)
from arrcert_flask.extension import Arrcert
from arrcert_flask.signals import certificate_accepted, certificate_denied, certificate_expiring

__all__ = [
    "Arrcert",
    "ClientCertificateForbidden",
    "authorize_certificate",
    "authorize_request",
    "authorizer_of",
    "certificate_accepted",
    "certificate_denied",
    "certificate_exempt",
    "certificate_expiring",
    "get_client_certificate",
    "get_client_identity",
    "require_client_certificate",
]
