"""One request, one policy: the 403, the signal, the accepted certificate."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from arrcert import CertificateDenied, DenialReason
from arrcert.testing import IssuedCertificate
from arrcert_flask import (
    ClientCertificateForbidden,
    authorize_certificate,
    certificate_denied,
    get_client_certificate,
)


@pytest.fixture
def site(app: Flask) -> Flask:
    """An app with one protected and one open view, which both tell who entered."""

    def view() -> str:
        certificate = get_client_certificate()
        return certificate.common_name or "" if certificate else "nobody"

    app.add_url_rule("/protected", "protected", authorize_certificate(view))
    app.add_url_rule("/open", "open", view)
    return app


def test_denial_is_constant_and_tells_nothing(
    site: Flask, impostor: IssuedCertificate, expired: IssuedCertificate
) -> None:
    """The client reads the same 403 whatever the reason."""
    client = site.test_client()
    answers = {
        (response.status_code, response.text, tuple(response.headers))
        for response in (
            client.get("/protected"),
            client.get("/protected", headers=impostor.headers),
            client.get("/protected", headers=expired.headers),
            client.get("/protected", headers={"X-ARR-ClientCert": "garbage"}),
            client.get("/protected", headers={"X-ARR-ClientCert": "A" * 20_000}),
        )
    }
    [(status, text, _)] = answers
    assert status == 403
    assert "alice" not in text
    assert "certificate" not in text.lower()


def test_denial_is_a_forbidden_that_handlers_restyle(
    site: Flask, impostor: IssuedCertificate
) -> None:
    """A handler for 403 restyles the denial; the reason is its `__cause__`."""
    causes = []

    @site.errorhandler(403)
    def forbidden(error: Exception) -> tuple[str, int]:
        assert isinstance(error, ClientCertificateForbidden)
        causes.append(error.__cause__)
        return "restyled", 403

    response = site.test_client().get("/protected", headers=impostor.headers)
    assert (response.status_code, response.text) == (403, "restyled")
    [denied] = causes
    assert isinstance(denied, CertificateDenied)
    assert denied.reason is DenialReason.FINGERPRINT_NOT_ALLOWED
    assert denied.certificate == impostor.certificate


def test_signal_carries_the_denial(site: Flask, impostor: IssuedCertificate) -> None:
    """Receivers get app and denial, sync and async alike."""
    heard: list[tuple[Any, DenialReason]] = []

    def receiver(sender: Flask, denied: CertificateDenied) -> None:
        heard.append((sender, denied.reason))

    async def async_receiver(sender: Flask, denied: CertificateDenied) -> None:
        heard.append((sender, denied.reason))

    with (
        certificate_denied.connected_to(receiver, site),
        certificate_denied.connected_to(async_receiver, site),
    ):
        site.test_client().get("/protected", headers=impostor.headers)
    assert heard == [(site, DenialReason.FINGERPRINT_NOT_ALLOWED)] * 2


def test_receiver_that_fails_changes_nothing(site: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """A receiver's fault does not turn a denial into a 500 or an entry."""

    def receiver(sender: Flask, denied: CertificateDenied) -> None:
        raise ZeroDivisionError

    with certificate_denied.connected_to(receiver, site):
        assert site.test_client().get("/protected").status_code == 403
    assert "a receiver of certificate_denied failed" in caplog.text


def test_only_an_accepted_certificate_is_given(site: Flask, alice: IssuedCertificate) -> None:
    """A certificate that a request merely carries is nobody's identity."""
    client = site.test_client()
    assert client.get("/protected", headers=alice.headers).text == "alice"
    assert client.get("/open", headers=alice.headers).text == "nobody"
    assert get_client_certificate() is None


def test_nothing_is_carried_over_to_the_next_request(site: Flask, alice: IssuedCertificate) -> None:
    """One request's certificate is not the next one's, within one application context too."""
    with site.app_context():
        client = site.test_client()
        assert client.get("/protected", headers=alice.headers).status_code == 200
        assert client.get("/open").text == "nobody"
        assert client.get("/protected").status_code == 403


def test_core_is_asked_once_for_each_request(
    site: Flask, impostor: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """Gate and decorator together make one decision and one log record."""
    site.test_client().get("/protected", headers=impostor.headers)
    assert len([record for record in caplog.records if record.name == "arrcert"]) == 1
