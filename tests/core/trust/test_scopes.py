"""Scopes of revocation lists, and the distribution points of certificates."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from arrcert.testing import CertificateAuthority
from arrcert.trust.scopes import ALL_REASONS, Scope, is_ca, names_of, points_of, scope_of

ONE = x509.UniformResourceIdentifier("https://ca.example/1.crl")
TWO = x509.UniformResourceIdentifier("https://ca.example/2.crl")
HOLD = frozenset([x509.ReasonFlags.certificate_hold])
RDN = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "One")])


def point(**facts: Any) -> x509.DistributionPoint:
    """Make a distribution point of a certificate."""
    empty = dict.fromkeys(("full_name", "relative_name", "reasons", "crl_issuer"))
    return x509.DistributionPoint(**{**empty, **facts})


def with_points(ca: CertificateAuthority, *points: x509.DistributionPoint) -> x509.Certificate:
    """Issue a certificate with distribution points."""
    extension = x509.CRLDistributionPoints(points)
    return ca.issue("alice", extensions=[(extension, False)]).certificate.x509


def test_reasons_are_those_of_rfc_5280() -> None:
    """All reasons together are the eight that an issuing distribution point can name."""
    assert len(ALL_REASONS) == 8
    assert not ALL_REASONS & {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}


def test_without_limits_a_list_is_for_every_certificate() -> None:
    """A list without an issuing distribution point has no limits."""
    scope = scope_of(None, x509.Name([]))
    assert scope == Scope()
    assert str(scope) == "for every certificate"
    for kind in (True, False):
        assert scope.why_not_this_kind(is_ca=kind) is None


@pytest.mark.parametrize(
    ("scope", "for_cas", "for_others"),
    [
        (Scope(only_user_certificates=True), False, True),
        (Scope(only_ca_certificates=True), True, False),
        (Scope(only_attribute_certificates=True), False, False),
    ],
)
def test_kinds(scope: Scope, for_cas: bool, for_others: bool) -> None:
    """A list for one kind of certificate covers no other (RFC 5280 section 6.3.3, b, 2)."""
    assert (scope.why_not_this_kind(is_ca=True) is None) is for_cas
    assert (scope.why_not_this_kind(is_ca=False) is None) is for_others


def test_scope_in_words() -> None:
    """The text of a scope names all its limits."""
    scope = Scope(frozenset([ONE]), only_ca_certificates=True, reasons=HOLD)
    assert str(scope) == (
        "for CA certificates, for the distribution point 'https://ca.example/1.crl',"
        " for the reasons certificateHold"
    )
    assert str(Scope(reasons=frozenset())) == "for the reasons (none)"
    two = HOLD | {x509.ReasonFlags.superseded}
    assert str(Scope(reasons=two)) == "for the reasons certificateHold, superseded"
    assert str(Scope(only_user_certificates=True)) == "for certificates that are no CA"
    assert str(Scope(only_attribute_certificates=True)) == "for attribute certificates"


def test_kind_of_a_certificate(authority: CertificateAuthority) -> None:
    """A certificate is a CA only if its basicConstraints say so."""
    assert is_ca(authority.x509)
    leaf = authority.issue("alice").certificate.x509
    assert not is_ca(leaf)
    key = authority._key
    bare = (
        x509.CertificateBuilder()
        .subject_name(leaf.subject)
        .issuer_name(authority.name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
        .sign(key, leaf.signature_hash_algorithm)
    )
    assert not is_ca(bare)


def test_certificate_without_points(authority: CertificateAuthority) -> None:
    """The distribution point of a certificate without one is the name of its issuer."""
    points = points_of(authority.issue("alice").certificate.x509)
    assert points.reasons == {x509.DirectoryName(authority.name): ALL_REASONS}
    assert not points.are_written
    assert str(points) == "no distribution point"


def test_points_of_a_certificate(authority: CertificateAuthority) -> None:
    """Each name of each point counts, with the reasons of all points together."""
    superseded = frozenset([x509.ReasonFlags.superseded])
    points = points_of(
        with_points(
            authority,
            point(full_name=[ONE], reasons=HOLD),
            point(crl_issuer=[x509.DirectoryName(authority.name)]),
            point(full_name=[ONE, x509.DNSName("ca.example")], reasons=superseded),
            point(full_name=[TWO]),
            point(relative_name=RDN),
        )
    )
    assert points.reasons == {
        ONE: HOLD | superseded,
        x509.DNSName("ca.example"): superseded,
        TWO: ALL_REASONS,
        x509.DirectoryName(x509.Name([*authority.name.rdns, RDN])): ALL_REASONS,
    }
    assert points.are_written
    assert str(points) == (
        "the distribution point 'O=One,CN=Contoso Issuing CA,O=Contoso', 'ca.example',"
        " 'https://ca.example/1.crl' and 1 more"
    )


def test_points_of_other_crl_issuers_do_not_count(authority: CertificateAuthority) -> None:
    """A point whose lists another issuer signs is ignored, because indirect lists are refused."""
    other = x509.DirectoryName(CertificateAuthority("Other").name)
    points = points_of(with_points(authority, point(full_name=[ONE], crl_issuer=[other])))
    assert points.reasons == {}
    assert points.are_written
    assert str(points) == "no distribution point that can be used"


@pytest.mark.parametrize("der", ["3000", "0500", "30 0b 3009 a007 a005 8603 68e974"])
def test_points_that_cannot_be_read(authority: CertificateAuthority, der: str) -> None:
    """A certificate with broken or empty points matches no list."""
    broken = x509.UnrecognizedExtension(
        x509.CRLDistributionPoints.oid, bytes.fromhex(der.replace(" ", ""))
    )
    # A CA certificate, because a client's certificate is read completely first.
    issued = CertificateAuthority("Issuing", issuer=authority, extensions=[(broken, False)])
    points = points_of(issued.x509)
    assert (dict(points.reasons), points.are_written) == ({}, True)


def test_names_in_a_message_are_bounded_and_escaped() -> None:
    """At most three names are shown, each on one line and cut."""
    hostile = [x509.UniformResourceIdentifier(f"http://{n}/\n" + "x" * 500) for n in range(100)]
    text = names_of(hostile)
    assert len(text) < 900
    assert "\n" not in text
    assert text.endswith(" and 97 more")
