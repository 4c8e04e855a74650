"""Paths that the site-wide check leaves out, and the tricks that do not reach them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from arrcert.exceptions import ConfigurationError, Problem, quote

_TRICKS = re.compile(r"^[^/]|//|[\\;?#%\x00-\x1f\x7f\ufffd]|/\.{1,2}(?:/|$)")
"""What takes the exemption from a decoded path, since somebody may read the path otherwise.

No slash at the start (`http://...`, `*`), doubled slashes, backslashes, `;params`, what would begin
a query or fragment, a percent sign (it was encoded twice, or badly), control characters, bytes that
are no UTF-8, dot segments.
"""


class ExemptPaths:
    """Exact paths, and folders, that the site-wide check leaves out.

    Args:
        entries: `"/health"` is that path alone; `"/public/*"` is all below that folder and
            `/public/` itself. Compared with case, against decoded paths without `SCRIPT_NAME`.
        setting: what an error calls the setting.

    Raises:
        ConfigurationError: all mistakes of the entries together.

    It does not know views: an exempt path frees from the site-wide check alone, never from a
    decorator. In doubt a path is not exempt.
    """

    def __init__(self, entries: Iterable[str] = (), *, setting: str = "exempt_paths") -> None:
        problems = []
        paths, folders = set(), []
        for entry in entries:
            mistake = _mistake(entry)
            if mistake is not None:
                problems.append(Problem(setting, f"{quote(entry)} {mistake}"))
            elif entry.endswith("/*"):
                folders.append(entry[:-1])
            else:
                paths.add(entry)
        if problems:
            raise ConfigurationError(problems)
        self._paths = frozenset(paths)
        self._folders = tuple(folders)

    def covers_wsgi(self, environ: Mapping[str, Any], path: str) -> bool:
        """Tell whether a WSGI request is exempt.

        Args:
            environ: the WSGI environ, for the path as it was sent where the server shows it
                (`RAW_URI`, `REQUEST_URI`), and for `PATH_INFO`, which frameworks tidy up.
            path: the framework's decoded path, without `SCRIPT_NAME`.
        """
        sent = (environ.get("RAW_URI"), environ.get("REQUEST_URI"))
        return self._covers(path, (environ.get("PATH_INFO"),), sent)

    def covers_asgi(self, scope: Mapping[str, Any], path: str) -> bool:
        """Tell whether an ASGI request is exempt.

        Args:
            scope: the ASGI scope, for `raw_path` where the server gives it, and for `path`.
            path: the framework's decoded path, without `root_path`.
        """
        raw_path = scope.get("raw_path")
        sent = raw_path.decode("latin-1") if isinstance(raw_path, bytes) else None
        return self._covers(path, (scope.get("path"),), (sent,))

    def _covers(self, path: str, decoded: Iterable[str | None], sent: Iterable[str | None]) -> bool:
        if path not in self._paths and not path.startswith(self._folders):
            return False
        paths_sent = [text.partition("?")[0] for text in sent if text is not None]
        # Decoded, an encoded slash is one like any other.
        if any("%2f" in text.lower() for text in paths_sent):
            return False
        shown = (path, *decoded, *map(unquote, paths_sent))
        return not any(text is not None and _TRICKS.search(text) for text in shown)


def _mistake(entry: object) -> str | None:
    if not isinstance(entry, str) or not entry.startswith("/"):
        return "does not begin with a slash; write the path from the root of the site: /health"
    if entry == "/*":
        return "would exempt the whole site; name the folders that are public"
    if "*" in entry.removesuffix("/*"):
        return "holds a * elsewhere than as the last segment; write /folder/* or an exact path"
    if _TRICKS.search(entry):
        return (
            "can never be exempt (dot segment, doubled slash, backslash, semicolon, percent sign,"
            " query, fragment or control character); write the decoded path"
        )
    return None
