"""The state of a run in a file, so that it can be interrupted and continued."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.differential.checking import Failure

MOST_FAILURES = 500
"""The number of failures that are kept with their text. All failures are counted."""

CountKey = tuple[str, ...]


class State:
    """What a run has found so far.

    Args:
        seed: the seed of the chains.
        size: the number of chains in a block.

    Attributes:
        done: the numbers of the blocks that are complete.
        counts: how often each event happened. A key is a tuple of texts, such as
            `("chains", "accepted")`.
        failures: the first failures, at most `MOST_FAILURES`.
        seconds: the duration of the run, without the time between its parts.
        versions: the version of each implementation.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seed = seed
        self.size = size
        self.done: set[int] = set()
        self.counts: Counter[CountKey] = Counter()
        self.failures: list[Failure] = []
        self.seconds = 0.0
        self.versions: dict[str, str] = {}

    def add(self, block: int, counts: Counter[CountKey], failures: Iterable[Failure]) -> None:
        """Add the result of one block."""
        self.done.add(block)
        self.counts.update(counts)
        self.failures += list(failures)[: MOST_FAILURES - len(self.failures)]

    def remove(self, failure: Failure) -> None:
        """Remove a failure that now has an explanation."""
        self.failures.remove(failure)
        self.counts["failure", failure.kind] -= 1
        self.counts += Counter()  # Drops counts of zero.

    def save(self, path: Path) -> None:
        """Write the state. If this is interrupted, the file has its old content or the new one."""
        content = {
            "seed": self.seed,
            "size": self.size,
            "done": sorted(self.done),
            "counts": [[*key, number] for key, number in sorted(self.counts.items())],
            "failures": self.failures,
            "seconds": round(self.seconds, 1),
            "versions": self.versions,
        }
        new = path.with_suffix(".new")
        new.write_text(json.dumps(content), encoding="utf-8")
        os.replace(new, path)

    @classmethod
    def load(cls, path: Path) -> State:
        """Read a state that `save` wrote."""
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        state = cls(content["seed"], content["size"])
        state.done = set(content["done"])
        state.counts = Counter({tuple(key): number for *key, number in content["counts"]})
        state.failures = [Failure(*failure) for failure in content["failures"]]
        state.seconds = content["seconds"]
        state.versions = content["versions"]
        return state
