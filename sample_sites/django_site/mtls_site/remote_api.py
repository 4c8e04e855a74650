"""Call another site, and prove with a certificate who is calling. Each sample site has this file.

The address comes from the environment and from nowhere else: no part of a request may choose where
the site goes with its certificate.
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
"""To connect, and for each piece of the answer, however many there are."""

VARIABLES = {
    "path_or_thumbprint": "OUTBOUND_CERTIFICATE",
    "password": "OUTBOUND_CERTIFICATE_PASSWORD",
    "cafile": "OUTBOUND_CA_FILE",
}
"""The variable that each argument of `client_ssl_context` comes from."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What came of a call, for a page: the log says more.

    Attributes:
        host: whom the site called; empty where the address is not set.
        sentence: what happened.
        status: the HTTP status; None where there was no answer.
    """

    host: str
    sentence: str
    status: int | None = None


def call() -> Outcome:
    """Ask `REMOTE_API_URL` with the certificate that `OUTBOUND_CERTIFICATE` names.

    The context is made anew each time, so that a renewed file counts at once. A site that calls
    often keeps one, which also keeps connections.
    """
    url = os.environ.get("REMOTE_API_URL", "")
    certificate = os.environ.get("OUTBOUND_CERTIFICATE", "")
    if not url or not certificate:
        missing = "OUTBOUND_CERTIFICATE" if url else "REMOTE_API_URL"
        return Outcome("", f"This site calls nobody: {missing} is not set.")
    address = _address(url)
    if address is None:
        logger.error("REMOTE_API_URL must be https://HOST/PATH, in ASCII, without a user name")
        return Outcome("", "This site calls nobody: REMOTE_API_URL is no https address.")
    try:
        context = client_ssl_context(
            certificate,
            os.environ.get("OUTBOUND_CERTIFICATE_PASSWORD"),
            os.environ.get("OUTBOUND_CA_FILE") or None,
        )
    except ConfigurationError as error:
        logger.error("the site's own certificate cannot be used: %s", error)
        names = " and ".join(VARIABLES[problem.setting] for problem in error.problems)
        return Outcome(address.host, f"{names} is wrong, so nobody was called. The log says why.")
    return _ask(address, context)


class _Address(NamedTuple):
    host: str
    port: int | None
    target: str


def _address(url: str) -> _Address | None:
    """Take an https URL apart; None where it is something else."""
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
    """Send a GET. `http.client` follows no redirect and asks no proxy."""
    host, port, target = address
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=SECONDS_TO_WAIT)
    try:
        connection.request("GET", target, headers={"Accept": "application/json"})
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        logger.error("REMOTE_API_URL: %s is not trusted: %s", host, error.verify_message)
        return Outcome(host, "Its certificate is not trusted, so nothing was sent.")
    except TimeoutError:
        logger.error("REMOTE_API_URL: %s did not answer", host)
        return Outcome(host, f"It did not answer within {SECONDS_TO_WAIT} seconds.")
    # A server that refuses the certificate may end the handshake or the connection.
    except (OSError, http.client.HTTPException) as error:
        logger.error("REMOTE_API_URL: %s: %r", host, error)
        return Outcome(host, "It could not be reached, or ended the connection.")
    finally:
        connection.close()
    return Outcome(host, _meaning(status), status)


def _meaning(status: int) -> str:
    if 200 <= status < 300:
        return "It accepted this site's certificate."
    if 300 <= status < 400:
        return "It sends elsewhere, where this site does not follow."
    if status in {401, 403}:
        return "It refused this site's certificate."
    return "It answered, but not as hoped."
