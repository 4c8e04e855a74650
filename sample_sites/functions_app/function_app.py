"""An Azure Functions app behind client certificates, as it runs on a Dedicated plan.

`random_string` is a native HTTP trigger, which calls arrcert's core. `site` is a function that
hosts the small Flask site in `flask_app.py`.

Only the front end is configured in code. The policy comes from the environment, such as
`ARRCERT_FINGERPRINTS`. Without a policy this module cannot be imported. Then the worker reports the
error to the Functions host and registers no function.
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
    """Run a function only if the policy `default` accepts the client certificate.

    Args:
        function: the function of an HTTP trigger. Write the decorator below `@app.route`.

    Raises:
        TypeError: the decorator is above `@app.route`. Then the route would run the undecorated
            function.
    """
    if not inspect.isfunction(function):
        raise TypeError("write @authorize_certificate below @app.route, next to the function")

    @functools.wraps(function)
    def authorized(req: func.HttpRequest) -> func.HttpResponse:
        try:
            # Pass all headers, not only this one. arrcert denies a request with a look-alike
            # header, or with two values that the host joined to one.
            authorizer.authorize_headers(req.headers.items())
        except CertificateDenied:
            # The response is the same for every reason. The reason is in the log.
            return func.HttpResponse("403 Forbidden\n", status_code=403)
        return function(req)

    return authorized


# With ANONYMOUS only the certificate is checked. FUNCTION would also require a function key.
@app.route(route="random", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@authorize_certificate
def random_string(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the host's call.
    headers = {"Cache-Control": "private, no-store"}
    return func.HttpResponse(secrets.token_urlsafe(24), headers=headers)


# This logger writes a line at INFO whenever a `WsgiMiddleware` is made, which is for each request
# here.
logging.getLogger("azure.functions.WsgiMiddleware").setLevel(logging.WARNING)


# This is not a WsgiFunctionApp, because that folds X_ARR_ClientCert and X-ARR-ClientCert into one
# key of the environ. An app cannot tell a forgery there, so arrcert refuses such a request. An
# AsgiFunctionApp does not fold the names, but the adapter from ASGI to Flask does. This function
# puts the real names into the environ for arrcert.
@app.route(route="{*path}", methods=list(func.HttpMethod), auth_level=func.AuthLevel.ANONYMOUS)
def site(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["arrcert.headers"] = req.headers.items()
        return flask_app(environ, start_response)

    return func.WsgiMiddleware(application).handle(req, context)
