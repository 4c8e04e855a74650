"""The Azure Functions sample, called through the library's objects, and its client over TLS."""

from __future__ import annotations

import asyncio
import http.server
import importlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    pkcs12,
)
from flask import Flask

from arrcert import ConfigurationError
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert_flask import Arrcert, authorize_certificate
from tests.e2e.functions_headers import DENIED, ENTERS, HEADER

func = pytest.importorskip("azure.functions", reason="the package azure-functions is missing")

pytestmark = pytest.mark.matrix

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "sample_sites" / "functions_app"
PASSWORD = "correct horse"
ROUTES = {"random_string": "random", "site": "{*path}"}
MODULES = ("function_app", "flask_app", "functions_host")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """A function that imports the sample anew, with the given variables."""

    def load(name: str = "function_app", **variables: str) -> ModuleType:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.syspath_prepend(FOLDER)
        monkeypatch.syspath_prepend(HERE)
        for module in MODULES:
            sys.modules.pop(module, None)
        return importlib.import_module(name)

    yield load
    for module in MODULES:
        sys.modules.pop(module, None)


@pytest.fixture
def host(load, alice: IssuedCertificate):
    """The stand-in for the host. The sample accepts alice."""
    fingerprint = alice.certificate.sha256_fingerprint
    return load("functions_host", ARRCERT_FINGERPRINTS=fingerprint)


class Function(NamedTuple):
    """One of the two functions, in the library's form.

    Attributes:
        call: takes headers as (name, value) pairs and returns the library's response.
        entered: matches the body of a request that entered.
    """

    call: Callable[[list[tuple[str, str]]], object]
    entered: str


@pytest.fixture(params=ROUTES)
def function(request: pytest.FixtureRequest, host) -> Function:
    """Each function: the native trigger, and the hosted Flask site."""
    _, called = host.host().functions[ROUTES[request.param]]
    if request.param == "random_string":
        url = "https://site.example/random"
        return Function(lambda pairs: called(req=host.request("GET", url, pairs)), r"[\w-]{32}")
    url = "https://site.example/hellocert"
    return Function(
        lambda pairs: called(req=host.request("GET", url, pairs), context=host.Context()),
        "hello alice\n",
    )


@pytest.fixture
def fill(alice, impostor, look_alike) -> Callable[..., list[tuple[str, str]]]:
    """A function that replaces the names in a table by certificates."""
    values = {
        "alice": alice.header_value,
        "impostor": impostor.header_value,
        "look_alike": look_alike.header_value,
    }
    return lambda pairs: [(name, value.format(**values)) for name, value in pairs]


@pytest.mark.parametrize("case", ENTERS)
def test_right_certificate_enters(function: Function, fill, case: str) -> None:
    """The allowed certificate is accepted in the header, with its name in any case."""
    response = function.call(fill(ENTERS[case]))
    assert response.status_code == 200
    assert re.fullmatch(function.entered, response.get_body().decode())


