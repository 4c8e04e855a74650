"""Find the parts of a module that only make text for people.

No test has to repeat the wording of an error or of a log record, so these parts are not mutated.
They are found by their form and by where their result goes, never by the name of a variable:

- Messages: a string with two spaces in it, an f-string with a space in it, and what is put together
  from them.
- Arguments of `quote()`, `repr()`, a log method or an exception, and the `detail` or `message` of a
  `CertificateDenied`, a `Finding` or a `Problem`.
- Variables, constants, parameters and private functions whose every use lies in such a part.
- Functions that return `str`, whose every result is a message, and that do nothing else.
- `__repr__` and `__str__`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeAlias

LOG_METHODS = {"critical", "debug", "error", "exception", "info", "log", "warn", "warning"}
QUOTING = {"quote", "repr"}
"""Functions whose arguments are messages for people. The body of `quote` itself is mutated, because
it keeps logs safe."""
SECOND_IS_TEXT = {"CertificateDenied", "Finding", "Problem"}
"""Calls whose first argument (the reason or the setting) affects decisions, and whose second
argument is a message."""
TEXT_KEYWORDS = {"detail", "message"}
HOLDS_PROBLEMS = {"ConfigurationError"}
"""Exceptions whose argument is a list of problems, not a text."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Scope: TypeAlias = Function | ast.Module


def called(node: ast.AST) -> str:
    """Return the last part of the name that a call names; empty for any other node."""
    if not isinstance(node, ast.Call):
        return ""
    return str(getattr(node.func, "id", None) or getattr(node.func, "attr", ""))


