from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.urls import path

from arrcert import CertificateDenied, DenialReason
from arrcert.testing import IssuedCertificate
from arrcert_django.decorators import authorize_certificate
from arrcert_django.signals import certificate_denied


def _hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


@pytest.fixture
def connect() -> Iterator[Callable[[Any], None]]:
    """Return a function that connects a receiver until the test ends."""
    receivers = []

    def connect_one(receiver: Any) -> None:
        receivers.append(receiver)
        certificate_denied.connect(receiver)

    yield connect_one
    for receiver in receivers:
        certificate_denied.disconnect(receiver)


def test_a_denial_is_told_once_with_its_reason(
    site: Any, visit: Any, connect: Any, stranger: IssuedCertificate
) -> None:
    """A denial is sent once with request, reason and exception, and the client gets no reason."""
    told: list[dict[str, Any]] = []
    connect(lambda **facts: told.append(facts))  # the fixture's list keeps it alive
    site(path("hello", authorize_certificate(_hello)))
    response = visit("/hello", stranger)
    assert response.status_code == 403
    assert len(told) == 1
    assert told[0]["reason"] is DenialReason.FINGERPRINT_NOT_ALLOWED
    assert isinstance(told[0]["denied"], CertificateDenied)
    assert told[0]["denied"].certificate == stranger.certificate
    assert told[0]["request"].path == "/hello"
    assert told[0]["sender"] is type(told[0]["request"])
    assert b"fingerprint" not in response.content


def test_an_entry_is_not_told(
    site: Any, visit: Any, connect: Any, allowed: IssuedCertificate
) -> None:
    """The signal of denials is not sent for an accepted request."""
    told: list[dict[str, Any]] = []
    connect(lambda **facts: told.append(facts))
    site(path("hello", _hello))
    assert visit("/hello", allowed).status_code == 200
    assert told == []


def test_async_receivers_are_called(site: Any, visit: Any, connect: Any) -> None:
    """Async receivers run once under WSGI and under ASGI."""
    told: list[DenialReason] = []

    async def receiver(reason: DenialReason, **_: Any) -> None:
        told.append(reason)

    connect(receiver)
    site(path("hello", _hello))
    assert visit("/hello").status_code == 403
    assert told == [DenialReason.MISSING]


def _raise(**_: Any) -> None:
    raise LookupError("a receiver that fails")


async def _araise(**_: Any) -> None:
    raise LookupError("a receiver that fails")


@pytest.mark.parametrize("receiver", [_raise, _araise, partial(_raise), partial(_araise)])
@pytest.mark.parametrize("url", ["/hello", "/unknown"])
def test_a_failing_receiver_leaves_the_denial_alone(
    site: Any, visit: Any, connect: Any, receiver: Any, url: str, caplog: Any
) -> None:
    """An error in a receiver is logged, and the response is the same 403.

    A partial has no `__qualname__`, so Django's own logging of the error fails.
    """
    connect(receiver)
    site(path("hello", _hello))
    assert visit(url).status_code == 403
    assert "ERROR" in [record.levelname for record in caplog.records]


def test_an_async_receiver_cannot_break_a_sync_view_inside_an_event_loop(
    connect: Any, caplog: Any
) -> None:
    """A sync view in a coroutine is denied, although async receivers cannot run there."""

    async def receiver(**_: Any) -> None:
        raise AssertionError("not reached")

    connect(receiver)

    async def view(request: HttpRequest) -> HttpResponse:
        return authorize_certificate(_hello)(request)

    with pytest.raises(PermissionDenied):
        asyncio.run(view(AsyncRequestFactory().get("/hello")))
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "a receiver of certificate_denied failed; the request stays denied"
    ]


def test_a_receiver_finds_no_certificate_on_the_request(connect: Any, stranger: Any) -> None:
    """When the signal is sent, the request has no client certificate."""
    seen: list[object] = []

    def receiver(request: Any, **_: Any) -> None:
        seen.extend([request.client_certificate, request.client_identity])

    connect(receiver)
    with pytest.raises(PermissionDenied):
        authorize_certificate(_hello)(RequestFactory().get("/", headers=stranger.headers))
    assert seen == [None, None]
