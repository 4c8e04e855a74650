"""Reads certificate revocation lists (RFC 5280 section 5) and finds serial numbers in them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
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
    UniformResourceIdentifier,
    load_der_x509_crl,
)

from arrcert.exceptions import quote
from arrcert.keys import public_key_info_of
from arrcert.trust.scopes import Scope, names_of, scope_of

_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SUPPORTED = (CRLNumber, AuthorityKeyIdentifier, IssuingDistributionPoint)
"""Extensions of a list that may be critical. Any other critical extension is unknown, or says that
the list is not complete."""
_ENCODED_CERTIFICATE_ISSUER = b"\x06\x03\x55\x1d\x1d"
_ENCODED_TRUE = b"\x01\x01\xff"
_WIDTH = 20
"""The length of the longest serial number that RFC 5280 section 4.1.2.2 allows, in bytes."""
_BLOCK = 256
"""The average number of serial numbers in a block."""


class RevocationList:
    """A revocation list with a verified signature and indexed entries; immutable.

    `read_revocation_lists` makes it. It keeps neither the bytes of the list nor a pyca object, so a
    list with a million entries takes 24 MB. It may have expired; `why_not_current` checks that.

    Attributes:
        source: the name of the list in errors and logs, escaped: `the file 'ca.crl'`.
        issuer: the name of the CA that signed the list.
        scope: which certificates the list covers (RFC 5280 section 5.2.5).
        is_for_no_point: whether the operator states that the list also covers certificates that
            name no distribution point.
        number: the CRLNumber (RFC 5280 section 5.2.3), or None if the list has none.
        this_update_utc: thisUpdate, an aware datetime.
        next_update_utc: nextUpdate, an aware datetime.
    """

    __slots__ = (
        "_issuer_key",
        "_serial_numbers",
        "is_for_no_point",
        "issuer",
        "next_update_utc",
        "number",
        "scope",
        "source",
        "this_update_utc",
    )

    source: str
    issuer: Name
    scope: Scope
    is_for_no_point: bool
    number: int | None
    this_update_utc: datetime
    next_update_utc: datetime
    _issuer_key: bytes
    _serial_numbers: _SerialNumbers

    def __init__(self) -> None:
        raise TypeError("make a RevocationList with read_revocation_lists()")

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
        """Return True, also for a list without entries."""
        return True

    @property
    def signer(self) -> tuple[Name, bytes]:
        """The name of the CA that signed the list, and the SHA-256 of the CA's public key."""
        return self.issuer, self._issuer_key

    def revokes(self, serial_number: int) -> bool:
        """Return whether the list has an entry for a serial number, in constant time.

        Args:
            serial_number: the serial number of a certificate that this list's CA issued.

        It does not check the reason or the revocation date. A certificate on hold counts as
        revoked.
        """
        return serial_number in self._serial_numbers

    def is_signed_by(self, ca: Certificate) -> bool:
        """Return whether a CA signed the list and may sign lists (RFC 5280 section 6.3.3, f and g).

        The signature is verified when the list is read. This compares the name and the public key
        with those of the CA that signed the list.

        Args:
            ca: a CA certificate of the path.

        It does not check the validity of the CA certificate; path validation does.
        """
        return signer_of(ca) == self.signer and may_sign_lists(ca)

    def why_not_current(self, at: datetime) -> str | None:
        """Return why the list is not current at a given time, or None if it is.

        Both thisUpdate and nextUpdate are inclusive (RFC 5280 sections 5.1.2.4 and 5.1.2.5).

        Args:
            at: the time, a timezone-aware `datetime`.
        """
        if at < self.this_update_utc:
            return f"{self.source} is valid only from {_timestamp(self.this_update_utc)} on"
        if at > self.next_update_utc:
            return f"{self.source} expired at {_timestamp(self.next_update_utc)}"
        return None

    def is_older_than(self, other: RevocationList) -> bool:
        """Return whether another list of the same signer and scope is newer than this one.

        The list with the higher CRLNumber is newer. If a list has no number, or both numbers are
        equal, the list with the later thisUpdate is newer.

        Args:
            other: the other list.

        It does not check that both lists have the same signer and scope. CAs number the lists of
        each scope separately.
        """
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number < other.number
        return self.this_update_utc < other.this_update_utc

    def __repr__(self) -> str:
        return (
            f"<RevocationList {self.source} of {quote(self.issuer.rfc4514_string())},"
            f" {self.scope}, {len(self)} entries, until {_timestamp(self.next_update_utc)}>"
        )


