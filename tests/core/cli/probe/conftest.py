"""Fixtures that the tests of the probe share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from click.testing import CliRunner

from arrcert.cli.commands import main
from arrcert.testing import IssuedCertificate

ROOT = Path(__file__).parents[4]


class Probed(NamedTuple):
    """The output of the command.

    Attributes:
        exit_code: of the command.
        rows: by the title of their check, without its number.
        verdict: over all.
        announced: what was printed before.
    """

    exit_code: int
    rows: dict[str, dict[str, str]]
    verdict: str
    announced: str

    @property
    def entries(self) -> set[str]:
        """The titles of the checks that found an entry."""
        return {title for title, row in self.rows.items() if row["verdict"] == "entry"}


@pytest.fixture(scope="session")
def client_files(tmp_path_factory: pytest.TempPathFactory, alice: IssuedCertificate) -> list[str]:
    """The options that name Alice's certificate and key."""
    folder = tmp_path_factory.mktemp("alice")
    (folder / "alice.pem").write_bytes(alice.certificate_pem)
    (folder / "alice.key").write_bytes(alice.private_key_pem)
    return [f"--cert={folder / 'alice.pem'}", f"--key={folder / 'alice.key'}"]


@pytest.fixture(scope="session")
def probe(client_files: list[str]) -> Callable[..., Probed]:
    """A function that probes a URL quickly, and validates its JSON by the documented schema."""
    schema = json.loads((ROOT / "docs" / "probe.schema.json").read_text())

    def probe(url: str, *arguments: str) -> Probed:
        words = ["probe", url, *client_files, "--rate=1000", "--json", *arguments]
        if not any(word.startswith("--cacert") for word in arguments):
            words.append("--insecure")
        result = CliRunner().invoke(main, words)
        assert not isinstance(result.exception, Exception), result.exception
        report: dict[str, Any] = json.loads(result.stdout)
        jsonschema.validate(report, schema)
        rows = {row["check"].partition(" ")[2]: row for row in report["rows"]}
        return Probed(result.exit_code, rows, report["verdict"], result.stderr)

    return probe
