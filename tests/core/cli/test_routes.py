"""`arrcert routes`: the kinds of apps that it accepts, its exit codes, and its table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from arrcert.cli import main

ROOT = Path(__file__).parents[3]
POLICIES = '{"default": {"fingerprints": ["' + "00" * 32 + '"]}}'

FLASK = f"""
    from flask import Flask
    from arrcert_flask import Arrcert, authorizer_of
    from arrcert.wsgi import ClientCertificateMiddleware

    def create_app(**config):
        app = Flask(__name__)
        app.config.update(ARRCERT={POLICIES}, **config)
        Arrcert(app)
        app.add_url_rule("/hello", "hello", lambda: "")
        return app

    app = create_app()
    guarded = ClientCertificateMiddleware(app, authorizer_of(app))
    refusing = create_app(ARRCERT_PROTECT_ALL=True)

    from werkzeug.middleware.proxy_fix import ProxyFix
    proxied = ProxyFix(app.wsgi_app)

    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    refusing.wsgi_app = DispatcherMiddleware(refusing.wsgi_app, {{}})
"""

FASTAPI = f"""
    from fastapi import Depends, FastAPI, WebSocket
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from arrcert_fastapi import Arrcert, RequireClientCertificate

    bare = FastAPI(openapi_url=None)
    bare.add_api_route("/hello", lambda: "hello")

    app = FastAPI(openapi_url=None)
    Arrcert(app, {{"ARRCERT": {POLICIES}, "ARRCERT_EXEMPT_PATHS": ["/health"]}})
    app.add_api_route("/hello", lambda: "hello")
    partners = [Depends(RequireClientCertificate("partners"))]
    app.add_api_route("/partners", lambda: "partners", dependencies=partners)
    app.add_api_route("/health", lambda: "ok")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket):
        raise AssertionError

    class Wrapper:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    wrapped = Wrapper(app)
    mounting = Starlette(routes=[Mount("/shop", app)])
"""

PLAIN = f"""
    from arrcert import Authorizer, Policy
    from arrcert import asgi, wsgi

    authorizer = Authorizer({{"default": Policy(fingerprints=["{"00" * 32}"])}})

    def wsgi_app(environ, start_response):
        raise AssertionError

    async def asgi_app(scope, receive, send):
        raise AssertionError

    guarded_wsgi = wsgi.ClientCertificateMiddleware(
        wsgi_app, authorizer, exempt_paths=["/public/*"]
    )
    guarded_asgi = asgi.ClientCertificateMiddleware(asgi_app, authorizer)
    not_an_app = 3
"""

DJANGO_SETTINGS = f"""
    SECRET_KEY = "for tests"
    ROOT_URLCONF = "urls_of_routes"
    INSTALLED_APPS = ["arrcert_django"]
    MIDDLEWARE = ["arrcert_django.middleware.ClientCertificateMiddleware"]
    ARRCERT = {POLICIES}
    USE_TZ = True
"""


def invoke(*arguments: str) -> Result:
    """Run `arrcert routes`."""
    return CliRunner().invoke(main, ["routes", *arguments])


def rows(*arguments: str) -> dict[str, str]:
    """Return the verdict of each path that `arrcert routes --json` prints."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["routes"]
    return {" ".join([row["path"], *row["methods"][:1]]): row["verdict"] for row in found}


def test_flask_app(make_module: Any) -> None:
    """`arrcert routes` accepts a Flask app, the result of a factory, and an app in a middleware."""
    module = make_module(FLASK)
    assert rows(f"{module}:app")["/hello GET"] == "open"
    assert rows(f"{module}:create_app()")["/hello GET"] == "open"
    assert rows(f"{module}:guarded")["/hello GET"] == "protected"
    assert rows(f"{module}:proxied")["/hello GET"] == "open"


def test_fastapi_app(make_module: Any) -> None:
    """`arrcert routes` shows a FastAPI app's endpoints, and what its gate protects."""
    module = make_module(FASTAPI)
    expected = {
        "/hello GET": "protected",
        "/partners GET": "protected",
        "/health GET": "exempt",
        "/socket WEBSOCKET": "protected",
        "any other path": "protected",
    }
    assert rows(f"{module}:app") == expected
    assert rows(f"{module}:wrapped") == expected
    assert rows(f"{module}:bare") == {"/hello GET": "open"}
    assert rows(f"{module}:mounting") == {
        f"/shop{path}": verdict for path, verdict in expected.items() if path[0] == "/"
    }
    assert invoke(f"{module}:app", "--fail-on-open").exit_code == 0
    assert (
        "MIDDLEWARE arrcert_fastapi.gate.GateMiddleware: checks" in invoke(f"{module}:app").stdout
    )


