"""pyhanko-certvalidator, which implements RFC 5280 section 6.1 in Python.

It validates the path for the extended key usage clientAuth. It fetches nothing.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
from datetime import timedelta

from tools.differential.certificates import AT
from tools.differential.chains import Chain
from tools.differential.verdicts import ACCEPTED, Verdict


def version() -> str | None:
    """Return the version, None if the package is missing."""
    try:
        return importlib.metadata.version("pyhanko-certvalidator")
    except importlib.metadata.PackageNotFoundError:
        return None


def verdict(chain: Chain) -> Verdict:
    """Ask the validator."""
    from asn1crypto import x509
    from pyhanko_certvalidator import CertificateValidator, ValidationContext

    logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL)
    try:
        context = ValidationContext(
            trust_roots=[x509.Certificate.load(anchor, strict=True) for anchor in chain.anchors],
            other_certs=[x509.Certificate.load(e, strict=True) for e in chain.intermediates],
            moment=AT,
            allow_fetching=False,
            revocation_mode="soft-fail",
            time_tolerance=timedelta(),
        )
        leaf = x509.Certificate.load(chain.leaf, strict=True)
        validator = CertificateValidator(leaf, validation_context=context)
        asyncio.run(
            validator.async_validate_usage(
                key_usage=set(), extended_key_usage={"client_auth"}, extended_optional=True
            )
        )
    # It raises its own errors, and those of asn1crypto and cryptography for what it cannot read.
    except Exception as error:
        return Verdict(False, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return ACCEPTED
