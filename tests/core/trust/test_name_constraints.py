"""Name constraints of the CAs apply to the names in the subject."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arrcert.trust.name_constraints import comparisons, unsupported_constraint, violation

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime.now(UTC)


def made(
    common_names: list[str],
    emails: list[str] | None = None,
    constraints: x509.NameConstraints | x509.UnrecognizedExtension | None = None,
    issuer: str = "CA",
) -> x509.Certificate:
    """Make a certificate. Its signature is not checked here."""
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
    """Make a DNS name for a name constraint."""
    return x509.DNSName(text)


def permits(base: x509.GeneralName, leaf: x509.Certificate) -> bool:
    """Tell whether a CA that permits only this subtree may issue the leaf."""
    ca = made(["CA"], constraints=x509.NameConstraints([base], None))
    return violation([leaf, ca]) is None


def excludes(base: x509.GeneralName, leaf: x509.Certificate) -> bool:
    """Tell whether a CA that excludes this subtree may not issue the leaf."""
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
def test_common_name_is_constrained_by_its_kind(
    base: x509.GeneralName, common_name: str, within: bool
) -> None:
    """A common name that looks like a DNS name, an IP address or a mailbox counts as one."""
    leaf = made([common_name])
    assert permits(base, leaf) is within
    assert excludes(base, leaf) is within


@pytest.mark.parametrize("common_name", ["alice", "Alice Smith", "a b.example", "Dr. Alice"])
def test_other_common_names_are_not_constrained(common_name: str) -> None:
    """A common name that is neither a DNS name, an IP address nor a mailbox is not constrained."""
    for base in (dns("contoso.example"), x509.RFC822Name("contoso.example"), NETWORK):
        assert permits(base, made([common_name]))
        assert not excludes(base, made([common_name]))


def test_names_without_constraints_of_their_kind() -> None:
    """Constraints on one kind of name do not apply to another kind."""
    assert permits(dns("contoso.example"), made(["ops@evil.example"]))
    assert permits(NETWORK, made(["a.evil.example"]))


def test_email_address_of_the_subject_is_constrained() -> None:
    """E-mail constraints apply to the subject's emailAddress (RFC 5280 section 4.2.1.10)."""
    base = x509.RFC822Name("contoso.example")
    assert permits(base, made(["alice"], ["ops@contoso.example"]))
    assert not permits(base, made(["alice"], ["ops@evil.example"]))
    assert not permits(base, made(["alice"], ["ops@contoso.example", "ops@evil.example"]))


@pytest.mark.parametrize("address", ["contoso.example", "@contoso.example", "ops@", "@"])
def test_malformed_address_is_refused(address: str) -> None:
    """A malformed address is in every excluded subtree, and in no permitted one."""
    base = x509.RFC822Name("contoso.example")
    assert not permits(base, made(["alice"], [address]))
    assert excludes(base, made(["alice"], [address]))


def test_every_common_name_counts() -> None:
    """Each of several common names must be permitted."""
    leaf = made(["a.contoso.example", "a.evil.example"])
    assert not permits(dns("contoso.example"), leaf)


def test_every_ca_above_counts() -> None:
    """The constraints of every CA on the path apply, also to the CAs below it."""
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
    """Constraints do not apply to a self-issued CA on the path (RFC 5280 section 6.1.3, b)."""
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


def test_leaf_without_a_ca_is_not_constrained() -> None:
    """No constraints apply to a leaf that is its own trust anchor."""
    assert violation([made(["a.evil.example"])]) is None


def test_unsupported_kinds_are_told() -> None:
    """A CA with constraints on directory names or URIs is refused."""
    directory = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
    for base in (directory, x509.UniformResourceIdentifier("contoso.example")):
        for constraints in (
            x509.NameConstraints([base], None),
            x509.NameConstraints(None, [base]),
        ):
            ca = made(["CA"], constraints=constraints)
            assert "cannot enforce" in str(unsupported_constraint(ca))
            assert "cannot enforce" in str(violation([made(["alice"]), ca]))
    for base in (dns("a"), NETWORK, x509.RFC822Name("a.example")):
        assert (
            unsupported_constraint(made(["CA"], constraints=x509.NameConstraints([base], None)))
            is None
        )
    assert unsupported_constraint(made(["CA"])) is None


