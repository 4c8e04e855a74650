"""The route audit of Flask apps, compared with the answers to a client without a certificate."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from flask import Blueprint, Flask, redirect, render_template_string, request, url_for
from flask.views import MethodView
from flask_admin import Admin, AdminIndexView, BaseView, expose
from flask_smorest import Api
from flask_smorest import Blueprint as SmorestBlueprint
from flask_sock import Sock
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from arrcert import ConfigurationError
from arrcert.routes import Decision, Effect, Report, Verdict, as_text
from arrcert.wsgi import ClientCertificateMiddleware
from arrcert_flask import (
    Arrcert,
    authorize_certificate,
    authorize_request,
    authorizer_of,
    certificate_denied,
    certificate_exempt,
    require_client_certificate,
)
from arrcert_flask.routes import report

SAMPLES = {"int": 1, "float": 1.5, "path": "a/b", "uuid": uuid.UUID(int=1)}


def is_denied(app: Flask, path: str, method: str) -> bool:
    """Return whether arrcert denies a client without a certificate."""
    denials: list[object] = []

    def note(_: Flask, **more: object) -> None:
        denials.append(more["reason"])

    with certificate_denied.connected_to(note, sender=app):
        try:
            status = app.test_client().open(path, method=method).status_code
        except HTTPException:
            raise
        except Exception:
            status = 500  # The view ran.
    # The middleware around the app sends no signal, and its 403 has its own page.
    return status == 403 and (bool(denials) or _is_page_of_middleware(app, path, method))


def _is_page_of_middleware(app: Flask, path: str, method: str) -> bool:
    answer = app.test_client().open(path, method=method)
    return answer.headers.get("Cache-Control") == "no-store"


def requests_of(app: Flask) -> Iterator[tuple[str, str, str, str]]:
    """Yield the text, path, method and endpoint of each route in the URL map."""
    matcher = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        kinds = {name: type(one).__name__ for name, one in rule._converters.items()}
        values = {
            name: SAMPLES.get(kind.removesuffix("Converter").lower().replace("integer", "int"), "a")
            for name, kind in kinds.items()
        }
        path = matcher.build(rule.endpoint, values, force_external=False)
        for method in sorted(rule.methods or []):
            yield rule.rule, path, method, rule.endpoint


def differences(app: Flask) -> tuple[list[str], int]:
    """Return the differences between the audit and the app, and the number of compared requests."""
    found, compared = report(app), 0
    wrong = []
    for text, path, method, endpoint in requests_of(app):
        [row] = [
            route
            for route in found.routes
            if (route.path, route.view) == (text, endpoint) and method in route.methods
        ]
        compared += 1
        verdict = row.decision.verdict
        if verdict is Verdict.UNKNOWN or is_denied(app, path, method) is not (
            verdict is Verdict.PROTECTED
        ):
            wrong.append(f"{method} {path}: {row.decision}")
    return wrong, compared


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


# Third-party apps and sites of common shapes. -----------------------------------------------------


class Guarded(AdminIndexView):
    """The front page of an admin that checks with arrcert."""

    def is_accessible(self) -> bool:
        """Check whether the client is accepted."""
        return bool(authorize_request("partners"))


class Reports(BaseView):
    """A page of the admin without a check."""

    @expose("/")
    def index(self) -> str:
        """Answer every client."""
        return "reports"

    @expose("/decorated", methods=["GET", "POST"])
    @authorize_certificate
    def decorated(self) -> str:
        """Answer accepted clients only."""
        return "decorated"


def flask_admin(app: Flask) -> None:
    """An app with Flask-Admin."""
    app.secret_key = "x"
    admin = Admin(app, index_view=Guarded())
    admin.add_view(Reports(endpoint="reports"))


def flask_smorest(app: Flask) -> None:
    """An app with flask-smorest and its pages of documentation."""
    app.config.update(
        API_TITLE="x",
        API_VERSION="1",
        OPENAPI_VERSION="3.0.2",
        OPENAPI_URL_PREFIX="/docs",
        OPENAPI_SWAGGER_UI_PATH="/swagger",
        OPENAPI_SWAGGER_UI_URL="https://localhost/",
    )
    pets = SmorestBlueprint("pets", "pets", url_prefix="/pets")

    @pets.route("/")
    class Pets(MethodView):
        @pets.response(200)
        @authorize_certificate
        def get(self) -> dict[str, str]:
            return {}

        def post(self) -> dict[str, str]:
            return {}

    @pets.route("/<int:number>")
    class Pet(MethodView):
        def get(self, number: int) -> dict[str, str]:
            return {}

        def delete(self, number: int) -> dict[str, str]:
            return {}

    @pets.route("/<uuid:number>/history")
    @pets.response(200)
    @authorize_certificate(policy="partners")
    def history(number: object) -> dict[str, str]:
        return {}

    Api(app).register_blueprint(pets)


def flaskr(app: Flask) -> None:
    """A site like the one of Flask's tutorial: two blueprints, forms, a login."""
    app.secret_key = "x"
    auth = Blueprint("auth", __name__, url_prefix="/auth")

    @auth.before_app_request
    def load_user() -> None:
        pass

    @auth.route("/register", methods=("GET", "POST"))
    def register() -> str:
        return ""

    @auth.route("/login", methods=("GET", "POST"))
    def login() -> str:
        return ""

    @auth.route("/logout")
    def logout() -> Any:
        return redirect(url_for("index"))

    blog = Blueprint("blog", __name__)

    @blog.route("/")
    def index() -> str:
        return render_template_string("blog")

    @blog.route("/create", methods=("GET", "POST"))
    @authorize_certificate
    def create() -> str:
        return ""

    @blog.route("/<int:number>/update", methods=("GET", "POST"))
    @authorize_certificate
    def update(number: int) -> str:
        return ""

    @blog.route("/<int:number>/delete", methods=("POST",))
    def delete(number: int) -> str:
        return ""

    @app.route("/hello")
    def hello() -> str:
        return "hello"

    members = Blueprint("members", __name__, url_prefix="/members")
    members.before_request(require_client_certificate(policy="partners"))
    members.route("/")(lambda: "members")
    app.register_blueprint(auth)
    app.register_blueprint(blog)
    app.register_blueprint(members)
    app.add_url_rule("/", endpoint="index", view_func=index)


