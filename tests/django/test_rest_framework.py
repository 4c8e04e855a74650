"""Django REST framework: authentication, permissions, throttles, schemas."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import models
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.views import View
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import spectacular_settings
from rest_framework.authentication import (
    BasicAuthentication,
    SessionAuthentication,
)
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from arrcert import CertificateDenied, ConfigurationError
from arrcert.adapters import Requirement
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert_django.checks import check_views
from arrcert_django.decorators import authorize_certificate
from arrcert_django.mixins import ClientCertificateRequiredMixin
from arrcert_django.rest_framework import (
    CertificateUser,
    ClientCertificateAuthentication,
    HasClientCertificate,
)
from arrcert_django.urlconf import requirement_of
from arrcert_django.user_checks import check_authentication
from arrcert_django.users import ClientCertificateUserMiddleware

GATE = "arrcert_django.middleware.ClientCertificateMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
USERS = "arrcert_django.middleware.ClientCertificateUserMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
WHOLE = [GATE, SESSION, AUTHENTICATION, USERS]
GATES = pytest.mark.parametrize("middleware", [[GATE], [COMMON], WHOLE], ids=["gate", "-", "all"])

pytestmark = pytest.mark.django_db(transaction=True)


class PartnersAuthentication(ClientCertificateAuthentication):
    """An authentication under another policy."""

    policy = "partners"


class Page(APIView):
    """A view that answers with the client's identity."""

    authentication_classes: Any = [ClientCertificateAuthentication]
    permission_classes: Any = [IsAuthenticated]

    def get(self, request: Any) -> Response:
        """Return the name and the type of the user, and the policy."""
        auth = request.auth
        return Response([str(request.user), type(request.user).__name__, auth and auth.policy])

    post = get


class PartnersPage(Page):
    """A view that requires a role of another policy."""

    authentication_classes = [PartnersAuthentication]
    permission_classes = [HasClientCertificate("partners", role="orders")]


@pytest.fixture(scope="session")
def partner() -> IssuedCertificate:
    """A certificate that `partners` allows and `default` does not."""
    return self_signed("partner")


@pytest.fixture(autouse=True)
def _users(settings: Any, authority: CertificateAuthority, partner: IssuedCertificate) -> None:
    """Create users, and a policy whose template gives their names."""
    settings.ARRCERT = {
        "default": {
            "trust_anchors": authority.certificate_pem.decode(),
            "identity": "{common_name}",
            "roles": ["invoices"],
        },
        "partners": {
            "fingerprints": [partner.certificate.sha256_fingerprint],
            "identity": "fabrikam",
            "roles": ["orders"],
        },
    }
    User.objects.create_user("alice")
    User.objects.create_user("inactive", is_active=False)
    User.objects.create_user("bob")


@GATES
def test_user_and_identity(
    site: Any,
    visit: Any,
    middleware: list[str],
    alice: IssuedCertificate,
    authority: CertificateAuthority,
) -> None:
    """The user is Django's, or a stand-in without one, and an inactive user is denied."""
    site(path("", Page.as_view()), middleware=middleware)
    assert visit("/", alice).json() == ["alice", "User", "default"]
    assert visit("/", authority.issue("gateway")).json() == [
        "gateway",
        "CertificateUser",
        "default",
    ]
    assert visit("/", authority.issue("ALICE")).json()[1] == "CertificateUser"
    for denied in (authority.issue("inactive"), None):
        answer = visit("/", denied)
        assert answer.status_code == 403
        assert "WWW-Authenticate" not in answer


class DevicesAuthentication(ClientCertificateAuthentication):
    """An authentication under the policy of a CA that issues any name."""

    policy = "devices"


class DeclaredAuthentication(DevicesAuthentication):
    """Declares that the identities of that policy are users."""

    policies = ["default", "devices"]


class NobodyAuthentication(ClientCertificateAuthentication):
    """Declares that no client is a user."""

    policies = ()


class DeclaringMiddleware(ClientCertificateUserMiddleware):
    """Declares the same for the whole site."""

    policies = ("devices",)


class AdminPage(Page):
    """A view for the admins of Django."""

    authentication_classes = [DevicesAuthentication]
    permission_classes = [IsAdminUser]


