"""The facts that are found about the running gunicorn."""

from __future__ import annotations

import sys
import threading
from importlib.util import module_from_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from arrcert.forwarding import gunicorn
from arrcert.forwarding.gunicorn import (
    RunningGunicorn,
    gunicorn_hook_ran,
    gunicorn_speaks_proxy_protocol,
    running_gunicorn,
)


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the process look like one under gunicorn 27 that has found no facts yet."""
    module = ModuleType("gunicorn")
    module.version_info = (27, 0, 1)
    monkeypatch.setitem(sys.modules, "gunicorn", module)
    monkeypatch.setattr(gunicorn, "_known", None)
    monkeypatch.setattr(gunicorn, "_speaks_proxy_protocol", None)


def seen_from_worker(settings: object) -> RunningGunicorn:
    """Return what an app finds when a gunicorn worker with these settings calls it."""
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


def test_worker_that_imports_the_app_is_seen() -> None:
    """The settings are found during the import, when the worker is on the stack."""

    def load() -> ModuleType:
        # A separate module keeps the facts of this process unknown.
        spec = gunicorn.__spec__
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    code = "def init_process(self):\n    return load()\n"
    frame: dict[str, Any] = {"__name__": "gunicorn.workers.gthread", "load": load}
    exec(code, frame)
    settings = SimpleNamespace(header_map="dangerous", proxy_protocol=True)
    module = frame["init_process"](SimpleNamespace(cfg=settings))
    assert module.running_gunicorn().unsafe_setting == "header_map=dangerous"
    assert module.gunicorn_speaks_proxy_protocol()
    assert running_gunicorn().unsafe_setting == ""


def test_facts_are_found_once() -> None:
    """Facts that were found once stay known, even for code that no worker calls."""
    found = seen_from_worker(SimpleNamespace(header_map="dangerous"))
    assert running_gunicorn() is found


def test_search_is_repeated_until_the_settings_are_found() -> None:
    """Without a worker on the call stack, or without its settings, the next call looks again."""
    assert running_gunicorn() == RunningGunicorn(False, (27, 0, 1), "")
    assert seen_from_worker(None).unsafe_setting == ""
    dangerous = SimpleNamespace(header_map="dangerous")
    assert seen_from_worker(dangerous).unsafe_setting == "header_map=dangerous"


@pytest.mark.parametrize("module", [None, ModuleType("gunicorn")])
def test_version_may_be_unknown(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    """A gunicorn without a version has an empty one."""
    monkeypatch.setitem(sys.modules, "gunicorn", module)
    assert running_gunicorn().version == ()


def test_hook_replaces_what_was_known() -> None:
    """After the hook has run, the version and the settings do not matter."""
    seen_from_worker(SimpleNamespace(header_map="dangerous"))
    gunicorn_hook_ran()
    found = running_gunicorn()
    assert found.has_hook
    assert found.unsafe_setting == ""


def test_settings_are_found_from_another_thread() -> None:
    """An app that asks from another thread gets the settings from the worker's own thread."""
    found: list[RunningGunicorn] = []

    def ask_elsewhere() -> None:
        thread = threading.Thread(target=lambda: found.append(running_gunicorn()))
        thread.start()
        thread.join()

    code = "def handle_request(self):\n    ask()\n"
    frame: dict[str, Any] = {"__name__": "gunicorn.workers.gthread", "ask": ask_elsewhere}
    exec(code, frame)
    frame["handle_request"](SimpleNamespace(cfg=SimpleNamespace(header_map="dangerous")))
    assert [facts.unsafe_setting for facts in found] == ["header_map=dangerous"]


@pytest.mark.parametrize(
    ("version", "protocols", "is_unsafe"),
    [
        ((24, 1, 1), ["h2"], False),
        ((25, 0, 0), ["h2", "h1"], True),
        ((26, 1, 0), ["h2"], True),
        ((26, 1, 0), ["h1"], False),
        ((26, 2, 0), ["h2"], False),
        ((27, 0, 1), ["h2", "h1"], False),
    ],
)
def test_http2_of_some_versions_is_unsafe(
    version: tuple[int, ...], protocols: list[str], is_unsafe: bool
) -> None:
    """From 25.0 to 26.1 gunicorn applies no policy to the names of headers over HTTP/2."""
    sys.modules["gunicorn"].version_info = version
    found = seen_from_worker(SimpleNamespace(http_protocols=protocols))
    assert found.unsafe_setting == ("http_protocols=h2" if is_unsafe else "")


@pytest.mark.parametrize(
    ("mode", "speaks"),
    [(False, False), ("off", False), (True, True), ("auto", True), ("v2", True)],
)
def test_proxy_protocol_is_read_from_the_worker(mode: object, speaks: bool) -> None:
    """The setting is a boolean before gunicorn 24.1, and the name of a mode from 24.1 on."""
    assert not gunicorn_speaks_proxy_protocol()
    code = "def run(self):\n    return ask()\n"
    frame = {"__name__": "gunicorn.workers.gasgi", "ask": gunicorn_speaks_proxy_protocol}
    exec(code, frame)
    worker = SimpleNamespace(cfg=SimpleNamespace(proxy_protocol=mode))
    assert frame["run"](worker) is speaks
    assert gunicorn_speaks_proxy_protocol() is speaks


def test_proxy_protocol_is_found_once() -> None:
    """A gunicorn without the setting does not speak it, and what was found stays known."""
    code = "def run(self):\n    return ask()\n"
    frame: dict[str, Any] = {
        "__name__": "gunicorn.workers.gasgi",
        "ask": gunicorn_speaks_proxy_protocol,
    }
    exec(code, frame)
    assert not frame["run"](SimpleNamespace(cfg=SimpleNamespace()))
    assert not frame["run"](SimpleNamespace(cfg=SimpleNamespace(proxy_protocol=True)))
