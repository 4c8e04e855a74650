"""Denials and configuration errors say what they must, safely."""

from __future__ import annotations

import copy
import pickle

import pytest

from arrcert import (
    ArrcertError,
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Problem,
)
from arrcert.exceptions import quote
from arrcert.testing import self_signed


def test_everything_we_raise_has_one_root() -> None:
    """A caller can catch all of arrcert by one name."""
    assert issubclass(CertificateDenied, ArrcertError)
    assert issubclass(ConfigurationError, ArrcertError)


def test_reasons_are_stable_text() -> None:
    """A reason is its documented text, since alerts and runbooks compare it."""
    assert {reason.value for reason in DenialReason} == {
        "missing",
        "malformed",
        "too_large",
        "ambiguous",
        "insecure_transport",
        "not_yet_valid",
        "expired",
        "fingerprint_not_allowed",
        "common_name_not_allowed",
        "issuer_not_allowed",
        "untrusted",
        "wrong_usage",
        "weak_key",
        "revoked",
        "revocation_unknown",
        "misconfigured",
    }
    assert f"{DenialReason.EXPIRED}" == "expired"


def test_text_of_a_denial_is_one_escaped_line() -> None:
    """A hostile name cannot break out of its log line or reorder it on a screen.

    (Envoy CVE-2023-27493, Bouncy Castle CVE-2026-0636.)
    """
    certificate = self_signed("a\nb\x1b[31m\u202ec").certificate
    text = str(CertificateDenied(DenialReason.UNTRUSTED, "why", certificate=certificate))
    assert text.isprintable()
    assert text.startswith("untrusted: why (SHA-256 fingerprint ")
    assert certificate.sha256_fingerprint in text
    assert r"a\nb\x1b[31m\u202ec" in text


def test_denial_without_certificate_has_only_its_detail() -> None:
    """Where nothing could be parsed the text is reason and detail."""
    assert str(CertificateDenied(DenialReason.MISSING, "no header")) == "missing: no header"


def test_reasons_default_to_the_reason() -> None:
    """Before any alternative is tried, `reasons` holds the one reason."""
    assert CertificateDenied(DenialReason.MISSING, "").reasons == (DenialReason.MISSING,)


def test_denial_survives_pickling() -> None:
    """A denial can cross a process boundary, as error reporters and test runners make it."""
    certificate = self_signed("alice").certificate
    denied = CertificateDenied(
        DenialReason.EXPIRED,
        "late",
        certificate=certificate,
        reasons=(DenialReason.UNTRUSTED, DenialReason.EXPIRED),
    )
    copy = pickle.loads(pickle.dumps(denied))
    assert (copy.reason, copy.detail, copy.reasons) == (
        denied.reason,
        denied.detail,
        denied.reasons,
    )
    assert isinstance(copy.certificate, ClientCertificate)
    assert copy.certificate == certificate


def test_configuration_error_lists_all_problems() -> None:
    """One mistake is one sentence; several are a list."""
    first, second = Problem("A", "is wrong"), Problem("", "nothing is set")
    assert str(ConfigurationError([first])) == "A: is wrong"
    assert str(ConfigurationError([first, second])) == (
        "2 mistakes in the configuration:\n  - A: is wrong\n  - nothing is set"
    )
    assert pickle.loads(pickle.dumps(ConfigurationError([first, second]))).problems == (
        first,
        second,
    )


def test_quote_cuts_what_is_long() -> None:
    """A name of kilobytes does not fill the log."""
    assert len(quote("x" * 12_000)) < 250
    assert quote("x" * 200) == repr("x" * 200)
    assert "(201 characters)" in quote("x" * 201)


def test_a_denial_is_explained_when_somebody_asks() -> None:
    """Nothing is worked out before, and nothing twice; then it is as any other denial."""
    explained: list[CertificateDenied] = []
    certificate = self_signed("alice").certificate

    def explain() -> CertificateDenied:
        denied = CertificateDenied(
            DenialReason.EXPIRED,
            "late",
            certificate=certificate,
            reasons=(DenialReason.UNTRUSTED, DenialReason.EXPIRED),
        )
        explained.append(denied)
        return denied

    denied = CertificateDenied.explained_by(explain)
    denied.locate("there")
    assert not explained
    assert denied.reason is DenialReason.EXPIRED
    assert denied.detail == "there: late"
    assert denied.certificate is certificate
    assert denied.reasons == (DenialReason.UNTRUSTED, DenialReason.EXPIRED)
    assert len(explained) == 1
    assert str(pickle.loads(pickle.dumps(denied))) == str(denied)
    assert str(copy.deepcopy(denied)) == str(denied)
    with pytest.raises(AttributeError, match="no attribute reasn"):
        denied.reasn  # noqa: B018


def test_where_a_fault_was_found_stands_before_the_detail() -> None:
    """A denial in words is located too."""
    denied = CertificateDenied(DenialReason.MALFORMED, "broken")
    denied.locate("the header")
    assert str(denied) == "malformed: the header: broken"
