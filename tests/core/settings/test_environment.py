"""The text of an environment variable becomes the value that a framework's setting holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert.notation import Form
from arrcert.settings.environment import UnusableError, json_value, value_of

EXAMPLE = '{"key": ["..."]}'
LISTS = (Form.LIST, Form.LIST_WITH_COMMAS)
SECRET = "a-secret-of-the-front-end"


def mistake(text: str, form: Form) -> str:
    """Return what is wrong with the text of a variable."""
    with pytest.raises(UnusableError) as caught:
        value_of(text, form, EXAMPLE)
    return str(caught.value)


# --- every form ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_empty_variable_is_a_mistake(text: str, form: Form) -> None:
    """An empty variable is a mistake."""
    assert mistake(text, form) == "the environment variable is empty; set it or remove it"


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(
    "text", ["@Microsoft.KeyVault(SecretUri=x)", "  @microsoft.keyvault(VaultName=v;SecretName=s)"]
)
def test_unresolved_reference_is_a_mistake(text: str, form: Form) -> None:
    """A Key Vault reference that App Service did not resolve is a mistake in every form."""
    assert mistake(text, form).startswith(
        f"{text!r} is a Key Vault reference that App Service did not resolve"
    )


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        (" a ; b", Form.LIST, ["a", "b"]),
        ("a, b;c", Form.LIST_WITH_COMMAS, ["a, b", "c"]),
        (' ["a;b", "c,d", {"e": 1}]', Form.LIST, ["a;b", "c,d", {"e": 1}]),
        ('["a"]', Form.LIST_WITH_COMMAS, ["a"]),
        ("-----BEGIN X-----\na,b\n-----END X-----", Form.LIST, None),
        (" 300 ", Form.NUMBER, 300),
        ("007", Form.NUMBER, 7),
        ("999999999", Form.NUMBER, 999_999_999),
        (" true ", Form.TRUTH, True),
        ("False", Form.TRUTH, False),
        ("TRUE", Form.TRUTH, True),
        (" hard ", Form.TEXT, "hard"),
        ("{not json", Form.TEXT, "{not json"),
        (" app-service ", Form.TEXT_OR_JSON, "app-service"),
        (' {"header": "X-C"}', Form.TEXT_OR_JSON, {"header": "X-C"}),
        ('{"header": "X-S"}', Form.SECRET_JSON, {"header": "X-S"}),
    ],
)
def test_text_becomes_a_value(text: str, form: Form, value: Any) -> None:
    """Each form of a variable has its own value; white space around the text does not matter."""
    expected = [text] if value is None else value
    found = value_of(text, form, EXAMPLE)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("-1", Form.NUMBER),
        ("5s", Form.NUMBER),
        ("1.5", Form.NUMBER),
        ("\u0661", Form.NUMBER),
        ("9" * 10, Form.NUMBER),
        ("9" * 5000, Form.NUMBER),
        ("yes", Form.TRUTH),
        ("1", Form.TRUTH),
    ],
)
def test_other_text_is_left_to_the_setting(text: str, form: Form) -> None:
    """Text that is not a number or a truth value stays text, and the setting refuses it."""
    assert value_of(text, form, EXAMPLE) == text


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b", "'a,b' holds a comma; separate entries by ; or, if a comma is part of an entry"),
        ("a;", "holds an empty entry; remove the ; that is not needed"),
        (";a", "holds an empty entry"),
        ("a; ;b", "holds an empty entry"),
        ("[]", "the list is empty; write an entry, or remove the variable"),
        ("[1", "is not JSON"),
        ("['a']", 'it holds single quotation marks; write " instead'),
        ('{"a": 1}', "is not a list; write a JSON list: [{...}]"),
    ],
)
def test_what_is_no_list_is_told(text: str, message: str) -> None:
    """A text that is not a list is an error, which says how to write one."""
    assert message in mistake(text, Form.LIST)
    if text != "a,b":
        assert message in mistake(text, Form.LIST_WITH_COMMAS)


# --- JSON ----------------------------------------------------------------------------------------

FINE = json.dumps({"default": {"fingerprints": ["AB12"]}})


def test_json_is_read() -> None:
    """JSON gives the mapping or list that it holds."""
    assert json_value(FINE, EXAMPLE) == {"default": {"fingerprints": ["AB12"]}}
    assert json_value("[]", EXAMPLE) == []
    assert json_value("7", EXAMPLE) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", f"'null' is not a value; write {EXAMPLE}"),
        (f"'{FINE}'", "there are quotation marks around the whole value; remove them"),
        (f"`{FINE}`", "there are quotation marks around the whole value; remove them"),
        (FINE.replace('"', "'"), 'single quotation marks; write " instead'),
        (FINE.replace('"', "\u201d"), 'typographic quotation marks; write " instead'),
        (json.dumps(FINE), "is JSON encoded twice; remove the quotation marks around it"),
        (FINE.replace("]", ",]"), "there is a comma before a closing bracket; remove it"),
        (FINE.replace('"AB12"', "True"), "JSON writes true, false and null"),
        (FINE.replace('"default"', "default"), 'a key has no quotation marks; write "key": ...'),
        (FINE.replace("AB12", "-----BEGIN\nAB"), r"write \n for it or, for PEM, a file's path"),
        ("/home/site/arrcert.json", f"plain text or a file's path; write {EXAMPLE}"),
        ("policies.json", "plain text or a file's path"),
        (FINE[:-1], "is not JSON: Expecting ',' delimiter"),
        ("{" * 100_000 + '"', f"write {EXAMPLE}"),
        ('{"a":' * 100_000, f"it is nested too deeply; write {EXAMPLE}"),
        ("[" * 100_000, f"it is nested too deeply; write {EXAMPLE}"),
        ('{"default": {}, "default": {}}', "the key 'default' is written twice; remove one of the"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' is written twice"),
    ],
)
def test_hint_about_json_fits_the_mistake(text: str, message: str) -> None:
    """The message says what is wrong with the JSON and what to write instead."""
    with pytest.raises(UnusableError) as caught:
        json_value(text, EXAMPLE)
    assert message in str(caught.value)


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SECRET, "its value is not JSON"),
        (f'{{"secrets": ["{SECRET}"]', "its value is not JSON"),
        ('{"a":' * 100_000, "its value is not JSON"),
        (f'{{"secrets": 1, "secrets": ["{SECRET}"]}}', "its value gives a key twice"),
        ("null", "its value is null"),
    ],
)
def test_secret_is_not_shown(text: str, message: str) -> None:
    """The error about a secret has an example, but neither the text nor the original error."""
    with pytest.raises(UnusableError) as caught:
        value_of(text, Form.SECRET_JSON, EXAMPLE)
    assert str(caught.value) == f"{message}; write {EXAMPLE}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(max_size=60), st.sampled_from(Form))
def test_any_text_is_a_value_or_a_mistake(text: str, form: Form) -> None:
    """Any text gives a value other than None, or an error that says what to write."""
    try:
        value = value_of(text, form, EXAMPLE)
    except UnusableError as error:
        assert str(error)
    else:
        assert value is not None
        assert value not in ("", [])
