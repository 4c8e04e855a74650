"""Reads the certificate for `arrcert explain`, in each of the formats that it supports."""

from __future__ import annotations

import base64
import os
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import Certificate, load_pem_x509_certificates

from arrcert.certificate import ClientCertificate, der_of, read_certificate
from arrcert.exceptions import Finding, quote
from arrcert.forwarding.encodings import decode
from arrcert.forwarding.front_ends import FrontEnd
from arrcert.trust.pem import is_pkcs12, why_not_pem

LONGEST_SOURCE = 1024 * 1024
"""The largest file that is read, in bytes."""


class NoCertificateError(Exception):
    """No certificate can be read. The message is a sentence for the operator."""


class PasswordNeededError(Exception):
    """A PKCS#12 file needs a password, and none was given."""


class Given(NamedTuple):
    """A certificate, and the other certificates in the same source.

    Attributes:
        certificate: the client certificate.
        form: `PEM`, `DER`, `PKCS#12`, or the encoding of a header's value.
        forwarded: CA certificates in a header value. The site gets them, too.
        others: other certificates in a file. The site does not get them.
    """

    certificate: ClientCertificate
    form: str
    forwarded: tuple[Certificate, ...] = ()
    others: tuple[Certificate, ...] = ()


def read_given(argument: str, front_end: FrontEnd, password: bytes | None = None) -> Given:
    """Return the certificate that an argument of the command names.

    Args:
        argument: the path of a file, `-` for standard input, or a header's value.
        front_end: the front end of the site. For XFCC it says which element is the client's.
        password: the password of a PKCS#12 file.

    Raises:
        NoCertificateError: there is no certificate.
        PasswordNeededError: the file has a password, and `password` is None.
    """
    if argument == "-":
        return certificate_in(
            sys.stdin.buffer.read(LONGEST_SOURCE + 1), "standard input", front_end
        )
    if _is_header_value(argument):
        return certificate_in(argument.encode("utf-8", "replace"), "the argument", front_end)
    return certificate_in(_content_of(Path(argument)), quote(argument), front_end, password)


def _content_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(LONGEST_SOURCE + 1)
    except IsADirectoryError as error:
        raise NoCertificateError(
            f"{quote(path)} is a folder; use --all {shlex.quote(str(path))}"
        ) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise NoCertificateError(
            f"{quote(path)} cannot be read: {why}; write the path of a certificate, - for standard"
            " input, or a header's value"
        ) from error


def certificate_in(
    data: bytes, where: str, front_end: FrontEnd, password: bytes | None = None
) -> Given:
    """Return the certificate in some bytes: PEM, DER, PKCS#12 or a header's value.

    Args:
        data: the bytes.
        where: the name of the source in errors, escaped.
        front_end: as in `read_given`.
        password: the password of PKCS#12.

    Raises:
        NoCertificateError: there is no certificate.
        PasswordNeededError: PKCS#12 has a password, and `password` is None.

    A private key in the same source is not used and is never shown.
    """
    if len(data) > LONGEST_SOURCE:
        raise NoCertificateError(f"{where} is larger than {LONGEST_SOURCE} bytes")
    if is_pkcs12(data):
        return _from_pkcs12(data, where, password)
    if b"-----BEGIN CERTIFICATE-----" in data or b"-----BEGIN X509 CERTIFICATE-----" in data:
        return _from_pem(data, where)
    if data.startswith(b"\x30") and not data.isascii():
        return Given(_readable(data, where), "DER")
    text = data.decode("latin-1").strip()
    # The text may be a whole header line, with the name before the value.
    text = re.sub(r"\A[A-Za-z][A-Za-z0-9-]*:[ \t]*(?=\S)", "", text)
    encoding = _encoding_of(text)
    if encoding is None:
        raise NoCertificateError(f"{where} holds no certificate; {why_not_pem(data)}")
    if encoding == "base64-der":
        # Tools wrap base64 into lines. A header value has no line breaks.
        text = re.sub(r"\s", "", text)
        der = _decoded(text)
        if is_pkcs12(der):  # Secrets in Key Vault have this format.
            return _from_pkcs12(der, where, password)
    hops = front_end.trusted_hops if front_end.encoding == "xfcc" else 1
    decoded = decode(encoding, text, hops)
    if isinstance(decoded, Finding):
        raise NoCertificateError(
            f"{where}, read as {encoding}, holds no certificate: {decoded.detail}"
        )
    leaf, *chain = decoded
    forwarded = tuple(_readable(der, where).x509 for der in chain)
    return Given(_readable(leaf, where), encoding, forwarded)


