"""Trust stores that come from files, and follow the files under a running site."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.x509 import Certificate

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.paths import TrustStore, why_unusable
from arrcert.trust.pem import parse_certificates, pasted
from arrcert.trust.revocation import RevocationLists

logger = logging.getLogger("arrcert")

_following: weakref.WeakSet[TrustFiles] = weakref.WeakSet()

SECONDS_BETWEEN_LOOKS = 2.0
"""How long a change of a file may stay unseen. A look costs one `stat` for each file."""

SECONDS_TO_WAIT = 0.1
"""How long the request that sees a change waits for it: enough for all but long lists. Without, the
first request after a quiet night would be decided on by yesterday's list."""

Source = str | os.PathLike[str]
"""A path, relative to the working directory, or PEM text."""


class TrustFiles:
    """The trust store that configured files describe; the files may be replaced at any time.

    Whoever asks always gets a whole `TrustStore`, the old or the new one. A file that cannot be
    read any more (half-written, vanished, broken) keeps what it held last, and the log says so; a
    revocation list that is kept so still ends at its nextUpdate.

    Args:
        trust_anchors: PEM files or PEM texts.
        intermediates: likewise.
        crls: PEM or DER files, folders of them, or PEM texts; None to check no revocation.

    Raises:
        ConfigurationError: all mistakes together, each under `trust_anchors`, `intermediates` or
            `crls`.

    It does not notice a replacement that keeps inode, size and time stamps of a file.
    """

    def __init__(
        self,
        trust_anchors: Iterable[Source],
        intermediates: Iterable[Source] = (),
        crls: Iterable[Source] | None = None,
    ) -> None:
        self._anchors = [_File(source) for source in trust_anchors]
        self._intermediates = [_File(source) for source in intermediates]
        self._crls = None if crls is None else [_Folder(source) for source in crls]
        self._revocation_lists = RevocationLists([])
        self._starting = threading.Lock()
        _following.add(self)
        self._thread: threading.Thread | None = None
        self._told: list[tuple[str, str]] = []
        self._seen = self._signature()
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        problems: list[Problem] = []
        content = self._read(lambda *problem: problems.append(Problem(*problem)))
        if problems:
            raise ConfigurationError(problems)
        self._store = TrustStore(*content)

    def current(self) -> TrustStore:
        """Return the trust store of the moment; at most every two seconds look at the files.

        Where they changed, a short-lived thread reads them. The request that saw it waits a moment;
        while a long revocation list is read, requests keep the old store.
        """
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
            self._reload_if_changed()
        return self._store

    def anchors(self) -> list[Certificate]:
        """Return the trust anchors that were read last."""
        return [anchor for file in self._anchors for anchor in file.content]

    def warnings(self, at: datetime | None = None) -> list[Problem]:
        """Return what does not stop the start, and will deny somebody.

        Args:
            at: the moment, aware; now by default.
        """
        at = at or datetime.now(UTC)
        return [
            Problem(parameter, why)
            for parameter, file in self._files()
            for held in file.content
            if (why := _why_ended(held, file.where, at)) is not None
        ]

    def _files(self) -> Iterator[tuple[str, _File]]:
        yield from (("trust_anchors", file) for file in self._anchors)
        yield from (("intermediates", file) for file in self._intermediates)
        for folder in self._crls or ():
            yield from (("crls", file) for file in folder.files)

    def _signature(self) -> list[object]:
        """Return what is another value once a file or a folder has changed."""
        for folder in self._crls or ():
            folder.look()
        return [file.signature() for _, file in self._files()]

    def _reload_if_changed(self) -> None:
        with self._starting:
            # A thread that was left behind by a fork is not alive in the child.
            if self._thread is not None and self._thread.is_alive():
                return
            signature = self._signature()
            if signature == self._seen:
                return
            self._thread = threading.Thread(
                target=self._reload, args=(signature,), name="arrcert reload", daemon=True
            )
            self._thread.start()
        self._thread.join(SECONDS_TO_WAIT)

    def _reload(self, signature: list[object]) -> None:
        complaints: list[tuple[str, str]] = []
        try:
            content = self._read(lambda *complaint: complaints.append(complaint))
            self._store = TrustStore(*content)
        except Exception as error:
            if [("", repr(error))] != self._told:
                logger.exception("trust_anchors, intermediates, crls: the old content holds")
            self._told = [("", repr(error))]
            return
        for complaint in complaints:
            if complaint not in self._told:
                logger.error("%s: %s; the old content holds", *complaint)
        self._told = complaints
        # What kept a file from being read may be gone at the next look. And a thread that does not
        # come to its end has seen nothing.
        if not any(file.is_unread for _, file in self._files()):
            self._seen = signature

    def _read(
        self, complain: Callable[[str, str], None]
    ) -> tuple[list[Certificate], list[Certificate], RevocationLists | None]:
        """Read the files that changed, and return what a trust store is made of."""

        def refresh(parameter: str, file: _File, parse: _Parser, *, given: object = None) -> None:
            try:
                file.refresh(parse, given)
            except ValueError as error:
                complain(parameter, str(error))

        for anchor in self._anchors:
            refresh("trust_anchors", anchor, _parse_anchors)
        for intermediate in self._intermediates:
            refresh("intermediates", intermediate, _parse_intermediates)
        anchors = self.anchors()
        intermediates = [held for file in self._intermediates for held in file.content]
        if self._crls is None:
            return anchors, intermediates, None

        issuers = [*anchors, *intermediates]

        def parse_lists(data: bytes, where: str) -> list[RevocationList]:
            return read_revocation_lists(data, source=where, issuers=issuers)

        for folder in self._crls:
            if not folder.files:
                complain("crls", f"{folder.where} holds no revocation list")
            for file in folder.files:
                refresh("crls", file, parse_lists, given=issuers)
        self._revocation_lists, refused = self._revocation_lists.replaced_by(
            held for folder in self._crls for file in folder.files for held in file.content
        )
        for older in refused:
            complain("crls", f"{older.source} is older than the list that is held of its CA")
        return anchors, intermediates, self._revocation_lists


