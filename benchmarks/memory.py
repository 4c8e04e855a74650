"""The hit rate of the memory of accepted certificates, for several kinds of traffic."""

from __future__ import annotations

import bisect
import itertools
import random
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from app_service import CERTIFICATE
from paired import Row, options_from_command_line, print_table

from arrcert import ClientIdentity
from arrcert.memory import MOST_REMEMBERED, Memory

REQUESTS = 100_000
"""The number of requests that count. A quarter of that number comes before them."""

SEED = 2
IDENTITY = ClientIdentity(None, frozenset(), CERTIFICATE, "default")


def main() -> int:
    """Simulate the traffic, and print the table."""
    options = options_from_command_line(__doc__, 301)
    requests = REQUESTS if options.rounds > 1 else REQUESTS // 10
    rows = [
        row(measure, clients, goal, requests)
        for measure, clients, goal in (
            ("control: 1,000 clients in turn", lambda: in_turn(1_000), None),
            ("2,000 clients in turn", lambda: in_turn(2_000), 0.4),
            ("10,000 clients by Zipf 1.0", lambda: by_zipf(10_000), 0.7),
            ("500 clients by Zipf 1.0, half one-off", one_off, 0.45),
        )
    ]
    print_table(f"Hit rate of the memory, {MOST_REMEMBERED:,} places", rows)
    return 0


def row(
    measure: str, clients: Callable[[], Iterator[int]], goal: float | None, requests: int
) -> Row:
    """Return the hit rate for one kind of traffic."""
    memory = Memory([None], MOST_REMEMBERED)
    until = datetime.now(UTC) + timedelta(days=1)
    hits = 0
    for number, client in enumerate(itertools.islice(clients(), requests * 5 // 4)):
        forwarded = str(client)
        if memory.recall(forwarded) is None:
            memory.remember(forwarded, IDENTITY, until)
        elif number >= requests // 4:
            hits += 1
    beside = f"{hits:,} of {requests:,} requests; the traffic is made with seed {SEED}"
    return Row(measure, hits / requests, goal, True, "", beside, "hits / requests")


def in_turn(clients: int) -> Iterator[int]:
    """Yield the clients in the same order, again and again."""
    return itertools.cycle(range(clients))


def by_zipf(clients: int) -> Iterator[int]:
    """Yield clients at random. The n-th most frequent client comes 1/n as often as the first."""
    chance = random.Random(SEED)  # noqa: S311 - nothing here is a secret.
    sums = list(itertools.accumulate(1 / number for number in range(1, clients + 1)))
    while True:
        yield bisect.bisect_left(sums, chance.random() * sums[-1])


def one_off() -> Iterator[int]:
    """Yield 500 clients at random, and between them about as many clients that come only once."""
    chance = random.Random(SEED)  # noqa: S311 - nothing here is a secret.
    hot, strangers = by_zipf(500), itertools.count(1_000_000)
    while True:
        yield next(hot) if chance.random() < 0.5 else next(strangers)


if __name__ == "__main__":
    sys.exit(main())
