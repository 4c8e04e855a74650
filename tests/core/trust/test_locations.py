"""The text that says where the certificate of a missing issuer is."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from arrcert.testing import CertificateAuthority
from arrcert.trust.locations import where_issuer_is

CA_ISSUERS, OCSP = AuthorityInformationAccessOID.CA_ISSUERS, AuthorityInformationAccessOID.OCSP


def with_access(
    ca: CertificateAuthority, *descriptions: tuple[x509.ObjectIdentifier, x509.GeneralName]
) -> x509.Certificate:
    """Issue a certificate with an authority information access."""
    access = x509.AuthorityInformationAccess(
        [x509.AccessDescription(method, location) for method, location in descriptions]
    )
    return ca.issue("alice", extensions=[(access, False)]).certificate.x509


def uri(text: str) -> x509.GeneralName:
    """Make a URI."""
    return x509.UniformResourceIdentifier(text)


def test_url_is_shown(authority: CertificateAuthority) -> None:
    """The text shows the URL of the issuer, and says that nothing is fetched from it."""
    certificate = with_access(
        authority,
        (OCSP, uri("http://ocsp.example")),
        (CA_ISSUERS, uri("http://ca.example/ca.crt")),
    )
    assert where_issuer_is(certificate) == (
        "; the certificate says that the CA certificate can be downloaded from"
        " 'http://ca.example/ca.crt'; arrcert downloads nothing. Check the fingerprint of a"
        " downloaded certificate before you trust it"
    )


def test_many_urls_are_cut(authority: CertificateAuthority) -> None:
    """At most two URLs are shown, each escaped and cut."""
    hostile = [(CA_ISSUERS, uri(f"http://{n}/\r\n\x1b[2J" + "x" * 3000)) for n in range(9)]
    text = where_issuer_is(with_access(authority, *hostile))
    assert " and 7 more; arrcert downloads nothing" in text
    assert len(text) < 700
    assert text.isprintable()


def test_nothing_to_show(authority: CertificateAuthority) -> None:
    """A certificate without such a URL adds no text."""
    assert where_issuer_is(authority.issue("alice").certificate.x509) == ""
    others = with_access(
        authority, (OCSP, uri("http://ocsp.example")), (CA_ISSUERS, x509.DNSName("ca.example"))
    )
    assert where_issuer_is(others) == ""


@pytest.mark.parametrize("der", ["0500", "3000", "300f300d06082b0601050507300286 01e9"])
def test_hostile_extension(authority: CertificateAuthority, der: str) -> None:
    """An extension that cannot be read adds no text."""
    broken = x509.UnrecognizedExtension(
        x509.AuthorityInformationAccess.oid, bytes.fromhex(der.replace(" ", ""))
    )
    # A CA certificate, because a client's certificate is read completely first.
    issued = CertificateAuthority("Issuing", issuer=authority, extensions=[(broken, False)])
    assert where_issuer_is(issued.x509) == ""
