"""A Key Vault reference that App Service did not resolve is recognized by its text."""

from __future__ import annotations

import pytest

from arrcert.key_vault import UNRESOLVED_REFERENCE, is_unresolved_reference


@pytest.mark.parametrize(
    ("text", "is_reference"),
    [
        ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)", True),
        ("@Microsoft.KeyVault(VaultName=v;SecretName=s)", True),
        (" \n@microsoft.keyvault(SecretUri=x)", True),
        ("x @Microsoft.KeyVault(SecretUri=x)", False),
        ("@Microsoft.AppConfiguration(x)", False),
        ("@Microsoft.KeyVault", False),
        ("", False),
    ],
)
def test_reference_is_known_in_any_case(text: str, is_reference: bool) -> None:
    """White space before the reference and its case do not matter."""
    assert is_unresolved_reference(text) is is_reference


def test_message_says_where_to_look() -> None:
    """The message names the page of the portal that shows the cause."""
    assert "the portal shows why under Environment variables" in UNRESOLVED_REFERENCE
