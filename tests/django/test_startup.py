from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.core.signals import request_started
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.views import View

from arrcert.exceptions import ConfigurationError
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert_django.decorators import authorize_certificate, certificate_exempt
from arrcert_django.middleware import ClientCertificateMiddleware
from arrcert_django.mixins import ClientCertificateRequiredMixin

OURS = "arrcert_django.middleware.ClientCertificateMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
NOT_ACTIVE = "MIDDLEWARE: does not contain"


def _hello(request: Any) -> HttpResponse:
    return HttpResponse("hello")


def factory(get_response: Any) -> Any:
    """Makes the middleware, as a factory in MIDDLEWARE may."""
    return ClientCertificateMiddleware(get_response)


factory.async_capable = True


class Subclassed(ClientCertificateMiddleware):
    pass


# The middleware is active. ------------------------------------------------------------------------


def test_site_without_the_middleware_serves_nothing(
    site: Any, visit: Any, settings: Any, allowed: IssuedCertificate, caplog: Any
) -> None:
    """A site with the app but not the middleware serves nothing, and the log says what to do."""
    site(path("", certificate_exempt(lambda request: _hello(request))), middleware=[COMMON])
    del settings.ARRCERT_PROTECT_ALL
    for who in (None, allowed):
        with pytest.raises(ConfigurationError, match=NOT_ACTIVE):
            visit("/", who)
    assert f"does not contain {OURS}" in caplog.text
    assert "add it directly after SecurityMiddleware" in caplog.text
    assert "ARRCERT_PROTECT_ALL = False" in caplog.text


@pytest.mark.parametrize("middleware", [OURS, f"{__name__}.Subclassed", f"{__name__}.factory"])
def test_middleware_is_active_in_each_form(
    site: Any, visit: Any, settings: Any, middleware: str, allowed: IssuedCertificate
) -> None:
    """The middleware itself, a subclass of it, and a factory that makes it are active."""
    site(path("", _hello), middleware=[middleware, COMMON])
    settings.ARRCERT_PROTECT_ALL = True
    assert visit("/", allowed).status_code == 200
    assert visit("/").status_code == 403


def test_instance_of_other_settings_is_not_active(site: Any, visit: Any, settings: Any) -> None:
    """A middleware that was made under another MIDDLEWARE does not count."""
    site(path("", _hello), middleware=[f"{__name__}.factory", COMMON])
    settings.ARRCERT_PROTECT_ALL = True
    assert visit("/").status_code == 403
    with (
        override_settings(MIDDLEWARE=[COMMON]),
        pytest.raises(ConfigurationError, match=NOT_ACTIVE),
    ):
        visit("/")
    assert visit("/").status_code == 403


def test_site_may_protect_only_decorated_views(
    site: Any, visit: Any, allowed: IssuedCertificate
) -> None:
    """With ARRCERT_PROTECT_ALL = False the site serves without the middleware."""
    site(
        path("open", _hello),
        path("guarded", authorize_certificate(_hello)),
        middleware=[COMMON],
        ARRCERT_PROTECT_ALL=False,
    )
    assert visit("/open").status_code == 200
    assert visit("/guarded").status_code == 403
    assert visit("/guarded", allowed).status_code == 200


def test_setting_that_contradicts_the_middleware_stops_the_start(site: Any, visit: Any) -> None:
    """ARRCERT_PROTECT_ALL = False with the middleware is a configuration error."""
    site(path("", _hello), ARRCERT_PROTECT_ALL=False)
    with pytest.raises(ConfigurationError, match="ARRCERT_PROTECT_ALL: is False"):
        visit("/")


@pytest.mark.parametrize("middleware", [[OURS], [COMMON]])
def test_site_without_any_setting_serves_nothing(
    site: Any, visit: Any, settings: Any, middleware: list[str]
) -> None:
    """A site without any configuration raises at the first request."""
    site(path("", _hello), middleware=middleware)
    if hasattr(settings, "ARRCERT_PROTECT_ALL"):
        del settings.ARRCERT_PROTECT_ALL
    del settings.ARRCERT
    with pytest.raises(ConfigurationError, match="ARRCERT: is not set"):
        visit("/")


def test_test_client_is_left_as_it_was(site: Any, settings: Any) -> None:
    """After a refusal, Django still closes old connections at the start of each request."""
    site(path("", _hello), middleware=[COMMON])
    del settings.ARRCERT_PROTECT_ALL
    for get in (Client().get, lambda url: asyncio.run(AsyncClient().get(url))):
        request_started.disconnect(close_old_connections)
        request_started.connect(close_old_connections)
        with pytest.raises(ConfigurationError):
            get("/")
        assert request_started.disconnect(close_old_connections)
        request_started.connect(close_old_connections)


