"""The route audit of Django sites: deciders, layers, and checks that it cannot read."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import ninja
import pytest
from django.core.exceptions import PermissionDenied
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.views import APIView

from arrcert.exceptions import ConfigurationError
from arrcert.routes import Decision, Effect, Report, Verdict
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware
from arrcert_django.authorization import aauthorize_request, authorize_request, current_authorizer
from arrcert_django.decorators import authorize_certificate, certificate_exempt
from arrcert_django.middleware import ClientCertificateMiddleware
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.routes import report

GATE = "arrcert_django.middleware.ClientCertificateMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"

_partners = authorize_certificate(policy="partners")


def _index(request: HttpRequest, **_: Any) -> HttpResponse:
    return HttpResponse()


class _Mixed(ClientCertificateRequiredMixin, View):
    certificate_policy = "partners"

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


class _OnGet(View):
    @method_decorator(_partners)
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


def decision_at(found: Report, path: str, method: str = "GET") -> Decision:
    """Return the decision of the one row for a path and a method."""
    [decision] = [
        route.decision
        for route in found.routes
        if route.path == path and (not route.methods or method in route.methods)
    ]
    return decision


def protected(policy: str, by: str) -> Decision:
    """Return the decision of a route that one policy protects."""
    return Decision(Verdict.PROTECTED, (policy,), by)


# What decides about a route. ----------------------------------------------------------------------


def test_who_decides(site: Any) -> None:
    """The audit distinguishes the gate, a decorator, the mixin, a method and an exemption."""
    site(
        path("", _index),
        path("decorated", _partners(_index)),
        path("role", authorize_certificate(role="orders")(_index)),
        path("mixed", _Mixed.as_view()),
        path("methods", _OnGet.as_view()),
        path("open", certificate_exempt(lambda request: HttpResponse())),
        path("health", _index),
        ARRCERT_EXEMPT_PATHS=["/health"],
    )
    found = report()
    assert decision_at(found, "/") == protected("default", "gate")
    assert decision_at(found, "/decorated") == protected("partners", "decorator")
    assert decision_at(found, "/role") == protected("default", "decorator, role orders")
    assert decision_at(found, "/mixed") == protected("partners", "mixin")
    assert decision_at(found, "/methods", "HEAD") == protected("partners", "decorator of a method")
    assert decision_at(found, "/methods", "POST") == protected("default", "gate")
    assert decision_at(found, "/open") == Decision(Verdict.EXEMPT, (), "certificate_exempt")
    assert decision_at(found, "/health").decided_by == "ARRCERT_EXEMPT_PATHS /health"
    assert decision_at(found, "any other path") == protected("default", "gate")
    assert found.on_purpose == ["ARRCERT_EXEMPT_PATHS: /health"]


def test_without_the_gate(site: Any) -> None:
    """Without the gate, a view that names no policy is open, and so is OPTIONS of a class."""
    site(path("", _index), path("methods", _OnGet.as_view()), middleware=[])
    found = report()
    assert decision_at(found, "/").verdict is Verdict.OPEN
    assert decision_at(found, "/methods").verdict is Verdict.PROTECTED
    assert decision_at(found, "/methods", "OPTIONS").verdict is Verdict.OPEN
    assert "any other path" not in [route.path for route in found.routes]
    assert found.on_purpose == [
        "ARRCERT_PROTECT_ALL is False: only views that name a policy are checked"
    ]


def test_inside_the_frameworks(site: Any) -> None:
    """The row names the framework in which the policy of a function below is checked."""
    api = ninja.NinjaAPI(urls_namespace="audit", docs_url=None, openapi_url=None)

    @api.get("/x")
    @_partners
    def operation(request: HttpRequest) -> dict[str, str]:
        return {}

    class Rest(APIView):
        @method_decorator(_partners)
        def get(self, request: Any) -> Response:
            return Response({})

    site(path("ninja/", api.urls), path("rest", Rest.as_view()), middleware=[])
    found = report()
    assert decision_at(found, "/ninja/x").decided_by == "decorator inside django-ninja"
    assert decision_at(found, "/rest").decided_by == "decorator inside Django REST framework"


@pytest.mark.parametrize(
    ("route", "rows"),
    [
        (path("files/<path:name>", _index), {"/files/public/*", "/files/one.txt"}),
        (re_path(r"^files/(?P<name>.+)$", _index), {"/files/public/*", "/files/one.txt"}),
        (re_path(r"files/(?P<name>.+)$", _index), {"/files/public/*", "/files/one.txt"}),
        (path("files/public/<path:name>", _index), {"/files/public/<path:name>"}),
        (re_path(r"^files/one.txt$", _index), {"/files/one.txt"}),
        (path("files/", include([path("<name>", _index)])), {"/files/public/*", "/files/one.txt"}),
    ],
)
def test_exempt_paths_of_routes_with_variables(
    site: Any, visit_wsgi: Any, route: Any, rows: set[str]
) -> None:
    """A part of a route whose paths are exempt has its own row."""
    site(route, ARRCERT_EXEMPT_PATHS=["/files/public/*", "/files/one.txt"])
    found = {
        row.path: row.decision.verdict for row in report().routes if row.path != "any other path"
    }
    assert {path for path, verdict in found.items() if verdict is Verdict.EXEMPT} == rows
    for shown in rows:
        concrete = shown.replace("*", "x").replace("<path:name>", "x")
        assert visit_wsgi(concrete).status_code in (200, 404)
    assert visit_wsgi("/files/other").status_code == 403


def test_route_with_the_same_path_as_an_earlier_one(site: Any) -> None:
    """A route with the path of an earlier route has no row, because Django never uses it."""
    site(path("", _partners(_index)), path("", _index), middleware=[])
    assert [route.decision.verdict for route in report().routes] == [Verdict.PROTECTED]


# The layers around a site. ------------------------------------------------------------------------


class _Unknown:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)


def _factory(get_response: Any) -> ClientCertificateMiddleware:
    return ClientCertificateMiddleware(get_response)


def _opaque(environ: Any, start_response: Any) -> Any:
    return []


def test_middleware_in_front_of_the_gate(site: Any) -> None:
    """A middleware before the gate passes requests on, answers some, or is unknown."""
    site(
        middleware=[
            SECURITY,
            "django.middleware.common.CommonMiddleware",
            f"{__name__}._Unknown",
            GATE,
            "django.middleware.csrf.CsrfViewMiddleware",
        ]
    )
    layers = [layer for layer in report().layers if layer.kind == "MIDDLEWARE"]
    assert [layer.effect for layer in layers] == [
        Effect.PASSES,
        Effect.ANSWERS,
        Effect.UNKNOWN,
        Effect.CHECKS,
    ]


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that makes a module with some names, and returns the module's name."""

    def make(**names: Any) -> str:
        module = ModuleType("module_of_the_audit")
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module.__name__

    return make


