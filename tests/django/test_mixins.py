from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import AsyncRequestFactory, RequestFactory
from django.urls import path
from django.utils.decorators import classonlymethod
from django.views import View

from arrcert.testing import IssuedCertificate
from arrcert_django.mixins import ClientCertificateRequiredMixin


class _Report(ClientCertificateRequiredMixin, View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse(request.client_certificate.common_name)


class _AsyncReport(ClientCertificateRequiredMixin, View):
    async def get(self, request: Any) -> HttpResponse:
        return HttpResponse(request.client_certificate.common_name)


class _PartnerReport(_Report):
    certificate_policy = "partners"


class _AsyncPartnerReport(_AsyncReport):
    certificate_policy = "partners"


BOTH_WAYS = pytest.mark.parametrize("middleware", [True, False])


def _middleware(on: bool) -> dict[str, Any]:
    return {} if on else {"middleware": []}


@pytest.mark.parametrize("view_class", [_Report, _AsyncReport])
@BOTH_WAYS
def test_the_default_policy_is_asked_for(
    site: Any,
    visit: Any,
    view_class: Any,
    middleware: bool,
    allowed: IssuedCertificate,
    stranger: IssuedCertificate,
) -> None:
    """A class with the mixin is checked under "default"."""
    site(path("", view_class.as_view()), **_middleware(middleware))
    assert visit("/", allowed).content == b"client"
    assert visit("/", stranger).status_code == 403
    assert visit("/").status_code == 403


@pytest.mark.parametrize("view_class", [_PartnerReport, _AsyncPartnerReport])
@BOTH_WAYS
def test_a_class_names_its_policy(
    site: Any,
    visit: Any,
    view_class: Any,
    middleware: bool,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """`certificate_policy` replaces "default", with and without the middleware."""
    site(path("", view_class.as_view()), **_middleware(middleware))
    assert visit("/", partner).content == b"partner"
    assert visit("/", allowed).status_code == 403


@pytest.mark.parametrize("view_class", [_Report, _AsyncReport])
@BOTH_WAYS
def test_a_route_names_its_policy(
    site: Any,
    visit: Any,
    view_class: Any,
    middleware: bool,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """`as_view(certificate_policy=...)` sets the policy of one route."""
    site(
        path("partners", view_class.as_view(certificate_policy="partners")),
        path("own", view_class.as_view()),
        **_middleware(middleware),
    )
    assert visit("/partners", partner).status_code == 200
    assert visit("/partners", allowed).status_code == 403
    assert visit("/own", allowed).status_code == 200
    assert visit("/own", partner).status_code == 403


@pytest.mark.parametrize("view_class", [_Report, _AsyncReport])
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "DISPATCH"])
def test_no_method_is_free(site: Any, visit: Any, view_class: Any, method: str) -> None:
    """Django's automatic responses to OPTIONS, HEAD and other methods are protected too."""
    site(path("", view_class.as_view()), middleware=[])
    assert visit("/", method=method).status_code == 403


@pytest.mark.parametrize("view_class", [_Report, _AsyncReport])
def test_the_automatic_answers_reach_the_authorized(
    site: Any, visit: Any, view_class: Any, allowed: IssuedCertificate
) -> None:
    """An authorized client gets Django's automatic responses unchanged."""
    site(path("", view_class.as_view()), middleware=[])
    statuses = [visit("/", allowed, method=method).status_code for method in ("HEAD", "OPTIONS")]
    assert statuses == [200, 200]
    assert visit("/", allowed, method="POST").status_code == 405


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["early", "silent"])
def test_a_dispatch_that_works_first_is_protected(
    site: Any, visit: Any, middleware: bool, kind: str, allowed: IssuedCertificate
) -> None:
    """The check runs before a subclass's dispatch, even if that does not call super()."""
    ran: list[str] = []

    class Early(_Report):
        def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
            ran.append("early")
            if kind == "silent":
                return HttpResponse()
            return super().dispatch(request, *args, **kwargs)

    site(path("", Early.as_view()), **_middleware(middleware))
    assert visit("/").status_code == 403
    assert ran == []
    assert visit("/", allowed).status_code == 200
    assert ran == ["early"]


