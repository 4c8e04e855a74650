"""Names that a policy allows: how an entry is written, and which names it matches."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from cryptography.x509 import Name
from cryptography.x509.oid import NameOID


def common_name(entry: str) -> str:
    """Read an entry of `common_names`.

    Args:
        entry: as it is written in the settings.

    Raises:
        ValueError: the entry is not valid. The message says why, and what to write instead.
    """
    require_plain(entry)
    if re.match(r"CN\s*=", entry, re.IGNORECASE):
        raise ValueError("is a whole name; write only the common name, without CN=")
    return entry


def issuer(entry: str) -> str | Name:
    """Read an entry of `issuers`: a common name, or a whole name in the form of RFC 4514.

    Args:
        entry: as it is written in the settings.

    Returns:
        The common name as text, or the whole name as a structure.

    Raises:
        ValueError: the entry is not valid. The message says why, and what to write instead.
    """
    if "=" not in entry:
        require_plain(entry)
        return entry
    if re.search(r"[\r\n]", entry.strip()):
        raise ValueError(f"holds line breaks; {_rfc4514_hint(entry)}")
    # An escaped space at the end of a value (RFC 4514 section 2.4) is part of the name, so it is
    # not refused as white space.
    require_plain(re.sub(r"(?<!\\)((?:\\\\)*\\ )\Z", r"\1.", entry))
    try:
        return Name.from_rfc4514_string(_without_spaces_after_commas(entry))
    except ValueError as error:
        raise ValueError(f"is not an RFC 4514 name; {_rfc4514_hint(entry)}") from error


_Key = TypeVar("_Key")

MOST_MATCHES = 3
"""How many names of a certificate `matching` returns. One is an identity, and of several an error
shows the first. So the cost does not grow with the number of names times the number of policies."""


class PresentedNames:
    """The subject alternative names of a certificate, prepared once for all allowlists.

    Args:
        dns_names: the DNS names of the certificate.
        uris: its URIs.
        email_addresses: its e-mail addresses.

    Attributes:
        dns_names: the DNS names in lower case (RFC 4343).
        parent_domains: for each DNS name, the part after its first label.
        uris: the URIs.
        uri_folders: the folders above each URI that has no ambiguous path.
        email_addresses: pairs of mailbox and host, with the host in lower case (RFC 5280 section
            7.5).
    """

    def __init__(
        self,
        dns_names: Iterable[str] = (),
        uris: Iterable[str] = (),
        email_addresses: Iterable[str] = (),
    ) -> None:
        # The names in the order of the certificate, each once.
        self._dns_names = tuple(dict.fromkeys(map(_folded, dns_names)))
        self._uris = tuple(dict.fromkeys(uris))
        self._email_addresses = tuple(dict.fromkeys(email_addresses))
        self.dns_names = frozenset(self._dns_names)
        self.parent_domains = frozenset(filter(None, map(_parent_domain, self.dns_names)))
        self.uris = frozenset(self._uris)
        self.uri_folders = frozenset(
            folder for uri in self.uris if not _is_ambiguous(uri) for folder in _folders_above(uri)
        )
        self.email_addresses = frozenset(map(_mailbox_and_host, self._email_addresses))

    @property
    def first_dns_names(self) -> Sequence[str]:
        """The first DNS names, in lower case."""
        return self._dns_names[:MOST_MATCHES]

    @property
    def first_uris(self) -> Sequence[str]:
        """The first URIs."""
        return self._uris[:MOST_MATCHES]

    @property
    def first_email_addresses(self) -> Sequence[str]:
        """The first e-mail addresses."""
        return self._email_addresses[:MOST_MATCHES]

    @functools.cached_property
    def dns_names_by_parent_domain(self) -> dict[str, list[str]]:
        """The first DNS names for each part after a first label."""
        return _first_of_each(
            (parent, name)
            for name in self._dns_names
            if (parent := _parent_domain(name)) is not None
        )

    @functools.cached_property
    def uris_by_folder(self) -> dict[str, list[str]]:
        """The first URIs below each folder, without URIs whose path is ambiguous."""
        return _first_of_each(
            (folder, uri)
            for uri in self._uris
            if not _is_ambiguous(uri)
            for folder in _folders_above(uri)
        )

    @functools.cached_property
    def spellings_of_email_addresses(self) -> dict[tuple[str, str], list[str]]:
        """The first e-mail addresses for each mailbox and host, as they are in the certificate."""
        return _first_of_each(
            (_mailbox_and_host(address), address) for address in self._email_addresses
        )


def _first_of_each(pairs: Iterable[tuple[_Key, str]]) -> dict[_Key, list[str]]:
    """Return the first names for each key."""
    found: dict[_Key, list[str]] = {}
    for key, name in pairs:
        names = found.setdefault(key, [])
        if len(names) < MOST_MATCHES:
            names.append(name)
    return found


def _first(names: Iterable[str]) -> list[str]:
    """Return the first names that differ."""
    found: list[str] = []
    for name in names:
        if name not in found:
            found.append(name)
            if len(found) == MOST_MATCHES:
                break
    return found


class DNSNames:
    """The DNS names that a policy allows; the `*` in `*.partner.example` is exactly one label.

    A name with a `*` in the certificate does not match.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._domains: set[str] = set()

    def add(self, entry: str) -> None:
        """Add an entry of `dns_names`.

        Args:
            entry: as it is written in the settings.

        Raises:
            ValueError: the entry is not valid. The message says why, and what to write instead.
        """
        require_plain(entry)
        host = entry.removeprefix("*.")
        _require_host(host, "is not a DNS name; write host.partner.example, or *.partner.example")
        if host == entry:
            self._names.add(_folded(entry))
        elif "." in host:
            self._domains.add(_folded(host))
        else:
            raise ValueError("would match a whole top-level domain; write *.partner.example")

    def matching(self, presented: PresentedNames) -> list[str]:
        """Return the first DNS names of a certificate that are allowed, in lower case."""
        exact = self._names & presented.dns_names
        domains = self._domains & presented.parent_domains
        below = (presented.dns_names_by_parent_domain[domain] for domain in sorted(domains))
        return _first(itertools.chain(sorted(exact), *below))

    def entries(self) -> set[str] | None:
        """Return every name that can match, None if they cannot be listed."""
        return None if self._domains else self._names

    def match(self, presented: PresentedNames) -> bool:
        """Return whether a DNS name of a certificate is allowed."""
        return not (
            self._names.isdisjoint(presented.dns_names)
            and self._domains.isdisjoint(presented.parent_domains)
        )


