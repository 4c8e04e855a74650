"""The settings that keep out requests that did not come through the front end."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.forwarding.front_ends import is_header_name, why_no_header_name
from arrcert.key_vault import UNRESOLVED_REFERENCE, is_unresolved_reference

SHORTEST_SECRET = 16
"""The smallest length of a front end's secret, in characters; a shorter one can be guessed."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SecretHeader(NamedTuple):
    """A header that the front end adds, with a value that only the front end and the app know.

    Attributes:
        header: the name of the header.
        secrets: one secret, or two while it is being changed.
    """

    header: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<SecretHeader {self.header}>"


def networks_from(value: object, *, setting: str) -> tuple[Network, ...]:
    """Return the networks that a setting lists.

    Args:
        value: a list of addresses and networks, such as `["10.1.0.0/16", "fd00::/8"]`.
        setting: the name of the setting, for errors.

    Raises:
        ConfigurationError: all mistakes together.
    """
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise ConfigurationError(
            [Problem(setting, f'{quote(value)} is not a list of networks; write ["10.1.0.0/16"]')]
        )
    problems, networks = [], []
    for entry in value:
        try:
            if not isinstance(entry, str):
                raise ValueError("it is not text")
            network = ipaddress.ip_network(entry)
            if network.prefixlen == 0:
                raise ValueError("it holds every address")
            networks.append(network)
        except ValueError as error:
            problems.append(
                Problem(
                    setting,
                    f"{quote(entry)} is not a network of proxies ({error}); write an address or a"
                    " network such as 10.1.0.0/16",
                )
            )
    if problems:
        raise ConfigurationError(problems)
    return tuple(networks)


def secret_header_from(value: object, *, setting: str) -> SecretHeader:
    """Return the secret header that a setting describes.

    Args:
        value: `{"header": "X-Front-End-Secret", "secrets": ["..."]}`, with one secret, or two while
            it is being changed, each of at least 16 printable ASCII characters.
        setting: the name of the setting, for errors.

    Raises:
        ConfigurationError: all mistakes together. No message contains a secret.
    """
    example = '{"header": "X-Front-End-Secret", "secrets": ["..."]}'
    if not isinstance(value, Mapping):
        raise ConfigurationError([Problem(setting, f"is not a mapping; write {example}")])
    problems = [
        Problem(setting, f"{quote(key)} is not a key of this setting; write {example}")
        for key in value
        if key not in ("header", "secrets")
    ]
    header = value.get("header")
    if not isinstance(header, str) or not is_header_name(header):
        problems.append(Problem(f'{setting}["header"]', why_no_header_name(header)))
    secrets = value.get("secrets")
    texts = [text for text in (header, *_listed(secrets)) if isinstance(text, str)]
    if any(map(is_unresolved_reference, texts)):
        problems.append(Problem(f'{setting}["secrets"]', UNRESOLVED_REFERENCE))
        raise ConfigurationError(problems)
    if not isinstance(secrets, list | tuple) or not 1 <= len(secrets) <= 2:
        problems.append(
            Problem(f'{setting}["secrets"]', "is not a list of one or two secrets; write a list")
        )
    elif not all(map(_is_secret, secrets)):
        problems.append(
            Problem(
                f'{setting}["secrets"]',
                f"each secret must be text of at least {SHORTEST_SECRET} printable ASCII characters"
                " without spaces; generate one:"
                " python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        )
    if problems:
        raise ConfigurationError(problems)
    return SecretHeader(str(header), tuple(secrets or ()))


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else [value]


def _is_secret(text: object) -> bool:
    return (
        isinstance(text, str)
        and len(text) >= SHORTEST_SECRET
        and text.isascii()
        and text.isprintable()
        and " " not in text
    )
