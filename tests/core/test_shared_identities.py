"""The start warns if two rules can give one name to certificates of different issuers."""

from __future__ import annotations

from typing import Any

import pytest

from arrcert import Policy
from arrcert.settings import load
from arrcert.testing import CertificateAuthority

PIN, OTHER = "A" * 64, "B" * 64


@pytest.fixture(scope="module")
def staff() -> str:
    """The certificate of one CA."""
    return CertificateAuthority("Staff CA").certificate_pem.decode()


@pytest.fixture(scope="module")
def devices() -> str:
    """The certificate of another CA."""
    return CertificateAuthority("Device CA").certificate_pem.decode()


def warned(*policies: dict[str, Any]) -> list[str]:
    """Return the warnings about the identities of alternatives: the setting, the message."""
    settings = load({"ARRCERT": {"default": list(policies)}}, {"WEBSITE_SITE_NAME": "site"})
    found = settings.warnings()
    assert all('"identity"' in problem.setting for problem in found)
    return [str(problem) for problem in found]


def test_device_of_another_ca_can_be_called_admin(staff: str, devices: str) -> None:
    """The warning names both settings, and says how to add a prefix."""
    one = {"trust_anchors": staff, "identity": "{common_name}"}
    other = {"trust_anchors": devices, "identity": "{common_name}"}
    settings = load({"ARRCERT": {"default": one, "devices": other}}, {"WEBSITE_SITE_NAME": "site"})
    [problem] = settings.warnings()
    assert problem.setting == 'ARRCERT["devices"]["identity"]'
    assert problem.message == (
        '\'{common_name}\' and ARRCERT["default"]["identity"] can give the same name to'
        " certificates of different issuers; add a prefix that no other identity begins with, such"
        " as 'contoso:{common_name}'"
    )
    assert warned(one, {**other, "identity": "device:{common_name}"}, one)
    assert not warned(
        {**one, "identity": "staff:{common_name}"}, {**other, "identity": "device:{common_name}"}
    )


@pytest.mark.parametrize(
    ("one", "other", "can_share"),
    [
        ("{common_name}", "{dns_name}", True),
        ("{common_name}", "device:{common_name}", True),
        ("a:{common_name}", "b:{common_name}", False),
        ("a:{common_name}", "A:{common_name}", True),
        ("{common_name}@a", "{common_name}@b", False),
        ("{common_name}@a", "x-{common_name}@a", True),
        ("fabrikam", "{common_name}", True),
        ("Fabrikam", "fab{common_name}", True),
        ("fab", "fab{common_name}", False),
        ("contoso", "fab{common_name}", False),
        ("fabrikam", "FAB{common_name}", True),
        ("fabrikam", "{common_name}KAM", True),
        ("fabrikam", "fab{common_name}am", True),
        ("fabrikam", "fab{common_name}x", False),
        ("aba", "ab{common_name}ba", False),
        ("ab:{common_name}", "ab:x:{common_name}", True),
        ("{common_name}-abc", "{common_name}-abc", True),
        ("fabrikam", "fabrikam", False),
        ("{sha256_fingerprint}", "{sha256_fingerprint}", False),
        ("{sha256_fingerprint}", "fabrikam", False),
        ("{sha256_fingerprint}", "{common_name}", True),
        ("key:{sha256_fingerprint}", "name:{common_name}", False),
    ],
)
def test_which_templates_can_share_a_name(
    one: str, other: str, can_share: bool, staff: str, devices: str
) -> None:
    """The start warns if a client of one CA can choose a name that another rule gives."""
    first = {"trust_anchors": staff, "identity": one}
    second = {"trust_anchors": devices, "identity": other}
    assert bool(warned(first, second)) is can_share
    assert bool(warned(second, first)) is can_share


