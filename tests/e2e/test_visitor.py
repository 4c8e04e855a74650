"""The sample sites' text about a visitor, tested without the sites."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from arrcert import Authorizer, ClientIdentity, Policy
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

SAMPLE_SITES = Path(__file__).resolve().parents[2] / "sample_sites"
_spec = importlib.util.spec_from_file_location(
    "sample_sites_visitor", SAMPLE_SITES / "flask_site/visitor.py"
)
visitor: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = visitor
_spec.loader.exec_module(visitor)


@pytest.mark.parametrize("folder", ["django_site/mtls_site", "fastapi_site/mtls_app"])
def test_the_sites_show_the_same(folder: str) -> None:
    """The module about visitors is the same file in each site."""
    assert (
        Path(visitor.__file__).read_bytes() == (SAMPLE_SITES / folder / "visitor.py").read_bytes()
    )


def entered(issued: IssuedCertificate, policies: dict[str, list[Policy]]) -> ClientIdentity:
    """Return the identity under the policy `default`."""
    return Authorizer(policies).identify(issued.header_value)


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """The CA of the clients."""
    return CertificateAuthority("Contoso Issuing CA")


@pytest.mark.parametrize(
    ("days", "urgency", "advice"),
    [
        (300, "good", "enough time"),
        (30, "good", "enough time"),
        (29, "soon", "renew soon"),
        (7, "soon", "renew soon"),
        (6, "bad", "renew now"),
        (0, "bad", "renew now"),
    ],
)
def test_scale_of_the_days_left(days: int, urgency: str, advice: str) -> None:
    """The days left have a colour and the same in words, and change at 30 and at 7 days."""
    end = datetime.now(UTC) + timedelta(days=days, hours=12)
    issued = self_signed("alice", not_after=end)
    pinned = Policy(fingerprints=[issued.certificate.sha256_fingerprint])
    shown = visitor.Visitor(entered(issued, {"default": [pinned]}))
    assert (shown.days_left, shown.urgency, shown.advice) == (days, urgency, advice)


def test_days_left_are_not_negative(authority: CertificateAuthority) -> None:
    """A certificate that is accepted after its end, by the clock skew, has 0 days left."""
    end = datetime.now(UTC) - timedelta(seconds=60)
    issued = authority.issue("alice", not_after=end)
    policy = Policy(fingerprints=[issued.certificate.sha256_fingerprint], clock_skew=300)
    shown = visitor.Visitor(entered(issued, {"default": [policy]}))
    assert (shown.days_left, shown.urgency) == (0, "bad")


def test_rules_for_everybody(authority: CertificateAuthority) -> None:
    """A visitor sees only the rules of the alternative that accepted."""
    bob = authority.issue("bob")
    policies = {
        "default": [
            Policy(fingerprints=["AB" * 32]),
            Policy(
                trust_anchors=authority.certificate_pem.decode(),
                common_names=["bob", "carol"],
                roles=["orders"],
            ),
        ],
        "others": [Policy(fingerprints=["CD" * 32])],
    }
    [section] = visitor.explained(entered(bob, policies), policies)
    assert (section.title, section.accepts) == ("default", True)
    assert {"common_names", "trust_anchors", "strong key"} <= {row.rule for row in section.rows}
    assert {(row.verdict, row.colour) for row in section.rows} == {("holds", "good")}
    assert not any(row.lines for row in section.rows)


def test_everything_for_operators(authority: CertificateAuthority) -> None:
    """An operator sees each alternative of each policy, with what was found and required."""
    alice = self_signed("alice")
    policies = {
        "default": [
            Policy(fingerprints=["AB" * 32]),
            Policy(fingerprints=[alice.certificate.sha256_fingerprint], roles=["operator"]),
        ],
        "partners": [
            Policy(
                trust_anchors=authority.certificate_pem.decode(),
                common_names=["bob"],
                crls=authority.revocation_list().decode(),
            )
        ],
    }
    sections = visitor.explained(entered(alice, policies), policies)
    assert [(section.title, section.accepts) for section in sections] == [
        ("default, alternative 1", False),
        ("default, alternative 2", True),
        ("partners", False),
    ]
    rows = {row.rule: row for row in sections[2].rows}
    assert rows["common_names"].verdict == "fails"
    assert rows["common_names"].lines == [
        "common_name_not_allowed: the common name 'alice' is not allowed",
        "wanted: 'bob'",
    ]
    assert (rows["revocation"].verdict, rows["revocation"].colour) == ("not judged", "unknown")
    assert (rows["strong key"].verdict, rows["strong key"].colour) == ("holds", "good")
    assert "secp256r1" in rows["strong key"].lines[0]


def test_settings_that_have_changed() -> None:
    """If the alternative or the policy no longer exists, nothing is shown and nothing fails."""
    alice = self_signed("alice")
    pinned = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    other = Policy(fingerprints=["AB" * 32])
    identity = entered(alice, {"default": [other, pinned]})
    assert visitor.explained(identity, {"default": [other]}) == []
    assert visitor.explained(identity, {"others": [other]}) == []
