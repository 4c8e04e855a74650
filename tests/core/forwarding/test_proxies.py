"""The settings that deny requests from other ways than through the front end."""

from __future__ import annotations

import ipaddress

import pytest

from arrcert import ConfigurationError
from arrcert.forwarding.proxies import (
    SHORTEST_SECRET,
    SecretHeader,
    networks_from,
    secret_header_from,
)

SECRET = "0123456789abcdef"
OLD, NEW = "old-secret-of-the-front-end", "new-secret-of-the-front-end"


# --- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset])
def test_networks_are_read_from_any_collection(collection: type) -> None:
    """A list, tuple or set holds networks and single addresses."""
    read = networks_from(collection(["10.1.0.0/16", "fd00::1"]), setting="S")
    assert set(read) == {ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::1/128")}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10.1.0.0/16", 'is not a list of networks; write ["10.1.0.0/16"]'),
        (None, "is not a list of networks"),
        ([], "is not a list of networks"),
        (["10.1.0.1/16"], "has host bits set"),
        (["proxy"], "'proxy' is not a network of proxies"),
        ([7], "is not text"),
        ([b"\n\0\0\1"], "is not text"),
        (["0.0.0.0/0"], "holds every address"),
        (["::/0"], "holds every address"),
    ],
)
def test_bad_networks_stop_the_start(value: object, message: str) -> None:
    """A network that cannot be read, or that trusts every address, is an error."""
    with pytest.raises(ConfigurationError) as caught:
        networks_from(value, setting="S")
    [problem] = caught.value.problems
    assert problem.setting == "S"
    assert message in problem.message


def test_all_bad_networks_are_reported() -> None:
    """One error names every entry that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        networks_from(["proxy", "10.0.0.0/8", "gateway"], setting="S")
    assert ["'proxy'" in text or "'gateway'" in text for _, text in caught.value.problems] == [
        True,
        True,
    ]


# --- the secret header ---------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [[OLD], (OLD,), [OLD, NEW]])
def test_secret_header_holds_one_or_two_secrets(secrets: list[str]) -> None:
    """A secret header has a name and one secret, or two while it is changed."""
    read = secret_header_from({"header": "X-Secret", "secrets": secrets}, setting="S")
    assert read == SecretHeader("X-Secret", tuple(secrets))


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        (OLD, "S"),
        ({"header": "X_S", "secrets": [OLD]}, 'S["header"]'),
        ({"secrets": [OLD]}, 'S["header"]'),
        ({"header": "X-S"}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": OLD}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": []}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": [OLD, NEW, OLD + NEW]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": ["short"]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": ["with a space in the middle"]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": ["é" * 20]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": [None]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": [OLD], "secret": OLD}, "S"),
    ],
)
def test_bad_secret_stops_the_start_and_is_not_shown(value: object, setting: str) -> None:
    """An empty or short secret is an error (an unset key is a public constant); none is shown."""
    with pytest.raises(ConfigurationError) as caught:
        secret_header_from(value, setting="S")
    [problem] = caught.value.problems
    assert problem.setting == setting
    assert OLD not in str(problem)
    assert "short" not in problem.message.replace("shorter", "")


def test_all_mistakes_of_a_secret_header_are_reported() -> None:
    """One error names the wrong header, the wrong secrets and an unknown key."""
    with pytest.raises(ConfigurationError) as caught:
        secret_header_from({"header": "X_S", "secrets": "x", "value": 7}, setting="S")
    assert [setting for setting, _ in caught.value.problems] == ["S", 'S["header"]', 'S["secrets"]']


@pytest.mark.parametrize(
    ("secrets", "is_good"),
    [
        ((SECRET,), True),
        ([SECRET, SECRET[::-1]], True),
        ([SECRET[:-1]], False),
        ([SECRET, "short"], False),
        (["short", SECRET], False),
        ([SECRET + "\x7f"], False),
        ([SECRET + "\t"], False),
    ],
)
def test_every_secret_is_long_and_printable(secrets: object, is_good: bool) -> None:
    """Each secret must have at least 16 printable characters."""
    assert len(SECRET) == SHORTEST_SECRET
    value = {"header": "X-Secret", "secrets": secrets}
    if is_good:
        assert secret_header_from(value, setting="S").header == "X-Secret"
    else:
        with pytest.raises(ConfigurationError) as caught:
            secret_header_from(value, setting="S")
        assert [setting for setting, _ in caught.value.problems] == ['S["secrets"]']


def test_repr_does_not_show_the_secret() -> None:
    """The repr of a configuration does not contain the secret."""
    assert repr(SecretHeader("X-S", (OLD,))) == "<SecretHeader X-S>"
    assert str(SecretHeader("X-S", (OLD,))) == "<SecretHeader X-S>"


@pytest.mark.parametrize(
    "value",
    [
        {"header": "X-Secret", "secrets": ["@Microsoft.KeyVault(SecretUri=https://v/s)"]},
        {"header": "X-Secret", "secrets": ["x" * 16, " @microsoft.keyvault(x)"]},
        {"header": "X-Secret", "secrets": "@Microsoft.KeyVault(SecretUri=https://v/s)"},
    ],
    ids=str,
)
def test_unresolved_reference_is_no_secret(value: object) -> None:
    """A Key Vault reference that App Service did not resolve is a public text, not a secret."""
    with pytest.raises(ConfigurationError, match="is a Key Vault reference"):
        secret_header_from(value, setting="S")
