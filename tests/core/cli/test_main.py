"""The command as `python -m arrcert.cli`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from arrcert import cli


def test_module_runs_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m arrcert.cli` is the command, and its usage line shows that form."""
    monkeypatch.setattr(sys, "argv", ["__main__.py", "serve", "--help"])
    with pytest.raises(SystemExit) as caught:
        # pytest loads the modules of an installed arrcert itself, and runpy cannot ask it for code.
        runpy.run_path(str(Path(cli.__file__).with_name("__main__.py")), run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: python -m arrcert.cli serve [OPTIONS]")
