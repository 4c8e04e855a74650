"""The test client of each framework presents the certificate, and mistakes are reported."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from arrcert_flask import Arrcert, authorize_certificate, get_client_identity
from arrcert_pytest.clients import Clients
from arrcert_pytest.presenting import AsClient


@pytest.fixture(scope="module")
def clients() -> Clients:
    """Alice, and Bob as a partner."""
    return Clients(["alice", "bob policy=partners"])


@pytest.fixture
def as_client(request: pytest.FixtureRequest, clients: Clients) -> AsClient:
    """The fixture's function, made here in case the plugin is not installed."""
    return AsClient(request, clients.issued)


@pytest.fixture
def flask_app(clients: Clients) -> Flask:
    """An app that answers with the client's name."""
    app = Flask(__name__)
    app.config["ARRCERT"] = clients.policies
    Arrcert(app)

    @app.get("/")
    @authorize_certificate
    def who() -> str:
        identity = get_client_identity()
        assert identity is not None
        return str(identity.name)

    return app


def test_flask(as_client: AsClient, clients: Clients, flask_app: Flask) -> None:
    """Flask's client presents the certificate on every call, and no other certificate."""
    alice, bob = as_client("alice", flask_app), as_client("bob", flask_app)
    for _ in range(2):
        assert alice.get("/").text == "alice"
        assert alice.get("/", headers={"X-Other": "1"}).text == "alice"
        assert bob.get("/").status_code == 403
    assert as_client(clients.issued["alice"], flask_app).get("/").text == "alice"
    assert as_client(None, flask_app).get("/").status_code == 403
    assert flask_app.test_client().get("/").status_code == 403


@pytest.mark.parametrize(
    ("who", "app", "said"),
    [
        ("mallory", None, "arrcert_clients does not list 'mallory', only 'alice', 'bob'"),
        (7, None, "7 is not a client"),
        ("alice", object(), "no test client for an app of the type object"),
    ],
)
def test_mistakes(as_client: AsClient, who: Any, app: Any, said: str) -> None:
    """An unlisted name, or an app of another kind, is an error that says what to write."""
    with pytest.raises((LookupError, TypeError), match=said):
        as_client(who, app)


class TestFixture:
    """A project may have a fixture with the name `app`."""

    @pytest.fixture
    def app(self, flask_app: Flask) -> Flask:
        """The app."""
        return flask_app

    def test_it_is_used(self, as_client: AsClient) -> None:
        """The fixture `app` is used if there is no second argument."""
        assert as_client("alice").get("/").text == "alice"


class TestBrokenFixture:
    """The fixture `app` may require a fixture that does not exist."""

    @pytest.fixture
    def app(self, no_such_fixture: Any) -> Any:
        """Fails."""

    def test_it_is_told(self, as_client: AsClient) -> None:
        """The error of the project's own fixture is shown."""
        with pytest.raises(pytest.FixtureLookupError, match="no_such_fixture"):
            as_client("alice")


def test_no_app(as_client: AsClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an app, a fixture and a Django site, the error says what to write."""
    monkeypatch.setitem(__import__("sys").modules, "django.conf", None)
    with pytest.raises(TypeError, match="a fixture called app"):
        as_client("alice")
