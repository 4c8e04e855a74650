"""Revocation lists: what counts as one, and what they say of a path."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable, Iterable, Sequence
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

from arrcert import CertificateDenied, DenialReason
from arrcert.revocation import RevocationList, RevocationLists, read_revocation_lists
from arrcert.testing import CertificateAuthority, IssuedCertificate

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
SOURCE = "the file 'ca.crl'"
STRANGE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
STRANGE = x509.UnrecognizedExtension(STRANGE_OID, b"\x05\x00")
SHA256_ECDSA, SHA1_ECDSA = "1.2.840.10045.4.3.2", "1.2.840.10045.4.1"


def read(data: bytes, *issuers: CertificateAuthority | x509.Certificate) -> RevocationList:
    """Read the only list of a file."""
    certificates = [ca.x509 if isinstance(ca, CertificateAuthority) else ca for ca in issuers]
    [only] = read_revocation_lists(data, source=SOURCE, issuers=certificates)
    return only


def why_not(data: bytes, *issuers: CertificateAuthority | x509.Certificate) -> str:
    """Return the sentence for the operator; it always begins with the source."""
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
    """Begin a current list."""
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
    """Finish a list as an authority."""
    return made.sign(ca._key, hashes.SHA256()).public_bytes(Encoding.DER)


def tlv(tag: int, *content: bytes) -> bytes:
    """Write one DER element."""
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
    """Write a list of version 2 as no library does, signed by the authority."""

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
    """Make a CA certificate for any key, signed by a throw-away one."""
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


def denied(
    lists: RevocationLists, chain: Sequence[x509.Certificate], at: datetime | None = None
) -> CertificateDenied:
    """Return the denial of a path, by default at this moment."""
    with pytest.raises(CertificateDenied) as caught:
        lists.check(chain, at or datetime.now(UTC))
    return caught.value


@pytest.fixture(scope="module")
def intermediate(authority: CertificateAuthority) -> CertificateAuthority:
    """A CA below the root."""
    return CertificateAuthority("Intermediate", issuer=authority)


@pytest.fixture(scope="module")
def bob(intermediate: CertificateAuthority) -> IssuedCertificate:
    """A client below the intermediate."""
    return intermediate.issue("bob")


@pytest.fixture(scope="module")
def chain(
    authority: CertificateAuthority, intermediate: CertificateAuthority, bob: IssuedCertificate
) -> list[x509.Certificate]:
    """Bob's path, from the leaf to the anchor."""
    return [bob.certificate.x509, intermediate.x509, authority.x509]