@pytest.mark.parametrize("case", DENIED)
def test_anything_else_is_denied(
    function: Function, fill, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every other request is a 403, never an exception, and the log has its reason."""
    pairs, reason = DENIED[case]
    response = function.call(fill(pairs))
    assert response.status_code == 403
    assert [record.arrcert_reason for record in caplog.records] == [reason]


def test_refusal_says_nothing(function: Function, fill) -> None:
    """Every denied client gets the same answer."""
    answers = {function.call(fill(pairs)).get_body() for pairs, _ in DENIED.values()}
    assert len(answers) == 1


def test_expired_certificate_is_denied(load, alice, expired, caplog) -> None:
    """An expired certificate is denied, although it is pinned."""
    host = load("functions_host", ARRCERT_FINGERPRINTS=expired.certificate.sha256_fingerprint)
    pairs = [(HEADER, expired.header_value)]
    for path in ("/random", "/hellocert"):
        assert host.host().answer("GET", f"https://site.example{path}", pairs).status == 403
    assert [record.arrcert_reason for record in caplog.records] == ["expired", "expired"]


def test_random_string_is_random_and_stays_private(host, alice) -> None:
    """Each answer is another random string, and no cache stores it."""
    pairs = [(HEADER, alice.header_value)]
    answers = [host.host().answer("GET", "https://site.example/random", pairs) for _ in range(2)]
    assert answers[0].body != answers[1].body
    assert ("Cache-Control", "private, no-store") in answers[0].headers


def test_health_is_open(host) -> None:
    """The health page answers without a certificate."""
    answer = host.host().answer("GET", "https://site.example/health", [])
    assert (answer.status, answer.body) == (200, b"ok")


def test_levels_and_routes_are_said(load, alice) -> None:
    """Both functions state that the host asks for no key, and their routes."""
    app = load(ARRCERT_FINGERPRINTS=alice.certificate.sha256_fingerprint).app
    triggers = [function.get_trigger().get_dict_repr() for function in app.get_functions()]
    assert {trigger["authLevel"].value for trigger in triggers} == {func.AuthLevel.ANONYMOUS.value}
    assert [trigger["route"] for trigger in triggers] == [*ROUTES.values()]
    prefix = json.loads((FOLDER / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    assert prefix == ""


def test_no_policy_no_start(load) -> None:
    """Without a policy the module cannot be imported."""
    with pytest.raises(ConfigurationError, match="ARRCERT"):
        load()


def test_decorator_above_the_route_stops_the_start(load, alice) -> None:
    """A decorator above the route stops the start."""
    module = load(ARRCERT_FINGERPRINTS=alice.certificate.sha256_fingerprint)
    app = func.FunctionApp()
    with pytest.raises(TypeError, match="write @authorize_certificate below"):

        @module.authorize_certificate
        @app.route(route="open")
        def open_to_all(req: func.HttpRequest) -> func.HttpResponse:
            return func.HttpResponse("secret")


def test_example_settings_start(load, caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the local settings starts the app, with a warning about its header."""
    example = json.loads((FOLDER / "local.settings.json.example").read_text())
    assert example["IsEncrypted"] is False
    monkeypatch.delenv("WEBSITE_SITE_NAME")
    with caplog.at_level(logging.WARNING):
        load(**example["Values"])
    assert any("strangers may be able to send" in r.getMessage() for r in caplog.records)


# --- the reason for the sample's way to host Flask -----------------------------------------------


def ask_wsgi(app: Flask, req: object, context: object) -> object:
    """Send a request to a WsgiFunctionApp."""
    [function] = func.WsgiFunctionApp(app).get_functions()
    return function.get_user_function()(req, context)


def ask_asgi(app: Flask, req: object, context: object) -> object:
    """Send a request to the app of an AsgiFunctionApp, which keeps the names apart."""
    a2wsgi = pytest.importorskip("a2wsgi", reason="the package a2wsgi is missing")
    middleware = func.AsgiMiddleware(a2wsgi.WSGIMiddleware(app))
    return asyncio.run(middleware.handle_async(req, context))


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
@pytest.mark.parametrize("refuses", [True, False])
def test_library_alone_cannot_host_flask_safely(
    host, alice, monkeypatch: pytest.MonkeyPatch, caplog, ask: Callable[..., object], refuses: bool
) -> None:
    """With the library alone a look-alike could be accepted, so arrcert refuses every request."""
    app = Flask(__name__)
    app.config["ARRCERT_REFUSE_UNSAFE_SERVERS"] = refuses
    Arrcert(app)
    app.get("/hellocert")(authorize_certificate(lambda: "entered"))
    for name in (HEADER, "X_ARR_ClientCert"):
        req = host.request("GET", "https://s.example/hellocert", [(name, alice.header_value)])
        assert ask(app, req, host.Context()).status_code == (403 if refuses else 200)
    assert "passes a look-alike header to the app" in caplog.text


# --- over HTTP -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """The variables with which the servers import the sample."""
    return {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(FOLDER)]),
        "ARRCERT_PROTECT_ALL": "false",
    }


