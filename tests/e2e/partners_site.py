"""A guarded WSGI app whose policies are in a file. Each answer names its worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

# The fixture that runs servers sets policies. This site gets them from ARRCERT_FILE.
os.environ.pop("ARRCERT")

from arrcert import Authorizer, CertificateDenied

authorizer = Authorizer.from_environment()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer each client that the file accepts."""
    status = "200 OK"
    if environ["PATH_INFO"] != "/health":
        try:
            authorizer.identify_wsgi(environ)
        except CertificateDenied:
            status = "403 Forbidden"
    body = str(os.getpid()).encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
