"""Name constraints of a CA, and names of the leaf (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tools.differential import der
from tools.differential.certificates import (
    COMMON_NAME,
    EMAIL,
    NAME_CONSTRAINTS,
    ORGANIZATION,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
    alternative_names,
    general_name,
    name,
    name_constraints,
)
from tools.differential.chains import Draft
from tools.differential.registry import (
    AUTHORITIES,
    ROLES,
    extension_change,
    number_to_aspect,
    variation,
)

Base = tuple[str, str | bytes]

# The names of every certificate below the CA count.
_CLAIMS = [
    f"{role}.{aspect}"
    for role in ROLES
    for aspect in (
        "subject",
        "issuer",
        number_to_aspect(SUBJECT_ALTERNATIVE_NAME),
        number_to_aspect(NAME_CONSTRAINTS),
    )
]


class Names(NamedTuple):
    """The names of the leaf.

    Attributes:
        text: the words for the name of the variation.
        alternatives: the subject alternative names; None to leave the extension out.
        common_name: the subject's common name.
        email: an emailAddress in the subject.
    """

    text: str
    alternatives: list[Base] | None
    common_name: str = "client 7"
    email: str = ""


def _constrain(
    text: str, permitted: list[Base], excluded: list[Base], *leaves: Names, both: bool = False
) -> None:
    """Register one variation for each leaf."""
    for names in leaves:
        for critical in (True, False) if both else (True,):

            def change(
                draft: Draft,
                certificate: Certificate,
                names: Names = names,
                critical: bool = critical,
            ) -> None:
                value = name_constraints(permitted, excluded)
                certificate.set(NAME_CONSTRAINTS, value, critical=critical)
                subject = [(ORGANIZATION, "Contoso"), (COMMON_NAME, names.common_name)]
                if names.email:
                    subject.append((EMAIL, names.email))
                draft.leaf.subject = name(*subject)
                draft.leaf.drop(SUBJECT_ALTERNATIVE_NAME)
                if names.alternatives is not None:
                    value = alternative_names(*names.alternatives)
                    draft.leaf.set(SUBJECT_ALTERNATIVE_NAME, value)

            wording = f"nameConstraints {text}; the leaf {names.text}"
            if not critical:
                wording += " (not critical)"
            variation(AUTHORITIES, wording, *_CLAIMS)(change)


def _dns(value: str) -> Names:
    return Names(f"has the DNS name {value or '(empty)'}", [("dns", value)])


_NO_NAMES = Names("has no names but a plain common name", None)

_constrain(
    "permit the DNS name example.com",
    [("dns", "example.com")],
    [],
    _dns("example.com"),
    _dns("a.b.example.com"),
    _dns("example.net"),
    _dns("badexample.com"),
    _dns("EXAMPLE.COM"),
    _dns("*.example.com"),
    _dns("*.com"),
    _dns("example.com."),
    _dns(""),
    _dns("x.example.com.evil.net"),
    _NO_NAMES,
    Names("has the common name host.example.net alone", None, "host.example.net"),
    Names("has the common name host.example.com alone", None, "host.example.com"),
    Names(
        "has the common name host.example.net and a permitted DNS name",
        [("dns", "example.com")],
        "host.example.net",
    ),
    Names("has a permitted and another DNS name", [("dns", "example.com"), ("dns", "example.net")]),
    Names("has an e-mail address", [("email", "client@example.net")]),
    Names("has an IP address", [("ip", b"\x0a\1\2\3")]),
    Names("has a URI", [("uri", "https://example.net/")]),
    Names("has a user principal name", [("other", "client@example.net")]),
    both=True,
)
_constrain(
    "exclude the DNS name example.com",
    [],
    [("dns", "example.com")],
    _dns("example.com"),
    _dns("a.b.example.com"),
    _dns("example.net"),
    _dns("EXAMPLE.com"),
    _dns("*.com"),
    _dns("*.example.com"),
    _dns("badexample.com"),
    _NO_NAMES,
    Names("has the common name host.example.com alone", None, "host.example.com"),
    Names(
        "has the common name host.example.com and an allowed DNS name",
        [("dns", "example.net")],
        "host.example.com",
    ),
    both=True,
)
_constrain(
    "permit the DNS name .example.com",
    [("dns", ".example.com")],
    [],
    _dns("example.com"),
    _dns("a.example.com"),
    _dns("example.net"),
    _NO_NAMES,
)
_constrain(
    "exclude every DNS name",
    [],
    [("dns", "")],
    _dns("example.com"),
    _NO_NAMES,
    Names("has an e-mail address", [("email", "client@example.net")]),
)
_constrain(
    "permit example.com and exclude a.example.com",
    [("dns", "example.com")],
    [("dns", "a.example.com")],
    _dns("a.example.com"),
    _dns("b.example.com"),
    _dns("x.a.example.com"),
)
_constrain(
    "permit e-mail at example.com",
    [("email", "example.com")],
    [],
    Names("has client@example.com", [("email", "client@example.com")]),
    Names("has client@EXAMPLE.COM", [("email", "client@EXAMPLE.COM")]),
    Names("has client@a.example.com", [("email", "client@a.example.com")]),
    Names("has client@example.net", [("email", "client@example.net")]),
    Names("has an address without @", [("email", "client")]),
    Names("has client@example.net in the subject", None, email="client@example.net"),
    Names("has client@example.com in the subject", None, email="client@example.com"),
    Names(
        "has client@example.net in the subject, and a DNS name",
        [("dns", "example.com")],
        email="client@example.net",
    ),
    Names("has the common name client@example.net", None, "client@example.net"),
    _NO_NAMES,
    _dns("example.net"),
    both=True,
)
_constrain(
    "exclude e-mail at example.com",
    [],
    [("email", "example.com")],
    Names("has client@example.com", [("email", "client@example.com")]),
    Names("has client@example.net", [("email", "client@example.net")]),
    Names("has client@example.com in the subject", None, email="client@example.com"),
    Names("has client@example.net in the subject", None, email="client@example.net"),
)
_constrain(
    "permit e-mail below .example.com",
    [("email", ".example.com")],
    [],
    Names("has client@a.example.com", [("email", "client@a.example.com")]),
    Names("has client@example.com", [("email", "client@example.com")]),
)
_constrain(
    "permit the mailbox client@example.com",
    [("email", "client@example.com")],
    [],
    Names("has client@example.com", [("email", "client@example.com")]),
    Names("has Client@example.com", [("email", "Client@example.com")]),
    Names("has other@example.com", [("email", "other@example.com")]),
)
_TEN = b"\x0a\0\0\0\xff\0\0\0"
_constrain(
    "permit 10.0.0.0/8",
    [("ip", _TEN)],
    [],
    Names("has 10.1.2.3", [("ip", b"\x0a\1\2\3")]),
    Names("has 11.1.2.3", [("ip", b"\x0b\1\2\3")]),
    Names("has an IPv6 address", [("ip", b"\x20\x01" + bytes(14))]),
    Names("has the common name 11.1.2.3", None, "11.1.2.3"),
    Names("has the common name 10.1.2.3", None, "10.1.2.3"),
    _NO_NAMES,
    _dns("example.com"),
    _dns("11.1.2.3"),
    both=True,
)
_constrain(
    "exclude 10.0.0.0/8",
    [],
    [("ip", _TEN)],
    Names("has 10.1.2.3", [("ip", b"\x0a\1\2\3")]),
    Names("has 11.1.2.3", [("ip", b"\x0b\1\2\3")]),
)
_constrain(
    "permit 10.0.0.0 with the mask 255.0.255.0",
    [("ip", b"\x0a\0\0\0\xff\0\xff\0")],
    [],
    Names("has 10.1.0.3", [("ip", b"\x0a\1\0\3")]),
    Names("has 11.1.2.3", [("ip", b"\x0b\1\2\3")]),
    _dns("example.com"),
)
_constrain(
    "permit an address of four bytes",
    [("ip", b"\x0a\0\0\0")],
    [],
    Names("has 10.0.0.0", [("ip", b"\x0a\0\0\0")]),
    _dns("example.com"),
)
_constrain(
    "permit URIs at .example.com",
    [("uri", ".example.com")],
    [],
    Names("has a URI there", [("uri", "https://a.example.com/")]),
    Names("has a URI elsewhere", [("uri", "https://example.net/")]),
    _NO_NAMES,
    _dns("example.com"),
    both=True,
)
_constrain(
    "exclude URIs at example.com",
    [],
    [("uri", "example.com")],
    Names("has a URI there", [("uri", "https://example.com/")]),
    Names("has a URI elsewhere", [("uri", "https://example.net/")]),
)
_CONTOSO, _FABRIKAM = name((ORGANIZATION, "Contoso")), name((ORGANIZATION, "Fabrikam"))
for _critical in (True, False):
    _constrain(
        "permit the directory name O=Contoso",
        [("directory", _CONTOSO)],
        [],
        Names("is O=Contoso", None),
        _dns("example.com"),
        both=_critical,
    )
    if _critical:
        _constrain(
            "permit the directory name O=Fabrikam",
            [("directory", _FABRIKAM)],
            [],
            Names("is O=Contoso", None),
            _dns("example.com"),
            both=True,
        )
        _constrain(
            "exclude the directory name O=Contoso",
            [],
            [("directory", _CONTOSO)],
            Names("is O=Contoso", None),
            _dns("example.com"),
            both=True,
        )
    break
_constrain(
    "permit a user principal name",
    [("other", "example.com")],
    [],
    Names("has a user principal name", [("other", "client@example.com")]),
    _dns("example.com"),
    both=True,
)

for _text, _value in (
    ("are empty", der.sequence()),
    ("hold an empty list", der.sequence(der.context(0, b""))),
    ("are no SEQUENCE", der.TRUE),
    (
        "have a minimum of 1",
        der.sequence(
            der.context(
                0,
                der.sequence(
                    general_name("dns", "example.com") + der.context(0, b"\1", constructed=False)
                ),
            )
        ),
    ),
    (
        "have a maximum",
        der.sequence(
            der.context(
                0,
                der.sequence(
                    general_name("dns", "example.com") + der.context(1, b"\x05", constructed=False)
                ),
            )
        ),
    ),
    (
        "write the minimum 0 out",
        der.sequence(
            der.context(
                0,
                der.sequence(
                    general_name("dns", "example.com") + der.context(0, b"\0", constructed=False)
                ),
            )
        ),
    ),
):
    for _critical in (True, False):
        extension_change(
            __name__,
            AUTHORITIES,
            f"nameConstraints {_text}{'' if _critical else ' (not critical)'}",
            NAME_CONSTRAINTS,
            _value,
            critical=_critical,
        )
extension_change(
    __name__,
    "leaf",
    "nameConstraints in a leaf",
    NAME_CONSTRAINTS,
    name_constraints([("dns", "example.com")], []),
    critical=True,
)


def _constrained_intermediate(text: str, base: Base, change: Callable[[Certificate], None]) -> None:
    """Put an intermediate with a name outside a constraint below the anchor that has it."""

    def apply(draft: Draft, _leaf: Certificate) -> None:
        if len(draft.path) == 2:
            draft.insert_intermediate()
        draft.anchor.set(NAME_CONSTRAINTS, name_constraints([base], []), critical=True)
        change(draft.path[1])

    variation("chain", f"the anchor's nameConstraints bind an intermediate {text}", "alone")(apply)


_constrained_intermediate(
    "with another DNS name",
    ("dns", "example.com"),
    lambda ca: ca.set(SUBJECT_ALTERNATIVE_NAME, alternative_names(("dns", "example.net"))),
)
_constrained_intermediate(
    "with a permitted DNS name",
    ("dns", "example.com"),
    lambda ca: ca.set(SUBJECT_ALTERNATIVE_NAME, alternative_names(("dns", "ca.example.com"))),
)
_constrained_intermediate(
    "with another e-mail address in the subject",
    ("email", "example.com"),
    lambda ca: setattr(ca, "subject", name((COMMON_NAME, "CA"), (EMAIL, "ca@example.net"))),
)
_constrained_intermediate(
    "with another common name",
    ("dns", "example.com"),
    lambda ca: setattr(ca, "subject", name((COMMON_NAME, "ca.example.net"))),
)
