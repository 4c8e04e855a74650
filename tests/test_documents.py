"""The README and the first pages are correct: the quick starts run, and the tables are complete."""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sysconfig
import textwrap
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert import Authorizer, CertificateDenied, ClientCertificate, DenialReason, Policy
from arrcert.cli.commands import main
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.policy import PARAMETERS
from arrcert.settings import load
from arrcert.testing import CertificateAuthority

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 9_000
"""Two printed pages."""
SCRIPTS = sysconfig.get_path("scripts")


def page(name: str) -> str:
    """Return the text of a page in docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[tuple[str, str]]:
    """Return (language, text) of each fenced block of a page, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page(name), flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Return a shell block's lines without the installs: the packages are installed here."""
    return [line for line in text.splitlines() if not line.startswith("pip install ")]


class Reader:
    """A reader who types the commands of a page in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")
        }
        self.environ["PATH"] = f"{SCRIPTS}{os.pathsep}{self.environ['PATH']}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def types(self, line: str) -> str:
        """Run one line in the shell, keep what it exports, and return what it printed."""
        marker = "__environment__"
        done = subprocess.run(
            ["bash", "-ec", f"{line}\necho {marker}; env -0"],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr.decode())
        printed, _, after = done.stdout.decode().partition(f"{marker}\n")
        self.environ = dict(
            pair.split("=", 1) for pair in after.split("\0") if "=" in pair and pair[0] != "_"
        )
        return printed

    @contextmanager
    def serves(self, line: str) -> Iterator[Path]:
        """Run `arrcert serve` as the first terminal, and return the file that holds its output."""
        log = self.folder / "terminal.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [*line.split(), "--bind", f"127.0.0.1:{self.port}"],
                cwd=self.folder,
                env=self.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                deadline = time.monotonic() + 30
                while "Running on" not in log.read_text():
                    assert server.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
                yield log
            finally:
                server.terminate()
                server.wait(10)

    def asks(self, line: str) -> None:
        """Run a curl line and compare its answer with the status in its comment."""
        command, _, status = line.partition("#")
        command = command.replace(":8443", f":{self.port}")
        code = self.types(f"{command.strip()} -s -o answer.txt -w '%{{http_code}}'")
        assert code == status.strip(), line


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader in an empty folder."""
    return Reader(tmp_path)


def follow(reader: Reader, shell: list[str], questions: str) -> str:
    """Run the shell lines, start the server with the last one, call it, and return its output."""
    *preparation, serve = shell
    for line in preparation:
        reader.types(line)
    with reader.serves(serve) as log:
        for line in commands(questions):
            if line.startswith("curl "):
                reader.asks(line)
            else:
                reader.types(line)
        return log.read_text()


def test_flask_quick_start(reader: Reader) -> None:
    """The Flask quick start runs unchanged, and its requests are answered with 403 and 200."""
    _, (_, app), (_, shell), (_, questions) = blocks("start-flask.md")
    (reader.folder / "app.py").write_text(app)
    said = follow(reader, commands(shell), questions)
    assert (reader.folder / "answer.txt").read_text() == "hello alice\n"
    [promised] = re.findall(r"was denied: `(.*?)`", page("start-flask.md"))
    assert promised in said


def test_django_quick_start(reader: Reader) -> None:
    """The Django quick start runs unchanged, and its requests are answered with 403 and 200."""
    _, (_, start), (_, settings), (_, shell), (_, questions) = blocks("start-django.md")
    for line in commands(start):
        reader.types(line)
    with (reader.folder / "mysite" / "settings.py").open("a") as file:
        file.write(settings)
    follow(reader, commands(shell), questions)
    assert "worked successfully" in (reader.folder / "answer.txt").read_text()


def test_fastapi_quick_start(reader: Reader) -> None:
    """The FastAPI quick start runs unchanged, and its requests are answered with 403 and 200."""
    _, (_, app), (_, shell), (_, questions) = blocks("start-fastapi.md")
    (reader.folder / "app.py").write_text(app)
    said = follow(reader, commands(shell), questions)
    assert (reader.folder / "answer.txt").read_text() == '"hello alice"'
    assert "denied GET /hellocert under policy 'default': missing: " in said


