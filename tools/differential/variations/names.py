"""Subjects, issuers and subject alternative names (RFC 5280 sections 4.1.2.4, .6 and 4.2.1.6)."""

from __future__ import annotations

from collections.abc import Callable

from tools.differential import der
from tools.differential.certificates import (
    COMMON_NAME,
    EMAIL,
    ORGANIZATION,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
    alternative_names,
    attribute,
    name,
)
from tools.differential.chains import Draft
from tools.differential.registry import (
    AUTHORITIES,
    ROLES,
    extension_change,
    number_to_aspect,
    variation,
)

_SAN = number_to_aspect(SUBJECT_ALTERNATIVE_NAME)
_EMPTY = der.sequence()


def _san(text: str, value: bytes | None, *, critical: bool = False) -> None:
    extension_change(
        __name__,
        ROLES,
        f"subjectAltName {text}",
        SUBJECT_ALTERNATIVE_NAME,
        value,
        critical=critical,
    )


_san("is absent", None)
_san("is critical", alternative_names(("dns", "client.example.com")), critical=True)
_san("is empty", _EMPTY)
_san("is no SEQUENCE", der.tlv(der.IA5, b"client.example.com"))
_san("has bytes behind", alternative_names(("dns", "client.example.com")) + b"\0\0")
_san("holds an unknown type", der.sequence(der.context(9, b"x", constructed=False)))
for _text, _kind, _value in (
    ("an e-mail address", "email", "client@example.com"),
    ("an e-mail address without @", "email", "client"),
    ("an empty e-mail address", "email", ""),
    ("a quoted e-mail address", "email", '"a b"@example.com'),
    ("a URI", "uri", "https://client.example.com/x"),
    ("a URN", "uri", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"),
    ("a URI without scheme", "uri", "client"),
    ("a URI with a space", "uri", "https://a b/"),
    ("a URI with a bad port", "uri", "https://client.example.com:x/"),
    ("an IPv4 address", "ip", b"\x0a\x01\x02\x03"),
    ("an IPv6 address", "ip", b"\x20\x01" + bytes(13) + b"\1"),
    ("an IP address of five bytes", "ip", b"\x0a\x01\x02\x03\x04"),
    ("an empty IP address", "ip", b""),
    ("a directory name", "directory", name((COMMON_NAME, "client"))),
    ("a user principal name", "other", "client@example.com"),
    ("a wildcard", "dns", "*.example.com"),
    ("a wildcard within a label", "dns", "c*t.example.com"),
    ("a lone wildcard", "dns", "*"),
    ("an empty DNS name", "dns", ""),
    ("a DNS name with an underscore", "dns", "my_client.example.com"),
    ("a DNS name with a space", "dns", "my client"),
    ("a DNS name with a final dot", "dns", "client.example.com."),
    ("a DNS name with a leading dot", "dns", ".example.com"),
    ("a DNS name with two dots", "dns", "client..example.com"),
    ("a DNS name in upper case", "dns", "CLIENT.EXAMPLE.COM"),
    ("a DNS name with a NUL", "dns", "client.example.com\0.evil.example"),
    ("a DNS name that is an address", "dns", "10.1.2.3"),
    ("a DNS name of 64 letters a label", "dns", "a" * 64 + ".example.com"),
    ("a DNS name of 300 letters", "dns", ".".join(["a" * 49] * 6)),
    ("a DNS name with a hyphen first", "dns", "-client.example.com"),
    ("a DNS name of one label", "dns", "client"),
    ("a DNS name in UTF-8", "dns", "cliënt.example.com"),
    ("a DNS name in Latin-1", "dns", b"cli\xebnt.example.com"),
    ("a DNS name in Punycode", "dns", "xn--clint-fsa.example.com"),
    ("a broken Punycode name", "dns", "xn--a.example.com"),
):
    _san(f"holds {_text}", alternative_names((_kind, _value)))
_san(
    "holds a hundred names",
    alternative_names(*(("dns", f"c{number}.example.com") for number in range(100))),
)


def _subject(text: str, make: Callable[[str], bytes]) -> None:
    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.subject = make(certificate.role)

    variation(ROLES, f"the subject {text}", "subject")(change)


_subject("has no common name", lambda role: name((ORGANIZATION, f"Contoso {role}")))
_subject(
    "has two common names",
    lambda role: name((COMMON_NAME, f"one {role}"), (COMMON_NAME, f"two {role}")),
)
_subject(
    "is one RDN of two attributes",
    lambda role: der.sequence(
        der.tlv(
            der.SET,
            attribute(COMMON_NAME, f"a {role}") + attribute(ORGANIZATION, f"Contoso {role}"),
        )
    ),
)
_subject(
    "is one RDN of two attributes out of order",
    lambda role: der.sequence(
        der.tlv(
            der.SET,
            attribute(ORGANIZATION, f"Contoso {role}") + attribute(COMMON_NAME, f"a {role}"),
        )
    ),
)
_subject("holds an empty RDN", lambda _role: der.sequence(der.tlv(der.SET, b"")))
_subject("holds an empty common name", lambda _role: name((COMMON_NAME, "")))
_subject("holds 65 letters", lambda role: name((COMMON_NAME, role + "a" * 65)))
_subject("holds 5,000 letters", lambda role: name((COMMON_NAME, role + "a" * 5000)))
_subject("holds a NUL", lambda role: name((COMMON_NAME, f"{role}\0.example.com")))
_subject("holds an emailAddress", lambda role: name((EMAIL, f"{role}@example.com")))
_subject("is a PrintableString", lambda role: name((COMMON_NAME, f"a {role}", der.PRINTABLE)))
_subject(
    "is a PrintableString with @ and *",
    lambda role: name((COMMON_NAME, f"{role}@*_", der.PRINTABLE)),
)
_subject("is a TeletexString", lambda role: name((COMMON_NAME, f"a {role}", der.TELETEX)))
_subject("is a BMPString", lambda role: name((COMMON_NAME, f"a {role}", der.BMP)))
_subject("is an IA5String", lambda role: name((COMMON_NAME, f"a {role}", der.IA5)))
_subject(
    "is a UniversalString",
    lambda _role: der.sequence(
        der.tlv(der.SET, der.sequence(der.oid(COMMON_NAME), der.tlv(28, "a".encode("utf-32-be"))))
    ),
)
_subject(
    "is a BMPString of three bytes",
    lambda _role: der.sequence(
        der.tlv(der.SET, der.sequence(der.oid(COMMON_NAME), der.tlv(der.BMP, b"\0a\0")))
    ),
)
_subject(
    "is an INTEGER",
    lambda _role: der.sequence(
        der.tlv(der.SET, der.sequence(der.oid(COMMON_NAME), der.integer(7)))
    ),
)
_subject(
    "is an OCTET STRING",
    lambda _role: der.sequence(
        der.tlv(der.SET, der.sequence(der.oid(COMMON_NAME), der.tlv(der.OCTETS, b"abc")))
    ),
)
_subject(
    "is broken UTF-8",
    lambda _role: der.sequence(
        der.tlv(der.SET, der.sequence(der.oid(COMMON_NAME), der.tlv(der.UTF8, b"\xff\xfe")))
    ),
)
_subject("has an unknown attribute", lambda role: name(("1.3.6.1.4.1.55555.4", role)))
_subject(
    "has a country of three letters", lambda role: name(("2.5.4.6", "USA"), (COMMON_NAME, role))
)
_subject("is a SET", lambda role: der.tlv(der.SET, name((COMMON_NAME, role))))


@variation("leaf", "the subject is empty", "subject")
def _empty_subject(_draft: Draft, certificate: Certificate) -> None:
    certificate.subject = _EMPTY


@variation("leaf", "the subject is empty, subjectAltName critical", "subject", _SAN)
def _empty_subject_critical(_draft: Draft, certificate: Certificate) -> None:
    certificate.subject = _EMPTY
    certificate.set(
        SUBJECT_ALTERNATIVE_NAME, alternative_names(("dns", "client.example.com")), critical=True
    )


@variation("leaf", "no name at all", "subject", _SAN)
def _no_name(_draft: Draft, certificate: Certificate) -> None:
    certificate.subject = _EMPTY
    certificate.drop(SUBJECT_ALTERNATIVE_NAME)


@variation(AUTHORITIES, "the subject is empty", "subject")
def _empty_ca_subject(_draft: Draft, certificate: Certificate) -> None:
    certificate.subject = _EMPTY


def _issuer(text: str, make: Callable[[str], bytes], *, plain: str = "Contoso CA") -> None:
    """Write the name of the issuer in another encoding than the CA."""

    def change(draft: Draft, certificate: Certificate) -> None:
        issuer = draft.issuer_of(certificate)
        issuer.subject = name((COMMON_NAME, plain))
        certificate.issuer = make(plain)

    claims = (
        "issuer",
        "intermediate.subject",
        "anchor.subject",
        "leaf.issuer",
        "intermediate.issuer",
    )
    variation(ROLES[:2], f"the issuer {text}", *claims)(change)


_issuer(
    "is a PrintableString, the CA's name UTF8String",
    lambda plain: name((COMMON_NAME, plain, der.PRINTABLE)),
)
_issuer("differs in upper and lower case", lambda plain: name((COMMON_NAME, plain.upper())))
_issuer("differs in white space", lambda plain: name((COMMON_NAME, f" {plain.replace(' ', '  ')}")))
_issuer("is another name", lambda _plain: name((COMMON_NAME, "Fabrikam CA")))
_issuer("is empty", lambda _plain: _EMPTY)
_issuer("has one RDN more", lambda plain: name((COMMON_NAME, plain), (ORGANIZATION, "Contoso")))


@variation(ROLES, "has unique identifiers", "key")
def _unique_identifiers(_draft: Draft, certificate: Certificate) -> None:
    identifiers = der.context(1, b"\0\1", constructed=False)
    identifiers += der.context(2, b"\0\2", constructed=False)
    certificate.info = (certificate.info or certificate.key.info) + identifiers


for _text, _serial in (
    ("0", der.integer(0)),
    ("negative", der.integer(-5)),
    ("20 bytes long", der.tlv(der.INTEGER, b"\x7f" + b"\xff" * 19)),
    ("21 bytes long", der.tlv(der.INTEGER, b"\0" + b"\xff" * 20)),
    ("22 bytes long", der.tlv(der.INTEGER, b"\x7f" + b"\xff" * 21)),
    ("padded with a zero byte", der.tlv(der.INTEGER, b"\0\x05")),
    ("empty", der.tlv(der.INTEGER, b"")),
    ("an OCTET STRING", der.tlv(der.OCTETS, b"\x05")),
):

    def _set_serial(_draft: Draft, certificate: Certificate, serial: bytes = _serial) -> None:
        certificate.serial = serial

    variation(ROLES, f"the serial number is {_text}", "serial")(_set_serial)
