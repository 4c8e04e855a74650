"""The identity of an accepted client: its name, which a rule has proven, and its roles."""

from __future__ import annotations

import base64
import copy
import pickle
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ClientIdentity,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert.identity import LONGEST_NAME, identity_from, roles_from, why_no_name
from arrcert.keys import public_key_fingerprint
from arrcert.testing import (
    CertificateAuthority,
    IssuedCertificate,
    _leaf_extensions,
    _sign,
    self_signed,
)

# The library warns of an empty common name, and of one with more than 64 characters.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")

KEY = ec.generate_private_key(ec.SECP256R1())
PIN = "A" * 64


def subject(*common_names: str) -> x509.Name:
    """Return a name with these common names, of any length."""
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, text, _validate=False) for text in common_names]
    )


def certificate_of(
    *common_names: str,
    sans: Sequence[x509.GeneralName] = (),
    name: x509.Name | None = None,
    key: ec.EllipticCurvePrivateKey = KEY,
) -> ClientCertificate:
    """Return a certificate with any names. Its signature does not matter, because it is pinned."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name or subject(*common_names))
        .issuer_name(subject("Contoso Issuing CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return ClientCertificate.from_der(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


def header(certificate: ClientCertificate) -> str:
    """Return a certificate as App Service forwards it."""
    return base64.b64encode(certificate.der).decode()


def identify(
    certificate: ClientCertificate, *policies: Policy, role: str | None = None
) -> ClientIdentity | DenialReason:
    """Return the identity under alternatives, or the reason of the denial. Ask twice."""
    authorizer = Authorizer({"default": list(policies)})
    found: list[ClientIdentity | DenialReason] = []
    for _ in range(2):
        try:
            found.append(authorizer.identify(header(certificate), role=role))
        except CertificateDenied as denied:
            found.append(denied.reason)
    assert found[0] == found[1], "what is remembered differs from the decision"
    return found[0]


def name_of(certificate: ClientCertificate, identity: str, **parameters: Any) -> Any:
    """Return the name that a policy with a pin gives, or the reason of the denial."""
    policy = Policy(fingerprints=[certificate.sha256_fingerprint], identity=identity, **parameters)
    found = identify(certificate, policy)
    return found.name if isinstance(found, ClientIdentity) else found


def mistake(key: str, **parameters: Any) -> str:
    """Return the only mistake of a policy, which must name the key."""
    with pytest.raises(ConfigurationError) as caught:
        Policy(**{"fingerprints": [PIN], **parameters})
    [problem] = caught.value.problems
    assert problem.setting == key
    return problem.message


# --- how an identity is written ------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        *("fabrikam", "fabrikam:eu", "Zoë", "a b", "{common_name}", "device:{dns_name}"),
        *("{uri}!", "<{email_address}>", "x{sha256_fingerprint}y", "100%"),
    ],
)
def test_identity_is_a_literal_or_has_one_field(written: str) -> None:
    """A template is shown as it is written."""
    template = identity_from(written)
    assert str(template) == written
    assert (template.field is None) == ("{" not in written)
    assert f"identity {written!r}" in repr(Policy(fingerprints=[PIN], identity=written))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        (7, "is not text"),
        (["fabrikam"], "is not text"),
        ("{}", "unknown field '{}'"),
        ("{cn}", "unknown field '{cn}'; write one of {common_name}, {dns_name}"),
        ("{common_name!r}", "unknown field"),
        ("{common_name:>9}", "unknown field"),
        ("{common_name[0]}", "unknown field"),
        ("{subject}", "unknown field"),
        ("{common_name}{common_name}", "2 fields"),
        ("{common_name}@{dns_name}", "2 fields"),
        ("{common_name", "brace"),
        ("common_name}", "brace"),
        ("{{common_name}}", "brace"),
        ("a}b{", "brace"),
        ("x{common_name}}", "brace"),
        (" fabrikam", "begins or ends with white space"),
        ("{common_name} ", "begins or ends with white space"),
        ("fabri\u200bkam", "U+200B"),
        ("fabri\nkam", "U+000A"),
        ("\uff46abrikam", "NFKC"),
        ("@Microsoft.KeyVault(VaultName=v;SecretName=s)", "Key Vault reference"),
    ],
)
def test_wrong_identity_stops_the_start(written: Any, message: str) -> None:
    """The error for a wrong identity shows the value and says what to write."""
    found = mistake("identity", identity=written)
    assert message in found
    if "Key Vault" not in message:
        assert "write" in found


@pytest.mark.parametrize("field", ["common_name", "dns_name", "uri", "email_address"])
def test_template_on_a_name_needs_proof(field: str, authority: CertificateAuthority) -> None:
    """A template on a name needs a pinned certificate or an anchor; a public key is no proof."""
    template = f"x:{{{field}}}"
    message = mistake("identity", fingerprints=None, public_keys=[PIN], identity=template)
    assert "public_keys prove who holds a key, but not the names" in message
    pem = authority.certificate_pem.decode()
    Policy(public_keys=[PIN], trust_anchors=pem, identity=template)
    Policy(public_keys=[PIN], fingerprints=[PIN], identity=template)
    Policy(fingerprints=[PIN], identity=template)


def test_identity_that_is_no_name_needs_no_proof() -> None:
    """A literal or the fingerprint as an identity needs no proof."""
    Policy(public_keys=[PIN], identity="fabrikam")
    Policy(public_keys=[PIN], identity="key:{sha256_fingerprint}")


def test_identity_and_roles_are_no_condition() -> None:
    """A policy with only an identity or roles is an error: it would accept everybody."""
    with pytest.raises(ConfigurationError, match="has no condition"):
        Policy(identity="fabrikam", roles=["orders"])
    with pytest.raises(ConfigurationError, match="anybody can issue a certificate with it"):
        Policy(identity="{common_name}")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ("orders", "is not a list; write a list of roles: ['orders']"),
        (7, "is not a list"),
        ({"orders": True}, "is not a list"),
        ([], "the list is empty"),
        ([7], "holds '7', which is not a role"),
        ([None], "holds 'None', which is not a role"),
        ([""], "holds '', which is not a role"),
        ([" "], "which is not a role"),
        (["orders", ["invoices"]], "which is not a role"),
        ([" orders"], "holds the role ' orders', which has white space"),
        (["or\u200bders"], "U+200B"),
        (["@Microsoft.KeyVault(VaultName=v)"], "Key Vault reference"),
    ],
)
def test_wrong_roles_stop_the_start(roles: Any, message: str) -> None:
    """Roles that are not a list of texts stop the start, in a policy and in a pin."""
    assert message in mistake("roles", roles=roles)
    in_a_pin = mistake("fingerprints", fingerprints=[{"fingerprint": PIN, "roles": roles}])
    assert 'has a "roles" that ' in in_a_pin
    assert message.replace("the list is empty", "is empty") in in_a_pin


def test_roles_are_a_set() -> None:
    """A role that is written twice counts once."""
    assert roles_from(("orders", "orders", "invoices")) == {"orders", "invoices"}
    assert roles_from(frozenset({"orders"})) == {"orders"}
    assert "2 roles" in repr(Policy(fingerprints=[PIN], roles={"orders", "invoices"}))


# --- pins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"identity": ""}, 'has a "identity" that is empty'),
        ({"identity": 7}, 'has a "identity" that is not text'),
        ({"identity": "{common_name}"}, 'has a "identity" that is a template'),
        ({"name": "fabrikam"}, "has the unknown key 'name'"),
        ({"roles": "orders"}, 'has a "roles" that is not a list'),
    ],
)
def test_wrong_pin_stops_the_start(beside: dict[str, Any], message: str) -> None:
    """A pin with another identity than a literal, or without a list of roles, stops the start."""
    found = mistake("fingerprints", fingerprints=[{"fingerprint": PIN, **beside}])
    assert message in found


def test_pin_names_its_holder(alice: IssuedCertificate) -> None:
    """A pin's identity replaces the policy's, its roles are added, and its note is kept."""
    certificate = alice.certificate
    pin = {
        "fingerprint": certificate.sha1_fingerprint,
        "identity": "fabrikam",
        "roles": ["invoices"],
        "note": "old gateway",
    }
    found = identify(
        certificate,
        Policy(fingerprints=[pin, PIN], identity="{dns_name}", roles=["orders"]),
    )
    assert found == ClientIdentity(
        "fabrikam", frozenset({"orders", "invoices"}), certificate, "default", 0, "old gateway"
    )


def test_pin_without_an_identity_has_the_policys(alice: IssuedCertificate) -> None:
    """A pin without an identity has the policy's, and not that of another pin."""
    certificate = alice.certificate
    other = {"fingerprint": PIN, "identity": "fabrikam", "roles": ["invoices"], "note": "other"}
    found = identify(
        certificate,
        Policy(
            fingerprints=[other, certificate.sha256_fingerprint],
            identity="x:{common_name}",
            roles=["orders"],
        ),
    )
    assert found == ClientIdentity("x:alice", frozenset({"orders"}), certificate, "default")
    bare = identify(certificate, Policy(fingerprints=[other, certificate.sha256_fingerprint]))
    assert bare == ClientIdentity(None, frozenset(), certificate, "default")


