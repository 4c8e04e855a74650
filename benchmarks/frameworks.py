"""The cost that protecting a view adds to a request, compared with the platform's sample."""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import os
import sys
import types
from collections.abc import Callable
from typing import Any

import django
import fastapi
import flask
from app_service import CERTIFICATE, CLIENT, HEADER, ISSUER, KEY, POLICIES, environ_of, scope_of
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.http import HttpRequest, HttpResponse
from django.urls import path
from instructions import Calls
from paired import Bar, Costs, Row, costs, draw, options_from_command_line, print_table
from sample import documented_sample

import arrcert_fastapi
from arrcert import Authorizer, Policy
from arrcert.forwarding.gunicorn import gunicorn_hook_ran
from arrcert_django import decorators as django_decorators
from arrcert_django.startup import refuse_to_serve
from arrcert_flask import Arrcert, authorize_certificate

CHECK = documented_sample(CERTIFICATE.sha1_fingerprint, "alice", ISSUER)
PAGE = "<p>hello</p>"
PATH = "/hellocert"
PLAIN = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
GUARDED = [PLAIN[0], "arrcert_django.middleware.ClientCertificateMiddleware", PLAIN[1]]
ALONE = {
    "sample alone": "check(value.decode('latin-1'))",
    "authorize": "authorize(value.decode('latin-1'))",
    "environ": "request = dict(environ); request[key] = value.decode('latin-1')",
    "authorize_wsgi": "request = dict(environ); request[key] = value.decode('latin-1');"
    " authorize_wsgi(request)",
    "scope": "dict(scope)",
    "authorize_asgi": "authorize_asgi(dict(scope))",
}
"""The cost of a decision without a framework, for the picture."""


def main() -> int:
    """Measure each framework, and print one table."""
    options = options_from_command_line(__doc__, 121)
    rows: list[Row] = []
    for framework, make, goal in (
        ("Flask: extension and decorator", flask_calls, 0.2),
        ("Django WSGI: gate, process_view, decorator", django_wsgi_calls, 0.25),
        ("Django ASGI: gate, process_view, decorator", django_asgi_calls, 0.32),
        ("FastAPI: gate and dependency", fastapi_calls, 0.25),
    ):
        rows += rows_of(framework, make, goal, options)
    print_table("What protecting a view adds, arrcert / the platform's sample", rows)
    return 0


def rows_of(
    framework: str, make: Callable[[], Calls], goal: float, options: argparse.Namespace
) -> list[Row]:
    """Measure one framework, and add its bars to the picture."""
    found = costs(make, options=options)
    name, _, parts = framework.partition(": ")
    rows = [
        found.ratio(
            f"{name}: {parts} add / the sample adds", "arrcert", "sample", goal, less="plain"
        )
    ]
    if "open" in found.seconds:
        rows.append(
            found.ratio(
                f"{name}: an open page beside protected ones / the sample adds",
                "open",
                "sample",
                0.1,
                less="plain",
            )
        )
    rows.append(found.ratio(f"control: {name}, the same view again / the view", "again", "plain"))
    draw(bars_of(name, found))
    return rows


def bars_of(name: str, found: Costs) -> list[Bar]:
    """Return the two bars of a framework: with arrcert, and with the platform's sample."""
    unit, cost = "instructions", found.counted
    if not found.instructions:
        unit, cost = "us", found.microseconds
    is_asgi = "authorize_asgi" in found.seconds
    one, request = ("authorize_asgi", "scope") if is_asgi else ("authorize_wsgi", "environ")
    decision = cost("authorize")
    headers = cost(one, request) - decision
    framework, sample = cost("plain"), cost("sample", "plain")
    gate = cost("arrcert", "plain") - decision - headers
    check = cost("sample alone")
    return [
        Bar(
            f"{name}, arrcert",
            unit,
            {"framework": framework, "gate": gate, "decision": decision, "headers": headers},
        ),
        Bar(
            f"{name}, sample",
            unit,
            {"framework": framework, "gate": sample - check, "decision": check, "headers": 0},
        ),
    ]


