"""What is checked of each request before its certificate is read."""

from __future__ import annotations

import ipaddress
import logging
import sys
from typing import Any

import pytest

from arrcert import CertificateDenied, ConfigurationError, DenialReason
from arrcert.forwarding import ingress as module
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd
from arrcert.forwarding.ingress import (
    REAL_HEADERS,
    Forwarded,
    Ingress,
    SecretHeader,
    networks_from,
    secret_header_from,
    wsgi_key,
)
from arrcert.forwarding.servers import Server

APP_SERVICE = Ingress(FRONT_ENDS["app-service"])
HEADER = "X-ARR-ClientCert"


def reason(call: Any) -> DenialReason:
    """Return why the call is denied."""
    with pytest.raises(CertificateDenied) as caught:
        call()
    return caught.value.reason


def test_wsgi_header_is_read_by_its_key() -> None:
    """In a WSGI environ the declared header is one key."""
    assert APP_SERVICE.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "v"}) == ("v", None)
    assert APP_SERVICE.from_wsgi({"HTTP_CLIENT_CERT": "v"}) == (None, None)


@pytest.mark.parametrize("proto", ["http", "", "https,http", "http,https", " https", "wss", None])
def test_insecure_transport_is_denied(proto: str | None) -> None:
    """Behind App Service a request that did not come over TLS carries no certificate.

    (OpenShift router CVE-2026-46579: headers of listeners without mTLS, or over plain HTTP.)
    """
    pairs = [(HEADER, "v"), ("X-Forwarded-Proto", proto)]
    if proto is None:
        assert APP_SERVICE.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "v"}) == ("v", None)
        assert APP_SERVICE.from_pairs([(HEADER, "v")]) == ("v", None)
        return
    environ = {"HTTP_X_ARR_CLIENTCERT": "v", "HTTP_X_FORWARDED_PROTO": proto}
    for read in (
        lambda: APP_SERVICE.from_wsgi(environ),
        lambda: APP_SERVICE.from_pairs(pairs),  # type: ignore[arg-type]
    ):
        with pytest.raises(CertificateDenied) as caught:
            read()
        assert caught.value.reason is DenialReason.INSECURE_TRANSPORT


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        ("http", "'http', so the request did not come over TLS"),
        ("http", "turn on HTTPS Only for the app"),
        ("https,http", "'https,http', which is more than one value: somebody sent the header a"),
    ],
)
def test_insecure_transport_says_what_was_found(proto: str, message: str) -> None:
    """Two values are not the same mistake as a request without TLS."""
    with pytest.raises(CertificateDenied, match=message):
        APP_SERVICE.from_wsgi({"HTTP_X_FORWARDED_PROTO": proto})
    pairs = [("X-Forwarded-Proto", value) for value in proto.split(",")]
    with pytest.raises(CertificateDenied, match=message):
        APP_SERVICE.from_pairs(pairs)


@pytest.mark.parametrize("proto", ["https", "HTTPS", "Https"])
def test_forwarded_proto_is_compared_without_case(proto: str) -> None:
    """A scheme has no case."""
    environ = {"HTTP_X_ARR_CLIENTCERT": "v", "HTTP_X_FORWARDED_PROTO": proto}
    assert APP_SERVICE.from_wsgi(environ) == ("v", None)
    assert APP_SERVICE.from_pairs([("x-forwarded-proto", proto), (HEADER, "v")]) == ("v", None)


def test_transport_is_asked_only_where_the_front_end_says_so() -> None:
    """A front end described by a mapping does not promise X-Forwarded-Proto."""
    ingress = Ingress(FrontEnd("X-Client", "X-Client"))
    environ = {"HTTP_X_CLIENT": "v", "HTTP_X_FORWARDED_PROTO": "http"}
    assert ingress.from_wsgi(environ) == ("v", None)
    assert ingress.from_pairs([("X-Client", "v"), ("X-Forwarded-Proto", "http")]) == ("v", None)


def test_pairs_are_read_in_any_case_and_kind() -> None:
    """Names are compared without case, as text or as bytes."""
    assert APP_SERVICE.from_pairs([(b"x-arr-clientcert", b"v")]) == ("v", None)
    assert APP_SERVICE.from_pairs([("X-Arr-Clientcert", "v"), ("Host", "h")]) == ("v", None)
    others = [("Host", "h"), ("X-Quite-Another-Header", "v")]
    assert APP_SERVICE.from_pairs(others) == (None, None)
    assert APP_SERVICE.from_pairs([*others, (HEADER, "v")]) == ("v", None)


