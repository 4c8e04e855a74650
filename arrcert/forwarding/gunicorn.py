"""Finds the version and the unsafe settings of the gunicorn that runs this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple


class RunningGunicorn(NamedTuple):
    """The facts that decide whether gunicorn lets look-alike headers pass.

    Attributes:
        has_hook: whether `arrcert.gunicorn.pre_request` cleans every request.
        version: gunicorn's `version_info`; empty if gunicorn does not have one.
        unsafe_setting: the setting that lets header names with underscores pass, as text for an
            error message: `header_map=dangerous`. It is empty if no setting does, or if the
            settings of the worker cannot be found.
    """

    has_hook: bool
    version: tuple[int, ...]
    unsafe_setting: str


_HARMLESS_FORWARDER_HEADERS = {"SCRIPT_NAME", "PATH_INFO", "REMOTE_USER"}
"""Names that gunicorn may let pass, because no front end sends a certificate under one of them."""

_known: RunningGunicorn | None = None
"""The facts, once they are complete. A process has only one gunicorn, so they do not change. Only
the hook is noticed later, at the first request."""


def running_gunicorn() -> RunningGunicorn:
    """Return the known facts about the gunicorn that runs this process.

    The facts are collected once. If no worker is on the stack of any thread, its settings cannot be
    found. Then the result says that no setting is unsafe, and the next call looks again.

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
        has_hook=False, version=version, unsafe_setting=_unsafe_setting(settings, version)
    )
    return _known


def gunicorn_hook_ran() -> None:
    """Record that `arrcert.gunicorn.pre_request` cleans every request of this process."""
    global _known
    _known = _WITH_HOOK


_WITH_HOOK = RunningGunicorn(has_hook=True, version=(), unsafe_setting="")
"""With the hook, neither the version nor the settings matter."""

_speaks_proxy_protocol: bool | None = None
"""Whether gunicorn uses the PROXY protocol; None until its settings were found."""


def gunicorn_speaks_proxy_protocol() -> bool:
    """Return whether gunicorn takes the addresses of clients from the PROXY protocol.

    The WSGI workers show this in the environ of each request, but the ASGI worker does not show it.
    The result is False if no gunicorn runs in this process, or if its settings cannot be found.
    """
    global _speaks_proxy_protocol
    if _speaks_proxy_protocol is None and "gunicorn" in sys.modules:
        settings = _worker_settings()
        if settings is not None:
            # It is a truth value before gunicorn 24.1, and the name of a mode since then.
            mode = getattr(settings, "proxy_protocol", False)
            _speaks_proxy_protocol = mode not in (False, None, "off")
    return bool(_speaks_proxy_protocol)


def _worker_settings() -> Any:
    """Return the settings of the worker that runs in this process, or None.

    gunicorn does not pass its settings to the app, but the worker object has them. The worker is on
    the stack of the thread that reads requests. The app may call this from another thread, in which
    an event loop runs its async views.
    """
    for frame in _frames():
        if str(frame.f_globals.get("__name__")).startswith("gunicorn.workers."):
            settings = getattr(frame.f_locals.get("self"), "cfg", None)
            if settings is not None:
                return settings
    return None


def _frames() -> Iterator[FrameType]:
    """Return the frames of this thread, then those of every other thread."""
    for innermost in (sys._getframe(), *sys._current_frames().values()):
        frame: FrameType | None = innermost
        while frame is not None:
            yield frame
            frame = frame.f_back


def _unsafe_setting(settings: Any, version: tuple[int, ...]) -> str:
    if (25,) <= version < (26, 2) and "h2" in getattr(settings, "http_protocols", ()):
        return "http_protocols=h2"
    if getattr(settings, "header_map", "drop") == "dangerous":
        return "header_map=dangerous"
    # gunicorn lets these headers pass from a trusted peer, with any value of `header_map`.
    passed = set(getattr(settings, "forwarder_headers", ())) - _HARMLESS_FORWARDER_HEADERS
    return f"forwarder_headers={','.join(sorted(passed))}" if passed else ""


if "gunicorn" in sys.modules:
    # The worker that imports the app is on the stack now. Later, a greenlet that is not on any
    # stack may read the request while the app decides.
    running_gunicorn()
    gunicorn_speaks_proxy_protocol()
