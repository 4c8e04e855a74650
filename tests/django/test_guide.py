"""docs/django.md is correct: its code runs, and its table lists what runs for a stranger."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied
from django.core.signals import request_finished, request_started
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.urls import path, register_converter
from django.urls.converters import StringConverter
from django.utils.decorators import sync_and_async_middleware
from django.views import View

from arrcert.testing import IssuedCertificate
from arrcert_django.decorators import authorize_certificate
from arrcert_django.signals import certificate_denied

OURS = "arrcert_django.middleware.ClientCertificateMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
GUIDE = (Path(__file__).parents[2] / "docs" / "django.md").read_text(encoding="utf-8")


def code(containing: str) -> str:
    """Return the one block of the guide that contains a text."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    [found] = [block for block in blocks if containing in block]
    return found


def run(containing: str, **names: Any) -> dict[str, Any]:
    """Run a block of the guide, and return its names."""
    exec(compile(code(containing), "docs/django.md", "exec"), names)
    return names


# Views. ------------------------------------------------------------------------------------------


def test_lines_of_the_gate() -> None:
    """The lines put the gate behind SecurityMiddleware, and name exempt paths."""
    names = run("MIDDLEWARE.insert(1", INSTALLED_APPS=[], MIDDLEWARE=[SECURITY, SESSIONS])
    assert names["MIDDLEWARE"] == [SECURITY, OURS, SESSIONS]
    assert names["INSTALLED_APPS"] == ["arrcert_django"]
    assert names["ARRCERT_EXEMPT_PATHS"] == ["/health", "/static/*"]