def calls_of(requests: dict[str, Callable[[], object]], alone: str, **setups: str) -> Calls:
    """Return requests and the decisions alone.

    Args:
        requests: sends a request, by the name of the page.
        alone: `wsgi` or `asgi`, for the decision that is measured too.
        setups: the code that runs before each turn of a page.
    """
    gunicorn_hook_ran()  # This is the setting of a gunicorn.conf.py that uses `arrcert.gunicorn`.
    authorizer = Authorizer({"default": Policy(fingerprints=[CERTIFICATE.sha256_fingerprint])})
    other = {"wsgi": ("scope", "authorize_asgi"), "asgi": ("environ", "authorize_wsgi")}[alone]
    statements = {name: f"{name}()" for name in requests}
    statements |= {name: text for name, text in ALONE.items() if name not in other}
    names: dict[str, Any] = {
        **requests,
        "use": use,
        "check": CHECK,
        "value": CLIENT.header_value.encode(),
        "key": KEY,
        "environ": environ_of(PATH),
        "scope": scope_of(PATH),
        "authorize": authorizer.authorize,
        "authorize_wsgi": authorizer.authorize_wsgi,
        "authorize_asgi": authorizer.authorize_asgi,
    }
    return Calls(statements, names, setups)


def wsgi_call(application: Callable[..., Any]) -> Callable[[], object]:
    """Return a function that sends one request through a WSGI application."""
    environ, value = environ_of(PATH), CLIENT.header_value.encode()

    def call() -> None:
        request = dict(environ)
        request[KEY] = value.decode("latin-1")
        answer = application(request, expect_200)
        b"".join(answer)
        answer.close()

    return call


def expect_200(status: str, _headers: object, _exc_info: object = None) -> None:
    """End the benchmark if the status of the answer is not 200."""
    if not status.startswith("200"):
        raise RuntimeError(status)


def asgi_call(application: Any) -> Callable[[], object]:
    """Return a function that sends one request through an ASGI application."""
    scope = scope_of(PATH)

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(message["status"])

    async def request() -> None:
        body = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not body:
                await asyncio.Event().wait()  # The client stays connected.
            return body.pop()

        await application(dict(scope), receive, send)

    return lambda: LOOP.run_until_complete(request())


LOOP = asyncio.new_event_loop()

# At import, because a child process under valgrind imports this module and makes the apps.
logging.disable(logging.CRITICAL)
os.environ.setdefault("WEBSITE_SITE_NAME", "benchmark")


def flask_calls() -> Calls:
    """Return requests to Flask apps with one page each, and to an app with an open page too."""

    def page() -> str:
        return PAGE

    def sample_required(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)
        def wrapper() -> str:
            if not CHECK(flask.request.headers.get("X-ARR-ClientCert")):
                flask.abort(403)
            return view()

        return wrapper

    def open_page() -> str:
        return PAGE

    def app(view: Callable[[], str], *, is_protected: bool = False) -> flask.Flask:
        made = flask.Flask(__name__)
        if is_protected:
            made.config["ARRCERT"] = POLICIES
            Arrcert(made)
        made.add_url_rule(PATH, "hellocert", view)
        return made

    beside = app(open_page, is_protected=True)
    beside.add_url_rule("/partners", "partners", authorize_certificate(lambda: PAGE))
    requests = {
        "plain": wsgi_call(app(page)),
        "again": wsgi_call(app(page)),
        "sample": wsgi_call(app(sample_required(page))),
        "arrcert": wsgi_call(app(authorize_certificate(page), is_protected=True)),
        "open": wsgi_call(beside),
    }
    return calls_of(requests, "wsgi")


def page(_request: HttpRequest) -> HttpResponse:
    """Answer as the Flask view does."""
    return HttpResponse(PAGE)


