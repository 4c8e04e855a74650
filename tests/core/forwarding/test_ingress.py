"""The checks on each request before its certificate is read."""

from __future__ import annotations

import base64
import ipaddress
import logging
import subprocess
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import DenialReason
from arrcert.exceptions import Finding
from arrcert.forwarding import ingress as module
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd
from arrcert.forwarding.ingress import (
    MAX_HEADER_CHARACTERS,
    REAL_HEADERS,
    Forwarded,
    Ingress,
    certificates_in,
    wsgi_key,
)
from arrcert.forwarding.proxies import SecretHeader, networks_from, secret_header_from
from arrcert.forwarding.servers import Server
from arrcert.testing import IssuedCertificate

APP_SERVICE = Ingress(FRONT_ENDS["app-service"])
HEADER = "X-ARR-ClientCert"


def finding(answer: object) -> Finding:
    """Return the answer, which must be a finding that denies a request."""
    assert isinstance(answer, Finding), answer
    return answer


def reason(answer: object) -> DenialReason:
    """Return the reason of an answer that denies a request."""
    return finding(answer).reason


def as_environ(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return headers as a WSGI server writes them into the environ."""
    return {wsgi_key(name): value for name, value in pairs}


def test_wsgi_header_is_read_by_its_key() -> None:
    """In a WSGI environ only the key of the declared header is read."""
    assert APP_SERVICE.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "v"}) == "v"
    assert APP_SERVICE.from_wsgi({"HTTP_CLIENT_CERT": "v"}) is None


def test_key_of_a_header() -> None:
    """The key of a header in a WSGI environ has capital letters and underscores (PEP 3333)."""
    assert wsgi_key(HEADER) == "HTTP_X_ARR_CLIENTCERT"


# --- the transport -------------------------------------------------------------------------------


@pytest.mark.parametrize("proto", ["http", "", "https,http", "http,https", " https", "wss"])
def test_insecure_transport_is_denied(proto: str) -> None:
    """Behind App Service a request that did not come over TLS is denied.

    (OpenShift router CVE-2026-46579: headers of listeners without mTLS, or over plain HTTP.)
    """
    pairs = [(HEADER, "v"), ("X-Forwarded-Proto", proto)]
    for answer in (APP_SERVICE.from_wsgi(as_environ(pairs)), APP_SERVICE.from_pairs(pairs)):
        assert reason(answer) is DenialReason.INSECURE_TRANSPORT


def test_absent_forwarded_proto_passes() -> None:
    """A request without `X-Forwarded-Proto` is not denied for its transport."""
    assert APP_SERVICE.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "v"}) == "v"
    assert APP_SERVICE.from_pairs([(HEADER, "v")]) == "v"


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        ("http", "'http', so the request did not come over TLS"),
        ("http", "turn on HTTPS Only for the app"),
        ("https,http", "'https,http', which is more than one value: somebody sent the header a"),
    ],
)
def test_insecure_transport_says_what_was_found(proto: str, message: str) -> None:
    """The detail distinguishes two values from a request without TLS."""
    assert message in finding(APP_SERVICE.from_wsgi({"HTTP_X_FORWARDED_PROTO": proto})).detail
    pairs = [("X-Forwarded-Proto", value) for value in proto.split(",")]
    assert message in finding(APP_SERVICE.from_pairs(pairs)).detail


@pytest.mark.parametrize("proto", ["https", "HTTPS", "Https"])
def test_forwarded_proto_is_compared_without_case(proto: str) -> None:
    """The case of the scheme in `X-Forwarded-Proto` does not matter (RFC 3986 section 3.1)."""
    environ = {"HTTP_X_ARR_CLIENTCERT": "v", "HTTP_X_FORWARDED_PROTO": proto}
    assert APP_SERVICE.from_wsgi(environ) == "v"
    assert APP_SERVICE.from_pairs([("x-forwarded-proto", proto), (HEADER, "v")]) == "v"


def test_transport_is_checked_only_if_the_front_end_promises_it() -> None:
    """A front end described by a mapping does not promise `X-Forwarded-Proto`."""
    ingress = Ingress(FrontEnd("X-Client", "X-Client"))
    environ = {"HTTP_X_CLIENT": "v", "HTTP_X_FORWARDED_PROTO": "http"}
    assert ingress.from_wsgi(environ) == "v"
    assert ingress.from_pairs([("X-Client", "v"), ("X-Forwarded-Proto", "http")]) == "v"


def test_transport_is_the_first_reason() -> None:
    """The reason of a plain HTTP request is the transport, even beside a look-alike header."""
    look_alike = [(HEADER, "v"), ("X_ARR_ClientCert", "w")]
    plain = [*look_alike, ("X-Forwarded-Proto", "http")]
    assert reason(APP_SERVICE.from_pairs(plain)) is DenialReason.INSECURE_TRANSPORT


def test_look_alike_of_forwarded_proto_is_ignored() -> None:
    """A look-alike of `X-Forwarded-Proto` is ignored."""
    pairs = [(HEADER, "v"), ("X_Forwarded_Proto", "http")]
    assert APP_SERVICE.from_pairs(pairs) == "v"


# --- headers as pairs ----------------------------------------------------------------------------


def test_pairs_are_read_in_any_case_and_kind() -> None:
    """Names are compared without case, as text or as bytes."""
    assert APP_SERVICE.from_pairs([(b"x-arr-clientcert", b"v")]) == "v"
    assert APP_SERVICE.from_pairs([("X-Arr-Clientcert", "v"), ("Host", "h")]) == "v"
    others = [("Host", "h"), ("X-Quite-Another-Header", "v"), ("Another-16-bytes", "v")]
    assert APP_SERVICE.from_pairs(others) is None
    assert APP_SERVICE.from_pairs([*others, (HEADER, "v")]) == "v"


def test_text_and_bytes_are_never_compared() -> None:
    """Names as text are read even if Python treats a comparison of text and bytes as an error."""
    program = (
        "from arrcert.forwarding.front_ends import FRONT_ENDS\n"
        "from arrcert.forwarding.ingress import Ingress\n"
        "pairs = [('x-arr-clientcert', 'v')]\n"
        "assert Ingress(FRONT_ENDS['app-service']).from_pairs(pairs) == 'v'\n"
    )
    subprocess.run([sys.executable, "-bb", "-c", program], check=True)


def test_every_header_is_looked_at() -> None:
    """A header with a short name does not hide the headers after it."""
    assert APP_SERVICE.from_pairs([("a", "b"), (HEADER, "v")]) == "v"
    pairs = [("a", "b"), (HEADER, "v"), ("c", "d"), ("X_ARR_ClientCert", "w")]
    assert reason(APP_SERVICE.from_pairs(pairs)) is DenialReason.AMBIGUOUS


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
        [(b" X-ARR-ClientCert", b"a"), (b"x-arr-clientcert", b"b")],
        [(b"\x1cx-arr-clientcert\x85", b"a")],
        [(b"x-arr-clientcert\xa0\x0b", b"a")],
        [("X-Quite-Another-Header", "v"), ("X_ARR_ClientCert", "a")],
    ],
)
def test_repetition_and_look_alikes_are_ambiguous(pairs: list[tuple[Any, Any]]) -> None:
    """A second value is denied, and so is a name that some server folds into ours, even alone.

    (Django CVE-2015-0219 and CVE-2026-3902, oauth2-proxy CVE-2025-64484: `_` and `-` fold.)
    """
    assert reason(APP_SERVICE.from_pairs(pairs)) is DenialReason.AMBIGUOUS


def test_look_alike_is_named() -> None:
    """The detail names the look-alike, and the header that it looks like."""
    assert finding(APP_SERVICE.from_pairs([("X_ARR_ClientCert\n", "a")])).detail == (
        r"the header 'x_arr_clientcert\n' looks like X-ARR-ClientCert, which the front end sets;"
        " only an attacker sends such a header"
    )
    assert finding(APP_SERVICE.from_pairs([(HEADER, "a")] * 3)).detail == (
        "X-ARR-ClientCert came 3 times"
    )


def test_asgi_headers_are_pairs() -> None:
    """The headers of an ASGI scope are read like any pairs; a scope may have none."""
    scope = {"headers": [(b"x-arr-clientcert", b"v")]}
    assert APP_SERVICE.from_asgi(scope) == "v"
    assert APP_SERVICE.from_asgi({}) is None
    look_alike = {"headers": [(b"x_arr_clientcert", b"v")]}
    assert reason(APP_SERVICE.from_asgi(look_alike)) is DenialReason.AMBIGUOUS


def test_text_alone_is_taken_as_it_is() -> None:
    """Header text without a request is accepted if the configuration declares no further check."""
    assert APP_SERVICE.why_text_is_not_enough is None


# --- verify headers and chains -------------------------------------------------------------------

NGINX = Ingress(FRONT_ENDS["nginx"])
RFC9440 = Ingress(FRONT_ENDS["rfc9440"])


def test_verify_header_must_hold_its_value() -> None:
    """A certificate is denied unless the verify header says that the front end validated it.

    (npm client-certificate-auth 1.1.1: half a pair, and the check is skipped.)
    """
    certificate = ("X-Client-Cert", "v")
    good = [certificate, ("X-Client-Verify", "SUCCESS")]
    assert NGINX.from_pairs(good) == "v"
    assert NGINX.from_wsgi(as_environ(good)) == "v"
    for verified in ("FAILED:self signed", "NONE", "", "success", "SUCCESS,SUCCESS", None):
        pairs = [certificate] + ([] if verified is None else [("X-Client-Verify", verified)])
        assert reason(NGINX.from_pairs(pairs)) is DenialReason.NOT_THROUGH_FRONT_END
        assert reason(NGINX.from_wsgi(as_environ(pairs))) is DenialReason.NOT_THROUGH_FRONT_END
    failed = NGINX.from_pairs([certificate, ("X-Client-Verify", "FAILED:\n")])
    assert finding(failed).detail == (
        "the front end did not validate the certificate: X-Client-Verify is 'FAILED:\\n', not"
        " 'SUCCESS'"
    )


def test_verify_header_said_twice_or_imitated_is_ambiguous() -> None:
    """Two verify headers are ambiguous, and a look-alike of the verify header is denied."""
    for second in ("X-Client-Verify", "X_Client_Verify"):
        pairs = [("X-Client-Cert", "v"), ("X-Client-Verify", "SUCCESS"), (second, "SUCCESS")]
        assert reason(NGINX.from_pairs(pairs)) is DenialReason.AMBIGUOUS


def test_without_a_certificate_nothing_is_to_be_verified() -> None:
    """A request without a certificate is `missing`, for every value of the verify header."""
    assert NGINX.from_pairs([("X-Client-Verify", "NONE")]) is None
    assert NGINX.from_pairs([("X-Client-Cert", ""), ("X-Client-Verify", "NONE")]) == ""


@pytest.mark.parametrize("name", ["nginx", "haproxy", "application-gateway"])
def test_text_alone_is_refused_if_a_verify_header_is_declared(name: str) -> None:
    """Header text without a request is denied if a verify header is declared."""
    answer = Ingress(FRONT_ENDS[name]).why_text_is_not_enough
    assert answer is not None
    assert answer.reason is DenialReason.MISCONFIGURED
    assert "call authorize_wsgi, authorize_asgi or authorize_headers" in answer.detail


def test_chain_header_may_come_in_parts() -> None:
    """The chain is a list and may come in several headers, but the leaf may not (RFC 9440)."""
    pairs = [("Client-Cert", ":a:"), ("Client-Cert-Chain", ":b:"), ("client-cert-chain", ":c:")]
    assert RFC9440.from_pairs(pairs) == (":a:", ":b:,:c:")
    assert RFC9440.from_pairs(pairs[:1]) == ":a:"
    assert RFC9440.from_wsgi(as_environ(pairs[:2])) == (":a:", ":b:")
    twice = [*pairs, ("Client-Cert", ":a:")]
    assert reason(RFC9440.from_pairs(twice)) is DenialReason.AMBIGUOUS
    imitated = [*pairs, ("Client_Cert_Chain", ":d:")]
    assert reason(RFC9440.from_pairs(imitated)) is DenialReason.AMBIGUOUS


# --- the direct peer -----------------------------------------------------------------------------

PROXIED = Ingress(
    FRONT_ENDS["app-service"],
    trusted_proxies=networks_from(["10.1.0.0/16", "fd00::1"], setting="S"),
)


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1", "::ffff:10.1.2.3"])
def test_peer_in_a_trusted_network(address: str) -> None:
    """A request that comes from a declared proxy passes."""
    assert PROXIED.from_wsgi({"REMOTE_ADDR": address}) is None
    assert PROXIED.from_asgi({"client": (address, 4711)}) is None


@pytest.mark.parametrize(
    "address", ["10.2.0.1", "fd00::2", "127.0.0.1", "::ffff:10.2.0.1", "", None, "unix:", "x"]
)
def test_peer_elsewhere_or_unknown_is_denied(address: str | None) -> None:
    """A request from a peer that is not a declared proxy, or that is not known, is denied.

    (Keycloak CVE-2024-10039: around the front end.)
    """
    environ = {} if address is None else {"REMOTE_ADDR": address}
    assert reason(PROXIED.from_wsgi(environ)) is DenialReason.NOT_THROUGH_FRONT_END
    client = None if address is None else (address, 4711)
    assert reason(PROXIED.from_asgi({"client": client})) is DenialReason.NOT_THROUGH_FRONT_END


def test_peer_is_named() -> None:
    """The detail names the peer's address, or says that a Unix socket has none."""
    elsewhere = finding(PROXIED.from_wsgi({"REMOTE_ADDR": "10.2.0.1"}))
    assert elsewhere.detail == (
        "the request did not come through the front end: the direct peer 10.2.0.1 is in none of the"
        " networks of ARRCERT_TRUSTED_PROXIES"
    )
    assert "is 'None', and a Unix socket has none" in finding(PROXIED.from_asgi({})).detail


def test_peer_is_asked_before_proxyfix() -> None:
    """The peer is the address that the server saw, and not the one from ProxyFix."""
    fixed = {"REMOTE_ADDR": "10.1.0.1", "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "192.0.2.1"}}
    assert reason(PROXIED.from_wsgi(fixed)) is DenialReason.NOT_THROUGH_FRONT_END
    behind = {"REMOTE_ADDR": "192.0.2.1", "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "10.1.0.1"}}
    assert PROXIED.from_wsgi(behind) is None


def test_peer_that_the_server_has_rewritten_is_denied() -> None:
    """A peer with port 0 is denied, because uvicorn took its address from X-Forwarded-For."""
    answer = finding(PROXIED.from_asgi({"client": ("10.1.2.3", 0)}))
    assert answer.reason is DenialReason.NOT_THROUGH_FRONT_END
    assert "--no-proxy-headers" in answer.detail


@pytest.mark.parametrize("networks", [PROXIED._trusted_proxies, ()])
def test_peer_cannot_be_seen_in_headers(networks: Any) -> None:
    """If peers are checked, a call that does not show the peer denies every request."""
    ingress = Ingress(FRONT_ENDS["app-service"], trusted_proxies=networks)
    assert reason(ingress.from_pairs([])) is DenialReason.MISCONFIGURED
    assert reason(ingress.why_text_is_not_enough) is DenialReason.MISCONFIGURED


def test_no_network_trusts_nobody() -> None:
    """An empty list of networks denies every peer."""
    ingress = Ingress(FRONT_ENDS["app-service"], trusted_proxies=())
    assert (
        reason(ingress.from_wsgi({"REMOTE_ADDR": "10.1.2.3"})) is DenialReason.NOT_THROUGH_FRONT_END
    )


# --- the front end's secret ----------------------------------------------------------------------

OLD, NEW = "old-secret-of-the-front-end", "new-secret-of-the-front-end"
SECRET = Ingress(
    FRONT_ENDS["app-service"],
    secret_header=secret_header_from({"header": "X-Secret", "secrets": [OLD, NEW]}, setting="S"),
)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_either_secret_passes(secret: str) -> None:
    """While a secret is being changed, the old and the new one pass."""
    pairs = [("X-Secret", secret), (HEADER, "v")]
    assert SECRET.from_pairs(pairs) == "v"
    assert SECRET.from_wsgi(as_environ(pairs)) == "v"


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
    """A request without the front end's secret is denied, and no secret is shown."""
    for answer in (SECRET.from_pairs(pairs), SECRET.from_wsgi(as_environ(pairs))):
        found = finding(answer)
        assert found.reason is DenialReason.NOT_THROUGH_FRONT_END
        assert found.detail == (
            "the request did not come through the front end: X-Secret"
            f" {'holds another value' if pairs else 'is absent'}"
        )


@pytest.mark.parametrize("presented", [None, 5, "", "\udc80" + OLD, OLD[:-1], OLD + "x"])
def test_secret_of_any_type_is_compared_as_text(presented: Any) -> None:
    """A value that is not text, or not valid Unicode, is not the secret and causes no error."""
    ingress = Ingress(FRONT_ENDS["app-service"], secret_header=SecretHeader("X-Secret", (OLD,)))
    environ = {"HTTP_X_ARR_CLIENTCERT": "v", "HTTP_X_SECRET": presented}
    assert reason(ingress.from_wsgi(environ)) is DenialReason.NOT_THROUGH_FRONT_END
    assert ingress.from_wsgi({**environ, "HTTP_X_SECRET": OLD}) == "v"


def test_secret_said_twice_is_denied() -> None:
    """A request with two secret headers is denied, because a guess looks like that."""
    pairs = [("X-Secret", OLD), ("X-Secret", "guess")]
    assert reason(SECRET.from_pairs(pairs)) is DenialReason.NOT_THROUGH_FRONT_END
    imitated = [("X-Secret", OLD), ("X_Secret", OLD)]
    assert reason(SECRET.from_pairs(imitated)) is DenialReason.AMBIGUOUS
    assert reason(SECRET.why_text_is_not_enough) is DenialReason.MISCONFIGURED


@given(
    st.sampled_from(["GET", "HEAD", "POST", "get", None]),
    st.dictionaries(
        st.sampled_from(["X-ARR-ClientCert", "X-Forwarded-Proto", "Upgrade", "Origin", "Host"]),
        st.sampled_from(["", "v", "https", "http", "HTTPS", "https,http", "websocket", "h2c"]),
    ),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2", "HTTP/2.0", "", None]),
    st.sampled_from(["absent", None, 1, b"https"]),
)
def test_a_plain_request_is_judged_as_every_other(
    method: str | None, headers: dict[str, str], version: str | None, proto: object
) -> None:
    """The fast path for most WSGI requests gives the same answer as the full check."""
    environ: dict[str, Any] = as_environ(list(headers.items()))
    if proto != "absent":
        environ["HTTP_X_FORWARDED_PROTO"] = proto
    if method is not None:
        environ["REQUEST_METHOD"] = method
    if version is not None:
        environ["SERVER_PROTOCOL"] = version
    careful = Ingress(FRONT_ENDS["app-service"])
    careful._checks_other_headers = True
    assert APP_SERVICE.from_wsgi(environ) == careful.from_wsgi(environ)


def test_a_safe_request_without_tls_is_denied_too() -> None:
    """A GET that did not come over TLS takes the full check, and is denied."""
    environ = {
        "REQUEST_METHOD": "GET",
        **as_environ([(HEADER, "v"), ("X-Forwarded-Proto", "http")]),
    }
    assert reason(APP_SERVICE.from_wsgi(environ)) is DenialReason.INSECURE_TRANSPORT


# --- servers that fold ---------------------------------------------------------------------------

FOLDING = Server("folder/1", is_safe=False, remedy="use another")


def run_on(server: Server | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every environ look as if it came from a given server."""

    def known(environ: Mapping[str, Any]) -> Server | None:
        return server

    monkeypatch.setattr(module, "wsgi_server", known)


def test_unsafe_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server that folds names every request is denied, and the log shows the remedy."""
    run_on(FOLDING, monkeypatch)
    answer = finding(APP_SERVICE.from_wsgi({}))
    assert answer.reason is DenialReason.MISCONFIGURED
    assert answer.detail.startswith("the WSGI server folder/1 passes a look-alike header")
    assert answer.detail.endswith("; use another")


@pytest.mark.parametrize("is_declared", [None, True, False])
def test_real_headers_on_a_strict_server(
    is_declared: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server without loose line ends, the front end's line ends do not matter."""
    monkeypatch.setattr(module, "asgi_server_with_loose_line_ends", lambda: None)
    front_end = FRONT_ENDS["app-service"]._replace(normalizes_line_ends=is_declared)
    environ = {REAL_HEADERS: [(HEADER, "v")], "REQUEST_METHOD": "GET"}
    assert Ingress(front_end).from_wsgi(environ) == "v"


def test_unsafe_server_is_reported_once_if_it_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In debug mode requests pass, and the first one logs an error on the logger `arrcert`."""
    run_on(FOLDING, monkeypatch)
    ingress = Ingress(FRONT_ENDS["app-service"], refuse_unsafe_servers=False)
    for _ in range(3):
        assert ingress.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "v"}) == "v"
    [record] = caplog.records
    assert (record.name, record.levelno) == ("arrcert", logging.ERROR)
    assert "folder/1" in record.getMessage()


def test_safe_and_unknown_servers_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is known to be safe, or that is not known, is not refused."""
    for server in (None, FOLDING._replace(is_safe=True)):
        run_on(server, monkeypatch)
        assert APP_SERVICE.from_wsgi({}) is None


def test_trailer_among_the_headers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the server appends trailers to the headers, a possible trailer is denied (uvicorn)."""
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", sys)
    header, chunked = (b"x-arr-clientcert", b"v"), (b"transfer-encoding", b"chunked")
    assert APP_SERVICE.from_asgi({"headers": [header, chunked]}) == "v"
    proto = (b"x-forwarded-proto", b"https")
    assert APP_SERVICE.from_asgi({"headers": [header, chunked, proto]}) == "v"
    behind = {"headers": [chunked, header]}
    assert reason(APP_SERVICE.from_asgi(behind)) is DenialReason.AMBIGUOUS


# --- real names beside a folded environ ----------------------------------------------------------


@pytest.mark.parametrize("as_bytes", [False, True], ids=["text", "bytes"])
def test_real_headers_are_read_in_place_of_the_folded_ones(
    monkeypatch: pytest.MonkeyPatch, as_bytes: bool
) -> None:
    """Real names from an adapter are read instead of the folded ones, on any server."""
    run_on(FOLDING, monkeypatch)

    def read(*pairs: tuple[str, str]) -> Forwarded | Finding:
        real = [(n.encode(), v.encode()) for n, v in pairs] if as_bytes else pairs
        return APP_SERVICE.from_wsgi({"HTTP_X_ARR_CLIENTCERT": "forged", REAL_HEADERS: real})

    assert read((HEADER, "v"), ("Accept", "*/*")) == "v"
    assert read() is None
    for forged in ([("X_ARR_ClientCert", "forged")], [(HEADER, "v"), ("x_arr-clientcert", "w")]):
        assert reason(read(*forged)) is DenialReason.AMBIGUOUS
    assert reason(read((HEADER, "v"), (HEADER, "w"))) is DenialReason.AMBIGUOUS
    plain = [(HEADER, "v"), ("X-Forwarded-Proto", "http")]
    assert reason(read(*plain)) is DenialReason.INSECURE_TRANSPORT


def test_real_headers_have_the_documented_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is part of the public interface, and names beyond Latin-1 are other headers."""
    run_on(FOLDING, monkeypatch)
    pairs = [("X-Caf\u00e9", "a"), ("X-ARR\u2014ClientCert", "b"), (HEADER, "v")]
    assert APP_SERVICE.from_wsgi({"arrcert.headers": pairs}) == "v"


def test_client_cannot_say_the_real_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request header with the name of the key is not read as the real headers."""
    run_on(FOLDING, monkeypatch)
    for key in (wsgi_key(REAL_HEADERS), f"HTTP_{REAL_HEADERS}"):
        forged = {key: [(HEADER, "v")]}
        assert reason(APP_SERVICE.from_wsgi(forged)) is DenialReason.MISCONFIGURED


def test_peer_is_checked_beside_the_real_headers() -> None:
    """The real names do not replace the check of the peer."""
    ingress = Ingress(
        FRONT_ENDS["app-service"], trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),)
    )
    environ = {REAL_HEADERS: [(HEADER, "v")]}
    assert reason(ingress.from_wsgi(environ)) is DenialReason.NOT_THROUGH_FRONT_END
    assert ingress.from_wsgi(environ | {"REMOTE_ADDR": "10.1.2.3"}) == "v"


def test_trailer_among_the_real_headers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A possible trailer is denied even if an adapter provides the real names (uvicorn)."""
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", sys)
    behind = {REAL_HEADERS: [("Transfer-Encoding", "chunked"), (HEADER, "v")]}
    assert reason(APP_SERVICE.from_wsgi(behind)) is DenialReason.AMBIGUOUS
    before = {REAL_HEADERS: [(HEADER, "v"), ("Transfer-Encoding", "chunked")]}
    assert APP_SERVICE.from_wsgi(before) == "v"


# --- certificates_in -----------------------------------------------------------------------------


def test_certificates_are_decoded_as_the_front_end_declares(alice: IssuedCertificate) -> None:
    """The value of the header decodes to the DER, byte for byte, in the declared encoding."""
    der, pem = alice.certificate.der, quote(alice.certificate_pem.decode(), safe="")
    for name, value in (
        ("app-service", alice.header_value),
        ("nginx", pem),
        ("rfc9440", f":{alice.header_value}:"),
        ("envoy", f'Cert="{pem}"'),
    ):
        assert certificates_in(FRONT_ENDS[name], value) == [der]


def test_trusted_hops_choose_the_element(alice: IssuedCertificate) -> None:
    """`trusted_hops` of the front end selects the element of XFCC."""
    cert = quote(alice.certificate_pem.decode(), safe="")
    front_end = FrontEnd("mine", "X-C", "xfcc", trusted_hops=2)
    assert certificates_in(front_end, f'Cert="{cert}",Hash=ab') == [alice.certificate.der]
    assert reason(certificates_in(front_end, f'Cert="{cert}"')) is DenialReason.MALFORMED


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_absent_or_empty_is_missing(name: str, value: str | None) -> None:
    """No header and an empty header both mean that no certificate was presented."""
    answer = finding(certificates_in(FRONT_ENDS[name], value))
    assert answer.reason is DenialReason.MISSING
    assert answer.detail == (f"no {FRONT_ENDS[name].header}: the client presented no certificate")


@pytest.mark.parametrize("value", [b"MAAA", b"", 7, ["MAAA"]])
def test_value_that_is_not_text_is_malformed(value: Any) -> None:
    """A value that is not text is denied, and nothing converts it."""
    answer = finding(certificates_in(FRONT_ENDS["app-service"], value))
    assert answer.reason is DenialReason.MALFORMED
    assert answer.detail == f"X-ARR-ClientCert is {type(value).__name__}, not text"


def test_length_is_bounded() -> None:
    """A value of more than 16,384 characters is denied before it is decoded."""
    app_service = FRONT_ENDS["app-service"]
    assert MAX_HEADER_CHARACTERS == 16_384
    longest = certificates_in(app_service, "M" * MAX_HEADER_CHARACTERS)
    assert isinstance(longest, list)
    assert [len(der) for der in longest] == [MAX_HEADER_CHARACTERS // 4 * 3]
    for more in (1, 4):
        value = "A" * (MAX_HEADER_CHARACTERS + more)
        assert reason(certificates_in(app_service, value)) is DenialReason.TOO_LARGE


def test_chain_is_read_beside_the_leaf() -> None:
    """The certificates of the chain header follow the leaf."""
    front_end = FRONT_ENDS["rfc9440"]
    assert certificates_in(front_end, (":AAAA:", ":BBBB:, :CCCC:")) == [
        b"\0\0\0",
        base64.b64decode("BBBB"),
        base64.b64decode("CCCC"),
    ]
    for forwarded in (":AAAA:", (":AAAA:", "")):
        assert certificates_in(front_end, forwarded) == [b"\0\0\0"]


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        ("x", DenialReason.MALFORMED),
        (" ", DenialReason.MALFORMED),
        (",".join([":AAAA:"] * 11), DenialReason.TOO_LARGE),
        (":AAAA:," * 3000, DenialReason.TOO_LARGE),
    ],
)
def test_bad_chain_is_denied(chain: str, why: DenialReason) -> None:
    """A request with a chain that cannot be decoded is denied, even if the leaf is valid."""
    answer = finding(certificates_in(FRONT_ENDS["rfc9440"], (":AAAA:", chain)))
    assert answer.reason is why
    assert answer.detail.startswith("Client-Cert, read as rfc9440: ")


def test_chain_header_is_read_only_if_it_is_declared() -> None:
    """A front end without a chain header forwards no chain, whatever headers a client sends."""
    pairs = [(HEADER, "MAAA"), ("Client-Cert-Chain", ":BBBB:")]
    for forwarded in (APP_SERVICE.from_pairs(pairs), APP_SERVICE.from_wsgi(as_environ(pairs))):
        assert forwarded == "MAAA"
    pair = certificates_in(FRONT_ENDS["app-service"], ("MAAA", ":BBBB:"))
    assert finding(pair).detail == "X-ARR-ClientCert is tuple, not text"


@pytest.mark.parametrize("value", ["MI_B", "MIIB,MIIB", "A" * (MAX_HEADER_CHARACTERS + 1)])
@pytest.mark.parametrize("name", ["app-service", "nginx", "rfc9440", "envoy"])
def test_denial_names_the_header_and_how_it_was_read(name: str, value: str) -> None:
    """The detail names the wrong header, and the encoding in which it was read."""
    front_end = FRONT_ENDS[name]
    answer = finding(certificates_in(front_end, value))
    assert answer.detail.startswith(f"{front_end.header}, read as {front_end.encoding}: ")


HOSTILE = st.text(max_size=200) | st.text(alphabet='":;,=\\%Cert-BEGIN \n+AQM', max_size=60)


@given(st.sampled_from(sorted(FRONT_ENDS)), HOSTILE, st.none() | HOSTILE)
def test_hostile_headers_are_decoded_or_denied(name: str, value: str, chain: str | None) -> None:
    """Any header text gives certificates or a finding, and never an exception."""
    answer = certificates_in(FRONT_ENDS[name], (value, chain))
    if isinstance(answer, Finding):
        assert answer.detail.isprintable()
    else:
        assert answer
        assert all(answer)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "X_ARR_ClientCert", "X-Forwarded-Proto", "X-Client-Verify"])
            | st.sampled_from([HEADER, "X-Client-Cert", "Client-Cert-Chain", "X-Secret"])
            | st.text(max_size=20),
            st.text(max_size=20),
        ),
        max_size=6,
    ),
    st.sampled_from(["app-service", "nginx", "rfc9440"]),
)
def test_hostile_pairs_are_read_or_denied(pairs: list[tuple[str, str]], name: str) -> None:
    """Any headers give the forwarded text or a finding, and never an exception."""
    for ingress in (Ingress(FRONT_ENDS[name]), SECRET):
        answer = ingress.from_pairs(pairs)
        if isinstance(answer, Finding):
            assert answer.detail.isprintable()
        else:
            header = ingress.front_end.header
            value = answer[0] if isinstance(answer, tuple) else answer
            assert value in [None, *(v for n, v in pairs if n.lower() == header.lower())]


