"""The command `manage.py arrcert_routes`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from arrcert.exceptions import ConfigurationError
from arrcert.routes import as_json, as_text, outcome
from arrcert.terminal import width_of
from arrcert_django.routes import report


class Command(BaseCommand):
    """Show who decides before each route."""

    help = (
        "Show for each route which policy is checked and who checks it, or that it is OPEN. Below"
        " the table are the layers around the site, and what is open on purpose."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="Print JSON.")
        parser.add_argument(
            "--fail-on-open",
            action="store_true",
            help="Exit with 1 if a route, middleware or wrapper is open, or cannot be judged, and"
            " is not allowed.",
        )
        parser.add_argument(
            "--allow",
            action="append",
            default=[],
            metavar="PATH",
            help="A path, or the name of a middleware or wrapper, that may be open, as the table"
            " shows it. '/folder/*' is every path below that folder. Repeat it for several.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Print the report.

        Raises:
            CommandError: the site refuses to serve.
            SystemExit: something is open, or the options are wrong.
        """
        try:
            found = report()
        except ConfigurationError as error:
            raise CommandError(f"the site refuses to serve: {error}", returncode=2) from error
        width = width_of(self.stdout)
        self.stdout.write(as_json(found) if options["json"] else as_text(found, width))
        lines, exit_code = outcome(
            found, fail_on_open=options["fail_on_open"], allowed=options["allow"]
        )
        for line in lines:
            self.stderr.write(line)
        if exit_code:
            raise SystemExit(exit_code)
