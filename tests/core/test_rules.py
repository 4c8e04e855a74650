"""The rules of a policy: one class of tests for each policy key."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
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
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert.exceptions import Finding
from arrcert.keys import public_key_fingerprint
from arrcert.moments import whole_second
from arrcert.notation import Form, Notation
from arrcert.pins import Pin
from arrcert.policy import PARAMETERS, Acceptance
from arrcert.presented import Presented
from arrcert.rules import KEYS, RULES, Decision, KeyRule
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

KEY = ec.generate_private_key(ec.SECP256R1())
PIN = "A" * 40
PIN_KEYS = ("fingerprints", "public_keys")
NAME_KEYS = ("common_names", "dns_names", "uris", "email_addresses", "issuers")
KEY_VAULT = "@Microsoft.KeyVault(VaultName=v;SecretName=s)"


def denial(
    policy: Policy, certificate: ClientCertificate, at: datetime | None = None
) -> CertificateDenied:
    """Return the denial of a certificate."""
    with pytest.raises(CertificateDenied) as caught:
        policy.check(certificate, at)
    assert caught.value.certificate == certificate
    return caught.value


def reason(
    policy: Policy, certificate: ClientCertificate, at: datetime | None = None
) -> DenialReason | None:
    """Return why a policy denies a certificate, None if it accepts."""
    try:
        policy.check(certificate, at)
    except CertificateDenied as denied:
        assert denied.certificate == certificate
        return denied.reason
    return None


def problems(**parameters: Any) -> dict[str, str]:
    """Return the only message for each parameter that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        Policy(**parameters)
    found = dict(caught.value.problems)
    assert len(found) == len(caught.value.problems)
    return found


def until(policy: Policy, certificate: ClientCertificate, at: datetime | None = None) -> datetime:
    """Return the moment until which a policy accepts a certificate."""
    moment = at or datetime.now(UTC).replace(microsecond=0)
    decided = policy.decide(Presented(certificate), moment, policy.trust_store())
    assert isinstance(decided, Acceptance)
    return decided.until


def name(*pairs: tuple[ObjectIdentifier, str]) -> x509.Name:
    """Make a name whose RDNs hold one attribute each."""
    return x509.Name([rdn(pair) for pair in pairs])


def rdn(*pairs: tuple[ObjectIdentifier, str]) -> x509.RelativeDistinguishedName:
    """Make a relative distinguished name of one or several attributes."""
    return x509.RelativeDistinguishedName([x509.NameAttribute(oid, text) for oid, text in pairs])


ALICE = name((NameOID.COMMON_NAME, "alice"))