@pytest.fixture
def device(settings: Any) -> IssuedCertificate:
    """A device that its CA calls `admin`, beside an admin of that name."""
    devices = CertificateAuthority("Device CA")
    settings.ARRCERT["devices"] = {
        "trust_anchors": devices.certificate_pem.decode(),
        "identity": "{common_name}",
    }
    User.objects.create_superuser("admin")
    return devices.issue("admin")


@GATES
def test_device_with_the_name_of_the_admin_is_not_the_admin(
    site: Any, visit: Any, middleware: list[str], device: IssuedCertificate, caplog: Any
) -> None:
    """An identity is a Django user only under a policy that the authentication declares."""
    caplog.set_level("DEBUG", "arrcert")
    site(
        path("admin", AdminPage.as_view()),
        path("any", Page.as_view(authentication_classes=[DevicesAuthentication])),
        path("declared", AdminPage.as_view(authentication_classes=[DeclaredAuthentication])),
        middleware=middleware,
    )
    assert visit("/admin", device).status_code == 403
    assert "the policy 'devices' is not in DevicesAuthentication.policies" in caplog.text
    assert visit("/any", device).json() == ["admin", "CertificateUser", "devices"]
    assert visit("/declared", device).json() == ["admin", "User", "devices"]


def test_no_client_is_a_user_if_no_policy_is_declared(
    site: Any, visit: Any, alice: IssuedCertificate
) -> None:
    """With an empty list every client is a `CertificateUser`, also under `default`."""
    site(path("", Page.as_view(authentication_classes=[NobodyAuthentication])))
    assert visit("/", alice).json() == ["alice", "CertificateUser", "default"]
    assert check_authentication() == []


def test_session_beside_a_client_that_is_no_user(site: Any, device: IssuedCertificate) -> None:
    """The session of a user of the same name does not make the client that user."""
    site(path("", AdminPage.as_view()), middleware=WHOLE)
    client = Client(headers=device.headers)
    client.force_login(User.objects.get(username="admin"))
    assert client.get("/").status_code == 403


def test_policy_that_the_middleware_declares(
    site: Any, visit: Any, device: IssuedCertificate
) -> None:
    """A policy that the middleware for users declares needs no second declaration."""
    declaring = f"{__name__}.DeclaringMiddleware"
    site(path("", AdminPage.as_view()), middleware=[*WHOLE[:3], declaring])
    assert visit("/", device).json() == ["admin", "User", "devices"]


def test_denial_carries_its_cause(site: Any, visit: Any, stranger: IssuedCertificate) -> None:
    """A certificate that the policy denies is a 403, even after Basic authentication."""
    seen: list[Any] = []

    class Keeping(Page):
        authentication_classes = [BasicAuthentication, ClientCertificateAuthentication]
        permission_classes = [AllowAny]

        def handle_exception(self, exc: Exception) -> Response:
            seen.append(exc.__cause__)
            return super().handle_exception(exc)

    site(path("", Keeping.as_view()), middleware=[COMMON])
    assert visit("/", stranger).status_code == 403
    [cause] = seen
    assert isinstance(cause, CertificateDenied)
    assert visit("/").json() == ["None", "NoneType", None]
    assert len(seen) == 1


def test_configuration_with_mistakes_denies(settings: Any, alice: IssuedCertificate) -> None:
    """A configuration with mistakes is a denial, and does not count as a missing header."""

    class Open(Page):
        permission_classes = [AllowAny]

    settings.ARRCERT = {"default": {"fingerprint": ["AA"]}}
    for headers in ({}, alice.headers):
        assert Open.as_view()(RequestFactory().get("/", headers=headers)).status_code == 403


def test_policy_without_names_gives_the_anonymous_user(
    site: Any, visit: Any, settings: Any, alice: IssuedCertificate
) -> None:
    """A policy without `identity` authenticates no user, but the permission still applies."""
    settings.ARRCERT = {"default": {"fingerprints": [alice.certificate.sha256_fingerprint]}}

    class Permitted(Page):
        permission_classes = [HasClientCertificate()]

    site(path("user", Page.as_view()), path("permitted", Permitted.as_view()))
    assert visit("/user", alice).status_code == 403
    assert visit("/permitted", alice).json()[2] == "default"


