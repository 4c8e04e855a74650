"""The `arrcert` command. It needs the extra `dev`; the library never imports it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import ipaddress
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from wsgiref.types import WSGIApplication

try:
    import click

    from arrcert.devserver import ClientCertMode, FrontEndServer
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in {"click", "cheroot", "OpenSSL"}:
        raise
    # The console script exists without the extra as well, and imports this module first.
    print(
        f"Error: the arrcert command needs {missing.name}; run: pip install 'arrcert[dev]'",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

from arrcert.exceptions import ConfigurationError
from arrcert.testing import CertificateAuthority, IssuedCertificate

_MODES: dict[ClientCertMode, str] = {
    "required": "a request without one gets this front end's own 403",
    "optional": "a request without one reaches the app",
    "ignore": "none is asked for, and none is forwarded",
}


class _Failure(click.ClickException):
    """One line on stderr and exit code 2."""

    exit_code = 2


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


@click.group(name="arrcert")
@click.version_option(package_name="arrcert", prog_name="arrcert")
def main() -> None:
    """Decide whether a forwarded client certificate may enter a Flask or Django app."""


@main.command(short_help="Run a WSGI app behind a local stand-in for App Service's front end.")
@click.argument("app", metavar="MODULE:APP")
@click.option(
    "--client-cert-mode",
    type=click.Choice(list(_MODES)),
    default="optional",
    show_default=True,
    help="What App Service calls the client certificate mode. 'optional' passes requests without"
    " a certificate on, so that you see the 403 of your own app; 'required' answers them with a"
    " 403 of its own; 'ignore' asks for no certificate.",
)
@click.option(
    "--exclude",
    "excluded_paths",
    metavar="PATH",
    multiple=True,
    help="Forward and require no certificate on paths that start with PATH, whatever their case:"
    " /api covers /APIs too. Repeat it, or separate several by , or ;.",
)
@click.option(
    "--bind",
    metavar="HOST:PORT",
    callback=_parse_address,
    default="127.0.0.1:8443",
    show_default=True,
    help="Where to listen. Port 0 takes a free one; an IPv6 address stands in brackets.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The server's certificate as PEM, intermediates after it. By default one is made for"
    " this run, for localhost and the address of --bind.",
)
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The private key of --certificate as PEM, without a password.",
)
def serve(
    app: str,
    client_cert_mode: ClientCertMode,
    excluded_paths: tuple[str, ...],
    bind: tuple[str, int],
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Run a WSGI app behind a local stand-in for App Service's front end.

    It speaks TLS, asks every client for a certificate, accepts any, and sets X-ARR-ClientCert to
    it, after removing whatever the client sent under that name or one that looks like it.

    MODULE:APP names the app as for gunicorn, from the current directory: 'shop.wsgi:app', or
    'shop:create_app()' for a factory without arguments.

    For development only, never for production.
    """
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key belong together: give both or neither.")
    application = _load_app(app)
    with contextlib.ExitStack() as resources:
        stop = resources.enter_context(_stop_signals())
        if certificate is not None and key is not None:
            certificate_pem, key_pem = _read("--certificate", certificate), _read("--key", key)
            ca_file = None
        else:
            authority = CertificateAuthority("arrcert serve, this run only")
            issued = _issue_server_certificate(authority, bind[0])
            certificate_pem, key_pem = issued.certificate_pem, issued.private_key_pem
            # The keys stay in memory: only what curl needs is written.
            directory = resources.enter_context(tempfile.TemporaryDirectory(prefix="arrcert-"))
            ca_file = Path(directory, "ca.pem")
            ca_file.write_bytes(authority.certificate_pem)
        try:
            server = FrontEndServer(
                application,
                certificate=certificate_pem,
                key=key_pem,
                bind=bind,
                client_cert_mode=client_cert_mode,
                excluded_paths=excluded_paths,
                log=lambda line: click.echo(line, err=True),
            )
        except ConfigurationError as error:
            raise _Failure(str(error)) from error
        except OSError as error:
            # Python adds the address once more, in parentheses.
            why = str(error.strerror).partition(" (")[0]
            raise _Failure(f"cannot listen on {bind[0]} port {bind[1]}: {why}") from error
        with server:
            _print_banner(app, server.url, client_cert_mode, excluded_paths, ca_file)
            # Windows delivers no signal to a thread that waits without a timeout.
            while not stop.wait(1):
                pass


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that neither interrupts the clean stop."""
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


def _load_app(reference: str) -> WSGIApplication:
    module_name, _, attribute = reference.partition(":")
    name = attribute.removesuffix("()")
    if not name.isidentifier() or not all(map(str.isidentifier, module_name.split("."))):
        raise _Failure(
            f"{reference!r} is not MODULE:APP, such as 'shop.wsgi:app' or 'shop:create_app()'"
        )
    sys.path.insert(0, os.getcwd())
    with _failures_of_the_app(f"importing {module_name!r}", f"import {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if f"{module_name}.".startswith(f"{error.name}."):
                raise _Failure(
                    f"no module named {module_name!r}; write it as in an import, seen from the"
                    " current directory"
                ) from error
            raise
    if not hasattr(module, name):
        raise _Failure(f"module {module_name!r} has no {name!r}")
    app = getattr(module, name)
    if attribute != name:
        with _failures_of_the_app(
            f"calling {reference!r}", f"import {module_name}; {module_name}.{attribute}"
        ):
            app = app()
    if not _takes_wsgi_arguments(app):
        raise _Failure(
            f"{reference!r} is no WSGI app, which is called with environ and start_response;"
            " name a factory with its parentheses: 'shop:create_app()'"
        )
    return cast("WSGIApplication", app)


@contextlib.contextmanager
def _failures_of_the_app(what: str, statement: str) -> Iterator[None]:
    try:
        yield
    except click.ClickException:
        raise
    except ConfigurationError as error:
        raise _Failure(str(error)) from error
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise _Failure(
            f'{what} failed: {text}; run python -c "{statement}" to see the traceback'
        ) from error


def _takes_wsgi_arguments(app: object) -> bool:
    if not callable(app):
        return False
    try:
        inspect.signature(app).bind({}, None)
    except TypeError:
        return False
    except ValueError:  # Written in C, perhaps: it does not tell.
        pass
    return True


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _Failure(f"{option}: cannot read {str(path)!r}: {error.strerror}") from error


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
    app: str,
    url: str,
    mode: ClientCertMode,
    excluded_paths: tuple[str, ...],
    ca_file: Path | None,
) -> None:
    click.echo(f" * Serving {app!r} behind a local stand-in for App Service's front end")
    click.echo(f" * Client certificates: {mode} ({_MODES[mode]})")
    if excluded_paths:
        click.echo(f" * Paths without client certificates: {', '.join(excluded_paths)}")
    # Whether a certificate of the user's own is trusted by curl as it is, nobody knows here.
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


if __name__ == "__main__":
    main(prog_name="python -m arrcert.cli")
