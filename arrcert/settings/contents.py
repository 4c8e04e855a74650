"""The bytes of the file of policies: the checksum in its first line, TOML, and where it may lie."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from typing import Any, NamedTuple

from arrcert.exceptions import quote
from arrcert.settings.options import FileIgnoreMode

LARGEST = 8 * 1024 * 1024
"""The largest file of policies, in bytes."""

HAS_MODES = os.name == "posix"
"""Whether the modes of files say who may write them. On Windows they do not."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIRST_LINE = re.compile(rb"# arrcert sha256=([0-9a-f]{64})\n")
_ANY_SUCH_LINE = re.compile(rb"^[ \t]*#[ \t]*arrcert\b", re.MULTILINE)


class Served(NamedTuple):
    """A folder whose files a site sends to visitors, or into which they upload.

    Attributes:
        setting: what names the folder, such as `MEDIA_ROOT`.
        folder: its path.
    """

    setting: str
    folder: str


class Content(NamedTuple):
    """The file of policies at one look.

    Attributes:
        path: the path without links.
        sha256: the digest of all bytes.
        changed: the size and the time of the last change. They tell apart equal bytes that were
            written at two moments.
        text: what the checksum covers, or all of it; without a byte order mark.
        is_sealed: whether the first line holds the checksum of the rest, so that the file is known
            to be whole.
    """

    path: str
    sha256: str
    changed: tuple[int, int]
    text: bytes
    is_sealed: bool

    @property
    def key(self) -> tuple[object, ...]:
        """What two looks compare."""
        return (self.path, self.sha256, self.changed)

    @property
    def changed_at(self) -> float:
        """When the file was changed last, in seconds since the epoch."""
        return self.changed[1] / 1e9


def read_content(path: str, *, served: Iterable[Served] = (), ignore_mode: bool = False) -> Content:
    """Read the file of policies, and check where it lies.

    Args:
        path: the path, absolute. Its links are resolved once.
        served: the folders in which it may not lie.
        ignore_mode: whether group and others may write the file and its folder.

    Raises:
        ValueError: the file cannot be read or used. The message is a sentence for the operator.

    It does not check who owns the file, nor the modes of folders further up and of folders that a
    chain of links passes through.
    """
    try:
        real = os.path.realpath(path, strict=True)
        if not stat.S_ISREG(os.stat(real).st_mode):
            raise ValueError("is not a file; write the path of a TOML file")
        with open(real, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(LARGEST + 1)
        why = _why_served(path, real, served)
        if why is None and not ignore_mode:
            why = why_writable(path, real, status.st_mode)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if len(data) > LARGEST:
        raise ValueError(f"has more than {LARGEST} bytes; write fewer policies")
    if why is not None:
        raise ValueError(why)
    text, is_sealed = unsealed(data)
    return Content(
        real,
        hashlib.sha256(data).hexdigest(),
        (status.st_size, status.st_mtime_ns),
        text,
        is_sealed,
    )


def sealed(text: bytes) -> bytes:
    """Return a file of policies with the checksum of the text in its first line."""
    return b"# arrcert sha256=%s\n%s" % (hashlib.sha256(text).hexdigest().encode(), text)


def unsealed(data: bytes) -> tuple[bytes, bool]:
    """Return the text of a file of policies, and whether a checksum shows that it is whole.

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: there is a line with a checksum that is wrong, or that is not the first one.
    """
    data = data.removeprefix(_BYTE_ORDER_MARK)
    found = _FIRST_LINE.match(data)
    if found is None:
        if _ANY_SUCH_LINE.search(data):
            raise ValueError(
                "holds a comment that begins with `# arrcert`, but its first line is not `# arrcert"
                " sha256=...` as `arrcert install-file` writes it; install the file again, or"
                " remove that line"
            )
        return data, False
    text = data[found.end() :]
    if hashlib.sha256(text).hexdigest().encode() != found[1]:
        raise ValueError(
            "does not match the checksum in its first line: it is not complete, or it was changed"
            " after `arrcert install-file` wrote it; install it again, or remove the first line"
        )
    return text, True


def parsed(text: bytes) -> dict[str, Any]:
    """Return the mapping that a TOML text holds (https://toml.io/en/v1.0.0).

    Raises:
        ValueError: it is not TOML. The message is a sentence for the operator.
    """
    try:
        return tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start}); save it in that encoding") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not TOML: {_one_line(error)}") from error


def why_writable(path: str, real: str, mode: int) -> str | None:
    """Return why others than the owner may write a file, None if they may not.

    Args:
        path: the path of the file, absolute; perhaps a link.
        real: the path without links.
        mode: the mode of the file.

    It looks at the file, at its folder and at the folder of the link: whoever may write such a
    folder may put another file there.
    """
    if not HAS_MODES:
        return None
    remedy = (
        "whoever can write it decides who enters; run `chmod go-w`, or set"
        f" {FileIgnoreMode.name} to true where the file system shows the same mode for every file"
        " (/home on App Service, a network share)"
    )
    others = stat.S_IWGRP | stat.S_IWOTH
    if mode & others:
        return f"may be written by its group or by others (mode {stat.S_IMODE(mode):04o}); {remedy}"
    for folder in dict.fromkeys([os.path.dirname(real), os.path.dirname(path)]):
        mode = os.stat(folder).st_mode
        # In a folder with the sticky bit, such as /tmp, only the owner of a file may replace it.
        if mode & others and not mode & stat.S_ISVTX:
            return (
                f"lies in the folder {quote(folder)}, which may be written by its group or by"
                f" others (mode {stat.S_IMODE(mode):04o}), so they may replace it; {remedy}"
            )
    return None


def _why_served(path: str, real: str, served: Iterable[Served]) -> str | None:
    for setting, folder in served:
        for outer in {os.path.abspath(folder), os.path.realpath(folder)}:
            if any(_is_below(inner, outer) for inner in (path, real)):
                return (
                    f"lies below {setting} ({quote(folder)}), whose files visitors can read, or"
                    " even replace; move it to a folder that the site does not serve"
                )
    return None


def _is_below(path: str, folder: str) -> bool:
    path, folder = os.path.normcase(path), os.path.normcase(folder)
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return quote(error)[1:-1]
