"""checkov, a scanner of infrastructure, reads both templates and finds nothing.

Its exit code proves neither: it is 0 if files cannot be parsed, and if no check runs. So these
tests read each result, also for two copies of the site's file that are wrong on purpose.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parent.parent.parent / "sample_sites"
INFRA = SAMPLES / "infra"
TEMPLATES = {"infra": INFRA, "container_app": SAMPLES / "container_app" / "infra"}
NAMED = {
    "CKV_AZURE_14": "HTTPS alone",
    "CKV_AZURE_15": "TLS 1.2 or newer",
    "CKV_AZURE_17": "client certificates",
    "CKV_AZURE_78": "no FTP",
    "CKV_AZURE_213": "a health check",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results for the template, a copy without protection, and one that is not Bicep."""
    checkov = os.environ.get("CHECKOV")
    if not checkov:
        pytest.skip("CHECKOV does not name the program checkov, which needs its own environment")
    folder = tmp_path_factory.mktemp("scanned")
    for name, template in TEMPLATES.items():
        shutil.copytree(template, folder / name)
    site = (INFRA / "site.bicep").read_text()
    for name, right, wrong in (
        ("unprotected", "clientCertEnabled: true", "clientCertEnabled: false"),
        ("broken", "properties: {", "properties: "),
    ):
        assert right in site
        (folder / name).mkdir()
        (folder / name / "site.bicep").write_text(site.replace(right, wrong))
    done = subprocess.run(
        # Without --skip-download checkov sends a request to its vendor for each check.
        [checkov, "--skip-download", "--framework=bicep", "--output=json", "--directory", folder],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)["results"]
    return found


def of_template(results: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the results of one kind for the templates themselves."""
    return [check for check in results[kind] if check["file_path"].split("/")[1] in TEMPLATES]


def test_every_file_was_parsed(results: dict[str, Any]) -> None:
    """The only parsing error is the one in the broken copy."""
    errors = [Path(path).parts[-2:] for path in results["parsing_errors"]]
    assert errors == [("broken", "site.bicep")]


def test_nothing_was_found(results: dict[str, Any]) -> None:
    """No check fails for a template."""
    failed = of_template(results, "failed_checks")
    assert [(check["check_id"], check["resource"]) for check in failed] == []


@pytest.mark.parametrize("check_id", NAMED)
def test_named_checks_ran_and_passed(check_id: str, results: dict[str, Any]) -> None:
    """Each check of the list ran on the template of the sites, and passed."""
    passed = {
        (check["check_id"], check["resource"]) for check in of_template(results, "passed_checks")
    }
    assert (check_id, "Microsoft.Web/sites.site") in passed


def test_a_site_without_client_certificates_fails(results: dict[str, Any]) -> None:
    """The check on client certificates fails for a site without them."""
    assert ("/unprotected/site.bicep", "CKV_AZURE_17") in {
        (check["file_path"], check["check_id"]) for check in results["failed_checks"]
    }


def test_each_skip_is_explained(results: dict[str, Any]) -> None:
    """Each skip has a reason, and skips at least one check."""
    skipped = of_template(results, "skipped_checks")
    assert all(len(check["check_result"]["suppress_comment"]) > 20 for check in skipped)
    written = [
        line
        for template in TEMPLATES.values()
        for path in template.glob("*.bicep")
        for line in path.read_text().splitlines()
        if "checkov:skip=" in line
    ]
    assert len(written) == len(skipped) > 0
