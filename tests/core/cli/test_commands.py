"""The commands of `arrcert`, called in this process and started as a separate process."""

from __future__ import annotations

import http.client
import importlib
import importlib.metadata
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
from click.testing import CliRunner, Result
from cryptography import x509

from arrcert.cli import commands, local_apps, serving
from arrcert.testing import CertificateAuthority, IssuedCertificate

APP = """
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]
"""


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(commands.main, arguments)


def error_of(*arguments: str) -> str:
    """Run the command, which must fail with one line on stderr and exit code 2."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    return result.stderr


class TestOptions:
    def write(self, issued: IssuedCertificate) -> tuple[str, str]:
        """Write a certificate and its key, and return the arguments for them."""
        Path("server.pem").write_bytes(issued.certificate_pem)
        Path("server.key").write_bytes(issued.private_key_pem)
        return "--certificate=server.pem", "--key=server.key"

    @pytest.mark.parametrize("option", ["--certificate", "--key"])
    def test_certificate_and_key_belong_together(self, make_module: Any, option: str) -> None:
        """--certificate without --key, or the other way round, is a usage error."""
        result = run("serve", f"{make_module(APP)}:app", option, "file.pem")
        assert result.exit_code == 2
        assert "--certificate and --key belong together" in result.stderr

    @pytest.mark.parametrize("missing", ["server.pem", "server.key"])
    def test_an_unreadable_file(self, make_module: Any, missing: str) -> None:
        """If a file cannot be read, the error names the file and its option."""
        arguments = self.write(CertificateAuthority("CA").issue("a"))
        Path(missing).unlink()
        Path(missing).mkdir()
        option = "--certificate" if missing.endswith("pem") else "--key"
        error = error_of("serve", f"{make_module(APP)}:app", *arguments)
        assert f"Error: {option}: cannot read '{missing}': Is a directory" in error

    def test_a_key_file_without_a_key(self, make_module: Any) -> None:
        """A key file that holds no key is refused."""
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
        """--client-cert-mode accepts only the three modes of App Service."""
        result = run("serve", f"{make_module(APP)}:app", "--client-cert-mode", "none")
        assert result.exit_code == 2
        assert "'required', 'optional', 'ignore'" in result.stderr

    def test_a_taken_port(self, make_module: Any) -> None:
        """A port that is in use is an error of one line."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            error = error_of("serve", f"{make_module(APP)}:app", "--bind", f"127.0.0.1:{port}")
        assert error == (
            f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another"
            " with --bind\n"
        )

    def test_a_host_that_is_unknown(self, make_module: Any) -> None:
        """A host name that does not exist is an error of one line."""
        error = error_of("serve", f"{make_module(APP)}:app", "--bind", "nowhere.invalid:0")
        assert "cannot listen on nowhere.invalid port 0" in error


class TestHelp:
    def test_help_of_serve(self) -> None:
        """The help names every option and its default, and says that it is not for production."""
        text = run("serve", "--help").stdout
        options = ("--client-cert-mode", "--exclude", "--bind", "--certificate", "--key")
        for word in (*options, "[default: optional]", "127.0.0.1:8443", "never for production"):
            assert word in text
        assert max(map(len, text.splitlines())) <= 80

    def test_help_of_the_group(self) -> None:
        """The help of `arrcert` lists its commands."""
        text = " ".join(run("--help").stdout.split())
        assert "serve Run an app behind" in text
        assert "fetch-crls Download revocation lists" in text

    def test_version(self) -> None:
        """--version is the version of the distribution."""
        version = importlib.metadata.version("arrcert")
        assert run("--version").stdout == f"arrcert, version {version}\n"


