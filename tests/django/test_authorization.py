"""Authorizing a request in code, and the authorizer of the current settings."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import path

from arrcert import CertificateDenied, ClientIdentity, ConfigurationError, DenialReason
from arrcert.testing import IssuedCertificate
from arrcert_django.authorization import (
    aauthorize_request,
    authorize_request,
    current_authorizer,
)

GUIDE = Path(__file__).parents[2] / "docs" / "django.md"


@pytest.fixture(params=["sync", "async"])
def authorize(request: Any) -> Any:
    """Return (a function that makes a request, `authorize_request` or its async form)."""
    if request.param == "sync":
        return RequestFactory().get, authorize_request

    def run(*arguments: Any, **named: Any) -> ClientIdentity:
        return asyncio.run(aauthorize_request(*arguments, **named))

    return AsyncRequestFactory().get, run


def test_accepted_client_is_returned_and_set_on_the_request(
    authorize: Any, allowed: IssuedCertificate
) -> None:
    """The identity is returned, is true, and is set on the request with its certificate."""
    make, authorize_now = authorize
    request = make("/", headers=allowed.headers)
    identity = authorize_now(request)
    assert identity
    assert (identity.policy, identity.certificate) == ("default", allowed.certificate)
    assert request.client_identity is identity
    assert request.client_certificate is identity.certificate


def test_denied_client_is_a_permission_denied(authorize: Any, partner: IssuedCertificate) -> None:
    """A denial raises PermissionDenied, which has no text and has the denial as its cause."""
    make, authorize_now = authorize
    request = make("/", headers=partner.headers)
    with pytest.raises(PermissionDenied) as caught:
        authorize_now(request)
    assert caught.value.args == ()
    assert isinstance(caught.value.__cause__, CertificateDenied)
    assert caught.value.__cause__.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
    assert getattr(request, "client_identity", None) is None
    assert authorize_now(request, policy="partners").policy == "partners"


def test_last_decision_counts(
    authorize: Any, settings: Any, allowed: IssuedCertificate, caplog: Any
) -> None:
    """After several decisions the request has the identity of the last one."""
    make, authorize_now = authorize
    settings.ARRCERT = settings.ARRCERT | {"also": settings.ARRCERT["default"]}
    request = make("/", headers=allowed.headers)
    for policy in ("default", "also", "default"):
        assert authorize_now(request, policy).policy == policy
        assert request.client_identity.policy == policy
    for _ in range(2):
        with pytest.raises(PermissionDenied):
            authorize_now(request, "partners")
    assert request.client_identity.policy == "default"
    assert len([record for record in caplog.records if record.name == "arrcert"]) == 1


def test_unknown_policy_denies(authorize: Any, allowed: IssuedCertificate) -> None:
    """A policy that does not exist denies as misconfigured."""
    make, authorize_now = authorize
    with pytest.raises(PermissionDenied) as caught:
        authorize_now(make("/", headers=allowed.headers), "parters")
    assert isinstance(caught.value.__cause__, CertificateDenied)
    assert caught.value.__cause__.reason is DenialReason.MISCONFIGURED


def test_a_view_authorizes_its_request_itself(
    site: Any, visit: Any, allowed: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """`authorize_request` in a view answers 403 to a stranger, without the middleware."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(authorize_request(request).certificate.common_name)

    site(path("", view), middleware=[])
    assert visit("/", allowed).content == b"client"
    assert visit("/", stranger).status_code == 403
    assert visit("/").status_code == 403


def test_hint_ends_the_record_of_a_denial(
    authorize: Any, allowed: IssuedCertificate, caplog: Any
) -> None:
    """A hint is part of the denial's detail and has no effect on an accepted request."""
    make, authorize_now = authorize
    authorize_now(make("/", headers=allowed.headers), hint="look here")
    assert not caplog.records
    with pytest.raises(PermissionDenied) as caught:
        authorize_now(make("/"), hint="look here")
    assert isinstance(caught.value.__cause__, CertificateDenied)
    assert caught.value.__cause__.detail.endswith("; look here")
    [record] = caplog.records
    assert "; look here" in record.message


def test_current_authorizer_follows_the_settings(
    settings: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """`current_authorizer` returns the authorizer of the settings at each call."""
    assert current_authorizer() is current_authorizer()
    assert current_authorizer().identify(allowed.header_value).policy == "default"
    with override_settings(ARRCERT={"default": settings.ARRCERT["partners"]}):
        assert current_authorizer().identify(partner.header_value).policy == "default"
    with override_settings(ARRCERT={}), pytest.raises(ConfigurationError):
        current_authorizer()


def test_handler_of_the_guide_answers_json_clients(
    site: Any, visit: Any, partner: IssuedCertificate
) -> None:
    """The handler in the guide answers in JSON exactly to clients that prefer it."""
    [block] = re.findall(r"```python\n([^`]*def handler403.*?)```", GUIDE.read_text(), re.DOTALL)
    urls: dict[str, Any] = {}
    exec(block, urls)

    def view(request: HttpRequest) -> HttpResponse:
        raise AssertionError("not reached")

    site(path("known", view), handler403=urls["handler403"])
    for accept, is_json in (
        ("application/json", True),
        ("application/json, text/html;q=0.5", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("*/*", False),
        ("image/png", False),
    ):
        for url, who in (("/known", None), ("/unknown", None), ("/known", partner)):
            answer = visit(url, who, Accept=accept)
            assert answer.status_code == 403
            assert (answer.content == b'{"detail": "Forbidden"}') == is_json
            assert answer["Content-Type"].startswith("application/json") == is_json
