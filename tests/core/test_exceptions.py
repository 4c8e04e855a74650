"""Denials and configuration errors have plain attributes, and their text is safe to log."""

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
from arrcert.exceptions import Denial, Finding, quote
from arrcert.testing import self_signed


def test_every_exception_has_one_base_class() -> None:
    """Every exception of arrcert has one base class."""
    assert issubclass(CertificateDenied, ArrcertError)
    assert issubclass(ConfigurationError, ArrcertError)


# --- quote ---------------------------------------------------------------------------------------


def test_quote_cuts_what_is_long() -> None:
    """A text of more than 200 characters is cut, so that it does not fill the log."""
    assert len(quote("x" * 12_000)) < 250
    assert quote("x" * 200) == repr("x" * 200)
    assert quote("x" * 201) == repr("x" * 200) + "... (201 characters)"


def test_quote_takes_any_object() -> None:
    """An object that is not text is quoted as its `str()`."""
    assert quote(None) == "'None'"
    assert quote("a\n\\\u202e'") == r'''"a\n\\\u202e'"'''


# --- Problem, ConfigurationError -----------------------------------------------------------------


def test_configuration_error_lists_all_problems() -> None:
    """A configuration error with one mistake is one sentence, and with several it is a list."""
    first, second = Problem("A", "is wrong"), Problem("", "nothing is set")
    assert str(ConfigurationError([first])) == "A: is wrong"
    assert str(ConfigurationError([second])) == "nothing is set"
    assert str(ConfigurationError(iter([first, second]))) == (
        "2 mistakes in the configuration:\n  - A: is wrong\n  - nothing is set"
    )


def test_configuration_error_can_be_pickled() -> None:
    """A configuration error keeps its problems in another process."""
    error = ConfigurationError([Problem("A", "is wrong"), Problem("", "nothing is set")])
    loaded = pickle.loads(pickle.dumps(error))
    assert loaded.problems == error.problems
    assert str(loaded) == str(error)


# --- DenialReason --------------------------------------------------------------------------------


def test_reasons_are_stable_text() -> None:
    """A reason is its documented text, because alerts and runbooks compare it."""
    assert {reason.value for reason in DenialReason} == {
        "missing",
        "malformed",
        "too_large",
        "ambiguous",
        "insecure_transport",
        "not_through_front_end",
        "cross_site",
        "not_yet_valid",
        "expired",
        "fingerprint_not_allowed",
        "common_name_not_allowed",
        "alternative_name_not_allowed",
        "issuer_not_allowed",
        "untrusted",
        "wrong_usage",
        "weak_key",
        "revoked",
        "revocation_unknown",
        "no_identity",
        "role_not_granted",
        "misconfigured",
    }
    assert f"{DenialReason.EXPIRED}" == "expired"


# --- Finding, Denial, CertificateDenied ----------------------------------------------------------

BOTH = (DenialReason.UNTRUSTED, DenialReason.EXPIRED)


def test_denial_begins_with_a_finding() -> None:
    """A finding becomes a denial without a certificate and without reasons of alternatives."""
    finding = Finding(DenialReason.MISSING, "no header")
    assert Denial(*finding) == (DenialReason.MISSING, "no header", None, (), None, None)


def test_denial_becomes_an_exception_with_the_same_attributes() -> None:
    """The exception of a denial has the attributes of the denial."""
    certificate = self_signed("alice").certificate
    denied = Denial(DenialReason.EXPIRED, "late", certificate, BOTH).exception()
    assert (denied.reason, denied.detail) == (DenialReason.EXPIRED, "late")
    assert denied.certificate is certificate
    assert denied.reasons == BOTH


def test_attributes_exist_when_the_exception_is_made() -> None:
    """Every documented attribute is an ordinary attribute, and no other attribute exists."""
    denied = CertificateDenied(DenialReason.MISSING, "no header")
    assert vars(denied) == {
        "reason": DenialReason.MISSING,
        "detail": "no header",
        "certificate": None,
        "reasons": (DenialReason.MISSING,),
    }
    with pytest.raises(AttributeError, match="reasn"):
        denied.reasn  # noqa: B018 - The access is what raises.


def test_reasons_default_to_the_reason() -> None:
    """The default of `reasons` is a tuple with the one reason."""
    assert CertificateDenied(DenialReason.MISSING, "").reasons == (DenialReason.MISSING,)
    assert Denial(DenialReason.MISSING, "").exception().reasons == (DenialReason.MISSING,)


def test_denial_without_certificate_has_only_its_detail() -> None:
    """The text of a denial without a certificate is its reason and its detail."""
    assert str(CertificateDenied(DenialReason.MISSING, "no header")) == "missing: no header"
    assert str(Denial(DenialReason.MISSING, "no header")) == "missing: no header"


def test_text_of_a_denial_is_one_escaped_line() -> None:
    """A hostile name cannot end its log line, reorder the line on a screen, or hide characters.

    (Envoy CVE-2023-27493, Bouncy Castle CVE-2026-0636.)
    """
    certificate = self_signed("a\nb\x1b[31m\u202ec\ufe0f").certificate
    text = str(CertificateDenied(DenialReason.UNTRUSTED, "why", certificate=certificate))
    assert text.isprintable()
    assert text.startswith("untrusted: why (SHA-256 fingerprint ")
    assert certificate.sha256_fingerprint in text
    assert r"subject 'CN=a\nb\x1b[31m\u202ec\ufe0f'" in text
    assert r"issuer 'CN=a\nb\x1b[31m\u202ec\ufe0f'" in text
    assert str(Denial(DenialReason.UNTRUSTED, "why", certificate)) == text


def test_denial_survives_pickling_and_copying() -> None:
    """A denial keeps its attributes in a copy and in another process."""
    certificate = self_signed("alice").certificate
    denied = CertificateDenied(DenialReason.EXPIRED, "late", certificate=certificate, reasons=BOTH)
    denied.add_note("while the report was made")
    for other in (pickle.loads(pickle.dumps(denied)), copy.copy(denied), copy.deepcopy(denied)):
        assert type(other) is CertificateDenied
        assert vars(other) == vars(denied)
        assert other.reason is DenialReason.EXPIRED
        assert isinstance(other.certificate, ClientCertificate)
        assert str(other) == str(denied)
