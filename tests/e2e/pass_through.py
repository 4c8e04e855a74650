"""A front end that sets or removes one header by its exact name, and passes on the rest unchanged.

`pass_through.py SITE HEADER PORT[=VALUE]...` listens on each port of the loopback address. A port
with a value stands for a client with a certificate, and the header is set to that value. Lines of
the head end with CRLF, and other possible line ends are passed on. It serves one request for each
connection, so that the server only has to parse one head. After a 101 the connection becomes a
tunnel.
"""

from __future__ import annotations

import asyncio
import sys

LONGEST_HEAD = 262_144


class _UnusableError(Exception):
    """The end of the request's body is ambiguous."""


async def _body(head: list[bytes], reader: asyncio.StreamReader) -> bytes:
    """Return the body with its framing, as RFC 9112 section 6 reads it."""
    lengths, encodings = [], []
    for line in head[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            lengths.append(value.strip(b" \t"))
        if name.lower() == b"transfer-encoding":
            encodings.append(value.strip(b" \t"))
    if encodings:
        if encodings != [b"chunked"] or lengths:
            raise _UnusableError
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            body += line
            digits = line.partition(b";")[0].strip(b" \t\r\n")
            if not digits or digits.strip(b"0123456789abcdefABCDEF") or b"\n" in line[:-2]:
                raise _UnusableError
            size = int(digits, 16)
            if size == 0:
                break
            data = await reader.readexactly(size + 2)
            if not data.endswith(b"\r\n"):
                raise _UnusableError
            body += data
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            body += line
        return body
    if not lengths:
        return b""
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise _UnusableError
    return await reader.readexactly(int(lengths[0]))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _pass_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    site: int,
    header: bytes,
    value: bytes,
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    body = await _body(head, reader)
    kept = [line for line in head if line.partition(b":")[0].lower() != header.lower()]
    kept.append(b"X-Forwarded-Proto: https")
    if value:
        kept.append(header + b": " + value)
    from_site, to_site = await asyncio.open_connection("127.0.0.1", site, limit=LONGEST_HEAD)
    to_site.write(b"\r\n".join([*kept, b"", body]))
    try:
        answer = await from_site.read(65536)
        writer.write(answer)
        both = [_copy(from_site, writer)]
        if answer.startswith(b"HTTP/1.1 101"):
            both.append(_copy(reader, to_site))
        done, left = await asyncio.wait(
            map(asyncio.ensure_future, both), return_when=asyncio.FIRST_COMPLETED
        )
        for task in [*done, *left]:
            task.cancel()
        await asyncio.gather(*done, *left, return_exceptions=True)
    finally:
        to_site.close()


async def _main(site: int, header: bytes, doors: list[str]) -> None:
    servers = []
    for door in doors:
        port, _, value = door.partition("=")

        async def serve(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            value: bytes = value.encode(),
        ) -> None:
            try:
                await asyncio.wait_for(_pass_on(reader, writer, site, header, value), 5)
            except _UnusableError:
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.close()

        servers.append(
            await asyncio.start_server(serve, "127.0.0.1", int(port), limit=LONGEST_HEAD)
        )
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3:]))
