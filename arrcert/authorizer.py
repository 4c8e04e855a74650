"""The single entry point for adapters and other frameworks: from a request to a decision."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from arrcert.access import DAYS_LEFT, is_first_entry, write_acceptance, write_entry
from arrcert.access import logger as entries
from arrcert.alternatives import Alternatives, AnyPolicy
from arrcert.certificate import ClientCertificate, read_presented_certificate
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
from arrcert.expiry import EXPIRY_WARNING_DAYS, Expiry, is_number_of_days, why_no_days
from arrcert.forwarding.cross_site import origins_from
from arrcert.forwarding.front_ends import FrontEnd, front_end_from, why_names_are_not_proven
from arrcert.forwarding.ingress import Forwarded, Ingress, certificates_in
from arrcert.identity import ClientIdentity
from arrcert.memory import MOST_REMEMBERED, is_number_to_remember, why_not_to_remember
from arrcert.moments import whole_second
from arrcert.policy import Policy
from arrcert.presented import Presented

if TYPE_CHECKING:
    from arrcert.settings.file import PolicyFile
    from arrcert.telemetry import Telemetry

logger = logging.getLogger("arrcert")

_DEFAULT = "default"
"""The policy that is tried first. If all policies deny a request, the denial is logged under this
one."""


class _Settings(Protocol):
    """The attributes of `arrcert.settings.Settings` that an authorizer needs."""

    @property
    def policies(self) -> Mapping[str, Sequence[Policy]]: ...
    @property
    def ingress(self) -> Ingress: ...
    @property
    def most_remembered(self) -> int: ...
    @property
    def file(self) -> PolicyFile | None: ...
    @property
    def expiry_warning_days(self) -> int: ...
    @property
    def telemetry(self) -> bool: ...


class _Snapshot:
    """The policies at one time, and the certificates remembered for them. It is never changed.

    Args:
        policies: the alternatives of each policy, by its name.
        most_remembered: how many accepted certificates are remembered for each policy.

    Attributes:
        policies: the argument.
        candidates: for each name, the alternatives of that policy; for None all policies, `default`
            first.
    """

    __slots__ = ("candidates", "policies")

    def __init__(self, policies: Mapping[str, Sequence[Policy]], most_remembered: int) -> None:
        made = [Alternatives(name, listed, most_remembered) for name, listed in policies.items()]
        self.policies = policies
        # Sorting is stable: the others keep their order.
        in_order = sorted(made, key=lambda held: held.name != _DEFAULT)
        self.candidates: dict[str | None, Alternatives | AnyPolicy] = {
            **{held.name: held for held in made},
            None: AnyPolicy(in_order, most_remembered),
        }


class Authorizer:
    """Decides whether a request may enter, and logs why not.

    An authorizer may be shared by threads and tasks. It remembers accepted certificates by the
    exact text of the header. It forgets a certificate at the next date that can change the
    decision, and when a file of the policy changes. Each denial is one record on the logger
    `arrcert`. The record has the attributes `arrcert_reason`, `arrcert_policy`, `arrcert_request`,
    `arrcert_fingerprint` and `arrcert_identity` for structured logs. If there are very many
    denials, one record with `arrcert_count` counts them. Each accepted request is one INFO record
    on the logger `arrcert.access`.

    Args:
        policies: the `Policy` of each name, or a list of alternatives in order.
        front_end: the name of a known front end, or a mapping that describes one (see the
            settings); "app-service" by default. Pass an `Ingress` to check the peer or a secret as
            well.
        most_remembered: how many accepted certificates are remembered for each policy; 1024 by
            default.
        cross_site_origins: origins whose pages may send unsafe requests and open WebSockets, such
            as `https://app.contoso.com`; none by default. An `Ingress` has its own.
        expiry_warning_days: if an accepted certificate expires within this number of days, a
            WARNING is logged once a day; 30 by default, 0 for never.
        telemetry: whether decisions are counted by the OpenTelemetry API; False by default.

    Raises:
        ConfigurationError: there are no policies, a value is not a `Policy`, the front end is not
            known, a policy relies on a front end that checks nothing, or `most_remembered` or
            `expiry_warning_days` is out of range.
        ImportError: `telemetry` is True, and the extra `telemetry` is not installed.

    It does not check whether requests can reach the app without passing the front end.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy | Sequence[Policy]],
        *,
        front_end: str | FrontEnd | Mapping[str, Any] | Ingress = "app-service",
        most_remembered: int = MOST_REMEMBERED,
        cross_site_origins: Iterable[str] = (),
        expiry_warning_days: int = EXPIRY_WARNING_DAYS,
        telemetry: bool = False,
    ) -> None:
        if isinstance(front_end, Ingress):
            self._ingress = front_end
        else:
            self._ingress = Ingress(
                front_end_from(front_end), cross_site_origins=origins_from(cross_site_origins)
            )
        problems = []
        if not is_number_to_remember(most_remembered):
            problems.append(Problem("most_remembered", why_not_to_remember(most_remembered)))
        if not is_number_of_days(expiry_warning_days):
            problems.append(Problem("expiry_warning_days", why_no_days(expiry_warning_days)))
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
        self._snapshot = _Snapshot(alternatives, most_remembered)
        self._most_remembered = most_remembered
        self._file: PolicyFile | None = None
        self._denials = DenialLog()
        self._expiry_warning_days = expiry_warning_days
        self._telemetry = _telemetry(alternatives) if telemetry else None

    @classmethod
    def from_settings(cls, settings: _Settings) -> Authorizer:
        """Make the authorizer that validated settings describe.

        Args:
            settings: the object that `arrcert.settings.load` returned.
        """
        authorizer = cls(
            settings.policies,
            front_end=settings.ingress,
            most_remembered=settings.most_remembered,
            expiry_warning_days=settings.expiry_warning_days,
        )
        authorizer._file = settings.file
        if settings.telemetry:
            authorizer._telemetry = _telemetry(settings.policies, settings.file)
        return authorizer

    @classmethod
    def from_environment(cls) -> Authorizer:
        """Make the authorizer that the environment variables describe.

        Raises:
            ConfigurationError: lists all mistakes in the configuration, or says that there is none.

        A setting that is valid but is probably a mistake is logged as a WARNING. Later changes of
        the environment have no effect. This does not read the settings of a framework.
        """
        # Imported here, because an authorizer that is made in code needs no settings.
        from arrcert.settings import load_environment

        return cls.from_settings(load_environment())

    @property
    def policy_names(self) -> tuple[str, ...]:
        """The names of the configured policies, in order."""
        return tuple(self._current().policies)

    @property
    def policies(self) -> dict[str, Sequence[Policy]]:
        """The alternatives of each configured policy, in order."""
        return dict(self._current().policies)

    @property
    def front_end(self) -> FrontEnd:
        """The front end that is declared to stand before the app."""
        return self._ingress.front_end

    def identify(
        self,
        header_value: str | None,
        policy: str | None = "default",
        role: str | None = None,
        *,
        at: datetime | None = None,
    ) -> ClientIdentity:
        """Decide only on the text of the certificate header, and return the identity of the client.

        Args:
            header_value: the value of the front end's header; None if it is absent.
            policy: the policy's name; None for any policy, `default` first.
            role: the role that the accepted client must have; None, the default, to require no
                role.
            at: the time of the decision, a timezone-aware `datetime`; now by default.

        Returns:
            The identity of the client.

        Raises:
            CertificateDenied: the request is denied. The denial is already logged.
            ValueError: `at` is naive.

        It does not check other headers. Only the methods below check repeated and look-alike
        headers, `X-Forwarded-Proto`, and whether a request comes from another site.
        """
        moment = None if at is None else whole_second(at)
        try:
            refused = self._ingress.why_text_is_not_enough
            forwarded = header_value if refused is None else refused
            decided = self._decide(forwarded, policy, role, moment)
        except Exception as error:
            raise self._fault(error, policy) from error
        if isinstance(decided, ClientIdentity):
            self._entered(decided, None, None, moment)
            return decided
        raise self._denied(decided, policy)

    def identify_wsgi(
        self,
        environ: Mapping[str, Any],
        policy: str | None = "default",
        role: str | None = None,
        *,
        at: datetime | None = None,
        hint: str = "",
    ) -> ClientIdentity:
        """Decide on a WSGI request (PEP 3333), and return the identity of the client.

        Args:
            environ: the WSGI environ.
            policy: the policy's name; None for any policy, `default` first.
            role: the role that the accepted client must have; None, the default, to require no
                role.
            at: the time of the decision, a timezone-aware `datetime`; now by default.
            hint: a hint for the operator, which is added to the detail of a denial.

        Returns:
            The identity of the client.

        Raises:
            CertificateDenied: the request is denied. The denial is already logged.
            ValueError: `at` is naive.

        It cannot notice look-alike header names that the server has folded into one key of the
        environ.
        """
        moment = None if at is None else whole_second(at)
        try:
            decided = self._decide(self._ingress.from_wsgi(environ), policy, role, moment)
        except Exception as error:
            raise self._fault(error, policy, environ=environ) from error
        if isinstance(decided, ClientIdentity):
            self._entered(decided, environ, None, moment)
            return decided
        raise self._denied(decided.with_hint(hint), policy, environ=environ)

    def identify_asgi(
        self,
        scope: Mapping[str, Any],
        policy: str | None = "default",
        role: str | None = None,
        *,
        at: datetime | None = None,
        hint: str = "",
    ) -> ClientIdentity:
        """Decide on an ASGI request or WebSocket handshake, and return the identity of the client.

        Args:
            scope: the ASGI connection scope.
            policy: the policy's name; None for any policy, `default` first.
            role: the role that the accepted client must have; None, the default, to require no
                role.
            at: the time of the decision, a timezone-aware `datetime`; now by default.
            hint: a hint for the operator, which is added to the detail of a denial.

        Returns:
            The identity of the client.

        Raises:
            CertificateDenied: the request is denied. The denial is already logged.
            ValueError: `at` is naive.

        Without `trusted_proxies`, it does not check the direct peer.
        """
        moment = None if at is None else whole_second(at)
        try:
            decided = self._decide(self._ingress.from_asgi(scope), policy, role, moment)
        except Exception as error:
            raise self._fault(error, policy, scope=scope) from error
        if isinstance(decided, ClientIdentity):
            self._entered(decided, None, scope, moment)
            return decided
        raise self._denied(decided.with_hint(hint), policy, scope=scope)

    def identify_headers(
        self,
        pairs: Iterable[tuple[str | bytes, str | bytes]],
        policy: str | None = "default",
        role: str | None = None,
        *,
        at: datetime | None = None,
        method: str | None = None,
    ) -> ClientIdentity:
        """Decide on the headers of a request of another framework; return the client's identity.

        Args:
            pairs: every header of the request as (name, value), repeated headers included.
            policy: the policy's name; None for any policy, `default` first.
            role: the role that the accepted client must have; None, the default, to require no
                role.
            at: the time of the decision, a timezone-aware `datetime`; now by default.
            method: the method of the request. With None, the default, the method counts as unsafe,
                so the request is denied if another site may have caused it.

        Returns:
            The identity of the client.

        Raises:
            CertificateDenied: the request is denied. The denial is already logged.
            ValueError: `at` is naive.

        It cannot notice headers that the framework has merged or removed.
        """
        moment = None if at is None else whole_second(at)
        try:
            decided = self._decide(self._ingress.from_pairs(pairs, method), policy, role, moment)
        except Exception as error:
            raise self._fault(error, policy) from error
        if isinstance(decided, ClientIdentity):
            self._entered(decided, None, None, moment)
            return decided
        raise self._denied(decided, policy)

    def authorize(
        self,
        header_value: str | None,
        policy: str | None = "default",
        at: datetime | None = None,
        *,
        role: str | None = None,
    ) -> ClientCertificate:
        """Return the certificate of the client that `identify` accepts."""
        return self.identify(header_value, policy, role, at=at).certificate

    def authorize_wsgi(
        self,
        environ: Mapping[str, Any],
        policy: str | None = "default",
        at: datetime | None = None,
        *,
        role: str | None = None,
    ) -> ClientCertificate:
        """Return the certificate of the client that `identify_wsgi` accepts."""
        return self.identify_wsgi(environ, policy, role, at=at).certificate

    def authorize_asgi(
        self,
        scope: Mapping[str, Any],
        policy: str | None = "default",
        at: datetime | None = None,
        *,
        role: str | None = None,
    ) -> ClientCertificate:
        """Return the certificate of the client that `identify_asgi` accepts."""
        return self.identify_asgi(scope, policy, role, at=at).certificate

    def authorize_headers(
        self,
        pairs: Iterable[tuple[str | bytes, str | bytes]],
        policy: str | None = "default",
        at: datetime | None = None,
        *,
        role: str | None = None,
        method: str | None = None,
    ) -> ClientCertificate:
        """Return the certificate of the client that `identify_headers` accepts."""
        return self.identify_headers(pairs, policy, role, at=at, method=method).certificate

    def find_wsgi(self, environ: Mapping[str, Any]) -> ClientIdentity | None:
        """Return the identity that any policy accepts for a WSGI request, None if none accepts it.

        Args:
            environ: the WSGI environ.

        This logs nothing. It is for a site-wide gate that then decides under the policy of the
        path. That second decision logs the denial. If there is no second decision, call
        `entered_wsgi` to record the entry.
        """
        try:
            decided = self._decide(self._ingress.from_wsgi(environ), None, None, None)
        except Exception:
            return None
        return decided if isinstance(decided, ClientIdentity) else None

    def find_asgi(self, scope: Mapping[str, Any]) -> ClientIdentity | None:
        """Return the identity that any policy accepts for an ASGI request, None if none accepts it.

        Args:
            scope: the ASGI connection scope.

        Like `find_wsgi`, this logs nothing.
        """
        try:
            decided = self._decide(self._ingress.from_asgi(scope), None, None, None)
        except Exception:
            return None
        return decided if isinstance(decided, ClientIdentity) else None

    def entered_wsgi(self, environ: Mapping[str, Any], identity: ClientIdentity) -> None:
        """Record the entry of a client that `find_wsgi` returned.

        Args:
            environ: the WSGI environ.
            identity: the identity that `find_wsgi` returned.

        A request is recorded once: after `identify_wsgi` or an earlier call, this does nothing.
        """
        self._entered(identity, environ, None, None)

    def entered_asgi(self, scope: Mapping[str, Any], identity: ClientIdentity) -> None:
        """Record the entry of a client that `find_asgi` returned, as `entered_wsgi` does."""
        self._entered(identity, None, scope, None)

    def _current(self) -> _Snapshot:
        """Return the current snapshot. A change of the file of policies makes a new one."""
        snapshot = self._snapshot
        if self._file is None:
            return snapshot
        policies = self._file.current().policies
        if policies is not snapshot.policies:
            self._snapshot = snapshot = _Snapshot(policies, self._most_remembered)
        return snapshot

    def _decide(
        self,
        forwarded: Forwarded | Finding,
        policy: str | None,
        role: str | None,
        at: datetime | None,
    ) -> ClientIdentity | Denial:
        """Decide on what the front end forwarded: from memory, or by the rules of the policy.

        Args:
            forwarded: the text of the headers, or why the request itself is denied.
            policy: the policy's name; None for any policy, `default` first.
            role: the role that the accepted client must have; None to require no role.
            at: the time of the decision, a timezone-aware `datetime`; None for now.
        """
        snapshot = self._snapshot if self._file is None else self._current()
        candidates = snapshot.candidates.get(policy)
        if candidates is None:
            return Denial(
                DenialReason.MISCONFIGURED,
                f"no policy is called {quote(policy)}; there is"
                f" {', '.join(quote(name) for name in snapshot.policies)}",
            )
        # The checks of the request come before the look-up in memory. `isinstance` is slow when the
        # answer is False.
        if type(forwarded) is Finding:
            return Denial(*forwarded)
        if at is None:
            memory = candidates.memory() if candidates.follows_files else candidates.latest
            identity = memory.recall(forwarded)
            if identity is not None:
                return identity if role is None else _with_role(identity, role)
        if self._telemetry is None:
            return self._judge(forwarded, candidates, role, at)
        began = time.perf_counter()
        decided = self._judge(forwarded, candidates, role, at)
        seconds = time.perf_counter() - began
        self._telemetry.measure(decided, candidates.name, seconds)
        return decided

    def _judge(
        self,
        forwarded: Forwarded,
        candidates: Alternatives | AnyPolicy,
        role: str | None,
        at: datetime | None,
    ) -> ClientIdentity | Denial:
        """Decide by the rules of the policies, and remember an accepted certificate.

        Args:
            forwarded: the text of the headers.
            candidates: the policies that are tried in order.
            role: the role that the accepted client must have; None to require no role.
            at: the time of the decision, a timezone-aware `datetime`; None for now.
        """
        presented = self._read(forwarded)
        if isinstance(presented, Finding):
            return Denial(*presented)
        first: Denial | None = None
        # The memories are read before the decision, so a result computed during a reload is stored
        # with the old snapshot.
        whole = candidates.memory()
        for alternatives in candidates.listed:
            memory = whole if alternatives is candidates else alternatives.memory()
            moment = at or whole_second()
            decided = alternatives.decide(presented, moment, memory.trust_stores)
            if isinstance(decided, Denial):
                first = first or decided
                continue
            identity, acceptance = decided
            look_again = identity.expiry.look(moment.timestamp(), self._expiry_warning_days)
            if at is None and acceptance.is_certain:
                memory.remember(forwarded, identity, acceptance.until, look_again)
                if whole is not memory:
                    whole.remember(forwarded, identity, acceptance.until, look_again)
            return _with_role(identity, role)
        return first or Denial(DenialReason.MISCONFIGURED, "there is no policy")

    def _read(self, forwarded: Forwarded) -> Presented | Finding:
        """Read the certificates that the front end forwarded."""
        certificates = []
        encoded = certificates_in(self._ingress.front_end, forwarded)
        if isinstance(encoded, Finding):
            return encoded
        for der in encoded:
            certificate = read_presented_certificate(der)
            if isinstance(certificate, Finding):
                return certificate
            certificates.append(certificate)
        leaf, *others = certificates
        return Presented(leaf, [other.x509 for other in others])

    def _entered(
        self,
        identity: ClientIdentity,
        environ: Mapping[str, Any] | None,
        scope: Mapping[str, Any] | None,
        at: datetime | None,
    ) -> None:
        """Record an entry once for each request: in the logs, the metrics and the expiry warnings.

        It raises no exception, because the decision is already made. If the logger of entries does
        not write INFO records, acceptances are not logged at all.
        """
        request = environ if scope is None else scope
        try:
            is_logged = entries.isEnabledFor(logging.INFO)
            if is_logged:
                write_acceptance(identity)
            if request is not None and not is_first_entry(request):
                return
            if is_logged:
                write_entry(identity, environ=environ, scope=scope)
            if self._telemetry is not None:
                self._telemetry.count_accepted(identity)
            expiry: Expiry | None = identity.expiry
            if expiry is not None and expiry.is_due:
                now = time.time() if at is None else at.timestamp()
                days_left = expiry.report(identity, now, self._expiry_warning_days)
                if days_left is not None and isinstance(request, dict):
                    request[DAYS_LEFT] = days_left
        except Exception:
            logger.exception("the entry of a client could not be recorded")

    def _denied(
        self,
        denial: Denial,
        policy: str | None,
        *,
        environ: Mapping[str, Any] | None = None,
        scope: Mapping[str, Any] | None = None,
        exc_info: bool = False,
    ) -> CertificateDenied:
        """Log and count a denial, and return its exception."""
        # After an error, `policy` may be of any type.
        name = str(policy or _DEFAULT)
        if self._telemetry is not None:
            self._telemetry.count_denied(denial, name)
        self._denials.write(denial, name, environ=environ, scope=scope, exc_info=exc_info)
        return denial.exception()

    def _fault(
        self,
        error: Exception,
        policy: str | None,
        *,
        environ: Mapping[str, Any] | None = None,
        scope: Mapping[str, Any] | None = None,
    ) -> CertificateDenied:
        """Log an unexpected error and return a denial, so that an error never lets a request in."""
        denial = Denial(DenialReason.MISCONFIGURED, f"an unexpected error: {quote(error)}")
        return self._denied(denial, policy, environ=environ, scope=scope, exc_info=True)


