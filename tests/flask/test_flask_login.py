"""The code of docs/flask-login.md works, and logs each client in only as its own user."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask_login
import pytest
from flask import Flask

from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

GUIDE = (Path(__file__).parents[2] / "docs" / "flask-login.md").read_text(encoding="utf-8")


class User(flask_login.UserMixin):
    """A user of the site."""

    def __init__(self, name: str, is_active: bool = True) -> None:
        self.id = self.name = name
        self._is_active = is_active

    @property
    def is_active(self) -> bool:
        """Whether the user may log in."""
        return self._is_active


class Rows:
    """A database that ignores case and spaces at the end, as some databases do."""

    users = (User("alice"), User("mallory", is_active=False), User("admin"))

    def filter_by(self, name: str) -> Any:
        """Find a user."""
        found = [user for user in self.users if user.name == name.rstrip().lower()]
        return SimpleNamespace(one_or_none=lambda: found[0] if found else None)


User.query = Rows()


def run(containing: str, names: dict[str, Any]) -> None:
    """Run the one block of the page that contains a text, in a namespace with these names."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    [code] = [block for block in blocks if containing in block]
    exec(compile(code, "docs/flask-login.md", "exec"), names)


@pytest.fixture
def clients(authority: CertificateAuthority) -> dict[str, IssuedCertificate]:
    """Clients by name. The device has the name of a user, and comes from another CA."""
    named = ("alice", "mallory", "stranger", "ALICE", "admin ")
    issued = {name: authority.issue(name) for name in named}
    issued["nameless"] = self_signed("nameless")
    issued["device"] = CertificateAuthority("Devices").issue("admin")
    return issued


@pytest.fixture
def app(clients: dict[str, IssuedCertificate], monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The app of the page."""
    pins: list[Any] = [
        {"fingerprint": issued.certificate.sha256_fingerprint, "identity": name}
        for name, issued in clients.items()
        if name in ("alice", "mallory", "stranger", "ALICE")
    ]
    # No identity can end with a space, so this client has no identity.
    pins += [clients[name].certificate.sha256_fingerprint for name in ("nameless", "admin ")]
    pins[2]["roles"] = ["orders"]  # The pin of the stranger.
    device = {
        "fingerprints": [clients["device"].certificate.sha256_fingerprint],
        "identity": "{common_name}",
    }
    names: dict[str, Any] = {"__name__": __name__, "User": User}
    run("def find_user", names)
    # The settings that a reader of the page provides.
    defaults = {**Flask.default_config, "SECRET_KEY": "x"}
    defaults["ARRCERT"] = {"default": {"fingerprints": pins}, "devices": device}
    monkeypatch.setattr(Flask, "default_config", defaults)
    for block in ("request_loader\ndef", "def report", "def orders"):
        run(block, names)
    made: Flask = names["app"]

    @made.get("/device")
    @names["authorize_certificate"](policy="devices")
    def device_view() -> dict[str, Any]:
        return {"user": names["current_user"].is_authenticated}

    @made.get("/old-session")
    def old_session() -> str:
        flask_login.login_user(User("admin"))
        return ""

    return made


@pytest.fixture
def ask(app: Flask, clients: dict[str, IssuedCertificate]) -> Callable[..., Any]:
    """A function that returns the JSON that a client gets, or the status of an error."""

    def ask(who: str | None, path: str = "/me", method: str = "GET", client: Any = None) -> Any:
        headers = clients[who].headers if who else {}
        answer = (client or app.test_client()).open(path, method=method, headers=headers)
        return answer.json if answer.status_code == 200 and answer.is_json else answer.status_code

    return ask


def test_user_of_the_certificate(ask: Callable[..., Any]) -> None:
    """The user of each view is the user with the name that the policy gives."""
    assert ask("alice") == {"user": "alice"}
    assert ask("alice", "/report") == {"for": "alice"}
    assert ask(None) == 403


@pytest.mark.parametrize("who", ["mallory", "stranger", "ALICE", "admin ", "nameless"])
def test_nobody_is_logged_in(ask: Callable[..., Any], who: str) -> None:
    """An inactive or unknown user, another spelling and a nameless client are not logged in."""
    assert ask(who) == 401


def test_device_with_the_name_of_a_user(ask: Callable[..., Any]) -> None:
    """An identity from another policy is not the user of that name."""
    assert ask("device", "/device") == {"user": False}
    assert ask("device") == 403


def test_session_of_another_user(app: Flask, ask: Callable[..., Any]) -> None:
    """An existing session of another user is ignored."""
    client = app.test_client()
    assert ask("alice", "/old-session", client=client) == 200
    with client.session_transaction() as session:
        assert session["_user_id"] == "admin"
    assert ask("alice", client=client) == {"user": "alice"}
    assert ask("stranger", client=client) == 401


def test_roles_need_no_user(ask: Callable[..., Any]) -> None:
    """A role gives access without a user, and a user gives no access without the role."""
    assert ask("stranger", "/orders", "POST") == {"from": "stranger"}
    assert ask("alice", "/orders", "POST") == 403
