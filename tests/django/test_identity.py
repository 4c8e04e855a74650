"""The identity of a request in a Django site, and the roles that its views require."""

from __future__ import annotations

import re
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from arrcert import CertificateDenied, DenialReason
from arrcert.adapters import Requirement
from arrcert.testing import IssuedCertificate
from arrcert_django.authorization import aauthorize_request, authorize_request
from arrcert_django.decorators import authorize_certificate
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.signals import certificate_denied
from arrcert_django.urlconf import requirement_of

OURS = "arrcert_django.middleware.ClientCertificateMiddleware"


@pytest.fixture(autouse=True)
def _policies(settings: Any, allowed: IssuedCertificate, partner: IssuedCertificate) -> None:
    """Policies that accept both clients. `default` gives the partner the role `admin`."""
    settings.ARRCERT = {
        "default": {
            "fingerprints": [
                allowed.certificate.sha256_fingerprint,
                {
                    "fingerprint": partner.certificate.sha256_fingerprint,
                    "identity": "fabrikam",
                    "roles": ["admin"],
                },
            ],
            "identity": "user:{common_name}",
            "roles": ["orders"],
        },
        "partners": {"fingerprints": [partner.certificate.sha256_fingerprint], "roles": ["orders"]},
    }


def _who(request: Any) -> HttpResponse:
    identity = request.client_identity
    return HttpResponse(f"{identity.policy} {identity.name} {sorted(identity.roles)}")


async def _awho(request: Any) -> HttpResponse:
    return _who(request)


class _Page(ClientCertificateRequiredMixin, View):
    certificate_role = "admin"

    def get(self, request: Any) -> HttpResponse:
        return _who(request)


class _AsyncPage(ClientCertificateRequiredMixin, View):
    certificate_role = "admin"

    async def get(self, request: Any) -> HttpResponse:
        return _who(request)


@method_decorator(authorize_certificate(role="admin"), name="dispatch")
class _Decorated(View):
    def get(self, request: Any) -> HttpResponse:
        return _who(request)


VIEWS = {
    "function": authorize_certificate(role="admin")(_who),
    "async function": authorize_certificate(role="admin")(_awho),
    "mixin": _Page.as_view(),
    "async mixin": _AsyncPage.as_view(),
    "method_decorator": _Decorated.as_view(),
    "route": _Page.as_view(certificate_policy="default", certificate_role="admin"),
}


