"""The one door: every adapter and every framework without one asks here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import CertificateDenied, ConfigurationError, DenialReason, Problem, quote
from arrcert.forwarding import (
    FrontEnd,
    decode,
    front_end_from,
    header_from_pairs,
    header_from_wsgi,
)
from arrcert.policy import Policy
from arrcert.settings import Settings, require_proof

logger = logging.getLogger("arrcert")


class Authorizer:
    """Decides whether a request may enter, and logs why not.

    It never changes after it was made, so threads and tasks may share it. Every denial is one
    record on the logger `arrcert`, which also has the attributes `arrcert_reason`,
    `arrcert_policy`, `arrcert_request` and `arrcert_fingerprint` for structured logs.

    Args:
        policies: each policy's name and the `Policy`, or a list of alternatives in order.
        front_end: a known front end's name, or a mapping that describes one (see the settings).

    Raises:
        ConfigurationError: no policies, something that is no `Policy`, an unknown front end, or a
            policy that leans on a front end which checks nothing.

    It does not know whether requests can reach the app around the front end.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy | Sequence[Policy]],
        *,
        front_end: str | FrontEnd | Mapping[str, Any] = "app-service",
    ) -> None:
        self._front_end = front_end_from(front_end)
        self._policies = {
            name: (value,) if isinstance(value, Policy) else tuple(value)
            for name, value in policies.items()
        }
        problems = []
        if not self._policies:
            problems.append(Problem("policies", 'is empty; write {"default": Policy(...)}'))
        for name, alternatives in self._policies.items():
            where = f'policies["{name}"]'
            if not alternatives or not all(isinstance(policy, Policy) for policy in alternatives):
                problems.append(Problem(where, "is neither a Policy nor a list of alternatives"))
                continue
            try:
                require_proof(alternatives, self._front_end)
            except ConfigurationError as error:
                problems += [Problem(where, problem.message) for problem in error.problems]
        if problems:
            raise ConfigurationError(problems)

    @classmethod
    def from_settings(cls, settings: Settings) -> Authorizer:
        """Make the authorizer that validated settings describe.

        Args:
            settings: what `arrcert.settings.load` returned.
        """
        return cls(settings.policies, front_end=settings.front_end)

    def authorize(
        self, header_value: str | None, policy: str = "default", at: datetime | None = None
    ) -> ClientCertificate:
        """Decide on the header's text alone.

        Args:
            header_value: the value of the front end's header; None where it is absent.
            policy: the policy's name.
            at: the moment, aware; now by default.

        Returns:
            The certificate that may enter.

        Raises:
            CertificateDenied: it may not; already logged.
            ValueError: `at` is naive.

        It does not see other headers: repetition, look-alike names and `X-Forwarded-Proto` are
        only checked by the forms below.
        """
        return self._decide(lambda: header_value, lambda: "", policy, at)

    def authorize_wsgi(
        self, environ: Mapping[str, Any], policy: str = "default", at: datetime | None = None
    ) -> ClientCertificate:
        """Decide on a WSGI request (PEP 3333).

        Args:
            environ: the WSGI environ.
            policy: the policy's name.
            at: the moment, aware; now by default.

        Returns:
            The certificate that may enter.

        Raises:
            CertificateDenied: it may not; already logged.
            ValueError: `at` is naive.

        It cannot see look-alike names that a server has folded into one key of the environ.
        """
        return self._decide(
            lambda: header_from_wsgi(self._front_end, environ),
            lambda: quote(f"{environ.get('REQUEST_METHOD')} {_wsgi_path(environ)}"),
            policy,
            at,
        )

    def authorize_asgi(
        self, scope: Mapping[str, Any], policy: str = "default", at: datetime | None = None
    ) -> ClientCertificate:
        """Decide on an ASGI request or WebSocket handshake.

        Args:
            scope: the ASGI connection scope.
            policy: the policy's name.
            at: the moment, aware; now by default.

        Returns:
            The certificate that may enter.

        Raises:
            CertificateDenied: it may not; already logged.
            ValueError: `at` is naive.

        It does not check who the direct peer is.
        """
        return self._decide(
            lambda: header_from_pairs(self._front_end, scope.get("headers", ())),
            lambda: quote(f"{scope.get('method')} {scope.get('path')}"),
            policy,
            at,
        )

    def authorize_headers(
        self,
        pairs: Iterable[tuple[str | bytes, str | bytes]],
        policy: str = "default",
        at: datetime | None = None,
    ) -> ClientCertificate:
        """Decide on a request of any other framework.

        Args:
            pairs: every header of the request as (name, value), repetitions included.
            policy: the policy's name.
            at: the moment, aware; now by default.

        Returns:
            The certificate that may enter.

        Raises:
            CertificateDenied: it may not; already logged.
            ValueError: `at` is naive.

        It does not see what a framework has merged or dropped before.
        """
        return self._decide(
            lambda: header_from_pairs(self._front_end, pairs), lambda: "", policy, at
        )

    def _decide(
        self,
        header: Callable[[], str | None],
        request: Callable[[], str],
        policy: str,
        at: datetime | None,
    ) -> ClientCertificate:
        """Header text, DER, certificate, decision: the whole way, and the only one.

        `request` is asked for the request's method and path when a denial is logged.
        """
        if at is not None and at.utcoffset() is None:
            raise ValueError("at must be an aware datetime; write datetime.now(UTC), not utcnow()")
        try:
            alternatives = self._policies.get(policy)
            if alternatives is None:
                raise CertificateDenied(
                    DenialReason.MISCONFIGURED,
                    f"no policy is called {quote(policy)}; there is"
                    f" {', '.join(quote(name) for name in self._policies)}",
                )
            der = decode(self._front_end, header())
            certificate = ClientCertificate.from_der(der)
            _check_alternatives(alternatives, certificate, at)
        except CertificateDenied as denied:
            _log(denied, policy, request)
            raise
        # A fault of ours, or of the server's, must neither let a request in nor answer 500.
        except Exception as error:
            fault = CertificateDenied(
                DenialReason.MISCONFIGURED, f"an unexpected error: {quote(error)}"
            )
            _log(fault, policy, lambda: "", exc_info=True)
            raise fault from error
        logger.debug(
            "authorized under policy %s: %s", quote(policy), certificate.sha256_fingerprint
        )
        return certificate