def made(
    *,
    subject: x509.Name = ALICE,
    issuer: x509.Name | None = None,
    public_key: Any = None,
    alternative_names: Sequence[x509.GeneralName] = (),
    extensions: Iterable[x509.ExtensionType] = (),
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> ClientCertificate:
    """Return a certificate with any structure. Its signature does not matter here."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer)
        .public_key(public_key or KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or now - timedelta(days=1))
        .not_valid_after(not_after or now + timedelta(days=1))
    )
    if alternative_names:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return ClientCertificate.from_der(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER))


def pinned(certificate: ClientCertificate, **parameters: Any) -> Policy:
    """Make a policy that pins a certificate and has further conditions."""
    return Policy(fingerprints=[certificate.sha256_fingerprint], **parameters)


def key_of(certificate: ClientCertificate) -> str:
    """Return the fingerprint of the public key."""
    found = public_key_fingerprint(certificate.x509)
    assert found is not None
    return found


class TestRules:
    """All rules together."""

    def test_keys_are_the_parameters_of_a_policy(self) -> None:
        """There is one rule for each parameter of `Policy`, and no other key."""
        assert set(KEYS) == set(PARAMETERS)
        assert all(KEYS[key].key == key for key in KEYS)

    def test_order_is_the_order_of_the_decision(self) -> None:
        """The order is dates, pins, names, issuer, usage, key, path, revocation and identity."""
        assert [rule.__name__ for rule in RULES] == [
            "ClockSkew",
            "Fingerprints",
            "PublicKeys",
            "CommonNames",
            "DNSNames",
            "URIs",
            "EmailAddresses",
            "Issuers",
            "ClientAuthentication",
            "StrongKey",
            "NoCertificateAuthority",
            "TrustAnchors",
            "ConfiguredIssuer",
            "Intermediates",
            "RevocationLists",
            "Revocation",
            "Identity",
            "Roles",
            "NamesProvenByFrontEnd",
        ]

    @pytest.mark.parametrize("key", KEYS)
    def test_every_key_is_described(self, key: str) -> None:
        """Each key has a form for its environment variable, and a line for the documents."""
        assert isinstance(KEYS[key].form, Form)
        assert KEYS[key].document

    def test_proof_and_names(self) -> None:
        """Fingerprints and trust anchors prove names, and five keys need that proof."""
        proof = {key for key, rule in KEYS.items() if rule.proves_names}
        assert proof == {"fingerprints", "trust_anchors"}
        need = {key for key, rule in KEYS.items() if rule.is_name}
        assert need == set(NAME_KEYS)
        conditions = {key for key, rule in KEYS.items() if rule.is_condition}
        assert conditions == proof | need | {"public_keys"}

    def test_unfinished_rule_cannot_be_made(self) -> None:
        """A rule class without `check` or `read` cannot be instantiated."""

        class Unfinished(KeyRule, is_base=True):
            key = "unfinished"

        with pytest.raises(TypeError, match="abstract"):
            Unfinished("value", Notation.PYTHON)
        assert Unfinished not in RULES

    def test_end_of_a_decision_is_the_earliest(self, alice: IssuedCertificate) -> None:
        """An acceptance ends at the earliest moment that a rule notes, and None means no end."""
        decision = Decision(Presented(alice.certificate), datetime.now(UTC), None)
        end = alice.certificate.not_valid_after_utc
        for moment, expected in (
            (None, end),
            (end + timedelta(days=1), end),
            (end - timedelta(days=1), end - timedelta(days=1)),
            (end, end - timedelta(days=1)),
        ):
            decision.ends_at(moment)
            assert decision.until == expected

    @pytest.mark.parametrize("key", [key for key in KEYS if key.endswith("s")])
    def test_empty_list_stops_the_start(self, key: str) -> None:
        """An empty list is an error, not a rule.

        (npm client-certificate-auth: `allowIssuer({})`.)
        """
        with pytest.raises(ConfigurationError, match=f"{key}: the list is empty"):
            Policy(**{"fingerprints": [PIN], key: []})

    @pytest.mark.parametrize("value", ["alice", b"alice", 7, {"alice": 1}, iter(["alice"])])
    @pytest.mark.parametrize("key", [*PIN_KEYS, *NAME_KEYS])
    def test_list_is_wanted(self, key: str, value: object) -> None:
        """A value that is not a list, tuple or set is an error, and so is text."""
        message = problems(**{"fingerprints": [PIN], key: value})[key]
        assert "is not a list; write a list" in message
        if isinstance(value, str):
            # The error also says what is wrong with the text as an entry.
            entries = {"fingerprints": [PIN], key: [value], "revocation": "wrong"}
            mistake = problems(**entries).get(key)
            assert message.endswith(f"write a list; in it, {mistake}" if mistake else ": ['alice']")

    def test_path_in_place_of_fingerprints(self) -> None:
        """The error for a path in place of the list says what prints the fingerprint."""
        message = problems(fingerprints="pki/anna.pem")["fingerprints"]
        assert message == (
            "'pki/anna.pem' is not a list; write a list; in it, 'pki/anna.pem' looks like a file's"
            " path; write the digits of the SHA-256, which this prints: openssl x509 -in"
            " pki/anna.pem -noout -fingerprint -sha256"
        )

    @pytest.mark.parametrize("collection", [list, tuple, set, frozenset])
    def test_any_collection_is_a_list(
        self, collection: Any, alice: IssuedCertificate, authority: CertificateAuthority
    ) -> None:
        """Entries may be in a list, a tuple or a set."""
        policy = Policy(
            fingerprints=collection([alice.certificate.sha256_fingerprint]),
            common_names=collection(["alice"]),
            trust_anchors=collection([authority.certificate_pem.decode()]),
        )
        assert reason(policy, alice.certificate) is None

    @pytest.mark.parametrize("entry", [7, None, b"alice", ["alice"], {"name": "alice"}, "", "  "])
    @pytest.mark.parametrize("key", NAME_KEYS)
    def test_name_is_text(self, key: str, entry: Any) -> None:
        """An entry of names that is not text, or is empty, is an error."""
        found = problems(**{key: [entry]}, fingerprints=[PIN])[key]
        assert "is not text; write it as a string" in found or "is empty; write an entry" in found

    @pytest.mark.parametrize("key", [key for key, rule in KEYS.items() if rule.is_condition])
    def test_unresolved_reference_is_named(self, key: str) -> None:
        """An unresolved Key Vault reference in place of an entry is an error that says so."""
        message = problems(**{"fingerprints": [PIN], key: [f" {KEY_VAULT}"]})[key]
        assert "is a Key Vault reference that App Service did not resolve" in message

    def test_every_wrong_entry_is_reported(self) -> None:
        """One error holds a message for each wrong entry of a list."""
        with pytest.raises(ConfigurationError) as caught:
            Policy(fingerprints=["zz", PIN, ""], dns_names=["*", "a.example", 7])
        assert [problem.setting for problem in caught.value.problems] == [
            *("fingerprints", "fingerprints", "dns_names", "dns_names")
        ]


class TestClockSkew:
    """`clock_skew`, and the dates of the certificate."""

    def test_validity_includes_both_ends(self, alice: IssuedCertificate) -> None:
        """The first and the last second belong to the validity (RFC 5280 section 4.1.2.5)."""
        certificate = alice.certificate
        policy = pinned(certificate)
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        early, late = first - timedelta(microseconds=1), last + timedelta(seconds=1)
        assert reason(policy, certificate, first) is None
        assert reason(policy, certificate, early) is DenialReason.NOT_YET_VALID
        assert reason(policy, certificate, last) is None
        assert reason(policy, certificate, last + timedelta(microseconds=999_999)) is None
        assert reason(policy, certificate, late) is DenialReason.EXPIRED

    def test_denial_shows_both_moments(self, alice: IssuedCertificate) -> None:
        """The detail holds the date of the certificate and the moment of the decision."""
        certificate = alice.certificate
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        early, late = first - timedelta(seconds=1), last + timedelta(seconds=1)
        form = "%Y-%m-%dT%H:%M:%SZ"
        assert denial(pinned(certificate), certificate, early).detail == (
            f"valid from {first:{form}}, and it is {early:{form}}"
        )
        assert denial(pinned(certificate), certificate, late).detail == (
            f"valid until {last:{form}}, and it is {late:{form}}"
        )

    @pytest.mark.parametrize("hours", [-12, 0, 14])
    def test_last_second_counts_in_every_zone(
        self, hours: int, authority: CertificateAuthority
    ) -> None:
        """A moment half a second after notAfter is accepted in any time zone."""
        now = datetime.now(UTC)
        client = authority.issue("alice", not_after=now - timedelta(hours=1)).certificate
        zone = timezone(timedelta(hours=hours))
        late = (client.not_valid_after_utc + timedelta(seconds=0.5)).astimezone(zone)
        anchored = Policy(trust_anchors=authority.certificate_pem.decode())
        for policy in (anchored, pinned(client)):
            assert reason(policy, client, late) is None
            assert reason(policy, client, late + timedelta(seconds=1)) is DenialReason.EXPIRED

    def test_pin_does_not_outweigh_validity(self, expired: IssuedCertificate) -> None:
        """A pinned certificate is checked for expiry (Vault #2761)."""
        certificate = expired.certificate
        assert reason(pinned(certificate), certificate) is DenialReason.EXPIRED
        by_key = Policy(public_keys=[key_of(certificate)])
        assert reason(by_key, certificate) is DenialReason.EXPIRED

    def test_skew_widens_the_validity(self) -> None:
        """The clock skew widens both ends of the validity, for the leaf and its path."""
        now = datetime.now(UTC)
        # The CA is valid for longer than the leaf, so that the dates of the leaf decide.
        authority = CertificateAuthority(
            "CA", not_before=now - timedelta(days=9), not_after=now + timedelta(days=999)
        )
        alice = authority.issue("alice").certificate
        first, last = alice.not_valid_before_utc, alice.not_valid_after_utc
        for proof in (
            {"fingerprints": [alice.sha256_fingerprint]},
            {"trust_anchors": authority.certificate_pem.decode()},
        ):
            policy = Policy(**proof, clock_skew=60)
            assert reason(policy, alice, first - timedelta(seconds=60)) is None
            assert reason(policy, alice, last + timedelta(seconds=60)) is None
            early, late = first - timedelta(seconds=61), last + timedelta(seconds=61)
            assert reason(policy, alice, early) is DenialReason.NOT_YET_VALID
            assert reason(policy, alice, late) is DenialReason.EXPIRED

    def test_dates_at_the_ends_of_the_calendar(self) -> None:
        """A certificate with the largest dates is accepted with a clock skew, without an error."""
        certificate = made(
            not_before=datetime(1950, 1, 1, tzinfo=UTC),
            not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        )
        policy = pinned(certificate, clock_skew=300)
        assert reason(policy, certificate) is None
        assert until(policy, certificate) == certificate.not_valid_after_utc

    @pytest.mark.parametrize("value", [-1, 301, 1.5, True, "60", None])
    def test_skew_is_whole_seconds_up_to_five_minutes(self, value: Any) -> None:
        """A clock skew is 0 to 300 whole seconds; None is an error too."""
        message = problems(fingerprints=[PIN], clock_skew=value)["clock_skew"]
        assert "is not a whole number of seconds; write 0 to 300" in message
        assert Policy(fingerprints=[PIN], clock_skew=300)


class TestFingerprints:
    """`fingerprints`."""

    def test_either_fingerprint_pins(
        self, alice: IssuedCertificate, impostor: IssuedCertificate
    ) -> None:
        """A SHA-256 or SHA-1 fingerprint pins one certificate and no other."""
        certificate = alice.certificate
        for pin in (certificate.sha256_fingerprint, certificate.sha1_fingerprint):
            policy = Policy(fingerprints=[pin])
            assert reason(policy, certificate) is None
            found = denial(policy, impostor.certificate)
            assert found.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
            assert found.detail == (
                "it is none of the 1 pinned certificates; its thumbprint (SHA-1) is"
                f" {impostor.certificate.sha1_fingerprint}"
            )

    def test_fingerprints_are_written_as_tools_print_them(self, alice: IssuedCertificate) -> None:
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
            ({"fingerprint": KEY_VAULT}, "Key Vault reference"),
        ],
    )
    def test_unparsable_pin_stops_the_start(self, entry: Any, hint: str) -> None:
        """A pin that can never match is an error."""
        with pytest.raises(ConfigurationError, match=hint):
            Policy(fingerprints=[entry])

    def test_sha256_pin_is_not_compared_with_sha1(self, alice: IssuedCertificate) -> None:
        """Half of a SHA-256 fingerprint does not pin the certificate.

        (Arcus: "SHA256:" pins compared with SHA-1.)
        """
        pin = alice.certificate.sha256_fingerprint[:40]
        assert reason(Policy(fingerprints=[pin]), alice.certificate) is (
            DenialReason.FINGERPRINT_NOT_ALLOWED
        )

    def test_pin_is_of_the_key_and_not_of_what_names_it(
        self, authority: CertificateAuthority
    ) -> None:
        """A copy of all names, the serial number and the key identifiers does not match the pin.

        (Vault CVE-2024-2048: a pinned certificate was recognized by its serial number and key
        identifier.)
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
            copied.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
        )
        assert stranger.serial_number == real.serial_number
        for policy in (
            Policy(public_keys=[key_of(real)]),
            Policy(fingerprints=[real.sha256_fingerprint]),
            Policy(fingerprints=[real.sha1_fingerprint]),
        ):
            assert reason(policy, real) is None
            assert reason(policy, stranger) is DenialReason.FINGERPRINT_NOT_ALLOWED

    def test_nothing_enters_below_a_pinned_certificate(
        self, authority: CertificateAuthority
    ) -> None:
        """A pin accepts that certificate, and none that it has signed, even if it is a CA."""
        below = authority.issue("alice").certificate
        ca = ClientCertificate.from_pem(authority.certificate_pem)
        for policy in (
            Policy(fingerprints=[ca.sha256_fingerprint]),
            Policy(public_keys=[key_of(ca)]),
        ):
            assert reason(policy, ca) is None
            assert reason(policy, below) is DenialReason.FINGERPRINT_NOT_ALLOWED

    def test_pin_retires_by_itself(self, alice: IssuedCertificate) -> None:
        """A pin ends with its last day in UTC, and then the denial shows its note."""
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        entry = {
            "fingerprint": alice.certificate.sha256_fingerprint,
            "not_after": f"{today:%Y-%m-%d}",
            "note": "old gateway",
        }
        policy = Policy(fingerprints=[entry, PIN])
        last = today + timedelta(days=1) - timedelta(seconds=1)
        assert reason(policy, alice.certificate, last) is None
        late = last + timedelta(seconds=1)
        found = denial(policy, alice.certificate, late)
        assert found.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
        assert found.detail.startswith(
            f"the pin '{alice.certificate.sha256_fingerprint} (old gateway)' expired at {last};"
        )
        assert until(policy, alice.certificate, today) == last
        assert policy.warnings(last) == []
        assert policy.warnings(late) == [
            (
                "fingerprints",
                f"the pin {alice.certificate.sha256_fingerprint} (old gateway) expired at {last};"
                " remove it, or extend its not_after if the partner still uses it",
            )
        ]
        named = Policy(fingerprints=[{**entry, "identity": "fabrikam"}])
        assert "(old gateway) of 'fabrikam' expired at" in named.warnings(late)[0].message

    def test_one_of_two_fingerprints_may_retire(self, alice: IssuedCertificate) -> None:
        """A certificate with one expired pin is accepted by a pin on its other fingerprint."""
        policy = Policy(
            fingerprints=[
                {"fingerprint": alice.certificate.sha256_fingerprint, "not_after": "2020-01-01"},
                alice.certificate.sha1_fingerprint,
            ]
        )
        assert reason(policy, alice.certificate) is None

    def test_pin_with_two_ends_is_a_mistake(self) -> None:
        """A pin with two ends is an error, and a pin that is listed twice with one end is none."""
        ending = {"fingerprint": PIN, "not_after": "2027-01-31"}
        message = problems(fingerprints=[PIN, ending])["fingerprints"]
        assert message == f"{PIN} is listed twice with different ends; remove one of them"
        assert problems(fingerprints=[ending, PIN])["fingerprints"] == message
        policy = Policy(fingerprints=[PIN, PIN.lower()])
        assert repr(policy) == "<Policy 1 fingerprints>"

    def test_only_pins_with_an_end_end(self) -> None:
        """The route audit lists only pins with a `not_after`."""
        other = "12" * 20
        ending = {"fingerprint": other, "not_after": "2027-01-31", "note": "old"}
        policy = Policy(fingerprints=[{"fingerprint": PIN, "note": "gateway"}, ending, "34" * 32])
        [found] = policy.endings()
        assert (found.held, found.at) == (
            Pin(other, datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC), "old"),
            datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC),
        )

    @pytest.mark.parametrize("kind", ["fingerprint", "public_key"])
    @pytest.mark.parametrize("days", [-1, 1])
    def test_acceptance_ends_with_pin_or_certificate(
        self, kind: str, days: int, alice: IssuedCertificate
    ) -> None:
        """An acceptance ends with the pin or with the certificate, whichever ends first."""
        certificate = alice.certificate
        value = {"fingerprint": certificate.sha256_fingerprint, "public_key": key_of(certificate)}
        end = certificate.not_valid_after_utc
        retires = end + timedelta(days=days)
        policy = Policy(**{f"{kind}s": [{kind: value[kind], "not_after": retires}]})
        assert until(policy, certificate) == min(end, retires)

    def test_all_keys_must_hold(
        self,
        authority: CertificateAuthority,
        alice: IssuedCertificate,
        look_alike: IssuedCertificate,
    ) -> None:
        """A pin beside trust anchors does not replace the path."""
        policy = Policy(
            fingerprints=[
                alice.certificate.sha256_fingerprint,
                look_alike.certificate.sha256_fingerprint,
            ],
            trust_anchors=authority.certificate_pem.decode(),
        )
        assert reason(policy, alice.certificate) is None
        assert reason(policy, look_alike.certificate) is DenialReason.UNTRUSTED


class TestPublicKeys:
    """`public_keys`."""

    def test_public_key_survives_renewal(self) -> None:
        """A pinned public key accepts the renewed certificate with that key, and no other key."""
        old, renewed = made(), made()
        policy = Policy(public_keys=[key_of(old)])
        assert old != renewed
        assert reason(policy, old) is None
        assert reason(policy, renewed) is None
        other = made(public_key=ec.generate_private_key(ec.SECP256R1()).public_key())
        assert reason(policy, other) is DenialReason.FINGERPRINT_NOT_ALLOWED

    def test_denial_prints_the_value_to_paste(self, alice: IssuedCertificate) -> None:
        """The detail of a denial holds the SHA-256 of the key, which is a valid entry."""
        certificate = alice.certificate
        found = denial(Policy(public_keys=["AB" * 32, "CD" * 32]), certificate)
        assert found.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
        assert found.detail == (
            "it is none of the 2 pinned public keys; the SHA-256 of its public key is"
            f" {key_of(certificate)}; its thumbprint (SHA-1) is {certificate.sha1_fingerprint}"
        )
        printed = found.detail.partition("public key is ")[2].partition(";")[0]
        assert reason(Policy(public_keys=[printed]), certificate) is None

    def test_key_that_cannot_be_read_is_not_pinned(self, alice: IssuedCertificate) -> None:
        """A key of an unknown algorithm matches no pin, and the denial says why."""
        found = denial(Policy(public_keys=["AB" * 32]), with_unknown_key(alice))
        assert found.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
        assert "its public key is unknown, as the key cannot be read" in found.detail

    def test_public_key_accepts_ca_true(self, authority: CertificateAuthority) -> None:
        """A pinned public key accepts CA:TRUE, as `openssl req -x509` makes it."""
        certificate = ClientCertificate.from_pem(authority.certificate_pem)
        assert reason(Policy(public_keys=[key_of(certificate)]), certificate) is None

    def test_both_kinds_of_pins_must_hold(self, alice: IssuedCertificate) -> None:
        """A policy with both kinds of pins needs a match of each."""
        certificate = alice.certificate
        for pins, expected in (
            ((PIN, key_of(certificate)), DenialReason.FINGERPRINT_NOT_ALLOWED),
            ((certificate.sha1_fingerprint, "AB" * 32), DenialReason.FINGERPRINT_NOT_ALLOWED),
            ((certificate.sha1_fingerprint, key_of(certificate)), None),
        ):
            policy = Policy(fingerprints=[pins[0]], public_keys=[pins[1]])
            assert reason(policy, certificate) is expected

    def test_pin_retires_by_itself(self, alice: IssuedCertificate) -> None:
        """A pinned key is not accepted after its `not_after`, and is then a warning."""
        end = datetime.now(UTC).replace(microsecond=0)
        entry = {"public_key": key_of(alice.certificate), "not_after": end, "note": "old key"}
        policy = Policy(public_keys=[entry])
        late = end + timedelta(seconds=1)
        assert reason(policy, alice.certificate, end) is None
        assert "(old key)' expired" in denial(policy, alice.certificate, late).detail
        assert policy.warnings(end) == []
        assert [problem.setting for problem in policy.warnings(late)] == ["public_keys"]


class TestCommonNames:
    """`common_names`."""

    def test_common_names_are_compared_exactly(self, authority: CertificateAuthority) -> None:
        """Another case, a prefix, a suffix or a substring is another name."""
        policy = Policy(common_names=["alice"], trust_anchors=authority.certificate_pem.decode())
        assert reason(policy, authority.issue("alice").certificate) is None
        for text in ("Alice", "alice2", "malice", "alice ", "alice\x00", "CN=alice"):
            found = denial(policy, authority.issue(text).certificate)
            assert found.reason is DenialReason.COMMON_NAME_NOT_ALLOWED
            assert found.detail.startswith(f"the common name {text!r} is not allowed")

    def test_difference_in_case_is_named(self) -> None:
        """The denial of a name that differs only in case shows both names."""
        for text, hint in (
            ("Alice", "; 'Alice' differs from 'aLICE' only in upper"),
            ("b", ""),
        ):
            certificate = made(subject=name((NameOID.COMMON_NAME, text)))
            detail = denial(pinned(certificate, common_names=["bob", "aLICE"]), certificate).detail
            assert detail.startswith(f"the common name {text!r} is not allowed{hint}")
            assert ("only in upper" in detail) is bool(hint)

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
    def test_common_name_is_read_from_structure(self, subject: list[list[tuple[str, str]]]) -> None:
        """The name is the one CN of the subject, and never a part of its text or another attribute.

        (Spring CVE-2026-22747, CVE-2026-47838 and Node CVE-2021-44533: a name cut out of the
        subject's text, by commas, patterns or from a multi-valued RDN.)
        """
        oids = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME}
        rdns = [rdn(*((oids[key], value) for key, value in pairs)) for pairs in subject]
        certificate = made(subject=x509.Name(rdns))
        found = denial(pinned(certificate, common_names=["alice"]), certificate)
        assert found.reason is DenialReason.COMMON_NAME_NOT_ALLOWED
        if certificate.common_name is None:
            assert found.detail == "the subject does not hold exactly one common name"

    def test_common_name_with_its_attribute_is_refused(self) -> None:
        """The error for the entry `CN=alice` says how to write it."""
        message = problems(common_names=["CN=alice"], fingerprints=[PIN])["common_names"]
        assert "write only the common name, without CN=" in message

    def test_wildcard_is_a_warning(self, authority: CertificateAuthority) -> None:
        """A `*` in a common name is a warning, because it matches only itself."""
        pem = authority.certificate_pem.decode()
        policy = Policy(common_names=["b*", "alice", "*.example"], trust_anchors=pem)
        message = (
            "{} holds a *, and common names are compared exactly; write each name, or use"
            " dns_names, which knows *.partner.example"
        )
        assert policy.warnings() == [
            ("common_names", message.format("'*.example'")),
            ("common_names", message.format("'b*'")),
        ]
        assert reason(policy, authority.issue("bob").certificate) is (
            DenialReason.COMMON_NAME_NOT_ALLOWED
        )
        assert reason(policy, authority.issue("b*").certificate) is None


WANTED = {
    "dns_names": "a.partner.example",
    "uris": "spiffe://partner.example/a",
    "email_addresses": "ops@partner.example",
}
"""An entry for each kind of alternative names."""


def other_name(text: str) -> x509.OtherName:
    """Make a user principal name, as Active Directory writes it."""
    oid = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
    return x509.OtherName(oid, bytes([12, len(text)]) + text.encode())


def raw(kind: Any, text: str) -> Any:
    """Make a name of any text. pyca refuses to write some texts, but reads all of them."""
    return kind._init_without_validation(text)


class TestAlternativeNames:
    """`dns_names`, `uris` and `email_addresses` together."""

    @pytest.mark.parametrize(
        ("key", "entry", "inside", "outside"),
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
    def test_one_name_of_the_kind_suffices(
        self, key: str, entry: str, inside: x509.GeneralName, outside: x509.GeneralName
    ) -> None:
        """One allowed name of the right kind is enough, and names of other kinds do not count."""
        confused = [x509.DNSName("ops@partner.example"), x509.RFC822Name("a.partner.example")]
        for held, expected in (
            ([outside, inside], None),
            ([outside], DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED),
            (confused, DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED),
            ([], DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED),
        ):
            certificate = made(alternative_names=held)
            assert reason(pinned(certificate, **{key: [entry]}), certificate) is expected

    def test_every_kind_must_hold(self) -> None:
        """A policy with all three keys needs one allowed name of each kind."""
        held = {
            "dns_names": x509.DNSName(WANTED["dns_names"]),
            "uris": x509.UniformResourceIdentifier(WANTED["uris"]),
            "email_addresses": x509.RFC822Name(WANTED["email_addresses"]),
        }
        wanted: dict[str, Any] = {key: [entry] for key, entry in WANTED.items()}
        policy = Policy(names_proven_by_front_end=True, **wanted)
        assert reason(policy, made(alternative_names=list(held.values()))) is None
        for lacking in held:
            others = [general for key, general in held.items() if key != lacking]
            found = denial(policy, made(alternative_names=others))
            assert found.reason is DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED
            assert found.detail.endswith("it holds 'none'")

    @pytest.mark.parametrize("key", WANTED)
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
                lambda text: x509.DirectoryName(name((NameOID.COMMON_NAME, text))),
                id="directory name",
            ),
        ],
    )
    def test_alternative_names_are_not_confused(self, key: str, write: Any) -> None:
        """A name counts only as its own kind and as a whole; text in it is never split.

        (Node CVE-2021-44531, CVE-2021-44532; Envoy CVE-2022-21656, CVE-2025-66220.)
        """
        certificate = made(alternative_names=[write(WANTED[key])])
        policy = pinned(certificate, **{key: [WANTED[key]]})
        assert reason(policy, certificate) is DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED

    @pytest.mark.parametrize(
        ("key", "what"),
        [("dns_names", "DNS names"), ("uris", "URIs"), ("email_addresses", "e-mail addresses")],
    )
    def test_denial_names_the_kind(self, key: str, what: str) -> None:
        """The detail names the kind, and the names of that kind in the certificate."""
        held = [
            x509.DNSName("x.example"),
            x509.DNSName("y.example"),
            x509.UniformResourceIdentifier("urn:x"),
            x509.RFC822Name("x@x.example"),
        ]
        certificate = made(alternative_names=held)
        shown = {"dns_names": "x.example, y.example", "uris": "urn:x"}.get(key, "x@x.example")
        detail = denial(pinned(certificate, **{key: [WANTED[key]]}), certificate).detail
        assert detail == (
            f"none of the {what} of its subject alternative name is allowed; it holds '{shown}'"
        )


class TestDNSNames:
    """`dns_names`."""

    @pytest.mark.parametrize("held", ["*.partner.example", "*", "*.example", "a.*.example"])
    def test_wildcard_in_a_certificate_stands_for_nothing(self, held: str) -> None:
        """A wildcard in a certificate matches only itself.

        (cryptography CVE-2026-34073: a wildcard of the leaf reached names beyond its constraints.)
        """
        certificate = made(alternative_names=[x509.DNSName(held)])
        policy = pinned(certificate, dns_names=["a.partner.example"])
        assert reason(policy, certificate) is DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED


class TestURIs:
    """`uris`."""

    def test_difference_in_case_is_named(self) -> None:
        """The denial of a URI that differs only in case shows both URIs."""
        certificate = made(
            alternative_names=[x509.UniformResourceIdentifier(uri) for uri in ("urn:b", "URN:A")]
        )
        detail = denial(pinned(certificate, uris=["urn:a"]), certificate).detail
        assert detail.endswith(
            "it holds 'urn:b, URN:A'; 'URN:A' differs from 'urn:a' only in upper and lower case"
        )


class TestEmailAddresses:
    """`email_addresses`."""

    def test_difference_in_case_is_named(self) -> None:
        """The denial of an address whose mailbox differs only in case shows both addresses."""
        certificate = made(alternative_names=[x509.RFC822Name("Ops@partner.example")])
        policy = pinned(certificate, email_addresses=["ops@partner.example"])
        assert denial(policy, certificate).detail.endswith(
            "; 'Ops@partner.example' differs from 'ops@partner.example' only in upper and lower"
            " case"
        )


CONTOSO = name(
    (NameOID.COUNTRY_NAME, "US"),
    (NameOID.ORGANIZATION_NAME, "Contoso, Inc."),
    (NameOID.COMMON_NAME, "Contoso CA"),
)


class TestIssuers:
    """`issuers`."""

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
    def test_issuer_by_common_name_or_whole_name(self, entry: str) -> None:
        """An entry is the one common name, or the whole name in any spelling of RFC 4514."""
        certificate = made(issuer=CONTOSO)
        assert reason(pinned(certificate, issuers=[entry]), certificate) is None

    @pytest.mark.parametrize("text", [" CA ", "CA  ", "  CA", r"CA\ ", 'a"b', "#CA", "a,b+c=d;e"])
    def test_printed_issuer_can_be_pasted(self, text: str) -> None:
        """The text of `ClientCertificate.issuer` is an entry that matches, even with spaces."""
        certificate = made(issuer=name((NameOID.COUNTRY_NAME, "US"), (NameOID.COMMON_NAME, text)))
        assert reason(pinned(certificate, issuers=[certificate.issuer]), certificate) is None

    @pytest.mark.parametrize(
        "issuer",
        [
            pytest.param(name((NameOID.COMMON_NAME, "Contoso CA")), id="part of the name"),
            pytest.param(x509.Name(reversed(list(CONTOSO.rdns))), id="other order"),
            pytest.param(
                name(
                    (NameOID.COUNTRY_NAME, "US"),
                    (NameOID.ORGANIZATION_NAME, "Contoso"),
                    (NameOID.COMMON_NAME, "Contoso CA"),
                ),
                id="other organization",
            ),
            pytest.param(
                name((NameOID.COMMON_NAME, r"Contoso CA,O=Contoso\, Inc.,C=US")),
                id="the text inside a common name",
            ),
        ],
    )
    def test_issuer_is_compared_as_structure(self, issuer: x509.Name) -> None:
        """A name with another structure is another name, even if its text is the same.

        (Spring CVE-2026-47838, Arcus: a DN split on commas.)
        """
        certificate = made(issuer=issuer)
        policy = pinned(certificate, issuers=[r"CN=Contoso CA,O=Contoso\, Inc.,C=US"])
        found = denial(policy, certificate)
        assert found.reason is DenialReason.ISSUER_NOT_ALLOWED
        assert found.detail.startswith(f"the issuer {certificate.issuer!r} is not allowed")

    def test_large_issuer_is_not_compared_with_every_policy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An issuer with more attributes than any entry is never hashed, nor turned around."""
        hashed: list[x509.Name] = []
        hash_of = x509.Name.__hash__

        def counted(issuer: x509.Name) -> int:
            hashed.append(issuer)
            return hash_of(issuer)

        organizations = [(NameOID.ORGANIZATION_NAME, str(number)) for number in range(500)]
        certificate = made(issuer=name(*organizations))
        small = made(issuer=name(*organizations[:2]))
        policies = [
            pinned(certificate, issuers=[f"O={number},O=Contoso", "Contoso CA"])
            for number in range(40)
        ]
        monkeypatch.setattr(x509.Name, "__hash__", counted)
        presented = Presented(certificate)
        for policy in policies:
            decided = policy.decide(presented, whole_second(None), None)
            assert isinstance(decided, Finding)
            assert decided.reason is DenialReason.ISSUER_NOT_ALLOWED
        assert hashed == []
        denial(pinned(small, issuers=["O=0,O=Contoso"]), small)
        assert len(hashed) > 0

    def test_issuer_written_the_other_way_round_is_named(self) -> None:
        """The denial of an issuer in reverse order names the order: the most general one first."""
        certificate = made(issuer=CONTOSO)
        policy = pinned(certificate, issuers=[r"C=US,O=Contoso\, Inc.,CN=Contoso CA"])
        assert denial(policy, certificate).detail.endswith(
            "; the list holds this name in reverse order, most general part first"
        )

    @pytest.mark.parametrize(
        ("entry", "found"),
        [
            ("contoso ca", "Contoso CA"),
            (r"CN=contoso ca, O=CONTOSO\, Inc.,C=us", r"CN=Contoso CA,O=Contoso\, Inc.,C=US"),
        ],
    )
    def test_difference_in_case_is_named(self, entry: str, found: str) -> None:
        """The denial of an issuer that differs only in case shows both names."""
        certificate = made(issuer=CONTOSO)
        detail = denial(pinned(certificate, issuers=["Other", entry]), certificate).detail
        assert detail.endswith(f"; {found!r} differs from {entry!r} only in upper and lower case")
        other = denial(pinned(certificate, issuers=["Other", "O=x"]), certificate).detail
        assert other == f"the issuer {certificate.issuer!r} is not allowed"

    def test_issuer_structure_knows_multi_valued_rdns(self) -> None:
        """The attributes of one RDN have no order, and the RDNs of a name have one."""
        together = made(
            issuer=x509.Name([rdn((NameOID.COMMON_NAME, "a"), (NameOID.ORGANIZATION_NAME, "b"))])
        )
        assert reason(pinned(together, issuers=["O=b+CN=a"]), together) is None
        assert reason(pinned(together, issuers=["CN=a+O=b"]), together) is None
        assert reason(pinned(together, issuers=["CN=a,O=b"]), together) is (
            DenialReason.ISSUER_NOT_ALLOWED
        )

    def test_string_type_of_a_name_does_not_matter(self) -> None:
        """PrintableString and UTF8String of the same text are the same name."""
        from cryptography.x509.name import _ASN1Type

        printable = x509.NameAttribute(NameOID.COMMON_NAME, "Contoso CA", _ASN1Type.PrintableString)
        certificate = made(issuer=x509.Name([printable]))
        for entry in ("CN=Contoso CA", "Contoso CA"):
            assert reason(pinned(certificate, issuers=[entry]), certificate) is None

    @pytest.mark.parametrize("count", [0, 2])
    def test_issuer_without_exactly_one_common_name(self, count: int) -> None:
        """An entry without `=` matches only an issuer with exactly one common name."""
        pairs = [(NameOID.COUNTRY_NAME, "US")] + [(NameOID.COMMON_NAME, "Contoso CA")] * count
        certificate = made(issuer=name(*pairs))
        policy = pinned(certificate, issuers=["Contoso CA"])
        assert reason(policy, certificate) is DenialReason.ISSUER_NOT_ALLOWED

    @pytest.mark.parametrize(
        ("entry", "rewritten"),
        [
            ("C = US, O = Contoso, CN = Contoso CA", "CN=Contoso CA,O=Contoso,C=US"),
            ("/C=US/O=Contoso/CN=Contoso CA", "CN=Contoso CA,O=Contoso,C=US"),
            ("CN=Contoso CA, S=Washington, C=US", "CN=Contoso CA,ST=Washington,C=US"),
            (
                "E=ca@contoso.com, CN=Contoso CA",
                "1.2.840.113549.1.9.1=ca@contoso.com,CN=Contoso CA",
            ),
            ("CN=Contoso CA;O=Contoso", "-nameopt RFC2253"),
            ('O="Contoso, Inc."', "-nameopt RFC2253"),
            ("=", "-nameopt RFC2253"),
            ("CN=Contoso CA,", "-nameopt RFC2253"),
            (" CN=Contoso CA", "white space around it"),
        ],
    )
    def test_name_as_other_tools_print_it_is_rewritten(self, entry: str, rewritten: str) -> None:
        """The error for a name in OpenSSL's or Windows' spelling shows RFC 4514's spelling."""
        message = problems(issuers=[entry], fingerprints=[PIN])["issuers"]
        assert rewritten in message
        if "=" in rewritten:
            assert Policy(issuers=[rewritten], fingerprints=[PIN])


class TestClientAuthentication:
    """The extended key usage, which every policy checks."""

    @pytest.mark.parametrize(
        ("usages", "held"),
        [
            (None, None),
            (("clientAuth",), None),
            (("serverAuth", "clientAuth"), None),
            (("serverAuth",), "1.3.6.1.5.5.7.3.1"),
            (("codeSigning",), "1.3.6.1.5.5.7.3.3"),
            (("anyExtendedKeyUsage",), "2.5.29.37.0"),
            (("serverAuth", "anyExtendedKeyUsage"), "1.3.6.1.5.5.7.3.1, 2.5.29.37.0"),
        ],
    )
    def test_extended_key_usage_must_hold_client_auth(
        self, usages: tuple[str, ...] | None, held: str | None
    ) -> None:
        """An extended key usage without clientAuth is denied, even if the certificate is pinned.

        (Envoy CVE-2022-21657: EKU ignored.)
        """
        certificate = self_signed("alice", extended_key_usages=usages).certificate
        if held is None:
            assert reason(pinned(certificate), certificate) is None
        else:
            found = denial(pinned(certificate), certificate)
            assert found.reason is DenialReason.WRONG_USAGE
            assert found.detail == f"its extended key usage lacks clientAuth; it holds '{held}'"

    def test_many_usages_are_cut(self) -> None:
        """A denial shows the first twenty usages, and how many more there are."""
        usages = [ObjectIdentifier(f"1.3.{number}") for number in range(1020)]
        certificate = made(extensions=[x509.ExtendedKeyUsage(usages)])
        detail = denial(pinned(certificate), certificate).detail
        shown = ", ".join(f"1.3.{number}" for number in range(20))
        assert detail.endswith(f"it holds '{shown}' and 1,000 more")
        [rule] = [rule for rule in pinned(certificate).rules if rule.label == "extended key usage"]
        decision = Decision(Presented(certificate), whole_second(None), None)
        assert rule.found(decision) == f"'{shown}' and 1,000 more"


def with_unknown_key(client: IssuedCertificate) -> ClientCertificate:
    """Return a certificate whose key has an unknown algorithm."""
    der = client.certificate.der.replace(
        bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    )
    certificate = ClientCertificate.from_der(der)
    assert certificate != client.certificate
    return certificate


class TestStrongKey:
    """The public key, which every policy checks."""

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
    def test_key_floor_holds_for_pins_too(self, make: Any, weak: bool) -> None:
        """RSA below 2048, curves below 256 bits and unknown kinds are denied, even if pinned."""
        certificate = made(public_key=make().public_key())
        for policy in (pinned(certificate), Policy(public_keys=[key_of(certificate)])):
            if weak:
                found = denial(policy, certificate)
                assert found.reason is DenialReason.WEAK_KEY
                assert found.detail.startswith("it has a")
            else:
                assert reason(policy, certificate) is None

    def test_key_that_cannot_be_read_is_weak(self, alice: IssuedCertificate) -> None:
        """A key of an unknown algorithm is a denial and not another exception."""
        certificate = with_unknown_key(alice)
        assert reason(pinned(certificate), certificate) is DenialReason.WEAK_KEY

    def test_point_off_the_curve_is_weak(self, alice: IssuedCertificate) -> None:
        """A point that is not on the curve is denied, even if the key is pinned."""
        point = alice.private_key.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        beside = point[:-1] + bytes([point[-1] ^ 1])
        certificate = ClientCertificate.from_der(alice.certificate.der.replace(point, beside))
        assert certificate != alice.certificate
        by_name = Policy(common_names=["alice"], names_proven_by_front_end=True)
        assert reason(by_name, alice.certificate) is None
        assert reason(by_name, certificate) is DenialReason.WEAK_KEY
        assert reason(pinned(certificate), certificate) is DenialReason.WEAK_KEY


class TestNoCertificateAuthority:
    """CA certificates, which every policy checks."""

    def test_ca_certificate_enters_by_pin_alone(self, authority: CertificateAuthority) -> None:
        """A certificate with CA:TRUE is accepted only by a pin, and never with trust anchors."""
        certificate = ClientCertificate.from_pem(authority.certificate_pem)
        pem = authority.certificate_pem.decode()
        assert reason(pinned(certificate), certificate) is None
        for policy in (Policy(trust_anchors=pem), pinned(certificate, trust_anchors=pem)):
            found = denial(policy, certificate)
            assert found.reason is DenialReason.UNTRUSTED
            assert "pin its fingerprint in a policy without trust_anchors" in found.detail
        by_front_end = Policy(common_names=["Contoso Issuing CA"], names_proven_by_front_end=True)
        found = denial(by_front_end, certificate)
        assert found.reason is DenialReason.UNTRUSTED
        assert found.detail == (
            "it is a CA certificate (CA:TRUE), which may enter only if it is pinned"
        )


class TestTrustAnchors:
    """`trust_anchors`."""

    def test_anchors_come_as_path_text_or_list(
        self,
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
            policy = Policy(trust_anchors=anchors)
            assert reason(policy, alice.certificate) is None
            assert reason(policy, impostor.certificate) is DenialReason.UNTRUSTED
        for anchors in (both, [one, other]):
            assert reason(Policy(trust_anchors=anchors), alice.certificate) is None
            assert reason(Policy(trust_anchors=anchors), impostor.certificate) is None

    def test_bytes_are_refused(self, authority: CertificateAuthority) -> None:
        """The error for PEM in bytes says how to convert it to text."""
        for value in (authority.certificate_pem, bytearray(authority.certificate_pem)):
            assert problems(trust_anchors=value)["trust_anchors"] == (
                "is bytes; write PEM text (.decode()), or a file's path"
            )

    @pytest.mark.parametrize("value", [7, "", [""], [None], [["x"]]])
    def test_anchor_of_another_kind_stops_the_start(self, value: Any) -> None:
        """A value that is neither a path nor PEM text is an error."""
        assert (
            "neither a PEM or DER file's path nor PEM text"
            in problems(trust_anchors=value)["trust_anchors"]
        )

    def test_unresolved_reference_is_not_a_path(self) -> None:
        """An unresolved Key Vault reference is named in the error, and not opened as a file."""
        message = problems(trust_anchors=KEY_VAULT)["trust_anchors"]
        assert message.startswith(f"{KEY_VAULT!r} is a Key Vault reference")

    def test_relative_path_is_shown_with_its_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error for a path that does not exist shows the folder where it was looked for."""
        monkeypatch.chdir(tmp_path)
        message = problems(trust_anchors="roots.pem")["trust_anchors"]
        assert "'roots.pem'" in message
        assert os.path.join(tmp_path, "roots.pem") in message

    def test_acceptance_ends_with_the_path(self, authority: CertificateAuthority) -> None:
        """An acceptance ends with the leaf, the CA, the pin or the list, whichever ends first."""
        now = datetime.now(UTC).replace(microsecond=0)
        days = [now + timedelta(days=n) for n in range(1, 5)]
        issuing = CertificateAuthority("Issuing", issuer=authority, not_after=days[2])
        certificate = issuing.issue("alice", not_after=days[3]).certificate
        anchors = issuing.certificate_pem.decode()
        crl = issuing.revocation_list(next_update=days[1]).decode()
        pin = {"fingerprint": certificate.sha256_fingerprint, "not_after": days[0]}
        parameters: dict[str, Any] = {"fingerprints": [certificate.sha256_fingerprint]}
        assert until(Policy(**parameters), certificate, now) == days[3]
        parameters = {"trust_anchors": anchors}
        assert until(Policy(**parameters), certificate, now) == days[2]
        parameters["crls"] = crl
        assert until(Policy(**parameters), certificate, now) == days[1]
        parameters["fingerprints"] = [pin]
        assert until(Policy(**parameters), certificate, now) == days[0]

    def test_several_anchors_without_issuers_are_a_warning(
        self, authority: CertificateAuthority, other_authority: CertificateAuthority
    ) -> None:
        """Several anchors and names without `issuers` are a warning: each CA can issue any name."""
        both = [authority.certificate_pem.decode(), other_authority.certificate_pem.decode()]
        [warning] = Policy(trust_anchors=both, common_names=["alice"]).warnings()
        assert warning.setting == "trust_anchors"
        assert "each of the 2 trust anchors" in warning.message
        assert "list of alternatives" in warning.message
        assert Policy(trust_anchors=both).warnings() == []
        assert Policy(trust_anchors=both[0], common_names=["alice"]).warnings() == []
        assert Policy(trust_anchors=both, common_names=["a"], issuers=["CN=A"]).warnings() == []

    def test_expired_anchor_is_a_warning(self) -> None:
        """An anchor that has expired is one of the policy's warnings."""
        past = datetime.now(UTC) - timedelta(days=1)
        anchor = CertificateAuthority("Old CA", not_after=past).certificate_pem.decode()
        [problem] = Policy(trust_anchors=anchor).warnings()
        assert problem.setting == "trust_anchors"

    def test_without_a_trust_store_nobody_enters(
        self, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """A policy with trust anchors denies if it gets no trust store."""
        policy = Policy(trust_anchors=authority.certificate_pem.decode())
        assert policy.decide(Presented(alice.certificate), datetime.now(UTC), None) == Finding(
            DenialReason.MISCONFIGURED, "the trust anchors are not loaded"
        )


class TestIntermediates:
    """`intermediates`."""

    def test_intermediate_completes_the_path(self, authority: CertificateAuthority) -> None:
        """A configured intermediate may be on the path to an anchor."""
        issuing = CertificateAuthority("Issuing", issuer=authority)
        certificate = issuing.issue("alice").certificate
        anchors = authority.certificate_pem.decode()
        with_it = Policy(trust_anchors=anchors, intermediates=issuing.certificate_pem.decode())
        assert reason(with_it, certificate) is None
        assert reason(Policy(trust_anchors=anchors), certificate) is DenialReason.UNTRUSTED

    def test_intermediates_need_anchors(self, authority: CertificateAuthority) -> None:
        """Intermediates without trust anchors are an error."""
        pem = authority.certificate_pem.decode()
        assert problems(fingerprints=[PIN], intermediates=pem) == {
            "intermediates": "they have no effect without trust anchors; write trust_anchors too"
        }


class TestRevocationLists:
    """`crls`."""

    def test_revoked_certificate_does_not_enter(self, authority: CertificateAuthority) -> None:
        """A certificate on the list of its CA is denied, and another one is accepted."""
        good, bad = authority.issue("good"), authority.issue("bad")
        policy = Policy(
            trust_anchors=authority.certificate_pem.decode(),
            crls=[authority.revocation_list(bad).decode()],
        )
        assert reason(policy, good.certificate) is None
        assert reason(policy, bad.certificate) is DenialReason.REVOKED

    def test_lists_need_anchors(self, authority: CertificateAuthority) -> None:
        """Revocation lists without trust anchors are an error."""
        crl = authority.revocation_list().decode()
        assert problems(fingerprints=[PIN], crls=crl) == {
            "crls": "they have no effect without trust anchors; write trust_anchors too"
        }

    def test_broken_list_is_named_by_its_key(self, authority: CertificateAuthority) -> None:
        """The error for a list that cannot be read names `crls`."""
        anchors = authority.certificate_pem.decode()
        for broken in ("", "no list", "-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"):
            assert list(problems(trust_anchors=anchors, crls=[broken])) == ["crls"]

    def test_distribution_point(self, authority: CertificateAuthority, tmp_path: Path) -> None:
        """An entry may state the distribution point of the only list in its file."""
        url = "https://ca.example/1.0/crl"
        limits: dict[str, Any] = dict.fromkeys(
            ("only_contains_user_certs", "only_contains_ca_certs"), False
        )
        limits |= {"indirect_crl": False, "only_contains_attribute_certs": False}
        extension = x509.IssuingDistributionPoint(
            full_name=[x509.UniformResourceIdentifier(url)],
            relative_name=None,
            only_some_reasons=None,
            **limits,
        )
        client, revoked = authority.issue("client"), authority.issue("revoked")
        pem = authority.revocation_list(revoked, extensions=[(extension, True)]).decode()
        (tmp_path / "ca.crl").write_text(pem)
        anchors = authority.certificate_pem.decode()
        plain = Policy(trust_anchors=anchors, crls=[tmp_path / "ca.crl"])
        assert reason(plain, client.certificate) is DenialReason.REVOCATION_UNKNOWN
        for file in (tmp_path / "ca.crl", str(tmp_path / "ca.crl"), pem):
            entry = {"file": file, "distribution_point": url}
            for crls in (entry, [entry], (entry, tmp_path)):
                policy = Policy(trust_anchors=anchors, crls=crls)
                assert reason(policy, client.certificate) is None
                assert reason(policy, revoked.certificate) is DenialReason.REVOKED
        stated = KEYS["crls"]([{"file": "ca.crl", "distribution_point": url}, "b"], Notation.JSON)
        assert stated.entries() == ["b", {"file": "ca.crl", "distribution_point": url}]
        other = {"file": pem, "distribution_point": f"{url}/"}
        assert list(problems(trust_anchors=anchors, crls=other)) == ["crls"]

    @pytest.mark.parametrize(
        ("entry", "why"),
        [
            ({}, "must hold a file and a distribution_point, and nothing else; write"),
            ({"file": "a.crl"}, "must hold a file and a distribution_point"),
            ({"distribution_point": "https://a"}, "must hold a file and a distribution_point"),
            (
                {"file": "a.crl", "distribution_point": "https://a", "url": "b"},
                "must hold a file and a distribution_point",
            ),
            ({"file": "", "distribution_point": "https://a"}, "'' is neither a PEM or DER file's"),
            ({"file": None, "distribution_point": "https://a"}, "'None' is neither a PEM or DER"),
            ({"file": b"a", "distribution_point": "https://a"}, "is bytes; write PEM text"),
            ({"file": "a.crl", "distribution_point": ""}, "'' is not a distribution point; write"),
            ({"file": "a.crl", "distribution_point": None}, "'None' is not a distribution point"),
            ({"file": "a.crl", "distribution_point": ["https://a"]}, "is not a distribution point"),
            ({"file": KEY_VAULT, "distribution_point": "https://a"}, "Key Vault"),
            ({"file": "a.crl", "distribution_point": KEY_VAULT}, "Key Vault"),
        ],
    )
    def test_entries_that_are_wrong(
        self, authority: CertificateAuthority, entry: Any, why: str
    ) -> None:
        """An entry must hold exactly a file and the distribution point of its list."""
        found = problems(trust_anchors=authority.certificate_pem.decode(), crls=[entry])
        assert list(found) == ["crls"]
        assert why in found["crls"]


class TestRevocation:
    """`revocation`."""

    def test_missing_list_is_a_denial_unless_soft(
        self, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without a list for each CA the certificate is denied; `soft` accepts and logs it."""
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
        assert (
            "accepted although revocation could not be checked: revocation_unknown" in caplog.text
        )
        assert reason(soft, revoked.certificate) is DenialReason.REVOKED
        now = datetime.now(UTC)
        decided = soft.decide(Presented(client.certificate), now, soft.trust_store())
        assert isinstance(decided, Acceptance)
        assert not decided.is_certain

    def test_current_list_makes_a_soft_policy_certain(
        self,
        authority: CertificateAuthority,
        alice: IssuedCertificate,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A soft policy with a current list accepts until the list ends, and logs nothing."""
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        policy = Policy(
            trust_anchors=authority.certificate_pem.decode(),
            crls=authority.revocation_list(next_update=end).decode(),
            revocation="soft",
        )
        decided = policy.decide(
            Presented(alice.certificate), datetime.now(UTC), policy.trust_store()
        )
        assert isinstance(decided, Acceptance)
        assert (decided.until, decided.is_certain) == (end, True)
        assert not caplog.records

    def test_softness_needs_lists(self) -> None:
        """`soft` without revocation lists is an error."""
        assert problems(fingerprints=[PIN], revocation="soft") == {
            "revocation": "it has no effect without revocation lists; write crls too"
        }
        assert Policy(fingerprints=[PIN], revocation="hard")

    @pytest.mark.parametrize("value", ["medium", "HARD", "", None, True, ["hard"], b"hard"])
    def test_other_words_stop_the_start(self, value: Any) -> None:
        """A value other than `hard` and `soft` is an error."""
        message = problems(fingerprints=[PIN], revocation=value)["revocation"]
        assert message.endswith(" is not known; write one of hard, soft")


class TestNamesProvenByFrontEnd:
    """`names_proven_by_front_end`."""

    def test_names_need_no_path(self, impostor: IssuedCertificate) -> None:
        """Behind a front end that checks certificates, a name needs no other proof."""
        policy = Policy(common_names=["alice"], names_proven_by_front_end=True)
        assert reason(policy, impostor.certificate) is None
        assert policy.names_proven_by_front_end
        assert not Policy(fingerprints=[PIN]).names_proven_by_front_end

    @pytest.mark.parametrize("value", ["false", "", 1, 0, None])
    @pytest.mark.parametrize("notation", Notation)
    def test_truth_value_is_wanted(self, value: Any, notation: Notation) -> None:
        """A value that is not a boolean is an error in the notation's words, and no proof."""
        written = {"common_names": ["alice"], "names_proven_by_front_end": value}
        with pytest.raises(ConfigurationError) as caught:
            Policy.from_mapping(written, notation)
        found = dict(caught.value.problems)
        assert found["names_proven_by_front_end"].endswith(
            f"is not a truth value; write {notation.true_or_false}"
        )
        # A wrong value does not cause a second message about missing proof.
        assert ("common_names" in found) is not bool(value)


# --- what proves names ---------------------------------------------------------------------------

NAMES = {
    "common_names": ["alice"],
    "dns_names": ["a.example"],
    "uris": ["spiffe://example/a"],
    "email_addresses": ["a@example.org"],
    "issuers": ["Contoso CA"],
}


@pytest.mark.parametrize("key", NAMES)
def test_public_keys_prove_no_names(key: str, authority: CertificateAuthority) -> None:
    """Names beside public keys alone are an error: the holder of a key chooses the names."""
    with pytest.raises(ConfigurationError) as caught:
        Policy(public_keys=["0" * 64], **{key: NAMES[key]})
    [problem] = caught.value.problems
    assert problem.setting == key
    assert "can write any name into a certificate and sign it" in problem.message
    anchors = authority.certificate_pem.decode()
    Policy(public_keys=["0" * 64])
    Policy(public_keys=["0" * 64], fingerprints=["0" * 64], **{key: NAMES[key]})
    Policy(public_keys=["0" * 64], trust_anchors=anchors, **{key: NAMES[key]})


def forwarded_issuer() -> tuple[CertificateAuthority, CertificateAuthority, CertificateAuthority]:
    """Return CA A, CA B, and a CA below B that has the name of A."""
    a, b = CertificateAuthority("CA A"), CertificateAuthority("CA B")
    return a, b, CertificateAuthority("CA A", issuer=b)


def forwarded_denial(policy: Policy, *chain: x509.Certificate) -> DenialReason | None:
    """Return why a policy denies a forwarded chain, None if it accepts."""
    headers = [("Client-Cert", sequence(chain[0]))]
    if chain[1:]:
        headers.append(("Client-Cert-Chain", ", ".join(map(sequence, chain[1:]))))
    try:
        Authorizer({"default": policy}, front_end="rfc9440").authorize_headers(headers)
    except CertificateDenied as denied:
        return denied.reason
    return None


def sequence(certificate: x509.Certificate) -> str:
    """Return a certificate as RFC 9440 writes it."""
    return f":{base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()}:"


def test_issuer_from_the_wire_is_not_believed_with_several_anchors() -> None:
    """A forwarded CA below CA B with CA A's name does not satisfy `issuers` if both are anchors."""
    a, b, impostor = forwarded_issuer()
    both = [a.certificate_pem.decode(), b.certificate_pem.decode()]
    leaf = impostor.issue("alice").certificate.x509
    policy = Policy(trust_anchors=both, issuers=["CA A"])
    assert forwarded_denial(policy, leaf, impostor.x509) is DenialReason.ISSUER_NOT_ALLOWED
    assert forwarded_denial(policy, a.issue("alice").certificate.x509) is None
    assert forwarded_denial(Policy(trust_anchors=both), leaf, impostor.x509) is None


def test_issuer_that_is_configured_is_believed() -> None:
    """With several anchors, a configured intermediate satisfies `issuers`."""
    a, b, below = forwarded_issuer()
    policy = Policy(
        trust_anchors=[a.certificate_pem.decode(), b.certificate_pem.decode()],
        intermediates=below.certificate_pem.decode(),
        issuers=["CA A"],
    )
    assert forwarded_denial(policy, below.issue("alice").certificate.x509) is None


def test_issuer_from_the_wire_is_believed_with_one_anchor() -> None:
    """With one anchor, a forwarded intermediate satisfies `issuers`, because that CA issued it."""
    _, b, below = forwarded_issuer()
    policy = Policy(trust_anchors=b.certificate_pem.decode(), issuers=["CA A"])
    assert forwarded_denial(policy, below.issue("alice").certificate.x509, below.x509) is None


# --- the description of a rule for `arrcert explain` ----------------------------------------------


def said(policy: Policy, presented: Presented, at: datetime | None = None) -> dict[str, str]:
    """Return what each rule found, or why it fails, and what it required."""
    decision = Decision(presented, whole_second(at), policy.trust_store())
    failed = dict(policy.findings(decision))
    texts = {}
    for rule in policy.rules:
        wanted = rule.wanted(decision)
        found = f"FAILS {failed[rule].detail}" if rule in failed else rule.found(decision)
        texts[rule.label] = f"{found} | {wanted}" if wanted else found
    return texts


def test_every_rule_has_a_label() -> None:
    """The label of a rule is its policy key, and rules without a key have words."""
    labels = {rule.label for rule in RULES}
    assert len(labels) == len(RULES)
    assert labels - set(KEYS) == {
        "validity",
        "extended key usage",
        "strong key",
        "CA certificate",
        "configured issuer",
    }


def test_what_rules_say_about_pins_and_names(alice: IssuedCertificate) -> None:
    """Each rule describes what it found and what it required, with at most three entries."""
    certificate = alice.certificate
    key, pin = key_of(certificate), certificate.sha256_fingerprint
    policy = Policy(
        fingerprints=[
            {"fingerprint": pin, "not_after": "2099-01-31", "note": "Fabrikam"},
            certificate.sha1_fingerprint,
        ],
        public_keys=[key],
        common_names=["alice", "b", "c", "d", "e"],
        issuers=["Contoso Issuing CA"],
        clock_skew=5,
    )
    texts = said(policy, Presented(certificate))
    assert texts["fingerprints"] == (
        f"the pin '{pin} (Fabrikam)', until 2099-01-31T23:59:59Z and the pin"
        f" '{certificate.sha1_fingerprint}' | '{pin} (Fabrikam)' or"
        f" '{certificate.sha1_fingerprint}'"
    )
    assert texts["public_keys"] == f"the pin '{key}' | '{key}'"
    assert texts["common_names"] == "'alice' | 'alice', 'b', 'c' or 2 more"
    assert texts["issuers"] == "'CN=Contoso Issuing CA,O=Contoso' | 'Contoso Issuing CA'"
    assert texts["validity"].endswith(", plus or minus 5 s")
    assert (
        texts["extended key usage"] == "'clientAuth' | clientAuth, or no extended key usage at all"
    )
    assert texts["strong key"].startswith("the curve secp256r1, 256 bits | RSA of at least 2048 ")
    assert texts["CA certificate"] == "it is not one | no CA certificate, unless it is pinned"
    assert texts["revocation"] == "not checked, because the policy has no crls"
    assert texts["names_proven_by_front_end"] == ""


def test_what_rules_say_about_alternative_names() -> None:
    """The rules of alternative names list those that the certificate holds."""
    certificate = made(
        alternative_names=[
            x509.DNSName("a.example"),
            x509.UniformResourceIdentifier("urn:a"),
            x509.RFC822Name("a@b.example"),
        ]
    )
    policy = pinned(
        certificate, dns_names=["A.example"], uris=["urn:a"], email_addresses=["a@b.example"]
    )
    texts = said(policy, Presented(certificate))
    assert texts["dns_names"] == "'a.example' | 'A.example'"
    assert texts["uris"] == "'urn:a' | 'urn:a'"
    assert texts["email_addresses"] == "'a@b.example' | 'a@b.example'"
    assert texts["extended key usage"].startswith("no extended key usage | ")


def test_what_rules_say_about_a_pinned_authority(authority: CertificateAuthority) -> None:
    """The rule that rejects CAs says that a pinned certificate is a CA."""
    certificate = ClientCertificate.from_pem(authority.certificate_pem)
    texts = said(pinned(certificate), Presented(certificate))
    assert texts["CA certificate"].startswith("it is one and is pinned | ")


def test_what_rules_say_about_a_path() -> None:
    """The rules of the path name its anchor, and until when no certificate of it is revoked."""
    root, other = CertificateAuthority("Root"), CertificateAuthority("Other")
    client = root.issue("alice").certificate
    anchors = [root.certificate_pem.decode(), other.certificate_pem.decode()]
    end = whole_second() + timedelta(days=3)
    current = root.revocation_list(next_update=end).decode()
    texts = said(Policy(trust_anchors=anchors, crls=current, issuers=["Root"]), Presented(client))
    assert texts["trust_anchors"] == "a path of 2 to 'CN=Root' | a path to 'CN=Other' or 'CN=Root'"
    assert texts["revocation"] == (
        f"not revoked; known until {end:%Y-%m-%dT%H:%M:%SZ} | no certificate of the path is revoked"
    )
    assert texts["configured issuer"] == (
        "the issuer 'CN=Root' | the issuer's certificate is configured, and did not come with the"
        " request"
    )
    assert "CA certificate" not in {label for label, text in texts.items() if " | " in text}
    old = root.revocation_list(next_update=whole_second() - timedelta(days=1)).decode()
    soft = said(
        Policy(trust_anchors=anchors[0], crls=old, revocation="soft", issuers=["Root"]),
        Presented(client),
    )
    assert soft["revocation"].startswith("overlooked: it is unknown whether ")
    assert soft["revocation"].endswith("; if that is not known, it is accepted (soft)")
    assert " | " not in soft["configured issuer"]
    unchecked = said(Policy(trust_anchors=anchors), Presented(client))
    assert unchecked["revocation"] == (
        "not checked, because the policy has no crls | nothing, because the policy has no crls"
    )


def test_anchor_as_a_client_needs_no_list(authority: CertificateAuthority) -> None:
    """A client that is its own trust anchor needs no list, so no end is stated."""
    client = made(alternative_names=[x509.DNSName("a.example")])
    anchors = [client.x509.public_bytes(Encoding.PEM).decode(), authority.certificate_pem.decode()]
    policy = Policy(trust_anchors=anchors, crls=authority.revocation_list().decode())
    assert said(policy, Presented(client))["revocation"].startswith("not revoked | ")


def test_anchor_as_a_client_is_an_allowed_issuer(authority: CertificateAuthority) -> None:
    """A client that is its own trust anchor, and its own issuer, needs no other configured one."""
    client = made()
    anchors = [client.x509.public_bytes(Encoding.PEM).decode(), authority.certificate_pem.decode()]
    assert reason(Policy(trust_anchors=anchors, issuers=["alice"]), client) is None


# --- several pins, pins of another length, roles and names ---------------------------------------


def test_first_pin_that_matches_names_the_holder(alice: IssuedCertificate) -> None:
    """Of two pins that match, the first gives identity and note, and the roles of both count."""
    decision = Decision(Presented(alice.certificate), datetime.now(UTC), None)
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    first = Pin("A" * 64, ends, "first note", "first", frozenset({"a"}))
    second = Pin("B" * 64, None, "second note", "second", frozenset({"b"}))
    decision.match(first)
    decision.match(second)
    assert decision.pin == first
    assert (decision.name, decision.label, decision.note) == ("first", "first", "first note")
    assert decision.roles == {"a", "b"}
    assert decision.until == ends
    assert [ending.held for ending in decision.endings] == [first]


@pytest.mark.parametrize(
    ("key", "digits"),
    [*(("fingerprints", n) for n in (38, 42, 62, 66)), *(("public_keys", n) for n in (40, 62, 66))],
)
def test_pin_of_another_length_stops_the_start(key: str, digits: int) -> None:
    """A pin is 64 hex digits; a certificate's may also be 40."""
    message = problems(**{"trust_anchors": None, key: ["A" * digits]})[key]
    assert f"{digits} hex digits" in message


def test_only_one_kind_of_pin_has_identities(alice: IssuedCertificate) -> None:
    """Pins of certificates with identities may stand beside pins of keys without."""
    certificate = alice.certificate
    pin = {"fingerprint": certificate.sha256_fingerprint, "identity": "alice"}
    policy = Policy(fingerprints=[pin], public_keys=[key_of(certificate)])
    assert reason(policy, certificate) is None


def test_identity_is_the_common_name_that_matched(
    alice: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """Of several allowed common names, the identity is the one in the certificate."""
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(),
        common_names=["alice", "bob"],
        identity="{common_name}",
    )
    moment = datetime.now(UTC).replace(microsecond=0)
    decided = policy.decide(Presented(alice.certificate), moment, policy.trust_store())
    assert isinstance(decided, Acceptance)
    assert decided.name == "alice"


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset])
def test_empty_collection_of_roles_stops_the_start(collection: Any) -> None:
    """Roles in an empty collection of any kind are a mistake."""
    assert "the list is empty" in problems(fingerprints=[PIN], roles=collection())["roles"]
