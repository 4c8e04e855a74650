"""The revocation check of a certification path by lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

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
from arrcert.trust.scopes import ALL_REASONS

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
SOURCE = "the file 'ca.crl'"


def read(data: bytes, ca: CertificateAuthority) -> RevocationList:
    """Return the only list of a file."""
    [only] = read_revocation_lists(data, source=SOURCE, issuers=[ca.x509])
    return only


REASONS = x509.ReasonFlags
HOLD = frozenset([REASONS.certificate_hold])


def url(number: int) -> str:
    """Return the URL of a partition."""
    return f"https://ca.example/{number}.crl"


def limited(*names: str | x509.GeneralName, **limits: Any) -> x509.IssuingDistributionPoint:
    """Make an issuing distribution point. An absent argument is no limit."""
    kinds = ("user_certs", "ca_certs", "attribute_certs")
    facts: dict[str, Any] = {f"only_contains_{kind}": False for kind in kinds}
    facts |= {"indirect_crl": False, "relative_name": None, "only_some_reasons": None}
    full_name = [x509.UniformResourceIdentifier(n) if isinstance(n, str) else n for n in names]
    return x509.IssuingDistributionPoint(**{**facts, "full_name": full_name or None, **limits})


def scoped(
    ca: CertificateAuthority,
    point: x509.IssuingDistributionPoint,
    *revoked: IssuedCertificate,
    stated: str | None = None,
    source: str = SOURCE,
    **facts: Any,
) -> RevocationList:
    """Make and read a list with a scope."""
    data = ca.revocation_list(*revoked, extensions=[(point, True)], **facts)
    [only] = read_revocation_lists(
        data, source=source, issuers=[ca.x509], distribution_point=stated
    )
    return only


def client_of(
    ca: CertificateAuthority, *urls: str, reasons: frozenset[x509.ReasonFlags] | None = None
) -> IssuedCertificate:
    """Issue a client certificate with distribution points, each with its reasons."""
    points = [
        x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, reasons, None)
        for url in urls
    ]
    extensions = [(x509.CRLDistributionPoints(points), False)] if points else []
    return ca.issue("client", extensions=extensions)


def verdict(
    lists: RevocationLists,
    client: IssuedCertificate,
    *cas: CertificateAuthority,
    at: datetime | None = None,
) -> str | None:
    """Return the reason for which a client's path is denied, or None."""
    path = [client.certificate.x509, *(ca.x509 for ca in cas)]
    found = lists.check(path, at or datetime.now(UTC))
    return None if found is None else found.reason.value


def detail(lists: RevocationLists, client: IssuedCertificate, ca: CertificateAuthority) -> str:
    """Return why a client's certificate is unknown: one line of printable text."""
    found = finding(lists, [client.certificate.x509, ca.x509], datetime.now(UTC))
    assert found.reason is DenialReason.REVOCATION_UNKNOWN
    assert found.detail.isprintable()
    return found.detail


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
        """Of several lists of one CA the newest one counts, in any order."""
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
        """An older list does not replace a newer one, and is returned to the caller."""
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
        """An expired list, and one that is not valid yet, does not count as good.

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
            f"the revocation list in {SOURCE} names the serial number"
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
        """Every CA of the path needs a list, and a missing list never counts as good.

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
            assert f"it is unknown whether {whose} is revoked: there is no" in found.detail

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


