"""Send requests to the sample sites over TLS, as different clients, and check every answer.

`demo.py` issues certificates for this run only, starts all sites behind the local front end, sends
a request as each client and prints a table. The exit code is 1 if any answer is wrong. `demo.py
--serve` leaves the sites running for a browser or curl. Only Python and this project are needed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import secrets
import shlex
import signal
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from arrcert import ClientCertificate, DenialReason
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

HERE = Path(__file__).resolve().parent
DEFAULT_PKI_FOLDER = HERE / "demo_pki"
DEFAULT_PORT = 8443
# The command that is installed in this environment, even if the environment is not activated.
ARRCERT_COMMAND = Path(sysconfig.get_path("scripts")) / "arrcert"
P12_PASSWORD = "arrcert-demo"  # noqa: S105 - it protects a throw-away key, and is printed.

HEADER = "X-ARR-ClientCert"
# Many servers give an application this header and the one above under the same key.
LOOK_ALIKE_HEADER = "X_ARR_ClientCert"

ISSUING_CA = "Contoso Issuing CA"
ALLOWED_NAME = "contoso-client"
PARTNER_NAME = "fabrikam-partner"

Policies = dict[str, dict[str, object]]

# ------------------------------------------------------------------------------------------- PKI


@dataclass(frozen=True)
class Pki:
    """A folder with the certificates and keys of all clients, of the server and of two CAs."""

    folder: Path

    CERTIFICATES = ("allowed", "lookalike", "expired", "stranger", "partner", "impostor", "server")

    @classmethod
    def issue(cls, folder: Path) -> Pki:
        """Issue all certificates into a folder, which must exist."""
        now = datetime.now(UTC)
        contoso = CertificateAuthority(ISSUING_CA)
        server_ca = CertificateAuthority("Throw-away server CA")
        issued = {
            "allowed": contoso.issue(ALLOWED_NAME),
            # Anybody can write any subject and any issuer name into a self-signed certificate.
            "lookalike": self_signed(ALLOWED_NAME, issuer=contoso),
            "expired": contoso.issue(ALLOWED_NAME, not_after=now - timedelta(days=1)),
            "stranger": CertificateAuthority("Woodgrove CA").issue("stranger"),
            "partner": contoso.issue(PARTNER_NAME),
            "impostor": CertificateAuthority(ISSUING_CA).issue(PARTNER_NAME),
            "server": server_ca.issue(
                "localhost",
                dns_names=["localhost"],
                ip_addresses=["127.0.0.1"],
                extended_key_usages=("serverAuth",),
            ),
        }
        pki = cls(folder)
        # This keeps the keys out of a repository that contains the folder.
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        (folder / "issuing-ca.pem").write_bytes(contoso.certificate_pem)
        (folder / "server-ca.pem").write_bytes(server_ca.certificate_pem)
        for name, certificate in issued.items():
            pki.path(name).write_bytes(certificate.certificate_pem)
            _write_private(pki.path(name, "key"), certificate.private_key_pem)
        for name in ("allowed", "partner"):
            _write_private(pki.path(name, "p12"), _pkcs12(name, issued[name]))
        header = f"{HEADER}: {issued['allowed'].header_value}\n"
        pki.path("allowed", "header").write_text(header, encoding="ascii")
        return pki

    @classmethod
    def kept(cls, folder: Path) -> Pki:
        """Use the certificates of an earlier run in the folder, or issue new ones."""
        pki = cls(folder)
        names = [f"{name}.{kind}" for name in cls.CERTIFICATES for kind in ("pem", "key")]
        names += ["issuing-ca.pem", "server-ca.pem", "allowed.p12", "partner.p12", "allowed.header"]
        if all((folder / name).is_file() for name in names):
            tomorrow = datetime.now(UTC) + timedelta(days=1)
            if pki.certificate("allowed").not_valid_after_utc > tomorrow:
                return pki
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls.issue(folder)

    def path(self, name: str, kind: str = "pem") -> Path:
        """Return the path of a certificate, of its key or of another format of it."""
        return self.folder / f"{name}.{kind}"

    def certificate(self, name: str) -> ClientCertificate:
        """Return a certificate as a `ClientCertificate`."""
        return ClientCertificate.from_pem(self.path(name).read_bytes())

    def forged_header(self) -> str:
        """Return the header value for the allowed certificate. A certificate is not a secret."""
        return self.path("allowed", "header").read_text(encoding="ascii").partition(": ")[2].strip()

    def policies(self) -> Policies:
        """Return the value of `ARRCERT` for the sites."""
        allowed = {
            "fingerprint": self.certificate("allowed").sha256_fingerprint,
            "identity": "contoso",
            "roles": ["operator"],
        }
        return {
            "default": {"fingerprints": [allowed, self.certificate("expired").sha256_fingerprint]},
            "partners": {
                "identity": "partner:{common_name}",
                "roles": ["orders"],
                "common_names": [PARTNER_NAME],
                "issuers": [ISSUING_CA],
                "trust_anchors": str(self.path("issuing-ca")),
            },
        }


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _pkcs12(name: str, issued: IssuedCertificate) -> bytes:
    key = issued.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - what arrcert.testing makes.
    encryption = serialization.BestAvailableEncryption(P12_PASSWORD.encode())
    return pkcs12.serialize_key_and_certificates(
        f"arrcert demo: {name}".encode(), key, issued.certificate.x509, None, encryption
    )


# ----------------------------------------------------------------------------------------- sites


class SiteError(Exception):
    """A site did not start, or it stopped too early. The text contains the output of the site."""


class Site:
    """One sample site in its own process, behind the local front end."""

    SITES: Mapping[str, tuple[str, str]] = {
        "Flask": ("flask_site", "app:app"),
        "Django": ("django_site", "mtls_site.wsgi:application"),
        "FastAPI": ("fastapi_site", "mtls_app.main:app"),
    }

    def __init__(self, name: str, pki: Pki, policies: Policies, port: int) -> None:
        self.name = name
        self.port = 0
        self.echoes = False  # Whether this process prints what the site prints.
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        folder, application = self.SITES[name]
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and no word from outside.
            [
                *(ARRCERT_COMMAND, "serve", application),
                *("--bind", f"127.0.0.1:{port}", "--client-cert-mode", "optional"),
                *("--certificate", str(pki.path("server"))),
                *("--key", str(pki.path("server", "key"))),
            ],
            cwd=HERE / folder,
            env=_environment(policies),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """The URL of the site, without a slash at the end."""
        return f"https://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - Popen was asked for a pipe.
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.rstrip())
                self._changed.notify_all()
            if self.echoes:
                print(f"[{self.name}] {line.rstrip()}", flush=True)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_line(
        self, pattern: re.Pattern[str], *, start: int, seconds: float
    ) -> re.Match[str] | None:
        """Return the first match in the site's output from line `start` on, or None."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for line in self._lines[start:]:
                    if match := pattern.search(line):
                        return match
                start = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def wait_until_ready(self, seconds: float = 30) -> None:
        """Wait for the line with the address on which the front end listens.

        Raises:
            SiteError: the process ended, or took too long.
        """
        found = self.wait_for_line(re.compile(r"https://[^/\s]+:(\d+)"), start=0, seconds=seconds)
        if found is None:
            raise SiteError(f"The {self.name} site did not start. It said:\n{self.output()}")
        self.port = int(found[1])

    def output(self) -> str:
        """Return what the site has printed so far."""
        with self._changed:
            return "\n".join(f"    {line}" for line in self._lines) or "    (nothing)"

    def lines_so_far(self) -> int:
        """Return how many lines the site has printed."""
        with self._changed:
            return len(self._lines)

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Stop the process, with SIGKILL if SIGTERM does not stop it."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _environment(policies: Policies) -> dict[str, str]:
    """Return the environment of a site: that of this process, with only its own settings."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Settings for another site would be a second source of policies, or would change the site.
        if not name.startswith(("ARRCERT", "DJANGO_", "FLASK_", "WEBSITE_"))
    }
    return inherited | {
        "ARRCERT": json.dumps(policies),
        "ARRCERT_EXEMPT_PATHS": "/;/health;/static/*",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        "DJANGO_ALLOWED_HOSTS": "localhost;127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        # WhiteNoise warns if collectstatic has not run, but it is not needed here.
        "PYTHONWARNINGS": "ignore:No directory at:UserWarning",
    }


@contextlib.contextmanager
def running_sites(
    pki: Pki, policies: Policies, *, ports: Sequence[int] = (0, 0, 0)
) -> Iterator[list[Site]]:
    """Run all sites, and stop them at the end, also after an error.

    Args:
        pki: the certificates, with that of the server.
        policies: the value of `ARRCERT` for the sites.
        ports: the port of each site; 0 for a free port.

    Raises:
        SiteError: a site did not start.
    """
    with contextlib.ExitStack() as stack:
        sites = []
        for name, port in zip(Site.SITES, ports, strict=True):
            site = Site(name, pki, policies, port)
            stack.callback(site.stop)
            sites.append(site)
        # All sites are already starting, so they start at the same time.
        for site in sites:
            site.wait_until_ready()
        yield sites


# --------------------------------------------------------------------------------------- clients


@dataclass(frozen=True)
class Client:
    """A client: with or without a certificate, and with or without a forged header."""

    title: str
    certificate: str | None = None
    forges: str | None = None


NOBODY = Client("no certificate")
ALLOWED = Client("the allowed certificate", "allowed")
LOOK_ALIKE = Client("self-signed look-alike, same names", "lookalike")
EXPIRED = Client("expired, though its fingerprint is listed", "expired")
STRANGER = Client("stranger, another CA", "stranger")
FORGER = Client(f"no certificate, forges {HEADER}", forges=HEADER)
FORGER_LOOK_ALIKE = Client(f"no certificate, forges {LOOK_ALIKE_HEADER}", forges=LOOK_ALIKE_HEADER)
STRANGER_FORGER = Client(f"stranger, forges {HEADER}", "stranger", HEADER)
STRANGER_FORGER_LOOK_ALIKE = Client(
    f"stranger, forges {LOOK_ALIKE_HEADER}", "stranger", LOOK_ALIKE_HEADER
)
PARTNER = Client("partner, issued by the configured CA", "partner")
IMPOSTOR = Client("same CN, another CA of the same name", "impostor")


@dataclass(frozen=True)
class Visit:
    """A request of a client for a path, and the right answer."""

    client: Client
    path: str
    reason: DenialReason | None = None

    @property
    def status(self) -> int:
        """The right status: 403 if a reason is expected, else 200."""
        return 200 if self.reason is None else 403


VISITS = (
    Visit(NOBODY, "/"),
    Visit(NOBODY, "/health"),
    Visit(NOBODY, "/hellocert", DenialReason.MISSING),
    Visit(ALLOWED, "/hellocert"),
    Visit(ALLOWED, "/cert-info"),
    Visit(LOOK_ALIKE, "/hellocert", DenialReason.FINGERPRINT_NOT_ALLOWED),
    Visit(EXPIRED, "/hellocert", DenialReason.EXPIRED),
    Visit(STRANGER, "/hellocert", DenialReason.FINGERPRINT_NOT_ALLOWED),
    Visit(FORGER, "/hellocert", DenialReason.MISSING),
    Visit(FORGER_LOOK_ALIKE, "/hellocert", DenialReason.MISSING),
    Visit(STRANGER_FORGER, "/hellocert", DenialReason.FINGERPRINT_NOT_ALLOWED),
    Visit(STRANGER_FORGER_LOOK_ALIKE, "/hellocert", DenialReason.FINGERPRINT_NOT_ALLOWED),
    Visit(PARTNER, "/partners"),
    Visit(IMPOSTOR, "/partners", DenialReason.UNTRUSTED),
    Visit(ALLOWED, "/partners", DenialReason.COMMON_NAME_NOT_ALLOWED),
    Visit(PARTNER, "/hellocert", DenialReason.FINGERPRINT_NOT_ALLOWED),
)


@dataclass(frozen=True)
class Answer:
    """The answer of a site, and the reason in its log."""

    visit: Visit
    site: str
    status: str
    reason: str

    @property
    def is_right(self) -> bool:
        """Whether the status and the reason are right."""
        return (self.status, self.reason) == (str(self.visit.status), self.visit.reason or "-")


DENIAL_RECORD = re.compile(r"\barrcert\b.*?\b(" + "|".join(DenialReason) + r")\b")


def knock(pki: Pki, port: int, client: Client, path: str) -> int:
    """Request a page of a site over TLS as a client, and return the status.

    Raises:
        OSError: the connection failed. A TLS error is an `OSError`, too.
        http.client.HTTPException: the answer was not HTTP.
    """
    context = ssl.create_default_context(cafile=str(pki.path("server-ca")))
    if client.certificate is not None:
        certificate = pki.path(client.certificate)
        context.load_cert_chain(certificate, pki.path(client.certificate, "key"))
    headers = {client.forges: pki.forged_header()} if client.forges else {}
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status


def answer(pki: Pki, site: Site, visit: Visit) -> Answer:
    """Send a request as a client, and find in the site's log why it was denied."""
    logged_before = site.lines_so_far()
    try:
        status = knock(pki, site.port, visit.client, visit.path)
    except (OSError, http.client.HTTPException) as error:
        return Answer(visit, site.name, "none", f"{type(error).__name__}: {error}")
    if status == 200:
        return Answer(visit, site.name, str(status), "-")
    # The site writes the record before it answers. But the record comes through a pipe, maybe
    # later.
    record = site.wait_for_line(DENIAL_RECORD, start=logged_before, seconds=2)
    return Answer(visit, site.name, str(status), record[1] if record else "not in the log")