@pytest.mark.parametrize(
    "pairs",
    [
        [(HEADER, "a"), (HEADER, "a")],
        [(HEADER, "a"), (HEADER, "")],
        [(HEADER, "a"), (HEADER.lower(), "b")],
        [("X_ARR_ClientCert", "a")],
        [("X-ARR_ClientCert", "a"), (HEADER, "b")],
        [(HEADER, "b"), ("X.ARR.ClientCert", "a")],
        [(HEADER, ""), ("X_ARR_ClientCert", "a")],
        [("X-ARR-ClientCert ", "a")],
        [("\tX-ARR-ClientCert  ", "a")],
        [(b"x_arr_clientcert", b"a")],
        [("X-Quite-Another-Header", "v"), ("X_ARR_ClientCert", "a")],
    ],
)
def test_repetition_and_look_alikes_are_ambiguous(pairs: list[tuple[Any, Any]]) -> None:
    """A second value, or a name that some server folds into ours, is refused even alone.

    (Django CVE-2015-0219 and CVE-2026-3902, oauth2-proxy CVE-2025-64484: `_` and `-` fold.)
    """
    with pytest.raises(CertificateDenied) as caught:
        APP_SERVICE.from_pairs(pairs)
    assert caught.value.reason is DenialReason.AMBIGUOUS


def test_asgi_headers_are_pairs() -> None:
    """An ASGI scope's headers are read like any pairs, and a scope without any has none."""
    scope = {"headers": [(b"x-arr-clientcert", b"v")]}
    assert APP_SERVICE.from_asgi(scope) == ("v", None)
    assert APP_SERVICE.from_asgi({}) == (None, None)
    with pytest.raises(CertificateDenied):
        APP_SERVICE.from_asgi({"headers": [(b"x_arr_clientcert", b"v")]})


def test_text_alone_is_taken_as_it_is() -> None:
    """A header's text on its own is what it is."""
    assert APP_SERVICE.from_text("v") == ("v", None)
    assert APP_SERVICE.from_text(None) == (None, None)


def test_key_of_a_header() -> None:
    """In WSGI a header is one key."""
    assert wsgi_key(HEADER) == "HTTP_X_ARR_CLIENTCERT"


# --- verify headers and chains -------------------------------------------------------------------

NGINX = Ingress(FRONT_ENDS["nginx"])
RFC9440 = Ingress(FRONT_ENDS["rfc9440"])