def quick_start_of_microsoft(app: Flask) -> None:
    """A site like Microsoft's sample for Flask: three routes and a form."""

    @app.route("/")
    def index() -> str:
        return render_template_string("<form action=/hello method=post></form>")

    @app.route("/favicon.ico")
    @certificate_exempt
    def favicon() -> tuple[str, int]:
        return "", 204

    @app.route("/hello", methods=["POST"])
    @authorize_certificate
    def hello() -> Any:
        return request.form.get("name") or redirect(url_for("index"))


@pytest.mark.parametrize("kind", ["gate", "decorators"])
@pytest.mark.parametrize("build", [flask_admin, flask_smorest, flaskr, quick_start_of_microsoft])
def test_audit_is_what_a_client_gets(
    config: dict[str, Any], build: Callable[[Flask], None], kind: str
) -> None:
    """For each route and method, arrcert denies exactly if the audit says so."""
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_ALL=kind == "gate")
    Arrcert(app)
    build(app)
    wrong, compared = differences(app)
    assert wrong == []
    assert compared >= 9
    verdicts = {route.decision.verdict for route in report(app).routes}
    assert (Verdict.OPEN in verdicts) is (kind == "decorators")
    assert Verdict.PROTECTED in verdicts


@pytest.mark.parametrize("build", [flask_admin, flaskr])
def test_audit_inside_the_middleware(
    config: dict[str, Any], build: Callable[[Flask], None]
) -> None:
    """The WSGI middleware decides about the routes that the app leaves open."""
    app = Flask(__name__)
    app.config.update(config)
    Arrcert(app)
    build(app)
    app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app), policy=None)
    wrong, _ = differences(app)
    assert wrong == []
    assert {route.decision.verdict for route in report(app).routes} == {Verdict.PROTECTED}


# What decides about a route. ----------------------------------------------------------------------


def test_who_decides(config: dict[str, Any]) -> None:
    """The audit distinguishes the gate, a decorator, a hook and an exemption."""
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_ALL=True, ARRCERT_EXEMPT_PATHS=["/health"])
    Arrcert(app)
    flaskr(app)
    quick = {"/health": lambda: "", "/open": certificate_exempt(lambda: "")}
    for path, view in quick.items():
        app.add_url_rule(path, path, view)
    found = report(app)
    assert decision_at(found, "/hello") == protected("default", "gate")
    assert decision_at(found, "/create") == protected("default", "decorator")
    assert decision_at(found, "/members/") == protected("partners", "hook of the blueprint members")
    assert decision_at(found, "/open") == Decision(Verdict.EXEMPT, (), "certificate_exempt")
    assert decision_at(found, "/health") == Decision(
        Verdict.EXEMPT, (), "ARRCERT_EXEMPT_PATHS /health"
    )
    assert decision_at(found, "any other path") == protected("default", "gate")
    assert found.on_purpose == ["ARRCERT_EXEMPT_PATHS: /health"]


