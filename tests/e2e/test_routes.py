"""The route audit of whole Django sites, compared with the answers without a certificate."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.matrix

PROGRAM = Path(__file__).with_name("compare_routes.py")
ROOT = Path(__file__).parents[2]

ARRCERT = 'ARRCERT = {"default": {"fingerprints": ["' + "00" * 32 + '"]}}\n'
GATE = "arrcert_django.middleware.ClientCertificateMiddleware"

SETTINGS = f"""
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "arrcert_django",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {{
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        }},
    }}
]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
STATIC_URL = "static/"
USE_TZ = True
{ARRCERT}"""

WITH_GATE = f"""
MIDDLEWARE = list(MIDDLEWARE)
MIDDLEWARE.insert(1, "{GATE}")
"""
WITHOUT_GATE = """
ARRCERT_PROTECT_ALL = False
"""


def needs_apps(*modules: str) -> None:
    """Skip the test if a package of the dependency group `apps` is missing."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is missing: pip install --group apps")


def run(folder: Path, *arguments: str, settings: str = "site_settings") -> Any:
    """Run Python in a folder, with the settings of the site."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")}
    inherited = [str(ROOT)] if (ROOT / "arrcert").is_dir() else []
    if "PYTHONPATH" in environ:
        inherited.append(environ["PYTHONPATH"])
    environ |= {
        "DJANGO_SETTINGS_MODULE": settings,
        "PYTHONPATH": os.pathsep.join([str(folder), *inherited]),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def compare(folder: Path) -> dict[str, Any]:
    """Compare the audit of a site with its answers."""
    done = run(folder, str(PROGRAM))
    assert done.returncode == 0, done.stderr
    compared: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return compared


def write(folder: Path, **files: str) -> None:
    """Write the modules of a site."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


def expect(result: dict[str, Any], kind: str, *, at_least: int) -> None:
    """Check the result of a comparison for a site of this kind."""
    assert result["wrong"] == []
    assert result["compared"] >= at_least
    assert len(result["unreachable"]) <= result["compared"] / 20
    assert result["verdicts"]["protected"] > 0
    assert ("open" in result["verdicts"]) is (kind == "decorators")
    assert "unknown" not in result["verdicts"]


KINDS = pytest.mark.parametrize("kind", ["gate", "decorators"])


@KINDS
def test_start_project_of_wagtail(tmp_path: Path, kind: str) -> None:
    """The audit is right for Wagtail's start project: pages, admin, documents, Django's admin."""
    needs_apps("wagtail")
    started = run(
        tmp_path, "-c", "from wagtail.bin.wagtail import main; main()", "start", "mysite", "."
    )
    assert (tmp_path / "manage.py").exists(), started.stderr
    write(
        tmp_path,
        site_settings="from mysite.settings.dev import *\n"
        'INSTALLED_APPS += ["arrcert_django"]\nALLOWED_HOSTS = ["*"]\n'
        'DATABASES["default"]["NAME"] = ":memory:"\n'
        + ARRCERT
        + (WITH_GATE if kind == "gate" else WITHOUT_GATE)
        + 'ROOT_URLCONF = "audited_urls"\n',
        audited_urls="""
            from django.urls import path
            from wagtail.documents import urls as documents
            from wagtail.utils.urlpatterns import decorate_urlpatterns

            from arrcert_django.decorators import authorize_certificate, certificate_exempt
            from mysite.urls import urlpatterns
            from search import views

            decorate_urlpatterns(documents.urlpatterns, authorize_certificate)
            urlpatterns = [
                path("search/", authorize_certificate(views.search)),
                path("open/", certificate_exempt(lambda request: views.search(request))),
                *urlpatterns,
            ]
        """,
    )
    expect(compare(tmp_path), kind, at_least=1000)


