"""What is allowed to enter, and what counts as proof of where it comes from."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn, TypeVar, final

from cryptography.x509 import Certificate, Name

from arrcert import names
from arrcert.certificate import ClientCertificate
from arrcert.exceptions import (
    CertificateDenied,
    ConfigurationError,
    DenialReason,
    Problem,
    quote,
)
from arrcert.pins import Pin, fingerprint_pin, public_key_fingerprint, public_key_pin
from arrcert.trust.files import Source, TrustFiles
from arrcert.trust.paths import TrustStore, is_on_strong_curve, weakness_of_key

logger = logging.getLogger("arrcert")

LARGEST_CLOCK_SKEW = 300
"""Seconds; clocks that differ by more are to be set, not to be excused."""

_T = TypeVar("_T")
_Sources = Source | Iterable[Source]
_PinEntry = str | Mapping[str, Any]
_PinRule = Callable[[ClientCertificate, datetime], datetime | None]
_Rule = Callable[[ClientCertificate], None]


class Acceptance(NamedTuple):
    """A policy's yes.

    Attributes:
        until: the last moment for which it holds, as far as is known now.
        is_certain: whether it holds until then; False where revocation could not be checked and
            the policy accepts that.
    """

    until: datetime
    is_certain: bool


@final
class Policy:
    """Which client certificates may enter.

    Within a parameter any entry suffices; across parameters all must hold. Names prove nothing by
    themselves, so a policy that allows by name also holds a pin or trust anchors.

    Args:
        fingerprints: SHA-256 or SHA-1 over the DER, in hex; colons, spaces and case are ignored.
            An entry may be `{"fingerprint": "...", "not_after": "2027-01-31", "note": "..."}`.
        public_keys: SHA-256 of the SubjectPublicKeyInfo, in hex or base64; it survives a renewal
            with the same key. An entry may be a mapping with `public_key`, likewise.
        common_names: exact common names; the subject must hold exactly one.
        dns_names: DNS names of the subject alternative name, without case; `*.partner.example`
            stands for one label.
        uris: URIs of the subject alternative name, exact; `spiffe://partner.example/*` stands for
            all below that folder.
        email_addresses: e-mail addresses of the subject alternative name.
        issuers: exact names of the issuer. `"Contoso Issuing CA"` is its one common name; an entry
            with `=` in it is its whole name as RFC 4514 writes it, `"CN=Contoso CA,O=Contoso"`.
        trust_anchors: certificates to which a path must lead: the path of a PEM or DER file, PEM
            text, or a list of them. Files may be replaced under a running site.
        intermediates: CA certificates that may stand on the path; likewise.
        crls: revocation lists for every link of the path: PEM or DER files, folders, PEM texts.
        revocation: `"hard"` (the default) denies where no list speaks for a link, `"soft"` accepts
            and logs it.
        clock_skew: seconds by which clocks may differ, 0 by default and at most 300; applied to
            the validity of the certificate and of its path.
        names_proven_by_front_end: the front end checks certificates, so that names may stand
            without proof. `Authorizer` refuses it behind one that merely forwards.

    Raises:
        ConfigurationError: all mistakes of the parameters together.

    It does not check the key usage or the certificate policies of the certificate (RFC 5280
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
        crls: _Sources | None = None,
        revocation: str = "hard",
        clock_skew: int = 0,
        names_proven_by_front_end: bool = False,
    ) -> None:
        read = _Reader()
        self._fingerprints = read.pins("fingerprints", fingerprints, fingerprint_pin)
        self._public_keys = read.pins("public_keys", public_keys, public_key_pin)
        common = read.names("common_names", common_names, names.common_name)
        self._common_names = None if common is None else frozenset(common)
        self._dns_names = read.names("dns_names", dns_names, names.dns_name)
        self._uris = read.names("uris", uris, names.uri)
        self._email_addresses = read.names("email_addresses", email_addresses, names.email_address)
        issuer_names = read.names("issuers", issuers, names.issuer)
        self._issuers = None if issuer_names is None else frozenset(issuer_names)
        self._is_hard = read.choice("revocation", revocation, ("hard", "soft")) == "hard"
        self._clock_skew = read.seconds("clock_skew", clock_skew, LARGEST_CLOCK_SKEW)
        self.names_proven_by_front_end = read.truth(
            "names_proven_by_front_end", names_proven_by_front_end
        )
        self._trust_files = read.trust_files(trust_anchors, intermediates, crls)
        self.is_pinned = self._fingerprints is not None
        self._digests = [
            fact
            for fact, digits in (("sha256_fingerprint", 64), ("sha1_fingerprint", 40))
            if any(len(value) == digits for value in self._fingerprints or ())
        ]
        if crls is None and revocation == "soft":
            read.complain("revocation", "there are no crls to be soft about; write crls too")
        given = {
            "fingerprints": fingerprints,
            "public_keys": public_keys,
            "common_names": common_names,
            "dns_names": dns_names,
            "uris": uris,
            "email_addresses": email_addresses,
            "issuers": issuers,
            "trust_anchors": trust_anchors,
        }
        read.require_proof(
            [parameter for parameter, value in given.items() if value is not None],
            proven_by_front_end=bool(names_proven_by_front_end),
        )
        if read.problems:
            raise ConfigurationError(read.problems)
        self._pin_rules, self._rules = self._rules_in_order()

    def __init_subclass__(cls) -> NoReturn:
        # Whoever overrides `check` would believe that requests are held against it.
        raise TypeError(
            "Policy cannot be subclassed; write rules of your own behind the authorizer"
        )

    def check(self, client_certificate: ClientCertificate, at: datetime | None = None) -> None:
        """Return if the certificate may enter; the first rule that fails is the reason.

        Args:
            client_certificate: what a client presented.
            at: the moment, aware; now by default.

        Raises:
            CertificateDenied: any reason from `not_yet_valid` to `revocation_unknown`.
            ValueError: `at` is naive.
        """
        self.decide(client_certificate, whole_second(at), self.trust_store())

    def trust_store(self) -> TrustStore | None:
        """Return the snapshot of anchors, intermediates and lists of the moment, if there is one.

        Two answers are the same object as long as no file has changed.
        """
        return None if self._trust_files is None else self._trust_files.current()

    def lists_fingerprint_of(self, certificate: ClientCertificate) -> bool:
        """Tell whether a fingerprint of the certificate is pinned, retired pins included.

        Args:
            certificate: of which nothing is read but its bytes.
        """
        pins = self._fingerprints or {}
        for fact in self._digests:  # noqa: SIM110 - any() takes twice the time of a flood.
            if getattr(certificate, fact) in pins:
                return True
        return False

    def decide(
        self,
        certificate: ClientCertificate,
        at: datetime,
        trust_store: TrustStore | None,
        intermediates: Sequence[Certificate] = (),
    ) -> Acceptance:
        """Do as `check` does, against one snapshot, and tell until when the yes holds.

        Args:
            certificate: what a client presented.
            at: the moment, aware, in whole seconds.
            trust_store: what `trust_store` returned.
            intermediates: CA certificates that the front end forwarded with it; they help to build
                the path and prove nothing.

        Raises:
            CertificateDenied: as `check`.
        """
        until = self._check_validity(certificate, at)
        for check_pin in self._pin_rules:
            end = check_pin(certificate, at)
            if end is not None and end < until:
                until = end
        for check in self._rules:
            check(certificate)
        if trust_store is None:
            return Acceptance(until, True)
        path = trust_store.authenticate(certificate, at, self._clock_skew, intermediates)
        until = min(until, *(link.not_valid_after_utc for link in path))
        try:
            end = trust_store.check_revocation(certificate, path, at)
        except CertificateDenied as denied:
            if self._is_hard or denied.reason is not DenialReason.REVOCATION_UNKNOWN:
                raise
            logger.warning("accepted in spite of %s", denied)
            return Acceptance(until, is_certain=False)
        return Acceptance(min(until, end or until), is_certain=True)

    def _rules_in_order(self) -> tuple[list[_PinRule], list[_Rule]]:
        """Return the rules behind the validity and before the path; the first that fails denies."""
        by_name = (self._dns_names, self._uris, self._email_addresses)
        has_pins = self._fingerprints is not None or self._public_keys is not None
        pin_rules: list[tuple[bool, _PinRule]] = [
            (self._fingerprints is not None, self._check_fingerprint),
            (self._public_keys is not None, self._check_public_key),
        ]
        rules: list[tuple[bool, _Rule]] = [
            (self._common_names is not None, self._check_common_name),
            (any(names is not None for names in by_name), self._check_alternative_names),
            (self._issuers is not None, self._check_issuer),
            (True, self._check_usage),
            (True, self._check_key),
            (self._trust_files is None and not has_pins, self._refuse_unpinned_ca),
        ]
        return (
            [rule for is_wanted, rule in pin_rules if is_wanted],
            [rule for is_wanted, rule in rules if is_wanted],
        )

    def warnings(self, at: datetime | None = None) -> list[Problem]:
        """Return what does not stop the start, and is likely to be a mistake or to deny somebody.

        Args:
            at: the moment, aware; now by default.

        It tells of pins that have retired, certificates and lists that have ended, and of several
        CAs that could issue each other's names.
        """
        moment = whole_second(at)
        problems = [
            Problem(parameter, f"the pin {pin} retired at {pin.not_after}; remove it")
            for parameter, pins in (
                ("fingerprints", self._fingerprints),
                ("public_keys", self._public_keys),
            )
            for pin in (pins or {}).values()
            if pin.not_after is not None and pin.not_after < moment
        ]
        if self._trust_files is None:
            return problems
        problems += self._trust_files.warnings(moment)
        by_name = any((self._common_names, self._dns_names, self._uris, self._email_addresses))
        anchors = self._trust_files.anchors()
        if by_name and self._issuers is None and len(anchors) > 1:
            problems.append(
                Problem(
                    "trust_anchors",
                    f"each of the {len(anchors)} trust anchors may issue every name of this policy,"
                    " the others' too; write a list of alternatives, one policy for each CA with"
                    " its own names, or name the issuers",
                )
            )
        return problems

    def _check_validity(self, certificate: ClientCertificate, at: datetime) -> datetime:
        """RFC 5280 section 4.1.2.5: both ends belong to the validity."""
        # Added to the moment, which is far from the ends of the calendar, unlike hostile dates.
        if at + self._clock_skew < certificate.not_valid_before_utc:
            _deny(
                DenialReason.NOT_YET_VALID,
                f"valid from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ},"
                f" and it is {at:%Y-%m-%dT%H:%M:%SZ}",
                certificate,
            )
        if at - self._clock_skew > certificate.not_valid_after_utc:
            _deny(
                DenialReason.EXPIRED,
                f"valid until {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ},"
                f" and it is {at:%Y-%m-%dT%H:%M:%SZ}",
                certificate,
            )
        return certificate.not_valid_after_utc

    def _check_fingerprint(self, certificate: ClientCertificate, at: datetime) -> datetime | None:
        """Return until when the pin counts; None where it has no end."""
        pins = self._fingerprints or {}
        found = [pins.get(getattr(certificate, fact)) for fact in self._digests]
        return self._check_pin(found, certificate, at, pins, "certificates")

    def _check_public_key(self, certificate: ClientCertificate, at: datetime) -> datetime | None:
        pins = self._public_keys or {}
        found = [pins.get(public_key_fingerprint(certificate) or "")]
        return self._check_pin(found, certificate, at, pins, "public keys")

    def _check_pin(
        self,
        found: Sequence[Pin | None],
        certificate: ClientCertificate,
        at: datetime,
        pins: Sized,
        what: str,
    ) -> datetime | None:
        for pin in found:
            if pin is not None and (pin.not_after is None or at <= pin.not_after):
                return pin.not_after
        matching = [pin for pin in found if pin is not None]
        why = (
            f"the pin {quote(matching[0])} retired at {matching[0].not_after}"
            if matching
            else f"it is none of the {len(pins)} pinned {what}"
        )
        _deny(
            DenialReason.FINGERPRINT_NOT_ALLOWED,
            f"{why}; its thumbprint (SHA-1) is {certificate.sha1_fingerprint}",
            certificate,
        )

    def _check_common_name(self, certificate: ClientCertificate) -> None:
        if certificate.common_name in (self._common_names or ()):
            return
        found = (
            "the subject does not hold exactly one common name"
            if certificate.common_name is None
            else f"the common name {quote(certificate.common_name)} is not allowed"
        )
        _deny(DenialReason.COMMON_NAME_NOT_ALLOWED, found, certificate)

    def _check_alternative_names(self, certificate: ClientCertificate) -> None:
        for allowed, fact, what in (
            (self._dns_names, "dns_names", "DNS names"),
            (self._uris, "uris", "URIs"),
            (self._email_addresses, "email_addresses", "e-mail addresses"),
        ):
            if allowed is None:
                continue
            found: tuple[str, ...] = getattr(certificate, fact)
            if not names.any_matches(allowed, found):
                held = ", ".join(found) or "none"
                _deny(
                    DenialReason.COMMON_NAME_NOT_ALLOWED,
                    f"none of the {what} of its subject alternative name is allowed; it holds"
                    f" {quote(held)}",
                    certificate,
                )

    def _check_issuer(self, certificate: ClientCertificate) -> None:
        issuers: Collection[str | Name] = self._issuers or ()
        if certificate.issuer_common_name in issuers or certificate.x509.issuer in issuers:
            return
        turned = Name(reversed(certificate.x509.issuer.rdns)) in issuers
        hint = "; the list holds it the other way round, most general first" if turned else ""
        _deny(
            DenialReason.ISSUER_NOT_ALLOWED,
            f"the issuer {quote(certificate.issuer)} is not allowed{hint}",
            certificate,
        )

    def _check_usage(self, certificate: ClientCertificate) -> None:
        """RFC 5280 section 4.2.1.12: who has the extension must hold clientAuth.

        anyExtendedKeyUsage alone does not suffice, as cryptography and OpenSSL hold it.
        """
        if certificate.permits_client_auth:
            return
        usages = certificate.extended_key_usages or ()
        held = ", ".join(usage.dotted_string for usage in usages) or "none"
        _deny(
            DenialReason.WRONG_USAGE,
            f"its extended key usage lacks clientAuth; it holds {quote(held)}",
            certificate,
        )

    def _check_key(self, certificate: ClientCertificate) -> None:
        # A pin vouches for the very bytes, so that the curve says enough of the key.
        if self.is_pinned and is_on_strong_curve(certificate):
            return
        weakness = weakness_of_key(certificate)
        if weakness is not None:
            _deny(DenialReason.WEAK_KEY, f"it {weakness}", certificate)

    def _refuse_unpinned_ca(self, certificate: ClientCertificate) -> None:
        if certificate.is_ca:
            _deny(
                DenialReason.UNTRUSTED,
                "it is a CA certificate (CA:TRUE), which is a client's only where it is pinned",
                certificate,
            )

    def __repr__(self) -> str:
        rules: dict[str, Any] = {
            "fingerprints": self._fingerprints,
            "public_keys": self._public_keys,
            "common_names": self._common_names,
            "dns_names": self._dns_names,
            "uris": self._uris,
            "email_addresses": self._email_addresses,
            "issuers": self._issuers,
        }
        parts = [f"{len(rule)} {name}" for name, rule in rules.items() if rule is not None]
        if self._trust_files is not None:
            parts.append("trust_anchors")
        if self.names_proven_by_front_end:
            parts.append("names_proven_by_front_end")
        return f"<Policy {', '.join(parts)}>"


