"""Start-up, and the gate before every request."""

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
    """Return what the client is answered."""
    headers = client.headers if client else {}
    return app.test_client().open(path, headers=headers, **kwargs).status_code


def too_late(name: str) -> str:
    """Return a pattern for what is said of a setting that came after init_app."""
    return re.escape(
        f"{name}: was set in app.config after Arrcert(app) had read it, so it has no effect; set it"
        " before Arrcert(app), or call Arrcert().init_app(app) last"
    )


def test_bad_configuration_stops_the_start(config: dict[str, Any]) -> None:
    """init_app raises with every mistake, and the app is not half protected."""
    app = Flask(__name__)
    app.config.update(config, ARRCERT_PROTECT_AL=True, ARRCERT_FRONT_END="iis")
    with pytest.raises(ConfigurationError) as caught:
        Arrcert(app)
    assert [problem.setting for problem in caught.value.problems] == [
        "ARRCERT_PROTECT_AL",
        "ARRCERT_FRONT_END",
    ]


def test_no_configuration_stops_the_start() -> None:
    """Without ARRCERT there is no start."""
    with pytest.raises(ConfigurationError, match="ARRCERT: is not set"):
        Arrcert(Flask(__name__))


def test_environment_is_enough(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """App Service's app settings configure a site without a line of code."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha1_fingerprint)
    monkeypatch.setenv("ARRCERT_PROTECT_ALL", "true")
    app = Flask(__name__)
    Arrcert().init_app(app)
    assert status(app, "/", alice) == 404
    assert status(app, "/", impostor) == 403


def test_unguarded_header_is_warned_of(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Off App Service, outside debug mode, the start says that nothing guards the header."""
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
    """Each app has its own configuration, read at init_app and fixed from then on."""
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
    """One app has one configuration, and the error says what to do."""
    with pytest.raises(RuntimeError, match=r"twice for the same app; remove one of the two calls"):
        Arrcert(app)


def test_site_wide_protection_that_comes_too_late_is_refused(
    app: Flask, alice: IssuedCertificate
) -> None:
    """A site that is meant to be closed does not serve openly."""
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
    """The config is fixed at init_app, and whoever changes it later is told once."""
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
    """Whoever writes exempt paths into app.config takes the rest for protected."""
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
    """In the environment they may be another site's."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha256_fingerprint)
    monkeypatch.setenv("ARRCERT_EXEMPT_PATHS", "/health")
    Arrcert(Flask(__name__))
    assert not caplog.records


def test_what_the_configuration_warns_of_is_logged_at_the_start(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An expired trust anchor stops no start, and is told before it denies somebody."""
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
    """Views, unknown paths, wrong methods, static files, OPTIONS: all ask for a certificate."""
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
    """Exempt paths serve without a certificate; tricks around them do not."""
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
    """A decorated view under an exempt path still asks for its certificate."""

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
    """Site-wide protection checks "default" only where the view names no policy."""
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
    """No hook or URL preprocessor acts, or answers, before the request is authorized."""
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
    """A stranger cannot make the app parse an upload."""
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
    """A file's `public, max-age` is not for caches before the site."""
    (tmp_path / "logo.svg").write_text("<svg/>")
    app = Flask(__name__, static_folder=str(tmp_path), static_url_path="/static")
    app.config.update(config, ARRCERT_PROTECT_ALL=True, SEND_FILE_MAX_AGE_DEFAULT=60)
    Arrcert(app)
    answer = app.test_client().get("/static/logo.svg", headers=alice.headers)
    answer.close()
    directives = answer.headers["Cache-Control"].replace(" ", "").split(",")
    assert set(directives) == {"private", "max-age=60"}
