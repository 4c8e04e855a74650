"""Partitions of one CA: each list names a distribution point, and each certificate its own.

AWS Private CA and EJBCA publish such lists. certomancer models a CA with them.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(
        importlib.util.find_spec("certomancer") is None,
        reason="certomancer is not installed; it is in the dependency group cas (make test-all)",
    ),
]

COUNT = 4
HEAD = """
external-url-prefix: "http://ca.example"
keysets:
  own:
    path-prefix: .
    keys:
      ca: {path: ca.key}
      client: {path: client.key}
pki-architectures:
  own:
    keyset: own
    entities:
      ca: {common-name: Partitioned CA}
"""
ENTITY = """      client-%(number)d: {common-name: client-%(number)d}
"""
CERTS = """    certs:
      ca:
        subject: ca
        subject-key: ca
        issuer: ca
        authority-key: ca
        validity: {valid-from: "%(begin)s", valid-to: "%(end)s"}
        profiles:
          - {id: simple-ca}
"""
CERT = """      client-%(number)d:
        subject: client-%(number)d
        subject-key: client
        issuer: ca
        authority-key: ca
        validity: {valid-from: "%(begin)s", valid-to: "%(end)s"}
        extensions:
          - id: key_usage
            critical: true
            smart-value: {schema: key-usage, params: [digital_signature]}
          - {id: extended_key_usage, value: [client_auth]}
          - id: crl_distribution_points
            smart-value: {schema: crl-dist-url, params: {crl-repo-names: [part-%(part)d]}}
"""
REVOKED = """        revocation: {revoked-since: "%(begin)s", reason: key_compromise}
"""
SERVICE = """        part-%(number)d:
          for-issuer: ca
          signing-key: ca
          issuer-cert: ca
          simulated-update-schedule: P1D
          crl-type: user-only
"""


class PartitionedCA:
    """A CA with four partitions and two clients in each, made by certomancer.

    Client n and client n + 4 belong to partition n.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("ca", "client"):
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            (folder / f"{name}.key").write_bytes(pem)
        now = datetime.now(UTC)
        self._dates = {
            "begin": f"{now - timedelta(days=9, hours=12):%Y-%m-%dT%H:%M:%S+0000}",
            "end": f"{now + timedelta(days=90):%Y-%m-%dT%H:%M:%S+0000}",
        }
        self.write()

    def write(self, *revoked: int) -> None:
        """Write the configuration of the CA, in which some clients are revoked."""
        clients = range(2 * COUNT)
        text = HEAD + "".join(ENTITY % {"number": number} for number in clients)
        text += CERTS % self._dates
        for number in clients:
            text += CERT % {"number": number, "part": number % COUNT, **self._dates}
            text += REVOKED % self._dates if number in revoked else ""
        text += "    services:\n      crl-repo:\n"
        text += "".join(SERVICE % {"number": number} for number in range(COUNT))
        (self._folder / "certomancer.yml").write_text(text)

    def run(self, *arguments: str) -> None:
        """Run a command of certomancer."""
        command = [sys.executable, "-m", "certomancer", *arguments]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def certificate(self, label: str) -> bytes:
        """Return a certificate as PEM."""
        self.run("summon", "own", label, f"{label}.pem")
        return (self._folder / f"{label}.pem").read_bytes()

    def list_of(self, part: int) -> bytes:
        """Return the list of a partition."""
        self.run("necronomicon", "own", f"part-{part}", f"{part}.crl")
        return (self._folder / f"{part}.crl").read_bytes()


@pytest.fixture
def partitioned_ca(tmp_path: Path) -> PartitionedCA:
    """A CA of its own for a test."""
    (tmp_path / "ca").mkdir()
    return PartitionedCA(tmp_path / "ca")


def test_four_partitions_of_which_one_is_missing(
    partitioned_ca: PartitionedCA,
    published: dict[str, bytes],
    fetch_crls: Callable[..., str],
    make_site: Any,
    tmp_path: Path,
) -> None:
    """Each partition decides only about its own clients, and a missing one denies its clients."""
    anchor, urls, crls = tmp_path / "ca.pem", tmp_path / "urls.txt", tmp_path / "crls"
    anchor.write_bytes(partitioned_ca.certificate("ca"))
    clients = [partitioned_ca.certificate(f"client-{number}") for number in range(2 * COUNT)]
    lists = [partitioned_ca.list_of(part) for part in range(COUNT)]
    for part, crl in enumerate(map(x509.load_pem_x509_crl, lists)):
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        assert point.value.full_name is not None
        assert f"part-{part}" in point.value.full_name[0].value
        published[f"/{part}"] = lists[part]
    crls.mkdir()
    address = published["url"].decode()
    urls.write_text("".join(f"{address}/{part}\n" for part in range(COUNT - 1)))
    fetch = ("--issuer", anchor, "--urls", urls, crls)
    assert fetch_crls(*fetch).count(": ok: 0 entries") == COUNT - 1
    site = make_site(trust_anchors=anchor, crls=crls)
    wanted: list[str | None] = [None, None, None, "revocation_unknown"] * 2
    assert [site.verdict(client) for client in clients] == wanted
    assert (
        "and the certificate names the distribution point 'http://ca.example"
        in (site.denial(clients[3])[1])
    )

    # One client of partition 1 is revoked, and one of the missing partition. certomancer writes
    # both entries into every list, but only the list of the client's own partition counts.
    partitioned_ca.write(1, 3)
    for part in range(COUNT):
        published[f"/{part}"] = partitioned_ca.list_of(part)
    assert fetch_crls(*fetch).count(": ok: 2 entries") == COUNT - 1
    assert site.becomes(clients[1], "revoked") < 10
    wanted[1] = "revoked"
    assert [site.verdict(client) for client in clients] == wanted

    # The missing partition arrives.
    urls.write_text(urls.read_text() + f"{address}/{COUNT - 1}\n")
    assert fetch_crls(*fetch).count(": ok: 2 entries") == 1
    assert site.becomes(clients[7], None) < 10
    assert [site.verdict(client) for client in clients] == [
        *[None, "revoked", None, "revoked"],
        *[None] * COUNT,
    ]
