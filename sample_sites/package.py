"""Lay out a site for App Service, with the wheel of this clone in place of a release of arrcert.

App Service installs what `requirements.txt` names. There it is the released package; here it is
what you see in the clone, and no stranger's package of the same name. The result is in `dist/`
beside the site's code, and the same as `dist.zip`.
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

# Made on this machine, or made anew by App Service's build.
LEFT_OUT = shutil.ignore_patterns("dist", "dist.zip", "staticfiles", "__pycache__", ".*", "*_env")


def package(site: Path) -> Path:
    """Lay out one site in `dist/`, and return that folder.

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
    # With a path pip asks no index for arrcert. It is relative to where App Service's build runs
    # pip, the folder of requirements.txt.
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
        folder: where it goes.

    Raises:
        SystemExit: pip failed, and has said why.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(CLONE)]
    done = subprocess.run([*command, "--wheel-dir", str(folder)], check=False)  # noqa: S603
    if done.returncode != 0:
        sys.exit("The wheel of arrcert could not be built; pip says why above.")
    [wheel] = folder.glob("arrcert-*.whl")
    return wheel


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Lay out a sample site for App Service.")
    parser.add_argument("sites", nargs="+", choices=SITES, help="which site, or several")
    for site in parser.parse_args().sites:
        dist = package(HERE / site)
        print(f"{site}: {dist} and {dist}.zip")


if __name__ == "__main__":
    main()