@pytest.mark.parametrize("method", ["setup", "__init__"])
def test_nothing_of_the_view_runs_before_the_check(site: Any, visit: Any, method: str) -> None:
    """The view object is not created for a denied request."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("not reached")

    guarded: Any = type("Guarded", (_Report,), {method: fail})
    site(path("", guarded.as_view()), middleware=[])
    assert visit("/").status_code == 403


def test_a_framework_s_base_view_before_the_mixin_s_is_protected(site: Any, visit: Any) -> None:
    """A view is protected even if a base class before the mixin does not call super()."""

    class ApiView(View):
        def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
            raise AssertionError("not reached")

    class Api(ApiView, _Report):
        pass

    site(path("", Api.as_view()), middleware=[])
    assert visit("/").status_code == 403


def test_dispatch_is_protected_without_as_view(allowed: IssuedCertificate) -> None:
    """A view that is created without as_view() has the same check, and a private response."""
    request = RequestFactory().get("/")
    view = _Report()
    view.setup(request)
    with pytest.raises(PermissionDenied):
        view.dispatch(request)
    request = RequestFactory().get("/", headers=allowed.headers)
    view.setup(request)
    response = view.dispatch(request)
    assert (response.status_code, response["Cache-Control"]) == (200, "private")


def test_async_dispatch_is_protected_without_as_view(allowed: IssuedCertificate) -> None:
    """An async view that is created without as_view() has the same check."""

    async def go() -> None:
        view: Any = _AsyncReport()
        request = AsyncRequestFactory().get("/")
        view.setup(request)
        with pytest.raises(PermissionDenied):
            await view.dispatch(request)
        request = AsyncRequestFactory().get("/", headers=allowed.headers)
        view.setup(request)
        response = await view.dispatch(request)
        assert (response.status_code, response["Cache-Control"]) == (200, "private")

    asyncio.run(go())


def test_a_sync_mixin_may_answer_for_an_async_view(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """Another mixin's sync dispatch may return a response for an async view."""

    class Answers(View):
        def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return HttpResponse("answered")

    class Report(ClientCertificateRequiredMixin, Answers):
        async def get(self, request: Any) -> HttpResponse:
            raise AssertionError("not reached")

    site(path("", Report.as_view()), middleware=[])
    assert visit("/", allowed).content == b"answered"


def test_the_view_is_still_the_class_s_view() -> None:
    """The protected view keeps view_class and view_initkwargs, and stays sync or async."""
    view: Any = _Report.as_view(certificate_policy="partners")
    assert view.view_class is _Report
    assert view.view_initkwargs == {"certificate_policy": "partners"}
    assert not iscoroutinefunction(view)
    assert iscoroutinefunction(_AsyncReport.as_view())


def test_listed_after_view_it_is_an_error() -> None:
    """A class that lists the mixin after View is an error, because the mixin would not run."""
    with pytest.raises(TypeError, match=r"Late lists ClientCertificateRequiredMixin after View"):

        class Late(View, ClientCertificateRequiredMixin):
            pass

    class Another(ClientCertificateRequiredMixin):
        pass

    with pytest.raises(TypeError, match="after View"):
        type("Later", (View, Another), {})


@pytest.mark.parametrize("name", ["certificate_policy", "certificate_role"])
def test_policy_that_the_mixin_would_hide_is_an_error(name: str) -> None:
    """A class may not inherit a policy or a role that the mixin's own value would replace."""
    base = type("Base", (View,), {name: "partners"})
    with pytest.raises(TypeError, match=f"Hidden inherits {name} from a class after"):
        type("Hidden", (ClientCertificateRequiredMixin, base), {})
    named = type("Named", (ClientCertificateRequiredMixin, base), {name: "partners"})
    below = type("Below", (named,), {})
    assert getattr(below, name) == "partners"


def test_a_policy_that_is_no_name_is_refused() -> None:
    """A policy that is not a name is an error when as_view() is called."""

    class Dynamic(_Report):
        certificate_policy = property(lambda self: "partners")

    with pytest.raises(TypeError, match="policy is"):
        Dynamic.as_view()
    with pytest.raises(TypeError, match="policy is"):
        _Report.as_view(certificate_policy=None)


def test_a_base_whose_as_view_takes_arguments(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """A base class's as_view() may take arguments and need not call View.as_view()."""

    class ViewSet(View):
        @classonlymethod
        def as_view(cls: Any, actions: dict[str, str], **initkwargs: Any) -> Any:
            def view(request: HttpRequest) -> Any:
                return getattr(cls(**initkwargs), actions[request.method.lower()])(request)

            return view

    class Reports(ClientCertificateRequiredMixin, ViewSet):
        def list(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("all")

    site(path("", Reports.as_view({"get": "list"})), middleware=[])
    assert visit("/").status_code == 403
    assert visit("/", allowed).content == b"all"


def test_as_view_refuses_what_django_refuses() -> None:
    """as_view() with an unknown keyword, or called on an instance, is an error."""
    with pytest.raises(TypeError, match="certificate_polcy"):
        _Report.as_view(certificate_polcy="partners")
    with pytest.raises(AttributeError, match="only on the class"):
        _Report().as_view()


def test_a_subclass_that_composes_another_view_is_checked_by_both(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """If a view calls a view with another policy, both policies must accept the request."""

    class Outer(_Report):
        def get(self, request: Any) -> HttpResponse:
            view: Any = _PartnerReport.as_view()
            response: HttpResponse = view(request)
            return response

    site(path("", Outer.as_view()))
    assert visit("/", allowed).status_code == 403
    assert visit("/", partner).status_code == 403
