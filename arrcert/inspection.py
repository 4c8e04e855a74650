"""Finds checks inside a view for the route audit, without running the view."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from arrcert.adapters import policies_named_in
from arrcert.denials import logger

_DEEPEST_STACK = 20
"""The largest depth to which functions inside a view are searched."""


def mentions(function: object, wanted: Collection[Any]) -> bool:
    """Return whether the code of a function may call one of the given functions.

    Args:
        function: any object.
        wanted: the functions to look for, such as `authorize_request`.

    It looks at the names in the code. It does not look at functions that the code calls.
    """
    if isinstance(function, MethodType):
        function = function.__func__
    if any(function is one for one in wanted):
        return True
    if isinstance(function, partial):
        return mentions(function.func, wanted)
    if not isinstance(function, FunctionType):
        return False
    names = set(_names(function.__code__))
    known = {one.__name__ for one in wanted}
    return bool(names & known) or any(
        value is one for name, value in _variables(function) if name in names for one in wanted
    )


def hides_policy(view: object) -> bool:
    """Return whether a function inside a view names a policy that the view itself does not name.

    Args:
        view: any object.

    It looks at the parts of a `functools.partial`, and at the closure variables of a function. A
    wrapper without `functools.wraps` keeps the wrapped function in a closure variable.
    """
    return _hides_policy(view, _DEEPEST_STACK)


@contextmanager
def questions() -> Iterator[list[str]]:
    """Keep denials out of the log while the audit calls the site's hooks with an empty request.

    Yields:
        A list. The policy name of each denial is added to it.
    """
    policies: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        policy = getattr(record, "arrcert_policy", None)
        if policy is None:
            return True
        policies.append(policy)
        return False

    logger.addFilter(note)
    try:
        yield policies
    finally:
        logger.removeFilter(note)


def _hides_policy(view: object, depth: int) -> bool:
    if depth == 0:
        return False
    below: list[object] = []
    if isinstance(view, MethodType):
        below = [view.__func__]
    elif isinstance(view, partial):
        below = [view.func, *view.args]
    elif isinstance(view, FunctionType):
        below = [value for _, value in _variables(view, only_taken=True) if callable(value)]
    return any(policies_named_in(one) or _hides_policy(one, depth - 1) for one in below)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names in the code of a function and of the functions in it."""
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _variables(function: FunctionType, *, only_taken: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the variables that a function can read: closure variables and globals."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # The variable has no value yet.
    if not only_taken:
        yield from function.__globals__.items()
