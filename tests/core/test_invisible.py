"""Characters that nobody sees are found and escaped."""

from __future__ import annotations

import ast
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert.exceptions import quote
from arrcert.identity import why_no_name
from arrcert.invisible import invisible_character, is_visible, visible

INVISIBLE = [
    character for character in map(chr, range(sys.maxunicode + 1)) if invisible_character(character)
]
IGNORABLE = 4174
"""The total of Default_Ignorable_Code_Point that DerivedCoreProperties.txt gives."""

BLANK = 6


def test_table_is_whole() -> None:
    """The table has as many code points as Unicode's file says, and the six blank characters."""
    assert len(INVISIBLE) == IGNORABLE + BLANK


@pytest.mark.parametrize(
    "character",
    [
        *("\ufe0f", "\u034f", "\u180b", "\u17b4", "\U000e0100", "\u115f", "\u1160", "\u2800"),
        *("\u1680", "\u3164", "\uffa0", "\u180f", "\U00016fe4", "\U0001d159", "\ufe00"),
    ],
)
def test_known_characters(character: str) -> None:
    """Variation selectors, fillers, joiners and blanks count as invisible."""
    assert invisible_character(f"al{character}ice") == character
    assert not is_visible(f"al{character}ice")


@pytest.mark.parametrize(
    "text", ["", "alice", "Zo\u00eb", "a b", "山田", "\u0e01\u0e38", "क्ष", "\U0001f600"]
)
def test_visible_text_is_unchanged(text: str) -> None:
    """Letters, marks, spaces and emoji are visible."""
    assert invisible_character(text) is None
    assert is_visible(text)
    assert visible(text) == text


def test_control_characters_are_not_visible() -> None:
    """A text with a control character is not visible."""
    assert not is_visible("a\nb")


def test_no_visible_letter_is_in_the_table() -> None:
    """Of letters and digits, only fillers are invisible."""
    letters = {c for c in INVISIBLE if unicodedata.category(c)[0] in "LN"}
    assert letters <= set("\u115f\u1160\u3164\uffa0\U00013441\U00013442")


@given(st.text(max_size=20), st.sampled_from(INVISIBLE), st.text(max_size=20))
def test_name_that_reads_as_another_is_refused_and_shown(
    before: str, invisible: str, after: str
) -> None:
    """No name with an invisible character is an identity, and a log shows each such character."""
    text = before + invisible + after
    assert why_no_name(text) is not None
    quoted = quote(text)
    assert is_visible(quoted)
    assert ast.literal_eval(quoted) == text


@given(st.text())
def test_two_texts_are_never_quoted_alike(text: str) -> None:
    """What `quote` shows holds no invisible character, and means the original text."""
    quoted = quote(text)
    assert is_visible(quoted)
    if len(text) <= 200:
        assert ast.literal_eval(quoted) == text


def test_long_text_is_escaped_too() -> None:
    """A text that is cut is escaped as well."""
    assert quote("\ufe0f" + "x" * 300).startswith(r"'\ufe0fxx")
