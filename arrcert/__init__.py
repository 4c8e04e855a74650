"""arrcert decides whether a forwarded client certificate may enter an app.

The public names are those of this package, of `arrcert.wsgi`, `arrcert.asgi`, `arrcert.settings`,
`arrcert.explanation`, `arrcert.testing`, `arrcert.outbound` and `arrcert.gunicorn`, and the
command, `arrcert.cli`. A public module defines `__all__`. Every other module may change between
versions.
"""

from arrcert.authorizer import Authorizer
from arrcert.certificate import ClientCertificate
from arrcert.exceptions import (
    ArrcertError,
    CertificateDenied,
    ConfigurationError,
    DenialReason,
    Problem,
)
from arrcert.identity import ClientIdentity
from arrcert.policy import Policy

__all__ = [
    "ArrcertError",
    "Authorizer",
    "CertificateDenied",
    "ClientCertificate",
    "ClientIdentity",
    "ConfigurationError",
    "DenialReason",
    "Policy",
    "Problem",
]
