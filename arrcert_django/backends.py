"""The authentication backend that finds the user of a client identity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_backends, get_user_model
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from arrcert.identity import ClientIdentity

__all__ = ["ClientCertificateBackend"]


class ClientCertificateBackend(ModelBackend):
    """Find the user whose name is the name of a client identity.

    `ClientCertificateUserMiddleware` and `ClientCertificateAuthentication` use it. They use the
    first entry of `AUTHENTICATION_BACKENDS` that is this class or a subclass. If there is none,
    they use this class. It never creates or changes a user, unless a subclass overrides a hook:

    - `filter_users_by_identity(client_identity)` returns the users that the identity may mean.
    - `create_user(client_identity)` returns a new user, or None, the default.
    - `configure_user(request, user, client_identity, created=False)` changes a user and returns it.
    - `permissions_of(client_identity)` returns permissions only for this request.

    Permissions and groups in the database count as with `ModelBackend`.

    Source: Django's documentation, "Customizing authentication"; the hooks are like those of
    mozilla-django-oidc. It does not check a certificate. A `ClientIdentity` is the result of that
    check.
    """

    def authenticate(  # type: ignore[override]
        self, request: HttpRequest | None, *, client_identity: ClientIdentity
    ) -> Any:
        """Return the active user of an identity, or None.

        The keyword argument is required, so Django does not call this backend for a login form.

        Args:
            request: the request, which is passed to `configure_user`.
            client_identity: who entered.

        Returns:
            The user; None if the identity has no name, there is no such user, or the user is not
            active.
        """
        if not isinstance(client_identity, ClientIdentity) or client_identity.name is None:
            return None
        user = self.find_user(client_identity)
        created = user is None
        if created:
            user = self.create_user(client_identity)
        if user is None or not self.user_can_authenticate(user):
            return None
        user = self.configure_user(request, user, client_identity, created=created)
        # The user is checked again, because hooks may return another one.
        if (
            user is None
            or not self.is_user_of(user, client_identity)
            or not self.user_can_authenticate(user)
        ):
            return None
        user._arrcert_permissions = frozenset(self.permissions_of(client_identity))
        return user

    async def aauthenticate(  # type: ignore[override]
        self, request: HttpRequest | None, *, client_identity: ClientIdentity
    ) -> Any:
        """Do the same as `authenticate`, for async code. It runs in a thread, with the hooks."""
        return await sync_to_async(self.authenticate)(request, client_identity=client_identity)

    def find_user(self, client_identity: ClientIdentity) -> Any:
        """Return the user of an identity, active or not; None if there is none or several.

        The names are compared again, because some databases ignore case, accents or spaces at the
        end.
        """
        if client_identity.name is None:
            return None
        users = [
            user
            for user in self.filter_users_by_identity(client_identity)
            if self.is_user_of(user, client_identity)
        ]
        return users[0] if len(users) == 1 else None

    def filter_users_by_identity(self, client_identity: ClientIdentity) -> Iterable[Any]:
        """Return the users that an identity may mean. This is a hook.

        Args:
            client_identity: who entered; it has a name.

        Returns:
            By default the users with this name, as the database compares names.
        """
        model: Any = get_user_model()
        users: Iterable[Any] = model._default_manager.filter(
            **{model.USERNAME_FIELD: client_identity.name}
        )
        return users

    def is_user_of(self, user: Any, client_identity: ClientIdentity) -> bool:
        """Return whether a user belongs to an identity: whether the names are equal. A hook.

        Args:
            user: the user that `filter_users_by_identity`, `create_user` or `configure_user`
                returned.
            client_identity: who entered.

        Override it together with `filter_users_by_identity` if the names of users differ from those
        of identities.
        """
        return bool(user.get_username() == client_identity.name)

    def create_user(self, client_identity: ClientIdentity) -> Any:
        """Return a new user for an identity that has none, or None, the default. This is a hook.

        Args:
            client_identity: who entered; it has a name.
        """
        return None

    def configure_user(
        self,
        request: HttpRequest | None,
        user: Any,
        client_identity: ClientIdentity,
        created: bool = False,
    ) -> Any:
        """Change a user, and return it. This is a hook.

        Args:
            request: the request, or None.
            user: the active user. By default it is not changed.
            client_identity: who entered.
            created: whether `create_user` has just made the user.

        It runs for each request with a certificate, so write to the database only if a value has
        changed.
        """
        return user

    def permissions_of(self, client_identity: ClientIdentity) -> Iterable[str]:
        """Return the permissions that an identity has only in this request. This is a hook.

        Args:
            client_identity: who entered.

        Returns:
            Permissions such as `"shop.add_order"`; none by default. Django uses them only if this
            backend is in `AUTHENTICATION_BACKENDS`.
        """
        return ()

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return the permissions in the database and those of `permissions_of`."""
        return {*super().get_all_permissions(user_obj, obj), *_granted(user_obj, obj)}

    async def aget_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Do the same as `get_all_permissions`, in an event loop."""
        return {*await super().aget_all_permissions(user_obj, obj), *_granted(user_obj, obj)}


def certificate_backend() -> ClientCertificateBackend:
    """Return the backend that finds the users of identities."""
    for backend in get_backends():
        if isinstance(backend, ClientCertificateBackend):
            return backend
    return ClientCertificateBackend()


def _granted(user: Any, obj: Any) -> frozenset[str]:
    if obj is not None or not user.is_active:
        return frozenset()
    granted: frozenset[str] = getattr(user, "_arrcert_permissions", frozenset())
    return granted
