"""The rules of a policy: one class for each policy key, and three rules that always hold.

The class of a key defines how the key is written, what it proves, and how it decides. The rules are
checked in the order in which this module defines them. The first rule that fails is the reason of a
denial. To add a key, define its class here and add the parameter to the signature of `Policy`.
"""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from cryptography.x509 import Name
from cryptography.x509.oid import ExtendedKeyUsageOID

from arrcert import names
from arrcert.exceptions import ConfigurationError, DenialReason, Finding, Problem, quote
from arrcert.expiry import Ending
from arrcert.identity import (
    IdentityTemplate,
    identity_from,
    roles_from,
    why_no_name,
)
from arrcert.key_vault import UNRESOLVED_REFERENCE, is_unresolved_reference
from arrcert.keys import SMALLEST_CURVE, SMALLEST_RSA_KEY, description_of_key
from arrcert.moments import timestamp
from arrcert.names import MOST_MATCHES
from arrcert.notation import Form, Notation
from arrcert.pins import Pin, Pins, digest_of_digits, fingerprint_pin, public_key_pin
from arrcert.presented import Presented
from arrcert.shared_identities import IdentitySource
from arrcert.trust.files import ListOfPoint, Source, TrustFiles, TrustFolder
from arrcert.trust.paths import Path, TrustStore

MOST_HINTS = 20
"""How many names of a certificate are compared without regard to case for a hint in a denial, and
how many usages a denial shows."""

LARGEST_CLOCK_SKEW = 300
"""The largest clock skew in seconds. If clocks differ by more, correct them instead."""


class Decision:
    """A decision about one certificate under one policy, while its rules are checked.

    Each rule reads its input from this object. A rule that passes stores here what later rules and
    the result need.

    Args:
        presented: the client certificate and what came with it.
        at: the time of the decision, a timezone-aware `datetime` in whole seconds.
        trust_store: the policy's current trust store, None without trust anchors.

    Attributes:
        certificate: the client certificate.
        until: the last time at which the certificate is accepted, a timezone-aware `datetime`.
        endings: what else the acceptance depends on and expires, such as CA certificates and pins.
        clock_skew: the largest difference of clocks.
        pin: the pin that matches the certificate or its public key, None if there is none.
        name: the name of the client, None if there is none yet.
        label: the name as it is written in the settings: a template stays a template.
        roles: the roles of the client.
        note: the note of the matching pin, empty without one.
        path: the certification path, None if there is none yet.
        has_allowed_issuer: whether the policy restricts issuers and allows the issuer of this
            certificate.
        overlooked: a finding that the policy ignores, and that is only logged; None without one.
    """

    def __init__(
        self,
        presented: Presented,
        at: datetime,
        trust_store: TrustStore | None,
    ) -> None:
        self.presented = presented
        self.certificate = presented.certificate
        self.at = at
        self.trust_store = trust_store
        self.until = presented.certificate.not_valid_after_utc
        self.endings: list[Ending] = []
        self.clock_skew = timedelta()
        self.pin: Pin | None = None
        self.name: str | None = None
        self.label: str | None = None
        self.roles: frozenset[str] = frozenset()
        self.note = ""
        self.path: Path | None = None
        self.has_allowed_issuer = False
        self.overlooked: Finding | None = None

    def match(self, pin: Pin) -> None:
        """Store a pin that matches. A certificate and its public key may both be pinned."""
        self.pin = self.pin or pin
        self.name = self.label = self.name or pin.identity
        self.roles |= pin.roles
        self.note = self.note or pin.note
        self.ends_at(pin.not_after)
        if pin.not_after is not None:
            self.endings.append(Ending(pin, pin.not_after))

    def ends_at(self, moment: datetime | None) -> None:
        """Limit the acceptance to a last time. None changes nothing."""
        if moment is not None and moment < self.until:
            self.until = moment


RULES: list[type[Rule]] = []
"""Every rule in the order of the decision, which is the order of the classes below."""


class Rule(ABC):
    """One condition that a certificate must meet.

    A subclass is a rule of the decision, unless it is defined with `is_base=True`.

    Class attributes:
        label: the name of the rule in `arrcert explain`. For the rule of a key it is the key.
        needs_path: whether the rule can be judged only if there is a certification path.
    """

    label: ClassVar[str]
    needs_path: ClassVar[bool] = False

    def __init_subclass__(cls, *, is_base: bool = False) -> None:
        if not is_base:
            RULES.append(cls)

    @abstractmethod
    def check(self, decision: Decision) -> Finding | None:
        """Return why the certificate fails the rule, or None if it passes."""

    def wanted(self, decision: Decision) -> str:
        """Return what the rule requires of a certificate, escaped; empty if it requires nothing.

        Args:
            decision: the decision, after all rules were checked.
        """
        return ""

    def found(self, decision: Decision) -> str:
        """Return what meets the rule, escaped. It is called only if the rule passes.

        Args:
            decision: the decision, after all rules were checked.
        """
        return ""


