"""Start-up, and the check before every request."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask

from arrcert import ConfigurationError
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert_flask import (
    Arrcert,
    authorize_certificate,
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
    """init_app raises an error that lists every mistake."""
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
    """A second Arrcert for the same app is an error that says what to do."""
    with pytest.raises(RuntimeError, match=r"twice for the same app; remove one of the two calls"):
        Arrcert(app)


def test_site_wide_protection_that_comes_too_late_is_refused(
    app: Flask, alice: IssuedCertificate
) -> None:
    """ARRCERT_PROTECT_ALL that is set after init_app is an error at every request."""
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
    """An expired trust anchor does not stop the start and is a warning in the log."""
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
    """Exempt paths need no certificate; the same paths in another spelling need one."""
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
    app.before_request(lambda: acted.append("hook") or "answered")  # type: ignore[func-returns-value]
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
    """Status, headers and body of a 403 do not tell which paths exist."""
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
