"""What a policy allows, what counts as proof, and which rule speaks first."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from arrcert import (
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert.pins import public_key_fingerprint
from arrcert.policy import PARAMETERS
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed


def reason(
    policy: Policy, certificate: ClientCertificate, at: datetime | None = None
) -> DenialReason | None:
    """Return why the policy denies the certificate, None where it accepts."""
    try:
        policy.check(certificate, at)
    except CertificateDenied as denied:
        assert denied.certificate == certificate
        return denied.reason
    return None


def problems(**parameters: Any) -> dict[str, str]:
    """Return the one message for each parameter that the policy complains about."""
    with pytest.raises(ConfigurationError) as caught:
        Policy(**parameters)
    found = dict(caught.value.problems)
    assert len(found) == len(caught.value.problems)
    return found


# --- fingerprints -------------------------------------------------------------------------------


def test_either_fingerprint_pins(alice: IssuedCertificate, impostor: IssuedCertificate) -> None:
    """SHA-256 and SHA-1 fingerprints pin the certificate, and only it."""
    certificate = alice.certificate
    for pin in (certificate.sha256_fingerprint, certificate.sha1_fingerprint):
        assert reason(Policy(fingerprints=[pin]), certificate) is None
        assert (
            reason(Policy(fingerprints=[pin]), impostor.certificate)
            is DenialReason.FINGERPRINT_NOT_ALLOWED
        )


def test_fingerprints_are_written_as_tools_print_them(alice: IssuedCertificate) -> None:
    """Colons, spaces and case do not matter (Arcus: thumbprints compared with case)."""
    digits = alice.certificate.sha1_fingerprint
    pairs = [digits[index : index + 2] for index in range(0, 40, 2)]
    for written in (digits.lower(), ":".join(pairs), " ".join(pairs), f" {digits}\n"):
        assert reason(Policy(fingerprints=[written]), alice.certificate) is None


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("SHA256:" + "A" * 64, "without a prefix"),
        ("\u200e" + "A" * 40, r"U\+200E"),
        ("A" * 39, "39 hex digits"),
        ("A" * 128, "128 hex digits"),
        ("", "empty"),
        ("  ", "empty"),
        (":", "0 hex digits"),
        (b"A" * 40, "not text"),
        ("@Microsoft.KeyVault(SecretUri=https://v.example/secrets/s)", "Key Vault reference"),
    ],
)
def test_unparsable_pin_stops_the_start(entry: Any, hint: str) -> None:
    """A pin that could never match is an error, not a silent nobody."""
    with pytest.raises(ConfigurationError, match=hint):
        Policy(fingerprints=[entry])


def test_sha256_pin_is_not_compared_with_sha1(alice: IssuedCertificate) -> None:
    """Half a SHA-256 fingerprint is no SHA-1 fingerprint.

    (Arcus: "SHA256:" pins compared with SHA-1.)
    """
    pin = alice.certificate.sha256_fingerprint[:40]
    assert reason(Policy(fingerprints=[pin]), alice.certificate) is not None


# --- names --------------------------------------------------------------------------------------


def test_common_names_are_compared_exactly(authority: CertificateAuthority) -> None:
    """Neither case nor a prefix, suffix or substring is the name."""
    policy = Policy(common_names=["alice"], trust_anchors=authority.certificate_pem.decode())
    assert reason(policy, authority.issue("alice").certificate) is None
    for name in ("Alice", "alice2", "malice", "alice ", "alice\x00", "CN=alice"):
        assert (
            reason(policy, authority.issue(name).certificate)
            is DenialReason.COMMON_NAME_NOT_ALLOWED
        )


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param([[("CN", "bob,CN=alice")]], id="comma"),
        pytest.param([[("CN", "bob\\,CN=alice")]], id="escaped comma"),
        pytest.param([[("CN", "bob+CN=alice")]], id="plus"),
        pytest.param([[("CN", "bob/CN=alice")]], id="slash"),
        pytest.param([[("CN", "bob, CN = alice")]], id="spaces"),
        pytest.param([[("CN", "CN=alice")]], id="the attribute itself"),
        pytest.param([[("CN", '"alice"')]], id="quotation marks"),
        pytest.param([[("CN", "alice\x00.evil.example")]], id="NUL"),
        pytest.param([[("CN", "alice\nO=x")]], id="line break"),
        pytest.param([[("O", "x,CN=alice")], [("CN", "bob")]], id="in another attribute"),
        pytest.param([[("O", "CN=alice")]], id="in another attribute alone"),
        pytest.param([[("CN", "bob")], [("CN", "alice")]], id="two"),
        pytest.param([[("CN", "alice")], [("CN", "bob")]], id="two, the other way round"),
        pytest.param([[("CN", "alice")], [("CN", "alice")]], id="twice the same"),
        pytest.param([[("CN", "alice"), ("CN", "bob")]], id="two in one RDN"),
        pytest.param([[("O", "alice")]], id="another attribute"),
        pytest.param([], id="no subject"),
    ],
)
def test_common_name_is_read_from_structure(subject: list[list[tuple[str, str]]]) -> None:
    """The name is the one CN of the subject, whatever its text or that of others spells.

    (Spring CVE-2026-22747, CVE-2026-47838 and Node CVE-2021-44533: a name cut out of the subject's
    text, by commas, patterns or from a multi-valued RDN.)
    """
    oids = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME}
    rdns = [rdn(*((oids[key], value) for key, value in pairs)) for pairs in subject]
    certificate = issued_by(CONTOSO, x509.Name(rdns))
    policy = Policy(common_names=["alice"], fingerprints=[certificate.sha256_fingerprint])
    assert reason(policy, certificate) is DenialReason.COMMON_NAME_NOT_ALLOWED


def issued_by(issuer: x509.Name, subject: x509.Name | None = None) -> ClientCertificate:
    """Return a certificate that claims an issuer, and a subject, of any structure."""
    if subject is None:
        subject = x509.Name([rdn((NameOID.COMMON_NAME, "alice"))])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return ClientCertificate.from_der(certificate.public_bytes(Encoding.DER))


def rdn(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.RelativeDistinguishedName:
    """Make a relative distinguished name of one or several attributes."""
    return x509.RelativeDistinguishedName([x509.NameAttribute(oid, text) for oid, text in pairs])


CONTOSO = x509.Name(
    [
        rdn((NameOID.COUNTRY_NAME, "US")),
        rdn((NameOID.ORGANIZATION_NAME, "Contoso, Inc.")),
        rdn((NameOID.COMMON_NAME, "Contoso CA")),
    ]
)


def policy_for_issuer(entry: str, certificate: ClientCertificate) -> Policy:
    """Make a policy that pins the certificate and allows one issuer."""
    return Policy(issuers=[entry], fingerprints=[certificate.sha256_fingerprint])


@pytest.mark.parametrize(
    "entry",
    [
        "Contoso CA",
        r"CN=Contoso CA,O=Contoso\, Inc.,C=US",
        r"CN=Contoso CA, O=Contoso\, Inc.,  C=US",
        r"CN=Contoso CA,O=Contoso\2C Inc.,C=US",
        r"2.5.4.3=Contoso CA,2.5.4.10=Contoso\, Inc.,C=US",
    ],
)
def test_issuer_by_common_name_or_whole_name(entry: str) -> None:
    """An issuer is its one common name, or its whole name however RFC 4514 may write it."""
    certificate = issued_by(CONTOSO)
    assert reason(policy_for_issuer(entry, certificate), certificate) is None


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param([(NameOID.COMMON_NAME, "Contoso CA")], id="part of the name"),
        pytest.param(
            [
                (NameOID.COMMON_NAME, "Contoso CA"),
                (NameOID.ORGANIZATION_NAME, "Contoso, Inc."),
                (NameOID.COUNTRY_NAME, "US"),
            ],
            id="other order",
        ),
        pytest.param(
            [
                (NameOID.COUNTRY_NAME, "US"),
                (NameOID.ORGANIZATION_NAME, "Contoso"),
                (NameOID.COMMON_NAME, "Contoso CA"),
            ],
            id="other organization",
        ),
        pytest.param(
            [(NameOID.COMMON_NAME, r"Contoso CA,O=Contoso\, Inc.,C=US")],
            id="the text inside a common name",
        ),
    ],
)
def test_issuer_is_compared_as_structure(issuer: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    """A name that merely reads alike is another name.

    (Spring CVE-2026-47838, Arcus: a DN split on commas.)
    """
    certificate = issued_by(x509.Name([rdn(pair) for pair in issuer]))
    policy = policy_for_issuer(r"CN=Contoso CA,O=Contoso\, Inc.,C=US", certificate)
    assert reason(policy, certificate) is DenialReason.ISSUER_NOT_ALLOWED


def test_issuer_written_the_other_way_round_is_told() -> None:
    """A name that was written most general first is denied, and the log says that it was."""
    certificate = issued_by(CONTOSO)
    policy = policy_for_issuer(r"C=US,O=Contoso\, Inc.,CN=Contoso CA", certificate)
    with pytest.raises(CertificateDenied, match="the other way round"):
        policy.check(certificate)


def test_issuer_structure_knows_multi_valued_rdns() -> None:
    """Attributes of one RDN are a set, which a list of RDNs is not."""
    together = issued_by(
        x509.Name([rdn((NameOID.COMMON_NAME, "a"), (NameOID.ORGANIZATION_NAME, "b"))])
    )
    assert reason(policy_for_issuer("O=b+CN=a", together), together) is None
    assert reason(policy_for_issuer("CN=a+O=b", together), together) is None
    assert (
        reason(policy_for_issuer("CN=a,O=b", together), together) is DenialReason.ISSUER_NOT_ALLOWED
    )


def test_string_type_of_a_name_does_not_matter() -> None:
    """PrintableString and UTF8String of the same text are the same name."""
    from cryptography.x509.name import _ASN1Type

    printable = x509.NameAttribute(NameOID.COMMON_NAME, "Contoso CA", _ASN1Type.PrintableString)
    certificate = issued_by(x509.Name([printable]))
    assert reason(policy_for_issuer("CN=Contoso CA", certificate), certificate) is None


@pytest.mark.parametrize("count", [0, 2])
def test_issuer_without_exactly_one_common_name(count: int) -> None:
    """An entry without `=` matches only an issuer with exactly one common name."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, "Contoso CA")] * count
    certificate = issued_by(x509.Name([rdn((NameOID.COUNTRY_NAME, "US")), *map(_rdn, attributes)]))
    assert (
        reason(policy_for_issuer("Contoso CA", certificate), certificate)
        is DenialReason.ISSUER_NOT_ALLOWED
    )


