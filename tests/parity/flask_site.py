"""The Flask site of the parity tests, configured only by the environment."""

from flask import Flask

from arrcert_flask import (
    Arrcert,
    authorize_certificate,
    certificate_exempt,
    get_client_certificate,
)

app = Flask(__name__)
METHODS = ["GET", "HEAD", "POST", "OPTIONS"]


def body() -> str:
    """Return the accepted certificate's common name."""
    certificate = get_client_certificate()
    return f"entered: {certificate.common_name if certificate else None}"


@app.route("/sync", methods=METHODS)
@authorize_certificate
def sync_view() -> str:
    """Protected by the decorator."""
    return body()


@app.route("/async", methods=METHODS)
@authorize_certificate
async def async_view() -> str:
    """Protected by the decorator, async."""
    return body()


@app.route("/partner/sync", methods=METHODS)
@authorize_certificate(policy="partners")
def partner_sync() -> str:
    """Protected by a named policy."""
    return body()


@app.route("/partner/async", methods=METHODS)
@authorize_certificate(policy="partners")
async def partner_async() -> str:
    """Protected by a named policy, async."""
    return body()


@app.route("/plain/sync", methods=METHODS)
@app.route("/health", methods=METHODS)
@app.route("/healthz", methods=METHODS)
@app.route("/public/page", methods=METHODS)
def plain_sync() -> str:
    """Protected site-wide, except on an exempt path."""
    return body()


@app.route("/plain/async", methods=METHODS)
async def plain_async() -> str:
    """Protected site-wide, async."""
    return body()


@app.route("/exempt/sync", methods=METHODS)
@certificate_exempt
def exempt_sync() -> str:
    """Exempt."""
    return body()


@app.route("/exempt/async", methods=METHODS)
@certificate_exempt
async def exempt_async() -> str:
    """Exempt, async."""
    return body()


Arrcert(app)
