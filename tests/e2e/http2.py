"""A client for the tests that can write any HTTP/2. It needs the package h2."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error

Headers = Sequence[tuple[str, str]]


def ask(
    port: int,
    path: str,
    headers: Headers = (),
    *,
    pseudo: Headers = (),
    body: bytes = b"",
    trailers: Headers = (),
    over_tls: bool = False,
    upgrade: bool = False,
    timeout: float = 0.6,
) -> bytes:
    """Send one request over HTTP/2 and return the body of its answer, empty if there is none.

    Args:
        port: on the loopback address.
        path: with the query.
        headers: sent as they are, whatever they hold.
        pseudo: pseudo-headers that replace the usual ones.
        body: of the request; one makes it a POST.
        trailers: sent behind the body.
        over_tls: whether to ask for h2 by ALPN; else the connection begins with prior knowledge.
        upgrade: whether to begin with HTTP/1.1 and `Upgrade: h2c`.
        timeout: seconds to wait for each packet.
    """
    configuration = H2Configuration(
        header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    client = H2Connection(configuration)
    usual = {
        ":method": "POST" if body or trailers else "GET",
        ":scheme": "https",
        ":authority": "localhost",
        ":path": path,
    }
    block = [*(usual | dict(pseudo)).items(), *headers]
    answer = b""
    # A server may break off. The caller reads in the site's log what was decided.
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError, H2Error):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout))
        if over_tls:
            context = ssl._create_unverified_context()
            context.set_alpn_protocols(["h2"])
            connection = stack.enter_context(context.wrap_socket(connection))
        rest = b""
        if upgrade:
            settings = client.initiate_upgrade_connection()
            connection.sendall(
                b"GET /health HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n"
                b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: " + settings + b"\r\n\r\n"
            )
            first = b""
            while b"\r\n\r\n" not in first:
                packet = connection.recv(65536)
                if not packet:
                    return b""
                first += packet
            if not first.startswith(b"HTTP/1.1 101"):
                return b""
            rest = first.partition(b"\r\n\r\n")[2]
        else:
            client.initiate_connection()
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, _latin(block), end_stream=not (body or trailers))
        if body or trailers:
            client.send_data(stream, body, end_stream=not trailers)
        if trailers:
            client.send_headers(stream, _latin(trailers), end_stream=True)
        connection.sendall(client.data_to_send())
        while True:
            received = rest or connection.recv(65536)
            rest = b""
            if not received:
                return answer
            for event in client.receive_data(received):
                if isinstance(event, DataReceived) and event.stream_id == stream:
                    answer += event.data
                if isinstance(event, StreamEnded | StreamReset) and event.stream_id == stream:
                    return answer
                if isinstance(event, ResponseReceived) and event.stream_id == stream and not answer:
                    answer = b""
            connection.sendall(client.data_to_send())
    return answer


def _latin(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
