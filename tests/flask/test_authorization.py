"""Authorization of a request: the 403, the signal, the accepted certificate."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response, request

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientIdentity,
    ConfigurationError,
    DenialReason,
)
from arrcert.testing import IssuedCertificate
from arrcert_flask import (
    Arrcert,
    ClientCertificateForbidden,
    authorize_certificate,
    authorize_request,
    authorizer_of,
    certificate_denied,
    get_client_certificate,
    get_client_identity,
)


@pytest.fixture
def site(app: Flask) -> Flask:
    """An app with a protected and an open view. Both return the certificate's common name."""

    def view() -> str:
        certificate = get_client_certificate()
        return certificate.common_name or "" if certificate else "nobody"

    app.add_url_rule("/protected", "protected", authorize_certificate(view))
    app.add_url_rule("/open", "open", view)
    return app


def test_denial_is_constant_and_tells_nothing(
    site: Flask, impostor: IssuedCertificate, expired: IssuedCertificate
) -> None:
    """The 403 is the same for every reason."""
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
    [(status, text, headers)] = answers
    assert status == 403
    assert "Cache-Control" not in dict(headers)
    assert "alice" not in text
    assert "certificate" not in text.lower()


def test_denial_is_a_forbidden_that_handlers_restyle(
    site: Flask, impostor: IssuedCertificate
) -> None:
    """A handler for 403 gets the denial and can read its `__cause__`."""
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


def test_no_hook_lets_the_view_run(app: Flask, impostor: IssuedCertificate) -> None:
    """The view does not run if an error handler returns a 200, or if a receiver returns a result.

    (authlib: an overridden error hook that returned let the view run.)
    """
    ran = []

    @app.get("/secret")
    @authorize_certificate
    def secret() -> str:
        ran.append(True)
        return "the secret"

    @app.errorhandler(403)
    def forbidden(_error: Exception) -> tuple[str, int]:
        return "never mind", 200

    def receiver(_sender: Flask, **_: Any) -> bool:
        return True

    with certificate_denied.connected_to(receiver, app):
        response = app.test_client().get("/secret", headers=impostor.headers)
    assert response.text == "never mind"
    assert not ran


def test_signal_carries_the_denial(site: Flask, impostor: IssuedCertificate) -> None:
    """Sync and async receivers get the app, the reason and the denial."""
    heard: list[tuple[Any, DenialReason, CertificateDenied]] = []

    def receiver(sender: Flask, reason: DenialReason, denied: CertificateDenied) -> None:
        heard.append((sender, reason, denied))

    async def async_receiver(sender: Flask, reason: Any, denied: CertificateDenied) -> None:
        heard.append((sender, reason, denied))

    with (
        certificate_denied.connected_to(receiver, site),
        certificate_denied.connected_to(async_receiver, site),
    ):
        site.test_client().get("/protected", headers=impostor.headers)
    assert [fact[:2] for fact in heard] == [(site, DenialReason.FINGERPRINT_NOT_ALLOWED)] * 2
    assert [fact[2].certificate for fact in heard] == [impostor.certificate] * 2


