"""System checks of exemptions that have no effect, and of roles that no policy grants."""

from __future__ import annotations

from typing import Any

import ninja
import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from rest_framework.decorators import api_view

from arrcert.testing import IssuedCertificate
from arrcert_django.decorators import authorize_certificate, certificate_exempt
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.rest_framework import HasClientCertificate
from arrcert_django.routes import report
from arrcert_django.view_checks import check_exempt_paths, check_exempt_views, check_roles


def _plain(request: HttpRequest, **_: Any) -> HttpResponse:
    return HttpResponse("in")


def _view(name: str) -> Any:
    """Return a new view with a name."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")

    view.__qualname__ = view.__name__ = name
    return view


class _OnGet(View):
    @certificate_exempt
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")

    @method_decorator(never_cache)
    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


class _BelowOnGet(View):
    @method_decorator(never_cache)
    @certificate_exempt
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


class _OnDispatch(View):
    @method_decorator(never_cache)
    @certificate_exempt
    def dispatch(self, request: HttpRequest, *_: Any, **more: Any) -> Any:
        return HttpResponse("in")


class _Plain(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


def _operation() -> Any:
    """Return the URLs of a django-ninja API with one operation."""
    api = ninja.NinjaAPI(urls_namespace="view-checks")

    @api.get("/")
    @certificate_exempt
    def operation(request: HttpRequest) -> str:
        return "in"

    return api.urls


def test_a_mark_without_effect_is_a_warning(site: Any, visit_wsgi: Any) -> None:
    """A mark below a decorator or on a method is reported, and exempts nothing."""
    marked = certificate_exempt(_view("get"))
    site(
        path("csrf", csrf_exempt(certificate_exempt(_view("csrf")))),
        path(
            "deep/",
            include([path("get", require_GET(never_cache(marked)))]),
        ),
        path("as", csrf_exempt(certificate_exempt(_Plain.as_view()))),
        path("on", _OnGet.as_view()),
        path("below", _BelowOnGet.as_view()),
        path("dispatch", _OnDispatch.as_view()),
        path("api", api_view(["GET"])(certificate_exempt(_view("api")))),
        path("ninja/", _operation()),
        path("top", certificate_exempt(csrf_exempt(_view("top")))),
        path("both", certificate_exempt(csrf_exempt(certificate_exempt(_view("both"))))),
        path("class", certificate_exempt(_OnGet.as_view())),
        path("named", authorize_certificate(certificate_exempt(_view("named")))),
        path("plain", csrf_exempt(_view("plain"))),
    )
    messages = check_exempt_views()
    assert {message.id for message in messages} == {"arrcert.W010"}
    found = {
        (message.msg.removeprefix(f"The view {__name__}."), str(message.hint).partition(".")[0])
        for message in messages
    }
    mark, lost = " is marked with certificate_exempt ", ", so the mark has no effect."
    top = "Move certificate_exempt to the top: it must be the outermost decorator"
    as_view = "In the URLconf, write certificate_exempt(TheView"
    assert found == {
        (f"csrf{mark}below another decorator{lost}", top),
        (f"get{mark}below another decorator{lost}", top),
        (f"_Plain{mark}below another decorator{lost}", top),
        (f"_OnGet{mark}on get(){lost}", as_view),
        (f"_BelowOnGet{mark}on get(){lost}", as_view),
        (f"_OnDispatch{mark}on dispatch(){lost}", as_view),
        (f"api{mark}below another decorator{lost}", top),
        (
            f"_operation.<locals>.operation{mark}below the decorator of django-ninja{lost}",
            "Write the path into ARRCERT_EXEMPT_PATHS",
        ),
    }
    for where in ("csrf", "deep/get", "as", "on", "below", "dispatch", "api", "ninja/"):
        assert visit_wsgi(f"/{where}").status_code == 403, where
    for where in ("top", "both", "class"):
        assert visit_wsgi(f"/{where}").status_code == 200, where


def test_a_mark_is_not_reported_without_the_site_wide_check(site: Any, settings: Any) -> None:
    """If only decorated views are protected, or the settings are wrong, no mark is reported."""
    site(path("csrf", csrf_exempt(certificate_exempt(_view("csrf")))), middleware=[])
    assert check_exempt_views() == []
    settings.ARRCERT_PROTECT_ALL = True
    assert len(check_exempt_views()) == 1
    settings.ARRCERT = {}
    assert check_exempt_views() == check_exempt_paths() == check_roles() == []


def test_an_exempt_path_with_the_wrong_slash_is_a_warning(site: Any) -> None:
    """An exempt path that only the other final slash would match is reported, also by the audit."""
    site(
        path("health", _plain),
        path("ready/", _plain),
        path("", _plain),
        re_path("^files/(?P<name>.*)$", _plain),
        ARRCERT_EXEMPT_PATHS=[
            "/",
            "/health/",
            "/ready",
            "/ready/",
            "/static/*",
            "/health/*",
            "/other",
            "/files",
        ],
    )
    messages = check_exempt_paths()
    assert {message.id for message in messages} == {"arrcert.W011"}
    assert [message.msg for message in messages] == [
        "ARRCERT_EXEMPT_PATHS: /files matches no route, and /files/ does; write /files/, or"
        " /files/* for every path below it.",
        "ARRCERT_EXEMPT_PATHS: /health/ matches no route, and /health does; write /health.",
        "ARRCERT_EXEMPT_PATHS: /ready matches no route, and /ready/ does; write /ready/, or"
        " /ready/* for every path below it.",
    ]
    assert report().mistakes == [message.msg.rstrip(".") for message in messages]


class _Report(ClientCertificateRequiredMixin, View):
    certificate_role = "reports"


def test_a_role_that_no_policy_grants_is_a_warning(
    site: Any, settings: Any, allowed: IssuedCertificate
) -> None:
    """A role counts as granted if the policy, an alternative or a pin grants it."""
    pin = {"fingerprint": allowed.certificate.sha256_fingerprint, "identity": "a"}
    settings.ARRCERT["default"] = [
        {"fingerprints": ["AB" * 32], "roles": ["orders"]},
        {"fingerprints": [pin | {"roles": ["refunds"]}], "identity": "b"},
    ]

    @api_view(["GET"])
    def rest(request: Any) -> Any:
        raise AssertionError("not reached")

    rest.cls.permission_classes = [HasClientCertificate("partners", role="orders")]
    site(
        path("a", authorize_certificate(role="orders")(_view("a"))),
        path("b", authorize_certificate(role="refunds")(_view("b"))),
        path("c", authorize_certificate(role="ordres")(_view("c"))),
        path("d", authorize_certificate(policy="nobody", role="ordres")(_view("d"))),
        path("e", authorize_certificate(_view("e"))),
        path("report", _Report.as_view()),
        path("rest", rest),
    )
    messages = check_roles()
    assert {message.id for message in messages} == {"arrcert.W012"}
    assert [message.msg.partition(" requires the role ")[2] for message in messages] == [
        "'ordres', which the policy 'default' does not grant; did you mean 'orders'?",
        "'reports', which the policy 'default' does not grant; it grants 'orders', 'refunds'.",
        "'orders', which the policy 'partners' does not grant; it grants no role.",
    ]


@pytest.mark.parametrize("check", [check_exempt_views, check_exempt_paths, check_roles])
def test_a_urlconf_that_fails_is_not_reported_twice(settings: Any, check: Any) -> None:
    """Django's own checks report a broken URLconf."""
    settings.ROOT_URLCONF = "there.is.no.such.urlconf"
    settings.ARRCERT_EXEMPT_PATHS = ["/health"]
    assert check() == []
