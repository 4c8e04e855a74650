"""A request from the front end of App Service, in the form that a server passes to an app."""

from __future__ import annotations

import io
from typing import Any

from arrcert.testing import CertificateAuthority

HEADERS = {
    "host": "contoso.azurewebsites.net",
    "user-agent": "curl/8.5.0",
    "accept": "application/json",
    "accept-encoding": "gzip",
    "max-forwards": "10",
    "client-ip": "203.0.113.7:50123",
    "x-arr-log-id": "1f0f7a4e-6f1f-4a8e-9d3c-0d6f2f0c5a11",
    "x-site-deployment-id": "contoso",
    "was-default-hostname": "contoso.azurewebsites.net",
    "x-forwarded-for": "203.0.113.7:50123",
    "x-forwarded-proto": "https",
    "x-forwarded-tlsversion": "1.3",
    "x-original-url": "/hellocert",
    "x-appservice-proto": "https",
}
"""The headers that the front end sends with the certificate. There are fifteen in all."""

HEADER, KEY = "x-arr-clientcert", "HTTP_X_ARR_CLIENTCERT"
ISSUER = "Contoso Issuing CA"

CLIENT = CertificateAuthority(ISSUER).issue("alice")
CERTIFICATE = CLIENT.certificate
POLICIES = {"default": {"fingerprints": [CERTIFICATE.sha256_fingerprint]}}


def environ_of(path_info: str) -> dict[str, Any]:
    """Return the environ of a request, as gunicorn makes it.

    Args:
        path_info: the path of the page.
    """
    headers = {**HEADERS, HEADER: CLIENT.header_value}
    environ: dict[str, Any] = {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()
    }
    return environ | {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path_info,
        "RAW_URI": path_info,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "contoso.azurewebsites.net",
        "SERVER_PORT": "8000",
        "SERVER_SOFTWARE": "gunicorn/23.0.0",
        "REMOTE_ADDR": "169.254.130.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": type("WSGIErrorsWrapper", (), {"__module__": "gunicorn.http.wsgi"})(),
        "wsgi.input": io.BytesIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def scope_of(path: str) -> dict[str, Any]:
    """Return the scope of a request, as uvicorn makes it.

    Args:
        path: the path of the page.
    """
    headers = {**HEADERS, HEADER: CLIENT.header_value}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("169.254.130.1", 40000),
        "server": ("127.0.0.1", 8000),
    }
