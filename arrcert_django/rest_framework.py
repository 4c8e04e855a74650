"""Authentication and permissions for Django REST framework."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NoReturn

from django.apps import apps
from django.core.exceptions import PermissionDenied
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.settings import api_settings

from arrcert.adapters import mark_policy, require_policy_name, require_role
from arrcert.exceptions import ConfigurationError, quote
from arrcert.identity import ClientIdentity
from arrcert_django.authorization import authorize_request, current_authorizer
from arrcert_django.users import bound_user, problems_of_policies, refuse_other_user

__all__ = ["CertificateUser", "ClientCertificateAuthentication", "HasClientCertificate"]

_logger = logging.getLogger("arrcert")


class CertificateUser:
    """The user object of an identity that is no Django user.

    It is authenticated and has no permissions in the database. Two such users are equal if their
    names are equal. It cannot be saved, no model can refer to it, and a query for it is an error.

    Attributes:
        pk: "certificate:" and the SHA-256 of the name, in hex. Throttles use it to count requests.
            It is no number and no UUID, so a query for it finds no row of a Django user. Do not use
            it to find rows of the client: use the name.
        username: the name of the identity.

    If the primary key of your user model is free text, it does not check that no user has that key.
    """

    is_authenticated = True
    is_active = True
    is_anonymous = False
    is_staff = False
    is_superuser = False

    def __init__(self, name: str) -> None:
        # The name itself may be the key of another user: a certificate may be called "1". Some
        # caches allow no long keys and no spaces in a key, and some ignore upper and lower case.
        self.pk = f"certificate:{sha256(name.encode()).hexdigest()}"
        self.username = name

    def get_username(self) -> str:
        """Return the name."""
        return self.username

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Return False: only users of Django have permissions."""
        return False

    def has_perms(self, perm_list: object, obj: object = None) -> bool:
        """Return False: only users of Django have permissions."""
        return False

    def has_module_perms(self, app_label: str) -> bool:
        """Return False: only users of Django have permissions."""
        return False

    def resolve_expression(self, *_: object, **__: object) -> NoReturn:
        """Raise an error: Django calls this for a value of a query.

        Otherwise a query such as `filter(user=request.user)` would take the name for a primary key
        if the primary key of the user model is text.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"the client {quote(self.username)} of a certificate is no Django user, so no row"
            " belongs to it; use request.auth.name in the query"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CertificateUser) and other.username == self.username

    def __hash__(self) -> int:
        return hash(self.username)

    def __str__(self) -> str:
        return self.username


class ClientCertificateAuthentication(BaseAuthentication):
    """Authenticate a request by its client certificate.

    If the policy is one of `policies`, `request.user` is the Django user whose name is the name of
    the identity. If it is not, or if there is no such user, `request.user` is a `CertificateUser`.
    If the policy gives the client no name, it is the anonymous user. `request.auth` is the
    `ClientIdentity`.

    It needs no CSRF token, because arrcert denies requests that a browser sends from a page of
    another site. List it before `SessionAuthentication`, which requires a token.

    Attributes:
        policy: the policy's name, `default` by default. Override it in a subclass.
        policies: the names of the policies whose identities are Django users; `("default",)` by
            default. Override it in a subclass. Add a policy only if each of its identities may act
            as the user of the same name. With `()`, this class looks up no Django user. A policy
            that `ClientCertificateUserMiddleware` declares needs no second declaration here.

    Raises:
        TypeError: a subclass has a `policy` that is not a name, or `policies` that are not a list
            of names.

    Source: Django REST framework's documentation, "Custom authentication".
    """

    policy = "default"
    policies: Iterable[str] = ("default",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        require_policy_name(cls.policy)
        for problem in problems_of_policies(cls, may_be_empty=True):
            raise TypeError(str(problem))
        mark_policy(cls, cls.policy)

    def authenticate(self, request: Request) -> tuple[Any, ClientIdentity] | None:
        """Return the user and the identity; None only if the request has no certificate.

        Raises:
            PermissionDenied: the policy denies the certificate, the user is not active, or the
                session belongs to another user. Django REST framework answers 403. If the policy
                denies the certificate, the `__cause__` is the `CertificateDenied`.
        """
        if not _brings_certificate(request):
            return None
        try:
            identity = authorize_request(request, self.policy)
            user = self._user_of(request, identity)
        except PermissionDenied as denied:
            raise exceptions.PermissionDenied from denied.__cause__
        return user, identity

    def authenticate_header(self, request: Request) -> None:
        """Return None. Then a request without a certificate gets a 403, not a 401."""

    def _user_of(self, request: Request, identity: ClientIdentity) -> Any:
        """Return the user of an identity.

        Raises:
            PermissionDenied: the user is not active, or the session belongs to another user.
        """
        if identity.name is None:
            return api_settings.UNAUTHENTICATED_USER and api_settings.UNAUTHENTICATED_USER()
        bound = bound_user(request._request, identity)
        if bound is not None:
            return bound
        user: Any = None
        if identity.policy in self.policies:
            user = _django_user_of(request, identity)
        else:
            _logger.debug(
                "the policy %s is not in %s.policies, so the client %s is no Django user; add the"
                " policy only if each of its identities may act as the user of the same name",
                quote(identity.policy),
                type(self).__qualname__,
                quote(identity.name),
            )
        if user is None:
            user = CertificateUser(identity.name)
        session_user = getattr(request._request, "user", None)
        if session_user is not None:
            refuse_other_user(session_user, user, identity)
        return user


# It returns a class, and is written in permission_classes like one.
def HasClientCertificate(policy: str = "default", role: str | None = None) -> type[BasePermission]:  # noqa: N802
    """Return a permission class that requires a certificate that a policy accepts.

    Write `permission_classes = [HasClientCertificate("partners", role="orders")]`. The middleware
    reads the policy from this class attribute. You can combine the permission with `&`, but not
    with `|` or `~`.

    Args:
        policy: the policy's name.
        role: the role that the policy must grant; None, the default, for any.

    Raises:
        TypeError: `policy` or `role` is not a name.

    Source: Django REST framework's documentation, "Custom permissions". It does not check that the
    policy exists. If it does not exist, every request is denied, and the log says why.
    """
    require_policy_name(policy)
    require_role(role)

    class HasCertificate(_HasClientCertificate):
        pass

    HasCertificate.policy, HasCertificate.role = policy, role
    mark_policy(HasCertificate, policy, role)
    return HasCertificate


# The metaclass of the framework's class is only known at run time.
class _NotCombinable(type(BasePermission)):  # type: ignore[misc]
    """The metaclass of the permission, in which `|` and `~` are errors.

    A denial is an exception, which ends the request before another permission is checked.
    """

    def _refuse(cls, *_: object) -> Any:
        raise TypeError(
            "HasClientCertificate cannot be combined with | or ~; write the alternatives as a list"
            " of policies in ARRCERT, or call authorize_request in your own permission class"
        )

    __or__ = __ror__ = __invert__ = _refuse


class _HasClientCertificate(BasePermission, metaclass=_NotCombinable):
    policy = "default"
    role: str | None = None

    def has_permission(self, request: Request, view: object) -> bool:
        """Return True, or deny the request.

        Raises:
            PermissionDenied: its `__cause__` is the `CertificateDenied`.
        """
        try:
            authorize_request(request, self.policy, self.role)
        except PermissionDenied as denied:
            # The browsable API handles only the exceptions of Django REST framework.
            raise exceptions.PermissionDenied from denied.__cause__
        return True


mark_policy(ClientCertificateAuthentication, ClientCertificateAuthentication.policy)


def _brings_certificate(request: Request) -> bool:
    """Return whether the request has the header of the front end, with any value."""
    try:
        header = current_authorizer().front_end.header
    except ConfigurationError:
        return True  # authorize_request() reports it.
    return bool(request.headers.get(header))


def _django_user_of(request: Request, identity: ClientIdentity) -> Any:
    """Return the Django user of an identity, or None.

    Raises:
        PermissionDenied: the user is not active, or a hook of the backend refused it.
    """
    if not apps.is_installed("django.contrib.auth"):
        return None
    # The models of django.contrib.auth cannot be imported before the apps are ready.
    from arrcert_django.backends import certificate_backend

    backend = certificate_backend()
    user = backend.authenticate(request._request, client_identity=identity)
    if user is None and backend.find_user(identity) is not None:
        _logger.warning(
            "denied: the user %s of the certificate is not active, or a hook of the backend"
            " refused it",
            quote(identity.name),
        )
        raise PermissionDenied
    return user