def test_app_that_refuses_to_serve(make_module: Any) -> None:
    """An app that refuses to serve is exit code 2, and the error says why."""
    result = invoke(f"{make_module(FLASK)}:refusing")
    assert result.exit_code == 2
    assert "the app refuses to serve: the WSGI middleware" in result.stderr


def test_any_other_app(make_module: Any) -> None:
    """An app of another framework has one row for HTTP and one for WebSockets."""
    module = make_module(PLAIN)
    assert rows(f"{module}:wsgi_app") == {"/*": "open"}
    assert rows(f"{module}:guarded_wsgi") == {"/*": "protected", "/public/*": "exempt"}
    assert rows(f"{module}:asgi_app") == {"/*": "open", "/* WEBSOCKET": "open"}
    assert rows(f"{module}:guarded_asgi") == {"/*": "protected", "/* WEBSOCKET": "protected"}


@pytest.mark.parametrize(
    "arguments",
    [[], ["no_such_module:app"], ["json"], ["--allow", "/x", "app:app"], ["--no-such-option"]],
)
def test_bad_usage(make_module: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Bad usage, and an object that is not an app, are exit code 2."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    module = make_module(PLAIN)
    arguments = [argument.replace("app:app", f"{module}:wsgi_app") for argument in arguments]
    assert invoke(*arguments).exit_code == 2
    assert invoke(f"{module}:not_an_app").exit_code == 2


def test_fail_on_open(make_module: Any) -> None:
    """`--fail-on-open` exits with 1 if any open route is not allowed by name."""
    module = make_module(FLASK)
    assert invoke(f"{module}:app", "--fail-on-open").exit_code == 1
    allowed = ["--allow", "/static/*", "--allow", "/hello"]
    assert invoke(f"{module}:app", "--fail-on-open", *allowed).exit_code == 0
    assert invoke(f"{module}:guarded", "--fail-on-open").exit_code == 0


def test_table_in_a_pipe(make_module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe the table has no colours, and no word is broken. COLUMNS limits its width."""
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "/orders/" + "invoices-of-a-partner/" * 6
    module = make_module(FLASK.replace('"/hello"', repr(path)))
    [row] = [line for line in invoke(f"{module}:app").stdout.splitlines() if path in line]
    assert row.split()[0] == path
    monkeypatch.setenv("COLUMNS", "80")
    result = invoke(f"{module}:app")
    assert path not in result.stdout
    assert result.exit_code == 0
    assert result.stdout.split()[:5] == ["PATH", "METHODS", "VIEW", "POLICY", "DECIDED"]
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_table_needs_rich(make_module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rich, the error says what to install, and JSON works."""
    module = make_module(FLASK)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    result = invoke(f"{module}:app")
    assert result.exit_code == 2
    assert "pip install 'arrcert[dev]'" in result.stderr
    assert invoke(f"{module}:app", "--json").exit_code == 0


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `arrcert routes` in another process, because Django has one configuration in each."""
    inherited = os.environ.get("PYTHONPATH", "")
    base = {name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")}
    base.pop("DJANGO_SETTINGS_MODULE", None)
    path = os.pathsep.join(filter(None, [str(ROOT), inherited]))
    return subprocess.run(
        [sys.executable, "-m", "arrcert.cli", "routes", *arguments],
        cwd=folder,
        env=base | {"PYTHONPATH": path} | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_django_site(make_module: Any, tmp_path: Path) -> None:
    """A Django site is given by its application, its settings module, or the environment."""
    settings = make_module(DJANGO_SETTINGS)
    (tmp_path / "urls_of_routes.py").write_text(
        "from django.urls import path\nurlpatterns = [path('x', print)]\n"
    )
    (tmp_path / "wsgi_of_routes.py").write_text(
        f"import os\nos.environ['DJANGO_SETTINGS_MODULE'] = '{settings}'\n"
        "from django.core.wsgi import get_wsgi_application\n"
        "from django.core.asgi import get_asgi_application\n"
        "wsgi, asgi = get_wsgi_application(), get_asgi_application()\n"
    )
    for done in (
        run(tmp_path, "wsgi_of_routes:wsgi", "--fail-on-open", "--json"),
        run(tmp_path, "wsgi_of_routes:asgi", "--fail-on-open", "--json"),
        run(tmp_path, settings, "--fail-on-open", "--json"),
        run(tmp_path, "--fail-on-open", "--json", DJANGO_SETTINGS_MODULE=settings),
    ):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["routes"][0]["path"] == "/x"
    refusing = make_module(DJANGO_SETTINGS + "    MIDDLEWARE = []\n")
    done = run(tmp_path, refusing)
    assert done.returncode == 2
    assert "the site refuses to serve: MIDDLEWARE" in done.stderr
