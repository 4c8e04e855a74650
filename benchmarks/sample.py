"""The check of the header in the platform's documentation, rewritten as one function.

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
    """Return the sample's check of a header: PEM lines, parsing, SHA-1, names, dates.

    Args:
        thumbprint: the SHA-1 of the DER, in hex.
        common_name: the common name of the subject.
        issuer: the common name of the issuer.
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
        if certificate.fingerprint(hashes.SHA1()) != wanted:  # noqa: S303 - as in the documentation.
            return False
        subject = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        if subject != common_name:
            return False
        if certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value != issuer:
            return False
        now = datetime.now(UTC)
        return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc

    return check
