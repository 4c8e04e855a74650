"""Reads the settings of a site for the command: from the environment, a file or an app."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from arrcert.authorizer import Authorizer
from arrcert.cli.apps import Failure, import_module, load_app
from arrcert.exceptions import ConfigurationError, quote
from arrcert.forwarding.front_ends import FrontEnd
from arrcert.notation import Notation
from arrcert.policy import Policy
from arrcert.rules import KEYS
from arrcert.settings import Settings, load
from arrcert.settings.contents import parsed, unsealed
from arrcert.settings.environment import UnusableError, json_value, value_of
from arrcert.settings.file import read_generation
from arrcert.settings.names import EXAMPLE, FLAT, POLICIES
from arrcert.settings.options import FrontEndOption


class Site(NamedTuple):
    """The configuration of a site.

    Attributes:
        policies: each policy's name and its alternatives, in order.
        front_end: the front end before the site.
        language: how the settings are written: `python`, `json`, `flat` or `toml`.
        written: the value of `ARRCERT` as it is written; None if the policies are made in code.
        folder: the folder to which the paths in a file are relative; None without a file.
    """

    policies: Mapping[str, Sequence[Policy]]
    front_end: FrontEnd
    language: str
    written: Mapping[str, Any] | None
    folder: Path | None = None


def site_of_environment() -> Site:
    """Return the site that the environment variables describe.

    Raises:
        Failure: the settings have mistakes, or there are none.
    """
    return _loaded({}, os.environ)


def site_of_file(path: Path) -> Site:
    """Return the site with the policies of a TOML file; the front end is the environment's.

    Args:
        path: the file. Paths in it are relative to its folder.

    Raises:
        Failure: the file cannot be read, or the settings have mistakes.
    """
    try:
        text, _ = unsealed(path.read_bytes())
        generation = read_generation(text, os.path.realpath(path), hashlib.sha256(text).hexdigest())
    except OSError as error:
        raise Failure(f"--file: cannot read {quote(path)}: {error.strerror}") from error
    except ValueError as error:
        raise Failure(f"--file: {quote(path)} {error}") from error
    except ConfigurationError as error:
        raise Failure(str(error)) from error
    front_end = FrontEndOption.default
    text_of_variable = os.environ.get(FrontEndOption.name)
    if text_of_variable is not None:
        option = FrontEndOption
        try:
            value = value_of(text_of_variable, option.form, option.example)
            front_end = option.read(value, Notation.JSON)
        except UnusableError as error:
            raise Failure(f"{option.name}: {error}") from error
        except ConfigurationError as error:
            raise Failure(str(error)) from error
    return _in_file(Site(generation.policies, front_end, "toml", None), generation.path, text)


def site_of_app(reference: str) -> Site:
    """Return the site that an app configures.

    Args:
        reference: `MODULE:APP` of a Flask or FastAPI app, of Django's WSGI or ASGI application, or
            of an app in a middleware of arrcert; or the settings module of a Django site.

    Raises:
        Failure: the app cannot be imported, or is not configured with arrcert.
    """
    if ":" not in reference:
        module = import_module(reference, "app")
        # Django reads the same names of the module.
        names = [name for name in dir(module) if name.isupper() and name.startswith(POLICIES)]
        return _loaded({name: getattr(module, name) for name in names}, os.environ)
    app: Any = load_app(reference)
    while app is not None:
        extension = getattr(app, "extensions", {}).get("arrcert")
        authorizer = getattr(app if extension is None else extension, "authorizer", None)
        if isinstance(authorizer, Authorizer):
            return _of_authorizer(
                authorizer, getattr(app, "config", {}), getattr(extension, "settings", None)
            )
        state = getattr(app, "state", None)
        authorizer = getattr(state, "arrcert", None)
        if isinstance(authorizer, Authorizer):
            return _of_authorizer(
                authorizer,
                getattr(state, "arrcert_written", {}),
                getattr(state, "arrcert_settings", None),
            )
        # Django's application object does not have the settings, but the package of Django has
        # them. The core never imports a framework, but the app has already imported it.
        if type(app).__module__.startswith("django.core.handlers."):
            settings = sys.modules["django.conf"].settings
            names = [name for name in dir(settings) if name.startswith(POLICIES)]
            return _loaded({name: getattr(settings, name) for name in names}, os.environ)
        app = getattr(app, "app", None)
    raise Failure(
        f"{reference!r} is not configured with arrcert; write a Flask or FastAPI app with"
        " Arrcert(app), Django's application or settings module, or leave --app out for the"
        " environment"
    )


def _of_authorizer(
    authorizer: Authorizer, config: Mapping[str, Any], settings: Settings | None
) -> Site:
    if not authorizer.policies:
        raise Failure("the app has no policies, and denies every request; set ARRCERT")
    ours = {name: value for name, value in config.items() if name == POLICIES}
    written, language = _written(ours, os.environ)
    site = Site(authorizer.policies, authorizer.front_end, language, written)
    return site if settings is None else _of_settings(site, settings)


def _loaded(framework: Mapping[str, Any], environ: Mapping[str, str]) -> Site:
    try:
        settings: Settings = load(framework, environ)
    except ConfigurationError as error:
        raise Failure(str(error)) from error
    written, language = _written(framework, environ)
    site = Site(settings.policies, settings.ingress.front_end, language, written)
    return _of_settings(site, settings)


def _of_settings(site: Site, settings: Settings) -> Site:
    """Return a site with the content of its file of policies, if it has one."""
    if settings.file is None:
        return site
    path = settings.file.current().path
    text, _ = unsealed(Path(path).read_bytes())
    return _in_file(site._replace(policies=settings.file.current().policies), path, text)


def _written(
    framework: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[Mapping[str, Any] | None, str]:
    """Return the value of `ARRCERT`, which is already validated, and how it is written."""
    if POLICIES in framework:
        return framework[POLICIES], "python"
    if POLICIES in environ:
        return json_value(environ[POLICIES], EXAMPLE), "json"
    flat = {
        key: value_of(environ[name], KEYS[key].form, "")
        for name, key in FLAT.items()
        if name in environ
    }
    return ({"default": flat}, "flat") if flat else (None, "python")


def _in_file(site: Site, path: str, text: bytes) -> Site:
    """Return a site whose policies are written in a file."""
    folder = Path(path).parent
    return site._replace(language="toml", written=parsed(text), folder=folder)
