"""Start-up, and the check before every request."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import (
    Blueprint,
    Flask,
    Request,
    appcontext_pushed,
    request_finished,
    request_started,
    request_tearing_down,
)
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.exceptions import Forbidden

from arrcert import ConfigurationError
from arrcert.settings.contents import sealed
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware
from arrcert_flask import (
    Arrcert,
    authorize_certificate,
    authorize_request,
    authorizer_of,
    certificate_exempt,
    require_client_certificate,
)


def status(app: Flask, path: str, client: IssuedCertificate | None = None, **kwargs: Any) -> int:
    """Return the status code that the client gets."""
    headers = client.headers if client else {}
    return app.test_client().open(path, headers=headers, **kwargs).status_code


def too_late(name: str) -> str:
    """Return a pattern for the message about a setting that was set after init_app."""
    return re.escape(
        f"{name}: was set in app.config after Arrcert(app) read it, so it has no effect; set it"
        " before Arrcert(app), or call Arrcert().init_app(app) last"
    )


def test_bad_configuration_stops_the_start(config: dict[str, Any]) -> None:
    """A wrong configuration raises an error in init_app that lists every mistake."""
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_AL=True, ARRCERT_FRONT_END="iis")
    with pytest.raises(ConfigurationError) as caught:
        Arrcert(app)
    assert [problem.setting for problem in caught.value.problems] == [
        "ARRCERT_PROTECT_AL",
        "ARRCERT_FRONT_END",
    ]


def test_no_configuration_stops_the_start() -> None:
    """Without policies the app does not start."""
    with pytest.raises(ConfigurationError, match="ARRCERT: is not set"):
        Arrcert(Flask(__name__))


def test_environment_is_enough(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """Environment variables alone configure a site."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha1_fingerprint)
    monkeypatch.setenv("ARRCERT_PROTECT_ALL", "true")
    app = Flask(__name__)
    Arrcert().init_app(app)
    assert status(app, "/", alice) == 404
    assert status(app, "/", impostor) == 403


