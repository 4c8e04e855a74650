"""The configuration of the moment, read from Django's settings and the environment."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from arrcert.authorizer import Authorizer
from arrcert.settings import Settings, load

__all__ = ["Snapshot", "build", "current", "framework_settings", "refresh"]

_PREFIX = "ARRCERT"


class Snapshot(NamedTuple):
    """What one reading of the configuration gave. It never changes.

    Attributes:
        authorizer: decides about certificates.
        settings: what it was made of.
        source: the object that `settings.ARRCERT` was, or None.
        generation: which settings it belongs to; see `current`.
    """

    authorizer: Authorizer
    settings: Settings
    source: object
    generation: object


_generation: object = object()
_snapshot: Snapshot | None = None


def build() -> Snapshot:
    """Read the configuration as it is now, and remember nothing.

    Raises:
        ConfigurationError: all mistakes of the configuration together.

    Source: the settings are those of the README's table. It does not look at `MIDDLEWARE`.
    """
    # Taken before the settings are read: if they change meanwhile, the snapshot is stale at birth.
    generation = _generation
    ours = framework_settings()
    loaded = load(ours, os.environ, debug=settings.DEBUG)
    return Snapshot(Authorizer.from_settings(loaded), loaded, ours.get(_PREFIX), generation)


def refresh() -> Snapshot:
    """Read the configuration anew, the environment too, and make it the one that requests get.

    Raises:
        ConfigurationError: all mistakes of the configuration together.
    """
    global _snapshot
    # One assignment of an immutable value: a reader in another thread needs no lock.
    _snapshot = snapshot = build()
    return snapshot


def current() -> Snapshot:
    """Return the snapshot of the settings that hold now, reading them only when they changed.

    Raises:
        ConfigurationError: all mistakes of the configuration together; they are not remembered.

    It notices changed settings (`override_settings`, an assignment to `settings.ARRCERT`), but no
    change of the environment and none inside a setting's own list or dict.
    """
    snapshot = _snapshot
    if (
        snapshot is not None
        and snapshot.generation is _generation
        and snapshot.source is getattr(settings, _PREFIX, None)
    ):
        return snapshot
    return refresh()


def framework_settings() -> dict[str, object]:
    """Return every setting of Django's that belongs to arrcert, misspelt ones included."""
    return {name: getattr(settings, name) for name in dir(settings) if name.startswith(_PREFIX)}


@receiver(setting_changed)
def _drop(*, setting: str, **_: Any) -> None:
    global _generation
    if setting.startswith(_PREFIX):
        _generation = object()
