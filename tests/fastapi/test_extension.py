"""The settings of the extension `Arrcert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from arrcert import Authorizer, ConfigurationError
from arrcert.testing import IssuedCertificate
from arrcert_fastapi import Arrcert, authorizer_of


def test_settings_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate
) -> None:
    """Without a mapping, the environment is the configuration."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha256_fingerprint)
    app = FastAPI()
    Arrcert(app)
    app.get("/")(lambda: "in")
    assert TestClient(app).get("/", headers=alice.headers).json() == "in"
    assert TestClient(app).get("/").status_code == 403


def test_mistakes_stop_the_start() -> None:
    """Mistakes in the settings, and no settings at all, are a `ConfigurationError`."""
    for settings in ({}, {"ARRCERT": {"default": {"fingerprints": []}}}):
        with pytest.raises(ConfigurationError):
            Arrcert(FastAPI(), settings)


def test_names_of_settings(settings: dict[str, Any]) -> None:
    """An unknown setting is an error, and so is a policy outside of `ARRCERT`."""
    with pytest.raises(ConfigurationError, match="default: is not a setting of arrcert"):
        Arrcert(FastAPI(), settings["ARRCERT"])
    with pytest.raises(ConfigurationError, match=r"ARCCERT: .*; did you mean ARRCERT?"):
        Arrcert(FastAPI(), {"ARCCERT": settings["ARRCERT"]})
    with pytest.raises(ConfigurationError, match="ARRCERT_EXEMPT"):
        Arrcert(FastAPI(), settings | {"ARRCERT_EXEMPT": []})


def test_whole_app_is_protected(settings: dict[str, Any]) -> None:
    """`ARRCERT_PROTECT_ALL = False` is an error, because the extension protects the whole app."""
    with pytest.raises(ConfigurationError, match="ARRCERT_PROTECT_ALL: is False"):
        Arrcert(FastAPI(), settings | {"ARRCERT_PROTECT_ALL": False})
    Arrcert(FastAPI(), settings | {"ARRCERT_PROTECT_ALL": True})


def test_second_gate_is_refused(app: FastAPI, settings: dict[str, Any]) -> None:
    """A second `Arrcert` for one app is an error."""
    with pytest.raises(RuntimeError, match="twice"):
        Arrcert(app, settings)


def test_probable_mistakes_are_warnings(
    settings: dict[str, Any], alice: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A setting that is valid but probably a mistake is a warning in the log."""
    pin = {"fingerprint": alice.certificate.sha256_fingerprint, "not_after": "2020-01-31"}
    Arrcert(FastAPI(), settings | {"ARRCERT": {"default": {"fingerprints": [pin]}}})
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("configuration: ")


def test_authorizer_of_an_app(app: FastAPI) -> None:
    """`authorizer_of` returns the authorizer of an app, or raises an error without one."""
    authorizer = authorizer_of(app)
    assert isinstance(authorizer, Authorizer)
    assert "default" in authorizer.policies
    with pytest.raises(ConfigurationError, match="call it before authorizer_of"):
        authorizer_of(FastAPI())


def test_settings_without_default(settings: dict[str, Any], tmp_path: Path) -> None:
    """Policies without `default` stop the start, because everything else requires `default`."""
    policies = {"partners": settings["ARRCERT"]["partners"]}
    with pytest.raises(ConfigurationError, match=r'ARRCERT: there is no policy "default"') as error:
        Arrcert(FastAPI(), {"ARRCERT": policies})
    assert "there is 'partners'; rename one of the policies, or add" in str(error.value)
    file = tmp_path / "partners.toml"
    file.write_text(f'[partners]\nfingerprints = ["{"A" * 64}"]\n')
    with pytest.raises(ConfigurationError, match=r'ARRCERT_FILE: there is no policy "default"'):
        Arrcert(FastAPI(), {"ARRCERT_FILE": str(file)})
