"""Key Vault references that App Service could not resolve.

https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
"""

from __future__ import annotations

UNRESOLVED_REFERENCE = (
    "is a Key Vault reference that App Service did not resolve; the portal shows why under"
    " Environment variables (most often the site's identity may not read the secret)"
)
"""The end of an error message about a value for which `is_unresolved_reference` is true."""


def is_unresolved_reference(text: str) -> bool:
    """Tell whether a setting holds a Key Vault reference instead of the secret it names.

    Args:
        text: the value of a setting.

    App Service leaves a reference that it cannot resolve as it is written. This function does not
    ask Key Vault.
    """
    return text.lstrip().lower().startswith("@microsoft.keyvault(")
