"""All settings except the policies: one class for each."""

from __future__ import annotations

from typing import Any, ClassVar

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.expiry import EXPIRY_WARNING_DAYS, is_number_of_days, why_no_days
from arrcert.forwarding.cross_site import origins_from
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.forwarding.front_ends import FRONT_ENDS, front_end_from
from arrcert.forwarding.proxies import networks_from, secret_header_from
from arrcert.memory import MOST_REMEMBERED, is_number_to_remember, why_not_to_remember
from arrcert.notation import Form, Notation


class Option:
    """One setting other than the policies.

    Class attributes:
        name: the name of the setting and of its environment variable.
        form: how the environment variable is written.
        example: an example of the value, for errors.
        default: the value if the setting is not set.
        document: the text of the setting in the table of settings, as Markdown.
    """

    name: ClassVar[str]
    form: ClassVar[Form]
    example: ClassVar[str] = '["..."]'
    default: ClassVar[Any] = None
    document: ClassVar[str]

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the value that a setting describes.

        Args:
            value: what the framework's setting holds, or the environment in the same form.
            notation: how it is written, for errors.

        Raises:
            ConfigurationError: all mistakes together.
        """
        raise NotImplementedError


class FrontEndOption(Option):
    """`ARRCERT_FRONT_END`."""

    name = "ARRCERT_FRONT_END"
    form = Form.TEXT_OR_JSON
    example = '{"header": "X-Client-Cert"}'
    default = FRONT_ENDS["app-service"]
    document = (
        '`"app-service"` (the default), another [known one](front-ends.md), or a'
        " mapping that describes yours"
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the `FrontEnd`."""
        return front_end_from(value, setting=cls.name, notation=notation)


