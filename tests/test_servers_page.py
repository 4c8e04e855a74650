"""The page on servers shows the matrix that the tests run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "servers.md").read_text(encoding="utf-8")


def loaded(name: str) -> ModuleType:
    """Import a module of the end-to-end tests."""
    spec = importlib.util.spec_from_file_location(f"page_{name}", TESTS / "e2e" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table() -> str:
    """Return the table of the matrix that the page must show."""
    matrix = loaded("test_matrix")
    lines = ["| server | HAProxy | pass-through | the owner of the key |", "|---|---|---|---|"]
    for name, server in matrix.SERVERS.items():
        behind = "0" if ("pass-through", name) in matrix.PAIRS else "-"
        if not server.serves:
            owner = "refused"
        elif server.websocket == "misconfigured":
            owner = "enters over HTTP, WebSocket is refused"
        else:
            owner = "enters over HTTP" + (" and WebSocket" if server.websocket else "")
        if server.serves and server.loose and not server.link:
            owner += "; refused behind the pass-through"
        lines.append(f"| {name} | 0 | {behind} | {owner} |")
    return "\n".join(lines)


def test_table_of_the_matrix() -> None:
    """The table has a row for each server of the matrix, with the result that the tests assert."""
    assert table() in PAGE


def test_number_of_forms() -> None:
    """The page states the number of forms that are sent, and of servers that receive them."""
    conftest, matrix = loaded("conftest"), loaded("test_matrix")
    forms = len(conftest.SMUGGLED) + len(conftest.SPLIT) + len(conftest.NEXT)
    assert forms >= 60
    assert f"\nThe matrix has {len(matrix.SERVERS)} servers." in PAGE
    found = re.search(r"(\d+) forms over HTTP/1\.1, .* (\d+) forms over HTTP/2", PAGE)
    assert found is not None
    assert (int(found[1]), int(found[2])) == (forms, len(matrix.OVER_HTTP2))
