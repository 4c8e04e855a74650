"""The one door: every adapter and every framework without one asks here."""

from __future__ import annotations

import logging
import operator
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.x509 import Certificate

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import CertificateDenied, ConfigurationError, DenialReason, Problem, quote
from arrcert.forwarding import FrontEnd, decode, front_end_from
from arrcert.ingress import Forwarded, Ingress
from arrcert.policy import Acceptance, Policy
from arrcert.settings import Settings, require_proof
from arrcert.trust import TrustStore

logger = logging.getLogger("arrcert")

MOST_REMEMBERED = 1024
"""Accepted certificates that are remembered for each policy."""


class Authorizer:
    """Decides whether a request may enter, and logs why not.

    Threads and tasks may share it. What it accepted it remembers by the header's exact text, never
    past any date that the decision rests on, nor past a change of the policy's files. Every denial
    is one record on the logger `arrcert`, which also has the attributes `arrcert_reason`,
    `arrcert_policy`, `arrcert_request` and `arrcert_fingerprint` for structured logs.

    Args:
        policies: each policy's name and the `Policy`, or a list of alternatives in order.
        front_end: a known front end's name, or a mapping that describes one (see the settings); an
            `Ingress` where the peer or a secret is to be checked as well.

    Raises:
        ConfigurationError: no policies, something that is no `Policy`, an unknown front end, or a
            policy that leans on a front end which checks nothing.

    It does not know whether requests can reach the app around the front end.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy | Sequence[Policy]],
        *,
        front_end: str | FrontEnd | Mapping[str, Any] | Ingress = "app-service",
    ) -> None:
        self._ingress = (
            front_end if isinstance(front_end, Ingress) else Ingress(front_end_from(front_end))
        )
        named = {
            name: (value,) if isinstance(value, Policy) else tuple(value)
            for name, value in policies.items()
        }
        problems = []
        if not named:
            problems.append(Problem("policies", 'is empty; write {"default": Policy(...)}'))
        for name, alternatives in named.items():
            where = f'policies["{name}"]'
            if not alternatives or not all(isinstance(policy, Policy) for policy in alternatives):
                problems.append(Problem(where, "is neither a Policy nor a list of alternatives"))
                continue
            try:
                require_proof(alternatives, self._ingress.front_end)
            except ConfigurationError as error:
                problems += [Problem(where, problem.message) for problem in error.problems]
        if problems:
            raise ConfigurationError(problems)
        self._policies = {name: _Alternatives(value) for name, value in named.items()}

    @classmethod
    def from_settings(cls, settings: Settings) -> Authorizer:
        """Make the authorizer that validated settings describe.

        Args:
            settings: what `arrcert.settings.load` returned.
        """
        return cls(settings.policies, front_end=settings.ingress)

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
        return self._decide(lambda: self._ingress.from_text(header_value), lambda: "", policy, at)

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
            lambda: self._ingress.from_wsgi(environ),
            lambda: describe_wsgi(environ),
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
            lambda: self._ingress.from_asgi(scope),
            lambda: describe_asgi(scope),
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
        return self._decide(lambda: self._ingress.from_pairs(pairs), lambda: "", policy, at)

    def _decide(
        self,
        read: Callable[[], Forwarded],
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
            # What the request itself shows comes first, before anything remembered is asked.
            forwarded = read()
            if at is not None:
                stores = alternatives.trust_stores()
                return self._decide_anew(alternatives, stores, forwarded, at)[0]
            memory = alternatives.memory()
            remembered = memory.recall(forwarded)
            if remembered is not None:
                return remembered
            certificate, acceptance = self._decide_anew(
                alternatives, memory.trust_stores, forwarded, datetime.now(UTC)
            )
            if acceptance.is_certain:
                memory.remember(forwarded, certificate, acceptance.until)
        except CertificateDenied as denied:
            log_denial(denied, policy=policy, request=request())
            raise
        # A fault of ours, or of the server's, must neither let a request in nor answer 500.
        except Exception as error:
            fault = CertificateDenied(
                DenialReason.MISCONFIGURED, f"an unexpected error: {quote(error)}"
            )
            log_denial(fault, policy=str(policy), exc_info=True)
            raise fault from error
        logger.debug("authorized under policy %r: %s", policy, certificate.sha256_fingerprint)
        return certificate

    def _decide_anew(
        self,
        alternatives: _Alternatives,
        trust_stores: Sequence[TrustStore | None],
        forwarded: Forwarded,
        at: datetime,
    ) -> tuple[ClientCertificate, Acceptance]:
        leaf, *others = decode(self._ingress.front_end, forwarded.value, forwarded.chain)
        certificate = ClientCertificate.from_der(leaf)
        intermediates = [ClientCertificate.from_der(other).x509 for other in others]
        at = at.astimezone(UTC).replace(microsecond=0)
        return certificate, alternatives.decide(certificate, at, trust_stores, intermediates)


class _Alternatives:
    """The policies of one name, and what they accepted."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._memory = _Memory(self.trust_stores())

    def trust_stores(self) -> list[TrustStore | None]:
        """Return the snapshot of files that each policy has at the moment."""
        return [policy.trust_store() for policy in self._policies]

    def memory(self) -> _Memory:
        """Return the memory that belongs to the snapshots of the moment, a new one for new ones."""
        memory = self._memory
        trust_stores = self.trust_stores()
        if not all(map(operator.is_, trust_stores, memory.trust_stores)):
            self._memory = memory = _Memory(trust_stores)
        return memory

    def decide(
        self,
        certificate: ClientCertificate,
        at: datetime,
        trust_stores: Sequence[TrustStore | None],
        intermediates: Sequence[Certificate],
    ) -> Acceptance:
        """Try the policies in order: the first that accepts wins, `revoked` ends the search."""
        reasons: list[DenialReason] = []
        details: list[str] = []
        for policy, trust_store in zip(self._policies, trust_stores, strict=True):
            try:
                return policy.decide(certificate, at, trust_store, intermediates)
            except CertificateDenied as denied:
                reasons.append(denied.reason)
                details.append(denied.detail)
                if denied.reason is DenialReason.REVOKED:
                    break
        if len(self._policies) > 1:
            details = [f"alternative {n}: {detail}" for n, detail in enumerate(details, start=1)]
        raise CertificateDenied(
            reasons[-1], "; ".join(details), certificate=certificate, reasons=tuple(reasons)
        )


