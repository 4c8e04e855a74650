"""The address of the direct peer, and what servers put in its place."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest

from arrcert.exceptions import DenialReason, Finding
from arrcert.forwarding import gunicorn
from arrcert.forwarding.peers import check_asgi_peer, check_wsgi_peer, is_in_headers


def _latin1(text: str) -> str:
    """Return how a server that decodes headers as Latin-1 shows a text in UTF-8."""
    return text.encode().decode("latin-1")


TRUSTED = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")]


@pytest.fixture(autouse=True)
def _no_proxy_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """No gunicorn is known to speak the PROXY protocol."""
    monkeypatch.setattr(gunicorn, "_speaks_proxy_protocol", False)


def replaced(finding: Finding | None) -> bool:
    """Tell whether a request is denied because its address is not the peer's."""
    if finding is None:
        return False
    assert finding.reason is DenialReason.NOT_THROUGH_FRONT_END
    return "has replaced the peer's address" in finding.detail


@pytest.mark.parametrize(
    ("address", "port", "values", "expected"),
    [
        ("10.1.0.1", 0, [], True),
        ("10.1.0.1", "0", [], True),
        ("10.1.0.1", 4711, ["10.1.0.1:4711"], True),
        ("10.1.0.1", 4711, ["192.0.2.1, 10.1.0.1:4711"], True),
        ("10.1.0.1", 4711, ["10.1.0.1:+4711"], True),
        ("10.1.0.1", 4711, ["[10.1.0.1]:4_711"], True),
        ("fd00::1", 4711, ["[fd00::1]:4711"], True),
        ("10.1.0.1", 4711, ['for="10.1.0.1:4711";proto=https'], True),
        ("10.1.0.1", 4711, ["10.1.0.1", "4711"], True),
        ("10.1.0.1", "4711", ["04711", "10.1.0.1, 10.1.0.2"], True),
        ("10.1.0.1", 4711, ['192.0.2.1, "10.1.0.1:4711" '], True),
        ("fd00::1", 4711, ["[fd00::1]", "4711"], True),
        ("10.1.0.1", 4711, ["for:10.1.0.1;port:4711"], True),
        ("10.1.0.1", 4711, ["10.1.0.1:443", "10.1.0.2:4711"], True),
        ("::ffff:10.1.0.1%a=b", 4711, ["[::ffff:10.1.0.1%a=b]:4711"], True),
        ("::ffff:10.1.0.1%a;b", 4711, ["[::FFFF:10.1.0.1%a;b]:4711"], True),
        ("::ffff:10.1.0.1%a,b", 4711, ["::ffff:10.1.0.1%a,b", "4711"], True),
        ("10.1.0.1", 4711, ["10.1.0.1", _latin1("\uff14\uff17\uff11\uff11")], True),
        ("10.1.0.1", 4711, ["10.1.0.1", _latin1("\u0664\u0667\u0661\u0661")], True),
        ("fd00::1%\uff11", 4711, [_latin1("fd00::1%\uff11"), "4711"], True),
        ("10.1.0.1", 4711, ["10.1.0.10:4711", "110.1.0.1:4711", "10.1.0.1.5:4711"], False),
        ("10.1.0.1", 4711, ["10.1.0.1:14711", "10.1.0.1:47111"], False),
        ("a::a", 4711, ["ba::a::a", "4711"], True),
        ("::", 4711, ["0:::", "4711"], True),
        ("fd00::1", 4711, ["\xe9 FD00::1", "4711"], True),
        ("10.1.0.1", 4711, [], False),
        ("10.1.0.1", 4711, ["10.1.0.1"], False),
        ("10.1.0.1", 4711, ["4711"], False),
        ("10.1.0.1", None, ["10.1.0.1"], False),
        ("10.1.0.1", "", ["10.1.0.1", ""], False),
    ],
)
def test_address_and_port_from_headers(
    address: str, port: object, values: list[str], expected: bool
) -> None:
    """An address may come from the headers if they contain it and the port of the connection."""
    assert is_in_headers(address, port, values) is expected


