"""The code and the settings of docs/identity.md work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from arrcert import Authorizer, CertificateDenied, ClientIdentity
from arrcert.identity import FIELDS, LONGEST_NAME
from arrcert.settings import load
from arrcert.testing import CertificateAuthority, IssuedCertificate

GUIDE = (Path(__file__).parent.parent / "docs" / "identity.md").read_text(encoding="utf-8")
NEW = re.compile("<SHA-256 of (?:the new|fabrikam's) certificate>")
OLD = re.compile("<SHA-256 of (?:the old|contoso's) certificate>")


def block(containing: str, language: str = "python") -> str:
    """Return the one block of the guide that contains a text."""
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    [code] = [text for text in found if containing in text]
    return str(code)


class Partners:
    """The partners of the guide, whose real pins replace the placeholders."""

    def __init__(self) -> None:
        self.fabrikam = CertificateAuthority("Fabrikam CA")
        self.contoso = CertificateAuthority("Contoso CA")
        self.new, self.old = self.fabrikam.issue("gateway"), self.fabrikam.issue("gateway")
        self.gateway = self.contoso.issue("gateway.contoso.com")
        self.stranger = self.contoso.issue("stranger.contoso.com")

    def filled(self, text: str) -> str:
        """Return the text with fingerprints."""
        text = NEW.sub(self.new.certificate.sha256_fingerprint, text)
        return OLD.sub(self.old.certificate.sha256_fingerprint, text)


@pytest.fixture
def partners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Partners:
    """The partners. The working directory holds the file of their CA."""
    monkeypatch.chdir(tmp_path)
    made = Partners()
    Path("contoso-ca.pem").write_bytes(made.contoso.certificate_pem)
    return made


@pytest.fixture
def run(partners: Partners) -> Callable[..., dict[str, Any]]:
    """Run blocks of the guide in one module, and return its names."""

    def execute(*containing: str, **held: Any) -> dict[str, Any]:
        held["__name__"] = __name__
        for part in containing:
            exec(compile(partners.filled(block(part)), "docs/identity.md", "exec"), held)
        return held

    return execute


def ask(app: flask.Flask, path: str, who: IssuedCertificate | None, **more: Any) -> Any:
    """Return the JSON that a client gets, or the status code of an error."""
    headers = {**(who.headers if who else {}), **more.pop("headers", {})}
    response = app.test_client().open(path, headers=headers, **more)
    return response.json if response.status_code == 200 else response.status_code


def test_flask(partners: Partners, run: Callable[..., dict[str, Any]]) -> None:
    """The first view answers with the identity, and the second denies a client without the role."""
    app = run('"default": [', '@app.get("/whoami")', '@app.post("/orders")')["app"]
    assert ask(app, "/whoami", partners.new) == {
        "name": "fabrikam",
        "roles": ["orders"],
        "note": None,
    }
    assert ask(app, "/whoami", partners.old)["note"] == "old gateway"
    assert ask(app, "/whoami", partners.gateway) == {
        "name": "contoso:gateway.contoso.com",
        "roles": [],
        "note": None,
    }
    assert ask(app, "/whoami", partners.stranger) == 403
    assert ask(app, "/orders", partners.new, method="POST") == {"from": "fabrikam"}
    assert ask(app, "/orders", partners.gateway, method="POST") == 403


def test_environment(
    partners: Partners, run: Callable[..., dict[str, Any]], monkeypatch: Any
) -> None:
    """The JSON loads, and the authorizer from the environment checks a role."""
    text = partners.filled(block('"fingerprints"', "json"))
    assert json.loads(text)
    monkeypatch.setenv("ARRCERT", text)
    environ = {"HTTP_X_ARR_CLIENTCERT": partners.new.header_value}
    identity: ClientIdentity = run("from_environment", environ=environ)["identity"]
    assert (identity.name, identity.roles) == ("fabrikam", {"orders"})
    old = Authorizer.from_environment().identify(partners.old.header_value)
    assert (old.name, old.roles) == ("contoso", {"orders", "invoices"})
    with pytest.raises(CertificateDenied):
        Authorizer.from_environment().identify(partners.new.header_value, role="invoices")


def test_prefixes(partners: Partners, run: Callable[..., dict[str, Any]]) -> None:
    """A start with the prefixes warns of nothing, and a start without them warns."""
    Path("staff-ca.pem").write_bytes(partners.fabrikam.certificate_pem)
    Path("device-ca.pem").write_bytes(partners.contoso.certificate_pem)
    written = run("staff-ca.pem")["ARRCERT"]
    environ = {"WEBSITE_SITE_NAME": "site"}
    assert load({"ARRCERT": written}, environ).warnings() == []
    for policy in written.values():
        policy["identity"] = policy["identity"].partition(":")[2]
    assert len(load({"ARRCERT": written}, environ).warnings()) == 1


def test_bound_token(partners: Partners, run: Callable[..., dict[str, Any]]) -> None:
    """A valid token that is bound to another certificate, or to none, is answered with 401."""
    key = ec.generate_private_key(ec.SECP256R1())
    app = run(
        '"default": [',
        '@app.get("/whoami")',
        "jwt.decode",
        PUBLIC_KEY_OF_THE_SERVER=key.public_key(),
    )["app"]

    def account(who: IssuedCertificate, cnf: object = None, scheme: str = "Bearer") -> Any:
        claims = {
            "sub": "invoices-service",
            "aud": "https://api.contoso.com",
            "iss": "https://login.contoso.com",
            "exp": datetime.now(UTC) + timedelta(minutes=5),
            "cnf": cnf,
        }
        token = jwt.encode({k: v for k, v in claims.items() if v is not None}, key, "ES256")
        return ask(app, "/account", who, headers={"Authorization": f"{scheme} {token}"})

    def thumbprint(who: IssuedCertificate) -> str:
        digest = bytes.fromhex(who.certificate.sha256_fingerprint)
        return str(jwt.utils.base64url_encode(digest).decode())

    bound = {"x5t#S256": thumbprint(partners.new)}
    assert account(partners.new, bound) == {"subject": "invoices-service"}
    assert account(partners.new, bound, scheme="Basic") == 401
    assert account(partners.gateway, bound) == 401
    assert account(partners.new) == 401
    assert account(partners.new, {"jkt": thumbprint(partners.new)}) == 401
    assert account(partners.stranger, {"x5t#S256": thumbprint(partners.stranger)}) == 403
    assert ask(app, "/account", partners.new, headers={"Authorization": "Bearer x"}) == 401


def test_tables_are_whole() -> None:
    """The page lists each attribute of an identity, each field, and the limit of a name."""
    cells = set(re.findall(r"^\| `([^`]+)` \|", GUIDE, re.MULTILINE))
    cells.discard("X-MS-CLIENT-PRINCIPAL")
    # `expiry` is internal.
    attributes = {*ClientIdentity.__slots__} - {"expiry"}
    assert cells == {*attributes, *(f"{{{field}}}" for field in FIELDS)}
    assert f"longer than {LONGEST_NAME} characters" in GUIDE
