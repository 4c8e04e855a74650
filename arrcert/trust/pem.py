"""Certificates in files: PEM or DER to certificates, and a hint for whatever came instead."""

from __future__ import annotations

import re

from cryptography.x509 import (
    Certificate,
    load_der_x509_certificate,
    load_der_x509_crl,
    load_pem_x509_certificates,
)

from arrcert.exceptions import quote

_PRIVATE_KEY = (
    "holds a private key; write certificates alone, and take the key away from where the web site"
    " can read it"
)
_CERTIFICATE = rb"-----BEGIN (?:X509 )?CERTIFICATE-----"
_LOST = rb"-----BEGIN (?:TRUSTED CERTIFICATE|PKCS7|CMS)-----"
"""Blocks that hold certificates which the parser of PEM certificates passes over."""


def parse_certificates(data: bytes, where: str) -> list[Certificate]:
    """Parse every certificate in a file's bytes: PEM blocks with text around them, or one DER.

    App Service puts public certificates at `/var/ssl/certs/<thumbprint>.der`.

    Args:
        data: the bytes.
        where: what an error calls them.

    Raises:
        ValueError: with a sentence for the operator: nothing in it, not all of it can be read, or
            a private key beside it.

    It does not check dates or signatures.
    """
    if b"PRIVATE KEY-----" in data:
        raise ValueError(f"{where} {_PRIVATE_KEY}")
    if b"-----BEGIN" not in data and data.startswith(b"\x30"):
        return [_parse_der(data, where)]
    blocks = len(re.findall(_CERTIFICATE, data))
    if blocks == 0:
        raise ValueError(f"{where} holds no PEM certificate; {why_not_pem(data)}")
    if re.search(_LOST, data):
        raise ValueError(f"{where} holds more than PEM certificates; {why_not_pem(data)}")
    try:
        certificates = load_pem_x509_certificates(data)
    # cryptography documents ValueError, and its InvalidVersion is none.
    except Exception as error:
        why = _known_form(data) or quote(error)
        raise ValueError(f"{where} holds a broken certificate: {why}") from error
    if len(certificates) != blocks:
        raise ValueError(f"{where} holds {blocks} certificates, not all of which can be read")
    return certificates


def why_not_pem(data: bytes) -> str:
    """Return what stands in the place of PEM certificates, and what to write instead.

    Args:
        data: a file's bytes, or a setting's text encoded.
    """
    return _known_form(data) or (
        "a PEM file holds at least one block -----BEGIN CERTIFICATE-----"
        if data.strip()
        else "it is empty"
    )


def pasted(setting: str) -> str | None:
    """Return what a setting that is no file's path seems to hold; None where it may be a path.

    Args:
        setting: the text, without a whole PEM block in it.
    """
    text = setting.encode("utf-8", "surrogateescape")
    return next((hint for pattern, hint in _PASTED if re.search(pattern, text)), None)


def _parse_der(data: bytes, where: str) -> Certificate:
    try:
        return load_der_x509_certificate(data)
    # As above.
    except Exception as error:
        if _is_private_key(data):
            raise ValueError(f"{where} {_PRIVATE_KEY}") from error
        why = _known_form(data) or f"it is DER of something else: {quote(error)}"
        raise ValueError(f"{where} holds no certificate; {why}") from error


def _is_private_key(der: bytes) -> bool:
    # Asked of what is no certificate alone; the module is slow to import.
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        load_der_private_key(der, password=None)
    # An encrypted key raises TypeError; hostile bytes raise what they like.
    except Exception as error:
        return isinstance(error, TypeError)
    return True


_ARMOUR = "put -----BEGIN CERTIFICATE----- and -----END CERTIFICATE----- around it"

_PASTED = (
    (
        rb"\A(?:[0-9A-Fa-f]{2}[: ]?){20}(?:(?:[0-9A-Fa-f]{2}[: ]?){12})?\Z",
        "it looks like a fingerprint; fingerprints takes it",
    ),
    (
        rb"\AMI[\sA-Za-z0-9+/]{60,}={0,2}\s*\Z",
        f"it looks like a certificate's base64 without its armour; {_ARMOUR}",
    ),
)

_KNOWN_FORMS = (
    (
        rb"-----BEGIN [^\n]*\\n",
        r"its line breaks are written \n, as two characters; write real ones, or a file's path",
    ),
    (
        rb"\A(?:\xff\xfe|\xfe\xff)",
        "it is UTF-16, as PowerShell writes files; save it as ASCII",
    ),
    (
        rb"-----BEGIN (?:PKCS7|CMS)-----",
        "it is PKCS#7 (.p7b); this makes certificates of it: openssl pkcs7 -print_certs -in FILE"
        " -out ca.pem",
    ),
    (
        rb"-----BEGIN TRUSTED CERTIFICATE-----",
        "it holds OpenSSL's own trusted certificates; this makes PEM of one: openssl x509 -in FILE"
        " -out ca.pem",
    ),
    (
        rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----",
        "it is a request for a certificate; write the certificate that the CA made of it",
    ),
    (rb"-----BEGIN X509 CRL-----", "it is a revocation list; crls takes it"),
    (rb"-----BEGIN (?:RSA )?PUBLIC KEY-----", "it is a public key; write its certificate"),
    (
        rb"\A0.{1,5}\x02\x01\x030",
        "it is PKCS#12 (.pfx, .p12), which may hold a private key; write the CA certificates alone:"
        " openssl pkcs12 -cacerts -nokeys -in FILE -out ca.pem",
    ),
    (
        rb"\A0.{1,5}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
        "it is PKCS#7 (.p7b); this makes PEM of it: openssl pkcs7 -inform der -print_certs -in FILE"
        " -out ca.pem",
    ),
    *_PASTED,
)
"""What comes instead of certificates, by a pattern, and what to write."""


def _known_form(data: bytes) -> str | None:
    for pattern, hint in _KNOWN_FORMS:
        if re.search(pattern, data, re.DOTALL):
            return hint
    return "it is a revocation list; crls takes it" if _is_revocation_list(data) else None


def _is_revocation_list(data: bytes) -> bool:
    if not data.startswith(b"\x30"):
        return False
    try:
        load_der_x509_crl(data)
    # Hostile bytes raise what they like.
    except Exception:
        return False
    return True
