"""How a request reached the app: what is checked of each, before its certificate is read.

A certificate is public, so the header that holds one is worth what the way to the app is worth:
the front end's word, the direct peer, a secret that only the front end knows, and a server that
does not fold a stranger's header into the front end's.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from arrcert.exceptions import (
    CertificateDenied,
    ConfigurationError,
    DenialReason,
    Problem,
    quote,
)
from arrcert.forwarding.front_ends import (
    FrontEnd,
    fold_header_name,
    is_header_name,
    why_no_header_name,
)
from arrcert.forwarding.servers import asgi_suspicion, wsgi_server

logger = logging.getLogger("arrcert")

SHORTEST_SECRET = 16
"""Characters of a front end's secret; shorter ones can be guessed."""

REAL_HEADERS = "arrcert.headers"
"""The key of a WSGI environ under which code in front of the app puts the request's headers, as
(name, value) pairs with their real names, where a server or adapter folds names. No client can set
it: what a client sends stands under keys that begin with `HTTP_`."""

_FORWARDED_PROTO = "X-Forwarded-Proto"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SecretHeader(NamedTuple):
    """A header that the front end adds, with a value that only it and the app know.

    Attributes:
        header: its name.
        secrets: one, or two while it is changed.
    """

    header: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<SecretHeader {self.header}>"


Forwarded = tuple[str | None, str | None]
"""What the front end forwarded, as text: the value of the certificate's header, None where it is
absent, and that of the chain header, None where there is none."""