def as_environ(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return what a WSGI server makes of headers."""
    return {wsgi_key(name): value for name, value in pairs}


def test_verify_header_must_hold_its_value() -> None:
    """Where the front end says whether it validated the certificate, it must say so.

    (npm client-certificate-auth 1.1.1: half a pair, and the check is skipped.)
    """
    certificate = ("X-Client-Cert", "v")
    good = [certificate, ("X-Client-Verify", "SUCCESS")]
    assert NGINX.from_pairs(good) == ("v", None)
    assert NGINX.from_wsgi(as_environ(good)) == ("v", None)
    for verified in ("FAILED:self signed", "NONE", "", "success", "SUCCESS,SUCCESS", None):
        pairs = [certificate] + ([] if verified is None else [("X-Client-Verify", verified)])
        assert reason(lambda pairs=pairs: NGINX.from_pairs(pairs)) is DenialReason.UNTRUSTED
        environ = as_environ(pairs)
        assert reason(lambda environ=environ: NGINX.from_wsgi(environ)) is DenialReason.UNTRUSTED


def test_verify_header_said_twice_or_imitated_is_ambiguous() -> None:
    """Of two verdicts none is chosen, and a look-alike of the verdict is refused."""
    for second in ("X-Client-Verify", "X_Client_Verify"):
        pairs = [("X-Client-Cert", "v"), ("X-Client-Verify", "SUCCESS"), (second, "SUCCESS")]
        assert reason(lambda pairs=pairs: NGINX.from_pairs(pairs)) is DenialReason.AMBIGUOUS


def test_without_a_certificate_nothing_is_to_be_verified() -> None:
    """A client without a certificate is missing one, whatever the verdict says."""
    assert NGINX.from_pairs([("X-Client-Verify", "NONE")]) == (None, None)
    assert NGINX.from_pairs([("X-Client-Cert", ""), ("X-Client-Verify", "NONE")]) == ("", None)


def test_chain_header_may_come_in_parts() -> None:
    """RFC 9440: the chain is a list, and a list may come in several headers; the leaf may not."""
    pairs = [("Client-Cert", ":a:"), ("Client-Cert-Chain", ":b:"), ("client-cert-chain", ":c:")]
    assert RFC9440.from_pairs(pairs) == (":a:", ":b:,:c:")
    assert RFC9440.from_pairs(pairs[:1]) == (":a:", None)
    assert reason(lambda: RFC9440.from_pairs([*pairs, ("Client-Cert", ":a:")])) is (
        DenialReason.AMBIGUOUS
    )
    assert reason(lambda: RFC9440.from_pairs([*pairs, ("Client_Cert_Chain", ":d:")])) is (
        DenialReason.AMBIGUOUS
    )


# --- the direct peer -----------------------------------------------------------------------------

PROXIED = Ingress(
    FRONT_ENDS["app-service"],
    trusted_proxies=networks_from(["10.1.0.0/16", "fd00::1"], setting="S"),
)


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1", "::ffff:10.1.2.3"])
def test_peer_in_a_trusted_network(address: str) -> None:
    """A request that comes from a declared proxy passes."""
    assert PROXIED.from_wsgi({"REMOTE_ADDR": address}) == (None, None)
    assert PROXIED.from_asgi({"client": (address, 4711)}) == (None, None)


@pytest.mark.parametrize(
    "address", ["10.2.0.1", "fd00::2", "127.0.0.1", "::ffff:10.2.0.1", "", None, "unix:", "x"]
)
def test_peer_elsewhere_or_unknown_is_denied(address: str | None) -> None:
    """Who came around the front end, or from nobody knows where, is denied.

    (Keycloak CVE-2024-10039: around the front end.)
    """
    environ = {} if address is None else {"REMOTE_ADDR": address}
    assert reason(lambda: PROXIED.from_wsgi(environ)) is DenialReason.UNTRUSTED
    client = None if address is None else (address, 4711)
    assert reason(lambda: PROXIED.from_asgi({"client": client})) is DenialReason.UNTRUSTED


def test_peer_is_asked_before_proxyfix() -> None:
    """The peer is the one the server saw, not what ProxyFix took from X-Forwarded-For."""
    fixed = {"REMOTE_ADDR": "10.1.0.1", "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "192.0.2.1"}}
    assert reason(lambda: PROXIED.from_wsgi(fixed)) is DenialReason.UNTRUSTED
    behind = {"REMOTE_ADDR": "192.0.2.1", "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "10.1.0.1"}}
    assert PROXIED.from_wsgi(behind) == (None, None)


def test_peer_that_the_server_has_rewritten_is_denied() -> None:
    """Uvicorn writes port 0 beside an address that it took from X-Forwarded-For."""
    scope = {"client": ("10.1.2.3", 0)}
    with pytest.raises(CertificateDenied, match="--no-proxy-headers"):
        PROXIED.from_asgi(scope)


def test_peer_cannot_be_seen_in_headers() -> None:
    """Where a peer is to be checked, forms that do not show it admit nobody."""
    assert reason(lambda: PROXIED.from_pairs([])) is DenialReason.MISCONFIGURED
    assert reason(lambda: PROXIED.from_text("v")) is DenialReason.MISCONFIGURED


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10.1.0.0/16", "is no list of networks"),
        ([], "is no list of networks"),
        (["10.1.0.1/16"], "has host bits set"),
        (["proxy"], "'proxy' is no network"),
        ([7], "is no text"),
        (["0.0.0.0/0"], "holds everybody"),
        (["::/0"], "holds everybody"),
    ],
)
def test_bad_networks_stop_the_start(value: object, message: str) -> None:
    """A network that cannot be read, or trusts everybody, is an error."""
    with pytest.raises(ConfigurationError) as caught:
        networks_from(value, setting="S")
    [problem] = caught.value.problems
    assert problem.setting == "S"
    assert message in problem.message
    assert networks_from(("10.1.0.0/16",), setting="S") == (ipaddress.ip_network("10.1.0.0/16"),)


# --- the front end's secret ----------------------------------------------------------------------

OLD, NEW = "old-secret-of-the-front-end", "new-secret-of-the-front-end"
SECRET = Ingress(
    FRONT_ENDS["app-service"],
    secret_header=secret_header_from({"header": "X-Secret", "secrets": [OLD, NEW]}, setting="S"),
)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_either_secret_passes(secret: str) -> None:
    """While a secret is changed, the old and the new one pass."""
    pairs = [("X-Secret", secret), (HEADER, "v")]
    assert SECRET.from_pairs(pairs) == ("v", None)
    assert SECRET.from_wsgi(as_environ(pairs)) == ("v", None)


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("X-Secret", "")],
        [("X-Secret", OLD[:-1])],
        [("X-Secret", OLD + "x")],
        [("X-Secret", OLD.upper())],
        [("X-Secret", f"{OLD},{OLD}")],
        [("X-Secret", "\xff" * 20)],
    ],
)
def test_other_secret_is_denied(pairs: list[tuple[str, str]]) -> None:
    """Without the front end's secret nobody enters, and the log does not show what was sent."""
    for call in (lambda: SECRET.from_pairs(pairs), lambda: SECRET.from_wsgi(as_environ(pairs))):
        with pytest.raises(CertificateDenied, match="did not come through the front end") as caught:
            call()
        assert caught.value.reason is DenialReason.UNTRUSTED
        assert OLD[:-1] not in str(caught.value)
        assert NEW not in str(caught.value)


def test_secret_said_twice_is_denied() -> None:
    """A second secret header means that somebody guesses."""
    pairs = [("X-Secret", OLD), ("X-Secret", "guess")]
    assert reason(lambda: SECRET.from_pairs(pairs)) is DenialReason.UNTRUSTED
    imitated = [("X-Secret", OLD), ("X_Secret", OLD)]
    assert reason(lambda: SECRET.from_pairs(imitated)) is DenialReason.AMBIGUOUS
    assert reason(lambda: SECRET.from_text("v")) is DenialReason.MISCONFIGURED


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        (OLD, "S"),
        ({"header": "X_S", "secrets": [OLD]}, 'S["header"]'),
        ({"secrets": [OLD]}, 'S["header"]'),
        ({"header": "X-S", "secrets": OLD}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": []}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": [OLD, NEW, OLD + NEW]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": ["short"]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": ["with a space in the middle"]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": ["é" * 20]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": [None]}, 'S["secrets"]'),
        ({"header": "X-S", "secrets": [OLD], "secret": OLD}, "S"),
    ],
)
def test_bad_secret_stops_the_start_and_is_not_shown(value: object, setting: str) -> None:
    """An empty or short secret is an error (an unset key is a public constant); none is shown."""
    with pytest.raises(ConfigurationError) as caught:
        secret_header_from(value, setting="S")
    [problem] = caught.value.problems
    assert problem.setting == setting
    assert OLD not in str(problem)
    assert "short" not in problem.message.replace("shorter", "")
    assert OLD not in repr(SecretHeader("X-S", (OLD,)))