async def async_page(_request: HttpRequest) -> HttpResponse:
    """Answer as the Flask view does, in an event loop."""
    return HttpResponse(PAGE)


def sample_page(request: HttpRequest) -> HttpResponse:
    """Answer as the platform's sample does."""
    if not CHECK(request.META.get(KEY)):
        raise PermissionDenied
    return page(request)


async def async_sample_page(request: HttpRequest) -> HttpResponse:
    """Answer as the platform's sample does, in an event loop."""
    if not CHECK(request.META.get(KEY)):
        raise PermissionDenied
    return await async_page(request)


def urlconf(name: str, view: Callable[..., Any]) -> str:
    """Make a URLconf with one page, because Django tries the patterns of a URLconf in order."""
    module = types.ModuleType(f"urls_of_{name}")
    module.urlpatterns = [path(PATH[1:], view)]
    sys.modules[module.__name__] = module
    return module.__name__


def use(name: str, *, is_protected: bool) -> None:
    """Make a page the only page of the site, with or without arrcert.

    Args:
        name: the name of the URLconf.
        is_protected: whether arrcert is installed.
    """
    settings.ROOT_URLCONF = name
    settings.MIDDLEWARE = GUARDED if is_protected else PLAIN
    if is_protected:
        request_started.connect(refuse_to_serve, dispatch_uid="arrcert_django")
    else:
        # This receiver is arrcert's, and a site without arrcert does not have it.
        request_started.disconnect(dispatch_uid="arrcert_django")


def django_wsgi_calls() -> Calls:
    """Return requests to Django sites with one page each, under WSGI."""
    return django_calls(WSGIHandler, wsgi_call, "wsgi", page, sample_page)


def django_asgi_calls() -> Calls:
    """Return requests to Django sites with one page each, under ASGI."""
    return django_calls(ASGIHandler, asgi_call, "asgi", async_page, async_sample_page)


def django_calls(
    handler: Callable[[], Any],
    call: Callable[[Any], Callable[[], object]],
    alone: str,
    view: Callable[..., Any],
    sample_view: Callable[..., Any],
) -> Calls:
    """Return requests to sites with one page each."""
    if not settings.configured:
        settings.configure(
            ARRCERT=POLICIES,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="of a benchmark",  # noqa: S106 - it protects nothing.
            INSTALLED_APPS=["arrcert_django"],
        )
        django.setup()
    requests, setups = {}, {}
    for name, shown in (
        ("plain", view),
        ("again", view),
        ("sample", sample_view),
        ("arrcert", django_decorators.authorize_certificate(view)),
    ):
        urls, is_protected = urlconf(f"{alone}_{name}", shown), name == "arrcert"
        use(urls, is_protected=is_protected)
        requests[name] = call(handler())
        setups[name] = f"use({urls!r}, is_protected={is_protected})"
    return calls_of(requests, alone, **setups)


def fastapi_calls() -> Calls:
    """Return requests to FastAPI apps of one page each."""

    async def sample_required(request: fastapi.Request) -> None:
        if not CHECK(request.headers.get(HEADER)):
            raise fastapi.HTTPException(403)

    def app(*dependencies: Any) -> fastapi.FastAPI:
        made = fastapi.FastAPI()
        made.add_api_route(PATH, fastapi_page, dependencies=list(dependencies))
        return made

    guarded = app(fastapi.Depends(arrcert_fastapi.RequireClientCertificate()))
    arrcert_fastapi.Arrcert(guarded, {"ARRCERT": POLICIES})
    requests = {
        "plain": asgi_call(app()),
        "again": asgi_call(app()),
        "sample": asgi_call(app(fastapi.Depends(sample_required))),
        "arrcert": asgi_call(guarded),
    }
    return calls_of(requests, "asgi")


async def fastapi_page() -> str:
    """Answer as the Flask view does."""
    return PAGE


if __name__ == "__main__":
    sys.exit(main())
