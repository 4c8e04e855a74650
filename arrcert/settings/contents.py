"""Reads the file of policies: its location, the checksum in its first line, and its TOML."""

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
"""Whether the mode of a file says who may write it. On Windows it does not."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIRST_LINE = re.compile(rb"# arrcert sha256=([0-9a-f]{64})\n")
_ANY_SUCH_LINE = re.compile(rb"^[ \t]*#[ \t]*arrcert\b", re.MULTILINE)


class Served(NamedTuple):
    """A folder whose files visitors can read, or in which they can write files.

    Attributes:
        setting: the setting that names the folder, such as `MEDIA_ROOT`.
        folder: its path.
    """

    setting: str
    folder: str


class Content(NamedTuple):
    """The content of the file of policies at one time.

    Attributes:
        path: the path with all links resolved.
        sha256: the SHA-256 of `text`. If the first line has a checksum, they are equal.
        changed: the size, and the time of the last change. They show that the file was written
            again, even with the same bytes.
        text: the bytes that the checksum covers, or all bytes; without a byte order mark.
        is_sealed: whether the first line has the checksum of the rest, which shows that the file is
            complete.
    """

    path: str
    sha256: str
    changed: tuple[int, int]
    text: bytes
    is_sealed: bool

    @property
    def key(self) -> tuple[object, ...]:
        """The values that must be equal at two looks."""
        return (self.path, self.sha256, self.changed)

    @property
    def changed_at(self) -> float:
        """When the file was changed last, in seconds since the epoch."""
        return self.changed[1] / 1e9


def read_content(path: str, *, served: Iterable[Served] = (), ignore_mode: bool = False) -> Content:
    """Read the file of policies, and check where it lies.

    Args:
        path: the absolute path. Links in it are resolved once.
        served: the folders in which the file must not be.
        ignore_mode: whether to accept a file that the group or others may write.

    Raises:
        ValueError: the file cannot be read or used. The message is a sentence for the operator.

    It does not check the owner of the file, the modes of folders above its folder, or those of
    folders that a chain of links passes through.
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
        hashlib.sha256(text).hexdigest(),
        (status.st_size, status.st_mtime_ns),
        text,
        is_sealed,
    )


def sealed(text: bytes) -> bytes:
    """Return a file of policies with the checksum of the text in its first line."""
    return b"# arrcert sha256=%s\n%s" % (hashlib.sha256(text).hexdigest().encode(), text)


def unsealed(data: bytes) -> tuple[bytes, bool]:
    """Return the text of a file of policies, and whether a checksum shows that it is complete.

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: the checksum is wrong, or the line with the checksum is not the first one.
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
    """Return why others may write a file, None if only the owner may write it.

    Args:
        path: the absolute path of the file. It may be a link.
        real: the path with all links resolved.
        mode: the mode of the file.

    It checks the file, its folder and the folder of the link. Anybody who may write a folder can
    replace the file in it.
    """
    if not HAS_MODES:
        return None
    remedy = (
        "anybody who can write it decides who may enter; run `chmod go-w`, or set"
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
                f"is in the folder {quote(folder)}, which may be written by its group or by"
                f" others (mode {stat.S_IMODE(mode):04o}), so they may replace it; {remedy}"
            )
    return None


def _why_served(path: str, real: str, served: Iterable[Served]) -> str | None:
    for setting, folder in served:
        for outer in {os.path.abspath(folder), os.path.realpath(folder)}:
            if any(_is_below(inner, outer) for inner in (path, real)):
                return (
                    f"is below {setting} ({quote(folder)}), whose files visitors can read or even"
                    " replace; move it to a folder that the site does not serve"
                )
    return None


def _is_below(path: str, folder: str) -> bool:
    path, folder = os.path.normcase(path), os.path.normcase(folder)
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return quote(error)[1:-1]
