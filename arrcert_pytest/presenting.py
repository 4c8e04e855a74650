"""The test clients of the frameworks, which present a certificate with every request.

This module imports a framework only if the project has already imported it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from arrcert.exceptions import quote
from arrcert.settings.names import POLICY_VARIABLES
from arrcert.testing import IssuedCertificate


class AsClient:
    """Makes test clients.

    Args:
        request: pytest's request object of the test, which can get the fixture `app`.
        issued: the certificates, by name.
    """

    def __init__(
        self, request: pytest.FixtureRequest, issued: Mapping[str, IssuedCertificate]
    ) -> None:
        self._request = request
        self._issued = issued

    def __call__(self, who: str | IssuedCertificate | None, app: Any = None) -> Any:
        """Return a new test client of the framework.

        Args:
            who: a name in the option `arrcert_clients`, an `IssuedCertificate`, or None for no
                certificate.
            app: a Flask, FastAPI or Starlette app, or an app inside arrcert's ASGI middleware. The
                default is the fixture `app`, or else the Django site.

        Returns:
            Flask's `FlaskClient`, Starlette's `TestClient`, Django's `Client`, or the `APIClient`
            of Django REST framework if it is installed in the site.

        Raises:
            LookupError: the option does not list the name.
            TypeError: `who` is something else, or there is no app of a known kind.

        It presents certificates as App Service does. It does not check that the site reads that
        header.
        """
        # pytest then shows a mistake at the line of the test.
        __tracebackhide__ = True
        headers = self._headers_of(who)
        if app is None:
            app = self._fixture()
        if app is not None:
            return _client_of_app(app, headers)
        if _django_is_configured():
            return _django_client(headers)
        raise TypeError(
            "as_client does not know the app: write as_client(who, app), or a fixture called app"
        )

    def _headers_of(self, who: object) -> dict[str, str]:
        __tracebackhide__ = True
        if who is None:
            return {}
        if isinstance(who, IssuedCertificate):
            return who.headers
        if not isinstance(who, str):
            raise TypeError(
                f"{who!r} is not a client; write a name, an arrcert.testing.IssuedCertificate, or"
                " None for nobody"
            )
        if who not in self._issued:
            known = ", ".join(map(quote, self._issued)) or "nobody"
            raise LookupError(
                f"arrcert_clients does not list {quote(who)}, only {known}; add a line to the"
                " configuration of pytest, or pass a certificate of a stranger:"
                " as_client(client_certificate_authority.issue(...))"
            )
        return self._issued[who].headers

    def _fixture(self) -> Any:
        try:
            return self._request.getfixturevalue("app")
        except pytest.FixtureLookupError as error:
            if error.argname != "app":
                raise
            return None


def _client_of_app(app: Any, headers: Mapping[str, str]) -> Any:
    __tracebackhide__ = True
    if _is_instance(app, "flask", "Flask"):
        client = app.test_client()
        for name, value in headers.items():
            client.environ_base[f"HTTP_{name.upper().replace('-', '_')}"] = value
        return client
    if _is_instance(app, "starlette.applications", "Starlette") or _is_instance(
        app, "arrcert.asgi", "ClientCertificateMiddleware"
    ):
        from starlette.testclient import TestClient

        return TestClient(app, headers=dict(headers))
    raise TypeError(
        f"as_client has no test client for an app of the type {type(app).__qualname__}; give"
        ' client_certificates["..."].headers to your own'
    )


def _is_instance(value: object, module: str, name: str) -> bool:
    """Return whether a value is an instance of a class whose module may not be imported."""
    found = sys.modules.get(module)
    return found is not None and isinstance(value, getattr(found, name))


def _django_is_configured() -> bool:
    conf = sys.modules.get("django.conf")
    return conf is not None and conf.settings.configured


def _django_client(headers: Mapping[str, str]) -> Any:
    from django.conf import settings

    if "rest_framework" in settings.INSTALLED_APPS:
        from rest_framework.test import APIClient

        return APIClient(headers=dict(headers))
    from django.test import Client

    return Client(headers=dict(headers))


@contextmanager
def django_policies(policies: Mapping[str, Any] | None) -> Iterator[None]:
    """Replace the policies in Django's settings while a test runs.

    Args:
        policies: a value for the setting `ARRCERT`; None changes nothing.

    If Django's settings have no policies, the site reads the environment, and this changes nothing.
    """
    if policies is None or not _django_is_configured():
        yield
        return
    from django.conf import settings
    from django.test import override_settings

    held = [name for name in ("ARRCERT", "ARRCERT_FILE") if hasattr(settings, name)]
    if not held and "ARRCERT" in os.environ:
        yield
        return
    with pytest.MonkeyPatch.context() as environment, override_settings(ARRCERT=policies):
        if "ARRCERT_FILE" in held:
            del settings.ARRCERT_FILE
        # It is an error if both the settings and the environment have policies.
        for name in POLICY_VARIABLES:
            environment.delenv(name, raising=False)
        yield