# --- HTTP/2 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "2.0"])
def test_http2_is_denied_unless_the_front_end_speaks_it(version: str) -> None:
    """HTTP/2 is denied unless the front end speaks it: an h2c client writes every header."""
    scope = {"type": "http", "http_version": version, "headers": [(b"x-arr-clientcert", b"v")]}
    environ = {"SERVER_PROTOCOL": f"HTTP/{version}", "HTTP_X_ARR_CLIENTCERT": "v"}
    for found in (APP_SERVICE.from_asgi(scope), APP_SERVICE.from_wsgi(environ)):
        assert reason(found) is DenialReason.NOT_THROUGH_FRONT_END
    declared = Ingress(FRONT_ENDS["app-service"]._replace(http2=True))
    assert declared.from_asgi({**scope, "method": "GET"}) == "v"
    assert declared.from_wsgi({**environ, "REQUEST_METHOD": "GET"}) == "v"


@pytest.mark.parametrize("version", ["1.0", "1.1", None])
def test_other_http_versions_pass(version: str | None) -> None:
    """HTTP/1 passes, and so does a request whose server does not state the version."""
    scope = {"type": "http", "http_version": version, "headers": [(b"x-arr-clientcert", b"v")]}
    assert APP_SERVICE.from_asgi({**scope, "method": "GET"}) == "v"