def test_retired_pin_gives_nothing(alice: IssuedCertificate) -> None:
    """A pin that has ended gives no identity and no roles."""
    certificate = alice.certificate
    retired = {
        "fingerprint": certificate.sha256_fingerprint,
        "identity": "old",
        "roles": ["old"],
        "not_after": "2020-01-31",
    }
    current = {"fingerprint": certificate.sha1_fingerprint, "identity": "new"}
    found = identify(certificate, Policy(fingerprints=[retired, current]))
    assert found == ClientIdentity("new", frozenset(), certificate, "default")


def test_certificate_and_key_may_both_be_pinned(alice: IssuedCertificate) -> None:
    """Identities belong to one of the two keys, and the roles of both keys are granted."""
    certificate = alice.certificate
    key = public_key_fingerprint(certificate.x509)
    fingerprints: list[Any] = [
        {"fingerprint": certificate.sha256_fingerprint, "roles": ["orders"]},
    ]
    public_keys: list[Any] = [
        {"public_key": key, "identity": "fabrikam", "roles": ["invoices"], "note": "token"}
    ]
    found = identify(certificate, Policy(fingerprints=fingerprints, public_keys=public_keys))
    assert found == ClientIdentity(
        "fabrikam", frozenset({"orders", "invoices"}), certificate, "default", 0, "token"
    )
    fingerprints[0]["identity"] = "contoso"
    message = mistake("public_keys", fingerprints=fingerprints, public_keys=public_keys)
    assert "one certificate could have two" in message


