"""Judges every certificate in a folder for `arrcert explain --all`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from arrcert.certificate import ClientCertificate
from arrcert.cli.apps import Failure
from arrcert.cli.certificates import NoCertificateError, PasswordNeededError, read_given
from arrcert.cli.sites import Site
from arrcert.exceptions import quote
from arrcert.explanation import PolicyResult, explain


class Row(NamedTuple):
    """A file of a folder.

    Attributes:
        file: the name of the file.
        certificate: the certificate; None if there is none.
        results: what each policy says; empty without a certificate.
        problem: why there is no certificate, escaped; else empty.
    """

    file: str
    certificate: ClientCertificate | None
    results: Mapping[str, PolicyResult]
    problem: str

    @property
    def accepted_by(self) -> list[str]:
        """The names of the policies that accept the certificate."""
        return [name for name, result in self.results.items() if result.accepted]


def rows_of(
    folder: Path,
    site: Site,
    at: datetime,
    lists_at: datetime | None,
    password: bytes | None,
) -> list[Row]:
    """Return a row for each file of a folder, the certificate that expires first at the top.

    Args:
        folder: the folder. Folders in it, files whose name begins with a dot, and files that hold
            only a private key are skipped.
        site: the site.
        at: the time to judge for, a timezone-aware `datetime`.
        lists_at: as in `arrcert.explanation.explain`.
        password: the password of PKCS#12 files.

    Raises:
        Failure: no file holds a certificate.
    """
    rows: list[Row] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or _holds_a_key_alone(path):
            continue
        try:
            given = read_given(str(path), site.front_end, password)
        except NoCertificateError as error:
            rows.append(Row(path.name, None, {}, str(error)))
        except PasswordNeededError:
            rows.append(Row(path.name, None, {}, "has a password; write --password-file FILE"))
        else:
            results = explain(
                given.certificate,
                site.policies,
                at,
                forwarded=given.forwarded,
                others=given.others,
                lists_at=lists_at,
            )
            rows.append(Row(path.name, given.certificate, results, ""))
    if not any(row.certificate for row in rows):
        raise Failure(f"--all: {quote(folder)} holds no certificate")
    return sorted(
        rows,
        key=lambda row: (
            row.certificate is None,
            row.certificate and row.certificate.not_valid_after_utc,
        ),
    )


def _holds_a_key_alone(path: Path) -> bool:
    """Return whether a file holds a private key and no certificate. Such a file is not judged."""
    with open(path, "rb") as file:
        data = file.read(64 * 1024)
    return b"PRIVATE KEY-----" in data and b"CERTIFICATE-----" not in data
