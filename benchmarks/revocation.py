"""What revocation costs: a decision under a list of 10 entries and one of 1,000,000, and the load.

Run it from the project's root: `python benchmarks/revocation.py`. It takes under a minute.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from arrcert.certificate import ClientCertificate
from arrcert.testing import CertificateAuthority
from arrcert.trust.crls import RevocationList, read_revocation_lists
from arrcert.trust.paths import TrustStore
from arrcert.trust.revocation import RevocationLists

FEW, MANY = 10, 1_000_000
ROUNDS, DECISIONS = 60, 200


def tlv(tag: int, *content: bytes) -> bytes:
    """Write one DER element."""
    body = b"".join(content)
    size = len(body).to_bytes(4, "big").lstrip(b"\0")
    return bytes([tag, *([len(body)] if len(body) < 128 else [0x80 | len(size), *size])]) + body


def made_list(ca: CertificateAuthority, entries: int) -> bytes:
    """Sign a list of random serial numbers, each with a reason; pyca's builder takes minutes."""
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


def resident_megabytes(field: str) -> float:
    """Return this process's resident memory (VmRSS) or its peak (VmHWM); Linux alone tells."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"no {field} in /proc/self/status")


def longest_stall(work: Callable[[], RevocationList]) -> tuple[RevocationList, float, float]:
    """Do work on a thread; return its result, its seconds, and the longest this thread stood."""
    results: list[RevocationList] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    begun = last = time.perf_counter()
    longest = 0.0
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return results[0], last - begun, longest


def main() -> None:
    """Measure, and print one table."""
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
    size = len(data) / 1e6
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Forget the peak of making the list.
    before = resident_megabytes("VmRSS")
    many, seconds, stall = longest_stall(lambda: read(data, "many"))
    peak = resident_megabytes("VmHWM")
    gc.collect()
    held = resident_megabytes("VmRSS") - before

    at = datetime.now(UTC)
    stores = {
        "none": TrustStore([root.x509], [issuing.x509]),
        "few": TrustStore([root.x509], [issuing.x509], RevocationLists([of_root, few])),
        "few again": TrustStore([root.x509], [issuing.x509], RevocationLists([of_root, few])),
        "many": TrustStore([root.x509], [issuing.x509], RevocationLists([of_root, many])),
    }

    def decide(store: TrustStore) -> None:
        store.check_revocation(client, store.authenticate(client, at), at)

    # Interleaved, so that a machine that slows down slows all of them; the smallest is the least
    # disturbed, and the second run of the same list shows what a ratio is worth.
    times: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(ROUNDS):
        for name, store in stores.items():
            begun = time.perf_counter()
            for _ in range(DECISIONS):
                decide(store)
            times[name].append((time.perf_counter() - begun) / DECISIONS * 1e6)

    base = times["few"]
    print(f"{'path of two links, decided with':38} {'us':>8} {'ratio':>8}")
    for name, label in (
        ("none", "no list"),
        ("few", f"{FEW:,} entries"),
        ("few again", f"{FEW:,} entries, once more (control)"),
        ("many", f"{MANY:,} entries"),
    ):
        ratio = statistics.median(a / b for a, b in zip(times[name], base, strict=True))
        print(f"{label:38} {min(times[name]):8.1f} {ratio:8.2f}")
    print()
    print(f"loading {len(many):,} entries ({size:.0f} MB of DER)")
    print(f"{'seconds, on a thread':38} {seconds:8.2f}")
    print(f"{'longest that another thread stood, ms':38} {stall * 1000:8.0f}")
    print(f"{'memory held, MB':38} {held:8.0f}")
    print(f"{'peak above the bytes of the file, MB':38} {peak - before:8.0f}")
    ratio = statistics.median(a / b for a, b in zip(times["many"], base, strict=True))
    sys.exit(f"over 1.1: {ratio:.2f}" if ratio > 1.1 else 0)


if __name__ == "__main__":
    main()
