"""`arrcert serve`: an app, a command or a running server behind a local front end."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import click

from arrcert.cli.apps import Failure, load_app
from arrcert.cli.options import read_file
from arrcert.exceptions import ConfigurationError
from arrcert.testing import CertificateAuthority, IssuedCertificate

if TYPE_CHECKING:
    from arrcert.cli.front_end import ClientCertMode
    from arrcert.cli.local_apps import Running

_COMMAND = "arrcert.cli.serving"
"""The key of the words after `--` in click's context."""

_MODES: dict[ClientCertMode, str] = {
    "required": "the front end answers 403 to a request without a certificate",
    "optional": "a request without a certificate reaches the app",
    "ignore": "the front end requests no certificate and forwards none",
}


def _parse_address(
    _context: click.Context, _parameter: click.Parameter, value: str
) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise click.BadParameter(f"{value!r}: write an IPv6 address in brackets: [::1]:8443")
    if not host or not host.isascii() or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8443")
    return host, int(port)


def _parse_upstream(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    if value is None:
        return None
    try:
        url = urlsplit(value)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    if url.scheme != "http" or not host or url.username or url.path.strip("/") or url.query:
        raise click.BadParameter(
            f"{value!r} is not http://HOST:PORT, such as http://127.0.0.1:8000"
        )
    return host, port or 80


class _ServeCommand(click.Command):
    """A command that takes all words after `--` as the command to start."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            split = args.index("--")
            ctx.meta[_COMMAND] = args[split + 1 :]
            args = args[:split]
        return super().parse_args(ctx, args)


@click.command(
    cls=_ServeCommand,
    short_help="Run an app behind a local stand-in for App Service's front end.",
    options_metavar="[OPTIONS]",
)
@click.argument("app", metavar="[MODULE:APP | -- COMMAND...]", required=False)
@click.option(
    "--to",
    "upstream",
    metavar="URL",
    callback=_parse_upstream,
    help="Use a server that is already running, such as http://127.0.0.1:8000.",
)
@click.option(
    "--client-cert-mode",
    type=click.Choice(list(_MODES), case_sensitive=False),
    default="optional",
    show_default=True,
    help="The client certificate mode of App Service. 'optional' forwards requests without a"
    " certificate, so that you see the 403 of your own app. 'required' answers them with the 403"
    " of the front end. 'ignore' requests no certificate.",
)
@click.option(
    "--exclude",
    "excluded_paths",
    metavar="PATH",
    multiple=True,
    help="Do not require or forward a certificate on paths that start with PATH. Case is ignored:"
    " /api covers /APIs, too. Repeat the option, or separate several paths by , or ;.",
)
@click.option(
    "--bind",
    metavar="HOST:PORT",
    callback=_parse_address,
    default="127.0.0.1:8443",
    show_default=True,
    help="The address to listen on. Port 0 is a free port; write an IPv6 address in brackets.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The server's certificate as PEM, followed by its intermediates. By default a certificate"
    " for localhost and the address of --bind is made for this run.",
)
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The private key of --certificate as PEM, without a password.",
)
@click.pass_context
def serve(
    context: click.Context,
    app: str | None,
    upstream: tuple[str, int] | None,
    client_cert_mode: ClientCertMode,
    excluded_paths: tuple[str, ...],
    bind: tuple[str, int],
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Run an app behind a local stand-in for App Service's front end.

    It speaks TLS, requests a certificate from every client and accepts any. It removes every
    header that looks like X-ARR-ClientCert from the request, and then sets that header to the
    client's certificate. WebSockets are passed on.

    MODULE:APP names a WSGI or ASGI app in the current directory, as for gunicorn: 'shop.wsgi:app',
    or 'shop:create_app()' for a factory without arguments.

    Instead of an app, name a server that runs already, or a command that starts
    one. The command gets a free port in the environment variable PORT, and in
    place of {port}:

    \b
      arrcert serve --to http://127.0.0.1:8000
      arrcert serve -- flask run --debug --port {port}
      arrcert serve -- python manage.py runserver {port}

    For development only, never for production.
    """  # noqa: D301 - click reads the backspace.
    try:
        # They are imported here, because fetch-crls must run if only click is installed.
        import arrcert.cli.local_apps  # noqa: F401 - _target imports from it.
        from arrcert.cli.front_end import FrontEndServer
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in {"h11", "OpenSSL", "uvicorn", "waitress"}:
            raise
        raise Failure(f"arrcert serve needs {package}; run: pip install 'arrcert[dev]'") from None
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key belong together: give both or neither.")
    # The app must behave as on App Service, whose front end this command imitates.
    os.environ.setdefault("WEBSITE_SITE_NAME", "arrcert-serve")
    with contextlib.ExitStack() as resources:
        stop = resources.enter_context(_stop_signals())
        target = resources.enter_context(_target(app, upstream, context.meta.get(_COMMAND)))
        ca_file = None
        if certificate is not None and key is not None:
            certificate_pem = read_file("--certificate", certificate)
            key_pem = read_file("--key", key)
        else:
            authority = CertificateAuthority("arrcert serve, this run only")
            issued = _issue_server_certificate(authority, bind[0])
            certificate_pem, key_pem = issued.certificate_pem, issued.private_key_pem
            # curl needs the CA certificate in a file. The keys stay in memory.
            directory = resources.enter_context(tempfile.TemporaryDirectory(prefix="arrcert-"))
            ca_file = Path(directory, "ca.pem")
            ca_file.write_bytes(authority.certificate_pem)
        try:
            server = FrontEndServer(
                target.address,
                certificate=certificate_pem,
                key=key_pem,
                bind=bind,
                client_cert_mode=client_cert_mode,
                excluded_paths=excluded_paths,
                log=lambda line: click.echo(line, err=True),
            )
        except ConfigurationError as error:
            raise Failure(str(_by_option(error))) from error
        except OSError as error:
            # Python's message repeats the address in parentheses.
            why = str(error.strerror).partition(" (")[0]
            if error.errno == errno.EADDRINUSE:
                why += "; choose another with --bind"
            raise Failure(f"cannot listen on {bind[0]} port {bind[1]}: {why}") from error
        with server:
            _print_banner(target.name, server.url, client_cert_mode, excluded_paths, ca_file)
            # On Windows a thread that waits without a timeout receives no signals.
            while not stop.wait(0.2):
                if target.running is not None and target.running.exit_code is not None:
                    raise Failure(f"the command ended with exit code {target.running.exit_code}")


class _Target(NamedTuple):
    """The server behind the front end."""

    name: str
    address: tuple[str, int]
    running: Running | None
    """The app or the command that this process has started; None for a server that was already
    running."""


@contextlib.contextmanager
def _target(
    app: str | None, upstream: tuple[str, int] | None, command: list[str] | None
) -> Iterator[_Target]:
    """Start the app or the command, and stop it at the end. A running server is not stopped."""
    from arrcert.cli.local_apps import RunningCommand, run_app

    running: Running
    match app, upstream, command:
        case None, (host, port), None:
            authority = f"[{host}]" if ":" in host else host
            yield _Target(f"http://{authority}:{port}", (host, port), None)
            return
        case str(reference), None, None:
            name, running = reference, run_app(load_app(reference))
        case None, None, [_, *_] as words:
            name, running = shlex.join(words), RunningCommand(words)
        case _:
            raise click.UsageError("Name one of MODULE:APP, --to URL and -- COMMAND.")
    try:
        yield _Target(name, running.address, running)
    finally:
        running.stop()


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that they do not interrupt the clean-up."""
    stop = threading.Event()
    previous = {
        number: signal.signal(number, lambda _number, _frame: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _by_option(error: ConfigurationError) -> ConfigurationError:
    """Replace the names of the server's parameters by the options that they come from."""
    options = {"certificate": "--certificate", "key": "--key", "excluded_paths": "--exclude"}
    return ConfigurationError(
        problem._replace(setting=options.get(problem.setting, problem.setting))
        for problem in error.problems
    )


def _issue_server_certificate(authority: CertificateAuthority, host: str) -> IssuedCertificate:
    names, addresses = {"localhost"}, {"127.0.0.1", "::1"}
    try:
        addresses.add(str(ipaddress.ip_address(host)))
    except ValueError:
        names.add(host)
    return authority.issue(
        "localhost",
        dns_names=sorted(names),
        ip_addresses=sorted(addresses),
        extended_key_usages=("serverAuth",),
    )


def _print_banner(
    served: str,
    url: str,
    mode: ClientCertMode,
    excluded_paths: tuple[str, ...],
    ca_file: Path | None,
) -> None:
    click.echo(f" * Serving {served} behind a local stand-in for App Service's front end")
    click.echo(f" * Client certificates: {mode} ({_MODES[mode]})")
    if excluded_paths:
        click.echo(f" * Paths without client certificates: {', '.join(excluded_paths)}")
    # If the user gives a certificate, this command does not know which CA curl must trust.
    curl = "curl"
    if ca_file is not None:
        click.echo(f" * CA of the server certificate: {ca_file} (removed at exit)")
        curl = f"curl --cacert {shlex.quote(str(ca_file))}"
    click.secho(
        "WARNING: This is for development only. Do not use it in production.", fg="red", err=True
    )
    click.echo(f" * Running on {url}")
    click.echo(f" * Try: {curl} --cert client.pem --key client.key {url}/")
    click.echo("Press CTRL+C to quit")
