"""Outbound mTLS: a TLS context that presents the app's own certificate to another server.

The standard library's `ssl` reads a private key only from a PEM file. App Service stores private
certificates at `/var/ssl/private/<thumbprint>.p12`, and partners often send PKCS#12, too. This
module reads PKCS#12 with `cryptography`.

App Service: https://learn.microsoft.com/azure/app-service/configure-ssl-certificate-in-code
"""

from __future__ import annotations

import base64
import logging
import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import Certificate

from arrcert.certificate import ClientCertificate, der_of
from arrcert.exceptions import CertificateDenied, ConfigurationError, Problem, quote
from arrcert.key_vault import UNRESOLVED_REFERENCE, is_unresolved_reference
from arrcert.pins import fingerprint_digits
from arrcert.trust.paths import has_signed
from arrcert.trust.pem import is_pkcs12, parse_certificates, why_not_pem

__all__ = ["client_ssl_context"]

PRIVATE_CERTIFICATES = Path("/var/ssl/private")
"""The folder where App Service on Linux stores the private certificates that the app setting
`WEBSITE_LOAD_CERTIFICATES` lists."""

SOON = timedelta(days=30)
"""A warning is logged if a certificate expires within this time."""

logger = logging.getLogger("arrcert")

_IDENTITY = "path_or_thumbprint"

_KEY_BAGS = tuple(bytes.fromhex(f"060b2a864886f70d010c0a01{bag:02x}") for bag in (1, 2))
"""The object identifiers of keyBag and pkcs8ShroudedKeyBag (RFC 7292 section 4.2), in DER."""

_KEY_BLOCK = re.compile(
    rb"-----BEGIN (?P<kind>(?:[A-Z0-9]+ )*)PRIVATE KEY-----.*?-----END (?P=kind)PRIVATE KEY-----",
    re.DOTALL,
)


def client_ssl_context(
    path_or_thumbprint: str | os.PathLike[str],
    password: str | bytes | None = None,
    cafile: str | os.PathLike[str] | None = None,
) -> ssl.SSLContext:
    """Make a TLS context that presents a client certificate, for httpx, requests, urllib, aiohttp.

    The context verifies the server's certificate and its name, and requires TLS 1.2 or newer. It
    sends the certificate and the intermediates in the file, each before its issuer. It does not
    send the root certificate (RFC 8446 section 4.4.2).

    The private key is decrypted in memory only. OpenSSL reads it from a temporary file, where it is
    encrypted with a random password. Only this user can read that file, and it is removed at once.

    A certificate that has expired or is not valid yet is logged as an ERROR on the logger
    `arrcert`. The context is still created, so that a late renewal does not stop the whole app. The
    server decides whether it accepts the certificate. A certificate that expires within 30 days, or
    whose extended key usage lacks clientAuth, is logged as a WARNING.

    Args:
        path_or_thumbprint: the path of a PKCS#12 file, or of a PEM file with the certificate, its
            intermediates and its key. It can also be a thumbprint of 40 hex digits, which means
            `/var/ssl/private/<thumbprint>.p12`. Colons, spaces and case in a thumbprint are
            ignored.
        password: the password of the file, or of the key in it; None or empty if there is no
            password.
        cafile: a PEM file of CA certificates, or a DER file of one. Only servers with a certificate
            of one of these CAs are trusted. By default, the CA certificates of the system are used.

    Raises:
        ConfigurationError: a file is missing or holds something else; the password is wrong,
            missing or not needed; there is no key, more than one, or one that does not match the
            certificate; the certificate in the file has another thumbprint; or OpenSSL refuses it.
        OSError: no temporary file can be written.

    It does not check whether a server will trust the certificate, or whether the server's
    certificate is revoked. It does not find a second key in a PKCS#12 file whose list of keys is
    encrypted. The context does not notice a renewed certificate: create a new context for it.
    """
    _refuse_key_vault_references(
        {_IDENTITY: path_or_thumbprint, "password": password, "cafile": cafile}
    )
    path, thumbprint = _locate(os.fspath(path_or_thumbprint))
    where = quote(path)
    secret = password.encode("utf-8", "surrogateescape") if isinstance(password, str) else password
    identity = _parse(_bytes_of(path, _IDENTITY), secret or None, where)
    certificate = _facts(identity.certificate, where)
    if thumbprint is not None and certificate.sha1_fingerprint != thumbprint:
        raise _mistake(
            _IDENTITY,
            f"the certificate in {where} has another thumbprint,"
            f" {certificate.sha1_fingerprint}; write that one, or replace the file",
        )
    context = ssl.create_default_context(cadata=_authorities(cafile))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # With TLS 1.3, a server that requires a certificate only on some paths asks for it later.
    context.post_handshake_auth = True
    _load(context, identity, where)
    _log_what_servers_may_refuse(certificate, where)
    return context


class _Identity(NamedTuple):
    """The app's private key, its certificate, and the other certificates in the file."""

    key: PrivateKeyTypes
    certificate: Certificate
    others: Sequence[Certificate]


def _mistake(setting: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(setting, message)])


