"""`tools/differential/comparators/`: each implementation gives a real verdict."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.differential.chains import Chain
from tools.differential.comparators import arrcert, gnutls, golang, openssl, pyhanko
from tools.differential.minting import mint_with
from tools.differential.registry import VARIATIONS
from tools.differential.verdicts import Verdict

Ask = Callable[[Chain], Verdict]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[golang.Go]:
    """Start a Go process, which is compiled once."""
    if golang.compiler() is None:
        pytest.skip("there is no Go compiler; the dependency group `differential` has one")
    folder = os.path.relpath(tmp_path_factory.mktemp("go"))
    with golang.Go(golang.build(Path(folder))) as running:
        yield running


def ask_go(running: golang.Go, chain: Chain) -> Verdict:
    """Ask Go about one chain."""
    running.send([chain])
    [verdict] = running.receive(1)
    return verdict


@pytest.fixture(params=["arrcert", "OpenSSL", "Go", "GnuTLS", "pyhanko"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask one implementation; skip if it is missing."""
    if request.param == "Go":
        return functools.partial(ask_go, request.getfixturevalue("go"))
    if request.param == "GnuTLS" and gnutls.version() is None:
        pytest.skip("there is no libgnutls.so.30; Debian's package is libgnutls30")
    if request.param == "pyhanko" and pyhanko.version() is None:
        pytest.skip("there is no pyhanko-certvalidator; see the dependency group `differential`")
    return {
        "arrcert": arrcert.verdict,
        "OpenSSL": openssl.verdict,
        "GnuTLS": gnutls.verdict,
        "pyhanko": pyhanko.verdict,
    }[request.param]


def minted(*names: str) -> Chain:
    """Mint a chain with one intermediate or more."""
    return mint_with(random.Random(1), 0, [VARIATIONS[name] for name in names])


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("intermediate: subjectAltName is absent", True),
        ("leaf: ends at this second", True),
        ("leaf: expired one second ago", False),
        ("leaf: extendedKeyUsage is serverAuth alone", False),
        ("intermediate: basicConstraints say CA:FALSE", False),
        ("intermediate: another key signed it", False),
        ("leaf: it is empty", False),
        ("chain: the anchor is unrelated", False),
    ],
)
def test_each_implementation_decides(ask: Ask, name: str, accepted: bool) -> None:
    """Each implementation accepts a good chain and denies a bad one."""
    verdict = ask(minted(name))
    assert verdict.accepted is accepted, verdict.text
    assert bool(verdict.text) is not accepted


def test_go_answers_in_order(go: golang.Go) -> None:
    """Go answers several chains in the order in which they are sent."""
    names = ["leaf: ends at this second", "leaf: expired one second ago"] * 5
    go.send([minted(name) for name in names])
    assert [verdict.accepted for verdict in go.receive(10)] == [True, False] * 5
