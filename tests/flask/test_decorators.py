"""The decorators and hooks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView, View

from arrcert import ConfigurationError
from arrcert.testing import IssuedCertificate
from arrcert_flask import (
    authorize_certificate,
    certificate_exempt,
    get_client_certificate,
    require_client_certificate,
)


def body() -> str:
    """Return a text with the accepted certificate's common name."""
    certificate = get_client_certificate()
    return f"hello {certificate.common_name if certificate else 'nobody'}"


def statuses(app: Flask, path: str, *clients: IssuedCertificate | None, method: str = "GET") -> Any:
    """Return the status code that each client gets."""
    return [
        app.test_client()
        .open(path, method=method, headers=client.headers if client else {})
        .status_code
        for client in clients
    ]


def test_bare_decorator_checks_default(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """The bare decorator checks the policy "default"."""

    @app.get("/hellocert")
    @authorize_certificate
    def hellocert() -> str:
        return body()

    assert statuses(app, "/hellocert", alice, bob, impostor, None) == [200, 403, 403, 403]
    response = app.test_client().get("/hellocert", headers=alice.headers)
    assert response.text == "hello alice"


def test_called_decorator_checks_its_policy(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """The called decorator checks only the named policy, or `default` without a name."""

    @app.get("/partner")
    @authorize_certificate(policy="partners")
    def partner() -> str:
        return body()

    @app.get("/hello")
    @authorize_certificate()
    def hello() -> str:
        return body()

    assert statuses(app, "/partner", alice, bob, None) == [403, 200, 403]
    assert statuses(app, "/hello", alice, bob, None) == [200, 403, 403]


def test_async_views_stay_async(app: Flask, alice: IssuedCertificate) -> None:
    """No code of an async view runs for a denied request."""
    ran = []

    @app.get("/async")
    @authorize_certificate
    async def view() -> str:
        ran.append(True)
        return body()

    assert statuses(app, "/async", None) == [403]
    assert not ran
    assert statuses(app, "/async", alice) == [200]
    assert ran


def test_view_does_not_run_for_the_denied(app: Flask, impostor: IssuedCertificate) -> None:
    """No view runs for a denied request, for any method."""
    ran = []

    @app.route("/x", methods=["GET", "POST", "OPTIONS"])
    @authorize_certificate
    def view() -> str:
        ran.append(True)
        return ""

    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        assert statuses(app, "/x", impostor, None, method=method) == [403, 403]
    assert not ran


def test_automatic_options_answer_is_protected_too(app: Flask, alice: IssuedCertificate) -> None:
    """Flask's automatic OPTIONS response is protected too.

    (flask-login: OPTIONS reached the view.)
    """

    @app.get("/x")
    @authorize_certificate
    def view() -> str:
        return ""

    @app.get("/open")
    def open_view() -> str:
        return ""

    assert statuses(app, "/x", None, alice, method="OPTIONS") == [403, 200]
    assert statuses(app, "/open", None, method="OPTIONS") == [200]


def test_wrapped_view_keeps_name_and_arguments(app: Flask, alice: IssuedCertificate) -> None:
    """A decorated view keeps its name, docstring and arguments."""

    @app.get("/items/<int:number>")
    @authorize_certificate
    def item(number: int) -> str:
        """An item."""
        return f"item {number}"

    assert (item.__name__, item.__doc__) == ("item", "An item.")
    assert app.test_client().get("/items/7", headers=alice.headers).text == "item 7"


def test_other_decorators_may_stand_around(app: Flask, alice: IssuedCertificate) -> None:
    """The decorator protects a view above and below another decorator."""

    def shout(view: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            return view(*args, **kwargs).upper()

        return wrapper

    @app.get("/above")
    @shout
    @authorize_certificate
    def above() -> str:
        return "x"

    @app.get("/below")
    @authorize_certificate
    @shout
    def below() -> str:
        return "x"

    for path in ("/above", "/below"):
        assert statuses(app, path, alice, None) == [200, 403]
        assert statuses(app, path, None, method="OPTIONS") == [403]


def test_class_based_views_take_it_in_decorators(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """The decorator in a class's `decorators` protects all its methods."""

    class Report(MethodView):
        decorators = [authorize_certificate(policy="partners")]  # noqa: RUF012 - Flask's documentation uses a list.

        def get(self) -> str:
            return body()

        def post(self) -> str:
            return body()

    app.add_url_rule("/report", view_func=Report.as_view("report"))
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        assert statuses(app, "/report", bob, alice, None, method=method) == [200, 403, 403]


def test_single_method_of_a_class_may_be_decorated(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """A method can have its own policy, and OPTIONS requires the policies of all methods."""

    class Report(MethodView):
        def get(self) -> str:
            return body()

        @authorize_certificate(policy="partners")
        def post(self) -> str:
            return body()

    app.add_url_rule("/report", view_func=Report.as_view("report"))
    assert statuses(app, "/report", None) == [200]
    assert statuses(app, "/report", None, alice, bob, method="POST") == [403, 403, 200]
    assert statuses(app, "/report", None, bob, method="OPTIONS") == [403, 200]


def test_decorating_as_view(app: Flask, alice: IssuedCertificate) -> None:
    """The result of as_view() can be decorated."""

    class Page(View):
        def dispatch_request(self) -> str:
            return body()

    app.add_url_rule("/page", view_func=authorize_certificate(Page.as_view("page")))
    assert statuses(app, "/page", alice, None) == [200, 403]


def test_wrong_use_is_a_type_error() -> None:
    """Decorating a class or an object that is not a view is an error that says what to write."""
    with pytest.raises(TypeError, match=r"decorators = \[authorize_certificate\]"):
        authorize_certificate(MethodView)
    with pytest.raises(TypeError, match=r"policy='partners'"):
        authorize_certificate("partners")
    for wrong, shown in ((7, "7"), (None, "None; check that the decorator below it returns")):
        for decorate in (authorize_certificate, authorize_certificate()):
            with pytest.raises(TypeError, match=f"decorates a view, not {shown}"):
                decorate(wrong)


@pytest.mark.parametrize("policy", [None, "", 7, ["partners"]])
def test_policy_is_a_name(policy: Any) -> None:
    """A policy that is not a name is an error at import."""
    for decorator in (authorize_certificate, require_client_certificate):
        with pytest.raises(TypeError, match="write the name of one of the policies in ARRCERT"):
            decorator(policy=policy)


def test_mark_that_is_no_name_is_no_policy(protected_app: Flask, alice: IssuedCertificate) -> None:
    """A view whose attribute has another type names no policy."""

    class Obliging:
        __name__ = "obliging"

        def __call__(self) -> str:
            return ""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name in ("view_class", "methods"):
                raise AttributeError(name)
            return set()

    protected_app.add_url_rule("/x", "x", Obliging())
    assert statuses(protected_app, "/x", None, alice) == [403, 200]


def test_decorator_without_the_extension_denies(
    alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Arrcert(app), every request is denied and the log says why."""
    app = Flask(__name__)

    @app.get("/x")
    @authorize_certificate
    def view() -> str:
        return ""

    assert statuses(app, "/x", alice) == [403]
    [record] = caplog.records
    assert "Arrcert(app) was never called" in record.getMessage()
    facts = [getattr(record, f"arrcert_{name}") for name in ("reason", "policy", "request")]
    assert facts == ["misconfigured", "default", "GET /x"]
    assert record.__dict__["arrcert_fingerprint"] is None


def test_unknown_policy_denies(
    app: Flask, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown policy denies each request, and the log says once where it is named."""

    @app.get("/x")
    @authorize_certificate(policy="partnrs")
    def view() -> str:
        return ""

    assert statuses(app, "/x", alice, alice) == [403, 403]
    assert {record.levelname for record in caplog.records} == {"ERROR"}
    first, *others = (record.getMessage() for record in caplog.records)
    assert first == (
        "configuration: the endpoint 'view': names the policy 'partnrs', which does not exist, so"
        " every request is denied; write one of 'default', 'partners'"
    )
    assert len(others) == 2
    assert all(text.startswith("denied GET /x under policy 'partnrs': ") for text in others)


_routes: list[Callable[..., Any]] = []


def register(view: Callable[..., Any]) -> Callable[..., Any]:
    """Store the undecorated view and return it, as a route does."""
    _routes.append(view)
    return view


# --- a decorator above the route ----------------------------------------------------------------


def misplaced(app: Flask | Blueprint, decorate: Any = authorize_certificate) -> None:
    """Register a view with its decorator above the route, which is a mistake."""

    @decorate
    @app.get("/lost")
    def lost() -> str:
        raise AssertionError("the bare view ran")


def test_decorator_above_the_route_is_refused(app: Flask, alice: IssuedCertificate) -> None:
    """A decorator above the route is an error before the first request."""

    @app.get("/open")
    def open_view() -> str:
        return ""

    misplaced(app)
    for path in ("/lost", "/open", "/unknown", "/lost"):
        with pytest.raises(ConfigurationError, match="write the decorator below"):
            app.test_client().get(path, headers=alice.headers)
    app.testing = False
    assert statuses(app, "/lost", alice, None) == [500, 500]


def test_decorator_above_a_blueprints_route_is_refused(app: Flask) -> None:
    """A called decorator above a blueprint's route is an error too."""
    blueprint = Blueprint("bp", __name__)
    misplaced(blueprint, authorize_certificate(policy="partners"))
    app.register_blueprint(blueprint)
    with pytest.raises(ConfigurationError, match=r"endpoint 'bp\.lost'"):
        app.test_client().get("/lost")


def test_decorator_above_a_decorated_route_is_refused(app: Flask) -> None:
    """A decorator above a decorated route is found through the other decorator."""

    def plain(view: Any) -> Any:
        @functools.wraps(view)
        def wrapper() -> Any:
            return view()

        return wrapper

    misplaced(app, lambda view: authorize_certificate(plain(view)))
    with pytest.raises(ConfigurationError, match="'lost'"):
        app.test_client().get("/lost")


@pytest.mark.parametrize(
    "remembering",
    [functools.cache, lambda view: functools.cache(functools.wraps(view)(functools.partial(view)))],
)
def test_decorator_above_the_route_of_a_memoized_view_is_refused(
    app: Flask, remembering: Any
) -> None:
    """A decorator above the route of a memoized view is refused too."""

    @authorize_certificate
    @app.get("/lost")
    @remembering
    def lost() -> str:
        raise AssertionError("the bare view ran")

    with pytest.raises(ConfigurationError, match="'lost'"):
        app.test_client().get("/lost")


def test_views_that_cannot_be_remembered_are_served(app: Flask, alice: IssuedCertificate) -> None:
    """Callables without a hash or weak references, or that wrap themselves, can be views."""

    class Unhashable:
        __hash__ = None
        __name__ = "unhashable"

        def __call__(self) -> str:
            return ""

    class Slotted:
        __slots__ = ()
        __name__ = "slotted"

        def __call__(self) -> str:
            return ""

    def winding() -> str:
        return ""

    winding.__wrapped__ = winding
    for view in (Unhashable(), Slotted(), functools.partial(winding), winding):
        endpoint = type(view).__name__
        app.add_url_rule(f"/open/{endpoint}", f"{endpoint} open", view)
        app.add_url_rule(f"/{endpoint}", endpoint, authorize_certificate(view))
    for endpoint in ("Unhashable", "Slotted", "partial", "function"):
        assert statuses(app, f"/open/{endpoint}", None) == [200]
        assert statuses(app, f"/{endpoint}", None, alice) == [403, 200]


@authorize_certificate
@register
def module_level() -> str:
    """A view of this module whose decorator is above the route."""
    raise AssertionError("the bare view ran")


def test_decorator_above_the_route_of_a_module(app: Flask) -> None:
    """The mistake is found at module level too, where the decorator replaces the view's name."""
    app.add_url_rule("/lost", "lost", _routes[0])
    with pytest.raises(ConfigurationError, match="'lost'"):
        app.test_client().get("/lost")


def test_view_registered_both_ways_on_purpose(app: Flask, alice: IssuedCertificate) -> None:
    """One function can be registered both with and without the decorator."""

    def view() -> str:
        return body()

    app.add_url_rule("/open", "open", view)
    app.add_url_rule("/closed", "closed", authorize_certificate(view))
    assert statuses(app, "/open", None) == [200]
    assert statuses(app, "/closed", None, alice) == [403, 200]


def test_view_that_another_app_protects(app: Flask) -> None:
    """A view that is decorated for another app can stay open in this app."""
    authorize_certificate(body)
    app.add_url_rule("/open", "open", body)
    assert statuses(app, "/open", None) == [200]


def test_inner_function_that_is_open_on_purpose(app: Flask) -> None:
    """An inner function with a decorated copy can be open if it is marked exempt."""

    def view() -> str:
        return ""

    authorize_certificate(view)
    app.add_url_rule("/open", "open", certificate_exempt(view))
    assert statuses(app, "/open", None) == [200]


# --- exemptions ---------------------------------------------------------------------------------


def test_exempt_view_is_open(protected_app: Flask) -> None:
    """An exempt view needs no certificate, with the mark above or below the route."""

    @protected_app.get("/a")
    @certificate_exempt
    def a() -> str:
        return ""

    @certificate_exempt
    @protected_app.get("/b")
    def b() -> str:
        return ""

    @protected_app.get("/c")
    def c() -> str:
        return ""

    assert statuses(protected_app, "/a", None) == [200]
    assert statuses(protected_app, "/b", None) == [200]
    assert statuses(protected_app, "/c", None) == [403]
    assert statuses(protected_app, "/a", None, method="OPTIONS") == [200]


def test_exemption_is_not_copied_along(protected_app: Flask) -> None:
    """functools.wraps does not copy an exemption to another view."""

    @certificate_exempt
    def exempt() -> str:
        return ""

    @protected_app.get("/x")
    @functools.wraps(exempt)
    def other() -> str:
        return ""

    assert statuses(protected_app, "/x", None) == [403]


def test_exemption_is_not_bound_to_a_name(protected_app: Flask) -> None:
    """A view with the same name as an exempt view is checked.

    (flask-wtf compares views by module and name.)
    """

    def make() -> Callable[[], str]:
        def view() -> str:
            return ""

        return view

    protected_app.add_url_rule("/open", "open", certificate_exempt(make()))
    protected_app.add_url_rule("/closed", "closed", make())
    assert statuses(protected_app, "/open", None) == [200]
    assert statuses(protected_app, "/closed", None) == [403]


def test_exempt_as_view(protected_app: Flask) -> None:
    """The result of as_view() can be exempt, without the class's other views."""

    class Page(View):
        def dispatch_request(self) -> str:
            return ""

    protected_app.add_url_rule("/open", view_func=certificate_exempt(Page.as_view("open")))
    protected_app.add_url_rule("/closed", view_func=Page.as_view("closed"))
    assert statuses(protected_app, "/open", None) == [200]
    assert statuses(protected_app, "/closed", None) == [403]


def test_exemption_does_not_disable_the_decorator(protected_app: Flask) -> None:
    """An exempt view with the decorator is still checked, in either order of the two."""

    @protected_app.get("/a")
    @certificate_exempt
    @authorize_certificate
    def a() -> str:
        return ""

    @protected_app.get("/b")
    @authorize_certificate
    @certificate_exempt
    def b() -> str:
        return ""

    assert statuses(protected_app, "/a", None) == [403]
    assert statuses(protected_app, "/b", None) == [403]


def test_exemption_takes_a_function() -> None:
    """certificate_exempt accepts only functions."""

    class Page(View):
        def method(self) -> str:
            return ""

    for view in (Page, Page().method, functools.partial(body), "health"):
        with pytest.raises(TypeError, match="takes a view function"):
            certificate_exempt(view)


# --- hooks --------------------------------------------------------------------------------------


def test_blueprint_hook(app: Flask, alice: IssuedCertificate, bob: IssuedCertificate) -> None:
    """A blueprint's hook protects only the blueprint's views, with automatic OPTIONS."""
    blueprint = Blueprint("bp", __name__)
    blueprint.before_request(require_client_certificate(policy="partners"))
    blueprint.add_url_rule("/in", "in", body)
    app.register_blueprint(blueprint)
    app.add_url_rule("/out", "out", body)
    assert statuses(app, "/in", bob, alice, None) == [200, 403, 403]
    assert statuses(app, "/in", None, method="OPTIONS") == [403]
    assert statuses(app, "/out", None) == [200]


def test_app_hook(app: Flask, alice: IssuedCertificate) -> None:
    """The hook protects a whole app, under "default" if it names no policy."""
    app.before_request(require_client_certificate())
    app.add_url_rule("/x", "x", body)
    assert statuses(app, "/x", alice, None) == [200, 403]


@pytest.mark.parametrize("mistaken", [require_client_certificate, authorize_certificate])
@pytest.mark.parametrize("whole_app", [True, False])
def test_hook_without_parentheses_is_refused(app: Flask, mistaken: Any, whole_app: bool) -> None:
    """A hook that was passed but not called is an error before the first request."""
    blueprint = Blueprint("bp", __name__)
    (blueprint.before_app_request if whole_app else blueprint.before_request)(mistaken)
    app.register_blueprint(blueprint)
    app.before_request(lambda: None)
    where = "the app" if whole_app else "the blueprint 'bp'"
    sentence = rf"{where}: .*write before_request\(require_client_certificate\(\)\)"
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=sentence):
            app.test_client().get("/unknown")
