"""The README is true: its quick starts run as they stand, its tables are whole."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arrcert import DenialReason
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.policy import PARAMETERS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = sysconfig.get_path("scripts")


def blocks(heading: str) -> list[tuple[str, str]]:
    """Return (language, text) of each fenced block in a section, in order."""
    section = re.split(r"^## ", README, flags=re.MULTILINE)
    [text] = [part for part in section if part.startswith(heading)]
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Return the lines of a shell block that a reader types; the packages are installed here."""
    return [line for line in text.splitlines() if not line.startswith("pip install ")]


class Reader:
    """Somebody who types what the README says, in an empty folder."""

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
        """Run `arrcert serve` as the first terminal, and give the file of what it says."""
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
        """Run a curl line and hold its answer against the status in its comment."""
        command, _, status = line.partition("#")
        command = command.replace(":8443", f":{self.port}")
        code = self.types(f"{command.strip()} -s -o answer.txt -w '%{{http_code}}'")
        assert code == status.strip(), line


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A newcomer in a clean directory."""
    return Reader(tmp_path)


def follow(reader: Reader, shell: list[str], questions: str) -> str:
    """Run the shell lines, the last of which starts a server, then call it; return its output."""
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
    """The Flask quick start leads, as it stands, to a 403 and a 200."""
    (_, install), (_, app), (_, shell), (_, questions), *_ = blocks("Flask in two minutes")
    assert install == "pip install 'arrcert[flask,dev]'\n"
    (reader.folder / "app.py").write_text(app)
    said = follow(reader, commands(shell), questions)
    assert (reader.folder / "answer.txt").read_text() == "hello alice\n"
    [promised] = re.findall(r"was denied: `(.*?)`", README)
    assert promised in said


def test_django_quick_start(reader: Reader) -> None:
    """The Django quick start leads, as it stands, to a 403 and a 200."""
    (_, start), (_, settings), (_, shell), (_, questions), *_ = blocks("Django in two minutes")
    for line in commands(start):
        reader.types(line)
    with (reader.folder / "mysite" / "settings.py").open("a") as file:
        file.write(settings)
    follow(reader, commands(shell), questions)
    assert "worked successfully" in (reader.folder / "answer.txt").read_text()


def test_private_ca(reader: Reader) -> None:
    """The private CA leads from `openssl req` to a 200 and, once revoked, to a 403."""
    (_, _), (_, app), *_ = blocks("Flask in two minutes")
    (_, config), (_, issue), (_, shell), (_, questions), (_, fetch) = blocks("A private CA")
    (reader.folder / "app.py").write_text(app)
    (reader.folder / "ca.cnf").write_text(config)
    said = follow(reader, [*commands(issue), *commands(shell)], questions)
    assert "'default': revoked: " in said
    options = reader.types("arrcert fetch-crls --help")
    assert all(word in options for word in re.findall(r"--\w+", fetch))


def test_calling_out(reader: Reader) -> None:
    """The program that calls out with a .p12 is greeted by its name."""
    (_, _), (_, app), (_, alice), *_ = blocks("Flask in two minutes")
    (_, shell), (_, program), (_, call) = blocks("Calling out with a certificate")
    (reader.folder / "app.py").write_text(app)
    (reader.folder / "call.py").write_text(program.replace(":8443", f":{reader.port}"))
    *preparation, serve = commands(shell)
    for line in [*commands(alice)[:-1], *preparation]:
        reader.types(line)
    command, _, greeting = call.partition("#")
    with reader.serves(serve):
        assert reader.types(command).strip() == greeting.strip()


def test_name_alone_proves_nothing(reader: Reader) -> None:
    """The attack on a list of common names runs as it stands."""
    shell = [text for language, text in blocks("Coming from") if language == "sh"][-1]
    *_, printed = [reader.types(line) for line in commands(shell)]
    assert printed.strip() == "True"


def test_longer_examples_use_real_names() -> None:
    """Every name of ours in the longer examples exists."""
    import arrcert
    import arrcert.testing
    import arrcert_flask

    code = "\n".join(text for _, text in re.findall(r"```(python)\n(.*?)```", README, re.DOTALL))
    for module, names in re.findall(r"^from (arrcert\S*) import (.+)$", code, re.MULTILINE):
        if not module.startswith("arrcert_django"):
            imported = importlib.import_module(module)
            assert all(hasattr(imported, name.strip()) for name in names.split(","))
    for name in ("certificate_denied", "certificate_exempt", "require_client_certificate"):
        assert name in code
        assert hasattr(arrcert_flask, name)
    assert {"Authorizer", "CertificateDenied", "Policy"} <= set(arrcert.__all__)


def test_settings_table_is_whole() -> None:
    """Every setting, every key of a policy and its variable is in the tables, and none besides."""
    [section] = [part for part in README.split("\n## ") if part.startswith("Settings")]
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
    [section] = [part for part in README.split("\n## ") if part.startswith("Behind another")]
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
    """Whatever an operator finds in the log is in the table of reasons."""
    [section] = [part for part in README.split("\n## ") if part.startswith("Why was somebody")]
    first_cells = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
    explained = re.findall(r"`(\w+)`", " ".join(first_cells))
    assert sorted(explained) == sorted(DenialReason)


def test_documented_make_targets_exist() -> None:
    """The commands of the README are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make ([\w-]+)$|`make ([\w-]+)`", README, re.MULTILINE)
    assert targets
    for target in map("".join, targets):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "SECURITY.md",
        "sample_sites/README.md",
        "sample_sites/functions_app/README.md",
        "docs/threat-model.md",
        "docs/servers.md",
        "docs/outbound.md",
        "docs/deploy.md",
        "docs/container-apps.md",
        "docs/partners-file.md",
        "docs/testing.md",
        "docs/flask-login.md",
        "docs/performance.md",
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    """Every link inside the project has its file, and its heading."""
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
