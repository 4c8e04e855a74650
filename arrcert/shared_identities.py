"""The warning about two rules that can give the same name to certificates of different issuers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from arrcert.exceptions import Problem, quote
from arrcert.identity import IdentityTemplate


class IdentitySource(NamedTuple):
    """A key of a policy that gives names to clients.

    Attributes:
        key: the key.
        template: the template; an empty literal if the names are on the pins.
        names: every name that the key can give; None if they cannot be listed.
        issuer: a value that identifies the issuer of all certificates that the policy accepts; None
            if there may be several issuers.
    """

    key: str
    template: IdentityTemplate
    names: frozenset[str] | None
    issuer: Hashable | None


def shared_identities(sources: Sequence[tuple[str, IdentitySource]]) -> Iterator[Problem]:
    """Yield a warning for each template that can give the same name as another rule.

    Args:
        sources: every key that gives names, with its setting.

    Two equal literals are not a mistake, because the operator means the same client. Case is
    ignored, because the software that uses the names may ignore it.
    """
    for index, (setting, source) in enumerate(sources):
        if not source.template.is_of_name:
            continue
        others = [
            other_setting
            for other_index, (other_setting, other) in enumerate(sources)
            # If both are templates, only the later one is reported.
            if (other_index < index or not other.template.is_of_name)
            and _can_be_another(source, other)
            and _can_share(source, other)
        ]
        if others:
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            yield Problem(
                setting,
                f"{quote(source.template)} and {others[0]}{more} can give the same name to"
                " certificates of different issuers; add a prefix that no other identity begins"
                f" with, such as {quote(f'contoso:{source.template}')}",
            )


def _can_be_another(one: IdentitySource, other: IdentitySource) -> bool:
    """Return whether two rules can accept certificates of different issuers."""
    return one.issuer is None or one.issuer != other.issuer


def _can_share(one: IdentitySource, other: IdentitySource) -> bool:
    """Return whether two rules can give the same name."""
    if one.names is not None and other.names is not None:
        return not _lower(one.names).isdisjoint(_lower(other.names))
    if one.names is not None:
        return any(_can_give(other.template, name) for name in _lower(one.names))
    if other.names is not None:
        return any(_can_give(one.template, name) for name in _lower(other.names))
    first, second = one.template, other.template
    return _begins_alike(first.before, second.before) and _begins_alike(
        first.after[::-1], second.after[::-1]
    )


def _begins_alike(one: str, other: str) -> bool:
    """Return whether one text begins with the other."""
    one, other = one.lower(), other.lower()
    return one.startswith(other) or other.startswith(one)


def _can_give(template: IdentityTemplate, name: str) -> bool:
    """Return whether a template can give a name, which is in lower case."""
    before, after = template.before.lower(), template.after.lower()
    is_long_enough = len(name) > len(before) + len(after)
    return is_long_enough and name.startswith(before) and name.endswith(after)


def _lower(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
