"""The answers that a server may give, and how the probe reads them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from arrcert.cli.probe.connection import (
    Answer,
    Connection,
    Endpoint,
    _named_authorities,
    is_refusal_by_tls,
    why,
)

Ask = Callable[..., Answer]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """A function that sends a request to a server that answers with given bytes."""
    listeners: list[socket.socket] = []

    def ask(answer: bytes, head: bytes = b"GET / HTTP/1.1\r\n\r\n") -> Answer:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        with Connection.plain(Endpoint("127.0.0.1", 443), port) as connection:
            return connection.exchange(head)

    yield ask
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nbo\r\n2;a=b\r\ndy\r\n0\r\nX: y\r\n\r\n",
            b"body",
        ),
        (b"HTTP/1.1 204 No\r\n\r\n", b""),
    ],
)
def test_bodies(ask: Ask, answer: bytes, body: bytes) -> None:
    """A body ends by its length, by its last chunk, or with the connection."""
    assert ask(answer).body == body


def test_interim_answers(ask: Ask) -> None:
    """The probe skips answers with a status below 200, and records them."""
    answer = ask(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.interim) == (403, (103,))
    assert not answer.entered


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nless", "closed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, "closed"),
        (b"SSH-2.0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP"),
    ],
)
def test_answers_that_are_none(ask: Ask, answer: bytes, failure: str) -> None:
    """An answer that is not complete HTTP/1.1 is a short failure text, and no exception."""
    found = ask(answer)
    assert found.status is None
    assert found.failure == str(found) == failure
    assert not found.entered


def test_why() -> None:
    """Each way to fail to get an answer has its own text."""
    assert why(TimeoutError()) == "timed out"
    assert why(ConnectionRefusedError()) == "nothing listens"
    assert why(ConnectionResetError()) == "closed"
    assert why(socket.gaierror(-2, "Name or service not known")) == "name or service not known"
    assert why(OSError()) == "oserror"
    assert is_refusal_by_tls(Answer(failure="TLS: tlsv13 alert certificate required"))
    assert not is_refusal_by_tls(Answer(failure="TLS: wrong version number"))


def _vector(*entries: bytes) -> bytes:
    content = b"".join(struct.pack("!H", len(entry)) + entry for entry in entries)
    return struct.pack("!H", len(content)) + content


@pytest.mark.parametrize("count", [0, 1, 3])
def test_named_authorities(count: int) -> None:
    """The CAs that a certificate request names are counted, in TLS 1.2 and 1.3."""
    names = _vector(*[b"name"] * count)
    old = b"\x0d\0\0\0" + b"\x01\x40" + b"\0\x02\x04\x03" + names
    assert _named_authorities(old, is_tls_1_3=False) == count
    other = struct.pack("!HH", 13, 2) + b"ab"
    extensions = other + struct.pack("!HH", 47, len(names)) + names
    new = b"\x0d\0\0\0" + b"\0" + struct.pack("!H", len(extensions)) + extensions
    assert _named_authorities(new, is_tls_1_3=True) == count
    without = b"\x0d\0\0\0" + b"\0" + struct.pack("!H", len(other)) + other
    assert _named_authorities(without, is_tls_1_3=True) == 0


@pytest.mark.parametrize("is_tls_1_3", [True, False])
def test_certificate_requests_that_are_cut(is_tls_1_3: bool) -> None:
    """A message that ends too early names no CA."""
    for size in range(10):
        assert (
            _named_authorities(b"\x0d\0\0\0\x01\x40\0\x02\x04"[:size], is_tls_1_3=is_tls_1_3) == 0
        )


def test_authority_of_the_endpoint() -> None:
    """The Host header has the port unless it is 443, and brackets around IPv6."""
    assert Endpoint("site.example", 443).authority == "site.example"
    assert Endpoint("::1", 8443).authority == "[::1]:8443"
