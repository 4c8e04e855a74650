"""The certificates that the probe presents, and the header values that a forger would send."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote as percent_encode

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert.forwarding.front_ends import FrontEnd
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

LONGEST_COMMON_NAME = 64
"""The upper bound of a common name (RFC 5280 appendix A.1)."""

_BYTES_A_NAME = 55


class Client(NamedTuple):
    """A certificate with its key, in files that `ssl` can load.

    Attributes:
        certificate_file: the certificate as PEM; further certificates may follow.
        key_file: the private key as PEM.
        leaf: the certificate itself.
    """

    certificate_file: Path
    key_file: Path
    leaf: x509.Certificate


class Mint:
    """Issues the certificates of strangers. Each common name says which check it belongs to.

    Args:
        folder: the folder for the files. The caller removes it after the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], Client] = {}

    def stranger(self, check: str, place: str) -> Client:
        """Return a new self-signed certificate, which no site can have in its settings.

        Args:
            check: the number and the title of the check.
            place: where the probe presents the certificate: `in TLS` or `in header`.
        """
        made = self._made.get((check, place))
        if made is None:
            made = self._made[check, place] = self._write(
                self_signed(f"arrcert probe {check}, stranger {place}")
            )
        return made

    def expired(self, check: str) -> Client:
        """Return a stranger's certificate that expired yesterday.

        Args:
            check: the number and the title of the check.
        """
        yesterday = datetime.now(UTC) - timedelta(days=1)
        name = f"arrcert probe {check}, stranger in TLS"
        return self._write(self_signed(name, not_after=yesterday))

    def large(self, check: str, kilobytes: int) -> Client:
        """Return a stranger's certificate with many names.

        Args:
            check: the number and the title of the check.
            kilobytes: the least size of its DER, in 1024 bytes.
        """
        names = [
            f"{number:04}.a-name-that-makes-the-certificate-large.example"
            for number in range(1 + kilobytes * 1024 // _BYTES_A_NAME)
        ]
        return self._write(
            CertificateAuthority("arrcert probe").issue(
                f"arrcert probe {check}, stranger in TLS", dns_names=names
            )
        )

    def with_another_certificate(self, client: Client, check: str) -> Client:
        """Return a client that sends a second certificate after its own.

        Args:
            client: the client whose certificate comes first.
            check: the number and the title of the check.
        """
        own = client.leaf.public_bytes(Encoding.PEM)
        more = CertificateAuthority(f"arrcert probe {check}, chain").certificate_pem
        file = self._folder / f"{len(list(self._folder.iterdir()))}.pem"
        file.write_bytes(own + more)
        return client._replace(certificate_file=file)

    def _write(self, issued: IssuedCertificate) -> Client:
        stem = self._folder / str(len(list(self._folder.iterdir())))
        certificate_file, key_file = stem.with_suffix(".pem"), stem.with_suffix(".key")
        certificate_file.write_bytes(issued.certificate_pem)
        key_file.write_bytes(issued.private_key_pem)
        return Client(certificate_file, key_file, issued.certificate.x509)


def header_value(front_end: FrontEnd, certificate: x509.Certificate) -> str:
    """Return the header value that a front end would send for a certificate.

    Args:
        front_end: the front end, whose encoding is used.
        certificate: the client's certificate.
    """
    der = certificate.public_bytes(Encoding.DER)
    bare = base64.b64encode(der).decode("ascii")
    match front_end.encoding:
        case "base64-der":
            return bare
        case "rfc9440":
            return f":{bare}:"
        case encoding:
            pem = percent_encode(certificate.public_bytes(Encoding.PEM).decode("ascii"), safe="")
            if encoding == "percent-encoded-pem":
                return pem
            return f'Hash={hashlib.sha256(der).hexdigest()};Cert="{pem}"'