def is_log_call(node: ast.AST) -> bool:
    """Tell whether a node is a call of a logger's method."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LOG_METHODS
    )


def text_nodes(tree: ast.Module) -> set[ast.AST]:
    """Return every statement and expression of a module that only makes text for people.

    Args:
        tree: the parsed module. The result holds nodes of this very tree.
    """
    return _Search(tree).run()


class _Search:
    """Marks text by its form, then everything that is used only for text.

    It repeats this until nothing new is found.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.functions: dict[str, list[Function]] = defaultdict(list)
        for node in ast.walk(tree):
            if isinstance(node, Function):
                self.functions[node.name].append(node)
        self.scopes: list[Scope] = [tree, *(f for named in self.functions.values() for f in named)]
        self.uses = {scope: _uses(scope) for scope in self.scopes}
        self.text: set[ast.AST] = set()
        self.names: set[tuple[Scope, str]] = set()
        self.text_functions = {"__repr__", "__str__"}

    def run(self) -> set[ast.AST]:
        size = -1
        while size != len(self.text) + len(self.names) + len(self.text_functions):
            size = len(self.text) + len(self.names) + len(self.text_functions)
            self.mark(self.tree, self.tree)
            self.names |= set(self.names_used_in_text())
            self.text_functions |= set(self.functions_used_in_text())
        return self.text

    def mark(self, node: ast.AST, scope: Scope) -> None:
        """Add what is text below a node."""
        if self.is_text(node, scope):
            self.text |= set(ast.walk(node))
            return
        arguments = self.text_arguments(node) if isinstance(node, ast.Call) else []
        for argument in arguments:
            self.text |= set(ast.walk(argument))
        inner = node if isinstance(node, Function) else scope
        for child in ast.iter_child_nodes(node):
            if child not in arguments:
                self.mark(child, inner)

    def is_text(self, node: ast.AST, scope: Scope) -> bool:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return node.name in self.text_functions or self.returns_messages(node)
            case ast.Assign(targets=targets):
                return self.are_text(targets, scope)
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
                return self.are_text([target], scope)
            case ast.If():
                return all(self.is_text(child, scope) for child in (*node.body, *node.orelse))
            case ast.expr():
                return self.is_message(node)
        return False

    def are_text(self, targets: Iterable[ast.expr], scope: Scope) -> bool:
        return all(
            isinstance(target, ast.Name) and (scope, target.id) in self.names for target in targets
        )

    def is_message(self, node: ast.expr | None) -> bool:
        """Tell whether an expression is a message by its form."""
        match node:
            case ast.Constant(value=str() as value):
                return value.count(" ") >= 2
            case ast.JoinedStr(values=parts):
                literals = [str(part.value) for part in parts if isinstance(part, ast.Constant)]
                return any(" " in literal for literal in literals)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.is_message(left) or self.is_message(right)
            case ast.IfExp(body=body, orelse=orelse):
                branches = (body, orelse)
                return any(map(self.is_message, branches)) and all(
                    self.is_message(branch) or _is_string(branch) for branch in branches
                )
            case ast.BoolOp(op=ast.Or(), values=values):
                return self.is_message(values[-1])
            case ast.Call(func=ast.Attribute(value=ast.Constant() as text, attr="join" | "format")):
                return self.is_message(text)
            case ast.Call():
                return called(node) in QUOTING or called(node) in self.text_functions
            case ast.Name(id=name):
                return (self.tree, name) in self.names
        return False

    def returns_messages(self, function: Function) -> bool:
        """Tell whether a function returns messages and does nothing else."""
        returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        return (
            function.name not in QUOTING
            and getattr(function.returns, "id", "") == "str"
            and bool(returns)
            and all(self.is_message(node.value) for node in returns)
            and not any(map(_has_effect, ast.walk(function)))
        )

    def text_arguments(self, call: ast.Call) -> list[ast.AST]:
        """Return the arguments of a call that are for people."""
        name = called(call)
        everything: list[ast.AST] = [*call.args, *call.keywords]
        if name in SECOND_IS_TEXT:
            return [*call.args[1:], *(k for k in call.keywords if k.arg in TEXT_KEYWORDS)]
        if name in QUOTING or is_log_call(call):
            return everything
        if name.endswith(("Error", "Exception", "Warning")) and name not in HOLDS_PROBLEMS:
            return everything
        if name in self.functions:
            return [
                argument
                for argument in everything
                if all(self.goes_to_text(argument, call, f) for f in self.functions[name])
            ]
        return []

    def goes_to_text(self, argument: ast.AST, call: ast.Call, function: Function) -> bool:
        """Tell whether the parameter that takes an argument is used only for text."""
        if isinstance(argument, ast.keyword):
            return (function, argument.arg or "") in self.names
        names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
        if isinstance(call.func, ast.Attribute) and names[:1] in (["self"], ["cls"]):
            del names[0]
        at = call.args.index(argument)
        return at < len(names) and (function, names[at]) in self.names

    def names_used_in_text(self) -> Iterator[tuple[Scope, str]]:
        for scope in self.scopes:
            for name in _assigned(scope):
                uses = self.uses[scope].get(name, [])
                if uses and all(use in self.text for use in uses):
                    yield scope, name

    def functions_used_in_text(self) -> Iterator[str]:
        uses: dict[str, list[ast.AST]] = defaultdict(list)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                uses[node.id].append(node)
            elif isinstance(node, ast.Attribute):
                uses[node.attr].append(node)
        for name in self.functions:
            # Other modules may use a public function to decide.
            is_private = name.startswith("_") and not name.endswith("__")
            if is_private and uses[name] and all(use in self.text for use in uses[name]):
                yield name


def _uses(scope: Scope) -> dict[str, list[ast.AST]]:
    uses: dict[str, list[ast.AST]] = defaultdict(list)
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            uses[node.id].append(node)
    return uses


def _assigned(scope: Scope) -> set[str]:
    """Return the parameters and variables of a scope; of a module, its private names alone.

    Other modules may import a module's public constant to decide.
    """
    if isinstance(scope, ast.Module):
        names = {name for statement in scope.body for name in _targets(statement)}
        return {name for name in names if name.startswith("_")}
    parameters = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
    return {parameter.arg for parameter in parameters} | {
        name for statement in ast.walk(scope) for name in _targets(statement)
    }


def _targets(statement: ast.AST) -> Iterator[str]:
    match statement:
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def _has_effect(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=value):
            # A constant is the docstring.
            return not isinstance(value, ast.Constant)
        case ast.Attribute(ctx=context) | ast.Subscript(ctx=context):
            return not isinstance(context, ast.Load)
    return isinstance(node, ast.Raise | ast.Global | ast.Nonlocal | ast.Yield | ast.YieldFrom)


def _is_string(node: ast.expr) -> bool:
    is_constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_constant or isinstance(node, ast.JoinedStr)
