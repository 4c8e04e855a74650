"""The middleware that makes the holder of a client certificate a user, for one request."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.identity import ClientIdentity
from arrcert_django.startup import MIDDLEWARE as GATE
from arrcert_django.startup import imported

__all__ = ["ClientCertificateUserMiddleware"]

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
"""The middleware that must come before this one, in addition to the gate."""

_logger = logging.getLogger("arrcert")

_Response = HttpResponseBase | Awaitable[HttpResponseBase]


class _Missing:
    """Used in place of a class that cannot be imported."""


class _Before(NamedTuple):
    """The attributes of the request before the middleware.

    Attributes:
        user: the user of the session; Django loads it when it is used.
        auser: the function that returns it in an event loop.
    """

    user: Any
    auser: Any


class ClientCertificateUserMiddleware:
    """Set `request.user` to the user whose name is the name of the client identity.

    List it after `AuthenticationMiddleware`. It sets `request.user` and `request.auser` only for
    this request. There is no login, and nothing is written to the session. If there is no active
    user with exactly this name, the user is `AnonymousUser`, even if there is a session. If the
    session belongs to another user, the request is a 403. A request without an identity of
    `policies` keeps the user of its session. This is also true on exempt paths and in exempt views.

    The user is set twice: first to that of the policy `default`, and then, before the view runs, to
    that of the policy of the view.

    Attributes:
        policies: the names of the policies whose identities are users; `("default",)` by default.
            Override it in a subclass. Add a policy only if each of its identities may act as the
            user of the same name.

    Args:
        get_response: the rest of the site.

    Raises:
        ConfigurationError: at the start, if it is listed before `AuthenticationMiddleware` or
            `ClientCertificateMiddleware` in `MIDDLEWARE`, if one of them is missing, or if
            `policies` is not a list of names.

    Source: Django's documentation, "Writing your own middleware". It does not replace CSRF tokens
    (see docs/django-users.md).
    """

    sync_capable = True
    async_capable = True

    policies: Iterable[str] = ("default",)

    def __init__(self, get_response: Callable[[HttpRequest], _Response]) -> None:
        problems = [*problems_of_order(), *problems_of_policies(type(self))]
        if problems:
            raise ConfigurationError(problems)
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> _Response:
        """Set the user to that of the policy `default`, then call the rest of the site.

        Raises:
            PermissionDenied: the session belongs to another user.
        """
        if self._is_async:
            return self.__acall__(request)
        self._bind(request)
        return self.get_response(request)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do the same as `__call__`, in an event loop."""
        await self._abind(request)
        return await cast("Awaitable[HttpResponseBase]", self.get_response(request))

    @property
    def process_view(self) -> Callable[..., Any]:
        """What Django calls before the view: it sets the user to that of the view's policy.

        Django reads this property at the start.
        """
        return self._abind_to_view if self._is_async else self._bind_to_view

    def _bind_to_view(self, request: HttpRequest, *_: Any) -> None:
        self._bind(request)

    async def _abind_to_view(self, request: HttpRequest, *_: Any) -> None:
        await self._abind(request)

    def _bind(self, request: HttpRequest) -> None:
        """Set the user of a request.

        Raises:
            PermissionDenied: the session belongs to another user.
        """
        before = _before(request)
        identity = self._identity_to_bind(request)
        if identity is not None:
            user = _user_of(request, identity)
            refuse_other_user(before.user, user, identity)
            _set_user(request, user)

    async def _abind(self, request: HttpRequest) -> None:
        """Do the same as `_bind`, in an event loop. The user is looked up in a thread."""
        before = _before(request)
        identity = self._identity_to_bind(request)
        if identity is not None:
            user = await sync_to_async(_user_of)(request, identity)
            refuse_other_user(await before.auser(), user, identity)
            _set_user(request, user)

    def _identity_to_bind(self, request: HttpRequest) -> ClientIdentity | None:
        """Return the identity whose user is to be set; None if there is nothing to do.

        Without an identity of `policies` the request gets back the user that it had before.
        """
        identity: ClientIdentity | None = getattr(request, "client_identity", None)
        if identity is not None and identity.policy not in self.policies:
            identity = None
        bound: ClientIdentity | None = getattr(request, "_arrcert_bound", None)
        if identity is bound:
            return None
        # Until the look-up succeeds, the user is anonymous.
        _set_user(request, _anonymous())
        request._arrcert_bound = identity  # type: ignore[attr-defined]
        if identity is None:
            request.user, request.auser = _before(request)
        return identity


