"""An Azure Functions app behind client certificates, as it runs on a Dedicated plan.

`random_string` is a native HTTP trigger: it asks arrcert's core itself. `site` hosts the small
Flask site of `flask_app.py` beside it.

Nothing is configured in code but the front end. The policy comes from the environment variable
`ARRCERT_FINGERPRINTS` or its kin. Without one this module cannot be imported: the worker reports
the mistake to the Functions host, and names no function.
"""

import functools
import inspect
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import azure.functions as func
from flask_app import app as flask_app

from arrcert import Authorizer, CertificateDenied
from arrcert.settings import load

logger = logging.getLogger("arrcert")

Function = Callable[[func.HttpRequest], func.HttpResponse]

settings = load({"ARRCERT_FRONT_END": "functions"}, os.environ)
for problem in settings.warnings():
    logger.warning("configuration: %s", problem)
authorizer = Authorizer.from_settings(settings)

app = func.FunctionApp()


def authorize_certificate(function: Function) -> Function:
    """Let a request pass to a function only with a certificate of the policy `default`.

    Args:
        function: of an HTTP trigger. The decorator stands below `@app.route`.

    Raises:
        TypeError: it stands above `@app.route`, which would have registered the bare function.
    """
    if not inspect.isfunction(function):
        raise TypeError("write @authorize_certificate below @app.route, next to the function")

    @functools.wraps(function)
    def authorized(req: func.HttpRequest) -> func.HttpResponse:
        try:
            # All headers, not the one alone: a look-alike beside it, or one header that the host
            # joined from two, is denied.
            authorizer.authorize_headers(req.headers.items())
        except CertificateDenied:
            # The same for every reason. The log has it.
            return func.HttpResponse("403 Forbidden\n", status_code=403)
        return function(req)

    return authorized


# ANONYMOUS: the certificate is the only lock. FUNCTION would ask for a function's key beside it.
@app.route(route="random", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@authorize_certificate
def random_string(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the host's call.
    headers = {"Cache-Control": "private, no-store"}
    return func.HttpResponse(secrets.token_urlsafe(24), headers=headers)


# It says at INFO that it was made, which here would be a line for each request.
logging.getLogger("azure.functions.WsgiMiddleware").setLevel(logging.WARNING)


# Not a WsgiFunctionApp: it hands over X_ARR_ClientCert under the key of X-ARR-ClientCert, where no
# app could tell a forgery, and arrcert refuses to be served by it. Nor an AsgiFunctionApp: it keeps
# the names apart, but what brings Flask onto ASGI folds them. Here the real names are at hand, and
# arrcert gets them beside the environ in which they are folded.
@app.route(route="{*path}", methods=list(func.HttpMethod), auth_level=func.AuthLevel.ANONYMOUS)
def site(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["arrcert.headers"] = req.headers.items()
        return flask_app(environ, start_response)

    return func.WsgiMiddleware(application).handle(req, context)