def test_real_headers_of_a_websocket_handshake_are_unsafe() -> None:
    """A WebSocket handshake that has only its real headers passes only from an allowed Origin."""
    pairs = [(HEADER, "v"), ("Upgrade", "websocket"), ("Origin", "https://evil.example")]
    environ = {"REQUEST_METHOD": "GET", REAL_HEADERS: pairs}
    assert reason(APP_SERVICE.from_wsgi(environ)) is DenialReason.CROSS_SITE


LOOSE = {"werkzeug.socket": None, "REQUEST_METHOD": "GET", "HTTP_X_ARR_CLIENTCERT": "v"}
"""A request on a server that accepts a bare LF as the end of a header line."""


@pytest.mark.parametrize("as_real_headers", [True, False])
@pytest.mark.parametrize(
    ("normalizes", "level"), [(True, None), (None, logging.WARNING), (False, logging.ERROR)]
)
def test_loose_line_ends_of_a_server(
    caplog: pytest.LogCaptureFixture,
    normalizes: bool | None,
    level: int | None,
    as_real_headers: bool,
) -> None:
    """A server with loose line ends is unsafe behind a front end that passes a bare LF on."""
    front_end = FRONT_ENDS["app-service"]._replace(normalizes_line_ends=normalizes)
    environ = LOOSE | ({"arrcert.headers": [("X-ARR-ClientCert", "v")]} if as_real_headers else {})
    answer = Ingress(front_end).from_wsgi(environ)
    if normalizes is False:
        denied = finding(answer)
        assert denied.reason is DenialReason.MISCONFIGURED
        assert "werkzeug takes a bare LF" in denied.detail
    else:
        assert answer == "v"
    ingress = Ingress(front_end, refuse_unsafe_servers=False)
    caplog.clear()
    assert [ingress.from_wsgi(environ) for _ in range(2)] == ["v"] * 2
    assert [record.levelno for record in caplog.records] == ([] if level is None else [level])