class Ingress:
    """The declared way from the client to the app.

    Args:
        front_end: what stands in front of the app.
        trusted_proxies: networks one of which the direct peer must be in; None to ask for no peer.
        secret_header: what the front end adds to each request; None to ask for none.
        refuse_unsafe_servers: whether requests are denied on a WSGI server that is known to fold a
            look-alike header into the front end's, and to offer no way to see it.

    It never changes, and what it checks depends on the request alone, so it is asked every time.
    """

    def __init__(
        self,
        front_end: FrontEnd,
        *,
        trusted_proxies: Sequence[Network] | None = None,
        secret_header: SecretHeader | None = None,
        refuse_unsafe_servers: bool = True,
    ) -> None:
        self.front_end = front_end
        self._trusted_proxies = trusted_proxies
        self._secret_header = secret_header
        self._refuse_unsafe_servers = refuse_unsafe_servers
        self._servers_told: set[str] = set()
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
        self._lengths = frozenset(map(len, self._lower))
        self._shortest = min(self._lengths)
        # As a trailer X-Forwarded-Proto gains nobody anything.
        self._no_trailers = [name for name in self._names if name != _FORWARDED_PROTO]
        self._environ_keys = {name: wsgi_key(name) for name in self._names}

    def from_text(self, value: str | None) -> Forwarded:
        """Take a header's text on its own.

        Raises:
            CertificateDenied: `misconfigured`, where a peer, a secret or a verify header is to be
                checked, which cannot be seen from here.
        """
        if self._trusted_proxies or self._secret_header or self.front_end.verify_header:
            raise CertificateDenied(
                DenialReason.MISCONFIGURED,
                "a header's text alone does not show the peer, the secret or the verify header that"
                " are to be checked; call authorize_wsgi, authorize_asgi or authorize_headers",
            )
        return value, None

    def from_wsgi(self, environ: Mapping[str, Any]) -> Forwarded:
        """Read a WSGI request (PEP 3333).

        Args:
            environ: the WSGI environ.

        Raises:
            CertificateDenied: any reason that does not need the certificate.

        A server joins repeated headers by commas, which decoding refuses. Names that a server has
        folded into one key cannot be seen; `servers` knows which servers do. Where `REAL_HEADERS`
        is in the environ these are read in their place, and it does not matter which server runs.
        """
        real_headers = environ.get(REAL_HEADERS)
        if real_headers is None:
            self._check_server(environ)
        if self._trusted_proxies is not None:
            # Behind werkzeug's ProxyFix the peer's own address is kept aside.
            direct = environ.get("werkzeug.proxy_fix.orig") or environ
            self._check_peer(direct.get("REMOTE_ADDR"))
        if real_headers is not None:
            # An adapter may have them from an ASGI server, whose headers may hold trailers.
            pairs = [(_text(name).encode("latin-1", "replace"), v) for name, v in real_headers]
            return self._from_raw({"headers": pairs})
        found = {name: [environ[key]] for name, key in self._environ_keys.items() if key in environ}
        return self._check(found)

    def from_asgi(self, scope: Mapping[str, Any]) -> Forwarded:
        """Read an ASGI request or WebSocket handshake.

        Args:
            scope: the ASGI connection scope.

        Raises:
            CertificateDenied: any reason that does not need the certificate.
        """
        if self._trusted_proxies is not None:
            client = scope.get("client")
            if client and client[1] == 0:
                raise _not_through(
                    "the server has replaced the peer's address by one from X-Forwarded-For; run"
                    " uvicorn with --no-proxy-headers"
                )
            self._check_peer(client[0] if client else None)
        return self._from_raw(scope)

    def _from_raw(self, scope: Mapping[str, Any]) -> Forwarded:
        suspicion = asgi_suspicion(scope, self._no_trailers)
        if suspicion is not None:
            raise CertificateDenied(DenialReason.AMBIGUOUS, suspicion)
        return self._check(self._gathered(scope.get("headers", ())))

    def from_pairs(self, pairs: Iterable[tuple[str | bytes, str | bytes]]) -> Forwarded:
        """Read a request's headers, of any other framework.

        Args:
            pairs: every header as (name, value), text or bytes, repetitions included.

        Raises:
            CertificateDenied: any reason that does not need the certificate.

        It sees what is handed over: what a framework has merged or dropped before, it does not.
        """
        if self._trusted_proxies is not None:
            raise CertificateDenied(
                DenialReason.MISCONFIGURED,
                "headers alone do not show the peer, which ARRCERT_TRUSTED_PROXIES asks for; call"
                " authorize_wsgi or authorize_asgi",
            )
        return self._check(self._gathered(pairs))

    def _gathered(self, pairs: Iterable[tuple[str | bytes, str | bytes]]) -> dict[str, list[str]]:
        """Return the values of each header that matters; refuse what looks like one of them."""
        found: dict[str, list[str]] = {}
        look_alike: tuple[str, str] | None = None
        shortest, lengths = self._shortest, self._lengths
        for raw_name, raw_value in pairs:
            # Nearly all headers of a request end here: folding changes no length.
            if len(raw_name) < shortest:
                continue
            name = _text(raw_name)
            if len(name.strip()) not in lengths:
                continue
            name = name.lower()
            wanted = self._lower.get(name)
            if wanted is not None:
                found.setdefault(wanted, []).append(_text(raw_value))
                continue
            imitated = self._lower.get(fold_header_name(name))
            # A look-alike of X-Forwarded-Proto gains nobody anything.
            if imitated is not None and imitated != _FORWARDED_PROTO:
                look_alike = (name, imitated)
        if look_alike is not None:
            # Not before the transport: over plain HTTP nothing else is worth a word.
            self._check_transport(found)
            raise CertificateDenied(
                DenialReason.AMBIGUOUS,
                f"the header {quote(look_alike[0])} looks like {look_alike[1]}, which the front end"
                " sets; nobody but an attacker sends it",
            )
        return found

    def _check(self, found: Mapping[str, list[str]]) -> Forwarded:
        self._check_transport(found)
        front_end = self.front_end
        if self._secret_header is not None:
            self._check_secret(found, self._secret_header)
        value = _only(found, front_end.header)
        if value and front_end.verify_header is not None:
            verified = _only(found, front_end.verify_header)
            if verified != front_end.verify_value:
                raise CertificateDenied(
                    DenialReason.UNTRUSTED,
                    f"the front end did not validate the certificate: {front_end.verify_header} is"
                    f" {quote(verified)}, not {quote(front_end.verify_value)}",
                )
        if front_end.chain_header is None or front_end.chain_header not in found:
            return value, None
        # RFC 9110 section 5.3: a list may come in several headers.
        return value, ",".join(found[front_end.chain_header])

    def _check_transport(self, found: Mapping[str, list[str]]) -> None:
        values = found.get(_FORWARDED_PROTO)
        if values is not None and values != ["https"]:
            # Joined as a WSGI server joins them: a header that comes twice is not one word.
            _require_https(",".join(map(str, values)))

    def _check_secret(self, found: Mapping[str, list[str]], wanted: SecretHeader) -> None:
        values = found.get(wanted.header, [])
        presented = values[0] if len(values) == 1 and isinstance(values[0], str) else ""
        # Each is compared, so that the time tells nothing.
        matches = [
            hmac.compare_digest(presented.encode("utf-8", "replace"), secret.encode("utf-8"))
            for secret in wanted.secrets
        ]
        if not any(matches):
            what = "is absent" if not values else "holds another value"
            raise _not_through(f"{wanted.header} {what}")

    def _check_peer(self, address: object) -> None:
        try:
            peer = ipaddress.ip_address(str(address))
        except ValueError:
            raise _not_through(
                f"the direct peer's address is {quote(address)}, and a Unix socket has none; let"
                " the server listen on an address, or drop ARRCERT_TRUSTED_PROXIES"
            ) from None
        mapped = getattr(peer, "ipv4_mapped", None)
        if not any((mapped or peer) in network for network in self._trusted_proxies or ()):
            raise _not_through(
                f"the direct peer {peer} is in none of the networks of ARRCERT_TRUSTED_PROXIES"
            )

    def _check_server(self, environ: Mapping[str, Any]) -> None:
        server = wsgi_server(environ)
        if server is None or server.is_safe:
            return
        why = (
            f"the WSGI server {server.name} hands a look-alike header to the app under the front"
            f" end's own name, so anybody can forge a certificate; {server.remedy}"
        )
        if self._refuse_unsafe_servers:
            raise CertificateDenied(DenialReason.MISCONFIGURED, why)
        if server.name not in self._servers_told:
            self._servers_told.add(server.name)
            logger.error("%s", why)