def test_hook_of_the_app(app: Flask) -> None:
    """A hook of the app decides about each route, and about paths without a route."""
    app.before_request(require_client_certificate(policy="partners"))
    app.add_url_rule("/", "index", authorize_certificate(lambda: ""))
    found = report(app)
    assert decision_at(found, "/") == Decision(
        Verdict.PROTECTED, ("default", "partners"), "decorator + hook of the app"
    )
    assert decision_at(found, "any other path") == protected("partners", "hook of the app")
    assert differences(app)[0] == []


def test_roles(app: Flask) -> None:
    """The row names the role that a decorator or a hook requires."""
    members = Blueprint("members", __name__, url_prefix="/members")
    members.before_request(require_client_certificate(role="staff"))
    members.add_url_rule("/", "index", lambda: "")
    app.register_blueprint(members)
    app.add_url_rule("/orders", "orders", authorize_certificate(role="orders")(lambda: ""))
    found = report(app)
    assert decision_at(found, "/orders") == protected("default", "decorator, role orders")
    assert decision_at(found, "/members/").decided_by.endswith(", role staff")


def test_methods_of_a_class_based_view(app: Flask) -> None:
    """Each method has its own row, and OPTIONS is checked under the policies of all of them."""

    class Orders(MethodView):
        @authorize_certificate
        def get(self) -> str:
            return ""

        @authorize_certificate(policy="partners")
        def put(self) -> str:
            return ""

        def post(self) -> str:
            return ""

    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    found = report(app)
    by = "decorator of a method"
    assert decision_at(found, "/orders", "HEAD") == protected("default", by)
    assert decision_at(found, "/orders", "PUT") == protected("partners", by)
    assert decision_at(found, "/orders", "POST").verdict is Verdict.OPEN
    assert set(decision_at(found, "/orders", "OPTIONS").policies) == {"default", "partners"}
    assert differences(app)[0] == []


def test_websocket_of_flask_sock(app: Flask, protected_app: Flask) -> None:
    """A route of flask-sock is a WebSocket, which the gate checks."""
    for site, verdict in ((app, Verdict.OPEN), (protected_app, Verdict.PROTECTED)):
        Sock(site).route("/ws")(lambda _: None)
        [route] = [route for route in report(site).routes if route.path == "/ws"]
        assert route.methods == ("WEBSOCKET",)
        assert route.decision.verdict is verdict


def test_host_and_subdomain_are_a_part_of_the_path(config: dict[str, Any]) -> None:
    """Routes of another host or subdomain have their own rows."""
    app = Flask(__name__, host_matching=True, static_host="static.contoso.com")
    app.config.update(config)
    Arrcert(app)
    app.add_url_rule("/", "index", lambda: "", host="api.contoso.com")
    assert "//api.contoso.com/" in [route.path for route in report(app).routes]


@pytest.mark.parametrize(
    ("path", "paths"),
    [
        ("/health", ["/health"]),
        ("/files/<path:name>", ["/files/<path:name>", "/files/public/*", "/files/one.txt"]),
        ("/public/<path:name>", ["/public/<path:name>"]),
        ("/<name>", ["/<name>", "/public/*", "/health"]),
    ],
)
def test_exempt_paths_of_routes_with_variables(
    config: dict[str, Any], path: str, paths: list[str]
) -> None:
    """A part of a route whose paths are exempt has its own row."""
    app = Flask(__name__)
    exempt = ["/health", "/public/*", "/files/public/*", "/files/one.txt"]
    app.config.update(config, ARRCERT_PROTECT_ALL=True, ARRCERT_EXEMPT_PATHS=exempt)
    Arrcert(app)
    app.add_url_rule(path, "view", lambda **_: "")
    rows = {route.path: route.decision for route in report(app).routes if route.view == "view"}
    assert set(paths) <= set(rows)
    for found, decision in rows.items():
        concrete = found.replace("*", "x").replace("<path:name>", "x").replace("<name>", "x")
        assert is_denied(app, concrete, "GET") is (decision.verdict is Verdict.PROTECTED), found


