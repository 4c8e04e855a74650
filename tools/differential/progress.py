"""The progress of a run: a bar on a terminal, otherwise a line every twenty seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

SECONDS_BETWEEN_LINES = 20.0
"""The seconds between two lines, if the output is not a terminal."""


class Progress:
    """A context manager that shows the progress.

    Args:
        total: the number of chains in the run.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._printed = time.monotonic()
        self._bar: Any = None
        if sys.stdout.isatty():
            try:
                from rich import progress
            except ImportError:
                return
            self._bar = progress.Progress(
                "{task.description}",
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
            )
            self._task = self._bar.add_task("chains", total=total)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, chains: int, failures: int) -> None:
        """Show that more chains are done.

        Args:
            chains: the number of chains since the last call.
            failures: the number of verdicts in the whole run that nothing explains.
        """
        self._done += chains
        if self._bar:
            text = f"chains, {failures} unexplained"
            self._bar.update(self._task, advance=chains, description=text)
        elif time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            print(
                f"{self._done:,} of {self._total:,} chains, {failures} unexplained",
                flush=True,
            )
