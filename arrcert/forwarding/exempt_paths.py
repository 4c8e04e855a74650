"""Paths that are exempt from the site-wide check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from arrcert.exceptions import ConfigurationError, Problem, quote

_UNSAFE = re.compile(r"^[^/]|//|[\\;?#%\x00-\x1f\x7f\ufffd]|/\.{1,2}(?:/|$)")
"""Matches what a decoded path must not contain, because another program may interpret such a path
differently.

No slash at the start (`http://...`, `*`), double slashes, backslashes, `;params`, the start of a
query or fragment, a percent sign (the path was encoded twice, or wrongly), control characters,
bytes that are not UTF-8, dot segments.
"""


class ExemptPaths:
    """The exact paths and the folders that are exempt from the site-wide check.

    Args:
        entries: a list. `"/health"` is this path only; `"/public/*"` is `/public/` and everything
            below it. Entries are compared with decoded paths without `SCRIPT_NAME`. Case counts.
        setting: the name of the setting, for errors.

    Raises:
        ConfigurationError: all mistakes in the entries together.

    Attributes:
        entries: the entries as they are written, sorted.

    If it is not clear whether a path is exempt, the path is not exempt. Exempt paths do not affect
    decorators: a decorator still protects a view on an exempt path.
    """

    def __init__(self, entries: object = (), *, setting: str = "exempt_paths") -> None:
        if not isinstance(entries, list | tuple | set | frozenset):
            raise ConfigurationError(
                [Problem(setting, f'{quote(entries)} is not a list; write ["/health"]')]
            )
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
        self.entries: tuple[str, ...] = (
            *sorted(paths),
            *(f"{folder}*" for folder in sorted(folders)),
        )

    def covers_wsgi(self, environ: Mapping[str, Any], path: str) -> bool:
        """Return whether a WSGI request is exempt.

        Args:
            environ: the WSGI environ. `PATH_INFO` is read from it and, if the server provides it,
                the path as the client sent it (`RAW_URI`, `REQUEST_URI`). Frameworks normalize
                `PATH_INFO`.
            path: the framework's decoded path, without `SCRIPT_NAME`.
        """
        sent = (environ.get("RAW_URI"), environ.get("REQUEST_URI"))
        return self._covers(path, (environ.get("PATH_INFO"),), sent)

    def covers_asgi(self, scope: Mapping[str, Any], path: str) -> bool:
        """Return whether an ASGI request is exempt.

        Args:
            scope: the ASGI scope. `raw_path` is read from it if the server provides it, and `path`.
            path: the framework's decoded path, without `root_path`.
        """
        raw_path = scope.get("raw_path")
        sent = raw_path.decode("latin-1") if isinstance(raw_path, bytes) else None
        return self._covers(path, (scope.get("path"),), (sent,))

    def _covers(self, path: str, decoded: Iterable[str | None], sent: Iterable[str | None]) -> bool:
        if path not in self._paths and not path.startswith(self._folders):
            return False
        paths_sent = [text.partition("?")[0] for text in sent if text is not None]
        # After decoding, an encoded slash looks like a normal slash, so refuse it in the undecoded
        # path.
        if any("%2f" in text.lower() for text in paths_sent):
            return False
        read = (path, *decoded, *map(unquote, paths_sent))
        return not any(text is not None and _UNSAFE.search(text) for text in read)


def _mistake(entry: object) -> str | None:
    if not isinstance(entry, str) or not entry.startswith("/"):
        return "does not begin with a slash; write the path from the root of the site: /health"
    if entry == "/*":
        return "would exempt the whole site; name the folders that are public"
    if "*" in entry.removesuffix("/*"):
        return "holds a * that is not the last segment; write /folder/* or an exact path"
    if _UNSAFE.search(entry):
        return (
            "can never be exempt (dot segment, double slash, backslash, semicolon, percent sign,"
            " query, fragment or control character); write the decoded path"
        )
    return None
