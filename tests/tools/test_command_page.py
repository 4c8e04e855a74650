"""The page of the command line."""

from __future__ import annotations

from pathlib import Path

from arrcert.cli import main
from tools import command_page

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def test_page_holds_the_help_of_each_command() -> None:
    """docs/cli.md equals the output of the generator, except for the line breaks of click."""
    assert "".join(PAGE.split()) == "".join(command_page.page().split())


def test_no_command_is_left_out() -> None:
    """The page has a section for every command."""
    assert set(command_page.GUIDES) == set(main.commands)
