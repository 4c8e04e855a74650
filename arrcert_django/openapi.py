"""The security scheme `mutualTLS` in the schemas of drf-spectacular."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import warn
from drf_spectacular.settings import spectacular_settings

__all__ = ["ClientCertificateScheme"]


class ClientCertificateScheme(OpenApiAuthenticationExtension):
    """Describe `ClientCertificateAuthentication` and its subclasses as `mutualTLS`.

    Source: the OpenAPI Specification 3.1, "Security Scheme Object". OpenAPI 3.0 does not have
    `mutualTLS`, so a warning is logged for it.
    """

    target_class = "arrcert_django.rest_framework.ClientCertificateAuthentication"
    match_subclasses = True
    name = "clientCertificate"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Return the security scheme.

        Args:
            auto_schema: drf-spectacular's description of the view.
        """
        if spectacular_settings.OAS_VERSION.startswith("3.0"):
            warn(
                'the security scheme "mutualTLS" needs OpenAPI 3.1;'
                ' set SPECTACULAR_SETTINGS["OAS_VERSION"] = "3.1.1"'
            )
        return {
            "type": "mutualTLS",
            "description": "A TLS client certificate that the site accepts.",
        }
