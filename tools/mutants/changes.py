"""The mutants of a module: one small change each, found in its syntax tree.

Strings that decide are mutated. Text for people is not (see `text.py`), but the `DenialReason`
that stands in it is.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from typing import NamedTuple

from tools.mutants.text import called, is_log_call, text_nodes

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
}
_OTHER_NAMES = {"any": "all", "all": "any", "min": "max", "max": "min"}
_OTHER_METHODS = {
    "endswith": "startswith",
    "fullmatch": "match",
    "match": "search",
    "partition": "rpartition",
    "removeprefix": "removesuffix",
    "removesuffix": "removeprefix",
    "rpartition": "partition",
    "startswith": "endswith",
}
_DROPPED_METHODS = {
    "astimezone",
    "casefold",
    "lower",
    "lstrip",
    "removeprefix",
    "removesuffix",
    "replace",
    "rstrip",
    "strip",
    "translate",
    "upper",
}
_REASONS = ("MISSING", "MALFORMED", "UNTRUSTED")


class Mutant(NamedTuple):
    """One change.

    Attributes:
        module: its path below `arrcert`, without `.py`: `trust/pem`.
        function: its qualified name; empty at the module's own level.
        line: where the change begins.
        last_line: where it ends. A test that runs through one of these lines can see it.
        before: the source that is replaced, with a little of its surroundings.
        after: the source that replaces it.
        place: the node, its field, and the index where the field is a list.
        node: what is put there.
        runs_at_import: whether it takes effect when the module is imported.
    """

    module: str
    function: str
    line: int
    last_line: int
    before: str
    after: str
    place: tuple[ast.AST, str, int | None]
    node: ast.AST
    runs_at_import: bool

    @property
    def place_name(self) -> str:
        """The module and the function: `trust.pem._parse_der`."""
        module = self.module.replace("/", ".")
        return f"{module}.{self.function}" if self.function else module

    @property
    def key(self) -> str:
        """Its name in the table of survivors. It does not change when lines are added above."""
        return f"{self.place_name}: {self.before} -> {self.after}"

    def apply(self) -> None:
        """Change the tree that it was found in."""
        _put(self.place, self.node)


def mutants_of(tree: ast.Module, module: str) -> list[Mutant]:
    """Return every mutant of a module, in order.

    Args:
        tree: the parsed module; it is changed by `Mutant.apply`.
        module: its path below `arrcert`, without `.py`.
    """
    return list(_Finder(module, text_nodes(tree)).visit_body(tree, "body"))


def _put(place: tuple[ast.AST, str, int | None], node: ast.AST) -> ast.AST:
    parent, field, index = place
    before: ast.AST
    if index is None:
        before = getattr(parent, field)
        setattr(parent, field, node)
        return before
    children: list[ast.AST] = getattr(parent, field)
    before, children[index] = children[index], node
    return before


def _header(statement: ast.stmt) -> str:
    """Return a statement's source on one line, without what is indented below it."""
    shallow = copy.copy(statement)
    for field in ("body", "orelse", "handlers", "finalbody", "decorator_list"):
        if isinstance(getattr(shallow, field, None), list):
            setattr(shallow, field, [ast.Pass()] if field == "body" else [])
    if isinstance(shallow, ast.Try):
        shallow.finalbody = [ast.Pass()]
    return " ".join(ast.unparse(shallow).split()).removesuffix(": pass")


