"""The page docs/cli.md, generated from the commands' own help.

python tools/command_page.py            print the page
python tools/command_page.py --write    write docs/cli.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import click

from arrcert.cli import main as arrcert

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
COLUMNS = 80

HEAD = (
    "# Command line\n"
    "\n"
    "The command `arrcert` comes with the extra `dev`. A site does not need it in production,"
    " except for `arrcert install-file` and `arrcert fetch-crls`, which need only `click`."
    " `arrcert COMMAND --help` prints what stands here.\n"
    "\n"
    "Flask and Django have a command of their own: `flask arrcert-routes` and"
    " `manage.py arrcert_routes` ([the route audit](routes.md)).\n"
)
GUIDES = {
    "serve": "[Try it on your machine](local.md)",
    "explain": "[Why may this certificate enter?](explain.md)",
    "probe": "[Probing a deployed site](probe.md)",
    "routes": "[Which routes are open?](routes.md)",
    "fetch-crls": "[Revocation](revocation.md#fetching-lists)",
    "install-file": "[Partners in a file](partners-file.md#change-it)",
}
"""The page with examples of each command, in the order of this page."""


def help_of(name: str) -> str:
    """Return the help of a command, in 80 columns."""
    command = arrcert.commands[name]
    parent = click.Context(arrcert, info_name="arrcert")
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=COLUMNS, max_content_width=COLUMNS
    )
    return command.get_help(context)


def page() -> str:
    """Return the whole page as Markdown."""
    sections = [
        f"## arrcert {name}\n\n{guide} shows it at work.\n\n```text\n{help_of(name)}\n```\n"
        for name, guide in GUIDES.items()
    ]
    return "\n".join([HEAD, *sections])


def main() -> int:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write docs/cli.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
