"""The file of policies, `ARRCERT_FILE`: read at the start, and followed while the site runs."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.notation import Notation
from arrcert.policy import Policy
from arrcert.rules import NamesProvenByFrontEnd
from arrcert.settings.contents import Content, Served, parsed, read_content
from arrcert.settings.names import FILE
from arrcert.settings.policies import Place, PolicyReader
from arrcert.shared_identities import shared_identities
from arrcert.trust.files import TrustFolder

logger = logging.getLogger("arrcert")

SECONDS_BETWEEN_LOOKS = 2.0
"""The interval in which a thread looks at the file, in seconds. A look reads the file and compares
its digest."""

SECONDS_TO_WAIT = 0.1
"""How long a request waits for a look that is late, in seconds."""

SECONDS_WITHOUT_A_LOOK = 60.0
"""After this time without a look, in seconds, an error is logged: the file system does not
answer."""

MOST_LOOKS_AT_THE_START = 10
"""The largest number of looks at the start, if the file changes each time."""

_REFUSED = {
    NamesProvenByFrontEnd.key: "is not allowed in a file, because it depends on the"
    " deployment; write the policy in the setting ARRCERT"
}

_settled: dict[str, object] = {}
"""The content that the last start saw at two looks, by path. So a second start in the same process
does not wait."""


class Generation(NamedTuple):
    """The policies of one version of the file. It is immutable.

    Attributes:
        policies: each policy's name and its alternatives, in order.
        places: every policy with the place where it is written.
        path: the path of the file without links.
        sha256: the SHA-256 of the text, without a line that holds this checksum.
        trust_folder: the object that opened the files that the policies name.
        changed_at: when the file was changed last, in seconds since the epoch.
    """

    policies: Mapping[str, tuple[Policy, ...]]
    places: tuple[tuple[Place, Policy], ...]
    path: str
    sha256: str
    trust_folder: TrustFolder
    changed_at: float = 0.0


def read_generation(
    text: bytes,
    path: str,
    sha256: str,
    before: Generation | None = None,
    *,
    changed_at: float = 0.0,
) -> Generation:
    """Build the policies that a file holds.

    Args:
        text: the TOML text.
        path: the path of the file without links. Paths in the text are relative to its folder.
        sha256: the SHA-256 of the text.
        before: the generation that is in use.
        changed_at: when the file was changed last, in seconds since the epoch.

    Raises:
        ConfigurationError: all mistakes together, each with policy, alternative, key and entry.
    """
    try:
        mapping = parsed(text)
    except ValueError as error:
        raise ConfigurationError([Problem(FILE, f"{quote(path)} {error}")]) from error
    trust_folder = TrustFolder(os.path.dirname(path), before and before.trust_folder)
    reader = PolicyReader(FILE, Notation.TOML, trust_folder, _REFUSED)
    policies = reader.read(mapping)
    trust_folder.forget_before()
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return Generation(policies, tuple(reader.places), path, sha256, trust_folder, changed_at)


class PolicyFile:
    """Follows the file of policies.

    `current` always returns a complete `Generation`. In each process a thread looks at the file
    every two seconds and builds a new generation if the content has changed. New content with a
    checksum in its first line is used at once. Other content is used only after two looks, two
    seconds apart, found the same bytes, size and time. If the content cannot be used, or the file
    is missing, an error is logged and the last good generation stays in use.

    Args:
        path: the path of the file. A relative path is relative to the working directory at the
            start.
        served: the folders in which the file must not be.
        ignore_mode: whether to accept a file that the group or others may write.

    Raises:
        ConfigurationError: all mistakes together, each with its place in the file.

    A file without a checksum, or with a mistake, delays the start by two seconds. Without a
    checksum, a file that stays incomplete for two looks is considered complete.
    """

    def __init__(
        self, path: str, *, served: Iterable[Served] = (), ignore_mode: bool = False
    ) -> None:
        self.path = os.path.abspath(path)
        self._served = tuple(served)
        self._ignore_mode = ignore_mode
        self._seen: object = None
        self._seen_at = 0.0
        self._reported: tuple[Problem, ...] = ()
        self._generation = self._first()
        self._warned = warnings_of(self._generation.places)
        self._was_overdue = False
        self._thread: threading.Thread | None = None
        self._overdue_at: float = 0.0
        self._renew()
        _instances.add(self)
        self._start()

    def current(self) -> Generation:
        """Return the current policies.

        The thread may be late, because the process was suspended or the server does not let threads
        run. Then the request waits up to a tenth of a second for a look, at most once in two
        seconds.
        """
        if time.monotonic() >= self._overdue_at:
            self._overdue_at = time.monotonic() + SECONDS_BETWEEN_LOOKS
            self._catch_up()
        return self._generation

    def look(self) -> None:
        """Look at the file once. Use its content if it has changed, is valid and is complete.

        It raises no exception. Each error is logged once.
        """
        with self._looking:
            try:
                self._look()
            # An error must end neither the thread that looks nor a request, because the last good
            # content is still in use.
            except Exception as error:
                unexpected = (Problem(FILE, repr(error)),)
                if unexpected != self._reported:
                    logger.exception("%s: the last good content stays in use", FILE)
                self._reported = unexpected
            self._looked_at = time.monotonic()
            self._overdue_at = self._looked_at + 2 * SECONDS_BETWEEN_LOOKS
            self._was_overdue = False
        self._looked.set()

    def _first(self) -> Generation:
        """Return the first generation. Without a checksum, wait until two looks find the same.

        The file may be written while a worker starts. The worker must not use an incomplete file.
        It must not fail either, because some servers stop if a worker does not start.

        Raises:
            ConfigurationError: the content cannot be used, or it changes all the time.
        """
        before = _settled.get(self.path)
        for look in range(MOST_LOOKS_AT_THE_START):
            if look:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            found = self._found()
            is_sealed = isinstance(found, Content) and found.is_sealed
            key = found.key if isinstance(found, Content) else found
            if is_sealed or key == before:
                _settled[self.path] = key
                if isinstance(found, Content):
                    return read_generation(
                        found.text, found.path, found.sha256, changed_at=found.changed_at
                    )
                raise ConfigurationError(found)
            before = key
        raise ConfigurationError(
            [
                Problem(
                    FILE,
                    f"{quote(self.path)} changes all the time; replace it with `arrcert"
                    " install-file`",
                )
            ]
        )

    def _found(self) -> Content | tuple[Problem, ...]:
        """Return the content of the file, or why it cannot be read."""
        try:
            return read_content(self.path, served=self._served, ignore_mode=self._ignore_mode)
        except ValueError as error:
            return (Problem(FILE, f"{quote(self.path)} {error}"),)

    def _look(self) -> None:
        now = time.monotonic()
        found = self._found()
        in_use = self._generation
        key: object = found
        if isinstance(found, Content):
            key = found.key
            if (found.path, found.sha256) == (in_use.path, in_use.sha256):
                self._seen = None
                self._clear()
                return
        if key != self._seen:
            self._seen, self._seen_at = key, now
        is_settled = now - self._seen_at >= SECONDS_BETWEEN_LOOKS
        if not isinstance(found, Content):
            if is_settled:
                self._report(found)
        elif found.is_sealed or is_settled:
            try:
                generation = read_generation(
                    found.text, found.path, found.sha256, in_use, changed_at=found.changed_at
                )
            except ConfigurationError as error:
                # The next look tries again, because a file that the policies name may be written
                # later.
                self._report(error.problems)
            else:
                self._use(generation)

    def _use(self, generation: Generation) -> None:
        gone = sorted(self._generation.policies.keys() - generation.policies.keys())
        self._generation = generation
        self._seen = None
        self._reported = ()
        logger.info(
            "%s: the new content of %s is in use (%d policies, SHA-256 %s)",
            FILE,
            quote(self.path),
            len(generation.places),
            generation.sha256,
        )
        if gone:
            logger.warning(
                "%s: the new content of %s has no policy %s; requests under it are denied as"
                " misconfigured",
                FILE,
                quote(self.path),
                ", ".join(map(quote, gone)),
            )
        warnings = warnings_of(generation.places)
        for problem in warnings:
            if problem not in self._warned:
                logger.warning("configuration: %s", problem)
        self._warned = warnings

    def _report(self, problems: tuple[Problem, ...]) -> None:
        for problem in problems:
            if problem not in self._reported:
                logger.error(
                    "%s; the last good content of %s stays in use", problem, quote(self.path)
                )
        self._reported = problems

    def _clear(self) -> None:
        if self._reported:
            logger.info("%s: %s can be used again", FILE, quote(self.path))
        self._reported = ()

    def _catch_up(self) -> None:
        """Start the thread if it does not run, and wait a short time for its next look."""
        with self._starting:
            looked = self._looked
            looked.clear()
            try:
                if self._thread is None or not self._thread.is_alive():
                    self._start()
            except RuntimeError:
                # No thread can be started now.
                self.look()
        looked.wait(SECONDS_TO_WAIT)
        seconds = time.monotonic() - self._looked_at
        if seconds > SECONDS_WITHOUT_A_LOOK and not self._was_overdue:
            self._was_overdue = True
            logger.error(
                "%s: %s could not be read for %d seconds; its last good content stays in use",
                FILE,
                quote(self.path),
                seconds,
            )

    def _renew(self) -> None:
        """Make new locks. After a fork, the threads that held the old locks do not exist."""
        self._looking = threading.Lock()
        self._starting = threading.Lock()
        self._looked = threading.Event()
        self._looked_at = time.monotonic()
        self._overdue_at = self._looked_at + 2 * SECONDS_BETWEEN_LOOKS

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=_follow, args=(weakref.ref(self),), name="arrcert file", daemon=True
        )
        self._thread.start()


def warnings_of(places: Iterable[tuple[Place, Policy]]) -> list[Problem]:
    """Return a warning for each value that is probably a mistake or denies clients.

    Args:
        places: every policy with the place where it is written.
    """
    listed = list(places)
    warnings = [
        Problem(place.setting(problem.setting), problem.message)
        for place, policy in listed
        for problem in policy.warnings()
    ]
    sources = [
        (place.setting(source.key), source)
        for place, policy in listed
        for source in policy.identity_sources()
    ]
    return [*warnings, *shared_identities(sources)]


def _follow(reference: weakref.ref[PolicyFile]) -> None:
    """Look at a file in intervals, as long as the `PolicyFile` is used."""
    while (file := reference()) is not None:
        file.look()
        del file
        time.sleep(SECONDS_BETWEEN_LOOKS)


_instances: weakref.WeakSet[PolicyFile] = weakref.WeakSet()


def _after_fork() -> None:
    """Let the first request in the child process start the thread: a fork copies no threads.

    The thread is not started here, because gevent cannot switch greenlets during a fork.
    """
    for file in list(_instances):
        file._renew()
        file._overdue_at = 0.0


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none, and cannot fork.
    os.register_at_fork(after_in_child=_after_fork)
