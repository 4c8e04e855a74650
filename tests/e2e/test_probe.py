"""`arrcert probe` with real front ends: it finds each planted hole, and reports no other.

`tests/core/cli/probe/` has the same with a front end in Python, for a machine without the programs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from click.testing import CliRunner

from arrcert.cli.commands import main

pytestmark = pytest.mark.matrix

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = (sys.executable, "-m")
GUNICORN = (*PYTHON, "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning")
THREADS = (*GUNICORN, "--threads", "4", "--limit-request-field_size", "65536")
UVICORN = (*PYTHON, "uvicorn", "--port", "{port}", "--log-level", "warning", "--lifespan", "off")
HYPERCORN = (*PYTHON, "hypercorn", "--bind", "127.0.0.1:{port}")
CHEROOT = (sys.executable, str(HERE / "run_server.py"), "cheroot")

GUARDED = (*THREADS, "probed_sites:guarded")
SITES: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]] = {
    # The command, the packages that it needs, and the settings.
    "guarded": (GUARDED, ("gunicorn",), {}),
    "takes first": ((*THREADS, "probed_sites:takes_first"), ("gunicorn",), {}),
    "remembers": ((*THREADS, "probed_sites:remembers"), ("gunicorn",), {}),
    "folds": (
        (*CHEROOT, "probed_sites:guarded", "{port}"),
        ("cheroot",),
        {"ARRCERT_REFUSE_UNSAFE_SERVERS": "false"},
    ),
    "trailers": (
        (*UVICORN, "--http", "httptools", "probed_sites:asgi_takes_last"),
        ("uvicorn", "httptools", "wsproto"),
        {},
    ),
    "websockets": (
        (*UVICORN, "--http", "h11", "probed_sites:asgi_guarded"),
        ("uvicorn", "h11"),
        {},
    ),
    "h2c": ((*HYPERCORN, "probed_sites:asgi_guarded"), ("hypercorn",), {}),
    "h2c believed": ((*HYPERCORN, "probed_sites:asgi_takes_last"), ("hypercorn",), {}),
}

HAPROXY = """
global
    maxconn 100
    tune.bufsize 98304
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend tls
    bind 127.0.0.1:@PORT@ ssl crt @PKI@/server.pem ca-file @PKI@/server-ca.pem verify optional \
ca-ignore-err all crt-ignore-err all no-ca-names alpn h2,http/1.1
    @RULES@
    http-request set-header X-Forwarded-Proto https
    default_backend site
frontend plain
    bind 127.0.0.1:@PLAIN@
    @PLAINRULES@
    default_backend site
backend site
    @REUSE@
    server site 127.0.0.1:@SITE@
"""
DELETES = "http-request del-header X-ARR-ClientCert"
SETS = "http-request set-header X-ARR-ClientCert %[ssl_c_der,base64] if { ssl_c_used }"
ADDS = SETS.replace("set-header", "add-header")
ALIKE = "http-request del-header X_ARR_ClientCert -m str\n    http-request del-header ^x.arr -m reg"
REDIRECTS = "http-request redirect scheme https"

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
    large_client_header_buffers 4 64k;
    underscores_in_headers @UNDERSCORES@;
    server {
        listen 127.0.0.1:@PORT@ ssl http2;
        ssl_certificate @PKI@/server.pem;
        ssl_certificate_key @PKI@/server.pem;
        ssl_verify_client optional_no_ca;
        proxy_http_version 1.1;
        proxy_buffer_size 128k;
        proxy_buffers 4 128k;
        location / {
            proxy_pass http://127.0.0.1:@SITE@;
            proxy_set_header Host $host;
            @SETS@
            proxy_set_header X-Forwarded-Proto https;
        }
        location /public {
            proxy_pass http://127.0.0.1:@SITE@;
            @PUBLIC@
        }
    }
    server {
        listen 127.0.0.1:@PLAIN@;
        location / { @PLAINRULES@ }
    }
}
"""
NGINX_SETS = "proxy_set_header X-Client-Cert $ssl_client_escaped_cert;"
NGINX_CLEARS = 'proxy_set_header X-Client-Cert "";'
NGINX_REDIRECTS = "return 301 https://$host$request_uri;"
NGINX_PASSES = "proxy_pass http://127.0.0.1:@SITE@;"
NGINX_UPGRADES = """proxy_set_header X-Client-Cert $ssl_client_escaped_cert;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;"""

