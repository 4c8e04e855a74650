"""Certificate revocation lists (RFC 5280 section 5), read whole, offline, and asked in no time."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    Certificate,
    CertificateIssuer,
    CertificateRevocationList,
    CRLNumber,
    DeltaCRLIndicator,
    ExtensionNotFound,
    Extensions,
    IssuingDistributionPoint,
    KeyUsage,
    Name,
    RevokedCertificate,
    load_der_x509_crl,
)

from arrcert.exceptions import quote
from arrcert.keys import public_key_info_of

_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD = (CRLNumber, AuthorityKeyIdentifier)
"""List extensions that may be critical; the others say that a list is not whole, or are unknown."""
_ENCODED_CERTIFICATE_ISSUER = b"\x06\x03\x55\x1d\x1d"
_ENCODED_TRUE = b"\x01\x01\xff"
_WIDTH = 20
"""Bytes of the longest serial number that RFC 5280 section 4.1.2.2 allows."""
_TOO_LONG = 1 << 8 * _WIDTH


class RevocationList:
    """One whole list, its signature verified and its entries indexed; immutable.

    Made by `read_revocation_lists`. It holds neither the list's bytes nor a pyca object of it: a
    million entries take 27 MB. It may be expired: `why_not_current` tells, for a moment.

    Attributes:
        source: what errors and logs call it, fit for a log: `the file 'ca.crl'`.
        issuer: the name of the CA that signed it.
        number: its CRLNumber (RFC 5280 section 5.2.3); None without one.
        this_update_utc: when it was issued, aware.
        next_update_utc: until when it holds, aware.
    """

    __slots__ = (
        "_issuer_key",
        "_serial_numbers",
        "issuer",
        "next_update_utc",
        "number",
        "source",
        "this_update_utc",
    )

    source: str
    issuer: Name
    number: int | None
    this_update_utc: datetime
    next_update_utc: datetime
    _issuer_key: bytes
    _serial_numbers: _SerialNumbers

    def __init__(self) -> None:
        raise TypeError("make a RevocationList by read_revocation_lists()")

    @classmethod
    def _from_facts(cls, **facts: Any) -> RevocationList:
        self = cls.__new__(cls)
        for name, value in facts.items():
            object.__setattr__(self, name, value)
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a RevocationList is immutable: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a RevocationList is immutable: {name}")

    def __len__(self) -> int:
        return self._serial_numbers.count

    def __bool__(self) -> bool:
        """A list without entries is a list."""
        return True

    @property
    def signer(self) -> tuple[Name, bytes]:
        """The name of the CA that signed it, and the SHA-256 of the CA's public key."""
        return self.issuer, self._issuer_key

    def revokes(self, serial_number: int) -> bool:
        """Tell whether an entry names the serial number; the list is not walked.

        Args:
            serial_number: of a certificate that the list's own CA issued; of no other.

        It asks for no reason and no revocation date: on hold is revoked.
        """
        return serial_number in self._serial_numbers

    def is_signed_by(self, ca: Certificate) -> bool:
        """Tell whether the list speaks for this CA (RFC 5280 section 6.3.3, f and g).

        Args:
            ca: a CA certificate of the path. The list's signature was verified when it was read;
                here the name and the public key it was verified with are compared.

        It does not check the CA's own validity; the path does.
        """
        return signer_of(ca) == self.signer and may_sign_lists(ca)

    def why_not_current(self, at: datetime) -> str | None:
        """Tell why the list does not hold at the moment, None where it does.

        Args:
            at: the moment, aware. Both ends belong to the list's time (RFC 5280 sections 5.1.2.4
                and 5.1.2.5).
        """
        if at < self.this_update_utc:
            return f"{self.source} holds from {_timestamp(self.this_update_utc)} on"
        if at > self.next_update_utc:
            return f"{self.source} expired at {_timestamp(self.next_update_utc)}"
        return None

    def is_older_than(self, other: RevocationList) -> bool:
        """Tell whether the other list of the same signer replaces this one.

        Args:
            other: compared by CRLNumber where both have one and they differ, else by thisUpdate.
        """
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number < other.number
        return self.this_update_utc < other.this_update_utc

    def __repr__(self) -> str:
        return (
            f"<RevocationList {self.source} of {quote(self.issuer.rfc4514_string())},"
            f" {len(self)} entries, until {_timestamp(self.next_update_utc)}>"
        )


