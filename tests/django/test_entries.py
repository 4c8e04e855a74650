"""Accepted clients of a Django site: one signal, log entry and metric for each request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from arrcert import telemetry
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert_django.authorization import authorize_request
from arrcert_django.decorators import authorize_certificate, certificate_exempt
from arrcert_django.signals import (
    certificate_accepted,
    certificate_denied,
    certificate_expiring,
)

from .conftest import MIDDLEWARE

Told = list[tuple[str, dict[str, Any]]]


def _hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def _asks_again(request: HttpRequest) -> HttpResponse:
    authorize_request(request)
    return HttpResponse("hello")


class _Answering:
    """A middleware inside the gate that answers by itself, as a cache does."""

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("from the cache")


@pytest.fixture
def told() -> Iterator[Told]:
    """The signals that were sent, in order."""
    found: Told = []
    signals = {
        "accepted": certificate_accepted,
        "denied": certificate_denied,
        "expiring": certificate_expiring,
    }

    def receive(name: str, **sent: Any) -> None:
        found.append((name, sent))

    receivers = {name: partial(receive, name) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name])
    yield found
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


def entries(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the policies of the records on the logger of entries."""
    return [
        vars(record)["arrcert_policy"]
        for record in caplog.records
        if record.name == "arrcert.access"
    ]


@pytest.mark.parametrize("view", [_hello, _asks_again, authorize_certificate(_asks_again)])
def test_an_entry_is_told_once_a_request(
    site: Any, visit: Any, told: Told, allowed: IssuedCertificate, view: Any, caplog: Any
) -> None:
    """Gate, decorator and view decide, and one signal and one record have the identity."""
    caplog.set_level(logging.INFO, "arrcert.access")
    site(path("hello", view))
    for number in (1, 2):
        assert visit("/hello", allowed).status_code == 200
        assert len(told) == len(entries(caplog)) == number
    name, sent = told[0]
    assert name == "accepted"
    assert sent["sender"] is type(sent["request"])
    assert sent["request"].path == "/hello"
    assert sent["identity"].policy == "default"
    assert sent["identity"].certificate == allowed.certificate


def test_without_the_middleware_the_decorator_tells(
    site: Any, visit: Any, told: Told, allowed: IssuedCertificate, caplog: Any
) -> None:
    """The decorator sends the signal once in a site without the middleware."""
    caplog.set_level(logging.INFO, "arrcert.access")
    site(path("hello", authorize_certificate(_asks_again)), middleware=())
    assert visit("/hello", allowed).status_code == 200
    assert [name for name, _ in told] == ["accepted"]
    assert entries(caplog) == ["default"]


def test_the_identity_is_that_of_the_views_policy(
    site: Any, visit: Any, told: Told, settings: Any, partner: IssuedCertificate, caplog: Any
) -> None:
    """The signal has the identity of the view's policy, not the one that the gate found."""
    caplog.set_level(logging.INFO, "arrcert.access")
    pins = {"fingerprints": [partner.certificate.sha256_fingerprint]}
    settings.ARRCERT = {"default": pins, "partners": pins}
    site(path("hello", authorize_certificate(policy="partners")(_hello)))
    assert visit("/hello", partner).status_code == 200
    [(name, sent)] = told
    assert (name, sent["identity"].policy) == ("accepted", "partners")
    assert entries(caplog) == ["partners"]


def test_a_client_of_another_policy_has_not_entered(
    site: Any, visit: Any, told: Told, partner: IssuedCertificate, caplog: Any
) -> None:
    """A client that the gate finds and the view denies is a denial, and no entry."""
    caplog.set_level(logging.INFO, "arrcert.access")
    site(path("hello", _hello))
    assert visit("/hello", partner).status_code == 403
    assert [name for name, _ in told] == ["denied"]
    assert entries(caplog) == []


def test_an_exempt_view_tells_nothing(
    site: Any, visit: Any, told: Told, allowed: IssuedCertificate, caplog: Any
) -> None:
    """A request for an exempt view is no entry, with any certificate."""
    caplog.set_level(logging.INFO, "arrcert.access")
    site(path("hello", certificate_exempt(lambda request: _hello(request))))
    assert visit("/hello", allowed).status_code == 200
    assert told == []
    assert entries(caplog) == []


@pytest.mark.parametrize(("url", "status"), [("/hello", 200), ("/unknown", 200)])
def test_a_response_that_comes_from_no_view_is_told(
    site: Any,
    visit: Any,
    told: Told,
    allowed: IssuedCertificate,
    caplog: Any,
    url: str,
    status: int,
) -> None:
    """A page of another middleware is an entry under the policy that releases it."""
    caplog.set_level(logging.INFO, "arrcert.access")
    site(path("hello", _hello), middleware=(MIDDLEWARE, f"{__name__}._Answering"))
    assert visit(url, allowed).status_code == status
    assert [name for name, _ in told] == ["accepted"]
    assert entries(caplog) == ["default"]


def test_a_certificate_that_ends_soon_is_told_once_a_day(
    site: Any, visit: Any, told: Told, settings: Any, authority: CertificateAuthority
) -> None:
    """The signal is sent with each warning, with identity and days left."""
    soon = authority.issue("soon", not_after=datetime.now(UTC) + timedelta(days=9.5))
    settings.ARRCERT = {
        "default": {"fingerprints": [soon.certificate.sha256_fingerprint], "identity": "fabrikam"}
    }
    site(path("hello", _hello))
    for _ in range(3):
        assert visit("/hello", soon).status_code == 200
    assert [name for name, _ in told] == ["accepted", "expiring", "accepted", "accepted"]
    sent = told[1][1]
    assert (sent["identity"].name, sent["days_left"]) == ("fabrikam", 9)
    assert sent["request"].path == "/hello"


def _raise(**_: Any) -> None:
    raise LookupError("a receiver that fails")


@pytest.mark.parametrize("receiver", [_raise, partial(_raise)])
def test_a_failing_receiver_changes_nothing(
    site: Any, visit: Any, allowed: IssuedCertificate, receiver: Callable[..., None], caplog: Any
) -> None:
    """An error in a receiver is logged, and the request goes on."""
    certificate_accepted.connect(receiver)
    try:
        site(path("hello", _hello))
        assert visit("/hello", allowed).status_code == 200
    finally:
        certificate_accepted.disconnect(receiver)
    assert "ERROR" in [record.levelname for record in caplog.records]


def test_django_is_counted_once_a_request(
    site: Any, visit: Any, allowed: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ARRCERT_TELEMETRY counts each request once, accepted or denied."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(telemetry, "get_meter", provider.get_meter)
    site(path("hello", authorize_certificate(_asks_again)), ARRCERT_TELEMETRY=True)
    assert visit("/hello", allowed).status_code == 200
    assert visit("/hello").status_code == 403
    data: Any = reader.get_metrics_data()
    points = {
        metric.name: metric.data.data_points
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    assert {
        tuple(point.attributes.values()): point.value for point in points["arrcert.decisions"]
    } == {
        ("default", "accepted", "", ""): 1,
        ("default", "denied", "missing", ""): 1,
    }
    provider.shutdown()