def _with_role(identity: ClientIdentity, role: str | None) -> ClientIdentity | Denial:
    """Check the role of an accepted client. The result is not remembered."""
    if role is None or (isinstance(role, str) and role in identity.roles):
        return identity
    who = "a client without an identity" if identity.name is None else quote(identity.name)
    granted = ", ".join(sorted(identity.roles)) or "none"
    return Denial(
        DenialReason.ROLE_NOT_GRANTED,
        f"the policy {quote(identity.policy)} accepts {who}, and grants the roles"
        f" {quote(granted)}, not {quote(role)}",
        identity.certificate,
        identity=identity.name,
        identity_label=identity.label,
    )


_NO_POLICY = "is neither a Policy nor a list of alternatives; write Policy(...), or a list of them"


class UnconfiguredAuthorizer(Authorizer):
    """The authorizer of an app without policies. It denies every request as `misconfigured`.

    With it, commands that import an app but do not serve requests work without settings.

    Args:
        problem: what is missing and what to write, for the log.
    """

    def __init__(self, problem: Problem) -> None:
        self._ingress = Ingress(front_end_from("app-service"))
        self._snapshot = _Snapshot({}, 0)
        self._file = None
        self._denials = DenialLog()
        self._telemetry = None
        self._denial = Denial(DenialReason.MISCONFIGURED, str(problem))

    def _decide(self, *_: object) -> Denial:
        return self._denial


def _telemetry(
    policies: Mapping[str, Sequence[Policy]], file: PolicyFile | None = None
) -> Telemetry:
    """Return the object that counts the decisions of the policies."""
    # Imported here, because it needs an extra.
    from arrcert.telemetry import Telemetry

    return Telemetry(policies, file)


def _are_policies(value: object) -> bool:
    """Return whether a value is a non-empty list or tuple of policies."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(policy, Policy) for policy in value)
