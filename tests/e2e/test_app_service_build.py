"""The sample sites, built and started as on App Service, behind the local front end.

Oryx builds and starts Python apps on App Service. The steps here follow its documents and source
(doc/runtimes/python.md; PythonBashBuildSnippet.sh.tpl; startupscriptgenerator/src/python). The
packages of the platform's image are missing here, so a site has only those of its requirements.txt.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from arrcert.cli.front_end import FrontEndServer
from arrcert.testing import CertificateAuthority

pytestmark = pytest.mark.matrix

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location(
    "sample_sites_table", Path(__file__).with_name("test_sample_sites.py")
)
table = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)

ENVIRONMENT = "antenv"
FOLDERS = {"Flask": "flask_site", "Django": "django_site", "FastAPI": "fastapi_site"}
HOSTNAME = "site.azurewebsites.net"
# Names for the container that the platform's pings were seen to use:
# https://github.com/Azure-Samples/msdocs-django-postgresql-sample-app/issues/46
INTERNAL_HOST = "169.254.130.4:8000"


def startup_module(folder: Path, python: tuple[int, int] = (3, 13)) -> str | None:
    """Return what Oryx hands to gunicorn where no start command is set, None for its own page.

    It looks for Django first: the first folder, by name, that holds a `wsgi.py`, the virtual
    environment left aside. From Python 3.14 on it then looks for a file that imports FastAPI, and
    chooses a worker for it. Last it takes any site for Flask that has one of six files, and the
    object in it to be called `app`. (startupscriptgenerator/src/python/frameworks.go)
    """
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name != ENVIRONMENT and (entry / "wsgi.py").is_file():
            return f"{entry.name}.wsgi"
    names = ("main", "app", "application", "server", "asgi", "api", "index", "run")
    for name in names if python >= (3, 14) else ():
        text = (folder / f"{name}.py").read_text() if (folder / f"{name}.py").is_file() else ""
        if re.search("from fastapi|import fastapi", text) and "from flask" not in text:
            return f"-k uvicorn_worker.UvicornWorker {name}:app"
    for name in ("application", "app", "run", "index", "server", "wsgi"):
        if (folder / f"{name}.py").is_file():
            return f"{name}:app"
    return None


def startup_script(folder: Path, module: str, arguments: str = "") -> str:
    """Return the script that Oryx starts a site with; @PORT@ stands for the port.

    (startupscriptgenerator/src/python/scriptgenerator.go.) It starts 2N+1 workers for N cores, here
    as for one core. Other than there, gunicorn replaces the shell, so that it can be ended, and
    nobody outside this machine can reach it.
    """
    settings = "--timeout 600 --access-logfile '-' --error-logfile '-' --workers=3"
    settings += f" --bind=127.0.0.1:@PORT@ --chdir={folder}{arguments}"
    return (
        f"cd {folder}\n"
        f". {ENVIRONMENT}/bin/activate\n"
        f'export GUNICORN_CMD_ARGS="{settings}"\n'
        f"exec gunicorn {module}\n"
    )


def run(*words: str | Path, **options: object) -> str:
    """Run a program, and return its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Built:
    """A site in the state after the build."""

    name: str
    folder: Path
    variables: Mapping[str, str]
    collected: str

    @property
    def python(self) -> Path:
        """The interpreter of the site's own environment."""
        return self.folder / ENVIRONMENT / "bin" / "python"

    def environment(self) -> dict[str, str]:
        """Return the environment of a program of the site."""
        return {"PATH": os.environ["PATH"], **self.variables}


@dataclass(frozen=True)
class Site:
    """A built site that runs behind the front end."""

    name: str
    built: Built
    server: object
    port: int

    @property
    def url(self) -> str:
        """The address of the site, without a slash at the end."""
        return f"https://127.0.0.1:{self.port}"

    def ask(self, path: str, host: str, **headers: str) -> object:
        """Send a request directly to the site, like the platform's own pings."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port)) as connection:
            connection.request("GET", path, headers={"Host": host, **headers})
            response = connection.getresponse()
            return table.Answer(response.status, dict(response.getheaders()), response.read())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this project, from BUILT_WHEEL or built from the source."""
    if "BUILT_WHEEL" in os.environ:
        return Path(os.environ["BUILT_WHEEL"])
    if not (ROOT / "arrcert").is_dir():
        pytest.skip("the project's source is missing, and BUILT_WHEEL names no wheel of it")
    folder = tmp_path_factory.mktemp("dist")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    run(*pip, "--wheel-dir", folder, ROOT)
    [wheel] = folder.glob("arrcert-*.whl")
    return wheel


