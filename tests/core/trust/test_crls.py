"""Revocation lists: which of them can be used, and what they contain."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust import crls
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.scopes import Scope

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
SOURCE = "the file 'ca.crl'"
STRANGE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
STRANGE = x509.UnrecognizedExtension(STRANGE_OID, b"\x05\x00")
URL = x509.UniformResourceIdentifier("https://ca.example/1.crl")
COMMON_NAME = x509.NameAttribute(NameOID.COMMON_NAME, "CA")
ORGANIZATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "One")
SHA256_ECDSA, SHA1_ECDSA = "1.2.840.10045.4.3.2", "1.2.840.10045.4.1"


def read(data: bytes, *issuers: CertificateAuthority | x509.Certificate) -> RevocationList:
    """Return the only list of a file."""
    certificates = [ca.x509 if isinstance(ca, CertificateAuthority) else ca for ca in issuers]
    [only] = read_revocation_lists(data, source=SOURCE, issuers=certificates)
    return only


def why_not(data: bytes, *issuers: CertificateAuthority | x509.Certificate) -> str:
    """Return why a file cannot be used: one line that begins with the source."""
    with pytest.raises(ValueError, match=r"ca\.crl") as caught:
        read(data, *issuers)
    sentence = str(caught.value)
    assert sentence.startswith(f"{SOURCE} ")
    assert "\n" not in sentence
    return sentence


def der_of(pem: bytes) -> bytes:
    """Return the DER of a PEM list."""
    return x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)


def builder(
    issuer: x509.Name,
    entries: Iterable[x509.RevokedCertificate] = (),
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.CertificateRevocationListBuilder:
    """Return the builder of a current list."""
    made = x509.CertificateRevocationListBuilder().issuer_name(issuer)
    made = made.last_update(NOW - HOUR).next_update(NOW + HOUR)
    for entry in entries:
        made = made.add_revoked_certificate(entry)
    for extension, critical in extensions:
        made = made.add_extension(extension, critical=critical)
    return made


def entry(
    serial_number: int, extension: x509.ExtensionType | None = None, *, critical: bool = False
) -> x509.RevokedCertificate:
    """Make an entry of a list."""
    made = x509.RevokedCertificateBuilder().serial_number(serial_number).revocation_date(NOW)
    if extension is not None:
        made = made.add_extension(extension, critical=critical)
    return made.build()


def sign(made: x509.CertificateRevocationListBuilder, ca: CertificateAuthority) -> bytes:
    """Sign a list as an authority."""
    return made.sign(ca._key, hashes.SHA256()).public_bytes(Encoding.DER)


def tlv(tag: int, *content: bytes) -> bytes:
    """Encode one DER element."""
    body = b"".join(content)
    size = len(body).to_bytes(3, "big").lstrip(b"\0")
    return bytes([tag, *([len(body)] if len(body) < 128 else [0x80 | len(size), *size])]) + body


def written_by_hand(
    ca: CertificateAuthority,
    *,
    entries: bytes = b"",
    has_next_update: bool = True,
    algorithm: hashes.HashAlgorithm | None = None,
    inner: str = SHA256_ECDSA,
    outer: str = SHA256_ECDSA,
) -> bytes:
    """Encode and sign a list of version 2 that no library makes."""

    def identifier(oid: str) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), "")]).public_bytes()
        at = name.index(b"\x06")
        return tlv(0x30, name[at : at + 2 + name[at + 1]])

    def time(moment: datetime) -> bytes:
        return tlv(0x17, f"{moment:%y%m%d%H%M%SZ}".encode())

    signed = tlv(
        0x30,
        tlv(0x02, b"\x01"),
        identifier(inner),
        ca.name.public_bytes(),
        time(NOW - HOUR),
        time(NOW + HOUR) if has_next_update else b"",
        tlv(0x30, entries) if entries else b"",
    )
    signature = ca._key.sign(signed, ec.ECDSA(algorithm or hashes.SHA256()))
    return tlv(0x30, signed, identifier(outer), tlv(0x03, b"\0", signature))


def ca_certificate(
    key: Any, *extensions: x509.ExtensionType, name: x509.Name | None = None
) -> x509.Certificate:
    """Make a CA certificate for any key, signed by a temporary one."""
    name = name or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(NOW - HOUR).not_valid_after(NOW + HOUR)
    for extension in extensions:
        made = made.add_extension(extension, critical=True)
    return made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def key_usage(*, crl_sign: bool) -> x509.KeyUsage:
    """Make a CA's key usage."""
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def limited(**limits: Any) -> x509.IssuingDistributionPoint:
    """Make an issuing distribution point. An absent argument is no limit."""
    kinds = ("user_certs", "ca_certs", "attribute_certs")
    facts: dict[str, Any] = {f"only_contains_{kind}": False for kind in kinds}
    facts |= {"indirect_crl": False, "full_name": None, "relative_name": None}
    return x509.IssuingDistributionPoint(**{**facts, "only_some_reasons": None, **limits})


