"""The `arrcert` command: its errors in process, its life as a process of its own."""

from __future__ import annotations

import http.client
import importlib
import importlib.metadata
import itertools
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("cheroot")
pytest.importorskip("OpenSSL")

from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert.cli import commands as cli
from arrcert.cli import downloads as fetching
from arrcert.testing import CertificateAuthority, IssuedCertificate

APP = """
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]
"""

MODULE_NUMBERS = itertools.count()


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write modules into the current directory, which is an empty one; return their names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])

    def make(source: str) -> str:
        name = f"site_{next(MODULE_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return name

    return make


def run(*arguments: str) -> Result:
    """Run the command in process."""
    return CliRunner().invoke(cli.main, arguments)


def error_of(*arguments: str) -> str:
    """Run the command, which must fail with one line on stderr and exit code 2."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    return result.stderr


class TestApps:
    @pytest.mark.parametrize("reference", [":app", "shop:app:app", "shop:app.x", ".shop:app", ""])
    def test_what_is_not_module_and_app(self, make_module: Any, reference: str) -> None:
        """A reference of another form is refused with an example of the right one."""
        assert "is not MODULE:APP; such as 'shop.wsgi:app'" in error_of("serve", reference)

    @pytest.mark.parametrize(
        ("reference", "meant"),
        [
            ("app", "app:app"),
            ("app.py", "app:app"),
            ("shop:", "shop:app"),
            ("a/b:app", "a.b:app"),
            ("./a/b.py:create_app()", "a.b:create_app()"),
            ("a\\b.py", "a.b:app"),
        ],
    )
    def test_what_was_meant(self, make_module: Any, reference: str, meant: str) -> None:
        """A file's path, or a module alone, is answered with the reference that was meant."""
        error = error_of("serve", reference)
        assert f"did you mean '{meant}'?" in error or f"write '{meant}'" in error

    @pytest.mark.parametrize("module", ["no_such_module", "no_such_package.module", "json.nothing"])
    def test_a_missing_module(self, make_module: Any, module: str) -> None:
        """A module that does not exist is named, not the import that failed."""
        assert f"no module named '{module}'" in error_of("serve", f"{module}:app")

    def test_a_file_name_instead_of_a_module(self, make_module: Any) -> None:
        """A module written with its .py is told from one that exists."""
        module = make_module(APP)
        error = error_of("serve", f"{module}.py:app")
        assert error == f"Error: no module named '{module}.py'; write '{module}:app'\n"

    def test_a_missing_attribute(self, make_module: Any) -> None:
        """An app that the module does not have is named."""
        module = make_module("application = 1\ndef make_application(): ...")
        assert error_of("serve", f"{module}:ap") == f"Error: module '{module}' has no 'ap'\n"
        module = make_module(f"{textwrap.dedent(APP)}\ndef create_app(): return app\n")
        assert error_of("serve", f"{module}:application") == (
            f"Error: module '{module}' has no 'application';"
            f" it has {module}:app and {module}:create_app()\n"
        )

    @pytest.mark.parametrize("name", ["function", "instance"])
    def test_an_asgi_app(self, make_module: Any, name: str) -> None:
        """An ASGI app is named as such, with the WSGI app that stands beside it."""
        module = make_module(
            """
            async def function(scope, receive, send): ...
            class Handler:
                async def __call__(self, scope, receive, send): ...
            instance = asgi = Handler()
            """
        )
        error = error_of("serve", f"{module}:{name}")
        assert "is an ASGI app, and arrcert serve runs WSGI" in error
        assert error.endswith("name a WSGI app, such as mysite.wsgi:application\n")
        assert error_of("serve", f"{module}:asgi").endswith(f"name {module}:wsgi\n")

    @pytest.mark.parametrize("name", ["number", "factory", "coroutine"])
    def test_what_is_no_wsgi_app(self, make_module: Any, name: str) -> None:
        """What cannot be called as PEP 3333 says is refused, with a hint for factories."""
        module = make_module(
            """
            number = 1
            def factory(): ...
            async def coroutine(): ...
            """
        )
        error = error_of("serve", f"{module}:{name}")
        assert "is no WSGI app" in error
        assert "name a factory with its parentheses" in error

    def test_a_callable_without_a_signature_may_be_an_app(self) -> None:
        """What does not tell its arguments gets the benefit of the doubt."""
        assert cli._takes_wsgi_arguments(vars)

    def test_a_missing_module_inside(self, make_module: Any) -> None:
        """An import that fails inside the module is named, with a way to the traceback."""
        module = make_module("import module_that_is_missing")
        error = error_of("serve", f"{module}:app")
        assert f"importing '{module}' failed" in error
        assert "No module named 'module_that_is_missing'" in error
        assert f'run python -c "import {module}" to see the traceback' in error

    @pytest.mark.parametrize(
        ("source", "what"),
        [
            ("raise ValueError('two\\nlines')", "ValueError: two lines"),
            ("raise SystemExit('enough')", "SystemExit: enough"),
            ("x = (", "SyntaxError: '(' was never closed"),
        ],
    )
    def test_a_module_that_raises(self, make_module: Any, source: str, what: str) -> None:
        """Whatever an import raises becomes one line."""
        assert what in error_of("serve", f"{make_module(source)}:app")

    def test_a_factory_that_raises(self, make_module: Any) -> None:
        """A factory that fails is told from a module that does."""
        module = make_module("def create_app(): return 1 / 0")
        error = error_of("serve", f"{module}:create_app()")
        assert f"calling '{module}:create_app()' failed: ZeroDivisionError" in error
        assert f'python -c "import {module}; {module}.create_app()"' in error

    @pytest.mark.parametrize("attribute", ["app", "create_app()"])
    def test_a_mistake_in_arrcerts_settings(self, make_module: Any, attribute: str) -> None:
        """A ConfigurationError is shown as it is written, for it says what to change."""
        fault = "raise ConfigurationError([Problem('ARRCERT', 'is empty')])"
        module = make_module(
            f"""
            from arrcert.exceptions import ConfigurationError, Problem
            def create_app(): {fault}
            if {attribute == "app"}: {fault}
            """
        )
        assert error_of("serve", f"{module}:{attribute}") == "Error: ARRCERT: is empty\n"


