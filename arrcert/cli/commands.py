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
    file_name_of,
    why_not_web_address,
    without_secrets,
)
from arrcert.cli.explain import explain_command
from arrcert.cli.install import install_file_command
from arrcert.cli.options import read_file
from arrcert.cli.probe.command import probe
from arrcert.cli.routes import routes_command
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
main.add_command(probe)


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
    """Return each URL in the files, and the path of the file that keeps its list."""
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
    help="The http:// or https:// URL of a list, and the file that keeps it. The setting crls names"
    " this file. Repeat the option for several lists.",
)
@click.option(
    "--urls",
    "partitions",
    metavar="FILE FOLDER",
    type=(click.Path(path_type=Path), click.Path(path_type=Path)),
    callback=_parse_url_files,
    multiple=True,
    help="A text file with the URL of one list on each line, such as all partitions of a CA, and"
    " the folder that keeps the lists. The setting crls names this folder. Lines that begin with #"
    " are ignored.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=600,
    show_default=True,
    help="The largest time for the whole download of one list.",
)
@click.option(
    "--max-bytes",
    metavar="BYTES",
    type=click.IntRange(1),
    default=256 * 1024 * 1024,
    show_default=True,
    help="The largest size of a download; a larger one fails.",
)
def fetch_crls(
    issuer_files: tuple[Path, ...],
    downloads: tuple[tuple[str, Path], ...],
    partitions: tuple[tuple[str, Path], ...],
    timeout: float,
    max_bytes: int,
) -> None:
    """Download revocation lists, check them, and replace files atomically.

    Run it in a cron job or a WebJob. A running site uses the new file without a restart. A list
    replaces FILE only if one of the --issuer certificates signed it, it is current, it has the same
    scope as the list in FILE, and it is not older. Otherwise FILE does not change. Only the given
    URLs are contacted, never a URL in a certificate. A redirect is followed only to the same host.

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


main.add_command(routes_command)
