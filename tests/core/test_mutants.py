"""Edges that no other test stood on: each kills a mutant that had survived."""

from __future__ import annotations

import base64
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arrcert import (
    Authorizer,
    CertificateDenied,
    ConfigurationError,
    DenialReason,
    Policy,
    names,
)
from arrcert.forwarding import encodings
from arrcert.forwarding import front_ends as forwarding
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd, front_end_from
from arrcert.forwarding.ingress import Ingress, SecretHeader, networks_from, secret_header_from
from arrcert.forwarding.servers import Server
from arrcert.pins import fingerprint_pin, public_key_pin
from arrcert.policy import is_unresolved_reference
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust import files as trust_files
from arrcert.trust.name_constraints import violation
from arrcert.trust.paths import why_unusable

SECRET = "0123456789abcdef"


def reason(call: Callable[[], object]) -> DenialReason:
    """Return why the call is denied."""
    with pytest.raises(CertificateDenied) as caught:
        call()
    return caught.value.reason


def settings_of(call: Callable[[], object]) -> list[str]:
    """Return which settings the call complains of."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    return [problem.setting for problem in caught.value.problems]


# --- encodings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ["XAAAA:", ":AAAAX", "XAAAAX", "AAAAAA", "X:AAAA:X", "\v:AAAA:"])
def test_a_byte_sequence_has_both_colons(item: str) -> None:
    """What remains without the first and last character is not taken for the sequence."""
    assert reason(lambda: encodings.byte_sequence(item)) is DenialReason.MALFORMED
    assert reason(lambda: encodings.byte_sequence_list(f":AAAA:, {item}")) is DenialReason.MALFORMED


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_blocks_stand_on_lines_of_their_own(end: str, alice: IssuedCertificate) -> None:
    """Two blocks on one line are none."""
    pem = alice.certificate_pem.decode().strip()
    text = quote(pem + end + pem, safe="")
    if end:
        assert len(encodings.percent_encoded_pem(text)) == 2
    else:
        assert reason(lambda: encodings.percent_encoded_pem(text)) is DenialReason.MALFORMED


def test_ten_intermediates_are_read(alice: IssuedCertificate) -> None:
    """Ten beside the leaf, whichever way they come."""
    pem = alice.certificate_pem.decode()

    def element(count: int) -> str:
        return f'Cert="{quote(pem, safe="")}";Chain="{quote(OTHER * count, safe="")}"'

    assert len(encodings.percent_encoded_pem(quote(pem * 11))) == 11
    assert reason(lambda: encodings.percent_encoded_pem(quote(pem * 12))) is DenialReason.TOO_LARGE
    assert len(encodings.xfcc(element(10), 1)) == 11
    assert reason(lambda: encodings.xfcc(element(11), 1)) is DenialReason.TOO_LARGE
    assert len(encodings.byte_sequence_list(",".join([":AAAA:"] * 10))) == 10
    eleven = ",".join([":AAAA:"] * 11)
    assert reason(lambda: encodings.byte_sequence_list(eleven)) is DenialReason.TOO_LARGE


OTHER = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def test_an_empty_text_is_no_pem(alice: IssuedCertificate) -> None:
    """An empty chain is refused, not read as one without certificates."""
    assert reason(lambda: encodings.percent_encoded_pem("")) is DenialReason.MALFORMED
    element = f'Cert="{quote(alice.certificate_pem.decode())}"'
    assert reason(lambda: encodings.xfcc(f'{element};Chain=""', 1)) is DenialReason.MALFORMED
    assert encodings.xfcc(f'{element};Subject=""', 1) == [alice.certificate.der]
    for odd in (f'="x";{element}', f"{element} Hash=ab", f"{element}xHash=ab"):
        assert reason(lambda odd=odd: encodings.xfcc(odd, 1)) is DenialReason.MALFORMED


def test_a_backslash_stands_for_the_next_character(alice: IssuedCertificate) -> None:
    """Envoy's quoting holds in a certificate as well."""
    text = quote(alice.certificate_pem.decode(), safe="")
    assert encodings.xfcc(f'Cert="\\{text[:9]}\\{text[9:]}"', 1) == [alice.certificate.der]


# --- forwarding ----------------------------------------------------------------------------------