def _rdn(attribute: x509.NameAttribute[str]) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([attribute])


@pytest.mark.parametrize(
    ("entry", "rewritten"),
    [
        ("C = US, O = Contoso, CN = Contoso CA", "CN=Contoso CA,O=Contoso,C=US"),
        ("/C=US/O=Contoso/CN=Contoso CA", "CN=Contoso CA,O=Contoso,C=US"),
        ("CN=Contoso CA, S=Washington, C=US", "CN=Contoso CA,ST=Washington,C=US"),
        ("E=ca@contoso.com, CN=Contoso CA", "1.2.840.113549.1.9.1=ca@contoso.com,CN=Contoso CA"),
        ("CN=Contoso CA;O=Contoso", "-nameopt RFC2253"),
        ('O="Contoso, Inc."', "-nameopt RFC2253"),
        ("=", "-nameopt RFC2253"),
        ("CN=Contoso CA,", "-nameopt RFC2253"),
        (" CN=Contoso CA", "white space around it"),
    ],
)
def test_name_as_other_tools_print_it_is_told_how(entry: str, rewritten: str) -> None:
    """A name in OpenSSL's or Windows' spelling is an error that shows RFC 4514's."""
    message = problems(issuers=[entry], fingerprints=["A" * 40])["issuers"]
    assert rewritten in message
    if "=" in rewritten:
        assert Policy(issuers=[rewritten], fingerprints=["A" * 40])


