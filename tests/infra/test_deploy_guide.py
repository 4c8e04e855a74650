"""The commands of the deployment guide and of the ten steps work."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from arrcert import ClientCertificate
from arrcert.authorizer import Authorizer
from arrcert.settings import load
from arrcert.testing import CertificateAuthority, self_signed

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "sample_sites"
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
README = (SAMPLES / "README.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return one section of a document."""
    [found] = [part for part in text.split("\n## ") if part.startswith(heading)]
    return found


def steps() -> dict[int, str]:
    """Return the numbered steps of the samples' README, each with its code."""
    parts = re.split(r"^(\d+)\. ", section(README, "Deploy them"), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def shell(text: str) -> str:
    """Return the content of a text's shell blocks, without the list's indentation."""
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return "".join(re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in blocks)


def curl_lines() -> list[tuple[str, str]]:
    """Return each curl command of the checklist with the status in its comment."""
    code = shell(section(GUIDE, "What to verify after"))
    return re.findall(r"^(curl .*?)\s+# (\d{3})$", code, re.MULTILINE)


# App Service's front end gives this answer on port 80. The local one speaks only TLS.
OVER_TLS = [line for line in curl_lines() if "http://" not in line[0]]


@contextmanager
def serving(folder: Path, mode: str, fingerprint: str) -> Iterator[str]:
    """Run the Flask site behind the local front end, and return its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    policies = {"default": {"fingerprints": [fingerprint]}}
    environ = os.environ | {"ARRCERT": json.dumps(policies | {"partners": policies["default"]})}
    log = folder / "site.log"
    command = [Path(sysconfig.get_path("scripts")) / "arrcert", "serve", "app:app"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--client-cert-mode", mode, "--bind", f"127.0.0.1:{port}"],
            cwd=SAMPLES / "flask_site",
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 30
            while "Running on" not in log.read_text():
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"https://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture(scope="module", params=["required", "optional"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """A reader's folder with both certificates, and the site in one of the modes."""
    folder = tmp_path_factory.mktemp("reader")
    client = CertificateAuthority("Contoso Issuing CA").issue("alice")
    for name, issued in (("client", client), ("stranger", self_signed("stranger"))):
        (folder / f"{name}.pem").write_bytes(issued.certificate_pem)
        (folder / f"{name}.key").write_bytes(issued.private_key_pem)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ARRCERT")]:
            patch.delenv(name)
        patch.setenv("WEBSITE_SITE_NAME", "site")
        with serving(folder, request.param, client.certificate.sha256_fingerprint) as url:
            yield folder, url


def test_the_checklist_has_every_case() -> None:
    """The checklist has requests with and without a certificate, both forgeries, and plain HTTP."""
    told = [(command, status) for command, status in curl_lines()]
    assert len(told) == len(re.findall(r"^curl ", section(GUIDE, "What to verify"), re.MULTILINE))
    for header in ("X-ARR-ClientCert:", "X_ARR_ClientCert:"):
        forged = [command for command, _ in told if f'"{header}' in command and "https:" in command]
        assert len(forged) == 2
        assert sum("--cert stranger.pem" in command for command in forged) == 1
    assert [status for command, status in told if "http://" in command] == ["301", "301"]


@pytest.mark.parametrize(("command", "status"), OVER_TLS)
def test_curl(command: str, status: str, site: tuple[Path, str]) -> None:
    """Each command of the checklist gets the status in its comment, in either mode."""
    folder, url = site
    command = command.replace("https://site.example", url)
    done = subprocess.run(
        ["bash", "-ec", f"{command} -k -s -o answer -w '%{{http_code}}'"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == status, done.stderr


def test_the_query_is_the_saved_one() -> None:
    """The guide shows the query that the template saves."""
    first = re.findall(r"^```kusto\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[0]
    assert first == (SAMPLES / "infra" / "denials.kql").read_text(encoding="utf-8")


def test_no_start_command() -> None:
    """The guide removes the start command, as the template does."""
    assert re.findall(r"--startup-file (\S+)", GUIDE) == ['""']


def test_no_document_writes_a_default_host_name() -> None:
    """No document writes a default host name, because such a name has a hash."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *SAMPLES.rglob("*.*")]
    suffixes = {".md", ".py", ".sh", ".yaml", ".bicep", ".json", ".example"}
    for page in pages:
        if page.suffix in suffixes and "dist" not in page.parts:
            assert "azurewebsites.net" not in page.read_text(encoding="utf-8"), page


def test_names_of_the_modes() -> None:
    """Each mode of the template is listed with its names in the portal."""
    template = (SAMPLES / "infra" / "main.bicep").read_text(encoding="utf-8")
    [modes] = re.findall(r"@allowed\(\[([^]]+)\]\)\nparam clientCertMode", template)
    names = re.findall(r"'(\w+)'", modes)
    assert len(names) == 3
    for mode in names:
        assert re.search(rf"^\| `{mode}` \| \*.+\* \| \*.+\* \|$", GUIDE, re.MULTILINE), mode


def test_values_for_azd_are_parameters() -> None:
    """The parameters file of the template reads each value that the documents set with azd."""
    text = (SAMPLES / "infra" / "main.parameters.json").read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{(\w+)", text))
    told = set(re.findall(r"azd env set (\w+)", GUIDE + README))
    [optional] = re.findall(r"The template takes other values[^:]*: (.*)\. After", GUIDE)
    told |= set(re.findall(r"`(\w+)`", optional))
    assert told | {"AZURE_ENV_NAME", "AZURE_LOCATION"} == read


def test_ten_steps() -> None:
    """There are ten steps, each with a command and its expected result."""
    assert list(steps()) == list(range(1, 11))
    for number, text in steps().items():
        assert shell(text).strip(), number
        assert re.search(r"\b[Yy]ou see\b", text), number


def test_the_steps_before_azd(tmp_path: Path) -> None:
    """The certificate that step 3 makes is the only one that step 4 accepts."""
    shutil.copytree(SAMPLES / "infra", tmp_path / "infra")
    shown = [
        subprocess.run(
            ["bash", "-ec", shell(steps()[number])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for number in (3, 4)
    ]
    assert (tmp_path / "client.key").exists()
    assert re.search(r'"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}"', shown[1])
    policies = yaml.safe_load((tmp_path / "infra" / "arrcert.yaml").read_text())
    settings = load({}, {"ARRCERT": json.dumps(policies), "WEBSITE_SITE_NAME": "site"})
    certificate = ClientCertificate.from_pem((tmp_path / "client.pem").read_bytes())
    Authorizer.from_settings(settings)
    [policy] = settings.policies["default"]
    policy.check(certificate)
    [before] = load({}, {"ARRCERT": example(), "WEBSITE_SITE_NAME": "site"}).policies["default"]
    with pytest.raises(Exception, match="fingerprint_not_allowed"):
        before.check(certificate)


def example() -> str:
    """Return the policies in the clone."""
    return json.dumps(yaml.safe_load((SAMPLES / "infra" / "arrcert.yaml").read_text()))


def test_step_five_packages_the_sites() -> None:
    """Step 5 runs the packaging script, as azd does, for all sites."""
    assert shell(steps()[5]).split() == [
        *("python3", "package.py", "flask_site", "django_site", "fastapi_site")
    ]
