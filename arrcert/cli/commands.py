"""The `arrcert` command and its subcommands.

It needs click; `arrcert serve` also needs the rest of the extra `dev`. The library never imports
it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

try:
    import click
except ModuleNotFoundError as missing:
    # The console script is installed even without the extra, and it imports this module first.
    print(
        f"Error: the arrcert command needs {missing.name}; run: pip install 'arrcert[dev]'",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

from arrcert.cli.apps import Failure
from arrcert.cli.downloads import (
    NotFetchedError,
    fetch_revocation_lists,
    is_web_address,
    without_secrets,
)
from arrcert.cli.explain import explain_command
from arrcert.cli.install import install_file_command
from arrcert.cli.options import read_file
from arrcert.cli.serving import serve
from arrcert.exceptions import quote
from arrcert.trust.pem import parse_certificates


@click.group(name="arrcert")
@click.version_option(package_name="arrcert", prog_name="arrcert")
def main() -> None:
    """Tools for client certificates in Flask, Django and ASGI apps."""


main.add_command(serve)
main.add_command(explain_command)
main.add_command(install_file_command)


def _parse_downloads(
    _context: click.Context, _parameter: click.Parameter, value: tuple[tuple[str, Path], ...]
) -> tuple[tuple[str, Path], ...]:
    for url, _ in value:
        if not is_web_address(url):
            raise click.BadParameter(f"{without_secrets(url)!r} is not an http:// or https:// URL")
    paths = [os.path.realpath(path) for _, path in value]
    if len(set(paths)) != len(paths):
        raise click.BadParameter("two URLs have the same FILE; write one FILE for each URL")
    return value


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
    required=True,
    help="The http:// or https:// URL of a list, and the file to keep it in: a file of crls. Repeat"
    " the option for several lists.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="How long to wait for the server's answer, and for each part of it. A download that takes"
    " more than ten minutes fails.",
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
    timeout: float,
    max_bytes: int,
) -> None:
    """Download revocation lists, check them, and replace files atomically.

    For a cron job or a WebJob; a running site notices the new file by itself. A list replaces FILE
    only if it is complete, signed by one of the --issuer certificates, current, and not older than
    the list in FILE; otherwise FILE does not change. Only the URLs of --crl are contacted, never
    an address in a certificate.

    Prints one line for each list. The exit code is 0 if all succeeded, 1 if any failed.
    """
    issuers = []
    for path in issuer_files:
        try:
            issuers += parse_certificates(read_file("--issuer", path), f"--issuer: {quote(path)}")
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
