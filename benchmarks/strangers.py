"""The memory and the time that 200,000 strangers cost, each with another certificate."""

from __future__ import annotations

import base64
import gc
import logging
import sys
from typing import Any

from paired import Row, medians, print_table, resident_megabytes, rounds_from_command_line

from arrcert import Authorizer, CertificateDenied, Policy
from arrcert.testing import CertificateAuthority

STRANGERS = 200_000


def main() -> int:
    """Present strangers' certificates under three policies, and print the table."""
    rounds = rounds_from_command_line(__doc__, 101)
    logging.disable(logging.CRITICAL)
    authority = CertificateAuthority("Contoso Issuing CA")
    hot = authority.issue("alice")
    stranger = CertificateAuthority("Stranger").issue("alice").certificate
    anchors = authority.certificate_pem.decode()
    policies = {
        "pinned": Policy(fingerprints=[hot.certificate.sha256_fingerprint]),
        "pinned key": Policy(public_keys=["A" * 64]),
        "path": Policy(trust_anchors=anchors, common_names=["alice"]),
    }
    authorizer = Authorizer({**policies, "hot": Policy(trust_anchors=anchors)})
    for name in ("hot", "pinned", "path"):
        authorizer.authorize(hot.header_value, name)
    names: dict[str, Any] = {"authorize": authorizer.authorize, "hot": hot.header_value.encode()}
    statement = {"hot": "authorize(hot.decode('latin-1'), 'hot')"}
    before = medians(statement, names, rounds=rounds)["hot"]
    present(authorizer, stranger.der, stranger.serial_number, list(policies), range(2_000))
    gc.collect()
    resident = resident_megabytes()
    present(authorizer, stranger.der, stranger.serial_number, list(policies), range(STRANGERS))
    gc.collect()
    grown = resident_megabytes() - resident
    after = medians(statement, names, rounds=rounds)["hot"]
    rows = [
        Row(f"resident memory, {STRANGERS:,} strangers", grown, 8, unit="MB"),
        Row(
            "a frequent client: after / before", after / before, 1.5, beside=f"{after * 1e6:.2f} us"
        ),
    ]
    print_table("Strangers", rows)
    return 0


def present(
    authorizer: Authorizer, der: bytes, serial: int, policies: list[str], numbers: range
) -> None:
    """Present certificates, each with another serial number."""
    at = der.index(serial.to_bytes((serial.bit_length() + 8) // 8, "big"))
    for number in numbers:
        other = der[:at] + b"\x01" + number.to_bytes(8, "big") + der[at + 9 :]
        try:
            authorizer.authorize(base64.b64encode(other).decode(), policies[number % len(policies)])
        except CertificateDenied:
            continue
        raise RuntimeError("a stranger entered")


if __name__ == "__main__":
    sys.exit(main())
