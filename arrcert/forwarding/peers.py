"""The check of the direct peer's address against `ARRCERT_TRUSTED_PROXIES`.

Several servers can replace the peer's address by an address from a request header or from the PROXY
protocol. Such an address says who the client is, or claims to be. It does not say who sent the
request to the app. `docs/servers.md` lists what each server does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arrcert.exceptions import DenialReason, Finding, quote
from arrcert.forwarding.gunicorn import gunicorn_speaks_proxy_protocol
from arrcert.forwarding.proxies import Network

_REMEDY = (
    "run uvicorn with --no-proxy-headers, daphne without --proxy-headers, gunicorn without"
    " --proxy-protocol, waitress without trusted_proxy"
)


def check_wsgi_peer(environ: Mapping[str, Any], trusted: Sequence[Network]) -> Finding | None:
    """Return why the direct peer of a WSGI request is not trusted, None if it is.

    Args:
        environ: the WSGI environ.
        trusted: the networks of the trusted proxies.

    It does not notice if Apache's mod_remoteip or a middleware has replaced the address.
    """
    # werkzeug's ProxyFix keeps the original environ under this key.
    direct = environ.get("werkzeug.proxy_fix.orig") or environ
    address = direct.get("REMOTE_ADDR")
    if "PROXY_PROTOCOL" in environ:
        return _replaced("the PROXY protocol")
    channel = getattr(environ.get("waitress.client_disconnected"), "__self__", None)
    if channel is not None and address != _host(getattr(channel, "addr", None)):
        return _replaced("a request header")
    values = (str(value) for key, value in environ.items() if key.startswith("HTTP_"))
    if is_in_headers(address, environ.get("REMOTE_PORT"), values):
        return _replaced("a request header")
    return _check_address(address, trusted)


def check_asgi_peer(scope: Mapping[str, Any], trusted: Sequence[Network]) -> Finding | None:
    """Return why the direct peer of an ASGI request or handshake is not trusted, None if it is.

    Args:
        scope: the ASGI connection scope.
        trusted: the networks of the trusted proxies.

    It does not notice if a middleware has replaced both the address and the port.
    """
    client = scope.get("client")
    if gunicorn_speaks_proxy_protocol():
        return _replaced("the PROXY protocol")
    if client:
        values = (value.decode("latin-1") for _, value in scope.get("headers", ()))
        if is_in_headers(client[0], client[1], values):
            return _replaced("a request header")
    return _check_address(client[0] if client else None, trusted)


def is_in_headers(address: object, port: object, values: Iterable[str]) -> bool:
    """Return whether an address and its port may have been taken from the headers of a request.

    A connection has a port, so port 0 means that the header did not name one. Servers divide
    headers in different ways, so the headers are not divided here: the address is searched in all
    of them, and so is the number of the port.

    Args:
        address: the client address that the server reports.
        port: the client port that the server reports; None if there is none.
        values: the values of all headers, decoded as Latin-1.

    A front end that writes its own address and its own port of this connection into a header is
    denied too.
    """
    number = _number(port)
    if number is None:
        return False
    if number == 0:
        return True
    texts = [_readings(value) for value in values]
    # Addresses are compared as they are written: a server reports the text of the header.
    if not any(_stands_in(text, str(address).lower(), _OF_ADDRESSES) for text in texts):
        return False
    # `int`, which servers use, accepts underscores, leading zeros, and the digits of every script.
    return any(
        _stands_in(text.replace("_", ""), str(number), _DIGITS) or _OTHER_DIGITS.search(text)
        for text in texts
    )


# A zero may stand before the number of a port.
_DIGITS = frozenset("123456789")
_OF_ADDRESSES = frozenset("0123456789abcdef.")
_OTHER_DIGITS = re.compile(r"[^\D0-9]")


def _readings(value: str) -> str:
    """Return a header's value in lower case, and its other reading: some servers decode UTF-8."""
    if value.isascii():
        return value.lower()
    return f"{value} {value.encode('latin-1', 'replace').decode('utf-8', 'replace')}".lower()


def _stands_in(text: str, wanted: str, characters: frozenset[str]) -> bool:
    """Return whether a text contains another one that is not part of a longer address or number.

    Args:
        text: the text.
        wanted: what it may contain.
        characters: those that may not stand directly before or after it.
    """
    start = text.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        if text[start - 1 : start] not in characters and text[end : end + 1] not in characters:
            return True
        start = text.find(wanted, start + 1)
    return False


def _number(text: object) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None


def _host(address: object) -> object:
    return address[0] if isinstance(address, tuple) and address else address


def _check_address(address: object, trusted: Sequence[Network]) -> Finding | None:
    try:
        peer = ipaddress.ip_address(str(address))
    except ValueError:
        return not_through(
            f"the direct peer's address is {quote(address)}, and a Unix socket has none; let"
            " the server listen on an address, or remove ARRCERT_TRUSTED_PROXIES"
        )
    # Only link-local addresses have a zone (RFC 4007). `ipaddress` ignores it in comparisons.
    if "%" in str(peer) and not peer.is_link_local:
        return not_through(f"the direct peer's address {quote(address)} has a zone, as no peer has")
    mapped = getattr(peer, "ipv4_mapped", None)
    if any((mapped or peer) in network for network in trusted):
        return None
    return not_through(
        f"the direct peer {peer} is in none of the networks of ARRCERT_TRUSTED_PROXIES"
    )


def _replaced(source: str) -> Finding:
    return not_through(
        f"the server has replaced the peer's address by one from {source}; {_REMEDY}"
    )


def not_through(why: str) -> Finding:
    """Return the finding that a request did not come through the front end.

    Args:
        why: the reason, as text for the log.
    """
    return Finding(
        DenialReason.NOT_THROUGH_FRONT_END, f"the request did not come through the front end: {why}"
    )
