"""Trust stores from files. The files are read again when they change."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography.x509 import Certificate

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.paths import TrustStore, why_unusable
from arrcert.trust.pem import parse_certificates, pasted
from arrcert.trust.revocation import RevocationLists

logger = logging.getLogger("arrcert")

SECONDS_BETWEEN_LOOKS = 2.0
"""The files are checked for changes at most once in this time, in seconds. A check needs one `stat`
call for each file."""

SECONDS_TO_WAIT = 0.1
"""How long the request that notices a change waits for the reload, in seconds. This is enough for
everything except long revocation lists. Without this time, the first request after a long pause
would be decided with an old revocation list."""

Source = str | os.PathLike[str]
"""The path of a file, relative to the working directory, or PEM text."""


class ListOfPoint(NamedTuple):
    """A revocation list that also covers certificates without a distribution point.

    Attributes:
        file: the path of the file, relative to the working directory, or PEM text.
        distribution_point: the URL of the list's distribution point, exactly as the list names it.
    """

    file: Source
    distribution_point: str


ListSource = Source | ListOfPoint
"""An entry of `crls`: a file, a folder, PEM text, or a list with the operator's statement."""


class TrustFiles:
    """A trust store that is read from files, and read again when they change.

    `current` always returns a complete `TrustStore`, the old one or the new one. If a file can no
    longer be read (it is incomplete, removed or broken), its last good content stays in use and an
    error is logged. A revocation list that stays in use this way still expires at its nextUpdate.

    Args:
        trust_anchors: PEM or DER files, or PEM texts.
        intermediates: PEM or DER files, or PEM texts.
        crls: PEM or DER files, folders of such files, PEM texts, or `ListOfPoint` objects; None if
            revocation is not checked.

    Raises:
        ConfigurationError: all mistakes together, each under `trust_anchors`, `intermediates` or
            `crls`.

    It does not notice a change that keeps the inode, the size and the time stamps of a file.
    """

    def __init__(
        self,
        trust_anchors: Iterable[Source],
        intermediates: Iterable[Source] = (),
        crls: Iterable[ListSource] | None = None,
    ) -> None:
        self._anchors = [_CertificateFile(source, is_anchor=True) for source in trust_anchors]
        self._intermediates = [
            _CertificateFile(source, is_anchor=False) for source in intermediates
        ]
        self._crls = None if crls is None else [_ListFolder(source) for source in crls]
        self._revocation_lists = RevocationLists([])
        self._starting = threading.Lock()
        _instances.add(self)
        self._thread: threading.Thread | None = None
        self._reported: list[Problem] = []
        self._seen = self._signature()
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        problems = self._read()
        if problems:
            raise ConfigurationError(problems)
        self._store = self._make_store()

    def current(self) -> TrustStore:
        """Return the current trust store; look at the files at most once in two seconds.

        If a file changed, a short-lived thread reads it. The request that notices the change waits
        for up to a tenth of a second. If the reload takes longer, requests use the old store until
        it ends.
        """
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
            self._reload_if_changed()
        return self._store

    def anchors(self) -> list[Certificate]:
        """Return the trust anchors that were read last."""
        return [anchor for file in self._anchors for anchor in file.certificates]

    def intermediates(self) -> list[Certificate]:
        """Return the intermediates that were read last."""
        return [ca for file in self._intermediates for ca in file.certificates]

    def warnings(self, at: datetime | None = None) -> list[Problem]:
        """Return a problem for each expired certificate and each revocation list without effect.

        A list has no effect if it has expired or is for attribute certificates. The site still
        starts, but clients may be denied because of this.

        Args:
            at: the time, a timezone-aware `datetime`; now by default.
        """
        at = at or datetime.now(UTC)
        problems = []
        for setting, files in (
            ("trust_anchors", self._anchors),
            ("intermediates", self._intermediates),
        ):
            for file in files:
                problems += [Problem(setting, why) for why in file.expired(at)]
        for list_file in self._list_files():
            problems += [Problem("crls", why) for why in list_file.without_effect(at)]
        return problems

    def _list_files(self) -> Iterator[_ListFile]:
        for folder in self._crls or ():
            yield from folder.files

    def _files(self) -> Iterator[_File]:
        yield from self._anchors
        yield from self._intermediates
        yield from self._list_files()

    def _signature(self) -> list[object]:
        """Return a value that changes with any file and any folder."""
        for folder in self._crls or ():
            folder.add_new_files()
        return [file.signature() for file in self._files()]

    def _reload_if_changed(self) -> None:
        with self._starting:
            # After a fork, the thread of the parent process does not exist in the child.
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
        try:
            problems = self._read()
            self._store = self._make_store()
        except Exception as error:
            unexpected = [Problem("", repr(error))]
            if unexpected != self._reported:
                logger.exception("trust_anchors, intermediates, crls: the old content stays in use")
            self._reported = unexpected
            return
        for problem in problems:
            if problem not in self._reported:
                logger.error("%s; the old content stays in use", problem)
        self._reported = problems
        # If a file exists but could not be read, the next check tries again. This is the last
        # statement, so that a reload that raised an exception is repeated, too.
        if not any(file.is_unread for file in self._files()):
            self._seen = signature

    def _read(self) -> list[Problem]:
        """Read the files that changed; return a problem for each one that cannot be used."""
        problems = []
        for setting, files in (
            ("trust_anchors", self._anchors),
            ("intermediates", self._intermediates),
        ):
            for file in files:
                try:
                    file.refresh()
                except ValueError as error:
                    problems.append(Problem(setting, str(error)))
        problems += [Problem("crls", why) for why in self._read_lists()]
        return problems

    def _read_lists(self) -> Iterator[str]:
        """Read the revocation lists that changed; yield why one of them cannot be used."""
        issuers = [*self.anchors(), *self._intermediate_certificates()]
        for folder in self._crls or ():
            if not folder.files:
                yield f"{folder.where} holds no revocation list"
            for file in folder.files:
                try:
                    file.refresh(issuers)
                except ValueError as error:
                    yield str(error)
        self._revocation_lists, refused = self._revocation_lists.replaced_by(
            crl for file in self._list_files() for crl in file.lists
        )
        for crl in refused:
            yield (
                f"{crl.source} is older than the list of its CA that is in use, a list {crl.scope}"
            )

    def _make_store(self) -> TrustStore:
        return TrustStore(
            self.anchors(),
            self._intermediate_certificates(),
            None if self._crls is None else self._revocation_lists,
        )

    def _intermediate_certificates(self) -> list[Certificate]:
        return [held for file in self._intermediates for held in file.certificates]