ENVOY = """
static_resources:
  listeners:
  - name: tls
    address: {socket_address: {address: 127.0.0.1, port_value: @PORT@}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/\
envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: false
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {filename: @PKI@/server.pem}
              private_key: {filename: @PKI@/server.pem}
            validation_context:
              trusted_ca: {filename: @PKI@/server-ca.pem}
              trust_chain_verification: ACCEPT_UNTRUSTED
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/\
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          forward_client_cert_details: @MODE@
          set_current_client_cert_details: {cert: true}
          use_remote_address: true
          route_config:
            virtual_hosts:
            - name: site
              domains: ["*"]
              routes: [{match: {prefix: "/"}, route: {cluster: site}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: site
    type: STATIC
    load_assignment:
      cluster_name: site
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: @SITE@}}}
"""

APACHE = """
ServerRoot @FOLDER@
PidFile @FOLDER@/pid
ServerName localhost
ErrorLog /dev/stderr
LoadModule mpm_event_module @MODULES@/mod_mpm_event.so
LoadModule authz_core_module @MODULES@/mod_authz_core.so
LoadModule headers_module @MODULES@/mod_headers.so
LoadModule proxy_module @MODULES@/mod_proxy.so
LoadModule proxy_http_module @MODULES@/mod_proxy_http.so
LoadModule socache_shmcb_module @MODULES@/mod_socache_shmcb.so
LoadModule ssl_module @MODULES@/mod_ssl.so
Mutex pthread
LimitRequestFieldSize 65536
LimitRequestLine 65536
Listen 127.0.0.1:@PORT@
SSLSessionCache none
<VirtualHost 127.0.0.1:@PORT@>
    SSLEngine on
    SSLProtocol @PROTOCOL@
    SSLCertificateFile @PKI@/server.pem
    SSLCertificateKeyFile @PKI@/server.pem
    SSLVerifyDepth 5
    SSLVerifyClient @FIRST@
    <Location />
        SSLVerifyClient optional_no_ca
        SSLRenegBufferSize 102400
        @RULES@
        RequestHeader set X-Forwarded-Proto https
    </Location>
    ProxyPass / http://127.0.0.1:@SITE@/
</VirtualHost>
"""
APACHE_UNSETS = "RequestHeader unset X-Client-Cert"
APACHE_SETS = (
    'RequestHeader set X-Client-Cert "expr=%{escape:%{SSL_CLIENT_CERT}}"'
    " \"expr=%{SSL_CLIENT_CERT} != ''\""
)
MODULES = "/usr/lib/apache2/modules"

PEM_HEADER = json.dumps({"header": "X-Client-Cert", "encoding": "percent-encoded-pem"})

FORGED = {"forged header", "other case", "WebSocket"}
REPAIRED = {"folded value", "lone LF"}
"""A front end that repairs such a line turns it into the forged header."""
OVER_HTTP2 = {"HTTP/2, forged header"}
OTHERS = {"other front ends' headers"}


class Case(NamedTuple):
    """A front end with a site behind it.

    Attributes:
        program: the front end.
        words: what replaces words in its configuration.
        site: which of the sites.
        entries: the checks that must find an entry.
        maybe: the checks that may find one as well, because the hole shows there too.
        options: of the probe.
        notes: checks that must at least note something.
    """

    program: str
    words: dict[str, str]
    site: str = "guarded"
    entries: frozenset[str] | set[str] = frozenset()
    maybe: frozenset[str] | set[str] = frozenset()
    options: tuple[str, ...] = ()
    notes: frozenset[str] | set[str] = frozenset()


def haproxy(*rules: str, plain: str = REDIRECTS, reuse: str = "") -> dict[str, str]:
    """Return the words of HAProxy's configuration."""
    return {"RULES": "\n    ".join(rules), "PLAINRULES": plain, "REUSE": reuse}


def nginx(
    sets: str = NGINX_SETS,
    public: str = NGINX_CLEARS,
    plain: str = NGINX_REDIRECTS,
    underscores: str = "off",
) -> dict[str, str]:
    """Return the words of nginx's configuration."""
    return {"SETS": sets, "PUBLIC": public, "PLAINRULES": plain, "UNDERSCORES": underscores}


def apache(*rules: str, first: str = "optional_no_ca", protocol: str = "all") -> dict[str, str]:
    """Return the words of Apache's configuration."""
    return {"RULES": "\n        ".join(rules), "FIRST": first, "PROTOCOL": protocol}