class TestOptions:
    def write(self, issued: IssuedCertificate) -> tuple[str, str]:
        """Write a certificate and its key; return the arguments that name them."""
        Path("server.pem").write_bytes(issued.certificate_pem)
        Path("server.key").write_bytes(issued.private_key_pem)
        return "--certificate=server.pem", "--key=server.key"

    @pytest.mark.parametrize("option", ["--certificate", "--key"])
    def test_certificate_and_key_belong_together(self, make_module: Any, option: str) -> None:
        """One of the two without the other is a usage error."""
        result = run("serve", f"{make_module(APP)}:app", option, "file.pem")
        assert result.exit_code == 2
        assert "--certificate and --key belong together" in result.stderr

    @pytest.mark.parametrize("missing", ["server.pem", "server.key"])
    def test_an_unreadable_file(self, make_module: Any, missing: str) -> None:
        """A file that cannot be read is named together with its option."""
        arguments = self.write(CertificateAuthority("CA").issue("a"))
        Path(missing).unlink()
        Path(missing).mkdir()
        option = "--certificate" if missing.endswith("pem") else "--key"
        error = error_of("serve", f"{make_module(APP)}:app", *arguments)
        assert f"Error: {option}: cannot read '{missing}': Is a directory" in error

    def test_a_key_that_is_none(self, make_module: Any) -> None:
        """A key file that holds something else is refused."""
        arguments = self.write(CertificateAuthority("CA").issue("a"))
        Path("server.key").write_text("nonsense")
        error = error_of("serve", f"{make_module(APP)}:app", *arguments)
        assert error == "Error: --key: holds no PEM private key that can be read\n"

    def test_a_key_of_another_certificate(self, make_module: Any) -> None:
        """A key that does not belong to the certificate is refused."""
        authority = CertificateAuthority("CA")
        arguments = self.write(authority.issue("a"))
        Path("server.key").write_bytes(authority.issue("b").private_key_pem)
        error = error_of("serve", f"{make_module(APP)}:app", *arguments)
        assert error == "Error: --key: does not belong to the certificate\n"

    def test_an_exclusion_without_a_slash(self, make_module: Any) -> None:
        """An exclusion that can never match is refused."""
        error = error_of("serve", f"{make_module(APP)}:app", "--exclude", "/a;health")
        assert error == "Error: --exclude: 'health' excludes nothing; write '/health'\n"

    @pytest.mark.parametrize(
        "bind", ["8443", "localhost", ":8443", "[]:1", "a:b", "a:-1", "a:65536", "é:1", "::1:8443"]
    )
    def test_an_address_of_another_form(self, make_module: Any, bind: str) -> None:
        """--bind takes HOST:PORT, and IPv6 addresses in brackets."""
        result = run("serve", f"{make_module(APP)}:app", "--bind", bind)
        assert result.exit_code == 2
        assert "Invalid value for '--bind'" in result.stderr

    def test_an_unknown_mode(self, make_module: Any) -> None:
        """--client-cert-mode takes the three modes alone."""
        result = run("serve", f"{make_module(APP)}:app", "--client-cert-mode", "none")
        assert result.exit_code == 2
        assert "'required', 'optional', 'ignore'" in result.stderr

    def test_a_taken_port(self, make_module: Any) -> None:
        """A port that somebody else listens on is one line, and leaves no file behind."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            error = error_of("serve", f"{make_module(APP)}:app", "--bind", f"127.0.0.1:{port}")
        assert error == (
            f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another"
            " with --bind\n"
        )

    def test_a_host_that_is_unknown(self, make_module: Any) -> None:
        """A host name that does not resolve is one line."""
        error = error_of("serve", f"{make_module(APP)}:app", "--bind", "nowhere.invalid:0")
        assert "cannot listen on nowhere.invalid port 0" in error


class TestHelp:
    def test_it_names_every_option_and_its_default(self) -> None:
        """The help says what each option does, and that this is not for production."""
        text = run("serve", "--help").stdout
        options = ("--client-cert-mode", "--exclude", "--bind", "--certificate", "--key")
        for word in (*options, "[default: optional]", "127.0.0.1:8443", "never for production"):
            assert word in text
        assert max(map(len, text.splitlines())) <= 80

    def test_the_group_lists_its_commands(self) -> None:
        """The first thing that somebody types shows what there is."""
        text = " ".join(run("--help").stdout.split())
        assert "serve Run a WSGI app behind" in text
        assert "fetch-crls Download revocation lists" in text

    def test_version(self) -> None:
        """--version is the distribution's."""
        version = importlib.metadata.version("arrcert")
        assert run("--version").stdout == f"arrcert, version {version}\n"


