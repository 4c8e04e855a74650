"""Where a certificate says that its issuer's certificate can be downloaded (RFC 5280, 4.2.2.1)."""

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
    """Return where the issuer's certificate can be downloaded, for the end of a sentence.

    Args:
        certificate: the certificate whose issuer is missing.

    Returns:
        At most two URLs of the authority information access, quoted; empty if there is no URL.

    Anybody can write any URL into a certificate. Nothing is downloaded from it.
    """
    try:
        access = certificate.extensions.get_extension_for_class(AuthorityInformationAccess).value
    # The extension is missing or cannot be read. cryptography decodes it here, and hostile bytes
    # may raise any exception.
    except Exception:
        return ""
    urls = [
        description.access_location.value
        for description in access
        if description.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(description.access_location, UniformResourceIdentifier)
    ]
    if not urls:
        return ""
    shown = " or ".join(map(quote, urls[:_MOST_LOCATIONS]))
    more = f" and {len(urls) - _MOST_LOCATIONS} more" if len(urls) > _MOST_LOCATIONS else ""
    return (
        f"; the certificate says that the CA certificate can be downloaded from {shown}{more};"
        " arrcert downloads nothing. Check the fingerprint of a downloaded certificate before you"
        " trust it"
    )
