"""HAProxy and nginx terminate TLS in front of the sample sites, on several servers.

Both accept any client certificate, as App Service does, and forward it, so that the app alone
decides.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import secrets
import ssl
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from arrcert.testing import IssuedCertificate

pytestmark = pytest.mark.matrix

HERE = Path(__file__).resolve().parent
SAMPLE_SITES = HERE.parents[1] / "sample_sites"
PYTHON = (sys.executable, "-m")
GUNICORN = (*PYTHON, "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning")
UVICORN = (*PYTHON, "uvicorn", "--port", "{port}", "--log-level", "warning", "--lifespan", "off")
# With this option it keeps X-Forwarded-Proto.
WAITRESS = (*PYTHON, "waitress", "--no-clear-untrusted-proxy-headers")
HYPERCORN = (*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}")
UWSGI = (
    *(str(Path(sys.executable).with_name("uwsgi")), "--http-socket", "127.0.0.1:{port}"),
    *("--master", "--die-on-term", "--need-app", "--buffer-size", "32768"),
    *("--virtualenv", sys.prefix, "--module"),
)
CHEROOT = (sys.executable, str(HERE / "run_server.py"), "cheroot")
FLASK, DJANGO = "app:app", "mtls_site.wsgi:application"
DJANGO_ASGI = "mtls_site.asgi:application"
FASTAPI = "mtls_app.main:app"
FOLDERS = {"Flask": "flask_site", "Django": "django_site", "FastAPI": "fastapi_site"}

SAFE, UNSAFE = True, False
STACKS = {
    "Flask on gunicorn": ((*GUNICORN, FLASK), "gunicorn", SAFE),
    "Flask on waitress": (
        (*WAITRESS, "--listen", "127.0.0.1:{port}", FLASK),
        "waitress",
        SAFE,
    ),
    "Flask on hypercorn": ((*HYPERCORN, f"wsgi:{FLASK}"), "hypercorn", UNSAFE),
    "Flask on uWSGI": ((*UWSGI, FLASK), "uwsgidecorators", UNSAFE),
    "Flask on cheroot": ((*CHEROOT, FLASK, "{port}"), "cheroot", UNSAFE),
    "Django on gunicorn": ((*GUNICORN, DJANGO), "gunicorn", SAFE),
    "Django on waitress": (
        (*WAITRESS, "--listen", "127.0.0.1:{port}", DJANGO),
        "waitress",
        SAFE,
    ),
    "Django on uvicorn with h11": ((*UVICORN, "--http", "h11", DJANGO_ASGI), "uvicorn", SAFE),
    "Django on uvicorn with httptools": (
        (*UVICORN, "--http", "httptools", DJANGO_ASGI),
        "httptools",
        SAFE,
    ),
    "Django on hypercorn": ((*HYPERCORN, DJANGO_ASGI), "hypercorn", SAFE),
    "Django on uWSGI": ((*UWSGI, DJANGO), "uwsgidecorators", UNSAFE),
    "Django on cheroot": ((*CHEROOT, DJANGO, "{port}"), "cheroot", UNSAFE),
    "FastAPI on gunicorn": ((*GUNICORN, "--worker-class", "asgi", FASTAPI), "gunicorn", SAFE),
    "FastAPI on uvicorn with h11": ((*UVICORN, "--http", "h11", FASTAPI), "uvicorn", SAFE),
    "FastAPI on uvicorn with httptools": (
        (*UVICORN, "--http", "httptools", FASTAPI),
        "httptools",
        SAFE,
    ),
    "FastAPI on hypercorn": ((*HYPERCORN, FASTAPI), "hypercorn", SAFE),
}

HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend tls
    bind 127.0.0.1:@PORT@ ssl crt @PKI@/server.pem ca-file @PKI@/server-ca.pem verify optional \
ca-ignore-err all crt-ignore-err all no-ca-names
    http-request del-header X-ARR-ClientCert
    http-request set-header X-ARR-ClientCert %[ssl_c_der,base64] if { ssl_c_used }
    http-request set-header X-Forwarded-Proto https
    default_backend site
backend site
    server site 127.0.0.1:@SITE@
"""
NGINX = """
daemon off;
master_process off;
pid @FOLDER@/pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path @FOLDER@/body;
    proxy_temp_path @FOLDER@/proxy;
    fastcgi_temp_path @FOLDER@/fastcgi;
    uwsgi_temp_path @FOLDER@/uwsgi;
    scgi_temp_path @FOLDER@/scgi;
    server {
        listen 127.0.0.1:@PORT@ ssl;
        ssl_certificate @PKI@/server.pem;
        ssl_certificate_key @PKI@/server.pem;
        ssl_verify_client optional_no_ca;
        location / {
            proxy_pass http://127.0.0.1:@SITE@;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Client-Cert $ssl_client_escaped_cert;
            proxy_set_header X-Forwarded-Proto https;
        }
    }
}
"""


class FrontEnd(NamedTuple):
    """A front end, and the way it forwards a certificate.

    Attributes:
        program: to run.
        arguments: of it.
        config: the name and the text of its configuration.
        header: that it sets.
        encode: how it writes a certificate there.
        setting: its description in the settings of the site.
    """

    program: str
    arguments: tuple[str, ...]
    config: tuple[str, str]
    header: str
    encode: Callable[[IssuedCertificate], str]
    setting: str


