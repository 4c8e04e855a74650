"""arrcert decides whether a forwarded client certificate may enter an app.

The public API is this package, the modules `arrcert.wsgi`, `arrcert.asgi`, `arrcert.settings`,
`arrcert.explanation`, `arrcert.testing`, `arrcert.outbound` and `arrcert.gunicorn`, and the command
in `arrcert.cli`. A public module defines `__all__`. All other modules may change between versions.
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
