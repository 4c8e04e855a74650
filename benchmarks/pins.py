"""A policy with a million pins, compared with a policy with one pin."""

from __future__ import annotations

import base64
import gc
import logging
import secrets
import sys
import time
from typing import Any

from core import P256, Pki
from paired import Row, medians, print_table, resident_megabytes, rounds_from_command_line

from arrcert import Authorizer, ClientCertificate, Policy

MANY = 1_000_000


def main() -> int:
    """Load, measure, and print the table."""
    rounds = rounds_from_command_line(__doc__, 301)
    logging.disable(logging.CRITICAL)
    pki = Pki(P256)
    certificate = ClientCertificate.from_der(base64.b64decode(pki.alice))
    pins = [secrets.token_hex(32) for _ in range(MANY - 1)]
    pins.append(certificate.sha256_fingerprint)
    many, seconds, grown = loaded(pins)
    started = time.thread_time()
    bare = frozenset(map(bytes.fromhex, pins))
    bare_seconds = time.thread_time() - started
    del bare
    named = [
        {"fingerprint": pin, "identity": f"client {number}"} for number, pin in enumerate(pins)
    ]
    _, named_seconds, named_grown = loaded(named)
    one = Policy(fingerprints=pins[-1:])
    names: dict[str, Any] = {"alice": pki.alice}
    for name, policy in (("many", many), ("one", one), ("again", one)):
        names[f"warm_{name}"] = Authorizer({"default": policy}).authorize
        names[f"cold_{name}"] = Authorizer({"default": policy}, most_remembered=0).authorize
    statements = {name: f"{name}(alice.decode('latin-1'))" for name in names if name != "alice"}
    found = medians(statements, names, rounds=rounds)

    def row(measure: str, many: str, one: str) -> Row:
        times = f"{found[many] * 1e6:.2f} us / {found[one] * 1e6:.2f} us"
        return Row(measure, found[many] / found[one], 1.2, beside=times)

    rows = [
        row("control: one pin / one pin", "cold_one", "cold_again"),
        row("warm: a million pins / one", "warm_many", "warm_one"),
        row("cold: a million pins / one", "cold_many", "cold_one"),
        Row(
            "loading / frozenset(map(bytes.fromhex))",
            seconds / bare_seconds,
            5,
            beside=f"{seconds:.2f} s / {bare_seconds:.2f} s",
        ),
        Row("memory held, without the texts of the settings", grown, 130, unit="MB"),
        Row("loading, each pin with an identity", named_seconds, None, unit="s"),
        Row("memory held, each pin with an identity", named_grown, None, unit="MB"),
    ]
    print_table(f"{MANY:,} pins", rows)
    return 0


def loaded(pins: list[Any]) -> tuple[Policy, float, float]:
    """Return a policy with some pins, the CPU seconds of its loading, and its megabytes."""
    gc.collect()
    before, started = resident_megabytes(), time.thread_time()
    policy = Policy(fingerprints=pins)
    seconds = time.thread_time() - started
    gc.collect()
    return policy, seconds, resident_megabytes() - before


if __name__ == "__main__":
    sys.exit(main())