@pytest.mark.parametrize("entry", [7, None, b"alice", ["alice"], "", "  "])
@pytest.mark.parametrize("parameter", ["common_names", "dns_names", "uris", "issuers"])
def test_name_is_text(parameter: str, entry: Any) -> None:
    """An entry that is no text, or empty, is an error, not a name that nobody has."""
    found = problems(**{parameter: [entry]}, fingerprints=["A" * 40])
    assert "is not text" in found[parameter] or "is empty" in found[parameter]


def test_common_name_with_its_attribute_is_told_how() -> None:
    """`CN=alice` in common_names could never match and says so."""
    assert (
        "without CN="
        in problems(common_names=["CN=alice"], fingerprints=["A" * 40])["common_names"]
    )


# --- proof or no start --------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["common_names", "issuers"])
def test_names_alone_are_no_policy(parameter: str, authority: CertificateAuthority) -> None:
    """A name proves nothing: proof or no start."""
    pem = authority.certificate_pem.decode()
    assert list(problems(**{parameter: ["alice"]})) == [parameter]
    assert list(problems(**{parameter: ["alice"], "names_proven_by_front_end": False})) == [
        parameter
    ]
    assert Policy(**{parameter: ["alice"], "fingerprints": ["A" * 40]})
    assert Policy(**{parameter: ["alice"], "trust_anchors": pem})
    assert Policy(**{parameter: ["alice"], "names_proven_by_front_end": True})


def test_no_condition_is_no_policy() -> None:
    """A policy that would allow everyone does not start.

    (npm client-certificate-auth: `allOf()` of nothing.)
    """
    assert "would allow everyone" in problems()[""]
    assert "" in problems(names_proven_by_front_end=True)


@pytest.mark.parametrize("parameter", [name for name in PARAMETERS if name.endswith("s")])
def test_empty_list_stops_the_start(parameter: str) -> None:
    """An empty allowlist is a mistake, not a rule.

    (npm client-certificate-auth: `allowIssuer({})`.)
    """
    with pytest.raises(ConfigurationError, match=f"{parameter}: the list is empty"):
        Policy(**{"fingerprints": ["A" * 40], parameter: []})


@pytest.mark.parametrize("value", ["alice", b"alice", 7, {"alice": 1}, iter(["alice"])])
@pytest.mark.parametrize("parameter", ["fingerprints", "common_names", "issuers"])
def test_list_is_wanted(parameter: str, value: object) -> None:
    """One string is not a list of its letters."""
    assert "is not a list" in problems(**{"fingerprints": ["A" * 40], parameter: value})[parameter]


def test_truth_value_is_wanted() -> None:
    """A truthy text does not prove names."""
    found = problems(common_names=["alice"], names_proven_by_front_end="false")
    assert "not a truth value" in found["names_proven_by_front_end"]


def test_intermediates_need_anchors(authority: CertificateAuthority) -> None:
    """Intermediates alone lead nowhere."""
    pem = authority.certificate_pem.decode()
    assert list(problems(fingerprints=["A" * 40], intermediates=pem)) == ["intermediates"]


def test_all_mistakes_come_together(tmp_path: Path) -> None:
    """One start shows every mistake."""
    found = problems(
        fingerprints=["zz"],
        common_names=[""],
        issuers=["C = US"],
        trust_anchors=str(tmp_path / "absent.pem"),
        intermediates=7,
        names_proven_by_front_end=1,
    )
    assert set(found) == {
        "fingerprints",
        "common_names",
        "issuers",
        "trust_anchors",
        "intermediates",
        "names_proven_by_front_end",
    }


def test_anchors_come_as_path_text_or_list(
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    alice: IssuedCertificate,
    impostor: IssuedCertificate,
    tmp_path: Path,
) -> None:
    """A path, PEM text, and a list of both hold anchors; one file may hold several."""
    one, both = tmp_path / "one.pem", tmp_path / "both.pem"
    one.write_bytes(authority.certificate_pem)
    both.write_bytes(b"notes\n" + authority.certificate_pem + other_authority.certificate_pem)
    other = other_authority.certificate_pem.decode()
    for anchors in (one, str(one), [str(one)], authority.certificate_pem.decode()):
        assert reason(Policy(trust_anchors=anchors), alice.certificate) is None
        assert reason(Policy(trust_anchors=anchors), impostor.certificate) is DenialReason.UNTRUSTED
    for anchors in (both, [one, other]):
        assert reason(Policy(trust_anchors=anchors), alice.certificate) is None
        assert reason(Policy(trust_anchors=anchors), impostor.certificate) is None