@pytest.mark.parametrize("framework", ["flask", "django", "fastapi"])
def test_quick_starts_install_from_a_clone(framework: str) -> None:
    """The first line of each quick start installs the extras of this clone by their names."""
    assert blocks(f"start-{framework}.md")[0] == ("sh", f"pip install '.[{framework},dev]'\n")
    assert {framework, "dev"} <= extras()


def test_private_ca(reader: Reader) -> None:
    """The steps from `openssl req` end with a 200, and with a 403 after the client is revoked."""
    _, (_, app), *_ = blocks("start-flask.md")
    (_, config), (_, issue), (_, shell), (_, questions), (_, fetch), _ = blocks("private-ca.md")
    (reader.folder / "app.py").write_text(app)
    (reader.folder / "ca.cnf").write_text(config)
    said = follow(reader, [*commands(issue), *commands(shell)], questions)
    assert "'default': revoked: " in said
    options, used = reader.types("arrcert fetch-crls --help"), re.findall(r"--\w+", fetch)
    assert used
    assert all(option in options for option in used)


def test_calling_out(reader: Reader) -> None:
    """The program of the page calls a site with a .p12 file, and the site answers with its name."""
    _, (_, app), (_, alice), _ = blocks("start-flask.md")
    _, section = page("outbound.md").split("## Try it\n")
    shell, program, call = re.findall(r"^```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[:3]
    (reader.folder / "app.py").write_text(app)
    (reader.folder / "call.py").write_text(program.replace(":8443", f":{reader.port}"))
    *preparation, serve = commands(shell)
    for line in [*commands(alice)[:-1], *preparation]:
        reader.types(line)
    command, _, greeting = call.partition("#")
    with reader.serves(serve):
        assert reader.types(command).strip() == greeting.strip()


def test_name_alone_proves_nothing(reader: Reader) -> None:
    """The page's attack on a list of common names runs unchanged."""
    [shell] = [text for language, text in blocks("coming-from.md") if language == "sh"]
    *_, printed = [reader.types(line) for line in commands(shell)]
    assert printed.strip() == "True"


def test_pins(reader: Reader) -> None:
    """The command of the page prints a fingerprint, and the policy with it loads."""
    reader.types(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=fabrikam"
        " -keyout fabrikam.key -out fabrikam.pem"
    )
    (_, policy), (_, command) = blocks("pins.md")
    fingerprint = reader.types(command).strip().partition("=")[2]
    value = policy.replace("<fingerprint of fabrikam.pem>", fingerprint)
    value = value.replace("<fingerprint of contoso.pem>", "AB" * 32)
    assert load({}, {"ARRCERT": value}).policies["default"]
    assert reader.types(f"ARRCERT='{value}' arrcert explain fabrikam.pem")


def test_policies_of_the_settings_page(authority: CertificateAuthority, reader: Reader) -> None:
    """The mapping in code and the one in JSON load, from the framework and the environment."""
    text = textwrap.dedent("\n".join(re.findall(r"^    .*", page("settings.md"), re.MULTILINE)))
    (_, python), (_, as_json) = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    file = reader.folder / "fabrikam-ca.pem"
    file.write_bytes(authority.certificate_pem)
    values = []
    for value in (python, as_json):
        for short, fingerprint in (("3F:A5:...:9C", "AB" * 32), ("AB:12:...:7E", "CD" * 32)):
            value = value.replace(short, fingerprint)
        values.append(re.sub(r'"[\w/]*fabrikam-ca.pem"', json.dumps(str(file)), value))
    held: dict[str, Any] = {}
    exec(values[0], held)
    assert load({"ARRCERT": held["ARRCERT"]}, {}).policies.keys() == {"default", "partners"}
    assert len(load({}, {"ARRCERT": values[1]}).policies["partners"]) == 2


def test_code_of_any_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middleware and the authorizer of the page deny a request without a certificate."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", "AB" * 32)
    around, without = [text for language, text in blocks("any-app.md") if language == "python"]
    said: list[str] = []
    authorizer = Authorizer({"partners": Policy(fingerprints=["CD" * 32])})
    held: dict[str, Any] = {"app": lambda *_: said.append("app"), "authorizer": authorizer}
    exec(around, held)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_PROTOCOL": "HTTP/1.1"}
    list(held["app"](environ, lambda status, headers: said.append(status)))
    assert said == ["403 Forbidden"]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    held = {"scope": scope}
    exec(without.replace('"..."', f'"{"AB" * 32}"'), held)
    assert "certificate" not in held