# ----------------------------------------------------------------------------------------- table


def run(
    pki: Pki, policies: Policies, visits: Sequence[Visit] = VISITS, *, asks_tools: bool = False
) -> int:
    """Make all requests to all sites, print the table, and return the exit code.

    Args:
        pki: the clients' certificates.
        policies: the value of `ARRCERT` for the sites.
        visits: the requests, each with the right answer.
        asks_tools: whether to run `arrcert explain` and `arrcert probe` on the first site at the
            end.
    """
    print("Starting the sites behind the local front end ...", flush=True)
    with running_sites(pki, policies) as sites:
        for site in sites:
            print(f"  {site.name} listens on {site.url}")
        print(flush=True)
        wrong = _print_table(pki, sites, visits)
        tools_are_right = not asks_tools or _ask_tools(pki, sites[0], policies)
    total = len(visits) * len(sites)
    print()
    if wrong:
        print(_colour(f"{wrong} of {total} answers are WRONG.", "31;1"))
        return 1
    if not tools_are_right:
        print(_colour("arrcert explain or arrcert probe gave an unexpected answer.", "31;1"))
        return 1
    print(_colour(f"All {total} answers are right.", "32"))
    return 0


def _ask_tools(pki: Pki, site: Site, policies: Policies) -> bool:
    """Run the two commands for operators; return whether both give the expected result.

    Args:
        pki: the clients' certificates.
        site: the site that is probed.
        policies: the value of `ARRCERT` for the site.
    """
    print()
    print("Why was the expired certificate denied?")
    denied = _ask_tool(policies, "explain", str(pki.path("expired")))
    print()
    print(f"Does anybody enter the {site.name} site without the key?")
    none_entered = _ask_tool(
        policies,
        *("probe", f"{site.url}/hellocert", "--cacert", str(pki.path("server-ca"))),
        *("--cert", str(pki.path("allowed")), "--key", str(pki.path("allowed", "key"))),
        *("--rate", "100"),
    )
    return denied == 1 and none_entered == 0


