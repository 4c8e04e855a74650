"""HTTP/2 requests with headers that a correct client does not send (RFC 9113)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error

from arrcert.cli.probe.connection import MOST_BODY_BYTES, Answer, Connection, why

Headers = Iterable[tuple[str, str]]


class Request(NamedTuple):
    """A request without a body.

    Attributes:
        path: the path with the query.
        authority: the host and the port of the site, for `:authority`.
        headers: the headers, with names in lower case. They are sent as they are.
        trailers: the headers after an empty body.
    """

    path: str
    authority: str
    headers: Headers = ()
    trailers: Headers = ()


def begin() -> H2Connection:
    """Return the client's side of a connection. It does not check or change the headers."""
    return H2Connection(
        H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )


def exchange(connection: Connection, protocol: H2Connection, request: Request) -> Answer:
    """Send one request on a connection that speaks HTTP/2, and return its answer.

    Args:
        connection: a connection with the protocol h2.
        protocol: the object that `begin` returned, after `initiate_connection()`.
        request: the request.
    """
    stream = protocol.get_next_available_stream_id()
    pseudo = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", request.authority),
        (":path", request.path),
    ]
    trailers = list(request.trailers)
    try:
        block = _encoded([*pseudo, *request.headers])
        protocol.send_headers(stream, block, end_stream=not trailers)
        if trailers:
            protocol.send_data(stream, b"")
            protocol.send_headers(stream, _encoded(trailers), end_stream=True)
        connection.send(protocol.data_to_send())
        return _read_answer(connection, protocol, stream)
    except OSError as error:
        return Answer(failure=why(error))
    except (H2Error, ValueError):
        return Answer(failure="no HTTP/2")


def _read_answer(connection: Connection, protocol: H2Connection, stream: int) -> Answer:
    status: int | None = None
    headers: list[tuple[str, str]] = []
    body = b""
    while data := connection.receive():
        for event in protocol.receive_data(data):
            if isinstance(event, ConnectionTerminated):
                return Answer(failure="closed by GOAWAY")
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, StreamReset):
                return Answer(failure="stream reset")
            if isinstance(event, ResponseReceived):
                pairs = [(name.decode("latin-1"), v.decode("latin-1")) for name, v in event.headers]
                status = int(dict(pairs)[":status"])
                headers = [pair for pair in pairs if not pair[0].startswith(":")]
            elif isinstance(event, DataReceived):
                protocol.acknowledge_received_data(event.flow_controlled_length, stream)
                body = (body + event.data)[:MOST_BODY_BYTES]
            elif isinstance(event, StreamEnded):
                return Answer(status, tuple(headers), body)
        connection.send(protocol.data_to_send())
    return Answer(failure="closed")


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
