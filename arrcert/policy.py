"""What is allowed to enter, and what counts as proof of where it comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

from cryptography.x509 import Certificate, Name
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import (
    CertificateDenied,
    ConfigurationError,
    DenialReason,
    Problem,
    quote,
)
from arrcert.trust import TrustStore, load_certificates, weakness_of_key

_T = TypeVar("_T")

_SHA1_DIGITS, _SHA256_DIGITS = 40, 64


class Policy:
    """Which client certificates may enter.

    Within a parameter any entry suffices; across parameters all must hold. Names prove nothing by
    themselves, so a policy that allows by name also holds fingerprints or trust anchors.

    Args:
        fingerprints: SHA-256 or SHA-1 over the DER, in hex; colons, spaces and case are ignored.
        common_names: exact common names; the subject must hold exactly one.
        issuers: exact names of the issuer. `"Contoso Issuing CA"` is its one common name; an entry
            with `=` in it is its whole name as RFC 4514 writes it, `"CN=Contoso CA,O=Contoso"`.
        trust_anchors: certificates to which a path must lead: a path, PEM text, or a list of them.
        intermediates: CA certificates that may stand on the path; likewise.
        names_proven_by_front_end: the front end checks certificates, so that names may stand
            without proof. `Authorizer` refuses it behind one that merely forwards.

    Raises:
        ConfigurationError: all mistakes of the parameters together.

    It does not check revocation, key usage, or certificate policies (RFC 5280 sections 4.2.1.3 and
    4.2.1.4).
    """

    def __init__(
        self,
        *,
        fingerprints: Iterable[str] | None = None,
        common_names: Iterable[str] | None = None,
        issuers: Iterable[str] | None = None,
        trust_anchors: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
        intermediates: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
        names_proven_by_front_end: bool = False,
    ) -> None:
        problems: list[Problem] = []
        pins = _entries("fingerprints", fingerprints, _fingerprint, problems)
        names = _entries("common_names", common_names, _common_name, problems)
        issuer_names = _entries("issuers", issuers, _issuer, problems)
        anchors = _certificates("trust_anchors", trust_anchors, problems)
        helpers = _certificates("intermediates", intermediates, problems)
        if not isinstance(names_proven_by_front_end, bool):
            problems.append(
                Problem(
                    "names_proven_by_front_end",
                    f"{quote(names_proven_by_front_end)} is not a truth value; write True or False",
                )
            )
        problems += _missing_proof(
            named=[
                parameter
                for parameter, value in (("common_names", names), ("issuers", issuer_names))
                if value is not None
            ],
            proven=pins is not None or anchors is not None or bool(names_proven_by_front_end),
            anything=any(value is not None for value in (pins, names, issuer_names, anchors)),
        )
        if helpers is not None and anchors is None:
            problems.append(
                Problem(
                    "intermediates",
                    "there are no trust_anchors for a path to lead to; write trust_anchors too",
                )
            )
        if problems:
            raise ConfigurationError(problems)
        self.names_proven_by_front_end = names_proven_by_front_end
        self._fingerprints = None if pins is None else frozenset(pins)
        self._common_names = None if names is None else frozenset(names)
        self._issuers = None if issuer_names is None else frozenset(issuer_names)
        self._trust_store = None if anchors is None else TrustStore(anchors, helpers or ())

    def check(self, client_certificate: ClientCertificate, at: datetime | None = None) -> None:
        """Return if the certificate may enter; the first rule that fails is the reason.

        Args:
            client_certificate: what a client presented.
            at: the moment, aware; now by default.

        Raises:
            CertificateDenied: any reason from `not_yet_valid` to `untrusted`.
            ValueError: `at` is naive.
        """
        moment = _whole_second(at)
        self._check_validity(client_certificate, moment)
        self._check_fingerprint(client_certificate)
        self._check_common_name(client_certificate)
        self._check_issuer(client_certificate)
        self._check_usage(client_certificate)
        self._check_key(client_certificate)
        self._check_path(client_certificate, moment)

    def _check_validity(self, certificate: ClientCertificate, at: datetime) -> None:
        """RFC 5280 section 4.1.2.5: both ends belong to the validity."""
        if at < certificate.not_valid_before_utc:
            _deny(
                DenialReason.NOT_YET_VALID,
                f"valid from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ},"
                f" and it is {at:%Y-%m-%dT%H:%M:%SZ}",
                certificate,
            )
        if at > certificate.not_valid_after_utc:
            _deny(
                DenialReason.EXPIRED,
                f"valid until {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ},"
                f" and it is {at:%Y-%m-%dT%H:%M:%SZ}",
                certificate,
            )

    def _check_fingerprint(self, certificate: ClientCertificate) -> None:
        if self._fingerprints is None:
            return
        if certificate.sha256_fingerprint in self._fingerprints:
            return
        if certificate.sha1_fingerprint in self._fingerprints:
            return
        _deny(
            DenialReason.FINGERPRINT_NOT_ALLOWED,
            f"it is none of the {len(self._fingerprints)} pinned certificates; its thumbprint"
            f" (SHA-1) is {certificate.sha1_fingerprint}",
            certificate,
        )

    def _check_common_name(self, certificate: ClientCertificate) -> None:
        if self._common_names is None or certificate.common_name in self._common_names:
            return
        found = (
            "the subject does not hold exactly one common name"
            if certificate.common_name is None
            else f"the common name {quote(certificate.common_name)} is not allowed"
        )
        _deny(DenialReason.COMMON_NAME_NOT_ALLOWED, found, certificate)

    def _check_issuer(self, certificate: ClientCertificate) -> None:
        if self._issuers is None or certificate.issuer_common_name in self._issuers:
            return
        if certificate.x509.issuer in self._issuers:
            return
        _deny(
            DenialReason.ISSUER_NOT_ALLOWED,
            f"the issuer {quote(certificate.issuer)} is not allowed",
            certificate,
        )

    def _check_usage(self, certificate: ClientCertificate) -> None:
        """RFC 5280 section 4.2.1.12: who has the extension must hold clientAuth.

        anyExtendedKeyUsage alone does not suffice, as cryptography and OpenSSL hold it.
        """
        usages = certificate.extended_key_usages
        if usages is None or ExtendedKeyUsageOID.CLIENT_AUTH in usages:
            return
        held = ", ".join(usage.dotted_string for usage in usages) or "none"
        _deny(
            DenialReason.WRONG_USAGE,
            f"its extended key usage lacks clientAuth; it holds {quote(held)}",
            certificate,
        )

    def _check_key(self, certificate: ClientCertificate) -> None:
        weakness = weakness_of_key(certificate)
        if weakness is not None:
            _deny(DenialReason.WEAK_KEY, weakness, certificate)

    def _check_path(self, certificate: ClientCertificate, at: datetime) -> None:
        if self._trust_store is not None:
            self._trust_store.authenticate(certificate, at)
        elif certificate.is_ca and self._fingerprints is None:
            _deny(
                DenialReason.UNTRUSTED,
                "it is a CA certificate (CA:TRUE), which is a client's only where its fingerprint"
                " is pinned",
                certificate,
            )

    def __repr__(self) -> str:
        rules = {
            "fingerprints": self._fingerprints,
            "common_names": self._common_names,
            "issuers": self._issuers,
        }
        parts = [f"{len(rule)} {name}" for name, rule in rules.items() if rule is not None]
        if self._trust_store is not None:
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


def _whole_second(at: datetime | None) -> datetime:
    """Return the moment as certificates count it, in whole seconds of UTC."""
    if at is None:
        at = datetime.now(UTC)
    elif at.utcoffset() is None:
        raise ValueError("at must be an aware datetime; write datetime.now(UTC), not utcnow()")
    return at.astimezone(UTC).replace(microsecond=0)


def _missing_proof(*, named: list[str], proven: bool, anything: bool) -> list[Problem]:
    """Hold the law "proof or no start" against a policy."""
    if not anything:
        return [
            Problem(
                "",
                "the policy holds no condition and would allow everyone; write fingerprints or"
                " trust_anchors",
            )
        ]
    if named and not proven:
        return [
            Problem(
                parameter,
                "a name proves nothing, since anybody can issue a certificate with it; write"
                " trust_anchors (the CA's certificate) or fingerprints beside it",
            )
            for parameter in named
        ]
    return []


def _entries(
    parameter: str,
    value: object,
    parse: Callable[[str], _T],
    problems: list[Problem],
) -> list[_T] | None:
    """Parse a list of text, adding to the problems; None where the parameter is not given."""
    if value is None:
        return None
    if isinstance(value, str | bytes) or not isinstance(value, list | tuple | set | frozenset):
        hint = f"write a list: [{quote(value)}]" if isinstance(value, str) else "write a list"
        problems.append(Problem(parameter, f"{quote(value)} is not a list of text; {hint}"))
        return []
    if not value:
        problems.append(
            Problem(
                parameter,
                "the list is empty and would allow nobody; write an entry, or leave it out",
            )
        )
    parsed: list[_T] = []
    for entry in value:
        try:
            if not isinstance(entry, str):
                raise ValueError("is not text; write it as a string")
            if not entry.strip():
                raise ValueError("is empty; write an entry, or leave it out")
            if is_unresolved_reference(entry):
                raise ValueError(UNRESOLVED_REFERENCE)
            parsed.append(parse(entry))
        except ValueError as error:
            problems.append(Problem(parameter, f"{quote(entry)} {error}"))
    return parsed


def _fingerprint(entry: str) -> str:
    """Return a fingerprint as `ClientCertificate` writes it."""
    digits = re.sub(r"[:\s]", "", entry).upper()
    if re.fullmatch(r"[0-9A-F]*", digits):
        if len(digits) in (_SHA1_DIGITS, _SHA256_DIGITS):
            return digits
        raise ValueError(
            f"has {len(digits)} hex digits; write the {_SHA256_DIGITS} of a SHA-256 fingerprint or"
            f" the {_SHA1_DIGITS} of a SHA-1 thumbprint"
        )
    invisible = next((character for character in digits if not character.isprintable()), None)
    if invisible is not None:
        raise ValueError(
            f"holds the invisible character U+{ord(invisible):04X}, which copying from the"
            " Windows certificate dialog brings along; type it anew"
        )
    raise ValueError(
        "is not hex; write the digits alone, without a prefix such as SHA256: -"
        " openssl x509 -in client.pem -noout -fingerprint -sha256 prints them after the ="
    )


def _common_name(entry: str) -> str:
    _require_bare(entry)
    if re.match(r"CN\s*=", entry, re.IGNORECASE):
        raise ValueError("is a whole name; write the common name alone, without CN=")
    return entry


def _require_bare(entry: str) -> None:
    if entry.strip() != entry:
        raise ValueError("has white space around it, and names are compared exactly; drop it")


_OTHER_ATTRIBUTE_NAMES = {
    "E": NameOID.EMAIL_ADDRESS,
    "EMAIL": NameOID.EMAIL_ADDRESS,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "SN": NameOID.SURNAME,
    "GN": NameOID.GIVEN_NAME,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "T": NameOID.TITLE,
    "title": NameOID.TITLE,
}
"""What OpenSSL and Windows call attributes for which RFC 4514 section 3 has no short name."""


def _issuer(entry: str) -> str | Name:
    """Return a common name as text, or a whole name as the structure that it denotes."""
    _require_bare(entry)
    if "=" not in entry:
        return entry
    try:
        return Name.from_rfc4514_string(_without_spaces_after_commas(entry))
    except ValueError as error:
        raise ValueError(f"is not a name as RFC 4514 writes it; {_rfc4514_hint(entry)}") from error


def _without_spaces_after_commas(name: str) -> str:
    """Drop the spaces that people put after a comma that separates, not after an escaped one."""
    return re.sub(r"(\\.)|,\s+", lambda match: match[1] or ",", name)


def _rfc4514_hint(entry: str) -> str:
    """Say how RFC 4514 writes a name that OpenSSL or Windows printed."""
    most_general_first = entry.startswith("/") or " = " in entry
    text = entry.removeprefix("/").replace("/", ",") if entry.startswith("/") else entry
    text = _without_spaces_after_commas(re.sub(r"\s*=\s*", "=", text))
    try:
        name = Name.from_rfc4514_string(text, _OTHER_ATTRIBUTE_NAMES)
    except ValueError:
        return (
            "most special first, a comma between: CN=Contoso CA,O=Contoso,C=US; this prints it:"
            " openssl x509 -in client.pem -noout -issuer -nameopt RFC2253"
        )
    if most_general_first:
        name = Name(reversed(name.rdns))
    return f"write {name.rfc4514_string()!r}"


def _certificates(
    parameter: str, value: object, problems: list[Problem]
) -> list[Certificate] | None:
    """Load a path, PEM text or a list of them; None where the parameter is not given."""
    if value is None:
        return None
    sources = value if isinstance(value, list | tuple | set | frozenset) else [value]
    if not sources:
        problems.append(
            Problem(parameter, "the list is empty; write the path of a PEM file, or leave it out")
        )
    certificates: list[Certificate] = []
    for source in sources:
        if not isinstance(source, str | os.PathLike) or source == "":
            problems.append(
                Problem(parameter, f"{quote(source)} is neither a PEM file's path nor PEM text")
            )
            continue
        if isinstance(source, str) and is_unresolved_reference(source):
            problems.append(Problem(parameter, f"{quote(source)} {UNRESOLVED_REFERENCE}"))
            continue
        try:
            certificates += load_certificates(source)
        except ValueError as error:
            problems.append(Problem(parameter, str(error)))
    return certificates