def read_revocation_lists(
    data: bytes, *, source: str, issuers: Iterable[Certificate]
) -> list[RevocationList]:
    """Read the lists of one file, each whole, signed, and fit to be believed.

    Args:
        data: one DER list, or any number of PEM blocks `X509 CRL` (RFC 7468 section 6) with text
            around them.
        source: what errors and logs call it, fit for a log: `the file 'ca.crl'`.
        issuers: CA certificates that a list may be signed by: trust anchors and intermediates.

    Raises:
        ValueError: with a sentence for the operator, where any list in it does not count: it is
            broken; no issuer has its name, signed it, or may sign lists; its signature algorithm is
            weak; it has no nextUpdate; it is a delta, indirect or partial list (RFC 5280 sections
            5.2.4 and 5.2.5), also one that names a distribution point; it or an entry of it has a
            critical extension that is not understood (sections 5.2 and 5.3).

    It does not check that a list is current, which depends on the moment, nor the validity of the
    issuers, and it fetches nothing.
    """
    cas = list(issuers)
    try:
        return [_read(der, source, cas) for der in _encoded_lists(data)]
    except _DoesNotCountError as error:
        raise ValueError(f"{source} {error}") from error
    # Hostile bytes: cryptography documents ValueError, and its lazily decoded parts raise more.
    except Exception as error:
        raise ValueError(
            f"{source} holds a broken revocation list ({quote(error)}); fetch it again"
        ) from error


class _DoesNotCountError(Exception):
    """The end of a sentence that begins with the source."""


def _encoded_lists(data: bytes) -> Iterator[bytes]:
    if data.startswith(b"\x30"):
        yield bytes(data)
        return
    if b"PRIVATE KEY-----" in data:
        raise _DoesNotCountError(
            "holds a private key; write lists alone, and take the key away from where the web site"
            " can read it"
        )
    at = data.find(_BEGIN)
    if at == -1:
        raise _DoesNotCountError(f"holds no revocation list; {_hint(data)}")
    while at != -1:
        body = at + len(_BEGIN)
        end = data.find(_END, body)
        if end == -1:
            raise _DoesNotCountError("ends within a revocation list; fetch it again")
        yield base64.b64decode(data[body:end].translate(None, b" \t\r\n"), validate=True)
        at = data.find(_BEGIN, end)


def _hint(data: bytes) -> str:
    if not data.strip():
        return "it is empty"
    if b"-----BEGIN CERTIFICATE-----" in data:
        return "it holds certificates, which are no list of what is revoked"
    if data.lstrip().startswith(b"<"):
        return "it looks like a web page; is the address right?"
    return "it must be DER, or hold at least one block -----BEGIN X509 CRL-----"


def _read(der: bytes, source: str, issuers: Sequence[Certificate]) -> RevocationList:
    crl = load_der_x509_crl(der)
    issuer_key = _verified_key(crl, der, issuers)
    if crl.next_update_utc is None:
        raise _DoesNotCountError(
            "has no nextUpdate, so nobody knows when it is stale; have the CA write one"
        )
    _require_whole(crl.extensions)
    return RevocationList._from_facts(
        source=source,
        issuer=crl.issuer,
        number=_number(crl.extensions),
        this_update_utc=crl.last_update_utc,
        next_update_utc=crl.next_update_utc,
        _issuer_key=issuer_key,
        _serial_numbers=_SerialNumbers(_serial_numbers(crl, der), len(crl)),
    )


