"""The options of `arrcert probe`, their errors, and its output for people and for programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from arrcert.cli.commands import main
from arrcert.cli.probe.report import Report, Row, Verdict
from arrcert.testing import IssuedCertificate, self_signed

from .planted import PlantedSite

URL = "https://site.example/page"


def run(*arguments: str, **options: Any) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["probe", *arguments], **options)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://site.example/", "is not an https:// URL; write https://site.example/page"),
        ("site.example", "is not an https:// URL"),
        ("https:///page", "is not an https:// URL"),
        ("https://site.example:port/", "write https://site.example/page"),
        ("https://me@site.example/", "a user name in it is not sent"),
        ("https://site.example/a b", "must be percent-encoded"),
        ("https://site.example/é", "must be percent-encoded"),
    ],
)
def test_urls_that_cannot_be_probed(client_files: list[str], url: str, words: str) -> None:
    """The URL names a page over HTTPS. Any other URL is a usage error."""
    result = run(url, *client_files)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--open=health", "'health' is not a path; write it as /health"),
        ("--excluded=/a b", "is not a path"),
        ("--front-end=app-servce", "no front end is called 'app-servce'"),
        ('--front-end={"header": ""}', "is not a header's name"),
        ("--front-end={header", "Expecting property name"),
        ("--rate=0", "0.0 is not in the range"),
    ],
)
def test_options_that_are_wrong(client_files: list[str], option: str, words: str) -> None:
    """A wrong value is a usage error that names the value and what to write."""
    result = run(URL, *client_files, option)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_cacert_and_insecure(client_files: list[str]) -> None:
    """--cacert and --insecure contradict each other."""
    result = run(URL, *client_files, "--cacert=ca.pem", "--insecure")
    assert result.exit_code == 2
    assert "contradict each other" in result.stderr


def test_files_that_cannot_be_used(client_files: list[str], tmp_path: Path) -> None:
    """A file that is missing, of another kind, or for another key is an error of one line."""
    certificate, key = client_files
    (tmp_path / "nothing").write_text("nothing")
    other = self_signed("other")
    (tmp_path / "other.key").write_bytes(other.private_key_pem)
    from cryptography.hazmat.primitives import serialization

    (tmp_path / "encrypted.key").write_bytes(
        other.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    nothing = tmp_path / "nothing"
    for arguments, words in [
        ((f"--cert={tmp_path / 'none'}", key), "--cert: cannot read"),
        ((f"--cert={nothing}", key), "holds no PEM certificate"),
        ((certificate, f"--key={nothing}"), "holds no PEM private key"),
        ((certificate, f"--key={tmp_path / 'encrypted.key'}"), "is encrypted"),
        ((certificate, f"--key={tmp_path / 'other.key'}"), "does not belong"),
        ((certificate, key, f"--cacert={nothing}"), "--cacert: "),
    ]:
        result = run(URL, *arguments)
        assert result.exit_code == 2
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["rich", "h2"])
def test_what_to_install(client_files: list[str], missing: str) -> None:
    """Without rich or h2 the command says in one line what to install."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from arrcert.cli.probe.command import probe\n"
        "probe()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, URL, *client_files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"Error: arrcert probe needs {missing}; run: pip install 'arrcert[dev]'\n"