def test_pin_listed_twice_must_say_the_same() -> None:
    """Two identities or two role lists for one pin are an error in any order."""
    one, other = {"fingerprint": PIN, "identity": "a"}, {"fingerprint": PIN, "identity": "b"}
    assert "different identities" in mistake("fingerprints", fingerprints=[one, other])
    assert "different identities" in mistake("fingerprints", fingerprints=[PIN, one])
    with_role = {**one, "roles": ["orders"]}
    assert "identities or roles" in mistake("fingerprints", fingerprints=[one, with_role])
    Policy(fingerprints=[one, dict(one)])


# --- templates -----------------------------------------------------------------------------------


def test_name_is_the_one_in_the_certificate() -> None:
    """Without a list of that key, the template takes the only name of the kind."""
    certificate = certificate_of(
        "Gateway",
        sans=[
            x509.DNSName("GW.Contoso.com"),
            x509.UniformResourceIdentifier("spiffe://contoso/GW"),
            x509.RFC822Name("Ops@Contoso.com"),
        ],
    )
    assert name_of(certificate, "x:{common_name}") == "x:Gateway"
    assert name_of(certificate, "{dns_name}") == "gw.contoso.com"
    assert name_of(certificate, "{uri}") == "spiffe://contoso/GW"
    assert name_of(certificate, "{email_address}") == "Ops@Contoso.com"
    fingerprint = certificate.sha256_fingerprint
    assert name_of(certificate, "<{sha256_fingerprint}>") == f"<{fingerprint}>"
    assert name_of(certificate, "fabrikam") == "fabrikam"


