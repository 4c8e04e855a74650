"""The app that a command loads, and the errors for an app that cannot be loaded."""

from __future__ import annotations

import importlib
import textwrap
from typing import Any

import pytest

from arrcert.cli.apps import Failure, load_app, takes_asgi_arguments, takes_wsgi_arguments

APP = """
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]
"""


def failure_of(reference: str) -> str:
    """Load an app, which must fail, and return the message, which must be one line."""
    with pytest.raises(Failure) as caught:
        load_app(reference)
    message = caught.value.format_message()
    assert "\n" not in message
    return message


def test_an_app(make_module: Any) -> None:
    """MODULE:APP is the app of a module in the current directory."""
    module = make_module(APP)
    assert load_app(f"{module}:app") is importlib.import_module(module).app


def test_a_factory(make_module: Any) -> None:
    """MODULE:FACTORY() is what the factory returns."""
    module = make_module(f"{textwrap.dedent(APP)}\ndef create_app(): return app\n")
    assert load_app(f"{module}:create_app()") is importlib.import_module(module).app


@pytest.mark.parametrize("reference", [":app", "shop:app:app", "shop:app.x", ".shop:app", ""])
def test_a_reference_of_another_form(make_module: Any, reference: str) -> None:
    """A reference of another form is refused with an example of the right form."""
    assert "is not MODULE:APP; such as 'shop.wsgi:app'" in failure_of(reference)


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("app", "app:app"),
        ("app.py", "app:app"),
        ("shop:", "shop:app"),
        ("a/b:app", "a.b:app"),
        ("./a/b.py:create_app()", "a.b:create_app()"),
        ("a\\b.py", "a.b:app"),
    ],
)
def test_what_was_meant(make_module: Any, reference: str, meant: str) -> None:
    """For the path of a file, or a module alone, the error shows the reference that was meant."""
    error = failure_of(reference)
    assert f"did you mean '{meant}'?" in error or f"write '{meant}'" in error


@pytest.mark.parametrize("module", ["no_such_module", "no_such_package.module", "json.nothing"])
def test_a_missing_module(make_module: Any, module: str) -> None:
    """The error about a missing module has the module's name as the user wrote it."""
    assert f"no module named '{module}'; write it as in" in failure_of(f"{module}:app")


def test_a_file_name_instead_of_a_module(make_module: Any) -> None:
    """For a module with the suffix .py, the error shows the name without it."""
    module = make_module(APP)
    error = failure_of(f"{module}.py:app")
    assert error == f"no module named '{module}.py'; write '{module}:app'"


def test_a_missing_attribute(make_module: Any) -> None:
    """If the module has no such app, the error names the apps that it has."""
    module = make_module("application = 1\ndef make_application(): ...")
    assert failure_of(f"{module}:ap") == f"module '{module}' has no 'ap'"
    module = make_module(f"{textwrap.dedent(APP)}\ndef create_app(): return app\n")
    assert failure_of(f"{module}:application") == (
        f"module '{module}' has no 'application'; it has {module}:app and {module}:create_app()"
    )


@pytest.mark.parametrize("name", ["function", "instance"])
def test_an_asgi_app(make_module: Any, name: str) -> None:
    """MODULE:APP may be an ASGI app: a function or an object."""
    module = make_module(
        """
        async def function(scope, receive, send): ...
        class Handler:
            async def __call__(self, scope, receive, send): ...
        instance = Handler()
        """
    )
    app = load_app(f"{module}:{name}")
    assert app is getattr(importlib.import_module(module), name)
    assert takes_asgi_arguments(app)


@pytest.mark.parametrize("name", ["number", "factory", "coroutine"])
def test_what_is_no_app(make_module: Any, name: str) -> None:
    """An object that is neither a WSGI nor an ASGI app is refused, with a hint for factories."""
    module = make_module(
        """
        number = 1
        def factory(): ...
        async def coroutine(): ...
        """
    )
    error = failure_of(f"{module}:{name}")
    assert "takes neither the arguments of a WSGI app" in error
    assert "write a factory with parentheses" in error


def test_a_callable_without_a_signature() -> None:
    """A callable without a signature may be a WSGI app."""
    assert takes_wsgi_arguments(vars)


def test_a_missing_module_inside(make_module: Any) -> None:
    """If the module imports a missing module, the error names both and how to see the traceback."""
    module = make_module("import module_that_is_missing")
    error = failure_of(f"{module}:app")
    assert f"importing '{module}' failed" in error
    assert "No module named 'module_that_is_missing'" in error
    assert f'run python -c "import {module}" to see the traceback' in error


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
        ("x = (", "SyntaxError: '(' was never closed"),
    ],
)
def test_a_module_that_raises(make_module: Any, source: str, what: str) -> None:
    """Every exception during the import becomes one line."""
    assert what in failure_of(f"{make_module(source)}:app")


def test_a_factory_that_raises(make_module: Any) -> None:
    """An exception of a factory is not reported as an exception of the import."""
    module = make_module("def create_app(): return 1 / 0")
    error = failure_of(f"{module}:create_app()")
    assert f"calling '{module}:create_app()' failed: ZeroDivisionError" in error
    assert f'python -c "import {module}; {module}.create_app()"' in error


@pytest.mark.parametrize("attribute", ["app", "create_app()"])
def test_a_mistake_in_arrcerts_settings(make_module: Any, attribute: str) -> None:
    """A ConfigurationError is shown unchanged, because it says what to change."""
    fault = "raise ConfigurationError([Problem('ARRCERT', 'is empty')])"
    module = make_module(
        f"""
        from arrcert.exceptions import ConfigurationError, Problem
        def create_app(): {fault}
        if {attribute == "app"}: {fault}
        """
    )
    assert failure_of(f"{module}:{attribute}") == "ARRCERT: is empty"
