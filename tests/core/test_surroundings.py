"""The layers around an app, and the routes that an ASGI app answers by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.shared_data import SharedDataMiddleware

from arrcert import Authorizer
from arrcert.asgi import ClientCertificateMiddleware as ASGIMiddleware
from arrcert.policy import Policy
from arrcert.routes import Effect, Verdict
from arrcert.settings import load
from arrcert.surroundings import (
    describe,
    describe_all,
    ends,
    layers_around,
    on_purpose,
    report_of_any_app,
    takes_scope,
    walk_asgi,
)
from arrcert.testing import CertificateAuthority
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware

POLICIES = {"default": {"fingerprints": ["00" * 32]}}
SEVERAL: dict[str, Any] = {
    "default": Policy(fingerprints=["00" * 32]),
    "partners": Policy(fingerprints=["11" * 32]),
}


@pytest.fixture
def authorizer() -> Authorizer:
    """An authorizer with two policies."""
    return Authorizer(SEVERAL)


def wsgi_app(environ: Any, start_response: Any) -> Any:
    """Answer nothing."""


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""


class Wrapper:
    """A layer of an unknown class."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer nothing."""


def of_channels(name: str, **attributes: Any) -> Any:
    """Return an object of a class of Channels, which the tests need not install."""
    made = type(name, (), {"__module__": "channels.something"})()
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made


def route(text: str, callback: Any) -> Any:
    """Return a route of Channels."""
    return type("Route", (), {"pattern": text, "callback": callback})()


def test_description_of_layers(authorizer: Authorizer) -> None:
    """A layer checks, is behind a check, passes requests on, answers, or is unknown."""
    app = Wrapper(WSGIMiddleware(DispatcherMiddleware(wsgi_app), authorizer, policy=None))
    checks, layers = describe_all("WSGI", layers_around(app)[:3])
    assert [layer.effect for layer in layers] == [Effect.UNKNOWN, Effect.CHECKS, Effect.BEHIND]
    assert [check.policies for check in checks] == [()]
    answering = describe("WSGI", SharedDataMiddleware(wsgi_app, {}), is_behind=False)
    assert answering.effect is Effect.ANSWERS
    dispatcher = describe("WSGI", DispatcherMiddleware(wsgi_app), is_behind=False)
    assert dispatcher.effect is Effect.PASSES


def test_which_app_is_asgi(authorizer: Authorizer) -> None:
    """A coroutine function is an ASGI app, and so is an object with a coroutine `__call__`."""
    assert takes_scope(asgi_app)
    assert takes_scope(ASGIMiddleware(asgi_app, authorizer))
    assert not takes_scope(wsgi_app)
    assert not takes_scope(3)


def test_app_that_cannot_be_seen(authorizer: Authorizer) -> None:
    """A check protects an app even if the app's name cannot be found."""
    guarded = WSGIMiddleware(wsgi_app, authorizer)
    guarded.app = None
    [row] = report_of_any_app(guarded, is_asgi=False).routes
    assert row.decision.verdict is Verdict.PROTECTED


def test_routes_of_channels(authorizer: Authorizer) -> None:
    """Each WebSocket route has a row, and a check covers the routes inside it."""
    consumer: Any = type("Consumer", (Wrapper,), {"consumer_class": Wrapper})(None)
    nested = of_channels("URLRouter", routes=[route("lobby", consumer)])
    guarded = ASGIMiddleware(consumer, authorizer, policy="partners", exempt_paths=["/ws/health"])
    router = of_channels(
        "URLRouter",
        routes=[route("ws/open", consumer), route("ws/health", guarded), route("ws/", nested)],
    )
    stack = of_channels("AuthMiddleware", inner=Wrapper(router))
    app = of_channels("ProtocolTypeRouter", application_mapping={"websocket": stack})
    found = walk_asgi(app, "websocket")
    assert [(row.path, row.methods, row.decision.verdict) for row in found.routes] == [
        ("/ws/open", ("WEBSOCKET",), Verdict.OPEN),
        ("/ws/health", ("WEBSOCKET",), Verdict.EXEMPT),
        ("/ws/lobby", ("WEBSOCKET",), Verdict.OPEN),
    ]
    assert found.routes[0].view == f"{__name__}.Wrapper"
    assert [layer.effect for layer in found.layers] == [
        Effect.UNKNOWN,
        Effect.UNKNOWN,
        Effect.CHECKS,
    ]
    assert walk_asgi(app, "http").routes == []


