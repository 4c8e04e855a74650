"""Call another site with a client certificate. Each sample site has this file.

The address comes only from the environment. No part of a request may choose to which site the
certificate is sent.
"""

import http.client
import logging
import os
import re
import ssl
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from arrcert import ConfigurationError
from arrcert.outbound import client_ssl_context

SECONDS_TO_WAIT = 10
"""The timeout for the connection, and for each part of the answer."""

VARIABLES = {
    "path_or_thumbprint": "OUTBOUND_CERTIFICATE",
    "password": "OUTBOUND_CERTIFICATE_PASSWORD",
    "cafile": "OUTBOUND_CA_FILE",
}
"""The environment variable of each argument of `client_ssl_context`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result of a call, for a page. The log has more details.

    Attributes:
        host: the host that was called; empty if the address is not set or not valid.
        sentence: a sentence that says what happened.
        status: the HTTP status; None if there was no answer.
    """

    host: str
    sentence: str
    status: int | None = None


def call() -> Outcome:
    """Send a GET to `REMOTE_API_URL` with the certificate that `OUTBOUND_CERTIFICATE` names.

    The TLS context is made for each call, so that a renewed certificate is used at once. A site
    that calls often should keep the context and its connections.
    """
    url = os.environ.get("REMOTE_API_URL", "")
    certificate = os.environ.get("OUTBOUND_CERTIFICATE", "")
    if not url or not certificate:
        missing = "OUTBOUND_CERTIFICATE" if url else "REMOTE_API_URL"
        return Outcome("", f"This site calls no other site: {missing} is not set.")
    address = _address(url)
    if address is None:
        logger.error("REMOTE_API_URL must be https://HOST/PATH, in ASCII, without a user name")
        return Outcome("", "This site calls no other site: REMOTE_API_URL is not an https address.")
    try:
        context = client_ssl_context(
            certificate,
            os.environ.get("OUTBOUND_CERTIFICATE_PASSWORD"),
            os.environ.get("OUTBOUND_CA_FILE") or None,
        )
    except ConfigurationError as error:
        logger.error("the site's own certificate cannot be used: %s", error)
        names = " and ".join(VARIABLES[problem.setting] for problem in error.problems)
        return Outcome(address.host, f"{names} is wrong, so no site was called. The log says why.")
    return _ask(address, context)


class _Address(NamedTuple):
    host: str
    port: int | None
    target: str


def _address(url: str) -> _Address | None:
    """Return the parts of an https URL; None for any other text."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not host or "@" in parts.netloc:
        return None
    if not re.fullmatch(r"[!-~]+", url):
        return None
    path = parts.path or "/"
    return _Address(host, port, f"{path}?{parts.query}" if parts.query else path)


def _ask(address: _Address, context: ssl.SSLContext) -> Outcome:
    """Send a GET. `http.client` does not follow redirects and does not use a proxy."""
    host, port, target = address
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=SECONDS_TO_WAIT)
    try:
        connection.request("GET", target, headers={"Accept": "application/json"})
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        logger.error("REMOTE_API_URL: %s is not trusted: %s", host, error.verify_message)
        return Outcome(host, "The other site's certificate is not trusted. No request was sent.")
    except TimeoutError:
        logger.error("REMOTE_API_URL: %s did not answer", host)
        return Outcome(host, f"The other site did not answer within {SECONDS_TO_WAIT} seconds.")
    # A server that refuses the certificate may end the handshake or the connection.
    except (OSError, http.client.HTTPException) as error:
        logger.error("REMOTE_API_URL: %s: %r", host, error)
        return Outcome(host, "The other site cannot be reached, or it closed the connection.")
    finally:
        connection.close()
    return Outcome(host, _meaning(status), status)


def _meaning(status: int) -> str:
    if 200 <= status < 300:
        return "The other site accepted the certificate of this site."
    if 300 <= status < 400:
        return "The other site redirects, and this site does not follow redirects."
    if status in {401, 403}:
        return "The other site refused the certificate of this site."
    return "The other site answered with an unexpected status."
