"""Converts the text of environment variables to the values that a framework's settings have."""

from __future__ import annotations

import re
from typing import Any

from arrcert.exceptions import quote
from arrcert.key_vault import UNRESOLVED_REFERENCE, is_unresolved_reference
from arrcert.notation import Form


class UnusableError(ValueError):
    """The text of an environment variable cannot be used.

    The message says what to write instead.
    """


def value_of(text: str, form: Form, example: str) -> Any:
    """Return the value of the text of an environment variable.

    Args:
        text: the text.
        form: how the variable is written.
        example: an example of the value, for errors.

    Returns:
        The value in the form that a framework's setting has. If the variable needs a number or a
        truth value and the text is another one, the text is returned unchanged; the validation of
        the setting refuses it.

    Raises:
        UnusableError: the text is not valid. The message says why, and what to write instead.
    """
    if not text.strip():
        raise UnusableError("the environment variable is empty; set it or remove it")
    if is_unresolved_reference(text):
        raise UnusableError(f"{quote(text)} {UNRESOLVED_REFERENCE}")
    text = text.strip()
    match form:
        case Form.LIST:
            return _list(text, example, may_hold_commas=False)
        case Form.LIST_WITH_COMMAS:
            return _list(text, example, may_hold_commas=True)
        case Form.NUMBER:
            return int(text) if re.fullmatch("[0-9]{1,9}", text) else text
        case Form.TRUTH:
            return {"true": True, "false": False}.get(text.lower(), text)
        case Form.TEXT_OR_JSON:
            return json_value(text, example) if text.startswith("{") else text
        case Form.SECRET_JSON:
            return _secret_json_value(text, example)
        case _:
            return text


def json_value(text: str, example: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the JSON.
        example: an example of the value, for errors.

    Raises:
        UnusableError: the text is not JSON, gives a key twice, or holds null or JSON in a string.
    """
    try:
        value = _parse_json(text)
    except _RepetitionError as error:
        raise UnusableError(f"{quote(text)}: {error}; remove one of the two keys") from error
    except (ValueError, RecursionError) as error:
        why = _why_not_json(text, error, example)
        raise UnusableError(f"{quote(text)} is not JSON: {why}") from error
    if isinstance(value, str):
        raise UnusableError(
            f"{quote(text)} is JSON encoded twice; remove the quotation marks around it and"
            " the backslashes in it"
        )
    if value is None:
        raise UnusableError(f"'null' is not a value; write {example}")
    return value


def _list(text: str, example: str, *, may_hold_commas: bool) -> Any:
    """Split text at semicolons, or read a JSON list."""
    if text.startswith("["):
        entries = json_value(text, example)
        if not entries:
            raise UnusableError("the list is empty; write an entry, or remove the variable")
        return entries
    if text.startswith("{"):
        raise UnusableError(f"{quote(text)} is not a list; write a JSON list: [{{...}}]")
    if "," in text and not may_hold_commas and "-----BEGIN" not in text:
        raise UnusableError(
            f"{quote(text)} holds a comma; separate entries by ; or, if a comma is part of an"
            ' entry, write a JSON list: ["...", "..."]'
        )
    entries = [entry.strip() for entry in text.split(";")]
    if "" in entries:
        raise UnusableError(f"{quote(text)} holds an empty entry; remove the ; that is not needed")
    return entries


def _secret_json_value(text: str, example: str) -> Any:
    """Return the value of a JSON text, without showing the text in an error."""
    try:
        value = _parse_json(text)
    except _RepetitionError:
        raise UnusableError(f"its value gives a key twice; write {example}") from None
    except (ValueError, RecursionError):
        # The original error contains the text, so it is not chained.
        raise UnusableError(f"its value is not JSON; write {example}") from None
    if value is None:
        # Without this check the setting would count as not set, and no secret would be required.
        raise UnusableError(f"its value is null; write {example}")
    return value


class _RepetitionError(ValueError):
    """JSON gives a key twice."""


def _parse_json(text: str) -> Any:
    # Imported here, because a framework's settings do not need it.
    import json

    return json.loads(text, object_pairs_hook=_without_repetition)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RepetitionError(f"the key {quote(twice)} is written twice")
    return mapping


_NOT_JSON = (
    ("[\u2018-\u201f\xab\xbb]", 'it holds typographic quotation marks; write " instead'),
    (r"""\A(['`]).*\1\Z""", "there are quotation marks around the whole value; remove them"),
    (r"\A[^{\[\"]*\Z", "it looks like plain text or a file's path; write {example}"),
    (r"[{\[,:]\s*'", 'it holds single quotation marks; write " instead'),
    (r",\s*[}\]]", "there is a comma before a closing bracket; remove it"),
    (r"[:\[,]\s*(?:True|False|None)\b", "JSON writes true, false and null"),
    (r"[{,]\s*\w+\s*:", 'a key has no quotation marks; write "key": ...'),
)
"""Patterns of common mistakes in JSON, each with a hint."""


def _why_not_json(text: str, error: Exception, example: str) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested too deeply; write {example}"
    if "control character" in str(error):
        return "a text in it holds a line break; write \\n for it or, for PEM, a file's path"
    for pattern, hint in _NOT_JSON:
        if re.search(pattern, text, re.DOTALL):
            return hint.format(example=example)
    return f"{error}; write {example}"
