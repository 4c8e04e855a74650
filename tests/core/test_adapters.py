"""The code that the framework adapters share."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from arrcert import DenialReason
from arrcert.adapters import (
    NOT_GIVEN,
    Requirement,
    decorator_text,
    deny_misconfigured,
    exempt_view,
    is_exempt_view,
    lost_decorators,
    mark_policy,
    policies_named_in,
    policy_named_by,
    require_policy_name,
    require_role,
    require_view,
    requirement_named_by,
)


def protect(view: Callable[..., Any], policy: str = "default") -> Callable[..., Any]:
    """Wrap a view as an adapter's decorator does, without the check."""

    @functools.wraps(view)
    def wrapper(*args: Any) -> Any:
        return view(*args)

    mark_policy(wrapper, policy)
    return wrapper


def plain(view: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a view as another decorator does."""

    @functools.wraps(view)
    def wrapper(*args: Any) -> Any:
        return view(*args)

    return wrapper


def new_view() -> Callable[..., Any]:
    """Return a new function, which no module binds to its name."""

    def view() -> str:
        return "hello"

    return view


def bound_view() -> str:
    """A view that this module binds to its name."""
    return "hello"


class Page:
    """A class-based view."""

    def get(self) -> str:
        """Return the page."""
        return "hello"


class Unhashable:
    """A view without a hash."""

    __hash__ = None

    def __call__(self) -> str:
        """Return the page."""
        return "hello"


class Slotted:
    """A view without weak references."""

    __slots__ = ()

    def __call__(self) -> str:
        """Return the page."""
        return "hello"


# Arguments. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, "", 7, b"default", ["default"]])
def test_a_policy_is_a_name(policy: object) -> None:
    """A policy that is not a non-empty string is an error that shows it."""
    with pytest.raises(TypeError) as caught:
        require_policy_name(policy)
    assert str(caught.value) == (
        f"policy is {policy!r}; write the name of one of the policies in ARRCERT"
    )


@pytest.mark.parametrize("role", ["", " ", 7, ["orders"], True, b"orders"])
def test_a_role_that_is_not_a_name_is_refused(role: object) -> None:
    """A role is non-empty text, and None stands for no role."""
    with pytest.raises(TypeError, match="write the name of a role that a policy grants"):
        require_role(role)
    require_role(None)
    require_role("orders")


def test_a_name_is_accepted() -> None:
    """Any non-empty string can be a policy's name."""
    require_policy_name("partners")


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (
            None,
            "authorize_certificate decorates a view, not None; check that the decorator below it"
            " returns the view, or write @authorize_certificate() without an argument",
        ),
        ("partners", "write @authorize_certificate(policy='partners')"),
        (
            Page,
            "authorize_certificate does not decorate classes; for Page write the other decorator",
        ),
        (7, "authorize_certificate decorates a view, not 7"),
    ],
)
def test_only_views_are_decorated(view: object, message: str) -> None:
    """Decorating an object that is not a view is an error that says what to write."""
    with pytest.raises(TypeError) as caught:
        require_view(view, for_classes="the other decorator")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("policy", "role", "text"),
    [
        ("default", None, "authorize_certificate"),
        ("partners", None, "authorize_certificate(policy='partners')"),
        ("default", "orders", "authorize_certificate(role='orders')"),
        ("it's", "orders", "authorize_certificate(policy=\"it's\", role='orders')"),
    ],
)
def test_decorator_as_code(policy: str, role: str | None, text: str) -> None:
    """An error message shows the decorator as it must be written."""
    assert decorator_text(policy, role) == text


@pytest.mark.parametrize("view", [bound_view, functools.partial(bound_view), Page().get, Slotted()])
def test_callables_are_decorated(view: object) -> None:
    """Any callable that is not a class can be a view."""
    require_view(view, for_classes="the other decorator")


def test_no_argument_differs_from_none() -> None:
    """The default of a decorator's view is not None, and is not a view."""
    assert NOT_GIVEN is not None
    assert not callable(NOT_GIVEN)


# Marks. -------------------------------------------------------------------------------------------