def test_site_without_users(site: Any, visit: Any, settings: Any, alice: IssuedCertificate) -> None:
    """Without django.contrib.auth every identity is a `CertificateUser`."""
    from django.apps import apps

    site(path("", Page.as_view()))
    without = [app for app in settings.INSTALLED_APPS if app != "django.contrib.auth"]
    apps.set_available_apps(without)
    try:
        assert visit("/", alice).json() == ["alice", "CertificateUser", "default"]
    finally:
        apps.unset_available_apps()


def test_session_of_another_user_is_denied(site: Any, alice: IssuedCertificate) -> None:
    """A session beside the certificate must belong to the same user, or the request is denied."""
    site(path("", Page.as_view()), middleware=WHOLE[:3])
    for name, expected in (("alice", 200), ("bob", 403)):
        client = Client(headers=alice.headers)
        client.force_login(User.objects.get(username=name))
        assert client.get("/").status_code == expected


@GATES
def test_permission_asks_for_policy_and_role(
    site: Any,
    visit: Any,
    middleware: list[str],
    alice: IssuedCertificate,
    partner: IssuedCertificate,
) -> None:
    """The gate reads the permission, so a partner that `default` denies is accepted."""
    site(path("", PartnersPage.as_view()), middleware=middleware)
    assert visit("/", partner).json() == ["fabrikam", "CertificateUser", "partners"]
    assert visit("/", alice).status_code == 403
    assert visit("/").status_code == 403
    assert visit("/", partner, method="OPTIONS").status_code == 200
    assert visit("/", alice, method="OPTIONS").status_code == 403


@permission_classes([HasClientCertificate("partners", role="invoices")])
def _function(request: Any) -> Response:
    return Response()


class _Actions(ViewSet):
    permission_classes: Any = []

    @action(detail=False, permission_classes=[HasClientCertificate("partners")])
    def listed(self, request: Any) -> Response:
        return Response()


class _Computed(PartnersPage):
    def get_permissions(self) -> Any:
        return super().get_permissions()


class _Named(_Computed):
    certificate_policy = "partners"
    certificate_role = "orders"


class _Both(APIView):
    permission_classes = [IsAuthenticated & HasClientCertificate("partners")]


class _Either(APIView):
    permission_classes = [IsAdminUser | IsAuthenticated]


class _Authenticated(APIView):
    authentication_classes = [SessionAuthentication, PartnersAuthentication]


class _ComputedAuthentication(_Authenticated):
    def get_authenticators(self) -> Any:
        return super().get_authenticators()


REQUIREMENTS = {
    "permission": (PartnersPage.as_view(), Requirement("partners", "orders")),
    "as_view": (
        Page.as_view(permission_classes=[HasClientCertificate("partners")]),
        Requirement("partners"),
    ),
    "api_view": (api_view()(_function), Requirement("partners", "invoices")),
    "computed": (_Computed.as_view(authentication_classes=[]), None),
    "named": (_Named.as_view(), Requirement("partners", "orders")),
    "and": (_Both.as_view(), Requirement("partners")),
    "or": (_Either.as_view(authentication_classes=[]), None),
    "authentication": (_Authenticated.as_view(), Requirement("partners")),
    "computed authentication": (_ComputedAuthentication.as_view(), None),
    "none": (Page.as_view(authentication_classes=[], permission_classes=()), None),
}


@pytest.mark.parametrize("case", REQUIREMENTS)
def test_what_the_gate_reads(case: str) -> None:
    """The gate reads the attributes of a view for every method, and not computed permissions."""
    view, expected = REQUIREMENTS[case]
    for method in ("GET", "POST", "OPTIONS", None):
        assert requirement_of(view, method) == expected


def test_action_of_a_viewset(site: Any, visit: Any, partner: IssuedCertificate) -> None:
    """The gate reads the permissions of a viewset's action."""
    router = SimpleRouter()
    router.register("a", _Actions, basename="a")
    site(*router.urls)
    assert visit("/a/listed/", partner).status_code == 200


