"""A Django site that each test builds, and two ways to call it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings as django_settings
from django.http import HttpResponseBase
from django.test import AsyncClient, Client
from django.urls import URLPattern

from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

# There is no settings module and no environment variable, so other tests in this process are not
# affected. Each test sets all other settings itself.
if not django_settings.configured:
    django_settings.configure(
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "rest_framework",
            "drf_spectacular",
            "arrcert_django",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        SECRET_KEY="for tests",
        USE_TZ=True,
        # Django REST framework without Django's users.
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
            "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
            "UNAUTHENTICATED_USER": None,
        },
    )
    django.setup()

MIDDLEWARE = "arrcert_django.middleware.ClientCertificateMiddleware"

OURS_OR_SUBCLASS = ("ClientCertificateMiddleware", "_Stricter", "_Ignoring")

Site = Callable[..., None]
Visit = Callable[..., HttpResponseBase]


@pytest.fixture(autouse=True)
def _open_connections(django_db_blocker: Any) -> Iterator[None]:
    """Let Django check its connections around each request, as it does in a running site.

    pytest-django refuses that in tests without a database, once another test has opened one.
    """
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def allowed(authority: CertificateAuthority) -> IssuedCertificate:
    """The certificate that the policy "default" allows."""
    return authority.issue("client")


@pytest.fixture(scope="session")
def partner(authority: CertificateAuthority) -> IssuedCertificate:
    """The certificate that the policy "partners" allows."""
    return authority.issue("partner")


@pytest.fixture(scope="session")
def stranger() -> IssuedCertificate:
    """A certificate with the name of the allowed one, which no policy allows."""
    return self_signed("client")


@pytest.fixture(autouse=True)
def _configuration(
    settings: Any,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.ARRCERT = {
        "default": {"fingerprints": [allowed.certificate.sha256_fingerprint]},
        "partners": {"fingerprints": [partner.certificate.sha256_fingerprint]},
    }


@pytest.fixture
def site(settings: Any) -> Site:
    """Return a function that builds the test's site: routes, middleware, settings."""

    def build(
        *routes: URLPattern,
        middleware: Sequence[str] = (MIDDLEWARE,),
        handler403: Callable[..., Any] | None = None,
        **more: Any,
    ) -> None:
        urlconf = ModuleType("urls_of_the_test")
        urlconf.urlpatterns = list(routes)
        if handler403 is not None:
            urlconf.handler403 = handler403
        settings.ROOT_URLCONF = urlconf
        settings.MIDDLEWARE = list(middleware)
        if not any(entry.endswith(OURS_OR_SUBCLASS) for entry in middleware):
            settings.ARRCERT_PROTECT_ALL = False
        for name, value in more.items():
            setattr(settings, name, value)

    return build


@pytest.fixture(params=["wsgi", "asgi"])
def visit(request: pytest.FixtureRequest) -> Visit:
    """Return a function that calls the site. The test runs once on WSGI and once on ASGI."""
    if request.param == "wsgi":
        return wsgi_visit()
    return asgi_visit()


@pytest.fixture
def visit_wsgi() -> Visit:
    """Return a function that calls the site through Django's WSGI handler."""
    return wsgi_visit()


@pytest.fixture
def visit_asgi() -> Visit:
    """Return a function that calls the site through Django's ASGI handler."""
    return asgi_visit()


def wsgi_visit() -> Visit:
    """Return a function that calls the site with its own WSGI client."""
    client = Client()

    def visit(
        path: str, who: IssuedCertificate | None = None, method: str = "GET", **headers: str
    ) -> HttpResponseBase:
        sent = headers | (who.headers if who else {})
        response: HttpResponseBase = client.generic(method, path, headers=sent)
        return response

    return visit


def asgi_visit() -> Visit:
    """Return a function that calls the site with its own ASGI client, in this thread."""
    client = AsyncClient()

    def visit(
        path: str, who: IssuedCertificate | None = None, method: str = "GET", **headers: str
    ) -> HttpResponseBase:
        async def go() -> HttpResponseBase:
            sent = headers | (who.headers if who else {})
            response: HttpResponseBase = await client.generic(method, path, headers=sent)
            return response

        return asyncio.run(go())

    return visit