@pytest.mark.parametrize("field", ["common_name", "dns_name", "uri", "email_address"])
def test_no_name_is_no_identity(field: str) -> None:
    """A certificate without a name of the kind has no identity."""
    certificate = certificate_of(name=x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")]))
    assert name_of(certificate, f"{{{field}}}") is DenialReason.NO_IDENTITY


TWO = [
    x509.DNSName("a.contoso.com"),
    x509.DNSName("b.contoso.com"),
    x509.UniformResourceIdentifier("spiffe://contoso/a"),
    x509.UniformResourceIdentifier("spiffe://contoso/b/c"),
    x509.RFC822Name("a@contoso.com"),
    x509.RFC822Name("b@contoso.com"),
]


@pytest.mark.parametrize(
    ("field", "key", "one", "both"),
    [
        ("dns_name", "dns_names", "B.contoso.com", "*.contoso.com"),
        ("uri", "uris", "spiffe://contoso/b/*", "spiffe://contoso/*"),
        ("email_address", "email_addresses", "b@CONTOSO.com", None),
    ],
)
def test_of_several_names_the_one_that_matched_counts(
    field: str, key: str, one: str, both: str | None
) -> None:
    """Two names are no identity, unless the list of that key allows exactly one of them."""
    certificate = certificate_of("gateway", sans=TWO)
    assert name_of(certificate, f"{{{field}}}") is DenialReason.NO_IDENTITY
    found = name_of(certificate, f"{{{field}}}", **{key: [one, one.lower()]})
    assert found in ("b.contoso.com", "spiffe://contoso/b/c", "b@contoso.com")
    all_names = [both] if both else ["a@contoso.com", "b@contoso.com"]
    assert name_of(certificate, f"{{{field}}}", **{key: all_names}) is DenialReason.NO_IDENTITY
    # A list of another key does not choose among the names.
    others = {"common_names": ["gateway"]}
    assert name_of(certificate, f"{{{field}}}", **others) is DenialReason.NO_IDENTITY


def test_one_name_written_twice_is_one_name() -> None:
    """Two spellings of a DNS name that differ in case are one name."""
    certificate = certificate_of(
        "x", sans=[x509.DNSName("GW.contoso.com"), x509.DNSName("gw.contoso.com")]
    )
    assert name_of(certificate, "{dns_name}") == "gw.contoso.com"


def test_failed_alternative_is_followed_by_the_next() -> None:
    """After `no_identity` the next alternative is tried."""
    certificate = certificate_of("gateway")
    pins = [certificate.sha256_fingerprint]
    first = Policy(fingerprints=pins, identity="{dns_name}")
    found = identify(certificate, first, Policy(fingerprints=pins, identity="second"))
    assert found == ClientIdentity("second", frozenset(), certificate, "default", 1)
    with pytest.raises(CertificateDenied) as caught:
        Authorizer({"default": [first, Policy(fingerprints=[PIN])]}).identify(header(certificate))
    assert caught.value.reasons == (
        DenialReason.NO_IDENTITY,
        DenialReason.FINGERPRINT_NOT_ALLOWED,
    )


def test_identity_is_the_last_rule() -> None:
    """The identity is the last rule, so a denial for another reason keeps that reason."""
    certificate = certificate_of("gateway")
    with pytest.raises(CertificateDenied) as caught:
        Policy(
            fingerprints=[certificate.sha256_fingerprint],
            trust_anchors=CertificateAuthority("Fabrikam CA").certificate_pem.decode(),
            identity="{dns_name}",
        ).check(certificate)
    assert caught.value.reason is DenialReason.UNTRUSTED


def test_denial_says_what_was_found() -> None:
    """The detail names the template and the names in the certificate."""
    certificate = certificate_of("gateway", sans=TWO)
    policy = Policy(
        fingerprints=[certificate.sha256_fingerprint],
        dns_names=["*.contoso.com"],
        identity="x:{dns_name}",
    )
    with pytest.raises(CertificateDenied) as caught:
        policy.check(certificate)
    assert caught.value.detail == (
        "the identity 'x:{dns_name}' needs exactly one name allowed by the policy, and it holds"
        " 'a.contoso.com, b.contoso.com'"
    )


# --- names that some software reads as another name ----------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        " admin",
        "admin ",
        "\tadmin",
        "admin\u00a0",
        "admin\u3000",
        "admin\n",
        "ad\x00min",
        "ad\x7fmin",
        "ad\u00admin",
        "admin\u200b",
        "\u202eadmin",
        "\ufeffadmin",
        "ad\u2028min",
        "ad\u2029min",
        "ad\ue000min",
        "\uff41dmin",
        "a\u1d48min",
        "\u212admin",
        "Zoe\u0308",
        "\ufb01ne",
        "\U000e0041dmin",
        "admin\ufe0f",
        "admin\u034f",
        "\u180badmin",
        "ad\u17b4min",
        "admin\U000e0100",
        "admin\u115f",
        "admin\u1160",
        "ad\u2800min",
        "ad\u1680min",
        "a" * (LONGEST_NAME + 1),
    ],
)
def test_name_that_may_become_another_is_no_identity(name: str) -> None:
    """A name that normalization or a database may turn into another name is no identity."""
    assert why_no_name(name) is not None
    certificate = certificate_of(name)
    for template in ("{common_name}", "x:{common_name}:y"):
        assert name_of(certificate, template) is DenialReason.NO_IDENTITY