def _ask_tool(policies: Policies, *words: str) -> int:
    """Run a command of `arrcert`, print it and what it prints, and return its exit code."""
    print(f"  $ arrcert {shlex.join(words)}")
    print(flush=True)
    done = subprocess.run(  # noqa: S603 - no shell, and no word from outside.
        (ARRCERT_COMMAND, *words), env=_environment(policies), check=False
    )
    return done.returncode


def _print_table(pki: Pki, sites: Sequence[Site], visits: Sequence[Visit]) -> int:
    titles = ("client", "site", "path", "status", "reason in the log", "")
    widths = (
        max(len(visit.client.title) for visit in visits),
        max(len(site.name) for site in sites),
        max(len(visit.path) for visit in visits),
        len(titles[3]),
        max(len(reason) for reason in DenialReason),
    )

    def line(*cells: str) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        return "  ".join([*padded, cells[-1]])

    print(line(*titles).rstrip())
    print(line(*("-" * width for width in widths), "-----"))
    wrong = 0
    for visit in visits:
        for site in sites:
            given = answer(pki, site, visit)
            mark = _colour("ok", "32")
            if not given.is_right:
                wrong += 1
                right = f"{visit.status} {visit.reason or '-'}"
                mark = _colour("WRONG", "31;1") + f" (right: {right})"
            cells = (visit.client.title, site.name, visit.path, given.status, given.reason)
            print(line(*cells, mark), flush=True)
    return wrong


