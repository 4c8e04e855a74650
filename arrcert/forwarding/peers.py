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
    """Return whether an address and its port were taken from the headers of a request.

    A connection has a port, so port 0 means that the header did not name one. Any other port comes
    from the element with the address, or from a separate header. If a header names the port of its
    own connection, the server probably took the address from a header.

    Args:
        address: the client address that the server reports.
        port: the client port that the server reports; None if there is none.
        values: the values of all headers.
    """
    number = _number(port)
    if number is None:
        return False
    if number == 0:
        return True
    is_named = is_port_named = False
    for value in values:
        for element in re.split("[,;=]", value):
            text = element.strip().strip('"')
            host, _, end = text.rpartition(":")
            if host.strip("[] ") == address and _number(end) == number:
                return True
            is_named |= text.strip("[]") == address
            is_port_named |= _number(text) == number
    return is_named and is_port_named


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
