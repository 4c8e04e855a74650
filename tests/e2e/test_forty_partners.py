"""Forty partners: one joins, one leaves and one gets a new certificate, without a restart."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arrcert.cli.install import install_file
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

pytestmark = pytest.mark.matrix

WORKERS = 4
PARTNERS = 40
SECONDS_UNTIL_IT_COUNTS = 10

GUNICORN = (
    *(sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning"),
    *("--workers", str(WORKERS)),
)
UVICORN = (
    *(sys.executable, "-m", "uvicorn", "--port", "{port}", "--log-level", "warning"),
    *("--workers", str(WORKERS)),
)


# Each framework on a server.
COMMANDS = {
    "flask": (*GUNICORN, "forty_partners_flask:app"),
    "django": (*GUNICORN, "forty_partners_django:app"),
    "rest": (*GUNICORN, "forty_partners_rest:app"),
    "fastapi": (*UVICORN, "forty_partners_fastapi:app"),
}


class Partner(NamedTuple):
    """One partner: its identity in the app, and its certificate."""

    name: str
    certificate: IssuedCertificate
    has_role: bool
    is_pinned: bool

    @property
    def toml(self) -> str:
        """The alternative that accepts this partner."""
        lines = ["[[default]]"]
        if self.has_role:
            lines.append('roles = ["orders"]')
        if self.is_pinned:
            lines.append(f'identity = "{self.name}"')
            lines.append(f'fingerprints = ["{self.certificate.certificate.sha256_fingerprint}"]')
        else:
            lines.append('identity = "contoso:{common_name}"')
            lines.append('trust_anchors = "contoso-ca.pem"')
            lines.append(f'common_names = ["{self.certificate.certificate.common_name}"]')
        return "\n".join(lines) + "\n"


class Answer(NamedTuple):
    """One answer: the status, the name from the view, and the process that answered."""

    status: int
    name: str | None
    worker: str


class Site:
    """A running site, and the file that it follows."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.file = folder / "partners.toml"
        self._new = folder / "new.toml"
        self.authority = CertificateAuthority("Contoso CA")
        (folder / "contoso-ca.pem").write_bytes(self.authority.certificate_pem)
        self.partners = {str(number): self._partner(number) for number in range(PARTNERS)}
        self.port = 0

    def _partner(self, number: int) -> Partner:
        """Make a partner. Every second one has the role, and every fourth is accepted by its CA."""
        has_role, is_pinned = number % 2 == 0, number % 4 != 3
        if is_pinned:
            return Partner(f"partner {number}", self_signed("gateway"), has_role, True)
        certificate = self.authority.issue(f"gateway-{number}")
        return Partner(f"contoso:gateway-{number}", certificate, has_role, False)

    def add(self, number: int) -> Partner:
        """Add a partner to the file that `install` writes."""
        partner = self.partners[str(number)] = self._partner(number)
        return partner

    def install(self) -> None:
        """Replace the file as `arrcert install-file` does."""
        self._new.write_text("\n".join(partner.toml for partner in self.partners.values()))
        install_file(self._new, self.file)

    def ask(self, who: IssuedCertificate, path: str) -> Answer:
        """Send one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path, headers={**who.headers, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        body, worker = answer.read(), answer.headers["X-Worker"]
        connection.close()
        name = json.loads(body)["name"] if answer.status == 200 else None
        return Answer(answer.status, name, worker)

    def ask_every_worker(self, who: IssuedCertificate, path: str) -> dict[str, Answer]:
        """Send requests until each worker has answered; return the last answer of each."""
        answers: dict[str, Answer] = {}
        deadline = time.monotonic() + 60
        while len(answers) < WORKERS:
            assert time.monotonic() < deadline, f"only {len(answers)} workers answer"
            answer = self.ask(who, path)
            answers[answer.worker] = answer
        return answers

    def check(self, partner: Partner) -> None:
        """Compare the answers to one partner with the content of the file."""
        assert self.ask(partner.certificate, "/whoami")[:2] == (200, partner.name)
        expected = (200, partner.name) if partner.has_role else (403, None)
        assert self.ask(partner.certificate, "/orders")[:2] == expected, partner.name


@pytest.fixture(params=COMMANDS)
def site(request: pytest.FixtureRequest, serve: Any, tmp_path: Path) -> Iterator[Site]:
    """A site of four workers that accepts forty partners, once in each framework."""
    site = Site(tmp_path)
    site.install()
    with serve(COMMANDS[request.param], ARRCERT_FILE=str(site.file)) as running:
        site.port = running.port
        yield site
        assert "Traceback" not in running.log.read_text()


def test_forty_partners(site: Site) -> None:
    """Each worker accepts the partners of the file, and applies a change within seconds."""
    for partner in site.partners.values():
        site.check(partner)
    assert site.ask(self_signed("gateway"), "/whoami").status == 403
    assert site.ask(site.authority.issue("stranger"), "/whoami").status == 403
    workers = site.ask_every_worker(site.partners["0"].certificate, "/whoami").keys()

    # All of this stays in effect until the workers see the new file.
    removed, pinned = site.partners["6"], site.partners["8"]
    for partner in (removed, pinned):
        answers = site.ask_every_worker(partner.certificate, "/orders")
        assert {answer.status for answer in answers.values()} == {200}

    added = site.add(PARTNERS)
    del site.partners["6"]
    rotated = site.partners["8"] = pinned._replace(certificate=self_signed("gateway"))
    site.install()
    installed = time.monotonic()
    while time.monotonic() < installed + SECONDS_UNTIL_IT_COUNTS:
        # The change has no effect on the other partners.
        site.check(site.partners["0"])
        site.check(site.partners["3"])

    for stranger in (removed.certificate, pinned.certificate):
        answers = site.ask_every_worker(stranger, "/whoami")
        assert {answer.status for answer in answers.values()} == {403}
    for partner in (added, rotated):
        for path in ("/whoami", "/orders"):
            answers = site.ask_every_worker(partner.certificate, path)
            assert {answer[:2] for answer in answers.values()} == {(200, partner.name)}
    for partner in site.partners.values():
        site.check(partner)
    # No worker was restarted.
    assert site.ask_every_worker(rotated.certificate, "/whoami").keys() == workers
