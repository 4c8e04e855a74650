"""Put every `az` command of the documents and scripts through the Azure CLI's own parser.

Run by `make check-az`, with the Python of an environment that holds `azure-cli`. The CLI is stopped
when it has parsed a command's arguments and before it runs anything, so nothing is signed in to and
nothing is asked of Azure. Whether values make sense to Azure is not checked.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
SOURCES = (
    "README.md",
    "docs/*.md",
    "sample_sites/README.md",
    "sample_sites/*/README.md",
    "sample_sites/*.sh",
)

# A shell's variable, with its default if it has one.
VARIABLE = re.compile(r"\$(?:\w+|\{\w+(?::-([^}]*))?\})")

# A smaller number means that the search misses commands.
FEWEST_COMMANDS = 10


class Command(NamedTuple):
    """An `az` command and where it is written."""

    place: str
    arguments: list[str]


class Parsed(BaseException):
    """The CLI has accepted a command's arguments. This exception stops it before it runs them."""


def commands_in(path: Path) -> Iterator[Command]:
    """Find the commands of a shell script, or of a document's shell blocks and inline code.

    Args:
        path: the file.

    Yields:
        Each command, with `value` for a shell's variables.

    It knows commands that begin a line or stand behind `$(`, `|`, `&&` or `;`.
    """
    text = path.read_text(encoding="utf-8")
    # A continued line becomes one line. Empty lines keep the line numbers right.
    text = re.sub(
        r"(?:[^\n]*\\\n)+[^\n]*",
        lambda found: found[0].replace("\\\n", " ") + "\n" * found[0].count("\n"),
        text,
    )
    is_shell = path.suffix == ".sh"
    in_block = False
    for number, line in enumerate(text.splitlines(), start=1):
        found: list[str] = []
        if not is_shell and line.startswith("```"):
            in_block = not in_block and line[3:].strip() in ("sh", "bash")
            continue
        if is_shell or in_block:
            found = re.findall(r"(?:^\s*|\$\(\s*|[|;&]\s*)(?=(az [a-z].*))", line)
        if not in_block:
            inline = re.findall(r"`(az [a-z][^`]*)`", line)
            # Prose names commands without their arguments, so the CLI shows the help of those that
            # exist.
            found += [code if " -" in code else f"{code} --help" for code in inline]
        for command in found:
            yield Command(f"{path.relative_to(ROOT)}:{number}", split(command))


def split(command: str) -> list[str]:
    """Split a command as a shell does, up to what ends it, and drop the word `az`."""
    words = shlex.shlex(command, posix=True, punctuation_chars="();<>|&")
    words.whitespace_split = True
    words.commenters = "#"
    arguments: list[str] = []
    for word in words:
        if word and set(word) <= set("();<>|&"):
            break
        word = VARIABLE.sub(lambda found: found[1] or "value", word)
        # `@file` makes the CLI read a file, which does not exist here.
        arguments.append("{}" if word.startswith("@") else word)
    return arguments[1:]


# The CLI's loggers keep the first stream that they find, so all commands share one.
_said = io.StringIO()


def refusal(arguments: list[str]) -> str:
    """Return why the Azure CLI refuses a command, or an empty text."""
    # Imported here, so that the other functions can be tested without azure-cli.
    from azure.cli.core import get_default_cli
    from knack.events import EVENT_INVOKER_POST_PARSE_ARGS

    def stop(_cli: object, **_arguments: object) -> None:
        raise Parsed

    cli = get_default_cli()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
    _said.seek(0)
    _said.truncate()
    try:
        with contextlib.redirect_stderr(_said), contextlib.redirect_stdout(_said):
            code = cli.invoke(arguments)
    except Parsed:
        return ""
    except SystemExit as exit_:
        code = exit_.code
    if code == 0 and "--help" in arguments:
        return ""
    said = [line for line in _said.getvalue().splitlines() if line.strip()]
    errors = [line for line in said if "ERROR" in line or "error" in line]
    return (errors or said or [f"the CLI ended with {code} and said nothing"])[0]


def main() -> int:
    """Print the table and return the exit code."""
    found = [
        command
        for pattern in SOURCES
        for path in sorted(ROOT.glob(pattern))
        for command in commands_in(path)
    ]
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "AZURE_CONFIG_DIR": folder,
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
            "AZURE_CORE_NO_COLOR": "true",
            "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        }
        # A parser that accepts everything proves nothing, so the controls must fail.
        for control in (
            "webapp deploy --name x --resource-group y --no-such-option z",
            "webapp no",
        ):
            if not refusal(control.split()):
                print(f"The CLI takes `az {control}`: this check is broken.")
                return 1
        refused = 0
        for place, arguments in found:
            why = refusal(arguments)
            refused += bool(why)
            print(f"{'REFUSED' if why else 'ok':8}{place:36}az {shlex.join(arguments)}")
            if why:
                print(f"{'':8}{why}")
    print(f"{len(found)} commands, {refused} refused.")
    if len(found) < FEWEST_COMMANDS:
        print(f"Fewer than {FEWEST_COMMANDS} commands were found: the search is broken.")
        return 1
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