@pytest.mark.parametrize(
    ("missing", "words"),
    [("h2.connection", "arrcert probe needs h2; run: pip install 'arrcert[dev]'"), ("other", None)],
)
def test_only_packages_of_the_extra_are_named(
    client_files: list[str], monkeypatch: pytest.MonkeyPatch, missing: str, words: str | None
) -> None:
    """A missing package of the extra `dev` is one line; another one is a fault with a traceback."""

    class Unimportable(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise ModuleNotFoundError(name=missing)

    name = "arrcert.cli.probe.certificates"
    monkeypatch.setitem(sys.modules, name, Unimportable(name))
    result = run(URL, *client_files)
    if words is None:
        assert isinstance(result.exception, ModuleNotFoundError)
    else:
        assert result.exit_code == 2
        assert words in result.stderr


def test_a_site_whose_certificate_is_not_trusted(
    alice: IssuedCertificate, client_files: list[str]
) -> None:
    """Without --cacert and --insecure, a known CA must have issued the site's own certificate."""
    with PlantedSite(alice) as site:
        result = run(site.url, *client_files, "--json", "--rate=1000")
    assert result.exit_code == 2
    verdict = json.loads(result.stdout)["verdict"]
    assert verdict.startswith("no calibration: the site's certificate is not trusted (")
    assert verdict.endswith("); use --cacert FILE with the certificate of its CA, or --insecure")


def test_cacert(probe: Any, alice: IssuedCertificate, tmp_path: Path) -> None:
    """With --cacert, that CA must have issued the site's own certificate."""
    with PlantedSite(alice, "open") as site:
        (tmp_path / "ca.pem").write_bytes(site.authority.certificate_pem)
        probed = probe(site.url, f"--cacert={tmp_path / 'ca.pem'}")
    assert "is open to everybody" in probed.verdict


@pytest.mark.parametrize(
    "front_end",
    ["nginx", "rfc9440", "envoy", "application-gateway", '{"header": "X-Client-Cert"}'],
)
def test_another_front_end(probe: Any, alice: IssuedCertificate, front_end: str) -> None:
    """The probe forges the header of the declared front end, in the encoding of that front end."""
    with PlantedSite(alice) as site:
        probed = probe(site.url, f"--front-end={front_end}")
    assert probed.entries == set()
    assert "X-ARR-ClientCert" not in probed.rows["forged header"]["sent"]
    assert "X-ARR-ClientCert" in probed.rows["other front ends' headers"]["sent"]


@pytest.fixture
def seen(alice: IssuedCertificate, client_files: list[str]) -> Result:
    """Return the piped report of a site with a hole, as a person reads it."""
    with PlantedSite(alice, "folds", "names CAs") as site:
        return run(site.url, *client_files, "--insecure", "--rate=1000")


def test_piped_output_is_plain(seen: Result) -> None:
    """Output that is not to a terminal has no control characters, and at most 80 columns."""
    assert seen.exit_code == 1
    for text in (seen.stdout, seen.stderr):
        assert max(map(len, text.splitlines())) <= 80
        assert all(line.isprintable() for line in text.splitlines())


def test_what_is_announced(seen: Result) -> None:
    """The probe first prints its target, its requests, its duration, and that it smuggles none."""
    said = " ".join(seen.stderr.split())
    assert re.search(r"It sends at most 1\d\d requests, one at a time", said)
    assert "1000 a second" in said
    assert "4 of them are POSTs" in said
    assert "none of them is request smuggling" in said


def test_what_is_reported(seen: Result) -> None:
    """The report has each row, the verdict in a sentence, and what to look for in the log."""
    said = " ".join(seen.stdout.split())
    assert "15 look-alike, underscores" in said
    assert "Entry: somebody without your private key gets in: 15 look-alike, underscores;" in said
    assert 'look for "arrcert probe 15"' in said
    assert "stranger in header" in said


def test_colours_in_a_terminal(
    alice: IssuedCertificate, client_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal an entry is red, and the progress is shown only on stderr."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with PlantedSite(alice, "folds") as site:
        result = run(site.url, *client_files, "--insecure", "--rate=1000", color=True)
    assert "\x1b[1;31mentry" in result.stdout
    assert "\x1b[32mok" in result.stdout


def test_no_calibration_on_the_screen(alice: IssuedCertificate, client_files: list[str]) -> None:
    """Without a calibration, the last line is the reason for that."""
    with PlantedSite(alice, "open") as site:
        result = run(site.url, *client_files, "--insecure")
    assert result.exit_code == 2
    assert "No calibration: /page is open to everybody" in " ".join(result.stdout.split())
    assert "look for" not in result.stdout


def test_the_verdict_of_a_report() -> None:
    """The verdict and the exit code follow from the rows."""
    ok, unknown, entry = (
        Row(f"0{number} a", "s", "g", verdict, "m")
        for number, verdict in enumerate([Verdict.OK, Verdict.UNKNOWN, Verdict.ENTRY])
    )
    assert Report([ok]).verdict == "no entry: nobody got in without your private key"
    assert Report([ok, unknown]).verdict == "no entry: nobody got in; 1 check could not tell"
    assert Report([unknown] * 2).verdict == "no entry: nobody got in; 2 checks could not tell"
    assert Report([ok, entry]).verdict.endswith("gets in: 02 a")
    assert [Report(rows).exit_code for rows in ([ok, unknown], [ok, entry])] == [0, 1]
    assert Report([entry], "why").exit_code == 2


def test_bytes_of_the_site_do_not_reach_the_terminal() -> None:
    """What a site writes into an answer is shown without control characters."""
    from arrcert.cli.probe.screen import _visible

    assert _visible("a\x1b[31mb") == "a\\x1b[31mb"
    assert _visible("pa\ufe0fge") == "pa\\ufe0fge"
    assert _visible("page") == "page"