@pytest.fixture(scope="module")
def plain(serve, variables):
    """The stand-in for the host on plain HTTP, like `func start` on a developer's machine."""
    program = str(HERE / "functions_host.py")
    with serve([sys.executable, program, "{port}"], **variables) as running:
        yield running


@pytest.fixture(scope="module")
def server_authority() -> CertificateAuthority:
    """The CA that issued the front end's own certificate."""
    return CertificateAuthority("Server CA")


@pytest.fixture(scope="module")
def behind_front_end(serve, variables, server_authority):
    """The stand-in for the host behind the local front end."""
    issued = server_authority.issue(
        "localhost", dns_names=["localhost"], extended_key_usages=("serverAuth",)
    )
    files = {
        "server.pem": issued.certificate_pem.decode(),
        "server.key": issued.private_key_pem.decode(),
    }
    words = [sys.executable, "-m", "arrcert.cli", "serve", "functions_host:application"]
    words += ["--bind", "127.0.0.1:{port}"]
    words += ["--certificate", "{folder}/server.pem", "--key", "{folder}/server.key"]
    with serve(words, files=files, speaks_tls=True, **variables) as running:
        yield running


@pytest.mark.parametrize("path", ["/random", "/hellocert"])
def test_nobody_enters_by_a_smuggled_header(plain, form: str, forms, path: str) -> None:
    """No smuggled form of the header opens a function, even without a front end that removes it."""
    answer = plain.exchange(forms(form, path, method="GET"))
    assert answer.status in (400, 403), answer


@pytest.mark.parametrize("path", ["/random", "/hellocert"])
def test_header_by_its_name_enters(plain, forms, path: str) -> None:
    """The front end's own header opens both functions."""
    assert plain.exchange(forms("legitimate", path)).status == 200


# --- the client ----------------------------------------------------------------------------------


class Said(NamedTuple):
    """The output of the client, and its exit code."""

    exit_code: int
    output: str
    error: str


@pytest.fixture(scope="module")
def files(tmp_path_factory, alice, impostor, expired, server_authority) -> Path:
    """A folder with the files that a client may have."""
    folder = tmp_path_factory.mktemp("client")
    for name, issued in {"alice": alice, "impostor": impostor, "expired": expired}.items():
        both = issued.certificate_pem + issued.private_key_pem
        (folder / f"{name}.pem").write_bytes(both)
        for suffix, encryption in (
            ("", NoEncryption()),
            ("-password", BestAvailableEncryption(PASSWORD.encode())),
        ):
            content = pkcs12.serialize_key_and_certificates(
                name.encode(), issued.private_key, issued.certificate.x509, None, encryption
            )
            (folder / f"{name}{suffix}.p12").write_bytes(content)
    (folder / "no-key.pem").write_bytes(alice.certificate_pem)
    (folder / "garbage.p12").write_bytes(b"garbage")
    (folder / "server-ca.pem").write_bytes(server_authority.certificate_pem)
    return folder


