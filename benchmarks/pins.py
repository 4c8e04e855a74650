"""A policy of a million pins against one of one."""

from __future__ import annotations

import base64
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
    before, started = resident_megabytes(), time.perf_counter()
    many = Policy(fingerprints=pins)
    seconds, grown = time.perf_counter() - started, resident_megabytes() - before
    one = Policy(fingerprints=pins[-1:])
    names: dict[str, Any] = {"alice": pki.alice}
    for name, policy in (("many", many), ("one", one)):
        names[f"warm_{name}"] = Authorizer({"default": policy}).authorize
        names[f"cold_{name}"] = Authorizer({"default": policy}, most_remembered=0).authorize
    statements = {name: f"{name}(alice.decode('latin-1'))" for name in names if name != "alice"}
    found = medians(statements, names, rounds=rounds)

    def row(measure: str, many: str, one: str) -> Row:
        times = f"{found[many] * 1e6:.2f} us / {found[one] * 1e6:.2f} us"
        return Row(measure, found[many] / found[one], 1.2, beside=times)

    rows = [
        row("warm: a million pins / one", "warm_many", "warm_one"),
        row("cold: a million pins / one", "cold_many", "cold_one"),
        Row("loading", seconds, None, unit="s"),
        Row("memory held, the settings' own texts apart", grown, None, unit="MB"),
    ]
    print_table(f"{MANY:,} pins", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