@KINDS
def test_router_of_rest_framework_with_spectacular(tmp_path: Path, kind: str) -> None:
    """The audit is right for a router of Django REST framework, and for drf-spectacular."""
    needs_apps("drf_spectacular")
    write(
        tmp_path,
        site_settings=SETTINGS
        + 'INSTALLED_APPS += ["rest_framework", "drf_spectacular"]\n'
        + 'REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}\n'
        + (WITH_GATE if kind == "gate" else WITHOUT_GATE),
        urls="""
            from django.contrib.auth.models import Group, User
            from django.urls import include, path
            from django.utils.decorators import method_decorator
            from drf_spectacular.views import (
                SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView,
            )
            from rest_framework import permissions, routers, serializers, viewsets
            from rest_framework.decorators import action, api_view
            from rest_framework.response import Response

            from arrcert_django.authorization import authorize_request
            from arrcert_django.decorators import authorize_certificate
            from arrcert_django.mixins import ClientCertificateRequiredMixin

            class UserSerializer(serializers.ModelSerializer):
                class Meta:
                    model = User
                    fields = ["username"]

            class GroupSerializer(serializers.ModelSerializer):
                class Meta:
                    model = Group
                    fields = ["name"]

            class Users(viewsets.ModelViewSet):
                queryset = User.objects.all()
                serializer_class = UserSerializer

                @method_decorator(authorize_certificate)
                def list(self, request, *args, **kwargs):
                    return super().list(request, *args, **kwargs)

                @action(detail=True, methods=["post"])
                @method_decorator(authorize_certificate)
                def activate(self, request, pk=None):
                    return Response({})

            class Groups(ClientCertificateRequiredMixin, viewsets.ReadOnlyModelViewSet):
                queryset = Group.objects.all()
                serializer_class = GroupSerializer

            class HasCertificate(permissions.BasePermission):
                def has_permission(self, request, view):
                    return bool(authorize_request(request))

            class Members(viewsets.ReadOnlyModelViewSet):
                queryset = User.objects.all()
                serializer_class = UserSerializer
                permission_classes = [permissions.AllowAny, HasCertificate]

            @api_view(["GET", "POST"])
            @authorize_certificate
            def inner(request):
                return Response({})

            router = routers.DefaultRouter()
            router.register("users", Users)
            router.register("groups", Groups)
            router.register("members", Members, basename="member")
            urlpatterns = [
                path("api/", include(router.urls)),
                path("inner/", inner),
                path("outer/", authorize_certificate(SpectacularAPIView.as_view())),
                path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
                path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema")),
                path("api/redoc/", SpectacularRedocView.as_view(url_name="schema")),
            ]
        """,
    )
    expect(compare(tmp_path), kind, at_least=60)


@KINDS
def test_django_ninja(tmp_path: Path, kind: str) -> None:
    """The audit is right for django-ninja: operations, routers, documentation and `auth`."""
    write(
        tmp_path,
        site_settings=SETTINGS + (WITH_GATE if kind == "gate" else WITHOUT_GATE),
        urls="""
            from django.urls import path
            from ninja import NinjaAPI, Router
            from ninja.decorators import decorate_view
            from ninja.security import APIKeyHeader

            from arrcert_django.authorization import aauthorize_request, authorize_request
            from arrcert_django.decorators import authorize_certificate

            class Key(APIKeyHeader):
                def authenticate(self, request, key):
                    return key == "secret"

            api = NinjaAPI()

            @api.get("/open")
            def opened(request):
                return {}

            @api.get("/decorated")
            @authorize_certificate
            def decorated(request):
                return {}

            @api.get("/asynchronous")
            @authorize_certificate
            async def asynchronous(request):
                return {}

            @api.post("/wrapped")
            @decorate_view(authorize_certificate)
            def wrapped(request):
                return {}

            @api.get("/auth", auth=authorize_request)
            def auth(request):
                return {}

            @api.get("/aauth", auth=aauthorize_request)
            async def aauth(request):
                return {}

            @api.get("/chosen", auth=lambda request: authorize_request(request, "default"))
            def chosen(request):
                return {}

            @api.get("/key", auth=Key())
            def key(request):
                return {}

            @api.api_operation(["POST", "PATCH"], "/open")
            def changed(request):
                return {}

            router = Router(auth=authorize_request)

            @router.get("/orders/{int:number}")
            def order(request, number: int):
                return {}

            @router.delete("/orders/{number}", auth=None)
            def delete(request, number: str):
                return {}

            api.add_router("/router", router)
            urlpatterns = [path("api/", api.urls)]
        """,
    )
    expect(compare(tmp_path), kind, at_least=14)


