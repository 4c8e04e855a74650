"""`tools/mutants/text.py`: which strings are text for people, which mutants leave unchanged."""

from __future__ import annotations

import ast

import pytest

from tools.mutants.text import text_nodes


def text_of(source: str) -> list[str]:
    """Return the outermost pieces of a module that are text, as source."""
    tree = ast.parse(source)
    text = text_nodes(tree)
    found: list[str] = []

    def walk(node: ast.AST) -> None:
        if node in text and isinstance(node, ast.expr | ast.stmt):
            found.append(ast.unparse(node))
        else:
            for child in ast.iter_child_nodes(node):
                walk(child)

    walk(tree)
    return found


@pytest.mark.parametrize(
    ("expression", "is_text"),
    [
        ("'it is empty'", True),
        ("'X-ARR-ClientCert'", False),
        ("f'{name} is empty'", True),
        ("f'{scheme}://{host}'", False),
        ("'it is ' + name + ', which is wrong'", True),
        ("'it is empty' if empty else 'it'", True),
        ("'it is empty' if empty else other", False),
        ("hint or 'it holds no certificate'", True),
        ("hint and 'it holds no certificate'", False),
        ("quote(name)", True),
        ("check(name)", False),
    ],
)
def test_messages_are_known_by_their_form(expression: str, is_text: bool) -> None:
    """A sentence and its parts are text, and a single word is not."""
    is_found = text_of(f"def f():\n    return {expression}\n") == [expression]
    assert is_found is is_text


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("Problem(setting, word)", ["word"]),
        ("Finding(DenialReason.EXPIRED, word)", ["word"]),
        ("CertificateDenied(reason, detail=word, certificate=one)", ["word"]),
        ("ValueError(word)", ["word"]),
        ("_OurError(word)", ["word"]),
        ("ConfigurationError([Problem(setting, word)])", ["word"]),
        ("logger.warning(word, other)", ["word", "other"]),
        ("check(word)", []),
    ],
)
def test_arguments_for_people(call: str, text: list[str]) -> None:
    """Arguments of exceptions and logs are text, except the first one of a problem or finding."""
    assert text_of(f"def f(word, other, setting, reason, one):\n    x = {call}\n") == text


def test_a_variable_is_judged_by_its_uses() -> None:
    """A variable is text if each of its uses is text."""
    text = "def f():\n    x = ', '.join(known)\n    raise ValueError(x)\n"
    assert text_of(text)[0] == "x = ', '.join(known)"
    both = "def f():\n    hint = ', '.join(known)\n    if hint:\n        raise ValueError(hint)\n"
    assert text_of(both) == ["hint"]


def test_a_choice_between_texts_is_text() -> None:
    """An `if` that only chooses between texts is text."""
    lines = "    if y:\n        x = 'a'\n    else:\n        x = 'b'\n    raise ValueError(x)\n"
    assert text_of(f"def f(y):\n{lines}")[0].startswith("if y:")
    other = lines.replace("x = 'b'", "act()")
    assert not any(found.startswith("if") for found in text_of(f"def f(y):\n{other}"))


def test_a_private_function_is_judged_by_its_uses() -> None:
    """A private function is text if each of its uses is text, and a public one is not."""
    source = "def {0}(x):\n    return x[0]\ndef f(x):\n    raise ValueError({0}(x))\n"
    assert text_of(source.format("_name"))[0].startswith("def _name")
    assert text_of(source.format("name")) == ["name(x)"]


def test_a_function_that_returns_messages_is_text() -> None:
    """A function is text if it only returns messages, as `str`."""
    pure = "def f(x) -> str:\n    return f'it is {x}'\n"
    assert len(text_of(pure)) == 1
    assert text_of(pure)[0].startswith("def f")
    optional = pure.replace("-> str", "-> str | None")
    assert not text_of(optional)[0].startswith("def")
    acts = "def f(x) -> str:\n    x.act()\n    return f'it is {x}'\n"
    assert text_of(acts) == ["f'it is {x}'"]


def test_a_parameter_is_judged_by_its_uses() -> None:
    """An argument is text if the parameter is only printed."""
    source = (
        "def complain(setting, message):\n"
        "    problems.append(Problem(setting, message))\n"
        "def f(self):\n"
        "    complain(a, b)\n"
    )
    assert text_of(source) == ["message", "b"]


def test_what_quote_does_is_no_text() -> None:
    """`quote()` is no text, because it keeps logs safe."""
    assert not text_of("def quote(x) -> str:\n    return repr(x)\n")[0].startswith("def")
