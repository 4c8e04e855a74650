"""The file of policies with real workers: replaced under load, and with removed partners."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arrcert.cli.install import install_file
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

pytestmark = pytest.mark.matrix

WORKERS = 4
REPLACEMENTS = 1000
GUNICORN = (
    *(sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning"),
    *("--workers", str(WORKERS), "partners_site:app"),
)
HALF = '[[default]]\ntrust_anchors = "ca.pem"\n'
"""Up to here the file is valid TOML, and accepts every client of the CA."""


class Answer(NamedTuple):
    """One answer: the client, the status, the worker, and the time."""

    who: str
    status: int
    worker: str
    at: float


class Load:
    """Clients that send requests continuously, from several threads."""

    def __init__(self, port: int, clients: dict[str, IssuedCertificate]) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._clients = clients
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(6)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        while not self._stop.is_set():
            for who, client in self._clients.items():
                headers = {**client.headers, "X-Forwarded-Proto": "https"}
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                connection.request("GET", "/", headers=headers)
                answer = connection.getresponse()
                worker = answer.read().decode()
                connection.close()
                self.answers.append(Answer(who, answer.status, worker, time.monotonic()))

    def statuses(self) -> dict[str, set[int]]:
        """Return the statuses that each client received."""
        return {
            who: {answer.status for answer in self.answers if answer.who == who}
            for who in self._clients
        }


class Partners:
    """The file of the site, and its possible contents."""

    def __init__(self, folder: Path, authority: CertificateAuthority) -> None:
        folder.chmod(0o755)
        (folder / "ca.pem").write_bytes(authority.certificate_pem)
        self.path = folder / "partners.toml"
        self.gateway = authority.issue("gateway")
        self.stranger = authority.issue("stranger")
        self.bob = self_signed("bob")
        self._new = folder / "new.toml"

    def text(self, *, with_bob: bool, comment: object = "") -> str:
        """Return a file that accepts the gateway, and optionally Bob."""
        text = f'{HALF}common_names = ["gateway"]\n'
        if with_bob:
            pin = self.bob.certificate.sha256_fingerprint
            text += f'[[default]]\nfingerprints = ["{pin}"]\n'
        return f"{text}# {comment}\n"

    def install(self, text: str) -> None:
        """Replace the file as `arrcert install-file` does."""
        self._new.write_text(text)
        install_file(self._new, self.path)

    def overwrite(self, text: str) -> None:
        """Write into the file as an upload does, with a pause in the middle."""
        with self.path.open("w") as file:
            file.write(text[: len(HALF)])
            file.flush()
            time.sleep(0.02)
            file.write(text[len(HALF) :])


@pytest.fixture
def partners(tmp_path: Path, authority: CertificateAuthority) -> Partners:
    """A file that accepts the gateway and Bob."""
    partners = Partners(tmp_path, authority)
    partners.install(partners.text(with_bob=True))
    return partners


@pytest.fixture
def port(serve: Any, partners: Partners) -> Iterator[int]:
    """A site of four workers that follows the file."""
    with serve(GUNICORN, ARRCERT_FILE=str(partners.path)) as site:
        deadline = time.monotonic() + 60
        workers: set[str] = set()
        with Load(site.port, {"gateway": partners.gateway}) as load:
            while len(workers) < WORKERS and time.monotonic() < deadline:
                time.sleep(0.1)
                workers = {answer.worker for answer in load.answers}
        assert len(workers) == WORKERS, "some workers do not answer"
        yield site.port
        said = site.log.read_text()
        assert "Traceback" not in said
        assert "is in use" not in said  # This record has the level INFO, which is off.


def test_nobody_is_decided_by_half_a_file(port: int, partners: Partners) -> None:
    """The file is replaced 1,000 times under load, and no request sees a part of it or gets a 500.

    Two of three times it is installed, and otherwise it is slowly overwritten in place.
    """
    clients = {
        "gateway": partners.gateway,
        "stranger": partners.stranger,
        "bob": partners.bob,
    }
    with Load(port, clients) as load:
        for number in range(REPLACEMENTS):
            text = partners.text(with_bob=number % 2 == 0, comment=number)
            if number % 3:
                partners.install(text)
            else:
                partners.overwrite(text)
    statuses = load.statuses()
    assert statuses["gateway"] == {200}
    assert statuses["stranger"] == {403}
    # Both contents of the file were in use.
    assert statuses["bob"] == {200, 403}
    asked = Counter(answer.worker for answer in load.answers)
    assert len(asked) == WORKERS
    assert min(asked.values()) > 10


@pytest.mark.parametrize("is_installed", [True, False])
def test_removed_partner_is_out_within_ten_seconds(
    port: int, partners: Partners, is_installed: bool
) -> None:
    """On each worker a removed partner gets its last 200 within ten seconds.

    This is true for a file that is installed, and for one that is copied without a checksum.
    """
    with Load(port, {"gateway": partners.gateway, "bob": partners.bob}) as load:
        time.sleep(2)
        removed = time.monotonic()
        text = partners.text(with_bob=False)
        if is_installed:
            partners.install(text)
        else:
            partners.overwrite(text)
        time.sleep(14)
    bob = [answer for answer in load.answers if answer.who == "bob"]
    assert len({answer.worker for answer in bob if answer.at < removed}) == WORKERS
    assert {answer.status for answer in bob if answer.at < removed} == {200}
    late = [answer for answer in bob if answer.at > removed + 10]
    assert len({answer.worker for answer in late}) == WORKERS
    assert {answer.status for answer in late} == {403}
    assert load.statuses()["gateway"] == {200}


def test_idle_worker_knows_of_the_removal(port: int, partners: Partners) -> None:
    """A worker without requests for ten seconds denies a removed partner."""
    partners.overwrite(partners.text(with_bob=False))
    time.sleep(10)
    with Load(port, {"bob": partners.bob}) as load:
        time.sleep(2)
    assert len({answer.worker for answer in load.answers}) == WORKERS
    assert {answer.status for answer in load.answers} == {403}
