"""The layers around app.wsgi_app."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.debug import DebuggedApplication
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.http_proxy import ProxyMiddleware
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.middleware.profiler import ProfilerMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware
from whitenoise import WhiteNoise

from arrcert import ConfigurationError
from arrcert.testing import IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware
from arrcert_flask import Arrcert, authorizer_of, require_client_certificate
from arrcert_flask.wrappers import problems_of_answering_wrappers, problems_of_unknown_wrappers

Wrap = Callable[[Any], Any]


def status(app: Flask, path: str, client: IssuedCertificate | None = None) -> int:
    """Return the status code that the client gets."""
    headers = client.headers if client else {}
    return app.test_client().get(path, headers=headers).status_code


def mounted(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as a second app."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"open"]


class Unknown:
    """A wrapper that arrcert does not know.

    Args:
        app: what it wraps.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer `/open` by itself, and pass everything else on."""
        wrapped = mounted if environ["PATH_INFO"] == "/open" else self.app
        return wrapped(environ, start_response)


class OfTheSite(ProxyFix):
    """A subclass of a harmless wrapper. It may do anything."""


ANSWERING: dict[str, Wrap] = {
    "werkzeug.middleware.dispatcher.DispatcherMiddleware": lambda app: DispatcherMiddleware(
        app, {"/open": mounted}
    ),
    "werkzeug.middleware.shared_data.SharedDataMiddleware": lambda app: SharedDataMiddleware(
        app, {"/open": __file__}
    ),
    "werkzeug.middleware.http_proxy.ProxyMiddleware": lambda app: ProxyMiddleware(app, {}),
    "whitenoise.base.WhiteNoise": lambda app: WhiteNoise(app, root=str(Path(__file__).parent)),
}
PASSING: dict[str, Wrap] = {
    "none": lambda app: app,
    "ProxyFix": ProxyFix,
    "LintMiddleware": LintMiddleware,
    "ProfilerMiddleware": lambda app: ProfilerMiddleware(app, stream=None),
}


@pytest.mark.parametrize("name", ANSWERING)
@pytest.mark.parametrize("around", [lambda app: app, ProxyFix, Unknown])
def test_a_wrapper_that_answers_by_itself_is_refused(
    protected_app: Flask, alice: IssuedCertificate, name: str, around: Wrap
) -> None:
    """A wrapper that answers by itself makes the first request an error, which names the remedy."""
    protected_app.wsgi_app = around(ANSWERING[name](protected_app.wsgi_app))
    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            status(protected_app, "/", alice)
    [problem] = caught.value.problems
    assert problem.setting == f"the WSGI middleware {name} around app.wsgi_app"
    assert "itself, so they are not checked; write after it" in problem.message
    remedy = (
        "app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app), policy=None)"
    )
    assert remedy in problem.message


def test_the_debugger_is_refused(protected_app: Flask, alice: IssuedCertificate) -> None:
    """The debugger shows errors by itself, so its page shows the refusal."""
    protected_app.wsgi_app = DebuggedApplication(protected_app.wsgi_app)
    response = protected_app.test_client().get("/", headers=alice.headers)
    assert response.status_code == 500
    assert "DebuggedApplication around app.wsgi_app" in response.text


def test_the_wrapper_is_refused_too(protected_app: Flask, alice: IssuedCertificate) -> None:
    """After a request of the app was refused, the wrapper's own answers are refused too."""
    protected_app.wsgi_app = DispatcherMiddleware(protected_app.wsgi_app, {"/open": mounted})
    protected_app.testing = False
    assert status(protected_app, "/", alice) == 500
    with pytest.raises(ConfigurationError, match="DispatcherMiddleware"):
        status(protected_app, "/open")
    # The remedy in the error works even now.
    protected_app.wsgi_app = ClientCertificateMiddleware(
        protected_app.wsgi_app, authorizer_of(protected_app)
    )
    assert [status(protected_app, "/open", client) for client in (None, alice)] == [403, 200]
    assert [status(protected_app, "/", client) for client in (None, alice)] == [403, 404]


