"""The holder of a client certificate as a user of Django, for one request."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib.auth import aauthenticate, authenticate, login, logout
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from django.utils.functional import SimpleLazyObject

from arrcert import ConfigurationError
from arrcert.identity import ClientIdentity
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert_django.backends import ClientCertificateBackend
from arrcert_django.decorators import authorize_certificate, certificate_exempt
from arrcert_django.middleware import ClientCertificateUserMiddleware
from arrcert_django.user_checks import check_user_middleware

GATE = "arrcert_django.middleware.ClientCertificateMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
OURS = "arrcert_django.middleware.ClientCertificateUserMiddleware"
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
BACKEND = "arrcert_django.backends.ClientCertificateBackend"
PASSWORDS = "django.contrib.auth.backends.ModelBackend"
WHOLE = [GATE, SESSION, AUTHENTICATION, OURS]

pytestmark = pytest.mark.django_db(transaction=True)


def name_of(user: Any) -> str:
    """Return the name of a user, or a dash."""
    return user.get_username() or "-"


def who(request: Any) -> HttpResponse:
    """Answer with the user that sync code finds."""
    return HttpResponse(name_of(request.user))


async def awho(request: Any) -> HttpResponse:
    """Answer with the user that async code finds, in both ways."""
    user = await request.auser()
    # Only `auser` can load the user of a session.
    assert type(request.user) is SimpleLazyObject or user is request.user
    return HttpResponse(name_of(user))


def exempt(view: Any) -> Any:
    """Return an exempt copy of a view, because an exemption belongs to one function."""
    code, names = view.__code__, view.__globals__
    copy = FunctionType(code, names)
    return certificate_exempt(markcoroutinefunction(copy) if iscoroutinefunction(view) else copy)


class Everybody(ClientCertificateUserMiddleware):
    """A middleware that turns identities of two policies into users."""

    policies = ("default", "partners")


class Creating(ClientCertificateBackend):
    """A backend that creates users, and gives them permissions by role."""

    def create_user(self, client_identity: ClientIdentity) -> Any:
        """Return a new user."""
        return User.objects.create_user(client_identity.name or "")

    def configure_user(
        self, request: Any, user: Any, client_identity: ClientIdentity, created: bool = False
    ) -> Any:
        """Set the groups to the roles."""
        wanted = set(Group.objects.filter(name__in=client_identity.roles))
        if set(user.groups.all()) != wanted:
            user.groups.set(wanted)
        return user

    def permissions_of(self, client_identity: ClientIdentity) -> list[str]:
        """Return the permissions of the role."""
        return ["shop.add_order"] if "orders" in client_identity.roles else []


class Confused(ClientCertificateBackend):
    """A backend whose hook returns another user."""

    def create_user(self, client_identity: ClientIdentity) -> Any:
        """Return the admin."""
        return User.objects.get(username="admin")


class Failing(ClientCertificateBackend):
    """A backend whose hook raises an error."""

    def configure_user(self, *args: Any, **options: Any) -> Any:
        """Raise an error."""
        raise LookupError("the directory is down")


class Refusing(ClientCertificateBackend):
    """A backend whose hook denies the request."""

    def configure_user(self, *args: Any, **options: Any) -> Any:
        """Deny."""
        raise PermissionDenied


@pytest.fixture(scope="session")
def staff(authority: CertificateAuthority) -> dict[str, IssuedCertificate]:
    """Certificates of the CA behind `default`, by name."""
    names = ("alice", "admin", "inactive", "nobody", "ADMIN")
    return {name: authority.issue(name) for name in names}


@pytest.fixture(scope="session")
def devices() -> CertificateAuthority:
    """The CA behind `devices`, which issues any name."""
    return CertificateAuthority("Device CA")


@pytest.fixture(autouse=True)
def _users(settings: Any, authority: CertificateAuthority, devices: CertificateAuthority) -> None:
    """Create users, and policies whose templates can give the same name."""
    settings.ARRCERT = {
        "default": {
            "trust_anchors": authority.certificate_pem.decode(),
            "identity": "{common_name}",
            "roles": ["orders"],
        },
        "devices": {
            "trust_anchors": devices.certificate_pem.decode(),
            "identity": "{common_name}",
        },
    }
    for name in ("alice", "bob"):
        User.objects.create_user(name, password="secret")
    User.objects.create_superuser("admin", password="secret")
    User.objects.create_user("inactive", is_active=False)


def session_of(name: str) -> str:
    """Return the cookie of a session of a user who logged in."""
    client = Client()
    client.force_login(User.objects.get(username=name), backend=PASSWORDS)
    # Django's async client puts a comma at the end.
    return f"sessionid={client.cookies['sessionid'].value}; last=1"


VIEWS = pytest.mark.parametrize("view", [who, awho], ids=["sync view", "async view"])


@VIEWS
def test_user_has_exactly_the_name_of_the_identity(
    site: Any, visit: Any, view: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """The user of the request is the one with exactly the name of the identity, or anonymous."""
    site(path("", view), middleware=WHOLE)
    assert visit("/", staff["alice"]).content == b"alice"
    assert visit("/", staff["admin"]).content == b"admin"
    assert visit("/", staff["nobody"]).content == b"-"
    assert visit("/", staff["ADMIN"]).content == b"-"
    assert visit("/", staff["inactive"]).content == b"-"
    assert visit("/").status_code == 403
    assert User.objects.count() == 4


@VIEWS
def test_there_is_no_session_and_no_login(
    site: Any, visit: Any, view: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """No session is stored, so the next request without the certificate has no user."""
    site(path("", view), middleware=WHOLE)
    answer = visit("/", staff["alice"])
    assert "Set-Cookie" not in answer
    assert not answer.cookies
    assert Session.objects.count() == 0
    alice = User.objects.get(username="alice")
    assert alice.last_login is None


@VIEWS
@pytest.mark.parametrize("name", ["nobody", "inactive"])
def test_session_does_not_replace_an_unknown_user(
    site: Any, visit: Any, view: Any, name: str, staff: dict[str, IssuedCertificate]
) -> None:
    """An unknown or inactive user is anonymous, even with a session of another user."""
    site(path("", view), middleware=WHOLE)
    assert visit("/", staff[name], Cookie=session_of("bob")).content == b"-"


@VIEWS
def test_session_of_another_user_is_denied(
    site: Any, visit: Any, view: Any, staff: dict[str, IssuedCertificate], caplog: Any
) -> None:
    """A session of another user beside the certificate is a 403; one of the same user is not."""
    site(path("", view), middleware=WHOLE)
    assert visit("/", staff["alice"], Cookie=session_of("alice")).content == b"alice"
    assert visit("/", staff["alice"], Cookie=session_of("bob")).status_code == 403
    assert (
        "the certificate of 'alice' (policy 'default') came with a session of the user 'bob'"
        in (caplog.text)
    )


def test_session_fixation(site: Any, staff: dict[str, IssuedCertificate]) -> None:
    """A session that an attacker plants does not become the session of a user."""
    planted = Client().session
    planted["basket"] = ["a book"]
    planted.save()
    cookie = f"sessionid={planted.session_key}"
    site(path("", who), path("open", who), middleware=WHOLE, ARRCERT_EXEMPT_PATHS=["/open"])
    client = Client()
    headers = {**staff["admin"].headers, "Cookie": cookie}
    assert client.get("/", headers=headers).content == b"admin"
    # The attacker sends the cookie without a certificate.
    assert Client().get("/open", headers={"Cookie": cookie}).content == b"-"
    assert Session.objects.get().get_decoded() == {"basket": ["a book"]}


@VIEWS
def test_exempt_paths_and_views_keep_the_session(
    site: Any, visit: Any, view: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """On exempt paths and views the user is that of the session, so that a user can log out."""
    site(
        path("open", view),
        path("exempt", exempt(view)),
        middleware=WHOLE,
        ARRCERT_EXEMPT_PATHS=["/open"],
    )
    for url in ("/open", "/exempt"):
        assert visit(url, Cookie=session_of("bob")).content == b"bob"
        assert visit(url).content == b"-"
    assert visit("/open", staff["alice"], Cookie=session_of("bob")).content == b"bob"
    assert visit("/exempt", staff["alice"]).content == b"-"


def test_exempt_view_gives_back_the_user_of_the_session(
    site: Any, visit: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """In an exempt view the user of the certificate is replaced by the user of the session."""
    site(path("", exempt(who)), path("a", exempt(awho)), middleware=WHOLE)
    for url in ("/", "/a"):
        cookie = session_of("alice")
        assert visit(url, staff["alice"], Cookie=cookie).content == b"alice"
        assert visit(url, staff["alice"]).content == b"-"


@VIEWS
def test_device_with_the_name_of_the_admin_is_not_the_admin(
    site: Any, visit: Any, view: Any, devices: CertificateAuthority
) -> None:
    """An identity of a policy that the middleware does not declare is no user."""
    device = devices.issue("admin")
    site(
        path("device", authorize_certificate(policy="devices")(view)),
        path("default", view),
        middleware=WHOLE,
    )
    assert visit("/device", device).content == b"-"
    assert visit("/device", device, Cookie=session_of("bob")).content == b"bob"
    assert visit("/default", device).status_code == 403


@VIEWS
@pytest.mark.parametrize(
    ("middleware", "expected"), [(OURS, b"-"), (f"{__name__}.Everybody", b"bob")]
)
def test_view_of_another_policy_binds_again(
    site: Any,
    visit: Any,
    view: Any,
    middleware: str,
    expected: bytes,
    settings: Any,
    partner: IssuedCertificate,
) -> None:
    """Under each declared policy the user is that of its identity."""
    pin = partner.certificate.sha256_fingerprint
    settings.ARRCERT = {
        "default": {"fingerprints": [pin], "identity": "admin"},
        "partners": {"fingerprints": [pin], "identity": "bob"},
    }
    site(
        path("p", authorize_certificate(policy="partners")(view)),
        path("d", view),
        middleware=[*WHOLE[:3], middleware],
    )
    assert visit("/p", partner).content == expected
    assert visit("/d", partner).content == b"admin"


@pytest.mark.parametrize("header", ["REMOTE_USER", "X-Remote-User", "Remote-User", "X-User"])
def test_forged_headers_are_nobody(
    site: Any, visit: Any, header: str, staff: dict[str, IssuedCertificate]
) -> None:
    """Headers that name a user are ignored."""
    site(path("", who), middleware=WHOLE)
    forged = {header: "admin", "X-Client-CN": "admin", "X-SSL-Client-S-DN": "CN=admin"}
    assert visit("/", staff["alice"], **forged).content == b"alice"
    assert visit("/", **forged).status_code == 403


def test_forged_certificates_are_nobody(
    site: Any, visit: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """A self-signed certificate, another CA's certificate, and two in one header are denied."""
    site(path("", who), middleware=WHOLE)
    name = "X-ARR-ClientCert"
    joined = f"{staff['alice'].header_value},{staff['admin'].header_value}"
    assert visit("/", self_signed("admin")).status_code == 403
    assert visit("/", CertificateAuthority("Contoso Issuing CA").issue("admin")).status_code == 403
    assert visit("/", **{name: joined}).status_code == 403


