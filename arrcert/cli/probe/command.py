"""The command `arrcert probe`. It runs only if rich and h2 are installed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from arrcert.cli.apps import Failure
from arrcert.cli.options import read_file
from arrcert.exceptions import ConfigurationError, quote
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd, front_end_from

DEFAULT_RATE = 10.0


def _front_end(_context: click.Context, _parameter: click.Parameter, value: str) -> FrontEnd:
    try:
        return front_end_from(json.loads(value) if value.startswith("{") else value)
    except (ValueError, ConfigurationError) as error:
        raise click.BadParameter(str(error)) from None


def _paths(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    for path in value:
        if not path.startswith("/") or not path.isascii() or " " in path or not path.isprintable():
            raise click.BadParameter(f"{path!r} is not a path; write it as /health")
    return value


def _split(url: str) -> tuple[str, int, str]:
    """Return host, port and path of the page."""
    example = "write https://site.example/page"
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as error:
        raise click.UsageError(f"URL: {url!r}: {error}; {example}") from None
    if parts.scheme != "https" or not parts.hostname:
        raise click.UsageError(f"URL: {url!r} is not an https:// URL; {example}")
    if parts.username is not None:
        raise click.UsageError(f"URL: a user name in it is not sent; {example}")
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    if not path.isascii() or " " in path or not path.isprintable():
        raise click.UsageError(f"URL: {url!r} has characters that must be percent-encoded")
    try:
        host = parts.hostname.encode("ascii").decode()
    except UnicodeError:
        host = parts.hostname.encode("idna").decode("ascii")
    return host, port, path


@click.command(short_help="Find out from outside what a deployed site lets in.")
@click.argument("url", metavar="URL")
@click.option(
    "--cert",
    "certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="A client certificate that may enter, as PEM. Its intermediates may follow.",
)
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="The private key of --cert as PEM, without a password.",
)
@click.option(
    "--cacert",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="PEM file with the CA of the site's own certificate. The system's CAs by default.",
)
@click.option("--insecure", is_flag=True, help="Do not check the site's own certificate.")
@click.option(
    "--front-end",
    metavar="NAME",
    callback=_front_end,
    default="app-service",
    show_default=True,
    help="The front end whose header the probe forges, as in ARRCERT_FRONT_END: a name, or a"
    " mapping as JSON."
    f" Names: {', '.join(FRONT_ENDS)}.",
)
@click.option(
    "--excluded",
    "excluded_paths",
    metavar="PATH",
    multiple=True,
    callback=_paths,
    help="An exclusion path of the platform. The probe checks it and paths that are similar to it."
    " Repeat the option for several.",
)
@click.option(
    "--open",
    "open_paths",
    metavar="PATH",
    multiple=True,
    callback=_paths,
    help="A page that everybody may see, such as /health. Repeat the option for several.",
)
@click.option(
    "--http-port",
    "plain_port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    help="The port of plain HTTP. The default is 80 if the URL has no port. If the URL has a port,"
    " plain HTTP is not tried by default.",
)
@click.option(
    "--rate",
    metavar="NUMBER",
    type=click.FloatRange(0, 1000, min_open=True),
    default=DEFAULT_RATE,
    show_default=True,
    help="The largest number of requests in a second.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/probe.schema.json).")
def probe(
    url: str,
    certificate: Path,
    key: Path,
    cacert: Path | None,
    insecure: bool,
    front_end: FrontEnd,
    excluded_paths: tuple[str, ...],
    open_paths: tuple[str, ...],
    plain_port: int | None,
    rate: float,
    as_json: bool,
) -> None:
    """Find out from outside what a deployed site lets in.

    URL is a page that needs a client certificate. --cert and --key belong to a client that may
    enter. The probe requests the page in every way in which somebody without that key might enter.
    For each way it prints what it sent, what came back, what that means and what to do.

    Probe only your own sites. You do not have to change the site.

    The exit code is 0 if nobody entered without the key, 1 if somebody did, and 2 if the probe
    cannot judge the site: the given certificate may not enter, or the page is open to everybody.
    """
    try:
        from arrcert.cli.probe import run, screen
        from arrcert.cli.probe.calibration import NoCalibrationError
        from arrcert.cli.probe.certificates import Client, Mint
        from arrcert.cli.probe.connection import Endpoint
        from arrcert.cli.probe.report import Report
        from arrcert.cli.probe.site import Pace, Site
        from arrcert.cli.probe.sizes import POSTS
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in {"rich", "h2"}:
            raise
        raise Failure(f"arrcert probe needs {package}; run: pip install 'arrcert[dev]'") from None
    host, port, path = _split(url)
    if cacert is not None and insecure:
        raise click.UsageError("--cacert and --insecure contradict each other: give one of them.")
    leaf = _leaf(certificate, key)
    _check_cacert(cacert)
    checks = run.checks_of(excluded_paths, open_paths)
    out, err = screen.output(), screen.errors()
    most = run.most_requests(checks)
    screen.announce(err, url, requests=most, rate=rate, posts=POSTS)
    rows = []
    no_calibration = ""
    with tempfile.TemporaryDirectory(prefix="arrcert-probe-") as folder:
        site = Site(
            Endpoint(host, port, cacert, insecure),
            path,
            front_end=front_end,
            allowed=Client(certificate, key, leaf),
            mint=Mint(Path(folder)),
            pace=Pace(rate),
            plain_port=plain_port or (80 if port == 443 else None),
        )
        with screen.Bar(err, run.CALIBRATING + len(checks)) as bar:
            try:
                for row in run.run(site, checks):
                    rows.append(row)
                    bar.advance(row)
            except NoCalibrationError as error:
                no_calibration = str(error)
    report = Report(rows, no_calibration)
    if as_json:
        screen.write_json(json.dumps(report.as_json(), indent=2))
    else:
        screen.show(out, report)
    raise SystemExit(report.exit_code)


def _leaf(certificate: Path, key: Path) -> x509.Certificate:
    """Return the client's certificate, and check that its key belongs to it."""
    try:
        leaf = x509.load_pem_x509_certificate(read_file("--cert", certificate))
    except ValueError:
        raise Failure(
            f"--cert: {quote(certificate)} holds no PEM certificate that can be read"
        ) from None
    try:
        private_key = load_pem_private_key(read_file("--key", key), password=None)
    except TypeError:
        raise Failure(f"--key: {quote(key)} is encrypted; write it without a password") from None
    except ValueError:
        raise Failure(f"--key: {quote(key)} holds no PEM private key that can be read") from None
    if private_key.public_key() != leaf.public_key():
        raise Failure("--key: does not belong to the certificate of --cert")
    return leaf


def _check_cacert(cacert: Path | None) -> None:
    if cacert is None:
        return
    try:
        x509.load_pem_x509_certificates(read_file("--cacert", cacert))
    except ValueError:
        raise Failure(
            f"--cacert: {quote(cacert)} holds no PEM certificate that can be read"
        ) from None
