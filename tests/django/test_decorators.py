from __future__ import annotations

import asyncio
import gc
import re
import weakref
from functools import partial, wraps
from io import BytesIO
from typing import Any, cast

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from arrcert import CertificateDenied, ConfigurationError, DenialReason
from arrcert.testing import IssuedCertificate
from arrcert_django.decorators import authorize_certificate, certificate_exempt


def _name(request: Any) -> HttpResponse:
    return HttpResponse(request.client_certificate.common_name)


async def _aname(request: Any) -> HttpResponse:
    return HttpResponse(request.client_certificate.common_name)


def _public(request: HttpRequest) -> HttpResponse:
    return HttpResponse("public")


@pytest.mark.parametrize("view", [_name, _aname])
@pytest.mark.parametrize("decorate", [authorize_certificate, authorize_certificate()])
def test_the_bare_and_the_called_form_ask_for_the_default_policy(
    site: Any,
    visit: Any,
    view: Any,
    decorate: Any,
    allowed: IssuedCertificate,
    stranger: IssuedCertificate,
) -> None:
    """The decorator protects sync and async views, also without the middleware."""
    site(path("", decorate(view)), middleware=[])
    response = visit("/", allowed)
    assert (response.status_code, response.content) == (200, b"client")
    for who in (None, stranger):
        assert visit("/", who).status_code == 403


@pytest.mark.parametrize("view", [_name, _aname])
def test_a_view_names_its_policy(
    site: Any, visit: Any, view: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """`policy=` replaces "default", in the decorator and in a direct call."""
    site(
        path("one", authorize_certificate(policy="partners")(view)),
        path("two", authorize_certificate(view, policy="partners")),
        middleware=[],
    )
    for url in ("/one", "/two"):
        assert visit(url, partner).content == b"partner"
        assert visit(url, allowed).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "BREW"])
def test_no_method_is_free(site: Any, visit: Any, method: str) -> None:
    """OPTIONS, HEAD and unknown methods are checked like GET."""
    site(path("", authorize_certificate(_public)), middleware=[])
    assert visit("/", method=method).status_code == 403


@pytest.mark.parametrize("view", [_name, _aname])
def test_the_decorated_view_is_still_the_view(view: Any) -> None:
    """A decorated view keeps its name, and stays sync or async."""
    protected = authorize_certificate(view)
    assert protected.__name__ == view.__name__
    assert protected.__wrapped__ is view
    assert iscoroutinefunction(protected) is iscoroutinefunction(view)


def test_arguments_reach_the_view(site: Any, visit: Any, allowed: IssuedCertificate) -> None:
    """The view gets the arguments from the URL."""

    @authorize_certificate
    def view(request: HttpRequest, year: int) -> HttpResponse:
        return HttpResponse(str(year))

    site(path("<int:year>", view), middleware=[])
    assert visit("/2026", allowed).content == b"2026"


def test_a_denial_is_permission_denied_without_text(stranger: IssuedCertificate) -> None:
    """PermissionDenied has no text that a 403 page could show; its cause is the denial."""
    request = RequestFactory().get("/", headers=stranger.headers)
    with pytest.raises(PermissionDenied) as caught:
        authorize_certificate(_name)(request)
    assert caught.value.args == ()
    assert isinstance(caught.value.__cause__, CertificateDenied)
    assert caught.value.__cause__.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
    assert cast("Any", request).client_certificate is None


def test_a_403_page_that_shows_the_exception_shows_nothing(
    site: Any, visit: Any, stranger: IssuedCertificate
) -> None:
    """`{{ exception }}` in a 403.html is empty."""
    templates = {"403.html": "denied [{{ exception }}]"}
    loader = ("django.template.loaders.locmem.Loader", templates)
    site(
        path("", authorize_certificate(_name)),
        middleware=[],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {"loaders": [loader]},
            }
        ],
    )
    assert visit("/", stranger).content == b"denied []"