class TestMissingExtra:
    @pytest.fixture(autouse=True)
    def _forget_modules(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "arrcert.cli.commands")
        monkeypatch.delitem(sys.modules, "arrcert.cli.front_end", raising=False)

    def test_the_command_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without click the console script is one line and exit code 2."""
        monkeypatch.setitem(sys.modules, "click", None)
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("arrcert.cli.commands")
        assert caught.value.code == 2
        error = "Error: the arrcert command needs click; run: pip install 'arrcert[dev]'\n"
        assert capsys.readouterr() == ("", error)

    @pytest.mark.parametrize("missing", ["cheroot", "OpenSSL"])
    def test_serve_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, missing: str
    ) -> None:
        """Without the local front end `serve` is one line, and the other commands are there."""
        monkeypatch.setitem(sys.modules, missing, None)
        command = importlib.import_module("arrcert.cli.commands").main
        result = CliRunner().invoke(command, ["serve", "shop:app"], prog_name="arrcert")
        assert result.exit_code == 2
        error = f"Error: arrcert serve needs {missing}; run: pip install 'arrcert[dev]'\n"
        assert result.stderr == error
        assert CliRunner().invoke(command, ["fetch-crls", "--help"]).exit_code == 0

    def test_serve_blames_the_extra_for_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A module that the extra would not bring is another fault."""
        monkeypatch.setitem(sys.modules, "arrcert.cli.front_end", None)
        command = importlib.import_module("arrcert.cli.commands").main
        result = CliRunner().invoke(command, ["serve", "shop:app"])
        assert isinstance(result.exception, ModuleNotFoundError)

    def test_the_library_does_not_need_the_extra(self) -> None:
        """`import arrcert` loads none of the command's libraries."""
        code = (
            "import arrcert, sys;"
            "sys.exit(bool({'click', 'cheroot', 'OpenSSL', 'arrcert.cli'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestInProcess:
    """The whole command in this process: the main thread serves, another one asks and ends it."""

    @pytest.fixture
    def visit(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, Any]]:
        """Run the command with a visitor, whose return value comes back beside the result."""

        def run_with(visitor: Callable[[str, Path | None], Any], *arguments: str) -> Any:
            seen: list[Any] = []
            print_banner = cli._print_banner

            def ask(url: str, ca_file: Path | None) -> None:
                try:
                    seen.append(visitor(url, ca_file))
                finally:
                    os.kill(os.getpid(), signal.SIGTERM)

            def banner(
                app: str, url: str, mode: Any, excluded: tuple[str, ...], ca_file: Path | None
            ) -> None:
                print_banner(app, url, mode, excluded, ca_file)
                threading.Thread(target=ask, args=(url, ca_file)).start()

            monkeypatch.setattr(cli, "_print_banner", banner)
            handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
            result = run("serve", *arguments)
            assert result.exit_code == 0, result.output
            assert handlers == [
                signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
            ]
            return result, seen[0]

        return run_with

    @staticmethod
    def fetch(url: str, ca: str, path: str = "/") -> tuple[int, bytes]:
        """Send one GET without a client certificate."""
        host, _, port = url.removeprefix("https://").rpartition(":")
        connection = http.client.HTTPSConnection(
            host, int(port), context=ssl.create_default_context(cadata=ca), timeout=10
        )
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def test_a_made_certificate(self, make_module: Any, visit: Any) -> None:
        """By default the server's certificate is made for the run; only its CA is written."""

        def visitor(url: str, ca_file: Path) -> Any:
            content = os.listdir(ca_file.parent), ca_file.stat().st_mode & 0o077
            return ca_file, content, self.fetch(url, ca_file.read_text(), "/a")

        result, (ca_file, content, answer) = visit(
            visitor, f"{make_module(APP)}:app", "--bind", "localhost:0", "--exclude", "/b,/c"
        )
        assert answer == (200, b"/a")
        assert content[0] == ["ca.pem"]
        assert not ca_file.parent.exists()
        assert str(ca_file) in result.stdout
        assert "/b,/c" in result.stdout
        assert re.search(r"^\d\d:\d\d:\d\d GET /a 200 -$", result.stderr, re.MULTILINE)

    def test_a_given_certificate(self, make_module: Any, visit: Any) -> None:
        """With a certificate of one's own nothing is made, and no CA is shown."""
        authority = CertificateAuthority("CA")
        arguments = TestOptions().write(
            authority.issue(
                "server", ip_addresses=["127.0.0.1"], extended_key_usages=("serverAuth",)
            )
        )

        def visitor(url: str, ca_file: None) -> Any:
            assert ca_file is None
            return self.fetch(url, authority.certificate_pem.decode())

        result, answer = visit(
            visitor,
            f"{make_module(APP)}:app",
            *arguments,
            "--bind=127.0.0.1:0",
            "--client-cert-mode=Required",
        )
        assert answer[0] == 403
        assert "--cacert" not in result.stdout

    def test_a_factory(self, make_module: Any, visit: Any) -> None:
        """MODULE:FACTORY() serves what the factory returns."""
        module = make_module(f"{textwrap.dedent(APP)}\ndef create_app(): return app\n")
        _, answer = visit(
            lambda url, ca_file: self.fetch(url, ca_file.read_text()),
            f"{module}:create_app()",
            "--bind=127.0.0.1:0",
        )
        assert answer == (200, b"/")

    @pytest.mark.parametrize("host", ["::1", "127.0.0.2", "dev.example"])
    def test_the_made_certificate_names_the_address_of_bind(self, host: str) -> None:
        """The certificate is good for localhost and for what --bind says."""
        issued = cli._issue_server_certificate(CertificateAuthority("CA"), host)
        extensions = issued.certificate.x509.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {str(name.value) for name in names} == {"localhost", "127.0.0.1", "::1", host}


