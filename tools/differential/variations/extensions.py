"""Other extensions: key identifiers, policies, unknown ones."""

from __future__ import annotations

from tools.differential import der
from tools.differential.certificates import (
    AUTHORITY_KEY_IDENTIFIER,
    KEY_USAGE,
    ORGANIZATION,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
    extension,
    general_name,
    name,
)
from tools.differential.chains import Draft
from tools.differential.registry import AUTHORITIES, ROLES, extension_change, variation

_KEY = der.context(0, bytes(20), constructed=False)
_ANY_POLICY = der.sequence(der.oid("2.5.29.32.0"))
_POLICY = der.sequence(der.oid("1.3.6.1.4.1.55555.5"))
_URL = der.context(6, b"https://ca.example/", constructed=False)

for _text, _number, _value, _critical in (
    ("subjectKeyIdentifier is absent", SUBJECT_KEY_IDENTIFIER, None, False),
    (
        "subjectKeyIdentifier is critical",
        SUBJECT_KEY_IDENTIFIER,
        der.tlv(der.OCTETS, bytes(20)),
        True,
    ),
    (
        "subjectKeyIdentifier is another",
        SUBJECT_KEY_IDENTIFIER,
        der.tlv(der.OCTETS, bytes(20)),
        False,
    ),
    ("subjectKeyIdentifier is empty", SUBJECT_KEY_IDENTIFIER, der.tlv(der.OCTETS, b""), False),
    ("subjectKeyIdentifier is no OCTET STRING", SUBJECT_KEY_IDENTIFIER, der.TRUE, False),
    ("authorityKeyIdentifier is absent", AUTHORITY_KEY_IDENTIFIER, None, False),
    (
        "authorityKeyIdentifier names another key",
        AUTHORITY_KEY_IDENTIFIER,
        der.sequence(_KEY),
        False,
    ),
    ("authorityKeyIdentifier is critical", AUTHORITY_KEY_IDENTIFIER, der.sequence(), True),
    ("authorityKeyIdentifier is empty", AUTHORITY_KEY_IDENTIFIER, der.sequence(), False),
    (
        "authorityKeyIdentifier names another issuer and serial number",
        AUTHORITY_KEY_IDENTIFIER,
        der.sequence(
            der.context(1, general_name("directory", name((ORGANIZATION, "Fabrikam")))),
            der.context(2, b"\x05", constructed=False),
        ),
        False,
    ),
    (
        "authorityKeyIdentifier has an issuer without a serial number",
        AUTHORITY_KEY_IDENTIFIER,
        der.sequence(der.context(1, general_name("directory", name((ORGANIZATION, "Fabrikam"))))),
        False,
    ),
    ("authorityKeyIdentifier is no SEQUENCE", AUTHORITY_KEY_IDENTIFIER, der.TRUE, False),
    ("an unknown extension", "1.3.6.1.4.1.55555.9", der.TRUE, False),
    ("an unknown critical extension", "1.3.6.1.4.1.55555.9", der.TRUE, True),
    ("an empty unknown extension", "1.3.6.1.4.1.55555.9", b"", False),
    ("certificatePolicies", "2.5.29.32", der.sequence(_POLICY), False),
    ("certificatePolicies, critical", "2.5.29.32", der.sequence(_POLICY), True),
    ("certificatePolicies hold anyPolicy", "2.5.29.32", der.sequence(_ANY_POLICY), False),
    ("certificatePolicies are empty", "2.5.29.32", der.sequence(), False),
    ("certificatePolicies hold a policy twice", "2.5.29.32", der.sequence(_POLICY, _POLICY), False),
    (
        "requireExplicitPolicy is 0",
        "2.5.29.36",
        der.sequence(der.context(0, b"\0", constructed=False)),
        True,
    ),
    (
        "requireExplicitPolicy is 0, not critical",
        "2.5.29.36",
        der.sequence(der.context(0, b"\0", constructed=False)),
        False,
    ),
    ("inhibitAnyPolicy", "2.5.29.54", der.integer(0), True),
    (
        "policyMappings",
        "2.5.29.33",
        der.sequence(der.sequence(der.oid("1.3.6.1.4.1.55555.5"), der.oid("1.3.6.1.4.1.55555.6"))),
        True,
    ),
    ("a certificate transparency poison", "1.3.6.1.4.1.11129.2.4.3", der.tlv(der.NULL, b""), True),
    (
        "CRL distribution points",
        "2.5.29.31",
        der.sequence(der.sequence(der.context(0, der.context(0, _URL)))),
        False,
    ),
    (
        "CRL distribution points, critical",
        "2.5.29.31",
        der.sequence(der.sequence(der.context(0, der.context(0, _URL)))),
        True,
    ),
    ("CRL distribution points are broken", "2.5.29.31", der.sequence(der.TRUE), False),
    (
        "a freshest CRL",
        "2.5.29.46",
        der.sequence(der.sequence(der.context(0, der.context(0, _URL)))),
        False,
    ),
    (
        "authority information access",
        "1.3.6.1.5.5.7.1.1",
        der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.48.2"), _URL)),
        False,
    ),
    (
        "authority information access, critical",
        "1.3.6.1.5.5.7.1.1",
        der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.48.2"), _URL)),
        True,
    ),
    ("authority information access is broken", "1.3.6.1.5.5.7.1.1", der.sequence(der.TRUE), False),
    ("issuerAltName", "2.5.29.18", der.sequence(_URL), False),
    ("issuerAltName, critical", "2.5.29.18", der.sequence(_URL), True),
    (
        "a private key usage period that is over",
        "2.5.29.16",
        der.sequence(der.context(1, b"20200101000000Z", constructed=False)),
        False,
    ),
    ("a TLS feature", "1.3.6.1.5.5.7.1.24", der.sequence(der.integer(5)), False),
    ("no OCSP check", "1.3.6.1.5.5.7.48.1.5", der.tlv(der.NULL, b""), False),
    ("a Netscape type for servers", "2.16.840.1.113730.1.1", der.bits(b"\x40", 6), False),
    ("a Netscape type for clients", "2.16.840.1.113730.1.1", der.bits(b"\x80", 7), False),
    ("a Netscape type for CAs", "2.16.840.1.113730.1.1", der.bits(b"\x04", 2), False),
    ("a Netscape comment", "2.16.840.1.113730.1.13", der.tlv(der.IA5, b"hello"), False),
    ("a Microsoft template", "1.3.6.1.4.1.311.20.2", der.tlv(der.BMP, b"\0U\0s\0e\0r"), False),
    (
        "proxyCertInfo",
        "1.3.6.1.5.5.7.1.14",
        der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.21.1"))),
        True,
    ),
    (
        "subject information access",
        "1.3.6.1.5.5.7.1.11",
        der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.48.5"), _URL)),
        False,
    ),
    (
        "IP address blocks (RFC 3779)",
        "1.3.6.1.5.5.7.1.7",
        der.sequence(der.sequence(der.tlv(der.OCTETS, b"\0\1"), der.sequence(der.bits(b"\x0a")))),
        False,
    ),
):
    extension_change(__name__, ROLES, _text, _number, _value, critical=_critical)