def _refuse_key_vault_references(settings: dict[str, object]) -> None:
    for setting, value in settings.items():
        if is_unresolved_reference(str(value)):
            raise _mistake(setting, UNRESOLVED_REFERENCE)


# ---------------------------------------------------------------------------------------- files


def _locate(text: str) -> tuple[Path, str | None]:
    """Return the path, and the thumbprint that the certificate must have, if one was given."""
    digits = fingerprint_digits(text)
    if digits is not None and len(digits) == 40:
        return _platform_file(digits), digits
    if digits is not None:
        raise _mistake(
            _IDENTITY,
            f"{quote(text)} is a SHA-256 fingerprint; App Service names its files by the SHA-1"
            " thumbprint, 40 hex digits",
        )
    if not text.strip():
        raise _mistake(_IDENTITY, "is empty; write a file's path, or a thumbprint")
    if not os.path.lexists(text):
        # The text is not quoted, because that would put a key into the log.
        if "-----BEGIN" in text or re.fullmatch(r"[A-Za-z0-9+/=\s]{200,}", text):
            raise _mistake(_IDENTITY, "holds a certificate or key itself; write the path of a file")
        if found := _thumbprint_in(text):
            raise _mistake(
                _IDENTITY,
                f"{quote(text)} is neither a file nor a bare thumbprint; write {found!r}",
            )
    return Path(text), None


def _thumbprint_in(text: str) -> str | None:
    """Return the thumbprint in a pasted text, which may hold a label or invisible characters."""
    digits = re.sub(r"(?i)\A.*print\s*=|[^0-9a-f]", "", text).upper()
    return digits if len(digits) == 40 and not re.search(r"[/\\]", text) else None


def _platform_file(thumbprint: str) -> Path:
    folder = PRIVATE_CERTIFICATES
    try:
        there = {
            Path(name).stem.upper(): folder / name
            for name in sorted(os.listdir(folder))
            if name.lower().endswith(".p12")
        }
    except OSError as error:
        found = f"the folder cannot be read: {error.strerror}"
    else:
        if thumbprint in there:
            return there[thumbprint]
        found = f"it holds: {', '.join(there)}" if there else "the folder holds no .p12"
    raise _mistake(
        _IDENTITY,
        f"{quote(folder / f'{thumbprint}.p12')} does not exist; on App Service the app setting"
        f" WEBSITE_LOAD_CERTIFICATES must hold this thumbprint, or *; {found}",
    )