def read_revocation_lists(
    data: bytes,
    *,
    source: str,
    issuers: Iterable[Certificate],
    distribution_point: str | None = None,
) -> list[RevocationList]:
    """Return the revocation lists in the bytes of a file, with verified signatures.

    Args:
        data: one list in DER, or PEM blocks `X509 CRL` with or without other text (RFC 7468
            section 6).
        source: the name of the file in errors and logs, escaped: `the file 'ca.crl'`.
        issuers: the CA certificates that may sign the lists: trust anchors and intermediates.
        distribution_point: the URL of the distribution point of the only list in the file, if the
            operator states that this list also covers certificates that name no distribution point.
            None, the default, means that there is no such statement.

    Raises:
        ValueError: a list in the file cannot be used, because
            it is broken;
            no issuer has its name, signed it, or may sign lists;
            its signature algorithm is weak;
            it has no nextUpdate;
            it is a delta or an indirect list (RFC 5280 sections 5.2.4 and 5.2.5);
            the list or an entry has an unknown critical extension (sections 5.2 and 5.3);
            `distribution_point` is given, and the file holds several lists, or its list has
            another distribution point or none.
            The message is a sentence for the operator.

    It does not check that a list is current, or that the certificates of the issuers are valid. It
    downloads nothing.
    """
    cas = list(issuers)
    try:
        if distribution_point is not None:
            _require_one_list(data)
        return [_read(der, source, cas, distribution_point) for der in _encoded_lists(data)]
    except _DoesNotCountError as error:
        raise ValueError(f"{source} {error}") from error
    # cryptography documents ValueError, but it decodes some parts later and may then raise other
    # exceptions.
    except Exception as error:
        raise ValueError(
            f"{source} holds a broken revocation list ({quote(error)}); fetch it again"
        ) from error


class _DoesNotCountError(Exception):
    """The error for a list that cannot be used.

    Its text continues a sentence that begins with the source of the list.
    """