def test_served_apps(reader: Reader) -> None:
    """Each option of `arrcert serve` that the page uses in front of another server exists."""
    [shell] = [text for _, text in blocks("local.md") if text.startswith("arrcert serve")]
    usage = reader.types("arrcert serve --help")
    for line in shell.splitlines():
        assert line.partition("#")[0].strip() in usage


# The README. -------------------------------------------------------------------------------------


def extras() -> set[str]:
    """Return the names of the project's extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def test_readme_is_two_pages() -> None:
    """The README fits on two pages."""
    assert len(README.encode()) <= MOST_BYTES


def test_readme_installs_from_a_clone() -> None:
    """The first line to install names this folder and extras of the project."""
    [line] = re.findall(r"^pip install .+$", README, re.MULTILINE)
    [names] = re.findall(r"^pip install '\.\[(.+)\]'$", line)
    assert set(names.split(",")) <= extras()


def test_blocks_of_the_readme_are_those_of_the_quick_starts() -> None:
    """Each line of code in the README is also on the page of its framework."""
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for framework, text in zip(("flask", "django", "fastapi"), code, strict=True):
        quick_start = page(f"start-{framework}.md").replace('}\\n"', '}"')
        for line in text.splitlines():
            assert line in quick_start.splitlines(), line


def test_policy_of_the_readme(authority: CertificateAuthority, reader: Reader) -> None:
    """The policies of the README load."""
    [policy] = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    (reader.folder / "ca.pem").write_bytes(authority.certificate_pem)
    value = policy.replace("<fingerprint of alice.pem>", "AB" * 32)
    value = value.replace("fabrikam-ca.pem", str(reader.folder / "ca.pem"))
    assert len(load({}, {"ARRCERT": value}).policies["default"]) == 2


def weak_certificate(name: str, authority: CertificateAuthority) -> ClientCertificate:
    """Return a certificate with a short key that says that the authority issued it."""
    key = rsa.generate_private_key(65537, 1024)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.x509.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return ClientCertificate.from_der(certificate.public_bytes(Encoding.DER))


def test_comparison_with_the_sample(authority: CertificateAuthority) -> None:
    """The README's comparison describes what the platform's sample and arrcert really do."""
    documented_sample = pytest.importorskip(
        "benchmarks.sample", reason="the folder benchmarks is missing: run this from a clone"
    ).documented_sample
    rows = dict(
        re.findall(r"^\| (a (?:cert.+ list|renewed) [^|]+) \| ([^|]+) \|", README, re.MULTILINE)
    )
    servers = authority.issue("alice", extended_key_usages=("serverAuth",)).certificate
    weak = weak_certificate("alice", authority)
    first, renewed = (authority.issue("alice").certificate for _ in range(2))
    listed = "a certificate on your list"
    cases = {
        f"{listed} that was issued for servers only": (servers, servers, "wrong_usage"),
        f"{listed} with an RSA key of 1024 bits": (weak, weak, "weak_key"),
        "a renewed client certificate, issued by a partner's CA": (first, renewed, None),
    }
    assert rows.keys() == cases.keys()
    for name, (pinned, presented, reason) in cases.items():
        sample = documented_sample(pinned.sha1_fingerprint, "alice", pinned.issuer_common_name)
        accepts = sample(base64.b64encode(presented.der).decode())
        assert accepts == {"enters": True, "is denied": False}[rows[name]], name
        if reason is None:
            anchors = authority.certificate_pem.decode()
            Policy(trust_anchors=anchors, common_names=["alice"]).check(presented)
            continue
        with pytest.raises(CertificateDenied) as denied:
            Policy(fingerprints=[pinned.sha256_fingerprint]).check(presented)
        assert denied.value.reason == reason
        assert f"| denied (`{reason}`) |" in README


def test_numbers_of_the_readme() -> None:
    """The README states the real number of front ends and of servers."""
    assert f"{['seven', 'eight', 'nine'][len(FRONT_ENDS) - 8]} other front ends" in README
    [count] = re.findall(r"measured on (\d+) servers", README)
    assert f"The matrix has {count} servers" in page("servers.md")


# Tables. -----------------------------------------------------------------------------------------


def test_longer_examples_use_real_names() -> None:
    """Each name from arrcert in the longer examples exists."""
    import arrcert
    import arrcert.testing
    import arrcert_flask

    pages = ("flask.md", "any-app.md")
    code = "\n".join(
        text for name in pages for language, text in blocks(name) if language == "python"
    )
    imports = re.findall(r"^from (arrcert\S*) import (.+)$", code, re.MULTILINE)
    assert imports
    for module, names in imports:
        if not module.startswith("arrcert_django"):
            imported = importlib.import_module(module)
            assert all(hasattr(imported, name.strip()) for name in names.split(","))
    for name in ("certificate_denied", "certificate_exempt", "require_client_certificate"):
        assert name in code
        assert hasattr(arrcert_flask, name)
    assert {"Authorizer", "CertificateDenied", "Policy"} <= set(arrcert.__all__)


def test_settings_table_is_whole() -> None:
    """The tables hold every setting, every policy key and its variable, and nothing else."""
    section = page("settings.md")
    rows = re.findall(r"^\| `(\w+)` \|(?:.*\| `(\w+)` \|$)?", section, re.MULTILINE)
    settings = [name for name, _ in rows if name.startswith("ARRCERT")]
    keys = {name: variable for name, variable in rows if not name.startswith("ARRCERT")}
    assert settings == [
        "ARRCERT",
        "ARRCERT_FILE",
        "ARRCERT_FRONT_END",
        "ARRCERT_TRUSTED_PROXIES",
        "ARRCERT_FRONT_END_SECRET_HEADER",
        "ARRCERT_CROSS_SITE_ORIGINS",
        "ARRCERT_REFUSE_UNSAFE_SERVERS",
        "ARRCERT_FILE_IGNORE_MODE",
        "ARRCERT_EXEMPT_PATHS",
        "ARRCERT_PROTECT_ALL",
        "ARRCERT_MOST_REMEMBERED",
        "ARRCERT_EXPIRY_WARNING_DAYS",
        "ARRCERT_TELEMETRY",
    ]
    assert keys == {name: f"ARRCERT_{name.upper()}" for name in PARAMETERS}


def test_front_ends_table_is_true() -> None:
    """Every known front end is in the table, with its header, encoding and verify header."""
    section, _ = page("front-ends.md").split("\n## nginx")
    rows = [row.split("|") for row in section.splitlines() if row.startswith("| `")][1:]
    found = {}
    for _, names, header, encoding, checks, _ in rows:
        for name in re.findall(r"`([\w-]+)`", names):
            found[name] = (
                *re.findall(r"`([\w-]+)`", header),
                *re.findall(r"`([\w-]+)`", encoding),
                *re.findall(r"`([\w-]+)`", checks),
            )
    assert found == {
        name: tuple(
            text
            for text in (
                front_end.header,
                front_end.chain_header,
                front_end.encoding,
                front_end.verify_header,
                front_end.verify_value,
            )
            if text
        )
        for name, front_end in FRONT_ENDS.items()
    }


def test_every_reason_is_explained() -> None:
    """The table of reasons explains each reason that can be in the log."""
    section = page("reasons.md")
    first_cells = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
    explained = re.findall(r"`(\w+)`", " ".join(first_cells))
    assert sorted(explained) == sorted(DenialReason)
    assert all(f"](403.md#{reason})" in section for reason in DenialReason)


def test_documented_make_targets_exist() -> None:
    """The commands of the README are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(
        r"^make ([\w-]+)$|`make ([\w-]+)`", README + page("local.md"), re.MULTILINE
    )
    assert targets
    for target in map("".join, targets):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "sample_sites/README.md",
        "sample_sites/functions_app/README.md",
        *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    """Each link inside the project leads to a file and a heading that exist."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("document", ["README.md", "docs/django.md", "sample_sites/README.md"])
def test_commands_that_answer_questions_are_commands(document: str) -> None:
    """`arrcert` accepts each `arrcert` command of these pages, with its options."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(r"`arrcert ([a-z-]+) ([^`]+)`", text)
    assert {name for name, _ in found} >= {"explain", "probe", "routes"}
    for name, words in found:
        main.commands[name].make_context(name, shlex.split(words), resilient_parsing=True)