def test_known_front_ends_are_what_their_documentation_says() -> None:
    """A header's name or a word for "validated" that is a little off would deny everybody."""
    facts = {
        name: (known.header, known.encoding, known.chain_header, known.trusted_hops)
        for name, known in FRONT_ENDS.items()
    }
    assert facts == {
        "app-service": ("X-ARR-ClientCert", "base64-der", None, 1),
        "functions": ("X-ARR-ClientCert", "base64-der", None, 1),
        "container-apps": ("X-Forwarded-Client-Cert", "xfcc", None, 1),
        "api-management": ("X-Client-Cert", "base64-der", None, 1),
        "envoy": ("X-Forwarded-Client-Cert", "xfcc", None, 1),
        "rfc9440": ("Client-Cert", "rfc9440", "Client-Cert-Chain", 1),
        "application-gateway": ("X-Client-Cert", "percent-encoded-pem", None, 1),
        "nginx": ("X-Client-Cert", "percent-encoded-pem", None, 1),
        "haproxy": ("X-Client-Cert", "base64-der", None, 1),
    }
    verified = {
        name: (known.verify_header, known.verify_value)
        for name, known in FRONT_ENDS.items()
        if known.verify_header
    }
    assert verified == {
        "application-gateway": ("X-Client-Cert-Verification", "SUCCESS"),
        "nginx": ("X-Client-Verify", "SUCCESS"),
        "haproxy": ("X-Client-Verify", "0"),
    }


def test_sixteen_kilobytes_are_read() -> None:
    """The bound is the one that the documentation names."""
    assert forwarding.MAX_HEADER_CHARACTERS == 16_384


@pytest.mark.parametrize(
    ("description", "setting"),
    [
        ({"header": "X-C", "name": "x"}, "front_end"),
        ({"header": "-"}, 'front_end["header"]'),
        (
            {"header": "X-C", "encoding": "rfc9440", "chain_header": "X_D"},
            'front_end["chain_header"]',
        ),
        (
            {"header": "X-C", "verify_header": "X-V", "verify_value": 1},
            'front_end["verify_value"]',
        ),
        ({"header": "X-C", "encoding": "xfcc", "trusted_hops": "2"}, 'front_end["trusted_hops"]'),
        ({"header": "X-C", "encoding": "xfcc", "trusted_hops": 1.5}, 'front_end["trusted_hops"]'),
    ],
)
def test_a_mistake_in_a_front_end_names_its_key(description: object, setting: str) -> None:
    """Values of the wrong kind are complaints, not faults."""
    assert settings_of(lambda: front_end_from(description)) == [setting]


def test_up_to_ten_hops_may_be_trusted() -> None:
    """By default it is one."""
    described = {"header": "X-C", "encoding": "xfcc"}
    assert front_end_from(described).trusted_hops == 1
    assert front_end_from({**described, "trusted_hops": 10}).trusted_hops == 10


def test_a_described_front_end_promises_nothing_of_tls(alice: IssuedCertificate) -> None:
    """Behind a front end of yours, plain HTTP on the way to the app is no reason to deny."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    pairs = [("X-Client", alice.header_value), ("X-Forwarded-Proto", "http")]
    for front_end in ({"header": "X-Client"}, FrontEnd("mine", "X-Client")):
        authorizer = Authorizer({"default": policy}, front_end=front_end)
        assert authorizer.authorize_headers(pairs) == alice.certificate


# --- ingress -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nginx", "haproxy", "application-gateway"])
def test_a_text_alone_is_refused_where_a_verify_header_is_to_be_checked(
    name: str, alice: IssuedCertificate
) -> None:
    """Whoever hands over the certificate's header alone cannot have the other one checked."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, front_end=name)
    assert reason(lambda: authorizer.authorize(alice.header_value)) is DenialReason.MISCONFIGURED


def test_every_header_is_looked_at() -> None:
    """A header with a short name hides none behind it."""
    ingress = Ingress(FRONT_ENDS["app-service"])
    assert ingress.from_pairs([("a", "b"), ("X-ARR-ClientCert", "v")]) == ("v", None)
    pairs = [("a", "b"), ("X-ARR-ClientCert", "v"), ("c", "d"), ("X_ARR_ClientCert", "w")]
    assert reason(lambda: ingress.from_pairs(pairs)) is DenialReason.AMBIGUOUS


