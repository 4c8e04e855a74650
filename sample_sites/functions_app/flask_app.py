"""The Flask site that `function_app.py` hosts. It does not depend on Azure Functions."""

from flask import Flask, Response

from arrcert_flask import Arrcert, authorize_certificate, get_client_certificate

app = Flask(__name__)
app.config["ARRCERT_FRONT_END"] = "functions"
Arrcert(app)


@app.get("/hellocert")
@authorize_certificate
def hellocert() -> Response:
    certificate = get_client_certificate()
    # After @authorize_certificate there is always a certificate, but the type checker does not know
    # it.
    assert certificate is not None  # noqa: S101
    # The name may contain any text. The response is plain text, so a browser does not read it as
    # HTML.
    return Response(f"hello {certificate.common_name}\n", mimetype="text/plain")


@app.get("/health")
def health() -> Response:
    # The health check of the platform has no certificate, so this page is public and shows no data.
    return Response("ok", mimetype="text/plain")
