"""`make check-az` finds the commands to check, and refuses what the Azure CLI refuses."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parent / "check_az.py"
ROOT = CHECK.parent.parent.parent
FUNCTIONS = runpy.run_path(str(CHECK))

DOCUMENT = """
Sign in with `az login`; az here is prose.

```sh
az webapp show --name a \\
    --resource-group b   # a comment
id=$(az webapp show --name "$name" --query 'id' --output tsv)
az account show | az version && echo az no
```

```json
az not shell
```
"""


def test_finds_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Continued lines, substitutions, pipes and names in prose are found; JSON is not."""
    document = tmp_path / "document.md"
    document.write_text(DOCUMENT)
    monkeypatch.setitem(FUNCTIONS["commands_in"].__globals__, "ROOT", tmp_path)
    assert [tuple(command) for command in FUNCTIONS["commands_in"](document)] == [
        ("document.md:2", ["login", "--help"]),
        ("document.md:5", ["webapp", "show", "--name", "a", "--resource-group", "b"]),
        (
            "document.md:7",
            ["webapp", "show", "--name", "value", "--query", "id", "--output", "tsv"],
        ),
        ("document.md:8", ["account", "show"]),
        ("document.md:8", ["version"]),
    ]


def test_every_document_is_searched() -> None:
    """Commands are found in the deployment guide, the samples' README and the script."""
    places = {
        command.place.partition(":")[0]
        for pattern in FUNCTIONS["SOURCES"]
        for path in ROOT.glob(pattern)
        for command in FUNCTIONS["commands_in"](path)
    }
    assert {"docs/deploy.md", "sample_sites/README.md", "sample_sites/deploy.sh"} <= places


def test_the_real_parser() -> None:
    """The Azure CLI accepts every command of the documents, and refuses the controls."""
    python = os.environ.get("AZURE_CLI_PYTHON")
    if not python:
        pytest.skip("AZURE_CLI_PYTHON does not name a Python with azure-cli; run make check-az")
    subprocess.run([python, str(CHECK)], check=True, timeout=300)