def _check_alternatives(
    alternatives: Sequence[Policy], certificate: ClientCertificate, at: datetime | None
) -> None:
    """Try the alternatives in order; the first that accepts wins, and `revoked` ends the search."""
    reasons: list[DenialReason] = []
    details: list[str] = []
    for policy in alternatives:
        try:
            return policy.check(certificate, at)
        except CertificateDenied as denied:
            reasons.append(denied.reason)
            details.append(denied.detail)
            if denied.reason is DenialReason.REVOKED:
                break
    raise CertificateDenied(
        reasons[-1],
        "; then ".join(dict.fromkeys(details)),
        certificate=certificate,
        reasons=tuple(reasons),
    )


def _wsgi_path(environ: Mapping[str, Any]) -> str:
    """Return the path as text; WSGI holds its UTF-8 bytes as Latin-1 (PEP 3333)."""
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _log(
    denied: CertificateDenied,
    policy: str,
    request: Callable[[], str],
    *,
    exc_info: bool = False,
) -> None:
    line = request()
    logger.log(
        logging.ERROR if denied.reason is DenialReason.MISCONFIGURED else logging.WARNING,
        "denied %sunder policy %s: %s",
        f"{line} " if line else "",
        quote(policy),
        denied,
        exc_info=exc_info,
        extra={
            "arrcert_reason": denied.reason.value,
            "arrcert_policy": policy,
            "arrcert_request": line,
            "arrcert_fingerprint": denied.certificate and denied.certificate.sha256_fingerprint,
        },
    )
