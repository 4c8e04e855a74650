"""What the platform's documentation does with the header, written anew as one function.

https://learn.microsoft.com/azure/app-service/app-service-web-configure-tls-mutual-auth
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID


def documented_sample(
    thumbprint: str, common_name: str, issuer: str
) -> Callable[[str | None], bool]:
    """Return the sample's check of a header's text: armour, parse, SHA-1, names, dates.

    Args:
        thumbprint: SHA-1 over the DER, in hex.
        common_name: of the subject.
        issuer: the issuer's common name.
    """
    wanted = bytes.fromhex(thumbprint)

    def check(value: str | None) -> bool:
        if value is None:
            return False
        text = f"-----BEGIN CERTIFICATE-----\n{value}\n-----END CERTIFICATE-----\n"
        try:
            certificate = load_pem_x509_certificate(text.encode("utf-8"))
        except ValueError:
            return False
        if certificate.fingerprint(hashes.SHA1()) != wanted:  # noqa: S303 - as it stands there.
            return False
        subject = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        if subject != common_name:
            return False
        if certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value != issuer:
            return False
        now = datetime.now(UTC)
        return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc

    return check
