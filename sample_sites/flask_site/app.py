"""A small Flask site behind client certificates, as it runs on App Service.

Each protected view has the decorator `@authorize_certificate`. This is good for a site that is
mostly public. The Django sample site shows the other way: everything is protected except a list of
paths. In Flask the setting `ARRCERT_PROTECT_ALL` does that.

Nothing is configured in code. The policies come from the environment variable `ARRCERT`.
"""

import logging

import remote_api
from flask import Flask, Response, jsonify, render_template, request
from visitor import Visitor, explained

from arrcert import ClientIdentity
from arrcert_flask import Arrcert, authorize_certificate, authorizer_of, get_client_identity

# The logger "arrcert" says why a request was denied; App Service shows stderr in its log stream.
logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")

app = Flask(__name__)
Arrcert(app)


@app.get("/")
def index() -> str:
    return render_template("index.html")


@app.get("/hellocert")
@authorize_certificate
def hellocert() -> str:
    return render_template("hellocert.html", visitor=Visitor(client()))


@app.get("/cert-info")
@authorize_certificate
def cert_info() -> Response:
    identity = client()
    visitor = Visitor(identity)
    # If a client accepts both types equally (`*/*`), it gets the first one, the HTML page.
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    if best == "application/json":
        response = jsonify(visitor.facts)
    else:
        sections = explained(identity, authorizer_of(app).policies)
        page = render_template("cert_info.html", visitor=visitor, sections=sections)
        response = Response(page)
    response.vary.add("Accept")
    return response


@app.get("/partners")
@authorize_certificate(policy="partners")
def partners() -> str:
    return render_template("partners.html", visitor=Visitor(client()))


@app.get("/outbound-mtls")
@authorize_certificate
def outbound_mtls() -> str:
    return render_template("outbound_mtls.html", outcome=remote_api.call())


@app.get("/health")
def health() -> Response:
    # The health check of the platform has no certificate, so this page is public and shows no data.
    return Response("ok", mimetype="text/plain")


@app.errorhandler(403)
def forbidden(_error: Exception) -> tuple[str, int]:
    # The page is the same for every reason, so that it tells a denied client nothing. The reason is
    # in the log.
    return render_template("403.html"), 403


@app.errorhandler(404)
def not_found(_error: Exception) -> tuple[str, int]:
    return render_template("404.html"), 404


@app.after_request
def harden(response: Response) -> Response:
    """Keep responses for one client out of caches, and stop browsers from guessing types."""
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "private, no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def client() -> ClientIdentity:
    """Return the identity of the client."""
    identity = get_client_identity()
    # After @authorize_certificate there is always an identity, but the type checker does not know
    # it.
    assert identity is not None  # noqa: S101
    return identity