def test_unguarded_header_is_warned_of(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Outside App Service and debug mode, the log warns that clients can forge the header."""
    monkeypatch.delenv("WEBSITE_SITE_NAME")
    for debug, told in ((True, False), (False, True)):
        caplog.clear()
        app = Flask(__name__)
        app.config.update(config, DEBUG=debug)
        Arrcert(app)
        assert ("this is not App Service" in caplog.text) is told


def test_two_apps_in_one_process(
    config: dict[str, Any], alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """Each app keeps the configuration that it had at init_app."""
    extension = Arrcert()
    apps = []
    for client in (alice, bob):
        app = Flask(__name__)
        app.config["ARRCERT"] = {"default": {"fingerprints": [client.certificate.sha1_fingerprint]}}
        app.add_url_rule("/x", "x", authorize_certificate(lambda: ""))
        extension.init_app(app)
        app.config["ARRCERT"] = {}
        apps.append(app)
    assert [status(app, "/x", alice) for app in apps] == [200, 403]
    assert [status(app, "/x", bob) for app in apps] == [403, 200]


def test_initialising_twice_is_refused(app: Flask) -> None:
    """A second Arrcert for one app is an error that says what to do."""
    with pytest.raises(RuntimeError, match=r"twice for the same app; remove one of the two calls"):
        Arrcert(app)


def test_site_wide_protection_that_comes_too_late_is_refused(
    app: Flask, alice: IssuedCertificate
) -> None:
    """ARRCERT_PROTECT_ALL that is set after init_app makes every request an error."""
    app.config["ARRCERT_PROTECT_ALL"] = True
    app.config["ARRCERT_EXEMPT_PATHS"] = ["/health"]
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"^{too_late('ARRCERT_PROTECT_ALL')}$"):
            app.test_client().get("/")
    app.testing = False
    assert status(app, "/", alice) == 500


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ARRCERT_EXEMPT_PATHS", ["/", "/health"]),
        ("ARRCERT_PROTECT_ALL", False),
        ("ARRCERT_PROTECT_ALL", 1.5),
        ("ARRCERT", {}),
        ("ARRCERT_NEW", None),
    ],
)
def test_settings_that_come_too_late_have_no_effect_and_are_an_error_in_the_log(
    protected_app: Flask,
    name: str,
    value: Any,
    alice: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A setting that changes after init_app has no effect and is one error in the log."""
    protected_app.config[name] = value
    if value is None:
        del protected_app.config["ARRCERT_EXEMPT_PATHS"]
        name = "ARRCERT_EXEMPT_PATHS"
    for _ in range(2):
        assert status(protected_app, "/", alice) == 404
    [record] = caplog.records
    assert (record.name, record.levelname) == ("arrcert", "ERROR")
    assert re.fullmatch(f"configuration: {too_late(name)}", record.getMessage())
    assert status(protected_app, "/") == 403
    assert status(protected_app, "/health") == 404


def test_exempt_paths_without_site_wide_protection_are_a_warning(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Exempt paths in app.config without ARRCERT_PROTECT_ALL are a warning."""
    app = Flask(__name__)
    app.config.update(config, ARRCERT_EXEMPT_PATHS=["/health"])
    Arrcert(app)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("arrcert", "WARNING")
    assert record.getMessage().startswith(
        "configuration: ARRCERT_EXEMPT_PATHS: has no effect without ARRCERT_PROTECT_ALL"
    )


def test_exempt_paths_that_sites_share_are_no_warning(
    alice: IssuedCertificate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Exempt paths in the environment are no warning, because sites may share it."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha256_fingerprint)
    monkeypatch.setenv("ARRCERT_EXEMPT_PATHS", "/health")
    Arrcert(Flask(__name__))
    assert not caplog.records


def test_what_the_configuration_warns_of_is_logged_at_the_start(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An expired trust anchor does not stop the start, and is a warning in the log."""
    past = datetime.now(UTC) - timedelta(hours=1)
    authority = CertificateAuthority("Past CA", not_after=past)
    config["ARRCERT"]["past"] = {"trust_anchors": authority.certificate_pem.decode()}
    app = Flask(__name__)
    app.config.update(config)
    Arrcert(app)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("arrcert", "WARNING")
    assert record.getMessage().startswith('configuration: ARRCERT["past"]["trust_anchors"]: ')


def test_protect_all_checks_every_endpoint(
    protected_app: Flask, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """Views, unknown paths, wrong methods, static files and OPTIONS need a certificate."""
    protected_app.add_url_rule("/view", "view", lambda: "")
    for path, method, allowed in (
        ("/view", "GET", 200),
        ("/view", "HEAD", 200),
        ("/view", "OPTIONS", 200),
        ("/view", "DELETE", 405),
        ("/unknown", "GET", 404),
        ("/unknown", "OPTIONS", 404),
        ("/static/absent.css", "GET", 404),
    ):
        assert status(protected_app, path, alice, method=method) == allowed
        assert status(protected_app, path, impostor, method=method) == 403
        assert status(protected_app, path, method=method) == 403


def test_exempt_paths(protected_app: Flask) -> None:
    """Exempt paths need no certificate, and other spellings of these paths need one."""
    protected_app.add_url_rule("/health", "health", lambda: "ok")
    protected_app.add_url_rule("/public/<path:rest>", "public", lambda rest: rest)
    protected_app.add_url_rule("/healthz", "healthz", lambda: "ok")
    assert status(protected_app, "/health") == 200
    assert status(protected_app, "/public/a/b") == 200
    for path in ("/healthz", "/Health", "/public/../healthz", "/public/%2e%2e/x", "/public/a%2fb"):
        assert status(protected_app, path) == 403
    assert status(protected_app, "/", environ_overrides={"PATH_INFO": "//health"}) == 403
    assert status(protected_app, "/health", environ_overrides={"SCRIPT_NAME": "/app"}) == 200
    assert (
        status(protected_app, "/x", environ_overrides={"SCRIPT_NAME": "/health", "PATH_INFO": "/x"})
        == 403
    )


def test_exempt_path_does_not_disable_a_decorator(
    protected_app: Flask, bob: IssuedCertificate, alice: IssuedCertificate
) -> None:
    """A decorated view on an exempt path is still checked."""

    @protected_app.get("/public/report")
    @authorize_certificate(policy="partners")
    def report() -> str:
        return ""

    assert status(protected_app, "/public/report") == 403
    assert status(protected_app, "/public/report", alice) == 403
    assert status(protected_app, "/public/report", bob) == 200


def test_named_policy_is_checked_alone(
    protected_app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """Site-wide protection checks "default" only for views that name no policy."""
    blueprint = Blueprint("bp", __name__)
    blueprint.before_request(require_client_certificate(policy="partners"))
    blueprint.add_url_rule("/in", "in", lambda: "")
    blueprint.add_url_rule("/exempt", "exempt", certificate_exempt(lambda: ""))
    protected_app.register_blueprint(blueprint)
    protected_app.add_url_rule(
        "/decorated", "decorated", authorize_certificate(policy="partners")(lambda: "")
    )
    for path in ("/in", "/exempt", "/decorated"):
        assert status(protected_app, path, bob) == 200
        assert status(protected_app, path, alice) == 403
        assert status(protected_app, path) == 403


def test_gate_stands_before_other_hooks(config: dict[str, Any], alice: IssuedCertificate) -> None:
    """No hook or URL preprocessor runs before the request is authorized."""
    acted = []
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_ALL=True)
    app.url_value_preprocessor(lambda endpoint, values: acted.append("preprocessor"))
    app.before_request(lambda: acted.append("hook") or "answered")
    Arrcert(app)
    assert status(app, "/") == 403
    assert not acted
    assert status(app, "/", alice) == 200
    assert acted == ["preprocessor", "hook"]


def test_gate_stands_before_the_body_is_read(config: dict[str, Any], tmp_path: Path) -> None:
    """The app does not read the body of a denied request."""
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_ALL=True)
    Arrcert(app)

    class Unreadable:
        def read(self, *_: int) -> bytes:
            raise AssertionError("the body was read")

    environ = {"wsgi.input": Unreadable(), "CONTENT_LENGTH": "9", "REQUEST_METHOD": "POST"}
    assert status(app, "/", environ_overrides=environ) == 403


def test_known_and_unknown_paths_are_denied_alike(protected_app: Flask) -> None:
    """The 403 of a known path and of an unknown path have equal status, headers and body."""
    blueprint = Blueprint("bp", __name__, url_prefix="/bp")
    blueprint.add_url_rule("/known", "known", lambda: "")
    protected_app.register_blueprint(blueprint)
    protected_app.add_url_rule("/known", "known", lambda: "")
    client = protected_app.test_client()
    answers = [client.get(path) for path in ("/known", "/bp/known", "/unknown")]
    [(code, _, _)] = {
        (answer.status_code, tuple(answer.headers), answer.text) for answer in answers
    }
    assert code == 403


def test_static_files_that_a_certificate_opened_are_private(
    config: dict[str, Any], alice: IssuedCertificate, tmp_path: Path
) -> None:
    """A static file for an authorized request is private and keeps its max-age."""
    (tmp_path / "logo.svg").write_text("<svg/>")
    app = Flask(__name__, static_folder=str(tmp_path), static_url_path="/static")
    app.config.update(config, ARRCERT_PROTECT_ALL=True, SEND_FILE_MAX_AGE_DEFAULT=60)
    Arrcert(app)
    answer = app.test_client().get("/static/logo.svg", headers=alice.headers)
    answer.close()
    directives = answer.headers["Cache-Control"].replace(" ", "").split(",")
    assert set(directives) == {"private", "max-age=60"}


# Denied requests and the site's own code. ---------------------------------------------------------


class Counter:
    """Counts what runs for a request, by name."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def counts(self, name: str, answer: Any = None) -> Any:
        """Return a function that counts its calls, and returns the answer."""

        def count(*_: Any, **__: Any) -> Any:
            self.ran.append(name)
            return answer

        return count


class CountingSessions(SecureCookieSessionInterface):
    """Counts the sessions that Flask opens."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Open a session."""
        self._counter.ran.append("open_session")
        return super().open_session(app, request)


def counting_app(config: dict[str, Any], counter: Counter, **more: Any) -> Flask:
    """Return an app in which every kind of site code counts its calls."""
    app = Flask(__name__)
    app.config.update(config, SECRET_KEY="x", **more)
    app.session_interface = CountingSessions(counter)
    app.url_value_preprocessor(counter.counts("url_value_preprocessor"))
    app.before_request(counter.counts("before_request"))
    blueprint = Blueprint("bp", __name__)
    blueprint.url_value_preprocessor(counter.counts("blueprint's url_value_preprocessor"))
    blueprint.before_request(counter.counts("blueprint's before_request"))
    view = counter.counts("view", "")
    blueprint.add_url_rule("/in", "in", view, methods=["POST"])
    app.register_blueprint(blueprint)
    app.add_url_rule("/protected", "p", authorize_certificate(view), methods=["POST"])
    app.add_url_rule("/plain", "x", view, methods=["POST"])
    Arrcert(app)
    app.teardown_request(counter.counts("teardown_request"))
    app.teardown_appcontext(counter.counts("teardown_appcontext"))
    app.after_request(lambda response: counter.ran.append("after_request") or response)
    return app


OUTSIDE = ["open_session", "after_request", "teardown_request", "teardown_appcontext"]
"""The parts of Flask that run for each request, even a denied one."""

SIGNALS = (appcontext_pushed, request_started, request_finished, request_tearing_down)


@pytest.mark.parametrize("path", ["/in", "/protected", "/plain", "/unknown"])
def test_a_strangers_post_reaches_nothing_of_the_site(
    config: dict[str, Any], alice: IssuedCertificate, impostor: IssuedCertificate, path: str
) -> None:
    """For a stranger no hook, preprocessor or view runs, but only Flask's own code."""
    counter = Counter()
    app = counting_app(config, counter, ARRCERT_PROTECT_ALL=True)
    for client in (None, impostor):
        counter.ran.clear()
        assert status(app, path, client, method="POST") == 403
        assert counter.ran == OUTSIDE
    counter.ran.clear()
    assert status(app, path, alice, method="POST") in (200, 404)
    assert {"url_value_preprocessor", "before_request"} < set(counter.ran)


def test_a_hook_of_the_whole_app_decides_first(
    config: dict[str, Any], alice: IssuedCertificate
) -> None:
    """A hook that checks a policy runs before hooks and preprocessors of earlier lines."""
    counter = Counter()
    app = counting_app(config, counter)
    app.before_request(require_client_certificate())
    for path in ("/in", "/plain", "/unknown"):
        counter.ran.clear()
        assert status(app, path, method="POST") == 403
        assert counter.ran == OUTSIDE
        assert status(app, path, alice, method="POST") in (200, 404)


def test_inside_the_wsgi_middleware_flask_does_not_run(
    config: dict[str, Any], alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """Inside the middleware, a denied request opens no session, and runs no signal or teardown."""
    counter = Counter()
    app = counting_app(config, counter, ARRCERT_PROTECT_ALL=True)
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, authorizer_of(app))
    receivers = {signal: counter.counts(signal.name) for signal in SIGNALS}
    for signal, receiver in receivers.items():
        signal.connect(receiver, app)
    for client in (None, impostor):
        assert status(app, "/plain", client, method="POST") == 403
    assert counter.ran == []
    assert status(app, "/plain", alice, method="POST") == 200
    assert set(counter.ran) >= {signal.name for signal in SIGNALS}


# Commands. ----------------------------------------------------------------------------------------

UNCONFIGURED = """
from flask import Flask
from arrcert.wsgi import ClientCertificateMiddleware
from arrcert_flask import Arrcert, authorizer_of, certificate_exempt

app = Flask(__name__)
app.config["ARRCERT_PROTECT_ALL"] = True
app.config["ARRCERT_EXEMPT_PATHS"] = ["/health"]
Arrcert(app)
app.wsgi_app = ClientCertificateMiddleware(app.wsgi_app, authorizer_of(app))

@app.cli.command()
def work():
    print("worked")
"""


def flask_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a `flask` command of the app in a folder."""
    command = [sys.executable, "-m", "flask", "--app", "site_of_test", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_flask_commands_that_serve_nothing_work_without_settings(tmp_path: Path) -> None:
    """An app without policies runs `flask` commands, and does not start anywhere else."""
    (tmp_path / "site_of_test.py").write_text(UNCONFIGURED)
    done = flask_command(tmp_path, "work")
    assert (done.returncode, done.stdout) == (0, "worked\n")
    assert "ARRCERT: is not set" in done.stderr
    assert "until then every request is denied" in done.stderr
    assert "/static/" in flask_command(tmp_path, "routes").stdout
    program = [sys.executable, "-c", "import site_of_test"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConfigurationError: ARRCERT: is not set" in done.stderr


def test_other_mistakes_stop_flask_commands_too(tmp_path: Path) -> None:
    """Under the `flask` command only missing policies are allowed, and not other mistakes."""
    text = UNCONFIGURED.replace("ARRCERT_PROTECT_ALL", "ARRCERT_PROTECT_AL")
    (tmp_path / "site_of_test.py").write_text(text)
    done = flask_command(tmp_path, "work")
    assert done.returncode != 0
    assert "ARRCERT_PROTECT_AL: there is no such setting" in done.stderr


def test_an_unconfigured_app_serves_nobody(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Under the `flask` command without policies every request is a `misconfigured` denial."""
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    app = Flask(__name__)
    app.config["ARRCERT_EXEMPT_PATHS"] = ["/health"]
    Arrcert(app)
    app.add_url_rule("/open", "open", certificate_exempt(lambda: ""))
    app.add_url_rule("/protected", "protected", authorize_certificate(lambda: ""))
    caplog.clear()
    for path in ("/open", "/protected", "/health", "/unknown"):
        assert status(app, path, alice) == 403
    assert len(caplog.records) == 4
    for record in caplog.records:
        assert record.levelname == "ERROR"
        assert "misconfigured: ARRCERT: is not set" in record.getMessage()
    with app.test_request_context(headers=alice.headers), pytest.raises(Forbidden):
        authorize_request()


def test_only_the_flask_command_forgives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other way to start than the `flask` command stops without policies."""
    for value in ("false", ""):
        monkeypatch.setenv("FLASK_RUN_FROM_CLI", value)
        with pytest.raises(ConfigurationError, match="ARRCERT: is not set"):
            Arrcert(Flask(__name__))


def test_a_file_of_policies(
    tmp_path: Path, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """`ARRCERT_FILE` holds the policies of an app."""
    file = tmp_path / "partners.toml"
    pin = alice.certificate.sha256_fingerprint
    file.write_bytes(sealed(f'[default]\nfingerprints = ["{pin}"]\n'.encode()))
    app = Flask(__name__)
    app.config.update(ARRCERT_FILE=file, ARRCERT_PROTECT_ALL=True)
    Arrcert(app)
    app.add_url_rule("/", "index", lambda: "hello")
    assert status(app, "/", alice) == 200
    assert status(app, "/", impostor) == 403


def test_a_file_among_static_files_is_an_error(tmp_path: Path) -> None:
    """A file of policies below the static folder stops the start."""
    file = tmp_path / "static" / "partners.toml"
    file.parent.mkdir()
    file.write_bytes(sealed(f'[default]\nfingerprints = ["{"A" * 64}"]\n'.encode()))
    app = Flask(__name__, root_path=str(tmp_path))
    app.config["ARRCERT_FILE"] = str(file)
    with pytest.raises(ConfigurationError, match="is below the app's static_folder"):
        Arrcert(app)
    app = Flask(__name__, root_path=str(tmp_path), static_folder=None)
    app.config["ARRCERT_FILE"] = str(file)
    Arrcert(app)


def test_dict_config_that_disables_loggers(tmp_path: Path) -> None:
    """A site with Flask's usual logging and a denial has a line that says what to write."""
    program = """
import logging.config
from flask import Flask
from arrcert_flask import Arrcert
root = {"level": "INFO", "handlers": ["console"]}
handlers = {"console": {"class": "logging.StreamHandler"}}
logging.config.dictConfig({"version": 1, "handlers": handlers, "root": root})
app = Flask("site")
app.config.update(ARRCERT={"default": {"fingerprints": ["ab" * 32]}}, ARRCERT_PROTECT_ALL=True)
Arrcert(app)
assert app.test_client().get("/").status_code == 403
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the logger 'arrcert' is disabled") == 1
