"""The `arrcert` command. It needs click, and `serve` the rest of the extra `dev`.

The library never imports it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import inspect
import ipaddress
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast
from wsgiref.types import WSGIApplication

try:
    import click
except ModuleNotFoundError as missing:
    # The console script exists without the extra as well, and imports this module first.
    print(
        f"Error: the arrcert command needs {missing.name}; run: pip install 'arrcert[dev]'",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

from arrcert.cli.downloads import (
    NotFetchedError,
    fetch_revocation_lists,
    is_web_address,
    without_secrets,
)
from arrcert.exceptions import ConfigurationError, quote
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust.pem import parse_certificates

if TYPE_CHECKING:
    from arrcert.cli.front_end import ClientCertMode

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
    type=click.Choice(list(_MODES), case_sensitive=False),
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
    try:
        # Not above: fetch-crls runs where only click is installed.
        from arrcert.cli.front_end import FrontEndServer
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"cheroot", "OpenSSL"}:
            raise
        raise _Failure(
            f"arrcert serve needs {missing.name}; run: pip install 'arrcert[dev]'"
        ) from None
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key belong together: give both or neither.")
    # The app is to take this for App Service, whose front end it imitates.
    os.environ.setdefault("WEBSITE_SITE_NAME", "arrcert-serve")
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
            raise _Failure(str(_by_option(error))) from error
        except OSError as error:
            # Python adds the address once more, in parentheses.
            why = str(error.strerror).partition(" (")[0]
            if error.errno == errno.EADDRINUSE:
                why += "; choose another with --bind"
            raise _Failure(f"cannot listen on {bind[0]} port {bind[1]}: {why}") from error
        with server:
            _print_banner(app, server.url, client_cert_mode, excluded_paths, ca_file)
            # Windows delivers no signal to a thread that waits without a timeout.
            while not stop.wait(1):
                pass


def _parse_downloads(
    _context: click.Context, _parameter: click.Parameter, value: tuple[tuple[str, Path], ...]
) -> tuple[tuple[str, Path], ...]:
    for url, _ in value:
        if not is_web_address(url):
            raise click.BadParameter(f"{without_secrets(url)!r} is no http:// or https:// URL")
    paths = [os.path.realpath(path) for _, path in value]
    if len(set(paths)) != len(paths):
        raise click.BadParameter("two lists cannot be kept in one FILE; write one for each")
    return value


@main.command(
    "fetch-crls", short_help="Download revocation lists, check them, replace files atomically."
)
@click.option(
    "--issuer",
    "issuer_files",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="PEM file with certificates of the CAs that sign the lists: what trust_anchors and"
    " intermediates name. Repeat it for several.",
)
@click.option(
    "--crl",
    "downloads",
    metavar="URL FILE",
    type=(str, click.Path(path_type=Path)),
    callback=_parse_downloads,
    multiple=True,
    required=True,
    help="Where a list is, http:// or https://, and the file to keep it in: what crls names."
    " Repeat it for several.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="How long to wait for a server to answer or to go on. A download that takes more than ten"
    " minutes in all is given up.",
)
@click.option(
    "--max-bytes",
    metavar="BYTES",
    type=click.IntRange(1),
    default=256 * 1024 * 1024,
    show_default=True,
    help="Give up a download that is larger.",
)
def fetch_crls(
    issuer_files: tuple[Path, ...],
    downloads: tuple[tuple[str, Path], ...],
    timeout: float,
    max_bytes: int,
) -> None:
    """Download revocation lists, check them, and replace files atomically.

    For a cron job or a WebJob; a running site notices the new file by itself. A list replaces FILE
    only if it is whole, signed by one of the --issuer certificates, current, and not older than
    the list in FILE; otherwise FILE stays as it is. What is fetched is what --crl names: no
    address in a certificate is ever contacted.

    Prints one line for each list. The exit code is 0 where all are good, 1 where any failed.
    """
    issuers = []
    for path in issuer_files:
        try:
            issuers += parse_certificates(_read("--issuer", path), f"--issuer: {quote(path)}")
        except ValueError as error:
            raise _Failure(str(error)) from error
    failed = False
    for url, path in downloads:
        try:
            outcome = fetch_revocation_lists(
                url, path, issuers, timeout=timeout, max_bytes=max_bytes
            )
            click.echo(f"{path}: {outcome}")
        except NotFetchedError as error:
            failed = True
            click.echo(f"{path}: failed: {error}", err=True)
    raise SystemExit(1 if failed else 0)


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


def _by_option(error: ConfigurationError) -> ConfigurationError:
    """Name the options that the parameters of the server came from."""
    options = {"certificate": "--certificate", "key": "--key", "excluded_paths": "--exclude"}
    return ConfigurationError(
        problem._replace(setting=options.get(problem.setting, problem.setting))
        for problem in error.problems
    )


def _load_app(reference: str) -> WSGIApplication:
    module_name, _, attribute = reference.partition(":")
    name = attribute.removesuffix("()")
    if not _is_reference(module_name, name):
        meant = _dotted(module_name), attribute or "app"
        hint = (
            f"did you mean {':'.join(meant)!r}?"
            if _is_reference(meant[0], meant[1].removesuffix("()"))
            else "such as 'shop.wsgi:app' or 'shop:create_app()'"
        )
        raise _Failure(f"{reference!r} is not MODULE:APP; {hint}")
    sys.path.insert(0, os.getcwd())
    with _failures_of_the_app(f"importing {module_name!r}", f"import {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if f"{module_name}.".startswith(f"{error.name}."):
                hint = (
                    f"write '{_dotted(module_name)}:{attribute}'"
                    if module_name != _dotted(module_name)
                    else "write it as in an import, seen from the current directory"
                )
                raise _Failure(f"no module named {module_name!r}; {hint}") from error
            raise
    if not hasattr(module, name):
        raise _Failure(f"module {module_name!r} has no {name!r}{_apps_in(module, module_name)}")
    app = getattr(module, name)
    if attribute != name:
        with _failures_of_the_app(
            f"calling {reference!r}", f"import {module_name}; {module_name}.{attribute}"
        ):
            app = app()
    if _takes_asgi_arguments(app):
        wsgi = reference.replace("asgi", "wsgi")
        raise _Failure(
            f"{reference!r} is an ASGI app, and arrcert serve runs WSGI; name"
            f" {wsgi if wsgi != reference else 'a WSGI app, such as mysite.wsgi:application'}"
        )
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


def _is_reference(module_name: str, name: str) -> bool:
    return name.isidentifier() and all(map(str.isidentifier, module_name.split(".")))


def _dotted(module_name: str) -> str:
    """Return a file's path as a module's name."""
    return module_name.removeprefix("./").removesuffix(".py").replace("/", ".").replace("\\", ".")


def _apps_in(module: object, module_name: str) -> str:
    """Name what the module has that looks like an app."""
    names = [name for name in ("app", "application") if callable(getattr(module, name, None))]
    factories = ("create_app", "make_app")
    names += [f"{name}()" for name in factories if callable(getattr(module, name, None))]
    return f"; it has {' and '.join(f'{module_name}:{name}' for name in names)}" if names else ""


def _takes_asgi_arguments(app: object) -> bool:
    if not callable(app):
        return False
    is_async = inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(app.__call__)
    return is_async and _can_be_called(app, {}, None, None)


def _takes_wsgi_arguments(app: object) -> bool:
    return callable(app) and _can_be_called(app, {}, None)


def _can_be_called(app: Callable[..., object], *arguments: object) -> bool:
    try:
        inspect.signature(app).bind(*arguments)
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