# --- servers that fold ---------------------------------------------------------------------------

FOLDING = Server("folder/1", is_safe=False, remedy="use another.")


def test_unsafe_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server that folds names nobody enters, and the log names it and the remedy."""
    monkeypatch.setattr(module, "wsgi_server", lambda environ: FOLDING)
    with pytest.raises(CertificateDenied, match=r"folder/1 .* use another\.") as caught:
        APP_SERVICE.from_wsgi({})
    assert caught.value.reason is DenialReason.MISCONFIGURED


def test_unsafe_server_is_told_once_where_it_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In debug mode requests pass, and the first one says what is wrong."""
    monkeypatch.setattr(module, "wsgi_server", lambda environ: FOLDING)
    ingress = Ingress(FRONT_ENDS["app-service"], refuse_unsafe_servers=False)
    for _ in range(3):
        assert ingress.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "v"}) == ("v", None)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "folder/1" in record.getMessage()


def test_safe_and_unknown_servers_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is known to be safe, or not known at all, is not refused."""
    for server in (None, FOLDING._replace(is_safe=True)):
        monkeypatch.setattr(module, "wsgi_server", lambda environ, server=server: server)
        assert APP_SERVICE.from_wsgi({}) == (None, None)


def test_trailer_among_the_headers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server appends trailers to the headers, what may be one is denied (uvicorn)."""
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", sys)
    header, chunked = (b"x-arr-clientcert", b"v"), (b"transfer-encoding", b"chunked")
    assert APP_SERVICE.from_asgi({"headers": [header, chunked]}) == ("v", None)
    proto = (b"x-forwarded-proto", b"https")
    assert APP_SERVICE.from_asgi({"headers": [header, chunked, proto]}) == ("v", None)
    behind = {"headers": [chunked, header]}
    assert reason(lambda: APP_SERVICE.from_asgi(behind)) is DenialReason.AMBIGUOUS