def test_loose_line_ends_of_an_asgi_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An ASGI server with loose line ends is recognized by its modules, and is unsafe likewise."""
    monkeypatch.setitem(sys.modules, "hypercorn.protocol.h11", ModuleType("h11"))
    scope = {"type": "http", "method": "GET", "headers": [(b"x-arr-clientcert", b"v")]}
    strict = FRONT_ENDS["app-service"]
    assert Ingress(strict).from_asgi(scope) == "v"
    assert not caplog.records
    denied = finding(Ingress(strict._replace(normalizes_line_ends=False)).from_asgi(scope))
    assert denied.reason is DenialReason.MISCONFIGURED
    real = {"arrcert.headers": [("X-ARR-ClientCert", "v")], "REQUEST_METHOD": "GET"}
    denied = finding(Ingress(strict._replace(normalizes_line_ends=False)).from_wsgi(real))
    assert "takes a bare LF" in denied.detail


def test_websocket_on_an_old_daphne_is_misconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake on an unsafe daphne is denied, unless unsafe servers are allowed."""
    monkeypatch.setattr(module, "why_daphne_is_unsafe", lambda scope: "old")
    scope = {"type": "websocket", "headers": [(b"x-arr-clientcert", b"v")]}
    denied = finding(Ingress(FRONT_ENDS["app-service"]).from_asgi(scope))
    assert denied == (DenialReason.MISCONFIGURED, "old")
    lenient = Ingress(FRONT_ENDS["app-service"], refuse_unsafe_servers=False)
    assert lenient.from_asgi(scope) == "v"