NGINX_OPTION = (f"--front-end={PEM_HEADER}",)
ENVOY_OPTION = ("--front-end=envoy",)
CASES: dict[str, Case] = {
    "HAProxy, right": Case("haproxy", haproxy(DELETES, SETS)),
    "HAProxy, right, before a server that folds": Case(
        "haproxy", haproxy(DELETES, ALIKE, SETS), site="folds"
    ),
    "HAProxy, right, before WebSockets": Case("haproxy", haproxy(DELETES, SETS), "websockets"),
    "HAProxy, right, and the site refuses in the tunnel": Case(
        "haproxy", haproxy(DELETES, SETS), "h2c", notes={"h2c upgrade"}
    ),
    "HAProxy, sets without deleting": Case(
        "haproxy", haproxy(SETS), entries=FORGED | OVER_HTTP2, maybe=REPAIRED
    ),
    "HAProxy, adds without deleting": Case(
        "haproxy", haproxy(ADDS), entries=FORGED | OVER_HTTP2, maybe=REPAIRED, notes={"twice"}
    ),
    "HAProxy, adds, and the site takes the first": Case(
        "haproxy",
        haproxy(ADDS),
        "takes first",
        entries=FORGED | OVER_HTTP2 | {"twice", "joined by a comma"} | OTHERS,
        maybe=REPAIRED,
    ),
    "HAProxy, deletes one name, and the server folds": Case(
        "haproxy",
        haproxy(DELETES, SETS),
        "folds",
        entries={
            "look-alike, underscores",
            "look-alike, one underscore",
            "look-alike beside empty",
            "hop-by-hop, look-alike",
            "HTTP/2, look-alike",
        },
    ),
    "HAProxy, and the server takes trailers": Case(
        "haproxy",
        haproxy(DELETES, SETS),
        "trailers",
        entries={"trailer", "WebSocket"},
        maybe={"HTTP/2, trailer"},
    ),
    "HAProxy, and the server upgrades to h2c": Case(
        "haproxy", haproxy(DELETES, SETS), "h2c believed", entries={"h2c upgrade", "WebSocket"}
    ),
    "HAProxy, and the site remembers connections": Case(
        "haproxy",
        haproxy(DELETES, SETS, reuse="http-reuse always"),
        "remembers",
        entries={"another, beside yours"},
        maybe={"*"},
    ),
    "HAProxy, plain HTTP passes": Case(
        "haproxy", haproxy(DELETES, SETS, plain=""), entries={"plain HTTP"}
    ),
    "HAProxy, an exclusion path": Case(
        "haproxy",
        haproxy(f"{DELETES} unless {{ path_beg -i /public }}", SETS + " !{ path_beg -i /public }"),
        options=("--excluded=/public",),
        entries={"excluded", "excluded, below", "excluded, longer name", "excluded, upper case"},
        maybe={"excluded, dots out of it", "excluded, encoded dots", "excluded, encoded slash"},
    ),
    "nginx, right": Case("nginx", nginx(), options=NGINX_OPTION),
    "nginx, right, an exclusion path": Case(
        "nginx", nginx(), options=(*NGINX_OPTION, "--excluded=/public", "--open=/health")
    ),
    "nginx, no header at a location": Case(
        "nginx",
        nginx(public="proxy_set_header X-Other a;"),
        options=(*NGINX_OPTION, "--excluded=/public"),
        entries={"excluded", "excluded, below", "excluded, longer name"},
        maybe={"excluded, encoded", "excluded, two slashes", "excluded, dots into it"},
    ),
    "nginx, sets no header": Case(
        "nginx",
        nginx(sets="proxy_set_header X-Client-Cert $http_x_client_cert$ssl_client_escaped_cert;"),
        options=NGINX_OPTION,
        entries=FORGED | OVER_HTTP2,
        maybe=REPAIRED | {"twice"},
    ),
    "nginx, underscores, and the server folds": Case(
        "nginx",
        nginx(underscores="on"),
        "folds",
        options=NGINX_OPTION,
        entries={
            "look-alike, underscores",
            "look-alike, one underscore",
            "look-alike beside empty",
            "hop-by-hop, look-alike",
            "HTTP/2, look-alike",
        },
    ),
    "nginx, plain HTTP passes": Case(
        "nginx", nginx(plain=NGINX_PASSES), options=NGINX_OPTION, entries={"plain HTTP"}
    ),
    "Envoy, right": Case("envoy", {"MODE": "SANITIZE_SET"}, options=ENVOY_OPTION),
    "Envoy, appends, and the site takes the last": Case(
        "envoy", {"MODE": "APPEND_FORWARD"}, options=ENVOY_OPTION
    ),
    "Envoy, appends, and the site takes the first": Case(
        "envoy",
        {"MODE": "APPEND_FORWARD"},
        "takes first",
        options=ENVOY_OPTION,
        entries=(FORGED - {"WebSocket"}) | OVER_HTTP2 | {"twice", "joined by a comma"} | OTHERS,
        maybe=REPAIRED,
    ),
    "Apache, right": Case("apache2", apache(APACHE_UNSETS, APACHE_SETS), options=NGINX_OPTION),
    "Apache, right, by renegotiation": Case(
        "apache2",
        apache(APACHE_UNSETS, APACHE_SETS, first="none", protocol="TLSv1.2"),
        options=NGINX_OPTION,
        notes={"mode", "bodies over 100 KB", "TLS versions"},
    ),
    "Apache, right, by post-handshake authentication": Case(
        "apache2",
        apache(APACHE_UNSETS, APACHE_SETS, first="none"),
        options=NGINX_OPTION,
        notes={"mode", "bodies over 100 KB"},
    ),
    "Apache, sets without unsetting": Case(
        "apache2", apache(APACHE_SETS), options=NGINX_OPTION, entries=FORGED, maybe=REPAIRED
    ),
    "Apache, without unsetting, by renegotiation": Case(
        "apache2",
        apache(APACHE_SETS, first="none", protocol="TLSv1.2"),
        options=NGINX_OPTION,
        entries=FORGED,
        maybe=REPAIRED,
        notes={"mode", "bodies over 100 KB"},
    ),
}
CONFIGURATIONS = {
    "haproxy": ("haproxy.cfg", HAPROXY, ("-db", "-f", "{folder}/haproxy.cfg")),
    "nginx": ("nginx.conf", NGINX, ("-e", "stderr", "-c", "{folder}/nginx.conf")),
    "envoy": (
        "envoy.yaml",
        ENVOY,
        ("-c", "{folder}/envoy.yaml", "-l", "error", "--concurrency", "1", "--use-dynamic-base-id"),
    ),
    "apache2": ("apache.conf", APACHE, ("-X", "-f", "{folder}/apache.conf")),
}


