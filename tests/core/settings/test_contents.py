"""The bytes of the file of policies: its checksum, its text, and its place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert.settings import contents
from arrcert.settings.contents import Served, parsed, read_content, sealed, unsealed

TEXT = b'[[default]]\nfingerprints = ["' + b"A" * 64 + b'"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of policies without a checksum."""
    path = tmp_path / "partners.toml"
    path.write_bytes(TEXT)
    return path


def why(path: Path, *served: Served, ignore_mode: bool = False) -> str:
    """Return why a file is refused."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_content(str(path), served=served, ignore_mode=ignore_mode)
    return str(caught.value)


# --- the checksum --------------------------------------------------------------------------------


def test_first_line_holds_the_checksum_of_the_rest() -> None:
    """A sealed file begins with the SHA-256 of everything below its first line."""
    first, rest = sealed(TEXT).split(b"\n", 1)
    assert first == b"# arrcert sha256=" + hashlib.sha256(TEXT).hexdigest().encode()
    assert rest == TEXT
    assert unsealed(sealed(TEXT)) == (TEXT, True)


def test_file_without_a_checksum_is_not_sealed() -> None:
    """A file without the checksum line is read unchanged, and counts as not sealed."""
    assert unsealed(TEXT) == (TEXT, False)
    assert unsealed(b"# arrcerts\n" + TEXT)[1] is False


def test_byte_order_mark_is_ignored() -> None:
    """Some editors write a byte order mark before the first line."""
    assert unsealed(b"\xef\xbb\xbf" + sealed(TEXT)) == (TEXT, True)
    assert unsealed(b"\xef\xbb\xbf" + TEXT) == (TEXT, False)


@given(st.integers(min_value=0, max_value=len(sealed(TEXT)) - 1))
def test_no_part_of_a_sealed_file_is_whole(length: int) -> None:
    """A sealed file that is cut is refused, or is not sealed and holds no policy."""
    part = sealed(TEXT)[:length]
    try:
        text, is_sealed = unsealed(part)
    except ValueError:
        return
    assert not is_sealed
    assert parsed(text) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"AAAA", b"AAAB", 1),
    ],
)
def test_changed_file_does_not_match(change) -> None:
    """A change of any byte below the first line is refused, and the error says what to do."""
    with pytest.raises(ValueError, match="install"):
        unsealed(change(sealed(TEXT)))


@pytest.mark.parametrize(
    "line",
    [
        b"# arrcert sha256=abc\n",
        b"#arrcert sha256=" + b"0" * 64 + b"\n",
        b"# arrcert sha256=" + b"A" * 64 + b"\n",
        b"# mine\n  # arrcert sha256=" + b"0" * 64 + b"\n",
    ],
)
def test_line_that_is_nearly_a_checksum_is_refused(line: bytes) -> None:
    """A checksum in another form, or on another line than the first, is refused."""
    with pytest.raises(ValueError, match="but its first line is not"):
        unsealed(line + TEXT)


# --- the text ------------------------------------------------------------------------------------


def test_text_is_toml() -> None:
    """The text is read as TOML."""
    assert parsed(b"[[default]]\nclock_skew = 5\n") == {"default": [{"clock_skew": 5}]}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"[[default]\n", "is not TOML: .*line 1"),
        (b"# caf\xe9\n", r"is not UTF-8 \(byte 5\)"),
        (b"a = " + b"[" * 100_000, "is not TOML: "),
        (b"a = 1\na = 2\n", "is not TOML: "),
    ],
)
def test_text_that_is_no_toml(text: bytes, what: str) -> None:
    """Text that is not TOML is refused with its place, in one line."""
    with pytest.raises(ValueError, match=what) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)


# --- the file ------------------------------------------------------------------------------------


def test_content_of_a_file(file: Path) -> None:
    """Reading the file gives its path without links, the digest of the text, and the text."""
    link = file.with_name("link.toml")
    link.symlink_to(file)
    content = read_content(str(link))
    assert content.path == str(file.resolve())
    assert content.sha256 == hashlib.sha256(TEXT).hexdigest()
    assert (content.text, content.is_sealed) == (TEXT, False)
    file.write_bytes(sealed(TEXT))
    assert read_content(str(file)).sha256 == content.sha256


def test_equal_bytes_at_another_time_are_another_content(file: Path) -> None:
    """Equal bytes with another modification time are a change."""
    before = read_content(str(file))
    os.utime(file, ns=(0, 0))
    after = read_content(str(file))
    assert after != before
    assert after.sha256 == before.sha256


def test_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a folder and a file that is too large are refused."""
    assert "cannot be read (No such file" in why(tmp_path / "absent.toml")
    assert "is not a file" in why(tmp_path)
    monkeypatch.setattr(contents, "LARGEST", 3)
    large = tmp_path / "large.toml"
    large.write_bytes(b"a=12")
    assert "more than 3 bytes" in why(large)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    """A file that others may write is refused."""
    file.chmod(mode)
    said = why(file)
    assert f"(mode {mode:04o})" in said
    assert "ARRCERT_FILE_IGNORE_MODE" in said
    assert read_content(str(file), ignore_mode=True).text == TEXT


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_folder_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    """A file in a folder that others may write is refused, because they can replace it."""
    file.parent.chmod(mode)
    assert f"is in the folder '{file.parent}'" in why(file)
    file.parent.chmod(0o1777)
    assert read_content(str(file)).text == TEXT