@pytest.mark.parametrize(
    "name", ["admin", "Zo\u00eb", "\u0430dmin", "山田", "a b", "x" * LONGEST_NAME]
)
def test_other_names_are_kept_as_they_are(name: str) -> None:
    """A name with letters of another script is accepted unchanged."""
    assert why_no_name(name) is None
    assert name_of(certificate_of(name), "{common_name}") == name


def test_reason_of_a_refused_name() -> None:
    """The reason of a refused name is written as the end of a sentence."""
    assert why_no_name("") == "is empty"
    assert why_no_name("a\n b") == "holds the control or format character U+000A"
    assert why_no_name("ab\ufe0f") == "holds the invisible character U+FE0F"
    assert why_no_name("x" * 2049) == "has more than 2048 characters"
    assert why_no_name("x" * 2048) is None
    assert tuple(identity_from("x")) == ("x", None, "")


def test_parts_that_combine_are_no_identity() -> None:
    """The whole identity is checked too, because its parts can combine into another character."""
    certificate = certificate_of("\u0308x")
    assert why_no_name("\u0308x") is None
    assert name_of(certificate, "zoe{common_name}") is DenialReason.NO_IDENTITY
    assert name_of(certificate, "zoe:{common_name}") == "zoe:\u0308x"


@given(st.text(max_size=20))
def test_accepted_name_is_stable(name: str) -> None:
    """An accepted name is printable, in its own normal form, and has no spaces around it."""
    if why_no_name(name) is None:
        assert name
        assert unicodedata.normalize("NFKC", name) == name == name.strip()
        assert not any(unicodedata.category(character)[0] == "C" for character in name)


# --- attacks -------------------------------------------------------------------------------------


def issued(authority: CertificateAuthority, name: x509.Name) -> ClientCertificate:
    """Return a certificate with any subject that the authority has signed."""
    made = _sign(
        subject=name,
        public_key=KEY.public_key(),
        issuer=authority.name,
        issuer_key=authority._key,
        not_before=None,
        not_after=None,
        extensions=_leaf_extensions("x", (), (), ("clientAuth",)),
    )
    return ClientCertificate.from_der(made.public_bytes(Encoding.DER))


@pytest.fixture
def named(authority: CertificateAuthority) -> Policy:
    """A policy that gives the common name to every client of a CA."""
    return Policy(trust_anchors=authority.certificate_pem.decode(), identity="{common_name}")


def test_escaped_comma_is_part_of_another_attribute(
    named: Policy, authority: CertificateAuthority
) -> None:
    r"""The subject `CN=mallory,O=x\,CN=admin` is mallory, in any order of its attributes."""
    common_name = x509.NameAttribute(NameOID.COMMON_NAME, "mallory")
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x,CN=admin")
    for attributes in ([common_name, organization], [organization, common_name]):
        found = identify(issued(authority, x509.Name(attributes)), named)
        assert isinstance(found, ClientIdentity)
        assert found.name == "mallory"
    without = issued(authority, x509.Name([organization]))
    assert identify(without, named) is DenialReason.NO_IDENTITY


