"""The variations: each changes one thing about a chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tools.differential.certificates import Certificate
from tools.differential.chains import Draft

Change = Callable[[Draft, Certificate], None]

ROLES = ("leaf", "intermediate", "anchor")
AUTHORITIES = ("intermediate", "anchor")


class Variation(NamedTuple):
    """One change that makes a chain wrong or unusual.

    Attributes:
        name: the role and the change, such as `leaf: keyUsage is absent`.
        role: `leaf`, `intermediate` or `anchor`; `chain` if the whole chain is changed.
        claims: what the change touches. A chain has no two variations with the same claim.
        change: the function that does it.
        area: the name of the module that defines it.
    """

    name: str
    role: str
    claims: frozenset[str]
    change: Change
    area: str


VARIATIONS: dict[str, Variation] = {}
"""Every variation by its name."""


def variation(roles: str | Iterable[str], text: str, *aspects: str) -> Callable[[Change], Change]:
    """Register a function as a variation.

    Args:
        roles: the roles of the certificates that it can change, or `chain`.
        text: the change, in words.
        aspects: what the change touches. `dates` means the dates of the changed certificate,
            `leaf.dates` those of the leaf. `alone` excludes every other variation.
    """

    def register(change: Change) -> Change:
        for role in [roles] if isinstance(roles, str) else roles:
            name = f"{role}: {text}"
            if name in VARIATIONS:
                raise ValueError(f"two variations are called {name!r}")
            claims = frozenset(
                each if "." in each or each == "alone" else f"{role}.{each}" for each in aspects
            )
            area = change.__module__.rpartition(".")[2]
            VARIATIONS[name] = Variation(name, role, claims, change, area)
        return change

    return register


def extension_change(
    module: str,
    roles: str | Iterable[str],
    text: str,
    number: str,
    value: bytes | None,
    *,
    critical: bool = False,
) -> None:
    """Register a variation that sets one extension, or removes it if the value is None.

    Args:
        module: the `__name__` of the calling module.
        roles: as for `variation`.
        text: as for `variation`.
        number: the dotted object identifier of the extension.
        value: the DER of the value.
        critical: whether the extension is critical.
    """

    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.drop(number)
        if value is not None:
            certificate.set(number, value, critical=critical)

    change.__module__ = module
    variation(roles, text, number_to_aspect(number))(change)


def number_to_aspect(number: str) -> str:
    """Return the aspect of an extension."""
    return f"extension {number.replace('.', '-')}"