# --- requests that change nothing ----------------------------------------------------------------


def safe_answers(
    ingress: Ingress, pairs: list[tuple[str, str]], version: str = "1.1", address: str = "10.1.0.1"
) -> list[Forwarded | Finding]:
    """Return what is read of a GET request over WSGI, over ASGI, and from its header pairs."""
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": f"HTTP/{version}",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": "4711",
        **as_environ(pairs),
    }
    scope = {
        "type": "http",
        "method": "GET",
        "http_version": version,
        "client": (address, 4711),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
    }
    return [ingress.from_wsgi(environ), ingress.from_asgi(scope), ingress.from_pairs(pairs, "GET")]


@pytest.mark.parametrize(
    ("proto", "passes"), [("https", True), ("HTTPS", True), ("http", False), ("https,http", False)]
)
def test_transport_of_a_safe_request(proto: str, passes: bool) -> None:
    """A request that changes nothing is denied without TLS too."""
    for answer in safe_answers(APP_SERVICE, [(HEADER, "v"), ("X-Forwarded-Proto", proto)]):
        if passes:
            assert answer == "v"
        else:
            assert reason(answer) is DenialReason.INSECURE_TRANSPORT


def test_repetition_in_a_safe_request() -> None:
    """A certificate that comes twice is ambiguous, whatever the method is."""
    _, asgi, pairs = safe_answers(APP_SERVICE, [(HEADER, "v"), (HEADER, "w")])
    assert {reason(asgi), reason(pairs)} == {DenialReason.AMBIGUOUS}