# Checks that the audit cannot read. ---------------------------------------------------------------


def _own_check() -> str:
    authorize_request()
    return ""


def _hiding(view: Callable[[], str]) -> Callable[[], str]:
    def hiding() -> str:
        return view()

    return hiding


class _CallsInDispatch(MethodView):
    def dispatch_request(self, **_: Any) -> Any:
        authorize_request("partners")
        return ""

    def get(self) -> str:
        return ""


@pytest.mark.parametrize(
    "view",
    [
        _own_check,
        _CallsInDispatch.as_view("x"),
        _hiding(authorize_certificate(lambda: "")),
        partial(authorize_certificate(lambda: "")),
    ],
)
def test_hidden_checks_are_unknown(app: Flask, view: Callable[..., Any]) -> None:
    """A check that the audit cannot read is unknown, and neither open nor protected."""
    app.add_url_rule("/", "index", view)
    assert decision_at(report(app), "/").verdict is Verdict.UNKNOWN


def test_hook_that_calls_authorize_request(app: Flask) -> None:
    """A hook may call `authorize_request` for some requests, so each route is unknown."""

    @app.before_request
    def hook() -> None:
        if request.path.startswith("/members"):
            authorize_request()

    app.add_url_rule("/", "index", lambda: "")
    assert decision_at(report(app), "/").verdict is Verdict.UNKNOWN


def test_is_accessible_of_the_site(app: Flask) -> None:
    """An `is_accessible` that raises, or that denies by itself, is unknown."""

    class Failing(BaseView):
        def is_accessible(self) -> bool:
            raise ValueError

        @expose("/")
        def index(self) -> str:
            return ""

    class Denying(Failing):
        def is_accessible(self) -> bool:
            return False

    class Own(Denying):
        def _handle_view(self, name: str, **_: Any) -> None:
            return None

    class Allowing(Failing):
        def is_accessible(self) -> bool:
            return True

    app.secret_key = "x"
    admin = Admin(app)
    for kind in (Failing, Denying, Own, Allowing):
        admin.add_view(kind(endpoint=kind.__name__.lower()))
    found = report(app)
    verdicts = [
        decision_at(found, f"/admin/{name}/").verdict.value
        for name in ("failing", "denying", "own", "allowing")
    ]
    assert verdicts == ["unknown", "unknown", "open", "open"]


class _Hostile:
    """A view whose attributes raise."""

    __name__ = "hostile"

    def __call__(self) -> str:
        """Answer."""
        return ""

    def __getattribute__(self, name: str) -> Any:
        if name in ("__name__", "__call__", "__class__", "__dict__", "provide_automatic_options"):
            return object.__getattribute__(self, name)
        if name in ("required_methods", "methods"):
            raise AttributeError(name)
        raise ValueError(name)


class _Endless:
    """A view that wraps a new view each time it is asked."""

    __name__ = "endless"

    def __call__(self) -> str:
        """Answer."""
        return ""

    @property
    def __wrapped__(self) -> _Endless:
        return _Endless()


def test_hostile_views(config: dict[str, Any]) -> None:
    """A view whose attributes raise is unknown, and the search in an endless view ends."""
    app = Flask(__name__)
    app.config.update(config)
    Arrcert(app)
    app.add_url_rule("/endless", "endless", _Endless())
    assert decision_at(report(app), "/endless").verdict is Verdict.OPEN
    app.view_functions["endless"] = _Hostile()
    found = report(app)
    assert found.routes[-1].decision.verdict is Verdict.UNKNOWN
    assert "ValueError" in as_text(found, 200)


# The layers around an app. ------------------------------------------------------------------------


class _Wrapper:
    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


def test_layers_around_an_app(app: Flask) -> None:
    """The report says what each layer does, from the outside to the inside."""
    app.wsgi_app = _Wrapper(app.wsgi_app)
    app.wsgi_app = ClientCertificateMiddleware(
        app.wsgi_app, authorizer_of(app), exempt_paths=["/health"]
    )
    app.wsgi_app = ProxyFix(app.wsgi_app)
    app.wsgi_app = _Wrapper(app.wsgi_app)
    app.add_url_rule("/health", "health", lambda: "")
    found = report(app)
    assert [layer.effect for layer in found.layers] == [
        Effect.UNKNOWN,
        Effect.PASSES,
        Effect.CHECKS,
        Effect.BEHIND,
    ]
    assert found.layers[2].meaning == "default; exempt: /health"
    assert decision_at(found, "/health") == Decision(
        Verdict.EXEMPT, (), "exempt path of the WSGI middleware /health"
    )
    assert differences(app)[0] == []


