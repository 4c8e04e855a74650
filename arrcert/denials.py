"""The log of denials: one record for each denial, or only counts if there are very many."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

from arrcert.exceptions import Denial, DenialReason, quote

logger = logging.getLogger("arrcert")

MOST_IN_FULL = 100
"""In one second, this many denials with the same policy and reason are logged one by one. Further
ones are only counted."""

SECONDS_TO_COUNT = 1.0
"""How long denials are counted before one record reports their number, in seconds."""


_DISABLED = (
    "the logger 'arrcert' is disabled, so arrcert logs no denial and no mistake in its"
    ' configuration; write "disable_existing_loggers": False into the dictConfig of the site (for'
    " fileConfig, disable_existing_loggers=False)"
)


class DenialLog:
    """Writes denials to the logger `arrcert`, and only counts them if there are very many.

    In each second, `MOST_IN_FULL` denials with the same policy and reason are logged in full. At
    the end of the second, a timer writes one record with the number of the others, even if no more
    requests arrive. If the site's configuration of logging has disabled the logger, the root logger
    gets one ERROR that says so.
    """

    def __init__(self) -> None:
        self._has_reported_disabled_logger = False
        _logs.add(self)
        self.reset()
        self._report_disabled_logger()

    def reset(self) -> None:
        """Forget the counts and the timer, and make a new lock.

        A forked process needs this: it has no timer thread, and no thread that would release a lock
        that another thread held.
        """
        # The lock is reentrant, because a signal handler may run in the thread that holds it, and
        # may log a denial itself.
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._counts: dict[tuple[str, DenialReason], int] = {}
        self._timer: threading.Timer | None = None

    def write(
        self,
        denial: Denial,
        policy: str,
        *,
        environ: Mapping[str, Any] | None = None,
        scope: Mapping[str, Any] | None = None,
        exc_info: bool = False,
    ) -> None:
        """Write the record of one denial, or count it.

        Args:
            denial: the denial.
            policy: the policy's name.
            environ: the WSGI environ of the request, if it has one.
            scope: the ASGI scope of the request, if it has one.
            exc_info: whether to add the traceback of the exception that is being handled.

        `misconfigured` is an ERROR, every other reason a WARNING. The record does not hold the
        header's value.
        """
        self._report_disabled_logger()
        level = _level(denial.reason)
        if not logger.isEnabledFor(level) or not self._admits(policy, denial.reason):
            return
        described = describe_request(environ, scope)
        logger.log(
            level,
            "denied %sunder policy %s: %s",
            f"{described} " if described else "",
            quote(policy),
            denial,
            exc_info=exc_info,
            extra={
                "arrcert_reason": denial.reason.value,
                "arrcert_policy": policy,
                "arrcert_request": described,
                "arrcert_fingerprint": denial.certificate and denial.certificate.sha256_fingerprint,
                "arrcert_identity": denial.identity,
            },
        )

    def tell(self) -> None:
        """Write one record for each policy and reason with a count, and start counting again."""
        with self._lock:
            counts, self._counts = self._counts, {}
            self._began, self._timer = time.monotonic(), None
        for (policy, reason), count in counts.items():
            if count > MOST_IN_FULL:
                logger.log(
                    _level(reason),
                    "denied %d more requests within a second %sfor the same reason: %s",
                    count - MOST_IN_FULL,
                    f"under policy {quote(policy)} " if policy else "",
                    reason,
                    extra={
                        "arrcert_reason": reason.value,
                        "arrcert_policy": policy,
                        "arrcert_count": count - MOST_IN_FULL,
                    },
                )

    def _report_disabled_logger(self) -> None:
        """Log once that the logger is disabled, because only its records have the reasons."""
        if logger.disabled and not self._has_reported_disabled_logger:
            self._has_reported_disabled_logger = True
            logging.getLogger().error("%s", _DISABLED)

    def _admits(self, policy: str, reason: DenialReason) -> bool:
        """Count a denial, and return whether to write it in full."""
        with self._lock:
            if self._timer is None and time.monotonic() - self._began >= SECONDS_TO_COUNT:
                self._began = time.monotonic()
                self._counts.clear()
            # All `misconfigured` denials are counted together, because an app may ask for any
            # number of policy names that do not exist.
            key = ("" if reason is DenialReason.MISCONFIGURED else policy, reason)
            count = self._counts[key] = self._counts.get(key, 0) + 1
            return count <= MOST_IN_FULL or not self._is_timed()

    def _is_timed(self) -> bool:
        """Return whether a timer will report the counts; start one if there is none."""
        if self._timer is None:
            timer = threading.Timer(SECONDS_TO_COUNT, self.tell)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:
                # No thread can be started, so nothing would report the counts. Log each denial.
                return False
            self._timer = timer
        return True


_logs: weakref.WeakSet[DenialLog] = weakref.WeakSet()


def _tell_all() -> None:
    for log in list(_logs):
        log.tell()


def _reset_all() -> None:
    for log in list(_logs):
        log.reset()


atexit.register(_tell_all)
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none, and cannot fork.
    os.register_at_fork(after_in_child=_reset_all)


def _level(reason: DenialReason) -> int:
    return logging.ERROR if reason is DenialReason.MISCONFIGURED else logging.WARNING


def describe_request(
    environ: Mapping[str, Any] | None = None, scope: Mapping[str, Any] | None = None
) -> str:
    """Return a request's method and path for the log, escaped, without the query.

    Args:
        environ: the WSGI environ, which holds the UTF-8 bytes of a path as Latin-1 (PEP 3333).
        scope: the ASGI connection scope; a WebSocket handshake has no method.

    Returns:
        The text, from the scope if there are both. It is empty if there is neither, or if the
        server passed an object that is not a mapping. Spaces of the client are written as `%20`, so
        that its path cannot imitate the rest of a record.
    """
    if isinstance(scope, Mapping):
        return _one_line(scope.get("method", "WEBSOCKET"), scope.get("path"))
    if isinstance(environ, Mapping):
        path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")
        return _one_line(environ.get("REQUEST_METHOD"), path)
    return ""


def _one_line(method: object, path: object) -> str:
    """Escape and cut a method and a path as `quote` does, without the quotation marks."""
    quoted = quote(" ".join(str(text).replace(" ", "%20") for text in (method, path)))
    end = quoted.rindex(quoted[0])
    return quoted[1:end] + quoted[end + 1 :]
