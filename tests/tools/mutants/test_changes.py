"""`tools/mutants/changes.py`: which changes are made."""

from __future__ import annotations

import ast

import pytest

from tools.mutants.changes import mutants_of


def changes(source: str) -> list[str]:
    """Return the changed statements of a module, each as source."""
    return [mutant.after for mutant in mutants_of(ast.parse(source), "m")]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("x = a < b", ["x = a <= b", "x = a >= b"]),
        ("x = a is None", ["x = a is not None"]),
        ("x = not a", ["x = a"]),
        ("x = a and b", ["x = a or b", "x = b", "x = a"]),
        ("x = 5", ["x = 6", "x = 4"]),
        ("x = True", ["x = False"]),
        ("x = 'word'", ["x = 'XXword'"]),
        ("x = 'it is empty'", []),
        ("x = any(a)", ["x = all(a)"]),
        ("x = a.strip()", ["x = a"]),
        ("x = re.compile('a+')", ["x = re.compile('a*')", "x = re.compile('XXa+')"]),
        ("raise a", ["pass"]),
        ("act()", ["pass"]),
        ("logger.info('word')", []),
        ("import a", []),
        ("__all__ = ['word']", []),
    ],
)
def test_changes_of_a_statement(statement: str, expected: list[str]) -> None:
    """Each kind of statement has its changes; text, imports and type names have none."""
    assert changes(statement) == expected


def test_the_reason_of_a_denial_is_changed() -> None:
    """The reason of a `Finding` or `CertificateDenied` is changed, and its detail is not."""
    for call in ("Finding", "CertificateDenied"):
        [only] = changes(f"x = {call}(DenialReason.EXPIRED, f'it ended {{at[0]}}')")
        assert "DenialReason.MISSING" in only


def test_a_reason_within_text_is_changed() -> None:
    """The reason is changed even if all arguments around it are text."""
    [only] = changes("def __str__(self):\n    return DenialReason.EXPIRED\n")
    assert only == "return DenialReason.MISSING"


def test_the_setting_of_a_problem_is_changed() -> None:
    """The setting of a `Problem` is changed, and its message is not."""
    assert changes("x = Problem('crls', 'empty')") == ["x = Problem('XXcrls', 'empty')"]


def test_a_return_at_the_end_stays() -> None:
    """A bare `return` is dropped only if the function has statements after it."""
    assert changes("def f():\n    return\n") == []
    assert changes("def f():\n    if a:\n        return\n    b()\n")[1:] == ["pass", "pass"]


def test_a_mutant_is_applied() -> None:
    """`apply` changes one place in the tree in which the mutant was found."""
    tree = ast.parse("x = a < b\ny = 1")
    mutants_of(tree, "m")[1].apply()
    assert ast.unparse(tree) == "x = a >= b\ny = 1"


def test_the_key_names_the_place() -> None:
    """The key of a mutant has its module, function and change, and no line number."""
    tree = ast.parse("\n\ndef f():\n    return a < b")
    [_, mutant, _] = mutants_of(tree, "trust/pem")
    assert mutant.key == "trust.pem.f: return a < b -> return a <= b"
    assert mutant.line == 4