class KeyRule(Rule, is_base=True):
    """The rule of one policy key.

    Args:
        value: the value of the key in the policy.
        notation: how the policy is written, for errors.

    Class attributes:
        key: the key.
        form: how the key's flat environment variable is written.
        document: the line of the key in the table of settings, as Markdown.
        is_condition: whether the key restricts who may enter.
        is_name: whether the key restricts names, which need proof.

    Attributes:
        mistakes: what is wrong with the value, for the operator.
        proves_names: whether the key proves where the names in a certificate come from.
    """

    key: ClassVar[str]
    form: ClassVar[Form] = Form.LIST
    document: ClassVar[str]
    is_condition: ClassVar[bool] = False
    is_name: ClassVar[bool] = False
    proves_names: bool = False

    def __init_subclass__(cls, *, is_base: bool = False) -> None:
        super().__init_subclass__(is_base=is_base)
        if not is_base and "label" not in vars(cls):
            cls.label = cls.key

    def __init__(self, value: object, notation: Notation) -> None:
        self.mistakes: list[str] = []
        self.read(value, notation)

    @abstractmethod
    def read(self, value: object, notation: Notation) -> None:
        """Read the value, and add what is wrong with it to `mistakes`."""

    def place_in(self, trust_folder: TrustFolder) -> None:
        """Get the object that opens the files of the policy. This is called once, before `join`."""
        return

    def join(self, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Compare with the other keys of the policy, and yield each mistake in the combination.

        Args:
            rules: the rule of each key that the policy holds.
        """
        yield from ()

    def check(self, decision: Decision) -> Finding | None:
        """Return why the certificate fails the rule.

        A key that only supplies data to other rules never fails.
        """
        return None

    def warnings(self, at: datetime, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield a warning for each value that is probably a mistake or denies clients.

        Args:
            at: the current time, a timezone-aware `datetime`.
            rules: the rule of each key that the policy holds.
        """
        yield from ()

    def endings(self) -> Iterator[Ending]:
        """Yield the entries of the key that expire, as they are now."""
        yield from ()

    def identity_sources(self, rules: Mapping[str, KeyRule]) -> Iterator[IdentitySource]:
        """Yield the names that the key can give to accepted clients.

        Args:
            rules: the rule of each key that the policy holds.
        """
        yield from ()

    def __str__(self) -> str:
        """Return the text for the key in the `repr` of a policy; empty for no text."""
        return ""


class ListRule(KeyRule, is_base=True):
    """The rule of a key that holds a list of entries, one of which must match."""

    is_condition = True

    def read(self, value: object, notation: Notation) -> None:
        """Read each entry."""
        self.count = 0
        if not isinstance(value, list | tuple | set | frozenset):
            hint = "write a list"
            if isinstance(value, str):
                # The text may be no entry of a list either, such as a path in `fingerprints`.
                self.read_entry(value)
                mistakes = [f"; in it, {mistake}" for mistake in self.mistakes]
                hint += "".join(mistakes) or f": [{quote(value)}]"
                self.mistakes.clear()
            self.mistakes.append(f"{quote(value)} is not a list; {hint}")
            return
        if not value:
            self.mistakes.append(
                "the list is empty and would allow nobody; write an entry, or leave it out"
            )
        self.count = len(value)
        for entry in value:
            self.read_entry(entry)

    def read_entry(self, entry: object) -> None:
        """Add an entry, or the mistake in it."""
        texts = entry.values() if isinstance(entry, Mapping) else [entry]
        try:
            for text in texts:
                if isinstance(text, str) and is_unresolved_reference(text):
                    raise ValueError(UNRESOLVED_REFERENCE)
            self.add(entry)
        except ValueError as error:
            self.mistakes.append(f"{quote(entry)} {error}")

    @abstractmethod
    def add(self, entry: object) -> None:
        """Add an entry.

        Raises:
            ValueError: the entry is not valid. The message says why, and what to write instead.
        """

    def __str__(self) -> str:
        return f"{self.count} {self.key}"


class PinRule(ListRule, is_base=True):
    """The rule of a key that pins certificates or public keys.

    Class attributes:
        lengths: how many bytes a digest may have.
    """

    lengths: ClassVar[tuple[int, ...]]

    def read(self, value: object, notation: Notation) -> None:
        """Read each pin."""
        self.pins = Pins()
        super().read(value, notation)
        self.count = len(self.pins)

    def read_entry(self, entry: object) -> None:
        """Add a pin, or the mistake in it."""
        digest = digest_of_digits(entry)
        if digest is None or len(digest) not in self.lengths:
            super().read_entry(entry)
        elif not self.pins.add_digits(digest):
            self.add_pin(Pin(digest.hex().upper()))

    def add_pin(self, pin: Pin) -> None:
        """Add a pin. It may be listed twice, but only with the same end, identity and roles."""
        other = self.pins.add(pin)
        if other.not_after != pin.not_after:
            self.mistakes.append(
                f"{pin.value} is listed twice with different ends; remove one of them"
            )
        if (other.identity, other.roles) != (pin.identity, pin.roles):
            self.mistakes.append(
                f"{pin.value} is listed twice with different identities or roles; remove one of"
                " them"
            )

    @property
    def names_holders(self) -> bool:
        """Whether at least one pin has an identity."""
        return any(pin.identity is not None for pin in self.pins.described())

    def endings(self) -> Iterator[Ending]:
        """Yield the pins that have an end."""
        for pin in self.pins.described():
            if pin.not_after is not None:
                yield Ending(pin, pin.not_after)

    def identity_sources(self, rules: Mapping[str, KeyRule]) -> Iterator[IdentitySource]:
        """Yield the identities of the pins."""
        held = frozenset(pin.identity for pin in self.pins.described() if pin.identity is not None)
        if held:
            yield IdentitySource(self.key, IdentityTemplate(""), held, only_issuer(rules))

    def check_pins(
        self, decision: Decision, found: Sequence[str | None], denied: str
    ) -> Finding | None:
        """Return why none of some fingerprints is pinned, None if one is.

        Args:
            decision: the decision.
            found: the fingerprints of the certificate.
            denied: the detail if none of them is pinned.
        """
        pins = [pin for pin in map(self.pins.find, found) if pin is not None]
        for pin in pins:
            if pin.not_after is None or decision.at <= pin.not_after:
                decision.match(pin)
                return None
        if pins:
            denied = f"the pin {quote(pins[0])} expired at {pins[0].not_after}"
        return Finding(
            DenialReason.FINGERPRINT_NOT_ALLOWED,
            f"{denied}; its thumbprint (SHA-1) is {decision.certificate.sha1_fingerprint}",
        )

    def wanted(self, decision: Decision) -> str:
        """Return the first pins."""
        first = [str(pin) for pin in itertools.islice(self.pins, MOST_SHOWN)]
        return _one_of(first, len(self.pins))

    def shown_pin(self, found: Sequence[str | None]) -> str:
        """Return the pins of some fingerprints."""
        pins = [pin for pin in map(self.pins.find, found) if pin is not None]
        return " and ".join(
            f"the pin {quote(pin)}"
            + ("" if pin.not_after is None else f", until {timestamp(pin.not_after)}")
            for pin in pins
        )

    def warnings(self, at: datetime, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield a warning for each pin after its end date."""
        for pin in self.pins.described():
            if pin.not_after is not None and pin.not_after < at:
                whose = "" if pin.identity is None else f" of {quote(pin.identity)}"
                yield Problem(
                    self.key,
                    f"the pin {pin}{whose} expired at {pin.not_after}; remove it, or extend its"
                    " not_after if the partner still uses it",
                )


def problem_of_proof(key: str, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
    """Yield an error if no key of a policy proves where the names in a certificate come from.

    Args:
        key: the key that relies on names.
        rules: the rule of each key that the policy holds.
    """
    if any(rule.proves_names for rule in rules.values()):
        return
    if PublicKeys.key in rules:
        yield Problem(
            key,
            "public_keys prove who holds a key, but not the names in the certificate: the holder"
            " of one pinned key can write any name into a certificate and sign it; also write"
            " trust_anchors or fingerprints, or leave the names out",
        )
    else:
        yield Problem(
            key,
            "a name proves nothing, because anybody can issue a certificate with it; also write"
            " trust_anchors (the CA's certificate) or fingerprints",
        )


class NameRule(ListRule, is_base=True):
    """The rule of a key that restricts names. The policy needs another key that proves them."""

    is_name = True

    def read(self, value: object, notation: Notation) -> None:
        """Read each name."""
        self._entries: dict[str, str] = {}
        super().read(value, notation)

    def join(self, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield an error if no key of the policy proves the names."""
        yield from problem_of_proof(self.key, rules)

    def add(self, entry: object) -> None:
        """Add an entry, which must be text."""
        if not isinstance(entry, str):
            raise ValueError("is not text; write it as a string")
        if not entry.strip():
            raise ValueError("is empty; write an entry, or leave it out")
        self.add_name(entry)
        self._entries[entry.lower()] = entry

    @abstractmethod
    def add_name(self, entry: str) -> None:
        """Add a name.

        Raises:
            ValueError: the entry is not valid. The message says why, and what to write instead.
        """

    def wanted(self, decision: Decision) -> str:
        """Return the first names."""
        return _one_of(list(self._entries.values()))

    def hint_of_case(self, found: Iterable[str]) -> str:
        """Return the end of a detail if a name differs from an entry only in case, else "".

        Args:
            found: the names of the certificate.
        """
        for name in found:
            entry = self._entries.get(name.lower(), name)
            if entry != name:
                return f"; {quote(name)} differs from {quote(entry)} only in upper and lower case"
        return ""


class SourceRule(KeyRule, is_base=True):
    """The rule of a key that holds paths or PEM texts."""

    def read(self, value: object, notation: Notation) -> None:
        """Read each path or PEM text; the files are opened by `TrustAnchors`."""
        self.sources: list[Source] = []
        sources = value if isinstance(value, list | tuple | set | frozenset) else [value]
        if not sources:
            self.mistakes.append(
                "the list is empty; write the path of a PEM or DER file, or leave it out"
            )
        for source in sources:
            self.add(source)

    def add(self, entry: object) -> None:
        """Add an entry to `sources`, or a mistake.

        Args:
            entry: what is written.
        """
        source = self.source(entry)
        if source is not None:
            self.sources.append(source)

    def source(self, written: object) -> Source | None:
        """Return a path or PEM text; add a mistake and return None if it is neither.

        Args:
            written: what is written.
        """
        if isinstance(written, bytes | bytearray):
            self.mistakes.append("is bytes; write PEM text (.decode()), or a file's path")
        elif not isinstance(written, str | os.PathLike) or written == "":
            self.mistakes.append(
                f"{quote(written)} is neither a PEM or DER file's path nor PEM text"
            )
        elif isinstance(written, str) and is_unresolved_reference(written):
            self.mistakes.append(f"{quote(written)} {UNRESOLVED_REFERENCE}")
        else:
            return written
        return None

    def place_in(self, trust_folder: TrustFolder) -> None:
        """Make the paths relative to the folder."""
        self.sources = [trust_folder.place(source) for source in self.sources]

    def entries(self) -> list[str | dict[str, str]]:
        """Return the entries as settings hold them, for a policy that can be pasted."""
        return [str(source) for source in self.sources]

    def join(self, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield an error if the policy has no `trust_anchors`."""
        if TrustAnchors.key not in rules:
            yield Problem(
                self.key,
                "they have no effect without trust anchors; write trust_anchors too",
            )


class ClockSkew(KeyRule):
    """`clock_skew`, and the validity of the certificate (RFC 5280 section 4.1.2.5)."""

    key = "clock_skew"
    label = "validity"
    form = Form.NUMBER
    document = (
        "seconds by which clocks may differ: 0 by default, at most 300. It applies to the"
        " validity of the certificate and of its path."
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read a whole number of seconds."""
        self._clock_skew = timedelta()
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and 0 <= value <= LARGEST_CLOCK_SKEW
        ):
            self._clock_skew = timedelta(seconds=value)
        else:
            self.mistakes.append(
                f"{quote(value)} is not a whole number of seconds; write 0 to {LARGEST_CLOCK_SKEW}"
            )

    def check(self, decision: Decision) -> Finding | None:
        """Return why the certificate is not valid now; both dates are inclusive."""
        decision.clock_skew = self._clock_skew
        begin = decision.certificate.not_valid_before_utc
        end = decision.certificate.not_valid_after_utc
        # Add the skew to the current time. An attacker chooses the certificate's dates, so adding
        # it to them could overflow.
        if decision.at + self._clock_skew < begin:
            return Finding(
                DenialReason.NOT_YET_VALID,
                f"valid from {timestamp(begin)}, and it is {timestamp(decision.at)}",
            )
        if decision.at - self._clock_skew > end:
            return Finding(
                DenialReason.EXPIRED,
                f"valid until {timestamp(end)}, and it is {timestamp(decision.at)}",
            )
        return None

    def wanted(self, decision: Decision) -> str:
        """Return the time, and the largest difference of clocks."""
        skew = int(self._clock_skew.total_seconds())
        return f"valid at {timestamp(decision.at)}" + (f", plus or minus {skew} s" if skew else "")

    def found(self, decision: Decision) -> str:
        """Return the dates of the certificate."""
        certificate = decision.certificate
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return f"valid from {timestamp(begin)} until {timestamp(end)}"


class Fingerprints(PinRule):
    """`fingerprints`: SHA-256 or SHA-1 over the DER of the certificate."""

    key = "fingerprints"
    document = (
        "SHA-256 or SHA-1 of the whole certificate in DER, in hex (App Service calls the SHA-1"
        " *thumbprint*). Colons, spaces and case do not matter. Proof."
    )
    proves_names = True
    lengths = (32, 20)

    def add(self, entry: object) -> None:
        """Add a fingerprint."""
        self.add_pin(fingerprint_pin(entry))

    def check(self, decision: Decision) -> Finding | None:
        """Return why the certificate is not pinned."""
        certificate = decision.certificate
        return self.check_pins(
            decision,
            (certificate.sha256_fingerprint, certificate.sha1_fingerprint),
            f"it is none of the {len(self.pins)} pinned certificates",
        )

    def found(self, decision: Decision) -> str:
        """Return the pin of the certificate."""
        certificate = decision.certificate
        return self.shown_pin((certificate.sha256_fingerprint, certificate.sha1_fingerprint))


class PublicKeys(PinRule):
    """`public_keys`: SHA-256 over the SubjectPublicKeyInfo (RFC 7469 section 2.4)."""

    key = "public_keys"
    document = (
        "SHA-256 of the public key (SubjectPublicKeyInfo), in hex or base64, with or without"
        " `sha256/`. It stays the same if a certificate is renewed with the same key. Proof of"
        " who holds the key, but not of the names in the certificate."
    )
    lengths = (32,)

    def add(self, entry: object) -> None:
        """Add the fingerprint of a public key."""
        self.add_pin(public_key_pin(entry))

    def join(self, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield an error if pins of certificates and of public keys both name their holders."""
        fingerprints = rules.get(Fingerprints.key)
        if (
            self.names_holders
            and isinstance(fingerprints, Fingerprints)
            and fingerprints.names_holders
        ):
            yield Problem(
                self.key,
                "its pins have identities, and so have those of fingerprints, so one certificate"
                " could have two; write the identities on the pins of one of the two keys",
            )

    def check(self, decision: Decision) -> Finding | None:
        """Return why the public key is not pinned."""
        found = decision.presented.public_key_fingerprint
        return self.check_pins(
            decision,
            (found,),
            f"it is none of the {len(self.pins)} pinned public keys; the SHA-256 of its public key"
            f" is {found or 'unknown, as the key cannot be read'}",
        )

    def found(self, decision: Decision) -> str:
        """Return the pin of the public key."""
        return self.shown_pin((decision.presented.public_key_fingerprint,))


class CommonNames(NameRule):
    """`common_names`: the subject's one common name."""

    key = "common_names"
    document = (
        "exact common names; a `*` has no special meaning. The subject must hold exactly one common"
        " name. Needs proof."
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read each common name."""
        self._names: set[str] = set()
        super().read(value, notation)

    def add_name(self, entry: str) -> None:
        """Add a common name."""
        name = names.common_name(entry)
        self._names.add(name)

    def matching(self, presented: Presented) -> list[str]:
        """Return the common name if it is allowed."""
        return [name for name in only_common_name(presented) if name in self._names]

    def possible(self) -> set[str] | None:
        """Return every name that can match."""
        return self._names

    def check(self, decision: Decision) -> Finding | None:
        """Return why the common name is not allowed."""
        found = decision.certificate.common_name
        if found in self._names:
            return None
        if found is None:
            detail = "the subject does not hold exactly one common name"
        else:
            detail = f"the common name {quote(found)} is not allowed{self.hint_of_case([found])}"
        return Finding(DenialReason.COMMON_NAME_NOT_ALLOWED, detail)

    def found(self, decision: Decision) -> str:
        """Return the common name."""
        return quote(decision.certificate.common_name)

    def warnings(self, at: datetime, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield each name that looks like a pattern."""
        for name in sorted(self._names):
            if "*" in name:
                yield Problem(
                    self.key,
                    f"{quote(name)} holds a *, and common names are compared exactly; write each"
                    " name, or use dns_names, which knows *.partner.example",
                )


class AlternativeNameRule(NameRule, is_base=True):
    """The rule of a key that restricts one kind of subject alternative names.

    Class attributes:
        what: the kind of names, in the plural.
    """

    what: ClassVar[str]

    @abstractmethod
    def matching(self, presented: Presented) -> list[str]:
        """Return the first names of a certificate that are allowed."""

    @abstractmethod
    def possible(self) -> set[str] | None:
        """Return every name that can match, None if they cannot be listed."""

    def none_allowed(self, shown: str, hint: str = "") -> Finding:
        """Return that none of the names of a certificate is allowed.

        Args:
            shown: the names of the certificate in quotation marks.
            hint: the end of the detail.
        """
        return Finding(
            DenialReason.ALTERNATIVE_NAME_NOT_ALLOWED,
            f"none of the {self.what} of its subject alternative name is allowed; it holds"
            f" {shown}{hint}",
        )


class DNSNames(AlternativeNameRule):
    """`dns_names`: a DNS name of the subject alternative name."""

    key = "dns_names"
    document = (
        "DNS names of the subject alternative name. Case does not matter, and"
        " `*.partner.example` allows any one label in place of the `*`. Needs proof."
    )
    what = "DNS names"

    def read(self, value: object, notation: Notation) -> None:
        """Read each DNS name."""
        self._names = names.DNSNames()
        super().read(value, notation)

    def add_name(self, entry: str) -> None:
        """Add a DNS name."""
        self._names.add(entry)

    def matching(self, presented: Presented) -> list[str]:
        """Return the first DNS names of a certificate that are allowed."""
        return self._names.matching(presented.names)

    def possible(self) -> set[str] | None:
        """Return every DNS name that can match, None if they cannot be listed."""
        return self._names.entries()

    def check(self, decision: Decision) -> Finding | None:
        """Return why none of the DNS names is allowed."""
        if self._names.match(decision.presented.names):
            return None
        return self.none_allowed(decision.presented.shown_dns_names)

    def found(self, decision: Decision) -> str:
        """Return the names of this kind."""
        return decision.presented.shown_dns_names


class URIs(AlternativeNameRule):
    """`uris`: a URI of the subject alternative name."""

    key = "uris"
    document = (
        "exact URIs of the subject alternative name. `spiffe://partner.example/*` allows all"
        " URIs below that folder, but not the folder itself. Needs proof."
    )
    what = "URIs"

    def read(self, value: object, notation: Notation) -> None:
        """Read each URI."""
        self._uris = names.URIs()
        super().read(value, notation)

    def add_name(self, entry: str) -> None:
        """Add a URI."""
        self._uris.add(entry)

    def matching(self, presented: Presented) -> list[str]:
        """Return the first URIs of a certificate that are allowed."""
        return self._uris.matching(presented.names)

    def possible(self) -> set[str] | None:
        """Return every URI that can match, None if they cannot be listed."""
        return self._uris.entries()

    def check(self, decision: Decision) -> Finding | None:
        """Return why none of the URIs is allowed."""
        if self._uris.match(decision.presented.names):
            return None
        hint = self.hint_of_case(decision.certificate.uris[:MOST_HINTS])
        return self.none_allowed(decision.presented.shown_uris, hint)

    def found(self, decision: Decision) -> str:
        """Return the names of this kind."""
        return decision.presented.shown_uris


class EmailAddresses(AlternativeNameRule):
    """`email_addresses`: an e-mail address of the subject alternative name."""

    key = "email_addresses"
    document = (
        "e-mail addresses of the subject alternative name. The part before the `@` must be"
        " exactly equal; in the part after it, case does not matter. Needs proof."
    )
    what = "e-mail addresses"

    def read(self, value: object, notation: Notation) -> None:
        """Read each e-mail address."""
        self._addresses = names.EmailAddresses()
        super().read(value, notation)

    def add_name(self, entry: str) -> None:
        """Add an e-mail address."""
        self._addresses.add(entry)

    def matching(self, presented: Presented) -> list[str]:
        """Return the first e-mail addresses of a certificate that are allowed."""
        return self._addresses.matching(presented.names)

    def possible(self) -> set[str] | None:
        """Return every e-mail address that can match, but for the case of its host."""
        return self._addresses.entries()

    def check(self, decision: Decision) -> Finding | None:
        """Return why none of the e-mail addresses is allowed."""
        if self._addresses.match(decision.presented.names):
            return None
        hint = self.hint_of_case(decision.certificate.email_addresses[:MOST_HINTS])
        return self.none_allowed(decision.presented.shown_email_addresses, hint)

    def found(self, decision: Decision) -> str:
        """Return the names of this kind."""
        return decision.presented.shown_email_addresses


class Issuers(NameRule):
    """`issuers`: the issuer's one common name, or its whole name."""

    key = "issuers"
    form = Form.LIST_WITH_COMMAS
    document = (
        'exact names of the issuer. `"Contoso Issuing CA"` is the common name of the issuer,'
        ' which must be its only one. An entry with `=`, such as `"CN=Contoso CA,O=Contoso"`, is'
        " the whole name in the form of RFC 4514. Needs proof."
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read each issuer."""
        self.issuers: set[str | Name] = set()
        self._largest = 0
        super().read(value, notation)

    def add_name(self, entry: str) -> None:
        """Add an issuer."""
        issuer = names.issuer(entry)
        self.issuers.add(issuer)
        if isinstance(issuer, Name):
            self._largest = max(self._largest, len(tuple(issuer)))
            # A whole name can be written in several ways. This is the form in which arrcert shows
            # it.
            self._entries[issuer.rfc4514_string().lower()] = entry

    def check(self, decision: Decision) -> Finding | None:
        """Return why the issuer is not allowed."""
        certificate = decision.certificate
        issuer = certificate.x509.issuer
        # A name with more attributes than every entry equals none. Such a name is not hashed for
        # each policy, because it may have a thousand attributes.
        may_match = decision.presented.size_of_issuer <= self._largest
        if certificate.issuer_common_name in self.issuers or (may_match and issuer in self.issuers):
            decision.has_allowed_issuer = True
            return None
        detail = f"the issuer {quote(certificate.issuer)} is not allowed"
        if may_match and Name(reversed(issuer.rdns)) in self.issuers:
            detail += "; the list holds this name in reverse order, most general part first"
        else:
            detail += self.hint_of_case([certificate.issuer_common_name or "", certificate.issuer])
        return Finding(DenialReason.ISSUER_NOT_ALLOWED, detail)

    def found(self, decision: Decision) -> str:
        """Return the issuer."""
        return quote(decision.certificate.issuer)


class ClientAuthentication(Rule):
    """The extended key usage must hold clientAuth, if there is one (RFC 5280 section 4.2.1.12).

    anyExtendedKeyUsage without clientAuth is not enough. cryptography and OpenSSL decide the same.
    """

    label = "extended key usage"

    def check(self, decision: Decision) -> Finding | None:
        """Return which usages the certificate holds instead."""
        if decision.certificate.permits_client_auth:
            return None
        usages = decision.certificate.extended_key_usages or ()
        held = ", ".join(usage.dotted_string for usage in usages[:MOST_HINTS]) or "none"
        return Finding(
            DenialReason.WRONG_USAGE,
            f"its extended key usage lacks clientAuth; it holds {quote(held)}{_more(usages)}",
        )

    def wanted(self, decision: Decision) -> str:
        """Return the required usage."""
        return "clientAuth, or no extended key usage at all"

    def found(self, decision: Decision) -> str:
        """Return whether clientAuth is there."""
        usages = decision.certificate.extended_key_usages
        if usages is None:
            return "no extended key usage"
        shown = (_USAGES.get(usage, usage.dotted_string) for usage in usages[:MOST_HINTS])
        return quote(", ".join(shown)) + _more(usages)


class StrongKey(Rule):
    """The public key must be strong enough, pinned or not."""

    label = "strong key"

    def check(self, decision: Decision) -> Finding | None:
        """Return why the public key is too weak."""
        weakness = decision.presented.weakness_of_key
        return None if weakness is None else Finding(DenialReason.WEAK_KEY, f"it {weakness}")

    def wanted(self, decision: Decision) -> str:
        """Return which keys are strong enough."""
        return (
            f"RSA of at least {SMALLEST_RSA_KEY} bits, a curve of at least {SMALLEST_CURVE},"
            " Ed25519 or Ed448"
        )

    def found(self, decision: Decision) -> str:
        """Return the kind and the size of the key."""
        return description_of_key(decision.certificate.x509)


class NoCertificateAuthority(Rule):
    """A CA certificate may enter only if it is pinned; `TrustAnchors` always refuses it."""

    label = "CA certificate"

    def check(self, decision: Decision) -> Finding | None:
        """Return a finding if the certificate is a CA certificate and is not pinned."""
        certificate = decision.certificate
        if decision.trust_store is not None or decision.pin or not certificate.is_ca:
            return None
        return Finding(
            DenialReason.UNTRUSTED,
            "it is a CA certificate (CA:TRUE), which may enter only if it is pinned",
        )

    def wanted(self, decision: Decision) -> str:
        """Return what is required, unless the policy has trust anchors, which refuse CAs."""
        return "" if decision.trust_store is not None else "no CA certificate, unless it is pinned"

    def found(self, decision: Decision) -> str:
        """Return what the basic constraints say."""
        return "it is one and is pinned" if decision.certificate.is_ca else "it is not one"


class TrustAnchors(SourceRule):
    """`trust_anchors`: a certification path must lead to one of them."""

    key = "trust_anchors"
    document = (
        "CA certificates. The certification path must lead to one of them. Write the path of a"
        " PEM or DER file, PEM text, or a list of these. A file path is relative to the working"
        " directory. App Service puts the certificates of `WEBSITE_LOAD_CERTIFICATES` at"
        " `/var/ssl/certs/<thumbprint>.der`. Proof."
    )
    is_condition = True
    proves_names = True

    files: TrustFiles
    """The files. `join` opens them. There is no policy if they cannot be opened."""

    def place_in(self, trust_folder: TrustFolder) -> None:
        """Make the paths relative to the folder, and keep it for `join`."""
        super().place_in(trust_folder)
        self._trust_folder = trust_folder

    def join(self, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Open the files of this key, of `intermediates` and of `crls`; yield what is wrong."""
        intermediates, lists = rules.get(Intermediates.key), rules.get(RevocationLists.key)
        if self.sources:
            try:
                self.files = self._trust_folder.open(
                    self.sources,
                    intermediates.sources if isinstance(intermediates, Intermediates) else (),
                    [*lists.sources, *lists.lists_of_points]
                    if isinstance(lists, RevocationLists)
                    else None,
                )
            except ConfigurationError as error:
                yield from error.problems

    def warnings(self, at: datetime, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield what has expired, and that several CAs can issue each other's names."""
        yield from self.files.warnings(at)
        count = len(self.files.anchors())
        restricts_names = any(rule.is_name for rule in rules.values())
        if restricts_names and Issuers.key not in rules and count > 1:
            yield Problem(
                self.key,
                f"each of the {count} trust anchors can issue every name of this policy, also the"
                " names of the others' clients; write a list of alternatives, one policy for each"
                " CA with its own names, or name the issuers",
            )

    def endings(self) -> Iterator[Ending]:
        """Yield the trust anchors, the intermediates and the revocation lists."""
        for anchor in self.files.anchors():
            yield Ending(anchor, anchor.not_valid_after_utc, is_anchor=True)
        for intermediate in self.files.intermediates():
            yield Ending(intermediate, intermediate.not_valid_after_utc)
        for held in self.files.current().revocation_lists:
            yield Ending(held, held.next_update_utc)

    def check(self, decision: Decision) -> Finding | None:
        """Return why there is no certification path; if there is one, store it in the decision."""
        if decision.trust_store is None:
            return Finding(DenialReason.MISCONFIGURED, "the trust anchors are not loaded")
        path = decision.presented.paths.find(decision.trust_store, decision.at, decision.clock_skew)
        if isinstance(path, Finding):
            return path
        decision.path = path
        for certificate in path:
            decision.ends_at(certificate.not_valid_after_utc)
        for authority in path[1:]:
            end = authority.not_valid_after_utc
            decision.endings.append(Ending(authority, end, is_anchor=authority is path[-1]))
        return None

    def wanted(self, decision: Decision) -> str:
        """Return the first trust anchors."""
        anchors = sorted({ca.subject.rfc4514_string() for ca in self.files.anchors()})
        return f"a path to {_one_of(anchors)}"

    def found(self, decision: Decision) -> str:
        """Return where the path leads."""
        path = decision.path or []
        return f"a path of {len(path)} to {quote(path[-1].subject.rfc4514_string())}"

    def __str__(self) -> str:
        return self.key


class ConfiguredIssuer(Rule):
    """With several trust anchors, the certificate of an allowed issuer must be configured.

    Otherwise one CA could issue a sub-CA with the name of an issuer below another CA, and a client
    could send the certificate of this sub-CA with the request.
    """

    label = "configured issuer"
    needs_path = True

    def check(self, decision: Decision) -> Finding | None:
        """Return a finding if the issuer on the path came with the request."""
        trust_store, path = decision.trust_store, decision.path
        if trust_store is None or path is None or not decision.has_allowed_issuer:
            return None
        if len(trust_store.anchors) < 2 or len(path) < 2:
            return None
        if path[1] in trust_store.anchors or path[1] in trust_store.intermediates:
            return None
        return Finding(
            DenialReason.ISSUER_NOT_ALLOWED,
            f"the certificate of the issuer {quote(decision.certificate.issuer)} came with the"
            " request and is not configured; with several trust anchors add it to intermediates, or"
            " write one alternative for each anchor",
        )

    def wanted(self, decision: Decision) -> str:
        """Return the requirement, if the policy has `issuers` and several anchors."""
        trust_store = decision.trust_store
        if trust_store is None or len(trust_store.anchors) < 2 or not decision.has_allowed_issuer:
            return ""
        return "the issuer's certificate is configured, and did not come with the request"

    def found(self, decision: Decision) -> str:
        """Return the name of the issuer."""
        return f"the issuer {quote(decision.certificate.issuer)}"


class Intermediates(SourceRule):
    """`intermediates`: CA certificates that may be part of the path.

    The rule `TrustAnchors` uses them.
    """

    key = "intermediates"
    document = (
        "CA certificates between the trust anchor and the client. App Service forwards only the"
        " client's certificate (*uncertain*: no official statement), so configure them here."
    )


class RevocationLists(SourceRule):
    """`crls`: the revocation lists for a path; `Revocation` uses them."""

    key = "crls"
    document = (
        "revocation lists for every certificate on the path below the anchor: PEM or DER files,"
        " folders (arrcert reads all their files), or PEM text. A list covers only the"
        " certificates in its scope. Delta and indirect lists are refused. If a list has a"
        ' distribution point that the certificates do not name, write `{"file": "...",'
        ' "distribution_point": "https://..."}` ([Revocation](revocation.md)). Without this key,'
        " arrcert does not check revocation."
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read each path, PEM text, or mapping with a file and a distribution point."""
        self.lists_of_points: list[ListOfPoint] = []
        super().read(value, notation)

    def add(self, entry: object) -> None:
        """Add a path, PEM text, or a mapping with a file and its distribution point."""
        if not isinstance(entry, Mapping):
            super().add(entry)
            return
        if set(entry) != {"file", "distribution_point"}:
            self.mistakes.append(
                f"{quote(dict(entry))} must hold a file and a distribution_point, and nothing else;"
                ' write {"file": "...", "distribution_point": "https://..."}'
            )
            return
        source, point = self.source(entry["file"]), entry["distribution_point"]
        if not isinstance(point, str) or not point:
            self.mistakes.append(
                f"{quote(point)} is not a distribution point; write the URL that is in the list"
            )
        elif is_unresolved_reference(point):
            self.mistakes.append(f"{quote(point)} {UNRESOLVED_REFERENCE}")
        elif source is not None:
            self.lists_of_points.append(ListOfPoint(source, point))

    def place_in(self, trust_folder: TrustFolder) -> None:
        """Make the paths relative to the folder."""
        super().place_in(trust_folder)
        self.lists_of_points = [
            stated._replace(file=trust_folder.place(stated.file)) for stated in self.lists_of_points
        ]

    def entries(self) -> list[str | dict[str, str]]:
        """Return the entries as settings hold them, with their distribution points."""
        return super().entries() + [
            {"file": str(file), "distribution_point": distribution_point}
            for file, distribution_point in self.lists_of_points
        ]


class Revocation(KeyRule):
    """`revocation`: what to do if no list covers a certificate (RFC 5280 section 6.3)."""

    key = "revocation"
    needs_path = True
    form = Form.TEXT
    document = (
        '`"hard"` (the default): a client is denied if no current list covers a certificate on'
        ' its path. `"soft"`: such a client is accepted, and the log has a WARNING.'
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read one of two words."""
        self._is_soft = value == "soft"
        if value not in ("hard", "soft"):
            self.mistakes.append(f"{quote(value)} is not known; write one of hard, soft")

    def join(self, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield an error if `revocation` is soft and the policy has no `crls`."""
        if self._is_soft and RevocationLists.key not in rules:
            yield Problem(self.key, "it has no effect without revocation lists; write crls too")

    def check(self, decision: Decision) -> Finding | None:
        """Return why a certificate of the path is revoked or unknown."""
        if decision.path is None or decision.trust_store is None:
            return None
        finding = decision.trust_store.check_revocation(decision.path, decision.at)
        if finding is None:
            decision.ends_at(decision.trust_store.next_update_of(decision.path, decision.at))
            for crl in decision.trust_store.revocation_lists_of(decision.path):
                decision.endings.append(Ending(crl, crl.next_update_utc))
        elif self._is_soft and finding.reason is DenialReason.REVOCATION_UNKNOWN:
            decision.overlooked = finding
            return None
        return finding

    def wanted(self, decision: Decision) -> str:
        """Return what the lists must show."""
        if decision.trust_store is None:
            return ""
        if not decision.trust_store.checks_revocation:
            return "nothing, because the policy has no crls"
        soft = "; if that is not known, it is accepted (soft)" if self._is_soft else ""
        return f"no certificate of the path is revoked{soft}"

    def found(self, decision: Decision) -> str:
        """Return until when the lists are current, or the finding that was ignored."""
        if decision.trust_store is None or not decision.trust_store.checks_revocation:
            return "not checked, because the policy has no crls"
        if decision.overlooked is not None:
            return f"overlooked: {decision.overlooked.detail}"
        until = decision.trust_store.next_update_of(decision.path or [], decision.at)
        return "not revoked" if until is None else f"not revoked; known until {timestamp(until)}"


class Identity(KeyRule):
    """`identity`: the name of the accepted client, unless the matching pin has one."""

    key = "identity"
    form = Form.TEXT
    document = (
        "the name that the app reads for a client that this policy accepts: a fixed text"
        " (`fabrikam`), or a template with one of `{common_name}`, `{dns_name}`, `{uri}`,"
        " `{email_address}`, `{sha256_fingerprint}` (`device:{common_name}`). A template takes"
        " the name that matched the list of this kind, or else the only name of this kind in the"
        " certificate. A pin may have its own `identity` ([identity and roles](identity.md))."
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read a literal or a template."""
        self.template = IdentityTemplate("")
        self._list: CommonNames | AlternativeNameRule | None = None
        try:
            self.template = identity_from(value)
        except ValueError as error:
            self.mistakes.append(f"{quote(value)} {error}")

    def join(self, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Find the list of the field's names; yield an error if nothing proves the names."""
        if self.template.is_of_name:
            listed = rules.get(_LISTS[self.template.field or ""])
            if isinstance(listed, CommonNames | AlternativeNameRule):
                self._list = listed
            yield from problem_of_proof(self.key, rules)

    def _possible(self) -> frozenset[str] | None:
        """Return every name that the rule can give, None if they cannot be listed."""
        if self.template.field is None:
            return frozenset({self.template.before})
        values = None if self._list is None else self._list.possible()
        return None if values is None else frozenset(map(self.template.filled, values))

    def identity_sources(self, rules: Mapping[str, KeyRule]) -> Iterator[IdentitySource]:
        """Yield the names that the literal or the template gives."""
        yield IdentitySource(self.key, self.template, self._possible(), only_issuer(rules))

    def wanted(self, decision: Decision) -> str:
        """Return the literal or the template."""
        return f"one name for the identity {quote(str(self.template))}"

    def found(self, decision: Decision) -> str:
        """Return the name that the client has."""
        return f"the identity {quote(decision.name or '')}"

    def check(self, decision: Decision) -> Finding | None:
        """Return why the certificate has no name for the identity; else store the name."""
        if decision.name is not None:
            return None
        if self.template.field is None:
            decision.name = decision.label = self.template.before
            return None
        values = self._values(decision.presented)
        if len(values) == 1:
            [value] = values
            name = self.template.filled(value)
            # Check the whole name, too: characters at the ends of its parts may combine to another
            # one.
            why = why_no_name(value) or why_no_name(name)
            if why is None:
                decision.name, decision.label = name, str(self.template)
                return None
            found = f"the name {quote(value)} {why}"
        else:
            shown = values[: MOST_MATCHES - 1]
            more = " and more" if len(values) > len(shown) else ""
            found = f"it holds {quote(', '.join(shown) or 'none')}{more}"
        which = "allowed by the policy" if self._list is not None else "in the certificate"
        return Finding(
            DenialReason.NO_IDENTITY,
            f"the identity {quote(self.template)} needs exactly one name {which}, and {found}",
        )

    def _values(self, presented: Presented) -> Sequence[str]:
        """Return the first values of the field that the certificate has."""
        if self._list is not None:
            return self._list.matching(presented)
        match self.template.field:
            case "common_name":
                return only_common_name(presented)
            case "dns_name":
                return presented.names.first_dns_names
            case "uri":
                return presented.names.first_uris
            case "email_address":
                return presented.names.first_email_addresses
            case _:
                return [presented.certificate.sha256_fingerprint]

    def warnings(self, at: datetime, rules: Mapping[str, KeyRule]) -> Iterator[Problem]:
        """Yield a warning if several CAs of the policy can give different clients one name."""
        anchors, issuers = rules.get(TrustAnchors.key), rules.get(Issuers.key)
        if not self.template.is_of_name or not isinstance(anchors, TrustAnchors):
            return
        count = len(set(anchors.files.anchors()))
        is_one_issuer = isinstance(issuers, Issuers) and len(issuers.issuers) == 1
        if count > 1 and not is_one_issuer:
            yield Problem(
                self.key,
                f"each of the {count} trust anchors can issue every name, so clients of different"
                f" CAs can get one identity from {quote(self.template)}; write a list of"
                " alternatives, one policy for each CA, each with its own prefix, such as"
                f" {quote(f'contoso:{self.template}')}",
            )

    def __str__(self) -> str:
        return f"{self.key} {quote(self.template)}"


_LISTS = {
    "common_name": CommonNames.key,
    "dns_name": DNSNames.key,
    "uri": URIs.key,
    "email_address": EmailAddresses.key,
}
"""The key that lists the allowed names of a template's field."""


def only_common_name(presented: Presented) -> Sequence[str]:
    """Return the subject's common name, empty unless there is exactly one."""
    found = presented.certificate.common_name
    return () if found is None else (found,)


def only_issuer(rules: Mapping[str, KeyRule]) -> Hashable | None:
    """Return a value that identifies the only issuer of a policy, None if there may be several.

    Args:
        rules: the rule of each key that the policy holds.

    CAs below one trust anchor count as one issuer, unless the policy names their issuer.
    """
    anchors, issuers = rules.get(TrustAnchors.key), rules.get(Issuers.key)
    if not isinstance(anchors, TrustAnchors):
        return None
    found = frozenset(anchors.files.anchors())
    named = issuers.issuers if isinstance(issuers, Issuers) else frozenset[str | Name]()
    return (found, frozenset(named)) if len(found) == 1 and len(named) <= 1 else None


class Roles(KeyRule):
    """`roles`: the roles of the accepted client, in addition to those of the matching pin."""

    key = "roles"
    document = (
        "roles of a client that this policy accepts. A view requires one with `role=...`. A pin"
        " may have its own `roles`, which are added to these."
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read the list of roles."""
        self.granted: frozenset[str] = frozenset()
        if isinstance(value, list | tuple | set | frozenset) and not value:
            self.mistakes.append(
                "the list is empty and grants nothing; write a role, or leave it out"
            )
            return
        try:
            self.granted = roles_from(value)
        except ValueError as error:
            self.mistakes.append(f"{quote(value)} {error}")

    def check(self, decision: Decision) -> Finding | None:
        """Store the roles. A policy does not check which role a view requires."""
        decision.roles |= self.granted
        return None

    def __str__(self) -> str:
        return f"{len(self.granted)} {self.key}"


class NamesProvenByFrontEnd(KeyRule):
    """`names_proven_by_front_end`: names need no proof, because the front end checks certificates.

    `Authorizer` refuses it if the front end only forwards certificates.
    """

    key = "names_proven_by_front_end"
    form = Form.TRUTH
    document = (
        "True: the front end checks certificates itself, so names need no other proof. Behind"
        " `app-service`, which checks nothing, it is an error."
    )

    def read(self, value: object, notation: Notation) -> None:
        """Read True or False."""
        # Any value except False counts as True here, so that one mistake is not reported twice.
        self.proves_names = bool(value)
        self.is_wanted = value is True
        if not isinstance(value, bool):
            self.mistakes.append(
                f"{quote(value)} is not a truth value; write {notation.true_or_false}"
            )

    def __str__(self) -> str:
        return self.key if self.is_wanted else ""


KEYS: dict[str, type[KeyRule]] = {rule.key: rule for rule in RULES if issubclass(rule, KeyRule)}
"""The class of each policy key."""

MOST_SHOWN = 3
"""How many entries of a list `wanted` shows."""

_USAGES = {
    getattr(ExtendedKeyUsageOID, name): text
    for name, text in {
        "CLIENT_AUTH": "clientAuth",
        "SERVER_AUTH": "serverAuth",
        "CODE_SIGNING": "codeSigning",
        "EMAIL_PROTECTION": "emailProtection",
        "ANY_EXTENDED_KEY_USAGE": "anyExtendedKeyUsage",
    }.items()
}
"""The names of the most common extended key usages (RFC 5280 section 4.2.1.12)."""


def _more(usages: Sequence[object]) -> str:
    """Return how many usages are not shown; empty if all are."""
    more = len(usages) - MOST_HINTS
    return f" and {more:,} more" if more > 0 else ""


def _one_of(entries: Sequence[str], count: int | None = None) -> str:
    """Return the first entries in quotation marks, and how many more there are.

    Args:
        entries: the entries, or the first of them.
        count: how many there are; the number of `entries` by default.
    """
    shown = [quote(entry) for entry in entries[:MOST_SHOWN]]
    more = (len(entries) if count is None else count) - len(shown)
    if more:
        shown.append(f"{more} more")
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