PARAMETERS: tuple[str, ...] = tuple(Policy.__init__.__kwdefaults__ or ())
"""The names of `Policy`'s parameters: the keys of a policy in the settings."""


UNRESOLVED_REFERENCE = (
    "is a Key Vault reference that App Service did not resolve; the portal shows why under"
    " Environment variables (most often the site's identity may not read the secret)"
)
"""What is said of a value that `is_unresolved_reference`."""


def is_unresolved_reference(text: str) -> bool:
    """Tell whether a setting's text is a Key Vault reference instead of the secret it names.

    App Service leaves a reference that it cannot resolve as it was written:
    https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
    """
    return text.lstrip().lower().startswith("@microsoft.keyvault(")


def _deny(reason: DenialReason, detail: str, certificate: ClientCertificate) -> NoReturn:
    raise CertificateDenied(reason, detail, certificate=certificate)


def whole_second(at: datetime | None = None) -> datetime:
    """Return the moment as certificates count it, in whole seconds of UTC.

    Args:
        at: aware; now by default.

    Raises:
        ValueError: it is naive.
    """
    if at is None:
        return datetime.fromtimestamp(int(time.time()), UTC)
    if at.utcoffset() is None:
        raise ValueError("at must be an aware datetime; write datetime.now(UTC), not utcnow()")
    return at.astimezone(UTC).replace(microsecond=0)