def test_a_marked_view_names_its_policy() -> None:
    """A marked view names its policy, and an unmarked view names none."""
    view = new_view()
    assert policy_named_by(view) is None
    assert policy_named_by(None) is None
    mark_policy(view, "partners")
    assert policy_named_by(view) == "partners"


def test_the_outer_mark_counts() -> None:
    """A wrapper names its own policy, even if functools.wraps copied another one."""
    view = protect(protect(new_view(), "inner"), "outer")
    assert policy_named_by(view) == "outer"
    assert policy_named_by(plain(view)) == "outer"


def test_a_marked_view_asks_for_its_role() -> None:
    """A mark holds a policy and a role, and an outer mark replaces both."""
    view = new_view()
    assert requirement_named_by(view) is None
    mark_policy(view, "partners", "orders")
    asked = Requirement("partners", "orders")
    assert requirement_named_by(view) == requirement_named_by(plain(view)) == asked
    assert requirement_named_by(protect(view)) == Requirement("default", None)


def test_every_policy_in_a_view_is_found() -> None:
    """The policies of all decorators of a view are found, and none in other objects."""
    view = plain(protect(plain(protect(new_view(), "inner")), "outer"))
    assert policies_named_in(view) == {"inner", "outer"}
    for other in (new_view(), None, 7, "default"):
        assert policies_named_in(other) == set()


def test_a_mark_of_another_type_names_no_policy() -> None:
    """An object that has every attribute names no policy."""

    class Obliging:
        def __getattr__(self, name: str) -> Any:
            return set()

    assert policy_named_by(Obliging()) is None
    assert requirement_named_by(Obliging()) is None


def test_marks_keep_no_view_in_memory() -> None:
    """A decorator may run for every request, as Django's method_decorator does."""
    view = new_view()
    reference = weakref.ref(protect(view))
    gc.collect()
    assert reference() is None
    reference = weakref.ref(view)
    del view
    gc.collect()
    assert reference() is None


# Exempt views. ------------------------------------------------------------------------------------


def test_exactly_one_function_is_exempt() -> None:
    """An exemption holds for one function, and not for wrappers, namesakes or equal objects."""

    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash(view)

    view = new_view()
    exempt_view(view)
    assert is_exempt_view(view)
    for other in (plain(view), new_view(), Equal(), Unhashable(), None):
        assert not is_exempt_view(other)


def test_an_exemption_keeps_no_view_in_memory() -> None:
    """An exemption keeps no view in memory, so that a later view cannot inherit it."""
    view = new_view()
    exempt_view(view)
    reference = weakref.ref(view)
    del view
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("view", [Page, Page().get, functools.partial(bound_view), len, "x", None])
def test_only_functions_are_exempt(view: object) -> None:
    """Exempting an object that is not a function is an error that says what to write."""
    with pytest.raises(TypeError) as caught:
        exempt_view(view)
    assert str(caught.value) == (
        f"certificate_exempt takes a view function, not {view!r}; for a class-based view write"
        " certificate_exempt(TheView.as_view(...)) where you register it"
    )


# Lost decorators. ---------------------------------------------------------------------------------


def test_an_undecorated_view_with_a_decorated_copy_is_reported() -> None:
    """The view below a decorator is reported, also with another decorator between the two."""
    direct, below = new_view(), new_view()
    protect(direct)
    protect(plain(below))
    other = new_view()
    assert list(lost_decorators({"a": direct, "b": below, "c": other})) == ["a", "b"]


def test_a_wrapper_below_the_lost_decorator_is_reported() -> None:
    """A registered wrapper of another decorator is reported like a view."""
    wrapped = plain(new_view())
    protect(wrapped)
    assert list(lost_decorators({"a": wrapped})) == ["a"]


def test_a_wrapper_that_a_route_makes_is_reported() -> None:
    """If a route registers a wrapper and returns the bare view, the wrapper is reported."""
    view = new_view()
    registered = plain(plain(view))
    protect(view)
    assert list(lost_decorators({"a": registered})) == ["a"]
    # The view is registered a second time with the decorator, so both are intended.
    assert list(lost_decorators({"a": registered, "b": protect(view)})) == []
    exempt_view(registered)
    assert list(lost_decorators({"a": registered})) == []


