"""docs/testing.md is correct: its projects run in an empty folder, and their tests pass."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "testing.md").read_text(encoding="utf-8")

SETTINGS = """
SECRET_KEY = "for tests"
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = []
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]
INSTALLED_APPS += ["arrcert_django", "rest_framework"]
MIDDLEWARE.insert(1, "arrcert_django.middleware.ClientCertificateMiddleware")
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None}
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response
from arrcert_django.decorators import authorize_certificate

def front(request):
    return HttpResponse(request.client_identity.name)

@api_view(["POST"])
@authorize_certificate(role="orders")
def orders(request):
    return Response({"from": request.client_identity.name})

urlpatterns = [path("", front), path("orders", orders)]
"""
FACTORY = """
from flask import Flask
from arrcert_flask import Arrcert, authorize_certificate, get_client_identity

def create_app(config):
    app = Flask(__name__)
    app.config.update(config)
    Arrcert(app)
    app.add_url_rule("/", view_func=authorize_certificate(lambda: get_client_identity().name))
    return app
"""

Project = Callable[..., str]


def blocks(heading: str, language: str, text: str = PAGE) -> list[str]:
    """Return a section's blocks of one language. The page's title is the heading of its top."""
    [section] = [
        part
        for part in re.split(r"^#+ ", text, flags=re.MULTILINE)
        if part.startswith(f"{heading}\n")
    ]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A function that writes files into an empty folder, and runs Python there."""

    def run(*words: str, exports: dict[str, str] | None = None, **files: str) -> str:
        for name, text in files.items():
            suffix = ".toml" if name == "pyproject" else ".py"
            path = (tmp_path / name.replace("__", "/")).with_suffix(suffix)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ARRCERT", "COV", "PYTEST"))
        }
        done = subprocess.run(
            [sys.executable, *(words or pytest_command())],
            cwd=tmp_path,
            env={**environ, **(exports or {})},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def pytest_command() -> list[str]:
    """Return the command that runs pytest. It names arrcert's plugin if it is not installed."""
    installed = importlib.metadata.entry_points(group="pytest11", name="arrcert")
    plugin = [] if installed else ["-p", "arrcert_pytest.plugin"]
    return ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *plugin]


@pytest.fixture
def site(project: Project) -> Project:
    """A function like `project`, in a folder with a Django site."""
    project("-m", "django", "startproject", "mysite", ".")
    return project


def test_flask(project: Project) -> None:
    """The Flask app and its tests run unchanged, and ignore the variables of the shell."""
    [clients] = blocks("In your own tests", "toml")
    app, tests = blocks("Flask", "python")
    exports = {"ARRCERT_FINGERPRINTS": "AB" * 32, "ARRCERT_FILE": "partners.toml"}
    said = project(pyproject=clients, app=app, test_app=tests, exports=exports)
    assert "3 passed" in said


def test_folder_of_tests(project: Project) -> None:
    """The tests in a separate folder find the app by the option of the page."""
    [options] = blocks("Flask", "toml")
    app, tests = blocks("Flask", "python")
    files = {"pyproject": options, "app": app, "tests__test_app": tests}
    # `python -m pytest` puts the current folder on the path. `pytest` and `-P` do not.
    assert "3 passed" in project("-P", *pytest_command(), **files)


@pytest.mark.parametrize("more", ["", "ARRCERT = {'default': {'fingerprints': ['CD' * 32]}}\n"])
def test_django_and_rest_framework(site: Project, more: str) -> None:
    """The tests of a Django site pass with and without policies in its settings."""
    [options] = blocks("Django", "toml")
    [front] = blocks("Django", "python")
    [orders] = blocks("Django REST framework", "python")
    said = site(
        pyproject=options,
        mysite__settings=SETTINGS + more,
        mysite__urls=URLS,
        test_front=front,
        test_orders=orders,
    )
    assert "2 passed" in said


def test_django_without_pytest(site: Project) -> None:
    """The test case for Django's own runner passes."""
    [tests] = blocks("Without pytest", "python")
    said = site("manage.py", "test", mysite__settings=SETTINGS, mysite__urls=URLS, test_front=tests)
    assert "Found 1 test(s)" in said


def test_fastapi(project: Project) -> None:
    """The tests of the FastAPI guide's app pass."""
    [clients] = blocks("FastAPI and Starlette", "toml")
    [tests] = blocks("FastAPI and Starlette", "python")
    guide = (DOCS / "fastapi.md").read_text(encoding="utf-8")
    [app] = blocks("Protect an app", "python", guide)
    assert "1 passed" in project(pyproject=clients, app=app, test_app=tests)


def test_factory(project: Project) -> None:
    """The fixture gives the policies to an app factory, and `as_client` accepts the fixture."""
    [options] = blocks("Settings that a test hands over", "toml")
    [conftest] = blocks("Settings that a test hands over", "python")
    tests = "def test(as_client):\n    assert as_client('alice').get('/').text == 'alice'\n"
    said = project(pyproject=options, conftest=conftest, factory=FACTORY, test_factory=tests)
    assert "1 passed" in said


def test_policy(project: Project) -> None:
    """The test of a policy passes without any option."""
    [tests] = blocks("Your own policies", "python")
    assert "1 passed" in project(test_policy=tests)
