"""The server's side of TLS for the local front end: it asks for any client certificate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from arrcert.exceptions import ConfigurationError, Problem

_CLOSE_SECONDS = 1
"""How long the client may go on sending after the connection was closed, in seconds."""


def tls_context(certificate: bytes, key: bytes, *, asks: bool) -> SSL.Context:
    """Return the TLS context of a server that accepts any client certificate.

    The standard library's `ssl` cannot do this: it refuses a certificate of an unknown CA during
    the handshake.

    Args:
        certificate: the server's certificate as PEM, followed by its intermediates.
        key: the server's private key as unencrypted PEM.
        asks: whether the server requests a client certificate.

    Raises:
        ConfigurationError: the certificate or the key cannot be used.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate)
    except ValueError as error:
        raise mistake("certificate", "holds no PEM certificate that can be read") from error
    try:
        private_key = serialization.load_pem_private_key(key, password=None)
    except TypeError as error:
        raise mistake("key", "is encrypted; write it without a password") from error
    except ValueError as error:
        raise mistake("key", "holds no PEM private key that can be read") from error
    if private_key.public_key() != chain[0].public_key():
        raise mistake("key", "does not belong to the certificate")

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    try:
        context.use_certificate(chain[0])
        # The annotation names only the kinds of key that OpenSSL supports. It refuses the others.
        context.use_privatekey(private_key)  # type: ignore[arg-type]
    except (SSL.Error, TypeError) as error:
        raise mistake("key", "is of a kind that TLS does not support") from error
    for intermediate in chain[1:]:
        context.add_extra_chain_cert(intermediate)
    if asks:
        context.set_verify(SSL.VERIFY_PEER, _accept_any)
        # Without a session id context, OpenSSL refuses the connection of a client that resumes a
        # session with a client certificate.
        context.set_session_id(b"arrcert")
    return context


def mistake(setting: str, message: str) -> ConfigurationError:
    """Return the error for one wrong setting."""
    return ConfigurationError([Problem(setting, message)])


def _accept_any(*_facts: object) -> bool:
    return True


class TlsStream:
    """One TLS connection of a client, on asyncio streams.

    Args:
        context: the context of the server.
        reader: the bytes from the client.
        writer: the bytes to the client.
    """

    def __init__(
        self, context: SSL.Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self._reader = reader
        self._writer = writer

    async def handshake(self) -> bytes | None:
        """Do the TLS handshake; return the DER of the client's leaf, or None without one.

        Raises:
            SSL.Error: the handshake failed.
            OSError: the connection was lost.
        """
        await self._finish(self._tls.do_handshake)
        leaf = self._tls.get_peer_certificate()
        # pyca/cryptography refuses some certificates that OpenSSL accepts, such as one of an
        # unknown version. The app must get them, too.
        return None if leaf is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)

    async def read(self) -> bytes:
        """Return the next bytes from the client; no bytes if it has closed the connection."""
        try:
            received: bytes = await self._finish(self._tls.recv, 16 * 1024)
        except (SSL.Error, OSError):
            return b""
        return received

    async def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the connection is closed.
        """
        try:
            # OpenSSL refuses an empty write.
            if data:
                await self._finish(self._tls.sendall, data)
        except SSL.Error as error:
            raise BrokenPipeError("the client closed the connection") from error

    async def write_in_plain(self, data: bytes) -> None:
        """Send bytes without TLS, to a client that speaks plain HTTP."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Close the connection. The client gets the end of the response first."""
        if self._writer.is_closing():
            return
        # The client may be gone, or not read the end in time.
        with contextlib.suppress(SSL.Error, OSError):
            # This call fails before the handshake, and after the client has closed the connection.
            with contextlib.suppress(SSL.Error):
                self._tls.shutdown()
            await self._flush()
            self._writer.write_eof()
            # If input is unread when the socket closes, the kernel sends a reset, and the client
            # may lose the end of the response.
            async with asyncio.timeout(_CLOSE_SECONDS):
                while await self._reader.read(64 * 1024):
                    pass
        await self.abort()

    async def abort(self) -> None:
        """Close the connection at once."""
        self._writer.close()
        # The client may have closed it before.
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _finish(self, operation: Callable[..., Any], *arguments: object) -> Any:
        """Return the result of an operation on the TLS connection; wait for input as needed."""
        while True:
            try:
                result = operation(*arguments)
            except SSL.WantReadError:
                await self._flush()
                received = await self._reader.read(64 * 1024)
                if received:
                    self._tls.bio_write(received)
                else:
                    self._tls.bio_shutdown()
            except SSL.Error:
                # Send the TLS alert, which tells the client why, if it is still there.
                with contextlib.suppress(OSError):
                    await self._flush()
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        """Send what OpenSSL has encrypted."""
        # OpenSSL raises this error when it holds no more bytes.
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self._writer.write(self._tls.bio_read(64 * 1024))
        await self._writer.drain()


def reason_of(error: Exception) -> str:
    """Return OpenSSL's description of an error, which contains no data of the client."""
    match error.args:
        case ([(_, _, reason), *_],) | (_, str(reason)) | (str(reason),):
            return str(reason)
        case _:
            return type(error).__name__
