"""The change from pins to a CA, step by step as docs/pins-to-ca.md describes it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import flask
import pytest

from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed
from arrcert_flask import Arrcert, get_client_identity

PAGE = (Path(__file__).parent.parent / "docs" / "pins-to-ca.md").read_text(encoding="utf-8")
PINS, BOTH, RETIRING, CA_ALONE = re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
[CA_ONLY_FILE] = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
[COMMAND] = re.findall(r"^```sh\n(.*?)\n```$", PAGE, re.DOTALL | re.MULTILINE)
SHARED, ENTRIES, RETIREMENT = re.findall(r"^```log\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


class Partners:
    """Two partners: fabrikam has a certificate of the CA, contoso has an old and a new one."""

    def __init__(self, folder: Path) -> None:
        self.ca = CertificateAuthority("Partners CA")
        self.fabrikam = self.ca.issue("fabrikam")
        self.contoso = self_signed("contoso")
        self.renewed = self.ca.issue("contoso")
        folder.joinpath("partners-ca.pem").write_bytes(self.ca.certificate_pem)
        folder.joinpath("partners").mkdir()
        for name, issued in (("fabrikam", self.fabrikam), ("contoso", self.contoso)):
            folder.joinpath("partners", f"{name}.pem").write_bytes(issued.certificate_pem)
        folder.joinpath("ca-only.toml").write_text(CA_ONLY_FILE)

    def filled(self, text: str) -> str:
        """Return the settings with real values instead of the placeholders."""
        for name, issued in (("fabrikam", self.fabrikam), ("contoso", self.contoso)):
            fingerprint = issued.certificate.sha256_fingerprint
            text = text.replace(f"<fingerprint of {name}.pem>", fingerprint)
        day = datetime.now(UTC) + timedelta(days=14)
        return text.replace("<a day in two weeks>", f"{day:%Y-%m-%d}")


@pytest.fixture
def partners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Partners:
    """The partners. The working directory holds their files."""
    monkeypatch.chdir(tmp_path)
    return Partners(tmp_path)


def visits(settings: str, *clients: IssuedCertificate) -> list[tuple[int, str]]:
    """Return the status and the identity of each client's visit to a site with these settings."""
    app = flask.Flask("site")
    app.config.update(ARRCERT=json.loads(settings), ARRCERT_PROTECT_ALL=True)
    Arrcert(app)

    @app.get("/hellocert")
    def hellocert() -> str:
        identity = get_client_identity()
        return str(identity and identity.name)

    visitor = app.test_client()
    answers = [visitor.get("/hellocert", headers=client.headers) for client in clients]
    return [
        (answer.status_code, answer.text if answer.status_code == 200 else "") for answer in answers
    ]


def explained(*, expected: int) -> dict[str, bool]:
    """Run the page's command, and return who is accepted by the policy of the CA alone."""
    command = COMMAND.split()
    assert command[0] == "arrcert"
    path = [entry or os.getcwd() for entry in sys.path]
    done = subprocess.run(
        [sys.executable, "-m", "arrcert.cli", *command[1:], "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        check=False,
    )
    assert done.returncode == expected, done.stderr
    return {
        Path(row["file"]).name: row["accepted"] for row in json.loads(done.stdout)["certificates"]
    }


def masked(text: str) -> str:
    """Replace what differs from run to run by the page's placeholders."""
    text = re.sub(r"\b[0-9A-F]{64}\b", "<SHA-256>", text)
    text = re.sub(r"expires in \d+ days", "expires in <days> days", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)


def alternatives_of(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Return the alternatives that the log of entries names."""
    return [
        vars(record)["arrcert_alternative"]
        for record in caplog.records
        if record.name == "arrcert.access"
    ]


def test_from_pins_to_a_ca(partners: Partners, caplog: pytest.LogCaptureFixture) -> None:
    """No step denies a partner that was accepted before, and the log says who needs a pin."""
    fabrikam, contoso, renewed = partners.fabrikam, partners.contoso, partners.renewed
    entered = [(200, "fabrikam"), (200, "contoso")]
    # 1. Pins.
    assert visits(partners.filled(PINS), fabrikam, contoso, renewed) == [*entered, (403, "")]
    # 3. Both: the clients of step 1 are accepted with the same names, and so is a renewed
    # certificate.
    caplog.set_level(logging.INFO, "arrcert.access")
    caplog.clear()
    assert visits(partners.filled(BOTH), fabrikam, contoso) == entered
    # 4. The log of entries.
    said = [masked(record.getMessage()) for record in caplog.records]
    assert said == [*SHARED.splitlines(), *ENTRIES.splitlines()]
    assert alternatives_of(caplog) == [1, 2]
    # 5. The last pin ends soon, and the site logs that. The partner changes over.
    caplog.clear()
    assert visits(partners.filled(RETIRING), fabrikam, contoso) == entered
    warnings = [
        masked(record.getMessage()) for record in caplog.records if record.levelname == "WARNING"
    ]
    assert warnings == [*SHARED.splitlines(), *RETIREMENT.splitlines()]
    caplog.clear()
    assert visits(partners.filled(RETIRING), fabrikam, renewed) == entered
    assert alternatives_of(caplog) == [1, 1]
    # 6. The CA alone: all who changed over are accepted with the same names.
    assert visits(CA_ALONE, fabrikam, renewed, contoso) == [*entered, (403, "")]
    denial = caplog.records[-1]
    assert vars(denial)["arrcert_reason"] == "untrusted"


def test_explain_says_who_would_fail(partners: Partners) -> None:
    """The page's command reports contoso's certificate until contoso has replaced it."""
    assert explained(expected=1) == {"contoso.pem": False, "fabrikam.pem": True}
    Path("partners/contoso.pem").write_bytes(partners.renewed.certificate_pem)
    assert explained(expected=0) == {"contoso.pem": True, "fabrikam.pem": True}


def test_the_file_and_the_last_settings_are_the_same() -> None:
    """The policy that is explained in step 2 is the policy that the site has at the end."""
    import tomllib

    assert tomllib.loads(CA_ONLY_FILE) == json.loads(CA_ALONE)