def test_two_common_names_are_no_identity(named: Policy, authority: CertificateAuthority) -> None:
    """Two common names give no identity, even if they are equal."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, text) for text in ("mallory", "admin")]
    for name in (
        x509.Name(attributes),
        x509.Name(attributes[::-1]),
        x509.Name([x509.RelativeDistinguishedName(attributes)]),
        x509.Name([attributes[1], attributes[1]]),
    ):
        assert identify(issued(authority, name), named) is DenialReason.NO_IDENTITY


def test_name_from_another_ca_is_nobody(
    named: Policy, impostor: IssuedCertificate, look_alike: IssuedCertificate
) -> None:
    """A certificate of a CA with the same name, or of any self-made key, has no identity."""
    assert identify(impostor.certificate, named) is DenialReason.UNTRUSTED
    assert identify(look_alike.certificate, named) is DenialReason.UNTRUSTED


def test_holder_of_a_pinned_key_does_not_choose_a_name() -> None:
    """A self-signed certificate with a pinned key has the pin's name, and not the name in it."""
    key = ec.generate_private_key(ec.SECP256R1())
    mallory = certificate_of("mallory", key=key)
    pin = public_key_fingerprint(mallory.x509)
    policy = Policy(public_keys=[{"public_key": pin, "identity": "mallory"}])
    forged = certificate_of("admin", sans=[x509.DNSName("admin.contoso.com")], key=key)
    for certificate in (mallory, forged):
        found = identify(certificate, policy)
        assert isinstance(found, ClientIdentity)
        assert found.name == "mallory"
    with pytest.raises(ConfigurationError, match="not the names in the certificate"):
        Policy(public_keys=[pin], identity="{common_name}")


def test_name_of_one_policy_is_not_that_of_another(named: Policy) -> None:
    """A device whose common name is `admin` has no identity under the policy of the staff."""
    devices = CertificateAuthority("Device CA")
    admin = devices.issue("admin")
    authorizer = Authorizer(
        {
            "default": named,
            "devices": Policy(
                trust_anchors=devices.certificate_pem.decode(), identity="device:{common_name}"
            ),
        }
    )
    for _ in range(2):
        found = authorizer.identify(admin.header_value, policy="devices")
        assert (found.name, found.policy) == ("device:admin", "devices")
        assert authorizer.identify(admin.header_value, policy=None) == found
        with pytest.raises(CertificateDenied):
            authorizer.identify(admin.header_value)


# --- any certificate -----------------------------------------------------------------------------

NAMES = ["gw.contoso.com", "GW.contoso.com", "a.gw.contoso.com", "*.contoso.com", "admin", "a b"]
ADDRESSES = ["ops@contoso.com", "ops@CONTOSO.com", "Ops@contoso.com", "admin@fabrikam.com"]
URIS = ["spiffe://contoso/gw", "spiffe://contoso/gw/a", "spiffe://contoso/../gw", "urn:admin"]
COMMON = ["admin", "Admin", "admin ", "gw.contoso.com", "\uff41dmin", ""]
LISTS = {
    "common_name": ("common_names", ["admin", "gw.contoso.com"]),
    "dns_name": ("dns_names", ["gw.contoso.com", "*.gw.contoso.com", "admin"]),
    "uri": ("uris", ["spiffe://contoso/gw", "spiffe://contoso/*"]),
    "email_address": ("email_addresses", ["ops@contoso.com", "admin@fabrikam.com"]),
}


def matches(field: str, entry: str, value: str) -> bool:
    """Tell whether an entry allows a name, by a simple comparison."""
    if field == "dns_name":
        first, _, rest = value.lower().partition(".")
        wild = entry.startswith("*.") and "*" not in first and rest == entry[2:]
        return entry == value.lower() or wild
    if field == "uri":
        return entry == value or (entry.endswith("*") and value.startswith(entry[:-1]))
    if field == "email_address":
        mailbox, _, host = value.rpartition("@")
        return entry == f"{mailbox}@{host.lower()}"
    return entry == value


