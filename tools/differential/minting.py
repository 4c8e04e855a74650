"""Make chains. The same seed and number always make the same chain."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Sequence

from tools.differential import variations
from tools.differential.certificates import Certificate
from tools.differential.chains import Chain, Draft
from tools.differential.registry import VARIATIONS, Variation

for _module in sorted(each.name for each in pkgutil.iter_modules(variations.__path__)):
    importlib.import_module(f"{variations.__name__}.{_module}")

_ALL = tuple(VARIATIONS.values())
_BY_AREA = {
    area: [each for each in _ALL if each.area == area] for area in {each.area for each in _ALL}
}
_AREAS = sorted(_BY_AREA)
_DEPTHS = (0, 1, 1, 1, 2)
_COUNTS = (0, 1, 1, 1, 2, 2, 3, 4)
_ALONE = "alone"


def mint(seed: int, number: int) -> Chain:
    """Make one chain.

    Args:
        seed: the seed of the run.
        number: the number of the chain in the run.
    """
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - Nothing here is secret.
    count = _COUNTS[chance.randrange(len(_COUNTS))]
    chosen: list[Variation] = []
    claims: set[str] = set()
    for _ in range(count):
        candidates = _BY_AREA[_AREAS[chance.randrange(len(_AREAS))]]
        candidate = candidates[chance.randrange(len(candidates))]
        if candidate.claims & claims or (chosen and _ALONE in candidate.claims):
            continue
        chosen.append(candidate)
        claims |= candidate.claims
        if _ALONE in candidate.claims:
            break
    return mint_with(chance, number, chosen)


def mint_with(chance: random.Random, number: int, chosen: Sequence[Variation]) -> Chain:
    """Make a chain with some variations.

    Args:
        chance: the random numbers for all other choices.
        number: the number of the chain.
        chosen: the variations. They must not exclude each other.
    """
    depth = _DEPTHS[chance.randrange(len(_DEPTHS))]
    if not depth and any(each.role == "intermediate" for each in chosen):
        depth = 1
    draft = Draft(chance, depth)
    # All targets are chosen first, because a variation may insert another CA.
    targets = [(each, _target(each, draft)) for each in chosen]
    targets.sort(key=lambda pair: f"{pair[0].role}.shape" not in pair[0].claims)
    for each, target in targets:
        each.change(draft, target)
    return draft.sign(number, tuple(each.name for each in chosen))


def _target(chosen: Variation, draft: Draft) -> Certificate:
    if chosen.role == "anchor":
        return draft.anchor
    if chosen.role == "intermediate":
        return draft.path[draft.random.randrange(1, len(draft.path) - 1)]
    return draft.leaf
