"""Prepare a site for App Service, with the wheel of this clone in place of a release of arrcert.

App Service installs the packages in `requirements.txt`, which names the released arrcert. This
program replaces it by a wheel of the clone, so that no other package of that name is installed. The
result is in `dist/` in the site's folder, and in `dist.zip`.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parent
SITES = ("flask_site", "django_site", "fastapi_site")

# These are made on this machine, or App Service's build makes them again.
LEFT_OUT = shutil.ignore_patterns("dist", "dist.zip", "staticfiles", "__pycache__", ".*", "*_env")


def package(site: Path) -> Path:
    """Write one site to `dist/`, and return that folder.

    Args:
        site: the site's folder.

    Raises:
        SystemExit: the wheel cannot be built, or `requirements.txt` does not name arrcert once.
    """
    dist = site / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    shutil.copytree(site, dist, ignore=LEFT_OUT)
    wheel = build_wheel(dist / "wheels")
    requirements = dist / "requirements.txt"
    # With a path, pip does not look for arrcert in an index. The path is relative to the folder of
    # requirements.txt, in which App Service's build runs pip.
    text, found = re.subn(
        r"^arrcert(\[[\w,-]+\])?.*$",
        rf"./wheels/{wheel.name}\1",
        requirements.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if found != 1:
        sys.exit(f"{site.name}/requirements.txt names arrcert {found} times; name it once.")
    requirements.write_text(text, encoding="utf-8")
    shutil.make_archive(str(dist), "zip", dist)
    return dist


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this clone, and return its path.

    Args:
        folder: the folder for the wheel.

    Raises:
        SystemExit: pip failed, and has printed why.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(CLONE)]
    done = subprocess.run([*command, "--wheel-dir", str(folder)], check=False)  # noqa: S603 - pip.
    if done.returncode != 0:
        sys.exit("The wheel of arrcert could not be built; pip says why above.")
    [wheel] = folder.glob("arrcert-*.whl")
    return wheel


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Prepare a sample site for App Service.")
    parser.add_argument("sites", nargs="+", choices=SITES, help="which site, or several")
    for site in parser.parse_args().sites:
        dist = package(HERE / site)
        print(f"{site}: {dist} and {dist}.zip")


if __name__ == "__main__":
    main()