def run(files: Path, *words: object, password: str | None = None) -> Said:
    """Run the client as a user does, in the folder of the files."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ARRCERT", "CLIENT_CERTIFICATE")) and "proxy" not in name.lower()
    }
    if password is not None:
        environ["CLIENT_CERTIFICATE_PASSWORD"] = password
    done = subprocess.run(
        [sys.executable, str(FOLDER / "client.py"), *map(str, words)],
        cwd=files,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def over_tls(behind_front_end, files):
    """A function that runs the client through the local front end."""

    def call(*words: object, path: str = "/random", password: str | None = None) -> Said:
        url = f"https://localhost:{behind_front_end.port}{path}"
        return run(files, url, "--cafile", "server-ca.pem", *words, password=password)

    return call


@pytest.mark.parametrize(
    ("file", "password"),
    [("alice.p12", None), ("alice-password.p12", PASSWORD), ("alice.pem", None)],
)
def test_client_gets_its_string(over_tls, file: str, password: str | None) -> None:
    """With the right certificate in any kind of file, the client prints a random string."""
    said = over_tls("--certificate", file, password=password)
    assert said.exit_code == 0, said
    assert re.fullmatch(r"[\w-]{32}\n", said.output)
    assert said.error == ""


def test_client_reaches_the_hosted_site(over_tls) -> None:
    """The same certificate opens the Flask site of the app."""
    assert over_tls("--certificate", "alice.p12", path="/hellocert").output == "hello alice\n"


@pytest.mark.parametrize("path", ["/random", "/hellocert"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--certificate", "impostor.p12"], "refused this certificate; the reason is in the"),
        (["--certificate", "expired.pem"], "refused this certificate; the reason is in the"),
        ([], "refused a request without a certificate; write yours after --certificate"),
    ],
    ids=["wrong", "expired", "none"],
)
def test_client_is_refused_in_one_sentence(over_tls, words, sentence: str, path: str) -> None:
    """If it is refused, the client prints one sentence and exits with 1."""
    said = over_tls(*words, path=path)
    assert (said.exit_code, said.output) == (1, "")
    last_line = said.error.splitlines()[-1]
    assert last_line.startswith(f"client.py: the site {sentence}")


@pytest.mark.parametrize(
    ("words", "password", "sentence"),
    [
        (["--certificate", "nowhere.p12"], None, "--certificate: .*nowhere.p12.* cannot be read"),
        (["--certificate", "garbage.p12"], None, "--certificate: .*garbage.p12.* neither"),
        (["--certificate", "no-key.pem"], None, "--certificate: .*holds no private key"),
        (["--certificate", "alice-password.p12"], None, "the password .*is missing"),
        (["--certificate", "alice-password.p12"], "wrong", "the password .*does not open"),
        (["--certificate", "alice.p12", "--cafile", "nowhere.pem"], None, "--cafile: .*nowhere"),
        (["--cafile", "nowhere.pem"], None, "--cafile: .*nowhere"),
    ],
)
def test_client_says_which_file_is_wrong(over_tls, words, password, sentence: str) -> None:
    """The error about a file or password names its option, without a traceback."""
    said = over_tls(*words, password=password)
    assert said.exit_code == 3
    assert re.match(f"client.py: {sentence}", said.error)
    assert len(said.error.splitlines()) == 1


def test_client_does_not_trust_any_server(behind_front_end, files) -> None:
    """A site with an untrusted certificate gets no request, and the error names --cafile."""
    said = run(files, f"https://localhost:{behind_front_end.port}/random")
    assert said.exit_code == 4
    assert "is not trusted" in said.error
    assert "--cafile" in said.error


def test_client_says_that_nobody_is_there(files, unused_port: int, plain) -> None:
    """A closed port, and a server without TLS, are an error of one sentence each."""
    said = run(files, f"https://localhost:{unused_port}/random")
    assert said.exit_code == 4
    assert said.error.startswith(f"client.py: no connection to localhost:{unused_port}")
    said = run(files, f"https://localhost:{plain.port}/random")
    assert said.exit_code == 4
    assert said.error.startswith(f"client.py: TLS with localhost:{plain.port} failed")


def test_client_names_another_answer(over_tls) -> None:
    """An answer that is neither 200 nor 403 has its own sentence and exit code."""
    said = over_tls("--certificate", "alice.p12", path="/nowhere")
    assert said.exit_code == 5
    assert "404" in said.error


@pytest.mark.parametrize(
    ("file", "password", "exit_code"),
    [
        ("alice.pem", None, 0),
        ("no-key.pem", None, 0),
        ("alice-password.p12", PASSWORD, 0),
        ("alice-password.p12", "wrong", 3),
        ("garbage.p12", None, 3),
        ("nowhere.p12", None, 3),
        ("impostor.pem", None, 1),
    ],
)
def test_client_without_tls(plain, files, file, password, exit_code: int) -> None:
    """With a local address over plain HTTP, the client itself writes the header."""
    url = f"http://localhost:{plain.port}/random"
    said = run(files, url, "--local", "--certificate", file, password=password)
    assert said.exit_code == exit_code, said
    assert bool(said.output) is (exit_code == 0)
    assert len(said.error.splitlines()) == (exit_code != 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["http://site.example/random"], "add --local"),
        (["https://localhost/random", "--local"], "--local is for http://localhost"),
        (["http://site.example/random", "--local"], "--local is for http://localhost"),
        (["http://localhost.site.example/random", "--local"], "--local is for http://localhost"),
        (["http://localhost@site.example/random", "--local"], "--local is for http://localhost"),
        (["http://localhost:x/random", "--local"], "is not a URL"),
        (["http://localhost/random", "--local", "--cafile", "f"], "--cafile is for https://"),
        (["site.example/random"], "write https://"),
    ],
)
def test_header_goes_to_this_machine_alone(files, words, sentence: str) -> None:
    """A certificate in plain text, and a forged header, to another machine is a usage error."""
    said = run(files, *words)
    assert said.exit_code == 2
    assert sentence in said.error


def test_client_follows_no_redirect(files) -> None:
    """The client follows no redirect, so that a site cannot send it elsewhere."""
    asked = []

    class Redirects(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Redirects) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/random"
            said = run(files, url, "--local", "--certificate", "alice.pem")
        finally:
            server.shutdown()
            thread.join()
    assert said.exit_code == 5
    assert asked == ["/random"]


@pytest.fixture
def unused_port() -> int:
    """A port on which no server listens."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        return server.server_port


