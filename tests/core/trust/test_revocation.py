"""What revocation lists say about a certification path."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from arrcert import DenialReason
from arrcert.exceptions import Finding
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.revocation import RevocationLists

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
SOURCE = "the file 'ca.crl'"


def read(data: bytes, ca: CertificateAuthority) -> RevocationList:
    """Return the only list of a file."""
    [only] = read_revocation_lists(data, source=SOURCE, issuers=[ca.x509])
    return only


def finding(
    lists: RevocationLists, chain: Sequence[x509.Certificate], at: datetime = NOW
) -> Finding:
    """Check a path, which must not pass, and return the finding."""
    found = lists.check(chain, at)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def intermediate(authority: CertificateAuthority) -> CertificateAuthority:
    """A CA below the root CA."""
    return CertificateAuthority("Intermediate", issuer=authority)


@pytest.fixture(scope="module")
def bob(intermediate: CertificateAuthority) -> IssuedCertificate:
    """A client with a certificate of the intermediate CA."""
    return intermediate.issue("bob")


@pytest.fixture(scope="module")
def chain(
    authority: CertificateAuthority, intermediate: CertificateAuthority, bob: IssuedCertificate
) -> list[x509.Certificate]:
    """The path of Bob's certificate, from the leaf to the trust anchor."""
    return [bob.certificate.x509, intermediate.x509, authority.x509]


