"""The exceptions of arrcert, and the values that say why a certificate is denied."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, final

from arrcert.invisible import visible

if TYPE_CHECKING:
    from arrcert.certificate import ClientCertificate

_LONGEST_QUOTE = 200


def quote(text: object) -> str:
    """Return hostile text as one short, printable, quoted line for a log or an error.

    Args:
        text: any object; its `str()` is quoted. Control characters, line breaks, bidirectional
            marks, characters that nobody sees and backslashes are escaped as in a Python string.
            Text of more than 200 characters is cut.

    The result is not safe for HTML.
    """
    shown = str(text)
    if len(shown) > _LONGEST_QUOTE:
        return f"{visible(repr(shown[:_LONGEST_QUOTE]))}... ({len(shown)} characters)"
    return visible(repr(shown))


class ArrcertError(Exception):
    """The base class of every exception that arrcert raises on purpose."""


class Problem(NamedTuple):
    """One mistake in a configuration.

    Attributes:
        setting: the place of the mistake, such as `ARRCERT["default"]["fingerprints"]`; empty for a
            mistake of the whole configuration.
        message: the offending value, what is wrong with it, and what to write instead.
    """

    setting: str
    message: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.message}" if self.setting else self.message


class ConfigurationError(ArrcertError):
    """The configuration is wrong; the application must not start with it.

    Attributes:
        problems: every mistake that was found, in order.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{len(self.problems)} mistakes in the configuration:{lines}"


class DenialReason(StrEnum):
    """Why a request was denied. The values are stable: alerts and runbooks may name them."""

    MISSING = "missing"
    """The front end's header is absent or empty: no certificate was presented."""
    MALFORMED = "malformed"
    """The header does not hold a certificate in the front end's encoding, or a part of the
    certificate cannot be read."""
    TOO_LARGE = "too_large"
    """The certificate header or the chain header is longer than 16,384 characters, or there are
    more than ten intermediates."""
    AMBIGUOUS = "ambiguous"
    """The header is repeated, contains a comma (except in XFCC), may be a trailer, or comes with
    another header of a similar name."""
    NOT_THROUGH_FRONT_END = "not_through_front_end"
    """The peer, the secret or the verify header shows that the front end did not send the request
    or did not validate the certificate."""
    CROSS_SITE = "cross_site"
    """A browser sent the request from a page of another site."""
    INSECURE_TRANSPORT = "insecure_transport"
    """The header `X-Forwarded-Proto` is present and is not `https`. A client can present a
    certificate only over TLS."""
    NOT_YET_VALID = "not_yet_valid"
    """The certificate is not valid yet: its notBefore is in the future."""
    EXPIRED = "expired"
    """The certificate has expired: its notAfter is in the past."""
    FINGERPRINT_NOT_ALLOWED = "fingerprint_not_allowed"
    """The policy allows only pinned certificates or public keys. This one is not pinned, or its pin
    has expired."""
    COMMON_NAME_NOT_ALLOWED = "common_name_not_allowed"
    """The subject does not contain exactly one common name, or the policy does not allow it."""
    ALTERNATIVE_NAME_NOT_ALLOWED = "alternative_name_not_allowed"
    """The policy does not allow any subject alternative name of the certificate."""
    ISSUER_NOT_ALLOWED = "issuer_not_allowed"
    """The policy does not allow the name of the issuer."""
    UNTRUSTED = "untrusted"
    """No certification path leads to a trust anchor, or a CA certificate was presented."""
    WRONG_USAGE = "wrong_usage"
    """The certificate has an extended key usage without clientAuth."""
    WEAK_KEY = "weak_key"
    """The public key is RSA with less than 2048 bits, is on a curve with less than 256 bits, is of
    an unknown kind, or cannot be read."""
    REVOKED = "revoked"
    """A revocation list names the certificate or a CA certificate on its path."""
    REVOCATION_UNKNOWN = "revocation_unknown"
    """The policy checks revocation, but there is no current revocation list for the certificate or
    for a CA certificate of its path."""
    NO_IDENTITY = "no_identity"
    """The `identity` of the policy is a template, and the certificate has no name for it, has more
    than one, or has a name that some software may read as another name."""
    ROLE_NOT_GRANTED = "role_not_granted"
    """The policy accepts the certificate, but does not grant the role that the view requires."""
    MISCONFIGURED = "misconfigured"
    """The request names a policy that does not exist, the configuration is wrong, the server is not
    safe, or an unexpected error occurred."""


@final
class Finding(NamedTuple):
    """Why a rule does not hold.

    Attributes:
        reason: the stable code.
        detail: what was found and what was expected, for the operator: one escaped line.
    """

    reason: DenialReason
    detail: str


class Denial(NamedTuple):
    """A decision against a request, as a value; the public methods raise it as an exception.

    Attributes:
        reason: the `DenialReason`. If several alternatives were tried, it is that of the last one.
        detail: what was found and what was expected, for the operator: one escaped line.
        certificate: the `ClientCertificate`, or None if none could be read.
        reasons: the reason of each alternative that was tried, in order; empty if none was tried.
        identity: the name of the client if a policy accepted it without the role; else None.
        identity_label: the name or the template in the settings, for metrics.
    """

    reason: DenialReason
    detail: str
    certificate: ClientCertificate | None = None
    reasons: tuple[DenialReason, ...] = ()
    identity: str | None = None
    identity_label: str | None = None

    def with_hint(self, hint: str) -> Denial:
        """Return the denial with a hint for the operator at the end of its detail.

        Args:
            hint: one escaped line; empty for no hint.
        """
        return self._replace(detail=f"{self.detail}; {hint}") if hint else self

    def exception(self) -> CertificateDenied:
        """Return a `CertificateDenied` with the same reason and detail."""
        return CertificateDenied(
            self.reason, self.detail, certificate=self.certificate, reasons=self.reasons
        )

    def __str__(self) -> str:
        text = f"{self.reason}: {self.detail}"
        if self.certificate is None:
            return text
        return (
            f"{text} (SHA-256 fingerprint {self.certificate.sha256_fingerprint},"
            f" subject {quote(self.certificate.subject)},"
            f" issuer {quote(self.certificate.issuer)})"
        )


class CertificateDenied(ArrcertError):  # noqa: N818 - the public name says what happened.
    """A client certificate may not enter.

    The text of the exception is safe to log. Do not show it to the client.

    Attributes:
        reason: the `DenialReason`. If several alternatives were tried, it is that of the last one.
        detail: what was found and what was expected, for the operator: one escaped line.
        certificate: the `ClientCertificate`, or None if none could be read.
        reasons: a tuple with the reason of each alternative that was tried, in order; `(reason,)`
            if none was tried.
    """

    def __init__(
        self,
        reason: DenialReason,
        detail: str,
        *,
        certificate: ClientCertificate | None = None,
        reasons: tuple[DenialReason, ...] = (),
    ) -> None:
        # With these two arguments and the attributes below the exception can be pickled.
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.certificate = certificate
        self.reasons = reasons or (reason,)

    def __str__(self) -> str:
        return str(Denial(self.reason, self.detail, self.certificate))