def test_escaped_comma_in_the_subject(
    site: Any, visit: Any, authority: CertificateAuthority
) -> None:
    r"""The subject `CN=mallory,O=x\,CN=admin` is mallory, who is no user."""
    mallory = authority.issue("mallory", organization="x,CN=admin")
    assert r"\,CN=admin" in mallory.certificate.subject
    site(path("", who), middleware=WHOLE)
    assert visit("/", mallory).content == b"-"


@pytest.fixture(params=["NOCASE", "RTRIM"])
def folding(request: Any) -> Iterator[str]:
    """A database that ignores case, or spaces at the end, in the names of users."""
    asked = "SELECT sql FROM sqlite_master WHERE name = 'auth_user'"
    column = '"username" varchar(150) NOT NULL'
    with connection.cursor() as cursor:
        [plain] = cursor.execute(asked).fetchone()
    assert column in plain

    def remake(definition: str) -> None:
        kept = list(User.objects.all())
        with connection.constraint_checks_disabled(), connection.cursor() as cursor:
            cursor.execute("DROP TABLE auth_user")
            cursor.execute(definition)
            User.objects.bulk_create(kept)

    remake(plain.replace(column, f"{column} COLLATE {request.param}"))
    yield request.param
    remake(plain)


def test_database_that_folds_names(
    site: Any, visit_wsgi: Any, folding: str, staff: dict[str, IssuedCertificate]
) -> None:
    """`ADMIN` and `admin ` are not the user `admin`, even if the database finds it."""
    stored = "ADMIN" if folding == "NOCASE" else "admin "
    User.objects.filter(username="admin").update(username=stored)
    # The database treats the two names as one.
    assert User.objects.get(username="admin").username == stored
    site(path("", who), middleware=WHOLE)
    assert visit_wsgi("/", staff["admin"]).content == b"-"
    if folding == "NOCASE":
        assert visit_wsgi("/", staff["ADMIN"]).content == b"ADMIN"


