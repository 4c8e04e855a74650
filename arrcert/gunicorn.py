"""A hook for gunicorn that takes look-alike headers away before the app can confuse them.

In `gunicorn.conf.py`:

    from arrcert.gunicorn import pre_request
"""

from __future__ import annotations

import logging
from typing import Any

from arrcert.exceptions import quote
from arrcert.forwarding.front_ends import FRONT_ENDS, fold_header_name
from arrcert.forwarding.servers import gunicorn_hook_ran

logger = logging.getLogger("arrcert")

_GUNICORNS_OWN = ("SCRIPT_NAME", "PATH_INFO")
"""Underscored names that gunicorn gives a meaning of its own, and that no header looks like."""


def pre_request(_worker: Any, req: Any) -> None:
    """Remove every header with an underscore in its name, as gunicorn 22 and newer do by default.

    Args:
        _worker: gunicorn's worker.
        req: gunicorn's request; its `headers` are changed.

    It is for gunicorn before 22, and for `header_map = "dangerous"` and `forwarder_headers`. All
    underscores go, not merely those of known front ends: this hook does not see the app's settings,
    and so not which header they declare. What imitates a known front end's header is logged.
    """
    gunicorn_hook_ran()
    kept = [header for header in req.headers if _is_kept(header[0])]
    if len(kept) == len(req.headers):
        return
    for name, _ in req.headers:
        if not _is_kept(name):
            imitates = fold_header_name(_text(name)) in _KNOWN
            logger.log(
                logging.WARNING if imitates else logging.DEBUG,
                "removed the header %s%s",
                quote(_text(name)),
                ": nobody but an attacker sends it" if imitates else "",
            )
    req.headers = kept


def _is_kept(name: str | bytes) -> bool:
    text = _text(name)
    return "_" not in text or text.upper() in _GUNICORNS_OWN


def _text(name: str | bytes) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else name


_KNOWN = {
    fold_header_name(header)
    for front_end in FRONT_ENDS.values()
    for header in (front_end.header, front_end.chain_header, front_end.verify_header)
    if header
}