def test_the_transport_comes_first() -> None:
    """Over plain HTTP a look-alike is worth no word; a look-alike of the proto is harmless."""
    ingress = Ingress(FRONT_ENDS["app-service"])
    look_alike = [("X-ARR-ClientCert", "v"), ("X_ARR_ClientCert", "w")]
    plain = [*look_alike, ("X-Forwarded-Proto", "http")]
    assert reason(lambda: ingress.from_pairs(plain)) is DenialReason.INSECURE_TRANSPORT
    assert ingress.from_pairs([*look_alike[:1], ("X_Forwarded_Proto", "http")])[0] == "v"


@pytest.mark.parametrize("presented", [None, 5, "", "\udc80" + SECRET, SECRET[:-1], SECRET + "x"])
def test_what_is_no_secret_is_none(presented: Any) -> None:
    """Whatever stands in the secret's place, it is a denial that says so."""
    front_end = FRONT_ENDS["app-service"]
    ingress = Ingress(front_end, secret_header=SecretHeader("X-Secret", (SECRET,)))
    environ = {"HTTP_X_ARR_CLIENTCERT": "v", "HTTP_X_SECRET": presented}
    assert reason(lambda: ingress.from_wsgi(environ)) is DenialReason.UNTRUSTED
    assert ingress.from_wsgi({**environ, "HTTP_X_SECRET": SECRET}) == ("v", None)


def test_a_list_of_networks_may_be_any_collection() -> None:
    """A frozenset is one."""
    assert len(networks_from(frozenset({"10.0.0.0/8"}), setting="S")) == 1


@pytest.mark.parametrize(
    ("secrets", "is_good"),
    [
        ((SECRET,), True),
        ([SECRET, SECRET[::-1]], True),
        ([SECRET[:-1]], False),
        ([SECRET, "short"], False),
        (["short", SECRET], False),
        ([SECRET + "\x7f"], False),
        ([SECRET + "\t"], False),
    ],
)
def test_every_secret_is_long_and_printable(secrets: object, is_good: bool) -> None:
    """Sixteen characters at least; a good one does not excuse a bad one."""
    value = {"header": "X-Secret", "secrets": secrets}
    if is_good:
        assert secret_header_from(value, setting="S").header == "X-Secret"
    else:
        assert settings_of(lambda: secret_header_from(value, setting="S")) == ['S["secrets"]']