def ca_certificate(key: ec.EllipticCurvePrivateKey, *, crl_sign: bool) -> x509.Certificate:
    """Make a CA certificate whose key usage has or lacks cRLSign."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    usage = x509.KeyUsage(
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
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


class TestReplacement:
    def test_newest_of_a_signer_counts(self, authority: CertificateAuthority) -> None:
        """If a CA has several lists, the newest one counts, whatever their order."""
        old = read(authority.revocation_list(number=2, last_update=NOW), authority)
        new = read(authority.revocation_list(number=10, last_update=NOW - HOUR), authority)
        for order in ([old, new], [new, old]):
            assert list(RevocationLists(order)) == [new]
        assert "<RevocationLists [<RevocationList the file" in repr(RevocationLists([old]))
        assert len(RevocationLists()) == 0

    def test_older_does_not_replace(
        self,
        authority: CertificateAuthority,
        alice: IssuedCertificate,
        intermediate: CertificateAuthority,
    ) -> None:
        """An older list does not replace a newer one, and the caller learns which list it is."""
        held = read(authority.revocation_list(alice, number=2), authority)
        older = read(authority.revocation_list(number=1), authority)
        other = read(intermediate.revocation_list(), intermediate)
        before = RevocationLists([held])
        lists, refused = before.replaced_by([older, other])
        assert list(lists) == [held, other]
        assert refused == (older,)
        assert finding(lists, [alice.certificate.x509, authority.x509]).reason == "revoked"
        assert list(before) == [held]

    def test_newer_replaces(
        self, authority: CertificateAuthority, intermediate: CertificateAuthority
    ) -> None:
        """A newer or equal list replaces the earlier one.

        If a signer has no list after a reload, its earlier list is not kept.
        """
        held = read(authority.revocation_list(number=2), authority)
        dropped = read(intermediate.revocation_list(), intermediate)
        same = read(authority.revocation_list(number=2), authority)
        newer = read(authority.revocation_list(number=3), authority)
        before = RevocationLists([held, dropped])
        for candidate in (same, newer):
            lists, refused = before.replaced_by([candidate])
            assert list(lists) == [candidate]
            assert refused == ()

    def test_cas_of_the_same_name(
        self, authority: CertificateAuthority, other_authority: CertificateAuthority
    ) -> None:
        """Two CAs with the same name and different keys each keep a list of their own."""
        lists = [
            read(ca.revocation_list(number=number), ca)
            for number, ca in enumerate((authority, other_authority))
        ]
        assert list(RevocationLists(lists)) == lists


class TestCheck:
    def test_earliest_next_update(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        chain: list[x509.Certificate],
    ) -> None:
        """A path passes until the earliest nextUpdate of the lists that it needs."""
        root_list = read(authority.revocation_list(next_update=NOW + 2 * HOUR), authority)
        for hours in (1, 3):
            other = read(intermediate.revocation_list(next_update=NOW + hours * HOUR), intermediate)
            lists = RevocationLists([root_list, other])
            assert lists.check(chain, NOW) is None
            assert lists.next_update_of(chain, NOW) == NOW + min(hours, 2) * HOUR

    def test_both_ends_belong_to_it(
        self, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """Neither an expired list nor one that is not current yet counts as good.

        (Tomcat CVE-2026-24734, CVE-2026-53434; Vault #26091; Keycloak #35983: it counted as good.)
        """
        held = read(
            authority.revocation_list(last_update=NOW - HOUR, next_update=NOW + HOUR), authority
        )
        lists = RevocationLists([held])
        path = [alice.certificate.x509, authority.x509]
        second = timedelta(seconds=1)
        for at in (NOW - HOUR, NOW, NOW + HOUR):
            assert lists.check(path, at) is None
        for at, why in (
            (NOW - HOUR - second, "is valid only from"),
            (NOW + HOUR + second, "expired at"),
        ):
            found = finding(lists, path, at)
            assert found.reason is DenialReason.REVOCATION_UNKNOWN
            assert f"{SOURCE} {why} 20" in found.detail

    def test_revoked_leaf(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        bob: IssuedCertificate,
        chain: list[x509.Certificate],
    ) -> None:
        """A leaf with an entry in its CA's list is revoked; the detail names list and number."""
        lists = RevocationLists(
            [
                read(authority.revocation_list(), authority),
                read(intermediate.revocation_list(bob), intermediate),
            ]
        )
        found = finding(lists, chain)
        assert found.reason is DenialReason.REVOKED
        assert found.detail == (
            f"the revocation list {SOURCE} names the serial number"
            f" '{bob.certificate.serial_number:X}' of the client's certificate"
        )
        # The same serial number of another CA is another certificate.
        lists = RevocationLists(
            [
                read(authority.revocation_list(bob), authority),
                read(intermediate.revocation_list(), intermediate),
            ]
        )
        assert lists.check(chain, NOW) is None

    def test_revoked_intermediate(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        chain: list[x509.Certificate],
    ) -> None:
        """A leaf of a revoked CA is revoked, even if that CA's own list is missing."""
        revoking = read(authority.revocation_list(intermediate), authority)
        for lists in (
            RevocationLists([revoking]),
            RevocationLists([revoking, read(intermediate.revocation_list(), intermediate)]),
        ):
            found = finding(lists, chain)
            assert found.reason is DenialReason.REVOKED
            assert "of the CA certificate 'CN=Intermediate'" in found.detail

    def test_missing_list(
        self,
        authority: CertificateAuthority,
        intermediate: CertificateAuthority,
        chain: list[x509.Certificate],
    ) -> None:
        """Every CA of the path needs a list: a missing list never counts as good.

        (Tomcat CVE-2026-24734, CVE-2026-53434; Vault #26091; Keycloak #35983: it counted as good.)
        """
        of_root = read(authority.revocation_list(), authority)
        of_intermediate = read(intermediate.revocation_list(), intermediate)
        for lists, whose in (
            ([], "the client's certificate"),
            ([of_root], "the client's certificate"),
            ([of_intermediate], "the CA certificate 'CN=Intermediate'"),
        ):
            found = finding(RevocationLists(lists), chain)
            assert found.reason is DenialReason.REVOCATION_UNKNOWN
            assert f"nothing tells whether {whose} is revoked: there is no" in found.detail

    def test_entry_of_an_expired_list(
        self, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """A certificate with an entry in an expired list is revoked, not unknown."""
        held = read(authority.revocation_list(alice, next_update=NOW - HOUR), authority)
        found = finding(RevocationLists([held]), [alice.certificate.x509, authority.x509])
        assert found.reason is DenialReason.REVOKED

    def test_list_of_a_ca_of_the_same_name(
        self,
        authority: CertificateAuthority,
        other_authority: CertificateAuthority,
        alice: IssuedCertificate,
    ) -> None:
        """A list that a CA of the same name signed with another key does not count."""
        lists = RevocationLists([read(other_authority.revocation_list(alice), other_authority)])
        found = finding(lists, [alice.certificate.x509, authority.x509])
        assert found.reason is DenialReason.REVOCATION_UNKNOWN

    def test_leaf_is_its_own_anchor(self, authority: CertificateAuthority) -> None:
        """A leaf that is its own trust anchor needs no list."""
        assert RevocationLists().check([authority.x509], NOW) is None
        assert RevocationLists().next_update_of([authority.x509], NOW) is None

    def test_ca_that_may_not_sign_lists(self, alice: IssuedCertificate) -> None:
        """The CA certificate on the path needs cRLSign, even if another one of its key has it."""
        key = ec.generate_private_key(ec.SECP256R1())
        allowed, forbidden = (ca_certificate(key, crl_sign=crl_sign) for crl_sign in (True, False))
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(allowed.subject)
            .last_update(NOW - HOUR)
            .next_update(NOW + HOUR)
            .sign(key, hashes.SHA256())
        )
        data = crl.public_bytes(Encoding.DER)
        lists = RevocationLists(
            read_revocation_lists(data, source=SOURCE, issuers=[forbidden, allowed])
        )
        leaf = alice.certificate.x509
        assert lists.check([leaf, allowed], NOW) is None
        found = finding(lists, [leaf, forbidden])
        assert found.reason is DenialReason.REVOCATION_UNKNOWN
        assert "lacks cRLSign" in found.detail
