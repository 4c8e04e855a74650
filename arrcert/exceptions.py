"""What arrcert raises: a configuration that cannot stand, a certificate that may not enter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from arrcert.certificate import ClientCertificate

_LONGEST_QUOTE = 200


def quote(text: object) -> str:
    """Return hostile text as one short, printable, quoted line for a log or an error.

    Args:
        text: anything; its `str()` is quoted. Control characters, line breaks, bidirectional marks
            and backslashes are escaped as in a Python string, and what is longer than 200
            characters is cut.

    It does not make text safe for HTML.
    """
    shown = str(text)
    if len(shown) > _LONGEST_QUOTE:
        return f"{shown[:_LONGEST_QUOTE]!r}... ({len(shown)} characters)"
    return repr(shown)


class ArrcertError(Exception):
    """The root of every exception that arrcert raises on purpose."""


class Problem(NamedTuple):
    """One mistake in a configuration.

    Attributes:
        setting: where it stands, as the reader wrote it: `ARRCERT["default"]["fingerprints"]`;
            empty where the mistake is the whole's.
        message: the offending value, what is wrong with it, and what to write instead.
    """

    setting: str
    message: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.message}" if self.setting else self.message


class ConfigurationError(ArrcertError):
    """The configuration cannot stand; the application must not start with it.

    Attributes:
        problems: every mistake that was found, in the order of the configuration.
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
    """The header does not hold exactly one certificate in the front end's encoding."""
    TOO_LARGE = "too_large"
    """The header is longer than `forwarding.MAX_HEADER_CHARACTERS`."""
    AMBIGUOUS = "ambiguous"
    """The header came twice, joined by a comma, or beside a name that looks like it."""
    INSECURE_TRANSPORT = "insecure_transport"
    """`X-Forwarded-Proto` is not `https`: no certificate can have come with the request."""
    NOT_YET_VALID = "not_yet_valid"
    """The moment lies before the certificate's notBefore."""
    EXPIRED = "expired"
    """The moment lies after the certificate's notAfter."""
    FINGERPRINT_NOT_ALLOWED = "fingerprint_not_allowed"
    """The policy pins certificates, and this is none of them."""
    COMMON_NAME_NOT_ALLOWED = "common_name_not_allowed"
    """The subject does not hold exactly one common name that the policy allows."""
    ISSUER_NOT_ALLOWED = "issuer_not_allowed"
    """The issuer's name is none that the policy allows."""
    UNTRUSTED = "untrusted"
    """No certification path leads to a trust anchor, or a CA certificate came as a client's."""
    WRONG_USAGE = "wrong_usage"
    """The certificate has an extended key usage without clientAuth."""
    WEAK_KEY = "weak_key"
    """The public key is RSA below 2048 bits, a curve below 256 bits, or of an unknown kind."""
    REVOKED = "revoked"
    """A revocation list names the certificate or a CA on its path."""
    REVOCATION_UNKNOWN = "revocation_unknown"
    """Revocation is to be checked and no list that counts says anything."""
    MISCONFIGURED = "misconfigured"
    """The request names a policy that does not exist, or the configuration broke since start-up."""


class CertificateDenied(ArrcertError):  # noqa: N818 - the public name says what happened.
    """A client certificate may not enter.

    Its text is safe to log and must not be shown to the client.

    Attributes:
        reason: the `DenialReason`; of several alternative policies that of the last one tried.
        detail: for the operator: what was found and what was wanted. Escaped, one line.
        certificate: the `ClientCertificate`, or None when none could be parsed.
        reasons: one reason for each alternative that was tried, in order; `(reason,)` before any.
    """

    reason: DenialReason
    detail: str
    certificate: ClientCertificate | None
    reasons: tuple[DenialReason, ...]

    def __init__(
        self,
        reason: DenialReason,
        detail: str,
        *,
        certificate: ClientCertificate | None = None,
        reasons: tuple[DenialReason, ...] = (),
    ) -> None:
        self.reason = reason
        self.detail = detail
        self.certificate = certificate
        self.reasons = reasons or (reason,)

    @classmethod
    def explained_by(cls, explain: Callable[[], CertificateDenied]) -> CertificateDenied:
        """Return a denial whose attributes are worked out when one of them is first asked for.

        Args:
            explain: returns the same denial in words. It is called once, and what it is given
                must not change.

        A stranger can have many requests denied; what nobody reads of them costs nothing.
        """
        denied = cls.__new__(cls)
        denied._explain = explain
        return denied

    _explain: Callable[[], CertificateDenied]
    _where: object = None

    def locate(self, where: object) -> None:
        """Put in front of the detail where the fault was found.

        Args:
            where: its `str()` is written, once the detail is asked for.
        """
        if "detail" in self.__dict__:
            self.detail = f"{where}: {self.detail}"
        else:
            self._where = where

    def __getattr__(self, name: str) -> Any:
        """Work out the attributes of what `explained_by` returned."""
        if name not in ("reason", "detail", "certificate", "reasons"):
            raise AttributeError(f"a CertificateDenied has no attribute {name}")
        explained = self._explain()
        self.__init__(  # type: ignore[misc]
            explained.reason,
            explained.detail if self._where is None else f"{self._where}: {explained.detail}",
            certificate=explained.certificate,
            reasons=explained.reasons,
        )
        # Its traceback leads to this frame, and a frame that led back would be a cycle.
        del explained
        return getattr(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        held = {"certificate": self.certificate, "reasons": self.reasons}
        return (CertificateDenied, (self.reason, self.detail), held)

    def __str__(self) -> str:
        text = f"{self.reason}: {self.detail}"
        if self.certificate is None:
            return text
        return (
            f"{text} (SHA-256 fingerprint {self.certificate.sha256_fingerprint},"
            f" subject {quote(self.certificate.subject)},"
            f" issuer {quote(self.certificate.issuer)})"
        )
