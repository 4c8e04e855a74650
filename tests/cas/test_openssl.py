"""OpenSSL: lists with a scope that its commands make, and its own verdict with them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

CONFIGURATION = """
[ca]
default_ca = own
[own]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = any
unique_subject = no
[any]
commonName = supplied
[partition]
issuingDistributionPoint = critical, @point
[point]
fullname = URI:$ENV::POINT
onlyuser = TRUE
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
crlDistributionPoints = URI:$ENV::POINT
[plain]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
"""


class OpenSSL:
    """A CA with partitions, used through OpenSSL's commands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        (folder / "crlnumber").write_text("01\n")
        (folder / "ca.cnf").write_text(CONFIGURATION)
        self._new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self.run(
            "req", "-x509", *self._new_key, "-subj", "/CN=CA", "-keyout", "ca.key", "-out", "ca.pem"
        )

    def run(self, *arguments: str, part: int = 0) -> int:
        """Run a command and return its exit code."""
        done = subprocess.run(
            ["openssl", *arguments],
            cwd=self._folder,
            env={**os.environ, "POINT": point(part)},
            capture_output=True,
        )
        assert done.returncode == 0 or arguments[0] == "verify", done.stderr
        return done.returncode

    def issue(self, name: str, part: int, extensions: str = "client") -> Path:
        """Issue a client certificate, which by default names a partition."""
        request = ("req", *self._new_key, "-subj", f"/CN={name}", "-keyout", "client.key")
        self.run(*request, "-out", "client.csr")
        issue = ("ca", "-batch", "-config", "ca.cnf", "-notext", "-extensions", extensions)
        self.run(*issue, "-in", "client.csr", "-out", f"{name}.pem", part=part)
        return self._folder / f"{name}.pem"

    def publish(self, part: int) -> Path:
        """Make the list of a partition."""
        make = ("ca", "-config", "ca.cnf", "-gencrl", "-crlexts", "partition")
        self.run(*make, "-out", f"{part}.crl", part=part)
        return self._folder / f"{part}.crl"

    def accepts(self, client: Path, *lists: Path) -> bool:
        """Tell whether OpenSSL accepts a client with some lists."""
        options = [part for path in lists for part in ("-CRLfile", str(path))]
        return self.run("verify", "-CAfile", "ca.pem", "-crl_check", *options, str(client)) == 0


def point(part: int) -> str:
    """Return the URL of a partition."""
    return f"http://ca.example/{part}.crl"


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSSL:
    """A CA of its own for a test."""
    return OpenSSL(tmp_path)


def test_partitions_as_openssl_judges_them(
    openssl: OpenSSL, make_site: Any, tmp_path: Path
) -> None:
    """OpenSSL and arrcert give the same verdict with each partition, and with all of them."""
    clients = [openssl.issue(f"client-{part}", part) for part in range(3)]
    revoked = openssl.issue("revoked", 1)
    openssl.run("ca", "-config", "ca.cnf", "-revoke", str(revoked))
    lists = [openssl.publish(part) for part in range(3)]
    ca = tmp_path / "ca.pem"
    for part, client in enumerate(clients):
        for other, crl in enumerate(lists):
            verdict = make_site(trust_anchors=ca, crls=crl).verdict(client.read_bytes())
            assert verdict == (None if part == other else "revocation_unknown")
            assert openssl.accepts(client, crl) is (verdict is None)
    site = make_site(trust_anchors=ca, crls=lists)
    for client in clients:
        assert site.verdict(client.read_bytes()) is None
        assert openssl.accepts(client, *lists)
    assert site.verdict(revoked.read_bytes()) == "revoked"
    assert not openssl.accepts(revoked, *lists)


def test_certificate_that_names_no_point(openssl: OpenSSL, make_site: Any, tmp_path: Path) -> None:
    """Without a stated point, a partition does not cover a certificate that names none."""
    plain = openssl.issue("plain", 0, extensions="plain")
    crl, url = openssl.publish(0), point(0)
    ca = tmp_path / "ca.pem"
    site = make_site(trust_anchors=ca, crls=crl)
    assert site.verdict(plain.read_bytes()) == "revocation_unknown"
    assert not openssl.accepts(plain, crl)
    site = make_site(trust_anchors=ca, crls={"file": crl, "distribution_point": url})
    assert site.verdict(plain.read_bytes()) is None