def _is_header_value(argument: str) -> bool:
    """Return whether an argument is a header value rather than a path."""
    return (
        len(argument) > 200
        and not os.path.lexists(argument[:4096])
        and bool(
            _encoding_of(re.sub(r"\A[A-Za-z][A-Za-z0-9-]*:[ \t]*(?=\S)", "", argument.strip()))
        )
    )


def _encoding_of(text: str) -> str | None:
    """Return the encoding that a header's value seems to have."""
    if re.search(r'(?i)(?:\A|[;,])cert="?-----BEGIN|(?:\A|[;,])hash=', text):
        return "xfcc"
    if text.startswith("-----BEGIN%20"):
        return "percent-encoded-pem"
    if re.fullmatch(r":[A-Za-z0-9+/=]+:", text):
        return "rfc9440"
    return "base64-der" if re.fullmatch(r"M[A-Za-z0-9+/=\s]{60,}", text) else None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _readable(der: bytes, where: str) -> ClientCertificate:
    certificate = read_certificate(der)
    if isinstance(certificate, Finding):
        why = _why_cut_off(der)
        raise NoCertificateError(f"{where} {why}" if why else f"{where}: {certificate.detail}")
    return certificate


def _from_pem(data: bytes, where: str) -> Given:
    try:
        certificates = load_pem_x509_certificates(data)
    # cryptography documents ValueError, but its InvalidVersion is not a ValueError.
    except Exception as error:
        why = _why_broken(data) or f"holds a broken certificate: {quote(error)}"
        raise NoCertificateError(f"{where} {why}") from error
    ders = [der_of(certificate) for certificate in certificates]
    leaf = next((der for der in ders if not _is_ca(der)), ders[0])
    others = (other for other, der in zip(certificates, ders, strict=True) if der != leaf)
    return Given(_readable(leaf, where), "PEM", others=tuple(others))


_BEGIN = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_END = re.compile(rb"-----END (?:X509 )?CERTIFICATE-----")
_COPY = "copy the whole file again"


def _why_broken(data: bytes) -> str | None:
    """Return in plain words what is wrong with PEM certificates, None if it is something else."""
    _, *blocks = _BEGIN.split(data)
    for number, block in enumerate(blocks, start=1):
        which = "the certificate" if len(blocks) == 1 else f"certificate {number}"
        body, *rest = _END.split(block, maxsplit=1)
        if not rest:
            return (
                f"is cut off or damaged: after {which} the line -----END CERTIFICATE----- is"
                f" missing; {_COPY}"
            )
        try:
            der = base64.b64decode(b"".join(body.split()), validate=True)
        except ValueError:
            return f"is cut off or damaged: the text of {which} is not whole base64; {_COPY}"
        why = _why_cut_off(der)
        if why is not None:
            return why
    return None


def _why_cut_off(der: bytes) -> str | None:
    """Return that DER has fewer bytes than its header says (X.690 section 8.1.3), else None."""
    if len(der) < 2 or der[0] != 0x30:
        return None
    size = der[1]
    begin = 2
    if size >= 0x80:
        begin += size - 0x80
        size = int.from_bytes(der[2:begin])
    # A certificate begins with a second SEQUENCE. Other bytes are not a part of one.
    if len(der) >= begin + size or der[begin : begin + 1] != b"\x30":
        return None
    return f"is cut off: it has {len(der)} of the {begin + size} bytes of a certificate; {_COPY}"


def _is_ca(der: bytes) -> bool:
    certificate = read_certificate(der)
    return not isinstance(certificate, Finding) and certificate.is_ca


def _from_pkcs12(data: bytes, where: str, password: bytes | None) -> Given:
    held = None
    # A file without a password may be unencrypted, or encrypted with an empty password.
    for candidate in (None, b"") if password is None else (password,):
        try:
            held = pkcs12.load_pkcs12(data, candidate)
            break
        # cryptography gives the same errors for a wrong password and for a broken file.
        except Exception as error:
            failure = error
    if held is None:
        if password is None:
            raise PasswordNeededError
        raise NoCertificateError(
            f"{where} cannot be opened with this password, or is broken: {quote(failure)}"
        )
    others = [other.certificate for other in held.additional_certs]
    if held.cert is not None:
        others.insert(0, held.cert.certificate)
    if not others:
        raise NoCertificateError(f"{where} is PKCS#12 and holds no certificate")
    leaf, *others = others
    return Given(_readable(der_of(leaf), where), "PKCS#12", others=tuple(others))