def test_an_unsafe_server_is_told_of_on_our_logger(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All that arrcert has to say stands on the logger `arrcert`."""
    server = Server("fancy", is_safe=False, remedy="run another")
    monkeypatch.setattr("arrcert.forwarding.ingress.wsgi_server", lambda environ: server)
    Ingress(FRONT_ENDS["app-service"], refuse_unsafe_servers=False).from_wsgi({})
    assert [record.name for record in caplog.records] == ["arrcert"]


# --- policy --------------------------------------------------------------------------------------


def test_soft_revocation_is_told_of_on_our_logger(
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A yes in spite of an old list is a record on the logger `arrcert`."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(),
        crls=authority.revocation_list(next_update=yesterday).decode(),
        revocation="soft",
    )
    policy.check(alice.certificate)
    assert [record.name for record in caplog.records] == ["arrcert"]


def test_warnings_tell_of_files_that_have_ended() -> None:
    """An anchor that has expired is one of the policy's warnings."""
    past = datetime.now(UTC) - timedelta(days=1)
    anchor = CertificateAuthority("Old CA", not_after=past).certificate_pem.decode()
    [problem] = Policy(trust_anchors=anchor).warnings()
    assert problem.setting == "trust_anchors"


def test_white_space_does_not_hide_a_reference() -> None:
    """What App Service did not resolve is known behind white space and in any case."""
    assert is_unresolved_reference(" \n@microsoft.keyvault(SecretUri=x)")
    assert not is_unresolved_reference("x @Microsoft.KeyVault(SecretUri=x)")


def test_frozen_sets_are_lists(alice: IssuedCertificate, authority: CertificateAuthority) -> None:
    """Whatever collection the settings hold."""
    pins = frozenset({alice.certificate.sha256_fingerprint})
    anchors = frozenset({authority.certificate_pem.decode()})
    Policy(fingerprints=pins, trust_anchors=anchors).check(alice.certificate)


def test_a_broken_list_is_named_by_its_parameter(authority: CertificateAuthority) -> None:
    """The operator reads `crls`."""
    anchors = authority.certificate_pem.decode()
    assert settings_of(lambda: Policy(trust_anchors=anchors, crls=[""])) == ["crls"]


ZONES = [timezone(timedelta(hours=hours)) for hours in (-12, 0, 14)]


@pytest.mark.parametrize("zone", ZONES)
def test_the_last_second_counts_whole_in_every_zone(
    zone: timezone, authority: CertificateAuthority
) -> None:
    """A moment is what it is, however it is written; half a second after the last is within it."""
    client = authority.issue("alice", not_after=datetime.now(UTC) - timedelta(hours=1))
    end = client.certificate.not_valid_after_utc
    anchored = Policy(trust_anchors=authority.certificate_pem.decode())
    pinned = Policy(fingerprints=[client.certificate.sha256_fingerprint])
    late = (end + timedelta(seconds=0.5)).astimezone(zone)
    for policy in (anchored, pinned):
        authorizer = Authorizer({"default": policy})
        policy.check(client.certificate, at=late)
        authorizer.authorize(client.header_value, at=late)
        too_late = late + timedelta(seconds=1)
        with pytest.raises(CertificateDenied):
            policy.check(client.certificate, at=too_late)
        assert (
            reason(
                lambda authorizer=authorizer, at=too_late: authorizer.authorize(
                    client.header_value, at=at
                )
            )
            is DenialReason.EXPIRED
        )


# --- trust, name constraints ---------------------------------------------------------------------


def made(
    common_name: str,
    *,
    issuer: str = "CA",
    email: str | None = None,
    constraints: x509.NameConstraints | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    is_ca: bool = False,
) -> x509.Certificate:
    """Make a certificate; whose signature it bears does not matter here."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if email is not None:
        attributes.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, email))
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    if is_ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_ca_may_sign_on_these_curves(curve: ec.EllipticCurve) -> None:
    """The verifier validates paths over P-256, P-384 and P-521."""
    ca = made("CA", key=ec.generate_private_key(curve), is_ca=True)
    assert why_unusable(ca, is_anchor=True) is None


def permitted(*bases: x509.GeneralName) -> x509.NameConstraints:
    """Return constraints that permit these alone."""
    return x509.NameConstraints(bases, None)


@pytest.mark.parametrize(
    ("base", "leaf", "is_within"),
    [
        (x509.DNSName("A.Example"), made("host.a.example"), True),
        (x509.DNSName("a.example"), made("v1.2 gateway"), True),
        (x509.DNSName("a.example"), made("x.b.example"), False),
        (x509.RFC822Name("A.Example"), made("x", email="ops@a.example"), True),
        (x509.RFC822Name("a.example"), made("x", email='"o@ps"@a.example'), True),
        (x509.RFC822Name("a.example"), made("x", email="ops@a.example@b.example"), False),
    ],
)
def test_names_under_a_limited_ca(
    base: x509.GeneralName, leaf: x509.Certificate, is_within: bool
) -> None:
    """Hosts have no case, a mailbox may hold an @, and prose is no DNS name."""
    assert (violation([leaf, made("CA", constraints=permitted(base))]) is None) is is_within


def test_several_subtrees_are_alternatives() -> None:
    """A name need not be in every one of them."""
    limits = permitted(x509.DNSName("a.example"), x509.DNSName("b.example"))
    top = made("CA", constraints=limits)
    assert violation([made("host.b.example"), top]) is None
    assert violation([made("host.c.example"), top]) is not None


def test_a_ca_without_limits_limits_nobody() -> None:
    """And the limits of the one above it still hold."""
    free, top = made("Free"), made("CA", constraints=permitted(x509.DNSName("a.example")))
    assert violation([made("host.b.example"), free]) is None
    assert violation([made("host.b.example"), free, top]) is not None


def test_a_ca_is_not_bound_by_its_own_limits() -> None:
    """They bind what stands below it; and a CA's common name is a name of nobody's host."""
    limits = permitted(x509.RFC822Name("a.example"), x509.DNSName("a.example"))
    ca = made("Issuing", email="ca@b.example", constraints=limits, issuer="Root")
    assert violation([made("x"), ca]) is None
    between = made("ca.b.example")
    assert violation([made("x"), between, made("CA", constraints=limits)]) is None


# --- names, pins ---------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["a CN=b", '"a" b'])
def test_these_are_common_names(entry: str) -> None:
    """What only looks like a whole name or a quoted one further in is a common name."""
    assert names.common_name(entry) == entry


def test_a_mailbox_may_hold_an_at() -> None:
    """The last @ separates the host."""
    matches = names.email_address('"a@b"@partner.example')
    assert matches('"a@b"@PARTNER.example')
    assert not matches('"A@b"@partner.example')
    assert not matches('"a@b"')


def test_the_shortest_uris() -> None:
    """A scheme may be one letter; what stands behind it may not be nothing."""
    assert names.uri("x:y")("x:y")
    assert names.uri("x://h/*")("x://h/a")
    with pytest.raises(ValueError, match="is no URI"):
        names.uri("urn:")


@pytest.mark.parametrize("entry", ["z" * 40, "a" * 39 + "z", "z" + "a" * 63, "a" * 63 + "é"])
def test_forty_letters_are_no_fingerprint(entry: str) -> None:
    """Every one must be a hex digit."""
    with pytest.raises(ValueError, match="is not hex"):
        fingerprint_pin(entry)


def test_base64_of_a_key_may_be_wrapped() -> None:
    """White space does not matter there either."""
    digest = bytes(range(32))
    text = base64.b64encode(digest).decode()
    assert public_key_pin(f" {text[:20]}\n{text[20:]} ").value == digest.hex().upper()


# --- authorizer ----------------------------------------------------------------------------------


def test_every_alternative_must_be_a_policy(alice: IssuedCertificate) -> None:
    """A good one does not excuse another, and all mistakes are told together."""
    good = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    bad: dict[str, Any] = {"a": [good, "x"], "b": good, "c": ["x", good], "d": []}
    settings = settings_of(lambda: Authorizer(bad))
    assert settings == ['policies["a"]', 'policies["c"]', 'policies["d"]']


def test_the_operator_reads_of_every_alternative(
    alice: IssuedCertificate, look_alike: IssuedCertificate
) -> None:
    """What each of several alternatives found stands in the record; of one, that alone."""
    pinned = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    keyed = Policy(public_keys=["AB" * 32])
    details = []
    for policy in (pinned, keyed):
        with pytest.raises(CertificateDenied) as caught:
            policy.check(look_alike.certificate)
        details.append(caught.value.detail)
        with pytest.raises(CertificateDenied) as caught:
            Authorizer({"default": policy}).authorize(look_alike.header_value)
        assert caught.value.detail == details[-1]
    with pytest.raises(CertificateDenied) as caught:
        Authorizer({"default": [pinned, keyed]}).authorize(look_alike.header_value)
    assert all(f"{n}: {detail}" in caught.value.detail for n, detail in enumerate(details, 1))


def test_a_fault_of_ours_is_logged_with_its_traceback(
    alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has to mend it needs the traceback."""

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    authorizer = Authorizer(
        {"default": Policy(fingerprints=[alice.certificate.sha256_fingerprint])}
    )
    monkeypatch.setattr(Policy, "decide", broken)
    with pytest.raises(CertificateDenied):
        authorizer.authorize(alice.header_value)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert isinstance(record.exc_info[1], RuntimeError)


@pytest.mark.parametrize("other_has_files", [True, False])
def test_the_files_of_every_alternative_are_followed(
    other_has_files: bool,
    tmp_path: Path,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A yes is forgotten where the files of one of several alternatives have changed."""
    monkeypatch.setattr(trust_files, "SECONDS_BETWEEN_LOOKS", 0.0)
    anchors, others = tmp_path / "anchors.pem", tmp_path / "others.pem"
    anchors.write_bytes(authority.certificate_pem)
    others.write_bytes(CertificateAuthority("Other").certificate_pem)
    followed = Policy(trust_anchors=anchors)
    other = Policy(trust_anchors=others) if other_has_files else Policy(fingerprints=["A" * 64])
    authorizer = Authorizer({"default": [followed, other]})
    authorizer.authorize(alice.header_value)
    before = followed.trust_store()
    anchors.write_bytes(CertificateAuthority("Another").certificate_pem)
    os.utime(anchors)
    until = time.monotonic() + 10
    while followed.trust_store() is before and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(CertificateDenied) as caught:
        authorizer.authorize(alice.header_value)
    assert caught.value.reasons[0] is DenialReason.UNTRUSTED