def test_a_handler_for_403_is_used_and_can_read_the_cause(site: Any, visit: Any) -> None:
    """handler403 makes the 403 page and can read the cause."""

    def handler(request: HttpRequest, exception: PermissionDenied) -> HttpResponse:
        assert isinstance(exception.__cause__, CertificateDenied)
        return HttpResponse("ours", status=403)

    site(path("", authorize_certificate(_name)), middleware=[], handler403=handler)
    response = visit("/")
    assert (response.status_code, response.content) == (403, b"ours")


def test_no_hook_lets_the_view_run(site: Any, visit: Any, stranger: IssuedCertificate) -> None:
    """A handler403 that returns a 200 does not let the view run.

    (authlib: an overridden error hook that returned let the view run.)
    """
    ran = []

    def secret(request: HttpRequest) -> HttpResponse:
        ran.append(True)
        return HttpResponse("the secret")

    def handler(request: HttpRequest, exception: PermissionDenied) -> HttpResponse:
        return HttpResponse("never mind")

    site(path("", authorize_certificate(secret)), middleware=[], handler403=handler)
    assert visit("/", stranger).content == b"never mind"
    assert not ran


def test_an_unknown_policy_denies_and_is_an_error_in_the_log(
    site: Any, visit: Any, allowed: IssuedCertificate, caplog: Any
) -> None:
    """A policy that does not exist denies every request and is an error in the log."""
    site(path("", authorize_certificate(policy="parnters")(_name)), middleware=[])
    assert visit("/", allowed).status_code == 403
    (record,) = [record for record in caplog.records if record.name == "arrcert"]
    assert record.levelname == "ERROR"
    assert "parnters" in record.message


def test_a_broken_configuration_denies_and_is_an_error_in_the_log(
    site: Any, visit: Any, allowed: IssuedCertificate, caplog: Any
) -> None:
    """With a mistake in the configuration, a view denies, and the site refuses to serve."""
    view = authorize_certificate(_name)
    site(path("", view), middleware=[], ARRCERT={})
    with pytest.raises(PermissionDenied):
        view(RequestFactory().get("/", headers=allowed.headers))
    (record,) = [record for record in caplog.records if record.name == "arrcert"]
    assert record.levelname == "ERROR"
    assert record.arrcert_reason == "misconfigured"
    assert "ARRCERT: " in record.message
    with pytest.raises(ConfigurationError, match=r"ARRCERT: '\{\}' is not a mapping"):
        visit("/", allowed)