def test_gate_that_a_factory_makes(site: Any, settings: Any, importable: Any) -> None:
    """A factory in `MIDDLEWARE` that makes the middleware is the gate."""
    module = importable(factory=_factory)
    site(path("", _index), middleware=[SECURITY, f"{module}.factory"])
    del settings.ARRCERT_PROTECT_ALL
    found = report()
    assert decision_at(found, "/") == protected("default", "gate")
    assert [layer.effect for layer in found.layers][-2:] == [Effect.PASSES, Effect.CHECKS]


def test_factory_that_makes_something_else(site: Any, importable: Any) -> None:
    """A factory in `MIDDLEWARE` that makes another middleware is not the gate."""
    site(path("", _index), middleware=[f"{importable(factory=lambda get: get)}.factory"])
    assert decision_at(report(), "/").verdict is Verdict.OPEN


def test_wsgi_application(site: Any, settings: Any, importable: Any) -> None:
    """A WSGI middleware around the application decides about routes that Django leaves open."""
    site(path("", _index), path("health", _index), middleware=[])
    guarded = WSGIMiddleware(
        WSGIHandler(), current_authorizer, policy=None, exempt_paths=["/health"]
    )
    settings.WSGI_APPLICATION = f"{importable(application=guarded)}.application"
    found = report()
    assert decision_at(found, "/") == Decision(Verdict.PROTECTED, (), "WSGI middleware")
    assert decision_at(found, "/health").verdict is Verdict.EXEMPT
    assert found.layers[0].meaning == "any policy; exempt: /health"
    # A second, unprotected way to the site makes its routes open.
    settings.ASGI_APPLICATION = f"{importable(application=_opaque)}.application"
    assert decision_at(report(), "/").verdict is Verdict.OPEN
    assert decision_at(report(guarded), "/").verdict is Verdict.PROTECTED