# --- real names beside a folded environ ----------------------------------------------------------


@pytest.mark.parametrize("as_bytes", [False, True], ids=["text", "bytes"])
def test_real_headers_are_read_in_place_of_the_folded_ones(
    monkeypatch: pytest.MonkeyPatch, as_bytes: bool
) -> None:
    """Where an adapter says the real names, a server that folds them is neither asked nor read."""
    monkeypatch.setattr(module, "wsgi_server", lambda environ: FOLDING)

    def read(*pairs: tuple[str, str]) -> Forwarded:
        real = [(n.encode(), v.encode()) for n, v in pairs] if as_bytes else pairs
        return APP_SERVICE.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "forged", REAL_HEADERS: real})

    assert read((HEADER, "v"), ("Accept", "*/*")) == ("v", None)
    assert read() == (None, None)
    for forged in ([("X_ARR_ClientCert", "forged")], [(HEADER, "v"), ("x_arr-clientcert", "w")]):
        assert reason(lambda forged=forged: read(*forged)) is DenialReason.AMBIGUOUS
    twice = [(HEADER, "v"), (HEADER, "w")]
    assert reason(lambda: read(*twice)) is DenialReason.AMBIGUOUS
    plain = [(HEADER, "v"), ("X-Forwarded-Proto", "http")]
    assert reason(lambda: read(*plain)) is DenialReason.INSECURE_TRANSPORT


def test_real_headers_stand_under_the_documented_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code in front of the app writes the key itself, and a name beyond Latin-1 is another's."""
    monkeypatch.setattr(module, "wsgi_server", lambda environ: FOLDING)
    pairs = [("X-Caf\u00e9", "a"), ("X-ARR\u2014ClientCert", "b"), (HEADER, "v")]
    assert APP_SERVICE.from_wsgi({"arrcert.headers": pairs}) == ("v", None)


def test_client_cannot_say_the_real_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header of that name is a header like any other, and the server is refused as before."""
    monkeypatch.setattr(module, "wsgi_server", lambda environ: FOLDING)
    for key in (wsgi_key(REAL_HEADERS), f"HTTP_{REAL_HEADERS}"):
        forged = {key: [(HEADER, "v")]}
        assert reason(lambda forged=forged: APP_SERVICE.from_wsgi(forged)) is (
            DenialReason.MISCONFIGURED
        )


def test_peer_is_asked_beside_the_real_headers() -> None:
    """Real names do not show who sent them."""
    ingress = Ingress(
        FRONT_ENDS["app-service"], trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),)
    )
    environ = {REAL_HEADERS: [(HEADER, "v")]}
    assert reason(lambda: ingress.from_wsgi(environ)) is DenialReason.UNTRUSTED
    assert ingress.from_wsgi(environ | {"REMOTE_ADDR": "10.1.2.3"}) == ("v", None)


def test_trailer_among_the_real_headers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter may have its real names from a server that appends trailers (uvicorn)."""
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", sys)
    behind = {REAL_HEADERS: [("Transfer-Encoding", "chunked"), (HEADER, "v")]}
    assert reason(lambda: APP_SERVICE.from_wsgi(behind)) is DenialReason.AMBIGUOUS
    before = {REAL_HEADERS: [(HEADER, "v"), ("Transfer-Encoding", "chunked")]}
    assert APP_SERVICE.from_wsgi(before) == ("v", None)
