"""The layers around an app: what they wrap, their names, and which of them answer by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from arrcert.layers import answers_of, inner, is_of_channels, layers, name_of, passes_on


class Layer:
    """A layer that keeps the app in an attribute."""

    def __init__(self, attribute: str, app: Any) -> None:
        setattr(self, attribute, app)

    def method(self) -> None:
        """Do nothing."""


def app(environ: Any, start_response: Any) -> Any:
    """Answer nothing."""


def around(app: Any) -> Any:
    """Return a function that keeps the app in a variable."""

    def layer(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    return layer


@pytest.mark.parametrize("attribute", ["wsgi_app", "app", "application", "_app", "inner"])
def test_attributes_that_hold_the_app(attribute: str) -> None:
    """A layer is found to wrap an app if it keeps it under one of the usual names."""
    layer = Layer(attribute, app)
    assert list(layers(layer)) == [layer, app]


def test_functions_around_an_app() -> None:
    """A function is found to wrap an app if it keeps it in a variable of its closure."""
    layer = around(around(app))
    assert [*layers(layer)][-1] is app
    assert len([*layers(layer)]) == 3


def test_variable_without_a_value() -> None:
    """A variable that has no value yet holds no app."""

    def layer() -> Any:
        return application

    assert inner(layer) is None
    application = 1


def test_layer_that_wraps_itself() -> None:
    """The search ends at a layer that wraps itself."""
    layer = Layer("app", None)
    layer.app = layer
    assert list(layers(layer)) == [layer]


def test_names() -> None:
    """A layer has the name of its class; a function or method has its own."""
    assert name_of(Layer("app", app)) == f"{__name__}.Layer"
    assert name_of(app) == f"{__name__}.app"
    assert name_of(Layer("app", app).method) == f"{__name__}.Layer.method"


def test_what_layers_do() -> None:
    """Some layers are known to answer, and some to pass requests on. Subclasses count too."""

    class Dispatcher(DispatcherMiddleware):
        pass

    class Proxy(ProxyFix):
        pass

    assert answers_of(Dispatcher(app)) == "passes paths to other apps"
    assert answers_of(ProxyFix(app)) is None
    assert passes_on(ProxyFix(app))
    assert not passes_on(Proxy(app))


def test_layers_of_channels() -> None:
    """A class of Channels is known by its module."""
    assert is_of_channels(type("Router", (), {"__module__": "channels.routing"})())
    assert not is_of_channels(type("Router", (), {"__module__": "channelsx"})())


@pytest.mark.parametrize("attribute", ["other_asgi_app", "__wrapped__"])
def test_attributes_of_engineio_and_functools(attribute: str) -> None:
    """Engine.IO and `functools.wraps` keep what they wrap under names of their own."""
    assert inner(Layer(attribute, app)) is app


def of_class(name: str) -> Any:
    """Return an object of a class with a dotted name."""
    module, _, qualname = name.rpartition(".")
    return type(qualname, (), {"__module__": module, "__qualname__": qualname})()


@pytest.mark.parametrize(
    "name",
    [
        "django.contrib.staticfiles.handlers.ASGIStaticFilesHandler",
        "django.contrib.staticfiles.handlers.StaticFilesHandler",
        "engineio.async_drivers.asgi.ASGIApp",
        "engineio.middleware.WSGIApp",
        "werkzeug.middleware.shared_data.SharedDataMiddleware",
        "werkzeug.middleware.http_proxy.ProxyMiddleware",
        "werkzeug.debug.DebuggedApplication",
        "whitenoise.base.WhiteNoise",
    ],
)
def test_classes_that_answer(name: str) -> None:
    """These classes answer requests by themselves, so they are not known to pass them on."""
    assert answers_of(of_class(name))
    assert not passes_on(of_class(name))


@pytest.mark.parametrize(
    "name",
    [
        "channels.auth.AuthMiddleware",
        "channels.sessions.CookieMiddleware",
        "channels.sessions.SessionMiddleware",
        "channels.security.websocket.OriginValidator",
        "opentelemetry.instrumentation.asgi.OpenTelemetryMiddleware",
        "opentelemetry.instrumentation.wsgi.OpenTelemetryMiddleware",
        "sentry_sdk.integrations.asgi.SentryAsgiMiddleware",
        "sentry_sdk.integrations.wsgi.SentryWsgiMiddleware",
        "uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware",
        "werkzeug.middleware.lint.LintMiddleware",
        "werkzeug.middleware.profiler.ProfilerMiddleware",
        "werkzeug.middleware.proxy_fix.ProxyFix",
    ],
)
def test_classes_that_pass_requests_on(name: str) -> None:
    """These classes pass every request on, and answer none by themselves."""
    assert passes_on(of_class(name))
    assert answers_of(of_class(name)) is None