def test_mounts_of_a_dispatcher(app: Flask, config: dict[str, Any]) -> None:
    """Each mounted app has rows, and a check around it or around the dispatcher decides."""

    def other(environ: Any, start: Any) -> list[bytes]:
        return []

    guarded = ClientCertificateMiddleware(other, authorizer_of(app), policy="partners")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/open": other, "/guarded": guarded})
    found = report(app)
    assert decision_at(found, "/open/*").verdict is Verdict.OPEN
    assert decision_at(found, "/guarded/*") == protected("partners", "WSGI middleware")
    assert [layer.is_open() for layer in found.layers] == [False]


def test_app_without_the_extension(authority: Any) -> None:
    """Without `Arrcert(app)` decorators deny, but Flask's automatic OPTIONS answer is open."""
    app = Flask(__name__)
    app.add_url_rule("/", "index", authorize_certificate(lambda: ""))
    app.add_url_rule("/open", "open", lambda: "")
    found = report(app)
    assert decision_at(found, "/").verdict is Verdict.PROTECTED
    assert decision_at(found, "/", "OPTIONS").verdict is Verdict.OPEN
    assert decision_at(found, "/open").verdict is Verdict.OPEN
    assert app.test_client().options("/").status_code == 200


# The command. -------------------------------------------------------------------------------------


def run(app: Flask, *arguments: str) -> tuple[int, str, str]:
    """Run `flask arrcert-routes`; return the exit code, the output and the errors."""
    result = app.test_cli_runner().invoke(args=["arrcert-routes", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_command_prints_a_plain_table(
    protected_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of the command is plain text. It is wrapped only to a width that is given."""
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "/orders/" + "invoices-of-a-partner/" * 6
    protected_app.add_url_rule(path, "invoices", lambda: "")
    assert path in run(protected_app)[1]
    monkeypatch.setenv("COLUMNS", "80")
    protected_app.add_url_rule("/health", "health", lambda: "")
    code, out, _ = run(protected_app)
    assert code == 0
    assert out.startswith("PATH")
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_command_prints_json(protected_app: Flask) -> None:
    """`--json` prints the report as JSON."""
    code, out, _ = run(protected_app, "--json")
    assert code == 0
    assert json.loads(out)["routes"][0]["verdict"] == "protected"


def test_command_fails_on_open(app: Flask) -> None:
    """`--fail-on-open` exits with 1 if a route is open and not allowed by name."""
    app.add_url_rule("/open", "open", lambda: "")
    code, _, err = run(app, "--fail-on-open", "--allow", "/static/*")
    assert code == 1
    assert err == "OPEN: /open (GET HEAD OPTIONS), view open: nobody\n"
    assert run(app, "--fail-on-open", "--allow", "/static/*", "--allow", "/open")[0] == 0
    assert run(app)[0] == 0


@pytest.mark.parametrize(
    "arguments", [["--allow", "/x"], ["--fail-on-open", "--allow", "/*"], ["--no-such-option"]]
)
def test_bad_usage_of_the_command(app: Flask, arguments: list[str]) -> None:
    """Bad usage exits with 2."""
    assert run(app, *arguments)[0] == 2


def test_app_that_refuses_to_serve(protected_app: Flask) -> None:
    """For an app that refuses to serve, the command says why and exits with 2."""
    protected_app.wsgi_app = DispatcherMiddleware(protected_app.wsgi_app, {})
    code, _, err = run(protected_app)
    assert code == 2
    assert "the app refuses to serve: the WSGI middleware" in err


def test_app_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the `flask` command an app without policies has no audit: it denies everything."""
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    app = Flask(__name__)
    Arrcert(app)
    with pytest.raises(ConfigurationError, match="ARRCERT"):
        report(app)


def test_what_ends_is_reported() -> None:
    """The report lists the pins that end."""
    app = Flask(__name__)
    app.config["ARRCERT"] = {
        "default": {"fingerprints": [{"fingerprint": "AA" * 32, "not_after": "2099-01-31"}]}
    }
    Arrcert(app)
    [end] = report(app).ends
    assert (end.policies, end.at) == (("default",), "2099-01-31T23:59:59Z")
