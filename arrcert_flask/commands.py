"""The command `flask arrcert-routes`."""

from __future__ import annotations

import sys

import click
from flask import current_app
from flask.cli import with_appcontext

from arrcert import ConfigurationError


class _Refused(click.ClickException):
    """An app that refuses to serve: exit code 2."""

    exit_code = 2


@click.command("arrcert-routes", short_help="Show who decides before each route.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@click.option(
    "--fail-on-open",
    is_flag=True,
    help="Exit with 1 if a route or wrapper is open or unknown, and --allow does not list it.",
)
@click.option(
    "--allow",
    "allowed",
    metavar="PATH",
    multiple=True,
    help="A path, or the name of a wrapper, that may be open. Write it as the table shows it."
    " '/folder/*' is every path below that folder. Repeat the option for several.",
)
@with_appcontext
def routes_command(is_json: bool, fail_on_open: bool, allowed: tuple[str, ...]) -> None:
    """Show for each route which policy is checked and who checks it, or that it is OPEN.

    Below the table are the layers around the app, and what is open on purpose. The command sends no
    request and runs no view.
    """
    # Other commands and the site itself do not need these modules.
    from arrcert.routes import as_json, as_text, outcome
    from arrcert.terminal import width_of
    from arrcert_flask.routes import report

    # The annotation of `current_app` is the app itself, without this method.
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    try:
        found = report(app)
    except ConfigurationError as error:
        raise _Refused(f"the app refuses to serve: {error}") from error
    click.echo(as_json(found) if is_json else as_text(found, width_of(sys.stdout)))
    lines, exit_code = outcome(found, fail_on_open=fail_on_open, allowed=allowed)
    for line in lines:
        click.echo(line, err=True)
    raise SystemExit(exit_code)