@KINDS
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_channels(tmp_path: Path, kind: str, is_wrapped: bool) -> None:
    """The audit is right for Channels: routers, middlewares, and HTTP consumers."""
    needs_apps("channels")
    wrapped = "ClientCertificateMiddleware({}, current_authorizer, exempt_paths=['/ws/health'])"
    write(
        tmp_path,
        site_settings=SETTINGS
        + (WITH_GATE if kind == "gate" else WITHOUT_GATE)
        + 'INSTALLED_APPS.insert(0, "channels")\nASGI_APPLICATION = "asgi.application"\n',
        urls="""
            from django.http import HttpResponse
            from django.urls import path

            from arrcert_django.decorators import authorize_certificate

            urlpatterns = [
                path("", lambda request: HttpResponse()),
                path("closed", authorize_certificate(lambda request: HttpResponse())),
            ]
        """,
        asgi=f"""
            from django.core.asgi import get_asgi_application

            django_app = get_asgi_application()

            from channels.auth import AuthMiddlewareStack
            from channels.generic.websocket import WebsocketConsumer
            from channels.routing import ProtocolTypeRouter, URLRouter
            from django.urls import path, re_path

            from arrcert.asgi import ClientCertificateMiddleware
            from arrcert_django.authorization import current_authorizer

            class Chat(WebsocketConsumer):
                pass

            class Echo(WebsocketConsumer):
                pass

            nested = URLRouter([path("rooms/lobby", Chat.as_asgi())])
            websockets = AuthMiddlewareStack(
                URLRouter([
                    path("ws/chat", Chat.as_asgi()),
                    re_path(r"^ws/health$", Echo.as_asgi()),
                    path("ws/", nested),
                ])
            )
            application = ProtocolTypeRouter({{
                "http": django_app,
                "websocket": {wrapped.format("websockets") if is_wrapped else "websockets"},
            }})
        """,
    )
    result = compare(tmp_path)
    assert result["wrong"] == []
    assert result["compared"] == 2 * 8 + 3
    found = run(tmp_path, "-m", "django", "arrcert_routes", "--json")
    rows = json.loads(found.stdout)["routes"]
    sockets = {row["path"]: row for row in rows if row["methods"] == ["WEBSOCKET"]}
    assert sockets["/ws/chat"]["view"] == "asgi.Chat"
    verdicts = {path: row["verdict"] for path, row in sockets.items()}
    expected = ("protected", "exempt") if is_wrapped else ("open", "open")
    assert verdicts == {
        "/ws/chat": expected[0],
        "/^ws/health$": expected[1],
        "/ws/rooms/lobby": expected[0],
    }


@KINDS
def test_quick_start_of_microsoft(tmp_path: Path, kind: str) -> None:
    """The audit is right for a site like Microsoft's sample, with its `production.py`."""
    write(
        tmp_path,
        base=SETTINGS,
        site_settings="from base import *\nMIDDLEWARE = [*MIDDLEWARE]\n"
        + (WITH_GATE if kind == "gate" else WITHOUT_GATE),
        urls="""
            from django.contrib import admin
            from django.http import HttpResponse
            from django.shortcuts import redirect
            from django.urls import include, path
            from django.views.decorators.csrf import csrf_exempt

            from arrcert_django.decorators import authorize_certificate

            def index(request):
                return HttpResponse("<form action=/hello method=post></form>")

            @csrf_exempt
            @authorize_certificate
            def hello(request):
                name = request.POST.get("name")
                return HttpResponse(name) if name else redirect("index")

            shop = [path("", index, name="index"), path("hello", hello, name="hello")]
            urlpatterns = [path("", include(shop)), path("admin/", admin.site.urls)]
        """,
    )
    expect(compare(tmp_path), kind, at_least=180)


def test_site_whose_production_settings_replace_the_middleware(tmp_path: Path) -> None:
    """If `production.py` drops the middleware, the site serves nothing, and the audit says so."""
    write(
        tmp_path,
        base=SETTINGS + WITH_GATE,
        site_settings="from base import *\n"
        'MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]\n',
        urls="urlpatterns = []",
    )
    done = run(tmp_path, "-m", "django", "arrcert_routes", "--fail-on-open")
    assert done.returncode == 2
    assert "the site refuses to serve: MIDDLEWARE" in done.stderr
