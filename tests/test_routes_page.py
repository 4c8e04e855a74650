"""The page on the route audit is correct: its commands print what it shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = {"arrcert": "arrcert.cli", "flask": "flask"}


class Reader:
    """A reader who types the commands of the page, in a folder with its `app.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")
        }
        inherited = self.environ.get("PYTHONPATH", "")
        self.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), inherited]))
        self.environ.pop("COLUMNS", None)
        [app] = [text for language, text in BLOCKS if "app = Flask" in text]
        (folder / "app.py").write_text(app)

    def types(self, line: str) -> subprocess.CompletedProcess[str] | None:
        """Run a line: keep the variables that it exports, or return the result of the command."""
        command, _, expected = line.partition("#")
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.environ[name] = value
            return None
        if words[0] == "unset":
            del self.environ[words[1]]
            return None
        done = subprocess.run(
            [sys.executable, "-m", COMMANDS[words[0]], *words[1:]],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == int(expected or 0), done.stderr
        return done


def test_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    """Each command ends with the exit code in its comment, and prints the block after it."""
    reader = Reader(tmp_path)
    last: list[subprocess.CompletedProcess[str]] = []
    shown = 0
    for language, text in BLOCKS:
        if language == "sh":
            done = [reader.types(line) for line in text.splitlines()]
            last = [one for one in done if one is not None]
        elif language == "text":
            assert any(text in (one.stdout, one.stderr) for one in last), text
            shown += 1
    assert shown == 3
    assert json.loads(last[-1].stdout)["routes"][-1]["verdict"] == "open"


def test_words_of_the_page() -> None:
    """The page explains each verdict, and each effect of a layer."""
    from arrcert.routes import Effect, Verdict

    for verdict in Verdict:
        assert verdict is Verdict.PROTECTED or f"`{verdict}`".lower() in PAGE.lower()
    for effect in Effect:
        assert f"`{effect}`" in PAGE
