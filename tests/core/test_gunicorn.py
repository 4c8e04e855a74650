"""The hook for gunicorn; tests/e2e/test_servers.py runs it in gunicorn."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from arrcert.forwarding import gunicorn, servers
from arrcert.gunicorn import pre_request


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts in a process that has found no facts about its gunicorn."""
    monkeypatch.setattr(gunicorn, "_known", None)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log of the hook, from DEBUG on."""
    with caplog.at_level(logging.DEBUG, logger="arrcert"):
        yield caplog


def test_underscored_names_are_removed() -> None:
    """Every header with an underscore is removed, and the others keep their order."""
    request = SimpleNamespace(
        headers=[
            ("HOST", "x"),
            ("X_ARR_CLIENTCERT", "forged"),
            ("X-ARR-CLIENTCERT", "real"),
            ("X-ARR_CLIENTCERT", "forged"),
            ("X_ANYTHING_ELSE", "1"),
            ("ACCEPT", "*/*"),
        ]
    )
    pre_request(None, request)
    assert request.headers == [("HOST", "x"), ("X-ARR-CLIENTCERT", "real"), ("ACCEPT", "*/*")]


def test_gunicorns_own_names_stay() -> None:
    """SCRIPT_NAME and PATH_INFO are kept, because gunicorn itself uses them."""
    headers = [("SCRIPT_NAME", "/app"), ("PATH_INFO", "/x"), ("script_name", "/app")]
    request = SimpleNamespace(headers=headers)
    pre_request(None, request)
    assert request.headers is headers


def test_names_of_an_asgi_worker_are_bytes() -> None:
    """Header names may be bytes, as in gunicorn's ASGI worker."""
    request = SimpleNamespace(headers=[(b"x_arr_clientcert", b"forged"), (b"host", b"x")])
    pre_request(None, request)
    assert request.headers == [(b"host", b"x")]


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("X_ARR_CLIENTCERT", logging.WARNING),
        ("X_Client_Verify", logging.WARNING),
        ("CLIENT_CERT_CHAIN", logging.WARNING),
        ("API_KEY", logging.DEBUG),
    ],
)
def test_what_imitates_a_front_end_is_logged(
    logged: pytest.LogCaptureFixture, name: str, level: int
) -> None:
    """A look-alike of a known front end's header is a WARNING; any other name is DEBUG."""
    pre_request(None, SimpleNamespace(headers=[(name, "secret"), ("HOST", "x")]))
    [record] = logged.records
    assert record.levelno == level
    assert name in record.getMessage()
    assert "secret" not in record.getMessage()


def test_hostile_names_are_escaped(logged: pytest.LogCaptureFixture) -> None:
    """A header name cannot forge a line of the log."""
    pre_request(None, SimpleNamespace(headers=[("A_\x1b[2J\nforged line", "1")]))
    assert "\n" not in logged.text.rstrip("\n")
    assert "\x1b" not in logged.text


def test_the_hook_makes_itself_known() -> None:
    """After the hook has run, gunicorn of any version counts as safe."""
    environ = {"wsgi.errors": type("Errors", (), {"__module__": "gunicorn.http.wsgi"})()}
    pre_request(None, SimpleNamespace(headers=[]))
    server = servers.wsgi_server(environ)
    assert server is not None
    assert server.is_safe


def test_gunicorn_finds_two_parameters() -> None:
    """The hook takes a worker and a request, as gunicorn requires."""
    assert len(inspect.signature(pre_request).parameters) == 2