def _number(extensions: Extensions) -> int | None:
    try:
        return extensions.get_extension_for_class(CRLNumber).value.crl_number
    except ExtensionNotFound:
        return None


def _verified_key(
    crl: CertificateRevocationList, der: bytes, issuers: Sequence[Certificate]
) -> bytes:
    """Return the digest of the public key that signed the list (RFC 5280 section 6.3.3, f, g)."""
    name = quote(crl.issuer.rfc4514_string())
    named = [ca for ca in issuers if ca.subject == crl.issuer]
    if not named:
        raise _DoesNotCountError(
            f"is a list of {name}, and no configured CA certificate has that name; write the CA's"
            " certificate among the trust anchors or the intermediates"
        )
    algorithm = crl.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _STRONG_HASHES):
        raise _DoesNotCountError(
            f"is signed with {algorithm.name}, which is too weak to prove anything; have the CA"
            " sign its lists with SHA-256"
        )
    signers = [ca for ca in named if _is_signature_valid(crl, der, ca)]
    if not signers:
        raise _DoesNotCountError(
            f"bears the name of {name}, and its signature does not hold for any configured CA"
            " certificate of that name; was the CA's key replaced?"
        )
    if not any(map(may_sign_lists, signers)):
        raise _DoesNotCountError(
            f"is signed by {name}, whose certificate may not sign lists: its key usage lacks"
            " cRLSign; have the CA's certificate issued anew"
        )
    return _key_digest(signers[0])