def _encoded_lists(data: bytes) -> Iterator[bytes]:
    if data.startswith(b"\x30"):
        yield bytes(data)
        return
    if b"PRIVATE KEY-----" in data:
        raise _DoesNotCountError(
            "holds a private key; write only revocation lists, and move the key to where the web"
            " site cannot read it"
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


def _require_one_list(data: bytes) -> None:
    count = 1 if data.startswith(b"\x30") else data.count(_BEGIN)
    if count > 1:
        raise _DoesNotCountError(
            f"holds {count} revocation lists, and distribution_point is for one list; write a file"
            " for each list"
        )


def _hint(data: bytes) -> str:
    if not data.strip():
        return "it is empty"
    if b"-----BEGIN CERTIFICATE-----" in data:
        return "it holds certificates instead"
    if data.lstrip().startswith(b"<"):
        return "it looks like a web page; check the URL that it was downloaded from"
    return "it must be DER, or hold at least one block -----BEGIN X509 CRL-----"


def _read(
    der: bytes, source: str, issuers: Sequence[Certificate], distribution_point: str | None
) -> RevocationList:
    crl = load_der_x509_crl(der)
    issuer_key = _verified_key(crl, der, issuers)
    if crl.next_update_utc is None:
        raise _DoesNotCountError(
            "has no nextUpdate, so it is not known when it is out of date; configure the CA to"
            " write one"
        )
    scope = _scope(crl.extensions, crl.issuer)
    if distribution_point is not None:
        _require_point(scope, distribution_point)
    _require_plain_entries(crl, der)
    return RevocationList._from_facts(
        source=source,
        issuer=crl.issuer,
        scope=scope,
        is_for_no_point=distribution_point is not None,
        number=_number(crl.extensions),
        this_update_utc=crl.last_update_utc,
        next_update_utc=crl.next_update_utc,
        _issuer_key=issuer_key,
        _serial_numbers=_SerialNumbers(map(attrgetter("serial_number"), crl), len(crl)),
    )


def _number(extensions: Extensions) -> int | None:
    try:
        return extensions.get_extension_for_class(CRLNumber).value.crl_number
    except ExtensionNotFound:
        return None


def _verified_key(
    crl: CertificateRevocationList, der: bytes, issuers: Sequence[Certificate]
) -> bytes:
    """Return the SHA-256 of the public key that signed the list (RFC 5280 section 6.3.3, f, g)."""
    name = quote(crl.issuer.rfc4514_string())
    named = [ca for ca in issuers if ca.subject == crl.issuer]
    if not named:
        raise _DoesNotCountError(
            f"is a list of {name}, and no configured CA certificate has that name; add the CA's"
            " certificate to the trust anchors or the intermediates"
        )
    algorithm = crl.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _STRONG_HASHES):
        raise _DoesNotCountError(
            f"is signed with {algorithm.name}, which is too weak to trust; configure the CA to sign"
            " its lists with SHA-256"
        )
    signers = [ca for ca in named if _is_signature_valid(crl, der, ca)]
    if not signers:
        raise _DoesNotCountError(
            f"is a list of {name}, and its signature does not match any configured CA certificate"
            " of that name; check whether the CA has a new key"
        )
    if not any(map(may_sign_lists, signers)):
        raise _DoesNotCountError(
            f"is signed by {name}, whose certificate may not sign lists: its key usage lacks"
            " cRLSign; get a new certificate for the CA"
        )
    return _key_digest(signers[0])


def _is_signature_valid(crl: CertificateRevocationList, der: bytes, ca: Certificate) -> bool:
    """Return whether the CA's key signed the list, using the original bytes.

    `crl.is_signature_valid` encodes the list again. For a million entries that takes a second and
    blocks the interpreter. This function needs a twentieth of that time. cryptography has already
    parsed the bytes, so they are valid DER. It has also checked that the algorithm is the same
    inside and outside of the signed part (RFC 5280 section 5.1.1.2).
    """
    start, _ = _content(der, 0)
    _, end = _content(der, start)
    signed, signature = memoryview(der)[start:end], crl.signature
    parameters = crl.signature_algorithm_parameters
    try:
        key = ca.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            # If another kind of key signed the list, `parameters` has another type and `verify`
            # raises TypeError.
            key.verify(signature, signed, parameters, crl.signature_hash_algorithm)  # type: ignore[arg-type]
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, parameters)  # type: ignore[arg-type]
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            return False
    # InvalidSignature, or TypeError and others for parameters that do not fit the key.
    except Exception:
        return False
    return True


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Return the offsets at which the content of a DER element begins and ends."""
    length, start = der[at + 1], at + 2
    if length >= 0x80:
        octets = length & 0x7F
        length, start = int.from_bytes(der[start : start + octets], "big"), start + octets
    return start, start + length


def _scope(extensions: Extensions, issuer: Name) -> Scope:
    """Return the scope of a list; refuse what no scope can express (RFC 5280 section 5.2)."""
    limits: IssuingDistributionPoint | None = None
    for extension in extensions:
        value = extension.value
        if isinstance(value, DeltaCRLIndicator):
            raise _DoesNotCountError(
                "is a delta list, which holds only changes; fetch the complete list"
            )
        if isinstance(value, IssuingDistributionPoint):
            if value.indirect_crl:
                raise _DoesNotCountError(
                    "is an indirect list, which covers other CAs too; fetch the CA's own list"
                )
            limits = value
        if extension.critical and not isinstance(value, _SUPPORTED):
            raise _DoesNotCountError(
                f"has the critical extension {extension.oid.dotted_string}, which arrcert does not"
                " support; configure the CA to issue lists without it"
            )
    return scope_of(limits, issuer)


def _require_point(scope: Scope, distribution_point: str) -> None:
    """Refuse a list whose distribution point is not the URL that the operator states for it."""
    if scope.points is None:
        raise _DoesNotCountError(
            f"holds a list without a distribution point, not one for {quote(distribution_point)};"
            " write only the file, without distribution_point"
        )
    urls = [name.value for name in scope.points if isinstance(name, UniformResourceIdentifier)]
    if distribution_point not in urls:
        raise _DoesNotCountError(
            f"holds the list for the distribution point {names_of(scope.points)}, not for"
            f" {quote(distribution_point)}; write distribution_point exactly as in the list"
        )


def _require_plain_entries(crl: CertificateRevocationList, der: bytes) -> None:
    """Refuse critical extensions of entries (RFC 5280 section 5.3)."""
    critical = sum(extension.critical for extension in crl.extensions)
    if _may_hold_special_entries(der, critical):
        for entry in crl:
            _require_plain(entry)


def _may_hold_special_entries(der: bytes, critical_list_extensions: int) -> bool:
    """Return whether an entry may have a critical extension or a certificateIssuer.

    cryptography can parse the extensions of each entry. But for a large list that takes longer than
    all other work, and almost no list needs it. So this function first searches the bytes. In DER a
    critical extension is an OID (06, its length, its content) followed by TRUE (01 01 ff). If the
    number of such places is the number of critical extensions of the list itself, no entry has one.
    Other bytes may look the same by chance. Then each entry is parsed. OIDs have at most 63 bytes,
    because cryptography refuses longer ones.
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
                f" extension {extension.oid.dotted_string}, which arrcert does not support;"
                " configure the CA to issue lists without it"
            )


