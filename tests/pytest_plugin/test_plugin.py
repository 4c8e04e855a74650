"""The plugin in separate projects that use it, and in projects that do not."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("arrcert", "cryptography", "flask", "django", "starlette", "fastapi", "rest_framework")
PRINTS_HEAVY = f"""
import sys

def test_nothing_is_imported():
    loaded = [name for name in {HEAVY} if name in sys.modules]
    assert loaded == []
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that writes files into an empty folder and runs pytest there."""

    def run(
        *words: str, tests: str, options: str = "", conftest: str = "", **exports: str
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(tests)
        (tmp_path / "conftest.py").write_text(conftest)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{options}")
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ARRCERT", "COV", "PYTEST", "DJANGO"))
        }
        installed = importlib.metadata.entry_points(group="pytest11", name="arrcert")
        plugin = [] if installed else ["-p", "arrcert_pytest.plugin"]
        others = ["-p", "no:cacheprovider", "-p", "no:django", "-p", "no:hypothesispytest"]
        command = [sys.executable, "-m", "pytest", "-q", *others, *plugin, *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environ | exports, capture_output=True, text=True, timeout=60
        )

    return run


def test_entry_point() -> None:
    """Pytest finds the plugin by its entry point."""
    written = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert written["project"]["entry-points"] == {"pytest11": {"arrcert": "arrcert_pytest.plugin"}}
    for point in importlib.metadata.entry_points(group="pytest11", name="arrcert"):
        assert point.load().__name__ == "arrcert_pytest.plugin"


def test_project_that_does_not_use_it(run: Run) -> None:
    """In a project without the option, nothing is imported and the environment stays the same."""
    tests = PRINTS_HEAVY + (
        "def test_environment():\n"
        "    import os\n"
        "    assert os.environ['ARRCERT_FINGERPRINTS'] == 'x'\n"
        "    assert 'ARRCERT' not in os.environ\n"
    )
    done = run("-W", "error", tests=tests, ARRCERT_FINGERPRINTS="x")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_project_that_uses_it_imports_no_framework(run: Run) -> None:
    """With the option and every fixture, only the project's own frameworks are imported."""
    names = HEAVY[2:]
    tests = (
        "def test(as_client, certificate_denials, client_certificates):\n"
        "    import sys\n"
        f"    assert [name for name in {names} if name in sys.modules] == []\n"
        "    assert list(client_certificates) == ['alice', 'bob']\n"
    )
    done = run(tests=tests, options="arrcert_clients =\n    alice\n    bob roles=orders\n")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_policies_are_there_before_conftest(run: Run) -> None:
    """A conftest that imports the app finds the policies, and each xdist worker has its own."""
    conftest = "from arrcert import Authorizer\nauthorizer = Authorizer.from_environment()\n"
    tests = (
        "from conftest import authorizer\n"
        "def test(client_certificates, client_certificate_policies):\n"
        "    header = client_certificates['alice'].header_value\n"
        "    assert authorizer.identify(header).name == 'alice'\n"
        "    assert list(client_certificate_policies) == ['default']\n"
        "test_again = test\n"
    )
    options = "arrcert_clients = alice\n"
    exports = {"WEBSITE_SITE_NAME": "site", "ARRCERT_FINGERPRINTS": "AB" * 32}
    done = run(tests=tests, options=options, conftest=conftest, **exports)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    done = run("-n", "2", tests=tests, options=options, conftest=conftest, **exports)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_environment_stays_if_the_project_says_so(run: Run) -> None:
    """With `arrcert_environment = false` the fixtures hold policies, and the environment none."""
    tests = (
        "import os\n"
        "def test(client_certificate_policies):\n"
        "    assert 'default' in client_certificate_policies\n"
        "    assert 'ARRCERT' not in os.environ\n"
    )
    options = "arrcert_clients = alice\narrcert_environment = false\n"
    done = run(tests=tests, options=options)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_mistake_in_the_option(run: Run) -> None:
    """A mistake in the option stops pytest with one sentence and no traceback."""
    done = run(tests="def test(): pass\n", options="arrcert_clients = alice role=orders\n")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: arrcert_clients: the line 'alice role=orders' holds 'role=orders'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_option(run: Run) -> None:
    """Without the option the authority works, and a client's name is an error that says why."""
    tests = (
        "import pytest\n"
        "def test(as_client, client_certificate_authority, client_certificate_policies):\n"
        "    assert client_certificate_authority.issue('a').certificate.common_name == 'a'\n"
        "    assert client_certificate_policies == {}\n"
        "    with pytest.raises(LookupError, match='only nobody'):\n"
        "        as_client('alice')\n"
    )
    done = run(tests=tests)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_denials_are_told_whatever_logging_is_configured(run: Run) -> None:
    """The reasons are captured even if the project disables loggers, anew for each test."""
    tests = (
        "import logging, logging.config, pytest\n"
        "from arrcert import Authorizer, CertificateDenied\n"
        "authorizer = Authorizer.from_environment()\n"
        "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True,\n"
        "    'loggers': {'arrcert': {'level': 'CRITICAL'}}})\n"
        "def deny():\n"
        "    with pytest.raises(CertificateDenied):\n"
        "        authorizer.authorize(None)\n"
        "def test_one(certificate_denials):\n"
        "    deny()\n"
        "    assert certificate_denials == ['missing']\n"
        "def test_two(certificate_denials):\n"
        "    assert logging.getLogger('arrcert').isEnabledFor(logging.WARNING)\n"
        "    assert certificate_denials == []\n"
        "def test_three():\n"
        "    assert logging.getLogger('arrcert').level == logging.CRITICAL\n"
    )
    done = run(tests=tests, options="arrcert_clients = alice\n")
    assert "3 passed" in done.stdout, done.stdout + done.stderr