def refuse_other_user(session_user: Any, user: Any, identity: ClientIdentity) -> None:
    """Deny a request whose session belongs to another user than its certificate.

    Args:
        session_user: the user of the session.
        user: the user of the certificate.
        identity: the identity of the certificate.

    Raises:
        PermissionDenied: both are users, and they differ.
    """
    if not (session_user.is_authenticated and user.is_authenticated) or session_user == user:
        return
    _logger.warning(
        "denied: the certificate of %s (policy %s) came with a session of the user %s",
        quote(identity.name),
        quote(identity.policy),
        quote(session_user.get_username()),
    )
    raise PermissionDenied


def bound_user(request: HttpRequest, identity: ClientIdentity) -> Any:
    """Return the user that the middleware has set for this identity, or None."""
    if getattr(request, "_arrcert_bound", None) is not identity:
        return None
    user = request.user
    return user if user.is_authenticated else None


def problems_of_order() -> list[Problem]:
    """Return what is wrong with the order of `MIDDLEWARE`.

    A function in `MIDDLEWARE` may make any middleware, so then a missing one is not reported.
    """
    entries = [imported(path) for path in settings.MIDDLEWARE]
    position = position_of(entries, ClientCertificateUserMiddleware)
    if position is None:
        return []
    ours = f"{settings.MIDDLEWARE[position]}"
    problems = []
    for path in (GATE, AUTHENTICATION):
        found = position_of(entries, imported_class(path))
        if found is None and all(isinstance(entry, type) for entry in entries):
            problems.append(Problem("MIDDLEWARE", f"{ours} needs {path} before it; add it"))
        elif found is not None and found > position:
            problems.append(Problem("MIDDLEWARE", f"{ours} stands before {path}; move it after it"))
    return problems


def problems_of_policies(declaring: Any, *, may_be_empty: bool = False) -> list[Problem]:
    """Return what is wrong with the attribute `policies`, apart from unknown names.

    Args:
        declaring: the class of the middleware, or an authentication of Django REST framework.
        may_be_empty: whether an empty list is right, which means that no identity is a user.
    """
    policies: object = declaring.policies
    if (
        isinstance(policies, list | tuple | set | frozenset)
        and (policies or may_be_empty)
        and all(isinstance(policy, str) and policy for policy in policies)
    ):
        return []
    return [
        Problem(
            f"{declaring.__qualname__}.policies",
            f'is {policies!r}; write the names of policies, such as ("default",)',
        )
    ]


def imported_class(path: str) -> type:
    """Return the class of a dotted path, or one without instances if it cannot be imported."""
    found = imported(path)
    return found if isinstance(found, type) else _Missing


def position_of(entries: Sequence[object], wanted: type) -> int | None:
    """Return the position of the first class that is `wanted` or a subclass, or None."""
    for position, entry in enumerate(entries):
        if isinstance(entry, type) and issubclass(entry, wanted):
            return position
    return None


def _before(request: HttpRequest) -> _Before:
    """Return what the request had before the middleware. It is kept on the request."""
    before: _Before | None = getattr(request, "_arrcert_before", None)
    if before is None:
        try:
            before = _Before(request.user, request.auser)
        except AttributeError:
            _logger.error("denied: no AuthenticationMiddleware has set request.user and auser")
            raise PermissionDenied from None
        request._arrcert_before = before  # type: ignore[attr-defined]
    return before


def _user_of(request: HttpRequest, identity: ClientIdentity) -> Any:
    """Return the user of an identity, or `AnonymousUser`.

    Raises:
        PermissionDenied: the look-up or a hook failed.
    """
    # The models of django.contrib.auth cannot be imported before the apps are ready.
    from arrcert_django.backends import certificate_backend

    try:
        user = certificate_backend().authenticate(request, client_identity=identity)
    except PermissionDenied:
        raise
    except Exception:
        _logger.exception("denied: the user of a certificate cannot be looked up")
        raise PermissionDenied from None
    if user is None:
        _logger.info(
            "no active user has the name of the client identity %s (policy %s)",
            quote(identity.name),
            quote(identity.policy),
        )
        return _anonymous()
    return user


def _anonymous() -> Any:
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


def _set_user(request: HttpRequest, user: Any) -> None:
    """Set the user of a request, for sync and async code."""

    async def auser() -> Any:
        return user

    request.user, request.auser = user, auser