def test_views(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Views with a policy accept only its clients, and the exempt view is open."""
    held = run("class Report", __name__=__name__, HttpResponse=HttpResponse, View=View)
    site(
        path("partner", held["partner"]),
        path("report", held["Report"].as_view()),
        path("public", held["public"]),
    )
    for url in ("/partner", "/report"):
        answers = [visit(url, who).status_code for who in (None, allowed, partner)]
        assert answers == [403, 403, 200]
    assert visit("/public").content == b"for everybody"


@pytest.mark.parametrize("middleware", [(OURS,), ()])
def test_not_found_pages_are_private(
    site: Any, visit: Any, settings: Any, middleware: tuple[str, ...], allowed: IssuedCertificate
) -> None:
    """The gate makes the page of an exception private, and without it the handler of the guide."""

    @authorize_certificate
    def missing(request: HttpRequest) -> HttpResponse:
        raise Http404

    site(path("missing", missing), middleware=middleware)
    if not middleware:
        assert "Cache-Control" not in visit("/missing", allowed).headers
        settings.ROOT_URLCONF.handler404 = run("handler404")["handler404"]
    answer = visit("/missing", allowed)
    assert answer.status_code == 404
    assert "private" in answer["Cache-Control"]


def test_checks_in_your_own_code(
    site: Any, visit: Any, settings: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """The guide's functions check the policy and the role, in sync and async views."""
    settings.ARRCERT["partners"] |= {"identity": "fabrikam", "roles": ["orders"]}
    held = run("aauthorize_request", __name__=__name__, HttpResponse=HttpResponse)
    site(path("sync", held["orders"]), path("async", held["orders_async"]), middleware=())
    for url in ("/sync", "/async"):
        assert visit(url).status_code == visit(url, allowed).status_code == 403
        assert visit(url, partner).content == b"fabrikam"


def test_admin_under_a_policy_of_its_own(
    settings: Any, rf: RequestFactory, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """The two methods of the admin deny all clients but the policy's, also at the login page."""
    settings.ARRCERT["staff"] = settings.ARRCERT["partners"]
    admin_site = run("class StaffAdminSite")["StaffAdminSite"]()
    for headers in ({}, allowed.headers):
        for check in (admin_site.has_permission, admin_site.login):
            request = rf.post("/admin/", headers=headers)
            request.user = AnonymousUser()
            with pytest.raises(PermissionDenied):
                check(request)
    request = rf.get("/admin/", headers=partner.headers)
    request.user = AnonymousUser()
    assert not admin_site.has_permission(request)
    request.user = User(is_active=True, is_staff=True)
    assert admin_site.has_permission(request)


# The code that runs for a stranger. ---------------------------------------------------------------

ran: list[str] = []
"""The names of the code that has run, in order."""


class Converter(StringConverter):
    """A converter that counts the conversions of a part of a path."""

    def to_python(self, value: str) -> str:
        """Convert."""
        ran.append("URL converter")
        return value


register_converter(Converter, "counted")


class _Sync:
    """A sync middleware with every hook."""

    name = ""
    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        ran.append(self.name)
        return self.get_response(request)


class Before(_Sync):
    """A middleware before the gate."""

    name = "middleware before the check"


class Behind(_Sync):
    """A middleware behind the gate."""

    name = "middleware behind the check"

    def process_view(self, *_: Any) -> None:
        """Count the call."""
        ran.append("process_view")

    def process_exception(self, *_: Any) -> None:
        """Count the call."""
        ran.append("process_exception")

    def process_template_response(self, _: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Count the call."""
        ran.append("process_template_response")
        return response


@sync_and_async_middleware
def behind_async(get_response: Any) -> Any:
    """Make a middleware behind the gate, in an async site."""
    if not asyncio.iscoroutinefunction(get_response):
        raise MiddlewareNotUsed

    async def middleware(request: HttpRequest) -> HttpResponse:
        ran.append("middleware behind the check")
        answer: HttpResponse = await get_response(request)
        return answer

    return middleware


def view(request: HttpRequest, part: str = "") -> HttpResponse:
    """Count the call."""
    ran.append("view")
    return HttpResponse(request.POST.get("field", ""))


async def async_view(request: HttpRequest) -> HttpResponse:
    """Count the call."""
    ran.append("view")
    return HttpResponse("async")


class ClassBased(View):
    """A class-based view that counts its calls."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Count the call."""
        ran.append("view")
        return super().dispatch(request, *args, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        return HttpResponse("class")


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Count the call."""
    ran.append("handler403")
    return HttpResponse("no", status=403)


PATHS = ("/sync", "/async", "/class", "/partners", "/counted/x", "/unknown")
ROUTES = (
    path("sync", view),
    path("async", async_view),
    path("class", ClassBased.as_view()),
    path("partners", authorize_certificate(policy="partners")(view)),
    path("counted/<counted:part>", view),
)
BEFORE = ["request_started", "middleware before the check"]
AFTER = ["certificate_denied", "handler403", "request_finished"]


@pytest.fixture
def counting(site: Any) -> Iterator[None]:
    """A site in which every kind of site code counts its calls, with Django's sessions."""
    receivers = {}
    for name, signal in (
        ("request_started", request_started),
        ("certificate_denied", certificate_denied),
        ("request_finished", request_finished),
    ):

        def receiver(name: str = name, **_: Any) -> None:
            ran.append(name)

        receivers[signal] = receiver
        signal.connect(receiver)
    site(
        *ROUTES,
        middleware=[
            SECURITY,
            f"{__name__}.Before",
            OURS,
            SESSIONS,
            f"{__name__}.behind_async",
            f"{__name__}.Behind",
        ],
        handler403=handler403,
    )
    ran.clear()
    yield
    for signal, receiver in receivers.items():
        signal.disconnect(receiver)


class Body(io.BytesIO):
    """The body of a request, which counts when it is read."""

    def read(self, *args: Any) -> bytes:
        """Read."""
        ran.append("body")
        return super().read(*args)


def ask_wsgi(application: Any, url: str, who: IssuedCertificate | None) -> str:
    """Send a POST to a WSGI application, as a server does, and return the status."""
    body = b"field=value"
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": url,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "site",
        "SERVER_PORT": "443",
        "HTTP_HOST": "site",
        "wsgi.url_scheme": "https",
        "wsgi.input": Body(body),
        "wsgi.errors": io.StringIO(),
    }
    if who is not None:
        environ["HTTP_X_ARR_CLIENTCERT"] = who.header_value
    answered: list[str] = []
    response = application(environ, lambda status, headers, *_: answered.append(status[:3]))
    b"".join(response)
    getattr(response, "close", lambda: None)()
    return answered[0]


def ask_asgi(application: Any, url: str, who: IssuedCertificate | None) -> str:
    """Send a POST to an ASGI application, as a server does, and return the status."""
    headers = [(b"host", b"site"), (b"content-type", b"application/x-www-form-urlencoded")]
    if who is not None:
        headers.append((b"x-arr-clientcert", who.header_value.encode()))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": url,
        "raw_path": url.encode(),
        "query_string": b"",
        "headers": headers,
    }
    answered: list[str] = []

    async def go() -> None:
        gone, bodies = asyncio.Event(), [b"field=value"]

        async def receive() -> Any:
            if not bodies:
                await gone.wait()
                return {"type": "http.disconnect"}
            ran.append("body")
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered.append(str(message["status"]))

        await application(scope, receive, send)

    asyncio.run(go())
    return answered[0]


ASK = {"wsgi": ask_wsgi, "asgi": ask_asgi}


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("url", PATHS)
@pytest.mark.parametrize("kind", ASK)
def test_a_strangers_post_reaches_nothing_behind_the_check(
    kind: str,
    url: str,
    allowed: IssuedCertificate,
    stranger: IssuedCertificate,
) -> None:
    """For a stranger no middleware, hook or view behind the check runs, except the listed code.

    Django's own handlers run, WSGI and ASGI, with sync, async and class-based views.
    """
    application = run(f"get_{kind}_application()")["django_application"]
    expected = [*BEFORE, *AFTER]
    if kind == "asgi":
        # Django's ASGI handler reads the body before the first middleware.
        expected.insert(1, "body")
    if url.startswith("/counted"):
        expected.insert(-len(AFTER), "URL converter")
    for client in (None, stranger):
        ran.clear()
        assert ASK[kind](application, url, client) == "403"
        assert [what for what in ran if what not in expected] == []
        assert sorted(ran) == sorted(expected)
    ran.clear()
    assert ASK[kind](application, url, allowed) in ("200", "403", "404")
    assert "middleware behind the check" in ran


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("kind", ASK)
def test_nothing_of_django_runs_inside_the_plain_middleware(
    kind: str, allowed: IssuedCertificate, partner: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """The plain middleware around Django keeps all counters at 0 for a stranger."""
    application = run(f"get_{kind}_application()")["application"]
    for url in PATHS:
        for client in (None, stranger):
            assert ASK[kind](application, url, client) == "403"
    assert ran == []
    assert ASK[kind](application, "/sync", allowed) == "200"
    assert {*BEFORE, "body", "middleware behind the check", "view"} <= set(ran)
    assert ASK[kind](application, "/partners", partner) == "200"


def test_the_page_lists_what_runs() -> None:
    """The page's table lists everything that the tests see run for a stranger."""
    section = GUIDE.split("## What runs before the check")[1].split("\n## ")[0]
    for what in (
        "`request_started`",
        "middlewares before",
        "URL converters",
        "body",
        "`certificate_denied`",
        "`handler403`",
        "`request_finished`",
    ):
        assert what in section


# CORS. -------------------------------------------------------------------------------------------

ORIGIN = "https://pages.example"


@pytest.fixture
def cors(site: Any, settings: Any) -> None:
    """A usual site with the lines of the guide."""
    lines = run(
        "corsheaders",
        INSTALLED_APPS=list(settings.INSTALLED_APPS),
        MIDDLEWARE=[SECURITY, OURS, "django.middleware.common.CommonMiddleware"],
    )
    settings.INSTALLED_APPS = lines["INSTALLED_APPS"]
    own = {
        name: value
        for name, value in lines.items()
        if name.startswith(("CORS_", "ARRCERT", "SILENCED"))
    }
    site(path("sync", view), middleware=lines["MIDDLEWARE"], **own)


@pytest.mark.usefixtures("cors")
def test_preflight_is_answered_before_the_check(
    visit: Any, allowed: IssuedCertificate, stranger: IssuedCertificate
) -> None:
    """A preflight without a certificate is answered, and the request itself is checked."""
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    preflight = visit("/sync", method="OPTIONS", **asks)
    assert preflight.status_code == 200
    assert preflight["Access-Control-Allow-Origin"] == ORIGIN
    assert preflight["Access-Control-Allow-Credentials"] == "true"
    assert preflight.content == b""
    assert visit("/unknown", method="OPTIONS", **asks).status_code == 200
    other = visit("/sync", method="OPTIONS", **(asks | {"Origin": "https://other.example"}))
    assert "Access-Control-Allow-Origin" not in other
    # An OPTIONS request that is not a preflight is checked.
    assert visit("/sync", method="OPTIONS", Origin=ORIGIN).status_code == 403

    from_page = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
    assert visit("/sync", method="PUT", **from_page).status_code == 403
    assert visit("/sync", stranger, method="PUT", **from_page).status_code == 403
    answer = visit("/sync", allowed, method="PUT", **from_page)
    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == ORIGIN
    from_page["Origin"] = "https://other.example"
    assert visit("/sync", allowed, method="PUT", **from_page).status_code == 403


@pytest.mark.usefixtures("cors")
def test_check_reports_what_answers_preflights(settings: Any) -> None:
    """What answers before the gate is a warning, and the guide's lines say that it is intended."""
    from django.core.checks import run_checks

    ours = [message for message in run_checks() if "arrcert" in str(message.id)]
    assert [message.id for message in ours if not message.is_silenced()] == []
    [message] = ours
    assert message.id == "arrcert.W002"
    assert '"corsheaders.middleware.CorsMiddleware"' in message.msg


def test_without_an_answer_to_preflights_the_browser_gets_a_403(site: Any, visit: Any) -> None:
    """A preflight that nothing answers is denied as `missing`."""
    site(path("sync", view), ARRCERT_CROSS_SITE_ORIGINS=[ORIGIN])
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    assert visit("/sync", method="OPTIONS", **asks).status_code == 403


# Requests from another site. ------------------------------------------------------------------


def test_returns_from_another_site_need_an_exempt_path(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """The `form_post` of a sign-in is denied, except on the exempt path of the guide."""
    returns = {"Origin": "https://idp.example", "Sec-Fetch-Site": "cross-site"}
    site(path("accounts/saml/acs/", view))
    assert visit("/accounts/saml/acs/", allowed, method="POST", **returns).status_code == 403
    null = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
    assert visit("/accounts/saml/acs/", allowed, method="POST", **null).status_code == 403
    exempt = run("saml")["ARRCERT_EXEMPT_PATHS"]
    site(path("accounts/saml/acs/", view), ARRCERT_EXEMPT_PATHS=exempt)
    for headers in (returns, null):
        assert visit("/accounts/saml/acs/", method="POST", **headers).status_code == 200