@pytest.mark.parametrize("name", ANSWERING)
def test_a_middleware_around_the_wrapper_protects_it(
    protected_app: Flask, alice: IssuedCertificate, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Any wrapper may stand inside ClientCertificateMiddleware, and a stranger reaches none."""
    protected_app.wsgi_app = ProxyFix(
        ClientCertificateMiddleware(
            ANSWERING[name](protected_app.wsgi_app),
            authorizer_of(protected_app),
            exempt_paths=["/health"],
        )
    )
    assert status(protected_app, "/", alice) == 404
    assert "around app.wsgi_app" not in caplog.text
    for path in ("/", "/open", "/test_wrappers.py"):
        assert status(protected_app, path) == 403
    assert status(protected_app, "/health") == 404


@pytest.mark.parametrize("name", PASSING)
def test_a_harmless_wrapper_is_not_mentioned(
    protected_app: Flask, alice: IssuedCertificate, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrapper that passes every request on causes no error and no log record."""
    protected_app.wsgi_app = PASSING[name](protected_app.wsgi_app)
    assert status(protected_app, "/", alice) == 404
    assert caplog.records == []


def by_function(app: Any) -> Any:
    """Wrap an app by a function."""

    def unknown_function(environ: dict[str, Any], start_response: Any) -> Any:
        return app(environ, start_response)

    return unknown_function


def by_method(app: Any) -> Any:
    """Wrap an app by the method of an object."""
    return Unknown(app).__call__


UNKNOWN: dict[str, Wrap] = {
    "Unknown": Unknown,
    "OfTheSite": OfTheSite,
    "by_function.<locals>.unknown_function": by_function,
    "Unknown.__call__": by_method,
    "partial": functools.partial,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_wrapper_is_an_error_in_the_log(
    protected_app: Flask, alice: IssuedCertificate, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrapper that may answer by itself is one ERROR, which names it and the remedy."""
    protected_app.wsgi_app = UNKNOWN[name](protected_app.wsgi_app)
    for _ in range(2):
        assert status(protected_app, "/", alice) == 404
    [record] = caplog.records
    assert record.levelname == "ERROR"
    text = record.getMessage()
    assert text.startswith("configuration: the WSGI middleware ")
    assert f".{name} around app.wsgi_app: arrcert does not know it; " in text
    assert "ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app), policy=None)" in text


def test_what_an_unknown_wrapper_wraps_is_found(
    protected_app: Flask, alice: IssuedCertificate
) -> None:
    """The search continues inside unknown wrappers, functions included."""
    inner = DispatcherMiddleware(protected_app.wsgi_app, {})
    protected_app.wsgi_app = by_function(Unknown(inner))
    with pytest.raises(ConfigurationError, match="DispatcherMiddleware"):
        status(protected_app, "/", alice)


def test_a_subclass_that_overrides_wsgi_app_is_an_error_in_the_log(
    config: dict[str, Any], alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A subclass with its own wsgi_app is an error in the log, and any other subclass is not."""

    class Plain(Flask):
        pass

    class Overriding(Plain):
        def wsgi_app(self, environ: Any, start_response: Any) -> Any:
            return super().wsgi_app(environ, start_response)

    for kind, told in ((Plain, 0), (Overriding, 1)):
        caplog.clear()
        app = kind(__name__)
        app.config.update(config, ARRCERT_PROTECT_ALL=True)
        Arrcert(app)
        assert status(app, "/", alice) == 404
        assert caplog.text.count("Overriding.wsgi_app around app.wsgi_app") == told
        assert len(caplog.records) == told


def test_a_wrapper_that_wraps_itself_ends_the_search(
    protected_app: Flask, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The search ends at a wrapper that it has seen."""
    outer = Unknown(protected_app.wsgi_app)
    outer.wsgi_app = outer
    protected_app.wsgi_app = outer
    assert status(protected_app, "/", alice) == 404
    assert len(caplog.records) == 1


def test_only_an_app_that_is_protected_as_a_whole_is_examined(
    app: Flask, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Wrappers are examined only if the whole app is protected, by the setting or by a hook."""
    app.wsgi_app = Unknown(DispatcherMiddleware(app.wsgi_app, {}))
    assert status(app, "/", alice) == 404
    assert caplog.records == []
    app = Flask(__name__)
    app.testing = True
    app.config["ARRCERT"] = {"default": {"fingerprints": [alice.certificate.sha1_fingerprint]}}
    app.before_request(require_client_certificate())
    Arrcert(app)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {})
    with pytest.raises(ConfigurationError, match=r"authorizer_of\(app\)\)"):
        app.test_client().get("/")


def test_each_wrapper_is_reported_once(protected_app: Flask) -> None:
    """Each wrapper is reported once, as one that answers or as an unknown one."""
    protected_app.wsgi_app = Unknown(DispatcherMiddleware(protected_app.wsgi_app, {}))
    [answering] = problems_of_answering_wrappers(protected_app)
    [unknown] = problems_of_unknown_wrappers(protected_app)
    assert "DispatcherMiddleware" in answering.setting
    assert "Unknown" in unknown.setting


def test_an_asgi_app_around_flask_is_an_error_in_the_log(
    protected_app: Flask, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """An ASGI app around Flask is an error in the log, unless it is arrcert's middleware.

    a2wsgi puts the scope into the environ.
    """
    header = (b"x-arr-clientcert", alice.header_value.encode())
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": [header]}
    for more, told in (({}, 1), ({"arrcert.identity": None}, 0)):
        caplog.clear()
        app = Flask(__name__)
        app.config.update(protected_app.config)
        Arrcert(app)
        client = app.test_client()
        environ = {"asgi.scope": scope | more}
        assert client.get("/", headers=alice.headers, environ_overrides=environ).status_code == (
            403 if told else 404
        )
        assert caplog.text.count("configuration: the ASGI app around Flask: ") == told


def test_connexion_around_flask_is_refused(protected_app: Flask, alice: IssuedCertificate) -> None:
    """Connexion answers by itself, and is recognized by its entries in the scope."""
    protected_app.testing = True
    header = (b"x-arr-clientcert", alice.header_value.encode())
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [header],
        "extensions": {"connexion_routing": {}},
    }
    with pytest.raises(ConfigurationError, match="Connexion itself answers requests"):
        protected_app.test_client().get("/", environ_overrides={"asgi.scope": scope})
