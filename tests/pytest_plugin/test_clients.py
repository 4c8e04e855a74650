"""The clients in a project's configuration become certificates and policies."""

from __future__ import annotations

import json
import os

import pytest

from arrcert import Authorizer, CertificateDenied, ConfigurationError
from arrcert.settings import load
from arrcert_pytest.clients import Clients, set_environment


def authorizer(clients: Clients) -> Authorizer:
    """Return the authorizer of an app with these policies."""
    return Authorizer.from_settings(load({"ARRCERT": clients.policies}, {}))


def test_each_line_is_a_client() -> None:
    """A client is accepted under the policy of its line, with that line's identity and roles."""
    clients = Clients(
        [
            "alice",
            "bob policy=partners roles=orders,invoices",
            "'Fabrikam Gateway' identity=fabrikam",
            "alice policy=partners identity=partner-alice",
        ]
    )
    ask, issued = authorizer(clients), clients.issued
    alice = ask.identify(issued["alice"].header_value)
    assert (alice.name, alice.roles) == ("alice", frozenset())
    bob = ask.identify(issued["bob"].header_value, "partners")
    assert (bob.name, bob.roles) == ("bob", {"orders", "invoices"})
    fabrikam = ask.identify(issued["Fabrikam Gateway"].header_value)
    assert (fabrikam.name, fabrikam.certificate.common_name) == ("fabrikam", "Fabrikam Gateway")
    assert ask.identify(issued["alice"].header_value, "partners").name == "partner-alice"
    assert list(issued) == ["alice", "bob", "Fabrikam Gateway"]


def test_nobody_else_enters() -> None:
    """Another policy's client, another certificate of the name, and the CA are denied."""
    clients = Clients(["alice", "bob policy=partners"])
    ask = authorizer(clients)
    for header in (
        clients.issued["bob"].header_value,
        clients.authority.issue("alice").header_value,
        None,
    ):
        with pytest.raises(CertificateDenied):
            ask.authorize(header)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["alice", "alice roles=orders"], "lists 'alice' twice for the policy 'default'"),
        (["'alice"], "cannot be split into words: No closing quotation"),
        (["roles=orders alice"], "does not begin with a name"),
        (["é" * 33], "has a name of more than 64 bytes"),
        (["Fabrikam Gateway"], "holds 'Gateway'; a name with spaces needs quotation marks"),
        (["alice role=orders"], "holds 'role=orders'"),
        (["alice policy="], "needs one value for policy"),
        (["alice policy=a policy=b"], "needs one value for policy"),
        (["alice roles=a,,b"], "has an empty role"),
        (["''"], "does not begin with a name"),
    ],
)
def test_mistakes(lines: list[str], said: str) -> None:
    """The error for a line that is not understood names the option and what to write."""
    with pytest.raises(pytest.UsageError) as raised:
        Clients(lines)
    text = str(raised.value)
    assert text.startswith(f"arrcert_clients: the line {lines[-1]!r}")
    assert said in text
    assert "such as 'bob policy=partners roles=orders'" in text


def test_environment_holds_these_policies_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies of the shell are removed, other settings stay, and all are restored afterwards."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", "AB" * 32)
    monkeypatch.setenv("ARRCERT_FILE", "partners.toml")
    monkeypatch.setenv("ARRCERT_PROTECT_ALL", "true")
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as environment:
        clients = Clients(["alice"])
        set_environment(environment, clients.policies)
        ours = {name for name in os.environ if name.startswith("ARRCERT")}
        assert ours == {"ARRCERT", "ARRCERT_PROTECT_ALL"}
        assert json.loads(os.environ["ARRCERT"]) == clients.policies
        load({}, os.environ)
    assert dict(os.environ) == before


def test_second_source_names_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """If there are two sources, the error says that the plugin has set one, and how to stop it."""
    own = {"ARRCERT": {"default": {"fingerprints": ["AB" * 32]}}}
    with pytest.MonkeyPatch.context() as environment:
        set_environment(environment, Clients(["alice"]).policies)
        with pytest.raises(ConfigurationError) as error:
            load(own, os.environ)
        assert "arrcert's pytest plugin has set the environment variable" in str(error.value)
        assert "write arrcert_environment = false into the" in str(error.value)
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", "AB" * 32)
    with pytest.raises(ConfigurationError) as error:
        load(own, os.environ)
    assert str(error.value).endswith("keep one of them")