class TestProcess:
    @pytest.fixture
    def start(
        self, make_module: Any, tmp_path: Path
    ) -> Iterator[Callable[..., tuple[subprocess.Popen[str], list[str]]]]:
        """Start the command as a process; return it and its banner once it serves."""
        processes = []

        def start(source: str) -> tuple[subprocess.Popen[str], list[str]]:
            # -P keeps Python itself from putting the current directory on sys.path.
            command = [
                sys.executable,
                "-P",
                "-X",
                "dev",
                "-c",
                "from arrcert.cli import main; main()",
            ]
            process = subprocess.Popen(
                [*command, "serve", f"{make_module(source)}:app", "--bind", "127.0.0.1:0"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": str(tmp_path)},
            )
            processes.append(process)
            assert process.stdout is not None
            banner = []
            for line in process.stdout:
                banner.append(line.rstrip("\n"))
                if line.startswith("Press CTRL+C"):
                    break
            return process, banner

        yield start
        for process in processes:
            process.kill()
            process.communicate()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_cleanly(self, start: Any, tmp_path: Path, number: int) -> None:
        """Ctrl-C and SIGTERM end the command with exit code 0, no traceback and no file."""
        process, banner = start(APP)
        url = banner[-3].removeprefix(" * Running on ")
        (ca_file,) = tmp_path.glob("arrcert-*/ca.pem")
        assert banner[-2] == (
            f" * Try: curl --cacert {ca_file} --cert client.pem --key client.key {url}/"
        )
        assert TestInProcess.fetch(url, ca_file.read_text(), "/path") == (200, b"/path")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=10)
        assert (process.returncode, stdout) == (0, "")
        warning, access = stderr.splitlines()
        assert warning == "WARNING: This is for development only. Do not use it in production."
        assert access.endswith("GET /path 200 -")
        assert not list(tmp_path.glob("arrcert-*"))

    def test_a_request_in_flight_does_not_hold_it_up(self, start: Any, tmp_path: Path) -> None:
        """Ctrl-C ends the command although a view is still at work."""
        process, banner = start(
            """
            import pathlib, time
            def app(environ, start_response):
                pathlib.Path("at_work").touch()
                time.sleep(60)
            """
        )
        port = int(banner[-3].rpartition(":")[2])
        (ca_file,) = tmp_path.glob("arrcert-*/ca.pem")
        context = ssl.create_default_context(cafile=ca_file)
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not (tmp_path / "at_work").exists():
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in stderr


