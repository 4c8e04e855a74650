"""Run `arrcert probe` on each deployed site, and print a verdict.

azd runs this after a deployment (`postdeploy` in azure.yaml), and so does deploy.sh. The URLs come
from the environment variables FLASK_URL, DJANGO_URL, FASTAPI_URL and SITE_URL, which are outputs of
the templates. Other arguments are passed to `arrcert probe`, such as `--front-end container-apps`.

The exit code is 0 if nobody gets in without the key, 1 if somebody does, and 2 if a site could not
be probed. If there is no certificate of a client that may enter, no site is probed, and the exit
code is 0 (see VERIFY_CERTIFICATE below).
"""

import argparse
import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
URLS = ("FLASK_URL", "DJANGO_URL", "FASTAPI_URL", "SITE_URL")
PAGE = "/hellocert"

# `arrcert probe` exits with one of these.
NO_ENTRY, ENTRY, NO_CALIBRATION = range(3)
VERDICTS = {
    NO_ENTRY: "nobody gets in without the key",
    ENTRY: "SOMEBODY GETS IN WITHOUT THE KEY; the table above says how",
    NO_CALIBRATION: "could not be probed; the table above says why",
}


def python_with_probe() -> Path:
    """Return a Python with `arrcert probe`: this one, or a new environment in `.probe_env`.

    Raises:
        SystemExit: pip failed, and has printed why.
    """
    wanted = "import arrcert.cli, click, h2, h11, OpenSSL, rich"
    own = Path(sys.executable)
    if _run(own, "-c", wanted, quiet=True) == 0:
        return own
    environment = HERE / ".probe_env"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists() or _run(python, "-c", wanted, quiet=True) != 0:
        print("Setting up the probe ...", flush=True)
        venv.create(environment, with_pip=True, clear=True)
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        if _run(python, *pip, f"{HERE.parent}[dev]") != 0:
            sys.exit("The probe could not be installed; pip says why above.")
    return python


def _run(python: Path, *words: str, quiet: bool = False) -> int:
    output = subprocess.DEVNULL if quiet else None
    command = [str(python), *words]
    # S603: the interpreter of the new environment, without a shell.
    done = subprocess.run(command, check=False, stdout=output, stderr=output)  # noqa: S603
    return done.returncode


def probe(python: Path, url: str, words: Sequence[str], wait: float) -> int:
    """Probe one site, and return the exit code.

    Args:
        python: the Python that runs the probe.
        url: the URL of the page that is requested.
        words: other arguments of `arrcert probe`.
        wait: how long a site may take to start after its deployment, in seconds.
    """
    end = time.monotonic() + wait
    while True:
        code = _run(python, "-m", "arrcert.cli", "probe", url, *words)
        if code in (NO_ENTRY, ENTRY) or time.monotonic() >= end:
            return code if code in VERDICTS else NO_CALIBRATION
        print("The site may still be starting. Trying again in 20 seconds ...", flush=True)
        time.sleep(20)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description="Run `arrcert probe` against each deployed site.",
        epilog="Further arguments go to `arrcert probe`.",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=300,
        metavar="SECONDS",
        help="how long a site may take to start (default: %(default)s)",
    )
    options, words = parser.parse_known_args(arguments)
    certificate = Path(os.environ.get("VERIFY_CERTIFICATE", HERE / "client.pem"))
    key = Path(os.environ.get("VERIFY_KEY", certificate.with_suffix(".key")))
    urls = {name: os.environ[name] for name in URLS if os.environ.get(name)}
    if not urls:
        print(f"None of {', '.join(URLS)} is set; azd env get-values shows them.", file=sys.stderr)
        return NO_CALIBRATION
    for path in (certificate, key):
        if not path.is_file():
            print(f"NOT VERIFIED: {path} is missing, the certificate and key of a client that may")
            print("enter. Name them in VERIFY_CERTIFICATE and VERIFY_KEY, and run verify.py again.")
            return NO_ENTRY
    python = python_with_probe()
    codes = {}
    for url in urls.values():
        print(f"\n{url}", flush=True)
        with_key = ["--cert", str(certificate), "--key", str(key), *words]
        codes[url] = probe(python, f"{url.rstrip('/')}{PAGE}", with_key, options.wait)
    print()
    for url, code in codes.items():
        print(f"{url}: {VERDICTS[code]}")
    # An entry is worse than a site that could not be probed.
    return ENTRY if ENTRY in codes.values() else max(codes.values())


if __name__ == "__main__":
    sys.exit(main())
