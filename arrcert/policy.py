"""Policies: which client certificates may enter."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, final

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import (
    ConfigurationError,
    Denial,
    Finding,
    Problem,
)
from arrcert.expiry import Ending
from arrcert.moments import whole_second
from arrcert.notation import Notation
from arrcert.presented import Presented
from arrcert.rules import (
    KEYS,
    RULES,
    Decision,
    KeyRule,
    NamesProvenByFrontEnd,
    PinRule,
    Roles,
    Rule,
    TrustAnchors,
)
from arrcert.shared_identities import IdentitySource
from arrcert.trust.files import Source, TrustFolder
from arrcert.trust.paths import TrustStore

logger = logging.getLogger("arrcert")

_Sources = Source | Iterable[Source]
_ListEntry = Source | Mapping[str, Source]
_PinEntry = str | Mapping[str, Any]


class Acceptance(NamedTuple):
    """The result of a policy that accepts a certificate.

    Attributes:
        until: the last time at which the certificate is accepted, as far as it is known now.
        is_certain: False if revocation could not be checked, but the policy accepts the
            certificate.
        note: the note of the matching pin; None without one.
        name: the name of the accepted client; None if the policy gives no name.
        roles: the roles of the accepted client.
        label: the name as it is written in the settings; None without a name.
        endings: everything that the acceptance depends on and that expires; the certificate first.
    """

    until: datetime
    is_certain: bool
    note: str | None = None
    name: str | None = None
    roles: frozenset[str] = frozenset()
    label: str | None = None
    endings: Sequence[Ending] = ()


@final
class Policy:
    """Which client certificates may enter.

    A certificate must satisfy every parameter that is given. In a parameter with a list, one
    matching entry is enough. Anybody can write any name into a certificate, so a policy with names
    also needs fingerprints or trust anchors.

    Args:
        fingerprints: SHA-256 or SHA-1 over the DER, in hex; colons, spaces and case are ignored.
            An entry may be `{"fingerprint": "...", "not_after": "2027-01-31", "note": "..."}`, and
            may also have an `identity` and `roles`.
        public_keys: SHA-256 of the SubjectPublicKeyInfo, in hex or base64. The pin still matches
            after a renewal with the same key. An entry may be a mapping with `public_key`, as in
            `fingerprints`.
        common_names: exact common names. The subject must have exactly one common name.
        dns_names: DNS names of the subject alternative name. Case is ignored, and the `*` in
            `*.partner.example` is exactly one label.
        uris: exact URIs of the subject alternative name. `spiffe://partner.example/*` is every URI
            below that folder.
        email_addresses: e-mail addresses of the subject alternative name. Case counts in the
            mailbox, but not in the host.
        issuers: exact names of the issuer. An entry without `=`, such as `"Contoso Issuing CA"`, is
            the issuer's only common name. An entry with `=`, such as `"CN=Contoso CA,O=Contoso"`,
            is the issuer's whole name in the form of RFC 4514.
        trust_anchors: CA certificates. The certification path must lead to one of them. The value
            is the path of a PEM or DER file, PEM text, or a list of these. A running site notices
            when a file is replaced.
        intermediates: CA certificates that may be part of the path, written as in `trust_anchors`.
        crls: revocation lists for every certificate below the anchor: PEM or DER files, folders, or
            PEM texts. An entry `{"file": "...", "distribution_point": "https://..."}` is a file
            with one list, whose distribution point is this URL. It states that the list also covers
            certificates that name no distribution point.
        revocation: `"hard"` (the default) denies if no current list covers a certificate of the
            path; `"soft"` accepts the certificate and logs that.
        clock_skew: the largest difference of clocks in seconds, 0 by default and at most 300. It
            applies to the validity of the certificate and of its path.
        names_proven_by_front_end: True if the front end checks certificates, so that names need no
            other proof. `Authorizer` refuses True if the front end only forwards certificates.
        identity: the name of the accepted client: a literal, or a template with exactly one of
            `{common_name}`, `{dns_name}`, `{uri}`, `{email_address}`, `{sha256_fingerprint}`. If
            the matching pin has an identity, that one is used instead.
        roles: the roles of the accepted client. The roles of the matching pin are added.

    Raises:
        ConfigurationError: all mistakes of the parameters together.

    A policy does not check the key usage or the certificate policies of the certificate (RFC 5280
    sections 4.2.1.3 and 4.2.1.4), nor OCSP.
    """

    def __init__(
        self,
        *,
        fingerprints: Iterable[_PinEntry] | None = None,
        public_keys: Iterable[_PinEntry] | None = None,
        common_names: Iterable[str] | None = None,
        dns_names: Iterable[str] | None = None,
        uris: Iterable[str] | None = None,
        email_addresses: Iterable[str] | None = None,
        issuers: Iterable[str] | None = None,
        trust_anchors: _Sources | None = None,
        intermediates: _Sources | None = None,
        crls: _ListEntry | Iterable[_ListEntry] | None = None,
        revocation: str = "hard",
        clock_skew: int = 0,
        names_proven_by_front_end: bool = False,
        identity: str | None = None,
        roles: Iterable[str] | None = None,
    ) -> None:
        # The parameters of this method are the keys of a policy. A new key needs only a new
        # parameter here.
        written = {key: value for key, value in locals().items() if key != "self"}
        self._read(written, Notation.PYTHON, TrustFolder())

    @classmethod
    def from_mapping(
        cls,
        written: Mapping[str, Any],
        notation: Notation,
        trust_folder: TrustFolder | None = None,
    ) -> Policy:
        """Make a policy from the mapping that settings hold.

        Args:
            written: a value for each key that is set. The keys are those of `KEYS`, and no value is
                None.
            notation: how the settings are written, for errors.
            trust_folder: opens the files; None opens them relative to the working directory.

        Raises:
            ConfigurationError: all mistakes together, each with its key.
        """
        policy = cls.__new__(cls)
        policy._read({**_DEFAULTS, **written}, notation, trust_folder or TrustFolder())
        return policy

    def _read(
        self, written: Mapping[str, Any], notation: Notation, trust_folder: TrustFolder
    ) -> None:
        """Make the rules of the keys that are written, and the rules that always hold."""
        # None means that the key is not set. A key with another default (such as `clock_skew`)
        # always has a value.
        rules = {
            key: KEYS[key](value, notation)
            for key, value in written.items()
            if value is not None or _DEFAULTS[key] is not None
        }
        for rule in rules.values():
            rule.place_in(trust_folder)
        problems = [Problem(key, mistake) for key in rules for mistake in rules[key].mistakes]
        problems += [problem for rule in rules.values() for problem in rule.join(rules)]
        if not any(rule.is_condition for rule in rules.values()):
            problems.append(
                Problem(
                    "",
                    "the policy has no condition and would allow everyone; write fingerprints or"
                    " trust_anchors",
                )
            )
        if problems:
            raise ConfigurationError(problems)
        self._key_rules = rules
        self._rules = tuple(
            rules[rule.key] if issubclass(rule, KeyRule) else rule()
            for rule in RULES
            if not issubclass(rule, KeyRule) or rule.key in rules
        )
        trust_anchors = rules.get(TrustAnchors.key)
        self._trust_files = trust_anchors.files if isinstance(trust_anchors, TrustAnchors) else None

    def __init_subclass__(cls) -> NoReturn:
        # A subclass that overrides `check` would have no effect on requests.
        raise TypeError("Policy cannot be subclassed; check your own rules after the authorizer")

    @property
    def names_proven_by_front_end(self) -> bool:
        """Whether the policy relies on the front end to prove the names in certificates."""
        rule = self._key_rules[NamesProvenByFrontEnd.key]
        return isinstance(rule, NamesProvenByFrontEnd) and rule.is_wanted

    def check(self, client_certificate: ClientCertificate, at: datetime | None = None) -> None:
        """Return None if the certificate may enter, else raise the first reason.

        Args:
            client_certificate: the certificate that a client presented.
            at: the time of the decision, a timezone-aware `datetime`; now by default.

        Raises:
            CertificateDenied: the certificate may not enter. The reason is that of the first rule
                that fails, such as `not_yet_valid`, `untrusted` or `no_identity`.
            ValueError: `at` is naive.
        """
        presented = Presented(client_certificate)
        decided = self.decide(presented, whole_second(at), self.trust_store())
        if isinstance(decided, Finding):
            raise Denial(*decided, client_certificate).exception()

    def trust_store(self) -> TrustStore | None:
        """Return the current snapshot of anchors, intermediates and lists, None without anchors.

        Two calls return the same object as long as no file has changed.
        """
        return None if self._trust_files is None else self._trust_files.current()

    def decide(
        self,
        presented: Presented,
        at: datetime,
        trust_store: TrustStore | None,
    ) -> Acceptance | Finding:
        """Decide about a certificate with one snapshot of the files.

        Args:
            presented: the certificate that a client presented, and what came with it.
            at: the time of the decision, a timezone-aware `datetime` in whole seconds.
            trust_store: the object that `trust_store` returned.

        Returns:
            The acceptance, or why the first rule that fails does so.
        """
        decision = Decision(presented, at, trust_store)
        for _, finding in self.findings(decision):
            return finding
        if decision.overlooked is not None:
            logger.warning(
                "accepted although revocation could not be checked: %s",
                Denial(*decision.overlooked, presented.certificate),
            )
        return Acceptance(
            decision.until,
            is_certain=decision.overlooked is None,
            note=decision.note or None,
            name=decision.name,
            roles=decision.roles,
            label=decision.label,
            endings=(
                Ending(presented.certificate, presented.certificate.not_valid_after_utc),
                *decision.endings,
            ),
        )

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules in the order of the decision."""
        return self._rules

    def findings(self, decision: Decision) -> Iterator[tuple[Rule, Finding]]:
        """Check the rules in order, and yield each rule that fails, with the finding.

        Args:
            decision: a new decision.

        `decide` takes only the first finding; `arrcert explain` takes all of them.
        """
        for rule in self._rules:
            finding = rule.check(decision)
            if finding is not None:
                yield rule, finding

    def warnings(self, at: datetime | None = None) -> list[Problem]:
        """Return a warning for each value that is probably a mistake or denies clients.

        Args:
            at: the time to check for, a timezone-aware `datetime`; now by default.

        These are pins, certificates and revocation lists that have expired, and several CAs that
        can issue each other's names.
        """
        moment, rules = whole_second(at), self._key_rules
        return [problem for rule in rules.values() for problem in rule.warnings(moment, rules)]

    def endings(self) -> list[Ending]:
        """Return the pins, CA certificates and revocation lists in use that have an end."""
        return [ending for rule in self._key_rules.values() for ending in rule.endings()]

    def granted_roles(self) -> frozenset[str]:
        """Return the roles that the policy can grant: its own, and those of its pins."""
        granted: frozenset[str] = frozenset()
        for rule in self._key_rules.values():
            if isinstance(rule, Roles):
                granted |= rule.granted
            elif isinstance(rule, PinRule):
                granted = granted.union(*(pin.roles for pin in rule.pins.described()))
        return granted

    def identity_sources(self) -> list[IdentitySource]:
        """Return the keys that give names to clients, for the warning about shared names."""
        rules = self._key_rules
        return [source for rule in rules.values() for source in rule.identity_sources(rules)]

    def __repr__(self) -> str:
        parts = [str(rule) for rule in self._key_rules.values() if str(rule)]
        return f"<Policy {', '.join(parts)}>"


_DEFAULTS: dict[str, Any] = Policy.__init__.__kwdefaults__ or {}

PARAMETERS = tuple(_DEFAULTS)
"""The parameters of `Policy`, which are the keys of a policy in the settings."""