@given(
    common_names=st.lists(st.sampled_from(COMMON), max_size=2),
    dns_names=st.lists(st.sampled_from(NAMES), max_size=3),
    uris=st.lists(st.sampled_from(URIS), max_size=3),
    addresses=st.lists(st.sampled_from(ADDRESSES), max_size=3),
    field=st.sampled_from([*LISTS, "sha256_fingerprint"]),
    listed=st.dictionaries(st.sampled_from(list(LISTS)), st.integers(1, 3), max_size=2),
)
def test_templates_never_give_a_name_that_did_not_match(
    common_names: list[str],
    dns_names: list[str],
    uris: list[str],
    addresses: list[str],
    field: str,
    listed: dict[str, int],
) -> None:
    """A template gives only the one name that the certificate holds and the list allows."""
    certificate = certificate_of(
        *common_names,
        sans=[
            *map(x509.DNSName, dns_names),
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.RFC822Name, addresses),
        ],
    )
    allowed = {LISTS[name][0]: LISTS[name][1][:count] for name, count in listed.items()}
    policy = Policy(
        fingerprints=[certificate.sha256_fingerprint],
        identity=f"x:{{{field}}}:y",
        **allowed,
    )
    held = {
        "common_name": common_names if len(common_names) == 1 else [],
        "dns_name": [name.lower() for name in dns_names],
        "uri": uris,
        "email_address": addresses,
        "sha256_fingerprint": [certificate.sha256_fingerprint],
    }[field]
    entries = allowed.get(LISTS[field][0]) if field in LISTS else None
    taken = {
        name
        for name in held
        if entries is None
        or any(matches(field, entry, name) and ".." not in name for entry in entries)
    }
    found = identify(certificate, policy)
    if isinstance(found, ClientIdentity):
        [name] = taken
        assert found.name == f"x:{name}:y"
    elif found is DenialReason.NO_IDENTITY:
        assert len(taken) != 1 or why_no_name(*taken) is not None


# --- roles ---------------------------------------------------------------------------------------


@pytest.fixture
def authorizer(alice: IssuedCertificate) -> Authorizer:
    """Alice is accepted everywhere. Only the second alternative and `partners` grant a role."""
    pins = [alice.certificate.sha256_fingerprint]
    return Authorizer(
        {
            "partners": Policy(fingerprints=pins, roles=["admin"], identity="partner"),
            "default": [
                Policy(fingerprints=pins, roles=["orders"], identity="alice"),
                Policy(fingerprints=pins, roles=["admin"], identity="root"),
            ],
        }
    )


def forms(authorizer: Authorizer, value: str, **more: Any) -> list[Any]:
    """Return the verdicts of the eight methods: a name, or the reason of the denial."""
    environ = {"HTTP_X_ARR_CLIENTCERT": value}
    scope = {"headers": [(b"x-arr-clientcert", value.encode())]}
    pairs = [("X-ARR-ClientCert", value)]
    verdicts: list[Any] = []
    for what, request in (
        ("", value),
        ("_wsgi", environ),
        ("_asgi", scope),
        ("_headers", pairs),
    ):
        for verb in ("identify", "authorize"):
            try:
                found = getattr(authorizer, f"{verb}{what}")(request, **more)
            except CertificateDenied as denied:
                verdicts.append(denied.reason)
            else:
                verdicts.append(found.name if verb == "identify" else found.common_name)
    return verdicts


