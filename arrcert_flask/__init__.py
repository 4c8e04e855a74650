"""Client certificates in Flask, for a view, a blueprint or a whole app."""

from arrcert_flask.authorization import ClientCertificateForbidden, get_client_certificate
from arrcert_flask.decorators import (
    authorize_certificate,
    certificate_exempt,
    require_client_certificate,
)
from arrcert_flask.extension import Arrcert
from arrcert_flask.signals import certificate_denied

__all__ = [
    "Arrcert",
    "ClientCertificateForbidden",
    "authorize_certificate",
    "certificate_denied",
    "certificate_exempt",
    "get_client_certificate",
    "require_client_certificate",
]