def test_computed_permissions_need_default_as_well(
    site: Any, visit: Any, partner: IssuedCertificate, caplog: Any
) -> None:
    """If get_permissions() hides the policy, `default` must accept too, and the log says so."""
    site(
        path("computed", _Computed.as_view(authentication_classes=[])), path("n", _Named.as_view())
    )
    assert visit("/computed", partner).status_code == 403
    assert "set certificate_policy = 'partners' on the class of the view" in caplog.text
    assert visit("/n", partner).status_code == 200


def test_permission_is_not_combined_loosely() -> None:
    """`|` and `~` are refused when the view is written, in both orders."""
    permission: Any = HasClientCertificate("partners")
    combinations: list[Any] = [
        lambda: permission | IsAdminUser,
        lambda: IsAdminUser | permission,
        lambda: ~permission,
    ]
    for combine in combinations:
        with pytest.raises(TypeError, match="alternatives"):
            combine()


@pytest.mark.parametrize("arguments", [("",), (None,), ("partners", ""), ("partners", 7)])
def test_names_are_checked_when_the_class_is_made(arguments: Any) -> None:
    """A policy or a role that is not a name is a TypeError when the class is defined."""
    with pytest.raises(TypeError, match=r"policy is|role is"):
        HasClientCertificate(*arguments)
    with pytest.raises(TypeError, match="policy is"):
        type("Wrong", (ClientCertificateAuthentication,), {"policy": None})
    for policies in ("partners", "", None, [7], [""]):
        with pytest.raises(TypeError, match=r"Wrong\.policies: is .*; write the names of policies"):
            type("Wrong", (ClientCertificateAuthentication,), {"policies": policies})


