"""The Flask site that `function_app.py` hosts. It knows nothing of Azure Functions."""

from flask import Flask, Response

from arrcert_flask import Arrcert, authorize_certificate, get_client_certificate

app = Flask(__name__)
app.config["ARRCERT_FRONT_END"] = "functions"
Arrcert(app)


@app.get("/hellocert")
@authorize_certificate
def hellocert() -> Response:
    certificate = get_client_certificate()
    # Behind @authorize_certificate there always is one; the type cannot say so.
    assert certificate is not None  # noqa: S101
    # The name is the client's own words: as plain text no browser takes it for markup.
    return Response(f"hello {certificate.common_name}\n", mimetype="text/plain")


@app.get("/health")
def health() -> Response:
    # The platform's probe brings no certificate, so this page is open and shows nothing.
    return Response("ok", mimetype="text/plain")