def _unlock_all() -> None:
    # Who held a lock does not come along into a forked process.
    for files in list(_following):
        files._starting = threading.Lock()


getattr(os, "register_at_fork", dict)(after_in_child=_unlock_all)

_Parser = Callable[[bytes, str], list[Any]]
"""From a file's bytes, and what to call it, to what it holds; a ValueError is for the operator."""


class _File:
    """A file, or a PEM text, and what it held when it was last good.

    Attributes:
        is_unread: whether it is there and could not be read.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._is_text = _is_pem_text(source)
        self.where = "the PEM text" if self._is_text else f"the file {quote(source)}"
        self.content: list[Any] = []
        self.is_unread = False
        self._held: tuple[object, object] | None = None

    def signature(self) -> object:
        """Return what is another value once the file has changed; None where there is none."""
        if self._is_text:
            return self.source
        try:
            status = os.stat(self.source)
        except (OSError, ValueError):
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def refresh(self, parse: _Parser, given: object) -> None:
        """Parse the content, unless neither the file nor what the parser was given has changed.

        Raises:
            ValueError: with a sentence for the operator; `content` stays as it was.
        """
        # Taken before the content: what changes in between is seen at the next look.
        held = (self.signature(), given)
        if held != self._held:
            self.is_unread = held[0] is not None
            data = self._read()
            self.is_unread = False
            self.content = parse(data, self.where)
            self._held = held

    def _read(self) -> bytes:
        if self._is_text:
            return str(self.source).encode("utf-8", "surrogateescape")
        try:
            with open(self.source, "rb") as file:
                return file.read()
        except (OSError, ValueError) as error:
            hint = pasted(str(self.source))
            if hint is not None:
                raise ValueError(f"{self.where} is no file's path; {hint}") from error
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"{self.where} cannot be read ({reason}; looked for at"
                f" {quote(os.path.abspath(self.source))}); write the path of a PEM or DER file, or"
                " PEM text"
            ) from error


class _Folder:
    """The files that one source of revocation lists stands for: those of a folder, or itself."""

    def __init__(self, source: Source) -> None:
        is_folder = not _is_pem_text(source) and os.path.isdir(source)
        self._path = source if is_folder else None
        self.where = f"the folder {quote(source)}"
        self.files = [] if self._path is not None else [_File(source)]
        self.look()

    def look(self) -> None:
        """Take up files that have come; those that vanish stay, as files that cannot be read.

        Names that begin with a dot are left out: a download in progress has one.
        """
        if self._path is None:
            return
        try:
            with os.scandir(self._path) as entries:
                found = sorted(
                    entry.path
                    for entry in entries
                    if entry.is_file() and not entry.name.startswith(".")
                )
        except OSError:
            return
        known = {file.source for file in self.files}
        self.files += [_File(path) for path in found if path not in known]


def _is_pem_text(source: Source) -> bool:
    return isinstance(source, str) and "-----BEGIN" in source


def _why_ended(held: Certificate | RevocationList, where: str, at: datetime) -> str | None:
    if isinstance(held, RevocationList):
        if at <= held.next_update_utc:
            return None
        return (
            f"the revocation list in {where} ended at {held.next_update_utc:%Y-%m-%dT%H:%M:%SZ}, so"
            " what its CA issued is denied; replace it (arrcert fetch-crls does)"
        )
    if at <= held.not_valid_after_utc:
        return None
    return (
        f"the certificate {quote(held.subject.rfc4514_string())} in {where} expired at"
        f" {held.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}; replace it"
    )


def _parse_anchors(data: bytes, where: str) -> list[Certificate]:
    return _usable(parse_certificates(data, where), where, is_anchor=True)


def _parse_intermediates(data: bytes, where: str) -> list[Certificate]:
    return _usable(parse_certificates(data, where), where, is_anchor=False)


def _usable(
    authorities: Sequence[Certificate], where: str, *, is_anchor: bool
) -> list[Certificate]:
    for authority in authorities:
        why = why_unusable(authority, is_anchor=is_anchor)
        if why is not None:
            raise ValueError(f"the certificate {_name_of(authority)} in {where} {why}")
    return list(authorities)


def _name_of(authority: Certificate) -> str:
    try:
        return quote(authority.subject.rfc4514_string())
    except Exception:
        return "without a name"
