"""A hook for gunicorn that removes headers with underscores before the app sees them.

In `gunicorn.conf.py`:

    from arrcert.gunicorn import pre_request
"""

from __future__ import annotations

import logging
from typing import Any

from arrcert.exceptions import quote
from arrcert.forwarding.front_ends import FRONT_ENDS, fold_header_name
from arrcert.forwarding.gunicorn import gunicorn_hook_ran

__all__ = ["pre_request"]

logger = logging.getLogger("arrcert")

_GUNICORNS_OWN_NAMES = ("SCRIPT_NAME", "PATH_INFO")
"""Header names with underscores that gunicorn uses itself. No header of a front end has a similar
name."""


def pre_request(_worker: Any, req: Any) -> None:
    """Remove every header with an underscore in its name, as gunicorn 22 and newer do by default.

    Use it with gunicorn before 22, and with the settings `header_map = "dangerous"` and
    `forwarder_headers`. The hook does not see the app's settings, so it does not know which header
    the app reads. So it removes every header with an underscore in its name, except `SCRIPT_NAME`
    and `PATH_INFO`, which gunicorn uses itself. If the name imitates the header of a known front
    end, a WARNING is logged, else a DEBUG record.

    Args:
        _worker: gunicorn's worker; not used.
        req: gunicorn's request. The hook replaces its `headers`.

    It does not check who sent a header.
    """
    gunicorn_hook_ran()
    kept = [header for header in req.headers if _is_kept(header[0])]
    if len(kept) == len(req.headers):
        return
    for name, _ in req.headers:
        if not _is_kept(name):
            imitates = fold_header_name(_text(name)) in _HEADERS_OF_FRONT_ENDS
            logger.log(
                logging.WARNING if imitates else logging.DEBUG,
                "removed the header %s%s",
                quote(_text(name)),
                ": only an attacker sends such a header" if imitates else "",
            )
    req.headers = kept


def _is_kept(name: str | bytes) -> bool:
    text = _text(name)
    return "_" not in text or text.upper() in _GUNICORNS_OWN_NAMES


def _text(name: str | bytes) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else name


_HEADERS_OF_FRONT_ENDS = {
    fold_header_name(header)
    for front_end in FRONT_ENDS.values()
    for header in (front_end.header, front_end.chain_header, front_end.verify_header)
    if header
}
