"""The Azure Functions sample under the real Python worker library, `azure-functions-runtime`.

The library needs Python 3.13 or newer. The variable FUNCTIONS_PYTHON names an interpreter that has
arrcert and the dependency group `functions`; without it the interpreter of the tests is taken.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from arrcert.testing import IssuedCertificate
from tests.e2e.functions_headers import DENIED, ENTERS, HEADER

pytestmark = pytest.mark.matrix

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "sample_sites" / "functions_app"
WORKER = str(HERE / "functions_worker.py")
ENTERED = {"/random": rb"[\w-]{32}", "/hellocert": rb"hello alice\n"}


@functools.cache
def find_python() -> str | None:
    """Return an interpreter that has the worker library, or None."""
    python = os.environ.get("FUNCTIONS_PYTHON", sys.executable)
    needs = "import arrcert, azure_functions_runtime, flask, google.protobuf"
    done = subprocess.run([python, "-c", needs], capture_output=True, check=False)
    if done.returncode != 0 and "FUNCTIONS_PYTHON" in os.environ:
        pytest.fail(f"FUNCTIONS_PYTHON lacks what the tests need: {done.stderr.decode()}")
    return python if done.returncode == 0 else None


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter that runs the worker."""
    found = find_python()
    if found is None:
        pytest.skip(
            "the group `functions` is missing; it needs Python 3.13 or newer, which the variable"
            " FUNCTIONS_PYTHON can name"
        )
    return found


def started(python: str, folder: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Start an app, and return the worker's answer to the host."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARRCERT")}
    done = subprocess.run(
        [python, WORKER, folder, "--start"],
        env=environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def running(serve, python: str) -> Iterator[Any]:
    """The sample in the worker, with the stand-in for the host."""
    variables = {"PYTHONPATH": "", "ARRCERT_PROTECT_ALL": "false"}
    with serve([python, WORKER, str(FOLDER), "{port}"], **variables) as running:
        yield running


@pytest.fixture
def ask(running, alice, impostor, look_alike):
    """A function that sends headers to a path, and returns the answer and the new log lines."""
    values = {
        "alice": alice.header_value,
        "impostor": impostor.header_value,
        "look_alike": look_alike.header_value,
    }

    def ask(path: str, pairs: list[tuple[str, str]]) -> tuple[Any, str]:
        before = len(running.log.read_text())
        lines = [f"GET {path} HTTP/1.1", "Host: site.example", "Connection: close"]
        lines += [f"{name}: {value.format(**values)}" for name, value in pairs]
        answer = running.exchange("\r\n".join([*lines, "", ""]).encode())
        return answer, running.log.read_text()[before:]

    return ask


def test_app_is_indexed(python: str, alice: IssuedCertificate) -> None:
    """The worker finds both functions, and neither needs a key of the host."""
    settings = {"ARRCERT_FINGERPRINTS": alice.certificate.sha256_fingerprint}
    answer = started(python, FOLDER, settings)
    assert answer["status"] == "Success", answer["message"]
    triggers = {name: bindings[0] for name, bindings in answer["functions"].items()}
    routes = {name: trigger["route"] for name, trigger in triggers.items()}
    assert routes == {"random_string": "random", "site": "{*path}"}
    assert {trigger["authLevel"] for trigger in triggers.values()} == {"ANONYMOUS"}


def test_deployed_version_is_the_one_that_is_tested(python: str) -> None:
    """The README creates an app with a Python version that this worker library supports."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    [deployed] = re.findall(r"--runtime-version (3\.\d+)", readme)
    assert deployed in ("3.13", "3.14")
    assert started(python, FOLDER, {})["python"] in ("3.13", "3.14")


def test_without_a_policy_the_worker_reports_the_mistake(python: str) -> None:
    """A module that cannot be imported is a failure that names the setting."""
    answer = started(python, FOLDER, {})
    assert (answer["status"], answer["functions"]) == ("Failure", {})
    assert answer["message"].startswith("ConfigurationError: ARRCERT: is not set")


def test_missing_package_is_reported(python: str, tmp_path: Path) -> None:
    """A package that is missing in requirements.txt is a failure that names the package."""
    (tmp_path / "function_app.py").write_text("import no_such_package\n")
    answer = started(python, tmp_path, {})
    assert (answer["status"], answer["functions"]) == ("Failure", {})
    assert "No module named 'no_such_package'" in answer["message"]


@pytest.mark.parametrize("path", ENTERED)
@pytest.mark.parametrize("case", ENTERS)
def test_right_certificate_enters(ask, path: str, case: str) -> None:
    """The allowed certificate is accepted in the header, with its name in any case."""
    answer, _ = ask(path, ENTERS[case])
    assert answer.status == 200, answer
    assert re.fullmatch(ENTERED[path], answer.body)


@pytest.mark.parametrize("path", ENTERED)
@pytest.mark.parametrize("case", DENIED)
def test_anything_else_is_denied(ask, path: str, case: str) -> None:
    """Every other request is a 403, never a failure of the worker, and the log has its reason."""
    pairs, reason = DENIED[case]
    # The server of the standard library, which receives the requests here, has its own limit.
    pairs = [(name, value.replace("A" * 70_000, "A" * 60_000)) for name, value in pairs]
    answer, log = ask(path, pairs)
    assert answer.status == 403, answer
    assert log.count("denied") == 1
    assert f": {reason}" in log


@pytest.mark.parametrize("path", ENTERED)
def test_nobody_enters_by_a_smuggled_header(running, form: str, forms, path: str) -> None:
    """No smuggled form of the header opens a function, even without a front end that removes it."""
    answer = running.exchange(forms(form, path, method="GET"))
    assert answer.status in (400, 403), answer


def test_a_large_body_passes(running, forms) -> None:
    """A POST of 200 KB reaches the hosted site, which answers that the page does not exist."""
    head = forms("legitimate", "/nowhere", method="POST", more=["Content-Length: 200000"])
    assert running.exchange(head + b"x" * 200_000).status in (404, 405)


def test_health_is_open(ask) -> None:
    """The health page answers without a certificate."""
    answer, log = ask("/health", [])
    assert (answer.status, answer.body) == (200, b"ok")
    assert "arrcert" not in log


def test_library_alone_folds_names(serve, python: str, tmp_path: Path, alice) -> None:
    """WsgiFunctionApp of the library passes a look-alike on, so arrcert refuses every request.

    If unsafe servers are allowed, the look-alike is accepted. So the sample hosts Flask in another
    way.
    """
    (tmp_path / "function_app.py").write_text(
        "import azure.functions as func\n"
        "from flask import Flask\n"
        "from arrcert_flask import Arrcert, authorize_certificate\n"
        "site = Flask(__name__)\n"
        "Arrcert(site)\n"
        "site.get('/hellocert')(authorize_certificate(lambda: 'entered'))\n"
        "app = func.WsgiFunctionApp(site)\n"
    )
    for refuses, status in (("true", 403), ("false", 200)):
        variables = {
            "PYTHONPATH": "",
            "ARRCERT_PROTECT_ALL": "false",
            "ARRCERT_FRONT_END": "functions",
            "ARRCERT_REFUSE_UNSAFE_SERVERS": refuses,
        }
        with serve([python, WORKER, str(tmp_path), "{port}"], **variables) as running:
            for header in (HEADER, "X_ARR_ClientCert"):
                request = (
                    "GET /hellocert HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n"
                    f"{header}: {alice.header_value}\r\n\r\n"
                )
                assert running.exchange(request.encode()).status == status
            assert "passes a look-alike header to the app" in running.log.read_text()
