"""Workers: each is a process that mints and compares blocks of chains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tools.differential.chains import Chain
from tools.differential.checking import EXCEPTION_FAILURE, Failure, check
from tools.differential.classes import GNUTLS, GO, OPENSSL, PYHANKO
from tools.differential.comparators import arrcert, gnutls, openssl, pyhanko
from tools.differential.comparators.golang import Go
from tools.differential.minting import mint
from tools.differential.state import CountKey
from tools.differential.verdicts import Verdict

BATCH = 40
"""The number of chains that are sent to Go at once. The answers must fit into a pipe."""


class Plan(NamedTuple):
    """What a worker does.

    Attributes:
        seed: the seed of the chains.
        size: the number of chains in a block.
        every: a number N for each installed implementation, which is asked about every Nth chain.
        go_program: the compiled Go program; None without a Go compiler.
    """

    seed: int
    size: int
    every: dict[str, int]
    go_program: Path | None


IN_PROCESS: dict[str, Callable[..., Verdict]] = {
    OPENSSL: openssl.verdict,
    GNUTLS: gnutls.verdict,
    PYHANKO: pyhanko.verdict,
}

_WORDS = {True: "accepts", False: "denies"}


class Worker:
    """A process that works on blocks.

    Args:
        plan: what to do.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._go = Go(plan.go_program) if plan.go_program and GO in plan.every else None

    def run(self, block: int) -> tuple[int, Counter[CountKey], list[Failure]]:
        """Mint and compare the chains of one block."""
        counts: Counter[CountKey] = Counter()
        failures: list[Failure] = []
        begin = block * self._plan.size
        end = begin + self._plan.size
        for start in range(begin, end, BATCH):
            chains = []
            for number in range(start, min(start + BATCH, end)):
                try:
                    chains.append(mint(self._plan.seed, number))
                # An error in this tool must not end a long run. It is reported as a failure.
                except Exception as error:
                    failures.append(Failure(EXCEPTION_FAILURE, number, f"minting: {error!r}"))
            for chain, ours, others in self.ask(chains):
                counts["chains", "accepted" if ours.accepted else "denied"] += 1
                for other, theirs in others.items():
                    both = [_WORDS[theirs.accepted], _WORDS[ours.accepted]]
                    counts["compared", other, *both] += 1
                result = check(chain, ours, others)
                for name, other in result.differences:
                    counts["difference", name, other] += 1
                failures += result.failures
        for failure in failures:
            counts["failure", failure.kind] += 1
        return block, counts, failures

    def ask(self, chains: list[Chain]) -> Iterator[tuple[Chain, Verdict, dict[str, Verdict]]]:
        """Yield each chain with the verdict of arrcert and those of the others.

        Args:
            chains: at most `BATCH` chains.
        """
        if self._go:
            self._go.send(chains)
        # Meanwhile, Go verifies the same chains.
        asked = [(chain, arrcert.verdict(chain), self._ask_others(chain)) for chain in chains]
        if self._go:
            for (_, _, others), theirs in zip(asked, self._go.receive(len(chains)), strict=True):
                others[GO] = theirs
        yield from asked

    def _ask_others(self, chain: Chain) -> dict[str, Verdict]:
        every = self._plan.every
        return {
            name: ask(chain)
            for name, ask in IN_PROCESS.items()
            if name in every and chain.number % every[name] == 0
        }


_worker: Worker | None = None


def start(plan: Plan) -> None:
    """Make the worker of this process."""
    global _worker
    _worker = Worker(plan)


def run(block: int) -> tuple[int, Counter[CountKey], list[Failure]]:
    """Run one block in the worker of this process."""
    if _worker is None:
        raise RuntimeError("start() was not called in this process")
    return _worker.run(block)
