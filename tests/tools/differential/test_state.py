"""`tools/differential/state.py`: a run survives an interruption."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tools.differential.checking import Failure
from tools.differential.state import MOST_FAILURES, State


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The counts, the progress and the failures are the same after a restart."""
    path = tmp_path / "state.json"
    state = State(3, 500)
    state.add(4, Counter({("chains", "accepted"): 2}), [Failure("exception", 9, "text")])
    state.versions = {"Go": "1"}
    state.seconds = 1.5
    state.save(path)
    again = State.load(path)
    assert vars(again) == vars(state)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_that_is_explained_is_removed() -> None:
    """A failure that was removed is not counted."""
    state = State(3, 500)
    failures = [Failure("unexplained accept", number, "text", "Go") for number in (1, 2)]
    state.add(0, Counter({("failure", "unexplained accept"): 2}), failures)
    state.remove(failures[0])
    assert state.failures == [failures[1]]
    assert state.counts["failure", "unexplained accept"] == 1
    state.remove(failures[1])
    assert state.counts == {}


def test_the_failures_are_bounded() -> None:
    """Only the first failures are kept in full."""
    state = State(3, 500)
    for block in range(3):
        state.add(block, Counter(), [Failure("exception", 9, "text")] * 300)
    assert len(state.failures) == MOST_FAILURES
