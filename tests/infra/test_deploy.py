"""The deployment script for users without azd: valid shell, and the steps that it announces."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent.parent / "sample_sites"
SCRIPT = SAMPLES / "deploy.sh"
SECRET = "s" * 50


def run(*arguments: str, script: Path = SCRIPT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the script in an environment that holds only PATH and the given variables."""
    return subprocess.run(
        ["bash", str(script), *arguments],
        env={"PATH": os.environ["PATH"]} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_shellcheck() -> None:
    """The linter finds no fault in the script, and finds one in a faulty script."""
    shellcheck = Path(sysconfig.get_path("scripts")) / "shellcheck"
    subprocess.run([shellcheck, SCRIPT], check=True)
    fault = subprocess.run(
        [shellcheck, "-"],
        input="#!/bin/bash\nrm $1/*\n",
        text=True,
        capture_output=True,
        check=False,
    )
    assert fault.returncode == 1


def test_stops_at_the_first_fault() -> None:
    """The script stops if a command fails or a variable is missing."""
    assert "\nset -euo pipefail\n" in SCRIPT.read_text()
    assert os.access(SCRIPT, os.X_OK)


def test_help() -> None:
    """--help names the arguments, and every variable that the script reads."""
    done = run("--help")
    assert done.returncode == 0
    read = set(re.findall(r"\$\{([A-Z_]+)", SCRIPT.read_text()))
    assert read
    for name in ("NAME", "LOCATION", *read):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "secret", "complaint"),
    [
        (("only-a-name",), SECRET, "Usage:"),
        (("name", "westeurope"), "", "DJANGO_SECRET_KEY must be"),
        (("name", "westeurope"), "short", "DJANGO_SECRET_KEY must be"),
        (("name", "westeurope"), 'quote"' * 10, "DJANGO_SECRET_KEY must be"),
    ],
)
def test_refuses_before_it_begins(arguments: tuple[str, ...], secret: str, complaint: str) -> None:
    """A missing argument or secret is an error before the first step."""
    done = run(*arguments, DJANGO_SECRET_KEY=secret)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stdout == ""


def test_steps(tmp_path: Path) -> None:
    """The script makes the infrastructure, and then deploys each site's archive to that site.

    In place of the Azure CLI stands a program that writes down what it was asked: nothing here
    reaches Azure. `make check-az` holds the same lines against the real CLI's parser.
    """
    samples = tmp_path / "sample_sites"
    samples.mkdir()
    shutil.copy(SCRIPT, samples)
    (samples / "package.py").write_text("import sys; print('packaged', *sys.argv[1:])")
    (samples / "verify.py").write_text(
        "import os; print(*[os.environ[f'{site}_URL'] for site in ('FLASK', 'DJANGO', 'FASTAPI')])"
    )
    (samples / "infra").mkdir()
    (samples / "infra" / "main.bicep").touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    recorder = programs / "az"
    recorder.write_text(
        "#!/usr/bin/env bash\n"
        f'echo "$*" >>{tmp_path}/asked\n'
        'for word in "$@"; do case "$word" in\n'
        f'  @*) cp "${{word#@}}" {tmp_path}/parameters\n'
        f'      stat -c %a "${{word#@}}" >{tmp_path}/mode ;;\n'
        "  properties.outputs.*) echo the-site ;;\n"
        "  *defaultHostName*) echo https://site.example ;;\n"
        "esac; done\n"
    )
    recorder.chmod(0o755)
    done = run(
        "sample",
        "westeurope",
        script=samples / "deploy.sh",
        DJANGO_SECRET_KEY=SECRET,
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
    )
    assert done.returncode == 0, done.stderr
    assert "packaged flask_site django_site fastapi_site" in done.stdout
    assert "https://site.example https://site.example https://site.example\n" in done.stdout
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [" ".join(line.split()[:3]) for line in asked] == [
        "account show --query",
        "deployment sub create",
        *["deployment group show", "webapp deploy --resource-group", "webapp show --resource-group"]
        * 3,
    ]
    assert "--src-path flask_site/dist.zip" in asked[3]
    assert "--src-path django_site/dist.zip" in asked[6]
    assert "--src-path fastapi_site/dist.zip" in asked[9]
    assert "environmentName=sample location=westeurope" in asked[1]
    assert (
        tmp_path / "parameters"
    ).read_text() == f'{{"djangoSecretKey": {{"value": "{SECRET}"}}}}'
    assert (tmp_path / "mode").read_text().strip() == "600"
    assert not any(SECRET in line for line in asked)
    [left] = re.findall(r"@(\S+)", asked[1])
    assert not Path(left).exists()
