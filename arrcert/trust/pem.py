"""Reads certificates from PEM or DER, and recognizes common files of other kinds."""

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
    "holds a private key; write only certificates, and move the key to where the web site cannot"
    " read it"
)
_CERTIFICATE = rb"-----BEGIN (?:X509 )?CERTIFICATE-----"
_NOT_PARSED = rb"-----BEGIN (?:TRUSTED CERTIFICATE|PKCS7|CMS)-----"
"""PEM blocks that may contain certificates, but that `load_pem_x509_certificates` ignores."""


def parse_certificates(data: bytes, where: str) -> list[Certificate]:
    """Return every certificate in the bytes of a file.

    The bytes are PEM blocks with or without other text (RFC 7468 section 5), or one certificate in
    DER. App Service puts public certificates in DER at `/var/ssl/certs/<thumbprint>.der`.

    Args:
        data: the bytes.
        where: the name of the source in errors, such as `the file 'ca.pem'`.

    Raises:
        ValueError: there is no certificate, a certificate cannot be read, or there is also a
            private key. The message is a sentence for the operator.

    It does not check dates or signatures.
    """
    if b"PRIVATE KEY-----" in data:
        raise ValueError(f"{where} {_PRIVATE_KEY}")
    if b"-----BEGIN" not in data and data.startswith(b"\x30"):
        return [_parse_der(data, where)]
    blocks = len(re.findall(_CERTIFICATE, data))
    if blocks == 0:
        raise ValueError(f"{where} holds no PEM certificate; {why_not_pem(data)}")
    if re.search(_NOT_PARSED, data):
        raise ValueError(f"{where} holds more than PEM certificates; {why_not_pem(data)}")
    try:
        certificates = load_pem_x509_certificates(data)
    # cryptography documents ValueError, but its InvalidVersion is not a ValueError.
    except Exception as error:
        why = _known_form(data) or quote(error)
        raise ValueError(f"{where} holds a broken certificate: {why}") from error
    if len(certificates) != blocks:
        raise ValueError(f"{where} holds {blocks} certificates, and not all of them can be read")
    return certificates


def why_not_pem(data: bytes) -> str:
    """Return what a file contains instead of PEM certificates, and what to write instead.

    Args:
        data: the bytes of a file, or the encoded text of a setting.

    It does not check whether there really is no certificate.
    """
    return _known_form(data) or (
        "a PEM file holds at least one block -----BEGIN CERTIFICATE-----"
        if data.strip()
        else "it is empty"
    )


def pasted(setting: str) -> str | None:
    """Return what a setting seems to contain instead of a path, or None if it may be a path.

    Args:
        setting: the text of the setting, without a complete PEM block in it.

    It does not look at the file system.
    """
    text = setting.encode("utf-8", "surrogateescape")
    return next((hint for pattern, hint in _PASTED if re.search(pattern, text)), None)


def is_pkcs12(data: bytes) -> bool:
    """Return whether bytes begin like PKCS#12 (RFC 7292 section 4).

    Args:
        data: the bytes of a file.

    It does not check whether the rest of the bytes can be read. Without the right password,
    cryptography raises the same error for a truncated PKCS#12 file and for other data.
    """
    return _PKCS12.match(data) is not None


def _parse_der(data: bytes, where: str) -> Certificate:
    try:
        return load_der_x509_certificate(data)
    # See parse_certificates.
    except Exception as error:
        if _is_private_key(data):
            raise ValueError(f"{where} {_PRIVATE_KEY}") from error
        why = _known_form(data) or f"it is DER of something else: {quote(error)}"
        raise ValueError(f"{where} holds no certificate; {why}") from error


def _is_private_key(der: bytes) -> bool:
    # This module is slow to import, and it is needed only for data that is not a certificate.
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        load_der_private_key(der, password=None)
    # An encrypted key raises TypeError; other bytes may raise any exception.
    except Exception as error:
        return isinstance(error, TypeError)
    return True


_PKCS12 = re.compile(rb"\A0.{1,5}\x02\x01\x030", re.DOTALL)
"""A SEQUENCE that begins with version 3 and another SEQUENCE."""

_PASTED = (
    (
        rb"\A(?:[0-9A-Fa-f]{2}[: ]?){20}(?:(?:[0-9A-Fa-f]{2}[: ]?){12})?\Z",
        "it looks like a fingerprint; write it in fingerprints",
    ),
    (
        rb"\AMI[\sA-Za-z0-9+/]{60,}={0,2}\s*\Z",
        "it looks like the base64 of a certificate without the lines around it; add"
        " -----BEGIN CERTIFICATE----- before it and -----END CERTIFICATE----- after it",
    ),
)

_REVOCATION_LIST = "it is a revocation list; write it in crls"

_KNOWN_FORMS = (
    (
        rb"-----BEGIN [^\n]*\\n",
        r"its line breaks are written as the two characters \n; write real line breaks, or a file's"
        r" path",
    ),
    (
        rb"\A(?:\xff\xfe|\xfe\xff)",
        "it is UTF-16, the encoding of files that PowerShell writes; save it as ASCII",
    ),
    (
        rb"-----BEGIN (?:PKCS7|CMS)-----",
        "it is PKCS#7 (.p7b); convert it: openssl pkcs7 -print_certs -in FILE -out ca.pem",
    ),
    (
        rb"-----BEGIN TRUSTED CERTIFICATE-----",
        "it is in OpenSSL's own format for trusted certificates; convert it: openssl x509 -in FILE"
        " -out ca.pem",
    ),
    (
        rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----",
        "it is a request for a certificate; write the certificate that the CA issued for it",
    ),
    (rb"-----BEGIN X509 CRL-----", _REVOCATION_LIST),
    (rb"-----BEGIN (?:RSA )?PUBLIC KEY-----", "it is a public key; write its certificate"),
    (
        _PKCS12.pattern,
        "it is PKCS#12 (.pfx, .p12), which may hold a private key; extract the CA certificates:"
        " openssl pkcs12 -cacerts -nokeys -in FILE -out ca.pem",
    ),
    (
        rb"\A0.{1,5}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
        "it is PKCS#7 (.p7b); convert it: openssl pkcs7 -inform der -print_certs -in FILE"
        " -out ca.pem",
    ),
    *_PASTED,
)
"""Patterns of what people write instead of certificates, each with a hint."""


def _known_form(data: bytes) -> str | None:
    for pattern, hint in _KNOWN_FORMS:
        if re.search(pattern, data, re.DOTALL):
            return hint
    return _REVOCATION_LIST if _is_revocation_list(data) else None


def _is_revocation_list(data: bytes) -> bool:
    if not data.startswith(b"\x30"):
        return False
    try:
        load_der_x509_crl(data)
    # Bytes that are not a list may raise any exception.
    except Exception:
        return False
    return True
