"""Names that a policy allows: how an entry is written, and what it matches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from cryptography.x509 import Name
from cryptography.x509.oid import NameOID


def common_name(entry: str) -> str:
    """Read an entry of `common_names`.

    Args:
        entry: as it stands in the settings.

    Raises:
        ValueError: with what is wrong and what to write instead.
    """
    _require_bare(entry)
    if re.match(r"CN\s*=", entry, re.IGNORECASE):
        raise ValueError("is a whole name; write the common name alone, without CN=")
    return entry


def issuer(entry: str) -> str | Name:
    """Read an entry of `issuers`: a common name, or a whole name as RFC 4514 writes it.

    Args:
        entry: as it stands in the settings.

    Returns:
        The common name as text, or the structure that the whole name denotes.

    Raises:
        ValueError: with what is wrong and what to write instead.
    """
    if "=" not in entry:
        _require_bare(entry)
        return entry
    if re.search(r"[\r\n]", entry.strip()):
        raise ValueError(f"holds line breaks; {_rfc4514_hint(entry)}")
    _require_bare(entry)
    try:
        return Name.from_rfc4514_string(_without_spaces_after_commas(entry))
    except ValueError as error:
        raise ValueError(f"is not a name as RFC 4514 writes it; {_rfc4514_hint(entry)}") from error


Matcher = Callable[[str], bool]


def dns_name(entry: str) -> Matcher:
    """Read an entry of `dns_names`; `*.partner.example` stands for exactly one label.

    Args:
        entry: as it stands in the settings.

    Returns:
        What tells whether a DNS name of a certificate matches: without regard to case
        (RFC 4343). A name that itself holds a `*` matches nothing.

    Raises:
        ValueError: with what is wrong and what to write instead.
    """
    _require_bare(entry)
    host = entry.removeprefix("*.")
    _require_host(host, "is no DNS name; write host.partner.example, or *.partner.example")
    if host == entry:
        wanted = _folded(entry)
        return lambda name: _folded(name) == wanted
    if "." not in host:
        raise ValueError("would match a whole top-level domain; write *.partner.example")
    suffix = _folded(f".{host}")

    def matches(name: str) -> bool:
        label, dot, rest = name.partition(".")
        return bool(_LABEL.fullmatch(label)) and _folded(dot + rest) == suffix

    return matches


def email_address(entry: str) -> Matcher:
    """Read an entry of `email_addresses`.

    Args:
        entry: as it stands in the settings.

    Returns:
        What tells whether an address of a certificate matches: the mailbox exactly, the host
        without regard to case (RFC 5280 section 7.5).

    Raises:
        ValueError: with what is wrong and what to write instead.
    """
    _require_bare(entry)
    mailbox, _, host = entry.rpartition("@")
    mistake = "is no e-mail address; write ops@partner.example"
    if not re.fullmatch(r"[^\s<>:;,*]+", mailbox):
        raise ValueError(mistake)
    _require_host(host, mistake)
    wanted = (mailbox, _folded(host))

    def matches(address: str) -> bool:
        mailbox, _, host = address.rpartition("@")
        return (mailbox, _folded(host)) == wanted

    return matches


_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s*]+")
_URI_FOLDER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s*/?#]+/(?:[^\s*?#]*/)?)\*")
_URI_TRICKS = re.compile(
    r"//|\\|/\.{1,2}(?:[/;]|\Z)|%2f|%2e|%5c|%25|[?#\x00-\x20\x7f]", re.IGNORECASE
)
"""What some reader of a path takes for another folder, or for the end of the path."""


def uri(entry: str) -> Matcher:
    """Read an entry of `uris`; `spiffe://partner.example/*` stands for all below that folder.

    Args:
        entry: as it stands in the settings.

    Returns:
        What tells whether a URI of a certificate matches: exactly, or by its path's segments. A
        path with dot segments, doubled or encoded slashes lies below no folder.

    Raises:
        ValueError: with what is wrong and what to write instead.
    """
    _require_bare(entry)
    folder = _URI_FOLDER.fullmatch(entry)
    if folder is None:
        if not _URI.fullmatch(entry):
            raise ValueError(
                "is no URI; write spiffe://partner.example/gateway, or with a whole host and a"
                " folder before the * spiffe://partner.example/*"
            )
        return lambda name: name == entry
    prefix = folder[1]
    if _plays_tricks(prefix):
        raise ValueError("can never match: dot segment, doubled or encoded slash; write it plainly")

    def matches(name: str) -> bool:
        return name.startswith(prefix) and name != prefix and not _plays_tricks(name)

    return matches


def _plays_tricks(name: str) -> bool:
    return _URI_TRICKS.search(name.partition("://")[2]) is not None


def any_matches(matchers: Iterable[Matcher], found: Iterable[str]) -> bool:
    """Tell whether any of the names found is matched by any entry."""
    return any(matcher(name) for name in found for matcher in matchers)


_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_LOWER = {ord(letter): ord(letter.lower()) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _folded(name: str) -> str:
    """Drop the case of ASCII letters alone: "\u212a" (KELVIN SIGN).lower() is a "k"."""
    return name.translate(_LOWER)


def _require_host(host: str, mistake: str) -> None:
    if not host.isascii():
        raise ValueError("is not ASCII; write its A-label, xn--...")
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError(mistake)


_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Control characters, line separators and the direction marks that Windows' dialogs add."""


def _require_bare(entry: str) -> None:
    if entry.strip() != entry:
        raise ValueError("has white space around it, and names are compared exactly; drop it")
    invisible = _INVISIBLE.search(entry)
    if invisible:
        raise ValueError(
            f"holds the invisible character U+{ord(invisible[0]):04X}, and names are compared"
            " exactly; type it anew"
        )
    if re.fullmatch(r"([\"']).+\1", entry):
        raise ValueError("stands in quotation marks, which would belong to the name; drop them")


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


def _without_spaces_after_commas(name: str) -> str:
    """Drop the spaces that people put after a comma that separates, not after an escaped one."""
    return re.sub(r"(\\.)|,\s+", lambda match: match[1] or ",", name)


def _is_most_general_first(name: Name) -> bool:
    """Tell whether a name that was read as RFC 4514 begins with a country and ends with a CN."""
    first, last = name.rdns[-1], name.rdns[0]
    return any(
        attribute.oid in (NameOID.COUNTRY_NAME, NameOID.DOMAIN_COMPONENT) for attribute in first
    ) and any(attribute.oid == NameOID.COMMON_NAME for attribute in last)


def _reversed(name: Name) -> str:
    return repr(Name(reversed(name.rdns)).rfc4514_string())


def _rfc4514_hint(entry: str) -> str:
    """Say how RFC 4514 writes a name that OpenSSL or Windows printed."""
    lines = re.split(r"\s*[\r\n]+\s*", entry.strip())
    # OpenSSL prints the most general first; Windows' dialog, one line each, the most special.
    is_reversed = entry.startswith("/") or (" = " in entry and len(lines) == 1)
    text = ",".join(lines)
    text = text.removeprefix("/").replace("/", ",") if entry.startswith("/") else text
    text = _without_spaces_after_commas(re.sub(r"\s*=\s*", "=", text))
    try:
        name = Name.from_rfc4514_string(text, _OTHER_ATTRIBUTE_NAMES)
    except ValueError:
        return (
            "most special first, a comma between: CN=Contoso CA,O=Contoso,C=US; this prints it:"
            " openssl x509 -in client.pem -noout -issuer -nameopt RFC2253"
        )
    if is_reversed or _is_most_general_first(name):
        return f"write {_reversed(name)}"
    return f"write {name.rfc4514_string()!r}"