@contextlib.contextmanager
def behind(serve: Any, pki: Path, case: Case) -> Iterator[tuple[int, int]]:
    """Run a site behind a front end, and return the ports of HTTPS and of plain HTTP."""
    words, needs, settings = SITES[case.site]
    for package in needs:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is missing; the group `servers` has it")
    named = [word.partition("=")[2] for word in case.options if word.startswith("--front-end")]
    variables = {"ARRCERT_FRONT_END": named[0]} if named else {}
    file, text, arguments = CONFIGURATIONS[case.program]
    with socket.create_server(("127.0.0.1", 0)) as free:
        plain = free.getsockname()[1]
    with serve(words, **settings, **variables) as site:
        for word, value in case.words.items():
            text = text.replace(f"@{word}@", value)
        fixed = {"SITE": site.port, "PKI": pki, "PLAIN": plain, "MODULES": MODULES}
        for word, value in fixed.items():
            text = text.replace(f"@{word}@", str(value))
        with serve([case.program, *arguments], files={file: text}, speaks_tls=True) as running:
            yield running.port, plain


@pytest.mark.parametrize("name", CASES)
def test_front_ends_and_holes(serve: Any, pki: Path, name: str) -> None:
    """Each planted hole is found by its own check, and a correct front end by none."""
    case = CASES[name]
    with behind(serve, pki, case) as (port, plain):
        words = [
            "probe",
            f"https://localhost:{port}/page",
            f"--cert={pki / 'alice.pem'}",
            f"--key={pki / 'alice.key'}",
            f"--cacert={pki / 'server-ca.pem'}",
            f"--http-port={plain}",
            "--rate=1000",
            "--json",
            *case.options,
        ]
        result = CliRunner().invoke(main, words)
    assert not isinstance(result.exception, Exception), result.exception
    report = json.loads(result.stdout)
    jsonschema.validate(report, json.loads((ROOT / "docs" / "probe.schema.json").read_text()))
    rows = {row["check"].partition(" ")[2]: row for row in report["rows"]}
    found = {title for title, row in rows.items() if row["verdict"] == "entry"}
    assert result.exit_code == int(bool(case.entries)), (report["verdict"], result.stdout[-3000:])
    assert case.entries <= found, [rows[title] for title in case.entries - found]
    invented = found - case.entries - case.maybe if "*" not in case.maybe else set()
    assert not invented, [rows[title] for title in invented]
    for title in case.notes:
        assert rows[title]["verdict"] == "note", rows[title]
