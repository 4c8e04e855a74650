"""The identity of a client, and the settings `identity` and `roles` of a policy."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, NamedTuple, NoReturn, final

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import quote
from arrcert.invisible import invisible_character
from arrcert.key_vault import UNRESOLVED_REFERENCE, is_unresolved_reference
from arrcert.names import require_plain

FINGERPRINT_FIELD = "sha256_fingerprint"
"""The only field of a template that is not a name. The holder of a certificate cannot choose it."""

FIELDS = ("common_name", "dns_name", "uri", "email_address", FINGERPRINT_FIELD)
"""The fields of identity templates."""

LONGEST_NAME = 2048
"""The longest name of an identity, in characters. The cost of Unicode normalization can grow faster
than the text."""

_EXAMPLES = 'a name, "fabrikam", or a template with one field, "device:{common_name}"'


_PUBLIC = ("name", "roles", "certificate", "policy", "alternative", "note")
"""The attributes by which identities are compared."""

_ATTRIBUTES = (*_PUBLIC, "label", "expiry")


@final
class ClientIdentity:
    """The identity of an accepted client, and the policy that accepted it.

    An identity is made by an `Authorizer` and is immutable. It is always true in a condition.

    Attributes:
        name: the name that the policy gives to the client; None if it gives none.
        roles: the roles that the policy gives to the client.
        certificate: the certificate that was accepted.
        policy: the name of the policy that accepted it.
        alternative: the index of the alternative that accepted it, from 0.
        note: the note of the matching pin; None without one.
        label: the value of `identity` in the settings, for metrics. For a template it is the
            template, such as "device:{common_name}". None without a name.
        expiry: internal: an `arrcert.expiry.Expiry`, which knows when the certificates, pins and
            lists expire on which the acceptance depends; None if nothing expires.
    """

    __slots__ = _ATTRIBUTES

    name: str | None
    roles: frozenset[str]
    certificate: ClientCertificate
    policy: str
    alternative: int
    note: str | None
    label: str | None
    expiry: Any

    def __init__(
        self,
        name: str | None,
        roles: frozenset[str],
        certificate: ClientCertificate,
        policy: str,
        alternative: int = 0,
        note: str | None = None,
        label: str | None = None,
        expiry: Any = None,
    ) -> None:
        values = (name, roles, certificate, policy, alternative, note, label, expiry)
        for attribute, value in zip(_ATTRIBUTES, values, strict=True):
            object.__setattr__(self, attribute, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a ClientIdentity is immutable: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a ClientIdentity is immutable: {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClientIdentity):
            return NotImplemented
        return self._public() == other._public()

    def __hash__(self) -> int:
        return hash(self._public())

    def __reduce__(self) -> tuple[Any, ...]:
        return (ClientIdentity, (*self._public(), self.label))

    def __repr__(self) -> str:
        return (
            f"ClientIdentity(name={self.name!r}, roles={self.roles!r},"
            f" certificate={self.certificate!r}, policy={self.policy!r},"
            f" alternative={self.alternative!r}, note={self.note!r})"
        )

    def _public(self) -> tuple[Any, ...]:
        """Return the values by which identities are compared."""
        return tuple(getattr(self, attribute) for attribute in _PUBLIC)


class IdentityTemplate(NamedTuple):
    """The value of `identity`: a literal name, or text around one field.

    Attributes:
        before: the text before the field, or the literal.
        field: one of `FIELDS`; None for a literal.
        after: the text after the field.
    """

    before: str
    field: str | None = None
    after: str = ""

    @property
    def is_of_name(self) -> bool:
        """Whether the identity depends on a name in the certificate, which needs proof."""
        return self.field is not None and self.field != FINGERPRINT_FIELD

    def filled(self, value: str) -> str:
        """Return the identity for a value of the field."""
        return f"{self.before}{value}{self.after}"

    def __str__(self) -> str:
        return self.before if self.field is None else self.filled(f"{{{self.field}}}")


def identity_from(value: object) -> IdentityTemplate:
    """Read the value of `identity`.

    Args:
        value: as it is written in the settings.

    Raises:
        ValueError: the value is not valid. The message says why, and what to write instead.
    """
    if not isinstance(value, str):
        raise ValueError(f"is not text; write {_EXAMPLES}")
    if not value.strip():
        raise ValueError(f"is empty; write {_EXAMPLES}, or leave it out")
    if is_unresolved_reference(value):
        raise ValueError(UNRESOLVED_REFERENCE)
    before, *others = re.split(r"\{([^{}]*)\}", value)
    fields, texts = others[::2], [before, *others[1::2]]
    if any("{" in text or "}" in text for text in texts):
        raise ValueError(f"holds a brace that belongs to no field; write {_EXAMPLES}")
    for field in fields:
        if field not in FIELDS:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ValueError(
                f"holds the unknown field {quote(f'{{{field}}}')}; write one of {known}"
            )
    if len(fields) > 1:
        raise ValueError(f"holds {len(fields)} fields; write one: {_EXAMPLES}")
    why = why_no_name("x".join(texts))
    if why is not None:
        raise ValueError(f"is not a valid name, because it {why}; write {_EXAMPLES}")
    return IdentityTemplate(before, fields[0], texts[1]) if fields else IdentityTemplate(before)


def literal_identity_from(value: object) -> str:
    """Read the `identity` of a pin, which is a literal.

    Args:
        value: as it is written in the settings.

    Raises:
        ValueError: the value is not valid. The message says why, and what to write instead.
    """
    template = identity_from(value)
    if template.field is not None:
        raise ValueError(
            'is a template, and one pin has one name; write the name itself, "fabrikam"'
        )
    return template.before


def roles_from(value: object) -> frozenset[str]:
    """Read the value of `roles`, of a policy or of a pin.

    Args:
        value: as it is written in the settings.

    Raises:
        ValueError: the value is not valid. The message says why, and what to write instead.
    """
    if not isinstance(value, list | tuple | set | frozenset):
        what = f"[{quote(value)}]" if isinstance(value, str) else '["orders"]'
        raise ValueError(f"is not a list; write a list of roles: {what}")
    if not value:
        raise ValueError("is empty and grants nothing; write a role, or leave it out")
    for role in value:
        if not isinstance(role, str) or not role.strip():
            raise ValueError(
                f"holds {quote(role)}, which is not a role; write the name of a role as text"
            )
        try:
            if is_unresolved_reference(role):
                raise ValueError(UNRESOLVED_REFERENCE)
            require_plain(role)
        except ValueError as error:
            raise ValueError(f"holds the role {quote(role)}, which {error}") from error
    return frozenset(value)


def why_no_name(name: str) -> str | None:
    """Return why a text is refused as the name of an identity, None if it is not.

    Args:
        name: the whole name, or the part of it that comes from a certificate.

    Returns:
        The end of a sentence that begins with the name.

    A name is refused if some software may read it as another name: Unicode normalization would
    change it (NFKC, UAX #15), or it contains characters that nobody sees. It does not detect
    letters of different scripts that look the same.
    """
    if not name:
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has more than {LONGEST_NAME} characters"
    if name.strip() != name:
        return "begins or ends with white space"
    for character in name:
        category = unicodedata.category(character)
        # Cc, Cf, Cs, Co, Cn: control, format, surrogate, private, unassigned. Zl, Zp: separators.
        if category[0] == "C" or category in ("Zl", "Zp"):
            return f"holds the control or format character U+{ord(character):04X}"
    invisible = invisible_character(name)
    if invisible is not None:
        return f"holds the invisible character U+{ord(invisible):04X}"
    if not unicodedata.is_normalized("NFKC", name):
        return "is not in the Unicode normal form NFKC"
    return None