def test_headers_are_searched_in_linear_time() -> None:
    """Long headers cost one search each, whatever separators and partial matches they contain."""
    steps = 0

    class Counted(str):
        """A text that counts how often it is searched."""

        def find(self, *arguments: Any) -> int:
            nonlocal steps
            steps += 1
            return super().find(*arguments)

        def lower(self) -> Counted:
            return self

    for text in (";" * 60_000, "10.1.0.2:4711," * 4_000, "=" * 60_000):
        assert not is_in_headers("10.1.0.1", 4711, [Counted(text)])
    assert steps == 3


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("fd00::1", True),
        ("fd00::1%eth0", False),
        ("::ffff:10.1.0.1", True),
        ("::ffff:10.1.0.1%a=b", False),
        ("fe80::1%eth0", True),
    ],
)
def test_only_a_link_local_peer_has_a_zone(address: str, is_trusted: bool) -> None:
    """An address with a zone is no peer's unless it is link-local, so it is denied."""
    networks = [*TRUSTED, ipaddress.ip_network("fe80::/10")]
    finding = check_asgi_peer({"client": (address, 4711), "headers": []}, networks)
    assert (finding is None) is is_trusted


def test_asgi_peer() -> None:
    """A peer in a trusted network passes, unless the headers name its address and its port."""
    scope: dict[str, Any] = {
        "client": ["10.1.0.1", 4711],
        "headers": [(b"x-forwarded-for", b"192.0.2.1:50000"), (b"x-forwarded-port", b"443")],
    }
    assert check_asgi_peer(scope, TRUSTED) is None
    scope["headers"] = [(b"x-forwarded-for", b"10.1.0.1"), (b"x-forwarded-port", b"4711")]
    assert replaced(check_asgi_peer(scope, TRUSTED))


@pytest.mark.parametrize("client", [None, ("192.0.2.1", 50000), ("", 50000), ("testclient", 50000)])
def test_asgi_peer_elsewhere(client: tuple[str, int] | None) -> None:
    """A peer that is unknown, or in no trusted network, is denied for its address."""
    finding = check_asgi_peer({"client": client, "headers": []}, TRUSTED)
    assert finding is not None
    assert finding.reason is DenialReason.NOT_THROUGH_FRONT_END
    assert not replaced(finding)


def test_proxy_protocol_over_asgi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under gunicorn's ASGI worker with the PROXY protocol, every peer is denied."""
    scope = {"client": ("10.1.0.1", 4711), "headers": []}
    assert check_asgi_peer(scope, TRUSTED) is None
    monkeypatch.setattr(gunicorn, "_speaks_proxy_protocol", True)
    assert replaced(check_asgi_peer(scope, TRUSTED))


def test_proxy_protocol_over_wsgi() -> None:
    """The environ of gunicorn's WSGI workers shows that the PROXY protocol was used."""
    environ = {"REMOTE_ADDR": "10.1.0.1", "REMOTE_PORT": "4711"}
    assert check_wsgi_peer(environ, TRUSTED) is None
    assert replaced(check_wsgi_peer(environ | {"PROXY_PROTOCOL": "TCP4"}, TRUSTED))


class Channel(SimpleNamespace):
    """A stand-in for the channel of waitress, which has a method `check`."""

    def check(self) -> bool:
        """Tell whether the client is gone."""
        return False


@pytest.mark.parametrize("peer", [("10.1.0.1", 4711), ("192.0.2.1", 50000)])
def test_waitress_knows_the_real_peer(peer: tuple[str, int]) -> None:
    """An address that differs from the address of waitress's channel comes from a header."""
    environ = {
        "REMOTE_ADDR": "10.1.0.1",
        "REMOTE_PORT": "50000",
        "waitress.client_disconnected": Channel(addr=peer).check,
    }
    assert replaced(check_wsgi_peer(environ, TRUSTED)) is (peer[0] != "10.1.0.1")


def test_wsgi_headers_may_name_address_and_port() -> None:
    """Headers of a WSGI request are searched for the peer's address, and other keys are not."""
    environ = {"REMOTE_ADDR": "10.1.0.1", "REMOTE_PORT": "4711", "SERVER_NAME": "10.1.0.1:4711"}
    assert check_wsgi_peer(environ, TRUSTED) is None
    environ["HTTP_X_REAL_IP"] = "10.1.0.1:4711"
    assert replaced(check_wsgi_peer(environ, TRUSTED))


@pytest.mark.parametrize(
    ("peer", "expected"), [("10.1.0.1", False), ("/run/x.sock", True), ((), True)]
)
def test_waitress_without_an_address_and_a_port(peer: object, expected: bool) -> None:
    """The address of waitress's channel may be text; one that holds no address is another one."""
    environ = {
        "REMOTE_ADDR": "10.1.0.1",
        "REMOTE_PORT": "50000",
        "waitress.client_disconnected": Channel(addr=peer).check,
    }
    assert replaced(check_wsgi_peer(environ, TRUSTED)) is expected