def _around_change(before: str, after: str) -> tuple[str, str]:
    """Return both texts without their equal beginnings and ends, except for a few words."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    left, right = max(0, start - 45), max(0, end - 25)

    def cut(text: str) -> str:
        middle = text[left : len(text) - right]
        return ("..." if left else "") + middle + ("..." if right else "")

    return cut(before), cut(after)


class _Finder:
    def __init__(self, module: str, text: set[ast.AST]) -> None:
        self.module = module
        self.text = text
        self.names: list[str] = []
        self.statement: ast.stmt = ast.Pass()
        self.runs_at_import = True
        self.last: set[int] = set()
        """The last statements of functions. Removing a `return` there changes nothing."""

    # Statements.

    def visit_body(self, parent: ast.AST, field: str) -> Iterator[Mutant]:
        for index, statement in enumerate(getattr(parent, field)):
            outer, self.statement = self.statement, statement
            yield from self.visit_statement(statement, (parent, field, index))
            self.statement = outer

    def visit_statement(
        self, node: ast.stmt, place: tuple[ast.AST, str, int | None]
    ) -> Iterator[Mutant]:
        if node in self.text and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from self.reasons(node)
            return
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Pass():
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from self.visit_function(node)
            case ast.ClassDef():
                self.names.append(node.name)
                yield from self.visit_body(node, "body")
                self.names.pop()
            case ast.Expr(value=ast.Constant()):
                return  # A docstring, or the body of an overload.
            case ast.Expr():
                if not is_log_call(node.value):
                    yield self.mutant(place, ast.Pass())
                yield from self.visit(node, "value")
            case ast.Raise():
                yield self.mutant(place, ast.Pass())
                if node.exc is not None:
                    yield from self.visit(node, "exc")
            case ast.Return():
                if node.value is None and id(node) not in self.last:
                    yield self.mutant(place, ast.Pass())
                elif node.value is not None and not isinstance(node.value, ast.Constant):
                    yield self.mutant(place, ast.Return(ast.Constant(None)))
                    yield from self.visit(node, "value")
                elif node.value is not None and node.value.value is None:
                    if id(node) not in self.last:
                        yield self.mutant(place, ast.Pass())
                elif node.value is not None:
                    yield from self.visit(node, "value")
            case ast.Continue():
                yield self.mutant(place, ast.Break())
                yield self.mutant(place, ast.Pass())
            case ast.Break():
                yield self.mutant(place, ast.Continue())
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                if _is_for_python(node):
                    return
                if isinstance(node, ast.AugAssign):
                    yield self.mutant(place, ast.Pass())
                    if type(node.op) in _ARITHMETIC:
                        yield self.mutant((node, "op", None), _ARITHMETIC[type(node.op)]())
                if node.value is not None:
                    yield from self.visit(node, "value")
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return
            case ast.If() | ast.While():
                yield from self.negated(node)
                yield from self.visit(node, "test")
                yield from self.visit_body(node, "body")
                yield from self.visit_body(node, "orelse")
            case ast.Try():
                yield from self.visit_body(node, "body")
                for handler in node.handlers:
                    if handler.type is not None:
                        yield self.mutant((handler, "type", None), ast.Tuple([], ast.Load()))
                    yield from self.visit_body(handler, "body")
                yield from self.visit_body(node, "orelse")
                yield from self.visit_body(node, "finalbody")
            case _:
                yield from self.visit_children(node)

    def visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Mutant]:
        self.names.append(node.name)
        if node in self.text:
            outer, self.runs_at_import = self.runs_at_import, False
            yield from self.reasons(node)
            self.runs_at_import = outer
            self.names.pop()
            return
        for index, default in enumerate(node.args.defaults):
            yield from self.visit_node(default, (node.args, "defaults", index))
        for index, keyword_default in enumerate(node.args.kw_defaults):
            if keyword_default is not None:
                yield from self.visit_node(keyword_default, (node.args, "kw_defaults", index))
        outer, self.runs_at_import = self.runs_at_import, False
        self.last |= {id(statement) for statement in _last(node.body)}
        yield from self.visit_body(node, "body")
        self.runs_at_import = outer
        self.names.pop()

    # Expressions.

    def visit(self, parent: ast.AST, field: str) -> Iterator[Mutant]:
        yield from self.visit_node(getattr(parent, field), (parent, field, None))

    def visit_children(self, node: ast.AST) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "type_comment", "ctx"):
                continue
            if isinstance(value, ast.AST):
                yield from self.visit_node(value, (node, field, None))
            elif isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield from self.visit_body(node, field)
            elif isinstance(value, list):
                for index, child in enumerate(value):
                    if isinstance(child, ast.AST):
                        yield from self.visit_node(child, (node, field, index))

    def visit_node(self, node: ast.AST, place: tuple[ast.AST, str, int | None]) -> Iterator[Mutant]:
        if node in self.text and not _is_reason(node):
            yield from self.reasons(node)
            return
        match node:
            case ast.JoinedStr():
                for part in node.values:
                    if isinstance(part, ast.FormattedValue):
                        yield from self.visit(part, "value")
                return
            case ast.Constant(value=value):
                yield from self.constants(value, place)
            case ast.Compare():
                for index, operator in enumerate(node.ops):
                    for other in _COMPARISONS[type(operator)]:
                        yield self.mutant((node, "ops", index), other())
            case ast.BoolOp():
                other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
                yield self.mutant((node, "op", None), other_op)
                for index in range(len(node.values)):
                    rest = node.values[:index] + node.values[index + 1 :]
                    fewer = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
                    yield self.mutant(place, fewer)
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                yield self.mutant(place, node.operand)
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                yield self.mutant((node, "op", None), _ARITHMETIC[type(node.op)]())
            case ast.IfExp():
                yield from self.negated(node)
            case ast.comprehension():
                for index, test in enumerate(node.ifs):
                    negated = ast.UnaryOp(ast.Not(), test)
                    yield self.mutant((node, "ifs", index), negated)
            case ast.Attribute(value=ast.Name(id="DenialReason")):
                other_reason = next(name for name in _REASONS if name != node.attr)
                yield self.mutant(place, ast.Attribute(node.value, other_reason, ast.Load()))
                return
            case ast.Call():
                yield from self.calls(node, place)
                return
        yield from self.visit_children(node)

    def negated(self, node: ast.If | ast.While | ast.IfExp) -> Iterator[Mutant]:
        is_covered = isinstance(node.test, ast.UnaryOp) or (
            isinstance(node.test, ast.Compare)
            and len(node.test.ops) == 1
            and not isinstance(node.test.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        )
        if not is_covered:
            yield self.mutant((node, "test", None), ast.UnaryOp(ast.Not(), node.test))

    def calls(self, node: ast.Call, place: tuple[ast.AST, str, int | None]) -> Iterator[Mutant]:
        name = called(node)
        if name in ("TypeVar", "cast"):
            if name == "cast":
                yield from self.visit_node(node.args[1], (node, "args", 1))
            return
        if isinstance(node.func, ast.Name) and name in _OTHER_NAMES:
            yield self.mutant((node, "func", None), ast.Name(_OTHER_NAMES[name], ast.Load()))
        if isinstance(node.func, ast.Attribute):
            if name in _OTHER_METHODS:
                other = ast.Attribute(node.func.value, _OTHER_METHODS[name], ast.Load())
                yield self.mutant((node, "func", None), other)
            if name in _DROPPED_METHODS:
                yield self.mutant(place, node.func.value)
            if getattr(node.func.value, "id", "") == "re" and node.args:
                yield from self.patterns(node)
        if name == "isinstance" and isinstance(node.args[1], ast.BinOp):
            yield from self.classes(node.args[1], (node, "args", 1))
            yield from self.visit_node(node.args[0], (node, "args", 0))
            return
        yield from self.visit_children(node)

    def reasons(self, node: ast.AST) -> Iterator[Mutant]:
        """Yield mutants that change only the reason of a denial."""
        for field, value in ast.iter_fields(node):
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST):
                    continue
                outer = self.statement
                self.statement = child if isinstance(child, ast.stmt) else outer
                if _is_reason(child):
                    yield from self.visit_node(child, (node, field, index))
                else:
                    yield from self.reasons(child)
                self.statement = outer

    def classes(self, union: ast.BinOp, place: tuple[ast.AST, str, int | None]) -> Iterator[Mutant]:
        yield self.mutant(place, union.left)
        yield self.mutant(place, union.right)

    def patterns(self, node: ast.Call) -> Iterator[Mutant]:
        """Change a regular expression: a quantifier, an anchor."""
        pattern = node.args[0]
        value = pattern.value if isinstance(pattern, ast.Constant) else None
        if not isinstance(value, str | bytes):
            return
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        # Character classes are not changed.
        for found in re.finditer(r"\[(?:\\.|[^\]\\])*\]|\\Z|\\A|\\.|\(\?|[+*?]", text):
            other = {"+": "*", "*": "+", "?": "", r"\Z": "", r"\A": ""}.get(found[0])
            if other is None:
                continue
            changed = text[: found.start()] + other + text[found.end() :]
            try:
                re.compile(changed)
            except re.error:
                continue
            other_value = changed.encode("latin-1") if isinstance(value, bytes) else changed
            yield self.mutant((node, "args", 0), ast.Constant(other_value))

    def constants(self, value: object, place: tuple[ast.AST, str, int | None]) -> Iterator[Mutant]:
        others: list[str | bytes | int] = []
        if isinstance(value, bool):
            others = [not value]
        elif isinstance(value, int):
            others = [value + 1, value - 1]
        elif isinstance(value, str):
            others = [f"XX{value}"]
        elif isinstance(value, bytes):
            others = [b"XX" + value]
        for other in others:
            yield self.mutant(place, ast.Constant(other))

    def mutant(self, place: tuple[ast.AST, str, int | None], node: ast.AST) -> Mutant:
        statement = self.statement
        before = _header(statement)
        old = _put(place, node)
        is_whole = old is statement
        after = _header(node if is_whole else statement)
        _put(place, old)
        if isinstance(statement, ast.Try):
            before, after = f"except {ast.unparse(old)}", "except ()"
        shown = (before, after) if is_whole else _around_change(before, after)
        line = getattr(old, "lineno", statement.lineno)
        last = getattr(old, "end_lineno", None) or line
        first = line if isinstance(statement, ast.Try) else statement.lineno
        if is_whole:
            last = first if hasattr(statement, "body") else last
        return Mutant(
            self.module,
            ".".join(self.names),
            line,
            last,
            *shown,
            place,
            ast.copy_location(node, old) if hasattr(old, "lineno") else node,
            self.runs_at_import,
        )._replace(line=min(first, line))


def _last(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that may be the last to run."""
    match body[-1:]:
        case [ast.If() as node]:
            yield from _last(node.body)
            yield from _last(node.orelse)
        case [ast.Try(finalbody=[]) as node]:
            yield from _last(node.orelse or node.body)
            for handler in node.handlers:
                yield from _last(handler.body)
        case [node]:
            yield node


def _is_for_python(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> bool:
    """Tell whether an assignment is to a name such as `__all__` or `__slots__`."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(str(getattr(target, "id", "")).startswith("__") for target in targets)


def _is_reason(node: object) -> bool:
    return isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "DenialReason"
