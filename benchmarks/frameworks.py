"""What protecting a view adds to a request, against what the platform's sample adds."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import statistics
import sys
from collections.abc import Callable
from typing import Any

import django
import flask
from core import HEADERS
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path
from paired import Row, print_table, rounds_from_command_line, turns
from sample import documented_sample

from arrcert.forwarding.gunicorn import gunicorn_hook_ran
from arrcert.testing import CertificateAuthority
from arrcert_django import decorators as django_decorators
from arrcert_flask import Arrcert, authorize_certificate

CLIENT = CertificateAuthority("Contoso Issuing CA").issue("alice")
CERTIFICATE = CLIENT.certificate
CHECK = documented_sample(CERTIFICATE.sha1_fingerprint, "alice", "Contoso Issuing CA")
POLICIES = {"default": {"fingerprints": [CERTIFICATE.sha256_fingerprint]}}
PAGE = "<p>hello</p>"
PLAIN = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
# Requests are sent under this setting: arrcert refuses to serve without its middleware.
MIDDLEWARE = [PLAIN[0], "arrcert_django.middleware.ClientCertificateMiddleware", PLAIN[1]]
HEADERS_OF_REQUEST = [*HEADERS.items(), ("x-arr-clientcert", CLIENT.header_value)]


def main() -> int:
    """Measure each framework, and print one table."""
    rounds = rounds_from_command_line(__doc__, 401)
    logging.disable(logging.CRITICAL)
    gunicorn_hook_ran()  # As if `arrcert.gunicorn` stood in gunicorn.conf.py.
    rows = [
        *rows_of("Flask", flask_calls(), 0.2, rounds),
        *rows_of("Django, WSGI", django_calls(wsgi_call), 0.25, rounds),
        *rows_of("Django, ASGI", django_calls(asgi_call), 0.25, rounds),
    ]
    print_table("What protecting a view adds, arrcert / the platform's sample", rows)
    return 0


def rows_of(
    framework: str, calls: dict[str, Callable[[], object]], goal: float, rounds: int
) -> list[Row]:
    """Pair each request with an unprotected one of the same round."""
    seconds = turns({name: f"{name}()" for name in calls}, calls, rounds=rounds)

    def added(name: str) -> float:
        pairs = zip(seconds[name], seconds["plain"], strict=True)
        return statistics.median(one - other for one, other in pairs) * 1e6

    request = statistics.median(seconds["plain"]) * 1e6
    arrcert, sample, control = added("arrcert"), added("sample"), added("again")
    return [
        Row(
            framework,
            arrcert / sample,
            goal,
            beside=f"{arrcert:.1f} us / {sample:.1f} us, of a request of {request:.0f} us",
        ),
        Row(f"{framework}, control: the same view again", control, None, unit="us"),
    ]


def environ_of(path_info: str) -> dict[str, Any]:
    """Return a request as gunicorn hands it over."""
    environ: dict[str, Any] = {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HEADERS_OF_REQUEST
    }
    return environ | {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path_info,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "contoso.azurewebsites.net",
        "SERVER_PORT": "8000",
        "SERVER_SOFTWARE": "gunicorn/23.0.0",
        "REMOTE_ADDR": "169.254.130.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": type("WSGIErrorsWrapper", (), {"__module__": "gunicorn.http.wsgi"})(),
        "wsgi.input": io.BytesIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def wsgi_call(application: Callable[..., Any], path_info: str) -> Callable[[], object]:
    """Return a function that sends one request through a WSGI application."""
    environ = environ_of(path_info)

    def call() -> None:
        answer = application(dict(environ), expect_200)
        b"".join(answer)
        answer.close()

    return call


def expect_200(status: str, _headers: object, _exc_info: object = None) -> None:
    """Take the answer's status; anything but a 200 ends the benchmark."""
    if not status.startswith("200"):
        raise RuntimeError(status)


def asgi_call(application: Any, path_info: str) -> Callable[[], object]:
    """Return a function that sends one request through an ASGI application."""
    headers = [(name.encode(), value.encode()) for name, value in HEADERS_OF_REQUEST]

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(message["status"])

    async def request() -> None:
        body = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not body:
                await asyncio.Event().wait()  # The client stays.
            return body.pop()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path_info,
            "raw_path": path_info.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("169.254.130.1", 40000),
            "server": ("127.0.0.1", 8000),
        }
        await application(scope, receive, send)

    return lambda: LOOP.run_until_complete(request())


LOOP = asyncio.new_event_loop()


def flask_calls() -> dict[str, Callable[[], object]]:
    """Return requests to two apps, one of which has the extension."""
    plain, protected = flask.Flask("plain"), flask.Flask("protected")
    protected.config["ARRCERT"] = POLICIES
    Arrcert(protected)

    def sample_required(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)
        def wrapper() -> str:
            if not CHECK(flask.request.headers.get("X-ARR-ClientCert")):
                flask.abort(403)
            return view()

        return wrapper

    def page() -> str:
        return PAGE

    plain.add_url_rule("/plain", "plain", page)
    plain.add_url_rule("/again", "again", page)
    plain.add_url_rule("/sample", "sample", sample_required(page))
    protected.add_url_rule("/arrcert", "arrcert", authorize_certificate(page))
    return {
        "plain": wsgi_call(plain, "/plain"),
        "again": wsgi_call(plain, "/again"),
        "sample": wsgi_call(plain, "/sample"),
        "arrcert": wsgi_call(protected, "/arrcert"),
    }


def page(_request: HttpRequest) -> HttpResponse:
    """Answer as the Flask view does."""
    return HttpResponse(PAGE)


async def async_page(_request: HttpRequest) -> HttpResponse:
    """Answer as the Flask view does, in an event loop."""
    return HttpResponse(PAGE)


def sample_page(request: HttpRequest) -> HttpResponse:
    """Answer as the platform's sample does."""
    if not CHECK(request.META.get("HTTP_X_ARR_CLIENTCERT")):
        raise PermissionDenied
    return page(request)


async def async_sample_page(request: HttpRequest) -> HttpResponse:
    """Answer as the platform's sample does, in an event loop."""
    if not CHECK(request.META.get("HTTP_X_ARR_CLIENTCERT")):
        raise PermissionDenied
    return await async_page(request)


urlpatterns = [
    path("wsgi/plain", page),
    path("wsgi/again", page),
    path("wsgi/sample", sample_page),
    path("wsgi/arrcert", django_decorators.authorize_certificate(page)),
    path("asgi/plain", async_page),
    path("asgi/again", async_page),
    path("asgi/sample", async_sample_page),
    path("asgi/arrcert", django_decorators.authorize_certificate(async_page)),
]

if not settings.configured:
    settings.configure(
        ARRCERT=POLICIES,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=MIDDLEWARE,
        SECRET_KEY="of a benchmark",  # noqa: S106
        INSTALLED_APPS=["arrcert_django"],
    )
    django.setup()


def django_calls(
    call: Callable[[Any, str], Callable[[], object]],
) -> dict[str, Callable[[], object]]:
    """Return requests to two handlers, one of which has the middleware."""
    handler, prefix = (WSGIHandler, "/wsgi") if call is wsgi_call else (ASGIHandler, "/asgi")
    protected = handler()
    with override_settings(MIDDLEWARE=PLAIN):
        plain = handler()
    return {
        "plain": call(plain, f"{prefix}/plain"),
        "again": call(plain, f"{prefix}/again"),
        "sample": call(plain, f"{prefix}/sample"),
        "arrcert": call(protected, f"{prefix}/arrcert"),
    }


if __name__ == "__main__":
    sys.exit(main())