def test_password_form_does_not_log_a_holder_in(
    site: Any, visit: Any, settings: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """The backend ignores passwords and usernames, in `authenticate` and `aauthenticate`."""
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    fields: list[dict[str, Any]] = [
        {"username": "admin", "password": "secret"},
        {"username": "admin"},
        {"username": "admin", "client_identity": "admin"},
        {"client_identity": "admin"},
        {},
    ]

    def form(request: Any) -> HttpResponse:
        return HttpResponse(repr([authenticate(request, **given) for given in fields]))

    async def aform(request: Any) -> HttpResponse:
        return HttpResponse(repr([await aauthenticate(request, **given) for given in fields]))

    site(path("sync", form), path("async", aform), middleware=WHOLE)
    for url in ("/sync", "/async"):
        assert visit(url, staff["admin"]).content == repr([None] * len(fields)).encode()


def test_login_and_logout_of_a_password_user(
    site: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """A login as another user than the certificate's is denied until that user logs out."""

    def enter(request: Any) -> HttpResponse:
        user = authenticate(request, username="bob", password="secret")
        login(request, user)
        return who(request)

    def leave(request: Any) -> HttpResponse:
        logout(request)
        return who(request)

    site(
        path("", who),
        path("login", enter),
        path("logout", leave),
        middleware=WHOLE,
        ARRCERT_EXEMPT_PATHS=["/logout"],
    )
    client = Client(headers=staff["alice"].headers)
    assert client.get("/login").content == b"bob"
    assert client.get("/").status_code == 403
    assert client.get("/logout").content == b"-"
    assert client.get("/").content == b"alice"


def test_hooks_create_and_configure_users(
    site: Any, visit: Any, settings: Any, staff: dict[str, IssuedCertificate]
) -> None:
    """A subclass creates users, and gives them groups and permissions by role."""
    settings.AUTHENTICATION_BACKENDS = [PASSWORDS, f"{__name__}.Creating"]
    orders = Group.objects.create(name="orders")

    def permissions(request: Any) -> HttpResponse:
        user = request.user
        assert user.has_perm("shop.add_order")
        assert user.has_module_perms("shop")
        assert not user.has_perm("shop.delete_order")
        assert not user.has_perm("shop.add_order", orders)
        return who(request)

    async def apermissions(request: Any) -> HttpResponse:
        user = await request.auser()
        assert await user.ahas_perm("shop.add_order")
        assert not await user.ahas_perm("shop.delete_order")
        return HttpResponse(name_of(user))

    site(path("sync", permissions), path("async", apermissions), middleware=WHOLE)
    for url in ("/sync", "/async"):
        assert visit(url, staff["nobody"]).content == b"nobody"
    made = User.objects.get(username="nobody")
    assert list(made.groups.all()) == [orders]
    assert not made.has_perm("shop.add_order")
    made.is_active = False
    made._arrcert_permissions = frozenset({"shop.add_order"})
    assert ClientCertificateBackend().get_all_permissions(made) == set()


@pytest.mark.parametrize("hooks", ["Confused"])
def test_hook_that_returns_another_user_gives_nobody(
    site: Any, visit: Any, settings: Any, hooks: str, staff: dict[str, IssuedCertificate]
) -> None:
    """A hook that returns a user of another name gives no user."""
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.{hooks}"]
    site(path("", who), middleware=WHOLE)
    assert visit("/", staff["nobody"]).content == b"-"


@pytest.mark.parametrize("hooks", ["Failing", "Refusing"])
def test_hook_that_fails_denies(
    site: Any, visit: Any, settings: Any, hooks: str, staff: dict[str, IssuedCertificate]
) -> None:
    """A hook that raises is a denial, and never a 500."""
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.{hooks}"]
    site(path("", who), middleware=WHOLE)
    assert visit("/", staff["alice"]).status_code == 403


def test_identity_without_a_name_is_nobody(
    site: Any, visit: Any, settings: Any, allowed: IssuedCertificate
) -> None:
    """An identity without a name has no user."""
    settings.ARRCERT = {"default": {"fingerprints": [allowed.certificate.sha256_fingerprint]}}
    site(path("", who), middleware=WHOLE)
    assert visit("/", allowed, Cookie=session_of("bob")).content == b"-"
    identity = ClientIdentity(None, frozenset(), allowed.certificate, "default")
    assert ClientCertificateBackend().find_user(identity) is None


def test_several_users_of_a_name_are_nobody(allowed: IssuedCertificate) -> None:
    """If a hook finds two users of one name, there is no user."""

    class Twice(ClientCertificateBackend):
        def filter_users_by_identity(self, client_identity: ClientIdentity) -> list[Any]:
            return [*super().filter_users_by_identity(client_identity)] * 2

    identity = ClientIdentity("alice", frozenset(), allowed.certificate, "default")
    assert ClientCertificateBackend().find_user(identity).get_username() == "alice"
    assert Twice().find_user(identity) is None


def test_users_with_names_of_another_form(allowed: IssuedCertificate) -> None:
    """A subclass may define which user belongs to an identity."""

    class ByMail(ClientCertificateBackend):
        def filter_users_by_identity(self, client_identity: ClientIdentity) -> Any:
            return User.objects.filter(email=client_identity.name)

        def is_user_of(self, user: Any, client_identity: ClientIdentity) -> bool:
            return bool(user.email == client_identity.name)

    User.objects.filter(username="bob").update(email="bob@contoso.com")
    identity = ClientIdentity("bob@contoso.com", frozenset(), allowed.certificate, "default")
    assert ByMail().authenticate(None, client_identity=identity).get_username() == "bob"


def test_login_required(site: Any, visit: Any, staff: dict[str, IssuedCertificate]) -> None:
    """Before LoginRequiredMiddleware, a known user is accepted and others are sent to the login."""
    site(path("sync", who), path("async", awho), middleware=[*WHOLE, LOGIN_REQUIRED])
    for url in ("/sync", "/async"):
        assert visit(url, staff["alice"]).content == b"alice"
        for name in ("nobody", "inactive"):
            assert visit(url, staff[name]).status_code == 302
        assert visit(url).status_code == 403


def test_one_query_for_a_request(
    site: Any, staff: dict[str, IssuedCertificate], django_assert_num_queries: Any
) -> None:
    """The user is looked up once, and a request without a cookie loads no session."""
    site(path("", who), middleware=WHOLE)
    with django_assert_num_queries(1):
        assert Client(headers=staff["alice"].headers).get("/").content == b"alice"


WRONG = {
    "before the gate": ([SESSION, AUTHENTICATION, OURS, GATE], f"stands before {GATE}"),
    "before the users": ([GATE, SESSION, OURS, AUTHENTICATION], f"stands before {AUTHENTICATION}"),
    "without the gate": ([SESSION, AUTHENTICATION, OURS], f"needs {GATE}"),
    "without users": ([GATE, SESSION, OURS], f"needs {AUTHENTICATION}"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_order_stops_the_start(site: Any, visit: Any, case: str) -> None:
    """A user middleware in the wrong place is an error of the check, and stops the start."""
    middleware, expected = WRONG[case]
    site(path("", who), middleware=middleware)
    [message] = check_user_middleware()
    assert message.id == "arrcert.E007"
    assert expected in message.msg
    with pytest.raises(ConfigurationError, match="MIDDLEWARE"):
        visit("/")


def gate_and_users(get_response: Any) -> Any:
    """A factory that makes two middlewares."""
    from django.contrib.auth.middleware import AuthenticationMiddleware

    from arrcert_django.middleware import ClientCertificateMiddleware

    return ClientCertificateMiddleware(AuthenticationMiddleware(get_response))


def test_factories_are_not_judged(site: Any) -> None:
    """A factory in MIDDLEWARE may make the missing middleware, so nothing is reported."""
    site(path("", who), middleware=[SESSION, f"{__name__}.gate_and_users", OURS])
    assert check_user_middleware() == []
    site(path("", who), middleware=[GATE])
    assert check_user_middleware() == []


def test_request_that_no_authentication_middleware_has_seen(caplog: Any) -> None:
    """A request without `user` is denied, not served."""
    middleware = ClientCertificateUserMiddleware(lambda request: HttpResponse())
    with pytest.raises(PermissionDenied):
        middleware(RequestFactory().get("/"))
    assert "AuthenticationMiddleware" in caplog.text


def test_login_required_before_it_is_a_warning(site: Any) -> None:
    """LoginRequiredMiddleware before the user middleware is a warning."""
    site(path("", who), middleware=[GATE, SESSION, AUTHENTICATION, LOGIN_REQUIRED, OURS])
    [message] = check_user_middleware()
    assert message.id == "arrcert.W007"


class Text(ClientCertificateUserMiddleware):
    policies = "default"


class Unknown(ClientCertificateUserMiddleware):
    policies = ("default", "stuff")


def test_policies_that_are_none(site: Any, settings: Any) -> None:
    """Policies as bare text stop the start, and an unknown policy is an error of the check."""
    site(path("", who), middleware=[*WHOLE[:3], f"{__name__}.Text"])
    [message] = check_user_middleware()
    assert message.id == "arrcert.E008"
    assert "Text.policies: is 'default'; write" in message.msg
    with pytest.raises(ConfigurationError, match=r"Text\.policies"):
        Client().get("/")
    site(path("", who), middleware=[*WHOLE[:3], f"{__name__}.Unknown"])
    [message] = check_user_middleware()
    assert message.id == "arrcert.E008"
    assert "'stuff'" in message.msg
    settings.ARRCERT = {}
    assert check_user_middleware() == []


def test_module_is_imported_without_users() -> None:
    """The middleware module can be imported and checked without django.contrib.auth."""
    program = (
        "import django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['arrcert_django']); django.setup();"
        "import arrcert_django.middleware; from django.core.checks import run_checks; run_checks()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