class EmailAddresses:
    """The allowed e-mail addresses. Case counts in the mailbox, but not in the host."""

    def __init__(self) -> None:
        self._addresses: set[tuple[str, str]] = set()

    def add(self, entry: str) -> None:
        """Add an entry of `email_addresses`.

        Args:
            entry: as it is written in the settings.

        Raises:
            ValueError: the entry is not valid. The message says why, and what to write instead.
        """
        require_plain(entry)
        mailbox, host = _mailbox_and_host(entry)
        mistake = "is not an e-mail address; write ops@partner.example"
        if not re.fullmatch(r"[^\s<>:;,*]+", mailbox):
            raise ValueError(mistake)
        _require_host(host, mistake)
        self._addresses.add((mailbox, host))

    def matching(self, presented: PresentedNames) -> list[str]:
        """Return the first e-mail addresses of a certificate that are allowed."""
        found = sorted(self._addresses & presented.email_addresses)
        spellings = (presented.spellings_of_email_addresses[address] for address in found)
        return _first(itertools.chain.from_iterable(spellings))

    def entries(self) -> set[str]:
        """Return every address that can match. The case of the host does not count."""
        return {f"{mailbox}@{host}" for mailbox, host in self._addresses}

    def match(self, presented: PresentedNames) -> bool:
        """Return whether an e-mail address of a certificate is allowed."""
        return not self._addresses.isdisjoint(presented.email_addresses)


def _parent_domain(name: str) -> str | None:
    """Return what follows the first label of a DNS name, None if that label is not plain."""
    label, _, rest = name.partition(".")
    return rest if _LABEL.fullmatch(label) else None


def _mailbox_and_host(address: str) -> tuple[str, str]:
    mailbox, _, host = address.rpartition("@")
    return mailbox, _folded(host)


_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s*]+")
_URI_FOLDER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s*/?#]+/(?:[^\s*?#]*/)?)\*")
_AMBIGUOUS_PATH = re.compile(
    r"//|\\|/\.{1,2}(?:[/;]|\Z)|%2f|%2e|%5c|%25|[?#\x00-\x20\x7f]", re.IGNORECASE
)
"""Parts of a path that some software interprets differently, for example as another folder or as
the end of the path."""

DEEPEST_FOLDER = 32
"""The largest number of slashes in a folder of `uris`. It limits the cost of a hostile URI."""