class TrustFolder:
    """Opens the trust files of one configuration.

    Policies with the same sources share one `TrustFiles`, so that a revocation list is in memory
    only once. The files of the previous configuration are reused, with their last good content and
    with the information which revocation list is newer.

    Args:
        path: the folder to which relative paths are relative. With None they are relative to the
            working directory, and nothing is shared.
        before: the object that opened the files of the previous configuration.
    """

    def __init__(self, path: str | None = None, before: TrustFolder | None = None) -> None:
        self._path = path
        self._opened: dict[str, TrustFiles] = {}
        self._before = {} if before is None else before._opened

    def place(self, source: Source) -> Source:
        """Return a source whose path does not depend on the working directory."""
        if self._path is None or _is_pem_text(source):
            return source
        return os.path.join(self._path, source)

    def open(
        self,
        trust_anchors: Sequence[Source],
        intermediates: Sequence[Source] = (),
        crls: Sequence[ListSource] | None = None,
    ) -> TrustFiles:
        """Return the trust files of some sources, as `place` returned them.

        Raises:
            ConfigurationError: as `TrustFiles` raises it.
        """
        if self._path is None:
            return TrustFiles(trust_anchors, intermediates, crls)
        key = repr((trust_anchors, intermediates, crls))
        files = self._opened.get(key) or self._before.get(key)
        if files is None:
            files = TrustFiles(trust_anchors, intermediates, crls)
        self._opened[key] = files
        return files

    def forget_before(self) -> None:
        """Release the files of the previous configuration that no policy uses now."""
        self._before = {}


_instances: weakref.WeakSet[TrustFiles] = weakref.WeakSet()


def _replace_locks() -> None:
    """Give every instance a new lock, because a fork does not copy the thread that holds one."""
    for files in list(_instances):
        files._starting = threading.Lock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none, and cannot fork.
    os.register_at_fork(after_in_child=_replace_locks)


