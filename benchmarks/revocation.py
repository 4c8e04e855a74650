"""The cost of revocation lists with 10 and with 1,000,000 entries: a decision, and the loading."""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_der_x509_crl
from paired import (
    Row,
    medians,
    print_table,
    resident_megabytes,
    rounds_from_command_line,
)

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import Finding
from arrcert.testing import CertificateAuthority
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.paths import TrustStore
from arrcert.trust.revocation import RevocationLists

FEW, MANY = 10, 1_000_000
WIDTH = 20
"""The bytes of the longest serial number that RFC 5280 section 4.1.2.2 allows."""
ROUNDS, LOADS = 60, 3


def tlv(tag: int, *content: bytes) -> bytes:
    """Write one DER element."""
    body = b"".join(content)
    size = len(body).to_bytes(4, "big").lstrip(b"\0")
    return bytes([tag, *([len(body)] if len(body) < 128 else [0x80 | len(size), *size])]) + body


def made_list(ca: CertificateAuthority, entries: int) -> bytes:
    """Sign a list of random serial numbers with reasons. pyca's builder would take minutes."""
    now = datetime.now(UTC)
    oid_reason, oid_ecdsa = bytes.fromhex("0603551d15"), bytes.fromhex("06082a8648ce3d040302")
    reason = tlv(0x30, tlv(0x30, oid_reason, tlv(0x04, b"\x0a\x01\x01")))
    tail = tlv(0x17, f"{now:%y%m%d%H%M%SZ}".encode()) + reason
    revoked = b"".join(tlv(0x30, tlv(0x02, b"\x5a", os.urandom(15)), tail) for _ in range(entries))
    algorithm = tlv(0x30, oid_ecdsa)
    signed = tlv(
        0x30,
        tlv(0x02, b"\x01"),
        algorithm,
        ca.name.public_bytes(),
        tlv(0x17, f"{now - timedelta(hours=1):%y%m%d%H%M%SZ}".encode()),
        tlv(0x17, f"{now + timedelta(days=1):%y%m%d%H%M%SZ}".encode()),
        tlv(0x30, revoked),
    )
    signature = ca._key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, signed, algorithm, tlv(0x03, b"\0", signature))


def longest_stall(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Run a function on a thread; return its result, its CPU seconds, and the longest stall.

    Args:
        work: the function. The stall is the longest time in which this thread could not run.
    """
    results: list[Any] = []

    def run() -> None:
        begun = time.thread_time()
        results.append(work())
        results.append(time.thread_time() - begun)

    thread = threading.Thread(target=run)
    last = time.perf_counter()
    longest = 0.0
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return results[0], results[1], longest


def main() -> int:
    """Measure, and print the tables."""
    rounds = rounds_from_command_line(__doc__, ROUNDS)
    root = CertificateAuthority("Root")
    issuing = CertificateAuthority("Issuing", issuer=root)
    client = ClientCertificate.from_der(issuing.issue("alice").certificate.der)
    issuers = [root.x509, issuing.x509]

    def read(data: bytes, source: str) -> RevocationList:
        [only] = read_revocation_lists(data, source=source, issuers=issuers)
        return only

    of_root = read(root.revocation_list(), "root")
    few = read(made_list(issuing, FEW), "few")
    data = made_list(issuing, MANY)
    gc.collect()
    before = resident_megabytes()
    many, seconds, stall = longest_stall(lambda: read(data, "many"))
    gc.collect()
    held = resident_megabytes() - before
    # Other programs can make a stall longer. So several are measured, and the shortest counts.
    bare_seconds, bare_stall = math.inf, math.inf
    for _ in range(LOADS):
        _, taken, stood = longest_stall(lambda: load_der_x509_crl(data))
        bare_seconds, bare_stall = min(taken, bare_seconds), min(stood, bare_stall)
        _, taken, stood = longest_stall(lambda: read(data, "many"))
        seconds, stall = min(taken, seconds), min(stood, stall)
    numbers = min(longest_stall(lambda: numbers_in(data))[1] for _ in range(LOADS))
    table = min(longest_stall(lambda: table_of(data))[1] for _ in range(LOADS))

    stores = {
        "none": TrustStore([root.x509], [issuing.x509]),
        "few": TrustStore([root.x509], [issuing.x509], RevocationLists([of_root, few])),
        "few again": TrustStore([root.x509], [issuing.x509], RevocationLists([of_root, few])),
        "many": TrustStore([root.x509], [issuing.x509], RevocationLists([of_root, many])),
    }
    statements = {name: f"decide(stores['{name}'])" for name in stores}
    at = datetime.now(UTC)

    def decide(store: TrustStore) -> None:
        path = store.authenticate(client, at)
        if isinstance(path, Finding) or store.check_revocation(path, at) is not None:
            raise RuntimeError("the client is denied")

    found = medians(statements, {"stores": stores, "decide": decide}, rounds=rounds)

    def row(measure: str, one: str, goal: float | None) -> Row:
        times = f"{found[one] * 1e6:.1f} us / {found['few'] * 1e6:.1f} us"
        return Row(measure, found[one] / found["few"], goal, beside=times)

    print_table(
        "A path with one intermediate, with revocation lists",
        [
            row(f"control: {FEW} entries / {FEW} entries", "few again", None),
            row(f"a decision, {MANY:,} entries / {FEW}", "many", 1.1),
            row(f"a decision, no list / {FEW} entries", "none", None),
            Row(
                f"loading {MANY:,} entries / only parsing the list and reading each serial number",
                seconds / numbers,
                None,
                beside=f"{seconds:.2f} s / {numbers:.2f} s CPU time, {len(data) / 1e6:.0f} MB",
            ),
            Row(
                f"loading {MANY:,} entries / a table that Python code fills",
                seconds / table,
                0.4,
                beside=f"{seconds:.2f} s / {table:.2f} s CPU time",
            ),
            Row(
                "longest stall of another thread / that of load_der_x509_crl alone",
                stall / bare_stall,
                1.2,
                beside=f"{stall * 1e3:.0f} ms / {bare_stall * 1e3:.0f} ms",
            ),
            Row(f"memory held, {MANY:,} entries", held, None, unit="MB"),
        ],
    )
    return 0


def table_of(data: bytes) -> bytearray:
    """Parse a list, and let Python code put each serial number into one block of memory.

    The block is a hash table with open addressing, of which a quarter is empty. This is the usual
    way to hold a list in little memory. It does not check the signature or the extensions of the
    list.
    """
    crl = load_der_x509_crl(data)
    size = (len(crl) * 4 // 3 + 1) * WIDTH
    table, empty = bytearray(size), bytes(WIDTH)
    for entry in crl:
        key = entry.serial_number.to_bytes(WIDTH, "big")
        at = hash(key) % (size // WIDTH) * WIDTH
        while table[at : at + WIDTH] not in (empty, key):
            at = (at + WIDTH) % size
        table[at : at + WIDTH] = key
    return table


def numbers_in(data: bytes) -> int:
    """Parse a list and read each serial number, with the interface of cryptography."""
    return sum(1 for entry in load_der_x509_crl(data) if entry.serial_number)


if __name__ == "__main__":
    sys.exit(main())
