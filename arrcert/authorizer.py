"""The one door: every adapter and every framework without one asks here."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from cryptography.x509 import Certificate

from arrcert.certificate import ClientCertificate
from arrcert.denials import DenialLog, describe_asgi, describe_wsgi
from arrcert.exceptions import CertificateDenied, ConfigurationError, DenialReason, Problem, quote
from arrcert.forwarding.front_ends import FrontEnd, decode, front_end_from
from arrcert.forwarding.ingress import Forwarded, Ingress
from arrcert.policy import Acceptance, Policy, whole_second
from arrcert.settings.loading import (
    MOST_REMEMBERED,
    Settings,
    is_number_to_remember,
    require_proof,
    why_not_to_remember,
)
from arrcert.trust.paths import TrustStore

logger = logging.getLogger("arrcert")

LONGEST_KEY = 8 * 1024
"""Characters; what is longer is not remembered. Some encodings let a client write more than the
certificate, and who is accepted may do so in many ways."""

_Request = TypeVar("_Request")


class Authorizer:
    """Decides whether a request may enter, and logs why not.

    Threads and tasks may share it. What it accepted it remembers by the header's exact text, never
    past any date that the decision rests on, nor past a change of the policy's files. Every denial
    is one record on the logger `arrcert`, which also has the attributes `arrcert_reason`,
    `arrcert_policy`, `arrcert_request` and `arrcert_fingerprint` for structured logs; in a flood
    one record with `arrcert_count` stands for many.

    Args:
        policies: each policy's name and the `Policy`, or a list of alternatives in order.
        front_end: a known front end's name, or a mapping that describes one (see the settings); an
            `Ingress` where the peer or a secret is to be checked as well.
        most_remembered: accepted certificates that are remembered for each policy; 1024 by default.

    Raises:
        ConfigurationError: no policies, something that is no `Policy`, an unknown front end, a
            policy that leans on a front end which checks nothing, or a number that cannot be
            remembered.

    It does not know whether requests can reach the app around the front end.
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
        named = {
            name: (value,) if isinstance(value, Policy) else tuple(value)
            for name, value in policies.items()
        }
        problems = (
            []
            if is_number_to_remember(most_remembered)
            else [Problem("most_remembered", why_not_to_remember(most_remembered))]
        )
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
        self._policies = {
            name: _Alternatives(value, most_remembered) for name, value in named.items()
        }
        self._denials = DenialLog()

    @classmethod
    def from_settings(cls, settings: Settings) -> Authorizer:
        """Make the authorizer that validated settings describe.

        Args:
            settings: what `arrcert.settings.load` returned.
        """
        return cls(
            settings.policies,
            front_end=settings.ingress,
            most_remembered=settings.most_remembered,
        )

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
        return self._decide(self._ingress.from_text, header_value, None, policy, at)

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
        return self._decide(self._ingress.from_wsgi, environ, describe_wsgi, policy, at)

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
        return self._decide(self._ingress.from_asgi, scope, describe_asgi, policy, at)

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
        return self._decide(self._ingress.from_pairs, pairs, None, policy, at)

    def _decide(
        self,
        read: Callable[[_Request], Forwarded],
        request: _Request,
        describe: Callable[[_Request], str] | None,
        policy: str,
        at: datetime | None,
    ) -> ClientCertificate:
        """Header text, DER, certificate, decision: the whole way, and the only one.

        `read` takes the header out of the request; `describe` says which request it is, for the
        log of denials.
        """
        moment = None if at is None else whole_second(at)
        try:
            alternatives = self._policies.get(policy)
            if alternatives is None:
                raise CertificateDenied(
                    DenialReason.MISCONFIGURED,
                    f"no policy is called {quote(policy)}; there is"
                    f" {', '.join(quote(name) for name in self._policies)}",
                )
            # What the request itself shows comes first, before anything remembered is asked.
            forwarded = read(request)
            memory = alternatives.memory()
            certificate = memory.recall(forwarded) if moment is None else None
            if certificate is None:
                certificate, acceptance = self._decide_anew(
                    alternatives, memory.trust_stores, forwarded, moment
                )
                if moment is None and acceptance.is_certain:
                    memory.remember(forwarded, certificate, acceptance.until)
        except CertificateDenied as denied:
            self._denials.write(denied, policy, describe, request)
            raise
        # A fault of ours, or of the server's, must neither let a request in nor answer 500.
        except Exception as error:
            fault = _fault(error)
            self._denials.write(fault, str(policy), exc_info=True)
            raise fault from error
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("authorized under policy %r: %s", policy, certificate.sha256_fingerprint)
        return certificate

    def _decide_anew(
        self,
        alternatives: _Alternatives,
        trust_stores: Sequence[TrustStore | None],
        forwarded: Forwarded,
        at: datetime | None,
    ) -> tuple[ClientCertificate, Acceptance]:
        leaf, *others = decode(self._ingress.front_end, *forwarded)
        certificate = ClientCertificate.unread(leaf)
        if not alternatives.vouch_for_bytes:
            certificate.read()
        if alternatives.are_pinned and not alternatives.list_fingerprint_of(certificate):
            raise CertificateDenied.explained_by(
                functools.partial(
                    _explain, alternatives, certificate, at or time.time(), trust_stores
                )
            )
        intermediates = (
            [ClientCertificate.from_der(other).x509 for other in others] if others else ()
        )
        return certificate, alternatives.decide(
            certificate, at or whole_second(), trust_stores, intermediates
        )


