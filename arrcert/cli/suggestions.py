"""What to write so that a certificate may enter, the safest way first.

Each suggestion is a policy that was tested with the rules of a real decision and accepts the
certificate. There is no suggestion for a certificate that no site should accept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes

from arrcert.exceptions import ConfigurationError, DenialReason, quote
from arrcert.explanation import AlternativeResult, PolicyResult, trust_store_of
from arrcert.invisible import is_visible, visible
from arrcert.keys import weakness_of_key
from arrcert.moments import timestamp
from arrcert.notation import Notation
from arrcert.pins import Pin
from arrcert.policy import Acceptance, Policy
from arrcert.presented import Presented
from arrcert.rules import Fingerprints, Identity, PinRule, Roles, SourceRule
from arrcert.trust.paths import TrustStore, has_signed


class Suggestion(NamedTuple):
    """One way to let a certificate in.

    Attributes:
        title: what the suggestion does.
        policy: the alternative to add, as a mapping.
        warnings: why it may be unwise.
    """

    title: str
    policy: dict[str, Any]
    warnings: tuple[str, ...]


def why_to_suggest_nothing(
    presented: Presented, results: Mapping[str, PolicyResult], at: datetime, now: datetime
) -> list[str]:
    """Return why a certificate must not be accepted; empty if there is no such reason.

    Args:
        presented: the certificate.
        results: what each policy says. A revocation list of any policy counts.
        at: the time in question, a timezone-aware `datetime`.
        now: the current time, a timezone-aware `datetime`. An earlier `at` does not make an expired
            certificate valid.
    """
    certificate = presented.certificate
    reasons = []
    if certificate.not_valid_after_utc < max(at, now):
        reasons.append(
            f"it has expired at {timestamp(certificate.not_valid_after_utc)}; the client must renew"
            " it"
        )
    if not certificate.permits_client_auth:
        reasons.append(
            "its extended key usage lacks clientAuth; the CA must issue it for client"
            " authentication"
        )
    weakness = weakness_of_key(certificate.x509)
    if weakness is not None:
        reasons.append(f"it {weakness}; the client needs a new key")
    try:
        algorithm = certificate.x509.signature_hash_algorithm
    # cryptography does not know the algorithm.
    except Exception:
        algorithm = None
        reasons.append("its signature algorithm is unknown; have it issued again")
    if isinstance(algorithm, hashes.SHA1 | hashes.MD5):
        reasons.append(f"it is signed with {algorithm.name}, which is weak; have it issued again")
    return reasons + _why_revoked(presented, results, at) + _expired_pins(presented, results, at)


def _expired_pins(
    presented: Presented, results: Mapping[str, PolicyResult], at: datetime
) -> list[str]:
    """Return a sentence for each expired pin without which nothing would deny the certificate."""
    sentences = []
    for name, result in results.items():
        for alternative in result.alternatives:
            failed = {rule.key for rule in alternative.failed}
            pins = [
                _expired_pin(presented, rule, at)
                for rule in alternative.policy.rules
                if isinstance(rule, PinRule) and rule.key in failed
            ]
            if None in pins or len(pins) < len(failed):
                continue  # A later end date would not be enough.
            for pin in filter(None, pins):
                whose = "" if pin.identity is None else f" of {quote(pin.identity)}"
                sentences.append(
                    f"policy {quote(name)} has a pin for it already: the pin {quote(pin)}{whose},"
                    f" which has expired at {timestamp(pin.not_after or at)}; if the partner still"
                    " uses this certificate, write a later not_after, and no second pin"
                )
    return sentences


def _expired_pin(presented: Presented, rule: PinRule, at: datetime) -> Pin | None:
    """Return the pin of a rule for a certificate, if it has expired; else None."""
    for value in _pinned_values(presented, rule):
        pin = rule.pins.find(value)
        if pin is not None and pin.not_after is not None and pin.not_after < at:
            return pin
    return None


def _pinned_values(presented: Presented, rule: PinRule) -> tuple[str | None, ...]:
    """Return the values of a certificate that a rule may pin."""
    certificate = presented.certificate
    if isinstance(rule, Fingerprints):
        return (certificate.sha256_fingerprint, certificate.sha1_fingerprint)
    return (presented.public_key_fingerprint,)


def _why_revoked(
    presented: Presented, results: Mapping[str, PolicyResult], at: datetime
) -> list[str]:
    alternatives = [
        alternative for result in results.values() for alternative in result.alternatives
    ]
    reasons = {
        rule.detail: None
        for alternative in alternatives
        for rule in alternative.failed
        if rule.reason in (DenialReason.REVOKED, DenialReason.REVOCATION_UNKNOWN)
    }
    # A certificate without a valid path can still be on the revocation list of its issuer.
    for alternative in alternatives:
        trust_store = alternative.policy.trust_store()
        if trust_store is not None:
            reasons |= dict.fromkeys(_lists_that_revoke(presented, trust_store, at))
    return list(reasons)


def _lists_that_revoke(
    presented: Presented, trust_store: TrustStore, at: datetime
) -> Iterable[str]:
    leaf = presented.certificate.x509
    for ca in (*trust_store.anchors, *trust_store.intermediates, *presented.forwarded):
        if has_signed(ca, leaf):
            finding = trust_store.check_revocation([leaf, ca], at)
            if finding is not None and finding.reason is DenialReason.REVOKED:
                yield finding.detail


def suggestions(
    presented: Presented, result: PolicyResult, at: datetime, lists_at: datetime | None = None
) -> list[Suggestion]:
    """Return the ways to let a certificate in under a policy, the safest first.

    Args:
        presented: a certificate for which `why_to_suggest_nothing` has no reason.
        result: what the policy says. It denies the certificate.
        at: the time in question, a timezone-aware `datetime`.
        lists_at: as in `arrcert.explanation.explain`.

    A certificate that is not valid yet is tested at the first second of its validity.
    """
    moment = max(at, presented.certificate.not_valid_before_utc)
    candidates = [_pin(presented, result)]
    candidates += [
        _path_and_name(presented, alternative, moment, lists_at)
        for alternative in result.alternatives
        if alternative.path is not None
    ]
    found: list[Suggestion] = []
    for suggestion in candidates:
        is_new = all(suggestion.policy != other.policy for other in found)
        if is_new and _admits(suggestion.policy, presented, moment, lists_at):
            found.append(suggestion)
    return found


def _admits(
    written: Mapping[str, Any], presented: Presented, at: datetime, lists_at: datetime | None
) -> bool:
    try:
        policy = Policy.from_mapping(written, Notation.PYTHON)
    except ConfigurationError:
        return False
    return isinstance(policy.decide(presented, at, trust_store_of(policy, lists_at)), Acceptance)


def _pin(presented: Presented, result: PolicyResult) -> Suggestion:
    certificate = presented.certificate
    warnings = ["first make sure, by another channel, that this certificate belongs to the partner"]
    for alternative in result.alternatives:
        for rule in alternative.policy.rules:
            if isinstance(rule, PinRule):
                pins = map(rule.pins.find, _pinned_values(presented, rule))
                if any(pins):
                    warnings.append(
                        "the policy has a pin for it that does not admit it; find out why before"
                        " you add another"
                    )
        trust_store = alternative.policy.trust_store()
        if trust_store is not None and trust_store.checks_revocation:
            warnings.append("a pin is not checked against revocation lists")
    if certificate.is_ca and has_signed(certificate.x509, certificate.x509):
        warnings.append(
            "it is self-signed and has CA:TRUE, as `openssl req -x509` makes it; you can pin it if"
            " it is the client's own certificate, but not the certificate of a CA"
        )
    elif certificate.is_ca:
        warnings.append(
            "it is a CA certificate: ask for a certificate that was issued for a client"
        )
    return Suggestion(
        "Pin this one certificate; replace the pin when the certificate is renewed",
        {"fingerprints": [certificate.sha256_fingerprint]},
        (*dict.fromkeys(warnings), *_what_is_not_given([*_policies(result)], has_identity=False)),
    )


def _policies(result: PolicyResult) -> Iterable[Policy]:
    return (alternative.policy for alternative in result.alternatives)


def _what_is_not_given(policies: Sequence[Policy], *, has_identity: bool) -> Iterator[str]:
    """Yield a warning for the name, and one for the roles, if an alternative does not give them.

    A suggestion never gives a client the name or the roles of another one. Only the operator knows
    who the client is.
    """
    if not has_identity and any(policy.identity_sources() for policy in policies):
        yield (
            "the policy gives names to its clients, and this alternative does not; write"
            ' "identity" with the name of this client'
        )
    roles: set[str] = set()
    for policy in policies:
        for rule in policy.rules:
            if isinstance(rule, Roles):
                roles |= rule.granted
            elif isinstance(rule, PinRule):
                roles = roles.union(*(pin.roles for pin in rule.pins.described()))
    if roles:
        yield (
            f"the policy grants roles ({', '.join(map(quote, sorted(roles)))}), and this"
            ' alternative does not; write "roles" with those that this client may have'
        )


def _template_of(policy: Policy) -> str | None:
    """Return the template that takes the name from the certificate, None if there is none."""
    for rule in policy.rules:
        if isinstance(rule, Identity) and rule.template.field is not None:
            return str(rule.template)
    return None


def _path_and_name(
    presented: Presented,
    alternative: AlternativeResult,
    at: datetime,
    lists_at: datetime | None,
) -> Suggestion:
    certificate = presented.certificate
    written: dict[str, Any] = {
        rule.key: rule.entries()
        for rule in alternative.policy.rules
        if isinstance(rule, SourceRule)
    }
    if certificate.common_name is not None:
        written["common_names"] = [certificate.common_name]
    elif certificate.dns_names:
        written["dns_names"] = list(certificate.dns_names)
    elif certificate.uris:
        written["uris"] = list(certificate.uris)
    elif certificate.email_addresses:
        written["email_addresses"] = list(certificate.email_addresses)
    else:
        written["common_names"] = []  # There is no name to allow, so this suggestion is never made.
    trust_store = alternative.policy.trust_store()
    if trust_store is not None and len(trust_store.anchors) > 1:
        written["issuers"] = [certificate.issuer]
    template = _template_of(alternative.policy)
    has_identity = template is not None and _admits(
        {**written, "identity": template}, presented, at, lists_at
    )
    if has_identity:
        written["identity"] = template
    warnings = (
        f"everybody who gets a certificate with this name from {quote(certificate.issuer)} may"
        " enter; do not do this for a public CA",
        *_what_is_not_given([alternative.policy], has_identity=has_identity),
    )
    title = "Allow the name in certificates of a CA that you trust; this also accepts renewed ones"
    return Suggestion(title, written, warnings)


# ----------------------------------------------------------------------------------------- paste


def merged(
    written: Mapping[str, Any] | None, name: str, policy: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the value of `ARRCERT` with one more alternative.

    Args:
        written: the value as it is written now; None if it is made in code.
        name: the name of the policies.
        policy: the alternative.
    """
    whole = dict(written or {})
    held = whole.get(name)
    before = [] if held is None else list(held) if isinstance(held, list | tuple) else [held]
    whole[name] = [*before, policy] if before else dict(policy)
    return {name: _plain(held) for name, held in whole.items()}


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return value if isinstance(value, str | int | bool) else str(value)