# Django does not close the file of the request's body if a receiver raises.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
def test_asgi_application_is_refused_too(site: Any, settings: Any) -> None:
    """Django's own ASGI application raises before it sends anything."""
    site(path("", _hello), middleware=[COMMON])
    del settings.ARRCERT_PROTECT_ALL
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"host", b"x")],
        "query_string": b"",
    }
    with pytest.raises(ConfigurationError, match=NOT_ACTIVE):
        asyncio.run(get_asgi_application()(scope, receive, send))
    assert sent == []
    gc.collect()


# Warnings. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_silenced", [False, True])
def test_warnings_of_the_configuration_are_in_the_log(
    site: Any, visit: Any, is_silenced: bool, caplog: Any
) -> None:
    """A server runs no checks, so the start logs what they warn of, unless it is silenced."""
    policy = {"trust_anchors": CertificateAuthority("CA").certificate_pem.decode()}
    site(
        path("", _hello),
        ARRCERT={"default": policy | {"common_names": ["*.contoso.com"]}},
        SILENCED_SYSTEM_CHECKS=["arrcert.W004"] * is_silenced,
    )
    assert visit("/").status_code == 403
    told = [message for message in caplog.messages if message.startswith("configuration: ")]
    assert any("*.contoso.com" in message for message in told) is not is_silenced


# Lost decorators. ---------------------------------------------------------------------------------


def test_view_that_lost_its_decorator_stops_every_request(
    site: Any, visit: Any, settings: Any, caplog: Any
) -> None:
    """A view that is registered without the decorator above it is an error at each request."""

    def view(request: HttpRequest) -> HttpResponse:
        raise AssertionError("not reached")

    decorated = authorize_certificate(policy="partners")(view)
    site(path("open", _hello), path("lost", view))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="at 'lost': is registered without its"):
            visit("/open")
    assert "the site refuses to serve" in caplog.text
    site(path("open", _hello), path("lost", view), path("found", decorated))
    assert visit("/open").status_code == 403


class _Named(View):
    """Names a policy, and does not inherit from the mixin."""

    certificate_policy = "partners"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        return _hello(request)


class _Mixed(ClientCertificateRequiredMixin, _Named):
    """Checks the policy that it names."""

    certificate_policy = "partners"


def test_class_that_names_a_policy_without_the_mixin(site: Any, visit: Any, caplog: Any) -> None:
    """If only the attribute names a policy, and there is no middleware, nothing is served."""
    site(path("open", _hello), path("named", _Named.as_view()), middleware=[COMMON])
    for url in ("/open", "/named"):
        with pytest.raises(ConfigurationError, match="nothing that arrcert can see checks it"):
            visit(url)
    assert "at 'named': names certificate_policy = 'partners'" in caplog.text
    assert "make ClientCertificateRequiredMixin the first base of its class" in caplog.text


def test_mixin_checks_its_policy_below_another_decorator(
    site: Any, visit: Any, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """A class with the mixin serves without the middleware, whatever decorates the view."""
    site(path("mixed", authorize_certificate(_Mixed.as_view())), middleware=[COMMON])
    for who in (None, allowed, partner):
        assert visit("/mixed", who).status_code == 403


def test_view_that_is_open_on_purpose_is_not_lost(site: Any, visit: Any) -> None:
    """An exempt view may also be registered with a decorator."""

    @certificate_exempt
    def view(request: HttpRequest) -> HttpResponse:
        return _hello(request)

    authorize_certificate(view)
    site(path("open", view))
    assert visit("/open").status_code == 200


def test_urlconf_that_cannot_be_loaded_is_django_s_to_report(
    site: Any, visit: Any, settings: Any
) -> None:
    """A URLconf that fails to load denies strangers and is Django's error for others."""
    site()
    settings.ROOT_URLCONF = "there.is.no.such.urlconf"
    assert visit("/").status_code == 403
    settings.ROOT_URLCONF = ModuleType("empty")
    assert visit("/").status_code == 403


# A project like Microsoft's Django sample. --------------------------------------------------------

SETTINGS = """
import os
SECRET_KEY = "for the test"
DEBUG = True
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = "azureproject.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
STATIC_URL = "static/"
STATIC_ROOT = "staticfiles"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
README_LINES = """
INSTALLED_APPS += ["arrcert_django"]
MIDDLEWARE.insert(1, "arrcert_django.middleware.ClientCertificateMiddleware")
"""
# The sample's production.py assigns MIDDLEWARE again to add WhiteNoise.
PRODUCTION = """
from .settings import *
DEBUG = False
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
]
"""
START = """
import os
name = "azureproject.production" if "WEBSITE_HOSTNAME" in os.environ else "azureproject.settings"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", name)
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("the restaurants"))]
"""
SERVERS = {
    "gunicorn": ["-m", "gunicorn", "--bind", "fd://{fd}", "azureproject.wsgi"],
    "uvicorn": ["-m", "uvicorn", "--fd", "{fd}", "azureproject.asgi:application"],
}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The project, with the lines of the README in its settings.py."""
    package = tmp_path / "azureproject"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "settings.py").write_text(SETTINGS + README_LINES)
    (package / "production.py").write_text(PRODUCTION)
    (package / "urls.py").write_text(URLS)
    for kind in ("wsgi", "asgi"):
        (package / f"{kind}.py").write_text(
            f"{START}\nfrom django.core.{kind} import get_{kind}_application\n"
            f"application = get_{kind}_application()\n"
        )
    (tmp_path / "manage.py").write_text(
        f"{START}\nimport sys\nfrom django.core.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)\n"
    )
    return tmp_path