@pytest.fixture(scope="module")
def intermediate(authority: CertificateAuthority) -> CertificateAuthority:
    """A CA below the root CA."""
    return CertificateAuthority("Intermediate", issuer=authority)


class TestReading:
    def test_facts(self, authority: CertificateAuthority, alice: IssuedCertificate) -> None:
        """A list has a source, an issuer, a number, dates and revoked serial numbers."""
        held = read(
            authority.revocation_list(
                alice, number=7, last_update=NOW - HOUR, next_update=NOW + HOUR
            ),
            authority,
        )
        assert (held.source, held.issuer, held.number) == (SOURCE, authority.name, 7)
        assert (held.this_update_utc, held.next_update_utc) == (NOW - HOUR, NOW + HOUR)
        assert len(held) == 1
        assert held.revokes(alice.certificate.serial_number)
        assert not held.revokes(alice.certificate.serial_number + 1)
        assert held.is_signed_by(authority.x509)
        assert "'CN=Contoso Issuing CA,O=Contoso', for every certificate, 1 entries" in repr(held)

    def test_list_without_entries_is_a_list(self, authority: CertificateAuthority) -> None:
        """A list without entries is valid and revokes nothing."""
        held = read(authority.revocation_list(), authority)
        assert held
        assert len(held) == 0
        assert not held.revokes(1)

    def test_der_and_pem_with_text(self, authority: CertificateAuthority) -> None:
        """A list is read from DER, from PEM, and from PEM with other text and CRLF line ends."""
        pem = authority.revocation_list(number=3)
        for data in (
            pem,
            der_of(pem),
            b"# fetched today\r\n" + pem.replace(b"\n", b"\r\n") + b"the end",
        ):
            assert read(data, authority).number == 3

    def test_several_lists(
        self, authority: CertificateAuthority, intermediate: CertificateAuthority
    ) -> None:
        """A file may hold the lists of several CAs, and one bad list makes the file unusable."""
        data = authority.revocation_list(number=1) + intermediate.revocation_list(number=2)
        lists = read_revocation_lists(
            data, source=SOURCE, issuers=[intermediate.x509, authority.x509]
        )
        assert [held.number for held in lists] == [1, 2]
        assert "no configured CA certificate has that name" in why_not(data, authority)

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "it is empty"),
            (b" \n", "it is empty"),
            (b"hello", "it must be DER"),
            (b"\n<!doctype html><p>Sign in", "looks like a web page"),
            (b"-----BEGIN X509 CRL-----\nMIIB\n", "ends within"),
            (b"-----BEGIN X509 CRL-----\n!!!!\n-----END X509 CRL-----", "broken"),
            (b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----", "broken"),
            (b"\x30\x03\x02\x01\x01", "broken"),
        ],
    )
    def test_what_is_no_list(self, authority: CertificateAuthority, data: bytes, why: str) -> None:
        """An invalid list never counts as an empty list, and the error says what is wrong.

        (Tomcat CVE-2026-24734, CVE-2026-53434; Vault #26091; Keycloak #35983: it counted as good.)
        """
        assert why in why_not(data, authority)

    def test_certificates_and_keys(
        self, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """A file with a certificate instead of a list, or with a private key, is refused."""
        assert "it holds certificates" in why_not(authority.certificate_pem, authority)
        pem = authority.revocation_list() + alice.private_key_pem
        assert "holds a private key" in why_not(pem, authority)

    def test_truncated(self, authority: CertificateAuthority) -> None:
        """A file that is cut off at any place is refused."""
        pem = authority.revocation_list()
        for data in (pem, der_of(pem)):
            for length in range(0, len(data) - 10, 37):
                why_not(data[:length], authority)
        why_not(der_of(pem) + b"\0", authority)

    @given(st.data())
    def test_hostile_bytes(self, authority: CertificateAuthority, data: Any) -> None:
        """Random and corrupted bytes are a list, or raise ValueError."""
        good = bytearray(sign(builder(authority.name, [entry(5), entry(6)]), authority))
        for _ in range(data.draw(st.integers(1, 4))):
            good[data.draw(st.integers(0, 9999)) % len(good)] = data.draw(st.integers(0, 255))
        for hostile in (
            data.draw(st.binary(max_size=200)),
            bytes(good),
            b"-----BEGIN X509 CRL-----" + base64.b64encode(good) + b"-----END X509 CRL-----",
        ):
            try:
                read_revocation_lists(hostile, source=SOURCE, issuers=[authority.x509])
            except ValueError as error:
                assert str(error).startswith(SOURCE)

    def test_serial_numbers_of_any_size(self, authority: CertificateAuthority) -> None:
        """Serial numbers that RFC 5280 forbids (zero, negative, very long) are found too."""
        numbers = [1, 127, 128, (1 << 159) - 1]
        held = read(sign(builder(authority.name, map(entry, numbers)), authority), authority)
        assert all(map(held.revokes, numbers))
        assert not any(held.revokes(number + 1) for number in (1, 128, (1 << 159) - 1, 1 << 200))
        strange = [0, -1, -(1 << 90), 1 << 159, (1 << 160) - 1, 1 << 160, (1 << 2000) + 1]
        date = tlv(0x17, b"260101000000Z")
        by_hand = b"".join(
            tlv(
                0x30,
                tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)),
                date,
            )
            for number in (*strange, 5, 5)
        )
        held = read(written_by_hand(authority, entries=by_hand), authority)
        assert all(held.revokes(number) for number in (*strange, 5))
        assert not any(held.revokes(number) for number in (1, -2, 1 << 161))
        assert len(held) == len(strange) + 2

    def test_many_entries(self, authority: CertificateAuthority) -> None:
        """In a long list each entry is found, and no other serial number."""
        numbers = range(1000, 5000, 2)
        held = read(sign(builder(authority.name, map(entry, numbers)), authority), authority)
        assert [number for number in range(900, 5100) if held.revokes(number)] == list(numbers)

    def test_bytes_across_two_entries_are_no_entry(self, authority: CertificateAuthority) -> None:
        """A serial number whose bytes cross two entries is not found, and ends the search.

        Also one that is an entry and stands across two others before it is found.
        """
        one, two = (
            int.from_bytes(bytes([first, *bytes(18), last])) for first, last in ((1, 2), (3, 4))
        )
        across = int.from_bytes(bytes([2, 3, *bytes(18)]))
        for numbers, is_held in (([one, two], False), ([one, two, across], True)):
            held = read(sign(builder(authority.name, map(entry, numbers)), authority), authority)
            assert all(map(held.revokes, numbers))
            assert held.revokes(across) is is_held

    def test_immutable(self, authority: CertificateAuthority) -> None:
        """A list can only be made by reading, and cannot be changed."""
        held = read(authority.revocation_list(), authority)
        with pytest.raises(AttributeError, match="immutable"):
            held.number = 9
        with pytest.raises(AttributeError, match="immutable"):
            del held.number
        with pytest.raises(TypeError, match="read_revocation_lists"):
            RevocationList()

    def test_a_block_holds_base64_alone(self, authority: CertificateAuthority) -> None:
        """A block with a character that is not base64 is refused (RFC 7468 section 3)."""
        armour = b"-----BEGIN X509 CRL-----\n"
        pem = authority.revocation_list()
        assert pem.startswith(armour)
        assert "broken" in why_not(pem.replace(armour, armour + b"!"), authority)

    @pytest.mark.parametrize("size", [126, 127, 128, 129])
    def test_lists_of_every_small_size(self, size: int) -> None:
        """Lists of every small size are read, with a length in one byte and in several bytes."""

        def made(letters: int) -> tuple[CertificateAuthority, bytes, int]:
            ca = CertificateAuthority("x" * letters, organization="y" * 40)
            der = written_by_hand(ca)
            signed = x509.load_der_x509_crl(der).tbs_certlist_bytes
            return ca, der, len(signed) - (2 if signed[1] < 128 else 3)

        _, _, shortest = made(1)
        ca, der, found = made(1 + size - shortest)
        assert found == size
        assert read(der, ca).issuer == ca.name

    def test_ordinary_entries_are_not_parsed(
        self, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The extensions of entries are parsed only if one of them can be critical."""
        parsed: list[int] = []
        monkeypatch.setattr(
            "arrcert.trust.crls._require_plain", lambda entry: parsed.append(entry.serial_number)
        )
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        ordinary = builder(
            authority.name, [entry(1), entry(2, reason)], [(x509.CRLNumber(7), True)]
        )
        assert read(sign(ordinary, authority), authority).revokes(2)
        assert parsed == []
        special = builder(authority.name, [entry(1), entry(2, STRANGE, critical=True)])
        read(sign(special, authority), authority)
        assert parsed == [1, 2]

    def test_a_critical_extension_with_a_short_name_is_found(
        self, authority: CertificateAuthority
    ) -> None:
        """A critical extension is found even if its object identifier is only one byte long."""
        short = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2"), b"\x05\x00")
        made = builder(authority.name, [entry(1, short, critical=True)])
        assert "critical extension 1.2" in why_not(sign(made, authority), authority)


class TestSigner:
    def test_another_ca(
        self, authority: CertificateAuthority, intermediate: CertificateAuthority
    ) -> None:
        """A list of a CA that is not configured is refused."""
        sentence = why_not(intermediate.revocation_list(), authority)
        assert "'CN=Intermediate', and no configured CA certificate has that name" in sentence

    def test_same_name_another_key(
        self, authority: CertificateAuthority, other_authority: CertificateAuthority
    ) -> None:
        """A list with the name of a configured CA and the signature of another key is refused."""
        data = other_authority.revocation_list()
        assert "its signature does not match" in why_not(data, authority)
        held = read(data, authority, other_authority)
        assert held.is_signed_by(other_authority.x509)
        assert not held.is_signed_by(authority.x509)

    def test_tampered(self, authority: CertificateAuthority) -> None:
        """A list that was changed after it was signed is refused."""
        data = sign(builder(authority.name, [entry(0x5EED5EED)]), authority)
        changed = data.replace(b"\x5e\xed\x5e\xed", b"\x5e\xed\x5e\xee")
        assert "its signature does not match" in why_not(changed, authority)

    def test_key_usage(self) -> None:
        """A CA certificate with a key usage needs cRLSign; one without a key usage does not."""
        key = ec.generate_private_key(ec.SECP256R1())
        without = ca_certificate(key)
        allowed = ca_certificate(key, key_usage(crl_sign=True))
        forbidden = ca_certificate(key, key_usage(crl_sign=False))
        data = builder(without.subject).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        assert "lacks cRLSign" in why_not(data, forbidden)
        assert read(data, without).is_signed_by(without)
        # If one key has two certificates, the one on the path decides.
        held = read(data, forbidden, allowed)
        assert held.is_signed_by(allowed)
        assert not held.is_signed_by(forbidden)

    @pytest.mark.parametrize(
        ("make", "algorithm", "rsa_padding"),
        [
            (lambda: ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), None),
            (lambda: rsa.generate_private_key(65537, 2048), hashes.SHA256(), None),
            (
                lambda: rsa.generate_private_key(65537, 2048),
                hashes.SHA512(),
                padding.PSS(padding.MGF1(hashes.SHA512()), padding.PSS.DIGEST_LENGTH),
            ),
            (ed25519.Ed25519PrivateKey.generate, None, None),
            (ed448.Ed448PrivateKey.generate, None, None),
        ],
        ids=["P-384", "RSA", "RSA-PSS", "Ed25519", "Ed448"],
    )
    def test_kinds_of_keys(self, make: Callable[[], Any], algorithm: Any, rsa_padding: Any) -> None:
        """Lists with RSA, ECDSA and EdDSA signatures are read, and another key never matches."""
        key = make()
        ca = ca_certificate(key)
        options = {} if rsa_padding is None else {"rsa_padding": rsa_padding}
        crl = builder(ca.subject, [entry(9)]).sign(key, algorithm, **options)
        data = crl.public_bytes(Encoding.DER)
        assert crl.is_signature_valid(ca.public_key())
        assert read(data, ca).revokes(9)
        for other in (
            make(),
            ec.generate_private_key(ec.SECP256R1()),
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
            x25519.X25519PrivateKey.generate(),
        ):
            assert "does not match" in why_not(data, ca_certificate(other))
        changed = data.replace(b"\x02\x01\x09", b"\x02\x01\x08")
        assert changed != data
        assert "does not match" in why_not(changed, ca)

    def test_weak_signature(self, authority: CertificateAuthority) -> None:
        """A list that is signed with SHA-1 is refused."""
        weak = written_by_hand(
            authority, algorithm=hashes.SHA1(), inner=SHA1_ECDSA, outer=SHA1_ECDSA
        )
        assert "is signed with sha1" in why_not(weak, authority)
        assert read(written_by_hand(authority), authority).number is None

    def test_two_algorithms(self, authority: CertificateAuthority) -> None:
        """A list with different algorithms inside and outside the signed part is refused."""
        data = written_by_hand(authority, inner="1.2.840.10045.4.3.3")
        assert "algorithms do not match" in why_not(data, authority)
        unknown = written_by_hand(authority, inner="1.2.3.4", outer="1.2.3.4")
        assert "broken" in why_not(unknown, authority)


class TestOrder:
    def test_numbers(self, authority: CertificateAuthority) -> None:
        """The list with the higher number is newer, for any dates."""
        old = read(authority.revocation_list(number=2, last_update=NOW), authority)
        new = read(authority.revocation_list(number=10, last_update=NOW - HOUR), authority)
        assert old.is_older_than(new)
        assert not new.is_older_than(old)

    @pytest.mark.parametrize("numbers", [(None, None), (None, 5), (5, None), (5, 5)])
    def test_dates(
        self, authority: CertificateAuthority, numbers: tuple[int | None, int | None]
    ) -> None:
        """Without two different numbers, the list with the later thisUpdate is newer."""
        old = read(authority.revocation_list(number=numbers[0], last_update=NOW - HOUR), authority)
        new = read(authority.revocation_list(number=numbers[1], last_update=NOW), authority)
        assert old.is_older_than(new)
        assert not new.is_older_than(old)
        assert not new.is_older_than(new)


class TestMoment:
    def test_both_ends_are_inclusive(self, authority: CertificateAuthority) -> None:
        """A list is current from thisUpdate to nextUpdate, both moments included."""
        held = read(
            authority.revocation_list(last_update=NOW - HOUR, next_update=NOW + HOUR), authority
        )
        second = timedelta(seconds=1)
        for at in (NOW - HOUR, NOW, NOW + HOUR):
            assert held.why_not_current(at) is None
        assert f"{SOURCE} is valid only from 20" in str(held.why_not_current(NOW - HOUR - second))
        assert f"{SOURCE} expired at 20" in str(held.why_not_current(NOW + HOUR + second))


class TestScope:
    @pytest.mark.parametrize(
        ("limits", "scope"),
        [
            ({"only_contains_user_certs": True}, Scope(only_user_certificates=True)),
            ({"only_contains_ca_certs": True}, Scope(only_ca_certificates=True)),
            ({"only_contains_attribute_certs": True}, Scope(only_attribute_certificates=True)),
            (
                {"only_some_reasons": frozenset([x509.ReasonFlags.superseded])},
                Scope(reasons=frozenset([x509.ReasonFlags.superseded])),
            ),
            ({"full_name": [URL]}, Scope(points=frozenset([URL]))),
            (
                {"relative_name": x509.RelativeDistinguishedName([ORGANIZATION])},
                Scope(
                    points=frozenset([x509.DirectoryName(x509.Name([COMMON_NAME, ORGANIZATION]))])
                ),
            ),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    @pytest.mark.parametrize("critical", [True, False])
    def test_partial(self, limits: dict[str, Any], scope: Scope, critical: bool) -> None:
        """A list that covers only some certificates or some reasons has exactly that scope."""
        ca = CertificateAuthority("CA")
        data = ca.revocation_list(extensions=[(limited(**limits), critical)])
        assert read(data, ca).scope == scope
        assert scope != Scope()

    def test_unlimited(self, authority: CertificateAuthority) -> None:
        """A list without an issuing distribution point is for every certificate of its CA."""
        held = read(authority.revocation_list(), authority)
        assert held.scope == Scope()
        assert not held.is_for_no_point

    @pytest.mark.parametrize(
        "der",
        ["3000", "3004 8302 0780", "3006 8101ff 8201ff", "3003 810100", "3004 8302 0601"],
        ids=["empty", "no reasons", "two kinds", "encoded default", "unused bits"],
    )
    def test_scope_that_cannot_be_read(self, authority: CertificateAuthority, der: str) -> None:
        """A list whose issuing distribution point is empty or contradicts itself is refused."""
        point = x509.UnrecognizedExtension(limited(full_name=[URL]).oid, bytes.fromhex(der))
        data = authority.revocation_list(extensions=[(point, True)])
        assert "broken" in why_not(data, authority)

    def test_limits_that_are_empty_limit_to_nothing(self, authority: CertificateAuthority) -> None:
        """An empty set of reasons or names is a limit, and differs from an absent one."""
        oid = limited(full_name=[URL]).oid
        for der, scope in (
            ("3007 8101ff 83020780", Scope(only_user_certificates=True, reasons=frozenset())),
            ("3007 a002a000 8101ff", Scope(points=frozenset(), only_user_certificates=True)),
        ):
            point = x509.UnrecognizedExtension(oid, bytes.fromhex(der))
            data = authority.revocation_list(extensions=[(point, True)])
            assert read(data, authority).scope == scope

    def test_stated_point(self, authority: CertificateAuthority) -> None:
        """A statement of a distribution point counts for one list with exactly that URL."""
        data = authority.revocation_list(extensions=[(limited(full_name=[URL]), True)])
        whole = authority.revocation_list()

        def stated(data: bytes, url: str) -> RevocationList:
            [only] = read_revocation_lists(
                data, source=SOURCE, issuers=[authority.x509], distribution_point=url
            )
            return only

        for good in (data, der_of(data)):
            assert stated(good, URL.value).is_for_no_point
        for url in (f"{URL.value}/", URL.value.upper(), "https://ca.example/2.crl", "\xe9"):
            with pytest.raises(ValueError, match=re.escape(f"point {URL.value!r}, not for")):
                stated(data, url)
        with pytest.raises(ValueError, match=r"without a distribution point.*only the file"):
            stated(whole, URL.value)
        for several in (data + data, data + data + b"the second of 20"):
            with pytest.raises(ValueError, match="holds 2 revocation lists"):
                stated(several, URL.value)
        by_name = limited(full_name=[x509.DirectoryName(authority.name)])
        with pytest.raises(ValueError, match="point 'CN=Contoso Issuing CA,O=Contoso', not for"):
            stated(authority.revocation_list(extensions=[(by_name, True)]), URL.value)

    def test_stated_point_of_a_list_with_the_name_of_a_block(self) -> None:
        """A list in DER is one list, even if the name of its CA is the first line of two blocks."""
        ca = CertificateAuthority("-----BEGIN X509 CRL-----" * 2)
        [only] = read_revocation_lists(
            der_of(ca.revocation_list(extensions=[(limited(full_name=[URL]), True)])),
            source=SOURCE,
            issuers=[ca.x509],
            distribution_point=URL.value,
        )
        assert only.is_for_no_point

    def test_delta(self, authority: CertificateAuthority) -> None:
        """A delta list, which holds only changes, is refused."""
        data = authority.revocation_list(extensions=[(x509.DeltaCRLIndicator(1), True)])
        assert "is a delta list" in why_not(data, authority)

    def test_indirect(self, authority: CertificateAuthority) -> None:
        """A list that covers other CAs, by its scope or by an entry, is refused."""
        point = limited(indirect_crl=True)
        data = authority.revocation_list(extensions=[(point, True)])
        assert "is an indirect list" in why_not(data, authority)
        other = x509.CertificateIssuer([x509.DirectoryName(authority.name)])
        for critical in (True, False):
            data = sign(
                builder(authority.name, [entry(5), entry(6, other, critical=critical)]), authority
            )
            assert "an entry names another certificate issuer" in why_not(data, authority)

    def test_unknown_extensions_of_the_list(self, authority: CertificateAuthority) -> None:
        """An unknown critical extension makes a list unusable; a non-critical one does not."""
        critical = authority.revocation_list(extensions=[(STRANGE, True)])
        assert f"critical extension {STRANGE_OID.dotted_string}" in why_not(critical, authority)
        assert read(authority.revocation_list(extensions=[(STRANGE, False)]), authority)
        numbered = authority.revocation_list(number=None, extensions=[(x509.CRLNumber(4), True)])
        assert read(numbered, authority).number == 4

    def test_critical_extension_of_an_entry(self, authority: CertificateAuthority) -> None:
        """An unknown critical extension of one entry makes the whole list unusable."""
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        plain = [entry(5), entry(6, reason), entry(7, STRANGE)]
        for extensions in ([], [(x509.CRLNumber(1), True)]):
            good = sign(builder(authority.name, plain, extensions), authority)
            assert len(read(good, authority)) == 3
            bad = [*plain, entry(8, STRANGE, critical=True), entry(9)]
            sentence = why_not(sign(builder(authority.name, bad, extensions), authority), authority)
            assert "an entry ('8') with the critical extension" in sentence

    def test_what_looks_like_a_critical_extension(self, authority: CertificateAuthority) -> None:
        """Serial numbers whose bytes look like a critical extension do not make a list unusable."""
        numbers = [0x0603551D150101FF, 0x0603551D1D, 0x0101FF]
        plain = [entry(number, STRANGE) for number in numbers]
        for extensions in ([], [(x509.CRLNumber(1), True)]):
            held = read(sign(builder(authority.name, plain, extensions), authority), authority)
            assert all(map(held.revokes, numbers))

    def test_critical_extension_with_a_long_identifier(
        self, authority: CertificateAuthority
    ) -> None:
        """A critical extension of an entry is found with an OID of any length."""
        for length in (3, 40, 63, 64, 70, 127, 128, 200):
            oid = tlv(0x06, b"\x2a" + b"\x01" * (length - 1))
            extension = tlv(0x30, oid, b"\x01\x01\xff", tlv(0x04, b"\x05\x00"))
            made = tlv(0x30, b"\x02\x01\x05", tlv(0x17, b"260101000000Z"), tlv(0x30, extension))
            sentence = why_not(written_by_hand(authority, entries=made), authority)
            assert ("critical extension" if length <= 63 else "broken") in sentence

    def test_no_next_update(self, authority: CertificateAuthority) -> None:
        """A list without nextUpdate, which would never expire, is refused."""
        data = written_by_hand(authority, has_next_update=False)
        assert "has no nextUpdate" in why_not(data, authority)


def test_list_made_by_openssl(tmp_path: Path) -> None:
    """Lists that OpenSSL's commands make, of version 1 and 2, are read."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "index.txt").touch()
    (tmp_path / "serial").write_text("01\n")
    (tmp_path / "crlnumber").write_text("2A\n")
    (tmp_path / "ca.cnf").write_text(
        "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\n"
        "certificate=ca.pem\nprivate_key=ca.key\ndefault_md=sha256\ndefault_days=30\n"
        "default_crl_days=7\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
        "[v2]\nauthorityKeyIdentifier=keyid\n"
    )
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new_key, "-subj", "/CN=My CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new_key, "-subj", "/CN=eve", "-keyout", "eve.key", "-out", "eve.csr")
    openssl("ca", "-batch", "-config", "ca.cnf", "-in", "eve.csr", "-out", "eve.pem", "-notext")
    openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", "before.crl")
    openssl("ca", "-config", "ca.cnf", "-revoke", "eve.pem", "-crl_reason", "keyCompromise")
    openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", "after.crl")
    with (tmp_path / "ca.cnf").open("a") as configuration:
        configuration.write("[own]\ncrlnumber=crlnumber\n")
    openssl("ca", "-config", "ca.cnf", "-gencrl", "-crlexts", "v2", "-out", "number.crl")

    ca = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    eve = x509.load_pem_x509_certificate((tmp_path / "eve.pem").read_bytes())
    lists = [
        read((tmp_path / name).read_bytes(), ca)
        for name in ("before.crl", "after.crl", "number.crl")
    ]
    assert [held.revokes(eve.serial_number) for held in lists] == [False, True, True]
    assert [held.number for held in lists] == [None, None, 0x2A]
    assert all(held.is_signed_by(ca) for held in lists)
    assert not any(held.why_not_current(datetime.now(UTC)) for held in lists)


def test_number_between_two_others_is_not_listed() -> None:
    """A serial number is listed only as a whole, and not if its bytes lie across two others."""
    width = 20
    middle = bytes(range(1, width + 1))
    around = [b"\x63" + middle[:-1], middle[-1:] + b"\x63" * (width - 1)]
    numbers = crls._SerialNumbers(map(number_of, around), 2)
    assert number_of(middle) not in numbers
    assert all(number_of(key) in numbers for key in around)


def test_number_after_a_similar_one_is_listed() -> None:
    """A serial number is found although its bytes also begin within the number before it."""
    similar, key = b"\x63" + b"\x05" * 19, b"\x05" * 20
    assert number_of(key) in crls._SerialNumbers(map(number_of, [similar, key]), 2)


def number_of(key: bytes) -> int:
    """Return the serial number of some bytes."""
    return int.from_bytes(key, "big")