def _is_signature_valid(crl: CertificateRevocationList, der: bytes, ca: Certificate) -> bool:
    """Verify over the bytes as they came.

    `crl.is_signature_valid` encodes the list anew, which takes a second for a million entries and
    holds the interpreter all the while; this takes a twentieth of it. cryptography has parsed the
    bytes, so they are DER, and has compared the algorithms inside and outside of the signature
    (RFC 5280 section 5.1.1.2).
    """
    start, _ = _content(der, 0)
    _, end = _content(der, start)
    signed, signature = memoryview(der)[start:end], crl.signature
    parameters = crl.signature_algorithm_parameters
    try:
        key = ca.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            # A list signed by another kind of key has other parameters, which raise TypeError.
            key.verify(signature, signed, parameters, crl.signature_hash_algorithm)  # type: ignore[arg-type]
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, parameters)  # type: ignore[arg-type]
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            return False
    # InvalidSignature, and for parameters that do not belong to the key TypeError and more.
    except Exception:
        return False
    return True


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the DER element at this place begins and ends."""
    length, start = der[at + 1], at + 2
    if length >= 0x80:
        octets = length & 0x7F
        length, start = int.from_bytes(der[start : start + octets], "big"), start + octets
    return start, start + length


def _require_whole(extensions: Extensions) -> None:
    """Refuse a list that does not speak for all certificates of its CA (RFC 5280 section 5.2)."""
    for extension in extensions:
        value = extension.value
        if isinstance(value, DeltaCRLIndicator):
            raise _DoesNotCountError(
                "is a delta list, which holds changes alone; fetch the complete list"
            )
        if isinstance(value, IssuingDistributionPoint):
            if value.indirect_crl:
                raise _DoesNotCountError(
                    "is an indirect list, which speaks for other CAs; fetch the CA's own list"
                )
            raise _DoesNotCountError(
                "is a partial list: its issuing distribution point confines it to some certificates"
                " or reasons; fetch the CA's complete list"
            )
        if extension.critical and not isinstance(value, _UNDERSTOOD):
            raise _DoesNotCountError(
                f"has the critical extension {extension.oid.dotted_string}, which is not"
                " understood; have the CA issue lists without it"
            )


def _serial_numbers(crl: CertificateRevocationList, der: bytes) -> Iterator[int]:
    """Yield what is revoked; refuse critical entry extensions (RFC 5280 section 5.3)."""
    looked_at = _may_hold_special_entries(
        der, sum(extension.critical for extension in crl.extensions)
    )
    for entry in crl:
        if looked_at:
            _require_plain(entry)
        yield entry.serial_number


def _may_hold_special_entries(der: bytes, critical_list_extensions: int) -> bool:
    """Tell whether any entry can have a critical extension or a certificateIssuer.

    Parsing the extensions of each entry costs more than all the rest of a large list, and it is
    hardly ever needed. A critical extension is an OID (06, its length, itself), directly followed
    by TRUE, which DER writes as 01 01 ff: where no more such places are found than the list's own
    critical extensions account for, no entry has one. Other bytes may look the same by chance;
    then each entry is looked at. cryptography refuses an OID longer than 63 bytes.
    """
    if _ENCODED_CERTIFICATE_ISSUER in der:
        return True
    found, at = 0, der.find(_ENCODED_TRUE)
    while at != -1 and found <= critical_list_extensions:
        found += any(der[at - n - 2 : at - n] == bytes((0x06, n)) for n in range(1, 64))
        at = der.find(_ENCODED_TRUE, at + 1)
    return found > critical_list_extensions


def _require_plain(entry: RevokedCertificate) -> None:
    for extension in entry.extensions:
        if isinstance(extension.value, CertificateIssuer):
            raise _DoesNotCountError(
                "is an indirect list: an entry names another certificate issuer; fetch the CA's own"
                " list"
            )
        if extension.critical:
            raise _DoesNotCountError(
                f"has an entry ({quote_serial_number(entry.serial_number)}) with the critical"
                f" extension {extension.oid.dotted_string}, which is not understood; have the CA"
                " issue lists without it"
            )


class _SerialNumbers:
    """A set of serial numbers in one block of memory.

    A hash table with open addressing, a quarter of it empty: 27 bytes for each serial number where
    a frozenset of integers takes 80, and it is filled without a list in between.
    """

    __slots__ = ("_others", "_table", "count")

    _EMPTY = bytes(_WIDTH)

    def __init__(self, serial_numbers: Iterable[int], count: int) -> None:
        self.count = count
        self._table = bytearray((count * 4 // 3 + 1) * _WIDTH)
        # Zero, negative and longer ones are against RFC 5280 section 4.1.2.2, and exist.
        self._others: set[int] = set()
        for serial_number in serial_numbers:
            if 0 < serial_number < _TOO_LONG:
                key = serial_number.to_bytes(_WIDTH, "big")
                at = self._find(key)
                self._table[at : at + _WIDTH] = key
            else:
                self._others.add(serial_number)

    def __contains__(self, serial_number: int) -> bool:
        if 0 < serial_number < _TOO_LONG:
            at = self._find(serial_number.to_bytes(_WIDTH, "big"))
            return self._table[at : at + _WIDTH] != self._EMPTY
        return serial_number in self._others

    def _find(self, key: bytes) -> int:
        """Return where the key stands, or the empty place where it would."""
        table = self._table
        at = hash(key) % (len(table) // _WIDTH) * _WIDTH
        while table[at : at + _WIDTH] not in (self._EMPTY, key):
            at = (at + _WIDTH) % len(table)
        return at


def signer_of(ca: Certificate) -> tuple[Name, bytes]:
    """Return a CA's name and the SHA-256 of its public key, by which its lists are found."""
    return ca.subject, _key_digest(ca)


def _key_digest(ca: Certificate) -> bytes:
    return hashlib.sha256(public_key_info_of(ca)).digest()


def may_sign_lists(ca: Certificate) -> bool:
    """RFC 5280 section 6.3.3, f: cRLSign is wanted where there is a key usage."""
    try:
        return ca.extensions.get_extension_for_class(KeyUsage).value.crl_sign
    except ExtensionNotFound:
        return True


def quote_serial_number(serial_number: int) -> str:
    """Return a serial number in upper-case hex and in quotation marks, as CAs list it."""
    return quote(f"{serial_number:X}")


def _timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