FRONT_ENDS = {
    "HAProxy": FrontEnd(
        "haproxy",
        ("-db", "-f", "{folder}/haproxy.cfg"),
        ("haproxy.cfg", HAPROXY),
        "X-ARR-ClientCert",
        lambda issued: issued.header_value,
        "app-service",
    ),
    "nginx": FrontEnd(
        "nginx",
        ("-e", "stderr", "-c", "{folder}/nginx.conf"),
        ("nginx.conf", NGINX),
        "X-Client-Cert",
        lambda issued: urllib.parse.quote(issued.certificate_pem.decode()),
        json.dumps({"header": "X-Client-Cert", "encoding": "percent-encoded-pem"}),
    ),
}


class Door(NamedTuple):
    """A sample site behind a front end.

    Attributes:
        knock: sends the request of that form with a client's certificate.
        site: the site's own server.
        is_safe: whether the site must serve on that server.
        front_end: the one that is passed.
    """

    knock: Callable[..., object]
    site: object
    is_safe: bool
    front_end: str


@pytest.fixture(scope="session")
def behind(serve, pki: Path, forms) -> Callable[..., contextlib.AbstractContextManager[Door]]:
    """A function that runs a sample site on a server behind a front end."""

    @contextlib.contextmanager
    def behind(name: str, stack: str, **variables: str) -> Iterator[Door]:
        front_end = FRONT_ENDS[name]
        words, needs, is_safe = STACKS[stack]
        if importlib.util.find_spec(needs) is None:
            pytest.skip(f"the package {needs} is missing")
        framework = stack.partition(" ")[0]
        folder = SAMPLE_SITES / FOLDERS[framework]
        site_variables = {
            "ARRCERT_FRONT_END": front_end.setting,
            "ARRCERT_EXEMPT_PATHS": "/;/health;/static/*",
            # The Flask site protects each page separately. The other sites have a gate.
            "ARRCERT_PROTECT_ALL": "false" if framework == "Flask" else "true",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_ALLOWED_HOSTS": "localhost",
            "PYTHONPATH": str(folder),
            "PYTHONWARNINGS": "ignore:No directory at:UserWarning",
        }
        contexts = {}
        for client in (None, "alice", "stranger"):
            contexts[client] = ssl.create_default_context(cafile=pki / "server-ca.pem")
            if client is not None:
                contexts[client].load_cert_chain(pki / f"{client}.pem")
        with serve(words, **site_variables, **variables) as site:
            file, text = front_end.config
            text = text.replace("@SITE@", str(site.port)).replace("@PKI@", str(pki))
            command = [front_end.program, *front_end.arguments]
            with serve(command, files={file: text}, speaks_tls=True) as running:

                def knock(form: str, client: str | None) -> object:
                    # The sites accept no other method there, and a GET may have a chunked body too.
                    message = forms(form, "/hellocert", front_end.header, front_end.encode, "GET")
                    return running.exchange(message, contexts[client])

                yield Door(knock, site, is_safe, name)

    return behind


@pytest.fixture(
    scope="module",
    params=[(front_end, stack) for front_end in FRONT_ENDS for stack in STACKS],
    ids=lambda pair: f"{pair[0]}, {pair[1]}",
)
def door(request: pytest.FixtureRequest, behind) -> Iterator[Door]:
    """Each site on each server behind each front end."""
    with behind(*request.param) as door:
        yield door


def test_owner_of_the_key_enters(door: Door) -> None:
    """The owner of the key is accepted on a safe server, and every other server is refused."""
    answer = door.knock("nothing", "alice")
    log = door.site.log.read_text(errors="replace")
    if door.is_safe:
        assert answer.status == 200, (answer, log[-2000:])
        assert b"alice" in answer.body
    else:
        assert answer.status == 403, (answer, log[-2000:])
        assert "misconfigured: the WSGI server " in log


def test_open_pages_are_served_everywhere(door: Door, forms) -> None:
    """A site that refuses an unsafe server still serves its exempt paths."""
    answer = door.site.exchange(forms("nothing", "/health"))
    assert answer.status == 200


@pytest.mark.parametrize("client", [None, "stranger"])
def test_nobody_enters_without_the_key(door: Door, form: str, client: str | None) -> None:
    """No smuggled form opens a site without the key, and none causes an error."""
    answer = door.knock(form, client)
    assert b"alice" not in answer.body
    assert answer.status in {400, 403}, answer


@pytest.mark.parametrize("client", [None, "stranger"])
def test_a_lone_carriage_return_does_not_pass(door: Door, client: str | None) -> None:
    """A front end forwards no header that stands after a lone CR."""
    assert door.knock("behind a lone CR", client).status in {400, 403}


def test_chunked_body_of_the_owner(door: Door, request: pytest.FixtureRequest) -> None:
    """The owner's chunked request is served, unless the server or its trailers are refused."""
    # HAProxy adds its headers at the end. nginx sends the length that it has counted.
    late = door.front_end == "HAProxy" and "httptools" in request.node.name
    served = door.is_safe and not late
    assert door.knock("chunked", "alice").status == (200 if served else 403)


def test_without_the_refusal_a_look_alike_enters(behind) -> None:
    """If unsafe servers are allowed, HAProxy passes underscores on and such a server folds them."""
    with behind("HAProxy", "Flask on cheroot", ARRCERT_REFUSE_UNSAFE_SERVERS="false") as door:
        assert door.knock("underscores", None).status == 200
        assert door.knock("nothing", None).status == 403
        log = door.site.log.read_text()
    assert log.count("the WSGI server cheroot ") == 1