def test_ways_to_django(authorizer: Authorizer) -> None:
    """Django refuses WebSockets, and its adapter lists its HTTP routes."""
    kind = type("ASGIHandler", (Wrapper,), {"__module__": "django.core.handlers.asgi"})
    handler = kind(None)
    guarded = ASGIMiddleware(handler, authorizer)
    assert walk_asgi(handler, "websocket").routes == []
    assert walk_asgi(handler, "http").ways_to_django == [[]]
    [[check]] = walk_asgi(guarded, "http").ways_to_django
    assert check.name == "ASGI middleware"


def test_too_many_layers() -> None:
    """The search ends after many layers, and what it did not reach is unknown."""
    layer = Wrapper(None)
    layer.app = layer
    [row] = walk_asgi(layer, "http").routes
    assert row.decision.verdict is Verdict.UNKNOWN


def test_settings_that_open_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has a line for each setting that opens something, and none without one."""
    assert on_purpose(load({"ARRCERT": POLICIES, "ARRCERT_PROTECT_ALL": True}, {})) == []
    hatches = {
        "ARRCERT_EXEMPT_PATHS": ["/health"],
        "ARRCERT_REFUSE_UNSAFE_SERVERS": False,
        "ARRCERT_CROSS_SITE_ORIGINS": ["https://app.contoso.com"],
    }
    lines = on_purpose(load({"ARRCERT": POLICIES, "ARRCERT_PROTECT_ALL": True, **hatches}, {}))
    assert [line.partition(":")[0].split()[0] for line in lines] == list(hatches)
    lines = on_purpose(load({"ARRCERT": POLICIES, **hatches}, {}))
    assert lines[0].startswith("ARRCERT_PROTECT_ALL is False")


def in_days(days: float) -> datetime:
    """Return a moment in the future, in whole seconds."""
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


def test_ends_of_the_policies() -> None:
    """Pins, CA certificates and lists are sorted by their end, once for all policies."""
    root = CertificateAuthority("Root", not_after=in_days(20.5))
    middle = CertificateAuthority("Middle", not_after=in_days(10.5), issuer=root)
    crl = root.revocation_list(last_update=in_days(-1), next_update=in_days(3.5))
    anchors = {
        "trust_anchors": root.certificate_pem.decode(),
        "intermediates": middle.certificate_pem.decode(),
        "crls": [crl.decode()],
    }
    pins = [{"fingerprint": "AA" * 32, "not_after": in_days(-0.5)}, "BB" * 32]
    policies = {
        "default": [{"fingerprints": pins, "identity": "fabrikam"}, anchors],
        "partners": anchors,
    }
    both = ("default", "partners")
    assert [
        (end.policies, end.what, end.days_left) for end in ends(load({"ARRCERT": policies}, {}))
    ] == [
        (("default",), f"the pin '{'AA' * 32}'", -1),
        (both, "the revocation list in PEM text", 3),
        (both, "the intermediate 'CN=Middle'", 10),
        (both, "the trust anchor 'CN=Root'", 20),
    ]


def test_ends_of_a_file_of_policies(tmp_path: Path) -> None:
    """The ends of a site that follows a file are those of the file's current content."""
    file = tmp_path / "partners.toml"
    entry = '[[default]]\nfingerprints = [{{ fingerprint = "{}", not_after = 2099-01-31 }}]\n'
    file.write_text(entry.format("AA" * 32), encoding="utf-8")
    settings = load({"ARRCERT_FILE": str(file)}, {})
    [end] = ends(settings)
    assert (end.what, end.at) == (f"the pin '{'AA' * 32}'", "2099-01-31T23:59:59Z")
