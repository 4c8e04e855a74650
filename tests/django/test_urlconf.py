"""Views of Django REST framework and django-ninja, written as in their documentation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import ninja
import ninja.decorators
import pytest
from django.core.checks import Tags, run_checks
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework.decorators import action, api_view
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from arrcert.exceptions import ConfigurationError
from arrcert.testing import IssuedCertificate
from arrcert_django.authorization import aauthorize_request, authorize_request
from arrcert_django.decorators import authorize_certificate
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.urlconf import policy_of

COMMON = "django.middleware.common.CommonMiddleware"

_partners = authorize_certificate(policy="partners")


@pytest.fixture
def api() -> Callable[..., ninja.NinjaAPI]:
    """Return a function that makes a `NinjaAPI`."""
    made: list[ninja.NinjaAPI] = []

    def make(**options: Any) -> ninja.NinjaAPI:
        made.append(ninja.NinjaAPI(urls_namespace=f"api{len(made)}", docs_url=None, **options))
        return made[-1]

    return make


def _name(request: Any) -> str:
    identity = request.client_identity
    return f"{identity and identity.policy}"


# Policies that the middleware sees. ---------------------------------------------------------------


@api_view(["GET", "POST"])
@_partners
def _inner(request: Any) -> Response:
    return Response(_name(request))


@_partners
@api_view(["GET"])
def _outer(request: Any) -> Response:
    return Response(_name(request))


class _OnMethod(APIView):
    @method_decorator(_partners)
    def get(self, request: Any) -> Response:
        return Response(_name(request))


@method_decorator(_partners, name="dispatch")
class _OnDispatch(APIView):
    def get(self, request: Any) -> Response:
        return Response(_name(request))


class _Mixed(ClientCertificateRequiredMixin, APIView):
    certificate_policy = "partners"

    def get(self, request: Any) -> Response:
        return Response(_name(request))


class _Orders(ViewSet):
    @method_decorator(_partners)
    def list(self, request: Any) -> Response:
        return Response(_name(request))

    def create(self, request: Any) -> Response:
        return Response(_name(request))

    @action(detail=False)
    @method_decorator(_partners)
    def late(self, request: Any) -> Response:
        return Response(_name(request))


class _Plain(View):
    @method_decorator(_partners)
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse(_name(request))


_router = SimpleRouter()
_router.register("orders", _Orders, basename="orders")


@pytest.mark.parametrize(
    "view",
    [
        _inner,
        _outer,
        _OnMethod.as_view(),
        _OnDispatch.as_view(),
        _Mixed.as_view(),
        _Plain.as_view(),
        _Orders.as_view({"get": "list"}),
        _Orders.as_view({"get": "late"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_policy_below_rest_framework_is_seen(
    site: Any,
    visit: Any,
    view: Any,
    method: str,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """A view, an action and a function below `@api_view` are checked under their own policy."""
    site(path("", view))
    if method == "HEAD" and view in (_inner, _outer):
        method = "GET"  # `@api_view` answers 405 to HEAD.
    answer = visit("/", partner, method=method)
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "private"
    assert method == "HEAD" or b"partners" in answer.content
    assert visit("/", allowed, method=method).status_code == 403
    assert visit("/", method=method).status_code == 403


def test_policy_of_an_action_is_that_action_s_alone(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Each action behind a router has its own policy."""
    site(path("", include(_router.urls)))
    for url, method, entering, other in (
        ("/orders/", "GET", partner, allowed),
        ("/orders/late/", "GET", partner, allowed),
        ("/orders/", "POST", allowed, partner),
        ("/orders/", "OPTIONS", allowed, partner),
    ):
        assert visit(url, entering, method=method).status_code == 200
        assert visit(url, other, method=method).status_code == 403


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_policy_of_a_ninja_operation_is_seen(
    site: Any,
    visit: Any,
    api: Any,
    kind: str,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """Each operation of django-ninja is checked under its own policy."""
    made = api()

    @made.get("/orders")
    def open_to_default(request: HttpRequest) -> str:
        return _name(request)

    if kind == "sync":

        @made.post("/orders")
        @_partners
        def create(request: HttpRequest) -> str:
            return _name(request)

    else:

        @made.post("/orders")
        @_partners
        async def acreate(request: HttpRequest) -> str:
            return _name(request)

    @made.put("/orders")
    @ninja.decorators.decorate_view(_partners)
    def replace(request: HttpRequest) -> str:
        return _name(request)

    site(path("api/", made.urls))
    for method, entering, other in (
        ("GET", allowed, partner),
        ("POST", partner, allowed),
        ("PUT", partner, allowed),
        ("DELETE", None, partner),
    ):
        if entering is not None:
            assert visit("/api/orders", entering, method=method).status_code == 200
        assert visit("/api/orders", other, method=method).status_code == 403
        assert visit("/api/orders", method=method).status_code == 403
    assert visit("/api/orders", partner, method="POST").content == b'"partners"'


def test_captured_variable_of_another_function_is_no_policy() -> None:
    """A captured variable names a policy only in functions of the two frameworks."""
    func = _partners(_name)

    def view(self: Any, request: HttpRequest) -> Any:
        return func(request)

    class Looks(View):
        get = view

    assert policy_of(view, "GET") is None
    assert policy_of(Looks.as_view(), "GET") is None


def test_view_is_read_without_ninja_and_in_its_older_form(api: Any, monkeypatch: Any) -> None:
    """A view is read without django-ninja, and with older versions that register a method."""
    made = api()

    @made.get("/orders")
    @_partners
    def operation(request: HttpRequest) -> str:
        raise AssertionError("not reached")

    [pattern] = [pattern for pattern in made.urls[0] if str(pattern.pattern) == "orders"]
    path_view = pattern.callback.__closure__[0].cell_contents
    assert policy_of(pattern.callback, "GET") == "partners"
    assert policy_of(path_view._sync_view, "GET") == "partners"
    assert policy_of(pattern.callback, "POST") is None
    monkeypatch.delitem(sys.modules, "ninja.operation")
    assert policy_of(pattern.callback, "GET") is None


def test_variable_without_a_value_is_no_policy() -> None:
    """A variable without a value names no policy."""

    def make() -> Callable[[], None]:
        def view() -> None:
            self()

        assert policy_of(view, "GET") is None
        self = view
        return self

    make()


# Lost decorators and unknown policies. ------------------------------------------------------------


def _errors() -> list[tuple[str | None, str]]:
    messages = run_checks(tags=[Tags.security])
    return [(message.id, message.msg) for message in messages if "arrcert.E" in (message.id or "")]


def test_decorator_above_a_ninja_operation_is_lost(site: Any, visit: Any, api: Any) -> None:
    """`@authorize_certificate` above `@api.get` is found by the checks and at the first request."""
    made = api()

    @_partners
    @made.get("/orders")
    def lost(request: HttpRequest) -> str:
        raise AssertionError("not reached")

    site(path("api/", made.urls))
    [(identifier, message)] = _errors()
    assert identifier == "arrcert.E005"
    assert message.startswith(f"the view {__name__}.{lost.__qualname__} at 'api/orders': ")
    with pytest.raises(ConfigurationError, match="is registered without its"):
        visit("/api/orders")


def test_unknown_policies_of_the_frameworks_are_reported(site: Any, api: Any) -> None:
    """Unknown policies on actions, below `@api_view` and on operations are errors of the checks."""
    unknown = authorize_certificate(policy="parters")

    class Orders(ViewSet):
        @method_decorator(unknown)
        def list(self, request: Any) -> Response:
            raise AssertionError("not reached")

    @api_view(["GET"])
    @unknown
    def inner(request: Any) -> Response:
        raise AssertionError("not reached")

    made = api()

    @made.get("/orders")
    @unknown
    def operation(request: HttpRequest) -> str:
        raise AssertionError("not reached")

    @made.get("/wrapped")
    @ninja.decorators.decorate_view(unknown)
    def wrapped(request: HttpRequest) -> str:
        raise AssertionError("not reached")

    router = SimpleRouter()
    router.register("orders", Orders, basename="orders")
    site(path("", include(router.urls)), path("inner", inner), path("api/", made.urls))
    errors = _errors()
    assert {identifier for identifier, _ in errors} == {"arrcert.E003"}
    assert len(errors) == 4
    for number, name in enumerate(("Orders", "inner", "operation")):
        assert f"<locals>.{name} names the policy 'parters'" in errors[number][1]


# Denials inside the frameworks. -------------------------------------------------------------------


class _HasCertificate(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(authorize_request(request, "partners"))


class _Permitted(APIView):
    permission_classes = (_HasCertificate,)

    def get(self, request: Any) -> Response:
        return Response(_name(request))


@pytest.mark.parametrize("view", [_inner, _OnMethod.as_view(), _Permitted.as_view()])
def test_rest_framework_answers_a_denial_in_json(
    site: Any, visit: Any, view: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """Django REST framework answers a denial with 403 in its own format."""
    site(path("", view), middleware=[COMMON])
    for who in (None, allowed):
        answer = visit("/", who)
        assert answer.status_code == 403
        assert answer["Content-Type"] == "application/json"
        assert b"detail" in answer.content
        assert b"certificate" not in answer.content
    assert visit("/", partner).content == b'"partners"'


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_ninja_answers_a_denial_with_403(
    site: Any,
    visit: Any,
    api: Any,
    debug: bool,
    kind: str,
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """django-ninja answers a denial with 403 in JSON, in debug mode too, and shows no traceback."""
    made = api()
    if kind == "sync":

        @made.get("/decorated")
        @_partners
        def decorated(request: HttpRequest) -> str:
            return _name(request)

        @made.get("/auth", auth=lambda request: authorize_request(request, "partners"))
        def authorized(request: HttpRequest) -> str:
            return _name(request)

    else:

        async def auth(request: HttpRequest) -> Any:
            return await aauthorize_request(request, "partners")

        @made.get("/decorated")
        @_partners
        async def adecorated(request: HttpRequest) -> str:
            return _name(request)

        @made.get("/auth", auth=auth)
        async def aauthorized(request: HttpRequest) -> str:
            return _name(request)

    site(path("api/", made.urls), middleware=[COMMON], DEBUG=debug)
    for url in ("/api/decorated", "/api/auth"):
        for who in (None, allowed):
            answer = visit(url, who)
            assert (answer.status_code, answer.content) == (403, b'{"detail": "Forbidden"}')
        assert visit(url, partner).content == b'"partners"'


def test_handler_that_a_site_has_registered_with_ninja_comes_first(
    site: Any, visit: Any, api: Any
) -> None:
    """A handler that a site has registered for PermissionDenied answers the denial."""
    made = api()

    @made.exception_handler(PermissionDenied)
    def handler(request: HttpRequest, exception: Exception) -> HttpResponse:
        return HttpResponse(f"ours {exception.args}", status=403)

    @made.get("/", auth=authorize_request)
    def operation(request: HttpRequest) -> str:
        raise AssertionError("not reached")

    site(path("api/", made.urls), middleware=[COMMON])
    assert visit("/api/").content == b"ours ()"


def test_wrapper_of_rest_framework_s_request_shares_what_was_decided(
    site: Any, visit: Any, partner: IssuedCertificate
) -> None:
    """A decision about the framework's request is set on Django's request, which caches read."""
    seen: list[Any] = []

    class Looks(APIView):
        permission_classes = (_HasCertificate,)

        def get(self, request: Any) -> Response:
            django_request = request._request
            seen.append((django_request.client_identity, django_request._cache_update_cache))
            return Response()

    site(path("", Looks.as_view()), middleware=[COMMON])
    assert visit("/", partner).status_code == 200
    [(identity, updates_cache)] = seen
    assert identity.policy == "partners"
    assert updates_cache is False


def test_urlconf_module_is_walked_as_a_whole(site: Any, visit: Any) -> None:
    """Policies of views in nested URLconfs are found."""

    def view(request: HttpRequest) -> HttpResponse:
        raise AssertionError("not reached")

    authorize_certificate(view)
    nested = ModuleType("nested")
    nested.urlpatterns = [path("b/", include([path("c", view)]))]
    site(path("a/", include(nested)))
    with pytest.raises(ConfigurationError, match="at 'a/b/c'"):
        visit("/")