class CRLServer(ThreadingHTTPServer):
    """Serves what a test puts into `answers`: path -> (status, headers, body)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), CRLHandler)

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class CRLHandler(BaseHTTPRequestHandler):
    server: CRLServer

    def do_GET(self) -> None:
        """Answer what was put there."""
        self.server.asked.append(self.path)
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class TestFetchCRLs:
    @pytest.fixture
    def server(self) -> Iterator[CRLServer]:
        """A web server on this machine."""
        with CRLServer() as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield server
            server.shutdown()
            thread.join()

    @pytest.fixture
    def folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: CertificateAuthority
    ) -> Path:
        """The current directory, with the CA's certificate in it."""
        monkeypatch.chdir(tmp_path)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
        return tmp_path

    @pytest.fixture
    def fetch(self, server: CRLServer, folder: Path) -> Callable[..., Result]:
        """Fetch what the server answers into ca.crl."""

        def fetch(
            body: bytes = b"",
            *arguments: str,
            status: int = 200,
            headers: dict[str, str] | None = None,
        ) -> Result:
            server.answers["/ca.crl"] = (status, headers or {}, body)
            url = f"{server.url}/ca.crl"
            return run("fetch-crls", "--issuer", "ca.pem", "--crl", url, "ca.crl", *arguments)

        return fetch

    @pytest.fixture
    def fails(self, fetch: Any, folder: Path) -> Callable[..., str]:
        """Fetch what must fail: exit code 1, one line, the file untouched, nothing left behind."""

        def fails(*arguments: Any, **options: Any) -> str:
            target = folder / "ca.crl"
            before = target.read_bytes() if target.is_file() else None
            listed = sorted(os.listdir(folder))
            result = fetch(*arguments, **options)
            assert (result.exit_code, result.stdout) == (1, "")
            assert (target.read_bytes() if target.is_file() else None) == before
            assert sorted(os.listdir(folder)) == listed
            [line] = result.stderr.splitlines()
            return line.removeprefix("ca.crl: failed: ")

        return fails

    def test_it_replaces_the_file(
        self, fetch: Any, folder: Path, authority: CertificateAuthority, alice: IssuedCertificate
    ) -> None:
        """A good list, PEM or DER, replaces the file as it was served, readable by the site."""
        until = datetime(2199, 1, 1, tzinfo=UTC)
        first = authority.revocation_list(number=1, next_update=until)
        second = x509.load_pem_x509_crl(
            authority.revocation_list(alice, number=2, next_update=until)
        ).public_bytes(Encoding.DER)
        for body, outcome in (
            (first, "ok: 0 entries"),
            (first, "unchanged: 0 entries"),
            (second, "ok: 1 entry"),
        ):
            result = fetch(body)
            assert result.stdout == f"ca.crl: {outcome}, next update 2199-01-01T00:00:00Z\n"
            assert (result.exit_code, result.stderr) == (0, "")
            assert (folder / "ca.crl").read_bytes() == body
            assert stat.S_IMODE((folder / "ca.crl").stat().st_mode) == 0o644
            assert sorted(os.listdir(folder)) == ["ca.crl", "ca.pem"]

    def test_whoever_reads_finds_a_whole_file(
        self, fetch: Any, folder: Path, authority: CertificateAuthority
    ) -> None:
        """The old file is never written to: a reader who has it open still reads all of it."""
        old, new = (authority.revocation_list(number=number) for number in (1, 2))
        fetch(old)
        with (folder / "ca.crl").open("rb") as opened:
            assert fetch(new).exit_code == 0
            assert opened.read() == old
        assert (folder / "ca.crl").read_bytes() == new

    def test_a_link_stays_a_link(
        self, fetch: Any, folder: Path, authority: CertificateAuthority
    ) -> None:
        """Behind a symbolic link the file that it names is replaced."""
        (folder / "elsewhere").mkdir()
        (folder / "ca.crl").symlink_to("elsewhere/real.crl")
        body = authority.revocation_list()
        assert fetch(body).exit_code == 0
        assert (folder / "ca.crl").is_symlink()
        assert (folder / "elsewhere" / "real.crl").read_bytes() == body

    def test_each_list_stands_alone(
        self, server: CRLServer, folder: Path, authority: CertificateAuthority
    ) -> None:
        """One list that fails keeps no other from being replaced, and makes the exit code 1."""
        other = CertificateAuthority("Other")
        (folder / "other.pem").write_bytes(other.certificate_pem)
        server.answers["/a"] = (404, {}, b"")
        server.answers["/b"] = (200, {}, other.revocation_list())
        result = run(
            *("fetch-crls", "--issuer=ca.pem", "--issuer=other.pem"),
            *("--crl", f"{server.url}/a", "a.crl", "--crl", f"{server.url}/b", "b.crl"),
        )
        assert result.exit_code == 1
        assert result.stderr == f"a.crl: failed: {server.url}/a answered 404 'Not Found'\n"
        assert result.stdout.startswith("b.crl: ok: 0 entries")
        assert not (folder / "a.crl").exists()

    def test_a_list_of_another_ca(
        self,
        fails: Any,
        fetch: Any,
        authority: CertificateAuthority,
        other_authority: CertificateAuthority,
    ) -> None:
        """A list that no --issuer signed never replaces one, whatever name it bears."""
        fetch(authority.revocation_list())
        assert "its signature does not hold" in fails(other_authority.revocation_list(number=2))
        stranger = CertificateAuthority("Stranger")
        assert "no configured CA certificate" in fails(stranger.revocation_list())

    def test_a_list_that_is_not_current(
        self, fails: Any, fetch: Any, authority: CertificateAuthority
    ) -> None:
        """An expired list, or one from the future, does not replace the file."""
        fetch(authority.revocation_list())
        hour, now = timedelta(hours=1), datetime.now(UTC)
        expired = authority.revocation_list(number=2, next_update=now - hour)
        assert "/ca.crl expired at 20" in fails(expired)
        early = authority.revocation_list(
            number=2, last_update=now + hour, next_update=now + 2 * hour
        )
        assert "/ca.crl holds from 20" in fails(early)

    def test_an_older_list(self, fails: Any, fetch: Any, authority: CertificateAuthority) -> None:
        """A list older than the one in the file is a replay, though it is current and signed."""
        fetch(authority.revocation_list(number=2))
        assert "is older than the list in the file" in fails(authority.revocation_list(number=1))

    def test_a_broken_file_is_mended(
        self, fetch: Any, folder: Path, authority: CertificateAuthority
    ) -> None:
        """Anything good is better than a file that holds no list that counts."""
        (folder / "ca.crl").write_bytes(b"half a li")
        assert fetch(authority.revocation_list()).exit_code == 0

    @pytest.mark.parametrize("status", [403, 404, 500, 304])
    def test_an_answer_that_is_none(self, fails: Any, status: int) -> None:
        """What the server answers instead of a list is one line with its status."""
        assert f"/ca.crl answered {status} " in fails(status=status)

    def test_a_web_page(self, fails: Any) -> None:
        """A page where the list should be, as portals serve it, is said to be one."""
        assert "looks like a web page" in fails(b"<html>Please sign in</html>")
        assert "it is empty" in fails(b"", status=204)

    def test_redirects(
        self,
        server: CRLServer,
        fetch: Any,
        fails: Any,
        folder: Path,
        authority: CertificateAuthority,
    ) -> None:
        """A redirect may lead to another http or https address, and to nothing else."""
        (folder / "local.crl").write_bytes(authority.revocation_list())
        for target in (
            f"file://{folder}/local.crl",
            f"ftp://127.0.0.1:{server.server_address[1]}/x",
            "data:,x",
            "/ca.crl",
        ):
            line = fails(status=302, headers={"Location": target})
            assert "ca.crl answered 302" in line or "which is no http:// or https:// URL" in line
        # Only the last one, which leads to itself, is followed.
        assert set(server.asked) == {"/ca.crl"}
        server.answers["/moved"] = (200, {}, authority.revocation_list())
        assert fetch(status=301, headers={"Location": "/moved"}).exit_code == 0

    def test_a_truncated_body(self, fails: Any, authority: CertificateAuthority) -> None:
        """A download that breaks off is a failure, with or without a length."""
        body = authority.revocation_list()
        length = {"Content-Length": str(len(body))}
        line = fails(body[:100], headers=length)
        assert f"broke off after 100 of {len(body)} bytes" in line
        assert "ends within a revocation list" in fails(body[:100])
        chunked = {"Transfer-Encoding": "chunked"}
        assert "broke off ('" in fails(b"ff\r\nabc", headers=chunked)

    def test_too_large(self, fails: Any, fetch: Any, authority: CertificateAuthority) -> None:
        """--max-bytes ends a download, whether or not the server tells its length."""
        body = authority.revocation_list()
        limit = f"--max-bytes={len(body) - 1}"
        for headers in ({"Content-Length": str(len(body))}, {}):
            assert f"is larger than {len(body) - 1} bytes" in fails(body, limit, headers=headers)
        assert fetch(body, f"--max-bytes={len(body)}").exit_code == 0

    def test_a_server_that_is_slow(
        self, fails: Any, monkeypatch: pytest.MonkeyPatch, authority: CertificateAuthority
    ) -> None:
        """--timeout bounds each wait, and a download that drips is given up in the end."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            result = run(
                *("fetch-crls", "--issuer=ca.pem", "--timeout=0.1", "--crl"),
                *(f"http://127.0.0.1:{silent.getsockname()[1]}/a", "a.crl"),
            )
        assert result.exit_code == 1
        assert "timed out" in result.stderr
        monkeypatch.setattr(fetching, "_LONGEST_DOWNLOAD", -1.0)
        assert "was not done after" in fails(authority.revocation_list())

    def test_nobody_listens(self, folder: Path) -> None:
        """A server that cannot be reached is one line."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        result = run("fetch-crls", "--issuer=ca.pem", "--crl", url, "a.crl")
        assert result.exit_code == 1
        assert f"a.crl: failed: {url} cannot be reached" in result.stderr

    def test_secrets_of_a_url_are_not_printed(self, server: CRLServer, folder: Path) -> None:
        """Neither a password nor a query, which may be a signature, reaches the log."""
        server.answers["/a?sig=hush"] = (404, {}, b"")
        result = run("fetch-crls", "--issuer=ca.pem", "--crl", f"{server.url}/a?sig=hush", "a.crl")
        assert result.stderr == f"a.crl: failed: {server.url}/a answered 404 'Not Found'\n"
        assert fetching.without_secrets("https://me:hush@a.example/b?c#d") == "https://a.example/b"
        assert fetching.without_secrets("http://[") == "the URL"

    def test_a_file_that_cannot_be_replaced(
        self, fails: Any, folder: Path, authority: CertificateAuthority, monkeypatch: Any
    ) -> None:
        """A folder in the file's place, a folder that is absent, a full disk: one line each."""
        body = authority.revocation_list()
        (folder / "ca.crl").mkdir()
        assert "it cannot be read: Is a directory" in fails(body)
        (folder / "ca.crl").rmdir()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space")))
            assert "it cannot be written: No space" in fails(body)
        (folder / "ca.crl").symlink_to("absent/ca.crl")
        assert "it cannot be written: No such file" in fails(body)

    def test_progress_on_a_terminal(
        self, fetch: Any, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A long download counts up on a terminal, and its line is cleared in the end."""
        moments = itertools.count()
        monkeypatch.setattr(fetching.time, "monotonic", lambda: float(next(moments)))
        shown: list[str] = []

        class Terminal:
            def isatty(self) -> bool:
                return True

            def write(self, text: str) -> None:
                shown.append(text)

            def flush(self) -> None: ...

        class System:
            stderr = Terminal()

        monkeypatch.setattr(fetching, "sys", System)
        body = authority.revocation_list()
        assert fetch(body).exit_code == 0
        assert fetch(body, headers={"Content-Length": str(len(body))}).exit_code == 0
        assert "/ca.crl: 0.0 MB\x1b[K" in shown[0]
        assert "/ca.crl: 0.0 of 0.0 MB" in "".join(shown)
        assert shown[-1] == "\r\x1b[K"

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ((), "Missing option '--issuer'"),
            (("--issuer", "ca.pem"), "Missing option '--crl'"),
            (("--crl", "ftp://a.example/b", "b"), "'ftp://a.example/b' is no http:// or"),
            (("--crl", "file:///b", "b"), "is no http:// or https:// URL"),
            (("--crl", "http://[", "b"), "is no http:// or https:// URL"),
            (("--crl", "b.crl", "b"), "is no http:// or https:// URL"),
            (("--crl", "http://a/1", "b", "--crl", "http://a/2", "./b"), "cannot be kept in one"),
            (("--timeout", "0"), "Invalid value for '--timeout'"),
            (("--max-bytes", "0"), "Invalid value for '--max-bytes'"),
        ],
    )
    def test_usage(self, folder: Path, arguments: tuple[str, ...], why: str) -> None:
        """A wrong command line is exit code 2, before anything is asked."""
        result = run("fetch-crls", *arguments)
        assert result.exit_code == 2
        assert why in " ".join(result.stderr.split())

    def test_issuers_that_are_none(self, folder: Path) -> None:
        """An issuer's file that is absent or holds no certificate is exit code 2, with its name."""
        for content, why in (
            (None, "--issuer: cannot read 'bad.pem': No such file or directory"),
            (b"hello", "--issuer: 'bad.pem' holds no PEM certificate"),
        ):
            if content is not None:
                (folder / "bad.pem").write_bytes(content)
            result = run("fetch-crls", "--issuer=bad.pem", "--crl", "http://127.0.0.1:9/", "a")
            assert result.exit_code == 2
            assert result.stderr.startswith(f"Error: {why}")

    def test_help(self) -> None:
        """The help says when a file is replaced, and what the exit codes mean."""
        text = run("fetch-crls", "--help").stdout
        for word in ("--issuer", "--crl", "--timeout", "--max-bytes", "WebJob", "1 where any"):
            assert word in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
