"""The log of denials: one record each, and one for many where they come as a flood."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from arrcert.exceptions import CertificateDenied, DenialReason, quote

logger = logging.getLogger("arrcert")

MOST_IN_FULL = 100
"""Denials a second that are logged in full, of each policy and reason; the others are counted."""

SECONDS_TO_COUNT = 1.0
"""How long denials are counted before the log says how many there were."""


class DenialLog:
    """Writes denials to the logger `arrcert`, and counts those that come as a flood.

    Of each policy and reason `MOST_IN_FULL` are written in a second. A timer ends the second with
    one record for the rest, so that what was counted is told although nobody knocks any more.
    """

    def __init__(self) -> None:
        # What runs under it may be interrupted by a signal handler that is denied, too.
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._counts: dict[tuple[str, DenialReason], int] = {}
        self._timer: threading.Timer | None = None
        _logs.add(self)

    def write(
        self,
        denied: CertificateDenied,
        policy: str,
        describe: Callable[[Any], str] | None = None,
        request: Any = None,
        *,
        exc_info: bool = False,
    ) -> None:
        """Write the record of one denial, or count it.

        Args:
            denied: what was denied and why.
            policy: the policy's name.
            describe: `describe_wsgi` or `describe_asgi`; None where the request is not known.
            request: what `describe` takes.
            exc_info: whether the traceback of the exception being handled belongs to it.

        `misconfigured` is an ERROR, all else a WARNING. Where nobody listens the denial is not
        looked at. It does not write the header's value.
        """
        if not logger.isEnabledFor(logging.ERROR):
            return
        level = _level(denied.reason)
        if not logger.isEnabledFor(level) or not self._admits(policy, denied.reason):
            return
        described = describe(request) if describe else ""
        logger.log(
            level,
            "denied %sunder policy %s: %s",
            f"{described} " if described else "",
            quote(policy),
            denied,
            exc_info=exc_info,
            extra={
                "arrcert_reason": denied.reason.value,
                "arrcert_policy": policy,
                "arrcert_request": described,
                "arrcert_fingerprint": denied.certificate and denied.certificate.sha256_fingerprint,
            },
        )

    def tell(self) -> None:
        """Write what was counted, a record for each policy and reason, and begin anew."""
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

    def _admits(self, policy: str, reason: DenialReason) -> bool:
        """Count a denial, and tell whether it is to be written in full."""
        with self._lock:
            if self._timer is None and time.monotonic() - self._began >= SECONDS_TO_COUNT:
                self._began = time.monotonic()
                self._counts.clear()
            # Policies that do not exist are counted together: a request may have made them up.
            key = ("" if reason is DenialReason.MISCONFIGURED else policy, reason)
            count = self._counts[key] = self._counts.get(key, 0) + 1
            return count <= MOST_IN_FULL or not self._is_timed()

    def _is_timed(self) -> bool:
        """Tell whether a timer will tell what is counted, having started one if need be."""
        if self._timer is None:
            timer = threading.Timer(SECONDS_TO_COUNT, self.tell)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:
                # No thread to be had; then nothing is counted, and each denial is written.
                return False
            self._timer = timer
        return True


_logs: weakref.WeakSet[DenialLog] = weakref.WeakSet()


def _tell_all() -> None:
    for log in list(_logs):
        log.tell()


def _begin_all() -> None:
    # Neither a timer nor the holder of a lock comes along into a forked process.
    for log in list(_logs):
        log.__init__()  # type: ignore[misc]


atexit.register(_tell_all)
# Windows has neither fork nor this.
getattr(os, "register_at_fork", dict)(after_in_child=_begin_all)


def _level(reason: DenialReason) -> int:
    return logging.ERROR if reason is DenialReason.MISCONFIGURED else logging.WARNING


def describe_wsgi(environ: Mapping[str, Any]) -> str:
    """Return a WSGI request's method and path for the log, escaped, without the query.

    Args:
        environ: the WSGI environ, which holds a path's UTF-8 bytes as Latin-1 (PEP 3333).
    """
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    return _one_line(f"{environ.get('REQUEST_METHOD')} {path}")


def describe_asgi(scope: Mapping[str, Any]) -> str:
    """Return an ASGI request's method and path for the log, escaped, without the query.

    Args:
        scope: the ASGI connection scope; a WebSocket handshake has no method.
    """
    return _one_line(f"{scope.get('method', 'WEBSOCKET')} {scope.get('path')}")


def _one_line(text: str) -> str:
    """Escape as `quote` does, without the quotes."""
    return quote(text)[1:-1]
