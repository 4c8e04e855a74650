"""Key Vault references that App Service could not resolve.

https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
"""

from __future__ import annotations

UNRESOLVED_REFERENCE = (
    "is a Key Vault reference that App Service did not resolve; the portal shows why under"
    " Environment variables (often the site's identity has no permission to read the secret)"
)
"""The end of an error message about a value for which `is_unresolved_reference` is true."""


def is_unresolved_reference(text: str) -> bool:
    """Return whether a setting holds a Key Vault reference instead of the value of the secret.

    Args:
        text: the value of a setting.

    If App Service cannot resolve a reference, the app gets the text of the reference. This function
    does not connect to Key Vault.
    """
    return text.lstrip().lower().startswith("@microsoft.keyvault(")