for _text, _again in (
    ("keyUsage", KEY_USAGE),
    ("authorityKeyIdentifier", AUTHORITY_KEY_IDENTIFIER),
):

    def _repeat(_draft: Draft, certificate: Certificate, number: str = _again) -> None:
        if number in certificate.extensions:
            certificate.more_extensions.append(extension(certificate.extensions[number]))

    variation(ROLES, f"{_text} is there twice", "more", f"extension {_again.replace('.', '-')}")(
        _repeat
    )


@variation(ROLES, "an unknown extension is there twice", "more")
def _unknown_twice(_draft: Draft, certificate: Certificate) -> None:
    certificate.more_extensions += [extension(("1.3.6.1.4.1.55555.8", False, der.TRUE))] * 2


@variation(ROLES, "extensions are in another order", "order")
def _shuffled(draft: Draft, certificate: Certificate) -> None:
    parts = list(certificate.extensions.items())
    draft.random.shuffle(parts)
    certificate.extensions = dict(parts)


@variation(("leaf",), "no extension at all", "alone")
def _no_extensions(_draft: Draft, certificate: Certificate) -> None:
    certificate.extensions.clear()


@variation(AUTHORITIES, "no extension but basicConstraints", "alone")
def _few_extensions(_draft: Draft, certificate: Certificate) -> None:
    certificate.extensions = {
        number: value for number, value in certificate.extensions.items() if number == "2.5.29.19"
    }
