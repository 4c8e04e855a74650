"""Marks on views: this one asks for a certificate, that one is exempt."""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any, TypeVar, cast, overload

from arrcert_flask.authorization import authorize

_F = TypeVar("_F", bound=Callable[..., Any])

_POLICY = "_arrcert_policy"
"""The mark of a view or hook that names a policy. functools.wraps may copy it along: a view that
carries it is checked before it runs, whoever wrapped it."""

_DEEPEST_STACK = 100
"""More decorators than anybody stacks; something that wraps itself is not followed for ever."""

_exempt: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
"""Exempt views by identity: a mark that functools.wraps copies along would free other views."""

_decorated: weakref.WeakKeyDictionary[Callable[..., Any], set[object]] = weakref.WeakKeyDictionary()
"""For each function that stands beneath a decorator, the tokens of the wrappers above it."""

_tokens: weakref.WeakKeyDictionary[Callable[..., Any], object] = weakref.WeakKeyDictionary()
"""The token of each wrapper."""


@overload
def authorize_certificate(view: _F, /) -> _F: ...
@overload
def authorize_certificate(*, policy: str = ...) -> Callable[[_F], _F]: ...
def authorize_certificate(
    view: Callable[..., Any] | None = None, /, *, policy: str = "default"
) -> Any:
    """Let a view run only for a request whose client certificate a policy accepts.

    Used bare or called, on sync and async views, below the route:

        @app.get("/hellocert")
        @authorize_certificate
        def hellocert(): ...

    Args:
        view: the view function; a class-based view takes the decorator in `decorators`.
        policy: the policy's name.

    Raises:
        TypeError: it decorates a class, or `policy` is not a name.

    A denied request gets a `ClientCertificateForbidden`. It does not check anything for requests
    that reach the function other than through its decorated form. Above the route it would protect
    nothing, which is found before the first request, unless a decorator without `functools.wraps`
    stands between the two and hides the one function from the other.
    """
    _require_name(policy)
    if view is None:
        return functools.partial(_authorize_certificate, policy=policy)
    return _authorize_certificate(view, policy=policy)


def _authorize_certificate(view: Callable[..., Any], *, policy: str) -> Callable[..., Any]:
    if isinstance(view, str):
        raise TypeError(f"write @authorize_certificate(policy={view!r})")
    if inspect.isclass(view):
        raise TypeError(
            f"{view.__name__} is a class; write decorators = [authorize_certificate] in it"
        )
    if not callable(view):
        raise TypeError(f"authorize_certificate decorates a view function, not {view!r}")
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            authorize(policy)
            return await view(*args, **kwargs)

        wrapper = async_wrapper
    else:

        @functools.wraps(view)
        def sync_wrapper(*args: Any, **kwargs: Any) -> Any:
            authorize(policy)
            return view(*args, **kwargs)

        wrapper = sync_wrapper
    setattr(wrapper, _POLICY, policy)
    token = object()
    _tokens[wrapper] = token
    for function in _beneath(view):
        _decorated.setdefault(function, set()).add(token)
    return wrapper


def certificate_exempt(view: _F) -> _F:
    """Free a view from `ARRCERT_PROTECT_ALL`.

    Args:
        view: the function that is registered: a view function, or what `as_view()` returned.

    Raises:
        TypeError: it is something else; the exemption is bound to one function.

    The exemption belongs to this very function: another decorator above it makes another function,
    which is not exempt. It does not disable `authorize_certificate` or a blueprint's hook.
    """
    if not isinstance(view, FunctionType):
        raise TypeError(f"certificate_exempt marks a view function, not {view!r}")
    _exempt.add(view)
    return cast("_F", view)


def require_client_certificate(*, policy: str = "default") -> Callable[[], None]:
    """Make a `before_request` hook that asks for a certificate, for a blueprint or an app.

        bp.before_request(require_client_certificate(policy="partners"))

    Args:
        policy: the policy's name.

    Raises:
        TypeError: `policy` is not a name.

    It does not free the blueprint's views from hooks that others registered.
    """
    _require_name(policy)

    def client_certificate_required() -> None:
        authorize(policy)

    setattr(client_certificate_required, _POLICY, policy)
    return client_certificate_required


def policy_named_by(view: Callable[..., Any] | None) -> str | None:
    """Return the policy that a view or hook names, None where it names none."""
    policy = getattr(view, _POLICY, None)
    return policy if isinstance(policy, str) else None


def is_exempt_view(view: Callable[..., Any] | None) -> bool:
    """Tell whether this very function was given to `certificate_exempt`."""
    return isinstance(view, FunctionType) and view in _exempt


def registered_bare(views: dict[str, Callable[..., Any]]) -> Iterator[str]:
    """Yield the endpoints whose view is a decorated one, without its decorator.

    Args:
        views: an app's `view_functions`.

    `@authorize_certificate` above `@app.get` does that: the route registers the bare function.
    A function that is on purpose registered both ways, or is marked exempt, is none; nor is one to
    whose name the module still binds it, since a decorator would have bound the name anew.
    """
    registered = {
        _tokens[function]
        for view in views.values()
        for function in _beneath(view)
        if function in _tokens
    }
    for endpoint, view in views.items():
        if is_exempt_view(view) or policy_named_by(view) is not None or _keeps_its_name(view):
            continue
        tokens = _decorated.get(view, set()) if _can_be_remembered(view) else set()
        if tokens and tokens.isdisjoint(registered):
            yield endpoint


def hooks_without_parentheses(
    hooks: Mapping[str | None, Iterable[Callable[..., Any]]],
) -> Iterator[str | None]:
    """Yield the blueprint's name (None: the app) for each hook that was passed and not called.

    Args:
        hooks: an app's `before_request_funcs`.

    `before_request(require_client_certificate)` does that: each request would get a function as its
    answer, hence a 500.
    """
    for name, functions in hooks.items():
        if any(hook in (require_client_certificate, authorize_certificate) for hook in functions):
            yield name


def _require_name(policy: object) -> None:
    if not isinstance(policy, str) or not policy:
        raise TypeError(f"policy is {policy!r}; write the name of one of the policies in ARRCERT")


def _keeps_its_name(view: Callable[..., Any]) -> bool:
    found: Any = sys.modules.get(getattr(view, "__module__", ""))
    for part in getattr(view, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is view


def _beneath(view: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield the callable and those that it wraps, outermost first."""
    wrapped: Any = view
    for _ in range(_DEEPEST_STACK):
        if not callable(wrapped):
            return
        if _can_be_remembered(wrapped):
            yield wrapped
        wrapped = getattr(wrapped, "__wrapped__", None)


def _can_be_remembered(view: Callable[..., Any]) -> bool:
    """Tell whether a weak dictionary takes it: functions, functools.cache objects, most others."""
    try:
        hash(weakref.ref(view))
    except TypeError:
        return False
    return True
