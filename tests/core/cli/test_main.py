"""The command as `python -m arrcert.cli`."""

from __future__ import annotations

import runpy
import sys

import pytest

from arrcert.cli import __main__ as module


def test_module_runs_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m arrcert.cli` is the command, and its usage line shows that form."""
    monkeypatch.setattr(sys, "argv", ["__main__.py", "serve", "--help"])
    with pytest.raises(SystemExit) as caught:
        # pytest imports an installed arrcert with its own loader, and runpy cannot read code from
        # that.
        runpy.run_path(module.__file__, run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: python -m arrcert.cli serve [OPTIONS]")
