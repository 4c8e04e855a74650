"""Names in the subject are held against the constraints of the CAs above."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arrcert.trust.name_constraints import unsupported_constraint, violation

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime.now(UTC)


def made(
    common_names: list[str],
    emails: list[str] | None = None,
    constraints: x509.NameConstraints | None = None,
    issuer: str = "CA",
) -> x509.Certificate:
    """Make a certificate; whose signature it bears does not matter here."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, text) for text in common_names]
    attributes += [x509.NameAttribute(NameOID.EMAIL_ADDRESS, text) for text in emails or []]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(KEY, hashes.SHA256())


def dns(text: str) -> x509.DNSName:
    """Make a DNS base; pyca lets none through that RFC 5280 would not."""
    return x509.DNSName(text)


def permits(base: x509.GeneralName, leaf: x509.Certificate) -> bool:
    """Tell whether a CA that permits the base alone lets the leaf pass."""
    ca = made(["CA"], constraints=x509.NameConstraints([base], None))
    return violation([leaf, ca]) is None


def excludes(base: x509.GeneralName, leaf: x509.Certificate) -> bool:
    """Tell whether a CA that excludes the base keeps the leaf out."""
    ca = made(["CA"], constraints=x509.NameConstraints(None, [base]))
    return violation([leaf, ca]) is not None


NETWORK = x509.IPAddress(ipaddress.ip_network("10.1.0.0/16"))


@pytest.mark.parametrize(
    ("base", "common_name", "within"),
    [
        (dns("contoso.example"), "contoso.example", True),
        (dns("contoso.example"), "a.CONTOSO.example", True),
        (dns("contoso.example"), "a.contoso.example.", True),
        (dns("contoso.example"), "*.contoso.example", True),
        (dns(""), "any.example", True),
        (dns(".contoso.example"), "a.contoso.example", True),
        (dns("contoso.example"), "evilcontoso.example", False),
        (dns("contoso.example"), "contoso.example.evil", False),
        (dns("contoso.example"), "gäteway.evil", False),
        (dns("contoso.example"), "a.contoso.example/../x.evil", False),
        (x509.RFC822Name("contoso.example"), "ops@contoso.example", True),
        (x509.RFC822Name("contoso.example"), "ops@CONTOSO.example", True),
        (x509.RFC822Name("contoso.example"), "ops@a.contoso.example", False),
        (x509.RFC822Name(".contoso.example"), "ops@a.contoso.example", True),
        (x509.RFC822Name(".contoso.example"), "ops@contoso.example", False),
        (x509.RFC822Name("ops@contoso.example"), "ops@contoso.example", True),
        (x509.RFC822Name("ops@contoso.example"), "OPS@contoso.example", False),
        (x509.RFC822Name("ops@contoso.example"), "a@ops@contoso.example", False),
        (NETWORK, "10.1.2.3", True),
        (NETWORK, "10.2.2.3", False),
        (NETWORK, "::1", False),
    ],
)
def test_common_name_is_held_against_its_kind(
    base: x509.GeneralName, common_name: str, within: bool
) -> None:
    """A common name that reads as a DNS name, an address or a mailbox is one."""
    leaf = made([common_name])
    assert permits(base, leaf) is within
    assert excludes(base, leaf) is within


@pytest.mark.parametrize("common_name", ["alice", "Alice Smith", "a b.example", "Dr. Alice"])
def test_other_common_names_are_no_ones_business(common_name: str) -> None:
    """A common name that is no DNS name, address or mailbox is not constrained."""
    for base in (dns("contoso.example"), x509.RFC822Name("contoso.example"), NETWORK):
        assert permits(base, made([common_name]))
        assert not excludes(base, made([common_name]))


def test_names_without_constraints_of_their_kind() -> None:
    """Constraints on one kind say nothing of another."""
    assert permits(dns("contoso.example"), made(["ops@evil.example"]))
    assert permits(NETWORK, made(["a.evil.example"]))


def test_email_address_of_the_subject_is_constrained() -> None:
    """RFC 5280 section 4.2.1.10: the subject's emailAddress is held against e-mail constraints."""
    base = x509.RFC822Name("contoso.example")
    assert permits(base, made(["alice"], ["ops@contoso.example"]))
    assert not permits(base, made(["alice"], ["ops@evil.example"]))
    assert not permits(base, made(["alice"], ["ops@contoso.example", "ops@evil.example"]))


@pytest.mark.parametrize("address", ["contoso.example", "@contoso.example", "ops@", "@"])
def test_garbled_address_is_outside_in_doubt(address: str) -> None:
    """An address that is none is not permitted, and is excluded."""
    base = x509.RFC822Name("contoso.example")
    assert not permits(base, made(["alice"], [address]))
    assert excludes(base, made(["alice"], [address]))


def test_every_common_name_counts() -> None:
    """Of several common names each must be within."""
    leaf = made(["a.contoso.example", "a.evil.example"])
    assert not permits(dns("contoso.example"), leaf)


def test_every_ca_above_counts() -> None:
    """The constraints of all CAs on the path hold, and bind the CAs below them."""
    base = x509.NameConstraints([x509.RFC822Name("contoso.example")], None)
    top = made(["CA"], constraints=base)
    issuing = made(["Issuing"], ["ca@contoso.example"])
    strange = made(["Issuing"], ["ca@evil.example"])
    self_issued = made(["CA"], ["ca@evil.example"])
    own = made(["CA"])
    leaf = made(["alice"])
    assert violation([leaf, issuing, top]) is None
    assert "evil.example" in str(violation([leaf, strange, top]))
    assert violation([leaf, self_issued, top]) is not None
    assert violation([leaf, own, top]) is None


def test_self_issued_ca_is_not_bound() -> None:
    """RFC 5280 section 6.1.3 (b): a self-issued CA in between is not held against constraints."""
    top = made(["CA"], constraints=x509.NameConstraints([x509.RFC822Name("a.example")], None))
    name = [x509.NameAttribute(NameOID.EMAIL_ADDRESS, "ca@evil.example")]
    rollover = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(name))
        .issuer_name(x509.Name(name))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(KEY, hashes.SHA256())
    )
    assert violation([made(["alice"]), rollover, top]) is None
    assert violation([rollover, top]) is not None


def test_leaf_alone_is_bound_by_nothing() -> None:
    """A leaf that is its own anchor has no CA above it."""
    assert violation([made(["a.evil.example"])]) is None


def test_unsupported_kinds_are_told() -> None:
    """Directory names and URIs cannot be upheld; DNS names, addresses and mailboxes can."""
    directory = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
    for base in (directory, x509.UniformResourceIdentifier("contoso.example")):
        for constraints in (
            x509.NameConstraints([base], None),
            x509.NameConstraints(None, [base]),
        ):
            ca = made(["CA"], constraints=constraints)
            assert "cannot be upheld" in str(unsupported_constraint(ca))
            assert "cannot be upheld" in str(violation([made(["alice"]), ca]))
    for base in (dns("a"), NETWORK, x509.RFC822Name("a.example")):
        assert (
            unsupported_constraint(made(["CA"], constraints=x509.NameConstraints([base], None)))
            is None
        )
    assert unsupported_constraint(made(["CA"])) is None