def test_lists_of_names_limit_what_a_template_gives(staff: str, devices: str) -> None:
    """Two disjoint lists give no shared name, and a pattern may match any name."""
    one = {"trust_anchors": staff, "identity": "{common_name}", "common_names": ["alice", "bob"]}
    other = {"trust_anchors": devices, "identity": "{common_name}"}
    assert warned(one, other)
    assert not warned(one, {**other, "common_names": ["carol"]})
    assert warned(one, {**other, "common_names": ["carol", "Bob"]})
    assert not warned(one, {**other, "identity": "carol"})
    assert warned(one, {**other, "identity": "alice"})
    assert warned(other, one)
    assert not warned({**other, "identity": "x:{common_name}"}, one)
    by_dns = {"trust_anchors": devices, "identity": "{dns_name}"}
    assert not warned(one, {**by_dns, "dns_names": ["gw.contoso.com"]})
    assert warned({**one, "common_names": ["gw.contoso.com"]}, {**by_dns, "dns_names": ["*.a.b"]})
    by_uri = {"trust_anchors": devices, "identity": "{uri}"}
    assert not warned(one, {**by_uri, "uris": ["urn:a"]})
    assert warned({**one, "common_names": ["urn:a"]}, {**by_uri, "uris": ["spiffe://a/*"]})
    by_email = {"trust_anchors": devices, "identity": "{email_address}"}
    assert not warned(one, {**by_email, "email_addresses": ["a@b.c"]})
    assert warned({**one, "common_names": ["a@b.c"]}, {**by_email, "email_addresses": ["a@B.c"]})


def test_pins_can_be_of_any_issuer(staff: str) -> None:
    """The identity of a pin is compared with templates, also within its own policy."""
    named = {"fingerprints": [{"fingerprint": PIN, "identity": "admin"}]}
    anchored = {"trust_anchors": staff, "identity": "{common_name}"}
    [message] = warned(named, anchored)
    assert 'ARRCERT["default"][1]["identity"]' in message
    assert 'ARRCERT["default"][0]["fingerprints"]' in message
    assert warned({**named, "identity": "{common_name}"})
    assert not warned({**named, "identity": "pin:{common_name}"})
    assert not warned(named, {**anchored, "common_names": ["alice"]})
    assert not warned(named, named)
    two = [*named["fingerprints"], {"fingerprint": OTHER, "identity": "x:root"}]
    for policies in (
        ({"fingerprints": two}, {**anchored, "identity": "x:{common_name}"}),
        ({**anchored, "identity": "x:{common_name}"}, {"fingerprints": two}),
    ):
        assert warned(*policies)
    listed = {**anchored, "common_names": ["x:root", "alice"]}
    assert warned({**anchored, "identity": "x:{dns_name}", "issuers": ["A"]}, listed)


def test_clients_of_one_issuer_are_no_mistake(staff: str, devices: str) -> None:
    """Two rules for one CA may give the same name, and `issuers` counts as the CA."""
    one = {"trust_anchors": staff, "identity": "{common_name}"}
    assert not warned(one, {**one, "roles": ["orders"]})
    assert not warned({**one, "issuers": ["A"]}, {**one, "issuers": ["A"]})
    assert warned({**one, "issuers": ["A"]}, {**one, "issuers": ["B"]})
    assert warned({**one, "issuers": ["A", "B"]}, {**one, "issuers": ["A", "B"]})
    both = {"trust_anchors": [staff, devices], "identity": "x:{common_name}", "issuers": ["A"]}
    assert warned(both, both)


def test_many_are_one_warning(staff: str, devices: str) -> None:
    """A template that shares names with many others is one warning with their number."""
    one = {"trust_anchors": staff, "identity": "{common_name}"}
    [message] = warned(
        *({"trust_anchors": devices, "identity": name} for name in ("a", "b", "c")), one
    )
    assert 'ARRCERT["default"][0]["identity"] (and 2 more) can give the same name' in message


def test_several_anchors_of_one_policy(staff: str, devices: str) -> None:
    """Two CAs of one policy can give one name, unless `issuers` names one of them."""
    parameters = {"trust_anchors": [staff, devices], "identity": "{common_name}"}
    [problem] = Policy(**parameters).warnings()
    assert problem.setting == "identity"
    assert "'contoso:{common_name}'" in problem.message
    assert Policy(**parameters, issuers=["A", "B"]).warnings()
    assert not Policy(**parameters, issuers=["Staff CA"]).warnings()
    assert not Policy(**{**parameters, "identity": "fabrikam"}).warnings()
    assert not Policy(**{**parameters, "trust_anchors": [staff, staff]}).warnings()
    assert not Policy(fingerprints=[PIN, OTHER], identity="{common_name}").warnings()
