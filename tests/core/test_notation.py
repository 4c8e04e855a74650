"""A message uses the words of the configuration's notation."""

from __future__ import annotations

from arrcert.notation import Form, Notation
from arrcert.rules import KEYS
from arrcert.settings.options import OPTIONS


def test_truth_values_have_the_words_of_their_notation() -> None:
    """The truth values begin with a capital letter in Python, and not in JSON."""
    assert Notation.PYTHON.true_or_false == "True or False"
    assert Notation.JSON.true_or_false == "true or false"


def test_no_value_has_the_word_of_its_notation() -> None:
    """Python writes None, JSON writes null, and in TOML a key without a value is left out."""
    assert Notation.PYTHON.none == "None"
    assert Notation.JSON.none == "null"
    assert Notation.TOML.none == "nothing"


def test_every_form_is_used() -> None:
    """Each form is the form of a policy key or of a setting."""
    assert {*(key.form for key in KEYS.values()), *(o.form for o in OPTIONS.values())} == set(Form)
