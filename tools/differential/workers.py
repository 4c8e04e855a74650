"""The work on one block of chains, in a process of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tools.differential.checking import EXCEPTION_FAILURE, Failure, check
from tools.differential.classes import GNUTLS, GO, OPENSSL, PYHANKO
from tools.differential.comparators import arrcert, gnutls, openssl, pyhanko
from tools.differential.comparators.golang import Go
from tools.differential.minting import mint
from tools.differential.state import CountKey
from tools.differential.verdicts import Verdict

BATCH = 40
"""How many chains are sent to Go at once. Its answers must fit into a pipe."""


class Plan(NamedTuple):
    """What a worker does.

    Attributes:
        seed: the seed of the chains.
        size: how many chains one block has.
        every: of each implementation that is there, every how manyth chain it is asked about.
        go_program: the compiled program, None without Go.
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
        plan = self._plan
        counts: Counter[CountKey] = Counter()
        failures: list[Failure] = []
        begin = block * plan.size
        for start in range(begin, begin + plan.size, BATCH):
            chains = []
            for number in range(start, min(start + BATCH, begin + plan.size)):
                try:
                    chains.append(mint(plan.seed, number))
                # A mistake of this tool must not end a long run. It is reported like the others.
                except Exception as error:
                    failures.append(Failure(EXCEPTION_FAILURE, number, f"minting: {error!r}"))
                    counts["failure", EXCEPTION_FAILURE] += 1
            if self._go:
                self._go.send(chains)
            verdicts = []
            for chain in chains:
                ours = arrcert.verdict(chain)
                others = {
                    name: ask(chain)
                    for name, ask in IN_PROCESS.items()
                    if name in plan.every and chain.number % plan.every[name] == 0
                }
                verdicts.append((chain, ours, others))
            from_go = self._go.receive(len(chains)) if self._go else [None] * len(chains)
            for (chain, ours, others), theirs in zip(verdicts, from_go, strict=True):
                if theirs is not None:
                    others[GO] = theirs
                result = check(chain, ours, others)
                counts["chains", "accepted" if ours.accepted else "denied"] += 1
                for other, verdict in others.items():
                    both = (
                        "accepts" if verdict.accepted else "denies",
                        "accepts" if ours.accepted else "denies",
                    )
                    counts["compared", other, *both] += 1
                for name, other in result.differences:
                    counts["difference", name, other] += 1
                for failure in result.failures:
                    counts["failure", failure.kind] += 1
                failures += result.failures
        return block, counts, failures


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