def test_other_headers_of_a_safe_request() -> None:
    """The verify header, the secret and the chain count whatever the method is."""
    secret = SecretHeader("X-Secret", ("s" * 32,))
    for ingress, name in (
        (Ingress(FRONT_ENDS["nginx"]), "X-Client-Cert"),
        (Ingress(FRONT_ENDS["app-service"], secret_header=secret), HEADER),
    ):
        for answer in safe_answers(ingress, [(name, "v")]):
            assert reason(answer) is DenialReason.NOT_THROUGH_FRONT_END
    chain = [("Client-Cert", "v"), ("Client-Cert-Chain", "w")]
    assert safe_answers(Ingress(FRONT_ENDS["rfc9440"]), chain) == [("v", "w")] * 3


def test_later_check_does_not_undo_a_denial() -> None:
    """A request that one check denies stays denied if the checks after it find nothing."""
    networks = [ipaddress.ip_network("10.1.0.0/16")]
    for name in ("app-service", "api-management"):
        front_end = FRONT_ENDS[name]
        pairs = [(front_end.header, "v")]
        for ingress in (Ingress(front_end), Ingress(front_end, trusted_proxies=networks)):
            for answer in safe_answers(ingress, pairs, version="2")[:2]:
                assert reason(answer) is DenialReason.NOT_THROUGH_FRONT_END
                assert "HTTP/2" in finding(answer).detail
            assert safe_answers(ingress, pairs)[:2] == ["v"] * 2
    secret = SecretHeader("X-Secret", ("s" * 32,))
    ingress = Ingress(FRONT_ENDS["app-service"], secret_header=secret)
    pairs = [(HEADER, "v"), ("X-Secret", "s" * 32), ("X-Forwarded-Proto", "http")]
    for answer in safe_answers(ingress, pairs):
        assert reason(answer) is DenialReason.INSECURE_TRANSPORT


def test_upgrade_is_read_without_case() -> None:
    """A handshake is one in any spelling of `websocket` (RFC 6455 section 4.2.1)."""
    pairs = [
        (HEADER, "v"),
        ("Upgrade", "WebSocket"),
        ("Origin", "https://evil.example"),
        ("Host", "site.example"),
    ]
    wsgi, _, from_pairs = safe_answers(APP_SERVICE, pairs)
    assert {reason(wsgi), reason(from_pairs)} == {DenialReason.CROSS_SITE}


def test_real_headers_on_a_server_with_strict_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strict server is not refused for its line ends, if it has the real headers."""
    monkeypatch.setattr(module, "asgi_server_with_loose_line_ends", lambda: None)
    front_end = FRONT_ENDS["api-management"]._replace(normalizes_line_ends=False)
    environ = {"SERVER_SOFTWARE": "waitress", REAL_HEADERS: [("X-Client-Cert", "v")]}
    assert Ingress(front_end).from_wsgi(environ) == "v"
