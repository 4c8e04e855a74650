"""A small FastAPI site behind client certificates, as it runs on App Service.

`Arrcert(app)` protects the whole site, except the paths in `ARRCERT_EXEMPT_PATHS`. Each protected
endpoint has a parameter whose type names the required policy. Its value is the identity of the
client.

Nothing is configured in code. The policies come from the environment variable `ARRCERT`.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from arrcert import ClientIdentity
from arrcert_fastapi import Arrcert, RequireClientCertificate, authorizer_of
from mtls_app import remote_api
from mtls_app.visitor import Visitor, explained

HERE = Path(__file__).parent

# Responses for one client must not be stored in caches, and browsers must not guess types.
HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}

# The logger "arrcert" says why a request was denied; App Service shows stderr in its log stream.
logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")

# FastAPI's pages about the API are switched off, because they load scripts from another host.
app = FastAPI(title="FastAPI sample site", docs_url=None, redoc_url=None)
Arrcert(app)

app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
templates = Jinja2Templates(HERE / "templates")
templates.env.globals["path_for"] = app.url_path_for

Client = Annotated[ClientIdentity, Depends(RequireClientCertificate())]
Partner = Annotated[ClientIdentity, Depends(RequireClientCertificate("partners"))]


@app.get("/")
def index(request: Request) -> Response:
    return page(request, "index.html")


@app.get("/hellocert")
def hellocert(request: Request, client: Client) -> Response:
    return page(request, "hellocert.html", visitor=Visitor(client))


@app.get("/cert-info")
def cert_info(request: Request, client: Client) -> Response:
    visitor = Visitor(client)
    response: Response
    if prefers_json(request.headers.get("Accept", "*/*")):
        response = JSONResponse(visitor.facts, headers=HEADERS)
    else:
        sections = explained(client, authorizer_of(app).policies)
        response = page(request, "cert_info.html", visitor=visitor, sections=sections)
    response.headers["Vary"] = "Accept"
    return response


@app.get("/partners")
def partners(request: Request, partner: Partner) -> Response:
    return page(request, "partners.html", visitor=Visitor(partner))


# FastAPI runs a function without `async` in a thread, so the call does not block other requests.
@app.get("/outbound-mtls")
def outbound_mtls(request: Request, _client: Client) -> Response:
    return page(request, "outbound_mtls.html", outcome=remote_api.call())


@app.get("/health")
async def health() -> Response:
    # The health check of the platform has no certificate, so this page is public and shows no data.
    return PlainTextResponse("ok", headers=HEADERS)


@app.exception_handler(404)
async def not_found(request: Request, _error: Exception) -> Response:
    return page(request, "404.html", status=404)


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """Return an HTML page."""
    return templates.TemplateResponse(request, template, context, status, HEADERS)


def prefers_json(accept: str) -> bool:
    """Return whether a client prefers JSON to HTML (RFC 9110, section 12.5.1)."""
    return quality(accept, "application/json") > quality(accept, "text/html")


def quality(accept: str, media_type: str) -> float:
    """Return the quality value of a media type for a client, from 0 to 1."""
    liked: dict[str, float] = {}
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        q = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            liked[name] = float(q)
        except ValueError:
            continue
    kind = media_type.partition("/")[0]
    # The most specific entry counts.
    return next((liked[name] for name in (media_type, f"{kind}/*", "*/*") if name in liked), 0)