class TestMissingExtra:
    @pytest.fixture(autouse=True)
    def _forget_modules(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "arrcert.cli.commands")
        for name in ("front_end", "local_apps", "serving", "tls"):
            monkeypatch.delitem(sys.modules, f"arrcert.cli.{name}", raising=False)

    def test_the_command_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without click the console script fails with one line and exit code 2."""
        monkeypatch.setitem(sys.modules, "click", None)
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("arrcert.cli.commands")
        assert caught.value.code == 2
        error = "Error: the arrcert command needs click; run: pip install 'arrcert[dev]'\n"
        assert capsys.readouterr() == ("", error)

    @pytest.mark.parametrize("missing", ["h11", "OpenSSL", "uvicorn", "waitress"])
    def test_serve_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, missing: str
    ) -> None:
        """Without a library of the extra `serve` fails with one line, and `fetch-crls` works."""
        for name in [missing, *sys.modules]:
            if name.partition(".")[0] == missing:
                monkeypatch.setitem(sys.modules, name, None)
        command = importlib.import_module("arrcert.cli.commands").main
        result = CliRunner().invoke(command, ["serve", "shop:app"], prog_name="arrcert")
        assert result.exit_code == 2
        error = f"Error: arrcert serve needs {missing}; run: pip install 'arrcert[dev]'\n"
        assert result.stderr == error
        assert CliRunner().invoke(command, ["fetch-crls", "--help"]).exit_code == 0

    def test_another_missing_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing module that is not part of the extra is not reported as the missing extra."""
        monkeypatch.setitem(sys.modules, "arrcert.cli.front_end", None)
        command = importlib.import_module("arrcert.cli.commands").main
        result = CliRunner().invoke(command, ["serve", "shop:app"])
        assert isinstance(result.exception, ModuleNotFoundError)

    def test_the_library_does_not_need_the_extra(self) -> None:
        """`import arrcert` imports neither the command nor its libraries."""
        code = (
            "import arrcert, sys;"
            "sys.exit(bool({'click', 'h11', 'OpenSSL', 'arrcert.cli'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestInProcess:
    """`arrcert serve` in this process; another thread sends a request and then stops it."""

    @pytest.fixture
    def visit(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, Any]]:
        """A function that runs the command with a visitor, and returns both results."""

        def run_with(visitor: Callable[[str, Path | None], Any], *arguments: str) -> Any:
            seen: list[Any] = []
            print_banner = serving._print_banner

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

            monkeypatch.setattr(serving, "_print_banner", banner)
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
        """By default a server certificate is made for the run, and only its CA is a file."""

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
        """With --certificate no certificate is made, and no CA file is shown."""
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
        """MODULE:FACTORY() serves the app that the factory returns."""
        module = make_module(f"{textwrap.dedent(APP)}\ndef create_app(): return app\n")
        _, answer = visit(
            lambda url, ca_file: self.fetch(url, ca_file.read_text()),
            f"{module}:create_app()",
            "--bind=127.0.0.1:0",
        )
        assert answer == (200, b"/")

    @pytest.mark.parametrize("host", ["::1", "127.0.0.2", "dev.example"])
    def test_names_in_the_made_certificate(self, host: str) -> None:
        """The made certificate is valid for localhost and for the host of --bind."""
        issued = serving._issue_server_certificate(CertificateAuthority("CA"), host)
        extensions = issued.certificate.x509.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {str(name.value) for name in names} == {"localhost", "127.0.0.1", "::1", host}


class TestProcess:
    @pytest.fixture
    def start(
        self, make_module: Any, tmp_path: Path
    ) -> Iterator[Callable[..., tuple[subprocess.Popen[str], list[str]]]]:
        """A function that starts the command as a process, and returns it with its banner."""
        processes = []

        def start(source: str) -> tuple[subprocess.Popen[str], list[str]]:
            # With -P, Python itself does not put the current directory on sys.path.
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
        """Ctrl-C and SIGTERM end the command with exit code 0, without a traceback or a file."""
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

    def test_a_running_request_does_not_delay_the_end(self, start: Any, tmp_path: Path) -> None:
        """Ctrl-C ends the command even if a request is still running."""
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


