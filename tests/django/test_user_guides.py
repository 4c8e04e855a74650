"""The code of docs/django-users.md, docs/drf.md and docs/ninja.md works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert_django.backends import ClientCertificateBackend
from arrcert_django.decorators import authorize_certificate
from arrcert_django.user_checks import check_user_middleware

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="session")
def fabrikam() -> IssuedCertificate:
    """A partner that `default` does not accept."""
    return self_signed("gateway")


@pytest.fixture(autouse=True)
def _policies(settings: Any, authority: CertificateAuthority, fabrikam: IssuedCertificate) -> None:
    settings.ARRCERT = {
        "default": {
            "trust_anchors": authority.certificate_pem.decode(),
            "identity": "{common_name}",
            "roles": ["orders"],
        },
        "partners": {
            "fingerprints": [fabrikam.certificate.sha256_fingerprint],
            "identity": "fabrikam",
            "roles": ["orders"],
        },
    }


def run(page: str) -> dict[str, Any]:
    """Run the Python blocks of a page in one module, and return its names."""
    text = (DOCS / page).read_text(encoding="utf-8")
    module = ModuleType(f"page_{page.partition('.')[0].replace('-', '_')}")
    sys.modules[module.__name__] = module
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, page, "exec"), vars(module))
    return vars(module)


def name_of(request: Any) -> HttpResponse:
    """Answer with the user and the client."""
    return HttpResponse(f"{request.user.get_username()} {request.client_identity.name}")


@pytest.mark.parametrize("declared", [False, True])
def test_users(
    site: Any,
    visit: Any,
    settings: Any,
    declared: bool,
    alice: IssuedCertificate,
    fabrikam: IssuedCertificate,
) -> None:
    """The middleware sets the user, a subclass has its policies, and hooks create users."""
    page = run("django-users.md")
    middleware = list(page["MIDDLEWARE"])
    if declared:
        middleware[4] = f"{page['__name__']}.CertificateUsers"
    site(
        path("", name_of),
        path("partners", authorize_certificate(policy="partners")(name_of)),
        middleware=middleware,
        LOGIN_URL="/login",
    )
    assert check_user_middleware() == []
    assert visit("/", alice).status_code == 302
    settings.AUTHENTICATION_BACKENDS = [f"{page['__name__']}.PartnerBackend"]
    Group.objects.create(name="orders")
    assert visit("/", alice).content == b"alice alice"
    user = User.objects.get(username="alice")
    assert [group.name for group in user.groups.all()] == ["orders"]
    answer = visit("/partners", fabrikam)
    assert answer.content == (b"fabrikam fabrikam" if declared else b"")
    assert answer.status_code == (200 if declared else 302)


def test_hooks_in_the_table() -> None:
    """Every hook of the table exists and is described as one."""
    text = (DOCS / "django-users.md").read_text(encoding="utf-8")
    hooks = re.findall(r"^\| `(\w+)\(", text, re.MULTILINE)
    assert len(hooks) == 5
    for hook in hooks:
        assert "hook" in (getattr(ClientCertificateBackend, hook).__doc__ or "")


def test_rest_framework(
    site: Any, visit: Any, alice: IssuedCertificate, fabrikam: IssuedCertificate
) -> None:
    """The views read the identity, require a role, throttle by client, and need no CSRF token."""
    page = run("drf.md")
    page["ScopedRateThrottle"].THROTTLE_RATES = {"orders": "1/day"}
    cache.clear()
    site(
        path("whoami", page["WhoAmI"].as_view()),
        path("orders", page["Orders"].as_view()),
        path("reports", page["Reports"].as_view()),
        path("both", page["Both"].as_view()),
        path("viewset", page["OrderViewSet"].as_view({"get": "list"})),
        path(
            "refund",
            page["OrderViewSet"].as_view({"post": "refund"}, **page["OrderViewSet"].refund.kwargs),
        ),
    )
    assert visit("/whoami", alice).json() == {"user": "alice", "roles": ["orders"]}
    assert visit("/whoami", fabrikam).status_code == 403
    assert visit("/orders", fabrikam, method="POST").json() == {"from": "fabrikam"}
    assert visit("/orders", fabrikam, method="POST").status_code == 429
    assert visit("/orders", alice, method="POST").status_code == 403
    assert visit("/reports", fabrikam).json() == {"for": "fabrikam"}
    assert visit("/reports", alice).status_code == 403
    assert visit("/viewset", fabrikam).json() == {"orders of": "fabrikam"}
    assert visit("/viewset", alice).status_code == visit("/viewset").status_code == 403
    assert visit("/refund", fabrikam, method="POST").status_code == 403
    machine = Client(enforce_csrf_checks=True, headers=alice.headers)
    assert machine.post("/both").json() == {"from": "alice"}
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert visit("/both", alice, method="POST", **cross).status_code == 403


def test_ninja(
    site: Any, visit: Any, alice: IssuedCertificate, fabrikam: IssuedCertificate
) -> None:
    """Each operation is checked under the policy of its `auth=`, which the gate reads."""
    page = run("ninja.md")
    site(path("api/", page["api"].urls))
    assert visit("/api/whoami", alice).json() == {"name": "alice"}
    assert visit("/api/whoami", fabrikam).status_code == 403
    assert visit("/api/orders", fabrikam, method="POST").json() == {"from": "fabrikam"}
    assert visit("/api/orders", alice, method="POST").status_code == 403
    assert visit("/api/orders", method="POST").status_code == 403


def test_ninja_with_several_functions(
    site: Any, visit: Any, alice: IssuedCertificate, fabrikam: IssuedCertificate
) -> None:
    """With several `auth=` functions, `default` must accept too, and async functions work."""
    import ninja

    @authorize_certificate(policy="partners")
    async def partner(request: Any) -> Any:
        return request.client_identity

    api = ninja.NinjaAPI(urls_namespace="several", docs_url=None)

    @api.get("/one", auth=partner)
    async def one(request: Any) -> str:
        return str(request.auth.name)

    @api.get("/two", auth=[partner, partner])
    async def two(request: Any) -> str:
        raise AssertionError("not reached")

    site(path("api/", api.urls))
    assert visit("/api/one", fabrikam).json() == "fabrikam"
    for who in (alice, fabrikam):
        assert visit("/api/two", who).status_code == 403
