from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, Tags, run_checks
from django.core.checks import Warning as CheckWarning
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View

from arrcert.testing import CertificateAuthority
from arrcert_django.decorators import authorize_certificate
from arrcert_django.middleware import ClientCertificateMiddleware
from arrcert_django.mixins import ClientCertificateRequiredMixin

SECURITY = "django.middleware.security.SecurityMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
OURS = "arrcert_django.middleware.ClientCertificateMiddleware"


class SubclassedMiddleware(ClientCertificateMiddleware):
    pass


def no_class(get_response: Any) -> Any:
    """Return what a middleware that is a function returns."""
    return get_response


def _messages() -> list[CheckMessage]:
    messages = run_checks(tags=[Tags.security])
    return [message for message in messages if (message.id or "").startswith("arrcert.")]


def _ids() -> list[str]:
    # Django keeps its checks in a set, so it runs them in any order.
    return sorted(str(message.id) for message in _messages())


def _deployment_errors() -> list[str | None]:
    messages = run_checks(tags=[Tags.security], include_deployment_checks=True)
    return [
        message.id
        for message in messages
        if isinstance(message, Error) and (message.id or "").startswith("arrcert.")
    ]


@pytest.fixture(autouse=True)
def _ordinary_site(settings: Any) -> None:
    settings.MIDDLEWARE = [SECURITY, OURS, COMMON]


def test_an_ordinary_site_has_nothing_to_report() -> None:
    """A policy, and the middleware directly after SecurityMiddleware, give no report."""
    assert _ids() == []


def test_each_mistake_is_an_error_of_its_own(settings: Any) -> None:
    """All mistakes are reported together, each with its setting and a hint."""
    settings.ARRCERT = {"default": {"fingerprint": ["A" * 64]}}
    settings.ARRCERT_EXEMPT_PATHS = ["health"]
    messages = _messages()
    assert {message.id for message in messages} == {"arrcert.E001"}
    assert all(isinstance(message, Error) and message.hint for message in messages)
    text = "\n".join(message.msg for message in messages)
    assert "ARRCERT_EXEMPT_PATHS" in text
    assert "fingerprint" in text


def test_no_policy_at_all_is_a_warning(settings: Any) -> None:
    """Without any configuration there is one warning, so commands that serve nothing work."""
    del settings.ARRCERT
    [message] = _messages()
    assert (message.id, isinstance(message, CheckWarning)) == ("arrcert.W006", True)
    assert message.hint
    assert "ARRCERT" in message.msg
    call_command("check", tags=["security"])


def test_no_policy_at_all_is_an_error_of_a_deployment(settings: Any) -> None:
    """`check --deploy` fails without any configuration."""
    del settings.ARRCERT
    assert "arrcert.E002" in _deployment_errors()
    with pytest.raises(SystemCheckError, match=r"arrcert\.E002"):
        call_command("check", deploy=True, tags=["security"])
    settings.ARRCERT = {}
    assert _deployment_errors() == ["arrcert.E001"]


def test_an_empty_setting_is_a_mistake_rather_than_missing(settings: Any) -> None:
    """`ARRCERT = {}` is reported as a mistake, not as a missing setting."""
    settings.ARRCERT = {}
    assert _ids() == ["arrcert.E001"]


def test_an_error_stops_manage_py(settings: Any) -> None:
    """`manage.py check` fails if the configuration has a mistake."""
    settings.ARRCERT = {}
    with pytest.raises(SystemCheckError, match=r"arrcert\.E001"):
        call_command("check", tags=["security"])


def test_a_missing_middleware_is_a_warning(settings: Any) -> None:
    """A missing middleware is only a warning, so that commands that serve nothing work."""
    settings.MIDDLEWARE = [SECURITY, COMMON]
    [message] = _messages()
    assert (message.id, isinstance(message, CheckWarning)) == ("arrcert.W001", True)
    assert OURS in message.msg
    assert "ARRCERT_PROTECT_ALL = False" in message.msg
    del settings.ARRCERT
    assert _ids() == ["arrcert.W001", "arrcert.W006"]


