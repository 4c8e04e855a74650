from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import wraps
from io import BytesIO
from types import ModuleType
from typing import Any, ClassVar

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import get_urlconf, path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import cache_page

from arrcert.authorizer import Authorizer
from arrcert.exceptions import CertificateDenied, ConfigurationError, DenialReason
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert_django.decorators import authorize_certificate, certificate_exempt
from arrcert_django.middleware import ClientCertificateMiddleware
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.signals import certificate_denied

OURS = "arrcert_django.middleware.ClientCertificateMiddleware"
METHODS = [
    "GET",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "DELETE",
    "TRACE",
    "BREW",
    "AS_VIEW",
    "__CLASS__",
]


def _hello(request: Any) -> HttpResponse:
    return HttpResponse("hello")


async def _ahello(request: Any) -> HttpResponse:
    return HttpResponse("hello")


def _never(request: HttpRequest) -> HttpResponse:
    raise AssertionError("not reached")


# Other middleware before or inside arrcert's.
# ------------------------------------------------------

answers: dict[str, Callable[[], HttpResponse]] = {}


class _Answering:
    """Responds to some paths itself, as middleware for static files does; sync and async."""

    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info in answers:
            return self._answer(answers[request.path_info]())
        return self.get_response(request)

    def _answer(self, response: HttpResponse) -> Any:
        async def answer() -> HttpResponse:
            return response

        return answer() if iscoroutinefunction(self) else response


class _AnsweringAView(_Answering):
    """Responds to some paths in process_view."""

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *args: Any) -> HttpResponse | None:
        answer = answers.get(request.path_info)
        return answer() if answer else None


class _SyncOnly:
    """Forces all middleware before it into sync mode, also under ASGI."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        return response


class _AsyncOnly:
    """Forces all middleware before it into async mode, also under WSGI."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await self.get_response(request)
        return response