def test_help_tells_every_exit_code(files) -> None:
    """The help names every exit code."""
    said = run(files, "--help")
    assert said.exit_code == 0
    assert re.findall(r"^  (\d)  ", said.output, re.MULTILINE) == list("012345")
    assert "CLIENT_CERTIFICATE_PASSWORD" in said.output


# --- the README ----------------------------------------------------------------------------------


def readme_lines(start: str | tuple[str, ...]) -> list[str]:
    """Return the lines of the README's shell blocks that begin with a text."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(start)]


def test_readme_leads_to_a_random_string(serve, variables, tmp_path: Path) -> None:
    """The README makes a certificate that the function accepts, and one that it denies."""
    printed = [
        subprocess.run(
            ["bash", "-ec", line], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for line in readme_lines(("openssl ", "cat "))
    ]
    policies = json.dumps({"default": {"fingerprints": [printed[-1].strip()]}})
    words = [sys.executable, str(HERE / "functions_host.py"), "{port}"]
    with serve(words, **variables | {"ARRCERT": policies}) as running:
        local = [line for line in readme_lines("python client.py ") if "7071" in line]
        assert len(local) == 2
        for line in local:
            command, _, promised = line.replace("7071", str(running.port)).partition("#")
            said = run(tmp_path, *command.split()[2:])
            assert said.exit_code == {"a random string": 0, "refused": 1}[promised.strip()], said


def test_readme_names_real_options_of_the_client(files) -> None:
    """Every option of the client in the README is also in its help."""
    options = re.findall(r"--[\w-]+", " ".join(readme_lines("python client.py ")))
    assert {"--certificate", "--local"} == set(options)
    said = run(files, "--help")
    assert all(option in said.output for option in options)


def test_deployment_leaves_the_client_and_secrets_behind() -> None:
    """The published folder holds the app and its settings, and neither the client nor keys."""
    ignored = (FOLDER / ".funcignore").read_text().splitlines()
    assert {"client.py", "local.settings.json", "*.p12", "*.key"} <= set(ignored)
    needed = {"function_app.py", "flask_app.py", "host.json", "requirements.txt"}
    assert all((FOLDER / name).is_file() for name in needed)
    assert not needed & set(ignored)