class TrustedProxies(Option):
    """`ARRCERT_TRUSTED_PROXIES`."""

    name = "ARRCERT_TRUSTED_PROXIES"
    form = Form.LIST
    document = (
        'networks that hold the addresses of your front end: `["10.1.0.0/16"]`. The address of'
        " the direct peer must be in one of them. The direct peer is the program that connected"
        " to the server, before any `ProxyFix`. A request is denied if its peer is unknown (a"
        " Unix socket), or if the server took the address from a header or from the PROXY"
        " protocol."
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the networks."""
        return networks_from(value, setting=cls.name)


class FrontEndSecretHeader(Option):
    """`ARRCERT_FRONT_END_SECRET_HEADER`."""

    name = "ARRCERT_FRONT_END_SECRET_HEADER"
    form = Form.SECRET_JSON
    example = '{"header": "X-Front-End-Secret", "secrets": ["..."]}'
    document = (
        'a header with a secret that the front end adds: `{"header": "X-Front-End-Secret",'
        ' "secrets": ["..."]}`. List two secrets while you change from one to the other. A'
        " secret has at least 16 characters, and is compared in constant time."
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the `SecretHeader`."""
        return secret_header_from(value, setting=cls.name)


class _Truth(Option):
    """A setting that is True or False."""

    form = Form.TRUTH

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return True or False."""
        if isinstance(value, bool):
            return value
        raise ConfigurationError(
            [
                Problem(
                    cls.name,
                    f"{quote(value)} is not a truth value; write {notation.true_or_false}",
                )
            ]
        )


class CrossSiteOrigins(Option):
    """`ARRCERT_CROSS_SITE_ORIGINS`."""

    name = "ARRCERT_CROSS_SITE_ORIGINS"
    form = Form.LIST
    default = frozenset()
    document = (
        "origins of other sites whose pages may send requests that change something (any method"
        " except GET, HEAD, OPTIONS and TRACE), and may open WebSockets:"
        ' `["https://app.contoso.com"]`. None by default.'
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the origins."""
        return origins_from(value, setting=cls.name)


class RefuseUnsafeServers(_Truth):
    """`ARRCERT_REFUSE_UNSAFE_SERVERS`.

    By default it is False in the framework's debug mode, otherwise True.
    """

    name = "ARRCERT_REFUSE_UNSAFE_SERVERS"
    document = (
        "whether to deny every request on an [unsafe server](servers.md). True by default. In"
        " the debug mode of the framework it is False by default: arrcert serves the requests"
        " and logs an ERROR."
    )


class ExemptPathsOption(Option):
    """`ARRCERT_EXEMPT_PATHS`."""

    name = "ARRCERT_EXEMPT_PATHS"
    form = Form.LIST
    default = ExemptPaths()
    document = (
        'paths that the site-wide check leaves out: `"/health"` is exactly this path,'
        ' `"/public/*"` is every path below this folder. Case matters. The path is compared'
        " after decoding, without `SCRIPT_NAME`. These paths are never exempt: with a dot"
        " segment, `//`, a backslash, an encoded slash, a semicolon, a control character, or"
        " with a `%` or `#` after decoding. A decorator still protects its view on an exempt"
        " path."
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the `ExemptPaths`."""
        return ExemptPaths(value, setting=cls.name)


class FileIgnoreMode(_Truth):
    """`ARRCERT_FILE_IGNORE_MODE`."""

    name = "ARRCERT_FILE_IGNORE_MODE"
    default = False
    document = (
        "True: accept `ARRCERT_FILE` even if its mode, or the mode of its folder, allows the"
        " group or others to write it. For file systems that show the same mode for every file,"
        " such as `/home` on App Service. False by default."
    )


class ProtectAll(_Truth):
    """`ARRCERT_PROTECT_ALL`; a framework may have another default."""

    name = "ARRCERT_PROTECT_ALL"
    default = False
    document = (
        "whether every request is checked. Flask: False by default. Django: True by default,"
        " and the site refuses to serve if the middleware is not active. With False, Django"
        " protects only views with the decorator or the mixin, and an installed middleware is an"
        " error."
    )


class MostRemembered(Option):
    """`ARRCERT_MOST_REMEMBERED`."""

    name = "ARRCERT_MOST_REMEMBERED"
    form = Form.NUMBER
    default = MOST_REMEMBERED
    document = (
        "how many accepted certificates arrcert remembers for each policy. The next request"
        " with a remembered certificate needs only a look-up. 1024 by default, 0 for none."
        " arrcert forgets a certificate at the first date, or the first change of a pin or list,"
        " on which the decision depends."
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the number."""
        if not is_number_to_remember(value):
            raise ConfigurationError([Problem(cls.name, why_not_to_remember(value))])
        return value


class ExpiryWarningDays(Option):
    """`ARRCERT_EXPIRY_WARNING_DAYS`."""

    name = "ARRCERT_EXPIRY_WARNING_DAYS"
    form = Form.NUMBER
    default = EXPIRY_WARNING_DAYS
    document = (
        "how many days before its end an accepted certificate causes a WARNING, once a day in"
        " each process. The same holds for the trust anchors, intermediates, revocation lists"
        " and pins on which the decision depends. 30 by default, 0 for no warnings"
        " ([telemetry](telemetry.md#what-ends-soon))."
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return the number."""
        if not is_number_of_days(value):
            raise ConfigurationError([Problem(cls.name, why_no_days(value))])
        return value


class TelemetryOption(_Truth):
    """`ARRCERT_TELEMETRY`."""

    name = "ARRCERT_TELEMETRY"
    default = False
    document = (
        "True: count decisions with the OpenTelemetry API, which the extra `telemetry` installs"
        " ([telemetry](telemetry.md)). False by default."
    )

    @classmethod
    def read(cls, value: object, notation: Notation) -> Any:
        """Return True or False; True needs the OpenTelemetry API."""
        is_wanted = super().read(value, notation)
        if is_wanted:
            try:
                # Only to learn now whether the API is installed.
                import arrcert.telemetry  # noqa: F401
            except ImportError as error:
                raise ConfigurationError(
                    [
                        Problem(
                            cls.name,
                            "is True, and the OpenTelemetry API is not installed; run `pip install"
                            " 'arrcert[telemetry]'`, or remove the setting",
                        )
                    ]
                ) from error
        return is_wanted


OPTIONS: dict[str, type[Option]] = {
    option.name: option
    for option in (
        FrontEndOption,
        TrustedProxies,
        FrontEndSecretHeader,
        CrossSiteOrigins,
        RefuseUnsafeServers,
        FileIgnoreMode,
        ExemptPathsOption,
        ProtectAll,
        MostRemembered,
        ExpiryWarningDays,
        TelemetryOption,
    )
}
"""The class of each setting other than the policies, in the order of the table of settings."""
