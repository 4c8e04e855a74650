"""What is known of the gunicorn that runs this process."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, NamedTuple


class RunningGunicorn(NamedTuple):
    """The facts that decide whether gunicorn lets look-alike headers pass.

    Attributes:
        has_hook: whether `arrcert.gunicorn.pre_request` cleans every request.
        version: gunicorn's `version_info`; empty if gunicorn does not have one.
        unsafe_setting: the setting that lets header names with underscores pass, as text for an
            error message: `header_map=dangerous`. It is empty if no setting does, and if the
            worker's settings are out of sight.
    """

    has_hook: bool
    version: tuple[int, ...]
    unsafe_setting: str


_HARMLESS_FORWARDER_HEADERS = {"SCRIPT_NAME", "PATH_INFO", "REMOTE_USER"}
"""Names that gunicorn may let pass: no front end sends a certificate under one of them."""

_known: RunningGunicorn | None = None
"""The facts, once they are complete. A process has one gunicorn, so they never change, except that
the hook reports itself with the first request."""


def running_gunicorn() -> RunningGunicorn:
    """Return what is known of the gunicorn that runs this process.

    The facts are collected once. If no worker is on the call stack, its settings are out of sight:
    the answer then assumes that no setting is unsafe, and the next call looks again.

    It does not check that gunicorn runs this process at all; the caller knows that.
    """
    global _known
    if _known is not None:
        return _known
    version = getattr(sys.modules.get("gunicorn"), "version_info", ())
    settings = _worker_settings()
    if settings is None:
        return RunningGunicorn(has_hook=False, version=version, unsafe_setting="")
    _known = RunningGunicorn(
        has_hook=False, version=version, unsafe_setting=_unsafe_setting(settings)
    )
    return _known


def gunicorn_hook_ran() -> None:
    """Record that `arrcert.gunicorn.pre_request` cleans every request of this process."""
    global _known
    _known = _WITH_HOOK


_WITH_HOOK = RunningGunicorn(has_hook=True, version=(), unsafe_setting="")
"""With the hook, neither the version nor the settings matter."""


def _worker_settings() -> Any:
    """Return the settings of the worker that called this code, or None.

    gunicorn does not hand its settings to the app. The worker object on the call stack has them.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("gunicorn.workers."):
            settings = getattr(frame.f_locals.get("self"), "cfg", None)
            if settings is not None:
                return settings
        frame = frame.f_back
    return None


def _unsafe_setting(settings: Any) -> str:
    if getattr(settings, "header_map", "drop") == "dangerous":
        return "header_map=dangerous"
    # gunicorn lets these pass from a trusted peer, whatever `header_map` says.
    passed = set(getattr(settings, "forwarder_headers", ())) - _HARMLESS_FORWARDER_HEADERS
    return f"forwarder_headers={','.join(sorted(passed))}" if passed else ""