class URIs:
    """The URIs that a policy allows; `spiffe://partner.example/*` is every URI below a folder.

    An entry without `*` matches only the exact URI. An entry with `*` is compared with the segments
    of the path. A URI with dot segments, double slashes or encoded slashes is in no folder.
    """

    def __init__(self) -> None:
        self._uris: set[str] = set()
        self._folders: set[str] = set()

    def add(self, entry: str) -> None:
        """Add an entry of `uris`.

        Args:
            entry: as it is written in the settings.

        Raises:
            ValueError: the entry is not valid. The message says why, and what to write instead.
        """
        require_plain(entry)
        folder = _URI_FOLDER.fullmatch(entry)
        if folder is None:
            if not _URI.fullmatch(entry):
                raise ValueError(
                    "is not a URI; write spiffe://partner.example/gateway, or a whole host and a"
                    " folder before the *: spiffe://partner.example/*"
                )
            self._uris.add(entry)
        elif _is_ambiguous(folder[1]):
            raise ValueError(
                "can never match, because it holds a dot segment, a double slash or an encoded"
                " slash; remove it"
            )
        elif folder[1].count("/") > DEEPEST_FOLDER:
            raise ValueError(f"has more than {DEEPEST_FOLDER} slashes; write a folder above it")
        else:
            self._folders.add(folder[1])

    def matching(self, presented: PresentedNames) -> list[str]:
        """Return the first URIs of a certificate that are allowed."""
        exact = self._uris & presented.uris
        folders = self._folders & presented.uri_folders
        below = (presented.uris_by_folder[folder] for folder in sorted(folders))
        return _first(itertools.chain(sorted(exact), *below))

    def entries(self) -> set[str] | None:
        """Return every URI that can match, None if they cannot be listed."""
        return None if self._folders else self._uris

    def match(self, presented: PresentedNames) -> bool:
        """Return whether a URI of a certificate is allowed."""
        return not (
            self._uris.isdisjoint(presented.uris)
            and self._folders.isdisjoint(presented.uri_folders)
        )


def _folders_above(uri: str) -> Iterator[str]:
    """Yield the folders above a URI, to the depth that can be configured."""
    end = -1
    for _ in range(DEEPEST_FOLDER):
        end = uri.find("/", end + 1, len(uri) - 1)
        if end == -1:
            return
        yield uri[: end + 1]


def _is_ambiguous(uri: str) -> bool:
    return _AMBIGUOUS_PATH.search(uri.partition("://")[2]) is not None


_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_LOWER = {ord(letter): ord(letter.lower()) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _folded(name: str) -> str:
    """Return a name with ASCII letters in lower case; other letters stay as they are.

    `str.lower` turns "\u212a" (KELVIN SIGN) into a "k".
    """
    return name.translate(_LOWER)


def _require_host(host: str, mistake: str) -> None:
    if not host.isascii():
        raise ValueError("is not ASCII; write its A-label, xn--...")
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError(mistake)


_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Control characters, line separators and the direction marks that Windows dialogs add."""


def require_plain(entry: str) -> None:
    """Refuse an entry with characters that were pasted by mistake.

    Args:
        entry: as it is written in the settings.

    Raises:
        ValueError: the entry begins or ends with white space, holds an invisible character, or is
            in quotation marks.
    """
    if entry.strip() != entry:
        raise ValueError("has white space around it, and names are compared exactly; remove it")
    invisible = _INVISIBLE.search(entry)
    if invisible:
        raise ValueError(
            f"holds the invisible character U+{ord(invisible[0]):04X}, and names are compared"
            " exactly; type it again"
        )
    if re.fullmatch(r"([\"']).+\1", entry):
        raise ValueError("is in quotation marks, which would be part of the name; remove them")


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
"""Attribute names that OpenSSL and Windows print, but that RFC 4514 section 3 does not define."""


def _without_spaces_after_commas(name: str) -> str:
    """Remove the spaces after each comma between attributes, but not after an escaped comma."""
    return re.sub(r"(\\.)|,\s+", lambda match: match[1] or ",", name)


def _is_most_general_first(name: Name) -> bool:
    """Return whether a name that was read as RFC 4514 begins with a country and ends with a CN."""
    first, last = name.rdns[-1], name.rdns[0]
    return any(
        attribute.oid in (NameOID.COUNTRY_NAME, NameOID.DOMAIN_COMPONENT) for attribute in first
    ) and any(attribute.oid == NameOID.COMMON_NAME for attribute in last)


def _reversed(name: Name) -> str:
    return repr(Name(reversed(name.rdns)).rfc4514_string())


def _rfc4514_hint(entry: str) -> str:
    """Return how RFC 4514 writes a name that OpenSSL or Windows printed."""
    lines = re.split(r"\s*[\r\n]+\s*", entry.strip())
    # OpenSSL prints the most general attribute first. The dialog of Windows prints the most
    # specific attribute first, one on each line.
    is_reversed = entry.startswith("/") or (" = " in entry and len(lines) == 1)
    text = ",".join(lines)
    text = text.removeprefix("/").replace("/", ",") if entry.startswith("/") else text
    text = _without_spaces_after_commas(re.sub(r"\s*=\s*", "=", text))
    try:
        name = Name.from_rfc4514_string(text, _OTHER_ATTRIBUTE_NAMES)
    except ValueError:
        return (
            "write the most specific attribute first, with commas between: CN=Contoso CA,"
            "O=Contoso,C=US; this prints it:"
            " openssl x509 -in client.pem -noout -issuer -nameopt RFC2253"
        )
    if is_reversed or _is_most_general_first(name):
        return f"write {_reversed(name)}"
    return f"write {name.rfc4514_string()!r}"
