"""Downloads revocation lists for `arrcert fetch-crls`. The library itself downloads nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NoReturn, Protocol, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from cryptography.x509 import Certificate

from arrcert.exceptions import ArrcertError, quote
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.revocation import RevocationLists

_LONGEST_DOWNLOAD = 600.0
"""The longest time that one download may take, in seconds."""
_CHUNK = 64 * 1024


class NotFetchedError(ArrcertError):
    """Why a download did not replace its file, as a sentence for the operator."""


def fetch_revocation_lists(
    url: str, path: Path, issuers: Sequence[Certificate], *, timeout: float, max_bytes: int
) -> str:
    """Download revocation lists from a URL, check them, and replace the file atomically.

    Args:
        url: an http or https URL. It may redirect to other http and https URLs.
        path: the file. It does not change unless all downloaded lists are good.
        issuers: the CA certificates that may sign the lists.
        timeout: how long to wait for the server's answer and for each part of it, in seconds.
        max_bytes: the largest download, in bytes.

    Returns:
        A sentence for the operator: `ok: ...`, or `unchanged: ...` if the file already holds the
        downloaded bytes.

    Raises:
        NotFetchedError: the download failed, `read_revocation_lists` refuses it (RFC 5280 section
            5), a list is not current or is older than the list in the file, or the file cannot be
            written.

    It does not check that the URL belongs to the CA: the signature proves where a list comes from.
    """
    return _replace(path, _download(url, timeout, max_bytes), issuers, url)


class _Answer(Protocol):
    """The part of `http.client.HTTPResponse` that is used here."""

    def read1(self, n: int, /) -> bytes: ...
    def getheader(self, name: str, /) -> str | None: ...


def is_web_address(url: str) -> bool:
    """Tell whether a text is an absolute http or https URL.

    Args:
        url: the text.

    It does not check that the host exists.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def without_secrets(url: str) -> str:
    """Return a URL for a log, without its user, password, query and fragment.

    The query may hold a secret, such as the signature of a storage URL.

    Args:
        url: the URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _download(url: str, timeout: float, max_bytes: int) -> bytes:
    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(
            self, req: urllib.request.Request, fp: IO[bytes], *args: object
        ) -> urllib.request.Request | None:
            target = str(args[-1])
            if not is_web_address(target):
                fp.close()
                raise NotFetchedError(
                    f"{where} redirects to {quote(without_secrets(target))}, which is not an http://"
                    " or https:// URL"
                )
            return super().redirect_request(req, fp, *args)  # type: ignore[arg-type]

    where = without_secrets(url)
    opener = urllib.request.OpenerDirector()
    # build_opener would add handlers for file:, ftp: and data: URLs.
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        Redirects,
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", "arrcert fetch-crls")]
    try:
        with contextlib.closing(opener.open(url, timeout=timeout)) as answer:
            return _receive(cast("_Answer", answer), where, max_bytes)
    except HTTPError as error:
        error.close()
        raise NotFetchedError(f"{where} answered {error.code} {quote(error.reason)}") from error
    except URLError as error:
        raise NotFetchedError(f"{where} cannot be reached ({quote(error.reason)})") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = f"{type(error).__name__}: {error}"
        raise NotFetchedError(f"{where} failed ({quote(text)})") from error


def _receive(answer: _Answer, where: str, max_bytes: int) -> bytes:
    length = answer.getheader("Content-Length")
    expected = int(length) if length is not None and length.isdecimal() else None
    if expected is not None and expected > max_bytes:
        _fail_large(where, max_bytes)
    received = bytearray()
    deadline = time.monotonic() + _LONGEST_DOWNLOAD
    with _Progress(where, expected) as progress:
        # One byte more than allowed is read, to notice a download that is too large.
        while chunk := answer.read1(min(_CHUNK, max_bytes + 1 - len(received))):
            received += chunk
            if len(received) > max_bytes:
                _fail_large(where, max_bytes)
            if time.monotonic() > deadline:
                raise NotFetchedError(
                    f"{where} did not finish within {_LONGEST_DOWNLOAD:.0f} seconds"
                )
            progress.show(len(received))
    if expected is not None and len(received) != expected:
        raise NotFetchedError(f"{where} ended after {len(received)} of {expected} bytes")
    return bytes(received)


def _fail_large(where: str, max_bytes: int) -> NoReturn:
    raise NotFetchedError(f"{where} is larger than {max_bytes} bytes; raise --max-bytes")


class _Progress:
    """A line on a terminal that shows the progress of a download that takes more than a second."""

    def __init__(self, where: str, expected: int | None) -> None:
        self._where, self._expected = where, expected
        self._next = time.monotonic() + 1 if sys.stderr.isatty() else float("inf")
        self._is_shown = False

    def __enter__(self) -> _Progress:
        return self

    def show(self, received: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.2
        self._is_shown = True
        of = "" if self._expected is None else f" of {self._expected / 1e6:.1f}"
        sys.stderr.write(f"\r{self._where}: {received / 1e6:.1f}{of} MB\x1b[K")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _replace(path: Path, data: bytes, issuers: Sequence[Certificate], url: str) -> str:
    """Check the downloaded bytes, write them to the file, and return a sentence about it."""
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        lists = read_revocation_lists(data, source=without_secrets(url), issuers=issuers)
    except ValueError as error:
        raise NotFetchedError(str(error)) from error
    for fetched in lists:
        why = fetched.why_not_current(now)
        if why is not None:
            raise NotFetchedError(why)
    try:
        old_data = path.read_bytes()
    except FileNotFoundError:
        old_data = b""
    except OSError as error:
        raise NotFetchedError(f"it cannot be read: {error.strerror}") from error
    entries = sum(map(len, lists))
    facts = (
        f"{entries} {'entry' if entries == 1 else 'entries'}, next update"
        f" {min(fetched.next_update_utc for fetched in lists):%Y-%m-%dT%H:%M:%SZ}"
    )
    if data == old_data:
        return f"unchanged: {facts}"
    _require_not_older(lists, old_data, issuers, path)
    try:
        _write_atomically(path, data)
    except OSError as error:
        raise NotFetchedError(f"it cannot be written: {error.strerror}") from error
    return f"ok: {facts}"


def _require_not_older(
    lists: Sequence[RevocationList], old_data: bytes, issuers: Sequence[Certificate], path: Path
) -> None:
    try:
        held = read_revocation_lists(old_data, source=str(path), issuers=issuers)
    except ValueError:
        # The file is missing or broken, or its CA was replaced: any good list is better.
        return
    if RevocationLists(held).replaced_by(lists).refused:
        raise NotFetchedError(
            "the downloaded list is older than the list in the file; if the CA restarted its"
            " numbers, remove the file"
        )


def _write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader sees the old or the new content, never a part."""
    target = Path(os.path.realpath(path))
    # The name begins with a dot, because `crls` ignores such files in a folder.
    descriptor, temporary = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
    )
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