class _Alternatives:
    """The policies of one name, and what they accepted.

    Attributes:
        are_pinned: whether each of them demands one of certain fingerprints.
        vouch_for_bytes: whether each asks for no other proof, so that what an accepted certificate
            holds beside dates, usage and key need not even be readable.
    """

    def __init__(self, policies: Sequence[Policy], most_remembered: int) -> None:
        self._policies = policies
        self._most_remembered = most_remembered
        self._follow_files = any(policy.trust_store() is not None for policy in policies)
        self._memory = self._new_memory()
        self.are_pinned = all(policy.is_pinned for policy in policies)
        self.vouch_for_bytes = self.are_pinned and not self._follow_files

    def memory(self) -> _Memory:
        """Return the memory that belongs to the snapshots of the moment, a new one for new ones."""
        memory = self._memory
        if self._follow_files:
            for policy, trust_store in zip(self._policies, memory.trust_stores, strict=True):
                if policy.trust_store() is not trust_store:
                    self._memory = memory = self._new_memory()
                    break
        return memory

    def list_fingerprint_of(self, certificate: ClientCertificate) -> bool:
        """Tell whether the certificate's fingerprint stands in any of the policies."""
        for policy in self._policies:  # noqa: SIM110 - any() takes twice the time of a flood.
            if policy.lists_fingerprint_of(certificate):
                return True
        return False

    def decide(
        self,
        certificate: ClientCertificate,
        at: datetime,
        trust_stores: Sequence[TrustStore | None],
        intermediates: Sequence[Certificate] = (),
    ) -> Acceptance:
        """Try the policies in order: the first that accepts wins, `revoked` ends the search."""
        reasons: list[DenialReason] = []
        details: list[str] = []
        for policy, trust_store in zip(self._policies, trust_stores, strict=True):
            try:
                return policy.decide(certificate, at, trust_store, intermediates)
            except CertificateDenied as denied:
                # Of bytes that cannot be read no policy has anything to say.
                if denied.reason is DenialReason.MALFORMED:
                    raise
                reasons.append(denied.reason)
                details.append(denied.detail)
                if denied.reason is DenialReason.REVOKED:
                    break
        # What a fingerprint alone would have vouched for.
        certificate.read()
        if len(self._policies) > 1:
            details = [f"alternative {n}: {detail}" for n, detail in enumerate(details, start=1)]
        raise CertificateDenied(
            reasons[-1], "; ".join(details), certificate=certificate, reasons=tuple(reasons)
        )

    def _new_memory(self) -> _Memory:
        return _Memory([policy.trust_store() for policy in self._policies], self._most_remembered)


class _Memory:
    """What was accepted under one snapshot of files, keyed by the header's exact text.

    A yes that is decided while the files are replaced is remembered here, where nobody looks any
    more, and dies with the snapshot. Readers take no lock: what they see is there or is not.
    """

    def __init__(self, trust_stores: Sequence[TrustStore | None], most_remembered: int) -> None:
        self.trust_stores = trust_stores
        self._most_remembered = most_remembered
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
        if not self._most_remembered or sum(map(len, filter(None, forwarded))) > LONGEST_KEY:
            return
        now = time.time()
        with self._writing:
            self._accepted.pop(forwarded, None)
            while len(self._accepted) >= self._most_remembered:
                del self._accepted[next(iter(self._accepted))]
            # The whole of the last second counts.
            self._accepted[forwarded] = (certificate, now, until.timestamp() + 1)


def _explain(
    alternatives: _Alternatives,
    certificate: ClientCertificate,
    at: datetime | float,
    trust_stores: Sequence[TrustStore | None],
) -> CertificateDenied:
    """Say why bytes that no policy pins are denied: they may be no certificate, or have expired."""
    if not isinstance(at, datetime):
        at = datetime.fromtimestamp(int(at), UTC)
    try:
        certificate.read()
        alternatives.decide(certificate, at, trust_stores)
    except CertificateDenied as denied:
        return denied
    except Exception as error:
        return _fault(error)
    return CertificateDenied(DenialReason.MISCONFIGURED, "its fingerprint is listed by now")


def _fault(error: Exception) -> CertificateDenied:
    return CertificateDenied(DenialReason.MISCONFIGURED, f"an unexpected error: {quote(error)}")
