"""Authorizing a request in code, and the authorizer of the current settings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.urls import path

from arrcert import Authorizer, CertificateDenied, ConfigurationError, DenialReason
from arrcert.testing import IssuedCertificate
from arrcert_django.authorization import (
    aauthorize_request,
    authorize_request,
    current_authorizer,
)


def test_a_request_is_authorized_in_code(allowed: IssuedCertificate) -> None:
    """`authorize_request` returns who entered and sets both attributes of the request."""
    request: Any = RequestFactory().get("/", headers=allowed.headers)
    identity = authorize_request(request)
    assert identity
    assert identity.certificate == allowed.certificate
    assert request.client_identity is identity
    assert request.client_certificate == allowed.certificate


def test_an_async_request_is_authorized_in_code(allowed: IssuedCertificate) -> None:
    """`aauthorize_request` does the same in an event loop."""
    request: Any = AsyncRequestFactory().get("/", headers=allowed.headers)
    identity = asyncio.run(aauthorize_request(request))
    assert identity.certificate == allowed.certificate
    assert request.client_identity is identity


def test_code_names_a_policy(allowed: IssuedCertificate, partner: IssuedCertificate) -> None:
    """Both functions decide under the policy that they are given."""
    request = RequestFactory().get("/", headers=partner.headers)
    assert authorize_request(request, "partners").policy == "partners"
    with pytest.raises(PermissionDenied):
        authorize_request(RequestFactory().get("/", headers=allowed.headers), "partners")
    asked = AsyncRequestFactory().get("/", headers=partner.headers)
    assert asyncio.run(aauthorize_request(asked, "partners")).policy == "partners"


def test_a_denial_in_code_has_its_cause(stranger: IssuedCertificate) -> None:
    """Both functions raise `PermissionDenied`, and its cause is the `CertificateDenied`."""
    with pytest.raises(PermissionDenied) as sync:
        authorize_request(RequestFactory().get("/", headers=stranger.headers))
    request = AsyncRequestFactory().get("/", headers=stranger.headers)
    with pytest.raises(PermissionDenied) as asynchronous:
        asyncio.run(aauthorize_request(request))
    for caught in (sync, asynchronous):
        assert str(caught.value) == ""
        cause = caught.value.__cause__
        assert isinstance(cause, CertificateDenied)
        assert cause.reason is DenialReason.FINGERPRINT_NOT_ALLOWED


def test_a_view_authorizes_its_request_itself(
    site: Any, visit: Any, allowed: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """A view that calls `authorize_request` answers 403 to a stranger, without the middleware."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(authorize_request(request).certificate.common_name)

    site(path("", view), middleware=[])
    assert visit("/", allowed).content == b"client"
    assert visit("/", stranger).status_code == 403
    assert visit("/").status_code == 403


def test_the_current_authorizer_follows_the_settings(
    settings: Any, partner: IssuedCertificate
) -> None:
    """`current_authorizer` returns the authorizer of the settings as they are now."""
    first = current_authorizer()
    assert isinstance(first, Authorizer)
    assert current_authorizer() is first
    settings.ARRCERT = {"default": {"fingerprints": [partner.certificate.sha256_fingerprint]}}
    text = partner.headers["X-ARR-ClientCert"]
    assert current_authorizer().authorize(text) == partner.certificate


def test_mistakes_in_the_settings_are_raised(settings: Any) -> None:
    """`current_authorizer` raises `ConfigurationError` while the settings have mistakes."""
    settings.ARRCERT = {"default": {"fingerprints": ["short"]}}
    with pytest.raises(ConfigurationError, match="fingerprints"):
        current_authorizer()