def as_json(value: Any) -> str:
    """Return JSON in which every character is visible.

    Args:
        value: what to write.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(
        character if is_visible(character) or character == "\n" else json.dumps(character)[1:-1]
        for character in text
    )


def as_python(value: Any) -> str:
    """Return a Python expression with the indentation of JSON. Invisible characters are escaped.

    Args:
        value: what to write.
    """
    return "\n".join(_python_lines(value))


def _python_lines(value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        entries = [
            _after(f"{visible(repr(key))}: ", _python_lines(held)) for key, held in value.items()
        ]
        return ["{", *_indented(entries), "}"]
    if isinstance(value, list) and value:
        return ["[", *_indented([_python_lines(held) for held in value]), "]"]
    return [visible(repr(value))]


def _after(start: str, lines: Sequence[str]) -> list[str]:
    return [start + lines[0], *lines[1:]]


def _indented(entries: Iterable[Sequence[str]]) -> list[str]:
    return [f"    {line}" for entry in entries for line in (*entry[:-1], f"{entry[-1]},")]


def as_toml(name: str, policy: Mapping[str, str | Sequence[str]]) -> str:
    """Return one more alternative as TOML, in which every character is visible.

    Args:
        name: the name of the policies.
        policy: the alternative, whose values are text or lists of text.
    """
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    lines = [f"[[{name if is_bare else _toml_text(name)}]]"]
    for key, value in policy.items():
        if isinstance(value, str):
            written = _toml_text(value)
        else:
            written = f"[{', '.join(map(_toml_text, value))}]"
        lines.append(f"{key} = {written}")
    return "\n".join(lines)


def _toml_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    visible = (
        character if is_visible(character) else f"\\U{ord(character):08x}" for character in escaped
    )
    return f'"{"".join(visible)}"'
