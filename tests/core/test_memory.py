"""The memory of accepted certificates: how long, how many, and for many threads."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arrcert import memory as module
from arrcert.memory import (
    LARGEST_MEMORY,
    LONGEST_KEY,
    MOST_REMEMBERED,
    Memory,
    is_number_to_remember,
    why_not_to_remember,
)
from arrcert.testing import IssuedCertificate, self_signed

CLIENTS = [self_signed(f"client {number}").certificate for number in range(6)]


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


def test_accepted_certificate_is_recalled_by_its_text(alice: IssuedCertificate) -> None:
    """The certificate is found by the exact text of both headers, and by no other text."""
    memory = Memory([None], 9)
    memory.remember(("leaf", "chain"), alice.certificate, soon())
    assert memory.recall(("leaf", "chain")) == alice.certificate
    for other in (("leaf", None), ("leaf", "chain "), ("LEAF", "chain"), (None, "leafchain")):
        assert memory.recall(other) is None


def test_acceptance_ends_after_its_last_second(alice: IssuedCertificate, clock: Clock) -> None:
    """The last second belongs to the acceptance, and the next one does not."""
    memory, end = Memory([None], 9), clock.now + timedelta(hours=1)
    memory.remember(("text", None), alice.certificate, end)
    clock.now = end + timedelta(milliseconds=999)
    assert memory.recall(("text", None)) == alice.certificate
    clock.now = end + timedelta(seconds=1)
    assert memory.recall(("text", None)) is None


def test_clock_that_is_set_back_recalls_nothing(alice: IssuedCertificate, clock: Clock) -> None:
    """Before the moment of the decision nothing is recalled, so that no acceptance is prolonged."""
    memory = Memory([None], 9)
    memory.remember(("text", None), alice.certificate, clock.now + timedelta(hours=1))
    assert memory.recall(("text", None)) == alice.certificate
    clock.now -= timedelta(seconds=1)
    assert memory.recall(("text", None)) is None


def test_oldest_is_dropped_from_a_full_memory() -> None:
    """A full memory drops the certificate that was remembered first."""
    memory = Memory([None], 2)
    for client in CLIENTS[:3]:
        memory.remember((client.subject, None), client, soon())
    found = [memory.recall((client.subject, None)) for client in CLIENTS[:3]]
    assert found == [None, *CLIENTS[1:3]]


def test_certificate_that_is_remembered_again_is_the_newest() -> None:
    """A certificate takes one place, however often it is remembered, and becomes the newest."""
    memory = Memory([None], 2)
    for client in (CLIENTS[0], CLIENTS[1], CLIENTS[0], CLIENTS[2]):
        memory.remember((client.subject, None), client, soon())
    found = [memory.recall((client.subject, None)) for client in CLIENTS[:3]]
    assert found == [CLIENTS[0], None, CLIENTS[2]]


def test_memory_for_none_remembers_none(alice: IssuedCertificate) -> None:
    """A memory of size 0 is always empty."""
    memory = Memory([None], 0)
    memory.remember(("text", None), alice.certificate, soon())
    assert memory.recall(("text", None)) is None


@pytest.mark.parametrize(
    ("forwarded", "is_remembered"),
    [
        (("a" * LONGEST_KEY, None), True),
        (("a" * (LONGEST_KEY - 1), "b"), True),
        (("a" * (LONGEST_KEY + 1), None), False),
        (("a" * LONGEST_KEY, "b"), False),
    ],
)
def test_long_text_is_not_remembered(
    forwarded: tuple[str, str | None], is_remembered: bool, alice: IssuedCertificate
) -> None:
    """Both headers together may have 8,192 characters, so that a client cannot fill the memory."""
    assert LONGEST_KEY == 8192
    memory = Memory([None], 9)
    memory.remember(forwarded, alice.certificate, soon())
    assert (memory.recall(forwarded) is not None) is is_remembered


def test_reading_takes_no_lock(alice: IssuedCertificate) -> None:
    """A certificate is recalled while another thread writes."""
    memory = Memory([None], 9)
    memory.remember(("text", None), alice.certificate, soon())
    with memory._writing:
        assert memory.recall(("text", None)) == alice.certificate


def test_many_threads_share_one_memory() -> None:
    """Threads that fill a small memory at once recall the right certificate or none."""
    memory = Memory([None], 3)
    wrong: list[Any] = []

    def knock(offset: int) -> None:
        for turn in range(500):
            client = CLIENTS[(turn + offset) % len(CLIENTS)]
            memory.remember((client.subject, None), client, soon())
            found = memory.recall((client.subject, None))
            if found not in (client, None):
                wrong.append((client, found))

    threads = [threading.Thread(target=knock, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(memory.recall((client.subject, None)) is not None for client in CLIENTS) == 3


def test_memory_holds_the_snapshot_that_it_belongs_to() -> None:
    """A memory names the trust stores under which its certificates were accepted."""
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
    """A whole number from 0 to a million can be remembered, and the error for others says so."""
    assert is_number_to_remember(value) is is_number
    assert (
        why_not_to_remember(value)
        == f"'{value}' is not a number of certificates; write 0 to 1000000"
    )