class _Rewriting(_SyncOnly):
    """Rewrites the path /old to /new before the URL is resolved."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.path_info = request.path_info.replace("/old", "/new")
        return super().__call__(request)


class _Stricter(ClientCertificateMiddleware):
    """A subclass that denies requests with one header, and does not check requests with another."""

    def process_view(self, request: HttpRequest, *args: Any) -> None:
        if "X-Blocked" in request.headers:
            raise PermissionDenied
        if "X-Public" not in request.headers:
            super().process_view(request, *args)


@pytest.fixture(autouse=True)
def _no_answers() -> Iterator[None]:
    answers.clear()
    yield
    answers.clear()


# Accepted and denied requests. --------------------------------------------------------------------


@pytest.mark.parametrize("view", [_hello, _ahello])
def test_every_view_is_checked_against_default(
    site: Any,
    visit: Any,
    view: Any,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
    stranger: IssuedCertificate,
) -> None:
    """A view that names no policy is checked under "default"."""
    site(path("", view))
    assert visit("/", allowed).content == b"hello"
    for who in (None, partner, stranger):
        assert visit("/", who).status_code == 403


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("url", ["/function", "/class", "/unknown"])
def test_no_method_is_free(site: Any, visit: Any, method: str, url: str) -> None:
    """A request without a certificate is a 403 for every method, and no view runs."""

    class Guarded(View):
        get = head = options = post = put = delete = staticmethod(_never)

    site(path("function", _never), path("class", Guarded.as_view()))
    assert visit(url, method=method).status_code == 403


def test_an_unknown_path_is_403_to_strangers_and_404_to_others(
    site: Any, visit: Any, allowed: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """A denied client cannot tell which paths exist."""
    site(path("known", _hello))
    assert visit("/unknown").status_code == 403
    assert visit("/unknown", stranger).status_code == 403
    assert visit("/unknown", allowed).status_code == 404
    assert visit("/known").content == visit("/unknown").content


def test_denial_of_an_unknown_path_says_so(
    site: Any, visit: Any, partner: IssuedCertificate, stranger: IssuedCertificate, caplog: Any
) -> None:
    """If no view has the path of a client that another policy accepts, the log says so."""
    site(path("orders/", _partners(_hello)))
    assert visit("/orders/", partner).status_code == 200
    for url, who, is_told in (
        ("/orders", partner, True),
        ("/none", partner, True),
        ("/orders", stranger, False),
    ):
        caplog.clear()
        assert visit(url, who).status_code == 403
        [record] = [record for record in caplog.records if hasattr(record, "arrcert_reason")]
        assert record.arrcert_policy == "default"
        assert ("no view has this path, and the policy 'partners'" in record.message) == is_told


def test_an_unknown_path_shows_no_routes_in_debug_mode(site: Any, visit: Any) -> None:
    """A denied client does not get the debug 404 page, which lists all routes."""
    site(path("known-to-few", _hello), DEBUG=True)
    response = visit("/unknown")
    assert response.status_code == 403
    assert b"known-to-few" not in response.content


def test_the_certificate_is_on_the_request(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """A view finds the accepted certificate, and an exempt view finds None."""
    seen: list[Any] = []

    def view(request: Any) -> HttpResponse:
        seen.append(request.client_certificate)
        return HttpResponse()

    site(path("a", view), path("health", view), ARRCERT_EXEMPT_PATHS=["/health"])
    visit("/a", allowed)
    visit("/health", allowed)
    assert seen == [allowed.certificate, None]


def test_a_denial_reaches_the_handler_for_403(
    site: Any, visit: Any, stranger: IssuedCertificate
) -> None:
    """handler403 gets the same exception for views and for unknown paths."""
    seen: list[Any] = []

    def handler(request: Any, exception: Exception) -> HttpResponse:
        seen.append((exception.args, type(exception.__cause__), request.client_certificate))
        return HttpResponse("ours", status=403)

    site(path("known", _never), handler403=handler)
    assert visit("/known", stranger).content == b"ours"
    assert visit("/unknown", stranger).content == b"ours"
    assert seen == [((), CertificateDenied, None)] * 2


def test_a_denied_request_is_decided_and_logged_once(
    site: Any, visit: Any, stranger: IssuedCertificate, caplog: Any
) -> None:
    """A denied request is one record in the log, for views and for unknown paths."""
    site(path("known", _never))
    for url in ("/known", "/unknown"):
        caplog.clear()
        assert visit(url, stranger).status_code == 403
        assert len([record for record in caplog.records if record.name == "arrcert"]) == 1


def test_a_denied_request_is_told_once_to_django_too(
    site: Any, visit: Any, stranger: IssuedCertificate, caplog: Any
) -> None:
    """Each 403 calls handler403 once, and is one record of django.request."""
    seen: list[str] = []

    def handler(request: Any, exception: Exception) -> HttpResponse:
        seen.append(request.path)
        return HttpResponse("ours", status=403)

    site(path("known", _never), path("partners", _partners(_never)), handler403=handler)
    urls = ["/known", "/partners", "/unknown"]
    for url in urls:
        visit(url, stranger)
    assert seen == urls
    told = [record for record in caplog.records if record.name == "django.request"]
    # Django logs the 404 before the middleware replaces it.
    assert [record.args[0] for record in told if record.status_code == 403] == urls


@pytest.mark.parametrize("method", METHODS)
def test_known_and_unknown_paths_are_denied_alike(site: Any, visit: Any, method: str) -> None:
    """A denied client gets equal responses for known and unknown paths, also in their headers."""
    site(
        path("known", _never),
        path("partners", _partners(_never)),
        path("class", _Mixed.as_view()),
        path("slash/", _never),
        middleware=[
            "django.middleware.security.SecurityMiddleware",
            OURS,
            "django.middleware.locale.LocaleMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            "django.middleware.gzip.GZipMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            f"{__name__}._Marking",
        ],
    )
    answers = [
        visit(url, method=method)
        for url in ("/known", "/partners", "/class", "/slash/", "/slash", "/unknown")
    ]
    [(code, headers, _)] = {
        (answer.status_code, tuple(answer.headers.items()), answer.content) for answer in answers
    }
    assert code == 403
    assert not {"X-Marked", "X-Frame-Options", "Cache-Control"} & dict(headers).keys()


class _Marking(_SyncOnly):
    """Adds a header to responses of views."""

    def process_view(self, request: HttpRequest, *args: Any) -> None:
        request.marked = True

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = super().__call__(request)
        response["X-Marked"] = str(request.resolver_match is not None)
        return response


class _Ignoring(ClientCertificateMiddleware):
    """A subclass that ignores what process_view returns."""

    def process_view(self, request: HttpRequest, *args: Any) -> None:
        super().process_view(request, *args)


def test_process_view_denies_by_raising(
    site: Any, visit: Any, stranger: IssuedCertificate, allowed: IssuedCertificate
) -> None:
    """A subclass that ignores what `super().process_view()` returns does not open its views."""
    site(path("", _never), path("hello", _hello), middleware=[f"{__name__}._Ignoring"])
    assert visit("/", stranger).status_code == 403
    assert visit("/hello", allowed).status_code == 200
    check: Any = _Ignoring(lambda request: HttpResponse())
    request = RequestFactory().get("/", headers=stranger.headers)
    with pytest.raises(PermissionDenied) as caught:
        check.process_view(request, _never, (), {})
    assert isinstance(caught.value.__cause__, CertificateDenied)
    assert check(request).status_code == 403


def test_a_fault_before_the_decision_is_403_to_strangers(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """An error while reading a view's policy is a 403 to clients without a certificate."""

    class Odd:
        def __call__(self, request: HttpRequest) -> HttpResponse:
            raise AssertionError("not reached")

        @property
        def _arrcert_requirement(self) -> str:
            raise Http404("secret")

    site(path("", Odd()), DEBUG=True)
    response = visit("/")
    assert response.status_code == 403
    assert b"secret" not in response.content
    assert visit("/", allowed).status_code == 404


# Caches. ------------------------------------------------------------------------------------------

SITE_CACHE = [
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]


@pytest.fixture
def _empty_cache() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def _who(request: Any) -> HttpResponse:
    certificate = getattr(request, "client_certificate", None)
    return HttpResponse(f"hello {certificate and certificate.sha256_fingerprint}")


async def _awho(request: Any) -> HttpResponse:
    return _who(request)


