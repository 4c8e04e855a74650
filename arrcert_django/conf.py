"""The current configuration, read from Django's settings and the environment."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from arrcert.authorizer import Authorizer
from arrcert.settings import Served, Settings, load

__all__ = [
    "Snapshot",
    "build",
    "current",
    "framework_settings",
    "refresh",
    "served_folders",
    "setting",
]

_PREFIX = "ARRCERT"
_SERVED = ("MEDIA_ROOT", "STATIC_ROOT", "STATICFILES_DIRS")
"""The settings with folders whose files visitors can read, or to which they upload files."""


class Snapshot(NamedTuple):
    """The configuration at one time. It is immutable.

    Attributes:
        authorizer: decides about certificates.
        settings: the settings that the authorizer was made from.
        source: the object that `settings.ARRCERT` was when it was read, or None.
        generation: a marker. `current` compares it to notice changed settings.
    """

    authorizer: Authorizer
    settings: Settings
    source: object
    generation: object


# Django caches here what was read from `settings`, and removes it when the setting changes.
_kept: dict[str, Any] = object.__getattribute__(settings, "__dict__")
_generation: object = object()
_snapshot: Snapshot | None = None


def build() -> Snapshot:
    """Read the current configuration, without storing it.

    Raises:
        ConfigurationError: lists all mistakes in the configuration.

    Source: docs/settings.md. It does not check `MIDDLEWARE`.
    """
    # Get the generation before the settings are read. If the settings change meanwhile, the
    # snapshot is out of date, and `current` replaces it.
    generation = _generation
    ours = framework_settings()
    loaded = load(
        ours,
        os.environ,
        debug=settings.DEBUG,
        protect_all_by_default=True,
        served=served_folders(),
        others=dir(settings),
    )
    return Snapshot(Authorizer.from_settings(loaded), loaded, ours.get(_PREFIX), generation)


def refresh() -> Snapshot:
    """Read the configuration again, with the environment, and use it for requests.

    Raises:
        ConfigurationError: lists all mistakes in the configuration.
    """
    global _snapshot
    # Other threads need no lock, because this is one assignment of an immutable value.
    _snapshot = snapshot = build()
    return snapshot


def current() -> Snapshot:
    """Return the current configuration. It is read again only if the settings changed.

    Raises:
        ConfigurationError: lists all mistakes in the configuration. The next call reads it again.

    It notices changed settings (`override_settings`, an assignment to `settings.ARRCERT`). It does
    not notice a change in the environment, or inside the list or dict of a setting.
    """
    snapshot = _snapshot
    if (
        snapshot is not None
        and snapshot.generation is _generation
        and snapshot.source is setting(_PREFIX)
    ):
        return snapshot
    return refresh()


def setting(name: str) -> Any:
    """Return one of Django's settings, None if it is not set.

    Args:
        name: the name of the setting.

    The result is that of `getattr(settings, name, None)`, but it is faster. Django runs Python code
    for each access to `settings`, even if the value is already cached in the object. This function
    first looks for the cached value.
    """
    return _kept[name] if name in _kept else getattr(settings, name, None)


def framework_settings() -> dict[str, object]:
    """Return all of Django's settings that begin with ARRCERT, known or not."""
    return {name: getattr(settings, name) for name in dir(settings) if name.startswith(_PREFIX)}


def served_folders() -> list[Served]:
    """Return the folders whose files visitors can read, or to which they upload files.

    They are `MEDIA_ROOT`, `STATIC_ROOT` and the folders of `STATICFILES_DIRS`. It does not know
    what a server in front of Django serves.
    """
    named = [(name, getattr(settings, name)) for name in ("MEDIA_ROOT", "STATIC_ROOT")]
    for entry in settings.STATICFILES_DIRS:
        folder = entry[1] if isinstance(entry, list | tuple) else entry
        named.append(("STATICFILES_DIRS", folder))
    return [Served(name, os.fspath(folder)) for name, folder in named if folder]


@receiver(setting_changed)
def _drop(*, setting: str, **_: Any) -> None:
    global _generation
    if setting.startswith(_PREFIX) or setting in _SERVED:
        _generation = object()