def test_folder_of_a_link_that_others_may_write_is_refused(file: Path) -> None:
    """A link in a folder that others may write is refused, because they can change its target."""
    links = file.parent / "links"
    links.mkdir()
    links.chmod(0o777)
    (links / "partners.toml").symlink_to(file)
    assert f"is in the folder '{links}'" in why(links / "partners.toml")


def test_modes_say_nothing_on_windows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the modes of a file are not checked."""
    file.chmod(0o666)
    monkeypatch.setattr(contents, "HAS_MODES", False)
    assert read_content(str(file)).text == TEXT


def test_file_in_a_served_folder_is_refused(file: Path) -> None:
    """A file below a folder that the site serves is refused, for every notation of the path."""
    folder = file.parent
    assert "is below MEDIA_ROOT" in why(file, Served("MEDIA_ROOT", str(folder)))
    assert "is below MEDIA_ROOT" in why(file, Served("MEDIA_ROOT", f"{folder}/"))
    link = folder / "media"
    link.symlink_to(folder)
    assert "is below MEDIA_ROOT" in why(file, Served("MEDIA_ROOT", str(link)))
    assert "is below MEDIA_ROOT" in why(link / file.name, Served("MEDIA_ROOT", str(link)))


def test_link_in_a_served_folder_is_refused(file: Path) -> None:
    """A link that visitors may replace is refused, for any target."""
    media = file.parent / "media"
    media.mkdir()
    (media / "partners.toml").symlink_to(file)
    assert "is below MEDIA_ROOT" in why(media / "partners.toml", Served("MEDIA_ROOT", str(media)))
    assert read_content(str(file), served=[Served("MEDIA_ROOT", str(media))]).text == TEXT


def test_largest_file_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may have as many bytes as the limit says."""
    monkeypatch.setattr(contents, "LARGEST", len(TEXT))
    assert read_content(str(file)).text == TEXT


def test_time_of_the_change(file: Path) -> None:
    """The time of the last change is the file's, in seconds."""
    os.utime(file, (1_700_000_000, 1_700_000_001))
    assert read_content(str(file)).changed_at == 1_700_000_001


def test_modes_are_checked_by_default(file: Path) -> None:
    """A file that others may write is refused if the caller says nothing about modes."""
    file.chmod(0o666)
    with pytest.raises(ValueError, match="mode 0666"):
        read_content(str(file))


def test_everything_is_below_the_root(file: Path) -> None:
    """A site that serves the root folder serves every file."""
    assert "MEDIA_ROOT ('/')" in why(file, Served("MEDIA_ROOT", "/"))
