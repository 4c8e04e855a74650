"""The checks of a request before its certificate is read: the headers, the peer and the server.

A certificate is public. The header that holds it proves nothing unless the request came through the
front end: from a trusted peer, with a secret that only the front end knows, and over a server that
does not mistake a stranger's header for the front end's.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arrcert.exceptions import DenialReason, Finding, quote
from arrcert.forwarding.cross_site import (
    EMPTY,
    OWN_PAGES,
    SAFE_METHODS,
    SCRIPT_LIKE,
    WEBSOCKET,
    check_cross_site,
    check_reading,
)
from arrcert.forwarding.encodings import byte_sequence_list, decode
from arrcert.forwarding.front_ends import FrontEnd, fold_header_name
from arrcert.forwarding.peers import check_asgi_peer, check_wsgi_peer, not_through
from arrcert.forwarding.proxies import Network, SecretHeader
from arrcert.forwarding.servers import (
    Server,
    asgi_server_with_loose_line_ends,
    asgi_suspicion,
    why_daphne_is_unsafe,
    wsgi_server,
)

logger = logging.getLogger("arrcert")

MAX_HEADER_CHARACTERS = 16 * 1024
"""The longest header value that is decoded, in characters: 12 KB of DER, several times the size of
a real client certificate. App Service passes on up to 64 KB of headers. The limit reduces the
amount of data that a stranger can make arrcert parse."""

REAL_HEADERS = "arrcert.headers"
"""The key of a WSGI environ for the request's headers as (name, value) pairs with their real names.
If a server or an adapter folds header names, code around the app can set this key. A client cannot
set this key: the headers of a client get keys that begin with `HTTP_`."""

_FORWARDED_PROTO = "X-Forwarded-Proto"

_USE_STRICT_SERVER = (
    "run the app on gunicorn 22 or newer, on waitress, or on uvicorn with --http httptools"
)

_FETCH_SITE, _ORIGIN, _HOST, _UPGRADE = "Sec-Fetch-Site", "Origin", "Host", "Upgrade"
_FETCH_DEST, _FETCH_MODE = "Sec-Fetch-Dest", "Sec-Fetch-Mode"
_OF_BROWSERS = {
    name.lower(): name for name in (_FETCH_SITE, _FETCH_DEST, _FETCH_MODE, _ORIGIN, _HOST, _UPGRADE)
}
"""The headers that tell whether a browser sends a request from a page of another site."""

_READING = SCRIPT_LIKE | {EMPTY}
"""The values of `Sec-Fetch-Dest` with which the page that sends a request can read the response."""

_DEST_NAME, _SITE_NAME = _FETCH_DEST.lower(), _FETCH_SITE.lower()
_FETCH_LENGTH = len(_DEST_NAME)  # Both names have the same length.

_HTTP_1 = frozenset({"HTTP/1.1", "HTTP/1.0", "1.1", "1.0"})
"""The usual versions of HTTP, as a WSGI environ and an ASGI scope write them."""

_WHITE_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"
"""The bytes that `str.strip` removes as white space in Latin-1."""

_HTTPS, _ABSENT = ["https"], [None]

_TEXT_IS_NOT_ENOUGH = Finding(
    DenialReason.MISCONFIGURED,
    "the text of one header does not show the peer, the secret or the verify header, which the"
    " configuration requires; call authorize_wsgi, authorize_asgi or authorize_headers",
)

Forwarded = str | tuple[str | None, str] | None
"""The text that the front end forwarded: the value of the certificate header, None if it is absent.
If there is also a chain header, it is a pair: the value of the certificate header, and the value of
the chain header."""

_Headers = dict[str, list[str]]
"""The values of each relevant header, by its name in the configuration."""


class Ingress:
    """The declared front end, proxies and secret of an app, and the checks of a request.

    Args:
        front_end: the front end before the app.
        trusted_proxies: the direct peer must be in one of these networks; None to accept any peer.
        secret_header: the header that the front end adds to each request; None to check none.
        cross_site_origins: origins from which browsers may send unsafe methods and open WebSockets;
            none by default.
        refuse_unsafe_servers: whether to deny requests on a WSGI server that is known to mistake a
            look-alike header for the front end's, and that shows no real names.

    Attributes:
        why_text_is_not_enough: the denial of a request of which only the text of the certificate
            header is known; None if the text is enough.

    An `Ingress` is immutable. Its checks depend on the request alone, so they run for every
    request, even if the certificate is remembered.
    """

    def __init__(
        self,
        front_end: FrontEnd,
        *,
        trusted_proxies: Sequence[Network] | None = None,
        secret_header: SecretHeader | None = None,
        cross_site_origins: frozenset[str] = frozenset(),
        refuse_unsafe_servers: bool = True,
    ) -> None:
        self.front_end = front_end
        self._trusted_proxies = trusted_proxies
        self._secret_header = secret_header
        self.cross_site_origins = cross_site_origins
        self.refuse_unsafe_servers = refuse_unsafe_servers
        self._reported_servers: set[str] = set()
        self._names = [
            name
            for name in (
                front_end.header,
                front_end.chain_header,
                front_end.verify_header,
                secret_header and secret_header.header,
                _FORWARDED_PROTO if front_end.only_over_https else None,
            )
            if name
        ]
        self._lower = {name.lower(): name for name in self._names}
        # Servers pass most names in this form, so no decoding is needed.
        self._raw = {name.encode("latin-1"): wanted for name, wanted in self._lower.items()}
        self._lengths = frozenset(map(len, self._lower))
        self._shortest = min(self._lengths)
        # A trailer named X-Forwarded-Proto gives an attacker no advantage.
        self._no_trailers = [name for name in self._names if name != _FORWARDED_PROTO]
        self._environ_keys = {name: wsgi_key(name) for name in self._names}
        self._environ_key = wsgi_key(front_end.header)
        self._checks_other_headers = (
            front_end.chain_header is not None
            or front_end.verify_header is not None
            or secret_header is not None
        )
        needs_request = (
            trusted_proxies is not None
            or secret_header is not None
            or front_end.verify_header is not None
        )
        self.why_text_is_not_enough = _TEXT_IS_NOT_ENOUGH if needs_request else None

    def from_wsgi(self, environ: Mapping[str, Any]) -> Forwarded | Finding:
        """Read a WSGI request (PEP 3333).

        Args:
            environ: the WSGI environ.

        Returns:
            What the front end forwarded, or why the request is denied.

        A server joins repeated headers with commas. The decoders refuse commas, except for `xfcc`.
        This method cannot distinguish header names that the server stores under the same key. The
        module `servers` knows which servers do that. If the environ contains `REAL_HEADERS`, only
        those are read and the server is not checked.
        """
        finding = None
        real_headers, server = environ.get(REAL_HEADERS), wsgi_server(environ)
        if real_headers is not None or (
            server is not None and (server.has_loose_line_ends or not server.is_safe)
        ):
            finding = self._check_wsgi_server(server, has_real_headers=real_headers is not None)
        version, method = environ.get("SERVER_PROTOCOL"), environ.get("REQUEST_METHOD")
        if finding is None and version not in _HTTP_1:
            finding = self._check_http_version(version)
        if finding is None and self._trusted_proxies is not None:
            finding = check_wsgi_peer(environ, self._trusted_proxies)
        if finding is not None:
            return finding
        if real_headers is not None:
            # An adapter may have copied these from an ASGI server, where headers may include
            # trailers.
            pairs = [(_text(name).encode("latin-1", "replace"), v) for name, v in real_headers]
            return self._from_raw({"headers": pairs}, _unsafe_in(pairs, method))
        is_safe = method in SAFE_METHODS and _UPGRADE_KEY not in environ
        may_read = (
            environ.get(_DEST_KEY) in _READING and environ.get(_SITE_KEY, "none") not in OWN_PAGES
        )
        if (
            is_safe
            and not may_read
            and not self._checks_other_headers
            and environ.get(_PROTO_KEY, "https") == "https"
        ):
            # This is the case for nearly every request. None of the checks below would deny it.
            return environ.get(self._environ_key)
        headers = {
            name: [environ[key]] for name, key in self._environ_keys.items() if key in environ
        }
        unsafe = _unsafe(method, environ.get(_UPGRADE_KEY))
        if unsafe is not None or may_read:
            headers |= {
                name: [environ[key]]
                for name, key in _ENVIRON_KEYS_OF_BROWSERS.items()
                if key in environ
            }
        return self._check_headers(headers, unsafe)

    def from_asgi(self, scope: Mapping[str, Any]) -> Forwarded | Finding:
        """Read an ASGI request or WebSocket handshake.

        Args:
            scope: the ASGI connection scope.

        Returns:
            What the front end forwarded, or why the request is denied.
        """
        finding = None
        is_websocket = scope.get("type") == "websocket"
        if is_websocket:
            why = why_daphne_is_unsafe(scope)
            if why is not None:
                finding = self._refuse_server(why, "daphne")
        version, method = scope.get("http_version"), scope.get("method")
        if finding is None and version not in _HTTP_1:
            finding = self._check_http_version(version)
        if finding is None and not self.front_end.normalizes_line_ends:
            finding = self._check_line_ends(asgi_server_with_loose_line_ends())
        if finding is None and self._trusted_proxies is not None:
            finding = check_asgi_peer(scope, self._trusted_proxies)
        if finding is not None:
            return finding
        return self._from_raw(scope, WEBSOCKET if is_websocket else _unsafe(method))

    def from_pairs(
        self, pairs: Iterable[tuple[str | bytes, str | bytes]], method: str | None = None
    ) -> Forwarded | Finding:
        """Read the headers of a request of any other framework.

        Args:
            pairs: every header as (name, value), text or bytes, repeated headers included.
            method: the method of the request; None, the default, counts as an unsafe method.

        Returns:
            What the front end forwarded, or why the request is denied.

        It cannot notice headers that the framework has merged or removed.
        """
        if self._trusted_proxies is not None:
            return Finding(
                DenialReason.MISCONFIGURED,
                "headers do not show the peer, which ARRCERT_TRUSTED_PROXIES requires; call"
                " authorize_wsgi or authorize_asgi",
            )
        pairs = list(pairs)
        return self._from_pairs(pairs, _unsafe_in(pairs, method))

    def _from_raw(self, scope: Mapping[str, Any], unsafe: str | None) -> Forwarded | Finding:
        suspicion = asgi_suspicion(scope, self._no_trailers)
        if suspicion is not None:
            return Finding(DenialReason.AMBIGUOUS, suspicion)
        return self._from_pairs(scope.get("headers", ()), unsafe)

    def _from_pairs(
        self, pairs: Iterable[tuple[str | bytes, str | bytes]], unsafe: str | None
    ) -> Forwarded | Finding:
        """Collect and check the relevant headers. Deny a request that imitates one of them.

        Args:
            pairs: the headers; they are read more than once.
            unsafe: a description of the request if its method is unsafe; None for a safe method.
        """
        headers: _Headers = {} if unsafe is None else _headers_of_browsers(pairs)
        is_read = is_foreign = False
        look_alike: tuple[str, str] | None = None
        shortest, lengths, raw = self._shortest, self._lengths, self._raw
        for raw_name, raw_value in pairs:
            # These length checks skip nearly every header. They are safe, because folding a name
            # does not change its length.
            size = len(raw_name)
            if size == _FETCH_LENGTH and unsafe is None:
                name = _text(raw_name).lower()
                if name == _DEST_NAME:
                    is_read = is_read or _text(raw_value) in _READING
                elif name == _SITE_NAME:
                    is_foreign = is_foreign or _text(raw_value) not in OWN_PAGES
            if size < shortest:
                continue
            wanted = None
            if isinstance(raw_name, bytes):
                wanted = raw.get(raw_name)
                length = len(raw_name.strip(_WHITE_SPACE)) if wanted is None else 0
            else:
                length = len(raw_name.strip())
            if wanted is None:
                if length not in lengths:
                    continue
                name = _text(raw_name).lower()
                wanted = self._lower.get(name)
            if wanted is not None:
                headers.setdefault(wanted, []).append(_text(raw_value))
                continue
            imitated = self._lower.get(fold_header_name(name))
            # A look-alike of X-Forwarded-Proto gives an attacker no advantage.
            if imitated is not None and imitated != _FORWARDED_PROTO:
                look_alike = (name, imitated)
        may_read = is_read and is_foreign
        if may_read:
            headers |= _headers_of_browsers(pairs)
        if look_alike is None:
            values = headers.get(self.front_end.header, _ABSENT)
            if (
                unsafe is None
                and not may_read
                and not self._checks_other_headers
                and headers.get(_FORWARDED_PROTO, _HTTPS) == _HTTPS
                and len(values) == 1
            ):
                # This is the case for nearly every request. None of the checks below would deny it.
                return values[0]
            return self._check_headers(headers, unsafe)
        # If X-Forwarded-Proto is wrong, report that first.
        return _check_transport(headers) or Finding(
            DenialReason.AMBIGUOUS,
            f"the header {quote(look_alike[0])} looks like {look_alike[1]}, which the front end"
            " sets; only an attacker sends such a header",
        )

    def _check_headers(self, headers: _Headers, unsafe: str | None) -> Forwarded | Finding:
        """Check the headers of a request. The order of the checks is the order of the reasons.

        Args:
            headers: the headers that matter.
            unsafe: a description of the request if its method is unsafe; None for a safe method.
        """
        front_end = self.front_end
        value = _value(headers, front_end.header)
        finding = _check_transport(headers)
        if finding is None and self._secret_header is not None:
            finding = _check_secret(headers, self._secret_header)
        if finding is None and value and front_end.verify_header is not None:
            finding = _check_verified(headers, front_end.verify_header, front_end.verify_value)
        if finding is None and unsafe is not None:
            finding = check_cross_site(
                unsafe,
                fetch_site=headers.get(_FETCH_SITE, ()),
                origin=headers.get(_ORIGIN, ()),
                host=headers.get(_HOST, ()),
                allowed=self.cross_site_origins,
            )
        elif finding is None and _FETCH_DEST in headers:
            finding = check_reading(
                fetch_site=headers.get(_FETCH_SITE, ()),
                fetch_dest=headers[_FETCH_DEST],
                fetch_mode=headers.get(_FETCH_MODE, ()),
                origin=headers.get(_ORIGIN, ()),
                allowed=self.cross_site_origins,
            )
        if finding is None:
            finding = _check_single(headers, front_end.header)
        if finding is not None:
            return finding
        if front_end.chain_header is None or front_end.chain_header not in headers:
            return value
        # RFC 9110 section 5.3: a list may come in several headers.
        return value, ",".join(headers[front_end.chain_header])

    def _check_wsgi_server(
        self, server: Server | None, *, has_real_headers: bool
    ) -> Finding | None:
        """Deny a request whose WSGI server may have taken a stranger's header for the front end's.

        Args:
            server: the server; None if it is not known.
            has_real_headers: whether the environ holds the real names of the headers.
        """
        if server is not None and not server.is_safe and not has_real_headers:
            finding = self._refuse_server(
                f"the WSGI server {server.name} passes a look-alike header to the app under the"
                f" front end's header name, so anybody can forge a certificate; {server.remedy}",
                server.name,
            )
            if finding is not None:
                return finding
        if self.front_end.normalizes_line_ends:
            return None
        loose = server.name if server is not None and server.has_loose_line_ends else None
        if loose is None and has_real_headers:
            loose = asgi_server_with_loose_line_ends()
        return self._check_line_ends(loose)

    def _check_http_version(self, version: object) -> Finding | None:
        """Deny HTTP/2 unless the front end is declared to use it.

        A front end that passes on `Upgrade: h2c` becomes a tunnel, in which the client writes every
        header itself (RFC 7540 section 3.2). Servers do not agree on the scheme of such a request.
        """
        if self.front_end.http2 or not str(version).removeprefix("HTTP/").startswith("2"):
            return None
        return not_through(
            "it came over HTTP/2, but the front end is not declared to use HTTP/2; if the front"
            " end passes on the header Upgrade: h2c (HTTP/2 without TLS), a client can use it to"
            " send requests past the front end. Turn HTTP/2 off in the server, or write"
            ' "http2": true into ARRCERT_FRONT_END if the front end uses it'
        )

    def _check_line_ends(self, server: str | None) -> Finding | None:
        """Deny a request if a bare LF from the client may have become the end of a header line.

        The request does not show that, so the known facts about the server and the front end
        decide.

        Args:
            server: the name of a server that takes a bare LF for the end of a line; None if the
                server takes CRLF only, or is not known.
        """
        if server is None:
            return None
        why = (
            f"the server {server} takes a bare LF for the end of a header line, so anybody can"
            f" forge a certificate if the front end passes one on; {_USE_STRICT_SERVER}"
        )
        if self.front_end.normalizes_line_ends is False:
            return self._refuse_server(why, server)
        why += (
            ', or write "normalizes_line_ends" into ARRCERT_FRONT_END: true if the front end'
            " rejects or rewrites such lines, false if it does not"
        )
        self._report_server(why, server, logging.WARNING)
        return None

    def _refuse_server(self, why: str, server: str) -> Finding | None:
        """Deny a request because of its server. If unsafe servers are allowed, only log it."""
        if self.refuse_unsafe_servers:
            return Finding(DenialReason.MISCONFIGURED, why)
        self._report_server(why, server, logging.ERROR)
        return None

    def _report_server(self, why: str, server: str, level: int) -> None:
        """Log once why a server is unsafe."""
        if server not in self._reported_servers:
            self._reported_servers.add(server)
            logger.log(level, "%s", why)


def certificates_in(front_end: FrontEnd, forwarded: Forwarded) -> list[bytes] | Finding:
    """Return the DER certificates that the front end forwarded, the leaf first.

    Args:
        front_end: the front end, whose encoding is expected.
        forwarded: the text of its headers.

    Returns:
        The certificates, or `missing`, `too_large`, `ambiguous` or `malformed`.

    This does not parse the DER; `read_certificate` does.
    """
    value, chain = forwarded, None
    if front_end.chain_header is not None and isinstance(forwarded, tuple):
        value, chain = forwarded
    if value is None or value == "":
        return Finding(
            DenialReason.MISSING, f"no {front_end.header}: the client presented no certificate"
        )
    if not isinstance(value, str):
        return Finding(
            DenialReason.MALFORMED, f"{front_end.header} is {type(value).__name__}, not text"
        )
    for text in (value, chain or ""):
        if len(text) > MAX_HEADER_CHARACTERS:
            return Finding(
                DenialReason.TOO_LARGE,
                f"{front_end}: it has {len(text)} characters; at most {MAX_HEADER_CHARACTERS} are"
                " read",
            )
    certificates = decode(front_end.encoding, value, front_end.trusted_hops)
    intermediates = byte_sequence_list(chain) if chain else []
    if isinstance(certificates, Finding):
        return Finding(certificates.reason, f"{front_end}: {certificates.detail}")
    if isinstance(intermediates, Finding):
        return Finding(intermediates.reason, f"{front_end}: {intermediates.detail}")
    return certificates + intermediates


def wsgi_key(header: str) -> str:
    """Return the key of a WSGI environ for a header (RFC 3875 section 4.1.18).

    Args:
        header: the name of the header.
    """
    return "HTTP_" + header.upper().replace("-", "_")


_UPGRADE_KEY, _PROTO_KEY = wsgi_key(_UPGRADE), wsgi_key(_FORWARDED_PROTO)
_DEST_KEY, _SITE_KEY = wsgi_key(_FETCH_DEST), wsgi_key(_FETCH_SITE)
_ENVIRON_KEYS_OF_BROWSERS = {name: wsgi_key(name) for name in _OF_BROWSERS.values()}


def _headers_of_browsers(pairs: Iterable[tuple[str | bytes, str | bytes]]) -> _Headers:
    headers: _Headers = {}
    for name, value in pairs:
        wanted = _OF_BROWSERS.get(_text(name).lower())
        if wanted is not None:
            headers.setdefault(wanted, []).append(_text(value))
    return headers


def _unsafe_in(pairs: Iterable[tuple[str | bytes, str | bytes]], method: object) -> str | None:
    return _unsafe(method, ",".join(_headers_of_browsers(pairs).get(_UPGRADE, ())))


def _unsafe(method: object, upgrade: object = None) -> str | None:
    """Return a description of a request with an unsafe method, None for a safe method."""
    if str(upgrade).lower() == "websocket":
        return WEBSOCKET
    if method in SAFE_METHODS:
        return None
    return (
        "a request with an unknown method" if method is None else f"a request with {quote(method)}"
    )


def _check_transport(headers: _Headers) -> Finding | None:
    values = headers.get(_FORWARDED_PROTO)
    if values is None or values == _HTTPS:
        return None
    # Join repeated headers as a WSGI server does. The result is never equal to "https".
    proto = ",".join(map(str, values))
    if proto.lower() == "https":
        return None
    why = (
        "which is more than one value: somebody sent the header a second time, or a second proxy"
        " added one"
        if "," in proto
        else "so the request did not come over TLS, and without TLS there is no client certificate;"
        " turn on HTTPS Only for the app"
    )
    return Finding(DenialReason.INSECURE_TRANSPORT, f"{_FORWARDED_PROTO} is {quote(proto)}, {why}")


def _check_secret(headers: _Headers, wanted: SecretHeader) -> Finding | None:
    values = headers.get(wanted.header, [])
    presented = values[0] if len(values) == 1 and isinstance(values[0], str) else ""
    # All secrets are compared, so that the time does not show which one matches.
    matches = [
        hmac.compare_digest(presented.encode("utf-8", "replace"), secret.encode("utf-8"))
        for secret in wanted.secrets
    ]
    if any(matches):
        return None
    return not_through(f"{wanted.header} {'holds another value' if values else 'is absent'}")


def _check_verified(headers: _Headers, header: str, expected: str | None) -> Finding | None:
    finding = _check_single(headers, header)
    if finding is not None:
        return finding
    verified = _value(headers, header)
    if verified == expected:
        return None
    return Finding(
        DenialReason.NOT_THROUGH_FRONT_END,
        f"the front end did not validate the certificate: {header} is {quote(verified)}, not"
        f" {quote(expected)}",
    )


def _check_single(headers: _Headers, header: str) -> Finding | None:
    count = len(headers.get(header, ()))
    if count > 1:
        return Finding(DenialReason.AMBIGUOUS, f"{header} came {count} times")
    return None


def _value(headers: _Headers, header: str) -> str | None:
    values = headers.get(header)
    return values[0] if values else None


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