def test_a_wrapper_of_a_bound_view_is_not_reported() -> None:
    """A view is not reported while its module still binds it to its name."""
    protect(bound_view)
    assert list(lost_decorators({"a": plain(bound_view)})) == []


def test_a_decorated_view_is_not_reported() -> None:
    """A view is not reported if it names a policy, or if it is also registered decorated."""
    view = new_view()
    decorated = protect(view)
    protect(decorated)
    assert list(lost_decorators({"a": decorated})) == []
    for registered in (decorated, plain(decorated)):
        assert list(lost_decorators({"open": view, "closed": registered})) == []


def test_another_decorated_view_does_not_count() -> None:
    """A decorated view of the same app does not hide another view's lost decorator."""
    lost, kept = new_view(), protect(new_view())
    protect(lost)
    assert list(lost_decorators({"a": lost, "b": kept})) == ["a"]


def test_a_view_that_is_open_on_purpose_is_not_reported() -> None:
    """A view is not reported if it is exempt, or if its module still binds it to its name."""
    exempt = new_view()
    exempt_view(exempt)
    for view in (exempt, bound_view):
        protect(view)
        assert list(lost_decorators({"a": view})) == []


@pytest.mark.parametrize("view", [Unhashable(), Slotted()])
def test_views_without_hash_or_weak_reference_are_not_reported(view: Callable[..., Any]) -> None:
    """A view without a hash or a weak reference is not reported, and is no error."""
    protect(view)
    assert list(lost_decorators({"a": view, "b": protect(view)})) == []


def test_a_view_that_wraps_itself_ends_the_search() -> None:
    """The search ends at a view whose `__wrapped__` is the view itself."""
    view = new_view()
    view.__wrapped__ = view
    protect(view)
    assert list(lost_decorators({"a": view})) == ["a"]
    mark_policy(view, "default")
    assert list(lost_decorators({"a": view})) == []


# Denials of a wrong setup. ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "described"),
    [
        ({"environ": {"REQUEST_METHOD": "GET", "PATH_INFO": "/a\n"}}, "GET /a\\n"),
        ({"scope": {"type": "http", "method": "PUT", "path": "/b"}}, "PUT /b"),
        ({"environ": {"REQUEST_METHOD": "GET"}, "scope": {"path": "/c"}}, "WEBSOCKET /c"),
    ],
)
def test_a_wrong_setup_is_a_denial_and_an_error_in_the_log(
    request_: dict[str, Any], described: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong setup is a `misconfigured` denial, and its log record names request and policy."""
    denied = deny_misconfigured("it is not set up", "partners", **request_)
    assert (denied.reason, denied.detail) == (DenialReason.MISCONFIGURED, "it is not set up")
    assert denied.certificate is None
    [record] = caplog.records
    assert (record.name, record.levelname) == ("arrcert", "ERROR")
    assert record.getMessage() == (
        f"denied {described} under policy 'partners': misconfigured: it is not set up"
    )
    facts = [getattr(record, f"arrcert_{name}") for name in ("reason", "policy", "request")]
    assert facts == ["misconfigured", "partners", described]


def test_a_wrong_setup_without_a_request_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    """The denial is logged even if nothing is known of the request."""
    deny_misconfigured("it is not set up", "default")
    assert "under policy 'default': misconfigured: it is not set up" in caplog.text


class EqualToAll:
    """A view that is equal to every other one."""

    def __call__(self) -> str:
        """Return the page."""
        return "hello"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


def test_view_that_equals_a_protected_one() -> None:
    """A view has lost its decorator only if it is itself below one, and not if it equals one."""
    view, other = EqualToAll(), EqualToAll()
    decorated = protect(view)
    assert not list(lost_decorators({"other": other}))
    assert list(lost_decorators({"view": view}))
    assert not list(lost_decorators({"view": view, "decorated": decorated}))


def test_method_that_its_class_still_holds() -> None:
    """A method that its class binds undecorated was not replaced by a decorator."""
    decorated = protect(Page.get)
    assert not list(lost_decorators({"page": Page.get}))
    assert decorated(Page()) == "hello"