def test_application_that_cannot_be_imported(site: Any, settings: Any) -> None:
    """If the application cannot be imported, the layers around the site are unknown."""
    site(path("", _index))
    settings.WSGI_APPLICATION = "no_such_module.application"
    [layer, _] = report().layers
    assert layer.effect is Effect.UNKNOWN
    assert layer.is_open()


# Checks that the audit cannot read. ---------------------------------------------------------------


def _own_check(request: HttpRequest) -> HttpResponse:
    authorize_request(request)
    return HttpResponse()


def _hiding(view: Callable[[HttpRequest], HttpResponse]) -> Any:
    def hiding(request: HttpRequest) -> HttpResponse:
        return view(request)

    return hiding


class _OwnDispatch(View):
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        authorize_request(request)
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


@pytest.mark.parametrize(
    "view",
    [_own_check, _OwnDispatch.as_view(), _hiding(_partners(_index)), partial(_partners(_index))],
)
def test_hidden_checks_are_unknown(site: Any, view: Any) -> None:
    """A check that the audit cannot read is unknown, and neither open nor protected."""
    site(path("", view), middleware=[])
    assert decision_at(report(), "/").verdict is Verdict.UNKNOWN


class _Permission(BasePermission):
    answer: Any = True

    def has_permission(self, request: Any, view: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class _Failing(_Permission):
    answer = ValueError("x")


class _Forbidding(_Permission):
    answer = PermissionDenied()


class _Asking(_Permission):
    def has_permission(self, request: Any, view: Any) -> Any:
        return authorize_request(request, "partners")


@pytest.mark.parametrize(
    ("permissions", "verdict", "policies"),
    [
        ([_Permission], Verdict.OPEN, ()),
        ([_Permission, _Asking], Verdict.PROTECTED, ("partners",)),
        ([_Failing, _Asking], Verdict.UNKNOWN, ()),
        ([_Forbidding], Verdict.OPEN, ()),
        ([_Asking | _Permission], Verdict.OPEN, ()),
    ],
)
def test_permissions_of_rest_framework(
    site: Any, permissions: list[Any], verdict: Verdict, policies: tuple[str, ...]
) -> None:
    """Each permission must allow a request without a certificate for the row to be open."""

    class Rest(APIView):
        permission_classes = permissions

        def get(self, request: Any) -> Response:
            return Response({})

    site(path("", Rest.as_view()), middleware=[])
    decision = decision_at(report(), "/")
    assert (decision.verdict, decision.policies) == (verdict, policies)


@pytest.mark.parametrize(
    ("auth", "verdict"),
    [
        (aauthorize_request, Verdict.PROTECTED),
        (lambda request: True, Verdict.OPEN),
        ([authorize_request, lambda request: True], Verdict.PROTECTED),
        ([lambda request: None, authorize_request], Verdict.UNKNOWN),
    ],
)
def test_auth_of_ninja(site: Any, auth: Any, verdict: Verdict) -> None:
    """Only the first `auth` of django-ninja decides with certainty."""
    api = ninja.NinjaAPI(urls_namespace=f"auth{id(auth)}", docs_url=None, openapi_url=None)
    api.get("/x", auth=auth)(lambda request: {})
    site(path("", api.urls), middleware=[])
    assert decision_at(report(), "/x").verdict is verdict


class _Hostile:
    """A view whose attributes raise."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        return HttpResponse()

    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)


class _Endless:
    """A view that wraps a new view each time it is asked."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        return HttpResponse()

    @property
    def __wrapped__(self) -> _Endless:
        return _Endless()


def test_hostile_views(site: Any) -> None:
    """A view whose attributes raise is unknown, and the search in an endless view ends."""
    broken = path("broken", _index)
    broken.callback = _Hostile()
    site(path("hostile", _Hostile()), path("endless", _Endless()), broken, middleware=[])
    found = report()
    assert decision_at(found, "/hostile").verdict is Verdict.UNKNOWN
    assert decision_at(found, "/endless").verdict is Verdict.OPEN


def test_urlconf_that_cannot_be_imported(site: Any, settings: Any) -> None:
    """A URLconf that cannot be imported is one unknown row."""
    site(middleware=[])
    settings.ROOT_URLCONF = "no_such_module"
    [route] = report().routes
    assert (route.path, route.view) == ("/*", "no_such_module")
    assert "ModuleNotFoundError" in route.decision.decided_by
    del settings.ROOT_URLCONF
    assert report().routes[0].decision.verdict is Verdict.UNKNOWN


def test_urlconf_that_includes_itself(site: Any, settings: Any) -> None:
    """The audit of a URLconf that includes itself ends, and reports the unread part."""
    site(path("", _index), middleware=[])
    urlconf = settings.ROOT_URLCONF
    urlconf.urlpatterns.append(path("a/", include((urlconf.urlpatterns, "x"))))
    routes = report().routes
    assert routes[0].path == "/"
    assert routes[-1].decision.verdict is Verdict.UNKNOWN


def test_route_that_fails_to_describe_itself(site: Any) -> None:
    """A route whose pattern raises is unknown."""

    class Hostile:
        def __str__(self) -> str:
            raise ValueError

    broken = path("x", _index)
    broken.pattern = Hostile()
    site(broken, middleware=[])
    [route] = report().routes
    assert route.decision.verdict is Verdict.UNKNOWN


# The command. -------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[str, str]:
    """Run `manage.py arrcert_routes`; return the output and the errors."""
    out, err = io.StringIO(), io.StringIO()
    call_command("arrcert_routes", *arguments, stdout=out, stderr=err, no_color=True)
    return out.getvalue(), err.getvalue()


def test_command_prints_a_plain_table(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of the command is plain text. It is wrapped only to a width that is given."""
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "a/very/long/path/that/goes/on/and/on/for/orders/invoices/<int:number>/<slug:name>/"
    site(path(long, _index))
    assert long in run()[0]
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = run()
    assert out.startswith("PATH")
    assert max(map(len, out.splitlines())) <= 80


def test_command_prints_json(site: Any) -> None:
    """`--json` prints the report as JSON."""
    site(path("x", _index))
    out, _ = run("--json")
    assert json.loads(out)["routes"][0] == {
        "path": "/x",
        "methods": [],
        "view": f"{_index.__module__}._index",
        "verdict": "protected",
        "policies": ["default"],
        "decided_by": "gate",
    }


def test_command_fails_on_open(site: Any) -> None:
    """`--fail-on-open` exits with 1 if a route is open and not allowed by name."""
    site(path("x", _index), middleware=[])
    with pytest.raises(SystemExit) as stopped:
        run("--fail-on-open")
    assert stopped.value.code == 1
    assert run("--fail-on-open", "--allow", "/x")[1] == ""
    assert "remove it" in run("--fail-on-open", "--allow", "/x", "--allow", "/y")[1]
    with pytest.raises(SystemExit) as stopped:
        run("--allow", "/x")
    assert stopped.value.code == 2


def test_site_that_refuses_to_serve(site: Any, settings: Any) -> None:
    """For a site that refuses to serve, the command says why and exits with 2."""
    site(path("", _index), middleware=[f"{__name__}._Unknown"])
    del settings.ARRCERT_PROTECT_ALL
    with pytest.raises(CommandError, match="the site refuses to serve: MIDDLEWARE") as failed:
        run()
    assert failed.value.returncode == 2


def test_arrcert_routes(
    site: Any, settings: Any, importable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`arrcert routes` accepts Django's application, its settings module, or the environment."""
    from click.testing import CliRunner

    from arrcert.cli import main

    site(path("x", _index))
    module = importable(application=WSGIHandler(), ROOT_URLCONF="urls_of_the_test")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", module)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for arguments in ([f"{module}:application"], [module], []):
        result = CliRunner().invoke(main, ["routes", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["routes"][0]["path"] == "/x"
    site(path("x", _index), middleware=[f"{__name__}._Unknown"])
    del settings.ARRCERT_PROTECT_ALL
    for arguments in ([f"{module}:application"], [module]):
        result = CliRunner().invoke(main, ["routes", *arguments])
        assert result.exit_code == 2
        assert "refuses to serve: MIDDLEWARE" in result.stderr


def test_lost_decorators_are_refused(site: Any) -> None:
    """A view that lost its decorator stops the audit, as it stops the site."""

    def lost(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    authorize_certificate(lost)
    site(path("", lost))
    with pytest.raises(ConfigurationError, match="without its @authorize_certificate"):
        report()


def test_what_ends_is_reported(site: Any, settings: Any) -> None:
    """The report lists the pins that end."""
    settings.ARRCERT = {
        "default": {"fingerprints": [{"fingerprint": "AA" * 32, "not_after": "2099-01-31"}]}
    }
    site(path("", _index))
    [end] = report().ends
    assert (end.policies, end.at) == (("default",), "2099-01-31T23:59:59Z")
