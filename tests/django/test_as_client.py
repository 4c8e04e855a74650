"""The pytest plugin's clients of a Django site, and the policies that they use."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from rest_framework.test import APIClient

from arrcert_pytest.clients import Clients, set_environment
from arrcert_pytest.presenting import AsClient, django_policies


@pytest.fixture(scope="module")
def clients() -> Clients:
    """Alice."""
    return Clients(["alice"])


@pytest.fixture
def as_client(request: pytest.FixtureRequest, clients: Clients, site: Any) -> AsClient:
    """The fixture's function, and a site that answers with the client's name."""
    site(path("", lambda request: HttpResponse(request.client_identity.name)))
    return AsClient(request, clients.issued)


def test_policies_of_the_settings_are_replaced(
    as_client: AsClient, clients: Clients, settings: Any
) -> None:
    """The plugin's clients are accepted during a test, and the settings' own ones afterwards."""
    settings.INSTALLED_APPS = ["arrcert_django"]
    with django_policies(None):
        assert as_client("alice").get("/").status_code == 403
    with django_policies(clients.policies):
        client = as_client("alice")
        assert type(client) is Client
        assert client.get("/").content == b"alice"
        assert as_client(None).get("/").status_code == 403
    assert as_client("alice").get("/").status_code == 403


def test_file_of_the_settings_is_replaced(
    as_client: AsClient, clients: Clients, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of policies in the settings is ignored, and the environment is no second source."""
    del settings.ARRCERT
    settings.ARRCERT_FILE = "no/such/file.toml"
    set_environment(monkeypatch, clients.policies)
    with django_policies(clients.policies):
        assert as_client("alice").get("/").content == b"alice"
    assert settings.ARRCERT_FILE == "no/such/file.toml"


def test_environment_suffices(
    as_client: AsClient, clients: Clients, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site without policies in its settings uses those that the plugin has exported."""
    del settings.ARRCERT
    set_environment(monkeypatch, clients.policies)
    with django_policies(clients.policies):
        assert not hasattr(settings, "ARRCERT")
        assert as_client("alice").get("/").content == b"alice"


def test_client_of_rest_framework(as_client: AsClient, clients: Clients, settings: Any) -> None:
    """If Django REST framework is installed, its test client presents the certificate."""
    assert "rest_framework" in settings.INSTALLED_APPS
    with django_policies(clients.policies):
        client = as_client("alice")
        assert type(client) is APIClient
        assert client.get("/").content == b"alice"
        assert client.post("/", {"a": 1}, format="json").content == b"alice"
