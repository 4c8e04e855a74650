"""Metrics of decisions, read by the reader of the SDK. tests/django has those of Django."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask
import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from arrcert import Authorizer, CertificateDenied, ConfigurationError, Policy
from arrcert import telemetry as module
from arrcert.asgi import ClientCertificateMiddleware as ASGIMiddleware
from arrcert.settings import load
from arrcert.telemetry import UNKNOWN_POLICY
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert.wsgi import ClientCertificateMiddleware as WSGIMiddleware
from arrcert_flask import Arrcert, authorize_certificate, authorizer_of

Labels = dict[str, object]
Read = Callable[[str], list[tuple[Labels, Any]]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Return a function that reads the points of a metric: pairs of labels and the point."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(module, "get_meter", provider.get_meter)
    module._instances.clear()
    module._left_over.clear()

    def points(name: str) -> list[tuple[Labels, Any]]:
        data = reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), point)
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    yield points
    provider.shutdown()


def counted(read: Read, name: str = "arrcert.decisions") -> dict[tuple[object, ...], int]:
    """Return the counts of a counter by the values of its labels."""
    return {tuple(labels.values()): point.value for labels, point in read(name)}


def environ_of(who: IssuedCertificate | None, path: str = "/") -> dict[str, Any]:
    """Return the environ of a request."""
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": path}
    if who is not None:
        environ["HTTP_X_ARR_CLIENTCERT"] = who.header_value
    return environ


def ask(authorizer: Authorizer, who: IssuedCertificate | None, *arguments: Any) -> None:
    """Ask for a decision, and ignore the result."""
    try:
        authorizer.identify_wsgi(environ_of(who), *arguments)
    except CertificateDenied:
        return


def test_decisions_are_counted_by_policy_outcome_reason_and_identity(
    read: Read, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """Each decision is counted once, and remembered ones are counted like the others."""
    policy = Policy(
        fingerprints=[alice.certificate.sha256_fingerprint], identity="fabrikam", roles=["orders"]
    )
    authorizer = Authorizer({"default": policy}, telemetry=True)
    for _ in range(3):
        ask(authorizer, alice)
    ask(authorizer, impostor)
    ask(authorizer, None)
    ask(authorizer, alice, "default", "invoices")
    [(labels, _), *_] = read("arrcert.decisions")
    assert list(labels) == ["policy", "outcome", "reason", "identity"]
    assert counted(read) == {
        ("default", "accepted", "", "fabrikam"): 3,
        ("default", "denied", "fingerprint_not_allowed", ""): 1,
        ("default", "denied", "missing", ""): 1,
        ("default", "denied", "role_not_granted", "fabrikam"): 1,
    }


def test_labels_are_bounded(read: Read, authority: CertificateAuthority) -> None:
    """A templated identity is counted as its template, and unknown policies share one label."""
    policy = Policy(
        trust_anchors=authority.certificate_pem.decode(), identity="device:{common_name}"
    )
    authorizer = Authorizer({"default": policy}, telemetry=True)
    for number in range(5):
        ask(authorizer, authority.issue(f"device-{number}"))
        ask(authorizer, authority.issue(f"device-{number}"), "default", "orders")
        ask(authorizer, None, f"policy-{number}")
    template = "device:{common_name}"
    assert counted(read) == {
        ("default", "accepted", "", template): 5,
        ("default", "denied", "role_not_granted", template): 5,
        (UNKNOWN_POLICY, "denied", "misconfigured", ""): 5,
    }
    assert [labels for labels, _ in read("arrcert.certificate.days_left")] == [
        {"policy": "default", "identity": template}
    ]


def test_the_alternative_that_let_in_is_counted(
    read: Read, alice: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """A second counter counts which alternative accepted, from 1."""
    bob = authority.issue("bob")
    authorizer = Authorizer(
        {
            "default": [
                Policy(fingerprints=[bob.certificate.sha256_fingerprint]),
                Policy(fingerprints=[alice.certificate.sha256_fingerprint], identity="alice"),
            ]
        },
        telemetry=True,
    )
    for who in (alice, alice, bob):
        ask(authorizer, who)
    assert counted(read, "arrcert.acceptances") == {
        ("default", 2, "alice"): 2,
        ("default", 1, ""): 1,
    }


def test_only_cold_decisions_are_measured(
    read: Read, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """The histogram measures only decisions by the rules, and not remembered ones."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, telemetry=True)
    for _ in range(4):
        ask(authorizer, alice)
        ask(authorizer, impostor)
    measured = {
        tuple(labels.values()): point for labels, point in read("arrcert.decision.duration")
    }
    assert {labels: point.count for labels, point in measured.items()} == {
        ("default", "accepted"): 1,
        ("default", "denied"): 4,
    }
    assert all(0 < point.sum < 60 for point in measured.values())