def _environment(**more: str) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")}
    environ |= {"WEBSITE_HOSTNAME": "site.azurewebsites.net", "WEBSITE_SITE_NAME": "site"}
    # The project is imported from its folder, and arrcert from where this test found it.
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return environ | more


@contextmanager
def _served(project: Path, server: str, who: IssuedCertificate) -> Iterator[int]:
    policies = {"default": {"fingerprints": [who.certificate.sha256_fingerprint]}}
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, (project / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *(word.format(fd=listener.fileno()) for word in SERVERS[server])],
            cwd=project,
            env=_environment(ARRCERT=json.dumps(policies)),
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait(10)


def _get(port: int, *headers: str) -> bytes:
    """Return the whole response. The listening socket queues until the server accepts."""
    lines = ["GET / HTTP/1.1", "Host: x", *headers, "Connection: close", "", ""]
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall("\r\n".join(lines).encode())
                answer = b""
                while chunk := connection.recv(65536):
                    answer += chunk
                if answer:
                    return answer
        except OSError:
            assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.matrix
@pytest.mark.parametrize("server", SERVERS)
def test_project_whose_production_settings_lose_the_middleware(
    sample: Path, server: str, allowed: IssuedCertificate
) -> None:
    """A project whose production.py drops the middleware serves nothing until the line is there."""
    certificate = f"X-ARR-ClientCert: {allowed.header_value}"
    with _served(sample, server, allowed) as port:
        for headers in ([], [certificate]):
            answer = _get(port, *headers)
            assert answer.split()[1] == b"500"
            assert b"restaurants" not in answer
    assert NOT_ACTIVE in (sample / "server.log").read_text()

    production = sample / "azureproject" / "production.py"
    with production.open("a") as file:
        file.write(README_LINES.splitlines()[2] + "\n")
    with _served(sample, server, allowed) as port:
        assert _get(port).split()[1] == b"403"
        answer = _get(port, certificate)
        assert answer.split()[1] == b"200"
        assert b"the restaurants" in answer


@pytest.mark.parametrize("where", ["settings", "production"])
@pytest.mark.parametrize(
    "command",
    [
        ["migrate", "--verbosity", "0"],
        ["makemigrations", "--check"],
        ["createsuperuser", "--noinput", "--username", "a", "--email", "a@example.com"],
        ["collectstatic", "--noinput"],
        ["test"],
        ["shell", "-c", "print(1)"],
        ["check"],
    ],
    ids=lambda command: command[0],
)
def test_commands_that_serve_nothing_work_without_any_setting(
    sample: Path, command: list[str], where: str
) -> None:
    """Commands that serve nothing work without any ARRCERT setting."""
    environ = _environment(
        DJANGO_SETTINGS_MODULE=f"azureproject.{where}", DJANGO_SUPERUSER_PASSWORD="none"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=sample,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    if command[0] == "createsuperuser":
        assert run("migrate", "--verbosity", "0").returncode == 0
    done = run(*command)
    assert done.returncode == 0, done.stderr
    if command == ["check"]:
        assert "arrcert.W006" in done.stderr
        deployed = run("check", "--deploy")
        assert deployed.returncode == 1
        assert "arrcert.E002" in deployed.stderr
        assert ("arrcert.E004" in deployed.stderr) == (where == "production")