def _texts_in(entry: object) -> list[str]:
    texts = entry.values() if isinstance(entry, Mapping) else [entry]
    return [text for text in texts if isinstance(text, str)]


class _Reader:
    """Reads a policy's parameters and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def complain(self, parameter: str, message: str) -> None:
        self.problems.append(Problem(parameter, message))

    def pins(
        self, parameter: str, value: object, parse: Callable[[object], Pin]
    ) -> dict[str, Pin] | None:
        """Read a list of pins; None where the parameter is not given."""
        pins: dict[str, Pin] | None = None if value is None else {}
        for pin in self._entries(parameter, value, parse):
            pins = {} if pins is None else pins
            if pins.setdefault(pin.value, pin).not_after != pin.not_after:
                self.complain(
                    parameter, f"{pin.value} stands twice, with different ends; drop one of them"
                )
        return pins

    def names(
        self, parameter: str, value: object, parse: Callable[[str], _T]
    ) -> tuple[_T, ...] | None:
        """Read a list of text; None where the parameter is not given."""

        def parse_text(entry: object) -> _T:
            if not isinstance(entry, str):
                raise ValueError("is not text; write it as a string")
            if not entry.strip():
                raise ValueError("is empty; write an entry, or leave it out")
            return parse(entry)

        entries = self._entries(parameter, value, parse_text)
        return None if value is None else tuple(entries)

    def _entries(
        self, parameter: str, value: object, parse: Callable[[object], _T]
    ) -> Sequence[_T]:
        if value is None:
            return ()
        if not isinstance(value, list | tuple | set | frozenset):
            hint = f"write a list: [{quote(value)}]" if isinstance(value, str) else "write a list"
            self.complain(parameter, f"{quote(value)} is not a list; {hint}")
            return ()
        if not value:
            self.complain(
                parameter,
                "the list is empty and would allow nobody; write an entry, or leave it out",
            )
        parsed: list[_T] = []
        for entry in value:
            try:
                if any(map(is_unresolved_reference, _texts_in(entry))):
                    raise ValueError(UNRESOLVED_REFERENCE)
                parsed.append(parse(entry))
            except ValueError as error:
                self.complain(parameter, f"{quote(entry)} {error}")
        return parsed

    def choice(self, parameter: str, value: object, choices: Sequence[str]) -> str:
        """Read one of several words."""
        if isinstance(value, str) and value in choices:
            return value
        self.complain(parameter, f"{quote(value)} is not known; write one of {', '.join(choices)}")
        return choices[0]

    def seconds(self, parameter: str, value: object, largest: int) -> timedelta:
        """Read a number of seconds."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest:
            return timedelta(seconds=value)
        self.complain(
            parameter, f"{quote(value)} is no whole number of seconds; write 0 to {largest}"
        )
        return timedelta()

    def truth(self, parameter: str, value: object) -> bool:
        """Read True or False."""
        if isinstance(value, bool):
            return value
        self.complain(parameter, f"{quote(value)} is not a truth value; write True or False")
        return False

    def trust_files(
        self, trust_anchors: object, intermediates: object, crls: object
    ) -> TrustFiles | None:
        """Read the files; None where there are no trust anchors."""
        anchors = self._sources("trust_anchors", trust_anchors)
        between = self._sources("intermediates", intermediates)
        lists = self._sources("crls", crls)
        for parameter, value in (("intermediates", intermediates), ("crls", crls)):
            if value is not None and trust_anchors is None:
                self.complain(
                    parameter,
                    "there are no trust_anchors for a path to lead to; write trust_anchors too",
                )
        if not anchors:
            return None
        try:
            return TrustFiles(anchors, between, None if crls is None else lists)
        except ConfigurationError as error:
            self.problems += error.problems
            return None

    def _sources(self, parameter: str, value: object) -> list[Source]:
        if value is None:
            return []
        sources = value if isinstance(value, list | tuple | set | frozenset) else [value]
        if not sources:
            self.complain(
                parameter, "the list is empty; write the path of a PEM or DER file, or leave it out"
            )
        readable: list[Source] = []
        for source in sources:
            if isinstance(source, bytes | bytearray):
                self.complain(parameter, "is bytes; write PEM text (.decode()), or a file's path")
            elif not isinstance(source, str | os.PathLike) or source == "":
                self.complain(
                    parameter, f"{quote(source)} is neither a PEM or DER file's path nor PEM text"
                )
            elif isinstance(source, str) and is_unresolved_reference(source):
                self.complain(parameter, f"{quote(source)} {UNRESOLVED_REFERENCE}")
            else:
                readable.append(source)
        return readable

    def require_proof(self, given: Sequence[str], *, proven_by_front_end: bool) -> None:
        """Hold the law "proof or no start" against a policy."""
        if not given:
            self.complain(
                "",
                "the policy holds no condition and would allow everyone; write fingerprints or"
                " trust_anchors",
            )
        if proven_by_front_end or {"fingerprints", "public_keys", "trust_anchors"} & set(given):
            return
        for parameter in given:
            self.complain(
                parameter,
                "a name proves nothing, since anybody can issue a certificate with it; write"
                " trust_anchors (the CA's certificate) or fingerprints beside it",
            )
