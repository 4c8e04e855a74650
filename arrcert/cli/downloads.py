"""Downloads revocation lists for `arrcert fetch-crls`. The library itself downloads nothing."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, Protocol, cast
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urljoin, urlsplit

from cryptography.x509 import Certificate

from arrcert.exceptions import ArrcertError, quote
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.revocation import RevocationLists

_CHUNK = 64 * 1024
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class NotFetchedError(ArrcertError):
    """A download did not replace its file. The text says why, for the operator."""


def fetch_revocation_lists(
    url: str, path: Path, issuers: Sequence[Certificate], *, timeout: float, max_bytes: int
) -> str:
    """Download revocation lists from a URL, check them, and replace the file atomically.

    Args:
        url: an http or https URL. It may redirect to other URLs on the same host and port, and from
            http to https.
        path: the file. It changes only if all downloaded lists are valid.
        issuers: the CA certificates that may sign the lists.
        timeout: the largest time for the whole download in seconds, from the DNS lookup to the last
            byte.
        max_bytes: the largest size of the download, in bytes.

    Returns:
        A sentence for the operator: `ok: ...`, or `unchanged: ...` if the file already holds the
        downloaded bytes.

    Raises:
        NotFetchedError: the download failed; `read_revocation_lists` refuses the bytes (RFC 5280
            section 5); a list is not current, is older than the list in the file, or has another
            scope; or the file cannot be written.

    It does not check that the URL belongs to the CA: the signature proves where a list comes from.
    """
    return _replace(path, _Download(url, timeout, max_bytes).result(), issuers, url)


class _Answer(Protocol):
    """The methods of `http.client.HTTPResponse` that this module uses."""

    def read1(self, n: int, /) -> bytes: ...
    def getheader(self, name: str, /) -> str | None: ...


def why_not_web_address(url: str) -> str | None:
    """Return why a URL cannot be downloaded, for the end of a sentence; None if it can.

    Args:
        url: the text. It must be an absolute http or https URL without a user or a password.

    It does not check that the host exists.
    """
    parts = _split(url)
    if parts is None:
        return "is not an http:// or https:// URL"
    if "@" in parts.netloc:
        return (
            "holds a user or a password; lists are public, so fetch-crls sends none and a process"
            " list would show it"
        )
    return None


def without_secrets(url: str) -> str:
    """Return a URL for a log, without its user, password, query and fragment.

    The query may hold a secret, such as the signature of a storage URL.

    Args:
        url: the URL. The result is empty for text that is not a URL and contains an @, because it
            is not clear where a password in it ends.
    """
    parts = _split(url)
    if parts is None:
        text = url.partition("?")[0].partition("#")[0]
        return "the URL" if "@" in url or "[" in url else text
    path = "/..." if "@" in parts.path else parts.path
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def file_name_of(url: str) -> str:
    """Return the name of the file that keeps the list of a URL in a folder.

    The name has the last part of the URL's path, for people to read, and a digest of the whole URL,
    because the URLs of two partitions may differ only in the query.

    Args:
        url: the URL.
    """
    last = re.sub(r"[^A-Za-z0-9_-]+", "-", urlsplit(url).path.rpartition("/")[2]).strip("-")
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return f"{last[:40] or 'list'}-{digest}.crl"


def _split(url: str) -> SplitResult | None:
    """Return the parts of an absolute http or https URL, None for other text."""
    # Refuse white space: http.client would show the URL and its query in an error.
    if not re.fullmatch(r"[!-~]+", url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in {"http", "https"} and parts.hostname else None


class _Download:
    """One download, which runs in its own thread.

    A socket has a timeout for each read but not for all reads together. So a server that sends its
    answer very slowly could block the command for days. The caller waits for the thread until the
    time is over, and does not stop it.

    Args:
        url: the URL.
        timeout: the largest time for the whole download, in seconds.
        max_bytes: the largest size of the download, in bytes.
    """

    def __init__(self, url: str, timeout: float, max_bytes: int) -> None:
        self._url = url
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._deadline = time.monotonic() + timeout
        self._content: bytes | None = None
        self._failure: Exception | None = None

    def result(self) -> bytes:
        """Return the downloaded bytes.

        Raises:
            NotFetchedError: the download failed, or did not end in time.
        """
        thread = threading.Thread(target=self._run, name="arrcert download", daemon=True)
        thread.start()
        thread.join(self._timeout)
        if self._failure is not None:
            raise self._failure
        if self._content is None:
            self._fail_late(without_secrets(self._url))
        return self._content

    def _run(self) -> None:
        try:
            self._content = self._follow()
        # This is a thread. The thread that waits for it raises the error.
        except Exception as error:
            self._failure = error

    def _follow(self) -> bytes:
        """Return the content of the URL, or of the URL that it redirects to."""
        url = self._url
        for _ in range(_MOST_REDIRECTS + 1):
            content = self._open(url)
            if isinstance(content, bytes):
                return content
            _require_same_host(url, content)
            url = content
        raise NotFetchedError(
            f"{without_secrets(self._url)} redirects more than {_MOST_REDIRECTS} times"
        )

    def _open(self, url: str) -> bytes | str:
        """Return the body of the response, or the URL that it redirects to."""
        where = without_secrets(url)
        opener = urllib.request.OpenerDirector()
        # build_opener would add handlers for redirects and for file:, ftp: and data: URLs.
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
        ):
            opener.add_handler(handler())
        opener.addheaders = [("User-Agent", "arrcert fetch-crls")]
        try:
            with contextlib.closing(opener.open(url, timeout=self._timeout)) as answer:
                return self._receive(cast("_Answer", answer), where)
        except HTTPError as error:
            error.close()
            target = error.headers.get("Location")
            if error.code in _REDIRECTS and target is not None:
                return _joined(url, target)
            raise NotFetchedError(f"{where} answered {error.code} {quote(error.reason)}") from error
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                self._fail_late(where)
            raise NotFetchedError(f"{where} cannot be reached ({quote(error.reason)})") from error
        except TimeoutError:
            # The timeout of one read is that of the whole download, so now the time is over.
            self._fail_late(where)
        except (OSError, http.client.HTTPException, ValueError) as error:
            text = f"{type(error).__name__}: {error}"
            raise NotFetchedError(f"{where} failed ({quote(text)})") from error

    def _receive(self, answer: _Answer, where: str) -> bytes:
        length = answer.getheader("Content-Length")
        expected = int(length) if length is not None and length.isdecimal() else None
        if expected is not None and expected > self._max_bytes:
            _fail_large(where, self._max_bytes)
        received = bytearray()
        with _Progress(where, expected) as progress:
            # Read one byte more than allowed, to notice a download that is too large.
            while chunk := answer.read1(min(_CHUNK, self._max_bytes + 1 - len(received))):
                received += chunk
                if len(received) > self._max_bytes:
                    _fail_large(where, self._max_bytes)
                if time.monotonic() > self._deadline:
                    self._fail_late(where)
                progress.show(len(received))
        if expected is not None and len(received) != expected:
            raise NotFetchedError(f"{where} ended after {len(received)} of {expected} bytes")
        return bytes(received)

    def _fail_late(self, where: str) -> NoReturn:
        raise NotFetchedError(
            f"{where} did not finish within {self._timeout:g} seconds; raise --timeout"
        )


def _joined(url: str, target: str) -> str:
    """Return the absolute URL of a redirect. A target that is not a URL is returned unchanged."""
    try:
        return urljoin(url, target)
    except ValueError:
        return target


def _require_same_host(url: str, target: str) -> None:
    """Refuse a redirect to another host, to another port, or from https to http.

    The only change that is allowed is from http to https on the default ports.
    """
    where, to = without_secrets(url), quote(without_secrets(target))
    why = why_not_web_address(target)
    if why is not None:
        raise NotFetchedError(f"{where} redirects to {to}, which {why}; it is not followed")
    old, new = urlsplit(url), urlsplit(target)
    if old.scheme == "https" and new.scheme == "http":
        raise NotFetchedError(
            f"{where} redirects to {to}, which is not encrypted; it is not followed"
        )
    if old.hostname == new.hostname and (
        _port(old) == _port(new) or (_port(old), _port(new)) == (80, 443)
    ):
        return
    raise NotFetchedError(
        f"{where} redirects to {to}, which is another host or port; it is not followed. If it is"
        " right, write that URL after --crl"
    )


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


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
    _require_successor(lists, old_data, issuers, path)
    try:
        _write_atomically(path, data)
    except OSError as error:
        raise NotFetchedError(f"it cannot be written: {error.strerror}") from error
    return f"ok: {facts}"


def _require_successor(
    lists: Sequence[RevocationList], old_data: bytes, issuers: Sequence[Certificate], path: Path
) -> None:
    """Refuse lists that are older than those in the file, or cover other certificates."""
    try:
        held = read_revocation_lists(old_data, source=str(path), issuers=issuers)
    except ValueError:
        # The file is missing or broken, or its CA was replaced. Any valid list may replace it.
        return
    for old in held:
        scopes = [new.scope for new in lists if new.signer == old.signer]
        if scopes and old.scope not in scopes:
            raise NotFetchedError(
                f"the downloaded list is a list {scopes[0]}, and the list in the file is one"
                f" {old.scope}; if the CA changed the scope of this list, remove the file"
            )
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
        # The first error says more than one of the removal.
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
