"""Outbound mTLS: a TLS context that presents the app's own certificate to another server.

The standard library's `ssl` reads a certificate's key from a PEM file alone. App Service puts
private certificates at `/var/ssl/private/<thumbprint>.p12`, and partners hand out PKCS#12. What
reads PKCS#12 here is `cryptography`.

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
from arrcert.trust.pem import parse_certificates, why_not_pem

__all__ = ["client_ssl_context"]

PRIVATE_CERTIFICATES = Path("/var/ssl/private")
"""Where App Service on Linux puts what `WEBSITE_LOAD_CERTIFICATES` names."""

SOON = timedelta(days=30)
"""How long before its end a certificate is warned of."""

logger = logging.getLogger("arrcert")

_IDENTITY = "path_or_thumbprint"

_PKCS12 = re.compile(rb"\A0.{1,5}\x02\x01\x030", re.DOTALL)
"""A SEQUENCE that begins with version 3 and another SEQUENCE (RFC 7292 section 4)."""

_KEY_BAGS = tuple(bytes.fromhex(f"060b2a864886f70d010c0a01{bag:02x}") for bag in (1, 2))
"""The object identifiers of keyBag and pkcs8ShroudedKeyBag (RFC 7292 section 4.2), as DER."""

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

    It verifies the server and its name, and speaks TLS 1.2 or newer. The private key is decrypted
    in memory; for the moment in which OpenSSL reads it, it lies encrypted with a random password in
    a file that nobody else can read, and that is removed at once.

    The certificate is sent with those intermediates of its path that the file holds, each before
    its issuer, and without the root (RFC 8446 section 4.4.2).

    A certificate that has expired, or is not yet valid, is an ERROR on the logger `arrcert`, and
    the context is made all the same: one late renewal does not take the whole app down, and the
    server decides. One that ends within 30 days, or that has an extended key usage without
    clientAuth, is a WARNING there.

    Args:
        path_or_thumbprint: the path of a PKCS#12 file, or of a PEM file that holds the certificate,
            its intermediates and its key; or a thumbprint of 40 hex digits (colons, spaces and case
            do not matter), which stands for `/var/ssl/private/<thumbprint>.p12`.
        password: opens the file, or the key in it; None, or an empty text, where there is none.
        cafile: PEM file of the CA certificates, or DER file of the one, that the server's
            certificate must lead to, and no others; by default the system's.

    Raises:
        ConfigurationError: a file is missing or holds something else; the password is wrong,
            missing or not needed; there is no key, more than one, or one that does not match the
            certificate; the certificate in the file has another thumbprint; or OpenSSL refuses it.
        OSError: no temporary file can be written.

    It does not check that a server will trust the certificate, and it asks for no revocation of the
    server's. A PKCS#12 file that hides its keys beside its certificates may hold a second key
    unseen. The context keeps the certificate that it was made with: make it anew after a renewal.
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
            f" {certificate.sha1_fingerprint}; write that one, or mend the file",
        )
    context = ssl.create_default_context(cadata=_authorities(cafile))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # With TLS 1.3 a server that wants a certificate for some paths alone asks for it late.
    context.post_handshake_auth = True
    _load(context, identity, where)
    _log_what_servers_will_mind(certificate, where)
    return context


class _Identity(NamedTuple):
    """What the app proves itself with: a key, its certificate, and what else the file holds."""

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
    """Return the file, and the thumbprint that its certificate must have."""
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
        # Quoting it would put a key into the log.
        if "-----BEGIN" in text or re.fullmatch(r"[A-Za-z0-9+/=\s]{200,}", text):
            raise _mistake(
                _IDENTITY, "holds a certificate or key itself; write the path of a file that does"
            )
        if found := _thumbprint_in(text):
            raise _mistake(
                _IDENTITY,
                f"{quote(text)} is neither a file nor a bare thumbprint; write {found!r}",
            )
    return Path(text), None


def _thumbprint_in(text: str) -> str | None:
    """Return the thumbprint within what somebody pasted, such as an invisible mark before it."""
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
        found = f"there are: {', '.join(there)}" if there else "the folder holds no .p12"
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
    """Return the trust anchors as PEM; None stands for the system's."""
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
    if _PKCS12.match(data):
        return _parse_pkcs12(data, password, where)
    raise _mistake(_IDENTITY, _why_neither(data, where))


def _why_neither(data: bytes, where: str) -> str:
    if _PKCS12.match(_from_base64(data)):
        return (
            f"{where} is PKCS#12 in base64, as Key Vault gives out secrets; this makes a file of"
            " it: base64 -d FILE > client.p12"
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
        f"{where} holds no private key; write a .p12 with the key, or a PEM file with both, which"
        " this makes: cat client.pem client.key > both.pem"
    )


