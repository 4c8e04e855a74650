"""`tools/differential/minting.py`: a number always makes the same chain."""

from __future__ import annotations

import random

import pytest
from cryptography import x509

from tools.differential.minting import mint, mint_with
from tools.differential.registry import VARIATIONS


def test_a_number_always_makes_the_same_chain() -> None:
    """A seed and a number always give the same bytes, and another seed gives others.

    RSA PSS is the exception: its signatures hold random bytes.
    """
    chains = [mint(1, number) for number in range(200)]
    certain = [chain for chain in chains if "PSS" not in "".join(chain.variations)]
    assert len(certain) > 150
    assert certain == [mint(1, chain.number) for chain in certain]
    assert mint(1, 5).leaf != mint(2, 5).leaf


def test_a_plain_chain_is_a_chain() -> None:
    """Without variations, the next certificate signs each certificate, up to the anchor."""
    chain = mint_with(random.Random(3), 0, [])
    names = [chain.leaf, *chain.intermediates, *chain.anchors]
    path = [x509.load_der_x509_certificate(der) for der in names]
    for below, above in zip(path, [*path[1:], path[-1]], strict=True):
        below.verify_directly_issued_by(above)


def test_every_variation_makes_a_chain() -> None:
    """Each variation changes something, and leaves a chain with a leaf."""
    for name, variation in VARIATIONS.items():
        seed = random.Random(name).random()
        chain = mint_with(random.Random(seed), 0, [variation])
        assert chain.variations == (name,)
        assert chain.anchors or name.startswith("chain:")


@pytest.mark.parametrize("seed", [1, 2])
def test_variations_of_a_chain_do_not_touch_the_same(seed: int) -> None:
    """Two variations of one chain share no claim, and a variation `alone` is the only one."""
    combined = 0
    for number in range(400):
        chosen = [VARIATIONS[name] for name in mint(seed, number).variations]
        claims = [claim for variation in chosen for claim in variation.claims]
        assert len(claims) == len(set(claims)), number
        assert "alone" not in claims or len(chosen) == 1, number
        combined += len(chosen) > 1
    assert combined > 50