large_certificate = CertificateAuthority("Large CA").issue(
    "large", dns_names=[f"client-{number:04}.contoso.example" for number in range(250)]
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """The demonstration's certificates, one with markup in its names, and a large one."""
    pki = table.demo.Pki.issue(tmp_path_factory.mktemp("pki"))
    hostile = CertificateAuthority("<b>CA</b>").issue(table.HOSTILE_NAME)
    for name, issued in (("hostile", hostile), ("large", large_certificate)):
        pki.path(name).write_bytes(issued.certificate_pem)
        pki.path(name, "key").write_bytes(issued.private_key_pem)
    return pki


@pytest.fixture(scope="module")
def variables(pki) -> dict[str, str]:
    """The environment of a container of App Service, with its app settings."""
    policies = pki.policies()
    policies["default"]["fingerprints"] += [
        pki.certificate(name).sha256_fingerprint for name in ("hostile", "large")
    ]
    settings = {
        "ARRCERT": json.dumps(policies),
        "ARRCERT_EXEMPT_PATHS": "/;/health;/static/*",
        "DJANGO_SECRET_KEY": "k" * 30 + "0123456789-abcdefghij-KLMNOP",
        # The site sees this name as a custom domain.
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
        "SCM_DO_BUILD_DURING_DEPLOYMENT": "1",
    }
    return {
        **settings,
        **{f"APPSETTING_{name}": value for name, value in settings.items()},
        "WEBSITE_SITE_NAME": "site",
        "WEBSITE_HOSTNAME": HOSTNAME,
        "WEBSITE_INSTANCE_ID": "0" * 64,
        "WEBSITE_OWNER_NAME": "subscription+group-RegionwebspaceLinux",
    }


@pytest.fixture(scope="module")
def builds(wheel, variables, tmp_path_factory) -> dict[str, Built]:
    """The sites, each built from its own folder, in its own environment."""
    constraint = tmp_path_factory.mktemp("constraint") / "wheel.txt"
    # An index may hold another package under that name, which is not the one to test.
    constraint.write_text(f"arrcert @ {wheel.as_uri()}\n")
    builds = {}
    for name, source in FOLDERS.items():
        folder = tmp_path_factory.mktemp("wwwroot") / "site"
        left_out = shutil.ignore_patterns("__pycache__", "staticfiles", ".env", ".mypy_cache")
        shutil.copytree(ROOT / "sample_sites" / source, folder, ignore=left_out)
        environment = folder / ENVIRONMENT
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        pip = (sys.executable, "-m", "pip", "--python", environment, "install", "--quiet")
        options = ("--find-links", wheel.parent, "--constraint", constraint)
        run(*pip, "--disable-pip-version-check", *options, "-r", "requirements.txt", cwd=folder)
        built = Built(name, folder, variables, collected="")
        requirements = (folder / "requirements.txt").read_text().lower()
        # Without "django" in the file, the platform collects no static files, and says so once.
        if (folder / "manage.py").is_file() and "django" in requirements:
            collect = (built.python, "manage.py", "collectstatic", "--noinput")
            said = run(*collect, cwd=folder, env=built.environment())
            built = Built(name, folder, variables, collected=said)
            # No finder knows this file, so a response with it comes from the collected files.
            (folder / "staticfiles" / "collected.txt").write_text("collected\n")
        builds[name] = built
    return builds


@pytest.fixture(scope="module")
def start(serve):
    """A function that starts a built site as the platform does."""

    def start(built: Built, arguments: str = "", folder: Path | None = None):
        folder = folder or built.folder
        module = startup_module(folder)
        script = startup_script(folder, module, arguments)
        # The Flask site protects each page separately. The other sites have a gate.
        protects_all = "false" if built.name == "Flask" else "true"
        own = {"ARRCERT_PROTECT_ALL": protects_all, "PYTHONPATH": "", "PORT": "8000"}
        own = {**built.variables, **own}
        return serve(["sh", "{folder}/startup.sh"], files={"startup.sh": script}, **own)

    return start


@pytest.fixture(scope="module")
def sites(builds, start, pki) -> Iterator[dict[str, Site]]:
    """The built sites, which run behind the local front end."""
    with ExitStack() as stack:
        sites = {}
        for name, built in builds.items():
            server = stack.enter_context(start(built))
            front_end = stack.enter_context(
                FrontEndServer(
                    ("127.0.0.1", server.port),
                    certificate=pki.path("server").read_bytes(),
                    key=pki.path("server", "key").read_bytes(),
                    bind=("127.0.0.1", 0),
                )
            )
            port = int(front_end.url.rpartition(":")[2])
            sites[name] = Site(name, built, server, port)
        yield sites


@pytest.fixture(params=FOLDERS)
def site(request, sites) -> Site:
    """Each of the sites."""
    return sites[request.param]


# The table of clients, and the other tests that a site passes everywhere.
get = table.get
test_verdicts_for_python_clients = table.test_verdicts_for_python_clients
test_verdicts_for_curl = table.test_verdicts_for_curl
test_denial_is_the_same_for_every_reason = table.test_denial_is_the_same_for_every_reason
test_cert_info_page_shows_the_certificate = table.test_cert_info_page_shows_the_certificate
test_cert_info_as_json = table.test_cert_info_as_json
test_hostile_names_are_escaped = table.test_hostile_names_are_escaped
test_health_shows_nothing = table.test_health_shows_nothing
test_unknown_page = table.test_unknown_page


@pytest.mark.parametrize("python", [(3, 13), (3, 14)])
def test_the_platform_finds_the_application(python):
    """The platform finds each site by its own rules without a start command, on any Python."""
    samples = ROOT / "sample_sites"
    modules = {name: startup_module(samples / folder, python) for name, folder in FOLDERS.items()}
    assert modules == {"Flask": "app:app", "Django": "mtls_site.wsgi", "FastAPI": "application:app"}


def test_fastapi_is_detected_by_its_import(tmp_path):
    """From Python 3.14 on, the platform chooses the worker for a file that imports FastAPI."""
    (tmp_path / "app.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    assert startup_module(tmp_path, (3, 13)) == "app:app"
    assert startup_module(tmp_path, (3, 14)) == "-k uvicorn_worker.UvicornWorker app:app"
    (tmp_path / "main.py").write_text("from flask import Flask\n# import fastapi\n")
    assert startup_module(tmp_path, (3, 14)) == "-k uvicorn_worker.UvicornWorker app:app"


@pytest.mark.parametrize(
    ("files", "module"),
    [
        ([], None),
        (["main.py"], None),
        (["app.py", "application.py"], "application:app"),
        (["wsgi.py"], "wsgi:app"),
        (["app.py", "shop/wsgi.py"], "shop.wsgi"),
        (["zoo/wsgi.py", "shop/wsgi.py"], "shop.wsgi"),
        (["antenv/wsgi.py", "app.py"], "app:app"),
        (["src/shop/wsgi.py", "server.py"], "server:app"),
    ],
)
def test_detection(tmp_path, files, module):
    """Django is searched before Flask, in the order of names, and not in deeper folders."""
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert startup_module(tmp_path) == module


def test_requirements_are_complete(site):
    """The site runs with only the packages of its requirements.txt."""
    listing = "import importlib.metadata as m; print(*[d.name for d in m.distributions()])"
    names = run(site.built.python, "-P", "-c", listing, cwd=site.built.folder).lower().split()
    assert {"arrcert", "gunicorn", site.name.lower()} <= set(names)
    assert not {"cheroot", "pyopenssl", "pytest", "pip"} & set(names)
    assert len({"flask", "django", "fastapi"} & set(names)) == 1


def test_gunicorn_reads_the_settings_in_the_folder(site):
    """The settings in gunicorn.conf.py win over the platform's own arguments."""
    program = site.built.folder / ENVIRONMENT / "bin" / "gunicorn"
    module = startup_module(site.built.folder)
    settings = f"--timeout 600 --access-logfile '-' --chdir={site.built.folder}"
    shown = run(
        *(program, "--print-config", module),
        cwd=site.built.folder,
        env=site.built.environment() | {"GUNICORN_CMD_ARGS": settings},
    )
    values = dict(re.findall(r"^(\w+) += (.*)$", shown, re.MULTILINE))
    assert values["limit_request_field_size"] == "65536"
    assert values["timeout"] == "600"


def test_a_large_certificate_enters(pki, get):
    """A certificate of more than 6.1 KB passes gunicorn, because the sites raise its limit."""
    assert len(pki.certificate("large").der) > 6246
    assert get("/hellocert", "large").status == 200


def test_without_the_raised_limit_a_large_certificate_is_a_431(builds, start, tmp_path):
    """With gunicorn's default limit the same certificate is a 431."""
    built = builds["Flask"]
    folder = tmp_path / "site"
    shutil.copytree(
        built.folder, folder, ignore=shutil.ignore_patterns(ENVIRONMENT, "gunicorn.conf.py")
    )
    (folder / ENVIRONMENT).symlink_to(built.folder / ENVIRONMENT)
    with start(built, folder=folder) as server:
        plain = Site("Flask", built, server, 0)
        assert plain.ask("/hellocert", HOSTNAME, **large_certificate.headers).status == 431
        assert plain.ask("/health", HOSTNAME).status == 200
        assert "arrcert" not in server.log.read_text()


def test_what_is_too_large_for_a_certificate_is_denied_and_logged(site):
    """The application denies a header of up to 64 KB, with a reason in its log."""
    answer = site.ask("/hellocert", HOSTNAME, **{table.HEADER: "A" * 60_000})
    assert answer.status == 403
    assert "too_large" in site.server.log.read_text()


@pytest.mark.parametrize("name", FOLDERS)
def test_the_hook_holds_where_gunicorn_is_told_to_pass_underscores(builds, start, pki, name):
    """With header_map=dangerous the look-alike is removed, and the owner of the key is accepted."""
    with start(builds[name], " --header-map=dangerous") as server:
        site = Site(name, builds[name], server, 0)
        for header, status in ((table.LOOK_ALIKE, 403), (table.HEADER, 200)):
            answer = site.ask("/hellocert", HOSTNAME, **{header: pki.forged_header()})
            assert answer.status == status
        log = server.log.read_text()
    assert "removed the header" in log
    assert "misconfigured" not in log


def test_health_answers_whatever_the_host(site):
    """The platform's probe gets its 200, even with the container's own address as the Host."""
    for host in (INTERNAL_HOST, HOSTNAME, "localhost", "bad_host!"):
        answer = site.ask("/health", host)
        assert (answer.status, answer.text) == (200, b"ok"), host


@pytest.mark.parametrize("path", ["/", "/health/", "/health/x", "/hellocert", "/static/site.css"])
def test_only_the_probe_is_spared_the_check_of_the_host(sites, path):
    """Only the probe may have a foreign Host, and other pages of the Django site refuse it."""
    answer = sites["Django"].ask(path, "evil.example")
    assert answer.status == (200 if path.startswith("/static/") else 400 if path == "/" else 403)
    assert b"evil" not in answer.text


def test_warm_up_is_answered(site):
    """The platform's warm-up request gets an answer, and the site keeps running."""
    answer = site.ask("/robots933456.txt", INTERNAL_HOST)
    assert 400 <= answer.status < 500
    assert site.ask("/health", INTERNAL_HOST).status == 200


def test_the_platforms_host_name_is_allowed(site):
    """The site answers under the host name of the platform, and the Django site sends HSTS."""
    answer = site.ask("/", HOSTNAME, **{"X-Forwarded-Proto": "https"})
    assert answer.status == 200
    assert ("Strict-Transport-Security" in answer.headers) == (site.name == "Django")


def test_collected_files_are_served(get, site):
    """The build collects the style sheet, and WhiteNoise serves it without DEBUG."""
    assert get("/static/site.css").headers["Content-Type"].startswith("text/css")
    if site.name != "Django":
        return
    assert "static files copied" in site.built.collected
    assert get("/static/collected.txt").text == "collected\n"


def test_deployment_checks_find_nothing(builds):
    """`check --deploy` reports no issue in the built environment with the platform's variables."""
    built = builds["Django"]
    check = (built.python, "manage.py", "check", "--deploy", "--fail-level", "WARNING")
    said = run(*check, cwd=built.folder, env=built.environment())
    assert "no issues" in said
    assert "WARNING" not in said


def test_starts_without_a_warning(site):
    """The output of a site's start has no warning and no traceback."""
    said = site.server.log.read_text().partition("GET /")[0]
    assert "Booting worker" in said
    assert "Warning" not in said
    assert "WARNING" not in said
    assert "Traceback" not in said
