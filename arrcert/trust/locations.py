"""Where a certificate says that its issuer's certificate can be had (RFC 5280 section 4.2.2.1)."""

from __future__ import annotations

from cryptography.x509 import (
    AuthorityInformationAccess,
    Certificate,
    UniformResourceIdentifier,
)
from cryptography.x509.oid import AuthorityInformationAccessOID

from arrcert.exceptions import quote

_MOST_LOCATIONS = 2
"""How many URLs a message shows."""


def where_issuer_is(certificate: Certificate) -> str:
    """Return where the issuer's certificate can be had, for the end of a sentence.

    Args:
        certificate: the certificate whose issuer is missing.

    Returns:
        At most two URLs of the authority information access, quoted; empty if there is none.

    The URLs are the certificate's own word, and anybody can write them. Nothing is fetched.
    """
    try:
        access = certificate.extensions.get_extension_for_class(AuthorityInformationAccess).value
    # There is none, or it cannot be read: cryptography decodes it here, and hostile bytes may raise
    # any exception.
    except Exception:
        return ""
    urls = [
        quote(description.access_location.value)
        for description in access
        if description.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(description.access_location, UniformResourceIdentifier)
    ]
    if not urls:
        return ""
    shown = " or ".join(urls[:_MOST_LOCATIONS])
    more = f" and {len(urls) - _MOST_LOCATIONS} more" if len(urls) > _MOST_LOCATIONS else ""
    return (
        f"; the certificate says that it can be had at {shown}{more}, which arrcert never fetches:"
        " check its fingerprint before you trust it"
    )
