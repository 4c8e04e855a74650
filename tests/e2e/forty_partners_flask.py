"""The site of the forty partners in Flask."""

from __future__ import annotations

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from forty_partners import told_by_worker

from arrcert_flask import Arrcert, authorize_certificate, get_client_identity

flask = Flask(__name__)
Arrcert(flask)


@flask.get("/health")
def health() -> str:
    """Answer every client."""
    return "ok"


@flask.get("/whoami")
@authorize_certificate
def whoami() -> ResponseReturnValue:
    """Answer with the identity."""
    return jsonify(name=get_client_identity().name)


@flask.get("/orders")
@authorize_certificate(role="orders")
def orders() -> ResponseReturnValue:
    """Answer with the identity, if it has the role."""
    return jsonify(name=get_client_identity().name)


app = told_by_worker(flask)
