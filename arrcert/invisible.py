"""Characters that nobody sees, although `str.isprintable` is true for some of them."""

from __future__ import annotations

import re

_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The property Default_Ignorable_Code_Point, in the file DerivedCoreProperties.txt of the Unicode
Character Database (versions 14 to 17, UAX #44): what software does not display if it does not know
the character. Variation selectors belong to it."""

_BLANK = "\u1680\u2800\U00013441-\U00013442\U00016fe4\U0001d159"
"""Characters without ink that are not in that property: the Ogham space mark, the blank pattern of
Braille, two blanks of Egyptian hieroglyphs, the Khitan filler, the musical null notehead. The
source is their names in the file UnicodeData.txt."""

_INVISIBLE = re.compile(f"[{_IGNORABLE}{_BLANK}]")


def invisible_character(text: str) -> str | None:
    """Return the first character of a text that nobody sees, None if there is none.

    Args:
        text: the text. A space is visible. Control characters are not judged: use
            `str.isprintable` for them.

    Sources: the files DerivedCoreProperties.txt and UnicodeData.txt of Unicode. It does not find a
    visible character that a font does not have.
    """
    if text.isascii():
        return None
    found = _INVISIBLE.search(text)
    return None if found is None else found[0]


def is_visible(text: str) -> bool:
    """Return whether a text holds no control character and no character that nobody sees."""
    return text.isprintable() and invisible_character(text) is None


def visible(text: str) -> str:
    """Return a text in which each character that nobody sees is escaped as in a Python string.

    Args:
        text: the result of `repr`. Its control characters are escaped already.
    """
    return text if text.isascii() else _INVISIBLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