@pytest.mark.parametrize("middleware", [[OURS], []])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_asks_for_a_role(
    site: Any,
    visit: Any,
    view: str,
    middleware: list[str],
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """A client without the required role is a 403, with and without the middleware."""
    site(path("", VIEWS[view]), middleware=middleware)
    assert visit("/", partner).content == b"default fabrikam ['admin', 'orders']"
    assert visit("/", allowed).status_code == 403
    assert visit("/").status_code == 403
    assert visit("/", allowed, method="OPTIONS").status_code == 403


def test_a_view_without_a_role_says_who_entered(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """The identity of a view is the pin's, or else the policy's."""
    site(path("", _who))
    assert visit("/", allowed).content == b"default user:client ['orders']"
    assert visit("/", partner).content == b"default fabrikam ['admin', 'orders']"


def test_role_is_that_of_the_views_policy(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """A role that another policy grants does not count."""
    site(
        path("orders", authorize_certificate(policy="partners", role="orders")(_who)),
        path("admin", authorize_certificate(policy="partners", role="admin")(_who)),
    )
    assert visit("/orders", partner).content == b"partners None ['orders']"
    assert visit("/orders", allowed).status_code == 403
    assert visit("/admin", partner).status_code == 403


class _Answering:
    """A middleware that answers by itself."""

    def __init__(self, get_response: Any) -> None:
        pass

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("by itself")


def test_response_of_another_middleware_is_released_for_the_role(
    site: Any, visit_wsgi: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Another middleware's response is sent only to clients with the view's policy and role."""
    site(
        path("", authorize_certificate(role="admin")(_who)),
        path("open", _who),
        middleware=[OURS, f"{__name__}._Answering"],
    )
    assert visit_wsgi("/", partner).content == b"by itself"
    assert visit_wsgi("/", allowed).status_code == 403
    assert visit_wsgi("/open", allowed).content == b"by itself"


def test_role_is_checked_before_other_middleware_sees_the_view(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """The gate reads the role that the view names, also below another wrapper."""
    ran: list[str] = []

    def outer(view: Any) -> Any:
        @wraps(view)
        def wrapper(request: HttpRequest) -> Any:
            ran.append("outer")
            return view(request)

        return wrapper

    view = outer(authorize_certificate(role="admin")(_who))
    assert requirement_of(view, "GET") == Requirement("default", "admin")
    site(path("", view))
    assert visit("/", allowed).status_code == 403
    assert ran == []
    assert visit("/", partner).status_code == 200
    assert ran == ["outer"]


def test_a_denial_for_a_role_is_one_record_and_one_signal(
    site: Any, visit: Any, allowed: IssuedCertificate, caplog: Any
) -> None:
    """A denial for a role is one record and one signal, even if several parts check it."""
    seen: list[DenialReason] = []

    def receive(reason: DenialReason, **_: Any) -> None:
        seen.append(reason)

    def view(request: HttpRequest) -> HttpResponse:
        for role in ("admin", "admin"):
            with pytest.raises(PermissionDenied) as caught:
                authorize_request(request, role=role)
            assert isinstance(caught.value.__cause__, CertificateDenied)
        return _who(request)

    site(path("", view))
    certificate_denied.connect(receive)
    try:
        assert visit("/", allowed).content == b"default user:client ['orders']"
    finally:
        certificate_denied.disconnect(receive)
    assert seen == [DenialReason.ROLE_NOT_GRANTED]
    [record] = [record for record in caplog.records if hasattr(record, "arrcert_reason")]
    assert record.arrcert_identity == "user:client"


def test_a_denial_by_the_policy_holds_for_every_role(partner: IssuedCertificate) -> None:
    """After a denial by a policy, the request has no role under that policy."""
    request = RequestFactory().get("/")
    with pytest.raises(PermissionDenied) as first:
        authorize_request(request, role="admin")
    request.META.update(RequestFactory().get("/", headers=partner.headers).META)
    for role in (None, "orders", "admin"):
        with pytest.raises(PermissionDenied) as caught:
            authorize_request(request, role=role)
        assert caught.value.__cause__ is first.value.__cause__


def test_a_denial_for_a_role_holds_for_that_role_alone(allowed: IssuedCertificate) -> None:
    """A denial for one role does not deny the request for other roles."""
    request = RequestFactory().get("/", headers=allowed.headers)
    with pytest.raises(PermissionDenied):
        authorize_request(request, role="admin")
    assert authorize_request(request).name == "user:client"
    assert authorize_request(request, role="orders").name == "user:client"
    with pytest.raises(PermissionDenied):
        authorize_request(request, role="admin")


@pytest.mark.parametrize("role", ["", 7, ["admin"]])
def test_a_role_that_is_no_name_is_a_type_error(role: Any) -> None:
    """A role that is not a name is a TypeError where the decorator or the mixin is made."""
    with pytest.raises(TypeError, match="role is"):
        authorize_certificate(role=role)
    with pytest.raises(TypeError, match="role is"):
        _Page.as_view(certificate_role=role)
    with pytest.raises(TypeError, match="role is"):
        authorize_request(RequestFactory().get("/"), role=role)


def test_async_form_asks_for_a_role(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """`aauthorize_request` accepts the argument `role`."""

    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse((await aauthorize_request(request, "default", "admin")).name or "")

    site(path("", view))
    assert visit("/", partner).content == b"fabrikam"
    assert visit("/", allowed).status_code == 403


def test_views_of_the_guide(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """The Django code of docs/identity.md asks for the role `orders`."""
    guide = (Path(__file__).parents[2] / "docs" / "identity.md").read_text(encoding="utf-8")
    [code] = [
        block
        for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
        if "arrcert_django" in block
    ]
    held: dict[str, Any] = {"__name__": __name__}
    exec(compile(code, "docs/identity.md", "exec"), held)
    site(path("function", held["orders"]), path("class", held["Orders"].as_view()))
    for address in ("/function", "/class"):
        assert visit(address, allowed).content == b'{"from": "user:client"}'
        assert visit(address).status_code == 403
    with override_settings(ARRCERT={"default": {"fingerprints": ["A" * 64], "roles": ["other"]}}):
        assert visit("/class", partner).status_code == 403