def test_a_missing_middleware_is_an_error_of_a_deployment(settings: Any) -> None:
    """`check --deploy` reports a missing middleware as an error, unless a factory may make it."""
    assert _deployment_errors() == []
    settings.MIDDLEWARE = [SECURITY, COMMON]
    assert _deployment_errors() == ["arrcert.E004"]
    settings.MIDDLEWARE = [SECURITY, f"{__name__}.factory"]
    assert _deployment_errors() == []


def factory(get_response: Any) -> Any:
    """Makes the middleware, as a factory in MIDDLEWARE may."""
    return ClientCertificateMiddleware(get_response)


def test_a_site_may_protect_only_decorated_views(settings: Any) -> None:
    """ARRCERT_PROTECT_ALL = False without the middleware has nothing to report."""
    settings.MIDDLEWARE = [SECURITY, COMMON]
    settings.ARRCERT_PROTECT_ALL = False
    assert _ids() == []
    assert _deployment_errors() == []


def test_the_middleware_without_its_setting_is_an_error(settings: Any) -> None:
    """ARRCERT_PROTECT_ALL = False with the middleware is an error, and True is the default."""
    settings.ARRCERT_PROTECT_ALL = False
    [message] = _messages()
    assert (message.id, isinstance(message, Error)) == ("arrcert.E001", True)
    assert message.msg.startswith("ARRCERT_PROTECT_ALL: is False")
    settings.ARRCERT_PROTECT_ALL = True
    assert _ids() == []


@pytest.mark.parametrize(
    "middleware",
    [
        [OURS],
        [OURS, COMMON],
        [SECURITY, f"{__name__}.SubclassedMiddleware", COMMON],
        [SECURITY, OURS, "there.is.no.such.Middleware"],
    ],
)
def test_the_right_place_is_accepted(settings: Any, middleware: list[str]) -> None:
    """The middleware may be first or directly after SecurityMiddleware, and so may a subclass."""
    settings.MIDDLEWARE = middleware
    assert _ids() == []


@pytest.mark.parametrize(
    "middleware",
    [
        [SECURITY, COMMON, OURS],
        [COMMON, SECURITY, OURS],
        ["corsheaders.middleware.CorsMiddleware", SECURITY, OURS],
        [f"{__name__}.no_class", SECURITY, OURS],
        [OURS, SECURITY],
        [COMMON, OURS],
        [COMMON, f"{__name__}.SubclassedMiddleware"],
        [SECURITY, "whitenoise.middleware.WhiteNoiseMiddleware", OURS],
    ],
)
def test_a_wrong_place_is_a_warning(settings: Any, middleware: list[str]) -> None:
    """Any other place is a warning, because middleware before it can respond without a check."""
    settings.MIDDLEWARE = middleware
    messages = _messages()
    assert [message.id for message in messages] == ["arrcert.W002"]
    assert "Move it" in (messages[0].hint or "")
    own = (OURS, f"{__name__}.SubclassedMiddleware")
    ours = next(number for number, entry in enumerate(middleware) if entry in own)
    others = [entry for entry in middleware[:ours] if entry != SECURITY]
    assert all(f'"{entry}"' in messages[0].msg for entry in others)
    assert others or "is before SecurityMiddleware" in messages[0].msg


def test_a_warning_of_the_configuration_is_a_warning(settings: Any) -> None:
    """A problem that does not stop the start, such as an expired trust anchor, is a warning."""
    past = CertificateAuthority("Past CA", not_after=datetime.now(UTC) - timedelta(hours=1))
    settings.ARRCERT = settings.ARRCERT | {"past": {"trust_anchors": past.certificate_pem.decode()}}
    [message] = _messages()
    assert (message.id, isinstance(message, CheckWarning)) == ("arrcert.W004", True)
    assert message.msg.startswith('ARRCERT["past"]["trust_anchors"]: ')
    assert message.hint


