"""`arrcert routes`: who decides before each route of an app, and what is open."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any

import click

from arrcert.cli.apps import Failure, failures_of_the_app, import_module, load_app
from arrcert.exceptions import ConfigurationError
from arrcert.layers import name_of
from arrcert.routes import HEADINGS, Report, as_json, notes, outcome
from arrcert.surroundings import layers_around, report_of_any_app, takes_scope
from arrcert.terminal import width_of

_SETTINGS = "DJANGO_SETTINGS_MODULE"


@click.command("routes", short_help="Show who decides before each route, and what is OPEN.")
@click.argument("reference", metavar="MODULE:APP", required=False)
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@click.option(
    "--fail-on-open",
    is_flag=True,
    help="Exit with 1 if a route, middleware or wrapper is open or unknown, and --allow does not"
    " list it.",
)
@click.option(
    "--allow",
    "allowed",
    metavar="PATH",
    multiple=True,
    help="A path, or the name of a middleware or wrapper, that may be open. Write it as the table"
    " shows it. '/folder/*' is every path below that folder. Repeat the option for several.",
)
def routes_command(
    reference: str | None, is_json: bool, fail_on_open: bool, allowed: tuple[str, ...]
) -> None:
    """Show for each route of an app who decides, or that it is OPEN.

    MODULE:APP names a Flask app, a FastAPI app, a Django application, or any WSGI or ASGI app with
    the middleware of arrcert around it: 'shop:app', 'shop:create_app()',
    'mysite.asgi:application'. A Django site may also be named by its settings module,
    'mysite.settings', or by DJANGO_SETTINGS_MODULE.

    Below the table are the layers around the app, what is open on purpose, and when pins, CA
    certificates and revocation lists expire. No request is sent, and no view runs. The exit code is
    0, or 1 if --fail-on-open finds something. It is 2 if the options are wrong, the site does not
    start, or it refuses to serve.
    """
    found = _report(reference)
    if is_json:
        click.echo(as_json(found))
    else:
        _print_table(found)
    lines, exit_code = outcome(found, fail_on_open=fail_on_open, allowed=allowed)
    for line in lines:
        click.echo(line, err=True)
    raise SystemExit(exit_code)


def _report(reference: str | None) -> Report:
    """Return the report of the app that a reference names.

    Raises:
        Failure: the app cannot be loaded, or refuses to serve.
    """
    if reference is None and not os.environ.get(_SETTINGS):
        raise click.UsageError(f"write MODULE:APP, or set {_SETTINGS} for a Django site.")
    if reference is None or ":" not in reference:
        return _report_of_django(reference)
    app = load_app(reference)
    with failures_of_the_app(f"auditing {reference!r}", f"import {reference.partition(':')[0]}"):
        return _report_of(app)


def _report_of(app: object) -> Report:
    try:
        around = layers_around(app)
        # The core never imports a framework or an adapter. But the app has already imported its
        # framework.
        kind = getattr(sys.modules.get("flask"), "Flask", ())
        for position, layer in enumerate(around):
            flask_app = _flask_app(layer, kind)
            if flask_app is not None:
                adapter: Any = importlib.import_module("arrcert_flask.routes")
                found: Report = adapter.report(flask_app, around[:position])
                return found
            if _is_of_fastapi(layer):
                adapter = importlib.import_module("arrcert_fastapi.audit")
                found = adapter.report(layer, around[:position])
                return found
        if _leads_to_django(app, around):
            adapter = importlib.import_module("arrcert_django.routes")
            found = adapter.report(app)
            return found
        return report_of_any_app(app, is_asgi=takes_scope(app))
    except ConfigurationError as error:
        raise Failure(f"the app refuses to serve: {error}") from error


def _report_of_django(settings_module: str | None) -> Report:
    """Return the report of a Django site, which its settings module names."""
    if settings_module is not None:
        module = import_module(settings_module, "app")
        if not hasattr(module, "INSTALLED_APPS") and not hasattr(module, "ROOT_URLCONF"):
            raise Failure(
                f"{settings_module!r} is not MODULE:APP, and no settings module of Django; write"
                f" '{settings_module}:app'"
            )
        os.environ[_SETTINGS] = settings_module
    else:
        sys.path.insert(0, os.getcwd())
    with failures_of_the_app("starting the Django site", "import django; django.setup()"):
        django: Any = importlib.import_module("django")
        django.setup()
        adapter: Any = importlib.import_module("arrcert_django.routes")
        try:
            found: Report = adapter.report()
        except ConfigurationError as error:
            raise Failure(f"the site refuses to serve: {error}") from error
        return found


def _flask_app(layer: object, kind: Any) -> Any:
    """Return the Flask app that a layer is, or whose `wsgi_app` it is; else None."""
    if isinstance(layer, kind):
        return layer
    owner: Any = getattr(layer, "__self__", None)
    # If `wsgi_app` was replaced, the old method does not lead to the wrappers of the app.
    return owner if isinstance(owner, kind) and owner.wsgi_app == layer else None


def _is_of_fastapi(layer: object) -> bool:
    """Return whether a layer is an app of FastAPI, or of Starlette where FastAPI is loaded."""
    kind = getattr(sys.modules.get("starlette.applications"), "Starlette", ())
    return "fastapi" in sys.modules and isinstance(layer, kind)


def _leads_to_django(app: object, around: Iterable[object]) -> bool:
    """Return whether Django is set up, and is or may be inside the app."""
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if settings is None or not settings.configured:
        return False
    inside = {name_of(layer).partition(".")[0] for layer in around}
    # Channels routes protocols to Django and to consumers.
    return bool(inside & {"django", "channels"}) or hasattr(app, "application_mapping")


def _print_table(report: Report) -> None:
    try:
        # It is imported here, because fetch-crls must run if only click is installed.
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError as missing:
        raise Failure(
            f"arrcert routes needs {missing.name}; run: pip install 'arrcert[dev]', or write --json"
        ) from None
    # rich prints no colours into a pipe.
    console = Console(width=width_of(sys.stdout), highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for route in report.routes:
        style = "bold red" if route.is_open() else ""
        table.add_row(*(Text(cell, style=style) for cell in route.cells()))
    console.print(table)
    console.print()
    for line in notes(report):
        console.print(Text(line))
