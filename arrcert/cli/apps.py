"""Loads the app that a command names, and explains why an app cannot be loaded."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import click

from arrcert.exceptions import ConfigurationError


class Failure(click.ClickException):
    """An error of the command: one line on stderr, and exit code 2."""

    exit_code = 2


def load_app(reference: str) -> Any:
    """Return the WSGI or ASGI app that a reference names, seen from the current directory.

    Args:
        reference: `MODULE:APP` as gunicorn takes it (`shop.wsgi:app`), or `MODULE:FACTORY()` for a
            factory without arguments (`shop:create_app()`).

    Raises:
        Failure: the reference has another form, the module or the app does not exist, the app
            raises an exception, or it is neither a WSGI app (PEP 3333) nor an ASGI app.

    It does not call the app.
    """
    module_name, _, attribute = reference.partition(":")
    name = attribute.removesuffix("()")
    if not _is_reference(module_name, name):
        raise Failure(f"{reference!r} is not MODULE:APP; {_what_was_meant(module_name, attribute)}")
    module = import_module(module_name, attribute)
    if not hasattr(module, name):
        raise Failure(f"module {module_name!r} has no {name!r}{_apps_in(module, module_name)}")
    app = getattr(module, name)
    if attribute != name:
        with failures_of_the_app(
            f"calling {reference!r}", f"import {module_name}; {module_name}.{attribute}"
        ):
            app = app()
    if not takes_asgi_arguments(app) and not takes_wsgi_arguments(app):
        raise Failure(
            f"{reference!r} takes neither the arguments of a WSGI app, environ and start_response,"
            " nor those of an ASGI app; write a factory with parentheses: 'shop:create_app()'"
        )
    return app


def takes_asgi_arguments(app: object) -> bool:
    """Return whether an object is a coroutine function that takes scope, receive and send.

    Args:
        app: any object.
    """
    if not callable(app):
        return False
    is_async = inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(app.__call__)
    return is_async and _can_be_called(app, {}, None, None)


def takes_wsgi_arguments(app: object) -> bool:
    """Return whether an object can be called with environ and start_response (PEP 3333).

    The answer is also True for an object without a signature, such as a function that is written in
    C.

    Args:
        app: any object.
    """
    return callable(app) and _can_be_called(app, {}, None)


def _can_be_called(app: Callable[..., object], *arguments: object) -> bool:
    try:
        inspect.signature(app).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # It has no signature; it may be written in C.
        pass
    return True


def _is_reference(module_name: str, name: str) -> bool:
    return name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))


def _what_was_meant(module_name: str, attribute: str) -> str:
    module, app = _dotted(module_name), attribute or "app"
    if _is_reference(module, app.removesuffix("()")):
        return f"did you mean '{module}:{app}'?"
    return "such as 'shop.wsgi:app' or 'shop:create_app()'"


def _dotted(module_name: str) -> str:
    """Return the path of a file as the name of a module."""
    return module_name.removeprefix("./").removesuffix(".py").replace("/", ".").replace("\\", ".")


def import_module(module_name: str, attribute: str) -> ModuleType:
    """Import a module, as Python does in the current directory.

    Args:
        module_name: its name, as in an import statement.
        attribute: the app in it, for the error.

    Raises:
        Failure: there is no such module, or its code raises an exception.
    """
    sys.path.insert(0, os.getcwd())
    with failures_of_the_app(f"importing {module_name!r}", f"import {module_name}"):
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if not f"{module_name}.".startswith(f"{error.name}."):
                raise  # The module exists, but something that it imports does not.
            hint = (
                f"write '{_dotted(module_name)}:{attribute}'"
                if module_name != _dotted(module_name)
                else "write it as in an import statement that runs in the current directory"
            )
            raise Failure(f"no module named {module_name!r}; {hint}") from error


@contextlib.contextmanager
def failures_of_the_app(action: str, statement: str) -> Iterator[None]:
    """Turn any exception of the app's code into a Failure.

    Args:
        action: what is being done, for the message: `importing 'shop'`.
        statement: a Python statement that raises the same exception, for the message.
    """
    try:
        yield
    except click.ClickException:
        raise
    except ConfigurationError as error:
        raise Failure(str(error)) from error
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise Failure(
            f'{action} failed: {text}; run python -c "{statement}" to see the traceback'
        ) from error


def _apps_in(module: ModuleType, module_name: str) -> str:
    """Return the end of a message that names the objects of a module that look like an app."""
    names = [name for name in ("app", "application") if callable(getattr(module, name, None))]
    factories = ("create_app", "make_app")
    names += [f"{name}()" for name in factories if callable(getattr(module, name, None))]
    return f"; it has {' and '.join(f'{module_name}:{name}' for name in names)}" if names else ""