class _Memory:
    """What was accepted under one snapshot of files, keyed by the header's exact text.

    A yes that is decided while the files are replaced is remembered here, where nobody looks any
    more, and dies with the snapshot. Readers take no lock: what they see is there or is not.
    """

    def __init__(self, trust_stores: Sequence[TrustStore | None]) -> None:
        self.trust_stores = trust_stores
        self._accepted: dict[Forwarded, tuple[ClientCertificate, float, float]] = {}
        self._writing = threading.Lock()

    def recall(self, forwarded: Forwarded) -> ClientCertificate | None:
        """Return the certificate that was accepted for this text, if the yes still holds."""
        found = self._accepted.get(forwarded)
        if found is None:
            return None
        certificate, since, until = found
        # A clock that was set back would otherwise prolong a yes.
        return certificate if since <= time.time() < until else None

    def remember(
        self, forwarded: Forwarded, certificate: ClientCertificate, until: datetime
    ) -> None:
        """Remember a yes until it ends; the oldest gives way where there are too many."""
        now = time.time()
        with self._writing:
            self._accepted.pop(forwarded, None)
            while len(self._accepted) >= MOST_REMEMBERED:
                del self._accepted[next(iter(self._accepted))]
            # The whole of the last second counts.
            self._accepted[forwarded] = (certificate, now, until.timestamp() + 1)


def describe_wsgi(environ: Mapping[str, Any]) -> str:
    """Return a WSGI request's method and path for the log, escaped, without the query.

    Args:
        environ: the WSGI environ, which holds a path's UTF-8 bytes as Latin-1 (PEP 3333).
    """
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    return _one_line(f"{environ.get('REQUEST_METHOD')} {path}")


def describe_asgi(scope: Mapping[str, Any]) -> str:
    """Return an ASGI request's method and path for the log, escaped, without the query.

    Args:
        scope: the ASGI connection scope; a WebSocket handshake has no method.
    """
    return _one_line(f"{scope.get('method', 'WEBSOCKET')} {scope.get('path')}")


def _one_line(text: str) -> str:
    """Escape as `quote` does, without the quotes."""
    return quote(text)[1:-1]


def log_denial(
    denied: CertificateDenied, *, policy: str, request: str = "", exc_info: bool = False
) -> None:
    """Write the one record of a denial on the logger `arrcert`.

    Args:
        denied: what was denied and why.
        policy: the policy's name.
        request: what `describe_wsgi` or `describe_asgi` returned; empty where it is not known.
        exc_info: whether the traceback of the exception being handled belongs to it.

    `misconfigured` is an ERROR, all else a WARNING. It does not write the header's value.
    """
    logger.log(
        logging.ERROR if denied.reason is DenialReason.MISCONFIGURED else logging.WARNING,
        "denied %sunder policy %s: %s",
        f"{request} " if request else "",
        quote(policy),
        denied,
        exc_info=exc_info,
        extra={
            "arrcert_reason": denied.reason.value,
            "arrcert_policy": policy,
            "arrcert_request": request,
            "arrcert_fingerprint": denied.certificate and denied.certificate.sha256_fingerprint,
        },
    )