def _colour(text: str, code: str) -> str:
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return f"\033[{code}m{text}\033[0m"
    return text


def print_what_next() -> None:
    """Print what the reader can try next."""
    print()
    print("What you can try next")
    print()
    print("  make serve      leaves the sites running, for a browser and for curl.")
    print("                  Then, in another terminal:")
    urls = [f"https://127.0.0.1:{DEFAULT_PORT + n}" for n in range(len(Site.SITES))]
    print_curl_lines(DEFAULT_PKI_FOLDER, urls)
    print()
    print("  Break a rule: list the stranger's fingerprint in Pki.policies() in")
    print(f"  {_shown(HERE / 'demo.py')}, run again, and see which answers turn WRONG.")


def print_curl_lines(folder: Path, urls: Sequence[str]) -> None:
    """Print commands to copy: one for each kind of client."""
    flask, django, fastapi = urls
    curl = "curl --cacert server-ca.pem"
    lines = (
        ("admitted", f"{curl} --cert allowed.pem --key allowed.key {flask}/hellocert"),
        (
            "admitted, as JSON",
            f"{curl} --cert allowed.pem --key allowed.key -H 'Accept: application/json'"
            f" {flask}/cert-info",
        ),
        ("a partner", f"{curl} --cert partner.pem --key partner.key {flask}/partners"),
        ("403: no certificate", f"{curl} -i {flask}/hellocert"),
        (
            "403: same names",
            f"{curl} -i --cert lookalike.pem --key lookalike.key {flask}/hellocert",
        ),
        ("403: expired", f"{curl} -i --cert expired.pem --key expired.key {flask}/hellocert"),
        ("403: stranger", f"{curl} -i --cert stranger.pem --key stranger.key {flask}/hellocert"),
        ("403: forged header", f"{curl} -i -H @allowed.header {flask}/hellocert"),
        (
            "403: forged header with another certificate",
            f"{curl} -i --cert stranger.pem --key stranger.key -H @allowed.header"
            f" {flask}/hellocert",
        ),
        (
            "403: another CA of the same name",
            f"{curl} -i --cert impostor.pem --key impostor.key {flask}/partners",
        ),
    )
    print()
    print(f"  cd {shlex.quote(_shown(folder))}")
    for comment, command in lines:
        print(f"  # {comment}")
        print(f"  {command}")
    print(f"  # The Django site answers the same on {django}, the FastAPI site on {fastapi}")