@pytest.mark.parametrize(
    ("base", "leaf", "within"),
    [
        (dns("A.Example"), made(["host.a.example"]), True),
        (dns("a.example"), made(["v1.2 gateway"]), True),
        (dns("a.example"), made(["x.b.example"]), False),
        (x509.RFC822Name("A.Example"), made(["x"], emails=["ops@a.example"]), True),
        (x509.RFC822Name("a.example"), made(["x"], emails=['"o@ps"@a.example']), True),
        (x509.RFC822Name("a.example"), made(["x"], emails=["ops@a.example@b.example"]), False),
    ],
)
def test_hosts_have_no_case_and_mailboxes_may_hold_an_at(
    base: x509.GeneralName, leaf: x509.Certificate, within: bool
) -> None:
    """Hosts are compared without case, the last @ ends a mailbox, and prose is no DNS name."""
    assert permits(base, leaf) is within


# A subtree of contoso.example with `minimum` 1, with `maximum` 5, and without both.
MINIMUM = bytes.fromhex("3018a0163014820f636f6e746f736f2e6578616d706c65800101")
MAXIMUM = bytes.fromhex("3018a0163014820f636f6e746f736f2e6578616d706c65810105")
PLAIN = bytes.fromhex("3015a0133011820f636f6e746f736f2e6578616d706c65")


@pytest.mark.parametrize(
    ("encoded", "supported"), [(MINIMUM, False), (MAXIMUM, False), (PLAIN, True)]
)
def test_subtrees_with_a_minimum_or_maximum_are_told(encoded: bytes, supported: bool) -> None:
    """A CA whose subtrees have a minimum or maximum is refused (RFC 5280 section 4.2.1.10).

    `cryptography` reads such a subtree as if it had neither, and so as a larger one.
    """
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), encoded)
    ca = made(["CA"], constraints=value)
    assert ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert (unsupported_constraint(ca) is None) is supported
    assert (violation([made(["any"]), ca]) is None) is supported


def test_several_subtrees_are_alternatives() -> None:
    """A name must be in one of the permitted subtrees, not in each of them."""
    limits = x509.NameConstraints([dns("a.example"), dns("b.example")], None)
    top = made(["CA"], constraints=limits)
    assert violation([made(["host.b.example"]), top]) is None
    assert violation([made(["host.c.example"]), top]) is not None


def test_ca_without_constraints_does_not_lift_those_above() -> None:
    """Constraints of a CA apply below a CA that has none of its own."""
    free = made(["Free"])
    top = made(["CA"], constraints=x509.NameConstraints([dns("a.example")], None))
    assert violation([made(["host.b.example"]), free]) is None
    assert violation([made(["host.b.example"]), free, top]) is not None


def test_ca_is_not_bound_by_its_own_constraints() -> None:
    """The constraints of a CA apply below it, and not to the common names of CAs."""
    limits = x509.NameConstraints([x509.RFC822Name("a.example"), dns("a.example")], None)
    ca = made(["Issuing"], emails=["ca@b.example"], constraints=limits, issuer="Root")
    assert violation([made(["x"]), ca]) is None
    between = made(["ca.b.example"])
    assert violation([made(["x"]), between, made(["CA"], constraints=limits)]) is None


def test_comparisons_are_counted_without_making_them() -> None:
    """Each name below a CA counts once for each constraint of it; one in a subject counts more."""
    three = x509.NameConstraints([dns("a.example"), dns("b.example")], [dns("c.a.example")])
    ca, sub = made(["CA"], constraints=three), made(["Sub", "Sub 2"], ["sub@a.example"])
    leaf = made([], constraints=x509.SubjectAlternativeName([dns("x.a.example")] * 5))
    assert comparisons([leaf, sub, ca]) == 3 * 5 + 3 * 8 * 3
    assert comparisons([leaf, ca, sub, ca]) == 2 * 3 * 5 + 3 * 8 * 4
    assert comparisons([leaf, sub]) == comparisons([leaf]) == 0


def test_constraints_that_cannot_be_read_hide_no_others() -> None:
    """Broken extensions count nothing, and those of the other certificates still count."""
    broken, names = (
        made(["Sub"], constraints=x509.UnrecognizedExtension(oid, b"\x05\x00"))
        for oid in (x509.NameConstraints.oid, x509.SubjectAlternativeName.oid)
    )
    ca = made(["CA"], constraints=x509.NameConstraints([dns("a.example")], None))
    assert comparisons([made(["x"]), ca, broken, names]) == 8
    assert comparisons([names, ca]) == 8