def test_an_unguarded_header_is_a_warning(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside App Service and debug mode, the checks warn that clients can forge the header."""
    monkeypatch.delenv("WEBSITE_SITE_NAME")
    settings.DEBUG = True
    assert _ids() == []
    settings.DEBUG = False
    [message] = _messages()
    assert message.id == "arrcert.W004"
    assert "this is not App Service" in message.msg


@pytest.mark.parametrize("middleware", [[SECURITY, OURS], [SECURITY]])
def test_the_middleware_without_its_policy_is_a_warning(
    settings: Any, middleware: list[str]
) -> None:
    """The middleware without a policy "default" is a warning that lists the existing policies."""
    settings.MIDDLEWARE = middleware
    settings.ARRCERT = {"Default": settings.ARRCERT["default"], "b": settings.ARRCERT["partners"]}
    if OURS not in middleware:
        assert _ids() == ["arrcert.W001"]
        return
    [message] = _messages()
    assert (message.id, isinstance(message, CheckWarning)) == ("arrcert.W005", True)
    assert message.msg == (
        'ARRCERT has no policy "default", which the middleware uses for every view that names none;'
        ' there is "Default", "b".'
    )
    assert message.hint


class _Report(ClientCertificateRequiredMixin, View):
    certificate_policy = "partnrs"


class _OnGet(View):
    @method_decorator(authorize_certificate(policy="auditors"))
    def get(self, request: HttpRequest) -> HttpResponse:
        raise AssertionError("not reached")


def _plain(request: HttpRequest) -> HttpResponse:
    raise AssertionError("not reached")


class _Odd:
    """A view that raises an error when an attribute is read."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        raise AssertionError("not reached")

    @property
    def view_class(self) -> Any:
        raise LookupError


def _urlconf(*routes: Any) -> ModuleType:
    urlconf = ModuleType("urls_of_the_test")
    urlconf.urlpatterns = list(routes)
    return urlconf


def test_a_view_that_names_an_unknown_policy_is_an_error(settings: Any) -> None:
    """Unknown policies on views, mixins, methods and included URLconfs are each reported once."""
    unknown = authorize_certificate(policy="partner")(_plain)
    settings.ROOT_URLCONF = _urlconf(
        path("plain", _plain),
        path("good", authorize_certificate(policy="partners")(_plain)),
        path("included/", include(_urlconf(path("a", unknown), path("b", unknown)))),
        path("fails/", include(_urlconf(path("odd", _Odd())))),
        path("report", _Report.as_view()),
        path("auditors", _OnGet.as_view()),
    )
    messages = _messages()
    assert {message.id for message in messages} == {"arrcert.E003"}
    assert all(isinstance(message, Error) and message.hint for message in messages)
    assert [message.msg.removeprefix(f"The view {__name__}.") for message in messages] == [
        "_plain names the policy 'partner', which does not exist; did you mean \"partners\"?",
        "_Report names the policy 'partnrs', which does not exist; did you mean \"partners\"?",
        "_OnGet names the policy 'auditors', which does not exist; there is \"default\","
        ' "partners".',
    ]


def test_a_urlconf_that_fails_is_not_reported_twice(settings: Any) -> None:
    """Django's checks report a broken URLconf, and ours report broken policies only once."""
    settings.ROOT_URLCONF = "there.is.no.such.urlconf"
    assert _ids() == []
    settings.ROOT_URLCONF = _urlconf(path("report", _Report.as_view()))
    settings.ARRCERT = {}
    assert _ids() == ["arrcert.E001"]


def test_the_checks_leave_the_snapshot_alone(settings: Any) -> None:
    """A check does not change the configuration that requests use."""
    from arrcert_django import conf

    before: Any = conf.current()
    _ids()
    assert conf.current() is before
