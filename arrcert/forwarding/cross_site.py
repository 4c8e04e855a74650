"""Requests that a browser sends from a page of another site.

A browser sends a client certificate with every request to a site, as it does with cookies. So a
page of another site can use the certificate of the person who opens it. The check follows
`CrossOriginProtection` of Go 1.25 and the Fetch standard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from arrcert.exceptions import ConfigurationError, DenialReason, Finding, Problem, quote

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The safe methods, which do not change anything (RFC 9110 section 9.2.1)."""

WEBSOCKET = "a WebSocket handshake"
"""The description of a request that opens a WebSocket, for the log."""

SCRIPT_LIKE = frozenset(
    {"audioworklet", "paintworklet", "script", "serviceworker", "sharedworker", "worker"}
)
"""The values of `Sec-Fetch-Dest` of a response that the page runs (the destinations that the Fetch
standard calls script-like)."""

EMPTY = "empty"
"""The value of `Sec-Fetch-Dest` for requests that a script sends, such as `fetch`."""

OWN_PAGES = frozenset({"same-origin", "none"})
"""The values of `Sec-Fetch-Site` for the site's own pages, and for requests of the user."""

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@*\s]+")


def origins_from(value: object, *, setting: str = "cross_site_origins") -> frozenset[str]:
    """Return the origins that a setting lists.

    Args:
        value: a list of origins, such as `["https://app.contoso.com"]`.
        setting: the name of the setting, for errors.

    Raises:
        ConfigurationError: all mistakes together: an entry that can never match, such as `*`, an
            origin with a path, or one without a scheme.
    """
    example = 'write ["https://app.contoso.com"]'
    if not isinstance(value, list | tuple | set | frozenset):
        raise ConfigurationError(
            [Problem(setting, f"{quote(value)} is not a list of origins; {example}")]
        )
    problems = [
        Problem(
            setting,
            f"{quote(entry)} is no origin: a scheme, a host in lower case and a port unless it is"
            f" the usual one, without a path; {example}",
        )
        for entry in value
        if not isinstance(entry, str) or not _is_origin(entry)
    ]
    if problems:
        raise ConfigurationError(problems)
    return frozenset(value)


def _is_origin(entry: str) -> bool:
    """Return whether a browser can send an entry as `Origin` (RFC 6454 section 6.2)."""
    if not _ORIGIN.fullmatch(entry) or entry != entry.lower() or not entry.isascii():
        return False
    try:
        parts = urlsplit(entry)
        port = parts.port
    except ValueError:
        return False
    # A browser sends the usual port of a scheme only by its absence, and a page has no ws URL.
    if parts.scheme in ("ws", "wss") or (parts.scheme, port) in (("http", 80), ("https", 443)):
        return False
    labels = (parts.hostname or "").removesuffix(".").split(".")
    return port != 0 and not entry.endswith(":") and "" not in labels


def check_cross_site(
    request: str,
    *,
    fetch_site: Sequence[str],
    origin: Sequence[str],
    host: Sequence[str],
    allowed: frozenset[str],
) -> Finding | None:
    """Return why a request that may change something is cross-site, None if it is not.

    Args:
        request: a description of the request for the log, with its method, or `WEBSOCKET`.
        fetch_site: the values of `Sec-Fetch-Site`.
        origin: the values of `Origin`.
        host: the values of `Host`.
        allowed: the origins from which cross-site requests are allowed.

    A request with neither `Sec-Fetch-Site` nor `Origin` does not come from a browser, and is not
    cross-site. The check relies on the browser: other clients can send any header.
    """
    if len(origin) == 1 and origin[0] in allowed:
        return None
    if fetch_site and not _is_own(fetch_site):
        return _finding(request, f"Sec-Fetch-Site is {quote(', '.join(fetch_site))}", origin)
    # The Origin of a WebSocket handshake is always checked.
    if not origin or (fetch_site and request != WEBSOCKET):
        return None
    if len(origin) == 1 and len(host) == 1 and _host_of(origin[0]) == host[0].lower():
        return None
    return _finding(request, f"the Host is {quote(', '.join(host))}", origin)


def check_reading(
    *,
    fetch_site: Sequence[str],
    fetch_dest: Sequence[str],
    fetch_mode: Sequence[str],
    origin: Sequence[str],
    allowed: frozenset[str],
) -> Finding | None:
    """Return why a page of another site can read the response to a safe request, None if not.

    A page can load a script from any site, without CORS, and the script runs in the page. So the
    page can read a response that is a script (JSONP, for example the long polling of Socket.IO). A
    service worker can use a response to `fetch(url, {mode: "no-cors"})` as such a script.

    Args:
        fetch_site: the values of `Sec-Fetch-Site`.
        fetch_dest: the values of `Sec-Fetch-Dest`.
        fetch_mode: the values of `Sec-Fetch-Mode`.
        origin: the values of `Origin`.
        allowed: the origins from which cross-site requests are allowed.

    Navigation, frames, images, fonts, styles and requests with CORS pass, because the browser does
    not show their responses to the page unless the site agrees. Clients that do not send
    `Sec-Fetch-Site` and `Sec-Fetch-Dest` are not checked.
    """
    is_script = not SCRIPT_LIKE.isdisjoint(fetch_dest)
    if not is_script and not (EMPTY in fetch_dest and "no-cors" in fetch_mode):
        return None
    if not fetch_site or _is_own(fetch_site) or (len(origin) == 1 and origin[0] in allowed):
        return None
    site, dest = quote(", ".join(fetch_site)), quote(", ".join(fetch_dest))
    return Finding(
        DenialReason.CROSS_SITE,
        "a page of another site loads the response as a script, and can read it: Sec-Fetch-Site is"
        f" {site}, and Sec-Fetch-Dest is {dest}; if this is intended, and the response is public,"
        " list its path in ARRCERT_EXEMPT_PATHS; else the page must ask with CORS, such as"
        ' <script crossorigin="use-credentials"> or fetch without mode "no-cors", from an origin'
        " in ARRCERT_CROSS_SITE_ORIGINS",
    )


def _is_own(fetch_site: Sequence[str]) -> bool:
    return len(fetch_site) == 1 and fetch_site[0] in OWN_PAGES


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _finding(request: str, why: str, origin: Sequence[str]) -> Finding:
    shown = quote(", ".join(origin))
    return Finding(
        DenialReason.CROSS_SITE,
        f"{request} comes from a page of another site: {why}, and the Origin is {shown}; if this is"
        f" intended, write ARRCERT_CROSS_SITE_ORIGINS = [{shown}]",
    )
