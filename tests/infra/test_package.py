"""A deployment from a clone contains the clone's own arrcert."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.matrix

ROOT = Path(__file__).parent.parent.parent
SITES = ("flask_site", "django_site", "fastapi_site")


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples of a clone, with each site prepared for a deployment."""
    if not (ROOT / "arrcert").is_dir():
        pytest.skip("the source of arrcert is not here, so no wheel can be built of it")
    clone = tmp_path_factory.mktemp("clone")
    packages = ("arrcert", "arrcert_flask", "arrcert_django", "arrcert_fastapi", "arrcert_pytest")
    for name in (*packages, "sample_sites"):
        shutil.copytree(ROOT / name, clone / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    samples = clone / "sample_sites"
    subprocess.run([sys.executable, samples / "package.py", *SITES], check=True, timeout=300)
    return samples


@pytest.mark.parametrize("site", SITES)
def test_pip_takes_the_wheel_that_lies_beside(site: str, laid_out: Path, tmp_path: Path) -> None:
    """The requirement names the wheel and its extras, and pip installs it without an index."""
    dist = laid_out / site / "dist"
    lines = (dist / "requirements.txt").read_text().splitlines()
    before = (laid_out / site / "requirements.txt").read_text().splitlines()
    [requirement] = [line for line in lines if "arrcert" in line and line.endswith("]")]
    [named] = [line for line in before if line.startswith("arrcert")]
    assert re.findall(r"\[.+\]", requirement) == re.findall(r"\[.+\]", named) != []
    assert [line for line in lines if line != requirement] == [
        line for line in before if line != named
    ]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "--target", tmp_path, requirement],
        cwd=dist,
        check=True,
        timeout=120,
    )
    assert (tmp_path / "arrcert" / "__init__.py").is_file()


@pytest.mark.parametrize("site", SITES)
def test_uv_takes_the_wheel_too(site: str, laid_out: Path, tmp_path: Path) -> None:
    """uv, which App Service tries before pip, installs the wheel too."""
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    if uv is None:
        pytest.skip("the program uv is missing; the group `functions` has it")
    dist = laid_out / site / "dist"
    # App Service installs all requirements, but the other packages need an index.
    offline = ["--offline", "--no-index", "--no-deps", "--no-cache", "--quiet"]
    [requirement] = [
        line
        for line in (dist / "requirements.txt").read_text().splitlines()
        if "arrcert" in line and line.endswith("]")
    ]
    (dist / "one.txt").write_text(f"{requirement}\n")
    try:
        subprocess.run(
            [uv, "pip", "install", *offline, "--target", tmp_path, "-r", "one.txt"],
            cwd=dist,
            check=True,
            timeout=120,
        )
    finally:
        (dist / "one.txt").unlink()
    assert (tmp_path / "arrcert" / "__init__.py").is_file()


@pytest.mark.parametrize("site", SITES)
def test_the_zip_holds_the_site_and_nothing_else(site: str, laid_out: Path) -> None:
    """The archive has the code at its root, and nothing of this machine."""
    with zipfile.ZipFile(laid_out / site / "dist.zip") as archive:
        names = archive.namelist()
    assert "requirements.txt" in names
    code = {"flask_site": "app.py", "django_site": "manage.py", "fastapi_site": "mtls_app/main.py"}
    assert code[site] in names
    assert not [
        name
        for name in names
        if re.search(r"(^|/)(\.|__pycache__|dist|staticfiles)", name) or name.endswith(".pyc")
    ]


def test_a_site_without_arrcert_is_refused(tmp_path: Path) -> None:
    """A requirements.txt without arrcert is an error that says so."""
    samples = tmp_path / "sample_sites"
    site = samples / "flask_site"
    site.mkdir(parents=True)
    (samples / "package.py").write_text((ROOT / "sample_sites" / "package.py").read_text())
    (site / "requirements.txt").write_text("flask\n")
    # The smallest package that pip builds a wheel of.
    (tmp_path / "setup.py").write_text("import setuptools; setuptools.setup(name='arrcert')")
    done = subprocess.run(
        [sys.executable, str(samples / "package.py"), "flask_site"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "flask_site/requirements.txt names arrcert 0 times" in done.stderr
