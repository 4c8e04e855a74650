"""The certificate that a client presented, with the facts that several policies need."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from cryptography.x509 import Certificate

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import quote
from arrcert.keys import public_key_fingerprint, weakness_of_key
from arrcert.names import PresentedNames
from arrcert.trust.paths import PathSearch


class Presented:
    """A client certificate and the CA certificates that the front end forwarded with it.

    The rules of all policies use the same object. It keeps results that are expensive, so that they
    are computed once for each certificate and not once for each policy.

    Args:
        certificate: the client certificate.
        forwarded: CA certificates that came with it. They help to build the path and prove nothing.

    Attributes:
        certificate: the client certificate.
        forwarded: CA certificates that came with it.
        paths: the search for certification paths.
    """

    def __init__(
        self, certificate: ClientCertificate, forwarded: Sequence[Certificate] = ()
    ) -> None:
        self.certificate = certificate
        self.forwarded = forwarded
        self.paths = PathSearch(certificate, forwarded)

    @functools.cached_property
    def names(self) -> PresentedNames:
        """The subject alternative names, prepared for the look-up."""
        certificate = self.certificate
        return PresentedNames(certificate.dns_names, certificate.uris, certificate.email_addresses)

    @functools.cached_property
    def size_of_issuer(self) -> int:
        """The number of attributes in the issuer's name."""
        return len(tuple(self.certificate.x509.issuer))

    @functools.cached_property
    def shown_dns_names(self) -> str:
        """The DNS names for a log, in quotation marks."""
        return quote(", ".join(self.certificate.dns_names) or "none")

    @functools.cached_property
    def shown_uris(self) -> str:
        """The URIs for a log, in quotation marks."""
        return quote(", ".join(self.certificate.uris) or "none")

    @functools.cached_property
    def shown_email_addresses(self) -> str:
        """The e-mail addresses for a log, in quotation marks."""
        return quote(", ".join(self.certificate.email_addresses) or "none")

    @functools.cached_property
    def public_key_fingerprint(self) -> str | None:
        """The SHA-256 of the public key in upper-case hex; None if the key cannot be read."""
        return public_key_fingerprint(self.certificate.x509)

    @functools.cached_property
    def weakness_of_key(self) -> str | None:
        """Why the public key is too weak; None if it is strong enough."""
        return weakness_of_key(self.certificate.x509)