def _shown(path: Path) -> str:
    """Return a path relative to the current folder, or the whole path."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# -------------------------------------------------------------------------------------- commands


def serve(folder: Path, port: int) -> int:
    """Leave the sites running until Ctrl-C, and return the exit code.

    Args:
        folder: the folder of the certificates. They are issued if the folder has none.
        port: the port of the first site. The other sites use the next ports. 0 means free ports.
    """
    pki = Pki.kept(folder.resolve())
    print("Starting the sites behind the local front end ...", flush=True)
    ports = [port + n if port else 0 for n in range(len(Site.SITES))]
    with running_sites(pki, pki.policies(), ports=ports) as sites:
        print()
        for site in sites:
            print(f"  {site.name.ljust(8)}{site.url}/")
        print(f"  PKI     {_shown(pki.folder)}  (for this demo; delete the folder to renew it)")
        print()
        print("In another terminal:")
        print_curl_lines(pki.folder, [site.url for site in sites])
        print()
        print("In a browser: import a client certificate, then open one of the addresses above and")
        print("accept the warning about the site's own certificate, which is only for this demo.")
        print(f"  {_shown(pki.path('allowed', 'p12'))} opens /hellocert and /cert-info,")
        print(f"  {_shown(pki.path('partner', 'p12'))} opens /partners;")
        print(f"  the password of both is: {P12_PASSWORD}")
        print("  Firefox: Settings, Privacy & Security, View Certificates, Your Certificates")
        print("  Chrome, Edge: Settings, Privacy and security, Security, Manage certificates")
        print("  Remove them there when you are done.")
        print()
        print("The log of the sites follows. Press Ctrl-C to stop them.", flush=True)
        for site in sites:
            site.echoes = True
        while not any(site.has_ended() for site in sites):
            time.sleep(0.3)
    raise SiteError("A site has stopped.")


def demo() -> int:
    """Run the demo with certificates in a temporary folder, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="arrcert-demo-") as folder:
        pki = Pki.issue(Path(folder))
        exit_code = run(pki, pki.policies(), asks_tools=True)
    print_what_next()
    return exit_code


def _exit_on_sigterm(_signal: int, _frame: object) -> NoReturn:
    # Without a handler the process would end at once, and the sites would keep running.
    raise SystemExit(128 + signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description="Test the sample sites with different clients.")
    parser.add_argument("--serve", action="store_true", help="leave the sites running")
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="with --serve: the Flask site's port; Django and FastAPI take the next ones; 0 takes"
        " free ones (default: %(default)s)",
    )
    parser.add_argument(
        "--pki",
        type=Path,
        default=DEFAULT_PKI_FOLDER,
        metavar="FOLDER",
        help="with --serve: the folder of the keys and certificates (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        return serve(options.pki, options.port) if options.serve else demo()
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0 if options.serve else 130


if __name__ == "__main__":
    # A shell that starts a job in the background may leave Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    sys.exit(main())
