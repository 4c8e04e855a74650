"""A look-alike of the front end's header, sent raw to every server that can be installed.

No front end stands before the servers here, so the raw bytes are those that a front end may pass
on. Each server either removes the look-alike, or the app refuses that server.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import arrcert

pytestmark = pytest.mark.matrix

PYTHON = (sys.executable, "-m")
HERE = Path(__file__).resolve().parent
PROGRAM = (sys.executable, str(HERE / "run_server.py"))
GUNICORN = (*PYTHON, "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning")
UVICORN = (*PYTHON, "uvicorn", "--port", "{port}", "--log-level", "warning", "--lifespan", "off")
WSGI, ASGI = "probe_site:app", "asgi_site:app"


def program(name: str) -> tuple[str, ...]:
    """Return the command of a server that has no command line of its own."""
    return (*PROGRAM, name, WSGI, "{port}")


class Server(NamedTuple):
    """A server in the form in which the tests start it.

    Attributes:
        words: of the command.
        needs: the module without which it cannot be started.
        name: what arrcert must take it for.
        is_safe: what arrcert must say of it.
    """

    words: Sequence[str]
    needs: str
    name: str
    is_safe: bool
    remedy: str = "run the app on gunicorn 22 or newer, or on waitress"


SERVERS = {
    "gunicorn": Server((*GUNICORN, WSGI), "gunicorn", "gunicorn", True),
    "gunicorn gthread": Server((*GUNICORN, "--threads", "2", WSGI), "gunicorn", "gunicorn", True),
    "gunicorn gevent": Server((*GUNICORN, "-k", "gevent", WSGI), "gevent", "gunicorn", True),
    "gunicorn tornado": Server(
        (*GUNICORN, "-k", "tornado", WSGI), "tornado", "tornado's WSGIContainer", False
    ),
    "gunicorn, underscores mapped": Server(
        (*GUNICORN, "--header-map", "dangerous", WSGI),
        "gunicorn",
        "gunicorn with header_map=dangerous",
        False,
        "from arrcert.gunicorn import pre_request",
    ),
    "gunicorn, underscores from forwarders": Server(
        (*GUNICORN, "--forwarder-headers", "*", WSGI),
        "gunicorn",
        "gunicorn with forwarder_headers=*",
        False,
        "from arrcert.gunicorn import pre_request",
    ),
    "gunicorn 21.2": Server(
        (*GUNICORN, WSGI), "gunicorn", "gunicorn before 22", False, "upgrade gunicorn"
    ),
    "waitress": Server(
        (*PYTHON, "waitress", "--listen", "127.0.0.1:{port}", WSGI), "waitress", "waitress", True
    ),
    "werkzeug": Server(program("werkzeug"), "werkzeug", "werkzeug", True),
    "Django runserver": Server(program("runserver"), "django", "Django's runserver", True),
    "gevent": Server(program("gevent"), "gevent", "gevent", True),
    "eventlet": Server(program("eventlet"), "eventlet", "eventlet", True),
    "mod_wsgi": Server(
        ("apache2", "-D", "FOREGROUND", "-f", "{here}/mod_wsgi.conf"), "", "mod_wsgi", True
    ),
    "wsgiref": Server(program("wsgiref"), "wsgiref", "wsgiref", False),
    "uWSGI": Server(
        (
            *(str(Path(sys.executable).with_name("uwsgi")), "--http-socket", "127.0.0.1:{port}"),
            *("--master", "--die-on-term", "--need-app", "--buffer-size", "32768"),
            *("--module", WSGI, "--virtualenv", sys.prefix),
        ),
        "uwsgidecorators",
        "uWSGI",
        False,
    ),
    "cheroot": Server(program("cheroot"), "cheroot", "cheroot", False),
    "twisted.web": Server(program("twisted"), "twisted", "twisted.web", False),
    "tornado": Server(program("tornado"), "tornado", "tornado's WSGIContainer", False),
    "granian": Server(
        (*PYTHON, "granian", "--interface", "wsgi", "--port", "{port}", WSGI),
        "granian",
        "granian's WSGI interface",
        False,
    ),
    "hypercorn": Server(
        (*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}", f"wsgi:{WSGI}"),
        "hypercorn",
        "the WSGI mode of hypercorn or uvicorn",
        False,
    ),
    "uvicorn --interface wsgi": Server(
        (*UVICORN, "--interface", "wsgi", WSGI), "a2wsgi", "a2wsgi", False
    ),
    "asgiref": Server(program("asgiref"), "asgiref", "asgiref's WsgiToAsgi", False),
    "a2wsgi": Server(program("a2wsgi"), "a2wsgi", "a2wsgi", False),
    "Azure Functions": Server(
        program("functions"),
        "azure.functions",
        "Azure Functions' WSGI app",
        False,
        'environ["arrcert.headers"]',
    ),
    "bjoern": Server(program("bjoern"), "bjoern", "bjoern", False),
    "FastWSGI": Server(program("fastwsgi"), "fastwsgi", "FastWSGI", False),
}

ASGI_SERVERS = {
    "uvicorn with h11": ((*UVICORN, "--http", "h11", ASGI), "uvicorn"),
    "uvicorn with httptools": ((*UVICORN, "--http", "httptools", ASGI), "httptools"),
    "hypercorn": ((*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}", ASGI), "hypercorn"),
    "daphne": ((*PYTHON, "daphne", "--port", "{port}", ASGI), "daphne"),
    "granian": (
        (*PYTHON, "granian", "--interface", "asgi", "--port", "{port}", ASGI),
        "granian",
    ),
    "gunicorn's ASGI worker": ((*GUNICORN, "-k", "asgi", ASGI), "gunicorn.asgi"),
    "gunicorn's uvicorn worker with h11": (
        (*GUNICORN, "-k", "uvicorn.workers.UvicornH11Worker", ASGI),
        "uvicorn.workers",
    ),
    # It uses httptools if that is installed.
    "gunicorn's uvicorn worker with httptools": (
        (*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", ASGI),
        "httptools",
    ),
}

REFUSED = {400, 403, 411}
"""mod_wsgi refuses a chunked body by default."""


@pytest.fixture(scope="session")
def gunicorn_21(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the last gunicorn that folds header names."""
    folder = tmp_path_factory.mktemp("gunicorn-21")
    command = [*PYTHON, "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*command, "gunicorn==21.2.0"], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"gunicorn 21.2.0 cannot be installed: {done.stderr[-300:]}")
    return folder


def is_missing(module: str) -> bool:
    """Tell whether a module, or its package, cannot be imported."""
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def old_gunicorn(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the variables that select the old gunicorn."""
    folders = (request.getfixturevalue("gunicorn_21"), HERE, HERE.parent / "parity")
    return {"PYTHONPATH": ":".join(map(str, folders))}


def mod_wsgi() -> dict[str, str]:
    """Return the variables with which Debian's Apache finds this environment's packages."""
    version = ".".join(map(str, sys.version_info[:2]))
    if not Path(f"/usr/lib/apache2/modules/mod_wsgi.so-{version}").exists():
        pytest.skip(f"Debian's libapache2-mod-wsgi-py3 for Python {version} is missing")
    packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    packages += [str(HERE), str(HERE.parent / "parity"), str(Path(arrcert.__file__).parents[1])]
    for folder in packages:
        if not all(above.stat().st_mode & 0o001 for above in (Path(folder), *Path(folder).parents)):
            pytest.skip(f"the user www-data, as which mod_wsgi runs, cannot enter {folder}")
    return {"MODULES": ":".join(packages)}


@pytest.fixture(scope="module", params=SERVERS)
def wsgi(request: pytest.FixtureRequest, serve) -> Iterator[tuple[Server, object]]:
    """Each WSGI server."""
    server = SERVERS[request.param]
    if server.needs and is_missing(server.needs):
        pytest.skip(f"the package {server.needs} is missing")
    program = server.words[0]
    if shutil.which(program) is None:
        pytest.skip(f"the program {program} is missing")
    variables = {}
    if request.param == "gunicorn 21.2":
        variables = old_gunicorn(request)
    if request.param == "mod_wsgi":
        variables = mod_wsgi()
    with serve(server.words, **variables) as running:
        yield server, running


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def asgi(request: pytest.FixtureRequest, serve) -> Iterator[tuple[str, object]]:
    """Each ASGI server."""
    words, needs = ASGI_SERVERS[request.param]
    if is_missing(needs):
        pytest.skip(f"the package {needs} is missing")
    with serve(words) as running:
        yield request.param, running


def test_server_is_known(wsgi, forms) -> None:
    """Each server is recognized, and is called safe exactly if no look-alike becomes the header."""
    server, running = wsgi
    seen = []
    for name in ("underscores", "trailer"):
        answer = running.exchange(forms(name, "/seen"))
        if answer.status == 200:
            seen.append(json.loads(answer.body))
    assert seen, "it refuses both requests"
    assert {told["server"]["name"] for told in seen} == {server.name}
    assert {told["server"]["is_safe"] for told in seen} == {server.is_safe}
    assert any(told["value"] for told in seen) is not server.is_safe


def test_nobody_enters_without_the_header_by_its_name(wsgi, form, forms) -> None:
    """No smuggled form of the header opens the site on any server, and none causes an error."""
    _, running = wsgi
    answer = running.exchange(forms(form, "/sync"))
    assert answer.status in REFUSED, answer
    assert b"entered" not in answer.body


@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_legitimate_request_enters_on_safe_servers(wsgi, path, forms) -> None:
    """A safe server serves the allowed client, and every other one is refused with the reason."""
    server, running = wsgi
    answer = running.exchange(forms("legitimate", path))
    log = running.log.read_text(errors="replace")
    if server.is_safe:
        assert answer.status == 200, (answer, log[-2000:])
        assert b"entered: alice" in answer.body
    else:
        assert answer.status == 403, (answer, log[-2000:])
        assert f"misconfigured: the WSGI server {server.name} " in log
        assert server.remedy in log


@pytest.mark.parametrize("in_one_packet", [True, False], ids=["one packet", "two packets"])
def test_nobody_enters_over_asgi(asgi, form, forms, in_one_packet) -> None:
    """No smuggled form of the header opens the Django site on any ASGI server."""
    _, running = asgi
    request = forms(form, "/sync")
    head, end, body = request.partition(b"\r\n\r\n")
    answer = running.exchange(request if in_one_packet or not body else [head + end, body])
    assert answer.status in REFUSED, answer
    assert b"entered" not in answer.body


@pytest.mark.parametrize("name", ["legitimate", "legitimate, chunked"])
def test_legitimate_request_enters_over_asgi(asgi, name, forms) -> None:
    """The allowed client is accepted on every ASGI server, with a chunked body too."""
    _, running = asgi
    answer = running.exchange(forms(name, "/sync"))
    assert answer.status == 200, (answer, running.log.read_text()[-2000:])


def test_a_late_header_of_a_chunked_request_is_refused_where_it_may_be_a_trailer(
    asgi, forms
) -> None:
    """If a server may append trailers, a header after Transfer-Encoding is denied."""
    name, running = asgi
    answer = running.exchange(forms("legitimate, chunked before", "/sync"))
    assert answer.status == (403 if name.endswith("with httptools") else 200), answer


@pytest.mark.parametrize("version", ["current", "21.2"])
def test_gunicorns_hook_makes_it_safe(serve, forms, request, version, tmp_path) -> None:
    """With the hook in its configuration gunicorn is safe, in any version and with any settings."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("from arrcert.gunicorn import pre_request\n")
    words = [*GUNICORN, "--config", str(config), WSGI]
    variables = {}
    if version == "current":
        words += ["--header-map", "dangerous", "--forwarder-headers", "*"]
    else:
        variables = old_gunicorn(request)
    with serve(words, **variables) as running:
        told = json.loads(running.exchange(forms("underscores", "/seen")).body)
        assert told["value"] is None
        assert told["server"]["is_safe"]
        assert running.exchange(forms("underscores", "/sync")).status == 403
        assert running.exchange(forms("underscores after a stranger's", "/sync")).status == 403
        assert running.exchange(forms("legitimate", "/sync")).status == 200
        log = running.log.read_text()
        assert "removed the header 'X_ARR_CLIENTCERT': only an attacker sends such a header" in log


def test_a_bare_lf_ends_a_header_on_some_servers(wsgi, forms) -> None:
    """Exactly the servers that are known for it find a header after a bare LF."""
    server, running = wsgi
    answer = running.exchange(forms("behind a bare LF", "/sync"))
    if server.name in ("werkzeug", "Django's runserver", "gevent", "eventlet"):
        assert answer.status == 200
    else:
        assert answer.status in REFUSED, answer


def test_a_bare_lf_ends_a_header_on_some_asgi_servers(asgi, forms) -> None:
    """Exactly the ASGI servers that are known for it find a header after a bare LF."""
    name, running = asgi
    answer = running.exchange(forms("behind a bare LF", "/sync"))
    if name.endswith("h11") or name in ("hypercorn", "granian"):
        assert answer.status == 200
    else:
        assert answer.status in REFUSED, answer


def test_a_lone_carriage_return_ends_a_header_on_few_servers(wsgi, forms) -> None:
    """Only servers that read headers like `http.server` find one after a lone CR."""
    server, running = wsgi
    answer = running.exchange(forms("behind a lone CR", "/sync"))
    if server.name in ("werkzeug", "Django's runserver", "gevent", "eventlet"):
        assert answer.status == 200
    else:
        assert answer.status in REFUSED, answer
