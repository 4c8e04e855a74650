"""The `arrcert` command and its subcommands.

It needs click; `arrcert serve` also needs the rest of the extra `dev`. The library never imports
it.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import click
except ModuleNotFoundError as missing:
    # The console script is installed even without the extra, and it imports this module first.
    print(
        f"Error: the arrcert command needs {missing.name}; run: pip install 'arrcert[dev]'",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

from arrcert.cli.apps import Failure, load_app
from arrcert.cli.downloads import (
    NotFetchedError,
    fetch_revocation_lists,
    file_name_of,
    why_not_web_address,
    without_secrets,
)
from arrcert.exceptions import ConfigurationError, quote
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust.pem import parse_certificates

if TYPE_CHECKING:
    from arrcert.cli.front_end import ClientCertMode

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


@click.group(name="arrcert")
@click.version_option(package_name="arrcert", prog_name="arrcert")
def main() -> None:
    """Tools for client certificates in Flask and Django apps."""


@main.command(short_help="Run a WSGI app behind a local stand-in for App Service's front end.")
@click.argument("app", metavar="MODULE:APP")
@click.option(
    "--client-cert-mode",
    type=click.Choice(list(_MODES), case_sensitive=False),
    default="optional",
    show_default=True,
    help="The client certificate mode of App Service. 'optional' forwards requests without a"
    " certificate, so that you see the 403 of your own app; 'required' answers them with a 403 of"
    " its own; 'ignore' requests no certificate.",
)
@click.option(
    "--exclude",
    "excluded_paths",
    metavar="PATH",
    multiple=True,
    help="Forward and require no certificate on paths that start with PATH. Case does not matter:"
    " /api covers /APIs too. Repeat the option, or separate several paths by , or ;.",
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
def serve(
    app: str,
    client_cert_mode: ClientCertMode,
    excluded_paths: tuple[str, ...],
    bind: tuple[str, int],
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Run a WSGI app behind a local stand-in for App Service's front end.

    It speaks TLS, requests a certificate from every client and accepts any. It removes every
    header that looks like X-ARR-ClientCert from the request, and then sets that header to the
    client's certificate.

    MODULE:APP names the app as for gunicorn, seen from the current directory: 'shop.wsgi:app', or
    'shop:create_app()' for a factory without arguments.

    For development only, never for production.
    """
    try:
        # It is imported here, because fetch-crls must run where only click is installed.
        from arrcert.cli.front_end import FrontEndServer
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"cheroot", "OpenSSL"}:
            raise
        raise Failure(
            f"arrcert serve needs {missing.name}; run: pip install 'arrcert[dev]'"
        ) from None
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key belong together: give both or neither.")
    # The app must behave as on App Service, whose front end this command imitates.
    os.environ.setdefault("WEBSITE_SITE_NAME", "arrcert-serve")
    application = load_app(app)
    with contextlib.ExitStack() as resources:
        stop = resources.enter_context(_stop_signals())
        if certificate is not None and key is not None:
            certificate_pem, key_pem = _read("--certificate", certificate), _read("--key", key)
            ca_file = None
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
                application,
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
            # Python adds the address again, in parentheses.
            why = str(error.strerror).partition(" (")[0]
            if error.errno == errno.EADDRINUSE:
                why += "; choose another with --bind"
            raise Failure(f"cannot listen on {bind[0]} port {bind[1]}: {why}") from error
        with server:
            _print_banner(app, server.url, client_cert_mode, excluded_paths, ca_file)
            # On Windows a thread that waits without a timeout receives no signals.
            while not stop.wait(1):
                pass


def _require_web_address(url: str) -> None:
    why = why_not_web_address(url)
    if why is not None:
        raise click.BadParameter(f"{without_secrets(url)!r} {why}")


def _parse_downloads(
    _context: click.Context, _parameter: click.Parameter, value: tuple[tuple[str, Path], ...]
) -> tuple[tuple[str, Path], ...]:
    for url, _ in value:
        _require_web_address(url)
    return value


def _parse_url_files(
    _context: click.Context, _parameter: click.Parameter, value: tuple[tuple[Path, Path], ...]
) -> tuple[tuple[str, Path], ...]:
    """Return each URL of the files, and the file in the folder to keep its list in."""
    downloads = []
    for urls, folder in value:
        try:
            lines = urls.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise click.BadParameter(f"cannot read {str(urls)!r}: {why}") from error
        found = [line.strip() for line in lines if line.strip() and line.strip()[0] != "#"]
        if not found:
            raise click.BadParameter(f"{str(urls)!r} holds no URL; write one URL on each line")
        if not folder.is_dir():
            raise click.BadParameter(f"{str(folder)!r} is not a folder; make it first")
        for url in found:
            _require_web_address(url)
            downloads.append((url, folder / file_name_of(url)))
    return tuple(downloads)


@main.command("fetch-crls", short_help="Download revocation lists, check them and replace files.")
@click.option(
    "--issuer",
    "issuer_files",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="PEM file with the certificates of the CAs that sign the lists: the files of trust_anchors"
    " and intermediates. Repeat the option for several files.",
)
@click.option(
    "--crl",
    "downloads",
    metavar="URL FILE",
    type=(str, click.Path(path_type=Path)),
    callback=_parse_downloads,
    multiple=True,
    help="The http:// or https:// URL of a list, and the file to keep it in: a file of crls. Repeat"
    " the option for several lists.",
)
@click.option(
    "--urls",
    "partitions",
    metavar="FILE FOLDER",
    type=(click.Path(path_type=Path), click.Path(path_type=Path)),
    callback=_parse_url_files,
    multiple=True,
    help="A text file with the URL of one list on each line, such as all partitions of a CA, and"
    " the folder to keep the lists in: a folder of crls. Lines that begin with # are ignored.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=600,
    show_default=True,
    help="How long the download of one list may take as a whole, however slowly it comes in.",
)
@click.option(
    "--max-bytes",
    metavar="BYTES",
    type=click.IntRange(1),
    default=256 * 1024 * 1024,
    show_default=True,
    help="The largest download; a larger one fails.",
)
def fetch_crls(
    issuer_files: tuple[Path, ...],
    downloads: tuple[tuple[str, Path], ...],
    partitions: tuple[tuple[str, Path], ...],
    timeout: float,
    max_bytes: int,
) -> None:
    """Download revocation lists, check them, and replace files atomically.

    For a cron job or a WebJob; a running site notices the new file by itself. A list replaces FILE
    only if it is signed by one of the --issuer certificates, current, of the same scope as the list
    in FILE, and not older; otherwise FILE does not change. Only the given URLs are contacted, never
    an address in a certificate. A redirect is followed on the same host alone.

    Prints one line for each list. The exit code is 0 if all succeeded, 1 if any failed.
    """
    downloads += partitions
    if not downloads:
        raise click.UsageError("Missing option '--crl' or '--urls'.")
    paths = [os.path.realpath(path) for _, path in downloads]
    if len(set(paths)) != len(paths):
        raise click.UsageError(
            "two URLs have the same FILE; write each URL once, and one FILE for each URL"
        )
    issuers = []
    for path in issuer_files:
        try:
            issuers += parse_certificates(_read("--issuer", path), f"--issuer: {quote(path)}")
        except ValueError as error:
            raise Failure(str(error)) from error
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


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{option}: cannot read {str(path)!r}: {error.strerror}") from error


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
    # With a certificate of the user's own, this command does not know what curl has to trust.
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
