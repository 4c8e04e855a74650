"""Path validation of the client-certificate cases that were made from x509-limbo.

The vectors are data of their own; LIMBO_VECTORS names their file (`vectors.json.gz`).
"""

from __future__ import annotations

import gzip
import json
import os
import time
import warnings
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from arrcert import CertificateDenied, ClientCertificate, ConfigurationError, Policy

WANTED_CORE = 102
SLOWEST_SECONDS = 10.0


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    """All cases. Each has its own moment."""
    path = os.environ.get("LIMBO_VECTORS")
    if not path:
        pytest.skip("LIMBO_VECTORS does not name the x509-limbo vectors (vectors.json.gz)")
    vectors = json.loads(gzip.decompress(Path(path).read_bytes()))
    for case in vectors["cases"]:
        case["at"] = datetime.fromisoformat(case["at"] or vectors["meta"]["default_at"])
    found: list[dict[str, Any]] = vectors["cases"]
    return found


def is_accepted(case: dict[str, Any]) -> bool:
    """Tell whether a policy accepts a certificate, which it does not if it cannot be made."""
    try:
        policy = Policy(trust_anchors=case["roots"], intermediates=case["intermediates"] or None)
        policy.check(ClientCertificate.from_pem(case["leaf"]), case["at"])
    except (CertificateDenied, ConfigurationError):
        return False
    return True


def test_conformance(cases: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """Of the core cases 102 of 104 are right, none is falsely accepted, and each ends in time."""
    right: Counter[str] = Counter()
    false_accepts: dict[str, list[str]] = {}
    false_rejects: dict[str, list[str]] = {}
    total = Counter(case["bucket"] for case in cases)
    for case in cases:
        start = time.perf_counter()
        with warnings.catch_warnings():
            # cryptography warns of the serial numbers in some cases.
            warnings.simplefilter("ignore", UserWarning)
            accepted = is_accepted(case)
        assert time.perf_counter() - start < SLOWEST_SECONDS, case["id"]
        if accepted == case["expect"]:
            right[case["bucket"]] += 1
        else:
            wrong = false_accepts if accepted else false_rejects
            wrong.setdefault(case["bucket"], []).append(case["id"])
    with capsys.disabled():
        print("\n\nbucket   cases  right  accepted, unwanted  rejected, unwanted")
        for bucket in ("core", "profile", "choice"):
            print(
                f"{bucket:8} {total[bucket]:5}  {right[bucket]:5}"
                f"  {len(false_accepts.get(bucket, [])):18}"
                f"  {len(false_rejects.get(bucket, [])):18}"
            )
        print(f"core, rejected though wanted: {', '.join(false_rejects.get('core', []))}")
    assert false_accepts.get("core", []) == []
    assert right["core"] >= WANTED_CORE
    assert total["core"] == 104