class TestScopes:
    """Lists that are limited to some certificates (RFC 5280 section 6.3.3)."""

    def test_kinds_of_certificates(self, authority: CertificateAuthority) -> None:
        """A list for clients does not cover CAs, nor a list for CAs to clients."""
        issuing = CertificateAuthority("Issuing", issuer=authority)
        client = issuing.issue("client")
        for_users, for_cas = (
            limited(only_contains_user_certs=True),
            limited(only_contains_ca_certs=True),
        )
        path = (issuing, authority)
        fitting = [scoped(issuing, for_users), scoped(authority, for_cas)]
        assert verdict(RevocationLists(fitting), client, *path) is None
        crossed = RevocationLists([scoped(issuing, for_cas), scoped(authority, for_users)])
        assert verdict(crossed, client, *path) == "revocation_unknown"
        half = RevocationLists([scoped(issuing, for_users), scoped(authority, for_users)])
        found = finding(half, [client.certificate.x509, issuing.x509, authority.x509])
        assert (
            "the CA certificate 'CN=Issuing' is revoked: no revocation list of its CA covers"
            in (found.detail)
        )
        assert "it is for certificates that are no CA, and this is a CA certificate" in found.detail
        revoking = scoped(issuing, for_users, client)
        assert verdict(RevocationLists([revoking, fitting[1]]), client, *path) == "revoked"
        # The same serial number on the list for CAs does not revoke a client.
        silent = RevocationLists([scoped(issuing, for_cas, client), *fitting])
        assert verdict(silent, client, *path) is None

    def test_attribute_certificates(self, authority: CertificateAuthority) -> None:
        """A list for attribute certificates covers no certificate."""
        client = authority.issue("client")
        held = scoped(authority, limited(only_contains_attribute_certs=True), client)
        text = detail(RevocationLists([held]), client, authority)
        assert f"{SOURCE} is a list for attribute certificates, and it is only for" in text
        assert "distribution point" not in text

    def test_a_list_without_point_speaks_for_every_certificate(
        self, authority: CertificateAuthority
    ) -> None:
        """A list without a distribution point covers the certificates of every partition."""
        good, bad = (client_of(authority, url(number)) for number in (1, 2))
        lists = RevocationLists([read(authority.revocation_list(bad), authority)])
        assert verdict(lists, good, authority) is None
        assert verdict(lists, bad, authority) == "revoked"

    def test_one_partition_never_speaks_for_another(self, authority: CertificateAuthority) -> None:
        """Each of four partitions covers only its own certificates, and one is missing.

        (aws-lc #3105: one partition counted for all, and revoked certificates passed.)
        """
        good = [client_of(authority, url(number)) for number in range(4)]
        bad = [client_of(authority, url(number)) for number in range(4)]
        lists = RevocationLists(
            scoped(authority, limited(url(n)), bad[n], source=f"the file '{n}.crl'")
            for n in range(3)
        )
        assert len(lists) == 3
        assert [verdict(lists, client, authority) for client in good[:3]] == [None] * 3
        assert [verdict(lists, client, authority) for client in bad[:3]] == ["revoked"] * 3
        for client in (good[3], bad[3]):
            text = detail(lists, client, authority)
            for number in range(3):
                assert (
                    f"the file '{number}.crl' is a list for the distribution point '{url(number)}',"
                    f" and the certificate names the distribution point '{url(3)}';"
                ) in text
            assert "more lists" not in text
            assert "names no distribution point" not in text

    def test_entry_of_another_partition(self, authority: CertificateAuthority) -> None:
        """An entry in another partition decides nothing, but the detail mentions it."""
        client = client_of(authority, url(1))
        other = scoped(authority, limited(url(2)), client)
        own = scoped(authority, limited(url(1)))
        assert verdict(RevocationLists([own, other]), client, authority) is None
        text = detail(RevocationLists([other]), client, authority)
        assert "; it names the serial number, but does not cover the certificate" in text

    def test_urls_are_compared_byte_for_byte(self, authority: CertificateAuthority) -> None:
        """A URL that differs in any byte is another distribution point."""
        client = client_of(authority, url(1))
        assert (
            verdict(RevocationLists([scoped(authority, limited(url(1)))]), client, authority)
            is None
        )
        for other in (
            "https://ca.example/1.crl/",
            "https://CA.example/1.crl",
            "https://ca.example:443/1.crl",
            "http://ca.example/1.crl",
            "https://ca.example/%31.crl",
            "https://ca.example/1.crl\0",
        ):
            lists = RevocationLists([scoped(authority, limited(other))])
            assert verdict(lists, client, authority) == "revocation_unknown"
        # The same text, as a name of another kind.
        kind = RevocationLists([scoped(authority, limited(x509.DNSName(url(1))))])
        assert verdict(kind, client, authority) == "revocation_unknown"

    def test_one_of_several_names_suffices(self, authority: CertificateAuthority) -> None:
        """One distribution point that list and certificate share is enough."""
        client = client_of(authority, url(1), url(2))
        good = scoped(authority, limited(url(2), url(3)))
        assert verdict(RevocationLists([good]), client, authority) is None
        revoking = scoped(authority, limited(url(1)), client)
        for order in ([good, revoking], [revoking, good]):
            assert verdict(RevocationLists(order), client, authority) == "revoked"

    def test_certificate_without_points(self, authority: CertificateAuthority) -> None:
        """A list for a URL does not cover a certificate without distribution points.

        (openssl PR #32553.)
        """
        client = authority.issue("client")
        by_url = scoped(authority, limited(url(1)))
        text = detail(RevocationLists([by_url]), client, authority)
        assert "and the certificate names no distribution point" in text
        assert '{"file": "...", "distribution_point": "https://..."} in crls' in text
        by_name = scoped(authority, limited(x509.DirectoryName(authority.name)))
        assert verdict(RevocationLists([by_url, by_name]), client, authority) is None
        # A certificate with distribution points belongs only to those.
        elsewhere = client_of(authority, url(2))
        lists = RevocationLists([by_url, by_name])
        assert verdict(lists, elsewhere, authority) == "revocation_unknown"

    def test_stated_point(self, authority: CertificateAuthority) -> None:
        """A list with a stated point covers certificates without distribution points."""
        client, elsewhere = authority.issue("client"), client_of(authority, url(2))
        good = scoped(authority, limited(url(1)), stated=url(1))
        bad = scoped(authority, limited(url(1)), client, stated=url(1), number=2)
        assert verdict(RevocationLists([good]), client, authority) is None
        assert verdict(RevocationLists([bad]), client, authority) == "revoked"
        assert verdict(RevocationLists([good]), elsewhere, authority) == "revocation_unknown"
        # The statement widens the list in no other way.
        for_cas = limited(url(1), only_contains_ca_certs=True)
        lists = RevocationLists([scoped(authority, for_cas, stated=url(1))])
        assert verdict(lists, client, authority) == "revocation_unknown"

    def test_stated_list_is_read_twice(self, authority: CertificateAuthority) -> None:
        """The newest list of a scope counts, and a statement about one copy holds for both."""
        client = authority.issue("client")
        old = scoped(authority, limited(url(1)), stated=url(1), number=1)
        new = scoped(authority, limited(url(1)), client, number=2)
        for order in ([old, new], [new, old]):
            lists = RevocationLists(order)
            assert list(lists) == [new]
            assert verdict(lists, client, authority) == "revoked"

    def test_several_stated_lists_count_together(self, authority: CertificateAuthority) -> None:
        """A certificate without points may belong to any stated list, so all must be current."""
        client, now = authority.issue("client"), datetime.now(UTC).replace(microsecond=0)
        first = scoped(authority, limited(url(1)), stated=url(1))
        second = scoped(authority, limited(url(2)), stated=url(2))
        late = scoped(authority, limited(url(2)), stated=url(2), next_update=now - HOUR)
        assert verdict(RevocationLists([first, second]), client, authority) is None
        assert " expired at 20" in detail(RevocationLists([first, late]), client, authority)
        # A certificate with a distribution point needs only the list of that point.
        assert (
            verdict(RevocationLists([first, late]), client_of(authority, url(1)), authority) is None
        )

    def test_stated_lists_for_some_reasons(self, authority: CertificateAuthority) -> None:
        """A stated list covers only its own reasons, because only one stated list is the right one.

        Another list in scope may cover the others.
        """
        client, rest = authority.issue("client"), ALL_REASONS - HOLD
        for_hold = scoped(authority, limited(url(1), only_some_reasons=HOLD), stated=url(1))
        for_rest = scoped(authority, limited(url(2), only_some_reasons=rest), stated=url(2))
        both = RevocationLists([for_hold, for_rest])
        assert "cover the reasons (none) and" in detail(both, client, authority)
        other = scoped(authority, limited(only_some_reasons=HOLD))
        assert verdict(RevocationLists([for_rest, other]), client, authority) is None

    def test_reasons_count_together(self, authority: CertificateAuthority) -> None:
        """Lists for some reasons count only when together they cover all of them."""
        client = authority.issue("client")
        rest = ALL_REASONS - HOLD
        for_hold = scoped(authority, limited(only_some_reasons=HOLD))
        for_rest = scoped(authority, limited(only_some_reasons=rest))
        assert verdict(RevocationLists([for_hold, for_rest]), client, authority) is None
        text = detail(RevocationLists([for_rest]), client, authority)
        assert "no list covers certificateHold; configure the lists for the other reasons" in text
        now = datetime.now(UTC).replace(microsecond=0)
        late = scoped(authority, limited(only_some_reasons=HOLD), next_update=now - HOUR)
        assert " expired at 20" in detail(RevocationLists([late, for_rest]), client, authority)
        revoking = scoped(authority, limited(only_some_reasons=HOLD), client)
        for lists in ([revoking], [for_rest, revoking]):
            assert verdict(RevocationLists(lists), client, authority) == "revoked"

    def test_reasons_of_a_point(self, authority: CertificateAuthority) -> None:
        """A list of a point with some reasons counts only for those reasons."""
        client = client_of(authority, url(1), reasons=HOLD)
        own = scoped(authority, limited(url(1)))
        assert "cover the reasons certificateHold and" in detail(
            RevocationLists([own]), client, authority
        )
        rest = scoped(authority, limited(only_some_reasons=ALL_REASONS - HOLD))
        assert verdict(RevocationLists([own, rest]), client, authority) is None

    def test_no_reasons_at_all(self, authority: CertificateAuthority) -> None:
        """A list with an empty set of reasons covers nothing."""
        client = authority.issue("client")
        oid = limited(url(1)).oid
        point = x509.UnrecognizedExtension(oid, bytes.fromhex("30078101ff83020780"))
        data = authority.revocation_list(extensions=[(point, True)])
        lists = RevocationLists([read(data, authority)])
        assert "cover the reasons (none) and" in detail(lists, client, authority)

    def test_no_names_at_all(self, authority: CertificateAuthority) -> None:
        """A list whose distribution point has no name covers no certificate."""
        point = x509.UnrecognizedExtension(limited(url(1)).oid, bytes.fromhex("3007a002a0008101ff"))
        data = authority.revocation_list(extensions=[(point, True)])
        lists = RevocationLists([read(data, authority)])
        for client in (authority.issue("client"), client_of(authority, url(1))):
            text = detail(lists, client, authority)
            assert f"{SOURCE} is a list for certificates that are no CA, for the" in text

    def test_each_scope_has_its_own_numbers(self, authority: CertificateAuthority) -> None:
        """The lists of each scope have their own numbers, so they never replace each other."""
        first = [scoped(authority, limited(url(number)), number=number) for number in (1, 9)]
        lists = RevocationLists(first)
        assert list(lists) == first
        newer = scoped(authority, limited(url(1)), number=2)
        older = scoped(authority, limited(url(9)), number=8)
        after, refused = lists.replaced_by([newer, older])
        assert set(after) == {newer, first[1]}
        assert refused == (older,)
        client = client_of(authority, url(9))
        assert verdict(after, client, authority) is None

    def test_refused_list_stays_stated(self, authority: CertificateAuthority) -> None:
        """If an older list is refused, the one in use keeps the operator's statement."""
        client = authority.issue("client")
        held = scoped(authority, limited(url(1)), client, stated=url(1), number=2)
        older = scoped(authority, limited(url(1)), stated=url(1), number=1)
        after, refused = RevocationLists([held]).replaced_by([older])
        assert refused == (older,)
        assert verdict(after, client, authority) == "revoked"

    def test_until(self, authority: CertificateAuthority) -> None:
        """A path passes until the earliest nextUpdate of the current lists that cover it."""
        client, now = client_of(authority, url(1)), datetime.now(UTC).replace(microsecond=0)
        lists = RevocationLists(
            [
                scoped(authority, limited(url(1)), next_update=now + 3 * HOUR),
                scoped(authority, limited(url(2)), next_update=now + HOUR),
                read(authority.revocation_list(next_update=now + 2 * HOUR), authority),
                scoped(authority, limited(url(1), url(3)), next_update=now - HOUR),
            ]
        )
        path = [client.certificate.x509, authority.x509]
        assert lists.check(path, now) is None
        assert lists.next_update_of(path, now) == now + 2 * HOUR

    def test_many_partitions_in_a_detail(self, authority: CertificateAuthority) -> None:
        """The detail explains three lists, first one with an entry, and counts the others."""
        client = client_of(authority, url(1000))
        lists = [scoped(authority, limited(url(number))) for number in range(20)]
        lists.append(scoped(authority, limited(url(99)), client))
        text = detail(RevocationLists(lists), client, authority)
        assert f"a list for the distribution point '{url(99)}'" in text
        assert text.count(" is a list for the distribution point ") == 3
        assert "and 18 more lists do not cover it either" in text
        assert len(text) < 1500