def test_role_is_checked_on_the_winner(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """A role is checked on the first alternative that accepts, and the search does not go on."""
    value = alice.header_value
    for _ in range(2):
        assert forms(authorizer, value, role="orders") == ["alice", "alice"] * 4
        assert forms(authorizer, value, role="admin") == [DenialReason.ROLE_NOT_GRANTED] * 8
        assert forms(authorizer, value, role=None) == ["alice", "alice"] * 4
        assert forms(authorizer, value, policy="partners", role="admin") == ["partner", "alice"] * 4


def test_role_does_not_depend_on_what_is_remembered(
    authorizer: Authorizer, alice: IssuedCertificate
) -> None:
    """With policy None the first policy that accepts decides, even if another one is remembered."""
    value = alice.header_value
    denied = [DenialReason.ROLE_NOT_GRANTED] * 8
    assert forms(authorizer, value, policy=None, role="admin") == denied
    authorizer.identify(value, policy="partners")
    assert forms(authorizer, value, policy=None, role="admin") == denied
    fresh = Authorizer({"partners": Policy(fingerprints=[PIN])})
    assert forms(fresh, value, policy=None, role="x") == [DenialReason.FINGERPRINT_NOT_ALLOWED] * 8


@pytest.mark.parametrize("role", ["", "Orders", "orders ", 7, ["orders"], True])
def test_role_is_compared_exactly(
    authorizer: Authorizer, alice: IssuedCertificate, role: Any
) -> None:
    """A role with another case, or a value that is not text, is never granted."""
    for _ in range(2):
        with pytest.raises(CertificateDenied) as caught:
            authorizer.identify(alice.header_value, role=role)
        assert caught.value.reason is DenialReason.ROLE_NOT_GRANTED


def test_denial_for_a_role(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The denial for a role names the client and its roles in one record, remembered or not."""
    for _ in range(2):
        caplog.clear()
        with pytest.raises(CertificateDenied) as caught:
            authorizer.identify_wsgi({"HTTP_X_ARR_CLIENTCERT": alice.header_value}, role="admin")
        denied = caught.value
        assert denied.reasons == (DenialReason.ROLE_NOT_GRANTED,)
        assert denied.certificate == alice.certificate
        assert denied.detail == (
            "the policy 'default' accepts 'alice', and grants the roles 'orders', not 'admin'"
        )
        [record] = caplog.records
        assert vars(record)["arrcert_identity"] == "alice"
        assert vars(record)["arrcert_reason"] == "role_not_granted"


def test_denial_for_a_role_without_an_identity(alice: IssuedCertificate) -> None:
    """The denial for a role describes a client without a name and without roles."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    with pytest.raises(CertificateDenied, match="accepts a client without an identity, and grants"):
        Authorizer({"default": policy}).identify(alice.header_value, role="admin")


def test_acceptance_names_the_identity(
    authorizer: Authorizer, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The DEBUG record of an acceptance holds the name, even if it is remembered."""
    with caplog.at_level("DEBUG", "arrcert"):
        authorizer.identify(alice.header_value)
        authorizer.identify(alice.header_value)
    records = [record for record in caplog.records if record.name == "arrcert"]
    assert [vars(record)["arrcert_identity"] for record in records] == ["alice"] * 2
    assert all("identity 'alice'" in record.getMessage() for record in records)


def test_other_denials_name_nobody(
    authorizer: Authorizer, caplog: pytest.LogCaptureFixture
) -> None:
    """A denial by the policy names no identity."""
    with pytest.raises(CertificateDenied):
        authorizer.identify(self_signed("alice").header_value)
    [record] = caplog.records
    assert vars(record)["arrcert_identity"] is None


def test_identity_is_immutable(authorizer: Authorizer, alice: IssuedCertificate) -> None:
    """An app cannot change the identity, not even for the next request."""
    found: Any = authorizer.identify(alice.header_value)
    with pytest.raises(AttributeError):
        found.name = "root"
    with pytest.raises(AttributeError):
        found.roles.add("admin")
    with pytest.raises(AttributeError):
        del found.name
    with pytest.raises(AttributeError):
        found.unknown = 1
    assert authorizer.identify(alice.header_value) is found


def test_identity_is_a_value(alice: IssuedCertificate, impostor: IssuedCertificate) -> None:
    """Identities with equal attributes are equal, hash alike, and can be copied and pickled."""
    values: Any = ("alice", frozenset({"orders"}), alice.certificate, "default", 1, "gateway")
    one, other = ClientIdentity(*values), ClientIdentity(*values, label="{common_name}")
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(other)) == one
    assert pickle.loads(pickle.dumps(other)).label == "{common_name}"
    assert copy.copy(one) == one
    for index, changed in enumerate(
        ("bob", frozenset(), impostor.certificate, "partners", 0, None)
    ):
        assert ClientIdentity(*values[:index], changed, *values[index + 1 :]) != one
    assert one != values
    assert (one == values) is False
    assert repr(one) == (
        f"ClientIdentity(name='alice', roles=frozenset({{'orders'}}),"
        f" certificate={alice.certificate!r}, policy='default', alternative=1, note='gateway')"
    )