def test_receiver_that_fails_changes_nothing(site: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """An error in a receiver is logged, and the response is a 403."""

    def receiver(sender: Flask, **_: Any) -> None:
        raise ZeroDivisionError

    with certificate_denied.connected_to(receiver, site):
        assert site.test_client().get("/protected").status_code == 403
    assert "a receiver of certificate_denied failed; the request stays denied" in caplog.text


def test_only_an_accepted_certificate_is_given(site: Flask, alice: IssuedCertificate) -> None:
    """A certificate that no policy checked is not returned."""
    client = site.test_client()
    assert client.get("/protected", headers=alice.headers).text == "alice"
    assert client.get("/open", headers=alice.headers).text == "nobody"
    assert get_client_certificate() is None


def test_the_last_check_of_a_request_counts(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies A, B and A again are two decisions, and the last one sets the certificate."""
    asked: list[str] = []
    original = Authorizer.identify_wsgi

    def spy(self: Authorizer, environ: Any, policy: str, **more: Any) -> Any:
        asked.append(policy)
        return original(self, environ, policy, **more)

    monkeypatch.setattr(Authorizer, "identify_wsgi", spy)

    def view() -> str:
        certificate = get_client_certificate()
        assert certificate
        return certificate.common_name or ""

    default = authorize_certificate(view)
    partners = authorize_certificate(policy="partners")(view)
    with app.test_request_context(headers=alice.headers):
        entered = [default()]
        request.environ["HTTP_X_ARR_CLIENTCERT"] = bob.header_value
        entered += [partners(), default()]
    assert entered == ["alice", "bob", "alice"]
    assert asked == ["default", "partners"]


def test_nothing_is_carried_over_to_the_next_request(site: Flask, alice: IssuedCertificate) -> None:
    """A request never gets the certificate of the one before, even in the same app context."""
    with site.app_context():
        client = site.test_client()
        assert client.get("/protected", headers=alice.headers).status_code == 200
        assert client.get("/open").text == "nobody"
        assert client.get("/protected").status_code == 403


def test_core_is_asked_once_for_each_request(
    site: Flask, impostor: IssuedCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The gate and the decorator together make one decision and one log record."""
    site.test_client().get("/protected", headers=impostor.headers)
    assert len([record for record in caplog.records if record.name == "arrcert"]) == 1


CACHING = ["public", "public, max-age=60", "max-age=60, s-maxage=60", 'private="Set-Cookie"', None]


@pytest.mark.parametrize("said", CACHING)
def test_what_a_certificate_opened_is_private(
    site: Flask, alice: IssuedCertificate, said: str | None
) -> None:
    """A response to an authorized request is private, for any headers that the app sets."""

    @site.after_request
    def cacheable(response: Response) -> Response:
        if said is not None:
            response.headers["Cache-Control"] = said
        return response

    client = site.test_client()
    control = client.get("/protected", headers=alice.headers).cache_control
    assert control.private == "*" or control.private is True or control["private"] is None
    assert not control.public
    assert client.get("/open", headers=alice.headers).headers.get("Cache-Control") == said
    assert client.get("/open").headers.get("Cache-Control") == said


def test_a_response_that_is_not_stored_says_so_as_the_app_wrote_it(
    site: Flask, alice: IssuedCertificate
) -> None:
    """A response with `no-store` is not changed."""

    @site.after_request
    def cacheable(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    answer = site.test_client().get("/protected", headers=alice.headers)
    assert answer.headers["Cache-Control"] == "no-store"


def test_no_shared_cache_is_told_otherwise(site: Flask, alice: IssuedCertificate) -> None:
    """An authorized request gets no header by which a cache ignores `Cache-Control` (RFC 9213)."""
    targeted = ("CDN-Cache-Control", "Surrogate-Control", "edge-control", "X-Accel-Expires")

    @site.after_request
    def cacheable(response: Response) -> Response:
        for name in targeted:
            response.headers.add(name, "max-age=600")
            response.headers.add(name, "public")
        return response

    client = site.test_client()
    answer = client.get("/protected", headers=alice.headers)
    assert not set(targeted) & set(answer.headers.keys())
    assert answer.headers["Cache-Control"] == "private"
    assert set(targeted) <= set(client.get("/open").headers.keys())


def test_a_hook_from_before_the_extension_makes_nothing_public(
    config: dict[str, Any], alice: IssuedCertificate
) -> None:
    """An after_request hook from before init_app cannot make a response public."""
    app = Flask(__name__)
    app.config.update(config)

    @app.after_request
    def cacheable(response: Response) -> Response:
        response.headers["Cache-Control"] = "public"
        return response

    Arrcert(app)
    app.add_url_rule("/x", "x", authorize_certificate(lambda: ""))
    answer = app.test_client().get("/x", headers=alice.headers)
    assert answer.headers["Cache-Control"] == "private"


# Authorization without a decorator. ---------------------------------------------------------------


def test_authorize_request_decides_now(
    app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """`authorize_request` returns the identity and sets it on the request, or raises the 403."""
    with app.test_request_context(headers=alice.headers):
        assert get_client_identity() is None
        identity = authorize_request()
        assert identity == ClientIdentity(None, frozenset(), alice.certificate, "default")
        assert get_client_identity() is identity
        assert get_client_certificate() == alice.certificate
        with pytest.raises(ClientCertificateForbidden) as caught:
            authorize_request(policy="partners")
        assert isinstance(caught.value.__cause__, CertificateDenied)
        # A denial does not remove an earlier acceptance by another policy.
        assert get_client_identity() is identity
    with app.test_request_context(headers=bob.headers):
        assert authorize_request("partners").policy == "partners"


def test_a_view_may_choose_the_policy(
    protected_app: Flask, alice: IssuedCertificate, bob: IssuedCertificate
) -> None:
    """A denial in a view is a 403, unless the view catches the exception."""

    @protected_app.get("/choose")
    def choose() -> str:
        return authorize_request(request.args["policy"]).policy

    @protected_app.get("/try")
    def try_it() -> str:
        try:
            return authorize_request("partners").policy
        except ClientCertificateForbidden:
            return "refused"

    client = protected_app.test_client()
    assert client.get("/choose?policy=default", headers=alice.headers).text == "default"
    assert client.get("/choose?policy=partners", headers=alice.headers).status_code == 403
    assert client.get("/choose?policy=unknown", headers=alice.headers).status_code == 403
    assert client.get("/try", headers=alice.headers).text == "refused"
    assert client.get("/try", headers=bob.headers).status_code == 403


@pytest.mark.parametrize("policy", [None, "", 7])
def test_authorize_request_takes_a_name(app: Flask, policy: Any) -> None:
    """A policy that is not a name is a TypeError, not a denial."""
    with app.test_request_context(), pytest.raises(TypeError, match="policy is"):
        authorize_request(policy)


def test_authorize_request_needs_a_request(app: Flask) -> None:
    """`authorize_request` outside of a request is an error, and there is no identity."""
    with app.app_context(), pytest.raises(RuntimeError, match="outside of request context"):
        authorize_request()
    assert get_client_identity() is None


def test_authorizer_of_an_app(app: Flask, alice: IssuedCertificate) -> None:
    """`authorizer_of` returns the authorizer of Arrcert(app), or raises an error without one."""
    assert authorizer_of(app).authorize(alice.header_value) == alice.certificate
    assert authorizer_of(app).policy_names == ("default", "partners")
    with pytest.raises(ConfigurationError, match=r"never called for this app; call it before"):
        authorizer_of(Flask(__name__))


# Error handlers of the site. ----------------------------------------------------------------------


def test_a_handler_that_turns_the_403_into_a_500_is_told_once(
    site: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """If an error handler turns the 403 into a 500, the log says so once, with the lines to add."""

    @site.errorhandler(Exception)
    def failed(_: Exception) -> tuple[str, int]:
        return "sorry", 500

    client = site.test_client()
    for _ in range(2):
        assert client.get("/protected").status_code == 500
    [told] = [record for record in caplog.records if "configuration" in record.getMessage()]
    assert told.levelname == "ERROR"
    assert told.getMessage() == (
        "configuration: 500 INTERNAL SERVER ERROR: is the answer to a denied request, which is a"
        " 403: an error handler of the site, such as errorhandler(Exception), turns it into a"
        " server error; write `from arrcert_flask import ClientCertificateForbidden` and"
        " `app.register_error_handler(ClientCertificateForbidden, lambda error: error)`"
    )


def test_the_two_lines_keep_the_403(site: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """With the lines from the log, a site that handles every exception answers 403."""

    @site.errorhandler(Exception)
    def failed(_: Exception) -> tuple[str, int]:
        return "sorry", 500

    site.register_error_handler(ClientCertificateForbidden, lambda error: error)
    site.add_url_rule("/broken", "broken", lambda: 1 / 0)
    client = site.test_client()
    assert client.get("/protected").status_code == 403
    # A server error of an open page is not about a denial.
    assert client.get("/broken").status_code == 500
    assert "configuration" not in caplog.text
