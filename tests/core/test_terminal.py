"""Commands wrap lines in a terminal, and not in a pipe."""

from __future__ import annotations

import io
import os

import pytest

from arrcert.terminal import UNLIMITED, width_of


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_width_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines for a terminal have its width."""
    monkeypatch.delenv("COLUMNS", raising=False)
    size = os.terminal_size((72, 24))
    monkeypatch.setattr("arrcert.terminal.shutil.get_terminal_size", lambda: size)
    assert width_of(Terminal()) == 72


@pytest.mark.parametrize("columns", [None, "", "0", "wide", "-5"])
def test_no_width_without_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: str | None) -> None:
    """Lines for a file or a pipe are not wrapped."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert width_of(io.StringIO()) == UNLIMITED


def test_columns_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variable `COLUMNS` sets the width, with and without a terminal."""
    monkeypatch.setenv("COLUMNS", "50")
    assert [width_of(stream) for stream in (io.StringIO(), Terminal())] == [50, 50]