def test_an_unexpected_error_is_counted(
    read: Read, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is a denial, and is counted as `misconfigured`."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, telemetry=True)

    def fail(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(authorizer, "_decide", fail)
    ask(authorizer, alice)
    assert counted(read) == {("default", "denied", "misconfigured", ""): 1}


def test_days_left_is_that_of_the_certificate_that_ends_first(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gauge has, for each identity, the days left of the certificate that ends first."""
    clock = [time.time()]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    now = datetime.now(UTC).replace(microsecond=0)
    old, new = (self_signed("gateway", not_after=now + timedelta(days=days)) for days in (10, 300))
    policy = Policy(
        fingerprints=[one.certificate.sha256_fingerprint for one in (old, new)],
        identity="fabrikam",
    )
    first, second = (Authorizer({"default": policy}, telemetry=True) for _ in range(2))
    ask(first, new)
    ask(second, old)
    [(labels, point)] = read("arrcert.certificate.days_left")
    assert labels == {"policy": "default", "identity": "fabrikam"}
    assert point.value == pytest.approx(10, abs=0.01)
    clock[0] += 86000
    ask(first, new)
    clock[0] += 1000
    [(_, point)] = read("arrcert.certificate.days_left")
    assert point.value == pytest.approx(299, abs=0.1)
    clock[0] += 400 * 86400
    assert read("arrcert.certificate.days_left") == []


def test_the_certificates_of_one_identity_are_bounded(
    read: Read, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many certificates, those that end first are kept."""
    monkeypatch.setattr(module, "MOST_CERTIFICATES", 2)
    policy = Policy(trust_anchors=authority.certificate_pem.decode(), identity="{common_name}")
    authorizer = Authorizer({"default": policy}, telemetry=True)
    for days in (50, 20, 40, 60):
        ask(authorizer, authority.issue("x", not_after=datetime.now(UTC) + timedelta(days=days)))
    [telemetry] = module._instances
    [ends] = telemetry._ends.values()
    assert sorted(round((end - time.time()) / 86400) for end, _ in ends.values()) == [20, 40]
    [(_, point)] = read("arrcert.certificate.days_left")
    assert point.value == pytest.approx(20, abs=0.01)


def test_ages_of_lists_and_of_the_file(
    read: Read, authority: CertificateAuthority, tmp_path: Path, alice: IssuedCertificate
) -> None:
    """The gauges have the ages of each revocation list and of the file of policies."""
    issued = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "ca.crl").write_bytes(authority.revocation_list(last_update=issued))
    file = tmp_path / "partners.toml"
    file.write_text(
        '[default]\ntrust_anchors = "ca.pem"\ncrls = "ca.crl"\n[other]\nfingerprints ='
        f' ["{alice.certificate.sha256_fingerprint}"]\n'
    )
    tmp_path.chmod(0o700)
    file.chmod(0o600)
    # The tests may move their clock away from the clock of the file system.
    os.utime(file, (time.time(), time.time()))
    settings = load({"ARRCERT_FILE": str(file), "ARRCERT_TELEMETRY": True}, {})
    authorizer = Authorizer.from_settings(settings)
    [(labels, point)] = read("arrcert.crl.age")
    assert labels == {
        "crl": f"the file '{tmp_path / 'ca.crl'}'",
        "issuer": "CN=Contoso Issuing CA,O=Contoso",
    }
    assert point.value == pytest.approx(5 * 3600, abs=60)
    [(labels, point)] = read("arrcert.file.age")
    assert labels == {"file": str(file)}
    assert 0 <= point.value < 60
    ask(authorizer, alice)
    ask(authorizer, None, "nobody")
    assert counted(read) == {
        ("default", "accepted", "", ""): 1,
        (UNKNOWN_POLICY, "denied", "misconfigured", ""): 1,
    }


def test_what_an_ended_authorizer_has_counted_is_not_lost(
    read: Read, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """The counts of an authorizer that is replaced between two collections are exported too."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, telemetry=True)
    for _ in range(2):
        ask(authorizer, alice)
        ask(authorizer, impostor)
    authorizer = Authorizer({"default": policy}, telemetry=True)
    gc.collect()
    assert len(module._instances) == 1
    ask(authorizer, alice)
    for _ in range(2):
        assert counted(read) == {
            ("default", "accepted", "", ""): 3,
            ("default", "denied", "fingerprint_not_allowed", ""): 2,
        }
    del authorizer
    gc.collect()
    assert not module._left_over


def test_a_certificate_that_was_seen_just_before_is_not_noted_again(
    read: Read, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate is noted at most once a minute, unless the clock was set back."""
    clock = [time.time()]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, telemetry=True)
    [telemetry] = module._instances
    for step in (0.0, 59.0, 1.0, -30.0):
        clock[0] += step
        ask(authorizer, alice)
        [[(_, seen)]] = [list(ends.values()) for ends in telemetry._ends.values()]
        assert (seen == clock[0]) is (step != 59.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_counts_from_zero(read: Read, alice: IssuedCertificate) -> None:
    """A forked process counts from zero, and does not export the counts of its parent."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, telemetry=True)
    ask(authorizer, alice)
    [telemetry] = module._instances
    child = os.fork()
    if child == 0:
        os._exit(1 if telemetry._accepted or module._left_over else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counted(read) == {("default", "accepted", "", ""): 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_a_free_lock(read: Read, alice: IssuedCertificate) -> None:
    """A worker that is forked while another thread counts has a free lock."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, telemetry=True)
    [telemetry] = module._instances
    with telemetry._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if telemetry._lock.acquire(timeout=5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ask(authorizer, alice)


def test_without_files_there_are_no_ages(read: Read, alice: IssuedCertificate) -> None:
    """Policies without lists and without a file have no ages."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    authorizer = Authorizer({"default": policy}, telemetry=True)
    assert authorizer.policy_names == ("default",)
    assert read("arrcert.crl.age") == read("arrcert.file.age") == []


def test_nothing_is_imported_or_counted_by_default(read: Read, alice: IssuedCertificate) -> None:
    """Without the setting, OpenTelemetry is not imported, and nothing is counted."""
    policy = Policy(fingerprints=[alice.certificate.sha256_fingerprint])
    ask(Authorizer({"default": policy}), alice)
    assert read("arrcert.decisions") == []
    program = (
        "import sys\n"
        "from arrcert.settings import load\n"
        "from arrcert import Authorizer\n"
        f"ours = {{'ARRCERT': {{'default': {{'fingerprints': ['{'ab' * 32}']}}}}}}\n"
        "Authorizer.from_settings(load({**ours, 'ARRCERT_TELEMETRY': False}, {}))\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_missing_api_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting and without the extra, the error says what to install."""
    monkeypatch.delitem(sys.modules, "arrcert.telemetry")
    monkeypatch.delattr("arrcert.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    ours = {"ARRCERT": {"default": {"fingerprints": ["ab" * 32]}}, "ARRCERT_TELEMETRY": True}
    with pytest.raises(ConfigurationError, match=r"ARRCERT_TELEMETRY: .*arrcert\[telemetry\]"):
        load(ours, {})


def test_without_an_sdk_nothing_happens(alice: IssuedCertificate) -> None:
    """With the API and no SDK, decisions work and nothing is counted."""
    program = (
        "from arrcert import Authorizer, Policy\n"
        f"policy = Policy(fingerprints=['{alice.certificate.sha256_fingerprint}'])\n"
        "authorizer = Authorizer({'default': policy}, telemetry=True)\n"
        f"print(authorizer.identify('{alice.header_value}').policy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout == "default\n"
    assert metrics.get_meter("arrcert") is not None


def settings_of(who: IssuedCertificate) -> dict[str, Any]:
    """Return the settings of a site that counts."""
    pin = {"fingerprint": who.certificate.sha256_fingerprint, "identity": "fabrikam"}
    return {"ARRCERT": {"default": {"fingerprints": [pin]}}, "ARRCERT_TELEMETRY": True}


ONE_OF_EACH = {
    ("default", "accepted", "", "fabrikam"): 1,
    ("default", "denied", "missing", ""): 1,
}


def test_flask_is_counted_once_a_request(read: Read, alice: IssuedCertificate) -> None:
    """A gate, a decorator and a middleware around a Flask app count a request once."""
    app = flask.Flask(__name__)
    app.config.update(settings_of(alice), ARRCERT_PROTECT_ALL=True, TESTING=True)
    Arrcert(app)
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, authorizer_of(app))

    @app.get("/")
    @authorize_certificate
    def hello() -> str:
        return "hello"

    client = app.test_client()
    assert client.get("/", headers=alice.headers).status_code == 200
    assert client.get("/").status_code == 403
    assert counted(read) == ONE_OF_EACH


def test_plain_asgi_is_counted(read: Read, alice: IssuedCertificate) -> None:
    """A plain ASGI app behind the middleware is counted."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    guarded = ASGIMiddleware(app, Authorizer.from_settings(load(settings_of(alice), {})))

    def visit(headers: list[tuple[bytes, bytes]]) -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("nobody reads the body")

        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        asyncio.run(guarded(scope, receive, send))
        return int(sent[0]["status"])

    assert visit([(b"x-arr-clientcert", alice.header_value.encode())]) == 200
    assert visit([]) == 403
    assert counted(read) == ONE_OF_EACH


def test_fastapi_is_counted_once_a_request(read: Read, alice: IssuedCertificate) -> None:
    """The gate and a dependency count a request once, and so does the gate alone."""
    import fastapi
    from fastapi.testclient import TestClient

    from arrcert_fastapi import Arrcert as ArrcertFastAPI
    from arrcert_fastapi import RequireClientCertificate

    app = fastapi.FastAPI()
    ArrcertFastAPI(app, settings_of(alice))

    @app.get("/", dependencies=[fastapi.Depends(RequireClientCertificate())])
    def hello() -> str:
        return "hello"

    @app.get("/gate")
    def gate() -> str:
        return "hello"

    @app.get("/orders", dependencies=[fastapi.Depends(RequireClientCertificate(role="orders"))])
    def orders() -> str:
        return "hello"

    client = TestClient(app)
    assert client.get("/", headers=alice.headers).status_code == 200
    assert client.get("/").status_code == 403
    assert counted(read) == ONE_OF_EACH
    assert client.get("/gate", headers=alice.headers).status_code == 200
    assert client.get("/orders", headers=alice.headers).status_code == 403
    assert counted(read) == {
        **ONE_OF_EACH,
        ("default", "accepted", "", "fabrikam"): 2,
        ("default", "denied", "role_not_granted", "fabrikam"): 1,
    }