def wsgi_key(header: str) -> str:
    """Return the key under which a WSGI server hands over a header (RFC 3875 section 4.1.18).

    Args:
        header: its name.
    """
    return "HTTP_" + header.upper().replace("-", "_")


def networks_from(value: object, *, setting: str) -> tuple[Network, ...]:
    """Return the networks that a setting lists.

    Args:
        value: a list of addresses and networks, such as `["10.1.0.0/16", "fd00::/8"]`.
        setting: what an error calls the setting.

    Raises:
        ConfigurationError: all mistakes together.
    """
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise ConfigurationError(
            [Problem(setting, f'{quote(value)} is no list of networks; write ["10.1.0.0/16"]')]
        )
    problems, networks = [], []
    for entry in value:
        try:
            if not isinstance(entry, str):
                raise ValueError("it is no text")
            network = ipaddress.ip_network(entry)
            if network.prefixlen == 0:
                raise ValueError("it holds everybody")
            networks.append(network)
        except ValueError as error:
            problems.append(
                Problem(
                    setting,
                    f"{quote(entry)} is no network of proxies ({error}); write an address or a"
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
            it is changed, each of at least 16 printable ASCII characters.
        setting: what an error calls the setting.

    Raises:
        ConfigurationError: all mistakes together; none shows a secret.
    """
    example = '{"header": "X-Front-End-Secret", "secrets": ["..."]}'
    if not isinstance(value, Mapping):
        raise ConfigurationError([Problem(setting, f"is no mapping; write {example}")])
    problems = [
        Problem(setting, f"{quote(key)} is not a key of it; write {example}")
        for key in value
        if key not in ("header", "secrets")
    ]
    header = value.get("header")
    if not isinstance(header, str) or not is_header_name(header):
        problems.append(Problem(f'{setting}["header"]', why_no_header_name(header)))
    secrets = value.get("secrets")
    if not isinstance(secrets, list | tuple) or not 1 <= len(secrets) <= 2:
        problems.append(
            Problem(f'{setting}["secrets"]', "is no list of one or two secrets; write a list")
        )
    elif not all(map(_is_secret, secrets)):
        problems.append(
            Problem(
                f'{setting}["secrets"]',
                f"holds something else than text of at least {SHORTEST_SECRET} printable ASCII"
                " characters; generate one:"
                " python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        )
    if problems:
        raise ConfigurationError(problems)
    return SecretHeader(str(header), tuple(secrets or ()))


def _is_secret(text: object) -> bool:
    return (
        isinstance(text, str)
        and len(text) >= SHORTEST_SECRET
        and text.isascii()
        and text.isprintable()
        and " " not in text
    )


def _only(found: Mapping[str, list[str]], header: str) -> str | None:
    values = found.get(header, [])
    if len(values) > 1:
        raise CertificateDenied(DenialReason.AMBIGUOUS, f"{header} came {len(values)} times")
    return values[0] if values else None


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _not_through(why: str) -> CertificateDenied:
    return CertificateDenied(
        DenialReason.UNTRUSTED, f"the request did not come through the front end: {why}"
    )


def _require_https(proto: str) -> None:
    if proto.lower() == "https":
        return
    why = (
        "which is more than one value: somebody sent the header a second time, or a second proxy"
        " added one"
        if "," in proto
        else "so the request did not come over TLS and no certificate can have come with it; turn"
        " on HTTPS Only for the app"
    )
    raise CertificateDenied(
        DenialReason.INSECURE_TRANSPORT, f"X-Forwarded-Proto is {quote(proto)}, {why}"
    )
