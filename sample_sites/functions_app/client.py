"""Call a site that requires a client certificate, and print its answer.

`client.py https://SITE/random --certificate client.p12` presents the certificate over TLS.
`client.py http://localhost:7071/random --certificate client.pem --local` calls a function on this
machine, without a front end. It writes the certificate into the header itself, as the front end
does.
"""

import argparse
import base64
import getpass
import http.client
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from arrcert import ConfigurationError
from arrcert.outbound import client_ssl_context

HEADER = "X-ARR-ClientCert"
PASSWORD_VARIABLE = "CLIENT_CERTIFICATE_PASSWORD"  # noqa: S105 - the name of a variable.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
LONGEST_ANSWER = 1024 * 1024

REFUSED, USAGE, BAD_FILE, NO_CONNECTION, OTHER_ANSWER = range(1, 6)
EXIT_CODES = """\
The environment variable CLIENT_CERTIFICATE_PASSWORD can hold the password of the certificate file.
With --ask-password the program asks for it.

exit codes:
  0  the site answered 200; its answer is printed
  1  the site answered 403: the certificate is not accepted
  2  the command line is wrong
  3  the certificate, its password or --cafile cannot be used
  4  no connection, or TLS failed
  5  the site answered with another status
"""


class ClientError(Exception):
    """The call failed. The text is a sentence for the user."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        self.exit_code = exit_code
        super().__init__(sentence)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, so that the certificate is sent only to the given site."""

    def redirect_request(self, *_arguments: object) -> None:
        return None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. A mistake in it ends the program."""
    parser = argparse.ArgumentParser(
        description="Call a site that requires a client certificate, and print its answer.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="such as https://site.example/random")
    parser.add_argument(
        "--certificate",
        metavar="FILE",
        help="a .p12 or .pfx, or a .pem with certificate and private key; by default none is sent",
    )
    parser.add_argument(
        "--ask-password", action="store_true", help="ask for the password of that file"
    )
    parser.add_argument(
        "--cafile",
        metavar="FILE",
        help="PEM file of the CA of the site's own certificate; by default the CAs of the system",
    )
    parser.add_argument(
        "--local",
        action="store_true",
        help=f"for http://localhost: no TLS, the certificate goes into the header {HEADER}",
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=30, help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    try:
        url = urlsplit(options.url)
        host, _port = url.hostname, url.port
    except ValueError as error:
        parser.error(f"{options.url!r} is not a URL: {error}")
    if options.local and (url.scheme != "http" or host not in LOCAL_HOSTS):
        parser.error("--local is for http://localhost: anywhere else the header is a forgery")
    if not options.local and (url.scheme != "https" or not host):
        parser.error(
            "write https://...: a certificate is sent only over TLS; for a function on this"
            " machine add --local"
        )
    if options.local and options.cafile:
        parser.error("--cafile is for https://; leave it out with --local")
    return options


def call(options: argparse.Namespace) -> str:
    """Return the body of a response with the status 200.

    Raises:
        ClientError: there is no response, or it has another status.
    """
    password = os.environ.get(PASSWORD_VARIABLE)
    if options.ask_password:
        password = getpass.getpass("Password of the certificate's file: ")
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    request = urllib.request.Request(options.url)  # noqa: S310 - http or https, as parsed.
    if options.local:
        # Do not use a proxy from the environment for this machine.
        handlers.append(urllib.request.ProxyHandler({}))
        if options.certificate:
            request.add_header(HEADER, header_value(options.certificate, password))
    else:
        handlers.append(urllib.request.HTTPSHandler(context=tls_context(options, password)))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(request, timeout=options.timeout) as response:
            body: bytes = response.read(LONGEST_ANSWER)
            status: int = response.status
    except urllib.error.HTTPError as error:
        error.close()
        status = error.code
    # urllib wraps errors before the request is sent, but not errors after that.
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        cause = reason if isinstance(reason, Exception) else error
        raise ClientError(NO_CONNECTION, why_no_answer(cause, options)) from error
    if status == 200:
        return body.decode("utf-8", "replace")
    if status != 403:
        raise ClientError(OTHER_ANSWER, f"the site answered {status}, which is neither 200 nor 403")
    raise ClientError(
        REFUSED,
        "the site refused this certificate; the reason is in the log of the site"
        if options.certificate
        else "the site refused a request without a certificate; write yours after --certificate",
    )


def tls_context(options: argparse.Namespace, password: str | None) -> ssl.SSLContext:
    """Return the TLS context, with the certificate if one is given.

    Raises:
        ClientError: a file or the password cannot be used.
    """
    try:
        if options.certificate:
            return client_ssl_context(options.certificate, password, options.cafile)
        return ssl.create_default_context(cafile=options.cafile)
    except ConfigurationError as error:
        names = {
            "path_or_thumbprint": "--certificate",
            "password": f"the password ({PASSWORD_VARIABLE} or --ask-password)",
            "cafile": "--cafile",
        }
        problems = [
            str(problem._replace(setting=names.get(problem.setting, problem.setting)))
            for problem in error.problems
        ]
        raise ClientError(BAD_FILE, "; ".join(problems)) from error
    except OSError as error:
        raise ClientError(
            BAD_FILE, f"--cafile: {options.cafile!r} cannot be read: {error}"
        ) from error


def header_value(file: str, password: str | None) -> str:
    """Return a file's certificate as the front end forwards it: bare base64 DER.

    Raises:
        ClientError: the file or the password cannot be used.
    """
    try:
        content = Path(file).read_bytes()
        if b"-----BEGIN" in content:
            certificate = x509.load_pem_x509_certificate(content)
        else:
            opened = pkcs12.load_pkcs12(content, password.encode() if password else None)
            if opened.cert is None:
                raise ValueError("it holds a private key without its certificate")
            certificate = opened.cert.certificate
    except OSError as error:
        raise ClientError(
            BAD_FILE, f"--certificate: {file!r} cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ClientError(
            BAD_FILE,
            f"--certificate: {file!r} is neither PEM nor a .p12 that this password opens: {error}",
        ) from error
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")


def why_no_answer(cause: Exception, options: argparse.Namespace) -> str:
    """Return in one sentence why there is no response."""
    host = urlsplit(options.url).netloc
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {host} itself is not trusted: {cause.verify_message}; if its CA is"
            " your own, name it with --cafile"
        )
    if isinstance(cause, ssl.SSLError):
        return f"TLS with {host} failed: {cause.reason or cause}"
    if isinstance(cause, TimeoutError):
        return f"{host} did not answer within {options.timeout:g} seconds"
    if isinstance(cause, http.client.HTTPException):
        return f"{host} did not answer in HTTP: {cause!r}"
    return f"no connection to {host}: {getattr(cause, 'strerror', None) or cause}"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end with its exit code."""
    try:
        print(call(parse(arguments)).rstrip("\n"))
    except ClientError as error:
        print(f"client.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