@pytest.fixture
def _throttled() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.mark.usefixtures("_throttled")
def test_throttling_counts_by_identity(
    site: Any, visit: Any, authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """The throttle counts by identity, for all certificates with the same name."""

    class Slow(ScopedRateThrottle):
        THROTTLE_RATES = {"orders": "2/day"}

    class Orders(Page):
        throttle_classes = [Slow]
        throttle_scope = "orders"

    site(path("", Orders.as_view()))
    first, second = authority.issue("gateway"), authority.issue("gateway")
    assert visit("/", first).status_code == 200
    assert visit("/", second).status_code == 200
    assert visit("/", first).status_code == 429
    assert visit("/", second).status_code == 429
    assert visit("/", alice).status_code == 200


@pytest.mark.usefixtures("_throttled")
@pytest.mark.filterwarnings("error::django.core.cache.CacheKeyWarning")
def test_throttle_of_one_client_is_not_that_of_another(
    site: Any, visit: Any, authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """No name gives a client the key of a user's throttle, or a key that a cache refuses."""

    class Slow(ScopedRateThrottle):
        THROTTLE_RATES = {"orders": "1/day"}

    class Orders(Page):
        throttle_classes = [Slow]
        throttle_scope = "orders"

    site(path("", Orders.as_view()))
    key = str(User.objects.get(username="alice").pk)
    assert visit("/", alice).status_code == 200
    assert visit("/", alice).status_code == 429
    for name in (key, f"certificate:{key}", "a b", "A B", "Zoë " * 10 + "Z"):
        assert visit("/", authority.issue(name)).status_code == 200
        assert visit("/", authority.issue(name)).status_code == 429


class Account(models.Model):
    """A user model whose primary key is text."""

    name = models.CharField(primary_key=True, max_length=200)

    class Meta:
        """A model without a table."""

        app_label = "accounts_of_the_test"
        managed = False


class Device(models.Model):
    """A user model whose primary key is a UUID."""

    uuid = models.UUIDField(primary_key=True)

    class Meta:
        """A model without a table."""

        app_label = "accounts_of_the_test"
        managed = False


class Row(models.Model):
    """A row that belongs to a user."""

    account = models.ForeignKey(Account, models.CASCADE)
    device = models.ForeignKey(Device, models.CASCADE)

    class Meta:
        """A model without a table."""

        app_label = "accounts_of_the_test"
        managed = False


UUID = "12345678123456781234567812345678"


@pytest.mark.parametrize("name", ["1", "01", "1.0", "boss", UUID, f"urn:uuid:{UUID}"])
def test_client_has_no_rows_of_a_user(
    site: Any, visit: Any, authority: CertificateAuthority, name: str
) -> None:
    """Neither the user object of a client nor its `pk` finds a row of a user with that key."""
    boss = User.objects.create_user("the boss", pk=1)
    boss.groups.add(Group.objects.create(name="secret"))
    found: list[Any] = []

    class Groups(Page):
        def get(self, request: Any) -> Response:
            rows = User.groups.through.objects
            for value in (request.user, request.user.pk):
                for condition in ("user", "user_id", "user__pk"):
                    try:
                        found.extend(rows.filter(**{condition: value}))
                    except (TypeError, ValueError) as error:
                        found.append(type(error))
            with pytest.raises(TypeError, match=r"no row belongs to it; use request\.auth\.name"):
                rows.update(user=request.user)
            with pytest.raises(TypeError, match="no row belongs to it"):
                Row.objects.filter(account=request.user)
            assert request.user.pk not in (name, request.user.username)
            for key in (request.user, request.user.pk):
                with pytest.raises((TypeError, ValidationError)):
                    Row.objects.filter(device=key)
            return Response()

    site(path("", Groups.as_view()))
    assert visit("/", authority.issue(name)).status_code == 200
    assert found == [TypeError] * 3 + [ValueError] * 3


def test_browsable_api(
    site: Any, visit: Any, settings: Any, authority: CertificateAuthority, stranger: Any
) -> None:
    """The browsable pages show the escaped name, and a denial is a page too."""
    renderers = [BrowsableAPIRenderer, JSONRenderer]
    page = Page.as_view(renderer_classes=renderers)
    site(path("", page), middleware=[COMMON], DEBUG=False)
    settings.TEMPLATES = [
        {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    ]
    settings.STATIC_URL = "/static/"
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    answer = visit("/", authority.issue("<script>gateway"), Accept="text/html")
    assert answer.status_code == 200
    assert b"&lt;script&gt;gateway" in answer.content
    assert b"<script>gateway" not in answer.content
    for denied in (stranger, None):
        answer = visit("/", denied, Accept="text/html")
        assert answer.status_code == 403
        assert answer["Content-Type"].startswith("text/html")


SITES = pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
    ],
)


@SITES
@GATES
def test_cross_site_protection_stands_for_tokens(
    site: Any,
    middleware: list[str],
    headers: dict[str, str],
    expected: int,
    alice: IssuedCertificate,
) -> None:
    """A machine needs no CSRF token, and a browser's cross-site POST is denied."""

    class Beside(Page):
        authentication_classes = [ClientCertificateAuthentication, SessionAuthentication]

    site(path("", Beside.as_view()), middleware=middleware)
    client = Client(enforce_csrf_checks=True, headers={**alice.headers, **headers})
    assert client.post("/").status_code == expected


class SessionFirst(Page):
    """A view that requires a CSRF token from machines."""

    authentication_classes = [SessionAuthentication, ClientCertificateAuthentication]


class SessionAlone(Page):
    """A view that reads only the user of the middleware."""

    authentication_classes = [SessionAuthentication]


class Fitting(Page):
    """A view as the documentation shows it."""

    authentication_classes = [ClientCertificateAuthentication, SessionAuthentication]


class Mismatched(Page):
    """A view whose authentication and permission name different policies."""

    permission_classes = [HasClientCertificate("partners")]


class Misspelt(Page):
    """A view that names an unknown policy."""

    authentication_classes: Any = []
    permission_classes = [HasClientCertificate("partnrs")]


@pytest.mark.parametrize("view", [SessionFirst, SessionAlone])
def test_machine_that_would_be_asked_for_a_token(
    site: Any, view: Any, alice: IssuedCertificate
) -> None:
    """The check reports a view that would require a CSRF token from machines."""
    site(path("", view.as_view()), middleware=WHOLE)
    [message] = check_authentication()
    assert message.id == "arrcert.W008"
    assert view.__name__ in message.msg
    assert "CSRF token" in message.msg
    client = Client(enforce_csrf_checks=True, headers=alice.headers)
    assert b"CSRF" in client.post("/").content


def test_checks_of_policies(site: Any, settings: Any) -> None:
    """Policies that do not fit together, or do not exist, are reported."""
    site(path("", Fitting.as_view()), path("page", Page.as_view()), middleware=WHOLE)
    assert check_authentication() == []
    site(path("", Mismatched.as_view()), path("misspelt", Misspelt.as_view()))
    assert [message.id for message in check_authentication()] == ["arrcert.W009"]
    [unknown] = check_views()
    assert unknown.id == "arrcert.E003"
    assert "Misspelt names the policy 'partnrs', which does not exist" in unknown.msg
    site(path("", Page.as_view(authentication_classes=[DeclaredAuthentication])))
    [unknown] = check_authentication()
    assert unknown.id == "arrcert.E008"
    assert "DeclaredAuthentication.policies: names 'devices', which is not a policy" in unknown.msg
    site(path("", Mismatched.as_view()), path("misspelt", Misspelt.as_view()))
    settings.ARRCERT = {}
    assert [message.id for message in check_authentication()] == ["arrcert.W009"]
    assert check_views() == []
    settings.ROOT_URLCONF = "no.such.module"
    assert check_authentication() == check_views() == []


def test_certificate_user() -> None:
    """A `CertificateUser` has no permissions, and is equal only to one of the same name."""
    user = CertificateUser("7")
    assert user.pk == f"certificate:{sha256(b'7').hexdigest()}"
    assert user == CertificateUser("7")
    assert len({user, CertificateUser("7")}) == 1
    assert user != CertificateUser("8")
    assert user != User(pk=7)
    assert (user.is_staff, user.is_superuser, user.is_anonymous) == (False, False, False)
    assert not user.has_perm("shop.add_order")
    assert not user.has_perms(["shop.add_order"])
    assert not user.has_module_perms("shop")
    assert user.get_username() == "7"


@pytest.mark.parametrize("version", ["3.1.1", "3.0.3"])
def test_schema_has_mutual_tls(site: Any, version: str, capsys: Any) -> None:
    """drf-spectacular describes the authentication, and OpenAPI 3.0 is a warning."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectacular_settings, "OAS_VERSION", version)
        site(path("a", Page.as_view()), path("b", PartnersPage.as_view()))
        schema = SchemaGenerator().get_schema(request=None, public=True)
    scheme = schema["components"]["securitySchemes"]["clientCertificate"]
    assert scheme["type"] == "mutualTLS"
    for url in ("/a", "/b"):
        assert schema["paths"][url]["get"]["security"] == [{"clientCertificate": []}]
    assert ("OAS_VERSION" in capsys.readouterr().err) == (version == "3.0.3")


class Unchecked(Page):
    """A view that names a policy for a gate, in a site without a gate."""

    authentication_classes: Any = []
    certificate_policy = "partners"


PARTNERS: Any = HasClientCertificate("partners")


class Checked(Unchecked):
    """A view that names a policy and checks it."""

    permission_classes = [PARTNERS]


class Open(Unchecked):
    """Has no permission, so it runs for everybody."""

    permission_classes: Any = []


class CheckedWithoutRole(Checked):
    """Names a role that its permission does not ask for."""

    certificate_role = "orders"


class Computed(Checked):
    """Lists the permission, and computes others."""

    def get_permissions(self) -> list[Any]:
        """Return no permission."""
        return []


class UncheckedViewSet(ViewSet):
    """Checks one action, and leaves another open."""

    certificate_policy = "partners"
    permission_classes: Any = [HasClientCertificate("partners")]

    def list(self, request: Any) -> Response:
        """Answer."""
        return Response(["list"])

    @action(detail=False, permission_classes=[])
    def report(self, request: Any) -> Response:
        """Answer."""
        return Response(["report"])


@pytest.mark.parametrize(
    ("route", "remedy"),
    [
        (path("view", Open.as_view()), "'partners'"),
        (path("view", CheckedWithoutRole.as_view()), "'partners', role='orders'"),
        (path("view", Computed.as_view()), "'partners'"),
        (path("view", Checked.as_view(permission_classes=[])), "'partners'"),
        (path("view", UncheckedViewSet.as_view({"get": "report"}, permission_classes=[])), ""),
    ],
    ids=["view", "role", "computed", "route", "action"],
)
def test_site_with_a_policy_that_nothing_checks_serves_nothing(
    site: Any, visit: Any, route: Any, remedy: str, partner: IssuedCertificate, caplog: Any
) -> None:
    """The attribute says that the view is protected; without the gate that would not be true."""
    site(path("other", Checked.as_view()), route, middleware=[COMMON])
    for who in (None, partner):
        for url in ("/view", "/other"):
            with pytest.raises(ConfigurationError, match="nothing that arrcert can see checks it"):
                visit(url, who)
    assert "the site refuses to serve: the view" in caplog.text
    assert "at 'view': names certificate_policy = 'partners'" in caplog.text
    assert f"HasClientCertificate({remedy}" in caplog.text


class NotOfTheFramework(View):
    """A view of Django, which asks no permissions."""

    certificate_policy = "partners"
    permission_classes = [PARTNERS]


def test_django_s_own_views_have_no_permissions(
    site: Any, visit: Any, partner: IssuedCertificate
) -> None:
    """`permission_classes` of a view that is not of the framework checks nothing."""
    site(path("view", NotOfTheFramework.as_view()), middleware=[COMMON])
    with pytest.raises(ConfigurationError, match="ClientCertificateRequiredMixin"):
        visit("/view", partner)


def test_policy_of_the_class_is_checked_by_the_gate(
    site: Any, visit: Any, partner: IssuedCertificate
) -> None:
    """With the middleware such a site serves, and the middleware checks the policy."""
    site(path("view", Open.as_view()))
    assert visit("/view").status_code == 403
    assert visit("/view", partner).status_code == 200
    with (
        override_settings(MIDDLEWARE=[COMMON], ARRCERT_PROTECT_ALL=False),
        pytest.raises(ConfigurationError, match="nothing that arrcert can see checks it"),
    ):
        visit("/view", partner)


def test_actions_of_a_router_are_examined_one_by_one(site: Any, visit: Any) -> None:
    """One action that takes the permission away stops the site, whatever the others ask for."""
    router = SimpleRouter()
    router.register("orders", UncheckedViewSet, basename="orders")
    site(*router.urls, middleware=[COMMON])
    with pytest.raises(ConfigurationError, match="names certificate_policy = 'partners'") as raised:
        visit("/orders/")
    [problem] = raised.value.problems
    assert "orders/report" in problem.setting


def test_site_whose_views_check_their_policy_serves(
    site: Any, visit: Any, partner: IssuedCertificate
) -> None:
    """The permission, the decorator and the mixin each check the policy without the gate."""

    class Mixed(ClientCertificateRequiredMixin, Open):
        certificate_policy = "partners"

    site(
        path("permission", Checked.as_view()),
        path("combined", Open.as_view(permission_classes=[AllowAny & PARTNERS])),
        path("decorator", authorize_certificate(policy="partners")(Open.as_view())),
        path("mixin", Mixed.as_view()),
        path("role", Open.as_view(permission_classes=[HasClientCertificate("partners", "orders")])),
        middleware=[COMMON],
    )
    for url in ("/permission", "/combined", "/decorator", "/mixin", "/role"):
        assert visit(url).status_code == 403
        assert visit(url, partner).status_code == 200
    assert check_authentication() == check_views() == []


def test_policy_that_nothing_checks(site: Any, settings: Any) -> None:
    """Without the gate, a `certificate_policy` without a permission is an error of the check."""
    routes = (path("", Unchecked.as_view()), path("checked", Checked.as_view()))
    site(*routes)
    assert check_views() == []
    site(*routes, middleware=[COMMON])
    [message] = check_views()
    assert message.id == "arrcert.E009"
    assert "Unchecked at ''" in message.msg
    assert "names certificate_policy = 'partners'" in message.msg
    settings.ARRCERT = {}
    assert [message.id for message in check_views()] == ["arrcert.E009"]


def test_checks_without_views_of_the_framework(site: Any, monkeypatch: Any) -> None:
    """A site that does not import Django REST framework has nothing to report."""
    site()
    monkeypatch.delitem(sys.modules, "rest_framework.views")
    assert check_authentication() == []