def _bytes_of(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise _mistake(
            setting, f"{quote(path)} cannot be read: {why}; write the path of a file"
        ) from error


def _authorities(cafile: str | os.PathLike[str] | None) -> str | None:
    """Return the CA certificates to trust as PEM, or None for those of the system."""
    if cafile is None:
        return None
    data = _bytes_of(Path(cafile), "cafile")
    try:
        return _pem(parse_certificates(data, quote(os.fspath(cafile)))).decode("ascii")
    except ValueError as error:
        raise _mistake("cafile", str(error)) from error


def _pem(certificates: Iterable[Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


# ------------------------------------------------------------------------------------- contents


def _parse(data: bytes, password: bytes | None, where: str) -> _Identity:
    if b"-----BEGIN" in data:
        return _parse_pem(data, password, where)
    if is_pkcs12(data):
        return _parse_pkcs12(data, password, where)
    raise _mistake(_IDENTITY, _why_neither(data, where))


def _why_neither(data: bytes, where: str) -> str:
    if is_pkcs12(_from_base64(data)):
        return (
            f"{where} is PKCS#12 in base64, the format of secrets in Key Vault; decode it:"
            " base64 -d FILE > client.p12"
        )
    try:
        parse_certificates(data, where)
    except ValueError:
        return f"{where} is neither PKCS#12 nor PEM; {why_not_pem(data)}"
    return _no_key(where)


def _from_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except ValueError:
        return b""


def _no_key(where: str) -> str:
    return (
        f"{where} holds no private key; write a .p12 with the key, or make a PEM file with both:"
        " cat client.pem client.key > both.pem"
    )


def _parse_pkcs12(data: bytes, password: bytes | None, where: str) -> _Identity:
    # cryptography returns the first key and does not tell whether there are others.
    if sum(map(data.count, _KEY_BAGS)) > 1:
        raise _mistake(_IDENTITY, _several_keys(where))
    try:
        content = pkcs12.load_pkcs12(data, password)
    # cryptography documents ValueError, but broken certificates raise other exceptions.
    except Exception as error:
        if password is not None and _opens_without_password(data):
            raise _mistake("password", _needless(where)) from error
        raise _why_closed(error, password, where) from error
    others = [entry.certificate for entry in content.additional_certs]
    if content.key is None:
        raise _mistake(_IDENTITY, _no_key(where))
    # cryptography returns the certificate that matches the key as `cert`, all others separately.
    if content.cert is None:
        raise _mistake(_IDENTITY, _mismatch(where) if others else _no_certificate(where))
    return _Identity(content.key, content.cert.certificate, others)


def _opens_without_password(data: bytes) -> bool:
    try:
        pkcs12.load_pkcs12(data, None)
    # As in _from_pkcs12.
    except Exception:
        return False
    return True


def _parse_pem(data: bytes, password: bytes | None, where: str) -> _Identity:
    blocks = [match[0] for match in _KEY_BLOCK.finditer(data)]
    rest = _KEY_BLOCK.sub(b"", data)
    if b"PRIVATE KEY-----" in rest:
        raise _mistake(_IDENTITY, f"{where} holds a private key that is cut off; copy all of it")
    if len(blocks) > 1:
        raise _mistake(_IDENTITY, _several_keys(where))
    if blocks and b"-----BEGIN" not in rest:
        raise _mistake(_IDENTITY, _no_certificate(where))
    try:
        certificates = parse_certificates(rest, where)
    except ValueError as error:
        raise _mistake(_IDENTITY, str(error)) from error
    if not blocks:
        raise _mistake(_IDENTITY, _no_key(where))
    try:
        key = load_pem_private_key(blocks[0], password)
    # A missing or needless password is a TypeError; broken bytes may raise other exceptions.
    except Exception as error:
        if password is not None and isinstance(error, TypeError):
            raise _mistake("password", _needless(where)) from error
        raise _why_closed(error, password, where) from error
    for certificate in certificates:
        if _belong_together(key, certificate):
            others = [other for other in certificates if other != certificate]
            return _Identity(key, certificate, others)
    raise _mistake(_IDENTITY, _mismatch(where))


def _belong_together(key: PrivateKeyTypes, certificate: Certificate) -> bool:
    try:
        return key.public_key() == certificate.public_key()
    # cryptography does not support this kind of key.
    except Exception:
        return False


def _why_closed(error: Exception, password: bytes | None, where: str) -> ConfigurationError:
    if "password" not in str(error).lower():
        return _mistake(_IDENTITY, f"{where} is broken or cut off: {quote(error)}")
    if password is None:
        return _mistake("password", f"is missing; {where} is protected by a password")
    hint = "; the password begins or ends with white space" if password != password.strip() else ""
    return _mistake("password", f"does not open {where}{hint}; write the right one")


def _needless(where: str) -> str:
    return f"is not needed, because {where} has no password; remove it"


def _several_keys(where: str) -> str:
    return f"{where} holds more than one private key; write a file for each"


def _no_certificate(where: str) -> str:
    return f"{where} holds a private key and no certificate; add the certificate to it"


def _mismatch(where: str) -> str:
    return (
        f"the private key in {where} does not belong to any certificate in it; check whether the"
        " certificate was renewed with a new key"
    )


def _facts(certificate: Certificate, where: str) -> ClientCertificate:
    try:
        return ClientCertificate.from_der(der_of(certificate))
    except CertificateDenied as error:
        raise _mistake(
            _IDENTITY, f"the certificate in {where} cannot be read: {error.detail}"
        ) from error


# -------------------------------------------------------------------------------------- context


def _load(context: ssl.SSLContext, identity: _Identity, where: str) -> None:
    """Pass the key and the certificates to OpenSSL, which reads them only from a file."""
    password = secrets.token_urlsafe(32)
    key = identity.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode("ascii"))
    )
    # Only the owner can read them: the folder has the mode 0700, the file 0600.
    with tempfile.TemporaryDirectory(prefix="arrcert-") as folder:
        descriptor, path = tempfile.mkstemp(dir=folder)
        with open(descriptor, "wb") as file:
            file.write(_pem(_chain(identity.certificate, identity.others)) + key)
        try:
            context.load_cert_chain(path, password=password)
        except ssl.SSLError as error:
            raise _mistake(
                _IDENTITY,
                f"OpenSSL refuses the certificate or key in {where}: {error.reason or error}; get"
                " one with RSA 2048 or P-256, and SHA-256",
            ) from error


def _chain(certificate: Certificate, others: Iterable[Certificate]) -> list[Certificate]:
    """Return the certificates to send, each before its issuer."""
    chain = [certificate]
    # Leave out certificates that are not on the path. One weak certificate makes OpenSSL refuse the
    # whole file.
    rest = [other for other in others if other.subject != other.issuer]
    while issuer := next((other for other in rest if has_signed(other, chain[-1])), None):
        rest.remove(issuer)
        chain.append(issuer)
    return chain


def _log_what_servers_may_refuse(certificate: ClientCertificate, where: str) -> None:
    now = datetime.now(UTC)
    who = f"the certificate {quote(certificate.subject)} in {where}"
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        logger.error(
            "%s is valid only from %s on; until then servers refuse it", who, _moment(begin)
        )
    elif now > end:
        logger.error("%s expired at %s, so servers refuse it; renew it", who, _moment(end))
    elif now > end - SOON:
        days = (end - now).days
        logger.warning("%s expires at %s, in %d days; renew it", who, _moment(end), days)
    if not certificate.permits_client_auth:
        logger.warning(
            "%s has an extended key usage without clientAuth, so servers may refuse it; get one for"
            " client authentication",
            who,
        )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