def test_bytes_are_told_to_be_text(authority: CertificateAuthority) -> None:
    """PEM as bytes is told what makes it text."""
    assert ".decode()" in problems(trust_anchors=authority.certificate_pem)["trust_anchors"]


@pytest.mark.parametrize("value", [7, "", [""], [None], [["x"]]])
def test_anchor_of_another_kind_stops_the_start(value: Any) -> None:
    """What is neither a path nor PEM text is an error, never an empty trust store."""
    assert (
        "neither a PEM or DER file's path nor PEM text"
        in problems(trust_anchors=value)["trust_anchors"]
    )


def test_unresolved_reference_in_a_retiring_pin() -> None:
    """A Key Vault reference is found inside a mapping too."""
    entry = {"fingerprint": "@Microsoft.KeyVault(VaultName=v;SecretName=s)"}
    assert "Key Vault reference" in problems(fingerprints=[entry])["fingerprints"]


def test_unresolved_reference_is_no_path() -> None:
    """A Key Vault reference that was not resolved is named as such."""
    reference = "@Microsoft.KeyVault(VaultName=v;SecretName=s)"
    assert "Key Vault reference" in problems(trust_anchors=reference)["trust_anchors"]


# --- pins that retire, pins of keys --------------------------------------------------------------


def test_public_key_survives_renewal(authority: CertificateAuthority) -> None:
    """A pinned public key admits the renewed certificate, and no other key."""
    key = ec.generate_private_key(ec.SECP256R1())
    old, renewed = with_key(key.public_key()), with_key(key.public_key())
    pin = public_key_fingerprint(old)
    assert pin is not None
    policy = Policy(public_keys=[pin])
    assert old != renewed
    assert reason(policy, old) is None
    assert reason(policy, renewed) is None
    other = with_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    assert reason(policy, other) is DenialReason.FINGERPRINT_NOT_ALLOWED


