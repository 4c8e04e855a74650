"""The output for people: the announcement, the progress and the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from arrcert.cli.probe.report import Report, Row, Verdict
from arrcert.exceptions import quote
from arrcert.invisible import is_visible

WIDTH = 80
"""The width in characters if the output is not a terminal."""

_WIDEST = 120

# These are colours of the terminal's own theme, so that they fit a light and a dark background.
_STYLES = {
    Verdict.OK: "green",
    Verdict.ENTRY: "bold red",
    Verdict.NOTE: "bold magenta",
    Verdict.UNKNOWN: "bold",
}


def output() -> Console:
    """Return the console for the report. It prints no colours if stdout is not a terminal."""
    return _console(Console(highlight=False, markup=False, emoji=False))


def errors() -> Console:
    """Return the console for the announcement and the progress."""
    return _console(Console(stderr=True, highlight=False, markup=False, emoji=False))


def _console(console: Console) -> Console:
    console.width = min(console.width, _WIDEST) if console.is_terminal else WIDTH
    return console


def announce(console: Console, url: str, *, requests: int, rate: float, posts: int) -> None:
    """Print which requests the probe is going to send.

    Args:
        console: the console to print on.
        url: the URL of the page.
        requests: the largest number of requests.
        rate: the largest number of requests in a second.
        posts: the number of POSTs with the allowed certificate.
    """
    seconds = max(1, round(requests / rate))
    console.print(
        f"arrcert probe tests {_visible(url)} from outside.\n\n"
        f"It sends at most {requests} requests, one at a time and at most {rate:g} a second:"
        f" about {_duration(seconds)}. {posts} of them are POSTs with your certificate and a"
        " body of meaningless bytes.\n\n"
        "It presents your certificate, and certificates of strangers that it makes for this run."
        " Some requests are malformed, but none of them is request smuggling. No bytes of the probe"
        " can become part of another client's request, so other sites behind the same front"
        " end are not disturbed.\n"
    )


def _duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{round(seconds / 60)} minutes"


class Bar:
    """The progress bar while the checks run. It is not shown if stderr is not a terminal.

    Args:
        console: the console to print on.
        checks: the number of rows.
    """

    def __init__(self, console: Console, checks: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("calibration", total=checks)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()

    def advance(self, row: Row) -> None:
        """Show that a check is done.

        Args:
            row: the row of the check.
        """
        self._progress.update(self._task, description=f"{row.check:30.30}", advance=1)


def show(console: Console, report: Report) -> None:
    """Print the table, the verdict, and what to look for in the site's log.

    Args:
        console: the console to print on.
        report: the report of the run.
    """
    console.print(_table(report.rows, console))
    console.print()
    style = {0: "bold green", 1: "bold red", 2: "bold"}[report.exit_code]
    console.print(Text(f"{_visible(_capital(report.verdict))}.", style=style))
    if report.no_calibration:
        return
    console.print()
    console.print(_LEGEND)
    console.print()
    console.print(_what_to_look_for(report.rows))


_LEGEND = (
    "alone: your certificate in the header, and none in TLS. beside: your certificate in the"
    " header, and a stranger's in TLS. reversed: a stranger's certificate in the header, and yours"
    " in TLS. CERT is a certificate in the encoding of the front end."
)


def _table(rows: Sequence[Row], console: Console) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), width=console.width, show_edge=False)
    table.add_column("Verdict", width=7)
    table.add_column("Check, and what was sent", ratio=3, overflow="fold")
    table.add_column("What came, and what it means", ratio=4, overflow="fold")
    for row in rows:
        style = _STYLES[row.verdict]
        is_entry = row.verdict is Verdict.ENTRY
        check = Text(f"{row.check}\n", style=style if is_entry else "bold")
        check.append(_visible(row.sent), style="not bold" if not is_entry else "")
        came = Text(f"{_visible(row.got)}\n{row.meaning}", style=style if is_entry else "")
        table.add_row(Text(row.verdict, style=style), check, came)
    return table


def _what_to_look_for(rows: Sequence[Row]) -> str:
    shown = [row for row in rows if row.verdict is Verdict.ENTRY]
    shown = shown or [row for row in rows if row.verdict is Verdict.NOTE]
    numbers = ", ".join(f'"arrcert probe {row.check[:2]}"' for row in (shown or rows)[:3])
    return (
        f"In the site's log, look for {numbers}: the common names of the strangers begin with"
        ' this. A record whose name ends with "stranger in TLS" shows what the front end wrote into'
        ' the header. A record with "stranger in header", or with `ambiguous` or `malformed` at the'
        " same time, shows that the client's header reached the site. For requests without a"
        " certificate, look for the check in the user agent."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _visible(text: str) -> str:
    """Return text without bytes that a terminal obeys."""
    if is_visible(text):
        return text
    return quote(text)[1:-1]


def write_json(text: str) -> None:
    """Print only JSON on stdout.

    Args:
        text: the document.
    """
    sys.stdout.write(f"{text}\n")