class _File:
    """A file, or a PEM text.

    Attributes:
        where: the name of the source in errors: `the file 'ca.pem'`.
        is_unread: whether the file exists, but the last attempt to read it failed.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._is_text = _is_pem_text(source)
        self.where = "the PEM text" if self._is_text else f"the file {quote(source)}"
        self.is_unread = False

    def signature(self) -> object:
        """Return a value that changes with the file; None if there is no file."""
        if self._is_text:
            return self.source
        try:
            status = os.stat(self.source)
        except (OSError, ValueError):
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def read(self) -> bytes:
        """Return the content.

        Raises:
            ValueError: the file cannot be read. The message is a sentence for the operator.
        """
        if self._is_text:
            return str(self.source).encode("utf-8", "surrogateescape")
        try:
            with open(self.source, "rb") as file:
                content = file.read()
        except (OSError, ValueError) as error:
            self.is_unread = self.signature() is not None
            hint = pasted(str(self.source))
            if hint is not None:
                raise ValueError(f"{self.where} is not the path of a file; {hint}") from error
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"{self.where} cannot be read ({reason}; the full path is"
                f" {quote(os.path.abspath(self.source))}); write the path of a PEM or DER file, or"
                " PEM text"
            ) from error
        self.is_unread = False
        return content


class _CertificateFile(_File):
    """A file of CA certificates, and the certificates in its last good content."""

    def __init__(self, source: Source, *, is_anchor: bool) -> None:
        super().__init__(source)
        self.certificates: list[Certificate] = []
        self._is_anchor = is_anchor
        self._parsed: object = None

    def refresh(self) -> None:
        """Read the certificates again if the file has changed.

        Raises:
            ValueError: the file cannot be used, and `certificates` did not change. The message is a
                sentence for the operator.
        """
        # Get the signature before reading, so that the next check notices a change during the
        # reading.
        signature = self.signature()
        if signature is not None and signature == self._parsed:
            return
        certificates = parse_certificates(self.read(), self.where)
        for certificate in certificates:
            why = why_unusable(certificate, is_anchor=self._is_anchor)
            if why is not None:
                raise ValueError(f"the certificate {_name_of(certificate)} in {self.where} {why}")
        self.certificates, self._parsed = certificates, signature

    def expired(self, at: datetime) -> Iterator[str]:
        """Yield a sentence about each certificate that has expired."""
        for certificate in self.certificates:
            if at > certificate.not_valid_after_utc:
                yield (
                    f"the certificate {_name_of(certificate)} in {self.where} expired at"
                    f" {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}; replace it"
                )


class _ListFile(_File):
    """A file of revocation lists, and the lists in its last good content."""

    def __init__(self, source: Source, distribution_point: str | None = None) -> None:
        super().__init__(source)
        self.lists: list[RevocationList] = []
        self._distribution_point = distribution_point
        self._parsed: object = None

    def refresh(self, issuers: list[Certificate]) -> None:
        """Read the lists again if the file or the issuers have changed.

        Args:
            issuers: the CA certificates that may sign the lists.

        Raises:
            ValueError: the file cannot be used, and `lists` did not change. The message is a
                sentence for the operator.
        """
        if self._distribution_point is not None and os.path.isdir(self.source):
            raise ValueError(
                f"{self.where} is a folder, and distribution_point is for one list; write the"
                " path of that list's file"
            )
        # See _CertificateFile.refresh.
        signature = self.signature()
        if signature is not None and (signature, issuers) == self._parsed:
            return
        lists = read_revocation_lists(
            self.read(),
            source=self.where,
            issuers=issuers,
            distribution_point=self._distribution_point,
        )
        self._refuse_earlier(lists)
        self.lists, self._parsed = lists, (signature, issuers)

    def _refuse_earlier(self, lists: list[RevocationList]) -> None:
        """Refuse a file in which a list was replaced by an earlier list of another scope.

        `RevocationLists` compares only lists of the same scope. Without this check, an attacker who
        can replace the file with an old list for other certificates could undo a revocation.
        """
        for old in self.lists:
            others = [new for new in lists if new.signer == old.signer]
            if all(new.scope != old.scope for new in others):
                for new in others:
                    if new.this_update_utc < old.this_update_utc:
                        raise ValueError(
                            f"{self.where} holds a list {new.scope}, which is earlier than the list"
                            f" {old.scope} that was there; if this is intended, restart the site"
                        )

    def without_effect(self, at: datetime) -> Iterator[str]:
        """Yield a sentence about each list that has expired or is for attribute certificates."""
        for crl in self.lists:
            if crl.scope.only_attribute_certificates:
                yield (
                    f"the revocation list in {self.where} is only for attribute certificates, so"
                    " it covers no client; configure the CA's list for certificates"
                )
            elif at > crl.next_update_utc:
                yield (
                    f"the revocation list in {self.where} expired at"
                    f" {crl.next_update_utc:%Y-%m-%dT%H:%M:%SZ}, so certificates that it covers"
                    " are denied; replace it (arrcert fetch-crls does)"
                )


class _ListFolder:
    """The files of one entry of `crls`: the files in a folder, or the one file that it names."""

    def __init__(self, entry: ListSource) -> None:
        source, point = entry if isinstance(entry, ListOfPoint) else (entry, None)
        is_folder = point is None and not _is_pem_text(source) and os.path.isdir(source)
        self._path = source if is_folder else None
        self.where = f"the folder {quote(source)}"
        self.files = [] if is_folder else [_ListFile(source, point)]
        self.add_new_files()

    def add_new_files(self) -> None:
        """Add the files that are new in the folder.

        A removed file stays in `files`, so that its lists stay in use and an error is logged. Names
        that begin with a dot are ignored, because a download in progress has such a name.
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
        self.files += [_ListFile(path) for path in found if path not in known]


def _is_pem_text(source: Source) -> bool:
    return isinstance(source, str) and "-----BEGIN" in source


def _name_of(authority: Certificate) -> str:
    try:
        return quote(authority.subject.rfc4514_string())
    # The subject may hold bytes that cryptography cannot decode.
    except Exception:
        return "without a name"
