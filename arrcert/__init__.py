"""arrcert decides whether a forwarded client certificate may enter an app."""

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
