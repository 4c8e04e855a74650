"""The search for checks inside a view, which does not run the view."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from arrcert import inspection
from arrcert.adapters import mark_policy
from arrcert.inspection import hides_policy, mentions, questions


def authorize_request() -> None:
    """A stand-in for the function of an adapter."""


renamed = authorize_request


def direct() -> None:
    """Call the function."""
    authorize_request()


def by_another_name() -> None:
    """Call the function under the name of an import alias."""
    renamed()


def by_attribute() -> Any:
    """Call a function of the same name in a module."""
    return inspection.authorize_request()


def nested() -> Callable[[], None]:
    """Call the function in an inner function."""
    return lambda: authorize_request()


def taken() -> Callable[[], None]:
    """Return a function that reads the function from a variable."""
    check = authorize_request

    def inside() -> None:
        check()

    return inside


class View:
    """A view with methods."""

    def get(self) -> None:
        """Call the function."""
        authorize_request()


@pytest.mark.parametrize(
    "function",
    [
        authorize_request,
        direct,
        by_another_name,
        by_attribute,
        nested,
        taken(),
        View().get,
        partial(direct),
        partial(authorize_request),
    ],
)
def test_code_that_may_call_a_function(function: object) -> None:
    """A name of the function in a view's code is enough, directly or in an inner function."""
    assert mentions(function, (authorize_request,))


@pytest.mark.parametrize("function", [print, None, lambda: 1, View, partial(print)])
def test_code_that_does_not_call_it(function: object) -> None:
    """Other code, and an object that is not a Python function, does not count as a call."""
    assert not mentions(function, (authorize_request,))


def view_with_policy() -> None:
    """A stand-in for a decorated view."""


mark_policy(view_with_policy, "default")


def hiding(view: Callable[[], None]) -> Callable[[], None]:
    """Return a wrapper without functools.wraps."""

    def wrapper() -> None:
        view()

    return wrapper


def test_hidden_policies() -> None:
    """A policy below wrappers without functools.wraps, or below `partial`, is hidden."""
    assert hides_policy(hiding(view_with_policy))
    assert hides_policy(hiding(hiding(view_with_policy)))
    assert hides_policy(partial(view_with_policy))
    assert hides_policy(partial(print, view_with_policy))
    assert not hides_policy(hiding(direct))
    assert not hides_policy(View().get)
    assert not hides_policy(None)


def test_endless_wrappers() -> None:
    """The search ends at a function that leads to itself, and at a variable without a value."""

    def first() -> None:
        second()
        later()

    def second() -> None:
        first()

    assert not hides_policy(first)
    assert not mentions(first, (authorize_request,))
    later = direct


def test_questions_leave_no_denials_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Denials during the audit go to the audit, and other records and later denials to the log."""
    logger = logging.getLogger("arrcert")
    with questions() as policies:
        logger.warning("denied", extra={"arrcert_policy": "partners"})
        logger.warning("something else")
    logger.warning("denied later", extra={"arrcert_policy": "default"})
    assert policies == ["partners"]
    assert [record.getMessage() for record in caplog.records] == ["something else", "denied later"]