class TestReading:
    def test_facts(self, authority: CertificateAuthority, alice: IssuedCertificate) -> None:
        """A list says whom it revokes, and between which moments it holds."""
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
        assert "'CN=Contoso Issuing CA,O=Contoso', 1 entries" in repr(held)

    def test_list_without_entries_is_a_list(self, authority: CertificateAuthority) -> None:
        """A CA that revoked nobody says so; such a list is no missing one."""
        held = read(authority.revocation_list(), authority)
        assert held
        assert len(held) == 0
        assert not held.revokes(1)

    def test_der_and_pem_with_text(self, authority: CertificateAuthority) -> None:
        """DER, PEM, and PEM with text around it and other line ends are the same list."""
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
        """A file may hold the lists of several CAs; one bad one makes the file a bad file."""
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
        """An invalid list never counts as an empty one, and the error says why.

        (Tomcat CVE-2026-24734, CVE-2026-53434; Vault #26091; Keycloak #35983: it counted as good.)
        """
        assert why in why_not(data, authority)

    def test_certificates_and_keys(
        self, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """A certificate in the list's place, or a private key beside it, is named."""
        assert "it holds certificates" in why_not(authority.certificate_pem, authority)
        pem = authority.revocation_list() + alice.private_key_pem
        assert "holds a private key" in why_not(pem, authority)

    def test_truncated(self, authority: CertificateAuthority) -> None:
        """A half-written file is a bad file, wherever it was cut."""
        pem = authority.revocation_list()
        for data in (pem, der_of(pem)):
            for length in range(0, len(data) - 10, 37):
                why_not(data[:length], authority)
        why_not(der_of(pem) + b"\0", authority)

    @given(st.data())
    def test_hostile_bytes(self, authority: CertificateAuthority, data: Any) -> None:
        """Bytes raise ValueError or are a list, whatever they are."""
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
        """Serial numbers that RFC 5280 forbids, zero and very long ones, are found as well."""
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
        """Each of many entries is found, and nothing else."""
        numbers = range(1000, 5000, 2)
        held = read(sign(builder(authority.name, map(entry, numbers)), authority), authority)
        assert [number for number in range(900, 5100) if held.revokes(number)] == list(numbers)

    def test_immutable(self, authority: CertificateAuthority) -> None:
        """A list is made by reading alone, and stays as it was read."""
        held = read(authority.revocation_list(), authority)
        with pytest.raises(AttributeError, match="immutable"):
            held.number = 9
        with pytest.raises(AttributeError, match="immutable"):
            del held.number
        with pytest.raises(TypeError, match="read_revocation_lists"):
            RevocationList()


class TestSigner:
    def test_another_ca(
        self, authority: CertificateAuthority, intermediate: CertificateAuthority
    ) -> None:
        """A list of a CA that is not configured does not count."""
        sentence = why_not(intermediate.revocation_list(), authority)
        assert "'CN=Intermediate', and no configured CA certificate has that name" in sentence

    def test_same_name_another_key(
        self, authority: CertificateAuthority, other_authority: CertificateAuthority
    ) -> None:
        """The issuer's name without its key proves nothing."""
        data = other_authority.revocation_list()
        assert "its signature does not hold" in why_not(data, authority)
        held = read(data, authority, other_authority)
        assert held.is_signed_by(other_authority.x509)
        assert not held.is_signed_by(authority.x509)

    def test_tampered(self, authority: CertificateAuthority) -> None:
        """A list that was changed after it was signed does not count."""
        data = sign(builder(authority.name, [entry(0x5EED5EED)]), authority)
        changed = data.replace(b"\x5e\xed\x5e\xed", b"\x5e\xed\x5e\xee")
        assert "its signature does not hold" in why_not(changed, authority)

    def test_key_usage(self) -> None:
        """An issuer whose key usage lacks cRLSign may not sign lists; one without key usage may."""
        key = ec.generate_private_key(ec.SECP256R1())
        without = ca_certificate(key)
        allowed = ca_certificate(key, key_usage(crl_sign=True))
        forbidden = ca_certificate(key, key_usage(crl_sign=False))
        data = builder(without.subject).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        assert "lacks cRLSign" in why_not(data, forbidden)
        assert read(data, without).is_signed_by(without)
        # Of two certificates for one key, the one on the path is asked.
        held = read(data, forbidden, allowed)
        assert held.is_signed_by(allowed)
        assert not held.is_signed_by(forbidden)
        leaf = CertificateAuthority("any").issue("leaf").certificate.x509
        refusal = denied(RevocationLists([held]), [leaf, forbidden])
        assert refusal.reason is DenialReason.REVOCATION_UNKNOWN
        assert "lacks cRLSign" in refusal.detail

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
        """Every kind of key that CAs have signs lists, and none stands in for another."""
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
            assert "does not hold" in why_not(data, ca_certificate(other))
        changed = data.replace(b"\x02\x01\x09", b"\x02\x01\x08")
        assert changed != data
        assert "does not hold" in why_not(changed, ca)

    def test_weak_signature(self, authority: CertificateAuthority) -> None:
        """A list signed with SHA-1 does not count."""
        weak = written_by_hand(
            authority, algorithm=hashes.SHA1(), inner=SHA1_ECDSA, outer=SHA1_ECDSA
        )
        assert "is signed with sha1" in why_not(weak, authority)
        assert read(written_by_hand(authority), authority).number is None

    def test_two_algorithms(self, authority: CertificateAuthority) -> None:
        """The algorithm outside of the signature is the one that was signed."""
        data = written_by_hand(authority, inner="1.2.840.10045.4.3.3")
        assert "algorithms do not match" in why_not(data, authority)
        unknown = written_by_hand(authority, inner="1.2.3.4", outer="1.2.3.4")
        assert "broken" in why_not(unknown, authority)


class TestScope:
    @pytest.mark.parametrize(
        "scope",
        [
            {"only_contains_user_certs": True},
            {"only_contains_ca_certs": True},
            {"only_contains_attribute_certs": True},
            {"only_some_reasons": frozenset([x509.ReasonFlags.key_compromise])},
            {"full_name": [x509.UniformResourceIdentifier("http://ca.example/1.crl")]},
            {
                "relative_name": x509.RelativeDistinguishedName(
                    [x509.NameAttribute(NameOID.COMMON_NAME, "1")]
                )
            },
        ],
        ids=lambda scope: next(iter(scope)),
    )
    @pytest.mark.parametrize("critical", [True, False])
    def test_partial(
        self, authority: CertificateAuthority, scope: dict[str, Any], critical: bool
    ) -> None:
        """A list for some certificates or some reasons does not speak for all."""
        facts = dict.fromkeys(
            (
                "only_contains_user_certs",
                "only_contains_ca_certs",
                "only_contains_attribute_certs",
                "indirect_crl",
            ),
            False,
        ) | dict.fromkeys(("full_name", "relative_name", "only_some_reasons"))
        point = x509.IssuingDistributionPoint(**{**facts, **scope})
        data = authority.revocation_list(extensions=[(point, critical)])
        assert "is a partial list" in why_not(data, authority)

    def test_delta(self, authority: CertificateAuthority) -> None:
        """A delta list holds changes alone: who is not on it may be on the complete one."""
        data = authority.revocation_list(extensions=[(x509.DeltaCRLIndicator(1), True)])
        assert "is a delta list" in why_not(data, authority)

    def test_indirect(self, authority: CertificateAuthority) -> None:
        """A list that speaks for other CAs, by its scope or by an entry, does not count."""
        point = x509.IssuingDistributionPoint(
            full_name=None,
            relative_name=None,
            only_contains_user_certs=False,
            only_contains_ca_certs=False,
            only_some_reasons=None,
            indirect_crl=True,
            only_contains_attribute_certs=False,
        )
        data = authority.revocation_list(extensions=[(point, True)])
        assert "is an indirect list" in why_not(data, authority)
        other = x509.CertificateIssuer([x509.DirectoryName(authority.name)])
        for critical in (True, False):
            data = sign(
                builder(authority.name, [entry(5), entry(6, other, critical=critical)]), authority
            )
            assert "an entry names another certificate issuer" in why_not(data, authority)

    def test_unknown_extensions_of_the_list(self, authority: CertificateAuthority) -> None:
        """A critical extension that is not understood bars a list; one that is not critical not."""
        critical = authority.revocation_list(extensions=[(STRANGE, True)])
        assert f"critical extension {STRANGE_OID.dotted_string}" in why_not(critical, authority)
        assert read(authority.revocation_list(extensions=[(STRANGE, False)]), authority)
        numbered = authority.revocation_list(number=None, extensions=[(x509.CRLNumber(4), True)])
        assert read(numbered, authority).number == 4

    def test_critical_extension_of_an_entry(self, authority: CertificateAuthority) -> None:
        """A critical extension of any entry that is not understood bars the whole list."""
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        plain = [entry(5), entry(6, reason), entry(7, STRANGE)]
        for extensions in ([], [(x509.CRLNumber(1), True)]):
            good = sign(builder(authority.name, plain, extensions), authority)
            assert len(read(good, authority)) == 3
            bad = [*plain, entry(8, STRANGE, critical=True), entry(9)]
            sentence = why_not(sign(builder(authority.name, bad, extensions), authority), authority)
            assert "an entry ('8') with the critical extension" in sentence

    def test_what_looks_like_a_critical_extension(self, authority: CertificateAuthority) -> None:
        """Serial numbers that hold the bytes of a critical extension make a list slow, not bad."""
        numbers = [0x0603551D150101FF, 0x0603551D1D, 0x0101FF]
        plain = [entry(number, STRANGE) for number in numbers]
        for extensions in ([], [(x509.CRLNumber(1), True)]):
            held = read(sign(builder(authority.name, plain, extensions), authority), authority)
            assert all(map(held.revokes, numbers))

    def test_critical_extension_with_a_long_identifier(
        self, authority: CertificateAuthority
    ) -> None:
        """A critical extension is not overlooked for the length of its identifier."""
        for length in (3, 40, 63, 64, 70, 127, 128, 200):
            oid = tlv(0x06, b"\x2a" + b"\x01" * (length - 1))
            extension = tlv(0x30, oid, b"\x01\x01\xff", tlv(0x04, b"\x05\x00"))
            made = tlv(0x30, b"\x02\x01\x05", tlv(0x17, b"260101000000Z"), tlv(0x30, extension))
            sentence = why_not(written_by_hand(authority, entries=made), authority)
            assert ("critical extension" if length <= 63 else "broken") in sentence

    def test_no_next_update(self, authority: CertificateAuthority) -> None:
        """A list without nextUpdate would hold for ever, and does not count."""
        data = written_by_hand(authority, has_next_update=False)
        assert "has no nextUpdate" in why_not(data, authority)


class TestLists:
    def test_newest_holds(self, authority: CertificateAuthority) -> None:
        """Of several lists by one CA the one with the highest number holds."""
        old = read(authority.revocation_list(number=2, last_update=NOW), authority)
        new = read(authority.revocation_list(number=10, last_update=NOW - HOUR), authority)
        for order in ([old, new], [new, old]):
            assert list(RevocationLists(order)) == [new]
        assert "<RevocationLists [<RevocationList the file" in repr(RevocationLists([old]))
        assert len(RevocationLists()) == 0

    @pytest.mark.parametrize("numbers", [(None, None), (None, 5), (5, None), (5, 5)])
    def test_newest_by_date(
        self, authority: CertificateAuthority, numbers: tuple[int | None, int | None]
    ) -> None:
        """Where numbers do not tell two lists apart, thisUpdate does."""
        old = read(authority.revocation_list(number=numbers[0], last_update=NOW - HOUR), authority)
        new = read(authority.revocation_list(number=numbers[1], last_update=NOW), authority)
        assert old.is_older_than(new)
        assert not new.is_older_than(old)
        assert not new.is_older_than(new)

    def test_older_does_not_replace(
        self,
        authority: CertificateAuthority,
        alice: IssuedCertificate,
        intermediate: CertificateAuthority,
    ) -> None:
        """Yesterday's list pardons nobody, and the caller hears of it."""
        held = read(authority.revocation_list(alice, number=2), authority)
        older = read(authority.revocation_list(number=1), authority)
        other = read(intermediate.revocation_list(), intermediate)
        before = RevocationLists([held])
        lists, refused = before.replaced_by([older, other])
        assert list(lists) == [held, other]
        assert refused == (older,)
        assert denied(lists, [alice.certificate.x509, authority.x509]).reason == "revoked"
        assert list(before) == [held]

    def test_newer_replaces(
        self, authority: CertificateAuthority, intermediate: CertificateAuthority
    ) -> None:
        """A newer list, or the same again, replaces; a signer that is not named is dropped."""
        held = read(authority.revocation_list(number=2), authority)
        dropped = read(intermediate.revocation_list(), intermediate)
        same = read(authority.revocation_list(number=2), authority)
        newer = read(authority.revocation_list(number=3), authority)
        before = RevocationLists([held, dropped])
        for candidate in (same, newer):
            lists, refused = before.replaced_by([candidate])
            assert list(lists) == [candidate]
            assert refused == ()

    def test_same_name_keeps_apart(
        self, authority: CertificateAuthority, other_authority: CertificateAuthority
    ) -> None:
        """Two CAs of one name have a list each."""
        lists = [
            read(ca.revocation_list(number=number), ca)
            for number, ca in enumerate((authority, other_authority))
        ]
        assert list(RevocationLists(lists)) == lists


class TestCheck:
    def test_good_until_the_earliest(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        chain: list[x509.Certificate],
    ) -> None:
        """With a current list for every link the answer holds until the first of them ends."""
        now = datetime.now(UTC).replace(microsecond=0)
        root_list = read(authority.revocation_list(next_update=now + 2 * HOUR), authority)
        for hours in (1, 3):
            other = read(intermediate.revocation_list(next_update=now + hours * HOUR), intermediate)
            lists = RevocationLists([root_list, other])
            assert lists.check(chain, now) == now + min(hours, 2) * HOUR

    def test_both_ends_belong_to_it(
        self, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """An expired list does not count as good, nor one that is not current yet.

        (Tomcat CVE-2026-24734, CVE-2026-53434; Vault #26091; Keycloak #35983: it counted as good.)
        """
        held = read(
            authority.revocation_list(last_update=NOW - HOUR, next_update=NOW + HOUR), authority
        )
        lists = RevocationLists([held])
        path = [alice.certificate.x509, authority.x509]
        second = timedelta(seconds=1)
        for at in (NOW - HOUR, NOW, NOW + HOUR):
            assert lists.check(path, at) == NOW + HOUR
            assert held.why_not_current(at) is None
        for at, why in ((NOW - HOUR - second, "holds from"), (NOW + HOUR + second, "expired at")):
            refusal = denied(lists, path, at)
            assert refusal.reason is DenialReason.REVOCATION_UNKNOWN
            assert f"{SOURCE} {why} 20" in refusal.detail
            assert why in str(held.why_not_current(at))

    def test_revoked_leaf(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        bob: IssuedCertificate,
        chain: list[x509.Certificate],
    ) -> None:
        """Who is on the list is revoked; the log hears which number on which list."""
        lists = RevocationLists(
            [
                read(authority.revocation_list(), authority),
                read(intermediate.revocation_list(bob), intermediate),
            ]
        )
        with pytest.raises(CertificateDenied) as caught:
            lists.check(chain, datetime.now(UTC), certificate=bob.certificate)
        assert caught.value.reason is DenialReason.REVOKED
        assert caught.value.certificate is bob.certificate
        assert caught.value.detail == (
            f"the revocation list {SOURCE} names the serial number"
            f" '{bob.certificate.serial_number:X}' of the client's certificate"
        )
        # The same number below another CA is another certificate.
        lists = RevocationLists(
            [
                read(authority.revocation_list(bob), authority),
                read(intermediate.revocation_list(), intermediate),
            ]
        )
        assert lists.check(chain, datetime.now(UTC))

    def test_revoked_intermediate(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        chain: list[x509.Certificate],
    ) -> None:
        """What a revoked CA issued is revoked with it, though its own list is missing."""
        revoking = read(authority.revocation_list(intermediate), authority)
        for lists in (
            RevocationLists([revoking]),
            RevocationLists([revoking, read(intermediate.revocation_list(), intermediate)]),
        ):
            refusal = denied(lists, chain)
            assert refusal.reason is DenialReason.REVOKED
            assert "of the CA certificate 'CN=Intermediate'" in refusal.detail

    def test_missing_list(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        chain: list[x509.Certificate],
    ) -> None:
        """Every link needs a list: a missing one never counts as good.

        (Tomcat CVE-2026-24734, CVE-2026-53434; Vault #26091; Keycloak #35983: it counted as good.)
        """
        of_root = read(authority.revocation_list(), authority)
        of_intermediate = read(intermediate.revocation_list(), intermediate)
        for lists, whose in (
            ([], "the client's certificate"),
            ([of_root], "the client's certificate"),
            ([of_intermediate], "the CA certificate 'CN=Intermediate'"),
        ):
            refusal = denied(RevocationLists(lists), chain)
            assert refusal.reason is DenialReason.REVOCATION_UNKNOWN
            assert f"nothing tells whether {whose} is revoked: there is no" in refusal.detail

    def test_accusation_outlives_the_list(
        self, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """Whom an expired list names stays revoked, lest soft failure let them in."""
        held = read(authority.revocation_list(alice, next_update=NOW - HOUR), authority)
        refusal = denied(RevocationLists([held]), [alice.certificate.x509, authority.x509])
        assert refusal.reason is DenialReason.REVOKED

    def test_list_of_a_same_named_ca(
        self,
        authority: CertificateAuthority,
        other_authority: CertificateAuthority,
        alice: IssuedCertificate,
    ) -> None:
        """A list signed by another key of the CA's name answers for nobody below the CA."""
        lists = RevocationLists([read(other_authority.revocation_list(alice), other_authority)])
        refusal = denied(lists, [alice.certificate.x509, authority.x509])
        assert refusal.reason is DenialReason.REVOCATION_UNKNOWN

    def test_anchor_is_not_asked_for(self, authority: CertificateAuthority) -> None:
        """A leaf that is its own anchor has no link, and nobody above it to revoke it."""
        assert RevocationLists().check([authority.x509], NOW) is None


def test_list_made_by_openssl(tmp_path: Path) -> None:
    """The lists that OpenSSL's own commands make are read: version 1 and 2, before and after."""

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
    now = datetime.now(UTC)
    assert RevocationLists(lists[:1]).check([eve, ca], now)
    assert denied(RevocationLists(lists[1:2]), [eve, ca], now).reason is DenialReason.REVOKED