@pytest.mark.usefixtures("_empty_cache")
@pytest.mark.parametrize("view", [_who, _awho])
@pytest.mark.parametrize("middleware", [[OURS, *SITE_CACHE], [*SITE_CACHE, OURS], SITE_CACHE])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_site_s_cache_keeps_no_protected_page(
    site: Any,
    visit: Any,
    view: Any,
    middleware: list[str],
    method: str,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """Django's site-wide cache does not serve a protected page to clients of another policy.

    (ASP.NET Core #66673, #69273: a result of one policy was used for another.)
    """
    site(
        path("partners", _partners(view)),
        path("default", authorize_certificate(view)),
        path("class", method_decorator(_partners, name="dispatch")(_subclass(_Who)).as_view()),
        middleware=middleware,
    )
    for url, entering, other in (
        ("/partners", partner, allowed),
        ("/class", partner, allowed),
        ("/default", allowed, partner),
    ):
        for _ in range(2):
            answer = visit(url, entering, method=method)
            assert answer.status_code == 200
            assert answer["Cache-Control"] == "private"
            assert "Age" not in answer.headers
        assert visit(url, other, method=method).status_code == 403
        assert visit(url, method=method).status_code == 403


@pytest.mark.usefixtures("_empty_cache")
def test_the_site_s_cache_keeps_no_page_that_the_middleware_opened(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """Django's site-wide cache does not store a page that the middleware opened.

    The middleware sets `Cache-Control: private` too late for a cache inside it.
    """
    ran: list[Any] = []

    def view(request: Any) -> HttpResponse:
        ran.append(request)
        return _who(request)

    site(path("a", view), middleware=[OURS, *SITE_CACHE])
    for _ in range(2):
        assert "Age" not in visit("/a", allowed).headers
    assert len(ran) == 2
    assert [request._cache_update_cache for request in ran] == [False, False]


class _Who(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return _who(request)


@pytest.mark.usefixtures("_empty_cache")
@pytest.mark.parametrize("middleware", [[OURS], [OURS, *SITE_CACHE], []])
def test_cache_page_above_the_decorator_keeps_nothing(
    site: Any,
    visit: Any,
    middleware: list[str],
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """A cache_page above the decorator does not store the page."""
    site(path("a", cache_page(60)(_partners(_who))), middleware=middleware)
    for _ in range(2):
        assert visit("/a", partner)["Cache-Control"] == "private"
        assert visit("/a", allowed).status_code == 403
        assert visit("/a").status_code == 403


@pytest.mark.usefixtures("_empty_cache")
def test_a_page_that_a_view_caches_is_checked_against_the_view_s_policy(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """A page stored by cache_page below a decorator is served only under the view's policy."""
    view = _partners(cache_page(60)(_hello))
    site(
        path("a", view),
        path("public/a", view),
        middleware=[OURS, *SITE_CACHE],
        ARRCERT_EXEMPT_PATHS=["/public/*"],
    )
    for url in ("/a", "/public/a"):
        for _ in range(2):
            assert visit(url, partner).content == b"hello"
            assert visit(url, allowed).status_code == 403
            assert visit(url).status_code == 403


@pytest.mark.usefixtures("_empty_cache")
def test_the_site_s_cache_keeps_exempt_pages(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """A page from the cache is served on an exempt path, but not for an exempt view."""
    site(
        path("health", _hello),
        path("exempt", certificate_exempt(_wrapped(_hello))),
        middleware=[OURS, *SITE_CACHE],
        ARRCERT_EXEMPT_PATHS=["/health"],
    )
    assert "Age" not in visit("/health").headers
    again = visit("/health")
    assert again.content == b"hello"
    assert "Age" in again.headers
    assert "private" not in again["Cache-Control"]
    assert visit("/exempt").status_code == 200
    assert visit("/exempt").status_code == 403
    assert visit("/exempt", allowed).status_code == 200


@pytest.mark.parametrize("middleware", [[OURS], []])
def test_no_shared_cache_is_told_otherwise(
    site: Any, visit: Any, middleware: list[str], allowed: IssuedCertificate
) -> None:
    """An authorized request gets no header by which a cache ignores `Cache-Control` (RFC 9213)."""
    targeted = ("CDN-Cache-Control", "Surrogate-Control", "edge-control", "X-Accel-Expires")

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(headers=dict.fromkeys(targeted, "max-age=600"))

    site(
        path("", authorize_certificate(view)),
        path("class", _answering(view)),
        path("open", certificate_exempt(view)),
        middleware=middleware,
    )
    for url in ("/", "/class"):
        headers = visit(url, allowed).headers
        assert not [name for name in targeted if name in headers]
        assert headers["Cache-Control"] == "private"
    assert all(name in visit("/open").headers for name in targeted)


def _answering(view: Any) -> Any:
    class Answering(ClientCertificateRequiredMixin, View):  # type: ignore[misc]
        def get(self, request: HttpRequest) -> HttpResponse:
            answer: HttpResponse = view(request)
            return answer

    return Answering.as_view()


@pytest.mark.parametrize("middleware", [[OURS], []])
@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        (None, {"private"}),
        ("public, max-age=60", {"private", "max-age=60"}),
        ("No-Store", {"No-Store"}),
        ("max-age=0, no-store, public", {"max-age=0", "no-store", "public"}),
    ],
)
def test_what_a_certificate_opened_is_private(
    site: Any,
    visit: Any,
    middleware: list[str],
    said: str | None,
    becomes: set[str],
    allowed: IssuedCertificate,
) -> None:
    """Responses to authorized requests are private, or keep a stricter Cache-Control."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(headers={"Cache-Control": said} if said else {})

    site(
        path("", authorize_certificate(view)),
        path("open", view),
        middleware=middleware,
        ARRCERT_EXEMPT_PATHS=["/open"],
    )
    assert set(visit("/", allowed)["Cache-Control"].split(", ")) == becomes
    assert visit("/open", allowed).get("Cache-Control") == said


def test_other_answers_to_the_authorized_are_private_too(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """Responses of other middleware and 404 pages to authorized requests are private too."""
    answers["/static"] = lambda: HttpResponse("secret", headers={"Cache-Control": "public"})
    site(path("plain", _hello), middleware=[OURS, f"{__name__}._Answering"])
    for url in ("/plain", "/static", "/unknown"):
        assert visit(url, allowed)["Cache-Control"] == "private"


def test_what_an_exempt_view_returns_to_the_authorized_is_private(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """An exempt view's response to an accepted client is private too.

    Middleware behind the gate may have used the identity before the view was known.
    """
    site(path("open", certificate_exempt(_wrapped(_hello))))
    assert visit("/open", allowed)["Cache-Control"] == "private"
    assert "Cache-Control" not in visit("/open").headers


# Views that name a policy. ------------------------------------------------------------------------


def _wrapped(view: Any) -> Any:
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any) -> HttpResponse:
        response: HttpResponse = view(request, *args)
        return response

    return wrapper


def _subclass(base: type, **attributes: Any) -> Any:
    return type("Subclass", (base,), attributes)


class _Plain(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello")


class _Mixed(ClientCertificateRequiredMixin, _Plain):
    certificate_policy = "partners"


class _Named(_Plain):
    """Names a policy without the mixin, so only the middleware checks it."""

    certificate_policy = "partners"


class _OnGet(View):
    @method_decorator(authorize_certificate(policy="partners"))
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello")

    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("posted")


_partners = authorize_certificate(policy="partners")


@pytest.mark.parametrize(
    "view",
    [
        _partners(_hello),
        _partners(_ahello),
        _wrapped(_partners(_hello)),
        _partners(_Plain.as_view()),
        method_decorator(_partners, name="dispatch")(_subclass(_Plain)).as_view(),
        _OnGet.as_view(),
        _Mixed.as_view(),
        _wrapped(_Mixed.as_view()),
        _Named.as_view(),
        _wrapped(_Named.as_view()),
        _subclass(_Named, certificate_policy="default").as_view(certificate_policy="partners"),
        _subclass(_Mixed, certificate_policy="default").as_view(certificate_policy="partners"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_named_policy_is_checked_alone(
    site: Any,
    visit: Any,
    view: Any,
    method: str,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """A view that names a policy is checked only under that policy."""
    site(path("", view))
    assert visit("/", partner, method=method).status_code == 200
    assert visit("/", allowed, method=method).status_code == 403
    assert visit("/", method=method).status_code == 403


def test_a_method_s_policy_is_that_method_s_alone(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """A policy on `get` is checked for GET and HEAD, and for no other method."""
    site(path("", _OnGet.as_view()))
    for method in ("POST", "OPTIONS"):
        assert visit("/", partner, method=method).status_code == 403
        assert visit("/", allowed, method=method).status_code == 200
    assert visit("/", partner, method="DELETE").status_code == 403
    assert visit("/", allowed, method="DELETE").status_code == 405


def test_a_head_method_of_its_own_has_its_own_policy(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """In a class that defines `head`, the policy of `get` is not checked for HEAD."""

    class OwnHead(_OnGet):
        def head(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse()

    site(path("", OwnHead.as_view()))
    assert visit("/", partner, method="HEAD").status_code == 403
    assert visit("/", allowed, method="HEAD").status_code == 200


def test_a_method_that_django_does_not_dispatch_names_no_policy(
    site: Any, visit: Any, partner: IssuedCertificate
) -> None:
    """A decorated attribute that is not an HTTP method of the class names no policy."""

    class Helper(_Plain):
        @method_decorator(_partners)
        def helper(self, request: HttpRequest) -> HttpResponse:
            raise AssertionError("not reached")

    site(path("", Helper.as_view()))
    assert visit("/", partner, method="HELPER").status_code == 403


def test_a_mark_that_is_no_name_is_no_policy(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """A view whose attribute is not a string names no policy."""

    class Obliging:
        def __call__(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name == "view_class":
                raise AttributeError(name)
            return set()

    site(path("", Obliging()))
    assert visit("/").status_code == 403
    assert visit("/", allowed).status_code == 200


def test_an_unknown_policy_denies(
    site: Any, visit: Any, allowed: IssuedCertificate, caplog: Any
) -> None:
    """A policy that does not exist denies every request and is an error in the log."""
    site(path("", authorize_certificate(policy="parnters")(_never)))
    assert visit("/", allowed).status_code == 403
    assert "ERROR" in [record.levelname for record in caplog.records if record.name == "arrcert"]


# Exemptions. --------------------------------------------------------------------------------------


def test_an_exempt_path_is_open(site: Any, visit: Any) -> None:
    """Only the paths in ARRCERT_EXEMPT_PATHS need no certificate."""
    site(
        path("health", _hello),
        path("healthz", _never),
        path("health/", _never),
        path("public/a", _hello),
        ARRCERT_EXEMPT_PATHS=["/health", "/public/*", "/missing"],
    )
    assert visit("/health").status_code == 200
    assert visit("/public/a").status_code == 200
    assert visit("/missing").status_code == 404
    for url in ("/healthz", "/health/", "/HEALTH", "//health", "/public", "/public/../healthz"):
        assert visit(url).status_code == 403


def test_an_exempt_path_below_a_script_name(site: Any) -> None:
    """Exempt paths are compared without SCRIPT_NAME."""
    site(path("health", _hello), ARRCERT_EXEMPT_PATHS=["/health"])
    check = ClientCertificateMiddleware(lambda request: HttpResponse())
    mounted = RequestFactory().get("/site/health", SCRIPT_NAME="/site")
    mounted.path_info = "/health"
    assert check(mounted).status_code == 200
    faked = RequestFactory().get("/health/secret", SCRIPT_NAME="/health")
    faked.path_info = "/secret"
    assert check(faked).status_code == 403


@pytest.mark.parametrize(
    "view", [_partners(_never), _subclass(_Mixed, get=_never).as_view(), _OnGet.as_view()]
)
def test_an_exempt_path_frees_from_no_decorator(
    site: Any, visit: Any, view: Any, allowed: IssuedCertificate
) -> None:
    """A view that names a policy is checked on an exempt path, and as an exempt view."""
    site(
        path("health", view),
        path("exempt", certificate_exempt(_wrapped(view))),
        ARRCERT_EXEMPT_PATHS=["/health"],
    )
    for url in ("/health", "/exempt"):
        for who in (None, allowed):
            assert visit(url, who).status_code == 403


def test_an_exempt_view_whose_path_is_answered_by_another_middleware(site: Any, visit: Any) -> None:
    """Another middleware's response at the path of an exempt view is checked."""
    view = certificate_exempt(_wrapped(_hello))
    answers["/a"] = lambda: HttpResponse("not the view")
    site(path("a", view), path("b", view), middleware=[OURS, f"{__name__}._Answering"])
    assert visit("/a").status_code == 403
    assert visit("/b").status_code == 200


def test_the_path_that_is_resolved_is_the_one_that_counts(site: Any, visit: Any) -> None:
    """A path that middleware rewrites is checked, even if the original path is exempt."""
    site(
        path("new", _never),
        middleware=[OURS, f"{__name__}._Rewriting"],
        ARRCERT_EXEMPT_PATHS=["/old"],
    )
    assert visit("/old").status_code == 403


# The gate and the middleware behind it. -----------------------------------------------------------

reached: list[str] = []


class _Counting(_SyncOnly):
    """Notes every request that reaches it."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        reached.append("middleware")
        return super().__call__(request)

    def process_view(self, *_: Any) -> None:
        reached.append("process_view")


def _counting(request: HttpRequest) -> HttpResponse:
    reached.append("view")
    identity = request.client_identity
    return HttpResponse("nobody" if identity is None else f"{identity.policy}")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("url", ["/page", "/partners", "/unknown", "/slash"])
def test_stranger_reaches_nothing_behind_the_gate(
    site: Any, visit: Any, stranger: IssuedCertificate, method: str, url: str
) -> None:
    """A request that no policy accepts reaches no middleware behind the gate and no view."""
    site(
        path("page", _counting),
        path("partners", authorize_certificate(policy="partners")(_counting)),
        path("slash/", _counting),
        middleware=[OURS, "django.middleware.common.CommonMiddleware", f"{__name__}._Counting"],
    )
    reached.clear()
    assert visit(url, method=method).status_code == 403
    assert visit(url, stranger, method=method).status_code == 403
    assert reached == []


def test_gate_lets_through_whom_any_policy_accepts(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """A client of another policy passes the gate, and the policy of the view decides."""
    site(
        path("page", _counting),
        path("partners", authorize_certificate(policy="partners")(_counting)),
        middleware=[OURS, f"{__name__}._Counting"],
    )
    reached.clear()
    assert visit("/page", partner).status_code == 403
    assert visit("/partners", allowed).status_code == 403
    assert "view" not in reached
    assert visit("/page", allowed).content == b"default"
    assert visit("/partners", partner).content == b"partners"
    assert reached.count("view") == 2


seen_identities: list[str | None] = []


class _Looking(_SyncOnly):
    """A middleware that records the identity before the view is known."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        identity = request.client_identity
        certificate = request.client_certificate
        assert (identity is None) == (certificate is None)
        seen_identities.append(None if identity is None else identity.policy)
        return super().__call__(request)


def test_middleware_behind_the_gate_sees_whom_default_accepts(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Before the view is known, the identity is the one that `default` accepts, or else None."""
    site(
        path("page", _counting),
        path("partners", authorize_certificate(policy="partners")(_counting)),
        path("health", _counting),
        path("open", certificate_exempt(lambda request: _counting(request))),
        middleware=[OURS, f"{__name__}._Looking"],
        ARRCERT_EXEMPT_PATHS=["/health"],
    )
    seen_identities.clear()
    assert visit("/page", allowed).content == b"default"
    assert visit("/partners", partner).content == b"partners"
    assert visit("/health", allowed).content == b"nobody"
    assert visit("/open", allowed).content == b"nobody"
    assert visit("/open").content == b"nobody"
    assert seen_identities == ["default", None, None, "default", None]


def test_any_acceptance_makes_the_response_private(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """The page of an exempt view is private after any acceptance, because middleware may use it."""
    site(path("open", certificate_exempt(lambda request: _counting(request))))
    assert visit("/open", allowed)["Cache-Control"] == "private"
    assert "Cache-Control" not in visit("/open")


def test_denial_at_the_gate_has_the_reason_of_the_view_s_policy(
    site: Any,
    visit: Any,
    authority: CertificateAuthority,
    settings: Any,
    caplog: Any,
) -> None:
    """An expired partner is denied as `expired` under the policy of the view, in one record."""
    expired = authority.issue("old partner", not_after=datetime.now(UTC) - timedelta(hours=1))
    settings.ARRCERT = {
        **settings.ARRCERT,
        "partners": {"fingerprints": [expired.certificate.sha256_fingerprint]},
    }
    site(path("partners", authorize_certificate(policy="partners")(_counting)))
    told: list[Any] = []

    def receive(*, reason: DenialReason, **_: Any) -> None:
        told.append(reason)

    certificate_denied.connect(receive)
    try:
        assert visit("/partners", expired).status_code == 403
        assert visit("/unknown", expired).status_code == 403
    finally:
        certificate_denied.disconnect(receive)
    records = [
        (record.arrcert_policy, record.arrcert_reason)
        for record in caplog.records
        if record.name == "arrcert"
    ]
    assert records == [("partners", "expired"), ("default", "expired")]
    assert told == [DenialReason.EXPIRED, DenialReason.EXPIRED]


def test_partner_gets_no_response_of_default(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """A client of another policy gets no cached page, no 404 and no redirect from `default`.

    All its 403 responses are equal, so it does not learn which paths exist.
    """
    answers["/static"] = lambda: HttpResponse("secret")
    site(
        path("page", _hello),
        path("slash/", _hello),
        path("partners", _partners(_hello)),
        middleware=[
            OURS,
            "django.middleware.common.CommonMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            f"{__name__}._Answering",
        ],
    )
    assert visit("/partners", partner).status_code == 200
    assert visit("/slash", allowed).status_code == 301
    denied = [visit(url, partner) for url in ("/page", "/slash", "/slash/", "/static", "/unknown")]
    [(code, _, _)] = {
        (answer.status_code, tuple(answer.headers.items()), answer.content) for answer in denied
    }
    assert code == 403


def test_log_says_that_a_policy_below_is_not_visible(
    site: Any, visit: Any, partner: IssuedCertificate, stranger: IssuedCertificate, caplog: Any
) -> None:
    """If a wrapper hides a view's policy, the record of the denial says how to name it."""
    inner = _partners(_hello)

    def hiding(request: HttpRequest) -> Any:
        return inner(request)

    site(path("hidden", hiding))
    for who, is_told in ((partner, True), (stranger, False), (None, False)):
        caplog.clear()
        assert visit("/hidden", who).status_code == 403
        [record] = [record for record in caplog.records if record.name == "arrcert"]
        assert record.arrcert_policy == "default"
        assert ("a policy below is not visible" in record.message) == is_told
        assert ("@authorize_certificate(policy='partners')" in record.message) == is_told


def _fails(request: HttpRequest, exception: Exception) -> HttpResponse:
    raise LookupError("the page fails")


def _is_no_response(request: HttpRequest, exception: Exception) -> Any:
    return "no response"


def _fails_to_render(request: HttpRequest, exception: Exception) -> HttpResponse:
    return TemplateResponse(request, "there_is_no_such_template.html", status=403)


@pytest.mark.parametrize("handler", [_fails, _is_no_response, _fails_to_render])
def test_handler_for_403_that_fails_opens_nothing_and_is_no_500(
    site: Any, visit: Any, handler: Any, partner: IssuedCertificate, caplog: Any
) -> None:
    """A handler403 that fails gives the constant 403, and its error is in the log."""
    site(path("known", _never), handler403=handler)
    denied = [visit("/known"), visit("/unknown"), visit("/known", partner)]
    assert [(answer.status_code, answer.content) for answer in denied] == [
        (403, b"403 Forbidden")
    ] * 3
    assert "handler403 failed" in caplog.text


def test_handler_for_403_may_return_a_template_response(
    site: Any, visit: Any, settings: Any
) -> None:
    """A response of handler403 that is not rendered yet is rendered."""
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", {"ours.html": "ours"})]
            },
        }
    ]

    def handler(request: HttpRequest, exception: Exception) -> HttpResponse:
        return TemplateResponse(request, "ours.html", status=403)

    site(path("known", _never), handler403=handler)
    answer = visit("/known")
    assert (answer.status_code, answer.content) == (403, b"ours")


# Responses that do not come from a view. ----------------------------------------------------------


@pytest.mark.parametrize("answering", ["Answering", "AnsweringAView"])
def test_what_another_middleware_answers_is_withheld(
    site: Any, visit: Any, answering: str, allowed: IssuedCertificate
) -> None:
    """Another middleware's response is sent only to clients that "default" accepts."""
    answers["/static"] = lambda: HttpResponse("secret")
    answers["/moved"] = lambda: HttpResponseRedirect("/elsewhere")
    answers["/public"] = lambda: HttpResponse("public")
    site(
        *(path(url[1:], _never) for url in answers),
        # Django calls process_view in the order of MIDDLEWARE.
        middleware=[f"{__name__}._AnsweringAView", OURS]
        if answering == "AnsweringAView"
        else [OURS, f"{__name__}._Answering"],
        ARRCERT_EXEMPT_PATHS=["/public"],
    )
    for url in ("/static", "/moved"):
        assert visit(url).status_code == 403
    assert visit("/static", allowed).content == b"secret"
    assert visit("/moved", allowed).status_code == 302
    assert visit("/public").content == b"public"


class _Page(HttpResponse):
    def __init__(self, closed: list[str], **kwargs: Any) -> None:
        super().__init__("secret", **kwargs)
        self._told = closed

    def close(self) -> None:
        super().close()
        self._told.append("closed")


def test_a_withheld_response_is_closed(site: Any, visit: Any, partner: IssuedCertificate) -> None:
    """Files and generators of a response that is not sent are closed."""
    file, told = BytesIO(b"secret"), list[str]()

    def stream() -> Iterator[bytes]:
        try:
            yield b"secret"
        finally:
            told.append("streamed")

    def streaming() -> StreamingHttpResponse:
        chunks = stream()
        next(chunks)
        return StreamingHttpResponse(chunks)

    answers["/file"] = lambda: FileResponse(file)
    answers["/page"] = lambda: _Page(told)
    answers["/stream"] = streaming
    site(middleware=[OURS, f"{__name__}._Answering"])
    for url in answers:
        assert visit(url, partner).status_code == 403
    assert file.closed
    assert told == ["closed", "streamed"]


def test_a_response_that_fails_to_close_is_withheld_all_the_same(
    site: Any, visit: Any, partner: IssuedCertificate, caplog: Any
) -> None:
    """An error while a response is closed does not change the 403."""

    class Failing(HttpResponse):
        def close(self) -> None:
            raise LookupError("it fails to close")

    answers["/page"] = lambda: Failing("secret")
    site(middleware=[OURS, f"{__name__}._Answering"])
    response = visit("/page", partner)
    assert response.status_code == 403
    assert b"secret" not in response.content
    assert "it fails to close" in caplog.text


def test_closing_a_withheld_response_keeps_the_urlconf(
    site: Any, visit: Any, partner: IssuedCertificate
) -> None:
    """After a withheld response is closed, the 403 page still uses the request's own URLconf."""
    seen: list[Any] = []

    def handler(request: Any, exception: Exception) -> HttpResponse:
        seen.append(get_urlconf())
        return HttpResponse("tenant", status=403)

    tenant.handler403 = handler
    site(path("", _hello), middleware=[OURS, f"{__name__}._Tenant"])
    assert visit("/unknown", partner).content == b"tenant"
    assert seen == [tenant]


tenant = ModuleType("urls_of_a_tenant")
tenant.urlpatterns = []


class _Tenant(_SyncOnly):
    """Sets the request's own URLconf."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.urlconf = tenant
        return super().__call__(request)


def test_a_fault_behind_the_middleware_is_403_to_strangers(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """An error response of another middleware is sent only to accepted clients."""

    def fail() -> HttpResponse:
        raise Http404

    answers["/a"] = fail
    site(middleware=[OURS, f"{__name__}._Answering"])
    assert visit("/a").status_code == 403
    assert visit("/a", allowed).status_code == 404


class _Remembering(_Answering):
    """Remembers who a request is before its view is known."""

    before: ClassVar[list[Any]] = []

    def __call__(self, request: Any) -> Any:
        self.before.append(request.client_identity)
        return self.get_response(request)


def test_a_client_that_enters_at_the_second_look_is_nobody_before_the_view(
    site: Any, visit: Any, partner: IssuedCertificate, monkeypatch: Any
) -> None:
    """If the gate finds nobody and the policy of the view accepts, the identity is set later."""
    for find in ("find_wsgi", "find_asgi"):
        monkeypatch.setattr(Authorizer, find, lambda *_: None)
    _Remembering.before.clear()
    site(path("partners", _partners(_who)), middleware=[OURS, f"{__name__}._Remembering"])
    response = visit("/partners", partner)
    assert response.status_code == 200
    assert partner.certificate.sha256_fingerprint in response.content.decode()
    assert _Remembering.before == [None]


# Modes. -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbour", ["SyncOnly", "AsyncOnly"])
@pytest.mark.parametrize("view", [_hello, _ahello])
def test_neighbours_of_either_kind(
    site: Any, visit: Any, neighbour: str, view: Any, allowed: IssuedCertificate
) -> None:
    """Sync middleware under ASGI and async middleware under WSGI do not change a decision."""
    site(
        path("known", view),
        path("partners", _partners(view)),
        middleware=[OURS, f"{__name__}._{neighbour}"],
    )
    for url in ("/known", "/unknown", "/partners"):
        assert visit(url).status_code == 403
    assert visit("/known", allowed).status_code == 200
    assert visit("/unknown", allowed).status_code == 404
    assert visit("/partners", allowed).status_code == 403


def test_async_all_the_way_starts_no_thread(
    site: Any, visit_asgi: Any, allowed: IssuedCertificate, monkeypatch: Any
) -> None:
    """Under ASGI the decision runs in the event loop's thread."""
    threads: list[int] = []
    find, identify = Authorizer.find_asgi, Authorizer.identify_asgi

    def find_asgi(self: Authorizer, scope: Any) -> Any:
        threads.append(threading.get_ident())
        return find(self, scope)

    def identify_asgi(self: Authorizer, scope: Any, policy: str, **more: Any) -> Any:
        threads.append(threading.get_ident())
        return identify(self, scope, policy, **more)

    monkeypatch.setattr(Authorizer, "find_asgi", find_asgi)
    monkeypatch.setattr(Authorizer, "identify_asgi", identify_asgi)
    site(path("", _ahello))
    assert visit_asgi("/", allowed).status_code == 200
    assert visit_asgi("/").status_code == 403
    assert visit_asgi("/unknown", allowed).status_code == 404
    # The gate decides about each request, and a denial uses the policy of the view.
    assert threads == [threading.get_ident()] * 4


def test_django_sees_what_the_middleware_is() -> None:
    """The middleware and its process_view are async exactly if get_response is async."""

    async def get_response(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    on_async: Any = ClientCertificateMiddleware(get_response)
    on_sync: Any = ClientCertificateMiddleware(lambda request: HttpResponse())
    assert [iscoroutinefunction(thing) for thing in (on_async, on_async.process_view)] == [True] * 2
    assert [iscoroutinefunction(thing) for thing in (on_sync, on_sync.process_view)] == [False] * 2


def test_a_subclass_keeps_its_own_process_view(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """A sync process_view of a subclass runs under WSGI and ASGI.

    Requests that it does not check are checked afterwards.
    """
    site(path("", _hello), middleware=[f"{__name__}._Stricter"])
    assert visit("/").status_code == 403
    assert visit("/", allowed).status_code == 200
    assert visit("/", allowed, **{"X-Blocked": "1"}).status_code == 403
    assert visit("/", **{"X-Public": "1"}).status_code == 403


def test_the_middleware_twice_is_the_middleware(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """The middleware that is listed twice makes the same decisions."""
    site(path("a", _hello), path("b", _partners(_hello)), middleware=[OURS, OURS])
    assert visit("/a").status_code == 403
    assert visit("/a", allowed).status_code == 200
    assert visit("/b", partner).status_code == 200
    assert visit("/unknown", allowed).status_code == 404


# The configuration. -------------------------------------------------------------------------------


@pytest.mark.parametrize("application", [get_wsgi_application, get_asgi_application])
@pytest.mark.parametrize("broken", [{}, {"default": {}}, {"default": {"common_names": ["client"]}}])
def test_a_bad_configuration_stops_the_start(site: Any, application: Any, broken: Any) -> None:
    """A mistake in the configuration stops the start, also where no system checks run."""
    site(path("", _hello), ARRCERT=broken)
    with pytest.raises(ConfigurationError, match="ARRCERT"):
        application()


def test_a_missing_configuration_stops_the_start(settings: Any) -> None:
    """Without policies in the settings or the environment, the site does not start."""
    del settings.ARRCERT
    with pytest.raises(ConfigurationError, match="ARRCERT"):
        ClientCertificateMiddleware(lambda request: HttpResponse())


def test_settings_are_followed_after_the_start(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Policies and exempt paths follow a change of the settings."""
    site(path("", _hello))
    assert visit("/", allowed).status_code == 200
    pinned = {"fingerprints": [partner.certificate.sha256_fingerprint]}
    with override_settings(ARRCERT={"default": pinned}):
        assert visit("/", allowed).status_code == 403
        assert visit("/", partner).status_code == 200
    with override_settings(ARRCERT_EXEMPT_PATHS=["/"]):
        assert visit("/").status_code == 200
    assert visit("/").status_code == 403
    assert visit("/", allowed).status_code == 200


class _Breaking(_Answering):
    """Breaks the configuration between the gate and the view."""

    def __call__(self, request: HttpRequest) -> Any:
        settings.ARRCERT = {}
        return self.get_response(request)


def test_a_configuration_that_breaks_in_a_request_exempts_nothing(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """A request on an exempt path is denied if the configuration breaks before its view."""
    site(
        path("known", _hello),
        middleware=[OURS, f"{__name__}._Breaking"],
        ARRCERT_EXEMPT_PATHS=["/known"],
    )
    policies = settings.ARRCERT
    for who in (None, allowed):
        with override_settings(ARRCERT=policies):
            assert visit("/known", who).status_code == 403


@pytest.mark.parametrize("url", ["/known", "/unknown", "/partners"])
def test_a_configuration_that_breaks_later_denies(
    site: Any, visit: Any, url: str, allowed: IssuedCertificate, caplog: Any
) -> None:
    """A mistake in the configuration after the start is a 403, and no path is exempt."""
    site(
        path("known", _hello),
        path("partners", _partners(_hello)),
        ARRCERT_EXEMPT_PATHS=["/known", "/unknown"],
    )
    assert visit("/known").status_code == 200
    broken = {"default": {"fingerprints": []}, "partners": {}}
    with override_settings(ARRCERT=broken):
        response = visit(url, allowed)
        assert response.status_code == 403
    (record,) = [record for record in caplog.records if record.name == "arrcert"]
    assert record.arrcert_reason == "misconfigured"
    assert record.levelname == "ERROR"
    assert (record.arrcert_request, record.arrcert_fingerprint) == (f"GET {url}", None)
    assert record.arrcert_policy == ("partners" if url == "/partners" else "default")
    assert "fingerprints" in record.message
    assert "\n" not in record.message
    assert visit("/known").status_code == 200


def test_the_end_of_a_served_request_is_told_once(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """The middleware does not close a response that is sent."""
    told: list[Any] = []

    def receiver(**_: Any) -> None:
        told.append(1)

    request_finished.connect(receiver)
    try:
        site(path("", _hello))
        visit("/", allowed)
    finally:
        request_finished.disconnect(receiver)
    assert len(told) == 1


def test_the_async_call_can_be_awaited_by_hand(allowed: IssuedCertificate) -> None:
    """In async mode, the result of `__call__` can be awaited."""

    async def get_response(request: HttpRequest) -> HttpResponse:
        return HttpResponse("inner")

    async def go() -> Any:
        request = AsyncRequestFactory().get("/", headers=allowed.headers)
        return await ClientCertificateMiddleware(get_response)(request)

    assert asyncio.run(go()).content == b"inner"
