"""The single entry point for adapters and other frameworks: from a request to a decision."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from arrcert.alternatives import Alternatives
from arrcert.certificate import ClientCertificate, read_certificate
from arrcert.denials import DenialLog
from arrcert.exceptions import (
    CertificateDenied,
    ConfigurationError,
    Denial,
    DenialReason,
    Finding,
    Problem,
    quote,
)
from arrcert.forwarding.front_ends import FrontEnd, front_end_from, why_names_are_not_proven
from arrcert.forwarding.ingress import Forwarded, Ingress, certificates_in
from arrcert.memory import MOST_REMEMBERED, is_number_to_remember, why_not_to_remember
from arrcert.moments import whole_second
from arrcert.policy import Acceptance, Policy
from arrcert.trust.paths import TrustStore

logger = logging.getLogger("arrcert")


class _Settings(Protocol):
    """The attributes of `arrcert.settings.Settings` that an authorizer is made of."""

    @property
    def policies(self) -> Mapping[str, Sequence[Policy]]: ...
    @property
    def ingress(self) -> Ingress: ...
    @property
    def most_remembered(self) -> int: ...


class Authorizer:
    """Decides whether a request may enter, and logs why not.

    An authorizer may be shared by threads and tasks. It remembers accepted certificates by the
    exact text of the header, never past a date that the decision depends on, nor past a change of
    the policy's files. Each denial is one record on the logger `arrcert`. The record has the
    attributes `arrcert_reason`, `arrcert_policy`, `arrcert_request` and `arrcert_fingerprint` for
    structured logs. In a flood one record with `arrcert_count` stands for many denials.

    Args:
        policies: the `Policy` of each name, or a list of alternatives in order.
        front_end: the name of a known front end, or a mapping that describes one (see the
            settings); an `Ingress` to check the peer or a secret as well.
        most_remembered: how many accepted certificates are remembered for each policy; 1024 by
            default.

    Raises:
        ConfigurationError: there are no policies, a value is not a `Policy`, the front end is not
            known, a policy relies on a front end that checks nothing, or `most_remembered` is out
            of range.

    This does not know whether requests can reach the app around the front end.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy | Sequence[Policy]],
        *,
        front_end: str | FrontEnd | Mapping[str, Any] | Ingress = "app-service",
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        self._ingress = (
            front_end if isinstance(front_end, Ingress) else Ingress(front_end_from(front_end))
        )
        problems = []
        if not is_number_to_remember(most_remembered):
            problems.append(Problem("most_remembered", why_not_to_remember(most_remembered)))
        if not isinstance(policies, Mapping) or not policies:
            problems.append(
                Problem("policies", 'is empty or not a mapping; write {"default": Policy(...)}')
            )
            policies = {}
        unproven = why_names_are_not_proven(self._ingress.front_end)
        alternatives: dict[str, Sequence[Policy]] = {}
        for name, value in policies.items():
            where = f'policies["{name}"]'
            listed = [value] if isinstance(value, Policy) else value
            if not _are_policies(listed):
                problems.append(Problem(where, _NO_POLICY))
                continue
            alternatives[name] = listed
            if unproven and any(policy.names_proven_by_front_end for policy in listed):
                problems.append(
                    Problem(where, f"names_proven_by_front_end is True, and {unproven}")
                )
        if problems:
            raise ConfigurationError(problems)
        self._policies = {
            name: Alternatives(listed, most_remembered) for name, listed in alternatives.items()
        }
        self._denials = DenialLog()

    @classmethod
    def from_settings(cls, settings: _Settings) -> Authorizer:
        """Make the authorizer that validated settings describe.

        Args:
            settings: the object that `arrcert.settings.load` returned.
        """
        return cls(
            settings.policies,
            front_end=settings.ingress,
            most_remembered=settings.most_remembered,
        )

    def authorize(
        self, header_value: str | None, policy: str = "default", at: datetime | None = None
    ) -> ClientCertificate:
        """Decide on the text of the certificate header alone.

        Args:
            header_value: the value of the front end's header; None if it is absent.
            policy: the policy's name.
            at: the moment, aware; now by default.

        Returns:
            The certificate that may enter.

        Raises:
            CertificateDenied: it may not enter; the denial is logged.
            ValueError: `at` is naive.

        This does not see other headers. Only the methods below check repeated and look-alike
        headers and `X-Forwarded-Proto`.
        """
        moment = None if at is None else whole_second(at)
        try:
            decided = self._decide(self._ingress.from_text(header_value), policy, moment)
        except Exception as error:
            raise self._fault(error, policy) from error
        if isinstance(decided, Denial):
            self._denials.write(decided, policy)
            raise decided.exception()
        return decided

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
            CertificateDenied: it may not enter; the denial is logged.
            ValueError: `at` is naive.

        This cannot see look-alike names that a server has folded into one key of the environ.
        """
        moment = None if at is None else whole_second(at)
        try:
            decided = self._decide(self._ingress.from_wsgi(environ), policy, moment)
        except Exception as error:
            raise self._fault(error, policy, environ=environ) from error
        if isinstance(decided, Denial):
            self._denials.write(decided, policy, environ=environ)
            raise decided.exception()
        return decided

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
            CertificateDenied: it may not enter; the denial is logged.
            ValueError: `at` is naive.

        Without `trusted_proxies` this does not check who the direct peer is.
        """
        moment = None if at is None else whole_second(at)
        try:
            decided = self._decide(self._ingress.from_asgi(scope), policy, moment)
        except Exception as error:
            raise self._fault(error, policy, scope=scope) from error
        if isinstance(decided, Denial):
            self._denials.write(decided, policy, scope=scope)
            raise decided.exception()
        return decided

    def authorize_headers(
        self,
        pairs: Iterable[tuple[str | bytes, str | bytes]],
        policy: str = "default",
        at: datetime | None = None,
    ) -> ClientCertificate:
        """Decide on the headers of a request of any other framework.

        Args:
            pairs: every header of the request as (name, value), repeated headers included.
            policy: the policy's name.
            at: the moment, aware; now by default.

        Returns:
            The certificate that may enter.

        Raises:
            CertificateDenied: it may not enter; the denial is logged.
            ValueError: `at` is naive.

        This does not see what the framework has merged or dropped before.
        """
        moment = None if at is None else whole_second(at)
        try:
            decided = self._decide(self._ingress.from_pairs(pairs), policy, moment)
        except Exception as error:
            raise self._fault(error, policy) from error
        if isinstance(decided, Denial):
            self._denials.write(decided, policy)
            raise decided.exception()
        return decided

    def _decide(
        self, forwarded: Forwarded | Finding, policy: str, at: datetime | None
    ) -> ClientCertificate | Denial:
        """Decide on what the front end forwarded: from memory, or by the rules of the policy."""
        alternatives = self._policies.get(policy)
        if alternatives is None:
            return Denial(
                DenialReason.MISCONFIGURED,
                f"no policy is called {quote(policy)}; there is"
                f" {', '.join(quote(name) for name in self._policies)}",
            )
        # The checks of the request itself come before the memory.
        if isinstance(forwarded, Finding):
            return Denial(*forwarded)
        memory = alternatives.memory()
        certificate = memory.recall(forwarded) if at is None else None
        if certificate is None:
            decided = self._decide_by_rules(forwarded, alternatives, memory.trust_stores, at)
            if isinstance(decided, Denial):
                return decided
            certificate, acceptance = decided
            if at is None and acceptance.is_certain:
                memory.remember(forwarded, certificate, acceptance.until)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("authorized under policy %r: %s", policy, certificate.sha256_fingerprint)
        return certificate

    def _decide_by_rules(
        self,
        forwarded: Forwarded,
        alternatives: Alternatives,
        trust_stores: Sequence[TrustStore | None],
        at: datetime | None,
    ) -> tuple[ClientCertificate, Acceptance] | Denial:
        """Read the certificates and try the policies of one name."""
        certificates = []
        encoded = certificates_in(self._ingress.front_end, forwarded)
        if isinstance(encoded, Finding):
            return Denial(*encoded)
        for der in encoded:
            certificate = read_certificate(der)
            if isinstance(certificate, Finding):
                return Denial(*certificate)
            certificates.append(certificate)
        leaf, *others = certificates
        intermediates = [other.x509 for other in others]
        decided = alternatives.decide(leaf, at or whole_second(), trust_stores, intermediates)
        return decided if isinstance(decided, Denial) else (leaf, decided)

    def _fault(
        self,
        error: Exception,
        policy: str,
        *,
        environ: Mapping[str, Any] | None = None,
        scope: Mapping[str, Any] | None = None,
    ) -> CertificateDenied:
        """Log an unexpected error and return its denial, so that no error lets a request in."""
        denial = Denial(DenialReason.MISCONFIGURED, f"an unexpected error: {quote(error)}")
        self._denials.write(denial, str(policy), environ=environ, scope=scope, exc_info=True)
        return denial.exception()


_NO_POLICY = "is neither a Policy nor a list of alternatives; write Policy(...), or a list of them"


def _are_policies(value: object) -> bool:
    """Tell whether a value is a list of policies, which is not empty."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(policy, Policy) for policy in value)
