"""Basic constraints, key usage and extended key usage (RFC 5280 sections 4.2.1.3, .9 and .12)."""

from __future__ import annotations

from tools.differential import der
from tools.differential.certificates import (
    ANY_USAGE,
    BASIC_CONSTRAINTS,
    CLIENT_AUTH,
    EMAIL_PROTECTION,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SERVER_AUTH,
    Certificate,
    basic_constraints,
    extended_key_usage,
    key_usage,
)
from tools.differential.chains import Draft
from tools.differential.registry import (
    AUTHORITIES,
    ROLES,
    extension_change,
    number_to_aspect,
    variation,
)

_CA, _NOT_CA = basic_constraints(ca=True), basic_constraints(ca=False)

for _roles, _text, _value, _critical in (
    (AUTHORITIES, "basicConstraints are absent", None, False),
    (AUTHORITIES, "basicConstraints are not critical", _CA, False),
    (AUTHORITIES, "basicConstraints say CA:FALSE", _NOT_CA, True),
    (AUTHORITIES, "pathLenConstraint is 9", basic_constraints(ca=True, path_length=9), True),
    (
        AUTHORITIES,
        "pathLenConstraint is negative",
        basic_constraints(ca=True, path_length=-1),
        True,
    ),
    (
        AUTHORITIES,
        "pathLenConstraint is 2**64",
        basic_constraints(ca=True, path_length=2**64),
        True,
    ),
    ("leaf", "basicConstraints say CA:FALSE", _NOT_CA, True),
    ("leaf", "basicConstraints say CA:FALSE, not critical", _NOT_CA, False),
    (
        "leaf",
        "basicConstraints write FALSE out",
        der.sequence(der.tlv(der.BOOLEAN, b"\0")),
        True,
    ),
    ("leaf", "basicConstraints say CA:TRUE", _CA, True),
    (
        "leaf",
        "pathLenConstraint without CA",
        basic_constraints(ca=False, path_length=0),
        True,
    ),
    (ROLES, "basicConstraints are no SEQUENCE", der.TRUE, True),
    (ROLES, "basicConstraints with a BOOLEAN of 1", der.sequence(b"\x01\x01\x01"), True),
    (ROLES, "basicConstraints with bytes behind", der.sequence(der.TRUE) + b"\0\0", True),
):
    extension_change(__name__, _roles, _text, BASIC_CONSTRAINTS, _value, critical=_critical)


@variation(
    AUTHORITIES,
    "pathLenConstraint is one too small",
    number_to_aspect(BASIC_CONSTRAINTS),
    "shape",
)
def _path_too_long(draft: Draft, certificate: Certificate) -> None:
    if certificate is draft.path[1]:
        # No value is too small for the lowest CA. So another CA is inserted below it.
        draft.insert_intermediate()
    length = draft.path.index(certificate) - 2
    certificate.set(
        BASIC_CONSTRAINTS, basic_constraints(ca=True, path_length=length), critical=True
    )


@variation(AUTHORITIES, "pathLenConstraint is just enough", number_to_aspect(BASIC_CONSTRAINTS))
def _path_just_fits(draft: Draft, certificate: Certificate) -> None:
    length = draft.path.index(certificate) - 1
    certificate.set(
        BASIC_CONSTRAINTS, basic_constraints(ca=True, path_length=length), critical=True
    )


for _roles, _text, _value, _critical in (
    (ROLES, "keyUsage is absent", None, False),
    ("leaf", "keyUsage is not critical", key_usage(0), False),
    (AUTHORITIES, "keyUsage is not critical", key_usage(5, 6), False),
    (AUTHORITIES, "keyUsage lacks keyCertSign", key_usage(0, 6), True),
    (AUTHORITIES, "keyUsage lacks keyCertSign, not critical", key_usage(0), False),
    (AUTHORITIES, "keyUsage is digitalSignature and keyCertSign", key_usage(0, 5), True),
    ("leaf", "keyUsage is keyEncipherment alone", key_usage(2), True),
    ("leaf", "keyUsage is keyAgreement alone", key_usage(4), True),
    ("leaf", "keyUsage is nonRepudiation alone", key_usage(1), True),
    ("leaf", "keyUsage holds keyCertSign", key_usage(0, 5), True),
    ("leaf", "keyUsage is keyCertSign alone", key_usage(5), True),
    ("leaf", "keyUsage is encipherOnly alone", key_usage(7), True),
    ("leaf", "keyUsage is decipherOnly alone", key_usage(8), True),
    (ROLES, "keyUsage has no bit", key_usage(), True),
    (AUTHORITIES, "keyUsage has trailing zero bits", der.bits(b"\x84"), True),
    (AUTHORITIES, "keyUsage has a set unused bit", der.bits(b"\x85", 1), True),
    (AUTHORITIES, "keyUsage is three bytes long", der.bits(b"\x84\0\0\x01"), True),
    ("leaf", "keyUsage has trailing zero bits", der.bits(b"\x80"), True),
    ("leaf", "keyUsage has a set unused bit", der.bits(b"\x81", 1), True),
    ("leaf", "keyUsage is three bytes long", der.bits(b"\x80\0\x01"), True),
    (ROLES, "keyUsage is an OCTET STRING", der.tlv(der.OCTETS, b"\x07\x80"), True),
    (ROLES, "keyUsage is empty", b"", True),
):
    extension_change(__name__, _roles, _text, KEY_USAGE, _value, critical=_critical)

for _text, _usages in (
    ("clientAuth", (CLIENT_AUTH,)),
    ("clientAuth and serverAuth", (CLIENT_AUTH, SERVER_AUTH)),
    ("serverAuth alone", (SERVER_AUTH,)),
    ("emailProtection alone", (EMAIL_PROTECTION,)),
    ("anyExtendedKeyUsage alone", (ANY_USAGE,)),
    ("anyExtendedKeyUsage and clientAuth", (ANY_USAGE, CLIENT_AUTH)),
    ("anyExtendedKeyUsage and serverAuth", (ANY_USAGE, SERVER_AUTH)),
    ("clientAuth twice", (CLIENT_AUTH, CLIENT_AUTH)),
    ("an unknown one alone", ("1.3.6.1.4.1.55555.1",)),
    ("OCSPSigning and clientAuth", ("1.3.6.1.5.5.7.3.9", CLIENT_AUTH)),
    ("Netscape SGC alone", ("2.16.840.1.113730.4.1",)),
    ("empty", ()),
):
    for _critical in (False, True):
        if _text == "clientAuth" and not _critical:
            continue
        extension_change(
            __name__,
            ROLES,
            f"extendedKeyUsage is {_text}{', critical' if _critical else ''}",
            EXTENDED_KEY_USAGE,
            extended_key_usage(*_usages),
            critical=_critical,
        )
extension_change(
    __name__,
    AUTHORITIES,
    "extendedKeyUsage is clientAuth",
    EXTENDED_KEY_USAGE,
    extended_key_usage(CLIENT_AUTH),
)
extension_change(__name__, "leaf", "extendedKeyUsage is absent", EXTENDED_KEY_USAGE, None)
extension_change(
    __name__, ROLES, "extendedKeyUsage is no SEQUENCE", EXTENDED_KEY_USAGE, der.oid(CLIENT_AUTH)
)