def test_a_request_is_checked_once_for_each_policy(
    monkeypatch: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Policies A, B and A again are two decisions, and the last one sets the certificate."""
    from arrcert.authorizer import Authorizer

    asked: list[str] = []
    original = Authorizer.identify_wsgi

    def spy(self: Authorizer, environ: Any, policy: str, **more: Any) -> Any:
        asked.append(policy)
        return original(self, environ, policy, **more)

    monkeypatch.setattr(Authorizer, "identify_wsgi", spy)
    default = authorize_certificate(_name)
    partners = authorize_certificate(policy="partners")(_name)
    request = RequestFactory().get("/", headers=allowed.headers)
    entered = [default(request).content]
    request.META["HTTP_X_ARR_CLIENTCERT"] = partner.header_value
    entered += [partners(request).content, default(request).content]
    assert entered == [b"client", b"partner", b"client"]
    assert asked == ["default", "partners"]


def test_a_denied_request_stays_denied(allowed: IssuedCertificate, caplog: Any) -> None:
    """A denial is kept for the rest of the request, and is decided and logged once."""
    request = RequestFactory().get("/")
    causes = []
    for headers in ({}, allowed.headers):
        request.META.update(RequestFactory().get("/", headers=headers).META)
        with pytest.raises(PermissionDenied) as caught:
            authorize_certificate(_name)(request)
        causes.append(caught.value.__cause__)
    assert causes[0] is causes[1]
    assert len([record for record in caplog.records if record.name == "arrcert"]) == 1
    with pytest.raises(PermissionDenied):
        authorize_certificate(policy="partners")(_name)(request)
    assert len([record for record in caplog.records if record.name == "arrcert"]) == 2


def test_two_decorators_are_two_demands(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Several decorators on a view must all accept the request, in any order."""
    site(
        path("a", authorize_certificate(authorize_certificate(policy="partners")(_name))),
        path("b", authorize_certificate(policy="partners")(authorize_certificate(_name))),
        middleware=[],
    )
    for url in ("/a", "/b"):
        for who in (allowed, partner):
            assert visit(url, who).status_code == 403


def test_the_decorator_follows_override_settings(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """The decorator uses the settings at the time of the request."""
    site(path("", authorize_certificate(_name)), middleware=[])
    assert visit("/", partner).status_code == 403
    pinned = {"fingerprints": [partner.certificate.sha256_fingerprint]}
    with override_settings(ARRCERT={"default": pinned}):
        assert visit("/", partner).status_code == 200
    assert visit("/", partner).status_code == 403


def test_a_certificate_in_a_look_alike_header_is_denied(allowed: IssuedCertificate) -> None:
    """Under ASGI the scope is checked, because it keeps header names that META merges."""
    pairs = [(b"x_arr_clientcert", allowed.header_value.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": pairs}
    request = ASGIRequest(scope, BytesIO())
    with pytest.raises(PermissionDenied) as caught:
        authorize_certificate(_name)(request)
    assert isinstance(caught.value.__cause__, CertificateDenied)
    assert caught.value.__cause__.reason is DenialReason.AMBIGUOUS


def test_a_site_s_own_scope_on_a_wsgi_request_is_not_taken_for_asgi(
    allowed: IssuedCertificate,
) -> None:
    """`request.scope` on a WSGI request belongs to another app and is ignored."""
    forged = [(b"x-arr-clientcert", allowed.header_value.encode())]
    request: Any = RequestFactory().get("/")
    request.scope = {"type": "http", "headers": forged}
    with pytest.raises(PermissionDenied):
        authorize_certificate(_name)(request)
    request = RequestFactory().get("/", headers=allowed.headers)
    request.scope = "read write"
    assert authorize_certificate(_name)(request).content == b"client"


def test_a_bare_http_request_is_denied() -> None:
    """A request without any server data is denied."""
    with pytest.raises(PermissionDenied):
        authorize_certificate(_name)(HttpRequest())


class _OnDispatch(View):
    @method_decorator(authorize_certificate)
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: Any) -> HttpResponse:
        return _name(request)


@method_decorator(authorize_certificate, name="dispatch")
class _NamedDispatch(View):
    def get(self, request: Any) -> HttpResponse:
        return _name(request)


@method_decorator([never_cache, authorize_certificate], name="dispatch")
class _AmongOthers(View):
    def get(self, request: Any) -> HttpResponse:
        return _name(request)


class _OnGet(View):
    @method_decorator(authorize_certificate())
    def get(self, request: Any) -> HttpResponse:
        return _name(request)


class _OnAsyncGet(View):
    @method_decorator(authorize_certificate)
    async def get(self, request: Any) -> HttpResponse:
        return _name(request)


class _Plain(View):
    def get(self, request: Any) -> HttpResponse:
        return _name(request)


@pytest.mark.parametrize(
    "view",
    [
        _OnDispatch.as_view(),
        _NamedDispatch.as_view(),
        _AmongOthers.as_view(),
        _OnGet.as_view(),
        _OnAsyncGet.as_view(),
        authorize_certificate(_Plain.as_view()),
        csrf_exempt(authorize_certificate(_Plain.as_view())),
        authorize_certificate(partial(_name)),
    ],
)
@pytest.mark.parametrize("middleware", [True, False])
def test_class_based_views_are_protected_in_django_s_own_ways(
    site: Any,
    visit: Any,
    view: Any,
    middleware: bool,
    allowed: IssuedCertificate,
    stranger: IssuedCertificate,
) -> None:
    """method_decorator and the result of as_view() protect a class-based view."""
    site(path("", view), **({} if middleware else {"middleware": []}))
    assert visit("/", allowed).content == b"client"
    assert visit("/", stranger).status_code == 403
    assert visit("/").status_code == 403


def test_classes_are_not_decorated() -> None:
    """Decorating a class is an error that says what to write."""
    with pytest.raises(TypeError, match=r"method_decorator.*ClientCertificateRequiredMixin"):
        authorize_certificate(_Plain)
    with pytest.raises(TypeError, match="method_decorator"):
        authorize_certificate(policy="partners")(_Plain)


def test_a_positional_policy_is_refused() -> None:
    """A positional policy is an error that says what to write."""
    with pytest.raises(TypeError, match=r"write @authorize_certificate\(policy='partners'\)"):
        authorize_certificate("partners")


@pytest.mark.parametrize("policy", ["", None, 1, ["partners"]])
def test_a_policy_is_a_name(policy: Any) -> None:
    """A policy that is not a name is an error at import, not at the first request."""
    with pytest.raises(TypeError, match="policy is"):
        authorize_certificate(policy=policy)


def test_what_cannot_be_called_is_refused() -> None:
    """Decorating an object that is not a view is an error."""
    for wrong, shown in ((1, "1"), (None, "None; check that the decorator below it returns")):
        for decorate in (authorize_certificate, authorize_certificate()):
            with pytest.raises(TypeError, match=f"decorates a view, not {shown}"):
                decorate(wrong)


def test_advice_repeats_the_arguments() -> None:
    """The error shows the decorator with the policy and the role that it was given."""
    decorate = authorize_certificate(policy="partners", role="orders")
    wanted = "@method_decorator(authorize_certificate(policy='partners', role='orders')"
    with pytest.raises(TypeError, match=re.escape(f'write {wanted}, name="dispatch")')):
        decorate(View)
    with pytest.raises(TypeError, match=re.escape(f"is a method; write {wanted})")):

        class Bare(View):
            @authorize_certificate(policy="partners", role="orders")
            def get(self, request: Any) -> HttpResponse:
                raise AssertionError("not reached")


def test_a_bare_method_is_refused() -> None:
    """Decorating a method without method_decorator is an error that says what to write."""
    with pytest.raises(TypeError, match=r"get is a method; write @method_decorator"):

        class Bare(View):
            @authorize_certificate
            def get(self, request: Any) -> HttpResponse:
                raise AssertionError("not reached")


def test_what_is_no_response_is_returned_as_it_is(allowed: IssuedCertificate) -> None:
    """A returned object that is not a response is passed on unchanged."""
    answer = object()
    request = RequestFactory().get("/", headers=allowed.headers)
    assert authorize_certificate(lambda request: answer)(request) is answer


def test_an_async_view_is_denied_before_it_starts() -> None:
    """No code of an async view runs for a denied request."""
    ran: list[bool] = []

    @authorize_certificate
    async def view(request: HttpRequest) -> HttpResponse:
        ran.append(True)
        return HttpResponse()

    async def go() -> None:
        with pytest.raises(PermissionDenied) as caught:
            await view(AsyncRequestFactory().get("/"))
        assert caught.value.args == ()
        assert isinstance(caught.value.__cause__, CertificateDenied)

    asyncio.run(go())
    assert ran == []


def test_an_exempt_view_is_open_behind_the_middleware(site: Any, visit: Any) -> None:
    """Sync functions, async functions and the results of as_view() can be exempt."""

    @certificate_exempt
    def sync_view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    @certificate_exempt
    async def async_view(request: Any) -> HttpResponse:
        assert request.client_certificate is None
        return HttpResponse()

    class ClassView(View):
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse()

    site(
        path("a", sync_view),
        path("b", async_view),
        path("c", certificate_exempt(ClassView.as_view())),
        path("d", ClassView.as_view()),
    )
    assert [visit(f"/{name}").status_code for name in "abcd"] == [200, 200, 200, 403]


def test_certificate_exempt_returns_the_view_as_it_was() -> None:
    """certificate_exempt sets no attribute on the view."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    before = dict(vars(view))
    assert certificate_exempt(view) is view
    assert vars(view) == before


def test_an_exemption_is_not_copied_by_wraps(site: Any, visit: Any) -> None:
    """A wrapper around an exempt view is checked."""

    @certificate_exempt
    def public(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    @wraps(public)
    def secret(request: HttpRequest) -> HttpResponse:
        raise AssertionError("not reached")

    site(path("a", secret), path("b", never_cache(public)), path("c", partial(public)))
    assert [visit(f"/{name}").status_code for name in "abc"] == [403, 403, 403]


def test_an_exemption_is_not_shared_by_name(site: Any, visit: Any) -> None:
    """A view with the same module and name as an exempt view is checked."""

    def make() -> Any:
        def index(request: HttpRequest) -> HttpResponse:
            return HttpResponse()

        return index

    public, secret = certificate_exempt(make()), make()
    site(path("public", public), path("secret", secret))
    assert public.__qualname__ == secret.__qualname__
    assert visit("/public").status_code == 200
    assert visit("/secret").status_code == 403


def test_an_exemption_is_not_shared_by_equality(site: Any, visit: Any) -> None:
    """A view that is equal to an exempt view is checked, and so is a view without a hash."""

    class Equal:
        def __call__(self, request: HttpRequest) -> HttpResponse:
            raise AssertionError("not reached")

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash(_public)

    class Unhashable(Equal):
        __hash__ = None

    certificate_exempt(_public)
    site(path("a", Equal()), path("b", Unhashable()))
    assert [visit(f"/{name}").status_code for name in "ab"] == [403, 403]


def test_an_exemption_dies_with_its_view() -> None:
    """An exemption does not keep its view in memory."""

    def make() -> weakref.ref[Any]:
        def view(request: HttpRequest) -> HttpResponse:
            raise AssertionError("not reached")

        return weakref.ref(certificate_exempt(view))

    reference = make()
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize(
    "order",
    [
        lambda view: certificate_exempt(authorize_certificate(view)),
        lambda view: authorize_certificate(certificate_exempt(view)),
    ],
)
@pytest.mark.parametrize("middleware", [True, False])
def test_the_decorator_holds_on_an_exempt_view(
    site: Any, visit: Any, order: Any, middleware: bool, allowed: IssuedCertificate
) -> None:
    """An exempt view with the decorator is still checked, in either order of the two."""

    def view(request: Any) -> HttpResponse:
        return _name(request)

    site(path("", order(view)), **({} if middleware else {"middleware": []}))
    assert visit("/").status_code == 403
    assert visit("/", allowed).status_code == 200


@pytest.mark.parametrize(
    "thing",
    [_Plain, partial(_public), _Plain().get, len, staticmethod(_public), "health", None, object()],
)
def test_only_functions_can_be_exempt(thing: Any) -> None:
    """certificate_exempt accepts only functions."""
    with pytest.raises(TypeError, match="takes a view function"):
        certificate_exempt(thing)


def test_an_exemption_does_not_go_through_method_decorator() -> None:
    """certificate_exempt through method_decorator is an error when the class is defined."""
    with pytest.raises(TypeError, match="method_decorator"):
        method_decorator(certificate_exempt, name="dispatch")(type("A", (View,), {}))
    with pytest.raises(TypeError, match=r"as_view\(\)"):
        method_decorator([never_cache, certificate_exempt])(_public)