def test_pin_is_of_the_key_and_not_of_what_names_it(authority: CertificateAuthority) -> None:
    """A stranger who copies names, serial number and key identifiers matches no pin.

    (Vault CVE-2024-2048: a pinned certificate was told by its serial number and key identifier.)
    """
    real = authority.issue("alice").certificate
    copied = (
        x509.CertificateBuilder()
        .subject_name(real.x509.subject)
        .issuer_name(real.x509.issuer)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(real.serial_number)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
    )
    key_identifiers = (
        x509.SubjectKeyIdentifier.from_public_key(real.x509.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.x509.public_key()),
    )
    for extension in key_identifiers:
        copied = copied.add_extension(extension, critical=False)
    stranger = ClientCertificate.from_der(
        copied.sign(AUTHORITY_KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    )
    pin = public_key_fingerprint(real)
    assert pin is not None
    assert stranger.serial_number == real.serial_number
    for policy in (
        Policy(public_keys=[pin]),
        Policy(fingerprints=[real.sha256_fingerprint]),
        Policy(fingerprints=[real.sha1_fingerprint]),
    ):
        assert reason(policy, real) is None
        assert reason(policy, stranger) is DenialReason.FINGERPRINT_NOT_ALLOWED


def test_nothing_enters_below_a_pinned_certificate(authority: CertificateAuthority) -> None:
    """A pin admits that certificate and none that its key has signed, CA:TRUE or not."""
    below = authority.issue("alice").certificate
    ca = ClientCertificate.from_pem(authority.certificate_pem)
    pin = public_key_fingerprint(ca)
    assert pin is not None
    for policy in (Policy(fingerprints=[ca.sha256_fingerprint]), Policy(public_keys=[pin])):
        assert reason(policy, ca) is None
        assert reason(policy, below) is DenialReason.FINGERPRINT_NOT_ALLOWED


def test_public_key_spares_ca_true(authority: CertificateAuthority) -> None:
    """A pinned key admits what `openssl req -x509` makes, renewed with the same key."""
    certificate = ClientCertificate.from_pem(authority.certificate_pem)
    pin = public_key_fingerprint(certificate)
    assert pin is not None
    assert reason(Policy(public_keys=[pin]), certificate) is None


def test_both_kinds_of_pins_must_hold(alice: IssuedCertificate) -> None:
    """Fingerprints and public keys are two parameters, and across parameters all must hold."""
    pin = public_key_fingerprint(alice.certificate)
    assert pin is not None
    policy = Policy(fingerprints=["A" * 40], public_keys=[pin])
    assert reason(policy, alice.certificate) is DenialReason.FINGERPRINT_NOT_ALLOWED


def test_pin_retires_by_itself(alice: IssuedCertificate) -> None:
    """A pin counts through the whole of its last day in UTC, and then says whose it was."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    entry = {
        "fingerprint": alice.certificate.sha256_fingerprint,
        "not_after": f"{today:%Y-%m-%d}",
        "note": "old gateway",
    }
    policy = Policy(fingerprints=[entry, "A" * 40])
    last = today + timedelta(days=1) - timedelta(seconds=1)
    assert reason(policy, alice.certificate, last) is None
    late = last + timedelta(seconds=1)
    assert reason(policy, alice.certificate, late) is DenialReason.FINGERPRINT_NOT_ALLOWED
    with pytest.raises(CertificateDenied, match=r"old gateway.*retired"):
        policy.check(alice.certificate, late)
    assert policy.decide(alice.certificate, today, None).until == last
    assert policy.warnings(last) == []
    [warning] = policy.warnings(late)
    assert warning.setting == "fingerprints"
    assert "old gateway" in warning.message


def test_one_fingerprint_of_two_may_retire(alice: IssuedCertificate) -> None:
    """A certificate that is pinned by SHA-1 until some day and by SHA-256 for ever stays."""
    policy = Policy(
        fingerprints=[
            {"fingerprint": alice.certificate.sha256_fingerprint, "not_after": "2020-01-01"},
            alice.certificate.sha1_fingerprint,
        ]
    )
    assert reason(policy, alice.certificate) is None


def test_pin_with_two_ends_is_a_mistake() -> None:
    """One pin cannot end on two days; said twice alike it is said once."""
    ending = {"fingerprint": "A" * 40, "not_after": "2027-01-31"}
    assert "different ends" in problems(fingerprints=["A" * 40, ending])["fingerprints"]
    assert Policy(fingerprints=["A" * 40, "a" * 40])


# --- subject alternative names -------------------------------------------------------------------


def named(*names: x509.GeneralName) -> ClientCertificate:
    """Return a certificate with these names in its subject alternative name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return ClientCertificate.from_der(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("parameter", "entry", "inside", "outside"),
    [
        (
            "dns_names",
            "*.partner.example",
            x509.DNSName("A.Partner.example"),
            x509.DNSName("a.b.partner.example"),
        ),
        (
            "uris",
            "spiffe://partner.example/ns/*",
            x509.UniformResourceIdentifier("spiffe://partner.example/ns/a"),
            x509.UniformResourceIdentifier("spiffe://partner.example/nsa"),
        ),
        (
            "email_addresses",
            "ops@partner.example",
            x509.RFC822Name("ops@PARTNER.example"),
            x509.RFC822Name("Ops@partner.example"),
        ),
    ],
)
def test_alternative_names(
    parameter: str, entry: str, inside: x509.GeneralName, outside: x509.GeneralName
) -> None:
    """Any name of the kind suffices; a name of another kind is not of this one."""
    right, wrong = named(outside, inside), named(outside)
    confused = named(x509.DNSName("ops@partner.example"), x509.RFC822Name("a.partner.example"))
    for certificate, denied in ((right, None), (wrong, True), (confused, True), (named(), True)):
        policy = Policy(
            **{parameter: [entry]},
            fingerprints=[certificate.sha256_fingerprint],
        )
        expected = DenialReason.COMMON_NAME_NOT_ALLOWED if denied else None
        assert reason(policy, certificate) is expected


WANTED = {
    "dns_names": "a.partner.example",
    "uris": "spiffe://partner.example/a",
    "email_addresses": "ops@partner.example",
}


def test_alternative_names_of_every_kind_at_once() -> None:
    """A policy that names all three kinds wants one name of each."""
    names = {
        "dns_names": x509.DNSName(WANTED["dns_names"]),
        "uris": x509.UniformResourceIdentifier(WANTED["uris"]),
        "email_addresses": x509.RFC822Name(WANTED["email_addresses"]),
    }
    wanted: dict[str, Any] = {parameter: [entry] for parameter, entry in WANTED.items()}
    policy = Policy(names_proven_by_front_end=True, **wanted)
    assert reason(policy, named(*names.values())) is None
    for lacking in names:
        held = [name for parameter, name in names.items() if parameter != lacking]
        assert reason(policy, named(*held)) is DenialReason.COMMON_NAME_NOT_ALLOWED


def other_name(text: str) -> x509.OtherName:
    """Make a user principal name, as Active Directory writes it."""
    oid = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
    return x509.OtherName(oid, bytes([12, len(text)]) + text.encode())


def raw(kind: Any, text: str) -> Any:
    """Make a name of any text; pyca refuses to write some, and reads them all."""
    return kind._init_without_validation(text)


@pytest.mark.parametrize("parameter", WANTED)
@pytest.mark.parametrize(
    "write",
    [
        *(
            pytest.param(lambda text, kind=kind, form=form: raw(kind, form % text), id=label)
            for kind, form, label in (
                (x509.DNSName, "%s\0.evil.example", "DNS, NUL after"),
                (x509.DNSName, "evil.example\0%s", "DNS, NUL before"),
                (x509.DNSName, "evil.example, DNS:%s", "DNS, injected"),
                (x509.DNSName, '"%s"', "DNS, quoted"),
                (x509.RFC822Name, "%s\0@evil.example", "e-mail, NUL after"),
                (x509.RFC822Name, "x, email:%s", "e-mail, injected"),
                (x509.RFC822Name, "<%s>", "e-mail, in brackets"),
                (x509.UniformResourceIdentifier, "%s\0.evil.example", "URI, NUL after"),
                (x509.UniformResourceIdentifier, "https://%s/", "URI of that host"),
                (x509.UniformResourceIdentifier, "urn:x, URI:%s", "URI, injected"),
            )
        ),
        *(
            pytest.param(lambda text, end=end: other_name(text + end), id=label)
            for end, label in (("", "other name"), ("\0x", "other name, NUL after"))
        ),
        pytest.param(
            lambda text: x509.DirectoryName(x509.Name([rdn((NameOID.COMMON_NAME, text))])),
            id="directory name",
        ),
    ],
)
def test_alternative_names_are_not_confused(parameter: str, write: Any) -> None:
    """A name counts as its own kind alone, whole, NUL and all; text in it is never split.

    (Node CVE-2021-44531, CVE-2021-44532; Envoy CVE-2022-21656, CVE-2025-66220.)
    """
    certificate = named(write(WANTED[parameter]))
    policy = Policy(
        **{parameter: [WANTED[parameter]]}, fingerprints=[certificate.sha256_fingerprint]
    )
    assert reason(policy, certificate) is DenialReason.COMMON_NAME_NOT_ALLOWED


@pytest.mark.parametrize("held", ["*.partner.example", "*", "*.example", "a.*.example"])
def test_wildcard_in_a_certificate_stands_for_nothing(held: str) -> None:
    """A client bears the name that is allowed, not one that would cover it.

    (cryptography CVE-2026-34073: a wildcard of the leaf reached names beyond its constraints.)
    """
    certificate = named(x509.DNSName(held))
    policy = Policy(dns_names=["a.partner.example"], fingerprints=[certificate.sha256_fingerprint])
    assert reason(policy, certificate) is DenialReason.COMMON_NAME_NOT_ALLOWED


@pytest.mark.parametrize("parameter", ["dns_names", "uris", "email_addresses"])
def test_alternative_names_need_proof(parameter: str) -> None:
    """A name in the SAN proves as little as one in the subject."""
    entry = {"dns_names": "a.example", "uris": "urn:a", "email_addresses": "a@example"}[parameter]
    assert "proves nothing" in problems(**{parameter: [entry]})[parameter]


# --- revocation and clocks -----------------------------------------------------------------------


def test_revoked_certificate_does_not_enter(authority: CertificateAuthority) -> None:
    """Who is on the list of the CA is denied; who is not on it enters."""
    good, bad = authority.issue("good"), authority.issue("bad")
    pem = authority.certificate_pem.decode()
    policy = Policy(trust_anchors=pem, crls=[authority.revocation_list(bad).decode()])
    assert reason(policy, good.certificate) is None
    assert reason(policy, bad.certificate) is DenialReason.REVOKED


def test_missing_list_is_a_denial_unless_soft(
    authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a list that speaks for a link nobody enters; softly they do, and the log says it."""
    issuing = CertificateAuthority("Issuing", issuer=authority)
    client, revoked = issuing.issue("alice"), issuing.issue("bob")
    files: dict[str, Any] = {
        "trust_anchors": authority.certificate_pem.decode(),
        "intermediates": issuing.certificate_pem.decode(),
        "crls": issuing.revocation_list(revoked).decode(),
    }
    hard, soft = Policy(**files), Policy(**files, revocation="soft")
    assert reason(hard, client.certificate) is DenialReason.REVOCATION_UNKNOWN
    assert reason(hard, revoked.certificate) is DenialReason.REVOKED
    assert not caplog.records
    assert reason(soft, client.certificate) is None
    assert "accepted in spite of revocation_unknown" in caplog.text
    assert reason(soft, revoked.certificate) is DenialReason.REVOKED
    now = datetime.now(UTC)
    assert not soft.decide(client.certificate, now, soft.trust_store()).is_certain


def test_lists_need_anchors_and_softness_needs_lists(authority: CertificateAuthority) -> None:
    """Lists without trust_anchors, or softness without lists, are errors."""
    crl = authority.revocation_list().decode()
    assert list(problems(fingerprints=["A" * 40], crls=crl)) == ["crls"]
    assert list(problems(fingerprints=["A" * 40], revocation="soft")) == ["revocation"]
    assert (
        "'medium' is not known"
        in problems(fingerprints=["A" * 40], revocation="medium")["revocation"]
    )


def test_clock_skew_widens_the_validity() -> None:
    """Clocks may differ by the configured seconds at both ends, for the leaf and its path."""
    now = datetime.now(UTC)
    # Valid for longer than what it issues, so that the leaf's own ends are what counts.
    authority = CertificateAuthority(
        "CA", not_before=now - timedelta(days=9), not_after=now + timedelta(days=999)
    )
    alice = authority.issue("alice")
    first = alice.certificate.not_valid_before_utc
    last = alice.certificate.not_valid_after_utc
    for proof in (
        {"fingerprints": [alice.certificate.sha256_fingerprint]},
        {"trust_anchors": authority.certificate_pem.decode()},
    ):
        policy = Policy(**proof, clock_skew=60)
        assert reason(policy, alice.certificate, first - timedelta(seconds=60)) is None
        assert reason(policy, alice.certificate, last + timedelta(seconds=60)) is None
        early, late = first - timedelta(seconds=61), last + timedelta(seconds=61)
        assert reason(policy, alice.certificate, early) is DenialReason.NOT_YET_VALID
        assert reason(policy, alice.certificate, late) is DenialReason.EXPIRED


@pytest.mark.parametrize("value", [-1, 301, 1.5, True, "60", None])
def test_clock_skew_is_whole_seconds_up_to_five_minutes(value: Any) -> None:
    """Clocks that differ by more are to be set."""
    assert "write 0 to 300" in problems(fingerprints=["A" * 40], clock_skew=value)["clock_skew"]
    assert Policy(fingerprints=["A" * 40], clock_skew=300)


def test_yes_ends_with_what_it_rests_on(authority: CertificateAuthority) -> None:
    """A yes holds until the first of leaf, CA, pin and list ends."""
    now = datetime.now(UTC).replace(microsecond=0)
    days = [now + timedelta(days=n) for n in range(1, 5)]
    issuing = CertificateAuthority("Issuing", issuer=authority, not_after=days[2])
    certificate = issuing.issue("alice", not_after=days[3]).certificate
    anchors = issuing.certificate_pem.decode()
    crl = issuing.revocation_list(next_update=days[1]).decode()
    pin = {"fingerprint": certificate.sha256_fingerprint, "not_after": days[0]}

    def until(**parameters: Any) -> datetime:
        policy = Policy(**parameters)
        return policy.decide(certificate, now, policy.trust_store()).until

    assert until(fingerprints=[certificate.sha256_fingerprint]) == days[3]
    assert until(trust_anchors=anchors) == days[2]
    assert until(trust_anchors=anchors, crls=crl) == days[1]
    assert until(trust_anchors=anchors, crls=crl, fingerprints=[pin]) == days[0]


# --- warnings, and the rest ----------------------------------------------------------------------


def test_several_cas_under_one_roof(
    authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    """Several anchors and names without issuers let each CA issue the other's names."""
    both = [authority.certificate_pem.decode(), other_authority.certificate_pem.decode()]
    [warning] = Policy(trust_anchors=both, common_names=["alice"]).warnings()
    assert warning.setting == "trust_anchors"
    assert "list of alternatives" in warning.message
    assert Policy(trust_anchors=both).warnings() == []
    assert Policy(trust_anchors=both[0], common_names=["alice"]).warnings() == []
    assert Policy(trust_anchors=both, common_names=["a"], issuers=["CN=A"]).warnings() == []


def test_policy_is_not_for_subclassing() -> None:
    """Who overrides a rule would believe that requests are held against it."""
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Mine", (Policy,), {})


# --- validity -----------------------------------------------------------------------------------


def test_validity_includes_both_ends(alice: IssuedCertificate) -> None:
    """The first and the last second count, and so does the whole of the last one (RFC 5280)."""
    certificate = alice.certificate
    policy = Policy(fingerprints=[certificate.sha256_fingerprint])
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    assert reason(policy, certificate, first) is None
    assert reason(policy, certificate, first - timedelta(microseconds=1)) is (
        DenialReason.NOT_YET_VALID
    )
    assert reason(policy, certificate, last) is None
    assert reason(policy, certificate, last + timedelta(microseconds=999_999)) is None
    assert reason(policy, certificate, last + timedelta(seconds=1)) is DenialReason.EXPIRED


def test_moment_of_any_zone_is_compared_in_utc(alice: IssuedCertificate) -> None:
    """A moment is the same in every time zone."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    zone = timezone(timedelta(hours=14))
    last = alice.certificate.not_valid_after_utc.astimezone(zone)
    assert reason(policy, alice.certificate, last) is None
    assert reason(policy, alice.certificate, last + timedelta(seconds=1)) is DenialReason.EXPIRED


def test_naive_moment_is_a_programming_error(alice: IssuedCertificate) -> None:
    """A moment without a zone is refused, not guessed."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    with pytest.raises(ValueError, match="aware"):
        policy.check(alice.certificate, at=datetime(2026, 1, 1))


def test_pin_does_not_outweigh_validity(expired: IssuedCertificate) -> None:
    """A pinned certificate is checked for expiry (Vault #2761)."""
    policy = Policy(fingerprints=[expired.certificate.sha256_fingerprint])
    assert reason(policy, expired.certificate) is DenialReason.EXPIRED


# --- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usages", "denied"),
    [
        (None, False),
        (("clientAuth",), False),
        (("serverAuth", "clientAuth"), False),
        (("serverAuth",), True),
        (("codeSigning",), True),
        (("anyExtendedKeyUsage",), True),
    ],
)
def test_extended_key_usage_must_hold_client_auth(
    usages: tuple[str, ...] | None, denied: bool
) -> None:
    """Who has an EKU must hold clientAuth, pinned or not (Envoy CVE-2022-21657: EKU ignored)."""
    certificate = self_signed("alice", extended_key_usages=usages).certificate
    policy = Policy(fingerprints=[certificate.sha256_fingerprint])
    assert reason(policy, certificate) is (DenialReason.WRONG_USAGE if denied else None)


# --- keys ---------------------------------------------------------------------------------------

AUTHORITY_KEY = ec.generate_private_key(ec.SECP256R1())


def with_key(public_key: Any) -> ClientCertificate:
    """Return a certificate that holds any public key."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(AUTHORITY_KEY, hashes.SHA256())
    )
    return ClientCertificate.from_der(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("make", "weak"),
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), True, id="RSA-1024"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2047), True, id="RSA-2047"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), False, id="RSA-2048"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP224R1()), True, id="P-224"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), False, id="P-256"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), False, id="P-384"),
        pytest.param(lambda: ed25519.Ed25519PrivateKey.generate(), False, id="Ed25519"),
        pytest.param(lambda: ed448.Ed448PrivateKey.generate(), False, id="Ed448"),
        pytest.param(lambda: dsa.generate_private_key(2048), True, id="DSA"),
    ],
)
def test_key_floor_holds_for_pins_too(make: Any, weak: bool) -> None:
    """RSA below 2048, curves below 256 bits and unknown kinds are weak, pinned or not."""
    certificate = with_key(make().public_key())
    policy = Policy(fingerprints=[certificate.sha256_fingerprint])
    assert reason(policy, certificate) is (DenialReason.WEAK_KEY if weak else None)


def test_key_that_cannot_be_read_is_weak(alice: IssuedCertificate) -> None:
    """A key of an algorithm that nobody knows is a denial, not an exception."""
    der = alice.certificate.der.replace(
        bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    )
    certificate = ClientCertificate.from_der(der)
    assert certificate != alice.certificate
    policy = Policy(fingerprints=[certificate.sha256_fingerprint])
    assert reason(policy, certificate) is DenialReason.WEAK_KEY


def test_a_point_off_the_curve_is_no_key(alice: IssuedCertificate) -> None:
    """Only a pinned fingerprint, which vouches for the very bytes, spares looking at the point."""
    point = alice.private_key.public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    beside = point[:-1] + bytes([point[-1] ^ 1])
    certificate = ClientCertificate.from_der(alice.certificate.der.replace(point, beside))
    assert certificate != alice.certificate
    by_name = Policy(common_names=["alice"], names_proven_by_front_end=True)
    assert reason(by_name, alice.certificate) is None
    assert reason(by_name, certificate) is DenialReason.WEAK_KEY
    assert reason(Policy(fingerprints=[certificate.sha256_fingerprint]), certificate) is None


# --- CA:TRUE, and what a pin spares -------------------------------------------------------------


def test_ca_certificate_enters_by_pin_alone(authority: CertificateAuthority) -> None:
    """What `openssl req -x509` makes is a client's only where it is pinned without anchors."""
    certificate = ClientCertificate.from_pem(authority.certificate_pem)
    pin, pem = [certificate.sha256_fingerprint], authority.certificate_pem.decode()
    assert reason(Policy(fingerprints=pin), certificate) is None
    assert reason(Policy(trust_anchors=pem), certificate) is DenialReason.UNTRUSTED
    assert (
        reason(Policy(fingerprints=pin, trust_anchors=pem), certificate) is DenialReason.UNTRUSTED
    )
    by_front_end = Policy(common_names=["Contoso Issuing CA"], names_proven_by_front_end=True)
    assert reason(by_front_end, certificate) is DenialReason.UNTRUSTED


def test_all_parameters_must_hold(
    authority: CertificateAuthority, alice: IssuedCertificate, look_alike: IssuedCertificate
) -> None:
    """A pin beside anchors does not spare the path."""
    policy = Policy(
        fingerprints=[
            alice.certificate.sha256_fingerprint,
            look_alike.certificate.sha256_fingerprint,
        ],
        trust_anchors=authority.certificate_pem.decode(),
    )
    assert reason(policy, alice.certificate) is None
    assert reason(policy, look_alike.certificate) is DenialReason.UNTRUSTED


def test_names_proven_by_the_front_end_need_no_path(impostor: IssuedCertificate) -> None:
    """Behind a front end that checks, a name stands as it came."""
    policy = Policy(common_names=["alice"], names_proven_by_front_end=True)
    assert reason(policy, impostor.certificate) is None


def test_first_failure_is_the_reason(
    authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """Dates, pin, names, issuer, usage, key, path: mended one by one, the reasons come so."""
    pem = authority.certificate_pem.decode()
    weak = with_key(ec.generate_private_key(ec.SECP224R1()).public_key())
    wrong_usage = self_signed("alice", extended_key_usages=("serverAuth",)).certificate
    pins = [weak.sha256_fingerprint, wrong_usage.sha256_fingerprint]
    late = datetime.now(UTC) + timedelta(days=1000)
    strict: dict[str, Any] = {
        "fingerprints": ["A" * 40],
        "common_names": ["bob"],
        "issuers": ["Nobody"],
        "trust_anchors": pem,
    }
    assert reason(Policy(**strict), wrong_usage, late) is DenialReason.EXPIRED
    early = datetime.now(UTC) - timedelta(days=1000)
    assert reason(Policy(**strict), wrong_usage, early) is DenialReason.NOT_YET_VALID
    assert reason(Policy(**strict), wrong_usage) is DenialReason.FINGERPRINT_NOT_ALLOWED
    strict["fingerprints"] = pins
    assert reason(Policy(**strict), wrong_usage) is DenialReason.COMMON_NAME_NOT_ALLOWED
    strict["common_names"] = ["alice"]
    assert reason(Policy(**strict), wrong_usage) is DenialReason.ISSUER_NOT_ALLOWED
    strict["issuers"] = ["alice"]
    assert reason(Policy(**strict), wrong_usage) is DenialReason.WRONG_USAGE
    assert reason(Policy(**strict), weak) is DenialReason.WEAK_KEY


def test_repr_shows_no_entries(authority: CertificateAuthority) -> None:
    """A policy in a debugger says of what kind it is, not whom it allows."""
    policy = Policy(common_names=["alice"], trust_anchors=authority.certificate_pem.decode())
    assert repr(policy) == "<Policy 1 common_names, trust_anchors>"
    proven = Policy(issuers=["a", "b"], names_proven_by_front_end=True)
    assert repr(proven) == "<Policy 2 issuers, names_proven_by_front_end>"


def test_relative_path_is_shown_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not found is shown with the folder where it was looked for."""
    monkeypatch.chdir(tmp_path)
    message = problems(trust_anchors="roots.pem")["trust_anchors"]
    assert "'roots.pem'" in message
    assert os.path.join(tmp_path, "roots.pem") in message


def test_a_yes_ends_with_whatever_ends_first(alice: IssuedCertificate) -> None:
    """A pin that retires early ends the yes; one that retires late does not prolong it."""
    certificate = alice.certificate
    end = certificate.not_valid_after_utc
    for retires, until in (
        (end - timedelta(days=1), end - timedelta(days=1)),
        (end + timedelta(days=1), end),
    ):
        pin = {"fingerprint": certificate.sha256_fingerprint, "not_after": retires}
        key = {"public_key": str(public_key_fingerprint(certificate)), "not_after": retires}
        for policy in (Policy(fingerprints=[pin]), Policy(public_keys=[key])):
            now = datetime.now(UTC).replace(microsecond=0)
            assert policy.decide(certificate, now, None).until == until
