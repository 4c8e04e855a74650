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
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("cheroot")
pytest.importorskip("OpenSSL")

from click.testing import CliRunner, Result
from cryptography import x509

from arrcert import cli
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
    @pytest.mark.parametrize(
        "reference", ["app", ":app", "shop:", "shop:app:app", "a/b:app", "shop:app.x", ".shop:app"]
    )
    def test_what_is_not_module_and_app(self, make_module: Any, reference: str) -> None:
        """A reference of another form is refused with an example of the right one."""
        assert "is not MODULE:APP, such as" in error_of("serve", reference)

    @pytest.mark.parametrize("module", ["no_such_module", "no_such_package.module", "json.nothing"])
    def test_a_missing_module(self, make_module: Any, module: str) -> None:
        """A module that does not exist is named, not the import that failed."""
        assert f"no module named '{module}'" in error_of("serve", f"{module}:app")

    def test_a_file_name_instead_of_a_module(self, make_module: Any) -> None:
        """A module written with its .py is told from one that exists."""
        module = make_module(APP)
        assert "write it as in an import" in error_of("serve", f"{module}.py:app")

    def test_a_missing_attribute(self, make_module: Any) -> None:
        """An app that the module does not have is named."""
        module = make_module(APP)
        assert error_of("serve", f"{module}:ap") == f"Error: module '{module}' has no 'ap'\n"

    @pytest.mark.parametrize("name", ["number", "factory", "asgi"])
    def test_what_is_no_wsgi_app(self, make_module: Any, name: str) -> None:
        """What cannot be called as PEP 3333 says is refused, with a hint for factories."""
        module = make_module(
            """
            number = 1
            def factory(): ...
            async def asgi(scope, receive, send): ...
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
        assert error == "Error: key: holds no PEM private key that can be read\n"

    def test_a_key_of_another_certificate(self, make_module: Any) -> None:
        """A key that does not belong to the certificate is refused."""
        authority = CertificateAuthority("CA")
        arguments = self.write(authority.issue("a"))
        Path("server.key").write_bytes(authority.issue("b").private_key_pem)
        error = error_of("serve", f"{make_module(APP)}:app", *arguments)
        assert error == "Error: key: does not belong to the certificate\n"

    def test_an_exclusion_without_a_slash(self, make_module: Any) -> None:
        """An exclusion that can never match is refused."""
        error = error_of("serve", f"{make_module(APP)}:app", "--exclude", "/a;health")
        assert error == "Error: excluded_paths: 'health' excludes nothing; write '/health'\n"

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
        assert error == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"

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
        assert "serve  Run a WSGI app behind" in run("--help").stdout

    def test_version(self) -> None:
        """--version is the distribution's."""
        version = importlib.metadata.version("arrcert")
        assert run("--version").stdout == f"arrcert, version {version}\n"


class TestMissingExtra:
    @pytest.fixture(autouse=True)
    def _forget_modules(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "arrcert.cli")
        monkeypatch.delitem(sys.modules, "arrcert.devserver", raising=False)

    @pytest.mark.parametrize("missing", ["click", "cheroot", "OpenSSL"])
    def test_the_command_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
    ) -> None:
        """Without the dev extra the console script is one line and exit code 2."""
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("arrcert.cli")
        assert caught.value.code == 2
        error = f"Error: the arrcert command needs {missing}; run: pip install 'arrcert[dev]'\n"
        assert capsys.readouterr() == ("", error)

    def test_another_missing_module_is_another_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the extra would not bring is not blamed on it."""
        monkeypatch.setitem(sys.modules, "cryptography", None)
        with pytest.raises(ModuleNotFoundError, match="cryptography"):
            importlib.import_module("arrcert.cli")

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
            "--client-cert-mode=required",
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