class _SerialNumbers:
    """A set of serial numbers that needs little memory.

    The numbers are stored in blocks of `_BLOCK` numbers on average. The remainder of a division
    says in which block a number is. A number takes 24 bytes; in a frozenset of integers it takes
    80.
    """

    __slots__ = ("_blocks", "_others", "count")

    def __init__(self, serial_numbers: Iterable[int], count: int) -> None:
        self.count = count
        number = count // _BLOCK + 1
        self._blocks = blocks = [bytearray() for _ in range(number)]
        # RFC 5280 section 4.1.2.2 forbids negative and longer numbers, but they exist.
        self._others: set[int] = set()
        for serial_number in serial_numbers:
            try:
                key = serial_number.to_bytes(_WIDTH, "big")
            except OverflowError:
                self._others.add(serial_number)
            else:
                blocks[serial_number % number] += key

    def __contains__(self, serial_number: int) -> bool:
        try:
            key = serial_number.to_bytes(_WIDTH, "big")
        except OverflowError:
            return serial_number in self._others
        block = self._blocks[serial_number % len(self._blocks)]
        at = block.find(key)
        # The same bytes may also be parts of two adjacent numbers.
        while at > 0 and at % _WIDTH:
            at = block.find(key, at + 1)
        return at >= 0


def signer_of(ca: Certificate) -> tuple[Name, bytes]:
    """Return the name of a CA and the SHA-256 of its public key.

    Together they identify the CA's lists (`RevocationList.signer`).

    Args:
        ca: the CA certificate.
    """
    return ca.subject, _key_digest(ca)


def _key_digest(ca: Certificate) -> bytes:
    return hashlib.sha256(public_key_info_of(ca)).digest()


def may_sign_lists(ca: Certificate) -> bool:
    """Return whether a CA's key usage allows it to sign lists (RFC 5280 section 6.3.3, f).

    A CA certificate without a key usage may sign lists.

    Args:
        ca: the CA certificate.
    """
    try:
        return ca.extensions.get_extension_for_class(KeyUsage).value.crl_sign
    except ExtensionNotFound:
        return True


def quote_serial_number(serial_number: int) -> str:
    """Return a serial number for a log: in quotes, and in upper-case hex as CAs write it."""
    return quote(f"{serial_number:X}")


def _timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
