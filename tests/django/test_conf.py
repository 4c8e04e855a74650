from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from arrcert.exceptions import ConfigurationError
from arrcert.settings import load
from arrcert.settings.contents import sealed
from arrcert.testing import IssuedCertificate
from arrcert_django import conf


def _hello(request: Any) -> Any:
    return HttpResponse("hello")


def test_the_snapshot_is_remembered() -> None:
    """The configuration is read once, not for every request."""
    assert conf.current() is conf.current()


@pytest.mark.parametrize("name", ["ARRCERT", "ARRCERT_EXEMPT_PATHS", "ARRCERT_FRONT_END"])
def test_a_changed_setting_drops_the_snapshot(name: str) -> None:
    """A changed ARRCERT setting makes a new snapshot, and changing it back makes another one."""
    before = conf.current()
    values = {
        "ARRCERT": {"default": {"fingerprints": ["A" * 64]}},
        "ARRCERT_EXEMPT_PATHS": ["/health"],
        "ARRCERT_FRONT_END": "app-service",
    }
    with override_settings(**{name: values[name]}):
        during = conf.current()
    assert len({id(before), id(during), id(conf.current())}) == 3


def test_other_settings_leave_the_snapshot_alone() -> None:
    """A change of a setting without the prefix ARRCERT keeps the snapshot."""
    before = conf.current()
    with override_settings(LANGUAGE_CODE="de"):
        assert conf.current() is before


def test_an_assignment_to_the_setting_is_seen(allowed: IssuedCertificate) -> None:
    """The next request uses an assigned `settings.ARRCERT`, although this sends no signal."""
    before = conf.current()
    with override_settings(ARRCERT=django_settings.ARRCERT):
        conf.current()
        django_settings.ARRCERT = {"default": {"fingerprints": ["A" * 64]}}
        assert conf.current() is not before
        assert conf.current().source is django_settings.ARRCERT


def test_a_change_while_settings_are_read_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is not used if the settings changed while it was made."""

    def load_slowly(*arguments: Any, **options: Any) -> Any:
        loaded = load(*arguments, **options)
        monkeypatch.setattr(conf, "load", load)
        with override_settings(ARRCERT_EXEMPT_PATHS=["/health"]):
            pass
        return loaded

    monkeypatch.setattr(conf, "load", load_slowly)
    stale = conf.refresh()
    assert conf.current() is not stale


def test_the_environment_counts_where_the_settings_say_nothing(
    settings: Any, monkeypatch: pytest.MonkeyPatch, allowed: IssuedCertificate
) -> None:
    """Environment variables configure a site whose settings hold no policies."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", allowed.certificate.sha1_fingerprint)
    del settings.ARRCERT
    snapshot = conf.current()
    assert snapshot.source is None
    assert conf.current() is snapshot
    accepted = snapshot.authorizer.authorize(allowed.header_value)
    assert accepted == allowed.certificate


def test_a_start_reads_the_environment_anew(
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    site: Callable[..., None],
    visit: Callable[..., Any],
    allowed: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """Requests are checked against the environment as it is when the middleware starts."""
    del settings.ARRCERT
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", partner.certificate.sha256_fingerprint)
    conf.current()
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", allowed.certificate.sha256_fingerprint)
    site(path("hello", _hello))
    assert visit("/hello", allowed).status_code == 200
    assert visit("/hello", partner).status_code == 403


def test_two_sources_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies in both Django's settings and the environment are an error."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", "A" * 64)
    with pytest.raises(ConfigurationError, match="ARRCERT_FINGERPRINTS"):
        conf.build()


def test_a_misspelt_setting_is_an_error(settings: Any) -> None:
    """An unknown setting that begins with ARRCERT is an error."""
    settings.ARRCERT_EXEMPT_PATH = ["/health"]
    with pytest.raises(ConfigurationError, match="ARRCERT_EXEMPT_PATH: "):
        conf.build()


def test_a_broken_configuration_is_not_remembered(
    settings: Any, tmp_path: Path, authority: Any
) -> None:
    """After the mistake is corrected, the next request is checked as usual."""
    roots = tmp_path / "roots.pem"
    settings.ARRCERT = {"default": {"trust_anchors": str(roots)}}
    with pytest.raises(ConfigurationError, match=r"roots\.pem"):
        conf.current()
    roots.write_bytes(authority.certificate_pem)
    assert conf.current().source is settings.ARRCERT


def test_a_file_of_policies(
    settings: Any, tmp_path: Path, allowed: IssuedCertificate, partner: IssuedCertificate
) -> None:
    """`ARRCERT_FILE` holds the policies; a change of the setting is another file."""
    del settings.ARRCERT
    for who in (allowed, partner):
        file = tmp_path / f"{who.certificate.sha256_fingerprint}.toml"
        pin = who.certificate.sha256_fingerprint
        file.write_bytes(sealed(f'[default]\nfingerprints = ["{pin}"]\n'.encode()))
        settings.ARRCERT_FILE = file
        accepted = conf.current().authorizer.authorize(who.header_value)
        assert accepted == who.certificate


@pytest.mark.parametrize("name", ["MEDIA_ROOT", "STATIC_ROOT", "STATICFILES_DIRS"])
def test_a_file_in_a_served_folder_is_an_error(settings: Any, tmp_path: Path, name: str) -> None:
    """A file in a folder that the site serves is an error, because visitors can read it."""
    del settings.ARRCERT
    file = tmp_path / "partners.toml"
    file.write_bytes(sealed(f'[default]\nfingerprints = ["{"A" * 64}"]\n'.encode()))
    settings.ARRCERT_FILE = str(file)
    conf.current()
    folders = [("prefix", tmp_path)] if name == "STATICFILES_DIRS" else tmp_path
    setattr(settings, name, folders)
    with pytest.raises(ConfigurationError, match=f"is below {name}"):
        conf.current()


def test_folders_of_static_files_may_have_no_prefix(settings: Any, tmp_path: Path) -> None:
    """An entry of `STATICFILES_DIRS` is a folder, or a prefix with a folder."""
    settings.STATICFILES_DIRS = [str(tmp_path), ("prefix", str(tmp_path / "more"))]
    assert conf.served_folders() == [
        ("STATICFILES_DIRS", str(tmp_path)),
        ("STATICFILES_DIRS", str(tmp_path / "more")),
    ]
