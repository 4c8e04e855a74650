"""What is known of the running gunicorn."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from arrcert.forwarding import gunicorn
from arrcert.forwarding.gunicorn import RunningGunicorn, gunicorn_hook_ran, running_gunicorn


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that runs under gunicorn 27 and knows nothing of it yet."""
    module = ModuleType("gunicorn")
    module.version_info = (27, 0, 1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gunicorn", module)
    monkeypatch.setattr(gunicorn, "_known", None)


def seen_from_worker(settings: object) -> RunningGunicorn:
    """Return what an app finds out if a gunicorn worker with these settings calls it."""
    code = "def handle_request(self):\n    return ask()\n"
    frame: dict[str, Any] = {"__name__": "gunicorn.workers.sync", "ask": running_gunicorn}
    exec(code, frame)
    found: RunningGunicorn = frame["handle_request"](SimpleNamespace(cfg=settings))
    return found


@pytest.mark.parametrize(
    ("settings", "unsafe_setting"),
    [
        ({"header_map": "drop", "forwarder_headers": ["SCRIPT_NAME", "PATH_INFO"]}, ""),
        ({"header_map": "refuse", "forwarder_headers": ["REMOTE_USER"]}, ""),
        ({"header_map": "dangerous"}, "header_map=dangerous"),
        ({"forwarder_headers": ["SCRIPT_NAME", "*"]}, "forwarder_headers=*"),
        ({"forwarder_headers": ["X_B", "X_A"]}, "forwarder_headers=X_A,X_B"),
        ({}, ""),
    ],
)
def test_settings_of_the_worker_are_found(settings: dict[str, Any], unsafe_setting: str) -> None:
    """The setting that lets underscores pass is read from the worker on the call stack."""
    found = seen_from_worker(SimpleNamespace(**settings))
    assert found == RunningGunicorn(
        has_hook=False, version=(27, 0, 1), unsafe_setting=unsafe_setting
    )


def test_facts_are_found_once() -> None:
    """Facts that were found stay known, also to code that no worker calls."""
    found = seen_from_worker(SimpleNamespace(header_map="dangerous"))
    assert running_gunicorn() is found


def test_search_is_repeated_until_the_settings_are_found() -> None:
    """Without a worker on the call stack, or without its settings, the next call looks again."""
    assert running_gunicorn().unsafe_setting == ""
    assert seen_from_worker(None).unsafe_setting == ""
    dangerous = SimpleNamespace(header_map="dangerous")
    assert seen_from_worker(dangerous).unsafe_setting == "header_map=dangerous"


@pytest.mark.parametrize("module", [None, ModuleType("gunicorn")])
def test_version_may_be_unknown(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    """A gunicorn without a version has an empty one."""
    monkeypatch.setitem(sys.modules, "gunicorn", module)
    assert running_gunicorn().version == ()


def test_hook_replaces_what_was_known() -> None:
    """After the hook ran, the version and the settings no longer matter."""
    seen_from_worker(SimpleNamespace(header_map="dangerous"))
    gunicorn_hook_ran()
    found = running_gunicorn()
    assert found.has_hook
    assert found.unsafe_setting == ""
