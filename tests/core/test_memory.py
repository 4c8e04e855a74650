"""The memory of accepted certificates: its duration, its size, and its use by many threads."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arrcert import ClientIdentity
from arrcert import memory as module
from arrcert.forwarding.ingress import Forwarded
from arrcert.memory import (
    LARGEST_MEMORY,
    LONGEST_KEY,
    MOST_REMEMBERED,
    Memory,
    is_number_to_remember,
    why_not_to_remember,
)
from arrcert.testing import self_signed

IDENTITIES = [
    ClientIdentity(None, frozenset(), self_signed(f"client {number}").certificate, "default")
    for number in range(6)
]
IDENTITY = IDENTITIES[0]


class Clock:
    """A clock in place of the system's."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def time(self) -> float:
        """Return the moment as `time.time` does."""
        return self.now.timestamp()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves."""
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def soon() -> datetime:
    """Return a moment that is an hour away."""
    return datetime.now(UTC) + timedelta(hours=1)


def test_accepted_certificate_is_recalled_by_its_text() -> None:
    """The certificate is found by the exact text of both headers, and by no other text."""
    memory = Memory([None], 9)
    memory.remember(("leaf", "chain"), IDENTITY, soon())
    assert memory.recall(("leaf", "chain")) == IDENTITY
    for other in ("leaf", ("leaf", "chain "), ("LEAF", "chain"), (None, "leafchain")):
        assert memory.recall(other) is None


def test_acceptance_ends_after_its_last_second(clock: Clock) -> None:
    """The last second belongs to the acceptance, and the next one does not."""
    memory, end = Memory([None], 9), clock.now + timedelta(hours=1)
    memory.remember("text", IDENTITY, end)
    clock.now = end + timedelta(milliseconds=999)
    assert memory.recall("text") == IDENTITY
    clock.now = end + timedelta(seconds=1)
    assert memory.recall("text") is None


def test_clock_that_is_set_back_recalls_nothing(clock: Clock) -> None:
    """Before the moment of the decision nothing is recalled, so that no acceptance is prolonged."""
    memory = Memory([None], 9)
    memory.remember("text", IDENTITY, clock.now + timedelta(hours=1))
    assert memory.recall("text") == IDENTITY
    clock.now -= timedelta(seconds=1)
    assert memory.recall("text") is None


def fill(memory: Memory, *texts: str) -> None:
    """Remember an acceptance for each text. Repeat it until a full memory takes the text."""
    for text in texts:
        while memory.recall(text) is None:
            memory.remember(text, IDENTITY, soon())


def is_remembered(memory: Memory, text: str) -> bool:
    """Return whether a text is in the memory, without recalling it."""
    return text in memory._accepted


def test_full_memory_takes_one_of_eight_newcomers() -> None:
    """A full memory ignores seven new certificates, and the eighth takes a place."""
    memory = Memory([None], 2)
    for text in ("a", "b"):
        memory.remember(text, IDENTITY, soon())
    for number in range(7):
        memory.remember(str(number), IDENTITY, soon())
        assert is_remembered(memory, "a")
        assert is_remembered(memory, "b")
    memory.remember("new", IDENTITY, soon())
    assert [is_remembered(memory, text) for text in ("a", "b", "new")] == [False, True, True]


def test_what_is_recalled_stays() -> None:
    """A new certificate replaces one that was not recalled since the hand passed it."""
    memory = Memory([None], 3)
    for text in ("a", "b", "c"):
        memory.remember(text, IDENTITY, soon())
    for text in ("a", "c"):
        assert memory.recall(text) is IDENTITY
    fill(memory, "new")
    assert [is_remembered(memory, text) for text in ("a", "b", "c")] == [True, False, True]
    # The hand stands at "c", which it has not passed yet, and has passed "a".
    fill(memory, "newer")
    assert [is_remembered(memory, text) for text in ("a", "c", "new")] == [False, True, True]


def test_memory_in_which_all_are_in_use_takes_a_newcomer() -> None:
    """The hand frees a place in one turn, even if readers mark every entry meanwhile."""
    memory = Memory([None], 3)
    fill(memory, "a", "b", "c")
    fill(memory, "new")
    assert sum(is_remembered(memory, text) for text in ("a", "b", "c", "new")) == 3

    class AlwaysInUse:
        identity, since, until = IDENTITY, 0.0, 0.0
        is_in_use = property(lambda _: True, lambda *_: None)

    memory._accepted = dict.fromkeys(memory._accepted, AlwaysInUse())
    fill(memory, "last")
    assert is_remembered(memory, "last")


def test_certificate_that_is_remembered_again_keeps_its_place(clock: Clock) -> None:
    """A certificate that is remembered again takes no second place; the last decision counts."""
    memory = Memory([None], 2)
    memory.remember("a", IDENTITY, clock.now)
    memory.remember("a", IDENTITY, clock.now + timedelta(hours=1))
    memory.remember("b", IDENTITY, clock.now + timedelta(hours=1))
    clock.now += timedelta(minutes=1)
    assert memory.recall("a") is IDENTITY
    assert memory.recall("b") is IDENTITY


def hit_rate(texts: list[str]) -> float:
    """Return the share of hits of a memory with 1,024 places, in the second half of a sequence."""
    memory, hits, end = Memory([None], 1024), 0, soon()
    for turn, text in enumerate(texts):
        if memory.recall(text) is None:
            memory.remember(text, IDENTITY, end)
        elif turn >= len(texts) // 2:
            hits += 1
    return hits / (len(texts) - len(texts) // 2)


@pytest.mark.parametrize(
    ("clients", "least"),
    [("2,000 in turn", 0.4), ("10,000 by Zipf's law", 0.7), ("500 hot, half one-off", 0.45)],
)
def test_more_clients_than_places(clients: str, least: float) -> None:
    """With more clients than places, the memory still answers for the frequent ones."""
    chance = random.Random(1)
    if clients == "2,000 in turn":
        texts = [str(turn % 2_000) for turn in range(40_000)]
    elif clients == "10,000 by Zipf's law":
        weights = [1 / rank for rank in range(1, 10_001)]
        texts = chance.choices([str(rank) for rank in range(10_000)], weights, k=60_000)
    else:
        texts = [
            str(chance.randrange(500)) if chance.random() < 0.5 else f"once {turn}"
            for turn in range(40_000)
        ]
    assert hit_rate(texts) >= least


def test_memory_for_none_remembers_none() -> None:
    """A memory of size 0 is always empty."""
    memory = Memory([None], 0)
    memory.remember("text", IDENTITY, soon())
    assert memory.recall("text") is None


@pytest.mark.parametrize(
    ("forwarded", "is_remembered"),
    [
        ("a" * LONGEST_KEY, True),
        (("a" * (LONGEST_KEY - 1), "b"), True),
        ("a" * (LONGEST_KEY + 1), False),
        (("a" * LONGEST_KEY, "b"), False),
    ],
)
def test_long_text_is_not_remembered(forwarded: Forwarded, is_remembered: bool) -> None:
    """Headers of more than 8,192 characters together are not remembered."""
    assert LONGEST_KEY == 8192
    memory = Memory([None], 9)
    memory.remember(forwarded, IDENTITY, soon())
    assert (memory.recall(forwarded) is not None) is is_remembered


def test_reading_takes_no_lock() -> None:
    """A certificate can be recalled while another thread writes."""
    memory = Memory([None], 9)
    memory.remember("text", IDENTITY, soon())
    with memory._writing:
        assert memory.recall("text") == IDENTITY


def test_many_threads_share_one_memory() -> None:
    """Threads that fill a small memory at once recall the right client or none."""
    memory = Memory([None], 3)
    wrong: list[Any] = []

    def knock(offset: int) -> None:
        for turn in range(500):
            number = (turn + offset) % len(IDENTITIES)
            memory.remember(str(number), IDENTITIES[number], soon())
            found = memory.recall(str(number))
            if found not in (IDENTITIES[number], None):
                wrong.append((number, found))

    threads = [threading.Thread(target=knock, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(is_remembered(memory, str(number)) for number in range(len(IDENTITIES))) == 3


def test_memory_holds_the_snapshot_that_it_belongs_to() -> None:
    """A memory names the trust stores under which it accepted its certificates."""
    stores = [None, None]
    assert Memory(stores, 9).trust_stores is stores


@pytest.mark.parametrize(
    ("value", "is_number"),
    [
        (0, True),
        (1, True),
        (MOST_REMEMBERED, True),
        (LARGEST_MEMORY, True),
        (LARGEST_MEMORY + 1, False),
        (-1, False),
        (1.5, False),
        (True, False),
        ("5", False),
        (None, False),
    ],
)
def test_numbers_that_can_be_remembered(value: object, is_number: bool) -> None:
    """The size is a whole number from 0 to a million, and the error for others says so."""
    assert MOST_REMEMBERED == 1024
    assert is_number_to_remember(value) is is_number
    assert (
        why_not_to_remember(value)
        == f"'{value}' is not a number of certificates; write 0 to 1000000"
    )