def _parse_pkcs12(data: bytes, password: bytes | None, where: str) -> _Identity:
    if sum(map(data.count, _KEY_BAGS)) > 1:
        raise _mistake(_IDENTITY, _several_keys(where))
    try:
        content = pkcs12.load_pkcs12(data, password)
    # Broken bytes: cryptography documents ValueError, and its certificates raise more besides.
    except Exception as error:
        if password is not None and _opens_without_password(data):
            raise _mistake("password", _needless(where)) from error
        raise _why_closed(error, password, where) from error
    others = [entry.certificate for entry in content.additional_certs]
    if content.key is None:
        raise _mistake(_IDENTITY, _no_key(where))
    # OpenSSL takes for the certificate the one that the key belongs to, and none where none is.
    if content.cert is None:
        raise _mistake(_IDENTITY, _mismatch(where) if others else _no_certificate(where))
    return _Identity(content.key, content.cert.certificate, others)


def _opens_without_password(data: bytes) -> bool:
    try:
        pkcs12.load_pkcs12(data, None)
    except Exception:
        return False
    return True


def _parse_pem(data: bytes, password: bytes | None, where: str) -> _Identity:
    blocks = [match[0] for match in _KEY_BLOCK.finditer(data)]
    rest = _KEY_BLOCK.sub(b"", data)
    if b"PRIVATE KEY-----" in rest:
        raise _mistake(_IDENTITY, f"{where} holds a private key that is cut off; copy it whole")
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
    # As above. A password too few or too many is a TypeError.
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
    # A kind of key that cryptography does not know.
    except Exception:
        return False


def _why_closed(error: Exception, password: bytes | None, where: str) -> ConfigurationError:
    if "password" not in str(error).lower():
        return _mistake(_IDENTITY, f"{where} is broken or cut off: {quote(error)}")
    if password is None:
        return _mistake("password", f"is missing; {where} is protected by one")
    hint = "; it begins or ends with white space" if password != password.strip() else ""
    return _mistake("password", f"does not open {where}{hint}; write the one it was saved with")


def _needless(where: str) -> str:
    return f"is given, and {where} is protected by none; leave it out"


def _several_keys(where: str) -> str:
    return f"{where} holds more than one private key; write a file for each"


def _no_certificate(where: str) -> str:
    return f"{where} holds a private key and no certificate; put the certificate beside it"


def _mismatch(where: str) -> str:
    return (
        f"the private key in {where} belongs to none of the certificates in it; was the"
        " certificate renewed with a new key?"
    )


def _facts(certificate: Certificate, where: str) -> ClientCertificate:
    try:
        return ClientCertificate.from_der(der_of(certificate))
    except CertificateDenied as error:
        raise _mistake(_IDENTITY, f"the certificate in {where} is {error.detail}") from error


# -------------------------------------------------------------------------------------- context


def _load(context: ssl.SSLContext, identity: _Identity, where: str) -> None:
    """Hand key and certificates to OpenSSL, which takes them from a file alone."""
    password = secrets.token_urlsafe(32)
    key = identity.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode("ascii"))
    )
    # Both are for their owner alone: the folder 0700, the file 0600.
    with tempfile.TemporaryDirectory(prefix="arrcert-") as folder:
        descriptor, path = tempfile.mkstemp(dir=folder)
        with open(descriptor, "wb") as file:
            file.write(_pem(_chain(identity.certificate, identity.others)) + key)
        try:
            context.load_cert_chain(path, password=password)
        except ssl.SSLError as error:
            raise _mistake(
                _IDENTITY,
                f"OpenSSL refuses the certificate or key in {where}: {error.reason or error}; have"
                " one issued with RSA 2048 or P-256, and SHA-256",
            ) from error


def _chain(certificate: Certificate, others: Iterable[Certificate]) -> list[Certificate]:
    """Return the certificates to send, each before its issuer."""
    chain = [certificate]
    # Strangers stay behind: OpenSSL refuses the whole for the sake of a weak one.
    rest = [other for other in others if other.subject != other.issuer]
    while issuer := next((other for other in rest if has_signed(other, chain[-1])), None):
        rest.remove(issuer)
        chain.append(issuer)
    return chain


def _log_what_servers_will_mind(certificate: ClientCertificate, where: str) -> None:
    now = datetime.now(UTC)
    who = f"the certificate {quote(certificate.subject)} in {where}"
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        logger.error("%s is valid from %s on; until then servers refuse it", who, _moment(begin))
    elif now > end:
        logger.error("%s expired at %s; servers refuse it, so renew it", who, _moment(end))
    elif now > end - SOON:
        days = (end - now).days
        logger.warning("%s expires at %s, in %d days; renew it", who, _moment(end), days)
    if not certificate.permits_client_auth:
        logger.warning(
            "%s has an extended key usage without clientAuth; servers that check it refuse it, so"
            " have it issued for client authentication",
            who,
        )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