COMMAND = """
    import http.server, os, signal, sys

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"{self.path} {self.headers['X-Forwarded-Proto']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ["PORT"])
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class TestUpstreams:
    """`arrcert serve` before a server that is not in this process."""

    @pytest.fixture
    def visit(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, Any]]:
        """A function that runs the command, sends one request and ends the command."""

        def run_with(*arguments: str) -> tuple[Result, Any]:
            seen: list[Any] = []
            print_banner = serving._print_banner

            def ask(url: str, ca_file: Path) -> None:
                try:
                    seen.append(TestInProcess.fetch(url, ca_file.read_text(), "/a"))
                finally:
                    os.kill(os.getpid(), signal.SIGTERM)

            def banner(served: str, url: str, mode: Any, excluded: Any, ca_file: Path) -> None:
                print_banner(served, url, mode, excluded, ca_file)
                threading.Thread(target=ask, args=(url, ca_file)).start()

            monkeypatch.setattr(serving, "_print_banner", banner)
            result = run("serve", "--bind=127.0.0.1:0", *arguments)
            assert result.exit_code == 0, result.output
            return result, seen[0]

        return run_with

    @pytest.mark.parametrize("arguments", [(), ("{port}",)])
    def test_a_command(self, make_module: Any, visit: Any, arguments: tuple[str, ...]) -> None:
        """The command gets a free port in PORT or in place of {port}, and `serve` stops it."""
        module = make_module(COMMAND)
        result, answer = visit("--", sys.executable, f"{module}.py", *arguments)
        assert answer == (200, b"/a https")
        assert f"Serving {sys.executable} {module}.py" in result.stdout

    def test_a_running_server(self, make_module: Any, visit: Any) -> None:
        """--to names a server that is already running."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        path = f"{make_module(COMMAND)}.py"
        with subprocess.Popen([sys.executable, path, str(port)], stderr=subprocess.DEVNULL) as ran:
            for _ in range(500):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.01)
            _, answer = visit("--to", f"http://127.0.0.1:{port}")
            ran.terminate()
        assert answer == (200, b"/a https")

    def test_an_asgi_app(self, make_module: Any, visit: Any) -> None:
        """MODULE:APP may be an ASGI app; its lifespan starts and ends."""
        module = make_module(
            """
            import pathlib
            async def app(scope, receive, send):
                if scope["type"] == "lifespan":
                    for event in ("startup", "shutdown"):
                        await receive()
                        pathlib.Path(event).touch()
                        await send({"type": f"lifespan.{event}.complete"})
                    return
                await send({"type": "http.response.start", "status": 200, "headers": []})
                body = f"{scope['path']} {scope['scheme']}".encode()
                await send({"type": "http.response.body", "body": body})
            """
        )
        _, answer = visit(f"{module}:app")
        assert answer == (200, b"/a https")
        assert Path("startup").exists()
        assert Path("shutdown").exists()

    def test_an_asgi_app_that_does_not_start(self, make_module: Any) -> None:
        """If the lifespan fails, the command ends with one line."""
        module = make_module(
            """
            async def app(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})
            """
        )
        result = run("serve", "--bind=127.0.0.1:0", f"{module}:app")
        assert result.exit_code == 2
        assert "Error: the lifespan of the ASGI app failed; see the log above" in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("--",),
            ("shop:app", "--to", "http://127.0.0.1:1"),
            ("shop:app", "--", "flask", "run"),
            ("--to", "http://127.0.0.1:1", "--", "flask", "run"),
        ],
    )
    def test_one_of_three(self, arguments: tuple[str, ...]) -> None:
        """An app, --to and a command exclude each other, and one is needed."""
        result = run("serve", *arguments)
        assert result.exit_code == 2
        assert "Name one of MODULE:APP, --to URL and -- COMMAND." in result.stderr

    @pytest.mark.parametrize(
        "url",
        [
            "https://a:1",
            "127.0.0.1:1",
            "http://",
            "http://a:b",
            "http://u@a",
            "http://a/b",
            "http://[",
        ],
    )
    def test_a_url_of_another_form(self, url: str) -> None:
        """--to accepts only http://HOST:PORT."""
        result = run("serve", "--to", url)
        assert result.exit_code == 2
        assert "is not http://HOST:PORT" in " ".join(result.stderr.split())

    def test_a_command_that_does_not_exist(self) -> None:
        """A program that is missing is an error of one line."""
        assert error_of("serve", "--", "no-such-program") == (
            "Error: cannot start 'no-such-program': No such file or directory\n"
        )

    def test_a_command_that_ends_too_early(self) -> None:
        """A command that ends before it listens is an error with its exit code."""
        assert error_of("serve", "--", sys.executable, "-c", "raise SystemExit(7)") == (
            "Error: the command ended with exit code 7 before it listened\n"
        )

    def test_a_command_that_does_not_listen(
        self, make_module: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A command that ignores the port is stopped, and the error says how to use it."""
        monkeypatch.setattr(local_apps, "START_SECONDS", 0.5)
        monkeypatch.setattr(local_apps, "STOP_SECONDS", 0.5)
        module = make_module(
            """
            import signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
            """
        )
        error = error_of("serve", "--", sys.executable, f"{module}.py")
        assert "the command does not listen on 127.0.0.1 port" in error
        assert "the environment variable PORT, or write {port} as an argument" in error

    def test_a_command_that_ends_later(self, make_module: Any) -> None:
        """When the command ends, `arrcert serve` ends with its exit code in the error."""
        module = make_module(COMMAND.replace(".serve_forever()", ".handle_request(); sys.exit(3)"))
        result = run("serve", "--bind=127.0.0.1:0", "--", sys.executable, f"{module}.py")
        assert result.exit_code == 2
        assert "Error: the command ended with exit code 3" in result.stderr


class TestFetchCRLs:
    def test_outcome_is_printed(
        self, crl_server: Any, folder: Path, authority: CertificateAuthority
    ) -> None:
        """A successful download prints one line on stdout, and the exit code is 0."""
        crl_server.answers["/a"] = (200, {}, authority.revocation_list())
        result = run("fetch-crls", "--issuer=ca.pem", "--crl", f"{crl_server.url}/a", "a.crl")
        assert (result.exit_code, result.stderr) == (0, "")
        assert re.fullmatch(r"a\.crl: ok: 0 entries, next update \S+Z\n", result.stdout)

    @pytest.mark.parametrize(
        ("option", "said"),
        [("--max-bytes=9", "larger than 9 bytes"), ("--timeout=0.5", "within 0.5 seconds")],
    )
    def test_limits(self, folder: Path, option: str, said: str) -> None:
        """--max-bytes and --timeout limit a download."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            if option.startswith("--max-bytes"):
                threading.Thread(target=self.answer, args=(server,)).start()
            url = f"http://127.0.0.1:{server.getsockname()[1]}/a"
            result = run("fetch-crls", "--issuer=ca.pem", option, "--crl", url, "a.crl")
        assert result.exit_code == 1
        assert said in result.stderr

    @staticmethod
    def answer(server: socket.socket) -> None:
        """Answer one request with ten bytes."""
        with server.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n0123456789")

    def test_lists_are_independent(
        self, crl_server: Any, folder: Path, authority: CertificateAuthority
    ) -> None:
        """A download that fails does not affect the others, and the exit code is 1."""
        other = CertificateAuthority("Other")
        (folder / "other.pem").write_bytes(other.certificate_pem)
        crl_server.answers["/a"] = (404, {}, b"")
        crl_server.answers["/b"] = (200, {}, other.revocation_list())
        result = run(
            *("fetch-crls", "--issuer=ca.pem", "--issuer=other.pem"),
            *("--crl", f"{crl_server.url}/a", "a.crl", "--crl", f"{crl_server.url}/b", "b.crl"),
        )
        assert result.exit_code == 1
        assert result.stderr == f"a.crl: failed: {crl_server.url}/a answered 404 'Not Found'\n"
        assert result.stdout.startswith("b.crl: ok: 0 entries")
        assert not (folder / "a.crl").exists()

    def test_partitions(
        self, crl_server: Any, folder: Path, authority: CertificateAuthority
    ) -> None:
        """--urls downloads each URL of a file into a folder, each under its own name."""
        urls = [f"{crl_server.url}/crl?partition={number}" for number in range(4)]
        for number, url in enumerate(urls):
            path = url.removeprefix(crl_server.url)
            crl_server.answers[path] = (200, {}, authority.revocation_list(number=number))
        (folder / "urls.txt").write_text("# all partitions\n\n" + "\r\n".join(urls))
        (folder / "crls").mkdir()
        arguments = ("fetch-crls", "--issuer=ca.pem", "--urls", "urls.txt", "crls")
        result = run(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        assert len(result.stdout.splitlines()) == 4
        files = sorted((folder / "crls").iterdir())
        assert len(files) == 4
        numbers = {
            x509.load_pem_x509_crl(file.read_bytes())
            .extensions.get_extension_for_class(x509.CRLNumber)
            .value.crl_number
            for file in files
        }
        assert numbers == {0, 1, 2, 3}
        # The second run uses the same names. One missing partition does not stop the others.
        crl_server.answers["/crl?partition=2"] = (404, {}, b"")
        result = run(*arguments, "--crl", f"{crl_server.url}/crl?partition=0", "a.crl")
        assert result.exit_code == 1
        assert result.stdout.count(": unchanged: ") == 3
        assert result.stdout.count("a.crl: ok: ") == 1
        assert result.stderr.count(": failed: ") == 1
        assert sorted((folder / "crls").iterdir()) == files

    def test_secrets_of_a_url_are_not_printed(self, crl_server: Any, folder: Path) -> None:
        """The query of a URL, which may hold a secret, is not printed."""
        crl_server.answers["/a?sig=hush"] = (404, {}, b"")
        result = run(
            "fetch-crls", "--issuer=ca.pem", "--crl", f"{crl_server.url}/a?sig=hush", "a.crl"
        )
        assert result.stderr == f"a.crl: failed: {crl_server.url}/a answered 404 'Not Found'\n"

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ((), "Missing option '--issuer'"),
            (("--issuer", "ca.pem"), "Missing option '--crl' or '--urls'"),
            (("--crl", "http://me:hush@a.example/b", "b"), "'http://a.example/b' holds a user or"),
            (("--crl", "me:hush@a.example/b", "b"), "'the URL' is not an http:// or https:// URL"),
            (("--urls", "absent.txt", "."), "cannot read 'absent.txt': No such file"),
            (("--urls", "latin.txt", "."), "cannot read 'latin.txt': it is not UTF-8"),
            (("--urls", "empty.txt", "."), "'empty.txt' holds no URL; write one URL on each line"),
            (("--urls", "users.txt", "."), "'http://a.example/b' holds a user or a password"),
            (("--urls", "twice.txt", "."), "write each URL once"),
            (("--urls", "twice.txt", "absent"), "'absent' is not a folder; make it first"),
            (("--crl", "ftp://a.example/b", "b"), "'ftp://a.example/b' is not an http:// or"),
            (("--crl", "file:///b", "b"), "is not an http:// or https:// URL"),
            (("--crl", "http://[", "b"), "is not an http:// or https:// URL"),
            (("--crl", "b.crl", "b"), "is not an http:// or https:// URL"),
            (
                ("--crl", "http://a/1", "b", "--crl", "http://a/2", "./b"),
                "two URLs have the same FILE",
            ),
            (("--timeout", "0"), "Invalid value for '--timeout'"),
            (("--max-bytes", "0"), "Invalid value for '--max-bytes'"),
        ],
    )
    def test_usage(self, folder: Path, arguments: tuple[str, ...], why: str) -> None:
        """A mistake in the command line is exit code 2, before any download."""
        (folder / "latin.txt").write_bytes(b"http://a.example/\xe9")
        (folder / "empty.txt").write_text("# none\n\n")
        (folder / "users.txt").write_text("http://me:hush@a.example/b\n")
        (folder / "twice.txt").write_text("http://a.example/b\n" * 2)
        if "--issuer" not in arguments and arguments[:1] != ():
            arguments = ("--issuer", "ca.pem", *arguments)
        result = run("fetch-crls", *arguments)
        assert result.exit_code == 2
        assert "hush" not in result.stderr
        assert why in " ".join(result.stderr.split())

    def test_issuer_file_without_certificates(self, folder: Path) -> None:
        """An --issuer file that is missing or holds no certificate is exit code 2."""
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
        """The help names every option, and what the exit codes mean."""
        text = run("fetch-crls", "--help").stdout
        for word in (
            "--issuer",
            "--crl",
            "--urls",
            "--timeout",
            "--max-bytes",
            "WebJob",
            "1 if any",
        ):
            assert word in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
